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
    ) -> None:
        """Keep what `run` goes by; the three functions are called in the thread that calls `run`.

        Where the user interrupts it just then, `on_failure` may be called for a node that `on_survey` was called for.
        `timeout` (seconds) is for each node, `deadline` (time.monotonic) for all. `on_survey` returns whether the
        survey told anything.
        """
        self._concurrency = concurrency
        self._timeout = timeout
        self._deadline = deadline
        self._on_survey = on_survey
        self._on_failure = on_failure
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._under_way: set[Running] = set()
        self._waiting: deque[Job] = deque()
        self._stopped: NotReachedError | None = None
        self._ended: queue.SimpleQueue[tuple[Job, Survey | NotReachedError]] = queue.SimpleQueue()
        self.is_interrupted = False

    def run(self, jobs: Sequence[Job]) -> None:
        """Survey these nodes; returns when each has ended, the deadline has passed or the user has interrupted it."""
        self._waiting.extend(jobs)
        for _ in range(min(self._concurrency, len(jobs))):
            threading.Thread(target=self._work, daemon=True).start()
        try:
            self._gather({id(job): job for job in jobs})
        except BaseException:
            self._stop(NotReachedError(Reason.NOT_COLLECTED, "ebpfcheck has ended"))
            raise

    def _gather(self, left: dict[int, Job]) -> None:
        total, failed, end = len(left), 0, self._deadline
        while left and (self._stopped is None or time.monotonic() < end):
            try:
                try:
                    job, result = self._ended.get(timeout=_SLICE)
                except queue.Empty:
                    if self._stopped is None and time.monotonic() > self._deadline:
                        self._stop(NotReachedError(Reason.TIMEOUT, "the time for all nodes was up"))
                        end = time.monotonic() + _FAREWELL
                    continue
                if isinstance(result, Survey):
                    failed += not self._on_survey(job, result)
                else:
                    failed += 1
                    self._on_failure(job, result)
                del left[id(job)]
                done = total - len(left)
                self._on_progress(Counts(total=total, done=done - failed, failed=failed))
            except KeyboardInterrupt:
                if self.is_interrupted:
                    raise
                self.is_interrupted = True
                self._stop(NotReachedError(Reason.NOT_COLLECTED, "it was interrupted before this node had answered"))
                end = time.monotonic() + _FAREWELL
        for job in left.values():
            self._on_failure(job, self._stopped or NotReachedError(Reason.TIMEOUT, "it did not end in time"))

    def _stop(self, why: NotReachedError) -> None:
        with self._lock:
            self._stopped = why
            under_way = tuple(self._under_way)
        for running in under_way:
            running.end()

    def _work(self) -> None:
        while True:
            try:
                job = self._waiting.popleft()
            except IndexError:
                return
            self._ended.put((job, self._survey(job)))

    def _survey(self, job: Job) -> Survey | NotReachedError:
        if self._stopped is not None:
            return self._stopped
        try:
            with job.transport.start(min(self._timeout, max(self._deadline - time.monotonic(), 0.1))) as running:
                with self._lock:
                    self._under_way.add(running)
                    is_late = self._stopped is not None
                try:
                    if is_late:
                        running.end()
                    return running.finish()
                finally:
                    with self._lock:
                        self._under_way.discard(running)
        except NotReachedError as error:
            return self._stopped or error
        except Exception as error:
            # What nobody foresaw costs one node, not the others.
            words = f"ebpfcheck failed on it: {type(error).__name__}: {excerpt(str(error))}"
            return NotReachedError(Reason.UNSUPPORTED, words)
