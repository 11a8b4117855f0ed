"""kube-proxy before eBPF mode: its mode, whether it goes or stays, who looks after it."""

import json
import shlex
from collections.abc import Iterator

from ebpfcheck.checks.endpoints import CALICO_NODE, OVERRIDES, WHERE_NEEDS, namespace_of
from ebpfcheck.checks.felix import set_command
from ebpfcheck.checks.kube_proxy_state import (
    CLEANUP,
    CONFIG,
    NODE_COUNT,
    PROXY_NEEDS,
    SETTLED_PROXY,
    Felix,
    Proxy,
    cleans,
    felix_of,
    is_ipvs,
    is_on,
    is_unsurveyed,
    mode_of,
    proxy_of,
    stays,
)
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    optional,
    passed,
    settled,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import Known, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_INSTALLATION = optional(ClusterFacts.installation)
_SETTLED_INSTALLATION = settled(ClusterFacts.installation)
_STOP_NEEDS = (OVERRIDES, *WHERE_NEEDS, _INSTALLATION)


_ONLY_ONCE = "Only once cluster.api-endpoint.present and .usable pass and cluster.kube-proxy.mode does not fail"


def _how_to_stop(given: Given, proxy: Proxy) -> Remediation:
    """Say how kube-proxy is taken off the nodes, at its owner if it has one, or what to do where it has to stay.

    Asks for PROXY_NEEDS and _STOP_NEEDS. The commands are held back while they would cut nodes or Calico off.
    """
    if proxy.has_to_stay:
        is_done = felix_of(given).keeps_rules
        return Remediation(
            text=" ".join(
                [
                    *(owner.remedy for owner in proxy.owners),
                    *([] if is_done else ["Let Felix leave its rules alone, on all nodes."]),
                ]
            ),
            commands=() if is_done else (set_command(CLEANUP, value=False),),
        )
    text, commands = _ways_to_stop(given, proxy)
    can_go = _has_address(given) and not is_ipvs(given, proxy)
    # Where eBPF mode is on already, there is no "before" any more.
    when = "" if felix_of(given).nodes(is_on) else ", right before eBPF mode"
    return Remediation(
        text=text if proxy.is_off else f"{_ONLY_ONCE}{when}: {text}", commands=commands if can_go else ()
    )


def _ways_to_stop(given: Given, proxy: Proxy) -> tuple[str, tuple[str, ...]]:
    if proxy.owners:
        return (
            " ".join(dict.fromkeys(owner.remedy for owner in proxy.owners)),
            tuple(dict.fromkeys(command for owner in proxy.owners for command in owner.commands)),
        )
    if proxy.seen is None:
        return "Switch kube-proxy off where it is started.", ()
    patch = {"spec": {"template": {"spec": {"nodeSelector": {given.release.kube_proxy.switch.selectors[0]: "true"}}}}}
    return (
        "Keep kube-proxy off the nodes by a nodeSelector that none of them meets.",
        (
            f"kubectl -n {shlex.quote(proxy.seen.namespace)} patch daemonset {shlex.quote(proxy.seen.name)} "
            f"--type merge -p {shlex.quote(json.dumps(patch, separators=(',', ':')))}",
        ),
    )


def _has_address(given: Given) -> bool:
    """Whether Calico has an address of the API server without kube-proxy, be it a good one or not."""
    installation, node, overrides = given[_INSTALLATION], given[CALICO_NODE], given[OVERRIDES]
    bootstraps = isinstance(installation, Known) and installation.value.bpf_network_bootstrap == "Enabled"
    if (bootstraps and given.release.has_bootstrap) or (isinstance(node, Known) and node.value.service_host):
        return True
    place = (namespace_of(given), given.release.platforms.api_endpoint.config_map)
    return isinstance(overrides, Known) and any(
        (one.namespace, one.name) == place and bool(one.host and one.port) for one in overrides.value
    )


_LOOK_AT_NODES = "Look at a node of each kind with `ebpfcheck node`: node.ipvs.residue shows IPVS mode."


