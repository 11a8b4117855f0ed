"""The use case of looking at this machine, and what looks at other nodes share with it."""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from ebpfcheck import __version__
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import NotReachedError, Survey
from ebpfcheck.errors import CannotRunError
from ebpfcheck.model.facts import FelixSettings, Known, NodeFacts, Source, SourceKind
from ebpfcheck.model.snapshot import Problem, Snapshot, SourceIndex, Unseen, fold_nodes


def snapshot_of_node(survey: Survey, kind: SourceKind, felix_config: str | None = None) -> Snapshot:
    """Return the snapshot of one node that was surveyed, with what a file says of FelixConfiguration.

    CannotRunError if nothing could be learned, UsageError if the file cannot be read.
    """
    sources = SourceIndex()
    try:
        facts, problems = node_facts(survey, kind, sources)
    except NotReachedError as error:
        raise CannotRunError(error.words) from error
    if felix_config is not None:
        facts = FelixFacts(felix_config, sources).added_to(facts)
    return snapshot_of((facts,), sources, problems=problems)


def facts_of(
    name: str, survey: Survey, kind: SourceKind, sources: SourceIndex
) -> tuple[NodeFacts, tuple[Problem, ...]]:
    """Return the facts that the survey of one node among several gives, and what went wrong there, by the node's name.

    NotReachedError if it gives none.
    """
    facts, problems = node_facts(survey, kind, sources)
    return facts, tuple(msgspec.structs.replace(one, source=f"{one.source} of {name}") for one in problems)


class FelixFacts:
    """What a file says of FelixConfiguration, read once for all nodes."""

    def __init__(self, path: str, sources: SourceIndex, *, for_all: bool = False) -> None:
        """Read the file; `for_all`: for nodes whose names are not known yet. UsageError if it cannot serve."""
        # Imported here since most runs do without, and YAML takes a while to load.
        from ebpfcheck.collect.felix import FelixFile

        self._file = FelixFile(path)
        if for_all:
            self._file.check_default()
        self._source = sources.add(Source(kind=SourceKind.LOCAL, locator=f"--felix-config {path}"))

    def added_to(self, facts: NodeFacts) -> NodeFacts:
        """Return the facts of a node with what is set for it."""
        # kubelet names a node by its host name in lower case.
        settings: FelixSettings = self._file.settings_of(facts.identity.name.lower())
        felix = Known(value=settings, source=self._source)
        return msgspec.structs.replace(facts, kind=msgspec.structs.replace(facts.kind, felix=felix))


def snapshot_of(
    facts: Iterable[NodeFacts],
    sources: SourceIndex,
    *,
    unseen: tuple[Unseen, ...] = (),
    problems: tuple[Problem, ...] = (),
) -> Snapshot:
    """Return the snapshot of nodes that were surveyed now."""
    kinds, nodes = fold_nodes(facts)
    return Snapshot(
        tool_version=__version__,
        taken_at=datetime.now(UTC).replace(microsecond=0),
        sources=sources.listed(),
        kinds=kinds,
        nodes=nodes,
        unseen=unseen,
        problems=problems,
    )
