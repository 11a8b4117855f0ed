"""What goes wrong where eBPF mode runs: programs that the kernel refused, and kube-proxy in Felix's way."""

from collections.abc import Iterable

from ebpfcheck.checks.felix import FELIX, settings
from ebpfcheck.checks.naming import listed
from ebpfcheck.checks.residue import RULES, rules_left
from ebpfcheck.checks.verify_state import (
    AGENTS,
    LOG,
    MARKS,
    METRICS,
    POD,
    counts,
    how_to_read,
    logs,
    no_agent,
    not_in_log,
    other_way,
    said,
)
from ebpfcheck.model.check import Given, Outcome, check, fail, optional, passed, unseen, warn
from ebpfcheck.model.facts import Known, NodeKind, Unknown
from ebpfcheck.model.report import Remediation, Severity

_RUNNING = optional(NodeKind.programs)


@check(
    id="verify.node.policy",
    title="Programs that the kernel refused",
    category="verify",
    severity=Severity.BLOCKER,
    needs=(AGENTS, MARKS, POD, LOG, METRICS),
)
def node_policy(given: Given) -> Outcome:
    """Whether Felix could load its programs for all interfaces of the node."""
    outcome = no_agent(given) or other_way(given)
    if outcome is not None:
        return outcome
    pod, metrics, log = given[POD], given[METRICS], given[LOG]
    needed = "programs on all interfaces"
    lines = counts(said(given)).get("dirty", 0)
    left = metrics.value.dirty if isinstance(metrics, Known) else None
    fix = Remediation(
        text="Its log says which interfaces, and what the kernel's verifier says: node.kernel.known-bad and "
        "cluster.felix.debug tell of the usual causes.",
        commands=(logs(given, "leaving it dirty"),),
    )
    is_ready = isinstance(pod, Known) and pod.value.is_ready
    if left or (lines and left is None and not is_ready):
        return fail(
            "refused",
            "Felix could not load its programs for some interfaces of this node, and tries again and again: their "
            "policies are not in force, or their traffic is dropped.",
            observed=f"{left} endpoints or more" if left else f"{lines} lines or more in the last minutes",
            required=needed,
            remediation=fix,
        )
    if lines and left is None:
        return warn(
            "refused-lately",
            "Within the last minutes Felix could not load its programs for some interfaces of this node. Its pod is "
            "ready, so that a later try may have done; its log does not say.",
            observed=f"{lines} lines or more in the last minutes",
            required=needed,
            remediation=fix,
        )
    if left == 0 or (isinstance(log, Known) and log.value.is_recent_seen):
        return passed("loaded", "Felix reports no program that could not be loaded.", required=needed)
    what = "Whether Felix could load all of its programs could not be told"
    if isinstance(log, Known):
        return not_in_log(what, needed)
    return unseen("log-unseen", f"{what} without calico-node's log", log, required=needed, remediation=how_to_read(log))


@check(
    id="verify.node.kube-proxy",
    title="kube-proxy in Felix's way",
    category="verify",
    severity=Severity.BLOCKER,
    needs=(AGENTS, MARKS, LOG, FELIX, _RUNNING, *RULES),
)
def node_kube_proxy(given: Given) -> Outcome:
    """Whether Felix and somebody else change the same rules, or want the same port, and kube-proxy is gone."""
    outcome = no_agent(given) or (_kube_proxy_seen(given) if given.expect == "bpf" else None)
    if outcome is not None:
        return outcome
    log, rule = given[LOG], given.release.verify.flapping
    needed = "rules that nobody else changes"
    if not isinstance(log, Known):
        what = "Whether others change Felix's rules could not be told without calico-node's log"
        return unseen("log-unseen", what, log, required=needed, remediation=how_to_read(log))
    found = counts(log.value)
    flapping = {name: found[name] for name in rule.lines if name in found}
    if sum(flapping.values()) >= rule.at_least:
        return fail(
            "flapping",
            "Rules on this node come and go: Felix finds its own changed, or cannot write them, over and over. So it "
            "is where kube-proxy runs and Felix removes its rules; Services and the API server have timed out by that.",
            observed=_lines(flapping.items()),
            required=needed,
            remediation=Remediation(
                text="Take kube-proxy off the node, or set bpfKubeProxyIptablesCleanupEnabled to false where it has to "
                "stay; else look for who else writes rules, such as a firewall's service."
            ),
        )
    if "healthz-port" in found:
        return warn(
            "healthz-port",
            "Felix cannot serve kube-proxy's health port, as somebody else has it: kube-proxy still runs, most likely.",
            observed=_lines([("healthz-port", found["healthz-port"])]),
            required=needed,
            remediation=Remediation(
                text="Take kube-proxy off the node, or give Felix another port: cluster.kube-proxy.healthz-port says "
                "how."
            ),
        )
    if not log.value.is_recent_seen:
        return not_in_log("Whether others change Felix's rules could not be told", needed)
    return passed("quiet", "Nobody else changes the rules that Felix keeps, as its log shows.", required=needed)


def _kube_proxy_seen(given: Given) -> Outcome | None:
    """Judge what a look at the node shows of kube-proxy, None where that is nothing or nobody looked."""
    running, felix = given[_RUNNING], given[FELIX]
    kept = settings(given)
    if not isinstance(running, Known) or (kept is not None and kept.bpf_kube_proxy_iptables_cleanup_enabled is False):
        return None
    gone = "kube-proxy is gone from the node"
    if not set(running.value).isdisjoint(given.release.network.healthz.kube_proxies):
        if isinstance(felix, Unknown):
            what = "kube-proxy runs on this node; whether Felix leaves its rules alone could not be told"
            return unseen("felix-unseen", what, felix, observed="the program runs", required=gone)
        return fail(
            "runs",
            "kube-proxy runs on this node beside eBPF mode, and Felix removes its rules: each undoes what the other "
            "does.",
            observed="the program runs",
            required=gone,
            remediation=Remediation(text="Find out what starts it there; see cluster.kube-proxy.cleanup."),
        )
    left = rules_left(given)
    if left and set(running.value).isdisjoint(given.release.network.healthz.may_be_kube_proxy):
        return warn(
            "left",
            f"kube-proxy is gone from this node, and its rules are not ({left}): they go on to send Services their old "
            "way.",
            observed=left,
            required="no rules of kube-proxy's",
            remediation=Remediation(text="node.kube-proxy.residue says how they go; a reboot removes them too."),
        )
    return None


def _lines(found: Iterable[tuple[str, int]]) -> str:
    return listed(f"{name}: {count} lines or more" for name, count in found)
