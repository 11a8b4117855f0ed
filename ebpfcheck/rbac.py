"""The role that `ebpfcheck cluster` needs."""

from typing import Any

import yaml

from ebpfcheck.collect.rights import PATHS, RULES

_ROLE = "ebpfcheck"


def role_manifests(service_account: str) -> str:
    """Return, as YAML, the ClusterRole that reading takes and its binding to a service account (NAMESPACE:NAME)."""
    namespace, _, name = service_account.partition(":")
    rules: list[dict[str, Any]] = [
        {
            "apiGroups": list(rule.groups),
            "resources": [rule.resource],
            **({"resourceNames": list(rule.names)} if rule.names else {}),
            "verbs": [rule.verb],
        }
        for rule in RULES
    ]
    rules.append({"nonResourceURLs": list(PATHS), "verbs": ["get"]})
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": _ROLE},
        "rules": rules,
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": _ROLE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    return yaml.safe_dump_all([role, binding], sort_keys=False)
