"""The shape of kube_proxy.toml: modes of kube-proxy, who looks after it, how it is told to go."""

from ebpfcheck.knowledge.table import Table


class ProxyModes(Table, frozen=True, kw_only=True):
    """The modes of kube-proxy; `plain` are those of which Felix removes all rules, or has none to remove."""

    default: str
    plain: tuple[str, ...]
    ipvs: str
    nftables: str
    source: str


class ProxySwitch(Table, frozen=True, kw_only=True):
    """The keys of kube-proxy's nodeSelector by which it is kept off all nodes, the one to set by hand first."""

    selectors: tuple[str, ...]
    source: str


class ProxyManagement(Table, frozen=True, kw_only=True):
    """kubeProxyManagement of the Installation: which releases have it, and the DaemonSet that it is about."""

    supported: str
    daemon_set: str
    source: str


class ProxyHealth(Table, frozen=True, kw_only=True):
    """kube-proxy's health port beside Felix's; kube_proxy.toml explains the words."""

    served_from: str
    takes_zero: str
    spare_port: int
    clouds: tuple[str, ...]
    source: str


class ProxyHealthField(Table, frozen=True, kw_only=True):
    """How releases spell the field that sets Felix's health port."""

    releases: str
    name: str
    source: str


class ProxyOwner(Table, frozen=True, kw_only=True):
    """A mark on kube-proxy that tells who looks after it; kube_proxy.toml explains the words."""

    name: str
    label: str = ""
    annotation: str = ""
    manager: str = ""
    refused: bool = False
    generic: bool = False
    remedy: str
    commands: tuple[str, ...] = ()
    undo: str = ""
    source: str


class ProxyPlatform(Table, frozen=True, kw_only=True):
    """How a platform runs kube-proxy, and how it is told to go; kube_proxy.toml explains the words."""

    platform: str
    in_sight: bool
    hidden_on: tuple[str, ...] = ()
    owner: str = ""
    can_go: bool = True
    remedy: str = ""
    commands: tuple[str, ...] = ()
    undo: str = ""
    later: str = ""
    source: str


class KubeProxyTables(Table, frozen=True, kw_only=True):
    """kube_proxy.toml: its modes, who looks after it, how it is told to go."""

    modes: ProxyModes
    switch: ProxySwitch
    management: ProxyManagement
    health: ProxyHealth
    health_field: tuple[ProxyHealthField, ...]
    owner: tuple[ProxyOwner, ...]
    platform: tuple[ProxyPlatform, ...]
