"""Boots Debian's kernels in a virtual machine, with a root file system that is packed for the occasion."""

import importlib.util
import io
import lzma
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ebpfcheck.collect.transport import SURVEY_SCRIPT
from tests.builders import ROOT
from tests.live.tools import need

# Where tests/kernels.sh puts them.
KERNELS = ROOT / ".kernels"

INIT = """\
#!/bin/sh
set -e
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t securityfs securityfs /sys/kernel/security
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
ip link set lo up
{commands}
# The second serial port carries bytes; a terminal would turn LF into CR LF.
stty -F /dev/ttyS1 raw
tar -c -f /dev/ttyS1 -C /results .
poweroff -f
"""
SURVEY = "{shell} -s nonce < /survey.sh > /results/stdout 2> /results/stderr"


def kernel(name: str) -> Path:
    """The directory of a kernel; skips the test if it cannot be booted here."""
    if platform.machine() != "x86_64":
        pytest.skip(f"the kernels to boot are for x86_64, this machine is {platform.machine()}")
    need("qemu-system-x86_64", "qemu-system-x86")
    directory = KERNELS / name
    if not (directory / "release").exists():
        pytest.skip(f"kernel {name} is not in {KERNELS}: tests/kernels.sh fetches what Debian's mirror has")
    return directory


def only(directory: Path, pattern: str) -> Path:
    """The one path below a directory that matches."""
    (path,) = directory.rglob(pattern)
    return path


def boot(
    directory: Path,
    commands: str,
    tmp_path: Path,
    *,
    words: str = "",
    programs: Iterable[str] = (),
    modules: Iterable[str] = (),
    shell: str = "sh",
) -> tuple[bytes, bytes]:
    """Boot a kernel, run commands and then the survey, and return what that printed on stdout and stderr.

    `words` go to the kernel; `programs` of this machine and the kernel's `modules` are put in beside busybox.
    """
    root = _root(directory, tmp_path, tuple(programs), tuple(modules))
    shutil.copy(SURVEY_SCRIPT, root / "survey.sh")
    survey = f"{commands}\n{SURVEY.format(shell=shell)}"
    results = _run(directory, root, survey, tmp_path, words, seconds=60)
    return results["stdout"], results["stderr"]


def boot_python(
    directory: Path,
    commands: str,
    tmp_path: Path,
    *,
    words: str = "",
    files: Iterable[Path] = (),
    data: Iterable[Path] = (),
    programs: Iterable[str] = (),
    modules: Iterable[str] = (),
) -> dict[str, bytes]:
    """Boot a kernel, run commands for which $PYTHON and the `files` are in the root directory, return their results.

    Results are what the commands put in /results, by name. The files, which are programs in Python, find those modules
    of the standard library that they import. `data` are files and directories that go along as they are.
    """
    python = Path(sys.executable).resolve()
    root = _root(directory, tmp_path, (str(python), *programs), tuple(modules))
    for path in files:
        shutil.copy(path, root)
    for path in data:
        if path.is_dir():
            shutil.copytree(path, root / path.name)
        else:
            shutil.copy(path, root)
    for path in _modules_of(tuple(files)):
        target = root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        # With the times, by which Python knows that what it compiled is of today.
        shutil.copy2(path, target)
    exported = f"export PYTHON={python} PYTHONHOME={sys.base_prefix}"
    return _run(directory, root, f"{exported}\n{commands}", tmp_path, words, seconds=110)


