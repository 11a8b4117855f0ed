"""What the controllers of DaemonSets and Deployments do, one step after the other, and the kubelets for them."""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from tests.fakeapi import podlife
from tests.fakeapi.catalog import Catalog, Change, Resource
from tests.fakeapi.jobs import ALPHABET, NOT_READY, UNREACHABLE, generated, new_uid, pod_spec
from tests.fakeapi.patches import same
from tests.fakeapi.placing import fits, tolerates
from tests.fakeapi.podlife import now
from tests.fakeapi.pods import Pods, address_of
from tests.fakeapi.story import Object
from tests.fakeapi.writes import TEMPLATE_GENERATION, owned_by

HASH_LABELS = {"DaemonSet": "controller-revision-hash", "Deployment": "pod-template-hash"}
REVISION = "deployment.kubernetes.io/revision"
CONDITIONS = ("not-ready:NoExecute", "unreachable:NoExecute", "disk-pressure", "memory-pressure", "pid-pressure")
DAEMONS = [
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect or "NoSchedule"}
    for key, _, effect in (condition.partition(":") for condition in (*CONDITIONS, "unschedulable"))
]
NETWORK = {"key": "node.kubernetes.io/network-unavailable", "operator": "Exists", "effect": "NoSchedule"}


class Workload(NamedTuple):
    """A DaemonSet or a Deployment."""

    kind: str
    namespace: str
    name: str


class Rollouts:
    """Brings DaemonSets and Deployments to what their specs say; each step is one thing that others may see."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods
        self._catalog: Catalog = pods.catalog
        self._nodes = self._catalog.resources["v1", "nodes"]
        self._resources = {
            resource.kind: resource
            for resource in self._catalog.resources.values()
            if resource.group == "apps" and resource.kind in HASH_LABELS
        }
        # The templates that each had, with their hashes.
        self._revisions: dict[Workload, list[tuple[Object, str]]] = {}
        # The pods that were made here. Those of the story that are not ready have their reasons, and stay so.
        self._made: set[str] = set()

    def begin(self) -> None:
        """Take every pod that there is to be one of the present template."""
        for resource in self._resources.values():
            for item in self._catalog.all(resource):
                labels = [pod["metadata"].get("labels", {}) for pod in self._pods_of(item)]
                known = [one[HASH_LABELS[resource.kind]] for one in labels if HASH_LABELS[resource.kind] in one]
                template = item["spec"].get("template", {})
                self._revisions[_key(item)] = [(template, known[0] if known else _hash(template))]

    def concerned(self, change: Change) -> Workload | None:
        """The workload that a change gives something to do, if there is one."""
        item, kind = change.after, change.resource.kind
        if kind in self._resources and change.resource == self._resources[kind] and not change.gone:
            late = item["metadata"].get("generation") != item.get("status", {}).get("observedGeneration")
            return _key(item) if late else None
        if change.resource != self._pods.pods or not change.gone:
            return None
        for resource in self._resources.values():
            for owner in self._catalog.all(resource):
                if owns(owner, item):
                    return _key(owner)
        return None

    def step(self, workload: Workload) -> bool:
        """Do one thing for a workload; False if there was none to do."""
        resource = self._resources[workload.kind]
        item = self._catalog.get(resource, workload.namespace, workload.name)
        if item is None:
            return False
        if item["metadata"].get("generation", 1) != item.get("status", {}).get("observedGeneration"):
            return self._show(resource, item)
        done = self._daemonset(item) if workload.kind == "DaemonSet" else self._deployment(item)
        return self._show(resource, item) or done

    # Steps

    def _daemonset(self, item: Object) -> bool:
        pods, fitting = self._pods_of(item), self._fitting(item)
        stray = [pod for pod in pods if pod["spec"].get("nodeName") not in fitting]
        if stray:
            return self._delete(stray)
        covered = {pod["spec"]["nodeName"] for pod in pods}
        missing = [node for name, node in fitting.items() if name not in covered]
        if missing:
            for node in missing:
                self._create(item, node)
            return True
        starting = self._starting(pods)
        if starting:
            return self._start(starting)
        strategy = item["spec"].get("updateStrategy", {})
        old = [] if strategy.get("type") == "OnDelete" else self._old(item, pods)
        most = _share(strategy.get("rollingUpdate", {}).get("maxUnavailable", 1), len(fitting), up=True)
        return self._delete(old[: max(1, most)])

    def _deployment(self, item: Object) -> bool:
        pods, spec = self._pods_of(item), item["spec"]
        wanted, old = spec.get("replicas", 1), self._old(item, pods)
        new = [pod for pod in pods if pod not in old]
        strategy = spec.get("strategy", {})
        if strategy.get("type") == "Recreate" and old:
            return self._delete(old)
        rolling = strategy.get("rollingUpdate", {})
        surge = _share(rolling.get("maxSurge", "25%"), wanted, up=True)
        spare = _share(rolling.get("maxUnavailable", "25%"), wanted, up=False)
        room = min(wanted - len(new), wanted + surge - len(pods))
        nodes = list(self._fitting(item).values())
        if room > 0 and nodes:
            for _ in range(room):
                load = [pod["spec"].get("nodeName") for pod in self._pods_of(item)]
                self._create(item, min(nodes, key=lambda node: load.count(node["metadata"]["name"])))
            return True
        starting = self._starting(pods)
        if starting:
            return self._start(starting)
        most = len(pods) - (wanted - (spare or int(not surge)))
        excess = [*old, *new[wanted:]] if len(new) >= wanted else old
        return self._delete(excess[: max(0, most)])

    def _delete(self, pods: Sequence[Object]) -> bool:
        for pod in pods:
            self._pods.delete_pod(pod, None, dry_run=False)
        return bool(pods)

    def _start(self, pods: Sequence[Object]) -> bool:
        for pod in pods:
            address = pod["status"]["hostIP"]
            status = podlife.running(pod, address)
            begun = [_completed(container) for container in pod["spec"].get("initContainers", ())]
            started = {**status, **({"initContainerStatuses": begun} if begun else {})}
            self._catalog.put(self._pods.pods, {**pod, "status": started})
        return True

    def _create(self, item: Object, node: Object) -> None:
        metadata, template, kind = item["metadata"], item["spec"]["template"], item["kind"]
        revision = self._revision(item)
        owner, stem = {"apiVersion": "apps/v1", "kind": kind, "name": metadata["name"]}, metadata["name"]
        labels = {**template.get("metadata", {}).get("labels", {}), HASH_LABELS[kind]: revision}
        if kind == "DaemonSet":
            generation = metadata.get("annotations", {}).get(TEMPLATE_GENERATION)
            labels |= {"pod-template-generation": generation} if generation else {}
            owner["uid"] = metadata.get("uid", "")
        else:
            stem = f"{stem}-{revision}"
            owner |= {"kind": "ReplicaSet", "name": stem, "uid": new_uid()}
        spec = pod_spec(template["spec"])
        account = spec.get("serviceAccountName", "default")
        pod: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **template.get("metadata", {}),
                "name": generated(f"{stem}-"),
                "generateName": f"{stem}-",
                "namespace": metadata["namespace"],
                "uid": new_uid(),
                "generation": 1,
                "creationTimestamp": now(),
                "labels": labels,
                "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
            },
            "spec": {
                **spec,
                "serviceAccountName": account,
                "serviceAccount": account,
                "nodeName": node["metadata"]["name"],
                "tolerations": _tolerations(item),
                "priority": 0,
                "enableServiceLinks": True,
                "preemptionPolicy": "PreemptLowerPriority",
            },
            "status": podlife.scheduled(True),
        }
        if kind == "DaemonSet":
            field = {"key": "metadata.name", "operator": "In", "values": [node["metadata"]["name"]]}
            terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
            pod["spec"]["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
        waiting = podlife.waiting(pod, address_of(node), "ContainerCreating")
        made = owned_by("kube-controller-manager", None, {**pod, "status": waiting}, custom=False)
        self._catalog.put(self._pods.pods, made)
        self._made.add(pod["metadata"]["uid"])

    # What there is

    def _pods_of(self, item: Object) -> list[Object]:
        return [pod for pod in self._catalog.all(self._pods.pods) if owns(item, pod)]

    def _starting(self, pods: Sequence[Object]) -> list[Object]:
        return [pod for pod in pods if pod["metadata"].get("uid") in self._made and not _ready(pod)]

    def _fitting(self, item: Object) -> dict[str, Object]:
        spec, tolerations = item["spec"]["template"].get("spec", {}), _tolerations(item)
        nodes = self._catalog.all(self._nodes)
        return {node["metadata"]["name"]: node for node in nodes if fits(spec, node) and tolerates(tolerations, node)}

    def _revision(self, item: Object) -> str:
        known = self._revisions.setdefault(_key(item), [])
        template = item["spec"].get("template", {})
        for one, revision in known:
            if same(one, template):
                return revision
        known.append((template, _hash(template)))
        return known[-1][1]

    def _old(self, item: Object, pods: Sequence[Object]) -> list[Object]:
        label, revision = HASH_LABELS[item["kind"]], self._revision(item)
        first = self._revisions[_key(item)][0][1]
        old = [pod for pod in pods if pod["metadata"].get("labels", {}).get(label, first) != revision]
        return sorted(old, key=_ready)

    # Statuses

    def _show(self, resource: Resource, item: Object) -> bool:
        """Bring the status up to date; False if it was."""
        after = self._daemonset_status(item) if item["kind"] == "DaemonSet" else self._deployment_status(item)
        if same(after, item):
            return False
        self._catalog.put(resource, after)
        return True

    def _daemonset_status(self, item: Object) -> Object:
        pods, fitting = self._pods_of(item), self._fitting(item)
        placed = [pod for pod in pods if pod["spec"].get("nodeName") in fitting]
        ready, old = sum(map(_ready, placed)), self._old(item, placed)
        counts = {
            "updatedNumberScheduled": len(placed) - len(old),
            "numberAvailable": ready,
            "numberUnavailable": len(fitting) - ready,
        }
        status = {
            "currentNumberScheduled": len(placed),
            "numberMisscheduled": len(pods) - len(placed),
            "desiredNumberScheduled": len(fitting),
            "numberReady": ready,
            "observedGeneration": item["metadata"].get("generation", 1),
            **{key: value for key, value in counts.items() if value},
        }
        return {**item, "status": status}

    def _deployment_status(self, item: Object) -> Object:
        pods, wanted, before = self._pods_of(item), item["spec"].get("replicas", 1), item.get("status", {})
        ready, new = sum(map(_ready, pods)), len(pods) - len(self._old(item, pods))
        counts = {
            "replicas": len(pods),
            "updatedReplicas": new,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": max(0, max(wanted, len(pods)) - ready),
        }
        complete = ready == new == len(pods) == wanted
        revision = self._revision(item)
        known = {condition["type"]: condition for condition in before.get("conditions", ())}
        usual = (
            ("MinimumReplicasAvailable", "Deployment has minimum availability.")
            if ready >= wanted - _share(_unavailable(item), wanted, up=False)
            else ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        )
        replica_set = f'ReplicaSet "{item["metadata"]["name"]}-{revision}"'
        progress = (
            ("NewReplicaSetAvailable", f"{replica_set} has successfully progressed.")
            if complete
            else ("ReplicaSetUpdated", f"{replica_set} is progressing.")
        )
        conditions = [
            _condition(known.get("Available"), "Available", usual[0] == "MinimumReplicasAvailable", *usual),
            _condition(known.get("Progressing"), "Progressing", True, *progress),
        ]
        status = {
            "observedGeneration": item["metadata"].get("generation", 1),
            **{key: value for key, value in counts.items() if value},
            "conditions": conditions,
        }
        return {**self._revised(item), "status": status}

    def _revised(self, item: Object) -> Object:
        """A Deployment with its revision counted, if it has a new template."""
        metadata, known = item["metadata"], self._revisions.get(_key(item), [])
        count = metadata.get("annotations", {}).get(REVISION, "1")
        if item["metadata"].get("generation", 1) == item.get("status", {}).get("observedGeneration") or not known:
            return item
        if not self._old(item, self._pods_of(item)):
            return item
        annotations = {**metadata.get("annotations", {}), REVISION: str(int(count) + 1)}
        return {**item, "metadata": {**metadata, "annotations": annotations}}


def rolled_out(item: Object) -> bool:
    """Whether the status of a DaemonSet or a Deployment says that all pods are of its template and available."""
    status, spec = item.get("status", {}), item["spec"]
    if item["metadata"].get("generation", 1) != status.get("observedGeneration"):
        return False
    if item["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        counted = [status.get(key, 0) for key in ("updatedNumberScheduled", "numberAvailable")]
    else:
        wanted = spec.get("replicas", 1)
        counted = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return all(count == wanted for count in counted)


def _key(item: Object) -> Workload:
    return Workload(item["kind"], item["metadata"]["namespace"], item["metadata"]["name"])


def owns(item: Object, pod: Object) -> bool:
    """Whether a pod is of a DaemonSet, or of one of the ReplicaSets of a Deployment."""
    metadata, child = item["metadata"], pod["metadata"]
    if child.get("namespace") != metadata["namespace"]:
        return False
    for owner in child.get("ownerReferences", ()):
        if item["kind"] == "DaemonSet" and owner["kind"] == "DaemonSet":
            return bool(owner["name"] == metadata["name"])
        if item["kind"] == "Deployment" and owner["kind"] == "ReplicaSet":
            return bool(owner["name"].rpartition("-")[0] == metadata["name"])
    return False


def _hash(template: Object) -> str:
    digest = hashlib.sha256(msgspec.json.encode(template, order="sorted")).digest()
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:10])


def _tolerations(item: Object) -> list[Object]:
    spec = item["spec"]["template"].get("spec", {})
    if item["kind"] == "Deployment":
        return [*spec.get("tolerations", ()), NOT_READY, UNREACHABLE]
    return [*spec.get("tolerations", ()), *DAEMONS, *([NETWORK] if spec.get("hostNetwork") else [])]


def _ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    going = "deletionTimestamp" in pod["metadata"]
    return not going and any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _completed(container: Object) -> Object:
    moment = now()
    terminated = {"exitCode": 0, "reason": "Completed", "startedAt": moment, "finishedAt": moment}
    return {
        "name": container["name"],
        "state": {"terminated": terminated},
        "lastState": {},
        "ready": True,
        "restartCount": 0,
        "image": container["image"],
        "imageID": "",
        "started": False,
    }


def _share(value: int | str, whole: int, *, up: bool) -> int:
    """A number, or a percentage of the whole."""
    if isinstance(value, int):
        return value
    part = whole * int(value.rstrip("%")) / 100
    return math.ceil(part) if up else math.floor(part)


def _unavailable(item: Object) -> int | str:
    unavailable: int | str = item["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable", "25%")
    return unavailable


def _condition(known: Object | None, kind: str, holds: bool, reason: str, message: str) -> Object:
    said = {"status": str(holds), "reason": reason, "message": message}
    if known is not None and all(known.get(key) == value for key, value in said.items()):
        return known
    moved = now() if known is None or known["status"] != said["status"] else known["lastTransitionTime"]
    times = {"lastUpdateTime": now(), "lastTransitionTime": moved}
    return {"type": kind, "status": said["status"], **times, "reason": reason, "message": message}
