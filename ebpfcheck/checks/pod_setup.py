"""What calico-node's pods are given of their nodes: mounts, privileges, a /sys that lets mounts through."""

import json
import shlex
from collections.abc import Iterable, Iterator

from ebpfcheck.knowledge.health_tables import Nested
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    not_applicable,
    optional,
    over_nodes,
    passed,
    settled,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import CalicoNode, ClusterFacts
from ebpfcheck.model.facts import Absent, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_NODE = settled(ClusterFacts.calico_node)
_OPTIONAL_NODE = optional(ClusterFacts.calico_node)
_INSTALLATION = optional(ClusterFacts.installation)
_PODS = optional(ClusterFacts.calico_pods)
_PROVIDERS = over_nodes(NodeKind.provider)
_OS_IMAGES = over_nodes(NodeKind.os_image)
_CONTAINERS = over_nodes(NodeKind.container)
_FELIX = over_nodes(NodeKind.felix)

_NO_CALICO_NODE = not_applicable("no-calico-node", "There is no DaemonSet of calico-node yet.")


@check(
    id="cluster.calico.bpf-mounts",
    title="What calico-node's pods are given for eBPF mode",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(_NODE, _INSTALLATION, _FELIX),
)
def bpf_mounts(given: Given) -> Outcome:
    """Whether calico-node's DaemonSet has the mounts and the init container that eBPF mode needs."""
    found, calico = given[_NODE], given.release.version
    if isinstance(found, Absent):
        return _NO_CALICO_NODE
    node, names = found.value, given.release.health.init.names
    inits = [name for name in names if name in node.init_containers]
    if len(inits) > 1:
        return passed(
            "twice",
            f"calico-node has the init containers {' and '.join(inits)}, the older and the newer name of one: the "
            "second finds nothing left to do. Take the older one out of the manifest.",
            observed=", ".join(inits),
            required="one of them",
            note=True,
        )
    if given.install == "operator" or "Installation" in node.marks.owners:
        return _past_operator(given, node) or _by_operator(given)
    needed = f"what the manifest of Calico {calico} gives calico-node for eBPF mode"
    if node.host_paths is None:
        return unknown(
            "not-looked",
            "Which paths of the node calico-node's pods are given was not looked for when this snapshot was taken.",
            reason=Reason.NOT_COLLECTED,
            required=needed,
            remediation=Remediation(text="Take a new snapshot."),
        )
    lacks = tuple(_lacks(given, node.host_paths, has_init=bool(inits)))
    if lacks and given.install != "manifest":
        return unknown(
            "install-unseen",
            f"calico-node's DaemonSet has no {', no '.join(what for what, _, _ in lacks)}. The operator adds that with "
            "eBPF mode, and manifests have to bring it: how Calico is installed could not be told.",
            reason=Reason.NOT_COLLECTED,
            required=needed,
            remediation=Remediation(text="Say which it is with --install."),
        )
    sure = [(what, loss) for what, loss, is_sure in lacks if is_sure]
    if sure:
        losses = "; ".join(f"without {what}, {loss}" for what, loss in sure)
        return warn(
            "lacking",
            f"calico-node's DaemonSet lacks what the manifest of Calico {calico} has for eBPF mode: {losses}. Take the "
            "manifest of that release, or add to yours what it has.",
            observed=f"no {', no '.join(what for what, _ in sure)}",
            required=needed,
            remediation=_compare(node),
        )
    if lacks:
        return unknown(
            "patch",
            f"calico-node's DaemonSet has no {', no '.join(what for what, _, _ in lacks)}. Some patches of Calico "
            f"{calico} have it for eBPF mode, and some do without.",
            reason=Reason.NOT_COLLECTED,
            required=needed,
            remediation=Remediation(text="Say which patch it is with --calico-version."),
        )
    return passed("given", "calico-node's DaemonSet has the mounts that eBPF mode needs.", required=needed)


def _past_operator(given: Given, node: CalicoNode) -> Outcome | None:
    """Judge eBPF mode that is on though the operator was not asked for it, and so has not brought the mounts."""
    has_init = any(name in node.init_containers for name in given.release.health.init.names)
    lacks = [(what, loss) for what, loss, is_sure in _lacks(given, node.host_paths or (), has_init=has_init) if is_sure]
    installation, shares = given[_INSTALLATION], given[_FELIX]
    is_asked = isinstance(installation, Known) and installation.value.linux_dataplane == "BPF"
    if node.host_paths is None or not lacks or is_asked:
        return None
    on = sum(share.nodes for share in shares if isinstance(share.fact, Known) and share.fact.value.bpf_enabled is True)
    hidden = next((share.fact for share in shares if isinstance(share.fact, Unknown)), None)
    unknown_why = hidden if not on else installation if isinstance(installation, Unknown) else None
    if unknown_why is not None:
        return unseen("past-unseen", "Whether eBPF mode is on past the operator could not be told", unknown_why)
    if not on:
        return None
    losses = "; ".join(f"without {what}, {loss}" for what, loss in lacks)
    return warn(
        "past-operator",
        f"eBPF mode is on for {on} nodes past the operator, which gives calico-node what it needs only when the "
        f"Installation asks for eBPF mode: {losses}.",
        observed=f"no {', no '.join(what for what, _ in lacks)}",
        required="linuxDataplane: BPF in the Installation",
        remediation=Remediation(text="See cluster.felix.ownership for how to bring the two together."),
    )


