"""The steps of a plan, each with its way back."""

import shlex
from collections.abc import Sequence

import msgspec

from ebpfcheck.checks.dns import missed_caches
from ebpfcheck.checks.kube_proxy_state import CLEANUP, mode_of
from ebpfcheck.checks.mesh import settings_for_meshes
from ebpfcheck.model.cluster import Deployment
from ebpfcheck.model.facts import Fact, Known
from ebpfcheck.model.plan import (
    Action,
    Condition,
    Confirmed,
    Create,
    Delete,
    Field,
    FieldChange,
    FieldIs,
    FreshNode,
    Gone,
    Manual,
    Patch,
    Pause,
    Reached,
    Restart,
    RolledOut,
    Runs,
    Step,
    Target,
    Value,
    VariableIs,
)
from ebpfcheck.model.report import Finding
from ebpfcheck.plan.actions import commands_of, undone, words_of
from ebpfcheck.plan.case import CLUSTER_NETWORK, DEPLOYMENTS, INSTALLATION, Case

_OUT_OF_SIGHT = "Switch kube-proxy off where it is started on the nodes."
_HANDS_OFF = "Nodes keep kube-proxy's last rules, which nobody keeps up to date until eBPF mode is on: go on at once."

_CUT = "Connections that eBPF programs keep are cut."


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A step and its way back; None where there is nothing to take back."""

    there: Step
    back: Step | None = None


def made(step: Step) -> Step:
    """Return a step with its actions as commands."""
    commands = tuple(command for action in step.actions for command in commands_of(action))
    return msgspec.structs.replace(step, commands=commands)


def paired(there: Step, back: Step | None = None) -> Pair:
    """Return a step with its way back, whose title is how it is undone."""
    if back is None:
        return Pair(there=made(there))
    return Pair(there=made(msgspec.structs.replace(there, undo=f"{back.title}.")), back=made(back))


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


def kube_proxy_mode(case: Case, finding: Finding | None) -> Pair | None:
    """From IPVS to iptables, and a reboot of each node."""
    modes = case.release.kube_proxy.modes
    if mode_of(case.given, case.proxy) != modes.ipvs or case.proxy.is_off:
        return None
    fix = finding.remediation if finding is not None else None
    device = case.release.network.ipvs.device
    return paired(
        Step(
            id="kube-proxy-mode",
            title=f"Set kube-proxy to {modes.default} mode and reboot the nodes",
            why=f"Nodes have lost all connectivity, SSH included, when kube-proxy was taken away in {modes.ipvs} mode; "
            "Felix removes nothing of it.",
            actions=(
                Manual(
                    text=fix.text if fix else f"Set mode to {modes.default}, then reboot the nodes, one by one.",
                    commands=fix.commands if fix else (),
                ),
            ),
            after=(Confirmed(question=f"Was every node rebooted since, and is {device} gone from each?"),),
            disrupts="Each node is away while it reboots.",
            see=f"No node has {device}: node.ipvs.residue passes.",
            see_commands=("ebpfcheck cluster --probe exec --probe-nodes all --only node.ipvs.residue",),
            stop=f"A node still has {device} after its reboot.",
        ),
        Step(
            id="kube-proxy-mode",
            title=f"Set kube-proxy back to {modes.ipvs} mode",
            why="So it was before.",
            actions=(
                Manual(
                    text=f"Set mode to {modes.ipvs} where kube-proxy is configured, and start it again, if you want "
                    "it back."
                ),
            ),
            disrupts="kube-proxy makes its rules anew on each node.",
            see="Services answer.",
            stop="They do not.",
        ),
    )


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
            _patch(
                Target(resource="services", name=one.name, namespace=one.namespace),
                (("metadata", "annotations", rule.annotation), one.nat_exclude, rule.value),
            )
            for one in services
        )
    elif calico.within(rule.field_releases):
        kept = case.settings.bpf_exclude_cidrs_from_nat
        wanted = (f"{ip}/{128 if ':' in ip else 32}" for _, ip in missed)
        after = tuple(dict.fromkeys((*(kept or ()), *wanted)))
        actions = (_patch(case.felix_target, (("spec", rule.field), kept, after)),)
    else:
        # What to do instead is with cluster.dns.nodelocal.
        return None
    return _reversible(
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
    return _reversible(
        Step(
            id="mesh",
            title="Turn connect-time load balancing off, for the service mesh",
            why="It puts a pod's address in the place of a Service's before the mesh sees the connection.",
            actions=(_patch(case.felix_target, *changes),),
            see="Once eBPF mode is on, the mesh's proxies show Services by their names.",
            stop="FelixConfiguration is not as it was when this plan was made.",
        ),
        title="Set connect-time load balancing to what it was",
    )


def kube_proxy_stays(case: Case) -> Pair | None:
    """Felix lives beside a kube-proxy that cannot go."""
    if not case.proxy.has_to_stay:
        return None
    release, settings = case.release, case.settings
    changes: list[tuple[tuple[str, ...], Value, Value]] = []
    if settings.bpf_kube_proxy_iptables_cleanup_enabled is not False:
        changes.append((("spec", CLEANUP), settings.bpf_kube_proxy_iptables_cleanup_enabled, False))
    port = 0 if release.healthz_takes_zero else release.kube_proxy.health.spare_port
    if release.healthz_field is not None and settings.bpf_kube_proxy_healthz_port is None:
        changes.append((("spec", release.healthz_field), None, port))
    if not changes:
        return None
    return _reversible(
        Step(
            id="kube-proxy-stays",
            title="Let Felix leave kube-proxy's rules and health port alone",
            why=f"On {case.proxy.owner_names or 'this platform'} kube-proxy stays: Felix must not remove its rules, "
            "nor take the port by which it tells that it is well.",
            actions=(_patch(case.felix_target, *changes),),
            see="The fields are as they should be; kube-proxy's log has no errors of iptables-restore afterwards.",
            stop="FelixConfiguration is not as it was when this plan was made.",
        ),
        title="Set what concerns kube-proxy in FelixConfiguration to what it was",
    )


def address(case: Case) -> tuple[Pair, ...]:
    """The ConfigMap with the API server's address, and Calico's pods that take it."""
    if case.endpoint is None and not case.bootstraps and case.override is None:
        return (_no_address(case),)
    change = _address_change(case)
    node, target, endpoint = case.calico_node, case.node_target, case.endpoint
    if change is None or node is None or target is None or endpoint is None:
        return ()
    removal = "Remove the ConfigMap" if isinstance(change, Create) else "Put the ConfigMap's old address back"
    taking, after = _taking(case, target)
    how = "Pods read the ConfigMap when they start."
    if case.install == "operator":
        how = "The operator rolls calico-node out by itself."
        if taking:
            how = "The operator reads the ConfigMap when it starts, and then rolls calico-node out."
    there = case.override
    taken = _variables(case, target, endpoint.host, str(endpoint.port))
    given_back = _variables(case, target, there.host if there else None, there.port if there else None)
    namespace = shlex.quote(node.namespace)
    log = f"kubectl -n {namespace} logs {shlex.quote(f'daemonset/{node.name}')} -c calico-node"
    told = made(
        Step(
            id="api-endpoint",
            title="Tell Calico the API server's own address",
            why="Without kube-proxy the Service default/kubernetes answers only once Calico runs, and Calico needs the "
            "API server before that.",
            actions=(change,),
            see="The ConfigMap is there.",
            see_commands=(f"kubectl get {words_of(change.target)} -o yaml",),
            stop="There is such a ConfigMap that this plan knows nothing of.",
            undo=f"{removal}.",
        )
    )
    picked_up = paired(
        Step(
            id="pick-up",
            title="Let Calico's pods take the address",
            why=how,
            actions=taking,
            after=(*taken, *after),
            disrupts="calico-node is restarted node by node; traffic goes on, policy changes wait.",
            see="calico-node logs the address at its start, and all its pods are Ready.",
            see_commands=(f"{log} | grep -A2 'Kubernetes server override'",),
            stop="A pod does not become Ready: put the address right, or take the ConfigMap away again.",
        ),
        Step(
            id="api-endpoint",
            title=f"{removal}, and let Calico's pods take that in",
            why="It is what was there when the plan was made.",
            actions=(undone(change), *taking),
            after=(*given_back, *after),
            disrupts="calico-node is restarted node by node; traffic goes on, policy changes wait.",
            see="All pods of calico-node are Ready.",
            stop="A pod does not become Ready.",
        ),
    )
    return (Pair(there=told), picked_up)


def _variables(case: Case, node: Target, host: str | None, port: str | None) -> tuple[Condition, ...]:
    """Return when the operator has handed an address to calico-node; nothing where pods take it by themselves."""
    if not case.has_dataplane_field:
        return ()
    minutes = case.release.plan.times.minutes
    return tuple(
        VariableIs(target=node, name=name, value=value, minutes=minutes)
        for name, value in (("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port))
    )


def _no_address(case: Case) -> Pair:
    return paired(
        Step(
            id="api-endpoint",
            title="Give the API servers one stable address",
            why=f"Without kube-proxy Calico has to reach the API server directly, and {case.found.reason}.",
            actions=(
                Manual(
                    text="Put a load balancer, a virtual IP or a name before the API servers, and make this plan anew "
                    "with --api-endpoint HOST:PORT."
                ),
            ),
            after=(Confirmed(question="Is there an address, and was the plan made anew with it?"),),
            see="Every node connects to it.",
            see_commands=("ebpfcheck cluster --probe exec --api-endpoint HOST:PORT",),
            stop="There is none: kube-proxy must not go.",
        )
    )


def _address_change(case: Case) -> Patch | Create | None:
    endpoint, namespace, there = case.endpoint, case.namespace, case.override
    if case.bootstraps or endpoint is None or not endpoint.usable or namespace is None:
        return None
    values = (("KUBERNETES_SERVICE_HOST", endpoint.host), ("KUBERNETES_SERVICE_PORT", str(endpoint.port)))
    target = Target(resource="configmaps", name=case.release.platforms.api_endpoint.config_map, namespace=namespace)
    if there is None:
        fields = tuple(Field(path=("data", key), value=value) for key, value in values)
        return Create(target=target, api_version="v1", kind="ConfigMap", fields=fields)
    before = (there.host, there.port)
    changes = [(("data", key), old, value) for (key, value), old in zip(values, before, strict=True) if old != value]
    return _patch(target, *changes) if changes else None


def _taking(case: Case, node: Target) -> tuple[tuple[Action, ...], tuple[Condition, ...]]:
    """Return what makes Calico's pods read the ConfigMap, and when they have."""
    times = case.release.plan.times
    pause = Pause(seconds=times.kubelet_seconds, why="kubelet hands a new ConfigMap to pods after up to a minute")
    rolled = RolledOut(target=node, minutes=times.rollout_minutes)
    if case.install == "manifest":
        typha = _deployment(case.facts.typha)
        controllers = Target(resource=DEPLOYMENTS, name="calico-kube-controllers", namespace=node.namespace)
        own = () if typha is None else (typha,)
        return (
            (
                pause,
                *(Restart(target=one) for one in own),
                Restart(target=node),
                Restart(target=controllers, optional=True),
            ),
            (*(RolledOut(target=one, minutes=times.minutes) for one in own), rolled),
        )
    operator = _deployment(case.facts.operator)
    if case.release.operator_needs_restart and operator is not None:
        return (pause, Restart(target=operator)), (RolledOut(target=operator, minutes=times.minutes), rolled)
    return (), (rolled,)


