"""Nodes that look alike from the API: which of them to look at, and what those tell about the others."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest

import msgspec

from ebpfcheck.model.facts import API_FACTS, OWN_FACTS, Known, NodeFacts, NodeIdentity, NodeKind, Reason, Unknown
from ebpfcheck.model.snapshot import Inference, Node, NodeTraits, Problem, Snapshot, SourceIndex, Unseen

# What all nodes of a cohort share, beside their traits.
_SHARED_FACTS = ("kernel_release", "os_image", "arch", "container_runtime", "kubelet_version", "operating_system")
# Of what the API tells of a node, what a survey may tell of another one as well.
_INHERITED = API_FACTS - OWN_FACTS
_NOT_MACHINES = {
    "type=virtual-kubelet": "a virtual node stands for a service that runs pods elsewhere; there is nothing to look at",
    "eks.amazonaws.com/compute-type=fargate": "on Fargate nothing but the one pod runs that the node was made for",
}


class Cohort(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes alike; the three tuples go together, and a node is its index in the snapshot."""

    members: tuple[int, ...]
    zones: tuple[str, ...]
    ready: tuple[bool | None, ...]


def cohorts(snapshot: Snapshot) -> tuple[Cohort, ...]:
    """Return the nodes that can be looked at, those alike together; in the order of the snapshot.

    Alike are nodes of the same system, kernel, kubelet, runtime, instance type, pool and role, as the API says. A node
    of which it leaves one of the facts open is alike to no other.
    """
    reasons = [_why_not(kind) for kind in snapshot.kinds]
    likenesses: dict[tuple[int, int | None], tuple[object, ...] | None] = {}
    members: dict[tuple[object, ...], list[int]] = {}
    for index, node in enumerate(snapshot.nodes):
        if reasons[node.kind] is not None:
            continue
        look = node.kind, node.traits
        if look not in likenesses:
            likenesses[look] = _likeness(snapshot.kinds[node.kind], _traits(snapshot, index))
        members.setdefault(likenesses[look] or (index,), []).append(index)
    return tuple(_cohort(snapshot, indices) for indices in members.values())


def unprobeable(snapshot: Snapshot) -> tuple[Unseen, ...]:
    """Return the nodes that no probe can look at, each with the reason."""
    reasons = [_why_not(kind) for kind in snapshot.kinds]
    return tuple(
        Unseen(name=node.identity.name, reason=Reason.UNSUPPORTED, detail=detail)
        for node in snapshot.nodes
        if (detail := reasons[node.kind]) is not None
    )


def choose(cohort: Cohort, at_most: int = 3) -> tuple[int, ...]:
    """Return the nodes to look at: ready ones first, then of all zones in turn, from all over each zone.

    More of them only adds to the end, so those that come next can stand in for those that could not be looked at.
    """
    return tuple(islice(_by_preference(cohort), at_most))


def with_surveys(
    snapshot: Snapshot,
    surveys: Mapping[int, NodeFacts],
    alike: Iterable[Cohort],
    sources: SourceIndex,
    failed: Container[int] = (),
) -> Snapshot:
    """Return a snapshot of what the API says with what surveys of some of its nodes tell about them and nodes alike.

    `surveys` holds all of them by the nodes' indices, their facts made with `sources`, which is that of the snapshot
    (SourceIndex.of) grown. Of a surveyed node the survey wins over the API, but for Felix's settings; of a node alike
    the API wins. A sample on which another kernel runs than the API says tells nothing of other nodes, and a node on
    which a survey has `failed` is not taken to be like those on which it has not.
    """
    merger = _Merger(snapshot, surveys, failed)
    for cohort in alike:
        merger.infer(cohort)
    return msgspec.structs.replace(merger.merged(), sources=sources.listed())


