"""bpfNetworkBootstrap: the operator's own way to the API server."""

from ebpfcheck.checks.endpoints import (
    API_SERVERS,
    OPERATOR,
    OVERRIDES,
    SERVICE,
    operator_namespace,
    overrides_of,
    patch_command,
)
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import Given, Outcome, check, fail, not_applicable, passed, settled, unseen, warn
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import Absent, Known, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_INSTALLATION = settled(ClusterFacts.installation)
_DISABLE = patch_command("installation default", {"spec": {"calicoNetwork": {"bpfNetworkBootstrap": "Disabled"}}})


def _has_bootstrap(release: Release) -> Severity | None:
    return Severity.BLOCKER if release.has_bootstrap else None


@check(
    id="cluster.api-endpoint.bootstrap",
    title="The operator's own way to the API server",
    category="cluster",
    scope="cluster",
    severity=_has_bootstrap,
    needs=(_INSTALLATION, OVERRIDES, SERVICE, API_SERVERS, OPERATOR),
)
def api_endpoint_bootstrap(given: Given) -> Outcome:
    """Whether bpfNetworkBootstrap, where it is Enabled, meets what the operator asks for."""
    installation = given[_INSTALLATION]
    if isinstance(installation, Absent):
        return not_applicable("no-operator", "Only the operator has bpfNetworkBootstrap, and there is no Installation.")
    asked = installation.value
    if asked.bpf_network_bootstrap != "Enabled":
        return passed(
            "off", "bpfNetworkBootstrap is not used.", observed=excerpt(asked.bpf_network_bootstrap or "not set", 40)
        )
    name, namespace = given.release.platforms.api_endpoint.config_map, operator_namespace(given)
    needed = f"linuxDataplane: BPF, no ConfigMap {name}, and the Service default/kubernetes with its EndpointSlices"
    degraded = "the operator reports itself Degraded and changes nothing"
    observed = f"bpfNetworkBootstrap: Enabled, linuxDataplane: {excerpt(asked.linux_dataplane or 'not set', 40)}"
    if asked.linux_dataplane != "BPF":
        return fail(
            "not-bpf",
            f"bpfNetworkBootstrap is Enabled while linuxDataplane is not BPF: {degraded}.",
            observed=observed,
            required=needed,
            remediation=Remediation(
                text="Take it back, and set it together with linuxDataplane: BPF, in one patch.", commands=(_DISABLE,)
            ),
        )
    overrides, operator = given[OVERRIDES], given[OPERATOR]
    if isinstance(overrides, Unknown):
        return unseen("config-map-unseen", f"Whether a ConfigMap {name} excludes it could not be told", overrides)
    if any(one.namespace == namespace and one.name == name for one in overrides_of(given)):
        return fail(
            "both",
            f"bpfNetworkBootstrap is Enabled, and there is a ConfigMap {name} in {excerpt(namespace, 80)}: the two "
            f"exclude each other, and {degraded}.",
            observed=observed,
            required=needed,
            remediation=Remediation(
                text="Set it to Disabled, which keeps the address of the ConfigMap. The operator then goes on at once "
                "with what the Installation asks for: the switch to eBPF mode"
                + (" and the end of kube-proxy" if asked.kube_proxy_management == "Enabled" else "")
                + ". So look first, by cluster.api-endpoint.usable, whether calico-node can resolve and reach that "
                "address. To keep to bpfNetworkBootstrap instead, delete the ConfigMap once all nodes are known to do "
                "without.",
                commands=(_DISABLE,),
                disruptive=True,
            ),
        )
    if isinstance(operator, Unknown):
        words = (
            f"Whether there is a ConfigMap {name} in the operator's own namespace, which excludes it, could not be told"
        )
        return unseen("operator-unseen", words, operator)
    servers, service = given[API_SERVERS], given[SERVICE]
    for fact, what in ((service, "Service default/kubernetes"), (servers, "endpoints of default/kubernetes")):
        if isinstance(fact, Unknown):
            return unseen("service-unseen", f"What the operator needs of the {what} could not be told", fact)
    if not isinstance(servers, Known) or not servers.value or not isinstance(service, Known):
        return fail(
            "no-endpoints",
            f"bpfNetworkBootstrap is Enabled, and the Service default/kubernetes is not there or has no endpoints: "
            f"{degraded}.",
            observed="none",
            required=needed,
            remediation=Remediation(text="Give Calico the address by the ConfigMap instead."),
        )
    bug = given.release.bootstrap_loses_address
    if bug is not False:
        some = "" if bug else " in some of its patches"
        return warn(
            "loses-address",
            f"Calico {given.release.version}{some} forgets the addresses of the API servers that it was started with "
            "when they are away for a while, and the node then does not find back to them.",
            observed=observed,
            required=f"{given.release.platforms.bootstrap.fixed_in}, or the ConfigMap",
            remediation=Remediation(
                text=f"Upgrade to {given.release.platforms.bootstrap.fixed_in}, or give Calico the address by the "
                f"ConfigMap {name} instead."
            ),
        )
    provider = asked.kubernetes_provider
    if provider:
        return warn(
            "provider",
            f"bpfNetworkBootstrap is Enabled on {excerpt(provider, 40)}: the operator itself warns that it may not do "
            "there what one expects.",
            observed=observed,
            required="the ConfigMap with a stable address, on managed platforms",
            remediation=Remediation(text=f"Give Calico the address by the ConfigMap {name} instead."),
        )
    return passed("ready", "bpfNetworkBootstrap has what it needs.", observed=observed, required=needed)
