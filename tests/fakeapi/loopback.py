"""A small threaded TCP server on 127.0.0.1 that closes at once, whatever its handlers wait for."""

import socket
import socketserver
import ssl
import threading
from contextlib import suppress
from typing import Any


class LoopbackServer(socketserver.TCPServer):
    """Serves on a free port from start() to close(), a thread for each connection."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, handler: type[socketserver.BaseRequestHandler], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.closing = threading.Event()
        self._tls = tls
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._acceptor = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def start(self) -> None:
        self._acceptor.start()

    def close(self) -> None:
        """Release waiting handlers, cut every connection and wait for the threads."""
        self.closing.set()
        self.shutdown()
        self._acceptor.join()
        self.server_close()
        with self._lock:
            threads = list(self._connections.values())
            for connection in self._connections:
                with suppress(OSError):
                    # Not SSLSocket's own: that takes the TLS state away from the thread that is reading.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls is not None:
            # The handshake is the handler's: a client that never begins it must not keep the others waiting.
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self._serve, args=(request, client_address), daemon=True)
        with self._lock:
            self._connections[request] = thread
        thread.start()

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            if isinstance(request, ssl.SSLSocket):
                request.do_handshake()
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client went away, or did not like our certificate
        except Exception:
            self.handle_error(request, client_address)
        finally:
            with self._lock:
                del self._connections[request]
            self.shutdown_request(request)
