"""Requests that write Jobs and pods, read logs or run commands: from HTTP to what they mean, and back."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tests.fakeapi.access import RequestInfo
from tests.fakeapi.answer import Answer, Reply, Upgrade
from tests.fakeapi.catalog import Body, Resource, field_predicate, label_predicate, typed
from tests.fakeapi.exec import PROTOCOLS, V5, ExecRequest, Session, internal_error, no_container
from tests.fakeapi.logs import PORT, container_of, log
from tests.fakeapi.pods import Pods
from tests.fakeapi.protobuf import MAGIC, object_of
from tests.fakeapi.status import StatusError
from tests.fakeapi.story import Object

POLICIES = ("Foreground", "Background", "Orphan")
ORPHANS = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


@dataclass(frozen=True)
class DeleteOptions:
    """How something is to be deleted, by the query or the body."""

    policy: str
    grace: int | None
    dry_run: bool
    uid: str
    version: str

    @classmethod
    def parse(cls, query: Mapping[str, str], body: bytes) -> "DeleteOptions":
        sent = document_of(body, "DeleteOptions") if body.strip() else {}
        policy = query.get("propagationPolicy") or sent.get("propagationPolicy") or ""
        if policy and policy not in POLICIES:
            supported = ", ".join(f'"{name}"' for name in (*POLICIES, "nil"))
            message = f'Unsupported value: "{policy}": supported values: {supported}'
            cause = ("propagationPolicy", "FieldValueNotSupported", message)
            raise StatusError.invalid("DeleteOptions", "meta.k8s.io", "", [cause])
        grace = query.get("gracePeriodSeconds") or sent.get("gracePeriodSeconds")
        asked = [query["dryRun"]] if "dryRun" in query else sent.get("dryRun") or []
        preconditions = sent.get("preconditions") or {}
        uid, version = preconditions.get("uid") or "", preconditions.get("resourceVersion") or ""
        return cls(policy, None if grace is None else int(grace), dry_run_of(asked, "DeleteOptions"), uid, version)


def dry_run_of(asked: list[str], options: str) -> bool:
    """Whether nothing is to be written; a StatusError if it was asked for in another way than All."""
    wrong = [value for value in asked if value != "All"]
    if wrong:
        message = f'Unsupported value: {msgspec.json.encode(wrong).decode()}: supported values: "All"'
        raise StatusError.invalid(options, "meta.k8s.io", "", [("dryRun", "FieldValueNotSupported", message)])
    return bool(asked)


def document_of(body: bytes, kind: str) -> Any:
    """What is in a body, which should be of that kind."""
    try:
        return object_of(body) if body.startswith(MAGIC) else msgspec.json.decode(body)
    except KeyError:
        raise StatusError(415) from None
    except ValueError as error:
        unrecognized = f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind"
        raise StatusError(400, f"{unrecognized}; json parse error: {error}") from None


class Workloads:
    """The Jobs and pods of a server as its clients reach them."""

    def __init__(self, pods: Pods, minor: int) -> None:
        """MINOR of the version of Kubernetes decides what a client must be allowed to do to run a command."""
        self._pods = pods
        self.minor = minor

    def write(self, info: RequestInfo, resource: Resource, body: bytes, manager: str) -> Answer | None:
        """The answer to a request that writes; None if it is not one of these."""
        if resource not in (self._pods.jobs, self._pods.pods):
            return None
        match info.verb:
            case "create" if resource == self._pods.jobs:
                return self._create(info, body, manager)
            case "delete":
                return self._delete(info, resource, body)
            case "deletecollection":
                return self._delete_collection(info, resource, body)
        return None

    def _create(self, info: RequestInfo, body: bytes, manager: str) -> Answer:
        query = dict(info.query)
        dry_run = dry_run_of([value for key, value in info.query if key == "dryRun"], "CreateOptions")
        manager = query.get("fieldManager") or manager
        job, warnings = self._pods.create_job(info.namespace, document_of(body, "Job"), manager, dry_run)
        return Answer.json(typed(self._pods.jobs, job), 201, _warning(*warnings))

    def _delete(self, info: RequestInfo, resource: Resource, body: bytes) -> Answer:
        options = DeleteOptions.parse(dict(info.query), body)
        jobs = resource == self._pods.jobs
        warnings = _warning(ORPHANS) if jobs and not options.policy else {}
        with self._pods.catalog.changed:
            try:
                item = self._pods.catalog.find(resource, info.namespace, info.name)
                check_preconditions(resource, item, options)
            except StatusError as error:
                error.headers = warnings
                raise
            if not jobs:
                return Answer.json(typed(resource, self._pods.delete_pod(item, options.grace, options.dry_run)))
            left = self._pods.delete_job(item, options.policy, options.dry_run)
        if left is not None:
            return Answer.json(typed(resource, left), headers=warnings)
        details = {**resource.details(info.name), "uid": item["metadata"].get("uid")}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return Answer.json(status, headers=warnings)

    def _delete_collection(self, info: RequestInfo, resource: Resource, body: bytes) -> Answer:
        query = dict(info.query)
        options = DeleteOptions.parse(query, body)
        by_label = label_predicate(query.get("labelSelector", ""))
        by_field = field_predicate(resource, query.get("fieldSelector", ""))
        with self._pods.catalog.changed:
            chosen = [
                item
                for item in self._pods.catalog.all(resource)
                if item["metadata"].get("namespace") == info.namespace and by_label(item) and by_field(item)
            ]
            for item in chosen:
                if resource == self._pods.jobs:
                    self._pods.delete_job(item, options.policy, options.dry_run)
                else:
                    self._pods.delete_pod(item, options.grace, options.dry_run)
            metadata = {"resourceVersion": str(self._pods.catalog.resource_version)}
        items = [{key: value for key, value in item.items() if key not in ("apiVersion", "kind")} for item in chosen]
        head = {"kind": f"{resource.kind}List", "apiVersion": resource.group_version, "metadata": metadata}
        warnings = _warning(ORPHANS) if resource == self._pods.jobs and not options.policy else {}
        return Answer.json({**head, "items": items}, headers=warnings)

    def subresource(self, info: RequestInfo, headers: Mapping[str, str], may_create: bool) -> Reply | None:
        """The answer to a request for a log or a command; None if there is nothing of that name."""
        if (info.subresource, info.verb) == ("log", "get"):
            return log(self._pods, self._pod(info), dict(info.query))
        if (info.subresource, info.verb) == ("proxy", "get") and info.path.endswith("/proxy/metrics"):
            return self._pods.story_logs.metrics(self._pod(replace(info, name=info.name.partition(":")[0])))
        if info.subresource == "exec" and info.verb in ("get", "create"):
            return self._exec(info, headers, may_create)
        return None

    def _pod(self, info: RequestInfo) -> Object:
        return self._pods.catalog.find(self._pods.pods, info.namespace, info.name)

    def _exec(self, info: RequestInfo, headers: Mapping[str, str], may_create: bool) -> Reply:
        # Seen on a 1.36 API server: a websocket is opened by GET, so it needs `get` on pods/exec, and from 1.35 on
        # `create`, too, which is refused without a reason. A POST is a `create`, and cannot become a websocket.
        if info.verb == "get" and self.minor >= 35 and not may_create:
            details = {"name": info.name, "kind": "pods"}
            raise StatusError(403, f'pods "{info.name}" is forbidden: ', details=details)
        pod, query = self._pod(info), dict(info.query)
        container = container_of(pod, query.get("container", ""))
        if "nodeName" not in pod["spec"]:
            raise StatusError(400, f"pod {info.name} does not have a host assigned")
        if headers.get("upgrade", "").lower() != "websocket":
            raise StatusError(400, "Upgrade request required")
        if info.verb != "get":
            return Answer.text(405, "bad method")
        offered = [word.strip() for word in headers.get("sec-websocket-protocol", "").split(",")]
        protocol = next((known for known in PROTOCOLS if known in offered), None)
        if protocol is None:
            return Answer(403, Body(b""))
        command = [value for key, value in info.query if key == "command"]
        if not command:
            raise StatusError(400, "you must specify at least one command for the container")
        stdin, stdout, stderr = (query.get(name) in ("1", "true", "True") for name in ("stdin", "stdout", "stderr"))
        request = ExecRequest(command, stdin, stdout, stderr, protocol, headers.get("sec-websocket-key", ""))
        return self._session(pod, container, request)

    def _session(self, pod: Object, container: str, request: ExecRequest) -> Reply:
        life, kept = self._pods.exec_life(pod, container), self._pods.kept(pod)
        if life.answer is not None:
            status, text = life.answer
            if status in (403, 404, 500):
                return Answer.failure(StatusError(status, text))
            return Answer.text(status, text)
        trouble = ""
        if life.gone or (kept is not None and pod["status"]["phase"] != "Running"):
            trouble = no_container(container)
        lost = kept is not None and kept.lost
        if request.protocol != V5:
            # The kubelet's own answer, or the API server's that could not reach it.
            if kept is not None and lost:
                message = f"error dialing backend: dial tcp {kept.address}:{PORT}: i/o timeout"
                raise StatusError(500, message, reason="")
            if trouble:
                return Answer.text(500, f"{trouble}\n")
        elif kept is not None and lost:
            metadata = pod["metadata"]
            url = f"https://{kept.address}:{PORT}/exec/{metadata['namespace']}/{metadata['name']}/{container}"
            trouble = f'error sending request: Post "{url}": dial tcp {kept.address}:{PORT}: i/o timeout'
        elif trouble:
            trouble = f"unable to upgrade connection: {trouble}"
        failure = internal_error(trouble) if trouble else None
        return Upgrade(Session(request, life, failure).serve)


def check_preconditions(resource: Resource, item: Object, options: DeleteOptions) -> None:
    """Refuse to delete an object that is not the one that is meant, or no longer as it was."""
    name, known = item["metadata"]["name"], item["metadata"].get("uid")
    version, trouble = item["metadata"].get("resourceVersion"), ""
    if options.uid and options.uid != known:
        trouble = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({known}). The object might "
            "have been deleted and then recreated"
        )
    elif options.version and options.version != version:
        trouble = (
            f"the ResourceVersion in the precondition ({options.version}) does not match the ResourceVersion in record "
            f"({version}). The object might have been modified"
        )
    if trouble:
        kind = f"{resource.kind}.{resource.group}".rstrip(".")
        message = f'Operation cannot be fulfilled on {kind} "{name}": {trouble}'
        details = {**resource.details(name), "kind": resource.kind}
        raise StatusError(409, message, details=details)


def _warning(*texts: str) -> dict[str, str]:
    """The header that warns, as one value: clients split it at the commas between quotes."""
    quoted = [f"299 - {msgspec.json.encode(text).decode()}" for text in dict.fromkeys(texts)]
    return {"Warning": ", ".join(quoted)} if quoted else {}
