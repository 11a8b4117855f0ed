"""The Jobs and pods that clients make: what the scheduler, the kubelets and the Job controller do about them."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.fakeapi import podlife
from tests.fakeapi.admission import Refusal, Refused, Scripted
from tests.fakeapi.catalog import Catalog
from tests.fakeapi.container import Container
from tests.fakeapi.exec import ExecLife
from tests.fakeapi.jobs import event, job_condition, job_status, new_job, new_pod, validate_job
from tests.fakeapi.placing import node_for
from tests.fakeapi.podlife import WAITING, PodLife
from tests.fakeapi.status import StatusError
from tests.fakeapi.story import Object
from tests.fakeapi.storylogs import StoryLogs
from tests.fakeapi.watch import WatchFault

# Seconds that the Job controller waits before it replaces a pod that failed, and before it asks again for one refused;
# twice as long each time.
BACKOFF = 10
REFUSED_BACKOFF = 1
ALWAYS = 1 << 60
GRACE = 30
BEGINNING = ("default", "kube-system", "kube-public", "kube-node-lease")


@dataclass
class Kept:
    """A pod that was made: its life, and what its container has printed so far (`over`: it prints no more)."""

    life: PodLife
    address: str = ""
    log: bytearray = field(default_factory=bytearray)
    container: Container | None = None
    lost: bool = False
    over: bool = False


@dataclass
class _Counts:
    failed: int = 0
    succeeded: int = 0
    pods: list[str] = field(default_factory=list)
    refused: int = 0
    finished: bool = False


class Pods:
    """Jobs, each with one pod at a time, whatever its parallelism, and scripts for what becomes of them.

    Everything happens under the lock of the catalog; what is to happen later is done by one thread.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.jobs = catalog.resources["batch/v1", "jobs"]
        self.pods = catalog.resources["v1", "pods"]
        self.most_at_once = 0
        self.watch_faults: list[WatchFault] = []
        self.story_logs = StoryLogs()
        self._lock = catalog.changed
        self._lives: dict[str | None, list[PodLife]] = {None: [PodLife()]}
        self._execs: dict[tuple[str | None, str | None], ExecLife] = {}
        self._refusals: list[Scripted] = []
        self._kept: dict[str, Kept] = {}
        self._counts: dict[str, _Counts] = {}
        self._containers: list[Container] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None

    # What tests say and ask

    def script(self, node: str | None, *lives: PodLife) -> None:
        """What becomes of the pods on a node, one after the other, the last one's life of all further ones.

        None is for every node without a script of its own. Pods without a node are of None, too.
        """
        with self._lock:
            self._lives[node] = list(lives)

    def exec_script(self, where: str | None, life: ExecLife, container: str | None = None) -> None:
        """What becomes of commands in the pod, or in every pod on the node, of that name (None: in all)."""
        with self._lock:
            self._execs[where, container] = life

    def refuse(self, refusal: Refusal, *, namespace: str | None = None, times: int = ALWAYS, skip: int = 0) -> None:
        """Refuse creates in a namespace (None: in all) from the SKIP-th on, TIMES times; dry runs count."""
        with self._lock:
            self._refusals.append(Scripted(refusal, namespace, times, skip))

    def left(self) -> list[str]:
        """The Jobs and pods that were made and still exist: "job/NAME", "pod/NAME"."""
        with self._lock:
            jobs = [job["metadata"] for job in self.catalog.all(self.jobs)]
            pods = [pod["metadata"] for pod in self.catalog.all(self.pods)]
            return [f"job/{one['name']}" for one in jobs if one.get("uid") in self._counts] + [
                f"pod/{one['name']}" for one in pods if one.get("uid") in self._kept
            ]

    def forget_changes(self) -> None:
        """Tell watches that begin before now that their version is too old."""
        with self._lock:
            self.catalog.oldest_version = self.catalog.resource_version

    def wait_until(self, holds: Callable[[], bool], timeout: float = 10) -> bool:
        """Wait for something about the objects to hold."""
        with self._lock:
            return self._lock.wait_for(holds, timeout)

    # What the rest of the server asks

    def kept(self, pod: Object) -> Kept | None:
        """What is known of a pod that was made here; None of one of the story."""
        return self._kept.get(pod["metadata"].get("uid", ""))

    def exec_life(self, pod: Object, container: str) -> ExecLife:
        """What becomes of commands in a container of a pod."""
        places = (pod["metadata"]["name"], pod["spec"].get("nodeName"), None)
        with self._lock:
            known = (self._execs.get((place, name)) for place in places for name in (container, None))
            return next((life for life in known if life is not None), ExecLife())

    def close(self) -> None:
        """End every container and the thread."""
        with self._lock:
            self.catalog.closed = True
            self._lock.notify_all()
            for container in self._containers:
                container.kill()
        for container in self._containers:
            container.join()
        if self._thread is not None:
            self._thread.join()

    # Creating

    def create_job(self, namespace: str, document: Object, manager: str, dry_run: bool) -> tuple[Object, list[str]]:
        """The Job as it is answered, with warnings; a StatusError if it may not be."""
        validate_job(document, namespace)
        job = new_job(document, namespace, manager)
        name = job["metadata"]["name"]
        with self._lock:
            self.need_namespace(namespace)
            self._refuse("jobs", namespace, name)
            if self.catalog.get(self.jobs, namespace, name) is not None:
                message = f'{self.jobs.qualified} "{name}" already exists'
                raise StatusError(409, message, reason="AlreadyExists", details=self.jobs.details(name))
            warnings = [
                scripted.refusal.warning
                for scripted in self._refusals
                if scripted.refusal.warning and scripted.namespace in (None, namespace)
            ]
            if not dry_run:
                job = self.catalog.put(self.jobs, job)
                self._begin_job(job)
        return job, warnings

    def need_namespace(self, name: str) -> None:
        """A StatusError if there is no such namespace, in a story that has namespaces."""
        namespaces = self.catalog.resources["v1", "namespaces"]
        if name not in BEGINNING and self.catalog.all(namespaces):
            self.catalog.find(namespaces, "", name)

    def _refuse(self, resource: Refused, namespace: str, name: str) -> None:
        for scripted in self._refusals:
            if scripted.refusal.error is not None and scripted.take(resource, namespace):
                raise scripted.refusal.error(name)

    def _begin_job(self, job: Object) -> None:
        uid = job["metadata"]["uid"]
        self._counts[uid] = _Counts()
        life = self._create_pod(job)
        deadline = job["spec"].get("activeDeadlineSeconds")
        if life is not None and life.deadline is not None:
            deadline = life.deadline
        if deadline is not None:
            self._after(deadline, lambda: self._over_deadline(job))
        self._settle(job)

    def _create_pod(self, job: Object) -> PodLife | None:
        pod = new_pod(job)
        metadata, counts = pod["metadata"], self._counts[job["metadata"]["uid"]]
        try:
            self._refuse("pods", metadata["namespace"], metadata["name"])
        except StatusError as error:
            self._tell(job, "FailedCreate", f"Error creating: {error}", "Warning")
            self._after(REFUSED_BACKOFF * 2**counts.refused, lambda: self._replace_pod(job))
            counts.refused += 1
            return None
        nodes = self.catalog.resources["v1", "nodes"]
        named = pod["spec"].get("nodeName")
        node = self.catalog.get(nodes, "", named) if named else node_for(pod["spec"], self.catalog.all(nodes))
        life = self._next_life(node["metadata"]["name"] if node else named)
        kept = self._kept[metadata["uid"]] = Kept(life)
        pod = self.catalog.put(self.pods, pod)
        counts.pods.append(metadata["name"])
        self.most_at_once = max(self.most_at_once, len(self._kept))
        self._tell(job, "SuccessfulCreate", f"Created pod: {metadata['name']}")
        by_scheduler = not named
        if life.ends == "Unschedulable" or (node is None and by_scheduler):
            pod = self._show(pod, podlife.unschedulable(len(self.catalog.all(nodes))))
            self._tell(pod, "FailedScheduling", pod["status"]["conditions"][0]["message"], "Warning")
        elif node is not None:
            kept.address = address_of(node)
            if by_scheduler:
                spec = {**pod["spec"], "nodeName": node["metadata"]["name"]}
                pod = self.catalog.put(self.pods, {**pod, "spec": spec, "status": podlife.scheduled(by_scheduler)})
            self._show(pod, podlife.waiting(pod, kept.address, "ContainerCreating"))
            self._after(life.starts, lambda: self._start(pod))
            limit = pod["spec"].get("activeDeadlineSeconds")
            if limit is not None:
                self._after(limit, lambda: self._end(pod, podlife.overdue))
        return life

    def _next_life(self, node: str | None) -> PodLife:
        lives = self._lives.get(node) or self._lives[None]
        return lives.pop(0) if len(lives) > 1 else lives[0]

    # The kubelet

    def _start(self, made: Object) -> None:
        pod = self._current(made)
        if pod is None:
            return
        kept = self._kept[pod["metadata"]["uid"]]
        life = kept.life
        if life.ends in WAITING:
            self._show(pod, podlife.waiting(pod, kept.address, life.ends))
            return
        self._show(pod, podlife.running(pod, kept.address))
        self._settle_job_of(pod)
        if isinstance(life.log, tuple):
            self._run(pod, kept, life.log)
        else:
            kept.log += life.log if isinstance(life.log, bytes) else life.log(pod["spec"]["nodeName"], pod["spec"])
        if life.ends != "hangs" and not (life.command and life.ends == "exits"):
            self._after(life.delay, lambda: self._finish(made))

    def _run(self, pod: Object, kept: Kept, argv: tuple[str, ...]) -> None:
        def printed(piece: bytes) -> None:
            with self._lock:
                kept.log += piece
                self._lock.notify_all()

        def ended(code: int) -> None:
            with self._lock:
                if kept.life.ends == "exits":
                    self._end(pod, lambda current, address: podlife.ended(current, address, code))

        try:
            kept.container = Container(argv, pod["spec"], printed, ended)
        except OSError:
            self._end(pod, lambda current, address: podlife.ended(current, address, 128, "StartError"))
        else:
            self._containers.append(kept.container)

    def _finish(self, made: Object) -> None:
        pod = self._current(made)
        if pod is None:
            return
        kept = self._kept[pod["metadata"]["uid"]]
        match kept.life.ends:
            case "node-lost":
                kept.lost = True
                self._show(pod, podlife.unreachable(pod))
            case "evicted":
                self._end(made, podlife.evicted)
            case "OOMKilled":
                self._end(made, lambda now, address: podlife.ended(now, address, podlife.SIGKILLED, "OOMKilled"))
            case _:
                self._end(made, lambda now, address: podlife.ended(now, address, kept.life.exit_code))

    def _end(self, made: Object, status: Callable[[Object, str], Object]) -> None:
        pod = self._current(made)
        if pod is None:
            return
        kept = self._kept[pod["metadata"]["uid"]]
        if kept.container is not None:
            kept.container.kill()
        kept.over = True
        metadata = {key: value for key, value in pod["metadata"].items() if key != "finalizers"}
        pod = self.catalog.put(self.pods, {**pod, "metadata": metadata, "status": status(pod, kept.address)})
        job = self._job_of(pod)
        if job is not None:
            counts = self._counts[job["metadata"]["uid"]]
            if pod["status"]["phase"] == "Succeeded":
                counts.succeeded += 1
            else:
                counts.failed += 1
            self._settle(job)

    def _current(self, made: Object) -> Object | None:
        """A pod as it is now, if it still is active; None if it has ended, is being deleted or is gone."""
        pod = self.catalog.get(self.pods, made["metadata"]["namespace"], made["metadata"]["name"])
        if pod is None or pod["metadata"].get("uid") != made["metadata"]["uid"]:
            return None
        over = "deletionTimestamp" in pod["metadata"] or pod["status"]["phase"] in ("Succeeded", "Failed")
        return None if over else pod

    def _show(self, pod: Object, status: Object) -> Object:
        return self.catalog.put(self.pods, {**pod, "status": status})

    # The Job controller

    def _job_of(self, pod: Object) -> Object | None:
        owners = pod["metadata"].get("ownerReferences", ())
        name = next((owner["name"] for owner in owners if owner.get("uid") in self._counts), None)
        return None if name is None else self.catalog.get(self.jobs, pod["metadata"]["namespace"], name)

    def _settle_job_of(self, pod: Object) -> None:
        job = self._job_of(pod)
        if job is not None:
            self._settle(job)

    def _pods_of(self, job: Object) -> list[Object]:
        """The pods of a Job that was made; those of the story's Jobs are left alone."""
        metadata = job["metadata"]
        counts = self._counts.get(metadata.get("uid", ""))
        names = counts.pods if counts is not None else ()
        known = (self.catalog.get(self.pods, metadata["namespace"], name) for name in names)
        return [pod for pod in known if pod is not None and "ownerReferences" in pod["metadata"]]

    def _settle(self, job: Object) -> None:
        """Bring the status of a Job up to date with its pods; end it, or replace its pod, when the time has come."""
        counts, pods = self._counts[job["metadata"]["uid"]], self._pods_of(job)
        status = job_status(job, pods, counts.failed, counts.succeeded)
        active = any(pod["status"]["phase"] in ("Pending", "Running") for pod in pods)
        target = next((c for c in status.get("conditions", ()) if c["type"] == "FailureTarget"), None)
        if counts.finished or "deletionTimestamp" in job["metadata"]:
            pass
        elif counts.succeeded:
            words = ("CompletionsReached", "Reached expected number of succeeded pods")
            status = {
                "conditions": [job_condition(kind, *words) for kind in ("SuccessCriteriaMet", "Complete")],
                "startTime": status["startTime"],
                "completionTime": podlife.now(),
                **status,
            }
            self._finished(job, counts)
            self._tell(job, "Completed", "Job completed")
        elif target is not None and not active:
            failed = job_condition("Failed", target["reason"], target["message"])
            status["conditions"] = [*status["conditions"], failed]
            self._finished(job, counts)
        elif target is None and counts.failed > job["spec"]["backoffLimit"]:
            words = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
            conditions = [job_condition(kind, *words) for kind in ("FailureTarget", "Failed")]
            status = {"conditions": conditions, **status}
            self._finished(job, counts)
            self._tell(job, *words, "Warning")
        elif target is None and counts.failed and not active:
            self._after(BACKOFF * 2 ** (counts.failed - 1), lambda: self._replace_pod(job))
        if status != job["status"]:
            self.catalog.put(self.jobs, {**job, "status": status})

    def _finished(self, job: Object, counts: _Counts) -> None:
        counts.finished = True
        seconds = job["spec"].get("ttlSecondsAfterFinished")
        if seconds is not None:
            self._after(seconds, lambda: self._expire(job))

    def _expire(self, made: Object) -> None:
        job = self._current_job(made)
        if job is not None:
            self.delete_job(job, "Background", dry_run=False)

    def _current_job(self, made: Object) -> Object | None:
        job = self.catalog.get(self.jobs, made["metadata"]["namespace"], made["metadata"]["name"])
        return job if job is not None and job["metadata"].get("uid") == made["metadata"].get("uid") else None

    def _replace_pod(self, made: Object) -> None:
        job = self._current_job(made)
        if job is not None and not self._counts[job["metadata"]["uid"]].finished:
            self._create_pod(job)
            self._settle(job)

    def _over_deadline(self, made: Object) -> None:
        job = self._current_job(made)
        if job is None or self._counts[job["metadata"]["uid"]].finished or "deletionTimestamp" in job["metadata"]:
            return
        words = ("DeadlineExceeded", "Job was active longer than specified deadline")
        status = {"conditions": [job_condition("FailureTarget", *words)], **job["status"]}
        self._tell(job, *words, "Warning")
        job = self.catalog.put(self.jobs, {**job, "status": status})
        pods = self._pods_of(job)
        for pod in pods:
            self._tell(job, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
            self.delete_pod(pod, None, dry_run=False)
        if not pods:
            self._settle(job)

    def _tell(self, item: Object, reason: str, message: str, kind: str = "Normal") -> None:
        component = "job-controller" if item["kind"] == "Job" else "default-scheduler"
        self.catalog.put(self.catalog.resources["v1", "events"], event(item, reason, message, kind, component))

    # Deleting

    def delete_job(self, job: Object, policy: str, dry_run: bool) -> Object | None:
        """Delete a Job; the Job as it is answered with, None if it is gone at once, as it is by Background.

        Orphan is what the API server does if no policy is asked for: the pods stay.
        """
        with self._lock:
            if policy == "Background":
                if not dry_run:
                    pods = self._pods_of(job)
                    self._remove_job(job)
                    for pod in pods:
                        self.delete_pod(pod, None, dry_run=False)
                return None
            if "deletionTimestamp" in job["metadata"]:
                return job
            marked = self._marked(job, 0, ["foregroundDeletion" if policy == "Foreground" else "orphan"])
            if dry_run:
                return marked
            marked = self.catalog.put(self.jobs, marked)
            pods = self._pods_of(job)
            if policy == "Foreground":
                for pod in pods:
                    self.delete_pod(pod, None, dry_run=False)
            else:
                for pod in pods:
                    metadata = {k: v for k, v in pod["metadata"].items() if k not in ("ownerReferences", "finalizers")}
                    self.catalog.put(self.pods, {**pod, "metadata": metadata})
            self._remove_if_childless(job)
            return marked

    def _remove_job(self, job: Object) -> None:
        self.catalog.remove(self.jobs, job)
        self._counts.pop(job["metadata"].get("uid", ""), None)

    def _remove_if_childless(self, made: Object) -> None:
        job = self._current_job(made)
        if job is not None and "deletionTimestamp" in job["metadata"] and not self._pods_of(job):
            self._remove_job(job)

    def delete_pod(self, pod: Object, grace: int | None, dry_run: bool) -> Object:
        """Delete a pod; the pod as it is answered with. It goes when its kubelet has ended it, or by force (0)."""
        with self._lock:
            kept, metadata = self.kept(pod), pod["metadata"]
            ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
            seconds = pod["spec"].get("terminationGracePeriodSeconds", GRACE) if grace is None else grace
            if ended or "nodeName" not in pod["spec"]:
                seconds = 0
            again = "deletionTimestamp" in metadata
            if dry_run or (again and seconds):
                return pod if again else self._marked(pod, seconds)
            keep = {**pod, "metadata": {key: value for key, value in metadata.items() if key != "finalizers"}}
            marked = self.catalog.put(self.pods, self._marked(keep, seconds))
            if kept is None or seconds == 0:
                self._remove_pod(marked)
            elif kept.lost:
                self._settle_job_of(marked)
            elif kept.life.lingers:
                self._settle_job_of(marked)
                self._after(kept.life.lingers, lambda: self._remove_pod(marked))
            else:
                self._remove_pod(marked)
            return marked

    def _remove_pod(self, made: Object) -> None:
        metadata = made["metadata"]
        pod = self.catalog.get(self.pods, metadata["namespace"], metadata["name"])
        if pod is None or pod["metadata"].get("uid") != metadata.get("uid"):
            return
        self.catalog.remove(self.pods, pod)
        kept = self._kept.pop(metadata.get("uid", ""), None)
        if kept is not None:
            kept.over = True
            if kept.container is not None:
                kept.container.kill()
        job = self._job_of(pod)
        if job is None:
            return
        if pod["status"]["phase"] in ("Pending", "Running"):
            self._counts[job["metadata"]["uid"]].failed += 1
        self._settle(job)
        self._remove_if_childless(job)

    def _marked(self, item: Object, seconds: int, finalizers: Iterable[str] = ()) -> Object:
        when = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = {
            **item["metadata"],
            "generation": item["metadata"].get("generation", 1) + 1,
            "deletionTimestamp": when,
            "deletionGracePeriodSeconds": seconds,
        }
        return {**item, "metadata": {**metadata, **({"finalizers": list(finalizers)} if finalizers else {})}}

    # Time

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), action))
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_time, name="pods")
            self._thread.start()
        self._lock.notify_all()

    def _keep_time(self) -> None:
        with self._lock:
            while not self.catalog.closed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._lock.wait(wait)
                else:
                    heapq.heappop(self._due)[2]()


def address_of(node: Object) -> str:
    """Where a node is reached."""
    addresses = node.get("status", {}).get("addresses", ())
    return next((one["address"] for one in addresses if one["type"] == "InternalIP"), "192.0.2.1")
