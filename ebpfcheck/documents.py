"""Documents for users, and directories of them, written whole or not at all."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ebpfcheck.errors import UsageError

if TYPE_CHECKING:
    from ebpfcheck.render.plan_files import File

# What stands for a stream that somebody holds open, which a new file would not reach.
_STREAMS = ("/dev/", "/proc/")
_LONGEST_SUMMARY = 1 << 20


def check_file(option: str, path: str) -> None:
    """UsageError where a file surely cannot be written: better now than after the work."""
    if path in ("", "-"):
        raise UsageError(f"{option}: give the name of a file")
    place = Path(path)
    try:
        if place.is_dir():
            raise UsageError(f"{option}: {path} is a directory")
        if not place.parent.is_dir():
            raise UsageError(f"{option}: {path}: there is no directory {place.parent}")
        if not os.access(place if place.exists() else place.parent, os.W_OK):
            raise UsageError(f"{option}: {path} cannot be written: Permission denied")
    except (OSError, ValueError) as error:
        raise UsageError(f"{option}: {path}: {getattr(error, 'strerror', None) or error}") from error


def write_file(option: str, path: str, text: str) -> None:
    """Write a file; UsageError if that cannot be done, and then what was there before still is."""
    data = text.encode("utf-8", "backslashreplace")
    try:
        if path.startswith(_STREAMS) or not _is_replaceable(Path(path)):
            Path(path).write_bytes(data)
        else:
            _replace(Path(path).resolve(), data)
    except (OSError, ValueError) as error:
        raise UsageError(f"{option}: {path} cannot be written: {getattr(error, 'strerror', None) or error}") from error


def append_to_file(name: str, path: str, text_of: Callable[[int], str]) -> None:
    """Append to a file, which may hold 1 MiB at most, the text that fits into so many bytes; `name` is what it is."""
    try:
        with Path(path).open("ab") as file:
            file.write(text_of(_LONGEST_SUMMARY - file.tell()).encode("utf-8", "backslashreplace"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {path} cannot be written: {getattr(error, 'strerror', None) or error}") from error


def _is_replaceable(place: Path) -> bool:
    """Whether another file may take this one's place: it is a plain one or there is none, and its directory lets it."""
    try:
        is_plain = stat.S_ISREG(place.stat().st_mode)
    except FileNotFoundError:
        return True
    return is_plain and os.access(place.resolve().parent, os.W_OK)


def _replace(place: Path, data: bytes) -> None:
    descriptor, made = tempfile.mkstemp(prefix=f".{place.name[:200]}.", dir=place.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(made).chmod(stat.S_IMODE(place.stat().st_mode) if place.exists() else _default_mode())
        Path(made).replace(place)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise


def _default_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def check_directory(option: str, path: str) -> None:
    """UsageError where a directory surely cannot be made: better now than after the work."""
    if not path:
        raise UsageError(f"{option}: give the name of a directory")
    place = Path(path)
    try:
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise UsageError(f"{option}: {path} is there already, and not an empty directory")
        if not place.absolute().parent.is_dir():
            raise UsageError(f"{option}: {path}: there is no directory {place.absolute().parent}")
    except (OSError, ValueError) as error:
        raise UsageError(f"{option}: {path}: {getattr(error, 'strerror', None) or error}") from error


def write_directory(option: str, path: str, files: "Iterable[File]") -> None:
    """Make a directory with these files; UsageError if that cannot be done, and then there is none of them."""
    check_directory(option, path)
    place = Path(path).absolute()
    made: Path | None = None
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        for file in files:
            target = made / file.name
            target.write_text(file.text, encoding="utf-8", errors="backslashreplace")
            target.chmod(0o755 if file.executable else 0o644)
        made.chmod(0o755)
        # An empty directory of that name gives way.
        made.rename(place)
    except (OSError, ValueError) as error:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
        raise UsageError(f"{option}: {path} cannot be written: {getattr(error, 'strerror', None) or error}") from error
