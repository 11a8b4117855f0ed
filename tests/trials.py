"""What tests know of the trial's document, and how they run the trial."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema

from ebpfcheck.trial import kernel
from tests.builders import ROOT

PROGRAM = ROOT / "ebpfcheck" / "trial" / "kernel.py"
RESTRICTED = ROOT / "tests" / "live" / "restricted.py"
HOOKS = ["connect4", "connect6", "sendmsg4", "sendmsg6", "recvmsg4", "recvmsg6"]

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_CAPABILITIES = {
    "type": "array",
    "items": {"enum": ["BPF", "DAC_OVERRIDE", "NET_ADMIN", "PERFMON", "SYS_ADMIN", "SYS_RESOURCE"]},
    "uniqueItems": True,
}


def _object(**properties: object) -> dict[str, object]:
    """An object with just these properties, all of them."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMA = _object(
    trial={"const": "ebpfcheck.trial.kernel/1"},
    python=_TEXT,
    release=_TEXT,
    machine={"enum": ["x86_64", "aarch64"]},
    capabilities=_CAPABILITIES,
    user_namespace={"type": "boolean"},
    seccomp={"enum": [0, 1, 2, None]},
    memlock={"type": ["integer", "null"]},
    answers={
        "type": "array",
        "items": _object(
            topic={"enum": ["map", "program", "helper", "feature", "attach", "device"]},
            name=_TEXT,
            answer={"enum": ["yes", "no", "untold"]},
            errno={"type": "string", "pattern": "^(E[0-9A-Z]+)?$"},
            words={"type": "string", "maxLength": 200},
            needs=_CAPABILITIES,
        ),
    },
    root_hooks={
        "type": "array",
        "items": _object(
            hook={"enum": HOOKS},
            answer={"enum": ["yes", "untold"]},
            programs=_COUNT,
            flags=_COUNT,
            errno=_TEXT,
            words=_TEXT,
            needs=_CAPABILITIES,
        ),
    },
    root_hooks_path=_TEXT,
    left=_TEXT,
)


def checked(output: bytes | str) -> dict[str, Any]:
    """The document that a trial printed, if it is whole and says of every question what it must."""
    document: dict[str, Any] = json.loads(output)
    jsonschema.validate(document, SCHEMA)
    asked = [(question.topic, question.name) for question in kernel.questions() if question.topic != "root_hooks"]
    assert [(one["topic"], one["name"]) for one in document["answers"]] == asked
    assert [hook["hook"] for hook in document["root_hooks"]] == HOOKS
    for one in document["answers"]:
        # Only what works needs no reason, and only what could not be told needs rights.
        assert (one["words"] == "") == (one["answer"] == "yes"), one
        assert not one["needs"] or one["answer"] == "untold", one
    return document


def answers(document: dict[str, Any], *which: str) -> dict[str, str]:
    """The names of what was answered so, by default of what is not "yes", and the errno of each."""
    chosen = which or ("no", "untold")
    return {f"{one['topic']} {one['name']}": one["errno"] for one in document["answers"] if one["answer"] in chosen}


def answer(document: dict[str, Any], topic: str, name: str) -> dict[str, Any]:
    """One of the answers."""
    (found,) = (one for one in document["answers"] if (one["topic"], one["name"]) == (topic, name))
    assert isinstance(found, dict)
    return found


def run(*ways: str, arguments: Sequence[str | Path] = (), before: Sequence[str] = ()) -> dict[str, Any]:
    """Run the trial as it is run on a node, from standard input; in some ways with fewer rights, or after a command."""
    program = (str(RESTRICTED), *ways) if ways else ("-", *map(str, arguments))
    with PROGRAM.open() as source:
        result = subprocess.run(
            (*before, sys.executable, *program), stdin=source, capture_output=True, timeout=100, check=False
        )
    assert (result.returncode, result.stderr) == (0, b"")
    return checked(result.stdout)


def assert_bpftool_agrees(document: dict[str, Any], output: bytes) -> None:
    """That `bpftool -j feature probe` says the same of the types of maps and programs."""
    probe = json.loads(output)
    compared = 0
    for one in document["answers"]:
        kind = one["name"].partition("/")[0]
        if one["topic"] in ("map", "program"):
            says = probe[f"{one['topic']}_types"][f"have_{kind}_{'prog' if one['topic'] == 'program' else 'map'}_type"]
            assert says == (one["answer"] == "yes"), one
            compared += 1
    assert compared == 11 + 2 + len(HOOKS)
