"""Felix's own test and the documented floors, against the strings of real machines."""

import csv
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfcheck.checks.gate import ask_felix
from ebpfcheck.checks.strings import judge_strings
from ebpfcheck.model.kernels import KernelQuestion
from ebpfcheck.model.report import Status
from ebpfcheck.versions import KernelRelease
from tests.builders import FIXTURES, release


def rows(name: str) -> list[dict[str, Any]]:
    with (FIXTURES / "strings" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_MINIMAL))


def unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\x1b", "\x1b")


@cache
def at(version: str) -> Any:
    return release(version)


EXPECTED: dict[str, set[bool | None]] = {"yes": {True}, "no": {False}, "unknown": {None}}


def answers(word: str, note: str) -> set[bool | None]:
    """What the documentation's answer may be; a row may call two answers fair, or leave the case undecidable."""
    if "yes and unknown are both fair" in note:
        return {True, None}
    if "undecidable unless" in note and word == "unknown":
        return {None}
    return EXPECTED[word]


KERNELS = rows("kernels.tsv")
PROC_VERSIONS = rows("proc_version.tsv")


@pytest.mark.parametrize("row", KERNELS, ids=[f"{n}-{row['kernel_release'][:40]}" for n, row in enumerate(KERNELS)])
@pytest.mark.parametrize(("version", "column"), [("v3.16", "expected_v3_16"), ("v3.32.1", "expected_latest")])
def test_documented_answer_of_every_real_kernel(row: dict[str, Any], version: str, column: str) -> None:
    question = KernelQuestion(release=unescaped(row["kernel_release"]), os_image=row["os_image"] or None)
    result = judge_strings(at(version), question)
    assert result.documented in answers(row[column], row["tricky_note"] or ""), result.message


@pytest.mark.parametrize("row", PROC_VERSIONS, ids=[row["kernel_release"] for row in PROC_VERSIONS])
@pytest.mark.parametrize(("version", "column"), [("v3.23", "expected_v3_16"), ("v3.32.1", "expected_latest")])
def test_both_answers_for_every_real_proc_version(row: dict[str, Any], version: str, column: str) -> None:
    result = judge_strings(at(version), KernelQuestion(proc_version=row["proc_version"]))
    assert result.release == row["kernel_release"]
    assert result.felix is (row["felix_code_verdict"] == "accept")
    assert result.distro == row["felix_distro"]
    assert result.documented in EXPECTED[row[column]]


def proc_version(kernel: str, compiler: str) -> str:
    return f"Linux version {kernel} (builder@host) (gcc version 8.3.1 ({compiler})) #1 SMP"


@pytest.mark.parametrize(
    ("text", "era_a", "era_b"),
    [
        (proc_version("4.18.0-147.8.1.el8_1.x86_64", "Red Hat 8.3.1-4"), ("rhel", False), ("rhel", False)),
        (proc_version("4.18.0-240.1.1.el8_3.x86_64", "GCC"), ("default", False), ("rhel", True)),
        (proc_version("4.18.0-80.el8", "Red Hat 8.2.1"), ("rhel", False), ("rhel", False)),
        (proc_version("4.18.0", "Red Hat 8.2.1"), ("rhel", False), ("rhel", False)),
        (proc_version("4.19.5", "Red Hat 8.2.1"), ("rhel", True), ("rhel", True)),
        (proc_version("4.20.6-200.fc29", "Red Hat 8.2.1"), ("rhel", True), ("rhel", True)),
        (proc_version("5.14.0-362.8.1.el9_3", "Red Hat 11.4.1"), ("rhel", True), ("rhel", True)),
        (proc_version("4.14.355-275.amzn2", "Red Hat 7.3.1"), ("rhel", False), ("rhel", False)),
        (proc_version("5.10.230-223.885.amzn2", "Red Hat 10.5.0"), ("rhel", True), ("rhel", True)),
        (proc_version("5.4.17-2136.el8uek", "Red Hat 8.5.0"), ("rhel", True), ("rhel", True)),
        (proc_version("4.19.0-21-amd64", "Debian 8.3.0-6"), ("default", False), ("default", False)),
        (proc_version("5.3.18-22-default", "SUSE Linux"), ("default", True), ("default", True)),
        (proc_version("4.15.0-213-generic", "Ubuntu 7.5.0"), ("ubuntu", False), ("ubuntu", False)),
        (proc_version("4.19.0-1", "ubuntu 7.5.0"), ("default", False), ("ubuntu", False)),
        (proc_version("4.19.0-1.el8_2", "Ubuntu, Red Hat"), ("ubuntu", False), ("ubuntu", False)),
        (proc_version("4.18.0-305.el8", "RED HAT"), ("default", False), ("rhel", True)),
        (proc_version("5.15.153.1-microsoft-standard-WSL2", "GCC"), ("default", True), ("default", True)),
        (proc_version("6.12.38+deb13-amd64", "Debian 14"), ("default", True), ("default", True)),
        (proc_version("5.3.0-193.el8.x86_64", "Fedora 8.3.1-5"), ("default", True), ("default", True)),
    ],
)
def test_the_eras_of_the_gate(text: str, era_a: tuple[str, bool], era_b: tuple[str, bool]) -> None:
    for version, expected in (("v3.16", era_a), ("v3.22.5", era_a), ("v3.23", era_b), ("v3.33", era_b)):
        answer = ask_felix(at(version).gate, proc_version=text, release=None)
        assert (answer.distro, answer.accepts) == expected, version


