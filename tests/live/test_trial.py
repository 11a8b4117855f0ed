"""The trial of the kernel, on this machine's own: its answers, its rights, and that it leaves the machine as it was."""

import json
import os
import platform
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from ebpfcheck.trial import kernel
from tests.builders import ROOT
from tests.live.tools import need
from tests.trials import PROGRAM, answer, answers, assert_bpftool_agrees, checked, run

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may call bpf(2)"),
]

RELEASE = tuple(map(int, platform.release().split(".")[:2]))


@pytest.fixture(scope="module")
def hierarchy() -> Path:
    """A directory where cgroup2 is mounted."""
    for path, directory in kernel.visible_hierarchies():
        os.close(directory)
        return Path(path)
    pytest.skip("cgroup2 is not mounted here")


@pytest.fixture
def group(hierarchy: Path) -> Iterator[Path]:
    """A cgroup of the test's own."""
    path = hierarchy / f"ebpfcheck-test-{os.getpid()}"
    path.mkdir()
    yield path
    path.rmdir()


def machine(hierarchy: Path) -> dict[str, Any]:
    """What a trial must leave as it is, without what is others' and comes and goes by itself."""
    links = json.loads(subprocess.run(("ip", "-j", "link"), capture_output=True, check=True).stdout)
    listed = {kind: listed_by_bpftool(kind) for kind in ("prog", "map", "link")}
    return {
        "links": [(link["ifindex"], link["ifname"], link.get("xdp"), link.get("qdisc")) for link in links],
        "groups": sorted(str(path) for path in hierarchy.rglob("ebpfcheck*")),
        "objects": [
            (kind, one["id"]) for kind, every in listed.items() for one in every if one.get("name") == "ebpfcheck"
        ],
        "pins": sorted(str(path) for path in Path("/sys/fs/bpf").rglob("*")),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "namespaces": sorted(str(path) for path in Path("/run/netns").glob("*")),
    }


def listed_by_bpftool(kind: str) -> list[dict[str, object]]:
    """All programs, maps or links; asked again where one went away between being counted and being looked at."""
    for _ in range(100):
        result = subprocess.run(("bpftool", "-j", kind, "list"), capture_output=True, check=False)
        if result.returncode == 0:
            break
    found = json.loads(result.stdout)
    assert isinstance(found, list), found
    return found


@pytest.fixture
def unchanged(hierarchy: Path) -> Iterator[None]:
    """Fail if the machine is another after the test."""
    for program, package in (("ip", "iproute2"), ("bpftool", "bpftool")):
        need(program, package)
    before = machine(hierarchy)
    yield
    # What a namespace held is let go of a little later, before the test as well.
    for _ in range(600):
        after = machine(hierarchy)
        for kind in ("groups", "objects"):
            after[kind] = before[kind] if all(one in before[kind] for one in after[kind]) else after[kind]
        if after == before:
            return
        time.sleep(0.1)
    assert after == before


def lacking() -> dict[str, str]:
    """What this kernel lacks of all that is asked: by its version, and by ip where it depends on how it was built."""
    if RELEASE < (5, 18):
        pytest.skip("this kernel is older than those that have nearly all of it")
    need("ip", "iproute2")
    need("unshare", "util-linux")
    add = ("unshare", "--net", "ip", "link", "add", "nk0", "type", "netkit")
    has_netkit = subprocess.run(add, capture_output=True, check=False).returncode == 0
    missing = {} if RELEASE >= (6, 6) else {"attach tcx/veth": "EINVAL"}
    return missing if has_netkit else {**missing, "attach netkit": "EOPNOTSUPP"}


@pytest.mark.usefixtures("unchanged")
def test_the_answers_are_those_that_were_written_down() -> None:
    document = run()
    assert document["left"] == ""
    assert answers(document) == lacking()
    assert answers(document, "untold") == {}
    assert document["release"] == platform.release()
    assert document["python"] == platform.python_version()
    assert document["user_namespace"] is False
    assert {hook["answer"] for hook in document["root_hooks"]} == {"yes"}


def test_the_types_are_those_that_bpftool_sees() -> None:
    need("bpftool", "bpftool")
    probe = subprocess.run(("bpftool", "-j", "feature", "probe"), capture_output=True, check=True).stdout
    assert_bpftool_agrees(run(), probe)