def _deployment(fact: Fact[Deployment]) -> Target | None:
    if not isinstance(fact, Known):
        return None
    return Target(resource=DEPLOYMENTS, name=fact.value.name, namespace=fact.value.namespace)


def reach(case: Case) -> Pair | None:
    """Every node reaches the address, before anything hangs on it."""
    reached = _reached(case)
    if not reached:
        return None
    return paired(
        Step(
            id="reach",
            title="See that every node reaches the API server without kube-proxy",
            why="A wrong address cuts off whatever is told to use it, Calico first.",
            after=reached,
            see=f"Every node connects to {_addresses(reached)} from its own network: short-lived pods of calico-node's "
            "image on the host's network try it.",
            see_commands=("ebpfcheck cluster --probe exec --only node.api-endpoint.reachable",),
            stop="A node does not reach it: a firewall, a route, or its resolver.",
        )
    )


def proof(case: Case) -> Pair | None:
    """A node that starts now does without kube-proxy."""
    node, reached = case.calico_node, _reached(case)
    if node is None or not reached or case.proxy.is_off or case.proxy.has_to_stay:
        return None
    return paired(
        Step(
            id="proof",
            title="Prove that a node that starts does without kube-proxy",
            why="A wrong address shows only when a node starts; while kube-proxy runs, all can still be put right.",
            after=(*reached, FreshNode(namespace=node.namespace)),
            see=f"Every node still connects to {_addresses(reached)}, and one that you reboot now becomes Ready.",
            see_commands=("kubectl get nodes",),
            stop="A node does not reach it, or does not come back.",
        )
    )


