"""Whether the switch has come to a node: its pod of calico-node, the dataplane that runs, how it reaches the API."""

import shlex

from ebpfcheck.checks.felix import FELIX, PROGRAMS, is_on, settings
from ebpfcheck.checks.health import known_exit
from ebpfcheck.checks.naming import listed
from ebpfcheck.checks.verify_state import (
    AGENTS,
    LOG,
    LOOK_AT_NODE,
    MARKS,
    METRICS,
    POD,
    counts,
    how_to_read,
    logs,
    namespace,
    no_agent,
    said,
    wanted,
)
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    not_applicable,
    optional,
    passed,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.facts import Absent, FelixLog, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_MANY_RESTARTS = 10


@check(
    id="verify.node.pod",
    title="calico-node's pod on the node",
    category="verify",
    severity=Severity.BLOCKER,
    needs=(AGENTS, MARKS, POD),
)
def node_pod(given: Given) -> Outcome:
    """Whether calico-node runs on the node, is ready, and is of the present template."""
    outcome, fact = no_agent(given), given[POD]
    if outcome is not None:
        return outcome
    needed = "a ready pod of calico-node, made by the DaemonSet's present template"
    see = Remediation(
        text="See what its events and its log say.",
        commands=(
            f"kubectl -n {shlex.quote(namespace(given))} get pods -l k8s-app=calico-node -o wide",
            f"kubectl -n {shlex.quote(namespace(given))} describe pods -l k8s-app=calico-node",
        ),
    )
    if isinstance(fact, Unknown):
        return unseen("pod-unseen", "Whether calico-node runs here could not be seen", fact, required=needed)
    if isinstance(fact, Absent):
        return fail(
            "no-pod",
            "No pod of calico-node is on this node: nothing programs a dataplane of Calico's here. See whether the "
            "DaemonSet's nodeSelector and tolerations fit it.",
            observed="no pod",
            required=needed,
            remediation=see,
        )
    pod = fact.value
    observed = f"{pod.phase or 'no phase'}, {'ready' if pod.is_ready else 'not ready'}"
    if pod.waiting:
        return fail(
            "waiting",
            f"calico-node does not run on this node: its containers wait ({listed(pod.waiting)}).",
            observed=observed,
            required=needed,
            remediation=see,
        )
    if pod.is_current is False or pod.is_leaving:
        return fail(
            "old-template",
            "The pod of calico-node on this node is still the one from before the change: the rollout has not come to "
            "it yet, or is held up by another.",
            observed=f"{observed}, of an older template" if not pod.is_leaving else f"{observed}, being deleted",
            required=needed,
            remediation=see,
        )
    if not pod.is_ready:
        return fail(
            "not-ready",
            "The pod of calico-node on this node is not ready: in eBPF mode that is so too while programs could not "
            "be loaded for some of its pods.",
            observed=observed,
            required=needed,
            remediation=see,
        )
    if pod.is_current is None:
        return unknown(
            "template-unseen",
            "calico-node is ready on this node; whether its pod is of the DaemonSet's present template could not be "
            "told, as neither carries the number of it.",
            reason=Reason.NOT_COLLECTED,
            observed=observed,
            required=needed,
        )
    if pod.restarts >= _MANY_RESTARTS:
        return passed(
            "restarted",
            f"calico-node is ready on this node; its containers have been restarted {pod.restarts} times or more.",
            observed=observed,
            required=needed,
            note=True,
        )
    return passed("ready", "calico-node is ready on this node.", observed=observed, required=needed)


@check(
    id="verify.node.init",
    title="calico-node's init containers",
    category="verify",
    severity=Severity.BLOCKER,
    needs=(AGENTS, MARKS, POD),
)
def node_init(given: Given) -> Outcome:
    """Whether an init container of calico-node ended with an error, and what its exit code says."""
    outcome, fact, node = no_agent(given), given[POD], given[AGENTS]
    if outcome is not None:
        return outcome
    needed = "init containers that end well"
    if isinstance(fact, Unknown):
        return unseen("pod-unseen", "How calico-node's init containers ended could not be seen", fact, required=needed)
    if isinstance(fact, Absent):
        return not_applicable("no-pod", "No pod of calico-node is on this node; verify.node.pod says so.")
    if not fact.value.init_exits:
        return passed("well", "No init container of calico-node ended with an error.", required=needed)
    image = node.value.image if isinstance(node, Known) else ""
    ends = [(end, known_exit(given, image, end.container, end.code)) for end in fact.value.init_exits]
    words = [
        f"init container {excerpt(end.container, 63)} ended with exit code {end.code}"
        + (f", which says that {code.meaning}" if code else "")
        for end, code in ends
    ]
    remedies = dict.fromkeys(code.remedy for _, code in ends if code)
    return fail(
        "-".join(("exit", *dict.fromkeys(str(end.code) for end, _ in ends))),
        f"calico-node does not start on this node: {'; '.join(words)}.",
        observed=listed(f"{end.container}: exit code {end.code}" for end, _ in ends),
        required=needed,
        remediation=Remediation(
            text=" ".join(("The container's log says more.", *remedies)),
            commands=tuple(
                f"kubectl -n {shlex.quote(namespace(given))} logs -l k8s-app=calico-node "
                f"-c {shlex.quote(end.container)} --prefix"
                for end, _ in ends
            ),
        ),
    )


