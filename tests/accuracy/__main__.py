"""Writes docs/accuracy.md from the recorded kernels; `--record` boots kernels and records them first."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.accuracy import PAGE
from tests.accuracy.page import page

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.accuracy", description=__doc__)
    parser.add_argument("--own", action="store_true", help="record the kernel of this machine too")
    parser.add_argument(
        "--record", type=Path, nargs="*", metavar="DIR", help="kernels, as tests/kernels.sh fetches them"
    )
    arguments = parser.parse_args()
    if arguments.record or arguments.own:
        from tests.accuracy.record import record_booted, record_own

        for directory in arguments.record or ():
            with tempfile.TemporaryDirectory() as work:
                print(record_booted(directory, Path(work)).name, file=sys.stderr)
        if arguments.own:
            print(record_own().name, file=sys.stderr)
    PAGE.write_text(page(), encoding="utf-8")
