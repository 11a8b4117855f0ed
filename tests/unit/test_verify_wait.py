"""What `verify --wait` returns where its last look at everything does not come about."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from ebpfcheck import verify
from ebpfcheck.collect.agents import Told
from ebpfcheck.collect.requests import Listener
from ebpfcheck.errors import CannotRunError
from ebpfcheck.interruption import Interruption
from ebpfcheck.model.facts import FelixLog, Known, Reason, Unknown
from ebpfcheck.model.report import Status, Verdict
from ebpfcheck.model.snapshot import Snapshot
from tests.builders import finding

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def snapshot(name: str) -> Snapshot:
    return Snapshot(tool_version=name, taken_at=NOW, sources=())


def watched(monkeypatch: pytest.MonkeyPatch, looks: list[Callable[[], Snapshot]], wait: float = 0.3) -> Snapshot:
    """What is returned where looks go so, and all but the first one hold."""
    monkeypatch.setattr(verify, "_FIRST_PAUSE", 0.01)
    told = Told(
        uid="1", restarts=0, log=Known(value=FelixLog(start="seen", mode="bpf"), source=0),
        metrics=Unknown(reason=Reason.NOT_COLLECTED, detail=""),
    )  # fmt: skip
    found: Any = {"first": Verdict.NOT_READY}

    def report(seen: Snapshot) -> Any:
        coverage = SimpleNamespace(nodes_total=1)
        verdict = found.get(seen.tool_version, Verdict.READY)
        return SimpleNamespace(verdict=verdict, baseline=None, findings=(), coverage=coverage)

    request = verify.VerifyRequest(timeout=1, wait=wait, concurrency=1)
    listener = Listener(progress=lambda _: None, notice=lambda _: None)
    login: Any = None
    with Interruption() as interruption:
        watcher = verify._Watcher(login, request, listener, lambda _: None, interruption, report)
        left = iter(looks)

        def look(_: dict[str, Told]) -> Snapshot:
            watcher._told = {"node": told}
            return next(left)()

        monkeypatch.setattr(watcher, "_look", look)
        return watcher.watch()


def away() -> Snapshot:
    raise CannotRunError("the API server is away")


def test_what_is_remembered_is_not_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [lambda: snapshot("first"), lambda: snapshot("remembered"), *[away] * 100]
    (problem,) = watched(monkeypatch, looks).problems
    assert problem.source == "--wait"


def test_what_was_looked_at_once_more_is(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [lambda: snapshot("first"), lambda: snapshot("remembered"), lambda: snapshot("fresh")]
    found = watched(monkeypatch, looks)
    assert found.tool_version == "fresh"
    assert found.problems == ()


def test_what_is_waived_or_known_is_not_waited_for() -> None:
    one = finding(Status.FAIL, "node-1", id="verify.node.pod")
    assert verify._counts(one)
    assert not verify._counts(msgspec.structs.replace(one, waived_by="somebody"))
    assert not verify._counts(msgspec.structs.replace(one, in_baseline=True))
