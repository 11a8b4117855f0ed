"""The recorded stories, judged as a user would judge them, for several Calico releases."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import run
from tests.builders import FIXTURES

STORIES = sorted((FIXTURES / "snapshots").iterdir())
CASES = [
    pytest.param(story / "snapshot.json", verdict, id=f"{story.name}-{verdict['calico']}-{verdict['install']}")
    for story in STORIES
    for verdict in json.loads((story / "expected.json").read_text())["verdicts"]
]


@pytest.mark.parametrize(("snapshot", "expected"), CASES)
def test_a_story_gives_the_findings_it_must_and_no_others(snapshot: Path, expected: dict[str, Any]) -> None:
    install = [] if expected["install"] == "unknown" else ["--install", expected["install"]]
    result = run("evaluate", str(snapshot), "--calico-version", expected["calico"], "-f", "json", *install)
    report = json.loads(result.stdout)
    # A check has several findings of one status where nodes differ in why.
    spoken: dict[str, list[str]] = {}
    for finding in report["findings"]:
        if finding["status"] not in ("pass", "not_applicable"):
            spoken.setdefault(f"{finding['id']} {finding['status']}", []).extend(finding["subjects"])
    assert spoken == expected["findings"]
    assert (report["verdict"], result.returncode) == (expected["verdict"], expected["exit_code"])
    assert report["exit_code"] == result.returncode
    assert not result.stderr


@pytest.mark.parametrize("story", STORIES, ids=[story.name for story in STORIES])
def test_each_story_says_what_happened(story: Path) -> None:
    expected = json.loads((story / "expected.json").read_text())
    assert len(expected["story"]) > 80
    assert {verdict["calico"] for verdict in expected["verdicts"]} >= {"v3.16", "v3.32.1"}


def test_each_recorded_survey_belongs_to_a_story() -> None:
    from ebpfcheck.model.codec import decode_snapshot

    told = {
        node.identity.name
        for story in STORIES
        for node in decode_snapshot((story / "snapshot.json").read_bytes()).nodes
    }
    recorded = list((FIXTURES / "nodes").glob("*.survey"))
    assert len(recorded) >= 15
    for path in recorded:
        name = re.search(r" begin hostname \S+\n(\S+)\n", path.read_bytes().decode("utf-8", "replace"))
        assert name is not None, path.name
        assert name[1] in told, path.name


def test_the_snapshots_are_what_the_recorded_surveys_say() -> None:
    from ebpfcheck.collect.node import node_facts
    from ebpfcheck.collect.transport import Survey
    from ebpfcheck.model.codec import decode_snapshot
    from ebpfcheck.model.facts import SourceKind
    from ebpfcheck.model.snapshot import SourceIndex

    recorded = {
        facts.identity.name: facts.kind
        for path in (FIXTURES / "nodes").glob("*.survey")
        for facts, _ in [node_facts(Survey(data=path.read_bytes(), nonce="fixture"), SourceKind.LOCAL, SourceIndex())]
    }
    for story in STORIES:
        snapshot = decode_snapshot((story / "snapshot.json").read_bytes())
        for node in snapshot.nodes:
            kind = recorded.get(node.identity.name)
            if kind is not None:
                for field in kind.__struct_fields__:
                    ours, theirs = getattr(snapshot.kinds[node.kind], field), getattr(kind, field)
                    assert type(ours) is type(theirs), (story.name, field)
                    assert getattr(ours, "value", None) == getattr(theirs, "value", None), (story.name, field)
