"""Attaches a BPF program that does nothing by TCX, which takes no tool: python -m tests.live.tcx DEVICE.

It stays as long as the process does, which ends with its standard input.
"""

import ctypes
import os
import platform
import socket
import struct
import sys

_BPF = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _LINK_CREATE = 5, 28
_SCHED_CLS, _TCX_INGRESS = 3, 46
# r0 = -1 (go on), exit
_PROGRAM = struct.pack("<BBhiBBhi", 0xB7, 0, 0, -1, 0x95, 0, 0, 0)


def bpf(command: int, attributes: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = libc.syscall(_BPF[platform.machine()], command, buffer, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def attach(device: str, name: bytes = b"foreign") -> None:
    code, licence = ctypes.create_string_buffer(_PROGRAM), ctypes.create_string_buffer(b"GPL")
    load = struct.pack(
        "<IIQQIIQII16sII",
        _SCHED_CLS, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0, name, 0, _TCX_INGRESS,
    )  # fmt: skip
    program = bpf(_PROG_LOAD, load.ljust(144, b"\0"))
    bpf(_LINK_CREATE, struct.pack("<IIII", program, socket.if_nametoindex(device), _TCX_INGRESS, 0).ljust(64, b"\0"))


if __name__ == "__main__":
    attach(sys.argv[1])
    print("attached", flush=True)
    sys.stdin.read()
