"""A forward proxy on 127.0.0.1 that tunnels, or refuses, what a client wants to CONNECT to."""

import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.fakeapi.loopback import LoopbackServer


@dataclass
class ForwardProxy:
    """A running proxy: its URL, and host:port and Proxy-Authorization of each CONNECT in order."""

    refuse: int | None
    to: str | None
    url: str = ""
    connects: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)


@contextmanager
def forward_proxy(*, refuse: int | None = None, to: str | None = None) -> Iterator[ForwardProxy]:
    """Run a proxy: REFUSE answers each CONNECT with that status and HTML, TO (host:port) is where all tunnels end."""
    proxy = ForwardProxy(refuse, to)
    server = LoopbackServer(type("Handler", (_Handler,), {"proxy": proxy}))
    proxy.url = f"http://127.0.0.1:{server.port}"
    server.start()
    try:
        yield proxy
    finally:
        server.close()


class _Handler(BaseHTTPRequestHandler):
    proxy: ForwardProxy
    disable_nagle_algorithm = True

    def do_CONNECT(self) -> None:
        self.proxy.connects.append(self.path)
        self.proxy.authorizations.append(self.headers.get("Proxy-Authorization"))
        self.close_connection = True
        if self.proxy.refuse is not None:
            self._refuse(self.proxy.refuse)
            return
        host, _, port = (self.proxy.to or self.path).rpartition(":")
        try:
            upstream = socket.create_connection((host, int(port)), 5)
        except OSError:
            self._refuse(502)
            return
        with upstream:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _tunnel(self.connection, upstream)

    def _refuse(self, status: int) -> None:
        phrase = HTTPStatus(status).phrase
        body = f"<html><head><title>{status} {phrase}</title></head><body>Sign in to the proxy.</body></html>".encode()
        self.send_response(status)
        if status == 407:
            self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _tunnel(client: socket.socket, upstream: socket.socket) -> None:
    upstream.settimeout(None)
    upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ, upstream)
        selector.register(upstream, selectors.EVENT_READ, client)
        while True:
            for key, _ in selector.select():
                source: Any = key.fileobj
                data = source.recv(65536)
                if not data:
                    return
                key.data.sendall(data)
