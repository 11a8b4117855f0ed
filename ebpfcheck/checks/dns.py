"""NodeLocal DNSCache, and what keeps Services of DNS out of Felix's load balancing."""

import json
import shlex
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

import msgspec

from ebpfcheck.checks.kube_proxy_state import Felix, felix_of
from ebpfcheck.checks.naming import listed
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    not_applicable,
    optional,
    over_nodes,
    passed,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import ClusterFacts, DnsService, NodeLocalDns
from ebpfcheck.model.facts import FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_CACHES = optional(ClusterFacts.node_local_dns)
_SERVICES = optional(ClusterFacts.dns_services)
_FELIX = over_nodes(NodeKind.felix)
DNS_NEEDS = (_CACHES, _SERVICES, _FELIX)


class _Address(msgspec.Struct, frozen=True, kw_only=True):
    """An address of a Service of DNS."""

    service: DnsService
    ip: str
    is_taken: bool
    """Whether a cache takes it on each node."""
    kept_out: Literal["all", "some", "none", "unseen"]
    """On which nodes Felix leaves it alone."""
    by: str = ""

    @property
    def name(self) -> str:
        """The Service's name, for a message."""
        return excerpt(f"{self.service.namespace}/{self.service.name}", 80)


@check(
    id="cluster.dns.nodelocal",
    title="NodeLocal DNSCache",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=DNS_NEEDS,
)
def nodelocal(given: Given) -> Outcome:
    """Whether queries for the DNS Service get to the node's cache, and those that Felix leaves alone to anybody."""
    caches, services = given[_CACHES], given[_SERVICES]
    if isinstance(caches, Unknown):
        return unseen("caches-unseen", "Whether NodeLocal DNSCache runs could not be seen", caches)
    if isinstance(services, Unknown):
        return unseen("services-unseen", "The Services of the cluster's DNS could not be seen", services)
    found = caches.value if isinstance(caches, Known) else ()
    felix = felix_of(given)
    addresses = _addresses(given, felix, found, services.value if isinstance(services, Known) else ())
    odd = next((cache for cache in found if not cache.local_ips or None in map(_ip, cache.local_ips)), None)
    if odd is not None:
        return unknown(
            "odd-addresses",
            f"Which addresses {excerpt(f'{odd.namespace}/{odd.name}', 80)} takes on each node (-localip) could not be "
            "told.",
            reason=Reason.UNPARSABLE,
            observed=excerpt(", ".join(odd.local_ips), 120) or "no -localip",
        )
    lost = [one for one in addresses if one.kept_out in ("all", "some") and not one.is_taken]
    served = {one.name for one in addresses if one.is_taken}
    dead = [one for one in lost if one.name not in served]
    if dead and found:
        return _nobody_answers(given, dead)
    if dead:
        return warn(
            "no-known-cache",
            f"Felix {given.release.version} leaves Service {dead[0].name} alone ({dead[0].by}), and no cache that is "
            f"known here takes {_ips(dead)} on the nodes: unless another one does, nobody answers there in eBPF mode.",
            observed=f"{dead[0].name}, {_ips(dead)}",
            required="only what a cache on each node takes is kept out of load balancing",
            remediation=Remediation(
                text="See on a node what takes that address, and take the Service back into load balancing if nothing "
                "does.",
                commands=(f"ip -br address | grep -wF {shlex.quote(dead[0].ip)}",),
            ),
        )
    hidden = next((one for one in addresses if one.kept_out == "unseen"), None)
    if hidden is not None:
        return _hidden(given, felix, hidden)
    missed = [one for one in addresses if one.is_taken and one.kept_out != "all"]
    if missed:
        return _passed_by(given, felix, missed)
    if lost:
        return warn(
            "half",
            f"Felix {given.release.version} leaves {lost[0].name} alone at all its addresses ({lost[0].by}), and the "
            f"cache does not take {_ips(lost)}: who asks there gets no answer in eBPF mode.",
            observed=_ips(lost),
            required="the cache takes each address that Felix leaves alone",
            remediation=Remediation(
                text="Give the cache that address too (-localip and the bind lines of its Corefile), if kubelet tells "
                "pods to ask there."
            ),
        )
    if not found:
        return not_applicable("no-cache", "There is no NodeLocal DNSCache, and Felix resolves the Services of DNS.")
    return _fine(given, addresses, found)


