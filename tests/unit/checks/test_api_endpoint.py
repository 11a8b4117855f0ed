import json
import shlex
from datetime import UTC, datetime
from typing import Any

import pytest

from ebpfcheck.checks import api_endpoint
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import (
    CalicoNode,
    CalicoPods,
    Deployment,
    EndpointOverride,
    Installation,
    IpPool,
    Kubeadm,
    KubeProxy,
    KubeProxyConfig,
    ServiceAddress,
)
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not for you")
PRESENT, USABLE = CHECKS = (api_endpoint.api_endpoint_present, api_endpoint.api_endpoint_usable)
NAME = "kubernetes-services-endpoint"
VIP = "192.168.0.100"

TALOS = NodeKind(platform_marks=known(("extensions.talos.dev/schematic",)))
MKE = NodeKind(platform_marks=known(("com.docker.ucp.orchestrator",)))
MICROK8S = NodeKind(platform_marks=known(("microk8s.io/cluster=true",)))
MINIKUBE = NodeKind(platform_marks=known(("minikube.k8s.io/name",)))
AKS_MARKS = known(("kubernetes.azure.com/cluster",))
KOPS = NodeKind(platform_marks=known(("kops.k8s.io/instancegroup",)))
K3S = NodeKind(platform_marks=known(("k3s.io/node-args",)))
KIND = NodeKind(provider=known("kind"), platform_marks=known(()))

EARLY, LATE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
KEEPS = FelixSettings(bpf_kube_proxy_iptables_cleanup_enabled=False)
CLEANS = FelixSettings(bpf_kube_proxy_iptables_cleanup_enabled=True)


def config_map(host: str | None = VIP, port: str | None = "6443", **changes: Any) -> EndpointOverride:
    whole = {"namespace": "tigera-operator", "name": NAME, "host": host, "port": port, "changed_at": LATE}
    return EndpointOverride(**{**whole, **changes})


def calico_node(host: str | None = None, **changes: Any) -> Fact[Any]:
    whole = {
        "namespace": "calico-system",
        "name": "calico-node",
        "image": "",
        "desired": 3,
        "updated": 3,
        "available": 3,
        "service_host": host,
    }
    return known(CalicoNode(**{**whole, **changes}))


def manifest_node(**changes: Any) -> Fact[Any]:
    return calico_node(**{"namespace": "kube-system", "env_from": (f"configmap/{NAME}",), **changes})


def installation(bootstrap: str | None = None, dataplane: str | None = "BPF", provider: str | None = None) -> Fact[Any]:
    return known(Installation(bpf_network_bootstrap=bootstrap, linux_dataplane=dataplane, kubernetes_provider=provider))


def told(settings: FelixSettings, **more: Any) -> NodeKind:
    return NodeKind(felix=known(settings), **{"platform_marks": known(()), **more})


RUNS = known(KubeProxy(runs_as="daemonset", namespace="kube-system", name="kube-proxy", desired=3))
KEPT_OFF = known(
    KubeProxy(runs_as="daemonset", namespace="kube-system", name="kube-proxy", node_selector=(("non-calico", "true"),))
)


# A cluster with a virtual IP before one API server, Calico by the operator, and all of it seen.
SEEN: dict[str, Any] = {
    "endpoint_overrides": known((config_map(),)),
    "calico_node": calico_node(VIP),
    "operator": known(Deployment(namespace="tigera-operator", name="tigera-operator", image="")),
    "installation": installation(),
    "kubernetes_service": known(ServiceAddress(cluster_ips=("10.96.0.1",), port=443)),
    "api_endpoints": known(("192.168.0.10:6443",)),
    "ip_pools": known((IpPool(name="v4", cidr="10.244.0.0/16"),)),
    "kube_proxy": KEPT_OFF,
    "node_count": known(3),
}
HA = known(("192.168.0.10:6443", "192.168.0.11:6443"))
BY_MANIFEST: dict[str, Any] = {
    "install": "manifest",
    "endpoint_overrides": known((config_map(namespace="kube-system"),)),
    "calico_node": manifest_node(),
    "calico_pods": known(CalicoPods(oldest_start=LATE)),
    "operator": ABSENT,
    "installation": ABSENT,
}


def judged(check: Check, *kinds: NodeKind, version: str = "v3.32.1", **changes: Any) -> Finding:
    facts = {**SEEN, **changes}
    install: Install = facts.pop("install", "operator")
    finding = judged_cluster(check, *kinds, version=version, install=install, **facts)
    assert finding.status is not Status.FAIL or finding.severity is Severity.BLOCKER
    return finding


def given_host(host: str | None, port: str | None = "6443", **changes: Any) -> dict[str, Any]:
    """Return what there is where the operator's ConfigMap holds an address and calico-node has it."""
    changed = config_map(host, port, **changes)
    return {"endpoint_overrides": known((changed,)), "calico_node": calico_node(host)}


def commands(finding: Finding) -> tuple[str, ...]:
    assert finding.remediation is not None
    return finding.remediation.commands


def patch_in(finding: Finding) -> Any:
    (command,) = commands(finding)
    words = shlex.split(command)
    assert words[:2] == ["kubectl", "patch"]
    assert words[-2] == "-p"
    return json.loads(words[-1])


def fix(finding: Finding) -> str:
    assert finding.remediation is not None
    return finding.remediation.text


# Which releases they concern.


