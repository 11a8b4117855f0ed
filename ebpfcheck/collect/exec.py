"""The road to a node by exec into a container that runs there already: calico-node's."""

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlencode, urlsplit

import msgspec
import websocket

from ebpfcheck import __version__
from ebpfcheck.collect import wire
from ebpfcheck.collect.access import Access
from ebpfcheck.collect.apiclient import ApiClient, ApiError, ListDecoders, Listing, read_list, tls_context
from ebpfcheck.collect.framing import SURVEY_LIMIT
from ebpfcheck.collect.transport import SURVEY_SCRIPT, NotReachedError, Survey, cut_words, survey_arguments
from ebpfcheck.model.facts import Endpoint, Reason, SourceKind
from ebpfcheck.model.text import excerpt

CONTAINER = "calico-node"
_SELECTOR = "k8s-app=calico-node"
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255
# The newer one can say that stdin has ended; with the older one the script's last line ends it.
_V5, _V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_CONNECT_TIMEOUT = 10.0
_WORDS_KEPT = 4096
_CHUNK = 16 * 1024


class RunningPod(msgspec.Struct, frozen=True, kw_only=True):
    """A pod of calico-node's on a node."""

    namespace: str
    name: str
    is_running: bool
    declared: tuple[str, ...] = ()
    """The paths of the node that its container shows at the same path."""


class _Status(msgspec.Struct):
    """The last word about a command."""

    status: str = ""
    message: str = ""


_STATUS_DECODER = msgspec.json.Decoder(_Status)


def calico_pods(client: ApiClient, namespace: str) -> dict[str, RunningPod]:
    """Return the pods of calico-node by the names of their nodes; ApiError where they cannot be listed whole."""
    listing: Listing[tuple[str, RunningPod]] = Listing()
    path = f"/api/v1/namespaces/{namespace}/pods"
    read_list(client, path, {"labelSelector": _SELECTOR}, ListDecoders(wire.ProbedPod), _running_pod, listing)
    if listing.error is not None:
        raise listing.error
    # Where a pod is being replaced, the one that runs counts.
    return dict(sorted(listing.items, key=lambda item: item[1].is_running))


def _running_pod(pod: wire.ProbedPod) -> tuple[str, RunningPod]:
    states = {one.name: one.state for one in (pod.status.container_statuses or () if pod.status else ())}
    state = states.get(CONTAINER)
    container = next((one for one in pod.spec.containers if one.name == CONTAINER), None)
    paths = {volume.name: volume.host_path.path for volume in pod.spec.volumes or () if volume.host_path is not None}
    mounts = (container.volume_mounts or ()) if container else ()
    return pod.spec.node_name, RunningPod(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        is_running=state is not None and state.running is not None,
        declared=tuple(
            mount.mount_path.rstrip("/")
            for mount in mounts
            if paths.get(mount.name, "").rstrip("/") == mount.mount_path.rstrip("/")
        ),
    )


