"""KubeVirt, Multus, and what else puts BPF programs where Felix does."""

import json
import shlex
from collections.abc import Iterable
from typing import Literal

from ebpfcheck.checks.kube_proxy_state import felix_of
from ebpfcheck.checks.naming import listed
from ebpfcheck.knowledge.add_on_tables import BpfProgram
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    not_applicable,
    optional,
    over_nodes,
    passed,
    settled,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import AddOn, ClusterFacts, Workloads
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.versions import KernelRelease

_GUESTS = optional(ClusterFacts.guests)
_ADD_ONS = optional(ClusterFacts.add_ons)
_GROUPS = optional(ClusterFacts.api_groups)
_WORKLOADS = optional(ClusterFacts.workloads)
_PODS = optional(ClusterFacts.pods)
_SETTLED_ADD_ONS = settled(ClusterFacts.add_ons)
_KERNELS = over_nodes(NodeKind.kernel_release)
_FELIX = over_nodes(NodeKind.felix)


@check(
    id="cluster.kubevirt",
    title="KubeVirt's guests",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(_GUESTS, _ADD_ONS, _FELIX),
)
def kubevirt(given: Given) -> Outcome:
    """Whether virtual machines that are bridged to the pod network are reached."""
    guests, calico = given[_GUESTS], given.release.version
    runs = given.release.add_ons.kubevirt.program in _programs(given[_ADD_ONS])
    if isinstance(guests, Unknown):
        seen = "KubeVirt runs; whether its" if runs else "Whether"
        words = f"{seen} virtual machines are bridged to the pod network could not be seen"
        return unseen("guests-unseen", words, guests)
    if isinstance(guests, Absent):
        return not_applicable("no-kubevirt", "The API knows no virtual machines of KubeVirt.")
    total, bridged = guests.value.count, guests.value.bridged
    if not bridged.count:
        return passed(
            "none-bridged",
            f"None of the {total} running virtual machines is bridged to the pod network."
            if total
            else "No virtual machines run.",
            observed=f"{total} virtual machines",
        )
    names = listed(bridged.examples, total=bridged.count)
    observed = f"{bridged.count} of {total} virtual machines bridged: {names}"
    is_are = "is" if bridged.count == 1 else "are"
    what = f"Of {total} running virtual machines {bridged.count} {is_are} bridged to the pod network"
    bugs = [bug for bug in given.release.add_ons.guest_bug if calico.within(bug.releases) is not False]
    if not bugs:
        return passed("bridged", f"{what}, of which no bug of Calico {calico} is known.", observed=observed)
    bug = bugs[0]
    if calico.within(bug.releases) is None:
        return unknown(
            "patch",
            f"{what}: whether they are reached depends on the patch of Calico {calico}, and they are from "
            f"{bug.fixed_in} on. Name the patch that you mean with --calico-version.",
            reason=Reason.UNSUPPORTED,
            observed=observed,
        )
    rule, felix = given.release.add_ons.kubevirt, felix_of(given)
    if felix.unseen is not None:
        return unseen("felix-unseen", f"{what}: whether {rule.field} is {rule.value} could not be told", felix.unseen)
    if not felix.nodes(lambda one: (one.bpf_redirect_to_peer or "").lower() != rule.value.lower()):
        return passed(
            "worked-around",
            f"{what}; {rule.field} is {rule.value}, which keeps a bug of Calico {calico} away from them.",
            observed=observed,
        )
    patch = json.dumps({"spec": {rule.field: rule.value}})
    return warn(
        "bridged",
        f"{what} ({names}): in eBPF mode of Calico {calico} {bug.message}.",
        observed=observed,
        required=f"Calico {bug.fixed_in} or later, or {rule.field} {rule.value}",
        remediation=Remediation(
            text=f"Set {rule.field} to {rule.value}, which makes traffic to all pods a little slower; or upgrade "
            f"Calico to {bug.fixed_in} or later; or give the guests masquerade in the place of bridge.",
            commands=(f"kubectl patch felixconfiguration default --type merge -p {shlex.quote(patch)}",),
        ),
    )


