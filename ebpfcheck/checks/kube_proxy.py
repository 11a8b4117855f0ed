"""kube-proxy as the API shows it: its mode, whether it goes or stays, who looks after it, its health port."""

import json
import shlex
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from ebpfcheck.checks.felix import set_command
from ebpfcheck.checks.platform import PLATFORM_NEEDS, platform_of
from ebpfcheck.knowledge.types import ProxyOwner, ProxyPlatform
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    optional,
    over_nodes,
    passed,
    settled,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.cluster import ClusterFacts, KubeProxy, KubeProxyConfig, Marks
from ebpfcheck.model.facts import FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_PROXY = settled(ClusterFacts.kube_proxy)
_CONFIG = optional(ClusterFacts.kube_proxy_config)
_INSTALLATION = optional(ClusterFacts.installation)
_SETTLED_INSTALLATION = settled(ClusterFacts.installation)
_OPENSHIFT = optional(ClusterFacts.openshift)
_NODE_COUNT = optional(ClusterFacts.node_count)
_FELIX = over_nodes(NodeKind.felix)
_MARKS = over_nodes(NodeKind.platform_marks)
_PROVIDERS = over_nodes(NodeKind.provider)
_PROXY_NEEDS = (_PROXY, _OPENSHIFT, _NODE_COUNT, *PLATFORM_NEEDS)

_CLEANUP = "bpfKubeProxyIptablesCleanupEnabled"

State = Literal["runs", "leaving", "off", "inside", "unseen"]
"""leaving: told to keep off the nodes, and yet wanted on some; inside: part of another program, if it runs at all."""