# What is held of the capabilities that matter, and what must be answered all the same.
HELD: dict[tuple[str, ...], set[str]] = {
    (): set(),
    ("NET_ADMIN",): set(),
    ("BPF",): {"map"},
    ("BPF", "NET_ADMIN"): {"map", "program"},
    ("BPF", "NET_ADMIN", "PERFMON"): {"map", "program", "helper", "feature"},
    ("SYS_ADMIN",): {"map", "program", "helper", "feature"},
    ("BPF", "NET_ADMIN", "PERFMON", "SYS_ADMIN"): {"map", "program", "helper", "feature", "device"},
    # Each one dropped for itself.
    ("NET_ADMIN", "PERFMON", "SYS_ADMIN", "DAC_OVERRIDE"): {"map", "program", "helper", "feature", "attach", "device"},
    ("BPF", "NET_ADMIN", "SYS_ADMIN", "DAC_OVERRIDE"): {"map", "program", "helper", "feature", "attach", "device"},
    ("BPF", "PERFMON", "SYS_ADMIN", "DAC_OVERRIDE"): {"map", "program", "helper", "feature"},
    ("BPF", "NET_ADMIN", "PERFMON", "DAC_OVERRIDE"): {"map", "program", "helper", "feature"},
}


@pytest.mark.parametrize("held", HELD, ids=["+".join(held) or "none" for held in HELD])
def test_without_capabilities_nothing_is_lacking_that_is_there(held: tuple[str, ...]) -> None:
    document = run(f"capabilities={','.join(held)}")
    assert sorted(document["capabilities"]) == sorted(held)
    assert answers(document, "no").items() <= lacking().items()
    untold = [one for one in document["answers"] if one["answer"] == "untold"]
    for one in untold:
        # What is called for is what is not there.
        assert one["needs"], one
        assert not set(one["needs"]) & set(held), one
    # Only NET_ADMIN may make one of this type on kernels before 6.2 or so.
    told = {one["topic"] for one in untold if one["name"] != "sockhash"} & HELD[held]
    assert told == set()


@pytest.mark.parametrize("way", ["nobody", "user-namespace"])
def test_those_whom_the_kernel_does_not_serve_learn_what_they_need(way: str) -> None:
    document = run(way)
    assert document["user_namespace"] is (way == "user-namespace")
    assert answers(document, "no") == {}
    for one in document["answers"]:
        if one["topic"] in ("map", "program", "helper", "feature"):
            assert (one["answer"], one["errno"], "BPF" in one["needs"]) == ("untold", "EPERM", True), one
    assert {hook["answer"] for hook in document["root_hooks"]} == {"untold"}
    assert {hook["errno"] for hook in document["root_hooks"]} == {"EPERM"}
    assert all("NET_ADMIN" in hook["needs"] for hook in document["root_hooks"])


@pytest.mark.parametrize("error", ["EPERM", "EACCES", "EINVAL", "E2BIG", "ENOSYS", "KILL"])
def test_a_seccomp_filter_is_not_taken_for_the_kernel(error: str) -> None:
    document = run(f"seccomp={error}")
    assert document["seccomp"] == 2
    # Whether the kernel knows netkit no call of bpf(2) has to tell.
    assert answers(document, "no") == {}
    assert {one["topic"] for one in document["answers"] if one["answer"] == "yes"} <= {"device"}
    assert (document["left"] == "") == (error != "KILL")
    assert "SIGSYS" in document["left"] or error != "KILL"


@pytest.mark.usefixtures("unchanged")
def test_the_root_is_told_from_a_group_that_is_mounted_alone(hierarchy: Path, group: Path) -> None:
    document = run("cgroup-namespace")
    assert answers(document) == lacking()
    assert {hook["answer"] for hook in document["root_hooks"]} == {"yes"}
    assert document["root_hooks_path"] == str(hierarchy)
    # Where the root is not mounted, process 1 is in the namespace that sees it, if that may be looked at.
    document = run(f"cgroup={group}")
    assert answers(document) == lacking()
    first = kernel.is_in_namespace("/proc/1/ns/cgroup", kernel.FIRST_CGROUP_NAMESPACE)
    assert {hook["answer"] for hook in document["root_hooks"]} == {"yes" if first else "untold"}
    assert document["root_hooks_path"] == ("a private mount" if first else "")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("change", ["mount -o remount,bind,ro", "umount --lazy"])
def test_where_cgroup2_is_of_no_use_it_is_mounted_for_the_trial_alone(hierarchy: Path, change: str) -> None:
    need("unshare", "util-linux")
    document = run(before=("unshare", "--mount", "sh", "-c", f'{change} {hierarchy} && exec "$@"', "sh"))
    assert answers(document) == lacking()
    assert {hook["answer"] for hook in document["root_hooks"]} == {"yes"}


