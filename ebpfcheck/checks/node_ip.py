"""The address that calico-node finds for its node: the one that Felix tunnels by and takes NodePorts at."""

import json
import shlex

import msgspec

from ebpfcheck.model.check import Given, Outcome, check, fail, not_applicable, optional, passed, unknown, unseen, warn
from ebpfcheck.model.cluster import ClusterFacts, NodeAddresses
from ebpfcheck.model.facts import Absent, Known, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_INSTALLATION = optional(ClusterFacts.installation)
_POOLS = optional(ClusterFacts.ip_pools)
_NODE = optional(ClusterFacts.calico_node)
_ADDRESSES = optional(ClusterFacts.node_addresses)

_NEEDED = "for each node the address by which other nodes reach it"


class _Search(msgspec.Struct, frozen=True, kw_only=True):
    """How addresses are found: by what method, empty where nothing looks for them, None where nobody says how."""

    ipv4: str | None
    ipv6: str | None


@check(
    id="cluster.node-ip",
    title="Addresses of the nodes",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_INSTALLATION, _POOLS, _NODE, _ADDRESSES),
)
def node_ip(given: Given) -> Outcome:
    """Whether calico-node finds each node's own address."""
    node, installation, addresses = given[_NODE], given[_INSTALLATION], given[_ADDRESSES]
    if isinstance(node, Absent) and isinstance(installation, Absent):
        return not_applicable("no-calico", "Calico is not installed, and looks for no addresses yet.")
    refused = _refused(given)
    if refused is not None:
        return refused
    search = _search(given)
    if isinstance(search, Outcome):
        return search
    if not isinstance(addresses, Known):
        return unseen("addresses-unseen", "Which addresses calico-node found could not be told", addresses)
    found = addresses.value
    total = found.ipv4 + found.ipv6 + found.dual + found.none
    if not total:
        return unknown("no-nodes", "There are no nodes to have addresses yet.", reason=Reason.NOT_COLLECTED)
    missing = total - found.found - found.other
    return (
        _policy_only(given, missing, total)
        or _not_looked_for(given, search, found, missing, total)
        or _of_nodes(given, search, found, missing, total)
    )


def _refused(given: Given) -> Outcome | None:
    """Judge what the operator refuses, as it does not fill it in by itself."""
    installation, pools, rule = given[_INSTALLATION], given[_POOLS], given.release.services.autodetection
    if not isinstance(installation, Known) or not given.release.version.within(rule.refused_without_pool):
        return None
    listed = [cidr for cidr in installation.value.pools or () if ":" in cidr]
    if not listed or installation.value.autodetection_v6 is not None or _has_v6_pool(given):
        return None
    shown = excerpt(listed[0], 60)
    if isinstance(pools, Unknown):
        return unseen(
            "pools-unseen",
            f"The Installation lists the IPv6 pool {shown} and sets no nodeAddressAutodetectionV6; whether the "
            "operator fills it in could not be told",
            pools,
        )
    return fail(
        "refused",
        f"The Installation lists the IPv6 pool {shown} and sets no nodeAddressAutodetectionV6, which the operator of "
        f"Calico {given.release.version} fills in only where there is an IPv6 IPPool. There is none, so it refuses "
        "linuxDataplane: BPF.",
        observed=f"IPv6 pool {shown} listed, no IPv6 IPPool, nodeAddressAutodetectionV6 not set",
        required="nodeAddressAutodetectionV6 in the Installation",
        remediation=Remediation(
            text="Say in the Installation how calico-node finds its IPv6 address, and see why the pool was not made.",
            commands=("kubectl get tigerastatus ippools -o yaml", _patch(given, "V6")),
        ),
    )


def _has_v6_pool(given: Given) -> bool:
    pools = given[_POOLS]
    return isinstance(pools, Known) and any(":" in pool.cidr for pool in pools.value)


def _has_v4_pool(given: Given) -> bool:
    pools = given[_POOLS]
    return isinstance(pools, Known) and any(":" not in pool.cidr for pool in pools.value)


