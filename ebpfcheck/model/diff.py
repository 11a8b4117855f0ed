"""What two reports have in common and what not: `ebpfcheck.diff/v1`."""

from datetime import datetime
from typing import Literal

import msgspec

from ebpfcheck.model.report import Coverage, Remediation, Severity, Status, Tool, Verdict
from ebpfcheck.model.snapshot import Problem

DIFF_SCHEMA = "ebpfcheck.diff/v1"

MatchedBy = Literal["subjects", "outcomes"]
"""What was held against each other: each node and itself, or what is said of any node and what is said of any other."""

DiffOutcome = Literal["not_worse", "worse", "incomparable"]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two that are compared."""

    file: str
    document: Literal["report", "snapshot"]
    seen_at: datetime
    """When the report was finished, or the snapshot taken."""
    target: str
    calico: str
    """The release that it was judged for."""
    knowledge: str
    verdict: Verdict
    coverage: Coverage


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A check of which A and B do not say the same, and all the subjects that this is so for.

    `change`: new where something is wrong that was not, fixed where it no longer is, changed where it is more or less
    wrong or of another cause, incomparable where one of the two could not tell, or judged by other knowledge.
    """

    change: Literal["new", "fixed", "changed", "incomparable"]
    worse: bool | None
    """Whether B is worse; None where that cannot be told."""
    id: str
    title: str
    category: str
    scope: Literal["node", "cluster"]
    severity: Severity
    subjects: tuple[str, ...]
    a: Status | None
    """None where A does not tell of it."""
    b: Status | None
    why: str = ""
    """Of an incomparable one: what stands in the way."""
    message: str
    """That of B, where it has one."""
    remediation: Remediation | None = None
    docs_url: str
    waived_by: str | None = None
    """Of B, which then does not count as worse."""


class DiffSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Changes, counted by kind and by what they mean."""

    new: int = 0
    fixed: int = 0
    changed: int = 0
    incomparable: int = 0
    worse: int = 0
    undecided: int = 0
    """Those of which it cannot be told whether they are worse."""


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """The document that `ebpfcheck diff -f json` prints."""

    schema: str = DIFF_SCHEMA
    tool: Tool
    a: Side
    b: Side
    matched_by: MatchedBy
    outcome: DiffOutcome
    exit_code: int
    summary: DiffSummary
    changes: tuple[Change, ...]
    nodes_only_in_a: tuple[str, ...] = ()
    nodes_only_in_b: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
