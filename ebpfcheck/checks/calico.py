"""What runs: the datastore, the release, the dataplane in use, Windows nodes."""

import re
import shlex

from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    not_applicable,
    optional,
    over_nodes,
    passed,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import CalicoNode, ClusterFacts
from ebpfcheck.model.facts import Absent, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt
from ebpfcheck.versions import CalicoVersion

_NODE = optional(ClusterFacts.calico_node)
_INSTALLATION = optional(ClusterFacts.installation)
_INFORMATION = optional(ClusterFacts.calico_version)
_POOLS = optional(ClusterFacts.ip_pools)
_GROUPS = optional(ClusterFacts.api_groups)


def see_variables(node: CalicoNode) -> Remediation:
    """Return the command that lists the variables of calico-node."""
    return Remediation(
        text="See what calico-node is given, and give it a plain value.",
        commands=(f"kubectl -n {shlex.quote(node.namespace)} set env daemonset/{shlex.quote(node.name)} --list",),
    )


@check(
    id="cluster.datastore",
    title="Calico's datastore",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_NODE, _INSTALLATION, _INFORMATION, _POOLS, _GROUPS),
)
def datastore(given: Given) -> Outcome:
    """Whether Calico keeps its objects in the Kubernetes API, without which Felix runs no proxy for Services."""
    rule = given.release.calico.datastore
    node, installation = given[_NODE], given[_INSTALLATION]
    needed = "Calico's objects in the Kubernetes API"
    env = dict(node.value.env) if isinstance(node, Known) else {}
    # A variable that is set to nothing counts as not set.
    chosen_by = next((name for name in rule.variables if env.get(name, "") != ""), None)
    decisive = (*rule.etcd_always, *((chosen_by,) if chosen_by else rule.etcd_otherwise))
    etcd = next((name for name in decisive if (env.get(name) == rule.etcd if name == chosen_by else env.get(name))), "")
    if etcd:
        return fail(
            "etcd",
            f"calico-node is told by {etcd} to keep Calico's objects in etcd: Felix {given.release.version} then has "
            "no client for Kubernetes, and in eBPF mode nobody looks after Services.",
            observed=f"etcd, by {etcd}",
            required=needed,
            remediation=_MIGRATE,
        )
    if isinstance(installation, Known):
        return passed("operator", "Tigera's operator runs Calico, always on the Kubernetes API.", required=needed)
    if not isinstance(node, Known):
        if isinstance(node, Absent) and isinstance(installation, Absent) and isinstance(given[_INFORMATION], Absent):
            return not_applicable("no-calico", "Calico is not installed, and has no datastore yet.")
        return unseen("no-calico-node", "What datastore calico-node is given could not be seen", node, required=needed)
    unfollowed = next((name for name in decisive if env.get(name, "") is None), None)
    if unfollowed is not None:
        return unknown(
            "not-followed",
            f"{unfollowed} of calico-node decides the datastore, and takes its value from where it could not be "
            "followed.",
            reason=Reason.UNSUPPORTED,
            required=needed,
            remediation=see_variables(node.value),
        )
    if chosen_by is None:
        return _by_objects(given, node.value, needed)
    observed = f"{chosen_by}={excerpt(env[chosen_by] or '', 60)}"
    if env[chosen_by] == rule.needed:
        return passed("kubernetes", "Calico keeps its objects in the Kubernetes API.", observed=observed)
    return unknown(
        "other",
        f"calico-node is given a datastore that no release knows ({observed}).",
        reason=Reason.UNSUPPORTED,
        observed=observed,
        required=needed,
        remediation=see_variables(node.value),
    )


_MIGRATE = Remediation(
    text="Move the objects into the Kubernetes API with calicoctl of the release that runs, and install Calico anew "
    "for that datastore, before anything else.",
    commands=("calicoctl datastore migrate lock", "calicoctl datastore migrate export > calico-objects.yaml"),
    disruptive=True,
)


