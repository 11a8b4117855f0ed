"""What a release asks of the kernel, compared with what the kernel answered to a trial."""

from collections.abc import Iterable
from typing import Any

import msgspec

from ebpfcheck.checks.felix import hooks_of, is_connect_time_off
from ebpfcheck.knowledge.bpf_tables import BpfNeed, Topic
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import Given, Need, optional
from ebpfcheck.model.facts import FelixSettings, Known, NodeKind, Refusal, TrialAnswers, Untold

# The ladder: what the kernel answers to bpf(2) outranks its configuration and its version.
_MAPS = optional(NodeKind.trial_maps)
_PROGRAMS = optional(NodeKind.trial_programs)
_HELPERS = optional(NodeKind.trial_helpers)
_FEATURES = optional(NodeKind.trial_features)
ATTACHMENTS = optional(NodeKind.trial_attachments)
DEVICES = optional(NodeKind.trial_devices)
_TOPICS: tuple[tuple[Topic, Need[Any]], ...] = (
    ("map", _MAPS),
    ("program", _PROGRAMS),
    ("helper", _HELPERS),
    ("feature", _FEATURES),
    ("attach", ATTACHMENTS),
)
KERNEL_ANSWERS = tuple(need for _, need in _TOPICS)
"""What `kernel_lacks` asks for."""


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """Things that the kernel lacks, and what they are for; `spared` where something else makes up for them."""

    need: BpfNeed
    refusals: tuple[Refusal, ...]
    spared: bool = False


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """What of the needs of one topic the kernel lacks, and what it did not tell."""

    lost: tuple[Loss, ...] = ()
    untold: tuple[tuple[BpfNeed, Untold], ...] = ()

    def lacks(self, level: str) -> tuple[Loss, ...]:
        """Return the losses of a level; one that is made up for and still costs something is of the second."""
        return tuple(loss for loss in self.lost if _level(loss) == level)

    def open(self, *, blocking: bool) -> tuple[Untold, ...]:
        """Return what was not told, either of what nothing works without or of the rest."""
        return tuple(dict.fromkeys(one for need, one in self.untold if (need.level == "blocker") is blocking))


def _level(loss: Loss) -> str:
    return loss.need.level if not loss.spared else "degrade" if loss.need.spared else "none"


def needs_of(release: Release, topic: Topic, felix: FelixSettings | None) -> tuple[BpfNeed, ...]:
    """Return what a release needs of a topic, as Felix is set as far as that is known."""
    is_off = felix is not None and is_connect_time_off(release, felix)
    needs = [need for need in release.bpf_needs if need.topic == topic and not (need.connect_time and is_off)]
    return tuple(_of_balancing(need, release, felix) if need.connect_time else need for need in needs)


def _of_balancing(need: BpfNeed, release: Release, felix: FelixSettings | None) -> BpfNeed:
    """Leave out the hooks that Felix does not use, and say what it does without them."""
    # Programs for UDP are loaded with the object that they are in, attached or not.
    used = hooks_of(release, felix)[0] if need.topic == "attach" else _certain(release)
    return msgspec.structs.replace(
        need,
        names=tuple(name for name in need.names if need.topic == "helper" or _hook(name) in used),
        effect=f"{need.effect}, and {release.balancing.failure}",
    )


def _certain(release: Release) -> frozenset[str]:
    return frozenset(hook.name for hook in release.bpf_hooks if hook.certain)


def _hook(name: str) -> str:
    return name.partition("/")[2]


def weigh(needs: Iterable[BpfNeed], answers: TrialAnswers, felix: FelixSettings | None) -> Weighed:
    """Compare needs of one topic with what the kernel answered."""
    attach_type = (felix.bpf_attach_type or "") if felix is not None else ""
    lost: list[Loss] = []
    untold: list[tuple[BpfNeed, Untold]] = []
    for need in needs:
        refusals: list[Refusal] = []
        for name in need.names:
            answer = answer_of(answers, name)
            if isinstance(answer, Refusal):
                refusals.append(answer)
            elif answer is not None:
                untold.append((need, answer))
        if refusals:
            stands_in = attach_type.lower() != need.attach_type.lower() or not need.attach_type
            others = [answer_of(answers, name) for name in need.instead] if stands_in else []
            is_open = [one for one in others if isinstance(one, Untold)]
            if is_open and None not in others:
                untold.append((need, is_open[0]))
            else:
                lost.append(Loss(need=need, refusals=tuple(refusals), spared=None in others))
    return Weighed(lost=tuple(lost), untold=tuple(untold))


def answer_of(answers: TrialAnswers, name: str) -> Refusal | Untold | None:
    """Return None where the kernel has a thing, else what it said of it."""
    # bpftool tells whether there is a type, which has to do for its flags and hooks.
    names = (name, name.partition("/")[0]) if answers.by == "bpftool" else (name,)
    for one in names:
        if one in answers.yes:
            return None
        said: tuple[Refusal | Untold, ...] = (*answers.no, *answers.untold)
        for answer in said:
            if answer.name == one:
                return answer
    return Untold(name=name, words=answers.left or "the trial did not ask for it")


def kernel_lacks(given: Given) -> tuple[str, ...] | None:
    """Return what the kernel lacks of what no endpoint works without; None where it did not tell all of that.

    Asks for KERNEL_ANSWERS.
    """
    lacking: list[str] = []
    is_whole = bool(given.release.bpf_needs)
    for topic, fact in _TOPICS:
        answers = given[fact]
        if not isinstance(answers, Known) or answers.value.by != "bpf":
            is_whole = False
            continue
        needs = (need for need in needs_of(given.release, topic, None) if not need.connect_time)
        weighed = weigh(needs, answers.value, None)
        lacking += [refusal.name for loss in weighed.lacks("blocker") for refusal in loss.refusals]
        is_whole = is_whole and not weighed.open(blocking=True)
    return tuple(lacking) if lacking or is_whole else None
