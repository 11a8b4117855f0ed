"""IPv6: who uses it, whether the release can do it, and whether Felix is told to."""

import json
import shlex
from collections.abc import Iterator

import msgspec

from ebpfcheck.checks.features import FELIX, has_ipv6_off
from ebpfcheck.checks.felix import set_command
from ebpfcheck.checks.kube_proxy_state import Felix, felix_of
from ebpfcheck.checks.naming import counted
from ebpfcheck.model.check import Given, Outcome, check, fail, optional, passed, unseen, warn
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import Absent, Known, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity, Status
from ebpfcheck.model.text import excerpt

_POOLS = optional(ClusterFacts.ip_pools)
_SERVICES = optional(ClusterFacts.services)
_RANGES = optional(ClusterFacts.service_cidrs)
_KUBERNETES = optional(ClusterFacts.kubernetes_service)
_ADDRESSES = optional(ClusterFacts.node_addresses)
_NODE = optional(ClusterFacts.calico_node)
_INSTALLATION = optional(ClusterFacts.installation)
_SHOWN = 3


class _Use(msgspec.Struct, frozen=True, kw_only=True):
    """What uses IPv6, whether anything uses IPv4, and why it may be that more uses IPv6."""

    ipv6: tuple[str, ...]
    ipv4: bool
    hidden: Unknown | None
    is_bare: bool
    """Whether pools alone speak of IPv6, while the nodes are known to have none."""

    @property
    def shown(self) -> str:
        return ", ".join(self.ipv6)


@check(
    id="cluster.ipv6",
    title="IPv6 and dual stack",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(_POOLS, _SERVICES, _RANGES, _KUBERNETES, _ADDRESSES, _NODE, _INSTALLATION, FELIX),
)
def ipv6(given: Given) -> Outcome:
    """Whether eBPF mode does what pods and Services need of IPv6."""
    use = _use(given)
    outcome = _judged(given, use)
    if outcome.status is not Status.FAIL or not use.is_bare:
        return outcome
    # calico-node makes an IPv6 pool by itself where the kernel has IPv6, whether pods get addresses of it or not.
    other = _judged(given, msgspec.structs.replace(use, ipv6=()))
    if other.status is not Status.PASS:
        return other
    return warn(
        "pool-alone",
        f"There is an {use.shown}, while no node and no Service has an IPv6 address: calico-node makes such a pool by "
        "itself. If pods do have addresses of it, they lose IPv6 in eBPF mode.",
        observed=use.shown,
        required="no IPv6 pool, or IPv6 in eBPF mode",
        remediation=Remediation(
            text="See whether pods have IPv6 addresses, and disable or delete the pool if they have none.",
            commands=(
                "kubectl get pods -A -o custom-columns=NS:.metadata.namespace,NAME:.metadata.name,IPS:.status.podIPs",
            ),
        ),
    )


def _judged(given: Given, use: _Use) -> Outcome:
    rule, calico = given.release.features.ipv6, given.release.version
    if calico.within(rule.unsupported):
        if use.ipv6:
            return fail(
                "unsupported",
                f"IPv6 is in use ({use.shown}). eBPF mode of Calico {calico} has none: IPv6 to pods is dropped, and "
                "nobody looks after IPv6 addresses of Services.",
                observed=use.shown,
                required=f"IPv4 alone, or Calico {rule.supported_from} or later",
                remediation=_upgrade(given),
            )
        return _not_used(given, use)
    if isinstance(given[_NODE], Absent) and isinstance(given[_INSTALLATION], Absent):
        return _not_installed(given, use)
    felix = felix_of(given)
    return _of_one_family(given, use, felix) if calico.within(rule.one_family) else _of_both(given, use, felix)


def _not_used(given: Given, use: _Use) -> Outcome:
    if use.hidden is not None:
        rule = given.release.features.ipv6
        way_out = f"From Calico {rule.supported_from} on {rule.field}: true settles it."
        return unseen(
            "use-unseen",
            "Whether pods or Services use IPv6 could not be told",
            use.hidden,
            remediation=Remediation(text=way_out),
        )
    return passed(
        "not-used",
        "Neither pods nor Services use IPv6." + (" Addresses that nodes alone have do not matter." * _has_dual(given)),
    )


