from typing import Any

import pytest

from ebpfcheck.checks import calico
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import CalicoNode, CalicoPods, FelixObject, Installation, IpPool
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Severity, Status
from tests.builders import judged_cluster, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list daemonsets")
CHECKS = (calico.datastore, calico.calico_version, calico.dataplane, calico.windows)
MANIFEST = (
    ("DATASTORE_TYPE", "kubernetes"),
    ("FELIX_DEFAULTENDPOINTTOHOSTACTION", "ACCEPT"),
    ("FELIX_HEALTHENABLED", "true"),
    ("FELIX_IPV6SUPPORT", "false"),
)


def node(*env: tuple[str, str | None], **more: Any) -> Fact[CalicoNode]:
    given = {"namespace": "kube-system", "name": "calico-node", "image": "calico/node:v3.32.1", **more}
    return known(CalicoNode(env=env, **given))


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(check: Check, install: Install) -> None:
    for minor in load_knowledge().minors():
        finding = judged_cluster(check, kind(), version=str(minor), install=install)
        assert finding.status is Status.UNKNOWN, (finding.id, minor)


# The datastore.


@pytest.mark.parametrize(
    ("env", "status"),
    [
        (MANIFEST, Status.PASS),
        ((("DATASTORE_TYPE", "etcdv3"),), Status.FAIL),
        ((("FELIX_DATASTORETYPE", "etcdv3"),), Status.FAIL),
        ((("DATASTORE_TYPE", "kubernetes"), ("FELIX_DATASTORETYPE", "etcdv3")), Status.PASS),
        ((("DATASTORE_TYPE", ""), ("FELIX_DATASTORETYPE", "etcdv3")), Status.FAIL),
        ((("DATASTORE_TYPE", "kubernetes"), ("FELIX_ETCDENDPOINTS", "https://10.0.0.1:2379")), Status.FAIL),
        ((("DATASTORE_TYPE", "kubernetes"), ("FELIX_ETCDADDR", "10.0.0.1:2379")), Status.FAIL),
        ((("DATASTORE_TYPE", "kubernetes"), ("ETCD_ENDPOINTS", "https://10.0.0.1:2379")), Status.PASS),
        ((("DATASTORE_TYPE", "kubernetes"), ("ETCD_ENDPOINTS", None)), Status.PASS),
        ((("ETCD_ENDPOINTS", "https://10.0.0.1:2379"),), Status.FAIL),
        ((("ETCD_ENDPOINTS", None),), Status.UNKNOWN),
        ((("DATASTORE_TYPE", None),), Status.UNKNOWN),
        ((("DATASTORE_TYPE", "kubernetes"), ("FELIX_ETCDENDPOINTS", None)), Status.UNKNOWN),
        ((("DATASTORE_TYPE", "\x1b[31mred"),), Status.UNKNOWN),
    ],
)
def test_the_datastore_that_variables_choose(env: tuple[tuple[str, str | None], ...], status: Status) -> None:
    finding = judged_cluster(
        calico.datastore,
        calico_node=node(*env),
        installation=ABSENT,
        calico_version=known("v3.32.1"),
        ip_pools=known(()),
        api_groups=known(("crd.projectcalico.org",)),
    )
    assert finding.status is status
    assert "\x1b" not in finding.message


CRDS = known(("apps", "crd.projectcalico.org"))


