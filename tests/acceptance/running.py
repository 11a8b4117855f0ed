"""Clusters after the switch, with the logs of their calico-nodes, and `ebpfcheck verify` run against them."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.acceptance import clusters
from tests.acceptance.clusters import Outcome
from tests.acceptance.command import run
from tests.fakeapi import FakeApi, Fault, Object, Story, StoryLog, felix, write_kubeconfig
from tests.fakeapi.storylogs import Line

BEGAN = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)
HOST, PORT = "api.acme-bank.example", "6443"
CLUSTER_IP = "10.96.0.1"
GENERATION = "deprecated.daemonset.template.generation"


def at(seconds: float) -> datetime:
    """So many seconds after the containers were started."""
    return BEGAN + timedelta(seconds=seconds)


def start(
    mode: str = "bpf",
    *,
    after: float = 1,
    pid: int = 66,
    host: str = HOST,
    port: str = PORT,
    reason: str = "kernel is too old (have: 4.15.0 but want at least: 5.3.0)",
    table: str = "filter",
) -> list[Line]:
    """What Felix logs when it starts: in eBPF mode, without it (standard), or refused (fallback)."""
    lines = [
        felix(at(after), 'Felix starting up GOMAXPROCS=4 builddate="2026" gitcommit="x"', pid=pid, file="daemon.go"),
        felix(
            at(after + 0.1),
            f'Kubernetes server override env vars. KUBERNETES_SERVICE_HOST="{host}" KUBERNETES_SERVICE_PORT="{port}"',
            pid=pid,
            file="daemon.go",
        ),
    ]
    if mode == "fallback":
        words = "BPF dataplane mode enabled but not supported by the kernel.  Disabling BPF mode."
        refused = f"{words} error={reason}" if reason else words
        lines.append(felix(at(after + 0.2), refused, pid=pid, level="ERROR", file="daemon.go"))
    if mode == "bpf":
        lines.append(felix(at(after + 0.3), "BPF enabled, starting BPF endpoint manager and map manager.", pid=pid))
        lines.append(felix(at(after + 0.4), "Connect time load balancer enabled: TCP", pid=pid))
    chain = (
        f'Chain became referenced, marking it for programming chainName="cali-FORWARD" ipVersion=0x4 table="{table}"'
    )
    lines += [
        felix(at(after + 0.5), chain, pid=pid, file="table.go"),
        felix(at(after + 0.6), "Started internal iptables dataplane driver loop", pid=pid),
        felix(at(after + 0.7), "Completed first update to dataplane. secsSinceStart=0.7", pid=pid),
    ]
    return lines


def chatter(first: float, last: float, pid: int = 66, step: float = 60) -> list[Line]:
    """What Felix goes on to log, once a minute, and bird in between."""
    found: list[Line] = []
    seconds = first
    while seconds < last:
        found.append(felix(at(seconds), "Summarising 12 dataplane reconciliation loops over 1m1s", pid=pid))
        found.append((at(seconds + 1), "bird: Mesh_10_20_0_12: State changed to start"))
        seconds += step
    return found


def pod(on: str, generation: int = 2, **more: Any) -> Object:
    """The pod of calico-node on a node, ready unless MORE of its status says otherwise."""
    state = {"running": {"startedAt": BEGAN.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    container = {"name": "calico-node", "ready": True, "restartCount": 0, "state": state} | more.pop("container", {})
    inits = more.pop("inits", [{"name": "ebpf-bootstrap", "state": {"terminated": {"exitCode": 0}}}])
    labels = {"k8s-app": "calico-node", "pod-template-generation": str(generation)}
    return clusters.item(
        "Pod", f"calico-node-{on}", more.pop("namespace", "calico-system"), labels=labels,
        spec={
            "nodeName": on,
            "containers": [
                {"name": "calico-node", "image": clusters.CALICO_IMAGE}, {"name": "sidecar", "image": "x/sidecar:1"}
            ],
        },
        status={
            "phase": "Running", "containerStatuses": [container], "initContainerStatuses": inits,
            "startTime": BEGAN.strftime("%Y-%m-%dT%H:%M:%SZ"), **more,
        },
    )  # fmt: skip


def calico_node(count: int, namespace: str = "calico-system", **status: int) -> Object:
    """The DaemonSet of calico-node, rolled out to COUNT nodes unless its STATUS says otherwise."""
    made = clusters.daemon_set("calico-node", namespace, clusters.CALICO_IMAGE)
    made["metadata"]["annotations"] = {GENERATION: "2"}
    counts = ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")
    made["status"] = dict.fromkeys(counts, count) | status
    return made


def kube_proxy(*, off: bool = True, count: int = 3) -> list[Object]:
    """kube-proxy, kept off the nodes by its nodeSelector or not."""
    proxy, *maps = clusters.kube_proxy()
    proxy["spec"]["template"]["spec"]["nodeSelector"] = {"non-calico": "true"} if off else {}
    proxy["status"] = dict.fromkeys(("desiredNumberScheduled", "numberAvailable"), 0 if off else count)
    return [proxy, *maps]


def operator(dataplane: str = "BPF", *, degraded: str = "", progressing: bool = False) -> list[Object]:
    """Tigera's operator, which has done what it was asked for unless it is DEGRADED (its message) or at work."""
    deployment, installation, status = clusters.operator()
    installation["spec"]["calicoNetwork"]["linuxDataplane"] = dataplane
    conditions = [
        {"type": "Available", "status": "True"},
        {"type": "Progressing", "status": str(progressing), "reason": "ResourceNotReady"},
        {"type": "Degraded", "status": str(bool(degraded)), "reason": "ResourceUpdateError", "message": degraded},
    ]
    status["status"] = {"conditions": conditions}
    return [deployment, installation, status]


