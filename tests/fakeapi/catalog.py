"""What an API server does with its objects: discovery documents, selectors, lists page by page."""

import base64
import binascii
import gzip
import json
import re
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from tests.fakeapi.status import StatusError
from tests.fakeapi.story import Object, Story

# The groups of a Kubernetes 1.33 API server, in its order: Kind, `*` if namespaced, short names.
BUILTIN = {
    "v1": "Binding* ComponentStatus/cs ConfigMap*/cm Endpoints*/ep Event*/ev LimitRange*/limits Namespace/ns Node/no "
    "PersistentVolumeClaim*/pvc PersistentVolume/pv Pod*/po PodTemplate* ReplicationController*/rc "
    "ResourceQuota*/quota Secret* ServiceAccount*/sa Service*/svc",
    "apiregistration.k8s.io/v1": "APIService",
    "apps/v1": "ControllerRevision* DaemonSet*/ds Deployment*/deploy ReplicaSet*/rs StatefulSet*/sts",
    "events.k8s.io/v1": "Event*/ev",
    "authentication.k8s.io/v1": "SelfSubjectReview TokenReview",
    "authorization.k8s.io/v1": "LocalSubjectAccessReview* SelfSubjectAccessReview SelfSubjectRulesReview "
    "SubjectAccessReview",
    "autoscaling/v2": "HorizontalPodAutoscaler*/hpa",
    "batch/v1": "CronJob*/cj Job*",
    "certificates.k8s.io/v1": "CertificateSigningRequest/csr",
    "networking.k8s.io/v1": "IngressClass Ingress*/ing IPAddress/ip NetworkPolicy*/netpol ServiceCIDR",
    "policy/v1": "PodDisruptionBudget*/pdb",
    "rbac.authorization.k8s.io/v1": "ClusterRoleBinding ClusterRole RoleBinding* Role*",
    "storage.k8s.io/v1": "CSIDriver CSINode CSIStorageCapacity* StorageClass/sc VolumeAttachment",
    "admissionregistration.k8s.io/v1": "MutatingWebhookConfiguration ValidatingAdmissionPolicy "
    "ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration",
    "apiextensions.k8s.io/v1": "CustomResourceDefinition/crd,crds",
    "scheduling.k8s.io/v1": "PriorityClass/pc",
    "coordination.k8s.io/v1": "Lease*",
    "node.k8s.io/v1": "RuntimeClass",
    "discovery.k8s.io/v1": "EndpointSlice*",
    "flowcontrol.apiserver.k8s.io/v1": "FlowSchema PriorityLevelConfiguration",
}

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

REQUIREMENT = re.compile(
    r"(?P<absent>!)?\s*(?P<key>[\w./-]+)\s*"
    r"(?:(?P<op>==|=|!=)\s*(?P<value>[\w.-]*)|\b(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?"
)
FIELD = re.compile(r"(?P<key>[\w.]+)(?P<op>==|=|!=)(?P<value>.*)")
COMMA_OUTSIDE_PARENTHESES = re.compile(r",(?![^(]*\))")
FIELDS = ("metadata.name", "metadata.namespace")
MORE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "pods": ("spec.nodeName", "status.phase"),
    "events": (
        *(f"involvedObject.{key}" for key in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion")),
        "reason",
        "type",
    ),
}

# The order in which servers write the fields of ObjectMeta.
METADATA = (
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)

Predicate = Callable[[Object], bool]


@dataclass(frozen=True)
class Resource:
    """A resource that the server serves; messages call it by its `qualified` name: installations.operator.tigera.io."""

    group: str
    version: str
    kind: str
    name: str
    namespaced: bool
    short: tuple[str, ...] = ()

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}".lstrip("/")

    @property
    def qualified(self) -> str:
        return f"{self.name}.{self.group}".rstrip(".")

    @property
    def custom(self) -> bool:
        return self.group_version not in BUILTIN

    def details(self, name: str = "") -> Object:
        """The details of a Status about this resource, or about one object of it."""
        values = {"name": name, "group": self.group, "kind": self.name}
        return {key: value for key, value in values.items() if value}

    def discovery(self) -> Object:
        document = {
            "name": self.name,
            "singularName": self.kind.lower(),
            "namespaced": self.namespaced,
            "kind": self.kind,
            "verbs": ["create"] if self.kind.endswith("Review") else list(VERBS),
        }
        return document | ({"shortNames": list(self.short)} if self.short else {})


class Body:
    """A JSON body, compressed only when somebody asks for that."""

    def __init__(self, plain: bytes) -> None:
        self.plain = plain

    @cached_property
    def gzipped(self) -> bytes:
        return gzip.compress(self.plain, compresslevel=1, mtime=0)


