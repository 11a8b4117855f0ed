"""Steps that tell Calico the API server's own address, and prove that nodes reach it."""

import shlex
from collections.abc import Sequence

from ebpfcheck.model.cluster import Deployment
from ebpfcheck.model.facts import Fact, Known
from ebpfcheck.model.plan import (
    Action,
    Condition,
    Confirmed,
    Create,
    Field,
    FreshNode,
    Manual,
    Patch,
    Pause,
    Reached,
    Restart,
    RolledOut,
    Step,
    Target,
    VariableIs,
)
from ebpfcheck.model.text import host_port
from ebpfcheck.plan.actions import undone, words_of
from ebpfcheck.plan.case import DEPLOYMENTS, Case
from ebpfcheck.plan.step import Pair, made, paired, patched


def reach(case: Case) -> Pair | None:
    """Every node reaches the address, before anything hangs on it."""
    reached = _reached(case)
    if not reached:
        return None
    return paired(
        Step(
            id="reach",
            title="See that every node reaches the API server without kube-proxy",
            why="A wrong address cuts off whatever is told to use it, Calico first.",
            after=reached,
            see=f"Every node gets an answer to a TLS greeting from {_addresses(reached)}, from its own network: "
            "short-lived pods of calico-node's image on the host's network try it.",
            see_commands=("ebpfcheck cluster --probe exec --only node.api-endpoint.reachable",),
            stop="A node does not reach it: a firewall, a route, or its resolver.",
        )
    )


def address(case: Case) -> tuple[Pair, ...]:
    """The ConfigMap with the API server's address, and Calico's pods that take it."""
    if case.endpoint is None and not case.bootstraps and case.override is None:
        return (_no_address(case),)
    change = _address_change(case)
    node, target, endpoint = case.calico_node, case.node_target, case.endpoint
    if change is None or node is None or target is None or endpoint is None:
        return ()
    removal = "Remove the ConfigMap" if isinstance(change, Create) else "Put the ConfigMap's old address back"
    taking, after = _taking(case, target)
    how = "Pods read the ConfigMap when they start."
    if case.install == "operator":
        how = "The operator rolls calico-node out by itself."
        if taking:
            how = "The operator reads the ConfigMap when it starts, and then rolls calico-node out."
    there = case.override
    taken = _variables(case, target, endpoint.host, str(endpoint.port))
    given_back = _variables(case, target, there.host if there else None, there.port if there else None)
    namespace = shlex.quote(node.namespace)
    log = f"kubectl -n {namespace} logs {shlex.quote(f'daemonset/{node.name}')} -c calico-node"
    told = made(
        Step(
            id="api-endpoint",
            title="Tell Calico the API server's own address",
            why="Without kube-proxy the Service default/kubernetes answers only once Calico runs, and Calico needs the "
            "API server before that.",
            actions=(change,),
            see="The ConfigMap is there.",
            see_commands=(f"kubectl get {words_of(change.target)} -o yaml",),
            stop="There is such a ConfigMap that this plan knows nothing of.",
            undo=f"{removal}.",
        )
    )
    picked_up = paired(
        Step(
            id="pick-up",
            title="Let Calico's pods take the address",
            why=how,
            actions=taking,
            after=(*taken, *after),
            disrupts="calico-node is restarted node by node; traffic goes on, policy changes wait.",
            see="calico-node logs the address at its start, and all its pods are Ready.",
            see_commands=(f"{log} | grep -A2 'Kubernetes server override'",),
            stop="A pod does not become Ready: put the address right, or take the ConfigMap away again.",
        ),
        Step(
            id="api-endpoint",
            title=f"{removal}, and let Calico's pods take that in",
            why="It is what was there when the plan was made.",
            actions=(undone(change), *taking),
            after=(*given_back, *after),
            disrupts="calico-node is restarted node by node; traffic goes on, policy changes wait.",
            see="All pods of calico-node are Ready.",
            stop="A pod does not become Ready.",
        ),
    )
    return (Pair(there=told), picked_up)


