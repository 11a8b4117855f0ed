"""Bounds of what users may set, by options as by a policy file, and where that is looked for."""

import re

FILE_NAME = "ebpfcheck.toml"
PREFIX = "EBPFCHECK_"
"""Of variables in the environment."""
LONGEST_TIMEOUT = 86400.0
"""Seconds."""
MOST_AT_ONCE = 1000
"""Nodes that are looked at at the same time."""

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[\w][\w./:@-]*", re.ASCII)


def is_namespace(text: str) -> bool:
    """Whether a text may be the name of a namespace."""
    return _NAMESPACE.fullmatch(text) is not None


def is_image(text: str) -> bool:
    """Whether a text may be a reference to an image."""
    return _IMAGE.fullmatch(text) is not None
