"""Who masquerades what pods send to Services outside of the pod network, once kube-proxy is gone."""

import json
import shlex
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from ebpfcheck.checks.naming import listed, pool_names
from ebpfcheck.checks.overlay import cloud_of
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    not_applicable,
    optional,
    over_nodes,
    passed,
    settled,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import ClusterFacts, IpPool
from ebpfcheck.model.facts import Absent, Known, NodeKind, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_POOLS = settled(ClusterFacts.ip_pools)
_NODE = optional(ClusterFacts.calico_node)
_INSTALLATION = optional(ClusterFacts.installation)
_OTHERS = optional(ClusterFacts.other_networks)
_BGP = optional(ClusterFacts.bgp)
_SERVERS = optional(ClusterFacts.api_endpoints)
_SUBNETS = optional(ClusterFacts.node_subnets)
_PROXY_CONFIG = optional(ClusterFacts.kube_proxy_config)
_PROXY = optional(ClusterFacts.kube_proxy)
_FELIX = over_nodes(NodeKind.felix)

_NEEDED = "natOutgoing, or a network that has routes to the pods"


@check(
    id="cluster.ippool.nat-outgoing",
    title="Masquerading of the IPPools",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(_POOLS, _NODE, _INSTALLATION, _OTHERS, _BGP, _SERVERS, _SUBNETS, _PROXY_CONFIG, _PROXY, _FELIX),
)
def nat_outgoing(given: Given) -> Outcome:
    """Whether pods still get answers from API servers once nobody but IPPools with natOutgoing masquerades."""
    found = given[_POOLS]
    pools = found.value if isinstance(found, Known) else ()
    if not pools:
        if isinstance(given[_NODE], Absent) and isinstance(given[_INSTALLATION], Absent):
            return not_applicable("no-calico", "Calico is not installed, and has no IPPools yet.")
        return passed(
            "no-pools", "There are no IPPools: another IPAM gives the addresses, and looks after masquerading."
        )
    # Pods keep the addresses of a pool that was disabled later.
    in_use = [pool for pool in pools if not pool.disabled] or list(pools)
    bare = [pool for pool in in_use if not pool.nat_outgoing]
    if not bare:
        return passed("nat", f"{pool_names(in_use)} has natOutgoing, as all that is in use.", required=_NEEDED)
    cloud = cloud_of(given)
    if cloud:
        return passed(
            "cloud",
            f"{pool_names(bare)} does without natOutgoing: the network of {cloud} carries pods' addresses itself.",
            observed=cloud,
            required=_NEEDED,
        )
    servers = given[_SERVERS]
    if not isinstance(servers, Known) or not servers.value:
        missing = servers if not isinstance(servers, Known) else Absent(source=servers.source)
        return unseen(
            "servers-unseen",
            f"{pool_names(bare)} has no natOutgoing; where the API servers are could not be told",
            missing,
        )
    hosts = [_host(server) for server in servers.value]
    families = {network.version for host in hosts if (network := _network(host)) is not None}
    concerned = [pool for pool in bare if _family(pool) in families] if families else bare
    if not concerned:
        return passed(
            "other-family",
            f"{pool_names(bare)} has no natOutgoing, and is of another IP version than the API servers.",
            observed=pool_names(bare),
            required=_NEEDED,
        )
    return _without_nat(given, concerned, hosts)


def _is_done(given: Given) -> bool:
    """Whether eBPF mode is on for all nodes and kube-proxy is gone, so that nothing changes any more."""
    shares, proxy = given[_FELIX], given[_PROXY]
    is_on = bool(shares) and all(
        isinstance(share.fact, Known) and share.fact.value.bpf_enabled is True for share in shares
    )
    return is_on and (isinstance(proxy, Absent) or (isinstance(proxy, Known) and proxy.value.desired == 0))