@pytest.mark.parametrize(
    ("information", "pools", "groups", "available", "status", "cause"),
    [
        (known("v3.32.1"), known(()), CRDS, 3, Status.PASS, "where its objects are"),
        (known("v3.32.1"), known(()), known(("projectcalico.org",)), 3, Status.UNKNOWN, "does not tell"),
        (ABSENT, known(()), CRDS, 3, Status.UNKNOWN, "does not tell"),
        (ABSENT, ABSENT, known(("apps",)), 3, Status.FAIL, "only be in etcd"),
        (ABSENT, ABSENT, known(("apps",)), 0, Status.UNKNOWN, "does not tell"),
        (ABSENT, known(()), known(("apps",)), 3, Status.UNKNOWN, "does not tell"),
        (ABSENT, ABSENT, known(("projectcalico.org",)), 3, Status.UNKNOWN, "does not tell"),
        (ABSENT, ABSENT, CRDS, 3, Status.UNKNOWN, "does not tell"),
        (ABSENT, ABSENT, FORBIDDEN, 3, Status.UNKNOWN, "not allowed"),
        (FORBIDDEN, ABSENT, known(("apps",)), 3, Status.UNKNOWN, "not allowed"),
        (known("v3.32.1"), FORBIDDEN, CRDS, 3, Status.UNKNOWN, "not allowed"),
    ],
)
def test_the_datastore_that_no_variable_chooses(
    information: Fact[str], pools: Fact[Any], groups: Fact[Any], available: int, status: Status, cause: str
) -> None:
    finding = judged_cluster(
        calico.datastore,
        calico_node=node(available=available),
        installation=ABSENT,
        calico_version=information,
        ip_pools=pools,
        api_groups=groups,
    )
    assert finding.status is status
    assert cause in finding.message


@pytest.mark.parametrize(
    ("calico_node", "installation", "information", "status"),
    [
        (ABSENT, ABSENT, ABSENT, Status.NOT_APPLICABLE),
        (ABSENT, ABSENT, known("v3.28.0"), Status.UNKNOWN),
        (ABSENT, FORBIDDEN, ABSENT, Status.UNKNOWN),
        (ABSENT, known(Installation()), ABSENT, Status.PASS),
        (FORBIDDEN, known(Installation()), FORBIDDEN, Status.PASS),
        (FORBIDDEN, ABSENT, known("v3.28.0"), Status.UNKNOWN),
        (FORBIDDEN, ABSENT, ABSENT, Status.UNKNOWN),
        (node(("DATASTORE_TYPE", "etcdv3")), known(Installation()), ABSENT, Status.FAIL),
        (node(("DATASTORE_TYPE", None)), known(Installation()), ABSENT, Status.PASS),
    ],
)
def test_the_datastore_without_calico_node_or_with_the_operator(
    calico_node: Fact[Any], installation: Fact[Any], information: Fact[Any], status: Status
) -> None:
    finding = judged_cluster(
        calico.datastore, calico_node=calico_node, installation=installation, calico_version=information
    )
    assert finding.status is status


def test_the_command_about_a_hostile_daemonset_is_quoted() -> None:
    finding = judged_cluster(
        calico.datastore, calico_node=node(("DATASTORE_TYPE", None), name="x; reboot", namespace="a b")
    )
    assert finding.remediation is not None
    assert finding.remediation.commands == ("kubectl -n 'a b' set env 'daemonset/x; reboot' --list",) or (
        finding.remediation.commands == ("kubectl -n 'a b' set env daemonset/'x; reboot' --list",)
    )


# The release.


