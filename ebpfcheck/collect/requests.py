"""What is asked of an API server: in two rounds, side by side, and no more than there is a use for."""

import threading
from collections.abc import Callable
from typing import Any

import msgspec

from ebpfcheck.collect import wire
from ebpfcheck.collect.api_nodes import NodeReader
from ebpfcheck.collect.apiclient import ApiClient, ApiError
from ebpfcheck.collect.objects import (
    CALICO_NODES,
    CalicoPod,
    addresses_of_slices,
    best_of,
    calico_pod,
    config_maps_of,
    kept_variables,
    kube_proxies,
)
from ebpfcheck.collect.queries import ListQuery, ObjectQuery, Place, Queries
from ebpfcheck.collect.rights import (
    CALICO_GROUPS,
    ENDPOINT_CONFIG_MAP,
    KUBE_PROXY_CONFIG_MAPS,
    MISSPELT_CONFIG_MAP,
    OPERATOR_NAMESPACE,
    Granted,
    missing,
)
from ebpfcheck.collect.usage import (
    Row,
    calico_policy_row,
    guest_row,
    host_endpoint_row,
    mesh_of,
    network_policy_row,
    pod_row,
    service_row,
    workload_row,
)
from ebpfcheck.model.facts import Fact, Known, Reason, Unknown

KUBE_SYSTEM = "kube-system"
CALICO_SYSTEM = "calico-system"
# In one of these ways static pods of kube-proxy are labelled.
_STATIC_KUBE_PROXY = ("k8s-app=kube-proxy", "component=kube-proxy")
_KUBE_PROXIES = ("kube-proxy", "openshift-kube-proxy")
# How long what is merely of use for other requests may hold them up, in seconds.
_PATIENCE = 5.0
_RULES_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to tell: `progress` of how far it is, `notice` of what one should know before it ends."""

    progress: Callable[[str], None]
    notice: Callable[[str], None]


class _Rules(msgspec.Struct):
    rules: tuple[Granted, ...] = msgspec.field(default=(), name="resourceRules")
    incomplete: bool = False


class _Review(msgspec.Struct):
    status: _Rules = msgspec.field(default_factory=_Rules)


_REVIEW = msgspec.json.Decoder(_Review)


class _RulesQuery:
    """What the API server says this account may do; None where it does not say, or not all."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.rules: tuple[Granted, ...] | None = None

    def run(self, client: ApiClient) -> None:
        body = msgspec.json.encode(
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectRulesReview",
                "spec": {"namespace": KUBE_SYSTEM},
            }
        )
        try:
            status = _REVIEW.decode(client.post(_RULES_REVIEW, body)).status
            self.rules = None if status.incomplete else status.rules
        except (ApiError, msgspec.MsgspecError, UnicodeDecodeError):
            # Each request will tell by itself what is not allowed.
            self.rules = None
        self.done.set()


AnyQuery = ListQuery[Any, Any] | ObjectQuery[Any]


def _calico(resource: str) -> tuple[Place, ...]:
    versions = ("v1", "v3")
    return tuple(
        Place(resource=resource, group=group, version=version)
        for group, version in zip(CALICO_GROUPS, versions, strict=True)
    )


def _backends(found: wire.BriefSlice) -> int:
    return len(found.endpoints or ()) * len(found.ports or ())


def _config_map(namespace: str, name: str) -> ObjectQuery[wire.ConfigMap]:
    return ObjectQuery(Place(resource="configmaps", namespace=namespace, name=name), wire.ConfigMap)


