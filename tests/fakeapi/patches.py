"""The patches that API servers take: JSON merge patches, JSON patches, and what kubectl needs of strategic ones."""

from collections.abc import Sequence
from typing import Any

import msgspec

from tests.fakeapi.status import StatusError
from tests.fakeapi.story import Object

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


class PatchError(Exception):
    """A JSON patch that does not fit the document."""


def patched(item: Object, content_type: str, body: bytes) -> Object:
    """The object with a patch of that type in effect; a StatusError if it has none."""
    patch = _decoded(body)
    if content_type == JSON_PATCH:
        if not isinstance(patch, list):
            into = "[]handlers.jsonPatchOp"
            raise StatusError(
                400, f"error decoding patch: json: cannot unmarshal {go_type(patch)} into Go value of type {into}"
            )
        try:
            result = _operated(item, patch)
        except PatchError:
            raise StatusError(422, details={}) from None
        if not isinstance(result, dict):
            raise StatusError(422, details={})
        return result
    if not isinstance(patch, dict):
        into = "map[string]interface {}"
        raise StatusError(
            400, f"error decoding patch: json: cannot unmarshal {go_type(patch)} into Go value of type {into}"
        )
    if content_type == STRATEGIC:
        _refuse_lists(patch, "")
    merged: Object = merged_with(item, patch)
    return merged


def go_type(value: Any) -> str:
    """What Go's decoder of JSON calls a value."""
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def merged_with(target: Any, patch: Any) -> Any:
    """A document with a merge patch (RFC 7386) in effect."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged_with(result.get(key), value)
    return result


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except ValueError as error:
        raise StatusError(400, f"error decoding patch: {error}") from None


def _refuse_lists(patch: Object, path: str) -> None:
    # Which lists are merged, and by which key, is known from the types, which nobody has here.
    for key, value in patch.items():
        place = f"{path}.{key}".lstrip(".")
        if key.startswith("$") or isinstance(value, list):
            message = "Forbidden: neither lists nor directives of strategic merge patches are served here"
            raise StatusError.invalid("Patch", "", "", [(place, "FieldValueForbidden", message)])
        if isinstance(value, dict):
            _refuse_lists(value, place)


def _operated(document: Any, operations: Sequence[Any]) -> Any:
    document = msgspec.json.decode(msgspec.json.encode(document))
    for operation in operations:
        if not isinstance(operation, dict):
            raise PatchError(operation)
        document = _apply(document, operation)
    return document


def _apply(document: Any, operation: Object) -> Any:
    path = _pointer(operation.get("path"))
    match operation.get("op"):
        case "test":
            if not same(_read(document, path), operation.get("value")):
                raise PatchError(operation)
            return document
        case "remove":
            return _without(document, path)
        case "add":
            return _with(document, path, operation.get("value"), insert=True)
        case "replace":
            # As real servers have it, what replaces nothing in a map is added.
            return _with(document, path, operation.get("value"), insert=False)
        case "copy" | "move" as name:
            origin = _pointer(operation.get("from"))
            value = _read(document, origin)
            if name == "move" and value is not None:
                document = _without(document, origin)
            return _with(document, path, value, insert=True)
    raise PatchError(operation)


def same(one: Any, other: Any) -> bool:
    """Whether two documents are the same JSON: to Python, 1 is True."""
    return msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")


def _pointer(path: Any) -> list[str]:
    if not isinstance(path, str) or (path and not path.startswith("/")):
        raise PatchError(path)
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _read(document: Any, path: list[str]) -> Any:
    """What is at a path, None if the last step leads nowhere."""
    for position, part in enumerate(path):
        match document:
            case dict() if part in document:
                document = document[part]
            case dict() if position == len(path) - 1:
                return None
            case list():
                document = document[_index(part, len(document) - 1)]
            case _:
                raise PatchError(path)
    return document


def _index(part: str, last: int) -> int:
    if not part.isdecimal() or int(part) > last:
        raise PatchError(part)
    return int(part)


def _parent(document: Any, path: list[str]) -> Any:
    parent = _read(document, path[:-1])
    if not isinstance(parent, dict | list):
        raise PatchError(path)
    return parent


def _without(document: Any, path: list[str]) -> Any:
    if not path:
        raise PatchError(path)
    parent = _parent(document, path)
    if isinstance(parent, list):
        del parent[_index(path[-1], len(parent) - 1)]
    elif path[-1] in parent:
        del parent[path[-1]]
    else:
        raise PatchError(path)
    return document


def _with(document: Any, path: list[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    parent, last = _parent(document, path), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif not insert:
        parent[_index(last, len(parent) - 1)] = value
    else:
        parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)
    return document
