import json
import shlex
from typing import Any

import pytest

from ebpfcheck.checks import platform
from ebpfcheck.checks.platform import PLATFORM_NEEDS, Platform, platform_of
from ebpfcheck.engine import gather
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import CalicoNode, ClusterFacts, Installation, Kubeadm, KubeProxy, Marks
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Status
from tests.builders import cluster_snapshot, judged_cluster, known, release

CHECK = platform.cluster_platform
ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not for you")
CALICO = known(CalicoNode(namespace="calico-system", name="calico-node", image="quay.io/calico/node:v3.32.1"))
PROXY = known(KubeProxy(namespace="kube-system", name="kube-proxy", runs_as="daemonset", desired=3))

# As real nodes show themselves: marks, scheme of providerID, kubelet, system.
GKE = ("cloud.google.com/gke-nodepool", "gce", "v1.31.13-gke.1377000", "Container-Optimized OS from Google")
AKS = ("kubernetes.azure.com/cluster", "azure", "v1.30.3", "Ubuntu 22.04.4 LTS")
EKS = ("eks.amazonaws.com/nodegroup", "aws", "v1.31.0-eks-a737599", "Amazon Linux 2023.6.20241010")
OPENSHIFT = ("node.openshift.io/os_id=rhcos", "aws", "v1.29.6+aba1e8d", "Red Hat Enterprise Linux CoreOS 416.94")
TALOS = ("extensions.talos.dev/schematic", "", "v1.31.1", "Talos (v1.8.2)")
RKE2 = ("node.kubernetes.io/instance-type=rke2", "rke2", "v1.33.5+rke2r1", "Ubuntu 22.04.4 LTS")
K3S = ("k3s.io/node-args", "k3s", "v1.24.3+k3s1", "Ubuntu 20.04.5 LTS")
RKE1 = ("rke.cattle.io/internal-ip", "", "v1.26.8", "Ubuntu 20.04.5 LTS")
MKE = ("com.docker.ucp.orchestrator.kubernetes", "", "v1.27.4", "Ubuntu 20.04.5 LTS")
KOPS = ("kops.k8s.io/instancegroup", "aws", "v1.28.5", "Ubuntu 22.04.4 LTS")
KUBEADM = ("kubeadm.alpha.kubernetes.io/cri-socket", "", "v1.30.0", "Debian GNU/Linux 12 (bookworm)")
FARGATE = ("eks.amazonaws.com/compute-type=fargate", "aws", "v1.31.0-eks-a737599", "Amazon Linux 2")
AUTO = ("eks.amazonaws.com/compute-type=auto", "aws", "v1.31.0-eks-a737599", "Bottlerocket (EKS Auto)")
VIRTUAL = ("type=virtual-kubelet", "", "v1.31.0-vk-azure-aci-1.6.1", "")
DOKS = ("doks.digitalocean.com/node-pool", "digitalocean", "v1.31.1", "Debian GNU/Linux 12 (bookworm)")
LKE = ("lke.linode.com/pool-id", "linode", "v1.31.0", "Debian GNU/Linux 11 (bullseye)")
OKE = ("oci.oraclecloud.com/node.info.managed", "ocid1", "v1.30.1", "Oracle Linux Server 8.9")
IKS = ("ibm-cloud.kubernetes.io/worker-id", "ibm", "v1.29.6+IKS", "Ubuntu 20.04.6 LTS")
TKG = ("run.tanzu.vmware.com/tkr", "vsphere", "v1.26.5+vmware.2", "Ubuntu 20.04.6 LTS")
KIND = ("", "kind", "v1.30.0", "Debian GNU/Linux 12 (bookworm)")
PLAIN = ("", "", "v1.30.0", "Debian GNU/Linux 12 (bookworm)")


def node(
    told: tuple[str, str, str, str] = PLAIN, *more: str, kernel: str = "6.1.0-29-amd64", **changes: Fact[Any]
) -> NodeKind:
    mark, provider, kubelet, system = told
    facts = {
        "platform_marks": known(tuple(sorted(one for one in (mark, *more) if one))),
        "provider": known(provider) if provider else ABSENT,
        "kubelet_version": known(kubelet),
        "os_image": known(system),
        "kernel_release": known(kernel),
        "felix": known(FelixSettings()),
    }
    return NodeKind(**{**facts, **changes})


def recognised(*kinds: NodeKind, **facts: Fact[Any]) -> Platform | None:
    snapshot = cluster_snapshot(ClusterFacts(**facts), *kinds)
    return platform_of(gather(snapshot, PLATFORM_NEEDS, release("v3.32.1"), "unknown"))


def judged(
    *kinds: NodeKind,
    version: str = "v3.32.1",
    counts: tuple[int, ...] = (),
    install: Install = "unknown",
    **facts: Fact[Any],
) -> Finding:
    total = sum(counts or (1,) * len(kinds))
    seen: dict[str, Any] = {
        "other_networks": known(()),
        "calico_node": CALICO,
        "kube_proxy": PROXY,
        "installation": ABSENT,
        "node_count": known(total),
    }
    return judged_cluster(CHECK, *kinds, version=version, counts=counts, install=install, **{**seen, **facts})


@pytest.mark.parametrize(
    ("marks", "provider", "kubelet", "system", "name"),
    [
        (("cloud.google.com/gke-nodepool",), "gce", "v1.31.13-gke.1377000", "Ubuntu 22.04.4 LTS", "gke"),
        (("cloud.google.com/gke-os-distribution",), "gce", "v1.31.13", "", "gke"),
        ((), "gce", "v1.31.13-gke.1377000", "", "gke"),
        (("kubernetes.azure.com/cluster", "kubernetes.azure.com/mode"), "azure", "v1.30.3", "", "aks"),
        (("kubernetes.azure.com/agentpool",), "azure", "v1.30.3", "", "aks"),
        (("kubernetes.azure.com/role",), "azure", "v1.30.3", "", "aks"),
        (("eks.amazonaws.com/nodegroup",), "aws", "v1.31.0-eks-a737599", "", "eks"),
        (("alpha.eksctl.io/cluster-name",), "aws", "v1.31.0", "", "eks"),
        ((), "aws", "v1.31.0-eks-a737599", "Amazon Linux 2", "eks"),
        (("node.openshift.io/os_id=rhcos",), "aws", "v1.29.6+aba1e8d", "", "openshift"),
        (("machineconfiguration.openshift.io/currentConfig",), "", "v1.29.6", "", "openshift"),
        (("extensions.talos.dev/schematic",), "", "v1.31.1", "", "talos"),
        ((), "", "v1.31.1", "Talos (v1.8.2)", "talos"),
        (("node.kubernetes.io/instance-type=rke2",), "rke2", "v1.33.5+rke2r1", "", "rke2"),
        (("etcd.rke2.cattle.io/node-name",), "", "v1.33.5", "", "rke2"),
        ((), "", "v1.33.5+rke2r1", "", "rke2"),
        ((), "rke2", "v1.33.5", "", "rke2"),
        (("k3s.io/hostname",), "", "v1.24.3", "", "k3s"),
        (("node.kubernetes.io/instance-type=k3s",), "", "v1.24.3", "", "k3s"),
        ((), "k3s", "v1.24.3", "", "k3s"),
        ((), "", "v1.24.3+k3s1", "", "k3s"),
        (("rke.cattle.io/internal-ip",), "", "v1.26.8", "", "rke1"),
        (("microk8s.io/cluster",), "", "v1.28.7", "", "microk8s"),
        (("node.kubernetes.io/microk8s-controlplane",), "", "v1.28.7", "", "microk8s"),
        (("com.docker.ucp.orchestrator.kubernetes",), "", "v1.27.4", "", "mke"),
        (("doks.digitalocean.com/node-pool",), "digitalocean", "v1.22.8", "", "doks"),
        (("lke.linode.com/pool-id",), "linode", "v1.28.3", "", "lke"),
        (("oci.oraclecloud.com/node.info.managed",), "ocid1", "v1.28.2", "", "oke"),
        (("ibm-cloud.kubernetes.io/worker-id",), "ibm", "v1.29.6+IKS", "", "iks"),
        (("run.tanzu.vmware.com/tkr",), "vsphere", "v1.26.5+vmware.2", "", "tkg"),
        (("kops.k8s.io/instancegroup",), "aws", "v1.28.5", "", "kops"),
        ((), "kind", "v1.30.0", "Debian GNU/Linux 12 (bookworm)", "kind"),
        (("minikube.k8s.io/name",), "", "v1.30.0", "Buildroot 2023.02.9", "minikube"),
        (("kubeadm.alpha.kubernetes.io/cri-socket",), "", "v1.30.0", "", "kubeadm"),
        # The same words of others.
        ((), "aws", "v1.28.5", "Ubuntu 22.04.4 LTS", None),
        ((), "azure", "v1.28.5", "Ubuntu 22.04.4 LTS", None),
        ((), "gce", "v1.28.5", "Ubuntu 22.04.4 LTS", None),
        (("kubernetes.azure.com/managed=false",), "", "v1.28.5", "", None),
        (("oci.oraclecloud.com/fault-domain",), "ocid1", "v1.28.5", "", None),
        (("rke.cattle.io/machine",), "", "v1.28.5", "", None),
        ((), "", "v1.32.2-tke.6", "TencentOS Server 4.4", None),
        ((), "kindred", "v1.28.5", "My Talos ", None),
    ],
)
def test_platforms_by_what_their_nodes_show(
    marks: tuple[str, ...], provider: str, kubelet: str, system: str, name: str | None
) -> None:
    found = recognised(node(("", provider, kubelet, system), *marks))
    assert (found and found.entry.name) == name


def test_one_label_is_shown_for_each_kind_of_label() -> None:
    found = recognised(node(KOPS, "kops.k8s.io/kops-controller-pki", "kops.k8s.io/x"), node(KOPS, "kops.k8s.io/a"))
    assert found is not None
    assert found.evidence == ("nodes carry kops.k8s.io/a",)
    found = recognised(node(EKS, "alpha.eksctl.io/cluster-name", "alpha.eksctl.io/nodegroup-name"))
    assert found is not None
    assert found.evidence == (
        "nodes carry alpha.eksctl.io/cluster-name",
        "nodes carry eks.amazonaws.com/nodegroup",
        "kubelet v1.31.0-eks-a737599",
    )


def test_each_platform_of_the_table_can_be_recognised() -> None:
    told = (GKE, AKS, EKS, OPENSHIFT, TALOS, RKE2, K3S, RKE1, MKE, KOPS, KUBEADM)
    names = {found.entry.name for one in told if (found := recognised(node(one)))}
    assert len(names) == len(told)
    for entry in load_knowledge().platforms.platform:
        assert entry.marks or entry.providers or entry.kubeadm_names, entry.name


@pytest.mark.parametrize(
    ("facts", "name", "evidence"),
    [
        ({"server_version": known("v1.31.2-eks-7f9249a")}, "eks", "API server v1.31.2-eks-7f9249a"),
        ({"server_version": known("v1.31.13-gke.1377000")}, "gke", "API server v1.31.13-gke.1377000"),
        ({"server_version": known("v1.33.5+rke2r1")}, "rke2", "API server v1.33.5+rke2r1"),
        ({"server_version": known("v1.24.3+k3s1")}, "k3s", "API server v1.24.3+k3s1"),
        ({"api_groups": known(("apps", "config.openshift.io"))}, "openshift", "API group config.openshift.io"),
        ({"api_groups": known(("core.tanzu.vmware.com",))}, "tkg", "API group core.tanzu.vmware.com"),
        (
            {"kubeadm": known(Kubeadm(cluster_name="cluster.local"))},
            "kubespray",
            "kubeadm's configuration names the cluster cluster.local",
        ),
        (
            {"installation": known(Installation(kubernetes_provider="AKS"))},
            "aks",
            "the Installation's kubernetesProvider is AKS",
        ),
        ({"installation": known(Installation(kubernetes_provider="DockerEnterprise"))}, "mke", None),
    ],
)
def test_platforms_by_what_the_cluster_shows(facts: dict[str, Fact[Any]], name: str, evidence: str | None) -> None:
    found = recognised(**facts)
    assert found is not None
    assert found.entry.name == name
    assert evidence is None or found.evidence == (evidence,)


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"api_groups": known(("apps", "route.openshift.io"))},
        {"kubeadm": known(Kubeadm(cluster_name="kubernetes"))},
        {"installation": known(Installation())},
        {"installation": known(Installation(kubernetes_provider=""))},
        {"server_version": FORBIDDEN, "api_groups": FORBIDDEN, "kubeadm": ABSENT, "installation": ABSENT},
    ],
)
def test_nothing_that_tells_a_platform(facts: dict[str, Fact[Any]]) -> None:
    assert recognised(node(), **facts) is None


@pytest.mark.parametrize(
    ("kinds", "facts", "name", "also"),
    [
        # RKE2's runtime and annotations speak of k3s.
        ((node(RKE2, "k3s.io/node-args"),), {}, "rke2", ("k3s",)),
        ((node(RKE2, "harvesterhci.io/managed", "rke.cattle.io/internal-ip"),), {}, "rke2", ("RKE1",)),
        ((node(EKS, "kops.k8s.io/instancegroup"),), {}, "eks", ("kOps",)),
        ((node(OPENSHIFT, "ibm-cloud.kubernetes.io/worker-id"),), {}, "openshift", ("IBM IKS",)),
        ((node(("", "kind", "v1.30.0", "")), node(KUBEADM)), {}, "kind", ()),
        ((node(KUBEADM, "minikube.k8s.io/name"),), {}, "minikube", ()),
        ((node(KUBEADM),), {"kubeadm": known(Kubeadm(cluster_name="cluster.local"))}, "kubespray", ()),
        # Anybody can install OpenShift's group, or write a provider into the Installation.
        ((node(KUBEADM),), {"api_groups": known(("config.openshift.io",))}, "kubeadm", ("OpenShift",)),
        ((node(K3S),), {"installation": known(Installation(kubernetes_provider="GKE"))}, "k3s", ("Google GKE",)),
        ((node(OPENSHIFT),), {"api_groups": known(("config.openshift.io",))}, "openshift", ()),
    ],
)
def test_marks_of_several(
    kinds: tuple[NodeKind, ...], facts: dict[str, Fact[Any]], name: str, also: tuple[str, ...]
) -> None:
    found = recognised(*kinds, **facts)
    assert found is not None
    assert (found.entry.name, found.also) == (name, also)


def test_evidence_is_told_once_and_made_safe() -> None:
    found = recognised(node(EKS), node(("eks.amazonaws.com/a\x1b[31m" + "x" * 200, "", "v1-eks-\x07", "")))
    assert found is not None
    assert [one.startswith("nodes carry eks.amazonaws.com/a") for one in found.evidence] == [True, False, False]
    assert all("\x1b" not in one and "\x07" not in one and len(one) < 140 for one in found.evidence)


@pytest.mark.parametrize(
    ("told", "version", "status", "note"),
    [
        (GKE, "v3.13", Status.FAIL, False),
        (GKE, "v3.33", Status.FAIL, False),
        (AKS, "v3.16", Status.WARN, False),
        (AKS, "v3.33", Status.WARN, False),
        (EKS, "v3.16", Status.PASS, False),
        (OPENSHIFT, "v3.29.7", Status.PASS, False),
        (OPENSHIFT, "v3.30", Status.PASS, True),
        (OPENSHIFT, "v3.32.1", Status.PASS, True),
        (TALOS, "v3.30.3", Status.WARN, False),
        (TALOS, "v3.30", Status.UNKNOWN, False),
        (TALOS, "v3.30.4", Status.WARN, False),
        (TALOS, "v3.29", Status.WARN, False),
        (RKE2, "v3.32.1", Status.PASS, True),
        (K3S, "v3.32.1", Status.PASS, True),
        (RKE1, "v3.32.1", Status.WARN, False),
        (MKE, "v3.23", Status.WARN, False),
        (MKE, "v3.24", Status.FAIL, False),
        (MKE, "v3.24.6", Status.FAIL, False),
        (MKE, "v3.25.0", Status.WARN, False),
        (MKE, "v3.27.5", Status.WARN, False),
        (MKE, "v3.28", Status.WARN, False),
        (DOKS, "v3.32.1", Status.WARN, False),
        (LKE, "v3.32.1", Status.PASS, True),
        (OKE, "v3.32.1", Status.PASS, True),
        (IKS, "v3.32.1", Status.PASS, True),
        (TKG, "v3.32.1", Status.PASS, True),
        (KIND, "v3.32.1", Status.PASS, True),
        (KOPS, "v3.32.1", Status.PASS, False),
        (KUBEADM, "v3.32.1", Status.PASS, False),
        (PLAIN, "v3.32.1", Status.PASS, True),
    ],
)
def test_what_ebpf_mode_meets_there(told: tuple[str, str, str, str], version: str, status: Status, note: bool) -> None:
    finding = judged(node(told), version=version)
    assert (finding.status, finding.note) == (status, note)
    assert (finding.remediation is not None) == (status is not Status.PASS)
    assert told == PLAIN or finding.observed


def test_the_message_says_what_is_met_and_at_which_release() -> None:
    assert "with Calico v3.24, the documentation of this release" in judged(node(MKE), version="v3.24").message
    assert "cgroupV2Path" in judged(node(TALOS), version="v3.30").message
    whole = judged(node(KUBEADM)).message
    assert whole == "The cluster is kubeadm; nothing of it stands in the way of eBPF mode."
    assert judged(node(K3S)).message.startswith("The cluster is k3s: Calico's pages on eBPF mode do not name k3s;")
    assert judged(node(K3S)).message.endswith("(--disable-kube-proxy).")
    assert "with marks of kOps" in judged(node(EKS, "kops.k8s.io/instancegroup")).message


@pytest.mark.parametrize(("proxy", "status"), [(PROXY, Status.WARN), (ABSENT, Status.PASS), (FORBIDDEN, Status.WARN)])
def test_aks_puts_back_no_kube_proxy_where_azure_has_switched_it_off(proxy: Fact[Any], status: Status) -> None:
    assert judged(node(AKS), kube_proxy=proxy).status is status


def test_rke1_hides_its_kube_proxy() -> None:
    assert judged(node(RKE1), kube_proxy=ABSENT).status is Status.WARN


def test_what_a_rule_is_about_has_to_be_seen() -> None:
    assert "GKE's own CNI plugin" in judged(node(GKE)).message
    assert "Dataplane V2" in judged(node(GKE), other_networks=known(("kube-system/anetd",))).message
    for networks in (FORBIDDEN, known(("anetd/other",)), known(("kube-system/cilium",))):
        assert "Dataplane V2" not in judged(node(GKE), other_networks=networks).message


def managed(*labels: tuple[str, str], cni: str | None = None) -> Fact[Any]:
    return known(Installation(kubernetes_provider="AKS", cni_type=cni, marks=Marks(labels=labels)))


RECONCILED = ("addonmanager.kubernetes.io/mode", "Reconcile")


@pytest.mark.parametrize(
    ("installation", "proxy", "status", "note", "words"),
    [
        (managed(RECONCILED, cni="AzureVNET"), PROXY, Status.WARN, False, "looks after Calico's Installation"),
        (managed(RECONCILED, cni="AzureVNET"), ABSENT, Status.WARN, False, "looks after Calico's Installation"),
        (managed(("addonmanager.kubernetes.io/mode", "EnsureExists")), PROXY, Status.WARN, False, "puts kube-proxy"),
        (managed(("a", "b")), PROXY, Status.WARN, False, "so that it runs beside eBPF mode"),
        (managed(cni="AzureVNET"), PROXY, Status.WARN, False, "so that it runs beside eBPF mode"),
        (managed(cni="AzureVNET"), ABSENT, Status.PASS, False, "nothing of it stands in the way"),
        (managed(cni="Calico"), PROXY, Status.WARN, False, "kubeProxyConfig, a preview"),
        (managed(cni="Calico"), FORBIDDEN, Status.WARN, False, "kubeProxyConfig, a preview"),
        (managed(cni="Calico"), ABSENT, Status.PASS, True, "still in testing on AKS"),
        (FORBIDDEN, PROXY, Status.WARN, False, "so that it runs beside eBPF mode"),
        (ABSENT, ABSENT, Status.PASS, False, "nothing of it stands in the way"),
    ],
)
def test_the_sorts_of_aks(installation: Fact[Any], proxy: Fact[Any], status: Status, note: bool, words: str) -> None:
    finding = judged(node(AKS), installation=installation, kube_proxy=proxy)
    assert (finding.status, finding.note) == (status, note)
    assert words in finding.message


def felix(**settings: Any) -> Fact[Any]:
    return known(FelixSettings(**settings))


def told(**env: str | None) -> Fact[Any]:
    return known(CalicoNode(namespace="kube-system", name="calico-node", image="", env=tuple(env.items())))


RIGHT, OTHER = felix(cgroup_v2_path="/sys/fs/cgroup"), felix(cgroup_v2_path="/var/cgroup")


@pytest.mark.parametrize(
    ("install", "version", "settings", "calico", "status", "words"),
    [
        ("operator", "v3.30.4", (RIGHT,), CALICO, Status.PASS, "at /sys/fs/cgroup, as Talos needs"),
        ("operator", "v3.30", (RIGHT,), CALICO, Status.PASS, "at /sys/fs/cgroup, as Talos needs"),
        ("unknown", "v3.32.1", (RIGHT, RIGHT), FORBIDDEN, Status.PASS, "at /sys/fs/cgroup, as Talos needs"),
        ("operator", "v3.32.1", (OTHER,), CALICO, Status.PASS, "at another path"),
        ("operator", "v3.32.1", (RIGHT, OTHER), CALICO, Status.PASS, "at another path"),
        ("operator", "v3.32.1", (felix(),), CALICO, Status.WARN, "not told of another path"),
        ("operator", "v3.32.1", (felix(cgroup_v2_path=""),), CALICO, Status.WARN, "not told of another path"),
        ("operator", "v3.32.1", (RIGHT, felix()), CALICO, Status.WARN, "not told of another path"),
        ("operator", "v3.32.1", (ABSENT,), CALICO, Status.WARN, "not told of another path"),
        ("operator", "v3.32.1", (FORBIDDEN,), CALICO, Status.PASS, "Talos needs cgroupV2Path"),
        ("operator", "v3.32.1", (RIGHT, FORBIDDEN), CALICO, Status.PASS, "Talos needs cgroupV2Path"),
        ("operator", "v3.32.1", (felix(),), FORBIDDEN, Status.PASS, "Talos needs cgroupV2Path"),
        ("operator", "v3.30.3", (felix(),), CALICO, Status.WARN, "of this release has no cgroupV2Path"),
        ("operator", "v3.30", (felix(),), CALICO, Status.UNKNOWN, "the patch of Calico v3.30 decides"),
        # Felix does not read the setting, and with manifests nobody hands it on.
        ("manifest", "v3.32.1", (RIGHT,), CALICO, Status.WARN, "not told of another path"),
        (
            "manifest", "v3.27.1", (felix(),), told(CALICO_CGROUP_PATH="/sys/fs/cgroup"), Status.PASS,
            "at /sys/fs/cgroup, as Talos needs",
        ),
        (
            "manifest", "v3.27.0", (felix(),), told(CALICO_CGROUP_PATH="/sys/fs/cgroup"), Status.WARN,
            "of this release has no cgroupV2Path",
        ),
        ("manifest", "v3.31.0", (FORBIDDEN,), told(CALICO_CGROUP_PATH="/var/cgroup"), Status.PASS, "at another path"),
        ("manifest", "v3.31.0", (felix(),), told(CALICO_CGROUP_PATH=None), Status.PASS, "Talos needs cgroupV2Path"),
        ("manifest", "v3.31.0", (felix(),), told(CALICO_CGROUP_PATH=""), Status.WARN, "not told of another path"),
        ("manifest", "v3.31.0", (felix(),), ABSENT, Status.PASS, "Talos needs cgroupV2Path"),
    ],
)  # fmt: skip
def test_the_path_of_cgroup2_on_talos(
    install: Install, version: str, settings: tuple[Fact[Any], ...], calico: Fact[Any], status: Status, words: str
) -> None:
    kinds = [node(TALOS, felix=one) for one in settings]
    finding = judged(*kinds, version=version, install=install, calico_node=calico)
    assert finding.status is status
    assert words in finding.message
    if "not told" in words:
        assert finding.remediation is not None
        assert finding.remediation.commands == (
            """kubectl patch felixconfiguration default --type merge -p '{"spec":{"cgroupV2Path":"/sys/fs/cgroup"}}'""",
        )


@pytest.mark.parametrize(
    ("version", "settings", "status"),
    [
        ("v3.31.0", (felix(vxlan_port=4789),), Status.WARN),
        ("v3.31", (felix(),), Status.WARN),
        ("v3.32.1", (ABSENT,), Status.WARN),
        ("v3.32.1", (felix(vxlan_port=8472), felix()), Status.WARN),
        ("v3.32.1", (felix(vxlan_port=8472),), Status.PASS),
        ("v3.32.1", (FORBIDDEN,), Status.UNKNOWN),
        ("v3.30.7", (felix(vxlan_port=4789),), Status.WARN),
        ("v3.28", (felix(vxlan_port=4790),), Status.PASS),
    ],
)
def test_the_vxlan_port_on_mke(version: str, settings: tuple[Fact[Any], ...], status: Status) -> None:
    finding = judged(*[node(MKE, felix=one) for one in settings], version=version)
    assert finding.status is status
    if status is Status.WARN:
        # Two devices with VNIs of their own get on, before vxlan.calico takes all of them.
        assert ("stays down" in finding.message) is (version != "v3.30.7")
        assert finding.remediation is not None
        assert finding.remediation.commands == (
            """kubectl patch felixconfiguration default --type merge -p '{"spec":{"vxlanPort":4790}}'""",
        )


def test_the_commands_of_rules_can_be_copied() -> None:
    for entry in load_knowledge().platforms.platform:
        for rule in entry.rule:
            for command in rule.commands:
                words = shlex.split(command)
                assert words[0] == "kubectl"
                assert json.loads(words[-1])["spec"]
            assert bool(rule.remedy) is (rule.status != "note"), rule.message


@pytest.mark.parametrize(
    ("kinds", "counts", "status", "words"),
    [
        ((AKS, VIRTUAL), (3, 1), Status.WARN, "AKS puts kube-proxy"),
        ((EKS, FARGATE), (3, 2), Status.WARN, "2 of 5 nodes are Amazon EKS Fargate nodes"),
        ((FARGATE,), (2,), Status.FAIL, "2 of 2 nodes"),
        ((EKS, AUTO), (3, 1), Status.UNKNOWN, "1 of 4 nodes are Amazon EKS Auto Mode nodes"),
        ((AUTO,), (4,), Status.UNKNOWN, "4 of 4 nodes"),
        # The unknown is the worse of the two.
        ((EKS, FARGATE, AUTO), (1, 1, 1), Status.UNKNOWN, "Auto Mode"),
        ((FARGATE, AUTO), (1, 1), Status.UNKNOWN, "Auto Mode"),
    ],
)
def test_nodes_of_special_kinds(
    kinds: tuple[tuple[str, str, str, str], ...], counts: tuple[int, ...], status: Status, words: str
) -> None:
    finding = judged(*map(node, kinds), counts=counts)
    assert finding.status is status
    assert words in finding.message
    assert finding.remediation is not None


def test_what_a_rule_hangs_on_and_was_not_seen_is_no_pass() -> None:
    finding = judged(node(AKS), kube_proxy=ABSENT, installation=FORBIDDEN)
    assert (finding.status, finding.reason) == (Status.UNKNOWN, Reason.FORBIDDEN)
    # Where all that might hold are warnings it is one.
    assert judged(node(AKS), installation=FORBIDDEN).status is Status.WARN


def test_a_platform_whose_nodes_were_not_listed_is_not_all_told() -> None:
    finding = judged(node_count=FORBIDDEN, server_version=known("v1.31.0-eks-a737599"))
    assert (finding.status, finding.reason) == (Status.UNKNOWN, Reason.FORBIDDEN)
    # What holds whatever the nodes are is told.
    assert judged(node_count=FORBIDDEN, server_version=known("v1.31.13-gke.1377000")).status is Status.FAIL


def test_virtual_nodes_of_aks() -> None:
    finding = judged(node(AKS), node(VIRTUAL), counts=(3, 1), kube_proxy=ABSENT)
    assert finding.status is Status.WARN
    assert finding.message.startswith("1 of 4 nodes are Azure AKS virtual nodes: ")
    assert judged(node(EKS), node(VIRTUAL), counts=(3, 1)).status is Status.PASS


def test_special_kinds_are_in_the_name() -> None:
    found = recognised(node(FARGATE), node(AUTO))
    assert found is not None
    assert found.title == "Amazon EKS with Fargate and Auto Mode nodes"
    for told, title in ((EKS, "Amazon EKS"), (GKE, "Google GKE")):
        plain = recognised(node(told, *(("eks.amazonaws.com/compute-type=fargate",) if told is GKE else ())))
        assert plain is not None
        assert plain.title == title


def test_all_nodes_that_were_read_are_not_all_nodes() -> None:
    assert judged(node(FARGATE), node_count=FORBIDDEN).status is Status.WARN
    assert judged(node(FARGATE), NodeKind(platform_marks=FORBIDDEN)).status is Status.WARN


@pytest.mark.parametrize(
    ("told", "kernel", "status"),
    [
        (EKS, "4.14.355-275.603.amzn2.x86_64", Status.WARN),
        (EKS, "5.10.230-223.885.amzn2.x86_64", Status.PASS),
        (EKS, "4.14.0-115.el7a.x86_64", Status.PASS),
        (EKS, "14.14.1-1.amzn2.x86_64", Status.PASS),
        (KOPS, "4.14.355-275.603.amzn2.x86_64", Status.PASS),
    ],
)
def test_the_old_default_kernel_of_eks(told: tuple[str, str, str, str], kernel: str, status: Status) -> None:
    finding = judged(node(told), node(told, kernel=kernel), counts=(2, 5))
    assert finding.status is status
    assert status is Status.PASS or finding.message.startswith(f"5 of 7 nodes run kernel {kernel}: ")


@pytest.mark.parametrize(
    ("networks", "calico", "status"),
    [
        (known(("kube-system/cilium",)), ABSENT, Status.FAIL),
        (known(("kube-system/anetd",)), ABSENT, Status.FAIL),
        (known(("openshift-ovn-kubernetes/ovnkube-node",)), ABSENT, Status.FAIL),
        (known(("kube-system/cilium",)), CALICO, Status.WARN),
        (known(("kube-system/cilium",)), FORBIDDEN, Status.UNKNOWN),
        (known(("kube-system/aws-node", "kube-system/kube-flannel-ds")), ABSENT, Status.PASS),
        (known(("cilium/aws-node",)), CALICO, Status.PASS),
        (known(()), CALICO, Status.PASS),
        (known(()), ABSENT, Status.PASS),
        (ABSENT, CALICO, Status.PASS),
        (FORBIDDEN, FORBIDDEN, Status.UNKNOWN),
    ],
)
def test_dataplanes_of_others(networks: Fact[Any], calico: Fact[Any], status: Status) -> None:
    for told in (KUBEADM, PLAIN):
        finding = judged(node(told), other_networks=networks, calico_node=calico)
        assert finding.status is status
        if status is Status.UNKNOWN:
            assert finding.reason is Reason.FORBIDDEN
            assert "not for you" in finding.message


def test_the_platform_comes_before_the_network_where_both_fail() -> None:
    finding = judged(node(GKE), other_networks=known(("kube-system/anetd",)), calico_node=ABSENT)
    assert finding.status is Status.FAIL
    assert "Google GKE" in finding.message
    assert judged(node(AKS), other_networks=known(("kube-system/cilium",)), calico_node=ABSENT).status is Status.FAIL


def test_names_of_other_networks_are_made_safe() -> None:
    finding = judged(node(KUBEADM), other_networks=known(("\x1b[2J/cilium", "x" * 400 + "/cilium")), calico_node=ABSENT)
    assert "\x1b" not in finding.message
    assert len(finding.message) < 400


@pytest.mark.parametrize(
    ("kinds", "facts", "reason", "words"),
    [
        ((), {"node_count": FORBIDDEN}, Reason.FORBIDDEN, "could not be looked at"),
        ((), {"node_count": Unknown(reason=Reason.TIMEOUT, detail="slow")}, Reason.TIMEOUT, "could not be looked at"),
        ((), {"node_count": known(0)}, Reason.NOT_COLLECTED, "no nodes yet"),
        ((), {"node_count": known(3)}, Reason.NOT_COLLECTED, "could not be looked at"),
        ((NodeKind(),), {}, Reason.NOT_COLLECTED, "could not be looked at"),
        ((node(), NodeKind(platform_marks=FORBIDDEN)), {}, Reason.NOT_COLLECTED, "could not be looked at"),
    ],
)
def test_nodes_that_were_not_seen(
    kinds: tuple[NodeKind, ...], facts: dict[str, Any], reason: Reason, words: str
) -> None:
    finding = judged(*kinds, **facts)
    assert (finding.status, finding.reason) == (Status.UNKNOWN, reason)
    assert words in finding.message
    assert (finding.remediation is not None) is (reason is Reason.FORBIDDEN)


def test_nothing_known() -> None:
    for minor in load_knowledge().minors():
        assert judged_cluster(CHECK, version=str(minor)).status is Status.UNKNOWN