_NFT_TABLES = optional(NodeKind.nft_tables)
# What Felix says before it stops.
_PANICS = {
    "load-balancer-failed": "connect-time load balancing could not be attached (node.cgroup2 and node.kernel.known-bad "
    "tell of the usual causes)",
    "mark-mask": "the mark mask leaves out bits that eBPF mode needs (cluster.felix.mark-mask)",
    "no-kube-proxy-module": "it has no client of the Kubernetes API, as with the etcd datastore, and no Services",
}


@check(
    id="verify.node.dataplane",
    title="The dataplane that runs",
    category="verify",
    severity=Severity.BLOCKER,
    needs=(AGENTS, MARKS, LOG, METRICS, PROGRAMS, FELIX, _NFT_TABLES),
)
def node_dataplane(given: Given) -> Outcome:
    """Which dataplane runs on the node, by what is attached there, by what Felix logged, by its metrics."""
    outcome = no_agent(given)
    if outcome is not None:
        return outcome
    log, rule = said(given), given.release.verify.restarting
    if log is not None and log.starts >= rule.at_least:
        return fail(
            "keeps-starting",
            "Felix does not stay up on this node: within minutes it has started again and again in its container, "
            "which kubelet does not see.",
            observed=f"{log.starts} starts or more in the last minutes",
            required=f"Felix runs in {wanted(given)}",
            remediation=Remediation(text="See what its log says before each start.", commands=(logs(given, "felix/"),)),
        )
    return _bpf(given) if given.expect == "bpf" else _standard(given)


def _bpf(given: Given) -> Outcome:
    log, attached = said(given), is_on(given)
    metrics = given[METRICS]
    needed = "Felix runs in eBPF mode"
    stale = " The programs of Calico's that are attached are left over from before." if attached else ""
    if log is not None and log.fallback is not None:
        why = f" ({excerpt(log.fallback)})" if log.fallback else ""
        return fail(
            "fell-back",
            f"Felix refused eBPF mode on this node{why} and went back to the standard dataplane. Its pod stays ready "
            f"and bpfEnabled stays true; where kube-proxy is gone, the node has no Services at all.{stale}",
            observed=f"fell back{why}",
            required=needed,
            remediation=Remediation(
                text="Let kube-proxy run on this node again, or take the node out of service, until it can run eBPF "
                "mode: node.kernel.version and node.arch tell what it lacks. Upgrade the kernel then, and restart "
                "calico-node.",
            ),
        )
    if log is not None and log.mode == "standard":
        return fail(
            "standard",
            f"Felix runs the standard dataplane on this node{_why_standard(given)}.{stale}",
            observed="started without eBPF mode",
            required=needed,
            remediation=Remediation(
                text="See what is set for the node, and whether Felix has read it: it starts again when bpfEnabled "
                "changes. cluster.felix.ownership and cluster.felix.env-override tell what keeps it.",
            ),
        )
    failed = [words for sign, words in _PANICS.items() if sign in counts(log)]
    if failed:
        return fail(
            "-".join(("fails", *(sign for sign in _PANICS if sign in counts(log)))),
            f"Felix cannot run eBPF mode on this node, and says so in its log: {'; '.join(failed)}.",
            observed=listed(sign for sign in _PANICS if sign in counts(log)),
            required=needed,
        )
    if attached is False:
        return fail(
            "not-attached",
            "None of Calico's programs is attached to the node's interfaces"
            + (", although Felix says that it started in eBPF mode" if log is not None and log.mode == "bpf" else "")
            + ": eBPF mode does not carry its traffic.",
            observed="no programs of Calico's",
            required=needed,
            remediation=Remediation(text="See what Felix's log says of its interfaces, and node.net.data-iface."),
        )
    if attached:
        return passed(
            "attached",
            "eBPF mode is on: Calico's programs are attached to the node's interfaces.",
            observed="programs attached",
            required=needed,
        )
    if log is not None and log.mode == "bpf":
        return passed(
            "log", "eBPF mode is on: Felix has started in it.", observed="started in eBPF mode", required=needed
        )
    if isinstance(metrics, Known) and metrics.value.endpoints:
        return passed(
            "metrics",
            "eBPF mode is on: Felix's metrics count endpoints that it manages by it.",
            observed=f"{metrics.value.endpoints} endpoints or more",
            required=needed,
        )
    return _not_told(given, log, needed)


