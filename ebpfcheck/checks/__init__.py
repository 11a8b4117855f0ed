"""The built-in checks, in the order in which they are shown."""

from ebpfcheck.checks import bpffs, cgroup, kernel, network
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
    network.data_iface,
    network.iface_topology,
    network.vxlan_port_conflict,
    network.port_healthz,
    network.ipvs_residue,
    network.bpf_residue,
    network.docker_bridge,
    network.firewall,
    network.sysctl_rp_filter,
    network.base_ip_forward,
    network.base_networkmanager,
)
