"""Whether Calico is well before the switch: calico-node, Typha, Tigera's operator."""

import shlex
from collections.abc import Iterable

from ebpfcheck.knowledge.health_tables import InitExitCode
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    not_applicable,
    optional,
    passed,
    settled,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import CalicoNode, CalicoPods, ClusterFacts, Deployment, InitExit, TigeraStatus
from ebpfcheck.model.facts import Absent, Known, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt
from ebpfcheck.versions import CalicoVersion

_SETTLED_NODE = settled(ClusterFacts.calico_node)
_NODE = optional(ClusterFacts.calico_node)
_PODS = optional(ClusterFacts.calico_pods)
_NODE_COUNT = optional(ClusterFacts.node_count)
_INSTALLATION = optional(ClusterFacts.installation)
_TYPHA = optional(ClusterFacts.typha)
_OPERATOR = optional(ClusterFacts.operator)
_STATUSES = optional(ClusterFacts.tigera_statuses)

_SHOWN = 3


@check(
    id="cluster.calico.health",
    title="calico-node's pods",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_SETTLED_NODE, _PODS, _NODE_COUNT, _INSTALLATION),
)
def calico_health(given: Given) -> Outcome:
    """Whether calico-node runs on all nodes, and what its init container says where it does not."""
    found, fact, count = given[_SETTLED_NODE], given[_PODS], given[_NODE_COUNT]
    if isinstance(found, Absent):
        return _without_calico_node(given)
    node, pods = found.value, fact.value if isinstance(fact, Known) else None
    needed = "a ready pod of calico-node on every node"
    exits = pods.init_exits if pods else ()
    ends = [(end, code) for end in exits if (code := known_exit(given, node.image, end.container, end.code))]
    if ends:
        return _init_failed(given, node, ends, needed)
    is_rolling = not node.is_observed or node.updated != node.desired
    observed = f"{node.desired} pods wanted, {node.updated} updated, {node.available} available"
    if not node.desired and node.is_observed:
        if isinstance(count, Unknown):
            return unseen(
                "nodes-unseen", "calico-node is wanted on no node, and whether there are any is not told", count
            )
        if isinstance(count, Known) and not count.value:
            return not_applicable("no-nodes", "There are no nodes yet for calico-node to run on.")
        return warn(
            "nowhere",
            "The DaemonSet of calico-node wants no pod on any node: nodes without it have neither policies nor, in "
            "eBPF mode, Services. See whether its nodeSelector fits them.",
            observed=observed,
            required=needed,
            remediation=Remediation(text="See what it selects.", commands=(_of_node(node, "get", "-o yaml"),)),
        )
    lacking = node.available < node.desired
    if not node.available and not is_rolling:
        return fail(
            "none",
            f"None of {node.desired} pods of calico-node is available{_why(pods)}: nothing would carry out the switch, "
            "nor keep Services and policies after it. Repair that before anything else.",
            observed=observed,
            required=needed,
            remediation=_see_pods(node),
        )
    if lacking and isinstance(fact, Unknown):
        what = (
            f"{node.available} of {node.desired} pods of calico-node are available, and why not all could not be seen"
        )
        return unseen("pods-unseen", what, fact, observed=observed, required=needed, remediation=_see_pods(node))
    if is_rolling:
        return warn(
            "rolling-out",
            f"calico-node is being rolled out ({observed}){_why(pods)}: wait until all of its pods are of one template "
            "and available before eBPF mode is enabled.",
            observed=observed,
            required=needed,
            remediation=Remediation(
                text="See how far it is.", commands=(_of_node(node, "rollout status"), *_see_pods(node).commands)
            ),
        )
    if lacking:
        return warn(
            "not-ready",
            f"{node.available} of {node.desired} pods of calico-node are available{_why(pods)}: eBPF mode does not "
            f"come on where it does not run.{_held_up(given)} Repair these nodes, or take them out of the cluster.",
            observed=observed,
            required=needed,
            remediation=_see_pods(node),
        )
    if pods is not None and pods.restarted:
        return passed(
            "restarted",
            f"calico-node is ready on all {node.desired} nodes; {pods.restarted} of its pods have been restarted five "
            "times or more, and their logs may tell why.",
            observed=observed,
            required=needed,
            note=True,
        )
    return passed("ready", f"calico-node is ready on all {node.desired} nodes.", observed=observed, required=needed)


