"""What API servers say when they do not answer: Status bodies, in their own words."""

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
    415: ("UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: "),
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
    500: ("InternalError", "Internal error occurred: etcdserver: request timed out"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "Timeout: request did not complete within requested timeout - context deadline exceeded"),
}


class StatusError(Exception):
    """A request that is answered with a Status."""

    def __init__(
        self, code: int, message: str = "", *, reason: str = "", details: dict[str, Any] | None = None, token: str = ""
    ) -> None:
        usual_reason, usual_message = WORDS.get(code, ("", "unknown"))
        super().__init__(message or usual_message)
        self.code = code
        self.reason = reason or usual_reason
        self.details = details
        self.token = token

    def body(self) -> bytes:
        """The Status as JSON."""
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
        return msgspec.json.encode({key: value for key, value in document.items() if value not in (None, "")}) + b"\n"
