"""The upgrade guard, by the command line as a process."""

import json
from pathlib import Path

import jsonschema
import pytest
from syrupy.assertion import SnapshotAssertion

from tests.acceptance.command import run, run_in
from tests.acceptance.test_output import golden, story
from tests.builders import ROOT

__all__ = ("golden",)

RHEL, DEBIAN, CLUSTER = story("rhel-8.2-three-nodes"), story("debian-12"), story("kubespray-ipvs")
FEW = ("--only", "node.kernel.version,node.kernel.btf")
SCHEMA = json.loads((ROOT / "ebpfcheck" / "schema" / "matrix.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "columns", "code"),
    [
        ((RHEL, *FEW, "--calico-version", "v3.30..v3.35"), 80, 1),
        ((RHEL, *FEW, "--calico-version", "v3.30..v3.35"), 120, 1),
        ((CLUSTER, "--calico-version", "v3.28.2,v3.31"), 80, 1),
        ((DEBIAN, "--calico-version", "v3.30..v3.32", *FEW, "-q"), 80, 0),
        ((DEBIAN, "--calico-version", "v3.32,v3.34", *FEW, "-v"), 80, 3),
    ],
    ids=["rhel-80", "rhel-120", "cluster", "quiet", "verbose"],
)
def test_the_table(golden: SnapshotAssertion, arguments: tuple[str, ...], columns: int, code: int) -> None:
    result = run("evaluate", *arguments, columns=columns)
    assert (result.returncode, result.stderr) == (code, "")
    assert all(len(line) <= columns for line in result.stdout.splitlines())
    assert result.stdout == golden


def test_what_a_policy_sets_is_told(golden: SnapshotAssertion, tmp_path: Path) -> None:
    (tmp_path / "ebpfcheck.toml").write_text(
        'format = ["table"]\nskip = ["node.kernel.lockdown"]\nbaseline = "base.json"\n\n'
        '[severity]\n"node.kernel.btf" = "blocker"\n"node.kernel.version" = "degrade"\n'
    )
    few = (RHEL, "--calico-version", "v3.30,v3.31", "--only", "node.kernel.*")
    result = run_in(tmp_path, "evaluate", *few, columns=120)
    assert result.returncode == 1
    assert result.stdout == golden
    document = json.loads(run_in(tmp_path, "evaluate", *few, "-f", "json").stdout)
    jsonschema.validate(document, SCHEMA)
    assert "node.kernel.lockdown" in document["selection"]["skipped"]
    assert [one["name"] for one in document["settings"]] == [
        "skip",
        "severity of node.kernel.btf",
        "severity of node.kernel.version",
    ]
    cells = {row["id"]: row["cells"][1] for row in document["checks"]}
    assert (cells["node.kernel.btf"]["status"], cells["node.kernel.btf"]["overridden"]["status"]) == ("fail", "warn")
    assert [problem["source"] for problem in document["problems"]] == ["ebpfcheck.toml:3"]


def test_json_and_the_table_have_one_exit_code() -> None:
    result = run("evaluate", RHEL, "--calico-version", "v3.30..v3.35", "-f", "json")
    document = json.loads(result.stdout)
    jsonschema.validate(document, SCHEMA)
    assert document["exit_code"] == result.returncode == 1
    assert document["first_not_ready"] == "v3.30"
    assert [column["is_known"] for column in document["releases"]] == [True] * 4 + [False] * 2
    assert run("evaluate", RHEL, "--calico-version", "v3.30..v3.35", "--fail-on", "never", "-q").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--calico-version", "v3.33..v3.30"), "is no range within one major release"),
        (("--calico-version", "v3.30..what"), "'what' is not a Calico release"),
        (("--calico-version", "v3.90..v3.92"), "knows none of these releases"),
        (("--calico-version", "v3.30,v3.31", "--baseline", "x"), "--baseline is for one release"),
        (("--calico-version", "v3.30,v3.31", "-f", "junit"), "there is no format 'junit'; choose from table, json"),
    ],
)
def test_what_cannot_be_meant_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    result = run("evaluate", RHEL, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr
