import re
import shlex
from typing import Any

import msgspec
import pytest
import yaml

from ebpfcheck.checks import kube_proxy, kube_proxy_healthz, kube_proxy_state
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import (
    CalicoNode,
    ClusterFacts,
    EndpointOverride,
    Installation,
    KubeProxy,
    KubeProxyConfig,
    Marks,
    OpenShift,
)
from ebpfcheck.model.facts import (
    NOT_SURVEYED,
    Absent,
    Fact,
    FelixSettings,
    KubeChains,
    Link,
    NodeKind,
    Reason,
    Unknown,
)
from ebpfcheck.model.report import Coverage, Finding, Severity, Status, Verdict
from tests import builders
from tests.builders import cluster_snapshot, known, release

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not for you")
CHECKS = (
    kube_proxy.kube_proxy_mode,
    kube_proxy.kube_proxy_cleanup,
    kube_proxy.kube_proxy_managed,
    kube_proxy_healthz.kube_proxy_healthz_port,
)
MODE, CLEANUP, MANAGED, HEALTHZ = CHECKS

WITH_FILE = (
    "/usr/local/bin/kube-proxy",
    "--config=/var/lib/kube-proxy/config.conf",
    "--hostname-override=$(NODE_NAME)",
)
OFF = FelixSettings()
ON = FelixSettings(bpf_enabled=True)
KEEPS = FelixSettings(bpf_kube_proxy_iptables_cleanup_enabled=False)
ON_KEEPS = FelixSettings(bpf_enabled=True, bpf_kube_proxy_iptables_cleanup_enabled=False)
HAND = (("kubernetes.io/os", "linux"), ("non-calico", "true"))
OPERATOR = (("operator.tigera.io/disable-kube-proxy", "true"),)

KUBEADM = ("kubeadm.alpha.kubernetes.io/cri-socket",)
K3S = ("k3s.io/node-args",)
RKE1 = ("rke.cattle.io/internal-ip",)
RKE2 = ("rke2.io/node-args",)
AKS = ("kubernetes.azure.com/cluster",)
EKS = ("eks.amazonaws.com/nodegroup",)
KOPS = ("kops.k8s.io/instancegroup",)
OPENSHIFT = ("node.openshift.io/os_id=rhcos",)
TALOS = ("extensions.talos.dev/schematic",)
MICROK8S = ("microk8s.io/cluster",)
ADDRESS = known(
    (EndpointOverride(namespace="tigera-operator", name="kubernetes-services-endpoint", host="a", port="1"),)
)


def judged_cluster(check: Check, *kinds: NodeKind, **facts: Any) -> Finding:
    """Return the finding about a cluster whose list of nodes could be read."""
    return builders.judged_cluster(check, *kinds, **{"node_count": known(9), **facts})


def proxy(**changes: Any) -> Fact[Any]:
    whole = {
        "namespace": "kube-system",
        "name": "kube-proxy",
        "runs_as": "daemonset",
        "command": WITH_FILE,
        "node_selector": (("kubernetes.io/os", "linux"),),
        "desired": 3,
    }
    return known(KubeProxy(**{**whole, **changes}))


def config(mode: str | None = "iptables", **changes: Any) -> Fact[Any]:
    return known(KubeProxyConfig(config_maps=("kube-system/kube-proxy",), mode=mode, **changes))


def node(settings: Any = OFF, marks: tuple[str, ...] = (), provider: str = "") -> NodeKind:
    return NodeKind(
        felix=known(settings) if isinstance(settings, FelixSettings) else settings,
        platform_marks=known(marks),
        provider=known(provider) if provider else ABSENT,
    )


def asking(management: str | None = "Enabled", dataplane: str | None = None) -> Fact[Any]:
    return known(Installation(kube_proxy_management=management, linux_dataplane=dataplane))


def surveyed(
    settings: FelixSettings = OFF,
    marks: tuple[str, ...] = (),
    *,
    links: tuple[str, ...] = ("ens3",),
    chains: int = 0,
    tables: tuple[str, ...] = (),
    programs: tuple[str, ...] = (),
) -> NodeKind:
    return NodeKind(
        felix=known(settings),
        platform_marks=known(marks),
        provider=ABSENT,
        links=known(tuple(Link(name=name, kind="ethernet", mtu=1500, is_up=True) for name in links)),
        kube_chains=known(KubeChains(of_services=chains)) if chains else ABSENT,
        nft_tables=known(tables) if tables else ABSENT,
        programs=known(programs),
    )


def unsurveyed(marks: tuple[str, ...] = ()) -> NodeKind:
    return NodeKind(
        felix=known(OFF),
        platform_marks=known(marks),
        provider=ABSENT,
        links=NOT_SURVEYED,
        kube_chains=NOT_SURVEYED,
        nft_tables=NOT_SURVEYED,
        programs=NOT_SURVEYED,
    )


def commands(finding: Finding) -> tuple[str, ...]:
    assert finding.remediation is not None
    return finding.remediation.commands


def same_cause(check: Check, one: Finding, cause: str) -> bool:
    from ebpfcheck.engine import fingerprint

    return one.fingerprint == fingerprint(check.id, one.status, cause)


# All of them.


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
@pytest.mark.parametrize("version", ["v3.13", "v3.30", "v3.30.4", "v3.31", "v3.33"])
def test_nothing_known_is_unknown(check: Check, version: str) -> None:
    assert judged_cluster(check, version=version).status is Status.UNKNOWN
    assert judged_cluster(check, NodeKind(), version=version).status is Status.UNKNOWN


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
def test_where_kube_proxy_may_not_be_seen_the_finding_says_so(check: Check) -> None:
    finding = judged_cluster(check, node(), kube_proxy=FORBIDDEN, installation=ABSENT, kube_proxy_config=config())
    assert finding.status is Status.UNKNOWN
    assert finding.reason is Reason.FORBIDDEN


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
def test_no_check_fails_where_its_severity_does_not_allow_it(check: Check) -> None:
    for version in ("v3.13", "v3.30", "v3.31", "v3.33"):
        for settings in (OFF, ON, KEEPS, ON_KEEPS):
            for marks in ((), K3S, AKS, RKE1, KOPS):
                for there in (proxy(), proxy(desired=0), proxy(runs_as="static pods"), ABSENT):
                    for mode in ("iptables", "ipvs", "nftables"):
                        finding = judged_cluster(
                            check,
                            node(settings, marks, "aws"),
                            version=version,
                            kube_proxy=there,
                            kube_proxy_config=config(mode),
                            installation=asking(dataplane="BPF"),
                        )
                        assert finding.status is not Status.FAIL or finding.severity is Severity.BLOCKER


def test_each_platform_of_the_table_is_one_that_is_recognised() -> None:
    tables = load_knowledge()
    names = {entry.name for entry in tables.platforms.platform}
    for entry in tables.kube_proxy.platform:
        assert entry.platform in names
        assert entry.in_sight or entry.owner, entry.platform
        assert not entry.owner or entry.remedy, entry.platform


@pytest.mark.parametrize("field", ["owner", "platform"])
def test_patches_in_the_tables_are_json(field: str) -> None:
    found = [command for entry in getattr(load_knowledge().kube_proxy, field) for command in entry.commands]
    assert found
    for command in found:
        assert isinstance(yaml.safe_load(shlex.split(command)[-1]), dict)


# cluster.kube-proxy.mode


@pytest.mark.parametrize(
    ("mode", "version", "status", "cause"),
    [
        ("iptables", "v3.16", Status.PASS, "plain"),
        ("", "v3.32.1", Status.PASS, "plain"),
        ("kernelspace", "v3.32.1", Status.PASS, "plain"),
        ("ipvs", "v3.13", Status.FAIL, "ipvs"),
        ("ipvs", "v3.33", Status.FAIL, "ipvs"),
        ("nftables", "v3.31.3", Status.WARN, "nftables-stay"),
        ("nftables", "v3.30", Status.WARN, "nftables-stay"),
        ("nftables", "v3.31", Status.WARN, "nftables-patch"),
        ("nftables", "v3.31.4", Status.PASS, "nftables"),
        ("nftables", "v3.32.0", Status.PASS, "nftables"),
        ("userspace", "v3.32.1", Status.UNKNOWN, "other-mode"),
        ("IPVS", "v3.32.1", Status.UNKNOWN, "other-mode"),
        ("\x1b[31mipvs", "v3.32.1", Status.UNKNOWN, "other-mode"),
    ],
)
def test_modes(mode: str, version: str, status: Status, cause: str) -> None:
    finding = judged_cluster(MODE, version=version, kube_proxy=proxy(), kube_proxy_config=config(mode))
    assert finding.status is status
    assert same_cause(MODE, finding, cause)
    assert "\x1b" not in finding.message


