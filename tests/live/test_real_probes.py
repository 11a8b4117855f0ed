"""Probes on a real cluster with real kubelets, where EBPFCHECK_LIVE_KUBECONFIG and EBPFCHECK_LIVE_IMAGE name them.

The image must be on the nodes, or be there to pull, and have a shell and what the survey uses, as the project's has.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.clusters import start
from tests.acceptance.command import run
from tests.live.test_api_server import kubectl

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        not {"EBPFCHECK_LIVE_KUBECONFIG", "EBPFCHECK_LIVE_IMAGE"} <= os.environ.keys(),
        reason="EBPFCHECK_LIVE_KUBECONFIG and EBPFCHECK_LIVE_IMAGE name no cluster and no image to try it on",
    ),
]

OURS = ("-A", "-l", "app.kubernetes.io/managed-by=ebpfcheck", "-o", "name")
NAMESPACE = "calico-system"


def probe(*more: str) -> tuple[str, ...]:
    image = ("--image", os.environ["EBPFCHECK_LIVE_IMAGE"]) if "pod" in more else ()
    return ("--kubeconfig", os.environ["EBPFCHECK_LIVE_KUBECONFIG"], "--probe", *more, *image)


def report(*arguments: str) -> Any:
    result = run("cluster", "-f", "json", *arguments)
    assert result.returncode in (0, 1, 3), result.stderr
    return json.loads(result.stdout)


def left() -> list[str]:
    return kubectl("get", "jobs,pods", *OURS).split()


def until(holds: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(1)
    return True


def proc_versions(saved: Path) -> set[str]:
    """The versions of the nodes that were surveyed."""
    snapshot = json.loads(saved.read_text())
    kinds = {node["kind"] for node in snapshot["nodes"] if node.get("surveyed", True)}
    return {snapshot["kinds"][kind]["proc_version"]["value"] for kind in kinds}


@pytest.fixture
def calico_node() -> Iterator[None]:
    """A DaemonSet that passes for calico-node, and its namespace."""
    pod = {
        "hostNetwork": True,
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            {
                "name": "calico-node",
                "image": os.environ["EBPFCHECK_LIVE_IMAGE"],
                "imagePullPolicy": "IfNotPresent",
                "command": ["sleep", "3600"],
                "securityContext": {"privileged": True, "runAsUser": 0},
            }
        ],
    }
    labels = {"k8s-app": "calico-node"}
    daemon_set = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    kubectl("create", "namespace", NAMESPACE)
    try:
        kubectl("apply", "-f", "-", stdin=json.dumps(daemon_set))
        kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/calico-node", "--timeout", "120s")
        yield
    finally:
        kubectl("delete", "namespace", NAMESPACE)


def test_a_pod_on_each_node_sees_it_and_is_gone(tmp_path: Path) -> None:
    saved = tmp_path / "snapshot"
    document = report(*probe("pod", "--probe-nodes", "all"), "--save", str(saved))
    assert document["coverage"]["unseen"] == []
    assert document["coverage"]["nodes_surveyed"] == document["coverage"]["nodes_total"] > 0
    releases = set(kubectl("get", "nodes", "-o", "jsonpath={.items[*].status.nodeInfo.kernelVersion}").split())
    assert {text.split()[2] for text in proc_versions(saved)} == releases
    assert until(lambda: not left(), 30)


@pytest.mark.usefixtures("calico_node")
def test_by_exec_the_kernel_and_the_network_are_seen(tmp_path: Path) -> None:
    by_exec, by_pod = tmp_path / "exec", tmp_path / "pod"
    document = report(*probe("exec", "--probe-nodes", "all"), "--save", str(by_exec))
    assert document["coverage"]["unseen"] == []
    report(*probe("pod", "--probe-nodes", "all"), "--save", str(by_pod))
    assert proc_versions(by_exec) == proc_versions(by_pod)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_after_a_signal_nothing_is_left(sent: signal.Signals) -> None:
    with start(*probe("pod", "--probe-nodes", "all"), "-f", "json") as process:
        assert until(lambda: bool(left()) or process.poll() is not None, 30)
        process.send_signal(sent)
        process.communicate(timeout=60)
    assert until(lambda: not left(), 30)


def test_after_sigkill_the_cluster_itself_removes_all() -> None:
    with start(*probe("pod", "--probe-nodes", "all", "--probe-timeout", "5"), "-f", "json") as process:
        assert until(lambda: bool(left()) or process.poll() is not None, 30)
        process.kill()
        process.communicate(timeout=60)
    assert left()
    # Half a minute beyond the time-out, two minutes more for what has ended, and what controllers take.
    assert until(lambda: not left(), 240)


def test_cleanup_removes_at_once_what_is_left() -> None:
    with start(*probe("pod", "--probe-nodes", "all"), "-f", "json") as process:
        assert until(lambda: bool(left()) or process.poll() is not None, 30)
        process.kill()
        process.communicate(timeout=60)
    result = run("cleanup", "--kubeconfig", os.environ["EBPFCHECK_LIVE_KUBECONFIG"])
    assert result.returncode == 0
    assert "removed job kube-system/ebpfcheck-" in result.stdout
    assert until(lambda: not left(), 30)