class _Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who looks after kube-proxy."""

    name: str
    remedy: str
    commands: tuple[str, ...] = ()


class _Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """kube-proxy, whether it runs, and who looks after it."""

    seen: KubeProxy | None
    state: State
    platform: ProxyPlatform | None
    owners: tuple[_Owner, ...]
    evidence: tuple[str, ...]
    """The marks that tell of its owners."""
    refusal: str
    """Why kubeProxyManagement would keep its hands off it; empty where it would not."""

    @property
    def is_off(self) -> bool:
        """Whether it is kept off the nodes."""
        return self.state in ("off", "leaving")

    @property
    def has_to_stay(self) -> bool:
        """Whether it runs and the platform does not let it go."""
        return self.state == "runs" and self.platform is not None and not self.platform.can_go

    @property
    def owner_names(self) -> str:
        """Its owners, for a message."""
        return " and ".join(owner.name for owner in self.owners)


def _proxy(given: Given) -> _Proxy:
    fact = given[_PROXY]
    seen = fact.value if isinstance(fact, Known) else None
    platform = _platform(given, seen)
    marked = tuple(_marked(given, seen.marks)) if seen is not None else ()
    return _Proxy(
        seen=seen,
        state=_state_of_seen(given, seen) if seen is not None else _state_of_absent(given, platform),
        platform=platform,
        owners=_owners(seen, platform, tuple(mark for mark, _ in marked)),
        evidence=tuple(dict.fromkeys(shown for _, shown in marked)),
        refusal=_refusal(given, seen, [shown for mark, shown in marked if mark.refused]),
    )


def _platform(given: Given, seen: KubeProxy | None) -> ProxyPlatform | None:
    """Return how the platform runs kube-proxy; of several that show, where it is not seen, one that may hide it."""
    found = platform_of(given)
    if found is None:
        return None
    titles = (found.title, *found.also)
    names = [found.entry.name, *(one.name for one in given.release.platforms.platform if one.title in titles)]
    entries = [one for one in given.release.kube_proxy.platform if one.platform in names]
    hiding = None if seen is not None else next((one for one in entries if not one.in_sight), None)
    return hiding or next((one for one in entries if one.platform == found.entry.name), None)


def _state_of_seen(given: Given, seen: KubeProxy) -> State:
    selectors = given.release.kube_proxy.switch.selectors
    if any(key in selectors for key, _ in seen.node_selector):
        return "leaving" if seen.desired else "off"
    nodes = given[_NODE_COUNT]
    # Without nodes none is wanted, whatever comes with the first one.
    is_empty = isinstance(nodes, Known) and nodes.value == 0
    return "runs" if seen.desired or is_empty else "off"


def _state_of_absent(given: Given, platform: ProxyPlatform | None) -> State:
    openshift = given[_OPENSHIFT]
    is_coming = isinstance(openshift, Known) and openshift.value.deploy_kube_proxy is True
    if platform is None or is_coming:
        return "unseen"
    if not platform.in_sight:
        return "inside" if platform.can_go else "runs"
    marks = {mark for share in given[_MARKS] if isinstance(share.fact, Known) for mark in share.fact.value}
    return "unseen" if marks.intersection(platform.hidden_on) else "off"


def _marked(given: Given, marks: Marks) -> Iterator[tuple[ProxyOwner, str]]:
    """Return the marks of owners that kube-proxy carries, each as it is shown."""
    for owner in given.release.kube_proxy.owner:
        for key, value in marks.labels:
            if _fits(owner.label, key):
                yield owner, f"label {excerpt(key, 80)}={excerpt(value, 60)}"
        for key in marks.annotations:
            if _fits(owner.annotation, key):
                yield owner, f"annotation {excerpt(key, 80)}"
        if owner.manager and owner.manager in marks.managers:
            yield owner, f"field manager {owner.manager}"


def _fits(pattern: str, key: str) -> bool:
    return key.startswith(pattern) if pattern.endswith("/") else bool(pattern) and key == pattern


def _owners(
    seen: KubeProxy | None, platform: ProxyPlatform | None, marked: tuple[ProxyOwner, ...]
) -> tuple[_Owner, ...]:
    found: list[_Owner] = []
    if platform is not None and platform.owner:
        found.append(_Owner(name=platform.owner, remedy=platform.remedy, commands=platform.commands))
    telling = [mark for mark in marked if not mark.generic]
    found.extend(
        _Owner(name=mark.name, remedy=mark.remedy, commands=mark.commands)
        for mark in telling or (() if found else marked)
    )
    if not found and seen is not None and seen.runs_as == "static pods":
        found.append(
            _Owner(
                name="the kubelets, from manifests on the nodes",
                remedy="Remove its manifest where the nodes are set up: nothing that is changed through the API lasts.",
            )
        )
    elif not found and seen is not None and seen.marks.owners:
        found.append(
            _Owner(
                name=f"the {excerpt(seen.marks.owners[0], 60)} that owns it",
                remedy="Switch it off there, by the object's own settings.",
            )
        )
    return tuple(dict.fromkeys(found))


def _refusal(given: Given, seen: KubeProxy | None, marks: list[str]) -> str:
    wanted = given.release.kube_proxy.management.daemon_set
    if seen is None or seen.runs_as != "daemonset" or f"{seen.namespace}/{seen.name}" != wanted:
        return f"there is no DaemonSet {wanted}"
    return ", ".join(marks)


def _how_to_stop(given: Given, proxy: _Proxy) -> Remediation:
    """Say how kube-proxy is taken off the nodes, at its owner if it has one, or what to do where it has to stay."""
    if proxy.has_to_stay:
        return Remediation(
            text=" ".join(
                [*(owner.remedy for owner in proxy.owners), "Let Felix leave its rules alone, on all nodes."]
            ),
            commands=(set_command(_CLEANUP, value=False),),
        )
    if proxy.owners or proxy.seen is None:
        return Remediation(
            text=" ".join(dict.fromkeys(owner.remedy for owner in proxy.owners)),
            commands=tuple(dict.fromkeys(command for owner in proxy.owners for command in owner.commands)),
        )
    patch = {"spec": {"template": {"spec": {"nodeSelector": {given.release.kube_proxy.switch.selectors[0]: "true"}}}}}
    return Remediation(
        text="Keep kube-proxy off the nodes by a nodeSelector that none of them meets.",
        commands=(
            f"kubectl -n {shlex.quote(proxy.seen.namespace)} patch daemonset {shlex.quote(proxy.seen.name)} "
            f"--type merge -p {shlex.quote(json.dumps(patch, separators=(',', ':')))}",
        ),
    )


class _Felix(msgspec.Struct, frozen=True, kw_only=True):
    """What Felix is set to on the nodes."""

    settings: tuple[tuple[FelixSettings, int], ...]
    """Distinct settings, and how many nodes have each."""
    unseen: Unknown | None
    """Why those of some nodes are not known."""

    def nodes(self, holds: Callable[[FelixSettings], bool]) -> int:
        """Return on how many nodes something is known to hold."""
        return sum(nodes for settings, nodes in self.settings if holds(settings))

    @property
    def total(self) -> int:
        """How many nodes' settings are known."""
        return self.nodes(lambda _: True)

    @property
    def keeps_rules(self) -> bool:
        """Whether Felix is known to leave kube-proxy's rules alone on all nodes."""
        return self.unseen is None and not self.nodes(_cleans)


