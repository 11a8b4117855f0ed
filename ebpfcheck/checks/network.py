"""The interfaces of a node: which ones Felix attaches to, what they are made of, what fits through them."""

import re
import shlex
from collections.abc import Iterable

from ebpfcheck.checks.felix import FELIX, set_command, settings
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    optional,
    passed,
    required,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.facts import Known, Link, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_LINKS = required(NodeKind.links)
_OWNERS = optional(NodeKind.node_address_links)
_OFFLOADS = optional(NodeKind.offloads)
_UDP = optional(NodeKind.udp_ports)


def _owners(given: Given) -> tuple[Link, ...]:
    """Return the interfaces that own the node's address, as far as kubelet was told which that is.

    An address on a dummy is one that the network routes to the node, over whichever interface.
    """
    owners = given[_OWNERS]
    names = owners.value if isinstance(owners, Known) else ()
    return tuple(link for link in given[_LINKS] if link.name in names and link.kind != "dummy")


def _carriers(given: Given) -> tuple[Link, ...]:
    """Return the interfaces that carry a default route or own the node's address."""
    owners = _owners(given)
    return tuple(link for link in given[_LINKS] if link.has_default_route or link in owners)


def _with_members(carriers: tuple[Link, ...], links: tuple[Link, ...]) -> tuple[Link, ...]:
    """Return some interfaces and those that they are made of, over as many levels as there are."""
    found, seen = carriers, {link.name for link in carriers}
    while below := {name for link in found for name in link.lower} - seen:
        seen |= below
        found += tuple(link for link in links if link.name in below)
    return found


def _no_carrier(needed: str = "") -> Outcome:
    return unknown(
        "no-default-route",
        "No interface carries a default route, and kubelet was not told the node's address, so it cannot be told which "
        "ones carry the node's traffic.",
        reason=Reason.UNSUPPORTED,
        required=needed,
    )


def _not_understood(setting: str, pattern: str) -> Outcome:
    return unknown(
        "pattern-not-understood",
        f"{setting} is set to {excerpt(pattern, 80)!r}, which is no regular expression that this program understands.",
        reason=Reason.UNPARSABLE,
        observed=excerpt(pattern, 80),
    )