@pytest.mark.parametrize(
    ("mode", "version", "status", "cause"),
    [
        ("iptables", "v3.32.1", Status.PASS, "off"),
        ("ipvs", "v3.32.1", Status.WARN, "ipvs-off"),
        ("nftables", "v3.31.3", Status.WARN, "nftables-stay"),
        ("nftables", "v3.31.4", Status.PASS, "nftables"),
    ],
)
@pytest.mark.parametrize(
    "off",
    [{"desired": 0}, {"node_selector": HAND}, {"node_selector": OPERATOR}, {"node_selector": HAND, "desired": 0}],
    ids=["none wanted", "selector", "operator's selector", "both"],
)
def test_the_mode_of_a_kube_proxy_that_is_off(
    off: dict[str, Any], mode: str, version: str, status: Status, cause: str
) -> None:
    finding = judged_cluster(MODE, version=version, kube_proxy=proxy(**off), kube_proxy_config=config(mode))
    assert finding.status is status
    assert same_cause(MODE, finding, cause)


@pytest.mark.parametrize(("nodes", "status"), [(known(0), Status.FAIL), (known(1), Status.WARN)])
def test_that_no_pod_is_wanted_says_nothing_without_nodes(nodes: Fact[int], status: Status) -> None:
    finding = judged_cluster(MODE, kube_proxy=proxy(desired=0), kube_proxy_config=config("ipvs"), node_count=nodes)
    assert finding.status is status


@pytest.mark.parametrize(
    ("changes", "configured", "status"),
    [
        # With a file the flags count for nothing.
        ({"command": ("kube-proxy", "--config=/c", "--proxy-mode=ipvs")}, config("iptables"), Status.PASS),
        ({"command": ("kube-proxy", "--config", "/c", "--proxy-mode=iptables")}, config("ipvs"), Status.FAIL),
        ({"command": ("kube-proxy", "--config=/c", "--proxy-mode=iptables")}, ABSENT, Status.UNKNOWN),
        ({"command": ("kube-proxy", "--config=/c")}, FORBIDDEN, Status.UNKNOWN),
        ({"command": ("kube-proxy", "--config=/c")}, ABSENT, Status.UNKNOWN),
        ({"command": ("kube-proxy", "--config=/c")}, config(None, server="https://api:443"), Status.UNKNOWN),
        ({"command": ("kube-proxy", "--config=/c")}, config(None, cluster_cidr="10.0.0.0/8"), Status.PASS),
        ({"command": ("kube-proxy", "--config=/c")}, config(None, healthz_bind_address=":10256"), Status.PASS),
        # Without one they count.
        ({"command": ("kube-proxy", "--proxy-mode=ipvs")}, ABSENT, Status.FAIL),
        ({"command": ("kube-proxy", "--proxy-mode", "ipvs")}, FORBIDDEN, Status.FAIL),
        ({"command": ("kube-proxy", "--proxy-mode=ipvs")}, config("iptables"), Status.FAIL),
        ({"command": ("kube-proxy", "--proxy-mode=iptables", "--proxy-mode=ipvs")}, ABSENT, Status.FAIL),
        ({"command": ("kube-proxy", "--proxy-mode=")}, ABSENT, Status.PASS),
        ({"command": ("sh", "-c", 'exec kube-proxy --proxy-mode="ipvs" 2>&1 | tee /log')}, ABSENT, Status.FAIL),
        ({"command": ("kube-proxy", "--config-sync-period=15m", "--proxy-mode=ipvs")}, ABSENT, Status.FAIL),
        ({"command": ("kube-proxy", "--v=2")}, ABSENT, Status.PASS),
        ({"command": ("kube-proxy", "--v=2")}, config(None, server="https://api:443"), Status.PASS),
        ({"command": ("kube-proxy", "--v=2")}, FORBIDDEN, Status.UNKNOWN),
        # A wrapper that starts it with the mounted file.
        ({"command": ("/start.sh",)}, config("ipvs"), Status.FAIL),
        ({"command": ("/start.sh",)}, ABSENT, Status.UNKNOWN),
        ({"command": ("/start.sh", "--verbose")}, ABSENT, Status.UNKNOWN),
        ({"command": ("--v=2",)}, ABSENT, Status.PASS),
        ({"command": ()}, config("ipvs"), Status.FAIL),
        ({"command": ()}, ABSENT, Status.UNKNOWN),
        # No ConfigMap is a static pod's.
        ({"runs_as": "static pods", "command": ("kube-proxy", "--v=2")}, config("ipvs"), Status.PASS),
        ({"runs_as": "static pods", "command": ("kube-proxy", "--v=2")}, FORBIDDEN, Status.PASS),
        ({"runs_as": "static pods", "command": ("kube-proxy", "--proxy-mode=ipvs")}, ABSENT, Status.FAIL),
        ({"runs_as": "static pods", "command": ("kube-proxy", "--config=/c")}, config("iptables"), Status.UNKNOWN),
        ({"runs_as": "static pods", "command": ("kube-proxy", "--config=/c")}, FORBIDDEN, Status.UNKNOWN),
        ({"runs_as": "static pods", "command": ()}, ABSENT, Status.UNKNOWN),
    ],
)
def test_where_the_mode_is_read(changes: dict[str, Any], configured: Fact[Any], status: Status) -> None:
    finding = judged_cluster(MODE, kube_proxy=proxy(**changes), kube_proxy_config=configured)
    assert finding.status is status, finding.message


def test_a_configuration_that_may_not_be_read_names_the_reason() -> None:
    finding = judged_cluster(MODE, kube_proxy=proxy(), kube_proxy_config=FORBIDDEN)
    assert finding.reason is Reason.FORBIDDEN
    assert "not for you" in finding.message
    assert finding.remediation is not None
    assert "ebpfcheck rbac" in finding.remediation.text
    finding = judged_cluster(MODE, kube_proxy=proxy(), kube_proxy_config=ABSENT)
    assert finding.remediation is not None
    assert "ebpfcheck rbac" not in finding.remediation.text


@pytest.mark.parametrize(
    ("marks", "openshift", "status", "cause"),
    [
        (KUBEADM, ABSENT, Status.WARN, "ipvs-off"),
        (KOPS, ABSENT, Status.WARN, "ipvs-off"),
        (EKS, ABSENT, Status.WARN, "ipvs-off"),
        ((*EKS, "eks.amazonaws.com/compute-type=auto"), ABSENT, Status.UNKNOWN, "not-in-sight"),
        (OPENSHIFT, known(OpenShift(deploy_kube_proxy=False)), Status.WARN, "ipvs-off"),
        (OPENSHIFT, known(OpenShift(deploy_kube_proxy=None)), Status.WARN, "ipvs-off"),
        (OPENSHIFT, known(OpenShift(deploy_kube_proxy=True)), Status.UNKNOWN, "not-in-sight"),
        (K3S, ABSENT, Status.UNKNOWN, "not-in-sight"),
        ((*OPENSHIFT, *K3S), ABSENT, Status.UNKNOWN, "not-in-sight"),
        (RKE1, ABSENT, Status.UNKNOWN, "not-in-sight"),
        (MICROK8S, ABSENT, Status.UNKNOWN, "not-in-sight"),
        (("doks.digitalocean.com/node-pool",), ABSENT, Status.UNKNOWN, "not-in-sight"),
        ((), ABSENT, Status.UNKNOWN, "not-in-sight"),
    ],
)
def test_the_mode_of_a_kube_proxy_that_is_not_in_sight(
    marks: tuple[str, ...], openshift: Fact[Any], status: Status, cause: str
) -> None:
    finding = judged_cluster(
        MODE, node(OFF, marks), kube_proxy=ABSENT, kube_proxy_config=config("ipvs"), openshift=openshift
    )
    assert finding.status is status, finding.message
    assert same_cause(MODE, finding, cause)


@pytest.mark.parametrize(
    ("configured", "version", "status", "cause"),
    [
        (ABSENT, "v3.32.1", Status.PASS, "gone"),
        (FORBIDDEN, "v3.32.1", Status.PASS, "gone"),
        (config(None), "v3.32.1", Status.PASS, "gone"),
        (config("iptables"), "v3.32.1", Status.PASS, "gone"),
        (config("nftables"), "v3.31.3", Status.WARN, "nftables-stay"),
        (config("nftables"), "v3.31.4", Status.PASS, "nftables"),
    ],
)
def test_the_config_map_of_a_daemon_set_that_was_deleted(
    configured: Fact[Any], version: str, status: Status, cause: str
) -> None:
    finding = judged_cluster(
        MODE, node(OFF, KUBEADM), version=version, kube_proxy=ABSENT, kube_proxy_config=configured, openshift=ABSENT
    )
    assert finding.status is status, finding.message
    assert same_cause(MODE, finding, cause)
    assert "runs" not in finding.message


