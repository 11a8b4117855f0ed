"""Has the kernel verify the BPF objects of a directory, by libbpf, and prints one frame of ebpfcheck's survey.

    python3 -I -S -B - NONCE DIRECTORY SECONDS SECONDS_EACH <objects.py

It prints what objects.sh prints, and loads as Felix does: without the program for fragments where Felix leaves it out,
and once more without it where an object is refused with it. Nothing is pinned and nothing attached; each object is
loaded by a process of its own, with which it goes. Where libbpf (1.0 or newer) cannot be used it prints nothing and
ends with code 3, so that bpftool can be used instead. It runs under Python 3.6 too, and is given on stdin, since a node
may have no place for it.
"""

import contextlib
import ctypes
import errno
import fnmatch
import os
import re
import resource
import select
import signal
import stat
import sys
import time
from pathlib import Path

CANNOT = 3
MOST_OBJECTS = 600
MOST_BYTES = 16 * 1024 * 1024
LINES_KEPT = 14
LINE_LENGTH = 200
# The most memory that loading one object may take, in bytes.
MEMORY = 1024 * 1024 * 1024
LOG_SIZE = 128 * 1024
# The verifier's word on what it stumbles over and its statistics, without each of its steps.
LOG_STATISTICS = 4
# What maps hold does not matter to the verifier; beyond this they are made smaller.
MOST_ENTRIES = 1024
SIZED_MAPS = (1, 2, 5, 6, 9, 10, 11)  # hash, array, per-CPU hash and array, LRU hash, per-CPU LRU hash, LPM trie
SCHED_CLS = 3
PR_SET_PDEATHSIG = 1

ORDER = (
    "from_hep_no_log*.o", "from_hep_fib_no_log*.o", "from_wep_no_log*.o", "from_wep_fib_no_log*.o", "to_hep_no_log*.o",
    "to_hep_fib_no_log*.o", "to_wep_no_log*.o", "from_vxlan*no_log*.o", "from_tnl*no_log*.o",
    "conntrack_cleanup_no_log*.o", "connect_*no_log*.o", "*preamble*.o", "*default*.o", "*no_log*.o", "*.o",
)  # fmt: skip
NAME = re.compile(r"[A-Za-z0-9_.+][A-Za-z0-9_.+-]*\.o")
# Felix loads it only on the way in, for IPv4, and neither on its own devices nor on loopback.
FRAGMENTS = b"calico_tc_skb_ipv4_frag"
HAS_FRAGMENTS = re.compile(r"from_(?!nat_|lo_)(?!.*_v6\.o$).*")
REFUSED = re.compile(r"prog '([^']*)': failed to load")

PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class Library:
    """The functions of libbpf and libc that are called."""

    def __init__(self) -> None:
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        self.libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
        self.libc = ctypes.CDLL(None)
        self.libc.vsnprintf.argtypes = [pointer, ctypes.c_size_t, text, pointer]
        self.libc.prctl.argtypes = [number, ctypes.c_ulong]
        for name, result, arguments in (
            ("libbpf_set_print", pointer, [PRINT]),
            ("bpf_object__open_file", pointer, [text, pointer]),
            ("bpf_object__load", number, [pointer]),
            ("bpf_object__close", None, [pointer]),
            ("bpf_object__next_map", pointer, [pointer, pointer]),
            ("bpf_map__set_pin_path", number, [pointer, text]),
            ("bpf_map__type", number, [pointer]),
            ("bpf_map__max_entries", ctypes.c_uint32, [pointer]),
            ("bpf_map__set_max_entries", number, [pointer, ctypes.c_uint32]),
            ("bpf_object__next_program", pointer, [pointer, pointer]),
            ("bpf_program__name", text, [pointer]),
            ("bpf_program__section_name", text, [pointer]),
            ("bpf_program__type", number, [pointer]),
            ("bpf_program__set_type", number, [pointer, number]),
            ("bpf_program__set_autoload", number, [pointer, ctypes.c_bool]),
            ("bpf_program__set_log_level", number, [pointer, ctypes.c_uint32]),
            ("bpf_program__set_log_buf", number, [pointer, pointer, ctypes.c_size_t]),
        ):
            function = getattr(self.libbpf, name)
            function.restype = result
            function.argtypes = arguments

    @property
    def version(self) -> str:
        """The version, as libbpf itself tells it."""
        function = self.libbpf.libbpf_version_string
        function.restype = ctypes.c_char_p
        return str((function() or b"").decode("ascii", "replace"))


