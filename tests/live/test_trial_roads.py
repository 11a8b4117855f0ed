"""The road of a trial: through real shells, on this machine and over a real sshd."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ebpfcheck.collect.framing import State, read_document
from ebpfcheck.collect.transport import survey_text
from tests.acceptance.command import PROGRAM
from tests.live.sshd import Sshd, sshd
from tests.live.tools import need

pytestmark = pytest.mark.live

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is let ask the kernel")
HAS = 'has() { command -v "$1" >/dev/null 2>&1; }'


def sections(text: str, *shell: str, cwd: Path | None = None, **environment: str) -> Any:
    result = subprocess.run(
        (*shell, "-s", "n"),
        input=text.encode(), cwd=cwd, env={**os.environ, **environment}, capture_output=True, timeout=100, check=True,
    )  # fmt: skip
    document = read_document(result.stdout, "n")
    assert document.complete
    return document.sections


def without(*tools: str) -> str:
    """The survey's script on a node that lacks these tools; of the rest only what the trial takes."""
    text = survey_text("kernel", 120.0)
    before, _, rest = text.partition("# Where and as whom this runs.")
    assert HAS in before
    denied = "|".join((*tools, "nothing"))
    lacking = f'has() {{ case $1 in {denied}) return 1 ;; esac; command -v "$1" >/dev/null 2>&1; }}'
    return before.replace(HAS, lacking) + rest[rest.index("limit=60") :]


@pytest.mark.parametrize("shell", [("dash",), ("bash",), ("busybox", "sh")], ids=" ".join)
def test_every_shell_hands_the_program_on_as_it_is(shell: tuple[str, ...]) -> None:
    need(shell[0], shell[0])
    section = sections(without(), *shell)["trial"]
    assert section.state is State.OK
    told = json.loads(section.data)
    assert told["trial"] == "ebpfcheck.trial.kernel/1"
    assert told["answers"]


def test_without_timeout_it_is_tried_all_the_same() -> None:
    assert sections(without("timeout"), "sh")["trial"].state is State.OK


def test_no_modules_of_somebody_else_are_taken(tmp_path: Path) -> None:
    for module in ("json", "ctypes", "sitecustomize"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit(3)\n")
    section = sections(without(), "sh", cwd=tmp_path, PYTHONPATH=str(tmp_path))["trial"]
    assert section.state is State.OK
    assert json.loads(section.data)["answers"]
    assert not list(tmp_path.glob("__pycache__"))


def test_a_trial_that_hangs_is_ended_and_the_survey_goes_on(tmp_path: Path) -> None:
    need("timeout", "coreutils")
    (tmp_path / "python3").write_text("#!/bin/sh\nexec sleep 90\n")
    (tmp_path / "python3").chmod(0o755)
    text = without().replace("limit=60\n", "limit=1\n")
    section = sections(text, "sh", PATH=f"{tmp_path}:{os.environ['PATH']}")["trial"]
    assert (section.state, section.words) == (State.FAILED, "timeout")


@needs_root
def test_without_python_bpftool_is_asked() -> None:
    need("bpftool", "bpftool")
    found = sections(without("python3"), "sh")
    assert (found["trial"].state, found["trial"].words) == (State.NO_TOOL, "python3")
    assert json.loads(found["trial-bpftool"].data)["map_types"]["have_hash_map_type"] is True


def test_without_either_both_are_named() -> None:
    found = sections(without("python3", "bpftool"), "sh")
    assert (found["trial"].state, found["trial-bpftool"].state) == (State.NO_TOOL, State.NO_TOOL)


# From the command line.

TRIAL = ("trial_maps", "trial_programs", "trial_helpers", "trial_features", "trial_devices")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    need("ssh", "openssh-client")
    if shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip("sshd is not installed (Debian package openssh-server)")
    with sshd(tmp_path_factory.mktemp("sshd"), {"plain": ""}) as running:
        yield running


def tried(saved: Path, *arguments: str) -> Any:
    """What a trial told of the one node, by the snapshot, and the report."""
    command = (str(PROGRAM), "node", "--trial", "kernel", "--timeout", "90", "-f", "json", "--save", str(saved))
    result = subprocess.run((*command, *arguments), capture_output=True, text=True, timeout=110, check=False)
    assert result.returncode in (0, 1, 3), result.stderr
    (kind,) = json.loads(saved.read_text())["kinds"]
    statuses = {one["id"]: one["status"] for one in json.loads(result.stdout)["findings"]}
    return {name: kind[name].get("value") for name in TRIAL}, statuses


@needs_root
def test_this_machine_answers_the_same_locally_and_over_ssh(server: Sshd, tmp_path: Path) -> None:
    here, statuses = tried(tmp_path / "here.json", "--calico-version", "v3.29")
    # Real kernels that tests run on have what that release cannot do without.
    for name in ("node.bpf.maps", "node.bpf.programs", "node.bpf.helpers"):
        assert statuses[name] == "pass"
    assert "hash/no_prealloc" in here["trial_maps"]["yes"]
    there, _ = tried(tmp_path / "there.json", "--ssh-config", str(server.config), "plain")
    assert there == here


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_nobody_is_told_nothing_and_nothing_fails_for_that() -> None:
    need("setpriv", "util-linux")
    command = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh")
    told = json.loads(sections(without(), *command)["trial"].data)
    assert {one["answer"] for one in told["answers"]} == {"untold"}
