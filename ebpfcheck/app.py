"""The use cases of judging: plain arguments and a snapshot in, a report out. Nothing here prints or exits."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from ebpfcheck import __version__
from ebpfcheck.checks.strings import judge_strings
from ebpfcheck.engine import decide, disagreements, gather, judge, summarize
from ebpfcheck.errors import UsageError
from ebpfcheck.exitcodes import ExitCode, FailOn, exit_code, kernel_exit_code
from ebpfcheck.knowledge import KNOWLEDGE_DATE
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.knowledge.types import Knowledge, Release
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import NOT_SURVEYED, NOT_TRIED, TRIAL_FACTS, Endpoint, Install, Known, Reason
from ebpfcheck.model.kernels import KernelQuestion, KernelReport, KernelResult
from ebpfcheck.model.plan import Plan
from ebpfcheck.model.report import (
    BaselineUse,
    CalicoTarget,
    Coverage,
    Discovered,
    Finding,
    Platform,
    Report,
    ReportTarget,
    Selection,
    Status,
    Tool,
    Verdict,
    is_below_floor,
)
from ebpfcheck.model.snapshot import Problem, Snapshot
from ebpfcheck.model.text import excerpt, visible
from ebpfcheck.policy.baseline import Baseline, compare, remarks, without_known
from ebpfcheck.policy.severity import reweigh
from ebpfcheck.policy.waivers import waive
from ebpfcheck.registry import load_registry, load_verify_registry
from ebpfcheck.settings import Settings
from ebpfcheck.versions import CalicoVersion

if TYPE_CHECKING:
    from ebpfcheck.plan.case import Case

VersionSource = Literal["flag", "cluster", "default"]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The release to judge for, why that one, and what one should know of the choice."""

    version: CalicoVersion
    source: VersionSource
    remark: str | None = None


