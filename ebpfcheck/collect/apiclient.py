"""Speaks to an API server: bodies undecoded, a page at a time, with retries, up to one deadline."""

import ipaddress
import queue
import random
import re
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import unquote, urlencode, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    HTTPError,
    InsecureRequestWarning,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from ebpfcheck import __version__
from ebpfcheck.collect.access import Access
from ebpfcheck.errors import CannotRunError, EbpfcheckError
from ebpfcheck.model.facts import Reason
from ebpfcheck.model.text import excerpt

T = TypeVar("T")
U = TypeVar("U")

PAGE = 500
"""How many objects a page of a list holds at most."""
# A page of 500 nodes takes about 10 MiB.
_BODY_LIMIT = 256 * 1024 * 1024
_CHUNK = 1024 * 1024
_CONNECT_TIMEOUT = 10.0
# How long an answer may pause, and a server may ask to wait, in seconds.
_READ_TIMEOUT = 300.0
_TRIES = 5
_RESTARTS = 3
_FIRST_DELAY, _LONGEST_DELAY = 0.25, 8.0


class ApiError(Exception):
    """A request that was not answered as asked; `status` is the HTTP status, None where there was no answer."""

    def __init__(self, words: str, reason: Reason, status: int | None = None) -> None:
        super().__init__(words)
        self.words = words
        self.reason = reason
        self.status = status


class _Status(msgspec.Struct):
    """The Status that an API server answers errors with."""

    kind: str = ""
    message: str = ""


class _Typed(msgspec.Struct):
    kind: str = ""


class _ListMetadata(msgspec.Struct):
    continue_: str | None = msgspec.field(default=None, name="continue")
    remaining: int | None = msgspec.field(default=None, name="remainingItemCount")


class Page(msgspec.Struct, Generic[T]):
    """One page of a list."""

    metadata: _ListMetadata = msgspec.field(default_factory=_ListMetadata)
    items: list[T] | msgspec.UnsetType | None = msgspec.UNSET


class _RetryableError(Exception):
    """An answer that may be another one the next time."""

    def __init__(self, error: ApiError, after: float | None = None) -> None:
        super().__init__()
        self.error = error
        self.after = after


class Answer(msgspec.Struct, frozen=True):
    """What was answered to a request that was granted."""

    body: bytes
    warnings: tuple[str, ...]


class _Road(msgspec.Struct, frozen=True):
    """An access, and what requests by it are made with."""

    access: Access
    pool: urllib3.PoolManager
    headers: dict[str, str]