class Loader:
    """Loads one object, and keeps the last lines of what libbpf says of it."""

    def __init__(self, library: Library) -> None:
        self.lines = []  # type: list[str]
        self._library = library
        self._bpf = library.libbpf
        self._logs = {}  # type: dict[str, ctypes.Array[ctypes.c_char]]
        self._print = PRINT(self._said)
        self._bpf.libbpf_set_print(self._print)

    def _said(self, level: int, form: bytes, arguments: int) -> int:
        if level <= 1:  # warnings and information, without debugging
            buffer = ctypes.create_string_buffer(LOG_SIZE)
            self._library.libc.vsnprintf(buffer, LOG_SIZE, form, arguments)
            text = buffer.value.decode("utf-8", "replace")
            refused = REFUSED.search(text)
            if refused and refused.group(1) in self._logs:
                # libbpf tells of a log only where it is its own.
                text = self._logs[refused.group(1)].value.decode("utf-8", "replace") + text
            self.lines += [line for line in text.splitlines() if line]
            del self.lines[:-LINES_KEPT]
        return 0

    def load(self, name: str) -> "tuple[int, bool]":
        """Load an object of the working directory: the errno, 0 for success, and whether fragments were left out."""
        has_fragments = HAS_FRAGMENTS.match(name) is not None
        code, held = self._load(name, has_fragments)
        if code and code not in (errno.EPERM, errno.ENOMEM) and has_fragments and held:
            refused, self.lines = self.lines, []
            again, _ = self._load(name, False)
            if not again:
                self.lines = refused
                return 0, True
            return again, True
        return code, False

    def _load(self, name: str, with_fragments: bool) -> "tuple[int, bool]":
        bpf = self._bpf
        ctypes.set_errno(0)
        opened = bpf.bpf_object__open_file(os.fsencode("./" + name), None)
        if not opened:
            return ctypes.get_errno() or errno.EINVAL, False
        held = self._prepare(opened, with_fragments)
        code = -bpf.bpf_object__load(opened)
        bpf.bpf_object__close(opened)
        return max(code, 0), held

    def _prepare(self, opened: int, with_fragments: bool) -> bool:
        bpf = self._bpf
        each = bpf.bpf_object__next_map(opened, None)
        while each:
            bpf.bpf_map__set_pin_path(each, None)
            if bpf.bpf_map__type(each) in SIZED_MAPS and bpf.bpf_map__max_entries(each) > MOST_ENTRIES:
                bpf.bpf_map__set_max_entries(each, MOST_ENTRIES)
            each = bpf.bpf_object__next_map(opened, each)
        held = False
        program = bpf.bpf_object__next_program(opened, None)
        while program:
            section = bpf.bpf_program__section_name(program)
            if bpf.bpf_program__type(program) == 0 and section.startswith((b"tc", b"netkit/")):
                # libbpf before 1.3 does not know it by that name.
                bpf.bpf_program__set_type(program, SCHED_CLS)
            if bpf.bpf_program__name(program) == FRAGMENTS:
                held = True
                bpf.bpf_program__set_autoload(program, with_fragments)
            log = ctypes.create_string_buffer(LOG_SIZE)
            self._logs[bpf.bpf_program__name(program).decode("utf-8", "replace")] = log
            bpf.bpf_program__set_log_level(program, LOG_STATISTICS)
            bpf.bpf_program__set_log_buf(program, log, LOG_SIZE)
            program = bpf.bpf_object__next_program(opened, program)
        return held


def say(text: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def answer(library: Library, name: str, seconds: float) -> "tuple[bytes, int]":
    """Return what a process of its own prints of an object within a time, and how it ended: 0, or the signal."""
    reading, writing = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            # Alone it would keep a CPU in the verifier.
            library.libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(code)
            os.close(reading)
            with contextlib.suppress(OSError, ValueError):
                # There may be a lower limit already.
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            loader = Loader(library)
            refusal, is_without = loader.load(name)
            said = "".join(f"| {line[:LINE_LENGTH]}\n" for line in loader.lines)
            without = " without " + FRAGMENTS.decode() if is_without else ""
            os.write(writing, f"{said}end {refusal}{without}".encode("utf-8", "replace"))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    printed = b""
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            os.kill(child, signal.SIGKILL)
            break
        part = os.read(reading, 65536)
        if not part:
            break
        printed += part
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    return printed, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def try_object(library: Library, name: str, seconds: float) -> None:
    """Print the answer about one object."""
    say(f"object {name}")
    try:
        found = Path(name).stat()
    except OSError:
        return say("end irregular")
    if not stat.S_ISREG(found.st_mode):
        return say("end irregular")
    if found.st_size > MOST_BYTES:
        return say("end large")
    printed, ended_by = answer(library, name, seconds)
    if ended_by or not printed:
        return say("end timeout" if ended_by == signal.SIGKILL else "end killed")
    return say(printed.decode("utf-8", "replace"))


def main(arguments: "list[str]") -> int:
    """Print the frame; 0, or CANNOT where libbpf cannot be used."""
    nonce, directory, seconds, each = arguments[0], arguments[1], float(arguments[2]), float(arguments[3])
    try:
        library = Library()
        os.chdir(directory)
        names = [entry.name for entry in os.scandir(".") if entry.name.endswith(".o")]
    except (OSError, AttributeError):
        # What is wrong with the directory is told by objects.sh.
        return CANNOT
    with contextlib.suppress(OSError, ValueError):
        # Kernels before 5.11 count maps against it.
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    say(f"\nebpfcheck-{nonce} begin objects {directory}")
    say(f"loader libbpf {library.version}")
    say(f"found {len(names)}")
    tried = sorted(filter(NAME.fullmatch, names), key=_place)[:MOST_OBJECTS]
    end = time.monotonic() + seconds
    try:
        for name in tried:
            left = end - time.monotonic()
            if left > 0:
                try_object(library, name, min(left, each))
            else:
                say(f"left {name}")
    except OSError as error:
        # No process could be made, say; what was printed is not told a second time by bpftool.
        say(f"\nebpfcheck-{nonce} end failed {error.strerror}")
        return 0
    say(f"\nebpfcheck-{nonce} end ok")
    return 0


def _place(name: str) -> "tuple[int, str]":
    return next(place for place, pattern in enumerate(ORDER) if fnmatch.fnmatchcase(name, pattern)), name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
