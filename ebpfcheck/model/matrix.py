"""What checks say at several Calico releases: `ebpfcheck.matrix/v1`."""

from datetime import datetime

import msgspec

from ebpfcheck.model.report import (
    Coverage,
    Override,
    ReportTarget,
    Scope,
    Selection,
    SettingUse,
    Severity,
    Status,
    Summary,
    Tool,
    Verdict,
)
from ebpfcheck.model.snapshot import Problem

MATRIX_SCHEMA = "ebpfcheck.matrix/v1"


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One release; verdict and summary are None where this ebpfcheck knows nothing of it."""

    version: str
    is_known: bool
    remark: str | None = None
    verdict: Verdict | None = None
    exit_code: int
    summary: Summary | None = None


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What a check says at one release: the worst that is not waived, and how many subjects each status has.

    `status` is None at a release that is not known, and where all of it is waived.
    """

    status: Status | None
    decides: bool = False
    """Whether it keeps the verdict from being ready."""
    needs_survey: bool = False
    """Whether it is unknown because nobody looked at the nodes themselves."""
    message: str = ""
    overridden: Override | None = None
    """What the check itself says of that, where a policy counts it otherwise."""
    subjects: Summary = Summary()


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One check, with a cell for each release."""

    id: str
    title: str
    category: str
    severity: Severity
    """The worst at any of the releases."""
    docs_url: str
    cells: tuple[Cell, ...]


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """The document that `ebpfcheck evaluate` prints for several releases."""

    schema: str = MATRIX_SCHEMA
    tool: Tool
    started_at: datetime
    target: ReportTarget
    scope: Scope
    coverage: Coverage
    selection: Selection
    exit_code: int
    """The worst of all releases; one that is not known is inconclusive."""
    first_not_ready: str | None
    """The first of the releases that is not ready."""
    releases: tuple[Column, ...]
    checks: tuple[Row, ...]
    settings: tuple[SettingUse, ...] = ()
    problems: tuple[Problem, ...] = ()