def _felix(given: Given) -> _Felix:
    settings: list[tuple[FelixSettings, int]] = []
    hidden = None if given[_FELIX] else Unknown(reason=Reason.NOT_COLLECTED, detail="no node was seen")
    for share in given[_FELIX]:
        if isinstance(share.fact, Unknown):
            hidden = share.fact
        else:
            # Without FelixConfiguration Felix has its defaults.
            value = share.fact.value if isinstance(share.fact, Known) else FelixSettings()
            settings.append((value, share.nodes))
    return _Felix(settings=tuple(settings), unseen=hidden)


def _is_on(settings: FelixSettings) -> bool:
    return settings.bpf_enabled is True


def _cleans(settings: FelixSettings) -> bool:
    return settings.bpf_kube_proxy_iptables_cleanup_enabled is not False


def _words(command: tuple[str, ...]) -> list[str]:
    """Return the words of a command, be that a shell's with all of it in one argument."""
    return [word.strip("\"'") for argument in command for word in argument.split()]


def _argument(words: list[str], flag: str) -> str | None:
    """Return the last value of a flag, None where it is not given."""
    found = None
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word == flag:
            found = following
        elif word.startswith(f"{flag}="):
            found = word.partition("=")[2].strip("\"'")
    return found


def _setting(
    given: Given, seen: KubeProxy, flag: str, of_file: Callable[[KubeProxyConfig], str | None]
) -> str | Unknown:
    """Return a setting of kube-proxy, "" where it is left to its default.

    kube-proxy that is given a configuration file takes no heed of the flags.
    """
    config, words = given[_CONFIG], _words(seen.command)
    has_file = _argument(words, "--config") is not None
    given_flag = _argument(words, flag)
    if given_flag is not None and not has_file:
        return given_flag
    # Static pods cannot mount a ConfigMap: one that happens to be there is not theirs.
    is_static = seen.runs_as == "static pods"
    if isinstance(config, Known) and not is_static:
        value = config.value
        if (value.mode, value.cluster_cidr, value.healthz_bind_address) != (None, None, None):
            return of_file(value) or ""
    # What a script of another name adds is not seen.
    names = given.release.network.healthz.kube_proxies
    is_whole = any(word.rpartition("/")[2] in names for word in words) or (words and words[0].startswith("-"))
    if is_whole and not has_file and (is_static or not isinstance(config, Unknown)):
        return ""
    if isinstance(config, Unknown) and not is_static:
        return config
    what = "its configuration is in a file on the nodes" if has_file else "the API does not show how it is started"
    return Unknown(reason=Reason.NOT_COLLECTED, detail=what)


_LOOK_AT_NODES = "Look at a node of each kind with `ebpfcheck node`: node.ipvs.residue shows IPVS mode."


@check(
    id="cluster.kube-proxy.mode",
    title="kube-proxy's mode",
    category="cluster",
    scope="cluster",
    severity=Severity.BLOCKER,
    needs=(*_PROXY_NEEDS, _CONFIG),
)
def kube_proxy_mode(given: Given) -> Outcome:
    """Whether kube-proxy is in a mode that eBPF mode can follow."""
    calico, modes, proxy = given.release.version, given.release.kube_proxy.modes, _proxy(given)
    needed = f"{modes.default} mode"
    if proxy.seen is None:
        return _mode_of_absent(proxy, needed)
    setting = _setting(given, proxy.seen, "--proxy-mode", lambda config: config.mode)
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
        f"kube-proxy runs in {shown} mode, whose rules Felix {calico} removes in eBPF mode.",
        observed=observed,
        required=needed,
    )


def _mode_of_absent(proxy: _Proxy, needed: str) -> Outcome:
    if proxy.state == "off":
        return passed(
            "gone",
            "kube-proxy is neither a DaemonSet nor static pods, one of which it would be here: it is off. Whether it "
            "left something on the nodes is for node.ipvs.residue and node.kube-proxy.residue.",
            observed="no kube-proxy",
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
    )


