"""Times ebpfcheck against what a user would pick instead, as ratios taken in one run; `make bench` prints the table."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
PROGRAM = Path(sys.executable).with_name("ebpfcheck")
PAIRS = 21
# As users run it: with byte code kept from the run before.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
HELLO = """\
import typer
def hello(name: str = "you") -> None:
    print(f"Hello {name}")
typer.run(hello)
"""


def seconds(command: Sequence[str], stdin: Path | None = None) -> float:
    with (stdin or Path("/dev/null")).open("rb") as source:
        start = time.perf_counter()
        subprocess.run(
            command,
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            check=False,
        )
        return time.perf_counter() - start


def ratio(ours: Sequence[str], theirs: Sequence[str]) -> tuple[float, float, float]:
    """Return the median of the ratios of pairs run in turn, and both medians in seconds."""
    seconds(ours), seconds(theirs)
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(PAIRS)]
    return median(a / b for a, b in pairs), median(a for a, _ in pairs), median(b for _, b in pairs)


def kernel_lines_a_second(folder: Path, count: int = 200_000) -> float:
    """Return how many JSON lines a second `ebpfcheck kernel -` answers, its start-up included."""
    lines = folder / "kernels.jsonl"
    with lines.open("w") as file:
        for number in range(count):
            release = f"{4 + number % 3}.{number % 20}.{number % 97}-{number}-generic"
            file.write(json.dumps({"release": release, "os_image": "Ubuntu 22.04.4 LTS", "arch": "x86_64"}) + "\n")
    return count / seconds((str(PROGRAM), "kernel", "-", "-f", "json"), lines)


def main() -> None:
    survey = ROOT / "ebpfcheck" / "collect" / "survey.sh"
    rows: list[tuple[str, str, str, bool]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hello = folder / "hello.py"
        hello.write_text(HELLO)
        for what, against, ours, theirs, limit in (
            ("ebpfcheck --version", "python -c pass", ("--version",), (sys.executable, "-c", "pass"), 3.0),
            (
                "ebpfcheck --help",
                "a typer hello-world's --help",
                ("--help",),
                (sys.executable, str(hello), "--help"),
                1.0,
            ),
            ("ebpfcheck node", "the survey alone under sh", ("node",), ("sh", str(survey), "nonce"), 3.0),
        ):
            value, a, b = ratio((str(PROGRAM), *ours), theirs)
            rows.append(
                (
                    f"{what} / {against}",
                    f"{value:.2f} ({a * 1e3:.0f} ms / {b * 1e3:.0f} ms)",
                    f"{limit:.1f}",
                    value <= limit,
                )
            )
        rate = kernel_lines_a_second(folder)
        rows.append(("ebpfcheck kernel -, lines a second", f"{rate:,.0f}", "20,000", rate >= 20_000))
    width = max(len(row[0]) for row in rows)
    print(f"{'WHAT':<{width}}  {'MEASURED':<26}  {'MUST BE':<10}  HOLDS")
    for what, measured, bound, holds in rows:
        word = "at least " if "second" in what else "at most "
        print(f"{what:<{width}}  {measured:<26}  {word + bound:<10}  {'yes' if holds else 'NO'}")


if __name__ == "__main__":
    main()
