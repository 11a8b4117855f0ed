"""Writes of any resource: from HTTP to the object as an API server would store it, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from tests.fakeapi.access import RequestInfo
from tests.fakeapi.answer import Answer
from tests.fakeapi.catalog import Resource, field_predicate, label_predicate, typed
from tests.fakeapi.jobs import SUBDOMAIN, SUBDOMAIN_RULE, generated, new_uid, pod_spec, without_nulls
from tests.fakeapi.managed import managed
from tests.fakeapi.patches import JSON_PATCH, MERGE, STRATEGIC, go_type, patched, same
from tests.fakeapi.podlife import now
from tests.fakeapi.pods import Pods
from tests.fakeapi.protobuf import object_of
from tests.fakeapi.status import WORDS, StatusError
from tests.fakeapi.story import Object
from tests.fakeapi.workloads import DeleteOptions, check_preconditions, dry_run_of

PROTOBUF = "application/vnd.kubernetes.protobuf"
BODIES = ("application/json", "application/yaml", PROTOBUF)
APPLY = "application/apply-patch+yaml"
VALIDATIONS = ("", "Ignore", "Strict", "Warn")
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
# The built-in kinds that count the generations of their specs.
GENERATIONS = (
    "CronJob",
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "EndpointSlice",
    "FlowSchema",
    "Ingress",
    "Job",
    "NetworkPolicy",
    "Pod",
    "PodDisruptionBudget",
    "PriorityLevelConfiguration",
    "ReplicaSet",
    "ReplicationController",
    "StatefulSet",
)
# What is a map of strings, and what Go calls it.
STRING_MAPS = (
    (("metadata", "labels"), "ObjectMeta.metadata.labels"),
    (("metadata", "annotations"), "ObjectMeta.metadata.annotations"),
    (("spec", "template", "metadata", "labels"), "ObjectMeta.spec.template.metadata.labels"),
    (("spec", "template", "metadata", "annotations"), "ObjectMeta.spec.template.metadata.annotations"),
    (("spec", "template", "spec", "nodeSelector"), "PodSpec.spec.template.spec.nodeSelector"),
)
# Written by the server alone, whatever is sent.
SERVERS = ("uid", "creationTimestamp", "generation", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds")


@dataclass(frozen=True)
class Options:
    """The options of a write, as they stand in its query."""

    manager: str
    dry_run: bool

    @classmethod
    def parse(cls, info: RequestInfo, manager: str) -> "Options":
        name = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}[info.verb]
        query = dict(info.query)
        validation = query.get("fieldValidation", "")
        if validation not in VALIDATIONS:
            supported = ", ".join(f'"{value}"' for value in VALIDATIONS)
            message = f'Unsupported value: "{validation}": supported values: {supported}'
            raise StatusError.invalid(name, "meta.k8s.io", "", [("fieldValidation", "FieldValueNotSupported", message)])
        dry_run = dry_run_of([value for key, value in info.query if key == "dryRun"], name)
        return cls(query.get("fieldManager") or manager, dry_run)


def owned_by(manager: str, before: Object | None, after: Object, *, custom: bool, status: bool = False) -> Object:
    """An object with the managedFields that it has when a manager has made it so."""
    fields = managed(before, after, manager, custom=custom, status=status)
    metadata = {key: value for key, value in after["metadata"].items() if key != "managedFields"}
    return {**after, "metadata": metadata | ({"managedFields": fields} if fields else {})}


class Writes:
    """The objects of a server as its clients may change them."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods
        self._catalog = pods.catalog

    def write(self, info: RequestInfo, resource: Resource, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to a request that writes."""
        if resource.kind.endswith("Review"):
            raise StatusError(405, details={})
        agent = headers.get("user-agent", "unknown").partition("/")[0]
        with self._catalog.changed:
            match info.verb:
                case "create":
                    return self._create(info, resource, Options.parse(info, agent), _sent(resource, headers, body))
                case "update":
                    return self._update(info, resource, Options.parse(info, agent), _sent(resource, headers, body))
                case "patch":
                    return self._patch(info, resource, Options.parse(info, agent), headers, body)
                case "delete" if info.name:
                    return self._delete(info, resource, DeleteOptions.parse(dict(info.query), body))
                case "deletecollection":
                    return self._delete_collection(info, resource, DeleteOptions.parse(dict(info.query), body))
        raise StatusError(405, details={})

    def _create(self, info: RequestInfo, resource: Resource, options: Options, sent: Object) -> Answer:
        _check_kind(resource, sent)
        metadata = sent["metadata"] = dict(sent.get("metadata") or {})
        _check_namespace(info, resource, metadata)
        _check_strings(resource, sent)
        name = metadata.get("name") or (generated(metadata["generateName"]) if metadata.get("generateName") else "")
        _check_name(resource, name)
        if metadata.get("resourceVersion"):
            raise StatusError(500, "resourceVersion should not be set on objects to be created", reason="")
        if info.namespace:
            self._pods.need_namespace(info.namespace)
        if self._catalog.get(resource, info.namespace, name) is not None:
            message = f'{resource.qualified} "{name}" already exists'
            raise StatusError(409, message, reason="AlreadyExists", details=resource.details(name))
        own = {key: value for key, value in metadata.items() if key not in (*SERVERS, "managedFields", "name")}
        made = {
            **sent,
            "metadata": {
                "name": name,
                **own,
                **({"namespace": info.namespace} if resource.namespaced else {}),
                "uid": new_uid(),
                **({"generation": 1} if _has_generation(resource) else {}),
                "creationTimestamp": now(),
            },
        }
        if self._has_status(resource):
            made.pop("status", None)
        made = _defaulted(made)
        return self._store(resource, options, None, made, 201)

    def _update(self, info: RequestInfo, resource: Resource, options: Options, sent: Object) -> Answer:
        _check_kind(resource, sent)
        metadata = sent["metadata"] = dict(sent.get("metadata") or {})
        _check_namespace(info, resource, metadata)
        _check_strings(resource, sent)
        _check_same_name(info, metadata)
        before = self._catalog.find(resource, info.namespace, info.name)
        known, uid = before["metadata"].get("uid"), metadata.get("uid")
        if uid and uid != known:
            key = "/".join(filter(None, ("/registry", resource.group, resource.name, info.namespace, info.name)))
            message = (
                f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {known}"
            )
            raise _conflict(resource, info.name, message)
        if resource.custom and not metadata.get("resourceVersion"):
            message = "Invalid value: 0: must be specified for an update"
            cause = ("metadata.resourceVersion", "FieldValueInvalid", message)
            raise StatusError.invalid(resource.name, resource.group, info.name, [cause])
        return self._replace(resource, options, before, sent)

    def _patch(
        self, info: RequestInfo, resource: Resource, options: Options, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        content_type = _media_type(headers)
        taken = (JSON_PATCH, MERGE) if resource.custom else (JSON_PATCH, MERGE, STRATEGIC)
        if content_type not in taken and resource.custom:
            raise StatusError(415, WORDS[415][1] + ", ".join((*taken, APPLY)))
        if content_type not in taken:
            raise StatusError(415, "415: Unsupported Media Type", details={})
        before = self._catalog.find(resource, info.namespace, info.name)
        after = patched({"apiVersion": resource.group_version, "kind": resource.kind, **before}, content_type, body)
        try:
            _check_strings(resource, after)
        except StatusError as error:
            text = msgspec.json.encode(msgspec.json.encode(after).decode()).decode()
            message = f"Invalid value: {text}: {str(error).partition(': ')[2]}"
            raise StatusError.invalid("", "", "", [("patch", "FieldValueInvalid", message)]) from None
        metadata = after.get("metadata")
        if not isinstance(metadata, dict):
            raise StatusError(422, details={})
        _check_same_name(info, metadata)
        if metadata.get("uid") != before["metadata"].get("uid"):
            message = f'Invalid value: "{metadata.get("uid", "")}": field is immutable'
            cause = ("metadata.uid", "FieldValueInvalid", message)
            raise StatusError.invalid(resource.kind, resource.group, info.name, [cause])
        return self._replace(resource, options, before, after)

    def _replace(self, resource: Resource, options: Options, before: Object, after: Object) -> Answer:
        old, metadata = before["metadata"], after["metadata"]
        version = metadata.get("resourceVersion")
        if version and version != old.get("resourceVersion", version):
            text = "the object has been modified; please apply your changes to the latest version and try again"
            raise _conflict(resource, old["name"], text)
        kept = {
            key: old[key] for key in (*SERVERS, "name", "namespace", "resourceVersion", "managedFields") if key in old
        }
        own = {
            key: value for key, value in metadata.items() if key not in (*SERVERS, "managedFields", "resourceVersion")
        }
        head = {key: before[key] for key in ("apiVersion", "kind")}
        after = {**head, **after, "metadata": {**own, **kept}}
        if self._has_status(resource):
            after.pop("status", None)
            after |= {"status": before["status"]} if "status" in before else {}
        after = {key: without_nulls(value) for key, value in after.items()}
        after["metadata"] = {key: value for key, value in after["metadata"].items() if value not in ({}, [])}
        if same(_settled(before), _settled(after)):
            return self._answer(resource, before, 200)
        after["metadata"] = counted(resource, before, after)
        return self._store(resource, options, before, after, 200)

    def _store(self, resource: Resource, options: Options, before: Object | None, after: Object, code: int) -> Answer:
        status = not self._has_status(resource)
        after = owned_by(options.manager, before, after, custom=resource.custom, status=status)
        metadata = after["metadata"]
        if not options.dry_run:
            after = self._catalog.put(resource, after)
            if "deletionTimestamp" in metadata and not metadata.get("finalizers") and resource.name != "pods":
                self._catalog.remove(resource, after)
        return self._answer(resource, after, code)

    def _answer(self, resource: Resource, item: Object, code: int) -> Answer:
        return Answer.json(typed(resource, item), code)

    def _delete(self, info: RequestInfo, resource: Resource, options: DeleteOptions) -> Answer:
        item = self._catalog.find(resource, info.namespace, info.name)
        check_preconditions(resource, item, options)
        left = self._remove(resource, item, options.dry_run)
        if left is not None:
            return self._answer(resource, left, 200)
        details = {**resource.details(info.name), "uid": item["metadata"].get("uid")}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return Answer.json(status)

    def _delete_collection(self, info: RequestInfo, resource: Resource, options: DeleteOptions) -> Answer:
        query = dict(info.query)
        by_label = label_predicate(query.get("labelSelector", ""))
        by_field = field_predicate(resource, query.get("fieldSelector", ""))
        chosen = [
            item
            for item in self._catalog.all(resource)
            if info.namespace in ("", item["metadata"].get("namespace")) and by_label(item) and by_field(item)
        ]
        for item in chosen:
            self._remove(resource, item, options.dry_run)
        metadata = {"resourceVersion": str(self._catalog.resource_version)}
        head = {"kind": f"{resource.kind}List", "apiVersion": resource.group_version, "metadata": metadata}
        hidden = () if resource.custom else ("apiVersion", "kind")
        return Answer.json({**head, "items": [{k: v for k, v in item.items() if k not in hidden} for item in chosen]})

    def _remove(self, resource: Resource, item: Object, dry_run: bool) -> Object | None:
        """Delete an object; the object as it is left, if something has to happen before it goes."""
        metadata = item["metadata"]
        namespace = resource.kind == "Namespace"
        if not (metadata.get("finalizers") or namespace):
            if not dry_run:
                self._catalog.remove(resource, item)
            return None
        marked = {**item, "metadata": {**metadata, "deletionTimestamp": metadata.get("deletionTimestamp", now())}}
        if namespace:
            marked["status"] = {"phase": "Terminating"}
        else:
            marked["metadata"]["deletionGracePeriodSeconds"] = 0
            if _has_generation(resource) and "deletionTimestamp" not in metadata:
                marked["metadata"]["generation"] = metadata.get("generation", 0) + 1
        if dry_run or "deletionTimestamp" in metadata:
            return marked
        marked = self._catalog.put(resource, marked)
        if namespace:
            self._empty(metadata["name"])
            self._catalog.remove(resource, marked)
        return marked

    def _empty(self, namespace: str) -> None:
        for resource in list(self._catalog.resources.values()):
            for item in self._catalog.all(resource):
                if resource.namespaced and item["metadata"].get("namespace") == namespace:
                    self._catalog.remove(resource, item)

    def _has_status(self, resource: Resource) -> bool:
        """Whether a resource has a status that ordinary writes leave alone."""
        if not resource.custom:
            return True
        definitions = self._catalog.resources["apiextensions.k8s.io/v1", "customresourcedefinitions"]
        definition = self._catalog.get(definitions, "", resource.qualified)
        versions = definition["spec"]["versions"] if definition is not None else ()
        known = [version for version in versions if version["name"] == resource.version]
        return not known or "status" in (known[0].get("subresources") or {})


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip()


def _sent(resource: Resource, headers: Mapping[str, str], body: bytes) -> Object:
    """The object in a body of a type that is taken."""
    content_type = _media_type(headers) or BODIES[0]
    taken = BODIES[:2] if resource.custom else BODIES
    if content_type not in taken:
        raise StatusError(415, WORDS[415][1] + ", ".join(taken))
    try:
        if content_type == PROTOBUF:
            document: Any = object_of(body)
        else:
            document = yaml.safe_load(body) if content_type == BODIES[1] else msgspec.json.decode(body)
    except KeyError:
        raise StatusError(415) from None
    except (ValueError, yaml.YAMLError) as error:
        unrecognized = (
            f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind"
        )
        raise StatusError(400, f"{unrecognized}; json parse error: {error}") from None
    if not isinstance(document, dict) or not document.get("kind"):
        text = f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind"
        raise StatusError(400, text)
    return document


def _check_kind(resource: Resource, sent: Object) -> None:
    kind, version = sent["kind"], sent.get("apiVersion")
    if (kind, version) == (resource.kind, resource.group_version):
        return
    name = (sent.get("metadata") or {}).get("name", "")
    if resource.custom and version == resource.group_version:
        cause = ("kind", "FieldValueInvalid", f'Invalid value: "{kind}": must be {resource.kind}')
        raise StatusError.invalid(kind, resource.group, name, [cause])
    text = (
        f'{kind} in version "{version}" cannot be handled as a {resource.kind}: no kind "{kind}" is registered for '
        f'version "{resource.group_version}" in scheme "pkg/runtime/scheme.go:111"'
    )
    raise StatusError(400, text)


def _check_namespace(info: RequestInfo, resource: Resource, metadata: Object) -> None:
    if resource.namespaced and (metadata.get("namespace") or info.namespace) != info.namespace:
        raise StatusError(400, "the namespace of the provided object does not match the namespace sent on the request")


def _check_same_name(info: RequestInfo, metadata: Object) -> None:
    name = metadata.get("name")
    if name != info.name:
        raise StatusError(400, f"the name of the object ({name}) does not match the name on the URL ({info.name})")


def _check_name(resource: Resource, name: str) -> None:
    causes = []
    if not name:
        causes.append(("metadata.name", "FieldValueRequired", "Required value: name or generateName is required"))
    elif resource.group != "rbac.authorization.k8s.io" and not SUBDOMAIN.fullmatch(name):
        causes.append(("metadata.name", "FieldValueInvalid", f'Invalid value: "{name}": {SUBDOMAIN_RULE}'))
    if causes:
        raise StatusError.invalid(resource.kind, resource.group, name, causes)


def _check_strings(resource: Resource, item: Object) -> None:
    """Refuse what is no string where Go's types have strings, as numbers and truth values in YAML may be."""
    maps = [*STRING_MAPS, *([(("data",), "ConfigMap.data")] if resource.kind == "ConfigMap" else [])]
    for path, called in maps:
        value: Any = item
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        for one in value.values() if isinstance(value, dict) else ():
            if one is not None and not isinstance(one, str):
                trouble = f"json: cannot unmarshal {go_type(one)} into Go struct field {called} of type string"
                head = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
                raise StatusError(400, f"{head}: {trouble}")


def _conflict(resource: Resource, name: str, text: str) -> StatusError:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {text}'
    return StatusError(409, message, details=resource.details(name))


def _has_generation(resource: Resource) -> bool:
    return resource.custom or resource.kind in GENERATIONS


def _settled(item: Object) -> Object:
    """What of an object makes a difference when it is written."""
    skipped = ("managedFields", "resourceVersion")
    metadata = {key: value for key, value in item["metadata"].items() if key not in skipped and value not in ({}, [])}
    return {**{key: value for key, value in item.items() if value is not None}, "metadata": metadata}


def counted(resource: Resource, before: Object, after: Object) -> Object:
    """The metadata of a changed object, with its generations counted."""
    metadata = dict(after["metadata"])
    old, new = ({k: v for k, v in item.items() if k not in ("metadata", "status")} for item in (before, after))
    if _has_generation(resource) and not same(old, new):
        metadata["generation"] = metadata.get("generation", 0) + 1
    if resource.kind == "DaemonSet":
        templates = [item["spec"].get("template") for item in (before, after)]
        annotations = {**metadata.get("annotations", {})}
        known = before["metadata"].get("annotations", {}).get(TEMPLATE_GENERATION)
        if not same(*templates):
            annotations[TEMPLATE_GENERATION] = str(int(known or 1) + 1)
        elif known:
            annotations[TEMPLATE_GENERATION] = known
        if annotations:
            metadata["annotations"] = annotations
    return metadata


def _defaulted(item: Object) -> Object:
    """A new object with the defaults of its kind, as far as anybody here makes such objects."""
    metadata, spec = item["metadata"], item.get("spec", {})
    match item["kind"]:
        case "Namespace":
            labels = {**metadata.get("labels", {}), "kubernetes.io/metadata.name": metadata["name"]}
            rest = {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
            return {**item, "metadata": {**metadata, "labels": labels}, **rest}
        case "DaemonSet":
            annotations = {**metadata.get("annotations", {}), TEMPLATE_GENERATION: "1"}
            counts = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
            rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
            return {
                **item,
                "metadata": {**metadata, "annotations": annotations},
                "spec": {**_templated(spec), "updateStrategy": rolling, "revisionHistoryLimit": 10, **_own(spec)},
                "status": dict.fromkeys(counts, 0),
            }
        case "Deployment":
            rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
            usual = {"strategy": rolling, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}
            return {**item, "spec": {"replicas": 1, **_templated(spec), **usual, **_own(spec)}, "status": {}}
    return item


def _templated(spec: Object) -> Object:
    template = spec["template"]
    return {**spec, "template": {**template, "spec": pod_spec(template["spec"])}}


def _own(spec: Object) -> Object:
    return {key: value for key, value in spec.items() if key != "template"}
