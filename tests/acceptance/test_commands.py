"""Every command as a process: what it prints where, its exit code, and what it says of bad input."""

import csv
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ebpfcheck.checks.builtin import BUILTIN
from tests.acceptance.command import PROGRAM, run
from tests.builders import FIXTURES, NONCE, document

DEBIAN = str(FIXTURES / "snapshots" / "debian-12" / "snapshot.json")
RHEL = str(FIXTURES / "snapshots" / "rhel-8.2-three-nodes" / "snapshot.json")
TALOS = str(FIXTURES / "snapshots" / "talos" / "snapshot.json")
UBUNTU = str(FIXTURES / "snapshots" / "ubuntu-20.04" / "snapshot.json")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("evaluate", DEBIAN), 0),
        (("evaluate", UBUNTU), 0),
        (("evaluate", UBUNTU, "--fail-on", "warn"), 4),
        (("evaluate", DEBIAN, "--fail-on", "warn"), 0),
        (("evaluate", RHEL), 1),
        (("evaluate", RHEL, "--fail-on", "never"), 0),
        (("evaluate", TALOS), 3),
        (("evaluate", TALOS, "--fail-on", "warn"), 3),
        (("evaluate", TALOS, "--fail-on", "never"), 0),
        (("evaluate", TALOS, "--skip", "node.cgroup2"), 0),
        (("evaluate", RHEL, "--only", "node.arch,node.bpffs.*"), 0),
        (("evaluate", RHEL, "--only", "node.kernel.version"), 1),
        (("kernel", "6.1.0-29-amd64"), 0),
        (("kernel", "5.4.0-42-generic"), 0),
        (("kernel", "5.4.0-42-generic", "--fail-on", "warn"), 4),
        (("kernel", "4.14.0", "--fail-on", "never"), 0),
        (("kernel", "Linux version 5.14.0-1 (x) #1 SMP"), 0),
        (("kernel", "4.19.0-21-amd64"), 3),
        (("kernel", "4.14.0", "4.19.0-21-amd64"), 1),
        ((), 2),
        (("evaluate", "no-such-file"), 2),
    ],
)
@pytest.mark.parametrize("format", ["table", "json"])
def test_exit_codes_are_the_same_in_every_format(arguments: tuple[str, ...], code: int, format: str) -> None:
    judging = arguments and arguments[0] in ("evaluate", "kernel")
    result = run(*arguments, *(("-f", format) if judging else ()))
    assert result.returncode == code, result.stdout + result.stderr
    if code not in (2, 5) and format == "json":
        json.loads(result.stdout)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--foo",), "--foo"),
        (("nodes",), "nodes"),
        (("node", "--foo"), "--foo"),
        (("node", "--timeout", "soon"), "--timeout"),
        (("node", "--timeout", "-1"), "--timeout"),
        (("node", "--timeout", "nan"), "--timeout"),
        (("node", "--timeout", "inf"), "--timeout"),
        (("node", "--timeout", "1e300"), "--timeout"),
        (("node", "-q", "-v"), "exclude"),
        (("node", "--only", ""), "names no check"),
        (("node", "--only", "node.kernel.bft"), "did you mean 'node.kernel.btf'"),
        (("node", "--only", "node.kernel"), "did you mean 'node.kernel."),
        (("node", "--save", ""), "--save"),
        (("node", "--save", "-"), "--save"),
        (("node", "--save", "/"), "is a directory"),
        (("node", "--save", "/no/such/directory/file"), "there is no directory"),
        (("evaluate", DEBIAN, "-f", "json=/no/such/dir/x"), "there is no directory"),
        (("evaluate", DEBIAN, "-f", "json=a", "-f", "table=./a"), "same file"),
        (("node", "--save", "a", "-f", "json=a"), "same file"),
        (("kernel", ""), "empty"),
        (("kernel", "5.10.0", "--arch", ""), "empty"),
        (("kernel", "-", "5.10.0"), "stands alone"),
        (("kernel", "-"), "no kernel was given"),
        (("nod",), "No such command"),
        (("node", "--calico-version", "v3.28.2-rc1"), "is not a Calico release"),
        (("node", "--fail-on", "maybe"), "maybe"),
        (("node", "-f", "yaml"), "yaml"),
        (("node", "-f", "json="), "file name"),
        (("node", "-f", "json", "-f", "table"), "only one"),
        (("node", "--calico-version", "v9"), "v9"),
        (("node", "--calico-version", "v3.99"), "outside what"),
        (("node", "--calico-version", "v3.10"), "outside what"),
        (("node", "--calico-version", "v2.6.1"), "outside what"),
        (("node", "--calico-version", "\x1b[31m3"), "\\x1b[31m3"),
        (("node", "--only", "node.nothing"), "node.nothing"),
        (("node", "--only", "node.*", "--skip", "*"), "leave no check"),
        (("node", "--felix-config", "/no/such/file"), "cannot be read"),
        (("node", "--felix-config", "/dev/null"), "no FelixConfiguration named default"),
        (("evaluate",), "SNAPSHOT"),
        (("evaluate", "/"), "cannot be read"),
        (("evaluate", "/no/such/file"), "cannot be read"),
        (("evaluate", DEBIAN, "extra"), "extra"),
        (("kernel",), "RELEASE"),
        (("kernel", "-", "--arch", "x86_64"), "JSON lines"),
        (("kernel", "6.1", "5.4", "--proc-version", "Linux version 6.1"), "several"),
        (("checks", "node.nothing"), "node.nothing"),
        (("checks", "../../README"), "README"),
        (("schema", "finding"), "'finding' is not one of"),
        (("node", "--trial", "objects"), "--trial objects needs --objects DIR"),
        (("node", "--trial", "objects", "--objects", "bpf"), "is not the absolute path"),
        (("node", "--objects", "/bpf"), "--objects is for --trial objects"),
    ],
)
def test_a_wrong_command_line_gets_one_clear_line(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("ebpfcheck: ")
    assert words in result.stderr
    assert "\x1b" not in result.stderr


def test_a_bare_command_prints_help_and_is_a_usage_error() -> None:
    result = run()
    assert result.returncode == 2
    assert result.stdout.startswith("Usage: ebpfcheck")


def test_version_names_the_tool_and_its_knowledge() -> None:
    result = run("--version")
    assert (result.returncode, result.stdout.count("\n")) == (0, 1)
    from ebpfcheck import __version__
    from ebpfcheck.knowledge import KNOWLEDGE_DATE

    assert __version__ in result.stdout
    assert KNOWLEDGE_DATE in result.stdout


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"\x00\xff", "not JSON"),
        (b"{}", "not a snapshot"),
        (b'{"schema": "ebpfcheck.snapshot/v7", "tool_version": "3.0\\u001b[31m"}', "version v7"),
        (b'{"schema": "ebpfcheck.report/v1"}', "not a snapshot"),
        (Path(DEBIAN).read_bytes()[:3000], "not"),
        (Path(DEBIAN).read_bytes().replace(b'"x86_64"', b"86"), "$.kinds[0].arch.value"),
    ],
)
def test_what_is_no_snapshot_is_refused_in_one_line(data: bytes, words: str) -> None:
    result = run("evaluate", "-", stdin=data)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert "\x1b" not in result.stderr


