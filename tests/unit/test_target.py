"""Which release is judged for, and why that one."""

from typing import Any

import pytest

from ebpfcheck.app import target_version
from ebpfcheck.errors import UsageError
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import CalicoNode, CalicoPods, ClusterFacts, Installation
from ebpfcheck.model.facts import Absent
from tests.builders import known

PODS = known(CalicoPods(images=(("calico/node:v3.29.1", 5), ("calico/node:v3.28.2", 1))))
NODE = known(CalicoNode(namespace="calico-system", name="calico-node", image="calico/node:v3.27.3"))
INSTALLATION = known(Installation(calico_version="v3.26.4"))


@pytest.mark.parametrize(
    ("asked", "facts", "version", "source"),
    [
        ("v3.20", {"calico_version": known("v3.30.1")}, "v3.20", "flag"),
        (None, {"calico_version": known("v3.30.1"), "calico_pods": PODS}, "v3.30.1", "cluster"),
        (None, {"calico_version": Absent(source=0), "calico_pods": PODS, "calico_node": NODE}, "v3.29.1", "cluster"),
        (
            None,
            {"calico_version": known("what"), "calico_node": NODE, "installation": INSTALLATION},
            "v3.27.3",
            "cluster",
        ),
        (None, {"installation": INSTALLATION}, "v3.26.4", "cluster"),
        (None, {}, "v3.32.1", "default"),
        (None, {"calico_version": known("v3.12.0")}, "v3.32.1", "default"),
        (None, {"calico_pods": known(CalicoPods(images=(("acme/cni:v1.4.2", 5),)))}, "v3.32.1", "default"),
    ],
)
def test_the_target_release(asked: str | None, facts: dict[str, Any], version: str, source: str) -> None:
    target = target_version(load_knowledge(), asked, ClusterFacts(**facts))
    assert (str(target.version), target.source) == (version, source)


def test_a_release_that_is_not_known_is_remarked_upon_where_the_cluster_runs_it() -> None:
    target = target_version(load_knowledge(), None, ClusterFacts(calico_version=known("v3.12.0")))
    assert "the cluster runs v3.12.0" in (target.remark or "")
    with pytest.raises(UsageError, match=r"v3\.12\.0 is outside"):
        target_version(load_knowledge(), "v3.12.0", ClusterFacts())
