from typing import Any

import msgspec
import pytest

from ebpfcheck.checks import known_bugs
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import (
    CalicoNode,
    CalicoPolicies,
    Installation,
    IpPool,
    NetworkPolicies,
    Services,
    Users,
)
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from ebpfcheck.versions import CalicoVersion
from tests.builders import judged_cluster, known

CHECK = known_bugs.known_bad
ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not for you")
VXLAN = IpPool(name="p", cidr="192.168.0.0/16", vxlan_mode="Always")
ONE = Users(count=1, examples=("shop/web",))


def node(felix: Fact[Any] | None = None, **changes: Fact[Any]) -> NodeKind:
    facts = {
        "felix": known(FelixSettings()) if felix is None else felix,
        "os_image": known("Ubuntu 24.04.3 LTS"),
    }
    return NodeKind(**{**facts, **changes})


def judged(*kinds: NodeKind, version: str = "v3.32.1", install: Install = "operator", **facts: Any) -> Finding:
    """Judge a cluster that nothing but a bug of the release itself concerns, unless something else is said."""
    plain: dict[str, Any] = {
        "calico_node": known(CalicoNode(namespace="calico-system", name="calico-node", image="")),
        "calico_version": known("v3.28.2"),
        "installation": known(Installation(cni_type="Calico")),
        "ip_pools": known((IpPool(name="p", cidr="192.168.0.0/16"),)),
        "services": known(Services(count=3)),
        "calico_policies": known(CalicoPolicies()),
        "network_policies": known(NetworkPolicies()),
        "other_networks": known(()),
    }
    return judged_cluster(CHECK, *(kinds or (node(),)), version=version, install=install, **{**plain, **facts})


SIZES = node(known(FelixSettings(bpf_map_size_conntrack=1000000)))
DEBUG = node(known(FelixSettings(bpf_log_level="Debug")))
ON = node(known(FelixSettings(bpf_enabled=True)))
BOTTLEROCKET = node(os_image=known("Bottlerocket OS 1.42.0 (aws-k8s-1.32)"))
BOOTSTRAP: dict[str, Any] = {"installation": known(Installation(bpf_network_bootstrap="Enabled"))}
IPV6: dict[str, Any] = {"ip_pools": known((IpPool(name="six", cidr="fd00::/48"),))}
ON_VXLAN: dict[str, Any] = {"ip_pools": known((VXLAN,)), "calico_version": known("v3.30.6")}
AWS: dict[str, Any] = {
    "installation": known(Installation(cni_type="AmazonVPC")),
    "services": known(Services(of_node_ports=ONE)),
}
PORTS: dict[str, Any] = {"services": known(Services(of_node_ports=ONE))}
POLICIES: dict[str, Any] = {"network_policies": known(NetworkPolicies(count=2))}

# Each bug, a cluster that it concerns, and for releases whether they have it (None: some of the patches).
CASES: dict[str, tuple[NodeKind, dict[str, Any], dict[str, bool | None]]] = {
    "map-sizes": (
        SIZES,
        {},
        {"v3.26.5": False, "v3.27.0": True, "v3.27": True, "v3.27.5": True, "v3.28.1": True, "v3.28": None,
         "v3.28.2": False, "v3.29.0": False},
    ),
    "bootstrap-id": (
        node(),
        BOOTSTRAP,
        {"v3.30.7": False, "v3.31.0": True, "v3.31.7": True, "v3.31.8": False, "v3.31": None, "v3.32.0": True,
         "v3.32.2": True, "v3.32": None, "v3.32.3": False, "v3.33": False},
    ),
    "debug-log-v6": (
        DEBUG,
        IPV6,
        {"v3.30.7": False, "v3.31.0": True, "v3.31.6": True, "v3.31.7": False, "v3.31": None, "v3.32.1": True,
         "v3.32.2": False},
    ),
    "vxlan-upgrade": (ON, ON_VXLAN, {"v3.30.7": False, "v3.31.0": True, "v3.31": True, "v3.33": True}),
    "tc-priority": (
        node(),
        {},
        {"v3.26.5": False, "v3.27.0": True, "v3.27.4": True, "v3.27": None, "v3.27.5": False, "v3.28.0": True,
         "v3.28.1": True, "v3.28": None, "v3.28.2": False},
    ),
    "aws-cni": (node(), AWS, {"v3.28.5": False, "v3.29.0": True, "v3.29.1": True, "v3.29": None, "v3.29.2": False}),
    "borrowed-address": (node(), {}, {"v3.30.7": False, "v3.31.0": True, "v3.31.3": True, "v3.31.4": False}),
    "wireguard-port": (
        node(), {}, {"v3.31.7": False, "v3.32.0": True, "v3.32.1": True, "v3.32": None, "v3.32.2": False}
    ),
    "bpfin-address": (
        node(), {}, {"v3.26.5": False, "v3.27.5": True, "v3.28": True, "v3.29.3": True, "v3.29.4": False}
    ),
    "init-cgroup": (
        node(),
        {},
        {"v3.23.5": False, "v3.24.0": True, "v3.27.5": True, "v3.28.4": True, "v3.28.5": False, "v3.29.4": True,
         "v3.29.5": False, "v3.30.1": True, "v3.30.2": False},
    ),
    "node-port-bulk": (node(), PORTS, {"v3.23.5": False, "v3.24.0": True, "v3.31.4": True, "v3.31.5": False}),
    "large-policies": (
        BOTTLEROCKET, POLICIES, {"v3.27.5": False, "v3.28.0": True, "v3.30.3": True, "v3.30.4": False}
    ),
    "leftovers": (node(), {}, {"v3.26.5": False, "v3.27.3": True, "v3.27.4": False, "v3.28.0": False}),
}  # fmt: skip
STATUS = {"fail": Status.FAIL, "warn": Status.WARN, "note": Status.PASS}