def missed_caches(given: Given) -> tuple[tuple[DnsService, str], ...]:
    """Return the Services and their addresses that a cache takes and Felix does not leave alone; asks for DNS_NEEDS."""
    caches, services = given[_CACHES], given[_SERVICES]
    if not isinstance(caches, Known) or not isinstance(services, Known):
        return ()
    addresses = _addresses(given, felix_of(given), caches.value, services.value)
    return tuple((one.service, one.ip) for one in addresses if one.is_taken and one.kept_out in ("none", "some"))


def _fine(given: Given, addresses: Iterable[_Address], caches: Iterable[NodeLocalDns]) -> Outcome:
    taken = [one for one in addresses if one.is_taken]
    if taken:
        return passed(
            "kept-out",
            f"NodeLocal DNSCache takes {_ips(taken)}, and Felix {given.release.version} leaves {taken[0].name} alone "
            "there.",
            observed=taken[0].by,
        )
    if not addresses:
        return unknown(
            "no-service",
            "NodeLocal DNSCache runs, and the Service of DNS that it stands before was not found.",
            reason=Reason.UNSUPPORTED,
        )
    own = excerpt(", ".join(dict.fromkeys(ip for cache in caches for ip in cache.local_ips)), 80)
    return passed(
        "own-address",
        f"NodeLocal DNSCache answers on an address of its own ({own}), which no Service has: it works in eBPF mode as "
        "before.",
        observed=own,
    )


def _nobody_answers(given: Given, dead: list[_Address]) -> Outcome:
    rule, first = given.release.add_ons.node_local_dns, dead[0]
    by_annotation = first.by == rule.annotation
    return fail(
        "nobody-answers",
        f"Felix {given.release.version} leaves Service {first.name} alone ({first.by}), and no NodeLocal DNSCache "
        f"takes {_ips(dead)} on the nodes: in eBPF mode nobody answers there, and DNS fails for all that ask there.",
        observed=f"{first.name}, {_ips(dead)}",
        required="only what NodeLocal DNSCache takes is kept out of load balancing",
        remediation=Remediation(
            text="Take the annotation away."
            if by_annotation
            else f"Take the range that covers it out of {rule.field}, wherever that is set.",
            commands=(
                f"{_annotate(first.service)} {rule.annotation}-"
                if by_annotation
                else f"kubectl get felixconfigurations -o custom-columns=NAME:.metadata.name,CIDRS:.spec.{rule.field}",
            ),
        ),
    )


def _hidden(given: Given, felix: Felix, one: _Address) -> Outcome:
    rule = given.release.add_ons.node_local_dns
    if felix.unseen is not None:
        words = f"Whether Felix is told to leave {one.name} alone ({rule.field}) could not be told"
        return unseen("felix-unseen", words, felix.unseen)
    return unknown(
        "patch",
        f"{rule.field} is set, which Felix {given.release.version} heeds from {rule.field_since} on: name the patch "
        "that you mean with --calico-version.",
        reason=Reason.UNSUPPORTED,
    )


def _passed_by(given: Given, felix: Felix, missed: list[_Address]) -> Outcome:
    calico, first = given.release.version, missed[0]
    partly = " on some nodes" if first.kept_out == "some" else ""
    return warn(
        "passed-by",
        f"NodeLocal DNSCache takes {_ips(missed)} on the nodes, the address of Service {first.name}. Felix {calico} "
        f"resolves that Service before packets get there{partly}: pods that ask at that address go past the cache, and "
        f"the DNS pods have to answer them all.{_idle_annotation(given, first.service)}",
        observed=f"{first.name}, {_ips(missed)}",
        required="Felix leaves that Service alone, or pods ask the cache at an address of its own",
        remediation=_keep_out(given, felix, missed),
    )


