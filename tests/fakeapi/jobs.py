"""Jobs and their pods as the API server and the Job controller write them."""

import random
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from tests.fakeapi.podlife import now
from tests.fakeapi.status import StatusError
from tests.fakeapi.story import Object

KEPT_STATUS = ("conditions", "startTime", "completionTime")
TRACKING = "batch.kubernetes.io/job-tracking"
# Of a name that is generated, without the letters that make words.
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{SUBDOMAIN.pattern}')"
)
NOT_READY = {
    "key": "node.kubernetes.io/not-ready",
    "operator": "Exists",
    "effect": "NoExecute",
    "tolerationSeconds": 300,
}
UNREACHABLE = {**NOT_READY, "key": "node.kubernetes.io/unreachable"}


def new_uid() -> str:
    return str(uuid.uuid4())


def generated(stem: str) -> str:
    """A name that begins so."""
    return stem + "".join(random.choices(ALPHABET, k=5))


def validate_job(document: Any, namespace: str) -> None:
    """Refuse what is no Job, or one that the API server would not take, as far as tests may come to that."""
    if not isinstance(document, dict) or not document.get("kind"):
        raise StatusError(400, "the object provided is unrecognized (must be of type Job): couldn't get version/kind")
    kind = document["kind"]
    if (kind, document.get("apiVersion")) != ("Job", "batch/v1"):
        version = document.get("apiVersion")
        raise StatusError(
            400,
            f'{kind} in version "{version}" cannot be handled as a Job: no kind "{kind}" is registered for version '
            '"batch/v1" in scheme "pkg/runtime/scheme.go:111"',
        )
    metadata, pod = document.get("metadata", {}), document.get("spec", {}).get("template", {}).get("spec", {})
    if metadata.get("namespace", namespace) != namespace:
        raise StatusError(400, "the namespace of the provided object does not match the namespace sent on the request")
    name, causes = metadata.get("name", ""), []
    if not (name or metadata.get("generateName")):
        causes.append(("metadata.name", "FieldValueRequired", "Required value: name or generateName is required"))
    elif name and not SUBDOMAIN.fullmatch(name):
        causes.append(("metadata.name", "FieldValueInvalid", f'Invalid value: "{name}": {SUBDOMAIN_RULE}'))
    if not pod.get("containers"):
        causes.append(("spec.template.spec.containers", "FieldValueRequired", "Required value"))
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        causes.append(
            (
                "spec.template.spec.restartPolicy",
                "FieldValueRequired",
                'Required value: valid values: "OnFailure", "Never"',
            )
        )
    if causes:
        raise StatusError.invalid("Job", "batch", name, causes)


def new_job(document: Object, namespace: str, manager: str) -> Object:
    """A Job as it is stored: the one sent, its defaults and what the server alone knows."""
    sent = without_nulls(document)
    metadata, spec, uid = sent["metadata"], sent["spec"], new_uid()
    name = metadata.get("name") or generated(metadata["generateName"])
    template = spec["template"]
    labels = {
        **template.get("metadata", {}).get("labels", {}),
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            **metadata,
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "generation": 1,
            "creationTimestamp": now(),
        },
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 6,
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}},
            "manualSelector": False,
            **spec,
            "template": {
                "metadata": {**template.get("metadata", {}), "labels": labels},
                "spec": pod_spec(template["spec"]),
            },
            "completionMode": spec.get("completionMode", "NonIndexed"),
            "suspend": spec.get("suspend", False),
            "podReplacementPolicy": spec.get("podReplacementPolicy", "TerminatingOrFailed"),
        },
        "status": {},
    }
    return managed(job, manager, "batch/v1", sent)


def pod_spec(spec: Object) -> Object:
    """The spec of a pod with its defaults."""
    containers = [
        {
            **container,
            "resources": container.get("resources", {}),
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": container.get("terminationMessagePolicy", "File"),
            "imagePullPolicy": container.get("imagePullPolicy", "IfNotPresent"),
        }
        for container in spec["containers"]
    ]
    return {
        **spec,
        "containers": containers,
        "restartPolicy": spec.get("restartPolicy", "Always"),
        "terminationGracePeriodSeconds": spec.get("terminationGracePeriodSeconds", 30),
        "dnsPolicy": spec.get("dnsPolicy", "ClusterFirst"),
        "securityContext": spec.get("securityContext", {}),
        "schedulerName": spec.get("schedulerName", "default-scheduler"),
    }


