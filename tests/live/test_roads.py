"""One node by several roads: the same facts where a road can give them, unknown where it cannot."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ebpfcheck.collect.local import LocalTransport
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import SURVEY_SCRIPT, NotReachedError, Survey
from ebpfcheck.model.facts import Absent, Fact, Known, NodeKind, Reason, SourceKind, Unknown
from ebpfcheck.model.snapshot import SourceIndex
from tests.builders import NONCE
from tests.live.tools import need

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a container of the test's own"),
]

# What the image of calico-node has of what the survey uses; no awk, no nsenter, no ethtool.
TOOLS = (
    "bash", "cat", "ls", "grep", "sed", "find", "stat", "readlink", "timeout", "gzip", "ip", "tc", "nft", "bpftool",
    "iptables-legacy-save", "iptables-nft-save",
)  # fmt: skip
# What takes a tool that the image lacks, or the tools of which may be of another version.
BY_TOOLS = {"offloads"}
POD = """
mount --make-rprivate /
mkdir -p "$0/host" "$0/proc" "$0/sys" "$0/dev"
mount --rbind / "$0/host"
mount -o remount,bind,ro "$0/host"
mount -t proc proc "$0/proc"
mount -t sysfs -o ro sysfs "$0/sys"
exec chroot "$0" /bin/sh "$@"
"""
EXEC = """
mount --make-rprivate /
mkdir -p "$0/proc" "$0/sys" "$0/dev" "$0/sys-fs-bpf"
mount -t proc proc "$0/proc"
mount -t sysfs -o ro sysfs "$0/sys"
exec chroot "$0" /bin/sh "$@"
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root directory with what the image of calico-node has, and files of its own that are not the node's."""
    root = tmp_path_factory.mktemp("image")
    for tool in TOOLS:
        path = shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if path is None:
            pytest.skip(f"{tool} is not installed")
        copy(Path(path), root)
    (root / "bin").mkdir(exist_ok=True)
    (root / "bin" / "sh").symlink_to("../usr/bin/bash")
    etc = root / "etc"
    etc.mkdir()
    (etc / "os-release").write_text("ID=image\nNAME=image\n")
    (etc / "resolv.conf").write_text("nameserver 192.0.2.99\n")
    return root


def copy(program: Path, root: Path) -> None:
    """Copy a program with the libraries that it needs, each to its own path, links followed."""
    libraries = re.findall(r"(/\S+)", subprocess.run(("ldd", program), capture_output=True, text=True).stdout)
    for path in (program, *map(Path, libraries)):
        target = root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy2(path, target)
    usual = root / "usr/bin" / program.name
    usual.parent.mkdir(parents=True, exist_ok=True)
    if not usual.exists():
        shutil.copy2(program, usual)


def look(transport: LocalTransport, kind: SourceKind) -> NodeKind:
    with transport.start(60) as running:
        facts, problems = node_facts(running.finish(), kind, SourceIndex())
    assert not problems
    return facts.kind


def plain(kind: NodeKind) -> dict[str, Any]:
    """The facts without where they came from."""

    def bare(fact: Fact[Any]) -> Fact[Any]:
        return msgspec.structs.replace(fact, source=None if isinstance(fact, Unknown) else 0)

    return {name: bare(getattr(kind, name)) for name in NodeKind.__struct_fields__}


def unshared(*flags: str, script: str, image: Path, **options: Any) -> LocalTransport:
    need("unshare", "util-linux")
    return LocalTransport(("unshare", "--mount", *flags, "sh", "-e", "-c", script, str(image)), **options)


def test_a_probe_pod_with_the_hosts_root_sees_what_the_host_sees(image: Path) -> None:
    here = plain(look(LocalTransport(), SourceKind.LOCAL))
    there = plain(look(unshared(script=POD, image=image, root="/host"), SourceKind.POD))
    differing = {name for name in here if here[name] != there[name]}
    assert differing <= BY_TOOLS, {name: (here[name], there[name]) for name in differing - BY_TOOLS}
    assert there["os"] == here["os"]
    assert isinstance(there["os"], Known)


@pytest.mark.parametrize(
    "instead", ['mount --bind "$0/etc" "$0/host"', 'mount -t tmpfs none "$0/host"', ":", 'rmdir "$0/host" || true']
)
def test_what_is_not_the_root_of_process_1_tells_nothing_of_the_node(image: Path, instead: str) -> None:
    script = re.sub(r"mount --rbind / .*\n.*\n", f"{instead}\n", POD)
    transport = unshared(script=script, image=image, root="/host")
    with transport.start(60) as running:
        survey = running.finish()
    with pytest.raises(NotReachedError, match="not what process 1 has as its root"):
        node_facts(survey, SourceKind.POD, SourceIndex())


def test_links_are_followed_below_the_hosts_root(tmp_path: Path) -> None:
    """The node's /etc/os-release may be an absolute link, which means its own root."""
    root = tmp_path / "root"
    for folder in ("etc/static", "store/a", "proc/self"):
        (root / folder).mkdir(parents=True)
    (root / "store" / "a" / "os").write_text("ID=nix\n")
    (root / "etc" / "static" / "os-release").symlink_to("/store/b/../a/os")
    (root / "etc" / "os-release").symlink_to("/etc/static/os-release")
    (root / "etc" / "fstab").symlink_to("/etc/fstab")
    (root / "etc" / "resolv.conf").symlink_to("../../../../../store/a/none")
    transport = LocalTransport(root=str(root))
    with transport.start(30) as running:
        data = running.finish().data
    assert b" begin os-release /etc/os-release\nID=nix\n" in data
    assert re.search(rb" begin fstab /etc/fstab\n\nebpfcheck-\w+ end absent", data)
    assert re.search(rb" begin nameservers /etc/resolv.conf\n\nebpfcheck-\w+ end absent", data)