@check(
    id="cluster.kube-proxy.mode",
    title="kube-proxy's mode",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(SETTLED_PROXY, *PROXY_NEEDS),
)
def kube_proxy_mode(given: Given) -> Outcome:
    """Whether kube-proxy is in a mode that eBPF mode can follow."""
    modes, proxy = given.release.kube_proxy.modes, proxy_of(given)
    needed = f"{modes.default} mode"
    if proxy.seen is None:
        return _mode_of_absent(given, proxy, needed)
    setting = mode_of(given, proxy)
    if isinstance(setting, Unknown):
        return unseen(
            "mode-unseen",
            "kube-proxy's mode could not be told",
            setting,
            required=needed,
            remediation=Remediation(
                text=("Grant what `ebpfcheck rbac` prints. " if setting.reason is Reason.FORBIDDEN else "")
                + _LOOK_AT_NODES
            ),
        )
    mode = setting or modes.default
    shown = excerpt(mode, 60)
    observed = f"mode {shown}" if setting else f"no mode set, which is {mode}"
    if mode == modes.ipvs:
        return _ipvs(given, proxy, observed, needed)
    if mode == modes.nftables:
        return _nftables(given, proxy, observed)
    if mode not in modes.plain:
        return unknown(
            "other-mode",
            f"kube-proxy is set to mode {shown}, of which it is not known how eBPF mode gets on with it.",
            reason=Reason.UNSUPPORTED,
            observed=observed,
            required=needed,
            remediation=Remediation(text=f"Set kube-proxy to {needed} and reboot the nodes before you go on."),
        )
    if proxy.is_off:
        return passed("off", f"kube-proxy is off; it was set to {shown} mode.", observed=observed, required=needed)
    return passed(
        "plain",
        f"kube-proxy runs in {shown} mode, whose rules Felix can remove.",
        observed=observed,
        required=needed,
    )


def _mode_of_absent(given: Given, proxy: Proxy, needed: str) -> Outcome:
    modes, mode = given.release.kube_proxy.modes, mode_of(given, proxy)
    by = "in a ConfigMap that was left" if proxy.traces is None else "by what is on the nodes"
    if mode == modes.ipvs:
        return _ipvs(given, proxy, f"mode {mode}, {by}", needed)
    if mode == modes.nftables:
        return _nftables(given, proxy, f"mode {mode}, {by}")
    if proxy.state == "off":
        left = " Whether it left something on the nodes is for node.ipvs.residue and node.kube-proxy.residue."
        how = (
            "neither a DaemonSet nor static pods, one of which it would be here: it is off."
            if proxy.platform is not None and proxy.platform.in_sight
            else "not in the API, and it runs on none of the nodes: it is off."
        )
        return passed("gone", f"kube-proxy is {how}{left}", observed="no kube-proxy", required=needed)
    if proxy.state == "runs" and not isinstance(mode, Unknown):
        return passed(
            "plain",
            f"kube-proxy runs in {mode} mode, as the nodes show, and Felix can remove its rules.",
            observed=f"mode {mode}, {by}",
            required=needed,
        )
    where = (
        f"On {proxy.owner_names} kube-proxy runs inside of another program, where the API does not show its mode."
        if proxy.state != "unseen"
        else "kube-proxy is neither a DaemonSet nor static pods: it may be off, or run inside of another program or as "
        "a service of the nodes, where the API does not show its mode."
    )
    return unknown(
        "not-in-sight",
        where,
        reason=Reason.NOT_COLLECTED,
        observed="no kube-proxy in the API",
        required=needed,
        remediation=Remediation(text=_LOOK_AT_NODES),
        needs_survey=is_unsurveyed(given),
    )