def _reached(case: Case) -> tuple[Reached, ...]:
    node, endpoint = case.calico_node, case.endpoint
    if node is None:
        return ()
    if case.bootstraps:
        addresses = [_split(server) for server in case.api_servers]
    elif endpoint is not None and endpoint.usable:
        addresses = [(endpoint.host, endpoint.port)]
    else:
        addresses = []
    return tuple(
        Reached(
            host=host,
            port=port,
            image=node.image,
            namespace=node.namespace,
            # OpenShift lets pods onto the host's network by what they run as.
            service_account=node.name if case.openshift is not None else None,
            leave_out=tuple(one.mark for one in case.release.platforms.special if one.no_daemon_sets),
            minutes=case.release.plan.times.minutes,
        )
        for host, port in addresses
    )


def _addresses(reached: Sequence[Reached]) -> str:
    return " and ".join(f"[{one.host}]:{one.port}" if ":" in one.host else f"{one.host}:{one.port}" for one in reached)


def kube_proxy_off(case: Case) -> Pair | None:
    """kube-proxy leaves the nodes."""
    proxy, release = case.proxy, case.release
    if proxy.is_off or proxy.has_to_stay:
        return None
    title = "Take kube-proxy off the nodes"
    why = "Felix serves Services itself in eBPF mode, and removes kube-proxy's rules: both at once fight over them."
    if case.manages_kube_proxy:
        management = case.installation.kube_proxy_management
        if management == "Enabled":
            return None
        return _reversible(
            Step(
                id="kube-proxy-off",
                title="Let the operator take kube-proxy off the nodes",
                why=f"{why} The operator does it once eBPF mode is on, and puts it back when it goes.",
                before=_ready(case),
                actions=(
                    _patch(INSTALLATION, (("spec", "calicoNetwork", "kubeProxyManagement"), management, "Enabled")),
                ),
                see="The operator does not complain of kube-proxy.",
                see_commands=("kubectl get tigerastatus kubeproxy-monitor",),
                stop="TigeraStatus kubeproxy-monitor is Degraded: it says why.",
            ),
            title="Let the operator leave kube-proxy alone",
        )
    target = case.proxy_target
    openshift = case.openshift
    minutes = release.plan.times.minutes
    ready = _ready(case)
    gone = (Gone(target=target, minutes=minutes),) if target is not None else ()
    runs = (Runs(target=target, minutes=minutes),) if target is not None else ()
    is_gone = Confirmed(question="Is kube-proxy gone from every node?")
    is_back = Confirmed(question="Does kube-proxy run on every node again?")
    see_commands = (f"kubectl get {words_of(target)}",) if target is not None else ()
    stop = "It comes back: somebody looks after it; see cluster.kube-proxy.managed."
    if openshift is not None:
        return _reversible(
            Step(
                id="kube-proxy-off",
                title=title,
                why=why,
                before=ready,
                actions=(_patch(CLUSTER_NETWORK, (("spec", "deployKubeProxy"), openshift.deploy_kube_proxy, False)),),
                after=gone or (is_gone,),
                disrupts=_HANDS_OFF,
                see="There are no pods of kube-proxy any more.",
                see_commands=("kubectl get pods -A -l app=kube-proxy",),
                stop=stop,
            ),
            title="Let OpenShift run kube-proxy again",
            after=runs or (is_back,),
        )
    owners = proxy.owners
    selector = release.kube_proxy.switch.selectors[0]
    path = ("spec", "template", "spec", "nodeSelector", selector)
    manual = tuple(
        # What is on the DaemonSet itself is a step of its own here.
        Manual(text=owner.remedy, commands=() if _can_be_kept_off(case) else owner.commands)
        for owner in owners
    )
    undo = tuple(Manual(text=owner.undo or f"Take back what was changed at {owner.name}.") for owner in owners)
    patches: tuple[Patch, ...] = ()
    if target is not None and _can_be_kept_off(case):
        patches = (_patch(target, (path, None, "true")),)
    if not manual and not patches:
        manual = (Manual(text=_OUT_OF_SIGHT),)
        undo = (Manual(text="Switch kube-proxy on again where it is started on the nodes."),)
    there = Step(
        id="kube-proxy-off",
        title=title,
        why=why,
        before=ready,
        actions=(*manual, *patches),
        after=(*((is_gone,) if manual else ()), *gone),
        disrupts=_HANDS_OFF,
        see="kube-proxy runs on no node.",
        see_commands=see_commands,
        stop=stop,
    )
    back = Step(
        id="kube-proxy-off",
        title="Bring kube-proxy back",
        why="Nobody else serves Services once eBPF mode is off.",
        actions=(*(undone(patch) for patch in patches), *undo),
        after=(*((is_back,) if undo else ()), *runs),
        disrupts="kube-proxy makes its rules anew on each node.",
        see="kube-proxy runs on every node.",
        see_commands=see_commands,
        stop="A node has no kube-proxy: it has no Services.",
    )
    return paired(there, back)