def _is_regex(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _names(links: Iterable[Link]) -> str:
    return excerpt(", ".join(excerpt(link.name, 20) for link in links), 160)


def _pattern_with(pattern: str, names: tuple[str, ...], links: tuple[Link, ...]) -> str:
    """Return a pattern that also matches some interfaces; that it does is tried, not assumed."""
    added = "|".join(re.escape(name) + "$" for name in names)
    # Into the defaults' own brackets; a pattern of the user's may have any form.
    wanted = f"{pattern[:-1]}|{added})" if re.fullmatch(r"\^\(.*\)", pattern) else f"{pattern}|^({added})"
    matched = {link.name for link in links if re.search(wanted, link.name)}
    if not matched >= set(names):
        raise ValueError(f"{wanted} does not match {names}")
    return wanted


@check(
    id="node.net.data-iface",
    title="Interfaces that Felix attaches to",
    category="network",
    severity=Severity.BLOCKER,
    needs=(_LINKS, _OWNERS, FELIX),
)
def data_iface(given: Given) -> Outcome:
    """Whether the pattern in force matches the interfaces that own the node's address and carry default routes."""
    calico, felix = given.release.version, settings(given)
    is_set = felix is not None and felix.bpf_data_iface_pattern is not None
    patterns = given.release.data_iface_patterns
    if felix is not None and felix.bpf_data_iface_pattern is not None:
        patterns = (felix.bpf_data_iface_pattern,)
        if not _is_regex(patterns[0]):
            return _not_understood("bpfDataIfacePattern", patterns[0])
    needed = f"bpfDataIfacePattern matches them; {'it is set to' if is_set else 'its default is'} {patterns[-1]}"
    carriers = _carriers(given)
    if not carriers:
        return _no_carrier(needed)
    observed = _names(carriers)
    l3_pattern = (
        felix.bpf_l3_iface_pattern if felix is not None and given.release.takes_l3_pattern else None
    ) or "(?!)"
    if not _is_regex(l3_pattern):
        return _not_understood("bpfL3IfacePattern", l3_pattern)
    missed = tuple(
        link for link in carriers if not re.search(patterns[0], link.name) and not re.search(l3_pattern, link.name)
    )
    if not missed:
        return _own_devices_missed(given, patterns[-1]) or _matched(given, carriers, patterns[-1], needed)
    names = tuple(link.name for link in missed)
    fix = Remediation(
        text="Set this pattern before eBPF mode is enabled (run it from where kubectl works).",
        commands=(set_command("bpfDataIfacePattern", _pattern_with(patterns[-1], names, given[_LINKS])),),
    )
    some = len(patterns) > 1 and all(re.search(patterns[-1], name) for name in names)
    if felix is None or some:
        return unknown(
            "patch" if some else "not-matched",
            f"{_names(missed)} {_role(given, missed)}, and Felix {calico} does not attach to it by default"
            + (" in some of its patches" if some else "")
            + ": NodePorts, and pod traffic between nodes, break"
            + (
                " unless bpfDataIfacePattern was set, which the node does not show; --felix-config tells it."
                if felix is None
                else "."
            )
            + (" Name the patch that you mean." if some else ""),
            reason=Reason.NOT_COLLECTED,
            observed=observed,
            required=needed,
            remediation=fix,
        )
    what = f"{_names(missed)} {_role(given, missed)}, and the bpfDataIfacePattern in force does not match it"
    owners = _owners(given)
    if not owners and len(missed) < len(carriers):
        return unknown(
            "which-carries",
            f"{what}, though it does match another one that carries a default route. Which of them owns the node's "
            f"address could not be told; if it is {_names(missed)}, NodePorts and pod traffic between nodes break.",
            reason=Reason.NOT_COLLECTED,
            observed=observed,
            required=needed,
            remediation=fix,
        )
    if owners and not any(link in owners for link in missed):
        return warn(
            "second-interface",
            f"{what}: NodePorts do not answer there, and pods' traffic that leaves there is not looked after by Felix "
            f"{calico}. The interface with the node's address ({_names(owners)}) is matched.",
            observed=observed,
            required=needed,
            remediation=fix,
        )
    return fail(
        "set-not-matched" if is_set else "default-not-matched",
        f"{what}: Felix {calico} leaves it alone, and NodePorts and pod traffic between nodes break, unless "
        "FELIX_BPFDATAIFACEPATTERN on calico-node says otherwise.",
        observed=observed,
        required=needed,
        remediation=fix,
    )


def _role(given: Given, missed: tuple[Link, ...]) -> str:
    if any(link in _owners(given) for link in missed):
        return "owns the node's address"
    return "carries a default route"


def _matched(given: Given, carriers: tuple[Link, ...], pattern: str, needed: str) -> Outcome:
    calico, names = given.release.version, _names(carriers)
    covers = _covers(given, carriers, pattern)
    if covers:
        return unknown(
            "covered",
            f"Felix {calico} attaches to the topmost interface that its pattern matches: to {covers}, which leaves "
            "what lies below with less. Whether that carries all of the node's traffic cannot be told.",
            reason=Reason.UNSUPPORTED,
            observed=names,
            required=needed,
            remediation=Remediation(
                text="Set bpfDataIfacePattern to match the interface with the default route alone."
            ),
        )
    felix = settings(given)
    by = (
        "by the pattern that is set" if felix is not None and felix.bpf_data_iface_pattern is not None else "by default"
    )
    return passed("matched", f"Felix {calico} attaches to {names} {by}.", observed=names, required=needed)


def _own_devices_missed(given: Given, pattern: str) -> Outcome | None:
    """Judge a pattern set by hand in releases whose pattern has to name Calico's own devices too."""
    felix = settings(given)
    if given.release.own_devices_added or felix is None or felix.bpf_data_iface_pattern is None:
        return None
    rules = given.release.network
    default = given.release.data_iface_patterns[0]
    # Those that the default names; early releases did without some of them.
    own = {name for name in (*rules.l3.own_devices, *rules.vxlan.own_devices) if re.search(default, name)}
    lacking = tuple(link for link in given[_LINKS] if link.name in own and not re.search(pattern, link.name))
    if not lacking:
        return None
    wanted = _pattern_with(pattern, tuple(link.name for link in lacking), given[_LINKS])
    return fail(
        "own-devices",
        f"The bpfDataIfacePattern that is set does not match Calico's own {_names(lacking)}, which it has to name in "
        f"Calico {given.release.version}: pod traffic between nodes does not get through it.",
        observed=_names(lacking),
        required=f"bpfDataIfacePattern matches them too; it is set to {pattern}",
        remediation=Remediation(text="Set this pattern.", commands=(set_command("bpfDataIfacePattern", wanted),)),
    )


def _covers(given: Given, carriers: tuple[Link, ...], pattern: str) -> str:
    """Name the interfaces on top of the carriers that Felix prefers to them; "" if there is none."""
    if not given.release.members_left_alone:
        return ""
    below = {link.name for link in carriers}
    return _names(
        link
        for link in given[_LINKS]
        if link.kind != "bridge"
        and link.name not in below
        and below & set(link.lower)
        and re.search(pattern, link.name)
    )


@check(
    id="node.net.iface-topology",
    title="Bonds, bridges and VLANs",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_LINKS, _OWNERS, FELIX, _OFFLOADS),
)
def iface_topology(given: Given) -> Outcome:
    """Whether the pattern also matches parts of a bond, bridge or VLAN, and whether VLANs work at the release."""
    calico, felix = given.release.version, settings(given)
    links = given[_LINKS]
    pattern = given.release.data_iface_patterns[-1]
    how = "would by default attach"
    if felix is not None and felix.bpf_data_iface_pattern is not None:
        pattern, how = felix.bpf_data_iface_pattern, "attaches, by the pattern that is set,"
        if not _is_regex(pattern):
            return _not_understood("bpfDataIfacePattern", pattern)
    members: list[str] = []
    for master in links:
        if master.kind not in ("bond", "bridge", "vlan", "team"):
            continue
        is_preferred = given.release.members_left_alone and re.search(pattern, master.name)
        if master.kind != "bridge" and is_preferred:
            continue
        members += [f"{member} of {master.kind} {master.name}" for member in master.lower if re.search(pattern, member)]
    if members:
        shown = excerpt(", ".join(members), 200)
        return warn(
            "members",
            f"Felix {calico} {how} to {shown}: programs on a member see frames that are not for the node, and drop "
            "what they do not know, such as traffic of bridged VMs.",
            observed=shown,
            required="bpfDataIfacePattern matches the interface that owns the address, and not its members",
            remediation=Remediation(
                text="Set bpfDataIfacePattern to match the bond, bridge or VLAN alone, before eBPF mode is enabled."
            ),
        )
    return _vlans(given) or passed(
        "none", f"No member of a bond, bridge or VLAN is one that Felix {calico} attaches to."
    )


