import ipaddress
import json
from typing import Any

import pytest
import yaml
from hypothesis import given as for_all
from hypothesis import strategies as st

from ebpfcheck.checks.endpoints import (
    ENDPOINT_NEEDS,
    WHERE_NEEDS,
    Found,
    classify,
    find_endpoints,
    manifest,
    namespace_of,
    node_local,
)
from ebpfcheck.engine import gather
from ebpfcheck.model.check import Given
from ebpfcheck.model.cluster import (
    CalicoNode,
    ClusterFacts,
    Deployment,
    EndpointOverride,
    IpPool,
    Kubeadm,
    KubeProxy,
    KubeProxyConfig,
    OpenShift,
    ServiceAddress,
)
from ebpfcheck.model.facts import Absent, Fact, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import ApiEndpoint
from ebpfcheck.model.text import visible
from tests.builders import cluster_snapshot, known, release

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not for you")

KIND = NodeKind(provider=known("kind"))
MARKS = {
    "talos": "extensions.talos.dev/schematic",
    "mke": "com.docker.ucp.orchestrator",
    "rke2": "node.kubernetes.io/instance-type=rke2",
    "k3s": "k3s.io/node-args",
    "rke1": "rke.cattle.io/internal-ip",
    "kops": "kops.k8s.io/instancegroup",
    "aks": "kubernetes.azure.com/cluster",
    "eks": "eks.amazonaws.com/nodegroup",
    "openshift": "node.openshift.io/os_id=rhcos",
    "minikube": "minikube.k8s.io/name",
}
USABLE = {"name", "load_balancer", "node_local", "address", "control_plane", "platform_name"}

# A cluster of two families with one API server, of which everything was seen.
SERVICE = known(ServiceAddress(cluster_ips=("10.96.0.1", "fd00:96::1"), port=443))
POOLS = known((IpPool(name="v4", cidr="10.244.0.0/16"), IpPool(name="v6", cidr="fd00:244::/64", disabled=True)))
ONE = known(("192.168.0.10:6443",))
THREE = known(("192.168.0.10:6443", "192.168.0.11:6443", "[fd00::12]:6443"))
SEEN: dict[str, Any] = {"kubernetes_service": SERVICE, "ip_pools": POOLS, "api_endpoints": ONE}


def on(platform: str) -> NodeKind:
    return NodeKind(platform_marks=known((MARKS[platform],)))


def given(*kinds: NodeKind, install: Install = "unknown", **facts: Fact[Any]) -> Given:
    snapshot = cluster_snapshot(ClusterFacts(**facts), *kinds)
    return gather(snapshot, (*ENDPOINT_NEEDS, *WHERE_NEEDS), release("v3.32.1"), install)


def classified(host: str, port: str = "6443", *kinds: NodeKind, **facts: Any) -> ApiEndpoint:
    return classify(given(*kinds, **{**SEEN, **facts}), host, port)


def found(*kinds: NodeKind, **facts: Any) -> Found:
    return find_endpoints(given(*kinds, **facts))


def chosen(*kinds: NodeKind, **facts: Any) -> str | None:
    choice = found(*kinds, **facts).choice
    return None if choice is None else f"{choice.host}:{choice.port}"


def is_safe(text: str) -> bool:
    return visible(text) == text


def override(host: str | None, port: str | None = "6443", **changes: Any) -> EndpointOverride:
    whole = {"namespace": "tigera-operator", "name": "kubernetes-services-endpoint", "host": host, "port": port}
    return EndpointOverride(**{**whole, **changes})


