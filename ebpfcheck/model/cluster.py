"""What is known of a cluster."""

from datetime import datetime
from typing import Literal

import msgspec

from ebpfcheck.model.facts import NOT_COLLECTED, Fact, FelixSettings, Install


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """What an object carries that tells who looks after it."""

    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[str, ...] = ()
    """The keys of its annotations."""
    managers: tuple[str, ...] = ()
    """Who has written its fields, as managedFields names them."""
    owners: tuple[str, ...] = ()
    """The kinds of its owners."""


class CalicoNode(msgspec.Struct, frozen=True, kw_only=True):
    """The DaemonSet that runs calico-node."""

    namespace: str
    name: str
    image: str
    desired: int = 0
    updated: int = 0
    available: int = 0
    is_observed: bool = True
    """Whether its status is about the template that it has now."""
    env: tuple[tuple[str, str | None], ...] = ()
    """The variables of its container that concern Felix and the datastore, upper-cased; None where the value could not
    be followed."""
    service_host: str | None = None
    """What its container is given as KUBERNETES_SERVICE_HOST; None where that is left to kubelet."""
    dns_policy: str | None = None
    env_from: tuple[str, ...] = ()
    """The ConfigMaps that its containers take all variables from."""
    init_containers: tuple[str, ...] = ()
    marks: Marks = Marks()


class CalicoPods(msgspec.Struct, frozen=True, kw_only=True):
    """The pods of the calico-node DaemonSet."""

    images: tuple[tuple[str, int], ...] = ()
    """The images of calico-node and how many pods run each."""
    oldest_start: datetime | None = None


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """The Deployment of Tigera's operator."""

    namespace: str
    name: str
    image: str


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator's Installation asks for; None where it is not set."""

    variant: str | None = None
    kubernetes_provider: str | None = None
    cni_type: str | None = None
    linux_dataplane: str | None = None
    bgp: str | None = None
    bpf_network_bootstrap: str | None = None
    kube_proxy_management: str | None = None
    calico_version: str | None = None
    """The release that the operator says it has installed."""


class FelixObject(msgspec.Struct, frozen=True, kw_only=True):
    """The FelixConfiguration named default."""

    settings: FelixSettings
    operator_bpf_enabled: str | None = None
    """The annotation by which the operator remembers what it set bpfEnabled to."""


class IpPool(msgspec.Struct, frozen=True, kw_only=True):
    """An IPPool."""

    name: str
    cidr: str
    ipip_mode: str = "Never"
    vxlan_mode: str = "Never"
    nat_outgoing: bool = False
    disabled: bool = False


class Bgp(msgspec.Struct, frozen=True, kw_only=True):
    """How Calico speaks BGP."""

    mesh: bool = True
    """Whether each node peers with every other."""
    peers: int = 0
    """How many BGPPeers there are."""


class ServiceAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The Service default/kubernetes."""

    cluster_ips: tuple[str, ...]
    port: int


class EndpointOverride(msgspec.Struct, frozen=True, kw_only=True):
    """A ConfigMap kubernetes-services-endpoint, or one that is named almost so; None for a key that it lacks."""

    namespace: str
    name: str
    host: str | None = None
    port: str | None = None
    pod_host: str | None = None
    pod_port: str | None = None
    changed_at: datetime | None = None


class Kubeadm(msgspec.Struct, frozen=True, kw_only=True):
    """kubeadm's ClusterConfiguration."""

    cluster_name: str = ""
    control_plane_endpoint: str = ""
    pod_subnet: str = ""
    service_subnet: str = ""


class KubeProxy(msgspec.Struct, frozen=True, kw_only=True):
    """kube-proxy as the API shows it."""

    namespace: str
    name: str
    runs_as: Literal["daemonset", "static pods"]
    image: str = ""
    command: tuple[str, ...] = ()
    """Its command and arguments, of one of the pods where they are static."""
    masters: tuple[str, ...] = ()
    """The API servers that its arguments name (--master), of all pods where they are static."""
    node_selector: tuple[tuple[str, str], ...] = ()
    desired: int | None = 0
    """How many pods there should be; None where its status does not say, or is of an older template."""
    marks: Marks = Marks()


class KubeProxyConfig(msgspec.Struct, frozen=True, kw_only=True):
    """kube-proxy's configuration from its ConfigMaps; None where they do not say."""

    config_maps: tuple[str, ...] = ()
    """Each as NAMESPACE/NAME."""
    mode: str | None = None
    cluster_cidr: str | None = None
    healthz_bind_address: str | None = None
    server: str | None = None
    """The URL of the API server in its kubeconfig."""


class OpenShift(msgspec.Struct, frozen=True, kw_only=True):
    """OpenShift's own configuration of the cluster; None where it is not set."""

    api_internal_url: str | None = None
    deploy_kube_proxy: bool | None = None


class ClusterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the cluster."""

    context: Fact[str] = NOT_COLLECTED
    """The kubeconfig's context; Absent inside of the cluster."""
    server: Fact[str] = NOT_COLLECTED
    """The URL by which the API server was reached."""
    server_version: Fact[str] = NOT_COLLECTED
    api_groups: Fact[tuple[str, ...]] = NOT_COLLECTED
    """The API groups that are served."""
    missing_rights: Fact[tuple[str, ...]] = NOT_COLLECTED
    """What of the rights in `ebpfcheck rbac` the API server says this account lacks."""
    node_count: Fact[int] = NOT_COLLECTED
    """How many nodes there are, where the list could be read whole."""
    node_subnets: Fact[tuple[str, ...]] = NOT_COLLECTED
    """The subnets of the nodes' addresses, as calico-node found them (annotation projectcalico.org/IPv4Address)."""
    calico_version: Fact[str] = NOT_COLLECTED
    """The release that ClusterInformation names."""
    install: Fact[Install] = NOT_COLLECTED
    """How Calico is installed."""
    calico_node: Fact[CalicoNode] = NOT_COLLECTED
    calico_pods: Fact[CalicoPods] = NOT_COLLECTED
    operator: Fact[Operator] = NOT_COLLECTED
    installation: Fact[Installation] = NOT_COLLECTED
    felix_default: Fact[FelixObject] = NOT_COLLECTED
    felix_per_node: Fact[tuple[tuple[FelixSettings, int], ...]] = NOT_COLLECTED
    """What FelixConfigurations for single nodes, or for nodes chosen by a selector, set, and how many set just that."""
    ip_pools: Fact[tuple[IpPool, ...]] = NOT_COLLECTED
    bgp: Fact[Bgp] = NOT_COLLECTED
    other_networks: Fact[tuple[str, ...]] = NOT_COLLECTED
    """DaemonSets of other CNI plugins and dataplanes, each as NAMESPACE/NAME."""
    kube_proxy: Fact[KubeProxy] = NOT_COLLECTED
    """Absent where neither a DaemonSet nor static pods of it are seen; it may still run inside of something else."""
    kube_proxy_config: Fact[KubeProxyConfig] = NOT_COLLECTED
    kubernetes_service: Fact[ServiceAddress] = NOT_COLLECTED
    api_endpoints: Fact[tuple[str, ...]] = NOT_COLLECTED
    """The API servers behind the Service default/kubernetes, each as HOST:PORT."""
    endpoint_overrides: Fact[tuple[EndpointOverride, ...]] = NOT_COLLECTED
    """Absent where there is none in any of the namespaces that could matter."""
    kubeadm: Fact[Kubeadm] = NOT_COLLECTED
    service_cidrs: Fact[tuple[str, ...]] = NOT_COLLECTED
    openshift: Fact[OpenShift] = NOT_COLLECTED
