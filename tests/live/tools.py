"""What the live tests need of the machine."""

import os
import shutil

import pytest

STRICT = os.environ.get("EBPFCHECK_LIVE") == "require"
"""Set by .ci/run: a live test that cannot run is then a failure, not a skip."""


def need(program: str, package: str) -> None:
    """Skip the test, or fail it where live tests are required, if a program is missing."""
    if shutil.which(program) is None:
        lacking(f"{program} is not installed (Debian package {package})")


def lacking(reason: str) -> None:
    """Skip the test, or fail it where live tests are required."""
    if STRICT:
        pytest.fail(reason)
    pytest.skip(reason)
