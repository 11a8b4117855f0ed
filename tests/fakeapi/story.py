"""A story: the objects of one cluster, as kubectl prints them."""

import json
import random
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

VERSION: Object = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.4",
    "gitCommit": "74cdb4273203f8dc4cff2ec5d0b4aa6a3a9b8d34",
    "gitTreeState": "clean",
    "buildDate": "2025-08-13T14:19:41Z",
    "goVersion": "go1.24.5",
    "compiler": "gc",
    "platform": "linux/amd64",
}

IMAGES_OF_A_NODE = 50
DAEMONSET_COUNTS = (
    "currentNumberScheduled",
    "desiredNumberScheduled",
    "numberAvailable",
    "numberReady",
    "updatedNumberScheduled",
)


@dataclass(frozen=True)
class Story:
    """Complete API objects, which nobody may change in place, and what GET /version answers."""

    objects: list[Object]
    version: Object = field(default_factory=lambda: VERSION)

    @classmethod
    def load(cls, folder: str | Path) -> "Story":
        """The story in a folder: objects.yaml (documents of one object or one List each) and version.json."""
        with Path(folder, "objects.yaml").open("rb") as file:
            documents = yaml.load_all(file, Loader=yaml.CSafeLoader)
            objects = [item for document in documents if document for item in _items(document)]
        return cls(objects, json.loads(Path(folder, "version.json").read_text()))

    def of_kind(self, kind: str) -> list[Object]:
        """The story's objects of a kind."""
        return [item for item in self.objects if item["kind"] == kind]

    def with_nodes(self, count: int) -> "Story":
        """This story with COUNT nodes of 50 images each: first its own, then clones of them in turn.

        Each clone has a calico-node pod of its own, cloned likewise; the counts of DaemonSets that run on every node
        follow; pods of nodes that are left out go.
        """
        nodes = self.of_kind("Node")
        agents = [pod for pod in self.of_kind("Pod") if _is_calico_node(pod)]
        agent_of = {pod["spec"].get("nodeName"): pod for pod in agents}
        owners = {owner["name"] for pod in agents for owner in pod["metadata"]["ownerReferences"]}
        kept = {node["metadata"]["name"] for node in nodes[:count]}
        gone = {node["metadata"]["name"] for node in nodes[count:]}

        objects = [
            _recounted(item, owners, len(nodes), count) if item["kind"] == "DaemonSet" else item
            for item in self.objects
            if item["kind"] != "Node" and not (item["kind"] == "Pod" and item["spec"].get("nodeName") in gone)
        ]
        for index in range(count):
            template = nodes[index % len(nodes)]
            node = template if index < len(nodes) else _node_clone(template, _free_name(index, kept), index)
            objects.append(_with_images(node, index))
            if index >= len(nodes) and agents:
                agent = agent_of.get(template["metadata"]["name"], agents[index % len(agents)])
                objects.append(_pod_clone(agent, node, index))
        return Story(objects, self.version)


def _items(document: Object) -> Iterator[Object]:
    kind: str = document["kind"]
    if not (kind.endswith("List") and "items" in document):
        yield document
        return
    typed = {} if kind == "List" else {"apiVersion": document["apiVersion"], "kind": kind.removesuffix("List")}
    for item in document["items"] or ():
        yield {**typed, **item}


def _is_calico_node(pod: Object) -> bool:
    metadata = pod["metadata"]
    owners = metadata.get("ownerReferences", ())
    return metadata.get("labels", {}).get("k8s-app") == "calico-node" and any(o["kind"] == "DaemonSet" for o in owners)


def _recounted(daemonset: Object, owners: Iterable[str], before: int, after: int) -> Object:
    status = daemonset.get("status", {})
    if daemonset["metadata"]["name"] not in owners and status.get("desiredNumberScheduled") != before:
        return daemonset
    counts = {name: max(0, status[name] + after - before) for name in DAEMONSET_COUNTS if name in status}
    return {**daemonset, "status": {**status, **counts}}


def _free_name(index: int, taken: set[str]) -> str:
    name = f"node-{index:05}"
    return name if name not in taken else f"{name}-clone"


