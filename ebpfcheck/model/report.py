"""What is said: findings, and the report that is published as `ebpfcheck.report/v1`."""

import enum
from datetime import date, datetime
from typing import Literal

import msgspec

from ebpfcheck.model.facts import Dataplane, Install, Reason, Source
from ebpfcheck.model.snapshot import Problem, Unseen

REPORT_SCHEMA = "ebpfcheck.report/v1"

Scope = Literal["api", "nodes"]
"""What a verdict is about: what the API can tell alone, or the nodes too."""


class Status(enum.StrEnum):
    """What a check says of its subjects."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not_applicable"


class Severity(enum.StrEnum):
    """The worst that a check can mean at a release: service lost, something degraded, or just worth reading."""

    BLOCKER = "blocker"
    DEGRADE = "degrade"
    NOTE = "note"


class Verdict(enum.StrEnum):
    """The one answer of a report."""

    READY = "ready"
    READY_WITH_WARNINGS = "ready_with_warnings"
    NOT_READY = "not_ready"
    INCONCLUSIVE = "inconclusive"


class Remediation(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about a finding; commands are for a shell on the node unless the text says otherwise."""

    text: str
    commands: tuple[str, ...] = ()
    needs_reboot: bool = False
    disruptive: bool = False


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One fact that a finding rests on: its name, what it said, where that came from (None if nowhere)."""

    fact: str
    value: str
    source: Source | None = None


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """What a check itself says, where a policy counts it otherwise, and the line of the policy that does."""

    status: Status
    severity: Severity
    by: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One check, one outcome, and all the subjects that share it."""

    id: str
    title: str
    category: str
    scope: Literal["node", "cluster"]
    severity: Severity
    status: Status
    note: bool = False
    """Whether a pass is worth reading."""
    subjects: tuple[str, ...]
    inferred_from: tuple[str, ...] = ()
    """The nodes that were looked at instead of the subjects; empty where what is said was seen."""
    message: str
    observed: str = ""
    required: str = ""
    reason: Reason | None = None
    needs_survey: bool = False
    """Whether the finding is unknown because nobody looked at the nodes themselves."""
    evidence: tuple[Evidence, ...] = ()
    remediation: Remediation | None = None
    docs_url: str
    fingerprint: str
    overridden: Override | None = None
    waived_by: str | None = None
    """Why the finding does not count, who answers for that, until when, and the line that says so."""
    waiver_expired: str | None = None
    """The same of a waiver that held once; the finding counts."""
    in_baseline: bool = False
    """Whether the baseline has it too, so that it is nothing new and does not count for the exit code."""


def leaves_open(finding: Finding, scope: Scope) -> bool:
    """Whether a finding is unknown though its check could have failed, so that nothing is ready by it."""
    is_blind = finding.status is Status.UNKNOWN and finding.severity is Severity.BLOCKER
    return is_blind and not (scope == "api" and finding.needs_survey)


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """The program that made the report and the date of its knowledge."""

    name: str = "ebpfcheck"
    version: str
    knowledge: str


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """The platform of a cluster and what shows it."""

    name: str
    evidence: tuple[str, ...] = ()