@pytest.mark.parametrize(
    ("check", "version", "concerns"),
    [
        (PRESENT, "v3.15", False),
        (PRESENT, "v3.16", True),
        (PRESENT, "v3.33", True),
        (USABLE, "v3.15", False),
        (USABLE, "v3.16", True),
    ],
)
def test_the_releases(check: Check, version: str, concerns: bool) -> None:
    assert (judged(check, version=version).status is not Status.NOT_APPLICABLE) is concerns


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
def test_nothing_known(check: Check) -> None:
    installs: tuple[Install, ...] = ("operator", "manifest", "none", "unknown")
    for minor in load_knowledge().minors():
        for install in installs:
            finding = judged_cluster(check, version=str(minor), install=install)
            assert finding.status in (Status.UNKNOWN, Status.NOT_APPLICABLE)


@pytest.mark.parametrize("check", [PRESENT, USABLE])
def test_config_maps_that_could_not_be_read(check: Check) -> None:
    finding = judged(check, endpoint_overrides=FORBIDDEN)
    assert (finding.status, finding.reason) == (Status.UNKNOWN, Reason.FORBIDDEN)


# cluster.api-endpoint.present: what there is.


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({}, Status.PASS, f"an address of the API server: {VIP}:6443"),
        ({"install": "none"}, Status.NOT_APPLICABLE, "not installed"),
        ({"install": "unknown"}, Status.UNKNOWN, "How Calico is installed is not known"),
        ({"endpoint_overrides": ABSENT, "calico_node": calico_node()}, Status.FAIL, "never become Ready"),
        ({"endpoint_overrides": known(()), "calico_node": calico_node()}, Status.FAIL, "never become Ready"),
        ({"endpoint_overrides": ABSENT, "calico_node": ABSENT}, Status.FAIL, "never become Ready"),
        ({"endpoint_overrides": ABSENT, "calico_node": calico_node("")}, Status.FAIL, "never become Ready"),
        ({"endpoint_overrides": ABSENT, "calico_node": calico_node("lb.example.com")}, Status.PASS, "of its own"),
        ({"endpoint_overrides": ABSENT, "calico_node": FORBIDDEN}, Status.UNKNOWN, "by a variable"),
        (
            {"endpoint_overrides": ABSENT, "calico_node": calico_node(), "operator": FORBIDDEN},
            Status.UNKNOWN,
            "in which namespace the operator runs",
        ),
        (
            {"endpoint_overrides": ABSENT, "calico_node": calico_node(), "installation": FORBIDDEN},
            Status.UNKNOWN,
            "whether bpfNetworkBootstrap is Enabled",
        ),
        (
            {"endpoint_overrides": ABSENT, "calico_node": calico_node(), "installation": installation("Enabled")},
            Status.PASS,
            "is told to find the API server by itself (bpfNetworkBootstrap is Enabled); whether it can, see",
        ),
        (
            {"endpoint_overrides": ABSENT, "calico_node": calico_node(), "installation": installation("Disabled")},
            Status.FAIL,
            "never become Ready",
        ),
    ],
)
def test_an_address_for_calico(facts: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(PRESENT, **facts)
    assert finding.status is status
    assert words in finding.message
    if status is Status.UNKNOWN and "install" not in facts:
        assert "not for you" in finding.message


@pytest.mark.parametrize(("version", "status"), [("v3.30", Status.FAIL), ("v3.31", Status.PASS)])
def test_bootstrap_counts_where_the_release_has_it(version: str, status: Status) -> None:
    facts = {"endpoint_overrides": ABSENT, "calico_node": calico_node(), "installation": installation("Enabled")}
    assert judged(PRESENT, version=version, **facts).status is status


def test_an_installation_that_was_not_seen_matters_only_where_it_could_bootstrap() -> None:
    facts: dict[str, Any] = {"endpoint_overrides": ABSENT, "calico_node": calico_node(), "installation": FORBIDDEN}
    assert judged(PRESENT, version="v3.30", **facts).status is Status.FAIL
    assert judged(PRESENT, install="manifest", **facts).status is Status.FAIL
    assert judged(PRESENT, install="manifest", operator=FORBIDDEN, **facts).status is Status.FAIL


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (config_map(namespace="kube-system"), "kube-system, where nobody reads it: this install (operator) wants it"),
        (config_map(name="kubernetes-service-endpoint"), "'services' in the plural"),
        (config_map(namespace="kube-system", name="kubernetes-service-endpoint"), "'services' in the plural"),
    ],
)
def test_a_config_map_that_nobody_reads(found: EndpointOverride, cause: str) -> None:
    finding = judged(PRESENT, endpoint_overrides=known((found,)), calico_node=calico_node())
    assert finding.status is Status.FAIL
    assert cause in finding.message
    assert shlex.split(commands(finding)[0])[:6] == ["kubectl", "create", "configmap", NAME, "-n", "tigera-operator"]


def test_the_namespace_is_the_operators_own_and_calico_nodes() -> None:
    operator = known(Deployment(namespace="ops", name="op", image=""))
    assert judged(PRESENT, operator=operator, calico_node=calico_node()).status is Status.FAIL
    there = known((config_map(namespace="ops"),))
    assert judged(PRESENT, operator=operator, endpoint_overrides=there).status is Status.PASS
    by_manifest = {**BY_MANIFEST, "endpoint_overrides": known((config_map(),)), "calico_node": manifest_node()}
    finding = judged(PRESENT, **by_manifest)
    assert finding.status is Status.FAIL
    assert "this install (manifest) wants it in kube-system" in finding.message


