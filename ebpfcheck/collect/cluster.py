"""Looks at a cluster through its API server and turns what it answers into facts."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ebpfcheck import __version__
from ebpfcheck.collect import wire
from ebpfcheck.collect.access import Access
from ebpfcheck.collect.api_nodes import NodeReader, subnets
from ebpfcheck.collect.apiclient import ApiClient, ApiError
from ebpfcheck.collect.config_maps import endpoint_override, kube_proxy_config, kubeadm
from ebpfcheck.collect.felix import from_environment, merged
from ebpfcheck.collect.login import Login
from ebpfcheck.collect.queries import WORKERS, ListQuery, ObjectQuery, Place, Queries
from ebpfcheck.collect.rights import (
    CALICO_GROUPS,
    ENDPOINT_CONFIG_MAP,
    KUBE_PROXY_CONFIG_MAPS,
    MISSPELT_CONFIG_MAP,
    OPERATOR_NAMESPACE,
    Granted,
    missing,
)
from ebpfcheck.errors import CannotRunError
from ebpfcheck.model.cluster import (
    Bgp,
    CalicoNode,
    CalicoPods,
    ClusterFacts,
    EndpointOverride,
    FelixObject,
    Installation,
    IpPool,
    KubeProxy,
    KubeProxyConfig,
    Marks,
    OpenShift,
    Operator,
    ServiceAddress,
)
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, Known, Reason, Source, SourceKind, Unknown
from ebpfcheck.model.snapshot import Problem, Snapshot, SourceIndex, Unseen

KUBE_SYSTEM = "kube-system"
CALICO_SYSTEM = "calico-system"
# In one of these ways static pods of kube-proxy are labelled.
_STATIC_KUBE_PROXY = ("k8s-app=kube-proxy", "component=kube-proxy")
_KUBE_PROXIES = ("kube-proxy", "openshift-kube-proxy")
_CALICO_NODES = ("calico-node", "canal", "rke2-canal")
_OTHER_NETWORKS = (
    "anetd", "antrea-agent", "aws-node", "azure-cns", "azure-npm", "cilium", "kindnet", "kube-flannel",
    "kube-flannel-ds", "kube-ovn-cni", "kube-router", "ovnkube-node", "weave-net",
)  # fmt: skip
_MASTER = re.compile(r"--master[= ]([^\s'\"]+)")
_RULES_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
# Variables of calico-node that are kept beside Felix's own.
_VARIABLES = ("CALICO_CGROUP_PATH", "CALICO_NETWORKING_BACKEND", "DATASTORE_TYPE", "ETCD_ENDPOINTS")


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to tell: `progress` of how far it is, `notice` of what one should know before it ends."""

    progress: Callable[[str], None]
    notice: Callable[[str], None]


def snapshot_of_cluster(login: Login, deadline: float, listener: Listener) -> Snapshot:
    """Return what an API server says up to the deadline (time.monotonic); CannotRunError if it says nothing at all."""
    # Made while the kubeconfig is loaded.
    collection = _Collection(listener)
    access = login.access()
    sources = SourceIndex()
    queries = Queries(ApiClient(access, login.again, deadline, WORKERS), deadline, sources)
    version = _server_version(access.server, queries)
    collection.run(queries)
    return collection.snapshot(access, version, sources)


def _server_version(server: str, queries: Queries) -> Fact[str]:
    """Ask the one thing that everybody may ask, and so whether there is an API server at all."""
    query = ObjectQuery(Place(resource="version", version=""), wire.VersionInfo, typed=False, patient=False)
    queries.start(query)
    queries.finish(query)
    info, error = query.value, query.error
    if error is not None and error.reason is Reason.FORBIDDEN:
        return queries.object_fact(query, lambda found: found.git_version)
    if error is not None and error.reason is not Reason.UNPARSABLE:
        raise CannotRunError(f"{server}: {error.words}")
    if info is None or not info.git_version:
        raise CannotRunError(f"{server} does not answer as a Kubernetes API server does")
    return queries.object_fact(query, lambda found: found.git_version)


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


def _config_map(namespace: str, name: str) -> ObjectQuery[wire.ConfigMap]:
    return ObjectQuery(Place(resource="configmaps", namespace=namespace, name=name), wire.ConfigMap)