def running(*images: tuple[str, int], **more: Fact[Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "calico_pods": known(CalicoPods(images=images)),
        "calico_node": node(),
        "installation": ABSENT,
        "calico_version": ABSENT,
        "ip_pools": known(()),
    }
    return {**facts, **more}


@pytest.mark.parametrize(
    ("images", "status", "words"),
    [
        ((("quay.io/calico/node:v3.32.1", 5),), Status.PASS, "runs v3.32.1"),
        ((("registry:5000/calico/node:v3.32.1@sha256:ab12", 5),), Status.PASS, "runs v3.32.1"),
        ((("rancher/mirrored-calico-node:v3.32.1", 5),), Status.PASS, "runs v3.32.1"),
        ((("rancher/hardened-calico:v3.32.1-build20260722", 5),), Status.PASS, "runs v3.32.1"),
        ((("calico/node:v3.32.1", 5), ("mirror/calico/node:v3.32.1", 1)), Status.PASS, "runs v3.32.1"),
        ((("calico/node:v3.28.2", 5),), Status.PASS, "Calico v3.28.2 runs, and what is said here is for v3.32.1"),
        ((("calico/node:v3.32.0", 5),), Status.PASS, "Calico v3.32.0 runs"),
        ((("calico/node:v3.12.3", 5),), Status.WARN, "no eBPF mode"),
        (
            (("calico/node:v3.32.1", 4), ("calico/node:v3.32.0", 2)),
            Status.WARN,
            "do not all run one release (4 x v3.32.1, 2 x v3.32.0)",
        ),
        ((("calico/node:v3.32.1", 4), ("calico/node@sha256:ab12", 2)), Status.WARN, "2 x an image that does not tell"),
        ((("calico/node@sha256:ab12", 4), ("calico/node@sha256:cd34", 2)), Status.WARN, "do not all run one image"),
        ((("calico/node@sha256:ab12", 2),), Status.UNKNOWN, "could not be read"),
        ((("calico/node:v3.33.0-0.dev-12-gabcdef", 2),), Status.UNKNOWN, "could not be read"),
        ((("acme/cni:v1.4.2", 2),), Status.UNKNOWN, "could not be read"),
        ((("calico/node:master", 2),), Status.UNKNOWN, "could not be read"),
        ((("", 2),), Status.UNKNOWN, "could not be read"),
        ((), Status.UNKNOWN, "could not be read"),
        ((("quay.io/tigera/cnx-node:v3.20.1", 2),), Status.UNKNOWN, "Enterprise"),
        ((("x\x1b[2J:y\x1b[2J", 2),), Status.UNKNOWN, "could not be read"),
    ],
)
def test_the_release_that_images_tell(images: tuple[tuple[str, int], ...], status: Status, words: str) -> None:
    finding = judged_cluster(calico.calico_version, **running(*images))
    assert finding.status is status
    assert words in finding.message
    assert "\x1b" not in finding.message + finding.observed


@pytest.mark.parametrize(
    ("older", "newer", "mentioned"),
    [("v3.30.2", "v3.31.0", True), ("v3.31.0", "v3.31.1", False), ("v3.29.1", "v3.30.7", False)],
)
def test_releases_that_do_not_get_on_over_vxlan(older: str, newer: str, mentioned: bool) -> None:
    finding = judged_cluster(calico.calico_version, **running((f"calico/node:{older}", 3), (f"calico/node:{newer}", 1)))
    assert finding.status is Status.WARN
    assert ("VXLAN" in finding.message) is mentioned


@pytest.mark.parametrize(
    ("information", "image", "operator", "status"),
    [
        (known("v3.32.1"), "calico/node:v3.32.1", None, Status.PASS),
        (known("v3.32.1"), "calico/node@sha256:ab", None, Status.PASS),
        (known("v3.32.1"), "calico/node:v3.32.1", "v3.32.1", Status.PASS),
        (known("v3.32.1"), "calico/node:v3.32.1", "master", Status.PASS),
        (known("v3.32.1-build20260722"), "rancher/hardened-calico:v3.32.1-build20260722", None, Status.PASS),
        (known("v3.32.0"), "calico/node:v3.32.1", None, Status.WARN),
        (known("v3.32.1"), "calico/node:v3.32.1", "v3.32.0", Status.WARN),
        (FORBIDDEN, "calico/node:v3.32.1", "v3.32.1", Status.PASS),
        (FORBIDDEN, "calico/node@sha256:ab", None, Status.UNKNOWN),
        (known("nonsense"), "calico/node@sha256:ab", "v3.32.1", Status.PASS),
    ],
)
def test_what_tells_the_release_has_to_agree(
    information: Fact[str], image: str, operator: str | None, status: Status
) -> None:
    installation = known(Installation(calico_version=operator)) if operator else ABSENT
    facts = running((image, 3), calico_version=information, installation=installation)
    assert judged_cluster(calico.calico_version, **facts).status is status


@pytest.mark.parametrize(
    ("version", "status", "note"),
    [
        ("v3.32", Status.PASS, False),
        ("v3.32.1", Status.PASS, False),
        ("v3.32.0", Status.PASS, True),
        ("v3.31", Status.PASS, True),
    ],
)
def test_the_release_that_is_judged_for(version: str, status: Status, note: bool) -> None:
    finding = judged_cluster(calico.calico_version, version=version, **running(("calico/node:v3.32.1", 3)))
    assert (finding.status, finding.note) == (status, note)


@pytest.mark.parametrize(
    ("version", "status"), [("v3.15", Status.WARN), ("v3.16", Status.PASS), ("v3.13", Status.WARN)]
)
def test_the_preview(version: str, status: Status) -> None:
    facts = running((f"calico/node:{version}.1", 3))
    assert judged_cluster(calico.calico_version, version=version, **facts).status is status


VXLAN = IpPool(name="v4", cidr="10.0.0.0/16", vxlan_mode="Always")


@pytest.mark.parametrize(
    ("version", "pools", "status", "words"),
    [
        ("v3.31.3", known((VXLAN,)), Status.WARN, "v3.31.3 vxlan.calico sends VNI 0"),
        ("v3.31.0", known((VXLAN,)), Status.WARN, "VNI 0"),
        ("v3.31", known((VXLAN,)), Status.WARN, "in some of its patches"),
        ("v3.31.4", known((VXLAN,)), Status.PASS, ""),
        ("v3.30.7", known((VXLAN,)), Status.PASS, ""),
        ("v3.31.3", known((IpPool(name="v4", cidr="10.0.0.0/16"),)), Status.PASS, ""),
        ("v3.31.3", ABSENT, Status.PASS, ""),
        ("v3.31.3", FORBIDDEN, Status.UNKNOWN, "not allowed"),
        ("v3.31.4", FORBIDDEN, Status.PASS, ""),
    ],
)
def test_the_bug_with_vni_0(version: str, pools: Fact[Any], status: Status, words: str) -> None:
    facts = running(("calico/node:v3.31.3", 3), ip_pools=pools)
    finding = judged_cluster(calico.calico_version, version=version, **facts)
    assert finding.status is status
    assert words in finding.message


def test_the_release_where_calico_or_its_pods_are_not_there() -> None:
    finding = judged_cluster(
        calico.calico_version, calico_node=ABSENT, calico_version=ABSENT, installation=ABSENT, calico_pods=ABSENT
    )
    assert (finding.status, finding.note) == (Status.PASS, True)
    for other in ("calico_node", "calico_version", "installation"):
        facts: dict[str, Any] = dict.fromkeys(("calico_node", "calico_version", "installation", "calico_pods"), ABSENT)
        assert judged_cluster(calico.calico_version, **{**facts, other: FORBIDDEN}).status is Status.UNKNOWN
    facts = running(calico_version=known("v3.32.1"), calico_pods=FORBIDDEN)
    assert judged_cluster(calico.calico_version, **facts).status is Status.UNKNOWN


def test_calico_enterprise_shows_in_the_installation_too() -> None:
    facts = running(("acme/node:v3.20.1", 3), installation=known(Installation(variant="TigeraSecureEnterprise")))
    assert "Enterprise" in judged_cluster(calico.calico_version, **facts).message
    assert judged_cluster(calico.calico_version, **facts).status is Status.UNKNOWN


# The dataplane.


def configured(
    default: bool | None = None,
    asked: str | None = None,
    *,
    nodes: tuple[tuple[bool | None, int], ...] | None = None,
    **more: Any,
) -> Any:
    """Judge a cluster where `default` is set, and told to nodes unless these are told otherwise."""
    version, install = more.pop("version", "v3.32.1"), more.pop("install", "operator")
    nodes = ((default, 4),) if nodes is None else nodes
    kinds = tuple(kind(felix=known(FelixSettings(bpf_enabled=value))) for value, _ in nodes)
    facts: dict[str, Any] = {
        "installation": known(Installation(linux_dataplane=asked)),
        "felix_default": known(FelixObject(settings=FelixSettings(bpf_enabled=default))),
        "calico_node": node(desired=4, updated=4, available=4),
        **more,
    }
    counts = tuple(count for _, count in nodes)
    return judged_cluster(calico.dataplane, *kinds, counts=counts, version=version, install=install, **facts)


@pytest.mark.parametrize(
    ("default", "asked", "status", "note"),
    [
        (None, None, Status.PASS, False),
        (False, "Iptables", Status.PASS, False),
        (False, "Nftables", Status.PASS, False),
        (True, "BPF", Status.PASS, True),
        (True, None, Status.PASS, True),
        (True, "Iptables", Status.WARN, False),
        (True, "\x1b[2J", Status.WARN, False),
        (False, "BPF", Status.WARN, False),
        (None, "BPF", Status.WARN, False),
        (False, "VPP", Status.FAIL, False),
        (True, "VPP", Status.FAIL, False),
    ],
)
def test_the_dataplane_that_is_asked_for(default: bool | None, asked: str | None, status: Status, note: bool) -> None:
    finding = configured(default, asked)
    assert (finding.status, finding.note) == (status, note)
    assert "\x1b" not in finding.message + finding.observed


def test_nodes_that_are_told_otherwise_by_settings_of_their_own() -> None:
    nodes = ((True, 3), (False, 1))
    for own in (known(()), known(((FelixSettings(vxlan_port=4790), 1),)), ABSENT, FORBIDDEN):
        finding = configured(True, nodes=nodes, felix_per_node=own)
        assert finding.status is Status.FAIL
        assert "which is not supported" in finding.message
        assert finding.remediation.commands
    own = known(((FelixSettings(vxlan_port=4790), 1), (FelixSettings(bpf_enabled=False), 1)))
    finding = configured(True, nodes=nodes, felix_per_node=own)
    assert finding.status is Status.FAIL
    assert "see cluster.felix.per-node" in finding.message
    assert finding.remediation is None


@pytest.mark.parametrize(
    ("default", "mark", "version", "is_by_hand"),
    [
        (True, None, "v3.28", True),
        (True, "false", "v3.32.1", True),
        (True, "true", "v3.32.1", False),
        (None, None, "v3.32.1", False),
        (True, None, "v3.27", False),
    ],
)
def test_ebpf_mode_that_was_turned_on_past_the_operator(
    default: bool | None, mark: str | None, version: str, is_by_hand: bool
) -> None:
    felix = known(FelixObject(settings=FelixSettings(bpf_enabled=default), operator_bpf_enabled=mark))
    finding = configured(asked="Iptables", nodes=((True, 4),), felix_default=felix, version=version)
    assert finding.status is Status.WARN
    assert ("see cluster.felix.ownership" in finding.message) is is_by_hand
    assert (finding.remediation is None) is is_by_hand


def test_what_the_installation_asks_for_is_said() -> None:
    assert "the Installation asks for Nftables" in configured(False, "Nftables").message
    assert configured(False, "Nftables").observed == "Nftables"
    assert "the Installation" not in configured(False).message
    assert "linuxDataplane is VPP" in configured(False, "VPP").message
    found = node(("FELIX_USEINTERNALDATAPLANEDRIVER", "false"))
    assert "FELIX_USEINTERNALDATAPLANEDRIVER is false" in configured(calico_node=found).message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"updated": 3}, "3 of 4 pods are of the new template"),
        ({"available": 3}, "3 of 4 pods are available"),
        ({"is_observed": False}, "not been taken up"),
        ({}, "cluster.felix.ownership"),
    ],
)
def test_a_switch_that_is_not_done(changes: dict[str, Any], words: str) -> None:
    found = node(**{"desired": 4, "updated": 4, "available": 4, **changes})
    finding = configured(False, "BPF", calico_node=found)
    assert finding.status is Status.WARN
    assert words in finding.message
    assert ("waits" in finding.message) is bool(changes)


def test_a_switch_of_a_calico_that_is_not_there_yet() -> None:
    finding = configured(None, "BPF", calico_node=ABSENT)
    assert finding.status is Status.WARN
    assert "not there yet" in finding.message


@pytest.mark.parametrize("others", [False, None])
def test_nodes_that_are_told_different_things(others: bool | None) -> None:
    finding = configured(others, nodes=((others, 37), (True, 3)))
    assert finding.status is Status.FAIL
    assert "3 of 40 nodes" in finding.message


def test_a_default_that_is_outranked_on_all_nodes() -> None:
    for asked in ("BPF", "Iptables"):
        finding = configured(True, asked, nodes=((False, 4),))
        assert finding.status is Status.WARN
        assert "cluster.felix.env-override" in finding.message
    assert configured(False, "BPF", nodes=((True, 4),)).note is True


@pytest.mark.parametrize(
    ("value", "status"),
    [("false", Status.FAIL), ("False", Status.FAIL), ("true", Status.PASS), ("", Status.PASS), (None, Status.PASS)],
)
def test_a_dataplane_that_is_not_felix_own(value: str | None, status: Status) -> None:
    found = node(("FELIX_USEINTERNALDATAPLANEDRIVER", value))
    assert configured(calico_node=found, installation=ABSENT, install="manifest").status is status


