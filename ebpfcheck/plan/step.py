"""What the modules of steps share: a step with its way back, and changes of fields."""

from collections.abc import Sequence

import msgspec

from ebpfcheck.model.plan import (
    Condition,
    Create,
    Delete,
    FieldChange,
    Patch,
    Pause,
    Restart,
    RolledOut,
    Step,
    Target,
    Value,
)
from ebpfcheck.plan.actions import commands_of, undone
from ebpfcheck.plan.case import Case


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


def reversible(there: Step, *, title: str, after: Sequence[Condition] = (), disrupts: str = "", stop: str = "") -> Pair:
    """Return a step of actions that lead back by themselves, last first; what is not said is as on the way there."""
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
            stop=stop or there.stop,
        ),
    )


def patched(target: Target, *changes: tuple[tuple[str, ...], Value, Value]) -> Patch:
    """Return the change of some fields of an object, each a path with what is there and what is to be there."""
    fields = (FieldChange(path=path, before=before, after=after) for path, before, after in changes)
    return Patch(target=target, fields=tuple(fields))


def ready(case: Case) -> tuple[Condition, ...]:
    """Return what has to hold before kube-proxy goes: a pod of calico-node that is not ready holds the switch up."""
    node = case.node_target
    return () if node is None else (RolledOut(target=node, minutes=case.release.plan.times.minutes),)
