"""The formats for CI: what they look like, that the exit code is the same in all, and the files they go to."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from syrupy.assertion import SnapshotAssertion

from ebpfcheck import __version__, cli
from ebpfcheck.knowledge import KNOWLEDGE_DATE
from ebpfcheck.model.facts import Reason
from ebpfcheck.model.report import Coverage, Override, Remediation, Severity, Status
from ebpfcheck.model.snapshot import Problem, Unseen
from ebpfcheck.render import RENDERERS, RenderOptions, renderer
from tests.acceptance.command import PROGRAM, run
from tests.acceptance.test_output import TextFiles, story
from tests.reports import finding, report

MACHINE = [name for name in RENDERERS if name != "table"]
RHEL, TALOS, UBUNTU, DEBIAN = map(story, ("rhel-8.2-three-nodes", "talos", "ubuntu-20.04", "debian-12"))


@pytest.fixture
def golden(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(TextFiles)


def without_times(text: str) -> str:
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z| UTC)?", "NOW", text)
    text = text.replace(f'"{__version__}"', '"VERSION"').replace(f"ebpfcheck {__version__}", "ebpfcheck VERSION")
    return text.replace(KNOWLEDGE_DATE, "KNOWLEDGE")


@pytest.mark.parametrize("format", MACHINE)
@pytest.mark.parametrize(
    ("name", "only"),
    [
        ("rhel-8.2-three-nodes", "node.kernel.version,node.cgroup2,node.bpffs.mounted"),
        ("kubespray-ipvs", "cluster.kube-proxy.mode,node.kernel.btf,cluster.dsr"),
    ],
    ids=["nodes", "cluster"],
)
def test_documents(
    golden: SnapshotAssertion, capfd: pytest.CaptureFixture[str], name: str, only: str, format: str
) -> None:
    assert cli.run(["evaluate", story(name), "--calico-version", "v3.28.5", "--only", only, "-f", format]) == 1
    out, err = capfd.readouterr()
    assert not err
    assert out.isascii()
    assert without_times(out) == golden


@pytest.mark.parametrize("format", MACHINE)
def test_one_of_each_outcome(golden: SnapshotAssertion, format: str) -> None:
    fix = Remediation(text="Mend it.", commands=("mend --it", "see"), needs_reboot=True, disruptive=True)
    of = report(
        finding(Status.PASS, id="node.passes"),
        finding(Status.PASS, id="node.notes", note=True, severity=Severity.NOTE),
        finding(Status.WARN, id="node.warns", severity=Severity.DEGRADE, observed="1", required="2"),
        finding(Status.FAIL, id="node.fails", remediation=fix, subjects=("node-1", "node-2")),
        finding(Status.FAIL, id="node.fails", inferred_from=("node-1",), subjects=("node-3",)),
        finding(Status.FAIL, id="node.waived", waived_by="known since 2025 (ops, until 2027-01-01; waivers.toml:3)"),
        finding(Status.FAIL, id="node.known", in_baseline=True),
        finding(Status.WARN, id="node.expired", waiver_expired="for now (ops, until 2025-01-01; waivers.toml:9)"),
        finding(
            Status.WARN,
            id="node.lowered",
            severity=Severity.DEGRADE,
            overridden=Override(status=Status.FAIL, severity=Severity.BLOCKER, by="ebpfcheck.toml:4"),
        ),
        finding(Status.UNKNOWN, id="node.unknown", reason=Reason.FORBIDDEN),
        finding(Status.UNKNOWN, id="node.unsurveyed", reason=Reason.NOT_COLLECTED, needs_survey=True),
        finding(Status.NOT_APPLICABLE, id="cluster.not-here", scope="cluster", subjects=("cluster",)),
        coverage=Coverage(
            nodes_total=4,
            nodes_surveyed=3,
            unseen=(Unseen(name="node-4", reason=Reason.UNREACHABLE, detail="no route to host"),),
        ),
        problems=(Problem(source="plugin x", reason=Reason.UNSUPPORTED, detail="it does not load"),),
    )
    assert renderer(format)(of, RenderOptions()) == golden


@pytest.mark.parametrize("format", RENDERERS)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((DEBIAN,), 0),
        ((DEBIAN, "--fail-on", "warn"), 0),
        ((UBUNTU,), 0),
        ((UBUNTU, "--fail-on", "warn"), 4),
        ((UBUNTU, "--fail-on", "never"), 0),
        ((RHEL,), 1),
        ((RHEL, "--fail-on", "warn"), 1),
        ((RHEL, "--fail-on", "never"), 0),
        ((TALOS,), 3),
        ((TALOS, "--fail-on", "warn"), 3),
        ((TALOS, "--fail-on", "never"), 0),
        ((story("kubespray-ipvs"),), 1),
        ((story("green"),), 3),
        ((story("green"), "--scope", "api"), 0),
    ],
)
def test_the_exit_code_is_the_same_in_every_format(
    capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, format: str
) -> None:
    assert cli.run(["evaluate", *arguments, "-f", format]) == code
    out, err = capfd.readouterr()
    assert out.endswith("\n")
    assert not err


def test_several_at_once_say_the_same(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in RENDERERS}
    result = run("evaluate", TALOS, *(word for name, file in files.items() for word in ("-f", f"{name}={file}")))
    assert (result.returncode, result.stdout, result.stderr) == (3, "", "")
    texts = {name: file.read_text() for name, file in files.items()}
    assert texts["table"].startswith("INCONCLUSIVE")
    assert json.loads(texts["json"])["verdict"] == "inconclusive"
    assert {json.loads(line)["report"]["verdict"] for line in texts["jsonl"].splitlines()} == {"inconclusive"}
    assert "INCONCLUSIVE: talos" in texts["junit"]
    assert json.loads(texts["sarif"])["runs"][0]["properties"]["verdict"] == "inconclusive"
    assert json.loads(texts["sarif"])["runs"][0]["invocations"][0]["exitCode"] == 3
    assert texts["markdown"].startswith("## ebpfcheck: INCONCLUSIVE\n")
    assert texts["github"].startswith("::error title=ebpfcheck::INCONCLUSIVE:")
    assert '<h1 class="inconclusive">INCONCLUSIVE</h1>' in texts["html"]
    assert len(list(tmp_path.iterdir())) == len(files)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-f", "sarif", "-f", "junit"), "only one --format can go to stdout"),
        (("-f", "xml"), "there is no format 'xml'; choose from table, json, jsonl, junit,"),
        (("-f", "junit="), "a file name must follow the ="),
        (("-f", "junit=/no/such/directory/x.xml"), "there is no directory /no/such/directory"),
        (("-f", "junit=/"), "/ is a directory"),
        (("-f", "junit=x.xml", "-f", "sarif=./x.xml"), "two documents cannot go to the same file"),
        (("-f", f"html=/{'x' * 300}"), "File name too long"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_looked_at(arguments: tuple[str, ...], words: str) -> None:
    result = run("evaluate", "no-such-snapshot", *arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_file_that_may_not_be_written_is_told_of_before(tmp_path: Path) -> None:
    (tmp_path / "sealed").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "sealed").chmod(0o555)
    (tmp_path / "file").chmod(0o444)
    tmp_path.chmod(0o755)
    demoted = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    # pytest's own directories are for nobody else.
    for folder in tmp_path.parents:
        if folder.is_relative_to("/tmp/") and folder != Path("/tmp"):
            folder.chmod(0o755)
    for file in ("sealed/new", "file"):
        command = (*demoted, str(PROGRAM), "evaluate", "no-such-snapshot", "-f", f"junit={tmp_path / file}")
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert result.stderr == f"ebpfcheck: --format: {tmp_path / file} cannot be written: Permission denied\n"
        assert result.returncode == 2


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    kept = small / "report.html"
    script = (
        'mount -t tmpfs -o size=16k tmpfs "$1" && echo old > "$1/report.html" &&\n'
        '{ "$2" evaluate "$3" -f table -f html="$1/report.html" -f json="$4" >"$5" 2>&1; echo $?; cat "$1/report.html";'
        ' ls -A "$1"; }'
    )
    result = subprocess.run(
        ("unshare", "--mount", "sh", "-c", script, "sh", small, PROGRAM, RHEL, tmp_path / "json", tmp_path / "out"),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.stdout == "2\nold\nreport.html\n", result.stderr
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines[0].startswith("NOT READY")
    assert lines[-1] == f"ebpfcheck: --format: {kept} cannot be written: No space left on device"
    # The others are there all the same.
    assert json.loads((tmp_path / "json").read_text())["exit_code"] == 1


def test_files_keep_their_modes_and_links_stay_links(tmp_path: Path) -> None:
    real, link, new = tmp_path / "real", tmp_path / "link", tmp_path / "new"
    real.write_text("")
    real.chmod(0o640)
    link.symlink_to(real)
    mask = os.umask(0o027)
    try:
        result = run("evaluate", DEBIAN, "-f", f"junit={link}", "-f", f"sarif={new}", "-f", "json=/dev/stdout")
    finally:
        os.umask(mask)
    assert result.returncode == 0, result.stderr
    assert link.is_symlink()
    assert ElementTree.fromstring(real.read_text()).tag == "testsuites"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert stat.S_IMODE(new.stat().st_mode) == 0o640
    assert json.loads(result.stdout)["exit_code"] == 0


def test_the_summary_of_a_job_is_appended_to(tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    summary.write_text("of another step\n")
    result = run("evaluate", RHEL, "-f", "github", GITHUB_STEP_SUMMARY=str(summary))
    assert result.returncode == 1
    assert all(line.startswith("::") for line in result.stdout.splitlines())
    text = summary.read_text()
    assert text.startswith("of another step\n## ebpfcheck: NOT READY\n")
    assert text.removeprefix("of another step\n") == run("evaluate", RHEL, "-f", "markdown").stdout
    # Nobody asked for it.
    run("evaluate", RHEL, "-f", "json", GITHUB_STEP_SUMMARY=str(summary))
    assert summary.read_text() == text
    # GitHub takes 1 MiB.
    summary.write_text("x" * ((1 << 20) - 1000))
    assert run("evaluate", RHEL, "-f", "github", GITHUB_STEP_SUMMARY=str(summary)).returncode == 1
    assert summary.stat().st_size <= 1 << 20
    assert summary.read_text().endswith("The report is left out, as it does not fit here.\n")


def test_a_summary_that_cannot_be_written_loses_nothing_else() -> None:
    result = run("evaluate", RHEL, "-f", "github", GITHUB_STEP_SUMMARY="/dev/full")
    assert result.returncode == 2
    assert result.stdout.startswith("::error title=ebpfcheck::NOT READY")
    assert result.stderr == "ebpfcheck: GITHUB_STEP_SUMMARY: /dev/full cannot be written: No space left on device\n"
    # Where that is known beforehand, nothing is looked at.
    result = run("evaluate", "no-such-snapshot", "-f", "github", GITHUB_STEP_SUMMARY="/no/such/file")
    assert result.returncode == 2
    assert result.stderr == "ebpfcheck: GITHUB_STEP_SUMMARY: /no/such/file: there is no directory /no/such\n"


def test_a_snapshot_is_saved_whatever_becomes_of_the_documents(tmp_path: Path) -> None:
    saved = tmp_path / "snapshot.json"
    result = run("node", "-f", "junit=/dev/full", "--save", str(saved))
    assert result.returncode == 2
    assert "/dev/full cannot be written" in result.stderr
    assert run("evaluate", str(saved)).returncode in (0, 1, 3)


def test_formats_are_loaded_when_they_are_asked_for() -> None:
    code = "import sys; from ebpfcheck.cli import run; run(sys.argv[1:]); sys.stderr.write(' '.join(sys.modules))"
    program = PROGRAM.with_name("python")

    def loaded(format: str) -> set[str]:
        command = (str(program), "-c", code, "evaluate", DEBIAN, "-f", format)
        return set(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stderr.split())

    lazy = {"junitparser", "html", *(f"ebpfcheck.render.{name}" for name in RENDERERS)}
    assert loaded("sarif") & lazy == {"ebpfcheck.render.sarif"}
    assert loaded("junit") & lazy >= {"junitparser", "ebpfcheck.render.junit"}