def _ipvs(given: Given, proxy: Proxy, observed: str, needed: str) -> Outcome:
    calico = given.release.version
    device, felix = given.release.network.ipvs.device, felix_of(given)
    if proxy.state == "off" and felix.unseen is None and felix.nodes(is_on) == felix.total:
        return passed(
            "ipvs-was",
            f"kube-proxy is off, and was in IPVS mode; eBPF mode is on. Felix {calico} removes nothing of IPVS: "
            f"node.ipvs.residue tells whether a node still has {device}, and has to be rebooted.",
            observed=observed,
            note=True,
        )
    if proxy.is_off:
        return warn(
            "ipvs-off",
            f"kube-proxy is off, but it was in IPVS mode, and Felix {calico} removes nothing of that: a node that was "
            f"not rebooted since still has {device}, and can lose all connectivity when eBPF mode comes. Reboot those "
            "nodes first.",
            observed=observed,
            required="every node rebooted since kube-proxy was switched off",
            remediation=Remediation(
                text="Reboot each node that was not, one after the other. " + _LOOK_AT_NODES,
                needs_reboot=True,
                disruptive=True,
            ),
        )
    return fail(
        "ipvs",
        "kube-proxy runs in IPVS mode"
        + ("" if proxy.seen is not None else f", or did and left {device} on a node")
        + ". When it is taken away in that mode, or eBPF mode comes, nodes have lost all "
        f"connectivity, SSH included, until they were rebooted; Felix {calico} removes nothing of it. Set it to "
        "iptables mode, reboot every node, and only then go on.",
        observed=observed,
        required=f"{needed}, and every node rebooted since",
        remediation=Remediation(
            text="Set mode to iptables where kube-proxy is configured and start it again; then reboot the nodes, one "
            f"after the other, and see that {device} is gone from each (node.ipvs.residue).",
            commands=tuple(_edit_commands(given, proxy)),
            needs_reboot=True,
            disruptive=True,
        ),
    )


def _edit_commands(given: Given, proxy: Proxy) -> Iterator[str]:
    """Return how the configuration of a DaemonSet is changed that nobody else would change back."""
    config, seen = given[CONFIG], proxy.seen
    if proxy.owners or seen is None or not isinstance(config, Known):
        return
    for config_map in config.value.config_maps:
        namespace, _, name = config_map.partition("/")
        yield f"kubectl -n {shlex.quote(namespace)} edit configmap {shlex.quote(name)}"
    yield f"kubectl -n {shlex.quote(seen.namespace)} rollout restart daemonset {shlex.quote(seen.name)}"


def _nftables(given: Given, proxy: Proxy, observed: str) -> Outcome:
    calico, removes = given.release.version, given.release.removes_nft_tables
    runs = "was set to" if proxy.is_off else "runs in"
    if removes:
        return passed(
            "nftables",
            f"kube-proxy {runs} nftables mode, whose tables Felix {calico} removes in eBPF mode, those for IPv6 only "
            "if IPv6 is on.",
            observed=observed,
        )
    if stays(given, proxy):
        return passed(
            "nftables-kept",
            "kube-proxy runs in nftables mode and is to stay beside eBPF mode, and its tables with it.",
            observed=observed,
            note=True,
        )
    tables = given.release.network.nft.kube_proxy_tables
    return warn(
        "nftables-stay" if removes is False else "nftables-patch",
        f"kube-proxy {runs} nftables mode. Felix {calico} does not remove its tables"
        + ("" if removes is False else " in some of its patches (name the patch that you mean)")
        + ": while they are there, packets go on to pods that may be gone. Delete them on every node once kube-proxy "
        "is off, or reboot the nodes.",
        observed=observed,
        required="no tables of kube-proxy's once it is gone",
        remediation=Remediation(
            text="On every node, as root, after kube-proxy is switched off; or set kube-proxy to iptables mode first "
            "and reboot the nodes.",
            commands=tuple(f"nft delete table {table}" for table in tables),
        ),
    )