def _ipvs(given: Given, proxy: _Proxy, observed: str, needed: str) -> Outcome:
    calico = given.release.version
    device = given.release.network.ipvs.device
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
        "kube-proxy runs in IPVS mode. When it is taken away in that mode, or eBPF mode comes, nodes have lost all "
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


def _edit_commands(given: Given, proxy: _Proxy) -> Iterator[str]:
    """Return how the configuration of a DaemonSet is changed that nobody else would change back."""
    config, seen = given[_CONFIG], proxy.seen
    if proxy.owners or seen is None or not isinstance(config, Known):
        return
    for config_map in config.value.config_maps:
        namespace, _, name = config_map.partition("/")
        yield f"kubectl -n {shlex.quote(namespace)} edit configmap {shlex.quote(name)}"
    yield f"kubectl -n {shlex.quote(seen.namespace)} rollout restart daemonset {shlex.quote(seen.name)}"


def _nftables(given: Given, proxy: _Proxy, observed: str) -> Outcome:
    calico, removes = given.release.version, given.release.removes_nft_tables
    runs = "was set to" if proxy.is_off else "runs in"
    if removes:
        return passed(
            "nftables",
            f"kube-proxy {runs} nftables mode, whose tables Felix {calico} removes in eBPF mode, those for IPv6 only "
            "if IPv6 is on.",
            observed=observed,
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
    needs=(*_PROXY_NEEDS, _SETTLED_INSTALLATION, _FELIX),
)
def kube_proxy_cleanup(given: Given) -> Outcome:
    """Whether kube-proxy runs, and Felix removes its rules."""
    proxy, felix = _proxy(given), _felix(given)
    if proxy.is_off:
        return _cleanup_without_proxy(given, proxy, felix)
    if proxy.state == "runs":
        return _cleanup_beside_proxy(given, proxy, felix)
    if felix.keeps_rules:
        return passed(
            "kept-anyway",
            f"Whether kube-proxy runs cannot be seen here; Felix leaves its rules alone, as {_CLEANUP} is false.",
            note=True,
        )
    return unknown(
        "not-in-sight",
        "kube-proxy is neither a DaemonSet nor static pods; whether it runs inside of another program, and so against "
        "Felix's cleanup in eBPF mode, the API does not show.",
        reason=Reason.NOT_COLLECTED,
        observed="no kube-proxy in the API",
        required=f"kube-proxy is off in eBPF mode, or {_CLEANUP} is false",
        remediation=Remediation(
            text=" ".join(
                [
                    "Look at a node of each kind with `ebpfcheck node`: node.kube-proxy.residue shows it.",
                    *(owner.remedy for owner in proxy.owners),
                ]
            )
        ),
    )


def _is_managed(given: Given) -> bool:
    """Whether Tigera's operator is asked to take kube-proxy away, and knows how; asks for the Installation, settled."""
    installation = given[_SETTLED_INSTALLATION]
    return (
        given.release.manages_kube_proxy
        and isinstance(installation, Known)
        and installation.value.kube_proxy_management == "Enabled"
    )


