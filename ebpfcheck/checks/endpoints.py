"""The API server's address: which ones there are, what each is, and which of them Calico can use without kube-proxy."""

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

import msgspec

from ebpfcheck.checks.platform import PLATFORM_NEEDS, platform_of
from ebpfcheck.knowledge.platform_tables import NodeLocal
from ebpfcheck.model.check import Given, optional
from ebpfcheck.model.cluster import ClusterFacts, EndpointOverride
from ebpfcheck.model.facts import Known
from ebpfcheck.model.report import ApiEndpoint
from ebpfcheck.model.text import excerpt

OVERRIDES = optional(ClusterFacts.endpoint_overrides)
_KUBE_PROXY = optional(ClusterFacts.kube_proxy)
_KUBE_PROXY_CONFIG = optional(ClusterFacts.kube_proxy_config)
_KUBEADM = optional(ClusterFacts.kubeadm)
_OPENSHIFT = optional(ClusterFacts.openshift)
_SERVER = optional(ClusterFacts.server)
SERVICE = optional(ClusterFacts.kubernetes_service)
API_SERVERS = optional(ClusterFacts.api_endpoints)
POOLS = optional(ClusterFacts.ip_pools)
_SERVICE_CIDRS = optional(ClusterFacts.service_cidrs)
ENDPOINT_NEEDS = (
    *PLATFORM_NEEDS, OVERRIDES, _KUBE_PROXY, _KUBE_PROXY_CONFIG, _OPENSHIFT, _SERVER, SERVICE, API_SERVERS, POOLS,
    _SERVICE_CIDRS,
)  # fmt: skip

OPERATOR = optional(ClusterFacts.operator)
CALICO_NODE = optional(ClusterFacts.calico_node)
WHERE_NEEDS = (OPERATOR, CALICO_NODE)

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_HTTPS = 443
_KUBEADM_PORT = 6443
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)*{_LABEL}\.?", re.ASCII | re.IGNORECASE)
_URL = re.compile(
    r"(?:[a-z]{1,20}://)?(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<host>[^:/?#@\[\]]+))(?::(?P<port>\d{1,5}))?/?",
    re.ASCII | re.IGNORECASE,
)
_MASTER = re.compile(r"--master[= ](\S+)")

_STABLE = ("name", "load_balancer", "node_local")
_USABLE = (*_STABLE, "address", "control_plane", "platform_name")

_OF_KUBECONFIG = "the kubeconfig that was used"
_OF_ENDPOINTS = "the endpoints of default/kubernetes"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An address as it was found somewhere."""

    host: str
    port: int
    source: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The candidates, best first, and the one to use (None: none will do) with why."""

    candidates: tuple[ApiEndpoint, ...]
    choice: ApiEndpoint | None
    reason: str


def find_endpoints(given: Given) -> Found:
    """Return the addresses of the API server that a cluster shows; asks for ENDPOINT_NEEDS."""
    sources: dict[tuple[str, int], list[str]] = {}
    for seen in _seen(given):
        where = sources.setdefault((_plain(seen.host), seen.port), [])
        if seen.source not in where:
            where.append(seen.source)
    found = [classify(given, host, str(port), tuple(where)) for (host, port), where in sources.items()]
    # Sorting keeps the order of sources among equals.
    found.sort(key=lambda one: (not one.usable, _rank(given, one)))
    choice = found[0] if found and found[0].usable else None
    return Found(candidates=tuple(found), choice=choice, reason=_reason(given, choice, found))


def _rank(given: Given, endpoint: ApiEndpoint) -> int:
    """Return the place of an address among those that will do, the best at 0."""
    if pods_miss(given, endpoint):
        return 5
    if any(source not in (_OF_KUBECONFIG, _OF_ENDPOINTS) for source in endpoint.sources):
        # The nodes use it already.
        return 0 if endpoint.kind in _STABLE else 1
    if _OF_ENDPOINTS in endpoint.sources:
        return 3
    # Managed clusters show their name in the kubeconfig alone; an address there may be that of a tunnel or a NAT.
    return 2 if endpoint.kind == "name" else 4


