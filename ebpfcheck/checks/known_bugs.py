"""Bugs of eBPF mode that the target release is known to have, as far as the cluster's API tells whom they concern."""

from collections.abc import Callable, Iterable

from ebpfcheck.checks.kube_proxy_state import felix_of, is_on
from ebpfcheck.knowledge.known_bug_tables import Condition, KnownBug
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import (
    Given,
    Outcome,
    Share,
    check,
    fail,
    optional,
    over_nodes,
    passed,
    settled,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import ClusterFacts, IpPool
from ebpfcheck.model.facts import Fact, FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.versions import CalicoVersion

_NODE = settled(ClusterFacts.calico_node)
_RUNNING = optional(ClusterFacts.calico_version)
_INSTALLATION = optional(ClusterFacts.installation)
_POOLS = optional(ClusterFacts.ip_pools)
_SERVICES = optional(ClusterFacts.services)
_CALICO_POLICIES = optional(ClusterFacts.calico_policies)
_NETWORK_POLICIES = optional(ClusterFacts.network_policies)
_OTHER_NETWORKS = optional(ClusterFacts.other_networks)
_FELIX = over_nodes(NodeKind.felix)
_SYSTEMS = over_nodes(NodeKind.os_image)
_HARDEN = over_nodes(NodeKind.bpf_jit_harden)

_HARDENED_FOR_ALL = 2
_OFF = "Never"

Answer = bool | Unknown
"""Whether something holds, or why that could not be told."""


def _all_of(answers: Iterable[Answer]) -> Answer:
    found = tuple(answers)
    if any(answer is False for answer in found):
        return False
    return next((answer for answer in found if isinstance(answer, Unknown)), True)


def _one_of(answers: Iterable[Answer]) -> Answer:
    found = tuple(answers)
    if any(answer is True for answer in found):
        return True
    return next((answer for answer in found if isinstance(answer, Unknown)), False)


def _felix(holds: Callable[[FelixSettings], bool]) -> Callable[[Given], Answer]:
    def answer(given: Given) -> Answer:
        felix = felix_of(given)
        return True if felix.nodes(holds) else felix.unseen or False

    return answer


def _pools(holds: Callable[[IpPool], bool]) -> Callable[[Given], Answer]:
    def answer(given: Given) -> Answer:
        pools = given[_POOLS]
        if isinstance(pools, Unknown):
            return pools
        return isinstance(pools, Known) and any(holds(pool) for pool in pools.value if not pool.disabled)

    return answer


def _begins(shares: tuple[Share[str], ...], beginnings: tuple[str, ...]) -> Answer:
    """Whether the text of some node begins so."""
    if not shares:
        return Unknown(reason=Reason.NOT_COLLECTED, detail="no node was seen")
    return _one_of(_text_begins(share.fact, beginnings) for share in shares)


def _text_begins(fact: Fact[str], beginnings: tuple[str, ...]) -> Answer:
    return fact if isinstance(fact, Unknown) else isinstance(fact, Known) and fact.value.startswith(beginnings)


def _uses_aws_cni(given: Given) -> Answer:
    rule = given.release.known_bugs.aws_cni
    installation, others = given[_INSTALLATION], given[_OTHER_NETWORKS]
    if isinstance(installation, Known) and installation.value.cni_type is not None:
        return installation.value.cni_type == rule.plugin
    if isinstance(others, Unknown):
        return others
    return isinstance(others, Known) and any(other.rpartition("/")[2] == rule.daemon_set for other in others.value)


def _bootstraps(given: Given) -> Answer:
    installation = given[_INSTALLATION]
    if isinstance(installation, Unknown):
        return False if given.install == "manifest" else installation
    return isinstance(installation, Known) and installation.value.bpf_network_bootstrap == "Enabled"


def _is_hardened(given: Given) -> Answer:
    seen = [share.fact for share in given[_HARDEN]]
    if any(isinstance(fact, Known) and fact.value == _HARDENED_FOR_ALL for fact in seen):
        return True
    if seen and not any(isinstance(fact, Unknown) for fact in seen):
        return False
    return _begins(given[_SYSTEMS], given.release.known_bugs.hardened.systems)


def _has_node_ports(given: Given) -> Answer:
    services = given[_SERVICES]
    if isinstance(services, Unknown):
        return services
    return isinstance(services, Known) and services.value.of_node_ports.count > 0


def _has_policies(given: Given) -> Answer:
    facts = (given[_CALICO_POLICIES], given[_NETWORK_POLICIES])
    return _one_of(
        fact if isinstance(fact, Unknown) else isinstance(fact, Known) and fact.value.count > 0 for fact in facts
    )


def _has_own_map_sizes(given: Given) -> Answer:
    usual = given.release.known_bugs.map_sizes
    return _felix(
        lambda felix: (
            felix.bpf_map_size_conntrack not in (None, usual.conntrack)
            or felix.bpf_map_size_nat_frontend not in (None, usual.nat_frontend)
            or felix.bpf_map_size_nat_backend not in (None, usual.nat_backend)
        )
    )(given)


_CONDITIONS: dict[Condition, Callable[[Given], Answer]] = {
    "aws-cni": _uses_aws_cni,
    "bootstrap": _bootstraps,
    "debug-log": _felix(lambda felix: (felix.bpf_log_level or "").lower() == "debug"),
    "ebpf-on": _felix(is_on),
    "hardened": _is_hardened,
    "ipv6": _pools(lambda pool: ":" in pool.cidr),
    "map-sizes": _has_own_map_sizes,
    "node-ports": _has_node_ports,
    "policies": _has_policies,
    "vxlan": _pools(lambda pool: pool.vxlan_mode != _OFF),
}


def _runs(given: Given, releases: str) -> Answer:
    running = given[_RUNNING]
    if isinstance(running, Unknown):
        return running
    version = CalicoVersion.of_build(running.value) if isinstance(running, Known) else None
    return version is not None and version.within(releases) is not False


def _concerns(given: Given, bug: KnownBug) -> Answer:
    """Whether a bug of the release concerns the cluster."""
    return _all_of(
        (
            *(_CONDITIONS[condition](given) for condition in bug.when),
            *((_runs(given, bug.running),) if bug.running else ()),
        )
    )


def _is_affected(version: CalicoVersion, bug: KnownBug) -> bool | None:
    """Whether a release has a bug; None where some of its patches do."""
    answers = [version.within(releases) for releases in bug.releases]
    return True if True in answers else None if None in answers else False


def _bugs_of(release: Release) -> list[KnownBug]:
    return [bug for bug in release.known_bugs.bug if _is_affected(release.version, bug) is not False]


def _severity(release: Release) -> Severity | None:
    bugs = _bugs_of(release)
    if any(bug.status == "fail" for bug in bugs):
        return Severity.BLOCKER
    return Severity.DEGRADE if bugs else None


@check(
    id="cluster.calico.known-bad",
    title="Known bugs of the release",
    category="cluster",
    scope="cluster",
    severity=_severity,
    needs=(
        _NODE, _RUNNING, _INSTALLATION, _POOLS, _SERVICES, _CALICO_POLICIES, _NETWORK_POLICIES, _OTHER_NETWORKS,
        _FELIX, _SYSTEMS, _HARDEN,
    ),
)  # fmt: skip
def known_bad(given: Given) -> Outcome:
    """Whether a bug of eBPF mode that the release is known to have concerns the cluster."""
    calico = given.release.version
    answers = [(bug, _concerns(given, bug)) for bug in _bugs_of(given.release)]
    found = [bug for bug, answer in answers if answer is True]
    hidden = [(bug, answer) for bug, answer in answers if isinstance(answer, Unknown)]
    worst = next((bug for status in ("fail", "warn", "note") for bug in found if bug.status == status), None)
    rest = _rest(found, worst, [bug for bug, _ in hidden])
    if worst is not None and worst.status == "fail":
        return _failing(given, worst, rest)
    is_warned = worst is not None and worst.status == "warn"
    for bug, answer in hidden:
        if bug.status == "fail" or (bug.status == "warn" and not is_warned):
            return unseen(
                f"{bug.id}-unseen",
                f"Whether a known bug of Calico {calico} concerns this cluster ({bug.title}) could not be told",
                answer,
            )
    if worst is None:
        return passed(
            "none",
            f"No known bug of eBPF mode in Calico {calico} is seen to concern this cluster.{rest}",
            note=bool(hidden),
        )
    if worst.status == "note":
        return passed(worst.id, _message(given, worst, rest), observed=worst.title, required=worst.fixed_in, note=True)
    return warn(
        worst.id,
        _message(given, worst, rest),
        observed=worst.title,
        required=worst.fixed_in,
        remediation=Remediation(text=worst.remedy, commands=worst.commands),
    )


def _failing(given: Given, bug: KnownBug, rest: str) -> Outcome:
    fix = Remediation(text=bug.remedy, commands=bug.commands)
    if _is_affected(given.release.version, bug) is None:
        return unknown(
            f"{bug.id}-patch",
            f"{_message(given, bug, rest)} Say which patch it is with --calico-version.",
            reason=Reason.NOT_COLLECTED,
            observed=bug.title,
            required=bug.fixed_in,
            remediation=fix,
        )
    return fail(bug.id, _message(given, bug, rest), observed=bug.title, required=bug.fixed_in, remediation=fix)


def _message(given: Given, bug: KnownBug, rest: str) -> str:
    calico = given.release.version
    some = "" if _is_affected(calico, bug) else ", in some of its patches,"
    fixed = f" (fixed in {bug.fixed_in})" if bug.fixed_in else ""
    return f"Calico {calico} has{some} a known bug in eBPF mode{fixed}: {bug.effect}.{rest}"


def _rest(found: list[KnownBug], worst: KnownBug | None, hidden: list[KnownBug]) -> str:
    """Return what is said of the bugs that the message is not about."""
    others = "; ".join(bug.title for bug in found if bug is not worst)
    open_ = "; ".join(bug.title for bug in hidden)
    return (f" It has others that concern it: {others}." if others else "") + (
        f" Whether these do could not be told: {open_}." if open_ else ""
    )
