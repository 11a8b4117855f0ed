"""Debian's kernels, booted in a virtual machine: the survey runs inside, and what it says is judged outside.

The verdicts were written down from what Calico's releases ask for before any of these kernels was booted.
"""

import io
import platform
import shutil
import subprocess
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ebpfcheck.checks import BUILTIN
from ebpfcheck.collect.local import SURVEY_SCRIPT
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import Survey
from ebpfcheck.model.facts import Absent, Fact, Install, Known, NodeKind, SourceKind
from ebpfcheck.model.snapshot import SourceIndex
from tests.builders import ROOT, judged
from tests.live.tools import need

pytestmark = pytest.mark.live

# Where tests/kernels.sh puts them.
KERNELS = ROOT / ".kernels"
NAMES = ("5.10", "6.1", "6.12", "newest")

BPFFS = "mount -t bpf bpf /sys/fs/bpf\n"
CGROUP2 = "mount -t cgroup2 cgroup2 /sys/fs/cgroup\n"
CGROUP_V1 = """\
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/pids /sys/fs/cgroup/freezer
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
mount -t cgroup -o pids cgroup /sys/fs/cgroup/pids
mount -t cgroup -o freezer cgroup /sys/fs/cgroup/freezer
"""
# What the kernel is told, and what is mounted.
BOOTS = {
    "plain": ("", BPFFS + CGROUP2),
    "without-bpffs": ("", CGROUP2),
    "confidentiality": ("lockdown=confidentiality", BPFFS + CGROUP2),
    "cgroup-v1": ("", BPFFS + CGROUP_V1),
}

INIT = """\
#!/bin/sh
set -e
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t securityfs securityfs /sys/kernel/security
ip link set lo up
{mounts}
sh -s nonce < /survey.sh > /results/stdout 2> /results/stderr
# The second serial port carries bytes; a terminal would turn LF into CR LF.
stty -F /dev/ttyS1 raw
tar -c -f /dev/ttyS1 -C /results stdout stderr
poweroff -f
"""

# Expected statuses by check, for each of these Calico releases; a note is a pass worth reading. Up to v3.18 it matters
# who installed Calico where bpffs is not mounted.
TARGETS: tuple[tuple[str, Install], ...] = (
    ("v3.16", "operator"),
    ("v3.16", "manifest"),
    ("v3.28.5", "unknown"),
    ("v3.32.1", "unknown"),
)
PLAIN = {
    # Felix wants 5.3, the documentation 5.3, from v3.31 on 5.10.
    "node.kernel.version": ("pass", "pass", "pass", "pass"),
    # Debian builds with BTF, which Felix uses from v3.23 on.
    "node.kernel.btf": ("not_applicable", "not_applicable", "pass", "pass"),
    "node.kernel.config": ("pass", "pass", "pass", "pass"),
    "node.kernel.lockdown": ("pass", "pass", "pass", "pass"),
    "node.arch": ("pass", "pass", "pass", "pass"),
    # Debian builds with the JIT compiler on (CONFIG_BPF_JIT_DEFAULT_ON).
    "node.sysctl.bpf-jit": ("pass", "pass", "pass", "pass"),
    "node.bpffs.mounted": ("pass", "pass", "pass", "pass"),
    # No systemd and no fstab here; v3.28 and later mount it whenever they start.
    "node.bpffs.persistent": ("warn", "warn", "note", "note"),
    # With cgroup v2 alone, early releases mount it from inside a cgroup namespace of their own.
    "node.cgroup2": ("warn", "warn", "pass", "pass"),
}
# The bug that v3.28 never got the fix of: bullseye's last kernel was built before the change went into stable kernels;
# bookworm's were built later, but nobody tried; from 6.12.53 on it strikes; from 6.18 on nobody tried.
KNOWN_BAD_IN_3_28 = {"5.10": "pass", "6.1": "unknown", "6.12": "fail", "newest": "unknown"}
OTHERWISE = {
    "plain": {},
    "without-bpffs": {"node.bpffs.mounted": ("fail", "warn", "note", "note")},
    "confidentiality": {"node.kernel.lockdown": ("note", "note", "note", "note")},
    # Container engines give no cgroup namespaces by themselves there.
    "cgroup-v1": {"node.cgroup2": ("pass", "pass", "pass", "pass")},
}


def expected(name: str, boot: str, target: int) -> dict[str, str]:
    """The statuses that were written down for a kernel, a boot and a Calico release."""
    known_bad = ("not_applicable", "not_applicable", KNOWN_BAD_IN_3_28[name], "not_applicable")
    table = {**PLAIN, **OTHERWISE[boot], "node.kernel.known-bad": known_bad}
    return {check: statuses[target] for check, statuses in table.items()}


@dataclass(frozen=True)
class Booted:
    """What came out of a boot, and what Debian's packages say of the kernel."""

    name: str
    boot: str
    release: str
    config: frozenset[str]
    survey: bytes
    stderr: bytes

    def kind(self) -> NodeKind:
        """The facts, which must be whole."""
        facts, problems = node_facts(Survey(data=self.survey, nonce="nonce"), SourceKind.LOCAL, SourceIndex())
        assert not problems
        return facts.kind


def static_busybox() -> str:
    """The busybox that runs without libraries; skips the test if there is none."""
    need("busybox", "busybox-static")
    program = shutil.which("busybox")
    assert program is not None
    if subprocess.run(("ldd", program), capture_output=True, check=False).returncode == 0:
        pytest.skip("busybox is not static (Debian package busybox-static)")
    return program


def only(directory: Path, pattern: str) -> Path:
    (path,) = directory.rglob(pattern)
    return path


