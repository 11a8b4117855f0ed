"""What the server sends back: a whole answer, a stream of pieces, or a connection that is no longer HTTP."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import msgspec

from tests.fakeapi.catalog import Body
from tests.fakeapi.status import StatusError
from tests.fakeapi.story import Object

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    body: Body
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def text(cls, status: int, text: str, content_type: str = TEXT) -> "Answer":
        return cls(status, Body(text.encode()), content_type)

    @classmethod
    def json(cls, document: Object, status: int = 200, headers: Mapping[str, str] | None = None) -> "Answer":
        return cls(status, Body(msgspec.json.encode(document) + b"\n"), headers=dict(headers or {}))

    @classmethod
    def failure(cls, error: StatusError) -> "Answer":
        return cls(error.code, Body(error.body()), headers=dict(error.headers))


class CutError(Exception):
    """Raised by a stream to end the connection without the end of the body."""


@dataclass
class Stream:
    """An answer whose pieces are sent as they come, in chunks."""

    pieces: Iterator[bytes]
    content_type: str = JSON


@dataclass
class Upgrade:
    """An answer that takes the connection over; whoever sends it closes the connection afterwards."""

    serve: Callable[[BaseHTTPRequestHandler], None]


Reply = Answer | Stream | Upgrade
