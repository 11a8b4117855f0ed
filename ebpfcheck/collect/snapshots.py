"""Snapshot files."""

import sys
from pathlib import Path

from ebpfcheck.errors import UsageError
from ebpfcheck.model.codec import SnapshotError, decode_snapshot, encode_snapshot
from ebpfcheck.model.snapshot import Snapshot


def load_snapshot(path: str) -> Snapshot:
    """Read a snapshot from a file, or from stdin for `-`; UsageError with the reason if that cannot be done."""
    try:
        data = _read_stdin() if path == "-" else Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{path}: cannot be read: {reason}") from error
    try:
        return decode_snapshot(data)
    except SnapshotError as error:
        raise UsageError(f"{path}: {error}") from error


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
