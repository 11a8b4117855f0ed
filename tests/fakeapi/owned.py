"""What of a cluster its users own, so that it can be compared before and after."""

from typing import Any

from tests.fakeapi.catalog import Catalog
from tests.fakeapi.story import Object

# Of objects that controllers make and remove as they go.
PASSING = ("Pod", "ReplicaSet", "ControllerRevision", "Event")
SERVERS = (
    "managedFields",
    "resourceVersion",
    "uid",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
)
COUNTERS = (
    "kubectl.kubernetes.io/restartedAt",
    "deployment.kubernetes.io/revision",
    "deprecated.daemonset.template.generation",
)

EMPTY_IS_NONE = ("annotations", "labels", "nodeSelector")


def owned(catalog: Catalog) -> dict[str, Object]:
    """Every object, by "KIND NAMESPACE/NAME", without its status and without what servers and controllers write."""
    objects: dict[str, Object] = {}
    for resource in list(catalog.resources.values()):
        for item in catalog.all(resource):
            metadata = item["metadata"]
            if item["kind"] not in PASSING:
                name = "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))
                objects[f"{item['kind']} {name}"] = _reduced(item)
    return objects


def _reduced(item: Object) -> Object:
    metadata = {key: value for key, value in item["metadata"].items() if key not in SERVERS}
    rest = {key: value for key, value in item.items() if key not in ("status", "metadata")}
    reduced: Object = _uncounted({**rest, "metadata": metadata})
    return reduced


def _uncounted(value: Any) -> Any:
    if isinstance(value, list):
        return [_uncounted(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _uncounted(item) for key, item in value.items() if key not in COUNTERS}
    # Maps that are empty mean as much as none at all, and so does null.
    return {key: item for key, item in kept.items() if item is not None and not (key in EMPTY_IS_NONE and item == {})}
