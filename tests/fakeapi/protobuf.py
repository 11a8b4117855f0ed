"""Reads what kubectl sends as protobuf, whatever the server would rather have: reviews and simple objects."""

from collections.abc import Iterator

from tests.fakeapi.story import Object

MAGIC = b"k8s\0"
RESOURCE_ATTRIBUTES = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
# The fields of messages by number, as far as `kubectl create` fills them: name, and type or message; [] repeats, and {}
# is a map of strings.
SCHEMAS: dict[str, dict[int, tuple[str, str]]] = {
    "Job": {1: ("metadata", "ObjectMeta"), 2: ("spec", "JobSpec")},
    "ConfigMap": {1: ("metadata", "ObjectMeta"), 2: ("data", "{}")},
    "Namespace": {1: ("metadata", "ObjectMeta")},
    "ObjectMeta": {
        1: ("name", "str"),
        2: ("generateName", "str"),
        3: ("namespace", "str"),
        11: ("labels", "{}"),
        12: ("annotations", "{}"),
    },
    "JobSpec": {
        1: ("parallelism", "int"),
        2: ("completions", "int"),
        3: ("activeDeadlineSeconds", "int"),
        6: ("template", "PodTemplateSpec"),
        7: ("backoffLimit", "int"),
        8: ("ttlSecondsAfterFinished", "int"),
    },
    "PodTemplateSpec": {1: ("metadata", "ObjectMeta"), 2: ("spec", "PodSpec")},
    "PodSpec": {2: ("containers", "[Container]"), 3: ("restartPolicy", "str")},
    "Container": {1: ("name", "str"), 2: ("image", "str"), 3: ("command", "[str]"), 4: ("args", "[str]")},
}


def object_of(data: bytes) -> Object:
    """The object in a protobuf body, if its kind is one of those known here."""
    envelope = _fields(data.removeprefix(MAGIC))
    type_meta = _fields(envelope[1])
    kind = type_meta[2].decode()
    return {"apiVersion": type_meta[1].decode(), "kind": kind, **_message(envelope[2], kind)}


def _message(data: bytes, name: str) -> Object:
    document: Object = {}
    for number, value in _values(data):
        field, kind = SCHEMAS[name].get(number, ("", ""))
        if isinstance(value, int):
            read: object = value
        elif kind == "{}":
            entry = _strings(value, ("key", "value"))
            read = {**document.get(field, {}), entry["key"]: entry.get("value", "")}
        elif kind.strip("[]") == "str":
            read = value.decode()
        else:
            read = _message(value, kind.strip("[]")) if kind else None
        if kind.startswith("["):
            document.setdefault(field, []).append(read)
        elif kind and read != "":
            document[field] = read
    return document


def review_of(data: bytes) -> Object:
    """The SelfSubjectRulesReview or SelfSubjectAccessReview in a protobuf body."""
    envelope = _fields(data.removeprefix(MAGIC))
    type_meta = _fields(envelope[1])
    review = {"apiVersion": type_meta[1].decode(), "kind": type_meta[2].decode()}
    spec = _fields(_fields(envelope[2]).get(2, b""))
    if review["kind"] == "SelfSubjectRulesReview":
        return {**review, "spec": {"namespace": spec.get(1, b"").decode()}}
    if 1 in spec:
        return {**review, "spec": {"resourceAttributes": _strings(spec[1], RESOURCE_ATTRIBUTES)}}
    return {**review, "spec": {"nonResourceAttributes": _strings(spec.get(2, b""), ("path", "verb"))}}


def _strings(message: bytes, names: tuple[str, ...]) -> dict[str, str]:
    fields = _fields(message)
    return {name: fields[number].decode() for number, name in enumerate(names, 1) if fields.get(number)}


def _fields(message: bytes) -> dict[int, bytes]:
    """The strings and messages in a message, by field number."""
    return {number: value for number, value in _values(message) if isinstance(value, bytes)}


def _values(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields in a message: numbers, and the bytes of strings and messages."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        value, position = _varint(message, position)
        if tag & 7 == 0:
            yield tag >> 3, value
        elif tag & 7 == 2:
            yield tag >> 3, message[position : position + value]
            position += value
        else:
            raise ValueError(f"a field of wire type {tag & 7}, where strings, messages and numbers are expected")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
