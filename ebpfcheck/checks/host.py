"""What else runs and is set on the host: Docker, firewalls, SELinux, sysctls, NetworkManager."""

import re
from collections.abc import Iterable

from ebpfcheck.knowledge.network_tables import ModuleNeed
from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    not_applicable,
    optional,
    passed,
    required,
    settled,
    unseen,
    warn,
)
from ebpfcheck.model.facts import Absent, Known, NodeKind, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_LINKS = required(NodeKind.links)
_NEEDED_PROGRAMS = required(NodeKind.programs)


@check(
    id="node.docker.bridge",
    title="Containers on Docker's bridge",
    category="network",
    severity=lambda release: None if release.tracks_docker else Severity.DEGRADE,
    needs=(_LINKS,),
)
def docker_bridge(given: Given) -> Outcome:
    """Whether containers outside of Kubernetes may lose their replies."""
    bridge = given.release.network.docker.bridge
    if not any(link.name == bridge and link.is_up for link in given[_LINKS]):
        return passed("none", "Docker's bridge is not there, or not up.")
    return warn(
        "bridge",
        f"{bridge} is up: before v{_since(given)} Felix does not track its packets, and containers outside of "
        "Kubernetes lose replies.",
        observed=f"{bridge} is up",
        required="no container outside of Kubernetes on Docker's bridge",
        remediation=Remediation(text="Move those containers into Kubernetes, or upgrade Calico."),
    )


def _since(given: Given) -> str:
    return given.release.network.docker.tracked_from.removeprefix(">=")


_UFW = optional(NodeKind.ufw_enabled)


@check(
    id="node.firewall",
    title="Host firewall",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_NEEDED_PROGRAMS, _UFW),
)
def firewall(given: Given) -> Outcome:
    """Whether firewalld or ufw filters on this node."""
    ufw = given[_UFW]
    active = ["firewalld"] if "firewalld" in given[_NEEDED_PROGRAMS] else []
    if isinstance(ufw, Known) and ufw.value:
        active.append("ufw")
    if not active:
        if isinstance(ufw, Unknown):
            return unseen("ufw-unseen", "Whether ufw is on could not be told", ufw)
        return passed("none", "Neither firewalld nor ufw is on.")
    shown = " and ".join(active)
    return warn(
        "active",
        f"{shown} is on. It drops what Calico {given.release.version} needs between nodes, VXLAN for NodePorts above "
        "all, unless told otherwise, and it puts its rules back over Calico's.",
        observed=shown,
        required=f"no other firewall, or UDP {given.release.network.vxlan.port} and Calico's other ports open in it",
        remediation=Remediation(
            text="Stop and mask it, or open Calico's ports in it.",
            commands=tuple("ufw disable" if one == "ufw" else f"systemctl mask --now {one}" for one in active),
        ),
    )


_SELINUX = settled(NodeKind.selinux)


@check(
    id="node.selinux",
    title="SELinux",
    category="network",
    severity=Severity.NOTE,
    needs=(_SELINUX,),
)
def selinux(given: Given) -> Outcome:
    """SELinux has refused BPF to containers with old policies."""
    mode = given[_SELINUX]
    if isinstance(mode, Absent):
        return not_applicable("off", "SELinux is off or not built in.")
    if mode.value == "enforcing":
        return passed(
            "enforcing",
            "SELinux enforces, and some policies have refused to calico-node what eBPF mode needs; should Felix fail "
            "to load its programs, look for denials of calico-node in the audit log and update container-selinux.",
            observed=mode.value,
            note=True,
        )
    return passed("permissive", "SELinux only logs.", observed=mode.value)


_RP_FILTER = required(NodeKind.rp_filter)
_RP_FILES = optional(NodeKind.rp_filter_files)
_SETTING = re.compile(
    r"(?P<path>.*/(?P<file>[^/]+)): (?P<dash>-?)net[./]ipv4[./]conf[./](?P<whose>all|\*)[./]rp_filter"
    r"(?:\s*=\s*(?P<value>\d+))?\s*$"
)
# Of files with one name, the one in the first of these counts.
_SYSCTL_PLACES = ("/etc/", "/run/", "/usr/local/lib/", "/usr/lib/", "/lib/")


