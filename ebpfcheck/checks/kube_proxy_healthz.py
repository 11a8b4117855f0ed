"""kube-proxy's health port beside Felix's: which of the two answers for a node."""

from ebpfcheck.checks.felix import set_command
from ebpfcheck.checks.kube_proxy_state import (
    PROXY_NEEDS,
    SETTLED_PROXY,
    Felix,
    Proxy,
    cleans,
    felix_of,
    is_on,
    proxy_of,
    setting_of,
)
from ebpfcheck.model.check import Given, Outcome, check, over_nodes, passed, unknown, unseen, warn
from ebpfcheck.model.facts import FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity

_PROVIDERS = over_nodes(NodeKind.provider)


@check(
    id="cluster.kube-proxy.healthz-port",
    title="kube-proxy's health port beside Felix's",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(SETTLED_PROXY, *PROXY_NEEDS, _PROVIDERS),
)
def kube_proxy_healthz_port(given: Given) -> Outcome:
    """Whether just one of kube-proxy and Felix answers for a node's health."""
    proxy, felix = proxy_of(given), felix_of(given)
    if felix.unseen is not None:
        return unseen(
            "felix-unseen",
            "Whether kube-proxy and Felix are after the same health port could not be told",
            felix.unseen,
        )
    stays = not proxy.is_off and bool(proxy.has_to_stay or felix.nodes(lambda one: _is_beside(proxy, one)))
    return _beside_proxy(given, proxy, felix) if stays else _in_place_of_proxy(given, proxy, felix)


def _is_beside(proxy: Proxy, settings: FelixSettings) -> bool:
    """Whether kube-proxy is to stay beside Felix, or runs beside it already in eBPF mode."""
    return proxy.has_to_stay or not cleans(settings) or (proxy.state == "runs" and is_on(settings))


def _felix_port(given: Given, settings: FelixSettings) -> int:
    port = settings.bpf_kube_proxy_healthz_port
    return given.release.network.healthz.port if port is None else port


def _patch_decides(given: Given) -> Outcome:
    return unknown(
        "patch",
        f"Whether Felix {given.release.version} serves kube-proxy's health port depends on its patch: it does from "
        f"{given.release.kube_proxy.health.served_from} on. Name the patch that you mean.",
        reason=Reason.UNSUPPORTED,
    )


def _beside_proxy(given: Given, proxy: Proxy, felix: Felix) -> Outcome:
    """Judge the ports where kube-proxy is to stay."""
    calico, health, serves = given.release.version, given.release.kube_proxy.health, given.release.serves_healthz
    if serves is False:
        return passed(
            "kube-proxy-answers",
            f"kube-proxy is to stay and answers for the nodes' health; Felix {calico} does not serve that port.",
        )
    port = _proxy_port(given, proxy)
    if isinstance(port, Unknown):
        return unseen("port-unseen", "On which port kube-proxy answers for the node's health could not be told", port)
    same = felix.nodes(lambda one: _is_beside(proxy, one) and port > 0 and _felix_port(given, one) == port)
    observed = f"kube-proxy's health port is {port}, and so is Felix's for {same} of {felix.total} nodes"
    if not same:
        return passed(
            "apart",
            "kube-proxy is to stay, and Felix serves its health on another port than kube-proxy, or not at all.",
            observed=f"kube-proxy's health port is {port}",
        )
    field = given.release.healthz_field
    if field is None:
        return _patch_decides(given)
    usual = given.release.network.healthz.port
    spare = 0 if given.release.healthz_takes_zero else health.spare_port if port == usual else usual
    return warn(
        "same",
        f"kube-proxy is to stay, and Felix {calico} is set to serve health on kube-proxy's port {port} as well, for "
        f"{same} of {felix.total} nodes: it tries in vain every second, and logs that. "
        + ("Switch Felix's server off." if spare == 0 else f"Give Felix another port, such as {spare}."),
        observed=observed,
        required=f"{field} is another one than {port}",
        remediation=Remediation(
            text="kube-proxy goes on to answer load balancers on its own port.",
            commands=(set_command(field, spare),),
        ),
    )


def _proxy_port(given: Given, proxy: Proxy) -> int | Unknown:
    """Return the TCP port of kube-proxy's health, 0 where it is switched off."""
    default = given.release.network.healthz.port
    if proxy.seen is None:
        return default
    setting = setting_of(given, proxy.seen, "--healthz-bind-address", lambda config: config.healthz_bind_address)
    if isinstance(setting, Unknown):
        return setting
    host, colon, port = setting.rpartition(":")
    # A bare IPv6 address has no port, whatever stands behind its last colon.
    has_port = colon and (":" not in host or host.endswith("]"))
    return int(port) if has_port and port.isascii() and port.isdigit() and len(port) <= len("65535") else default


def _in_place_of_proxy(given: Given, proxy: Proxy, felix: Felix) -> Outcome:
    """Judge the ports where kube-proxy is off, or is to go."""
    calico, health = given.release.version, given.release.kube_proxy.health
    serves, port = given.release.serves_healthz, given.release.network.healthz.port
    goes = "With kube-proxy off" if proxy.is_off else "Once kube-proxy is gone"
    moved = felix.nodes(lambda one: _felix_port(given, one) != port)
    if serves is None and not moved:
        return _patch_decides(given)
    if serves and not moved:
        return passed("felix-answers", f"{goes}, Felix {calico} answers for the nodes' health on TCP port {port}.")
    providers = {share.fact.value for share in given[_PROVIDERS] if isinstance(share.fact, Known)}
    clouds = [cloud for cloud in health.clouds if cloud in providers]
    ask = (
        f"load balancers of this cloud ({', '.join(clouds)}) may ask there, and take the nodes out of service"
        if clouds
        else "a load balancer that asks there takes the nodes out of service"
    )
    if serves is False:
        cause, why = "not-served", f"Felix {calico} does not serve that port in its place"
        fix = Remediation(
            text=f"Upgrade Calico to {health.served_from} or later, which serves it, or let the load balancers ask for "
            "something else, such as a NodePort."
        )
    else:
        cause = "moved"
        why = f"Felix's own port is another one, or switched off, for {moved} of {felix.total} nodes"
        field = given.release.healthz_field
        fix = Remediation(
            text=f"Set Felix's port back to {port}.", commands=(set_command(field, port),) if field is not None else ()
        )
    observed = f"nobody on TCP port {port} without kube-proxy"
    message = f"{goes}, nobody answers for the nodes' health on TCP port {port}: {why}, and {ask}."
    if clouds:
        return warn(f"{cause}-in-cloud", message, observed=observed, required="an answer there", remediation=fix)
    return passed(cause, f"{message} {fix.text}", observed=observed, note=True)