def kubeconfig_of_kube_proxy(server: str, **changes: Any) -> Fact[Any]:
    return known(KubeProxyConfig(server=server, **changes))


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("api.example.com", "name"),
        ("API.Example.COM", "name"),
        ("api.example.com.", "name"),
        ("k8s_api.corp.local", "name"),
        ("xn--bcher-kva.example", "name"),
        ("svc.example.com", "name"),
        ("api.svc.example.com", "name"),
        ("kubernetes.default-cluster.example.com", "name"),
        ("lb.cluster.local.example.com", "name"),
        ("461a1fa334847e0e1b597af07ff0cce0.gr7.ap-northeast-2.eks.amazonaws.com", "name"),
        ("a" * 63 + ".example.com", "name"),
        # Names of the cluster's own DNS.
        ("kubernetes.default", "cluster_name"),
        ("kubernetes.default.svc", "cluster_name"),
        ("Kubernetes.Default.Svc.Cluster.Local.", "cluster_name"),
        ("kubernetes.default.svc.corp.example", "cluster_name"),
        ("api.kube-system.svc", "cluster_name"),
        # Names of /etc/hosts and of single networks.
        ("kubernetes", "local_name"),
        ("master-1", "local_name"),
        ("kind-control-plane", "local_name"),
        ("control-plane.minikube.internal", "local_name"),
        ("apiserver.cluster.local", "local_name"),
        ("lb-apiserver.kubernetes.local", "local_name"),
        ("lb.kubesphere.local", "local_name"),
        ("api.internal.test.k8s.local", "local_name"),
        ("proxy.local", "local_name"),
        # Loopback, by name and by address.
        ("localhost", "loopback"),
        ("LOCALHOST.", "loopback"),
        ("localhost.localdomain", "loopback"),
        ("ip6-localhost", "loopback"),
        ("api.localhost", "loopback"),
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("::1", "loopback"),
        ("0:0:0:0:0:0:0:1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("0.0.0.0", "loopback"),
        ("::", "loopback"),
        # ClusterIPs.
        ("10.96.0.1", "cluster_ip"),
        ("fd00:96::1", "cluster_ip"),
        ("FD00:0096:0::1", "cluster_ip"),
        ("::ffff:10.96.0.1", "cluster_ip"),
        # Pods' networks, of pools that are switched off too.
        ("10.244.0.0", "pod_network"),
        ("10.244.255.255", "pod_network"),
        ("fd00:244::7", "pod_network"),
        ("::ffff:10.244.3.4", "pod_network"),
        # Addresses of machines.
        ("192.168.0.10", "control_plane"),
        ("::ffff:192.168.0.10", "control_plane"),
        ("192.168.0.100", "load_balancer"),
        ("10.243.255.255", "load_balancer"),
        ("10.245.0.0", "load_balancer"),
        ("10.96.0.2", "load_balancer"),
        ("fd00::100", "load_balancer"),
        ("203.0.113.7", "load_balancer"),
        ("169.254.1.1", "link_local"),
        ("fe80::1", "link_local"),
        ("224.0.0.1", "invalid"),
        ("ff02::1", "invalid"),
        # What cannot be used as it stands.
        ("", "invalid"),
        (" ", "invalid"),
        (".", "invalid"),
        ("https://api.example.com", "invalid"),
        ("api.example.com/", "invalid"),
        ("api.example.com/k8s/clusters/c-1", "invalid"),
        ("api.example.com:6443", "invalid"),
        ("192.168.0.10:6443", "invalid"),
        ("[fd00::10]", "invalid"),
        ("[fd00::10]:6443", "invalid"),
        ("fe80::1%eth0", "invalid"),
        (" api.example.com", "invalid"),
        ("api.example.com\n", "invalid"),
        ("api example.com", "invalid"),
        ('"api.example.com"', "invalid"),
        ("api..example.com", "invalid"),
        ("-api.example.com", "invalid"),
        ("api-.example.com", "invalid"),
        ("a" * 64 + ".example.com", "invalid"),
        ("a." * 127 + "aa", "invalid"),
        ("192.168.0", "invalid"),
        ("192.168.0.300", "invalid"),
        ("010.0.0.1", "invalid"),
        ("127.1", "invalid"),
        ("3232235530", "invalid"),
        ("api.b\u00fccher.example", "invalid"),
        ("\u212aubernetes.example.com", "invalid"),
        ("api.example.com\x1b[31m", "invalid"),
        ("api.example.com,api2.example.com", "invalid"),
        # Templates of several styles.
        ("${module.eks.cluster_endpoint}", "template"),
        ("{{ .ControlPlaneEndpoint }}", "template"),
        ("{{ControlPlaneEndpoint}}", "template"),
        ("<API server host>", "template"),
        ("$(KUBERNETES_HOST)", "template"),
        ("$KUBERNETES_HOST", "template"),
        ("__KUBERNETES_SERVICE_HOST__", "template"),
        ("api.<cluster_name>.example.com", "template"),
    ],
)
def test_what_an_address_is(host: str, kind: str) -> None:
    endpoint = classified(host)
    assert endpoint.kind == kind
    assert endpoint.usable == (kind in USABLE)
    assert endpoint.remark
    assert is_safe(endpoint.host)


@pytest.mark.parametrize(
    ("port", "kind", "number"),
    [
        ("1", "name", 1),
        ("443", "name", 443),
        ("06443", "name", 6443),
        ("65535", "name", 65535),
        ("", "invalid", 0),
        ("0", "invalid", 0),
        ("65536", "invalid", 0),
        ("99999", "invalid", 0),
        ("100000", "invalid", 0),
        ("0000443", "invalid", 0),
        ("9" * 5000, "invalid", 0),
        ("-1", "invalid", 0),
        ("+443", "invalid", 0),
        ("443 ", "invalid", 0),
        ("443\n", "invalid", 0),
        ("https", "invalid", 0),
        ("443/TCP", "invalid", 0),
        ("4_43", "invalid", 0),
        ("\u0664\u0664\u0663", "invalid", 0),
        ("\u00b2", "invalid", 0),
        ("<port>", "template", 0),
        ("{{ .Port }}", "template", 0),
    ],
)
def test_ports(port: str, kind: str, number: int) -> None:
    endpoint = classified("api.example.com", port)
    assert (endpoint.kind, endpoint.port) == (kind, number)


def test_what_is_wrong_with_a_port_is_shown_safely() -> None:
    remark = classified("api.example.com", "\x1b[31m" + "9" * 99).remark
    assert "no port" in remark
    assert "\x1b" not in remark
    assert len(remark) < 100


@pytest.mark.parametrize(
    ("servers", "host", "kind"),
    [
        (THREE, "192.168.0.11", "one_of_several"),
        (THREE, "fd00:0::12", "one_of_several"),
        (THREE, "192.168.0.100", "load_balancer"),
        (known(("192.168.0.10:6443", "192.168.0.10:6444")), "192.168.0.10", "control_plane"),
        (known(("192.168.0.10",)), "192.168.0.10", "control_plane"),
        (known(("fd00::12",)), "fd00::12", "control_plane"),
        (known(("[bad:6443", "", "\x1b")), "192.168.0.10", "load_balancer"),
        (FORBIDDEN, "192.168.0.10", "address"),
        (ABSENT, "192.168.0.10", "address"),
        (FORBIDDEN, "10.96.0.1", "cluster_ip"),
        (FORBIDDEN, "10.244.0.9", "pod_network"),
    ],
)
def test_addresses_beside_the_api_servers(servers: Fact[Any], host: str, kind: str) -> None:
    assert classified(host, api_endpoints=servers).kind == kind


SERVICES = known(("10.96.0.0/12", "fd00:96::/112"))
OF_KUBEADM = known(
    Kubeadm(pod_subnet="10.8.0.0/16,fd00:8::/48", service_subnet="10.96.0.0/16, fd00:97::/112", cluster_name="x")
)
OF_KUBE_PROXY = known(KubeProxyConfig(cluster_cidr="10.9.0.0/16,fd00:9::/48"))
ODD_POOLS = known((IpPool(name="bad", cidr="nonsense"), IpPool(name="host", cidr="10.7.0.9/16")))
NODES_TOO = known((IpPool(name="all", cidr="192.168.0.0/16"),))
EVERYTHING = known((IpPool(name="all", cidr="0.0.0.0/0"),))


@pytest.mark.parametrize(
    ("facts", "host", "kind"),
    [
        ({"service_cidrs": SERVICES}, "10.111.255.255", "cluster_ip"),
        ({"service_cidrs": SERVICES}, "10.112.0.0", "load_balancer"),
        ({"service_cidrs": SERVICES}, "fd00:96::ffff", "cluster_ip"),
        ({"service_cidrs": SERVICES, "kubernetes_service": FORBIDDEN}, "10.96.0.1", "cluster_ip"),
        ({"kubeadm": OF_KUBEADM}, "10.96.9.9", "cluster_ip"),
        ({"kubeadm": OF_KUBEADM}, "fd00:97::9", "cluster_ip"),
        ({"kubeadm": OF_KUBEADM}, "10.8.1.1", "pod_network"),
        ({"kubeadm": OF_KUBEADM}, "fd00:8::1", "pod_network"),
        ({"kube_proxy_config": OF_KUBE_PROXY}, "10.9.0.1", "pod_network"),
        ({"kube_proxy_config": OF_KUBE_PROXY}, "fd00:9::1", "pod_network"),
        ({"ip_pools": ODD_POOLS}, "10.7.0.1", "pod_network"),
        # Where nodes are in a pool too, it tells nothing; a ClusterIP stays one.
        ({"ip_pools": NODES_TOO}, "192.168.0.10", "control_plane"),
        ({"ip_pools": NODES_TOO}, "192.168.0.100", "load_balancer"),
        ({"ip_pools": NODES_TOO, "api_endpoints": FORBIDDEN}, "192.168.0.100", "pod_network"),
        ({"ip_pools": EVERYTHING}, "10.96.0.1", "cluster_ip"),
    ],
)
def test_networks_of_services_and_pods(facts: dict[str, Fact[Any]], host: str, kind: str) -> None:
    assert classified(host, "6443", **facts).kind == kind


@pytest.mark.parametrize(
    ("platform", "host", "port", "kind"),
    [
        ("talos", "localhost", "7445", "node_local"),
        ("talos", "LocalHost.", "7445", "node_local"),
        ("talos", "127.0.0.1", "7445", "node_local"),
        ("talos", "0:0:0:0:0:0:0:1", "7445", "node_local"),
        ("talos", "localhost", "6443", "loopback"),
        ("talos", "127.0.0.2", "7445", "loopback"),
        ("mke", "proxy.local", "6444", "node_local"),
        ("mke", "proxy.local", "443", "local_name"),
        ("mke", "localhost", "6444", "loopback"),
        ("rke2", "localhost", "6443", "node_proxy"),
        ("rke2", "127.0.0.1", "6444", "node_proxy"),
        ("rke2", "127.0.0.1", "9345", "loopback"),
        ("k3s", "127.0.0.1", "6443", "node_proxy"),
        ("k3s", "::1", "6444", "node_proxy"),
        ("rke1", "127.0.0.1", "6443", "node_proxy"),
        ("rke1", "127.0.0.1", "6444", "loopback"),
        ("eks", "127.0.0.1", "6443", "loopback"),
        ("aks", "localhost", "7445", "loopback"),
        ("eks", "proxy.local", "6444", "local_name"),
    ],
)
def test_what_platforms_run_on_each_node(platform: str, host: str, port: str, kind: str) -> None:
    endpoint = classified(host, port, on(platform))
    assert endpoint.kind == kind
    assert endpoint.usable == (kind == "node_local")
    assert ("on the node itself" in endpoint.remark) is (kind == "node_proxy")
    assert "kube-proxy" not in endpoint.remark


def test_kubesprays_proxy_on_each_node() -> None:
    kubespray = known(Kubeadm(cluster_name="cluster.local"))
    assert classified("localhost", "6443", kubeadm=kubespray).kind == "node_proxy"
    assert classified("localhost", "8443", kubeadm=kubespray).kind == "loopback"


@pytest.mark.parametrize(
    ("server", "host", "port", "kind"),
    [
        ("https://127.0.0.1:8443", "127.0.0.1", "8443", "node_proxy"),
        ("https://[::1]:8443", "0:0::1", "8443", "node_proxy"),
        ("https://localhost", "LOCALHOST", "443", "node_proxy"),
        ("https://127.0.0.1:8443", "127.0.0.1", "6443", "loopback"),
        ("https://127.0.0.1:8443", "127.0.0.2", "8443", "loopback"),
        ("", "127.0.0.1", "443", "loopback"),
        ("https://api.example.com:6443", "api.example.com", "6443", "name"),
    ],
)
def test_a_loopback_address_that_kube_proxy_uses_on_every_node(server: str, host: str, port: str, kind: str) -> None:
    assert classified(host, port, kube_proxy_config=kubeconfig_of_kube_proxy(server)).kind == kind


def test_a_kube_proxy_of_whose_server_nothing_is_known() -> None:
    assert classified("127.0.0.1", "443", kube_proxy_config=known(KubeProxyConfig())).kind == "loopback"


def test_the_proxy_of_a_host_whatever_its_port() -> None:
    talos = given(on("talos"))
    local = node_local(talos, "LOCALHOST")
    assert local is not None
    assert local.ports == (7445,)
    assert node_local(talos, "localhost", 6443) is None
    assert node_local(talos, "api.example.com") is None
    assert node_local(given(), "localhost") is None


@pytest.mark.parametrize(
    ("kind", "host", "is_known"),
    [
        (KIND, "kind-control-plane", True),
        (KIND, "ha-external-load-balancer", True),
        (KIND, "host-1", False),
        (on("minikube"), "control-plane.minikube.internal", True),
        (on("minikube"), "kind-control-plane", False),
        (on("kops"), "api.internal.test.k8s.local", True),
        (on("eks"), "kind-control-plane", False),
    ],
)
def test_names_that_all_nodes_of_a_platform_know(kind: NodeKind, host: str, is_known: bool) -> None:
    endpoint = classified(host, "6443", kind)
    assert endpoint.kind == ("platform_name" if is_known else "local_name")
    assert endpoint.usable is is_known


# Finding them.


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("cp.example.com", "cp.example.com:6443"),
        ("cp.example.com:443", "cp.example.com:443"),
        ("CP.Example.com.:8443", "cp.example.com:8443"),
        ("10.0.0.100", "10.0.0.100:6443"),
        ("[fd00::100]:8443", "fd00::100:8443"),
        ("[fd00::100]", "fd00::100:6443"),
        ("fd00::100", "fd00::100:6443"),
        ("", None),
        ("cp.example.com:port", None),
        ("cp.example.com:99999", None),
        ("cp.example.com:0", None),
    ],
)
def test_kubeadms_endpoint(endpoint: str, expected: str | None) -> None:
    facts = {**SEEN, "api_endpoints": THREE, "kubeadm": known(Kubeadm(control_plane_endpoint=endpoint))}
    assert chosen(**facts) == expected


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("https://api.example.com", "api.example.com:443"),
        ("https://api.example.com/", "api.example.com:443"),
        ("https://api.example.com:6443", "api.example.com:6443"),
        ("HTTPS://API.EXAMPLE.COM:6443", "api.example.com:6443"),
        ("https://10.0.0.100:6443", "10.0.0.100:6443"),
        ("https://[fd00::100]:6443", "fd00::100:6443"),
        ("api.example.com:6443", "api.example.com:6443"),
        # What Rancher and other proxies give.
        ("https://rancher.example.com/k8s/clusters/c-m-abc", None),
        ("https://api.example.com?x=1", None),
        ("https://user:word@api.example.com", None),
        ("https://", None),
        ("https://[fd00::100", None),
        ("https://api.example.com:6443:1", None),
        ("https://{{ .ControlPlaneEndpoint }}", None),
        ("https://api.example.com:123456", None),
        ("", None),
    ],
)
def test_urls(server: str, expected: str | None) -> None:
    facts = {**SEEN, "api_endpoints": THREE}
    assert chosen(**facts, kube_proxy_config=kubeconfig_of_kube_proxy(server)) == expected
    assert chosen(**facts, server=known(server)) == expected


def test_a_template_is_shown_as_one() -> None:
    (candidate,) = found(kube_proxy_config=kubeconfig_of_kube_proxy("https://{{ .Host }}:6443")).candidates
    assert (candidate.kind, candidate.usable) == ("template", False)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("kube-proxy", "--master=https://api.internal.example.com", "--v=2"), "api.internal.example.com:443"),
        (("kube-proxy", "--master", "https://10.0.0.100:6443"), "10.0.0.100:6443"),
        (("/bin/sh", "-c", "exec kube-proxy --master=https://10.0.0.100:6443 2>&1"), "10.0.0.100:6443"),
        (("kube-proxy", "--master"), None),
        (("kube-proxy", "--kubeconfig=/x"), None),
    ],
)
def test_the_master_of_kube_proxy(command: tuple[str, ...], expected: str | None) -> None:
    proxy = known(KubeProxy(namespace="kube-system", name="kube-proxy", runs_as="static pods", command=command))
    assert chosen(**SEEN | {"api_endpoints": THREE}, kube_proxy=proxy) == expected


@pytest.mark.parametrize(
    ("kinds", "facts", "expected"),
    [
        # What the nodes use themselves comes before the kubeconfig's name, whatever the two are.
        (
            (),
            {
                "kubeadm": known(Kubeadm(control_plane_endpoint="10.0.0.100:6443")),
                "server": known("https://k8s.example.com"),
                "api_endpoints": THREE,
            },
            "10.0.0.100:6443",
        ),
        (
            (),
            {
                "kube_proxy_config": kubeconfig_of_kube_proxy("https://192.168.0.10:6443"),
                "server": known("https://k8s.example.com"),
            },
            "192.168.0.10:6443",
        ),
        # Of what the nodes use, the name rather than one machine.
        (
            (),
            {
                "kubeadm": known(Kubeadm(control_plane_endpoint="192.168.0.10:6443")),
                "kube_proxy_config": kubeconfig_of_kube_proxy("https://cp.example.com:6443"),
            },
            "cp.example.com:6443",
        ),
        # AKS shows its name in the kubeconfig alone.
        ((on("aks"),), {"server": known("https://x.hcp.westus.azmk8s.io:443")}, "x.hcp.westus.azmk8s.io:443"),
        # An address that is in the kubeconfig alone may be a NAT's.
        ((), {"server": known("https://203.0.113.7:6443")}, "192.168.0.10:6443"),
        ((), {"server": known("https://203.0.113.7:6443"), "api_endpoints": THREE}, "203.0.113.7:6443"),
        # What the documentation of the platform names.
        ((on("talos"),), {"server": known("https://talos.example.com:6443")}, "localhost:7445"),
        ((on("mke"),), {"server": known("https://mke.example.com:443")}, "proxy.local:6444"),
        (
            (on("openshift"),),
            {
                "openshift": known(OpenShift(api_internal_url="https://api-int.ocp.example.com:6443")),
                "server": known("https://api.ocp.example.com:6443"),
            },
            "api-int.ocp.example.com:6443",
        ),
        ((on("kops"),), {"server": known("https://api.k.example.com")}, "api.internal.k.example.com:443"),
        ((on("kops"),), {"server": known("https://API.internal.k.example.com")}, "api.internal.k.example.com:443"),
        ((on("kops"),), {"server": known("https://api-k-abc.elb.amazonaws.com")}, "api-k-abc.elb.amazonaws.com:443"),
        ((on("eks"),), {"server": known("https://api.k.example.com")}, "api.k.example.com:443"),
        # What nobody documents is not proposed.
        ((on("k3s"),), {"server": known("https://127.0.0.1:6443")}, "192.168.0.10:6443"),
        ((on("rke2"),), {"server": known("https://127.0.0.1:6443"), "api_endpoints": THREE}, None),
        # kind: the name rather than the container's address.
        (
            (KIND,),
            {
                "kube_proxy_config": kubeconfig_of_kube_proxy("https://kind-control-plane:6443"),
                "server": known("https://127.0.0.1:40123"),
                "api_endpoints": known(("172.18.0.2:6443",)),
            },
            "kind-control-plane:6443",
        ),
        # In a pod the kubeconfig leads to the ClusterIP.
        ((), {"server": known("https://10.96.0.1:443")}, "192.168.0.10:6443"),
        # A ConfigMap comes first, as long as it will do.
        (
            (),
            {
                "endpoint_overrides": known((override("lb.example.com"),)),
                "kubeadm": known(Kubeadm(control_plane_endpoint="cp.example.com")),
            },
            "lb.example.com:6443",
        ),
        (
            (),
            {
                "endpoint_overrides": known((override("10.96.0.1", "443"),)),
                "kubeadm": known(Kubeadm(control_plane_endpoint="cp.example.com")),
            },
            "cp.example.com:6443",
        ),
        (
            (),
            {"endpoint_overrides": known((override("a.example.com", None), override(None), override("b.c", "x")))},
            "192.168.0.10:6443",
        ),
    ],
)
def test_the_choice(kinds: tuple[NodeKind, ...], facts: dict[str, Fact[Any]], expected: str | None) -> None:
    assert chosen(*kinds, **{**SEEN, **facts}) == expected


def test_half_a_config_map_is_no_candidate() -> None:
    halves = known((override("a.example.com", None), override(None), override("b.example.com", "port")))
    assert found(endpoint_overrides=halves).candidates == ()


def test_ranks_from_the_best_to_the_useless() -> None:
    facts = {
        **SEEN,
        "kubeadm": known(Kubeadm(control_plane_endpoint="cp.example.com")),
        "kube_proxy_config": kubeconfig_of_kube_proxy("https://192.168.0.10:6443"),
        "server": known("https://k8s.example.com:443"),
        "endpoint_overrides": known((override("127.0.0.1"), override("${host}"))),
    }
    shown = [(one.host, one.usable) for one in found(**facts).candidates]
    assert shown == [
        ("cp.example.com", True),
        ("192.168.0.10", True),
        ("k8s.example.com", True),
        ("127.0.0.1", False),
        ("${host}", False),
    ]


def test_the_same_address_is_one_candidate_with_all_its_sources() -> None:
    result = found(
        **SEEN | {"api_endpoints": known(("[fd00::12]:6443",))},
        kubeadm=known(Kubeadm(control_plane_endpoint="[FD00:0::12]:6443")),
        kube_proxy_config=kubeconfig_of_kube_proxy("https://[fd00::12]:6443"),
        server=known("https://fd00.example.com"),
        endpoint_overrides=known((override("fd00:0:0::12"), override("fd00::12"))),
    )
    first = result.candidates[0]
    assert first.host == "fd00::12"
    assert first.sources == (
        "ConfigMap tigera-operator/kubernetes-services-endpoint",
        "kubeadm's controlPlaneEndpoint",
        "kube-proxy's kubeconfig",
        "the endpoints of default/kubernetes",
    )
    assert len(result.candidates) == 2


def test_several_api_servers_and_no_load_balancer_is_said_plainly() -> None:
    result = found(**SEEN | {"api_endpoints": THREE})
    assert result.choice is None
    assert "3 API servers and no load balancer" in result.reason
    assert [one.kind for one in result.candidates] == ["one_of_several"] * 3


def test_other_reasons() -> None:
    assert found().reason == "no address of the API server was found"
    assert found(api_endpoints=known(())).reason == "no address of the API server was found"
    assert found(api_endpoints=known(("not a host",))).reason == "none of the addresses that were found will do"
    assert found(server=known("https://127.0.0.1:6443")).reason == "none of the addresses that were found will do"
    alone = found(**SEEN, server=known("https://api.example.com"))
    assert alone.reason.endswith("named by the kubeconfig that was used alone: see that the nodes reach it too")
    both = found(**SEEN, server=known("https://192.168.0.10:6443"))
    assert both.reason.endswith("named by the kubeconfig that was used, the endpoints of default/kubernetes")


def test_hostile_text_is_shown_safely() -> None:
    bad = override("\x1b[2J\u202e" + "h" * 999, "6443", namespace="\x1b" + "n" * 999)
    (candidate,) = found(endpoint_overrides=known((bad,))).candidates
    assert candidate.kind == "invalid"
    for text in (candidate.host, *candidate.sources):
        assert is_safe(text)
        assert len(text) < 320


@pytest.mark.parametrize(
    ("install", "facts", "namespace"),
    [
        ("operator", {}, "tigera-operator"),
        ("operator", {"operator": known(Deployment(namespace="calico-ops", name="op", image=""))}, "calico-ops"),
        ("operator", {"operator": FORBIDDEN}, "tigera-operator"),
        ("manifest", {}, "kube-system"),
        ("manifest", {"calico_node": known(CalicoNode(namespace="calico", name="n", image=""))}, "calico"),
        ("none", {}, None),
        ("unknown", {}, None),
    ],
)
def test_where_the_config_map_belongs(install: Install, facts: dict[str, Any], namespace: str | None) -> None:
    assert namespace_of(given(install=install, **facts)) == namespace


def test_the_manifest_is_yaml_of_strings() -> None:
    endpoint = classified("api.example.com", "443")
    document = yaml.safe_load(manifest(given(), endpoint, "123"))
    assert document["metadata"] == {"name": "kubernetes-services-endpoint", "namespace": "123"}
    assert document["data"] == {"KUBERNETES_SERVICE_HOST": "api.example.com", "KUBERNETES_SERVICE_PORT": "443"}
    v6 = yaml.safe_load(manifest(given(), classified("fd00::100"), "kube-system"))
    assert v6["data"]["KUBERNETES_SERVICE_HOST"] == "fd00::100"


# Whatever may stand there.

HOSTS = st.one_of(
    st.text(max_size=80),
    st.ip_addresses().map(str),
    st.ip_addresses(network="10.96.0.0/12").map(str),
    st.ip_addresses(network="10.244.0.0/16").map(str),
    st.ip_addresses(network="127.0.0.0/8").map(lambda one: f"::ffff:{one}"),
    st.from_regex(r"[a-zA-Z0-9._:%\[\]/-]{1,40}", fullmatch=True),
    st.sampled_from(("localhost", "LOCALHOST.", "::1", "127.0.0.1", "kubernetes.default", "proxy.local")),
)
PORTS = st.one_of(st.text(max_size=8), st.integers(-5, 70000).map(str), st.just("7445"))
PLATFORMS = st.sampled_from((None, *MARKS))
CIDR = known(("10.96.0.0/12",))


@for_all(HOSTS, PORTS, PLATFORMS)
def test_nothing_makes_it_stumble_and_what_is_usable_is_a_host_and_a_port(
    host: str, port: str, platform: str | None
) -> None:
    kinds = () if platform is None else (on(platform),)
    endpoint = classified(host, port, *kinds, service_cidrs=CIDR)
    assert is_safe(endpoint.host)
    if not endpoint.usable:
        return
    assert endpoint.host == host
    assert endpoint.port == int(port)
    assert 0 < endpoint.port < 65536
    assert json.loads(json.dumps(host)) == host
    assert not set(host) & set("/[]%@ \t\r\n'\"$<>{}")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        assert ":" not in host
        return
    plain = getattr(address, "ipv4_mapped", None) or address
    if endpoint.kind != "node_local":
        assert not plain.is_loopback
        assert not plain.is_unspecified
        for network in ("10.96.0.0/12", "10.244.0.0/16", "fd00:244::/64"):
            assert plain not in ipaddress.ip_network(network)
    else:
        assert endpoint.port == 7445


@for_all(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_finding_stumbles_over_no_text(server: str, endpoint: str, host: str, cidr: str) -> None:
    result = found(
        on("kops"),
        server=known(server),
        kubeadm=known(Kubeadm(control_plane_endpoint=endpoint, pod_subnet=cidr, service_subnet=cidr)),
        kube_proxy_config=kubeconfig_of_kube_proxy(f"https://{host}:6443", cluster_cidr=cidr),
        api_endpoints=known((endpoint, host, server)),
        endpoint_overrides=known((override(host, endpoint, namespace=cidr),)),
    )
    assert all(is_safe(one.host) and one.sources for one in result.candidates)
    assert result.choice is None or result.choice == result.candidates[0]
    usable = [one.usable for one in result.candidates]
    assert usable == sorted(usable, reverse=True)