def _strict_line(lines: Iterable[str]) -> str | None:
    """Return the line by which sysctl's files set strict filtering for `all`, or for each interface; None if none does.

    As sysctl.d(5) has it: the files come in the order of their names, the last line wins; one that names `all` outranks
    one for `*`, and a dash before it takes it out of that one. Felix's own veth pair is among `*`.
    """
    found = [match for line in lines if (match := _SETTING.search(line)) is not None]
    first_place: dict[str, int] = {}
    for match in found:
        first_place[match["file"]] = min(_place(match["path"]), first_place.get(match["file"], len(_SYSCTL_PLACES)))
    counted = sorted(
        (match for match in found if _place(match["path"]) == first_place[match["file"]]),
        key=lambda match: (match["path"] == "/etc/sysctl.conf", match["file"]),
    )
    for whose in ("all", "*"):
        setting = [match for match in counted if match["whose"] == whose and match["value"]]
        if setting and setting[-1]["value"] == "1":
            return setting[-1][0]
    return None


def _place(path: str) -> int:
    return next((rank for rank, place in enumerate(_SYSCTL_PLACES) if path.startswith(place)), len(_SYSCTL_PLACES))


@check(
    id="node.sysctl.rp-filter",
    title="Reverse path filtering",
    category="network",
    severity=lambda release: Severity.DEGRADE if release.sets_rp_filter else None,
    needs=(_RP_FILTER, _RP_FILES),
)
def sysctl_rp_filter(given: Given) -> Outcome:
    """Whether something will turn strict filtering on again after Felix turned it off."""
    files, live = given[_RP_FILES], given[_RP_FILTER]
    observed = ", ".join(f"{name}={value}" for name, value in live if name == "all")
    needed = "nothing that sets net.ipv4.conf.all.rp_filter to 1 again"
    if not isinstance(files, Known):
        return unseen(
            "files-unseen",
            "The files of sysctl could not be read",
            files,
            observed=observed,
        )
    strict = _strict_line(files.value)
    if strict is not None:
        return warn(
            "set-again",
            f"Felix {given.release.version} sets rp_filter to 0 for all interfaces and for its own veth pair, which "
            "needs that, and a file sets it back to 1 whenever it is applied: replies from the host to Services are "
            "then dropped.",
            observed=excerpt(strict, 160),
            required=needed,
            remediation=Remediation(text="Take that line out, or set it to 0."),
        )
    if ("all", 1) in live:
        return passed(
            "set-now",
            f"net.ipv4.conf.all.rp_filter is 1 now, and Felix {given.release.version} sets it to 0. No file of "
            "sysctl's sets it to 1 again, but something did: see that it does not do so once eBPF mode is on.",
            observed=observed,
            required=needed,
            note=True,
        )
    return passed("not-set", "No file sets strict filtering for all interfaces.", observed=observed, required=needed)


_FORWARD = required(NodeKind.ip_forward)


@check(
    id="node.base.ip-forward",
    title="IPv4 forwarding",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_FORWARD,),
)
def base_ip_forward(given: Given) -> Outcome:
    """net.ipv4.ip_forward, without which a node routes for no pod."""
    value = given[_FORWARD]
    needed = "net.ipv4.ip_forward=1"
    if value:
        return passed("on", "IPv4 forwarding is on.", observed=f"ip_forward={value}", required=needed)
    return warn(
        "off",
        f"IPv4 forwarding is off. Calico {given.release.version} turns it on in most set-ups when it starts, but what "
        "turned it off may do so again, and pods then reach nothing beyond the node.",
        observed="ip_forward=0",
        required=needed,
        remediation=Remediation(
            text="Turn it on, and keep it on over reboots.",
            commands=("sysctl -w net.ipv4.ip_forward=1", "echo net.ipv4.ip_forward=1 > /etc/sysctl.d/90-forward.conf"),
        ),
    )


_UNMANAGED = optional(NodeKind.unmanaged_devices)


