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


class Capacity(Wire, frozen=True, kw_only=True):
    pods: str = ""


class NodeCondition(Wire, frozen=True, kw_only=True):
    type: str = ""
    status: str = ""


class NodeStatus(Wire, frozen=True, kw_only=True):
    node_info: NodeInfo | None = None
    addresses: tuple[NodeAddress, ...] | None = None
    capacity: Capacity | None = None
    conditions: tuple[NodeCondition, ...] | None = None


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


class ContainerPort(Wire, frozen=True, kw_only=True):
    host_port: int = 0
    protocol: str = "TCP"


class SecurityContext(Wire, frozen=True, kw_only=True):
    privileged: bool = False


class Labelled(Wire, frozen=True, kw_only=True):
    """Any object of which only the metadata matters."""

    metadata: Metadata = Metadata()


class VolumeMount(Wire, frozen=True, kw_only=True):
    name: str = ""
    mount_path: str = ""


class Container(Wire, frozen=True, kw_only=True):
    name: str = ""
    image: str = ""
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[EnvVar, ...] | None = None
    env_from: tuple[EnvFrom, ...] | None = None
    ports: tuple[ContainerPort, ...] | None = None
    security_context: SecurityContext | None = None


class HostPath(Wire, frozen=True, kw_only=True):
    path: str = ""


class Volume(Wire, frozen=True, kw_only=True):
    name: str = ""
    config_map: Named | None = None
    host_path: HostPath | None = None


class PodSpec(Wire, frozen=True, kw_only=True):
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    volumes: tuple[Volume, ...] | None = None
    node_selector: dict[str, str] | None = None
    dns_policy: str | None = None
    host_network: bool = False


class TemplateMetadata(Wire, frozen=True, kw_only=True):
    annotations: dict[str, str] | None = None


class PodTemplate(Wire, frozen=True, kw_only=True):
    metadata: TemplateMetadata | None = None
    spec: PodSpec = PodSpec()


class WorkloadSpec(Wire, frozen=True, kw_only=True):
    template: PodTemplate = PodTemplate()


class DaemonSetStatus(Wire, frozen=True, kw_only=True):
    desired_number_scheduled: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    number_misscheduled: int = 0
    observed_generation: int | None = None


