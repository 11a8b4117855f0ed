"""The built-in checks, in the order in which they are shown."""

from ebpfcheck.checks import bpffs, cgroup, kernel
from ebpfcheck.model.check import Check

BUILTIN: tuple[Check, ...] = (
    kernel.kernel_version,
    kernel.kernel_known_bad,
    kernel.kernel_btf,
    kernel.kernel_config,
    kernel.kernel_lockdown,
    kernel.node_arch,
    kernel.sysctl_bpf_jit,
    bpffs.bpffs_mounted,
    bpffs.bpffs_persistent,
    cgroup.cgroup2,
)