@pytest.mark.parametrize(
    ("facts", "settings", "status"),
    [
        ({"endpoint_overrides": ABSENT}, KEEPS, Status.WARN),
        ({"endpoint_overrides": ABSENT}, CLEANS, Status.FAIL),
        ({"endpoint_overrides": known((config_map(namespace="kube-system"),))}, KEEPS, Status.WARN),
        ({"endpoint_overrides": known((config_map(name="kubernetes-service-endpoint"),))}, KEEPS, Status.WARN),
        ({"endpoint_overrides": known((config_map(None, None),))}, KEEPS, Status.WARN),
        ({"endpoint_overrides": known((config_map(None, None),))}, CLEANS, Status.FAIL),
    ],
)
def test_where_kube_proxy_stays_the_cluster_ip_goes_on(
    facts: dict[str, Any], settings: FelixSettings, status: Status
) -> None:
    facts = {**facts, "calico_node": calico_node()}
    assert judged(PRESENT, told(settings), kube_proxy=RUNS, **facts).status is status
    # Where it is gone, and where some nodes' rules are removed, the ClusterIP goes too.
    for proxy in (KEPT_OFF, ABSENT):
        assert judged(PRESENT, told(settings), kube_proxy=proxy, **facts).status is Status.FAIL
    assert judged(PRESENT, told(settings), told(CLEANS), kube_proxy=RUNS, **facts).status is Status.FAIL


@pytest.mark.parametrize("found", [ABSENT, known((config_map(None, None),))])
def test_whether_kube_proxy_stays_that_could_not_be_told_makes_no_failure(found: Fact[Any]) -> None:
    facts: dict[str, Any] = {"endpoint_overrides": found, "calico_node": calico_node()}
    unseen = NodeKind(felix=FORBIDDEN, platform_marks=known(()))
    for kinds, proxy in (((told(KEEPS),), FORBIDDEN), ((told(KEEPS), unseen), RUNS), ((), RUNS)):
        finding = judged(PRESENT, *kinds, kube_proxy=proxy, **facts)
        assert finding.status is Status.UNKNOWN
        assert "kube-proxy is to stay" in finding.message
    # Where some nodes' rules are removed for sure, nothing hangs on the others.
    assert judged(PRESENT, told(CLEANS), unseen, kube_proxy=RUNS, **facts).status is Status.FAIL
    # On which platform it is decides too, where nothing of it was seen.
    assert judged(PRESENT, kube_proxy=ABSENT, node_count=FORBIDDEN, **facts).status is Status.UNKNOWN
    assert judged(PRESENT, kube_proxy=KEPT_OFF, node_count=FORBIDDEN, **facts).status is Status.FAIL


def test_where_the_platform_keeps_kube_proxy_no_setting_is_needed() -> None:
    facts: dict[str, Any] = {"endpoint_overrides": ABSENT, "calico_node": calico_node()}
    finding = judged(PRESENT, told(CLEANS, platform_marks=AKS_MARKS), kube_proxy=RUNS, **facts)
    assert finding.status is Status.WARN
    assert "is to stay (AKS does not let it go)" in finding.message
    finding = judged(PRESENT, told(KEEPS), kube_proxy=RUNS, **facts)
    assert "is to stay (bpfKubeProxyIptablesCleanupEnabled is false)" in finding.message
    gone = judged(PRESENT, told(CLEANS, platform_marks=AKS_MARKS), kube_proxy=ABSENT, **facts)
    assert gone.status is Status.FAIL


@pytest.mark.parametrize(
    ("install", "host", "port", "status", "words"),
    [
        ("operator", None, "6443", Status.FAIL, "has no KUBERNETES_SERVICE_HOST: without both"),
        ("operator", "", "6443", Status.FAIL, "has no KUBERNETES_SERVICE_HOST: without both"),
        ("operator", VIP, None, Status.FAIL, "has no KUBERNETES_SERVICE_PORT: without both"),
        ("operator", None, None, Status.FAIL, "no KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: without both"),
        ("manifest", VIP, None, Status.WARN, "tries the port of the Service"),
        ("manifest", VIP, "", Status.WARN, "tries the port of the Service"),
        ("manifest", None, "6443", Status.FAIL, "tries that port at the ClusterIP"),
        ("manifest", None, None, Status.FAIL, "without both"),
    ],
)
def test_half_a_config_map(install: Install, host: str | None, port: str | None, status: Status, words: str) -> None:
    base = BY_MANIFEST if install == "manifest" else {}
    namespace = "kube-system" if install == "manifest" else "tigera-operator"
    facts = {**base, "endpoint_overrides": known((config_map(host, port, namespace=namespace),))}
    finding = judged(PRESENT, **facts)
    assert finding.status is status
    assert words in finding.message
    assert commands(finding) == (f"kubectl edit configmap {NAME} -n {namespace}",)
    assert finding.observed.startswith(f"{host or 'no host'}:{port or 'no port'} in {namespace}/")
    assert "192.168.0.10:6443 is to be had" in fix(finding)
    assert "2 API servers and no load balancer" in fix(judged(PRESENT, **{**facts, "api_endpoints": HA}))
    assert judged(USABLE, **facts).status is Status.NOT_APPLICABLE


# cluster.api-endpoint.present: whether calico-node has it.


@pytest.mark.parametrize(
    ("node", "status", "words"),
    [
        (calico_node(VIP), Status.PASS, "is given"),
        (ABSENT, Status.PASS, "is given"),
        (FORBIDDEN, Status.UNKNOWN, "whether calico-node has it could not be told: not for you"),
        (calico_node(), Status.WARN, "has not handed that on to calico-node (KUBERNETES_SERVICE_HOST is not set)"),
        (calico_node("10.96.0.1"), Status.WARN, "KUBERNETES_SERVICE_HOST is 10.96.0.1"),
        (calico_node(VIP, updated=2), Status.WARN, "not all of its pods"),
        (calico_node(VIP, is_observed=False), Status.WARN, "not all of its pods"),
        (calico_node(VIP, available=1), Status.PASS, "is given"),
    ],
)
def test_what_the_operator_has_handed_on(node: Fact[Any], status: Status, words: str) -> None:
    finding = judged(PRESENT, calico_node=node)
    assert finding.status is status
    assert words in finding.message


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({}, Status.PASS, "is given"),
        ({"calico_node": manifest_node(env_from=())}, Status.FAIL, "does not take its variables from it"),
        (
            {"calico_node": manifest_node(env_from=("configmap/other", f"secret/{NAME}"))},
            Status.FAIL,
            "does not take its variables from it",
        ),
        ({"calico_node": manifest_node(env_from=(), service_host="")}, Status.FAIL, "does not take"),
        (
            {"calico_node": manifest_node(service_host="10.0.0.9")},
            Status.WARN,
            "of its own, 10.0.0.9, which comes before",
        ),
        ({"calico_node": manifest_node(service_host=VIP)}, Status.PASS, "is given"),
        ({"calico_node": manifest_node(env_from=(), service_host=VIP)}, Status.PASS, "is given"),
        ({"calico_node": manifest_node(updated=1)}, Status.PASS, "is given"),
        ({"calico_node": ABSENT}, Status.PASS, "is given"),
        ({"calico_node": FORBIDDEN}, Status.UNKNOWN, "whether calico-node has it could not be told: not for you"),
        ({"calico_pods": FORBIDDEN}, Status.UNKNOWN, "have read the ConfigMap"),
        ({"calico_pods": ABSENT}, Status.PASS, "is given"),
        ({"calico_pods": known(CalicoPods())}, Status.PASS, "is given"),
        ({"calico_pods": known(CalicoPods(oldest_start=EARLY))}, Status.WARN, "after some pods of calico-node"),
    ],
)
def test_what_pods_of_a_manifest_have_read(facts: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(PRESENT, **{**BY_MANIFEST, **facts})
    assert finding.status is status
    assert words in finding.message


def test_a_config_map_of_nobody_knows_when() -> None:
    there = known((config_map(namespace="kube-system", changed_at=None),))
    assert judged(PRESENT, **{**BY_MANIFEST, "endpoint_overrides": there}).status is Status.PASS


@pytest.mark.parametrize(
    ("operator", "name"),
    [(known(Deployment(namespace="tigera-operator", name="op", image="")), "op"), (ABSENT, "tigera-operator")],
)
def test_the_operator_that_is_to_be_restarted(operator: Fact[Any], name: str) -> None:
    finding = judged(PRESENT, calico_node=calico_node(), operator=operator)
    assert commands(finding) == (f"kubectl rollout restart deployment/{name} -n tigera-operator",)


def test_pods_of_the_operator_are_not_judged_by_their_age() -> None:
    assert judged(PRESENT, calico_pods=known(CalicoPods(oldest_start=EARLY))).status is Status.PASS


# The remedy: which address, by which command.


@pytest.mark.parametrize(
    ("facts", "literals"),
    [
        (
            {"kubeadm": known(Kubeadm(control_plane_endpoint="cp.example.com:8443"))},
            ("KUBERNETES_SERVICE_HOST=cp.example.com", "KUBERNETES_SERVICE_PORT=8443"),
        ),
        ({}, ("KUBERNETES_SERVICE_HOST=192.168.0.10", "KUBERNETES_SERVICE_PORT=6443")),
        (
            {"kube_proxy_config": known(KubeProxyConfig(server="https://[fd00::1]"))},
            ("KUBERNETES_SERVICE_HOST=fd00::1", "KUBERNETES_SERVICE_PORT=443"),
        ),
    ],
)
def test_the_command_that_gives_calico_the_address(facts: dict[str, Any], literals: tuple[str, str]) -> None:
    operator = known(Deployment(namespace="ops; rm -rf /", name="op", image=""))
    finding = judged(PRESENT, endpoint_overrides=ABSENT, calico_node=calico_node(), operator=operator, **facts)
    assert shlex.split(commands(finding)[-1]) == [
        "kubectl", "create", "configmap", NAME, "-n", "ops; rm -rf /",
        f"--from-literal={literals[0]}", f"--from-literal={literals[1]}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "version", "words", "is_there"),
    [
        ({}, "v3.31.7", "bpfNetworkBootstrap to Enabled", True),
        ({}, "v3.30", "bpfNetworkBootstrap", False),
        ({}, "v3.31", "bpfNetworkBootstrap", False),
        ({}, "v3.31.6", "bpfNetworkBootstrap", False),
        ({"installation": installation(provider="EKS")}, "v3.31.7", "bpfNetworkBootstrap", False),
        ({"installation": ABSENT}, "v3.31.7", "bpfNetworkBootstrap to Enabled", True),
        ({"api_endpoints": HA}, "v3.31.7", "bpfNetworkBootstrap to Enabled", True),
        ({"api_endpoints": HA}, "v3.31", "2 API servers and no load balancer", True),
        (BY_MANIFEST, "v3.31.7", "bpfNetworkBootstrap", False),
        (BY_MANIFEST, "v3.31", "Then restart calico-node", True),
        ({}, "v3.23", "Then restart the operator", True),
        ({}, "v3.24", "Then restart", False),
        ({"kubeadm": known(Kubeadm(control_plane_endpoint="cp.x.com"))}, "v3.31", "dnsPolicy Default", True),
        ({}, "v3.31", "dnsPolicy", False),
    ],
)
def test_what_the_remedy_adds(facts: dict[str, Any], version: str, words: str, is_there: bool) -> None:
    changes = {**facts, "endpoint_overrides": ABSENT}
    changes["calico_node"] = manifest_node() if "install" in facts else calico_node()
    assert (words in fix(judged(PRESENT, version=version, **changes))) is is_there


def test_the_operators_own_way_is_not_offered_where_nodes_have_a_proxy() -> None:
    facts: dict[str, Any] = {"endpoint_overrides": ABSENT, "calico_node": calico_node(), "version": "v3.31.7"}
    assert "bpfNetworkBootstrap" in fix(judged(PRESENT, KIND, **facts))
    for kind in (TALOS, MKE, K3S, MICROK8S):
        assert "bpfNetworkBootstrap" not in fix(judged(PRESENT, kind, **facts))


def test_what_a_name_needs_comes_before_it() -> None:
    kubeadm = known(Kubeadm(control_plane_endpoint="cp.example.com"))
    facts: dict[str, Any] = {"endpoint_overrides": ABSENT, "calico_node": calico_node(), "kubeadm": kubeadm}
    first, second = commands(judged(PRESENT, version="v3.32.1", **facts))
    assert shlex.split(first)[:3] == ["kubectl", "patch", "installation"]
    assert json.loads(shlex.split(first)[-1])["spec"]["calicoNodeDaemonSet"]
    assert shlex.split(second)[:3] == ["kubectl", "create", "configmap"]
    assert len(commands(judged(PRESENT, version="v3.30.3", **facts))) == 1
    assert fix(judged(PRESENT, version="v3.30.3", **facts)).startswith("Upgrade to the newest patch")
    assert len(commands(judged(PRESENT, version="v3.33", **facts))) == 1


def test_the_remedy_says_nothing_twice() -> None:
    text = fix(judged(PRESENT, endpoint_overrides=ABSENT, calico_node=calico_node()))
    assert "192.168.0.10" not in text
    assert text.count("the endpoints of default/kubernetes") == 1


def test_what_kops_does_by_itself() -> None:
    missing = {**BY_MANIFEST, "endpoint_overrides": ABSENT}
    restart, kops = (
        fix(judged(PRESENT, KOPS, **missing)).index(words)
        for words in ("Then restart calico-node", "spec.networking.calico.bpfEnabled: true")
    )
    assert restart < kops
    assert "kOps" not in fix(judged(PRESENT, KIND, **missing))
    assert "kOps" not in fix(judged(PRESENT, KOPS, endpoint_overrides=ABSENT, calico_node=calico_node()))


def test_without_an_address_there_is_no_command() -> None:
    facts: dict[str, Any] = {"endpoint_overrides": ABSENT, "calico_node": calico_node(), "api_endpoints": HA}
    assert commands(judged(PRESENT, **facts)) == ()


# cluster.api-endpoint.usable.


@pytest.mark.parametrize(
    ("host", "port", "status", "note"),
    [
        (VIP, "6443", Status.PASS, False),
        ("192.168.0.10", "6443", Status.PASS, True),
        ("fd00::100", "6443", Status.PASS, False),
        ("10.96.0.1", "443", Status.FAIL, False),
        ("10.244.0.5", "6443", Status.FAIL, False),
        ("127.0.0.1", "6443", Status.FAIL, False),
        ("localhost", "6443", Status.FAIL, False),
        ("::ffff:127.0.0.1", "6443", Status.FAIL, False),
        ("kubernetes.default.svc", "443", Status.FAIL, False),
        ("<API server host>", "6443", Status.FAIL, False),
        ("https://lb.example.com", "6443", Status.FAIL, False),
        (VIP, "0", Status.FAIL, False),
        (VIP, "65536", Status.FAIL, False),
        (VIP, " 6443", Status.FAIL, False),
        ("[fd00::100]", "6443", Status.FAIL, False),
        (" ", "6443", Status.FAIL, False),
        ("master-1", "6443", Status.WARN, False),
        ("apiserver.cluster.local", "6443", Status.WARN, False),
        ("fe80::1", "6443", Status.WARN, False),
    ],
)
def test_what_calico_is_given(host: str, port: str, status: Status, note: bool) -> None:
    finding = judged(USABLE, **given_host(host, port))
    assert (finding.status, finding.note) == (status, note)
    assert f"{host}:{port}" in finding.message
    assert (finding.remediation is None) is (status is Status.PASS)


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ({"endpoint_overrides": ABSENT, "calico_node": calico_node()}, Status.NOT_APPLICABLE),
        ({"endpoint_overrides": ABSENT, "calico_node": FORBIDDEN}, Status.NOT_APPLICABLE),
        ({"endpoint_overrides": known((config_map(namespace="kube-system"),)), "calico_node": ABSENT},
         Status.NOT_APPLICABLE),
        ({"install": "none", "calico_node": ABSENT}, Status.NOT_APPLICABLE),
        ({"install": "unknown"}, Status.UNKNOWN),
        ({"install": "unknown", "endpoint_overrides": ABSENT, "calico_node": ABSENT}, Status.NOT_APPLICABLE),
        ({"installation": installation("Enabled")}, Status.NOT_APPLICABLE),
        ({"installation": installation("Disabled")}, Status.PASS),
        ({"installation": FORBIDDEN}, Status.UNKNOWN),
        # A name and an API server's own address need nothing else to be seen.
        ({**given_host("192.168.0.10"), "kubernetes_service": FORBIDDEN, "ip_pools": FORBIDDEN}, Status.PASS),
        ({"kubernetes_service": FORBIDDEN}, Status.UNKNOWN),
        ({"kubernetes_service": ABSENT}, Status.UNKNOWN),
        ({"ip_pools": FORBIDDEN}, Status.UNKNOWN),
        ({"ip_pools": ABSENT}, Status.PASS),
        ({"api_endpoints": FORBIDDEN}, Status.UNKNOWN),
        ({"api_endpoints": ABSENT}, Status.UNKNOWN),
        # What is bad is bad whatever else was not seen.
        ({**given_host("127.0.0.1"), "api_endpoints": FORBIDDEN, "ip_pools": FORBIDDEN}, Status.FAIL),
        ({**given_host("10.96.0.1"), "api_endpoints": FORBIDDEN}, Status.FAIL),
    ],
)  # fmt: skip
def test_what_has_to_be_seen(facts: dict[str, Any], status: Status) -> None:
    finding = judged(USABLE, **facts)
    assert finding.status is status
    if FORBIDDEN in facts.values() and status is Status.UNKNOWN:
        assert finding.reason is Reason.FORBIDDEN
        assert "not for you" in finding.message


def test_bootstrap_in_a_release_without_it_leaves_the_config_map_in_force() -> None:
    facts = {**given_host("10.96.0.1", "443"), "installation": installation("Enabled")}
    assert judged(USABLE, version="v3.30.4", **facts).status is Status.FAIL


def test_one_of_several_api_servers() -> None:
    finding = judged(USABLE, **given_host("192.168.0.10"), api_endpoints=HA)
    assert finding.status is Status.WARN
    assert "one of 2 API servers" in finding.message
    assert commands(finding) == ()
    assert "put one there (or a virtual IP)" in fix(finding)


def test_the_remedy_changes_the_config_map_that_is_there() -> None:
    facts = {**given_host("127.0.0.1"), "kubeadm": known(Kubeadm(control_plane_endpoint="10.0.0.9:8443"))}
    finding = judged(USABLE, **facts)
    data = {"KUBERNETES_SERVICE_HOST": "10.0.0.9", "KUBERNETES_SERVICE_PORT": "8443"}
    assert patch_in(finding) == {"data": data}
    assert shlex.split(commands(finding)[0])[2:6] == ["configmap", NAME, "-n", "tigera-operator"]
    # The same host with a port that will do.
    facts = {**given_host("cp.x.com", "0"), "kubeadm": known(Kubeadm(control_plane_endpoint="cp.x.com"))}
    dns, patch = commands(judged(USABLE, **facts))
    assert "dnsPolicy" in dns
    assert json.loads(shlex.split(patch)[-1])["data"]["KUBERNETES_SERVICE_PORT"] == "6443"
    risky = {**given_host("master-1"), "kubeadm": known(Kubeadm(control_plane_endpoint="10.0.0.9"))}
    assert patch_in(judged(USABLE, **risky))["data"]["KUBERNETES_SERVICE_HOST"] == "10.0.0.9"


