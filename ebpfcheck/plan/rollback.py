"""The way back: of a plan, to what was there when it was made; without one, to the standard dataplane."""

from collections.abc import Iterator, Sequence

import msgspec

from ebpfcheck.checks.kube_proxy_state import CLEANUP, is_on
from ebpfcheck.exitcodes import FailOn
from ebpfcheck.model.plan import (
    Action,
    Blocker,
    Condition,
    Manual,
    Pause,
    Plan,
    Runs,
    Step,
    Value,
)
from ebpfcheck.model.report import Finding, Report, Status, Verdict
from ebpfcheck.model.snapshot import Snapshot
from ebpfcheck.plan.build import empty_plan, lacking_install, residue_of
from ebpfcheck.plan.case import CLUSTER_NETWORK, INSTALLATION, Case, unread
from ebpfcheck.plan.kube_proxy import IS_BACK
from ebpfcheck.plan.step import made, patched
from ebpfcheck.plan.switch import settled, verified_off

_TO_PLAN = "It leads back to what was there when the plan was made: each field gets the value that it had then."
_TO_DEFAULTS = (
    "It leads back to the standard dataplane. What was set before eBPF mode is not known without the plan that enabled "
    "it, so that fields get their defaults."
)
_CUTS = "Connections that eBPF programs keep are cut, those through Services among them."
_STANDARD = "Iptables"


def rollback_of(plan: Plan) -> Plan:
    """Return the way back as a plan of its own; that of a way back is itself."""
    if plan.direction == "rollback":
        return plan
    return msgspec.structs.replace(
        plan,
        direction="rollback",
        verdict=Verdict.READY,
        exit_code=0,
        method=_TO_PLAN,
        blockers=(),
        undecided=(),
        cautions=(),
        forecast=(_CUTS,),
        steps=plan.rollback,
        rollback=(),
    )


def rollback_from(case: Case, snapshot: Snapshot, report: Report, fail_on: FailOn) -> Plan:
    """Return the way from what a cluster is configured for now to the standard dataplane."""
    steps = tuple(made(step) for step in _steps(case, report))
    blockers, undecided = (*lacking_install(case), *_out_of_reach(case, steps)), tuple(unread(case))
    verdict = Verdict.NOT_READY if blockers else Verdict.INCONCLUSIVE if undecided else Verdict.READY
    return msgspec.structs.replace(
        empty_plan(case, snapshot, report, verdict, fail_on),
        direction="rollback",
        method=_TO_DEFAULTS if steps else "Nothing of eBPF mode is configured: there is nothing to take back.",
        blockers=blockers,
        undecided=undecided,
        cautions=tuple(_kept(case)) if steps else (),
        forecast=(_CUTS,) if steps else (),
        steps=tuple(msgspec.structs.replace(step, is_safe=not blockers and not undecided) for step in steps),
        residue=tuple(residue_of(case)) if steps else (),
    )


def _steps(case: Case, report: Report) -> Iterator[Step]:
    if case.install not in ("operator", "manifest"):
        return
    disable = _disable(case)
    if disable is None and case.felix.nodes(is_on):
        # kube-proxy must not come back beside eBPF mode.
        return
    found = [
        *([_ownership(report)] if _is_asked(case) else []),
        disable,
        _kube_proxy(case),
        settled(case) if disable is not None else None,
        _management(case),
        _direct_return(case),
        _felix(case),
    ]
    steps = [step for step in found if step is not None]
    yield from steps
    if steps:
        yield verified_off(case)


def _out_of_reach(case: Case, steps: Sequence[Step]) -> Iterator[Blocker]:
    """Return why there is no way, where eBPF mode is on by what no step turns off."""
    nodes = case.felix.nodes(is_on)
    if nodes and not any(step.id == "enable" for step in steps) and case.install in ("operator", "manifest"):
        yield Blocker(
            id="",
            message=f"eBPF mode is on for {nodes} nodes, and neither the Installation nor FelixConfiguration default "
            "says so: a variable of calico-node (FELIX_BPFENABLED) or FelixConfigurations for nodes do. Take it away "
            "there, and look again.",
        )


def _ownership(report: Report) -> Step | None:
    """The operator may turn bpfEnabled off."""
    finding: Finding | None = next((one for one in report.findings if one.id == "cluster.felix.ownership"), None)
    if finding is None or finding.status not in (Status.FAIL, Status.WARN) or finding.remediation is None:
        return None
    return Step(
        id="ownership",
        title="Let the operator take bpfEnabled for its own again",
        why=finding.message,
        actions=(Manual(text=finding.remediation.text, commands=finding.remediation.commands),),
        see="cluster.felix.ownership passes.",
        see_commands=("ebpfcheck cluster --only cluster.felix.ownership",),
        stop="TigeraStatus calico stays Degraded.",
    )


def _direct_return(case: Case) -> Step | None:
    mode = case.settings.bpf_external_service_mode
    if mode in (None, "Tunnel"):
        return None
    return Step(
        id="dsr",
        title="Let answers go back by the node that was asked",
        why="Direct server return is a setting of eBPF mode.",
        actions=(patched(case.felix_target, (("spec", "bpfExternalServiceMode"), mode, None)),),
        disrupts="Connections from outside to Services whose pods are on another node are cut.",
        see="The field is gone.",
        stop="FelixConfiguration has changed meanwhile.",
    )


