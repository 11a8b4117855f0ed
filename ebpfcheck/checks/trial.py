"""What the kernel itself answers when it is asked for all that Calico's programs need."""

from collections.abc import Collection, Iterable

import msgspec

from ebpfcheck.checks.bpf_needs import Loss, Weighed, answer_of, needs_of, weigh
from ebpfcheck.checks.felix import FELIX, is_connect_time_off, settings
from ebpfcheck.knowledge.bpf_tables import Topic
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import (
    Given,
    Need,
    Outcome,
    SeverityRule,
    check,
    fail,
    optional,
    passed,
    required,
    unknown,
    warn,
)
from ebpfcheck.model.facts import Absent, Known, NodeKind, Reason, Refusal, RootHook, TrialAnswers, Untold
from ebpfcheck.model.report import Remediation, Severity, Status
from ebpfcheck.model.text import excerpt

# How many things a message names before it says how many more there are.
_NAMED = 6
_GATE = "Felix tests the kernel's version alone, and does not see that coming"


def _severity(topic: Topic) -> SeverityRule:
    """Return the rule for the things of a topic; where no needs are known, nothing hangs on what the kernel has."""

    def rule(release: Release) -> Severity | None:
        levels = {need.level for need in release.bpf_needs if need.topic == topic}
        if not levels:
            return None if release.bpf_needs else Severity.NOTE
        worst = next(level for level in ("blocker", "degrade", "note") if level in levels)
        return Severity(worst)

    return rule


def _judge(given: Given, topic: Topic, need: Need[TrialAnswers], what: str) -> Outcome:
    """Judge one topic; `what` is what its things are, for people."""
    calico, answers = given.release.version, given[need]
    if not given.release.bpf_needs:
        return unknown(
            "needs-unknown",
            f"What {what} Calico {calico} needs is not known here, so the kernel's answers say nothing of it.",
            reason=Reason.UNSUPPORTED,
        )
    felix = settings(given)
    asked = "asked by bpftool" if answers.by == "bpftool" else "asked by bpf(2)"
    weighed = weigh(needs_of(given.release, topic, felix), answers, felix)
    blocking, open_needs = weighed.lacks("blocker"), weighed.open(blocking=True)
    if blocking:
        return fail(
            f"lacks:{','.join(_names(blocking))}",
            f"The kernel, {asked}, lacks {what} that Calico {calico} cannot do without: {_effects(blocking)}. {_GATE}.",
            observed=_said(blocking),
            required=_listed(_names(blocking)),
            remediation=_newer_kernel(given.release),
        )
    if open_needs:
        otherwise = Reason.TOOL_MISSING if answers.by == "bpftool" else Reason.NOT_COLLECTED
        return _untold(f"Whether the kernel has all {what} that Calico {calico} needs", open_needs, otherwise)
    is_by_type = answers.by == "bpftool" and topic in ("map", "program")
    return _optional(given, what, asked, weighed, is_by_type=is_by_type)


def _optional(given: Given, what: str, asked: str, weighed: Weighed, *, is_by_type: bool) -> Outcome:
    """Judge where nothing is lacking that Calico cannot do without."""
    calico = given.release.version
    degraded, noted, still_open = weighed.lacks("degrade"), weighed.lacks("note"), weighed.open(blocking=False)
    left = f" Not told, and no more than optional: {_listed(one.name for one in still_open)}." if still_open else ""
    if is_by_type:
        left += " That tells of types alone: no flags and hooks were tried."
    if degraded:
        return warn(
            f"without:{','.join(_names(degraded))}",
            f"The kernel, {asked}, lacks {what} that Calico {calico} does without: "
            f"{_effects((*degraded, *noted))}.{left}",
            observed=_said((*degraded, *noted)),
            remediation=_newer_kernel(given.release),
        )
    if noted:
        return passed(
            f"without:{','.join(_names(noted))}",
            f"The kernel, {asked}, has all {what} that Calico {calico} cannot do without; {_effects(noted)}.{left}",
            observed=_said(noted),
            note=True,
        )
    message = f"The kernel, {asked}, has all {what} that Calico {calico} needs.{left}"
    return passed("all", message, note=bool(left))


