from typing import Any

import pytest

from ebpfcheck.checks import ports
from ebpfcheck.model.facts import Absent, AttachedProgram, AttachedPrograms, Fact, FelixSettings, Reason, Unknown, Vxlan
from ebpfcheck.model.report import Status
from tests.builders import judged, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not for you")


def vxlan(name: str = "flannel.1", port: int = 4789, *, up: bool = True, namespace: str = "") -> Vxlan:
    return Vxlan(name=name, port=port, is_up=up, takes_all_vnis=False, namespace=namespace)


@pytest.mark.parametrize(
    ("found", "btf", "version", "status"),
    [
        ((), known(True), "v3.31", Status.PASS),
        ((vxlan(),), known(True), "v3.31", Status.FAIL),
        ((vxlan(up=False),), known(True), "v3.31", Status.WARN),
        ((vxlan(namespace="ingress"),), known(True), "v3.31", Status.WARN),
        ((vxlan(port=8472),), known(True), "v3.31", Status.PASS),
        ((vxlan("vxlan.calico"),), known(True), "v3.31", Status.PASS),
        ((vxlan(),), ABSENT, "v3.31", Status.PASS),
        ((vxlan(),), FORBIDDEN, "v3.31", Status.WARN),
        ((vxlan(),), known(True), "v3.30.7", Status.NOT_APPLICABLE),
    ],
)
def test_other_vxlan_devices(found: tuple[Vxlan, ...], btf: Fact[bool], version: str, status: Status) -> None:
    facts = kind(vxlans=known(found), vmlinux_btf=btf, udp_ports=known(()))
    assert judged(ports.vxlan_port_conflict, facts, version).status is status


@pytest.mark.parametrize(
    ("found", "udp", "btf", "version", "status"),
    [
        ((), known((4789,)), known(True), "v3.31", Status.FAIL),
        ((), known((4789,)), ABSENT, "v3.31", Status.FAIL),
        ((), known((53,)), known(True), "v3.31", Status.PASS),
        ((), FORBIDDEN, known(True), "v3.31", Status.UNKNOWN),
        ((vxlan(),), FORBIDDEN, known(True), "v3.31", Status.FAIL),
        ((vxlan("vxlan.calico"),), known((4789,)), known(True), "v3.31", Status.PASS),
        ((vxlan(),), known((4789,)), ABSENT, "v3.31", Status.PASS),
        ((vxlan(),), known((4789,)), known(False), "v3.31", Status.PASS),
        ((vxlan(),), known((4789,)), ABSENT, "v3.33", Status.FAIL),
    ],
)
def test_whoever_takes_the_port(
    found: tuple[Vxlan, ...], udp: Fact[Any], btf: Fact[bool], version: str, status: Status
) -> None:
    facts = kind(vxlans=known(found), udp_ports=udp, vmlinux_btf=btf)
    assert judged(ports.vxlan_port_conflict, facts, version).status is status


def test_vxlan_devices_that_could_not_be_listed() -> None:
    assert judged(ports.vxlan_port_conflict, kind(vxlans=FORBIDDEN)).status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("taken", "programs", "version", "status", "note"),
    [
        ((22,), known(()), "v3.32.1", Status.PASS, False),
        ((10256,), known(("kube-proxy",)), "v3.32.1", Status.PASS, False),
        ((10256,), known(("k3s",)), "v3.32.1", Status.PASS, False),
        ((10256,), known(("calico-node",)), "v3.32.1", Status.UNKNOWN, False),
        ((10256,), known(()), "v3.32.1", Status.WARN, False),
        ((10256,), known(()), "v3.30.4", Status.WARN, False),
        ((10256,), known(()), "v3.30", Status.WARN, False),
        ((10256,), known(()), "v3.30.3", Status.NOT_APPLICABLE, False),
        ((10256,), FORBIDDEN, "v3.32.1", Status.UNKNOWN, False),
    ],
)
def test_the_health_port(taken: tuple[int, ...], programs: Fact[Any], version: str, status: Status, note: bool) -> None:
    finding = judged(ports.port_healthz, kind(tcp_listeners=known(taken), programs=programs), version)
    assert (finding.status, finding.note) == (status, note)


@pytest.mark.parametrize(
    ("taken", "programs", "settings", "status"),
    [
        (10256, ("kube-proxy",), FelixSettings(), Status.PASS),
        (10256, ("kube-proxy",), FelixSettings(bpf_kube_proxy_iptables_cleanup_enabled=False), Status.WARN),
        (10256, ("k3s-server",), FelixSettings(bpf_kube_proxy_iptables_cleanup_enabled=False), Status.WARN),
        (
            10256,
            ("kube-proxy",),
            FelixSettings(bpf_kube_proxy_iptables_cleanup_enabled=False, bpf_kube_proxy_healthz_port=10258),
            Status.PASS,
        ),
        (10258, ("kube-proxy",), FelixSettings(bpf_kube_proxy_healthz_port=10258), Status.WARN),
        (10256, (), FelixSettings(bpf_kube_proxy_healthz_port=0), Status.PASS),
    ],
)
def test_the_health_port_where_felix_configuration_is_known(
    taken: int, programs: tuple[str, ...], settings: FelixSettings, status: Status
) -> None:
    facts = kind(tcp_listeners=known((taken,)), programs=known(programs), felix=known(settings))
    assert judged(ports.port_healthz, facts).status is status


def test_the_port_of_vxlan_is_the_one_that_is_set() -> None:
    facts = kind(
        vxlans=known((vxlan(),)),
        udp_ports=known((4789,)),
        vmlinux_btf=known(True),
        felix=known(FelixSettings(vxlan_port=4790)),
    )
    assert judged(ports.vxlan_port_conflict, facts, "v3.31").status is Status.PASS
    facts = kind(
        vxlans=known((vxlan(port=4790),)), vmlinux_btf=known(True), felix=known(FelixSettings(vxlan_port=4790))
    )
    assert judged(ports.vxlan_port_conflict, facts, "v3.31").status is Status.FAIL


def test_ports_that_the_kernel_hands_out_are_not_known_to_be_free() -> None:
    settings = known(FelixSettings(vxlan_port=40000, bpf_kube_proxy_healthz_port=40001))
    facts = kind(vxlans=known(()), udp_ports=known(()), tcp_listeners=known(()), programs=known(()), felix=settings)
    assert judged(ports.vxlan_port_conflict, facts).status is Status.UNKNOWN
    assert judged(ports.port_healthz, facts).status is Status.UNKNOWN
    device = vxlan(port=40000)
    facts = kind(vxlans=known((device,)), udp_ports=known(()), vmlinux_btf=known(True), felix=settings)
    assert judged(ports.vxlan_port_conflict, facts).status is Status.FAIL


@pytest.mark.parametrize(
    ("names", "status", "note"), [(("cali_tc_preambl",), Status.PASS, True), ((), Status.WARN, False)]
)
def test_a_listener_is_felix_only_where_ebpf_mode_is_on(names: tuple[str, ...], status: Status, note: bool) -> None:
    attached = AttachedPrograms(
        programs=tuple(AttachedProgram(device="eth0", hook="tc/ingress", name=name) for name in names), by="bpftool"
    )
    facts = kind(tcp_listeners=known((10256,)), programs=known(("calico-node",)), bpf_programs=known(attached))
    finding = judged(ports.port_healthz, facts)
    assert (finding.status, finding.note) == (status, note)
