"""What carries pods' packets between nodes."""

import json
import shlex
from collections.abc import Iterable
from ipaddress import ip_network

from ebpfcheck.checks.felix import set_command
from ebpfcheck.checks.naming import pool_names
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    not_applicable,
    optional,
    passed,
    settled,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import ClusterFacts, IpPool
from ebpfcheck.model.facts import Absent, Known, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_POOLS = settled(ClusterFacts.ip_pools)
_INSTALLATION = optional(ClusterFacts.installation)
_NODE = optional(ClusterFacts.calico_node)
_BGP = optional(ClusterFacts.bgp)
_SUBNETS = optional(ClusterFacts.node_subnets)
_OTHERS = optional(ClusterFacts.other_networks)
_FELIX = optional(ClusterFacts.felix_default)

_OFF = "Never"


@check(
    id="cluster.ippool.encapsulation",
    title="Overlay of the IPPools",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_POOLS, _INSTALLATION, _NODE, _BGP, _SUBNETS, _OTHERS, _FELIX),
)
def encapsulation(given: Given) -> Outcome:
    """Whether eBPF mode works with the IPPools' overlay, and where there is none, what shows that none is needed."""
    calico, found = given.release.version, given[_POOLS]
    pools = found.value if isinstance(found, Known) else ()
    if not pools:
        return _without_pools(given)
    in_use = [pool for pool in pools if not pool.disabled]
    needed = "VXLAN, or a network that carries pods' addresses itself"
    odd = [pool for pool in in_use if _is_odd(given, pool)]
    wrong = [pool for pool in in_use if pool not in odd and _uses_ipip(pool) and _family(pool) == 6]
    if wrong:
        return fail(
            "ipip-v6",
            f"{pool_names(wrong)} asks for IPIP over IPv6, which Calico {calico} does not have: pods of that pool do "
            "not reach other nodes.",
            observed=pool_names(wrong),
            required=needed,
            remediation=_without_ipip(given, wrong),
        )
    if odd:
        return unknown(
            "odd",
            f"{pool_names(odd)} has a range, or modes, that Calico does not take.",
            reason=Reason.UNPARSABLE,
            observed=pool_names(odd),
            required=needed,
            remediation=Remediation(text="See what it says.", commands=("kubectl get ippools -o yaml",)),
        )
    overlaid = [pool for pool in in_use if _uses_ipip(pool) or _uses_vxlan(pool)]
    if overlaid and given.release.is_preview:
        return warn(
            "preview",
            f"{pool_names(overlaid)} uses an overlay, which the technology preview of eBPF mode in Calico {calico} is "
            "not made for.",
            observed=pool_names(overlaid),
            required="no overlay",
            remediation=Remediation(text="Upgrade Calico before eBPF mode is enabled."),
        )
    ipip = [pool for pool in in_use if _uses_ipip(pool)]
    if ipip:
        return warn(
            "ipip",
            f"{pool_names(ipip)} uses IPIP. It works in eBPF mode of Calico {calico}, but is slower than VXLAN, which "
            "its documentation recommends.",
            observed=pool_names(ipip),
            required=needed,
            remediation=_to_vxlan(given, ipip),
        )
    bare = [pool for pool in in_use if not _uses_vxlan(pool)]
    if bare:
        others = [pool for pool in in_use if pool not in bare]
        beside = f" ({pool_names(others)} uses VXLAN, by {_port(given)})" if others else ""
        return _without_overlay(given, f"{pool_names(bare)} uses no overlay{beside}", needed)
    if not in_use:
        return unknown(
            "all-disabled",
            "All IPPools are disabled: which network gives pods their addresses could not be told.",
            reason=Reason.UNSUPPORTED,
            observed=pool_names(pools),
            required=needed,
        )
    return _vxlan(given, in_use, [pool for pool in pools if pool.disabled and _uses_ipip(pool)], needed)


def _vxlan(given: Given, in_use: list[IpPool], old: list[IpPool], needed: str) -> Outcome:
    return passed(
        "vxlan",
        f"{pool_names(in_use)} uses VXLAN, as is recommended for eBPF mode. {_port(given)} has to be open between all "
        "nodes; what is connected over VXLAN does not outlive the switch."
        + (f" Addresses of {pool_names(old)}, which is disabled, still go by IPIP." if old else ""),
        observed=pool_names(in_use),
        required=needed,
        note=True,
    )


def _port(given: Given) -> str:
    felix = given[_FELIX]
    port = felix.value.settings.vxlan_port if isinstance(felix, Known) else None
    usual = given.release.network.vxlan.port
    return f"UDP port {port or usual}" + (" (or what vxlanPort says)" if isinstance(felix, Unknown) else "")


