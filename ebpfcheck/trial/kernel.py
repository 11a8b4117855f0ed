"""Asks the running kernel, by bpf(2) and rtnetlink, for all that Calico's BPF programs need; prints one JSON document.

One file for Python 3.6 and later that imports the standard library alone, so that it can be piped to a bare
`python3 -`. Older versions parse it as well, and get a document that says so: no syntax here is newer than 3.0.

Whatever it makes is in a network namespace and an empty cgroup of its own, or goes with the last file descriptor:
nothing is pinned, nothing is attached to what others use, and nothing is written to the kernel's log. The questions are
asked by a child process that is replaced when a question hangs or kills it.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

    Answer = dict[str, Any]

TRIAL = "ebpfcheck.trial.kernel/1"
OLDEST_PYTHON = (3, 6)


def give_up(reason: str) -> "NoReturn":
    """Print a document that only says why there is no more to it, and exit."""
    sys.stdout.write('{{"trial": "{}", "left": "{}"}}\n'.format(TRIAL, reason))
    sys.stdout.flush()
    sys.exit(0)


if sys.version_info < OLDEST_PYTHON:
    give_up("python3 is {}.{} here, and this takes 3.6".format(*sys.version_info[:2]))
try:
    import contextlib
    import ctypes
    import errno
    import fcntl
    import json
    import mmap
    import os
    import re
    import resource
    import select
    import signal
    import socket
    import struct
    import time
except ImportError as missing:
    # Distributions split the standard library, and some install but a part of it.
    give_up("python3 has no module {} here".format(missing.name))

# How long one question, all of them, and removing what a killed child left may take, in seconds.
QUESTION_SECONDS = 10.0
TRIAL_SECONDS = 60.0
TIDY_SECONDS = 5.0
# Of so many children one after the other that did not get to an answer, the next would not either.
MOST_LOST = 4

# Numbers of the kernel's interface (include/uapi/linux), here and beside what uses them.
BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
# The kernel's own, which is not meant to get out of it and does.
ENOTSUPP = 524

CAPABILITIES = {"DAC_OVERRIDE": 1, "NET_ADMIN": 12, "SYS_ADMIN": 21, "SYS_RESOURCE": 24, "PERFMON": 38, "BPF": 39}
# Before 5.11 these count as locked memory, of which an unprivileged process may have little.
CHARGED = ("map", "program")
# The inode numbers of the namespaces that the kernel starts with.
FIRST_USER_NAMESPACE = 0xEFFFFFFD
FIRST_CGROUP_NAMESPACE = 0xEFFFFFFB

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
PR_SET_PDEATHSIG = 1

MAP_CREATE = 0
PROG_LOAD = 5
PROG_ATTACH = 8
PROG_DETACH = 9
PROG_TEST_RUN = 10
PROG_QUERY = 16
BTF_LOAD = 18
LINK_CREATE = 28
# Longer than all of these commands' attributes; the kernel takes zeros past those that it knows.
ATTRIBUTES = 144
# Where those of PROG_LOAD tell of functions.
FUNCTIONS_OFFSET = 72
LOG_SIZE = 1 << 16
NAME = b"ebpfcheck"

NO_PREALLOC = 1
MAP_TYPES = {
    "hash": 1,
    "array": 2,
    "prog_array": 3,
    "perf_event_array": 4,
    "percpu_hash": 5,
    "percpu_array": 6,
    "lru_hash": 9,
    "lpm_trie": 11,
    "sockhash": 18,
    "ringbuf": 27,
}
PROGRAM_TYPES = {
    "socket_filter": 1,
    "sched_cls": 3,
    "xdp": 6,
    "cgroup_sock_addr": 18,
}
CGROUP_HOOKS = {"connect4": 10, "connect6": 11, "sendmsg4": 14, "sendmsg6": 15, "recvmsg4": 19, "recvmsg6": 20}
TCX_INGRESS = 46
NETKIT_PRIMARY = 54

HELPERS = {
    "map_lookup_elem": 1,
    "map_update_elem": 2,
    "map_delete_elem": 3,
    "ktime_get_ns": 5,
    "get_prandom_u32": 7,
    "skb_store_bytes": 9,
    "l3_csum_replace": 10,
    "l4_csum_replace": 11,
    "tail_call": 12,
    "skb_set_tunnel_key": 21,
    "redirect": 23,
    "perf_event_output": 25,
    "skb_load_bytes": 26,
    "csum_diff": 28,
    "skb_change_type": 32,
    "skb_change_tail": 38,
    "skb_pull_data": 39,
    "skb_change_head": 43,
    "get_socket_cookie": 46,
    "skb_adjust_room": 50,
    "xdp_adjust_meta": 54,
    "fib_lookup": 69,
    "spin_lock": 93,
    "spin_unlock": 94,
    "ringbuf_output": 130,
    "redirect_neigh": 152,
    "redirect_peer": 155,
    "for_each_map_elem": 164,
    "timer_init": 169,
    "timer_set_callback": 170,
    "timer_start": 171,
    "loop": 181,
    "xdp_load_bytes": 189,
}
# Of what Calico's programs of each type call, that by which some release is judged. They call trace_printk and
# trace_vprintk as well, which are not tried: the kernel writes to its log when it is given a program that does.
CALLED = {
    "sched_cls": (
        "map_lookup_elem map_update_elem map_delete_elem ktime_get_ns get_prandom_u32 skb_store_bytes l3_csum_replace "
        "l4_csum_replace tail_call skb_set_tunnel_key redirect perf_event_output skb_load_bytes csum_diff "
        "skb_change_type skb_change_tail skb_pull_data skb_change_head get_socket_cookie skb_adjust_room fib_lookup "
        "spin_lock spin_unlock ringbuf_output redirect_neigh redirect_peer for_each_map_elem timer_init "
        "timer_set_callback timer_start loop"
    ),
    "xdp": "map_lookup_elem tail_call xdp_adjust_meta xdp_load_bytes",
    "cgroup_sock_addr": "map_lookup_elem map_update_elem ktime_get_ns get_prandom_u32 tail_call get_socket_cookie",
}


# What is known of a question: the kernel has it, the kernel lacks it, or nothing.


class Lacking(Exception):  # noqa: N818 - an answer, no error
    """The kernel itself says that it does not have the thing."""

    def __init__(self, words: str, error: str = "") -> None:
        super().__init__(words)
        self.words = words
        self.error = error


class Untold(Exception):  # noqa: N818 - an answer, no error
    """The kernel did not say whether it has the thing; `needs` are the capabilities that would let it."""

    def __init__(self, words: str, error: str = "", needs: "tuple[str, ...]" = ()) -> None:
        super().__init__(words)
        self.words = words
        self.error = error
        self.needs = needs


class Refused(Exception):  # noqa: N818 - becomes one of the two
    """A program was not loaded: the number of the error, and the verifier's log, empty where it never got that far."""

    def __init__(self, number: int, log: str) -> None:
        super().__init__(log)
        self.number = number
        self.log = log


