from typing import Any

import pytest

from ebpfcheck.checks.cgroup import cgroup2
from ebpfcheck.model.facts import Absent, Fact, Install, Mount, MountStack, OsRelease, Place, Reason, Unknown
from ebpfcheck.model.report import Status
from tests.builders import judged, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="run as root")


def stack(visible: str | None, *hidden: str) -> Fact[MountStack]:
    def mount(fstype: str) -> Mount:
        return Mount(point="/run/calico/cgroup", fstype=fstype, source="none", options=("rw",))

    return known(MountStack(visible=mount(visible) if visible else None, hidden=tuple(map(mount, hidden))))


def grouped(**facts: Fact[Any]) -> dict[str, Fact[Any]]:
    plain: dict[str, Fact[Any]] = {
        "filesystems": known(("bpf", "cgroup", "cgroup2")),
        "calico_cgroup": ABSENT,
        "run_calico": known(Place(state="missing", fstype="tmpfs", read_only=False)),
        "cgroup_layout": known("unified"),
        "os": known(OsRelease(id="debian")),
    }
    return {**plain, **facts}


READ_ONLY = known(Place(state="missing", fstype="squashfs", read_only=True))
A_FILE = known(Place(state="other", fstype="tmpfs", read_only=False))
TALOS = known(OsRelease(id="talos"))
THERE = stack("cgroup2")
PART = known(
    MountStack(visible=Mount(point="/run/calico/cgroup", fstype="cgroup2", source="none", is_whole=False), hidden=())
)


@pytest.mark.parametrize(
    ("facts", "version", "status"),
    [
        (grouped(), "v3.32.1", Status.PASS),
        (grouped(calico_cgroup=THERE), "v3.32.1", Status.PASS),
        (grouped(cgroup_layout=known("legacy")), "v3.16", Status.PASS),
        (grouped(cgroup_layout=known("hybrid")), "v3.16", Status.PASS),
        (grouped(cgroup_layout=known("unified")), "v3.16", Status.WARN),
        (grouped(), "v3.22.3", Status.WARN),
        (grouped(), "v3.22.4", Status.PASS),
        (grouped(), "v3.22", Status.WARN),
        (grouped(), "v3.23.1", Status.WARN),
        (grouped(), "v3.23.2", Status.PASS),
        (grouped(cgroup_layout=FORBIDDEN), "v3.16", Status.UNKNOWN),
        (grouped(cgroup_layout=FORBIDDEN), "v3.32.1", Status.PASS),
        (grouped(filesystems=known(("bpf", "cgroup"))), "v3.32.1", Status.FAIL),
        (grouped(filesystems=known(("bpf",)), calico_cgroup=THERE), "v3.32.1", Status.PASS),
        (grouped(filesystems=FORBIDDEN), "v3.32.1", Status.UNKNOWN),
        (grouped(calico_cgroup=stack("tmpfs")), "v3.16", Status.FAIL),
        (grouped(calico_cgroup=stack("tmpfs")), "v3.22", Status.UNKNOWN),
        (grouped(calico_cgroup=stack("tmpfs")), "v3.32.1", Status.WARN),
        (grouped(calico_cgroup=stack("tmpfs", "cgroup2")), "v3.32.1", Status.FAIL),
        (grouped(calico_cgroup=stack(None, "cgroup2")), "v3.32.1", Status.FAIL),
        (grouped(calico_cgroup=THERE), "v3.16", Status.PASS),
        (grouped(calico_cgroup=PART), "v3.22.0", Status.WARN),
        (grouped(calico_cgroup=PART), "v3.32.1", Status.WARN),
        (grouped(filesystems=known(("bpf",)), cgroup2_mounts=known(("/sys/fs/cgroup",))), "v3.32.1", Status.PASS),
        (grouped(calico_cgroup=FORBIDDEN), "v3.32.1", Status.UNKNOWN),
        (grouped(run_calico=FORBIDDEN), "v3.32.1", Status.UNKNOWN),
        (grouped(run_calico=READ_ONLY), "v3.26.4", Status.FAIL),
        (grouped(run_calico=READ_ONLY), "v3.32.1", Status.UNKNOWN),
        (grouped(run_calico=A_FILE), "v3.26.4", Status.FAIL),
        (grouped(os=TALOS), "v3.27.0", Status.FAIL),
        (grouped(os=TALOS), "v3.27.1", Status.UNKNOWN),
        (grouped(os=TALOS), "v3.31", Status.UNKNOWN),
        (grouped(os=TALOS, calico_cgroup=THERE), "v3.24", Status.PASS),
        (grouped(os=FORBIDDEN), "v3.32.1", Status.PASS),
    ],
)
def test_cgroup2(facts: dict[str, Fact[Any]], version: str, status: Status) -> None:
    finding = judged(cgroup2, kind(**facts), version)
    assert finding.status is status, finding.message


@pytest.mark.parametrize(
    ("version", "install", "status"),
    [
        ("v3.27.0", "manifest", Status.FAIL),
        ("v3.27.1", "manifest", Status.UNKNOWN),
        ("v3.30.3", "manifest", Status.UNKNOWN),
        ("v3.30.3", "operator", Status.FAIL),
        ("v3.30", "operator", Status.UNKNOWN),
        ("v3.30.4", "operator", Status.UNKNOWN),
    ],
)
def test_how_calico_is_installed_decides_whether_it_can_be_told_of_another_path(
    version: str, install: Install, status: Status
) -> None:
    assert judged(cgroup2, kind(**grouped(os=TALOS)), version, install).status is status


def test_an_immutable_system_is_told_which_path_to_set() -> None:
    finding = judged(cgroup2, kind(**grouped(os=TALOS)), "v3.31")
    assert finding.remediation is not None
    assert "cgroupV2Path" in finding.remediation.text
    assert "/sys/fs/cgroup" in finding.remediation.text
