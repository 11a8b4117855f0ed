"""The few fields that are read of what an API server sends; all others are skipped undecoded."""

from datetime import datetime

import msgspec


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all: fields as the API names them, each of which may be missing."""


class ManagedField(Wire, frozen=True, kw_only=True):
    manager: str = ""
    time: datetime | None = None


class Owner(Wire, frozen=True, kw_only=True):
    kind: str = ""


class NodeMetadata(Wire, frozen=True, kw_only=True):
    name: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Metadata(NodeMetadata, frozen=True, kw_only=True):
    namespace: str = ""
    generation: int | None = None
    creation_timestamp: datetime | None = None
    managed_fields: tuple[ManagedField, ...] | None = None
    owner_references: tuple[Owner, ...] | None = None


class NodeInfo(Wire, frozen=True, kw_only=True):
    kernel_version: str = ""
    architecture: str = ""
    operating_system: str = ""
    os_image: str = ""
    kubelet_version: str = ""
    container_runtime_version: str = ""


class NodeAddress(Wire, frozen=True, kw_only=True):
    type: str = ""
    address: str = ""


class NodeStatus(Wire, frozen=True, kw_only=True):
    node_info: NodeInfo | None = None
    addresses: tuple[NodeAddress, ...] | None = None


class NodeSpec(Wire, frozen=True, kw_only=True):
    provider_id: str | None = msgspec.field(default=None, name="providerID")


class Node(Wire, frozen=True, kw_only=True):
    metadata: NodeMetadata = NodeMetadata()
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class KeyRef(Wire, frozen=True, kw_only=True):
    name: str = ""
    key: str = ""


class ValueFrom(Wire, frozen=True, kw_only=True):
    config_map_key_ref: KeyRef | None = None


class EnvVar(Wire, frozen=True, kw_only=True):
    name: str = ""
    value: str | None = None
    value_from: ValueFrom | None = None


class Named(Wire, frozen=True, kw_only=True):
    name: str = ""


class EnvFrom(Wire, frozen=True, kw_only=True):
    config_map_ref: Named | None = None
    secret_ref: Named | None = None


class Container(Wire, frozen=True, kw_only=True):
    name: str = ""
    image: str = ""
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[EnvVar, ...] | None = None
    env_from: tuple[EnvFrom, ...] | None = None


class Volume(Wire, frozen=True, kw_only=True):
    name: str = ""
    config_map: Named | None = None


class PodSpec(Wire, frozen=True, kw_only=True):
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    volumes: tuple[Volume, ...] | None = None
    node_selector: dict[str, str] | None = None
    dns_policy: str | None = None


class PodTemplate(Wire, frozen=True, kw_only=True):
    spec: PodSpec = PodSpec()


class WorkloadSpec(Wire, frozen=True, kw_only=True):
    template: PodTemplate = PodTemplate()


class DaemonSetStatus(Wire, frozen=True, kw_only=True):
    desired_number_scheduled: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    observed_generation: int | None = None


class DaemonSet(Wire, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: WorkloadSpec = WorkloadSpec()
    status: DaemonSetStatus | None = None


class Deployment(Wire, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: WorkloadSpec = WorkloadSpec()


class Image(Wire, frozen=True, kw_only=True):
    name: str = ""
    image: str = ""


class ImagesSpec(Wire, frozen=True, kw_only=True):
    containers: tuple[Image, ...] = ()


class PodStatus(Wire, frozen=True, kw_only=True):
    start_time: datetime | None = None


class Pod(Wire, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()
    status: PodStatus | None = None


class CalicoPod(Wire, frozen=True, kw_only=True):
    """Of calico-node's pods, one a node, the least is read."""

    spec: ImagesSpec = ImagesSpec()
    status: PodStatus | None = None


