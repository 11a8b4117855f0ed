"""How often ebpfcheck is right about a kernel: what it says of recorded kernels, held against what was measured.

`python -m tests.accuracy` (`make matrix`) writes docs/accuracy.md. What was measured is in truth.tsv; the kernels are
in fixtures/kernels, as snapshots of what a survey and a trial saw of each.
"""

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from ebpfcheck.checks.bpf_objects import bpf_objects
from ebpfcheck.checks.builtin_node import NODE_CHECKS
from ebpfcheck.checks.strings import judge_strings
from ebpfcheck.engine import decide, judge
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.check import Check
from ebpfcheck.model.codec import decode_snapshot
from ebpfcheck.model.facts import (
    NOT_TRIED,
    TRIAL_FACTS,
    FelixSettings,
    Known,
    NodeIdentity,
    NodeKind,
    Source,
    SourceKind,
)
from ebpfcheck.model.kernels import KernelQuestion
from ebpfcheck.model.report import Coverage, Status, Verdict
from ebpfcheck.model.snapshot import Node, Snapshot
from tests.builders import FIXTURES, ROOT, release

PAGE = ROOT / "docs" / "accuracy.md"
RECORDS = FIXTURES / "kernels"
TRUTH = Path(__file__).with_name("truth.tsv")

# Those of a trial of the kernel: objects are what the truth was measured by.
TRIAL_CHECKS = tuple(check for check in NODE_CHECKS if check.of_trial and check is not bpf_objects)
KERNEL_CHECKS = tuple(check for check in NODE_CHECKS if check.category == "kernel" and not check.of_trial)

Result = Literal["ok", "ok-without-fragments", "refused"]
Answer = Literal["right", "wrong", "unknown", "not measured"]
ANSWERS: tuple[Answer, ...] = ("right", "wrong", "unknown", "not measured")


@dataclass(frozen=True)
class Load:
    """What a kernel did with one BPF object of a release."""

    calico: str
    object: str
    btf: str
    """Whether Felix takes the object on kernels with BTF (yes), without (no), or always."""
    kernel: str
    result: Result
    detail: str


@dataclass(frozen=True)
class Truth:
    """What a kernel did with a release's programs; `detail` is what was refused, or what Felix goes without."""

    outcome: Literal["loads", "loads with a loss", "refused"]
    detail: str = ""


@dataclass(frozen=True)
class Recorded:
    """A kernel that was surveyed; `version` is its true one, which the release may hide."""

    version: str
    kind: NodeKind

    @property
    def release(self) -> str:
        """What `uname -r` says."""
        fact = self.kind.kernel_release
        assert isinstance(fact, Known)
        return fact.value


@dataclass(frozen=True)
class Row:
    """What was said of one pair, by column, and the truth where it was measured."""

    calico: str
    kernel: Recorded
    said: Mapping[str, Status]
    truth: Truth | None

    def answers(self) -> dict[str, Answer]:
        """Return what each column's answer was worth."""
        return {column: worth(status, self.truth) for column, status in self.said.items()}


def worth(said: Status, truth: Truth | None) -> Answer:
    """Hold a status against the truth.

    A fail of what loads is wrong, and so is a pass of what does not, or of what loses something without a word of it. A
    warning is no refusal: of what loads it is not wrong, of what is refused it is.
    """
    if truth is None:
        return "not measured"
    if said is Status.UNKNOWN:
        return "unknown"
    right = {
        "loads": (Status.PASS, Status.WARN),
        "loads with a loss": (Status.WARN,),
        "refused": (Status.FAIL,),
    }[truth.outcome]
    return "right" if said in right else "wrong"


def tally(rows: Iterable[Row]) -> dict[str, dict[Answer, int]]:
    """Count the answers of each column by what they were worth."""
    counts: dict[str, dict[Answer, int]] = {}
    for row in rows:
        for column, answer in row.answers().items():
            counts.setdefault(column, dict.fromkeys(ANSWERS, 0))[answer] += 1
    return counts


def like(version: str) -> Recorded | None:
    """Return the recorded kernel of that true version, else the newest of its series; None where none is recorded."""
    series = version.split(".")[:2]
    alike = [one for one in recorded() if one.version.split(".")[:2] == series]
    return next((one for one in alike if one.version == version), alike[-1] if alike else None)


_RESULTS: dict[str, Result] = {"ok": "ok", "ok-without-fragments": "ok-without-fragments", "refused": "refused"}