class ExecTransport:
    """The road into the container of calico-node on one node."""

    kind = SourceKind.EXEC

    def __init__(self, client: ApiClient, pod: RunningPod, endpoints: Sequence[Endpoint] = ()) -> None:
        self._client = client
        self._pod = pod
        self._endpoints = endpoints

    def start(self, timeout: float) -> "ExecSurvey":
        """Run survey.sh in the container, for `timeout` seconds at most; NotReachedError in the server's words."""
        deadline = time.monotonic() + timeout
        if not self._pod.is_running:
            words = f"the container {CONTAINER} of pod {self._pod.name} does not run"
            raise NotReachedError(Reason.UNREACHABLE, words)
        nonce = os.urandom(16).hex()
        command = ("sh", "-s", *survey_arguments(nonce, self._endpoints))
        path = f"/api/v1/namespaces/{self._pod.namespace}/pods/{self._pod.name}/exec"
        query = urlencode(
            [("container", CONTAINER), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
            + [("command", word) for word in command]
        )
        return ExecSurvey(self._connected(f"{path}?{query}", deadline), nonce, timeout, deadline, self._pod.declared)

    def _connected(self, target: str, deadline: float) -> websocket.WebSocket:
        access = self._client.access
        for is_last in (False, True):
            try:
                return _connect(access, target, deadline)
            except websocket.WebSocketBadStatusException as error:
                words = _words(error)
                if error.status_code != 401 or is_last:
                    reason = Reason.FORBIDDEN if error.status_code == 403 else Reason.UNREACHABLE
                    if error.status_code == 403:
                        words += " (`ebpfcheck rbac --probe exec` prints the rights)"
                    raise NotReachedError(reason, f"exec into {self._pod.name}: {words}") from error
                try:
                    access = self._client.renewed(access, words)
                except ApiError as refused:
                    raise NotReachedError(refused.reason, f"exec into {self._pod.name}: {refused.words}") from refused
            except (websocket.WebSocketException, OSError) as error:
                is_late = isinstance(error, (websocket.WebSocketTimeoutException, TimeoutError))
                reason = Reason.TIMEOUT if is_late else Reason.UNREACHABLE
                words = "no answer from the API server, or from its kubelet" if is_late else excerpt(str(error))
                raise NotReachedError(reason, f"exec into {self._pod.name}: {words}") from error
        raise AssertionError("the second try returns or raises")


def _connect(access: Access, target: str, deadline: float) -> websocket.WebSocket:
    server = access.server.replace("http", "ws", 1)
    header = [f"User-Agent: ebpfcheck/{__version__}"]
    if access.authorization:
        header.append(f"Authorization: {access.authorization}")
    sslopt: dict[str, Any] = {"context": tls_context(access), "check_hostname": access.verify}
    if access.tls_server_name:
        sslopt["server_hostname"] = access.tls_server_name
    return websocket.create_connection(
        server + target,
        timeout=max(min(_CONNECT_TIMEOUT, deadline - time.monotonic()), 0.1),
        header=header,
        subprotocols=[_V5, _V4],
        sslopt=sslopt,
        enable_multithread=True,
        suppress_origin=True,
        redirect_limit=0,
        **_proxy(access.proxy),
    )


def _proxy(url: str | None) -> Mapping[str, Any]:
    if url is None:
        # The kubeconfig has been asked for proxies, and the environment with it.
        return {"http_no_proxy": ["*"]}
    parts = urlsplit(url)
    if parts.scheme == "https":
        words = "exec does not go through a proxy that is itself spoken to over TLS; --probe pod does"
        raise NotReachedError(Reason.UNSUPPORTED, words)
    return {
        "http_proxy_host": parts.hostname,
        "http_proxy_port": parts.port or (443 if parts.scheme == "https" else 80),
        "proxy_type": parts.scheme if parts.scheme.startswith("socks") else "http",
        "http_proxy_auth": (unquote(parts.username), unquote(parts.password or "")) if parts.username else None,
        # The kubeconfig decides; with an empty list the environment would.
        "http_no_proxy": ["none.invalid"],
    }


def _words(error: websocket.WebSocketBadStatusException) -> str:
    data = bytes(error.resp_body or b"")
    try:
        message = _STATUS_DECODER.decode(data).message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        message = data[:_WORDS_KEPT].decode("utf-8", "backslashreplace").strip()
    return excerpt(message, 300) if message else f"HTTP status {error.status_code}"


class ExecSurvey:
    """The survey running in a container."""

    def __init__(
        self, connection: websocket.WebSocket, nonce: str, timeout: float, deadline: float, declared: tuple[str, ...]
    ) -> None:
        self._connection = connection
        self._nonce = nonce
        self._done = f"\nebpfcheck-{nonce} done\n".encode()
        self._timeout = timeout
        self._deadline = deadline
        self._declared = declared
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.shutdown()  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """End it now, from any thread."""
        self._ending.set()
        connected = self._connection.sock
        if connected is not None:
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                # It has ended by itself.
                return

    def finish(self) -> Survey:
        """Return what the container printed until its end or the deadline; NotReachedError with words if nothing."""
        out, words, cut = bytearray(), bytearray(), None
        try:
            self._send_script()
            cut = self._receive(out, words)
        except websocket.WebSocketTimeoutException:
            cut = Reason.TIMEOUT
        except (websocket.WebSocketException, OSError) as error:
            words += b"; " + str(error).encode()
        mark = f"ebpfcheck-{self._nonce}".encode()
        told = excerpt(" ".join(words.decode("utf-8", "backslashreplace").split()).strip("; "), 400)
        if mark + b" begin" not in out:
            detail = cut_words(cut, self._timeout) or "the container printed no survey"
            raise NotReachedError(cut or Reason.UNSUPPORTED, detail + (f": {told}" if told else ""))
        data = bytes(out)
        if mark + b" done" in out:
            return Survey(data=data, nonce=self._nonce, declared=self._declared)
        detail = cut_words(cut, self._timeout) or "the connection ended before the survey" + (
            f": {told}" if told else ""
        )
        return Survey(data=data, nonce=self._nonce, cut=cut or Reason.TRUNCATED, detail=detail, declared=self._declared)

    def _send_script(self) -> None:
        script = SURVEY_SCRIPT.read_bytes()
        for start in range(0, len(script), _CHUNK):
            self._connection.send_binary(bytes([_STDIN]) + script[start : start + _CHUNK])
        if self._connection.getsubprotocol() == _V5:
            self._connection.send_binary(bytes([_CLOSE, _STDIN]))

    def _receive(self, out: bytearray, words: bytearray) -> Reason | None:
        """Take what comes until the command has ended, which None says, or what ends it early."""
        while not self._ending.is_set():
            left = self._deadline - time.monotonic()
            if left <= 0:
                return Reason.TIMEOUT
            self._connection.settimeout(left)
            # Pings come back here as well, so that a server which sends nothing else does not outlast the deadline.
            opcode, data = self._connection.recv_data(control_frame=True)
            if opcode in (websocket.ABNF.OPCODE_PING, websocket.ABNF.OPCODE_PONG):
                continue
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return None
            channel, content = (data[0], data[1:]) if data else (_STDERR, b"")
            if channel == _STDOUT:
                out += content
                if self._done in out[-_CHUNK:]:
                    # What else the container does before it ends is not waited for.
                    return None
                if len(out) > SURVEY_LIMIT:
                    return Reason.TRUNCATED
            elif channel == _STDERR and len(words) < _WORDS_KEPT:
                words += content
            elif channel == _STATUS:
                words += _failure(content)
                return None
        return None


def _failure(content: bytes) -> bytes:
    """Return what the last word about a command says if it failed."""
    try:
        status = _STATUS_DECODER.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return b""
    return b"" if status.status == "Success" else b"; " + status.message.encode()