@pytest.mark.parametrize(
    ("kinds", "host", "status", "note"),
    [
        ((), "lb.example.com", Status.PASS, False),
        ((), "10.96.0.1", Status.FAIL, False),
        ((), "localhost", Status.FAIL, False),
        ((TALOS,), "localhost", Status.PASS, False),
        ((K3S,), "127.0.0.1", Status.WARN, False),
        ((), "192.168.0.10", Status.PASS, True),
    ],
)
def test_an_address_by_a_variable(kinds: tuple[NodeKind, ...], host: str, status: Status, note: bool) -> None:
    facts = {**BY_MANIFEST, "endpoint_overrides": ABSENT, "calico_node": manifest_node(service_host=host)}
    assert judged(PRESENT, *kinds, **facts).note
    finding = judged(USABLE, *kinds, **facts)
    assert (finding.status, finding.note) == (status, note)
    if status is Status.FAIL:
        assert commands(finding) == ()
        assert fix(finding).startswith("Set the variable to 192.168.0.10, with port 6443")
    # It comes before a ConfigMap that manifests read; with the operator the ConfigMap decides.
    facts["endpoint_overrides"] = BY_MANIFEST["endpoint_overrides"]
    assert judged(USABLE, *kinds, **facts).status is status
    assert judged(USABLE, calico_node=calico_node(host)).status is Status.PASS


