"""Steps that take kube-proxy out of the way, or let Felix live beside it."""

from ebpfcheck.checks.kube_proxy_state import CLEANUP, mode_of
from ebpfcheck.model.plan import Confirmed, Gone, Manual, Patch, Runs, Step, Value
from ebpfcheck.model.report import Finding
from ebpfcheck.plan.actions import undone, words_of
from ebpfcheck.plan.case import CLUSTER_NETWORK, INSTALLATION, Case
from ebpfcheck.plan.step import Pair, paired, patched, ready, reversible

_TITLE = "Take kube-proxy off the nodes"
_WHY = "Felix serves Services itself in eBPF mode, and removes kube-proxy's rules: both at once fight over them."
_STOP = "It comes back: somebody looks after it; see cluster.kube-proxy.managed."
_IS_GONE = Confirmed(question="Is kube-proxy gone from every node?")
IS_BACK = Confirmed(question="Does kube-proxy run on every node again?")
_HANDS_OFF = "Nodes keep kube-proxy's last rules, which nobody keeps up to date until eBPF mode is on: go on at once."


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
    return reversible(
        Step(
            id="kube-proxy-stays",
            title="Let Felix leave kube-proxy's rules and health port alone",
            why=f"On {case.proxy.owner_names or 'this platform'} kube-proxy stays: Felix must not remove its rules, "
            "nor take the port by which it tells that it is well.",
            actions=(patched(case.felix_target, *changes),),
            see="The fields are as they should be; kube-proxy's log has no errors of iptables-restore afterwards.",
            stop="FelixConfiguration is not as it was when this plan was made.",
        ),
        title="Set what concerns kube-proxy in FelixConfiguration to what it was",
    )


def kube_proxy_off(case: Case) -> Pair | None:
    """kube-proxy leaves the nodes."""
    if case.proxy.is_off or case.proxy.has_to_stay:
        return None
    if case.manages_kube_proxy:
        return _off_by_operator(case)
    return _off_by_openshift(case) if case.openshift is not None else _off_by_hand(case)


def _off_by_operator(case: Case) -> Pair | None:
    management = case.installation.kube_proxy_management
    if management == "Enabled":
        return None
    return reversible(
        Step(
            id="kube-proxy-off",
            title="Let the operator take kube-proxy off the nodes",
            why=f"{_WHY} The operator does it once eBPF mode is on, and puts it back when it goes.",
            before=ready(case),
            actions=(patched(INSTALLATION, (("spec", "calicoNetwork", "kubeProxyManagement"), management, "Enabled")),),
            see="The operator does not complain of kube-proxy.",
            see_commands=("kubectl get tigerastatus kubeproxy-monitor",),
            stop="TigeraStatus kubeproxy-monitor is Degraded: it says why.",
        ),
        title="Let the operator leave kube-proxy alone",
    )


def _off_by_openshift(case: Case) -> Pair:
    deployed = case.openshift.deploy_kube_proxy if case.openshift is not None else None
    gone, runs = _seen(case)
    return reversible(
        Step(
            id="kube-proxy-off",
            title=_TITLE,
            why=_WHY,
            before=ready(case),
            actions=(patched(CLUSTER_NETWORK, (("spec", "deployKubeProxy"), deployed, False)),),
            after=gone or (_IS_GONE,),
            disrupts=_HANDS_OFF,
            see="There are no pods of kube-proxy any more.",
            see_commands=("kubectl get pods -A -l app=kube-proxy",),
            stop=_STOP,
        ),
        title="Let OpenShift run kube-proxy again",
        after=runs or (IS_BACK,),
    )


def _off_by_hand(case: Case) -> Pair:
    """Where somebody looks after it, there; where a nodeSelector lasts, by that."""
    target, owners = case.proxy_target, case.proxy.owners
    lasts = _can_be_kept_off(case)
    # What is on the DaemonSet itself is an action of its own here.
    manual = tuple(Manual(text=owner.remedy, commands=() if lasts else owner.commands) for owner in owners)
    undo = tuple(Manual(text=owner.undo or f"Take back what was changed at {owner.name}.") for owner in owners)
    patches: tuple[Patch, ...] = ()
    if target is not None and lasts:
        selector = case.release.kube_proxy.switch.selectors[0]
        patches = (patched(target, (("spec", "template", "spec", "nodeSelector", selector), None, "true")),)
    if not manual and not patches:
        manual = (Manual(text="Switch kube-proxy off where it is started on the nodes."),)
        undo = (Manual(text="Switch kube-proxy on again where it is started on the nodes."),)
    gone, runs = _seen(case)
    see_commands = (f"kubectl get {words_of(target)}",) if target is not None else ()
    there = Step(
        id="kube-proxy-off",
        title=_TITLE,
        why=_WHY,
        before=ready(case),
        actions=(*manual, *patches),
        after=(*((_IS_GONE,) if manual else ()), *gone),
        disrupts=_HANDS_OFF,
        see="kube-proxy runs on no node.",
        see_commands=see_commands,
        stop=_STOP,
    )
    back = Step(
        id="kube-proxy-off",
        title="Bring kube-proxy back",
        why="Nobody else serves Services once eBPF mode is off.",
        actions=(*(undone(patch) for patch in patches), *undo),
        after=(*((IS_BACK,) if undo else ()), *runs),
        disrupts="kube-proxy makes its rules anew on each node.",
        see="kube-proxy runs on every node.",
        see_commands=see_commands,
        stop="A node has no kube-proxy: it has no Services.",
    )
    return paired(there, back)


def _seen(case: Case) -> tuple[tuple[Gone, ...], tuple[Runs, ...]]:
    """Return when kube-proxy is gone, and when it is back; nothing where the API does not show it as a DaemonSet."""
    target, minutes = case.proxy_target, case.release.plan.times.minutes
    if target is None:
        return (), ()
    return (Gone(target=target, minutes=minutes),), (Runs(target=target, minutes=minutes),)


def _can_be_kept_off(case: Case) -> bool:
    """Whether a nodeSelector on the DaemonSet lasts: nobody looks after it, or only wrote it once, as EKS's add-on."""
    target = case.proxy_target
    return target is not None and (not case.proxy.owners or case.proxy.is_only_written)


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