def initramfs(kernel: Path, release: str, mounts: str, tmp_path: Path) -> Path:
    """Pack a root file system that runs the survey on the given mounts and turns the machine off."""
    busybox = static_busybox()
    root = tmp_path / "root"
    for name in ("bin", "boot", "dev", "etc", "proc", "results", "run", "sys", f"usr/lib/modules/{release}"):
        (root / name).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    shutil.copy(busybox, root / "bin" / "busybox")
    (root / "bin" / "sh").symlink_to("busybox")
    config = only(kernel, "config*")
    shutil.copy(config, root / config.relative_to(kernel))
    shutil.copy(SURVEY_SCRIPT, root / "survey.sh")
    (root / "etc" / "os-release").write_text('PRETTY_NAME="Debian GNU/Linux"\nNAME="Debian GNU/Linux"\nID=debian\n')
    (root / "init").write_text(INIT.format(mounts=mounts))
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    packed = tmp_path / "initramfs"
    with packed.open("wb") as out:
        command = (busybox, "cpio", "-o", "-H", "newc")
        subprocess.run(command, cwd=root, input=names.encode(), stdout=out, stderr=subprocess.DEVNULL, check=True)
    return packed


@pytest.fixture(scope="module", params=product(NAMES, BOOTS), ids="-".join)
def booted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Booted:
    """Boot a kernel in one of the ways."""
    name, boot = request.param
    if platform.machine() != "x86_64":
        pytest.skip(f"the kernels to boot are for x86_64, this machine is {platform.machine()}")
    need("qemu-system-x86_64", "qemu-system-x86")
    kernel = KERNELS / name
    if not (kernel / "release").exists():
        pytest.skip(f"kernel {name} is not in {KERNELS}: tests/kernels.sh fetches what Debian's mirror has")
    release = (kernel / "release").read_text().strip()
    words, mounts = BOOTS[boot]
    tmp_path = tmp_path_factory.mktemp("boot")
    initrd = initramfs(kernel, release, mounts, tmp_path)
    console, results = tmp_path / "console", tmp_path / "results"
    machine = ("qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-net", "none", "-display", "none", "-no-reboot")
    told = ("-append", f"console=ttyS0 quiet panic=-1 {words}")
    ports = ("-serial", f"file:{console}", "-serial", f"file:{results}")
    files = ("-kernel", str(only(kernel, "vmlinuz*")), "-initrd", str(initrd))
    # Of a machine that hangs its console tells more than the clock.
    with suppress(subprocess.TimeoutExpired):
        subprocess.run((*machine, *files, *told, *ports), stdin=subprocess.DEVNULL, timeout=60, check=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(results.read_bytes()), mode="r:") as archive:
            survey, stderr = (archive.extractfile(part) for part in ("stdout", "stderr"))
            assert survey is not None
            assert stderr is not None
            out, errors = survey.read(), stderr.read()
    except (tarfile.TarError, KeyError) as error:
        said = console.read_text(errors="replace")[-4000:]
        pytest.fail(f"the boot gave no results ({error}); its console said:\n{said}", pytrace=False)
    config = frozenset(only(kernel, "config*").read_text().splitlines())
    return Booted(name=name, boot=boot, release=release, config=config, survey=out, stderr=errors)


def value(fact: Fact[Any]) -> object:
    assert isinstance(fact, Known), fact
    return fact.value


def test_the_facts_are_those_of_the_kernel_that_was_booted(booted: Booted) -> None:
    kind = booted.kind()
    assert booted.stderr == b""
    assert value(kind.kernel_release) == booted.release
    assert str(value(kind.proc_version)).startswith(f"Linux version {booted.release} (debian-kernel@")
    assert value(kind.arch) == "x86_64"
    assert value(kind.init) == "init"
    assert isinstance(kind.container, Absent)
    assert isinstance(kind.kernel_config, Known)
    for option, setting in kind.kernel_config.value:
        assert (f"# {option} is not set" if setting == "n" else f"{option}={setting}") in booted.config
    assert (value(kind.vmlinux_btf), "CONFIG_DEBUG_INFO_BTF=y" in booted.config) == (True, True)
    assert (value(kind.bpf_jit_enable), "CONFIG_BPF_JIT_DEFAULT_ON=y" in booted.config) == (1, True)
    assert value(kind.filesystems) == ("bpf", "cgroup", "cgroup2")


def test_the_facts_are_those_of_the_boot(booted: Booted) -> None:
    kind = booted.kind()
    assert isinstance(kind.bpffs, Absent if booted.boot == "without-bpffs" else Known)
    is_v1 = booted.boot == "cgroup-v1"
    assert value(kind.cgroup_layout) == ("legacy" if is_v1 else "unified")
    assert value(kind.cgroup2_mounts) == (() if is_v1 else ("/sys/fs/cgroup",))
    assert value(kind.lockdown) == ("confidentiality" if booted.boot == "confidentiality" else "none")


@pytest.mark.parametrize("target", range(len(TARGETS)), ids=["-".join(target) for target in TARGETS])
def test_the_verdicts_are_those_written_down_beforehand(booted: Booted, target: int) -> None:
    kind = booted.kind()
    version, install = TARGETS[target]
    wanted = expected(booted.name, booted.boot, target)
    findings = [judged(check, kind, version, install) for check in BUILTIN]
    seen = {one.id: "note" if one.note else str(one.status) for one in findings}
    ours = ("node.kernel.", "node.bpffs.")
    assert {check: status for check, status in seen.items() if check in wanted or check.startswith(ours)} == wanted
    # Nothing else is wrong with a machine on which nothing runs.
    assert "fail" not in {status for check, status in seen.items() if check not in wanted}