def _run(directory: Path, root: Path, commands: str, tmp_path: Path, words: str, seconds: float) -> dict[str, bytes]:
    """Boot with a root file system, run commands, and return what is in /results after them."""
    initrd = _initramfs(root, commands, tmp_path)
    console, results = tmp_path / "console", tmp_path / "results"
    machine = ("qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-net", "none", "-display", "none", "-no-reboot")
    told = ("-append", f"console=ttyS0 quiet panic=-1 {words}")
    ports = ("-serial", f"file:{console}", "-serial", f"file:{results}")
    files = ("-kernel", str(only(directory, "vmlinuz*")), "-initrd", str(initrd))
    # Of a machine that hangs its console tells more than the clock.
    with suppress(subprocess.TimeoutExpired):
        subprocess.run((*machine, *files, *told, *ports), stdin=subprocess.DEVNULL, timeout=seconds, check=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(results.read_bytes()), mode="r:") as archive:
            return {Path(member.name).name: _content(archive, member) for member in archive if member.isfile()}
    except tarfile.TarError as error:
        said = console.read_text(errors="replace")[-4000:]
        pytest.fail(f"the boot gave no results ({error}); its console said:\n{said}", pytrace=False)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def _root(directory: Path, tmp_path: Path, programs: tuple[str, ...], modules: tuple[str, ...]) -> Path:
    """A root file system in which only /init is missing."""
    release = (directory / "release").read_text().strip()
    root = tmp_path / "root"
    for name in ("bin", "boot", "dev", "etc", "modules", "proc", "results", "run", "sys", f"usr/lib/modules/{release}"):
        (root / name).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    shutil.copy(_static_busybox(), root / "bin" / "busybox")
    (root / "bin" / "sh").symlink_to("busybox")
    for program in programs:
        for path in _with_libraries(program):
            target = root / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    loaded = list(dict.fromkeys(name for module in modules for name in _with_needed(directory, module)))
    for name in loaded:
        (root / "modules" / f"{name}.ko").write_bytes(_module(directory, name))
    (root / "modules" / "order").write_text(" ".join(loaded))
    config = only(directory, "config*")
    shutil.copy(config, root / config.relative_to(directory))
    (root / "etc" / "os-release").write_text('PRETTY_NAME="Debian GNU/Linux"\nNAME="Debian GNU/Linux"\nID=debian\n')
    return root


def _initramfs(root: Path, commands: str, tmp_path: Path) -> Path:
    """Pack a root file system that runs commands and turns the machine off."""
    (root / "init").write_text(INIT.format(commands=commands))
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    packed = tmp_path / "initramfs"
    with packed.open("wb") as out:
        command = (_static_busybox(), "cpio", "-o", "-H", "newc")
        subprocess.run(command, cwd=root, input=names.encode(), stdout=out, stderr=subprocess.DEVNULL, check=True)
    return packed


def _modules_of(programs: tuple[Path, ...]) -> Iterator[Path]:
    """What of the standard library some programs in Python load, compiled too, and the libraries that it needs."""
    told = "import runpy, sys\nfor path in sys.argv[1:]: runpy.run_path(path)\n"
    told += "print(*(one.__file__ for one in sys.modules.values() if getattr(one, '__file__', None)), sep='\\n')"
    command = (str(Path(sys.executable).resolve()), "-I", "-S", "-c", told, *map(str, programs))
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for path in map(Path, listed.split()):
        if path.suffix == ".py":
            yield path
            compiled = Path(importlib.util.cache_from_source(path))
            if compiled.exists():
                yield compiled
        else:
            yield from _with_libraries(str(path))


def _static_busybox() -> str:
    """The busybox that runs without libraries; skips the test if there is none."""
    need("busybox", "busybox-static")
    program = shutil.which("busybox")
    assert program is not None
    if subprocess.run(("ldd", program), capture_output=True, check=False).returncode == 0:
        pytest.skip("busybox is not static (Debian package busybox-static)")
    return program


def _with_libraries(program: str) -> Iterator[Path]:
    """A program of this machine and the libraries that it is linked with."""
    found = shutil.which(program)
    assert found is not None
    yield Path(found)
    listed = subprocess.run(("ldd", found), capture_output=True, text=True, check=True).stdout
    yield from (Path(path) for path in re.findall(r"(/\S+) \(0x", listed))


def _module(directory: Path, name: str) -> bytes:
    path = next(path for path in directory.rglob("*.ko*") if _module_name(path) == name)
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def _module_name(path: Path) -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def _with_needed(directory: Path, name: str) -> Iterator[str]:
    """A module after those that it says it depends on; what is built in is on no list."""
    needed = re.search(rb"\0depends=([^\0]*)\0", _module(directory, name))
    assert needed is not None
    for other in filter(None, needed[1].decode().split(",")):
        yield from _with_needed(directory, other.replace("-", "_"))
    yield name