@pytest.mark.parametrize(
    ("settings", "changes", "status", "cause"),
    [
        ((ON, ON_KEEPS), {"desired": 0}, Status.PASS, "ipvs-was"),
        ((ON, OFF), {"desired": 0}, Status.WARN, "ipvs-off"),
        ((ON, FORBIDDEN), {"desired": 0}, Status.WARN, "ipvs-off"),
        ((ON,), {"node_selector": HAND}, Status.WARN, "ipvs-off"),
        ((ON,), {}, Status.FAIL, "ipvs"),
    ],
)
def test_ipvs_that_was_is_for_the_nodes_once_ebpf_mode_is_on(
    settings: tuple[Any, ...], changes: dict[str, Any], status: Status, cause: str
) -> None:
    kinds = map(node, settings)
    finding = judged_cluster(MODE, *kinds, kube_proxy=proxy(**changes), kube_proxy_config=config("ipvs"))
    assert (finding.status, finding.note) == (status, status is Status.PASS), finding.message
    assert same_cause(MODE, finding, cause)
    assert ("when eBPF mode comes" in finding.message) is (status is Status.WARN)


@pytest.mark.parametrize(
    ("marks", "settings", "version", "cause"),
    [
        (AKS, KEEPS, "v3.31.3", "nftables-kept"),
        (AKS, OFF, "v3.30", "nftables-kept"),
        ((), KEEPS, "v3.31", "nftables-kept"),
        ((), OFF, "v3.31.3", "nftables-stay"),
    ],
)
def test_the_tables_of_a_kube_proxy_that_stays_stay(
    marks: tuple[str, ...], settings: FelixSettings, version: str, cause: str
) -> None:
    kind = node(settings, marks)
    finding = judged_cluster(MODE, kind, version=version, kube_proxy=proxy(), kube_proxy_config=config("nftables"))
    assert same_cause(MODE, finding, cause), finding.message
    assert finding.note is (cause == "nftables-kept")
    assert ("Delete" in finding.message) is not finding.note


RUNNING = ("k3s-server",)
NFT = ("ip kube-proxy",)
IPVS = ("ens3", "kube-ipvs0")


@pytest.mark.parametrize("marks", [K3S, ()], ids=["k3s", "unknown"])
@pytest.mark.parametrize(
    ("kinds", "mode", "cleanup"),
    [
        # None of it, on all nodes.
        (({},), "gone", "nobody"),
        (({}, {"programs": RUNNING}), "gone", "nobody"),
        (({"settings": ON, "programs": RUNNING},), "gone", "off"),
        # Only what it left: no program could be kube-proxy.
        (({"chains": 10},), "gone", "nobody"),
        (({"tables": NFT},), "nftables", "nobody"),
        (({"links": IPVS},), "ipvs-off", "nobody"),
        # It runs.
        (({"programs": ("kube-proxy",), "chains": 10}, {}), "plain", "before"),
        (({"programs": RUNNING, "chains": 10}, {"programs": RUNNING}), "plain", "before"),
        (({"settings": ON, "programs": RUNNING, "chains": 10},), "plain", "fight"),
        (({"programs": RUNNING, "tables": NFT},), "nftables", "before"),
        (({"programs": ("kube-proxy",), "links": IPVS},), "ipvs", "before"),
        (({"programs": ("kube-proxy",)},), "not-in-sight", "before"),
        # A device alone, where kube-proxy may run.
        (({"programs": RUNNING, "links": IPVS},), "ipvs", "not-in-sight"),
        (({"links": IPVS}, None), "ipvs", "not-in-sight"),
        # Not all nodes were looked at.
        (({}, None), "not-in-sight", "not-in-sight"),
        (({"programs": RUNNING, "chains": 10}, None), "not-in-sight", "not-in-sight"),
        ((None,), "not-in-sight", "not-in-sight"),
    ],
)
def test_nodes_that_were_looked_at_decide(
    marks: tuple[str, ...], kinds: tuple[dict[str, Any] | None, ...], mode: str, cleanup: str
) -> None:
    nodes = tuple(unsurveyed(marks) if one is None else surveyed(marks=marks, **one) for one in kinds)
    for check, cause in ((MODE, mode), (CLEANUP, cleanup)):
        finding = judged_cluster(check, *nodes, kube_proxy=ABSENT, installation=ABSENT, openshift=ABSENT)
        assert same_cause(check, finding, cause), finding.message
        assert finding.needs_survey is (kinds == (None,))


@pytest.mark.parametrize("missing", ["links", "kube_chains", "nft_tables", "programs"])
def test_nothing_is_off_as_long_as_a_trace_of_it_could_not_be_looked_for(missing: str) -> None:
    kind = msgspec.structs.replace(surveyed(marks=K3S), **{missing: FORBIDDEN})
    for check in (MODE, CLEANUP):
        finding = judged_cluster(check, kind, kube_proxy=ABSENT, installation=ABSENT)
        assert finding.status is Status.UNKNOWN
        assert not finding.needs_survey


def test_nodes_that_were_looked_at_decide_what_the_platform_does_not() -> None:
    for one, cause in (
        (surveyed(marks=RKE1), "gone"),
        (surveyed(marks=RKE1, programs=("kube-proxy",), chains=1), "plain"),
        (surveyed(marks=(*EKS, "eks.amazonaws.com/compute-type=auto")), "gone"),
        (surveyed(marks=KUBEADM, programs=("kube-proxy",), chains=1), "gone"),
    ):
        finding = judged_cluster(MODE, one, kube_proxy=ABSENT, openshift=ABSENT)
        assert same_cause(MODE, finding, cause), finding.message
    coming = known(OpenShift(deploy_kube_proxy=True))
    finding = judged_cluster(MODE, surveyed(marks=OPENSHIFT), kube_proxy=ABSENT, openshift=coming)
    assert finding.status is Status.UNKNOWN


def test_a_device_that_is_on_no_node_was_there() -> None:
    finding = judged_cluster(
        MODE, surveyed(marks=KUBEADM), kube_proxy=ABSENT, kube_proxy_config=config("ipvs"), openshift=ABSENT
    )
    assert same_cause(MODE, finding, "gone")


def test_who_looks_after_what_the_nodes_show() -> None:
    for there, cause in ((surveyed(marks=K3S), "off"), (surveyed(marks=K3S, programs=RUNNING, chains=1), "inside")):
        finding = judged_cluster(MANAGED, there, kube_proxy=ABSENT, installation=ABSENT)
        assert same_cause(MANAGED, finding, cause), finding.message
        assert "unless" not in finding.message
    assert judged_cluster(MANAGED, unsurveyed(), kube_proxy=ABSENT, installation=ABSENT).needs_survey


def test_what_only_a_survey_tells_does_not_count_against_the_api() -> None:
    from ebpfcheck.engine import decide

    findings = [judged_cluster(check, unsurveyed(), kube_proxy=ABSENT, installation=ABSENT) for check in CHECKS[:3]]
    assert [finding.status for finding in findings] == [Status.UNKNOWN] * 3
    coverage = Coverage(nodes_total=1, nodes_surveyed=0, nodes_inferred=0)
    assert decide(findings, coverage, scope="api") is Verdict.READY
    assert decide(findings, coverage) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("marks", "words"), [(K3S, "On k3s"), (RKE1, "On RKE1"), ((), "may be off")])
def test_it_says_where_kube_proxy_may_hide(marks: tuple[str, ...], words: str) -> None:
    assert words in judged_cluster(MODE, node(OFF, marks), kube_proxy=ABSENT, kube_proxy_config=ABSENT).message


def test_a_platform_that_is_about_to_bring_kube_proxy_hides_none() -> None:
    finding = judged_cluster(
        MODE, node(OFF, OPENSHIFT), kube_proxy=ABSENT, openshift=known(OpenShift(deploy_kube_proxy=True))
    )
    assert "neither a DaemonSet nor static pods" in finding.message


@pytest.mark.parametrize(
    ("changes", "words", "reason"),
    [
        ({"command": ("kube-proxy", "--config=/c")}, "in a file on the nodes", Reason.NOT_COLLECTED),
        ({"command": ()}, "how it is started", Reason.NOT_COLLECTED),
    ],
)
def test_it_says_why_the_mode_of_static_pods_is_not_known(changes: dict[str, Any], words: str, reason: Reason) -> None:
    there = proxy(runs_as="static pods", **changes)
    finding = judged_cluster(MODE, kube_proxy=there, kube_proxy_config=FORBIDDEN)
    assert words in finding.message
    assert finding.reason is reason


def test_messages_tell_what_runs_from_what_is_off_and_what_is_set_from_what_is_not() -> None:
    said = {}
    for desired in (0, 3):
        there = proxy(desired=desired)
        for version in ("v3.30", "v3.31", "v3.32"):
            finding = judged_cluster(MODE, version=version, kube_proxy=there, kube_proxy_config=config("nftables"))
            assert ("runs in" in finding.message) is (desired == 3)
            said[version] = finding.message
    assert "some of its patches" not in said["v3.30"]
    assert "some of its patches" in said["v3.31"]
    for mode, observed in (("", "no mode set, which is iptables"), ("iptables", "mode iptables")):
        finding = judged_cluster(MODE, kube_proxy=proxy(), kube_proxy_config=config(mode))
        assert finding.observed == observed
        assert "whose rules Felix can remove" in finding.message