class _Collection:
    """One look at a cluster: a first round of requests, and a second of those that the first tells to make."""

    _queries: Queries

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._reader = NodeReader()
        self.rules = _RulesQuery()
        self.groups = ObjectQuery(Place(resource="apis", version=""), wire.ApiGroups)
        self.nodes = ListQuery((Place(resource="nodes"),), wire.Node, self._reader.row, self._tell)
        self.daemon_sets = self._list(Place(resource="daemonsets", group="apps"), shape=wire.DaemonSet)
        self.deployments = self._list(
            Place(resource="deployments", group="apps", selector="k8s-app=tigera-operator"), shape=wire.Deployment
        )
        self.information = self._list(*_calico("clusterinformations"), shape=wire.ClusterInformation)
        self.felix = self._list(*_calico("felixconfigurations"), shape=wire.FelixConfiguration)
        self.pools = self._list(*_calico("ippools"), shape=wire.IpPool)
        self.bgp = self._list(*_calico("bgpconfigurations"), shape=wire.BgpConfiguration)
        self.peers = self._list(*_calico("bgppeers"), shape=wire.ClusterInformation)
        self.installations = self._list(
            Place(resource="installations", group="operator.tigera.io"), shape=wire.Installation
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
        self.calico_pods: ListQuery[wire.CalicoPod, tuple[str, datetime | None]] | None = None
        self._asked: list[AnyQuery] = []

    @staticmethod
    def _list(*places: Place, shape: type[Any]) -> ListQuery[Any, Any]:
        return ListQuery(places, shape, lambda item: item)

    def _tell(self, count: int, total: int) -> None:
        self._listener.progress(f"{count:,} of {total:,} nodes read")

    def _start(self, *queries: AnyQuery) -> None:
        self._asked += queries
        for query in queries:
            self._queries.start(query)

    def _start_served(self, *queries: AnyQuery) -> None:
        """Ask for what belongs to API groups that not every cluster has."""
        groups = self.groups.value
        for query in queries:
            if groups is not None:
                query.narrow(frozenset(group.name for group in groups.groups))
            self._asked.append(query)
            if not query.done.is_set():
                self._queries.start(query)

    def run(self, queries: Queries) -> None:
        """Make all requests and wait until they are answered or the time is up."""
        self._queries = queries
        self._queries.start(self.rules)
        # The nodes take longest, so they go first.
        self._start(
            self.groups, self.nodes, self.daemon_sets, self.deployments, self.slices, self.service, self.kubeadm,
            self.service_cidrs,
        )  # fmt: skip
        self._queries.wait(self.rules, self.groups)
        self._start_served(
            self.felix, self.installations, self.pools, self.information, self.bgp, self.peers, self.infrastructure,
            self.openshift_network,
        )  # fmt: skip
        lacking = self._missing_rights()
        if isinstance(lacking, Known) and lacking.value:
            self._listener.notice(
                f"this account may not {', '.join(lacking.value)}; what depends on it will be unknown. "
                "`ebpfcheck rbac` prints the role that is needed."
            )
        self._queries.finish(self.daemon_sets, self.deployments, self.slices)
        self._start_second_round()
        self._queries.finish(*self._asked)

    def _start_second_round(self) -> None:
        node = self._calico_node()
        if node is not None:
            label = (node.metadata.labels or {}).get("k8s-app", node.metadata.name)
            place = Place(resource="pods", namespace=node.metadata.namespace, selector=f"k8s-app={label}")
            self.calico_pods = ListQuery((place,), wire.CalicoPod, _image_and_start)
            self._start(self.calico_pods)
            if any(variable.value_from is not None for variable in _kept_variables(node)):
                self.calico_config = _config_map(node.metadata.namespace, "calico-config")
                self._start(self.calico_config)
        operator = self._operator()
        namespaces = [operator.metadata.namespace if operator else OPERATOR_NAMESPACE, KUBE_SYSTEM]
        namespaces += [node.metadata.namespace] if node else []
        self.overrides = [
            _config_map(namespace, name)
            for namespace in dict.fromkeys(namespaces)
            for name in (ENDPOINT_CONFIG_MAP, MISSPELT_CONFIG_MAP)
        ]
        self._start(*self.overrides)
        proxy = self._kube_proxy()
        if proxy is None:
            self.static_proxies = [
                ListQuery(
                    (Place(resource="pods", namespace=KUBE_SYSTEM, selector=selector),), wire.Pod, lambda pod: pod
                )
                for selector in _STATIC_KUBE_PROXY
            ]
            self._start(*self.static_proxies)
        names = _config_maps_of(proxy) if proxy else KUBE_PROXY_CONFIG_MAPS
        self.kube_proxy_maps = [_config_map(proxy.metadata.namespace if proxy else KUBE_SYSTEM, name) for name in names]
        for query in self.kube_proxy_maps:
            if self._may_read(query.place):
                self._start(query)
            else:
                query.skip("a name of its own, which the role of `ebpfcheck rbac` does not hold; grant that too")
        if not self.slices.listing.items:
            self._start(self.endpoints)

    def _may_read(self, config_map: Place) -> bool:
        """Whether to ask for a ConfigMap of kube-proxy's: what is not in the role is left to those who have more."""
        rules, name = self.rules.rules, config_map.name
        return (
            name in KUBE_PROXY_CONFIG_MAPS
            or rules is None
            or any(rule.covers("get", "", "configmaps", name) for rule in rules)
        )

    # What there is.

    def _calico_node(self) -> wire.DaemonSet | None:
        return _best(self.daemon_sets.listing.items, _CALICO_NODES, (CALICO_SYSTEM, KUBE_SYSTEM))

    def _kube_proxy(self) -> wire.DaemonSet | None:
        return _best(self.daemon_sets.listing.items, _KUBE_PROXIES, (KUBE_SYSTEM,))

    def _operator(self) -> wire.Deployment | None:
        return next(iter(self.deployments.listing.items), None)

    # What is made of it.

    def snapshot(self, access: Access, version: Fact[str], sources: SourceIndex) -> Snapshot:
        """Return all that was learned."""
        felix, felix_of, per_node = self._felix()
        calico_node = self._calico_node_fact()
        listing = self.nodes.listing
        source = self._queries.source(self.nodes.place)
        kinds, nodes = self._reader.fold(listing.items, felix, felix_of, source)
        cluster = ClusterFacts(
            context=_context(access, sources),
            server=Known(value=access.server, source=sources.add(Source(kind=SourceKind.API, locator="kubeconfig"))),
            server_version=version,
            api_groups=self._queries.object_fact(
                self.groups, lambda found: tuple(sorted(group.name for group in found.groups))
            ),
            missing_rights=self._missing_rights(),
            node_count=self._queries.list_fact(self.nodes, len),
            node_subnets=self._node_subnets(),
            calico_version=self._information(),
            install=self._install(),
            calico_node=calico_node,
            calico_pods=self._calico_pods_fact(),
            operator=self._first(self.deployments, _operator),
            installation=self._first(self.installations, _installation),
            felix_default=self._felix_default(),
            felix_per_node=per_node,
            ip_pools=self._queries.list_fact(self.pools, lambda pools: tuple(map(_pool, pools))),
            bgp=self._bgp(),
            other_networks=self._queries.list_fact(
                self.daemon_sets,
                lambda found: tuple(
                    sorted(
                        f"{one.metadata.namespace}/{one.metadata.name}"
                        for one in found
                        if one.metadata.name in _OTHER_NETWORKS
                    )
                ),
            ),
            kube_proxy=self._kube_proxy_fact(),
            kube_proxy_config=self._kube_proxy_config(),
            kubernetes_service=self._queries.object_fact(self.service, _service_address),
            api_endpoints=self._api_endpoints(),
            endpoint_overrides=self._overrides(),
            kubeadm=self._queries.object_fact(self.kubeadm, kubeadm),
            service_cidrs=self._queries.list_fact(
                self.service_cidrs, lambda found: tuple(cidr for one in found for cidr in one.spec.cidrs)
            ),
            openshift=self._openshift(),
        )
        return Snapshot(
            tool_version=__version__,
            taken_at=datetime.now(UTC).replace(microsecond=0),
            sources=sources.listed(),
            cluster=cluster,
            kinds=kinds,
            nodes=nodes,
            unseen=tuple(self._unseen()),
            problems=tuple(self._problems()),
        )

    def _missing_rights(self) -> Fact[tuple[str, ...]]:
        source = self._queries.source(Place(resource="selfsubjectrulesreviews", group="authorization.k8s.io"))
        if self.rules.rules is None:
            detail = "the API server did not list what this account may do"
            return Unknown(reason=Reason.UNSUPPORTED, detail=detail, source=source)
        served = None if self.groups.value is None else [group.name for group in self.groups.value.groups]
        return Known(value=tuple(missing(self.rules.rules, served)), source=source)

    def _node_subnets(self) -> Fact[tuple[str, ...]]:
        return self._queries.list_fact(self.nodes, subnets)

    def _first(self, query: ListQuery[Any, Any], convert: Callable[[Any], Any]) -> Fact[Any]:
        """Return a fact of the one object that a list should hold; Absent where it holds none."""
        failure = self._queries.failure(query)
        if failure is not None:
            return failure
        source = self._queries.source(query.place)
        items = sorted(query.listing.items, key=lambda item: item.metadata.name != "default")
        return Known(value=convert(items[0]), source=source) if items else Absent(source=source)

    def _information(self) -> Fact[str]:
        version = self._first(self.information, lambda found: found.spec.calico_version)
        if isinstance(version, Known) and not version.value:
            return Absent(source=version.source)
        return version

    def _install(self) -> Fact[Install]:
        install: Install | None = None
        node = self._calico_node()
        place = self.daemon_sets.place
        if self.installations.listing.items:
            install, place = "operator", self.installations.place
        elif node is not None:
            by_operator = node.metadata.namespace == CALICO_SYSTEM or any(
                owner.kind == "Installation" for owner in node.metadata.owner_references or ()
            )
            install = "operator" if by_operator else "manifest"
        elif self.daemon_sets.error is None and self._is_answered(self.installations):
            install = "none"
        if install is None:
            failure = self._queries.failure(self.daemon_sets) or self._queries.failure(self.installations)
            return failure or Absent(source=self._queries.source(place))
        return Known(value=install, source=self._queries.source(place))

    @staticmethod
    def _is_answered(query: AnyQuery) -> bool:
        """Whether it is known what there is, be that nothing."""
        return query.error is None or query.error.status == 404

    def _calico_node_fact(self) -> Fact[CalicoNode]:
        node = self._calico_node()
        if node is None:
            return self._queries.failure(self.daemon_sets) or Absent(
                source=self._queries.source(self.daemon_sets.place)
            )
        return Known(value=self._described(node), source=self._queries.source(self.daemon_sets.place))

    def _described(self, node: wire.DaemonSet) -> CalicoNode:
        main = _calico_container(node)
        spec, status, metadata = node.spec.template.spec, node.status, node.metadata
        containers = (*(spec.init_containers or ()), *spec.containers)
        return CalicoNode(
            namespace=metadata.namespace,
            name=metadata.name,
            image=main.image,
            desired=status.desired_number_scheduled,
            updated=status.updated_number_scheduled,
            available=status.number_available,
            is_observed=status.observed_generation is None
            or metadata.generation is None
            or status.observed_generation >= metadata.generation,
            env=tuple((variable.name.upper(), self._value(variable)) for variable in _kept_variables(node)),
            dns_policy=spec.dns_policy,
            service_host=next(
                (variable.value for variable in main.env or () if variable.name == "KUBERNETES_SERVICE_HOST"), None
            ),
            env_from=tuple(
                dict.fromkeys(
                    source.config_map_ref.name
                    for container in containers
                    for source in container.env_from or ()
                    if source.config_map_ref is not None
                )
            ),
            init_containers=tuple(container.name for container in spec.init_containers or ()),
            marks=_marks(metadata),
        )

    def _value(self, variable: wire.EnvVar) -> str | None:
        """Return a variable's value, looked up where it comes from calico-config."""
        if variable.value_from is None:
            return variable.value or ""
        reference, config = variable.value_from.config_map_key_ref, self.calico_config
        if reference is None or config is None or config.value is None or reference.name != config.place.name:
            return None
        return (config.value.data or {}).get(reference.key)

    def _calico_pods_fact(self) -> Fact[CalicoPods]:
        query = self.calico_pods
        if query is None:
            return self._queries.failure(self.daemon_sets) or Absent(
                source=self._queries.source(self.daemon_sets.place)
            )

        def described(pods: Sequence[tuple[str, datetime | None]]) -> CalicoPods:
            return CalicoPods(
                images=tuple(Counter(image for image, _ in pods).most_common()),
                oldest_start=min((start for _, start in pods if start is not None), default=None),
            )

        return self._queries.list_fact(query, described)

    def _felix(
        self,
    ) -> tuple[Fact[FelixSettings], dict[str, FelixSettings], Fact[tuple[tuple[FelixSettings, int], ...]]]:
        """Return what is set for nodes in general, for single ones by name, and what is set apart from `default`."""
        failure = self._queries.failure(self.felix)
        if failure is not None:
            return failure, {}, failure
        source = self._queries.source(self.felix.place)
        specs = {one.metadata.name: one.spec or wire.FelixSpec() for one in self.felix.listing.items}
        default = specs.pop("default", wire.FelixSpec())
        # What is for nodes that are gone, or has a name that Felix does not look for, sets nothing.
        there = {f"node.{row.identity.name}" for row in self.nodes.listing.items} if self.nodes.error is None else None
        specs = {
            name: spec
            for name, spec in specs.items()
            if spec.node_selector or (name.startswith("node.") if there is None else name in there)
        }
        apart = Counter(merged([spec]) for spec in specs.values())
        per_node: Fact[tuple[tuple[FelixSettings, int], ...]] = Known(value=tuple(apart.most_common()), source=source)
        node = self._calico_node_fact()
        if isinstance(node, Unknown):
            return node, {}, per_node
        environment = from_environment(node.value.env if isinstance(node, Known) else ())
        if environment is None or any(spec.node_selector for spec in specs.values()):
            detail = (
                "a FELIX_ variable of calico-node has a value that could not be followed or read"
                if environment is None
                else "FelixConfigurations choose nodes by selectors, which are not followed here"
            )
            return Unknown(reason=Reason.UNSUPPORTED, detail=detail, source=source), {}, per_node
        named = {name.removeprefix("node."): merged((default, spec, environment)) for name, spec in specs.items()}
        return Known(value=merged((default, environment)), source=source), named, per_node

    def _felix_default(self) -> Fact[FelixObject]:
        failure = self._queries.failure(self.felix)
        if failure is not None:
            return failure
        source = self._queries.source(self.felix.place)
        for one in self.felix.listing.items:
            if one.metadata.name == "default":
                remembered = (one.metadata.annotations or {}).get("operator.tigera.io/bpfEnabled")
                settings = merged([one.spec or wire.FelixSpec()])
                return Known(value=FelixObject(settings=settings, operator_bpf_enabled=remembered), source=source)
        return Absent(source=source)

    def _bgp(self) -> Fact[Bgp]:
        failure = self._queries.failure(self.bgp) or self._queries.failure(self.peers)
        if failure is not None:
            return failure
        default = next((one.spec for one in self.bgp.listing.items if one.metadata.name == "default"), None)
        mesh = (
            True if default is None or default.node_to_node_mesh_enabled is None else default.node_to_node_mesh_enabled
        )
        return Known(
            value=Bgp(mesh=mesh, peers=len(self.peers.listing.items)), source=self._queries.source(self.bgp.place)
        )

    def _kube_proxy_fact(self) -> Fact[KubeProxy]:
        proxy = self._kube_proxy()
        if proxy is not None:
            spec = proxy.spec.template.spec
            described = KubeProxy(
                namespace=proxy.metadata.namespace,
                name=proxy.metadata.name,
                runs_as="daemonset",
                image=_main(spec).image,
                command=_command(spec),
                masters=_masters([spec]),
                node_selector=tuple(sorted((spec.node_selector or {}).items())),
                desired=proxy.status.desired_number_scheduled,
                marks=_marks(proxy.metadata),
            )
            return Known(value=described, source=self._queries.source(self.daemon_sets.place))
        failure = self._queries.failure(self.daemon_sets)
        if failure is not None:
            return failure
        for query in self.static_proxies:
            pods = query.listing.items
            if pods:
                described = KubeProxy(
                    namespace=KUBE_SYSTEM,
                    name="kube-proxy",
                    runs_as="static pods",
                    image=_main(pods[0].spec).image,
                    command=_command(pods[0].spec),
                    masters=_masters(pod.spec for pod in pods),
                    desired=len(pods),
                    marks=_marks(pods[0].metadata),
                )
                return Known(value=described, source=self._queries.source(query.place))
        failures = [self._queries.failure(query) for query in self.static_proxies]
        unknown = next((failure for failure in failures if failure is not None), None)
        return unknown or Absent(source=self._queries.source(self.daemon_sets.place))

    def _kube_proxy_config(self) -> Fact[KubeProxyConfig]:
        found = [query for query in self.kube_proxy_maps if query.value is not None]
        failures = [self._queries.failure(query) for query in self.kube_proxy_maps]
        unknown = next((failure for failure in failures if isinstance(failure, Unknown)), None)
        if unknown is not None:
            return unknown
        if not found:
            failure = self._queries.failure(self.daemon_sets)
            place = self.kube_proxy_maps[0].place if self.kube_proxy_maps else self.daemon_sets.place
            return failure or Absent(source=self._queries.source(place))
        return self._queries.object_fact(
            found[0], lambda _: kube_proxy_config(query.value for query in found if query.value is not None)
        )

    def _api_endpoints(self) -> Fact[tuple[str, ...]]:
        if self.slices.listing.items:
            return self._queries.list_fact(self.slices, lambda slices: tuple(_of_slices(slices)))
        if self.endpoints.value is not None:
            return self._queries.object_fact(self.endpoints, lambda found: tuple(_of_endpoints(found)))
        failure = self._queries.failure(self.slices)
        if failure is None or isinstance(failure, Absent):
            failure = self._queries.failure(self.endpoints)
        return failure or Absent(source=self._queries.source(self.slices.place))

    def _overrides(self) -> Fact[tuple[EndpointOverride, ...]]:
        for query in self.overrides:
            failure = self._queries.failure(query)
            if isinstance(failure, Unknown) and query.place.name == ENDPOINT_CONFIG_MAP:
                return failure
        found = [query for query in self.overrides if query.value is not None]
        if not found:
            return (
                Absent(source=self._queries.source(self.overrides[0].place))
                if self.overrides
                else Unknown(reason=Reason.TIMEOUT, detail="the time was up before it was asked for")
            )
        return Known(
            value=tuple(endpoint_override(query.value) for query in found if query.value is not None),
            source=self._queries.source(found[0].place),
        )

    def _openshift(self) -> Fact[OpenShift]:
        for query in (self.infrastructure, self.openshift_network):
            failure = self._queries.failure(query)
            if isinstance(failure, Unknown):
                return failure
        status, spec = None, None
        if self.infrastructure.value is None and self.openshift_network.value is None:
            return Absent(source=self._queries.source(self.infrastructure.place))
        if self.infrastructure.value is not None:
            status = self.infrastructure.value.status
        if self.openshift_network.value is not None:
            spec = self.openshift_network.value.spec
        described = OpenShift(
            api_internal_url=status.api_server_internal_uri if status else None,
            deploy_kube_proxy=spec.deploy_kube_proxy if spec else None,
        )
        return Known(value=described, source=self._queries.source(self.infrastructure.place))

    def _unseen(self) -> Iterable[Unseen]:
        listing = self.nodes.listing
        error = listing.error
        if error is not None:
            words = f"not allowed to {self.nodes.place.right}" if error.reason is Reason.FORBIDDEN else error.words
            detail = f"{words}; {listing.shortfall}" if listing.items else words
            yield Unseen(name="(nodes that were not listed)", reason=error.reason, detail=detail)
        if listing.odd:
            detail = f"{len(listing.odd)} of the list could not be read: {listing.odd[0]}"
            yield Unseen(name="(nodes of an odd shape)", reason=Reason.UNPARSABLE, detail=detail)

    def _problems(self) -> Iterable[Problem]:
        forbidden: list[str] = []
        for query in self._asked:
            error = query.error
            if error is None:
                continue
            if error.reason is Reason.FORBIDDEN:
                forbidden.append(query.place.right)
            elif error.status != 404 and query is not self.nodes:
                yield Problem(source=query.place.path, reason=error.reason, detail=error.words)
        if forbidden:
            rights = ", ".join(dict.fromkeys(forbidden))
            yield Problem(
                source="rights",
                reason=Reason.FORBIDDEN,
                detail=f"this account may not {rights}; `ebpfcheck rbac` prints the role that is needed",
            )


def _context(access: Access, sources: SourceIndex) -> Fact[str]:
    source = sources.add(Source(kind=SourceKind.API, locator="kubeconfig"))
    return Absent(source=source) if access.context is None else Known(value=access.context, source=source)


def _best(found: Iterable[wire.DaemonSet], names: Sequence[str], namespaces: Sequence[str]) -> wire.DaemonSet | None:
    """Return the DaemonSet of one of these names, those in the first of these namespaces first."""

    def rank(one: wire.DaemonSet) -> tuple[int, int]:
        namespace = one.metadata.namespace
        where = namespaces.index(namespace) if namespace in namespaces else len(namespaces)
        return where, names.index(one.metadata.name)

    return min((one for one in found if one.metadata.name in names), key=rank, default=None)


def _calico_container(node: wire.DaemonSet) -> wire.Container:
    containers = node.spec.template.spec.containers
    named = (one for one in containers if one.name == "calico-node")
    return next(named, containers[0] if containers else wire.Container())


def _kept_variables(node: wire.DaemonSet) -> Iterator[wire.EnvVar]:
    for variable in _calico_container(node).env or ():
        if variable.name.upper().startswith("FELIX_") or variable.name in _VARIABLES:
            yield variable


def _main(spec: wire.PodSpec) -> wire.Container:
    return spec.containers[0] if spec.containers else wire.Container()


def _command(spec: wire.PodSpec) -> tuple[str, ...]:
    return (*(_main(spec).command or ()), *(_main(spec).args or ()))


def _masters(specs: Iterable[wire.PodSpec]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(url for spec in specs for url in _MASTER.findall(" ".join(_command(spec)))))


def _image_and_start(pod: wire.CalicoPod) -> tuple[str, datetime | None]:
    named = (one.image for one in pod.spec.containers if one.name == "calico-node")
    return next(named, ""), pod.status.start_time if pod.status else None


def _config_maps_of(proxy: wire.DaemonSet) -> list[str]:
    return [
        volume.config_map.name
        for volume in proxy.spec.template.spec.volumes or ()
        if volume.config_map is not None and volume.config_map.name
    ]


def _marks(metadata: wire.Metadata) -> Marks:
    return Marks(
        labels=tuple(sorted((metadata.labels or {}).items())),
        annotations=tuple(sorted(metadata.annotations or {})),
        managers=tuple(dict.fromkeys(field.manager for field in metadata.managed_fields or ())),
        owners=tuple(dict.fromkeys(owner.kind for owner in metadata.owner_references or ())),
    )


def _operator(deployment: wire.Deployment) -> Operator:
    containers = deployment.spec.template.spec.containers
    return Operator(
        namespace=deployment.metadata.namespace,
        name=deployment.metadata.name,
        image=containers[0].image if containers else "",
    )


def _installation(found: wire.Installation) -> Installation:
    """Return what is asked for; what the operator has filled in by itself stands for what is not."""
    status = found.status or wire.InstallationStatus()
    specs = [found.spec, *([status.computed] if status.computed else [])]
    networks = [spec.calico_network for spec in specs if spec.calico_network is not None]

    def first(values: Iterable[str | None]) -> str | None:
        return next((value for value in values if value), None)

    return Installation(
        variant=first(spec.variant for spec in specs),
        kubernetes_provider=first(spec.kubernetes_provider for spec in specs),
        cni_type=first(spec.cni.type for spec in specs if spec.cni is not None),
        linux_dataplane=first(network.linux_dataplane for network in networks),
        bgp=first(network.bgp for network in networks),
        bpf_network_bootstrap=first(network.bpf_network_bootstrap for network in networks),
        kube_proxy_management=first(network.kube_proxy_management for network in networks),
        calico_version=status.calico_version or None,
    )


def _pool(found: wire.IpPool) -> IpPool:
    spec = found.spec
    return IpPool(
        name=found.metadata.name,
        cidr=spec.cidr,
        ipip_mode=spec.ipip_mode or "Never",
        vxlan_mode=spec.vxlan_mode or "Never",
        nat_outgoing=spec.nat_outgoing or False,
        disabled=spec.disabled or False,
    )


def _service_address(found: wire.Service) -> ServiceAddress:
    spec = found.spec
    ips = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    if not ips or not spec.ports:
        raise ValueError("it has no ClusterIP or no port")
    return ServiceAddress(cluster_ips=ips, port=spec.ports[0].port)


def _of_slices(slices: Iterable[wire.EndpointSlice]) -> Iterable[str]:
    for one in slices:
        port = _https(one.ports)
        for endpoint in one.endpoints or ():
            # Where it does not say, it counts as ready.
            if endpoint.conditions is None or endpoint.conditions.ready is not False:
                yield from (_joined(address, port) for address in endpoint.addresses)


def _of_endpoints(found: wire.Endpoints) -> Iterable[str]:
    for subset in found.subsets or ():
        yield from (_joined(address.ip, _https(subset.ports)) for address in subset.addresses or ())


def _https(ports: Sequence[wire.EndpointPort] | None) -> int:
    numbers = [port.port for port in ports or () if port.name in ("https", None, "")]
    return next((number for number in numbers if number), 443)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
