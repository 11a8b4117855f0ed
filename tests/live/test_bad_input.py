"""Nodes that are large, hostile or half broken: the survey still ends, and what it could not tell is unknown."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ebpfcheck.checks import host, residue
from ebpfcheck.checks.builtin import BUILTIN
from ebpfcheck.collect.framing import SURVEY_LIMIT, State, read_document
from ebpfcheck.collect.local import LocalTransport
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import SURVEY_SCRIPT, Survey
from ebpfcheck.model.facts import Known, KubeChains, NodeFacts, Reason, SourceKind, Unknown
from ebpfcheck.model.report import Status
from ebpfcheck.model.snapshot import SourceIndex
from tests.builders import NONCE, Part, document, judged
from tests.live.test_network_namespace import PLAIN, look_after
from tests.live.tools import need
from tests.unit.test_network_facts import value

pytestmark = pytest.mark.live

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces")


def surveyed(script: str, **environment: str) -> NodeFacts:
    """Run a survey script under sh and return its facts."""
    out = subprocess.run(
        ("sh", "-s", "n"),
        input=script.encode(),
        capture_output=True,
        check=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    return node_facts(Survey(data=out.stdout, nonce="n"), LocalTransport.kind, SourceIndex())[0]


def test_a_hundred_thousand_mounts(tmp_path: Path) -> None:
    own = Path("/proc/self/mountinfo").read_text()
    pods = "".join(
        f"{100_000 + number} 27 0:{number} / /var/lib/kubelet/pods/{number:032x}/volumes/kubernetes.io~projected/t "
        "rw,relatime shared:1 - tmpfs tmpfs rw,size=1048576k\n"
        for number in range(100_000)
    )
    table = tmp_path / "mountinfo"
    table.write_text(own + pods)
    assert table.stat().st_size > SURVEY_LIMIT
    here = surveyed(SURVEY_SCRIPT.read_text())
    busy = surveyed(SURVEY_SCRIPT.read_text().replace("/proc/1/mountinfo", str(table)))
    for name in ("bpffs", "bpffs_elsewhere", "cgroup_layout", "cgroup2_mounts", "calico_cgroup", "run_calico"):
        ours, theirs = getattr(busy.kind, name), getattr(here.kind, name)
        assert type(ours) is type(theirs), name
        assert getattr(ours, "value", None) == getattr(theirs, "value", None), name
    assert isinstance(busy.kind.cgroup_layout, Known)


@needs_root
def test_ten_thousand_links(tmp_path: Path) -> None:
    batch = tmp_path / "batch"
    batch.write_text(
        "".join(f"link add cali{number:011x} type veth peer name peer{number}\n" for number in range(5_000))
    )
    kind = look_after(f"{PLAIN}ip -batch {batch}", tmp_path)
    assert isinstance(kind.links, Known)
    assert len(kind.links.value) == 5_002
    assert judged(residue.ipvs_residue, kind).status is Status.PASS


@needs_root
def test_an_interface_may_be_called_what_it_likes(tmp_path: Path) -> None:
    names = ("e\x1b[31m", "a'b\"c", "$(id)", "[bold]x", "\u00e9t\u00e9", "back\\slash")
    made = "".join(
        f"ip link add name \"$(printf '{octal(name)}')\" type veth peer name p{index}\n"
        for index, name in enumerate(names)
    )
    kind = look_after(PLAIN + made, tmp_path)
    assert isinstance(kind.links, Known)
    assert set(names) <= {link.name for link in kind.links.value}
    for check in BUILTIN:
        finding = judged(check, kind)
        assert "\x1b" not in finding.message + finding.observed, check.id


def octal(text: str) -> str:
    """The text as printf's escapes, which no shell takes for anything else."""
    return "".join(f"\\{byte:03o}" for byte in text.encode())


def test_half_a_million_sockets(tmp_path: Path) -> None:
    rows = "".join(
        f"{number:6d}: 0100007F:{number % 65536:04X} 0200007F:01BB {'0A' if number == 77 else '01'} 00000000:00000000 "
        f"00:00000000 00000000  1000        0 {number} 1 0000000000000000 20 4 30 10 -1\n"
        for number in range(500_000)
    )
    table = tmp_path / "tcp"
    table.write_text("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n" + rows)
    assert table.stat().st_size > SURVEY_LIMIT
    script = SURVEY_SCRIPT.read_text()
    odd = script.replace(
        "for name in tcp tcp6; do lines $name /proc/net/$name", f"for name in tcp tcp6; do lines $name {table}"
    )
    assert odd != script
    kind = surveyed(odd).kind
    assert isinstance(kind.tcp_listeners, Known)
    assert kind.tcp_listeners.value == (77,)
    assert isinstance(kind.udp_ports, Known)


