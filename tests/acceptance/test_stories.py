"""The recorded stories, judged as a user would judge them, for several Calico releases."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import API_FACTS, NodeKind
from ebpfcheck.model.snapshot import Snapshot
from tests.acceptance.command import run
from tests.builders import FIXTURES
from tests.stories import CLUSTERS, SURVEYED, seen, surveyed

STORIES = sorted((FIXTURES / "snapshots").iterdir())
CASES = [
    pytest.param(
        story / "snapshot.json",
        verdict,
        id=f"{story.name}-{verdict['calico'] or 'own'}-{verdict['install']}-{verdict.get('scope', 'nodes')}",
    )
    for story in STORIES
    for verdict in json.loads((story / "expected.json").read_text())["verdicts"]
]


@pytest.mark.parametrize(("snapshot", "expected"), CASES)
def test_a_story_gives_the_findings_it_must_and_no_others(snapshot: Path, expected: dict[str, Any]) -> None:
    options = [] if expected["install"] == "unknown" else ["--install", expected["install"]]
    # A cluster is judged for the release that it runs, too.
    options += ["--calico-version", expected["calico"]] if expected["calico"] else []
    options += ["--scope", expected["scope"]] if "scope" in expected else []
    result = run("evaluate", str(snapshot), "-f", "json", *options)
    report = json.loads(result.stdout)
    # A check has several findings of one status where nodes differ in why.
    spoken: dict[str, list[str]] = {}
    for finding in report["findings"]:
        if finding["needs_survey"]:
            assert (finding["status"], finding["reason"]) == ("unknown", "not_collected")
        elif finding["status"] not in ("pass", "not_applicable"):
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
        if node.surveyed
    }
    recorded = list((FIXTURES / "nodes").glob("*.survey"))
    assert len(recorded) >= 15
    for path in recorded:
        name = re.search(r" begin hostname \S+\n(\S+)\n", path.read_bytes().decode("utf-8", "replace"))
        assert name is not None, path.name
        assert name[1] in told, path.name


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_snapshot_of_a_cluster_is_what_its_api_says(name: str) -> None:
    from ebpfcheck.model.codec import decode_snapshot

    recorded = decode_snapshot((FIXTURES / "snapshots" / name / "snapshot.json").read_bytes())
    now = seen(name)
    assert named(now) == named(recorded), "run `make stories`"
    assert now.unseen == recorded.unseen == ()
    assert now.problems == recorded.problems == ()


def named(snapshot: Snapshot) -> dict[str, Any]:
    """Return what is known, each fact with the place that it comes from: the order of sources hangs on time."""

    def told(holder: ClusterFacts | NodeKind) -> dict[str, Any]:
        facts = {name: getattr(holder, name) for name in holder.__struct_fields__}
        return {
            name: (
                fact
                if fact.source is None
                else (snapshot.sources[fact.source].locator, fact.__class__, getattr(fact, "value", None))
            )
            for name, fact in facts.items()
        }

    assert snapshot.cluster is not None
    return {
        "cluster": told(snapshot.cluster),
        "nodes": [(node.identity, told(snapshot.kinds[node.kind])) for node in snapshot.nodes],
    }


@pytest.mark.parametrize("name", SURVEYED)
def test_a_cluster_with_its_nodes_is_both_together(name: str) -> None:
    from ebpfcheck.model.codec import decode_snapshot

    def recorded(story: str) -> Snapshot:
        return decode_snapshot((FIXTURES / "snapshots" / story / "snapshot.json").read_bytes())

    cluster, surveys = SURVEYED[name]
    assert named(surveyed(recorded(cluster), surveys)) == named(recorded(name)), "run `make stories`"


# Of what the API gives, what a survey tells too.
SEEN_ON_NODES = {"kernel_release", "arch"}


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
            kind = recorded.get(node.identity.name) if node.surveyed else None
            if kind is not None:
                # What the API adds has no say here.
                told = [field for field in kind.__struct_fields__ if field not in API_FACTS - SEEN_ON_NODES]
                for field in told:
                    ours, theirs = getattr(snapshot.kinds[node.kind], field), getattr(kind, field)
                    assert type(ours) is type(theirs), (story.name, field)
                    assert getattr(ours, "value", None) == getattr(theirs, "value", None), (story.name, field)
