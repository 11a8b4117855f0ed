"""Promises that hold the house together: the law, the pages, the schemas, the start-up, the knowledge."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ebpfcheck.checks.builtin import BUILTIN
from ebpfcheck.checks.builtin_verify import VERIFY_CHECKS
from ebpfcheck.engine import judge
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.codec import decode_snapshot, schema_of
from ebpfcheck.model.facts import Dataplane, Install, NodeKind
from ebpfcheck.model.report import Severity, Status
from tests.acceptance.command import run
from tests.builders import ROOT, cluster_snapshot, facts, judged, judged_cluster, snapshot
from tests.stories import CLUSTERS

PAGES = ROOT / "docs" / "checks"
ALL = (*BUILTIN, *VERIFY_CHECKS)
DATAPLANES: tuple[Dataplane, ...] = ("bpf", "iptables", "nftables")
HEADINGS = [
    "## What it looks at",
    "## Why it matters",
    "## How it is decided",
    "## How to fix it",
    "## Sources",
]


def test_the_law_holds() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run((str(program), "--no-cache"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_each_check_has_a_page_and_each_page_a_check() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == {check.id for check in ALL}
    assert len({check.id for check in ALL}) == len(ALL)


@pytest.mark.parametrize("check", ALL, ids=[check.id for check in ALL])
def test_each_page_says_what_a_page_must(check: object) -> None:
    text = (PAGES / f"{check.id}.md").read_text()  # type: ignore[attr-defined]
    assert text.startswith(f"# {check.id}: {check.title}\n")  # type: ignore[attr-defined]
    assert [line for line in text.splitlines() if line.startswith("## ")] == HEADINGS
    assert re.search(r"^- https://", text.partition("## Sources")[2], re.MULTILINE)
    assert text.isascii()


@pytest.mark.parametrize("document", ["report", "snapshot", "kernel", "plan", "diff", "matrix"])
def test_the_published_schemas_are_those_of_the_types(document: str) -> None:
    published = json.loads((ROOT / "ebpfcheck" / "schema" / f"{document}.json").read_text())
    assert published == json.loads(json.dumps(schema_of(document))), "run `make schema`"


def modules_after(*arguments: str) -> set[str]:
    code = (
        "import sys; sys.argv = ['ebpfcheck', *sys.argv[1:]]\n"
        "from ebpfcheck.__main__ import main\n"
        "main()\n"
        "sys.stderr.write('\\n'.join(sys.modules))"
    )
    result = subprocess.run((sys.executable, "-c", code, *arguments), capture_output=True, text=True, check=False)
    return set(result.stderr.split("\n"))


def test_help_loads_no_more_than_it_must() -> None:
    loaded = modules_after("--help")
    assert "typer" in loaded
    assert not loaded & {"kubernetes", "pydantic", "aiohttp", "rich.table", "msgspec", "packaging", "psutil", "distro"}


def test_version_loads_next_to_nothing() -> None:
    loaded = modules_after("--version")
    assert "ebpfcheck" in loaded
    assert not loaded & {"typer", "click", "msgspec", "tomllib", "ebpfcheck.cli"}


def test_json_needs_no_table() -> None:
    snapshot = ROOT / "fixtures" / "snapshots" / "debian-12" / "snapshot.json"
    assert not modules_after("evaluate", str(snapshot), "-f", "json") & {"rich", "rich.table", "kubernetes", "pydantic"}


@pytest.mark.parametrize("minor", load_knowledge().minors(), ids=str)
def test_knowledge_covers_each_release_without_gaps(minor: object) -> None:
    release = load_knowledge().at(minor)  # type: ignore[arg-type]
    tables = load_knowledge()
    for entries in (tables.kernel.gate, tables.kernel.documented, tables.node.arch):
        assert sum(release.version.within(entry.releases) is True for entry in entries) == 1
    for install in ("operator", "manifest"):
        assert release.bpffs_mounters[install]


def test_every_entry_of_the_knowledge_names_its_source() -> None:
    sourceless = (
        "enterprise_linux",
        "architectures",
        "series.released",
        "data_iface.pattern",
        "mtu.pattern",
        "modules.need",
    )
    for path in (ROOT / "ebpfcheck" / "knowledge").glob("*.toml"):
        for block in re.split(r"^\[\[?", path.read_text(), flags=re.MULTILINE)[1:]:
            assert "https://" in block or block.startswith(sourceless), (path.name, block)


def test_no_version_of_calico_or_of_a_kernel_hides_in_the_checks() -> None:
    for path in (ROOT / "ebpfcheck" / "checks").glob("*.py"):
        found = re.findall(r"v3\.\d+|\b[3-7]\.\d{1,2}(?:\.\d+)?\b", path.read_text())
        assert not found, (path.name, found)


def test_no_check_fails_at_a_release_where_it_says_it_cannot() -> None:
    looks = [snapshot(facts().kind), snapshot(NodeKind())]
    looks += [decode_snapshot((ROOT / "fixtures/snapshots" / name / "snapshot.json").read_bytes()) for name in CLUSTERS]
    for minor in load_knowledge().minors():
        for look in looks:
            checks = [check for check in BUILTIN if look.cluster or check.scope == "node"]
            for finding in judge(look, checks, load_knowledge().at(minor), "unknown"):
                assert "The check itself failed" not in finding.message, finding.message
                assert finding.status is not Status.FAIL or finding.severity is Severity.BLOCKER
            for expect in DATAPLANES if look.cluster else ():
                for finding in judge(look, VERIFY_CHECKS, load_knowledge().at(minor), "unknown", expect):
                    assert "The check itself failed" not in finding.message, finding.message
                    assert finding.status is not Status.FAIL or finding.severity is Severity.BLOCKER


@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_means_nothing_passes_and_nothing_fails(install: Install) -> None:
    for minor in load_knowledge().minors():
        for check in BUILTIN:
            if check.scope == "cluster":
                finding = judged_cluster(check, version=str(minor), install=install)
            else:
                finding = judged(check, NodeKind(), str(minor), install)
            assert finding.status in (Status.UNKNOWN, Status.NOT_APPLICABLE), (check.id, minor)
        for expect in DATAPLANES:
            nothing = cluster_snapshot(ClusterFacts(), NodeKind())
            for finding in judge(nothing, VERIFY_CHECKS, load_knowledge().at(minor), install, expect):
                assert finding.status in (Status.UNKNOWN, Status.NOT_APPLICABLE), (finding.id, minor)


def test_the_readme_shows_both_commands_and_lists_every_exit_code() -> None:
    text = (ROOT / "README.md").read_text()
    assert "make demo" in text
    assert "make test" in text
    from ebpfcheck.exitcodes import ExitCode

    for code in ExitCode:
        assert re.search(rf"^\| {code.value} \|", text, re.MULTILINE), code


def test_the_screen_in_the_readme_is_real() -> None:
    text = (ROOT / "README.md").read_text()
    command, _, rest = text.partition("    $ ebpfcheck ")[2].partition("\n")
    shown = "\n".join(line.removeprefix("    ") for line in rest.partition("\n## ")[0].splitlines())
    arguments = [str(ROOT / word) if "/" in word else word for word in command.split()]
    assert run(*arguments).stdout.strip() == shown.strip()


def test_workflows_pin_their_actions_and_ask_for_little() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text()
        uses = re.findall(r"uses: (\S+)", text)
        assert uses
        others = [use for use in uses if not use.startswith("./")]
        assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", use) for use in others), path.name
        assert "permissions:" in text