@pytest.mark.parametrize(
    "kernel", ["6.6-rc1", "5.10", "5.10.0-99999999999999999999999-generic", "99999999999999999999.1.1"]
)
def test_a_version_that_felix_cannot_read_is_refused(kernel: str) -> None:
    answer = ask_felix(at("v3.32.1").gate, proc_version=f"Linux version {kernel} (x)", release=None)
    assert (answer.accepts, answer.why) == (False, "unreadable")


def test_the_previews_had_another_gate_or_none() -> None:
    red_hat = proc_version("4.18.0-305.el8", "Red Hat 8.4.1")
    assert ask_felix(at("v3.13").gate, proc_version=red_hat, release=None).accepts is True
    assert ask_felix(at("v3.14").gate, proc_version=red_hat, release=None).accepts is False
    assert ask_felix(at("v3.15").gate, proc_version=proc_version("5.3.0-1", "x"), release=None).accepts is True


@pytest.mark.parametrize(
    ("kernel", "accepts"),
    [
        ("5.3.0", True),
        ("5.2.21", None),
        ("4.18.0-193", None),
        ("4.18.0-192.x86_64", False),
        ("4.18.0-193.el8.x86_64", True),
        ("4.18.0-193.el8_2.x86_64", True),
        ("5.1.5-1.el7.elrepo.x86_64", None),
        ("4.19.0-21-amd64", None),
        ("4.14.1", False),
    ],
)
def test_a_bare_release_decides_where_the_compiler_does_not_matter(kernel: str, accepts: bool | None) -> None:
    for version in ("v3.16", "v3.32.1"):
        answer = ask_felix(at(version).gate, proc_version=None, release=KernelRelease.parse(kernel))
        assert answer.accepts is accepts


@pytest.mark.parametrize(
    ("version", "kernel", "status"),
    [
        ("v3.16", "5.4.0-42-generic", Status.PASS),
        ("v3.16", "4.18.0-193.el8.x86_64", Status.PASS),
        ("v3.30", "4.18.0-193.el8.x86_64", Status.PASS),
        ("v3.31", "4.18.0-193.el8.x86_64", Status.WARN),
        ("v3.31", "4.18.0-305.el8.x86_64", Status.PASS),
        ("v3.31", "5.4.0-42-generic", Status.WARN),
        # Documented, and seen to go without IPv4 fragments.
        ("v3.31", "5.10.0", Status.WARN),
        ("v3.31", "5.15.0", Status.PASS),
        ("v3.31", "5.9.16-050916-generic", Status.WARN),
        ("v3.32.1", "4.15.0-213-generic", Status.FAIL),
        ("v3.32.1", "5.10", Status.FAIL),
        ("v3.32.1", "4.19.0-21-amd64", Status.UNKNOWN),
        ("v3.16", "4.18.0-193", Status.UNKNOWN),
        ("v3.29", "6.12.58-82.121.amzn2023.x86_64", Status.UNKNOWN),
        ("v3.29.6", "6.6.111", Status.UNKNOWN),
        ("v3.32.1", "unknown", Status.UNKNOWN),
    ],
)
def test_the_status_of_a_bare_release(version: str, kernel: str, status: Status) -> None:
    assert judge_strings(at(version), KernelQuestion(release=kernel)).status is status


def test_a_refusal_says_what_it_leads_to() -> None:
    message = judge_strings(at("v3.32.1"), KernelQuestion(release="4.14.1")).message
    assert "silently" in message
    assert "no services" in message


@pytest.mark.parametrize(
    ("question", "status", "words"),
    [
        (KernelQuestion(), Status.UNKNOWN, "is needed"),
        (KernelQuestion(proc_version="garbage"), Status.UNKNOWN, "names no kernel release"),
        (
            KernelQuestion(release="5.4.0", proc_version="Linux version 5.10.0 (x)"),
            Status.UNKNOWN,
            "disagree",
        ),
        (KernelQuestion(release="6.1.0", arch="s390x"), Status.FAIL, "little-endian"),
        (KernelQuestion(release="6.1.0", arch="vax"), Status.UNKNOWN, "architecture"),
        (
            KernelQuestion(release="6.1.0 (amd64)", proc_version="Linux version 6.1.0 (x) #1"),
            Status.PASS,
            "documents",
        ),
        (KernelQuestion(release="6.1.0", arch="aarch64"), Status.PASS, "documents"),
    ],
)
def test_what_is_given_with_a_kernel_counts(question: KernelQuestion, status: Status, words: str) -> None:
    result = judge_strings(at("v3.32.1"), question)
    assert result.status is status
    assert words in result.message


def test_a_known_bad_pair_refuses_a_kernel_that_the_floors_accept() -> None:
    bad = KernelQuestion(release="6.12.58-82.121.amzn2023.x86_64")
    assert judge_strings(at("v3.29.3"), bad).status is Status.FAIL
    assert judge_strings(at("v3.29.7"), bad).status is Status.PASS


def test_an_architecture_that_is_not_known_leaves_both_answers_open() -> None:
    result = judge_strings(at("v3.32.1"), KernelQuestion(release="6.1.0", arch="vax"))
    assert (result.felix, result.documented) == (None, None)
    result = judge_strings(at("v3.32.1"), KernelQuestion(release="4.4.0", arch="vax"))
    assert (result.felix, result.documented, result.status) == (False, False, Status.FAIL)


@given(st.text(), st.text() | st.none(), st.text() | st.none())
def test_no_text_breaks_the_judgement(kernel: str, proc: str | None, image: str | None) -> None:
    for version in ("v3.16", "v3.29.3", "v3.32.1"):
        result = judge_strings(at(version), KernelQuestion(release=kernel, proc_version=proc, os_image=image))
        assert result.message.isprintable()
        if result.status is Status.PASS:
            assert result.felix is True
            assert result.documented is True
