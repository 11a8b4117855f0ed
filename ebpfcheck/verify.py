"""The use case of telling, after the switch, which dataplane really runs on each node, and of waiting for it."""

import time
from collections.abc import Callable

import msgspec

from ebpfcheck.app import Judge
from ebpfcheck.collect.agents import Told, with_agents
from ebpfcheck.collect.apiclient import ApiClient
from ebpfcheck.collect.cluster import snapshot_of_cluster
from ebpfcheck.collect.login import Login
from ebpfcheck.collect.requests import Listener
from ebpfcheck.errors import CannotRunError
from ebpfcheck.interruption import Interruption
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.facts import FelixLog, Known, Reason
from ebpfcheck.model.report import Finding, Report, Severity, Status, Verdict, gating_verdict
from ebpfcheck.model.snapshot import Problem, Snapshot
from ebpfcheck.probe import ProbeRequest, probed

# How long an answer may pause, in seconds, and how often it is asked for: one node that is silent must not hold up all.
_READ_TIMEOUT, _TRIES = 15.0, 2
# How long it is waited between two looks, in seconds: longer each time.
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 3.0, 15.0, 1.5
_SLICE = 0.2
_SHOWN_CHECKS = 4

_HOLDS = (Verdict.READY, Verdict.READY_WITH_WARNINGS)


class VerifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How to look at what runs, and how long to wait for it."""

    timeout: float
    """Seconds that one look may take."""
    wait: float = 0.0
    """Seconds to go on looking for until it holds."""
    concurrency: int
    """How many pods are read at once."""
    probe: ProbeRequest | None = None
    deadline: float = float("inf")
    """The end (time.monotonic) of looking at the nodes themselves."""


def snapshot_of_running(
    login: Login,
    judge: Judge,
    request: VerifyRequest,
    listener: Listener,
    follow: Callable[[str], None],
    interruption: Interruption,
    report: Callable[[Snapshot], Report],
) -> Snapshot:
    """Return what shows of a cluster's dataplane, once it is judged to hold, or when the time to wait is up.

    `report` judges a snapshot, `follow` is told what is still missing whenever that changes. CannotRunError where the
    first look comes to nothing.
    """
    watcher = _Watcher(login, request, listener, follow, interruption, report)
    snapshot = watcher.watch()
    if request.probe is not None and not interruption.has_come():
        snapshot = probed(snapshot, login, judge, request.probe, request.deadline, listener, interruption)
    return snapshot


class _Watcher:
    """Looks at a cluster again and again."""

    def __init__(
        self,
        login: Login,
        request: VerifyRequest,
        listener: Listener,
        follow: Callable[[str], None],
        interruption: Interruption,
        report: Callable[[Snapshot], Report],
    ) -> None:
        self._login = login
        self._request = request
        self._listener = Listener(progress=listener.progress, notice=self._once)
        self._notice = listener.notice
        self._noticed: set[str] = set()
        self._follow = follow
        self._interruption = interruption
        self._report = report
        self._told: dict[str, Told] = {}
        self._tables = load_knowledge().verify

    def watch(self) -> Snapshot:
        """Return what the last look gave."""
        end = time.monotonic() + self._request.wait
        snapshot = self._look({})
        pause, before, is_fresh = _FIRST_PAUSE, "", True
        while self._request.wait and not self._interruption.has_come():
            report = self._report(snapshot)
            holds = gating_verdict(report) in _HOLDS
            if holds and is_fresh:
                break
            if not holds and _is_hopeless(report):
                break
            missing = "it holds; looking once more at all logs" if holds else _missing(report)
            if missing != before:
                self._follow(missing)
                before = missing
            if not holds and time.monotonic() >= end:
                break
            if not holds:
                self._sleep(min(pause, max(end - time.monotonic(), 0.0)))
                pause = min(pause * _GROWTH, _LONGEST_PAUSE)
            if self._interruption.has_come():
                break
            # What was as it should be is not read again, but for a last look at everything.
            known = {} if holds else self._settled(report)
            try:
                snapshot, is_fresh = self._look(known), not known
            except KeyboardInterrupt:
                # The second one.
                break
            except CannotRunError as error:
                self._listener.notice(f"the API server did not answer this time: {error}")
                if time.monotonic() >= end:
                    break
                self._sleep(pause)
        return snapshot if is_fresh else _not_looked_at_again(snapshot)

    def _once(self, text: str) -> None:
        """Give a notice that each look would give again."""
        if text not in self._noticed:
            self._noticed.add(text)
            self._notice(text)

    def _look(self, known: dict[str, Told]) -> Snapshot:
        deadline = time.monotonic() + self._request.timeout
        snapshot = snapshot_of_cluster(self._login, deadline, self._listener)
        self._interruption.watch()
        workers = self._request.concurrency
        client = ApiClient(self._login.access(), self._login.again, deadline, workers, _READ_TIMEOUT, _TRIES)
        snapshot, self._told = with_agents(
            snapshot, client, deadline, workers, self._tables, self._listener, self._interruption.has_come, known
        )
        return snapshot

    def _settled(self, report: Report) -> dict[str, Told]:
        """Return what was told by pods of nodes of which nothing is missing any more."""
        open_ones = {name for finding in report.findings if _counts(finding) for name in finding.subjects}
        return {name: told for name, told in self._told.items() if name not in open_ones and _has_started(told)}

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._interruption.has_come():
            time.sleep(min(left, _SLICE))


def _not_looked_at_again(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot that rests on logs of an earlier look, and says so."""
    detail = "not all logs could be read once more in the end: what was as it should be may have changed since"
    problem = Problem(source="--wait", reason=Reason.TIMEOUT, detail=detail)
    return msgspec.structs.replace(snapshot, problems=(*snapshot.problems, problem))


def _has_started(told: Told) -> bool:
    log = told.log
    return isinstance(log, Known) and isinstance(log.value, FelixLog) and log.value.mode in ("bpf", "standard")


def _counts(finding: Finding) -> bool:
    """Whether a finding keeps it from holding."""
    if finding.waived_by is not None or finding.in_baseline:
        return False
    is_blind = finding.status is Status.UNKNOWN and finding.severity is Severity.BLOCKER
    return finding.status is Status.FAIL or (is_blind and not finding.needs_survey)


def _is_hopeless(report: Report) -> bool:
    """Whether nothing is missing but rights."""
    found = [finding for finding in report.findings if _counts(finding)]
    return bool(found) and all(finding.reason is Reason.FORBIDDEN for finding in found)


def _missing(report: Report) -> str:
    """Say in one line what keeps it from holding."""
    found: dict[str, int] = {}
    nodes: set[str] = set()
    for finding in report.findings:
        if _counts(finding):
            found[finding.id] = found.get(finding.id, 0) + len(finding.subjects)
            nodes.update(finding.subjects if finding.scope == "node" else ())
    parts = [f"{name} ({number:,})" if number > 1 else name for name, number in list(found.items())[:_SHOWN_CHECKS]]
    more = f" and {len(found) - _SHOWN_CHECKS} more" if len(found) > _SHOWN_CHECKS else ""
    total = report.coverage.nodes_total
    lead = f"{len(nodes):,} of {total:,} nodes are not there yet" if nodes else "not there yet"
    return f"{lead}: {', '.join(parts)}{more}" if parts else lead
