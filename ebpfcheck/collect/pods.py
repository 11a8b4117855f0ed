"""The road to a node by a short-lived Job that has the node's root directory mounted, and the end of such Jobs."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from ebpfcheck.collect import wire
from ebpfcheck.collect.apiclient import ApiClient, ApiError, ListDecoders, Listing, read_list
from ebpfcheck.collect.framing import SURVEY_LIMIT
from ebpfcheck.collect.login import Login
from ebpfcheck.collect.transport import (
    NotReachedError,
    ObjectsTrial,
    Survey,
    Trial,
    cut_words,
    survey_arguments,
    survey_text,
)
from ebpfcheck.errors import CannotRunError
from ebpfcheck.model.facts import Endpoint, Reason, SourceKind
from ebpfcheck.model.text import excerpt

MANAGER = "app.kubernetes.io/managed-by=ebpfcheck,app.kubernetes.io/component=probe"
"""The label selector of all that is made here."""
_RUN_LABEL = "ebpfcheck.io/run"
_NODE_ANNOTATION = "ebpfcheck.io/node"
_CONTAINER = "survey"
# What API servers before 1.30 read, which do not know the field.
_APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io"
_HOST = "/host"
# What the survey needs beside being root: the namespaces of process 1, directories of others, tables of the firewall,
# and the list of BPF programs, which the kernel gives to CAP_SYS_ADMIN alone.
_CAPABILITIES = ("DAC_READ_SEARCH", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE")
# What a trial needs beside those: to make a group below the root of cgroup2, which its owner may not write to, and to
# raise the limit of locked memory, against which older kernels count BPF maps. SYS_ADMIN includes BPF and PERFMON, of
# which older container runtimes know not even the names.
_TRIAL_CAPABILITIES = ("DAC_OVERRIDE", "SYS_RESOURCE")
# How long the cluster keeps a Job beyond the time that the survey may take, in seconds, and one that has ended.
_GRACE, _TTL = 30, 120
# How long the controller may take to make a pod for a Job, in seconds.
_POD_PATIENCE = 20.0
# How long a Job that is being created is waited for at the end, so that it can be deleted, in seconds.
_CREATE_PATIENCE = 12.0
# How often a log is read again whose end is missing.
_LOG_TRIES = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 2.0
_JOBS = "/apis/batch/v1/namespaces/{}/jobs"
_PODS = "/api/v1/namespaces/{}/pods"
_BACKGROUND = {"propagationPolicy": "Background"}
# What a container waits for and will not get by waiting.
_HOPELESS = (
    "CreateContainerConfigError", "CreateContainerError", "ErrImageNeverPull", "ErrImagePull", "ImageInspectError",
    "ImagePullBackOff", "InvalidImageName", "RunContainerError",
)  # fmt: skip


class Jobs:
    """The Jobs of one run in one namespace; leaving the `with` block deletes what is left of them."""

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        image: str,
        endpoints: Sequence[Endpoint],
        on_left: Callable[[str], None],
        trial: Trial = "none",
    ) -> None:
        """Keep what Jobs are made by; `on_left` is told where some may be left."""
        self._on_left = on_left
        self.trial: Trial = trial
        self._client = client
        self.namespace = namespace
        self._image = image
        self._endpoints = endpoints
        self._run = os.urandom(5).hex()
        self._numbers = iter(range(1, 1_000_000))
        self._lock = threading.Lock()
        self._has_made = self._is_over = False
        self._creating = 0
        self.warnings: tuple[str, ...] = ()
        """What the server had to say about the Jobs, such as what PodSecurity thinks of their pods."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_over = True
        end = time.monotonic() + _CREATE_PATIENCE
        while self._creating and time.monotonic() < end:
            time.sleep(_FIRST_PAUSE)
        if self._creating:
            self._tell_left("one was still being created")
        if self._has_made:
            # One that was created while its answer got lost, or whose deletion was interrupted.
            selector = f"{MANAGER},{_RUN_LABEL}={self._run}"
            try:
                self._client.delete(_JOBS.format(self.namespace), {**_BACKGROUND, "labelSelector": selector})
            except ApiError as failure:
                self._tell_left(failure.words)

    def _tell_left(self, why: str) -> None:
        self._on_left(
            f"Jobs may be left in {self.namespace} ({why}); the cluster removes them by itself, or `ebpfcheck cleanup` "
            "does"
        )

    def rehearse(self, timeout: float) -> None:
        """Have the server admit a Job without making it; NotReachedError in its words if it refuses."""
        _, body = self._manifest("rehearsal", "rehearsal", timeout)
        try:
            self.warnings = self._client.create(_JOBS.format(self.namespace), body, {"dryRun": "All"})
        except ApiError as error:
            # A webhook that does more than to admit answers no rehearsal; it may still admit the Job itself.
            if "does not support dry run" not in error.words:
                raise _refused(error, self.namespace) from error

    def create(self, node: str, nonce: str, timeout: float) -> str:
        """Create the Job for a node and return its name; NotReachedError in the server's words if it refuses."""
        name, body = self._manifest(node, nonce, timeout)
        with self._lock:
            if self._is_over:
                raise NotReachedError(Reason.NOT_COLLECTED, "it was ended before its Job was made")
            self._has_made = True
            self._creating += 1
        try:
            self._client.create(_JOBS.format(self.namespace), body)
        except ApiError as error:
            # The name is nobody else's: the first answer got lost.
            if error.status != 409 or "already exists" not in error.words:
                raise _refused(error, self.namespace) from error
        finally:
            with self._lock:
                self._creating -= 1
        return name

    def delete(self, name: str) -> None:
        """Delete a Job and its pod."""
        self._client.delete(f"{_JOBS.format(self.namespace)}/{name}", _BACKGROUND)

    def pod(self, job: str) -> wire.ProbedPod | None:
        """Return the pod of a Job, None while there is none."""
        listing: Listing[wire.ProbedPod] = Listing()
        query = {"labelSelector": f"job-name={job}"}
        read_list(self._client, _PODS.format(self.namespace), query, _POD_LIST, lambda pod: pod, listing)
        if listing.error is not None:
            raise listing.error
        return listing.items[0] if listing.items else None

    def log(self, pod: str) -> bytes:
        """Return what the survey in a pod printed."""
        query = {"container": _CONTAINER, "limitBytes": str(SURVEY_LIMIT)}
        return self._client.get(f"{_PODS.format(self.namespace)}/{pod}/log", query)

    def _manifest(self, node: str, nonce: str, timeout: float) -> tuple[str, bytes]:
        with self._lock:
            name = f"ebpfcheck-{self._run}-{next(self._numbers)}"
        arguments = survey_arguments(nonce, self._endpoints, _HOST)
        job = job_manifest(name, node, self._run, self._image, arguments, int(timeout) + _GRACE, self.trial)
        return name, msgspec.json.encode(job)


