"""Whether two findings of one cause are about the same things."""

import re

from ebpfcheck.model.report import Finding

# What changes with the number of nodes and with each update of Kubernetes, and makes nothing worse.
_SHARE = re.compile(r"\b(\d+) of (\d+) nodes\b")
_PODS = re.compile(r"\bwants \d+ pods\b|\b\d+ static pods?\b")
_RELEASE = re.compile(r"\b(kubelet|API server) v\S+?(?=;|$)")


def same_things(old: Finding, new: Finding) -> bool:
    """Whether findings with one fingerprint are about the same; of a cluster what was seen tells, of nodes names."""
    return new.scope == "node" or _things(old.observed) == _things(new.observed)


def _things(observed: str) -> str:
    shares = _SHARE.sub(lambda one: "all nodes" if one[1] == one[2] else f"{one[1]} of the nodes", observed)
    return _RELEASE.sub(r"\1", _PODS.sub("pods", shares))
