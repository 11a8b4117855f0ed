"""What is in force, and from where, for people."""

from collections.abc import Iterable
from typing import Any

import msgspec

from ebpfcheck.model.text import excerpt
from ebpfcheck.policy.config import Policy

_NOT_SET = "-"


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A setting as a command takes it; `is_given` where the command line says it."""

    name: str
    value: Any
    is_given: bool


def shown_policy(policy: Policy | None, rows: Iterable[Shown]) -> str:
    """Return a line for each setting: its name, its value, and where it comes from."""
    policy = policy or Policy()
    lines = []
    for row in rows:
        setting = policy.settings.get(row.name)
        if row.is_given or setting is None:
            lines.append((row.name, _words(row.value), "command line" if row.is_given else "default"))
        else:
            lines.append((row.name, _words(setting.value), setting.origin))
    lines += [(f"severity of {rule.id}", rule.severity.value, rule.line) for rule in policy.severities]
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    said = "".join(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}\n" for name, value, origin in lines)
    ignored = "".join(f"{name} is no setting of ebpfcheck, and ignored\n" for name in policy.ignored)
    return f"policy file: {excerpt(policy.file) if policy.file is not None else 'none'}\n\n{said}" + (
        f"\n{ignored}" if ignored else ""
    )


def _words(value: Any) -> str:
    if value in (None, [], ()):
        return _NOT_SET
    return excerpt(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