def _search(given: Given) -> _Search | Outcome:
    """Return how addresses are found, as the Installation says, or else calico-node's variables."""
    node, installation, rule = given[_NODE], given[_INSTALLATION], given.release.services.autodetection
    if isinstance(installation, Known):
        return _Search(ipv4=installation.value.autodetection_v4, ipv6=installation.value.autodetection_v6)
    if given.install == "operator" or not isinstance(node, Known):
        hidden = installation if isinstance(installation, Unknown) else node
        if isinstance(hidden, Known):
            hidden = Absent(source=hidden.source)
        return unseen("search-unseen", "How calico-node finds the nodes' addresses could not be told", hidden)
    env = dict(node.value.env)
    # A variable that could not be followed says something, whatever it is.
    ipv4, ipv6 = (env.get(rule.variables[family], "") for family in ("ipv4", "ipv6"))
    return _Search(
        ipv4="" if ipv4 == rule.off else "IP",
        # Of IPv6 calico-node looks for an address only where it is told to.
        ipv6="" if ipv6 in ("", rule.off) else "IP6",
    )


def _policy_only(given: Given, missing: int, total: int) -> Outcome | None:
    """Judge where Calico does not look for addresses, as another CNI plugin runs the network."""
    node, installation, rule = given[_NODE], given[_INSTALLATION], given.release.services.autodetection
    backend = dict(node.value.env).get("CALICO_NETWORKING_BACKEND") if isinstance(node, Known) else None
    cni = installation.value.cni_type if isinstance(installation, Known) else None
    if backend != rule.no_backend and (backend is not None or cni in (None, given.release.calico.overlay.calico_cni)):
        return None
    if not missing or given.release.version.within(rule.falls_back):
        return passed(
            "policy-only",
            "Another CNI plugin runs the network, beside which calico-node looks for no addresses: Felix "
            f"{given.release.version} goes by the nodes' InternalIPs.",
            required=_NEEDED,
        )
    return warn(
        "policy-only-missing",
        f"Another CNI plugin runs the network, beside which calico-node looks for no addresses, and {missing} of "
        f"{total} nodes have none: Felix {given.release.version} does not go by InternalIPs, and has nothing to tunnel "
        "by.",
        observed=f"{missing} of {total} nodes without an address",
        required=_NEEDED,
        remediation=Remediation(text=f"Upgrade Calico to {rule.falls_back_from} or later, which goes by InternalIPs."),
    )


def _not_looked_for(given: Given, search: _Search, found: NodeAddresses, missing: int, total: int) -> Outcome | None:
    """Judge where nothing looks for the addresses of an IP version that nodes have."""
    # Where pods have IPv6 alone, and nodes an address for that, IPv4 is not missed.
    is_for_ipv6 = search.ipv6 != "" and _has_v6_pool(given) and not _has_v4_pool(given)
    no_ipv4 = search.ipv4 == "" and bool(found.ipv4 or found.dual) and not is_for_ipv6
    no_ipv6 = search.ipv6 == "" and bool(found.ipv6 or found.dual) and _has_v6_pool(given)
    if not no_ipv4 and not no_ipv6:
        return None
    families = " and ".join(("IPv4",) * no_ipv4 + ("IPv6",) * no_ipv6)
    by = "the Installation" if isinstance(given[_INSTALLATION], Known) else "calico-node's variables"
    what = f"By {by} nothing looks for the nodes' {families} addresses"
    if no_ipv4 and not search.ipv6 and missing:
        return fail(
            "none",
            f"{what}, and {missing} of {total} nodes have none: calico-node {given.release.version} does not start on "
            "them, in eBPF mode or not.",
            observed=f"{missing} of {total} nodes without an address",
            required=_NEEDED,
            remediation=_look(given, ipv4=no_ipv4, ipv6=no_ipv6),
        )
    return warn(
        "off",
        f"{what}: they stay what Calico was once given, and a node that joins has none, so that Felix "
        f"{given.release.version} does not know where to send what is for its pods.",
        observed=f"no autodetection of {families}",
        required=_NEEDED,
        remediation=_look(given, ipv4=no_ipv4, ipv6=no_ipv6),
    )