def error_name(number: int) -> str:
    """ENOENT for 2."""
    # Of two names of the same number Python knows the one that the kernel does not use.
    ours = {ENOTSUPP: "ENOTSUPP", errno.EOPNOTSUPP: "EOPNOTSUPP"}
    return ours.get(number) or errno.errorcode.get(number, str(number))


# The process that asks.


def read(path: str) -> str:
    """The text of a file, empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def status_field(name: str) -> "str | None":
    """A field of /proc/self/status."""
    found = re.search(r"^{}:\s*(\S+)".format(name), read("/proc/self/status"), re.MULTILINE)
    return found.group(1) if found else None


def is_in_namespace(path: str, inode: int) -> "bool | None":
    """Whether the namespace file is the one of that inode number; None where it cannot be looked at."""
    try:
        return os.stat(path).st_ino == inode
    except OSError:
        return None


def raised_memlock() -> "int | None":
    """RLIMIT_MEMLOCK, raised as far as it may be, in bytes; None where there is no limit. Counts before kernel 5.11."""
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    for limit in (resource.RLIM_INFINITY, hard):
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
            break
        except (OSError, ValueError):
            continue
    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return None if soft == resource.RLIM_INFINITY else soft


class Rights:
    """What this process may do, as far as it matters to bpf(2)."""

    def __init__(self) -> None:
        effective = status_field("CapEff")
        held = int(effective or "0", 16)
        self.capabilities = [name for name, number in CAPABILITIES.items() if held >> number & 1]
        self.in_user_namespace = is_in_namespace("/proc/self/ns/user", FIRST_USER_NAMESPACE) is False
        # A kernel without seccomp does not name it.
        seccomp = status_field("Seccomp") or (None if effective is None else "0")
        self.seccomp = None if seccomp is None else int(seccomp)
        self.memlock = raised_memlock()

    def missing(self, wanted: "tuple[str, ...]") -> "tuple[str, ...]":
        """Those of the wanted capabilities that are not there, or not there where they count."""
        if self.in_user_namespace:
            return wanted
        last = read("/proc/sys/kernel/cap_last_cap").strip()
        is_older = last.isdigit() and int(last) < CAPABILITIES["BPF"]
        missing = []
        for name in wanted:
            # SYS_ADMIN stands for both, and is what there was before 5.8.
            stands_for = name in ("BPF", "PERFMON")
            asked = "SYS_ADMIN" if stands_for and is_older else name
            has = asked in self.capabilities or (stands_for and "SYS_ADMIN" in self.capabilities)
            if not has and asked not in missing:
                missing.append(asked)
        return tuple(missing)

    def untold(self, number: int, what: str, wanted: "tuple[str, ...]") -> Untold:
        """Why a call that wants these capabilities gave an error that says nothing of the kernel."""
        words = "{}: {}".format(what, os.strerror(number))
        needs = self.missing(wanted) if number in (errno.EPERM, errno.EACCES) else ()
        if self.in_user_namespace:
            words += "; in a user namespace, where capabilities do not count"
        elif number == errno.EPERM and not needs and what in CHARGED and self.memlock is not None:
            words += "; RLIMIT_MEMLOCK is {} bytes".format(self.memlock)
            needs = self.missing(("SYS_RESOURCE",))
        elif number == errno.EPERM and not needs:
            words += ", though no capability is missing"
        if self.seccomp != 0:
            words += "; a seccomp filter is at work"
        return Untold(words, error_name(number), needs)


# BPF instructions.

R0, R1, R2, R3, R4, R6, FP = 0, 1, 2, 3, 4, 6, 10
CLOCK_MONOTONIC = 1
PSEUDO_MAP_FD = 1
PSEUDO_FUNC = 4
ATOMIC_ADD_FETCH = 0x01
ATOMIC_OR = 0x40
INSTRUCTION = 8


def instruction(code: int, to: int = 0, of: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One instruction: operation, destination and source register, offset, immediate value."""
    return struct.pack("<BBhi", code, of << 4 | to, offset, value)


def move(to: int, value: int) -> bytes:
    """The register is set to a number."""
    return instruction(0xB7, to, value=value)


def move_register(to: int, of: int) -> bytes:
    """The register is set to another's value."""
    return instruction(0xBF, to, of)


def move_stack(to: int, offset: int) -> bytes:
    """The register is set to an address on the stack."""
    return move_register(to, FP) + instruction(0x07, to, value=offset)


def clear_stack(offset: int) -> bytes:
    """Eight bytes of the stack are set to zero."""
    return instruction(0x7A, FP, offset=offset)


def move_wide(to: int, kind: int, value: int) -> bytes:
    """The register is set to what takes two instructions: a map, or a function so many instructions further on."""
    return instruction(0x18, to, kind, value=value) + instruction(0)


def atomic_64(of: int, offset: int, operation: int) -> bytes:
    """An atomic operation on eight bytes of the stack."""
    return instruction(0xDB, FP, of, offset, operation)


def atomic_32(of: int, offset: int, operation: int) -> bytes:
    """An atomic operation on four bytes of the stack."""
    return instruction(0xC3, FP, of, offset, operation)


def skip_if_zero(register: int, count: int) -> bytes:
    """Go over so many instructions if the register is zero."""
    return instruction(0x15, register, offset=count)


def skip_if_zero_32(register: int, count: int) -> bytes:
    """The same, by a comparison of the register's lower half."""
    return instruction(0x16, register, offset=count)


def call(helper: str) -> bytes:
    """Call a helper by its name."""
    return instruction(0x85, value=HELPERS[helper])


def leave(value: int) -> bytes:
    """Return a number."""
    return move(R0, value) + instruction(0x95)


# BTF: what a map's value holds, and which functions there are.

BTF_MAGIC = 0xEB9F
BTF_INT, BTF_STRUCT, BTF_FUNC, BTF_FUNC_PROTO = 1, 4, 12, 13


