"""What kube-proxy is, as the API shows it: whether it runs, who looks after it, how it is set, what Felix does."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

import msgspec

from ebpfcheck.checks.platform import PLATFORM_NEEDS, platform_of
from ebpfcheck.knowledge.kube_proxy_tables import ProxyOwner, ProxyPlatform
from ebpfcheck.model.check import Given, Share, optional, over_nodes, settled
from ebpfcheck.model.cluster import ClusterFacts, KubeProxy, KubeProxyConfig, Marks
from ebpfcheck.model.facts import NOT_SURVEYED, FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.text import excerpt

T = TypeVar("T")

SETTLED_PROXY = settled(ClusterFacts.kube_proxy)
PROXY = optional(ClusterFacts.kube_proxy)
CONFIG = optional(ClusterFacts.kube_proxy_config)
_OPENSHIFT = optional(ClusterFacts.openshift)
NODE_COUNT = optional(ClusterFacts.node_count)
_FELIX = over_nodes(NodeKind.felix)
_MARKS = over_nodes(NodeKind.platform_marks)
_LINKS = over_nodes(NodeKind.links)
_NFT_TABLES = over_nodes(NodeKind.nft_tables)
_CHAINS = over_nodes(NodeKind.kube_chains)
_PROGRAMS = over_nodes(NodeKind.programs)
PROXY_NEEDS = (
    PROXY, CONFIG, _OPENSHIFT, NODE_COUNT, _FELIX, _LINKS, _NFT_TABLES, _CHAINS, _PROGRAMS, *PLATFORM_NEEDS,
)  # fmt: skip
"""What the functions here ask for, all of it in whatever state it is."""

CLEANUP = "bpfKubeProxyIptablesCleanupEnabled"

State = Literal["runs", "leaving", "off", "inside", "unseen"]
"""leaving: told to keep off the nodes, and yet wanted on some; inside: part of another program, if it runs at all."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who looks after kube-proxy."""

    name: str
    remedy: str
    commands: tuple[str, ...] = ()
    undo: str = ""
    """How the remedy is taken back."""


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """kube-proxy, whether it runs, and who looks after it."""

    seen: KubeProxy | None
    state: State
    platform: ProxyPlatform | None
    owners: tuple[Owner, ...]
    evidence: tuple[str, ...]
    """The marks that tell of its owners."""
    refusal: str
    """Why kubeProxyManagement would keep its hands off it; empty where it would not."""
    has_selector: bool = False
    """Whether its nodeSelector keeps it off all nodes."""
    is_only_written: bool = False
    """Whether nothing but fields that somebody has written, once, tells of an owner."""
    traces: str | None = None
    """The mode that the nodes show where the API does not show kube-proxy, "" for none; None where they do not tell."""

    @property
    def is_off(self) -> bool:
        """Whether it is kept off the nodes."""
        return self.state in ("off", "leaving")

    @property
    def is_kept_off(self) -> bool:
        """Whether it is off for good by its nodeSelector, not just wanted nowhere."""
        return self.state == "off" and self.has_selector

    @property
    def has_to_stay(self) -> bool:
        """Whether it runs and the platform does not let it go."""
        return self.state == "runs" and self.platform is not None and not self.platform.can_go

    @property
    def owner_names(self) -> str:
        """Its owners, for a message."""
        return " and ".join(owner.name for owner in self.owners)


