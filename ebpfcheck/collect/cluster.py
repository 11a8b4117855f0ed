"""Looks at a cluster through its API server and turns what it answers into facts."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from ebpfcheck import __version__
from ebpfcheck.collect import wire
from ebpfcheck.collect.access import Access
from ebpfcheck.collect.api_nodes import addresses, subnets, zones
from ebpfcheck.collect.apiclient import ApiClient
from ebpfcheck.collect.config_maps import endpoint_override, kube_proxy_config, kubeadm
from ebpfcheck.collect.felix import from_environment, merged
from ebpfcheck.collect.login import Login
from ebpfcheck.collect.objects import (
    CalicoPod,
    addresses_of_endpoints,
    addresses_of_slices,
    calico_container,
    calico_nodes_of,
    command_of,
    installation_of,
    is_observed,
    kept_variables,
    kube_proxies,
    main_container,
    marks_of,
    masters_of,
    pool_of,
    service_address,
    tigera_status_of,
)
from ebpfcheck.collect.queries import WORKERS, ListQuery, ObjectQuery, Place, Queries
from ebpfcheck.collect.requests import CALICO_SYSTEM, KUBE_SYSTEM, AnyQuery, Listener, Requests
from ebpfcheck.collect.rights import ENDPOINT_CONFIG_MAP
from ebpfcheck.collect.usage import (
    ServiceRow,
    WorkloadRow,
    calico_policies_of,
    daemon_set_row,
    deployment_of,
    guests_of,
    host_endpoints_of,
    network_policies_of,
    node_local_dns,
    services_of,
    workloads_of,
)
from ebpfcheck.errors import CannotRunError
from ebpfcheck.model.cluster import (
    SCAN_NOT_ASKED,
    AddOn,
    Bgp,
    CalicoNode,
    CalicoPods,
    ClusterFacts,
    Deployment,
    DnsService,
    EndpointOverride,
    FelixObject,
    InitExit,
    KubeProxy,
    KubeProxyConfig,
    OpenShift,
)
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, Known, Reason, Source, SourceKind, Unknown
from ebpfcheck.model.snapshot import Problem, Snapshot, SourceIndex, Unseen
from ebpfcheck.model.text import excerpt

T = TypeVar("T")
U = TypeVar("U")

# What eBPF mode needs of a node is below one of these.
_KEPT_PATHS = ("/sys", "/proc", "/run", "/var/run")

_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_OTHER_NETWORKS = (
    "anetd", "antrea-agent", "aws-node", "azure-cns", "azure-npm", "cilium", "kindnet", "kube-flannel",
    "kube-flannel-ds", "kube-ovn-cni", "kube-router", "ovnkube-node", "weave-net",
)  # fmt: skip


def snapshot_of_cluster(login: Login, deadline: float, listener: Listener, *, scan_pods: bool = False) -> Snapshot:
    """Return what an API server says up to the deadline (time.monotonic); CannotRunError if it says nothing at all."""
    # Made while the kubeconfig is loaded.
    requests = Requests(listener, scan_pods=scan_pods)
    access = login.access()
    sources = SourceIndex()
    queries = Queries(ApiClient(access, login.again, deadline, WORKERS), deadline, sources)
    version = _server_version(access.server, queries)
    requests.run(queries)
    queries.close()
    return _Answers(requests, queries).snapshot(access, version, sources)


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


class _Answers:
    """What was answered, as facts."""

    def __init__(self, asked: Requests, queries: Queries) -> None:
        self._asked = asked
        self._queries = queries

    def snapshot(self, access: Access, version: Fact[str], sources: SourceIndex) -> Snapshot:
        """Return all that was learned."""
        felix, felix_of, per_node = self._felix()
        calico_node = self._calico_node_fact()
        listing = self._asked.nodes.listing
        source = self._queries.source(self._asked.nodes.place)
        kinds, nodes = self._asked.reader.fold(listing.items, felix, felix_of, source)
        cluster = ClusterFacts(
            context=_context(access, sources),
            server=Known(value=access.server, source=sources.add(Source(kind=SourceKind.API, locator="kubeconfig"))),
            server_version=version,
            api_groups=self._queries.object_fact(
                self._asked.groups, lambda found: tuple(sorted(group.name for group in found.groups))
            ),
            missing_rights=self._asked.missing_rights(),
            node_count=self._queries.list_fact(self._asked.nodes, len),
            node_subnets=self._queries.list_fact(self._asked.nodes, subnets),
            node_addresses=self._queries.list_fact(self._asked.nodes, addresses),
            zones=self._queries.list_fact(self._asked.nodes, zones),
            pod_count=self._queries.object_fact(self._asked.pod_count, _length),
            calico_version=self._information(),
            install=self._install(),
            calico_node=calico_node,
            calico_nodes=self._queries.list_fact(self._asked.daemon_sets, calico_nodes_of),
            calico_pods=self._calico_pods_fact(),
            operator=self._first(self._asked.operators, deployment_of),
            typha=self._own("calico-typha"),
            tigera_statuses=self._queries.list_fact(
                self._asked.tigera_statuses, lambda found: tuple(map(tigera_status_of, found))
            ),
            installation=self._first(self._asked.installations, installation_of),
            felix_default=self._felix_default(),
            felix_per_node=per_node,
            ip_pools=self._queries.list_fact(self._asked.pools, lambda pools: tuple(map(pool_of, pools))),
            bgp=self._bgp(),
            auto_host_endpoints=self._auto_host_endpoints(),
            host_endpoints=self._queries.list_fact(self._asked.host_endpoints, host_endpoints_of),
            calico_policies=self._merged(self._asked.calico_policies, calico_policies_of),
            network_policies=self._queries.list_fact(self._asked.network_policies, network_policies_of),
            services=self._queries.list_fact(self._asked.services, services_of),
            dns_services=self._dns_services(),
            node_local_dns=self._queries.list_fact(self._asked.daemon_sets, node_local_dns),
            slice_count=self._queries.object_fact(self._asked.slice_count, _length),
            backends=self._scanned(self._asked.all_slices, sum),
            workloads=self._workloads(workloads_of),
            pods=self._scanned(self._asked.all_pods, workloads_of),
            add_ons=self._workloads(_add_ons),
            meshed_namespaces=self._queries.list_fact(self._asked.namespaces, _meshes),
            guests=self._queries.list_fact(self._asked.guests, guests_of),
            other_networks=self._queries.list_fact(
                self._asked.daemon_sets,
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
            kubernetes_service=self._queries.object_fact(self._asked.service, service_address),
            api_endpoints=self._api_endpoints(),
            endpoint_overrides=self._overrides(),
            kubeadm=self._queries.object_fact(self._asked.kubeadm, kubeadm),
            service_cidrs=self._queries.list_fact(
                self._asked.service_cidrs, lambda found: tuple(cidr for one in found for cidr in one.spec.cidrs)
            ),
            openshift=self._openshift(),
        )
        return Snapshot(
            tool_version=__version__,
            taken_at=datetime.now(UTC).replace(microsecond=0),
            sources=sources.listed(),
            cluster=cluster,
            kinds=kinds,
            traits=self._asked.reader.traits(),
            nodes=nodes,
            unseen=tuple(self._unseen()),
            problems=tuple(self._problems()),
        )

    def _first(self, query: ListQuery[Any, Any], convert: Callable[[Any], Any]) -> Fact[Any]:
        """Return a fact of the one object that a list should hold; Absent where it holds none."""
        failure = self._queries.failure(query)
        if failure is not None:
            return failure
        source = self._queries.source(query.place)
        items = sorted(query.listing.items, key=lambda item: item.metadata.name != "default")
        return Known(value=convert(items[0]), source=source) if items else Absent(source=source)

    def _scanned(self, query: ListQuery[Any, U] | None, convert: Callable[[list[U]], T]) -> Fact[T]:
        return SCAN_NOT_ASKED if query is None else self._queries.list_fact(query, convert)

    def _merged(self, queries: Sequence[ListQuery[Any, U]], convert: Callable[[Iterable[U]], T], *more: U) -> Fact[T]:
        """Return a fact of several lists together; Absent where none of them is served."""
        failures = [self._queries.failure(query) for query in queries]
        unknown = next((failure for failure in failures if isinstance(failure, Unknown)), None)
        if unknown is not None:
            return unknown
        source = self._queries.source(queries[0].place)
        if all(isinstance(failure, Absent) for failure in failures):
            return Absent(source=source)
        rows = (row for query in queries for row in query.listing.items)
        return Known(value=convert((*more, *rows)), source=source)

    def _workloads(self, convert: Callable[[Iterable[WorkloadRow]], T]) -> Fact[T]:
        """Return a fact of all DaemonSets, Deployments and StatefulSets."""
        failure = self._queries.failure(self._asked.daemon_sets)
        if failure is not None:
            return failure
        return self._merged(self._asked.workloads, convert, *map(daemon_set_row, self._asked.daemon_sets.listing.items))

    def _own(self, name: str) -> Fact[Deployment]:
        """Return one of Calico's own Deployments, that in the namespace of calico-node where there are several."""
        deployments = self._asked.workloads[0]
        failure = self._queries.failure(deployments)
        if failure is not None:
            return failure
        source = self._queries.source(deployments.place)
        node = self._asked.calico_node_set()
        home = node.metadata.namespace if node else CALICO_SYSTEM
        found = [row.own for row in deployments.listing.items if row.own is not None and row.own.name == name]
        found.sort(key=lambda one: one.namespace != home)
        return Known(value=found[0], source=source) if found else Absent(source=source)

    def _auto_host_endpoints(self) -> Fact[str]:
        def switch(found: wire.KubeControllersConfiguration) -> str:
            controllers = found.spec.controllers if found.spec else None
            endpoint = controllers.node.host_endpoint if controllers and controllers.node else None
            return (endpoint.auto_create if endpoint else None) or "Disabled"

        return self._first(self._asked.controllers, switch)

    def _dns_services(self) -> Fact[tuple[DnsService, ...]]:
        def found(rows: Sequence[ServiceRow]) -> tuple[DnsService, ...]:
            return tuple(row.dns for row in rows if row.dns is not None)

        return self._queries.list_fact(self._asked.services, found)

    def _information(self) -> Fact[str]:
        version = self._first(self._asked.information, lambda found: found.spec.calico_version)
        if isinstance(version, Known) and not version.value:
            return Absent(source=version.source)
        return version

    def _install(self) -> Fact[Install]:
        install: Install | None = None
        node = self._asked.calico_node_set()
        place = self._asked.daemon_sets.place
        if self._asked.installations.listing.items:
            install, place = "operator", self._asked.installations.place
        elif node is not None:
            by_operator = node.metadata.namespace == CALICO_SYSTEM or any(
                owner.kind == "Installation" for owner in node.metadata.owner_references or ()
            )
            install = "operator" if by_operator else "manifest"
        elif self._asked.daemon_sets.error is None and self._is_answered(self._asked.installations):
            install = "none"
        if install is None:
            failure = self._queries.failure(self._asked.daemon_sets) or self._queries.failure(self._asked.installations)
            return failure or Absent(source=self._queries.source(place))
        return Known(value=install, source=self._queries.source(place))

    @staticmethod
    def _is_answered(query: AnyQuery) -> bool:
        """Whether it is known what there is, be that nothing."""
        return query.error is None or query.error.status == 404

    def _calico_node_fact(self) -> Fact[CalicoNode]:
        node = self._asked.calico_node_set()
        if node is None:
            return self._queries.failure(self._asked.daemon_sets) or Absent(
                source=self._queries.source(self._asked.daemon_sets.place)
            )
        return Known(value=self._described(node), source=self._queries.source(self._asked.daemon_sets.place))

    def _described(self, node: wire.DaemonSet) -> CalicoNode:
        main = calico_container(node)
        spec, status, metadata = node.spec.template.spec, node.status or wire.DaemonSetStatus(), node.metadata
        containers = (*(spec.init_containers or ()), *spec.containers)
        return CalicoNode(
            namespace=metadata.namespace,
            name=metadata.name,
            image=main.image,
            desired=status.desired_number_scheduled,
            updated=status.updated_number_scheduled,
            available=status.number_available,
            is_observed=is_observed(node),
            env=tuple((variable.name.upper(), self._value(variable)) for variable in kept_variables(node)),
            dns_policy=spec.dns_policy,
            service_host=next(
                (variable.value for variable in main.env or () if variable.name == "KUBERNETES_SERVICE_HOST"), None
            ),
            env_from=tuple(
                dict.fromkeys(
                    name for container in containers for source in container.env_from or () for name in _names(source)
                )
            ),
            init_containers=tuple(container.name for container in spec.init_containers or ()),
            host_paths=tuple(
                volume.host_path.path
                for volume in spec.volumes or ()
                if volume.host_path is not None and volume.host_path.path.startswith(_KEPT_PATHS)
            ),
            is_privileged=main.security_context is not None and main.security_context.privileged,
            container=main.name or "calico-node",
            template_generation=(metadata.annotations or {}).get(_TEMPLATE_GENERATION),
            marks=marks_of(metadata),
        )

    def _value(self, variable: wire.EnvVar) -> str | None:
        """Return a variable's value, looked up where it comes from calico-config."""
        if variable.value_from is None:
            # $(NAME) stands for another variable's value.
            return None if "$(" in (variable.value or "") else variable.value or ""
        reference, config = variable.value_from.config_map_key_ref, self._asked.calico_config
        if reference is None or config is None or config.value is None or reference.name != config.place.name:
            return None
        return (config.value.data or {}).get(reference.key)

    def _calico_pods_fact(self) -> Fact[CalicoPods]:
        query = self._asked.calico_pods
        if query is None:
            return self._queries.failure(self._asked.daemon_sets) or Absent(
                source=self._queries.source(self._asked.daemon_sets.place)
            )

        return self._queries.list_fact(query, _calico_pods)

    def _felix(
        self,
    ) -> tuple[Fact[FelixSettings], dict[str, FelixSettings], Fact[tuple[tuple[FelixSettings, int], ...]]]:
        """Return what is set for nodes in general, for single ones by name, and what is set apart from `default`."""
        failure = self._queries.failure(self._asked.felix)
        if failure is not None:
            return failure, {}, failure
        source = self._queries.source(self._asked.felix.place)
        specs = {one.metadata.name: one.spec or wire.FelixSpec() for one in self._asked.felix.listing.items}
        default = specs.pop("default", wire.FelixSpec())
        # What is for nodes that are gone, or has a name that Felix does not look for, sets nothing.
        nodes = self._asked.nodes
        there = {f"node.{row.identity.name}" for row in nodes.listing.items} if nodes.error is None else None
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
        if isinstance(environment, str) or any(spec.node_selector for spec in specs.values()):
            detail = (
                f"{excerpt(environment, 60)} of calico-node has a value that could not be followed or read"
                if isinstance(environment, str)
                else "FelixConfigurations choose nodes by selectors, which are not followed here"
            )
            return Unknown(reason=Reason.UNSUPPORTED, detail=detail, source=source), {}, per_node
        named = {name.removeprefix("node."): merged((default, spec, environment)) for name, spec in specs.items()}
        return Known(value=merged((default, environment)), source=source), named, per_node

    def _felix_default(self) -> Fact[FelixObject]:
        failure = self._queries.failure(self._asked.felix)
        if failure is not None:
            return failure
        source = self._queries.source(self._asked.felix.place)
        for one in self._asked.felix.listing.items:
            if one.metadata.name == "default":
                remembered = (one.metadata.annotations or {}).get("operator.tigera.io/bpfEnabled")
                settings = merged([one.spec or wire.FelixSpec()])
                spec = one.spec or wire.FelixSpec()
                default = FelixObject(
                    settings=settings,
                    operator_bpf_enabled=remembered,
                    metrics_enabled=spec.prometheus_metrics_enabled,
                    metrics_port=spec.prometheus_metrics_port,
                    marks=marks_of(one.metadata),
                )
                return Known(value=default, source=source)
        return Absent(source=source)

    def _bgp(self) -> Fact[Bgp]:
        failure = self._queries.failure(self._asked.bgp) or self._queries.failure(self._asked.peers)
        if failure is not None:
            return failure
        default = next((one.spec for one in self._asked.bgp.listing.items if one.metadata.name == "default"), None)
        mesh = (
            True if default is None or default.node_to_node_mesh_enabled is None else default.node_to_node_mesh_enabled
        )
        return Known(
            value=Bgp(mesh=mesh, peers=len(self._asked.peers.listing.items)),
            source=self._queries.source(self._asked.bgp.place),
        )

    def _kube_proxy_fact(self) -> Fact[KubeProxy]:
        proxy = self._asked.kube_proxy_set()
        if proxy is not None:
            spec = proxy.spec.template.spec
            status = proxy.status if is_observed(proxy) else None
            described = KubeProxy(
                namespace=proxy.metadata.namespace,
                name=proxy.metadata.name,
                runs_as="daemonset",
                image=main_container(spec).image,
                command=command_of(spec),
                masters=masters_of([spec]),
                node_selector=tuple(sorted((spec.node_selector or {}).items())),
                desired=status.desired_number_scheduled if status else None,
                available=status.number_available if status else None,
                misplaced=status.number_misscheduled if status else None,
                marks=marks_of(proxy.metadata),
            )
            return Known(value=described, source=self._queries.source(self._asked.daemon_sets.place))
        failure = self._queries.failure(self._asked.daemon_sets)
        if failure is not None:
            return failure
        several = kube_proxies(self._asked.daemon_sets.listing.items)
        if several:
            names = ", ".join(f"{one.metadata.namespace}/{one.metadata.name}" for one in several)
            return Unknown(
                reason=Reason.UNSUPPORTED,
                detail=f"several DaemonSets run kube-proxy ({names}), which are not judged together",
                source=self._queries.source(self._asked.daemon_sets.place),
            )
        for query in self._asked.static_proxies:
            # Those of a DaemonSet elsewhere may be labelled so too.
            pods = [
                pod
                for pod in query.listing.items
                if any(owner.kind == "Node" for owner in pod.metadata.owner_references or ())
            ]
            if pods:
                described = KubeProxy(
                    namespace=KUBE_SYSTEM,
                    name="kube-proxy",
                    runs_as="static pods",
                    image=main_container(pods[0].spec).image,
                    command=command_of(pods[0].spec),
                    masters=masters_of(pod.spec for pod in pods),
                    desired=len(pods),
                    marks=marks_of(pods[0].metadata),
                )
                return Known(value=described, source=self._queries.source(query.place))
        failures = [self._queries.failure(query) for query in self._asked.static_proxies]
        unknown = next((failure for failure in failures if failure is not None), None)
        return unknown or Absent(source=self._queries.source(self._asked.daemon_sets.place))

    def _kube_proxy_config(self) -> Fact[KubeProxyConfig]:
        found = [query for query in self._asked.kube_proxy_maps if query.value is not None]
        failures = [self._queries.failure(query) for query in self._asked.kube_proxy_maps]
        unknown = next((failure for failure in failures if isinstance(failure, Unknown)), None)
        if unknown is not None:
            return unknown
        if not found:
            failure = self._queries.failure(self._asked.daemon_sets)
            place = (
                self._asked.kube_proxy_maps[0].place if self._asked.kube_proxy_maps else self._asked.daemon_sets.place
            )
            return failure or Absent(source=self._queries.source(place))
        return self._queries.object_fact(
            found[0], lambda _: kube_proxy_config(query.value for query in found if query.value is not None)
        )

    def _api_endpoints(self) -> Fact[tuple[str, ...]]:
        slices, endpoints = self._asked.slices, self._asked.endpoints
        # That there is no API server cannot be, as one has answered: an empty list tells nothing.
        if any(addresses_of_slices(slices.listing.items)):
            return self._queries.list_fact(slices, lambda found: tuple(addresses_of_slices(found)))
        if endpoints.value is not None and any(addresses_of_endpoints(endpoints.value)):
            return self._queries.object_fact(endpoints, lambda found: tuple(addresses_of_endpoints(found)))
        failure = self._queries.failure(self._asked.slices)
        if failure is None or isinstance(failure, Absent):
            failure = self._queries.failure(self._asked.endpoints)
        return failure or Absent(source=self._queries.source(self._asked.slices.place))

    def _overrides(self) -> Fact[tuple[EndpointOverride, ...]]:
        for query in self._asked.overrides:
            failure = self._queries.failure(query)
            if isinstance(failure, Unknown) and query.place.name == ENDPOINT_CONFIG_MAP:
                return failure
        found = [query for query in self._asked.overrides if query.value is not None]
        if not found:
            return (
                Absent(source=self._queries.source(self._asked.overrides[0].place))
                if self._asked.overrides
                else Unknown(reason=Reason.TIMEOUT, detail="the time was up before it was asked for")
            )
        return Known(
            value=tuple(endpoint_override(query.value) for query in found if query.value is not None),
            source=self._queries.source(found[0].place),
        )

    def _openshift(self) -> Fact[OpenShift]:
        for query in (self._asked.infrastructure, self._asked.openshift_network):
            failure = self._queries.failure(query)
            if isinstance(failure, Unknown):
                return failure
        status, spec = None, None
        if self._asked.infrastructure.value is None and self._asked.openshift_network.value is None:
            return Absent(source=self._queries.source(self._asked.infrastructure.place))
        if self._asked.infrastructure.value is not None:
            status = self._asked.infrastructure.value.status
        if self._asked.openshift_network.value is not None:
            spec = self._asked.openshift_network.value.spec
        described = OpenShift(
            api_internal_url=status.api_server_internal_uri if status else None,
            deploy_kube_proxy=spec.deploy_kube_proxy if spec else None,
        )
        return Known(value=described, source=self._queries.source(self._asked.infrastructure.place))

    def _unseen(self) -> Iterable[Unseen]:
        listing = self._asked.nodes.listing
        error = listing.error
        if error is not None:
            words = (
                f"not allowed to {self._asked.nodes.place.right}" if error.reason is Reason.FORBIDDEN else error.words
            )
            detail = f"{words}; {listing.shortfall}" if listing.items else words
            yield Unseen(name="(nodes that were not listed)", reason=error.reason, detail=detail)
        if listing.odd:
            detail = f"{len(listing.odd)} of the list could not be read: {listing.odd[0]}"
            yield Unseen(name="(nodes of an odd shape)", reason=Reason.UNPARSABLE, detail=detail)

    def _problems(self) -> Iterable[Problem]:
        forbidden: list[str] = []
        for query in self._asked.asked:
            error = query.error
            if error is None:
                continue
            if error.reason is Reason.FORBIDDEN:
                forbidden.append(query.place.right)
            elif error.status != 404 and query is not self._asked.nodes:
                yield Problem(source=query.place.path, reason=error.reason, detail=error.words)
        if forbidden:
            rights = ", ".join(dict.fromkeys(forbidden))
            yield Problem(
                source="rights",
                reason=Reason.FORBIDDEN,
                detail=f"this account may not {rights}; `ebpfcheck rbac` prints the role that is needed",
            )