class Btf:
    """A BTF object in the making; types have the numbers from 1 on."""

    def __init__(self) -> None:
        self._types = []  # type: list[bytes]
        self._strings = b"\0"

    def integer(self) -> int:
        """A signed integer of 32 bits."""
        return self._type("int", BTF_INT, 0, 4, struct.pack("<I", 1 << 24 | 32))

    def structure(self, name: str, size: int, members: "tuple[tuple[str, int, int], ...]") -> int:
        """A structure; its members are name, type and offset in bits."""
        packed = b"".join(struct.pack("<III", self._string(member), kind, at) for member, kind, at in members)
        return self._type(name, BTF_STRUCT, len(members), size, packed)

    def function(self, name: str, returns: int) -> int:
        """A static function without parameters."""
        return self._type(name, BTF_FUNC, 0, self._type("", BTF_FUNC_PROTO, 0, returns))

    def packed(self) -> bytes:
        """As BTF_LOAD takes it."""
        types = b"".join(self._types)
        sizes = struct.pack("<IIIII", 24, 0, len(types), len(types), len(self._strings))
        return struct.pack("<HBB", BTF_MAGIC, 1, 0) + sizes + types + self._strings

    def _type(self, name: str, kind: int, count: int, size: int, rest: bytes = b"") -> int:
        self._types.append(struct.pack("<III", self._string(name), kind << 24 | count, size) + rest)
        return len(self._types)

    def _string(self, text: str) -> int:
        if not text:
            return 0
        self._strings += text.encode() + b"\0"
        return len(self._strings) - len(text) - 1


# rtnetlink.

NLM_REQUEST, NLM_ACK, NLM_EXCL, NLM_CREATE = 0x1, 0x4, 0x200, 0x400
NLMSG_ERROR = 2
RTM_NEWLINK, RTM_SETLINK, RTM_NEWQDISC, RTM_NEWTFILTER = 16, 19, 36, 44
IFLA_IFNAME, IFLA_LINKINFO, IFLA_INFO_KIND, IFLA_INFO_DATA = 3, 18, 1, 2
IFLA_VXLAN_PORT, IFLA_VXLAN_COLLECT_METADATA = 15, 25
IFLA_XDP, IFLA_XDP_FD, IFLA_XDP_FLAGS, IFLA_XDP_EXPECTED_FD = 43, 1, 3, 8
XDP_GENERIC, XDP_REPLACE = 2, 16
VETH_INFO_PEER = 1
IFF_UP = 1
VXLAN_PORT = 4789
TCA_KIND, TCA_OPTIONS = 1, 2
TCA_BPF_FD, TCA_BPF_NAME, TCA_BPF_FLAGS = 6, 7, 8
ACT_DIRECT = 1
CLSACT_HANDLE, CLSACT_PARENT, CLSACT_INGRESS = 0xFFFF0000, 0xFFFFFFF1, 0xFFFFFFF2
ETH_P_ALL = 3


def attribute(kind: int, *parts: bytes) -> bytes:
    """A netlink attribute, which may hold others."""
    payload = b"".join(parts)
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def link_message(index: int = 0, flags: int = 0) -> bytes:
    """The header that messages about links have."""
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def traffic_message(index: int, handle: int, parent: int, info: int = 0) -> bytes:
    """The header that messages about qdiscs and filters have."""
    return struct.pack("=BxxxiIII", socket.AF_UNSPEC, index, handle, parent, info)


def netlink(kind: int, flags: int, message: bytes) -> None:
    """Ask rtnetlink to do something; raises OSError where it does not."""
    with contextlib.closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)) as asked:
        asked.settimeout(QUESTION_SECONDS)
        header = struct.pack("=IHHII", 16 + len(message), kind, NLM_REQUEST | NLM_ACK | flags, 1, 0)
        asked.sendto(header + message, (0, 0))
        answer = asked.recv(1 << 16)
    answered, error = struct.unpack_from("=4xH10xi", answer)
    if answered != NLMSG_ERROR:
        raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
    if error:
        raise OSError(-error, os.strerror(-error))


# bpf(2).

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong)
LIBC.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p)


@contextlib.contextmanager
def held(descriptor: int) -> "Iterator[int]":
    """Close the file descriptor in the end, and with it what it stands for."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def attributes(layout: str, *values: "Any") -> "ctypes.Array[ctypes.c_char]":
    """A command's attributes; the kernel writes its answers there."""
    buffer = ctypes.create_string_buffer(ATTRIBUTES)
    struct.pack_into(layout, buffer, 0, *values)
    return buffer


def raw_bpf(command: int, asked: "ctypes.Array[ctypes.c_char]") -> int:
    """Call bpf(2); raises OSError."""
    number = ctypes.c_long(BPF_SYSCALL[os.uname().machine])
    result = LIBC.syscall(number, ctypes.c_long(command), asked, ctypes.c_long(len(asked)))  # type: int
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def raw_load(kind: str, code: bytes, hook: int = 0, functions: "tuple[int, ...]" = ()) -> int:
    """Load a program; raises Refused. `functions` are a BTF object, then the place and the type of each function."""
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(LOG_SIZE)
    asked = attributes(
        "<IIQQIIQII16sII",
        PROGRAM_TYPES[kind],
        len(code) // INSTRUCTION,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
        1,
        LOG_SIZE,
        ctypes.addressof(log),
        0,
        0,
        NAME,
        0,
        hook,
    )
    places = (ctypes.c_uint32 * len(functions))(*functions[1:])
    if functions:
        count = len(functions) // 2
        struct.pack_into("<IIQI", asked, FUNCTIONS_OFFSET, functions[0], 8, ctypes.addressof(places), count)
    try:
        return raw_bpf(PROG_LOAD, asked)
    except OSError as error:
        raise Refused(error.errno or 0, log.value.decode("ascii", "replace")) from error


def map_attributes(
    kind: str, key: int, value: int, entries: int = 1, flags: int = 0, types: "tuple[int, ...]" = (0, 0, 0)
) -> "ctypes.Array[ctypes.c_char]":
    """What MAP_CREATE takes; `types` are a BTF object and the types of key and value in it."""
    return attributes("<IIIIIII16sIIII", MAP_TYPES[kind], key, value, entries, flags, 0, 0, NAME, 0, *types)


def last_words(log: str) -> str:
    """The verifier's verdict: the last line of its log that is neither statistics nor an instruction."""
    # From 7.3 on a report for people comes after it.
    lines = log.partition("\nVerification failed:")[0].splitlines()
    said = [line.strip() for line in lines if line.strip() and not NO_VERDICT.match(line)]
    return (said or lines or [""])[-1]


# What refusals say.

# How the verifiers of three generations say that there is no such helper, or none for programs of that type.
NO_HELPER = ("unknown func", "invalid func", "program of this type cannot use helper")
# How those refuse callbacks that know none, and those that know them where the JIT compiler is off or not built in.
NO_CALLBACK = (
    "number of funcs in func_info doesn't match number of subprogs",
    "unrecognized bpf_ld_imm64 insn",
    "callbacks are not allowed in non-JITed programs",
)
NO_OPERATION = ("uses reserved fields", "unknown opcode", "unknown insn class")
# How they refuse a call for its arguments, which says that they know the helper.
ARGUMENT = re.compile(r"\b(R\d+|arg#\d+) ")
# Lines of the log that are no verdict: statistics, instructions and what is known after them.
NO_VERDICT = re.compile(r"processed \d+ insns|\d+: \(|func#\d|; |verification time|stack depth|\d+: R\d")
# How much of them an answer quotes.
WORDS = 200


