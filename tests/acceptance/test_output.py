"""What users see, kept as golden files, at 80 and 120 columns."""

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from tests.acceptance.command import PROGRAM, run
from tests.builders import FIXTURES


class TextFiles(SingleFileSnapshotExtension):
    """Golden texts as files of their own, to be read as they would be on a terminal."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"


@pytest.fixture
def golden(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(TextFiles)


def story(name: str) -> str:
    return str(FIXTURES / "snapshots" / name / "snapshot.json")


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("debian-12", ()),
        ("debian-12", ("-v",)),
        ("rhel-8.2-three-nodes", ("--calico-version", "v3.32.1")),
        ("rhel-8.2-three-nodes", ("-q",)),
        ("talos", ("--calico-version", "v3.28.5", "--install", "operator")),
        ("ubuntu-20.04", ("--calico-version", "v3.16")),
        ("ubuntu-24.04", ("--calico-version", "v3.28.5", "--install", "operator")),
        ("k3s-debian-12", ("--calico-version", "v3.32.1")),
        ("kubeadm-ipvs", ("--calico-version", "v3.32.1", "--install", "operator")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_tables(golden: SnapshotAssertion, name: str, arguments: tuple[str, ...], columns: int) -> None:
    result = run("evaluate", story(name), *arguments, columns=columns)
    assert result.stdout.isascii()
    for line in result.stdout.splitlines():
        assert len(line) <= columns or line.lstrip().startswith("$ "), line
    assert not result.stderr
    assert result.stdout == golden


@pytest.mark.parametrize("columns", [80, 120])
def test_kernel_table(golden: SnapshotAssertion, columns: int) -> None:
    releases = ("6.1.0-29-amd64", "5.4.0-42-generic", "4.14.355-275.amzn2.x86_64", "4.19.0-21-amd64", "5.10", "what")
    result = run("kernel", *releases, columns=columns)
    assert result.returncode == 1
    assert result.stdout == golden


def test_list_of_checks(golden: SnapshotAssertion) -> None:
    assert run("checks", "--calico-version", "v3.32.1").stdout == golden


def test_help_says_what_each_argument_is() -> None:
    for command, words in (
        ("node", "Hosts to look at over SSH"),
        ("kernel", "Kernel releases as"),
        ("evaluate", "A file that --save wrote"),
        ("checks", "The check to explain"),
        ("schema", "report, snapshot, kernel, plan, diff or matrix"),
        ("rollback", "The plan.json of"),
    ):
        assert words in run(command, "--help").stdout


def test_help(golden: SnapshotAssertion) -> None:
    assert run("--help").stdout == golden


def test_colours_are_for_terminals_and_for_those_who_ask() -> None:
    plain = run("evaluate", story("talos")).stdout
    assert "\x1b" not in plain
    coloured = run("evaluate", story("talos"), "--color", "always").stdout
    assert "\x1b[" in coloured
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in bare.splitlines()] == plain.splitlines()
    assert run("evaluate", story("talos"), "--color", "never", FORCE_COLOR="1").stdout == plain


def on_terminal(*arguments: str, **environment: str) -> str:
    """What the program prints when stdout is a terminal."""
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", **environment}
    with os.fdopen(slave, "wb") as stdout:
        subprocess.run((str(PROGRAM), *arguments), stdout=stdout, stdin=subprocess.DEVNULL, env=env, check=False)
    out = bytearray()
    with os.fdopen(master, "rb", buffering=0) as reader:
        try:
            while chunk := reader.read(65536):
                out += chunk
        except OSError:
            # Linux says EIO when the other end of a terminal is closed.
            pass
    return out.decode()


def test_a_terminal_gets_colours_unless_it_is_asked_not_to() -> None:
    assert "\x1b[" in on_terminal("evaluate", story("debian-12"))
    assert "\x1b[" in on_terminal("evaluate", story("debian-12"), NO_COLOR="")
    assert "\x1b" not in on_terminal("evaluate", story("debian-12"), NO_COLOR="1")
    assert "\x1b" not in on_terminal("evaluate", story("debian-12"), TERM="dumb")
    assert "\x1b" not in on_terminal("evaluate", story("debian-12"), "--color", "never")


def test_a_file_gets_no_colours_from_a_terminal(tmp_path: Path) -> None:
    file = tmp_path / "table"
    on_terminal("evaluate", story("debian-12"), "-f", f"table={file}")
    assert "\x1b" not in file.read_text()


def test_the_verdict_is_the_first_thing_one_reads() -> None:
    for name, words in (("debian-12", "READY"), ("talos", "INCONCLUSIVE"), ("rhel-8.2-three-nodes", "NOT READY")):
        assert run("evaluate", story(name)).stdout.startswith(words + ":")


def test_a_narrow_terminal_loses_nothing() -> None:
    result = run("evaluate", story("rhel-8.2-three-nodes"), columns=20)
    assert "no services" in re.sub(r"\s+", " ", result.stdout)
    assert result.returncode == 1