class Judge:
    """Settings, held against the knowledge and the checks that there are; UsageError if they name what is not known.

    With `of_nodes`, only snapshots without a cluster can be judged, and less is loaded. Settings that expect a
    dataplane have it judged what runs, by checks of their own.
    """

    def __init__(self, settings: Settings, *, of_nodes: bool = False) -> None:
        self._settings = settings
        if settings.baseline is not None:
            settings.baseline.check(settings.expect)
        self._knowledge = load_knowledge()
        # What was picked by name may be a check of clusters, which is told from one that there is not.
        self._registry = (
            load_registry(of_nodes=of_nodes and not settings.only and not settings.skip)
            if settings.expect is None
            else load_verify_registry()
        )
        self._checks = self._registry.select(settings.only, settings.skip)
        target_version(self._knowledge, settings.calico_version, ClusterFacts())

    def report(self, snapshot: Snapshot, command: str, started_at: datetime, *, is_interrupted: bool = False) -> Report:
        """Judge a snapshot; UsageError if the checks that were picked concern a cluster and it holds none.

        `is_interrupted`: the user did not wait for all of it, which the exit code then says.
        """
        settings = self._settings
        target, release, install = self._aim(snapshot)
        concerned = [check for check in self._registry.checks if _concerns(check, snapshot)]
        checks = [check for check in self._checks if check in concerned]
        if not checks and all(check.of_trial for check in self._checks):
            raise UsageError("the checks that were picked take a trial (--trial), which was not made")
        if not checks:
            raise UsageError("the checks that were picked are about a cluster, which was not looked at")
        judged = judge(snapshot, checks, release, install, settings.expect or "bpf")
        counted = reweigh(judged, settings.severities)
        waived = waive(counted, settings.waivers, started_at.date(), self._known_ids())
        findings = waived.findings
        coverage = msgspec.structs.replace(coverage_of(snapshot), floor=settings.coverage_floor)
        told = any(one.status in (Status.PASS, Status.WARN, Status.FAIL) for one in findings)
        verdict = self._verdict(snapshot, findings, coverage, told=told)
        platform, discovered = _discovered(snapshot, release, install)
        report = Report(
            tool=Tool(version=__version__, knowledge=KNOWLEDGE_DATE),
            command=command,
            expect=settings.expect,
            scope=settings.scope,
            started_at=started_at,
            finished_at=_now(),
            target=_target(snapshot, platform),
            calico=CalicoTarget(
                version=str(target.version),
                source=target.source,
                install=install,
                remark=target.remark,
                felix_settings=_felix_source(snapshot),
            ),
            verdict=verdict,
            exit_code=ExitCode.INTERRUPTED if is_interrupted else exit_code(verdict, settings.fail_on),
            coverage=coverage,
            selection=Selection(
                run=len(checks),
                skipped=tuple(check.id for check in concerned if check not in checks),
            ),
            summary=summarize(findings),
            findings=findings,
            discovered=discovered,
            waivers=waived.waivers,
            settings=settings.sources,
            problems=tuple(
                _shown(problem)
                for problem in (
                    *self._registry.problems,
                    *snapshot.problems,
                    *waived.problems,
                    *self._shortfall(coverage),
                )
            ),
        )
        if settings.baseline is None:
            return report
        return self._held_against(settings.baseline, report, snapshot, told=told)

    def _verdict(self, snapshot: Snapshot, findings: tuple[Finding, ...], coverage: Coverage, *, told: bool) -> Verdict:
        """Return the verdict of some findings; `told`: whether any check could tell something."""
        settings = self._settings
        if settings.expect is None:
            # Where checks were picked by name, those of a package that does not load were not meant.
            checks_lost = bool(self._registry.problems) and not settings.only
            return decide(findings, coverage, scope=settings.scope, checks_lost=checks_lost)
        # What Felix says of each node will do, but not where more was asked for and did not come, nor where the checks
        # that were picked tell nothing without a look at the nodes.
        return decide(findings, coverage, scope="api", checks_lost=_is_partial(snapshot) or not told)

    def _shortfall(self, coverage: Coverage) -> list[Problem]:
        """Return the problem that fewer nodes were looked at than the policy wants, where that counts."""
        settings = self._settings
        if settings.expect is not None or settings.scope == "api" or not is_below_floor(coverage):
            return []
        origin = next((one.origin for one in settings.sources if one.name == "coverage_floor"), "coverage_floor")
        words = f"{coverage.nodes_surveyed:,} of {coverage.nodes_total:,} nodes were looked at themselves"
        detail = f"{words}, and the coverage floor is {coverage.floor} percent of them"
        return [Problem(source=origin, reason=Reason.NOT_COLLECTED, detail=detail)]

    def _held_against(self, baseline: Baseline, report: Report, snapshot: Snapshot, *, told: bool) -> Report:
        """Return the report with what the baseline has marked, and the exit code of what is new."""
        compared = compare(report.findings, baseline.report)
        fresh = tuple(one for one in compared.findings if not one.in_baseline)
        coverage = report.coverage
        if snapshot.cluster is None or not coverage.nodes_unlisted:
            coverage = without_known(coverage, baseline.report.coverage)
        verdict = self._verdict(snapshot, fresh, coverage, told=told)
        interrupted = report.exit_code == ExitCode.INTERRUPTED
        return msgspec.structs.replace(
            report,
            findings=compared.findings,
            summary=summarize(compared.findings),
            exit_code=ExitCode.INTERRUPTED if interrupted else exit_code(verdict, self._settings.fail_on),
            baseline=BaselineUse(
                file=visible(baseline.file),
                finished_at=baseline.report.finished_at,
                knowledge=visible(baseline.report.tool.knowledge),
                calico=visible(baseline.report.calico.version),
                known=compared.known,
                new=compared.new,
                verdict=verdict,
            ),
            problems=(*report.problems, *map(_shown, remarks(report, baseline))),
        )

    def _known_ids(self) -> tuple[str, ...]:
        """Return the ids of all checks that there are, where something is held against them."""
        if not self._settings.waivers:
            return ()
        return tuple(check.id for registry in (load_registry(), load_verify_registry()) for check in registry.checks)

    def plan(self, snapshot: Snapshot, started_at: datetime, *, endpoint: Endpoint | None, dsr: bool) -> Plan:
        """Return what is to be done to switch a cluster to eBPF mode; UsageError if the snapshot holds none.

        `endpoint`: the API server's address to give to Calico, instead of what is found; `dsr`: with direct server
        return in the end.
        """
        # Imported here since nothing else takes it.
        from ebpfcheck.plan.build import plan_of
        from ebpfcheck.plan.hypothesis import with_dsr, with_override

        case, report = self._case(snapshot, started_at, endpoint)
        supposed = [("cluster.dsr", with_dsr(snapshot))] if dsr else []
        override = case.new_override
        if override is not None:
            supposed.append(("cluster.api-endpoint.usable", with_override(snapshot, override)))
        hypotheses = [
            finding
            for name, supposition in supposed
            for finding in judge(supposition, [self._registry.find(name)], case.release, case.install)
        ]
        running = running_version(case.facts, self._knowledge)
        fail_on = self._settings.fail_on
        return _named(plan_of(case, snapshot, report, fail_on, running=running, hypotheses=hypotheses))

    def rollback(self, snapshot: Snapshot, started_at: datetime) -> Plan:
        """Return the way back from what a cluster is configured for; UsageError if the snapshot holds none."""
        from ebpfcheck.plan.rollback import rollback_from

        case, report = self._case(snapshot, started_at, None)
        return _named(rollback_from(case, snapshot, report, self._settings.fail_on))

    def _case(self, snapshot: Snapshot, started_at: datetime, endpoint: Endpoint | None) -> "tuple[Case, Report]":
        from ebpfcheck.plan.case import PLAN_NEEDS, case_of

        if snapshot.cluster is None:
            raise UsageError("a plan is for a cluster, and the snapshot holds none")
        report = self.report(snapshot, "plan", started_at)
        _, release, install = self._aim(snapshot)
        return case_of(gather(snapshot, PLAN_NEEDS, release, install), snapshot.cluster, endpoint), report

    def usable_endpoints(self, snapshot: Snapshot) -> tuple[Endpoint, ...]:
        """Return the addresses by which Calico might reach the API server, the one to use first."""
        _, found = _discovered(snapshot, *self._aim(snapshot)[1:])
        if found is None:
            return ()
        candidates = (found.api_endpoint, *found.api_endpoint_candidates)
        usable = (one for one in candidates if one is not None and one.usable)
        return tuple(dict.fromkeys(Endpoint(host=one.host, port=one.port) for one in usable))

    def disagreements(self, snapshot: Snapshot, samples: Sequence[Sequence[int]]) -> list[bool]:
        """Return, for each group of surveyed nodes by their indices, whether the checks tell them apart."""
        _, release, install = self._aim(snapshot)
        return disagreements(snapshot, self._checks, release, install, samples, self._settings.expect or "bpf")

    def _aim(self, snapshot: Snapshot) -> tuple[Target, Release, Install]:
        """Return what a snapshot is judged for."""
        cluster = snapshot.cluster or ClusterFacts()
        target = target_version(self._knowledge, self._settings.calico_version, cluster)
        return target, self._knowledge.at(target.version), self._settings.install or _install(cluster)


