"""Waivers and what else a team lays down, by the command line as a process."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.acceptance.command import run, run_in
from tests.acceptance.test_output import golden, story

__all__ = ("golden",)

RHEL = (story("rhel-8.2-three-nodes"), "--calico-version", "v3.32.1")
FEW = (*RHEL, "--only", "node.kernel.version,node.kernel.btf,node.kernel.lockdown")
FOREVER = date(2999, 12, 31)
TODAY = datetime.now(UTC).date()


def waiver(id: str, subject: str = "*", expires: date = FOREVER) -> str:
    return (
        f'[[waiver]]\nid = "{id}"\nsubject = "{subject}"\nreason = "the pool is replaced"\nowner = "platform"\n'
        f"expires = {expires}\n"
    )


def file(tmp_path: Path, text: str, name: str = "waivers.toml") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def evaluate(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = run("evaluate", *arguments, "-f", "json")
    assert not result.stderr, result.stderr
    return result.returncode, json.loads(result.stdout)


def test_a_waived_finding_is_split_shown_and_does_not_count(tmp_path: Path) -> None:
    code, before = evaluate(*RHEL)
    assert (code, before["summary"]["fail"]) == (1, 1)
    waivers = file(
        tmp_path, waiver("node.kernel.version", "rhel8[12]-[cx]") + waiver("node.kernel.version", "rhel82-a")
    )
    code, after = evaluate(*RHEL, "--waivers", waivers)
    assert (code, after["verdict"], after["exit_code"]) == (0, "ready_with_warnings", 0)
    assert (after["summary"]["fail"], after["summary"]["waived"]) == (0, 2)
    of_kernel = [
        (one["status"], one["subjects"], one["waived_by"])
        for one in after["findings"]
        if one["id"] == "node.kernel.version"
    ]
    why = "the pool is replaced (platform, until 2999-12-31; {}:{})"
    assert of_kernel == [
        ("warn", ["rhel82-b"], None),
        ("warn", ["rhel82-a"], why.format(waivers, 7)),
        ("fail", ["rhel81-c"], why.format(waivers, 1)),
    ]
    assert [(use["state"], use["subjects"]) for use in after["waivers"]] == [("used", 1), ("used", 1)]
    # All else is as it was.
    assert [one for one in after["findings"] if one["id"] != "node.kernel.version"] == [
        one for one in before["findings"] if one["id"] != "node.kernel.version"
    ]


def test_an_expired_waiver_counts_again_and_says_so(tmp_path: Path) -> None:
    waivers = file(tmp_path, waiver("node.kernel.version", expires=TODAY - timedelta(2)))
    code, report = evaluate(*RHEL, "--waivers", waivers)
    assert code == 1
    assert report["summary"]["waived"] == 0
    assert all(
        str(TODAY - timedelta(2)) in one["waiver_expired"]
        for one in report["findings"]
        if one["id"] == "node.kernel.version"
    )
    (problem,) = report["problems"]
    assert (problem["source"], problem["reason"]) == (f"{waivers}:1", "outdated")
    assert "counts again" in run("evaluate", *RHEL, "--waivers", waivers).stdout


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_of_waived_findings(golden: SnapshotAssertion, tmp_path: Path, columns: int) -> None:
    file(
        tmp_path,
        waiver("node.kernel.version", "rhel81-*")
        + waiver("node.kernel.btf", expires=date(2026, 1, 1))
        + waiver("node.kernel.lockdwon"),
    )
    result = run_in(tmp_path, "evaluate", *FEW, "--waivers", "waivers.toml", columns=columns)
    assert result.returncode == 0
    assert result.stdout == golden
    assert "rhel81-c" in run_in(tmp_path, "evaluate", *FEW, "--waivers", "waivers.toml", "-v").stdout
    quiet = run_in(tmp_path, "evaluate", *FEW, "--waivers", "waivers.toml", "-q", columns=columns).stdout
    assert "(2 warn, 1 waived)" in " ".join(quiet.split())
    assert "WAIVED   node.kernel.version" in quiet


def test_waivers_of_a_cluster_look_through_unknowns_but_not_through_coverage(tmp_path: Path) -> None:
    cluster = story("kubeadm-single")
    waivers = file(tmp_path, waiver("*"))
    code, report = evaluate(cluster, "--waivers", waivers)
    assert (code, report["verdict"]) == (3, "inconclusive"), "nobody has looked at the nodes"
    assert report["summary"]["unknown"] == 0
    code, report = evaluate(cluster, "--waivers", waivers, "--scope", "api")
    assert (code, report["verdict"]) == (0, "ready")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (waiver("node.a") + "colour = 1\n", "waivers.toml:7: a waiver has no 'colour'; it has id, subject, reason"),
        ("[[waiver]\n", "waivers.toml:1: is not TOML"),
        (
            waiver("node.a").replace('"*"', '"\\u001b[31m"').replace('owner = "platform"\n', ""),
            "the waiver has no owner",
        ),
    ],
)
def test_a_bad_file_is_one_line_and_code_2(tmp_path: Path, text: str, words: str) -> None:
    file(tmp_path, text)
    result = run_in(tmp_path, "evaluate", *RHEL, "--waivers", "waivers.toml")
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr
    result = run_in(tmp_path, "node", "--waivers", "waivers.toml")
    assert (result.returncode, result.stdout) == (2, "")


def test_a_file_that_is_not_there_and_names_that_are_redacted(tmp_path: Path) -> None:
    result = run("evaluate", *RHEL, "--waivers", str(tmp_path / "none.toml"))
    assert result.returncode == 2
    assert "cannot be read: No such file or directory" in result.stderr
    waivers = file(tmp_path, waiver("node.*", "rhel*"))
    result = run("node", "--redact", "--waivers", waivers)
    assert result.returncode == 2
    assert "waivers.toml:1: --redact replaces the names that the waiver goes by" in result.stderr


def test_control_characters_of_a_waiver_stay_text(tmp_path: Path) -> None:
    text = waiver("node.kernel.*").replace("the pool", "the \\u001b[31mpool").replace("platform", "[red]\\u202e")
    result = run("evaluate", *RHEL, "--waivers", file(tmp_path, text))
    assert "\x1b" not in result.stdout
    assert "\\x1b[31mpool" in result.stdout
    assert "[red]\\u202e" in result.stdout


def baseline(tmp_path: Path, *arguments: str) -> str:
    path = tmp_path / "base.json"
    run("evaluate", *arguments, "-f", f"json={path}", "-f", "table")
    return str(path)


def test_against_a_baseline_only_what_is_new_counts(tmp_path: Path) -> None:
    base = baseline(tmp_path, *RHEL)
    code, report = evaluate(*RHEL, "--baseline", base)
    assert (code, report["exit_code"], report["verdict"]) == (0, 0, "not_ready")
    assert report["summary"]["fail"] == 1, "it is still counted"
    assert {one["in_baseline"] for one in report["findings"] if one["status"] in ("fail", "warn", "unknown")} == {True}
    assert report["baseline"]["new"] == 0
    # The one kernel that Felix took is older on another day.
    snapshot = json.loads(Path(RHEL[0]).read_text())
    for node in snapshot["nodes"]:
        if node["identity"]["name"] == "rhel82-b":
            node["kind"] = next(n["kind"] for n in snapshot["nodes"] if n["identity"]["name"] == "rhel81-c")
    later = file(tmp_path, json.dumps(snapshot), "later.json")
    code, report = evaluate(later, *RHEL[1:], "--baseline", base)
    assert code == 1
    fresh = [
        (one["id"], one["subjects"]) for one in report["findings"] if one["status"] == "fail" and not one["in_baseline"]
    ]
    assert fresh == [("node.kernel.version", ["rhel82-b"])]
    assert evaluate(later, *RHEL[1:], "--baseline", base, "--fail-on", "never")[0] == 0


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    base = baseline(tmp_path, *RHEL)
    before = Path(base).read_bytes()
    (tmp_path / "link.json").symlink_to(base)
    snapshot = file(tmp_path, Path(RHEL[0]).read_text(), "snapshot.json")
    waivers = file(tmp_path, waiver("node.arch"))
    two = ("--calico-version", "v3.30,v3.31")
    runs: list[tuple[tuple[str, ...], str]] = [
        (("evaluate", *RHEL, "--baseline", base, "-f", "json=base.json"), "--baseline"),
        (("evaluate", *RHEL, "--baseline", base, "-f", "json=link.json"), "--baseline"),
        (("node", "--baseline", base, "-f", "json=base.json"), "--baseline"),
        (("cluster", "--baseline", base, "--save", base), "--baseline"),
        (("verify", "--snapshot", snapshot, "-f", "json=snapshot.json"), "--snapshot"),
        (("plan", "--snapshot", snapshot, "-f", "json=snapshot.json"), "--snapshot"),
        (("rollback", str(tmp_path), "-f", "json=plan.json"), "PLAN"),
        (("evaluate", snapshot, "-f", "json=./snapshot.json"), "SNAPSHOT"),
        (("evaluate", snapshot, *two, "-f", "json=snapshot.json"), "SNAPSHOT"),
        (("evaluate", *RHEL, "--waivers", waivers, "-f", "json=waivers.toml"), "--waivers"),
        (("diff", snapshot, base, "-f", "json=base.json"), "B"),
    ]
    file(tmp_path, "", "policy.toml")
    file(tmp_path, "{}", "plan.json")
    for command, name in (
        *runs,
        (("kernel", "6.1.0-29-amd64", "-f", "json=policy.toml"), "--config"),
    ):
        result = run_in(tmp_path, *command, EBPFCHECK_CONFIG="policy.toml" if name == "--config" else "")
        assert (result.returncode, result.stdout) == (2, ""), command
        assert f" is the file that {name} reads, and would be overwritten" in result.stderr, command
    assert Path(base).read_bytes() == before
    same = run_in(tmp_path, "evaluate", *RHEL, "-f", "json=base.json", "-f", "junit=link.json")
    assert (same.returncode, "two documents cannot go to the same file" in same.stderr) == (2, True)
    # What holds nothing loses nothing.
    assert run_in(tmp_path, "evaluate", *RHEL, "--config", "/dev/null", "-f", "json=/dev/null").returncode == 1


def test_a_baseline_of_another_release_or_of_something_else_is_said(tmp_path: Path) -> None:
    base = baseline(tmp_path, *RHEL)
    code, report = evaluate(RHEL[0], "--calico-version", "v3.31.0", "--baseline", base)
    assert code == 0
    assert [problem["detail"] for problem in report["problems"]] == [
        "the baseline was judged for Calico v3.32.1, and this is judged for Calico v3.31.0"
    ]
    for wrong, words in (
        (RHEL[0], "it is not ebpfcheck.report/v1, but ebpfcheck.snapshot/v1"),
        ("none.json", "cannot be read"),
        (file(tmp_path, "{", "cut.json"), "does not have the shape of ebpfcheck.report/v1"),
    ):
        result = run("evaluate", *RHEL, "--baseline", wrong)
        assert (result.returncode, result.stdout) == (2, "")
        assert len(result.stderr.splitlines()) == 1
        assert words in result.stderr
    assert "--redact replaces the names" in run("cluster", "--redact", "--baseline", base).stderr


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_against_a_baseline(golden: SnapshotAssertion, tmp_path: Path, columns: int) -> None:
    base = json.loads(Path(baseline(tmp_path, *FEW)).read_text())
    base["finished_at"] = "2026-11-01T00:00:00Z"
    base["findings"] = [one for one in base["findings"] if one["id"] != "node.kernel.btf"]
    file(tmp_path, json.dumps(base), "base.json")
    result = run_in(tmp_path, "evaluate", *FEW, "--baseline", "base.json", columns=columns)
    assert result.returncode == 0
    assert result.stdout == golden


def test_what_runs_is_held_against_waivers_and_baselines_too(tmp_path: Path) -> None:
    look = ("verify", "--snapshot", story("kubeadm-single"))
    base = tmp_path / "base.json"
    first = run(*look, "-f", f"json={base}", "-f", "table")
    assert first.returncode == 1
    again = run(*look, "--baseline", str(base), "-f", "json")
    assert (again.returncode, json.loads(again.stdout)["verdict"]) == (0, "not_ready")
    waived = run(*look, "--waivers", file(tmp_path, waiver("verify.*") + waiver("node.arch")), "-f", "json")
    report = json.loads(waived.stdout)
    assert (waived.returncode, report["verdict"], report["problems"]) == (0, "ready", [])
    assert [use["state"] for use in report["waivers"]] == ["used", "not_run"]
    refused = run("evaluate", story("kubeadm-single"), "--baseline", str(base))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "is a report of `ebpfcheck verify` on whether bpf runs" in refused.stderr