def _without_nat(given: Given, bare: list[IpPool], hosts: list[str]) -> Outcome:
    """Judge pools without natOutgoing by what shows that answers find the way back."""
    what, observed = (
        f"{pool_names(bare)} has no natOutgoing",
        f"{pool_names(bare)}, API servers at {listed(hosts, 4, each=60)}",
    )
    config, bgp = given[_PROXY_CONFIG], given[_BGP]
    if isinstance(config, Known) and config.value.cluster_cidr and _covers(config.value.cluster_cidr, bare):
        return passed(
            "never-masqueraded",
            f"{what}, and kube-proxy's clusterCIDR covers it: kube-proxy leaves what these pods send as it is too, "
            "unless its masqueradeAll is set.",
            observed=f"clusterCIDR {excerpt(config.value.cluster_cidr, 80)}",
            required=_NEEDED,
        )
    if isinstance(bgp, Known) and bgp.value.peers:
        return passed(
            "bgp-peers",
            f"{what}, and there are BGPPeers, from which the network can learn the routes to pods. That API servers at "
            f"{listed(hosts, 4, each=60)} have them is not seen: without kube-proxy nobody masquerades for these pods.",
            observed=observed,
            required=_NEEDED,
            note=True,
        )
    if _is_done(given):
        return passed(
            "done",
            f"{what}, and the API servers ({listed(hosts, 4, each=60)}) are elsewhere; eBPF mode is on and kube-proxy "
            "is gone already, so that the routes that there are have to do.",
            observed=observed,
            required=_NEEDED,
            note=True,
        )
    subnets = given[_SUBNETS]
    if isinstance(subnets, Known) and all(_is_within(host, subnets.value) for host in hosts):
        return passed(
            "near",
            f"{what}, and all API servers are in the nodes' own subnets. Where they are nodes themselves they know the "
            "routes to pods; where they are not, as with control planes that a cloud runs, pods may lose them.",
            observed=observed,
            required=_NEEDED,
            note=True,
        )
    hidden: tuple[tuple[str, str, object], ...] = (
        (
            "felix-unseen",
            "whether eBPF mode is on already",
            next((share.fact for share in given[_FELIX] if isinstance(share.fact, Unknown)), None),
        ),
        ("proxy-unseen", "whether kube-proxy is gone already", given[_PROXY]),
        ("kube-proxy-unseen", "whether kube-proxy masqueraded for it", config),
        ("bgp-unseen", "whether the network learns the routes by BGP", bgp),
        ("subnets-unseen", "whether the API servers are in the nodes' subnets", subnets),
        ("networks-unseen", "whether a cloud's network carries pods' addresses", given[_OTHERS]),
        (
            "installation-unseen",
            "which CNI plugin gives the addresses",
            None if given.install == "manifest" else given[_INSTALLATION],
        ),
    )
    for cause, words, fact in hidden:
        if isinstance(fact, Unknown):
            return unseen(cause, f"{what}; {words} could not be told", fact, observed=observed, required=_NEEDED)
    return warn(
        "not-masqueraded",
        f"{what}, and the API servers ({listed(hosts, 4, each=60)}) are outside of the nodes' subnets: kube-proxy may "
        f"have masqueraded what these pods send to Services, and in eBPF mode of Calico {given.release.version} only "
        "natOutgoing does. Unless the network has routes to the pods, they lose the API server.",
        observed=observed,
        required=_NEEDED,
        remediation=_masquerade(given, bare, hosts),
    )


def _masquerade(given: Given, bare: list[IpPool], hosts: list[str]) -> Remediation:
    servers = given[_SERVERS]
    host, _, port = (servers.value[0] if isinstance(servers, Known) else f"{hosts[0]}:443").rpartition(":")
    probe = f"nc -zvw5 {shlex.quote(host.strip('[]'))} {shlex.quote(port)}"
    listed = given[_INSTALLATION]
    also = (
        " Where the operator's Installation lists the pool, set its natOutgoing to Enabled there."
        if isinstance(listed, Known) and listed.value.pools
        else ""
    )
    return Remediation(
        text="See first whether pods of these pools reach an API server by its own address, which nobody masquerades "
        f"now: where they do, nothing is amiss. Else give the network routes to the pods, or set natOutgoing.{also}",
        commands=(
            f"kubectl run api-server-probe --rm -i --restart=Never --image=busybox -- {probe}",
            *(
                f"kubectl patch ippool {shlex.quote(pool.name)} --type merge "
                f"-p {shlex.quote(json.dumps({'spec': {'natOutgoing': True}}))}"
                for pool in bare
            ),
        ),
    )


def _host(server: str) -> str:
    return server.rpartition(":")[0].strip("[]")


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError:
        return None


def _family(pool: IpPool) -> int | None:
    network = _network(pool.cidr)
    return None if network is None else network.version


def _covers(cluster_cidr: str, pools: list[IpPool]) -> bool:
    """Whether kube-proxy's clusterCIDR, one range of each IP version, covers all of these pools."""
    ranges = [_network(part) for part in cluster_cidr.split(",")]
    return all(any(_is_inside(_network(pool.cidr), one) for one in ranges) for pool in pools)


def _is_within(host: str, subnets: Iterable[str]) -> bool:
    one = _network(host)
    return any(_is_inside(one, _network(subnet)) for subnet in subnets)


def _is_inside(one: IPv4Network | IPv6Network | None, other: IPv4Network | IPv6Network | None) -> bool:
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one.subnet_of(other)
    return isinstance(one, IPv6Network) and isinstance(other, IPv6Network) and one.subnet_of(other)
