"""The checks of `ebpfcheck verify`, in the order in which they are shown: those of clusters, then those of nodes."""

from ebpfcheck.checks import verify_api, verify_cluster, verify_nodes, verify_residue, verify_trouble
from ebpfcheck.model.check import Check

VERIFY_CHECKS: tuple[Check, ...] = (
    verify_cluster.rollout,
    verify_cluster.operator_status,
    verify_cluster.kube_proxy,
    verify_nodes.node_pod,
    verify_nodes.node_init,
    verify_nodes.node_dataplane,
    verify_api.node_api_endpoint,
    verify_trouble.node_policy,
    verify_trouble.node_kube_proxy,
    verify_residue.node_programs,
    verify_residue.node_ipvs,
    verify_residue.rollback_clean,
)
