"""Actions of a plan: how each is undone, what it looks like as a command and as a manifest."""

import json
import shlex
from collections.abc import Iterable
from typing import Any

from ebpfcheck.model.plan import (
    Action,
    Create,
    Delete,
    Field,
    FieldChange,
    Manual,
    Patch,
    Pause,
    Restart,
    Target,
    Value,
)


def undone(action: Patch | Create | Delete | Restart) -> Action:
    """Return the action that leads back to what was before."""
    if isinstance(action, Patch):
        fields = (FieldChange(path=one.path, before=one.after, after=one.before) for one in action.fields)
        return Patch(target=action.target, fields=tuple(fields))
    if isinstance(action, Restart):
        return action
    opposite = Delete if isinstance(action, Create) else Create
    return opposite(target=action.target, api_version=action.api_version, kind=action.kind, fields=action.fields)


def document_of(fields: Iterable[Field | FieldChange]) -> dict[str, Any]:
    """Return the nested fields of an object; of changes, what they are to be, null for what is to go."""
    document: dict[str, Any] = {}
    for one in fields:
        *parents, last = one.path
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = plain(one.after if isinstance(one, FieldChange) else one.value)
    return document


def plain(value: Value) -> Any:
    """Return a value as JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def manifest_of(action: Create | Delete) -> dict[str, Any]:
    """Return the object that is made, or removed."""
    namespace = {"namespace": action.target.namespace} if action.target.namespace else {}
    return {
        "apiVersion": action.api_version,
        "kind": action.kind,
        "metadata": {"name": action.target.name, **namespace},
        **document_of(action.fields),
    }


def patch_of(action: Patch) -> str:
    """Return the merge patch as one line of JSON."""
    return json.dumps(document_of(action.fields), separators=(",", ":"))


def commands_of(action: Action) -> tuple[str, ...]:
    """Return an action as one would type it."""
    match action:
        case Patch():
            return (f"kubectl patch {words_of(action.target)} --type merge -p {shlex.quote(patch_of(action))}",)
        case Create(kind="ConfigMap"):
            pairs = (shlex.quote(f"{one.path[-1]}={one.value}") for one in action.fields)
            values = " ".join(f"--from-literal={pair}" for pair in pairs)
            namespace = shlex.quote(action.target.namespace or "default")
            return (f"kubectl -n {namespace} create configmap {shlex.quote(action.target.name)} {values}",)
        case Create():
            made = json.dumps(manifest_of(action), separators=(",", ":"))
            return (f"printf %s {shlex.quote(made)} | kubectl create -f -",)
        case Delete():
            return (f"kubectl delete {words_of(action.target)}",)
        case Pause():
            return (f"sleep {action.seconds}",)
        case Restart():
            return (f"kubectl rollout restart {slashed(action.target)}",)
        case Manual():
            return action.commands


def words_of(target: Target) -> str:
    """Return an object as kubectl's arguments."""
    return f"{_namespace(target)}{shlex.quote(target.resource)} {shlex.quote(target.name)}"


def slashed(target: Target) -> str:
    """Return an object as kubectl's `rollout` wants it."""
    return f"{_namespace(target)}{shlex.quote(f'{target.resource}/{target.name}')}"


def _namespace(target: Target) -> str:
    return f"-n {shlex.quote(target.namespace)} " if target.namespace else ""
