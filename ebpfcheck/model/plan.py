"""What is to be done: ordered steps that switch a cluster to eBPF mode, and those that lead back.

Published as `ebpfcheck.plan/v1`.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from ebpfcheck.model.report import ApiEndpoint, CalicoTarget, Remediation, ReportTarget, Tool, Verdict

PLAN_SCHEMA = "ebpfcheck.plan/v1"

_WORD = re.compile(r"[a-z][a-z-]*")
# A DNS subdomain, as Kubernetes wants it.
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9.]*[a-z0-9])?")

Value: TypeAlias = bool | int | str | tuple[str, ...] | None
"""The value of a field; None where it is not set."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the cluster; `resource` as kubectl takes it, such as daemonsets.apps."""

    resource: str
    name: str
    namespace: str | None = None


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """A field of an object: what it is set to when the plan is made, and what it is to be set to."""

    path: tuple[str, ...]
    before: Value
    after: Value


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field of an object that is made or removed whole."""

    path: tuple[str, ...]
    value: Value


class Patch(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="patch"):
    """Set fields of an object, all in one request."""

    target: Target
    fields: tuple[FieldChange, ...]


class Create(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="create"):
    """Make an object that is not there."""

    target: Target
    api_version: str
    kind: str
    fields: tuple[Field, ...]


class Delete(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="delete"):
    """Remove an object; the rest tells how it is made again."""

    target: Target
    api_version: str
    kind: str
    fields: tuple[Field, ...]


class Restart(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="restart"):
    """Replace the pods of a DaemonSet or Deployment, a few at a time."""

    target: Target
    optional: bool = False
    """Whether it is left out where there is no such object."""


class Manual(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="manual"):
    """Something to do outside of the cluster's API."""

    text: str
    commands: tuple[str, ...] = ()


class Pause(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="pause"):
    """Wait for something that nothing shows."""

    seconds: int
    why: str


Action: TypeAlias = Patch | Create | Delete | Restart | Manual | Pause


class RolledOut(msgspec.Struct, frozen=True, kw_only=True, tag_field="condition", tag="rolled_out"):
    """All pods of a DaemonSet or Deployment are of its present template, and ready."""

    target: Target
    minutes: int


class FieldIs(msgspec.Struct, frozen=True, kw_only=True, tag_field="condition", tag="field_is"):
    """A field has a value within so many minutes; one that is set by somebody else than this plan."""

    target: Target
    path: tuple[str, ...]
    value: Value
    minutes: int


class Reached(msgspec.Struct, frozen=True, kw_only=True, tag_field="condition", tag="reached"):
    """Every node connects to an address from its own network, as short-lived pods of this image tell."""

    host: str
    port: int
    image: str
    namespace: str
    service_account: str | None = None
    """What the pods run as, where that decides whether they may; None for the namespace's own."""
    leave_out: tuple[str, ...] = ()
    """Labels of nodes, each as KEY=VALUE, that run no such pods and no calico-node."""
    minutes: int


class VariableIs(msgspec.Struct, frozen=True, kw_only=True, tag_field="condition", tag="variable_is"):
    """The operator has set a variable of calico-node in its template, or taken it away (None)."""

    target: Target
    name: str
    value: str | None
    minutes: int


class Gone(msgspec.Struct, frozen=True, kw_only=True, tag_field="condition", tag="gone"):
    """No pods of a DaemonSet are wanted any more, or it is not there at all."""

    target: Target
    minutes: int


class Runs(msgspec.Struct, frozen=True, kw_only=True, tag_field="condition", tag="runs"):
    """Pods of a DaemonSet are wanted, and all of them are ready."""

    target: Target
    minutes: int


class FreshNode(msgspec.Struct, frozen=True, kw_only=True, tag_field="condition", tag="fresh_node"):
    """A node that joined or was rebooted since this was first asked has become Ready, and calico-node on it."""

    namespace: str
    """Where calico-node runs."""


class Confirmed(msgspec.Struct, frozen=True, kw_only=True, tag_field="condition", tag="confirmed"):
    """Somebody who has looked says so."""

    question: str


Condition: TypeAlias = RolledOut | FieldIs | VariableIs | Gone | Runs | Reached | FreshNode | Confirmed


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step; its actions are done once all conditions before them hold, and worked if those after them do."""

    id: str
    title: str
    why: str
    before: tuple[Condition, ...] = ()
    actions: tuple[Action, ...] = ()
    commands: tuple[str, ...] = ()
    """The actions, as one would type them."""
    after: tuple[Condition, ...] = ()
    disrupts: str = ""
    """What it does to traffic; empty where it does nothing to it."""
    see: str
    """How to see that it worked."""
    see_commands: tuple[str, ...] = ()
    stop: str
    """When to go no further."""
    undo: str = ""
    """How it is undone; empty where there is nothing to undo."""
    is_safe: bool = True
    """Whether nothing that is known, or not known, speaks against doing it now."""


class Blocker(msgspec.Struct, frozen=True, kw_only=True):
    """Something that speaks against the change: a finding of the report, or what the plan itself lacks (no `id`)."""

    id: str
    message: str
    subjects: tuple[str, ...] = ()
    remediation: Remediation | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The published document; see the JSON Schema that `ebpfcheck schema plan` prints."""

    schema: str = PLAN_SCHEMA
    tool: Tool
    direction: Literal["enable", "rollback"] = "enable"
    made_at: datetime
    snapshot_taken_at: datetime
    target: ReportTarget
    calico: CalicoTarget
    dataplane: str | None
    """What the cluster was configured for when the plan was made; None where that is not known."""
    verdict: Verdict
    """Of what the plan does not mend by itself."""
    exit_code: int
    method: str
    """By what eBPF mode is enabled, in a sentence."""
    api_endpoint: ApiEndpoint | None = None
    """The address by which Calico is to reach the API server; None where the operator finds it, or none is known."""
    api_servers: tuple[str, ...] = ()
    cluster_id: str = ""
    """The uid of the Service default/kubernetes, by which the cluster is known again; empty where it is not known."""
    calico_node: Target | None = None
    image: str | None = None
    """What calico-node runs when the plan is made."""
    blockers: tuple[Blocker, ...] = ()
    """What has to be mended first."""
    undecided: tuple[Blocker, ...] = ()
    """What could not be told, and could be a blocker."""
    cautions: tuple[Blocker, ...] = ()
    """What works, but costs something."""
    forecast: tuple[str, ...] = ()
    """What the change does to traffic."""
    steps: tuple[Step, ...] = ()
    rollback: tuple[Step, ...] = ()
    """The way back to what was when the plan was made, in the order in which it is gone."""
    residue: tuple[str, ...] = ()
    """What stays after the way back, and how it goes."""

    @property
    def is_safe(self) -> bool:
        """Whether nothing speaks against the change."""
        return not self.blockers and not self.undecided

    def misnamed(self) -> str | None:
        """Return a name in it that no API server gives, and that a command could take for something else."""
        for step in (*self.steps, *self.rollback):
            if not _WORD.fullmatch(step.id):
                return step.id
        for target in self._targets():
            for name in (target.resource, target.name, target.namespace):
                if name is not None and not _NAME.fullmatch(name):
                    return name
        return None

    def _targets(self) -> Iterator[Target]:
        if self.calico_node is not None:
            yield self.calico_node
        for step in (*self.steps, *self.rollback):
            for one in (*step.before, *step.actions, *step.after):
                target = getattr(one, "target", None)
                if target is not None:
                    yield target
                namespace = getattr(one, "namespace", None)
                if namespace is not None:
                    yield Target(resource="pods", name="pods", namespace=namespace)
