"""What runs ebpfcheck in CI: the GitHub Action's script, run as a runner does, and the examples."""

import json
import os
import re
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml

from tests.acceptance.command import PROGRAM
from tests.acceptance.test_output import story
from tests.builders import ROOT

ACTION = ROOT / ".github" / "actions" / "ebpfcheck"
EXAMPLES = ROOT / "docs" / "examples"
RHEL, GREEN, TALOS = story("rhel-8.2-three-nodes"), story("green"), story("talos")


def load(path: Path) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text())
    return loaded


def step_of_action() -> dict[str, Any]:
    (step,) = load(ACTION / "action.yml")["runs"]["steps"]
    assert isinstance(step, dict)
    return step


def environment(inputs: dict[str, str]) -> dict[str, str]:
    """What a runner makes of the inputs of a step that uses the action."""
    known = load(ACTION / "action.yml")["inputs"]
    assert inputs.keys() <= known.keys()
    given = {name: inputs.get(name, one["default"]) for name, one in known.items()}
    return {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: given[match[1]], text)
        for name, text in step_of_action()["env"].items()
    }


def act(folder: Path, inputs: dict[str, str], *, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run the action's step in a folder, with the ebpfcheck of the tests where the action would install one."""
    runner = folder / "runner"
    if not path and not runner.exists():
        (runner / "ebpfcheck" / "bin").mkdir(parents=True)
        (runner / "ebpfcheck" / "bin" / "ebpfcheck").symlink_to(PROGRAM)
    env = {
        "PATH": f"{path}:{os.environ['PATH']}",
        "GITHUB_ACTION_PATH": str(ACTION),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "RUNNER_TEMP": str(runner),
        **environment(inputs),
    }
    step = step_of_action()
    # As the runner does it: the script in a file, with -e.
    (folder / "step.sh").write_text(step["run"])
    return subprocess.run(
        (step["shell"], "-e", str(folder / "step.sh")),
        cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def output(folder: Path) -> str:
    return (folder / "output").read_text()


def test_the_action_has_its_inputs_as_variables_alone() -> None:
    action = load(ACTION / "action.yml")
    step = step_of_action()
    assert "${{" not in step["run"]
    assert "${{" not in (ACTION / "check.sh").read_text()
    used = {match for text in step["env"].values() for match in re.findall(r"inputs\.([\w-]+)", text)}
    assert used == set(action["inputs"])
    assert os.access(ACTION / "check.sh", os.X_OK)


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({"snapshot": RHEL}, 1),
        ({"snapshot": RHEL, "fail-on": "never"}, 0),
        ({"snapshot": TALOS}, 3),
        ({"snapshot": GREEN, "arguments": "--scope\napi\n"}, 0),
        ({"snapshot": "no-such-file"}, 2),
        ({"snapshot": RHEL, "fail-on": "sometimes"}, 2),
    ],
)
def test_the_action_fails_as_the_command_does(tmp_path: Path, inputs: dict[str, str], code: int) -> None:
    result = act(tmp_path, inputs)
    assert result.returncode == code, result.stderr
    assert output(tmp_path) == f"exit-code={code}\n"
    summary = tmp_path / "summary"
    assert summary.exists() == (code != 2)
    assert code == 2 or summary.read_text().startswith("## ebpfcheck: ")
    assert all(line.startswith("::") for line in result.stdout.splitlines())


def test_the_policy_of_the_repository_holds_where_no_input_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "ebpfcheck.toml").write_text('fail_on = "never"\nformat = ["table", "json=report.json"]\n')
    result = act(tmp_path, {"snapshot": RHEL})
    assert result.returncode == 0, result.stderr
    assert all(line.startswith("::") for line in result.stdout.splitlines())
    assert not (tmp_path / "report.json").exists()
    assert act(tmp_path, {"snapshot": RHEL, "fail-on": "fail"}).returncode == 1


def test_the_action_writes_what_it_is_asked_for(tmp_path: Path) -> None:
    names = {"sarif": "a b.sarif", "junit": "junit.xml", "json": "report.json", "html": "page.html"}
    result = act(tmp_path, {"snapshot": RHEL, "calico-version": "v3.32.1", **names})
    assert result.returncode == 1
    assert json.loads((tmp_path / "a b.sarif").read_text())["version"] == "2.1.0"
    assert ElementTree.fromstring((tmp_path / "junit.xml").read_text()).tag == "testsuites"
    assert json.loads((tmp_path / "report.json").read_text())["calico"]["version"] == "v3.32.1"
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


PIECES = "$(touch pwned)`touch pwned`\"; touch pwned; \"'; touch pwned; '"


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("command", PIECES, 2),
        ("snapshot", PIECES, 2),
        ("snapshot", "--help", 2),
        ("calico-version", PIECES, 2),
        ("fail-on", PIECES, 2),
        ("arguments", PIECES, 2),
        ("arguments", "--verbose\nEND\ntouch pwned", 2),
        # Files may be called anything.
        ("sarif", PIECES, 1),
    ],
)
def test_no_input_is_a_piece_of_the_script(tmp_path: Path, name: str, text: str, code: int) -> None:
    result = act(tmp_path, {"snapshot": RHEL, name: text})
    assert not (tmp_path / "pwned").exists()
    assert result.returncode == code, result.stderr


