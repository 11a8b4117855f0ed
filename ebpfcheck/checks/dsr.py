"""Direct server return: whether the network lets nodes answer in each other's name."""

from ebpfcheck.checks.felix import set_command
from ebpfcheck.checks.kube_proxy_state import Felix, felix_of
from ebpfcheck.checks.naming import listed, named
from ebpfcheck.checks.services import BALANCER_NEEDS, balancers_of, clouds_of, is_dsr
from ebpfcheck.knowledge.service_tables import Cloud
from ebpfcheck.model.check import Given, Outcome, check, optional, over_nodes, passed, unknown, unseen, warn
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity

_FELIX = over_nodes(NodeKind.felix)
_SERVICES = optional(ClusterFacts.services)
_SUBNETS = optional(ClusterFacts.node_subnets)

_NEEDED = "a network that lets nodes send in each other's name, or bpfExternalServiceMode: Tunnel"


@check(
    id="cluster.dsr",
    title="Direct server return",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(_FELIX, _SERVICES, _SUBNETS, *BALANCER_NEEDS),
)
def direct_server_return(given: Given) -> Outcome:
    """Whether bpfExternalServiceMode: DSR, where it is set, goes with the network and its load balancers."""
    felix = felix_of(given)
    nodes = felix.nodes(lambda settings: is_dsr(given, settings))
    if not nodes:
        if felix.unseen is not None:
            return unseen("felix-unseen", "Whether direct server return is asked for could not be told", felix.unseen)
        return passed(
            "tunnel",
            "Direct server return is not asked for: answers to clients go back by the node that was asked.",
            observed="bpfExternalServiceMode is not DSR",
        )
    what = f"bpfExternalServiceMode is DSR for {nodes} of {felix.total} nodes"
    outcome = _balanced(given, felix, what) or _subnets(given, what) or _hidden(given, what)
    return outcome or _fabric(given, felix, what, clouds_of(given))


def _to_tunnel(text: str, *commands: str) -> Remediation:
    return Remediation(text=text, commands=(*commands, set_command("bpfExternalServiceMode", "Tunnel")))


def _balanced(given: Given, felix: Felix, what: str) -> Outcome | None:
    """Judge the load balancers that expect answers back."""
    services, rule = given[_SERVICES], given.release.services.dsr
    if not isinstance(services, Known) or not services.value.load_balancers.count:
        return None
    users = services.value.load_balancers
    programs = balancers_of(given)
    outside = [one.title for one in programs if one.outside]
    if not programs:
        outside = [cloud.title for cloud in clouds_of(given)]
    if not outside:
        return None
    can_opt_out = given.release.version.within(rule.opt_out)
    if can_opt_out and not felix.nodes(lambda one: is_dsr(given, one) and not one.bpf_dsr_optout_cidrs):
        return None
    return warn(
        "load-balancers",
        f"{what}, and {users.count} Services{named(users)} have load balancers (as far as is seen, of "
        f"{' and '.join(outside)}), which expect answers from the node that they asked: where the endpoint is on "
        f"another node, clients of Calico {given.release.version} in eBPF mode wait in vain.",
        observed=f"{what}; {users.count} Services of type LoadBalancer",
        required=_NEEDED,
        remediation=_to_tunnel(
            "Use Tunnel"
            + (
                ", or name in bpfDSROptoutCIDRs the addresses by which load balancers reach the nodes; where they keep "
                "the clients' addresses there is only Tunnel."
                if can_opt_out
                else "."
            )
        ),
    )


def _subnets(given: Given, what: str) -> Outcome | None:
    subnets = given[_SUBNETS]
    if not isinstance(subnets, Known) or len(subnets.value) < 2:
        return None
    found = subnets.value
    return warn(
        "several-subnets",
        f"{what}, and the nodes are in {len(found)} subnets ({listed(found)}): what a node sends in the name of one in "
        "another subnet, routers may drop.",
        observed=f"{what}; {len(found)} subnets",
        required="all nodes in one subnet, or bpfExternalServiceMode: Tunnel",
        remediation=_to_tunnel("Use Tunnel, unless you know that the routers between them let it through."),
    )


def _hidden(given: Given, what: str) -> Outcome | None:
    """Judge where something that could have told against it was not seen."""
    for cause, words, fact in (
        ("subnets-unseen", "whether all nodes are in one subnet", given[_SUBNETS]),
        ("services-unseen", "whether load balancers expect the answers back", given[_SERVICES]),
    ):
        if not isinstance(fact, Known):
            return unseen(cause, f"{what}; {words} could not be told", fact)
    return None


def _fabric(given: Given, felix: Felix, what: str, clouds: list[Cloud]) -> Outcome:
    """Judge what only the network itself knows."""
    off = given.release.services.dsr.aws_off

    def is_checked(settings: FelixSettings) -> bool:
        return is_dsr(given, settings) and (settings.aws_src_dst_check or "").lower() != off

    looked_up = [cloud for cloud in clouds if not cloud.felix_switch or felix.nodes(is_checked)]
    if looked_up:
        text = "; ".join(f"{cloud.title}: {cloud.forwarding}" for cloud in looked_up)
        return unknown(
            "cloud",
            f"{what}. {text}; the Kubernetes API does not show whether that is so.",
            reason=Reason.UNSUPPORTED,
            observed=what,
            required=_NEEDED,
            remediation=Remediation(
                text=" ".join(("Look it up.", *(cloud.felix_switch for cloud in looked_up if cloud.felix_switch))),
                commands=tuple(cloud.look_up for cloud in looked_up),
            ),
        )
    if isinstance(felix.unseen, Unknown):
        return unseen("some-unseen", f"{what}; how Felix is set on the others could not be told", felix.unseen)
    return passed(
        "possible",
        f"{what}, and all of them are in one subnet. Whether switches and hypervisors let nodes send in each other's "
        "name is not seen: test a NodePort of one node whose endpoint is on another.",
        observed=what,
        required=_NEEDED,
        note=True,
    )
