"""Runs a program in Python with fewer rights than root has: python restricted.py WAY... < PROGRAM.

Ways: nobody, user-namespace, cgroup-namespace, cgroup=DIRECTORY (in a namespace with that at the root, where no other
part of cgroup2 is mounted), memlock=BYTES, capabilities=NAME,... (those that are kept), and seccomp=NAME (the error
that bpf(2) gives, or KILL).
"""

import ctypes
import errno
import importlib
import os
import platform
import re
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path

_NOBODY = 65534
_CAPABILITIES = {"DAC_OVERRIDE": 1, "NET_ADMIN": 12, "SYS_ADMIN": 21, "SYS_RESOURCE": 24, "PERFMON": 38, "BPF": 39}
_CAPABILITY_VERSION = 0x20080522
_CLONE_NEWNS, _CLONE_NEWCGROUP, _CLONE_NEWUSER = 0x00020000, 0x02000000, 0x10000000
_MS_REC_PRIVATE, _MNT_DETACH = 0x44000, 2
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_SECCOMP = {"KILL": 0x80000000, "ERRNO": 0x00050000, "ALLOW": 0x7FFF0000}
_BPF = {"x86_64": 321, "aarch64": 280}

_libc = ctypes.CDLL(None, use_errno=True)


def _do(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def nobody() -> None:
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def user_namespace() -> None:
    _do(_libc.unshare(_CLONE_NEWUSER))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text("0 0 1")
    Path("/proc/self/gid_map").write_text("0 0 1")


def cgroup_namespace() -> None:
    _do(_libc.unshare(_CLONE_NEWCGROUP))


def cgroup(directory: str) -> None:
    Path(directory, "cgroup.procs").write_text(str(os.getpid()))
    _do(_libc.unshare(_CLONE_NEWCGROUP | _CLONE_NEWNS))
    _do(_libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None))
    mounted = next(parent for parent in Path(directory).parents if parent.is_mount())
    _do(_libc.umount2(str(mounted).encode(), _MNT_DETACH))
    _do(_libc.mount(b"none", b"/sys/fs/cgroup", b"cgroup2", 0, None))


def memlock(size: str) -> None:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (int(size), int(size)))


def capabilities(kept: str) -> None:
    bits = sum(1 << _CAPABILITIES[name] for name in kept.split(",") if name)
    header = struct.pack("<Ii", _CAPABILITY_VERSION, 0)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    _do(_libc.capset(header, struct.pack("<6I", low, low, 0, high, high, 0)))


def seccomp(answer: str) -> None:
    what = _SECCOMP["KILL"] if answer == "KILL" else _SECCOMP["ERRNO"] | getattr(errno, answer)
    # Load the number of the call; if it is bpf(2), this answer, else go ahead.
    filters = struct.pack("<HBBI", 0x20, 0, 0, 0) + struct.pack("<HBBI", 0x15, 0, 1, _BPF[platform.machine()])
    filters += struct.pack("<HBBI", 0x06, 0, 0, what) + struct.pack("<HBBI", 0x06, 0, 0, _SECCOMP["ALLOW"])
    buffer = ctypes.create_string_buffer(filters, len(filters))
    program = ctypes.create_string_buffer(struct.pack("<H6xQ", 4, ctypes.addressof(buffer)))
    _do(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _do(_libc.prctl(_PR_SET_SECCOMP, _FILTER, program, 0, 0))


WAYS: dict[str, Callable[..., None]] = {
    "nobody": nobody,
    "user-namespace": user_namespace,
    "cgroup-namespace": cgroup_namespace,
    "cgroup": cgroup,
    "memlock": memlock,
    "capabilities": capabilities,
    "seccomp": seccomp,
}

if __name__ == "__main__":
    source = sys.stdin.read()
    # Before they are out of reach.
    for module in re.findall(r"^ *import (\w+)$", source, re.MULTILINE):
        importlib.import_module(module)
    for way in sys.argv[1:]:
        name, is_given, value = way.partition("=")
        WAYS[name](*[value] if is_given else [])
    sys.argv[1:] = []
    exec(compile(source, "program", "exec"), {"__name__": "__main__"})
