"""Looks at calico-node's pods, their logs and Felix's metrics: what really runs on each node."""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from ebpfcheck.collect import wire
from ebpfcheck.collect.apiclient import ApiClient, ApiError
from ebpfcheck.collect.felix_log import LARGEST_PIECE, felix_log
from ebpfcheck.collect.objects import exit_code_of, waits_of
from ebpfcheck.collect.queries import ListQuery, Place, Queries
from ebpfcheck.collect.requests import Listener
from ebpfcheck.knowledge.verify_tables import Metrics, VerifyTables
from ebpfcheck.model.cluster import CalicoNode, ClusterFacts, FelixObject
from ebpfcheck.model.facts import (
    Absent,
    CalicoNodePod,
    ContainerExit,
    Fact,
    FelixLog,
    FelixMetrics,
    Known,
    NodeKind,
    Reason,
    Source,
    SourceKind,
    Unknown,
    rounded_down,
)
from ebpfcheck.model.snapshot import Snapshot, SourceIndex
from ebpfcheck.model.text import excerpt

T = TypeVar("T")

_GENERATION = "pod-template-generation"
# How long a look at one pod may go on with new requests, and how long it is waited for what comes next, in seconds.
_POD_PATIENCE, _SLICE = 30.0, 0.2
# Metrics of a large node take some hundred KiB.
_METRICS_LIMIT = 2 * 1024 * 1024
_SAMPLE = re.compile(rb"^(?P<name>\w+)(?:\{[^}\n]*\})? (?P<value>[\d.]+(?:e[+-]?\d+)?)\s*$", re.MULTILINE)
_LARGEST = 10**9

