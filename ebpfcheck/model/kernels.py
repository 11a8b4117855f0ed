"""What is asked and said of kernel strings that come without a node: `ebpfcheck.kernel/v1`."""

import msgspec

from ebpfcheck.model.report import Status, Tool

KERNEL_SCHEMA = "ebpfcheck.kernel/v1"


class KernelQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel to judge; either `release` (`uname -r`) or `proc_version` (/proc/version) is needed."""

    release: str | None = None
    proc_version: str | None = None
    os_image: str | None = None
    arch: str | None = None


class KernelResult(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one kernel; `felix` is whether Felix's own test accepts it, `documented` whether the docs do."""

    release: str | None
    distro: str | None = None
    felix: bool | None = None
    documented: bool | None = None
    status: Status
    message: str


class KernelReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document that `ebpfcheck kernel -f json` prints."""

    schema: str = KERNEL_SCHEMA
    tool: Tool
    calico: str
    exit_code: int
    results: tuple[KernelResult, ...]