def felix_configuration(**spec: Any) -> list[Object]:
    """Calico's own objects, with FelixConfiguration set so."""
    made = clusters.calico_objects()
    for one in made:
        if one["kind"] == "FelixConfiguration":
            one["spec"] = {"bpfEnabled": True, **spec}
    return made


def cluster(
    count: int = 3,
    *,
    pods: Sequence[Object] | None = None,
    daemon_set: Object | None = None,
    proxy: Iterable[Object] | None = None,
    tigera: Iterable[Object] | None = None,
    felix: Iterable[Object] | None = None,
    more: Iterable[Object] = (),
    override: bool = True,
) -> list[Object]:
    """A cluster on which eBPF mode was switched on by the operator, kube-proxy off, the API's address given."""
    nodes = clusters.nodes(count)
    names = [one["metadata"]["name"] for one in nodes]
    return [
        *nodes,
        *clusters.base(),
        *(operator() if tigera is None else tigera),
        calico_node(count) if daemon_set is None else daemon_set,
        *(map(pod, names) if pods is None else pods),
        *(felix_configuration() if felix is None else felix),
        *(kube_proxy(count=count) if proxy is None else proxy),
        *([clusters.override()] if override else ()),
        *more,
    ]


NAMES = ("worker-00001", "worker-00002", "worker-00003")
ON = StoryLog([*start(), *chatter(60, 600)])


def serve(
    objects: Iterable[Object],
    logs: Mapping[str | None, StoryLog] | None = None,
    *,
    faults: Iterable[Fault] = (),
    forbid: Iterable[tuple[str, str]] = (),
    rules: Sequence[dict[str, Any]] | None = None,
) -> FakeApi:
    """An API server of a cluster, with what calico-node logs on each node (on all: that eBPF mode is on)."""
    api = FakeApi(Story(list(objects)), faults=faults, forbid=forbid, rules=rules)
    api.pods.story_logs.of_node = {None: ON, **(logs or {})}
    return api


def verify(api: FakeApi, folder: Path, *arguments: str, format: str = "json") -> Outcome:
    """Run `ebpfcheck verify` against an API server that serves already."""
    kubeconfig = write_kubeconfig(folder / "config", api, context="fake")
    began = time.monotonic()
    result = run("verify", "--kubeconfig", str(kubeconfig), "-f", format, *arguments, columns=120, HOME=str(folder))
    return Outcome(result, time.monotonic() - began, api)
