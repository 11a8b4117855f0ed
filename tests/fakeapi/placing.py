"""Which node a pod goes to, as far as its nodeSelector and required node affinity say."""

from collections.abc import Sequence

from tests.fakeapi.story import Object


def node_for(spec: Object, nodes: Sequence[Object]) -> Object | None:
    """The first node that the pod may go to; None if there is none."""
    return next((node for node in nodes if fits(spec, node)), None)


def fits(spec: Object, node: Object) -> bool:
    """Whether a node has the labels that the pod asks for."""
    labels = node["metadata"].get("labels", {})
    if any(labels.get(key) != value for key, value in spec.get("nodeSelector", {}).items()):
        return False
    affinity = spec.get("affinity", {}).get("nodeAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms")
    return terms is None or any(_meets(term, node) for term in terms)


def _meets(term: Object, node: Object) -> bool:
    labels, fields = node["metadata"].get("labels", {}), {"metadata.name": node["metadata"]["name"]}
    wanted = [(labels, one) for one in term.get("matchExpressions", ())]
    wanted += [(fields, one) for one in term.get("matchFields", ())]
    return bool(wanted) and all(_holds(values, requirement) for values, requirement in wanted)


def _holds(values: dict[str, str], requirement: Object) -> bool:
    key, listed = requirement["key"], requirement.get("values", ())
    match requirement["operator"]:
        case "In":
            return key in values and values[key] in listed
        case "NotIn":
            return values.get(key) not in listed
        case "Exists":
            return key in values
        case "DoesNotExist":
            return key not in values
        case operator:
            raise ValueError(f"no such operator here: {operator}")


def tolerates(tolerations: Sequence[Object], node: Object) -> bool:
    """Whether pods with these tolerations may be placed on a node."""
    taints = node.get("spec", {}).get("taints") or ()
    return all(
        taint["effect"] == "PreferNoSchedule" or any(_covers(one, taint) for one in tolerations) for taint in taints
    )


def _covers(toleration: Object, taint: Object) -> bool:
    exists = toleration.get("operator") == "Exists"
    return (
        toleration.get("effect") in (None, "", taint["effect"])
        and (toleration.get("key") == taint["key"] or (exists and not toleration.get("key")))
        and (exists or toleration.get("value", "") == taint.get("value", ""))
    )
