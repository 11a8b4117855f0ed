"""How Calico is told the API server's address: the ConfigMap, and what stands in it."""

import shlex
from typing import Any

from ebpfcheck.checks.endpoints import (
    API_SERVERS,
    CALICO_NODE,
    ENDPOINT_NEEDS,
    OPERATOR,
    POOLS,
    SERVICE,
    WHERE_NEEDS,
    classify,
    find_endpoints,
    namespace_of,
    node_local,
    overrides_of,
    patch_command,
    pods_miss,
)
from ebpfcheck.checks.kube_proxy_state import CLEANUP, NODE_COUNT, PROXY_NEEDS, may_stay, proxy_of, stays
from ebpfcheck.checks.platform import platform_of
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    not_applicable,
    optional,
    passed,
    settled,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import CalicoNode, ClusterFacts, EndpointOverride
from ebpfcheck.model.facts import Fact, Known, Reason, Unknown
from ebpfcheck.model.report import ApiEndpoint, Remediation, Severity
from ebpfcheck.model.text import excerpt

_SETTLED_OVERRIDES = settled(ClusterFacts.endpoint_overrides)
_INSTALLATION = optional(ClusterFacts.installation)
_PODS = optional(ClusterFacts.calico_pods)
_HOST = "KUBERNETES_SERVICE_HOST"
_PORT = "KUBERNETES_SERVICE_PORT"


def _reads_config_map(release: Release) -> Severity | None:
    return Severity.BLOCKER if release.reads_endpoint_config_map else None


def _bootstraps(given: Given) -> bool:
    """Whether the operator is told to find the API server by itself, at a release where it can."""
    installation = given[_INSTALLATION]
    return (
        given.release.has_bootstrap
        and isinstance(installation, Known)
        and installation.value.bpf_network_bootstrap == "Enabled"
    )


def _in_force(given: Given) -> EndpointOverride | None:
    """Return the ConfigMap that Calico reads."""
    namespace, name = namespace_of(given), given.release.platforms.api_endpoint.config_map
    return next((one for one in overrides_of(given) if one.namespace == namespace and one.name == name), None)


def _creation(given: Given, namespace: str) -> Remediation:
    """Return how to give Calico the address that was found."""
    found, platform = find_endpoints(given), platform_of(given)
    name = given.release.platforms.api_endpoint.config_map
    others = (
        " Or, where the nodes reach the API servers by their endpoints' addresses, set bpfNetworkBootstrap to "
        "Enabled in the Installation, together with linuxDataplane: BPF."
        if _may_bootstrap(given)
        else ""
    )
    if platform is not None and platform.entry.own_switch and given.install == "manifest":
        others += f" {platform.entry.own_switch}"
    if found.choice is None:
        return Remediation(
            text=f"Create the ConfigMap {name} in {excerpt(namespace, 80)} with an address of the API server that all "
            f"nodes reach without kube-proxy; {found.reason}.{others}"
        )
    command = (
        f"kubectl create configmap {name} -n {shlex.quote(namespace)} "
        f"--from-literal={_HOST}={shlex.quote(found.choice.host)} --from-literal={_PORT}={found.choice.port}"
    )
    return _with_dns(
        given,
        found.choice,
        Remediation(
            text=f"Give Calico the address that was found: {found.reason}.{_afterwards(given)}{others}",
            commands=(command,),
        ),
    )


def _may_bootstrap(given: Given) -> bool:
    """Whether nothing is known against the operator's own way."""
    installation, platform = given[_INSTALLATION], platform_of(given)
    return (
        given.install == "operator"
        and given.release.has_bootstrap
        and given.release.bootstrap_loses_address is False
        and not (isinstance(installation, Known) and installation.value.kubernetes_provider)
        and not (platform and platform.entry.name in [one.platform for one in given.release.platforms.node_local])
    )


def _afterwards(given: Given) -> str:
    node = given[CALICO_NODE]
    if given.install == "manifest" and isinstance(node, Known) and not _reads(given, node.value):
        return (
            " calico-node's manifest does not read that ConfigMap (envFrom): take the one of this release, which does."
        )
    if given.install == "manifest":
        return " Then restart calico-node, and Typha where it runs: they read it only when they start."
    if given.release.operator_needs_restart:
        return " Then restart the operator, which in this release reads it only when it starts."
    return ""


