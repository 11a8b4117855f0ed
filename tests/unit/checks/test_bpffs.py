from typing import Any

import pytest

from ebpfcheck.checks.bpffs import bpffs_mounted, bpffs_persistent
from ebpfcheck.model.facts import Absent, Fact, Install, Mount, MountStack, Reason, Unknown
from ebpfcheck.model.report import Severity, Status
from tests.builders import judged, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="run as root")


def mount(fstype: str, *options: str, point: str = "/sys/fs/bpf", source: str = "none") -> Mount:
    return Mount(point=point, fstype=fstype, source=source, options=options or ("rw",))


def stack(visible: Mount | None, *hidden: Mount) -> Fact[MountStack]:
    return known(MountStack(visible=visible, hidden=hidden))


@pytest.mark.parametrize(
    ("bpffs", "status", "cause"),
    [
        (stack(mount("bpf")), Status.PASS, "is mounted"),
        (stack(mount("bpf", "rw", source="/sys/fs/bpf")), Status.PASS, "is mounted"),
        (stack(mount("bpf"), mount("sysfs")), Status.PASS, "is mounted at"),
        (stack(mount("bpf"), mount("bpf")), Status.PASS, "more than once"),
        (stack(mount("bpf", "ro", "relatime")), Status.FAIL, "read-only"),
        (stack(mount("tmpfs"), mount("bpf")), Status.FAIL, "over the bpffs"),
        (stack(mount("tmpfs")), Status.WARN, "type tmpfs"),
        (stack(None, mount("bpf")), Status.FAIL, "over the bpffs"),
        (FORBIDDEN, Status.UNKNOWN, "run as root"),
    ],
)
def test_what_is_mounted(bpffs: Fact[MountStack], status: Status, cause: str) -> None:
    finding = judged(bpffs_mounted, kind(bpffs=bpffs))
    assert finding.status is status
    assert cause in finding.message


@pytest.mark.parametrize(
    ("version", "install", "status"),
    [
        ("v3.16", "manifest", Status.WARN),
        ("v3.22.4", "manifest", Status.WARN),
        ("v3.22.5", "manifest", Status.PASS),
        ("v3.22", "manifest", Status.WARN),
        ("v3.23.0", "manifest", Status.WARN),
        ("v3.23.3", "manifest", Status.WARN),
        ("v3.23.4", "manifest", Status.PASS),
        ("v3.24", "manifest", Status.PASS),
        ("v3.32.1", "manifest", Status.PASS),
        ("v3.16", "operator", Status.FAIL),
        ("v3.18.4", "operator", Status.FAIL),
        ("v3.19", "operator", Status.PASS),
        ("v3.32.1", "operator", Status.PASS),
        ("v3.16", "unknown", Status.UNKNOWN),
        ("v3.18", "none", Status.UNKNOWN),
        ("v3.19", "unknown", Status.WARN),
        ("v3.24", "unknown", Status.PASS),
    ],
)
def test_who_mounts_it_decides_what_absence_means(version: str, install: Install, status: Status) -> None:
    facts = kind(bpffs=ABSENT, bpffs_elsewhere=known(()), filesystems=known(("bpf", "cgroup2")))
    finding = judged(bpffs_mounted, facts, version, install)
    assert finding.status is status, finding.message
    if status is Status.PASS:
        assert finding.severity is Severity.NOTE


def test_a_kernel_without_bpffs_fails_whoever_would_mount_it() -> None:
    facts = kind(bpffs=ABSENT, filesystems=known(("cgroup", "cgroup2")))
    assert judged(bpffs_mounted, facts).status is Status.FAIL


def test_a_bpffs_that_is_mounted_somewhere_shows_that_the_kernel_has_it() -> None:
    facts = kind(bpffs=ABSENT, bpffs_elsewhere=known(("/x",)), filesystems=known(("cgroup2",)))
    assert judged(bpffs_mounted, facts).status is Status.PASS


def test_a_bpffs_elsewhere_is_no_bpffs_here() -> None:
    facts = kind(bpffs=ABSENT, bpffs_elsewhere=known(("/var/run/calico/bpffs",)))
    finding = judged(bpffs_mounted, facts, "v3.16", "operator")
    assert finding.status is Status.FAIL
    assert "/var/run/calico/bpffs" in finding.observed


@pytest.mark.parametrize(
    ("version", "install", "status"),
    [
        ("v3.17", "operator", Status.FAIL),
        ("v3.17", "manifest", Status.FAIL),
        ("v3.23.3", "manifest", Status.FAIL),
        ("v3.23.4", "manifest", Status.WARN),
        ("v3.23", "manifest", Status.UNKNOWN),
        ("v3.20", "operator", Status.WARN),
        ("v3.20", "unknown", Status.UNKNOWN),
        ("v3.32.1", "unknown", Status.WARN),
    ],
)
def test_who_mounts_bpffs_over_a_foreign_mount(version: str, install: Install, status: Status) -> None:
    assert judged(bpffs_mounted, kind(bpffs=stack(mount("tmpfs"))), version, install).status is status


def booted(**facts: Fact[Any]) -> dict[str, Fact[Any]]:
    plain: dict[str, Fact[Any]] = {
        "bpffs": stack(mount("bpf")),
        "bpffs_fstab": ABSENT,
        "bpffs_unit": ABSENT,
        "init": known("systemd"),
        "systemd_version": known(252),
        "container": ABSENT,
    }
    return {**plain, **facts}


@pytest.mark.parametrize(
    ("facts", "version", "status"),
    [
        (booted(), "v3.16", Status.PASS),
        (booted(systemd_version=known(238)), "v3.16", Status.PASS),
        (booted(systemd_version=known(237)), "v3.16", Status.WARN),
        (booted(systemd_version=ABSENT), "v3.16", Status.UNKNOWN),
        (booted(init=known("init")), "v3.16", Status.WARN),
        (booted(init=known("init")), "v3.32.1", Status.PASS),
        (
            booted(init=known("init"), bpffs_fstab=known(("x /sys/fs/bpf tmpfs", "x /sys/fs/bpf bpf"))),
            "v3.16",
            Status.PASS,
        ),
        (booted(init=known("init"), bpffs_fstab=known(("bpf /sys/fs/bpf bpf rw,noauto 0 0",))), "v3.16", Status.WARN),
        (booted(init=known("init"), bpffs_fstab=known(("tmpfs /sys/fs/bpf tmpfs rw 0 0",))), "v3.16", Status.WARN),
        (booted(systemd_version=known(230), bpffs_unit=known("/etc/x.wants/sys-fs-bpf.mount")), "v3.16", Status.PASS),
        (booted(init=known("init"), bpffs_unit=known("/etc/x.wants/sys-fs-bpf.mount")), "v3.16", Status.WARN),
        (booted(init=known("init"), bpffs_fstab=FORBIDDEN), "v3.16", Status.UNKNOWN),
        (booted(init=FORBIDDEN), "v3.16", Status.UNKNOWN),
        (booted(bpffs=FORBIDDEN), "v3.16", Status.UNKNOWN),
        (booted(bpffs=ABSENT, init=known("init")), "v3.16", Status.WARN),
        (booted(bpffs=ABSENT), "v3.16", Status.WARN),
        (booted(container=known("docker")), "v3.16", Status.WARN),
    ],
)
def test_after_a_reboot(facts: dict[str, Fact[Any]], version: str, status: Status) -> None:
    finding = judged(bpffs_persistent, kind(**facts), version)
    assert finding.status is status, finding.message
