"""Files of snapshots, plans and reports."""

import sys
from pathlib import Path

from ebpfcheck.errors import UsageError
from ebpfcheck.model.codec import (
    PlanError,
    ReportError,
    SnapshotError,
    decode_plan,
    decode_report,
    decode_snapshot,
    encode_snapshot,
    is_report,
)
from ebpfcheck.model.plan import Plan
from ebpfcheck.model.report import Report
from ebpfcheck.model.snapshot import Snapshot


def load_snapshot(path: str) -> Snapshot:
    """Read a snapshot from a file, or from stdin for `-`; UsageError with the reason if that cannot be done."""
    try:
        return decode_snapshot(_read(path))
    except SnapshotError as error:
        raise UsageError(f"{path}: {error}") from error


def load_plan(path: str) -> Plan:
    """Read a plan from a file, the directory that holds it, or stdin for `-`; UsageError if that cannot be done."""
    try:
        return decode_plan(_read(path, in_directory="plan.json"))
    except PlanError as error:
        raise UsageError(f"{path}: {error}") from error


def load_report(path: str) -> Report:
    """Read a report from a file, or from stdin for `-`; UsageError if that cannot be done."""
    try:
        return decode_report(_read(path))
    except ReportError as error:
        raise UsageError(f"{path}: {error}") from error


def load_document(path: str) -> Report | Snapshot:
    """Read a report or a snapshot, whichever it is; UsageError if it is neither."""
    data = _read(path)
    try:
        return decode_report(data) if is_report(data) else decode_snapshot(data)
    except (ReportError, SnapshotError) as error:
        raise UsageError(f"{path}: {error}") from error


def _read(path: str, *, in_directory: str = "") -> bytes:
    try:
        if path == "-":
            return _read_stdin()
        place = Path(path)
        return (place / in_directory if in_directory and place.is_dir() else place).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{path}: cannot be read: {reason}") from error


def _read_stdin() -> bytes:
    if sys.stdin is None:
        raise UsageError("stdin is closed")
    return sys.stdin.buffer.read()


def save_snapshot(snapshot: Snapshot, path: str) -> None:
    """Write a snapshot to a file; UsageError if that cannot be done."""
    try:
        Path(path).write_bytes(encode_snapshot(snapshot))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"--save: {path} cannot be written: {reason}") from error