def _ready(case: Case) -> tuple[Condition, ...]:
    """Return what has to hold before kube-proxy goes: a pod of calico-node that is not ready holds the switch up."""
    node = case.node_target
    return () if node is None else (RolledOut(target=node, minutes=case.release.plan.times.minutes),)


def nft_tables(case: Case) -> Pair | None:
    """What kube-proxy in nftables mode leaves, and Felix does not remove."""
    release, proxy = case.release, case.proxy
    modes = release.kube_proxy.modes
    if mode_of(case.given, proxy) != modes.nftables or release.removes_nft_tables or proxy.has_to_stay:
        return None
    return paired(
        Step(
            id="nft-tables",
            title="Delete the tables that kube-proxy has left",
            why=f"Felix {release.version} does not remove them, and packets go on to pods that may be gone.",
            actions=(
                Manual(
                    text="On every node, as root; or reboot the nodes, one by one.",
                    commands=tuple(f"nft delete table {table}" for table in release.network.nft.kube_proxy_tables),
                ),
            ),
            after=(Confirmed(question="Are the tables gone from every node?"),),
            see="node.kube-proxy.residue passes.",
            see_commands=("ebpfcheck cluster --probe exec --probe-nodes all --only node.kube-proxy.residue",),
            stop="A node still has them.",
        )
    )


