"""`ebpfcheck plan` and `rollback` as users meet them: the pages, the files, what goes wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from tests.acceptance.command import run
from tests.builders import FIXTURES
from tests.stories import CLUSTERS, served

SHELLCHECK = Path(sys.executable).with_name("shellcheck")


class Pages(SingleFileSnapshotExtension):
    """Golden pages as files of their own."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"


@pytest.fixture
def golden(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(Pages)


def story(name: str) -> str:
    return str(FIXTURES / "snapshots" / name / "snapshot.json")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("green-surveyed", ()),
        ("green-surveyed", ("--dsr", "--api-endpoint", "lb.example.net:443")),
        ("kubeadm-single", ()),
        ("kubeadm-single", ("--calico-version", "v3.31.7")),
        ("kubeadm-single", ("--calico-version", "v3.22")),
        ("kubeadm-single", ("--calico-version", "v3.16")),
        ("kubeadm-ha-vip", ()),
        ("manifest-ipip", ()),
        ("manifest-ipip", ("--calico-version", "v3.16")),
        ("manifest-ipip", ("--calico-version", "v3.22")),
        ("manifest-ipip", ("--calico-version", "v3.28")),
        ("eks-al2023-6.12.46", ()),
        ("aks", ("--calico-version", "v3.31.7")),
        ("openshift-rhcos", ()),
        ("openshift-iptables", ()),
        ("kops", ()),
        ("rke2", ()),
        ("k3s", ()),
        ("mke", ()),
        ("talos-kubeprism", ()),
        ("kubespray-ipvs", ()),
        ("operator-3.28-hand-set", ()),
        ("bootstrap-plus-configmap", ()),
        ("ebpf-healthy", ()),
    ],
    ids=lambda value: " ".join(value).replace(":", " ") if isinstance(value, tuple) else value,
)
def test_plans(golden: SnapshotAssertion, name: str, arguments: tuple[str, ...]) -> None:
    result = run("plan", "--snapshot", story(name), *arguments)
    for line in result.stdout.splitlines():
        assert len(line) <= 80 or line.lstrip().startswith("$ "), line
    assert result.stdout.isascii()
    assert not result.stderr
    assert result.stdout == golden


@pytest.mark.parametrize("name", ["green-surveyed", "manifest-ipip"])
def test_files(golden: SnapshotAssertion, name: str, tmp_path: Path) -> None:
    run("plan", "--snapshot", story(name), "--write", str(tmp_path / "change"))
    files = sorted((tmp_path / "change").iterdir())
    # The JSON document says when it was made.
    texts = (f"=== {file.name}\n{file.read_text()}" for file in files if file.name != "plan.json")
    assert "".join(texts) == golden
    assert [file.name for file in files if os.access(file, os.X_OK)] == ["enable.sh", "rollback.sh"]


@pytest.mark.parametrize("name", CLUSTERS)
def test_scripts_are_clean(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "change"
    result = run("plan", "--snapshot", story(name), "--dsr", "--write", str(folder))
    assert folder.is_dir(), result.stderr
    command = (SHELLCHECK, "-s", "sh", folder / "enable.sh", folder / "rollback.sh")
    assert not subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_from_a_cluster(tmp_path: Path) -> None:
    with served("kubeadm-single", tmp_path) as (_, kubeconfig):
        result = run("plan", "--kubeconfig", str(kubeconfig), "-f", "json", "--save", str(tmp_path / "seen.json"))
    assert result.returncode == 3, result.stderr
    plan = json.loads(result.stdout)
    assert plan["direction"] == "enable"
    again = run("plan", "--snapshot", str(tmp_path / "seen.json"), "-f", "json")
    later = json.loads(again.stdout)
    assert later["steps"] == plan["steps"]
    assert later["rollback"] == plan["rollback"]


def test_rollback_of_a_directory(tmp_path: Path) -> None:
    folder = str(tmp_path / "change")
    run("plan", "--snapshot", story("green-surveyed"), "--write", folder)
    result = run("rollback", folder, "-f", "text", "-f", f"sh={tmp_path / 'back.sh'}")
    assert result.returncode == 0
    assert result.stdout.startswith("PLAN: cluster kubernetes-admin@shop, Calico v3.32.1, back from eBPF mode")
    assert (tmp_path / "back.sh").read_text() == (tmp_path / "change" / "rollback.sh").read_text()


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("https://api.example.net:6443", "is a URL"),
        ("api.example.net:6443/", "is a URL"),
        ("api example.net:6443", "is not HOST:PORT"),
        (" api.example.net:6443", "is not HOST:PORT"),
        ("fd00::7:6443", "stands in brackets"),
        ("api.example.net", "is not HOST:PORT"),
        ("api.example.net:0", "is not HOST:PORT"),
        ("$(reboot):6443", "is not HOST:PORT"),
    ],
)
def test_bad_addresses(endpoint: str, words: str, tmp_path: Path) -> None:
    folder = tmp_path / "change"
    result = run("plan", "--snapshot", story("green-surveyed"), "--api-endpoint", endpoint, "--write", str(folder))
    assert result.returncode == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--snapshot", story("debian-12")), 2, "a plan is for a cluster"),
        (("--snapshot", "/nowhere"), 2, "cannot be read"),
        (("--snapshot", story("green"), "--probe", "exec"), 2, "--snapshot is instead of a cluster"),
        (("--snapshot", story("green"), "--save", "x.json"), 2, "--snapshot is instead of a cluster"),
        (("--snapshot", story("green"), "-f", "table"), 2, "there is no format 'table'"),
        (("--snapshot", story("green"), "--write", ""), 2, "give the name of a directory"),
        (("--snapshot", story("green"), "--write", "/nowhere/change"), 2, "there is no directory"),
        (("--snapshot", story("green"), "--write", "/proc"), 2, "not an empty directory"),
        (("--snapshot", story("green"), "--calico-version", "v9.9"), 2, "outside what this ebpfcheck knows"),
    ],
)
def test_bad_command_lines(arguments: tuple[str, ...], code: int, words: str) -> None:
    result = run("plan", *arguments)
    assert result.returncode == code
    assert words in result.stderr
    assert not result.stdout
    assert len(result.stderr.splitlines()) == 1


def test_nothing_to_write(tmp_path: Path) -> None:
    result = run("plan", "--snapshot", story("ebpf-healthy"), "--write", str(tmp_path / "change"))
    assert "configured already" in " ".join(result.stdout.split())
    assert "there are no steps" in result.stderr
    assert not (tmp_path / "change").exists()


@pytest.mark.parametrize("text", ["", "{}", "no plan", '{"schema":"ebpfcheck.report/v1"}'])
def test_rollback_of_what_is_no_plan(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    result = run("rollback", str(tmp_path))
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert not result.stdout


def test_a_directory_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    result = run("plan", "--snapshot", story("green"), "--write", str(tmp_path / "there"))
    assert result.returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
    empty = tmp_path / "empty"
    empty.mkdir()
    run("plan", "--snapshot", story("green"), "--write", str(empty))
    assert (empty / "enable.sh").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "there"]


def test_what_was_seen_is_kept_whatever_becomes_of_the_rest(tmp_path: Path) -> None:
    saved = tmp_path / "seen.json"
    with served("kubeadm-single", tmp_path) as (_, kubeconfig):
        result = run("plan", "--kubeconfig", str(kubeconfig), "--save", str(saved), "-f", "text=/dev/full")
    assert result.returncode == 2
    assert saved.exists()
