"""As much of /openapi/v3 as tells kubectl that the server validates fields."""

import hashlib
from collections.abc import Iterable

from tests.fakeapi.catalog import Resource
from tests.fakeapi.story import Object

PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json")


def index(resources: Iterable[Resource]) -> Object:
    """What there is to ask for: a document for each group and version."""
    paths = {}
    for group_version in sorted({resource.group_version for resource in resources}):
        path = _root(group_version).removeprefix("/")
        digest = hashlib.sha512(path.encode()).hexdigest().upper()
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


def document(resources: Iterable[Resource], group_version: str) -> Object | None:
    """The OpenAPI document of one group and version: the writes, with the parameters that they take."""
    of_version = [one for one in resources if one.group_version == group_version and not one.kind.endswith("Review")]
    if not of_version:
        return None
    paths: Object = {}
    for resource in of_version:
        place = "/namespaces/{namespace}" if resource.namespaced else ""
        collection = f"{_root(group_version)}{place}/{resource.name}"
        paths[collection] = {"post": _operation(resource, "post", "create")}
        paths[f"{collection}/{{name}}"] = {
            "put": _operation(resource, "put", "replace"),
            "patch": _operation(resource, "patch", "patch"),
        }
    head = {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "fake"}}
    return {**head, "paths": paths, "components": {"schemas": {}}}


def _root(group_version: str) -> str:
    return f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"


def _operation(resource: Resource, action: str, verb: str) -> Object:
    names = ["dryRun", "fieldManager", "fieldValidation", *(["force"] if action == "patch" else [])]
    types = PATCHES[: 2 if resource.custom else 3] if action == "patch" else ("*/*",)
    version = "".join(part.capitalize() for part in resource.group_version.replace(".k8s.io", "").split("/"))
    return {
        "operationId": f"{verb}{version.replace('.', '')}{'Namespaced' if resource.namespaced else ''}{resource.kind}",
        "parameters": [
            {
                "name": name,
                "in": "query",
                "schema": {"type": "boolean" if name == "force" else "string", "uniqueItems": True},
            }
            for name in names
        ],
        "requestBody": {"content": {name: {"schema": {"type": "object"}} for name in types}, "required": True},
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
    }