def attach(group: Path, hook: str, flags: int) -> None:
    """Attach a program that lets everything through to a group; it goes with the group."""
    with kernel.held(os.open(group, os.O_RDONLY)) as directory:
        number = kernel.CGROUP_HOOKS[hook]
        with kernel.held(kernel.raw_load("cgroup_sock_addr", kernel.leave(1), number)) as program:
            kernel.raw_bpf(kernel.PROG_ATTACH, kernel.attributes("<IIII", directory, program, number, flags))


# BPF_F_ALLOW_OVERRIDE and BPF_F_ALLOW_MULTI; without them the program is exclusive.
EXCLUSIVE, OVERRIDE, MULTI = 0, 1, 2


@pytest.mark.usefixtures("unchanged")
def test_what_others_have_attached_to_the_hooks_is_reported_and_stays(group: Path) -> None:
    attach(group, "connect4", EXCLUSIVE)
    attach(group, "sendmsg6", OVERRIDE)
    attach(group, "recvmsg4", MULTI)
    attach(group, "recvmsg4", MULTI)
    for _ in range(2):
        document = run(arguments=[group])
        assert document["root_hooks_path"] == str(group)
        seen = {hook["hook"]: (hook["answer"], hook["programs"], hook["flags"]) for hook in document["root_hooks"]}
        assert seen == {
            "connect4": ("yes", 1, EXCLUSIVE),
            "connect6": ("yes", 0, 0),
            "sendmsg4": ("yes", 0, 0),
            "sendmsg6": ("yes", 1, OVERRIDE),
            "recvmsg4": ("yes", 2, MULTI),
            "recvmsg6": ("yes", 0, 0),
        }
        assert answers(document) == lacking()


def test_a_group_to_look_at_that_is_none() -> None:
    for path, error in (("/nowhere", "ENOENT"), ("/", "EBADF")):
        document = run(arguments=[path])
        assert {(hook["answer"], hook["errno"]) for hook in document["root_hooks"]} == {("untold", error)}
        assert document["root_hooks_path"] == ""


@pytest.mark.usefixtures("unchanged")
def test_an_exclusive_program_above_is_no_kernel_that_lacks_the_hook(group: Path) -> None:
    attach(group, "connect4", EXCLUSIVE)
    document = run(f"cgroup={group}")
    assert answers(document, "no") == lacking()
    assert answers(document, "untold") == {"attach cgroup/connect4": "EPERM", "attach cgroup-legacy/connect4": "EPERM"}
    assert answer(document, "attach", "cgroup/connect4")["words"].endswith("though no capability is missing")


def test_a_machine_without_settings_of_the_network() -> None:
    need("unshare", "util-linux")
    hide = 'mount -t tmpfs none /proc/sys/net/core && exec "$@"'
    document = run(before=("unshare", "--mount", "sh", "-c", hide, "sh"))
    assert answers(document) == lacking()


def test_a_kernel_without_bpf_lacks_all_of_it() -> None:
    # A number that no system call has gets what the number of bpf(2) gets from such a kernel.
    code = "from ebpfcheck.trial import kernel as k\nfor one in k.BPF_SYSCALL: k.BPF_SYSCALL[one] = 4000\nk.main()"
    result = subprocess.run((sys.executable, "-c", code), cwd=ROOT, capture_output=True, timeout=100, check=True)
    document = checked(result.stdout)
    for one in document["answers"]:
        if one["topic"] in ("map", "program", "helper", "feature"):
            assert (one["answer"], one["errno"]) == ("no", "ENOSYS"), one
    assert answer(document, "device", "vxlan-external")["answer"] == "yes"
    assert {hook["answer"] for hook in document["root_hooks"]} == {"untold"}


IN_USE = """
import json, socket
from ebpfcheck.trial import kernel
asked = kernel.Asked(kernel.Rights(), None)
asked.network.veth()
used = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
used.bind(("", kernel.VXLAN_PORT))
print(json.dumps([one.ask(asked) for one in kernel.questions() if one.topic == "device"]))
"""


@pytest.mark.usefixtures("unchanged")
def test_a_flow_based_device_counts_when_it_is_up() -> None:
    # With its port in use it can be made all the same, but not set up.
    result = subprocess.run((sys.executable, "-c", IN_USE), cwd=ROOT, capture_output=True, timeout=100, check=True)
    (device,) = json.loads(result.stdout)
    assert (device["name"], device["answer"], device["errno"]) == ("vxlan-external", "untold", "EADDRINUSE")


