"""BPF objects of our own, compiled here and judged by real verifiers: this machine's and those of kernels booted."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from ebpfcheck.checks.bpf_objects import bpf_objects, meaning_of
from ebpfcheck.collect.local import LocalTransport
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import ObjectsTrial, Survey, survey_text
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.facts import Fact, Known, ObjectTrial, Reason, Unknown
from ebpfcheck.model.report import Status
from ebpfcheck.model.snapshot import SourceIndex
from tests.acceptance.command import PROGRAM
from tests.builders import ROOT, judged, kind
from tests.live.machine import boot_python, kernel
from tests.live.sshd import sshd
from tests.live.tools import need

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can load BPF programs"),
]

SOURCES = Path(__file__).with_name("bpf")
BY_BPFTOOL, BY_LIBBPF = ROOT / "ebpfcheck/trial/objects.sh", ROOT / "ebpfcheck/trial/objects.py"
# What each source becomes, as if it were of a release.
GOOD, BOUNDS, BUDGET = "to_hep_no_log.o", "from_wep_no_log.o", "to_wep_no_log.o"
FRAGMENTS, CLEANUP, RELOCATED = "from_hep_no_log.o", "conntrack_cleanup_no_log_v4.o", "from_vxlan_no_log_co-re.o"
OBJECTS = {
    GOOD: ("good.c",),
    BOUNDS: ("bounds.c",),
    BUDGET: ("budget.c",),
    FRAGMENTS: ("callback.c", "-DPROGRAM=calico_tc_skb_ipv4_frag", "-DMAIN"),
    CLEANUP: ("callback.c", "-DPROGRAM=conntrack_cleanup"),
    RELOCATED: ("relocated.c",),
}
# How long what ends by itself, soon, may take, in seconds.
PATIENCE = 100


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The objects, compiled."""
    need("clang", "clang")
    need("bpftool", "bpftool")
    if not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("libbpf's headers are not installed (Debian package libbpf-dev)")
    directory = tmp_path_factory.mktemp("compiled") / "objects"
    directory.mkdir()
    headers = f"-I/usr/include/{platform.machine()}-linux-gnu"
    for name, (source, *flags) in OBJECTS.items():
        files = ("-c", str(SOURCES / source), "-o", str(directory / name))
        subprocess.run(("clang", "-O2", "-g", "-target", "bpf", headers, *flags, *files), check=True)
    return directory


def copied(objects: Path, tmp_path: Path, *names: str) -> Path:
    """A directory with some of them."""
    directory = tmp_path / "some"
    directory.mkdir()
    for name in names:
        shutil.copy(objects / name, directory)
    return directory


def script(directory: Path, *, shell: Sequence[str] = ("sh",), seconds: int = 100, each: int = 60) -> tuple[str, ...]:
    return (*shell, str(BY_BPFTOOL), "nonce", str(directory), str(seconds), str(each))


def program(directory: Path, *, seconds: int = 100, each: int = 60) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-B", str(BY_LIBBPF), "nonce", str(directory), str(seconds), str(each))


def printed(command: Sequence[str], path: str = "") -> bytes:
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}" if path else os.environ["PATH"]}
    result = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, env=environment, check=False)
    assert result.stderr == b""
    return result.stdout


def facts_of(data: bytes, directory: str = "/objects") -> Fact[ObjectTrial]:
    """What is made of a frame that was printed, as if the rest of the survey were there."""
    framed = b"\nebpfcheck-nonce begin arch x\nx86_64\nebpfcheck-nonce end ok\n" + data + b"\nebpfcheck-nonce done\n"
    survey = Survey(data=framed, nonce="nonce", trial=ObjectsTrial(directory=directory))
    facts, _ = node_facts(survey, LocalTransport.kind, SourceIndex())
    return facts.kind.trial_objects


def trial_of(data: bytes) -> ObjectTrial:
    found = facts_of(data)
    assert isinstance(found, Known), found
    return found.value


def kinds(trial: ObjectTrial) -> dict[str, str]:
    """The kind of each refusal."""
    tables = load_knowledge().objects
    meanings = {one.name: meaning_of(tables, one) for one in (*trial.refused, *trial.partly)}
    return {name: meaning.kind if meaning else "unclear" for name, meaning in meanings.items()}


