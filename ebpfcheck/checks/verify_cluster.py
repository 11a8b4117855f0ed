"""Whether the switch is through for the cluster: calico-node's rollout, the operator, kube-proxy."""

import shlex

from ebpfcheck.checks.health import meant_by, said_by
from ebpfcheck.checks.kube_proxy_state import (
    CLEANUP,
    NODE_COUNT,
    PROXY,
    PROXY_NEEDS,
    Proxy,
    felix_of,
    proxy_of,
)
from ebpfcheck.checks.naming import listed
from ebpfcheck.checks.verify_state import wanted
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
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import Absent, Known, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity

_NODE = settled(ClusterFacts.calico_node)
_ALL = optional(ClusterFacts.calico_nodes)
_INSTALLATION = optional(ClusterFacts.installation)
_STATUSES = optional(ClusterFacts.tigera_statuses)


@check(
    id="verify.calico.rollout",
    title="calico-node's rollout",
    category="verify",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_NODE, _ALL),
)
def rollout(given: Given) -> Outcome:
    """Whether there is one calico-node, and all of its pods are of the present template and available."""
    found, every = given[_NODE], given[_ALL]
    needed = "one calico-node, rolled out to all of its nodes"
    if isinstance(found, Absent):
        return fail(
            "no-calico",
            f"There is no calico-node in this cluster: nothing can run in {wanted(given)}.",
            observed="no DaemonSet of calico-node",
            required=needed,
        )
    if isinstance(every, Known) and len(every.value) > 1:
        return fail(
            "several",
            f"Calico is installed {len(every.value)} times ({listed(every.value)}): each programs the same nodes, and "
            "undoes what another did. Remove all but one; only the first of them was looked at here.",
            observed=listed(every.value),
            required=needed,
        )
    node = found.value
    name = f"kubectl -n {shlex.quote(node.namespace)} rollout status daemonset/{shlex.quote(node.name)}"
    see = Remediation(text="See how far it is, or wait for it with --wait.", commands=(name,))
    observed = f"{node.desired} pods wanted, {node.updated} updated, {node.available} available"
    if not node.is_observed or node.updated < node.desired:
        return fail(
            "rolling-out",
            f"calico-node is still being rolled out ({observed}): what is asked for has not come to all nodes.",
            observed=observed,
            required=needed,
            remediation=see,
        )
    if not node.desired:
        return fail(
            "nowhere",
            "The DaemonSet of calico-node wants no pod on any node: nothing runs Calico's dataplane.",
            observed=observed,
            required=needed,
            remediation=see,
        )
    if node.available < node.desired:
        return fail(
            "not-available",
            f"{node.available} of {node.desired} pods of calico-node are available; verify.node.pod names the nodes of "
            "the others.",
            observed=observed,
            required=needed,
            remediation=see,
        )
    if isinstance(every, Unknown):
        return unseen("several-unseen", "Whether there is another calico-node could not be seen", every)
    return passed("done", f"calico-node is rolled out to all of its {node.desired} nodes.", observed=observed)


@check(
    id="verify.operator.status",
    title="What Tigera's operator reports",
    category="verify",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_STATUSES, _INSTALLATION),
)
def operator_status(given: Given) -> Outcome:
    """Whether the operator reports that what the Installation asks for is done."""
    installation, statuses = given[_INSTALLATION], given[_STATUSES]
    if given.install in ("manifest", "none") or (given.install == "unknown" and isinstance(installation, Absent)):
        return not_applicable("no-operator", "No operator looks after Calico here.")
    needed = "calico available, and nothing of it Degraded or Progressing"
    if isinstance(statuses, Unknown):
        return unseen("unseen", "What the operator reports of Calico could not be seen", statuses, required=needed)
    components = given.release.health.operator.components
    ours = [one for one in statuses.value if one.name in components] if isinstance(statuses, Known) else []
    see = Remediation(
        text="See all that it says.",
        commands=("kubectl get tigerastatus", *(f"kubectl get tigerastatus {one.name} -o yaml" for one in ours)),
    )
    degraded = [one for one in ours if one.degraded]
    if degraded:
        said = "; ".join(f"{one.name} ({said_by(one)})" for one in degraded)
        return fail(
            "degraded",
            f"The operator reports as Degraded: {said}.{meant_by(given, degraded)} What the Installation asks for is "
            "not carried out, or not all of it.",
            observed=", ".join(f"{one.name} Degraded" for one in degraded),
            required=needed,
            remediation=see,
        )
    busy = [one for one in ours if one.progressing or one.available is False]
    if busy:
        said = "; ".join(f"{one.name} ({said_by(one)})" for one in busy)
        return fail(
            "progressing",
            f"The operator is still at work on: {said}.",
            observed=", ".join(f"{one.name} Progressing" for one in busy),
            required=needed,
            remediation=see,
        )
    if not ours:
        return unknown(
            "says-nothing",
            "The operator has reported nothing of Calico: there is no TigeraStatus calico.",
            reason=Reason.NOT_COLLECTED,
            observed="no TigeraStatus calico",
            required=needed,
        )
    wrong = _asked_otherwise(given)
    if wrong is not None:
        return fail(
            "asks-otherwise",
            f"The operator reports that all is done, and the Installation asks for {wrong}: it sets what it asks for, "
            f"so that {wanted(given)} does not last.",
            observed=f"linuxDataplane {wrong}",
            required=needed,
            remediation=Remediation(text="Ask for it in the Installation (spec.calicoNetwork.linuxDataplane)."),
        )
    return passed("done", "The operator reports that Calico is as it was asked for.", required=needed)


_ASKED = {"BPF": "bpf", "Iptables": "iptables", "Nftables": "nftables"}