class ReportTarget(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at."""

    kind: Literal["node", "nodes", "cluster"]
    name: str
    context: str | None = None
    server_version: str | None = None
    platform: Platform | None = None


class CalicoTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The Calico release that was judged for, why that one, and how Calico is installed."""

    version: str
    source: Literal["flag", "cluster", "default"]
    install: Install
    remark: str | None = None
    """What one should know of this release as it was judged."""
    felix_settings: str | None = None
    """Where what FelixConfiguration sets was taken from; None where it was not seen of every node."""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the checks that there are were run; `skipped` names those that `--only` and `--skip` left out."""

    run: int
    skipped: tuple[str, ...] = ()


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How many nodes there are, how many were looked at, and which were not."""

    nodes_total: int
    nodes_surveyed: int
    nodes_inferred: int = 0
    """Those that were not looked at, but nodes alike were."""
    nodes_unlisted: int = 0
    """Of how many of `nodes_total` nothing at all is known: of a cluster, one for each reason why its list is short."""
    unseen: tuple[Unseen, ...] = ()
    floor: int = 0
    """The percentage of nodes that are to be looked at themselves, by the policy; below it nothing is ready."""


def is_below_floor(coverage: Coverage) -> bool:
    """Whether fewer nodes were looked at themselves than the policy wants; what is inferred does not count."""
    return coverage.nodes_surveyed * 100 < coverage.floor * coverage.nodes_total


class Summary(msgspec.Struct, frozen=True, kw_only=True, rename={"passed": "pass"}):
    """Findings counted by status."""

    passed: int = 0
    warn: int = 0
    fail: int = 0
    unknown: int = 0
    not_applicable: int = 0
    waived: int = 0


class ApiEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An address by which Calico might reach the API server, what it is, and whether it will do."""

    host: str
    port: int
    sources: tuple[str, ...]
    kind: str
    """What the address is. Usable: name, load_balancer, node_local, address (of which no more could be told),
    control_plane, platform_name. Not: one_of_several, node_proxy, link_local, loopback, cluster_ip, pod_network,
    cluster_name, local_name, template, invalid."""
    usable: bool
    remark: str


class BaselineUse(msgspec.Struct, frozen=True, kw_only=True):
    """The report that this one was held against, and what came of that: pairs of a check and a subject."""

    file: str
    finished_at: datetime
    knowledge: str
    calico: str
    """The release that it was judged for."""
    known: int
    """Those that are wrong, and that the baseline has too."""
    new: int
    """Those that are wrong, not waived, and not in the baseline, or worse than there, or of another cause."""
    verdict: Verdict
    """The verdict on what is new alone, which the exit code is of."""


WaiverState = Literal["used", "expired", "unmatched", "not_run"]


class WaiverUse(msgspec.Struct, frozen=True, kw_only=True):
    """A waiver as its file has it, and what it came to.

    `state`: used or expired, where something that it matches is wrong; unmatched, where nothing is; not_run, where the
    checks that it is about were not run.
    """

    id: str
    subject: str
    reason: str
    owner: str
    expires: date
    """The last day, in UTC, on which it holds."""
    line: str
    state: WaiverState
    subjects: int = 0
    """How many pairs of a check and a subject it matched."""


class SettingUse(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that is not of the command line: its name, and the line of the policy file or the variable."""

    name: str
    origin: str


class Discovered(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster turned out to be; None or "" where it is not known."""

    dataplane: str | None = None
    """iptables, nftables, bpf, switching to bpf, or vpp, as configured; no proof that it runs on each node."""
    kube_proxy: str = ""
    kube_proxy_mode: str | None = None
    kube_proxy_owner: str | None = None
    api_servers: tuple[str, ...] = ()
    api_endpoint: ApiEndpoint | None = None
    """The address to use."""
    api_endpoint_reason: str = ""
    api_endpoint_candidates: tuple[ApiEndpoint, ...] = ()
    config_map: str | None = None
    """The manifest of the ConfigMap kubernetes-services-endpoint to apply; None where no address can be named."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The published document; see the JSON Schema that `ebpfcheck schema report` prints."""

    schema: str = REPORT_SCHEMA
    tool: Tool
    command: str
    expect: Dataplane | None = None
    """The dataplane that should run, of a report on what runs; None of one on whether eBPF mode would work."""
    scope: Scope = "nodes"
    started_at: datetime
    finished_at: datetime
    target: ReportTarget
    calico: CalicoTarget
    verdict: Verdict
    exit_code: int
    coverage: Coverage
    selection: Selection
    summary: Summary
    findings: tuple[Finding, ...]
    discovered: Discovered | None = None
    """Of a cluster."""
    waivers: tuple[WaiverUse, ...] = ()
    baseline: BaselineUse | None = None
    settings: tuple[SettingUse, ...] = ()
    """What a policy file or the environment has set."""
    problems: tuple[Problem, ...] = ()


def gating_verdict(report: Report) -> Verdict:
    """Return the verdict that the exit code is of: with a baseline, that on what is new."""
    return report.verdict if report.baseline is None else report.baseline.verdict
