"""The shape of kernel.toml: what Felix and its programs ask of the kernel."""

from datetime import date
from typing import Literal

from ebpfcheck.knowledge.table import Table

Level = Literal["blocker", "degrade", "note"]


class Gate(Table, frozen=True, kw_only=True):
    """Felix's own test of the kernel version; kernel.toml explains the words."""

    releases: str
    parser: Literal["none", "three", "four"]
    words: Literal["none", "exact", "folded"]
    floor: str = ""
    rhel_floor: str = ""
    source: str


class Documented(Table, frozen=True, kw_only=True):
    """The kernel that the documentation of a release asks for."""

    releases: str
    generic: str
    el: str = ""
    el_name: str = ""
    source: str

    def __str__(self) -> str:
        return f"{self.generic} or newer" + (f", or {self.el_name} with {self.el} or newer" if self.el else "")


class EnterpriseLinux(Table, frozen=True, kw_only=True):
    """How systems with Red Hat's kernel name themselves."""

    ids: tuple[str, ...]
    words: tuple[str, ...]


class Edge(Table, frozen=True, kw_only=True):
    """The patches of a stable series between which a kernel became bad, as far as they are known."""

    series: str
    good_to: int | None = None
    bad_from: int | None = None


class KnownBad(Table, frozen=True, kw_only=True):
    """A bug of some releases on some kernels."""

    id: str
    title: str
    affected: tuple[str, ...]
    fixed_in: str
    edges: tuple[Edge, ...]
    unknown_from: str
    backported_after: date
    objects: str
    """What objects it is in, by a pattern of their names; where the kernel accepts them, it does not strike."""
    remedy: str
    sources: tuple[str, ...]


class Series(Table, frozen=True, kw_only=True):
    """When the stable series of the kernel came out."""

    granted_days: int
    released: dict[str, date]
    source: str


class Measured(Table, frozen=True, kw_only=True):
    """On which kernels the programs of a release were loaded."""

    releases: str
    objects_of: str
    """What they were compiled from."""
    loaded: tuple[str, ...]
    """The kernels that took all that Felix needs, the oldest first."""
    refused: tuple[str, ...] = ()
    source: str


class Loss(Table, frozen=True, kw_only=True):
    """What is lost where kernels refuse a program that Felix can do without."""

    id: str
    releases: str
    seen_on: tuple[str, ...]
    severity: Level
    effect: str
    needed: str
    feature: str
    """What they lack, as a trial calls it."""
    source: str


class DebugBug(Table, frozen=True, kw_only=True):
    """Releases whose programs for IPv6 are too large for some kernels at log level Debug."""

    id: str
    releases: str
    objects_of: str
    only_without_btf: bool
    open_from: str
    """The first series that may refuse them, as far as older ones took them or were not tried."""
    refused: tuple[str, ...]
    effect: str
    source: str


class Btf(Table, frozen=True, kw_only=True):
    """What a kernel without BTF means."""

    releases: str
    severity: Level
    effect: str
    source: str


class ConfigOption(Table, frozen=True, kw_only=True):
    """A kernel configuration option that eBPF mode needs."""

    option: str
    severity: Level
    module: bool
    tc_only: bool = False
    effect: str
    source: str


class Tcx(Table, frozen=True, kw_only=True):
    """The releases, and kernels from this series on, that attach by TCX instead of tc."""

    releases: str
    kernel: str
    source: str


class JitHarden(Table, frozen=True, kw_only=True):
    """Which releases lower net.core.bpf_jit_harden by themselves, and which have a setting against that."""

    lowered_by_felix: str
    setting: str
    source: str


class KernelTables(Table, frozen=True, kw_only=True):
    """kernel.toml."""

    gate: tuple[Gate, ...]
    documented: tuple[Documented, ...]
    enterprise_linux: EnterpriseLinux
    known_bad: tuple[KnownBad, ...]
    series: Series
    measured: tuple[Measured, ...]
    loss: tuple[Loss, ...]
    debug_bug: tuple[DebugBug, ...]
    btf: tuple[Btf, ...]
    config: tuple[ConfigOption, ...]
    tcx: Tcx
    jit_harden: JitHarden