def _reads(given: Given, node: CalicoNode) -> bool:
    """Whether calico-node, made by a manifest, takes its variables from the ConfigMap."""
    return f"configmap/{given.release.platforms.api_endpoint.config_map}" in node.env_from


def _with_dns(given: Given, endpoint: ApiEndpoint, fix: Remediation) -> Remediation:
    """Put before it what lets calico-node resolve a name."""
    if not _asks_cluster_dns(given, endpoint):
        return fix
    first = _dns_fix(given)
    return Remediation(text=f"{first.text} Then: {fix.text}", commands=(*first.commands, *fix.commands))


def _asks_cluster_dns(given: Given, endpoint: ApiEndpoint) -> bool:
    """Whether it is a name that calico-node, as the operator makes it, resolves by cluster DNS."""
    is_name = endpoint.kind in ("name", "platform_name")
    node = given[CALICO_NODE]
    # These two were set on purpose, and stay through an upgrade.
    is_told = isinstance(node, Known) and node.value.dns_policy in ("Default", "None")
    can_ask = given.install == "operator" and given.release.operator_asks_cluster_dns is not False
    return is_name and can_ask and not is_told


def _dns_fix(given: Given) -> Remediation:
    if not given.release.operator_sets_dns:
        return Remediation(
            text="Upgrade to the newest patch, whose calico-node resolves names as the node itself does."
        )
    patch = {"spec": {"calicoNodeDaemonSet": {"spec": {"template": {"spec": {"dnsPolicy": "Default"}}}}}}
    return Remediation(
        text="Let calico-node resolve names as the node itself does: dnsPolicy Default, in the Installation.",
        commands=(patch_command("installation default", patch),),
    )


@check(
    id="cluster.api-endpoint.present",
    title="API server address for Calico",
    category="cluster",
    scope="cluster",
    severity=_reads_config_map,
    needs=(_SETTLED_OVERRIDES, *ENDPOINT_NEEDS, *WHERE_NEEDS, *PROXY_NEEDS, _INSTALLATION, _PODS),
)
def api_endpoint_present(given: Given) -> Outcome:
    """Whether Calico has the API server's address before kube-proxy, which makes its ClusterIP work, goes."""
    name = given.release.platforms.api_endpoint.config_map
    if _bootstraps(given):
        return passed(
            "bootstrap",
            "The operator is told to find the API server by itself (bpfNetworkBootstrap is Enabled); whether it can, "
            "see cluster.api-endpoint.bootstrap.",
        )
    if given.install == "none":
        return not_applicable("no-calico", "Calico is not installed; it is given the address when it is.")
    namespace = namespace_of(given)
    if namespace is None:
        return unknown(
            "install-unknown",
            f"How Calico is installed is not known, and so not in which namespace the ConfigMap {name} belongs.",
            reason=Reason.NOT_COLLECTED,
            remediation=Remediation(text="Say how with --install."),
        )
    needed = f"ConfigMap {excerpt(namespace, 80)}/{name} with {_HOST} and {_PORT}"
    here, variable = _in_force(given), _variable(given)
    if here is not None:
        return _given(given, here, needed)
    if variable is not None:
        shown = excerpt(variable, 80)
        return passed(
            "by-variable",
            f"calico-node is given the API server's address {shown} by a variable of its own.",
            observed=f"{_HOST}={shown}",
            required=needed,
            note=True,
        )
    return _unseen_place(given, needed) or _missing(given, namespace, needed)


def _variable(given: Given) -> str | None:
    """Return the host that calico-node is given whatever a ConfigMap says."""
    node = given[CALICO_NODE]
    return (node.value.service_host or None) if isinstance(node, Known) else None


def _given(given: Given, here: EndpointOverride, needed: str) -> Outcome:
    observed = excerpt(f"{here.host or 'no host'}:{here.port or 'no port'} in {here.namespace}/{here.name}")
    if not here.host or not here.port:
        return _half(given, here, observed, needed)
    node = given[CALICO_NODE]
    if isinstance(node, Unknown):
        return unseen(
            "node-unseen",
            f"The ConfigMap {here.name} is there; whether calico-node has it could not be told",
            node,
            observed=observed,
            required=needed,
        )
    late = None
    if isinstance(node, Known):
        late = (_of_manifest if given.install == "manifest" else _of_operator)(given, here, here.host, node.value)
    return late or passed("given", f"Calico is given an address of the API server: {observed}.", required=needed)


