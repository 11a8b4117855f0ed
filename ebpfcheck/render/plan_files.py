"""A plan as files: a page to read, manifests for who applies them in their own way, and the two scripts."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import yaml

from ebpfcheck.model.codec import encode_json
from ebpfcheck.model.plan import Create, Patch, Plan, Step, Target
from ebpfcheck.model.text import visible
from ebpfcheck.plan.actions import document_of, manifest_of
from ebpfcheck.plan.rollback import rollback_of
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.plan_markdown import render
from ebpfcheck.render.plan_script import script_of

_KINDS = {
    "daemonsets.apps": ("apps/v1", "DaemonSet"),
    "configmaps": ("v1", "ConfigMap"),
    "services": ("v1", "Service"),
    "installations.operator.tigera.io": ("operator.tigera.io/v1", "Installation"),
    "felixconfigurations.crd.projectcalico.org": ("crd.projectcalico.org/v1", "FelixConfiguration"),
    "felixconfigurations.projectcalico.org": ("projectcalico.org/v3", "FelixConfiguration"),
    "networks.operator.openshift.io": ("operator.openshift.io/v1", "Network"),
}


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a plan's directory."""

    name: str
    text: str
    executable: bool = False


def files_of(plan: Plan) -> tuple[File, ...]:
    """Return all files of a plan's directory."""
    return (
        File(name="README.md", text=render(plan, RenderOptions())),
        File(name="plan.json", text=encode_json(plan)),
        *_manifests("", plan.steps),
        *_manifests("rollback-", plan.rollback),
        File(name="enable.sh", text=script_of(plan), executable=True),
        File(name="rollback.sh", text=script_of(rollback_of(plan)), executable=True),
    )


def _manifests(prefix: str, steps: Sequence[Step]) -> Iterator[File]:
    for number, step in enumerate(steps, start=1):
        objects: list[str] = []
        for action in step.actions:
            if isinstance(action, Create):
                objects.append(_yaml(manifest_of(action)))
            elif isinstance(action, Patch):
                heading = "# Part of an object that is there: to be merged into it, null takes a field out.\n"
                objects.append(heading + _yaml({**_head(action.target), **_merged(action)}))
        if objects:
            heading = f"# {number}. {visible(step.title)}\n"
            yield File(name=f"{prefix}{number:02}-{step.id}.yaml", text=heading + "---\n".join(objects))


def _merged(action: Patch) -> dict[str, Any]:
    document = document_of(action.fields)
    metadata = {**_head(action.target)["metadata"], **document.pop("metadata", {})}
    return {"metadata": metadata, **document}


def _head(target: Target) -> dict[str, Any]:
    api_version, kind = _KINDS[target.resource]
    namespace = {"namespace": target.namespace} if target.namespace else {}
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": target.name, **namespace}}


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=False)