_POD_LIST = ListDecoders(wire.ProbedPod)


def job_manifest(
    name: str, node: str, run: str, image: str, arguments: Sequence[str], deadline: int, trial: Trial = "none"
) -> dict[str, Any]:
    """Return the Job that surveys one node, to last `deadline` seconds at most."""
    capabilities = _CAPABILITIES if trial == "none" else (*_CAPABILITIES, *_TRIAL_CAPABILITIES)
    labels = {
        "app.kubernetes.io/name": "ebpfcheck",
        "app.kubernetes.io/component": "probe",
        "app.kubernetes.io/managed-by": "ebpfcheck",
        _RUN_LABEL: run,
    }
    metadata: dict[str, Any] = {"labels": labels, "annotations": {_NODE_ANNOTATION: node}}
    is_node = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    container: dict[str, Any] = {
        "name": _CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", survey_text(trial, deadline - _GRACE), "sh", *arguments],
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"cpu": "500m", "memory": "128Mi"},
        },
        "securityContext": {
            "runAsUser": 0,
            "runAsNonRoot": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": list(capabilities)},
            "seccompProfile": {"type": "RuntimeDefault"},
            # Where SELinux enforces, an ordinary container may not read the node's files; elsewhere it means nothing.
            "seLinuxOptions": {"type": "spc_t"},
        },
        "volumeMounts": [
            {"name": "host", "mountPath": _HOST, "readOnly": True, "recursiveReadOnly": "IfPossible"},
        ],
    }
    if trial != "none":
        # The profile of container runtimes forbids mounts, of cgroup2 or a bpffs, even where the capability is there.
        container["securityContext"]["appArmorProfile"] = {"type": "Unconfined"}
        metadata["annotations"][f"{_APPARMOR_ANNOTATION}/{_CONTAINER}"] = "unconfined"
    if isinstance(trial, ObjectsTrial):
        # As much as two families' maps take at their full sizes, and the log of a refusal; a verifier keeps a CPU busy.
        container["resources"] = {
            "requests": {"cpu": "100m", "memory": "64Mi"},
            "limits": {"cpu": "1", "memory": "1536Mi"},
        }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, **metadata},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": deadline,
            "ttlSecondsAfterFinished": _TTL,
            "template": {
                "metadata": metadata,
                "spec": {
                    "affinity": {
                        "nodeAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [{"matchFields": is_node}]
                            }
                        }
                    },
                    "tolerations": [{"operator": "Exists"}],
                    "hostPID": True,
                    "hostNetwork": True,
                    # The node's own resolver.
                    "dnsPolicy": "Default",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 1,
                    "containers": [container],
                    "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
                },
            },
        },
    }


