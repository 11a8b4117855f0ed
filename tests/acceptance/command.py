"""Runs the command line as its users do: as a process."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("ebpfcheck")


def run(
    *arguments: str, stdin: bytes | str = b"", columns: int = 80, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ebpfcheck in a pipe, without colours unless asked for, and return what it printed and its exit code."""
    return run_in(None, *arguments, stdin=stdin, columns=columns, **environment)


def run_in(
    directory: Path | None, *arguments: str, stdin: bytes | str = b"", columns: int = 80, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run it in a directory."""
    # What tells the tests what to do is no setting of the program's.
    own = ("NO_COLOR", "COLUMNS", "TERM")
    env = {name: value for name, value in os.environ.items() if name not in own and not name.startswith("EBPFCHECK_")}
    env |= {"COLUMNS": str(columns), "TERM": "xterm", **environment}
    data = stdin.encode() if isinstance(stdin, str) else stdin
    result = subprocess.run(
        (str(PROGRAM), *arguments), input=data, capture_output=True, env=env, timeout=110, check=False, cwd=directory
    )
    return subprocess.CompletedProcess(result.args, result.returncode, result.stdout.decode(), result.stderr.decode())