class Requests:
    """All that is asked of an API server: a first round, and a second of those that the first tells to make."""

    queries: Queries

    def __init__(self, listener: Listener, *, scan_pods: bool) -> None:
        self._listener = listener
        self.reader = NodeReader()
        self.rules = _RulesQuery()
        self.groups = ObjectQuery(Place(resource="apis", version=""), wire.ApiGroups)
        self.nodes = ListQuery((Place(resource="nodes"),), wire.Node, self.reader.row, self._tell)
        self.daemon_sets = self._list(Place(resource="daemonsets", group="apps"), shape=wire.DaemonSet)
        self.operators = self._list(
            Place(resource="deployments", group="apps", selector="k8s-app=tigera-operator"), shape=wire.Workload
        )
        self.information = self._list(*_calico("clusterinformations"), shape=wire.ClusterInformation)
        self.felix = self._list(*_calico("felixconfigurations"), shape=wire.FelixConfiguration)
        self.pools = self._list(*_calico("ippools"), shape=wire.IpPool)
        self.bgp = self._list(*_calico("bgpconfigurations"), shape=wire.BgpConfiguration)
        self.peers = self._list(*_calico("bgppeers"), shape=wire.BgpPeer)
        self.installations = self._list(
            Place(resource="installations", group="operator.tigera.io"), shape=wire.Installation
        )
        self.tigera_statuses = self._list(
            Place(resource="tigerastatuses", group="operator.tigera.io"), shape=wire.TigeraStatus
        )
        self.controllers = self._list(
            *_calico("kubecontrollersconfigurations"), shape=wire.KubeControllersConfiguration
        )
        self.host_endpoints = ListQuery(_calico("hostendpoints"), wire.HostEndpoint, host_endpoint_row)
        self.calico_policies = [
            ListQuery(_calico(resource), wire.CalicoPolicy, calico_policy_row)
            for resource in ("globalnetworkpolicies", "networkpolicies")
        ]
        self.network_policies = ListQuery(
            (Place(resource="networkpolicies", group="networking.k8s.io"),), wire.NetworkPolicy, network_policy_row
        )
        self.services = ListQuery((Place(resource="services"),), wire.Service, service_row)
        self.namespaces = ListQuery((Place(resource="namespaces"),), wire.Namespace, mesh_of)
        self.workloads = [
            ListQuery((Place(resource=resource, group="apps"),), wire.Workload, workload_row)
            for resource in ("deployments", "statefulsets")
        ]
        self.guests = ListQuery(
            (Place(resource="virtualmachineinstances", group="kubevirt.io"),), wire.Guest, guest_row
        )
        self.pod_count = ObjectQuery(Place(resource="pods", limit=1), wire.Count)
        self.slice_count = ObjectQuery(Place(resource="endpointslices", group="discovery.k8s.io", limit=1), wire.Count)
        self.all_pods: ListQuery[wire.BriefPod, Row] | None = None
        self.all_slices: ListQuery[wire.BriefSlice, int] | None = None
        if scan_pods:
            self.all_pods = ListQuery((Place(resource="pods"),), wire.BriefPod, pod_row)
            self.all_slices = ListQuery(
                (Place(resource="endpointslices", group="discovery.k8s.io"),), wire.BriefSlice, _backends
            )
        self.service = ObjectQuery(Place(resource="services", namespace="default", name="kubernetes"), wire.Service)
        self.slices = self._list(
            Place(
                resource="endpointslices",
                group="discovery.k8s.io",
                namespace="default",
                selector="kubernetes.io/service-name=kubernetes",
            ),
            shape=wire.EndpointSlice,
        )
        self.service_cidrs = self._list(
            Place(resource="servicecidrs", group="networking.k8s.io"), shape=wire.ServiceCidr
        )
        self.kubeadm = _config_map(KUBE_SYSTEM, "kubeadm-config")
        self.infrastructure = ObjectQuery(
            Place(resource="infrastructures", group="config.openshift.io", name="cluster"), wire.Infrastructure
        )
        self.openshift_network = ObjectQuery(
            Place(resource="networks", group="operator.openshift.io", name="cluster"), wire.OpenShiftNetwork
        )
        self.endpoints = ObjectQuery(
            Place(resource="endpoints", namespace="default", name="kubernetes"), wire.Endpoints
        )
        self.overrides: list[ObjectQuery[wire.ConfigMap]] = []
        self.kube_proxy_maps: list[ObjectQuery[wire.ConfigMap]] = []
        self.static_proxies: list[ListQuery[wire.Pod, wire.Pod]] = []
        self.calico_config: ObjectQuery[wire.ConfigMap] | None = None
        self.calico_pods: ListQuery[wire.CalicoPod, CalicoPod] | None = None
        self.asked: list[AnyQuery] = []

    @staticmethod
    def _list(*places: Place, shape: type[Any]) -> ListQuery[Any, Any]:
        return ListQuery(places, shape, lambda item: item)

    def _tell(self, count: int, total: int) -> None:
        self._listener.progress(f"{count:,} of {total:,} nodes read")

    def _start(self, *queries: AnyQuery) -> None:
        self.asked += queries
        for query in queries:
            self.queries.start(query)

    def _start_served(self, *queries: AnyQuery) -> None:
        """Ask for what belongs to API groups that not every cluster has."""
        groups = self.groups.value
        for query in queries:
            if groups is not None:
                query.narrow(frozenset(group.name for group in groups.groups))
            self.asked.append(query)
            if not query.done.is_set():
                self.queries.start(query)

    def run(self, queries: Queries) -> None:
        """Make all requests and wait until they are answered or the time is up."""
        self.queries = queries
        self.queries.start(self.rules)
        # The nodes take longest, so they go first.
        self._start(
            self.groups, self.nodes, self.daemon_sets, self.operators, self.slices, self.service, self.kubeadm,
            self.service_cidrs, *self.workloads, self.services, self.namespaces, self.network_policies, self.pod_count,
            self.slice_count, *(query for query in (self.all_pods, self.all_slices) if query is not None),
        )  # fmt: skip
        self.queries.wait(self.rules, self.groups, at_most=_PATIENCE)
        self._start_served(
            self.felix, self.installations, self.pools, self.information, self.bgp, self.peers, self.infrastructure,
            self.openshift_network, self.tigera_statuses, self.controllers, self.host_endpoints, *self.calico_policies,
            self.guests,
        )  # fmt: skip
        lacking = self.missing_rights()
        if isinstance(lacking, Known) and lacking.value:
            self._listener.notice(
                f"this account may not {', '.join(lacking.value)}; what depends on it will be unknown. "
                "`ebpfcheck rbac` prints the role that is needed."
            )
        self.queries.wait(self.operators, at_most=_PATIENCE)
        operator = self.operator()
        self._ask_for_overrides(operator.metadata.namespace if operator else OPERATOR_NAMESPACE)
        self.queries.finish(self.daemon_sets)
        self._start_second_round()
        self.queries.finish(*self.asked)

    def _start_second_round(self) -> None:
        node = self.calico_node_set()
        if node is not None:
            label = (node.metadata.labels or {}).get("k8s-app", node.metadata.name)
            place = Place(resource="pods", namespace=node.metadata.namespace, selector=f"k8s-app={label}")
            self.calico_pods = ListQuery((place,), wire.CalicoPod, calico_pod)
            self._start(self.calico_pods)
            if any(variable.value_from is not None for variable in kept_variables(node)):
                self.calico_config = _config_map(node.metadata.namespace, "calico-config")
                self._start(self.calico_config)
            self._ask_for_overrides(node.metadata.namespace)
        proxy = self.kube_proxy_set()
        if proxy is None:
            self.static_proxies = [
                ListQuery(
                    (Place(resource="pods", namespace=KUBE_SYSTEM, selector=selector),), wire.Pod, lambda pod: pod
                )
                for selector in _STATIC_KUBE_PROXY
            ]
            self._start(*self.static_proxies)
        names = config_maps_of(proxy) if proxy else KUBE_PROXY_CONFIG_MAPS
        self.kube_proxy_maps = [_config_map(proxy.metadata.namespace if proxy else KUBE_SYSTEM, name) for name in names]
        for query in self.kube_proxy_maps:
            if self._may_read(query.place):
                self._start(query)
            else:
                query.skip("a name of its own, which the role of `ebpfcheck rbac` does not hold; grant that too")
        self.queries.wait(self.slices, at_most=_PATIENCE)
        if not any(addresses_of_slices(self.slices.listing.items)):
            self._start(self.endpoints)

    def _ask_for_overrides(self, namespace: str) -> None:
        """Ask for the API server's address in a namespace, and where it is often put too."""
        asked = {query.place.namespace for query in self.overrides}
        for one in dict.fromkeys((namespace, KUBE_SYSTEM, CALICO_SYSTEM)):
            if one not in asked:
                queries = [_config_map(one, name) for name in (ENDPOINT_CONFIG_MAP, MISSPELT_CONFIG_MAP)]
                self.overrides += queries
                self._start(*queries)

    def _may_read(self, config_map: Place) -> bool:
        """Whether to ask for a ConfigMap of kube-proxy's: what is not in the role is left to those who have more."""
        rules, name = self.rules.rules, config_map.name
        return (
            name in KUBE_PROXY_CONFIG_MAPS
            or rules is None
            or any(rule.covers("get", "", "configmaps", name) for rule in rules)
        )

    # What there is.

    def calico_node_set(self) -> wire.DaemonSet | None:
        """Return the DaemonSet that runs calico-node."""
        return best_of(self.daemon_sets.listing.items, CALICO_NODES, (CALICO_SYSTEM, KUBE_SYSTEM))

    def kube_proxy_set(self) -> wire.DaemonSet | None:
        """Return the DaemonSet that runs kube-proxy; None where several do, as one that is off may hide another."""
        found = self.daemon_sets.listing.items
        alike = kube_proxies(found)
        if len(alike) > 1:
            return None
        return best_of(found, _KUBE_PROXIES, (KUBE_SYSTEM,)) or next(iter(alike), None)

    def operator(self) -> wire.Workload | None:
        """Return the Deployment of Tigera's operator."""
        return next(iter(self.operators.listing.items), None)

    def missing_rights(self) -> Fact[tuple[str, ...]]:
        """Return which of the rights that this takes the account lacks."""
        source = self.queries.source(Place(resource="selfsubjectrulesreviews", group="authorization.k8s.io"))
        if self.rules.rules is None:
            detail = "the API server did not list what this account may do"
            return Unknown(reason=Reason.UNSUPPORTED, detail=detail, source=source)
        served = None if self.groups.value is None else [group.name for group in self.groups.value.groups]
        return Known(value=tuple(missing(self.rules.rules, served)), source=source)
