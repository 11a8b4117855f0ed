"""A plan for people at a terminal."""

from ebpfcheck.model.plan import Blocker, Manual, Patch, Plan, Step
from ebpfcheck.model.text import host_port, visible
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.console import LABEL_WIDTH, Page
from ebpfcheck.render.plan_words import (
    HEADINGS,
    condition_words,
    subject_words,
    target_words,
    title_of,
    value_words,
)


def render(plan: Plan, options: RenderOptions) -> str:
    """Return the plan as text of the given width: what speaks against it, what it costs, the steps, the way back."""
    page = Page(options)
    words, color = HEADINGS[plan.verdict]
    page.opening(f"{words}: {title_of(plan)}", words, color)
    page.paragraph(plan.method, "bright_black")
    if plan.api_endpoint is not None and plan.direction == "enable":
        endpoint = plan.api_endpoint
        page.paragraph(f"API server: {host_port(endpoint.host, endpoint.port)}, {endpoint.remark}.", "bright_black")
    _blockers(page, "Mend first", plan.blockers, "red", options)
    _blockers(page, "Not known", plan.undecided, "magenta", options)
    _blockers(page, "To mind", plan.cautions, "yellow", options)
    _list(page, "What it does to traffic", plan.forecast)
    for number, step in enumerate(plan.steps, start=1):
        _step(page, number, step, options)
    if plan.direction == "enable":
        _list(page, "The way back, in this order (ebpfcheck rollback)", tuple(_line(step) for step in plan.rollback))
    _list(page, "What stays on nodes after the way back", plan.residue)
    return page.text()


def _blockers(page: Page, heading: str, found: tuple[Blocker, ...], color: str, options: RenderOptions) -> None:
    if not found:
        return
    page.line()
    page.line(page.paint(heading, color, bold=True))
    for one in found:
        on = subject_words(one)
        label = f"{one.id}: " if one.id else ""
        page.labelled("  -", f"{label}{one.message}" + (f" (on {on})" if on else ""), width=4)
        if one.remediation is not None and options.verbosity >= 0 and color != "yellow":
            page.labelled("", one.remediation.text, width=4)
            _commands(page, one.remediation.commands)


def _list(page: Page, heading: str, lines: tuple[str, ...]) -> None:
    if not lines:
        return
    page.line()
    page.line(page.paint(heading, bold=True))
    for line in lines:
        page.labelled("  -", line, width=4)


def _line(step: Step) -> str:
    texts = [action.text for action in step.actions if isinstance(action, Manual)]
    words = visible(" ".join((f"{step.title}.", *texts)))
    return words + (f" $ {visible('; '.join(step.commands))}" if step.commands else "")


def _step(page: Page, number: int, step: Step, options: RenderOptions) -> None:
    page.line()
    mark = "" if step.is_safe else "  (not yet safe)"
    page.line(page.paint(f"{number}. {visible(step.title)}", bold=True) + page.paint(mark, "red"))
    if options.verbosity < 0:
        _commands(page, step.commands)
        return
    _row(page, "why", step.why)
    for condition in step.before:
        _row(page, "first", f"{condition_words(condition)}.")
    for action in step.actions:
        if isinstance(action, Manual):
            _row(page, "do this", action.text)
        elif isinstance(action, Patch):
            for field in action.fields:
                change = f"{value_words(field.before)} -> {value_words(field.after)}"
                _row(page, "changes", f"{'.'.join(field.path)} of {target_words(action.target)}: {change}")
    _commands(page, step.commands)
    for condition in step.after:
        _row(page, "then", f"{condition_words(condition)}.")
    if step.disrupts:
        _row(page, "disrupts", step.disrupts)
    _row(page, "see", step.see)
    _commands(page, step.see_commands)
    _row(page, "stop if", step.stop)
    if step.undo:
        _row(page, "undo", step.undo)


def _row(page: Page, label: str, text: str) -> None:
    page.labelled(f"{label:>{LABEL_WIDTH - 1}}", visible(text), "bright_black")


def _commands(page: Page, commands: tuple[str, ...]) -> None:
    for command in commands:
        # Never wrapped: a command is there to be copied.
        page.line(f"{'':{LABEL_WIDTH}}$ {visible(command)}")