def _cleanup_beside_proxy(given: Given, proxy: _Proxy, felix: _Felix) -> Outcome:
    calico, installation = given.release.version, given[_SETTLED_INSTALLATION]
    needed = f"kube-proxy is off in eBPF mode, or {_CLEANUP} is false"
    on, fights = felix.nodes(_is_on), felix.nodes(lambda one: _is_on(one) and _cleans(one))
    is_asked_for = isinstance(installation, Known) and installation.value.linux_dataplane == "BPF"
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
            f"server time out. Take kube-proxy off the nodes, or set {_CLEANUP} to false.",
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
            f"kube-proxy runs and may stay: {_CLEANUP} is false, so that Felix {calico} leaves its rules alone. Both "
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
    if is_asked_for:
        return fail(
            "about-to-fight",
            "linuxDataplane is BPF, so that eBPF mode comes on as soon as calico-node is rolled out, and kube-proxy "
            f"still runs: Felix {calico} will remove its rules and kube-proxy put them back, over and over. Take "
            f"kube-proxy off the nodes, or set {_CLEANUP} to false.",
            observed=observed,
            required=needed,
            remediation=_part(given, proxy),
        )
    if on:
        return passed(
            "kept-where-on",
            f"kube-proxy runs, and on the nodes in eBPF mode ({on} of {felix.total}) Felix leaves its rules alone; set "
            f"{_CLEANUP} to false for the others too before they follow, or take kube-proxy away.",
            observed=observed,
            required=needed,
            note=True,
        )
    if proxy.has_to_stay:
        return warn(
            "has-to-stay",
            f"{proxy.owner_names} does not let kube-proxy go, and {_CLEANUP} is not false: once eBPF mode is on, Felix "
            f"{calico} would remove kube-proxy's rules and kube-proxy put them back, over and over. Set it to false "
            "before.",
            observed=observed,
            required=needed,
            remediation=_part(given, proxy),
        )
    return passed(
        "before",
        f"kube-proxy runs, as it should before eBPF mode. Take it off the nodes right before the switch, or set "
        f"{_CLEANUP} to false if it is to stay: with Calico {calico} it must be one of the two.",
        observed=observed,
        required=needed,
    )


def _part(given: Given, proxy: _Proxy) -> Remediation:
    """Say how kube-proxy and Felix's cleanup are parted: kube-proxy goes, or the cleanup where it cannot."""
    stop = _how_to_stop(given, proxy)
    if proxy.has_to_stay:
        return stop
    return Remediation(
        text=f"{stop.text} Where kube-proxy has to stay, set {_CLEANUP} to false in FelixConfiguration instead.",
        commands=stop.commands,
        disruptive=True,
    )


