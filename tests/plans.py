"""Plans for recorded clusters, and objects as a plan's actions change them."""

import copy
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ebpfcheck.app import Judge
from ebpfcheck.collect.snapshots import load_snapshot
from ebpfcheck.model.facts import Endpoint, Install
from ebpfcheck.model.plan import Action, Create, Delete, Patch, Plan, Target
from ebpfcheck.model.snapshot import Snapshot
from ebpfcheck.plan.actions import document_of, manifest_of, plain
from ebpfcheck.settings import Settings
from tests.builders import FIXTURES
from tests.fakeapi.story import Object, Story

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)

Key = tuple[str, str | None, str]


def plan_of(
    snapshot: Snapshot,
    *,
    version: str | None = None,
    install: Install | None = None,
    endpoint: Endpoint | None = None,
    dsr: bool = False,
) -> Plan:
    judge = Judge(Settings(calico_version=version, install=install))
    return judge.plan(snapshot, NOW, endpoint=endpoint, dsr=dsr)


def snapshot_of(name: str) -> Snapshot:
    return load_snapshot(str(FIXTURES / "snapshots" / name / "snapshot.json"))


def plan_for(name: str, **options: Any) -> Plan:
    """The plan for a recorded cluster."""
    return plan_of(snapshot_of(name), **options)


def objects_of(name: str) -> dict[Key, Object]:
    """The recorded objects of a cluster, as kubectl names their resources."""
    found: dict[Key, Object] = {}
    for item in Story.load(FIXTURES / "api" / name).objects:
        metadata = item["metadata"]
        found[(resource_of(item), metadata.get("namespace"), metadata["name"])] = copy.deepcopy(item)
    return found


def resource_of(item: Object) -> str:
    group, _, _ = item["apiVersion"].rpartition("/")
    plural = item["kind"].lower() + ("es" if item["kind"].endswith("s") else "s")
    return f"{plural}.{group}" if group else plural


def key_of(target: Target) -> Key:
    return target.resource, target.namespace, target.name


def value_at(item: Object, path: Iterable[str]) -> Any:
    """The value of a field, None where it is not set."""
    place: Any = item
    for key in path:
        place = place.get(key) if isinstance(place, dict) else None
    return place


def changing(plan: Plan) -> list[Patch | Create | Delete]:
    """What a plan changes, in its order."""
    actions = (action for step in plan.steps for action in step.actions)
    return [action for action in actions if isinstance(action, Patch | Create | Delete)]


def applied(objects: dict[Key, Object], action: Action) -> None:
    """Change the objects as a server does; an AssertionError if they are not as the action takes them to be."""
    if isinstance(action, Patch):
        item = objects[key_of(action.target)]
        for field in action.fields:
            assert value_at(item, field.path) == plain(field.before), (action.target, field)
        _merge(item, document_of(action.fields))
    elif isinstance(action, Create):
        assert key_of(action.target) not in objects
        objects[key_of(action.target)] = manifest_of(action)
    elif isinstance(action, Delete):
        item = objects.pop(key_of(action.target))
        for one in action.fields:
            assert value_at(item, one.path) == plain(one.value)


def _merge(item: Any, patch: Any) -> None:
    """RFC 7386, in place."""
    for key, value in patch.items():
        if value is None:
            item.pop(key, None)
        elif isinstance(value, dict):
            if not isinstance(item.get(key), dict):
                item[key] = {}
            _merge(item[key], value)
            # Servers leave out maps that are empty.
            if not item[key]:
                del item[key]
        else:
            item[key] = value
