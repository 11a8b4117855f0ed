"""The shape of calico.toml: Felix, the datastore, overlays."""

from ebpfcheck.knowledge.table import Table


class Mode(Table, frozen=True, kw_only=True):
    """Which releases have eBPF mode."""

    since: str
    preview: str
    source: str


class Datastore(Table, frozen=True, kw_only=True):
    """How calico-node is told where its objects are."""

    needed: str
    etcd: str
    variables: tuple[str, ...]
    etcd_always: tuple[str, ...]
    etcd_otherwise: tuple[str, ...]
    crds: str
    served: str
    source: str


class Images(Table, frozen=True, kw_only=True):
    """How an image of calico-node tells its release."""

    tag: str
    enterprise: tuple[str, ...]
    enterprise_variants: tuple[str, ...]
    source: str


class VxlanStep(Table, frozen=True, kw_only=True):
    """The releases that older ones do not understand over VXLAN."""

    releases: str
    source: str


class VxlanBug(Table, frozen=True, kw_only=True):
    """A bug that some releases have in eBPF mode where an IPPool uses VXLAN."""

    releases: str
    effect: str
    fixed_in: str
    source: str


class OperatorRules(Table, frozen=True, kw_only=True):
    """How Tigera's operator turns eBPF mode on."""

    sets_felix: str
    sets_variable: str
    variable: str
    annotation: str
    keeps_pools: str
    true_words: tuple[str, ...]
    false_words: tuple[str, ...]
    bpf: str
    vpp: str
    source: str


class FelixRules(Table, frozen=True, kw_only=True):
    """Where Felix takes its configuration from."""

    selectors: str
    true_words: tuple[str, ...]
    prefix: str
    variables: tuple[str, ...]
    stock: tuple[str, ...]
    own_dataplane: str
    config_maps: tuple[str, ...]
    source: str


class Overlay(Table, frozen=True, kw_only=True):
    """What carries pods' packets between nodes."""

    cloud_cnis: tuple[str, ...]
    cloud_networks: dict[str, str]
    calico_cni: str
    modes: tuple[str, ...]
    source: str


class VxlanSetting(Table, frozen=True, kw_only=True):
    """The releases whose Felix has to be told of VXLAN apart from the pools, and by which field."""

    releases: str
    field: str
    source: str


class OperatingSystems(Table, frozen=True, kw_only=True):
    """Operating systems by kubelet's names."""

    needed: str
    unsupported: str
    source: str


class CalicoTables(Table, frozen=True, kw_only=True):
    """calico.toml: Felix's configuration, the datastore, overlays."""

    mode: Mode
    datastore: Datastore
    images: Images
    vxlan_step: VxlanStep
    vxlan_bug: tuple[VxlanBug, ...]
    operator: OperatorRules
    felix: FelixRules
    overlay: Overlay
    vxlan_setting: VxlanSetting
    operating_systems: OperatingSystems
