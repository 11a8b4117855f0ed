"""What the checks after the switch say, case by case: each status, and which evidence outranks which."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from ebpfcheck.checks import verify_api, verify_cluster, verify_nodes, verify_residue, verify_trouble
from ebpfcheck.engine import judge
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import (
    CalicoNode,
    ClusterFacts,
    EndpointOverride,
    Installation,
    KubeProxy,
    ServiceAddress,
    TigeraStatus,
)
from ebpfcheck.model.facts import (
    NOT_SURVEYED,
    Absent,
    AttachedProgram,
    AttachedPrograms,
    CalicoNodePod,
    ContainerExit,
    Dataplane,
    Fact,
    FelixLog,
    FelixMetrics,
    FelixSettings,
    Install,
    Known,
    KubeChains,
    Link,
    NodeKind,
    Reason,
    Unknown,
)
from ebpfcheck.model.report import Finding
from tests.builders import cluster_snapshot, kind, known, release

NODE = CalicoNode(
    namespace="calico-system",
    name="calico-node",
    image="quay.io/calico/node:v3.32.1",
    desired=3,
    updated=3,
    available=3,
)
ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to get pods/log in calico-system", source=0)
CLUSTER: dict[str, Fact[Any]] = {
    "calico_node": known(NODE),
    "calico_nodes": known(("calico-system/calico-node",)),
    "node_count": known(1),
}


def said(
    check: Check,
    *,
    expect: Dataplane = "bpf",
    version: str = "v3.32.1",
    install: Install = "operator",
    cluster: Mapping[str, Fact[Any]] | None = None,
    **facts: Fact[Any],
) -> Finding:
    """The one finding of a check about a node of which these facts are known, in a cluster with calico-node."""
    unseen = dict.fromkeys(("bpf_programs", "links", "ipvs_services", "bpf_pins", "nft_tables"), NOT_SURVEYED)
    one = cluster_snapshot(ClusterFacts(**{**CLUSTER, **(cluster or {})}), kind(**{**unseen, **facts}))
    (finding,) = judge(one, (check,), release(version), install, expect)
    assert "The check itself failed" not in finding.message, finding.message
    return finding


def log(mode: str | None = "bpf", **more: Any) -> Fact[Any]:
    start = "seen" if mode else "rotated"
    given: dict[str, Any] = {"start": start, "mode": mode, "is_recent_seen": True, **more}
    return known(FelixLog(**given))


def programs(*names: str, by: str = "bpftool", misses_tcx: bool = False) -> Fact[Any]:
    found = tuple(AttachedProgram(device="ens3", hook="tcx/ingress", name=name) for name in names)
    return known(AttachedPrograms(programs=found, by=by, misses_tcx=misses_tcx))  # type: ignore[arg-type]


def metrics(endpoints: int, dirty: int = 0) -> Fact[Any]:
    return known(FelixMetrics(endpoints=endpoints, dirty=dirty))


def a_pod(**more: Any) -> Fact[Any]:
    return known(CalicoNodePod(**{"phase": "Running", "is_ready": True, "is_current": True, **more}))


OURS = "cali_tc_preambl"
STANDARD = log("standard")


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({"felix_log": log()}, "pass", "Felix has started in it"),
        ({"felix_log": log(), "bpf_programs": programs(OURS)}, "pass", "are attached"),
        ({"felix_log": log(), "bpf_programs": programs()}, "fail", "although Felix says"),
        ({"felix_log": log(), "bpf_programs": programs("cil_from_netdev")}, "fail", "None of Calico's"),
        # What cannot see all hooks is no evidence of nothing.
        ({"felix_log": log(), "bpf_programs": programs(by="tc")}, "pass", "Felix has started"),
        ({"felix_log": log(), "bpf_programs": programs(misses_tcx=True)}, "pass", "Felix has started"),
        ({"felix_log": log(None), "bpf_programs": programs(OURS)}, "pass", "are attached"),
        ({"felix_log": log(None), "bpf_programs": programs()}, "fail", "None of Calico's"),
        ({"felix_log": FORBIDDEN, "bpf_programs": programs(OURS)}, "pass", "are attached"),
        ({"felix_log": log("standard")}, "fail", "standard dataplane on this node."),
        ({"felix_log": log("standard"), "bpf_programs": programs(OURS)}, "fail", "left over"),
        ({"felix_log": log("standard"), "felix_metrics": metrics(10)}, "fail", "standard dataplane"),
        (
            {"felix_log": log("standard"), "felix": known(FelixSettings(bpf_enabled=True))},
            "fail",
            "although bpfEnabled",
        ),
        ({"felix_log": log("standard"), "felix": known(FelixSettings())}, "fail", "as bpfEnabled is not true"),
        ({"felix_log": log("standard", fallback="too old")}, "fail", "(too old) and went back"),
        ({"felix_log": log("standard", fallback="")}, "fail", "on this node and went back"),
        ({"felix_log": log("standard", fallback=""), "bpf_programs": programs(OURS)}, "fail", "left over"),
        ({"felix_log": log(signs=(("load-balancer-failed", 1),))}, "fail", "connect-time load balancing"),
        ({"felix_log": log(signs=(("mark-mask", 1),))}, "fail", "mark mask"),
        ({"felix_log": log(signs=(("dirty", 1),))}, "pass", "Felix has started"),
        ({"felix_log": log(None), "felix_metrics": metrics(10)}, "pass", "metrics count"),
        ({"felix_log": FORBIDDEN, "felix_metrics": metrics(10)}, "pass", "metrics count"),
        ({"felix_log": log(None), "felix_metrics": metrics(0)}, "unknown", "rotated away"),
        ({"felix_log": log(None)}, "unknown", "rotated away"),
        ({"felix_log": known(FelixLog(start="unread"))}, "unknown", "was not found"),
        ({"felix_log": log("starting")}, "unknown", "still starting"),
        ({"felix_log": FORBIDDEN}, "unknown", "not allowed to get pods/log"),
        ({}, "unknown", "without calico-node's log"),
    ],
)
def test_the_dataplane_where_ebpf_mode_should_run(facts: dict[str, Any], status: str, words: str) -> None:
    finding = said(verify_nodes.node_dataplane, **facts)
    assert (finding.status, words in finding.message) == (status, True), finding.message
    # What runs is told by Felix's log already: that nobody looked at the node is no excuse.
    assert not finding.needs_survey


@pytest.mark.parametrize(
    ("expect", "version", "facts", "status", "words"),
    [
        ("iptables", "v3.32.1", {"felix_log": log("standard", rules="iptables")}, "pass", "iptables mode"),
        ("nftables", "v3.32.1", {"felix_log": log("standard", rules="nftables")}, "pass", "nftables mode"),
        ("nftables", "v3.32.1", {"felix_log": log("standard", rules="iptables")}, "fail", "rules to iptables"),
        ("iptables", "v3.32.1", {"felix_log": log("standard", rules="nftables")}, "fail", "rules to nftables"),
        ("iptables", "v3.32.1", {"felix_log": log("standard")}, "unknown", "could not be told"),
        ("iptables", "v3.28.2", {"felix_log": log("standard")}, "pass", "iptables mode"),
        ("nftables", "v3.28.2", {"felix_log": log("standard")}, "fail", "rules to iptables"),
        ("iptables", "v3.32.1", {"felix_log": STANDARD, "nft_tables": known(("ip filter",))}, "pass", "iptables"),
        ("nftables", "v3.32.1", {"felix_log": STANDARD, "nft_tables": known(("ip calico",))}, "pass", "nftables"),
        ("iptables", "v3.32.1", {"felix_log": STANDARD, "nft_tables": ABSENT}, "pass", "iptables"),
        ("iptables", "v3.32.1", {"felix_log": log("bpf")}, "fail", "still runs in eBPF mode"),
        ("iptables", "v3.32.1", {"felix_log": log(None), "bpf_programs": programs(OURS)}, "fail", "still attached"),
        ("iptables", "v3.32.1", {"felix_log": log(None)}, "unknown", "rotated away"),
        ("iptables", "v3.32.1", {"felix_log": FORBIDDEN}, "unknown", "not allowed"),
        ("iptables", "v3.32.1", {"felix_log": log("starting")}, "unknown", "still starting"),
        ("iptables", "v3.32.1",
         {"felix_log": FORBIDDEN, "bpf_programs": programs(), "nft_tables": ABSENT}, "unknown", "not allowed"),
        ("iptables", "v3.32.1", {"felix_log": log("standard", rules="iptables", fallback="x")}, "warn", "refused"),
    ],
)  # fmt: skip
def test_the_dataplane_after_a_rollback(
    expect: Dataplane, version: str, facts: dict[str, Any], status: str, words: str
) -> None:
    finding = said(verify_nodes.node_dataplane, expect=expect, version=version, **facts)
    assert (finding.status, words in finding.message) == (status, True), finding.message


@pytest.mark.parametrize(
    ("fact", "status", "cause"),
    [
        (a_pod(), "pass", "is ready on this node"),
        (a_pod(restarts=10), "pass", "restarted 10 times"),
        (a_pod(restarts=1), "pass", "is ready on this node."),
        (a_pod(is_ready=False), "fail", "is not ready"),
        (a_pod(is_current=False), "fail", "from before the change"),
        (a_pod(is_leaving=True), "fail", "from before the change"),
        (a_pod(is_current=None), "unknown", "present template could not be told"),
        (a_pod(is_ready=False, waiting=("CrashLoopBackOff",)), "fail", "CrashLoopBackOff"),
        (ABSENT, "fail", "No pod of calico-node"),
        (FORBIDDEN, "unknown", "not allowed"),
    ],
)
def test_the_pod_on_the_node(fact: Fact[Any], status: str, cause: str) -> None:
    finding = said(verify_nodes.node_pod, calico_node_pod=fact)
    assert (finding.status, cause in finding.message) == (status, True), finding.message


def ended(container: str, code: int) -> Fact[Any]:
    return a_pod(is_ready=False, init_exits=(ContainerExit(container=container, code=code),))


@pytest.mark.parametrize(
    ("fact", "status", "words"),
    [
        (a_pod(), "pass", "ended with an error"),
        (ended("ebpf-bootstrap", 2), "fail", "bpffs could not be mounted"),
        (ended("mount-bpffs", 3), "fail", "cgroup2 could not be mounted"),
        (ended("ebpf-bootstrap", 4), "fail", "bpfNetworkBootstrap"),
        (ended("install-cni", 2), "fail", "ended with exit code 2."),
        (ended("ebpf-bootstrap", 99), "fail", "ended with exit code 99."),
        (ABSENT, "not_applicable", "verify.node.pod"),
        (FORBIDDEN, "unknown", "not allowed"),
    ],
)
def test_the_init_containers(fact: Fact[Any], status: str, words: str) -> None:
    finding = said(verify_nodes.node_init, calico_node_pod=fact)
    assert (finding.status, words in finding.message) == (status, True), finding.message


SERVICE = known(ServiceAddress(cluster_ips=("10.96.0.1", "fd00:96::1"), port=443))
OVERRIDE = known(
    (
        EndpointOverride(
            namespace="tigera-operator", name="kubernetes-services-endpoint", host="api.example.net", port="6443"
        ),
    )
)
PROXY = KubeProxy(namespace="kube-system", name="kube-proxy", runs_as="daemonset", desired=0)
BOOTSTRAP = known(Installation(bpf_network_bootstrap="Enabled"))


@pytest.mark.parametrize(
    ("api", "cluster", "status", "words"),
    [
        (("api.example.net", "6443"), {"endpoint_overrides": OVERRIDE}, "pass", "not by the Service's address"),
        (("API.example.net.", "6443"), {"endpoint_overrides": OVERRIDE}, "pass", "not by the Service's address"),
        (("api.example.net", "443"), {"endpoint_overrides": OVERRIDE}, "warn", "before that was changed"),
        (("10.0.0.9", "6443"), {"endpoint_overrides": OVERRIDE}, "warn", "before that was changed"),
        (("10.0.0.9", "6443"), {"endpoint_overrides": ABSENT}, "pass", "10.0.0.9:6443"),
        (("fd00::9", "6443"), {"endpoint_overrides": ABSENT}, "pass", "[fd00::9]:6443"),
        (("10.96.0.1", "443"), {"endpoint_overrides": OVERRIDE}, "fail", "still reaches"),
        (("fd00:96:0::1", "443"), {"endpoint_overrides": OVERRIDE}, "fail", "still reaches"),
        (("[fd00:96::1]", "443"), {"endpoint_overrides": OVERRIDE, "installation": BOOTSTRAP}, "fail", "still reaches"),
        (("10.96.0.1", "443"), {"endpoint_overrides": ABSENT, "installation": BOOTSTRAP}, "pass", "Bootstrap makes"),
        (("10.96.0.1", "443"), {"endpoint_overrides": ABSENT, "kube_proxy": known(PROXY)}, "fail", "rebooted"),
        (("10.96.0.1", "443"), {"endpoint_overrides": ABSENT, "kube_proxy": ABSENT}, "warn", "Unless kube-proxy"),
        (("10.96.0.1", "443"), {"endpoint_overrides": ABSENT, "kube_proxy": known(KubeProxy(
            namespace="kube-system", name="kube-proxy", runs_as="daemonset", desired=3))}, "pass", "still runs"),
        (("10.96.0.1", "443"), {"endpoint_overrides": FORBIDDEN}, "unknown", "whether it should"),
        (("", ""), {"endpoint_overrides": OVERRIDE}, "fail", "no address given"),
        (("10.0.0.9", "6443"), {"kubernetes_service": FORBIDDEN}, "unknown", "Service's address could not"),
        (None, {"endpoint_overrides": OVERRIDE}, "unknown", "not there to read"),
    ],
)  # fmt: skip
def test_the_address_of_the_api_server(
    api: tuple[str, str] | None, cluster: Mapping[str, Fact[Any]], status: str, words: str
) -> None:
    one = log() if api is None else log(api_host=api[0], api_port=api[1])
    facts = {"kubernetes_service": SERVICE, "installation": ABSENT, **cluster}
    finding = said(verify_api.node_api_endpoint, cluster=facts, felix_log=one)
    assert (finding.status, words in finding.message) == (status, True), finding.message


def test_the_template_tells_the_address_where_the_log_does_not() -> None:
    node = known(CalicoNode(namespace="x", name="y", image="z", service_host="api.example.net"))
    facts = {"calico_node": node, "kubernetes_service": SERVICE, "endpoint_overrides": OVERRIDE, "installation": ABSENT}
    for pod, status in ((a_pod(), "pass"), (a_pod(is_current=False), "unknown"), (FORBIDDEN, "unknown")):
        finding = said(verify_api.node_api_endpoint, cluster=facts, felix_log=FORBIDDEN, calico_node_pod=pod)
        assert finding.status == status


def test_releases_that_do_not_log_the_address() -> None:
    finding = said(verify_api.node_api_endpoint, version="v3.15.0", felix_log=log())
    assert finding.status == "not_applicable"


DIRTY = (("dirty", 1),)


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({"felix_log": log()}, "pass", "no program that could not"),
        ({"felix_log": log(signs=DIRTY), "calico_node_pod": a_pod(is_ready=False)}, "fail", "again and again"),
        ({"felix_log": log(signs=DIRTY), "calico_node_pod": a_pod()}, "warn", "Within the last minutes"),
        (
            {"felix_log": log(signs=DIRTY), "calico_node_pod": a_pod(), "felix_metrics": metrics(10)},
            "pass",
            "no program",
        ),
        ({"felix_log": log(), "felix_metrics": metrics(10, 1)}, "fail", "again and again"),
        ({"felix_log": FORBIDDEN, "felix_metrics": metrics(10)}, "pass", "no program"),
        ({"felix_log": FORBIDDEN}, "unknown", "not allowed"),
    ],
)
def test_programs_that_were_refused(facts: dict[str, Any], status: str, words: str) -> None:
    finding = said(verify_trouble.node_policy, **facts)
    assert (finding.status, words in finding.message) == (status, True), finding.message


@pytest.mark.parametrize(
    ("signs", "status"),
    [
        ((), "pass"),
        ((("inserts-lost", 1),), "pass"),
        ((("inserts-lost", 1), ("restore-failed", 1)), "pass"),
        ((("inserts-lost", 10),), "fail"),
        ((("kube-proxy-mode-changed", 10),), "fail"),
        ((("dirty", 100),), "pass"),
        ((("healthz-port", 100),), "warn"),
        ((("healthz-port", 100), ("restore-failed", 100)), "fail"),
    ],
)
def test_rules_that_come_and_go(signs: tuple[tuple[str, int], ...], status: str) -> None:
    for expect in ("bpf", "iptables"):
        assert said(verify_trouble.node_kube_proxy, expect=expect, felix_log=log(signs=signs)).status == status
    assert said(verify_trouble.node_kube_proxy, felix_log=FORBIDDEN).status == "unknown"


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({"programs": known(("kubelet", "kube-proxy")), "felix": FORBIDDEN}, "unknown", "kube-proxy runs on this node"),
        ({"programs": known(("kubelet", "kube-proxy")), "felix": known(FelixSettings())}, "fail", "runs on this node"),
        ({"programs": known(("kube-proxy",)), "felix": known(
            FelixSettings(bpf_kube_proxy_iptables_cleanup_enabled=False))}, "pass", "Nobody else"),
        ({"programs": known(("kubelet",)), "kube_chains": known(KubeChains(of_services=10))}, "warn", "rules are not"),
        ({"programs": known(("kubelet",)), "kube_chains": known(KubeChains())}, "pass", "Nobody else"),
        ({"programs": known(("k3s",)), "kube_chains": known(KubeChains(of_services=10))}, "pass", "Nobody else"),
        ({"programs": NOT_SURVEYED, "kube_chains": known(KubeChains(of_services=10))}, "pass", "Nobody else"),
    ],
)  # fmt: skip
def test_what_a_node_shows_of_kube_proxy(facts: dict[str, Any], status: str, words: str) -> None:
    finding = said(verify_trouble.node_kube_proxy, felix_log=log(), **facts)
    assert (finding.status, words in finding.message) == (status, True), finding.message
    assert said(verify_trouble.node_kube_proxy, expect="iptables", felix_log=log(), **facts).status == "pass"


def links(*names: str) -> Fact[Any]:
    return known(tuple(Link(name=name, kind="dummy", mtu=1500, is_up=True) for name in names))


@pytest.mark.parametrize(
    ("check", "expect", "facts", "status", "counts"),
    [
        (verify_residue.node_programs, "bpf", {"bpf_programs": programs(OURS)}, "pass", True),
        (verify_residue.node_programs, "bpf", {"bpf_programs": programs("x")}, "fail", True),
        (verify_residue.node_programs, "bpf", {"bpf_programs": programs(by="tc")}, "unknown", True),
        (verify_residue.node_programs, "bpf", {"bpf_programs": FORBIDDEN}, "unknown", True),
        (verify_residue.node_programs, "bpf", {}, "unknown", False),
        (verify_residue.node_programs, "iptables", {"bpf_programs": programs(OURS)}, "not_applicable", True),
        (verify_residue.node_ipvs, "bpf", {"links": links("ens3"), "ipvs_services": ABSENT}, "pass", True),
        (verify_residue.node_ipvs, "bpf", {"links": links("kube-ipvs0"), "ipvs_services": ABSENT}, "fail", True),
        (verify_residue.node_ipvs, "bpf", {"felix_log": log(signs=(("ipvs", 1),))}, "fail", True),
        (verify_residue.node_ipvs, "bpf", {"links": links("ens3"), "ipvs_services": known(True)}, "warn", True),
        (verify_residue.node_ipvs, "bpf", {"links": links("ens3"), "ipvs_services": FORBIDDEN}, "unknown", False),
        (verify_residue.node_ipvs, "bpf", {"felix_log": log()}, "unknown", False),
        (verify_residue.node_ipvs, "nftables", {"links": links("kube-ipvs0")}, "not_applicable", True),
        (verify_residue.rollback_clean, "iptables",
         {"bpf_programs": programs(), "bpf_pins": ABSENT, "links": links("ens3")}, "pass", True),
        (verify_residue.rollback_clean, "iptables",
         {"bpf_programs": programs(OURS), "bpf_pins": ABSENT, "links": links("ens3")}, "fail", True),
        (verify_residue.rollback_clean, "iptables", {"bpf_programs": programs(OURS)}, "fail", True),
        (verify_residue.rollback_clean, "iptables",
         {"bpf_programs": programs(), "bpf_pins": known(("calico",)), "links": links("ens3")}, "warn", True),
        (verify_residue.rollback_clean, "iptables",
         {"bpf_programs": programs(), "bpf_pins": ABSENT, "links": links("bpfin.cali")}, "warn", True),
        (verify_residue.rollback_clean, "iptables",
         {"bpf_programs": programs(by="tc"), "bpf_pins": ABSENT, "links": links("ens3")}, "unknown", True),
        (verify_residue.rollback_clean, "iptables",
         {"bpf_programs": programs(), "bpf_pins": FORBIDDEN, "links": links("ens3")}, "unknown", False),
        (verify_residue.rollback_clean, "iptables", {}, "unknown", False),
        (verify_residue.rollback_clean, "bpf", {"bpf_programs": programs(OURS)}, "not_applicable", True),
    ],
)  # fmt: skip
def test_what_a_look_at_the_node_tells(
    check: Check, expect: Dataplane, facts: dict[str, Any], status: str, *, counts: bool
) -> None:
    finding = said(check, expect=expect, **facts)
    assert finding.status == status, finding.message
    assert finding.needs_survey is not counts


def test_where_there_is_no_calico_one_check_says_so() -> None:
    checks = (
        verify_nodes.node_pod, verify_nodes.node_init, verify_nodes.node_dataplane, verify_trouble.node_policy,
        verify_trouble.node_kube_proxy, verify_api.node_api_endpoint, verify_residue.node_programs,
        verify_residue.node_ipvs, verify_residue.rollback_clean,
    )  # fmt: skip
    for expect in ("bpf", "iptables"):
        for check in checks:
            finding = said(check, expect=expect, cluster={"calico_node": ABSENT}, calico_node_pod=ABSENT)
            assert finding.status == "not_applicable", check.id
    rollout = said(verify_cluster.rollout, cluster={"calico_node": ABSENT, "calico_nodes": known(())})
    assert (rollout.status, "no calico-node in this cluster" in rollout.message) == ("fail", True)


def changed(**more: Any) -> Fact[Any]:
    return known(msgspec.structs.replace(NODE, **more))


@pytest.mark.parametrize(
    ("node", "every", "status", "words"),
    [
        (known(NODE), known(("a/b",)), "pass", "rolled out to all of its 3 nodes"),
        (changed(updated=2), known(("a/b",)), "fail", "still being rolled out"),
        (changed(is_observed=False), known(("a/b",)), "fail", "still being rolled out"),
        (changed(available=2), known(("a/b",)), "fail", "2 of 3 pods"),
        (changed(desired=0, updated=0, available=0), known(("a/b",)), "fail", "no pod on any node"),
        (known(NODE), known(("a/b", "c/d")), "fail", "installed 2 times (a/b, c/d)"),
        (known(NODE), FORBIDDEN, "unknown", "another calico-node"),
        (FORBIDDEN, FORBIDDEN, "unknown", "not allowed"),
    ],
)
def test_the_rollout(node: Fact[Any], every: Fact[Any], status: str, words: str) -> None:
    finding = said(verify_cluster.rollout, cluster={"calico_node": node, "calico_nodes": every})
    assert (finding.status, words in finding.message) == (status, True), finding.message


def status(**more: Any) -> Fact[Any]:
    return known((TigeraStatus(**{"name": "calico", "available": True, **more}),))


BPF, IPTABLES = known(Installation(linux_dataplane="BPF")), known(Installation(linux_dataplane="Iptables"))


@pytest.mark.parametrize(
    ("install", "installation", "statuses", "expect", "result"),
    [
        ("operator", BPF, status(), "bpf", "pass"),
        ("operator", known(Installation()), status(), "bpf", "pass"),
        ("operator", IPTABLES, status(), "iptables", "pass"),
        ("operator", IPTABLES, status(), "bpf", "fail"),
        ("operator", BPF, status(), "nftables", "fail"),
        ("operator", BPF, status(degraded=True, message="x"), "bpf", "fail"),
        ("operator", BPF, status(progressing=True), "bpf", "fail"),
        ("operator", BPF, status(available=False), "bpf", "fail"),
        ("operator", BPF, status(name="apiserver", degraded=True), "bpf", "unknown"),
        ("operator", BPF, ABSENT, "bpf", "unknown"),
        ("operator", BPF, FORBIDDEN, "bpf", "unknown"),
        ("manifest", ABSENT, ABSENT, "bpf", "not_applicable"),
        ("unknown", ABSENT, ABSENT, "bpf", "not_applicable"),
        ("unknown", FORBIDDEN, FORBIDDEN, "bpf", "unknown"),
    ],
)
def test_the_operator(
    install: Install, installation: Fact[Any], statuses: Fact[Any], expect: Dataplane, result: str
) -> None:
    facts = {"installation": installation, "tigera_statuses": statuses}
    finding = said(verify_cluster.operator_status, install=install, expect=expect, cluster=facts)
    assert finding.status == result, finding.message


def proxy(desired: int | None, *selector: str, available: int | None = None, misplaced: int | None = None) -> Fact[Any]:
    keys = tuple((key, "true") for key in selector)
    seen = KubeProxy(namespace="kube-system", name="kube-proxy", runs_as="daemonset", node_selector=keys)
    return known(msgspec.structs.replace(seen, desired=desired, available=available, misplaced=misplaced))


KEPT = known(FelixSettings(bpf_kube_proxy_iptables_cleanup_enabled=False))


@pytest.mark.parametrize(
    ("fact", "felix", "expect", "result", "words"),
    [
        (proxy(0, "non-calico"), known(FelixSettings()), "bpf", "pass", "kube-proxy is off"),
        (proxy(0, "operator.tigera.io/disable-kube-proxy"), known(FelixSettings()), "bpf", "pass", "is off"),
        (proxy(2, "non-calico"), known(FelixSettings()), "bpf", "fail", "not gone from all"),
        (proxy(3), known(FelixSettings()), "bpf", "fail", "puts them back"),
        (proxy(3), KEPT, "bpf", "pass", "leaves its rules alone"),
        (proxy(3), FORBIDDEN, "bpf", "unknown", "could not be told"),
        (proxy(None), known(FelixSettings()), "bpf", "unknown", "does not say yet"),
        (proxy(None), known(FelixSettings()), "iptables", "unknown", "does not say yet"),
        (proxy(3, available=3), known(FelixSettings()), "iptables", "pass", "kube-proxy runs"),
        (proxy(3, available=1), known(FelixSettings()), "iptables", "fail", "available on 1 of the 3 nodes"),
        (proxy(2, available=2), known(FelixSettings()), "iptables", "warn", "on 2 of 3 nodes"),
        (proxy(0, "non-calico", misplaced=3), known(FelixSettings()), "bpf", "fail", "not gone from all"),
        (proxy(0, "non-calico", misplaced=0), known(FelixSettings()), "bpf", "pass", "kube-proxy is off"),
        (ABSENT, known(FelixSettings()), "bpf", "unknown", "neither"),
        (FORBIDDEN, known(FelixSettings()), "bpf", "unknown", "not allowed"),
        (proxy(3), known(FelixSettings()), "iptables", "pass", "kube-proxy runs"),
        (proxy(0, "non-calico"), known(FelixSettings()), "iptables", "fail", "(nodeSelector non-calico)"),
        (proxy(0), known(FelixSettings()), "nftables", "fail", "nothing provides Services"),
    ],
)
def test_kube_proxy(fact: Fact[Any], felix: Fact[Any], expect: Dataplane, result: str, words: str) -> None:
    facts = {"kube_proxy": fact, "api_groups": known(()), "openshift": ABSENT, "node_count": known(3)}
    finding = said(verify_cluster.kube_proxy, expect=expect, cluster=facts, felix=felix, programs=NOT_SURVEYED)
    assert (finding.status, words in finding.message) == (result, True), finding.message


def test_a_felix_that_does_not_stay_up() -> None:
    for expect in ("bpf", "iptables"):
        found = log("bpf" if expect == "bpf" else "standard", starts=10)
        finding = said(verify_nodes.node_dataplane, expect=expect, felix_log=found)
        assert finding.status == "fail"
        assert "does not stay up" in finding.message
    # Settings that are changed one after the other have it started anew, too.
    assert said(verify_nodes.node_dataplane, felix_log=log("bpf", starts=3)).status == "pass"


@pytest.mark.parametrize("check", [verify_trouble.node_policy, verify_trouble.node_kube_proxy])
def test_a_log_that_was_not_read_whole_is_not_quiet(check: Check) -> None:
    facts: dict[str, Any] = {"calico_node_pod": a_pod(), "felix": known(FelixSettings()), "programs": NOT_SURVEYED}
    finding = said(check, felix_log=log("bpf", is_recent_seen=False), **facts)
    assert finding.status == "unknown"
    assert "could not be told" in finding.message
    assert not finding.needs_survey
    assert said(check, felix_log=log("bpf"), **facts).status == "pass"


def test_metrics_that_do_not_count_what_failed_are_no_proof() -> None:
    found = known(FelixMetrics(endpoints=10, dirty=None))
    facts: dict[str, Any] = {"calico_node_pod": a_pod(), "felix_metrics": found}
    assert said(verify_trouble.node_policy, felix_log=log("bpf", is_recent_seen=False), **facts).status == "unknown"
    assert said(verify_trouble.node_policy, felix_log=log("bpf", signs=DIRTY), **facts).status == "warn"


@pytest.mark.parametrize("mark", ["eks.amazonaws.com/compute-type=fargate", "type=virtual-kubelet"])
def test_nodes_that_run_no_daemon_sets(mark: str) -> None:
    for check in (verify_nodes.node_pod, verify_nodes.node_dataplane, verify_trouble.node_policy):
        finding = said(check, platform_marks=known((mark,)), calico_node_pod=ABSENT, felix_log=FORBIDDEN)
        assert finding.status == "not_applicable"
        assert "no DaemonSet runs" in finding.message


def test_a_fact_of_the_cluster_is_among_the_evidence_of_a_node() -> None:
    finding = said(verify_nodes.node_pod, calico_node_pod=a_pod())
    assert [entry.fact for entry in finding.evidence] == ["calico_node", "calico_node_pod"]
    assert isinstance(CLUSTER["calico_node"], Known)
    assert NodeKind().calico_node_pod == NodeKind().felix_log