def _by_objects(given: Given, node: CalicoNode, needed: str) -> Outcome:
    """Judge where no variable chooses the datastore: by where there are objects of Calico's."""
    rule = given.release.calico.datastore
    information, pools, groups = given[_INFORMATION], given[_POOLS], given[_GROUPS]
    for fact in (information, pools, groups):
        if isinstance(fact, Unknown):
            return unseen(
                "objects-unseen", "Whether Calico's objects are in the Kubernetes API could not be told", fact
            )
    served = groups.value if isinstance(groups, Known) else ()
    if rule.crds in served and isinstance(information, Known):
        return passed(
            "detected",
            "No variable of calico-node chooses a datastore: it takes the Kubernetes API, where its objects are.",
            observed=f"ClusterInformation in {rule.crds}",
            required=needed,
        )
    if rule.crds not in served and rule.served not in served and isinstance(pools, Absent) and node.available:
        return fail(
            "etcd-left",
            f"calico-node is at work, and the Kubernetes API has none of Calico's CRDs: its objects can only be in "
            f"etcd, with which nobody looks after Services in eBPF mode of Calico {given.release.version}.",
            observed=f"no API group {rule.crds}",
            required=needed,
            remediation=_MIGRATE,
        )
    return unknown(
        "undecided",
        "No variable of calico-node chooses a datastore, and what there is of Calico's objects in the Kubernetes API "
        "does not tell whether it uses them.",
        reason=Reason.UNSUPPORTED,
        required=needed,
        remediation=see_variables(node),
    )


_PODS = optional(ClusterFacts.calico_pods)


@check(
    id="cluster.calico.version",
    title="Calico's release",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(_INFORMATION, _PODS, _INSTALLATION, _NODE, _POOLS),
)
def calico_version(given: Given) -> Outcome:
    """Whether all of Calico runs one release, and whether that is the one that is judged for."""
    rule, target = given.release.calico, given.release.version
    information, pods, installation = given[_INFORMATION], given[_PODS], given[_INSTALLATION]
    needed = "one release on all nodes"
    if isinstance(given[_NODE], Absent) and isinstance(information, Absent) and isinstance(installation, Absent):
        return passed("not-installed", f"Calico is not installed; what is said here is for {target}.", note=True)
    images = pods.value.images if isinstance(pods, Known) else ()
    named = [image.partition("@")[0].rpartition("/")[2].partition(":") for image, _ in images]
    is_enterprise = isinstance(installation, Known) and installation.value.variant in rule.images.enterprise_variants
    if is_enterprise or any(name in rule.images.enterprise for name, _, _ in named):
        return unknown(
            "enterprise",
            f"Calico Enterprise runs, whose releases are numbered apart: that what holds for Calico {target} holds for "
            "it too cannot be told.",
            reason=Reason.UNSUPPORTED,
        )
    if not isinstance(pods, Known):
        return unseen("pods-unseen", "Whether all pods of calico-node run one release could not be told", pods)
    running: dict[CalicoVersion | None, int] = {}
    for (_, _, tag), (_, count) in zip(named, images, strict=True):
        match = re.fullmatch(rule.images.tag, tag)
        version = None if match is None else CalicoVersion.parse(match[1])
        running[version] = running.get(version, 0) + count
    if len(running) > 1 or (None in running and len(images) > 1):
        return _skewed(given, running)
    said = {
        "ClusterInformation": information.value if isinstance(information, Known) else None,
        "the image of calico-node": next((str(version) for version in running if version is not None), None),
        "the operator": installation.value.calico_version if isinstance(installation, Known) else None,
    }
    parsed = {
        who: version for who, text in said.items() if text and (version := CalicoVersion.of_build(text)) is not None
    }
    if not parsed:
        return unknown(
            "unreadable",
            "Which release of Calico runs could not be read from ClusterInformation, from the tags of images or from "
            "the operator's status.",
            reason=Reason.UNPARSABLE,
            observed=excerpt(", ".join(image for image, _ in images), 120),
            required=needed,
        )
    if len(set(parsed.values())) > 1:
        shown = ", ".join(f"{who} says {version}" for who, version in parsed.items())
        return warn(
            "disagree",
            f"What tells Calico's release does not agree: {shown}. An upgrade is under way or got stuck, or the image "
            "was given another tag; see to it before eBPF mode is enabled.",
            observed=shown,
            required=needed,
            remediation=_ROLL_OUT,
        )
    return _held_against(given, next(iter(parsed.values())), needed)


_ROLL_OUT = Remediation(
    text="See what holds the roll-out up, and let it end; for a DaemonSet in another place, name that one.",
    commands=(
        "kubectl get pods -A -l k8s-app=calico-node -o wide",
        "kubectl -n calico-system rollout status daemonset/calico-node",
    ),
)


