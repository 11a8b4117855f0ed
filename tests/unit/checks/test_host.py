from typing import Any

import pytest

from ebpfcheck.checks import host
from ebpfcheck.model.check import Check
from ebpfcheck.model.facts import Absent, Fact, Link, Reason, Unknown, Vxlan
from ebpfcheck.model.report import Severity, Status
from tests.builders import judged, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not for you")


def link(name: str, kind_of: str = "ethernet", *, default: bool = False, lower: tuple[str, ...] = ()) -> Link:
    return Link(name=name, kind=kind_of, mtu=1500, is_up=True, has_default_route=default, lower=lower)


def links(*found: Link) -> Fact[Any]:
    return known(found)


def vxlan(name: str = "flannel.1", port: int = 4789, *, up: bool = True, namespace: str = "") -> Vxlan:
    return Vxlan(name=name, port=port, is_up=up, takes_all_vnis=False, namespace=namespace)


ALL_0, ALL_1 = "{}: net.ipv4.conf.all.rp_filter = 0", "{}: net.ipv4.conf.all.rp_filter = 1"
TOLD = "/etc/NetworkManager/conf.d/c.conf: unmanaged-devices=interface-name:cali*;interface-name:tunl*;"


@pytest.mark.parametrize(
    ("check", "facts", "version", "status"),
    [
        (host.base_ip_forward, {"ip_forward": known(1)}, "v3.32.1", Status.PASS),
        (host.base_ip_forward, {"ip_forward": known(0)}, "v3.32.1", Status.WARN),
        (host.base_ip_forward, {"ip_forward": FORBIDDEN}, "v3.32.1", Status.UNKNOWN),
        (host.firewall, {"programs": known(()), "ufw_enabled": ABSENT}, "v3.32.1", Status.PASS),
        (host.firewall, {"programs": known(()), "ufw_enabled": known(False)}, "v3.32.1", Status.PASS),
        (host.firewall, {"programs": known(()), "ufw_enabled": known(True)}, "v3.32.1", Status.WARN),
        (host.firewall, {"programs": known(("firewalld",)), "ufw_enabled": ABSENT}, "v3.32.1", Status.WARN),
        (host.firewall, {"programs": known(("firewalld",)), "ufw_enabled": FORBIDDEN}, "v3.32.1", Status.WARN),
        (host.firewall, {"programs": known(()), "ufw_enabled": FORBIDDEN}, "v3.32.1", Status.UNKNOWN),
        (host.firewall, {"programs": FORBIDDEN}, "v3.32.1", Status.UNKNOWN),
        (host.docker_bridge, {"links": links(link("docker0", "bridge"))}, "v3.26.4", Status.WARN),
        (host.docker_bridge, {"links": links(link("docker0", "bridge"))}, "v3.27", Status.NOT_APPLICABLE),
        (host.docker_bridge, {"links": links(link("eth0"))}, "v3.26.4", Status.PASS),
        (host.docker_bridge, {"links": FORBIDDEN}, "v3.26.4", Status.UNKNOWN),
    ],
)
def test_simple_checks(check: Check, facts: dict[str, Fact[Any]], version: str, status: Status) -> None:
    assert judged(check, kind(**facts), version).status is status


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ((), Status.PASS),
        (("/etc/sysctl.d/a.conf: net.ipv4.conf.all.rp_filter = 1",), Status.WARN),
        (("/etc/sysctl.d/a.conf: net/ipv4/conf/all/rp_filter=1",), Status.WARN),
        (("/etc/sysctl.d/a.conf: net.ipv4.conf.*.rp_filter = 1",), Status.WARN),
        (("/etc/sysctl.d/a.conf: net.ipv4.conf.all.rp_filter = 2",), Status.PASS),
        (("/etc/sysctl.d/a.conf: net.ipv4.conf.all.rp_filter = 0",), Status.PASS),
        (("/etc/sysctl.d/a.conf: net.ipv4.conf.default.rp_filter = 1",), Status.PASS),
        # The last file wins, whatever the order in which they were read.
        (
            (ALL_1.format("/usr/lib/sysctl.d/50-default.conf"), ALL_0.format("/etc/sysctl.d/90-calico.conf")),
            Status.PASS,
        ),
        (
            (ALL_0.format("/etc/sysctl.d/10-calico.conf"), ALL_1.format("/usr/lib/sysctl.d/50-default.conf")),
            Status.WARN,
        ),
        ((ALL_1.format("/etc/sysctl.conf"), ALL_0.format("/etc/sysctl.d/99-calico.conf")), Status.WARN),
        # A file in /etc takes the place of one with its name.
        (
            (ALL_0.format("/etc/sysctl.d/50-default.conf"), ALL_1.format("/usr/lib/sysctl.d/50-default.conf")),
            Status.PASS,
        ),
        ((ALL_1.format("/run/sysctl.d/x.conf"), ALL_0.format("/usr/lib/sysctl.d/x.conf")), Status.WARN),
        # Felix's own veth pair is among `*`, whatever is said of `all`.
        (("/etc/sysctl.d/z.conf: net.ipv4.conf.*.rp_filter=1", ALL_0.format("/etc/sysctl.d/a.conf")), Status.WARN),
        (("/l/50.conf: net.ipv4.conf.*.rp_filter=1", "/l/50.conf: -net.ipv4.conf.all.rp_filter"), Status.WARN),
        (("/l/50.conf: net.ipv4.conf.*.rp_filter=1", "/l/60.conf: net.ipv4.conf.*.rp_filter=2"), Status.PASS),
        (("/l/50.conf: net.ipv4.conf.*.rp_filter=2", "/l/50.conf: -net.ipv4.conf.all.rp_filter"), Status.PASS),
    ],
)
def test_what_turns_strict_filtering_on_again(files: tuple[str, ...], status: Status) -> None:
    facts = kind(rp_filter=known((("all", 0),)), rp_filter_files=known(files))
    assert judged(host.sysctl_rp_filter, facts).status is status