def _half(given: Given, here: EndpointOverride, observed: str, needed: str) -> Outcome:
    lacking = " and ".join(key for key, value in ((_HOST, here.host), (_PORT, here.port)) if not value)
    if given.install == "manifest" and here.host:
        effect = "calico-node then tries the port of the Service default/kubernetes there, which need not be right"
    elif given.install == "manifest" and here.port:
        effect = "calico-node then tries that port at the ClusterIP"
    else:
        effect = "without both Calico keeps to the ClusterIP, which stops working when kube-proxy goes"
    message = f"The ConfigMap {here.name} in {excerpt(here.namespace, 80)} has no {lacking}: {effect}."
    fix = Remediation(
        text=f"Set {lacking} in it." + _found_address(given),
        commands=(f"kubectl edit configmap {here.name} -n {shlex.quote(here.namespace)}",),
    )
    proxy = proxy_of(given)
    if (given.install == "manifest" and here.host) or stays(given, proxy):
        return warn("half", message, observed=observed, required=needed, remediation=fix)
    doubt = may_stay(given, proxy)
    if doubt is not None:
        return _stay_unseen(message, doubt, observed, needed, fix)
    return fail("half", message, observed=observed, required=needed, remediation=fix)


def _found_address(given: Given) -> str:
    found = find_endpoints(given)
    if found.choice is None:
        return f" Of the address: {found.reason}."
    return f" {found.choice.host}:{found.choice.port} is to be had ({found.reason})."


def _of_manifest(given: Given, here: EndpointOverride, host: str, node: CalicoNode) -> Outcome | None:
    """Return what keeps calico-node, made by a manifest, from the ConfigMap."""
    if node.service_host and node.service_host != host:
        own = excerpt(node.service_host, 80)
        return warn(
            "overridden",
            f"The ConfigMap {here.name} names {excerpt(host, 80)}, but calico-node has a variable of its own, {own}, "
            "which comes before it.",
            observed=f"{_HOST} of calico-node: {own}",
            required="one of the two",
            remediation=Remediation(text=f"Take {_HOST} and {_PORT} out of calico-node's manifest."),
        )
    if not _reads(given, node) and not node.service_host:
        return fail(
            "not-read",
            f"The ConfigMap {here.name} is there, but calico-node's manifest does not take its variables from it "
            "(envFrom), so that it has no effect.",
            observed="no container of calico-node reads it",
            required="envFrom with that ConfigMap in calico-node and its init containers",
            remediation=Remediation(text="Use the manifest of this release, which has it."),
        )
    pods = given[_PODS]
    if isinstance(pods, Unknown):
        return unseen(
            "pods-unseen", f"Whether calico-node's pods have read the ConfigMap {here.name} could not be told", pods
        )
    start = pods.value.oldest_start if isinstance(pods, Known) else None
    if start is not None and here.changed_at is not None and start < here.changed_at:
        return warn(
            "not-picked-up",
            f"The ConfigMap {here.name} was changed after some pods of calico-node had started: they go on with what "
            "they read then, and lose the API server when kube-proxy goes.",
            observed=f"changed at {here.changed_at}, oldest pod of {start}",
            required="pods that started after the change",
            remediation=Remediation(
                text="Restart them, and Typha where it runs.",
                commands=(
                    f"kubectl rollout restart daemonset/{shlex.quote(node.name)} -n {shlex.quote(node.namespace)}",
                ),
                disruptive=True,
            ),
        )
    return None


