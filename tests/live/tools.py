"""What the live tests need of the machine."""

import shutil

import pytest


def need(program: str, package: str) -> None:
    """Skip the test if a program is missing."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian package {package})")
