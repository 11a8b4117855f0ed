"""What is read from an API server, and the rights that this takes."""

from collections.abc import Iterable, Iterator

import msgspec

CALICO_GROUPS = ("crd.projectcalico.org", "projectcalico.org")
"""Where Calico's objects may be: as CRDs, or behind Calico's own API server."""
OPERATOR_NAMESPACE = "tigera-operator"
ENDPOINT_CONFIG_MAP = "kubernetes-services-endpoint"
MISSPELT_CONFIG_MAP = "kubernetes-service-endpoint"
KUBE_PROXY_CONFIG_MAPS = ("kube-proxy", "kube-proxy-config", "proxy-config")
"""As kubeadm, EKS and OpenShift name them."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of a Role or a ClusterRole: one verb on one resource, in any one of some API groups."""

    groups: tuple[str, ...]
    resource: str
    verb: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.groups[0]}" if self.groups[0] else self.resource
        return f"{self.verb} {resource}" + (f" ({', '.join(self.names)})" if self.names else "")


RULES = (
    Rule(groups=("",), resource="nodes", verb="list"),
    Rule(groups=("",), resource="pods", verb="list"),
    Rule(groups=("",), resource="namespaces", verb="list"),
    Rule(groups=("",), resource="services", verb="list"),
    Rule(groups=("",), resource="services", verb="get", names=("kubernetes",)),
    Rule(groups=("",), resource="endpoints", verb="get", names=("kubernetes",)),
    Rule(
        groups=("",),
        resource="configmaps",
        verb="get",
        names=("calico-config", *KUBE_PROXY_CONFIG_MAPS, "kubeadm-config", MISSPELT_CONFIG_MAP, ENDPOINT_CONFIG_MAP),
    ),
    Rule(groups=("apps",), resource="daemonsets", verb="list"),
    Rule(groups=("apps",), resource="deployments", verb="list"),
    Rule(groups=("apps",), resource="statefulsets", verb="list"),
    Rule(groups=("discovery.k8s.io",), resource="endpointslices", verb="list"),
    Rule(groups=("networking.k8s.io",), resource="networkpolicies", verb="list"),
    Rule(groups=("networking.k8s.io",), resource="servicecidrs", verb="list"),
    Rule(groups=("operator.tigera.io",), resource="installations", verb="list"),
    Rule(groups=("operator.tigera.io",), resource="tigerastatuses", verb="list"),
    Rule(groups=CALICO_GROUPS, resource="bgpconfigurations", verb="list"),
    Rule(groups=CALICO_GROUPS, resource="bgppeers", verb="list"),
    Rule(groups=CALICO_GROUPS, resource="clusterinformations", verb="list"),
    Rule(groups=CALICO_GROUPS, resource="felixconfigurations", verb="list"),
    Rule(groups=CALICO_GROUPS, resource="globalnetworkpolicies", verb="list"),
    Rule(groups=CALICO_GROUPS, resource="hostendpoints", verb="list"),
    Rule(groups=CALICO_GROUPS, resource="ippools", verb="list"),
    Rule(groups=CALICO_GROUPS, resource="kubecontrollersconfigurations", verb="list"),
    Rule(groups=CALICO_GROUPS, resource="networkpolicies", verb="list"),
    Rule(groups=("kubevirt.io",), resource="virtualmachineinstances", verb="list"),
    Rule(groups=("config.openshift.io",), resource="infrastructures", verb="get", names=("cluster",)),
    Rule(groups=("operator.openshift.io",), resource="networks", verb="get", names=("cluster",)),
    Rule(groups=("authorization.k8s.io",), resource="selfsubjectrulesreviews", verb="create"),
)
PATHS = ("/version", "/apis")
"""The paths that are no resources."""


def _each(group: str, resource: str, *verbs: str) -> tuple[Rule, ...]:
    return tuple(Rule(groups=(group,), resource=resource, verb=verb) for verb in verbs)


POD_RULES = (
    *_each("batch", "jobs", "create", "list", "delete", "deletecollection"),
    *_each("", "pods", "list"),
    *_each("", "pods/log", "get"),
)
"""What looking at nodes by pods takes besides, and cleaning up, in the namespace where these are made."""
PROBE_NAMESPACE = "kube-system"
"""Where they are made unless another namespace is named."""
EXEC_RULES = _each("", "pods/exec", "create", "get")
"""What looking at nodes by commands in calico-node takes besides: its stream is opened by GET, for which newer API
servers want the right to create, older ones that to get."""
EXEC_NAMESPACES = ("calico-system", "kube-system")
"""Where calico-node may be: as the operator, and as manifests put it."""


LOG_RULES = _each("", "pods/log", "get")
"""What `ebpfcheck verify` takes besides: the logs of calico-node, in the namespaces where it may be."""
METRICS_RULES = _each("", "pods/proxy", "get")
"""What reading Felix's metrics takes besides, which `ebpfcheck verify` can do without."""


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that an API server says applies to an account."""

    verbs: tuple[str, ...] = ()
    groups: tuple[str, ...] = msgspec.field(default=(), name="apiGroups")
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = msgspec.field(default=(), name="resourceNames")

    def covers(self, verb: str, group: str, resource: str, name: str | None) -> bool:
        """Whether it allows a verb on a resource, of that name or (None) of any."""
        return (
            not {verb, "*"}.isdisjoint(self.verbs)
            and not {group, "*"}.isdisjoint(self.groups)
            and not {resource, "*"}.isdisjoint(self.resources)
            and (not self.names or name in self.names)
        )


def missing(granted: Iterable[Granted], served: Iterable[str] | None) -> Iterator[str]:
    """Say which rules an account lacks, those for groups that are not served (None: not known) left out."""
    given, groups = tuple(granted), None if served is None else {*served, ""}
    for rule in RULES:
        if groups is not None and groups.isdisjoint(rule.groups):
            continue
        lacking = [
            name
            for name in rule.names or (None,)
            if not any(one.covers(rule.verb, group, rule.resource, name) for one in given for group in rule.groups)
        ]
        if lacking:
            yield str(msgspec.structs.replace(rule, names=tuple(name for name in lacking if name is not None)))