def test_this_machine_can_be_saved_and_judged_again(tmp_path: Path) -> None:
    saved = tmp_path / "snapshot.json"
    live = run("node", "-f", "json", "--save", str(saved), "--calico-version", "v3.29.3")
    again = run("evaluate", str(saved), "-f", "json", "--calico-version", "v3.29.3")
    first, second = json.loads(live.stdout), json.loads(again.stdout)
    assert first["command"] == "node"
    assert second["command"] == "evaluate"
    for key in ("target", "calico", "verdict", "exit_code", "coverage", "summary", "findings", "problems"):
        assert first[key] == second[key], key
    assert live.returncode == again.returncode
    other = json.loads(run("evaluate", str(saved), "-f", "json").stdout)
    assert other["calico"]["version"] != first["calico"]["version"]


def test_what_felix_configuration_sets_is_judged_and_saved(tmp_path: Path) -> None:
    saved = tmp_path / "snapshot.json"
    config = "kind: FelixConfiguration\nmetadata: {name: default}\nspec: {bpfKubeProxyHealthzPort: 0}\n"
    arguments = ("--only", "node.port.healthz", "--calico-version", "v3.32.1")
    live = run("node", "--felix-config", "-", "--save", str(saved), *arguments, "-v", stdin=config)
    assert "Felix's settings are those of --felix-config -" in " ".join(live.stdout.split())
    assert "bpfKubeProxyHealthzPort is 0" in live.stdout
    assert "bpfKubeProxyHealthzPort is 0" in run("evaluate", str(saved), *arguments, "-v").stdout
    assert "own settings (Felix," in run("node", *arguments).stdout


