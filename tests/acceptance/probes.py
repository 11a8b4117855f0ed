"""Nodes that answer with recorded surveys, as pods and as commands in calico-node."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.acceptance import clusters
from tests.builders import FIXTURES
from tests.fakeapi import Object

KERNEL = "6.8.0-107-generic"
SURVEY = (FIXTURES / "nodes" / "green-worker.survey").read_bytes()

Log = Callable[[str, Object], bytes]


def survey(nonce: str, kernel: str = KERNEL, **changes: bytes) -> bytes:
    """The recorded survey of a green node, by this nonce, on this kernel; changes are replacements by section."""
    data = SURVEY.replace(b"ebpfcheck-fixture", f"ebpfcheck-{nonce}".encode()).replace(KERNEL.encode(), kernel.encode())
    for name, content in changes.items():
        section = name.replace("_", "-").encode()
        start = data.index(b" begin " + section + b" ")
        start = data.index(b"\n", start) + 1
        end = data.index(b"\nebpfcheck-", start)
        data = data[:start] + content + data[end:]
    return data


def nonce_of(words: Sequence[str]) -> str:
    """The nonce that survey.sh is run with: what follows -s, or the name that stands for $0."""
    return words[list(words).index("-s" if "-s" in words else "-c") + (1 if "-s" in words else 3)]


def log(kernels: dict[str, str] | None = None, **changes: bytes) -> Log:
    """What a probe pod prints, on the kernel of its node."""

    def printed(node: str, spec: Object) -> bytes:
        command = spec["containers"][0]["command"]
        return survey(nonce_of(command), (kernels or {}).get(node, KERNEL), **changes)

    return printed


def told(folder: Path, data: Callable[[str], bytes]) -> Callable[[Sequence[str]], Sequence[str]]:
    """What is run in the stead of a command in a container: it prints DATA of the command's nonce."""

    def argv(command: Sequence[str]) -> Sequence[str]:
        nonce = nonce_of(command)
        file = folder / nonce
        file.write_bytes(data(nonce))
        return ("cat", str(file))

    return argv


def node(name: str, kernel: str = KERNEL, zone: str = "", **info: str) -> Object:
    """A Ready node on that kernel."""
    made = clusters.node(name, labels={"topology.kubernetes.io/zone": zone} if zone else {})
    made["status"]["nodeInfo"] |= {"kernelVersion": kernel, **info}
    made["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    return made


def calico_node_pod(on: str, **more: Any) -> Object:
    """The pod of calico-node on a node."""
    volumes = [{"name": "modules", "hostPath": {"path": "/lib/modules"}}]
    mounts = [{"name": "modules", "mountPath": "/lib/modules", "readOnly": True}]
    state = {"name": "calico-node", "ready": True, "restartCount": 0, "state": {"running": {}}} | more
    return clusters.item(
        "Pod", f"calico-node-{on}", "calico-system", labels={"k8s-app": "calico-node"},
        spec={
            "nodeName": on,
            "hostNetwork": True,
            "containers": [{"name": "calico-node", "image": clusters.CALICO_IMAGE, "volumeMounts": mounts}],
            "volumes": volumes,
        },
        status={"phase": "Running", "containerStatuses": [state]},
    )  # fmt: skip


def cluster(*nodes: Object, pods: bool = True) -> list[Object]:
    """A cluster of these nodes with Calico by the operator, a pod of calico-node on each."""
    names = [one["metadata"]["name"] for one in nodes]
    return [
        *nodes,
        *clusters.base(),
        *clusters.operator(),
        clusters.daemon_set("calico-node", "calico-system", clusters.CALICO_IMAGE),
        *clusters.calico_objects(),
        *clusters.kube_proxy(),
        *(map(calico_node_pod, names) if pods else ()),
    ]