def _cleanup_without_proxy(given: Given, proxy: _Proxy, felix: _Felix) -> Outcome:
    calico, installation = given.release.version, given[_SETTLED_INSTALLATION]
    if felix.unseen is not None:
        return unseen(
            "felix-unseen-off", "kube-proxy is off; whether Felix removes what it left could not be told", felix.unseen
        )
    seen = proxy.seen
    if proxy.state == "leaving" and seen is not None and felix.nodes(lambda one: _is_on(one) and _cleans(one)):
        return warn(
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
    dark = felix.nodes(lambda one: not _is_on(one))
    observed = f"kube-proxy is off; eBPF mode is on for {felix.total - dark} of {felix.total} nodes"
    if dark and not (isinstance(installation, Known) and installation.value.linux_dataplane == "BPF"):
        return warn(
            "nobody",
            f"kube-proxy is off, and eBPF mode is not on for {dark} of {felix.total} nodes: unless another program "
            "does kube-proxy's work there, nobody keeps their Services up to date. Go on and enable eBPF mode, or put "
            "kube-proxy back.",
            observed=observed,
            required="kube-proxy or eBPF mode on every node",
            remediation=_put_back(given, proxy),
        )
    if felix.nodes(lambda one: not _cleans(one)):
        return passed(
            "left",
            f"kube-proxy is off, but {_CLEANUP} is false: the rules that it left on the nodes stay there and send "
            f"packets to pods that may be gone. Set it to true, its default, so that Felix {calico} removes them.",
            observed=observed,
            required=f"{_CLEANUP} is true once kube-proxy is gone",
            note=True,
        )
    return passed("off", f"kube-proxy is off, and Felix {calico} removes the rules that it left.", observed=observed)


def _put_back(given: Given, proxy: _Proxy) -> Remediation:
    text = "Either enable eBPF mode now, or let kube-proxy run again until you do."
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
    needs=(*_PROXY_NEEDS, _INSTALLATION, _FELIX),
)
def kube_proxy_managed(given: Given) -> Outcome:
    """Whether somebody would put kube-proxy back, and whether the operator can take it away."""
    calico, proxy = given.release.version, _proxy(given)
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
    if proxy.state == "inside":
        return warn(
            "inside",
            f"On {proxy.owner_names} kube-proxy runs inside of another program unless that was told to leave it out, "
            "which the API does not show. Nothing in the cluster takes it away: switch it off there.",
            observed="no kube-proxy in the API",
            required="kube-proxy is switched off at its owner",
            remediation=_how_to_stop(given, proxy),
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
            "cluster may be put back, and kube-proxy then runs beside eBPF mode. "
            + ("It has to stay." if proxy.has_to_stay else "Switch it off there."),
            observed=marks,
            required="kube-proxy is switched off at its owner",
            remediation=_how_to_stop(given, proxy),
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


def _refused(given: Given, proxy: _Proxy) -> Outcome:
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
    felix = _felix(given)
    if proxy.state == "runs" and not felix.nodes(_cleans) and felix.unseen is not None:
        return unseen(
            "refused-felix-unseen",
            f"{cause}; whether Felix would remove kube-proxy's rules could not be told",
            felix.unseen,
            observed=observed,
            required=needed,
            remediation=fix,
        )
    if proxy.state == "runs" and felix.nodes(_cleans):
        return fail(
            "refused",
            f"{cause}: kube-proxy stays when eBPF mode comes on, and Felix and kube-proxy undo each other's work. Set "
            "it to Disabled, and "
            + (f"{_CLEANUP} to false." if proxy.has_to_stay else "switch kube-proxy off where it is looked after."),
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


@check(
    id="cluster.kube-proxy.healthz-port",
    title="kube-proxy's health port beside Felix's",
    category="cluster",
    scope="cluster",
    severity=Severity.DEGRADE,
    needs=(*_PROXY_NEEDS, _CONFIG, _FELIX),
)
def kube_proxy_healthz_port(given: Given) -> Outcome:
    """Whether just one of kube-proxy and Felix answers for a node's health."""
    proxy, felix = _proxy(given), _felix(given)
    if felix.unseen is not None:
        return unseen(
            "felix-unseen",
            "Whether kube-proxy and Felix are after the same health port could not be told",
            felix.unseen,
        )
    stays = not proxy.is_off and (proxy.has_to_stay or bool(felix.nodes(lambda one: not _cleans(one))))
    return _beside_proxy(given, proxy, felix) if stays else _in_place_of_proxy(given, proxy, felix)


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


def _beside_proxy(given: Given, proxy: _Proxy, felix: _Felix) -> Outcome:
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
    same = felix.nodes(
        lambda one: (proxy.has_to_stay or not _cleans(one)) and port > 0 and _felix_port(given, one) == port
    )
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


def _proxy_port(given: Given, proxy: _Proxy) -> int | Unknown:
    """Return the TCP port of kube-proxy's health, 0 where it is switched off."""
    default = given.release.network.healthz.port
    if proxy.seen is None:
        return default
    setting = _setting(given, proxy.seen, "--healthz-bind-address", lambda config: config.healthz_bind_address)
    if isinstance(setting, Unknown):
        return setting
    host, colon, port = setting.rpartition(":")
    # A bare IPv6 address has no port, whatever stands behind its last colon.
    has_port = colon and (":" not in host or host.endswith("]"))
    return int(port) if has_port and port.isascii() and port.isdigit() and len(port) <= len("65535") else default


def _in_place_of_proxy(given: Given, proxy: _Proxy, felix: _Felix) -> Outcome:
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


DESCRIBED_NEEDS = (*_PROXY_NEEDS, _CONFIG)


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """kube-proxy for the head of a report; None where it is not known."""

    words: str
    mode: str | None = None
    owner: str | None = None


def described(given: Given) -> Described:
    """Return what kube-proxy is, without judging it; asks for DESCRIBED_NEEDS, in whatever state they are."""
    if isinstance(given[_PROXY], Unknown):
        return Described(words="not known")
    proxy = _proxy(given)
    owner = proxy.owner_names or None
    by = f", looked after by {owner}" if owner else ""
    if proxy.seen is None:
        return Described(
            words={"off": "off", "unseen": "not seen"}.get(proxy.state, "inside of another program") + by, owner=owner
        )
    setting = _setting(given, proxy.seen, "--proxy-mode", lambda config: config.mode)
    mode = None if isinstance(setting, Unknown) else excerpt(setting or given.release.kube_proxy.modes.default, 60)
    where = excerpt(f"{proxy.seen.namespace}/{proxy.seen.name}", 120)
    what = f"DaemonSet {where}" if proxy.seen.runs_as == "daemonset" else f"static pods in {proxy.seen.namespace}"
    state = "off" if proxy.is_off else f"{mode} mode" if mode else "in a mode that is not known"
    return Described(words=f"{state}, {what}{by}", mode=mode, owner=owner)