def _without_calico_node(given: Given) -> Outcome:
    installation = given[_INSTALLATION]
    if isinstance(installation, Unknown):
        what = "There is no calico-node, and whether the operator is to install it could not be seen"
        return unseen("installation-unseen", what, installation)
    if isinstance(installation, Known):
        return warn(
            "not-there",
            "There is an Installation, and no DaemonSet of calico-node: the operator has not come to it yet, or "
            "cannot. See cluster.calico.operator.",
            observed="no calico-node",
            required="calico-node on every node",
        )
    return not_applicable("no-calico", "Calico is not installed, and has no pods yet.")


def known_exit(given: Given, image: str, container: str, exit_code: int) -> InitExitCode | None:
    """Return what is known of how an init container beside an image ended, None where that is nothing.

    What counts is the release that runs, which need not be the one that is judged for.
    """
    runs = CalicoVersion.of_image(image)
    rules = given.release.health
    if container not in rules.init.names:
        return None
    return next(
        (
            code
            for code in rules.init_exit
            if code.code == exit_code
            and (runs is None or any(runs.within(releases) is not False for releases in code.releases))
        ),
        None,
    )


def _init_failed(given: Given, node: CalicoNode, ends: list[tuple[InitExit, InitExitCode]], needed: str) -> Outcome:
    words = "; ".join(
        f"init container {end.container} ended with exit code {end.code} in {end.pods} of the pods, which says that "
        f"{code.meaning}"
        for end, code in ends
    )
    observed = ", ".join(f"{end.container}: exit code {end.code} in {end.pods} pods" for end, _ in ends)
    return fail(
        "-".join(("init-exit", *dict.fromkeys(str(end.code) for end, _ in ends))),
        f"calico-node does not start on some nodes: {words}.{_held_up(given)}",
        observed=observed,
        required=needed,
        remediation=Remediation(
            text=" ".join(dict.fromkeys(("The container's log says more.", *(code.remedy for _, code in ends)))),
            commands=tuple(
                f"kubectl -n {shlex.quote(node.namespace)} logs -l k8s-app=calico-node -c {end.container} --prefix"
                for end, _ in ends
            ),
        ),
    )


def _held_up(given: Given) -> str:
    if given.install != "operator" or not given.release.operator_sets_felix:
        return ""
    return " The operator turns eBPF mode on for none while one pod is not available."


def _why(pods: CalicoPods | None) -> str:
    """Return what pods show of why they are not ready, in brackets."""
    if pods is None:
        return ""
    ended = [
        f"{end.pods} x init container {excerpt(end.container, 40)} with exit code {end.code}"
        for end in pods.init_exits[:_SHOWN]
    ]
    waiting = [f"{count} x {excerpt(reason, 40)}" for reason, count in pods.waiting[:_SHOWN]]
    restarted = [f"{pods.restarted} restarted five times or more"] if pods.restarted else []
    parts = [*ended, *waiting, *restarted]
    return f" ({', '.join(parts)})" if parts else ""


def _see_pods(node: CalicoNode) -> Remediation:
    namespace = shlex.quote(node.namespace)
    return Remediation(
        text="See which pods are not ready, and what their events say.",
        commands=(
            f"kubectl -n {namespace} get pods -l k8s-app=calico-node -o wide",
            f"kubectl -n {namespace} describe pods -l k8s-app=calico-node",
        ),
    )


def _of_node(node: CalicoNode, verb: str, tail: str = "") -> str:
    return f"kubectl -n {shlex.quote(node.namespace)} {verb} daemonset/{shlex.quote(node.name)} {tail}".rstrip()


