"""The switch to eBPF mode itself, what has to be set before it, and what is to be seen after it."""

import shlex
from collections.abc import Sequence

from ebpfcheck.checks.dns import missed_caches
from ebpfcheck.checks.mesh import settings_for_meshes
from ebpfcheck.checks.platform import spare_vxlan_port
from ebpfcheck.model.facts import Known
from ebpfcheck.model.plan import (
    Action,
    Condition,
    Confirmed,
    Create,
    FieldIs,
    Gone,
    Manual,
    Patch,
    Pause,
    RolledOut,
    Runs,
    Step,
    Target,
    Value,
    VariableIs,
)
from ebpfcheck.model.report import Finding
from ebpfcheck.plan.actions import words_of
from ebpfcheck.plan.case import INSTALLATION, Case
from ebpfcheck.plan.step import Pair, paired, patched, ready, reversible

_CUT = "Connections that eBPF programs keep are cut."
_VERIFY = "ebpfcheck verify --wait 10m"


def felix_default(case: Case, pairs: Sequence[Pair]) -> Pair | None:
    """The object that other steps change, where there is none."""
    target = case.felix_target
    used = any(isinstance(one, Patch) and one.target == target for pair in pairs for one in pair.there.actions)
    if case.has_felix_default or not used:
        return None
    return paired(
        Step(
            id="felix-default",
            title="Make FelixConfiguration default",
            why="There is none yet, and what Felix is told stands there.",
            actions=(Create(target=target, api_version=_api_version(case), kind="FelixConfiguration", fields=()),),
            see="It is there.",
            see_commands=(f"kubectl get {words_of(target)}",),
            stop="It is refused.",
            undo="It may stay: it says nothing by itself.",
        )
    )


def _api_version(case: Case) -> str:
    store = case.release.calico.datastore
    group = case.felix_target.resource.partition(".")[2]
    return f"{group}/{'v3' if group == store.served else 'v1'}"


def dns(case: Case) -> Pair | None:
    """NodeLocal DNSCache keeps its queries."""
    missed = missed_caches(case.given)
    rule, calico = case.release.add_ons.node_local_dns, case.release.version
    if not missed:
        return None
    actions: tuple[Action, ...]
    if calico.within(rule.annotation_releases):
        services = dict.fromkeys(service for service, _ in missed)
        actions = tuple(
            patched(
                Target(resource="services", name=one.name, namespace=one.namespace),
                (("metadata", "annotations", rule.annotation), one.nat_exclude, rule.value),
            )
            for one in services
        )
    elif calico.within(rule.field_releases):
        kept = case.settings.bpf_exclude_cidrs_from_nat
        wanted = (f"{ip}/{128 if ':' in ip else 32}" for _, ip in missed)
        after = tuple(dict.fromkeys((*(kept or ()), *wanted)))
        actions = (patched(case.felix_target, (("spec", rule.field), kept, after)),)
    else:
        # What to do instead is with cluster.dns.nodelocal.
        return None
    return reversible(
        Step(
            id="dns",
            title="Let Felix leave the Service of NodeLocal DNSCache alone",
            why="Felix resolves a Service before packets get to the cache on the node, which then is never asked.",
            actions=actions,
            see="Once eBPF mode is on, the cache counts queries: coredns_cache_requests_total of node-local-dns grows.",
            stop="The Service or FelixConfiguration is not as it was when this plan was made.",
        ),
        title="Take the Service of NodeLocal DNSCache back into load balancing",
    )


def mesh(case: Case) -> Pair | None:
    """Service meshes see Services."""
    wanted = settings_for_meshes(case.given)
    if not wanted:
        return None
    before = {
        "bpfConnectTimeLoadBalancing": case.settings.bpf_connect_time_load_balancing,
        "bpfHostNetworkedNATWithoutCTLB": case.settings.bpf_host_networked_nat_without_ctlb,
        "bpfConnectTimeLoadBalancingEnabled": case.settings.bpf_connect_time_load_balancing_enabled,
    }
    changes = [(("spec", field), before[field], value) for field, value in wanted.items() if before[field] != value]
    if not changes:
        return None
    return reversible(
        Step(
            id="mesh",
            title="Turn connect-time load balancing off, for the service mesh",
            why="It puts a pod's address in the place of a Service's before the mesh sees the connection.",
            actions=(patched(case.felix_target, *changes),),
            see="Once eBPF mode is on, the mesh's proxies show Services by their names.",
            stop="FelixConfiguration is not as it was when this plan was made.",
        ),
        title="Set connect-time load balancing to what it was",
    )


