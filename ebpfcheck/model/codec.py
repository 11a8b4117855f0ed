"""Snapshots, reports and plans as JSON, and their JSON Schemas."""

import enum
import json
import re
from typing import Any

import msgspec

from ebpfcheck.model.diff import DIFF_SCHEMA, Diff
from ebpfcheck.model.facts import Known, Reason, Unknown
from ebpfcheck.model.kernels import KERNEL_SCHEMA, KernelReport
from ebpfcheck.model.matrix import MATRIX_SCHEMA, Matrix
from ebpfcheck.model.plan import PLAN_SCHEMA, Plan
from ebpfcheck.model.report import REPORT_SCHEMA, Finding, Report
from ebpfcheck.model.snapshot import SNAPSHOT_SCHEMA, Inference, Snapshot
from ebpfcheck.model.text import JSON_ESCAPES, excerpt, visible, without_commands

_SURROGATE = re.compile("[\ud800-\udfff]")


class SnapshotError(ValueError):
    """A document is not a snapshot that can be read; the text says why, in a few words."""


class PlanError(ValueError):
    """A document is not a plan that can be read; the text says why, in a few words."""


class ReportError(ValueError):
    """A document is not a report that can be read; the text says why, in a few words."""


class _Header(msgspec.Struct):
    schema: str = ""
    edition: int = 0
    tool_version: str = ""


def encode_json(document: Report | Snapshot | KernelReport | Plan | Diff | Matrix) -> str:
    """Return a document as indented JSON that ends in a newline."""
    return without_commands(msgspec.json.format(encode(document), indent=2).decode() + "\n", JSON_ESCAPES)


def encode(document: msgspec.Struct) -> bytes:
    """Return a document as compact JSON; surrogates that stand alone, which no JSON can hold, are written out."""
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(document), ensure_ascii=False)
        return _SURROGATE.sub(lambda match: f"\\\\u{ord(match[0]):04x}", text).encode()


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return a snapshot as compact JSON."""
    return msgspec.json.encode(snapshot) + b"\n"


def decode_snapshot(data: bytes) -> Snapshot:
    """Read a snapshot; SnapshotError if it is not one, is of another version, or refers to what it does not hold."""
    try:
        header = msgspec.json.decode(data, type=_Header)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error, msgspec.ValidationError):
            raise SnapshotError("it is not a snapshot of ebpfcheck") from error
        raise SnapshotError(f"it is not JSON ({error})") from error
    if header.schema != SNAPSHOT_SCHEMA:
        raise SnapshotError(_why_not(header))
    try:
        snapshot = msgspec.json.decode(data, type=Snapshot)
    except (msgspec.ValidationError, RecursionError) as error:
        raise SnapshotError(f"it does not have the shape of {SNAPSHOT_SCHEMA}: {error}") from error
    _check_references(snapshot)
    return snapshot if header.edition else _of_first_edition(snapshot)


_NOT_LOOKED_FOR = Unknown(
    reason=Reason.NOT_COLLECTED,
    detail="the snapshot is of an older ebpfcheck, which did not read all that is judged now; take a new one",
)
_GROWN = ("felix_default", "felix_per_node", "installation", "calico_pods")


def _of_first_edition(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot of a cluster without the facts that have come to hold more."""
    cluster = snapshot.cluster
    if cluster is None:
        return snapshot
    grown = {name: _NOT_LOOKED_FOR for name in _GROWN if isinstance(getattr(cluster, name), Known)}
    kinds = (
        msgspec.structs.replace(kind, felix=_NOT_LOOKED_FOR) if isinstance(kind.felix, Known) else kind
        for kind in snapshot.kinds
    )
    return msgspec.structs.replace(
        snapshot, edition=0, cluster=msgspec.structs.replace(cluster, **grown), kinds=tuple(kinds)
    )


def decode_plan(data: bytes) -> Plan:
    """Read a plan; PlanError if it is not one, or is of another version."""
    try:
        header = msgspec.json.decode(data, type=_Header)
        if header.schema == PLAN_SCHEMA:
            plan = msgspec.json.decode(data, type=Plan)
            wrong = plan.misnamed()
            if wrong is None:
                return plan
            raise PlanError(f"{excerpt(wrong, 60)!r} in it is no name that an API server gives")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(f"it does not have the shape of {PLAN_SCHEMA}: {error}") from error
    raise PlanError(f"it is not {PLAN_SCHEMA}" + (f", but {header.schema}" if header.schema else ""))


class _SealedReport(Report, frozen=True, kw_only=True):
    """A report whose findings are not yet read."""

    findings: tuple[msgspec.Raw, ...]  # type: ignore[assignment]


