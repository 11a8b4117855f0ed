"""Requests to an API server that run side by side, and what their answers are as facts."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from ebpfcheck.collect.apiclient import ApiClient, ApiError, ListDecoders, Listing, read_list, read_object
from ebpfcheck.model.facts import Absent, Fact, Known, Reason, Source, SourceKind, Unknown
from ebpfcheck.model.snapshot import SourceIndex
from ebpfcheck.model.text import excerpt

T = TypeVar("T")
U = TypeVar("U")

_SLICE = 0.2
WORKERS = 6
"""How many requests are under way at once."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A resource of an API server: one object where `name` is given, else a list, narrowed by a label selector.

    Without a version it is a path that is no resource, such as /apis. `limit` cuts a list that is only counted.
    """

    resource: str
    group: str = ""
    version: str = "v1"
    namespace: str = ""
    name: str = ""
    selector: str = ""
    limit: int | None = None

    @property
    def path(self) -> str:
        """The path of the URL."""
        if not self.version:
            return f"/{self.resource}"
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{base}{scope}/{self.resource}" + (f"/{self.name}" if self.name else "")

    @property
    def right(self) -> str:
        """The verb and the resource, as a permission is named."""
        if not self.version:
            return f"get {self.path}"
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        where = f" in {self.namespace}" if self.namespace else ""
        return f"get {resource}/{self.name}{where}" if self.name else f"list {resource}{where}"


class Query(Protocol):
    """A request, or several that belong together."""

    done: threading.Event

    def run(self, client: ApiClient) -> None:
        """Ask, keep what comes, and set `done`."""


class ListQuery(Generic[T, U]):
    """A list, taken from the first of several places that has it and may be read."""

    def __init__(
        self,
        places: tuple[Place, ...],
        shape: type[T],
        convert: Callable[[T], U],
        on_page: Callable[[int, int], None] | None = None,
    ) -> None:
        self.done = threading.Event()
        self._found: tuple[Place, Listing[U]] = (places[0], Listing())
        self._sealed: tuple[Place, Listing[U]] | None = None
        self._places = places
        self._decoders = ListDecoders(shape)
        self._convert = convert
        self._on_page = on_page

    def run(self, client: ApiClient) -> None:
        """Ask one place after the other until one has something."""
        try:
            self._run(client)
        except Exception as error:
            place, listing = self._found
            self._found = (place, listing.ended(_defect(error)))
        self.done.set()

    def _run(self, client: ApiClient) -> None:
        refused: tuple[Place, Listing[U]] | None = None
        empty: tuple[Place, Listing[U]] | None = None
        for place in self._places:
            listing: Listing[U] = Listing()
            self._found = (place, listing)
            selector = {"labelSelector": place.selector} if place.selector else {}
            read_list(client, place.path, selector, self._decoders, self._convert, listing, self._on_page)
            status = listing.error.status if listing.error else None
            if status == 403:
                refused = refused or self._found
            elif status != 404 and (listing.error is not None or listing.items or listing.odd):
                return
            elif status is None:
                # CRDs that nobody uses any more stay empty beside those that took their place.
                empty = empty or self._found
        # Where one place refuses, that another is empty does not tell that there is nothing.
        self._found = refused or empty or self._found

    def narrow(self, served: frozenset[str]) -> None:
        """Leave out the places whose API groups are not served: who may do little is refused there, not told of it."""
        self._places = tuple(place for place in self._places if not place.group or place.group in served)
        if not self._places:
            place, listing = self._found
            self._found = (place, listing.ended(_not_served(place)))
            self.done.set()

    def seal(self) -> None:
        """Keep what there is now: what still comes changes nothing any more."""
        if self._sealed is None:
            is_late = not self.done.is_set()
            place, listing = self._found
            self._sealed = (place, listing.ended(_late()) if is_late else listing)

    @property
    def place(self) -> Place:
        """The place that was asked last, or that refused."""
        return (self._sealed or self._found)[0]

    @property
    def listing(self) -> Listing[U]:
        """What was read of the list."""
        return (self._sealed or self._found)[1]

    @property
    def error(self) -> ApiError | None:
        """Why the list is not whole, None where it is."""
        if self._sealed is None and not self.done.is_set():
            return _late()
        listing = self.listing
        if listing.error is None and listing.odd:
            return ApiError(f"{len(listing.odd)} could not be read: {listing.odd[0]}", Reason.UNPARSABLE)
        return listing.error


class ObjectQuery(Generic[T]):
    """One object; `typed` if it tells its kind, `patient` if a dead address is to be tried again."""

    def __init__(self, place: Place, shape: type[T], *, typed: bool = True, patient: bool = True) -> None:
        self.done = threading.Event()
        self.place = place
        self._decoder = msgspec.json.Decoder(shape)
        self._typed, self._patient = typed, patient
        self._found: T | ApiError = _late()
        self._sealed: T | ApiError | None = None

    def run(self, client: ApiClient) -> None:
        """Ask for the object."""
        try:
            query = None if self.place.limit is None else {"limit": str(self.place.limit)}
            self._found = read_object(
                client, self.place.path, self._decoder, query, typed=self._typed, patient=self._patient
            )
        except ApiError as error:
            self._found = error
        except Exception as error:
            self._found = _defect(error)
        self.done.set()

    def narrow(self, served: frozenset[str]) -> None:
        """Do not ask where the API group is not served: who may do little is refused there, not told of it."""
        if self.place.group and self.place.group not in served:
            self._found = _not_served(self.place)
            self.done.set()

    def skip(self, words: str) -> None:
        """Say why it is not asked for at all."""
        self._found = ApiError(words, Reason.UNSUPPORTED)
        self.done.set()

    def seal(self) -> None:
        """Keep what there is now: what still comes changes nothing any more."""
        if self._sealed is None:
            self._sealed = self._found

    @property
    def value(self) -> T | None:
        """The object, None where it is not to be had."""
        found = self._found if self._sealed is None else self._sealed
        return None if isinstance(found, ApiError) else found

    @property
    def error(self) -> ApiError | None:
        """Why the object is not to be had, None where it is."""
        found = self._found if self._sealed is None else self._sealed
        return found if isinstance(found, ApiError) else None


def _not_served(place: Place) -> ApiError:
    return ApiError(f"{place.group} is not served", Reason.UNSUPPORTED, 404)


def _late() -> ApiError:
    return ApiError("it was not answered in time", Reason.TIMEOUT)


def _defect(error: Exception) -> ApiError:
    """What nobody foresaw costs one query, not the process, and never looks like an answer."""
    return ApiError(f"ebpfcheck failed on it: {type(error).__name__}: {excerpt(str(error))}", Reason.UNSUPPORTED)


class Queries:
    """Runs queries on a few threads; those that do not end in time are left behind and do not keep the process."""

    def __init__(self, client: ApiClient, deadline: float, sources: SourceIndex, workers: int = WORKERS) -> None:
        self._client = client
        self._deadline = deadline
        self._sources = sources
        self._workers = workers
        self._waiting: queue.SimpleQueue[Query | None] = queue.SimpleQueue()
        for _ in range(workers):
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while (query := self._waiting.get()) is not None:
            query.run(self._client)

    def close(self) -> None:
        """Let each thread end once it is done with what it was asked."""
        for _ in range(self._workers):
            self._waiting.put(None)

    def start(self, query: Query) -> None:
        """Have a query asked as soon as a thread is free."""
        self._waiting.put(query)

    def wait(self, *queries: Query, at_most: float = float("inf")) -> None:
        """Return when these are done, the time is up, or it took `at_most` seconds."""
        end = min(self._deadline, time.monotonic() + at_most)
        for query in queries:
            # In slices, since a signal that comes just before a wait is heeded only after it.
            while not query.done.is_set() and (left := end - time.monotonic()) > 0:
                query.done.wait(min(left, _SLICE))

    def finish(self, *queries: ListQuery[Any, Any] | ObjectQuery[Any]) -> None:
        """Wait for these, and keep what has come by then."""
        self.wait(*queries)
        for query in queries:
            query.seal()

    def source(self, place: Place) -> int:
        """Return the index of the source that a place is."""
        return self._sources.add(Source(kind=SourceKind.API, locator=place.path))

    def failure(self, query: "ListQuery[Any, Any] | ObjectQuery[Any]") -> Absent | Unknown | None:
        """Return what is to be said of a query that was not answered whole; None where it was."""
        error = query.error
        if error is None:
            return None
        source = self.source(query.place)
        if error.status == 404:
            return Absent(source=source)
        if error.reason is Reason.FORBIDDEN:
            return Unknown(reason=Reason.FORBIDDEN, detail=f"not allowed to {query.place.right}", source=source)
        return Unknown(reason=error.reason, detail=f"{query.place.right}: {error.words}", source=source)

    def list_fact(self, query: ListQuery[Any, U], convert: Callable[[list[U]], T]) -> Fact[T]:
        """Return a fact of a list; Absent where there is no such resource, ValueError of `convert` is unparsable."""
        return self.failure(query) or self._known(query.place, lambda: convert(query.listing.items))

    def object_fact(self, query: ObjectQuery[T], convert: Callable[[T], U]) -> Fact[U]:
        """Return a fact of an object; Absent where it is not there, ValueError of `convert` is unparsable."""
        value = query.value
        if value is None:
            return self.failure(query) or Absent(source=self.source(query.place))
        return self._known(query.place, lambda: convert(value))

    def _known(self, place: Place, value: Callable[[], T]) -> Fact[T]:
        source = self.source(place)
        try:
            return Known(value=value(), source=source)
        except ValueError as error:
            return Unknown(reason=Reason.UNPARSABLE, detail=f"{place.path}: {error}", source=source)
