"""The shape of verify.toml: how calico-node shows which dataplane really runs."""

from typing import Literal

from ebpfcheck.knowledge.table import Table

Role = Literal["start", "bpf", "decided", "fallback", "api", "load_balancer", "table", "start_sign", "sign", "panic"]


class LogLine(Table, frozen=True, kw_only=True):
    """A line of calico-node's log, by a part of it, and what part it plays; verify.toml explains the roles."""

    name: str
    role: Role
    text: str
    releases: str
    source: str


class Flapping(Table, frozen=True, kw_only=True):
    """The lines of the log that tell of rules which somebody else changes, and how many of them are no accident."""

    lines: tuple[str, ...]
    at_least: int
    source: str


class Restarting(Table, frozen=True, kw_only=True):
    """How many starts of Felix within the last minutes are no accident."""

    at_least: int
    source: str


class RulesTables(Table, frozen=True, kw_only=True):
    """The tables by whose names Felix tells whether it writes to nftables or to iptables."""

    nftables: tuple[str, ...]
    iptables: tuple[str, ...]
    releases: str
    source: str


class Metrics(Table, frozen=True, kw_only=True):
    """Where Felix serves its metrics, and those that count endpoints of eBPF mode, and such without programs."""

    port: int
    endpoints: str
    dirty: str
    releases: str
    source: str


class VerifyTables(Table, frozen=True, kw_only=True):
    """All of verify.toml."""

    line: tuple[LogLine, ...]
    flapping: Flapping
    restarting: Restarting
    rules: RulesTables
    metrics: Metrics
