"""Addresses of the API server: as users write them, and what came of connecting to them."""

import ipaddress
import re

import msgspec

from ebpfcheck.collect.framing import State
from ebpfcheck.collect.sections import SectionReader, number
from ebpfcheck.errors import UsageError
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import Endpoint, EndpointTrial, Fact, Known, NodeFacts, Reason, SourceKind, Unknown
from ebpfcheck.model.text import excerpt

# What stands in a DNS name or an address; nothing that a shell reads as its own.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}|[0-9A-Fa-f:.]{2,45}", re.ASCII)
_LOCATOR = re.compile(r"(\S+) (\d{1,5})(?: by (\w+))?", re.ASCII)
# Names that no DNS but a cluster's answers.
_CLUSTER_NAME = re.compile(r"\.svc(?:\.|$)|\.cluster\.local\.?$", re.IGNORECASE)
# What the tools say, and what that means; the first that is found counts. A resolver that does not answer, or a tool
# that cannot be run, tells nothing of the address.
_WORDS = (
    (re.compile(r"temporary failure|try again|failed to run command", re.IGNORECASE), "untold"),
    (re.compile(r"refused|errno=111\b", re.IGNORECASE), "refused"),
    (re.compile(r"timed out|errno=110\b", re.IGNORECASE), "timed_out"),
    (re.compile(r"no route|unreachable|errno=1(?:13|01)\b", re.IGNORECASE), "no_route"),
    (re.compile(r"operation not permitted|permission denied|errno=1\b", re.IGNORECASE), "denied"),
    (
        re.compile(
            r"not known|no address associated|nodename nor servname|bad address|could not resolve"
            r"|cannot resolve|unknown host|lookup failed|gethostbyname|host not found|BIO_lookup",
            re.IGNORECASE,
        ),
        "unresolved",
    ),
)
# What `timeout` returns for what it has ended.
_ENDED = ("124", "143")


def parse_endpoint(text: str) -> Endpoint:
    """Read HOST:PORT, an IPv6 address in brackets; UsageError, which says what is wrong, if it is none."""
    shown = excerpt(text, 80)
    if "://" in text or "/" in text:
        raise UsageError(f"--api-endpoint: {shown!r} is a URL; give HOST:PORT alone, such as api.example.com:6443")
    host, sign, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1] if ":" in host else ""
    elif ":" in host:
        raise UsageError(f"--api-endpoint: {shown!r}: an IPv6 address stands in brackets, as in [fd00::1]:6443")
    if (
        not sign
        or not _HOST.fullmatch(host)
        or not re.fullmatch(r"\d{1,5}", port, re.ASCII)
        or not 0 < int(port) < 65536
    ):
        raise UsageError(f"--api-endpoint: {shown!r} is not HOST:PORT, such as api.example.com:6443")
    return Endpoint(host=host, port=int(port))


def can_be_tried(host: str) -> bool:
    """Whether a host that an API gave may be put on a command line."""
    return _HOST.fullmatch(host) is not None


def is_name(host: str) -> bool:
    """Whether a host has to be resolved."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def told_apart(facts: NodeFacts, cluster: ClusterFacts) -> NodeFacts:
    """Return a node's facts with what its cluster tells of the addresses that it tried: Services, and its own DNS."""
    tried, servers = facts.kind.api_endpoints, facts.kind.nameservers
    if not isinstance(tried, Known):
        return facts
    asked = servers.value if isinstance(servers, Known) else ()
    of_cluster = [server for server in asked if _is_of_cluster(server, cluster)]

    def told(trial: EndpointTrial) -> EndpointTrial:
        if not is_name(trial.host):
            return msgspec.structs.replace(trial, is_service=_is_service(trial.host, cluster))
        if trial.outcome != "connected" or not of_cluster:
            return trial
        if len(of_cluster) == len(asked):
            return msgspec.structs.replace(trial, by_cluster_dns=True)
        words = "the node asks the cluster's own DNS as well as others, and which of them knew the name is not seen"
        return msgspec.structs.replace(trial, outcome="untold", words=words)

    both = msgspec.structs.replace(tried, value=tuple(map(told, tried.value)))
    return msgspec.structs.replace(facts, kind=msgspec.structs.replace(facts.kind, api_endpoints=both))


def _is_of_cluster(address: str, cluster: ClusterFacts) -> bool:
    caches = cluster.node_local_dns.value if isinstance(cluster.node_local_dns, Known) else ()
    return any(address in cache.local_ips for cache in caches) or _is_service(address, cluster)


def _is_service(address: str, cluster: ClusterFacts) -> bool:
    services = cluster.dns_services.value if isinstance(cluster.dns_services, Known) else ()
    own = cluster.kubernetes_service.value.cluster_ips if isinstance(cluster.kubernetes_service, Known) else ()
    if address in own or any(address in service.cluster_ips for service in services):
        return True
    cidrs = cluster.service_cidrs.value if isinstance(cluster.service_cidrs, Known) else ()
    return any(_is_within(address, cidr) for cidr in cidrs)


def _is_within(address: str, cidr: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]) in ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return False


def trials(reader: SectionReader, kind: SourceKind) -> Fact[tuple[EndpointTrial, ...]]:
    """Return what came of connecting to each address, in the order in which they were given."""
    asked = reader.fact("endpoints", number)
    if not isinstance(asked, Known):
        return asked
    names = sorted(reader.names("endpoint-"), key=lambda name: (len(name), name))
    if len(names) < asked.value:
        return Unknown(reason=reader.cut, detail="the survey ended before it", source=asked.source)
    told = [_trial(reader, name, kind) for name in names]
    failed = next((one for one in told if isinstance(one, Unknown)), None)
    if failed is not None:
        return failed
    return Known(value=tuple(one for one in told if isinstance(one, EndpointTrial)), source=asked.source)


def _trial(reader: SectionReader, name: str, kind: SourceKind) -> EndpointTrial | Unknown:
    match = _LOCATOR.fullmatch(reader.locator(name))
    if match is None:
        return Unknown(reason=Reason.UNPARSABLE, detail="the survey does not say which address it tried")
    host, port = match[1], int(match[2])
    state = reader.state(name)
    if state not in (State.OK, State.FAILED):
        fact = reader.fact(name, lambda _: None)
        return fact if isinstance(fact, Unknown) else Unknown(reason=Reason.UNPARSABLE, detail="it was not tried")
    if kind is SourceKind.EXEC and is_name(host):
        words = "the container resolves names by another resolver than the node"
        return EndpointTrial(host=host, port=port, outcome="untold", words=words)
    text, code = reader.printed(name)
    if state is State.OK or (match[3] == "openssl" and "CONNECTED(" in text):
        is_clusters = _CLUSTER_NAME.search(host) is not None
        return EndpointTrial(host=host, port=port, outcome="connected", by_cluster_dns=is_clusters)
    if code in _ENDED:
        return EndpointTrial(host=host, port=port, outcome="timed_out")
    # The tools name the host, which may be called like anything.
    said = text.replace(host, "")
    outcome = next((outcome for pattern, outcome in _WORDS if pattern.search(said)), "untold")
    if outcome != "untold":
        return EndpointTrial(host=host, port=port, outcome=outcome)  # type: ignore[arg-type]
    last = (text.strip().splitlines() or [f"exit code {code}"])[-1]
    return EndpointTrial(host=host, port=port, outcome="untold", words=f"{match[3]}: {excerpt(last, 120)}")