def _reason(given: Given, choice: ApiEndpoint | None, found: list[ApiEndpoint]) -> str:
    if choice is not None:
        alone = " alone: see that the nodes reach it too" if choice.sources == (_OF_KUBECONFIG,) else ""
        return f"{choice.remark}; named by {', '.join(choice.sources)}{alone}"
    servers = given[API_SERVERS]
    if isinstance(servers, Known) and len(servers.value) > 1:
        return (
            f"there are {len(servers.value)} API servers and no load balancer in front of them is known: put one "
            "there (or a virtual IP) and give Calico its address"
        )
    if found:
        return "none of the addresses that were found will do"
    return "no address of the API server was found"


def classify(given: Given, host: str, port: str, sources: tuple[str, ...] = ()) -> ApiEndpoint:
    """Say what an address is and whether Calico can use it on every node once kube-proxy is gone."""
    number = _port(port)
    kind, remark = _kind(given, host, port, number)
    return ApiEndpoint(
        host=excerpt(host, 260),
        port=number or 0,
        sources=sources,
        kind=kind,
        usable=kind in _USABLE,
        remark=remark,
    )


def _kind(given: Given, host: str, port: str, number: int | None) -> tuple[str, str]:
    if any(sign in host or sign in port for sign in given.release.platforms.api_endpoint.templates):
        return "template", "it is a template whose value was never filled in"
    if number is None:
        return "invalid", f"{excerpt(port, 40)!r} is no port"
    address, plain = _address(host), _plain(host)
    if address is None and not _is_name(host):
        return "invalid", "it must be a bare name or address: no scheme, path, port, brackets, zone or blanks"
    local = node_local(given, host, number)
    if local is not None and local.propose:
        return "node_local", local.words
    is_loopback = _is_loopback_name(plain) if address is None else address.is_loopback or address.is_unspecified
    if local is not None or (is_loopback and _is_kube_proxys(given, plain, number)):
        words = local.words if local is not None else "a proxy on the node itself, which kube-proxy uses too"
        return "node_proxy", f"{words}; whether it listens there on every node, the nodes alone can tell"
    if is_loopback:
        return "loopback", "it leads to each node itself, where no API server or proxy is known to listen"
    return _kind_of_name(given, plain) if address is None else _kind_of_address(given, address)


def _is_name(host: str) -> bool:
    # A name whose last label is a number is a mistyped address.
    return _NAME.fullmatch(host) is not None and not _plain(host).rpartition(".")[2].isdigit()


def _is_loopback_name(name: str) -> bool:
    return (
        name in ("localhost", "ip6-localhost", "ip6-loopback")
        or name.startswith("localhost.")
        or name.endswith(".localhost")
    )


def _is_kube_proxys(given: Given, plain: str, number: int) -> bool:
    """Whether kube-proxy, which runs on every node, reaches the API server by that address."""
    config = given[_KUBE_PROXY_CONFIG]
    found = _taken_apart((config.value.server or "") if isinstance(config, Known) else "")
    return found is not None and (_plain(found[0]), found[1]) == (plain, number)


def _kind_of_name(given: Given, name: str) -> tuple[str, str]:
    rules = given.release.platforms.api_endpoint
    service = rules.cluster_service
    if name == service or name.startswith(f"{service}.svc.") or name.endswith(rules.cluster_names):
        return "cluster_name", "only cluster DNS answers it, which needs calico-node to work first"
    platform = platform_of(given)
    if platform is not None and name.endswith(rules.local_platforms.get(platform.entry.name, ())):
        return "platform_name", f"a name that all nodes of {platform.entry.title} know, and nobody else"
    if "." not in name or name.endswith(rules.local_names):
        return "local_name", "a name of /etc/hosts or of the own network, which not every node and pod may resolve"
    return "name", "a name, which can be led to another machine when one goes"