@check(
    id="cluster.calico.typha",
    title="Typha",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_TYPHA, _NODE, _INSTALLATION),
)
def typha(given: Given) -> Outcome:
    """Whether Typha, where calico-node gets its objects from it, is there."""
    fact, node = given[_TYPHA], given[_NODE]
    if isinstance(node, Absent):
        return not_applicable("no-calico-node", "There is no calico-node to be served by Typha.")
    if isinstance(node, Known) and not _may_ask_typha(given, node.value):
        return passed("not-used", "calico-node asks the API server itself, without Typha.", observed="no Typha")
    needed = "all replicas of Typha available"
    if isinstance(fact, Unknown):
        return unseen("unseen", "Whether Typha is well could not be seen", fact, required=needed)
    if isinstance(node, Unknown):
        return unseen("node-unseen", "Whether calico-node asks Typha could not be seen", node, required=needed)
    if isinstance(fact, Absent) and not _asks_typha(given, node.value if isinstance(node, Known) else None):
        hidden = Unknown(
            reason=Reason.UNSUPPORTED, detail="a variable of it takes its value from where it was not followed"
        )
        return unseen("variable-unseen", "Whether calico-node asks Typha could not be told", hidden, required=needed)
    if isinstance(fact, Absent):
        return warn(
            "missing",
            "calico-node is told to ask Typha for its objects, and there is no Deployment calico-typha: unless it has "
            "another name, calico-node learns nothing new once it is started again, as the switch does.",
            observed="no Deployment calico-typha",
            required=needed,
            remediation=Remediation(
                text="See whether it is there under another name.",
                commands=("kubectl get deployments -A -l k8s-app=calico-typha",),
            ),
        )
    found = fact.value
    where = f"kubectl -n {shlex.quote(found.namespace)}"
    fix = Remediation(
        text="See why its pods do not run; each takes a port of its node, so that a node holds one of them.",
        commands=(
            f"{where} get pods -l k8s-app=calico-typha -o wide",
            f"{where} describe pods -l k8s-app=calico-typha",
        ),
    )
    if found.available is None or found.desired is None:
        missing = Unknown(reason=Reason.NOT_COLLECTED, detail="its Deployment has no status")
        return unseen("no-status", "Whether Typha is well could not be told", missing, required=needed)
    observed = f"{found.available} of {found.desired} replicas available"
    if not found.available:
        return fail(
            "none",
            f"No replica of Typha is available ({observed}), and calico-node gets its objects from it: when it starts "
            "again, as it does on the switch, it has no Services and no policies to program.",
            observed=observed,
            required=needed,
            remediation=fix,
        )
    if found.available < found.desired:
        return warn(
            "fewer",
            f"{found.available} of {found.desired} replicas of Typha are available: these serve all nodes, and all "
            "nodes ask at once when eBPF mode comes on. Repair the others first.",
            observed=observed,
            required=needed,
            remediation=fix,
        )
    return passed("available", "Typha is available.", observed=observed, required=needed)


def _may_ask_typha(given: Given, node: CalicoNode) -> bool:
    """Whether calico-node is told to use Typha; a value that could not be followed may say so."""
    rule = given.release.health.typha
    return any(name in rule.variables and value not in rule.unused for name, value in node.env)


def _asks_typha(given: Given, node: CalicoNode | None) -> bool:
    """Whether calico-node is known to be told to use Typha."""
    rule, env = given.release.health.typha, () if node is None else node.env
    return any(name in rule.variables and value and value not in rule.unused for name, value in env)


# By whether an Installation was seen.
_BY_OPERATOR = {True: "There is an Installation", False: "Calico is installed as the operator does it"}


@check(
    id="cluster.calico.operator",
    title="Tigera's operator",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_OPERATOR, _STATUSES, _INSTALLATION),
)
def operator(given: Given) -> Outcome:
    """Whether the operator is there to switch the dataplane, and what it says of Calico."""
    installation, deployment, statuses = given[_INSTALLATION], given[_OPERATOR], given[_STATUSES]
    if given.install in ("manifest", "none") or (given.install == "unknown" and isinstance(installation, Absent)):
        return not_applicable("no-operator", "No operator looks after Calico here.")
    if given.install == "unknown" and isinstance(installation, Unknown):
        return unseen("installation-unseen", "Whether an operator looks after Calico could not be seen", installation)
    needed = "an operator that is available, and that reports nothing Degraded"
    if isinstance(deployment, Unknown):
        return unseen("unseen", "Whether the operator is well could not be seen", deployment, required=needed)
    if isinstance(deployment, Known) and deployment.value.available is None:
        missing = Unknown(reason=Reason.NOT_COLLECTED, detail="its Deployment has no status")
        return unseen("no-status", "Whether the operator is well could not be told", missing, required=needed)
    if isinstance(deployment, Known) and not deployment.value.available:
        found = deployment.value
        where, name = shlex.quote(found.namespace), shlex.quote(found.name)
        observed = f"0 of {found.desired} replicas available"
        return fail(
            "down",
            f"The operator is not available ({observed}): nobody takes up what the Installation asks for, and eBPF "
            f"mode does not come on by it. Calico {given.release.version} itself goes on as it is.",
            observed=observed,
            required=needed,
            remediation=Remediation(
                text="See why it does not run." if found.desired else "Let it run again.",
                commands=(f"kubectl -n {where} describe deployment {name}",)
                if found.desired
                else (f"kubectl -n {where} scale deployment {name} --replicas=1",),
            ),
        )
    if isinstance(statuses, Unknown):
        return unseen("statuses-unseen", "What the operator says of Calico could not be seen", statuses)
    listed = statuses.value if isinstance(statuses, Known) else ()
    degraded = [one for one in listed if one.degraded]
    outcome = _degraded(given, degraded, needed)
    if outcome is not None:
        return outcome
    if isinstance(deployment, Absent):
        return warn(
            "missing",
            f"{_BY_OPERATOR[isinstance(installation, Known)]}, and no Deployment of the operator is seen: unless it "
            "goes by another label, nobody takes up what an Installation asks for, and eBPF mode does not come on by "
            "it.",
            observed="no Deployment with k8s-app=tigera-operator",
            required=needed,
            remediation=Remediation(
                text="Look for it.", commands=("kubectl get deployments -A | grep -i tigera-operator",)
            ),
        )
    return _not_degraded(given, deployment.value, listed, degraded, needed)