_NO_LOG = Unknown(reason=Reason.NOT_COLLECTED, detail="calico-node has no pod there whose log could be read")
_NO_METRICS = Unknown(
    reason=Reason.NOT_COLLECTED, detail="Felix serves no metrics, as prometheusMetricsEnabled is not set to true"
)
_INTERRUPTED = Unknown(reason=Reason.NOT_COLLECTED, detail="it was interrupted before this was read")


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """A pod of calico-node."""

    node: str
    name: str
    uid: str
    restarts: int
    runs_since: datetime | None
    """When its main container was started; None where that does not run."""
    pod: CalicoNodePod


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod of calico-node was seen to say, which holds for as long as neither it nor its container is another."""

    uid: str
    restarts: int
    log: Fact[FelixLog]
    metrics: Fact[FelixMetrics]


class _Look(msgspec.Struct, frozen=True, kw_only=True):
    """What to look at, and by what to understand it."""

    namespace: str
    container: str
    metrics_port: int | None
    """None where Felix serves none."""
    tables: VerifyTables
    log_source: int
    metrics_source: int


def with_agents(
    snapshot: Snapshot,
    client: ApiClient,
    deadline: float,
    workers: int,
    tables: VerifyTables,
    listener: Listener,
    is_interrupted: Callable[[], bool],
    known: Mapping[str, Told] | None = None,
) -> tuple[Snapshot, dict[str, Told]]:
    """Return a cluster's snapshot with what calico-node shows on each node, and what each pod said, by the node's name.

    What comes up to the deadline (time.monotonic) counts, or until the user interrupts it. Pods in `known` are not
    asked again while they are the same.
    """
    cluster = snapshot.cluster or ClusterFacts()
    sources = SourceIndex.of(snapshot.sources)
    if not isinstance(cluster.calico_node, Known):
        absent = isinstance(cluster.calico_node, Absent)
        why: Absent | Unknown = Absent(source=cluster.calico_node.source or 0) if absent else cluster.calico_node
        return _merged(snapshot, {}, {}, why, _NO_LOG, sources), {}
    node = cluster.calico_node.value
    queries = Queries(client, deadline, sources, workers)
    try:
        label = dict(node.marks.labels).get("k8s-app", node.name)
        place = Place(resource="pods", namespace=node.namespace, selector=f"k8s-app={label}")
        listing = ListQuery((place,), wire.AgentPod, lambda pod: _agent(pod, node))
        queries.start(listing)
        queries.finish(listing)
        failure = queries.failure(listing)
        source = queries.source(place)
        agents = _one_each(listing.listing.items)
        look = _look(cluster, node, tables, sources)
        told = _all_told(queries, agents, look, deadline, listener, is_interrupted, known or {})
    finally:
        queries.close()
    pods: dict[str, Fact[CalicoNodePod]] = {
        name: Known(value=agent.pod, source=source) for name, agent in agents.items()
    }
    missing = failure or Absent(source=source)
    return _merged(snapshot, pods, told, missing, failure or _NO_LOG, sources), told


def _agent(pod: wire.AgentPod, node: CalicoNode) -> Agent:
    status, metadata = pod.status or wire.AgentStatus(), pod.metadata
    containers, inits = status.container_statuses or (), status.init_container_statuses or ()
    main = next((one for one in containers if one.name == node.container), None)
    running = main.state.running if main is not None else None
    generation = (metadata.labels or {}).get(_GENERATION)
    # All are of the one template where as many are updated as there should be.
    is_current: bool | None = True if node.is_observed and node.updated >= node.desired > 0 else None
    if generation is not None and node.template_generation is not None:
        is_current = generation == node.template_generation
    ends = ((one.name, exit_code_of(one)) for one in inits)
    return Agent(
        node=pod.spec.node_name,
        name=metadata.name,
        uid=metadata.uid,
        restarts=main.restart_count if main is not None else 0,
        runs_since=running.started_at if running is not None else None,
        pod=CalicoNodePod(
            phase=excerpt(status.phase, 20),
            is_ready=bool(containers) and all(one.ready for one in containers),
            is_current=is_current,
            is_leaving=metadata.deletion_timestamp is not None,
            waiting=tuple(excerpt(reason, 60) for reason in waits_of((*containers, *inits))),
            init_exits=tuple(ContainerExit(container=excerpt(name, 63), code=code) for name, code in ends if code),
            restarts=rounded_down(sum(one.restart_count for one in (*containers, *inits))),
        ),
    )


def _one_each(agents: Sequence[Agent]) -> dict[str, Agent]:
    """Return the pods by their nodes; where one is being replaced, that which stays."""
    by_preference = sorted(agents, key=lambda one: (not one.pod.is_leaving, one.runs_since is not None))
    return {agent.node: agent for agent in by_preference if agent.node}


def _look(cluster: ClusterFacts, node: CalicoNode, tables: VerifyTables, sources: SourceIndex) -> _Look:
    base = f"/api/v1/namespaces/{node.namespace}/pods"
    felix = cluster.felix_default.value if isinstance(cluster.felix_default, Known) else None
    return _Look(
        namespace=node.namespace,
        container=node.container,
        metrics_port=_metrics_port(node, felix, tables.metrics),
        tables=tables,
        log_source=sources.add(Source(kind=SourceKind.API, locator=f"{base}, log of {node.container}")),
        metrics_source=sources.add(Source(kind=SourceKind.API, locator=f"{base}, metrics of Felix")),
    )


def _metrics_port(node: CalicoNode, felix: FelixObject | None, metrics: Metrics) -> int | None:
    """Return the port at which Felix is told to serve metrics; its variables outrank FelixConfiguration."""
    env = dict(node.env)
    given = env.get("FELIX_PROMETHEUSMETRICSENABLED")
    is_on = given.lower() == "true" if given else felix is not None and felix.metrics_enabled is True
    port = env.get("FELIX_PROMETHEUSMETRICSPORT") or ""
    if port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536:
        return int(port) if is_on else None
    return ((felix.metrics_port if felix else None) or metrics.port) if is_on else None


class _AgentQuery:
    """The log and the metrics of one pod."""

    def __init__(self, agent: Agent, look: _Look, refusals: "_Refusals") -> None:
        self.done = threading.Event()
        self.agent = agent
        self._look = look
        self._refusals = refusals
        self._path = f"/api/v1/namespaces/{look.namespace}/pods/{agent.name}"
        self._deadline = float("inf")
        self.told = Told(uid=agent.uid, restarts=agent.restarts, log=_late("log"), metrics=_NO_METRICS)

    def run(self, client: ApiClient) -> None:
        """Read both, each as far as it is to be had."""
        self._deadline = time.monotonic() + _POD_PATIENCE
        look = self._look
        log: Fact[FelixLog] = _NO_LOG
        metrics: Fact[FelixMetrics] = _NO_METRICS
        if self.agent.runs_since is not None:
            log = self._asked("log", look.log_source, lambda: self._log(client))
            if look.metrics_port is not None:
                metrics = self._asked("metrics", look.metrics_source, lambda: self._metrics(client))
        self.told = msgspec.structs.replace(self.told, log=log, metrics=metrics)
        self.done.set()

    def _asked(self, what: str, source: int, ask: Callable[[], T]) -> Fact[T]:
        refusal = self._refusals.of(what)
        if refusal is not None:
            return msgspec.structs.replace(refusal, source=source)
        try:
            return Known(value=ask(), source=source)
        except ApiError as error:
            return self._refusals.told(what, error, source, self.agent.node)
        except Exception as error:
            # What nobody foresaw costs one pod, not the others.
            detail = f"ebpfcheck failed on it: {type(error).__name__}: {excerpt(str(error))}"
            return Unknown(reason=Reason.UNSUPPORTED, detail=detail, source=source)

    def _log(self, client: ApiClient) -> FelixLog:
        def fetch(query: Mapping[str, str]) -> bytes:
            if time.monotonic() > self._deadline:
                raise ApiError("it took too long to find the start of Felix in it", Reason.TIMEOUT)
            asked = {"container": self._look.container, "timestamps": "true", **query}
            most = min(int(query.get("limitBytes", LARGEST_PIECE)), LARGEST_PIECE)
            return client.start_of(f"{self._path}/log", asked, most)

        return felix_log(fetch, self.agent.runs_since, self._look.tables)

    def _metrics(self, client: ApiClient) -> FelixMetrics:
        data = client.start_of(f"{self._path}:{self._look.metrics_port}/proxy/metrics", {}, _METRICS_LIMIT)
        values = {match["name"].decode(): match["value"] for match in _SAMPLE.finditer(data)}
        names = self._look.tables.metrics
        if names.endpoints not in values:
            raise ApiError(f"{names.endpoints} is not among them", Reason.UNSUPPORTED)
        endpoints, dirty = (
            rounded_down(int(min(float(values[name]), _LARGEST))) if name in values else None
            for name in (names.endpoints, names.dirty)
        )
        return FelixMetrics(endpoints=endpoints or 0, dirty=dirty)


_RIGHTS = {"log": "get pods/log", "metrics": "get pods/proxy"}


class _Refusals:
    """What this account may not do, which one refusal tells for all pods of the namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._known: dict[str, Unknown] = {}

    def of(self, what: str) -> Unknown | None:
        """Return why something is not worth asking for any more; None where it may be."""
        return self._known.get(what)

    def told(self, what: str, error: ApiError, source: int, node: str) -> Unknown:
        """Return what is to be said of an error, without the node's name in it."""
        if error.reason is Reason.FORBIDDEN:
            detail = f"not allowed to {_RIGHTS[what]} in {self._namespace}"
            self._known[what] = Unknown(reason=Reason.FORBIDDEN, detail=detail)
            return msgspec.structs.replace(self._known[what], source=source)
        words = _without_names(error.words.replace(node, "..."))
        return Unknown(reason=error.reason, detail=f"its {what}: {words}", source=source)


