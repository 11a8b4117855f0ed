"""Values of FelixConfiguration that eBPF mode cannot do with, or should not be left with: mark masks, log levels."""

from collections import Counter
from collections.abc import Iterable

from ebpfcheck.checks.endpoints import patch_command
from ebpfcheck.checks.felix import set_command
from ebpfcheck.checks.kube_proxy_state import felix_of
from ebpfcheck.knowledge.health_tables import MarkBits
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import Given, Outcome, check, fail, optional, over_nodes, passed, unknown, unseen, warn
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity

_FELIX = over_nodes(NodeKind.felix)
_KERNELS = over_nodes(NodeKind.kernel_release)
_INSTALLATION = optional(ClusterFacts.installation)

_IPTABLES, _NFTABLES = "iptablesMarkMask", "nftablesMarkMask"
_ALL_BITS = 0xFFFFFFFF


def _bits(release: Release) -> tuple[MarkBits, ...]:
    """Return the one entry that holds for a release, nothing for one whose Felix does not look at its mask."""
    return tuple(bits for bits in release.health.mark_bits if release.version.within(bits.releases))


@check(
    id="cluster.felix.mark-mask",
    title="Felix's mark bits",
    category="cluster",
    scope="cluster",
    severity=lambda release: Severity.BLOCKER if _bits(release) else None,
    needs=(_FELIX, _INSTALLATION),
)
def mark_mask(given: Given) -> Outcome:
    """Whether Felix may use all the mark bits without which it panics in eBPF mode."""
    (bits,), felix = _bits(given.release), felix_of(given)
    needed = f"a mask with {bits.programs:#x}, and {bits.others} bits more (one more again with WireGuard)"
    short: Counter[tuple[str, int]] = Counter()
    unsure: Counter[tuple[str, int]] = Counter()
    for settings, nodes in felix.settings:
        masks = [(field, _mask(given, settings, field)) for field in _fields(given, settings)]
        lacking = [one for one in masks if not _covers(bits, settings, one[1])]
        (short if len(lacking) == len(masks) else unsure).update(dict.fromkeys(lacking, nodes))
    if short:
        return fail(
            "too-small",
            f"{_shown(short, felix.total)}. In eBPF mode Felix {given.release.version} needs {needed}: without them it "
            "panics at every start, and the node has neither policies nor Services. Take the setting out, or give it "
            f"more bits; {given.release.health.mark_mask.default:#x} is the default.",
            observed=", ".join(f"{field} {mask:#x}" for field, mask in short),
            required=needed,
            remediation=_without(short),
        )
    if felix.unseen is not None:
        return unseen("unseen", "What mark bits Felix may use on some nodes could not be seen", felix.unseen)
    if unsure:
        installation = given[_INSTALLATION]
        return unknown(
            "mode-unseen",
            f"{_shown(unsure, felix.total)}, too little for eBPF mode of Calico {given.release.version}. Whether Felix "
            "will take its bits from there hangs on nftablesMode, which the operator may set with the switch; whether "
            "there is one could not be told.",
            reason=installation.reason if isinstance(installation, Unknown) else Reason.NOT_COLLECTED,
            observed=", ".join(f"{field} {mask:#x}" for field, mask in unsure),
            required=needed,
            remediation=_without(unsure),
        )
    return passed("covers", "Felix may use all the mark bits that eBPF mode needs.", required=needed)


def _fields(given: Given, settings: FelixSettings) -> tuple[str, ...]:
    """Return the setting that Felix takes its mark bits from in eBPF mode; both where that is not known."""
    rule, version, installation = given.release.health.mark_mask, given.release.version, given[_INSTALLATION]
    if not version.within(rule.nftables):
        return (_IPTABLES,)
    by_mode = _NFTABLES if (settings.nftables_mode or "").lower() == rule.nftables_word else _IPTABLES
    if given.install == "manifest":
        return (by_mode,)
    provider = installation.value.kubernetes_provider if isinstance(installation, Known) else None
    is_set = version.within(rule.operator_sets_nftables) and provider not in rule.not_on
    by_operator = _NFTABLES if is_set else _IPTABLES
    if isinstance(installation, Known):
        return (by_operator,)
    return tuple(dict.fromkeys((by_operator, by_mode, _IPTABLES)))


def _mask(given: Given, settings: FelixSettings, field: str) -> int:
    value = settings.iptables_mark_mask if field == _IPTABLES else settings.nftables_mark_mask
    return given.release.health.mark_mask.default if value is None else value


def _covers(bits: MarkBits, settings: FelixSettings, mask: int) -> bool:
    wireguard = bool(settings.wireguard_enabled or settings.wireguard_enabled_v6)
    left = mask & ~bits.programs
    return (
        0 <= mask <= _ALL_BITS and mask & bits.programs == bits.programs and left.bit_count() >= bits.others + wireguard
    )


def _shown(found: Counter[tuple[str, int]], total: int) -> str:
    return " and ".join(f"{field} is {mask:#x} on {nodes} of {total} nodes" for (field, mask), nodes in found.items())


def _without(found: Iterable[tuple[str, int]]) -> Remediation:
    return Remediation(
        text="Take it out where it is set: in FelixConfiguration default, in one for a node, or in a variable of "
        "calico-node. If it was set to keep clear of bits that another program marks packets with, find that other "
        "bits first.",
        commands=tuple(
            patch_command("felixconfiguration default", {"spec": {field: None}})
            for field in dict.fromkeys(field for field, _ in found)
        ),
    )


@check(
    id="cluster.felix.debug",
    title="Log level of the BPF programs",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(_FELIX, _KERNELS),
)
def debug(given: Given) -> Outcome:
    """Whether BPF programs are to log, which makes them slow and larger than some kernels take."""
    rules, felix, calico = given.release.health, felix_of(given), given.release.version
    level = rules.log_level
    needed = "bpfLogLevel: Off"
    loud = felix.nodes(lambda one: _level(one) == level.debug)
    if loud:
        kernels = [share.fact.value for share in given[_KERNELS] if isinstance(share.fact, Known)]
        bug = next((one for one in rules.log_level_bug if calico.within(one.releases)), None)
        refused = bug is not None and any(kernel.startswith(bug.kernels) for kernel in kernels)
        return warn(
            "debug-refused" if refused else "debug",
            f"bpfLogLevel is Debug on {loud} of {felix.total} nodes: in eBPF mode every packet then writes to the "
            "kernel's trace pipe, which is slow, and the programs are so much larger that kernels have refused them"
            + (f", such as those of this series that nodes run, with Calico {calico}" if refused else "")
            + ". Set it to Off, but while you look for something.",
            observed=f"Debug on {loud} of {felix.total} nodes",
            required=needed,
            remediation=Remediation(
                text="Set it in FelixConfiguration default, and take it out of those for nodes, and of calico-node's "
                "variables.",
                commands=(set_command("bpfLogLevel", "Off"),),
            ),
        )
    if felix.unseen is not None:
        return unseen("unseen", "What BPF programs log on some nodes could not be seen", felix.unseen)
    told = felix.nodes(lambda one: _level(one) == level.info)
    if told and calico.within(level.has_info):
        return passed(
            "info",
            f"bpfLogLevel is Info on {told} of {felix.total} nodes, at which BPF programs of Calico {calico} write a "
            "little to the kernel's trace pipe. Off costs nothing.",
            observed=f"Info on {told} of {felix.total} nodes",
            required=needed,
            note=True,
        )
    return passed("off", "BPF programs are not told to log.", required=needed)


def _level(settings: FelixSettings) -> str:
    return (settings.bpf_log_level or "").lower()
