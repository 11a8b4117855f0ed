"""What the renderers of plans share: conditions and counts in words."""

from collections.abc import Sequence

from ebpfcheck.model.plan import (
    Blocker,
    Condition,
    Confirmed,
    FieldIs,
    FreshNode,
    Gone,
    Plan,
    Reached,
    RolledOut,
    Runs,
    Target,
    Value,
    VariableIs,
)
from ebpfcheck.model.report import Verdict
from ebpfcheck.model.text import excerpt, host_port

HEADINGS = {
    Verdict.READY: ("PLAN", "green"),
    Verdict.READY_WITH_WARNINGS: ("PLAN, WITH CAUTIONS", "yellow"),
    Verdict.NOT_READY: ("PLAN, NOT YET SAFE", "red"),
    Verdict.INCONCLUSIVE: ("PLAN, NOT YET KNOWN TO BE SAFE", "magenta"),
}
"""How a plan's title begins, and its colour."""

_SHOWN_NAMES = 3


def title_of(plan: Plan) -> str:
    """Return what a plan is for, and what speaks against it."""
    counts = ", ".join(
        f"{len(found)} {words}"
        for found, words in (
            (plan.blockers, "to mend first"),
            (plan.undecided, "not known"),
            (plan.cautions, "to mind"),
        )
        if found
    )
    to = "back from eBPF mode" if plan.direction == "rollback" else "to eBPF mode"
    return f"{plan.target.name}, Calico {plan.calico.version}, {to}" + (f" ({counts})" if counts else "")


def condition_words(condition: Condition) -> str:
    """Return a condition as a sentence without its end."""
    match condition:
        case RolledOut():
            return f"all pods of {target_words(condition.target)} are of its present template and ready"
        case FieldIs():
            field = ".".join(condition.path)
            what = f"{field} of {target_words(condition.target)}"
            return f"{what} is {value_words(condition.value)}, within {condition.minutes} minutes"
        case Reached():
            return f"every node reaches {host_port(condition.host, condition.port)} from its own network"
        case VariableIs():
            what = f"{condition.name} in the template of {target_words(condition.target)}"
            return f"{what} is {value_words(condition.value)}"
        case Gone():
            return f"no pods of {target_words(condition.target)} are left"
        case Runs():
            return f"{target_words(condition.target)} has its pods, and all are ready"
        case FreshNode():
            return "a node that is rebooted or added from now on is Ready, and so is its calico-node"
        case Confirmed():
            return f"somebody has looked and says yes to this: {condition.question.rstrip('?')}"


def target_words(target: Target) -> str:
    """Return an object's name for people."""
    kind = target.resource.partition(".")[0]
    return excerpt(f"{kind} {target.namespace}/{target.name}" if target.namespace else f"{kind} {target.name}", 160)


def value_words(value: Value) -> str:
    """Return a value for people."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    return excerpt(", ".join(value) if isinstance(value, tuple) else str(value), 160)


def subject_words(blocker: Blocker) -> str:
    """Return on which nodes something was found; nothing for the cluster."""
    names: Sequence[str] = blocker.subjects
    if not names or names == ("cluster",):
        return ""
    left = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {left:,} more" if left > 0 else "")
