"""Small clusters as stories for the fake API server, and `ebpfcheck cluster` run against them as a process."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from tests.acceptance.command import PROGRAM, run
from tests.fakeapi import FakeApi, Fault, Object, Story, write_kubeconfig

CALICO_IMAGE = "registry.acme-bank.example/calico/node:v3.31.2"
PROXY_IMAGE = "registry.k8s.io/kube-proxy:v1.33.4"
METADATA = ("labels", "annotations", "ownerReferences", "generation", "managedFields")
BY_KUBELET = [{"apiVersion": "v1", "kind": "Node", "name": "worker-00001", "uid": "1"}]


def item(kind: str, name: str, namespace: str = "", *, api: str = "v1", **fields: Any) -> Object:
    """An object; what METADATA lists goes to its metadata."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    metadata |= {key: fields.pop(key) for key in METADATA if key in fields}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **fields}


def node(name: str, address: str = "10.20.0.11", **metadata: Any) -> Object:
    """A node of Ubuntu 24.04 that calico-node has annotated with its address."""
    annotations = {"projectcalico.org/IPv4Address": f"{address}/24"} | metadata.pop("annotations", {})
    info = {
        "architecture": "amd64",
        "containerRuntimeVersion": "containerd://1.7.22",
        "kernelVersion": "6.8.0-45-generic",
        "kubeletVersion": "v1.33.4",
        "operatingSystem": "linux",
        "osImage": "Ubuntu 24.04.1 LTS",
    }
    addresses = [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]
    status = {"addresses": addresses, "nodeInfo": info}
    return item("Node", name, annotations=annotations, spec={"podCIDR": "10.244.0.0/24"}, status=status, **metadata)


def nodes(count: int, stem: str = "worker") -> list[Object]:
    """Nodes with a name and an address each."""
    return [node(f"{stem}-{n:05}", f"10.{20 + (n >> 16)}.{n >> 8 & 255}.{n & 255}") for n in range(1, count + 1)]


def daemon_set(name: str, namespace: str, image: str, **spec: Any) -> Object:
    """A DaemonSet that runs on three nodes."""
    container = {"name": name, "image": image} | spec.pop("container", {})
    counts = ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")
    return item(
        "DaemonSet", name, namespace, api="apps/v1", labels={"k8s-app": name},
        spec={"template": {"spec": {"containers": [container], **spec}}}, status=dict.fromkeys(counts, 3),
    )  # fmt: skip


def calico(namespace: str = "calico-system", env: Sequence[Object] = ()) -> list[Object]:
    """calico-node and its pods."""
    pods = [
        item(
            "Pod", f"calico-node-{n}", namespace, labels={"k8s-app": "calico-node"},
            spec={"containers": [{"name": "calico-node", "image": CALICO_IMAGE}]},
            status={"startTime": "2025-10-01T10:00:00Z"},
        )
        for n in range(3)
    ]  # fmt: skip
    return [daemon_set("calico-node", namespace, CALICO_IMAGE, container={"env": list(env)}), *pods]


def calico_objects(api: str = "crd.projectcalico.org/v1") -> list[Object]:
    """What Calico keeps in its own resources."""
    pool = {"cidr": "10.244.0.0/16", "ipipMode": "Never", "vxlanMode": "Always", "natOutgoing": True}
    return [
        item("ClusterInformation", "default", api=api, spec={"calicoVersion": "v3.31.2"}),
        item("FelixConfiguration", "default", api=api, spec={"bpfEnabled": False}),
        item("IPPool", "default-ipv4-ippool", api=api, spec=pool),
        item("BGPConfiguration", "default", api=api, spec={"nodeToNodeMeshEnabled": False}),
        item("BGPPeer", "rack-1", api=api, spec={"peerIP": "10.20.0.1", "asNumber": 64512}),
        item("GlobalNetworkPolicy", "default.base", api=api, spec={"ingress": [{"action": "Allow"}]}),
        item("NetworkPolicy", "default.web", "shop", api=api, spec={"ingress": [{"action": "Allow"}]}),
        item("HostEndpoint", "worker-00001", api=api, spec={"node": "worker-00001", "interfaceName": "ens3"}),
        item("KubeControllersConfiguration", "default", api=api, spec={"controllers": {"node": {}}}),
    ]


def kube_proxy_maps(mode: str = "iptables", server: str = "https://api.acme-bank.example:6443") -> list[Object]:
    """kube-proxy's ConfigMap as kubeadm writes it."""
    configuration = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": mode,
        "clusterCIDR": "10.244.0.0/16",
        "healthzBindAddress": "",
    }
    kubeconfig = {"kind": "Config", "clusters": [{"name": "default", "cluster": {"server": server}}]}
    data = {"config.conf": yaml.safe_dump(configuration), "kubeconfig.conf": yaml.safe_dump(kubeconfig)}
    return [item("ConfigMap", "kube-proxy", "kube-system", data=data)]


