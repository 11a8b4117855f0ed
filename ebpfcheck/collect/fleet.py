"""Surveys many nodes at once, a bounded number at a time, and keeps what it has learned whatever ends it."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from ebpfcheck.collect.transport import NotReachedError, Running, Survey, Transport
from ebpfcheck.model.facts import Reason
from ebpfcheck.model.text import excerpt

_SLICE = 0.2
# How long surveys that were told to end may take for it, in seconds.
_FAREWELL = 5.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A node to survey and the road to it."""

    name: str
    transport: Transport


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is."""

    total: int
    done: int
    failed: int

    def words(self, what: str) -> str:
        """Say it of so many of these, in one line."""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.total} {what}: {self.done} done{failed}, {self.total - self.done - self.failed} left"


class Fleet:
    """Runs surveys on a few threads; `run` may be called again for more nodes."""

    def __init__(
        self,
        *,
        concurrency: int,
        timeout: float,
        deadline: float,
        on_survey: Callable[[Job, Survey], bool],
        on_failure: Callable[[Job, NotReachedError], None],
        on_progress: Callable[[Counts], None],
        is_interrupted: Callable[[], bool],
    ) -> None:
        """Keep what `run` goes by; the four functions are called in the thread that calls `run`.

        `timeout` (seconds) is for each node, `deadline` (time.monotonic) for all. `on_survey` returns whether the
        survey told anything, `is_interrupted` whether the user does not want to wait any longer.
        """
        self._concurrency = concurrency
        self._timeout = timeout
        self._deadline = deadline
        self._on_survey = on_survey
        self._on_failure = on_failure
        self._on_progress = on_progress
        self._is_interrupted = is_interrupted
        self._patience = float("inf")
        self._lock = threading.Lock()
        self._under_way: set[Running] = set()
        self._waiting: deque[Job] = deque()
        self._stopped: NotReachedError | None = None
        self._ended: queue.SimpleQueue[tuple[Job, Survey | NotReachedError]] = queue.SimpleQueue()

    def run(self, jobs: Sequence[Job]) -> None:
        """Survey these nodes; returns when each has ended, the deadline has passed or the user has interrupted it."""
        self._waiting.extend(jobs)
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(min(self._concurrency, len(jobs)))]
        for worker in workers:
            worker.start()
        try:
            self._gather({id(job): job for job in jobs})
            # What was surveyed may still have to be cleared away.
            for worker in workers:
                while worker.is_alive() and not self._must_leave():
                    worker.join(_SLICE)
        except BaseException:
            self._stop(NotReachedError(Reason.NOT_COLLECTED, "ebpfcheck has ended"))
            raise

    def _gather(self, left: dict[int, Job]) -> None:
        total, failed = len(left), 0
        while left and not self._must_leave():
            try:
                job, result = self._ended.get(timeout=_SLICE)
            except queue.Empty:
                continue
            if id(job) not in left:
                # Of a run that was not waited for, or a survey that could not be cleared away.
                continue
            if isinstance(result, Survey):
                failed += not self._on_survey(job, result)
            else:
                failed += 1
                # Ctrl-C on a terminal ends the processes that were started as well, and they fail with it.
                self._must_leave()
                self._on_failure(job, self._stopped or result)
            del left[id(job)]
            done = total - len(left)
            self._on_progress(Counts(total=total, done=done - failed, failed=failed))
        for job in left.values():
            self._on_failure(job, self._stopped or NotReachedError(Reason.TIMEOUT, "it did not end in time"))

    def _must_leave(self) -> bool:
        """Tell what runs to end where the time is up or the user says so; return whether that took too long as well."""
        if self._stopped is None and self._is_interrupted():
            self._stop(NotReachedError(Reason.NOT_COLLECTED, "it was interrupted before this node had answered"))
        elif self._stopped is None and time.monotonic() > self._deadline:
            self._stop(NotReachedError(Reason.TIMEOUT, "the time for all nodes was up"))
        return time.monotonic() > self._patience

    def _stop(self, why: NotReachedError) -> None:
        with self._lock:
            self._stopped = why
            self._patience = time.monotonic() + _FAREWELL
            under_way = tuple(self._under_way)
        for running in under_way:
            running.end()

    def _work(self) -> None:
        while True:
            try:
                job = self._waiting.popleft()
            except IndexError:
                return
            if self._stopped is not None:
                self._ended.put((job, self._stopped))
                continue
            try:
                self._survey(job)
            except NotReachedError as error:
                self._ended.put((job, error))
            except Exception as error:
                # What nobody foresaw costs one node, not the others.
                words = f"ebpfcheck failed on it: {type(error).__name__}: {excerpt(str(error))}"
                self._ended.put((job, NotReachedError(Reason.UNSUPPORTED, words)))

    def _survey(self, job: Job) -> None:
        with job.transport.start(min(self._timeout, max(self._deadline - time.monotonic(), 0.1))) as running:
            with self._lock:
                self._under_way.add(running)
                is_late = self._stopped is not None
            try:
                if is_late:
                    running.end()
                # It counts from here on, however long it takes to clear away.
                self._ended.put((job, running.finish()))
            finally:
                with self._lock:
                    self._under_way.discard(running)