def _vlans(given: Given) -> Outcome | None:
    """Judge VLAN devices that carry the node's traffic; None where there is none."""
    calico, rule = given.release.version, given.release.network.vlan
    vlans = tuple(link for link in _carriers(given) if link.kind == "vlan")
    if not vlans:
        return None
    shown = _names(vlans)
    if not given.release.takes_vlans:
        return warn(
            "vlan",
            f"{shown} is a VLAN device and carries the node's traffic, which the documentation of Calico {calico} does "
            "not support in eBPF mode.",
            observed=shown,
            required="an interface without VLAN tag",
            remediation=Remediation(text="Upgrade Calico, or take the node's traffic off the tagged interface."),
        )
    needed = f"the NIC below takes the tags off ({rule.offload})"
    offloads = given[_OFFLOADS]
    on = dict(offloads.value) if isinstance(offloads, Known) else {}
    # Whatever has a driver, or may have one, is a NIC.
    nics = [link.name for link in _with_members(vlans, given[_LINKS]) if link not in vlans and link.driver != ""]
    without = [name for name in nics if name in on and rule.offload not in on[name]]
    if without:
        return warn(
            "vlan-offload",
            f"{shown} is a VLAN device, and {excerpt(', '.join(without), 80)} leaves the tags to the kernel "
            f"({rule.offload} is off): Calico {calico} supports VLANs only where the NIC takes them off.",
            observed=f"{rule.offload} off",
            required=needed,
            remediation=Remediation(
                text="Turn the offload on and keep it on over reboots, if the NIC can.",
                commands=tuple(f"ethtool -K {shlex.quote(name)} rxvlan on" for name in without),
            ),
        )
    if nics and all(name in on for name in nics):
        return passed("vlan", f"{shown} is a VLAN device, and the NIC takes the tags off.", required=needed)
    return unknown(
        "vlan-unseen",
        f"{shown} is a VLAN device. Calico {calico} supports that where the NIC takes the tags off ({rule.offload}), "
        "which could not be told.",
        reason=offloads.reason if isinstance(offloads, Unknown) else Reason.NOT_COLLECTED,
        observed=shown,
        required=needed,
        remediation=Remediation(text="See what ethtool says of the NIC below.", commands=("ethtool -k NIC",)),
    )


