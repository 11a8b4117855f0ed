"""What a cluster turned out to be, for the head of the report: no judgement, and no word of what was not seen."""

from ebpfcheck.checks.endpoints import ENDPOINT_NEEDS, WHERE_NEEDS, find_endpoints, manifest, namespace_of
from ebpfcheck.checks.kube_proxy import DESCRIBED_NEEDS, described
from ebpfcheck.checks.platform import PLATFORM_NEEDS, platform_of
from ebpfcheck.model.check import Given, optional, over_nodes
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import Known, NodeKind
from ebpfcheck.model.report import Discovered, Platform
from ebpfcheck.model.text import excerpt

_INSTALLATION = optional(ClusterFacts.installation)
_SERVERS = optional(ClusterFacts.api_endpoints)
_FELIX = over_nodes(NodeKind.felix)
DISCOVERY_NEEDS = (
    *PLATFORM_NEEDS, *ENDPOINT_NEEDS, *WHERE_NEEDS, *DESCRIBED_NEEDS, _INSTALLATION, _SERVERS, _FELIX,
)  # fmt: skip


def discovered_platform(given: Given) -> Platform | None:
    """Return the platform as the report names it; asks for DISCOVERY_NEEDS."""
    platform = platform_of(given)
    return None if platform is None else Platform(name=platform.title, evidence=platform.evidence)


def discover(given: Given) -> Discovered:
    """Return what the report says of a cluster beside the findings; asks for DISCOVERY_NEEDS."""
    found = find_endpoints(given)
    servers, proxy = given[_SERVERS], described(given)
    namespace = namespace_of(given)
    return Discovered(
        dataplane=_dataplane(given),
        kube_proxy=proxy.words,
        kube_proxy_mode=proxy.mode,
        kube_proxy_owner=proxy.owner,
        api_servers=tuple(excerpt(server, 260) for server in servers.value) if isinstance(servers, Known) else (),
        api_endpoint=found.choice,
        api_endpoint_reason=found.reason,
        api_endpoint_candidates=found.candidates,
        config_map=None if found.choice is None or namespace is None else manifest(given, found.choice, namespace),
    )


def _dataplane(given: Given) -> str | None:
    installation = given[_INSTALLATION]
    asked = installation.value.linux_dataplane if isinstance(installation, Known) else None
    settings = [share.fact.value for share in given[_FELIX] if isinstance(share.fact, Known)]
    if asked and asked not in ("Iptables", "BPF"):
        return excerpt(asked.lower(), 40)
    on = {one.bpf_enabled is True for one in settings}
    if True in on:
        return "bpf" if on == {True} and asked in (None, "BPF") else "switching to bpf"
    if asked == "BPF":
        return "switching to bpf" if settings else None
    return "iptables" if asked or on == {False} else None