def _calico_pods(pods: Sequence[CalicoPod]) -> CalicoPods:
    waiting = Counter(reason for pod in pods for reason in pod.waiting)
    exits = Counter(end for pod in pods for end in pod.init_exits)
    return CalicoPods(
        images=tuple(Counter(pod.image for pod in pods).most_common()),
        oldest_start=min((pod.start for pod in pods if pod.start is not None), default=None),
        ready=sum(1 for pod in pods if pod.is_ready),
        restarted=sum(1 for pod in pods if pod.is_restarted),
        waiting=tuple(sorted(waiting.items())),
        init_exits=tuple(
            InitExit(container=name, code=code, pods=count) for (name, code), count in sorted(exits.items())
        ),
    )


def _add_ons(rows: Iterable[WorkloadRow]) -> tuple[AddOn, ...]:
    found = (row.add_on for row in rows if row.add_on is not None)
    return tuple(sorted(found, key=lambda one: (one.program, one.namespace, one.name)))


def _meshes(joined: Iterable[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter(filter(None, joined)).items()))


def _length(first: wire.Count) -> int:
    """Return how long a list is of which one item was asked for; ValueError if the API server does not say."""
    rest = first.metadata.remaining_item_count
    if rest is None and first.metadata.continue_:
        raise ValueError("the API server does not say how many there are")
    if first.items is msgspec.UNSET:
        raise ValueError("the answer is no list")
    return len(first.items or ()) + (rest or 0)


def _names(source: wire.EnvFrom) -> Iterable[str]:
    if source.config_map_ref is not None:
        yield f"configmap/{source.config_map_ref.name}"
    if source.secret_ref is not None:
        yield f"secret/{source.secret_ref.name}"


def _context(access: Access, sources: SourceIndex) -> Fact[str]:
    source = sources.add(Source(kind=SourceKind.API, locator="kubeconfig"))
    return Absent(source=source) if access.context is None else Known(value=access.context, source=source)