def _can_be_kept_off(case: Case) -> bool:
    """Whether a nodeSelector on the DaemonSet lasts: nobody looks after it, or only wrote it once, as EKS's add-on."""
    target = case.proxy_target
    return target is not None and (not case.proxy.owners or case.proxy.is_only_written)


def enable(case: Case) -> Pair | None:
    """The switch itself."""
    release, node = case.release, case.node_target
    times = release.plan.times
    rolled: tuple[Condition, ...] = (RolledOut(target=node, minutes=times.rollout_minutes),) if node is not None else ()
    title = "Enable eBPF mode"
    why = "Felix sees it on every node, and starts itself anew in eBPF mode."
    if case.has_dataplane_field and release.operator_sets_felix:
        why = (
            "The operator rolls calico-node out, and turns bpfEnabled on once all its pods are available: one that is "
            "not holds it up for all."
        )
    elif case.has_dataplane_field:
        why = "The operator rolls calico-node out with eBPF mode on, node by node."
    see = "`ebpfcheck verify` shows, node by node, what runs: bpfEnabled alone proves nothing."
    see_commands = ("ebpfcheck verify --wait 10m",)
    stop = "A pod of calico-node does not become Ready, or Services do not answer: go back with rollback.sh."
    disrupts = "Traffic, as the plan's forecast says."
    if not case.has_dataplane_field:
        path = ("spec", "bpfEnabled")
        now = case.settings.bpf_enabled
        if now is True:
            return None
        restarting = Pause(seconds=times.kubelet_seconds, why="Felix restarts itself on every node")
        action = _patch(case.felix_target, (path, now, True))
        return _reversible(
            Step(
                id="enable",
                title=title,
                why=why,
                before=_ready(case),
                actions=(action, restarting),
                after=rolled,
                disrupts=disrupts,
                see=see,
                see_commands=see_commands,
                stop=stop,
            ),
            title="Disable eBPF mode",
            disrupts=_CUT,
        )
    return _by_operator(case, title, why, see, see_commands, stop, disrupts, rolled)