@dataclass(frozen=True)
class ListQuery:
    """What a list is narrowed and cut by; selectors as they stand in the query."""

    labels: str = ""
    fields: str = ""
    limit: int = 0
    start: str = ""

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> "ListQuery":
        try:
            limit = int(query.get("limit") or 0)
        except ValueError:
            raise StatusError(400, f'strconv.ParseInt: parsing "{query["limit"]}": invalid syntax') from None
        token = query.get("continue", "")
        # The watch cache answers resourceVersion=0, and it ignores the limit.
        limit = 0 if query.get("resourceVersion") == "0" and not token else limit
        return cls(query.get("labelSelector", ""), query.get("fieldSelector", ""), limit, start_of(token))


def continue_token(resource_version: int, start: str) -> str:
    """The opaque token that goes on behind START, as etcd-backed servers write it."""
    document = {"v": "meta.k8s.io/v1", "rv": resource_version, "start": start + "\0"}
    return base64.urlsafe_b64encode(json.dumps(document, separators=(",", ":")).encode()).rstrip(b"=").decode()


def start_of(token: str) -> str:
    """The key at which a continue token goes on."""
    if not token:
        return ""
    try:
        return str(json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))["start"])
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise StatusError(400, f"invalid continue token: continue key is not valid: {error}") from error


def plural(kind: str) -> str:
    """The resource of a kind, by the rules of English that kinds keep to."""
    name = kind.lower()
    if name == "endpoints":
        return name
    if re.search(r"(s|x|ch|sh)$", name):
        return name + "es"
    return re.sub(r"(?<![aeiou])y$", "ie", name) + "s"


def label_predicate(selector: str) -> Predicate:
    """Whether an object's labels match a label selector."""
    tests: list[tuple[str, set[str] | None, bool]] = []
    for part in filter(None, map(str.strip, COMMA_OUTSIDE_PARENTHESES.split(selector))):
        match = REQUIREMENT.fullmatch(part)
        if match is None or (match["absent"] and (match["op"] or match["set"])):
            raise StatusError(400, f"unable to parse requirement: found '{part}'")
        wanted = {value.strip() for value in (match["values"] or match["value"] or "").split(",")}
        if match["op"] or match["set"]:
            negative = match["op"] == "!=" or match["set"] == "notin"
            tests.append((match["key"], wanted, negative))
        else:
            tests.append((match["key"], None, bool(match["absent"])))

    def matches(item: Object) -> bool:
        labels = item["metadata"].get("labels") or {}
        return all((key in labels and (wanted is None or labels[key] in wanted)) != no for key, wanted, no in tests)

    return matches


def field_predicate(resource: Resource, selector: str) -> Predicate:
    """Whether an object's fields match a field selector that the resource supports."""
    tests: list[tuple[list[str], str, bool]] = []
    supported = FIELDS + MORE_FIELDS.get(resource.qualified, ())
    for part in filter(None, selector.split(",")):
        match = FIELD.fullmatch(part)
        if match is None:
            raise StatusError(400, f"invalid selector: '{selector}'; can't understand '{part}'")
        if match["key"] not in supported:
            known = f'"{match["key"]}" is not a known field selector: only ' + ", ".join(
                f'"{key}"' for key in supported
            )
            raise StatusError(
                400,
                f'Unable to find "{resource.group}/{resource.version}, Resource={resource.name}" that match label '
                f'selector "", field selector "{selector}": {known}',
            )
        tests.append((match["key"].split("."), match["value"], match["op"] == "!="))

    def matches(item: Object) -> bool:
        return all((_at(item, path) == value) != no for path, value, no in tests)

    return matches


def _at(item: Object, path: list[str]) -> Any:
    value: Any = item
    for key in path:
        value = value.get(key, "" if key == path[-1] else {})
    return value


class Change(NamedTuple):
    """One write: the object before it (None: it is new) and after it (`gone`: as it was last)."""

    version: int
    resource: Resource
    before: Object | None
    after: Object
    gone: bool = False


