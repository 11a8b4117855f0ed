"""What a plan is made from: the facts of a cluster that decide which steps there are."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from ebpfcheck.checks.discovery import DISCOVERY_NEEDS
from ebpfcheck.checks.dns import DNS_NEEDS
from ebpfcheck.checks.endpoints import Found, classify, find_endpoints, namespace_of
from ebpfcheck.checks.kube_proxy_state import Felix, Proxy, felix_of, is_on, proxy_of
from ebpfcheck.checks.mesh import MESH_NEEDS
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import Given, Need
from ebpfcheck.model.cluster import CalicoNode, ClusterFacts, EndpointOverride, Installation, OpenShift
from ebpfcheck.model.facts import Absent, Endpoint, Fact, FelixSettings, Install, Known, Unknown
from ebpfcheck.model.plan import Blocker, Target
from ebpfcheck.model.report import ApiEndpoint
from ebpfcheck.model.text import excerpt

T = TypeVar("T")

PLAN_NEEDS: tuple[Need[Any], ...] = tuple(dict.fromkeys((*DISCOVERY_NEEDS, *DNS_NEEDS, *MESH_NEEDS)))
"""What of a cluster a plan asks for beside its plain facts."""

DAEMON_SETS, DEPLOYMENTS = "daemonsets.apps", "deployments.apps"
INSTALLATION = Target(resource="installations.operator.tigera.io", name="default")
CLUSTER_NETWORK = Target(resource="networks.operator.openshift.io", name="cluster")


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster as a plan sees it."""

    given: Given
    facts: ClusterFacts
    proxy: Proxy
    felix: Felix
    found: Found
    endpoint: ApiEndpoint | None
    """The address to give Calico: the one asked for, else the best that was found."""
    namespace: str | None
    """Where the ConfigMap with that address belongs."""

    @property
    def release(self) -> Release:
        """What holds for the target release."""
        return self.given.release

    @property
    def install(self) -> Install:
        """How Calico is installed."""
        return self.given.install

    @property
    def installation(self) -> Installation:
        """What the operator is asked for; where that is not known a plan has `unread` to say so."""
        return _value(self.facts.installation) or Installation()

    @property
    def settings(self) -> FelixSettings:
        """What FelixConfiguration default sets; where that is not known a plan has `unread` to say so."""
        felix = _value(self.facts.felix_default)
        return felix.settings if felix is not None else FelixSettings()

    @property
    def has_felix_default(self) -> bool:
        """Whether there is a FelixConfiguration default."""
        return not isinstance(self.facts.felix_default, Absent)

    @property
    def calico_node(self) -> CalicoNode | None:
        """The DaemonSet of calico-node."""
        return _value(self.facts.calico_node)

    @property
    def openshift(self) -> OpenShift | None:
        """OpenShift's own configuration."""
        return _value(self.facts.openshift)

    @property
    def override(self) -> EndpointOverride | None:
        """The ConfigMap with the API server's address that Calico reads."""
        name = self.release.platforms.api_endpoint.config_map
        overrides = _value(self.facts.endpoint_overrides) or ()
        return next((one for one in overrides if (one.namespace, one.name) == (self.namespace, name)), None)

    @property
    def new_override(self) -> EndpointOverride | None:
        """The ConfigMap as it is to be; None where there is to be none."""
        endpoint, namespace = self.endpoint, self.namespace
        if self.bootstraps or endpoint is None or not endpoint.usable or namespace is None:
            return None
        name = self.release.platforms.api_endpoint.config_map
        there = self.override or EndpointOverride(namespace=namespace, name=name)
        return msgspec.structs.replace(there, host=endpoint.host, port=str(endpoint.port))

    @property
    def api_servers(self) -> tuple[str, ...]:
        """The API servers behind default/kubernetes, each as HOST:PORT."""
        return _value(self.facts.api_endpoints) or ()

    @property
    def cluster_id(self) -> str:
        """What no other cluster has; empty where it is not known."""
        service = _value(self.facts.kubernetes_service)
        return service.uid if service is not None else ""

    @property
    def has_dataplane_field(self) -> bool:
        """Whether the operator switches, asked by linuxDataplane."""
        release = self.release
        by_variable = release.version.within(release.calico.operator.sets_variable) is True
        return self.install == "operator" and (release.operator_sets_felix or by_variable)

    @property
    def is_on(self) -> bool:
        """Whether eBPF mode is configured on all nodes already."""
        everywhere = self.felix.unseen is None and self.felix.total > 0 and self.felix.nodes(is_on) == self.felix.total
        asked = not self.has_dataplane_field or self.installation.linux_dataplane == self.release.calico.operator.bpf
        return everywhere and asked

    @property
    def bootstraps(self) -> bool:
        """Whether the operator finds the way to the API server by itself, and may.

        Not where an address was chosen already, the platform is one that it warns of, or the release loses the way.
        """
        return (
            self.install == "operator"
            and self.release.has_bootstrap
            and self.release.bootstrap_loses_address is False
            and not self.installation.kubernetes_provider
            and not self.proxy.owners
            and self.override is None
            and bool(self.api_servers)
            and not isinstance(self.facts.kubernetes_service, Unknown)
            and (self.endpoint is None or self.endpoint.sources != ASKED)
        )

    @property
    def manages_kube_proxy(self) -> bool:
        """Whether the operator can take kube-proxy off the nodes, and put it back."""
        return (
            self.has_dataplane_field
            and self.release.manages_kube_proxy
            and not self.proxy.refusal
            and not self.proxy.owners
            and not self.installation.kubernetes_provider
        )

    @property
    def felix_target(self) -> Target:
        """FelixConfiguration default: as a custom resource, which is reached without Services, unless it is none."""
        groups, store = _value(self.facts.api_groups) or (), self.release.calico.datastore
        group = store.served if store.served in groups and store.crds not in groups else store.crds
        return Target(resource=f"felixconfigurations.{group}", name="default")

    @property
    def node_target(self) -> Target | None:
        """The DaemonSet of calico-node as an object to act on."""
        node = self.calico_node
        return None if node is None else Target(resource=DAEMON_SETS, name=node.name, namespace=node.namespace)

    @property
    def proxy_target(self) -> Target | None:
        """The DaemonSet of kube-proxy as an object to act on."""
        seen = self.proxy.seen
        if seen is None or seen.runs_as != "daemonset":
            return None
        return Target(resource=DAEMON_SETS, name=seen.name, namespace=seen.namespace)


