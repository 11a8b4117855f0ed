"""Who wrote which fields of an object, as metadata.managedFields tells it."""

from collections.abc import Iterable
from typing import Any

import msgspec

from tests.fakeapi.podlife import now
from tests.fakeapi.story import Object

Path = tuple[str, ...]

# Of metadata, what the server writes and nobody owns.
SERVERS = ("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp")
UNOWNED = (*SERVERS, "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink")
# Of the built-in kinds: what is owned as a whole, and maps that are owned besides what is in them.
ATOMIC = ("nodeSelector", "selector", "matchLabels")
MAPS = ("labels", "annotations", "data", "binaryData", "rollingUpdate")


def managed(before: Object | None, after: Object, manager: str, *, custom: bool, status: bool) -> list[Object]:
    """The managedFields of an object that a manager has made or changed; status is left out if it is another's."""
    old, new = _leaves(before or {}, custom, status), _leaves(after, custom, status)
    taken = {path for path, value in new.items() if path not in old or old[path] != value}
    lost = {path for path in old if path not in new} | {path for path in taken if path[-1] != "."}
    kept: list[Object] = []
    own: set[Path] = set()
    for entry in (before or {}).get("metadata", {}).get("managedFields", ()):
        if "subresource" in entry:
            kept.append(entry)
        elif (entry["manager"], entry["operation"]) == (manager, "Update"):
            own |= set(_paths(entry.get("fieldsV1", {})))
        else:
            listed = set(_paths(entry.get("fieldsV1", {})))
            left = listed - lost
            if left:
                kept.append({**entry, "fieldsV1": _tree(left)} if left != listed else entry)
    own = (own - lost) | taken
    if own:
        head = {"manager": manager, "operation": "Update", "apiVersion": after["apiVersion"], "time": now()}
        kept.append({**head, "fieldsType": "FieldsV1", "fieldsV1": _tree(own)})
    return sorted(kept, key=lambda entry: (str(entry.get("time")), str(entry["manager"])))


def _leaves(item: Object, custom: bool, status: bool) -> dict[Path, bytes]:
    metadata = {key: value for key, value in item.get("metadata", {}).items() if key not in UNOWNED}
    skipped = ("apiVersion", "kind", "metadata", *(() if status else ("status",)))
    if item.get("kind") == "Namespace":
        skipped = (*skipped, "spec")
    rest = {key: value for key, value in item.items() if key not in skipped}
    leaves = dict(_walk(metadata, ("f:metadata",), custom=False))
    for key, value in rest.items():
        leaves |= dict(_value(key, value, (f"f:{key}",), custom))
    return leaves


def _walk(value: Object, path: Path, custom: bool) -> Iterable[tuple[Path, bytes]]:
    for key, inner in value.items():
        yield from _value(key, inner, (*path, f"f:{key}"), custom)


def _value(key: str, value: Any, path: Path, custom: bool) -> Iterable[tuple[Path, bytes]]:
    if isinstance(value, dict) and value and (custom or key not in ATOMIC):
        if custom or key in MAPS:
            yield (*path, "."), b""
        yield from _walk(value, path, custom)
    elif key == "finalizers" and path[0] == "f:metadata":
        yield (*path, "."), b""
        yield from (((*path, f"v:{msgspec.json.encode(one).decode()}"), b"") for one in value)
    elif not custom and _named(value):
        if key not in ("containers", "initContainers"):
            yield (*path, "."), b""
        for one in value:
            inner = (*path, f'k:{{"name":{msgspec.json.encode(one["name"]).decode()}}}')
            yield (*inner, "."), b""
            yield from _walk(one, inner, custom)
    else:
        # The server counts the generations of a template, whoever changed it.
        counted = key == "deprecated.daemonset.template.generation"
        yield path, b"" if counted else msgspec.json.encode(value, order="sorted")


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and "name" in one for one in value)


def _paths(fields: Object, path: Path = ()) -> Iterable[Path]:
    for key, inner in fields.items():
        if inner:
            yield from _paths(inner, (*path, key))
        else:
            yield (*path, key)


def _tree(paths: Iterable[Path]) -> Object:
    tree: Object = {}
    for path in sorted(paths):
        place = tree
        for part in path:
            place = place.setdefault(part, {})
    return _bare(tree)


def _bare(tree: Object) -> Object:
    """Fields of which nothing below is owned stand for themselves."""
    return {key: {} if inner == {".": {}} else _bare(inner) for key, inner in tree.items()}