def _of_operator(given: Given, here: EndpointOverride, host: str, node: CalicoNode) -> Outcome | None:
    """Return what keeps calico-node, made by the operator, from the ConfigMap's address."""
    if node.service_host != host:
        had = excerpt(node.service_host or "not set", 80)
        return warn(
            "not-handed-on",
            f"The ConfigMap {here.name} names {excerpt(host, 80)}, but the operator has not handed that on to "
            f"calico-node ({_HOST} is {had}).",
            observed=f"{_HOST} of calico-node: {had}",
            required=excerpt(host, 80),
            remediation=_operator_restart(given, here.namespace),
        )
    if not node.is_observed or node.updated < node.desired:
        return warn(
            "rolling-out",
            f"calico-node is given {excerpt(host, 80)}, and not all of its pods have been replaced since its last "
            "change: those that have not may not have the address.",
            observed=f"{node.updated} of {node.desired} pods are up to date",
            required="all of them",
            remediation=Remediation(
                text="Wait for the rollout, or see what holds it up, before kube-proxy goes.",
                commands=(
                    f"kubectl rollout status daemonset/{shlex.quote(node.name)} -n {shlex.quote(node.namespace)}",
                ),
            ),
        )
    return None


def _operator_restart(given: Given, namespace: str) -> Remediation:
    operator = given[OPERATOR]
    name = operator.value.name if isinstance(operator, Known) else "tigera-operator"
    return Remediation(
        text="See what the operator logs, and restart it.",
        commands=(f"kubectl rollout restart deployment/{shlex.quote(name)} -n {shlex.quote(namespace)}",),
    )


def _unseen_place(given: Given, needed: str) -> Outcome | None:
    """Return what is to be said where the address might have been given in a way that was not seen."""
    is_operators = given.install == "operator"
    ways: list[tuple[Fact[Any], str]] = [
        (given[CALICO_NODE], "whether calico-node is given it by a variable"),
        *([(given[OPERATOR], "in which namespace the operator runs")] if is_operators else []),
    ]
    if is_operators and given.release.has_bootstrap:
        ways.append((given[_INSTALLATION], "whether bpfNetworkBootstrap is Enabled"))
    for fact, what in ways:
        if isinstance(fact, Unknown):
            return unseen(
                "ways-unseen",
                f"No address of the API server was seen to be given to Calico, and {what} could not be told",
                fact,
                required=needed,
            )
    return None


def _missing(given: Given, namespace: str, needed: str) -> Outcome:
    name = given.release.platforms.api_endpoint.config_map
    elsewhere = [one for one in overrides_of(given) if one.name == name]
    misspelt = next((one for one in overrides_of(given) if one.name != name), None)
    if elsewhere:
        where = excerpt(", ".join(one.namespace for one in elsewhere), 80)
        cause, observed = "wrong-namespace", f"{where}/{name}"
        message = (
            f"The ConfigMap {name} is in {where}, where nobody reads it: this install ({given.install}) wants it in "
            f"{excerpt(namespace, 80)}."
        )
    elif misspelt is not None:
        cause, observed = "misspelt", excerpt(f"{misspelt.namespace}/{misspelt.name}", 120)
        message = (
            f"There is a ConfigMap {excerpt(misspelt.name, 60)} in {excerpt(misspelt.namespace, 60)}, but Calico reads "
            f"{name}, with 'services' in the plural."
        )
    else:
        cause, observed = "absent", "no such ConfigMap"
        message = (
            f"Calico has no address of the API server but its ClusterIP (no ConfigMap {name} in "
            f"{excerpt(namespace, 80)}), and that one stops working when kube-proxy goes: new and rebooted nodes then "
            "never become Ready."
        )
    fix = _creation(given, namespace)
    proxy = proxy_of(given)
    if stays(given, proxy):
        why = f"{proxy.owner_names} does not let it go" if proxy.has_to_stay else f"{CLEANUP} is false"
        return warn(
            f"{cause}-kube-proxy-stays",
            f"{message} Here kube-proxy is to stay ({why}), so Calico goes on to reach the ClusterIP as long as "
            "kube-proxy does its work.",
            observed=observed,
            required=needed,
            remediation=fix,
        )
    doubt = may_stay(given, proxy)
    if doubt is not None:
        return _stay_unseen(message, doubt, observed, needed, fix)
    return fail(cause, message, observed=observed, required=needed, remediation=fix)


def _stay_unseen(message: str, doubt: Unknown, observed: str, needed: str, fix: Remediation) -> Outcome:
    return unseen(
        "stay-unseen",
        f"{message} Whether kube-proxy is to stay here, so that the ClusterIP goes on to work, could not be told",
        doubt,
        observed=observed,
        required=needed,
        remediation=fix,
    )