def test_ipvs_is_switched_off_by_commands_that_can_be_pasted() -> None:
    odd = known(KubeProxyConfig(config_maps=("kube-system/a; rm -rf b",), mode="ipvs"))
    finding = judged_cluster(MODE, kube_proxy=proxy(name="kube proxy"), kube_proxy_config=odd)
    assert [shlex.split(command) for command in commands(finding)] == [
        ["kubectl", "-n", "kube-system", "edit", "configmap", "a; rm -rf b"],
        ["kubectl", "-n", "kube-system", "rollout", "restart", "daemonset", "kube proxy"],
    ]
    assert finding.remediation is not None
    assert finding.remediation.needs_reboot


def test_no_commands_against_an_owner() -> None:
    finding = judged_cluster(MODE, node(OFF, TALOS), kube_proxy=proxy(), kube_proxy_config=config("ipvs"))
    assert finding.status is Status.FAIL
    assert commands(finding) == ()


def test_tables_of_nftables_are_deleted_by_name() -> None:
    finding = judged_cluster(MODE, version="v3.30.5", kube_proxy=proxy(), kube_proxy_config=config("nftables"))
    assert commands(finding) == ("nft delete table ip kube-proxy", "nft delete table ip6 kube-proxy")


# cluster.kube-proxy.cleanup


@pytest.mark.parametrize(
    ("there", "settings", "installation", "status", "cause", "note"),
    [
        # kube-proxy runs
        (proxy(), (OFF,), ABSENT, Status.PASS, "before", False),
        (proxy(), (ABSENT,), ABSENT, Status.PASS, "before", False),
        (proxy(), (OFF,), asking(None, "Iptables"), Status.PASS, "before", False),
        (proxy(), (FelixSettings(bpf_enabled=False),), ABSENT, Status.PASS, "before", False),
        (proxy(), (ON,), ABSENT, Status.FAIL, "fight", False),
        (
            proxy(),
            (FelixSettings(bpf_enabled=True, bpf_kube_proxy_iptables_cleanup_enabled=True),),
            ABSENT,
            Status.FAIL,
            "fight",
            False,
        ),
        (proxy(runs_as="static pods"), (ON,), ABSENT, Status.FAIL, "fight", False),
        (proxy(), (ON, OFF), ABSENT, Status.FAIL, "fight", False),
        (proxy(), (ON, FORBIDDEN), ABSENT, Status.FAIL, "fight", False),
        (proxy(), (OFF, FORBIDDEN), ABSENT, Status.UNKNOWN, "felix-unseen", False),
        (proxy(), (FORBIDDEN,), ABSENT, Status.UNKNOWN, "felix-unseen", False),
        (proxy(), (), ABSENT, Status.UNKNOWN, "felix-unseen", False),
        (proxy(), (ON_KEEPS,), ABSENT, Status.PASS, "kept", True),
        (proxy(), (KEEPS,), ABSENT, Status.PASS, "kept", True),
        (proxy(), (KEEPS,), asking(None, "BPF"), Status.PASS, "kept", True),
        (proxy(), (ON_KEEPS, OFF), ABSENT, Status.PASS, "kept-where-on", True),
        (proxy(), (ON_KEEPS, OFF), asking(None, "BPF"), Status.FAIL, "about-to-fight", False),
        (proxy(), (OFF,), asking(None, "BPF"), Status.FAIL, "about-to-fight", False),
        (proxy(), (OFF,), asking("Disabled", "BPF"), Status.FAIL, "about-to-fight", False),
        # The operator takes it away.
        (proxy(), (OFF,), asking("Enabled", "BPF"), Status.PASS, "operator-will", False),
        (proxy(), (OFF,), asking("Enabled"), Status.PASS, "operator-will", False),
        (proxy(), (ON,), asking("Enabled", "BPF"), Status.WARN, "operator-due", False),
        (proxy(runs_as="static pods"), (ON,), asking("Enabled", "BPF"), Status.FAIL, "fight", False),
        (proxy(runs_as="static pods"), (OFF,), asking("Enabled", "BPF"), Status.FAIL, "about-to-fight", False),
        (proxy(name="proxy"), (OFF,), asking("Enabled", "BPF"), Status.FAIL, "about-to-fight", False),
        # kube-proxy is off
        (proxy(desired=0), (ON,), ABSENT, Status.PASS, "off", False),
        (proxy(desired=0, node_selector=HAND), (ON,), ABSENT, Status.PASS, "off", False),
        (proxy(desired=0), (ON_KEEPS,), ABSENT, Status.PASS, "left", True),
        (proxy(desired=0), (ON, ON_KEEPS), ABSENT, Status.PASS, "left", True),
        (proxy(desired=0), (OFF,), ABSENT, Status.WARN, "nobody", False),
        (proxy(desired=0), (ABSENT,), ABSENT, Status.WARN, "nobody", False),
        (proxy(desired=0), (ON, OFF), ABSENT, Status.WARN, "nobody", False),
        (proxy(desired=0), (KEEPS,), asking(None, "Iptables"), Status.WARN, "nobody", False),
        (proxy(desired=0), (OFF,), asking(None, "BPF"), Status.FAIL, "stuck", False),
        (proxy(node_selector=HAND, desired=0), (OFF, ON), asking(None, "BPF"), Status.FAIL, "stuck", False),
        (proxy(node_selector=HAND), (OFF, ON_KEEPS), asking(None, "BPF"), Status.WARN, "nobody", False),
        (proxy(desired=0), (ON,), asking(None, "BPF"), Status.PASS, "off", False),
        (proxy(desired=0), (ON_KEEPS,), asking(None, "BPF"), Status.PASS, "left", True),
        (proxy(desired=0), (FORBIDDEN,), ABSENT, Status.UNKNOWN, "felix-unseen-off", False),
        (proxy(desired=0), (ON, FORBIDDEN), ABSENT, Status.UNKNOWN, "felix-unseen-off", False),
        # Told to go, and not gone from all nodes.
        (proxy(node_selector=HAND), (ON,), ABSENT, Status.WARN, "some-left", False),
        (proxy(node_selector=OPERATOR), (ON,), asking(), Status.WARN, "some-left", False),
        (proxy(node_selector=HAND), (ON_KEEPS,), ABSENT, Status.PASS, "left", True),
        (proxy(node_selector=HAND), (OFF,), ABSENT, Status.WARN, "nobody", False),
        # Not in sight.
        (ABSENT, (OFF,), ABSENT, Status.UNKNOWN, "not-in-sight", False),
        (ABSENT, (ON,), ABSENT, Status.UNKNOWN, "not-in-sight", False),
        (ABSENT, (ON, ON_KEEPS), ABSENT, Status.UNKNOWN, "not-in-sight", False),
        (ABSENT, (FORBIDDEN,), ABSENT, Status.UNKNOWN, "not-in-sight", False),
        (ABSENT, (KEEPS, FORBIDDEN), ABSENT, Status.UNKNOWN, "not-in-sight", False),
        (ABSENT, (ON_KEEPS,), ABSENT, Status.PASS, "kept-anyway", True),
    ],
)
def test_kube_proxy_and_the_cleanup(
    there: Fact[Any], settings: tuple[Any, ...], installation: Fact[Any], status: Status, cause: str, note: bool
) -> None:
    finding = judged_cluster(CLEANUP, *map(node, settings), kube_proxy=there, installation=installation)
    assert (finding.status, finding.note) == (status, note), finding.message
    assert same_cause(CLEANUP, finding, cause), finding.message


@pytest.mark.parametrize(
    ("marks", "there", "settings", "status", "cause"),
    [
        (AKS, proxy(), OFF, Status.WARN, "has-to-stay"),
        (AKS, proxy(), KEEPS, Status.PASS, "kept"),
        (AKS, proxy(), ON, Status.FAIL, "fight"),
        (AKS, ABSENT, ON, Status.PASS, "off"),
        (RKE1, ABSENT, OFF, Status.WARN, "has-to-stay"),
        (RKE1, ABSENT, ON, Status.FAIL, "fight"),
        (MICROK8S, ABSENT, OFF, Status.WARN, "has-to-stay"),
        (K3S, ABSENT, ON, Status.UNKNOWN, "not-in-sight"),
        (KUBEADM, proxy(), OFF, Status.PASS, "before"),
        (KUBEADM, ABSENT, ON, Status.PASS, "off"),
        (KUBEADM, ABSENT, OFF, Status.WARN, "nobody"),
    ],
)
def test_platforms_and_the_cleanup(
    marks: tuple[str, ...], there: Fact[Any], settings: FelixSettings, status: Status, cause: str
) -> None:
    finding = judged_cluster(CLEANUP, node(settings, marks), kube_proxy=there, installation=ABSENT)
    assert finding.status is status, finding.message
    assert same_cause(CLEANUP, finding, cause)


@pytest.mark.parametrize(
    ("version", "status"), [("v3.30", Status.FAIL), ("v3.31", Status.WARN), ("v3.31.0", Status.WARN)]
)
def test_the_operator_takes_kube_proxy_away_from_a_release_on(version: str, status: Status) -> None:
    finding = judged_cluster(CLEANUP, node(ON), version=version, kube_proxy=proxy(), installation=asking())
    assert finding.status is status