@pytest.mark.parametrize(
    ("kind", "host", "port", "install", "version", "status"),
    [
        (TALOS, "localhost", "7445", "operator", "v3.31", Status.WARN),
        (TALOS, "localhost", "7445", "operator", "v3.32", Status.PASS),
        (TALOS, "localhost", "7445", "manifest", "v3.31", Status.PASS),
        (TALOS, "localhost", "6443", "operator", "v3.32", Status.FAIL),
        (MKE, "proxy.local", "6444", "operator", "v3.20", Status.WARN),
        (MKE, "proxy.local", "6444", "operator", "v3.21", Status.PASS),
        (MKE, "proxy.local", "6444", "operator", "v3.31", Status.PASS),
        (MKE, "proxy.local", "443", "operator", "v3.31", Status.WARN),
        (K3S, "127.0.0.1", "6443", "operator", "v3.32", Status.WARN),
        (K3S, "127.0.0.1", "6443", "manifest", "v3.32", Status.WARN),
        (MICROK8S, "127.0.0.1", "16443", "manifest", "v3.32", Status.WARN),
        (MICROK8S, "127.0.0.1", "16444", "manifest", "v3.32", Status.FAIL),
        (MINIKUBE, "control-plane.minikube.internal", "8443", "operator", "v3.29", Status.WARN),
        (MINIKUBE, "control-plane.minikube.internal", "8443", "operator", "v3.33", Status.PASS),
        (MINIKUBE, "control-plane.minikube.internal", "8443", "manifest", "v3.29", Status.PASS),
    ],
)
def test_what_runs_on_each_node(
    kind: NodeKind, host: str, port: str, install: Install, version: str, status: Status
) -> None:
    facts: dict[str, Any] = given_host(host, port)
    if install == "manifest":
        there = config_map(host, port, namespace="kube-system")
        facts = {**BY_MANIFEST, "endpoint_overrides": known((there,))}
    finding = judged(USABLE, kind, version=version, **facts)
    assert finding.status is status
    if version in ("v3.20", "v3.31") and status is Status.WARN and kind is TALOS:
        assert "calico-kube-controllers" in finding.message
        assert "v3.32" in fix(finding)


@pytest.mark.parametrize(
    ("kind", "host", "port", "facts"),
    [
        (K3S, "127.0.0.1", "6443", {}),
        (MICROK8S, "127.0.0.1", "16443", {}),
        (KIND, "127.0.0.1", "8080", {"kube_proxy_config": known(KubeProxyConfig(server="https://127.0.0.1:8080"))}),
        (MINIKUBE, "control-plane.minikube.internal", "8443", {}),
    ],
)
def test_pods_that_the_operator_hands_it_to_do_not_reach_a_node_itself(
    kind: NodeKind, host: str, port: str, facts: dict[str, Any]
) -> None:
    finding = judged(USABLE, kind, version="v3.29", **given_host(host, port), **facts)
    assert finding.status is Status.WARN
    assert "gives it to calico-kube-controllers too" in finding.message
    after = judged(USABLE, kind, version="v3.33", **given_host(host, port), **facts)
    assert "calico-kube-controllers" not in after.message


def test_no_address_is_proposed_that_pods_do_not_reach() -> None:
    lost: dict[str, Any] = {"endpoint_overrides": ABSENT, "calico_node": calico_node(), "version": "v3.29"}
    assert "KUBERNETES_SERVICE_HOST=192.168.0.10" in commands(judged(PRESENT, TALOS, **lost))[0]
    assert "KUBERNETES_SERVICE_HOST=localhost" in commands(judged(PRESENT, TALOS, **{**lost, "version": "v3.33"}))[0]
    named = {**lost, "kubeadm": known(Kubeadm(control_plane_endpoint="control-plane.minikube.internal:8443"))}
    assert "KUBERNETES_SERVICE_HOST=192.168.0.10" in commands(judged(PRESENT, MINIKUBE, **named))[0]
    after = {**named, "version": "v3.33"}
    assert "KUBERNETES_SERVICE_HOST=control-plane.minikube.internal" in commands(judged(PRESENT, MINIKUBE, **after))[0]
    # A load balancer that the kubeconfig alone names comes before it too.
    ha = {**lost, "api_endpoints": HA, "server": known(f"https://{VIP}:6443")}
    assert f"KUBERNETES_SERVICE_HOST={VIP}" in commands(judged(PRESENT, TALOS, **ha))[0]
    by_manifest = {**BY_MANIFEST, "endpoint_overrides": ABSENT, "version": "v3.29"}
    assert "KUBERNETES_SERVICE_HOST=localhost" in commands(judged(PRESENT, TALOS, **by_manifest))[0]


