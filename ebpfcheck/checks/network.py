"""The network of a node: the interfaces that Felix attaches to, ports that it needs, what others left behind."""

import json
import re
import shlex

from ebpfcheck.model.check import Given, Outcome, check, fail, optional, passed, required, settled, unknown, warn
from ebpfcheck.model.facts import Absent, Known, Link, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_LINKS = required(NodeKind.links)


def _default_links(given: Given) -> tuple[Link, ...]:
    return tuple(link for link in given[_LINKS] if link.has_default_route)


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
        return unknown(
            "no-default-route",
            "No interface carries a default route, so it cannot be told which ones carry the node's traffic.",
            reason=Reason.UNSUPPORTED,
            required=needed,
        )
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


_VXLANS = required(NodeKind.vxlans)
_BTF = optional(NodeKind.vmlinux_btf)
_UDP = optional(NodeKind.udp_ports)


@check(
    id="node.vxlan.port-conflict",
    title="UDP port of VXLAN",
    category="network",
    severity=lambda release: Severity.BLOCKER if release.flow_based_vxlan else None,
    needs=(_VXLANS, _BTF, _UDP),
)
def vxlan_port_conflict(given: Given) -> Outcome:
    """Whether another VXLAN device is on the port that a flow-based vxlan.calico takes whole."""
    calico, rule = given.release.version, given.release.network.vxlan
    others = [device for device in given[_VXLANS] if device.port == rule.port and device.name not in rule.own_devices]
    needed = f"nothing else on UDP port {rule.port}"
    btf, udp = given[_BTF], given[_UDP]
    shares = not given.release.flow_based_without_btf and (
        isinstance(btf, Absent) or (isinstance(btf, Known) and not btf.value)
    )
    here = [device for device in others if device.is_up and not device.namespace]
    listed = {device.port for device in given[_VXLANS] if not device.namespace}
    is_taken_unseen = isinstance(udp, Known) and rule.port in udp.value and rule.port not in listed
    shown = excerpt(", ".join(f"{one.name} in {one.namespace}" if one.namespace else one.name for one in others), 120)
    if is_taken_unseen:
        shown += (", " if shown else "") + "a socket of something that is not seen here"
    if not shown:
        return passed("free", f"Nothing else takes UDP port {rule.port}.", required=needed)
    if shares and not is_taken_unseen:
        return passed(
            "classic",
            f"{shown} is on UDP port {rule.port}, which Calico {calico} shares with it on a kernel without BTF.",
            observed=shown,
            required=needed,
            note=True,
        )
    fix = Remediation(
        text="Find out who takes the port (Docker Swarm keeps its devices in namespaces of its own) and remove it, or "
        "set vxlanPort in FelixConfiguration to a free port on all nodes, and open it between them.",
        commands=(f"ss -ulnp sport = :{rule.port}", "ip -d link show type vxlan"),
        disruptive=True,
    )
    if is_taken_unseen or (here and (isinstance(btf, Known) or given.release.flow_based_without_btf)):
        return fail(
            "taken",
            f"{shown} takes UDP port {rule.port}: vxlan.calico of Calico {calico} wants that port for every VNI and "
            "stays down ('address already in use'), so that pods and NodePorts do not reach other nodes.",
            observed=shown,
            required=needed,
            remediation=fix,
        )
    return warn(
        "could-be-taken",
        f"{shown} uses UDP port {rule.port}. If it comes up in the node's own network first, vxlan.calico of Calico "
        f"{calico} stays down, and the other way round.",
        observed=shown,
        required=needed,
        remediation=fix,
    )


_LISTENERS = required(NodeKind.tcp_listeners)
_PROGRAMS = optional(NodeKind.programs)


