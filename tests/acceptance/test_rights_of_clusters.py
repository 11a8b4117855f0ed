"""Each right of the role, taken away on each recorded cluster: findings turn unknown or stay what they are."""

import pytest

from ebpfcheck.app import running_version
from ebpfcheck.checks.builtin import BUILTIN
from ebpfcheck.collect.rights import RULES, Rule
from ebpfcheck.engine import judge
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import Known, Reason, Unknown
from ebpfcheck.model.snapshot import Snapshot
from ebpfcheck.versions import CalicoVersion
from tests.builders import FIXTURES
from tests.fakeapi import FakeApi, Request, Story
from tests.fakeapi.access import RequestInfo
from tests.stories import CLUSTERS, collected

Statuses = dict[tuple[str, str], set[str]]


def statuses(snapshot: Snapshot, version: CalicoVersion, install: str) -> Statuses:
    """The statuses of each address; a check may say several things of one node."""
    found: Statuses = {}
    for finding in judge(snapshot, BUILTIN, load_knowledge().at(version), install):  # type: ignore[arg-type]
        for subject in finding.subjects:
            found.setdefault((finding.id, subject), set()).add(finding.status.value)
    return found


def parts(rule: Rule) -> list[tuple[str, str]]:
    return [(rule.verb, f"{group}/{rule.resource}".lstrip("/")) for group in rule.groups]


def is_asked(request: Request, rule: Rule) -> bool:
    info = RequestInfo.parse(request.method, request.path)
    return (info.verb, info.resource) == (rule.verb, rule.resource) and info.group in rule.groups


def hidden(whole: Snapshot, less: Snapshot) -> list[str]:
    """The facts that are not known for want of a right."""
    before, after = whole.cluster or ClusterFacts(), less.cluster or ClusterFacts()
    facts = [(name, getattr(before, name), getattr(after, name)) for name in ClusterFacts.__struct_fields__]
    return [
        name
        for name, then, now in facts
        if not isinstance(then, Unknown) and isinstance(now, Unknown) and now.reason is Reason.FORBIDDEN
    ]


@pytest.mark.parametrize("name", CLUSTERS)
def test_what_may_not_be_read_is_never_better_nor_worse(name: str) -> None:
    with FakeApi(Story.load(FIXTURES / "api" / name)) as api:
        whole = collected(api, scan_pods=True)
        cluster = whole.cluster or ClusterFacts()
        # Where it cannot be told what runs, something else would be judged.
        version = running_version(cluster, load_knowledge()) or load_knowledge().newest
        install = cluster.install.value if isinstance(cluster.install, Known) else "unknown"
        before = statuses(whole, version, install)
        unlike: list[tuple[str, str, set[str], set[str]]] = []
        unknown = 0
        for rule in RULES:
            if rule.verb == "create":
                continue
            api.forbid = parts(rule)
            api.requests.clear()
            less = collected(api, scan_pods=True)
            if any(is_asked(one, rule) for one in api.requests):
                assert hidden(whole, less), f"{rule} is asked for, and no fact is unknown without it"
            after = statuses(less, version, install)
            for address, said in before.items():
                if address not in after:
                    # A node that is not listed has no findings; the report says that the list is not whole.
                    assert rule.resource == "nodes"
                    assert less.unseen
                elif after[address] != said:
                    # Of several things that are said of one node some may stay.
                    is_honest = "unknown" in after[address] and after[address] <= {*said, "unknown"}
                    unknown += is_honest
                    if not is_honest:
                        unlike.append((str(rule), address[0], said, after[address]))
    assert unlike == []
    # Each right is of use for something.
    assert unknown > 15


def test_each_right_is_taken_away_whole() -> None:
    assert len({part for rule in RULES for part in parts(rule)}) > 25
    assert parts(RULES[0]) == [("list", "nodes")]