def test_a_mark_that_the_operator_refuses_makes_it_a_fight() -> None:
    marks = Marks(labels=(("addonmanager.kubernetes.io/mode", "Reconcile"),))
    finding = judged_cluster(CLEANUP, node(ON), kube_proxy=proxy(marks=marks), installation=asking())
    assert finding.status is Status.FAIL


def test_an_installation_that_may_not_be_read_could_ask_for_ebpf_mode() -> None:
    finding = judged_cluster(CLEANUP, node(OFF), kube_proxy=proxy(), installation=FORBIDDEN)
    assert finding.status is Status.UNKNOWN
    assert finding.reason is Reason.FORBIDDEN


def test_nodes_are_counted() -> None:
    kinds = (node(ON), node(OFF))
    finding = judged_cluster(CLEANUP, *kinds, counts=(3, 4), kube_proxy=proxy(), installation=ABSENT)
    assert "3 of 7 nodes" in finding.message
    finding = judged_cluster(CLEANUP, *kinds, counts=(3, 4), kube_proxy=proxy(desired=0), installation=ABSENT)
    assert "4 of 7 nodes" in finding.message


@pytest.mark.parametrize("marks", [(), AKS], ids=["may go", "has to stay"])
@pytest.mark.parametrize(("settings", "asked"), [(ON, None), (OFF, "BPF")], ids=["fight", "about to"])
def test_a_fight_is_ended_by_what_can_be_undone(
    settings: FelixSettings, asked: str | None, marks: tuple[str, ...]
) -> None:
    finding = judged_cluster(
        CLEANUP,
        node(settings, marks),
        install="operator",
        kube_proxy=proxy(),
        installation=asking(None, asked),
        endpoint_overrides=ADDRESS,
    )
    assert finding.status is Status.FAIL
    (command,) = commands(finding)
    assert yaml.safe_load(shlex.split(command)[-1]) == {"spec": {"bpfKubeProxyIptablesCleanupEnabled": False}}
    assert finding.remediation is not None
    assert not finding.remediation.disruptive
    assert ("Only once cluster.api-endpoint.present" in finding.remediation.text) is not bool(marks)
    assert ("take kube-proxy off" in finding.message) is not bool(marks)


STOP = [
    "kubectl", "-n", "proxies", "patch", "daemonset", "kube-proxy", "--type", "merge", "-p",
    '{"spec":{"template":{"spec":{"nodeSelector":{"non-calico":"true"}}}}}',
]  # fmt: skip


def an_override(**changes: Any) -> Fact[Any]:
    whole = {"namespace": "tigera-operator", "name": "kubernetes-services-endpoint", "host": "10.0.0.1", "port": "6443"}
    return known((EndpointOverride(**{**whole, **changes}),))


@pytest.mark.parametrize(
    ("facts", "version", "mode", "can_go"),
    [
        ({"endpoint_overrides": an_override()}, "v3.32.1", "iptables", True),
        ({"endpoint_overrides": an_override()}, "v3.32.1", "ipvs", False),
        ({"endpoint_overrides": an_override(namespace="kube-system")}, "v3.32.1", "iptables", False),
        ({"endpoint_overrides": an_override(name="kubernetes-service-endpoint")}, "v3.32.1", "iptables", False),
        ({"endpoint_overrides": an_override(port=None)}, "v3.32.1", "iptables", False),
        ({"endpoint_overrides": an_override(host="")}, "v3.32.1", "iptables", False),
        ({"endpoint_overrides": ABSENT}, "v3.32.1", "iptables", False),
        ({"calico_node": "10.0.0.1"}, "v3.32.1", "iptables", True),
        ({"calico_node": None}, "v3.32.1", "iptables", False),
        ({"bootstrap": "Enabled"}, "v3.32.1", "iptables", True),
        ({"bootstrap": "Disabled"}, "v3.32.1", "iptables", False),
        ({}, "v3.32.1", "iptables", False),
    ],
)
def test_no_command_takes_kube_proxy_away_too_early(
    facts: dict[str, Any], version: str, mode: str, can_go: bool
) -> None:
    facts = dict(facts)
    installation = Installation(kube_proxy_management="Enabled", bpf_network_bootstrap=facts.pop("bootstrap", None))
    if "calico_node" in facts:
        facts["calico_node"] = known(
            CalicoNode(namespace="calico-system", name="calico-node", image="x", service_host=facts["calico_node"])
        )
    finding = judged_cluster(
        MANAGED,
        node(),
        version=version,
        install="operator",
        kube_proxy=proxy(namespace="proxies"),
        kube_proxy_config=config(mode),
        installation=known(installation),
        **facts,
    )
    assert same_cause(MANAGED, finding, "refused")
    assert [shlex.split(command) for command in commands(finding)[1:]] == ([STOP] if can_go else [])
    finding = judged_cluster(
        MANAGED,
        node(),
        version=version,
        install="operator",
        kube_proxy=marked(manager="eks"),
        kube_proxy_config=config(mode),
        installation=known(installation),
        **facts,
    )
    assert bool(commands(finding)) is can_go
    assert finding.remediation is not None
    assert finding.remediation.text.startswith(
        "Only once cluster.api-endpoint.present and .usable pass and cluster.kube-proxy.mode does not fail, right "
        "before eBPF mode:"
    )


@pytest.mark.parametrize(
    ("nodes", "status"), [(known(3), Status.FAIL), (known(4), Status.WARN), (FORBIDDEN, Status.WARN)]
)
def test_a_selector_that_keeps_nobody_off_is_no_way_out(nodes: Fact[int], status: Status) -> None:
    there = proxy(node_selector=HAND)
    finding = judged_cluster(CLEANUP, node(ON), kube_proxy=there, installation=ABSENT, node_count=nodes)
    assert finding.status is status
    assert same_cause(CLEANUP, finding, "some-left")


def test_without_ebpf_mode_kube_proxy_is_let_run_again_first() -> None:
    for asked, words in (("BPF", "cluster.dataplane"), (None, "or enable")):
        there = proxy(desired=0, node_selector=HAND)
        finding = judged_cluster(CLEANUP, node(OFF), kube_proxy=there, installation=asking(None, asked))
        assert finding.remediation is not None
        assert finding.remediation.text.startswith("Let kube-proxy run again")
        assert words in finding.remediation.text
        assert len(commands(finding)) == 1


def test_what_stays_and_is_told_so_has_no_more_to_be_told() -> None:
    there = marked("addonmanager.kubernetes.io/mode", "Reconcile")
    finding = judged_cluster(MANAGED, node(KEEPS, AKS), kube_proxy=there, installation=asking())
    assert len(commands(finding)) == 1
    finding = judged_cluster(CLEANUP, node(OFF, AKS), kube_proxy=proxy(), installation=ABSENT)
    assert finding.required == "bpfKubeProxyIptablesCleanupEnabled is false"


def test_where_kube_proxy_has_to_stay_nothing_else_is_offered() -> None:
    finding = judged_cluster(CLEANUP, node(ON, AKS), kube_proxy=proxy(), installation=ABSENT)
    assert finding.remediation is not None
    assert "instead" not in finding.remediation.text


def test_the_nodes_that_meet_the_selector_are_listed_by_its_key() -> None:
    finding = judged_cluster(CLEANUP, node(ON), kube_proxy=proxy(node_selector=HAND), installation=ABSENT)
    assert commands(finding) == ("kubectl get nodes -l non-calico",)


def test_kube_proxy_is_put_back_by_the_keys_that_keep_it_off() -> None:
    there = proxy(desired=0, node_selector=HAND)
    (command,) = commands(judged_cluster(CLEANUP, node(OFF), kube_proxy=there, installation=ABSENT))
    patch = yaml.safe_load(shlex.split(command)[-1])
    assert patch == {"spec": {"template": {"spec": {"nodeSelector": {"non-calico": None}}}}}
    assert commands(judged_cluster(CLEANUP, node(OFF), kube_proxy=proxy(desired=0), installation=ABSENT)) == ()


# cluster.kube-proxy.managed


def marked(
    label: str = "", value: str = "x", annotation: str = "", manager: str = "", owner: str = "", **changes: Any
) -> Fact[Any]:
    marks = Marks(
        labels=((label, value),) if label else (),
        annotations=(annotation,) if annotation else (),
        managers=(manager,) if manager else (),
        owners=(owner,) if owner else (),
    )
    return proxy(marks=marks, **changes)