def _concerns(check: Check, snapshot: Snapshot) -> bool:
    """Whether what a check is about was looked at, or was to be: a cluster, a node, what a trial asks the kernel."""
    if not check.of_trial:
        return snapshot.cluster is not None or check.scope == "node"
    tried = [name for need in check.needs for name in need.facts if name in TRIAL_FACTS]
    return any(getattr(kind, name) not in (NOT_TRIED, NOT_SURVEYED) for kind in snapshot.kinds for name in tried)


def _is_partial(snapshot: Snapshot) -> bool:
    """Whether nodes that should have been looked at were not."""
    return bool(snapshot.unseen) or any(
        problem.source.startswith(("--probe", "--wait")) for problem in snapshot.problems
    )


def _named(plan: Plan) -> Plan:
    """Return the plan; UsageError if it names what no API server does, as a snapshot that was made up may."""
    wrong = plan.misnamed()
    if wrong is not None:
        raise UsageError(f"the snapshot names {excerpt(wrong, 60)!r}, which no API server does")
    return plan


def coverage_of(snapshot: Snapshot) -> Coverage:
    """Return how many nodes there are and were looked at.

    A node that the API lists and that could not be looked at is told of among the unseen, and counted once.
    """
    listed = {node.identity.name for node in snapshot.nodes if not node.surveyed}
    unlisted = sum(one.name not in listed for one in snapshot.unseen)
    return Coverage(
        nodes_total=len(snapshot.nodes) + unlisted,
        nodes_surveyed=sum(node.surveyed for node in snapshot.nodes),
        nodes_inferred=sum(node.inference is not None for node in snapshot.nodes),
        nodes_unlisted=unlisted,
        unseen=snapshot.unseen,
    )


def judge_kernels(
    questions: Iterable[KernelQuestion | str], calico_version: str | None, fail_on: FailOn
) -> KernelReport:
    """Judge kernel strings; a question that is a string says why it could not be read, and is answered with that.

    UsageError if there is no question at all.
    """
    knowledge = load_knowledge()
    version = target_version(knowledge, calico_version, ClusterFacts()).version
    results = tuple(_answers(knowledge.at(version), questions))
    if not results:
        raise UsageError("no kernel was given: stdin held no line")
    return KernelReport(
        tool=Tool(version=__version__, knowledge=KNOWLEDGE_DATE),
        calico=str(version),
        exit_code=kernel_exit_code((result.status for result in results), fail_on),
        results=results,
    )


def read_questions(lines: Iterable[bytes]) -> Iterator[KernelQuestion | str]:
    """Read JSON lines, blank ones skipped; one that is not an object of the right shape gives the reason instead."""
    decode = msgspec.json.Decoder(KernelQuestion).decode
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            yield f"line {number} is not a JSON object with release or proc_version: {excerpt(str(error))}"


