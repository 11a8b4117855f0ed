"""What other dataplanes left behind or have attached: IPVS, kube-proxy's rules, BPF pins and programs."""

from ebpfcheck.checks.felix import FELIX, PROGRAMS, is_on, is_own, set_command, settings
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    optional,
    passed,
    required,
    settled,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.facts import Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_LINKS = required(NodeKind.links)
_IPVS = settled(NodeKind.ipvs_services)
_LOOK_WITH_BPFTOOL = Remediation(
    text="Look as root, with a bpftool on the node's PATH that is as new as its kernel.", commands=("bpftool net",)
)


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


_NFT = optional(NodeKind.nft_tables)
_CHAINS = optional(NodeKind.kube_chains)
RULES = (_NFT, _CHAINS)
"""What tells of kube-proxy's rules, in whatever state it is."""
_LISTENERS = optional(NodeKind.tcp_listeners)
_NEEDED_PROGRAMS = required(NodeKind.programs)


@check(
    id="node.kube-proxy.residue",
    title="kube-proxy's rules",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_NFT, _CHAINS, _NEEDED_PROGRAMS, _LISTENERS, FELIX, PROGRAMS),
)
def kube_proxy_residue(given: Given) -> Outcome:
    """Whether kube-proxy's rules are there although it does not run, or it runs beside eBPF mode."""
    calico = given.release.version
    programs, healthz = given[_NEEDED_PROGRAMS], given.release.network.healthz
    felix, on = settings(given), is_on(given)
    kept = felix is not None and felix.bpf_kube_proxy_iptables_cleanup_enabled is False
    unless = "" if felix is not None else ", unless bpfKubeProxyIptablesCleanupEnabled was set to false"
    needed = "no rules of kube-proxy's once it is gone"
    listeners = given[_LISTENERS]
    within = [program for program in healthz.may_be_kube_proxy if program in programs]
    serves = isinstance(listeners, Known) and healthz.metrics_port in listeners.value
    if any(program in programs for program in healthz.kube_proxies) or (within and serves):
        if on and not kept:
            return warn(
                "both",
                f"kube-proxy runs, and so does Calico's eBPF mode: Felix {calico} removes kube-proxy's rules and "
                f"kube-proxy puts them back, over and over{unless}.",
                observed="kube-proxy runs, and Calico's programs are attached",
                required="kube-proxy is gone, or bpfKubeProxyIptablesCleanupEnabled is false",
                remediation=Remediation(
                    text="Take kube-proxy off the nodes. Where it has to stay, tell Felix to leave its rules alone.",
                    commands=(set_command("bpfKubeProxyIptablesCleanupEnabled", value=False),),
                ),
            )
        return passed("running", "kube-proxy runs, and has its rules, as it should for now.", required=needed)
    tables = _tables_left(given)
    shown = rules_left(given)
    if not shown:
        for fact, what in ((given[_CHAINS], "chains of iptables"), (given[_NFT], "nftables tables")):
            if isinstance(fact, Unknown):
                return unseen(
                    "rules-unseen",
                    f"Whether kube-proxy left {what} behind could not be told",
                    fact,
                    required=needed,
                    remediation=Remediation(
                        text="Look as root, with nft or iptables on the node's PATH.",
                        commands=("nft list tables", "iptables-save -t nat"),
                    ),
                )
        return passed("none", "kube-proxy has left no rules.", required=needed)
    if within and on is False:
        return passed(
            "running-within",
            f"kube-proxy's rules are there, as they are where it runs inside of {within[0]}.",
            observed=shown,
            required=needed,
        )
    if within:
        return unknown(
            "may-run",
            f"kube-proxy's rules are there; whether it still runs inside of {within[0]} cannot be told.",
            reason=Reason.UNSUPPORTED,
            observed=shown,
            required=needed,
        )
    removed = given.release.removes_nft_tables if tables else True
    if kept or on or removed is not True:
        why = (
            "is told to leave them (bpfKubeProxyIptablesCleanupEnabled is false)"
            if kept
            else "does not remove such tables" + ("" if removed is False else " in some of its patches")
            if removed is not True
            else "runs in eBPF mode and has not removed them"
        )
        return warn(
            "left",
            f"kube-proxy is gone and its rules are not ({shown}). Felix {calico} {why}, and they go on to send "
            "Services their old way.",
            observed=shown,
            required=needed,
            remediation=Remediation(
                text="Delete the tables, or reboot the node." if tables else "Reboot the node.",
                commands=tuple(f"nft delete table {table}" for table in tables),
            ),
        )
    return passed(
        "removed",
        f"kube-proxy has left rules behind ({shown}); Felix {calico} removes them in eBPF mode{unless}"
        + (", those for IPv6 only if IPv6 is on" if tables else "")
        + ".",
        observed=shown,
        required=needed,
        note=True,
    )


