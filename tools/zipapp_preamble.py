"""Runs first in the single-file build: it says in one line when the file is not for the Python that runs it."""

import platform
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

# shiv puts this name here.
compiled = {path.name.removeprefix("_core") for path in Path(site_packages).glob("msgspec/_core.*.so")}
if not compiled & set(EXTENSION_SUFFIXES):
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    built_for = ", ".join(sorted(suffix.strip(".").removesuffix(".so") for suffix in compiled)) or "another machine"
    sys.exit(f"ebpfcheck: this file was built for {built_for}, and this is Python {version} on {platform.machine()}")
