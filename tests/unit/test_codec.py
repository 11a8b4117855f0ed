import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfcheck.model.codec import SnapshotError, decode_snapshot, encode_snapshot
from ebpfcheck.model.facts import NodeFacts, NodeIdentity, Unknown
from ebpfcheck.model.snapshot import SourceIndex, fold_nodes
from tests.builders import facts, kind, known, snapshot

SNAPSHOT = snapshot(facts().kind, kind(arch=known("x")), facts().kind)


def whole() -> dict[str, Any]:
    from ebpfcheck.collect.node import node_facts
    from ebpfcheck.collect.transport import Survey
    from ebpfcheck.model.facts import SourceKind
    from tests.builders import NONCE, document

    sources = SourceIndex()
    node, _ = node_facts(Survey(data=document(), nonce=NONCE), SourceKind.LOCAL, sources)
    kinds, nodes = fold_nodes((node, NodeFacts(identity=NodeIdentity(name="worker-2"), kind=node.kind)))
    plain = snapshot(kind())
    data = json.loads(encode_snapshot(plain))
    filled = encode_snapshot(
        type(plain)(tool_version="test", taken_at=plain.taken_at, sources=sources.listed(), kinds=kinds, nodes=nodes)
    )
    data.update(json.loads(filled))
    return dict(data)


def test_a_snapshot_survives_its_file() -> None:
    data = json.dumps(whole()).encode()
    read = decode_snapshot(data)
    assert len(read.kinds) == 1
    assert len(read.nodes) == 2
    assert decode_snapshot(encode_snapshot(read)) == read


def test_a_fact_that_an_older_version_did_not_collect_is_unknown() -> None:
    data = whole()
    del data["kinds"][0]["arch"]
    data["kinds"][0]["a_fact_of_tomorrow"] = {"state": "known", "value": 1, "source": 0}
    read = decode_snapshot(json.dumps(data).encode())
    assert read.kinds[0].arch.detail == "the survey did not look for it"  # type: ignore[union-attr]


def changed(**changes: Any) -> bytes:
    return json.dumps({**whole(), **changes}).encode()


def inferring(drawn: dict[str, Any], **node: Any) -> bytes:
    """A snapshot of a node that was surveyed, and one of which this was inferred."""
    inferred = {"identity": {"name": "b"}, "kind": 0, "surveyed": False, "inference": 0, **node}
    return changed(nodes=[{"identity": {"name": "a"}, "kind": 0}, inferred], inferences=[drawn])


def test_a_snapshot_keeps_what_was_inferred() -> None:
    read = decode_snapshot(inferring({"kinds": [0], "samples": [0]}))
    assert [node.inference for node in read.nodes] == [None, 0]
    assert decode_snapshot(encode_snapshot(read)) == read


def with_fact(name: str, fact: Any) -> bytes:
    data = whole()
    data["kinds"][0][name] = fact
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not a snapshot"),
        (b"[]", "not a snapshot"),
        (b'"text"', "not a snapshot"),
        (b"{}", "not a snapshot"),
        (b'{"schema": 1}', "not a snapshot"),
        (b'{"schema": "other/v1"}', "not a snapshot"),
        (b'{"schema": "ebpfcheck.report/v1"}', "ebpfcheck.report/v1, not a snapshot"),
        (b'{"schema": "ebpfcheck.snapshot/v2", "tool_version": "9.1"}', "version v2, written by ebpfcheck 9.1"),
        (b'{"schema": "ebpfcheck.snapshot/v1"}', "tool_version"),
        (changed(nodes=[{"identity": {"name": "a"}, "kind": 7}]), "refers to kind 7"),
        (changed(nodes=[{"identity": {"name": "a"}, "kind": -1}]), "refers to kind -1"),
        (changed(nodes=[{"identity": {"name": "a"}, "kind": 0, "traits": 0}]), "'a' refers to traits 0"),
        (changed(nodes=[{"identity": {"name": "a"}, "kind": 0, "surveyed": False, "inference": 0}]), "to inference 0"),
        (inferring({"kinds": [0], "samples": [0]}, inference=1), "'b' refers to inference 1"),
        (inferring({"kinds": [0], "samples": [0]}, inference=-1), "'b' refers to inference -1"),
        (inferring({"kinds": [0], "samples": [0]}, surveyed=True), "'b' is both surveyed and inferred"),
        (inferring({"kinds": [], "samples": [0]}), "inference 0 is drawn from nothing"),
        (inferring({"kinds": [0], "samples": []}), "inference 0 is drawn from nothing"),
        (inferring({"kinds": [0, 1], "samples": [0]}), "inference 0 refers to kind 1"),
        (inferring({"kinds": [0], "samples": [0, 2]}), "inference 0 refers to node 2"),
        (inferring({"kinds": [0], "samples": [-1]}), "inference 0 refers to node -1"),
        (inferring({"kinds": [0], "samples": [1]}), "inference 0 is drawn from node 'b', which was not surveyed"),
        (inferring({"kinds": [0]}), "$.inferences[0]"),
        (changed(nodes="none"), "$.nodes"),
        (changed(taken_at="yesterday"), "$.taken_at"),
        (with_fact("arch", {"state": "known", "value": 5, "source": 0}), "$.kinds[0].arch.value"),
        (with_fact("arch", {"state": "known", "value": "x", "source": 999}), "refers to source 999"),
        (with_fact("arch", {"state": "guessed"}), "$.kinds[0].arch"),
        (with_fact("arch", {"state": "unknown", "reason": "lazy", "detail": ""}), "$.kinds[0].arch.reason"),
        (with_fact("bpffs", {"state": "known", "value": [], "source": 0}), "$.kinds[0].bpffs.value"),
    ],
)
def test_what_is_no_snapshot_is_refused_with_the_reason(data: bytes, words: str) -> None:
    with pytest.raises(SnapshotError) as refused:
        decode_snapshot(data)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.binary())
def test_any_bytes_are_refused_in_the_same_way(data: bytes) -> None:
    with pytest.raises(SnapshotError):
        decode_snapshot(data)


def test_what_an_older_version_did_not_look_for_is_unknown() -> None:
    from tests.builders import FIXTURES

    data = (FIXTURES / "snapshots" / "ebpf-healthy" / "snapshot.json").read_bytes()
    now = decode_snapshot(data)
    assert (now.edition, now.cluster is not None) == (1, True)
    older = json.loads(data)
    del older["edition"]
    found = decode_snapshot(json.dumps(older).encode())
    assert found.cluster is not None
    assert found.edition == 0
    facts = [
        getattr(found.cluster, name) for name in ("felix_default", "felix_per_node", "installation", "calico_pods")
    ]
    for fact in (*facts, *(one.felix for one in found.kinds)):
        assert isinstance(fact, Unknown)
        assert "take a new one" in fact.detail
    assert found.cluster.kube_proxy == (now.cluster and now.cluster.kube_proxy)
    # Saved once more it stays what it is.
    assert decode_snapshot(encode_snapshot(found)) == found


def test_an_older_snapshot_of_nodes_stays_what_it_is() -> None:
    from tests.builders import FIXTURES

    data = (FIXTURES / "snapshots" / "debian-12" / "snapshot.json").read_bytes()
    assert b'"edition"' not in data
    assert decode_snapshot(data).kinds
