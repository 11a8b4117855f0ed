"""The interfaces of a node: which ones Felix attaches to, what they are made of, what fits through them."""

import json
import re
import shlex

from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    passed,
    required,
    unknown,
    warn,
)
from ebpfcheck.model.facts import Link, NodeKind, Reason
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_LINKS = required(NodeKind.links)


def _default_links(given: Given) -> tuple[Link, ...]:
    return tuple(link for link in given[_LINKS] if link.has_default_route)


def _no_default_route(needed: str = "") -> Outcome:
    return unknown(
        "no-default-route",
        "No interface carries a default route, so it cannot be told which ones carry the node's traffic.",
        reason=Reason.UNSUPPORTED,
        required=needed,
    )


def _pattern_with(pattern: str, names: tuple[str, ...], links: tuple[Link, ...]) -> str:
    """Return a default pattern that also matches some interfaces; that it does is tried, not assumed."""
    wanted = f"{pattern[:-1]}|{'|'.join(re.escape(name) + '$' for name in names)})"
    matched = {link.name for link in links if re.search(wanted, link.name)}
    if not matched >= set(names):
        raise ValueError(f"{wanted} does not match {names}")
    return wanted


@check(
    id="node.net.data-iface",
    title="Interfaces that Felix attaches to",
    category="network",
    severity=Severity.BLOCKER,
    needs=(_LINKS,),
)
def data_iface(given: Given) -> Outcome:
    """Whether the default pattern of the release matches the interfaces that carry the default routes."""
    calico = given.release.version
    carriers = _default_links(given)
    patterns = given.release.data_iface_patterns
    needed = f"bpfDataIfacePattern matches them; its default is {patterns[-1]}"
    if not carriers:
        return _no_default_route(needed)
    names = ", ".join(excerpt(link.name, 20) for link in carriers)
    missed = tuple(link.name for link in carriers if not re.search(patterns[0], link.name))
    covers = _covers(given, carriers)
    if not missed and covers:
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
    if not missed:
        return passed("matched", f"Felix {calico} attaches to {names} by default.", observed=names, required=needed)
    some = len(patterns) > 1 and all(re.search(patterns[-1], name) for name in missed)
    shown = ", ".join(excerpt(name, 20) for name in missed)
    setting = _pattern_with(patterns[-1], missed, given[_LINKS])
    return unknown(
        "patch" if some else "not-matched",
        f"{shown} carries a default route, and Felix {calico} does not attach to it by default"
        + (" in some of its patches" if some else "")
        + ": NodePorts, and pod traffic between nodes, break unless bpfDataIfacePattern was set, which cannot be seen "
        "from the node.",
        reason=Reason.NOT_COLLECTED,
        observed=names,
        required=needed,
        remediation=Remediation(
            text="Set this pattern before eBPF mode is enabled (run it from where kubectl works).",
            commands=(
                "kubectl patch felixconfiguration default --type merge -p "
                + shlex.quote(json.dumps({"spec": {"bpfDataIfacePattern": setting}})),
            ),
        ),
    )


def _covers(given: Given, carriers: tuple[Link, ...]) -> str:
    """Name the interfaces on top of those with default routes that Felix prefers to them; "" if there is none."""
    if not given.release.members_left_alone:
        return ""
    pattern = given.release.data_iface_patterns[-1]
    below = {link.name for link in carriers}
    tops = [
        link.name
        for link in given[_LINKS]
        if link.kind != "bridge" and below & set(link.lower) and re.search(pattern, link.name)
    ]
    return excerpt(", ".join(tops), 120)


@check(
    id="node.net.iface-topology",
    title="Members of bonds and bridges",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_LINKS,),
)
def iface_topology(given: Given) -> Outcome:
    """Whether the pattern also matches interfaces that are part of a bond, a bridge or a VLAN."""
    calico = given.release.version
    links = given[_LINKS]
    pattern = given.release.data_iface_patterns[-1]
    members: list[str] = []
    for master in links:
        if master.kind not in ("bond", "bridge", "vlan", "team"):
            continue
        is_preferred = given.release.members_left_alone and re.search(pattern, master.name)
        if master.kind != "bridge" and is_preferred:
            continue
        members += [f"{member} of {master.kind} {master.name}" for member in master.lower if re.search(pattern, member)]
    if not members:
        return passed("none", f"No member of a bond, bridge or VLAN is one that Felix {calico} attaches to by default.")
    shown = excerpt(", ".join(members), 200)
    return warn(
        "members",
        f"Felix {calico} would by default attach to {shown}: programs on a member see frames that are not for the "
        "node, and drop what they do not know, such as traffic of bridged VMs.",
        observed=shown,
        required="bpfDataIfacePattern matches the interface that owns the address, and not its members",
        remediation=Remediation(
            text="Set bpfDataIfacePattern to match the bond, bridge or VLAN alone, before eBPF mode is enabled."
        ),
    )