def _skewed(given: Given, running: dict[CalicoVersion | None, int]) -> Outcome:
    """Judge pods of calico-node that run different releases, None where an image does not tell."""
    shown = ", ".join(f"{count} x {version or 'an image that does not tell'}" for version, count in running.items())
    step = given.release.calico.vxlan_step.releases
    sides = {version.within(step) for version in running if version is not None}
    what = "release" if len(running) - (None in running) > 1 else "image"
    return warn(
        "skew",
        f"The pods of calico-node do not all run one {what} ({shown}): an upgrade is under way or got stuck. End it "
        "before eBPF mode is enabled"
        + (
            "; nodes of some of these releases have lost traffic of the hosts over VXLAN to those of others."
            if {True, False} <= sides
            else "."
        ),
        observed=shown,
        required="one release on all nodes",
        remediation=_ROLL_OUT,
    )


def _held_against(given: Given, running: CalicoVersion, needed: str) -> Outcome:
    """Judge the one release that runs against the one that is judged for."""
    rule, target = given.release.calico, given.release.version
    is_same = (running.major, running.minor) == (target.major, target.minor) and (
        None in (running.patch, target.patch) or running.patch == target.patch
    )
    if running.within(rule.mode.since) is False:
        return warn(
            "before-ebpf",
            f"Calico {running} runs, which has no eBPF mode; what is said here is for {target}. Upgrade first.",
            observed=str(running),
            required=f"{target}, the release that is judged for",
        )
    if given.release.is_preview:
        return warn(
            "preview",
            f"eBPF mode of Calico {target} is a technology preview, not meant for production.",
            observed=str(running),
            required="a release in which eBPF mode is supported",
            remediation=Remediation(text="Upgrade Calico before eBPF mode is enabled."),
        )
    bug = next(iter(given.release.vxlan_bugs), None)
    pools = given[_POOLS]
    if bug is not None and isinstance(pools, Unknown):
        return unseen("pools-unseen", f"Whether a bug with VXLAN of Calico {target} matters could not be told", pools)
    if bug is not None and isinstance(pools, Known) and any(pool.vxlan_mode != "Never" for pool in pools.value):
        some = "" if target.within(bug.releases) else "in some of its patches "
        return warn(
            "vxlan-bug",
            f"In eBPF mode of Calico {target} {some}{bug.effect}: pods on both sides lose each other meanwhile.",
            observed=f"{target}, and IPPools with VXLAN",
            required=f"{bug.fixed_in} or later",
            remediation=Remediation(text=f"Upgrade to {bug.fixed_in} or later before eBPF mode is enabled."),
        )
    if not is_same:
        return passed(
            "other-target",
            f"Calico {running} runs, and what is said here is for {target}: change to that release before eBPF mode is "
            "enabled.",
            observed=str(running),
            required=needed,
            note=True,
        )
    return passed("same", f"All of Calico runs {running}.", observed=str(running), required=needed)


_FELIX = optional(ClusterFacts.felix_default)
_SETTINGS = over_nodes(NodeKind.felix)
_PER_NODE = optional(ClusterFacts.felix_per_node)