def spoken_of(bug: str, finding: Finding) -> bool:
    entry = next(one for one in load_knowledge().known_bugs.bug if one.id == bug)
    return entry.effect in finding.message or entry.title in finding.message


def test_each_bug_has_a_case() -> None:
    assert list(CASES) == [bug.id for bug in load_knowledge().known_bugs.bug]


@pytest.mark.parametrize(
    ("bug", "version", "has"), [(bug, version, has) for bug, case in CASES.items() for version, has in case[2].items()]
)
def test_each_bug_at_the_edges_of_its_releases(bug: str, version: str, has: bool | None) -> None:
    kind, facts, _ = CASES[bug]
    finding = judged(kind, version=version, **facts)
    assert spoken_of(bug, finding) is (has is not False)


@pytest.mark.parametrize("bug", CASES)
def test_a_bug_that_nothing_here_concerns_is_not_spoken_of(bug: str) -> None:
    entry = next(one for one in load_knowledge().known_bugs.bug if one.id == bug)
    versions = [version for version, has in CASES[bug][2].items() if has]
    for version in versions:
        assert spoken_of(bug, judged(version=version)) is not bool(entry.when)


@pytest.mark.parametrize(
    ("bug", "version"),
    [
        ("map-sizes", "v3.28.1"),
        ("bootstrap-id", "v3.31.7"),
        ("debug-log-v6", "v3.32.1"),
        ("vxlan-upgrade", "v3.31.7"),
        ("tc-priority", "v3.28.0"),
        ("aws-cni", "v3.29.1"),
        ("borrowed-address", "v3.31.3"),
        ("wireguard-port", "v3.32.1"),
        ("bpfin-address", "v3.29.3"),
        ("init-cgroup", "v3.30.1"),
        ("node-port-bulk", "v3.30.7"),
        ("large-policies", "v3.30.3"),
        ("leftovers", "v3.27.3"),
    ],
)
def test_how_bad_each_bug_is(bug: str, version: str) -> None:
    kind, facts, _ = CASES[bug]
    entry = next(one for one in load_knowledge().known_bugs.bug if one.id == bug)
    finding = judged(kind, version=version, **facts)
    if entry.title not in finding.observed:
        # Something of the same release is worse, or as bad and first in the file.
        assert bug in ("bpfin-address", "init-cgroup", "leftovers", "large-policies", "node-port-bulk")
        assert entry.title in finding.message
        return
    assert (finding.status, finding.note) == (STATUS[entry.status], entry.status == "note")
    assert entry.effect in finding.message
    assert finding.message.startswith(f"Calico {version} has a known bug in eBPF mode")
    assert finding.required == entry.fixed_in
    assert (f"(fixed in {entry.fixed_in})" in finding.message) is bool(entry.fixed_in)
    assert (finding.remediation is not None) is (entry.status != "note")
    if finding.remediation is not None:
        assert finding.remediation.text == entry.remedy
        assert finding.remediation.commands == entry.commands


