"""Whether two findings of one cause are about the same things."""

import re
from collections.abc import Callable

from ebpfcheck.model.report import Finding


def _share(one: re.Match[str]) -> str:
    return f"all {one[3]}" if one[1] == one[2] else f"{one[1]} of the {one[3]}"


def _rollout(one: re.Match[str]) -> str:
    wanted, updated, available = map(int, one.groups())
    return f"{wanted - updated} not updated, {wanted - available} not available"


def _fill(one: re.Match[str]) -> str:
    # From half to half of the size: from 100 % on something is left out.
    return f"{int(one[1]) // 50 * 50} % or more"


# Numbers that go with how many nodes and pods there are, and with the release of Kubernetes: what of them makes nothing
# worse is left out. They are those of checks of the cluster alone.
_VOLATILE: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\b(\d+) of (\d+) (nodes|virtual machines)\b"), _share),
    (re.compile(r"\b(\d+) pods wanted, (\d+) updated, (\d+) available\b"), _rollout),
    (re.compile(r"\bat most \d+ of \d+ \((\d+) %\)"), _fill),
    (re.compile(r"\bwants \d+ pods\b|\b\d+ static pods?\b"), lambda _: "pods"),
    (re.compile(r"\b\d+ x (?=v|an image)"), lambda _: ""),
    (re.compile(r"\b(kubelet|API server) v\S+?(?=;|$)"), lambda one: one[1]),
)


def same_things(old: Finding, new: Finding) -> bool:
    """Whether findings with one fingerprint are about the same; of a cluster what was seen tells, of nodes names."""
    return new.scope == "node" or _things(old.observed) == _things(new.observed)


def _things(observed: str) -> str:
    for pattern, words in _VOLATILE:
        observed = pattern.sub(words, observed)
    return observed