@cache
def loads() -> tuple[Load, ...]:
    """Return what was measured, one kernel and object each."""
    lines = (line for line in TRUTH.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    found = []
    for row in csv.DictReader(lines, delimiter="\t"):
        calico, name, btf = row.pop("calico"), row.pop("object"), row.pop("btf")
        for kernel, cell in row.items():
            word, _, detail = (cell or "").partition(" ")
            if word:
                found.append(Load(calico, name, btf, kernel, _RESULTS[word], detail))
    return tuple(found)


# What Felix attaches to any node: an outcome is measured once each was tried, or one was refused.
_CORE = ("connect_time", "from_hep", "to_hep", "from_wep", "to_wep", r"from_(?:tnl|vxlan)")
_CLEANUP = "conntrack_cleanup"


def truth_of(calico: str, kernel: str) -> Truth | None:
    """Return what a kernel with BTF did with a release's programs, the log off; None where that was not measured."""
    tried = [
        one
        for one in loads()
        if (one.calico, one.kernel) == (calico, kernel) and one.btf != "no" and "debug" not in one.object
    ]
    needed = [one for one in tried if not one.object.startswith(_CLEANUP)]
    refused = [one for one in needed if one.result == "refused"]
    if refused:
        return Truth("refused", f"{refused[0].object}: {refused[0].detail}")
    if not all(any(re.match(part, one.object) for one in needed) for part in _CORE):
        return None
    loses = any(one.result == "ok-without-fragments" for one in needed)
    lost = ["IPv4 fragments"] * loses
    # Which Felix then does from user space.
    lost += ["the clean-up of conntrack by a program"] * any(one.result == "refused" for one in tried)
    return Truth("loads with a loss" if loses else "loads", f"without {' and '.join(lost)}" if lost else "")


def truth_of_debug(calico: str, kernel: str) -> Truth | None:
    """Return what a kernel with BTF did with a release's programs for IPv6 at log level Debug."""
    tried = [
        one
        for one in loads()
        if (one.calico, one.kernel) == (calico, kernel) and one.btf != "no" and re.search(r"debug.*_v6$", one.object)
    ]
    refused = [one for one in tried if one.result == "refused"]
    if refused:
        return Truth("refused", f"{refused[0].object}: {refused[0].detail}")
    return Truth("loads") if any(one.object.startswith("from_hep") for one in tried) else None


@cache
def recorded() -> tuple[Recorded, ...]:
    """Return the recorded kernels, the oldest first."""
    found = [
        Recorded(path.stem, decode_snapshot(path.read_bytes()).kinds[0]) for path in sorted(RECORDS.glob("*.json"))
    ]
    return tuple(sorted(found, key=lambda one: [int(number) for number in one.version.split(".")]))


Column = Callable[[str, Recorded], Status]
"""What one way of asking says of a release and a kernel."""


def by_version(calico: str, kernel: Recorded) -> Status:
    """Ask with `uname -r` alone, as `ebpfcheck kernel` does."""
    return judge_strings(release(calico), KernelQuestion(release=kernel.release)).status


def by_survey(calico: str, kernel: Recorded) -> Status:
    """Ask with what a survey of the node saw of its kernel."""
    return _verdict(calico, _untried(kernel.kind), KERNEL_CHECKS)


def by_trial(calico: str, kernel: Recorded) -> Status:
    """Ask with a survey and what the kernel itself answered."""
    return _verdict(calico, kernel.kind, KERNEL_CHECKS + TRIAL_CHECKS)


def _untried(kind: NodeKind) -> NodeKind:
    return msgspec.structs.replace(kind, **dict.fromkeys(TRIAL_FACTS, NOT_TRIED))


def by_survey_of_debug(calico: str, kernel: Recorded) -> Status:
    """Ask with a survey of a node whose Felix is told to look after IPv6 and to log what its programs do."""
    felix = Known(value=FelixSettings(bpf_log_level="Debug", ipv6_support=True), source=0)
    return _verdict(calico, msgspec.structs.replace(_untried(kernel.kind), felix=felix), KERNEL_CHECKS)


_STATUSES = {
    Verdict.READY: Status.PASS,
    Verdict.READY_WITH_WARNINGS: Status.WARN,
    Verdict.INCONCLUSIVE: Status.UNKNOWN,
    Verdict.NOT_READY: Status.FAIL,
}


def _verdict(calico: str, kind: NodeKind, checks: tuple[Check, ...]) -> Status:
    snapshot = Snapshot(
        tool_version="test",
        taken_at=datetime(2026, 1, 2, tzinfo=UTC),
        sources=tuple(Source(kind=SourceKind.LOCAL, locator=f"/{index}") for index in range(64)),
        kinds=(kind,),
        nodes=(Node(identity=NodeIdentity(name="kernel"), kind=0),),
    )
    findings = judge(snapshot, checks, release(calico), "unknown")
    return _STATUSES[decide(findings, Coverage(nodes_total=1, nodes_surveyed=1))]


UNTRIED_COLUMNS: dict[str, Column] = {"from its version alone": by_version, "with a survey": by_survey}
COLUMNS: dict[str, Column] = {**UNTRIED_COLUMNS, "with a trial": by_trial}
DEBUG_COLUMNS: dict[str, Column] = {"with a survey": by_survey_of_debug}

# Each minor release that the knowledge has, at the patch that was measured where one was, and patches with known bugs.
MEASURED_PATCHES = ("v3.28.5", "v3.29.6", "v3.29.7", "v3.30.4", "v3.30.7", "v3.31.2", "v3.31.7", "v3.32.1")


def releases() -> tuple[str, ...]:
    """Return the Calico releases of the matrix, oldest first."""
    covered = {patch.rpartition(".")[0] for patch in MEASURED_PATCHES}
    minors = [str(minor) for minor in load_knowledge().minors() if str(minor) not in covered]
    return tuple(sorted((*minors, *MEASURED_PATCHES), key=lambda name: [int(part) for part in name[1:].split(".")]))


def _row(calico: str, kernel: Recorded, columns: Mapping[str, Column], truth: Truth | None) -> Row:
    return Row(calico, kernel, {name: ask(calico, kernel) for name, ask in columns.items()}, truth)


@cache
def matrix() -> tuple[Row, ...]:
    """Return each release with each recorded kernel, programs not logging."""
    return tuple(
        _row(calico, kernel, COLUMNS, truth_of(calico, kernel.version))
        for calico in releases()
        for kernel in recorded()
    )


@cache
def debug_matrix() -> tuple[Row, ...]:
    """Return the pairs whose programs for IPv6 were measured at log level Debug."""
    return tuple(
        _row(calico, kernel, DEBUG_COLUMNS, truth)
        for calico in releases()
        for kernel in recorded()
        if (truth := truth_of_debug(calico, kernel.version)) is not None
    )
