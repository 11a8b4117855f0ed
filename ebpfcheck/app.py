"""The use cases: plain arguments in, a snapshot or a report out. Nothing here prints or exits."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Literal

import msgspec

from ebpfcheck import __version__
from ebpfcheck.checks.strings import judge_strings
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import Survey
from ebpfcheck.engine import decide, judge, summarize
from ebpfcheck.errors import UsageError
from ebpfcheck.exitcodes import FailOn, exit_code, kernel_exit_code
from ebpfcheck.knowledge import KNOWLEDGE_DATE
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.knowledge.types import Knowledge, Release
from ebpfcheck.model.facts import ClusterFacts, Install, Known, NodeFacts, Source, SourceKind
from ebpfcheck.model.kernels import KernelQuestion, KernelReport, KernelResult
from ebpfcheck.model.report import CalicoTarget, Coverage, Report, ReportTarget, Selection, Status, Tool
from ebpfcheck.model.snapshot import Problem, Snapshot, SourceIndex, fold_nodes
from ebpfcheck.model.text import excerpt, visible
from ebpfcheck.registry import load_registry
from ebpfcheck.settings import Settings
from ebpfcheck.versions import CalicoVersion

VersionSource = Literal["flag", "cluster", "default"]


def snapshot_of_node(survey: Survey, kind: SourceKind, felix_config: str | None = None) -> Snapshot:
    """Return the snapshot of one node that was surveyed, with what a file says of FelixConfiguration.

    CannotRunError if nothing could be learned, UsageError if the file cannot be read.
    """
    sources = SourceIndex()
    facts, problems = node_facts(survey, kind, sources)
    if felix_config is not None:
        facts = _with_felix(facts, felix_config, sources)
    kinds, nodes = fold_nodes((facts,))
    return Snapshot(
        tool_version=__version__,
        taken_at=_now(),
        sources=sources.listed(),
        kinds=kinds,
        nodes=nodes,
        problems=problems,
    )


def _with_felix(facts: NodeFacts, path: str, sources: SourceIndex) -> NodeFacts:
    # Imported here since most runs do without, and YAML takes a while to load.
    from ebpfcheck.collect.felix import load_felix_settings

    # kubelet names a node by its host name in lower case.
    felix = Known(
        value=load_felix_settings(path, facts.identity.name.lower()),
        source=sources.add(Source(kind=SourceKind.LOCAL, locator=f"--felix-config {path}")),
    )
    return msgspec.structs.replace(facts, kind=msgspec.structs.replace(facts.kind, felix=felix))


class Judge:
    """Settings, held against the knowledge and the checks that there are; UsageError if they name what is not known."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._knowledge = load_knowledge()
        self._registry = load_registry()
        self._checks = self._registry.select(settings.only, settings.skip)
        target_version(self._knowledge, settings.calico_version, ClusterFacts())

    def report(self, snapshot: Snapshot, command: str, started_at: datetime) -> Report:
        """Judge a snapshot; UsageError if the cluster in it runs a Calico release that is not known."""
        settings = self._settings
        cluster = snapshot.cluster or ClusterFacts()
        version, source = target_version(self._knowledge, settings.calico_version, cluster)
        install = settings.install or _install(cluster)
        findings = judge(snapshot, self._checks, self._knowledge.at(version), install)
        coverage = Coverage(
            nodes_total=len(snapshot.nodes) + len(snapshot.unseen),
            nodes_surveyed=len(snapshot.nodes),
            unseen=snapshot.unseen,
        )
        # Where checks were picked by name, those of a package that does not load were not meant.
        checks_lost = bool(self._registry.problems) and not settings.only
        verdict = decide(findings, coverage, checks_lost=checks_lost)
        return Report(
            tool=Tool(version=__version__, knowledge=KNOWLEDGE_DATE),
            command=command,
            started_at=started_at,
            finished_at=_now(),
            target=_target(snapshot),
            calico=CalicoTarget(
                version=str(version),
                source=source,
                install=install,
                remark=_remark(self._knowledge, version),
                felix_settings=_felix_source(snapshot),
            ),
            verdict=verdict,
            exit_code=exit_code(verdict, settings.fail_on),
            coverage=coverage,
            selection=Selection(
                run=len(self._checks),
                skipped=tuple(check.id for check in self._registry.checks if check not in self._checks),
            ),
            summary=summarize(findings),
            findings=findings,
            problems=tuple(_shown(problem) for problem in (*self._registry.problems, *snapshot.problems)),
        )


def judge_kernels(
    questions: Iterable[KernelQuestion | str], calico_version: str | None, fail_on: FailOn
) -> KernelReport:
    """Judge kernel strings; a question that is a string says why it could not be read, and is answered with that.

    UsageError if there is no question at all.
    """
    knowledge = load_knowledge()
    version, _ = target_version(knowledge, calico_version, ClusterFacts())
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


def target_version(
    knowledge: Knowledge, asked: str | None, cluster: ClusterFacts
) -> tuple[CalicoVersion, VersionSource]:
    """Return the release to judge for and where it comes from; UsageError if it is none that the tables cover."""
    if asked is not None:
        return _covered(knowledge, asked, "--calico-version"), "flag"
    if isinstance(cluster.calico_version, Known):
        return _covered(knowledge, cluster.calico_version.value, "the cluster's Calico version"), "cluster"
    return knowledge.newest, "default"


def _covered(knowledge: Knowledge, text: str, what: str) -> CalicoVersion:
    version = CalicoVersion.parse(text)
    shown = excerpt(text, 40)
    if version is None:
        raise UsageError(f"{what}: {shown!r} is not a Calico release such as v3.32 or v3.32.1")
    if not knowledge.covers(version):
        releases = knowledge.releases
        raise UsageError(
            f"{what}: {shown} is outside what this ebpfcheck knows (v{releases.first} to v{releases.last}, "
            f"as of {KNOWLEDGE_DATE})"
        )
    return version


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


def _install(cluster: ClusterFacts) -> Install:
    return cluster.install.value if isinstance(cluster.install, Known) else "unknown"


def _target(snapshot: Snapshot) -> ReportTarget:
    if snapshot.cluster is not None:
        return ReportTarget(kind="cluster", name="cluster")
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
