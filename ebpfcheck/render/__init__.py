"""Renderers: a report in, text out. Each is imported when it is asked for."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

import msgspec

from ebpfcheck.model.diff import Diff
from ebpfcheck.model.kernels import KernelReport
from ebpfcheck.model.matrix import Matrix
from ebpfcheck.model.plan import Plan
from ebpfcheck.model.report import Report


class RenderOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a report is shown to people; machine formats pay no heed to it."""

    width: int = 80
    color: bool = False
    verbosity: int = 0
    """-1 shows what is wrong, a line each; 0 folds what is right; 1 and more shows all with evidence."""


RENDERERS = {
    "table": "ebpfcheck.render.table:render",
    "json": "ebpfcheck.render.json:render",
    "jsonl": "ebpfcheck.render.jsonl:render",
    "junit": "ebpfcheck.render.junit:render",
    "sarif": "ebpfcheck.render.sarif:render",
    "markdown": "ebpfcheck.render.markdown:render",
    "github": "ebpfcheck.render.github:render",
    "html": "ebpfcheck.render.html:render",
}
"""Format name -> function that renders a Report."""

KERNEL_RENDERERS = {
    "table": "ebpfcheck.render.kernels:render",
    "json": "ebpfcheck.render.json:render",
}
"""Format name -> function that renders a KernelReport."""

PLAN_RENDERERS = {
    "text": "ebpfcheck.render.plan:render",
    "markdown": "ebpfcheck.render.plan_markdown:render",
    "json": "ebpfcheck.render.json:render",
}
"""Format name -> function that renders a Plan."""

ROLLBACK_RENDERERS = {**PLAN_RENDERERS, "sh": "ebpfcheck.render.plan_script:render"}
"""Format name -> function that renders the way back."""

DIFF_RENDERERS = {
    "text": "ebpfcheck.render.diff:render",
    "json": "ebpfcheck.render.json:render",
}
"""Format name -> function that renders a Diff."""

MATRIX_RENDERERS = {
    "table": "ebpfcheck.render.matrix:render",
    "json": "ebpfcheck.render.json:render",
}
"""Format name -> function that renders a Matrix."""


def renderer(name: str) -> Callable[[Report, RenderOptions], str]:
    """Return the renderer of that name."""
    return cast(Callable[[Report, RenderOptions], str], _find(RENDERERS[name]))


def kernel_renderer(name: str) -> Callable[[KernelReport, RenderOptions], str]:
    """Return the renderer of that name for kernel strings."""
    return cast(Callable[[KernelReport, RenderOptions], str], _find(KERNEL_RENDERERS[name]))


def plan_renderer(name: str) -> Callable[[Plan, RenderOptions], str]:
    """Return the renderer of that name for plans."""
    return cast(Callable[[Plan, RenderOptions], str], _find(ROLLBACK_RENDERERS[name]))


def diff_renderer(name: str) -> Callable[[Diff, RenderOptions], str]:
    """Return the renderer of that name for diffs."""
    return cast(Callable[[Diff, RenderOptions], str], _find(DIFF_RENDERERS[name]))


def matrix_renderer(name: str) -> Callable[[Matrix, RenderOptions], str]:
    """Return the renderer of that name for several releases."""
    return cast(Callable[[Matrix, RenderOptions], str], _find(MATRIX_RENDERERS[name]))


def _find(place: str) -> Any:
    module, _, function = place.partition(":")
    return getattr(import_module(module), function)