def test_the_report_is_shown_even_if_a_file_turns_out_not_to_be_writable() -> None:
    result = run("node", "--save", "/dev/full")
    assert result.returncode == 2
    assert "eBPF mode" in result.stdout
    assert result.stderr == "ebpfcheck: --save: /dev/full cannot be written: No space left on device\n"
    result = run("evaluate", TALOS, "-f", "table", "-f", "json=/dev/full")
    assert result.returncode == 2
    assert result.stdout.startswith("INCONCLUSIVE")
    assert result.stderr == "ebpfcheck: --format: /dev/full cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (f"{PROGRAM} evaluate {DEBIAN} >/dev/full", 2, "stdout cannot be written: No space left on device"),
        (f"{PROGRAM} checks >/dev/full", 2, "stdout cannot be written"),
        (f"{PROGRAM} --version >/dev/full", 2, "stdout cannot be written"),
        (f"{PROGRAM} --version >&-", 2, "stdout is closed"),
        (f"{PROGRAM} --help >/dev/full", 2, "No space left on device"),
        (f"{PROGRAM} evaluate {DEBIAN} >&-", 2, "stdout is closed"),
        (f"{PROGRAM} evaluate - <&-", 2, "stdin is closed"),
        (f"{PROGRAM} kernel - <&-", 2, "stdin is closed"),
        (f"{PROGRAM} node --foo 2>&-", 2, ""),
        (f"{PROGRAM} evaluate /no/such/file 2>/dev/full", 2, ""),
        (f"{PROGRAM} evaluate {RHEL} 2>&- >/dev/null", 1, ""),
    ],
)
def test_streams_that_fail_give_one_line_and_the_right_exit_code(command: str, code: int, words: str) -> None:
    result = subprocess.run(("sh", "-c", command), capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == code, result.stderr
    assert words in result.stderr
    assert result.stderr.count("\n") == (1 if words else 0)


def test_several_formats_at_once(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    result = run("evaluate", TALOS, "-f", f"json={file}", "-f", "table")
    assert result.returncode == 3
    assert result.stdout.startswith("INCONCLUSIVE")
    report = json.loads(file.read_text())
    assert report["exit_code"] == 3


def test_a_report_says_which_checks_were_left_out() -> None:
    result = run("evaluate", RHEL, "--skip", "node.kernel.*", "-f", "json")
    report = json.loads(result.stdout)
    assert report["verdict"] == "ready"
    of_nodes = sum(check.scope == "node" and not check.of_trial for check in BUILTIN)
    assert report["selection"]["run"] + len(report["selection"]["skipped"]) == of_nodes
    assert "node.kernel.version" in report["selection"]["skipped"]
    asked = run("evaluate", RHEL, "--only", "node.arch,node.bpffs.*")
    assert asked.stdout.startswith(f"READY by 3 of {of_nodes} checks: 3 nodes")
    assert run("evaluate", RHEL).stdout.startswith("NOT READY: 3 nodes")


def test_a_release_that_is_not_released_is_remarked_upon() -> None:
    assert "not released" in run("evaluate", DEBIAN, "--calico-version", "v3.33").stdout
    assert "not released" not in run("evaluate", DEBIAN).stdout
    report = json.loads(run("evaluate", DEBIAN, "--calico-version", "v3.33", "-f", "json").stdout)
    assert "development" in report["calico"]["remark"]


@pytest.mark.parametrize("snapshot", [DEBIAN, RHEL, TALOS, UBUNTU])
def test_reports_and_snapshots_obey_their_published_schemas(snapshot: str) -> None:
    report_schema = json.loads(run("schema", "report").stdout)
    snapshot_schema = json.loads(run("schema", "snapshot").stdout)
    jsonschema.Draft202012Validator.check_schema(report_schema)
    jsonschema.Draft202012Validator.check_schema(snapshot_schema)
    for version in ("v3.16", "v3.29.3", "v3.33"):
        report = json.loads(run("evaluate", snapshot, "-f", "json", "--calico-version", version).stdout)
        jsonschema.validate(report, report_schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**report, "verdict": "fine"}, report_schema)
    jsonschema.validate(json.loads(Path(snapshot).read_text()), snapshot_schema)
    kernel_schema = json.loads(run("schema", "kernel").stdout)
    jsonschema.validate(json.loads(run("kernel", "5.10", "x", "-f", "json").stdout), kernel_schema)


def test_a_check_is_explained_by_its_page() -> None:
    result = run("checks", "node.kernel.btf")
    assert result.returncode == 0
    assert result.stdout.startswith("# node.kernel.btf")
    assert "v3.33: blocker" in result.stdout
    assert "v3.31 to v3.32: degrade" in result.stdout
    assert "vmlinux_btf" in result.stdout


def test_kernel_lines_are_answered_one_by_one_in_order() -> None:
    lines = [
        '{"release": "6.1.0-29-amd64"}',
        "",
        '{"proc_version": "Linux version 4.18.0-193.el8.x86_64 (x) (gcc (Red Hat 8.3.1)) #1 SMP"}',
        "not json",
        '["6.1"]',
        '{"release": 61}',
        "{}",
        '{"release": "4.18.0-400", "os_image": "Rocky Linux 8", "arch": "x86_64", "more": 1}',
        '{"release": "\\u001b[31m6.1"}',
    ]
    result = run(
        "kernel", "-", "-f", "json", "--calico-version", "v3.16", stdin="\n".join(lines).encode() + b"\n\xff\n"
    )
    report = json.loads(result.stdout)
    assert (report["schema"], report["calico"]) == ("ebpfcheck.kernel/v1", "v3.16")
    statuses = [one["status"] for one in report["results"]]
    assert statuses == ["pass", "pass", *["unknown"] * 7]
    assert [one["felix"] for one in report["results"]] == [True, True, *[None] * 7]
    assert all(
        set(one) == {"release", "distro", "felix", "documented", "status", "message"} for one in report["results"]
    )
    assert "line 4" in report["results"][2]["message"]
    assert "\x1b" not in result.stdout
    assert result.returncode == 3
    assert not result.stderr


def test_every_real_kernel_gets_an_answer_by_the_command() -> None:
    with (FIXTURES / "strings" / "kernels.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    lines = "\n".join(json.dumps({"release": row["kernel_release"], "os_image": row["os_image"]}) for row in rows)
    report = json.loads(run("kernel", "-", "-f", "json", "--calico-version", "v3.16", stdin=lines).stdout)
    assert len(report["results"]) == len(rows)
    assert {one["status"] for one in report["results"]} == {"pass", "fail", "unknown"}


def test_completion_knows_the_commands() -> None:
    result = run(_EBPFCHECK_COMPLETE="complete_bash", COMP_WORDS="ebpfcheck ev", COMP_CWORD="1")
    assert result.stdout.split() == ["evaluate"]
    result = run(_EBPFCHECK_COMPLETE="complete_bash", COMP_WORDS="ebpfcheck checks node.bpffs", COMP_CWORD="2")
    assert result.stdout.split() == ["node.bpffs.mounted", "node.bpffs.persistent"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    # The reader is gone before anything is written, however much a pipe may hold.
    command = f"{PROGRAM} evaluate {RHEL} -v -f json | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(("bash", "-c", command), capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout == "1\n"
    assert result.stderr == ""


def test_a_terminal_without_unicode_gets_escapes_not_errors() -> None:
    data = Path(DEBIAN).read_text().replace("worker-1", "w\u00f6rker\u202e-1")
    result = run("evaluate", "-", stdin=data, PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert "w\\xf6rker\\u202e-1" in result.stdout


def hostile(tmp_path: Path, script: str) -> dict[str, Any]:
    """An environment whose `sh` runs the given script in place of the survey."""
    shell = tmp_path / "sh"
    shell.write_text(f"#!/bin/bash\nnonce=$2\nmark=ebpfcheck-$nonce\n{script}\n")
    shell.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("exit 0", 5, "printed nothing"),
        ("echo 'This account is currently not available.'; exit 1", 5, "printed nothing"),
        ("head -c 100000 /dev/urandom", 5, "printed nothing"),
        ("printf '\\n%s begin arch /a\\n\\n%s end failed x\\n' $mark $mark", 5, "nothing could be learned"),
    ],
)
def test_a_shell_that_says_nothing_of_use_means_it_could_not_run(
    tmp_path: Path, script: str, code: int, words: str
) -> None:
    result = run("node", **hostile(tmp_path, script))
    assert result.returncode == code
    assert result.stdout == ""
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_machine_without_a_shell_could_not_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import shutil\nshutil.which = lambda *_, **__: None\n")
    result = run("node", PYTHONPATH=str(tmp_path))
    assert result.returncode == 5
    assert "no sh" in result.stderr


def test_a_path_that_leads_nowhere_does_not_hide_the_shell(tmp_path: Path) -> None:
    assert "eBPF mode" in run("node", PATH=str(tmp_path)).stdout


def replayed(tmp_path: Path, data: bytes) -> dict[str, Any]:
    (tmp_path / "document").write_bytes(data)
    return hostile(tmp_path, f"sed s/{NONCE}/$nonce/ {tmp_path}/document")


def test_a_whole_document_by_a_strange_shell_is_judged(tmp_path: Path) -> None:
    result = run("node", **replayed(tmp_path, b"MOTD: hello\n" + document()))
    assert result.returncode == 0
    assert result.stdout.startswith("READY: worker-1")


def test_a_cut_document_keeps_what_was_learned(tmp_path: Path) -> None:
    whole = document()
    cut = whole[: whole.index(b"begin filesystems")]
    result = run("node", "-f", "json", **replayed(tmp_path, cut))
    report = json.loads(result.stdout)
    assert result.returncode == 3
    assert report["verdict"] == "inconclusive"
    assert [problem["reason"] for problem in report["problems"]] == ["truncated"]
    statuses = {finding["id"]: finding["status"] for finding in report["findings"]}
    assert statuses["node.arch"] == "pass"
    assert statuses["node.bpffs.mounted"] == "unknown"
    assert "fail" not in statuses.values()


def test_hostile_values_are_shown_not_acted_on(tmp_path: Path) -> None:
    from tests.builders import Part

    evil = "6.1.0-\x1b]0;owned\x07[bold red]x[/]\x00\u202e\x9b31m"
    data = document({
        "hostname": Part(f"host{evil}\n"),
        "osrelease": Part(evil),
        "version": Part(f"Linux version {evil}"),
        "arch": Part(evil),
        "os-release": Part(f'ID="{evil}"\nPRETTY_NAME="{evil}"\n'),
        "lockdown": Part(f"[{evil}]"),
        "init": Part(evil),
    })  # fmt: skip
    for arguments in (("-v",), ("-f", "json"), ("-q",)):
        result = run("node", *arguments, **replayed(tmp_path, data))
        assert result.returncode == 3
        assert not set("\x1b\x07\x00\u202e\x9b") & set(result.stdout)
        assert "[bold red]x[/]" in result.stdout.replace("\n", "").replace(" ", "") or "[boldred]x[/]" in (
            result.stdout.replace("\n", "").replace(" ", "")
        )
        assert not result.stderr


def test_a_redacted_run_on_this_machine_says_the_same_and_names_nobody(tmp_path: Path) -> None:
    saved = tmp_path / "snapshot.json"
    plain, redacted = run("node", "-f", "json"), run("node", "--redact", "--save", str(saved), "-f", "json")
    assert redacted.returncode == plain.returncode
    before, after = json.loads(plain.stdout), json.loads(redacted.stdout)
    assert [(one["id"], one["status"]) for one in after["findings"]] == [
        (one["id"], one["status"]) for one in before["findings"]
    ]
    assert after["target"]["name"] == "node-1"
    assert {subject for one in after["findings"] for subject in one["subjects"]} == {"node-1"}
    shown = redacted.stdout + saved.read_text() + redacted.stderr
    name = before["target"]["name"]
    # A host may be called like its system, or by a word that is in every report.
    others = run("evaluate", DEBIAN, "-f", "json").stdout + Path(DEBIAN).read_text()
    if name not in others + Path("/proc/version").read_text() + Path("/etc/os-release").read_text():
        assert not re.search(rf"(?<![0-9A-Za-z]){re.escape(name)}(?![0-9A-Za-z])", shown)
    judged = json.loads(run("evaluate", str(saved), "-f", "json").stdout)
    assert judged["findings"] == after["findings"]


@pytest.mark.parametrize("format", ["table", "json"])
def test_what_is_redacted_is_in_no_document(tmp_path: Path, format: str) -> None:
    from tests.builders import Part

    saved, written = tmp_path / "snapshot.json", tmp_path / "report"
    secrets = ("zeus-7", "mallory", "192.168.1.10", "10.99.1.2", "525400abcdef")
    nic = "enx525400abcdef"
    data = document({
        "hostname": Part("zeus-7\n"),
        "link-mtus": Part(f"/sys/class/net/{nic}/mtu:1400\n"),
        "link-flags": Part(f"/sys/class/net/{nic}/flags:0x1003\n"),
        "link-types": Part(f"/sys/class/net/{nic}/type:1\n"),
        "routes": Part(f"{nic}\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"),
        "sysctl-files": Part("/etc/sysctl.d/zeus-7.conf:net.ipv4.conf.all.rp_filter=1\n"),
        "arch": Part(state="failed mallory@zeus-7 10.99.1.2"),
    })  # fmt: skip
    arguments = ("node", "-v", "-f", format, "-f", f"json={written}", "--save", str(saved))
    environment = replayed(tmp_path, data)
    for option in ((), ("--redact",)):
        result = run(*arguments, *option, **environment)
        assert result.returncode == 3
        shown = result.stdout + result.stderr + written.read_text() + saved.read_text()
        assert [secret for secret in secrets if secret in shown] == ([] if option else list(secrets))


def test_interrupting_it_is_130(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    environment = {**os.environ, **hostile(tmp_path, f": >{begun}\nsleep 60")}
    process = subprocess.Popen((str(PROGRAM), "node"), env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    while not begun.exists():
        time.sleep(0.05)
    process.send_signal(2)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == b"ebpfcheck: interrupted\n"


def test_interrupting_it_while_it_loads_is_130_too(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    (tmp_path / "typer.py").write_text(f"import time\nopen({str(begun)!r}, 'w').close()\ntime.sleep(60)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen((str(PROGRAM), "node"), env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    while not begun.exists():
        time.sleep(0.05)
    process.send_signal(2)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, b"ebpfcheck: interrupted\n")


def test_a_timeout_keeps_what_was_learned(tmp_path: Path) -> None:
    data = document(done=False)
    environment = replayed(tmp_path, data)
    shell = tmp_path / "sh"
    shell.write_text(shell.read_text() + "sleep 30\n")
    result = run("node", "--timeout", "1", "-f", "json", **environment)
    report = json.loads(result.stdout)
    assert [problem["reason"] for problem in report["problems"]] == ["timeout"]
    assert report["summary"]["pass"] > 5


def test_a_defect_gives_a_short_report(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import ebpfcheck.app\n"
        "def broken(*_): raise ZeroDivisionError('on\\x1b purpose')\n"
        "ebpfcheck.app.judge = broken\n"
    )
    result = run("evaluate", DEBIAN, PYTHONPATH=str(tmp_path))
    assert result.returncode == 70
    assert "ZeroDivisionError" in result.stderr
    assert "Traceback" not in result.stderr
    assert "\x1b" not in result.stderr
    assert "Traceback" in run("evaluate", DEBIAN, "-v", PYTHONPATH=str(tmp_path)).stderr