# The words of errors name the pod and where its kubelet is, which would make each node one of its own kind.
_NAMES = re.compile(
    r'"[^"]*"|https?://\S+|\b(?:\d{1,3}\.){3}\d{1,3}\b(?::\d+)?|\[[0-9a-fA-F:]+\](?::\d+)?|calico-node-\w+'
    r"|\b[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){2,7}\b|\.\.\.\.[\w.-]+"
)


def _without_names(words: str) -> str:
    return excerpt(_NAMES.sub("...", words), 160)


def _late(what: str) -> Unknown:
    return Unknown(reason=Reason.TIMEOUT, detail=f"its {what} was not read in time")


def _all_told(
    queries: Queries,
    agents: Mapping[str, Agent],
    look: _Look,
    deadline: float,
    listener: Listener,
    is_interrupted: Callable[[], bool],
    known: Mapping[str, Told],
) -> dict[str, Told]:
    """Return what each pod says, as far as it came."""
    refusals = _Refusals(look.namespace)
    told: dict[str, Told] = {}
    left: list[_AgentQuery] = []
    for name, agent in agents.items():
        before = known.get(name)
        if before is not None and (before.uid, before.restarts) == (agent.uid, agent.restarts):
            log, metrics = _moved(before.log, look.log_source), _moved(before.metrics, look.metrics_source)
            told[name] = msgspec.structs.replace(before, log=log, metrics=metrics)
        else:
            left.append(_AgentQuery(agent, look, refusals))
    for query in left:
        queries.start(query)
    for number, query in enumerate(left, start=1):
        while not query.done.is_set() and time.monotonic() < deadline and not is_interrupted():
            query.done.wait(_SLICE)
        listener.progress(f"{number:,} of {len(left):,} logs of calico-node read")
        is_cut = not query.done.is_set() and is_interrupted()
        told[query.agent.node] = msgspec.structs.replace(query.told, log=_INTERRUPTED) if is_cut else query.told
    return told


def _moved(fact: Fact[T], source: int) -> Fact[T]:
    return fact if fact.source is None else msgspec.structs.replace(fact, source=source)


def _merged(
    snapshot: Snapshot,
    pods: Mapping[str, Fact[CalicoNodePod]],
    told: Mapping[str, Told],
    no_pod: Absent | Unknown,
    no_log: Unknown | Absent,
    sources: SourceIndex,
) -> Snapshot:
    """Return the snapshot with these facts, each distinct kind once."""
    kinds: dict[NodeKind, int] = {}
    known: dict[tuple[object, ...], int] = {}
    nodes = []
    for node in snapshot.nodes:
        name = node.identity.name
        said = told.get(name)
        facts = {
            "calico_node_pod": pods.get(name, no_pod),
            "felix_log": no_log if said is None else said.log,
            "felix_metrics": _NO_METRICS if said is None else said.metrics,
        }
        key = (node.kind, *facts.values())
        if key not in known:
            kind = msgspec.structs.replace(snapshot.kinds[node.kind], **facts)
            known[key] = kinds.setdefault(kind, len(kinds))
        nodes.append(msgspec.structs.replace(node, kind=known[key]))
    return msgspec.structs.replace(snapshot, kinds=tuple(kinds), nodes=tuple(nodes), sources=sources.listed())