def vxlan_port(case: Case) -> Pair | None:
    """Calico's tunnels get a port of their own where the platform has one on theirs."""
    used = case.settings.vxlan_port or case.release.network.vxlan.port
    spare = spare_vxlan_port(case.given, used)
    if spare is None:
        return None
    node = case.node_target
    return reversible(
        Step(
            id="vxlan-port",
            title=f"Move Calico's VXLAN to UDP port {spare}",
            why=f"The platform's own overlay is on UDP port {used} of every node, and vxlan.calico may want it for "
            "itself in eBPF mode.",
            before=(Confirmed(question=f"Does every firewall between the nodes let UDP port {spare} through?"),),
            actions=(patched(case.felix_target, (("spec", "vxlanPort"), case.settings.vxlan_port, spare)),),
            after=(RolledOut(target=node, minutes=case.release.plan.times.minutes),) if node is not None else (),
            disrupts="Pods of different nodes lose each other until both nodes have the new port, seconds apart.",
            see=f"vxlan.calico has dstport {spare} on each node, and pods of different nodes reach each other.",
            see_commands=("ip -details link show vxlan.calico",),
            stop="Pods of different nodes do not reach each other after a minute: a firewall.",
        ),
        title=f"Move Calico's VXLAN back to UDP port {used}",
    )


def enable(case: Case) -> Pair | None:
    """The switch itself."""
    actions, node, times = _switch(case), case.node_target, case.release.plan.times
    if not actions:
        return None
    rolled = (RolledOut(target=node, minutes=times.rollout_minutes),) if node is not None else ()
    return reversible(
        Step(
            id="enable",
            title="Enable eBPF mode",
            why=_how(case),
            before=ready(case),
            actions=actions,
            after=(*_flipped(case, on=True), *rolled, *_proxy_managed(case, on=True)),
            disrupts="Traffic, as the plan's forecast says.",
            see="`ebpfcheck verify` shows, node by node, what runs: bpfEnabled alone proves nothing.",
            see_commands=(*(("kubectl get tigerastatus",) if case.has_dataplane_field else ()), _VERIFY),
            stop=("TigeraStatus calico is Degraded, a" if case.has_dataplane_field else "A")
            + " pod of calico-node does not become Ready, or Services do not answer: go back with rollback.sh.",
        ),
        title="Disable eBPF mode",
        disrupts=_CUT,
        stop="It is refused.",
    )


def _how(case: Case) -> str:
    if not case.has_dataplane_field:
        return "Felix sees it on every node, and starts itself anew in eBPF mode."
    if case.release.operator_sets_felix:
        return (
            "The operator rolls calico-node out, and turns bpfEnabled on once all its pods are available: one that is "
            "not holds it up for all."
        )
    return "The operator rolls calico-node out with eBPF mode on, node by node."


def _switch(case: Case) -> tuple[Action, ...]:
    """Return what turns eBPF mode on; nothing where it is asked for already."""
    release, asked = case.release, case.installation
    if not case.has_dataplane_field:
        now = case.settings.bpf_enabled
        restarting = Pause(seconds=release.plan.times.kubelet_seconds, why="Felix restarts itself on every node")
        return () if now is True else (patched(case.felix_target, (("spec", "bpfEnabled"), now, True)), restarting)
    network = ("spec", "calicoNetwork")
    changes: list[tuple[tuple[str, ...], Value, Value]] = []
    bpf = release.calico.operator.bpf
    if asked.linux_dataplane != bpf:
        changes.append(((*network, "linuxDataplane"), asked.linux_dataplane, bpf))
    if case.bootstraps and asked.bpf_network_bootstrap != "Enabled":
        changes.append(((*network, "bpfNetworkBootstrap"), asked.bpf_network_bootstrap, "Enabled"))
    host_ports = release.features.host_ports
    if release.version.within(host_ports.refused) and asked.host_ports == host_ports.refused_word:
        changes.append(((*network, "hostPorts"), asked.host_ports, host_ports.accepted_word))
    return (patched(INSTALLATION, *changes),) if changes else ()


def _flipped(case: Case, *, on: bool) -> tuple[Condition, ...]:
    """Return when the operator has turned eBPF mode on or off."""
    release, node = case.release, case.node_target
    minutes = release.plan.times.rollout_minutes
    if not case.has_dataplane_field:
        return ()
    if release.operator_sets_felix:
        return (FieldIs(target=case.felix_target, path=("spec", "bpfEnabled"), value=on, minutes=minutes),)
    if node is None:
        return ()
    variable, value = release.calico.operator.variable, "true" if on else None
    return (VariableIs(target=node, name=variable, value=value, minutes=minutes),)