def kube_proxy() -> list[Object]:
    """kube-proxy as kubeadm runs it."""
    volume = {"name": "kube-proxy", "configMap": {"name": "kube-proxy"}}
    container = {"command": ["/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf"]}
    return [
        daemon_set("kube-proxy", "kube-system", PROXY_IMAGE, container=container, volumes=[volume]),
        *kube_proxy_maps(),
    ]


def base(server: str = "10.20.0.5", *, slices: bool = True) -> list[Object]:
    """The Service default/kubernetes and what is behind it."""
    ports = [{"name": "https", "port": 6443}]
    behind = (
        item(
            "EndpointSlice", "kubernetes", "default", api="discovery.k8s.io/v1",
            labels={"kubernetes.io/service-name": "kubernetes"}, ports=ports, endpoints=[{"addresses": [server]}],
        )
        if slices
        else item("Endpoints", "kubernetes", "default", subsets=[{"addresses": [{"ip": server}], "ports": ports}])
    )  # fmt: skip
    spec = {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 443}]}
    cidr = item("ServiceCIDR", "kubernetes", api="networking.k8s.io/v1", spec={"cidrs": ["10.96.0.0/12"]})
    return [item("Service", "kubernetes", "default", spec=spec), behind, cidr]


def operator(provider: str = "") -> list[Object]:
    """Tigera's operator and its Installation."""
    container = {"name": "tigera-operator", "image": "quay.io/tigera/operator:v1.40.1"}
    spec = {"variant": "Calico", "kubernetesProvider": provider, "calicoNetwork": {"linuxDataplane": "Iptables"}}
    return [
        item(
            "Deployment", "tigera-operator", "tigera-operator", api="apps/v1", labels={"k8s-app": "tigera-operator"},
            spec={"template": {"spec": {"containers": [container]}}},
        ),
        item(
            "Installation", "default", api="operator.tigera.io/v1", spec=spec, status={"calicoVersion": "v3.31.2"}
        ),
        item(
            "TigeraStatus", "calico", api="operator.tigera.io/v1",
            status={"conditions": [{"type": "Available", "status": "True"}, {"type": "Degraded", "status": "False"}]},
        ),
    ]  # fmt: skip


def override(namespace: str = "tigera-operator", name: str = "kubernetes-services-endpoint") -> Object:
    """The ConfigMap that tells Calico where the API server is."""
    data = {"KUBERNETES_SERVICE_HOST": "api.acme-bank.example", "KUBERNETES_SERVICE_PORT": "6443"}
    return item("ConfigMap", name, namespace, data=data)


def kubeadm() -> Object:
    """kubeadm's ClusterConfiguration."""
    configuration = {
        "kind": "ClusterConfiguration",
        "clusterName": "acme-prod",
        "controlPlaneEndpoint": "api.acme-bank.example:6443",
        "networking": {"podSubnet": "10.244.0.0/16", "serviceSubnet": "10.96.0.0/12"},
    }
    data = {"ClusterConfiguration": yaml.safe_dump(configuration)}
    return item("ConfigMap", "kubeadm-config", "kube-system", data=data)


def guest() -> Object:
    """A virtual machine of KubeVirt, bridged to the pod network."""
    interfaces = [{"name": "default", "bridge": {}}]
    spec = {"domain": {"devices": {"interfaces": interfaces}}, "networks": [{"name": "default", "pod": {}}]}
    return item("VirtualMachineInstance", "vm-1", "shop", api="kubevirt.io/v1", spec=spec)


def by_operator(count: int = 3) -> list[Object]:
    """A kubeadm cluster with Calico by the operator."""
    return [
        *nodes(count), *base(), *operator(), *calico(), *calico_objects(), *kube_proxy(), override(), kubeadm(),
        guest(),
    ]  # fmt: skip


def by_manifest(count: int = 3) -> list[Object]:
    """Calico by manifest, Endpoints and no slices, and kube-proxy as static pods."""
    key = {"configMapKeyRef": {"name": "calico-config", "key": "bpf"}}
    static = item(
        "Pod", "kube-proxy-worker-00001", "kube-system", labels={"component": "kube-proxy"}, ownerReferences=BY_KUBELET,
        spec={"containers": [{"name": "kube-proxy", "image": PROXY_IMAGE, "command": ["kube-proxy", "--v=2"]}]},
    )  # fmt: skip
    return [
        *nodes(count), *base(slices=False), *calico("kube-system", [{"name": "FELIX_BPFENABLED", "valueFrom": key}]),
        *calico_objects(), static, item("ConfigMap", "calico-config", "kube-system", data={"bpf": "false"}),
        override("kube-system", "kubernetes-service-endpoint"),
    ]  # fmt: skip


