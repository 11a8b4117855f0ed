"""What the kernel itself answers when it is asked for all that Calico's programs need."""

from collections.abc import Collection, Iterable

import msgspec

from ebpfcheck.checks.bpf_needs import Loss, Weighed, answer_of, needs_of, weigh
from ebpfcheck.checks.felix import FELIX, hooks_of, is_connect_time_off, settings
from ebpfcheck.knowledge.bpf_tables import Topic
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import (
    Given,
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


def _judge(given: Given, topic: Topic, answers: TrialAnswers, what: str) -> Outcome:
    """Judge one topic; `what` is what its things are, for people."""
    calico = given.release.version
    if not given.release.bpf_needs:
        return unknown(
            "needs-unknown",
            f"What {what} Calico {calico} needs is not known here, so the kernel's answers say nothing of it.",
            reason=Reason.UNSUPPORTED,
        )
    felix = settings(given)
    asked = "asked by bpftool" if answers.by == "bpftool" else "asked by bpf(2)"
    needs = needs_of(given.release, topic, felix)
    weighed = weigh(needs, answers, felix)
    blocking, open_needs = weighed.lacks("blocker"), weighed.open(blocking=True)
    if blocking:
        return fail(
            f"lacks:{','.join(_names(blocking))}",
            f"The kernel, {asked}, lacks {what} that Calico {calico} cannot do without: {_effects(blocking)}. {_GATE}.",
            observed=_said(blocking),
            required=_listed(_names(blocking)),
            remediation=_newer_kernel(given.release),
        )
    otherwise = Reason.TOOL_MISSING if answers.by == "bpftool" else Reason.NOT_COLLECTED
    if open_needs:
        return _untold(f"Whether the kernel has all {what} that Calico {calico} needs", open_needs, otherwise)
    if needs and len(weighed.untold) == sum(len(one.names) for one in needs):
        every = weighed.open(blocking=False)
        return _untold(f"Whether the kernel has the {what} that Calico {calico} can use", every, otherwise)
    is_by_type = answers.by == "bpftool" and topic in ("map", "program")
    return _optional(given, what, asked, weighed, is_by_type=is_by_type)


def _optional(given: Given, what: str, asked: str, weighed: Weighed, *, is_by_type: bool) -> Outcome:
    """Judge where nothing is lacking that Calico cannot do without."""
    calico = given.release.version
    degraded, noted, still_open = weighed.lacks("degrade"), weighed.lacks("note"), weighed.open(blocking=False)
    wanted = tuple(dict.fromkeys(need for one in still_open for need in one.needs))
    takes = f" (it takes {_capabilities(wanted)})" if wanted else ""
    left = (
        f" Not told, and no more than optional: {_listed(one.name for one in still_open)}{takes}." if still_open else ""
    )
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
    needed = "cannot do without" if still_open else "needs"
    message = f"The kernel, {asked}, has all {what} that Calico {calico} {needed}.{left}"
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
    return _judge(given, "map", given[_MAPS], "types of BPF maps")


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
    return _judge(given, "program", given[_PROGRAMS], "types of BPF programs")


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
    return _judge(given, "helper", given[_HELPERS], "BPF helpers")


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
    outcome, jit = _judge(given, "feature", given[_FEATURES], "features of the verifier"), given[_JIT]
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
_ROOT = optional(NodeKind.trial_root_hooks)


@check(
    id="node.bpf.attach",
    title="Ways to attach programs, asked of the kernel",
    category="kernel",
    severity=_severity("attach"),
    needs=(_ATTACHMENTS, FELIX, _ROOT),
    of_trial=True,
)
def bpf_attach(given: Given) -> Outcome:
    """Whether programs can be attached to devices and control groups."""
    hooks, answers = given[_ROOT], given[_ATTACHMENTS]
    known = _shown(answers, hooks.value if isinstance(hooks, Known) else ())
    outcome = _judge(given, "attach", known, "ways to attach programs")
    shown = sorted({*known.yes} - {*answers.yes})
    if outcome.status is not Status.PASS or not shown:
        return outcome
    return msgspec.structs.replace(
        outcome,
        message=f"{outcome.message} In the trial's own group it was refused ({_listed(shown)}), as programs of "
        "the root keep others from the groups below it; that they are there shows that the kernel can.",
        is_note=True,
    )


def _shown(answers: TrialAnswers, hooks: tuple[RootHook, ...]) -> TrialAnswers:
    """Take a way to attach for shown where the root has programs that keep the trial's own group from having any."""
    taken = {one.hook for one in hooks if one.untold is None and one.programs > 0}
    shown = [
        one
        for one in answers.untold
        if one.errno == "EPERM"
        and not one.needs
        and one.name.startswith(("cgroup/", "cgroup-legacy/"))
        and one.name.partition("/")[2] in taken
    ]
    return msgspec.structs.replace(
        answers,
        yes=(*answers.yes, *(one.name for one in shown)),
        untold=tuple(one for one in answers.untold if one not in shown),
    )


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
_WAYS = optional(NodeKind.trial_attachments)
_PINS = optional(NodeKind.bpf_pins)
_CGROUP = optional(NodeKind.calico_cgroup)
_OVERRIDE = 1
_SHARED = "hooks without programs, or with such as share them (multi)"
_LINK = "cgroup/connect4"
_UNSURE = (
    "Whether Felix attaches to these hooks hangs on its settings (--felix-config) or the release's patch "
    "(--calico-version), which are not known"
)
_OBSTACLES = {
    "override": "programs that do not share",
    "exclusive-above": "programs for themselves alone, and only a part of cgroup2 is mounted at /run/calico/cgroup",
    "multi": "programs that share, beside which Felix can attach by a link alone, which it does not have here",
}


@check(
    id="node.cgroup2.attach",
    title="What others attached to the root of cgroup2",
    category="mounts",
    severity=Severity.BLOCKER,
    needs=(_HOOKS, _WAYS, _PINS, _CGROUP, FELIX),
    of_trial=True,
)
def cgroup2_attach(given: Given) -> Outcome:
    """Whether the hooks of connect-time load balancing are free for Felix, or to be shared with it."""
    felix, release = settings(given), given.release
    if felix is not None and is_connect_time_off(release, felix):
        return passed("off", "Connect-time load balancing is off: Felix attaches nothing to the root of cgroup2.")
    sure, unsure = hooks_of(release, felix)
    hooks = {one.hook: one for one in given[_HOOKS] if one.hook in sure | unsure}
    taken = [one for one in hooks.values() if one.untold is None and one.programs > 0]
    link = _link(given)
    is_part = _is_part(given)
    stuck = [(one, obstacle) for one in taken if (obstacle := _obstacle(one, link, is_part=is_part))]
    for is_certain, hooks_named in ((True, sure), (False, unsure)):
        for cause in _OBSTACLES:
            found = [one for one, obstacle in stuck if obstacle == cause and one.hook in hooks_named]
            if found:
                return _stuck(release, found, cause, is_certain=is_certain)
    exclusive = [one for one in taken if one.flags == 0]
    pins = given[_PINS]
    is_own = isinstance(pins, Known) and {*pins.value} == {"calico"}
    if exclusive and not is_own:
        return _exclusive(exclusive, sure, release)
    not_asked = "the trial did not ask for it"
    unseen = [
        hooks[name].untold if name in hooks else Untold(name=name, words=not_asked) for name in sorted(sure | unsure)
    ]
    untold = tuple(one for one in unseen if one is not None)
    if untold:
        return _untold("Whether others attached programs to the root of cgroup2", untold, Reason.NOT_COLLECTED)
    shared = [one for one in taken if one.flags]
    if shared and isinstance(link, Untold) and not is_part:
        what = f"Whether Felix can attach beside what shares the root of cgroup2 ({_hooks(shared)})"
        return _untold(what, (link,), Reason.NOT_COLLECTED)
    if exclusive:
        return passed(
            "exclusive-own",
            f"Programs are attached to the root of cgroup2 for themselves alone ({_hooks(exclusive)}): Felix's own, as "
            "it seems, since only Calico has pinned programs on this node. It puts new ones in their place; if they "
            "are another's, what they do ends then.",
            observed=_attached(exclusive),
            required=_SHARED,
            note=True,
        )
    if shared:
        return passed(
            "shared",
            f"What others have attached to the root of cgroup2 shares its hooks ({_hooks(shared)}): Felix attaches its "
            "own beside.",
            observed=_attached(shared),
            required=_SHARED,
        )
    return passed("free", "Nobody has attached anything to the hooks of connect-time load balancing.", required=_SHARED)


def _link(given: Given) -> Refusal | Untold | None:
    """Return None where Felix attaches to groups by links, else why not; without them it attaches without flags."""
    if not given.release.balancing.links:
        return Refusal(name=_LINK)
    ways = given[_WAYS]
    answers = ways.value if isinstance(ways, Known) else TrialAnswers()
    return answer_of(_shown(answers, given[_HOOKS]), _LINK)


def _is_part(given: Given) -> bool:
    cgroup = given[_CGROUP]
    seen = cgroup.value.visible if isinstance(cgroup, Known) else None
    return seen is not None and seen.fstype == "cgroup2" and not seen.is_whole


def _obstacle(hook: RootHook, link: Refusal | Untold | None, *, is_part: bool) -> str:
    """Return why Felix cannot attach beside or in place of what is there; empty where nothing is known against it."""
    if hook.flags & _OVERRIDE:
        return "override"
    if hook.flags == 0:
        return "exclusive-above" if is_part else ""
    # Groups below one that shares its hooks are free.
    return "multi" if isinstance(link, Refusal) and not is_part else ""


def _stuck(release: Release, hooks: list[RootHook], cause: str, *, is_certain: bool) -> Outcome:
    rule = release.balancing
    unless = f" unless {rule.setting} is {rule.off}" if rule.setting else ""
    found = f"Somebody has attached to the root of cgroup2 {_OBSTACLES[cause]} ({_hooks(hooks)})"
    failure = f"connect-time load balancing of Calico {release.version} cannot be attached, and {rule.failure}{unless}"
    if not is_certain:
        return warn(
            f"{cause}-unsure",
            f"{found}. {_UNSURE}; if it does, {failure}.",
            observed=_attached(hooks),
            required=_SHARED,
            remediation=_fix(release),
        )
    return fail(cause, f"{found}: {failure}.", observed=_attached(hooks), required=_SHARED, remediation=_fix(release))


def _fix(release: Release) -> Remediation:
    rule = release.balancing
    instead = f", or set {rule.setting} to {rule.off}" if rule.setting else ""
    return Remediation(
        text="Find out whose programs they are (another CNI, a service mesh, a security agent) and remove it"
        f"{instead}.",
        commands=("bpftool cgroup tree /sys/fs/cgroup",),
    )


def _exclusive(hooks: list[RootHook], sure: Collection[str], release: Release) -> Outcome:
    unsure = "" if any(one.hook in sure for one in hooks) else f" {_UNSURE}."
    return warn(
        "exclusive",
        f"Somebody has attached programs to the root of cgroup2 for themselves alone ({_hooks(hooks)}): Felix silently "
        f"puts its own in their place, and what they did ends.{unsure}",
        observed=_attached(hooks),
        required=_SHARED,
        remediation=_fix(release),
    )


def _hooks(hooks: Iterable[RootHook]) -> str:
    return _listed(sorted(one.hook for one in hooks))


def _attached(hooks: Iterable[RootHook]) -> str:
    return ", ".join(f"{one.hook}: {one.programs} with flags {one.flags}" for one in hooks)
