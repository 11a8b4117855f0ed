"""What the checks after the switch share: who looks after a node, and what its Felix said."""

import shlex

from ebpfcheck.model.check import Given, Outcome, not_applicable, of_cluster, optional, unknown
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import DATAPLANE_NAMES, Absent, FelixLog, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation

AGENTS = of_cluster(ClusterFacts.calico_node)
MARKS = optional(NodeKind.platform_marks)
POD = optional(NodeKind.calico_node_pod)
LOG = optional(NodeKind.felix_log)
METRICS = optional(NodeKind.felix_metrics)

LOOK_AT_NODE = "Look at the node itself: `ebpfcheck verify --probe exec`, or --probe pod."


def no_calico(given: Given) -> Outcome | None:
    """Return what is to be said of a node where there is no calico-node in the cluster; asks for AGENTS."""
    if isinstance(given[AGENTS], Absent):
        return not_applicable("no-calico", "There is no calico-node in this cluster; verify.calico.rollout says so.")
    return None


def no_agent(given: Given) -> Outcome | None:
    """Return what is to be said of a node on which no calico-node is to be; asks for AGENTS and MARKS."""
    marks = given[MARKS]
    others = [one for one in given.release.platforms.special if one.no_daemon_sets]
    virtual = next((one for one in others if isinstance(marks, Known) and one.mark in marks.value), None)
    if virtual is not None:
        return not_applicable("virtual-node", f"It is a {virtual.name} node: {virtual.message}.")
    return no_calico(given)


def wanted(given: Given) -> str:
    """Return the name of the dataplane that should run."""
    return DATAPLANE_NAMES[given.expect]


def other_way(given: Given) -> Outcome | None:
    """Return what is to be said by a check that concerns eBPF mode alone, where that should not run."""
    if given.expect == "bpf":
        return None
    return not_applicable("other-dataplane", f"This concerns eBPF mode; what should run is {wanted(given)}.")


def said(given: Given) -> FelixLog | None:
    """Return what the log says, None where it could not be read; asks for LOG."""
    log = given[LOG]
    return log.value if isinstance(log, Known) else None


def counts(log: FelixLog | None) -> dict[str, int]:
    """Return the signs of trouble in a log, and how many lines tell of each."""
    return {} if log is None else dict(log.signs)


def namespace(given: Given) -> str:
    """Return where calico-node runs, for commands; asks for AGENTS."""
    node = given[AGENTS]
    return node.value.namespace if isinstance(node, Known) else "calico-system"


def how_to_read(fact: Absent | Unknown) -> Remediation:
    """Return what to do about a log that could not be read."""
    if isinstance(fact, Unknown) and fact.reason is Reason.FORBIDDEN:
        return Remediation(text=f"Grant what `ebpfcheck rbac --verify` prints. {LOOK_AT_NODE}")
    if isinstance(fact, Unknown) and fact.reason is Reason.TIMEOUT:
        return Remediation(text=f"Give it more time with --timeout. {LOOK_AT_NODE}")
    return Remediation(text=LOOK_AT_NODE)


def not_in_log(what: str, needed: str) -> Outcome:
    """Return that something could not be told as the last minutes of the log say nothing, or too much."""
    return unknown(
        "log-says-nothing",
        f"{what}: what Felix logged in the last minutes is more than is read, or it logged nothing, as where "
        "logSeverityScreen keeps it from more than warnings.",
        reason=Reason.TRUNCATED,
        required=needed,
        remediation=Remediation(text="Let Felix serve metrics (prometheusMetricsEnabled), or run it again later."),
    )


def restart(given: Given) -> str:
    """Return the command that has calico-node started again on all nodes; asks for AGENTS."""
    node = given[AGENTS]
    name = node.value.name if isinstance(node, Known) else "calico-node"
    return f"kubectl -n {shlex.quote(namespace(given))} rollout restart daemonset/{shlex.quote(name)}"


def logs(given: Given, text: str) -> str:
    """Return the command that shows which pods of calico-node log a text; asks for AGENTS."""
    return (
        f"kubectl -n {shlex.quote(namespace(given))} logs -l k8s-app=calico-node -c calico-node --prefix --tail=-1 "
        f"| grep {shlex.quote(text)}"
    )