_BAD = {
    "template": "holds a template instead of a value",
    "invalid": "cannot be used",
    "loopback": "is a loopback address",
    "cluster_ip": "is a ClusterIP",
    "pod_network": "is in the pods' network",
    "cluster_name": "is a name of the cluster's own DNS",
}
# What is right on some platforms alone.
_OF_PLATFORMS = ("loopback", "local_name")
_RISKY = ("one_of_several", "local_name", "link_local", "node_proxy")
_NEEDED = "an address that all nodes reach without kube-proxy, and that stays"


@check(
    id="cluster.api-endpoint.usable",
    title="What the API server address is",
    category="cluster",
    scope="cluster",
    severity=_reads_config_map,
    needs=(_SETTLED_OVERRIDES, *ENDPOINT_NEEDS, *WHERE_NEEDS, _INSTALLATION, NODE_COUNT),
)
def api_endpoint_usable(given: Given) -> Outcome:
    """Whether the address that Calico is given works on all nodes, without kube-proxy and for long."""
    if _bootstraps(given):
        return not_applicable("bootstrap", "The operator is told to find the API server by itself.")
    installation = given[_INSTALLATION]
    if given.release.has_bootstrap and given.install == "operator" and isinstance(installation, Unknown):
        return unseen(
            "bootstrap-unseen",
            "Whether the operator is told to find the API server by itself (bpfNetworkBootstrap) could not be told",
            installation,
        )
    here, variable = _in_force(given), _variable(given)
    if given.install == "manifest" and variable is not None and here is not None and here.host != variable:
        # The DaemonSet's own variable comes before what it takes from a ConfigMap.
        here = None
    if here is not None and here.host and here.port:
        return _judged(given, here, classify(given, here.host, here.port), excerpt(f"{here.host}:{here.port}", 120))
    if given.install == "unknown" and overrides_of(given):
        return unknown(
            "install-unknown",
            "How Calico is installed is not known, and so not which of the ConfigMaps it reads.",
            reason=Reason.NOT_COLLECTED,
            remediation=Remediation(text="Say how with --install."),
        )
    if here is None and variable is not None:
        # Its port is not among the facts: the one that would be right there stands for it.
        local = node_local(given, variable)
        endpoint = classify(given, variable, str(local.ports[0] if local is not None else 443))
        return _judged(given, None, endpoint, excerpt(variable, 120))
    return not_applicable("none", "Calico is given no address; see cluster.api-endpoint.present.")


def _judged(given: Given, here: EndpointOverride | None, endpoint: ApiEndpoint, shown: str) -> Outcome:
    """Say what an address is worth; without a ConfigMap it is that of a variable."""
    kind = endpoint.kind
    replacement = _replacement(given, here)
    count = given[NODE_COUNT]
    if kind in _OF_PLATFORMS and isinstance(count, Unknown) and platform_of(given) is None:
        return unseen(
            "platform-unseen",
            f"Whether {shown} leads to an API server on each node is for the platform to say, which could not be told",
            count,
            observed=shown,
            required=_NEEDED,
        )
    if kind in _BAD:
        return fail(
            kind,
            f"The address that Calico is given, {shown}, {_BAD[kind]}: {endpoint.remark}.",
            observed=shown,
            required=_NEEDED,
            remediation=replacement,
        )
    doubt = _in_doubt(given, kind, shown)
    if doubt is not None:
        return doubt
    if _asks_cluster_dns(given, endpoint):
        node = given[CALICO_NODE]
        if isinstance(node, Unknown):
            return unseen(
                "dns-unseen",
                f"The address that Calico is given, {shown}, is a name, and by what DNS calico-node resolves it could "
                "not be told",
                node,
                observed=shown,
                required="calico-node resolves names as the node itself does",
            )
        some = "" if given.release.operator_asks_cluster_dns else ", in some of its patches,"
        return warn(
            "asks-cluster-dns",
            f"The address that Calico is given, {shown}, is a name, and the operator of Calico {given.release.version}"
            f"{some} lets calico-node ask cluster DNS alone unless it is told otherwise: a node that boots without "
            "kube-proxy does not reach cluster DNS, and calico-node waits for it for ever.",
            observed=shown,
            required="calico-node resolves names as the node itself does",
            remediation=_dns_fix(given),
        )
    pods = _of_pods(given, here, endpoint, shown)
    if pods is not None:
        return pods
    if kind in _RISKY:
        return warn(
            kind,
            f"The address that Calico is given, {shown}, is risky: {endpoint.remark}.",
            observed=shown,
            required=_NEEDED,
            remediation=replacement,
        )
    return passed(
        kind,
        f"The address that Calico is given, {shown}, will do: {endpoint.remark}. Whether each node reaches it, only "
        "the nodes tell.",
        observed=shown,
        required=_NEEDED,
        note=kind in ("control_plane", "platform_name"),
    )