def _without_pools(given: Given) -> Outcome:
    """Judge a cluster without IPPools."""
    cloud = cloud_of(given)
    if cloud:
        return passed("cloud", f"{_NO_POOLS}; {cloud} gives pods addresses that the network carries itself.")
    node, installation = given[_NODE], given[_INSTALLATION]
    if isinstance(node, Absent) and isinstance(installation, Absent):
        return not_applicable("no-calico", "Calico is not installed, and has no IPPools yet.")
    if not isinstance(node, Known) and not isinstance(installation, Known):
        hidden = node if isinstance(node, Unknown) else installation
        return unseen("install-unseen", f"{_NO_POOLS}, and whether Calico is installed could not be seen", hidden)
    return passed(
        "no-pools",
        f"{_NO_POOLS}: another IPAM gives the addresses, and its network carries them.",
        observed="no IPPools",
        note=True,
    )


_NO_POOLS = "There are no IPPools"


def _hidden(given: Given) -> Unknown | None:
    """Return what could have shown another network than Calico's, and could not be seen."""
    facts = (given[_OTHERS], *(() if given.install == "manifest" else (given[_INSTALLATION],)))
    return next((fact for fact in facts if isinstance(fact, Unknown)), None)


def cloud_of(given: Given) -> str:
    """Name the CNI plugin whose addresses the cloud's network carries, "" if there is none."""
    rule, installation, others = given.release.calico.overlay, given[_INSTALLATION], given[_OTHERS]
    cni = installation.value.cni_type if isinstance(installation, Known) else None
    if cni in rule.cloud_cnis:
        return f"the CNI plugin {cni}"
    # Where Calico gives the addresses itself, what another plugin left behind says nothing.
    if cni == rule.calico_cni or not isinstance(others, Known):
        return ""
    names = (other.rpartition("/")[2] for other in others.value)
    return next((rule.cloud_networks[name] for name in names if name in rule.cloud_networks), "")


def _without_overlay(given: Given, what: str, needed: str) -> Outcome:
    """Judge pools without an overlay by what shows that the network carries pods' addresses."""
    bgp, subnets = given[_BGP], given[_SUBNETS]
    cloud = cloud_of(given)
    if cloud:
        return passed(
            "cloud", f"{what}, and needs none: the addresses come from {cloud}.", observed=cloud, required=needed
        )
    off = _why_no_bgp(given)
    if off:
        return warn(
            "bgp-off",
            f"{what}, though {off}: nothing of Calico {given.release.version} tells nodes how to reach the pods of "
            "other nodes. Unless something else does, they are not reached, in eBPF mode or not.",
            observed=off,
            required=needed,
            remediation=Remediation(
                text="Make sure that the network carries pods' addresses (routes of the cloud or of routers), or use "
                "VXLAN."
            ),
        )
    if isinstance(bgp, Unknown):
        return unseen("bgp-unseen", f"{what}; whether nodes learn the routes by BGP could not be seen", bgp)
    peers = bgp.value.peers if isinstance(bgp, Known) else 0
    mesh = bgp.value.mesh if isinstance(bgp, Known) else True
    if peers:
        return passed(
            "bgp-peers",
            f"{what}; there are BGPPeers, from which the network can learn pods' routes. Whether it does is not seen.",
            observed=f"{peers} BGPPeers",
            required=needed,
        )
    if mesh and not isinstance(subnets, Known):
        return unseen("subnets-unseen", f"{what}; whether all nodes are in one subnet could not be told", subnets)
    networks = subnets.value if isinstance(subnets, Known) else ()
    if mesh and not networks:
        return unknown("no-nodes", f"{what}, and there are no nodes yet.", reason=Reason.NOT_COLLECTED, required=needed)
    if mesh and len(networks) == 1:
        return passed(
            "one-subnet",
            f"{what}, and needs none: all nodes are in one subnet, and tell each other the routes by BGP.",
            observed=excerpt(networks[0], 60),
            required=needed,
        )
    hidden = _hidden(given)
    if hidden is not None:
        return unseen("network-unseen", f"{what}; whether the network of a cloud needs none could not be seen", hidden)
    seen = f"the nodes are in {len(networks)} subnets" if mesh else "the mesh between nodes is off"
    return warn(
        "several-subnets" if mesh else "no-routes",
        f"{what}, though {seen} and there are no BGPPeers: nothing of Calico {given.release.version} tells "
        f"{'what is between them' if mesh else 'nodes'} how to reach the pods of other nodes. Unless something else "
        "does, they are not reached, in eBPF mode or not.",
        observed=f"{seen}, no BGPPeers",
        required=needed,
        remediation=Remediation(
            text="Make sure that the network carries pods' addresses (routes of the cloud or of routers, BGPPeers), or "
            "use VXLAN.",
            commands=("kubectl get ippools -o yaml", "kubectl get bgppeers"),
        ),
    )