def _by_operator(given: Given) -> Outcome:
    calico = given.release.version
    if given.release.bpffs_mounters["operator"] == {"nobody"}:
        return warn(
            "operator-gives-none",
            f"The operator of Calico {calico} does not see to it that calico-node has the node's bpffs: what Felix "
            "keeps there is gone whenever calico-node restarts, and pods lose their connections each time.",
            required="an operator that mounts bpffs for calico-node",
            remediation=Remediation(text="Upgrade Calico before eBPF mode is enabled."),
        )
    return passed(
        "operator", f"The operator of Calico {calico} gives calico-node the mounts for eBPF mode when it is asked for."
    )


def _lacks(given: Given, host_paths: Iterable[str], *, has_init: bool) -> Iterator[tuple[str, str, bool]]:
    """Return what is not there that the release may need, what is lost by that, and whether it does need it."""
    rules, version = given.release.health, given.release.version
    there = [_plain(path) for path in host_paths]

    def needs(ranges: Iterable[str]) -> bool | None:
        answers = {version.within(releases) for releases in ranges}
        return True if True in answers else None if None in answers else False

    if not has_init and (asked := needs(rules.pod_init.releases)) is not False:
        yield f"init container {' or '.join(rules.init.names)}", rules.pod_init.loss, asked is True
    for one in rules.pod_path:
        asked = needs(one.releases)
        path = _plain(one.path)
        if asked is not False and not any(
            path == given_path or path.startswith(f"{given_path}/") for given_path in there
        ):
            yield f"mount of {one.path}", one.loss, asked is True


def _plain(path: str) -> str:
    """Return a path as it is compared; /var/run is a link to /run."""
    return path.removeprefix("/var").rstrip("/") if f"{path}/".startswith("/var/run/") else path.rstrip("/")


def _compare(node: CalicoNode) -> Remediation:
    return Remediation(
        text="Hold the DaemonSet against the manifest of the release: volumes sys-fs, bpffs, nodeproc and "
        "var-run-calico, their mounts, and the init container. The pods are restarted node by node.",
        commands=(f"kubectl -n {shlex.quote(node.namespace)} get daemonset {shlex.quote(node.name)} -o yaml",),
        disruptive=True,
    )


@check(
    id="cluster.calico.privileges",
    title="calico-node's privileges",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_OPTIONAL_NODE, _INSTALLATION),
)
def privileges(given: Given) -> Outcome:
    """Whether calico-node may load BPF programs and make maps."""
    found, installation = given[_OPTIONAL_NODE], given[_INSTALLATION]
    needed = "a privileged container calico-node"
    if isinstance(installation, Known) and installation.value.non_privileged == "Enabled":
        patch = json.dumps({"spec": {"nonPrivileged": "Disabled"}})
        return fail(
            "non-privileged",
            f"The Installation says nonPrivileged: Enabled. Without privileges Felix {given.release.version} can "
            "neither make BPF maps nor load programs, and the operator refuses the whole Installation where "
            "linuxDataplane is BPF. Set it to Disabled.",
            observed="nonPrivileged: Enabled",
            required=needed,
            remediation=Remediation(
                text="Set it to Disabled; calico-node is restarted node by node.",
                commands=(f"kubectl patch installation default --type merge -p {shlex.quote(patch)}",),
                disruptive=True,
            ),
        )
    if isinstance(found, Unknown):
        return unseen("unseen", "Whether calico-node is privileged could not be seen", found, required=needed)
    if isinstance(found, Known) and found.value.is_privileged is False:
        return fail(
            "unprivileged",
            f"The container calico-node is not privileged: in eBPF mode Felix {given.release.version} is denied BPF "
            "maps and programs (Operation not permitted) and crashes at every start.",
            observed="securityContext.privileged is not true",
            required=needed,
            remediation=_make_privileged(given, found.value),
        )
    if isinstance(installation, Unknown) and given.install != "manifest":
        what = "Whether the Installation asks for calico-node without privileges could not be seen"
        return unseen("installation-unseen", what, installation, required=needed)
    if isinstance(found, Absent):
        return _NO_CALICO_NODE
    if found.value.is_privileged is None:
        return unknown(
            "not-looked",
            "Whether calico-node is privileged was not looked for when this snapshot was taken.",
            reason=Reason.NOT_COLLECTED,
            required=needed,
            remediation=Remediation(text="Take a new snapshot."),
        )
    return passed("privileged", "calico-node is privileged, as eBPF mode needs.", required=needed)


