"""What GET pods/NAME/log answers."""

from collections.abc import Iterator, Mapping

from tests.fakeapi.answer import Answer, CutError, Reply, Stream
from tests.fakeapi.catalog import Body
from tests.fakeapi.pods import Kept, Pods
from tests.fakeapi.status import StatusError
from tests.fakeapi.story import Object

WAITING_WORDS = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}
PORT = 10250


def container_of(pod: Object, name: str) -> str:
    """The container that a request means; a StatusError if there is none of that name, or if it could be several."""
    pod_name, spec = pod["metadata"]["name"], pod["spec"]
    names = [one["name"] for part in ("initContainers", "containers") for one in spec.get(part) or ()]
    if name and names and name not in names:
        raise StatusError(400, f"container {name} is not valid for pod {pod_name}")
    if not name and len(names) > 1:
        choice = " ".join(names)
        raise StatusError(400, f"a container name must be specified for pod {pod_name}, choose one of: [{choice}]")
    return name or (names[0] if names else "")


def unreachable(pod: Object, container: str, address: str) -> StatusError:
    """What the API server says of a kubelet that does not answer: a 500 that has no reason."""
    metadata = pod["metadata"]
    url = f"https://{address}:{PORT}/containerLogs/{metadata['namespace']}/{metadata['name']}/{container}"
    return StatusError(500, f'Get "{url}": dial tcp {address}:{PORT}: i/o timeout', reason="")


def log(pods: Pods, pod: Object, query: Mapping[str, str]) -> Reply:
    """The answer to a request for the log of a pod."""
    options = _numbers(pod, query)
    container = container_of(pod, query.get("container", ""))
    kept = pods.kept(pod)
    if kept is None:
        return pods.story_logs.answer(pod, query)
    if "nodeName" not in pod["spec"]:
        return Answer(204, Body(b""))
    if kept.life.log_error is not None:
        raise kept.life.log_error
    if kept.lost:
        raise unreachable(pod, container, kept.address)
    statuses = {status["name"]: status["state"] for status in pod["status"].get("containerStatuses", ())}
    named = f'container "{container}" in pod "{pod["metadata"]["name"]}"'
    if container not in statuses:
        raise StatusError(400, f"{named} is not available")
    if "waiting" in statuses[container]:
        reason = statuses[container]["waiting"]["reason"]
        raise StatusError(400, f"{named} is waiting to start: {WAITING_WORDS.get(reason, reason)}")
    follow = query.get("follow") in ("1", "true", "True")
    return Stream(_pieces(pods, kept, follow, options), "text/plain")


def _numbers(pod: Object, query: Mapping[str, str]) -> dict[str, int]:
    options = {}
    for key, least, words in (
        ("limitBytes", 1, "must be greater than 0"),
        ("tailLines", 0, "must be greater than or equal to 0"),
    ):
        if key in query:
            options[key] = int(query[key])
            if options[key] < least:
                cause = (key, "FieldValueInvalid", f"Invalid value: {options[key]}: {words}")
                raise StatusError.invalid("PodLogOptions", "", pod["metadata"]["name"], [cause])
    return options


def _pieces(pods: Pods, kept: Kept, follow: bool, options: Mapping[str, int]) -> Iterator[bytes]:
    cut = kept.life.cut_log
    limit = min((n for n in (options.get("limitBytes"), cut) if n is not None), default=None)
    changed = pods.catalog.changed
    with changed:
        sent = start = _tail(bytes(kept.log), options.get("tailLines"))
    while True:
        with changed:
            if follow:
                while not (pods.catalog.closed or kept.over or len(kept.log) > sent):
                    changed.wait()
            end = len(kept.log) if limit is None else min(len(kept.log), start + limit)
            piece, over = bytes(kept.log[sent:end]), pods.catalog.closed or kept.over or not follow
        if piece:
            yield piece
        sent += len(piece)
        if limit is not None and sent - start >= limit:
            break
        if over and sent >= len(kept.log):
            return
    if limit == cut and not kept.life.cut_cleanly:
        raise CutError


def _tail(data: bytes, lines: int | None) -> int:
    """Where the last so many lines begin."""
    if lines is None:
        return 0
    kept = data.splitlines(keepends=True)[-lines:] if lines else []
    return len(data) - sum(map(len, kept))