def machine() -> tuple[object, ...]:
    """What others see of BPF programs and links, of devices and mounts."""
    programs, attached = (
        subprocess.run(("bpftool", what, "list"), capture_output=True, text=True, check=True).stdout
        for what in ("prog", "link")
    )
    pins = subprocess.run(("find", "/sys/fs/bpf"), capture_output=True, text=True, check=True).stdout
    groups = subprocess.run(
        ("find", "/sys/fs/cgroup", "-maxdepth", "2"), capture_output=True, text=True, check=False
    ).stdout
    links = sorted(path.name for path in Path("/sys/class/net").iterdir())
    return programs, attached, pins, groups, links, Path("/proc/self/mountinfo").read_text()


def wait_for(what: Callable[[], bool]) -> None:
    """Wait for what the kernel, or a process that lost its parent, does in its own time."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("shell", [("dash",), ("bash",), ("busybox", "sh")], ids=" ".join)
def test_bpftool_has_this_kernel_judge_them(objects: Path, tmp_path: Path, shell: tuple[str, ...]) -> None:
    need(shell[0], shell[0])
    before = machine()
    some = copied(objects, tmp_path, GOOD, BOUNDS, FRAGMENTS, CLEANUP, RELOCATED)
    trial = trial_of(printed(script(some, shell=shell)))
    assert trial.by == "bpftool"
    assert trial.accepted == (CLEANUP, FRAGMENTS, RELOCATED, GOOD)
    assert kinds(trial) == {BOUNDS: "bounds"}
    (refusal,) = trial.refused
    assert (refusal.errno, refusal.program) == ("EACCES", "calico_tc_main")
    assert any("outside of the packet" in line for line in refusal.words)
    wait_for(lambda: machine() == before)


def test_libbpf_has_this_kernel_judge_them(objects: Path) -> None:
    before = machine()
    trial = trial_of(printed(program(objects)))
    assert trial.by == "libbpf"
    assert trial.accepted == (CLEANUP, FRAGMENTS, RELOCATED, GOOD)
    assert kinds(trial) == {BOUNDS: "bounds", BUDGET: "budget"}
    wait_for(lambda: machine() == before)


def test_the_survey_carries_them(objects: Path) -> None:
    transport = LocalTransport(trial=ObjectsTrial(directory=str(objects)))
    with transport.start(PATIENCE) as running:
        facts, problems = node_facts(running.finish(), LocalTransport.kind, SourceIndex())
    assert not problems
    one = judged(bpf_objects, facts.kind)
    assert one.status is Status.FAIL
    assert f"{BOUNDS} (bounds: " in one.message
    assert f"{BUDGET} (budget: " in one.message


@pytest.mark.parametrize("shell", [("dash",), ("bash",), ("busybox", "sh")], ids=" ".join)
def test_each_shell_hands_the_loaders_on_as_they_are(objects: Path, tmp_path: Path, shell: tuple[str, ...]) -> None:
    need(shell[0], shell[0])
    directory = copied(objects, tmp_path, GOOD, BOUNDS).rename(tmp_path / "it's $(some) `odd` place")
    trial = ObjectsTrial(directory=str(directory))
    text = survey_text(trial, PATIENCE)
    has = 'has() { command -v "$1" >/dev/null 2>&1; }'
    assert has in text
    without = text.replace(has, 'has() { [ "$1" != python3 ] && command -v "$1" >/dev/null 2>&1; }')
    for given, loader in ((text, "libbpf"), (without, "bpftool")):
        result = subprocess.run((*shell, "-s", "nonce"), input=given.encode(), capture_output=True, check=True)
        survey = Survey(data=result.stdout, nonce="nonce", trial=trial)
        facts, problems = node_facts(survey, LocalTransport.kind, SourceIndex())
        assert not problems
        found = facts.kind.trial_objects
        assert isinstance(found, Known), found
        assert (found.value.by, found.value.accepted) == (loader, (GOOD,))
        assert kinds(found.value) == {BOUNDS: "bounds"}


def libbpf() -> Path:
    """This machine's libbpf."""
    listed = subprocess.run(("ldconfig", "-p"), capture_output=True, text=True, check=True).stdout
    return Path(next(line.split()[-1] for line in listed.splitlines() if line.split()[:1] == ["libbpf.so.1"]))