def open_shift(count: int = 3) -> list[Object]:
    """An OpenShift with Calico by the operator and kube-proxy as its own network operator runs it."""
    volume = {"name": "config", "configMap": {"name": "proxy-config"}}
    url = "https://api-int.acme-bank.example:6443"
    return [
        *nodes(count), *base(), *operator("OpenShift"), *calico(), *calico_objects(),
        daemon_set("openshift-kube-proxy", "openshift-kube-proxy", "quay.io/openshift/sdn", volumes=[volume]),
        item("ConfigMap", "proxy-config", "openshift-kube-proxy", data=kube_proxy_maps()[0]["data"]),
        item("Infrastructure", "cluster", api="config.openshift.io/v1", status={"apiServerInternalURI": url}),
        item("Network", "cluster", api="operator.openshift.io/v1", spec={"deployKubeProxy": True}),
    ]  # fmt: skip


def by_calico_api(count: int = 3) -> list[Object]:
    """As by the operator, but Calico's objects are served by Calico's own API server alone."""
    crds = calico_objects()
    return [one for one in by_operator(count) if one not in crds] + calico_objects("projectcalico.org/v3")


STORIES = {
    "operator": by_operator,
    "manifest": by_manifest,
    "openshift": open_shift,
    "calico-api": by_calico_api,
}


class Outcome:
    """What a run of the command gave."""

    def __init__(self, result: subprocess.CompletedProcess[str], seconds: float, api: FakeApi) -> None:
        self.code = result.returncode
        self.stdout = result.stdout
        self.stderr = result.stderr
        self.seconds = seconds
        self.api = api

    @property
    def report(self) -> dict[str, Any]:
        """The report, where the format was JSON."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    def statuses(self) -> dict[str, set[str]]:
        """The statuses that each check gave."""
        found: dict[str, set[str]] = {}
        for finding in self.report["findings"]:
            found.setdefault(finding["id"], set()).add(finding["status"])
        return found

    def by_address(self) -> dict[tuple[str, str], str]:
        """The status of each check and subject."""
        return {
            (finding["id"], subject): finding["status"]
            for finding in self.report["findings"]
            for subject in finding["subjects"]
        }

    def words(self) -> str:
        """All messages of unknown findings and all problems."""
        report = self.report
        unknown = [finding["message"] for finding in report["findings"] if finding["status"] == "unknown"]
        return "\n".join([*unknown, *(problem["detail"] for problem in report["problems"])])


def look(kubeconfig: Path | str, *arguments: str, api: FakeApi, format: str = "json", **environment: str) -> Outcome:
    """Run `ebpfcheck cluster` with a kubeconfig, in a home of its own and without the environment's proxies."""
    clean = {"KUBECONFIG": "", "HOME": str(Path(str(kubeconfig)).parent), "no_proxy": "", "NO_PROXY": ""}
    proxies = {name: "" for name in os.environ if name.lower().endswith("_proxy")}
    given = ("--kubeconfig", str(kubeconfig)) if kubeconfig else ()
    started = time.monotonic()
    result = run("cluster", *given, "-f", format, *arguments, columns=120, **(proxies | clean | environment))
    return Outcome(result, time.monotonic() - started, api)


def look_at(
    objects: Iterable[Object],
    tmp_path: Path,
    *arguments: str,
    faults: Iterable[Fault] = (),
    forbid: Iterable[tuple[str, str]] = (),
    rules: Sequence[dict[str, Any]] | None = None,
    format: str = "json",
    context: str = "fake",
) -> Outcome:
    """Serve objects as a cluster and run `ebpfcheck cluster` on it."""
    with FakeApi(Story(list(objects)), faults=faults, forbid=forbid, rules=rules) as api:
        return look(write_kubeconfig(tmp_path / "config", api, context=context), *arguments, api=api, format=format)


def together(calls: Mapping[str, Callable[[Path], Outcome]], folder: Path) -> dict[str, Outcome]:
    """The outcome of each call, which is given a directory of its own; a few run at once, as most of it is waiting."""

    def call(name: str) -> Outcome:
        place = folder / re.sub(r"\W", "-", name)
        place.mkdir()
        return calls[name](place)

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(calls, pool.map(call, calls), strict=True))


def start(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    """Start `ebpfcheck cluster` without waiting for its end."""
    return subprocess.Popen(
        (str(PROGRAM), "cluster", *arguments),
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
