"""How the pod of a Job fares on its node, and the status it shows meanwhile."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from typing import Literal

from tests.fakeapi.status import StatusError
from tests.fakeapi.story import Object

Ending = Literal[
    "exits",
    "hangs",
    "evicted",
    "node-lost",
    "OOMKilled",
    "Unschedulable",
    "ContainerCreating",
    "ErrImagePull",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "RunContainerError",
]
# Lives that never get so far that a container runs.
WAITING: Sequence[Ending] = (
    "ContainerCreating",
    "ErrImagePull",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "RunContainerError",
)
# Stands for the command and the arguments of the container in the argv of a log.
ITS_COMMAND = "{command}"
Log = bytes | Callable[[str, Object], bytes] | tuple[str, ...]

SIGKILLED = 137
PULL_ERROR = (
    'failed to pull and unpack image "{0}": failed to resolve reference "{0}": failed to do request: Head '
    '"https://registry.example/v2/": dial tcp: lookup registry.example: no such host'
)
WAITING_MESSAGES = {
    "ErrImagePull": PULL_ERROR,
    "ImagePullBackOff": f'Back-off pulling image "{{0}}": ErrImagePull: {PULL_ERROR}',
    "CreateContainerConfigError": 'configmap "survey" not found',
    "RunContainerError": (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
        'unable to start container process: error during container init: exec: "sh": executable file not found in $PATH'
    ),
}
LOW_ON_MEMORY = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 61440Ki. "


@dataclass(frozen=True)
class PodLife:
    """What becomes of a pod; lives that wait do so for ever.

    exits: with EXIT_CODE, DELAY seconds after its start. evicted, node-lost, OOMKilled: that, at the same time. hangs:
    runs for ever. LOG is there from the start of the container on: bytes, or what a function of the node's name and
    the pod's spec returns, or what a command (argv) prints, which is run for real and whose exit status is the
    container's; it reads the container's args, unless ITS_COMMAND in the argv stands for the container's own command.
    """

    ends: Ending = "exits"
    _: KW_ONLY
    log: Log = b""
    exit_code: int = 0
    delay: float = 0
    # Seconds from the pod's creation to the container's start.
    starts: float = 0
    # Seconds between the deletion of the pod and its end.
    lingers: float = 0
    # Seconds after which the Job's activeDeadlineSeconds are taken to be over, whatever they are.
    deadline: float | None = None
    # Bytes after which a log request ends: the connection, or the body, as if that was all (CUT_CLEANLY).
    cut_log: int | None = None
    cut_cleanly: bool = False
    # What log requests are answered with instead.
    log_error: StatusError | None = None

    @property
    def command(self) -> bool:
        """Whether the container is a process on this machine."""
        return isinstance(self.log, tuple)


def now() -> str:
    """The time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _condition(kind: str, status: bool, reason: str = "", message: str = "") -> Object:
    condition = {"type": kind, "status": str(status), "lastProbeTime": None, "lastTransitionTime": now()}
    return condition | {key: value for key, value in (("reason", reason), ("message", message)) if value}


def unschedulable(nodes: int, why: str = "node(s) didn't match Pod's node affinity/selector") -> Object:
    """The status of a pod for which the scheduler finds no node."""
    message = (
        f"0/{nodes} nodes are available: {nodes} {why}. preemption: 0/{nodes} nodes are available: {nodes} Preemption "
        "is not helpful for scheduling."
    )
    conditions = [_condition("PodScheduled", False, "Unschedulable", message)]
    return {"phase": "Pending", "conditions": conditions, "qosClass": "BestEffort"}


def scheduled(by_scheduler: bool) -> Object:
    """The status of a pod that has a node, which no kubelet has seen yet."""
    status: Object = {"phase": "Pending"}
    if by_scheduler:
        status["conditions"] = [_condition("PodScheduled", True)]
    return {**status, "qosClass": "BestEffort"}


