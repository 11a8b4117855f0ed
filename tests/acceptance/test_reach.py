"""What the pods of enable.sh run, against servers of several kinds on loopback."""

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from ebpfcheck.model.plan import Reached
from ebpfcheck.plan.reach import reach_manifest

Serve = Callable[[socket.socket], None]
AUTHORITY = trustme.CA()


def command(host: str, port: int) -> list[str]:
    """Return what the container runs."""
    condition = Reached(
        host=host, port=port, image="calico/node", namespace="calico-system", service_account=None, minutes=1
    )
    (container,) = reach_manifest(condition)["spec"]["template"]["spec"]["containers"]
    found: list[str] = container["command"]
    return found


@contextlib.contextmanager
def serving(serve: Serve, address: str = "127.0.0.1") -> Iterator[int]:
    """Take connections, each answered by a function, and give the port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:

        def loop() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        serve(connection)

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


class Tls:
    """A TLS server that keeps the names it was asked for."""

    def __init__(self, lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> None:
        self.names: list[str | None] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = lowest
        AUTHORITY.issue_cert("localhost").configure_cert(self._context)
        self._context.sni_callback = lambda _, name, __: self.names.append(name)

    def __call__(self, connection: socket.socket) -> None:
        self._context.wrap_socket(connection, server_side=True).close()


def is_answered(host: str, port: int) -> bool:
    # The first words are bash, -c and the loop around the try.
    words = ("bash", "-c", *command(host, port)[3:])
    return subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(("host", "names"), [("localhost", ["localhost"]), ("127.0.0.1", [None]), ("::1", [None])])
def test_a_server_that_speaks_tls(host: str, names: list[str | None]) -> None:
    server = Tls()
    with serving(server, "::1" if ":" in host else "127.0.0.1") as port:
        assert is_answered(host, port)
    assert server.names == names


def test_a_server_that_wants_a_newer_tls() -> None:
    with serving(Tls(ssl.TLSVersion.TLSv1_3)) as port:
        assert is_answered("127.0.0.1", port)


def ends(connection: socket.socket) -> None:
    connection.recv(1)


def web(connection: socket.socket) -> None:
    connection.recv(1024)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def ssh(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    connection.recv(1024)


@pytest.mark.parametrize("serve", [ends, web, ssh])
def test_a_port_that_is_open_is_not_enough(serve: Serve) -> None:
    with serving(serve) as port:
        assert not is_answered("127.0.0.1", port)


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not is_answered("127.0.0.1", port)


def test_it_tries_until_it_is_answered(tmp_path: Path) -> None:
    answers = iter((ends, ends))
    server, reached = Tls(), tmp_path / "reached"
    with serving(lambda connection: next(answers, server)(connection)) as port:
        words = [word.replace("/tmp/reached", str(reached)) for word in command("localhost", port)]
        with subprocess.Popen(words) as process:
            while not reached.exists():
                assert process.poll() is None
                threading.Event().wait(0.1)
            process.kill()
    assert server.names == ["localhost"]