class _Merger:
    """Takes the nodes of a snapshot over into a new one, each distinct kind and inference once."""

    def __init__(self, snapshot: Snapshot, surveys: Mapping[int, NodeFacts], failed: Container[int]) -> None:
        self._failed = failed
        self._snapshot = snapshot
        self._surveys = surveys
        self._kinds: dict[NodeKind, int] = {}
        self._kept: dict[int, int] = {}
        self._inferences: dict[Inference, int] = {}
        self._inference_of: dict[int, int] = {}
        self._problems: list[Problem] = []

    def infer(self, cohort: Cohort) -> None:
        """Infer what the members of a cohort are that were not surveyed, if some were."""
        others = [index for index in cohort.members if index not in self._surveys and index not in self._failed]
        samples = tuple(index for index in cohort.members if others and index in self._surveys and self._is_true(index))
        if not samples:
            return
        # Nodes alike may still have other settings of Felix, and so be of several kinds.
        made: dict[int, int] = {}
        for index in others:
            kind = self._snapshot.nodes[index].kind
            if kind not in made:
                made[kind] = self._inference(kind, samples)
            self._inference_of[index] = made[kind]

    def merged(self) -> Snapshot:
        """Return the new snapshot, its sources still those of the old one."""
        nodes = tuple(self._node(index, node) for index, node in enumerate(self._snapshot.nodes))
        return msgspec.structs.replace(
            self._snapshot,
            kinds=tuple(self._kinds),
            nodes=nodes,
            inferences=tuple(self._inferences),
            problems=(*self._snapshot.problems, *self._problems),
        )

    def _node(self, index: int, node: Node) -> Node:
        survey = self._surveys.get(index)
        if survey is None:
            if node.kind not in self._kept:
                self._kept[node.kind] = self._index(self._snapshot.kinds[node.kind])
            return msgspec.structs.replace(node, kind=self._kept[node.kind], inference=self._inference_of.get(index))
        identity = NodeIdentity(
            name=node.identity.name, addresses=survey.identity.addresses, node_ips=node.identity.node_ips
        )
        kind = self._index(_surveyed(self._snapshot.kinds[node.kind], survey.kind))
        return Node(identity=identity, kind=kind, traits=node.traits)

    def _index(self, kind: NodeKind) -> int:
        return self._kinds.setdefault(kind, len(self._kinds))

    def _inference(self, kind: int, samples: tuple[int, ...]) -> int:
        own = self._snapshot.kinds[kind]
        kinds = dict.fromkeys(self._index(_inferred(own, self._surveys[sample].kind)) for sample in samples)
        return self._inferences.setdefault(Inference(kinds=tuple(kinds), samples=samples), len(self._inferences))

    def _is_true(self, index: int) -> bool:
        """Whether a surveyed node runs the kernel that the API says; if not, it is like no other."""
        node = self._snapshot.nodes[index]
        told, seen = self._snapshot.kinds[node.kind].kernel_release, self._surveys[index].kind.kernel_release
        is_true = not isinstance(told, Known) or not isinstance(seen, Known) or told.value == seen.value
        if not is_true:
            detail = "another kernel runs there than the API says, so nothing was inferred from it for nodes alike"
            self._problems.append(Problem(source=node.identity.name, reason=Reason.UNSUPPORTED, detail=detail))
        return is_true


def _surveyed(told: NodeKind, seen: NodeKind) -> NodeKind:
    """Return what the API and a survey tell of the same node."""
    from_api = {
        name: getattr(told, name)
        for name in API_FACTS
        if name not in _INHERITED or isinstance(getattr(seen, name), Unknown)
    }
    return msgspec.structs.replace(seen, **from_api)


def _inferred(told: NodeKind, seen: NodeKind) -> NodeKind:
    """Return what the API tells of a node and a survey of a node alike."""
    from_api = {
        name: getattr(told, name)
        for name in API_FACTS
        if name not in _INHERITED
        or isinstance(getattr(told, name), Known)
        or not isinstance(getattr(seen, name), Known)
    }
    return msgspec.structs.replace(seen, **from_api)


def _traits(snapshot: Snapshot, index: int) -> NodeTraits:
    number = snapshot.nodes[index].traits
    return NodeTraits() if number is None else snapshot.traits[number]


def _likeness(kind: NodeKind, traits: NodeTraits) -> tuple[object, ...] | None:
    """Return what is equal for nodes alike; None for a node that is alike to no other."""
    facts = [getattr(kind, name) for name in _SHARED_FACTS]
    if not all(isinstance(fact, Known) for fact in facts):
        return None
    return (*(fact.value for fact in facts), traits.instance_type, traits.pool, traits.role)


def _why_not(kind: NodeKind) -> str | None:
    """Return why nodes of a kind cannot be looked at; None where they can be."""
    if isinstance(kind.operating_system, Known) and kind.operating_system.value != "linux":
        return "it does not run Linux"
    marks = kind.platform_marks.value if isinstance(kind.platform_marks, Known) else ()
    return next((detail for mark, detail in _NOT_MACHINES.items() if mark in marks), None)


def _cohort(snapshot: Snapshot, indices: Sequence[int]) -> Cohort:
    traits = [_traits(snapshot, index) for index in indices]
    return Cohort(
        members=tuple(indices),
        zones=tuple(one.zone for one in traits),
        ready=tuple(one.is_ready for one in traits),
    )


def _by_preference(cohort: Cohort) -> Iterator[int]:
    nodes = list(zip(cohort.members, cohort.zones, cohort.ready, strict=True))
    for wanted in (True, None, False):
        zones: dict[str, list[int]] = {}
        for index, zone, ready in nodes:
            if ready is wanted:
                zones.setdefault(zone, []).append(index)
        rounds = zip_longest(*map(_spread, zones.values()))
        yield from (index for index in chain.from_iterable(rounds) if index is not None)


def _spread(indices: Sequence[int]) -> Iterable[int]:
    """Return indices with the first, the last and the middle one in front."""
    return dict.fromkeys((indices[0], indices[-1], indices[len(indices) // 2], *indices))
