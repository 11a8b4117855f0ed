"""What Services ask for that not every release does, or does otherwise than kube-proxy."""

import shlex
from collections.abc import Iterable

import msgspec

from ebpfcheck.checks.kube_proxy_state import felix_of
from ebpfcheck.checks.naming import named
from ebpfcheck.knowledge.service_tables import Cloud, LoadBalancer, ServiceFeature
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    optional,
    over_nodes,
    passed,
    required,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import ClusterFacts, Services, Users
from ebpfcheck.model.facts import FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity

_SERVICES = required(ClusterFacts.services)
_ADD_ONS = optional(ClusterFacts.add_ons)
_PROVIDERS = over_nodes(NodeKind.provider)
_ZONES = optional(ClusterFacts.zones)
_FELIX = over_nodes(NodeKind.felix)
BALANCER_NEEDS = (_ADD_ONS, _PROVIDERS)
"""What the functions about load balancers ask for."""


def clouds_of(given: Given) -> list[Cloud]:
    """Return the clouds that the nodes are of; asks for BALANCER_NEEDS."""
    providers = {share.fact.value for share in given[_PROVIDERS] if isinstance(share.fact, Known)}
    return [cloud for cloud in given.release.services.cloud if cloud.provider in providers]


def balancers_of(given: Given) -> list[LoadBalancer]:
    """Return the programs in the cluster that are seen to implement load balancers; asks for BALANCER_NEEDS."""
    add_ons = given[_ADD_ONS]
    programs = {add_on.program for add_on in add_ons.value} if isinstance(add_ons, Known) else set()
    return [one for one in given.release.services.load_balancer if one.program in programs]


def is_dsr(given: Given, settings: FelixSettings) -> bool:
    """Whether the node with the pod answers clients itself."""
    return (settings.bpf_external_service_mode or "").lower() == given.release.services.dsr.mode


@check(
    id="cluster.svc.local-policy",
    title="Services for local endpoints only",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(_SERVICES, *BALANCER_NEEDS),
)
def local_policy(given: Given) -> Outcome:
    """Whether Services with externalTrafficPolicy: Local, and their health ports, do as with kube-proxy."""
    calico, services = given.release.version, given[_SERVICES]
    if not services.external_local.count and not services.health_checked.count:
        return passed("none", "No Service asks for local endpoints only (externalTrafficPolicy: Local).")
    observed = _local(services)
    concerned = [one for one in given.release.services.local_policy if getattr(services, one.of).count]
    for one in concerned:
        users: Users = getattr(services, one.of)
        if calico.within(one.releases):
            return warn(
                one.of,
                f"{_count(users)}{named(users)}: Felix {calico} {one.effect}. Upgrade to {one.fixed_in} or later.",
                observed=observed,
                required=f"{one.fixed_in} or later",
                remediation=_test(
                    f"Upgrade Calico to {one.fixed_in} or later before eBPF mode is enabled, then test. "
                ),
            )
    for one in concerned:
        if calico.within(one.releases) is None:
            return unknown(
                f"{one.of}-patch",
                f"The patch of Calico {calico} decides what becomes of {observed}: before {one.fixed_in}, Felix "
                f"{one.effect}.",
                reason=Reason.NOT_COLLECTED,
                observed=observed,
                required=f"{one.fixed_in} or later",
                remediation=Remediation(text="Say which patch it is with --calico-version."),
            )
    return msgspec.structs.replace(
        passed(
            "test",
            f"{observed}: Felix {calico} heeds the policy"
            + (
                f" and serves the health ports in kube-proxy's place. {_balanced(given)}; test"
                if services.health_checked.count
                else ". Test"
            )
            + " it on one of them before and after the switch.",
            observed=observed,
            note=True,
        ),
        remediation=_test("", has_health=services.health_checked.count > 0),
    )


def _count(users: Users) -> str:
    return f"{users.count} {'Service' if users.count == 1 else 'Services'}"


def _local(services: Services) -> str:
    parts = []
    if services.external_local.count:
        parts.append(
            f"{_count(services.external_local)} with externalTrafficPolicy: Local{named(services.external_local)}"
        )
    if services.health_checked.count:
        parts.append(f"{services.health_checked.count} with a health port")
    return ", ".join(parts)


def _balanced(given: Given) -> str:
    """Say who implements load balancers, and what to look at."""
    programs, clouds = balancers_of(given), clouds_of(given)
    if programs:
        return "What is seen to implement load balancers: " + "; ".join(f"{one.title} ({one.hint})" for one in programs)
    if clouds:
        return f"The load balancers of {' and '.join(cloud.title for cloud in clouds)} ask the health ports"
    return "What implements load balancers here is not seen"


_LOCAL_ONES = (
    '{range .items[?(@.spec.externalTrafficPolicy=="Local")]}{.metadata.namespace}/{.metadata.name} '
    'health={.spec.healthCheckNodePort} nodePorts={.spec.ports[*].nodePort}{"\\n"}{end}'
)