@check(
    id="node.net.l3-overlay",
    title="WireGuard and tunnels of the user's own",
    category="network",
    severity=Severity.BLOCKER,
    needs=(_LINKS, _OWNERS, FELIX, _UDP),
)
def l3_overlay(given: Given) -> Outcome:
    """Whether the node's traffic goes over WireGuard, tun or a tunnel of the user's, and whether it gets through."""
    calico, rule = given.release.version, given.release.network.l3
    carriers = _carriers(given)
    if not carriers:
        return _no_carrier()
    routed = tuple(
        link
        for link in carriers
        if link.kind in ("wireguard", "tun", "tunnel", "ppp") and link.name not in rule.own_devices
    )
    if not routed:
        return _wireguard_dropped(given, is_carrier=False) or passed(
            "none", "The node's traffic goes over no device without Ethernet headers."
        )
    shown = _names(routed)
    what = f"The node's traffic goes over {shown}, whose packets have no Ethernet header."
    needed = "the node's traffic over an Ethernet device, or bpfL3IfacePattern"
    if not given.release.takes_l3_pattern:
        return fail(
            "not-supported",
            f"{what} Felix {calico} cannot be told so: it leaves {shown} alone, without NodePorts, or is made to "
            "attach to it and drops its packets as malformed.",
            observed=shown,
            required=needed,
            remediation=Remediation(text="Upgrade Calico, or route the cluster's traffic over an Ethernet device."),
        )
    fix = Remediation(
        text="Set this pattern.",
        commands=(set_command("bpfL3IfacePattern", "^(" + "|".join(re.escape(link.name) for link in routed) + ")$"),),
    )
    felix = settings(given)
    if felix is None:
        return unknown(
            "pattern-unseen",
            f"{what} Felix {calico} leaves {shown} alone, and NodePorts do not work there, unless bpfL3IfacePattern "
            "was set to name it, which the node does not show; --felix-config tells it.",
            reason=Reason.NOT_COLLECTED,
            observed=shown,
            required=needed,
            remediation=fix,
        )
    pattern = felix.bpf_l3_iface_pattern or ""
    data_pattern = felix.bpf_data_iface_pattern or given.release.data_iface_patterns[0]
    for setting, regex in (("bpfL3IfacePattern", pattern), ("bpfDataIfacePattern", data_pattern)):
        if not _is_regex(regex):
            return _not_understood(setting, regex)
    named = tuple(link for link in routed if pattern and re.search(pattern, link.name))
    if given.release.knows_l3_by_kind:
        named += tuple(
            link for link in routed if link.kind in ("wireguard", "tun") and re.search(data_pattern, link.name)
        )
    if not set(routed) <= set(named):
        return fail(
            "not-named",
            f"{what} bpfL3IfacePattern {'does not match it' if pattern else 'is not set'}: Felix {calico} leaves "
            f"{shown} alone, and NodePorts do not work there.",
            observed=shown,
            required=needed,
            remediation=fix,
        )
    return _wireguard_dropped(given, is_carrier=True) or passed(
        "named", f"{what} Felix {calico} is told of it by a pattern.", observed=shown, required=needed
    )


def _wireguard_dropped(given: Given, *, is_carrier: bool) -> Outcome | None:
    """Judge releases that take what comes for WireGuard's usual port for Calico's own; None if that hits nobody."""
    calico, rule = given.release.version, given.release.network.l3
    udp, drops = given[_UDP], given.release.drops_wireguard
    devices = tuple(link for link in given[_LINKS] if link.kind == "wireguard")
    users = tuple(link for link in devices if link.name not in rule.own_devices)
    # Where Calico has WireGuard of its own, the port is Calico's.
    if drops is False or not users or len(users) < len(devices):
        return None
    if not isinstance(udp, Known):
        return unseen(
            "wireguard-port-unseen", f"Which port the WireGuard of {_names(users)} uses could not be told", udp
        )
    if rule.wireguard_port not in udp.value:
        return None
    what = (
        f"{_names(users)} is WireGuard, and UDP port {rule.wireguard_port} is taken here. Calico {calico}"
        + ("" if drops else ", in some of its patches,")
        + " drops what comes to that port from others than Calico's own nodes."
    )
    observed, needed = f"UDP port {rule.wireguard_port}", "the user's WireGuard on another port"
    fix = Remediation(text="Move that WireGuard to another port, or take another release of Calico.")
    if is_carrier and drops is None:
        return unknown(
            "wireguard-port-patch",
            f"{what} Name the patch that you mean.",
            reason=Reason.NOT_COLLECTED,
            observed=observed,
            required=needed,
            remediation=fix,
        )
    say = fail if is_carrier else warn
    return say("wireguard-port", what, observed=observed, required=needed, remediation=fix)