@check(
    id="node.port.healthz",
    title="kube-proxy's health port",
    category="network",
    severity=lambda release: Severity.DEGRADE if release.serves_healthz is not False else None,
    needs=(_LISTENERS, _PROGRAMS),
)
def port_healthz(given: Given) -> Outcome:
    """Whether somebody else than kube-proxy listens where Felix will."""
    calico, rule = given.release.version, given.release.network.healthz
    needed = f"TCP port {rule.port} is free, or kube-proxy's until it goes"
    if rule.port not in given[_LISTENERS]:
        return passed("free", f"Nothing listens on TCP port {rule.port}.", required=needed)
    programs = given[_PROGRAMS]
    if not isinstance(programs, Known):
        detail = programs.detail if isinstance(programs, Unknown) else "they are not there"
        reason = programs.reason if isinstance(programs, Unknown) else Reason.NOT_COLLECTED
        return unknown(
            "owner-unseen",
            f"Something listens on TCP port {rule.port}; who it is could not be told: {excerpt(detail)}.",
            reason=reason,
            observed=f"a listener on {rule.port}",
            required=needed,
        )
    proxies = [program for program in rule.kube_proxies if program in programs.value]
    if proxies:
        return passed(
            "kube-proxy",
            f"TCP port {rule.port} is taken, as it is while kube-proxy runs ({', '.join(proxies)}).",
            observed=f"a listener on {rule.port}",
            required=needed,
        )
    if "calico-node" in programs.value:
        return passed(
            "calico",
            f"TCP port {rule.port} is taken, no kube-proxy runs and calico-node does: eBPF mode may be on already.",
            observed=f"a listener on {rule.port}",
            required=needed,
            note=True,
        )
    return warn(
        "foreign",
        f"Something listens on TCP port {rule.port}, and no kube-proxy runs: Felix {calico} cannot serve its health "
        "there, and load balancers that ask for it get another answer.",
        observed=f"a listener on {rule.port}",
        required=needed,
        remediation=Remediation(
            text="Find out who listens, and stop it or set bpfKubeProxyHealthzPort to another port.",
            commands=(f"ss -ltnp sport = :{rule.port}",),
        ),
    )


_IPVS = settled(NodeKind.ipvs_services)


@check(
    id="node.ipvs.residue",
    title="IPVS of kube-proxy",
    category="network",
    severity=Severity.BLOCKER,
    needs=(_LINKS, _IPVS),
)
def ipvs_residue(given: Given) -> Outcome:
    """Whether kube-proxy runs in IPVS mode here, or did and left its device."""
    device = given.release.network.ipvs.device
    ipvs = given[_IPVS]
    seen = [f"interface {device}"] if any(link.name == device for link in given[_LINKS]) else []
    if isinstance(ipvs, Known) and ipvs.value:
        seen.append("virtual services in /proc/net/ip_vs")
    needed = "no kube-ipvs0 and no IPVS services"
    if not seen:
        return passed("none", "kube-proxy has left no trace of IPVS mode.", required=needed)
    shown = " and ".join(seen)
    fix = Remediation(
        text="Set kube-proxy to iptables mode first, then reboot the node, and only then go on.",
        needs_reboot=True,
        disruptive=True,
    )
    if seen == ["virtual services in /proc/net/ip_vs"]:
        return warn(
            "foreign-services",
            "IPVS has virtual services here that kube-proxy's device does not go with; Felix leaves them alone, and "
            "they take traffic before Calico sees it.",
            observed=shown,
            required=needed,
        )
    return fail(
        "residue",
        "kube-proxy runs in IPVS mode, or left its device behind. When kube-proxy goes or eBPF mode comes, such nodes "
        "have lost all connectivity, SSH included, until they were rebooted; Felix does not clean it up.",
        observed=shown,
        required=needed,
        remediation=fix,
    )


_FORWARD = required(NodeKind.ip_forward)


@check(
    id="node.base.ip-forward",
    title="IPv4 forwarding",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_FORWARD,),
)
def base_ip_forward(given: Given) -> Outcome:
    """net.ipv4.ip_forward, without which a node routes for no pod."""
    value = given[_FORWARD]
    needed = "net.ipv4.ip_forward=1"
    if value:
        return passed("on", "IPv4 forwarding is on.", observed=f"ip_forward={value}", required=needed)
    return warn(
        "off",
        f"IPv4 forwarding is off. Calico {given.release.version} turns it on in most set-ups when it starts, but what "
        "turned it off may do so again, and pods then reach nothing beyond the node.",
        observed="ip_forward=0",
        required=needed,
        remediation=Remediation(
            text="Turn it on, and keep it on over reboots.",
            commands=("sysctl -w net.ipv4.ip_forward=1", "echo net.ipv4.ip_forward=1 > /etc/sysctl.d/90-forward.conf"),
        ),
    )


