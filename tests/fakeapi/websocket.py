"""The few frames of RFC 6455 that a server of channels needs."""

import base64
import hashlib
from collections.abc import Iterator

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL = 1000


def accept(key: str) -> str:
    """The answer to a client's Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole message as a server sends it."""
    size = len(payload)
    if size < 126:
        head = bytes((128 | opcode, size))
    elif size < 1 << 16:
        head = bytes((128 | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((128 | opcode, 127)) + size.to_bytes(8, "big")
    return head + payload


class Reader:
    """Makes messages of the bytes that a client sends, whose frames are masked and may be parts of a message."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._parts = b""
        self._opcode = CONTINUATION

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The opcode and the payload of each message that is whole by now."""
        self._data += data
        while (part := self._next()) is not None:
            final, opcode, payload = part
            if opcode >= CLOSE:
                yield opcode, payload
                continue
            self._opcode = opcode or self._opcode
            self._parts += payload
            if final:
                whole, self._parts = self._parts, b""
                yield self._opcode, whole

    def _next(self) -> tuple[bool, int, bytes] | None:
        data = self._data
        if len(data) < 2:
            return None
        size, position = data[1] & 127, 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, position = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
        if not data[1] & 128:
            raise ConnectionError("a frame of a client that is not masked")
        end = position + 4 + size
        if len(data) < end:
            return None
        mask = (bytes(data[position : position + 4]) * (size // 4 + 1))[:size]
        payload = int.from_bytes(data[position + 4 : end], "big") ^ int.from_bytes(mask, "big")
        final, opcode = bool(data[0] & 128), data[0] & 15
        del data[:end]
        return final, opcode, payload.to_bytes(size, "big")