def _untold(whether: str, untold: tuple[Untold, ...], otherwise: Reason) -> Outcome:
    """Say that things were not told which nothing works without, and what it takes to be told.

    `otherwise` is the reason where it was no refusal.
    """
    first = untold[0]
    wanted = tuple(dict.fromkeys(need for one in untold for need in one.needs))
    why = excerpt(": ".join(filter(None, (first.errno, first.words))) or "it gave no reason", 200)
    is_refusal = bool(wanted) or first.errno in ("EPERM", "EACCES")
    reason = Reason.FORBIDDEN if is_refusal else otherwise
    takes = f"; it takes {_capabilities(wanted)}" if wanted else ""
    return unknown(
        f"untold:{reason}",
        f"{whether} could not be told: of {_listed(one.name for one in untold)} it did not say ({why}){takes}.",
        reason=reason,
        observed=why,
        remediation=_more_rights(wanted) if is_refusal else None,
    )


def _capabilities(wanted: Collection[str]) -> str:
    return f"the {'capability' if len(wanted) == 1 else 'capabilities'} {', '.join(wanted)}"


def _more_rights(wanted: Collection[str]) -> Remediation:
    held = f" with {_capabilities(wanted)}" if wanted else ""
    return Remediation(
        text=f"Run the trial as root{held} on the node itself, not in a container or under a seccomp filter.",
        commands=("ebpfcheck node --trial kernel",),
    )


def _newer_kernel(release: Release) -> Remediation:
    return Remediation(
        text=f"Boot a kernel that has them (Calico {release.version} documents {release.documented}), or run a release "
        "of Calico that does without: --calico-version asks for another one.",
        needs_reboot=True,
        disruptive=True,
    )


def _names(losses: Iterable[Loss]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(refusal.name for loss in losses for refusal in loss.refusals))