def test_strict_filtering_of_now_is_worth_a_note() -> None:
    facts = kind(rp_filter=known((("all", 1), ("eth0", 0))), rp_filter_files=known(()))
    finding = judged(host.sysctl_rp_filter, facts)
    assert (finding.status, finding.note) == (Status.PASS, True)
    facts = kind(rp_filter=known((("all", 0), ("eth0", 1))), rp_filter_files=known(()))
    assert not judged(host.sysctl_rp_filter, facts).note


def test_releases_that_leave_reverse_path_filtering_alone_are_not_judged() -> None:
    facts = kind(rp_filter=known(()), rp_filter_files=known(("/x: net.ipv4.conf.all.rp_filter=1",)))
    assert judged(host.sysctl_rp_filter, facts, "v3.26.4").status is Status.NOT_APPLICABLE
    assert judged(host.sysctl_rp_filter, facts, "v3.27").status is Status.WARN


def test_reverse_path_filtering_unseen() -> None:
    facts = kind(rp_filter=known((("all", 0),)), rp_filter_files=FORBIDDEN)
    assert judged(host.sysctl_rp_filter, facts).status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("programs", "lines", "status"),
    [
        (known(("kubelet",)), known(()), Status.PASS),
        (known(("NetworkManager",)), known(()), Status.WARN),
        (known(("NetworkManager",)), known((TOLD,)), Status.WARN),
        (known(("NetworkManager",)), known((TOLD + "interface-name:vxlan.calico",)), Status.PASS),
        (known(("NetworkManager",)), known((TOLD.replace("interface", "except:interface"),)), Status.WARN),
        (known(("NetworkManager",)), known(("/x: unmanaged-devices=interface-name:*",)), Status.PASS),
        (known(("NetworkManager",)), FORBIDDEN, Status.UNKNOWN),
        (FORBIDDEN, known(()), Status.UNKNOWN),
    ],
)
def test_networkmanager(programs: Fact[Any], lines: Fact[Any], status: Status) -> None:
    finding = judged(host.base_networkmanager, kind(programs=programs, unmanaged_devices=lines))
    assert (finding.status, finding.severity) == (status, Severity.DEGRADE)


@pytest.mark.parametrize(
    ("mode", "status", "note"),
    [
        (known("enforcing"), Status.PASS, True),
        (known("permissive"), Status.PASS, False),
        (ABSENT, Status.NOT_APPLICABLE, False),
        (FORBIDDEN, Status.UNKNOWN, False),
    ],
)
def test_selinux(mode: Fact[Any], status: Status, note: bool) -> None:
    finding = judged(host.selinux, kind(selinux=mode))
    assert (finding.status, finding.note) == (status, note)


ALL = (
    "ip_set", "ipt_REJECT", "ipt_rpfilter", "nf_conntrack", "nf_tables", "vxlan", "xt_addrtype", "xt_comment",
    "xt_conntrack", "xt_mark", "xt_multiport", "xt_set",
)  # fmt: skip
BUILT_IN = known((("CONFIG_VXLAN", "y"),))


@pytest.mark.parametrize(
    ("modules", "config", "status"),
    [
        (known(ALL), FORBIDDEN, Status.PASS),
        (known(tuple(name for name in ALL if name != "xt_set")), FORBIDDEN, Status.WARN),
        (known(tuple(name for name in ALL if name != "vxlan")), FORBIDDEN, Status.WARN),
        (known(tuple(name for name in ALL if name != "vxlan")), BUILT_IN, Status.PASS),
        (known((*(name for name in ALL if name != "nf_tables"), "ip_tables")), FORBIDDEN, Status.PASS),
        (FORBIDDEN, FORBIDDEN, Status.UNKNOWN),
        (
            FORBIDDEN,
            known((("CONFIG_VXLAN", "m"), ("CONFIG_NF_TABLES", "y"), ("CONFIG_NF_CONNTRACK", "y"))),
            Status.UNKNOWN,
        ),
    ],
)
def test_modules(modules: Fact[Any], config: Fact[Any], status: Status) -> None:
    assert judged(host.base_modules, kind(modules=modules, kernel_config=config)).status is status


def test_a_kernel_without_modules_is_judged_by_its_configuration() -> None:
    from tests.builders import release

    needs = release("v3.32.1").network.modules.need
    whole = {need.options[0]: "y" for need in needs}
    config = known(tuple(sorted(whole.items())))
    assert judged(host.base_modules, kind(modules=FORBIDDEN, kernel_config=config)).status is Status.PASS
    config = known(tuple(sorted({**whole, "CONFIG_VXLAN": "n"}.items())))
    finding = judged(host.base_modules, kind(modules=FORBIDDEN, kernel_config=config))
    assert (finding.status, finding.observed) == (Status.WARN, "not there: vxlan")


def test_what_only_iptables_needs_is_said_to_be_so() -> None:
    lacking = known(tuple(name for name in ALL if name != "xt_set"))
    assert "nftablesMode" in judged(host.base_modules, kind(modules=lacking)).message
    lacking = known(tuple(name for name in ALL if name not in ("xt_set", "vxlan")))
    assert "nftablesMode" not in judged(host.base_modules, kind(modules=lacking)).message