@pytest.mark.parametrize(
    ("pod_host", "pod_port", "version", "status"),
    [
        ("lb.example.com", "6443", "v3.32", Status.PASS),
        ("10.96.0.1", "443", "v3.32", Status.PASS),
        ("localhost", "7445", "v3.32", Status.WARN),
        ("localhost", "6443", "v3.32", Status.WARN),
        ("<host>", "6443", "v3.32", Status.WARN),
        ("https://x", "6443", "v3.32", Status.WARN),
        (VIP, "0", "v3.32", Status.WARN),
        # The operator wants both, and older ones want neither.
        ("localhost", None, "v3.32", Status.PASS),
        (None, "7445", "v3.32", Status.PASS),
    ],
)
def test_the_address_for_pods(pod_host: str | None, pod_port: str | None, version: str, status: Status) -> None:
    facts = given_host("localhost", "7445", pod_host=pod_host, pod_port=pod_port)
    finding = judged(USABLE, TALOS, version=version, **facts)
    assert finding.status is status
    if status is Status.WARN:
        assert "pods of the pod network" in finding.message
        assert set(patch_in(finding)["data"].values()) == {None}
    before = judged(USABLE, version="v3.31", **given_host(VIP, pod_host=pod_host, pod_port=pod_port))
    assert before.status is Status.PASS


def test_an_address_by_a_variable_of_the_operators() -> None:
    assert judged(USABLE, endpoint_overrides=ABSENT).status is Status.PASS
    assert judged(USABLE, endpoint_overrides=ABSENT, calico_node=calico_node("::1")).status is Status.FAIL


def test_a_variable_that_says_the_same_leaves_the_config_map_to_be_judged() -> None:
    there = known((config_map(port="0", namespace="kube-system"),))
    facts = {**BY_MANIFEST, "endpoint_overrides": there, "calico_node": manifest_node(service_host=VIP)}
    assert judged(USABLE, **facts).status is Status.FAIL


def test_manifests_give_pods_nothing() -> None:
    there = config_map(namespace="kube-system", pod_host="localhost", pod_port="1")
    assert judged(USABLE, **{**BY_MANIFEST, "endpoint_overrides": known((there,))}).status is Status.PASS


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("v3.16", Status.PASS),
        ("v3.29", Status.PASS),
        ("v3.30", Status.WARN),
        ("v3.30.3", Status.WARN),
        ("v3.30.4", Status.PASS),
        ("v3.31", Status.WARN),
        ("v3.31.7", Status.WARN),
        ("v3.32", Status.WARN),
        ("v3.32.1", Status.WARN),
        ("v3.33", Status.PASS),
    ],
)
def test_names_that_calico_node_asks_cluster_dns_for(version: str, status: Status) -> None:
    facts = given_host("lb.example.com", "443")
    finding = judged(USABLE, version=version, **facts)
    assert finding.status is status
    if status is Status.WARN:
        assert "cluster DNS" in finding.message
        assert (", in some of its patches," in finding.message) is (version in ("v3.30", "v3.31", "v3.32"))
    if version.startswith("v3.30") and status is Status.WARN:
        assert commands(finding) == ()
    elif status is Status.WARN:
        pod = patch_in(finding)["spec"]["calicoNodeDaemonSet"]["spec"]["template"]["spec"]
        assert pod == {"dnsPolicy": "Default"}
    by_manifest = {**BY_MANIFEST, "endpoint_overrides": known((config_map("lb.example.com", namespace="kube-system"),))}
    assert judged(USABLE, version=version, **by_manifest).status is Status.PASS
    assert judged(USABLE, version=version).status is Status.PASS


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        ("ClusterFirstWithHostNet", Status.WARN),
        ("ClusterFirst", Status.WARN),
        (None, Status.WARN),
        ("Default", Status.PASS),
        ("None", Status.PASS),
    ],
)
def test_calico_node_that_is_told_whom_to_ask(policy: str | None, status: Status) -> None:
    node = CalicoNode(
        namespace="calico-system", name="calico-node", image="", dns_policy=policy, service_host="lb.example.com"
    )
    facts = {**given_host("lb.example.com", "443"), "calico_node": known(node)}
    assert judged(USABLE, version="v3.32.1", **facts).status is status


def test_a_name_that_all_nodes_of_the_platform_know() -> None:
    facts = given_host("kind-control-plane")
    before = judged(USABLE, KIND, version="v3.29", **facts)
    assert (before.status, before.note) == (Status.PASS, True)
    assert judged(USABLE, KIND, version="v3.31", **facts).status is Status.WARN


# Hostile text.


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
@pytest.mark.parametrize("install", ["operator", "manifest"])
def test_hostile_text_is_shown_safely_and_in_short(check: Check, install: Install) -> None:
    bad = "\x1b[2J\u202e'; rm -rf / #" + "x" * 3000
    operator = known(Deployment(namespace=bad, name=bad, image=bad))
    node = calico_node(bad, namespace=bad, name=bad, env_from=(bad,))
    for there in (
        config_map(bad, bad, namespace=bad, pod_host=bad, pod_port=bad),
        config_map(bad, None, namespace=bad),
        config_map(bad, bad, namespace="elsewhere" + bad),
        config_map(bad, bad, namespace=bad, name=bad),
    ):
        finding = judged(
            check,
            install=install,
            operator=operator,
            endpoint_overrides=known((there,)),
            calico_node=node,
            calico_pods=known(CalicoPods()),
            installation=known(Installation(bpf_network_bootstrap=bad, linux_dataplane=bad, kubernetes_provider=bad)),
        )
        shown = (finding.message, finding.observed, finding.required)
        assert all("\x1b" not in text and "\u202e" not in text for text in shown)
        assert all(len(text) < 1000 for text in shown)
        if finding.remediation is not None:
            assert len(finding.remediation.text) < 1200
            for command in finding.remediation.commands:
                assert "rm" not in shlex.split(command)