def _proxy_managed(case: Case, *, on: bool) -> tuple[Condition, ...]:
    """Return when the operator has taken kube-proxy off the nodes, or brought it back; nothing where others do."""
    target = case.proxy_target
    if target is None or not case.manages_kube_proxy or case.proxy.is_off:
        return ()
    minutes = case.release.plan.times.rollout_minutes
    return (Gone(target=target, minutes=minutes),) if on else (Runs(target=target, minutes=minutes),)


def settled(case: Case) -> Step:
    """Return the step of the way back that waits, once all is asked for that brings Services back."""
    node = case.node_target
    rolled = (RolledOut(target=node, minutes=case.release.plan.times.rollout_minutes),) if node is not None else ()
    return Step(
        id="settled",
        title="Wait for calico-node",
        why="Felix starts anew on every node, and removes its programs.",
        after=(*_flipped(case, on=False), *_proxy_managed(case, on=False), *rolled),
        see="Every pod of calico-node is Ready.",
        stop="A pod of calico-node does not become Ready: look at its log.",
    )


def verification(case: Case) -> Pair:
    """What runs, by evidence."""
    node = case.calico_node
    logs: tuple[str, ...] = ()
    if node is not None:
        where = f"-n {shlex.quote(node.namespace)} {shlex.quote(f'daemonset/{node.name}')}"
        logs = (f"kubectl logs {where} -c calico-node | grep -i 'bpf.* enabled'",)
    return paired(
        Step(
            id="verify",
            title="See that it is really on",
            why="Where a kernel is refused, Felix says so in its log alone and runs on without eBPF mode.",
            after=(Confirmed(question="Does `ebpfcheck verify` say of every node that it runs eBPF mode?"),),
            see="Every node is named as running eBPF mode.",
            see_commands=("ebpfcheck verify --wait 10m", *logs),
            stop="A node has fallen back: it has no Services without kube-proxy. Mend it or go back.",
        )
    )


def verified_off(case: Case) -> Step:
    """Return the last step of the way back: what runs, by evidence."""
    return Step(
        id="verify",
        title="See that it is really off",
        why="Programs that stay attached go on to decide about packets.",
        see="Every node runs the standard dataplane, and no programs are left.",
        see_commands=(f"ebpfcheck verify --expect {_dataplane_before(case)} --probe exec --wait 10m",),
        stop="Programs are left on a node: reboot it.",
    )


def _dataplane_before(case: Case) -> str:
    """Return the dataplane that the way back leads to, as `verify --expect` calls it."""
    if case.install == "operator":
        # It sets Felix's mode by the dataplane that it is asked for.
        is_nftables = case.installation.linux_dataplane == "Nftables"
    else:
        is_nftables = case.settings.nftables_mode == "Enabled"
    return "nftables" if is_nftables else "iptables"


def workloads(case: Case) -> Pair | None:
    """Pods that have to be made anew."""
    version = case.release.version
    used = ("mtu",) if has_no_overlay(case) else ()
    reasons = [
        one
        for one in case.release.plan.restart
        if (one.when in used or one.when == "always") and version.within(one.releases) is not False
    ]
    if not reasons:
        return None
    return paired(
        Step(
            id="workloads",
            title="Restart workloads, a few at a time",
            why=" ".join(one.words for one in reasons),
            actions=tuple(Manual(text=one.remedy) for one in reasons),
            disrupts="What is restarted.",
            see="What was restarted is Ready, and answers.",
            stop="New pods do not get connected.",
        )
    )


def has_no_overlay(case: Case) -> bool:
    """Whether pods send to other nodes as they are; not known counts as no."""
    pools = case.facts.ip_pools
    found = [pool for pool in pools.value if not pool.disabled] if isinstance(pools, Known) else []
    return bool(found) and all(pool.vxlan_mode == pool.ipip_mode == "Never" for pool in found)


def direct_return(case: Case, finding: Finding | None) -> Pair | None:
    """Direct server return, for who asked for it."""
    mode = case.settings.bpf_external_service_mode
    if finding is None or mode == "DSR":
        return None
    return reversible(
        Step(
            id="dsr",
            title="Let nodes answer clients directly (DSR)",
            why=finding.message,
            actions=(patched(case.felix_target, (("spec", "bpfExternalServiceMode"), mode, "DSR")),),
            disrupts="Connections from outside to Services whose pods are on another node are cut.",
            see="A client outside reaches a Service by a node that runs none of its pods, and keeps its own address.",
            see_commands=("ebpfcheck cluster --only cluster.dsr",),
            stop="Clients time out: the network does not let nodes send in each other's name.",
        ),
        title="Let answers go back by the node that was asked",
    )