@check(
    id="cluster.multus",
    title="Further networks of pods",
    category="cluster",
    scope="cluster",
    severity=Severity.NOTE,
    needs=(_ADD_ONS, _GROUPS, _WORKLOADS, _PODS),
)
def multus(given: Given) -> Outcome:
    """Whether pods have interfaces that Felix does not know."""
    rule, add_ons, groups = given.release.add_ons.multus, given[_ADD_ONS], given[_GROUPS]
    is_there = rule.program in _programs(add_ons) or (isinstance(groups, Known) and rule.group in groups.value)
    if not is_there:
        hidden = next((fact for fact in (groups, add_ons) if isinstance(fact, Unknown)), None)
        if hidden is not None:
            return unseen("multus-unseen", "Whether Multus is installed could not be seen", hidden)
        return not_applicable("no-multus", "Multus is not installed.")
    pods, workloads = given[_PODS], given[_WORKLOADS]
    is_whole = isinstance(pods, Known)
    asked: Fact[Workloads] = pods if is_whole else workloads
    if not isinstance(asked, Known):
        return unseen("workloads-unseen", "Multus is installed; which pods have further networks is not known", asked)
    users = asked.value.extra_networks
    limit = "" if is_whole else " Templates alone were read; --scan-pods reads pods that have none."
    if not users.count:
        return passed(
            "none", f"Multus is installed, and no {'pod' if is_whole else 'workload'} asks for further networks.{limit}"
        )
    what = f"{users.count} {'pod' if is_whole else 'workload'}{'' if users.count == 1 else 's'}"
    names = listed(users.examples, total=users.count)
    return passed(
        "extra-networks",
        f"Further networks are asked for by {what} ({names}). Felix {given.release.version} knows the "
        "interface that Calico gave a pod alone: traffic over the others has neither Calico's policies nor Services, "
        "in eBPF mode as before. A NIC that is a port of a bridge for them is for node.net.iface-topology to judge; "
        f"what goes over a NIC that Felix attaches to, by macvlan or ipvlan, is best tried on one node first.{limit}",
        observed=f"{what}: {names}",
        note=True,
    )


@check(
    id="cluster.bpf.others",
    title="Other programs on BPF hooks",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(_SETTLED_ADD_ONS, _KERNELS, _FELIX),
)
def bpf_others(given: Given) -> Outcome:
    """Whether others have programs on the hooks that Felix uses, and take its own away."""
    running = _programs(given[_SETTLED_ADD_ONS])
    found = [(entry, _weight(given, entry)) for entry in given.release.add_ons.bpf_program if entry.program in running]
    if not found:
        return passed("none", "Nothing that is known to put BPF programs on Felix's hooks runs in the cluster.")
    names = ", ".join(entry.title for entry, _ in found)
    warned = [entry for entry, weight in found if weight == "warn"]
    if warned:
        return warn(
            "takes-away",
            f"{_said(warned)}{_sweep(given, warned)}",
            observed=names,
            required="programs of others leave Felix's alone",
            remediation=Remediation(text=" ".join(entry.remedy for entry in warned)),
        )
    untold = [entry for entry, weight in found if weight == "unknown"]
    if untold:
        hidden = felix_of(given).unseen or next(
            (share.fact for share in given[_KERNELS] if isinstance(share.fact, Unknown)), None
        )
        kernel = untold[0].spared_from_kernel
        return unknown(
            "kernels",
            f"{_said(untold)} Whether all nodes' kernels have TCX could not be told: those from {kernel} on do, and "
            "some that distributions patch.",
            reason=hidden.reason if hidden is not None else Reason.UNSUPPORTED,
            observed=names,
            remediation=Remediation(text=" ".join(entry.remedy for entry in untold)),
        )
    spared = [entry for entry, _ in found]
    return passed("beside", f"{_said(spared, spared=True)}{_sweep(given, spared)}", observed=names, note=True)


def _said(entries: Iterable[BpfProgram], *, spared: bool = False) -> str:
    return " ".join(
        f"{entry.title[0].upper()}{entry.title[1:]} runs: {(spared and entry.spared) or entry.message}."
        for entry in entries
    )


def _sweep(given: Given, entries: Iterable[BpfProgram]) -> str:
    """Say what Felix does to programs on the tc qdisc."""
    rule, calico = given.release.add_ons.tcx_sweep, given.release.version
    names = [entry.title for entry in entries if entry.on_tc]
    if not names or not calico.within(rule.releases) or felix_of(given).nodes(lambda one: is_on_tc(given, one)):
        return ""
    return (
        f" On kernels from {rule.kernel} on, Felix {calico} deletes the tc qdisc of the interfaces that it attaches "
        f"to, and with it what {' and '.join(names)} put there."
    )


def _weight(given: Given, entry: BpfProgram) -> Literal["warn", "note", "unknown"]:
    if not entry.spared_from_kernel:
        return entry.status
    if not given.release.version.within(entry.spared_releases):
        return "warn"
    felix = felix_of(given)
    if felix.nodes(lambda one: is_on_tc(given, one)):
        return "warn"
    floor = KernelRelease.parse(entry.spared_from_kernel)
    kernels = [
        KernelRelease.parse(share.fact.value) if isinstance(share.fact, Known) else None for share in given[_KERNELS]
    ]
    # Enterprise Linux patches newer features into its old kernels.
    older = [kernel for kernel in kernels if kernel is not None and floor is not None and kernel.base < floor.base]
    if any(not kernel.is_el for kernel in older):
        return "warn"
    if felix.unseen is not None:
        return "unknown"
    return "unknown" if older or None in kernels or not kernels else "note"


def is_on_tc(given: Given, settings: FelixSettings) -> bool:
    """Whether Felix is told to attach by tc where it could by TCX."""
    return (settings.bpf_attach_type or "").lower() == given.release.add_ons.tcx_sweep.off.lower()


def _programs(add_ons: Fact[tuple[AddOn, ...]]) -> frozenset[str]:
    return frozenset(one.program for one in add_ons.value) if isinstance(add_ons, Known) else frozenset()
