"""This machine, seen by the survey and by tools that have nothing to do with it."""

import gzip
import os
import platform
import shutil
import subprocess
from pathlib import Path

import distro
import msgspec
import psutil
import pytest

from ebpfcheck.collect.local import LocalTransport
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import Survey
from ebpfcheck.model.facts import Absent, Known, NodeFacts, Unknown
from ebpfcheck.model.snapshot import SourceIndex
from tests import accuracy
from tests.accuracy.record import true_version
from tests.live.tools import need

pytestmark = pytest.mark.live


def finished(transport: LocalTransport, timeout: float) -> Survey:
    with transport.start(timeout) as running:
        return running.finish()


def look(transport: LocalTransport) -> NodeFacts:
    facts, problems = node_facts(finished(transport, 30), transport.kind, SourceIndex())
    assert not problems
    return facts


@pytest.fixture(scope="module")
def here() -> NodeFacts:
    return look(LocalTransport())


def value(fact: object) -> object:
    assert isinstance(fact, Known), fact
    return fact.value


def test_the_kernel_is_the_one_that_runs(here: NodeFacts) -> None:
    uname = platform.uname()
    assert here.identity.name == uname.node
    assert value(here.kind.kernel_release) == uname.release
    assert value(here.kind.arch) == uname.machine
    assert value(here.kind.proc_version) == Path("/proc/version").read_text().strip()


def test_what_is_said_of_the_kernel_is_what_the_page_on_accuracy_holds(here: NodeFacts) -> None:
    now = accuracy.Recorded(true_version(here.kind), here.kind)
    recorded = next((one for one in accuracy.recorded() if one.version == now.version), None)
    if recorded is None:
        pytest.skip(f"this kernel, {now.version}, is not among those that are recorded")
    for calico in accuracy.releases():
        for column, ask in accuracy.UNTRIED_COLUMNS.items():
            assert ask(calico, now) == ask(calico, recorded), (calico, column)


def test_the_system_is_the_one_that_distro_names(here: NodeFacts) -> None:
    system = value(here.kind.os)
    assert (system.id, system.version) == (distro.id(), distro.version())  # type: ignore[attr-defined]


def test_process_1_is_the_one_that_psutil_names(here: NodeFacts) -> None:
    assert value(here.kind.init) == psutil.Process(1).name()


def assert_agrees(seen: NodeFacts, whole: NodeFacts) -> None:
    """Whoever sees less sees nothing else."""
    for name in whole.kind.__struct_fields__:
        fact = getattr(seen.kind, name)
        if name == "bpf_programs" and isinstance(fact, Known):
            # tc sees fewer programs than bpftool, which only root may ask.
            assert set(fact.value.programs) <= set(value(whole.kind.bpf_programs).programs)  # type: ignore[attr-defined]
        elif isinstance(fact, Known):
            assert fact.value == value(getattr(whole.kind, name)), name
        elif isinstance(fact, Absent):
            assert isinstance(getattr(whole.kind, name), Absent), name


def found(path: str) -> str | None:
    """The type of what findmnt says is mounted at a path."""
    result = subprocess.run(("findmnt", "-n", "-o", "FSTYPE", "--mountpoint", path), capture_output=True, text=True)
    return result.stdout.split()[-1] if result.returncode == 0 else None


def test_mounts_are_those_that_findmnt_sees(here: NodeFacts) -> None:
    need("findmnt", "util-linux")
    for path, fact in (("/sys/fs/bpf", here.kind.bpffs), ("/run/calico/cgroup", here.kind.calico_cgroup)):
        seen = found(path)
        if seen is None:
            assert isinstance(fact, Absent)
        else:
            assert value(fact).visible.fstype == seen  # type: ignore[attr-defined]
    listed = subprocess.run(("findmnt", "-n", "-l", "-t", "cgroup2", "-o", "TARGET"), capture_output=True, text=True)
    assert set(value(here.kind.cgroup2_mounts)) == set(listed.stdout.split())  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("bpf_jit_enable", "/proc/sys/net/core/bpf_jit_enable"),
        ("bpf_jit_harden", "/proc/sys/net/core/bpf_jit_harden"),
        ("unprivileged_bpf_disabled", "/proc/sys/kernel/unprivileged_bpf_disabled"),
    ],
)
def test_settings_are_those_of_proc(here: NodeFacts, name: str, path: str) -> None:
    fact = getattr(here.kind, name)
    if os.access(path, os.R_OK):
        assert value(fact) == int(Path(path).read_text())
    else:
        assert isinstance(fact, Absent | Unknown)


def test_the_configuration_is_that_of_the_running_kernel(here: NodeFacts) -> None:
    packed, plain = Path("/proc/config.gz"), Path(f"/boot/config-{platform.release()}")
    if packed.exists():
        lines = gzip.decompress(packed.read_bytes()).decode().splitlines()
    elif os.access(plain, os.R_OK):
        lines = plain.read_text().splitlines()
    else:
        pytest.skip("this kernel's configuration is not there to compare with")
    for option, setting in value(here.kind.kernel_config):  # type: ignore[attr-defined]
        assert (f"# {option} is not set" if setting == "n" else f"{option}={setting}") in lines