class Catalog:
    """The objects of a cluster as an API server keeps them: by resource, in the order of their keys, encoded once.

    Begins with those of a story. `changed` is notified of every write, and guards everything that is written.
    """

    def __init__(self, story: Story) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.changes: list[Change] = []
        self.closed = False
        self.resources: dict[tuple[str, str], Resource] = {}
        self._objects: dict[Resource, dict[str, Object]] = {}
        self._encoded: dict[Resource, dict[str, bytes]] = {}
        # Resources that have got new objects since their last page.
        self._unsorted: set[Resource] = set()
        self._pages: dict[tuple[Resource, str, ListQuery], tuple[Body, str]] = {}
        for resource in (*_builtin(), *_defined(story.of_kind("CustomResourceDefinition"))):
            self.resources[resource.group_version, resource.name] = resource
        for item in story.objects:
            metadata = item["metadata"]
            key = _key(metadata.get("namespace", ""), metadata["name"])
            self._objects.setdefault(self._resource_of(item), {})[key] = item
        for resource, items in self._objects.items():
            self._objects[resource] = dict(sorted(items.items()))
            self._encoded[resource] = {
                key: _encode_item(resource, item) for key, item in self._objects[resource].items()
            }
        versions = (item["metadata"].get("resourceVersion", "") for item in story.objects)
        self.resource_version = max((int(version) for version in versions if version.isdecimal()), default=1000)
        # Watches from before this version are told that it is too old.
        self.oldest_version = self.resource_version

    def _resource_of(self, item: Object) -> Resource:
        group, _, version = item["apiVersion"].rpartition("/")
        for resource in self.resources.values():
            if (resource.group, resource.version, resource.kind) == (group, version, item["kind"]):
                return resource
        namespaced = "namespace" in item["metadata"]
        resource = Resource(group, version, item["kind"], plural(item["kind"]), namespaced)
        self.resources[resource.group_version, resource.name] = resource
        return resource

    def all(self, resource: Resource) -> list[Object]:
        """Every object of a resource."""
        with self.changed:
            return list(self._objects.get(resource, {}).values())

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """One object, if there is one."""
        with self.changed:
            return self._objects.get(resource, {}).get(_key(namespace if resource.namespaced else "", name))

    def find(self, resource: Resource, namespace: str, name: str) -> Object:
        """One object; a StatusError if there is none."""
        item = self.get(resource, namespace, name)
        if item is None:
            raise StatusError(404, f'{resource.qualified} "{name}" not found', details=resource.details(name))
        return item

    def object(self, resource: Resource, namespace: str, name: str) -> Body:
        """One object as it is sent; a StatusError if there is none."""
        return Body(msgspec.json.encode(typed(resource, self.find(resource, namespace, name))) + b"\n")

    def put(self, resource: Resource, item: Object) -> Object:
        """Store an object, new or changed, under a new resource version; the object as it is stored."""
        with self.changed:
            metadata = item["metadata"]
            key = _key(metadata.get("namespace", ""), metadata["name"])
            items, encoded = self._objects.setdefault(resource, {}), self._encoded.setdefault(resource, {})
            before = items.get(key)
            after = self._versioned(item)
            items[key], encoded[key] = after, _encode_item(resource, after)
            if before is None:
                self._unsorted.add(resource)
            self._record(Change(self.resource_version, resource, before, after))
            return after

    def remove(self, resource: Resource, item: Object) -> Object:
        """Take an object away; the object as it was last."""
        with self.changed:
            metadata = item["metadata"]
            key = _key(metadata.get("namespace", ""), metadata["name"])
            before = self._objects[resource].pop(key)
            del self._encoded[resource][key]
            after = self._versioned(before)
            self._record(Change(self.resource_version, resource, before, after, gone=True))
            return after

    def wait_for_change(self, position: int, timeout: float | None) -> None:
        """Wait until there are more changes than that, the server closes or the time is over."""
        self.changed.wait_for(lambda: self.closed or len(self.changes) > position, timeout)

    def _versioned(self, item: Object) -> Object:
        self.resource_version += 1
        metadata = {**item["metadata"], "resourceVersion": str(self.resource_version)}
        known = {key: metadata[key] for key in METADATA if key in metadata}
        return {**item, "metadata": known | metadata}

    def _record(self, change: Change) -> None:
        self.changes.append(change)
        self._pages = {key: page for key, page in self._pages.items() if key[0] != change.resource}
        self.changed.notify_all()

    def page(self, resource: Resource, namespace: str, query: ListQuery) -> tuple[Body, str]:
        """One page of a list and the token of the next one ("" if it is the last)."""
        key = (resource, namespace, query)
        with self.changed:
            if key not in self._pages:
                self._pages[key] = self._make_page(*key)
            return self._pages[key]

    def _make_page(self, resource: Resource, namespace: str, query: ListQuery) -> tuple[Body, str]:
        if resource in self._unsorted:
            self._objects[resource] = dict(sorted(self._objects[resource].items()))
            self._unsorted.discard(resource)
        items = self._objects.get(resource, {})
        keys = list(items)
        prefix = f"{namespace}/" if namespace else ""
        first = bisect_left(keys, max(prefix, query.start))
        end = bisect_left(keys, f"{namespace}0") if namespace else len(keys)
        by_label, by_field = label_predicate(query.labels), field_predicate(resource, query.fields)
        chosen: list[bytes] = []
        position = first
        while position < end and not (query.limit and len(chosen) == query.limit):
            item = items[keys[position]]
            if by_label(item) and by_field(item):
                chosen.append(self._encoded[resource][keys[position]])
            position += 1
        # Like etcd, this looks at keys: behind a page that a selector filled there may come an empty one.
        token = continue_token(self.resource_version, keys[position - 1]) if position < end else ""
        metadata: Object = {"resourceVersion": str(self.resource_version)}
        if token:
            metadata["continue"] = token
            if not (query.labels or query.fields):
                metadata["remainingItemCount"] = end - position
        return Body(_encode_list(resource, metadata, chosen)), token

    def warm(self, limit: int = 500) -> None:
        """Encode and compress every page of the cluster-wide lists before anybody asks."""
        for resource in self._objects:
            query = ListQuery(limit=limit)
            while True:
                body, token = self.page(resource, "", query)
                _ = body.gzipped
                if not token:
                    break
                query = ListQuery(limit=limit, start=start_of(token))

    def groups(self) -> Object:
        """The APIGroupList."""
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(self._groups().values())}

    def group(self, name: str) -> Object | None:
        """An APIGroup."""
        group = self._groups().get(name)
        return {"kind": "APIGroup", "apiVersion": "v1", **group} if group else None

    def _groups(self) -> dict[str, Object]:
        groups: dict[str, Object] = {}
        for group_version in dict.fromkeys(resource.group_version for resource in self.resources.values()):
            group, _, version = group_version.rpartition("/")
            entry = {"groupVersion": group_version, "version": version}
            if group:
                known = groups.setdefault(group, {"name": group, "versions": [], "preferredVersion": entry})
                known["versions"].append(entry)
        return groups

    def resource_list(self, group_version: str) -> Object | None:
        """The APIResourceList of a group version."""
        resources = [r.discovery() for r in self.resources.values() if r.group_version == group_version]
        head = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if "/" in group_version else {})
        return {**head, "groupVersion": group_version, "resources": resources} if resources else None