@pytest.mark.parametrize("fact", ["installation", "felix_default", "calico_node"])
def test_a_dataplane_of_which_not_all_is_seen(fact: str) -> None:
    hidden: dict[str, Any] = {fact: FORBIDDEN}
    assert configured(False, **hidden).status is Status.UNKNOWN
    seen = fact == "installation"
    assert configured(False, install="manifest", **hidden).status is (Status.PASS if seen else Status.UNKNOWN)


def test_a_dataplane_of_nodes_that_are_not_seen() -> None:
    facts: dict[str, Any] = {"installation": ABSENT, "felix_default": ABSENT, "calico_node": node()}
    assert judged_cluster(calico.dataplane, **facts).status is Status.UNKNOWN
    assert judged_cluster(calico.dataplane, kind(felix=FORBIDDEN), **facts).status is Status.UNKNOWN
    assert judged_cluster(calico.dataplane, kind(felix=known(FelixSettings())), **facts).status is Status.PASS


def test_no_dataplane_without_calico() -> None:
    finding = configured(installation=ABSENT, calico_node=ABSENT, felix_default=ABSENT)
    assert finding.status is Status.NOT_APPLICABLE
    assert configured(installation=ABSENT, calico_node=ABSENT, felix_default=FORBIDDEN).status is Status.NOT_APPLICABLE