def new_pod(job: Object) -> Object:
    """The pod of a Job as the Job controller creates it."""
    owner, template = job["metadata"], job["spec"]["template"]
    account = template["spec"].get("serviceAccountName", "default")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **template["metadata"],
            "name": generated(f"{owner['name']}-"),
            "generateName": f"{owner['name']}-",
            "namespace": owner["namespace"],
            "uid": new_uid(),
            "generation": 1,
            "creationTimestamp": now(),
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": owner["name"],
                    "uid": owner["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "finalizers": [TRACKING],
        },
        "spec": {
            **template["spec"],
            "serviceAccountName": account,
            "serviceAccount": account,
            "tolerations": [*template["spec"].get("tolerations", ()), NOT_READY, UNREACHABLE],
            "priority": 0,
            "enableServiceLinks": True,
            "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }
    return managed(pod, "kube-controller-manager", "v1", {"metadata": pod["metadata"], "spec": pod["spec"]})


def job_status(job: Object, pods: Iterable[Object], failed: int, succeeded: int) -> Object:
    """The status of a Job that has not ended, with its pods as they are."""
    active = [pod for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]
    leaving = [pod for pod in active if "deletionTimestamp" in pod["metadata"]]
    counts = {"active": len(active) - len(leaving), "succeeded": succeeded, "failed": failed}
    return {
        **{key: value for key, value in {"startTime": now(), **job["status"]}.items() if key in KEPT_STATUS},
        **{key: value for key, value in counts.items() if value},
        "terminating": len(leaving),
        "uncountedTerminatedPods": {},
        "ready": sum(pod["status"]["phase"] == "Running" for pod in active if pod not in leaving),
    }


def job_condition(kind: str, reason: str, message: str) -> Object:
    """A condition of a Job that holds."""
    moment = now()
    times = {"lastProbeTime": moment, "lastTransitionTime": moment}
    return {"type": kind, "status": "True", **times, "reason": reason, "message": message}


def event(item: Object, reason: str, message: str, kind: str, component: str) -> Object:
    """What a component tells of an object."""
    metadata, moment = item["metadata"], now()
    about = {"kind": item["kind"], "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{time.time_ns():x}",
            "namespace": metadata["namespace"],
            "uid": new_uid(),
            "creationTimestamp": moment,
        },
        "involvedObject": {**about, "apiVersion": item["apiVersion"], "resourceVersion": metadata["resourceVersion"]},
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
        "type": kind,
        "eventTime": None,
        "reportingComponent": component,
        "reportingInstance": "",
    }


def without_nulls(value: Any) -> Any:
    """A document without its nulls, which mean the same as nothing."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def managed(item: Object, manager: str, version: str, written: Mapping[str, Any]) -> Object:
    """The object with the entry that says who wrote which fields of it."""
    server = ("name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion", "managedFields")
    metadata = {key: value for key, value in written.get("metadata", {}).items() if key not in server}
    fields: Object = {}
    if metadata:
        fields["f:metadata"] = _fields(metadata)
    fields["f:spec"] = _fields(item["spec"])
    entry = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": version,
        "time": now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    return {**item, "metadata": {**item["metadata"], "managedFields": [entry]}}


def _fields(value: Mapping[str, Any]) -> Object:
    return {f"f:{key}": _field(key, item) for key, item in value.items() if key != "selector"}


def _field(key: str, value: Any) -> Object:
    if isinstance(value, dict):
        inner = _fields(value)
        return {".": {}, **inner} if key in ("labels", "annotations") else inner
    if isinstance(value, list) and value and isinstance(value[0], dict) and "name" in value[0]:
        named = {f'k:{{"name":"{item["name"]}"}}': {".": {}, **_fields(item)} for item in value}
        return named if key == "containers" else {".": {}, **named}
    return {}
