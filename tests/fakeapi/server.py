"""A Kubernetes API server over real TLS on 127.0.0.1 that serves a story, and misbehaves when told to."""

import re
import ssl
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import msgspec
import trustme

from tests.fakeapi import openapi
from tests.fakeapi.access import AUTHENTICATED, EVERYTHING, PUBLIC, Access, RequestInfo, Rule
from tests.fakeapi.answer import Answer, CutError, Reply, Stream, Upgrade
from tests.fakeapi.catalog import Body, Catalog, ListQuery, continue_token, start_of
from tests.fakeapi.controllers import Controllers
from tests.fakeapi.loopback import LoopbackServer
from tests.fakeapi.owned import owned
from tests.fakeapi.pods import Pods
from tests.fakeapi.protobuf import MAGIC, review_of
from tests.fakeapi.status import StatusError
from tests.fakeapi.story import Object, Story
from tests.fakeapi.watch import Watch, Watcher
from tests.fakeapi.workloads import Workloads
from tests.fakeapi.writes import Writes

TOKEN = "fake-token"
USER = "system:serviceaccount:default:ebpfcheck"
CERTIFICATE_USER = "kubernetes-admin"
SERVER_NAMES = ("127.0.0.1", "localhost", "kubernetes.default.svc")
# From here on the server compresses.
GZIP_THRESHOLD = 128 * 1024
RECORDED_HEADERS = ("accept", "accept-encoding", "authorization", "content-type", "host", "user-agent")
HTML = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"