def rules_left(given: Given) -> str:
    """Say which of kube-proxy's rules are there, "" if none is; asks for RULES."""
    chains = _chains_left(given)
    return ", ".join((*_tables_left(given), *([chains] if chains else [])))


def _tables_left(given: Given) -> tuple[str, ...]:
    nft = given[_NFT]
    return (
        tuple(table for table in nft.value if table in given.release.network.nft.kube_proxy_tables)
        if isinstance(nft, Known)
        else ()
    )


def _chains_left(given: Given) -> str:
    """Say which of kube-proxy's chains are there, "" if none is; those of kubelet's own do not count."""
    chains = given[_CHAINS]
    if not isinstance(chains, Known):
        return ""
    if chains.value.of_services:
        more = "one" if chains.value.of_services == 1 else f"{chains.value.of_services} or more"
        return f"{more} of the chains KUBE-SVC-*, KUBE-SEP-* and the like"
    return ", ".join(name for name in chains.value.names if name in given.release.network.kube_chains.of_kube_proxy)


_PINS = settled(NodeKind.bpf_pins)
_SEEN_LINKS = optional(NodeKind.links)


@check(
    id="node.bpf.residue",
    title="What other BPF dataplanes left, and Calico's own",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_PINS, _NEEDED_PROGRAMS, _SEEN_LINKS, PROGRAMS, FELIX),
)
def bpf_residue(given: Given) -> Outcome:
    """Whether Cilium is or was here, and whether Calico's own programs are left from eBPF mode that is over."""
    rule, running = given.release.network.programs, given[_NEEDED_PROGRAMS]
    pins, links = given[_PINS], given[_SEEN_LINKS]
    owners = pins.value if isinstance(pins, Known) else ()
    names = {link.name for link in links.value} if isinstance(links, Known) else set()
    cilium = [f"interface {name}" for name in rule.cilium_devices if name in names]
    cilium += ["pins of Cilium"] if "cilium" in owners else []
    if cilium or "cilium-agent" in running:
        runs = "cilium-agent" in running
        return warn(
            "cilium",
            ("Cilium runs here" if runs else f"Cilium has left things behind ({', '.join(cilium)})")
            + ": its programs on the same hooks take packets before Felix's, or are replaced by them.",
            observed=", ".join([*cilium, *(["cilium-agent runs"] if runs else [])]),
            required="no other dataplane on the node",
            remediation=Remediation(
                text="Remove Cilium from the node and reboot it.", needs_reboot=True, disruptive=True
            ),
        )
    on, felix = is_on(given), settings(given)
    own = [f"interface {name}" for name in rule.own_devices if name in names]
    own += ["pinned maps"] if "calico" in owners else []
    own += ["attached programs"] if on else []
    shown = ", ".join(own)
    if on and ("calico-node" not in running or (felix is not None and felix.bpf_enabled is False)):
        why = "bpfEnabled is false" if felix is not None and felix.bpf_enabled is False else "calico-node does not run"
        return warn(
            "left",
            f"Calico's BPF programs are attached although {why}: they go on to decide about packets by maps that "
            "nobody keeps up to date, which has cut hosts and pods off.",
            observed=shown,
            required="no programs of Calico's where eBPF mode is off",
            remediation=Remediation(
                text="Start calico-node there without eBPF mode, which removes them, or reboot the node.",
                disruptive=True,
            ),
        )
    if own:
        return passed(
            "calico",
            f"Calico's eBPF mode is on, or was and left something ({shown}), which a later Felix takes over.",
            observed=shown,
            note=True,
        )
    if on is None:
        attached = given[PROGRAMS]
        return unknown(
            "programs-unseen",
            "Neither Calico nor Cilium has left pins or interfaces here; whether programs of theirs are still attached "
            "could not be told without a bpftool that sees all hooks.",
            reason=attached.reason if isinstance(attached, Unknown) else Reason.TOOL_MISSING,
            observed=", ".join(owners),
            remediation=_LOOK_WITH_BPFTOOL,
        )
    return passed(
        "clean",
        "No pins or interfaces of Calico's or Cilium's are here, and no programs of Calico's are attached.",
        observed=", ".join(owners),
    )


