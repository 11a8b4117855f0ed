"""Reads the access reviews that kubectl sends as protobuf, whatever the server would rather have."""

from tests.fakeapi.story import Object

MAGIC = b"k8s\0"
RESOURCE_ATTRIBUTES = ("namespace", "verb", "group", "version", "resource", "subresource", "name")


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
    fields, position = {}, 0
    while position < len(message):
        tag, position = _varint(message, position)
        if tag & 7 != 2:
            raise ValueError(f"a field of wire type {tag & 7}, where strings and messages are expected")
        length, position = _varint(message, position)
        fields[tag >> 3] = message[position : position + length]
        position += length
    return fields


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
