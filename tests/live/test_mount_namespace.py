"""Real mounts, in a mount namespace of the test's own, with a process 1 of its own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ebpfcheck.checks.bpffs import bpffs_mounted
from ebpfcheck.checks.cgroup import cgroup2
from ebpfcheck.collect.local import LocalTransport
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import SURVEY_SCRIPT, Survey
from ebpfcheck.model.facts import Absent, Known, NodeKind, Unknown
from ebpfcheck.model.report import Status
from ebpfcheck.model.snapshot import SourceIndex
from tests.builders import judged
from tests.live.tools import need

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a mount namespace"),
]


def look_after(commands: str, tmp_path: Path, process_1: str = "init") -> NodeKind:
    """Run commands, then the survey, in new mount and process id namespaces whose process 1 has the given name."""
    need("unshare", "util-linux")
    shell = shutil.which("sh")
    assert shell is not None
    init = tmp_path / process_1
    shutil.copy(shell, init)
    script = f"{commands}\nsh -s nonce < {SURVEY_SCRIPT}\nexit 0\n"
    result = subprocess.run(
        ("unshare", "--mount", "--pid", "--fork", "--mount-proc", str(init), "-e", "-c", script),
        capture_output=True,
        timeout=60,
        check=False,
    )
    if result.returncode != 0:
        pytest.skip(f"a mount namespace could not be made: {result.stderr.decode()}")
    facts, problems = node_facts(Survey(data=result.stdout, nonce="nonce"), LocalTransport.kind, SourceIndex())
    assert not problems
    return facts.kind


AWAY = "if mountpoint -q /sys/fs/bpf; then umount /sys/fs/bpf; fi"


def test_no_bpffs(tmp_path: Path) -> None:
    kind = look_after(AWAY, tmp_path)
    assert isinstance(kind.bpffs, Absent)
    assert judged(bpffs_mounted, kind, "v3.17", "operator").status is Status.FAIL
    assert judged(bpffs_mounted, kind, "v3.17", "manifest").status is Status.WARN


def test_bpffs_mounted(tmp_path: Path) -> None:
    kind = look_after(f"{AWAY}\nmount -t bpf whatever /sys/fs/bpf", tmp_path)
    assert isinstance(kind.bpffs, Known)
    assert judged(bpffs_mounted, kind).status is Status.PASS


def test_bpffs_read_only(tmp_path: Path) -> None:
    kind = look_after(f"{AWAY}\nmount -t bpf -o ro bpf /sys/fs/bpf", tmp_path)
    assert judged(bpffs_mounted, kind).status is Status.FAIL


def test_bpffs_covered_by_a_tmpfs(tmp_path: Path) -> None:
    kind = look_after(f"{AWAY}\nmount -t bpf bpf /sys/fs/bpf\nmount -t tmpfs tmpfs /sys/fs/bpf", tmp_path)
    assert isinstance(kind.bpffs, Known)
    assert kind.bpffs.value.visible is not None
    assert kind.bpffs.value.visible.fstype == "tmpfs"
    assert judged(bpffs_mounted, kind).status is Status.FAIL


def test_bpffs_covered_from_above(tmp_path: Path) -> None:
    kind = look_after(f"{AWAY}\nmount -t bpf bpf /sys/fs/bpf\nmount -t tmpfs tmpfs /sys/fs", tmp_path)
    assert isinstance(kind.bpffs, Known)
    assert kind.bpffs.value.visible is None
    assert judged(bpffs_mounted, kind).status is Status.FAIL


def test_bpffs_over_another_mount(tmp_path: Path) -> None:
    kind = look_after(f"{AWAY}\nmount -t tmpfs tmpfs /sys/fs/bpf\nmount -t bpf bpf /sys/fs/bpf", tmp_path)
    assert judged(bpffs_mounted, kind).status is Status.PASS


def test_bpffs_elsewhere_only(tmp_path: Path) -> None:
    place = tmp_path / "a place"
    place.mkdir()
    kind = look_after(f"{AWAY}\nmount -t bpf bpf '{place}'", tmp_path)
    assert isinstance(kind.bpffs, Absent)
    assert isinstance(kind.bpffs_elsewhere, Known)
    assert kind.bpffs_elsewhere.value == (str(place),)


def test_cgroup2_where_calico_wants_it(tmp_path: Path) -> None:
    kind = look_after(
        "mount -t tmpfs tmpfs /run\nmkdir -p /run/calico/cgroup\nmount -t cgroup2 none /run/calico/cgroup", tmp_path
    )
    assert judged(cgroup2, kind).status is Status.PASS
    assert isinstance(kind.calico_cgroup, Known)


def test_something_else_where_calico_wants_cgroup2(tmp_path: Path) -> None:
    kind = look_after(
        "mount -t tmpfs tmpfs /run\nmkdir -p /run/calico/cgroup\nmount -t tmpfs none /run/calico/cgroup", tmp_path
    )
    assert judged(cgroup2, kind, "v3.16").status is Status.FAIL
    assert judged(cgroup2, kind, "v3.32.1").status is Status.WARN


def test_a_read_only_run(tmp_path: Path) -> None:
    kind = look_after("mount -t tmpfs -o ro tmpfs /run", tmp_path)
    assert judged(cgroup2, kind, "v3.26.4").status is Status.FAIL
    assert judged(cgroup2, kind, "v3.32.1").status is Status.UNKNOWN


def test_a_process_1_that_is_no_init_hides_the_node(tmp_path: Path) -> None:
    kind = look_after("mount -t bpf bpf /sys/fs/bpf", tmp_path, process_1="pause")
    assert isinstance(kind.container, Known)
    assert isinstance(kind.bpffs, Unknown)
    assert judged(bpffs_mounted, kind).status is Status.UNKNOWN


def test_the_machine_is_as_it_was(tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    look_after(f"{AWAY}\nmount -t bpf bpf /sys/fs/bpf", tmp_path)
    assert Path("/proc/self/mountinfo").read_text() == before