def _test(first: str, *, has_health: bool = True) -> Remediation:
    listing = f"kubectl get services -A -o jsonpath={shlex.quote(_LOCAL_ONES)}"
    if not has_health:
        return Remediation(
            text=f"{first}For one of these Services, from outside of the cluster: its node port on a node with a ready "
            "endpoint answers and shows the client's own address, on any other node it does not, and that follows when "
            "the endpoint moves.",
            commands=(listing,),
        )
    return Remediation(
        text=f"{first}For one of these Services, from outside of the cluster: the health port of a node with a ready "
        "endpoint answers 200 and that of any other node 503; a connection by the load balancer's address gets through "
        "and shows the client's own address; and both follow when the endpoint moves to another node.",
        commands=(listing, "curl -si http://NODE-ADDRESS:HEALTH-PORT/healthz"),
    )


@check(
    id="cluster.svc.features",
    title="Fields of Services",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(_SERVICES, _FELIX, _ZONES),
)
def features(given: Given) -> Outcome:
    """Whether Felix heeds what Services ask for beyond their ports."""
    calico, services = given.release.version, given[_SERVICES]
    zones = given[_ZONES]
    is_one_zone = isinstance(zones, Known) and zones.value <= 1
    used = [
        one
        for one in given.release.services.service_feature
        if _users(services, one).count and not (one.of_zones and is_one_zone)
    ]
    unheeded = [one for one in used if calico.within(one.heeded) is False]
    if unheeded and all(one.of_zones for one in unheeded) and isinstance(zones, Unknown):
        words = f"{_asked(services, unheeded[0])} is not heeded by Felix {calico}; whether there are several zones"
        return unseen("zones-unseen", f"{words}, could not be told", zones)
    if unheeded:
        return warn(
            "-".join(("unheeded", *(one.of for one in unheeded))),
            "; ".join(f"{_asked(services, one)} {one.effect}" for one in unheeded)
            + f". So it is in eBPF mode of Calico {calico}; {_newest(unheeded)} or later heeds it.",
            observed=", ".join(_asked(services, one) for one in unheeded),
            required=f"{_newest(unheeded)} or later",
            remediation=Remediation(
                text=f"Upgrade Calico to {_newest(unheeded)} or later before eBPF mode is enabled, or make sure that "
                "these Services can do without."
            ),
        )
    undecided = [one for one in used if calico.within(one.heeded) is None]
    if undecided:
        return unknown(
            "patch",
            f"The patch of Calico {calico} decides: before {_newest(undecided)}, "
            + "; ".join(f"{_asked(services, one)} {one.effect}" for one in undecided)
            + ".",
            reason=Reason.NOT_COLLECTED,
            observed=", ".join(_asked(services, one) for one in undecided),
            required=f"{_newest(undecided)} or later",
            remediation=Remediation(text="Say which patch it is with --calico-version."),
        )
    if services.maglev.count:
        return _maglev(given, services.maglev)
    if not used:
        return passed("plain", f"No Service asks for what Felix {calico} does not do.")
    return passed(
        "heeded",
        f"Felix {calico} heeds what these Services ask for.",
        observed=", ".join(_asked(services, one) for one in used),
    )


def _users(services: Services, feature: ServiceFeature) -> Users:
    users: Users = getattr(services, feature.of)
    return users


def _asked(services: Services, feature: ServiceFeature) -> str:
    users = _users(services, feature)
    return f"{feature.name} of {_count(users)}{named(users)}"


def _newest(features: Iterable[ServiceFeature]) -> str:
    """Return the release that heeds all of these; the tables have them in their order."""
    return [one.fixed_in for one in features][-1]


def _maglev(given: Given, users: Users) -> Outcome:
    """Judge what Maglev needs where the release has it."""
    calico, felix = given.release.version, felix_of(given)
    others = felix.nodes(lambda settings: not is_dsr(given, settings))
    what = f"Maglev is asked for by {_count(users)}{named(users)}"
    needed = "bpfExternalServiceMode: DSR on all nodes"
    if others:
        return warn(
            "maglev-tunnel",
            f"{what}, and works with direct server return alone, which {others} of {felix.total} nodes are not told to "
            f"do: in eBPF mode of Calico {calico} connections do not outlive the node that they came in by.",
            observed=f"bpfExternalServiceMode is not DSR for {others} of {felix.total} nodes",
            required=needed,
            remediation=Remediation(
                text="See by cluster.dsr whether the network lets nodes answer in each other's name, and set "
                "bpfExternalServiceMode to DSR in FelixConfiguration if it does; or take the annotation "
                "lb.projectcalico.org/external-traffic-strategy off these Services."
            ),
        )
    if felix.unseen is not None:
        return unseen("maglev-felix-unseen", f"{what}; whether Felix is set to what it needs", felix.unseen)
    return passed("maglev", f"{what}, and direct server return is on, as it needs.", observed=needed, required=needed)