def test_every_bug_that_is_more_than_a_note_has_a_remedy() -> None:
    for bug in load_knowledge().known_bugs.bug:
        assert bool(bug.remedy) is (bug.status != "note"), bug.id
        assert bug.sources, bug.id
        assert len({one.id for one in load_knowledge().known_bugs.bug}) == len(load_knowledge().known_bugs.bug)


def test_the_worst_bug_comes_first_and_the_others_are_named() -> None:
    finding = judged(SIZES, version="v3.28.1", **PORTS)
    assert finding.status is Status.FAIL
    assert finding.observed == "map sizes other than the defaults"
    assert "It has others that concern it: programs attached over and over; the MAC address of bpfin.cali;" in (
        finding.message
    )
    assert "slow node ports over VXLAN" in finding.message
    finding = judged(version="v3.28.1")
    assert (finding.status, finding.observed) == (Status.WARN, "programs attached over and over")


def test_a_bug_of_some_patches() -> None:
    finding = judged(SIZES, version="v3.28")
    assert (finding.status, finding.reason) == (Status.UNKNOWN, Reason.NOT_COLLECTED)
    assert "has, in some of its patches, a known bug" in finding.message
    assert finding.message.endswith("Say which patch it is with --calico-version.")
    assert finding.remediation is not None
    assert finding.remediation.commands
    finding = judged(version="v3.28")
    assert finding.status is Status.WARN
    assert "in some of its patches" in finding.message


@pytest.mark.parametrize(
    ("settings", "has"),
    [
        (FelixSettings(), False),
        (FelixSettings(bpf_map_size_conntrack=512000), False),
        (FelixSettings(bpf_map_size_nat_frontend=65536, bpf_map_size_nat_backend=262144), False),
        (FelixSettings(bpf_map_size_conntrack=511999), True),
        (FelixSettings(bpf_map_size_nat_frontend=131072), True),
        (FelixSettings(bpf_map_size_nat_backend=131072), True),
        # The programs that do not load have no such maps.
        (FelixSettings(bpf_map_size_route=1, bpf_map_size_if_state=1), False),
    ],
)
def test_map_sizes(settings: FelixSettings, has: bool) -> None:
    assert (judged(node(known(settings)), version="v3.28.1").status is Status.FAIL) is has
    # One node is enough.
    assert (judged(node(), node(known(settings)), version="v3.28.1").status is Status.FAIL) is has


def test_map_sizes_that_are_not_seen() -> None:
    finding = judged(node(FORBIDDEN), version="v3.28.1")
    assert (finding.status, finding.reason, finding.severity) == (
        Status.UNKNOWN, Reason.FORBIDDEN, Severity.BLOCKER,
    )  # fmt: skip
    assert "(map sizes other than the defaults) could not be told: not for you." in finding.message
    assert judged(node(ABSENT), version="v3.28.1").status is Status.WARN
    # What one node shows decides, whatever another hides.
    assert judged(node(FORBIDDEN), SIZES, version="v3.28.1").status is Status.FAIL
    assert judged_cluster(CHECK, version="v3.28.1", calico_node=ABSENT).status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("level", "pools", "has"),
    [
        ("Debug", IPV6, True),
        ("debug", IPV6, True),
        ("Debug", {}, False),
        ("Info", IPV6, False),
        ("Off", IPV6, False),
        (None, IPV6, False),
    ],
)
def test_the_log_with_ipv6(level: str | None, pools: dict[str, Any], has: bool) -> None:
    one = node(known(FelixSettings(bpf_log_level=level)))
    assert spoken_of("debug-log-v6", judged(one, version="v3.32.1", **pools)) is has