def _variables(case: Case, node: Target, host: str | None, port: str | None) -> tuple[Condition, ...]:
    """Return when the operator has handed an address to calico-node; nothing where pods take it by themselves."""
    if not case.has_dataplane_field:
        return ()
    minutes = case.release.plan.times.minutes
    return tuple(
        VariableIs(target=node, name=name, value=value, minutes=minutes)
        for name, value in (("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port))
    )


def _no_address(case: Case) -> Pair:
    return paired(
        Step(
            id="api-endpoint",
            title="Give the API servers one stable address",
            why=f"Without kube-proxy Calico has to reach the API server directly, and {case.found.reason}.",
            actions=(
                Manual(
                    text="Put a load balancer, a virtual IP or a name before the API servers, and make this plan anew "
                    "with --api-endpoint HOST:PORT."
                ),
            ),
            after=(Confirmed(question="Is there an address, and was the plan made anew with it?"),),
            see="Every node reaches it.",
            see_commands=("ebpfcheck cluster --probe exec --api-endpoint HOST:PORT",),
            stop="There is none: kube-proxy must not go.",
        )
    )


def _address_change(case: Case) -> Patch | Create | None:
    new, there = case.new_override, case.override
    if new is None:
        return None
    values = (("KUBERNETES_SERVICE_HOST", new.host), ("KUBERNETES_SERVICE_PORT", new.port))
    target = Target(resource="configmaps", name=new.name, namespace=new.namespace)
    if there is None:
        fields = tuple(Field(path=("data", key), value=value) for key, value in values)
        return Create(target=target, api_version="v1", kind="ConfigMap", fields=fields)
    before = (there.host, there.port)
    changes = [(("data", key), old, value) for (key, value), old in zip(values, before, strict=True) if old != value]
    return patched(target, *changes) if changes else None


def _taking(case: Case, node: Target) -> tuple[tuple[Action, ...], tuple[Condition, ...]]:
    """Return what makes Calico's pods read the ConfigMap, and when they have."""
    times = case.release.plan.times
    pause = Pause(seconds=times.kubelet_seconds, why="kubelet hands a new ConfigMap to pods after up to a minute")
    rolled = RolledOut(target=node, minutes=times.rollout_minutes)
    if case.install == "manifest":
        typha = _deployment(case.facts.typha)
        controllers = Target(resource=DEPLOYMENTS, name="calico-kube-controllers", namespace=node.namespace)
        own = () if typha is None else (typha,)
        return (
            (
                pause,
                *(Restart(target=one) for one in own),
                Restart(target=node),
                Restart(target=controllers, optional=True),
            ),
            (*(RolledOut(target=one, minutes=times.minutes) for one in own), rolled),
        )
    operator = _deployment(case.facts.operator)
    if case.release.operator_needs_restart and operator is not None:
        return (pause, Restart(target=operator)), (RolledOut(target=operator, minutes=times.minutes), rolled)
    return (), (rolled,)


def _deployment(fact: Fact[Deployment]) -> Target | None:
    if not isinstance(fact, Known):
        return None
    return Target(resource=DEPLOYMENTS, name=fact.value.name, namespace=fact.value.namespace)


def proof(case: Case) -> Pair | None:
    """A node that starts now does without kube-proxy."""
    node, reached = case.calico_node, _reached(case)
    if node is None or not reached or case.proxy.is_off or case.proxy.has_to_stay:
        return None
    return paired(
        Step(
            id="proof",
            title="Prove that a node that starts does without kube-proxy",
            why="A wrong address shows only when a node starts; while kube-proxy runs, all can still be put right.",
            after=(*reached, FreshNode(namespace=node.namespace)),
            see=f"Every node still reaches {_addresses(reached)}, and one that you reboot now becomes Ready.",
            see_commands=("kubectl get nodes",),
            stop="A node does not reach it, or does not come back.",
        )
    )


def _reached(case: Case) -> tuple[Reached, ...]:
    node, endpoint = case.calico_node, case.endpoint
    if node is None:
        return ()
    if case.bootstraps:
        addresses = [_split(server) for server in case.api_servers]
    elif endpoint is not None and endpoint.usable:
        addresses = [(endpoint.host, endpoint.port)]
    else:
        addresses = []
    return tuple(
        Reached(
            host=host,
            port=port,
            image=node.image,
            namespace=node.namespace,
            # OpenShift lets pods onto the host's network by what they run as.
            service_account=node.name if case.openshift is not None else None,
            leave_out=tuple(one.mark for one in case.release.platforms.special if one.no_daemon_sets),
            minutes=case.release.plan.times.minutes,
        )
        for host, port in addresses
    )


def _addresses(reached: Sequence[Reached]) -> str:
    return " and ".join(host_port(one.host, one.port) for one in reached)


def _split(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)