# Asking.

# What bpf(2) wants of whom it serves, where the question is not one that takes less.
BPF = ("BPF", "NET_ADMIN")


class Kernel:
    """The kernel as this process may ask it; what is made for that goes with the process."""

    def __init__(self, rights: Rights) -> None:
        self.rights = rights
        self._hears_bpf = None  # type: bool | None

    def bpf(
        self,
        command: int,
        asked: "ctypes.Array[ctypes.c_char]",
        what: str,
        wanted: "tuple[str, ...]" = BPF,
        lacking: "tuple[int, ...]" = (),
    ) -> int:
        """Call it for its result; with one of the `lacking` errors the kernel says that it does not know the thing."""
        try:
            return raw_bpf(command, asked)
        except OSError as error:
            raise self.refusal(error.errno or 0, what, wanted, lacking) from error

    def refusal(
        self, number: int, what: str, wanted: "tuple[str, ...]" = BPF, lacking: "tuple[int, ...]" = ()
    ) -> "Lacking | Untold":
        """What an error of bpf(2) says."""
        if number == errno.ENOSYS and self.rights.seccomp == 0:
            return Lacking("this kernel has no bpf(2)", error_name(number))
        if number in lacking and self._is_heard():
            return Lacking("{}: the kernel does not know it".format(what), error_name(number))
        return self.rights.untold(number, what, wanted)

    def _is_heard(self) -> bool:
        """Whether it is the kernel that answers bpf(2), and no seccomp filter in its place."""
        if self._hears_bpf is None:
            self._hears_bpf = True
            if self.rights.seccomp != 0:
                try:
                    os.close(raw_bpf(MAP_CREATE, map_attributes("array", 4, 8)))
                    os.close(raw_load("socket_filter", leave(0)))
                except (OSError, Refused):
                    self._hears_bpf = False
        return self._hears_bpf

    def map(
        self, kind: str, key: int, value: int, entries: int = 1, flags: int = 0, types: "tuple[int, ...]" = (0, 0, 0)
    ) -> int:
        """Make a map."""
        # An older kernel's structure is shorter, so that it finds too much in ours.
        lacking = (errno.EINVAL, errno.E2BIG, errno.EOPNOTSUPP, ENOTSUPP)
        wanted = BPF if kind == "sockhash" else ("BPF",)
        return self.bpf(MAP_CREATE, map_attributes(kind, key, value, entries, flags, types), "map", wanted, lacking)

    def types(self, btf: Btf) -> int:
        """Load a BTF object."""
        packed = btf.packed()
        buffer = ctypes.create_string_buffer(packed, len(packed))
        return self.bpf(BTF_LOAD, attributes("<QQI", ctypes.addressof(buffer), 0, len(packed)), "BTF", ("BPF",))

    def program(self, kind: str, value: int, hook: int = 0) -> int:
        """Load the program that only returns a number."""
        try:
            return raw_load(kind, leave(value), hook)
        except Refused as refused:
            if refused.log:
                raise Untold(last_words(refused.log), error_name(refused.number)) from refused
            raise self.refusal(refused.number, "program", BPF, (errno.EINVAL, errno.E2BIG)) from refused

    def verdict(self, kind: str, code: bytes, lacking: "tuple[str, ...]", functions: "tuple[int, ...]" = ()) -> str:
        """What the verifier says of a program, empty if it takes it; what is `lacking` is raised."""
        hook = CGROUP_HOOKS["connect4"] if kind == "cgroup_sock_addr" else 0
        try:
            os.close(raw_load(kind, code, hook, functions))
        except Refused as refused:
            name = error_name(refused.number)
            if not refused.log:
                # Never got to the verifier: what is said of the simplest program of that type holds here too.
                os.close(self.program(kind, 1, hook))
                raise self.refusal(refused.number, "program") from refused
            said = last_words(refused.log)
            if any(words in said for words in lacking):
                # Some helpers are hidden from those who may not look into the kernel.
                hidden = self.rights.missing(("PERFMON",))
                raise (Untold(said, name, hidden) if hidden else Lacking(said, name)) from refused
            return said
        return ""

    def link(self, program: int, target: int, attach_type: int, lacking: "tuple[int, ...]" = (errno.EINVAL,)) -> None:
        """Attach a program by a link, which goes with its file descriptor, to a device or a cgroup."""
        os.close(self.bpf(LINK_CREATE, attributes("<IIII", program, target, attach_type, 0), "link", BPF, lacking))


class Network:
    """A network namespace of this process's own, made when it is first asked for, with a pair of veth devices in it."""

    def __init__(self, rights: Rights) -> None:
        self._rights = rights
        self._is_made = False
        self._veth = 0

    def ask(self, kind: int, flags: int, message: bytes, what: str, lacking: "tuple[int, ...]" = ()) -> None:
        """Ask rtnetlink to make or change something."""
        if not self._is_made:
            if LIBC.unshare(CLONE_NEWNET) != 0:
                raise self._rights.untold(ctypes.get_errno(), "network namespace", ("SYS_ADMIN",))
            self._is_made = True
        try:
            netlink(kind, flags, message)
        except OSError as error:
            number = error.errno or 0
            if number in lacking:
                raise Lacking("{}: the kernel does not know it".format(what), error_name(number)) from error
            raise self._rights.untold(number, what, ("NET_ADMIN",)) from error

    def add_device(self, name: str, kind: str, *options: bytes) -> int:
        """Add a device of that kind, and return its index; a kind that the kernel does not know is lacking."""
        described = attribute(IFLA_INFO_KIND, kind.encode()) + attribute(IFLA_INFO_DATA, *options)
        message = link_message() + attribute(IFLA_IFNAME, name.encode() + b"\0") + attribute(IFLA_LINKINFO, described)
        self.ask(RTM_NEWLINK, NLM_CREATE | NLM_EXCL, message, "device of kind " + kind, (errno.EOPNOTSUPP,))
        return socket.if_nametoindex(name)

    def veth(self) -> int:
        """The index of a veth device, which is no more than a place to attach things to."""
        if not self._veth:
            peer = link_message() + attribute(IFLA_IFNAME, b"trial1\0")
            try:
                self._veth = self.add_device("trial0", "veth", attribute(VETH_INFO_PEER, peer))
            except Lacking as lacking:
                raise Untold("no veth device to attach to: " + lacking.words, lacking.error) from lacking
        return self._veth


