"""A plan as a page for a change request, with boxes to tick."""

from collections.abc import Iterator

from ebpfcheck.model.plan import Blocker, Manual, Patch, Plan, Step
from ebpfcheck.model.text import TEXT_ESCAPES, host_port, without_commands
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.commonmark import code, fenced, plain
from ebpfcheck.render.plan_words import (
    HEADINGS,
    condition_words,
    subject_words,
    target_words,
    title_of,
    value_words,
)


def render(plan: Plan, options: RenderOptions) -> str:  # noqa: ARG001 - the renderers' one shape
    """Return the plan as CommonMark."""
    return without_commands("\n".join(_lines(plan)) + "\n", TEXT_ESCAPES)


def _lines(plan: Plan) -> Iterator[str]:
    yield f"# {HEADINGS[plan.verdict][0]}: {plain(title_of(plan))}"
    yield ""
    yield f"- How: {plain(plan.method)}"
    if plan.api_endpoint is not None and plan.direction == "enable":
        endpoint = plan.api_endpoint
        yield f"- API server: {code(host_port(endpoint.host, endpoint.port))}, {plain(endpoint.remark)}"
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
            yield f"- [ ] {number}. {plain(' '.join((f'{step.title}.', *texts)))}"
            yield from fenced(step.commands, indent=2)
    yield from _list("What stays on nodes after the way back", plan.residue)


def _blockers(heading: str, found: tuple[Blocker, ...], *, boxes: bool = False) -> Iterator[str]:
    if not found:
        return
    yield ""
    yield f"## {heading}"
    yield ""
    for one in found:
        on = subject_words(one)
        label = f"{code(one.id)}: " if one.id else ""
        fix = f" **{plain(one.remediation.text)}**" if one.remediation is not None else ""
        where = f" (on {plain(on)})" if on else ""
        yield f"- {'[ ] ' if boxes else ''}{label}{plain(one.message)}{where}{fix}"


def _list(heading: str, lines: tuple[str, ...]) -> Iterator[str]:
    if not lines:
        return
    yield ""
    yield f"## {heading}"
    yield ""
    yield from (f"- {plain(line)}" for line in lines)


def _step(number: int, step: Step) -> Iterator[str]:
    yield ""
    yield f"### {number}. {plain(step.title)}{'' if step.is_safe else ' (not yet safe)'}"
    yield ""
    yield f"- Why: {plain(step.why)}"
    for condition in step.before:
        yield f"- [ ] First: {plain(condition_words(condition))}"
    for action in step.actions:
        if isinstance(action, Manual):
            yield f"- [ ] {plain(action.text)}"
        elif isinstance(action, Patch):
            for field in action.fields:
                change = f"{value_words(field.before)} -> {value_words(field.after)}"
                what = f"{code('.'.join(field.path))} of {code(target_words(action.target))}"
                yield f"- Changes {what}: {code(change)}"
    if step.commands:
        yield "- [ ] Do:"
        yield from fenced(step.commands, indent=2)
    for condition in step.after:
        yield f"- [ ] Then: {plain(condition_words(condition))}"
    if step.disrupts:
        yield f"- Disrupts: {plain(step.disrupts)}"
    yield f"- [ ] See: {plain(step.see)}"
    yield from fenced(step.see_commands, indent=2)
    yield f"- Stop if: {plain(step.stop)}"
    if step.undo:
        yield f"- Undo: {plain(step.undo)}"
