"""JSON lines: one finding a line, each with what it takes to be understood alone, for log pipelines and jq."""

import re
from datetime import datetime

import msgspec

from ebpfcheck.model.codec import encode
from ebpfcheck.model.report import Finding, Report, Verdict
from ebpfcheck.model.text import JSON_ESCAPES, without_commands
from ebpfcheck.render import RenderOptions

# Where some readers end a line, besides those that JSON escapes by itself.
_LINE_END = re.compile("[\x85\u2028\u2029]")
_SCHEMA = "ebpfcheck.finding/v1"


class _Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The report that a line is from."""

    started_at: datetime
    command: str
    target: str
    calico_version: str
    verdict: Verdict
    exit_code: int
    nodes_total: int
    nodes_surveyed: int
    nodes_inferred: int
    nodes_unseen: int
    tool_version: str


class _Line(Finding, frozen=True, kw_only=True):
    """A finding as it stands in the report, and the report that it is from."""

    schema: str = _SCHEMA
    report: _Origin


def render(report: Report, options: RenderOptions) -> str:  # noqa: ARG001 - the renderers' one shape
    """Return one JSON object a line, for each finding of the report in its order."""
    coverage = report.coverage
    origin = _Origin(
        started_at=report.started_at,
        command=report.command,
        target=report.target.name,
        calico_version=report.calico.version,
        verdict=report.verdict,
        exit_code=report.exit_code,
        nodes_total=coverage.nodes_total,
        nodes_surveyed=coverage.nodes_surveyed,
        nodes_inferred=coverage.nodes_inferred,
        nodes_unseen=len(coverage.unseen),
        tool_version=report.tool.version,
    )
    return "".join(_line(finding, origin) for finding in report.findings)


def _line(finding: Finding, origin: _Origin) -> str:
    fields = {name: getattr(finding, name) for name in finding.__struct_fields__}
    line = encode(_Line(report=origin, **fields)).decode()
    return without_commands(_LINE_END.sub(lambda match: f"\\u{ord(match[0]):04x}", line) + "\n", JSON_ESCAPES)
