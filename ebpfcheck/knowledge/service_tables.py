"""The shape of services.toml: Services, load balancers, addresses and map sizes."""

from typing import Literal

from ebpfcheck.knowledge.table import Table


class Dsr(Table, frozen=True, kw_only=True):
    """Direct server return: how it is asked for, and what it asks for."""

    mode: str
    opt_out: str
    aws_off: str
    source: str


class LoadBalancer(Table, frozen=True, kw_only=True):
    """A program that implements load balancers; services.toml explains the words."""

    program: str
    title: str
    outside: bool
    hint: str
    source: str


class Cloud(Table, frozen=True, kw_only=True):
    """A cloud by the scheme of providerID; services.toml explains the words."""

    provider: str
    title: str
    firewall: str
    forwarding: str
    look_up: str
    felix_switch: str = ""
    source: str


class LocalPolicy(Table, frozen=True, kw_only=True):
    """What is different in eBPF mode of some releases for Services that want local endpoints only."""

    of: Literal["external_local", "health_checked"]
    releases: str
    effect: str
    fixed_in: str
    source: str


class ServiceFeature(Table, frozen=True, kw_only=True):
    """A field of Services, and the releases that heed it."""

    of: Literal["internal_local", "maglev", "traffic_distribution"]
    name: str
    heeded: str
    effect: str
    of_zones: bool = False
    """Whether it concerns clusters in several zones alone."""
    fixed_in: str
    source: str


class Autodetection(Table, frozen=True, kw_only=True):
    """How calico-node finds the address of its node."""

    refused_without_pool: str
    falls_back: str
    falls_back_from: str
    internal_ip: str
    methods: tuple[str, ...]
    variable_methods: dict[str, str]
    variables: dict[str, str]
    off: str
    no_backend: str
    source: str


class BasePorts(Table, frozen=True, kw_only=True):
    """What Calico sends between nodes."""

    bgp: int
    typha: int
    wireguard: int
    wireguard_v6: int
    ipip_protocol: int
    bgp_backends: tuple[str, ...]
    other_backends: tuple[str, ...]
    source: str


class Scale(Table, frozen=True, kw_only=True):
    """How entries of BPF maps are counted; services.toml explains the words."""

    nearly_full: int
    node_addresses: int
    node_routes: int
    node_interfaces: int
    slice_endpoints: int
    source: str


class MapSize(Table, frozen=True, kw_only=True):
    """How many entries a BPF map takes by default, and the setting of it where there is one."""

    map: Literal["frontends", "backends", "routes", "interfaces"]
    releases: str
    entries: int
    setting: str = ""
    source: str


class ServiceTables(Table, frozen=True, kw_only=True):
    """services.toml: Services, load balancers, addresses and map sizes."""

    dsr: Dsr
    load_balancer: tuple[LoadBalancer, ...]
    cloud: tuple[Cloud, ...]
    local_policy: tuple[LocalPolicy, ...]
    service_feature: tuple[ServiceFeature, ...]
    autodetection: Autodetection
    base_ports: BasePorts
    scale: Scale
    map_size: tuple[MapSize, ...]
