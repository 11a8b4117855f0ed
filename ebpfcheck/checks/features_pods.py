"""What pods and Services ask for that not every release's eBPF mode does: SCTP, floating IPs, host ports and others."""

from ebpfcheck.checks.features import FELIX
from ebpfcheck.checks.kube_proxy_state import felix_of
from ebpfcheck.checks.naming import counted
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import Given, Outcome, check, fail, optional, passed, unseen, warn
from ebpfcheck.model.cluster import SCAN_NOT_ASKED, ClusterFacts, Users
from ebpfcheck.model.facts import FelixSettings, Known, Unknown
from ebpfcheck.model.report import Remediation, Severity

_WORKLOADS = optional(ClusterFacts.workloads)
_PODS = optional(ClusterFacts.pods)
_SERVICES = optional(ClusterFacts.services)
_CALICO_POLICIES = optional(ClusterFacts.calico_policies)
_NETWORK_POLICIES = optional(ClusterFacts.network_policies)
_INSTALLATION = optional(ClusterFacts.installation)


def _asking(given: Given, what: str) -> str:
    """Tell which workloads ask for something, or else which pods do; "" if none is seen."""
    for need, noun in ((_WORKLOADS, "workload"), (_PODS, "pod")):
        fact = given[need]
        users: Users = getattr(fact.value, what) if isinstance(fact, Known) else Users()
        if users.count:
            return counted(users, noun)
    return ""


def _hidden(given: Given) -> Unknown | None:
    """Return why not all were seen that are needed: the pods, or else the templates."""
    pods, workloads = given[_PODS], given[_WORKLOADS]
    if isinstance(pods, Unknown) and pods != SCAN_NOT_ASKED:
        return pods
    return workloads if isinstance(workloads, Unknown) and not isinstance(pods, Known) else None


def _none(given: Given, what: str) -> str:
    """Say that nobody asks for something, as far as was looked."""
    is_whole = isinstance(given[_PODS], Known)
    return f"No {'pod' if is_whole else 'workload'} {what}." + (
        "" if is_whole else " Templates tell that; pods without one are read with --scan-pods alone."
    )


def _is_one(told: str) -> bool:
    return told.startswith("1 ")


@check(
    id="cluster.features.sctp",
    title="SCTP",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_SERVICES, _CALICO_POLICIES, _NETWORK_POLICIES, _WORKLOADS, _PODS),
)
def sctp(given: Given) -> Outcome:
    """Whether SCTP is in use, which eBPF mode neither balances nor matches by port."""
    calico = given.release.version
    is_dropped = calico.within(given.release.features.sctp.dropped)
    services = given[_SERVICES]
    needed = "no SCTP"
    balanced = services.value.sctp if isinstance(services, Known) else Users()
    if balanced.count:
        told = counted(balanced, "Service")
        return fail(
            "services",
            f"{told} {'has' if balanced.count == 1 else 'have'} SCTP ports. eBPF mode of Calico {calico} does not "
            "balance SCTP, and without kube-proxy nobody does: these ports go dead.",
            observed=told,
            required=needed,
            remediation=Remediation(
                text="Keep the standard dataplane, or have clients reach the pods by another way than a Service, such "
                "as their own addresses from a headless one." + (" SCTP of pods is dropped too." if is_dropped else ""),
            ),
        )
    if isinstance(services, Unknown):
        return unseen(
            "services-unseen", "Whether Services have SCTP ports could not be told", services, required=needed
        )
    policies = [
        counted(fact.value.sctp, one, many)
        for fact, one, many in (
            (given[_CALICO_POLICIES], "policy of Calico's", "policies of Calico's"),
            (given[_NETWORK_POLICIES], "NetworkPolicy", "NetworkPolicies"),
        )
        if isinstance(fact, Known) and fact.value.sctp.count
    ]
    users = ", ".join((*policies, *filter(None, [_asking(given, "sctp")])))
    if users and is_dropped:
        return warn(
            "dropped",
            f"SCTP is named by {users}: if it is really in use, eBPF mode of Calico {calico} drops it at the pods.",
            observed=users,
            required=needed,
            remediation=Remediation(text="Upgrade Calico before eBPF mode is enabled, or keep the standard dataplane."),
        )
    if policies:
        return warn(
            "policies",
            f"SCTP is named by {users}. eBPF mode of Calico {calico} sees no ports of SCTP: a rule with such ports "
            "matches nothing, be it to allow or to deny.",
            observed=users,
            required=needed,
            remediation=Remediation(
                text="Take the ports out of these rules, and keep SCTP apart by other means, or stay with the standard "
                "dataplane."
            ),
        )
    if users:
        return warn(
            "workloads",
            f"SCTP is named by {users}, which eBPF mode of Calico {calico} passes between pods, but does not support: "
            "neither Services nor rules with ports can be used with it.",
            observed=users,
            required=needed,
            remediation=Remediation(text="Try it out before eBPF mode is enabled where it matters."),
        )
    hidden = next(
        (
            fact
            for fact in (given[_CALICO_POLICIES], given[_NETWORK_POLICIES], _hidden(given))
            if isinstance(fact, Unknown)
        ),
        None,
    )
    if hidden is not None:
        return unseen("unseen", "Whether SCTP is in use could not be told", hidden, required=needed)
    return passed("none", f"No Service and no policy names SCTP. {_none(given, 'does')}", required=needed)