@pytest.mark.parametrize(
    ("there", "owner", "refused"),
    [
        (marked("app.kubernetes.io/managed-by", "Helm"), "app.kubernetes.io/managed-by=Helm", True),
        (marked("addonmanager.kubernetes.io/mode", "Reconcile"), "an add-on manager of Kubernetes", True),
        (marked(annotation="argocd.argoproj.io/tracking-id"), "Argo CD", True),
        (marked("argocd.argoproj.io/instance"), "Argo CD", False),
        (marked("helm.toolkit.fluxcd.io/name"), "Flux", False),
        (marked("kustomize.toolkit.fluxcd.io/namespace"), "Flux", False),
        (marked(annotation="meta.helm.sh/release-name"), "Helm", False),
        (marked(manager="eks"), "the EKS add-on", False),
        (marked(owner="Cluster"), "the Cluster that owns it", False),
    ],
)
def test_marks_of_owners(there: Fact[Any], owner: str, refused: bool) -> None:
    finding = judged_cluster(MANAGED, node(), kube_proxy=there, installation=ABSENT)
    assert finding.status is Status.WARN
    assert same_cause(MANAGED, finding, "owned")
    assert owner in finding.message
    assert "()" not in finding.message
    finding = judged_cluster(MANAGED, node(), kube_proxy=there, installation=asking())
    assert finding.status is (Status.FAIL if refused else Status.WARN)


@pytest.mark.parametrize(
    "there",
    [
        proxy(),
        marked("k8s-app", "kube-proxy"),
        proxy(marks=Marks(labels=(("", ""),), annotations=("",), managers=("",))),
        marked("app.kubernetes.io/managed-by-team"),
        marked("x.argocd.argoproj.io/instance"),
        marked(annotation="app.kubernetes.io/managed-by"),
        marked("argocd.argoproj.io/tracking-id"),
        marked(manager="eks-controller"),
        marked(manager="kubeadm"),
    ],
)
def test_what_is_no_mark_of_an_owner(there: Fact[Any]) -> None:
    finding = judged_cluster(MANAGED, node(), kube_proxy=there, installation=ABSENT)
    assert (finding.status, finding.note) == (Status.PASS, False)
    assert same_cause(MANAGED, finding, "nobody")


@pytest.mark.parametrize(
    ("marks", "there", "status", "cause", "words"),
    [
        (AKS, proxy(), Status.PASS, "stays", "AKS keeps kube-proxy: "),
        (AKS, marked("addonmanager.kubernetes.io/mode"), Status.PASS, "stays", "AKS keeps kube-proxy (label"),
        (AKS, proxy(desired=0), Status.WARN, "owned-off", "AKS"),
        (AKS, ABSENT, Status.PASS, "off", ""),
        (OPENSHIFT, proxy(name="openshift-kube-proxy"), Status.WARN, "owned", "Cluster Network Operator"),
        (TALOS, proxy(), Status.WARN, "owned", "Talos"),
        (TALOS, marked("argocd.argoproj.io/instance"), Status.WARN, "owned", "Talos and Argo CD"),
        (KOPS, proxy(runs_as="static pods"), Status.WARN, "owned", "kOps"),
        (KOPS, ABSENT, Status.PASS, "off", ""),
        (RKE2, proxy(runs_as="static pods"), Status.WARN, "owned", "RKE2"),
        (("cloud.google.com/gke-nodepool",), proxy(runs_as="static pods"), Status.PASS, "stays", "GKE"),
        ((), proxy(runs_as="static pods"), Status.WARN, "owned", "manifests on the nodes"),
        (RKE1, ABSENT, Status.PASS, "stays", "RKE1"),
        (K3S, ABSENT, Status.WARN, "inside", "k3s"),
        (MICROK8S, ABSENT, Status.PASS, "stays", "MicroK8s"),
        (("com.docker.ucp.collection",), ABSENT, Status.WARN, "inside", "MKE"),
        ((), ABSENT, Status.UNKNOWN, "not-in-sight", ""),
        (EKS, proxy(), Status.PASS, "nobody", ""),
        (EKS, marked(manager="eks"), Status.WARN, "owned", "EKS add-on"),
        (KUBEADM, proxy(), Status.PASS, "later", "kubeadm upgrade"),
        (KUBEADM, proxy(desired=0), Status.PASS, "off", ""),
        ((), proxy(node_selector=HAND), Status.PASS, "off", ""),
        ((), marked("argocd.argoproj.io/instance", node_selector=HAND), Status.WARN, "owned-off", "Argo CD"),
        (EKS, marked(manager="eks", node_selector=HAND, desired=0), Status.PASS, "written-off", "The EKS add-on has"),
        (EKS, marked(manager="eks", desired=0), Status.WARN, "owned-off", "the EKS add-on"),
        (EKS, marked(manager="eks", node_selector=HAND), Status.WARN, "owned-off", "the EKS add-on"),
        (
            EKS,
            marked("argocd.argoproj.io/instance", manager="eks", node_selector=HAND, desired=0),
            Status.WARN,
            "owned-off",
            "Argo CD",
        ),
        (TALOS, marked(manager="eks", node_selector=HAND, desired=0), Status.WARN, "owned-off", "Talos"),
    ],
)
def test_platforms_and_owners(marks: tuple[str, ...], there: Fact[Any], status: Status, cause: str, words: str) -> None:
    finding = judged_cluster(MANAGED, node(OFF, marks), kube_proxy=there, installation=ABSENT)
    assert finding.status is status, finding.message
    assert same_cause(MANAGED, finding, cause), finding.message
    assert words in finding.message
    assert (finding.remediation is None) is (status is Status.PASS)


@pytest.mark.parametrize(
    ("there", "settings", "installation", "version", "status", "cause"),
    [
        (proxy(), OFF, asking(), "v3.31", Status.PASS, "operator"),
        (proxy(), OFF, asking(), "v3.30", Status.PASS, "not-yet"),
        (proxy(), OFF, asking("Disabled"), "v3.31", Status.PASS, "nobody"),
        (proxy(), OFF, FORBIDDEN, "v3.31", Status.PASS, "nobody"),
        (proxy(runs_as="static pods"), OFF, asking(), "v3.31", Status.FAIL, "refused"),
        (proxy(runs_as="static pods"), OFF, asking(), "v3.30.7", Status.WARN, "owned"),
        (proxy(runs_as="static pods"), OFF, FORBIDDEN, "v3.31", Status.UNKNOWN, "installation-unseen"),
        (proxy(runs_as="static pods"), OFF, FORBIDDEN, "v3.30", Status.WARN, "owned"),
        (proxy(namespace="proxies"), OFF, asking(), "v3.31", Status.FAIL, "refused"),
        (proxy(namespace="proxies"), ON, asking(), "v3.31", Status.WARN, "refused-now"),
        (proxy(namespace="proxies"), OFF, asking(dataplane="BPF"), "v3.31", Status.WARN, "refused-now"),
        (proxy(namespace="proxies"), KEEPS, asking(dataplane="BPF"), "v3.31", Status.WARN, "refused-harmless"),
        (proxy(namespace="proxies", desired=0), OFF, asking(dataplane="BPF"), "v3.31", Status.WARN, "refused-harmless"),
        (proxy(namespace="proxies"), KEEPS, asking(), "v3.31", Status.WARN, "refused-harmless"),
        (proxy(namespace="proxies"), FORBIDDEN, asking(), "v3.31", Status.UNKNOWN, "refused-felix-unseen"),
        (proxy(namespace="proxies", desired=0), ON, asking(), "v3.31", Status.WARN, "refused-harmless"),
        (proxy(namespace="proxies", desired=0), ON, FORBIDDEN, "v3.31", Status.PASS, "off"),
        (proxy(namespace="proxies", desired=0), FORBIDDEN, asking(), "v3.31", Status.WARN, "refused-harmless"),
    ],
)
def test_kube_proxy_management(
    there: Fact[Any], settings: Any, installation: Fact[Any], version: str, status: Status, cause: str
) -> None:
    finding = judged_cluster(MANAGED, node(settings), version=version, kube_proxy=there, installation=installation)
    assert finding.status is status, finding.message
    assert same_cause(MANAGED, finding, cause), finding.message


def test_one_node_whose_rules_felix_removes_is_enough() -> None:
    kinds = (node(KEEPS), node(OFF), node(FORBIDDEN))
    finding = judged_cluster(MANAGED, *kinds, kube_proxy=proxy(namespace="proxies"), installation=asking())
    assert finding.status is Status.FAIL


@pytest.mark.parametrize(
    ("marks", "status"), [(KUBEADM, Status.WARN), (K3S, Status.WARN), (RKE1, Status.FAIL), ((), Status.UNKNOWN)]
)
def test_kube_proxy_management_without_a_daemon_set(marks: tuple[str, ...], status: Status) -> None:
    finding = judged_cluster(MANAGED, node(OFF, marks), kube_proxy=ABSENT, installation=asking())
    assert finding.status is status, finding.message


@pytest.mark.parametrize(("version", "severity"), [("v3.30", Severity.DEGRADE), ("v3.31", Severity.BLOCKER)])
def test_it_blocks_only_where_the_operator_can_be_asked(version: str, severity: Severity) -> None:
    finding = judged_cluster(MANAGED, node(), version=version, kube_proxy=marked(manager="eks"), installation=ABSENT)
    assert finding.severity is severity