def start() -> "subprocess.Popen[bytes]":
    with PROGRAM.open() as source:
        return subprocess.Popen((sys.executable, "-"), stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# Hangs where there is the most to be left: with a veth pair, a group, and a link to it.
HANG = """
import time
from ebpfcheck.trial import kernel
def hang(asked):
    with kernel.held(asked.kernel.program("cgroup_sock_addr", 1, 10)) as program:
        asked.kernel.bpf(kernel.LINK_CREATE, kernel.attributes("<IIII", program, asked.groups.group(), 10, 0), "link")
        time.sleep(1000)
asked = [one for one in kernel.questions() if one.topic in ("attach", "device")]
kernel.Trial([*asked, kernel.Question("attach", "hang", hang)], question_seconds=100).run()
"""


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("which", ["parent", "child"])
def test_a_trial_that_is_killed_leaves_an_empty_group_at_most(hierarchy: Path, which: str) -> None:
    with subprocess.Popen((sys.executable, "-c", HANG), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        children = psutil.Process(process.pid).children()
        while not children or not is_attached_to(group_of(hierarchy, children[0])):
            assert process.poll() is None
            time.sleep(0.02)
            children = psutil.Process(process.pid).children()
        (child,) = children
        os.kill(process.pid if which == "parent" else child.pid, signal.SIGKILL)
        process.wait(60)
        child.wait(60)
        left = group_of(hierarchy, child)
        if which == "child":
            # The parent sees to it.
            assert process.returncode == 0
            assert not left.exists()
        if left.exists():
            assert (left / "cgroup.procs").read_text() == ""
            assert not is_attached_to(left)
    assert answers(run()) == lacking()
    assert not left.exists()


def group_of(hierarchy: Path, child: psutil.Process) -> Path:
    return hierarchy / f"ebpfcheck-trial-{child.pid}"


def is_attached_to(group: Path) -> bool:
    """Whether a program is attached to a trial's group, if that is there."""
    try:
        directory = os.open(group, os.O_RDONLY)
    except FileNotFoundError:
        return False
    with kernel.held(directory):
        query = kernel.attributes("<IIIIQI", directory, kernel.CGROUP_HOOKS["connect4"], 0, 0, 0, 0)
        kernel.raw_bpf(kernel.PROG_QUERY, query)
    return bool(struct.unpack_from("<I", query, 24) != (0,))


@pytest.mark.usefixtures("unchanged")
def test_a_trial_may_be_killed_at_any_moment(hierarchy: Path) -> None:
    moments = Random(8)
    for _ in range(10):
        with start() as process:
            time.sleep(moments.uniform(0, 0.4))
            process.kill()
    # What was in the middle of a system call has yet to die.
    while any(kernel.is_alive(int(path.name.rpartition("-")[2])) for path in hierarchy.glob("ebpfcheck-trial-*")):
        time.sleep(0.05)
    assert answers(run()) == lacking()


@pytest.mark.usefixtures("unchanged")
def test_fifty_at_once_do_not_disturb_each_other() -> None:
    started = [start() for _ in range(50)]
    for process in started:
        out, errors = process.communicate(timeout=100)
        assert (process.returncode, errors) == (0, b"")
        document = checked(out)
        assert answers(document, "no").items() <= lacking().items()
        # A machine may be too slow for all of it, but then that is what is said.
        slow = [one for one in document["answers"] if one["answer"] == "untold"]
        assert all(one["words"].startswith(("no answer within", document["left"] or "no")) for one in slow)


@pytest.mark.usefixtures("unchanged")
def test_a_trial_beside_one_who_uses_bpf() -> None:
    if RELEASE < (6, 6):
        pytest.skip("this kernel has no TCX")
    commands = f"ip link add eth0 type veth peer name p-eth0 && exec {sys.executable} -m tests.live.tcx eth0"
    user = subprocess.Popen(
        ("unshare", "--net", "sh", "-c", commands), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with user:
        assert user.stdin is not None
        assert user.stdout is not None
        assert user.stdout.readline() == b"attached\n"
        program = [sys.executable, str(PROGRAM)]
        beside = subprocess.run(
            ("nsenter", "--net", "--target", str(user.pid), *program), capture_output=True, timeout=100, check=True
        )
        assert answers(checked(beside.stdout)) == lacking()
        # Still there, in the namespace in which the trial was started.
        listed = ("nsenter", "--net", "--target", str(user.pid), "ip", "-j", "link")
        names = {link["ifname"] for link in json.loads(subprocess.run(listed, capture_output=True, check=True).stdout)}
        assert names == {"lo", "eth0", "p-eth0"}
        assert user.poll() is None
        user.stdin.close()