def _disable(case: Case) -> Step | None:
    release, asked = case.release, case.installation
    times = release.plan.times
    actions: tuple[Action, ...]
    if case.has_dataplane_field:
        network = ("spec", "calicoNetwork")
        changes: list[tuple[tuple[str, ...], Value, Value]] = []
        if _is_asked(case):
            changes.append(((*network, "linuxDataplane"), asked.linux_dataplane, _STANDARD))
        if asked.bpf_network_bootstrap == "Enabled":
            # The operator takes one without the other for a mistake, so both go in one request.
            changes.append(((*network, "bpfNetworkBootstrap"), asked.bpf_network_bootstrap, None))
        actions = (patched(INSTALLATION, *changes),) if changes else ()
        if not _is_asked(case) and case.settings.bpf_enabled is True:
            # Somebody has turned it on past the operator, which sets what nobody has set.
            actions = (*actions, patched(case.felix_target, (("spec", "bpfEnabled"), True, None)))
        if not actions:
            return None
    elif case.felix.nodes(is_on) and case.settings.bpf_enabled is True:
        restarting = Pause(seconds=times.kubelet_seconds, why="Felix restarts itself on every node")
        actions = (patched(case.felix_target, (("spec", "bpfEnabled"), True, False)), restarting)
    else:
        return None
    return Step(
        id="enable",
        title="Disable eBPF mode",
        why="On its restart Felix removes its programs and goes on with the standard dataplane.",
        actions=actions,
        disrupts=_CUTS,
        see="The fields are what they should be.",
        stop="It is refused.",
    )


def _is_asked(case: Case) -> bool:
    """Whether the operator is asked for eBPF mode."""
    return case.has_dataplane_field and case.installation.linux_dataplane == case.release.calico.operator.bpf


def _kube_proxy(case: Case) -> Step | None:
    proxy, target, openshift = case.proxy, case.proxy_target, case.openshift
    if not proxy.is_off and proxy.state != "inside":
        return None
    selectors = case.release.kube_proxy.switch.selectors
    actions: list[Action] = []
    after: list[Condition] = []
    if openshift is not None:
        if openshift.deploy_kube_proxy is not False:
            return None
        actions.append(patched(CLUSTER_NETWORK, (("spec", "deployKubeProxy"), False, True)))
        after.append(IS_BACK)
    else:
        own = [] if case.installation.kube_proxy_management != "Enabled" else [selectors[1]]
        kept = dict(proxy.seen.node_selector) if proxy.seen is not None else {}
        keys = [key for key in selectors if key in kept and key not in own]
        if target is not None and keys:
            path = ("spec", "template", "spec", "nodeSelector")
            actions.append(patched(target, *(((*path, key), kept[key], None) for key in keys)))
            after.append(Runs(target=target, minutes=case.release.plan.times.minutes))
        if proxy.owners:
            after.insert(0, IS_BACK)
        actions += [Manual(text=owner.undo or f"Take back what was changed at {owner.name}.") for owner in proxy.owners]
        if not actions:
            if own or proxy.seen is not None:
                return None
            actions.append(Manual(text="Switch kube-proxy on again where it is started on the nodes."))
            after.append(IS_BACK)
    return Step(
        id="kube-proxy-off",
        title="Bring kube-proxy back",
        why="Nobody else serves Services once eBPF mode is off.",
        actions=tuple(actions),
        after=tuple(after),
        disrupts="kube-proxy makes its rules anew on each node.",
        see="kube-proxy runs on every node.",
        stop="A node has no kube-proxy: it has no Services.",
    )


def _management(case: Case) -> Step | None:
    if case.installation.kube_proxy_management != "Enabled":
        return None
    change = (("spec", "calicoNetwork", "kubeProxyManagement"), "Enabled", None)
    target = case.proxy_target
    runs = (Runs(target=target, minutes=case.release.plan.times.minutes),) if target is not None else ()
    return Step(
        id="kube-proxy-management",
        title="Let the operator leave kube-proxy alone",
        why="It looks after kube-proxy for the sake of eBPF mode alone.",
        before=runs,
        actions=(patched(INSTALLATION, change),),
        see="kube-proxy runs on every node.",
        stop="kube-proxy is still kept off the nodes: the operator no longer brings it back once this is done.",
    )


def _felix(case: Case) -> Step | None:
    settings, release = case.settings, case.release
    found: list[tuple[str, Value]] = [(CLEANUP, settings.bpf_kube_proxy_iptables_cleanup_enabled)]
    if release.healthz_field is not None:
        found.append((release.healthz_field, settings.bpf_kube_proxy_healthz_port))
    changes = [(("spec", field), value, None) for field, value in found if value is not None]
    if not changes:
        return None
    return Step(
        id="felix",
        title="Take out of FelixConfiguration what was set for eBPF mode",
        why="It has no use without eBPF mode, and would surprise whoever enables it one day.",
        actions=(patched(case.felix_target, *changes),),
        see="The fields are gone.",
        stop="FelixConfiguration has changed meanwhile.",
    )


def _kept(case: Case) -> Iterator[Blocker]:
    """Return what is left as it is, since nobody can tell whether it was so before."""
    if case.settings.vxlan_port not in (None, case.release.network.vxlan.port):
        yield Blocker(
            id="",
            message=f"vxlanPort stays {case.settings.vxlan_port}: whether it was set for eBPF mode is not known.",
        )
    if case.override is not None:
        name = case.release.platforms.api_endpoint.config_map
        yield Blocker(id="", message=f"The ConfigMap {name} stays, which does no harm.")
