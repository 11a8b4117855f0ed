"""The roles that `ebpfcheck cluster` and `ebpfcheck verify` need."""

from collections.abc import Iterable
from typing import Any

import yaml

from ebpfcheck.collect.rights import (
    EXEC_NAMESPACES,
    EXEC_RULES,
    LOG_RULES,
    METRICS_RULES,
    PATHS,
    POD_RULES,
    PROBE_NAMESPACE,
    RULES,
    Rule,
)

_ROLE = "ebpfcheck"
_PROBE_ROLE = "ebpfcheck-probe"
_VERIFY_ROLE = "ebpfcheck-verify"
_GROUP = "rbac.authorization.k8s.io"


def role_manifests(
    service_account: str,
    probe: str = "none",
    probe_namespace: str | None = None,
    *,
    verify: bool = False,
    metrics: bool = False,
) -> str:
    """Return, as YAML, the roles that a service account (NAMESPACE:NAME) needs, each followed by its binding.

    That is the ClusterRole that reading takes and, to verify (with Felix's metrics) and for a probe (none, exec, pod),
    a Role in each of the namespaces that these concern.
    """
    reading = [*_policy(RULES), {"nonResourceURLs": list(PATHS), "verbs": ["get"]}]
    manifests = _bound(service_account, _ROLE, reading)
    if verify:
        rules = (*LOG_RULES, *(METRICS_RULES if metrics else ()))
        for namespace in EXEC_NAMESPACES:
            manifests += _bound(service_account, _VERIFY_ROLE, _policy(rules), namespace)
    if probe == "exec":
        for namespace in EXEC_NAMESPACES:
            manifests += _bound(service_account, _PROBE_ROLE, _policy(EXEC_RULES), namespace)
    elif probe == "pod":
        manifests += _bound(service_account, _PROBE_ROLE, _policy(POD_RULES), probe_namespace or PROBE_NAMESPACE)
    return yaml.safe_dump_all(manifests, sort_keys=False)


def _policy(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    return [
        {
            "apiGroups": list(rule.groups),
            "resources": [rule.resource],
            **({"resourceNames": list(rule.names)} if rule.names else {}),
            "verbs": [rule.verb],
        }
        for rule in rules
    ]


def _bound(
    service_account: str, name: str, rules: list[dict[str, Any]], namespace: str | None = None
) -> list[dict[str, Any]]:
    """Return a role of a namespace, or (None) of the cluster, and its binding."""
    account_namespace, _, account = service_account.partition(":")
    kind = "Role" if namespace else "ClusterRole"
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return [
        {"apiVersion": f"{_GROUP}/v1", "kind": kind, "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": _GROUP, "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": account_namespace}],
        },
    ]