class Request(NamedTuple):
    """A request that arrived; headers by lower-case name, only those worth a test."""

    verb: str
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Fault:
    """One misbehaviour, for the requests whose path with query matches, from the SKIP-th on, TIMES times.

    status: a Status of the code (or TEXT as plain text). cut, cut-chunked: half of the body, then the end of the
    connection. slow: STEP bytes each DELAY seconds. hang: nothing until the server closes. html, redirect (to
    LOCATION), garbage (broken JSON). delay: the true answer, late. DELAY comes before every answer but a slow one.
    """

    path: str
    what: Literal["status", "cut", "cut-chunked", "slow", "hang", "html", "redirect", "garbage", "delay"] = "status"
    _: KW_ONLY
    status: int | None = None
    times: int = 1
    skip: int = 0
    retry_after: int | None = None
    reason: str = ""
    message: str = ""
    text: str | None = None
    location: str = ""
    delay: float = 0
    step: int = 1024

    def take(self, path: str) -> bool:
        """Whether this fault strikes now; counts down."""
        if self.times <= 0 or not re.search(self.path, path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


def expire_continue_after(pages: int, path: str = "") -> Fault:
    """The fault by which the continue token that the PAGES-th page gave is too old, once."""
    return Fault(rf"{path}.*[?&]continue=[^&]", status=410, skip=pages - 1)


class FakeApi:
    """A Kubernetes API server for one story; serves inside `with`.

    `tokens`, `rules` (None: everything is allowed; else RBAC PolicyRules, on top of what every authenticated user may
    do), `forbid` and `faults` may be changed while it serves. `pods` has the scripts for Jobs and their pods, for
    commands and for watches; of the faults, those that come in the place of an answer strike streams, too. Nothing
    reacts to what is written before `controllers` are started. A client certificate of a foreign CA is refused in the
    handshake already (real servers answer 401).
    """

    def __init__(
        self,
        story: Story,
        *,
        rules: Sequence[Rule] | None = None,
        forbid: Iterable[tuple[str, str]] = (),
        faults: Iterable[Fault] = (),
        anonymous: bool = False,
        controllers: bool = False,
    ) -> None:
        self.story = story
        self.catalog = Catalog(story)
        self.rules = rules
        self.forbid = list(forbid)
        self.faults = list(faults)
        self.anonymous = anonymous
        self.tokens = {TOKEN}
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._client_ca = trustme.CA()
        authority = trustme.CA()
        self.ca_pem = authority.cert_pem.bytes()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*SERVER_NAMES).configure_cert(context)
        self._client_ca.configure_trust(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.num_tickets = 0
        self.pods = Pods(self.catalog)
        self._workloads = Workloads(self.pods, int(story.version.get("minor", "0").rstrip("+") or 0))
        self._writes = Writes(self.pods)
        self.controllers = Controllers(self.pods)
        self._controlled = controllers
        self._server = LoopbackServer(type("Handler", (_Handler,), {"api": self}), context)
        self.closing = self._server.closing
        self.url = f"https://127.0.0.1:{self._server.port}"

    def __enter__(self) -> Self:
        self._server.start()
        if self._controlled:
            self.controllers.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pods.close()
        self.controllers.close()
        self._server.close()

    def objects(self, kind: str, namespace: str = "") -> list[Object]:
        """The objects of a kind as they are now, of one namespace or of all."""
        return [
            item
            for resource in list(self.catalog.resources.values())
            if resource.kind == kind
            for item in self.catalog.all(resource)
            if namespace in ("", item["metadata"].get("namespace"))
        ]

    def owned(self) -> dict[str, Object]:
        """What users own of every object, by "KIND NAMESPACE/NAME", to be compared before and after."""
        return owned(self.catalog)

    def client_certificate(self, user: str = CERTIFICATE_USER) -> tuple[bytes, bytes]:
        """A certificate that this server takes for the user, and its key, as PEM."""
        issued = self._client_ca.issue_cert(common_name=user, organization_name="system:masters")
        return issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()

    def arrived(self, request: Request) -> Fault | None:
        """Record a request; the fault that strikes it, if any."""
        with self._lock:
            self.requests.append(request)
            return next((fault for fault in self.faults if fault.take(request.path)), None)

    def answer(self, info: RequestInfo, headers: Mapping[str, str], certificate: Any, body: bytes) -> Reply:
        """What a healthy server answers; headers by lower-case name."""
        try:
            user, known = self._user(headers.get("authorization", ""), certificate)
            access = self._access(known)
            if not access.permits(info):
                raise info.forbidden(user)
            return self._resource(info, access, headers, body) if info.resource else self._path(info)
        except StatusError as error:
            return Answer.failure(error)

    def _user(self, authorization: str, certificate: Any) -> tuple[str, bool]:
        scheme, _, token = authorization.partition(" ")
        if certificate:
            subject = dict(pair for part in certificate["subject"] for pair in part)
            return subject["commonName"], True
        if scheme.lower() == "bearer" and token.strip() in self.tokens:
            return USER, True
        if authorization or not self.anonymous:
            raise StatusError(401)
        return "system:anonymous", False

    def _access(self, authenticated: bool) -> Access:
        if self.rules is None:
            return Access(EVERYTHING, self.forbid)
        return Access((*self.rules, *(AUTHENTICATED if authenticated else PUBLIC)), self.forbid)

    def _path(self, info: RequestInfo) -> Answer:
        parts = info.path.strip("/").split("/")
        document: Object | None = None
        if info.verb == "get":
            match parts:
                case ["healthz" | "livez" | "readyz"]:
                    return Answer.text(200, "ok")
                case ["version"]:
                    document = self.story.version
                case ["api"]:
                    address = {"clientCIDR": "0.0.0.0/0", "serverAddress": self.url.removeprefix("https://")}
                    document = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address]}
                case ["apis"]:
                    document = self.catalog.groups()
                case ["apis", group]:
                    document = self.catalog.group(group)
                case ["api", version]:
                    document = self.catalog.resource_list(version)
                case ["apis", group, version]:
                    document = self.catalog.resource_list(f"{group}/{version}")
                case ["openapi", "v3"]:
                    document = openapi.index(self.catalog.resources.values())
                case ["openapi", "v3", "api" | "apis", *version]:
                    document = openapi.document(self.catalog.resources.values(), "/".join(version))
        return _not_registered() if document is None else Answer.json(document)

    def _resource(self, info: RequestInfo, access: Access, headers: Mapping[str, str], body: bytes) -> Reply:
        resource = self.catalog.resources.get((f"{info.group}/{info.version}".lstrip("/"), info.resource))
        if resource is None:
            return _not_registered()
        if info.subresource:
            may_create = access.permits(replace(info, verb="create"))
            reply = None
            if resource == self.pods.pods:
                reply = self._workloads.subresource(info, headers, may_create)
            return _not_registered() if reply is None else reply
        across = info.verb in ("list", "watch", "deletecollection")
        if resource.namespaced and not (info.namespace or across):
            return _not_registered()
        if info.namespace and not resource.namespaced and resource.name != "namespaces":
            return _not_registered()
        if info.verb == "list":
            return Answer(200, self.catalog.page(resource, info.namespace, ListQuery.parse(dict(info.query)))[0])
        if info.verb == "get":
            return Answer(200, self.catalog.object(resource, info.namespace, info.name))
        if info.verb == "create" and info.group == "authorization.k8s.io":
            return self._review(info.resource, access, body)
        if info.verb == "watch":
            watch = Watch.parse(resource, info.namespace, dict(info.query))
            return Stream(Watcher(self.catalog, watch, self.pods.watch_faults).lines())
        manager = headers.get("user-agent", "unknown").partition("/")[0]
        written = self._workloads.write(info, resource, body, manager)
        return self._writes.write(info, resource, headers, body) if written is None else written

    def _review(self, resource: str, access: Access, body: bytes) -> Answer:
        try:
            review = review_of(body) if body.startswith(MAGIC) else msgspec.json.decode(body, type=Object)
        except ValueError:
            raise StatusError(415, details={}) from None
        spec = review["spec"]
        if resource == "selfsubjectrulesreviews":
            status = access.rules_review(spec.get("namespace", ""), self.catalog.resources.values())
        elif resource == "selfsubjectaccessreviews":
            status = access.access_review(spec)
        else:
            raise StatusError(405, details={})
        head = {key: review[key] for key in ("kind", "apiVersion")}
        return Answer.json({**head, "metadata": {}, "spec": spec, "status": status}, 201)


