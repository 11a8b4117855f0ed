"""Many surveys at once: bounded, each for itself, and ended by a deadline or by the user."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pytest

from ebpfcheck.collect import fleet
from ebpfcheck.collect.fleet import Counts, Fleet, Job
from ebpfcheck.collect.transport import NotReachedError, Survey
from ebpfcheck.model.facts import Reason, SourceKind


class Crowd:
    """Counts what runs at once, and what is still open."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = self.started = self.closed = 0


class Fake:
    """A road that ends as it is told; it waits until it is ended where `waits` is set."""

    kind = SourceKind.SSH

    def __init__(
        self,
        crowd: Crowd,
        *,
        waits: bool = False,
        error: Exception | None = None,
        takes: float = 0,
        leaves: float = 0,
        leaves_with: Exception | None = None,
    ) -> None:
        self.crowd, self.waits, self.error, self.takes = crowd, waits, error, takes
        self.leaves, self.leaves_with = leaves, leaves_with

    def start(self, timeout: float) -> "FakeRunning":
        assert timeout > 0
        with self.crowd.lock:
            self.crowd.started += 1
            self.crowd.now += 1
            self.crowd.most = max(self.crowd.most, self.crowd.now)
        return FakeRunning(self)


class FakeRunning:
    def __init__(self, road: Fake) -> None:
        self.road, self.ended = road, threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        time.sleep(self.road.leaves)
        with self.road.crowd.lock:
            self.road.crowd.now -= 1
            self.road.crowd.closed += 1
        if self.road.leaves_with is not None:
            raise self.road.leaves_with

    def end(self) -> None:
        self.ended.set()

    def finish(self) -> Survey:
        if self.road.waits:
            assert self.ended.wait(30)
            raise NotReachedError(Reason.UNREACHABLE, "the connection was closed")
        time.sleep(self.road.takes)
        if self.road.error is not None:
            raise self.road.error
        return Survey(data=b"x", nonce="n")


class Kept:
    """What a fleet tells."""

    def __init__(self, *, on_survey: Callable[[Job, Survey], bool] | None = None, deadline: float = 60) -> None:
        self.surveyed: list[str] = []
        self.failed: dict[str, NotReachedError] = {}
        self.counts: list[Counts] = []
        self.is_interrupted = False
        self.fleet = Fleet(
            concurrency=3, timeout=30, deadline=time.monotonic() + deadline,
            on_survey=on_survey or self.survey, on_failure=lambda job, error: self.failed.update({job.name: error}),
            on_progress=self.counts.append, is_interrupted=lambda: self.is_interrupted,
        )  # fmt: skip

    def survey(self, job: Job, _: Survey) -> bool:
        self.surveyed.append(job.name)
        return True


def jobs(*roads: Fake) -> list[Job]:
    return [Job(name=f"n{index}", transport=road) for index, road in enumerate(roads)]


def test_no_more_run_at_once_than_asked_for_and_all_end() -> None:
    crowd, kept = Crowd(), Kept()
    kept.fleet.run(jobs(*(Fake(crowd, takes=0.01) for _ in range(20))))
    assert sorted(kept.surveyed) == sorted(f"n{number}" for number in range(20))
    assert (crowd.most, crowd.now, crowd.closed) == (3, 0, 20)
    assert kept.counts[-1] == Counts(total=20, done=20, failed=0)


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (NotReachedError(Reason.FORBIDDEN, "no key"), Reason.FORBIDDEN, "no key"),
        (ZeroDivisionError("odd"), Reason.UNSUPPORTED, "ebpfcheck failed on it: ZeroDivisionError: odd"),
    ],
)
def test_what_goes_wrong_with_one_costs_no_other(error: Exception, reason: Reason, words: str) -> None:
    crowd, kept = Crowd(), Kept()
    kept.fleet.run(jobs(Fake(crowd), Fake(crowd, error=error), Fake(crowd)))
    assert sorted(kept.surveyed) == ["n0", "n2"]
    assert (kept.failed["n1"].reason, kept.failed["n1"].words) == (reason, words)
    assert kept.counts[-1].failed == 1


def test_a_survey_that_told_nothing_counts_as_failed() -> None:
    kept = Kept(on_survey=lambda _, __: False)
    kept.fleet.run(jobs(Fake(Crowd())))
    assert (kept.counts[-1].done, kept.counts[-1].failed) == (0, 1)


def test_the_deadline_ends_what_runs_and_starts_no_more() -> None:
    crowd, kept = Crowd(), Kept(deadline=0.3)
    kept.fleet.run(jobs(*(Fake(crowd, waits=True) for _ in range(9))))
    assert {error.reason for error in kept.failed.values()} == {Reason.TIMEOUT}
    assert len(kept.failed) == 9
    assert (crowd.started, crowd.now) == (3, 0)
    kept.fleet.run(jobs(Fake(crowd)))
    assert crowd.started == 3


def interrupted_after_one() -> Kept:
    """The user ends it once one survey has come."""
    kept = Kept()

    def survey(job: Job, survey: Survey) -> bool:
        kept.is_interrupted = True
        return kept.survey(job, survey)

    kept.fleet._on_survey = survey
    return kept


def test_the_user_ends_it_and_what_was_learned_stays() -> None:
    crowd, kept = Crowd(), interrupted_after_one()
    kept.fleet.run(jobs(Fake(crowd), *(Fake(crowd, waits=True) for _ in range(5))))
    assert kept.surveyed == ["n0"]
    assert {error.words for error in kept.failed.values()} == {"it was interrupted before this node had answered"}
    assert set(kept.failed) == {"n1", "n2", "n3", "n4", "n5"}
    assert crowd.now == 0


def test_a_survey_counts_before_it_is_cleared_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """To delete a Job may take longer than anybody wants to wait."""
    monkeypatch.setattr(fleet, "_FAREWELL", 0.3)
    crowd, kept = Crowd(), interrupted_after_one()
    started = time.monotonic()
    kept.fleet.run(jobs(Fake(crowd, leaves=30)))
    assert (kept.surveyed, kept.failed) == (["n0"], {})
    assert time.monotonic() - started < 20


def test_what_cannot_be_cleared_away_is_no_second_answer() -> None:
    crowd, kept = Crowd(), Kept()
    # The last one gives the second answer of the first the time to be read.
    kept.fleet.run(jobs(Fake(crowd, leaves_with=OSError("gone")), Fake(crowd), Fake(crowd, takes=0.5)))
    assert (sorted(kept.surveyed), kept.failed) == (["n0", "n1", "n2"], {})
    assert kept.counts[-1] == Counts(total=3, done=3, failed=0)


def test_one_that_does_not_let_itself_be_ended_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "_FAREWELL", 0.3)
    crowd, kept = Crowd(), interrupted_after_one()
    started = time.monotonic()
    kept.fleet.run(jobs(Fake(crowd), Fake(crowd, takes=30)))
    assert time.monotonic() - started < 20
    assert set(kept.failed) == {"n1"}


def test_an_error_in_what_is_told_ends_what_runs() -> None:
    def broken(_: Job, __: Survey) -> bool:
        raise ValueError("defect")

    crowd, kept = Crowd(), Kept(on_survey=broken)
    with pytest.raises(ValueError, match="defect"):
        kept.fleet.run(jobs(Fake(crowd), Fake(crowd, waits=True), Fake(crowd, waits=True), Fake(crowd, waits=True)))
    for _ in range(100):
        if not crowd.now:
            break
        time.sleep(0.02)
    assert crowd.now == 0
