"""What a cluster turned out to be, for the head of the report: no judgement, and no word of what was not seen."""

import msgspec

from ebpfcheck.checks.endpoints import ENDPOINT_NEEDS, WHERE_NEEDS, find_endpoints, manifest, namespace_of
from ebpfcheck.checks.kube_proxy_state import PROXY, PROXY_NEEDS, mode_of, proxy_of
from ebpfcheck.checks.platform import PLATFORM_NEEDS, platform_of
from ebpfcheck.model.check import Given, optional, over_nodes
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import Known, NodeKind, Unknown
from ebpfcheck.model.report import Discovered, Platform
from ebpfcheck.model.text import excerpt

_INSTALLATION = optional(ClusterFacts.installation)
_SERVERS = optional(ClusterFacts.api_endpoints)
_FELIX = over_nodes(NodeKind.felix)
DISCOVERY_NEEDS = (
    *PLATFORM_NEEDS, *ENDPOINT_NEEDS, *WHERE_NEEDS, *PROXY_NEEDS, _INSTALLATION, _SERVERS, _FELIX,
)  # fmt: skip


def discovered_platform(given: Given) -> Platform | None:
    """Return the platform as the report names it; asks for DISCOVERY_NEEDS."""
    platform = platform_of(given)
    return None if platform is None else Platform(name=platform.title, evidence=platform.evidence)


def discover(given: Given) -> Discovered:
    """Return what the report says of a cluster beside the findings; asks for DISCOVERY_NEEDS."""
    found = find_endpoints(given)
    servers, proxy = given[_SERVERS], _kube_proxy(given)
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
    if on == {True}:
        return "bpf" if asked in (None, "BPF") else f"bpf, against the Installation ({excerpt(asked, 40)})"
    if True in on:
        return "bpf on some nodes"
    if asked == "BPF":
        return "switching to bpf" if settings else None
    return "iptables" if asked or on == {False} else None


class _KubeProxy(msgspec.Struct, frozen=True, kw_only=True):
    """kube-proxy for the head of a report; None where it is not known."""

    words: str
    mode: str | None = None
    owner: str | None = None


def _kube_proxy(given: Given) -> _KubeProxy:
    if isinstance(given[PROXY], Unknown):
        return _KubeProxy(words="not known")
    proxy = proxy_of(given)
    owner = proxy.owner_names or None
    by = f", looked after by {owner}" if owner else ""
    if proxy.seen is None:
        words = {"off": "off", "unseen": "not seen"}.get(proxy.state, "inside of another program")
        return _KubeProxy(words=words + by, mode=(proxy.traces or None) if proxy.state == "runs" else None, owner=owner)
    setting = mode_of(given, proxy)
    mode = None if isinstance(setting, Unknown) else excerpt(setting or given.release.kube_proxy.modes.default, 60)
    where = excerpt(f"{proxy.seen.namespace}/{proxy.seen.name}", 120)
    what = f"DaemonSet {where}" if proxy.seen.runs_as == "daemonset" else f"static pods in {proxy.seen.namespace}"
    state = "off" if proxy.is_off else f"{mode} mode" if mode else "in a mode that is not known"
    return _KubeProxy(words=f"{state}, {what}{by}", mode=mode, owner=owner)
