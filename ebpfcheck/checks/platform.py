"""The platform of a cluster: which it is, what shows it, and what eBPF mode meets there."""

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from ebpfcheck.knowledge.platform_tables import PlatformEntry, PlatformRule, SpecialNodes
from ebpfcheck.model.check import (
    Given,
    Need,
    Outcome,
    Share,
    check,
    fail,
    optional,
    over_nodes,
    passed,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import ClusterFacts, Installation
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity, Status
from ebpfcheck.model.text import excerpt

T = TypeVar("T")

_MARKS = over_nodes(NodeKind.platform_marks)
_PROVIDERS = over_nodes(NodeKind.provider)
_KUBELETS = over_nodes(NodeKind.kubelet_version)
_OS_IMAGES = over_nodes(NodeKind.os_image)
_KERNELS = over_nodes(NodeKind.kernel_release)
_SERVER = optional(ClusterFacts.server_version)
_GROUPS = optional(ClusterFacts.api_groups)
_KUBEADM = optional(ClusterFacts.kubeadm)
_INSTALLATION = optional(ClusterFacts.installation)
_NODE_COUNT = optional(ClusterFacts.node_count)
_KUBE_PROXY = optional(ClusterFacts.kube_proxy)
_OTHER_NETWORKS = optional(ClusterFacts.other_networks)
_CALICO_NODE = optional(ClusterFacts.calico_node)
_FELIX = over_nodes(NodeKind.felix)
PLATFORM_NEEDS = (_MARKS, _PROVIDERS, _KUBELETS, _OS_IMAGES, _SERVER, _GROUPS, _KUBEADM, _INSTALLATION)

_WORST_FIRST = (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.PASS)


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """A platform that was recognised, and what shows it."""

    entry: PlatformEntry
    title: str
    """Its name for people, with kinds of nodes that stand out."""
    evidence: tuple[str, ...]
    also: tuple[str, ...] = ()
    """The titles of others that it shows marks of."""


def platform_of(given: Given) -> Platform | None:
    """Return the platform, the most telling one where marks of several are seen; asks for PLATFORM_NEEDS."""
    found = [
        (entry, signs, hints)
        for entry in given.release.platforms.platform
        if (signs := tuple(dict.fromkeys(_signs(given, entry)))) + (hints := tuple(_hints(given, entry)))
    ]
    if not found:
        return None
    # API groups and the Installation's word may be of something that was installed or written by mistake.
    found.sort(key=lambda one: not one[1])
    entry, signs, hints = found[0]
    kinds = [special.name for special in given.release.platforms.special if _special_nodes(given, entry, special)]
    return Platform(
        entry=entry,
        title=entry.title + (f" with {' and '.join(kinds)} nodes" if kinds else ""),
        evidence=(*signs, *hints),
        also=tuple(other.title for other, _, _ in found[1:] if not other.generic),
    )


def _signs(given: Given, entry: PlatformEntry) -> Iterator[str]:
    """Tell what nodes, the API server and kubeadm show of a platform."""
    # Told by what, not on how many nodes: the evidence stays the same while the cluster grows.
    marks = sorted({mark for share in given[_MARKS] for mark in _known(share) or ()})
    # One for each beginning: a platform has many labels of the same kind.
    telling = {next((mark for mark in marks if mark.startswith(prefix)), "") for prefix in entry.marks}
    yield from (f"nodes carry {excerpt(mark, 80)}" for mark in sorted(telling - {""}))
    yield from (f"providerID {text}://" for text in _texts(given, _PROVIDERS) if text in entry.providers)
    for text in _texts(given, _KUBELETS):
        if any(part in text for part in entry.kubelets):
            yield f"kubelet {excerpt(text, 60)}"
    yield from (f"system {excerpt(text, 60)}" for text in _texts(given, _OS_IMAGES) if text.startswith(entry.os_images))
    server, kubeadm = given[_SERVER], given[_KUBEADM]
    if isinstance(server, Known) and any(part in server.value for part in entry.servers):
        yield f"API server {excerpt(server.value, 60)}"
    if isinstance(kubeadm, Known) and kubeadm.value.cluster_name in entry.kubeadm_names:
        yield f"kubeadm's configuration names the cluster {excerpt(kubeadm.value.cluster_name, 60)}"


def _hints(given: Given, entry: PlatformEntry) -> Iterator[str]:
    """Tell what else speaks for a platform."""
    groups, installation = given[_GROUPS], given[_INSTALLATION]
    if isinstance(groups, Known):
        yield from (f"API group {group}" for group in entry.groups if group in groups.value)
    if isinstance(installation, Known) and entry.operator and installation.value.kubernetes_provider == entry.operator:
        yield f"the Installation's kubernetesProvider is {entry.operator}"


def _texts(given: Given, need: Need[tuple[Share[str], ...]]) -> list[str]:
    return sorted({text for share in given[need] if (text := _known(share))})


def _known(share: Share[T]) -> T | None:
    return share.fact.value if isinstance(share.fact, Known) else None


def _special_nodes(given: Given, entry: PlatformEntry, special: SpecialNodes) -> int:
    """Return how many nodes are of a special kind."""
    if special.platform != entry.name:
        return 0
    return sum(share.nodes for share in given[_MARKS] if special.mark in (_known(share) or ()))


@check(
    id="cluster.platform",
    title="Platform",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(*PLATFORM_NEEDS, _KERNELS, _NODE_COUNT, _KUBE_PROXY, _OTHER_NETWORKS, _CALICO_NODE, _FELIX),
)
def cluster_platform(given: Given) -> Outcome:
    """Whether the platform lets eBPF mode be."""
    platform = platform_of(given)
    outcomes = [_not_recognised(given)] if platform is None else list(_of_platform(given, platform))
    other = _other_network(given)
    if other is not None:
        outcomes.append(other)
    return next(one for status in _WORST_FIRST for one in outcomes if one.status is status)


_GRANT = "Grant what `ebpfcheck rbac` prints."


def _not_recognised(given: Given) -> Outcome:
    shares, count = given[_MARKS], given[_NODE_COUNT]
    if isinstance(count, Known) and not count.value:
        return unknown(
            "no-nodes",
            "Which platform this is cannot be told, as it has no nodes yet.",
            reason=Reason.NOT_COLLECTED,
        )
    if not shares or any(not isinstance(share.fact, Known) for share in shares):
        reason = count.reason if isinstance(count, Unknown) else Reason.NOT_COLLECTED
        return unknown(
            "nodes-unseen",
            "Which platform this is could not be told, as its nodes could not be looked at.",
            reason=reason,
            remediation=Remediation(text=_GRANT) if reason is Reason.FORBIDDEN else None,
        )
    return passed(
        "not-recognised",
        "This is no platform that is known here: it is judged by what holds for all.",
        note=True,
    )


def _of_platform(given: Given, platform: Platform) -> Iterator[Outcome]:
    """Say all that there is to say of a platform; the last word is a pass."""
    observed = "; ".join(platform.evidence[:4])
    note: str | None = None
    rule = _of_rules(given, platform, observed)
    if isinstance(rule, Outcome):
        yield rule
    else:
        note = rule
    yield from _of_special(given, platform, observed)
    yield from _old_kernel(given, platform, observed)
    count = given[_NODE_COUNT]
    if isinstance(count, Unknown) and not any(share.nodes for share in given[_MARKS]):
        yield unseen(
            "of-nodes-unseen",
            f"The cluster is {platform.title}; what is to be said of its nodes could not be told",
            count,
            observed=observed,
        )
    others = f", with marks of {' and '.join(platform.also)}" if platform.also else ""
    yield passed(
        platform.entry.name,
        f"The cluster is {platform.title}{others}"
        + ("; nothing of it stands in the way of eBPF mode." if note is None else f": {note}."),
        observed=observed,
        note=note is not None,
    )


def _of_rules(given: Given, platform: Platform, observed: str) -> Outcome | str | None:
    """Return what the tables say of a platform at this release: an outcome, a note, or nothing."""
    calico, entry = given.release.version, platform.entry
    hidden: tuple[PlatformRule, Unknown] | None = None
    found: PlatformRule | None = None
    for rule in entry.rule:
        met = False if calico.within(rule.releases) is False else _is_met(given, entry, rule)
        if met is True:
            found = rule
            break
        if isinstance(met, Unknown) and hidden is None:
            hidden = rule, met
    # Where what was not seen would have changed the words alone, nothing is lost.
    if hidden is not None and hidden[0].status != (found.status if found else "note"):
        return unseen(
            f"{entry.name}-unseen",
            f"The cluster is {platform.title}, where it may be that {hidden[0].message}; that could not be told",
            hidden[1],
            observed=observed,
        )
    if found is None:
        return None
    if calico.within(found.releases) is None:
        return unknown(
            f"{entry.name}-patch",
            f"On {platform.title} the patch of Calico {calico} decides: with some of them, {found.message}.",
            reason=Reason.NOT_COLLECTED,
            observed=observed,
            remediation=Remediation(text="Say which patch it is with --calico-version."),
        )
    if found.status == "note":
        return found.message
    say = fail if found.status == "fail" else warn
    return say(
        f"{entry.name}-{found.status}",
        f"The cluster is {platform.title}: with Calico {calico}, {found.message}.",
        observed=observed,
        remediation=Remediation(text=found.remedy, commands=found.commands),
    )


def _is_met(given: Given, entry: PlatformEntry, rule: PlatformRule) -> bool | Unknown:
    """Whether what narrows a rule down is there; Unknown where that was not seen and nothing else rules it out."""
    installation, networks = given[_INSTALLATION], given[_OTHER_NETWORKS]
    asked = installation.value if isinstance(installation, Known) else Installation()
    others = [other.rpartition("/")[2] for other in networks.value] if isinstance(networks, Known) else []
    ways: list[tuple[bool, Fact[Any], bool]] = [
        (rule.of_kube_proxy, given[_KUBE_PROXY], not isinstance(given[_KUBE_PROXY], Absent)),
        (bool(rule.cni), installation, rule.cni == asked.cni_type),
        (bool(rule.label), installation, tuple(rule.label.split("=")) in asked.marks.labels),
        (bool(rule.daemon_set), networks, rule.daemon_set in others),
        (bool(rule.cgroup_path), _cgroup_fact(given, entry), rule.cgroup_path == _cgroup_path(given, entry)),
        (bool(rule.vxlan_port), _felix_fact(given), rule.vxlan_port in _vxlan_ports(given)),
    ]
    asked_for = [(fact, is_so) for is_asked, fact, is_so in ways if is_asked]
    # That kube-proxy could not be seen does not tell that it is gone.
    hidden = [fact for fact, is_so in asked_for if not is_so and isinstance(fact, Unknown)]
    if any(not is_so and not isinstance(fact, Unknown) for fact, is_so in asked_for):
        return False
    return hidden[0] if hidden else True


def _felix_fact(given: Given) -> Fact[FelixSettings]:
    """Return a fact that is Unknown where the settings of some nodes are, or there are no nodes."""
    shares = given[_FELIX]
    if not shares:
        return Unknown(reason=Reason.NOT_COLLECTED, detail="no node was seen")
    return next((share.fact for share in shares if isinstance(share.fact, Unknown)), shares[0].fact)


def _felix(given: Given) -> list[FelixSettings]:
    """Return the settings that are known of nodes; without FelixConfiguration Felix has its defaults."""
    return [
        share.fact.value if isinstance(share.fact, Known) else FelixSettings()
        for share in given[_FELIX]
        if not isinstance(share.fact, Unknown)
    ]


def _cgroup_fact(given: Given, entry: PlatformEntry) -> Fact[Any]:
    """Return a fact that is Unknown where the path of cgroup2 is."""
    node, felix = given[_CALICO_NODE], _felix_fact(given)
    if _cgroup_path(given, entry) is not None:
        return node
    hidden = felix if isinstance(felix, Unknown) and given.install != "manifest" else node
    if isinstance(hidden, Unknown):
        return hidden
    return Unknown(reason=Reason.UNSUPPORTED, detail=f"{_CGROUP_VARIABLE} of calico-node could not be followed")


def _cgroup_path(given: Given, entry: PlatformEntry) -> str | None:
    """Return what calico-node is told of the path of cgroup2 (right, other, missing), None where that is not known.

    It reads a variable. Manifests give it that; the operator gives it to the init container from FelixConfiguration.
    """
    node, needed = given[_CALICO_NODE], given.release.cgroup2.other_path.get(entry.name)
    paths: set[str | None] = set()
    if given.install != "manifest":
        if not given[_FELIX] or any(isinstance(share.fact, Unknown) for share in given[_FELIX]):
            return None
        paths = {felix.cgroup_v2_path or None for felix in _felix(given)}
    variable = dict(node.value.env).get(_CGROUP_VARIABLE, "") if isinstance(node, Known) else ""
    if paths <= {None}:
        if not isinstance(node, Known) or variable is None:
            return None
        paths = {variable or None}
    if None in paths:
        return "missing"
    return "right" if paths == {needed} else "other"


_CGROUP_VARIABLE = "CALICO_CGROUP_PATH"


def _vxlan_ports(given: Given) -> set[int]:
    usual = given.release.network.vxlan.port
    return {felix.vxlan_port or usual for felix in _felix(given)}


def spare_vxlan_port(given: Given, used: int) -> int | None:
    """Return what to set vxlanPort to where a platform takes the one in use for itself; asks for PLATFORM_NEEDS."""
    platform, calico = platform_of(given), given.release.version
    rules = platform.entry.rule if platform is not None else ()
    ports = (one.spare_vxlan_port for one in rules if one.vxlan_port == used and calico.within(one.releases) is True)
    return next(ports, None)


def _of_special(given: Given, platform: Platform, observed: str) -> Iterator[Outcome]:
    total, count = sum(share.nodes for share in given[_MARKS]), given[_NODE_COUNT]
    for special in given.release.platforms.special:
        nodes = _special_nodes(given, platform.entry, special)
        if not nodes:
            continue
        # Of a list that was cut nobody knows whether the rest is of that kind too.
        are_all = nodes == total and isinstance(count, Known)
        status = special.all_status if are_all else special.status
        message = f"{nodes} of {total} nodes are {platform.entry.title} {special.name} nodes: {special.message}."
        fix = Remediation(text=special.remedy)
        if status == "unknown":
            yield unknown(special.name, message, reason=Reason.UNSUPPORTED, observed=observed, remediation=fix)
        else:
            say = fail if status == "fail" else warn
            yield say(special.name, message, observed=observed, remediation=fix)


def _old_kernel(given: Given, platform: Platform, observed: str) -> Iterator[Outcome]:
    old, shares = given.release.platforms.old_kernel, given[_KERNELS]
    if platform.entry.name != old.platform:
        return
    found = [
        (kernel, share.nodes)
        for share in shares
        if (kernel := _known(share) or "").startswith(old.kernel) and old.build in kernel
    ]
    if found:
        yield warn(
            "old-default-kernel",
            f"{sum(nodes for _, nodes in found)} of {sum(share.nodes for share in shares)} nodes run kernel "
            f"{excerpt(found[0][0], 60)}: {old.message}.",
            observed=observed,
            required="a newer kernel",
            remediation=Remediation(text=old.remedy, disruptive=True),
        )


def _other_network(given: Given) -> Outcome | None:
    """Return what is to be said where the dataplane is another's, or might be."""
    networks, node = given[_OTHER_NETWORKS], given[_CALICO_NODE]
    if isinstance(networks, Unknown):
        return unseen("networks-unseen", "Whether another dataplane runs the network could not be told", networks)
    names = given.release.platforms.other_networks.names
    listed = networks.value if isinstance(networks, Known) else ()
    found = [network for network in listed if network.rpartition("/")[2] in names]
    if not found:
        return None
    shown = excerpt(", ".join(found), 120)
    if isinstance(node, Unknown):
        return unseen("calico-unseen", f"{shown} runs; whether Calico does could not be told", node, observed=shown)
    if isinstance(node, Absent):
        return fail(
            "other-network",
            f"The cluster's network is run by {shown}, and Calico is not installed: its eBPF mode has nothing to take "
            "over.",
            observed=shown,
            required="calico-node, and no other dataplane",
            remediation=Remediation(text="Move to Calico as the cluster's network first, if that is what you want."),
        )
    return warn(
        "two-networks",
        f"{shown} runs beside Calico: two dataplanes on one node take packets from each other.",
        observed=shown,
        required="calico-node, and no other dataplane",
        remediation=Remediation(text="Find out which of the two the pods use, and remove the other.", disruptive=True),
    )