@check(
    id="cluster.kube-proxy.cleanup",
    title="kube-proxy beside Felix's cleanup",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(SETTLED_PROXY, *PROXY_NEEDS, _SETTLED_INSTALLATION, *_STOP_NEEDS),
)
def kube_proxy_cleanup(given: Given) -> Outcome:
    """Whether kube-proxy runs, and Felix removes its rules."""
    proxy, felix = proxy_of(given), felix_of(given)
    if proxy.is_off:
        return _cleanup_without_proxy(given, proxy, felix)
    if proxy.state == "runs":
        return _cleanup_beside_proxy(given, proxy, felix)
    if felix.keeps_rules:
        return passed(
            "kept-anyway",
            f"Whether kube-proxy runs cannot be seen here; Felix leaves its rules alone, as {CLEANUP} is false.",
            note=True,
        )
    if proxy.seen is not None:
        return unknown(
            "status-unseen",
            "Whether kube-proxy runs could not be told: its DaemonSet does not say how many pods it wants by the "
            "template that it has now.",
            reason=Reason.NOT_COLLECTED,
            required=f"kube-proxy is off in eBPF mode, or {CLEANUP} is false",
            remediation=Remediation(text="Run it again once the DaemonSet's status is up to date."),
        )
    return unknown(
        "not-in-sight",
        "kube-proxy is neither a DaemonSet nor static pods; whether it runs inside of another program, and so against "
        "Felix's cleanup in eBPF mode, the API does not show.",
        reason=Reason.NOT_COLLECTED,
        observed="no kube-proxy in the API",
        required=f"kube-proxy is off in eBPF mode, or {CLEANUP} is false",
        remediation=Remediation(
            text=" ".join(
                [
                    "Look at a node of each kind with `ebpfcheck node`: node.kube-proxy.residue shows it.",
                    *([_how_to_stop(given, proxy).text] if proxy.owners else []),
                ]
            )
        ),
        needs_survey=is_unsurveyed(given),
    )


def _is_managed(given: Given) -> bool:
    """Whether Tigera's operator is asked to take kube-proxy away, and knows how."""
    installation = given[_INSTALLATION]
    return (
        given.release.manages_kube_proxy
        and isinstance(installation, Known)
        and installation.value.kube_proxy_management == "Enabled"
    )


def _asks_for_bpf(given: Given) -> bool:
    installation = given[_INSTALLATION]
    return isinstance(installation, Known) and installation.value.linux_dataplane == "BPF"


def _cleanup_beside_proxy(given: Given, proxy: Proxy, felix: Felix) -> Outcome:
    calico = given.release.version
    needed = f"{CLEANUP} is false" if proxy.has_to_stay else f"kube-proxy is off in eBPF mode, or {CLEANUP} is false"
    on, fights = felix.nodes(is_on), felix.nodes(lambda one: is_on(one) and cleans(one))
    is_managed = _is_managed(given) and not proxy.refusal
    observed = f"kube-proxy runs; eBPF mode is on for {on} of {felix.total} nodes"
    if fights and is_managed:
        return warn(
            "operator-due",
            f"eBPF mode is on for {fights} of {felix.total} nodes, and kube-proxy still runs: Tigera's operator is to "
            "take it away (kubeProxyManagement), and until then Felix and kube-proxy remove and restore the same "
            "rules. See whether it gets on.",
            observed=observed,
            required=needed,
            remediation=Remediation(
                text="Look at the operator's status, which says what keeps it.",
                commands=("kubectl get tigerastatus kubeproxy-monitor -o yaml",),
            ),
        )
    if fights:
        return fail(
            "fight",
            f"eBPF mode is on for {fights} of {felix.total} nodes, and kube-proxy still runs: Felix {calico} removes "
            "kube-proxy's rules and kube-proxy puts them back, over and over, which has made Services and the API "
            f"server time out. Set {CLEANUP} to false now"
            + ("." if proxy.has_to_stay else ", or take kube-proxy off the nodes."),
            observed=observed,
            required=needed,
            remediation=_part(given, proxy),
        )
    if felix.unseen is not None:
        return unseen(
            "felix-unseen",
            "kube-proxy runs; whether Felix removes its rules could not be told",
            felix.unseen,
            required=needed,
        )
    if felix.keeps_rules:
        return passed(
            "kept",
            f"kube-proxy runs and may stay: {CLEANUP} is false, so that Felix {calico} leaves its rules alone. Both "
            "then keep all Services, which costs CPU and memory; if kube-proxy goes one day, set it to true.",
            observed=observed,
            required=needed,
            note=True,
        )
    if is_managed:
        return passed(
            "operator-will",
            "kube-proxy runs; Tigera's operator takes it away as soon as eBPF mode is on (kubeProxyManagement).",
            observed=observed,
            required=needed,
        )
    if _asks_for_bpf(given):
        return fail(
            "about-to-fight",
            "linuxDataplane is BPF, so that eBPF mode comes on as soon as calico-node is rolled out, and kube-proxy "
            f"still runs: Felix {calico} will remove its rules and kube-proxy put them back, over and over. Set "
            f"{CLEANUP} to false now" + ("." if proxy.has_to_stay else ", or take kube-proxy off the nodes."),
            observed=observed,
            required=needed,
            remediation=_part(given, proxy),
        )
    if on:
        return passed(
            "kept-where-on",
            f"kube-proxy runs, and on the nodes in eBPF mode ({on} of {felix.total}) Felix leaves its rules alone; set "
            f"{CLEANUP} to false for the others too before they follow, or take kube-proxy away.",
            observed=observed,
            required=needed,
            note=True,
        )
    if proxy.has_to_stay:
        return warn(
            "has-to-stay",
            f"{proxy.owner_names} does not let kube-proxy go, and {CLEANUP} is not false: once eBPF mode is on, Felix "
            f"{calico} would remove kube-proxy's rules and kube-proxy put them back, over and over. Set it to false "
            "before.",
            observed=observed,
            required=needed,
            remediation=_part(given, proxy),
        )
    return passed(
        "before",
        f"kube-proxy runs, as it should before eBPF mode. Take it off the nodes right before the switch, or set "
        f"{CLEANUP} to false if it is to stay: with Calico {calico} it must be one of the two.",
        observed=observed,
        required=needed,
    )


