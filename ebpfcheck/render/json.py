"""The JSON documents."""

from ebpfcheck.model.codec import encode_json
from ebpfcheck.model.diff import Diff
from ebpfcheck.model.kernels import KernelReport
from ebpfcheck.model.matrix import Matrix
from ebpfcheck.model.plan import Plan
from ebpfcheck.model.report import Report
from ebpfcheck.render import RenderOptions


def render(document: Report | KernelReport | Plan | Diff | Matrix, options: RenderOptions) -> str:  # noqa: ARG001 - the renderers' one shape
    """Return the published JSON document."""
    return encode_json(document)
