"""Ports that Felix needs for itself: that of VXLAN, and that of kube-proxy's health."""

from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    optional,
    passed,
    required,
    unseen,
    warn,
)
from ebpfcheck.model.facts import Absent, Known, NodeKind
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

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
        return unseen(
            "owner-unseen",
            f"Something listens on TCP port {rule.port}; who it is could not be told",
            programs,
            observed=f"a listener on {rule.port}",
            required=needed,
        )
    proxies = [program for program in (*rule.kube_proxies, *rule.may_be_kube_proxy) if program in programs.value]
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