def _in_doubt(given: Given, kind: str, shown: str) -> Outcome | None:
    """Return what could not be told of an address that is neither a name nor known to be an API server's."""
    if kind not in ("address", "load_balancer"):
        return None
    servers, service, pools = given[API_SERVERS], given[SERVICE], given[POOLS]
    if not isinstance(servers, Known):
        cause, fact, words = (
            "servers-unseen",
            servers,
            f"What {shown} is could not be told without the list of API servers",
        )
    elif not isinstance(service, Known):
        cause, fact, words = "service-unseen", service, f"Whether {shown} is a ClusterIP could not be told"
    elif isinstance(pools, Unknown):
        cause, fact, words = "pools-unseen", pools, f"Whether {shown} is in the pods' network could not be told"
    else:
        return None
    return unseen(cause, words, fact, observed=shown, required=_NEEDED)


def _of_pods(given: Given, here: EndpointOverride | None, endpoint: ApiEndpoint, shown: str) -> Outcome | None:
    """Return what pods of the pod network, such as calico-kube-controllers, make of what the operator gives them."""
    if given.install != "operator":
        # Manifests give it to pods of the host's network alone.
        return None
    if given.release.operator_splits_pods:
        if here is None or not here.pod_host or not here.pod_port:
            return None
        other = classify(given, here.pod_host, here.pod_port)
        if other.kind not in ("template", "invalid", "loopback", "node_local", "node_proxy"):
            return None
        pod_shown = excerpt(f"{here.pod_host}:{here.pod_port}", 120)
        return warn(
            "pod-network",
            f"The address for pods of the pod network, {pod_shown}, does not lead them to the API server: "
            f"{other.remark}.",
            observed=pod_shown,
            required=f"an address that pods reach, or no {_HOST}_POD_NETWORK at all: they then keep to the ClusterIP",
            remediation=Remediation(
                text="Take the two keys out of the ConfigMap, or set them to an address that pods reach.",
                commands=(
                    patch_command(
                        f"configmap {here.name} -n {shlex.quote(here.namespace)}",
                        {"data": {f"{_HOST}_POD_NETWORK": None, f"{_PORT}_POD_NETWORK": None}},
                    ),
                ),
            ),
        )
    if not pods_miss(given, endpoint):
        return None
    return warn(
        "node-local",
        f"The address that Calico is given, {shown}, is {endpoint.remark}. Pods of the host's network reach it; the "
        f"operator of Calico {given.release.version} gives it to calico-kube-controllers too, which has a network of "
        "its own, does not, and crashes again and again.",
        observed=shown,
        required="an address that both reach",
        remediation=Remediation(
            text="Give Calico an address that pods reach too, or upgrade to "
            f"{given.release.platforms.api_endpoint.splits_pods_since}, whose operator keeps the two apart."
        ),
    )


def _replacement(given: Given, here: EndpointOverride | None) -> Remediation:
    """Return how to put another address in the place of one that will not do."""
    found = find_endpoints(given)
    if found.choice is None:
        return Remediation(text=f"Put another address there; {found.reason}.")
    host, port, after = found.choice.host, found.choice.port, _afterwards(given)
    if here is None:
        fix = Remediation(text=f"Set the variable to {host}, with port {port} ({found.reason}).{after}")
    else:
        data = {"data": {_HOST: host, _PORT: str(port)}}
        fix = Remediation(
            text=f"Put {host}:{port} there ({found.reason}).{after}",
            commands=(patch_command(f"configmap {here.name} -n {shlex.quote(here.namespace)}", data),),
        )
    return _with_dns(given, found.choice, fix)