def _not_installed(given: Given, use: _Use) -> Outcome:
    """Judge a cluster whose Felix has no settings yet."""
    rule, calico = given.release.features.ipv6, given.release.version
    if use.ipv6 and use.ipv4 and calico.within(rule.one_family):
        return _dual_stack(given, use)
    if not use.ipv6:
        return _not_used(given, use)
    return passed(
        "not-installed",
        f"IPv6 is in use ({use.shown}), and Calico is not installed yet: with Calico {calico} it needs {rule.field}, "
        "and nodes whose IPv6 addresses are found.",
        observed=use.shown,
        note=True,
    )


def _of_both(given: Given, use: _Use, felix: Felix) -> Outcome:
    """Judge for a release that does both families."""
    rule, calico, off = given.release.features.ipv6, given.release.version, felix.nodes(has_ipv6_off)
    if not off and felix.unseen is None:
        return passed(
            "on",
            f"Calico {calico} does IPv6 in eBPF mode, and {rule.field} is on.",
            observed=use.shown,
            required=f"{rule.field} where IPv6 is in use",
        )
    if not use.ipv6:
        return _not_used(given, use)
    if not off and felix.unseen is not None:
        return _felix_unseen(given, use, felix.unseen)
    return _switched_off(given, use)


def _of_one_family(given: Given, use: _Use, felix: Felix) -> Outcome:
    """Judge for the release that does either IPv4 or, where it is told to do IPv6, that alone."""
    rule, calico, off = given.release.features.ipv6, given.release.version, felix.nodes(has_ipv6_off)
    if use.ipv6 and use.ipv4:
        return _dual_stack(given, use)
    if use.ipv6 and off:
        return _switched_off(given, use)
    if use.ipv6 and felix.unseen is not None:
        return _felix_unseen(given, use, felix.unseen)
    if use.ipv6:
        return warn(
            "preview",
            f"IPv6 alone is in use, which eBPF mode of Calico {calico} does as a technology preview, not meant for "
            "production.",
            observed=use.shown,
            required=f"Calico {rule.supported_from} or later",
            remediation=_upgrade(given),
        )
    if use.ipv4 and off < felix.total:
        return fail(
            "ipv6-alone",
            f"{rule.field} is on, as it is unless it is set to false: eBPF mode of Calico {calico} then does IPv6 "
            "alone, and IPv4, which is in use, is left without Services and policies.",
            observed=f"{rule.field} not false",
            required=f"{rule.field} false, or Calico {rule.supported_from} or later",
            remediation=_set(given, on=False),
        )
    if use.ipv4 and felix.unseen is not None:
        return _felix_unseen(given, use, felix.unseen)
    return _not_used(given, use)


def _dual_stack(given: Given, use: _Use) -> Outcome:
    rule, calico = given.release.features.ipv6, given.release.version
    return fail(
        "dual-stack",
        f"IPv4 and IPv6 are in use ({use.shown}). eBPF mode of Calico {calico} does one of them at a time: the other "
        "is left without Services, or dropped.",
        observed=use.shown,
        required=f"one family, or Calico {rule.supported_from} or later",
        remediation=_upgrade(given),
    )


def _switched_off(given: Given, use: _Use) -> Outcome:
    rule = given.release.features.ipv6
    return fail(
        "off",
        f"IPv6 is in use ({use.shown}), and {rule.field} is false: eBPF mode of Calico {given.release.version} then "
        "drops IPv6 to pods, and nobody looks after IPv6 addresses of Services. Switch it on.",
        observed=f"{use.shown}; {rule.field} false",
        required=f"{rule.field} true",
        remediation=_set(given, on=True),
    )


def _felix_unseen(given: Given, use: _Use, why: Unknown) -> Outcome:
    rule = given.release.features.ipv6
    what = f"IPv6 is in use ({use.shown})" if use.ipv6 else "IPv4 is in use"
    return unseen(
        "felix-unseen",
        f"{what}; whether {rule.field} is on, which decides for Calico {given.release.version}, could not be seen",
        why,
        observed=use.shown,
    )