@pytest.mark.parametrize(
    ("running", "pools", "on", "has"),
    [
        ("v3.30.6", (VXLAN,), True, True),
        ("v3.29.3", (VXLAN,), True, True),
        ("v3.30.6-0.1.build", (VXLAN,), True, True),
        ("v3.30.7", (VXLAN,), True, False),
        ("v3.31.0", (VXLAN,), True, False),
        ("v3.30.6", (VXLAN,), False, False),
        ("v3.30.6", (IpPool(name="p", cidr="10.0.0.0/8", ipip_mode="Always"),), True, False),
        ("v3.30.6", (IpPool(name="p", cidr="10.0.0.0/8", vxlan_mode="Always", disabled=True),), True, False),
        ("what", (VXLAN,), True, False),
    ],
)
def test_an_upgrade_in_ebpf_mode(running: str, pools: tuple[IpPool, ...], on: bool, has: bool) -> None:
    finding = judged(ON if on else node(), version="v3.33", calico_version=known(running), ip_pools=known(pools))
    assert (finding.status is Status.WARN) is has


def test_an_upgrade_of_which_not_all_is_seen() -> None:
    for fact in ("calico_version", "ip_pools"):
        finding = judged(ON, version="v3.33", **{**ON_VXLAN, fact: FORBIDDEN})
        assert (finding.status, finding.reason) == (Status.UNKNOWN, Reason.FORBIDDEN)
        assert "VXLAN between" in finding.message
    assert judged(ON, version="v3.33", **{**ON_VXLAN, "calico_version": ABSENT}).note is False
    assert judged(ON, version="v3.33", **{**ON_VXLAN, "ip_pools": ABSENT}).note is False


@pytest.mark.parametrize(
    ("installation", "others", "has"),
    [
        (known(Installation(cni_type="AmazonVPC")), known(()), True),
        (known(Installation(cni_type="Calico")), known(("kube-system/aws-node",)), False),
        (known(Installation()), known(("kube-system/aws-node",)), True),
        (ABSENT, known(("kube-system/aws-node",)), True),
        (ABSENT, known(("aws-node/other",)), False),
        (ABSENT, ABSENT, False),
        (ABSENT, FORBIDDEN, None),
        (FORBIDDEN, known(("kube-system/aws-node",)), True),
    ],
)
def test_the_aws_vpc_cni(installation: Fact[Any], others: Fact[Any], has: bool | None) -> None:
    finding = judged(version="v3.29.1", installation=installation, other_networks=others, **PORTS)
    assert (finding.status is Status.WARN) is (has is True)
    assert (finding.status is Status.UNKNOWN) is (has is None)


@pytest.mark.parametrize(
    ("facts", "has"),
    [
        ({"installation": known(Installation(bpf_network_bootstrap="Enabled"))}, True),
        ({"installation": known(Installation(bpf_network_bootstrap="Disabled"))}, False),
        ({"installation": known(Installation())}, False),
        ({"installation": ABSENT}, False),
        ({"installation": FORBIDDEN}, None),
        ({"installation": FORBIDDEN, "install": "manifest"}, False),
    ],
)
def test_the_bootstrap(facts: dict[str, Any], has: bool | None) -> None:
    finding = judged(version="v3.31.7", **facts)
    assert (finding.status is Status.WARN) is (has is True)
    assert (finding.status is Status.UNKNOWN) is (has is None)


@pytest.mark.parametrize(
    ("kind", "facts", "has"),
    [
        (node(bpf_jit_harden=known(2)), POLICIES, True),
        (node(bpf_jit_harden=known(1)), POLICIES, False),
        (node(bpf_jit_harden=ABSENT), POLICIES, False),
        (node(os_image=known("Bottlerocket OS 1.42.0"), bpf_jit_harden=known(1)), POLICIES, False),
        (BOTTLEROCKET, {"calico_policies": known(CalicoPolicies(count=1))}, True),
        (BOTTLEROCKET, {}, False),
        (BOTTLEROCKET, {"calico_policies": FORBIDDEN}, None),
        (BOTTLEROCKET, {"calico_policies": ABSENT, "network_policies": ABSENT}, False),
        (node(os_image=known("My Bottlerocket")), POLICIES, False),
        (node(os_image=FORBIDDEN), POLICIES, None),
        (node(os_image=ABSENT), POLICIES, False),
    ],
)
def test_hardened_nodes(kind: NodeKind, facts: dict[str, Any], has: bool | None) -> None:
    finding = judged(kind, version="v3.30.3", **facts)
    assert ("It has others that concern it: large policies" in finding.message or (
        finding.observed == "large policies on hardened kernels"
    )) is (has is True)  # fmt: skip
    assert ("could not be told: large policies" in finding.message) is (has is None)


