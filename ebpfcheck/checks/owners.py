"""Who looks after the objects that eBPF mode is configured by, and puts back what is changed of them."""

from collections.abc import Iterator

import msgspec

from ebpfcheck.checks.kube_proxy_state import signs_of
from ebpfcheck.model.check import Given, Outcome, check, not_applicable, optional, passed, unseen
from ebpfcheck.model.cluster import ClusterFacts, Marks
from ebpfcheck.model.facts import Known, Unknown
from ebpfcheck.model.report import Severity
from ebpfcheck.model.text import excerpt

_INSTALLATION = optional(ClusterFacts.installation)
_FELIX = optional(ClusterFacts.felix_default)
_OVERRIDES = optional(ClusterFacts.endpoint_overrides)
_NODE = optional(ClusterFacts.calico_node)

_OF_OPERATOR = "Installation"
_MANAGED_BY = "app.kubernetes.io/managed-by"


class _Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A mark that tells of an owner; a generic one counts where nothing tells more."""

    owner: str
    shown: str
    is_generic: bool = False


@check(
    id="cluster.config-owner",
    title="Who looks after Calico's configuration",
    category="cluster",
    scope="cluster",
    severity=Severity.NOTE,
    needs=(_INSTALLATION, _FELIX, _OVERRIDES, _NODE),
)
def config_owner(given: Given) -> Outcome:
    """Whether somebody puts back what is changed of the objects that eBPF mode is configured by."""
    objects = tuple(_objects(given))
    owned = [(what, marks) for what, one in objects if (marks := _telling(given, one))]
    if owned:
        shown = "; ".join(f"{what} ({', '.join(mark.shown for mark in marks)})" for what, marks in owned)
        words = "; ".join(
            f"{what} is looked after by {' and '.join(dict.fromkeys(mark.owner for mark in marks))} "
            f"({', '.join(mark.shown for mark in marks)})"
            for what, marks in owned
        )
        return passed(
            "owned",
            f"{words}. What is changed of it in the cluster may be put back: make the changes that are needed for eBPF "
            "mode where it comes from.",
            observed=shown,
            required="changes are made where the objects come from",
            note=True,
        )
    facts = (given[_INSTALLATION], given[_FELIX], given[_OVERRIDES], given[_NODE])
    hidden = next((fact for fact in facts if isinstance(fact, Unknown)), None)
    if hidden is not None:
        return unseen("unseen", "Who looks after Calico's configuration could not be seen", hidden)
    if not objects:
        return not_applicable("no-calico", "There is nothing of Calico's configuration yet.")
    return passed("nobody", "Nothing shows that anybody puts back what is changed of Calico's configuration.")


def _objects(given: Given) -> Iterator[tuple[str, Marks]]:
    """Return the objects that were seen, by what they are called."""
    installation, felix, overrides, node = given[_INSTALLATION], given[_FELIX], given[_OVERRIDES], given[_NODE]
    if isinstance(installation, Known):
        yield "Installation default", installation.value.marks
    if isinstance(felix, Known):
        yield "FelixConfiguration default", felix.value.marks
    for one in overrides.value if isinstance(overrides, Known) else ():
        yield f"ConfigMap {excerpt(f'{one.namespace}/{one.name}', 120)}", one.marks
    if isinstance(node, Known) and given.install != "operator" and _OF_OPERATOR not in node.value.marks.owners:
        yield f"DaemonSet {excerpt(f'{node.value.namespace}/{node.value.name}', 120)}", node.value.marks


def _telling(given: Given, marks: Marks) -> tuple[_Mark, ...]:
    """Return the marks of owners, those that others set too only where there are no better ones."""
    found = tuple(_marks(given, marks))
    return tuple(mark for mark in found if not mark.is_generic) or found


def _marks(given: Given, marks: Marks) -> Iterator[_Mark]:
    rules = given.release.health
    by_others = tuple(
        (key, value) for key, value in marks.labels if not (key == _MANAGED_BY and value in rules.config_owner.ignored)
    )
    for owner in given.release.kube_proxy.owner:
        for sign in signs_of(owner, msgspec.structs.replace(marks, labels=by_others)):
            yield _Mark(owner=owner.name, shown=sign, is_generic=owner.generic)
    for rule in rules.config_manager:
        if rule.manager in marks.managers:
            yield _Mark(owner=rule.name, shown=f"field manager {rule.manager}")
    for kind in marks.owners:
        yield _Mark(owner=f"the {excerpt(kind, 60)} that owns it", shown=f"owner {excerpt(kind, 60)}")
