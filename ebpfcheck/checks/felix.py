"""What several checks ask of Felix: its settings for the node, and whether its programs are there."""

import json
import shlex

from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import Given, optional
from ebpfcheck.model.facts import FelixSettings, Known, NodeKind

FELIX = optional(NodeKind.felix)
PROGRAMS = optional(NodeKind.bpf_programs)


def settings(given: Given) -> FelixSettings | None:
    """Return what FelixConfiguration sets for the node, None where that is not known; asks for FELIX."""
    felix = given[FELIX]
    return felix.value if isinstance(felix, Known) else None


def is_connect_time_off(release: Release, felix: FelixSettings) -> bool:
    """Whether these settings turn connect-time load balancing off at a release."""
    rule = release.add_ons.connect_time
    if release.version.within(rule.mode_releases):
        # Values are taken in any case.
        return (felix.bpf_connect_time_load_balancing or rule.mode_default).lower() == rule.mode_off.lower()
    return felix.bpf_connect_time_load_balancing_enabled is False


def hooks_of(release: Release, felix: FelixSettings | None) -> tuple[frozenset[str], frozenset[str]]:
    """Return the hooks of cgroup2 that Felix attaches to, and those that hang on settings or a patch not known."""
    if felix is not None and is_connect_time_off(release, felix):
        return frozenset(), frozenset()
    rule = release.add_ons.connect_time
    with_udp: bool | None = True
    if felix is not None and release.version.within(rule.gate_in_gates):
        gates = [gate.strip() for gate in (felix.feature_gates or "").split(",")]
        with_udp = f"{rule.gate}={rule.gate_udp}" not in gates
    elif release.version.within(rule.mode_releases):
        with_udp = None
        if felix is not None:
            mode = felix.bpf_connect_time_load_balancing or rule.mode_default
            stand_in = felix.bpf_host_networked_nat_without_ctlb or ""
            with_udp = mode.lower() != rule.mode_default.lower() or stand_in.lower() == rule.stand_in_off.lower()
    wanted = [hook for hook in release.bpf_hooks if not hook.udp or with_udp is not False]
    sure = frozenset(hook.name for hook in wanted if hook.certain and (not hook.udp or with_udp))
    return sure, frozenset(hook.name for hook in wanted) - sure


def set_command(setting: str, value: str | int) -> str:
    """Return the command that sets a field of the default FelixConfiguration."""
    patch = json.dumps({"spec": {setting: value}})
    return f"kubectl patch felixconfiguration default --type merge -p {shlex.quote(patch)}"


def is_own(given: Given, program: str) -> bool:
    """Whether a BPF program of that name is Calico's."""
    return program.startswith(given.release.network.programs.own_prefixes)


def is_on(given: Given) -> bool | None:
    """Whether Felix has programs on the node's interfaces, None where that cannot be told; asks for PROGRAMS."""
    attached = given[PROGRAMS]
    if not isinstance(attached, Known):
        return None
    if any(is_own(given, program.name) for program in attached.value.programs):
        return True
    return False if attached.value.by == "bpftool" and not attached.value.misses_tcx else None
