"""The use case of looking at the nodes of a cluster themselves: by sample, where they look alike from the API."""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Literal

import msgspec

from ebpfcheck.app import Judge
from ebpfcheck.collect.apiclient import ApiClient, ApiError
from ebpfcheck.collect.cohorts import Cohort, choose, cohorts, unprobeable, with_surveys
from ebpfcheck.collect.endpoints import can_be_tried, told_apart
from ebpfcheck.collect.exec import ExecTransport, calico_pods
from ebpfcheck.collect.fleet import Fleet, Job
from ebpfcheck.collect.login import Login
from ebpfcheck.collect.pods import Jobs, PodTransport
from ebpfcheck.collect.requests import Listener
from ebpfcheck.collect.transport import NotReachedError, ObjectsTrial, Survey, Transport, Trial
from ebpfcheck.interruption import Interruption
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import Endpoint, Known, NodeFacts, Reason, SourceKind, Unknown
from ebpfcheck.model.snapshot import Problem, Snapshot, SourceIndex, Unseen
from ebpfcheck.survey import facts_of

_SAMPLES = 3
# How many more are looked at where samples could not be.
_SUBSTITUTES = 1
_ENDPOINTS_TRIED = 4
# Where the image of calico-node has the BPF objects of its release.
_IMAGE_OBJECTS = "/usr/lib/calico/bpf"
# No limit: what ends the work on a node is its own time-out, and all of it the deadline of the fleet. In seconds.
_LONGEST = 7 * 86400.0
# How long an answer of the API server may pause, in seconds; what is asked for here is small.
_READ_TIMEOUT = 15.0


class ProbeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How to look at nodes, and at which."""

    road: Literal["exec", "pod"]
    nodes: Literal["cohorts", "all"] = "cohorts"
    image: str | None = None
    """That of probe pods; None stands for the one that calico-node runs."""
    namespace: str = "kube-system"
    """That of probe pods."""
    concurrency: int
    timeout: float
    """Seconds for each node."""
    endpoints: tuple[Endpoint, ...] = ()
    """Addresses of the API server to try; where there is none, those that were found."""
    trial: Trial = "none"
    """What probe pods are to try."""
    infers: bool = True
    """Whether nodes are taken to be like those alike that were looked at."""


def probed(
    snapshot: Snapshot,
    login: Login,
    judge: Judge,
    request: ProbeRequest,
    deadline: float,
    listener: Listener,
    interruption: Interruption,
) -> Snapshot:
    """Return a cluster's snapshot with what its nodes themselves tell, as far as it came where the user interrupts it.

    `deadline` (time.monotonic) is the end of looking at all of them. Nodes that could not be looked at are among the
    unseen, and why none could be among the problems.
    """
    probe: _Probe | None = None
    try:
        with ExitStack() as stack:
            client = ApiClient(
                login.access(), login.again, time.monotonic() + _LONGEST, request.concurrency + 1, _READ_TIMEOUT
            )
            road = _road(snapshot, client, judge, request, listener, stack)
            probe = _Probe(snapshot, road, request, deadline, listener, interruption)
            probe.look_at_samples()
            if request.nodes == "cohorts":
                probe.look_at_whole_cohorts(judge)
            return probe.result()
    except NotReachedError as error:
        listener.notice(f"the nodes were not looked at: {error.words}")
        problem = Problem(source=f"--probe {request.road}", reason=error.reason, detail=error.words)
        return msgspec.structs.replace(snapshot, problems=(*snapshot.problems, problem))
    except KeyboardInterrupt:
        # The second one.
        return snapshot if probe is None else probe.result()


class _Road(msgspec.Struct, frozen=True, kw_only=True):
    """How nodes are reached: a transport for a node by its name, and what that is called in sources."""

    kind: SourceKind
    to: Callable[[str], Transport]


def _road(
    snapshot: Snapshot,
    client: ApiClient,
    judge: Judge,
    request: ProbeRequest,
    listener: Listener,
    stack: ExitStack,
) -> _Road:
    cluster = snapshot.cluster or ClusterFacts()
    endpoints = request.endpoints or _candidates(judge, snapshot)
    calico_node = cluster.calico_node.value if isinstance(cluster.calico_node, Known) else None
    if request.road == "exec":
        if isinstance(cluster.calico_node, Unknown):
            words = f"the pods of calico-node could not be found: {cluster.calico_node.detail}"
            raise NotReachedError(cluster.calico_node.reason, words)
        if calico_node is None:
            words = "no calico-node was found to run the survey in; --probe pod and SSH need none"
            raise NotReachedError(Reason.NOT_COLLECTED, words)
        try:
            pods = calico_pods(client, calico_node.namespace)
        except ApiError as error:
            raise NotReachedError(error.reason, f"the pods of calico-node: {error.words}") from error

        def into(node: str) -> Transport:
            if node not in pods:
                raise NotReachedError(Reason.UNREACHABLE, "no pod of calico-node is on it")
            return ExecTransport(client, pods[node], endpoints)

        return _Road(kind=SourceKind.EXEC, to=into)
    image = request.image or (calico_node.image if calico_node else None)
    if not image:
        words = "no calico-node runs whose image probe pods could use: give one with --image"
        raise NotReachedError(Reason.NOT_COLLECTED, words)
    trial = request.trial
    if isinstance(trial, ObjectsTrial) and not trial.directory:
        trial = ObjectsTrial(directory=_IMAGE_OBJECTS, image=image)
    jobs = stack.enter_context(Jobs(client, request.namespace, image, endpoints, listener.notice, trial))
    jobs.rehearse(request.timeout)
    return _Road(kind=SourceKind.POD, to=lambda node: PodTransport(jobs, node))


def _candidates(judge: Judge, snapshot: Snapshot) -> tuple[Endpoint, ...]:
    """Return the addresses of the API server that were found and may do, the one to use first."""
    found = judge.usable_endpoints(snapshot)
    return tuple(one for one in found if can_be_tried(one.host))[:_ENDPOINTS_TRIED]


class _Probe:
    """What was learned of a cluster's nodes so far."""

    def __init__(
        self,
        snapshot: Snapshot,
        road: _Road,
        request: ProbeRequest,
        deadline: float,
        listener: Listener,
        interruption: Interruption,
    ) -> None:
        self._snapshot = snapshot
        self._road = road
        self._request = request
        self._alike = cohorts(snapshot)
        self._sources = SourceIndex.of(snapshot.sources)
        self._index = {node.identity.name: index for index, node in enumerate(snapshot.nodes)}
        self._surveys: dict[int, NodeFacts] = {}
        self._failures: dict[int, Unseen] = {}
        self._problems: list[Problem] = []
        self._fleet = Fleet(
            concurrency=request.concurrency,
            timeout=request.timeout,
            deadline=deadline,
            on_survey=self._survey,
            on_failure=lambda job, error: self._failed(job.name, error),
            on_progress=lambda counts: listener.progress(counts.words("nodes")),
            is_interrupted=interruption.has_come,
        )
        self._has_come = interruption.has_come

    def look_at_samples(self) -> None:
        """Look at some nodes of each cohort, or at all; a cohort none of which could be looked at gets one more try."""
        most = _SAMPLES if self._request.nodes == "cohorts" else None
        self._look_at(index for cohort in self._alike for index in _chosen(cohort, most))
        if most is not None:
            self._look_at(
                index
                for cohort in self._alike
                if not any(member in self._surveys for member in cohort.members)
                for index in _chosen(cohort, most + _SUBSTITUTES)[most:]
            )

    def look_at_whole_cohorts(self, judge: Judge) -> None:
        """Look at all nodes of those cohorts whose samples are judged differently."""
        groups = [[member for member in cohort.members if member in self._surveys] for cohort in self._alike]
        differ = judge.disagreements(self._merged(), groups)
        self._look_at(
            member for cohort, differs in zip(self._alike, differ, strict=True) if differs for member in cohort.members
        )

    def result(self) -> Snapshot:
        """Return the snapshot with all that was learned; nodes that were not seen are told of, with the reason."""
        merged = self._merged()
        return msgspec.structs.replace(
            merged,
            unseen=(*self._snapshot.unseen, *unprobeable(self._snapshot), *self._failures.values()),
            problems=(*merged.problems, *self._problems),
        )

    def _merged(self) -> Snapshot:
        alike = self._alike if self._request.infers else ()
        return with_surveys(self._snapshot, self._surveys, alike, self._sources, failed=self._failures)

    def _look_at(self, indices: Iterable[int]) -> None:
        jobs: list[Job] = []
        for index in indices:
            if index in self._surveys or index in self._failures or self._has_come():
                continue
            name = self._snapshot.nodes[index].identity.name
            try:
                jobs.append(Job(name=name, transport=self._road.to(name)))
            except NotReachedError as error:
                self._failed(name, error)
        self._fleet.run(jobs)

    def _survey(self, job: Job, survey: Survey) -> bool:
        try:
            facts, problems = facts_of(job.name, survey, self._road.kind, self._sources)
        except NotReachedError as error:
            self._failed(job.name, error)
            return False
        self._surveys[self._index[job.name]] = told_apart(facts, self._snapshot.cluster or ClusterFacts())
        self._problems += problems
        return True

    def _failed(self, name: str, error: NotReachedError) -> None:
        self._failures[self._index[name]] = Unseen(name=name, reason=error.reason, detail=error.words)


def _chosen(cohort: Cohort, most: int | None) -> tuple[int, ...]:
    return cohort.members if most is None else choose(cohort, most)
