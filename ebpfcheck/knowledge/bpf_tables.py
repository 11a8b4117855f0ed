"""The shape of bpf_needs.toml: what the programs of a release ask of the kernel."""

from typing import Literal

from ebpfcheck.knowledge.kernel_tables import Level
from ebpfcheck.knowledge.table import Table

Topic = Literal["map", "program", "helper", "feature", "attach", "device"]


class Covered(Table, frozen=True, kw_only=True):
    """The releases whose needs are known."""

    releases: str
    source: str


class BpfNeed(Table, frozen=True, kw_only=True):
    """Things of one topic that some releases need for the same; bpf_needs.toml explains the words."""

    topic: Topic
    names: tuple[str, ...]
    releases: str
    level: Level
    effect: str
    instead: tuple[str, ...] = ()
    spared: str = ""
    attach_type: str = ""
    connect_time: bool = False
    source: str


class BpfHooks(Table, frozen=True, kw_only=True):
    """Hooks of cgroup2 that connect-time load balancing attaches to, for UDP or for all else."""

    names: tuple[str, ...]
    releases: str
    udp: bool = False
    source: str


class Balancing(Table, frozen=True, kw_only=True):
    """How Felix attaches connect-time load balancing; bpf_needs.toml explains the words."""

    releases: str
    links: bool
    failure: str
    setting: str = ""
    off: str = ""
    source: str


class BpfTables(Table, frozen=True, kw_only=True):
    """bpf_needs.toml."""

    coverage: Covered
    balancing: tuple[Balancing, ...]
    hooks: tuple[BpfHooks, ...]
    need: tuple[BpfNeed, ...]