def _why_standard(given: Given) -> str:
    felix = settings(given)
    if felix is None:
        return ""
    if felix.bpf_enabled is True:
        return ", although bpfEnabled is true for it: it has not been started since, or another setting outranks that"
    return ", as bpfEnabled is not true for it"


def _not_told(given: Given, log: FelixLog | None, needed: str) -> Outcome:
    """Return why the dataplane could not be told."""
    fact = given[LOG]
    if not isinstance(fact, Known) or log is None:
        what = "Which dataplane runs on this node could not be told without calico-node's log"
        absent = fact if isinstance(fact, Absent | Unknown) else Unknown(reason=Reason.NOT_COLLECTED, detail="")
        return unseen("log-unseen", what, absent, required=needed, remediation=how_to_read(absent))
    if log.mode == "starting":
        return unknown(
            "starting",
            "Felix is still starting on this node and has not said yet which dataplane it runs.",
            reason=Reason.NOT_COLLECTED,
            observed="starting",
            required=needed,
            remediation=Remediation(text="Run it again, or with --wait."),
        )
    if log.start == "rotated":
        return unknown(
            "rotated",
            "Which dataplane runs on this node could not be told: calico-node's log no longer holds the start of the "
            "Felix that runs, as older parts of it were rotated away.",
            reason=Reason.TRUNCATED,
            observed="the log begins later than calico-node",
            required=needed,
            remediation=Remediation(
                text=f"{LOOK_AT_NODE} Or let Felix serve metrics, or restart calico-node on the node."
            ),
        )
    return unknown(
        "unread",
        "Which dataplane runs on this node could not be told: the start of the Felix that runs was not found in its "
        "log. It logs none where logSeverityScreen keeps it from more than warnings.",
        reason=Reason.TRUNCATED,
        required=needed,
        remediation=Remediation(text=LOOK_AT_NODE),
    )


def _standard(given: Given) -> Outcome:
    log, attached = said(given), is_on(given)
    needed = f"Felix runs in {wanted(given)}"
    if log is not None and log.mode == "bpf":
        return fail(
            "still-bpf",
            "Felix still runs in eBPF mode on this node.",
            observed="started in eBPF mode",
            required=needed,
            remediation=Remediation(
                text="See that bpfEnabled is false (by the Installation's linuxDataplane, where the operator keeps "
                "it), and that no variable or FelixConfiguration of the node outranks that."
            ),
        )
    if attached and (log is None or log.mode != "standard"):
        return fail(
            "attached",
            "Calico's BPF programs are still attached to the node's interfaces.",
            observed="programs attached",
            required=needed,
            remediation=Remediation(text="See verify.rollback.clean.", disruptive=True),
        )
    if log is None or log.mode != "standard":
        # That nothing is attached does not tell that Felix runs at all.
        return _not_told(given, log, needed)
    return _rules(given, log, needed)


def _rules(given: Given, log: FelixLog | None, needed: str) -> Outcome:
    """Judge a standard dataplane by what Felix writes its rules to."""
    rules, tables = given.release.verify.rules, given[_NFT_TABLES]
    may_differ = given.release.version.within(rules.releases) is not False
    writes = log.rules if log is not None else None
    if not may_differ:
        writes = "iptables"
    elif writes is None and isinstance(tables, Known | Absent):
        names = {name.split()[-1] for name in tables.value if name} if isinstance(tables, Known) else set()
        writes = "iptables" if names.isdisjoint(rules.nftables) else "nftables"
    if writes is None:
        return unknown(
            "rules-untold",
            "eBPF mode is off on this node; whether Felix writes to iptables or to nftables could not be told, as its "
            "log does not say.",
            reason=Reason.NOT_COLLECTED,
            observed="started without eBPF mode",
            required=needed,
            remediation=Remediation(text=LOOK_AT_NODE),
        )
    if writes != given.expect:
        return fail(
            "other-rules",
            f"eBPF mode is off on this node, and Felix writes its rules to {writes}, not to {given.expect}.",
            observed=f"{writes} mode",
            required=needed,
            remediation=Remediation(text="See nftablesMode in FelixConfiguration, which the operator sets as well."),
        )
    if log is not None and log.fallback is not None:
        return warn(
            "fell-back",
            f"Felix runs in {wanted(given)} on this node, but as eBPF mode, which is still asked for, was refused. Set "
            "bpfEnabled to false: else eBPF mode comes on with the next kernel.",
            observed="fell back",
            required=needed,
        )
    return passed("standard", f"Felix runs in {wanted(given)}.", observed=f"{writes} mode", required=needed)