def _listed(names: Iterable[str]) -> str:
    listed = tuple(dict.fromkeys(names))
    more = len(listed) - _NAMED
    return ", ".join(listed[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _effects(losses: Iterable[Loss]) -> str:
    return "; ".join(
        f"without {_listed(_names((loss,)))} {loss.need.spared if loss.spared else loss.need.effect}" for loss in losses
    )


def _said(losses: Iterable[Loss]) -> str:
    refusals = dict.fromkeys(refusal for loss in losses for refusal in loss.refusals)
    return excerpt("; ".join(map(_in_words, refusals)), 300)


def _in_words(refusal: Refusal) -> str:
    said = ": ".join(filter(None, (refusal.errno, refusal.words)))
    return f"{refusal.name} ({said})" if said else refusal.name


_MAPS = required(NodeKind.trial_maps)


@check(
    id="node.bpf.maps",
    title="BPF maps, asked of the kernel",
    category="kernel",
    severity=_severity("map"),
    needs=(_MAPS, FELIX),
    of_trial=True,
)
def bpf_maps(given: Given) -> Outcome:
    """Whether each type of map can be made, with the flags that it gets."""
    return _judge(given, "map", _MAPS, "types of BPF maps")


_PROGRAMS = required(NodeKind.trial_programs)


@check(
    id="node.bpf.programs",
    title="BPF program types, asked of the kernel",
    category="kernel",
    severity=_severity("program"),
    needs=(_PROGRAMS, FELIX),
    of_trial=True,
)
def bpf_programs(given: Given) -> Outcome:
    """Whether a program of each type, for each hook, can be loaded."""
    return _judge(given, "program", _PROGRAMS, "types of BPF programs")


_HELPERS = required(NodeKind.trial_helpers)


@check(
    id="node.bpf.helpers",
    title="BPF helpers, asked of the kernel",
    category="kernel",
    severity=_severity("helper"),
    needs=(_HELPERS, FELIX),
    of_trial=True,
)
def bpf_helpers(given: Given) -> Outcome:
    """Whether programs may call each helper."""
    return _judge(given, "helper", _HELPERS, "BPF helpers")


_FEATURES = required(NodeKind.trial_features)
_JIT = optional(NodeKind.bpf_jit_enable)


@check(
    id="node.bpf.features",
    title="Verifier features, asked of the kernel",
    category="kernel",
    severity=_severity("feature"),
    needs=(_FEATURES, FELIX, _JIT),
    of_trial=True,
)
def bpf_features(given: Given) -> Outcome:
    """Whether the verifier takes what programs do beside calling helpers."""
    outcome, jit = _judge(given, "feature", _FEATURES, "features of the verifier"), given[_JIT]
    if outcome.status not in (Status.FAIL, Status.WARN) or not isinstance(jit, Known) or jit.value:
        return outcome
    return msgspec.structs.replace(
        outcome,
        message=f"{outcome.message} The JIT compiler is off (node.sysctl.bpf-jit), and without it kernels take no "
        "callbacks.",
        remediation=Remediation(
            text="Turn the JIT compiler on, and ask the kernel again.",
            commands=("sysctl -w net.core.bpf_jit_enable=1", "ebpfcheck node --trial kernel"),
        ),
    )


_ATTACHMENTS = required(NodeKind.trial_attachments)


@check(
    id="node.bpf.attach",
    title="Ways to attach programs, asked of the kernel",
    category="kernel",
    severity=_severity("attach"),
    needs=(_ATTACHMENTS, FELIX),
    of_trial=True,
)
def bpf_attach(given: Given) -> Outcome:
    """Whether programs can be attached to devices and control groups."""
    return _judge(given, "attach", _ATTACHMENTS, "ways to attach programs")


_DEVICES = required(NodeKind.trial_devices)
_BTF = optional(NodeKind.vmlinux_btf)
_FLOW_BASED = "vxlan-external"


@check(
    id="node.vxlan.flow-based",
    title="Flow-based VXLAN, asked of the kernel",
    category="network",
    severity=lambda release: Severity.DEGRADE if release.flow_based_vxlan else None,
    needs=(_DEVICES, _BTF),
    of_trial=True,
)
def flow_based_vxlan(given: Given) -> Outcome:
    """Whether a VXLAN device that takes packets for every VNI can be made and brought up."""
    calico, btf = given.release.version, given[_BTF]
    answer = answer_of(given[_DEVICES], _FLOW_BASED)
    needed = "a flow-based VXLAN device"
    if answer is None:
        return passed(
            "yes",
            "The kernel makes a flow-based VXLAN device and brings it up. Whether its port is free on this node is not "
            "asked here, but by node.vxlan.port-conflict.",
            required=needed,
        )
    if isinstance(answer, Untold):
        return _untold("Whether the kernel makes flow-based VXLAN devices", (answer,), Reason.NOT_COLLECTED)
    is_classic = isinstance(btf, Absent) or (isinstance(btf, Known) and not btf.value)
    if is_classic and not given.release.flow_based_without_btf:
        effect = "As it carries no BTF either, Felix makes a classic VXLAN device, if the kernel knows any"
    else:
        effect = "vxlan.calico cannot be made, so that pods of VXLAN pools and NodePorts do not reach other nodes"
    return warn(
        "no",
        f"The kernel cannot make the flow-based VXLAN device that Calico {calico} uses. {effect}.",
        observed=_in_words(answer),
        required=needed,
        remediation=Remediation(
            text="Install the module vxlan of the running kernel, or boot a kernel that has it.",
            commands=("modprobe -n vxlan",),
        ),
    )


_HOOKS = required(NodeKind.trial_root_hooks)
_PINS = optional(NodeKind.bpf_pins)
_CGROUP = optional(NodeKind.calico_cgroup)
_SIX = ("connect4", "connect6", "recvmsg4", "recvmsg6", "sendmsg4", "sendmsg6")
_OVERRIDE = 1
_STOPS = "cannot be attached, and Felix stops in a panic unless bpfConnectTimeLoadBalancing is Disabled"


@check(
    id="node.cgroup2.attach",
    title="What others attached to the root of cgroup2",
    category="mounts",
    severity=Severity.BLOCKER,
    needs=(_HOOKS, _PINS, _CGROUP, FELIX),
    of_trial=True,
)
def cgroup2_attach(given: Given) -> Outcome:
    """Whether the hooks of connect-time load balancing are free for Felix, or to be shared with it."""
    felix = settings(given)
    if felix is not None and is_connect_time_off(given.release, felix):
        return passed("off", "Connect-time load balancing is off: Felix attaches nothing to the root of cgroup2.")
    hooks = {one.hook: one for one in given[_HOOKS]}
    taken = [one for one in hooks.values() if one.untold is None and one.programs > 0]
    overridden = [one for one in taken if one.flags & _OVERRIDE]
    exclusive = [one for one in taken if one.flags == 0]
    needed = "hooks without programs, or with such as share them (multi)"
    fix = Remediation(
        text="Find out whose programs they are (another CNI, a service mesh, a security agent) and remove it, or set "
        "bpfConnectTimeLoadBalancing to Disabled.",
        commands=("bpftool cgroup tree /sys/fs/cgroup",),
    )
    if overridden:
        return fail(
            "override",
            f"Somebody has attached programs to the root of cgroup2 that do not share ({_hooks(overridden)}): "
            f"connect-time load balancing of Calico {given.release.version} {_STOPS}.",
            observed=_attached(overridden),
            required=needed,
            remediation=fix,
        )
    if exclusive:
        return _exclusive(given, exclusive, needed, fix)
    not_asked = "the trial did not ask for it"
    unseen = [hooks[name].untold if name in hooks else Untold(name=name, words=not_asked) for name in _SIX]
    untold = tuple(one for one in unseen if one is not None)
    if untold:
        return _untold("Whether others attached programs to the root of cgroup2", untold, Reason.NOT_COLLECTED)
    if taken:
        return passed(
            "shared",
            f"What others have attached to the root of cgroup2 shares its hooks ({_hooks(taken)}): Felix attaches its "
            "own beside.",
            observed=_attached(taken),
            required=needed,
        )
    return passed("free", "Nobody has attached anything to the hooks of connect-time load balancing.", required=needed)


def _exclusive(given: Given, hooks: list[RootHook], needed: str, fix: Remediation) -> Outcome:
    cgroup, pins = given[_CGROUP], given[_PINS]
    seen = cgroup.value.visible if isinstance(cgroup, Known) else None
    if seen is not None and seen.fstype == "cgroup2" and not seen.is_whole:
        return fail(
            "exclusive-above",
            f"Somebody has attached programs to the root of cgroup2 for themselves alone ({_hooks(hooks)}), and only a "
            f"part of cgroup2 is mounted at /run/calico/cgroup: there connect-time load balancing {_STOPS}.",
            observed=_attached(hooks),
            required=needed,
            remediation=fix,
        )
    own = isinstance(pins, Known) and "calico" in pins.value
    whose = " They may be Felix's own, as Calico has pinned programs on this node." if own else ""
    return warn(
        "exclusive",
        f"Somebody has attached programs to the root of cgroup2 for themselves alone ({_hooks(hooks)}): Felix silently "
        f"puts its own in their place, and what they did ends.{whose}",
        observed=_attached(hooks),
        required=needed,
        remediation=fix,
    )


def _hooks(hooks: Iterable[RootHook]) -> str:
    return _listed(sorted(one.hook for one in hooks))


def _attached(hooks: Iterable[RootHook]) -> str:
    return ", ".join(f"{one.hook}: {one.programs} with flags {one.flags}" for one in hooks)
