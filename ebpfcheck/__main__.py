"""Where the program starts: the fast path for --version, and the one boundary for errors."""

import sys


def main() -> int:
    """Run the command line and return the exit code."""
    if sys.argv[1:] == ["--version"]:
        from ebpfcheck import __version__
        from ebpfcheck.knowledge import KNOWLEDGE_DATE

        sys.stdout.write(f"ebpfcheck {__version__} (knowledge of {KNOWLEDGE_DATE})\n")
        return 0
    from ebpfcheck.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