def test_a_node_whose_hardening_is_seen_tells_nothing_of_the_others() -> None:
    surveyed, not_surveyed = node(bpf_jit_harden=known(0)), BOTTLEROCKET
    assert "large policies" not in judged(surveyed, version="v3.30.3", **POLICIES).message
    assert "large policies" in judged(surveyed, not_surveyed, version="v3.30.3", **POLICIES).message


@pytest.mark.parametrize("services", [ABSENT, known(Services()), known(Services(external_local=ONE))])
def test_services_that_need_nothing(services: Fact[Any]) -> None:
    finding = judged(version="v3.29.1", **{**AWS, "services": services})
    assert "node port" not in finding.message


def test_services_that_are_not_seen() -> None:
    finding = judged(version="v3.29.1", **{**AWS, "services": FORBIDDEN})
    assert (finding.status, finding.reason) == (Status.UNKNOWN, Reason.FORBIDDEN)
    assert "(answers to node ports with the AWS VPC CNI)" in finding.message
    # What is worth a note at most is named, and stays one.
    finding = judged(version="v3.31.4", services=FORBIDDEN)
    assert (finding.status, finding.note) == (Status.PASS, True)
    assert "could not be told: slow node ports over VXLAN." in finding.message


def test_nothing_that_concerns_the_cluster() -> None:
    finding = judged(version="v3.32.2")
    assert (finding.status, finding.note, finding.remediation) == (Status.PASS, False, None)
    assert finding.message == "No known bug of eBPF mode in Calico v3.32.2 is seen to concern this cluster."


def test_calico_that_is_not_there_yet() -> None:
    assert judged(version="v3.28.1", calico_node=ABSENT).status is Status.WARN


@pytest.mark.parametrize(
    ("version", "severity"),
    [
        ("v3.23.5", None),
        ("v3.24.0", Severity.DEGRADE),
        ("v3.26.5", Severity.DEGRADE),
        ("v3.27.0", Severity.BLOCKER),
        ("v3.28.1", Severity.BLOCKER),
        ("v3.28", Severity.BLOCKER),
        ("v3.28.2", Severity.DEGRADE),
        ("v3.33", Severity.DEGRADE),
    ],
)
def test_the_severity_is_that_of_the_worst_bug(version: str, severity: Severity | None) -> None:
    parsed = CalicoVersion.parse(version)
    assert parsed is not None
    assert CHECK.severity(load_knowledge().at(parsed)) is severity


def test_a_release_without_a_bug_is_not_concerned() -> None:
    parsed = CalicoVersion.parse("v3.28.1")
    assert parsed is not None
    release = load_knowledge().at(parsed)
    tables = msgspec.structs.replace(release.known_bugs, bug=())
    assert CHECK.severity(msgspec.structs.replace(release, known_bugs=tables)) is None


def test_a_cluster_without_nodes() -> None:
    there = known(CalicoNode(namespace="calico-system", name="calico-node", image=""))
    for version, facts in (("v3.28.1", {}), ("v3.32.1", IPV6)):
        finding = judged_cluster(CHECK, version=version, calico_node=there, **facts)
        assert (finding.status, finding.reason) == (Status.UNKNOWN, Reason.NOT_COLLECTED)
    finding = judged_cluster(CHECK, version="v3.30.3", calico_node=there, **POLICIES)
    assert (finding.status, finding.note) == (Status.PASS, True)
    assert "could not be told: slow node ports over VXLAN; large policies on hardened kernels." in finding.message


def test_nothing_known() -> None:
    for minor in load_knowledge().minors():
        for install in ("operator", "manifest", "none", "unknown"):
            status = judged_cluster(CHECK, version=str(minor), install=install).status
            assert status is (Status.NOT_APPLICABLE if minor.minor < 24 else Status.UNKNOWN)


def test_what_the_cluster_says_is_not_repeated() -> None:
    evil = "\x1b[2J[bold]"
    finding = judged(
        node(known(FelixSettings(bpf_log_level=evil)), os_image=known(evil)),
        version="v3.30.3",
        calico_version=known(evil),
        installation=known(Installation(cni_type=evil, bpf_network_bootstrap=evil)),
        ip_pools=known((IpPool(name=evil, cidr=evil, vxlan_mode=evil),)),
        services=known(Services(of_node_ports=Users(count=1, examples=(evil,)))),
    )
    assert finding.status is Status.PASS
    assert evil not in finding.message + finding.observed