def _builtin() -> Iterable[Resource]:
    for group_version, kinds in BUILTIN.items():
        group, _, version = group_version.rpartition("/")
        for entry in kinds.split():
            kind, _, short = entry.partition("/")
            name = kind.removesuffix("*")
            yield Resource(group, version, name, plural(name), kind != name, tuple(filter(None, short.split(","))))


def _defined(definitions: Iterable[Object]) -> Iterable[Resource]:
    for definition in definitions:
        spec: dict[str, Any] = definition["spec"]
        names, namespaced = spec["names"], spec["scope"] == "Namespaced"
        for version in spec["versions"]:
            if version.get("served", True):
                short = tuple(names.get("shortNames", ()))
                yield Resource(spec["group"], version["name"], names["kind"], names["plural"], namespaced, short)


def _key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


def typed(resource: Resource, item: Object) -> Object:
    """An object as it is sent by itself: built-in kinds begin with their kind, custom ones are as they were stored."""
    return item if resource.custom else {"kind": item["kind"], "apiVersion": item["apiVersion"], **_bare(item)}


def _bare(item: Object) -> Object:
    rest = {key: value for key, value in item.items() if key not in ("apiVersion", "kind", "metadata")}
    return {"metadata": item["metadata"], **rest}


def _encode_item(resource: Resource, item: Object) -> bytes:
    return msgspec.json.encode(item, order="sorted") if resource.custom else msgspec.json.encode(_bare(item))


def _encode_list(resource: Resource, metadata: Object, items: list[bytes]) -> bytes:
    kind, version = f'"kind":"{resource.kind}List"', f'"apiVersion":"{resource.group_version}"'
    joined = b'"items":[' + b",".join(items) + b"]"
    if resource.custom:
        # To the server these are maps: the keys of their lists are sorted, and `continue` is never left out.
        encoded = msgspec.json.encode({"continue": "", **metadata}, order="sorted")
        return b"".join((f"{{{version},".encode(), joined, f',{kind},"metadata":'.encode(), encoded, b"}\n"))
    head = f'{{{kind},{version},"metadata":'.encode()
    return b"".join((head, msgspec.json.encode(metadata), b",", joined, b"}\n"))
