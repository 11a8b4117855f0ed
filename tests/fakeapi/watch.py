"""Watches: the changes of a resource from a version on, a line of JSON each."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Literal

import msgspec

from tests.fakeapi.answer import CutError
from tests.fakeapi.catalog import Catalog, Change, Predicate, Resource, field_predicate, label_predicate, typed
from tests.fakeapi.status import StatusError
from tests.fakeapi.story import Object

EMPTY: Mapping[str, Object] = {
    "Pod": {"spec": {"containers": None}, "status": {}},
    "Job": {"spec": {"template": {"metadata": {}, "spec": {"containers": None}}}, "status": {}},
}


@dataclass
class WatchFault:
    """One misbehaviour of watches of a resource, after AFTER events, TIMES times.

    cut: the connection ends. ends: so does the answer, in good order. expired: an ERROR event with a Status of 410.
    """

    resource: str
    what: Literal["cut", "ends", "expired"] = "cut"
    _: KW_ONLY
    after: int = 0
    times: int = 1


@dataclass(frozen=True)
class Watch:
    """What a watch asks for; VERSION None or 0 begins with what there is."""

    resource: Resource
    namespace: str
    matches: Predicate
    version: int | None
    seconds: float | None
    bookmarks: bool
    initial_events: bool

    @classmethod
    def parse(cls, resource: Resource, namespace: str, query: Mapping[str, str]) -> "Watch":
        text = query.get("resourceVersion") or ""
        if text and not text.isdecimal():
            message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
            raise StatusError(500, message, reason="")
        by_label = label_predicate(query.get("labelSelector", ""))
        by_field = field_predicate(resource, query.get("fieldSelector", ""))
        seconds = query.get("timeoutSeconds")
        initial = _true(query.get("sendInitialEvents"))
        return cls(
            resource,
            namespace,
            lambda item: namespace in ("", item["metadata"].get("namespace")) and by_label(item) and by_field(item),
            int(text) if text.strip("0") and not initial else None,
            float(seconds) if seconds else None,
            _true(query.get("allowWatchBookmarks")),
            initial,
        )


def _true(text: str | None) -> bool:
    return text in ("1", "true", "True")


class Watcher:
    """Sends the events of one watch until its time is over, a fault strikes or the server closes."""

    def __init__(self, catalog: Catalog, watch: Watch, faults: list[WatchFault]) -> None:
        self._catalog, self._watch, self._faults = catalog, watch, faults

    def lines(self) -> Iterator[bytes]:
        """The lines of the answer."""
        sent = 0
        events = self._events()
        while (fault := self._fault(sent)) is None:
            line = next(events, None)
            if line is None:
                return
            yield line
            sent += 1
        yield from self._struck(fault)

    def _fault(self, sent: int) -> WatchFault | None:
        with self._catalog.changed:
            for fault in self._faults:
                if fault.resource == self._watch.resource.name and fault.after == sent and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def _struck(self, fault: WatchFault) -> Iterator[bytes]:
        if fault.what == "cut":
            raise CutError
        if fault.what == "expired":
            yield _expired(self._catalog.oldest_version, self._catalog.resource_version)

    def _events(self) -> Iterator[bytes]:
        watch, catalog = self._watch, self._catalog
        ends = None if watch.seconds is None else time.monotonic() + watch.seconds
        with catalog.changed:
            position, version = len(catalog.changes), catalog.resource_version
            begun = [] if watch.version is not None else list(filter(watch.matches, catalog.all(watch.resource)))
            if watch.version is not None:
                if watch.version < catalog.oldest_version:
                    begun, position = [], -1
                else:
                    position = sum(change.version <= watch.version for change in catalog.changes)
        if position < 0:
            yield _expired(watch.version or 0, catalog.oldest_version)
            return
        for item in begun:
            yield self._line("ADDED", item)
        if watch.initial_events and watch.bookmarks:
            yield self._bookmark(version, {"k8s.io/initial-events-end": "true"})
        while True:
            with catalog.changed:
                left = None if ends is None else max(0.0, ends - time.monotonic())
                catalog.wait_for_change(position, left)
                fresh, closed = catalog.changes[position:], catalog.closed
                version = catalog.resource_version
            position += len(fresh)
            yield from filter(None, map(self._event, fresh))
            if closed:
                return
            if ends is not None and time.monotonic() >= ends:
                break
        if watch.bookmarks:
            yield self._bookmark(version, {})

    def _event(self, change: Change) -> bytes | None:
        if change.resource != self._watch.resource:
            return None
        was = change.before is not None and self._watch.matches(change.before)
        matches = not change.gone and self._watch.matches(change.after)
        if matches:
            return self._line("MODIFIED" if was else "ADDED", change.after)
        return self._line("DELETED", change.after) if was else None

    def _line(self, kind: str, item: Object) -> bytes:
        return _line(kind, typed(self._watch.resource, item))

    def _bookmark(self, version: int, annotations: Mapping[str, str]) -> bytes:
        resource = self._watch.resource
        metadata: Object = {"resourceVersion": str(version)}
        if annotations:
            metadata["annotations"] = annotations
        head = {"kind": resource.kind, "apiVersion": resource.group_version, "metadata": metadata}
        return _line("BOOKMARK", head | EMPTY.get(resource.kind, {}))


def _line(kind: str, document: Object) -> bytes:
    return msgspec.json.encode({"type": kind, "object": document}) + b"\n"


def _expired(asked: int, oldest: int) -> bytes:
    error = StatusError(410, f"too old resource version: {asked} ({oldest})")
    return _line("ERROR", error.document())