class ConfigMap(Wire, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    data: dict[str, str] | None = None


class ServicePort(Wire, frozen=True, kw_only=True):
    port: int = 0


class ServiceSpec(Wire, frozen=True, kw_only=True):
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    ports: tuple[ServicePort, ...] | None = None


class Service(Wire, frozen=True, kw_only=True):
    spec: ServiceSpec = ServiceSpec()


class EndpointPort(Wire, frozen=True, kw_only=True):
    name: str | None = None
    port: int | None = None


class Conditions(Wire, frozen=True, kw_only=True):
    ready: bool | None = None


class Endpoint(Wire, frozen=True, kw_only=True):
    addresses: tuple[str, ...] = ()
    conditions: Conditions | None = None


class EndpointSlice(Wire, frozen=True, kw_only=True):
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


class EndpointIp(Wire, frozen=True, kw_only=True):
    ip: str = ""


class EndpointSubset(Wire, frozen=True, kw_only=True):
    addresses: tuple[EndpointIp, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


class Endpoints(Wire, frozen=True, kw_only=True):
    subsets: tuple[EndpointSubset, ...] | None = None


class ServiceCidrSpec(Wire, frozen=True, kw_only=True):
    cidrs: tuple[str, ...] = ()


class ServiceCidr(Wire, frozen=True, kw_only=True):
    spec: ServiceCidrSpec = ServiceCidrSpec()


class ClusterInformationSpec(Wire, frozen=True, kw_only=True):
    calico_version: str | None = None


class ClusterInformation(Wire, frozen=True, kw_only=True):
    metadata: NodeMetadata = NodeMetadata()
    spec: ClusterInformationSpec = ClusterInformationSpec()


class FelixSpec(msgspec.Struct, rename="camel"):
    """The fields of FelixConfiguration's spec that concern the checks."""

    node_selector: str | None = None
    bpf_enabled: bool | None = None
    bpf_data_iface_pattern: str | None = None
    bpf_l3_iface_pattern: str | None = None
    bpf_kube_proxy_iptables_cleanup_enabled: bool | None = None
    bpf_kube_proxy_healthz_port: int | None = None
    # As Calico v3.30.4 spells it.
    bpf_kube_proxy_healtz_port: int | None = None
    mtu_iface_pattern: str | None = None
    vxlan_mtu: int | None = msgspec.field(default=None, name="vxlanMTU")
    vxlan_port: int | None = None


class FelixConfiguration(msgspec.Struct):
    """A FelixConfiguration, from the API or from a file."""

    kind: str = ""
    metadata: NodeMetadata = NodeMetadata()
    spec: FelixSpec | None = None


class IpPoolSpec(Wire, frozen=True, kw_only=True):
    cidr: str = ""
    ipip_mode: str | None = None
    vxlan_mode: str | None = None
    nat_outgoing: bool | None = None
    disabled: bool | None = None


class IpPool(Wire, frozen=True, kw_only=True):
    metadata: NodeMetadata = NodeMetadata()
    spec: IpPoolSpec = IpPoolSpec()


class BgpConfigurationSpec(Wire, frozen=True, kw_only=True):
    node_to_node_mesh_enabled: bool | None = None


class BgpConfiguration(Wire, frozen=True, kw_only=True):
    metadata: NodeMetadata = NodeMetadata()
    spec: BgpConfigurationSpec | None = None


class BgpPeer(Wire, frozen=True, kw_only=True):
    metadata: NodeMetadata = NodeMetadata()


class CniSpec(Wire, frozen=True, kw_only=True):
    type: str | None = None


class CalicoNetwork(Wire, frozen=True, kw_only=True):
    bgp: str | None = None
    linux_dataplane: str | None = None
    bpf_network_bootstrap: str | None = None
    kube_proxy_management: str | None = None


class InstallationSpec(Wire, frozen=True, kw_only=True):
    variant: str | None = None
    kubernetes_provider: str | None = None
    cni: CniSpec | None = None
    calico_network: CalicoNetwork | None = None


class InstallationStatus(Wire, frozen=True, kw_only=True):
    calico_version: str | None = None
    computed: InstallationSpec | None = None


class Installation(Wire, frozen=True, kw_only=True):
    metadata: NodeMetadata = NodeMetadata()
    spec: InstallationSpec = InstallationSpec()
    status: InstallationStatus | None = None


class InfrastructureStatus(Wire, frozen=True, kw_only=True):
    api_server_internal_uri: str | None = msgspec.field(default=None, name="apiServerInternalURI")


class Infrastructure(Wire, frozen=True, kw_only=True):
    status: InfrastructureStatus | None = None


class OpenShiftNetworkSpec(Wire, frozen=True, kw_only=True):
    deploy_kube_proxy: bool | None = None


class OpenShiftNetwork(Wire, frozen=True, kw_only=True):
    spec: OpenShiftNetworkSpec | None = None


class VersionInfo(Wire, frozen=True, kw_only=True):
    git_version: str = ""


class ApiGroup(Wire, frozen=True, kw_only=True):
    name: str = ""


class ApiGroups(Wire, frozen=True, kw_only=True):
    groups: tuple[ApiGroup, ...] = ()


class KubeadmNetworking(Wire, frozen=True, kw_only=True):
    pod_subnet: str | None = None
    service_subnet: str | None = None


class ClusterConfiguration(Wire, frozen=True, kw_only=True):
    """kubeadm's."""

    cluster_name: str | None = None
    control_plane_endpoint: str | None = None
    networking: KubeadmNetworking | None = None


class KubeProxyConfiguration(Wire, frozen=True, kw_only=True):
    mode: str | None = None
    cluster_cidr: str | None = msgspec.field(default=None, name="clusterCIDR")
    healthz_bind_address: str | None = None


class KubeconfigCluster(Wire, frozen=True, kw_only=True):
    server: str = ""


class KubeconfigEntry(Wire, frozen=True, kw_only=True):
    cluster: KubeconfigCluster = KubeconfigCluster()


class Kubeconfig(Wire, frozen=True, kw_only=True):
    clusters: tuple[KubeconfigEntry, ...] = ()