def _has_floating_ips(settings: FelixSettings, word: str) -> bool:
    return (settings.floating_ips or "").lower() == word.lower()


@check(
    id="cluster.features.floating-ips",
    title="Floating IPs",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(_WORKLOADS, _PODS, FELIX),
)
def floating_ips(given: Given) -> Outcome:
    """Whether floating IPs are in use, which eBPF mode has none of."""
    rule, calico, felix = given.release.features.floating_ips, given.release.version, felix_of(given)
    has_setting = any(calico.within(releases) for releases in rule.setting_from)
    on = felix.nodes(lambda settings: _has_floating_ips(settings, rule.enabled)) if has_setting else 0
    users = _asking(given, "floating_ips")
    asked = f"{users} {'asks' if _is_one(users) else 'ask'} for floating IPs ({rule.annotation})" if users else ""
    needed = "no floating IPs"
    if has_setting and not on and felix.unseen is None:
        if asked:
            return passed(
                "not-done",
                f"{asked}, which Felix does not do even now, as {rule.setting} is not {rule.enabled}; eBPF mode of "
                f"Calico {calico} has none either.",
                observed=users,
                required=needed,
                note=True,
            )
        return passed("off", f"{rule.setting} is not {rule.enabled}: there are no floating IPs.", required=needed)
    if on or asked:
        why = " and ".join(filter(None, [f"{rule.setting} is {rule.enabled}" if on else "", asked]))
        return warn(
            "in-use",
            f"{why}. eBPF mode of Calico {calico} has no floating IPs: what is sent to them does not reach the pods.",
            observed=why,
            required=needed,
            remediation=Remediation(
                text="Give clients a Service, or the pods' own addresses, before eBPF mode is enabled.",
            ),
        )
    hidden = _hidden(given) or (felix.unseen if has_setting else None)
    if hidden is not None:
        return unseen("unseen", "Whether floating IPs are in use could not be told", hidden, required=needed)
    return passed("none", _none(given, "asks for floating IPs"), required=needed)


@check(
    id="cluster.features.source-prefixes",
    title="Allowed source prefixes",
    category="cluster",
    scope="cluster",
    severity=lambda release: (
        Severity.DEGRADE if release.version.within(release.features.source_prefixes.unsupported) else None
    ),
    needs=(_WORKLOADS, _PODS),
)
def source_prefixes(given: Given) -> Outcome:
    """Whether pods are to send from addresses that are not theirs, where eBPF mode drops that."""
    rule, calico, users = (
        given.release.features.source_prefixes,
        given.release.version,
        _asking(given, "source_prefixes"),
    )
    needed = f"no {rule.annotation}, or Calico {rule.supported_from} or later"
    if users:
        return warn(
            "in-use",
            f"{users} may send from addresses that are not their own ({rule.annotation}). eBPF mode of Calico {calico} "
            "does not know that, and drops such packets.",
            observed=users,
            required=needed,
            remediation=Remediation(
                text=f"Upgrade to Calico {rule.supported_from} or later before eBPF mode is enabled, or do without it."
            ),
        )
    hidden = _hidden(given)
    if hidden is not None:
        return unseen("unseen", "Whether pods may send from other addresses could not be told", hidden, required=needed)
    return passed("none", _none(given, "may send from addresses that are not its own"), required=needed)


def _host_port_severity(release: Release) -> Severity:
    refuses = release.version.within(release.features.host_ports.refused)
    return Severity.DEGRADE if refuses is False else Severity.BLOCKER