def _degraded(given: Given, degraded: Iterable[TigeraStatus], needed: str) -> Outcome | None:
    """Judge what is Degraded of what eBPF mode hangs on."""
    rules = given.release.health
    found = [one for one in degraded if one.name in rules.operator.components]
    if not found:
        return None
    said = "; ".join(f"{one.name} ({said_by(one)})" for one in found)
    means = meant_by(given, found)
    return warn(
        "degraded",
        f"The operator reports as Degraded: {said}.{means} Until that is repaired it may not carry out what the "
        "Installation asks for, the switch to eBPF mode or back included, or not all of it.",
        observed=", ".join(f"{one.name} Degraded" for one in found),
        required=needed,
        remediation=Remediation(
            text="See all that it says, and repair it before anything else is changed.",
            commands=("kubectl get tigerastatus", *(f"kubectl get tigerastatus {one.name} -o yaml" for one in found)),
        ),
    )


def meant_by(given: Given, found: Iterable[TigeraStatus]) -> str:
    """Return what the messages of components mean, as a sentence after a blank; empty where that is not known."""
    # The first that fits: what is more telling comes first.
    rules = given.release.health.operator_message
    fits = (next((rule.meaning for rule in rules if rule.part in one.message.lower()), "") for one in found)
    meant = dict.fromkeys(filter(None, fits))
    return f" That means: {'; '.join(meant)}." if meant else ""


def said_by(one: TigeraStatus) -> str:
    """Return the reason and the message that the operator gives."""
    return ": ".join(excerpt(text, 200) for text in (one.reason, one.message) if text) or "without a reason"


def _not_degraded(
    given: Given, found: Deployment, listed: Iterable[TigeraStatus], degraded: list[TigeraStatus], needed: str
) -> Outcome:
    ours = [one for one in listed if one.name in given.release.health.operator.components]
    if not ours:
        return warn(
            "says-nothing",
            "The operator has reported nothing of Calico (there is no TigeraStatus calico): it has not come to the "
            "Installation yet, or cannot.",
            observed="no TigeraStatus calico",
            required=needed,
            remediation=Remediation(
                text="Its log says why.",
                commands=(
                    f"kubectl -n {shlex.quote(found.namespace)} logs deployment/{shlex.quote(found.name)} --tail=50",
                ),
            ),
        )
    busy = [one for one in ours if one.progressing or one.available is False]
    if busy:
        said = "; ".join(f"{one.name} ({said_by(one)})" for one in busy)
        return passed(
            "busy",
            f"The operator is at work on: {said}. How long for is not seen; let it end before eBPF mode is asked for.",
            observed=", ".join(one.name for one in busy),
            required=needed,
            note=True,
        )
    if degraded:
        names = ", ".join(excerpt(one.name, 40) for one in degraded[:_SHOWN])
        more = f" and {len(degraded) - _SHOWN} more" if len(degraded) > _SHOWN else ""
        return passed(
            "others-degraded",
            f"The operator is available. It reports as Degraded what eBPF mode does not hang on: {names}{more}.",
            observed=names,
            required=needed,
            note=True,
        )
    return passed("well", "The operator is available, and reports nothing Degraded.", required=needed)