def _part(given: Given, proxy: Proxy) -> Remediation:
    """Say how kube-proxy and Felix's cleanup are parted: the cleanup goes at once, and kube-proxy later if it can."""
    stop = _how_to_stop(given, proxy)
    if proxy.has_to_stay:
        return stop
    return Remediation(
        text=f"Set {CLEANUP} to false: that ends it at once, and can be undone. If kube-proxy is to go after that, set "
        f"it back to true then. {stop.text}",
        commands=(set_command(CLEANUP, value=False),),
    )


def _cleanup_without_proxy(given: Given, proxy: Proxy, felix: Felix) -> Outcome:
    calico = given.release.version
    if felix.unseen is not None:
        return unseen(
            "felix-unseen-off", "kube-proxy is off; whether Felix removes what it left could not be told", felix.unseen
        )
    seen = proxy.seen
    if proxy.state == "leaving" and seen is not None and felix.nodes(lambda one: is_on(one) and cleans(one)):
        nodes = given[NODE_COUNT]
        is_everywhere = isinstance(nodes, Known) and (seen.desired or 0) >= nodes.value
        return (fail if is_everywhere else warn)(
            "some-left",
            f"kube-proxy is told to keep off the nodes, and yet {seen.desired} are to run: those nodes carry the label "
            f"of its nodeSelector, or its status lags behind. In eBPF mode Felix {calico} removes their rules, and "
            "they put them back.",
            observed=f"{seen.desired} wanted",
            required="no kube-proxy on nodes in eBPF mode",
            remediation=Remediation(
                text="Take that label off the nodes.",
                commands=tuple(
                    f"kubectl get nodes -l {shlex.quote(key)}"
                    for key, _ in seen.node_selector
                    if key in given.release.kube_proxy.switch.selectors
                ),
            ),
        )
    dark = felix.nodes(lambda one: not is_on(one))
    observed = f"kube-proxy is off; eBPF mode is on for {felix.total - dark} of {felix.total} nodes"
    if dark and proxy.state == "off" and _asks_for_bpf(given):
        return fail(
            "stuck",
            f"kube-proxy is off, eBPF mode is asked for and not on for {dark} of {felix.total} nodes: nobody keeps "
            "Services there. Let kube-proxy run again until cluster.dataplane says that eBPF mode is on.",
            observed=observed,
            required="kube-proxy or eBPF mode on every node",
            remediation=_put_back(given, proxy, "until cluster.dataplane moves"),
        )
    if dark:
        return warn(
            "nobody",
            f"kube-proxy is off, and eBPF mode is not on for {dark} of {felix.total} nodes: unless another program "
            "does kube-proxy's work there, nobody keeps their Services up to date. Let kube-proxy run again, or enable "
            "eBPF mode.",
            observed=observed,
            required="kube-proxy or eBPF mode on every node",
            remediation=_put_back(given, proxy, "until eBPF mode comes; or enable that now, if nothing else fails"),
        )
    if felix.nodes(lambda one: not cleans(one)):
        return passed(
            "left",
            f"kube-proxy is off, but {CLEANUP} is false: the rules that it left on the nodes stay there and send "
            f"packets to pods that may be gone. Set it to true, its default, so that Felix {calico} removes them.",
            observed=observed,
            required=f"{CLEANUP} is true once kube-proxy is gone",
            note=True,
        )
    return passed("off", f"kube-proxy is off, and Felix {calico} removes the rules that it left.", observed=observed)