@pytest.mark.parametrize(
    ("marks", "there", "owners"),
    [
        (KOPS, proxy(runs_as="static pods"), "kOps"),
        (TALOS, marked(owner="Cluster"), "Talos"),
        ((), marked("argocd.argoproj.io/instance", owner="Cluster"), "Argo CD"),
        ((), marked("argocd.argoproj.io/instance", runs_as="static pods"), "Argo CD"),
        ((), proxy(runs_as="static pods", marks=Marks(owners=("Node",))), "the kubelets, from manifests on the nodes"),
        ((*OPENSHIFT, *K3S), proxy(), "OpenShift's Cluster Network Operator"),
        ((*OPENSHIFT, *K3S), ABSENT, "k3s"),
    ],
)
def test_who_owns_it_is_said_once(marks: tuple[str, ...], there: Fact[Any], owners: str) -> None:
    finding = judged_cluster(MANAGED, node(OFF, marks), kube_proxy=there, installation=ABSENT)
    found = re.search(r"(?:looked after by|On) (.+?)(?: \(label|: what| kube-proxy runs)", finding.message)
    assert found is not None
    assert found[1] == owners
    assert "It has to stay" not in finding.message


def test_what_is_off_has_not_to_stay() -> None:
    finding = judged_cluster(MANAGED, node(OFF, AKS), kube_proxy=proxy(desired=0), installation=ABSENT)
    assert commands(finding) == ()


def test_a_refusal_names_the_mark_and_switches_the_management_off() -> None:
    there = marked("addonmanager.kubernetes.io/mode", "Reconcile")
    finding = judged_cluster(MANAGED, node(), kube_proxy=there, installation=asking())
    assert "addonmanager.kubernetes.io/mode=Reconcile" in finding.message
    patch = yaml.safe_load(shlex.split(commands(finding)[0])[-1])
    assert patch == {"spec": {"calicoNetwork": {"kubeProxyManagement": "Disabled"}}}
    assert "looked after" in finding.message


def test_where_kube_proxy_has_to_stay_the_cleanup_goes() -> None:
    cleanup = {"spec": {"bpfKubeProxyIptablesCleanupEnabled": False}}
    there = marked("addonmanager.kubernetes.io/mode", "Reconcile")
    finding = judged_cluster(MANAGED, node(OFF, AKS), kube_proxy=there, installation=asking())
    (command,) = commands(finding)[1:]
    assert yaml.safe_load(shlex.split(command)[-1]) == cleanup
    assert "bpfKubeProxyIptablesCleanupEnabled to false" in finding.message


@pytest.mark.parametrize(
    ("marks", "there", "how", "is_off"),
    [
        (KOPS, ABSENT, "", True),
        (KOPS, proxy(desired=0, namespace="x"), "kops update", True),
        (K3S, ABSENT, "disable-kube-proxy", False),
    ],
)
def test_what_is_gone_need_not_be_switched_off(
    marks: tuple[str, ...], there: Fact[Any], how: str, is_off: bool
) -> None:
    finding = judged_cluster(MANAGED, node(ON, marks), kube_proxy=there, installation=asking())
    assert same_cause(MANAGED, finding, "refused-harmless")
    assert finding.remediation is not None
    text = finding.remediation.text.removeprefix("Set kubeProxyManagement to Disabled.")
    assert how in text if how else not text
    assert ("is not taken away" in finding.message) is not is_off


def test_hostile_marks_are_shown_escaped_and_short() -> None:
    there = marked("app.kubernetes.io/managed-by", "\x1b]0;x\x07" + "A" * 5000)
    finding = judged_cluster(MANAGED, node(), kube_proxy=there, installation=ABSENT)
    assert "\x1b" not in finding.message
    assert len(finding.message) < 500
    there = marked(owner="\x1b[2J" + "A" * 5000)
    finding = judged_cluster(MANAGED, node(), kube_proxy=there, installation=ABSENT)
    assert "\x1b" not in finding.message
    assert len(finding.message) < 500


# cluster.kube-proxy.healthz-port


def port(number: int, *, keeps: bool = True) -> FelixSettings:
    return FelixSettings(
        bpf_kube_proxy_iptables_cleanup_enabled=False if keeps else None, bpf_kube_proxy_healthz_port=number
    )


@pytest.mark.parametrize(
    ("version", "settings", "status", "cause"),
    [
        ("v3.13", KEEPS, Status.PASS, "kube-proxy-answers"),
        ("v3.30.3", KEEPS, Status.PASS, "kube-proxy-answers"),
        ("v3.30", KEEPS, Status.UNKNOWN, "patch"),
        ("v3.30", port(10258), Status.PASS, "apart"),
        ("v3.30.4", KEEPS, Status.WARN, "same"),
        ("v3.30.5", KEEPS, Status.WARN, "same"),
        ("v3.31", KEEPS, Status.WARN, "same"),
        ("v3.31", port(10256), Status.WARN, "same"),
        ("v3.31", port(10258), Status.PASS, "apart"),
        ("v3.32", KEEPS, Status.WARN, "same"),
        ("v3.32", port(0), Status.PASS, "apart"),
    ],
)
def test_kube_proxy_stays(version: str, settings: FelixSettings, status: Status, cause: str) -> None:
    finding = judged_cluster(HEALTHZ, node(settings), version=version, kube_proxy=proxy(), kube_proxy_config=config())
    assert finding.status is status, finding.message
    assert same_cause(HEALTHZ, finding, cause)


@pytest.mark.parametrize(
    ("version", "patch"),
    [
        ("v3.30.4", {"bpfKubeProxyHealtzPort": 10258}),
        ("v3.30.5", {"bpfKubeProxyHealthzPort": 10258}),
        ("v3.31.0", {"bpfKubeProxyHealthzPort": 10258}),
        ("v3.31", {"bpfKubeProxyHealthzPort": 10258}),
        ("v3.32.0", {"bpfKubeProxyHealthzPort": 0}),
        ("v3.33", {"bpfKubeProxyHealthzPort": 0}),
    ],
)
def test_the_patch_is_right_for_the_release(version: str, patch: dict[str, int]) -> None:
    finding = judged_cluster(HEALTHZ, node(KEEPS), version=version, kube_proxy=proxy(), kube_proxy_config=config())
    (command,) = commands(finding)
    assert yaml.safe_load(shlex.split(command)[-1]) == {"spec": patch}
    assert ("Switch Felix's server off" in finding.message) is (0 in patch.values())


@pytest.mark.parametrize(
    ("version", "settings", "provider", "status", "cause", "note"),
    [
        ("v3.31", OFF, "", Status.PASS, "felix-answers", False),
        ("v3.30.4", OFF, "aws", Status.PASS, "felix-answers", False),
        ("v3.30", OFF, "aws", Status.UNKNOWN, "patch", False),
        ("v3.30.3", OFF, "", Status.PASS, "not-served", True),
        ("v3.30.3", OFF, "aws", Status.WARN, "not-served-in-cloud", False),
        ("v3.30.3", OFF, "gce", Status.WARN, "not-served-in-cloud", False),
        ("v3.30.3", OFF, "openstack", Status.PASS, "not-served", True),
        ("v3.16", OFF, "", Status.PASS, "not-served", True),
        ("v3.31", port(10258, keeps=False), "", Status.PASS, "moved", True),
        ("v3.31", port(10258, keeps=False), "aws", Status.WARN, "moved-in-cloud", False),
        ("v3.30", port(10258, keeps=False), "aws", Status.WARN, "moved-in-cloud", False),
        ("v3.32", port(0, keeps=False), "aws", Status.WARN, "moved-in-cloud", False),
        ("v3.32", port(10256, keeps=False), "aws", Status.PASS, "felix-answers", False),
    ],
)
@pytest.mark.parametrize("there", [proxy(), ABSENT], ids=["runs", "not in sight"])
def test_kube_proxy_goes(
    there: Fact[Any],
    version: str,
    settings: FelixSettings,
    provider: str,
    status: Status,
    cause: str,
    note: bool,
) -> None:
    finding = judged_cluster(
        HEALTHZ, node(settings, (), provider), version=version, kube_proxy=there, kube_proxy_config=config()
    )
    assert (finding.status, finding.note) == (status, note), finding.message
    assert same_cause(HEALTHZ, finding, cause)


def test_kube_proxy_that_runs_beside_ebpf_mode_has_its_port_too() -> None:
    finding = judged_cluster(HEALTHZ, node(ON), kube_proxy=proxy(), kube_proxy_config=config())
    assert finding.status is Status.WARN
    assert same_cause(HEALTHZ, finding, "same")
    # On its way out it is none of the two any more.
    leaving = proxy(node_selector=(("non-calico", "true"),))
    assert judged_cluster(HEALTHZ, node(ON), kube_proxy=leaving, kube_proxy_config=config()).status is Status.PASS


