"""The shape of features.toml: what is in use that not every release can do."""

from ebpfcheck.knowledge.table import Table


class Ipv6(Table, frozen=True, kw_only=True):
    """What eBPF mode can do of IPv6, and what decides whether Felix does it."""

    unsupported: str
    one_family: str
    supported_from: str
    field: str
    variable: str
    source: str


class HostEndpointRules(Table, frozen=True, kw_only=True):
    """Host endpoints and their policies."""

    unsupported: str
    supported_from: str
    automatic: str
    source: str


class Sctp(Table, frozen=True, kw_only=True):
    """SCTP; `dropped` are the releases that drop all SCTP of pods."""

    dropped: str
    source: str


class FloatingIps(Table, frozen=True, kw_only=True):
    """Floating IPs; features.toml explains the words."""

    setting_from: tuple[str, ...]
    setting: str
    enabled: str
    annotation: str
    source: str


class LogAction(Table, frozen=True, kw_only=True):
    """Policy rules with the action Log."""

    breaks: str
    fixed_in: str
    ignored: str
    since: str
    kernel: str
    source: str


class DoNotTrack(Table, frozen=True, kw_only=True):
    """Policies with doNotTrack; `one_family` are the releases that have them for IPv4 alone."""

    unsupported: str
    supported_from: str
    one_family: str
    source: str


class SourcePrefixes(Table, frozen=True, kw_only=True):
    """Pods that may send from addresses that are not theirs."""

    unsupported: str
    supported_from: str
    annotation: str
    source: str


class HostPorts(Table, frozen=True, kw_only=True):
    """Host ports; features.toml explains the words."""

    refused: str
    accepted_from: str
    refused_word: str
    accepted_word: str
    broken: tuple[str, ...]
    fixed_in: str
    bypass: str
    bypass_variable: str
    source: str


class FeatureTables(Table, frozen=True, kw_only=True):
    """features.toml: what is in use that not every release can do."""

    ipv6: Ipv6
    host_endpoints: HostEndpointRules
    sctp: Sctp
    floating_ips: FloatingIps
    log_action: LogAction
    do_not_track: DoNotTrack
    source_prefixes: SourcePrefixes
    host_ports: HostPorts
