"""A plan as a page for a change request, with boxes to tick."""

import re
from collections.abc import Iterator

from ebpfcheck.model.plan import Blocker, Manual, Patch, Plan, Step
from ebpfcheck.model.text import host_port, visible
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.plan_words import (
    HEADINGS,
    condition_words,
    subject_words,
    target_words,
    title_of,
    value_words,
)

# What CommonMark and its tables, autolinks and HTML take as their own.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#+!|~&@])|(?<=\w)(:)(?=//)")


def render(plan: Plan, options: RenderOptions) -> str:  # noqa: ARG001 - the renderers' one shape
    """Return the plan as CommonMark."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    yield f"# {HEADINGS[plan.verdict][0]}: {_text(title_of(plan))}"
    yield ""
    yield f"- How: {_text(plan.method)}"
    if plan.api_endpoint is not None and plan.direction == "enable":
        endpoint = plan.api_endpoint
        yield f"- API server: {_code(host_port(endpoint.host, endpoint.port))}, {_text(endpoint.remark)}"
    yield f"- From what was seen at {plan.snapshot_taken_at.isoformat()}"
    yield f"- By ebpfcheck {plan.tool.version}, knowledge of {plan.tool.knowledge}"
    yield from _blockers("Mend first", plan.blockers, boxes=True)
    yield from _blockers("Not known", plan.undecided, boxes=True)
    yield from _blockers("To mind", plan.cautions)
    yield from _list("What it does to traffic", plan.forecast)
    yield ""
    yield "## Steps"
    for number, step in enumerate(plan.steps, start=1):
        yield from _step(number, step)
    if plan.direction == "enable" and plan.rollback:
        yield ""
        yield "## The way back"
        for number, step in enumerate(plan.rollback, start=1):
            yield ""
            texts = [action.text for action in step.actions if isinstance(action, Manual)]
            yield f"- [ ] {number}. {_text(' '.join((f'{step.title}.', *texts)))}"
            yield from _fenced(step.commands)
    yield from _list("What stays on nodes after the way back", plan.residue)


def _blockers(heading: str, found: tuple[Blocker, ...], *, boxes: bool = False) -> Iterator[str]:
    if not found:
        return
    yield ""
    yield f"## {heading}"
    yield ""
    for one in found:
        on = subject_words(one)
        label = f"{_code(one.id)}: " if one.id else ""
        fix = f" **{_text(one.remediation.text)}**" if one.remediation is not None else ""
        where = f" (on {_text(on)})" if on else ""
        yield f"- {'[ ] ' if boxes else ''}{label}{_text(one.message)}{where}{fix}"


def _list(heading: str, lines: tuple[str, ...]) -> Iterator[str]:
    if not lines:
        return
    yield ""
    yield f"## {heading}"
    yield ""
    yield from (f"- {_text(line)}" for line in lines)


def _step(number: int, step: Step) -> Iterator[str]:
    yield ""
    yield f"### {number}. {_text(step.title)}{'' if step.is_safe else ' (not yet safe)'}"
    yield ""
    yield f"- Why: {_text(step.why)}"
    for condition in step.before:
        yield f"- [ ] First: {_text(condition_words(condition))}"
    for action in step.actions:
        if isinstance(action, Manual):
            yield f"- [ ] {_text(action.text)}"
        elif isinstance(action, Patch):
            for field in action.fields:
                change = f"{value_words(field.before)} -> {value_words(field.after)}"
                what = f"{_code('.'.join(field.path))} of {_code(target_words(action.target))}"
                yield f"- Changes {what}: {_code(change)}"
    if step.commands:
        yield "- [ ] Do:"
        yield from _fenced(step.commands)
    for condition in step.after:
        yield f"- [ ] Then: {_text(condition_words(condition))}"
    if step.disrupts:
        yield f"- Disrupts: {_text(step.disrupts)}"
    yield f"- [ ] See: {_text(step.see)}"
    yield from _fenced(step.see_commands)
    yield f"- Stop if: {_text(step.stop)}"
    if step.undo:
        yield f"- Undo: {_text(step.undo)}"


def _fenced(commands: tuple[str, ...]) -> Iterator[str]:
    """Return commands as a block in a list item."""
    if not commands:
        return
    # A fence is longer than any run of backticks in it.
    longest = max((len(run) for command in commands for run in re.findall("`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    yield ""
    yield f"  {fence}sh"
    yield from (f"  {visible(command)}" for command in commands)
    yield f"  {fence}"
    yield ""


def _text(text: str) -> str:
    return _MARKUP.sub(lambda match: f"\\{match[0]}", visible(text))


def _code(text: str) -> str:
    shown = visible(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