def _make_privileged(given: Given, node: CalicoNode) -> Remediation:
    namespace, name = shlex.quote(node.namespace), shlex.quote(node.name)
    if given.install == "operator":
        return Remediation(
            text="The operator makes it privileged unless it is told otherwise: find out who changes it, and see what "
            "the operator says.",
            commands=(
                f"kubectl -n {namespace} get daemonset {name} -o yaml --show-managed-fields",
                "kubectl get tigerastatus calico -o yaml",
            ),
        )
    container = {"name": "calico-node", "securityContext": {"privileged": True}}
    patch = json.dumps({"spec": {"template": {"spec": {"containers": [container]}}}})
    return Remediation(
        text="Make it privileged, also where the DaemonSet comes from (Helm, GitOps), and let its namespace admit "
        "that. The pods are restarted node by node.",
        commands=(f"kubectl -n {namespace} patch daemonset {name} -p {shlex.quote(patch)}",),
        disruptive=True,
    )


@check(
    id="cluster.nested",
    title="Nodes that are containers",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(_PROVIDERS, _OS_IMAGES, _CONTAINERS, _OPTIONAL_NODE, _PODS),
)
def nested(given: Given) -> Outcome:
    """Whether nodes are containers, in which /sys has to be a shared mount for calico-node to mount bpffs."""
    rules = given.release.health
    kinds = [one for one in rules.nested if _is_seen(given, one)]
    engines = sorted({share.fact.value for share in given[_CONTAINERS] if isinstance(share.fact, Known)})
    if not kinds and not engines:
        return _not_nested(given)
    what = " and ".join(one.name for one in kinds) or excerpt(", ".join(engines), 60)
    needed = "/sys as a shared mount on every node"
    fact, node = given[_PODS], given[_OPTIONAL_NODE]
    hidden = next((one for one in (fact, node) if isinstance(one, Unknown)), None)
    if hidden is not None:
        words = f"Nodes are containers ({what}), and how calico-node does there could not be seen"
        return unseen("pods-unseen", words, hidden, observed=what, required=needed)
    pods = fact.value if isinstance(fact, Known) else None
    refused = [(reason, count) for reason, count in (pods.waiting if pods else ()) if reason in rules.not_shared.waits]
    share = Remediation(
        text=" ".join(
            (
                *(one.fix for one in kinds if one.fix),
                "Make it shared in each of these containers before calico-node starts, such as in their entrypoint; "
                "a container without the rights for that cannot be a node in eBPF mode.",
            )
        ),
        commands=("mount --make-rshared /sys",),
    )
    if refused:
        seen = ", ".join(f"{count} x {reason}" for reason, count in refused)
        return warn(
            "refused",
            f"Nodes are containers ({what}), and containers of calico-node cannot be made on some ({seen}). Where /sys "
            "is not a shared mount, the init container that mounts bpffs is refused: see the pods' events.",
            observed=seen,
            required=needed,
            remediation=share,
        )
    if isinstance(node, Known) and pods is not None and _has_run(given, node.value, pods.ready):
        return passed(
            "shared",
            f"Nodes are containers ({what}), and /sys is shared there: calico-node's init container, which asks for "
            "that, has run on all of them.",
            observed=what,
            required=needed,
        )
    if kinds and all(one.shares for one in kinds):
        return passed(
            "as-it-comes",
            f"Nodes are containers ({what}), which make their mounts shared at the start, as calico-node's init "
            "container needs. Where they run without root, that may not be so.",
            observed=what,
            required=needed,
            note=True,
        )
    return warn(
        "maybe-private",
        f"Nodes are containers ({what}): unless /sys is a shared mount in them, the init container that mounts bpffs "
        "is refused, and calico-node does not start in eBPF mode. Whether it is shared the API does not show.",
        observed=what,
        required=needed,
        remediation=share,
    )


def _is_seen(given: Given, one: Nested) -> bool:
    providers = (share.fact.value for share in given[_PROVIDERS] if isinstance(share.fact, Known))
    images = (share.fact.value for share in given[_OS_IMAGES] if isinstance(share.fact, Known))
    return any(text in one.providers for text in providers) or any(text.startswith(one.os_images) for text in images)


def _not_nested(given: Given) -> Outcome:
    shares = (*given[_PROVIDERS], *given[_OS_IMAGES])
    hidden = next((share.fact for share in shares if isinstance(share.fact, Unknown)), None)
    if hidden is not None:
        return unseen("unseen", "Whether nodes are containers could not be told", hidden)
    if not shares:
        return unknown("no-nodes", "There are no nodes to look at.", reason=Reason.NOT_COLLECTED)
    return not_applicable("machines", "Nothing shows that nodes are containers, where this would matter.")


def _has_run(given: Given, node: CalicoNode, ready: int | None) -> bool:
    """Whether calico-node is up everywhere behind the init container that asks for a shared /sys."""
    has_init = any(name in node.init_containers for name in given.release.health.init.names)
    return has_init and node.is_observed and ready == node.updated == node.desired > 0