def proxy_of(given: Given) -> Proxy:
    """Return what kube-proxy is, unseen where that is not known; asks for PROXY_NEEDS."""
    fact = given[PROXY]
    seen = fact.value if isinstance(fact, Known) else None
    platform = _platform(given, seen)
    marked = tuple(_marked(given, seen.marks)) if seen is not None else ()
    on_nodes = _on_nodes(given) if seen is None else _OnNodes()
    return Proxy(
        seen=seen,
        state=_state(given, seen, platform, on_nodes),
        platform=platform,
        owners=_owners(seen, platform, tuple(mark for mark, _ in marked)),
        evidence=tuple(dict.fromkeys(shown for _, shown in marked)),
        refusal=_refusal(given, seen, [shown for mark, shown in marked if mark.refused]),
        has_selector=seen is not None and _has_selector(given, seen),
        is_only_written=bool(marked)
        and all(mark.manager for mark, _ in marked)
        and not (platform is not None and platform.owner),
        traces=on_nodes.mode,
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


class _OnNodes(msgspec.Struct, frozen=True, kw_only=True):
    """What the nodes show of kube-proxy; None where they do not tell."""

    state: Literal["runs", "off"] | None = None
    mode: str | None = None


def _on_nodes(given: Given) -> _OnNodes:
    """Return what the nodes show; unless one has IPVS, only where all of them were looked at."""
    network, modes = given.release.network, given.release.kube_proxy.modes
    links, tables = _values(given[_LINKS]), _values(given[_NFT_TABLES])
    chains, programs = _values(given[_CHAINS]), _values(given[_PROGRAMS])
    running = {program for names in programs for program in names}
    is_it = not running.isdisjoint(network.healthz.kube_proxies)
    may_be_it = is_it or not running.isdisjoint(network.healthz.may_be_kube_proxy)
    is_whole = all(_is_whole(given[need]) for need in (_LINKS, _NFT_TABLES, _CHAINS, _PROGRAMS))
    if any(link.name == network.ipvs.device for found in links for link in found):
        # The device stays when kube-proxy goes.
        return _OnNodes(state="runs" if is_it else "off" if is_whole and not may_be_it else None, mode=modes.ipvs)
    if not is_whole:
        return _OnNodes()
    if any(table in network.nft.kube_proxy_tables for found in tables for table in found):
        mode = modes.nftables
    else:
        mode = modes.default if any(found.of_services for found in chains) else ""
    if is_it or (mode and may_be_it):
        return _OnNodes(state="runs", mode=mode or None)
    return _OnNodes(state="off", mode=mode)


def _values(shares: tuple[Share[T], ...]) -> list[T]:
    return [share.fact.value for share in shares if isinstance(share.fact, Known)]


def _is_whole(shares: tuple[Share[Any], ...]) -> bool:
    return bool(shares) and not any(isinstance(share.fact, Unknown) for share in shares)


def is_unsurveyed(given: Given) -> bool:
    """Whether there are nodes, and nobody looked at any of them; asks for PROXY_NEEDS."""
    shares = given[_PROGRAMS]
    return bool(shares) and all(share.fact == NOT_SURVEYED for share in shares)


def _state(given: Given, seen: KubeProxy | None, platform: ProxyPlatform | None, on_nodes: _OnNodes) -> State:
    if seen is not None:
        return _state_of_seen(given, seen)
    return "unseen" if isinstance(given[PROXY], Unknown) else _state_of_absent(given, platform, on_nodes)


def _has_selector(given: Given, seen: KubeProxy) -> bool:
    return any(key in given.release.kube_proxy.switch.selectors for key, _ in seen.node_selector)


def _state_of_seen(given: Given, seen: KubeProxy) -> State:
    if seen.desired is None:
        return "unseen"
    if _has_selector(given, seen):
        return "leaving" if seen.desired else "off"
    nodes = given[NODE_COUNT]
    # Without nodes none is wanted, whatever comes with the first one.
    is_empty = isinstance(nodes, Known) and nodes.value == 0
    return "runs" if seen.desired or is_empty else "off"


def _state_of_absent(given: Given, platform: ProxyPlatform | None, on_nodes: _OnNodes) -> State:
    openshift = given[_OPENSHIFT]
    is_coming = isinstance(openshift, Known) and openshift.value.deploy_kube_proxy is True
    if is_coming:
        return "unseen"
    if platform is None:
        return on_nodes.state or "unseen"
    if not platform.in_sight:
        return on_nodes.state or ("inside" if platform.can_go else "runs")
    marks = {mark for found in _values(given[_MARKS]) for mark in found}
    return (on_nodes.state or "unseen") if marks.intersection(platform.hidden_on) else "off"


def _marked(given: Given, marks: Marks) -> Iterator[tuple[ProxyOwner, str]]:
    """Return the marks of owners that kube-proxy carries, each as it is shown."""
    for owner in given.release.kube_proxy.owner:
        for sign in signs_of(owner, marks):
            yield owner, sign
        if owner.manager and owner.manager in marks.managers:
            yield owner, f"field manager {owner.manager}"


def signs_of(owner: ProxyOwner, marks: Marks) -> Iterator[str]:
    """Return the labels and annotations of an object that an owner leaves, each as it is shown."""
    for key, value in marks.labels:
        if _fits(owner.label, key):
            yield f"label {excerpt(key, 80)}={excerpt(value, 60)}"
    for key in marks.annotations:
        if _fits(owner.annotation, key):
            yield f"annotation {excerpt(key, 80)}"


def _fits(pattern: str, key: str) -> bool:
    return key.startswith(pattern) if pattern.endswith("/") else bool(pattern) and key == pattern


def _owners(
    seen: KubeProxy | None, platform: ProxyPlatform | None, marked: tuple[ProxyOwner, ...]
) -> tuple[Owner, ...]:
    found: list[Owner] = []
    if platform is not None and platform.owner:
        found.append(Owner(name=platform.owner, remedy=platform.remedy, commands=platform.commands, undo=platform.undo))
    telling = [mark for mark in marked if not mark.generic]
    found.extend(
        Owner(name=mark.name, remedy=mark.remedy, commands=mark.commands, undo=mark.undo)
        for mark in telling or (() if found else marked)
    )
    if not found and seen is not None and seen.runs_as == "static pods":
        found.append(
            Owner(
                name="the kubelets, from manifests on the nodes",
                remedy="Remove its manifest where the nodes are set up: nothing that is changed through the API lasts.",
            )
        )
    elif not found and seen is not None and seen.marks.owners:
        found.append(
            Owner(
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


class Felix(msgspec.Struct, frozen=True, kw_only=True):
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
        return self.unseen is None and not self.nodes(cleans)


def felix_of(given: Given) -> Felix:
    """Return what Felix is set to on the nodes; asks for PROXY_NEEDS."""
    settings: list[tuple[FelixSettings, int]] = []
    hidden = None if given[_FELIX] else Unknown(reason=Reason.NOT_COLLECTED, detail="no node was seen")
    for share in given[_FELIX]:
        if isinstance(share.fact, Unknown):
            hidden = share.fact
        else:
            # Without FelixConfiguration Felix has its defaults.
            value = share.fact.value if isinstance(share.fact, Known) else FelixSettings()
            settings.append((value, share.nodes))
    return Felix(settings=tuple(settings), unseen=hidden)


def is_on(settings: FelixSettings) -> bool:
    """Whether eBPF mode is asked for."""
    return settings.bpf_enabled is True


def cleans(settings: FelixSettings) -> bool:
    """Whether Felix removes kube-proxy's rules in eBPF mode."""
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


def setting_of(
    given: Given, seen: KubeProxy, flag: str, of_file: Callable[[KubeProxyConfig], str | None]
) -> str | Unknown:
    """Return a setting of kube-proxy, "" where it is left to its default.

    kube-proxy that is given a configuration file takes no heed of the flags.
    """
    config, words = given[CONFIG], _words(seen.command)
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


def mode_of(given: Given, proxy: Proxy) -> str | Unknown:
    """Return kube-proxy's mode, "" where it is left to its default, or had none to show; asks for PROXY_NEEDS."""
    config = given[CONFIG]
    if proxy.seen is None and proxy.traces is not None:
        return proxy.traces
    if proxy.seen is None and proxy.state == "off" and isinstance(config, Known):
        # Its DaemonSet was deleted, and its ConfigMap was not.
        return config.value.mode or ""
    if proxy.seen is None:
        return Unknown(reason=Reason.NOT_COLLECTED, detail="kube-proxy is not in the API")
    return setting_of(given, proxy.seen, "--proxy-mode", lambda config: config.mode)


def is_ipvs(given: Given, proxy: Proxy) -> bool:
    """Whether kube-proxy is known to be set to IPVS mode; asks for PROXY_NEEDS."""
    return mode_of(given, proxy) == given.release.kube_proxy.modes.ipvs


def stays(given: Given, proxy: Proxy) -> bool:
    """Whether kube-proxy runs and is to stay beside eBPF mode; asks for PROXY_NEEDS."""
    return proxy.has_to_stay or (proxy.state == "runs" and felix_of(given).keeps_rules)


def may_stay(given: Given, proxy: Proxy) -> Unknown | None:
    """Return what keeps from telling that kube-proxy is not to stay; asks for PROXY_NEEDS."""
    fact, count, felix = given[PROXY], given[NODE_COUNT], felix_of(given)
    if isinstance(fact, Unknown):
        return fact
    if isinstance(count, Unknown) and proxy.platform is None and not proxy.is_off:
        return count
    return felix.unseen if proxy.state == "runs" and not felix.nodes(cleans) else None
