"""What API servers say when they do not answer: Status bodies, in their own words."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

# The reason and the message of a real server, by HTTP status code.
WORDS = {
    400: ("BadRequest", "the server rejected our request for an unknown reason"),
    401: ("Unauthorized", "Unauthorized"),
    403: ("Forbidden", "forbidden"),
    404: ("NotFound", "the server could not find the requested resource"),
    405: ("MethodNotAllowed", "the server does not allow this method on the requested resource"),
    410: (
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    ),
    409: ("Conflict", "the server reported a conflict"),
    415: ("UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: "),
    422: ("Invalid", "the server rejected our request due to an error in our request"),
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
    500: ("InternalError", "Internal error occurred: etcdserver: request timed out"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "Timeout: request did not complete within requested timeout - context deadline exceeded"),
}


class StatusError(Exception):
    """A request that is answered with a Status."""

    def __init__(
        self,
        code: int,
        message: str = "",
        *,
        reason: str | None = None,
        details: dict[str, Any] | None = None,
        token: str = "",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """A reason of None is the code's own; "" is none at all, as on errors that did not begin as a Status."""
        usual_reason, usual_message = WORDS.get(code, ("", "unknown"))
        super().__init__(message or usual_message)
        self.code = code
        self.reason = usual_reason if reason is None else reason
        self.details = details
        self.token = token
        self.headers = headers

    @classmethod
    def invalid(cls, kind: str, group: str, name: str, causes: list[tuple[str, str, str]]) -> "StatusError":
        """A 422 for an object of which (field, reason, message) of each cause is not valid."""
        told = ", ".join(f"{field}: {message}" for field, _, message in causes)
        message = f'{f"{kind}.{group}".rstrip(".")} "{name}" is invalid: {told if len(causes) == 1 else f"[{told}]"}'
        listed = [{"reason": reason, "message": message, "field": field} for field, reason, message in causes]
        details = {"name": name, "group": group, "kind": kind, "causes": listed}
        return cls(422, message, details={key: value for key, value in details.items() if value})

    def document(self) -> dict[str, Any]:
        """The Status."""
        document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.token} if self.token else {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }
        return {key: value for key, value in document.items() if value not in (None, "")}

    def body(self) -> bytes:
        """The Status as JSON."""
        return msgspec.json.encode(self.document()) + b"\n"