def _uid(*parts: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, parts))))


def _ipv4(index: int) -> str:
    return str(IPv4Address("10.200.0.0") + index)


def _node_clone(template: Object, name: str, index: int) -> Object:
    metadata, spec, status = template["metadata"], template["spec"], template["status"]
    labels = {**metadata.get("labels", {}), "kubernetes.io/hostname": name}
    annotations = dict(metadata.get("annotations", {}))
    for key in ("projectcalico.org/IPv4Address", "projectcalico.org/IPv4IPIPTunnelAddr"):
        if key in annotations:
            annotations[key] = re.sub(r"^[\d.]+", _ipv4(index), annotations[key])
    changes: Object = {}
    if "providerID" in spec:
        head, _, tail = spec["providerID"].rpartition("/")
        changes["providerID"] = f"{head}/i-{index:017x}" if tail.startswith("i-") else f"{head}/{name}"
    if ":" not in spec.get("podCIDR", ":"):
        cidr = f"{IPv4Address('100.64.0.0') + (index << 8)}/24"
        changes |= {"podCIDR": cidr, "podCIDRs": [cidr, *(old for old in spec.get("podCIDRs", ()) if ":" in old)]}
    ids = {key: _uid(key, name) for key in ("bootID", "machineID", "systemUUID") if key in status.get("nodeInfo", {})}
    return {
        **template,
        "metadata": {**metadata, "name": name, "uid": _uid("node", name), "labels": labels, "annotations": annotations},
        "spec": {**spec, **changes},
        "status": {
            **status,
            "addresses": [_address_clone(address, name, index) for address in status.get("addresses", ())],
            "nodeInfo": {**status.get("nodeInfo", {}), **ids},
        },
    }


def _address_clone(address: Object, name: str, index: int) -> Object:
    value = name
    if address["type"].endswith("IP"):
        value = f"fd00:10::{index:x}" if ":" in address["address"] else _ipv4(index)
        if address["type"] == "ExternalIP":
            value = re.sub(r"^10\.", "20.", value)
    return {**address, "address": value}


def _pod_clone(template: Object, node: Object, index: int) -> Object:
    metadata, status = template["metadata"], template.get("status", {})
    addresses = node["status"]["addresses"]
    address = next((known["address"] for known in addresses if known["type"] == "InternalIP"), _ipv4(index))
    stem = metadata.get("generateName", "calico-node-")
    places = {"hostIP": address, "podIP": address, "hostIPs": [{"ip": address}], "podIPs": [{"ip": address}]}
    return {
        **template,
        "metadata": {**metadata, "name": f"{stem}{index:05}", "uid": _uid("pod", index)},
        "spec": {**template["spec"], "nodeName": node["metadata"]["name"]},
        "status": {**status, **{key: value for key, value in places.items() if key in status}},
    }


def _image_pool() -> list[Object]:
    rng = random.Random(33)
    registries = (
        "registry.k8s.io",
        "quay.io/calico",
        "ghcr.io/acme-platform",
        "docker.io/library",
        "public.ecr.aws/x4d2",
    )
    names = ("ingress-controller", "metrics-server", "payments-api", "node-exporter", "pause", "fluent-bit", "redis")
    pool = []
    for number in range(240):
        repository = f"{rng.choice(registries)}/{rng.choice(names)}-{number}"
        tag = f"{repository}:v{rng.randrange(4)}.{rng.randrange(30)}.{rng.randrange(12)}"
        references = [f"{repository}@sha256:{rng.randbytes(32).hex()}", tag]
        pool.append({"names": references[rng.randrange(5) == 0 :], "sizeBytes": rng.randrange(300_000, 900_000_000)})
    return pool


IMAGE_POOL = _image_pool()


def _with_images(node: Object, index: int) -> Object:
    own = list(node["status"].get("images", ()))[:IMAGES_OF_A_NODE]
    more = random.Random(index).sample(IMAGE_POOL, IMAGES_OF_A_NODE - len(own))
    images = sorted(own + more, key=lambda image: image.get("sizeBytes", 0), reverse=True)
    return {**node, "status": {**node["status"], "images": images}}
