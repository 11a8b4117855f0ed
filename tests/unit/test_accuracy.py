"""The matrix of docs/accuracy.md: that it counts, that it can show a wrong verdict, and that it is up to date."""

import pytest

from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.codec import decode_snapshot
from ebpfcheck.model.facts import Known, NodeKind, Source, SourceKind
from ebpfcheck.model.report import Status
from tests.accuracy import (
    PAGE,
    RECORDS,
    Answer,
    Load,
    Recorded,
    Row,
    Truth,
    debug_matrix,
    loads,
    matrix,
    recorded,
    releases,
    tally,
    truth_of,
    truth_of_debug,
    worth,
)
from tests.accuracy.page import measured_table, page, summary
from tests.accuracy.record import KERNEL_FACTS, kernel_alone, true_version
from tests.builders import ROOT, known, release

LOADS, LOSES, REFUSED = (
    Truth("loads"),
    Truth("loads with a loss", "without IPv4 fragments"),
    Truth("refused", "too big"),
)
WORTH: dict[tuple[Truth | None, Status], Answer] = {
    (LOADS, Status.PASS): "right",
    (LOADS, Status.WARN): "right",
    (LOADS, Status.FAIL): "wrong",
    (LOSES, Status.PASS): "wrong",
    (LOSES, Status.WARN): "right",
    (LOSES, Status.FAIL): "wrong",
    (REFUSED, Status.PASS): "wrong",
    (REFUSED, Status.WARN): "wrong",
    (REFUSED, Status.FAIL): "right",
    **{(truth, Status.UNKNOWN): "unknown" for truth in (LOADS, LOSES, REFUSED)},
    **{(None, status): "not measured" for status in (Status.PASS, Status.WARN, Status.FAIL, Status.UNKNOWN)},
}


def test_what_an_answer_is_worth() -> None:
    assert {pair: worth(pair[1], pair[0]) for pair in WORTH} == WORTH
    assert len(WORTH) == 16


def invented(truth: Truth | None, **said: Status) -> Row:
    return Row("v3.32.1", Recorded("6.1.1", NodeKind()), said, truth)


def test_a_wrong_verdict_is_counted_and_shown() -> None:
    rows = [
        invented(LOADS, alone=Status.FAIL, survey=Status.PASS),
        invented(REFUSED, alone=Status.PASS, survey=Status.UNKNOWN),
        invented(LOADS, alone=Status.UNKNOWN, survey=Status.PASS),
        invented(None, alone=Status.FAIL, survey=Status.FAIL),
    ]
    assert tally(rows) == {
        "alone": {"right": 0, "wrong": 2, "unknown": 1, "not measured": 1},
        "survey": {"right": 2, "wrong": 0, "unknown": 1, "not measured": 1},
    }
    shown = "".join(measured_table(rows[:2], ("alone", "survey"))).splitlines()
    assert shown[2:] == [
        "| v3.32.1 | 6.1.1 | **fail: wrong** | pass | loads |",
        "| v3.32.1 | 6.1.1 | **pass: wrong** | unknown | refused (too big) |",
    ]