def target_version(knowledge: Knowledge, asked: str | None, cluster: ClusterFacts) -> Target:
    """Return the release to judge for: the one asked for, else what the cluster runs, else the newest known one.

    UsageError if what was asked for is none that the tables cover.
    """
    if asked is not None:
        version = CalicoVersion.parse(asked)
        shown = excerpt(asked, 40)
        if version is None:
            raise UsageError(f"--calico-version: {shown!r} is not a Calico release such as v3.32 or v3.32.1")
        if not knowledge.covers(version):
            raise UsageError(f"--calico-version: {shown} is outside what this ebpfcheck knows ({_range(knowledge)})")
        return Target(version=version, source="flag", remark=_remark(knowledge, version))
    running = running_version(cluster, knowledge)
    if running is None:
        return Target(version=knowledge.newest, source="default")
    if not knowledge.covers(running):
        remark = f"the cluster runs {running}, which is outside what this ebpfcheck knows ({_range(knowledge)})"
        return Target(version=knowledge.newest, source="default", remark=remark)
    return Target(version=running, source="cluster", remark=_remark(knowledge, running))


def running_version(cluster: ClusterFacts, knowledge: Knowledge) -> CalicoVersion | None:
    """Return the release that a cluster runs: by ClusterInformation, else by most images, else by the Installation.

    Tags of images count where they are releases that the tables cover, as they may be of somebody's own numbering.
    """
    if isinstance(cluster.calico_version, Known):
        version = CalicoVersion.of_build(cluster.calico_version.value)
        if version is not None:
            return version
    images = [image for image, _ in cluster.calico_pods.value.images] if isinstance(cluster.calico_pods, Known) else []
    images += [cluster.calico_node.value.image] if isinstance(cluster.calico_node, Known) else []
    for image in images:
        version = CalicoVersion.of_image(image)
        if version is not None and knowledge.covers(version):
            return version
    installed = cluster.installation.value.calico_version if isinstance(cluster.installation, Known) else None
    return None if installed is None else CalicoVersion.of_build(installed)


def _range(knowledge: Knowledge) -> str:
    return f"v{knowledge.releases.first} to v{knowledge.releases.last}, as of {KNOWLEDGE_DATE}"


def _remark(knowledge: Knowledge, version: CalicoVersion) -> str | None:
    if (version.major, version.minor) <= (knowledge.newest.major, knowledge.newest.minor):
        return None
    return f"{version} was not released on {KNOWLEDGE_DATE}; it is judged by its development branch"


def _answers(release: Release, questions: Iterable[KernelQuestion | str]) -> Iterator[KernelResult]:
    for question in questions:
        if isinstance(question, str):
            yield KernelResult(release=None, status=Status.UNKNOWN, message=question)
        else:
            yield judge_strings(release, question)


def _discovered(snapshot: Snapshot, release: Release, install: Install) -> tuple[Platform | None, Discovered | None]:
    if snapshot.cluster is None:
        return None, None
    # Imported here since nodes do without, and it loads half of the checks of clusters.
    from ebpfcheck.checks.discovery import DISCOVERY_NEEDS, discover, discovered_platform

    given = gather(snapshot, DISCOVERY_NEEDS, release, install)
    return discovered_platform(given), discover(given)


def _install(cluster: ClusterFacts) -> Install:
    return cluster.install.value if isinstance(cluster.install, Known) else "unknown"


def _target(snapshot: Snapshot, platform: Platform | None) -> ReportTarget:
    cluster = snapshot.cluster
    if cluster is not None:
        context = visible(cluster.context.value) if isinstance(cluster.context, Known) else None
        version = visible(cluster.server_version.value) if isinstance(cluster.server_version, Known) else None
        name = f"cluster {context}" if context else "cluster"
        return ReportTarget(kind="cluster", name=name, context=context, server_version=version, platform=platform)
    if len(snapshot.nodes) == 1:
        return ReportTarget(kind="node", name=visible(snapshot.nodes[0].identity.name))
    return ReportTarget(kind="nodes", name=f"{len(snapshot.nodes) + len(snapshot.unseen)} nodes")


def _felix_source(snapshot: Snapshot) -> str | None:
    """Return where what FelixConfiguration sets comes from, None where it is not known of every node."""
    felix = [kind.felix for kind in snapshot.kinds]
    known = [fact for fact in felix if isinstance(fact, Known)]
    if not known or len(known) < len(felix):
        return None
    return visible(snapshot.sources[known[0].source].locator)


def _shown(problem: Problem) -> Problem:
    return Problem(source=visible(problem.source), reason=problem.reason, detail=visible(problem.detail))


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
