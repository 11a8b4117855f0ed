"""Would Felix accept a kernel, and do the documents: the two answers, from nothing but strings."""

import re
from typing import Literal

import msgspec

from ebpfcheck.knowledge.kernel_tables import Documented, EnterpriseLinux, Gate
from ebpfcheck.versions import KernelRelease

Distro = Literal["ubuntu", "rhel", "default"]

_THREE = re.compile(r"Linux version (\d+\.\d+\.\d+)", re.ASCII)
_FOUR = re.compile(r"Linux version (\d+\.\d+\.\d+(?:-\d+)?)", re.ASCII)
_SPLIT = re.compile(r"[.-]")
_EL_MINOR = re.compile(r"el\d+_\d+", re.ASCII)
# Go's strconv.Atoi, with which Felix reads each number, takes no larger one.
_LARGEST_INT = 2**63 - 1


class FelixAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What Felix's own test says of a kernel; None where the string at hand does not decide it."""

    accepts: bool | None
    distro: Distro | None
    needs: str
    why: Literal["ok", "no_test", "unreadable", "too_old", "no_compiler_text"]


def ask_felix(gate: Gate, *, proc_version: str | None, release: KernelRelease | None) -> FelixAnswer:
    """Apply Felix's test to /proc/version, or to a bare release where that is enough to tell."""
    if gate.parser == "none":
        return FelixAnswer(accepts=True, distro=None, needs="any kernel", why="no_test")
    text = proc_version if proc_version is not None else f"Linux version {release.text if release else ''}"
    version = _felix_version(gate, text)
    if version is None:
        return FelixAnswer(accepts=False, distro=None, needs=gate.floor, why="unreadable")
    distro = _felix_distro(gate, text) if proc_version is not None else _distro_of_release(gate, release)
    default, rhel = _numbers(gate.floor), _numbers(gate.rhel_floor or gate.floor)
    floors = {None: {default, rhel}, "rhel": {rhel}, "ubuntu": {default}, "default": {default}}[distro]
    answers = {version >= floor for floor in floors}
    accepts = answers.pop() if len(answers) == 1 else None
    either = f"{gate.floor}, or {gate.rhel_floor} where /proc/version says Red Hat"
    needs = gate.floor if distro in ("ubuntu", "default") else gate.rhel_floor if distro else either
    if accepts is None:
        return FelixAnswer(accepts=None, distro=None, needs=needs, why="no_compiler_text")
    return FelixAnswer(accepts=accepts, distro=distro, needs=needs, why="ok" if accepts else "too_old")


def meets_documented(documented: Documented, release: KernelRelease, el: bool | None) -> bool | None:
    """Whether a kernel is at least the documented one; `el` says whether it is Red Hat's, None if that is not known.

    None where that would decide and is not known.
    """
    if release.base >= _three(documented.generic):
        return True
    if not documented.el or release.base != _three(documented.el):
        return False
    if release.build is None or (*release.base, release.build) < _numbers(documented.el):
        return False
    return el


def is_enterprise_linux(
    names: EnterpriseLinux,
    release: KernelRelease,
    *,
    proc_version: str | None = None,
    os_id: str | None = None,
    os_image: str | None = None,
) -> bool | None:
    """Whether a kernel is one of Red Hat's or a rebuild of it; None where nothing at hand tells."""
    if release.is_el or (proc_version is not None and "Red Hat" in proc_version):
        return True
    if os_id:
        return os_id in names.ids
    if os_image:
        return any(word.lower() in os_image.lower() for word in names.words)
    return None if proc_version is None else False


def _felix_version(gate: Gate, text: str) -> tuple[int, ...] | None:
    match = (_THREE if gate.parser == "three" else _FOUR).search(text)
    if match is None:
        return None
    parts = [part.lstrip("0") or "0" for part in _SPLIT.split(match[1])]
    if any(len(part) > 19 for part in parts):
        return None
    numbers = tuple(int(part) for part in parts)
    return None if max(numbers) > _LARGEST_INT else numbers


def _felix_distro(gate: Gate, text: str) -> Distro:
    if gate.words == "none":
        return "default"
    if gate.words == "exact":
        return "ubuntu" if "Ubuntu" in text else "rhel" if "Red Hat" in text else "default"
    folded = text.lower()
    if "ubuntu" in folded:
        return "ubuntu"
    return "rhel" if "red hat" in folded or _EL_MINOR.search(folded) else "default"


def _distro_of_release(gate: Gate, release: KernelRelease | None) -> Distro | None:
    """Tell the distro from a bare release where that is certain.

    An elN tag on Red Hat's own base can only come from Red Hat's compiler, whose name Felix looks for; of any other
    kernel (ELRepo builds theirs with it too) only /proc/version tells.
    """
    if gate.words == "none":
        return "default"
    if release is not None and release.is_el and release.base == _three(gate.rhel_floor):
        return "rhel"
    if gate.words == "folded" and release is not None and _EL_MINOR.search(release.text.lower()):
        return "rhel"
    return None


def _numbers(text: str) -> tuple[int, ...]:
    # Tuples compare as Felix does: part by part, and of two that agree so far the longer one is greater.
    return tuple(int(part) for part in _SPLIT.split(text))


def _three(text: str) -> tuple[int, int, int]:
    numbers = (*_numbers(text), 0, 0)
    return numbers[0], numbers[1], numbers[2]