def is_report(data: bytes) -> bool:
    """Whether a document says that it is a report, of whatever version."""
    try:
        return msgspec.json.decode(data, type=_Header).schema.startswith(REPORT_SCHEMA.partition("/")[0] + "/")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def decode_report(data: bytes) -> Report:
    """Read a report; ReportError if it is not one, or is of another version."""
    try:
        header = msgspec.json.decode(data, type=_Header)
        if header.schema == REPORT_SCHEMA:
            sealed = msgspec.json.decode(data, type=_SealedReport)
            # Most findings are about the same subjects: one by one, with each list of subjects kept once, the names of
            # 100,000 nodes take a hundredth of the memory.
            lists: dict[tuple[str, ...], tuple[str, ...]] = {}
            findings = []
            for raw in sealed.findings:
                finding = msgspec.json.decode(raw, type=Finding)
                subjects = lists.get(finding.subjects)
                if subjects is None:
                    subjects = lists[finding.subjects] = _shown(finding.subjects)
                findings.append(msgspec.structs.replace(_shown(finding, but="subjects"), subjects=subjects))
            fields = {name: getattr(sealed, name) for name in Report.__struct_fields__}
            shown = {name: _shown(fields[name]) for name in ("tool", "target", "calico", "coverage", "problems")}
            return Report(**{**fields, **shown, "findings": tuple(findings)})
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ReportError(f"it does not have the shape of {REPORT_SCHEMA}: {excerpt(str(error))}") from error
    raise ReportError(f"it is not {REPORT_SCHEMA}" + (f", but {excerpt(header.schema, 60)}" if header.schema else ""))


def _shown(value: Any, *, but: str = "") -> Any:
    """Return a value with all of its texts safe to show: a file may be anybody's. `but`: a field that is left alone."""
    if isinstance(value, tuple):
        return tuple(map(_shown, value))
    if isinstance(value, msgspec.Struct):
        names = (name for name in value.__struct_fields__ if name != but)
        return msgspec.structs.replace(value, **{name: _shown(getattr(value, name)) for name in names})
    return visible(value) if isinstance(value, str) and not isinstance(value, enum.Enum) else value


def schema_of(document: str) -> dict[str, Any]:
    """Return the JSON Schema of "report", "snapshot", "kernel", "plan", "diff" or "matrix"."""
    name, shape = {
        "report": (REPORT_SCHEMA, Report),
        "snapshot": (SNAPSHOT_SCHEMA, Snapshot),
        "kernel": (KERNEL_SCHEMA, KernelReport),
        "plan": (PLAN_SCHEMA, Plan),
        "diff": (DIFF_SCHEMA, Diff),
        "matrix": (MATRIX_SCHEMA, Matrix),
    }[document]
    schema = msgspec.json.schema(shape)
    schema["$defs"][shape.__name__]["properties"]["schema"] = {"const": name}
    schema["$defs"][shape.__name__]["required"] = ["schema", *schema["$defs"][shape.__name__]["required"]]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name, **schema}


def _why_not(header: _Header) -> str:
    kind, _, version = header.schema.rpartition("/")
    if kind == SNAPSHOT_SCHEMA.rpartition("/")[0]:
        by = f", written by ebpfcheck {header.tool_version}" if header.tool_version else ""
        return f"it is a snapshot of version {version}{by}; this ebpfcheck reads {SNAPSHOT_SCHEMA} only"
    if header.schema.startswith("ebpfcheck."):
        return f"it is {header.schema}, not a snapshot"
    return "it is not a snapshot of ebpfcheck"


def _check_references(snapshot: Snapshot) -> None:
    for node in snapshot.nodes:
        for what, index, held in (
            ("kind", node.kind, snapshot.kinds),
            ("traits", node.traits, snapshot.traits),
            ("inference", node.inference, snapshot.inferences),
        ):
            if index is not None and not 0 <= index < len(held):
                raise SnapshotError(f"node {node.identity.name!r} refers to {what} {index}, which it does not hold")
        if node.surveyed and node.inference is not None:
            raise SnapshotError(f"node {node.identity.name!r} is both surveyed and inferred")
    for number, inference in enumerate(snapshot.inferences):
        _check_inference(snapshot, number, inference)
    holders = [*snapshot.kinds, *([snapshot.cluster] if snapshot.cluster else [])]
    for holder in holders:
        for field in holder.__struct_fields__:
            source = getattr(holder, field).source
            if source is not None and not 0 <= source < len(snapshot.sources):
                raise SnapshotError(f"fact {field!r} refers to source {source}, which it does not hold")


def _check_inference(snapshot: Snapshot, number: int, inference: Inference) -> None:
    if not inference.kinds or not inference.samples:
        raise SnapshotError(f"inference {number} is drawn from nothing")
    for what, indices, held in (("kind", inference.kinds, snapshot.kinds), ("node", inference.samples, snapshot.nodes)):
        for index in indices:
            if not 0 <= index < len(held):
                raise SnapshotError(f"inference {number} refers to {what} {index}, which it does not hold")
    for index in inference.samples:
        if not snapshot.nodes[index].surveyed:
            name = snapshot.nodes[index].identity.name
            raise SnapshotError(f"inference {number} is drawn from node {name!r}, which was not surveyed")