@check(
    id="node.net.mtu",
    title="Room for VXLAN in the MTU",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_LINKS, _OWNERS, FELIX),
)
def mtu(given: Given) -> Outcome:
    """What MTU pods get, and whether the interfaces agree."""
    calico, rule = given.release.version, given.release.network.mtu
    carriers, felix = _carriers(given), settings(given)
    if not carriers:
        return _no_carrier()
    lowest = min(link.mtu for link in carriers)
    observed = ", ".join(f"{excerpt(link.name, 20)} {link.mtu}" for link in carriers)
    overhead = rule.vxlan_overhead["ipv4"]
    needed = f"{overhead} bytes of room for VXLAN ({rule.vxlan_overhead['ipv6']} over IPv6), which NodePorts use too"
    pattern, whose = given.release.mtu_iface_pattern, " by default"
    if felix is not None and pattern is not None and felix.mtu_iface_pattern is not None:
        pattern, whose = felix.mtu_iface_pattern, ", which is set,"
        if not _is_regex(pattern):
            return _not_understood("mtuIfacePattern", pattern)
    if felix is not None and felix.vxlan_mtu:
        taken = felix.vxlan_mtu
        why = f"vxlanMTU is set to {taken} in FelixConfiguration"
    elif pattern is None:
        taken = rule.fixed
        why = f"Calico {calico} takes {taken} for VXLAN whatever the interface has"
    else:
        working = (link for link in given[_LINKS] if link.is_up and link.is_running)
        matched = [link.mtu for link in working if re.search(pattern, link.name)]
        host = min(matched, default=rule.assumed)
        taken = host - overhead
        what = "is the smallest of the interfaces that" if matched else "it assumes, as no interface is up that"
        why = f"Felix {calico} takes the host's MTU for {host}, which {what} its mtuIfacePattern{whose} matches"
    if taken > lowest - overhead:
        return warn(
            "too-small",
            f"{why}; with an MTU of {lowest} no more than {lowest - overhead} fits, and large packets stall.",
            observed=observed,
            required=needed,
            remediation=Remediation(
                text=f"Set the MTU to {lowest - overhead}: in the operator's Installation (spec.calicoNetwork.mtu), or "
                "vxlanMTU in FelixConfiguration."
            ),
        )
    return passed("fits", f"{why}; VXLAN then fits.", observed=observed, required=needed)


@check(
    id="node.offload.vxlan",
    title="Offloads that spoil VXLAN",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_LINKS, _OWNERS, _OFFLOADS),
)
def offload_vxlan(given: Given) -> Outcome:
    """Whether a NIC that carries the node's traffic has a driver whose tunnel offloads have lost VXLAN packets."""
    rule = given.release.network.offload
    carriers = _with_members(_carriers(given), given[_LINKS])
    if not carriers:
        return _no_carrier()
    offloads = given[_OFFLOADS]
    on = dict(offloads.value) if isinstance(offloads, Known) else {}
    suspects = [link for link in carriers if link.driver in rule.drivers]
    hit = [link for link in suspects if link.name not in on or set(on[link.name]) & set(rule.features)]
    if hit:
        shown = excerpt(", ".join(f"{link.name} ({link.driver})" for link in hit), 80)
        seen = all(link.name in on for link in hit)
        return warn(
            "driver",
            f"{shown}: with this driver VXLAN packets have been lost to a tunnel offload, so that only ICMP crosses "
            f"between nodes. {'It is on' if seen else 'Whether it is on could not be told'}.",
            observed=shown,
            required="the offload is off, or works",
            remediation=Remediation(
                text="Turn the offload off and keep it off over reboots, or set vxlanPort to another port.",
                commands=tuple(
                    f"ethtool -K {shlex.quote(link.name)} {' '.join(f'{name} off' for name in rule.features)}"
                    for link in hit
                ),
            ),
        )
    if any(link.driver is None for link in carriers):
        return unknown(
            "driver-unseen",
            "The driver of an interface that carries the node's traffic could not be told.",
            reason=Reason.TOOL_MISSING,
        )
    shown = ", ".join(f"{excerpt(link.name, 20)} {excerpt(link.driver or 'no driver', 20)}" for link in carriers)
    if suspects:
        return passed(
            "off", "The driver has lost VXLAN packets to a tunnel offload, which is off here.", observed=shown
        )
    return passed(
        "none", "Nothing is known against the drivers of the interfaces that carry the node's traffic.", observed=shown
    )