@check(
    id="node.base.networkmanager",
    title="NetworkManager leaves Calico's interfaces alone",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_NEEDED_PROGRAMS, _UNMANAGED),
)
def base_networkmanager(given: Given) -> Outcome:
    """Whether NetworkManager, where it runs, is told not to manage cali*, tunl* and vxlan.calico."""
    if "NetworkManager" not in given[_NEEDED_PROGRAMS]:
        return passed("not-there", "NetworkManager does not run.")
    lines = given[_UNMANAGED]
    if not isinstance(lines, Known):
        return unseen("files-unseen", "NetworkManager's configuration could not be read", lines)
    told = " ".join(lines.value)
    left_alone = [word for word in re.split(r"[=;,\s]+", told) if word.startswith("interface-name:")]
    everything = "interface-name:*" in left_alone
    lacking = [
        name
        for name in ("cali", "tunl", "vxlan.calico")
        if not everything and not any(word.startswith(f"interface-name:{name}") for word in left_alone)
    ]
    needed = "unmanaged-devices names cali*, tunl* and vxlan.calico"
    if not lacking:
        return passed("unmanaged", "NetworkManager leaves Calico's interfaces alone.", required=needed)
    return warn(
        "managed",
        "NetworkManager runs and is not told to leave Calico's interfaces alone "
        f"({', '.join(lacking)} not named): it can take routes and addresses away from them.",
        observed=excerpt(told, 120) or "no unmanaged-devices line",
        required=needed,
        remediation=Remediation(
            text="Write /etc/NetworkManager/conf.d/calico.conf and reload NetworkManager.",
            commands=(
                "printf '[keyfile]\\nunmanaged-devices=interface-name:cali*;interface-name:tunl*;interface-name:"
                "vxlan.calico;interface-name:vxlan-v6.calico\\n' > /etc/NetworkManager/conf.d/calico.conf",
                "systemctl reload NetworkManager",
            ),
        ),
    )


_MODULES = optional(NodeKind.modules)
_CONFIG = optional(NodeKind.kernel_config)


@check(
    id="node.base.modules",
    title="Kernel modules that Calico's requirements name",
    category="network",
    severity=Severity.DEGRADE,
    needs=(_MODULES, _CONFIG),
)
def base_modules(given: Given) -> Outcome:
    """Whether what Calico needs of the kernel beside eBPF is loaded, built in, or on disk to be loaded."""
    modules, config = given[_MODULES], given[_CONFIG]
    options = dict(config.value) if isinstance(config, Known) else {}
    lacking: list[ModuleNeed] = []
    for need in given.release.network.modules.need:
        if any(options.get(option) == "y" for option in need.options):
            continue
        if isinstance(modules, Known):
            if not set(modules.value) & set(need.modules):
                lacking.append(need)
        elif options and all(options.get(option, "n") == "n" for option in need.options):
            lacking.append(need)
        else:
            # By the configuration a module, of which nobody saw whether it is on disk.
            return unseen("modules-unseen", "Which modules the kernel has could not be told", modules)
    needed = "those that Calico's requirements name"
    if not lacking:
        return passed("there", "The kernel has what Calico needs of it beside eBPF.", required=needed)
    shown = excerpt(", ".join(" or ".join(need.modules) for need in lacking), 160)
    only_iptables = all(need.for_ == "iptables" for need in lacking)
    return warn(
        "iptables-lacking" if only_iptables else "lacking",
        f"The kernel lacks what Calico's requirements name: {excerpt(', '.join(need.what for need in lacking), 200)}. "
        + (
            "In eBPF mode too Felix writes some rules with iptables, and fails at them; where it uses nftables "
            "(nftablesMode) it needs none of these."
            if only_iptables
            else f"In eBPF mode too Calico {given.release.version} cannot do without."
        ),
        observed=f"not there: {shown}",
        required=needed,
        remediation=Remediation(
            text="Install the package with the kernel's other modules (kernel-modules-extra on RHEL and its kin, "
            "linux-modules-extra on Ubuntu) for the running kernel, or take a kernel that has them.",
            commands=tuple(f"modprobe {need.modules[0]}" for need in lacking),
        ),
    )
