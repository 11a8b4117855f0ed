"""What policies ask for that not every release's eBPF mode does: host endpoints, doNotTrack, the action Log."""

from ebpfcheck.checks.kube_proxy_state import felix_of
from ebpfcheck.checks.naming import counted
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import (
    Given,
    Outcome,
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
from ebpfcheck.model.cluster import CalicoPolicies, ClusterFacts, HostEndpoints
from ebpfcheck.model.facts import FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity

FELIX = over_nodes(NodeKind.felix)


def has_ipv6_off(settings: FelixSettings) -> bool:
    """Whether Felix is told not to look after IPv6; it does unless it is told so."""
    return settings.ipv6_support is False


_ENDPOINTS = settled(ClusterFacts.host_endpoints)
_AUTOMATIC = optional(ClusterFacts.auto_host_endpoints)


@check(
    id="cluster.host-endpoints",
    title="Host endpoints",
    category="cluster",
    scope="cluster",
    severity=lambda release: (
        None if release.version.within(release.features.host_endpoints.unsupported) is False else Severity.BLOCKER
    ),
    needs=(_ENDPOINTS, _AUTOMATIC),
)
def host_endpoints(given: Given) -> Outcome:
    """Whether there are host endpoints where eBPF mode does nothing for them."""
    rule, calico = given.release.features.host_endpoints, given.release.version
    endpoints, automatic = given[_ENDPOINTS], given[_AUTOMATIC]
    found = endpoints.value if isinstance(endpoints, Known) else HostEndpoints()
    needed = f"no host endpoints, or Calico {rule.supported_from} or later"
    if found.own.count:
        return fail(
            "own",
            f"HostEndpoints are in use: {counted(found.own, 'HostEndpoint')}. eBPF mode of Calico {calico} knows none: "
            "the policies that protect these hosts are silently no longer enforced.",
            observed=counted(found.own, "HostEndpoint"),
            required=needed,
            remediation=Remediation(
                text=f"Upgrade to Calico {rule.supported_from} or later before eBPF mode is enabled, or protect the "
                "hosts by other means and delete the HostEndpoints.",
                commands=("kubectl get hostendpoints -o wide",),
            ),
        )
    is_asked = isinstance(automatic, Known) and automatic.value == rule.automatic
    if found.automatic or is_asked:
        return warn(
            "automatic",
            "calico-kube-controllers makes a HostEndpoint for each node. By itself that changes nothing, but eBPF mode "
            f"of Calico {calico} enforces no policy on it.",
            observed=f"{found.automatic} automatic HostEndpoints",
            required=needed,
            remediation=Remediation(
                text=f"Upgrade to Calico {rule.supported_from} or later, or see that no GlobalNetworkPolicy is meant "
                "for the hosts and switch automatic host endpoints off.",
                commands=(
                    "kubectl patch kubecontrollersconfiguration default --type merge -p "
                    """'{"spec":{"controllers":{"node":{"hostEndpoint":{"autoCreate":"Disabled"}}}}}'""",
                ),
            ),
        )
    if isinstance(automatic, Unknown):
        return unseen("automatic-unseen", "Whether host endpoints are made for all nodes could not be seen", automatic)
    return passed("none", "There are no host endpoints.", observed="none", required=needed)


_POLICIES = settled(ClusterFacts.calico_policies)


def _policies(given: Given) -> CalicoPolicies:
    found = given[_POLICIES]
    return found.value if isinstance(found, Known) else CalicoPolicies()


def _log_severity(release: Release) -> Severity:
    breaks = release.version.within(release.features.log_action.breaks)
    return Severity.DEGRADE if breaks is False else Severity.BLOCKER


@check(
    id="cluster.features.log-action",
    title="Policies with the action Log",
    category="cluster",
    scope="cluster",
    severity=_log_severity,
    needs=(_POLICIES,),
)
def log_action(given: Given) -> Outcome:
    """Whether policies log packets, and what comes of it."""
    rule, calico, users = given.release.features.log_action, given.release.version, _policies(given).log
    needed = f"no rules with the action Log, or Calico {rule.since} or later"
    if not users.count:
        return passed("none", "No policy of Calico's has a rule with the action Log.", required=needed)
    seen = counted(users, "policy", "policies")
    what = f"{seen} of Calico's {'has' if users.count == 1 else 'have'} rules with the action Log"
    breaks, ignored = calico.within(rule.breaks), calico.within(rule.ignored)
    if breaks:
        return fail(
            "breaks",
            f"{what}. eBPF mode of Calico {calico} makes no program of such a policy, and the pods that it selects "
            "lose all traffic.",
            observed=seen,
            required=needed,
            remediation=Remediation(
                text=f"Upgrade to Calico {rule.fixed_in} or later before eBPF mode is enabled, or take these rules "
                "out.",
                commands=_SEE_POLICIES,
            ),
        )
    if breaks is None:
        return unknown(
            "breaks-some",
            f"{what}. In patches of Calico {calico} before {rule.fixed_in} the pods that it selects lose all traffic "
            "in eBPF mode; later ones leave such rules out. Give the patch with --calico-version.",
            reason=Reason.UNSUPPORTED,
            observed=seen,
            required=needed,
        )
    if ignored is not False:
        some = "" if ignored else f" before {rule.since}"
        return warn(
            "ignored",
            f"{what}. eBPF mode of Calico {calico}{some} leaves such rules out: nothing is logged, everything else "
            "stays as it is.",
            observed=seen,
            required=needed,
            remediation=Remediation(
                text=f"Upgrade to Calico {rule.since} or later, or do without these lines in the log.",
                commands=_SEE_POLICIES,
            ),
        )
    return passed(
        "trace-pipe",
        f"{what}. In eBPF mode of Calico {calico} the lines go to the kernel's trace pipe of each node, not to its "
        f"log; from kernel {rule.kernel} on with addresses and ports. Read them with `bpftool prog tracelog`.",
        observed=seen,
        note=True,
    )


_SEE_POLICIES = (
    "calicoctl get globalnetworkpolicies -o yaml",
    "calicoctl get networkpolicies --all-namespaces -o yaml",
)


def _do_not_track_severity(release: Release) -> Severity | None:
    rule = release.features.do_not_track
    concerns = any(release.version.within(releases) for releases in (rule.unsupported, rule.one_family))
    return Severity.DEGRADE if concerns else None


@check(
    id="cluster.features.do-not-track",
    title="Policies with doNotTrack",
    category="cluster",
    scope="cluster",
    severity=_do_not_track_severity,
    needs=(_POLICIES, FELIX),
)
def do_not_track(given: Given) -> Outcome:
    """Whether policies ask for no connection tracking where eBPF mode does not enforce them."""
    rule, calico, users = given.release.features.do_not_track, given.release.version, _policies(given).do_not_track
    needed = f"no policies with doNotTrack, or Calico {given.release.features.ipv6.supported_from} or later"
    if not users.count:
        return passed("none", "No policy of Calico's has doNotTrack.", required=needed)
    seen = counted(users, "policy", "policies")
    there = f"There {'is' if users.count == 1 else 'are'} {seen} with doNotTrack"
    if calico.within(rule.unsupported):
        return warn(
            "unsupported",
            f"{there}, which eBPF mode of Calico {calico} does not support: the rules are not enforced, and what they "
            "allow is left to the other policies of the host endpoints.",
            observed=seen,
            required=f"no policies with doNotTrack, or Calico {rule.supported_from} or later",
            remediation=Remediation(
                text=f"Upgrade to Calico {rule.supported_from} or later before eBPF mode is enabled.",
                commands=_SEE_POLICIES,
            ),
        )
    felix = felix_of(given)
    if felix.nodes(has_ipv6_off) < felix.total:
        return warn(
            "no-xdp",
            f"{there}, and Felix looks after IPv6: eBPF mode of Calico {calico} then enforces none of them, for no "
            "family.",
            observed=f"{seen}, {given.release.features.ipv6.field} not false",
            required=needed,
            remediation=Remediation(
                text=f"Upgrade to Calico {given.release.features.ipv6.supported_from} or later before eBPF mode is "
                "enabled.",
                commands=_SEE_POLICIES,
            ),
        )
    if felix.unseen is not None:
        return unseen(
            "felix-unseen",
            f"{there}, enforced by Calico {calico} unless Felix looks after IPv6, which could not be seen",
            felix.unseen,
            observed=seen,
            required=needed,
        )
    return passed(
        "ipv4", f"{seen} with doNotTrack will be enforced for IPv4, which is all that Felix looks after.", observed=seen
    )
