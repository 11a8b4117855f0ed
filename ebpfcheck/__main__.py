"""Where the program starts: the fast path for --version, and Ctrl-C while modules are loaded."""

import sys


def main() -> int:
    """Run the command line and return the exit code."""
    if sys.argv[1:] == ["--version"]:
        from ebpfcheck import __version__
        from ebpfcheck.knowledge import KNOWLEDGE_DATE

        sys.stdout.write(f"ebpfcheck {__version__} (knowledge of {KNOWLEDGE_DATE})\n")
        return 0
    try:
        from ebpfcheck.cli import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("ebpfcheck: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