def _put_back(given: Given, proxy: Proxy, until: str) -> Remediation:
    text = f"Let kube-proxy run again {until}."
    seen = proxy.seen
    if seen is None:
        return Remediation(text=text)
    keys = [key for key, _ in seen.node_selector if key in given.release.kube_proxy.switch.selectors]
    patch = {"spec": {"template": {"spec": {"nodeSelector": dict.fromkeys(keys)}}}}
    commands = (
        f"kubectl -n {shlex.quote(seen.namespace)} patch daemonset {shlex.quote(seen.name)} --type merge "
        f"-p {shlex.quote(json.dumps(patch, separators=(',', ':')))}",
    )
    return Remediation(text=text, commands=commands if keys else ())


@check(
    id="cluster.kube-proxy.managed",
    title="Who looks after kube-proxy",
    category="cluster",
    scope="cluster",
    severity=lambda release: Severity.BLOCKER if release.manages_kube_proxy else Severity.DEGRADE,
    needs=(SETTLED_PROXY, *PROXY_NEEDS, *_STOP_NEEDS),
)
def kube_proxy_managed(given: Given) -> Outcome:
    """Whether somebody would put kube-proxy back, and whether the operator can take it away."""
    calico, proxy = given.release.version, proxy_of(given)
    installation, manages = given[_INSTALLATION], given.release.manages_kube_proxy
    asks = isinstance(installation, Known) and installation.value.kube_proxy_management == "Enabled"
    if proxy.state == "unseen":
        return unknown(
            "not-in-sight",
            "kube-proxy is neither a DaemonSet nor static pods: whether it is off, or runs inside of another program "
            "or as a service of the nodes, the API does not show.",
            reason=Reason.NOT_COLLECTED,
            observed="no kube-proxy in the API",
            remediation=Remediation(text="Look at a node of each kind with `ebpfcheck node`: node.kube-proxy.residue."),
            needs_survey=is_unsurveyed(given),
        )
    if asks and manages and proxy.refusal:
        return _refused(given, proxy)
    marks = ", ".join(proxy.evidence)
    if manages and proxy.refusal and proxy.state == "runs" and isinstance(installation, Unknown):
        return unseen(
            "installation-unseen",
            f"kubeProxyManagement would not work here ({proxy.refusal}), and whether it is asked for could not be told",
            installation,
            observed=marks,
        )
    if proxy.has_to_stay:
        return passed(
            "stays",
            f"{proxy.owner_names} keeps kube-proxy{_in_brackets(marks)}: what is changed of it in the cluster is put "
            "back. See cluster.kube-proxy.cleanup.",
            observed=marks,
            note=True,
        )
    if proxy.seen is None and proxy.owners and not proxy.is_off:
        unless = "" if proxy.state == "runs" else " unless that was told to leave it out, which the API does not show"
        return warn(
            "inside",
            f"On {proxy.owner_names} kube-proxy runs inside of another program{unless}. Nothing in the cluster takes "
            "it away: switch it off there.",
            observed="no kube-proxy in the API",
            required="kube-proxy is switched off at its owner",
            remediation=_how_to_stop(given, proxy),
        )
    if proxy.is_only_written and proxy.is_kept_off:
        return passed(
            "written-off",
            f"kube-proxy is kept off by its nodeSelector. {proxy.owner_names[:1].upper()}{proxy.owner_names[1:]} has "
            f"written it{_in_brackets(marks)}: if that still looks after it, an update may bring kube-proxy back.",
            observed=marks,
            note=True,
        )
    if proxy.owners and proxy.is_off and proxy.seen is not None:
        return warn(
            "owned-off",
            f"kube-proxy is off, but it is looked after by {proxy.owner_names}{_in_brackets(marks)}, which may bring "
            "it back, beside eBPF mode. See that it is off there too.",
            observed=marks,
            required="kube-proxy is switched off at its owner",
            remediation=_how_to_stop(given, proxy),
        )
    if proxy.owners and not proxy.is_off:
        return warn(
            "owned",
            f"kube-proxy is looked after by {proxy.owner_names}{_in_brackets(marks)}: what is changed of it in the "
            "cluster may be put back, and kube-proxy then runs beside eBPF mode. Switch it off there.",
            observed=marks,
            required="kube-proxy is switched off at its owner",
            remediation=_how_to_stop(given, proxy),
        )
    count = given[NODE_COUNT]
    if proxy.platform is None and isinstance(count, Unknown):
        return unseen(
            "platform-unseen", "Whether the platform looks after kube-proxy could not be told without its nodes", count
        )
    if proxy.is_off:
        return passed("off", "kube-proxy is off, and nothing shows that anybody would bring it back.")
    if asks and manages:
        return passed(
            "operator",
            "Tigera's operator takes kube-proxy away as soon as eBPF mode is on, and puts it back when that goes off "
            "(kubeProxyManagement).",
        )
    if asks:
        return passed(
            "not-yet",
            f"kubeProxyManagement is Enabled, which the operator of Calico {calico} does not know: take kube-proxy off "
            "the nodes yourself.",
            note=True,
        )
    if proxy.platform is not None and proxy.platform.later:
        return passed(
            "later",
            f"Nothing puts kube-proxy back at once, but {proxy.platform.later}: switch it off again then.",
            note=True,
        )
    return passed("nobody", "Nothing shows that anybody would put kube-proxy back.")


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _refused(given: Given, proxy: Proxy) -> Outcome:
    calico = given.release.version
    needed = "a kube-proxy that the operator may change, or kubeProxyManagement: Disabled"
    cause = f"kubeProxyManagement is Enabled, but the operator of Calico {calico} refuses ({proxy.refusal})"
    stop = _how_to_stop(given, proxy) if proxy.seen is not None or not proxy.is_off else Remediation(text="")
    disable = json.dumps({"spec": {"calicoNetwork": {"kubeProxyManagement": "Disabled"}}}, separators=(",", ":"))
    fix = Remediation(
        text=f"Set kubeProxyManagement to Disabled. {stop.text}".rstrip(),
        commands=(f"kubectl patch installation default --type merge -p {shlex.quote(disable)}", *stop.commands),
    )
    observed = f"kubeProxyManagement: Enabled; {proxy.refusal}"
    felix = felix_of(given)
    if proxy.state == "runs" and not felix.nodes(cleans) and felix.unseen is not None:
        return unseen(
            "refused-felix-unseen",
            f"{cause}; whether Felix would remove kube-proxy's rules could not be told",
            felix.unseen,
            observed=observed,
            required=needed,
            remediation=fix,
        )
    fights = felix.nodes(lambda one: is_on(one) and cleans(one))
    if proxy.state == "runs" and (fights or (_asks_for_bpf(given) and felix.unseen is None and felix.nodes(cleans))):
        return warn(
            "refused-now",
            f"{cause}: kube-proxy stays beside eBPF mode. See cluster.kube-proxy.cleanup for what ends that, and set "
            "it to Disabled.",
            observed=observed,
            required=needed,
            remediation=fix,
        )
    if proxy.state == "runs" and felix.nodes(cleans):
        return fail(
            "refused",
            f"{cause}: kube-proxy stays when eBPF mode comes on, and Felix and kube-proxy undo each other's work. Set "
            "it to Disabled, and "
            + (f"{CLEANUP} to false." if proxy.has_to_stay else "switch kube-proxy off where it is looked after."),
            observed=observed,
            required=needed,
            remediation=fix,
        )
    return warn(
        "refused-harmless",
        f"{cause} and stays Degraded (TigeraStatus kubeproxy-monitor)"
        + ("." if proxy.is_off else "; kube-proxy is not taken away by it.")
        + " Set it to Disabled.",
        observed=observed,
        required=needed,
        remediation=fix,
    )