def _kind_of_address(given: Given, address: Address) -> tuple[str, str]:
    if address.is_multicast:
        return "invalid", "it is a multicast address, which is no machine's"
    fact = given[API_SERVERS]
    servers = {_address(_split(server)[0]) for server in fact.value} if isinstance(fact, Known) else set()
    if address in servers:
        if len(servers) > 1:
            return (
                "one_of_several",
                f"it is one of {len(servers)} API servers: when that one is down, all nodes lose it",
            )
        return "control_plane", "the only API server's own address, good as long as that machine keeps it"
    if _is_cluster_ip(given, address):
        return "cluster_ip", "it is a ClusterIP, which only kube-proxy or Felix itself makes reachable"
    # Where an API server is in a network of pods too, that network is also the nodes', and says nothing.
    networks = (network for network in _pod_networks(given) if not any(one in network for one in servers if one))
    if any(address in network for network in networks):
        return "pod_network", "it is in the pods' network, which calico-node has yet to set up"
    if address.is_link_local:
        return "link_local", "a link-local address, which is another machine on each network"
    if not isinstance(fact, Known):
        return "address", "an address of which it could not be told whether it is one API server's own"
    return "load_balancer", "an address that is no API server's own, but a virtual IP or load balancer"


def _seen(given: Given) -> Iterator[Seen]:
    """Find addresses: those that were chosen for Calico, those of the cluster itself, that of the kubeconfig."""
    for override in overrides_of(given):
        number = _port(override.port or "")
        if override.host and number is not None:
            where = excerpt(f"{override.namespace}/{override.name}", 120)
            yield Seen(host=override.host, port=number, source=f"ConfigMap {where}")
    platform = platform_of(given)
    title, name = (platform.entry.title, platform.entry.name) if platform is not None else ("", "")
    for local in given.release.platforms.node_local:
        if local.platform == name:
            yield from _of(local.propose, f"what {title} runs on every node")
    openshift, config, proxy = given[_OPENSHIFT], given[_KUBE_PROXY_CONFIG], given[_KUBE_PROXY]
    kubeadm, server, servers = given[_KUBEADM], given[_SERVER], given[API_SERVERS]
    if isinstance(openshift, Known):
        yield from _of(openshift.value.api_internal_url, "OpenShift's infrastructure configuration")
    if isinstance(kubeadm, Known):
        yield from _of(kubeadm.value.control_plane_endpoint, "kubeadm's controlPlaneEndpoint", _KUBEADM_PORT)
    if isinstance(config, Known):
        yield from _of(config.value.server, "kube-proxy's kubeconfig")
    if isinstance(proxy, Known):
        master = _MASTER.search(" ".join(proxy.value.command))
        yield from _of(master[1] if master else None, "kube-proxy's --master")
    if isinstance(server, Known):
        for rule in given.release.platforms.api_name:
            for seen in _of(server.value, f"{title}'s name for its nodes") if rule.platform == name else ():
                host = _plain(seen.host)
                if host.startswith(rule.public) and not host.startswith(rule.internal):
                    host = rule.internal + host.removeprefix(rule.public)
                    yield Seen(host=host, port=rule.port, source=seen.source)
        yield from _of(server.value, _OF_KUBECONFIG)
    for one in servers.value if isinstance(servers, Known) else ():
        host, port = _split(one)
        yield Seen(host=host, port=port, source=_OF_ENDPOINTS)


def _of(text: str | None, source: str, default: int = _HTTPS) -> Iterator[Seen]:
    found = _taken_apart(text or "", default)
    if found is not None:
        yield Seen(host=found[0], port=found[1], source=source)


def _taken_apart(text: str, default: int = _HTTPS) -> tuple[str, int] | None:
    """Return host and port of a URL or HOST[:PORT], unless it leads somewhere below a host, as those of proxies do."""
    if _address(text) is not None:
        return text, default
    match = _URL.fullmatch(text)
    return None if match is None else (match["bracketed"] or match["host"], int(match["port"] or default))


def _split(server: str) -> tuple[str, int]:
    """Take the HOST:PORT of an API server apart; what is not one is all host."""
    return _taken_apart(server) or (server, _HTTPS)


def _port(text: str) -> int | None:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    return number if 0 < number < 65536 else None


def _address(host: str) -> Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    return None if address.scope_id else address.ipv4_mapped or address


def _plain(host: str) -> str:
    """Return a host as it is compared: an address in its shortest form, a name in lower case, without a last dot."""
    address = _address(host)
    return host.lower().rstrip(".") if address is None else str(address)


