"""The use case of looking at hosts over SSH."""

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from ebpfcheck.collect.fleet import Fleet, Job
from ebpfcheck.collect.ssh import SshClient, SshOptions, SshTransport
from ebpfcheck.collect.targets import Target, read_targets
from ebpfcheck.collect.transport import NotReachedError, Survey, Trial
from ebpfcheck.errors import CannotRunError, UsageError
from ebpfcheck.interruption import Interruption
from ebpfcheck.model.facts import Endpoint, NodeFacts, SourceKind
from ebpfcheck.model.snapshot import Problem, Snapshot, SourceIndex, Unseen
from ebpfcheck.survey import FelixFacts, facts_of, snapshot_of

_REASONS_TOLD = 3


class HostsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts to look at over SSH, and how."""

    words: tuple[str, ...] = ()
    hosts_file: str | None = None
    from_cluster: bool = False
    kubeconfig: str | None = None
    context: str | None = None
    ssh: SshOptions
    concurrency: int
    timeout: float
    """Seconds for each host."""
    deadline: float
    """The end for all of them (time.monotonic)."""
    felix_config: str | None = None
    endpoints: tuple[Endpoint, ...] = ()
    """Addresses of the API server that each host is to try."""
    trial: Trial = "none"
    """What each host is to try."""


def snapshot_of_hosts(
    request: HostsRequest, on_progress: Callable[[str], None], interruption: Interruption
) -> Snapshot:
    """Survey hosts over SSH and return the snapshot, with what there is where the user has interrupted it.

    UsageError for what the request has wrong; CannotRunError, in ssh's words, if not one host could be surveyed.
    """
    if request.hosts_file == request.felix_config == "-":
        raise UsageError("--hosts-file and --felix-config cannot both read stdin")
    targets, unseen = _targets(request)
    gathered = _Gathered(SourceKind.SSH, request.felix_config, unseen)
    fleet = Fleet(
        concurrency=request.concurrency,
        timeout=request.timeout,
        deadline=request.deadline,
        on_survey=gathered.survey,
        on_failure=gathered.failure,
        on_progress=lambda counts: on_progress(counts.words("hosts")),
        is_interrupted=interruption.has_come,
    )
    with SshClient(request.ssh.checked(), request.timeout) as client:
        client.connect_jump(min(request.timeout, request.deadline - time.monotonic()))
        interruption.watch()
        with contextlib.suppress(KeyboardInterrupt):
            # The second one, as the first is heeded by the fleet.
            fleet.run(
                [
                    Job(name=one.name, transport=SshTransport(client, one, request.endpoints, request.trial))
                    for one in targets
                ]
            )
    if interruption.has_come() and not gathered.has_facts:
        raise KeyboardInterrupt
    return gathered.snapshot([target.name for target in targets])


def _targets(request: HostsRequest) -> tuple[tuple[Target, ...], tuple[Unseen, ...]]:
    """Return the hosts to look at, and the nodes that are known to be out of reach."""
    if not request.from_cluster:
        return read_targets(request.words, request.hosts_file), ()
    if request.words or request.hosts_file is not None:
        raise UsageError("--from-cluster names the hosts itself: leave out TARGET and --hosts-file")
    from ebpfcheck.collect.cluster_hosts import hosts_of_cluster
    from ebpfcheck.collect.login import Login

    with Login(request.kubeconfig, request.context, request.timeout) as login:
        return hosts_of_cluster(login, time.monotonic() + request.timeout)


class _Gathered:
    """What surveys of several nodes have told so far."""

    def __init__(self, kind: SourceKind, felix_config: str | None, unseen: Iterable[Unseen] = ()) -> None:
        self._kind = kind
        self._sources = SourceIndex()
        self._felix = None if felix_config is None else FelixFacts(felix_config, self._sources, for_all=True)
        self._facts: dict[str, NodeFacts] = {}
        self._unseen = {node.name: node for node in unseen}
        self._problems: list[Problem] = []

    @property
    def has_facts(self) -> bool:
        """Whether any node has told anything."""
        return bool(self._facts)

    def survey(self, job: Job, survey: Survey) -> bool:
        """Take what a survey has told, and return whether that was anything."""
        try:
            facts, problems = facts_of(job.name, survey, self._kind, self._sources)
        except NotReachedError as error:
            self.failure(job, error)
            return False
        if self._felix is not None:
            facts = self._felix.added_to(facts)
        identity = msgspec.structs.replace(facts.identity, name=job.name)
        self._facts[job.name] = msgspec.structs.replace(facts, identity=identity)
        self._problems += problems
        return True

    def failure(self, job: Job, error: NotReachedError) -> None:
        """Take note of why a node was not seen."""
        self._unseen[job.name] = Unseen(name=job.name, reason=error.reason, detail=error.words)

    def snapshot(self, names: Sequence[str]) -> Snapshot:
        """Return what is known of the nodes, in the order of these names; CannotRunError if that is nothing."""
        if not self._facts:
            raise CannotRunError(self._why_nothing())
        order = {name: index for index, name in enumerate(names)}
        facts = sorted(self._facts.values(), key=lambda one: order[one.identity.name])
        unseen = sorted(self._unseen.values(), key=lambda one: order.get(one.name, -1))
        return snapshot_of(facts, self._sources, unseen=tuple(unseen), problems=tuple(self._problems))

    def _why_nothing(self) -> str:
        failures = tuple(self._unseen.values())
        if len(failures) == 1:
            return f"{failures[0].name} could not be surveyed: {failures[0].detail}"
        by_words: dict[str, list[str]] = {}
        for failure in failures:
            by_words.setdefault(failure.detail, []).append(failure.name)
        told = "; ".join(
            f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {words}"
            for words, names in sorted(by_words.items(), key=lambda item: -len(item[1]))[:_REASONS_TOLD]
        )
        return (
            f"none of {len(failures)} hosts could be surveyed: {told}{'; ...' if len(by_words) > _REASONS_TOLD else ''}"
        )
