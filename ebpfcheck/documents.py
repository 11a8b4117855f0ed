"""Directories of documents for users, written whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ebpfcheck.errors import UsageError
from ebpfcheck.render.plan_files import File


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


def write_directory(option: str, path: str, files: Iterable[File]) -> None:
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
