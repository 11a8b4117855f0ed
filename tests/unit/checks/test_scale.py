from typing import Any

import pytest

from ebpfcheck.checks import scale
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import SCAN_NOT_ASKED, Services
from ebpfcheck.model.facts import Absent, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list services")


def node(max_pods: Any = 110, **settings: Any) -> NodeKind:
    fact = known(max_pods) if isinstance(max_pods, int) else max_pods
    return kind(felix=known(FelixSettings(**settings)), max_pods=fact)


def services(**counts: Any) -> Any:
    return known(Services(**{"count": 10, "ports": 10, "addresses": 10, **counts}))


def judged(*kinds: NodeKind, **more: Any) -> Finding:
    version = more.pop("version", "v3.32.1")
    facts = {
        "services": services(),
        "backends": SCAN_NOT_ASKED,
        "slice_count": known(10),
        "pod_count": known(100),
        "node_count": known(5),
        **more,
    }
    return judged_cluster(scale.scale_maps, *(kinds or (node(),)), version=version, **facts)


@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(install: Install) -> None:
    for minor in load_knowledge().minors():
        for kinds in ((), (kind(),)):
            finding = judged_cluster(scale.scale_maps, *kinds, version=str(minor), install=install)
            assert finding.status is Status.UNKNOWN


def test_a_small_cluster_fits_at_any_release() -> None:
    for minor in load_knowledge().minors():
        finding = judged(version=str(minor))
        assert finding.status is Status.PASS
        assert not finding.note
        assert finding.severity is Severity.DEGRADE
        assert ("interfaces of a node" in finding.observed) is (minor.minor >= 24)
    assert "the fullest is that of interfaces of a node: at most 126 of 1000 (12 %)" in judged().message


