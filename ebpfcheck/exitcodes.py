"""Exit codes, the same whatever the format."""

import enum
from collections.abc import Iterable
from typing import Literal

from ebpfcheck.model.diff import DiffOutcome
from ebpfcheck.model.report import Status, Verdict


class ExitCode(enum.IntEnum):
    """What the process returns; 5 outranks 1, 1 outranks 3, 3 outranks 4."""

    READY = 0
    NOT_READY = 1
    USAGE = 2
    INCONCLUSIVE = 3
    WARNINGS = 4
    COULD_NOT_RUN = 5
    INTERNAL_ERROR = 70
    INTERRUPTED = 130


FailOn = Literal["fail", "warn", "never"]


def exit_code(verdict: Verdict, fail_on: FailOn) -> ExitCode:
    """Return the exit code of a verdict; `never` keeps a report from failing anything."""
    if fail_on == "never":
        return ExitCode.READY
    if verdict is Verdict.READY_WITH_WARNINGS:
        return ExitCode.WARNINGS if fail_on == "warn" else ExitCode.READY
    return {
        Verdict.READY: ExitCode.READY,
        Verdict.NOT_READY: ExitCode.NOT_READY,
        Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    }[verdict]


def kernel_exit_code(statuses: Iterable[Status], fail_on: FailOn) -> ExitCode:
    """Return the exit code for judged kernel strings: one refused decides, then one undecidable, then a warning."""
    seen = set(statuses)
    for status, verdict in (
        (Status.FAIL, Verdict.NOT_READY),
        (Status.UNKNOWN, Verdict.INCONCLUSIVE),
        (Status.WARN, Verdict.READY_WITH_WARNINGS),
    ):
        if status in seen:
            return exit_code(verdict, fail_on)
    return ExitCode.READY


def diff_exit_code(outcome: DiffOutcome) -> ExitCode:
    """Return the exit code of a comparison: whether B got worse, or might have."""
    return {
        "not_worse": ExitCode.READY,
        "worse": ExitCode.NOT_READY,
        "incomparable": ExitCode.INCONCLUSIVE,
    }[outcome]


def worst_exit_code(codes: Iterable[int]) -> ExitCode:
    """Return the one of several that outranks the others: not ready, then inconclusive, then warnings."""
    seen = set(codes)
    ranked = (ExitCode.NOT_READY, ExitCode.INCONCLUSIVE, ExitCode.WARNINGS)
    return next((code for code in ranked if code in seen), ExitCode.READY)