class DaemonSet(Wire, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: WorkloadSpec = WorkloadSpec()
    status: DaemonSetStatus | None = None


class BriefContainer(Wire, frozen=True, kw_only=True):
    image: str = ""
    ports: tuple[ContainerPort, ...] | None = None


class BriefPodSpec(Wire, frozen=True, kw_only=True):
    containers: tuple[BriefContainer, ...] = ()
    host_network: bool = False


class BriefTemplate(Wire, frozen=True, kw_only=True):
    metadata: TemplateMetadata | None = None
    spec: BriefPodSpec = BriefPodSpec()


class WorkloadStatus(Wire, frozen=True, kw_only=True):
    available_replicas: int = 0


class BriefWorkloadSpec(Wire, frozen=True, kw_only=True):
    replicas: int | None = None
    template: BriefTemplate = BriefTemplate()


class BriefMetadata(Wire, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""
    annotations: dict[str, str] | None = None


class Workload(Wire, frozen=True, kw_only=True):
    """Of Deployments and StatefulSets, of which there may be many, the least is read."""

    metadata: BriefMetadata = BriefMetadata()
    spec: BriefWorkloadSpec = BriefWorkloadSpec()
    status: WorkloadStatus | None = None


class BriefPod(Wire, frozen=True, kw_only=True):
    """So is of the pods of the whole cluster."""

    metadata: BriefMetadata = BriefMetadata()
    spec: BriefPodSpec = BriefPodSpec()


class Image(Wire, frozen=True, kw_only=True):
    name: str = ""
    image: str = ""


class ImagesSpec(Wire, frozen=True, kw_only=True):
    containers: tuple[Image, ...] = ()


class Waiting(Wire, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""


class Running(Wire, frozen=True, kw_only=True):
    started_at: datetime | None = None


class Terminated(Wire, frozen=True, kw_only=True):
    exit_code: int = 0
    reason: str = ""
    message: str = ""


class ContainerState(Wire, frozen=True, kw_only=True):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(Wire, frozen=True, kw_only=True):
    name: str = ""
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodStatus(Wire, frozen=True, kw_only=True):
    start_time: datetime | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(Wire, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()
    status: PodStatus | None = None


class CalicoPod(Wire, frozen=True, kw_only=True):
    """Of calico-node's pods, one a node, the least is read."""

    spec: ImagesSpec = ImagesSpec()
    status: PodStatus | None = None


class AgentMetadata(NodeMetadata, frozen=True, kw_only=True):
    uid: str = ""
    deletion_timestamp: datetime | None = None


class AgentSpec(Wire, frozen=True, kw_only=True):
    node_name: str = ""


class AgentStatus(PodStatus, frozen=True, kw_only=True):
    phase: str = ""


class AgentPod(Wire, frozen=True, kw_only=True):
    """A pod of calico-node whose log is read."""

    metadata: AgentMetadata = AgentMetadata()
    spec: AgentSpec = AgentSpec()
    status: AgentStatus | None = None


class ProbedContainer(Wire, frozen=True, kw_only=True):
    name: str = ""
    volume_mounts: tuple[VolumeMount, ...] | None = None


class ProbedPodSpec(Wire, frozen=True, kw_only=True):
    node_name: str = ""
    containers: tuple[ProbedContainer, ...] = ()
    volumes: tuple[Volume, ...] | None = None


class PodCondition(Wire, frozen=True, kw_only=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class ProbedPodStatus(Wire, frozen=True, kw_only=True):
    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[PodCondition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None


class ProbedPod(Wire, frozen=True, kw_only=True):
    """A pod that a survey runs in."""

    metadata: Metadata = Metadata()
    spec: ProbedPodSpec = ProbedPodSpec()
    status: ProbedPodStatus | None = None


class ConfigMap(Wire, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    data: dict[str, str] | None = None


class ServicePort(Wire, frozen=True, kw_only=True):
    port: int = 0
    node_port: int = 0
    protocol: str = "TCP"


class ServiceSpec(Wire, frozen=True, kw_only=True):
    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    external_ips: tuple[str, ...] | None = msgspec.field(default=None, name="externalIPs")
    external_traffic_policy: str = ""
    internal_traffic_policy: str = ""
    health_check_node_port: int = 0
    traffic_distribution: str = ""
    selector: dict[str, str] | None = None
    ports: tuple[ServicePort, ...] | None = None


class Ingress(Wire, frozen=True, kw_only=True):
    ip: str = ""


class LoadBalancerStatus(Wire, frozen=True, kw_only=True):
    ingress: tuple[Ingress, ...] | None = None


class ServiceStatus(Wire, frozen=True, kw_only=True):
    load_balancer: LoadBalancerStatus | None = None


class ServiceMetadata(Wire, frozen=True, kw_only=True):
    name: str = ""
    uid: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Service(Wire, frozen=True, kw_only=True):
    metadata: ServiceMetadata = ServiceMetadata()
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus | None = None


class Namespace(Wire, frozen=True, kw_only=True):
    metadata: NodeMetadata = NodeMetadata()


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
    aws_src_dst_check: str | None = None
    bpf_attach_type: str | None = None
    bpf_connect_time_load_balancing: str | None = None
    bpf_connect_time_load_balancing_enabled: bool | None = None
    bpf_data_iface_pattern: str | None = None
    bpf_dsr_optout_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="bpfDSROptoutCIDRs")
    bpf_enabled: bool | None = None
    bpf_exclude_cidrs_from_nat: tuple[str, ...] | None = msgspec.field(default=None, name="bpfExcludeCIDRsFromNAT")
    bpf_external_service_mode: str | None = None
    bpf_host_conntrack_bypass: bool | None = None
    bpf_host_networked_nat_without_ctlb: str | None = msgspec.field(default=None, name="bpfHostNetworkedNATWithoutCTLB")
    bpf_kube_proxy_healthz_port: int | None = None
    # As Calico v3.30.4 spells it.
    bpf_kube_proxy_healtz_port: int | None = None
    bpf_kube_proxy_iptables_cleanup_enabled: bool | None = None
    bpf_l3_iface_pattern: str | None = None
    bpf_log_level: str | None = None
    bpf_map_size_conntrack: int | None = None
    bpf_map_size_if_state: int | None = None
    bpf_map_size_nat_backend: int | None = msgspec.field(default=None, name="bpfMapSizeNATBackend")
    bpf_map_size_nat_frontend: int | None = msgspec.field(default=None, name="bpfMapSizeNATFrontend")
    bpf_map_size_route: int | None = None
    bpf_redirect_to_peer: str | None = None
    cgroup_v2_path: str | None = None
    feature_detect_override: str | None = None
    feature_gates: str | None = None
    floating_ips: str | None = msgspec.field(default=None, name="floatingIPs")
    iptables_mark_mask: int | None = None
    ipv6_support: bool | None = None
    mtu_iface_pattern: str | None = None
    nftables_mark_mask: int | None = None
    nftables_mode: str | None = None
    prometheus_metrics_enabled: bool | None = None
    prometheus_metrics_port: int | None = None
    vxlan_mtu: int | None = msgspec.field(default=None, name="vxlanMTU")
    vxlan_port: int | None = None
    wireguard_enabled: bool | None = None
    wireguard_enabled_v6: bool | None = None
    wireguard_listening_port: int | None = None


class FelixConfiguration(msgspec.Struct):
    """A FelixConfiguration, from the API or from a file."""

    kind: str = ""
    metadata: Metadata = Metadata()
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


class Autodetection(Wire, frozen=True, kw_only=True):
    first_found: bool | None = None
    kubernetes: str | None = None
    interface: str | None = None
    skip_interface: str | None = None
    can_reach: str | None = None
    cidrs: tuple[str, ...] | None = None


class ListedPool(Wire, frozen=True, kw_only=True):
    cidr: str = ""


class CalicoNetwork(Wire, frozen=True, kw_only=True):
    bgp: str | None = None
    linux_dataplane: str | None = None
    bpf_network_bootstrap: str | None = None
    kube_proxy_management: str | None = None
    host_ports: str | None = None
    ip_pools: tuple[ListedPool, ...] | None = None
    node_address_autodetection_v4: Autodetection | None = msgspec.field(default=None, name="nodeAddressAutodetectionV4")
    node_address_autodetection_v6: Autodetection | None = msgspec.field(default=None, name="nodeAddressAutodetectionV6")


class InstallationSpec(Wire, frozen=True, kw_only=True):
    variant: str | None = None
    kubernetes_provider: str | None = None
    non_privileged: str | None = None
    cni: CniSpec | None = None
    calico_network: CalicoNetwork | None = None


class InstallationStatus(Wire, frozen=True, kw_only=True):
    calico_version: str | None = None
    computed: InstallationSpec | None = None


class Installation(Wire, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: InstallationSpec = InstallationSpec()
    status: InstallationStatus | None = None


class Condition(Wire, frozen=True, kw_only=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class TigeraStatusStatus(Wire, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] | None = None


class TigeraStatus(Wire, frozen=True, kw_only=True):
    metadata: NodeMetadata = NodeMetadata()
    status: TigeraStatusStatus | None = None


class HostEndpoint(Wire, frozen=True, kw_only=True):
    metadata: NodeMetadata = NodeMetadata()


class AutoHostEndpoint(Wire, frozen=True, kw_only=True):
    auto_create: str | None = None


class NodeController(Wire, frozen=True, kw_only=True):
    host_endpoint: AutoHostEndpoint | None = None


class Controllers(Wire, frozen=True, kw_only=True):
    node: NodeController | None = None


class KubeControllersSpec(Wire, frozen=True, kw_only=True):
    controllers: Controllers | None = None


class KubeControllersConfiguration(Wire, frozen=True, kw_only=True):
    metadata: NodeMetadata = NodeMetadata()
    spec: KubeControllersSpec | None = None


class PolicyRule(Wire, frozen=True, kw_only=True):
    action: str = ""
    # The name of a protocol, or its number.
    protocol: str | int | None = None


class CalicoPolicySpec(Wire, frozen=True, kw_only=True):
    ingress: tuple[PolicyRule, ...] | None = None
    egress: tuple[PolicyRule, ...] | None = None
    do_not_track: bool = False


class CalicoPolicy(Wire, frozen=True, kw_only=True):
    metadata: BriefMetadata = BriefMetadata()
    spec: CalicoPolicySpec | None = None


class PolicyPort(Wire, frozen=True, kw_only=True):
    protocol: str = "TCP"


class PortsOfRule(Wire, frozen=True, kw_only=True):
    ports: tuple[PolicyPort, ...] | None = None


class NetworkPolicySpec(Wire, frozen=True, kw_only=True):
    ingress: tuple[PortsOfRule, ...] | None = None
    egress: tuple[PortsOfRule, ...] | None = None


class NetworkPolicy(Wire, frozen=True, kw_only=True):
    """Kubernetes' own."""

    metadata: BriefMetadata = BriefMetadata()
    spec: NetworkPolicySpec | None = None


class PodNetwork(Wire, frozen=True, kw_only=True):
    name: str = ""
    pod: dict[str, object] | None = None


class GuestInterface(Wire, frozen=True, kw_only=True):
    name: str = ""
    bridge: dict[str, object] | None = None


class GuestDevices(Wire, frozen=True, kw_only=True):
    interfaces: tuple[GuestInterface, ...] | None = None


class GuestDomain(Wire, frozen=True, kw_only=True):
    devices: GuestDevices = GuestDevices()


class GuestSpec(Wire, frozen=True, kw_only=True):
    domain: GuestDomain = GuestDomain()
    networks: tuple[PodNetwork, ...] | None = None


class Guest(Wire, frozen=True, kw_only=True):
    """A VirtualMachineInstance of KubeVirt."""

    metadata: BriefMetadata = BriefMetadata()
    spec: GuestSpec = GuestSpec()


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


class CountMetadata(Wire, frozen=True, kw_only=True):
    continue_: str | None = msgspec.field(default=None, name="continue")
    remaining_item_count: int | None = None


class CountedItem(Wire, frozen=True, kw_only=True):
    pass


class BriefSlice(Wire, frozen=True, kw_only=True):
    """Of the EndpointSlices of the whole cluster it is only counted what they hold."""

    endpoints: tuple[CountedItem, ...] | None = None
    ports: tuple[CountedItem, ...] | None = None


class Count(Wire, frozen=True, kw_only=True):
    """The first page, of one object, of a list whose length is all that matters."""

    metadata: CountMetadata = CountMetadata()
    items: tuple[CountedItem, ...] | msgspec.UnsetType | None = msgspec.UNSET


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