@pytest.mark.parametrize("broken", ["libbpf", "python3"])
def test_where_libbpf_cannot_be_used_bpftool_is(objects: Path, tmp_path: Path, broken: str) -> None:
    need("unshare", "util-linux")
    trial = ObjectsTrial(directory=str(copied(objects, tmp_path, GOOD, BOUNDS)))
    hide = f"mount --bind /dev/null {libbpf()}"
    if broken == "python3":
        # One that is too old to read the program.
        old = tmp_path / "python3"
        old.write_text("#!/bin/sh\necho SyntaxError: invalid syntax >&2\nexit 1\n")
        old.chmod(0o755)
        hide = f"PATH={tmp_path}:$PATH"
    command = ("unshare", "-m", "sh", "-ec", f'{hide}; exec "$@"', "sh", "sh", "-s", "nonce")
    text = survey_text(trial, PATIENCE).encode()
    result = subprocess.run(command, input=text, capture_output=True, check=True)
    facts, _ = node_facts(Survey(data=result.stdout, nonce="nonce", trial=trial), LocalTransport.kind, SourceIndex())
    found = facts.kind.trial_objects
    assert isinstance(found, Known), found
    assert (found.value.by, found.value.accepted) == ("bpftool", (GOOD,))


def test_hosts_over_ssh_try_what_they_have(objects: Path, tmp_path: Path) -> None:
    need("ssh", "openssh-client")
    if shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip("sshd is not installed (Debian package openssh-server)")
    with sshd(tmp_path, {"plain": ""}) as server:
        command = (str(PROGRAM), "node", "--ssh-config", str(server.config), "plain", "-f", "json")
        trial = ("--trial", "objects", "--objects", str(objects), "--only", "node.bpf.objects")
        result = subprocess.run((*command, *trial), capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    (one,) = json.loads(result.stdout)["findings"]
    assert (one["id"], one["status"]) == ("node.bpf.objects", "fail")
    assert f"{BUDGET} (budget: " in one["message"]


@pytest.mark.parametrize("command", [script, program])
def test_without_btf_what_adapts_itself_is_refused(
    objects: Path, tmp_path: Path, command: Callable[[Path], tuple[str, ...]]
) -> None:
    need("unshare", "util-linux")
    some = copied(objects, tmp_path, GOOD, RELOCATED)
    hide = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /sys/kernel/btf && exec "$@"', "sh")
    trial = trial_of(printed((*hide, *command(some))))
    assert trial.accepted == (GOOD,)
    assert kinds(trial) == {RELOCATED: "missing BTF"}


@pytest.mark.parametrize("command", [script, program])
def test_a_killed_trial_leaves_nothing(
    objects: Path, tmp_path: Path, command: Callable[[Path], tuple[str, ...]]
) -> None:
    before = machine()
    # Its log alone takes bpftool seconds.
    some = copied(objects, tmp_path, BUDGET)
    with subprocess.Popen(command(some), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith(b"object "):
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    wait_for(lambda: machine() == before)


def test_odd_files_are_passed_over(objects: Path, tmp_path: Path) -> None:
    directory = copied(objects, tmp_path)
    shutil.copy("/bin/true", directory / "from_wep_no_log.o")
    (directory / "to_wep_no_log.o").write_bytes((objects / GOOD).read_bytes()[:600])
    (directory / "to_lo_no_log.o").write_text("")
    with (directory / "from_hep_no_log.o").open("wb") as large:
        large.truncate(1 << 30)
    os.mkfifo(directory / "from_nat_no_log.o")
    (directory / "from_lo_no_log.o").mkdir()
    (directory / "to_nat_no_log.o").symlink_to("nowhere")
    (directory / "to_hep_no_log.o").symlink_to(objects / GOOD)
    (directory / "a b\n\x1b[31m.o").write_text("")
    for command in (script, program):
        trial = trial_of(printed(command(directory)))
        assert trial.accepted == (GOOD,), command
        left = {name: why for name, why in trial.undecided if name != "to_nat_no_log.o"}
        irregular = {"from_lo_no_log.o": "irregular", "from_nat_no_log.o": "irregular"}
        assert left == {"from_hep_no_log.o": "large", **irregular}, command
        foreign = {"from_wep_no_log.o", "to_lo_no_log.o", "to_wep_no_log.o"}
        assert {one.name for one in trial.refused} == foreign, command
        one = judged(bpf_objects, kind(trial_objects=Known(value=trial, source=0)))
        assert one.status is Status.UNKNOWN, command


@pytest.mark.parametrize(("made", "words"), [("empty", ""), ("missing", "there is no"), ("file", "no directory")])
def test_a_directory_that_is_none_is_unknown(made: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / made
    if made == "empty":
        path.mkdir()
    if made == "file":
        path.write_text("")
    transport = LocalTransport(trial=ObjectsTrial(directory=str(path)))
    with transport.start(PATIENCE) as running:
        facts, _ = node_facts(running.finish(), LocalTransport.kind, SourceIndex())
    one = judged(bpf_objects, facts.kind)
    assert one.status is Status.UNKNOWN
    assert (words or "holds none") in one.message


def test_a_bpftool_that_hangs_or_warns(objects: Path, tmp_path: Path) -> None:
    some = copied(objects, tmp_path, GOOD, BOUNDS)
    fake = tmp_path / "bin" / "bpftool"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *loadall*{BOUNDS}*) exec sleep 1000 ;; esac\n'
        f'echo Warning: it is old >&2\necho Warning: very old\nexec {shutil.which("bpftool")} "$@"\n'
    )
    fake.chmod(0o755)
    trial = trial_of(printed(script(some, each=3), path=str(fake.parent)))
    assert trial.accepted == (GOOD,)
    assert trial.undecided == ((BOUNDS, "timeout"),)


@pytest.mark.parametrize("command", [script, program])
def test_what_there_is_no_time_for_is_named(objects: Path, command: Callable[..., tuple[str, ...]]) -> None:
    trial = trial_of(printed(command(objects, seconds=0)))
    assert (trial.accepted, trial.refused, trial.undecided) == ((), (), ())
    assert trial.left == tuple(sorted(OBJECTS))
    one = judged(bpf_objects, kind(trial_objects=Known(value=trial, source=0)))
    assert (one.status, one.reason) == (Status.UNKNOWN, Reason.TIMEOUT)


# What a trial may not look at: as nobody, and as root without what it takes.
POWERLESS = {
    "nobody": ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    "net-admin": ("setpriv", "--bounding-set=-all,+net_admin"),
    "user-namespace": ("unshare", "--user", "--map-root-user"),
}


@pytest.mark.parametrize("who", POWERLESS)
@pytest.mark.parametrize("command", [script, program])
def test_without_privileges_nothing_is_said_of_the_kernel(
    objects: Path, tmp_path: Path, who: str, command: Callable[[Path], tuple[str, ...]]
) -> None:
    need("setpriv", "util-linux")
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == 0 and path != Path("/") and str(path).startswith("/tmp/"):
            path.chmod(0o755)
    some = copied(objects, tmp_path, GOOD, BOUNDS)
    # Those that nobody may read are at a place that is not the test's to open.
    read = [part.replace(str(BY_BPFTOOL), str(shutil.copy(BY_BPFTOOL, tmp_path))) for part in command(some)]
    read = [part.replace(str(BY_LIBBPF), str(shutil.copy(BY_LIBBPF, tmp_path))) for part in read]
    data = printed((*POWERLESS[who], *read))
    one = judged(bpf_objects, kind(trial_objects=facts_of(data)))
    assert (one.status, one.reason) == (Status.UNKNOWN, Reason.FORBIDDEN), data


def test_a_host_that_lacks_tools_says_which(objects: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    text = BY_BPFTOOL.read_text().replace("PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={tools}")
    bare = tmp_path / "objects.sh"
    bare.write_text(text)
    found = facts_of(printed(("/bin/sh", str(bare), "nonce", str(objects), "100", "60")))
    assert isinstance(found, Unknown)
    assert (found.reason, "bpftool" in found.detail) == (Reason.TOOL_MISSING, True)


# What there is in the image of calico-node of what the trial could use.
IN_IMAGE = ("bpftool", "cat", "find", "readlink", "rm", "sed", "sh", "tail", "timeout")


def in_image(tmp_path: Path, directory: Path) -> tuple[str, ...]:
    """The command where there is no more than in that image."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in IN_IMAGE:
        path = shutil.which(name)
        assert path is not None
        (tools / name).symlink_to(path)
    bare = tmp_path / "objects.sh"
    bare.write_text(BY_BPFTOOL.read_text().replace("PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={tools}"))
    return ("/bin/sh", str(bare), "nonce", str(directory), "100", "60")


# In the mount namespace of process 1, which another cannot always be told from this machine's.
HOST = ("unshare", "-m", "--pid", "--fork", "--mount-proc", "sh", "-c", '"$@"; exit $?', "sh")


def test_a_container_has_a_mount_namespace_of_its_own(objects: Path, tmp_path: Path) -> None:
    need("unshare", "util-linux")
    before = machine()
    some = copied(objects, tmp_path, GOOD, BOUNDS)
    # A container has no bpffs by itself, and may not write to sysfs.
    away = "if mountpoint -q /sys/fs/bpf; then umount /sys/fs/bpf; fi; mount -o remount,bind,ro /sys"
    container = ("unshare", "-m", "sh", "-ec", f'{away}; exec "$@"', "sh")
    trial = trial_of(printed((*HOST, *container, *in_image(tmp_path, some))))
    assert (trial.accepted, kinds(trial)) == ((GOOD,), {BOUNDS: "bounds"})
    wait_for(lambda: machine() == before)


def test_a_host_without_unshare_is_left_alone(objects: Path, tmp_path: Path) -> None:
    need("unshare", "util-linux")
    before = machine()
    found = facts_of(printed((*HOST, *in_image(tmp_path, objects))))
    assert isinstance(found, Unknown)
    assert (found.reason, "unshare" in found.detail) == (Reason.TOOL_MISSING, True)
    assert machine() == before


# What kernels of Debian say: 5.10 knows no callbacks, which Felix survives.
BOOTED = {
    "5.10": (
        {FRAGMENTS: "callbacks", CLEANUP: "callbacks", BOUNDS: "bounds", BUDGET: "budget"},
        (RELOCATED, GOOD),
        (FRAGMENTS,),
    ),
    "6.1": ({BOUNDS: "bounds", BUDGET: "budget"}, (CLEANUP, FRAGMENTS, RELOCATED, GOOD), ()),
}


@pytest.mark.parametrize("name", BOOTED)
def test_other_kernels_judge_them_too(name: str, objects: Path, tmp_path: Path) -> None:
    directory = kernel(name)
    # The log of an object that is too large takes bpftool minutes there.
    commands = f"""
mount -t bpf bpf /sys/fs/bpf
mv /libbpf.so.1 /lib/*-linux-gnu/
$PYTHON -I -S -B /objects.py nonce /objects 100 60 > /results/libbpf
rm /objects/{BUDGET}
sh /objects.sh nonce /objects 100 60 > /results/bpftool
find /sys/fs/bpf -mindepth 1 > /results/pins
bpftool prog list > /results/programs
"""
    results = boot_python(
        directory,
        commands,
        tmp_path,
        files=(BY_LIBBPF,),
        data=(objects, BY_BPFTOOL, libbpf()),
        programs=("bpftool",),
    )
    refused, accepted, partly = BOOTED[name]
    trial = trial_of(results["libbpf"])
    assert (kinds(trial), trial.accepted) == (refused, accepted)
    assert tuple(one.name for one in trial.partly) == partly
    by_bpftool = trial_of(results["bpftool"])
    assert kinds(by_bpftool) == {name: kind for name, kind in refused.items() if name != BUDGET}
    assert by_bpftool.accepted == accepted
    only = msgspec.structs.replace(
        by_bpftool, refused=tuple(one for one in by_bpftool.refused if one.name in (FRAGMENTS, CLEANUP))
    )
    one = judged(bpf_objects, kind(trial_objects=Known(value=only, source=0)))
    assert one.status is Status.UNKNOWN
    # bpftool itself cannot leave the fragment program out.
    assert ("not a fair test" in one.message) == (name == "5.10")
    assert b"calico" not in results["pins"] + results["programs"]