@check(
    id="cluster.dataplane",
    title="Dataplane in use",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_INSTALLATION, _FELIX, _SETTINGS, _PER_NODE, _NODE),
)
def dataplane(given: Given) -> Outcome:
    """Which dataplane is configured, and whether all nodes are told the same."""
    rule = given.release.calico
    node, installation, felix = given[_NODE], given[_INSTALLATION], given[_FELIX]
    needed = "the same dataplane of Felix's on all nodes"
    asked = installation.value.linux_dataplane if isinstance(installation, Known) else None
    driver = dict(node.value.env).get(rule.felix.own_dataplane, "") if isinstance(node, Known) else ""
    if asked == rule.operator.vpp or (driver and driver.lower() not in rule.felix.true_words):
        seen = f"linuxDataplane is {asked}" if asked == rule.operator.vpp else f"{rule.felix.own_dataplane} is false"
        return fail(
            "other-dataplane",
            f"Calico runs another dataplane than Felix's own, such as VPP ({seen}): eBPF mode excludes that.",
            observed=seen,
            required=needed,
            remediation=Remediation(
                text="Choose one of the two. To leave the other, uninstall it by its own guide, with the workloads "
                "moved away.",
                disruptive=True,
            ),
        )
    if isinstance(node, Absent) and isinstance(installation, Absent):
        return not_applicable("no-calico", "Calico is not installed, and has no dataplane yet.")
    for fact in (felix, node, *(() if given.install == "manifest" else (installation,))):
        if isinstance(fact, Unknown):
            return unseen("unseen", "Which dataplane is configured could not be told", fact, required=needed)
    shares = given[_SETTINGS]
    for share in shares:
        if isinstance(share.fact, Unknown):
            return unseen("nodes-unseen", "Which dataplane the nodes are told could not be seen", share.fact)
    total = sum(share.nodes for share in shares)
    if total == 0:
        return unknown(
            "no-nodes", "There are no nodes to be told a dataplane.", reason=Reason.NOT_COLLECTED, required=needed
        )
    on = sum(share.nodes for share in shares if isinstance(share.fact, Known) and share.fact.value.bpf_enabled)
    if 0 < on < total:
        return _mixed(given, on, total, needed)
    if on:
        return _on(given, asked, needed)
    if isinstance(felix, Known) and felix.value.settings.bpf_enabled:
        return warn(
            "not-in-force",
            "FelixConfiguration default sets bpfEnabled, and no node is told so, since something that outranks it says "
            "otherwise: a variable of calico-node (cluster.felix.env-override) or a FelixConfiguration for the node.",
            observed="bpfEnabled in default, and on no node",
            required=needed,
            remediation=Remediation(text="See what outranks it.", commands=(SEE_BPF_ENABLED,)),
        )
    if asked == rule.operator.bpf:
        return _half(given, needed)
    words = f"; the Installation asks for {excerpt(asked, 40)}" if asked else ""
    return passed(
        "off",
        f"eBPF mode is off, and all nodes are told the same{words}.",
        observed=excerpt(asked, 40) if asked else "bpfEnabled is not true",
        required=needed,
    )


def _mixed(given: Given, on: int, total: int, needed: str) -> Outcome:
    """Judge where some nodes alone are told to run eBPF mode."""
    what, observed = f"{on} of {total} nodes are told to run eBPF mode", f"bpfEnabled on {on} of {total} nodes"
    per_node = given[_PER_NODE]
    if isinstance(per_node, Known) and any(spec.bpf_enabled is not None for spec, _ in per_node.value):
        return fail(
            "mixed",
            f"{what}, by FelixConfigurations for some nodes: see cluster.felix.per-node.",
            observed=observed,
            required=needed,
        )
    return fail(
        "mixed",
        f"{what} and the others are not, which is not supported: NodePort traffic from one kind to the other is "
        "dropped.",
        observed=observed,
        required=needed,
        remediation=Remediation(text="See what tells them apart: one setting for all.", commands=(SEE_BPF_ENABLED,)),
    )


SEE_BPF_ENABLED = "kubectl get felixconfigurations -o custom-columns=NAME:.metadata.name,BPF:.spec.bpfEnabled"
_SEE_STATUS = "kubectl get tigerastatus calico -o yaml"


def _on(given: Given, asked: str | None, needed: str) -> Outcome:
    """Judge where all nodes are told to run eBPF mode."""
    rule, felix = given.release.calico.operator, given[_FELIX]
    bpf, shown = rule.bpf, excerpt(asked or "", 40)
    is_by_hand = (
        given.release.operator_sets_felix
        and isinstance(felix, Known)
        and felix.value.settings.bpf_enabled is True
        and (felix.value.operator_bpf_enabled or "") not in rule.true_words
    )
    if asked not in (None, bpf) and is_by_hand:
        return warn(
            "against-installation",
            f"All nodes are told to run eBPF mode past the operator, whose Installation asks for {shown}: see "
            "cluster.felix.ownership.",
            observed=f"bpfEnabled, with linuxDataplane {shown}",
            required=f"linuxDataplane {bpf}",
        )
    if asked not in (None, bpf):
        return warn(
            "against-installation",
            f"All nodes are told to run eBPF mode, and the Installation asks for {shown}: the operator turns eBPF mode "
            "off, or refuses to go on, and calico-node is not made for it.",
            observed=f"bpfEnabled, with linuxDataplane {shown}",
            required=f"linuxDataplane {bpf}",
            remediation=Remediation(
                text="Where eBPF mode is meant to be on, let the Installation say so.",
                commands=(ASK_FOR_BPF,),
                disruptive=True,
            ),
        )
    return passed(
        "on",
        "eBPF mode is configured for all nodes. Whether it runs on each of them this does not tell: where the kernel "
        "or something else does not fit, Felix falls back without a word in the API.",
        observed="bpfEnabled on all nodes",
        required=needed,
        note=True,
    )


