"""The policy file and the environment, by the command line as a process."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.acceptance.command import run, run_in
from tests.acceptance.test_output import golden, story
from tests.builders import ROOT

__all__ = ("golden",)

RHEL, DEBIAN = story("rhel-8.2-three-nodes"), story("debian-12")


def policy(directory: Path, text: str) -> Path:
    (directory / "ebpfcheck.toml").write_text(text)
    below = directory / "below"
    below.mkdir(exist_ok=True)
    return below


def evaluate(directory: Path, *arguments: str, **environment: Any) -> tuple[int, dict[str, Any]]:
    result = run_in(directory, "evaluate", *arguments, "-f", "json", **environment)
    assert not result.stderr, result.stderr
    return result.returncode, json.loads(result.stdout)


def test_flags_beat_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    below = policy(tmp_path, 'calico_version = "v3.30.1"\nfail_on = "never"\nskip = ["node.arch"]\n')
    code, report = evaluate(below, RHEL)
    assert (code, report["calico"]["version"], report["selection"]["skipped"]) == (0, "v3.30.1", ["node.arch"])
    assert report["settings"] == [
        {"name": name, "origin": f"../ebpfcheck.toml:{line}"}
        for line, name in enumerate(("calico_version", "fail_on", "skip"), start=1)
    ]
    code, report = evaluate(below, RHEL, EBPFCHECK_FAIL_ON="fail", EBPFCHECK_SKIP="node.kernel.version,node.selinux")
    assert (code, report["selection"]["skipped"]) == (0, ["node.kernel.version", "node.selinux"])
    assert {"name": "skip", "origin": "EBPFCHECK_SKIP"} in report["settings"]
    code, report = evaluate(below, RHEL, "--fail-on", "fail", "--skip", "node.selinux", EBPFCHECK_FAIL_ON="never")
    assert (code, report["selection"]["skipped"]) == (1, ["node.selinux"])
    assert [one["name"] for one in report["settings"]] == ["calico_version"]


def test_a_named_file_and_none_at_all(tmp_path: Path) -> None:
    below = policy(tmp_path, 'fail_on = "never"\n')
    assert evaluate(below, RHEL, "--config", "/dev/null")[0] == 1
    (below / "ci.toml").write_text('calico_version = "v3.20"\n')
    assert evaluate(below, RHEL, "--config", "ci.toml")[1]["calico"]["version"] == "v3.20"
    assert evaluate(below, RHEL, EBPFCHECK_CONFIG="ci.toml")[1]["calico"]["version"] == "v3.20"


def test_paths_and_formats_of_the_file(tmp_path: Path) -> None:
    below = policy(tmp_path, 'format = ["table", "json=report.json"]\nwaivers = "w.toml"\n')
    (tmp_path / "w.toml").write_text(
        '[[waiver]]\nid = "node.*"\nsubject = "*"\nreason = "r"\nowner = "o"\nexpires = 2999-01-01\n'
    )
    result = run_in(below, "evaluate", RHEL)
    assert result.returncode == 0
    assert result.stdout.startswith("READY")
    assert json.loads((tmp_path / "report.json").read_text())["summary"]["waived"] > 0
    # Other documents have formats of their own.
    assert run_in(below, "evaluate", RHEL, "--calico-version", "v3.30,v3.31").returncode == 0
    assert run_in(below, "kernel", "6.1.0-29-amd64").stdout.startswith("Kernels for")
    assert run_in(below, "diff", DEBIAN, DEBIAN).returncode == 0


def test_a_lowered_severity_warns_and_turns_no_unknown_into_a_pass(tmp_path: Path) -> None:
    policy(tmp_path, '[severity]\n"*" = "degrade"\n')
    code, report = evaluate(tmp_path, RHEL)
    assert (code, report["verdict"], report["summary"]["fail"]) == (0, "ready_with_warnings", 0)
    (one,) = (finding for finding in report["findings"] if (finding["overridden"] or {}).get("status") == "fail")
    assert (one["status"], one["overridden"]["by"]) == ("warn", "ebpfcheck.toml:2")
    assert "the check itself says FAIL; ebpfcheck.toml:2" in run_in(tmp_path, "evaluate", RHEL, columns=120).stdout
    blind = run("evaluate", story("kubespray-ipvs"), "-f", "json", "--skip", "cluster.*")
    code, report = evaluate(tmp_path, story("kubespray-ipvs"), "--skip", "cluster.*")
    assert (code, report["verdict"]) == (3, "inconclusive")
    assert report["summary"]["unknown"] == json.loads(blind.stdout)["summary"]["unknown"]


def test_a_raised_severity_fails_where_it_warned(tmp_path: Path) -> None:
    only = ("--only", "node.kernel.btf", "--calico-version", "v3.32.1")
    assert evaluate(tmp_path, RHEL, *only)[1]["verdict"] == "ready_with_warnings"
    policy(tmp_path, '[severity]\n"node.kernel.btf" = "blocker"\n')
    code, report = evaluate(tmp_path, RHEL, *only)
    assert (code, report["verdict"]) == (1, "not_ready")


def test_below_the_coverage_floor_it_is_inconclusive(tmp_path: Path) -> None:
    snapshot = json.loads(Path(story("green-surveyed")).read_text())
    worker = snapshot["nodes"][1]
    twin = {**worker, "identity": {**worker["identity"], "name": "twin"}, "surveyed": False, "inference": 0}
    snapshot["nodes"] = [*snapshot["nodes"], twin]
    snapshot["inferences"] = [{"kinds": [worker["kind"]], "samples": [1]}]
    (tmp_path / "snapshot.json").write_text(json.dumps(snapshot))
    arguments = ("snapshot.json", "--calico-version", "v3.32.1", "--only", "node.arch")
    code, report = evaluate(tmp_path, *arguments)
    assert (code, report["coverage"]["nodes_surveyed"], report["coverage"]["nodes_inferred"]) == (0, 2, 1)
    share = 66
    policy(tmp_path, f"coverage_floor = {share}\n")
    assert evaluate(tmp_path, *arguments)[0] == 0
    policy(tmp_path, f"\ncoverage_floor = {share + 1}\n")
    code, report = evaluate(tmp_path, *arguments)
    assert (code, report["verdict"], report["coverage"]["floor"]) == (3, "inconclusive", share + 1)
    assert report["problems"][-1]["source"] == "ebpfcheck.toml:2"
    assert evaluate(tmp_path, *arguments, "--scope", "api")[0] == 0
    assert evaluate(tmp_path, *arguments, EBPFCHECK_COVERAGE_FLOOR="0")[0] == 0


def test_probes_of_the_file_are_for_commands_that_look(tmp_path: Path) -> None:
    policy(tmp_path, 'probe = "pod"\nimage = "x"\nprobe_nodes = "all"\ntrial = "kernel"\nskip = ["node.firewall"]\n')
    plan = run_in(tmp_path, "plan", "--snapshot", story("kubeadm-ha-vip"))
    assert (plan.returncode in (0, 1, 3), plan.stderr) == (True, "")
    verified = run_in(tmp_path, "verify", "--snapshot", story("ebpf-healthy"))
    assert (verified.returncode in (0, 1, 3), verified.stderr) == (True, "")
    none = run_in(tmp_path, "cluster", "--probe", "none", "--kubeconfig", str(tmp_path / "none"))
    assert "--image" not in none.stderr
    assert (
        "--image is for --probe pod" not in run_in(tmp_path, "cluster", "--probe", "exec", "--kubeconfig", "x").stderr
    )
    assert "--trial kernel needs" not in none.stderr
    told = run_in(tmp_path, "cluster", "--probe", "none", "--image", "y", "--kubeconfig", "x")
    assert "need --probe exec or --probe pod" in told.stderr


@pytest.mark.parametrize(
    ("command", "text", "words"),
    [
        ("evaluate", 'x = 1\nskips = ["a"]\n', "ebpfcheck.toml:1: there is no setting 'x'"),
        ("node", "a = \n", "ebpfcheck.toml:1: is not TOML"),
        ("cluster", '\nscope = "all"\n', "ebpfcheck.toml:2: scope: 'all' is none of api, nodes"),
        ("config", "[severity]\n'node.arch' = 'note'\n", "ebpfcheck.toml:2: nothing can be made a note"),
        ("verify", 'waivers = "/none.toml"\n', "ebpfcheck.toml:1: /none.toml: cannot be read"),
        ("evaluate", '\nbaseline = "/none.json"\n', "ebpfcheck.toml:2: /none.json: cannot be read"),
    ],
)
def test_a_bad_file_is_one_line_and_code_2(tmp_path: Path, command: str, text: str, words: str) -> None:
    policy(tmp_path, text)
    more = {"evaluate": (RHEL,), "config": ("show",)}.get(command, ())
    result = run_in(tmp_path, command, *more)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr


def test_what_is_in_force(golden: SnapshotAssertion, tmp_path: Path) -> None:
    below = policy(
        tmp_path,
        '# what we want\ncalico_version = "v3.32"\nskip = ["node.firewall",\n  "verify.node.*"]\nscope = "api"\n'
        'probe_timeout = 30\n\n[severity]\n"node.kernel.*" = "degrade"\n',
    )
    result = run_in(
        below, "config", "show", "--scope", "nodes", "--probe", "exec", EBPFCHECK_FAIL_ON="warn", EBPFCHECK_SKIPS="x"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == golden


def test_help_needs_no_policy(tmp_path: Path) -> None:
    policy(tmp_path, "nonsense")
    assert run_in(tmp_path, "cluster", "--help").returncode == 0
    assert run_in(tmp_path, "checks", "node.arch").returncode == 0


def test_the_policy_in_the_documentation_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "policy.md").read_text()
    example = text.partition("## Policy file")[2].partition("\n## ")[0]
    block = "\n".join(line[4:] for line in re.findall(r"^(?:    .*|)$", example, re.MULTILINE))
    policy(tmp_path, block)
    result = run_in(tmp_path, "config", "show")
    assert (result.returncode, result.stderr) == (0, "")
    for name in ("calico_version", "skip", "coverage_floor", "severity of node.kernel.btf"):
        assert re.search(rf"^{name} .*ebpfcheck\.toml:\d+$", result.stdout, re.MULTILINE), name
