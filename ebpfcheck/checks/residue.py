"""What other dataplanes left behind: IPVS, kube-proxy's rules, pins in bpffs."""

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
from ebpfcheck.model.facts import Known, NodeKind, Reason
from ebpfcheck.model.report import Remediation, Severity

_LINKS = required(NodeKind.links)
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


_NFT = optional(NodeKind.nft_tables)
_NEEDED_PROGRAMS = required(NodeKind.programs)


@check(
    id="node.kube-proxy.residue",
    title="nftables tables of kube-proxy",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_NFT, _NEEDED_PROGRAMS),
)
def kube_proxy_residue(given: Given) -> Outcome:
    """Whether kube-proxy's nftables tables are there although it does not run."""
    calico, rule = given.release.version, given.release.network.nft
    nft = given[_NFT]
    needed = "no table of kube-proxy's once it is gone"
    programs, healthz = given[_NEEDED_PROGRAMS], given.release.network.healthz
    if any(program in programs for program in healthz.kube_proxies):
        return passed("running", "kube-proxy runs, and has its rules, as it should for now.", required=needed)
    if not isinstance(nft, Known):
        return unseen(
            "tables-unseen",
            "Whether kube-proxy left nftables tables behind could not be told",
            nft,
            required=needed,
            remediation=Remediation(
                text="Install nft on the node, or look by other means.", commands=("nft list tables",)
            ),
        )
    tables = [table for table in nft.value if table in rule.kube_proxy_tables]
    shown = ", ".join(tables)
    if not tables:
        return passed("none", "kube-proxy has left no nftables table.", required=needed)
    within = [program for program in healthz.may_be_kube_proxy if program in programs]
    if within:
        return unknown(
            "may-run",
            f"kube-proxy's nftables tables are there; whether it still runs inside of {within[0]} cannot be told.",
            reason=Reason.UNSUPPORTED,
            observed=shown,
            required=needed,
        )
    if given.release.removes_nft_tables is True:
        return passed(
            "removed",
            f"kube-proxy has left tables behind ({shown}); Felix {calico} removes them in eBPF mode, unless "
            "bpfKubeProxyIptablesCleanupEnabled was set to false, and the IPv6 ones only if IPv6 is on.",
            observed=shown,
            required=needed,
            note=True,
        )
    return warn(
        "left",
        f"kube-proxy is gone and its tables are not ({shown}); Felix {calico} does not remove them"
        + ("" if given.release.removes_nft_tables is False else " in some of its patches")
        + ", and they go on to send Services their old way.",
        observed=shown,
        required=needed,
        remediation=Remediation(
            text="Delete them, or reboot the node.", commands=tuple(f"nft delete table {table}" for table in tables)
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