_RP_FILTER = required(NodeKind.rp_filter)
_RP_FILES = optional(NodeKind.rp_filter_files)
_ALL_STRICT = re.compile(r"net[./]ipv4[./]conf[./](?:all|\*)[./]rp_filter\s*=\s*1\s*$")


@check(
    id="node.sysctl.rp-filter",
    title="Reverse path filtering",
    category="network",
    severity=lambda release: Severity.DEGRADE if release.sets_rp_filter else None,
    needs=(_RP_FILTER, _RP_FILES),
)
def sysctl_rp_filter(given: Given) -> Outcome:
    """Whether something will turn strict filtering on again after Felix turned it off."""
    files, live = given[_RP_FILES], given[_RP_FILTER]
    observed = ", ".join(f"{name}={value}" for name, value in live if name == "all")
    needed = "nothing that sets net.ipv4.conf.all.rp_filter to 1 again"
    if not isinstance(files, Known):
        detail = files.detail if isinstance(files, Unknown) else "they are not there"
        reason = files.reason if isinstance(files, Unknown) else Reason.NOT_COLLECTED
        return unknown(
            "files-unseen",
            f"The files of sysctl could not be read: {excerpt(detail)}.",
            reason=reason,
            observed=observed,
        )
    strict = [line for line in files.value if _ALL_STRICT.search(line)]
    if strict:
        return warn(
            "set-again",
            f"Felix {given.release.version} sets net.ipv4.conf.all.rp_filter to 0, which its own veth pair needs, and "
            "a file sets it back to 1 whenever it is applied: replies from the host to Services are then dropped.",
            observed=excerpt("; ".join(strict), 160),
            required=needed,
            remediation=Remediation(text="Take that line out, or set it to 0."),
        )
    return passed("not-set", "No file sets strict filtering for all interfaces.", observed=observed, required=needed)


_UFW = optional(NodeKind.ufw_enabled)
_NEEDED_PROGRAMS = required(NodeKind.programs)


@check(
    id="node.firewall",
    title="Host firewall",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_NEEDED_PROGRAMS, _UFW),
)
def firewall(given: Given) -> Outcome:
    """Whether firewalld or ufw filters on this node."""
    ufw = given[_UFW]
    active = ["firewalld"] if "firewalld" in given[_NEEDED_PROGRAMS] else []
    if isinstance(ufw, Known) and ufw.value:
        active.append("ufw")
    if not active:
        if isinstance(ufw, Unknown):
            return unknown("ufw-unseen", f"Whether ufw is on could not be told: {ufw.detail}.", reason=ufw.reason)
        return passed("none", "Neither firewalld nor ufw is on.")
    shown = " and ".join(active)
    return warn(
        "active",
        f"{shown} is on. It drops what Calico {given.release.version} needs between nodes, VXLAN for NodePorts above "
        "all, unless told otherwise, and it puts its rules back over Calico's.",
        observed=shown,
        required=f"no other firewall, or UDP {given.release.network.vxlan.port} and Calico's other ports open in it",
        remediation=Remediation(
            text="Stop and mask it, or open Calico's ports in it.",
            commands=tuple("ufw disable" if one == "ufw" else f"systemctl mask --now {one}" for one in active),
        ),
    )


_UNMANAGED = optional(NodeKind.unmanaged_devices)