def test_by_exec_only_the_kernel_and_the_network_are_the_hosts(image: Path) -> None:
    here = plain(look(LocalTransport(), SourceKind.LOCAL))
    there = plain(look(unshared("--pid", "--fork", script=EXEC, image=image), SourceKind.EXEC))
    hidden = {
        "os", "init", "systemd_version", "selinux", "bpffs_fstab", "bpffs_unit", "bpffs", "bpffs_elsewhere",
        "cgroup_layout", "cgroup2_mounts", "nameservers", "node_address_links", "programs", "rp_filter_files",
        "ufw_enabled", "unmanaged_devices", "run_calico", "calico_cgroup", "bpf_pins", "lockdown", "lsm", "modules",
        "container", "vxlans",
    }  # fmt: skip
    for name in hidden:
        assert isinstance(there[name], Unknown), (name, there[name])
        assert there[name].reason is Reason.NOT_COLLECTED, (name, there[name])
    for name in set(here) - hidden - BY_TOOLS - {"kernel_config"}:
        assert there[name] == here[name], (name, here[name], there[name])
    assert isinstance(there["kernel_config"], Known if Path("/proc/config.gz").exists() else Unknown)


def test_settings_behind_links_are_read_below_the_hosts_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc/sysctl.d").mkdir(parents=True)
    (root / "opt").mkdir()
    (root / "opt" / "own.conf").write_text("net.ipv4.conf.all.rp_filter = 1\n")
    (root / "etc/sysctl.d/10-plain.conf").write_text("net.ipv4.conf.all.rp_filter = 2\n")
    (root / "etc/sysctl.d/90-own.conf").symlink_to("/opt/own.conf")
    (root / "etc/sysctl.d/91-none.conf").symlink_to("/opt/none.conf")
    with LocalTransport(root=str(root)).start(30) as running:
        data = running.finish().data
    listed = data[data.index(b" begin sysctl-files ") :].partition(b"\n\n")[0].split(b"\n")[1:]
    assert listed == [
        b"/etc/sysctl.d/10-plain.conf:net.ipv4.conf.all.rp_filter = 2",
        b"/etc/sysctl.d/90-own.conf:net.ipv4.conf.all.rp_filter = 1",
    ]


def test_tables_that_a_tool_cannot_read_are_not_empty(tmp_path: Path) -> None:
    """iptables-nft-save says of tables that newer tools made that they are incompatible, and ends well."""
    for program in ("sh", "cat", "ls", "grep", "sed", "find", "stat", "readlink"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    stub = tmp_path / "iptables-nft-save"
    stub.write_text("#!/bin/sh\necho \"# Table \\`nat' is incompatible, use 'nft' tool.\"\n")
    stub.chmod(0o755)
    script = re.sub(r"^PATH=.*\n", "", SURVEY_SCRIPT.read_text(), flags=re.MULTILINE)
    script = script.replace("in_kernel nf_tables", "true")
    result = subprocess.run(
        ("sh", "-s", NONCE), input=script.encode(), capture_output=True, env={"PATH": str(tmp_path)}, check=True
    )
    survey = Survey(data=result.stdout, nonce=NONCE)
    assert isinstance(node_facts(survey, SourceKind.LOCAL, SourceIndex())[0].kind.kube_chains, Unknown)


@pytest.mark.parametrize("tool", ["bash", "python3", "nc", "openssl"])
def test_addresses_are_tried_by_whatever_there_is(tool: str, tmp_path: Path) -> None:
    need(tool, {"nc": "netcat-openbsd"}.get(tool, tool))
    for program in ("sh", "cat", "ls", "grep", "sed", "find", "stat", "readlink", "timeout", tool):
        # A Python of somebody's own may be a script that needs more than that.
        found = os.path.realpath(sys.executable) if program == "python3" else shutil.which(program)
        (tmp_path / program).symlink_to(str(found))
    # Without what the script finds beside its PATH.
    script = re.sub(r"^PATH=.*\n", "", SURVEY_SCRIPT.read_text(), flags=re.MULTILINE)
    with socket.create_server(("127.0.0.1", 0)) as other:
        shut = other.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as server:
        # It closes each connection, as openssl waits for the answer to its greeting.
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        ports = ("127.0.0.1", str(server.getsockname()[1]), "127.0.0.1", str(shut), "no-such-host.invalid", "6443")
        result = subprocess.run(
            ("sh", "-s", NONCE, "/", *ports), input=script.encode(), capture_output=True, env={"PATH": str(tmp_path)},
            timeout=60, check=True,
        )  # fmt: skip
    survey = Survey(data=result.stdout, nonce=NONCE)
    used = {line.split()[-1] for line in survey.data.decode(errors="replace").splitlines() if "begin endpoint-" in line}
    assert used == {tool}
    facts = node_facts(survey, SourceKind.LOCAL, SourceIndex())[0].kind.api_endpoints
    assert isinstance(facts, Known)
    assert [trial.outcome for trial in facts.value] == ["connected", "refused", "unresolved"]


def test_nothing_is_tried_that_was_not_asked_for() -> None:
    assert isinstance(look(LocalTransport(), SourceKind.LOCAL).api_endpoints, Absent)