def _asked_otherwise(given: Given) -> str | None:
    """Return the dataplane that the Installation asks for, where that is another one than should run."""
    installation = given[_INSTALLATION]
    asked = installation.value.linux_dataplane if isinstance(installation, Known) else None
    return asked if asked in _ASKED and _ASKED[asked] != given.expect else None


@check(
    id="verify.kube-proxy",
    title="kube-proxy after the switch",
    category="verify",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_NODE, *PROXY_NEEDS),
)
def kube_proxy(given: Given) -> Outcome:
    """Whether kube-proxy is gone, or tolerated, in eBPF mode, and is back without it."""
    if isinstance(given[_NODE], Absent):
        return not_applicable("no-calico", "There is no calico-node in this cluster; verify.calico.rollout says so.")
    fact = given[PROXY]
    needed = (
        f"kube-proxy is off, or {CLEANUP} is false" if given.expect == "bpf" else "kube-proxy runs, as before eBPF mode"
    )
    if isinstance(fact, Unknown):
        return unseen("unseen", "Whether kube-proxy runs could not be seen", fact, required=needed)
    proxy = proxy_of(given)
    if given.expect == "bpf" and felix_of(given).keeps_rules and proxy.state != "off":
        return passed(
            "tolerated",
            f"kube-proxy may run beside eBPF mode: Felix leaves its rules alone ({CLEANUP} is false).",
            observed=_seen(proxy),
            required=needed,
            note=True,
        )
    if proxy.seen is not None and proxy.seen.desired is None:
        return unknown(
            "status-unseen",
            "Whether kube-proxy runs could not be told: its DaemonSet does not say yet how many pods it wants by the "
            "template that it has now.",
            reason=Reason.NOT_COLLECTED,
            required=needed,
            remediation=Remediation(text="Run it again, or with --wait."),
        )
    if proxy.state in ("unseen", "inside"):
        return unknown(
            "not-in-sight",
            "kube-proxy is neither a DaemonSet nor static pods; whether it runs inside of another program, or as a "
            "service of the nodes, only a look at them tells.",
            reason=Reason.NOT_COLLECTED,
            observed="no kube-proxy in the API",
            required=needed,
            remediation=Remediation(text="Look at the nodes themselves with --probe pod."),
        )
    return _in_bpf_mode(given, proxy, needed) if given.expect == "bpf" else _in_other_modes(given, proxy, needed)


def _in_bpf_mode(given: Given, proxy: Proxy, needed: str) -> Outcome:
    felix = felix_of(given)
    left = (proxy.seen.misplaced or 0) if proxy.seen is not None else 0
    if proxy.state == "off" and not left:
        return passed("off", "kube-proxy is off.", observed=_seen(proxy), required=needed)
    if proxy.is_off:
        return fail(
            "leaving",
            f"kube-proxy is told to keep off the nodes, and is not gone from all of them yet ({_seen(proxy)}).",
            observed=_seen(proxy),
            required=needed,
            remediation=Remediation(text="Wait for it (--wait), or see what keeps its pods."),
        )
    if felix.unseen is not None:
        what = "kube-proxy runs; whether Felix leaves its rules alone could not be told"
        return unseen("felix-unseen", what, felix.unseen, observed=_seen(proxy), required=needed)
    by = f" It is looked after by {proxy.owner_names}." if proxy.owners else ""
    return fail(
        "fights",
        f"kube-proxy still runs, and Felix {given.release.version} removes its rules: kube-proxy puts them back, over "
        f"and over, and Services and the API server time out by that.{by} Take it off the nodes, or set {CLEANUP} to "
        "false where it has to stay.",
        observed=_seen(proxy),
        required=needed,
        remediation=Remediation(text="cluster.kube-proxy.cleanup says how, for this platform."),
    )


def _in_other_modes(given: Given, proxy: Proxy, needed: str) -> Outcome:
    seen, nodes = proxy.seen, given[NODE_COUNT]
    if proxy.state == "runs" and seen is not None and seen.desired is not None and seen.available is not None:
        desired, available = seen.desired, seen.available
        if isinstance(nodes, Known) and desired < nodes.value:
            return warn(
                "not-everywhere",
                f"kube-proxy is to run on {desired} of {nodes.value} nodes. The others have no Services, unless they "
                "are of a kind that runs no DaemonSets or another kube-proxy, such as Windows.",
                observed=f"{desired} of {nodes.value} nodes",
                required=needed,
                remediation=Remediation(text="See what its nodeSelector and affinity leave out."),
            )
        if available < desired:
            return fail(
                "not-available",
                f"kube-proxy is available on {available} of the {desired} nodes that it should run on: the others have "
                "no Services.",
                observed=f"{available} of {desired} available",
                required=needed,
                remediation=Remediation(text="Wait for it (--wait), or see what keeps its pods."),
            )
    if proxy.state == "runs":
        return passed("back", "kube-proxy runs.", observed=_seen(proxy), required=needed)
    keys = tuple(key for key, _ in proxy.seen.node_selector) if proxy.seen is not None else ()
    why = f" (nodeSelector {listed(keys)})" if proxy.has_selector else ""
    return fail(
        "still-off",
        f"kube-proxy is off{why}, and so is eBPF mode: nothing provides Services on the nodes. Switch kube-proxy on "
        "again; the operator takes back only the key that it has set itself.",
        observed=_seen(proxy),
        required=needed,
        remediation=Remediation(text="Remove the keys that keep it off from its nodeSelector, or undo what else did."),
    )


def _seen(proxy: Proxy) -> str:
    seen = proxy.seen
    if seen is None:
        return "no kube-proxy on the nodes" if proxy.state == "off" else "kube-proxy on the nodes"
    where = f"{seen.namespace}/{seen.name}"
    return f"{where} wants {seen.desired} pods" if seen.runs_as == "daemonset" else f"{seen.desired} static pods"
