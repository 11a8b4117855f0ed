"""The built-in checks of nodes, in the order in which they are shown: all that `ebpfcheck node` has to load."""

from ebpfcheck.checks import (
    bpffs,
    cgroup,
    host,
    kernel,
    network,
    ports,
    residue,
)
from ebpfcheck.model.check import Check

NODE_CHECKS: tuple[Check, ...] = (
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
    network.l3_overlay,
    network.mtu,
    network.offload_vxlan,
    ports.vxlan_port_conflict,
    ports.port_healthz,
    residue.ipvs_residue,
    residue.kube_proxy_residue,
    residue.bpf_residue,
    residue.tc_foreign,
    host.docker_bridge,
    host.firewall,
    host.selinux,
    host.sysctl_rp_filter,
    host.base_modules,
    host.base_ip_forward,
    host.base_networkmanager,
)