OWN_CGROUP_NAMESPACE = "/proc/self/ns/cgroup"
CGROUP_NAMESPACE_OF_1 = "/proc/1/ns/cgroup"
GROUP_NAME = "ebpfcheck-trial-{}"
GROUP_PATTERN = re.compile(r"ebpfcheck-trial-(\d+)\Z")
# Directories over which cgroup2 can be mounted where nobody else sees it. Where it may be mounted already is none of
# them, since the kernel refuses that.
MOUNT_POINTS = ("/sys", "/dev")


class Groups:
    """The cgroup2 hierarchy: its root, and an empty group of this process's own somewhere below it."""

    def __init__(self, rights: Rights, root: "str | None") -> None:
        self._rights = rights
        self._given_root = root
        # Opened before this process mounts anything over them.
        self._hierarchies = list(visible_hierarchies())
        self._private = -1
        self._group = None  # type: tuple[int, str, int] | None

    def root(self) -> "tuple[int, str]":
        """The directory of the root group, opened, and where it is."""
        if self._given_root is not None:
            return self._opened(self._given_root), self._given_root
        for path, directory in self._hierarchies:
            if is_root_group(directory):
                return os.dup(directory), path
        directory = self._mounted()
        if not is_root_group(directory):
            raise Untold("the root of cgroup2 is out of sight: this process is in a cgroup namespace")
        return os.dup(directory), "a private mount"

    def group(self) -> int:
        """The directory of an empty group, made when first asked for; what killed runs left is removed before."""
        if self._group is None:
            self.remove_leftovers()
            parent = self._writable()
            name = GROUP_NAME.format(os.getpid())
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
                group = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=parent)
            except OSError as error:
                raise self._rights.untold(error.errno or 0, "cgroup", ("DAC_OVERRIDE",)) from error
            # For those in another namespace of processes, where this one's number says nothing.
            fcntl.flock(group, fcntl.LOCK_EX)
            self._group = (parent, name, group)
        return self._group[2]

    def remove(self) -> None:
        """Remove the group, and with it what is attached to it."""
        if self._group is not None:
            parent, name, _ = self._group
            os.rmdir(name, dir_fd=parent)

    def remove_leftovers(self) -> None:
        """Remove the groups of processes that are gone."""
        parent = self._writable()
        for name in os.listdir(parent):
            owner = GROUP_PATTERN.match(name)
            if owner and not is_alive(int(owner.group(1))):
                with contextlib.suppress(OSError):
                    remove_unlocked(name, parent)

    def _writable(self) -> int:
        for _, directory in self._hierarchies:
            if os.access(".", os.W_OK, dir_fd=directory):
                return directory
        return self._mounted()

    def _opened(self, path: str) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise self._rights.untold(error.errno or 0, path, ()) from error

    def _mounted(self) -> int:
        """Mount cgroup2 where only this process sees it, in the first cgroup namespace if process 1 is in that."""
        if self._private < 0:
            self._enter_cgroup_namespace()
            if LIBC.unshare(CLONE_NEWNS) != 0 or LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
                raise self._rights.untold(ctypes.get_errno(), "mount namespace", ("SYS_ADMIN",))
            point = next(point for point in MOUNT_POINTS if os.path.isdir(point))
            if LIBC.mount(b"none", point.encode(), b"cgroup2", 0, None) != 0:
                raise self._rights.untold(ctypes.get_errno(), "mount of cgroup2", ("SYS_ADMIN",))
            self._private = self._opened(point)
        return self._private

    def _enter_cgroup_namespace(self) -> None:
        is_elsewhere = is_in_namespace(OWN_CGROUP_NAMESPACE, FIRST_CGROUP_NAMESPACE) is False
        if is_elsewhere and is_in_namespace(CGROUP_NAMESPACE_OF_1, FIRST_CGROUP_NAMESPACE):
            with held(os.open(CGROUP_NAMESPACE_OF_1, os.O_RDONLY)) as namespace:
                LIBC.setns(namespace, CLONE_NEWCGROUP)