def _use(given: Given) -> _Use:
    pools, kubernetes, addresses = given[_POOLS], given[_KUBERNETES], given[_ADDRESSES]
    in_use = [pool for pool in pools.value if not pool.disabled] if isinstance(pools, Known) else []
    named = [f"IPPool {excerpt(pool.name, 60)} ({excerpt(pool.cidr, 45)})" for pool in in_use if ":" in pool.cidr]
    more = [f"{len(named) - _SHOWN} more IPPools"] if len(named) > _SHOWN else []
    nodes = addresses.value if isinstance(addresses, Known) else None
    of_services = tuple(_services(given))
    own_ips = kubernetes.value.cluster_ips if isinstance(kubernetes, Known) else ()
    return _Use(
        ipv6=(
            *named[:_SHOWN],
            *more,
            *of_services,
            *(["nodes that have no IPv4 address"] if nodes is not None and nodes.ipv6 else []),
        ),
        ipv4=any(":" not in pool.cidr for pool in in_use)
        or any(":" not in address for address in own_ips)
        or (nodes is not None and nodes.ipv4 > 0),
        hidden=_hidden(given, has_pools=bool(in_use)),
        is_bare=not of_services and nodes is not None and not nodes.ipv6 and not nodes.dual,
    )


def _services(given: Given) -> Iterator[str]:
    """Tell what of Services shows IPv6; a range that no Service has an address of shows nothing."""
    services, ranges, kubernetes = given[_SERVICES], given[_RANGES], given[_KUBERNETES]
    if isinstance(services, Known):
        if services.value.ipv6.count:
            yield counted(services.value.ipv6, "Service") + " with IPv6 addresses"
    elif isinstance(kubernetes, Known) and any(":" in address for address in kubernetes.value.cluster_ips):
        yield "the Service default/kubernetes"
    elif isinstance(ranges, Known):
        yield from (f"Services' range {excerpt(cidr, 45)}" for cidr in ranges.value[:_SHOWN] if ":" in cidr)


def _hidden(given: Given, *, has_pools: bool) -> Unknown | None:
    """Return why there may be users of IPv6 that were not seen."""
    ranges = given[_RANGES]
    # Where no range is IPv6, no Service has such an address.
    has_ranges = isinstance(ranges, Known) and bool(ranges.value)
    facts = (given[_POOLS], given[_ADDRESSES], *(() if has_ranges else (given[_SERVICES],)))
    unknown = next((fact for fact in facts if isinstance(fact, Unknown)), None)
    if unknown is None and not has_pools and _has_dual(given):
        return Unknown(
            reason=Reason.UNSUPPORTED,
            detail="pods have their addresses from another network than Calico's, and nodes have IPv6 addresses",
        )
    return unknown


def _has_dual(given: Given) -> bool:
    addresses = given[_ADDRESSES]
    return isinstance(addresses, Known) and addresses.value.dual > 0


def _upgrade(given: Given) -> Remediation:
    return Remediation(
        text=f"Upgrade to Calico {given.release.features.ipv6.supported_from} or later before eBPF mode is enabled; "
        "its eBPF mode does IPv4, IPv6 and both."
    )


def _set(given: Given, *, on: bool) -> Remediation:
    """Return how Felix is told whether to look after IPv6."""
    rule, node = given.release.features.ipv6, given[_NODE]
    if given.install == "operator":
        method = {"firstFound": True} if on else None
        patch = json.dumps({"spec": {"calicoNetwork": {"nodeAddressAutodetectionV6": method}}})
        return Remediation(
            text=f"The operator sets {rule.variable}: to true where it is to find the nodes' IPv6 addresses. "
            "calico-node is restarted node by node.",
            commands=(f"kubectl patch installation default --type merge -p {shlex.quote(patch)}",),
            disruptive=True,
        )
    word = "true" if on else "false"
    if isinstance(node, Known) and any(name == rule.variable for name, _ in node.value.env):
        more = " IP6=autodetect" if on else ""
        return Remediation(
            text=f"{rule.variable} of calico-node outranks {rule.field}: set it there, and where the DaemonSet comes "
            "from. The pods are restarted node by node.",
            commands=(
                f"kubectl -n {shlex.quote(node.value.namespace)} set env daemonset/{shlex.quote(node.value.name)} "
                f"-c calico-node {rule.variable}={word}{more}",
            ),
            disruptive=True,
        )
    return Remediation(
        text=f"Set {rule.field}, in FelixConfigurations for some nodes too where these set it. Felix restarts.",
        commands=(set_command(rule.field, on),),
        disruptive=True,
    )