ASK_FOR_BPF = (
    """kubectl patch installation default --type merge -p '{"spec":{"calicoNetwork":{"linuxDataplane":"BPF"}}}'"""
)


def _half(given: Given, needed: str) -> Outcome:
    """Judge an Installation that asks for eBPF mode while no node is told to run it."""
    node = given[_NODE]
    what = "The Installation asks for eBPF mode, and no node is told to run it"
    waits: list[str] = []
    if isinstance(node, Known):
        found = node.value
        if not found.is_observed:
            waits.append("its new template has not been taken up yet")
        if found.updated != found.desired:
            waits.append(f"{found.updated} of {found.desired} pods are of the new template")
        if found.available != found.desired:
            waits.append(f"{found.available} of {found.desired} pods are available")
    else:
        waits.append("it is not there yet")
    if waits:
        return warn(
            "rolling-out",
            f"{what} yet: the operator waits for the roll-out of calico-node ({', '.join(waits)}). One node that is "
            "not Ready holds the switch up for good.",
            observed=", ".join(waits),
            required=needed,
            remediation=Remediation(
                text="See which pods are not ready and why; take nodes that are gone out of the cluster.",
                commands=("kubectl -n calico-system get pods -l k8s-app=calico-node -o wide", _SEE_STATUS),
            ),
        )
    return warn(
        "stuck",
        f"{what}, although all pods of calico-node are updated and available: the operator has not come to it, or "
        "refuses: see cluster.calico.operator and cluster.felix.ownership.",
        observed="linuxDataplane BPF, and bpfEnabled is not true",
        required=needed,
        remediation=Remediation(text="See what the operator says.", commands=(_SEE_STATUS,)),
    )


_SYSTEMS = over_nodes(NodeKind.operating_system)
_COUNT = optional(ClusterFacts.node_count)


@check(
    id="cluster.nodes.windows",
    title="Windows nodes",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_SYSTEMS, _COUNT),
)
def windows(given: Given) -> Outcome:
    """Whether all nodes run Linux."""
    rule, count = given.release.calico.operating_systems, given[_COUNT]
    shares = given[_SYSTEMS]
    listed = sum(share.nodes for share in shares)
    needed = "Linux on all nodes"
    unsupported = sum(
        share.nodes for share in shares if isinstance(share.fact, Known) and share.fact.value == rule.unsupported
    )
    if unsupported:
        of = f"{count.value} nodes" if isinstance(count, Known) else f"the {listed} nodes that could be listed"
        return fail(
            "windows",
            f"{unsupported} of {of} run Windows, where there is no eBPF mode. Calico {given.release.version} does not "
            "support it beside Linux nodes in eBPF mode: NodePort traffic from those to Windows nodes is dropped.",
            observed=f"{unsupported} Windows nodes",
            required=needed,
            remediation=Remediation(
                text="Keep the standard dataplane here, or move what runs on Windows to a cluster of its own.",
                commands=("kubectl get nodes -l kubernetes.io/os=windows",),
            ),
        )
    if isinstance(count, Known) and count.value == listed:
        unclear = [share for share in shares if not isinstance(share.fact, Known) or share.fact.value != rule.needed]
        if not listed:
            return unknown("no-nodes", "There are no nodes yet.", reason=Reason.NOT_COLLECTED, required=needed)
        if not unclear:
            return passed("linux", f"All {listed} nodes run Linux.", observed=f"{listed} Linux nodes", required=needed)
        nodes, fact = sum(share.nodes for share in unclear), unclear[0].fact
        what = f"Which operating system {nodes} of {listed} nodes run could not be told"
        if isinstance(fact, Known):
            return unknown(
                "other-system",
                f"{what}: kubelet calls it {excerpt(fact.value, 40)!r}.",
                reason=Reason.UNSUPPORTED,
                required=needed,
            )
        return unseen("system-unseen", what, fact, required=needed)
    if isinstance(count, Known):
        return unknown(
            "not-all",
            f"{listed} of {count.value} nodes could be read, and none of them runs Windows.",
            reason=Reason.UNPARSABLE,
            required=needed,
        )
    return unseen("not-listed", "Whether all nodes run Linux could not be told", count, required=needed)