def test_btf_and_file_systems(here: NodeFacts) -> None:
    btf = Path("/sys/kernel/btf/vmlinux")
    assert isinstance(here.kind.vmlinux_btf, Known) is btf.exists()
    listed = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}
    assert set(value(here.kind.filesystems)) == listed & {"bpf", "cgroup", "cgroup2"}  # type: ignore[call-overload]


@pytest.mark.parametrize("shell", [("dash",), ("bash",), ("bash", "--posix"), ("busybox", "sh")])
def test_every_shell_gives_the_same_facts(here: NodeFacts, shell: tuple[str, ...]) -> None:
    need(shell[0], shell[0])
    seen = look(LocalTransport(shell))
    if shell[0] == "busybox" and isinstance(seen.kind.vxlans, Unknown):
        # A busybox that prefers its own tools has an ip that knows no JSON.
        seen = msgspec.structs.replace(seen, kind=msgspec.structs.replace(seen.kind, vxlans=here.kind.vxlans))
    assert seen == here


def test_a_shell_with_nothing_but_the_tools_of_the_calico_image(here: NodeFacts, tmp_path: Path) -> None:
    for tool in ("cat", "ls", "grep", "sed", "find", "stat", "readlink"):
        program = shutil.which(tool)
        assert program is not None
        (tmp_path / tool).symlink_to(program)
    # The survey appends the usual directories to PATH; in a root of its own they are not there.
    script = Path(str(LocalTransport.__module__.replace(".", "/"))).with_name("survey.sh")
    survey = (Path(__file__).parent.parent.parent / script).read_text()
    bare = survey.replace("PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={tmp_path}")
    assert bare != survey
    shell = shutil.which("sh")
    assert shell is not None
    out = subprocess.run((shell, "-s", "n"), input=bare.encode(), capture_output=True, check=True)
    facts, problems = node_facts(Survey(data=out.stdout, nonce="n"), LocalTransport.kind, SourceIndex())
    assert not problems
    assert not out.stderr
    assert_agrees(facts, here)
    assert isinstance(facts.kind.vxlans, Unknown), "that takes ip, which is not among them"
    assert isinstance(facts.kind.links, Known)


@pytest.mark.parametrize(
    ("missing", "field"), [("cat", "proc_version"), ("sed", "bpffs_fstab"), ("readlink", "container")]
)
def test_a_missing_tool_makes_facts_unknown(missing: str, field: str, tmp_path: Path) -> None:
    for tool in ("cat", "sed", "readlink"):
        program = shutil.which(tool)
        assert program is not None
        if tool != missing:
            (tmp_path / tool).symlink_to(program)
    script = Path(__file__).parent.parent.parent / "ebpfcheck/collect/survey.sh"
    survey = script.read_text().replace("PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={tmp_path}")
    shell = shutil.which("sh")
    assert shell is not None
    out = subprocess.run((shell, "-s", "n"), input=survey.encode(), capture_output=True, check=True)
    facts, problems = node_facts(Survey(data=out.stdout, nonce="n"), LocalTransport.kind, SourceIndex())
    assert not problems
    fact = getattr(facts.kind, field)
    if missing == "readlink":
        # Process 1 may still show by its name whether this is a node.
        assert isinstance(fact, Absent | Unknown)
    else:
        assert isinstance(fact, Unknown)
        assert fact.reason.value == "tool_missing"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_nobody_sees_less_but_is_told_nothing_false(here: NodeFacts) -> None:
    need("setpriv", "util-linux")
    facts = look(LocalTransport(("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh")))
    assert_agrees(facts, here)
    nobody = facts.kind
    assert isinstance(nobody.bpf_jit_harden, Unknown)
    assert nobody.bpf_jit_harden.reason.value == "forbidden"
    assert "run as root" in nobody.bpf_jit_harden.detail


def runs(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_survey_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "survey.sh"
    slow.write_text(
        "printf '\\nebpfcheck-%s begin hostname /h\\nslow\\nebpfcheck-%s end ok\\n' $1 $1\n"
        "printf '\\nebpfcheck-%s begin version /v\\nLinux version 6\\nebpfcheck-%s end ok\\n' $1 $1\n"
        f"echo $$ > {tmp_path}/pids\nsleep 300 & echo $! >> {tmp_path}/pids\nwait\n"
    )
    monkeypatch.setattr("ebpfcheck.collect.transport.SURVEY_SCRIPT", slow)
    survey = finished(LocalTransport(), 5)
    facts, problems = node_facts(survey, LocalTransport.kind, SourceIndex())
    assert facts.identity.name == "slow"
    assert [problem.reason.value for problem in problems] == ["timeout"]
    assert isinstance(facts.kind.arch, Unknown)
    assert facts.kind.arch.reason.value == "timeout"
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert not [pid for pid in pids if runs(pid)]


def test_a_survey_without_end_is_cut_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = tmp_path / "survey.sh"
    endless.write_text(
        "printf '\\nebpfcheck-%s begin arch /a\\nx86_64\\nebpfcheck-%s end ok\\n' $1 $1\n"
        "printf '\\nebpfcheck-%s begin version /v\\n' $1\ncat /dev/zero\n"
    )
    monkeypatch.setattr("ebpfcheck.collect.transport.SURVEY_SCRIPT", endless)
    survey = finished(LocalTransport(), 30)
    facts, problems = node_facts(survey, LocalTransport.kind, SourceIndex())
    assert [problem.reason.value for problem in problems] == ["truncated"]
    assert isinstance(facts.kind.proc_version, Unknown)
