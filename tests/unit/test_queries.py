"""Requests side by side: what comes too late changes nothing, and what nobody foresaw never looks like an answer."""

import threading
import time
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest

from ebpfcheck.collect import wire
from ebpfcheck.collect.apiclient import ApiClient
from ebpfcheck.collect.queries import ListQuery, ObjectQuery, Place, Queries
from ebpfcheck.model.facts import Known, Reason, Unknown
from ebpfcheck.model.snapshot import SourceIndex

PODS = Place(resource="pods")
ONE = Place(resource="services", namespace="default", name="kubernetes")


class Slow:
    """Answers a page, or an object, and the next page only when it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.asked = 0

    def get(self, _: str, query: Mapping[str, str] | None = None, **__: Any) -> bytes:
        self.asked += 1
        if query is None or "continue" in query:
            assert self.may.wait(10)
        if query is None:
            return b'{"kind": "Service", "spec": {}}'
        token = {} if "continue" in query else {"continue": "x"}
        return msgspec.json.encode({"metadata": token, "items": [{"metadata": {"name": f"pod-{self.asked}"}}]})


def name(pod: wire.Pod) -> str:
    return pod.metadata.name


def running(client: Slow, seconds: float) -> Queries:
    return Queries(cast(ApiClient, client), time.monotonic() + seconds, SourceIndex())


def test_what_comes_too_late_changes_nothing() -> None:
    client = Slow()
    queries = running(client, 0.2)
    pods: ListQuery[Any, str] = ListQuery((PODS,), wire.Pod, name)
    service = ObjectQuery(ONE, wire.Service)
    for query in (pods, service):
        queries.start(query)
    queries.finish(pods, service)
    before = pods.listing
    client.may.set()
    assert pods.done.wait(10)
    assert service.done.wait(10)
    assert pods.listing is before
    assert before.items == ["pod-1"] or before.items == ["pod-2"]
    for query in (pods, service):
        failure = queries.failure(query)
        assert isinstance(failure, Unknown)
        assert failure.reason is Reason.TIMEOUT
    assert isinstance(queries.list_fact(pods, len), Unknown)
    assert isinstance(queries.object_fact(service, lambda found: found), Unknown)


def test_what_comes_in_time_is_known() -> None:
    client = Slow()
    client.may.set()
    queries = running(client, 10)
    pods: ListQuery[Any, str] = ListQuery((PODS,), wire.Pod, name)
    queries.start(pods)
    queries.finish(pods)
    fact = queries.list_fact(pods, tuple)
    assert isinstance(fact, Known)
    assert len(fact.value) == 2


@pytest.mark.parametrize("query", [
    ListQuery((PODS,), wire.Pod, lambda pod: cast(Any, pod).no_such_field),
    ListQuery((PODS,), wire.Pod, name, on_page=lambda *_: cast(Any, 1 // 0)),
    ObjectQuery(cast(Any, object()), wire.Pod),
], ids=["convert", "on_page", "place"])  # fmt: skip
def test_what_nobody_foresaw_is_no_answer(query: Any) -> None:
    client = Slow()
    client.may.set()
    queries = running(client, 10)
    queries.start(query)
    queries.finish(query)
    assert query.error is not None
    assert "ebpfcheck failed on it" in query.error.words
    assert query.error.reason is Reason.UNSUPPORTED
    # The thread lives on.
    for _ in range(12):
        again: ListQuery[Any, str] = ListQuery((PODS,), wire.Pod, name)
        queries.start(again)
        queries.finish(again)
        assert queries.failure(again) is None


def test_no_thread_meets_a_type_for_the_first_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # msgspec crashes the process where several do so at once: each decoder is made when the query is.
    class Answering:
        def get(self, *_: object, **__: object) -> bytes:
            return b'{"kind":"Pod","metadata":{},"items":[{"metadata":{"name":"x"}}]}'

    asked: list[Any] = [ListQuery((PODS,), wire.Pod, name), ObjectQuery(ONE, wire.Pod)]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a type would be made here")

    monkeypatch.setattr(msgspec.json, "Decoder", refuse)
    monkeypatch.setattr(msgspec.json, "decode", refuse)
    for query in asked:
        query.run(cast(Any, Answering()))
        assert query.error is None, query.error