def node_local(given: Given, host: str, port: int | None = None) -> NodeLocal | None:
    """Return what the platform runs on each node at an address; without a port, at any port of that host."""
    platform = platform_of(given)
    return next(
        (
            local
            for local in given.release.platforms.node_local
            if platform is not None
            and platform.entry.name == local.platform
            and _plain(host) in local.hosts
            and (port is None or port in local.ports)
        ),
        None,
    )


def pods_miss(given: Given, endpoint: ApiEndpoint) -> bool:
    """Whether the operator hands an address to pods of the pod network too, which do not reach it."""
    if given.install != "operator" or given.release.operator_splits_pods:
        return False
    if endpoint.kind == "platform_name":
        return _plain(endpoint.host).endswith(given.release.platforms.api_endpoint.node_names)
    local = node_local(given, endpoint.host, endpoint.port)
    is_hidden = local is not None and local.hidden_from_pods and given.release.version.within(local.hidden_from_pods)
    return endpoint.kind in ("node_local", "node_proxy") and not is_hidden


def _is_cluster_ip(given: Given, address: Address) -> bool:
    service, cidrs, kubeadm = given[SERVICE], given[_SERVICE_CIDRS], given[_KUBEADM]
    if isinstance(service, Known) and address in [_address(one) for one in service.value.cluster_ips]:
        return True
    networks = [*cidrs.value] if isinstance(cidrs, Known) else []
    networks += kubeadm.value.service_subnet.split(",") if isinstance(kubeadm, Known) else []
    return any(address in network for network in _networks(networks))


def _pod_networks(given: Given) -> Iterator[Network]:
    pools, kubeadm, config = given[POOLS], given[_KUBEADM], given[_KUBE_PROXY_CONFIG]
    yield from _networks(pool.cidr for pool in (pools.value if isinstance(pools, Known) else ()))
    yield from _networks(kubeadm.value.pod_subnet.split(",") if isinstance(kubeadm, Known) else ())
    yield from _networks((config.value.cluster_cidr or "").split(",") if isinstance(config, Known) else ())


def _networks(texts: Iterable[str]) -> Iterator[Network]:
    for text in texts:
        try:
            yield ip_network(text.strip(), strict=False)
        except ValueError:
            continue


def manifest(given: Given, endpoint: ApiEndpoint, namespace: str) -> str:
    """Return the ConfigMap that gives Calico an address of the API server."""
    return (
        "apiVersion: v1\n"
        "kind: ConfigMap\n"
        "metadata:\n"
        f"  name: {given.release.platforms.api_endpoint.config_map}\n"
        f"  namespace: {json.dumps(namespace)}\n"
        "data:\n"
        f"  KUBERNETES_SERVICE_HOST: {json.dumps(endpoint.host)}\n"
        f'  KUBERNETES_SERVICE_PORT: "{endpoint.port}"\n'
    )


def overrides_of(given: Given) -> tuple[EndpointOverride, ...]:
    """Return the ConfigMaps that were seen; asks for OVERRIDES."""
    overrides = given[OVERRIDES]
    return overrides.value if isinstance(overrides, Known) else ()


def patch_command(target: str, patch: object) -> str:
    """Return the command that merges a patch into an object."""
    return f"kubectl patch {target} --type merge -p {shlex.quote(json.dumps(patch))}"


def namespace_of(given: Given) -> str | None:
    """Return where the ConfigMap belongs, None where it is not known how Calico is installed; asks for WHERE_NEEDS."""
    if given.install == "operator":
        return operator_namespace(given)
    if given.install == "manifest":
        node = given[CALICO_NODE]
        rules = given.release.platforms.api_endpoint
        return node.value.namespace if isinstance(node, Known) else rules.manifest_namespace
    return None


def operator_namespace(given: Given) -> str:
    """Return where the operator looks for the ConfigMap; asks for OPERATOR."""
    operator = given[OPERATOR]
    rules = given.release.platforms.api_endpoint
    return operator.value.namespace if isinstance(operator, Known) else rules.operator_namespace
