"""What the cluster's own features send between nodes, and so has to get through firewalls."""

from collections.abc import Iterator

from ebpfcheck.checks.kube_proxy_state import felix_of
from ebpfcheck.checks.services import BALANCER_NEEDS, clouds_of
from ebpfcheck.model.check import Given, Outcome, check, not_applicable, optional, over_nodes, passed, unknown
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import Absent, FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_FELIX = over_nodes(NodeKind.felix)
_NODE = optional(ClusterFacts.calico_node)
_INSTALLATION = optional(ClusterFacts.installation)
_POOLS = optional(ClusterFacts.ip_pools)
_BGP = optional(ClusterFacts.bgp)
_TYPHA = optional(ClusterFacts.typha)
_COUNT = optional(ClusterFacts.node_count)
_SERVICES = optional(ClusterFacts.services)


@check(
    id="cluster.base.ports",
    title="Ports between nodes",
    category="cluster",
    scope="cluster",
    severity=Severity.NOTE,
    needs=(_FELIX, _NODE, _INSTALLATION, _POOLS, _BGP, _TYPHA, _COUNT, _SERVICES, *BALANCER_NEEDS),
)
def base_ports(given: Given) -> Outcome:
    """Which ports have to be open between nodes; whether they are, the API does not show."""
    count = given[_COUNT]
    if isinstance(given[_NODE], Absent) and isinstance(given[_INSTALLATION], Absent):
        return not_applicable("no-calico", "Calico is not installed, and sends nothing between nodes yet.")
    if isinstance(count, Known) and count.value == 1:
        return passed("one-node", "There is one node alone, and nothing between nodes to be let through.")
    found = list(_ports(given))
    needed = ", ".join(port for port in found if isinstance(port, str))
    hidden = [port for port in found if isinstance(port, _Unseen)]
    firewalls = " and ".join(cloud.firewall for cloud in clouds_of(given)) or "the firewalls between nodes, and on them"
    if hidden:
        return unknown(
            "unseen",
            f"What has to be let through between all nodes could not be told in full. It is {needed}, and maybe more: "
            + "; ".join(f"whether {port.what} ({excerpt(port.detail)})" for port in hidden)
            + ".",
            reason=hidden[0].reason,
            required=needed,
            remediation=Remediation(text="Grant what `ebpfcheck rbac` prints.")
            if hidden[0].reason is Reason.FORBIDDEN
            else None,
        )
    return passed(
        "needed",
        f"In eBPF mode of Calico {given.release.version} these have to get through between all nodes, both ways: "
        f"{needed}. Whether they do, the API does not show: ask for rules in {firewalls} that let them through."
        + _from_load_balancers(given),
        observed="firewalls are not seen",
        required=needed,
        note=True,
    )


def _from_load_balancers(given: Given) -> str:
    """Say at which port load balancers of the cloud may ask the nodes for their health."""
    services, asking = given[_SERVICES], given.release.kube_proxy.health.clouds
    clouds = [cloud.title for cloud in clouds_of(given) if cloud.provider in asking]
    if not clouds or not isinstance(services, Known) or not services.value.load_balancers.count:
        return ""
    return (
        f" Load balancers of {' and '.join(clouds)} have to reach the node ports besides, and TCP "
        f"{given.release.network.healthz.port} where they ask there (cluster.kube-proxy.healthz-port)."
    )


class _Unseen:
    """Something that is in use or not, and why that could not be told."""

    def __init__(self, what: str, fact: Unknown) -> None:
        self.what = what
        self.reason = fact.reason
        self.detail = fact.detail


def _ports(given: Given) -> Iterator[str | _Unseen]:
    rule, felix = given.release.services.base_ports, felix_of(given)
    if felix.unseen is not None:
        yield _Unseen("vxlanPort is set, and WireGuard is on", felix.unseen)
    settings = [one for one, _ in felix.settings] or [FelixSettings()]
    usual = given.release.network.vxlan.port
    vxlan = sorted({one.vxlan_port or usual for one in settings})
    yield f"UDP {_numbers(vxlan)} (VXLAN, by which NodePorts are forwarded even without an overlay)"
    bgp = _speaks_bgp(given)
    if isinstance(bgp, Unknown):
        yield _Unseen("nodes speak BGP", bgp)
    elif bgp:
        yield f"TCP {rule.bgp} (BGP, or listenPort of the BGPConfiguration)"
    pools = given[_POOLS]
    if isinstance(pools, Unknown):
        yield _Unseen("IPPools use IPIP", pools)
    elif isinstance(pools, Known) and any(pool.ipip_mode != "Never" for pool in pools.value):
        yield f"IP protocol {rule.ipip_protocol} (IPIP)"
    typha = given[_TYPHA]
    if isinstance(typha, Unknown):
        yield _Unseen("there is Typha", typha)
    elif isinstance(typha, Known) and typha.value.desired != 0:
        yield f"TCP {rule.typha} (Typha)"
    guarded = {one.wireguard_listening_port or rule.wireguard for one in settings if one.wireguard_enabled}
    guarded |= {rule.wireguard_v6 for one in settings if one.wireguard_enabled_v6}
    if guarded:
        yield f"UDP {_numbers(sorted(guarded))} (WireGuard)"


def _numbers(ports: list[int]) -> str:
    return " and ".join(str(port) for port in ports)


def _speaks_bgp(given: Given) -> bool | Unknown:
    """Whether nodes speak BGP, to each other or to others."""
    rule, node, installation, bgp = (
        given.release.services.base_ports,
        given[_NODE],
        given[_INSTALLATION],
        given[_BGP],
    )
    said = installation.value.bgp if isinstance(installation, Known) else None
    if said == "Disabled":
        return False
    if said != "Enabled":
        if not isinstance(node, Known):
            return node if isinstance(node, Unknown) else _NOT_TOLD
        backend = dict(node.value.env).get("CALICO_NETWORKING_BACKEND", "")
        if backend in rule.other_backends:
            return False
        if backend not in rule.bgp_backends:
            return _NOT_TOLD
    if isinstance(bgp, Unknown):
        return bgp
    # Without a BGPConfiguration each node peers with every other.
    return not isinstance(bgp, Known) or bgp.value.mesh or bool(bgp.value.peers)


_NOT_TOLD = Unknown(reason=Reason.UNSUPPORTED, detail="CALICO_NETWORKING_BACKEND of calico-node could not be followed")
