"""Refusals of what may not be created, in the words of those who refuse."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.fakeapi.status import StatusError

Refused = Literal["jobs", "pods"]
GROUPS = {"jobs": "batch", "pods": ""}


@dataclass(frozen=True)
class Refusal:
    """How creates of a resource are refused, by the name of the object (None: they are not).

    A Job of which the pods are refused is created with WARNING, and stays without a pod.
    """

    resource: Refused
    error: Callable[[str], StatusError] | None
    warning: str = ""


def pod_security(
    violations: str = "host namespaces (hostPID=true)", *, level: str = "baseline", enforced: bool = True
) -> Refusal:
    """PodSecurity, which only ever warns of Jobs; it refuses their pods if the level is enforced."""

    def violates(name: str) -> StatusError:
        message = f'pods "{name}" is forbidden: violates PodSecurity "{level}:latest": {violations}'
        return StatusError(403, message, details={"name": name, "kind": "pods"})

    warning = f'would violate PodSecurity "{level}:latest": {violations}'
    return Refusal("pods", violates if enforced else None, warning)


def webhook(name: str, message: str = "", *, code: int = 400, reason: str = "", resource: Refused = "jobs") -> Refusal:
    """A validating webhook's denial; one that says no code is answered as 400, and without a reason."""
    told = f": {message}" if message else " without explanation"
    text = f'admission webhook "{name}" denied the request{told}'
    return Refusal(resource, lambda _: StatusError(code, text, reason=reason))


def quota(
    name: str = "compute", *, counts: str = "count/jobs.batch", used: int = 1, resource: Refused = "jobs"
) -> Refusal:
    """A ResourceQuota that is used up; for pods COUNTS is "pods"."""

    def exceeded(object_name: str) -> StatusError:
        qualified = f"{resource}.{GROUPS[resource]}".rstrip(".")
        message = (
            f'{qualified} "{object_name}" is forbidden: exceeded quota: {name}, requested: {counts}=1, '
            f"used: {counts}={used}, limited: {counts}={used}"
        )
        details = {"name": object_name, "group": GROUPS[resource], "kind": resource}
        return StatusError(403, message, details={key: value for key, value in details.items() if value})

    return Refusal(resource, exceeded)


@dataclass
class Scripted:
    """A refusal in a namespace (None: in every one), from the SKIP-th create on, TIMES times."""

    refusal: Refusal
    namespace: str | None
    times: int
    skip: int

    def take(self, resource: Refused, namespace: str) -> bool:
        """Whether this create is refused; counts down."""
        if self.refusal.resource != resource or self.namespace not in (None, namespace) or self.times <= 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True