def _idle_annotation(given: Given, service: DnsService) -> str:
    """Say why an annotation that is there does not help."""
    rule = given.release.add_ons.node_local_dns
    if service.nat_exclude is None:
        return ""
    why = (
        f"is heeded from {rule.annotation_since} on"
        if service.nat_exclude == rule.value
        else f"is {excerpt(service.nat_exclude, 40)!r}, and counts as {rule.value!r} alone"
    )
    return f" Its annotation {rule.annotation} {why}."


def _keep_out(given: Given, felix: Felix, missed: list[_Address]) -> Remediation:
    rule, calico = given.release.add_ons.node_local_dns, given.release.version
    alone = (
        "Do so before eBPF mode is enabled, and for the Service that pods ask alone: the one by which the cache asks "
        "on (kube-dns-upstream) has to be resolved."
    )
    if calico.within(rule.annotation_releases):
        services = dict.fromkeys(one.service for one in missed)
        return Remediation(
            text=f"Tell Felix to leave the Service alone. {alone}",
            commands=tuple(f"{_annotate(service)} {rule.annotation}={rule.value} --overwrite" for service in services),
        )
    own = "let kubelet (clusterDNS) tell new pods the cache's own address, as for kube-proxy in IPVS mode"
    if calico.within(rule.field_releases) is False:
        return Remediation(
            text=f"Felix {calico} cannot be told to leave a Service alone: upgrade Calico to {rule.annotation_since} "
            f"or later, which can, or {own}."
        )
    kept = felix.settings[0][0].bpf_exclude_cidrs_from_nat or ()
    wanted = (f"{one.ip}/{32 if ':' not in one.ip else 128}" for one in missed)
    patch = json.dumps({"spec": {rule.field: list(dict.fromkeys((*kept, *wanted)))}})
    return Remediation(
        text=f"Tell Felix ({rule.field_since} or later) to leave the address alone, or {own}. {alone}",
        commands=(f"kubectl patch felixconfiguration default --type merge -p {shlex.quote(patch)}",),
    )


def _annotate(service: DnsService) -> str:
    return f"kubectl -n {shlex.quote(service.namespace)} annotate service {shlex.quote(service.name)}"


def _addresses(
    given: Given, felix: Felix, caches: Iterable[NodeLocalDns], services: Iterable[DnsService]
) -> tuple[_Address, ...]:
    taken = {_ip(ip) for cache in caches for ip in cache.local_ips} - {None}
    return tuple(_address(given, felix, service, ip, taken) for service in services for ip in service.cluster_ips)


def _address(
    given: Given, felix: Felix, service: DnsService, ip: str, taken: set[IPv4Address | IPv6Address | None]
) -> _Address:
    rule, calico = given.release.add_ons.node_local_dns, given.release.version
    address = _ip(ip)
    is_taken = address in taken
    if service.nat_exclude == rule.value and calico.within(rule.annotation_releases):
        return _Address(service=service, ip=ip, is_taken=is_taken, kept_out="all", by=rule.annotation)
    reads = calico.within(rule.field_releases)
    nodes = felix.nodes(lambda settings: _covers(settings, address))
    kept_out: Literal["all", "some", "none", "unseen"] = "none"
    if reads is not False and (felix.unseen is not None or (reads is None and nodes)):
        kept_out = "unseen"
    elif reads and nodes:
        kept_out = "all" if nodes == felix.total else "some"
    return _Address(service=service, ip=ip, is_taken=is_taken, kept_out=kept_out, by=rule.field)


def _covers(settings: FelixSettings, address: IPv4Address | IPv6Address | None) -> bool:
    return address is not None and any(
        network is not None and address in network
        for network in map(_network, settings.bpf_exclude_cidrs_from_nat or ())
    )


def _ips(addresses: Iterable[_Address]) -> str:
    return listed((one.ip for one in addresses), each=45)


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