def remove_unlocked(name: str, parent: int) -> None:
    """Remove an empty group that no process has locked."""
    with held(os.open(name, os.O_RDONLY, dir_fd=parent)) as group:
        fcntl.flock(group, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rmdir(name, dir_fd=parent)


def is_alive(process: int) -> bool:
    """Whether there is a process of that number, which is more than what its parent has yet to hear of."""
    state = read("/proc/{}/stat".format(process)).rpartition(") ")[2][:1]
    return state not in ("", "Z", "X")


def is_root_group(directory: int) -> bool:
    """Whether it is the root of all groups, which alone lacks this file, and not another that is mounted by itself."""
    return "cgroup.events" not in os.listdir(directory)


def visible_hierarchies() -> "Iterator[tuple[str, int]]":
    """Where cgroup2 is mounted and not mounted over, with the opened directory."""
    for line in read("/proc/self/mountinfo").splitlines():
        mount, _, described = line.partition(" - ")
        if described.startswith("cgroup2 "):
            device, _, path = (unescaped(field) for field in mount.split(" ")[2:5])
            major, _, minor = device.partition(":")
            with contextlib.suppress(OSError):
                if os.stat(path).st_dev == os.makedev(int(major), int(minor)):
                    yield path, os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def unescaped(field: str) -> str:
    """A field of mountinfo, in which blanks and the like are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), field)


# The questions.


class Asked:
    """What a question is asked of."""

    def __init__(self, rights: Rights, root: "str | None") -> None:
        self.kernel = Kernel(rights)
        self.network = Network(rights)
        self.groups = Groups(rights, root)


def remove_leftovers(asked: Asked) -> None:
    """No question: removes the groups of processes that are gone."""
    asked.groups.remove_leftovers()


def ask_map(asked: Asked, kind: str, key: int, value: int, flags: int = 0) -> None:
    """Whether a map of that type can be made."""
    # A ring buffer is as long as whole pages.
    entries = mmap.PAGESIZE if kind == "ringbuf" else 1
    os.close(asked.kernel.map(kind, key, value, entries, flags))


def ask_program(asked: Asked, kind: str, hook: int = 0) -> None:
    """Whether a program of that type, for that hook, is taken."""
    # 1 is the one value that programs for any of the hooks may return.
    os.close(asked.kernel.program(kind, 1, hook))


def ask_helper(asked: Asked, kind: str, helper: str) -> None:
    """Whether programs of that type may call the helper, which is called without arguments."""
    said = asked.kernel.verdict(kind, call(helper) + leave(1), NO_HELPER)
    if said and not ARGUMENT.search(said):
        raise Untold(said)


def ask_feature(asked: Asked, code: bytes, lacking: "tuple[str, ...]", functions: "tuple[int, ...]" = ()) -> None:
    """Whether the verifier takes a program that uses some feature."""
    said = asked.kernel.verdict("sched_cls", code, lacking, functions)
    if said:
        raise Untold(said)


def ask_with_callback(asked: Asked, before: bytes, after: bytes) -> None:
    """Whether the verifier takes a program that puts the address of a function in register 2 between these parts."""
    # From the instruction after this one, which takes two places.
    code = before + move_wide(R2, PSEUDO_FUNC, len(after) // INSTRUCTION + 1) + after
    btf = Btf()
    integer = btf.integer()
    main, callback = btf.function("main", integer), btf.function("callback", integer)
    with held(asked.kernel.types(btf)) as types:
        functions = (types, 0, main, len(code) // INSTRUCTION, callback)
        ask_feature(asked, code + leave(0), NO_HELPER + NO_CALLBACK, functions)


def ask_for_each(asked: Asked) -> None:
    """Whether a function can be called for each element of a map."""
    with held(asked.kernel.map("hash", 4, 8)) as elements:
        rest = move(R3, 0) + move(R4, 0) + call("for_each_map_elem") + leave(0)
        ask_with_callback(asked, move_wide(R1, PSEUDO_MAP_FD, elements), rest)


def ask_loop(asked: Asked) -> None:
    """Whether a function can be called a number of times."""
    ask_with_callback(asked, move(R1, 1), move(R3, 0) + move(R4, 0) + call("loop") + leave(0))


def ask_timer(asked: Asked) -> None:
    """Whether a map's value can hold a timer that calls a function."""
    with held(map_of_structure(asked, "bpf_timer", 16, 0)) as timers:
        init = move_register(R6, R0) + move_register(R1, R6) + move_wide(R2, PSEUDO_MAP_FD, timers)
        init += move(R3, CLOCK_MONOTONIC) + call("timer_init") + move_register(R1, R6)
        start = call("timer_set_callback") + move_register(R1, R6) + move(R2, 0) + move(R3, 0) + call("timer_start")
        # The address of the callback comes in between.
        guard = skip_if_zero(R0, len(init + start) // INSTRUCTION + 2)
        ask_with_callback(asked, look_up(timers) + guard + init, start + leave(0))


def ask_spin_lock(asked: Asked) -> None:
    """Whether a map's value can hold a lock."""
    with held(map_of_structure(asked, "bpf_spin_lock", 4, 4)) as locks:
        hold = move_register(R6, R0) + move_register(R1, R6) + call("spin_lock")
        hold += move_register(R1, R6) + call("spin_unlock")
        ask_feature(asked, look_up(locks) + skip_if_zero(R0, len(hold) // INSTRUCTION) + hold + leave(0), NO_HELPER)


def map_of_structure(asked: Asked, name: str, size: int, room: int) -> int:
    """A map whose values hold one of the kernel's structures, and so much room behind it."""
    btf = Btf()
    integer = btf.integer()
    inner = btf.structure(name, size, ())
    value = btf.structure("value", size + room, (("inner", inner, 0),))
    with held(asked.kernel.types(btf)) as types:
        return asked.kernel.map("hash", 4, size + room, types=(types, integer, value))


def look_up(elements: int) -> bytes:
    """Get the address of a map's value of key 0 into register 0."""
    return clear_stack(-8) + move_wide(R1, PSEUDO_MAP_FD, elements) + move_stack(R2, -8) + call("map_lookup_elem")


def ask_test_run(asked: Asked) -> None:
    """Whether a program can be run without anything that it is attached to."""
    packet = ctypes.create_string_buffer(64)
    with held(asked.kernel.program("sched_cls", 1)) as program:
        run = attributes("<IIIIQQII", program, 0, len(packet), 0, ctypes.addressof(packet), 0, 1, 0)
        asked.kernel.bpf(PROG_TEST_RUN, run, "test run", lacking=(ENOTSUPP,))
    (returned,) = struct.unpack_from("<I", run, 4)
    if returned != 1:
        raise Untold("the program returned {}, not 1".format(returned))


def ask_clsact(asked: Asked) -> None:
    """Whether a program can be attached to a device by tc."""
    with held(asked.kernel.program("sched_cls", 0)) as program:
        device = asked.network.veth()
        # The kind is not known.
        lacking = (errno.ENOENT, errno.EOPNOTSUPP)
        qdisc = traffic_message(device, CLSACT_HANDLE, CLSACT_PARENT) + attribute(TCA_KIND, b"clsact\0")
        asked.network.ask(RTM_NEWQDISC, NLM_CREATE | NLM_EXCL, qdisc, "clsact", lacking)
        options = attribute(TCA_BPF_FD, struct.pack("=I", program)) + attribute(TCA_BPF_NAME, NAME + b"\0")
        options += attribute(TCA_BPF_FLAGS, struct.pack("=I", ACT_DIRECT))
        info = 1 << 16 | socket.htons(ETH_P_ALL)
        described = attribute(TCA_KIND, b"bpf\0") + attribute(TCA_OPTIONS, options)
        message = traffic_message(device, 0, CLSACT_INGRESS, info) + described
        asked.network.ask(RTM_NEWTFILTER, NLM_CREATE | NLM_EXCL, message, "filter", lacking)


def ask_tcx(asked: Asked) -> None:
    """Whether a program can be attached to a device by a link of TCX."""
    with held(asked.kernel.program("sched_cls", 1)) as program:
        asked.kernel.link(program, asked.network.veth(), TCX_INGRESS)


def ask_xdp(asked: Asked, flags: int, lacking: "tuple[int, ...]" = ()) -> None:
    """Whether an XDP program can be attached to a device of any driver, by rtnetlink as Felix does it."""
    with held(asked.kernel.program("xdp", 1)) as program:
        device = asked.network.veth()
        for descriptor, its_flags, what in ((program, flags, "XDP program"), (-1, XDP_GENERIC, "its detachment")):
            options = attribute(IFLA_XDP_FD, struct.pack("=i", descriptor))
            options += attribute(IFLA_XDP_FLAGS, struct.pack("=I", its_flags))
            if its_flags & XDP_REPLACE:
                # In place of none.
                options += attribute(IFLA_XDP_EXPECTED_FD, struct.pack("=i", -1))
            message = link_message(device) + attribute(IFLA_XDP, options)
            asked.network.ask(RTM_SETLINK, 0, message, what, lacking)


def ask_netkit(asked: Asked) -> None:
    """Whether there are netkit devices, and a program can be attached to one."""
    with held(asked.kernel.program("sched_cls", 1)) as program:
        asked.kernel.link(program, asked.network.add_device("trial2", "netkit"), NETKIT_PRIMARY)


def ask_cgroup(asked: Asked, hook: str) -> None:
    """Whether a program can be attached to a group by a link."""
    with held(asked.kernel.program("cgroup_sock_addr", 1, CGROUP_HOOKS[hook])) as program:
        asked.kernel.link(program, asked.groups.group(), CGROUP_HOOKS[hook])


def ask_cgroup_attach(asked: Asked, hook: str) -> None:
    """Whether a program can be attached to a group the older way."""
    attach_type = CGROUP_HOOKS[hook]
    with held(asked.kernel.program("cgroup_sock_addr", 1, attach_type)) as program:
        attached = attributes("<IIII", asked.groups.group(), program, attach_type, 0)
        # What is attached so stays with the group: the parent's end must not come in between.
        LIBC.prctl(PR_SET_PDEATHSIG, 0)
        try:
            asked.kernel.bpf(PROG_ATTACH, attached, "attachment", lacking=(errno.EINVAL,))
            asked.kernel.bpf(PROG_DETACH, attached, "detachment")
        finally:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def ask_vxlan(asked: Asked) -> None:
    """Whether a flow-based VXLAN device can be made and set up, which is when it gets its port."""
    options = attribute(IFLA_VXLAN_COLLECT_METADATA, b"\1") + attribute(IFLA_VXLAN_PORT, struct.pack("!H", VXLAN_PORT))
    device = asked.network.add_device("trial3", "vxlan", options)
    asked.network.ask(RTM_SETLINK, 0, link_message(device, IFF_UP), "setting the device up")


def ask_root(asked: Asked, hook: str) -> "Answer":
    """How many programs are attached to a hook of the root group, and by what flags."""
    directory, path = asked.groups.root()
    with held(directory):
        query = attributes("<IIIIQI", directory, CGROUP_HOOKS[hook], 0, 0, 0, 0)
        asked.kernel.bpf(PROG_QUERY, query, "query")
    flags, programs = struct.unpack_from("<I8xI", query, 12)
    return {"programs": programs, "flags": flags, "path": path}


class Question:
    """One thing to ask, by its topic and name: a function of `Asked` and more arguments."""

    def __init__(self, topic: str, name: str, function: "Callable[..., Answer | None]", *arguments: "Any") -> None:
        self.topic = topic
        self.name = name
        self.function = function
        self.arguments = arguments

    def answered(self, answer: str, words: str = "", error: str = "", needs: "tuple[str, ...]" = ()) -> "Answer":
        """An answer to it."""
        return {
            "topic": self.topic,
            "name": self.name,
            "answer": answer,
            "errno": error,
            "words": words[:WORDS],
            "needs": list(needs),
        }

    def ask(self, asked: Asked) -> "Answer":
        """Ask it, and return the answer."""
        try:
            found = self.function(asked, *self.arguments)
        except Lacking as lacking:
            return self.answered("no", lacking.words, lacking.error)
        except Untold as untold:
            return self.answered("untold", untold.words, untold.error, untold.needs)
        except OSError as error:
            return self.answered("untold", str(error), error_name(error.errno or 0))
        except Exception as error:
            # One question that goes wrong must not take the others with it.
            return self.answered("untold", "this could not be asked: {!r}".format(error))
        answer = self.answered("yes")
        answer.update(found or {})
        return answer


def questions() -> "Iterator[Question]":
    """All questions, in the order in which they are asked."""
    for name, kind, key, value, flags in (
        ("hash", "hash", 4, 8, 0),
        ("hash/no_prealloc", "hash", 4, 8, NO_PREALLOC),
        ("array", "array", 4, 8, 0),
        ("prog_array", "prog_array", 4, 4, 0),
        ("perf_event_array", "perf_event_array", 4, 4, 0),
        ("percpu_hash", "percpu_hash", 4, 8, 0),
        ("percpu_array", "percpu_array", 4, 8, 0),
        ("lru_hash", "lru_hash", 4, 8, 0),
        ("lpm_trie", "lpm_trie", 8, 8, NO_PREALLOC),
        ("sockhash", "sockhash", 4, 4, 0),
        ("ringbuf", "ringbuf", 0, 0, 0),
    ):
        yield Question("map", name, ask_map, kind, key, value, flags)
    for kind in ("sched_cls", "xdp"):
        yield Question("program", kind, ask_program, kind)
    for hook, attach_type in CGROUP_HOOKS.items():
        yield Question("program", "cgroup_sock_addr/" + hook, ask_program, "cgroup_sock_addr", attach_type)
    for kind, helpers in CALLED.items():
        for helper in helpers.split():
            yield Question("helper", "{}/{}".format(kind, helper), ask_helper, kind, helper)
    yield Question("feature", "callbacks", ask_for_each)
    add = clear_stack(-8) + move(R1, 1) + atomic_64(R1, -8, ATOMIC_ADD_FETCH) + leave(0)
    yield Question("feature", "atomic_fetch", ask_feature, add, NO_OPERATION)
    either = clear_stack(-8) + move(R1, 1) + atomic_32(R1, -8, ATOMIC_OR) + leave(0)
    yield Question("feature", "atomic_or_32", ask_feature, either, NO_OPERATION)
    yield Question("feature", "bpf_loop", ask_loop)
    yield Question("feature", "timer", ask_timer)
    yield Question("feature", "spin_lock", ask_spin_lock)
    compared = move(R1, 1) + skip_if_zero_32(R1, 1) + move(R1, 2) + leave(0)
    yield Question("feature", "jmp32", ask_feature, compared, NO_OPERATION)
    yield Question("feature", "test_run/sched_cls", ask_test_run)
    yield Question("attach", "clsact/veth", ask_clsact)
    yield Question("attach", "tcx/veth", ask_tcx)
    yield Question("attach", "netkit", ask_netkit)
    yield Question("attach", "xdp/veth", ask_xdp, XDP_GENERIC)
    # A flag that a kernel does not know is invalid.
    yield Question("attach", "xdp-replace/veth", ask_xdp, XDP_GENERIC | XDP_REPLACE, (errno.EINVAL,))
    for hook in CGROUP_HOOKS:
        yield Question("attach", "cgroup/" + hook, ask_cgroup, hook)
    yield Question("attach", "cgroup-legacy/connect4", ask_cgroup_attach, "connect4")
    yield Question("device", "vxlan-external", ask_vxlan)
    for hook in CGROUP_HOOKS:
        yield Question("root_hooks", hook, ask_root, hook)


# The processes.

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Lost(Exception):  # noqa: N818 - becomes an answer
    """A child gave no answer, and why."""


class Interrupted(Exception):  # noqa: N818 - becomes part of the document
    """A signal told the trial to end."""


class Signals:
    """The signals that tell a process to end: noted, and seen by those who wait for the pipe, instead of ending it."""

    def __init__(self) -> None:
        self.noted = ""
        self.pipe, write_end = os.pipe()
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end)
        for number in ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)

    def _note(self, number: int, _frame: object) -> None:
        self.noted = "ended by " + signal.Signals(number).name


class Child:
    """A process that answers questions in turn, a line of JSON each, and dies with its parent."""

    def __init__(self, asked_for: "list[Question]", rights: Rights, root: "str | None") -> None:
        self._unread = b""
        self._pipe, write_end = os.pipe()
        parent = os.getpid()
        self._ended = None  # type: int | None
        self._process = os.fork()
        if self._process == 0:
            code = 1
            try:
                _answer_all(asked_for, Asked(rights, root), write_end, parent)
                code = 0
            finally:
                os._exit(code)
        os.close(write_end)

    def answer(self, seconds: float, signals: "Signals") -> "Answer":
        """The next answer; raises Lost where there is none in time, and Interrupted."""
        end = time.monotonic() + seconds
        while b"\n" not in self._unread:
            ready = select.select([self._pipe, signals.pipe], [], [], max(0.0, end - time.monotonic()))[0]
            if signals.noted:
                raise Interrupted(signals.noted)
            if not ready:
                raise Lost("no answer within {:.0f} s".format(seconds))
            piece = os.read(self._pipe, 1 << 16)
            if not piece:
                raise Lost("the process that asked " + self._how_ended())
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            answer = json.loads(line.decode())  # type: Answer
        except ValueError:
            raise Lost("the process that asked said: {!r}".format(line[:WORDS])) from None
        return answer

    def finish(self, seconds: float) -> bool:
        """Wait for its end, and kill it if that takes longer; whether it ended by itself and well."""
        os.close(self._pipe)
        status = self._status(seconds)
        if status is None:
            os.kill(self._process, signal.SIGKILL)
            # One that the kernel does not let go is left to it.
            status = self._status(TIDY_SECONDS)
        return status == 0

    def _how_ended(self) -> str:
        status = self._status(TIDY_SECONDS)
        if status is not None and os.WIFSIGNALED(status):
            names = {one.value: one.name for one in signal.Signals}
            return "was killed by {}".format(names.get(os.WTERMSIG(status), os.WTERMSIG(status)))
        return "ended"

    def _status(self, seconds: float) -> "int | None":
        """How it ended, None if it did not within the time."""
        end = time.monotonic() + seconds
        while self._ended is None:
            process, status = os.waitpid(self._process, os.WNOHANG)
            if process:
                self._ended = status
            elif time.monotonic() >= end:
                break
            else:
                time.sleep(0.01)
        return self._ended


def _answer_all(asked_for: "list[Question]", asked: Asked, pipe: int, parent: int) -> None:
    """What a child does."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    # Who waits for the end of what the parent prints must not have to wait for a child that hangs.
    for standard in (0, 1, 2):
        os.dup2(pipe, standard)
    try:
        for question in asked_for:
            os.write(pipe, json.dumps(question.ask(asked)).encode() + b"\n")
    finally:
        asked.groups.remove()


class Trial:
    """All questions, asked by one child after the other until they are answered or it makes no sense to go on."""

    def __init__(
        self,
        asked_for: "list[Question]",
        root: "str | None" = None,
        question_seconds: float = QUESTION_SECONDS,
        trial_seconds: float = TRIAL_SECONDS,
    ) -> None:
        self._questions = asked_for
        self._root = root
        self._question_seconds = question_seconds
        self._trial_seconds = trial_seconds
        self._rights = Rights()
        self._signals = Signals()
        self._answers = []  # type: list[Answer]
        self._child = None  # type: Child | None
        self._is_tidy = True

    def run(self) -> "Answer":
        """The document."""
        try:
            left = self._ask_all()
            if self._child is not None:
                self._drop_child(TIDY_SECONDS)
            if not self._is_tidy:
                tidying = Child([Question("", "", remove_leftovers)], self._rights, self._root)
                tidying.finish(TIDY_SECONDS)
        except OSError as error:
            left = "there is no process to ask: {}".format(error)
        for question in self._questions[len(self._answers) :]:
            self._answers.append(question.answered("untold", left))
        return self._document(left)

    def _ask_all(self) -> str:
        """Ask the questions; returns why not all of them were asked, if so."""
        end = time.monotonic() + self._trial_seconds
        lost = 0
        while len(self._answers) < len(self._questions):
            if lost == MOST_LOST:
                return "{} questions one after the other had no answer: {}".format(lost, self._answers[-1]["words"])
            if time.monotonic() >= end:
                return "the trial took longer than {:.0f} s".format(self._trial_seconds)
            if self._child is None:
                self._child = Child(self._questions[len(self._answers) :], self._rights, self._root)
            try:
                self._answers.append(self._child.answer(self._question_seconds, self._signals))
                lost = 0
            except Lost as error:
                self._answers.append(self._questions[len(self._answers)].answered("untold", str(error)))
                self._drop_child(0)
                lost += 1
            except Interrupted as error:
                self._drop_child(0)
                return str(error)
        return ""

    def _drop_child(self, seconds: float) -> None:
        assert self._child is not None  # noqa: S101 - for type checkers
        self._is_tidy &= self._child.finish(seconds)
        self._child = None

    def _document(self, left: str) -> "Answer":
        rights = self._rights
        hooks = [answer for answer in self._answers if answer["topic"] == "root_hooks"]
        return {
            "trial": TRIAL,
            "python": sys.version.split()[0],
            "release": os.uname().release,
            "machine": os.uname().machine,
            "capabilities": rights.capabilities,
            "user_namespace": rights.in_user_namespace,
            "seccomp": rights.seccomp,
            "memlock": rights.memlock,
            "answers": [answer for answer in self._answers if answer["topic"] != "root_hooks"],
            "root_hooks": [
                {
                    "hook": answer["name"],
                    "answer": "yes" if answer["answer"] == "yes" else "untold",
                    "programs": answer.get("programs", 0),
                    "flags": answer.get("flags", 0),
                    "errno": answer["errno"],
                    "words": answer["words"],
                    "needs": answer["needs"],
                }
                for answer in hooks
            ],
            "root_hooks_path": next((answer["path"] for answer in hooks if "path" in answer), ""),
            "left": left,
        }


def main(root: "str | None" = None) -> int:
    """Ask all questions and print the document; `root` is a cgroup to look at in place of the root of cgroup2."""
    if os.uname().sysname != "Linux" or os.uname().machine not in BPF_SYSCALL or struct.calcsize("P") != 8:
        give_up("this takes 64-bit Linux on {}".format(" or ".join(BPF_SYSCALL)))
    document = Trial(list(questions()), root).run()
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