class ApiClient:
    """One API server; may be used by several threads. `renew` loads the credentials anew once they have expired."""

    def __init__(
        self,
        access: Access,
        renew: Callable[[], Access],
        deadline: float,
        connections: int,
        read_timeout: float = _READ_TIMEOUT,
        tries: int = _TRIES,
    ) -> None:
        self._read_timeout = read_timeout
        self._tries = tries
        self._renew = renew
        self._deadline = deadline
        self._connections = connections
        self._renewing = threading.Lock()
        self._refusal: ApiError | None = None
        self._road = self._road_of(access)

    @property
    def access(self) -> Access:
        """The access that is in use."""
        return self._road.access

    def _road_of(self, access: Access) -> _Road:
        headers = {"Accept": "application/json", "User-Agent": f"ebpfcheck/{__version__}"}
        if not _is_loopback(access.server):
            headers["Accept-Encoding"] = "gzip"
        if access.authorization:
            headers["Authorization"] = access.authorization
        return _Road(access, _pool(access, self._connections), headers)

    def _renew_road(self, road: _Road, error: ApiError) -> None:
        """Load the credentials anew, once for all threads that were refused with them; ApiError if that is no use."""
        with self._renewing:
            if self._road is not road:
                return
            if self._refusal is None:
                try:
                    access = self._renew()
                    if access != road.access:
                        self._road = self._road_of(access)
                        return
                    self._refusal = error
                except EbpfcheckError as failure:
                    words = f"{error.words}, and to load them anew failed: {failure}"
                    self._refusal = ApiError(words, error.reason, error.status)
            raise self._refusal

    def get(self, path: str, query: Mapping[str, str] | None = None, *, patient: bool = True) -> bytes:
        """Return the body at a path; ApiError if it is not to be had. `patient`: try a dead address again."""
        return self._tried("GET", _target(path, query), None, patient=patient).body

    def start_of(self, path: str, query: Mapping[str, str], most: int) -> bytes:
        """Return the first so many bytes at a path, and leave the rest unread; errors as with `get`."""
        return self._tried("GET", _target(path, query), None, patient=True, most=most).body

    def post(self, path: str, body: bytes) -> bytes:
        """Return the answer to a review, which changes nothing; errors as with `get`."""
        return self._tried("POST", path, body, patient=True).body

    def create(self, path: str, body: bytes, query: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Create an object and return the server's warnings; errors as with `get`.

        One that was created although its answer got lost gives the status 409 when it is tried again.
        """
        return self._tried("POST", _target(path, query), body, patient=True).warnings

    def delete(self, path: str, query: Mapping[str, str]) -> None:
        """Delete what is at a path; that it is not there is no error, others as with `get`."""
        try:
            self._tried("DELETE", _target(path, query), None, patient=True)
        except ApiError as error:
            if error.status != 404:
                raise

    def renewed(self, used: Access, words: str) -> Access:
        """Return an access for one that was refused; ApiError with these words if there is no other."""
        if self._road.access is used:
            self._renew_road(self._road, ApiError(words, Reason.UNREACHABLE, 401))
        return self._road.access

    def _tried(self, method: str, target: str, body: bytes | None, *, patient: bool, most: int | None = None) -> Answer:
        renewed, attempt = False, 0
        while True:
            road = self._road
            try:
                return self._once(road, method, target, body, patient=patient, most=most)
            except _RetryableError as retry:
                delay = min(_FIRST_DELAY * 2**attempt, _LONGEST_DELAY) * random.uniform(0.5, 1.5)  # noqa: S311
                delay = max(delay, retry.after or 0.0)
                if attempt == self._tries - 1:
                    raise retry.error from None
                if delay >= min(self._left(), self._read_timeout):
                    asked = f"; it asked to wait {retry.after:g} s" if retry.after else ""
                    error = retry.error
                    raise ApiError(
                        error.words + asked, Reason.TIMEOUT if asked else error.reason, error.status
                    ) from None
                time.sleep(delay)
                attempt += 1
            except ApiError as error:
                if error.status != 401 or renewed:
                    raise
                renewed = True
                self._renew_road(road, error)

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _once(
        self, road: _Road, method: str, target: str, body: bytes | None, *, patient: bool, most: int | None
    ) -> Answer:
        left = min(self._left(), self._read_timeout)
        if left <= 0:
            raise ApiError("the time was up before it was asked for", Reason.TIMEOUT)
        headers = {**road.headers, "Content-Type": "application/json"} if body else road.headers
        try:
            response = road.pool.request(
                method,
                road.access.server + target,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=min(_CONNECT_TIMEOUT, left), read=left),
                preload_content=False,
                retries=False,
                redirect=False,
            )
            try:
                return Answer(self._body(response, most), _warnings(response))
            finally:
                response.release_conn()
        except HTTPError as error:
            words, reason, is_final = _network_error(error)
            failed = ApiError(words, reason)
            if is_final or (not patient and reason is Reason.UNREACHABLE):
                raise failed from error
            raise _RetryableError(failed) from error
        except ValueError:
            # The error's own words hold the token.
            words = "the request cannot be made: the credentials hold characters that no header may"
            raise ApiError(words, Reason.UNSUPPORTED) from None

    def _body(self, response: urllib3.BaseHTTPResponse, most: int | None) -> bytes:
        chunks: list[bytes] = []
        size = 0
        for chunk in response.stream(_CHUNK if most is None else min(most, _CHUNK)):
            chunks.append(chunk)
            size += len(chunk)
            if most is not None and size >= most:
                # What is left unread keeps the connection from being used again.
                response.close()
                break
            if self._left() <= 0:
                raise ApiError("the answer took longer than --timeout allows", Reason.TIMEOUT, response.status)
            if size > _BODY_LIMIT:
                raise ApiError(f"the answer is larger than {_BODY_LIMIT} bytes", Reason.TRUNCATED, response.status)
        data = b"".join(chunks)[:most]
        if response.status in (200, 201):
            return data
        raise _refused(response, data)


def _refused(response: urllib3.BaseHTTPResponse, data: bytes) -> ApiError | _RetryableError:
    status = response.status
    try:
        answer = _STATUS.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        answer = _Status()
    if answer.message:
        words = excerpt(answer.message, 300)
    else:
        shape = response.headers.get("Content-Type", "nothing").partition(";")[0]
        words = f"HTTP status {status} with {excerpt(shape, 40)}"
    if status == 429 or status >= 500:
        error = ApiError(words, Reason.UNREACHABLE, status)
        return _RetryableError(error, _retry_after(response.headers.get("Retry-After")))
    if status == 401:
        return ApiError("it does not accept the credentials", Reason.UNREACHABLE, status)
    if status == 404 and answer.kind != "Status" and not data.startswith(b"404 page not found"):
        # What says so is no API server, but something on the way to one.
        return ApiError(words, Reason.UNSUPPORTED)
    is_told = status == 403 and answer.kind == "Status"
    return ApiError(words, Reason.FORBIDDEN if is_told else Reason.UNSUPPORTED, status)


def _target(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


# Each is 299, who says it, and the text in quotes.
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')


def _warnings(response: urllib3.BaseHTTPResponse) -> tuple[str, ...]:
    return tuple(
        excerpt(match.replace('\\"', '"'), 400) for match in _WARNING.findall(response.headers.get("Warning", ""))
    )


def _retry_after(text: str | None) -> float | None:
    """Return the seconds that Retry-After names; a date there is left to the usual delays."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 8 else None


def _network_error(error: HTTPError) -> tuple[str, Reason, bool]:
    """Return what went wrong on the way, the reason for facts, and whether to try again is of no use."""
    cause = error.original_error if isinstance(error, ProxyError) else error
    by = "the proxy: " if isinstance(error, ProxyError) else ""
    if isinstance(cause, SSLError):
        return by + f"TLS: {_inner(cause)}", Reason.UNREACHABLE, True
    # To some releases of urllib3 these two are time-outs as well.
    if isinstance(cause, NameResolutionError):
        return by + f"the name does not resolve ({_inner(cause)})", Reason.UNREACHABLE, False
    if isinstance(cause, NewConnectionError):
        return by + f"no connection: {_inner(cause)}", Reason.UNREACHABLE, False
    if isinstance(cause, ConnectTimeoutError):
        return by + "no connection within the time", Reason.TIMEOUT, False
    if isinstance(cause, ReadTimeoutError):
        return by + "no answer within the time", Reason.TIMEOUT, False
    if not by and isinstance(cause, (ProtocolError, DecodeError)):
        return f"the connection was cut: {_inner(error)}", Reason.TRUNCATED, False
    return by + excerpt(str(cause), 200), Reason.UNREACHABLE, True


def _inner(error: Exception) -> str:
    """Return the words of the innermost error, which urllib3 wraps several times over."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return excerpt(getattr(error, "strerror", None) or getattr(error, "verify_message", None) or str(error), 200)


def _pool(access: Access, connections: int) -> urllib3.PoolManager:
    context = tls_context(access)
    if not access.verify:
        # It was asked for.
        urllib3.disable_warnings(InsecureRequestWarning)
    options: dict[str, Any] = {
        "num_pools": 2,
        # Each of those who read may have a page ahead under way.
        "maxsize": 2 * connections,
        "ssl_context": context,
        "server_hostname": access.tls_server_name,
        "assert_hostname": False if not access.verify else access.tls_server_name,
    }
    try:
        if access.proxy is None:
            return urllib3.PoolManager(**options)
        if access.proxy.startswith("socks"):
            from urllib3.contrib.socks import SOCKSProxyManager

            return SOCKSProxyManager(access.proxy, **options)
        user = urllib3.util.parse_url(access.proxy).auth
        headers = urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else None
        return urllib3.ProxyManager(access.proxy, proxy_headers=headers, **options)
    except (ImportError, HTTPError, LocationParseError, ValueError) as error:
        # Some of these errors name the URL, and with it a password.
        raise CannotRunError(f"the kubeconfig's proxy-url cannot be used ({type(error).__name__})") from None


def tls_context(access: Access) -> ssl.SSLContext:
    """Return what TLS to an API server is spoken with; CannotRunError if the certificates cannot be used."""
    try:
        context = ssl.create_default_context(cadata=access.ca)
        # What Go's TLS, and so kubectl, does not insist on either.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not access.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if access.client_certificate and access.client_key:
            # OpenSSL reads them from a file only; it has a name no longer than that takes.
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="ebpfcheck-") as file:
                file.write(f"{access.client_certificate}\n{access.client_key}\n")
                file.flush()
                context.load_cert_chain(file.name)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise CannotRunError(f"the kubeconfig's certificates cannot be used: {excerpt(str(error))}") from error
    return context


def _is_loopback(server: str) -> bool:
    try:
        host = urlsplit(server).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# msgspec crashes where several threads meet a type for the first time at once, so that decoders are made beforehand, in
# the one thread that also starts the others.
_STATUS = msgspec.json.Decoder(_Status)
_TYPED = msgspec.json.Decoder(_Typed)
_RAW_PAGE = msgspec.json.Decoder(Page[msgspec.Raw])


class ListDecoders(Generic[T]):
    """What decodes a page of a list, and its objects one by one."""

    def __init__(self, shape: type[T]) -> None:
        self.page: msgspec.json.Decoder[Page[T]] = msgspec.json.Decoder(Page[shape])  # type: ignore[valid-type]
        self.item = msgspec.json.Decoder(shape)


class Listing(Generic[U]):
    """A list while it is read: what was converted so far, whether that is all, and why not."""

    def __init__(self) -> None:
        self.items: list[U] = []
        self.odd: list[str] = []
        """Why objects could not be read, one entry each."""
        self.remaining: int | None = None
        self.error: ApiError | None = None
        self.is_complete = False

    def ended(self, error: ApiError) -> "Listing[U]":
        """Return a copy that an error has ended here."""
        copy: Listing[U] = Listing()
        copy.items, copy.odd, copy.remaining, copy.error = list(self.items), list(self.odd), self.remaining, error
        return copy

    @property
    def shortfall(self) -> str:
        """Say how much of the list is missing, as far as that is known."""
        more = f", {self.remaining} more to come" if self.remaining else ""
        return f"the list was read up to {len(self.items)}{more}"


class _Ahead:
    """A page that is asked for before it is needed."""

    def __init__(self, client: ApiClient, path: str, query: Mapping[str, str], token: str) -> None:
        self.token = token
        self._answer: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        threading.Thread(target=self._get, args=(client, path, query), daemon=True).start()

    def _get(self, client: ApiClient, path: str, query: Mapping[str, str]) -> None:
        try:
            self._answer.put(client.get(path, query))
        except Exception as error:
            self._answer.put(error)

    def body(self) -> bytes:
        """Return the body; errors as with `ApiClient.get`."""
        answer = self._answer.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


# As API servers write lists of their own types: what tells how to go on stands before the objects.
_HEAD = re.compile(rb'\{"kind":"\w+","apiVersion":"[\w./]+","metadata":\{[^{}]*"continue":"(?P<token>[\w=-]+)"[^{}]*\}')


def _following(data: bytes) -> str:
    """Return the token of the next page as far as it shows without decoding; "" where it does not."""
    match = _HEAD.match(data)
    return "" if match is None else match["token"].decode()


def read_list(
    client: ApiClient,
    path: str,
    query: Mapping[str, str],
    decoders: ListDecoders[T],
    convert: Callable[[T], U],
    listing: Listing[U],
    on_page: Callable[[int, int], None] | None = None,
) -> None:
    """Read a list page by page into `listing`; an expired token starts it anew, any other error ends it there."""

    def asked(token: str) -> dict[str, str]:
        return {**query, "limit": str(PAGE), **({"continue": token} if token else {})}

    restarts = 0
    token: str | None = ""
    ahead: _Ahead | None = None
    try:
        while token is not None:
            try:
                data = ahead.body() if ahead is not None and ahead.token == token else client.get(path, asked(token))
                # The next page is on its way while this one is decoded.
                following = _following(data)
                ahead = _Ahead(client, path, asked(following), following) if following else None
                page = _decoded(data, decoders, listing.odd)
            except ApiError as error:
                if error.status != 410 or restarts == _RESTARTS:
                    raise
                restarts += 1
                listing.items, listing.odd, token, ahead = [], [], "", None
                continue
            listing.items += [convert(item) for item in page.items or ()]
            listing.remaining = page.metadata.remaining
            token = page.metadata.continue_ or None
            if on_page is not None:
                on_page(len(listing.items), len(listing.items) + (listing.remaining or 0))
        listing.is_complete = True
    except ApiError as error:
        listing.error = error


def _decoded(data: bytes, decoders: ListDecoders[T], odd: list[str]) -> Page[T]:
    try:
        page = decoders.page.decode(data)
        if page.items is not msgspec.UNSET:
            return page
    except (msgspec.ValidationError, UnicodeDecodeError):
        pass
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(f"the answer is not JSON: {excerpt(str(error))}", Reason.UNPARSABLE, 200) from error
    # One object of an odd shape must not take its whole page along.
    try:
        raw = _RAW_PAGE.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiError(f"the answer is no list: {excerpt(str(error))}", Reason.UNPARSABLE, 200) from error
    if raw.items is msgspec.UNSET:
        raise ApiError("the answer is no list", Reason.UNPARSABLE, 200)
    return Page(metadata=raw.metadata, items=list(_readable(raw.items or [], decoders, odd)))


def _readable(items: list[msgspec.Raw], decoders: ListDecoders[T], odd: list[str]) -> Iterator[T]:
    for item in items:
        try:
            yield decoders.item.decode(item)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            odd.append(excerpt(str(error), 120))


def read_object(
    client: ApiClient,
    path: str,
    decoder: msgspec.json.Decoder[T],
    query: Mapping[str, str] | None,
    *,
    typed: bool = True,
    patient: bool = True,
) -> T:
    """Read one object; ApiError if it is not to be had, has another shape, or (`typed`) does not tell its kind."""
    data = client.get(path, query, patient=patient)
    try:
        if typed and _TYPED.decode(data).kind in ("", "Status"):
            raise ApiError("the answer is no such object", Reason.UNPARSABLE, 200)
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(f"the answer cannot be read: {excerpt(str(error))}", Reason.UNPARSABLE, 200) from error