def _of_nodes(given: Given, search: _Search, found: NodeAddresses, missing: int, total: int) -> Outcome:
    """Judge what was found."""
    calico = given.release.version
    if search.ipv4 is None and found.ipv6 and not found.ipv4 and not found.dual:
        return warn(
            "ipv4-asked",
            "The nodes have IPv6 InternalIPs alone, and the Installation sets no nodeAddressAutodetectionV4: for "
            f"linuxDataplane: BPF the operator of Calico {calico} fills it in, and calico-node does not start on a "
            "node without any IPv4 address.",
            observed="IPv6 alone, nodeAddressAutodetectionV4 not set",
            required="nodeAddressAutodetectionV4 set to no method",
            remediation=Remediation(
                text="Say that IPv4 addresses are not to be looked for.",
                commands=(_merge({"nodeAddressAutodetectionV4": {}}),),
            ),
        )
    if found.other:
        return warn(
            "other",
            f"On {found.other} of {total} nodes calico-node found an address that is none of the node's InternalIPs. "
            f"In eBPF mode Felix {calico} tunnels NodePorts from and to that one: where it is of another network, such "
            "as a bridge or a VPN, they get lost.",
            observed=f"{found.other} of {total} nodes with another address than InternalIP",
            required=_NEEDED,
            remediation=_look(given, ipv4=bool(found.ipv4 or found.dual), ipv6=bool(found.ipv6 or found.dual)),
        )
    if missing:
        return warn(
            "missing",
            f"For {missing} of {total} nodes calico-node has found no address: it does not run there, or found none, "
            f"and without it a node is no part of eBPF mode of Calico {calico}.",
            observed=f"{missing} of {total} nodes without an address",
            required=_NEEDED,
            remediation=Remediation(
                text="See which they are, and why calico-node does not run there.",
                commands=(
                    "kubectl get nodes -o custom-columns="
                    "'NAME:.metadata.name,CALICO:.metadata.annotations.projectcalico\\.org/IPv4Address'",
                    "kubectl get pods -A -l k8s-app=calico-node -o wide",
                ),
            ),
        )
    return passed(
        "found",
        f"On all {total} nodes calico-node found an address that is one of the node's InternalIPs.",
        observed=f"{found.found} of {total} nodes",
        required=_NEEDED,
    )


def _look(given: Given, *, ipv4: bool, ipv6: bool) -> Remediation:
    """Return how calico-node is told to look for addresses, by what kubelet says where the release can."""
    node, rule = given[_NODE], given.release.services.autodetection
    text = (
        "Let calico-node find the address by which nodes reach each other, here the one that kubelet reports as "
        "InternalIP; its pods restart node by node, and routes follow a changed address."
        if given.release.version.within(rule.internal_ip)
        else "Let calico-node find the address by which nodes reach each other; its pods restart node by node."
    )
    families = [family for family, is_wanted in (("V4", ipv4), ("V6", ipv6)) if is_wanted]
    if isinstance(given[_INSTALLATION], Known):
        commands = tuple(_patch(given, family) for family in families)
    elif isinstance(node, Known):
        method = rule.variable_methods["internal_ip" if given.release.version.within(rule.internal_ip) else "other"]
        names = {"V4": "IP", "V6": "IP6"}
        words = " ".join(
            f"{names[family]}=autodetect {names[family]}_AUTODETECTION_METHOD={method}" for family in families
        )
        daemonset = f"-n {shlex.quote(node.value.namespace)} set env daemonset/{shlex.quote(node.value.name)}"
        commands = (f"kubectl {daemonset} -c calico-node {words}",)
    else:
        commands = ()
    return Remediation(text=text, commands=commands, disruptive=True)


def _patch(given: Given, family: str) -> str:
    """Return the command that chooses one method, and takes away any other, of which the operator takes only one."""
    rule = given.release.services.autodetection
    by_kubelet = given.release.version.within(rule.internal_ip)
    chosen: dict[str, object] = {"kubernetes": "NodeInternalIP"} if by_kubelet else {"firstFound": True}
    return _merge({f"nodeAddressAutodetection{family}": {**dict.fromkeys(rule.methods), **chosen}})


def _merge(network: dict[str, object]) -> str:
    patch = json.dumps({"spec": {"calicoNetwork": network}})
    return f"kubectl patch installation default --type merge -p {shlex.quote(patch)}"
