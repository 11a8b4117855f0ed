"""The survey script by itself: what it says of files that are hidden, unreadable, or not where one looks first."""

import os
import subprocess
from pathlib import Path

import pytest

from ebpfcheck.collect.framing import State, read_document
from ebpfcheck.collect.transport import SURVEY_SCRIPT
from tests.live.tools import need

pytestmark = pytest.mark.live

FUNCTIONS = SURVEY_SCRIPT.read_text().partition("# Where and as whom this runs.")[0]
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def state_of(call: str, *, as_nobody: bool = False, shell: str = "sh") -> tuple[State, bytes]:
    """Run one of the script's functions and return what it says of section x."""
    command = (*(NOBODY if as_nobody else ()), shell, "-s", "n")
    out = subprocess.run(command, input=f"{FUNCTIONS}\n{call}\n".encode(), capture_output=True, check=True).stdout
    section = read_document(out, "n").sections["x"]
    return section.state, section.data


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")


def open_to_all(folder: Path) -> None:
    """Let everybody get to a folder of pytest's."""
    for place in (folder, *folder.parents):
        if place.name.startswith("pytest-of-"):
            place.chmod(0o755)
            return
        place.chmod(0o755)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory that nobody but root may search, in one that all may."""
    open_to_all(tmp_path)
    inner = tmp_path / "closed"
    (inner / "deep").mkdir(parents=True)
    (inner / "file").write_text("content")
    (inner / "a.wants").mkdir()
    (inner / "a.wants" / "sys-fs-bpf.mount").write_text("")
    inner.chmod(0o700)
    return inner


@needs_root
@pytest.mark.parametrize("function", ["file x", "lines x", "kind x"])
@pytest.mark.parametrize("name", ["file", "missing", "deep/missing", "no/such/directory"])
def test_what_a_directory_hides_is_forbidden_not_absent(closed: Path, function: str, name: str) -> None:
    need("setpriv", "util-linux")
    pattern = " 1p" if function.startswith("lines") else ""
    assert state_of(f"{function} {closed}/{name}{pattern}", as_nobody=True)[0] is State.FORBIDDEN


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("function", ["file x", "lines x", "kind x"])
def test_what_is_not_there_is_absent(tmp_path: Path, function: str, shell: str) -> None:
    need(shell, shell)
    pattern = " 1p" if function.startswith("lines") else ""
    for name in ("missing", "no/such/directory"):
        assert state_of(f"{function} {tmp_path}/{name}{pattern}", shell=shell)[0] is State.ABSENT


@needs_root
@pytest.mark.parametrize("function", ["file x", "lines x"])
def test_what_may_not_be_read_is_forbidden(tmp_path: Path, function: str) -> None:
    need("setpriv", "util-linux")
    open_to_all(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("content")
    secret.chmod(0o600)
    pattern = " 1p" if function.startswith("lines") else ""
    assert state_of(f"{function} {secret}{pattern}", as_nobody=True)[0] is State.FORBIDDEN
    assert state_of(f"{function} {secret}{pattern}") == (State.OK, b"content")


def test_a_directory_in_place_of_a_file_is_a_failure(tmp_path: Path) -> None:
    assert state_of(f"file x {tmp_path}")[0] is State.FAILED


def test_a_dangling_link_is_absent(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert state_of(f"file x {tmp_path}/link")[0] is State.ABSENT
    assert state_of(f"link x {tmp_path}/link") == (State.OK, b"nowhere\n")
    assert state_of(f"link x {tmp_path}/missing")[0] is State.ABSENT


@needs_root
def test_a_unit_in_a_hidden_directory_is_forbidden_not_absent(closed: Path) -> None:
    need("setpriv", "util-linux")
    places = "/etc/systemd/system /run/systemd/system /usr/lib/systemd/system /lib/systemd/system"
    moved = FUNCTIONS.replace(places, str(closed))
    assert moved != FUNCTIONS
    for as_nobody, expected in ((False, State.OK), (True, State.FORBIDDEN)):
        command = (*(NOBODY if as_nobody else ()), "sh", "-s", "n")
        text = f"{moved}\nwanted_units x sys-fs-bpf.mount\n"
        out = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
        section = read_document(out, "n").sections["x"]
        assert section.state is expected
        assert (b"sys-fs-bpf.mount" in section.data) is (expected is State.OK)


@pytest.mark.parametrize(
    "place",
    ["boot/config-{r}", "lib/modules/{r}/config", "usr/lib/ostree-boot/config-{r}", "lib/modules/{r}/build/.config"],
)
def test_every_place_of_a_kernel_configuration_is_looked_at(tmp_path: Path, place: str) -> None:
    release = Path("/proc/sys/kernel/osrelease").read_text().strip()
    file = tmp_path / place.format(r=release)
    file.parent.mkdir(parents=True)
    file.write_text("CONFIG_BPF=y\nCONFIG_FRAME_WARN=2048\nCONFIG_OTHER=y\n")
    (file.parent / "config-1.2.3").write_text("CONFIG_BPF=n\n")
    script = SURVEY_SCRIPT.read_text().replace("/proc/config.gz", f"{tmp_path}/none")
    for root in ("/boot/", "/lib/modules/", "/usr/lib/modules/", "/usr/lib/ostree-boot/"):
        script = script.replace(f'"{root}', f'"{tmp_path}{root}')
    out = subprocess.run(("sh", "-s", "n"), input=script.encode(), capture_output=True, check=True).stdout
    section = read_document(out, "n").sections["config"]
    assert section.locator == str(file)
    assert section.data == b"CONFIG_BPF=y\nCONFIG_FRAME_WARN=2048\n"


@needs_root
def test_a_configuration_that_may_not_be_read_is_forbidden(tmp_path: Path) -> None:
    need("setpriv", "util-linux")
    open_to_all(tmp_path)
    release = Path("/proc/sys/kernel/osrelease").read_text().strip()
    file = tmp_path / f"config-{release}"
    file.write_text("CONFIG_BPF=y\n")
    file.chmod(0o600)
    script = SURVEY_SCRIPT.read_text().replace("/proc/config.gz", "/none").replace('"/boot/', f'"{tmp_path}/')
    out = subprocess.run((*NOBODY, "sh", "-s", "n"), input=script.encode(), capture_output=True, check=True).stdout
    assert read_document(out, "n").sections["config"].state is State.FORBIDDEN


def test_its_own_mounts_are_told_only_where_those_of_process_1_are_not_to_be_had() -> None:
    script = SURVEY_SCRIPT.read_text()
    out = subprocess.run(("sh", "-s", "n"), input=script.encode(), capture_output=True, check=True).stdout
    assert "own-mountinfo" not in read_document(out, "n").sections
    hidden = script.replace("/proc/1/mountinfo", "/proc/1/none")
    out = subprocess.run(("sh", "-s", "n"), input=hidden.encode(), capture_output=True, check=True).stdout
    assert b" / " in read_document(out, "n").sections["own-mountinfo"].data


def test_it_says_nothing_on_stderr_and_reads_nothing_from_stdin() -> None:
    text = SURVEY_SCRIPT.read_bytes()
    result = subprocess.run(("sh", str(SURVEY_SCRIPT), "n"), input=b"x" * 100, capture_output=True, check=True)
    assert result.stderr == b""
    again = subprocess.run(("sh", "-s", "n"), input=text, capture_output=True, check=True)
    assert again.stderr == b""
    assert read_document(result.stdout, "n").sections.keys() == read_document(again.stdout, "n").sections.keys()


def test_the_offloads_in_question_are_kept_of_what_ethtool_prints(tmp_path: Path) -> None:
    (tmp_path / "net" / "eth7" / "device").mkdir(parents=True)
    (tmp_path / "net" / "cali0123" / "device").mkdir(parents=True)
    tool = tmp_path / "ethtool"
    tool.write_text(
        '#!/bin/sh\necho "Features for $2:"\nprintf \'rx-checksumming: on\\n\\ttx-checksum-ip-generic: on\\n'
        "rx-vlan-offload: on\\ntx-udp_tnl-segmentation: on\\ntx-udp_tnl-csum-segmentation: off [fixed]\\n'\n"
    )
    tool.chmod(0o755)
    script = SURVEY_SCRIPT.read_text().replace("/sys/class/net/*/device;", f"{tmp_path}/net/*/device;")
    path = f"{tmp_path}:{os.environ['PATH']}"
    out = subprocess.run(
        ("sh", "-s", "n"), input=script.encode(), capture_output=True, check=True, env={**os.environ, "PATH": path}
    ).stdout
    assert read_document(out, "n").sections["offloads"].data.decode().split("\n") == [
        "Features for eth7:",
        "\ttx-checksum-ip-generic: on",
        "rx-vlan-offload: on",
        "tx-udp_tnl-segmentation: on",
        "tx-udp_tnl-csum-segmentation: off [fixed]",
        "",
    ]
