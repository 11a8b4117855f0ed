"""Nodes alike: which are, which of them to look at, and what those tell about the others."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from ebpfcheck.collect import wire
from ebpfcheck.collect.api_nodes import NodeReader
from ebpfcheck.collect.cohorts import Cohort, choose, cohorts, unprobeable, with_surveys
from ebpfcheck.model.codec import decode_snapshot, encode_snapshot
from ebpfcheck.model.facts import (
    NOT_COLLECTED,
    NOT_SURVEYED,
    Absent,
    FelixSettings,
    Known,
    NodeFacts,
    NodeIdentity,
    NodeKind,
    Reason,
    Source,
    SourceKind,
    Unknown,
)
from ebpfcheck.model.snapshot import NodeTraits, Snapshot, SourceIndex
from tests.builders import FIXTURES, kind, snapshot
from tests.fakeapi import FakeApi, Story
from tests.stories import CLUSTERS, collected

API = Source(kind=SourceKind.API, locator="/api/v1/nodes")
INFO = {
    "kernelVersion": "6.1.0-29-amd64",
    "architecture": "amd64",
    "operatingSystem": "linux",
    "osImage": "Debian GNU/Linux 12 (bookworm)",
    "kubeletVersion": "v1.33.4",
    "containerRuntimeVersion": "containerd://1.7.22",
}
ZONE = "topology.kubernetes.io/zone"


def node(
    name: str, labels: Mapping[str, str] | None = None, info: Mapping[str, str] | None = None, ready: str | None = None
) -> wire.Node:
    item: dict[str, Any] = {
        "metadata": {"name": name, "labels": dict(labels or {})},
        "status": {"nodeInfo": {**INFO, **(info or {})}, "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}]},
    }
    if ready is not None:
        item["status"]["conditions"] = [{"type": "DiskPressure", "status": "True"}, {"type": "Ready", "status": ready}]
    return msgspec.json.decode(msgspec.json.encode(item), type=wire.Node)


def listed(*nodes: wire.Node, felix_of: dict[str, FelixSettings] | None = None) -> Snapshot:
    reader = NodeReader()
    rows = [reader.row(one) for one in nodes]
    kinds, found = reader.fold(rows, Known(value=FelixSettings(), source=0), felix_of or {}, 0)
    return msgspec.structs.replace(snapshot(), sources=(API,), kinds=kinds, traits=reader.traits(), nodes=found)


def members(one: Snapshot) -> list[tuple[str, ...]]:
    return [tuple(one.nodes[index].identity.name for index in cohort.members) for cohort in cohorts(one)]


@pytest.mark.parametrize(
    ("labels", "traits"),
    [
        ({}, NodeTraits()),
        ({"node.kubernetes.io/instance-type": "m5.large"}, NodeTraits(instance_type="m5.large")),
        ({"beta.kubernetes.io/instance-type": "m5.large"}, NodeTraits(instance_type="m5.large")),
        ({"cloud.google.com/gke-nodepool": "a"}, NodeTraits(pool="a")),
        ({"alpha.eksctl.io/nodegroup-name": "b", "eks.amazonaws.com/nodegroup": "a"}, NodeTraits(pool="a")),
        ({"karpenter.sh/nodepool": "a"}, NodeTraits(pool="a")),
        ({"agentpool": "a"}, NodeTraits(pool="a")),
        ({"kubernetes.azure.com/agentpool": "a"}, NodeTraits(pool="a")),
        ({"kops.k8s.io/instancegroup": "a"}, NodeTraits(pool="a")),
        ({ZONE: "z", "failure-domain.beta.kubernetes.io/zone": "old"}, NodeTraits(zone="z")),
        ({"failure-domain.beta.kubernetes.io/zone": "z"}, NodeTraits(zone="z")),
        ({"node-role.kubernetes.io/control-plane": ""}, NodeTraits(role="control-plane")),
        ({"node-role.kubernetes.io/master": ""}, NodeTraits(role="control-plane")),
        ({"node-role.kubernetes.io/worker": ""}, NodeTraits()),
    ],
)
def test_labels_tell_what_a_machine_was_made_for(labels: dict[str, str], traits: NodeTraits) -> None:
    one = listed(node("a", labels))
    assert [one.traits[found.traits or 0] for found in one.nodes] == [traits]


@pytest.mark.parametrize(("ready", "expected"), [("True", True), ("False", False), ("Unknown", False), (None, None)])
def test_kubelet_tells_whether_a_node_is_ready(ready: str | None, expected: bool | None) -> None:
    (traits,) = listed(node("a", ready=ready)).traits
    assert traits.is_ready is expected


def test_traits_are_held_once() -> None:
    one = listed(*(node(f"n{number}", {ZONE: f"z{number % 3}"}) for number in range(30)))
    assert len(one.traits) == 3
    assert decode_snapshot(encode_snapshot(one)) == one


@pytest.mark.parametrize(
    ("labels", "info"),
    [
        ({}, {"kernelVersion": "6.1.0-30-amd64"}),
        ({}, {"osImage": "Debian GNU/Linux 13"}),
        ({}, {"architecture": "arm64"}),
        ({}, {"containerRuntimeVersion": "cri-o://1.30"}),
        ({}, {"kubeletVersion": "v1.33.5"}),
        ({"node.kubernetes.io/instance-type": "m5.large"}, {}),
        ({"karpenter.sh/nodepool": "b"}, {}),
        ({"node-role.kubernetes.io/control-plane": ""}, {}),
    ],
)
def test_what_tells_nodes_apart_makes_cohorts(labels: dict[str, str], info: dict[str, str]) -> None:
    same = node("same", {ZONE: "elsewhere", "kubernetes.io/hostname": "same"}, ready="True")
    one = listed(node("first"), node("other", labels, info), same)
    assert members(one) == [("first", "same"), ("other",)]


def test_settings_of_felix_make_no_cohorts() -> None:
    one = listed(node("a"), node("b"), felix_of={"b": FelixSettings(bpf_enabled=True)})
    assert len(one.kinds) == 2
    assert members(one) == [("a", "b")]


@pytest.mark.parametrize("what", INFO)
def test_what_the_api_leaves_open_is_alike_to_nothing(what: str) -> None:
    assert members(listed(node("a", {}, {what: ""}), node("b", {}, {what: ""}))) == [("a",), ("b",)]


def test_what_cannot_be_looked_at_is_in_no_cohort() -> None:
    one = listed(
        node("linux"),
        node("win", {}, {"operatingSystem": "windows"}),
        node("virtual", {"type": "virtual-kubelet"}),
        node("fargate", {"eks.amazonaws.com/compute-type": "fargate"}),
        node("auto", {"eks.amazonaws.com/compute-type": "auto"}),
    )
    assert members(one) == [("linux", "auto")]
    unseen = unprobeable(one)
    assert [(entry.name, entry.reason) for entry in unseen] == [
        (name, Reason.UNSUPPORTED) for name in ("win", "virtual", "fargate")
    ]
    assert len({entry.detail for entry in unseen}) == 3


@pytest.mark.parametrize("name", CLUSTERS)
def test_each_node_of_a_recorded_cluster_is_in_one_cohort_or_cannot_be_looked_at(name: str) -> None:
    with FakeApi(Story.load(FIXTURES / "api" / name)) as api:
        one = collected(api)
    names = [name for cohort in members(one) for name in cohort] + [entry.name for entry in unprobeable(one)]
    assert sorted(names) == sorted(found.identity.name for found in one.nodes)
    assert all(traits.is_ready is not None for traits in one.traits)
    assert all(len({one.traits[one.nodes[i].traits or 0].role for i in c.members}) == 1 for c in cohorts(one))


def cohort(*nodes: tuple[str, bool | None]) -> Cohort:
    return Cohort(
        members=tuple(range(10, 10 + len(nodes))),
        zones=tuple(zone for zone, _ in nodes),
        ready=tuple(ready for _, ready in nodes),
    )


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([("", None)], (10,)),
        ([("", None)] * 2, (10, 11)),
        ([("", None)] * 9, (10, 18, 14)),
        ([("a", True), ("a", True), ("b", True), ("c", True)], (10, 12, 13)),
        ([("a", True), ("a", True), ("a", True), ("b", True)], (10, 13, 12)),
        ([("a", False), ("b", True), ("b", True), ("c", None)], (11, 12, 13)),
        ([("a", False), ("b", False)], (10, 11)),
        ([(zone, True) for zone in "abcdef"], (10, 11, 12)),
    ],
)
def test_samples_are_ready_and_from_all_over(nodes: list[tuple[str, bool | None]], expected: tuple[int, ...]) -> None:
    one = cohort(*nodes)
    assert choose(one) == expected
    everyone = choose(one, len(nodes))
    assert sorted(everyone) == list(one.members)
    assert all(choose(one, count) == everyone[:count] for count in range(len(nodes)))


def survey(sources: SourceIndex, name: str = "host", **facts: Any) -> NodeFacts:
    """What a survey told that gives these facts and nothing else."""
    source = sources.add(Source(kind=SourceKind.EXEC, locator="survey"))
    known = {
        field: fact if isinstance(fact, Unknown) else Known(value=fact, source=source) for field, fact in facts.items()
    }
    return NodeFacts(identity=NodeIdentity(name=name, addresses=(("eth0", "10.0.0.9/24"),)), kind=kind(**known))


def merged(one: Snapshot, *surveys: tuple[int, dict[str, Any]]) -> Snapshot:
    sources = SourceIndex.of(one.sources)
    found = with_surveys(one, {index: survey(sources, **facts) for index, facts in surveys}, cohorts(one), sources)
    assert decode_snapshot(encode_snapshot(found)) == found
    return found


def value(fact: Any) -> Any:
    return fact.value if isinstance(fact, Known) else type(fact)


def inferred_kinds(one: Snapshot, index: int) -> list[NodeKind]:
    inference = one.nodes[index].inference
    assert inference is not None
    return [one.kinds[found] for found in one.inferences[inference].kinds]


def test_a_surveyed_node_is_what_the_survey_says_and_what_only_the_api_knows() -> None:
    found = merged(listed(node("a")), (0, {"name": "a.example.com", "arch": "x86_64", "init": "systemd"}))
    (one,) = found.nodes
    assert (one.surveyed, one.inference, one.traits) == (True, None, 0)
    assert one.identity == NodeIdentity(name="a", addresses=(("eth0", "10.0.0.9/24"),), node_ips=("10.0.0.9",)), (
        "the API's name and the survey's addresses"
    )
    facts = found.kinds[one.kind]
    assert (value(facts.arch), value(facts.init)) == ("x86_64", "systemd")
    assert (value(facts.kernel_release), value(facts.os_image)) == (INFO["kernelVersion"], INFO["osImage"])
    assert facts.vmlinux_btf == NOT_COLLECTED, "what the survey did not find is not what nobody looked for"
    assert NOT_SURVEYED not in [getattr(facts, name) for name in facts.__struct_fields__]
    assert found.sources == (API, Source(kind=SourceKind.EXEC, locator="survey"))
    assert isinstance(facts.init, Known)
    assert found.sources[facts.init.source].kind is SourceKind.EXEC


def test_where_a_survey_could_not_tell_the_api_does() -> None:
    failed = Unknown(reason=Reason.TIMEOUT, detail="too slow")
    found = merged(listed(node("a")), (0, {"kernel_release": failed, "init": failed}))
    facts = found.kinds[found.nodes[0].kind]
    assert value(facts.kernel_release) == INFO["kernelVersion"]
    assert facts.init == failed


def test_nodes_alike_are_what_the_samples_show_but_for_what_the_api_says_of_themselves() -> None:
    felix_of = {"c": FelixSettings(mtu_iface_pattern="x")}
    one = listed(node("a"), node("b"), node("c"), node("d", {}, {"kubeletVersion": "v1.30"}), felix_of=felix_of)
    found = merged(one, (1, {"arch": "x86_64", "init": "systemd", "kernel_release": INFO["kernelVersion"]}))
    assert [entry.surveyed for entry in found.nodes] == [False, True, False, False]
    assert [entry.inference is not None for entry in found.nodes] == [True, False, True, False]
    assert all(inference.samples == (1,) for inference in found.inferences)
    (like_a,), (like_c,) = inferred_kinds(found, 0), inferred_kinds(found, 2)
    assert (value(like_a.arch), value(like_a.init), value(like_a.max_pods)) == ("amd64", "systemd", Absent)
    assert value(like_a.felix) == FelixSettings()
    assert value(like_c.felix) == FelixSettings(mtu_iface_pattern="x")
    shown = found.kinds[found.nodes[0].kind]
    assert (shown.init, value(shown.arch)) == (NOT_SURVEYED, "amd64"), "its own kind is what the API says"


def test_the_settings_of_felix_are_never_those_of_a_sample() -> None:
    one = listed(node("a"), node("b"))
    unknown = Unknown(reason=Reason.FORBIDDEN, detail="no")
    one = msgspec.structs.replace(one, kinds=(msgspec.structs.replace(one.kinds[0], felix=unknown),))
    found = merged(one, (0, {"felix": FelixSettings(bpf_enabled=True)}))
    assert [facts.felix for facts in found.kinds] == [unknown] * len(found.kinds)


def test_what_the_api_leaves_open_of_a_node_is_taken_from_the_sample() -> None:
    one = listed(node("a", {}, {"kernelVersion": ""}), node("b", {}, {"kernelVersion": ""}))
    together = Cohort(members=(0, 1), zones=("", ""), ready=(None, None))
    sources = SourceIndex.of(one.sources)
    found = with_surveys(one, {0: survey(sources, kernel_release="6.1", max_pods=5)}, (together,), sources)
    (facts,) = inferred_kinds(found, 1)
    assert (value(facts.kernel_release), value(facts.max_pods)) == ("6.1", 5)


def test_samples_of_one_kind_make_one() -> None:
    one = listed(*(node(name) for name in "abcde"))
    found = merged(one, (0, {"init": "systemd"}), (2, {"init": "runit"}), (4, {"init": "systemd"}))
    (inference,) = found.inferences
    assert inference.samples == (0, 2, 4)
    assert [value(found.kinds[index].init) for index in inference.kinds] == ["systemd", "runit"]


def test_a_sample_that_runs_another_kernel_than_the_api_says_tells_of_itself_alone() -> None:
    one = listed(node("a"), node("b"), node("c"))
    other = {"kernel_release": "6.1.0-30-amd64", "init": "systemd"}
    alone = merged(one, (0, other))
    assert alone.inferences == ()
    assert [(problem.source, problem.reason) for problem in alone.problems] == [("a", Reason.UNSUPPORTED)]
    both = merged(one, (0, other), (1, {"kernel_release": INFO["kernelVersion"], "init": "runit"}))
    assert [inference.samples for inference in both.inferences] == [(1,)]
    assert [value(facts.init) for facts in inferred_kinds(both, 2)] == ["runit"]
    whole = merged(one, (0, other), (1, other), (2, other))
    assert (whole.inferences, whole.problems) == ((), ()), "where all were looked at there is nothing to infer"


def test_without_surveys_a_snapshot_stays_as_it_is() -> None:
    one = listed(node("a"), node("b", {}, {"architecture": "arm64"}))
    assert merged(one) == one


def test_many_nodes_of_a_few_kinds_stay_small() -> None:
    pools = [NodeTraits(pool=f"pool-{number}", zone=f"z{number}") for number in range(5)]
    few = listed(node("a"))
    nodes = tuple(
        msgspec.structs.replace(few.nodes[0], identity=NodeIdentity(name=f"n{number:06}"), traits=number % 5)
        for number in range(100_000)
    )
    many = msgspec.structs.replace(few, traits=tuple(pools), nodes=nodes)
    groups = cohorts(many)
    assert [len(group.members) for group in groups] == [20_000] * 5
    sources = SourceIndex.of(many.sources)
    surveys = {index: survey(sources, init="systemd", arch="x86_64") for group in groups for index in choose(group)}
    found = with_surveys(many, surveys, groups, sources)
    assert (len(found.inferences), len(found.kinds)) == (5, 3)
    assert sum(entry.surveyed for entry in found.nodes) == 15
    assert sum(entry.inference is not None for entry in found.nodes) == 100_000 - 15


def test_sources_keep_their_numbers() -> None:
    twice = (API, Source(kind=SourceKind.API, locator="b"), API)
    index = SourceIndex.of(twice)
    assert index.listed() == twice
    assert index.add(API) == 0
    assert index.add(Source(kind=SourceKind.POD, locator="c")) == 3
    assert index.listed()[:3] == twice
