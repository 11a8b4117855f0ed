"""Whether calico-node reaches the API server by an address that does not hang on what it programs itself."""

from ipaddress import ip_address

from ebpfcheck.checks.verify_state import AGENTS, LOG, MARKS, POD, how_to_read, no_agent, other_way, restart, said
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    not_applicable,
    of_cluster,
    passed,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import ClusterFacts, EndpointOverride
from ebpfcheck.model.facts import Known, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_SERVICE = of_cluster(ClusterFacts.kubernetes_service)
_OVERRIDES = of_cluster(ClusterFacts.endpoint_overrides)
_INSTALLATION = of_cluster(ClusterFacts.installation)
_PROXY = of_cluster(ClusterFacts.kube_proxy)
_NEEDED = "the API server's own address, or bpfNetworkBootstrap"


@check(
    id="verify.node.api-endpoint",
    title="The API server's address in use",
    category="verify",
    severity=Severity.BLOCKER,
    needs=(AGENTS, MARKS, LOG, POD, _SERVICE, _OVERRIDES, _INSTALLATION, _PROXY),
)
def node_api_endpoint(given: Given) -> Outcome:
    """Whether the calico-node that runs was given an address of the API server other than that of its Service."""
    outcome = no_agent(given) or other_way(given)
    if outcome is not None:
        return outcome
    lines = [line for line in given.release.verify.line if line.role == "api"]
    if all(given.release.version.within(line.releases) is False for line in lines):
        return not_applicable("not-logged", f"Felix {given.release.version} does not log the address that it uses.")
    used = _used(given)
    if used is None:
        return _not_told(given)
    host, port = used
    service = given[_SERVICE]
    if not isinstance(service, Known):
        what = f"calico-node uses {_joined(host, port)}; whether that is the Service's address could not be told"
        return unseen("service-unseen", what, service, observed=_joined(host, port), required=_NEEDED)
    if not host or _plain(host) in map(_plain, service.value.cluster_ips):
        return _by_service(given, host, port)
    return _direct(given, host, port)


def _used(given: Given) -> tuple[str, str] | None:
    """Return the host and port that calico-node was given, by its log, else by the template that its pod is of."""
    log, pod, node = said(given), given[POD], given[AGENTS]
    if log is not None and log.api_host is not None:
        return log.api_host, log.api_port or ""
    is_current = isinstance(pod, Known) and pod.value.is_current is True
    if is_current and isinstance(node, Known) and node.value.service_host:
        return node.value.service_host, ""
    return None


def _not_told(given: Given) -> Outcome:
    log = given[LOG]
    what = "By which address calico-node reaches the API server could not be told"
    if not isinstance(log, Known):
        return unseen("log-unseen", f"{what} without its log", log, required=_NEEDED, remediation=how_to_read(log))
    return unknown(
        "not-in-log",
        f"{what}: the part of its log that says so was not there to read.",
        reason=Reason.TRUNCATED,
        required=_NEEDED,
        remediation=Remediation(text="Restart calico-node on the node: it logs the address when it starts."),
    )


def _configured(given: Given) -> list[EndpointOverride]:
    fact = given[_OVERRIDES]
    name = given.release.platforms.api_endpoint.config_map
    return [one for one in fact.value if one.host and one.name == name] if isinstance(fact, Known) else []


def _by_service(given: Given, host: str, port: str) -> Outcome:
    configured, overrides, proxy = _configured(given), given[_OVERRIDES], given[_PROXY]
    installation = given[_INSTALLATION]
    observed = _joined(host, port) if host else "no address given"
    if configured:
        one = configured[0]
        return fail(
            "not-picked-up",
            f"calico-node on this node still reaches the API server by the Service's address ({observed}), although "
            f"ConfigMap {excerpt(one.namespace, 63)}/{one.name} gives {_joined(one.host or '', one.port or '')}: it "
            "was started before that, or the ConfigMap is not where it is looked for. Once kube-proxy is gone, it "
            "does not get on when it starts again.",
            observed=observed,
            required=_joined(one.host or "", one.port or ""),
            remediation=Remediation(
                text="See that the ConfigMap is in the right namespace (cluster.api-endpoint.present), then have "
                "calico-node started again.",
                commands=(restart(given),),
            ),
        )
    if isinstance(installation, Known) and installation.value.bpf_network_bootstrap == "Enabled":
        return passed(
            "bootstrap",
            "calico-node reaches the API server by the Service's address, which bpfNetworkBootstrap makes work before "
            "Felix starts.",
            observed=observed,
            required=_NEEDED,
        )
    if isinstance(overrides, Unknown):
        what = "calico-node reaches the API server by the Service's address; whether it should could not be seen"
        return unseen("overrides-unseen", what, overrides, observed=observed, required=_NEEDED)
    if isinstance(proxy, Known) and proxy.value.desired:
        return passed(
            "by-kube-proxy",
            "calico-node reaches the API server by the Service's address, as kube-proxy still runs. Before that goes, "
            "give Calico the API server's own address.",
            observed=observed,
            required=_NEEDED,
            note=True,
        )
    words = (
        "calico-node reaches the API server by the Service's address, which nobody but itself provides now: when this "
        "node is rebooted, calico-node cannot reach the API server to learn how, and the node does not become Ready."
    )
    fix = Remediation(text="Give Calico the API server's own address: cluster.api-endpoint.present says how.")
    if isinstance(proxy, Known):
        return fail("service-address", words, observed=observed, required=_NEEDED, remediation=fix)
    return warn(
        "service-address-maybe",
        "calico-node reaches the API server by the Service's address. Unless kube-proxy runs where the API does not "
        "show it, nobody but calico-node itself provides that: a node that is rebooted does not become Ready then.",
        observed=observed,
        required=_NEEDED,
        remediation=fix,
    )


def _direct(given: Given, host: str, port: str) -> Outcome:
    configured, observed = _configured(given), _joined(host, port)
    same = [one for one in configured if _plain(one.host or "") == _plain(host) and (not port or one.port == port)]
    if configured and not same:
        one = configured[0]
        return warn(
            "older",
            f"calico-node on this node uses {observed}, and ConfigMap {excerpt(one.namespace, 63)}/{one.name} gives "
            f"{_joined(one.host or '', one.port or '')}: it was started before that was changed.",
            observed=observed,
            required=_joined(one.host or "", one.port or ""),
            remediation=Remediation(
                text="Have calico-node started again.",
                commands=(restart(given),),
            ),
        )
    return passed(
        "direct",
        f"calico-node reaches the API server at {observed}, not by the Service's address.",
        observed=observed,
        required=_NEEDED,
    )


def _plain(host: str) -> str:
    """Return an address in its one usual form, a name in lower case."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return host.rstrip(".").lower()


def _joined(host: str, port: str) -> str:
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return excerpt(f"{shown}:{port}" if port else shown, 260)