def test_what_lies_beyond_the_limit_is_unknown_and_what_came_before_is_kept() -> None:
    huge = document({"udp": Part("0035\n" * (SURVEY_LIMIT // 5))})[:SURVEY_LIMIT]
    survey = Survey(data=huge, nonce=NONCE, cut=Reason.TRUNCATED, detail="the survey printed more than it may")
    node, problems = node_facts(survey, SourceKind.LOCAL, SourceIndex())
    assert [problem.reason for problem in problems] == [Reason.TRUNCATED]
    assert isinstance(node.kind.udp_ports, Unknown)
    assert node.kind.udp_ports.reason is Reason.TRUNCATED
    assert isinstance(node.kind.tcp_listeners, Known)


def test_a_settings_file_with_binary_in_it_is_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "90-odd.conf").write_bytes(b"\x00\xff\xfe\nnet.ipv4.conf.all.rp_filter = 1\n\x1b[31m\n")
    (tmp_path / "91-noise.conf").write_bytes(bytes(range(256)) * 4096)
    script = SURVEY_SCRIPT.read_text()
    odd = script.replace("/etc/sysctl.d/*.conf", f"{tmp_path}/*.conf")
    assert odd != script
    kind = surveyed(odd).kind
    assert isinstance(kind.rp_filter_files, Known)
    assert f"{tmp_path}/90-odd.conf: net.ipv4.conf.all.rp_filter = 1" in kind.rp_filter_files.value
    assert judged(host.sysctl_rp_filter, kind).status is Status.WARN


# Mounts a file system of which nobody answers a question, as a dead NFS server's: it hangs whoever looks at it.
HANG = """
import ctypes, os, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
queue = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={queue},rootmode=40000,user_id=0,group_id=0".encode()
for place in sys.argv[3:]:
    os.makedirs(place, exist_ok=True)
    queue = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={queue},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"dead:/export", place.encode(), b"fuse", 0, options):
        sys.exit(f"mount: errno {ctypes.get_errno()}")
look = subprocess.Popen(("stat", sys.argv[3]), stdout=subprocess.DEVNULL)
try:
    look.wait(1)
    sys.exit("the file system answers")
except subprocess.TimeoutExpired:
    look.kill()
with open(sys.argv[2], "wb") as out:
    subprocess.run(("sh", sys.argv[1], "nonce"), stdout=out, check=True, timeout=30)
os._exit(0)
"""


@needs_root
def test_a_dead_file_server_does_not_hang_the_survey(tmp_path: Path) -> None:
    need("unshare", "util-linux")
    if not Path("/dev/fuse").exists():
        pytest.skip("this kernel has no FUSE, with which the test makes a file system that hangs")
    out = tmp_path / "survey"
    places = [str(tmp_path / "nfs"), "/mnt", "/srv", "/home"]
    result = subprocess.run(
        ("unshare", "--mount", sys.executable, "-c", HANG, str(SURVEY_SCRIPT), str(out), *places),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    read = read_document(out.read_bytes(), "nonce")
    assert read.complete
    assert read.sections["mountinfo"].state is State.OK


TOOLS = {
    "silent": "exit 0",
    "refuses": "echo 'Operation not permitted' >&2; exit 1",
    "old": 'echo "Object \\"-j\\" is unknown, try \\"$0 help\\"."; exit 255',
    "chatty": "echo 'WARNING: tool not found for kernel 6.18'; echo; echo '  You may need to install it'; exit 0",
    "binary": "printf '\\000\\377\\033[31m[{'; exit 0",
}


@pytest.mark.parametrize("behaviour", TOOLS)
def test_tools_that_do_not_do_what_they_should_are_not_believed(behaviour: str, tmp_path: Path) -> None:
    for name in ("ip", "tc", "bpftool", "ethtool", "nft", "nsenter", "iptables-nft-save", "iptables-legacy-save"):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\n{TOOLS[behaviour]}\n")
        tool.chmod(0o755)
    kind = surveyed(SURVEY_SCRIPT.read_text(), PATH=f"{tmp_path}:{os.environ['PATH']}").kind
    assert isinstance(kind.links, Known), "the kernel tells without tools"
    if behaviour == "silent":
        # A tool that succeeds and lists nothing cannot be told from one that found nothing.
        assert value(kind.vxlans) == value(kind.nft_tables) == ()
        assert value(kind.kube_chains) == KubeChains()
    else:
        for name in ("vxlans", "nft_tables", "kube_chains"):
            assert isinstance(getattr(kind, name), Unknown), name
    if isinstance(kind.bpf_programs, Known):
        assert kind.bpf_programs.value.programs == ()
        assert kind.bpf_programs.value.by == "tc"
    for check in BUILTIN:
        assert "\x1b" not in judged(check, kind).message