def test_the_action_installs_what_it_came_with(tmp_path: Path) -> None:
    stub = tmp_path / "bin" / "python3"
    stub.parent.mkdir()
    stub.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
mkdir -p "$3/bin"
cp "$0" "$3/bin/python"
case $* in *" install "*)
    for source; do :; done
    test -f "$source/pyproject.toml" && ln -s {PROGRAM} "$(dirname "$0")/ebpfcheck"
esac
"""
    )
    stub.chmod(0o755)
    assert act(tmp_path, {"snapshot": RHEL}, path=str(stub.parent)).returncode == 1
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == f"-m venv {tmp_path}/runner/ebpfcheck"
    assert calls[1].endswith("/../../..")
    # A second time it is there.
    assert act(tmp_path, {"snapshot": RHEL}, path=str(stub.parent)).returncode == 1
    assert len((tmp_path / "calls").read_text().splitlines()) == 2


def schema(name: str) -> dict[str, Any]:
    place = files("check_jsonschema") / "builtin_schemas" / "vendor" / f"{name}.json"
    loaded: dict[str, Any] = json.loads(place.read_text())
    return loaded


def valid(document: dict[Any, Any], name: str) -> None:
    # YAML 1.1 takes the key `on` for a boolean.
    whole = {("on" if key is True else key): value for key, value in document.items()}
    found = schema(name)
    jsonschema.validators.validator_for(found)(found).validate(json.loads(json.dumps(whole)))


def test_the_files_of_github_obey_their_schemas() -> None:
    valid(load(ACTION / "action.yml"), "github-actions")
    for path in ((ROOT / ".github" / "workflows").glob("*.yml"), EXAMPLES.glob("github-*.yml")):
        for file in path:
            valid(load(file), "github-workflows")
    with pytest.raises(jsonschema.ValidationError):
        valid({**load(EXAMPLES / "github-workflow.yml"), "jobs": {"x": {"steps": [{"uses": 1}]}}}, "github-workflows")


def test_the_example_workflow_gives_the_action_what_it_takes(tmp_path: Path) -> None:
    workflow = load(EXAMPLES / "github-workflow.yml")
    steps = workflow["jobs"]["readiness"]["steps"]
    (step,) = [step for step in steps if "/actions/ebpfcheck@" in step.get("uses", "")]
    (tmp_path / "clusters").mkdir()
    (tmp_path / "clusters" / "prod.json").write_bytes(Path(GREEN).read_bytes())
    result = act(tmp_path, step["with"])
    assert result.returncode == 3, result.stderr
    (upload,) = [step for step in steps if "upload-sarif@" in step.get("uses", "")]
    assert (tmp_path / upload["with"]["sarif_file"]).is_file()
    assert upload["with"]["sarif_file"] in upload["if"]
    pinned = [step["uses"] for step in steps if "uses" in step and step is not steps[2]]
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", use) for use in pinned)


def test_the_example_for_gitlab_runs(tmp_path: Path) -> None:
    pipeline = load(EXAMPLES / "gitlab-ci.yml")
    valid(pipeline, "gitlab-ci")
    job = pipeline["ebpf-readiness"]
    (tmp_path / "clusters").mkdir()
    (tmp_path / "clusters" / "prod.json").write_bytes(Path(GREEN).read_bytes())
    env = {**job["variables"], "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    result = subprocess.run(
        ("sh", "-ec", "\n".join(job["script"])),
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == job["allow_failure"]["exit_codes"] == 3, result.stderr
    for file in (*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]):
        assert (tmp_path / file).is_file()
    assert job["artifacts"]["when"] == "always"


@pytest.mark.parametrize(
    ("compiled", "words"),
    [
        ("_core.cpython-399-x86_64-linux-gnu.so", "was built for cpython-399-x86_64-linux-gnu, and this is Python 3."),
        ("other", "was built for another machine, and this is Python 3."),
        (f"_core{EXTENSION_SUFFIXES[0]}", ""),
    ],
)
def test_the_single_file_says_which_python_it_is_for(tmp_path: Path, compiled: str, words: str) -> None:
    (tmp_path / "msgspec").mkdir()
    (tmp_path / "msgspec" / compiled).write_text("")
    script = "import runpy, sys; runpy.run_path(sys.argv[1], {'site_packages': sys.argv[2]})"
    command = (sys.executable, "-c", script, str(ROOT / "tools" / "zipapp_preamble.py"), str(tmp_path))
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == bool(words)
    assert result.stderr.count("\n") == bool(words)
    assert words in result.stderr


def test_kubectl_runs_it_as_a_command_of_its_own(tmp_path: Path) -> None:
    kubectl = Path(sys.executable).with_name("kubectl")
    env = {"PATH": f"{PROGRAM.parent}:/usr/bin:/bin", "HOME": str(tmp_path), "COLUMNS": "100"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = (str(kubectl), *arguments)
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert "kubectl-ebpfcheck" in run("plugin", "list").stdout
    assert "Usage: kubectl ebpfcheck [OPTIONS] COMMAND" in run("ebpfcheck", "--help").stdout
    assert "Usage: kubectl ebpfcheck cluster [OPTIONS]" in run("ebpfcheck", "cluster", "--help").stdout
    result = run("ebpfcheck", "evaluate", RHEL)
    assert result.returncode == 1
    assert result.stdout.startswith("NOT READY")
    assert run("ebpfcheck", "--version").stdout.startswith("ebpfcheck ")
