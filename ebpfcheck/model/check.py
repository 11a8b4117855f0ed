"""What a check is: a frozen description, what it needs to know, and a pure function that judges it."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar

import msgspec

from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.facts import Absent, Dataplane, Fact, Install, Known, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity, Status
from ebpfcheck.model.text import excerpt

T = TypeVar("T")

SeverityRule = Callable[[Release], Severity | None]
"""The severity at a release; None where the check does not concern that release."""


class Rung(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """The answer of an evidence ladder: which fact gave it, and its value."""

    fact: str
    value: T


class Share(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A fact as some of the nodes have it, and how many do."""

    fact: Fact[T]
    nodes: int


class Need(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A fact that a check asks for; T is what the check's function is given for it."""

    facts: tuple[str, ...]
    mode: Literal["required", "settled", "optional", "first_of", "over_nodes", "of_cluster"]


def required(fact: Fact[T]) -> Need[T]:
    """Ask for the value of a fact such as `NodeKind.arch`; while it is not known the finding is unknown."""
    return Need(facts=(_name(fact),), mode="required")


def settled(fact: Fact[T]) -> Need[Known[T] | Absent]:
    """Ask for a fact whose absence is an answer too; while it is unknown so is the finding."""
    return Need(facts=(_name(fact),), mode="settled")


def optional(fact: Fact[T]) -> Need[Fact[T]]:
    """Ask for a fact in whatever state it is."""
    return Need(facts=(_name(fact),), mode="optional")


def first_of(*facts: Fact[T]) -> Need[Rung[T]]:
    """Ask for the first known one of several facts, best evidence first."""
    return Need(facts=tuple(_name(fact) for fact in facts), mode="first_of")


def over_nodes(fact: Fact[T]) -> Need[tuple[Share[T], ...]]:
    """Ask, in a check of the cluster, for a fact of its nodes such as `NodeKind.arch`: each of its states once.

    A state's source is left out, so that equal values count together. Where nodes could not be listed at all, one
    share of no nodes says why.
    """
    return Need(facts=(_name(fact),), mode="over_nodes")


def of_cluster(fact: Fact[T]) -> Need[Fact[T]]:
    """Ask, in a check of a node, for a fact of its cluster such as `ClusterFacts.install`, in whatever state it is."""
    return Need(facts=(_name(fact),), mode="of_cluster")


def _name(fact: Any) -> str:
    # `NodeKind.arch` is a Fact[str] to the type checker; at run time it is the slot descriptor that knows its name.
    return str(fact.__name__)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a check says of one set of facts; `cause` is a stable key of why, free of values and names."""

    status: Status
    cause: str
    message: str
    observed: str = ""
    required: str = ""
    reason: Reason | None = None
    is_note: bool = False
    needs_survey: bool = False
    """Whether only a look at the nodes, which nobody took, would have told; for checks of a node the engine sees it."""
    remediation: Remediation | None = None


class Given:
    """What a check's function is given: its needs, unwrapped, what holds for the target release, what should run."""

    def __init__(
        self, release: Release, install: Install, values: Mapping[Need[Any], Any], expect: Dataplane = "bpf"
    ) -> None:
        self.release = release
        self.install: Install = install
        self.expect: Dataplane = expect
        self._values = values

    def __getitem__(self, need: Need[T]) -> T:
        value: T = self._values[need]
        return value


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A check as data; `judge` must be pure: it may look at nothing but what it is given."""

    id: str
    title: str
    category: str
    scope: Literal["node", "cluster"]
    severity: SeverityRule
    needs: tuple[Need[Any], ...]
    docs_url: str
    judge: Callable[[Given], Outcome]
    of_trial: bool = False
    """Whether it rests on a trial, and is left out where none was asked for."""


DOCS_URL = "https://github.com/ebpfcheck/ebpfcheck/blob/main/docs/checks/"


def check(
    *,
    id: str,
    title: str,
    category: str,
    severity: Severity | SeverityRule,
    needs: tuple[Need[Any], ...],
    scope: Literal["node", "cluster"] = "node",
    docs_url: str = "",
    of_trial: bool = False,
) -> Callable[[Callable[[Given], Outcome]], Check]:
    """Make a Check of the decorated function."""

    def rule(release: Release) -> Severity | None:
        return severity if isinstance(severity, Severity) else severity(release)

    def make(judge: Callable[[Given], Outcome]) -> Check:
        return Check(
            id=id,
            title=title,
            category=category,
            scope=scope,
            severity=rule,
            needs=needs,
            docs_url=docs_url or f"{DOCS_URL}{id}.md",
            judge=judge,
            of_trial=of_trial,
        )

    return make


def passed(cause: str, message: str, *, observed: str = "", required: str = "", note: bool = False) -> Outcome:
    """Looked, and it holds; a note is a pass worth reading."""
    return Outcome(status=Status.PASS, cause=cause, message=message, observed=observed, required=required, is_note=note)


def warn(
    cause: str, message: str, *, observed: str = "", required: str = "", remediation: Remediation | None = None
) -> Outcome:
    """Works, but degraded, undocumented or risky."""
    return Outcome(
        status=Status.WARN,
        cause=cause,
        message=message,
        observed=observed,
        required=required,
        remediation=remediation,
    )


def fail(
    cause: str, message: str, *, observed: str = "", required: str = "", remediation: Remediation | None = None
) -> Outcome:
    """eBPF mode would not start, would silently fall back, or would break traffic."""
    return Outcome(
        status=Status.FAIL,
        cause=cause,
        message=message,
        observed=observed,
        required=required,
        remediation=remediation,
    )


def unknown(
    cause: str,
    message: str,
    *,
    reason: Reason,
    observed: str = "",
    required: str = "",
    remediation: Remediation | None = None,
    needs_survey: bool = False,
) -> Outcome:
    """Could not look, or could not tell."""
    return Outcome(
        status=Status.UNKNOWN,
        cause=cause,
        message=message,
        reason=reason,
        observed=observed,
        required=required,
        remediation=remediation,
        needs_survey=needs_survey,
    )


def unseen(
    cause: str,
    message: str,
    fact: Absent | Unknown,
    *,
    observed: str = "",
    required: str = "",
    remediation: Remediation | None = None,
) -> Outcome:
    """Could not tell without this fact; the message ends with why it is not known."""
    reason, detail = (
        (fact.reason, excerpt(fact.detail)) if isinstance(fact, Unknown) else (Reason.NOT_COLLECTED, "it is not there")
    )
    return unknown(
        cause,
        f"{message}: {detail}.",
        reason=reason,
        observed=observed,
        required=required,
        remediation=remediation,
    )


def not_applicable(cause: str, message: str) -> Outcome:
    """The check does not concern this release, platform or install."""
    return Outcome(status=Status.NOT_APPLICABLE, cause=cause, message=message)
