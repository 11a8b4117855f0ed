"""Where documents and complaints go: stdout, stderr and files."""

import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ebpfcheck.options import ColorChoice

if TYPE_CHECKING:
    from ebpfcheck.model.report import Report
    from ebpfcheck.render import RenderOptions

# Wider lines than this are hard to read, narrower ones than this cannot hold a table.
_WIDEST, _NARROWEST = 120, 40


def outputs_of(
    formats: list[str] | None,
    known: Collection[str],
    save: str | None = None,
    *,
    default: str = "table",
    read: Mapping[str, str | None] | None = None,
) -> list[tuple[str, str | None]]:
    """Return (format, file) pairs, None for stdout, which takes one document only.

    UsageError where a file, the snapshot's included, surely cannot be written: better now than after the work; and
    where it is one of those that are `read`, by the option or argument that names them.
    """
    from ebpfcheck.errors import UsageError

    outputs: list[tuple[str, str | None]] = []
    for text in formats or [default]:
        name, sign, file = text.partition("=")
        if name not in known:
            raise UsageError(f"there is no format {name!r}; choose from {', '.join(known)}")
        if sign and not file:
            raise UsageError(f"--format {text}: a file name must follow the =")
        outputs.append((name, None if file in ("", "-") else file))
    if sum(file is None for _, file in outputs) > 1:
        raise UsageError("only one --format can go to stdout; give the others a file, as in json=report.json")
    targets = [("--format", file) for _, file in outputs if file is not None]
    targets += [("--save", save)] if save is not None else []
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary and any(name == "github" for name, _ in outputs):
        targets.append(("GITHUB_STEP_SUMMARY", summary))
    if targets:
        from ebpfcheck.documents import check_file

        for option, file in targets:
            check_file(option, file)
    places = {os.path.realpath(file): (option, file) for option, file in targets}
    if len(places) < len(targets):
        raise UsageError("two documents cannot go to the same file")
    for name, held in (read or {}).items():
        place = os.path.realpath(held) if held and held != "-" else ""
        # What is no plain file, such as /dev/null, loses nothing.
        if place in places and Path(place).is_file():
            option, target = places[place]
            raise UsageError(f"{option}: {target} is the file that {name} reads, and would be overwritten")
    return outputs


def deliver(documents: list[tuple[str, str | None]]) -> None:
    """Write each document to stdout or its file. Stdout comes first, and each is tried, so that a bad one loses none.

    UsageError of the first that could not be written.
    """
    from ebpfcheck.errors import UsageError

    error: UsageError | None = None
    for text, file in sorted(documents, key=lambda document: document[1] is not None):
        try:
            if file is None:
                write_out(text)
            else:
                from ebpfcheck.documents import write_file

                write_file("--format", file, text)
        except UsageError as reason:
            error = error or reason
    if error is not None:
        raise error


def summarize(report: "Report") -> None:
    """Append the report to the summary of a GitHub Actions job, where there is one."""
    file = os.environ.get("GITHUB_STEP_SUMMARY")
    if file:
        from ebpfcheck.documents import append_to_file
        from ebpfcheck.render.markdown import shortened

        append_to_file("GITHUB_STEP_SUMMARY", file, lambda limit: shortened(report, limit))


def render_options(color: ColorChoice, verbose: int, quiet: bool) -> "RenderOptions":
    """Return how documents for people are shown on stdout; UsageError where the wishes exclude each other."""
    import shutil

    from ebpfcheck.errors import UsageError
    from ebpfcheck.render import RenderOptions

    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other")
    width = shutil.get_terminal_size().columns
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb" or not on_terminal
    return RenderOptions(
        width=max(_NARROWEST, min(width, _WIDEST)),
        color=color is ColorChoice.always or (color is ColorChoice.auto and not plain),
        verbosity=-1 if quiet else verbose,
    )


def options_for(file: str | None, options: "RenderOptions", color: ColorChoice) -> "RenderOptions":
    """Return the options for one document: a file is no terminal, and has colours only if they were asked for."""
    import msgspec

    if file is None:
        return options
    return msgspec.structs.replace(options, color=color is ColorChoice.always)


def write_out(text: str) -> None:
    """Write to stdout; a reader that has gone away is no error."""
    from ebpfcheck.errors import UsageError

    if sys.stdout is None:
        raise UsageError("stdout is closed")
    try:
        sys.stdout.flush()
        _write_whole(sys.stdout.fileno(), text.encode(sys.stdout.encoding, "backslashreplace"))
    except BrokenPipeError:
        _drop_stdout()
    except OSError as error:
        _drop_stdout()
        raise UsageError(f"stdout cannot be written: {error.strerror}") from error


def _write_whole(descriptor: int, data: bytes) -> None:
    """Write all of it, also where a signal comes in between: Python's own streams lose the rest then."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _drop_stdout() -> None:
    # Python flushes stdout once more at exit, which must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(words: str) -> None:
    """Write a line to stderr."""
    from ebpfcheck.model.text import visible

    try:
        sys.stderr.write(f"ebpfcheck: {visible(' '.join(words.split()))}\n")
        sys.stderr.flush()
    except (OSError, AttributeError):
        # A closed or full stderr leaves only the exit code to say it.
        return


def report_defect(error: Exception, *, verbose: bool) -> None:
    """Tell of an error that should not have come to the user, with the traceback if that is asked for."""
    from ebpfcheck import __version__

    complain(f"internal error in ebpfcheck {__version__}: {type(error).__name__}: {error}")
    if verbose:
        import traceback

        traceback.print_exception(error)
    else:
        complain("this is a defect; run it again with -v for the traceback, and report it")
