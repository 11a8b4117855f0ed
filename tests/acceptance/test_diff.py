"""Comparing reports and snapshots, by the command line as a process."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from syrupy.assertion import SnapshotAssertion

from tests.acceptance.command import run, run_in
from tests.acceptance.test_output import golden, story
from tests.acceptance.test_policy import file
from tests.builders import ROOT

__all__ = ("golden",)

RHEL, DEBIAN, CLUSTER = story("rhel-8.2-three-nodes"), story("debian-12"), story("kubespray-ipvs")
SCHEMA = json.loads((ROOT / "ebpfcheck" / "schema" / "diff.json").read_text())


def diff(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = run("diff", *arguments, "-f", "json")
    assert not result.stderr, result.stderr
    document = json.loads(result.stdout)
    jsonschema.validate(document, SCHEMA)
    assert document["exit_code"] == result.returncode
    return result.returncode, document


def worse_day(tmp_path: Path) -> str:
    """The snapshot of three nodes, once the second runs the kernel of the third, and a fourth has come."""
    snapshot = json.loads(Path(RHEL).read_text())
    old = next(node["kind"] for node in snapshot["nodes"] if node["identity"]["name"] == "rhel81-c")
    snapshot["nodes"][1]["kind"] = old
    fourth = json.loads(json.dumps(snapshot["nodes"][0]))
    fourth["identity"]["name"] = "rhel82-d"
    snapshot["nodes"].append(fourth)
    return file(tmp_path, json.dumps(snapshot), "friday.json")


def test_two_days_of_the_same_nodes(tmp_path: Path) -> None:
    code, found = diff(RHEL, worse_day(tmp_path), "--calico-version", "v3.32.1")
    assert (code, found["outcome"], found["matched_by"]) == (1, "worse", "subjects")
    assert [(one["id"], one["change"], one["a"], one["b"], one["subjects"]) for one in found["changes"]] == [
        ("node.kernel.version", "new", None, "warn", ["rhel82-d"]),
        ("node.kernel.version", "changed", "warn", "fail", ["rhel82-b"]),
        ("node.kernel.btf", "new", "pass", "warn", ["rhel82-b"]),
        ("node.bpf.residue", "incomparable", None, "unknown", ["rhel82-d"]),
        ("node.tc.foreign", "incomparable", None, "unknown", ["rhel82-d"]),
    ]
    assert found["nodes_only_in_b"] == ["rhel82-d"]
    code, back = diff(worse_day(tmp_path), RHEL, "--calico-version", "v3.32.1")
    assert (code, back["outcome"]) == (0, "not_worse")
    assert {one["change"] for one in back["changes"]} == {"fixed", "changed"}


def test_reports_are_compared_as_snapshots_are(tmp_path: Path) -> None:
    reports = []
    for name, snapshot in (("a", RHEL), ("b", worse_day(tmp_path))):
        path = str(tmp_path / f"{name}.report.json")
        run("evaluate", snapshot, "--calico-version", "v3.32.1", "-q", "-f", f"json={path}", "-f", "table")
        reports.append(path)
    of_reports = diff(*reports)
    of_snapshots = diff(RHEL, worse_day(tmp_path), "--calico-version", "v3.32.1")
    assert of_reports[0] == of_snapshots[0]
    assert of_reports[1]["changes"] == of_snapshots[1]["changes"]
    assert [of_reports[1][side]["document"] for side in "ab"] == ["report", "report"]


def test_the_same_is_not_worse() -> None:
    code, found = diff(CLUSTER, CLUSTER)
    assert (code, found["changes"], found["remarks"]) == (0, [], [])
    assert "NOT WORSE: B against A (no difference)" in run("diff", CLUSTER, CLUSTER).stdout


def test_checks_that_a_policy_skips_are_told(tmp_path: Path) -> None:
    (tmp_path / "ebpfcheck.toml").write_text('skip = ["node.arch"]\n')
    result = run_in(tmp_path, "diff", DEBIAN, DEBIAN, "-f", "json")
    a, b = (
        re.fullmatch(r"[AB] was judged by (\d+) of (\d+) checks", one) for one in json.loads(result.stdout)["remarks"]
    )
    assert a
    assert b
    assert int(a[1]) + 1 == int(a[2]) == int(b[1]) + 1


def test_a_fleet_against_the_node_of_a_new_image() -> None:
    code, found = diff(CLUSTER, DEBIAN)
    assert found["matched_by"] == "outcomes"
    assert [found[side]["calico"] for side in "ab"] == ["v3.28.2", "v3.28.2"], "what the fleet runs"
    assert code == 0
    code, found = diff(DEBIAN, RHEL, "--calico-version", "v3.32.1")
    assert (code, found["summary"]["new"]) == (1, 3)


def test_what_is_lost_from_sight_decides_where_nothing_is_worse() -> None:
    code, found = diff(story("green-surveyed"), story("green"), "--calico-version", "v3.32.1")
    assert (code, found["outcome"], found["summary"]["worse"]) == (3, "incomparable", 0)
    assert found["summary"]["undecided"] > 0


@pytest.mark.parametrize(
    ("arguments", "columns"),
    [((), 80), ((), 120), (("-q",), 80), (("--color", "always"), 80)],
    ids=["80", "120", "-q", "-c"],
)
def test_the_text(golden: SnapshotAssertion, tmp_path: Path, arguments: tuple[str, ...], columns: int) -> None:
    worse_day(tmp_path)
    file(tmp_path, Path(RHEL).read_text(), "monday.json")
    result = run_in(
        tmp_path,
        "diff",
        *("monday.json", "friday.json", "--calico-version", "v3.16,v3.32.1"),
        *("--only", "node.kernel.*,node.bpf.residue"),
        *arguments,
        columns=columns,
    )
    assert result.returncode == 1
    assert result.stdout == golden


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((RHEL,), "give B, or two releases to judge A for"),
        ((RHEL, "--calico-version", "v3.30"), "give B, or two releases to judge A for"),
        ((RHEL, DEBIAN, "--calico-version", "v3.30,v3.31,v3.32"), "give one release, or two as in v3.30,v3.32"),
        ((RHEL, DEBIAN, "--calico-version", "v3.30,"), "give one release, or two as in v3.30,v3.32"),
        ((RHEL, DEBIAN, "--calico-version", "v3.99"), "v3.99 is outside what this ebpfcheck knows"),
        ((RHEL, "none.json"), "none.json: cannot be read: No such file or directory"),
        ((RHEL, str(ROOT / "Makefile")), "it is not JSON"),
        ((RHEL, DEBIAN, "-f", "junit"), "there is no format 'junit'; choose from text, json"),
        (("-", "-"), "stdin holds one document only"),
        ((RHEL, "-"), "it is not JSON"),
        ((RHEL, DEBIAN, "--only", "nothing"), "no check is called 'nothing'"),
    ],
)
def test_what_cannot_be_meant_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    result = run("diff", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr


def test_a_report_is_not_judged_again_and_its_texts_stay_text(tmp_path: Path) -> None:
    report = json.loads(run("evaluate", RHEL, "--calico-version", "v3.32.1", "-f", "json").stdout)
    report["target"]["name"] = "\x1b[31mred"
    for finding in report["findings"]:
        finding["message"] = "\x1b]8;;http://x\x07[bold]"
        finding["subjects"] = [f"{name}\u202e" for name in finding["subjects"]]
        finding["status"] = "fail"
    path = file(tmp_path, json.dumps(report), "hostile.json")
    result = run("diff", DEBIAN, path)
    assert result.returncode == 1
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    assert "\\x1b[31mred" in result.stdout
    result = run("diff", path, path, "--calico-version", "v3.30")
    assert (result.returncode, result.stdout) == (2, "")
    assert "is a report, which is judged already" in result.stderr
