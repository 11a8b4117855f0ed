"""From a snapshot's facts and its report to a plan."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ebpfcheck.exitcodes import FailOn, exit_code
from ebpfcheck.knowledge.plan_tables import Disruption
from ebpfcheck.model.facts import Known
from ebpfcheck.model.plan import Blocker, Patch, Plan, Step
from ebpfcheck.model.report import Finding, Report, Severity, Status, Verdict
from ebpfcheck.model.snapshot import Snapshot
from ebpfcheck.model.text import excerpt
from ebpfcheck.plan import address, kube_proxy, switch
from ebpfcheck.plan.case import Case, unread
from ebpfcheck.plan.step import Pair, made
from ebpfcheck.versions import CalicoVersion

_MENDED = {
    "dns": ("cluster.dns.nodelocal",),
    "mesh": ("cluster.mesh.ctlb",),
    "kube-proxy-stays": ("cluster.kube-proxy.cleanup", "cluster.kube-proxy.healthz-port"),
    # What the address is worth is judged as if it were there already.
    "api-endpoint": ("cluster.api-endpoint.present", "cluster.api-endpoint.usable"),
    "kube-proxy-off": ("cluster.kube-proxy.cleanup", "cluster.kube-proxy.managed", "cluster.kube-proxy.healthz-port"),
}
"""What each step mends of what the report says."""

_SAFE_ANYWAY = ("kube-proxy-mode", "dns")
"""Steps that may be done, or have to be, while the cluster is not ready yet."""


def plan_of(
    case: Case,
    snapshot: Snapshot,
    report: Report,
    fail_on: FailOn,
    *,
    running: CalicoVersion | None,
    hypotheses: Sequence[Finding] = (),
) -> Plan:
    """Return the plan for a cluster.

    `running`: the release that it runs, None where that is not known; `hypotheses`: what the checks would say of direct
    server return, if that is asked for, and of the API server's address, were they there.
    """
    dsr = next((one for one in hypotheses if one.id == "cluster.dsr"), None)
    pairs = tuple(_pairs(case, report, dsr))
    first = switch.felix_default(case, pairs)
    pairs = (first, *pairs) if first is not None else pairs
    mended = {check for pair in pairs for check in _MENDED.get(pair.there.id, ())} | _mended_by_switch(pairs)
    supposed = [one for one in hypotheses if one.id != "cluster.dsr"]
    blockers = (
        *_lacking(case),
        *_of(report.findings, Status.FAIL, mended),
        *_of(hypotheses, Status.FAIL),
        *(_other_release(case, running) if pairs else ()),
    )
    undecided = (*unread(case), *_undecided(report, mended), *_of(supposed, Status.UNKNOWN))
    cautions = (
        *_of(report.findings, Status.WARN, mended),
        *_of(hypotheses, Status.WARN),
        # It is the last step and easily taken back, so that what is not known of it keeps nobody from the rest.
        *_of([dsr] if dsr is not None else [], Status.UNKNOWN),
        *_owned(report),
    )
    verdict = _verdict(blockers, undecided, cautions)
    safe = verdict in (Verdict.READY, Verdict.READY_WITH_WARNINGS)
    return msgspec.structs.replace(
        empty_plan(case, snapshot, report, verdict, fail_on),
        method=_method(case, pairs),
        api_endpoint=None if case.bootstraps else case.endpoint,
        image=case.calico_node.image if case.calico_node is not None else None,
        blockers=blockers,
        undecided=undecided,
        cautions=cautions,
        forecast=tuple(_forecast(case)) if pairs else (),
        steps=tuple(_marked(pair.there, safe=safe) for pair in pairs),
        rollback=_way_back(case, pairs),
        residue=tuple(residue_of(case)),
    )


def empty_plan(case: Case, snapshot: Snapshot, report: Report, verdict: Verdict, fail_on: FailOn) -> Plan:
    """Return a plan that says what it is for and from when, and nothing yet of what is to be done."""
    return Plan(
        tool=report.tool,
        made_at=report.finished_at,
        snapshot_taken_at=snapshot.taken_at,
        target=report.target,
        calico=report.calico,
        dataplane=report.discovered.dataplane if report.discovered is not None else None,
        verdict=verdict,
        exit_code=exit_code(verdict, fail_on),
        method="",
        api_servers=case.api_servers,
        cluster_id=case.cluster_id,
        calico_node=case.node_target,
    )


def _pairs(case: Case, report: Report, dsr: Finding | None) -> Iterator[Pair]:
    if case.install not in ("operator", "manifest"):
        return
    if not case.is_on:
        mode = next((one for one in report.findings if one.id == "cluster.kube-proxy.mode"), None)
        found = [
            kube_proxy.kube_proxy_mode(case, mode),
            switch.dns(case),
            switch.mesh(case),
            switch.vxlan_port(case),
            kube_proxy.kube_proxy_stays(case),
            address.reach(case),
            *address.address(case),
            address.proof(case),
            kube_proxy.kube_proxy_off(case),
            switch.enable(case),
            kube_proxy.nft_tables(case),
            switch.verification(case),
            switch.workloads(case),
        ]
        yield from (pair for pair in found if pair is not None)
    last = switch.direct_return(case, dsr)
    if last is not None:
        yield last


_SERVICES_FIRST = ("enable", "kube-proxy-off")


def _way_back(case: Case, pairs: Sequence[Pair]) -> tuple[Step, ...]:
    """Return the way back: first what brings Services back, then what is waited for, then the rest, the last first."""
    back = [pair.back for pair in reversed(pairs) if pair.back is not None]
    first = [step for step in back if step.id in _SERVICES_FIRST]
    rest = [step for step in back if step.id not in _SERVICES_FIRST]
    if not any(step.id == "enable" for step in first):
        return tuple(back)
    if case.manages_kube_proxy:
        # The operator brings kube-proxy back for as long as it is asked to look after it.
        return (*first[:1], made(switch.settled(case)), *first[1:], *rest, made(switch.verified_off(case)))
    return (*first, made(switch.settled(case)), *rest, made(switch.verified_off(case)))


def _mended_by_switch(pairs: Sequence[Pair]) -> set[str]:
    """Return what the switch itself mends."""
    enabling = next((pair.there for pair in pairs if pair.there.id == "enable"), None)
    if enabling is None:
        return set()
    fields = [field.path[-1] for action in enabling.actions if isinstance(action, Patch) for field in action.fields]
    found = {"cluster.hostport"} if "hostPorts" in fields else set()
    return found | ({"cluster.api-endpoint.present"} if "bpfNetworkBootstrap" in fields else set())


def lacking_install(case: Case) -> Iterator[Blocker]:
    """Return why there are no steps at all."""
    if case.install == "none":
        yield Blocker(id="", message="Calico is not installed here: install it first, in eBPF mode if you like.")
    elif case.install == "unknown":
        yield Blocker(
            id="",
            message="How Calico is installed could not be told, by the operator or by manifests, and the steps hang on "
            "it: --install operator or --install manifest names it.",
        )


def _lacking(case: Case) -> Iterator[Blocker]:
    """Return what the plan itself lacks."""
    yield from lacking_install(case)
    if case.install not in ("operator", "manifest"):
        return
    if case.is_on or case.bootstraps or not case.release.reads_endpoint_config_map:
        return
    endpoint = case.endpoint
    if endpoint is None:
        yield Blocker(
            id="",
            message=f"There is no address of the API server to give to Calico: {case.found.reason}. Once there is one, "
            "name it with --api-endpoint HOST:PORT.",
        )
    elif not endpoint.usable:
        yield Blocker(
            id="",
            message=f"{excerpt(endpoint.host, 120)} will not do as the address of the API server: {endpoint.remark}.",
        )


def _other_release(case: Case, running: CalicoVersion | None) -> Iterator[Blocker]:
    target = case.release.version
    if running is None:
        yield Blocker(
            id="",
            message=f"Which release of Calico runs could not be told, and the steps are those of {target}.",
        )
    elif (running.major, running.minor) != (target.major, target.minor):
        yield Blocker(
            id="",
            message=f"The cluster runs Calico {running}, and the steps are those of {target}: upgrade first, or plan "
            "without --calico-version.",
        )


def _of(findings: Iterable[Finding], status: Status, mended: Iterable[str] = ()) -> Iterator[Blocker]:
    for finding in findings:
        if finding.status is status and finding.id not in mended and finding.waived_by is None:
            yield _blocker(finding)


def _blocker(finding: Finding) -> Blocker:
    return Blocker(id=finding.id, message=finding.message, subjects=finding.subjects, remediation=finding.remediation)


def _owned(report: Report) -> Iterator[Blocker]:
    """Return who would put back what the plan changes."""
    yield from (_blocker(one) for one in report.findings if one.id == "cluster.config-owner" and one.note)


def _undecided(report: Report, mended: Iterable[str]) -> Iterator[Blocker]:
    open_ones = [
        finding
        for finding in report.findings
        if finding.status is Status.UNKNOWN and finding.severity is Severity.BLOCKER and finding.id not in mended
    ]
    unlooked = {one.id: None for one in open_ones if one.needs_survey}
    yield from (_blocker(one) for one in open_ones if not one.needs_survey)
    coverage = report.coverage
    unseen = coverage.nodes_total - coverage.nodes_surveyed - coverage.nodes_inferred
    if unlooked or unseen:
        yield Blocker(
            id="",
            message=f"{unseen} of {coverage.nodes_total} nodes were not looked at"
            + (f", and {len(unlooked)} checks that can fail need that" if unlooked else "")
            + ": plan with --probe exec or --probe pod, or from a snapshot that was taken so.",
        )
    elif not coverage.nodes_total:
        yield Blocker(id="", message="No node was seen.")


def _verdict(blockers: Sequence[Blocker], undecided: Sequence[Blocker], cautions: Sequence[Blocker]) -> Verdict:
    if blockers:
        return Verdict.NOT_READY
    if undecided:
        return Verdict.INCONCLUSIVE
    return Verdict.READY_WITH_WARNINGS if cautions else Verdict.READY


def _marked(step: Step, *, safe: bool) -> Step:
    return msgspec.structs.replace(step, is_safe=safe or step.id in _SAFE_ANYWAY)


def _method(case: Case, pairs: Sequence[Pair]) -> str:
    if case.is_on:
        return "eBPF mode is configured already; `ebpfcheck verify` tells whether it runs on every node."
    if not pairs:
        return "There is nothing to plan with yet."
    way = (
        "the operator finds the API servers by itself (bpfNetworkBootstrap)"
        if case.bootstraps
        else f"Calico is told the API server's address by a ConfigMap in {excerpt(case.namespace or '', 80)}"
        if case.release.reads_endpoint_config_map
        else "Calico of this release has no way of being told the API server's address"
    )
    switch = (
        "linuxDataplane of the Installation switches" if case.has_dataplane_field
        else "bpfEnabled in FelixConfiguration switches"
    )  # fmt: skip
    if case.proxy.has_to_stay:
        proxy = "kube-proxy stays"
    elif case.proxy.is_off:
        proxy = "kube-proxy is off already"
    elif case.manages_kube_proxy:
        proxy = "the operator takes kube-proxy away (kubeProxyManagement)"
    else:
        proxy = "kube-proxy goes by a step of its own"
    return f"{switch}; {way}; {proxy}."


def _forecast(case: Case) -> Iterator[str]:
    pools = case.facts.ip_pools
    services = case.facts.services
    by_node = case.has_dataplane_field and not case.release.operator_sets_felix
    is_used = {
        "always": True,
        "vxlan": isinstance(pools, Known)
        and any(one.vxlan_mode != "Never" and not one.disabled for one in pools.value),
        "node_ports": isinstance(services, Known) and services.value.of_node_ports.count > 0,
        "at_once": not by_node,
        "by_node": by_node,
        "mtu": switch.has_no_overlay(case),
    }
    entries: tuple[Disruption, ...] = case.release.plan.disruption
    for entry in entries:
        if case.release.version.within(entry.releases) is not False and is_used[entry.when]:
            yield entry.words
    looked_for = (("the IPPools", pools), ("the Services", services))
    unseen = [name for name, fact in looked_for if not isinstance(fact, Known)]
    if unseen:
        yield f"{' and '.join(unseen)} were not seen, so that more may be cut than is said here.".capitalize()


def residue_of(case: Case) -> Iterator[str]:
    """Return what stays on nodes after the way back."""
    release = case.release
    for entry in release.plan.residue:
        is_here = entry.install in ("", case.install)
        if is_here and release.version.within(entry.releases) is not False:
            yield entry.words + (", until the node is rebooted" if entry.reboot else "")
    if case.has_dataplane_field and release.operator_sets_felix:
        yield f"the operator's annotation {release.calico.operator.annotation} on FelixConfiguration default, as false"
