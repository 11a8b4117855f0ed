"""Ports that Felix needs for itself: that of VXLAN, and that of kube-proxy's health."""

from ebpfcheck.checks.felix import FELIX, PROGRAMS, is_on, set_command, settings
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
from ebpfcheck.model.facts import FIRST_EPHEMERAL_PORT, Absent, Known, NodeKind, Reason
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_VXLANS = required(NodeKind.vxlans)
_BTF = optional(NodeKind.vmlinux_btf)
_UDP = optional(NodeKind.udp_ports)


def _not_kept(port: int, needed: str) -> Outcome:
    return unknown(
        "ephemeral",
        f"Port {port} is one of those that the kernel hands out by itself, of which the survey keeps none: whether it "
        "is taken cannot be told, and anybody may take it.",
        reason=Reason.UNSUPPORTED,
        required=needed,
        remediation=Remediation(text=f"Set a port below {FIRST_EPHEMERAL_PORT}."),
    )


@check(
    id="node.vxlan.port-conflict",
    title="UDP port of VXLAN",
    category="network",
    severity=lambda release: Severity.BLOCKER if release.flow_based_vxlan else None,
    needs=(_VXLANS, _BTF, _UDP, FELIX),
)
def vxlan_port_conflict(given: Given) -> Outcome:
    """Whether another VXLAN device is on the port that a flow-based vxlan.calico takes whole."""
    calico, rule = given.release.version, given.release.network.vxlan
    felix = settings(given)
    port = (felix.vxlan_port if felix is not None else None) or rule.port
    others = [device for device in given[_VXLANS] if device.port == port and device.name not in rule.own_devices]
    needed = f"nothing else on UDP port {port}"
    btf, udp = given[_BTF], given[_UDP]
    shares = not given.release.flow_based_without_btf and (
        isinstance(btf, Absent) or (isinstance(btf, Known) and not btf.value)
    )
    here = [device for device in others if device.is_up and not device.namespace]
    listed = {device.port for device in given[_VXLANS] if not device.namespace}
    if not isinstance(udp, Known) and not others:
        return unseen("sockets-unseen", f"Whether UDP port {port} is taken could not be told", udp, required=needed)
    if port >= FIRST_EPHEMERAL_PORT and not others:
        return _not_kept(port, needed)
    is_taken_unseen = isinstance(udp, Known) and port in udp.value and port not in listed
    shown = excerpt(", ".join(f"{one.name} in {one.namespace}" if one.namespace else one.name for one in others), 120)
    if is_taken_unseen:
        shown += (", " if shown else "") + "a socket of something that is not seen here"
    if not shown:
        return passed("free", f"Nothing else takes UDP port {port}.", required=needed)
    if shares and not is_taken_unseen:
        return passed(
            "classic",
            f"{shown} is on UDP port {port}, which Calico {calico} shares with it on a kernel without BTF.",
            observed=shown,
            required=needed,
            note=True,
        )
    fix = Remediation(
        text="Find out who takes the port (Docker Swarm keeps its devices in namespaces of its own) and remove it, or "
        "set vxlanPort in FelixConfiguration to a free port on all nodes, and open it between them.",
        commands=(f"ss -ulnp sport = :{port}", "ip -d link show type vxlan"),
        disruptive=True,
    )
    if is_taken_unseen or (here and (isinstance(btf, Known) or given.release.flow_based_without_btf)):
        return fail(
            "taken",
            f"{shown} takes UDP port {port}: vxlan.calico of Calico {calico} wants that port for every VNI and "
            "stays down ('address already in use'), so that pods and NodePorts do not reach other nodes.",
            observed=shown,
            required=needed,
            remediation=fix,
        )
    return warn(
        "could-be-taken",
        f"{shown} uses UDP port {port}. If it comes up in the node's own network first, vxlan.calico of Calico "
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
    needs=(_LISTENERS, _PROGRAMS, FELIX, PROGRAMS),
)
def port_healthz(given: Given) -> Outcome:
    """Whether somebody listens where Felix will, and is not about to go."""
    calico, rule = given.release.version, given.release.network.healthz
    felix = settings(given)
    port = (
        rule.port if felix is None or felix.bpf_kube_proxy_healthz_port is None else felix.bpf_kube_proxy_healthz_port
    )
    if port == 0:
        return passed("off", "bpfKubeProxyHealthzPort is 0: Felix serves no health there.")
    needed = f"TCP port {port} is free, or kube-proxy's until it goes"
    if port >= FIRST_EPHEMERAL_PORT:
        return _not_kept(port, needed)
    if port not in given[_LISTENERS]:
        return passed("free", f"Nothing listens on TCP port {port}.", required=needed)
    observed = f"a listener on {port}"
    move = Remediation(
        text="Let Felix serve its health on a port that is free, such as 10258.",
        commands=(set_command("bpfKubeProxyHealthzPort", 10258),),
    )
    programs = given[_PROGRAMS]
    if not isinstance(programs, Known):
        return unseen(
            "owner-unseen",
            f"Something listens on TCP port {port}; who it is could not be told",
            programs,
            observed=observed,
            required=needed,
        )
    proxies = [program for program in (*rule.kube_proxies, *rule.may_be_kube_proxy) if program in programs.value]
    if proxies and port == rule.port:
        if felix is not None and felix.bpf_kube_proxy_iptables_cleanup_enabled is False:
            return warn(
                "kube-proxy-stays",
                f"TCP port {port} is kube-proxy's ({', '.join(proxies)}), and kube-proxy is to stay, as "
                f"bpfKubeProxyIptablesCleanupEnabled is false: Felix {calico} tries in vain to serve its health there.",
                observed=observed,
                required=f"bpfKubeProxyHealthzPort is another one than {port}",
                remediation=move,
            )
        return passed(
            "kube-proxy",
            f"TCP port {port} is taken, as it is while kube-proxy runs ({', '.join(proxies)}).",
            observed=observed,
            required=needed,
        )
    on = is_on(given)
    if "calico-node" in programs.value and on:
        return passed(
            "calico",
            f"TCP port {port} is taken, and Calico's eBPF mode is on: it is Felix's, as far as can be seen.",
            observed=observed,
            required=needed,
            note=True,
        )
    if "calico-node" in programs.value and on is None:
        return unknown(
            "calico-or-foreign",
            f"Something listens on TCP port {port}. It is Felix, if eBPF mode is on already, which could not be told "
            "without bpftool.",
            reason=Reason.TOOL_MISSING,
            observed=observed,
            required=needed,
            remediation=Remediation(text="See who listens.", commands=(f"ss -ltnp sport = :{port}",)),
        )
    return warn(
        "foreign",
        f"Something listens on TCP port {port}, and no kube-proxy runs: Felix {calico} cannot serve its health "
        "there, and load balancers that ask for it get another answer.",
        observed=observed,
        required=needed,
        remediation=Remediation(
            text="Find out who listens, and stop it or set bpfKubeProxyHealthzPort to another port.",
            commands=(f"ss -ltnp sport = :{port}",),
        ),
    )
