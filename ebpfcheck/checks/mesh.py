"""Connect-time load balancing: what service meshes lose by it, and what stands in for it where it is off."""

import json
import shlex
from collections.abc import Iterable
from typing import Literal

import msgspec

from ebpfcheck.checks.felix import is_connect_time_off
from ebpfcheck.checks.kube_proxy_state import Felix, felix_of
from ebpfcheck.knowledge.add_on_tables import Mesh
from ebpfcheck.model.check import Given, Outcome, check, optional, over_nodes, passed, unknown, unseen, warn
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity

_NAMESPACES = optional(ClusterFacts.meshed_namespaces)
_ADD_ONS = optional(ClusterFacts.add_ons)
_GROUPS = optional(ClusterFacts.api_groups)
_FELIX = over_nodes(NodeKind.felix)
MESH_NEEDS = (_NAMESPACES, _ADD_ONS, _GROUPS, _FELIX)

_NEEDED = "connect-time load balancing off, and Felix balancing the nodes' own connections itself"


class _Meshes(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen of meshes."""

    joined: tuple[tuple[Mesh, int], ...]
    """Those that namespaces join, and how many do."""
    running: tuple[Mesh, ...]
    """Those that are installed."""
    traces: tuple[Mesh, ...]
    """Those of which there are API groups alone."""


@check(
    id="cluster.mesh.ctlb",
    title="Connect-time load balancing and service meshes",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=MESH_NEEDS,
)
def mesh_ctlb(given: Given) -> Outcome:
    """Whether meshes see Services, and whether the nodes' own processes reach them without the load balancing."""
    felix, meshes = felix_of(given), _meshes(given)
    cut_off = felix.nodes(lambda one: _state(given, one) == "cut off")
    if cut_off:
        return _cut_off(given, felix, cut_off)
    bug = given.release.add_ons.ambient_bug
    is_ambient = any(mesh.name == bug.mesh for mesh in (*(mesh for mesh, _ in meshes.joined), *meshes.running))
    if is_ambient and given.release.version.within(bug.releases) is not False:
        return _ambient(given)
    is_off = felix.unseen is None and felix.nodes(lambda one: _state(given, one) == "off") == felix.total
    namespaces, add_ons = given[_NAMESPACES], given[_ADD_ONS]
    if is_off:
        hidden = next((fact for fact in (namespaces, add_ons) if isinstance(fact, Unknown)), None)
        if hidden is not None and given.release.version.within(bug.releases) is not False:
            return unseen("meshes-unseen", "Whether there is a service mesh could not be seen", hidden)
        return passed(
            "off",
            "Connect-time load balancing is off, and Felix balances the nodes' own connections itself: meshes see "
            "Services as they are meant.",
            required=_NEEDED,
        )
    if meshes.joined:
        return _in_the_way(given, felix, meshes)
    if isinstance(namespaces, Unknown):
        return unseen("namespaces-unseen", "Whether namespaces join a service mesh could not be seen", namespaces)
    if felix.unseen is not None:
        return unseen("felix-unseen", "Whether the nodes' own processes reach Services could not be told", felix.unseen)
    if meshes.running:
        return _nobody_joined(given, felix, meshes.running, "runs, and no namespace is seen to join it")
    if isinstance(add_ons, Unknown):
        return unseen("workloads-unseen", "Whether a service mesh is installed could not be seen", add_ons)
    if meshes.traces:
        return _nobody_joined(given, felix, meshes.traces, "is known to the API, and neither runs nor is joined")
    return passed(
        "no-mesh",
        f"There is no service mesh that connect-time load balancing of Calico {given.release.version} could be in the "
        "way of.",
    )


def _state(given: Given, settings: FelixSettings) -> Literal["on", "off", "cut off"]:
    """Return whether connections are balanced as they are made; off: by something else; cut off: by nothing."""
    rule, calico = given.release.add_ons.connect_time, given.release.version
    if not is_connect_time_off(given.release, settings):
        return "on"
    if calico.within(rule.mode_releases):
        # Variables are taken in any case.
        stand_in = settings.bpf_host_networked_nat_without_ctlb or ""
        return "cut off" if stand_in.lower() == rule.stand_in_off.lower() else "off"
    gates: str | None = None
    if calico.within(rule.gate_in_override):
        gates = settings.feature_detect_override
    elif calico.within(rule.gate_in_gates):
        gates = settings.feature_gates
    is_open = f"{rule.gate}={rule.gate_value}" in [gate.strip() for gate in (gates or "").split(",")]
    return "off" if is_open else "cut off"


def _meshes(given: Given) -> _Meshes:
    namespaces, add_ons, groups = given[_NAMESPACES], given[_ADD_ONS], given[_GROUPS]
    counts = dict(namespaces.value) if isinstance(namespaces, Known) else {}
    programs = {one.program for one in add_ons.value} if isinstance(add_ons, Known) else set()
    served = set(groups.value) if isinstance(groups, Known) else set()
    known = given.release.add_ons.mesh
    return _Meshes(
        joined=tuple((mesh, counts[mesh.name]) for mesh in known if counts.get(mesh.name)),
        running=tuple(mesh for mesh in known if not programs.isdisjoint(mesh.programs)),
        traces=tuple(mesh for mesh in known if not served.isdisjoint(mesh.groups)),
    )


def _in_the_way(given: Given, felix: Felix, meshes: _Meshes) -> Outcome:
    shown = " and ".join(f"{mesh.title} ({count} {_namespaces(count)})" for mesh, count in meshes.joined)
    on = felix.nodes(lambda one: _state(given, one) == "on")
    if felix.unseen is not None:
        return unseen(
            "felix-unseen",
            f"Pods join {shown}; whether connect-time load balancing is off could not be told",
            felix.unseen,
            observed=shown,
            required=_NEEDED,
        )
    effects = "; ".join(mesh.effect for mesh, _ in meshes.joined)
    return warn(
        "in-the-way",
        f"Pods join {shown}, and connect-time load balancing of Calico {given.release.version} is on for {on} of "
        f"{felix.total} nodes: it puts a pod's address in the place of a Service's before the mesh sees a connection. "
        f"{effects}.",
        observed=f"{shown}; on for {on} of {felix.total} nodes",
        required=_NEEDED,
        remediation=_turn_off(given, felix),
    )


def _namespaces(count: int) -> str:
    return "namespace" if count == 1 else "namespaces"


def _nobody_joined(given: Given, felix: Felix, meshes: Iterable[Mesh], words: str) -> Outcome:
    names, text = " and ".join(mesh.title for mesh in meshes), _turn_off(given, felix).text
    fix = text[0].lower() + text[1:]
    return passed(
        "nobody-joined",
        f"{names} {words}; marks by which single pods join are not read here. Before any do: {fix}",
        observed=names,
        required=_NEEDED,
        note=True,
    )


def _turn_off(given: Given, felix: Felix) -> Remediation:
    rule, calico = given.release.add_ons.connect_time, given.release.version
    if not calico.within(rule.mode_releases):
        return Remediation(
            text=f"Upgrade Calico to {rule.mode_since} or later, which has bpfConnectTimeLoadBalancing to set to "
            f"{rule.mode_off}: bpfConnectTimeLoadBalancingEnabled false in {calico} takes Services away from the "
            "nodes' own processes and pods on the host's network."
        )
    text = (
        f"Set bpfConnectTimeLoadBalancing to {rule.mode_off} and leave bpfHostNetworkedNATWithoutCTLB Enabled, by "
        "which the nodes' own processes reach Services."
    )
    if _has_old_switch(felix):
        text += (
            " Take bpfConnectTimeLoadBalancingEnabled out: Felix takes no heed of it, but calicoctl and Calico's API "
            "server set the other two by it."
        )
    return Remediation(text=text, commands=(_patch(_balancing_off(given, felix)),))


def settings_for_meshes(given: Given) -> dict[str, str | None]:
    """Return what FelixConfiguration has to set for meshes that namespaces join, if anything; asks for MESH_NEEDS."""
    felix, rule = felix_of(given), given.release.add_ons.connect_time
    is_on = felix.unseen is None and felix.nodes(lambda one: _state(given, one) == "on")
    if not is_on or not _meshes(given).joined or not given.release.version.within(rule.mode_releases):
        return {}
    return _balancing_off(given, felix)


def _balancing_off(given: Given, felix: Felix) -> dict[str, str | None]:
    spec: dict[str, str | None] = {
        "bpfConnectTimeLoadBalancing": given.release.add_ons.connect_time.mode_off,
        "bpfHostNetworkedNATWithoutCTLB": "Enabled",
    }
    return {**spec, "bpfConnectTimeLoadBalancingEnabled": None} if _has_old_switch(felix) else spec


def _has_old_switch(felix: Felix) -> bool:
    return felix.nodes(lambda one: one.bpf_connect_time_load_balancing_enabled is not None) > 0


def _patch(spec: dict[str, str | None]) -> str:
    patch = shlex.quote(json.dumps({"spec": spec}))
    return f"kubectl patch felixconfiguration default --type merge -p {patch}"


def _cut_off(given: Given, felix: Felix, nodes: int) -> Outcome:
    rule, calico = given.release.add_ons.connect_time, given.release.version
    has_mode = calico.within(rule.mode_releases)
    what = (
        "bpfConnectTimeLoadBalancing and bpfHostNetworkedNATWithoutCTLB are both Disabled"
        if has_mode
        else "bpfConnectTimeLoadBalancingEnabled is false"
    )
    return warn(
        "cut-off",
        f"{what} for {nodes} of {felix.total} nodes: in eBPF mode of Calico {calico} the nodes' own processes and pods "
        "on the host's network then do not reach Services, nor does the API server reach webhooks by theirs.",
        observed=f"{nodes} of {felix.total} nodes",
        required=_NEEDED,
        remediation=_turn_off(given, felix)
        if has_mode
        else Remediation(
            text=f"Set it back to true, or upgrade Calico to {rule.mode_since} or later first.",
            commands=(_patch({"bpfConnectTimeLoadBalancingEnabled": None}),),
        ),
    )


def _ambient(given: Given) -> Outcome:
    bug, calico = given.release.add_ons.ambient_bug, given.release.version
    if calico.within(bug.releases) is None:
        return unknown(
            "ambient-patch",
            "Istio runs in ambient mode: whether kubelet's probes of its pods get through depends on the patch of "
            f"Calico {calico}; they do from {bug.fixed_in} on. Name the patch that you mean with --calico-version.",
            reason=Reason.UNSUPPORTED,
        )
    return warn(
        "ambient-probes",
        f"Istio runs in ambient mode: in eBPF mode of Calico {calico} the answers to kubelet's probes of its pods are "
        "dropped, so that these pods do not become ready.",
        required=f"Calico {bug.fixed_in} or later",
        remediation=Remediation(
            text=f"Upgrade Calico to {bug.fixed_in} or later before eBPF mode is enabled; then look at this check "
            "again, for connect-time load balancing."
        ),
    )