@check(
    id="node.tc.foreign",
    title="BPF programs of others",
    category="network",
    severity=Severity.DEGRADE,
    needs=(PROGRAMS,),
)
def tc_foreign(given: Given) -> Outcome:
    """Whether somebody else has BPF programs on the node's interfaces, where Felix attaches its own."""
    attached = given[PROGRAMS]
    if not isinstance(attached, Known):
        return unseen(
            "programs-unseen",
            "Which BPF programs are on the node's interfaces could not be told",
            attached,
            remediation=_LOOK_WITH_BPFTOOL,
        )
    needed = "no programs but Calico's on the node's interfaces"
    # bpftool gives XDP programs no names, and Felix has some too.
    nameless_xdp = tuple(one for one in attached.value.programs if one.hook == "xdp" and not one.name)
    foreign = [one for one in attached.value.programs if one not in nameless_xdp and not is_own(given, one.name)]
    if foreign:
        shown = excerpt(
            ", ".join(f"{one.name or 'a program without name'} on {one.device} ({one.hook})" for one in foreign), 200
        )
        return warn(
            "foreign",
            f"Others have BPF programs on the node's interfaces: {shown}. Where two attach to one hook, the first may "
            f"take packets before Felix {given.release.version} sees them, or one replaces the other.",
            observed=shown,
            required=needed,
            remediation=Remediation(
                text="Find out whose they are. Remove what is left over; for what is to stay, ask its maker whether it "
                "lives with Calico's programs, and try it on one node.",
                commands=("bpftool net", "bpftool prog show"),
            ),
        )
    if attached.value.misses_tcx:
        return unknown(
            "tcx-unseen",
            "bpftool lists no programs of others, but it is older than TCX, which this kernel has: what is attached "
            "that way it does not see.",
            reason=Reason.TOOL_MISSING,
            required=needed,
            remediation=_LOOK_WITH_BPFTOOL,
        )
    if attached.value.by == "tc":
        return unknown(
            "others-unseen",
            "tc lists no programs of others, but it sees neither XDP nor TCX; bpftool, which does, is not there or was "
            "refused.",
            reason=Reason.TOOL_MISSING,
            required=needed,
            remediation=_LOOK_WITH_BPFTOOL,
        )
    if nameless_xdp:
        devices = excerpt(", ".join(dict.fromkeys(one.device for one in nameless_xdp)), 120)
        return unknown(
            "xdp",
            f"An XDP program is on {devices}, and whose it is could not be told. Felix {given.release.version} attaches"
            " one itself for policies that are not tracked (doNotTrack); one of another's and Felix's exclude each "
            "other.",
            reason=Reason.UNSUPPORTED,
            observed=f"XDP on {devices}",
            required=needed,
            remediation=Remediation(
                text="See its name by its id.", commands=("bpftool net", "bpftool prog show id ID")
            ),
        )
    return passed("none", "Nobody else has BPF programs on the node's interfaces.", required=needed)
