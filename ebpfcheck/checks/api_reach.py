"""Whether a node reaches the API server without kube-proxy's help."""

from ebpfcheck.model.check import Given, Outcome, check, fail, not_applicable, optional, passed, unknown, unseen
from ebpfcheck.model.facts import NOT_COLLECTED, EndpointTrial, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import host_port

_TRIALS = optional(NodeKind.api_endpoints)
_HAPPENED = {
    "refused": "the connection was refused: nothing listens there, or a firewall refuses it",
    "timed_out": "no answer came: a firewall, a security group or a route drops it, or a name server is silent",
    "no_route": "there is no route to it",
    "denied": "the node itself does not let the connection out (operation not permitted): a firewall, or a policy",
    "unresolved": "the node's own resolver does not know the name",
}
_DNS = (
    "The name of the API server has to resolve without the cluster's DNS, which itself takes an API server: put it "
    "into the DNS that the nodes ask, or use an address."
)


@check(
    id="node.api-endpoint.reachable",
    title="Way to the API server without kube-proxy",
    category="api-endpoint",
    severity=Severity.BLOCKER,
    needs=(_TRIALS,),
)
def api_endpoint_reachable(given: Given) -> Outcome:
    """Judge the address that Calico would be given by what came of connecting to it."""
    trials = given[_TRIALS]
    if isinstance(trials, Unknown) and trials != NOT_COLLECTED:
        return unseen("trials", "Whether the API server can be reached without kube-proxy could not be told", trials)
    if not isinstance(trials, Known) or not trials.value:
        return not_applicable(
            "not-asked",
            "No address of the API server was tried: --api-endpoint HOST:PORT names one, and `ebpfcheck cluster` finds "
            "them by itself when it probes nodes.",
        )
    first, *others = trials.value
    address = _address(first)
    if first.outcome == "untold":
        return unknown(
            "untold",
            f"Whether the API server can be reached at {address} could not be told: {first.words}.",
            reason=Reason.NOT_COLLECTED,
        )
    if first.is_service:
        return fail(
            "service",
            f"{address} is the address of a Service: it is reached only as long as kube-proxy, or Calico itself, makes "
            "it so, and Calico would wait for what it has to bring about.",
            observed=f"{address}, a Service's",
            required="an address of the API server that is no Service's",
            remediation=Remediation(text="Use a load balancer's address, a virtual IP, or a name in the nodes' DNS."),
        )
    if first.outcome == "connected" and not first.by_cluster_dns:
        return passed(
            "connected", f"The API server's address {address} takes TCP connections from here.", observed=address
        )
    needed = f"a TCP connection to {address} from the node's own network, the name resolved by the node's own resolver"
    if first.outcome == "connected":
        return fail(
            "cluster-dns",
            f"{address} is reached, but its name is resolved by the cluster's own DNS, which the node's resolver asks: "
            "without kube-proxy, DNS is reached only once Calico runs, and Calico waits for this name.",
            observed=f"{address} connected, its name resolved by the cluster's DNS",
            required=needed,
            remediation=Remediation(text=_DNS),
        )
    instead = next((_address(other) for other in others if other.outcome == "connected"), None)
    hint = f" {instead} does take connections from here." if instead else ""
    return fail(
        first.outcome,
        f"The API server cannot be reached at {address}: {_HAPPENED[first.outcome]}. Once kube-proxy is gone, Calico "
        f"has no other way to it, and this node is never Ready again after its next reboot.{hint}",
        observed=f"{address} {first.outcome.replace('_', ' ')}",
        required=needed,
        remediation=Remediation(text=_DNS if first.outcome == "unresolved" else _open(instead)),
    )


def _open(instead: str | None) -> str:
    other = f", or use {instead}" if instead else ""
    return f"Let TCP from every node through to the API server's address{other}; then look again."


def _address(trial: EndpointTrial) -> str:
    return host_port(trial.host, trial.port)
