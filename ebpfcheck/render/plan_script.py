"""A plan as a shell script that takes nothing but kubectl."""

import json
import shlex
from collections.abc import Iterator
from pkgutil import get_data

from ebpfcheck.model.plan import (
    Action,
    Blocker,
    Condition,
    Confirmed,
    Create,
    Delete,
    FieldIs,
    FreshNode,
    Gone,
    Manual,
    Patch,
    Pause,
    Plan,
    Reached,
    Restart,
    RolledOut,
    Runs,
    Step,
    Target,
    Value,
    VariableIs,
)
from ebpfcheck.model.text import visible
from ebpfcheck.plan.actions import manifest_of, patch_of, plain
from ebpfcheck.plan.reach import reach_manifest
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.plan_words import condition_words, title_of

_VARIABLE = '{.spec.template.spec.containers[?(@.name=="calico-node")].env[?(@.name=="NAME")].value}'


def render(plan: Plan, options: RenderOptions) -> str:  # noqa: ARG001 - the renderers' one shape
    """Return the script of a plan."""
    return script_of(plan)


def script_of(plan: Plan) -> str:
    """Return enable.sh, or for the way back rollback.sh."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    yield "#!/bin/sh"
    yield f"# {_comment(title_of(plan))}"
    yield f"# Made by ebpfcheck {_comment(plan.tool.version)}, from what was seen at {plan.snapshot_taken_at}."
    # Not every plan takes all functions; and what is quoted is for kubectl and for pods.
    yield "# shellcheck disable=SC2016,SC2317,SC2329"
    yield "set -eu"
    yield ""
    yield _prelude().rstrip("\n")
    yield ""
    if plan.blockers:
        yield _call("refuse", *map(_reason, plan.blockers))
    if plan.undecided:
        yield _call("unknown", *map(_reason, plan.undecided))
    goes_back = plan.direction == "rollback"
    yield "begin back rollback.state enable.state" if goes_back else "begin there enable.state rollback.state"
    if plan.cluster_id:
        yield _call("same_cluster", plan.cluster_id)
    if plan.calico_node is not None and plan.image is not None and not goes_back:
        yield _call("same_image", plan.calico_node.namespace or "", plan.calico_node.name, plan.image)
    if plan.forecast:
        yield _call("say", "What it does to traffic:")
        yield from (_call("say", f"  - {visible(words)}") for words in plan.forecast)
    for number, step in enumerate(plan.steps, start=1):
        yield ""
        yield f"# {_comment(step.why)}"
        yield f"if {_call('step', step.id, f'{number}. {visible(step.title)}')}; then"
        yield from (f"    {line}" for line in _step(step))
        # What only looks is looked at anew each time.
        yield from (["    finish"] if step.actions else [])
        yield "fi"
    yield ""
    if goes_back:
        yield from (_call("say", f"What stays on nodes: {visible(words)}.") for words in plan.residue)
    yield "end"
    if goes_back:
        # The state of a way that was gone to its end must not keep a second one from being gone.
        yield 'rm -rf "${state:?}"'


def _step(step: Step) -> Iterator[str]:
    for condition in step.before:
        yield from _condition(condition)
    if step.disrupts and step.actions:
        yield _call("ask", visible(step.disrupts))
    for action in step.actions:
        yield from _action(action)
    if any(isinstance(one, Confirmed) for one in step.after) or not (step.actions or step.after):
        yield _call("say", visible(step.see))
        yield from (_call("say", f"  $ {visible(command)}") for command in step.see_commands)
    for condition in step.after:
        yield from _condition(condition)


def _action(action: Action) -> Iterator[str]:
    match action:
        case Patch():
            checked = [
                word for field in action.fields
                for word in (_path(field.path), _shown(field.before), _shown(field.after))
            ]  # fmt: skip
            yield _call("patch", *_words(action.target), patch_of(action), *checked)
        case Create():
            checked = [word for field in action.fields for word in (_path(field.path), _shown(field.value))]
            yield _call("create", *_words(action.target), _json(manifest_of(action)), *checked)
        case Delete():
            yield _call("delete", *_words(action.target))
        case Restart():
            yield _call("restart", *_slashed(action.target), *(["optional"] if action.optional else []))
        case Pause():
            yield _call("pause", str(action.seconds), visible(action.why))
        case Manual():
            yield _call("say", f"Do this: {visible(action.text)}")
            yield from (_call("say", f"  $ {visible(command)}") for command in action.commands)


def _condition(condition: Condition) -> Iterator[str]:
    match condition:
        case RolledOut():
            yield _call("rolled_out", *_slashed(condition.target), str(condition.minutes))
        case FieldIs():
            yield _until(condition.minutes, condition.value, condition.path, condition.target, _path(condition.path))
        case VariableIs():
            names = (condition.name,)
            place = _VARIABLE.replace("NAME", condition.name)
            yield _until(condition.minutes, condition.value, names, condition.target, place)
        case Gone():
            yield _call("pods", "are_gone", *_place(condition.target), str(condition.minutes))
        case Runs():
            yield _call("pods", "are_running", *_place(condition.target), str(condition.minutes))
        case Reached():
            what = condition_words(condition).removeprefix("every node reaches ")
            manifest = _json(reach_manifest(condition))
            yield _call("reached", condition.namespace, str(condition.minutes), what, manifest)
        case FreshNode():
            yield _call("fresh_node", condition.namespace)
        case Confirmed():
            yield _call("confirmed", visible(condition.question))


def _until(minutes: int, value: Value, path: tuple[str, ...], target: Target, place: str) -> str:
    what = f"{'.'.join(path)} of {target.name}"
    return _call("until_value", str(minutes), _shown(value), visible(what), *_words(target), place)


def _call(function: str, *words: str) -> str:
    return " ".join((function, *(shlex.quote(word) for word in words)))


def _words(target: Target) -> tuple[str, str, str]:
    return target.resource, target.name, target.namespace or ""


def _place(target: Target) -> tuple[str, str]:
    return target.name, target.namespace or ""


def _slashed(target: Target) -> tuple[str, str]:
    return f"{target.resource}/{target.name}", target.namespace or ""


def _path(path: tuple[str, ...]) -> str:
    """Return where kubectl finds a field."""
    keys = (key.replace("\\", "\\\\").replace(".", "\\.") for key in path)
    return "{." + ".".join(keys) + "}"


def _shown(value: Value) -> str:
    """Return a value as kubectl prints it; what is not set it prints as nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else _json(plain(value))


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _reason(one: Blocker) -> str:
    return visible(f"{one.id}: {one.message}" if one.id else one.message)


def _comment(text: str) -> str:
    return visible(text)


def _prelude() -> str:
    data = get_data("ebpfcheck.render", "plan_prelude.sh")
    if data is None:
        raise FileNotFoundError("plan_prelude.sh")
    return data.decode()