@pytest.mark.parametrize(
    ("version", "more", "status", "words"),
    [
        ("v3.23", {"services": services(addresses=52428)}, Status.PASS, "at most 52428 of 65536 (79 %)"),
        (
            "v3.23",
            {"services": services(addresses=52429)},
            Status.WARN,
            "(NAT frontends): at most 52429 of 65536 (80 %)",
        ),
        ("v3.22", {"services": services(addresses=52429)}, Status.PASS, "at most 52429 of 511000 (10 %)"),
        ("v3.22", {"services": services(addresses=408800)}, Status.WARN, "at most 408800 of 511000 (80 %)"),
        ("v3.32.1", {"services": services(addresses=0, node_ports=5825)}, Status.PASS, "at most 52425 of 65536"),
        ("v3.32.1", {"services": services(addresses=0, node_ports=5826)}, Status.WARN, "at most 52434 of 65536"),
        ("v3.32.1", {"backends": known(209715)}, Status.PASS, "at most 209715 of 262144 (79 %)"),
        ("v3.32.1", {"backends": known(209716)}, Status.WARN, "(NAT backends): at most 209716 of 262144 (80 %)"),
        ("v3.22", {"backends": known(209716)}, Status.PASS, "at most 209716 of 510000"),
        ("v3.32.1", {"slice_count": known(2097)}, Status.PASS, "at most 209700 of 262144 (79 %)"),
        ("v3.32.1", {"slice_count": known(2098)}, Status.UNKNOWN, "--scan-pods counts them"),
        ("v3.32.1", {"slice_count": known(2098), "backends": known(5)}, Status.PASS, "room"),
        ("v3.32.1", {"slice_count": known(1049), "services": services(ports=11)}, Status.UNKNOWN, "--scan-pods"),
        ("v3.32.1", {"slice_count": known(1049), "services": services(ports=10)}, Status.PASS, "room"),
        ("v3.32.1", {"services": services(count=0, ports=0, addresses=0)}, Status.PASS, "room"),
        ("v3.32.1", {"pod_count": known(209695)}, Status.PASS, "routes: at most 209715 of 262144 (79 %)"),
        ("v3.32.1", {"pod_count": known(209696)}, Status.WARN, "routes: at most 209716 of 262144 (80 %)"),
        ("v3.32.1", {"pod_count": known(109716), "node_count": known(25000)}, Status.WARN, "at most 209716"),
        ("v3.22", {"pod_count": known(209696)}, Status.PASS, "of 1048576"),
    ],
)
def test_sizes(version: str, more: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(version=version, **more)
    assert finding.status is status
    assert words in finding.message


@pytest.mark.parametrize(
    ("version", "max_pods", "status"),
    [
        ("v3.24", 783, Status.PASS),
        ("v3.24", 784, Status.WARN),
        ("v3.23", 5000, Status.PASS),
        ("v3.32.1", 250, Status.PASS),
        ("v3.32.1", 2500, Status.WARN),
    ],
)
def test_interfaces(version: str, max_pods: int, status: Status) -> None:
    finding = judged(node(), node(max_pods), version=version)
    assert finding.status is status
    if status is Status.WARN:
        assert f"interfaces of a node: at most {max_pods + 16} of 1000" in finding.message


def test_settings_count_and_the_smallest_decides() -> None:
    many = {"services": services(addresses=60000), "backends": known(300000), "pod_count": known(300000)}
    assert judged(node(900), **many).status is Status.WARN
    large = {
        "bpf_map_size_nat_frontend": 131072,
        "bpf_map_size_nat_backend": 1048576,
        "bpf_map_size_route": 1048576,
        "bpf_map_size_if_state": 4000,
    }
    assert judged(node(900, **large), **many).status is Status.PASS
    for field, words in (
        ("bpf_map_size_nat_frontend", "frontends): at most 60000 of 65536"),
        ("bpf_map_size_nat_backend", "backends): at most 300000 of 262144"),
        ("bpf_map_size_route", "routes: at most 300020 of 262144"),
        ("bpf_map_size_if_state", "node: at most 916 of 1000"),
    ):
        finding = judged(node(900, **large), node(900, **{**large, field: None}), **many)
        assert finding.status is Status.WARN
        assert finding.observed.endswith(")")
        assert words in finding.observed
        assert ";" not in finding.observed
    assert judged(node(bpf_map_size_route=100)).status is Status.WARN
    # Settings that the release does not have change nothing.
    assert judged(node(bpf_map_size_route=100), version="v3.22").status is Status.PASS


def test_what_to_set() -> None:
    finding = judged(services=services(addresses=60000), pod_count=known(262124))
    assert finding.remediation is not None
    patch = "kubectl patch felixconfiguration default --type merge -p "
    assert finding.remediation.commands == (
        patch + """'{"spec": {"bpfMapSizeNATFrontend": 131072}}'""",
        patch + """'{"spec": {"bpfMapSizeRoute": 524288}}'""",
    )
    older = judged(services=services(addresses=500000), version="v3.22").remediation
    assert older is not None
    assert older.commands == ()
    assert "cannot be told another size" in older.text


@pytest.mark.parametrize(
    ("kinds", "more", "words"),
    [
        ((node(),), {"services": FORBIDDEN}, "addresses of Services (NAT frontends) is large enough"),
        ((node(),), {"services": ABSENT}, "it is not there"),
        ((node(),), {"slice_count": FORBIDDEN}, "endpoints of Services (NAT backends)"),
        ((node(),), {"pod_count": FORBIDDEN}, "routes is large enough"),
        ((node(),), {"node_count": FORBIDDEN}, "routes is large enough"),
        ((node(), node(FORBIDDEN)), {}, "interfaces of a node is large enough could not be told: not allowed"),
        ((node(ABSENT),), {}, "no node says how many pods it takes"),
        ((kind(felix=FORBIDDEN, max_pods=known(110)),), {"services": services(addresses=65536)}, "set to be could not"),
    ],
)
def test_what_could_not_be_told(kinds: tuple[NodeKind, ...], more: dict[str, Any], words: str) -> None:
    finding = judged(*kinds, **more)
    assert finding.status is Status.UNKNOWN
    assert words in finding.message


def test_what_is_certain_comes_before_what_is_not() -> None:
    finding = judged(services=services(addresses=65536), slice_count=FORBIDDEN, pod_count=FORBIDDEN)
    assert finding.status is Status.WARN
    assert judged(node(), node(ABSENT)).status is Status.PASS
    assert judged(slice_count=FORBIDDEN, backends=known(7)).status is Status.PASS
    assert judged(kind(felix=ABSENT, max_pods=known(110))).status is Status.PASS