# Windows.


def systems(*names: Fact[str]) -> tuple[NodeKind, ...]:
    return tuple(kind(operating_system=name) for name in names)


LINUX, WINDOWS = known("linux"), known("windows")


@pytest.mark.parametrize(
    ("found", "counts", "count", "status", "words"),
    [
        ((LINUX,), (40,), known(40), Status.PASS, "All 40 nodes"),
        ((LINUX, WINDOWS), (37, 3), known(40), Status.FAIL, "3 of 40 nodes"),
        ((LINUX, WINDOWS), (37, 3), FORBIDDEN, Status.FAIL, "3 of the 40 nodes that could be listed"),
        ((LINUX, ABSENT), (37, 3), known(40), Status.UNKNOWN, "3 of 40 nodes"),
        ((ABSENT, WINDOWS), (37, 3), known(40), Status.FAIL, "3 of 40"),
        ((LINUX, FORBIDDEN), (37, 3), known(40), Status.UNKNOWN, "not allowed"),
        (
            (LINUX, known("plan\x1b9")),
            (39, 1),
            known(40),
            Status.UNKNOWN,
            "1 of 40 nodes run could not be told: kubelet calls",
        ),
        ((LINUX,), (37,), known(40), Status.UNKNOWN, "37 of 40"),
        ((LINUX,), (37,), FORBIDDEN, Status.UNKNOWN, "not allowed"),
        ((LINUX,), (37,), ABSENT, Status.UNKNOWN, "not there"),
        ((), (), known(0), Status.UNKNOWN, "no nodes"),
    ],
)
def test_windows_nodes(
    found: tuple[Fact[str], ...], counts: tuple[int, ...], count: Fact[int], status: Status, words: str
) -> None:
    finding = judged_cluster(calico.windows, *systems(*found), counts=counts, node_count=count)
    assert finding.status is status
    assert finding.severity is Severity.BLOCKER
    assert words in finding.message
    assert "\x1b" not in finding.message
