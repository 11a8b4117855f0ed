"""Who may do what: requests as authorizers see them, RBAC rules, and the answers to access reviews."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.fakeapi.catalog import FIELD, VERBS, Resource
from tests.fakeapi.status import StatusError
from tests.fakeapi.story import Object

# A PolicyRule of RBAC. With a `namespace` (which RBAC keeps in the Role) it holds in that namespace only.
Rule = dict[str, Any]

EVERYTHING: Sequence[Rule] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)
PUBLIC_PATHS = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
PUBLIC: Sequence[Rule] = ({"verbs": ["get"], "nonResourceURLs": PUBLIC_PATHS},)
# What system:basic-user and system:discovery grant to everybody who has proved who they are.
AUTHENTICATED: Sequence[Rule] = (
    {
        "verbs": ["create"],
        "apiGroups": ["authorization.k8s.io"],
        "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    },
    {
        "verbs": ["get"],
        "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *PUBLIC_PATHS],
    },
)


@dataclass(frozen=True)
class RequestInfo:
    """What a request asks for; `resource` is "" if it is for a path that holds no objects."""

    verb: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @classmethod
    def parse(cls, method: str, target: str) -> "RequestInfo":
        """Read the method and the path with its query as the API server does."""
        split = urlsplit(target)
        query = tuple(parse_qsl(split.query, keep_blank_values=True))
        parts = split.path.strip("/").split("/")
        prefix = {"api": 2, "apis": 3}.get(parts[0], len(parts))
        if len(parts) <= prefix:
            return cls(method.lower(), split.path, query)
        group, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2])
        rest, namespace = parts[prefix:], ""
        if rest[0] == "namespaces" and len(rest) > 1:
            namespace = rest[1]
            rest = rest[2:] if len(rest) > 2 and rest[2] not in ("status", "finalize") else rest
        resource, name, subresource = (*rest, "", "")[:3]
        options = dict(query)
        verb = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(method, "")
        if not name and verb in ("get", "delete"):
            watch = options.get("watch", "").lower() in ("1", "true")
            verb = "deletecollection" if verb == "delete" else "watch" if watch else "list"
            matches = map(FIELD.fullmatch, options.get("fieldSelector", "").split(","))
            name = next((m["value"] for m in matches if m and m["key"] == "metadata.name" and m["op"] != "!="), "")
        return cls(verb, split.path, query, group, version, resource, subresource, namespace, name)

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}".rstrip("/")

    def forbidden(self, user: str) -> StatusError:
        """The refusal of this request, in the words of the RBAC authorizer."""
        if not self.resource:
            return StatusError(403, f'forbidden: User "{user}" cannot {self.verb} path "{self.path}"', details={})
        asked = Resource(self.group, self.version, "", self.resource, bool(self.namespace))
        subject = f'{asked.qualified} "{self.name}"' if self.name else asked.qualified
        scope = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        message = (
            f'{subject} is forbidden: User "{user}" cannot {self.verb} resource "{self.full_resource}" '
            f'in API group "{self.group}" {scope}'
        )
        return StatusError(403, message, details=asked.details(self.name))


@dataclass(frozen=True)
class Access:
    """The rules of one user, and the pairs of a verb and a resource, group/resource or path denied on top of them."""

    rules: Sequence[Rule]
    forbid: Sequence[tuple[str, str]] = ()

    def permits(self, info: RequestInfo) -> bool:
        """Whether a request may be made."""
        names = {info.full_resource, f"{info.group}/{info.full_resource}"} if info.resource else {info.path}
        return not self._forbidden(info.verb, names) and any(_grants(rule, info) for rule in self.rules)

    def _forbidden(self, verb: str, names: Iterable[str]) -> bool:
        return any(denied in (verb, "*") and name in (*names, "*") for denied, name in self.forbid)

    def rules_review(self, namespace: str, resources: Iterable[Resource]) -> Object:
        """The status of a SelfSubjectRulesReview."""
        here = [rule for rule in self.rules if rule.get("namespace", namespace) == namespace]
        granted = [{k: v for k, v in rule.items() if k != "namespace"} for rule in here if "resources" in rule]
        if self.forbid:
            granted = [part for rule in granted for part in self._split(rule, resources)]
        paths = [
            {**rule, "nonResourceURLs": [u for u in rule["nonResourceURLs"] if not self._forbidden("get", {u})]}
            for rule in here
            if "nonResourceURLs" in rule
        ]
        return {"resourceRules": granted, "nonResourceRules": paths, "incomplete": False}

    def _split(self, rule: Rule, resources: Iterable[Resource]) -> Iterable[Rule]:
        # RBAC cannot take anything away, so what is left is told resource by resource.
        for known in resources:
            if _has(rule["apiGroups"], known.group) and _has(rule["resources"], known.name):
                names = {known.name, f"{known.group}/{known.name}"}
                verbs = [v for v in VERBS if _has(rule["verbs"], v) and not self._forbidden(v, names)]
                if verbs:
                    yield {**rule, "verbs": verbs, "apiGroups": [known.group], "resources": [known.name]}

    def access_review(self, spec: Object) -> Object:
        """The status of a SelfSubjectAccessReview."""
        asked = spec.get("resourceAttributes")
        if asked is None:
            path = spec["nonResourceAttributes"]
            info = RequestInfo(path.get("verb", ""), path.get("path", ""))
        else:
            fields = ("verb", "group", "version", "resource", "subresource", "namespace", "name")
            info = RequestInfo(path="", **{field: asked.get(field, "") for field in fields})
        allowed = self.permits(info)
        return {"allowed": True, "reason": "RBAC: allowed by ClusterRoleBinding"} if allowed else {"allowed": False}


def _has(values: Sequence[str], value: str) -> bool:
    return "*" in values or value in values


def _grants(rule: Rule, info: RequestInfo) -> bool:
    if not _has(rule["verbs"], info.verb):
        return False
    if not info.resource:
        urls = rule.get("nonResourceURLs", ())
        return any(url == info.path or (url.endswith("*") and info.path.startswith(url[:-1])) for url in urls)
    resources = rule.get("resources", ())
    return (
        _has(rule.get("apiGroups", ()), info.group)
        and (_has(resources, info.full_resource) or (bool(info.subresource) and f"*/{info.subresource}" in resources))
        and (not rule.get("resourceNames") or info.name in rule["resourceNames"])
        and rule.get("namespace", info.namespace) == info.namespace
    )