def _refused(error: ApiError, namespace: str) -> NotReachedError:
    words = f"the Job was refused in {namespace}: {error.words}"
    if error.status == 403:
        words += " (another --probe-namespace may admit it; `ebpfcheck rbac --probe pod` prints the rights)"
    return NotReachedError(Reason.FORBIDDEN if error.status in (400, 403, 422) else error.reason, words)


class PodTransport:
    """The road to one node by a Job."""

    kind = SourceKind.POD

    def __init__(self, jobs: Jobs, node: str) -> None:
        self._jobs = jobs
        self._node = node

    def start(self, timeout: float) -> "PodSurvey":
        """Create the Job, to last `timeout` seconds at most; NotReachedError in the server's words if it refuses."""
        nonce = os.urandom(16).hex()
        deadline = time.monotonic() + timeout
        return PodSurvey(self._jobs, self._jobs.create(self._node, nonce, timeout), nonce, timeout, deadline)


class PodSurvey:
    """The survey running in the pod of a Job; leaving the `with` block deletes both."""

    def __init__(self, jobs: Jobs, job: str, nonce: str, timeout: float, deadline: float) -> None:
        self._jobs = jobs
        self._job = job
        self._nonce = nonce
        self._timeout = timeout
        self._deadline = deadline
        self._pod_deadline = time.monotonic() + _POD_PATIENCE
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._jobs.delete(self._job)
        except ApiError:
            # The end of the run tries once more, and in the end the cluster does.
            return

    def end(self) -> None:
        """End it now, from any thread."""
        self._ending.set()

    def finish(self) -> Survey:
        """Wait for the pod's end and return its log; NotReachedError where there is none, in the cluster's words."""
        try:
            pod, trouble = self._ended_pod()
            data = self._log(pod, is_well=trouble is None)
        except ApiError as error:
            raise NotReachedError(error.reason, f"the pod on it: {error.words}") from error
        mark = f"ebpfcheck-{self._nonce}".encode()
        if mark + b" done" in data:
            return Survey(data=data, nonce=self._nonce, trial=self._jobs.trial)
        if mark + b" begin" in data:
            detail = trouble.words if trouble else "the end of the pod's log is missing"
            cut = trouble.reason if trouble else Reason.TRUNCATED
            return Survey(data=data, nonce=self._nonce, cut=cut, detail=detail, trial=self._jobs.trial)
        if trouble is not None:
            raise trouble
        said = excerpt(data[:600].decode("utf-8", "backslashreplace").strip(), 300)
        words = f"the pod on it printed no survey{f': {said}' if said else ''}"
        raise NotReachedError(Reason.UNSUPPORTED, words)

    def _ended_pod(self) -> tuple[str, NotReachedError | None]:
        """Return the name of the pod once it has ended, and what went wrong; NotReachedError if it never will."""
        pause, last, is_seen = _FIRST_PAUSE, "no pod was made for it yet", False
        while not self._ending.is_set():
            pod = self._jobs.pod(self._job)
            if pod is not None:
                status = pod.status or wire.ProbedPodStatus()
                if status.phase == "Succeeded":
                    return pod.metadata.name, None
                if status.phase == "Failed":
                    return pod.metadata.name, _failure(status)
                hopeless, last = _waiting(status)
                if hopeless:
                    raise NotReachedError(Reason.UNREACHABLE, f"the pod on it does not start: {last}")
                is_seen = True
            elif is_seen:
                raise NotReachedError(Reason.UNREACHABLE, f"the pod on it is gone: it was deleted or evicted ({last})")
            elif time.monotonic() > self._pod_deadline:
                warned = "; ".join(self._jobs.warnings)
                hint = (
                    f"; the server had warned: {warned}"
                    if warned
                    else ", as an admission rule or a quota may refuse it"
                )
                raise NotReachedError(Reason.FORBIDDEN, f"no pod was made for its Job{hint}")
            if time.monotonic() > self._deadline:
                raise NotReachedError(Reason.TIMEOUT, f"{cut_words(Reason.TIMEOUT, self._timeout)}: {last}")
            self._ending.wait(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        raise NotReachedError(Reason.NOT_COLLECTED, "it was ended before its pod was")

    def _log(self, pod: str, *, is_well: bool) -> bytes:
        mark = f"ebpfcheck-{self._nonce} done".encode()
        longest = b""
        for _ in range(_LOG_TRIES if is_well else 1):
            try:
                data = self._jobs.log(pod)
            except ApiError as error:
                if longest or not is_well:
                    break
                raise NotReachedError(error.reason, f"the log of the pod on it: {error.words}") from error
            longest = max(longest, data, key=len)
            if mark in longest or self._ending.is_set():
                break
        return longest


def _failure(status: wire.ProbedPodStatus) -> NotReachedError | None:
    """Return why a pod has failed; None where only the survey itself ended with an error."""
    ended = [one.state.terminated for one in status.container_statuses or () if one.state.terminated is not None]
    if status.reason or not ended:
        return NotReachedError(Reason.UNREACHABLE, f"the pod on it failed: {_said(status.reason, status.message)}")
    if ended[0].reason in ("Error", "Completed", ""):
        return None
    return NotReachedError(Reason.UNREACHABLE, f"the pod on it failed: {_said(ended[0].reason, ended[0].message)}")


def _waiting(status: wire.ProbedPodStatus) -> tuple[bool, str]:
    """Return whether waiting for a pod is of no use, and what it waits for."""
    for one in status.container_statuses or ():
        waiting = one.state.waiting
        if waiting is not None and waiting.reason:
            return waiting.reason in _HOPELESS, _said(waiting.reason, waiting.message)
    conditions = {one.type: one for one in status.conditions or ()}
    scheduled, ready = conditions.get("PodScheduled"), conditions.get("Ready")
    if scheduled is not None and scheduled.status == "False":
        return False, f"it is not scheduled: {_said(scheduled.reason, scheduled.message)}"
    runs = any(one.state.running is not None for one in status.container_statuses or ())
    if runs and ready is not None and ready.status != "True":
        return False, "its pod runs but is not ready, as on a node that does not report any more"
    return False, f"its pod is {excerpt(status.phase or 'new', 40)}"


def _said(reason: str, message: str) -> str:
    return excerpt(": ".join(part for part in (reason, message.strip()) if part) or "no reason is given", 300)


def remove_jobs(login: Login, deadline: float, namespace: str | None) -> tuple[str, ...]:
    """Delete all Jobs that carry our label, with their pods, and return their names as NAMESPACE/NAME.

    In all namespaces where none is named. CannotRunError where they cannot be listed or deleted.
    """
    access = login.access()
    client = ApiClient(access, login.again, deadline, 1)
    listing: Listing[wire.Metadata] = Listing()
    path = _JOBS.format(namespace) if namespace is not None else "/apis/batch/v1/jobs"
    read_list(client, path, {"labelSelector": MANAGER}, ListDecoders(wire.Labelled), lambda job: job.metadata, listing)
    removed: list[str] = []
    try:
        if listing.error is not None:
            raise listing.error
        for job in listing.items:
            client.delete(f"{_JOBS.format(job.namespace)}/{job.name}", _BACKGROUND)
            removed.append(f"{job.namespace}/{job.name}")
    except ApiError as error:
        hint = "; --probe-namespace looks in one namespace alone" if error.status == 403 and namespace is None else ""
        done = f" (removed so far: {', '.join(removed)})" if removed else ""
        raise CannotRunError(f"{access.server}: {error.words}{hint}{done}") from error
    return tuple(removed)
