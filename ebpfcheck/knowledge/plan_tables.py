"""The shape of plan.toml: what the change to eBPF mode does to traffic, how long it takes, what it leaves."""

from typing import Literal

from ebpfcheck.knowledge.table import Table


class Times(Table, frozen=True, kw_only=True):
    """How long the parts of the change are waited for."""

    kubelet_seconds: int
    rollout_minutes: int
    minutes: int
    source: str


class Disruption(Table, frozen=True, kw_only=True):
    """What the change does to traffic; plan.toml explains `when`."""

    releases: str
    when: Literal["always", "vxlan", "node_ports", "at_once", "by_node", "mtu"]
    words: str
    source: str


class Residue(Table, frozen=True, kw_only=True):
    """What stays on nodes after the way back."""

    releases: str
    install: Literal["operator", "manifest", ""] = ""
    words: str
    reboot: bool
    source: str


class AfterRestart(Table, frozen=True, kw_only=True):
    """What has to be started anew after the switch; plan.toml explains `when`."""

    releases: str
    when: Literal["always", "mtu"]
    words: str
    remedy: str
    source: str


class PlanTables(Table, frozen=True, kw_only=True):
    """plan.toml: the change to eBPF mode and back."""

    times: Times
    disruption: tuple[Disruption, ...]
    restart: tuple[AfterRestart, ...]
    residue: tuple[Residue, ...]