ASKED = ("--api-endpoint",)
"""The source of an address that the user has given."""


def case_of(given: Given, facts: ClusterFacts, asked: Endpoint | None) -> Case:
    """Return a cluster as a plan sees it; `given` holds PLAN_NEEDS."""
    found = find_endpoints(given)
    choice = found.choice if asked is None else classify(given, asked.host, str(asked.port), ASKED)
    return Case(
        given=given,
        facts=facts,
        proxy=proxy_of(given),
        felix=felix_of(given),
        found=found,
        endpoint=choice,
        namespace=namespace_of(given),
    )


def unread(case: Case) -> Sequence[Blocker]:
    """Return what could not be read of the objects that the plan changes: without it there is no way back."""
    facts = case.facts
    needed: list[tuple[str, Fact[Any]]] = [
        ("FelixConfiguration default", facts.felix_default),
        ("calico-node's DaemonSet", facts.calico_node),
        ("kube-proxy", facts.kube_proxy),
    ]
    if case.install == "operator":
        needed.append(("the Installation", facts.installation))
    if not case.bootstraps:
        needed.append((f"the ConfigMaps {case.release.platforms.api_endpoint.config_map}", facts.endpoint_overrides))
    found = tuple(
        Blocker(
            id="",
            message=f"What is set now of {what} could not be read, so that the way back is not known: "
            f"{excerpt(fact.detail)} ({fact.reason}).",
        )
        for what, fact in needed
        if isinstance(fact, Unknown)
    )
    nameless = Blocker(
        id="",
        message="By what this cluster is known again is not known (the uid of the Service default/kubernetes): the "
        "scripts could not tell it from another one.",
    )
    return found if case.cluster_id else (*found, nameless)


def _value(fact: Fact[T]) -> T | None:
    return fact.value if isinstance(fact, Known) else None