@check(
    id="node.base.networkmanager",
    title="NetworkManager leaves Calico's interfaces alone",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_NEEDED_PROGRAMS, _UNMANAGED),
)
def base_networkmanager(given: Given) -> Outcome:
    """Whether NetworkManager, where it runs, is told not to manage cali*, tunl* and vxlan.calico."""
    if "NetworkManager" not in given[_NEEDED_PROGRAMS]:
        return passed("not-there", "NetworkManager does not run.")
    lines = given[_UNMANAGED]
    if not isinstance(lines, Known):
        detail = lines.detail if isinstance(lines, Unknown) else "they are not there"
        reason = lines.reason if isinstance(lines, Unknown) else Reason.NOT_COLLECTED
        return unknown("files-unseen", f"NetworkManager's configuration could not be read: {detail}.", reason=reason)
    told = " ".join(lines.value)
    left_alone = [word for word in re.split(r"[=;,\s]+", told) if word.startswith("interface-name:")]
    everything = "interface-name:*" in left_alone
    lacking = [
        name
        for name in ("cali", "tunl", "vxlan.calico")
        if not everything and not any(word.startswith(f"interface-name:{name}") for word in left_alone)
    ]
    needed = "unmanaged-devices names cali*, tunl* and vxlan.calico"
    if not lacking:
        return passed("unmanaged", "NetworkManager leaves Calico's interfaces alone.", required=needed)
    return warn(
        "managed",
        "NetworkManager runs and is not told to leave Calico's interfaces alone "
        f"({', '.join(lacking)} not named): it can take routes and addresses away from them.",
        observed=excerpt(told, 120) or "no unmanaged-devices line",
        required=needed,
        remediation=Remediation(
            text="Write /etc/NetworkManager/conf.d/calico.conf and reload NetworkManager.",
            commands=(
                "printf '[keyfile]\\nunmanaged-devices=interface-name:cali*;interface-name:tunl*;interface-name:"
                "vxlan.calico;interface-name:vxlan-v6.calico\\n' > /etc/NetworkManager/conf.d/calico.conf",
                "systemctl reload NetworkManager",
            ),
        ),
    )


_PINS = settled(NodeKind.bpf_pins)


@check(
    id="node.bpf.residue",
    title="What others have pinned in bpffs",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_PINS, _NEEDED_PROGRAMS),
)
def bpf_residue(given: Given) -> Outcome:
    """Whether Cilium's or Calico's pins are there from before."""
    pins = given[_PINS]
    owners = pins.value if isinstance(pins, Known) else ()
    shown = ", ".join(owners)
    if "cilium" in owners or "cilium-agent" in given[_NEEDED_PROGRAMS]:
        running = "cilium-agent" in given[_NEEDED_PROGRAMS]
        return warn(
            "cilium",
            ("Cilium runs here" if running else "Cilium has left pins in bpffs")
            + ": its programs on the same hooks take packets before Felix's, or are replaced by them.",
            observed=shown or "cilium-agent runs",
            required="no other dataplane on the node",
            remediation=Remediation(
                text="Remove Cilium from the node and reboot it.", needs_reboot=True, disruptive=True
            ),
        )
    if "calico" in owners:
        return passed(
            "calico",
            "Calico has pinned maps in bpffs: eBPF mode is on, or was and left them.",
            observed=shown,
            note=True,
        )
    return passed("clean", "Neither Calico nor Cilium has pinned anything in bpffs.", observed=shown)


@check(
    id="node.docker.bridge",
    title="Containers on Docker's bridge",
    category="network",
    severity=lambda release: None if release.tracks_docker else Severity.DEGRADE,
    needs=(_LINKS,),
)
def docker_bridge(given: Given) -> Outcome:
    """Whether containers outside of Kubernetes may lose their replies."""
    bridge = given.release.network.docker.bridge
    if not any(link.name == bridge and link.is_up for link in given[_LINKS]):
        return passed("none", "Docker's bridge is not there, or not up.")
    return warn(
        "bridge",
        f"{bridge} is up: before v{_since(given)} Felix does not track its packets, and containers outside of "
        "Kubernetes lose replies.",
        observed=f"{bridge} is up",
        required="no container outside of Kubernetes on Docker's bridge",
        remediation=Remediation(text="Move those containers into Kubernetes, or upgrade Calico."),
    )


def _since(given: Given) -> str:
    return given.release.network.docker.tracked_from.removeprefix(">=")