@check(
    id="cluster.hostport",
    title="Host ports",
    category="cluster",
    scope="cluster",
    severity=_host_port_severity,
    needs=(_INSTALLATION, _WORKLOADS, _PODS, FELIX),
)
def hostport(given: Given) -> Outcome:
    """Whether the operator takes host ports together with eBPF mode, and whether they work in it."""
    rule, calico, installation = given.release.features.host_ports, given.release.version, given[_INSTALLATION]
    users = _asking(given, "host_ports")
    use = f"{users} {'uses' if _is_one(users) else 'use'} host ports" if users else ""
    refuses = calico.within(rule.refused) is not False
    if refuses and isinstance(installation, Known) and installation.value.host_ports == rule.refused_word:
        return _refused(given, use)
    if refuses and isinstance(installation, Unknown) and given.install not in ("manifest", "none"):
        return unseen("installation-unseen", "What the Installation says of host ports could not be seen", installation)
    if use and refuses and _has_calico_cni(given):
        return warn(
            "switched-off",
            f"{use}, which the operator of Calico {calico} has no support for in eBPF mode: it leaves the CNI plugin "
            "for them (portmap) out, and pods that are started then have none.",
            observed=users,
            required=f"no host ports, or Calico {rule.accepted_from} or later",
            remediation=Remediation(
                text=f"Upgrade to Calico {rule.accepted_from} or later before eBPF mode is enabled, or use Services or "
                "the host's network."
            ),
        )
    if use:
        return _in_use(given, users, use)
    hidden = _hidden(given)
    if hidden is not None:
        return unseen("unseen", "Whether pods use host ports could not be told", hidden)
    return passed("none", _none(given, "uses host ports"))


def _has_calico_cni(given: Given) -> bool:
    """Whether the operator sets up Calico's CNI plugin; others come with host ports of their own."""
    installation = given[_INSTALLATION]
    own = given.release.calico.overlay.calico_cni
    return isinstance(installation, Known) and installation.value.cni_type in (None, own)


def _refused(given: Given, use: str) -> Outcome:
    rule, calico = given.release.features.host_ports, given.release.version
    lost = f" {use}, and will have none." if use else ""
    return fail(
        "refused",
        f"The Installation says hostPorts: {rule.refused_word}, which the operator of Calico {calico} refuses together "
        f"with linuxDataplane: BPF: it goes Degraded and does nothing.{lost}",
        observed=f"hostPorts: {rule.refused_word}",
        required=f"hostPorts: {rule.accepted_word}, or Calico {rule.accepted_from} or later",
        remediation=Remediation(
            text=f"Upgrade to Calico {rule.accepted_from} or later"
            + (", or move these workloads to Services or the host's network and then" if use else ", or")
            + " clear it in the very patch that asks for eBPF mode, when everything else here is settled: pods started "
            "after that have no host ports.",
            commands=(
                "kubectl patch installation default --type merge -p "
                """'{"spec":{"calicoNetwork":{"linuxDataplane":"BPF","hostPorts":null}}}'""",
            ),
            disruptive=True,
        ),
    )


def _in_use(given: Given, users: str, use: str) -> Outcome:
    """Judge host ports that the CNI plugin will set up, by whether answers find their way back."""
    rule, calico, felix = given.release.features.host_ports, given.release.version, felix_of(given)
    answers = {calico.within(releases) for releases in rule.broken}
    if answers == {False}:
        return passed("works", f"{use}, which work in eBPF mode of Calico {calico}.", observed=users)
    needed = f"no host ports, or Calico {rule.fixed_in} or later"
    has_bypass = calico.within(rule.bypass) is True
    kept = felix.nodes(lambda settings: settings.bpf_host_conntrack_bypass is False)
    if has_bypass and kept == felix.total and felix.unseen is None:
        return passed(
            "kept",
            f"{use}. Calico {calico} has a bug with them in eBPF mode that does not show where bpfHostConntrackBypass "
            f"is false, as it is here; it is fixed in {rule.fixed_in}.",
            observed=users,
            required=needed,
            note=True,
        )
    some = "" if True in answers else "some patches of "
    also = f", or give calico-node {rule.bypass_variable}=false, as kOps does" if has_bypass else ""
    return warn(
        "answers-lost",
        f"{use}. In eBPF mode of {some}Calico {calico} connections to them may fail, as answers are not translated "
        "back.",
        observed=users,
        required=needed,
        remediation=Remediation(
            text=f"Upgrade to Calico {rule.fixed_in} or later before eBPF mode is enabled{also}, or use Services or "
            "the host's network."
        ),
    )
