"""How full the BPF maps get whose size is fixed when Felix starts."""

from typing import Literal

import msgspec

from ebpfcheck.checks.felix import set_command
from ebpfcheck.checks.kube_proxy_state import Felix, felix_of
from ebpfcheck.knowledge.service_tables import MapSize
from ebpfcheck.model.check import Given, Outcome, check, optional, over_nodes, passed, unknown, unseen, warn
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import Absent, FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity

_FELIX = over_nodes(NodeKind.felix)
_MAX_PODS = over_nodes(NodeKind.max_pods)
_SERVICES = optional(ClusterFacts.services)
_BACKENDS = optional(ClusterFacts.backends)
_SLICES = optional(ClusterFacts.slice_count)
_PODS = optional(ClusterFacts.pod_count)
_NODES = optional(ClusterFacts.node_count)

_WORDS = {
    "frontends": "addresses of Services (NAT frontends)",
    "backends": "endpoints of Services (NAT backends)",
    "routes": "routes",
    "interfaces": "interfaces of a node",
}


class _Need(msgspec.Struct, frozen=True, kw_only=True):
    """How many entries a map needs at most."""

    entries: int
    is_estimate: bool = False
    """Whether that is by far too many, as it was not counted."""


class _Fill(msgspec.Struct, frozen=True, kw_only=True):
    """A map, the smallest that it is on any node, and what it needs."""

    size: MapSize
    entries: int
    need: _Need

    @property
    def percent(self) -> int:
        """How full it gets, in percent."""
        return self.need.entries * 100 // self.entries

    @property
    def words(self) -> str:
        """It, for a message."""
        return f"{_WORDS[self.size.map]}: at most {self.need.entries} of {self.entries} ({self.percent} %)"


@check(
    id="cluster.scale.maps",
    title="Sizes of BPF maps",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(_FELIX, _MAX_PODS, _SERVICES, _BACKENDS, _SLICES, _PODS, _NODES),
)
def scale_maps(given: Given) -> Outcome:
    """Whether what the cluster needs fits into BPF maps."""
    calico, felix, limit = given.release.version, felix_of(given), given.release.services.scale.nearly_full
    if felix.unseen is not None:
        return unseen("felix-unseen", "How large the BPF maps are set to be could not be told", felix.unseen)
    sizes = [size for size in given.release.services.map_size if calico.within(size.releases)]
    fills: list[_Fill] = []
    hidden: list[tuple[MapSize, Absent | Unknown]] = []
    for size in sizes:
        need = _need(given, size.map)
        if isinstance(need, _Need):
            fills.append(_Fill(size=size, entries=_entries(felix, size), need=need))
        else:
            hidden.append((size, need))
    full = [fill for fill in fills if fill.percent >= limit and not fill.need.is_estimate]
    if full:
        return _nearly_full(given, full)
    if hidden:
        size, fact = hidden[0]
        return unseen(
            f"{size.map}-unseen", f"Whether the BPF map of {_WORDS[size.map]} is large enough could not be told", fact
        )
    uncounted = [fill for fill in fills if fill.percent >= limit]
    if uncounted:
        fill = uncounted[0]
        return unknown(
            "not-counted",
            "The endpoints of Services were not counted, and the EndpointSlices have room for more than the BPF map of "
            f"Felix {calico} with its {fill.entries} entries: --scan-pods counts them.",
            reason=Reason.NOT_COLLECTED,
            observed=fill.words,
            required=f"less than {limit} % of {fill.entries}",
            remediation=Remediation(text="Count them.", commands=("ebpfcheck cluster --scan-pods",)),
        )
    fullest = max(fills, key=lambda fill: fill.percent)
    return passed(
        "room",
        f"The BPF maps of Felix {calico} have room for this cluster; the fullest is that of {fullest.words}.",
        observed="; ".join(fill.words for fill in fills),
        required=f"less than {limit} % of each",
    )


def _nearly_full(given: Given, full: list[_Fill]) -> Outcome:
    calico = given.release.version
    commands = tuple(set_command(one.size.setting, _room_for(one)) for one in full if one.size.setting)
    return warn(
        "-".join(("full", *(one.size.map for one in full))),
        f"BPF maps of Felix {calico} get full: {'; '.join(one.words for one in full)}. What does not fit, Felix leaves "
        "out, and it is not reached.",
        observed="; ".join(one.words for one in full),
        required=f"less than {given.release.services.scale.nearly_full} % of each",
        remediation=Remediation(
            text="Set them to twice what is needed. Felix restarts for it, and takes more memory on each node. "
            "FelixConfigurations for some nodes that set less have to be changed too."
            if commands
            else "This release cannot be told another size: have fewer of these in one cluster, or upgrade Calico.",
            commands=commands,
        ),
    )


def _room_for(fill: _Fill) -> int:
    """Return a power of two that is at least twice what is needed."""
    return 1 << (2 * fill.need.entries - 1).bit_length()


def _entries(felix: Felix, size: MapSize) -> int:
    """Return how large a map is where it is smallest."""
    if not size.setting:
        return size.entries
    return min((_setting(one, size) or size.entries for one, _ in felix.settings), default=size.entries)


def _setting(settings: FelixSettings, size: MapSize) -> int | None:
    return {
        "frontends": settings.bpf_map_size_nat_frontend,
        "backends": settings.bpf_map_size_nat_backend,
        "routes": settings.bpf_map_size_route,
        "interfaces": settings.bpf_map_size_if_state,
    }[size.map]


def _need(given: Given, name: Literal["frontends", "backends", "routes", "interfaces"]) -> _Need | Absent | Unknown:
    """Return what a map needs, or what is not known for it."""
    rule = given.release.services.scale
    if name == "interfaces":
        return _interfaces(given)
    services, pods, nodes = given[_SERVICES], given[_PODS], given[_NODES]
    if name == "routes":
        if not isinstance(pods, Known):
            return pods
        if not isinstance(nodes, Known):
            return nodes
        return _Need(entries=pods.value + nodes.value * rule.node_routes)
    backends, slices = given[_BACKENDS], given[_SLICES]
    if name == "backends" and isinstance(backends, Known):
        return _Need(entries=backends.value)
    if not isinstance(services, Known):
        return services
    found = services.value
    if name == "frontends":
        return _Need(entries=found.addresses + found.node_ports * (rule.node_addresses + 1))
    if not isinstance(slices, Known):
        return slices
    ports = -(-found.ports // max(found.count, 1))
    return _Need(entries=slices.value * rule.slice_endpoints * ports, is_estimate=True)


def _interfaces(given: Given) -> _Need | Unknown:
    facts = [share.fact for share in given[_MAX_PODS]]
    known = [fact.value for fact in facts if isinstance(fact, Known)]
    hidden = next((fact for fact in facts if isinstance(fact, Unknown)), None)
    if hidden is not None or not known:
        return hidden or Unknown(reason=Reason.NOT_COLLECTED, detail="no node says how many pods it takes")
    return _Need(entries=max(known) + given.release.services.scale.node_interfaces)