def _why_no_bgp(given: Given) -> str:
    """Say why calico-node speaks no BGP; "" where it does, as far as can be seen."""
    installation, node = given[_INSTALLATION], given[_NODE]
    if isinstance(installation, Known) and installation.value.bgp == "Disabled":
        return "the Installation says bgp: Disabled"
    backend = dict(node.value.env).get("CALICO_NETWORKING_BACKEND") if isinstance(node, Known) else None
    return f"CALICO_NETWORKING_BACKEND of calico-node is {backend}" if backend in ("none", "vxlan") else ""


def _family(pool: IpPool) -> int | None:
    """Return 4 or 6, None for a range that is none."""
    try:
        return ip_network(pool.cidr, strict=False).version
    except ValueError:
        return None


def _uses_ipip(pool: IpPool) -> bool:
    return pool.ipip_mode != _OFF


def _uses_vxlan(pool: IpPool) -> bool:
    return pool.vxlan_mode != _OFF


def _is_odd(given: Given, pool: IpPool) -> bool:
    modes = given.release.calico.overlay.modes
    return (
        _family(pool) is None
        or pool.ipip_mode not in modes
        or pool.vxlan_mode not in modes
        or (_uses_ipip(pool) and _uses_vxlan(pool))
    )


def _to_vxlan(given: Given, pools: list[IpPool]) -> Remediation:
    """Return how pools go from IPIP to VXLAN between the same nodes, as clouds may drop what goes without."""
    setting, bug = given.release.calico.vxlan_setting, next(iter(given.release.vxlan_bugs), None)
    upgrade = "" if bug is None else f"After upgrading to {bug.fixed_in} or later (cluster.calico.version): "
    steps = [
        f"{upgrade}{'open' if upgrade else 'Open'} {_port(given)} between all nodes first, then change the pools"
        f"{_where(given, pools)}. {_BREAKS}"
    ]
    commands = [_patch(given, pool, ipipMode=_OFF, vxlanMode=pool.ipip_mode) for pool in pools]
    if given.release.version.within(setting.releases):
        steps.append(
            f"Felix {given.release.version} takes VXLAN from {setting.field} in FelixConfiguration, not from pools: "
            "calicoctl sets it as it writes a pool, and kubectl does not, so set it first."
        )
        commands.insert(0, set_command(setting.field, value=True))
    return Remediation(text=" ".join(steps), commands=tuple(commands), disruptive=True)


def _without_ipip(given: Given, pools: list[IpPool]) -> Remediation:
    return Remediation(
        text=f"Change the pools{_where(given, pools)}. {_BREAKS}",
        commands=tuple(_patch(given, pool, ipipMode=_OFF) for pool in pools),
        disruptive=True,
    )


_BREAKS = "Connections between pods break while nodes change over."


def _place_in_installation(given: Given, pool: IpPool) -> int | None:
    """Return which pool of the Installation it is, at releases whose operator then keeps it as that says."""
    installation = given[_INSTALLATION]
    listed = installation.value.pools if isinstance(installation, Known) else None
    keeps = given.release.version.within(given.release.calico.operator.keeps_pools) is not False
    return listed.index(pool.cidr) if keeps and listed and pool.cidr in listed else None


def _where(given: Given, pools: Iterable[IpPool]) -> str:
    is_kept = any(_place_in_installation(given, pool) is not None for pool in pools)
    return " where the Installation lists them, since the operator undoes what is changed of them elsewhere" * is_kept


def _patch(given: Given, pool: IpPool, **modes: str) -> str:
    place = _place_in_installation(given, pool)
    if place is not None:
        mode = modes.get("vxlanMode", _OFF)
        word = {"Always": "VXLAN", "CrossSubnet": "VXLANCrossSubnet"}.get(mode, "None")
        path = f"/spec/calicoNetwork/ipPools/{place}/encapsulation"
        patch = shlex.quote(json.dumps([{"op": "replace", "path": path, "value": word}]))
        return f"kubectl patch installation default --type json -p {patch}"
    patch = shlex.quote(json.dumps({"spec": modes}))
    return f"kubectl patch ippool {shlex.quote(pool.name)} --type merge -p {patch}"