def _not_registered() -> Answer:
    return Answer.text(404, "404 page not found\n")


def _faulty_answer(fault: Fault, info: RequestInfo, resource_version: int) -> Answer | None:
    if fault.what == "status":
        code = fault.status or 500
        token = dict(info.query).get("continue", "")
        if code == 410 and token:
            token = continue_token(resource_version, start_of(token).rstrip("\0"))
        error = StatusError(code, fault.message, reason=fault.reason or None, token=token if code == 410 else "")
        answer = Answer.failure(error) if fault.text is None else Answer.text(code, fault.text)
    elif fault.what == "html":
        code = fault.status or 200
        answer = Answer.text(code, HTML.format(fault.text or HTTPStatus(code).phrase), "text/html; charset=utf-8")
    elif fault.what == "redirect":
        answer = Answer.text(fault.status or 302, "")
        answer.headers["Location"] = fault.location
    elif fault.what == "garbage":
        answer = Answer(200, Body(b'{"kind":"List","items":[{"metadata":{"name":"a\x00'))
    else:
        return None
    if fault.retry_after is not None:
        answer.headers["Retry-After"] = str(fault.retry_after)
    return answer


class _Handler(BaseHTTPRequestHandler):
    api: FakeApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        info = RequestInfo.parse(self.command, self.path)
        headers = {name: self.headers[name] for name in RECORDED_HEADERS if name in self.headers}
        fault = self.api.arrived(Request(info.verb, self.command, self.path, headers))
        answer: Reply | None = None
        if fault is not None:
            if fault.what != "slow":
                self.api.closing.wait(fault.delay)
            if fault.what == "hang":
                self.api.closing.wait()
                self.close_connection = True
                return
            answer = _faulty_answer(fault, info, self.api.catalog.resource_version)
        if answer is None:
            assert isinstance(self.connection, ssl.SSLSocket)
            asked = {name.lower(): value for name, value in self.headers.items()}
            answer = self.api.answer(info, asked, self.connection.getpeercert(), body)
        match answer:
            case Answer():
                self._send(answer, fault)
            case Stream():
                self._stream(answer)
            case Upgrade():
                self.close_connection = True
                answer.serve(self)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request  # noqa: N815

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        what = fault.what if fault is not None else ""
        body = answer.body.plain
        headers = {**self._head(answer.content_type), **answer.headers}
        if len(body) > GZIP_THRESHOLD and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = answer.body.gzipped
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        headers |= {"Transfer-Encoding": "chunked"} if what == "cut-chunked" else {"Content-Length": str(len(body))}
        if answer.status == HTTPStatus.NO_CONTENT:
            headers = {}
        self._begin(answer.status, headers)
        if what == "cut-chunked":
            self.wfile.write(b"%x\r\n" % len(body))
        if what in ("cut", "cut-chunked"):
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif fault is not None and what == "slow":
            for start in range(0, len(body), fault.step):
                self.wfile.write(body[start : start + fault.step])
                self.close_connection = self.api.closing.wait(fault.delay)
                if self.close_connection:
                    break
        else:
            self.wfile.write(body)

    def _stream(self, stream: Stream) -> None:
        self._begin(200, self._head(stream.content_type) | {"Transfer-Encoding": "chunked"})
        try:
            for piece in stream.pieces:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        except CutError:
            self.close_connection = True

    def _head(self, content_type: str) -> dict[str, str]:
        return {
            "Audit-Id": str(uuid.uuid4()),
            "Cache-Control": "no-cache, private",
            "Content-Type": content_type,
            "Date": self.date_time_string(),
        }

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        lines = (f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{k}: {v}" for k, v in headers.items()))
        self.wfile.write("\r\n".join((*lines, "", "")).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass
