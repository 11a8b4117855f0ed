"""One field of the all-green cluster changed at a time: one finding changes, and it is the one that should."""

import copy
from dataclasses import dataclass
from typing import Any

import pytest

from ebpfcheck.checks.builtin import BUILTIN
from ebpfcheck.engine import judge
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.knowledge.types import parse_known
from ebpfcheck.model.snapshot import Snapshot
from tests.builders import FIXTURES
from tests.fakeapi import FakeApi, Object, Story
from tests.stories import SURVEYED, collected, surveyed

GREEN = "green-surveyed"
CLUSTER, SURVEYS = SURVEYED[GREEN]
OWN = "v3.32.1"


@dataclass(frozen=True)
class Change:
    """A field of one object, what it becomes (None: it goes), and the finding that has to change by that."""

    kind: str
    name: str
    path: str
    value: Any
    check: str
    status: str
    version: str = OWN

    def __str__(self) -> str:
        return f"{self.kind}/{self.name} {self.path}"

    def of(self, objects: list[Object]) -> list[Object]:
        """The objects with this one changed."""
        changed = copy.deepcopy(objects)
        (one,) = (item for item in changed if item["kind"] == self.kind and self.name == item["metadata"]["name"])
        *parents, last = (int(key) if key.isdigit() else key.replace("~1", "/") for key in self.path.split("/"))
        holder: Any = one
        for key in parents:
            holder = holder[key] if isinstance(key, int) else holder.setdefault(key, {})
        if self.value is None:
            del holder[last]
        elif isinstance(holder, list) and last == len(holder):
            holder.append(self.value)
        else:
            holder[last] = self.value
        assert changed != objects
        return changed


FELIX = ("FelixConfiguration", "default")
POOL = ("IPPool", "default-ipv4-ippool")
PASS, NOTE, WARN, FAIL, UNKNOWN = "pass", "note", "warn", "fail", "unknown"

NODE = ("Node", "k8s-worker-01")
INSTALLATION = ("Installation", "default")
CALICO_NODE = ("DaemonSet", "calico-node")
KUBE_PROXY = ("DaemonSet", "kube-proxy")
SERVICE = ("Service", "storefront")
POLICY = ("GlobalNetworkPolicy", "default.default-deny-apps")
ENDPOINT = ("ConfigMap", "kubernetes-services-endpoint")
TEMPLATE = "spec/template/metadata/annotations"
MAIN = "spec/template/spec/containers/0"
HOST = "data/KUBERNETES_SERVICE_HOST"
INIT = "spec/template/spec/initContainers/3"
POD = "spec/containers/0"
ORDERS = ("Deployment", "orders")
CONTROLLERS = ("KubeControllersConfiguration", "default")
AGENT = "calico-node-gwncg"
IN_IPVS = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"

CHANGES = [
    Change("DaemonSet", "node-exporter", "metadata/name", "cilium", "cluster.platform", WARN),
    Change("Pod", AGENT, f"{POD}/image", "quay.io/calico/node:v3.31.2", "cluster.calico.version", WARN),
    Change(*FELIX, "spec/bpfMapSizeConntrack", 1000000, "cluster.calico.known-bad", FAIL, "v3.28.1"),
    Change(*INSTALLATION, "spec/calicoNetwork/linuxDataplane", "VPP", "cluster.dataplane", FAIL),
    Change(*CALICO_NODE, f"{MAIN}/env/0/value", "etcdv3", "cluster.datastore", FAIL),
    Change(*CALICO_NODE, "status/numberAvailable", 1, "cluster.calico.health", WARN),
    Change("Deployment", "calico-typha", "status/availableReplicas", None, "cluster.calico.typha", FAIL),
    Change("TigeraStatus", "calico", "status/conditions/0/status", "True", "cluster.calico.operator", WARN),
    Change(*CALICO_NODE, f"{MAIN}/securityContext/privileged", False, "cluster.calico.privileges", FAIL),
    Change(*CALICO_NODE, INIT, {"name": "mount-bpffs"}, "cluster.calico.bpf-mounts", NOTE),
    Change(*ENDPOINT, HOST, "api.elsewhere.example", "cluster.api-endpoint.present", WARN),
    Change(
        *CALICO_NODE, "spec/template/spec/dnsPolicy", "ClusterFirstWithHostNet", "cluster.api-endpoint.usable", WARN
    ),
    Change("ConfigMap", "kube-proxy", "data/config.conf", IN_IPVS, "cluster.kube-proxy.mode", FAIL),
    Change(*KUBE_PROXY, "metadata/labels/addonmanager.kubernetes.io~1mode", "x", "cluster.kube-proxy.managed", WARN),
    Change(*FELIX, "metadata/annotations/operator.tigera.io~1bpfEnabled", "true", "cluster.felix.ownership", FAIL),
    Change(
        *CALICO_NODE,
        f"{MAIN}/env/1",
        {"name": "FELIX_BPFENABLED", "value": "false"},
        "cluster.felix.env-override",
        FAIL,
    ),
    Change(*FELIX, "spec/nftablesMarkMask", 0xFF000000, "cluster.felix.mark-mask", FAIL),
    Change(*FELIX, "spec/bpfLogLevel", "Debug", "cluster.felix.debug", WARN),
    Change(*INSTALLATION, "metadata/annotations/argocd.argoproj.io~1tracking-id", "x", "cluster.config-owner", NOTE),
    Change(*POOL, "spec/vxlanMode", "Sometimes", "cluster.ippool.encapsulation", UNKNOWN),
    Change(*POOL, "spec/natOutgoing", False, "cluster.ippool.nat-outgoing", PASS),
    Change(*INSTALLATION, "spec/calicoNetwork/nodeAddressAutodetectionV4", {}, "cluster.node-ip", WARN),
    Change(*SERVICE, "spec/clusterIPs/1", "fd00:96::8", "cluster.ipv6", FAIL),
    Change(
        *CONTROLLERS,
        "spec/controllers/node/hostEndpoint/autoCreate",
        "Enabled",
        "cluster.host-endpoints",
        WARN,
        "v3.17",
    ),
    Change(*POLICY, "spec/egress", [{"action": "Log"}], "cluster.features.log-action", NOTE),
    Change(*POLICY, "spec/doNotTrack", True, "cluster.features.do-not-track", WARN, "v3.20"),
    Change(*SERVICE, "spec/ports/0/protocol", "SCTP", "cluster.features.sctp", FAIL),
    Change(*FELIX, "spec/floatingIPs", "Enabled", "cluster.features.floating-ips", WARN),
    Change(
        *ORDERS,
        f"{TEMPLATE}/cni.projectcalico.org~1allowedSourcePrefixes",
        "x",
        "cluster.features.source-prefixes",
        WARN,
        "v3.31",
    ),
    Change(*ORDERS, f"{MAIN}/ports/0/hostPort", 8443, "cluster.hostport", PASS),
    Change(*SERVICE, "spec/externalTrafficPolicy", "Local", "cluster.svc.local-policy", NOTE),
    Change(
        *SERVICE,
        "metadata/annotations/lb.projectcalico.org~1external-traffic-strategy",
        "maglev",
        "cluster.svc.features",
        WARN,
    ),
    Change(*FELIX, "spec/bpfExternalServiceMode", "DSR", "cluster.dsr", NOTE),
    Change(*NODE, "status/capacity/pods", "2000", "cluster.scale.maps", WARN),
    Change("DaemonSet", "node-exporter", "metadata/name", "node-local-dns", "cluster.dns.nodelocal", UNKNOWN),
    Change("Namespace", "shop", "metadata/labels/istio-injection", "enabled", "cluster.mesh.ctlb", WARN),
    Change("DaemonSet", "node-exporter", "metadata/name", "beyla", "cluster.bpf.others", NOTE),
    Change("DaemonSet", "node-exporter", "metadata/name", "kube-multus-ds", "cluster.multus", PASS),
]


# No field by itself makes just these speak. Nodes that are Windows, or containers, have other checks or another
# platform; kube-proxy's clean-up and port, the bootstrap and the settings of single nodes hang on what is wanted as a
# whole; what has to be open between nodes is a note in any case; and no virtual machine lives here.
NOT_ALONE = {
    "cluster.api-endpoint.bootstrap", "cluster.base.ports", "cluster.felix.per-node", "cluster.kube-proxy.cleanup",
    "cluster.kube-proxy.healthz-port", "cluster.kubevirt", "cluster.nested", "cluster.nodes.windows",
}  # fmt: skip


def collected_of(objects: list[Object]) -> Snapshot:
    with FakeApi(Story(objects)) as api:
        return surveyed(collected(api), SURVEYS)


Said = dict[str, set[tuple[str, str]]]


def said(snapshot: Snapshot, version: str) -> Said:
    """What each check says: the status, where a note is told from a pass, and the fingerprint, which hangs on why."""
    release = load_knowledge().at(parse_known(version))
    found: Said = {}
    checks = [check for check in BUILTIN if not check.of_trial]
    for finding in judge(snapshot, checks, release, "operator"):
        status = "note" if finding.note else finding.status.value
        found.setdefault(finding.id, set()).add((status, finding.fingerprint))
    return found


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return Story.load(FIXTURES / "api" / CLUSTER).objects


@pytest.fixture(scope="module")
def green(objects: list[Object]) -> Snapshot:
    return collected_of(objects)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_one_field_changes_one_finding(objects: list[Object], green: Snapshot, change: Change) -> None:
    before = said(green, change.version)
    after = said(collected_of(change.of(objects)), change.version)
    changed = {check: found - before[check] for check, found in after.items() if found != before[check]}
    assert {check: {status for status, _ in found} for check, found in changed.items()} == {
        change.check: {change.status}
    }


def test_nothing_of_the_green_cluster_is_wrong(green: Snapshot) -> None:
    statuses = {status for found in said(green, OWN).values() for status, _ in found}
    assert statuses <= {"pass", "note", "not_applicable"}


def test_each_check_of_a_cluster_is_changed_by_something() -> None:
    told = {change.check for change in CHANGES}
    assert {check.id for check in BUILTIN if check.scope == "cluster"} - told == NOT_ALONE