@check(
    id="node.net.l3-overlay",
    title="Default route over a device without Ethernet",
    category="network",
    severity=Severity.BLOCKER,
    needs=(_LINKS,),
)
def l3_overlay(given: Given) -> Outcome:
    """Whether the node's default route goes over WireGuard, tun or a tunnel of the user's."""
    calico, rule = given.release.version, given.release.network.l3
    carriers = _default_links(given)
    if not carriers:
        return _no_default_route()
    routed = [
        link.name
        for link in carriers
        if link.kind in ("wireguard", "tun", "tunnel", "ppp") and link.name not in rule.own_devices
    ]
    if not routed:
        return passed("none", "No default route goes over a device without Ethernet headers.")
    shown = excerpt(", ".join(routed), 80)
    what = f"The default route goes over {shown}, whose packets have no Ethernet header."
    needed = "the default route over an Ethernet device, or bpfL3IfacePattern"
    if not given.release.takes_l3_pattern:
        return fail(
            "not-supported",
            f"{what} Felix {calico} cannot be told so: it leaves {shown} alone, without NodePorts, or is made to "
            "attach to it and drops its packets as malformed.",
            observed=shown,
            required=needed,
            remediation=Remediation(text="Upgrade Calico, or route the cluster's traffic over an Ethernet device."),
        )
    return unknown(
        "pattern-unseen",
        f"{what} Felix {calico} leaves {shown} alone, and NodePorts do not work there, unless bpfL3IfacePattern names "
        "it, which cannot be seen from the node.",
        reason=Reason.NOT_COLLECTED,
        observed=shown,
        required=needed,
        remediation=Remediation(text=f"Set bpfL3IfacePattern to a pattern that matches {shown}."),
    )


@check(
    id="node.net.mtu",
    title="Room for VXLAN in the MTU",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_LINKS,),
)
def mtu(given: Given) -> Outcome:
    """What MTU pods get, and whether the interfaces agree."""
    calico, rule = given.release.version, given.release.network.mtu
    carriers = _default_links(given)
    if not carriers:
        return _no_default_route()
    lowest = min(link.mtu for link in carriers)
    observed = ", ".join(f"{excerpt(link.name, 20)} {link.mtu}" for link in carriers)
    overhead = rule.vxlan_overhead["ipv4"]
    needed = f"{overhead} bytes of room for VXLAN ({rule.vxlan_overhead['ipv6']} over IPv6), which NodePorts use too"
    pattern = given.release.mtu_iface_pattern
    if pattern is None:
        taken = rule.fixed
        why = f"Calico {calico} takes {taken} for VXLAN whatever the interface has"
    else:
        matched = [link.mtu for link in given[_LINKS] if link.is_up and re.search(pattern, link.name)]
        host = min(matched, default=rule.assumed)
        taken = host - overhead
        what = "is the smallest of the interfaces that" if matched else "it assumes, as no interface is up that"
        why = f"Felix {calico} takes the host's MTU for {host}, which {what} its mtuIfacePattern matches by default"
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


def _with_members(carriers: tuple[Link, ...], links: tuple[Link, ...]) -> tuple[Link, ...]:
    """Return some interfaces and those that they are made of, over as many levels as there are."""
    found, seen = carriers, {link.name for link in carriers}
    while below := {name for link in found for name in link.lower} - seen:
        seen |= below
        found += tuple(link for link in links if link.name in below)
    return found


@check(
    id="node.offload.vxlan",
    title="Offloads that spoil VXLAN",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_LINKS,),
)
def offload_vxlan(given: Given) -> Outcome:
    """Whether a NIC with a default route has a driver that has lost VXLAN packets."""
    rule = given.release.network.offload
    carriers = _with_members(_default_links(given), given[_LINKS])
    if not carriers:
        return _no_default_route()
    hit = [link for link in carriers if link.driver in rule.drivers]
    if hit:
        shown = excerpt(", ".join(f"{link.name} ({link.driver})" for link in hit), 80)
        return warn(
            "driver",
            f"{shown}: with this driver VXLAN packets have been lost to a checksum offload, so that only ICMP crosses "
            "between nodes. Whether that offload is on was not looked at.",
            observed=shown,
            required="the tunnel checksum offload is off, or works",
            remediation=Remediation(
                text="Turn the offload off and keep it off over reboots, or set vxlanPort to another port.",
                commands=tuple(
                    f"ethtool -K {shlex.quote(link.name)} tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off"
                    for link in hit
                ),
            ),
        )
    if any(link.driver is None for link in carriers):
        return unknown(
            "driver-unseen",
            "The driver of an interface with a default route could not be told.",
            reason=Reason.TOOL_MISSING,
        )
    shown = ", ".join(f"{excerpt(link.name, 20)} {excerpt(link.driver or 'no driver', 20)}" for link in carriers)
    return passed("none", "Nothing is known against the drivers of the interfaces with default routes.", observed=shown)
