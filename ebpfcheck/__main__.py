"""Where the program starts: the fast path for --version, and Ctrl-C while modules are loaded."""

import gc
import os
import sys


def main() -> int:
    """Run the command line and return the exit code."""
    # A run is short and leaves few cycles behind; looking for them while modules load costs a twentieth of it.
    gc.disable()
    try:
        if sys.argv[1:] == ["--version"] and _print_version():
            return 0
        from ebpfcheck.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("ebpfcheck: interrupted\n")
        code = 130
    _leave_threads(code)
    return code


def _leave_threads(code: int) -> None:
    """End the process at once where threads still wait for an answer, which must not hold up or upset its end."""
    threading = sys.modules.get("threading")
    if threading is None or threading.active_count() == 1:
        return
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, AttributeError, ValueError):
            # Full or closed: that was told of when it was written to.
            continue
    os._exit(code)


def _print_version() -> bool:
    """Print the version without loading the command line; whether that worked."""
    from ebpfcheck import __version__
    from ebpfcheck.knowledge import KNOWLEDGE_DATE

    try:
        sys.stdout.write(f"ebpfcheck {__version__} (knowledge of {KNOWLEDGE_DATE})\n")
        sys.stdout.flush()
    except (OSError, AttributeError):
        # A full or closed stdout: the command line tries again and tells of it.
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