def test_the_page_is_what_the_code_says_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make matrix`, or `python -m tests.accuracy`"


def test_the_readme_has_the_numbers_of_the_page() -> None:
    assert summary() in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def test_no_verdict_is_wrong_that_was_not_known_to_be() -> None:
    for row in (*matrix(), *debug_matrix()):
        assert "wrong" not in row.answers().values(), (row.calico, row.kernel.version, row.said, row.truth)


def test_the_matrix_has_each_minor_release_and_each_recorded_kernel() -> None:
    minors = {str(minor) for minor in load_knowledge().minors()}
    assert {".".join(name.split(".")[:2]) for name in releases()} == minors
    assert {row.kernel.version for row in matrix()} == {path.stem for path in RECORDS.glob("*.json")}
    assert {load.kernel for load in loads()} == {kernel.version for kernel in recorded()}
    assert len(matrix()) == len(releases()) * len(recorded())


@pytest.mark.parametrize(
    ("calico", "kernel", "outcome"),
    [
        ("v3.29.7", "5.10.262", "loads"),
        ("v3.30.7", "5.10.262", "loads"),
        ("v3.31.7", "5.10.262", "loads with a loss"),
        ("v3.32.1", "6.18.44", "loads"),
        ("v3.33", "5.10.262", "refused"),
        ("v3.33", "6.1.192", "refused"),
        ("v3.33", "7.2.13", "loads"),
        ("v3.28.5", "6.12.117", "refused"),
        # Of these, connect-time load balancing alone was tried, which loads.
        ("v3.29.6", "5.10.262", None),
        ("v3.16", "5.10.262", None),
        ("v3.32.1", "4.18.0", None),
    ],
)
def test_what_was_measured_is_read_as_felix_would(calico: str, kernel: str, outcome: str | None) -> None:
    truth = truth_of(calico, kernel)
    assert (truth and truth.outcome) == outcome


def test_what_felix_does_without_is_told() -> None:
    truth = truth_of("v3.31.7", "5.10.262")
    assert truth is not None
    assert truth.detail == "without IPv4 fragments and the clean-up of conntrack by a program"


def test_programs_that_log_count_by_themselves() -> None:
    assert truth_of_debug("v3.30.7", "6.12.117") == LOADS
    truth = truth_of_debug("v3.30.7", "6.18.44")
    assert truth is not None
    assert truth.outcome == "refused"
    # What was not tried as a host interface's is not measured.
    assert truth_of_debug("v3.32.1", "5.10.262") is None


def test_the_knowledge_is_what_was_measured() -> None:
    for measured in load_knowledge().kernel.measured:
        calico = next(name for name in releases() if release(name).measured == measured and _is_core(name))
        for kernel in measured.loaded:
            truth = truth_of(calico, kernel)
            assert truth is not None, (calico, kernel)
            assert truth.outcome != "refused", (calico, kernel)
        for kernel in measured.refused:
            truth = truth_of(calico, kernel)
            assert truth is not None
            assert truth.outcome == "refused", (calico, kernel)


def _is_core(calico: str) -> bool:
    return any(load.calico == calico and load.object.startswith("from_hep") for load in loads())


def test_records_hold_the_kernel_and_nothing_of_the_machine() -> None:
    for path in RECORDS.glob("*.json"):
        snapshot = decode_snapshot(path.read_bytes())
        (kind,) = snapshot.kinds
        assert true_version(kind) == path.stem
        blank = NodeKind()
        for name in NodeKind.__struct_fields__:
            assert name in KERNEL_FACTS or getattr(kind, name) == getattr(blank, name), (path.name, name)
        assert isinstance(kind.proc_version, Known)
        assert "(debian-kernel@" in kind.proc_version.value or "(builder@host)" in kind.proc_version.value
        assert len(snapshot.sources) < len(KERNEL_FACTS) + 1
        assert len(snapshot.nodes) == 1


def test_what_is_recorded_of_a_machine_names_nobody() -> None:
    text = "Linux version 6.18.1-x (me@there) (gcc 12) #1 SMP"
    one = NodeKind(proc_version=known(text), kernel_release=known("6.18.1-x"), ufw_enabled=known(True))
    (kind,) = kernel_alone(one, (Source(kind=SourceKind.LOCAL, locator="/proc/version"),)).kinds
    assert kind == NodeKind(
        proc_version=known(text.replace("me@there", "builder@host")), kernel_release=known("6.18.1-x")
    )


def test_the_compiler_of_debian_is_not_taken_for_the_kernels_version() -> None:
    text = "Linux version 6.1.0-1-amd64 (me@there) (gcc (Debian 10.2.1-6) 10.2.1) #1 SMP Debian 6.1.9-1 (2025-01-01)"
    kind = NodeKind(proc_version=known(text), kernel_release=known("6.1.0-1-amd64"))
    assert true_version(kind) == "6.1.9"
    own = NodeKind(
        proc_version=known("Linux version 6.18.1-x (a@b) (gcc (Debian 10.2.1-6)) #1"), kernel_release=known("6.18.1-x")
    )
    assert true_version(own) == "6.18.1"


def test_each_cell_of_the_measurements_is_read() -> None:
    assert Load("v3.32.1", "from_hep_no_log_co-re", "yes", "6.1.192", "ok", "600k") in loads()
    assert (
        Load("v3.33", "from_wep_no_log", "yes", "6.1.192", "ok-without-fragments", "738k fragments bounds") in loads()
    )
    assert {load.btf for load in loads()} == {"yes", "no", "any"}
