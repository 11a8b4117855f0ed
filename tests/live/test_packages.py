"""What is built to be given away: the single file on a machine that reaches nothing, and the wheel."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.acceptance.test_output import story
from tests.builders import ROOT
from tests.live.tools import need

pytestmark = pytest.mark.live
# The Python that the virtual environment is of, which has none of the packages.
PYTHON = str(Path(sys.executable).resolve())


def make(target: str, folder: Path, *variables: str) -> None:
    need("make", "make")
    command = ("make", target, f"DIST={folder}", *variables)
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def packages(name: str, found: dict[str, Distribution]) -> None:
    """Find a package and what it needs among those that are installed here."""
    if canonicalize_name(name) in found:
        return
    package = distribution(name)
    found[canonicalize_name(name)] = package
    for text in package.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            packages(requirement.name, found)


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    """A directory with what ebpfcheck needs, which pip would fetch otherwise, and without ebpfcheck."""
    found: dict[str, Distribution] = {}
    packages("ebpfcheck", found)
    folder = tmp_path / "site-packages"
    for name, package in found.items():
        for file in package.files or ():
            if name != "ebpfcheck" and ".." not in file.parts and file.suffix != ".pyc":
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), folder / file)
    return folder


def test_the_single_file_runs_where_nothing_is_installed_and_nothing_reached(
    tmp_path: Path, site_packages: Path
) -> None:
    need("unshare", "util-linux")
    flags = f"--site-packages {site_packages} --no-deps --no-index --no-build-isolation"
    make("zipapp", tmp_path, f"ZIPAPP_FLAGS={flags}")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "COLUMNS": "80"}
    isolated = ("unshare", "--net") if os.geteuid() == 0 else ()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = (*isolated, PYTHON, "-I", str(tmp_path / "ebpfcheck.pyz"), *arguments)
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)

    assert run("--version").stdout.startswith("ebpfcheck ")
    assert run("kernel", "6.1.0-29-amd64").returncode == 0
    assert "PASS" in run("kernel", "6.1.0-29-amd64").stdout
    judged = run("evaluate", story("kubespray-ipvs"), "-f", "junit")
    assert (judged.returncode, judged.stderr) == (1, "")
    assert "<testsuites" in judged.stdout
    looked = run("node", "-f", "json")
    assert looked.returncode in (0, 1, 3), looked.stderr
    assert json.loads(looked.stdout)["coverage"]["nodes_surveyed"] == 1


def test_the_wheel_and_the_sources_are_fit_for_an_index(tmp_path: Path) -> None:
    make("dist", tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("ebpfcheck/collect/survey.sh", "ebpfcheck/schema/report.json", "ebpfcheck/py.typed"):
        assert name in names
    assert "kubectl-ebpfcheck" in next(
        zipfile.ZipFile(wheel).read(name).decode() for name in names if name.endswith("entry_points.txt")
    )
    assert not [name for name in names if name.startswith("tests/")]
