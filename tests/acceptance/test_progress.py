"""The line on a terminal that says how far it is."""

import io
import os
import pty
import subprocess
from pathlib import Path

import pytest

from ebpfcheck.progress import Progress
from tests.acceptance.command import PROGRAM
from tests.builders import FIXTURES
from tests.fakeapi import ALWAYS, FakeApi, Fault, Story, write_kubeconfig


def run(tmp_path: Path, faults: tuple[Fault, ...], *, on_terminal: bool) -> tuple[str, str]:
    """Return what is written to stdout and to stderr, of which only the latter may be a terminal."""
    story = Story.load(FIXTURES / "api" / "kubeadm-single").with_nodes(1600)
    with FakeApi(story, faults=faults) as api:
        command = (str(PROGRAM), "cluster", "--kubeconfig", str(write_kubeconfig(tmp_path / "config", api)), "-q")
        ours, theirs = pty.openpty() if on_terminal else os.pipe()
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, text=True
        ) as process:
            os.close(theirs)
            told = b""
            while chunk := _read(ours):
                told += chunk
            os.close(ours)
            assert process.stdout is not None
            return process.stdout.read(), told.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:
        # A terminal whose other side is closed says so by an error.
        return b""


SLOW = (Fault("/api/v1/nodes", "delay", delay=0.7, times=ALWAYS),)


def test_what_takes_longer_than_a_second_says_how_far_it_is(tmp_path: Path) -> None:
    out, told = run(tmp_path, SLOW, on_terminal=True)
    assert "1,000 of 1,600 nodes read" in told
    # It is wiped away in the end, and stdout holds the document alone.
    assert told.rstrip(" ").endswith("\r")
    assert "nodes read" not in out
    assert out.startswith("NOT READY")


def test_no_progress_but_on_a_terminal(tmp_path: Path) -> None:
    assert run(tmp_path, SLOW, on_terminal=False)[1] == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_quick_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("ebpfcheck.progress.time.monotonic", lambda: now)
    monkeypatch.setattr("sys.stderr", told := Terminal())
    with Progress() as progress:
        now = 100.9
        progress.show("500 of 900 nodes read")
        assert told.getvalue() == ""
        now = 101.2
        progress.show("900 of 900 nodes read")
        assert told.getvalue() == "\r900 of 900 nodes read"
        progress.note("a word")
        assert told.getvalue().endswith("\r                     \rebpfcheck: a word\n")
    progress.show("too late")
    assert "too late" not in told.getvalue()