@pytest.mark.parametrize("there", [proxy(), proxy(desired=0)])
def test_without_its_nodes_the_platform_may_look_after_it(there: Fact[Any]) -> None:
    facts: dict[str, Any] = {"kube_proxy": there, "installation": ABSENT, "kube_proxy_config": config()}
    hidden = Unknown(reason=Reason.FORBIDDEN, detail="not for you")
    finding = judged_cluster(MANAGED, node_count=hidden, **facts)
    assert (finding.status, finding.reason) == (Status.UNKNOWN, Reason.FORBIDDEN)
    assert judged_cluster(MANAGED, node(), **facts).status is Status.PASS


def test_the_cloud_and_the_hour_are_named() -> None:
    for desired, words in ((0, "With kube-proxy off"), (3, "Once kube-proxy is gone")):
        for provider in ("aws", ""):
            one = node(OFF, (), provider)
            finding = judged_cluster(HEALTHZ, one, version="v3.29", kube_proxy=proxy(desired=desired))
            assert words in finding.message
            assert ("this cloud (aws)" in finding.message) is bool(provider)


def test_felix_gets_kube_proxys_port_back() -> None:
    finding = judged_cluster(HEALTHZ, node(port(0, keeps=False), (), "aws"), kube_proxy=proxy())
    (command,) = commands(finding)
    assert yaml.safe_load(shlex.split(command)[-1]) == {"spec": {"bpfKubeProxyHealthzPort": 10256}}
    finding = judged_cluster(HEALTHZ, node(port(1, keeps=False), (), "aws"), version="v3.30", kube_proxy=proxy())
    assert commands(finding) == ()


@pytest.mark.parametrize("off", [{"desired": 0}, {"node_selector": HAND}], ids=["none wanted", "selector"])
def test_what_is_off_takes_no_port(off: dict[str, Any]) -> None:
    finding = judged_cluster(HEALTHZ, node(ON_KEEPS, AKS), kube_proxy=proxy(**off), kube_proxy_config=config())
    assert same_cause(HEALTHZ, finding, "felix-answers")


@pytest.mark.parametrize(
    ("marks", "there", "cause"),
    [(AKS, proxy(), "same"), (RKE1, ABSENT, "same"), (K3S, ABSENT, "felix-answers"), (EKS, proxy(), "felix-answers")],
)
def test_what_cannot_go_keeps_its_port(marks: tuple[str, ...], there: Fact[Any], cause: str) -> None:
    finding = judged_cluster(HEALTHZ, node(OFF, marks), kube_proxy=there, kube_proxy_config=config())
    assert same_cause(HEALTHZ, finding, cause), finding.message


@pytest.mark.parametrize(
    ("address", "felix", "cause"),
    [
        ("0.0.0.0:10256", KEEPS, "same"),
        ("[::]:10256", KEEPS, "same"),
        (":10256", KEEPS, "same"),
        (None, KEEPS, "same"),
        ("", KEEPS, "same"),
        ("127.0.0.1", KEEPS, "same"),
        ("10300", KEEPS, "same"),
        ("0.0.0.0:1030\u00b2", KEEPS, "same"),
        ("::1", KEEPS, "same"),
        ("[::1]", KEEPS, "same"),
        ("0.0.0.0:http", KEEPS, "same"),
        ("0.0.0.0:" + "9" * 5000, KEEPS, "same"),
        ("0.0.0.0:10300", KEEPS, "apart"),
        ("[::]:10300", KEEPS, "apart"),
        ("0.0.0.0:0", port(0), "apart"),
        ("0.0.0.0:10258", port(10258), "same"),
    ],
)
def test_kube_proxys_port_from_its_file(address: str | None, felix: FelixSettings, cause: str) -> None:
    found = config(healthz_bind_address=address)
    finding = judged_cluster(HEALTHZ, node(felix), kube_proxy=proxy(), kube_proxy_config=found)
    assert same_cause(HEALTHZ, finding, cause), finding.message


def test_a_port_that_is_not_the_usual_one_is_parted_by_the_usual_one() -> None:
    found = config(healthz_bind_address="0.0.0.0:10258")
    finding = judged_cluster(HEALTHZ, node(port(10258)), version="v3.31", kube_proxy=proxy(), kube_proxy_config=found)
    (command,) = commands(finding)
    assert yaml.safe_load(shlex.split(command)[-1]) == {"spec": {"bpfKubeProxyHealthzPort": 10256}}


@pytest.mark.parametrize(
    ("there", "configured", "cause"),
    [
        (proxy(command=("kube-proxy", "--healthz-bind-address=0.0.0.0:10300")), ABSENT, "apart"),
        (proxy(command=("kube-proxy", "--healthz-bind-address=0.0.0.0:10300", "--config=/c")), config(), "same"),
        (proxy(), FORBIDDEN, "port-unseen"),
        (proxy(runs_as="static pods"), config(), "port-unseen"),
        (proxy(runs_as="static pods", command=("kube-proxy",)), FORBIDDEN, "same"),
    ],
)
def test_where_kube_proxys_port_is_read(there: Fact[Any], configured: Fact[Any], cause: str) -> None:
    finding = judged_cluster(HEALTHZ, node(KEEPS), kube_proxy=there, kube_proxy_config=configured)
    assert same_cause(HEALTHZ, finding, cause), finding.message


@pytest.mark.parametrize("settings", [(FORBIDDEN,), (KEEPS, FORBIDDEN), ()])
def test_felix_settings_that_are_not_known(settings: tuple[Any, ...]) -> None:
    finding = judged_cluster(HEALTHZ, *map(node, settings), kube_proxy=proxy(), kube_proxy_config=config())
    assert same_cause(HEALTHZ, finding, "felix-unseen")


def test_nodes_whose_port_clashes_are_counted() -> None:
    kinds = (node(KEEPS), node(port(10258)), node(OFF))
    finding = judged_cluster(HEALTHZ, *kinds, counts=(2, 3, 4), kube_proxy=proxy(), kube_proxy_config=config())
    assert "2 of 9 nodes" in finding.message


def test_messages_name_the_release() -> None:
    finding = judged_cluster(MODE, version="v3.29.3", kube_proxy=proxy(), kube_proxy_config=config("ipvs"))
    assert str(release("v3.29.3").version) in finding.message
    assert re.search(r"v3\.30\.4", judged_cluster(HEALTHZ, node(), version="v3.30", kube_proxy=proxy()).message)


# The head of the report.


@pytest.mark.parametrize(
    ("kind", "words", "mode"),
    [
        (surveyed(marks=K3S, programs=RUNNING, chains=1), "inside of another program, looked after by k3s", "iptables"),
        (surveyed(marks=K3S, programs=RUNNING), "off, looked after by k3s", None),
        (unsurveyed(K3S), "inside of another program, looked after by k3s", None),
        (surveyed(links=IPVS, tables=NFT), "off", None),
    ],
)
def test_the_head_tells_what_the_nodes_show(kind: NodeKind, words: str, mode: str | None) -> None:
    from ebpfcheck.checks.discovery import DISCOVERY_NEEDS, discover
    from ebpfcheck.engine import gather

    one = cluster_snapshot(ClusterFacts(kube_proxy=ABSENT), kind)
    found = discover(gather(one, DISCOVERY_NEEDS, release("v3.32.1"), "operator"))
    assert (found.kube_proxy, found.kube_proxy_mode) == (words, mode)


# What other checks ask.


@pytest.mark.parametrize(
    ("settings", "marks", "there", "is_to_stay"),
    [
        (KEEPS, (), proxy(), True),
        (OFF, AKS, proxy(), True),
        (OFF, RKE1, ABSENT, True),
        (OFF, (), proxy(), False),
        (KEEPS, AKS, proxy(desired=0), False),
        (KEEPS, (), ABSENT, False),
        (KEEPS, KUBEADM, FORBIDDEN, False),
    ],
)
def test_what_stays_runs(settings: FelixSettings, marks: tuple[str, ...], there: Fact[Any], is_to_stay: bool) -> None:
    from ebpfcheck.engine import gather

    one = cluster_snapshot(ClusterFacts(kube_proxy=there), node(settings, marks))
    given = gather(one, kube_proxy_state.PROXY_NEEDS, release("v3.32.1"), "operator")
    proxy_here = kube_proxy_state.proxy_of(given)
    assert kube_proxy_state.stays(given, proxy_here) is is_to_stay
    assert there is not FORBIDDEN or proxy_here.state == "unseen"


@pytest.mark.parametrize("selector", [(), (("non-calico", "true"),)])
def test_a_daemonset_whose_status_does_not_say_is_not_off(selector: tuple[tuple[str, str], ...]) -> None:
    facts: dict[str, Any] = {"kube_proxy": proxy(desired=None, node_selector=selector), "kube_proxy_config": config()}
    facts |= {"installation": ABSENT, "node_count": known(3)}
    finding = judged_cluster(kube_proxy.kube_proxy_cleanup, node(), **facts)
    assert (finding.status, finding.reason) == (Status.UNKNOWN, Reason.NOT_COLLECTED)
    assert "DaemonSet does not say" in finding.message
    assert "is off" not in judged_cluster(kube_proxy.kube_proxy_mode, node(), **facts).message
