"""The controllers of a cluster: they watch what is written and react to it, one write after the other."""

import threading
import time

from tests.fakeapi.openshift import NetworkOperator
from tests.fakeapi.pods import Pods
from tests.fakeapi.rollouts import Rollouts, Workload
from tests.fakeapi.tigera import Operator


class Controllers:
    """Controllers of DaemonSets and Deployments, the Tigera operator and OpenShift's; off until they are started.

    One thread makes one write at a time, each DELAY seconds after it was due; DELAY may be changed meanwhile. They
    look only at what has been written since their start: what the story says is taken to be settled.
    """

    def __init__(self, pods: Pods) -> None:
        self._delay = 0.0
        self._catalog = pods.catalog
        self._lock = pods.catalog.changed
        self._rollouts = Rollouts(pods)
        self._operator = Operator(pods.catalog)
        self._operators: tuple[Operator | NetworkOperator, ...] = (self._operator, NetworkOperator(pods.catalog))
        self._position = 0
        # Who has something to look at, in this order.
        self._due: dict[Workload | Operator | NetworkOperator, None] = {}
        self._thread: threading.Thread | None = None

    @property
    def delay(self) -> float:
        """Seconds from a reason to react to the reaction."""
        return self._delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        with self._lock:
            self._delay = seconds
            self._lock.notify_all()

    def start(self, delay: float = 0.0) -> None:
        """React from now on."""
        with self._lock:
            self._delay = delay
            if self._thread is None:
                self._position = len(self._catalog.changes)
                self._rollouts.begin()
                self._operator.begin()
                self._thread = threading.Thread(target=self._run, name="controllers")
                self._thread.start()

    def settle(self, timeout: float = 10) -> bool:
        """Wait until there is nothing left to do; False if the time was over before."""
        with self._lock:
            return self._lock.wait_for(self._idle, timeout)

    def close(self) -> None:
        """Wait for the end of the thread, which comes with the server's."""
        if self._thread is not None:
            self._thread.join()

    def _idle(self) -> bool:
        return not self._due and self._position == len(self._catalog.changes)

    def _run(self) -> None:
        with self._lock:
            while not self._catalog.closed:
                self._notice()
                if not self._due:
                    self._lock.notify_all()
                    self._catalog.wait_for_change(self._position, None)
                elif self._wait():
                    self._notice()
                    self._react()

    def _notice(self) -> None:
        for change in self._catalog.changes[self._position :]:
            workload = self._rollouts.concerned(change)
            if workload is not None:
                self._due.setdefault(workload)
            for operator in self._operators:
                if operator.concerned(change):
                    self._due.setdefault(operator)
        self._position = len(self._catalog.changes)

    def _wait(self) -> bool:
        """Let the delay pass; False if the server closes."""
        begun = time.monotonic()
        while not self._catalog.closed and (left := begun + self._delay - time.monotonic()) > 0:
            self._lock.wait(left)
        return not self._catalog.closed

    def _react(self) -> None:
        """Let the first that has something to write do so, and go to the end of the queue."""
        while self._due:
            who = next(iter(self._due))
            del self._due[who]
            if who.step() if isinstance(who, Operator | NetworkOperator) else self._rollouts.step(who):
                self._due[who] = None
                return