def _status(pod: Object, address: str, phase: str, states: Sequence[Object]) -> Object:
    spec, before = pod["spec"], pod["status"]
    running = phase == "Running"
    names = " ".join(container["name"] for container in spec["containers"])
    why = {
        "Pending": ("ContainersNotReady", f"containers with unready status: [{names}]"),
        "Succeeded": ("PodCompleted", ""),
        "Failed": ("PodFailed", ""),
    }.get(phase, ("", ""))
    conditions = [
        _condition("PodReadyToStartContainers", running),
        _condition("Initialized", True, "PodCompleted" if phase == "Succeeded" else ""),
        _condition("Ready", running, *why),
        _condition("ContainersReady", running, *why),
        _condition("PodScheduled", True),
    ]
    statuses = [
        _container_status(container, state, running)
        for container, state in zip(spec["containers"], states, strict=True)
    ]
    return {
        "phase": phase,
        "conditions": conditions,
        "hostIP": address,
        "hostIPs": [{"ip": address}],
        **({"podIP": address, "podIPs": [{"ip": address}]} if phase != "Pending" else {}),
        "startTime": before.get("startTime", now()),
        "containerStatuses": statuses,
        "qosClass": before["qosClass"],
    }


def _container_status(container: Object, state: Object, running: bool) -> Object:
    started = "waiting" not in state
    digest = f"{container['image'].partition(':')[0]}@sha256:{'5f' * 32}"
    return {
        "name": container["name"],
        "state": state,
        "lastState": {},
        "ready": running,
        "restartCount": 0,
        "image": container["image"],
        "imageID": digest if started else "",
        **({"containerID": _container_id(container)} if started else {}),
        "started": running,
    }


def _container_id(container: Object) -> str:
    return f"containerd://{container['name'].encode().hex():0>64.64}"


def waiting(pod: Object, address: str, reason: str) -> Object:
    """The status of a pod whose containers wait for REASON."""
    states = []
    for container in pod["spec"]["containers"]:
        message = WAITING_MESSAGES.get(reason, "").format(container["image"])
        states.append({"waiting": {"reason": reason, **({"message": message} if message else {})}})
    return _status(pod, address, "Pending", states)


def running(pod: Object, address: str) -> Object:
    """The status of a pod whose containers run."""
    return _status(pod, address, "Running", [{"running": {"startedAt": now()}}] * len(pod["spec"]["containers"]))


def ended(pod: Object, address: str, exit_code: int, reason: str = "") -> Object:
    """The status of a pod whose containers have ended."""
    states = []
    for container, status in zip(pod["spec"]["containers"], pod["status"]["containerStatuses"], strict=True):
        began = status["state"].get("running", {}).get("startedAt", now())
        usual = "Error" if exit_code else "Completed"
        terminated = {"exitCode": exit_code, "reason": reason or usual, "startedAt": began, "finishedAt": now()}
        states.append({"terminated": {**terminated, "containerID": _container_id(container)}})
    return _status(pod, address, "Failed" if exit_code else "Succeeded", states)


def evicted(pod: Object, address: str) -> Object:
    """The status of a pod that the kubelet put out because the node ran short of memory."""
    status = ended(pod, address, SIGKILLED)
    disrupted = _condition("DisruptionTarget", True, "TerminationByKubelet", LOW_ON_MEMORY)
    told = {"phase": "Failed", "conditions": [disrupted, *status["conditions"]]}
    return {**told, "message": LOW_ON_MEMORY, "reason": "Evicted", **{k: v for k, v in status.items() if k not in told}}


def overdue(pod: Object, address: str) -> Object:
    """The status of a pod that was active longer than its own activeDeadlineSeconds."""
    status = ended(pod, address, SIGKILLED)
    message = "Pod was active on the node longer than the specified deadline"
    head = {"phase": "Failed", "conditions": status["conditions"], "message": message, "reason": "DeadlineExceeded"}
    return head | {key: value for key, value in status.items() if key not in head}


def unreachable(pod: Object) -> Object:
    """The status of a pod whose node the node controller has heard nothing of: still running, but not ready."""
    conditions = [
        {**condition, "status": "False", "lastTransitionTime": now()} if condition["type"] == "Ready" else condition
        for condition in pod["status"]["conditions"]
    ]
    return {**pod["status"], "conditions": conditions}
