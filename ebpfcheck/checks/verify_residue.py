"""What a look at the node itself tells after the switch: programs that are attached, IPVS, and what a rollback left."""

import msgspec

from ebpfcheck.checks.felix import PROGRAMS, is_on, is_own
from ebpfcheck.checks.naming import listed
from ebpfcheck.checks.verify_state import AGENTS, LOG, LOOK_AT_NODE, counts, no_calico, other_way, said, wanted
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
from ebpfcheck.model.facts import NOT_SURVEYED, Absent, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity

_LINKS = optional(NodeKind.links)
_IPVS = optional(NodeKind.ipvs_services)
_PINS = optional(NodeKind.bpf_pins)


@check(
    id="verify.node.programs",
    title="Calico's programs on the node's interfaces",
    category="verify",
    severity=Severity.BLOCKER,
    needs=(AGENTS, PROGRAMS),
)
def node_programs(given: Given) -> Outcome:
    """Whether Calico's programs are attached, as bpftool or tc list them."""
    outcome = no_calico(given) or other_way(given)
    if outcome is not None:
        return outcome
    attached = given[PROGRAMS]
    needed = "programs of Calico's on the interfaces that carry the node's traffic"
    look = Remediation(text="Look as root, with a bpftool that is as new as its kernel.", commands=("bpftool net",))
    if not isinstance(attached, Known):
        what = "Which programs are attached to the node's interfaces could not be seen"
        return unseen("programs-unseen", what, attached, required=needed, remediation=look)
    own = [one for one in attached.value.programs if is_own(given, one.name)]
    if own:
        devices = dict.fromkeys(f"{one.device} ({one.hook})" for one in own)
        return passed(
            "attached", "Calico's programs are attached.", observed=listed(devices, at_most=6), required=needed
        )
    if is_on(given) is None:
        return unknown(
            "unseen",
            f"{attached.value.by} lists no programs of Calico's, and does not see all hooks of this kernel.",
            reason=Reason.TOOL_MISSING,
            required=needed,
            remediation=look,
        )
    return fail(
        "none",
        "No program of Calico's is attached to any of the node's own interfaces: what comes in by them does not go "
        "through eBPF mode.",
        observed="no programs of Calico's",
        required=needed,
        remediation=Remediation(
            text="See whether bpfDataIfacePattern matches the node's interfaces (node.net.data-iface), and what "
            "Felix's log says of them.",
            commands=("bpftool net",),
        ),
    )


@check(
    id="verify.node.ipvs",
    title="IPVS is gone",
    category="verify",
    severity=Severity.BLOCKER,
    needs=(AGENTS, _LINKS, _IPVS, LOG),
)
def node_ipvs(given: Given) -> Outcome:
    """Whether kube-proxy's IPVS device is still there, by a look at the node or by what Felix says of it."""
    outcome = no_calico(given) or other_way(given)
    if outcome is not None:
        return outcome
    device, links, services = given.release.network.ipvs.device, given[_LINKS], given[_IPVS]
    needed = f"no {device}, and no IPVS services"
    seen = isinstance(links, Known) and any(link.name == device for link in links.value)
    if seen or "ipvs" in counts(said(given)):
        return fail(
            "device",
            f"kube-proxy's device {device} is still on this node, with the addresses of all Services on it: packets to "
            "them end there. Felix removes nothing of it. Reboot the node.",
            observed=f"interface {device}" if seen else "Felix's log says so",
            required=needed,
            remediation=Remediation(
                text="Reboot the node, with kube-proxy off or in iptables mode.", needs_reboot=True, disruptive=True
            ),
        )
    if isinstance(services, Known) and services.value:
        return warn(
            "services",
            "IPVS has virtual services on this node, which take traffic before Calico sees it.",
            observed="virtual services in /proc/net/ip_vs",
            required=needed,
            remediation=Remediation(text="Find out whose they are; `ipvsadm -Ln` lists them."),
        )
    if isinstance(links, Known) and not isinstance(services, Unknown):
        return passed("gone", "No trace of IPVS is on this node.", required=needed)
    hidden = links if not isinstance(links, Known) else services
    outcome = unseen(
        "unseen",
        "Whether IPVS is gone from this node only a look at it tells",
        hidden if isinstance(hidden, Absent | Unknown) else NOT_SURVEYED,
        required=needed,
        remediation=Remediation(text=LOOK_AT_NODE),
    )
    return msgspec.structs.replace(outcome, needs_survey=True)


@check(
    id="verify.rollback.clean",
    title="What eBPF mode left on the node",
    category="verify",
    severity=Severity.BLOCKER,
    needs=(AGENTS, PROGRAMS, _PINS, _LINKS),
)
def rollback_clean(given: Given) -> Outcome:
    """Whether programs, pins or devices of Calico's eBPF mode are left where another dataplane should run."""
    outcome = no_calico(given)
    if outcome is not None:
        return outcome
    if given.expect == "bpf":
        return not_applicable("bpf", "This concerns nodes on which eBPF mode was switched off again.")
    attached, pins, links = given[PROGRAMS], given[_PINS], given[_LINKS]
    needed = "no programs, pins or devices of Calico's eBPF mode"
    names = {link.name for link in links.value} if isinstance(links, Known) else set()
    left = [f"interface {name}" for name in given.release.network.programs.own_devices if name in names]
    left += ["pinned maps or programs"] if isinstance(pins, Known) and "calico" in pins.value else []
    if is_on(given):
        return fail(
            "programs",
            f"Calico's BPF programs are still attached to the node's interfaces, although {wanted(given)} is to run: "
            "they go on to decide about packets by maps that nobody keeps up to date, which has cut hosts off.",
            observed=", ".join(["attached programs", *left]),
            required=needed,
            remediation=Remediation(
                text="Restart calico-node there, which removes them when it starts without eBPF mode; else reboot the "
                "node.",
                disruptive=True,
            ),
        )
    if left:
        return warn(
            "left",
            f"eBPF mode has left {' and '.join(left)} on this node. They take no traffic, and a later Felix in eBPF "
            "mode takes them over.",
            observed=", ".join(left),
            required=needed,
            remediation=Remediation(text="Restart calico-node there, or reboot the node, to be rid of them."),
        )
    facts = (attached, pins, links)
    hidden = next((fact for fact in facts if isinstance(fact, Unknown)), None)
    if hidden is not None:
        outcome = unseen(
            "unseen",
            "Whether eBPF mode has left something on this node only a look at it tells",
            hidden,
            required=needed,
            remediation=Remediation(text="Look at the node itself: `ebpfcheck verify --probe pod`."),
        )
        return msgspec.structs.replace(outcome, needs_survey=True)
    if is_on(given) is None:
        return unknown(
            "hooks-unseen",
            "No pins or devices of eBPF mode are left; whether programs of it are still attached could not be told "
            "without a bpftool that sees all hooks.",
            reason=Reason.TOOL_MISSING,
            required=needed,
        )
    return passed("clean", "Nothing of Calico's eBPF mode is left on this node.", required=needed)