def _by_operator(
    case: Case,
    title: str,
    why: str,
    see: str,
    see_commands: tuple[str, ...],
    stop: str,
    disrupts: str,
    rolled: tuple[Condition, ...],
) -> Pair | None:
    release, asked = case.release, case.installation
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
    if not changes:
        return None

    return _reversible(
        Step(
            id="enable",
            title=title,
            why=why,
            before=_ready(case),
            actions=(_patch(INSTALLATION, *changes),),
            after=(*_flipped(case, on=True), *rolled, *_proxy_managed(case, on=True)),
            disrupts=disrupts,
            see=see,
            see_commands=("kubectl get tigerastatus", *see_commands),
            stop=f"TigeraStatus calico is Degraded, or {stop[0].lower()}{stop[1:]}",
        ),
        title="Disable eBPF mode",
        disrupts=_CUT,
    )


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
    return _reversible(
        Step(
            id="dsr",
            title="Let nodes answer clients directly (DSR)",
            why=finding.message,
            actions=(_patch(case.felix_target, (("spec", "bpfExternalServiceMode"), mode, "DSR")),),
            disrupts="Connections from outside to Services whose pods are on another node are cut.",
            see="A client outside reaches a Service by a node that runs none of its pods, and keeps its own address.",
            see_commands=("ebpfcheck cluster --only cluster.dsr",),
            stop="Clients time out: the network does not let nodes send in each other's name.",
        ),
        title="Let answers go back by the node that was asked",
    )


def _reversible(there: Step, *, title: str, after: Sequence[Condition] = (), disrupts: str = "") -> Pair:
    """Return a step of actions that lead back by themselves, last first."""
    changes = [one for one in reversed(there.actions) if isinstance(one, Patch | Create | Delete | Restart)]
    pauses = [one for one in there.actions if isinstance(one, Pause)]
    return paired(
        there,
        Step(
            id=there.id,
            title=title,
            why="It is what was there when the plan was made.",
            actions=(*map(undone, changes), *pauses),
            after=tuple(after),
            disrupts=disrupts or there.disrupts,
            see="The fields are what they were.",
            stop=there.stop if there.id != "enable" else "A pod of calico-node does not become Ready.",
        ),
    )


def _patch(target: Target, *changes: tuple[tuple[str, ...], Value, Value]) -> Patch:
    fields = (FieldChange(path=path, before=before, after=after) for path, before, after in changes)
    return Patch(target=target, fields=tuple(fields))


def _api_version(case: Case) -> str:
    store = case.release.calico.datastore
    group = case.felix_target.resource.partition(".")[2]
    return f"{group}/{'v3' if group == store.served else 'v1'}"


def _split(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)
