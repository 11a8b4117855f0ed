from typing import Any

import pytest

from ebpfcheck.checks import residue
from ebpfcheck.model.check import Check
from ebpfcheck.model.facts import (
    Absent,
    AttachedProgram,
    AttachedPrograms,
    Fact,
    FelixSettings,
    KubeChains,
    Link,
    Reason,
    Unknown,
)
from ebpfcheck.model.report import Status
from tests.builders import judged, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not for you")


def link(name: str, kind_of: str = "ethernet", *, default: bool = False, lower: tuple[str, ...] = ()) -> Link:
    return Link(name=name, kind=kind_of, mtu=1500, is_up=True, has_default_route=default, lower=lower)


def links(*found: Link) -> Fact[Any]:
    return known(found)


TABLES = known(("inet filter", "ip kube-proxy", "ip6 kube-proxy"))


@pytest.mark.parametrize(
    ("found", "services", "status"),
    [
        ((link("eth0"),), ABSENT, Status.PASS),
        ((link("eth0"),), known(False), Status.PASS),
        ((link("kube-ipvs0"),), ABSENT, Status.FAIL),
        ((link("kube-ipvs0"),), known(True), Status.FAIL),
        ((link("eth0"),), known(True), Status.WARN),
        ((link("eth0"),), FORBIDDEN, Status.UNKNOWN),
    ],
)
def test_what_ipvs_leaves(found: tuple[Link, ...], services: Fact[bool], status: Status) -> None:
    assert judged(residue.ipvs_residue, kind(links=known(found), ipvs_services=services)).status is status


@pytest.mark.parametrize(
    ("check", "facts", "version", "status"),
    [
        (residue.bpf_residue, {"bpf_pins": ABSENT, "programs": known(())}, "v3.32.1", Status.UNKNOWN),
        (residue.bpf_residue, {"bpf_pins": known(("calico",)), "programs": known(())}, "v3.32.1", Status.PASS),
        (residue.bpf_residue, {"bpf_pins": known(("cilium",)), "programs": known(())}, "v3.32.1", Status.WARN),
        (residue.bpf_residue, {"bpf_pins": ABSENT, "programs": known(("cilium-agent",))}, "v3.32.1", Status.WARN),
        (residue.bpf_residue, {"bpf_pins": FORBIDDEN, "programs": known(())}, "v3.32.1", Status.UNKNOWN),
    ],
)
def test_simple_checks(check: Check, facts: dict[str, Fact[Any]], version: str, status: Status) -> None:
    assert judged(check, kind(**facts), version).status is status


def attached(*names: str, by: str = "bpftool", misses_tcx: bool = False) -> Fact[Any]:
    return known(
        AttachedPrograms(
            programs=tuple(AttachedProgram(device="eth0", hook="tc/ingress", name=name) for name in names),
            by=by,  # type: ignore[arg-type]
            misses_tcx=misses_tcx,
        )
    )


OFF, ON = attached(), attached("cali_tc_preambl")
NO_CHAINS = known(KubeChains(names=("KUBE-KUBELET-CANARY", "KUBE-FIREWALL")))
CHAINS = known(KubeChains(names=("KUBE-SERVICES",), of_services=100))


@pytest.mark.parametrize(
    ("tables", "programs", "version", "status"),
    [
        (known(()), known(()), "v3.32.1", Status.PASS),
        (TABLES, known(("kube-proxy",)), "v3.16", Status.PASS),
        (FORBIDDEN, known(("kube-proxy",)), "v3.16", Status.PASS),
        (FORBIDDEN, known(()), "v3.16", Status.UNKNOWN),
        (ABSENT, known(()), "v3.16", Status.PASS),
        (TABLES, FORBIDDEN, "v3.16", Status.UNKNOWN),
        (TABLES, known(()), "v3.31.3", Status.WARN),
        (TABLES, known(()), "v3.31", Status.WARN),
        (TABLES, known(()), "v3.31.4", Status.PASS),
        (TABLES, known(("k3s-agent",)), "v3.31.4", Status.PASS),
        (known(()), known(("k3s-agent",)), "v3.31.4", Status.PASS),
    ],
)
def test_tables_that_kube_proxy_leaves(tables: Fact[Any], programs: Fact[Any], version: str, status: Status) -> None:
    facts = kind(nft_tables=tables, kube_chains=NO_CHAINS, programs=programs, bpf_programs=OFF)
    assert judged(residue.kube_proxy_residue, facts, version).status is status


KEPT = known(FelixSettings(bpf_kube_proxy_iptables_cleanup_enabled=False))
CLEANED = known(FelixSettings())


@pytest.mark.parametrize(
    ("chains", "programs", "bpf", "felix", "status", "note"),
    [
        (CHAINS, ("kube-proxy",), OFF, FORBIDDEN, Status.PASS, False),
        (CHAINS, ("kube-proxy",), ON, FORBIDDEN, Status.WARN, False),
        (CHAINS, ("kube-proxy",), ON, CLEANED, Status.WARN, False),
        (CHAINS, ("kube-proxy",), ON, KEPT, Status.PASS, False),
        (CHAINS, ("kube-proxy",), FORBIDDEN, FORBIDDEN, Status.PASS, False),
        (NO_CHAINS, (), OFF, FORBIDDEN, Status.PASS, False),
        (NO_CHAINS, (), ON, FORBIDDEN, Status.PASS, False),
        (CHAINS, (), OFF, FORBIDDEN, Status.PASS, True),
        (CHAINS, (), OFF, KEPT, Status.WARN, False),
        (CHAINS, (), ON, CLEANED, Status.WARN, False),
        (FORBIDDEN, (), OFF, FORBIDDEN, Status.UNKNOWN, False),
        (ABSENT, (), OFF, FORBIDDEN, Status.PASS, False),
        (CHAINS, ("k3s-server",), OFF, FORBIDDEN, Status.PASS, False),
        (CHAINS, ("k3s-server",), ON, FORBIDDEN, Status.UNKNOWN, False),
        (CHAINS, ("k3s-server",), FORBIDDEN, FORBIDDEN, Status.UNKNOWN, False),
    ],
)
def test_chains_that_kube_proxy_leaves(
    chains: Fact[Any], programs: tuple[str, ...], bpf: Fact[Any], felix: Fact[Any], status: Status, note: bool
) -> None:
    facts = kind(nft_tables=known(()), kube_chains=chains, programs=known(programs), bpf_programs=bpf, felix=felix)
    finding = judged(residue.kube_proxy_residue, facts)
    assert (finding.status, finding.note) == (status, note)


XDP = known(AttachedPrograms(programs=(AttachedProgram(device="eth0", hook="xdp", name=""),), by="bpftool"))


@pytest.mark.parametrize(("ports", "status"), [((10249,), Status.PASS), ((10250,), Status.UNKNOWN)])
def test_a_kube_proxy_inside_of_k3s_shows_by_its_metrics(ports: tuple[int, ...], status: Status) -> None:
    facts = kind(nft_tables=known(()), kube_chains=CHAINS, programs=known(("k3s-server",)), tcp_listeners=known(ports))
    assert judged(residue.kube_proxy_residue, facts).status is status


@pytest.mark.parametrize(
    ("bpf", "status"),
    [
        (OFF, Status.PASS),
        (ON, Status.PASS),
        (attached("cil_from_netdev"), Status.WARN),
        (attached(""), Status.WARN),
        (attached("cil_from_netdev", by="tc"), Status.WARN),
        (attached(by="tc"), Status.UNKNOWN),
        (attached(misses_tcx=True), Status.UNKNOWN),
        (attached("cil_from_netdev", misses_tcx=True), Status.WARN),
        (attached("cali_tc_preambl", by="tc"), Status.UNKNOWN),
        (XDP, Status.UNKNOWN),
        (FORBIDDEN, Status.UNKNOWN),
    ],
)
def test_programs_of_others(bpf: Fact[Any], status: Status) -> None:
    assert judged(residue.tc_foreign, kind(bpf_programs=bpf)).status is status


@pytest.mark.parametrize(
    ("facts", "status", "note"),
    [
        ({"bpf_programs": OFF, "links": links(link("eth0"))}, Status.PASS, False),
        ({"bpf_programs": attached(by="tc"), "links": links(link("eth0"))}, Status.UNKNOWN, False),
        ({"bpf_programs": FORBIDDEN, "links": links(link("eth0"))}, Status.UNKNOWN, False),
        ({"links": links(link("cilium_host"))}, Status.WARN, False),
        ({"links": links(link("bpfin.cali"))}, Status.PASS, True),
        ({"bpf_programs": ON}, Status.WARN, False),
        ({"bpf_programs": ON, "programs": known(("calico-node",))}, Status.PASS, True),
        ({"bpf_programs": ON, "programs": known(("calico-node",)), "felix": CLEANED}, Status.PASS, True),
        (
            {
                "bpf_programs": ON,
                "programs": known(("calico-node",)),
                "felix": known(FelixSettings(bpf_enabled=False)),
            },
            Status.WARN,
            False,
        ),
        ({"bpf_programs": OFF, "felix": known(FelixSettings(bpf_enabled=False))}, Status.PASS, False),
        ({"programs": FORBIDDEN}, Status.UNKNOWN, False),
    ],
)
def test_what_bpf_dataplanes_leave(facts: dict[str, Fact[Any]], status: Status, note: bool) -> None:
    finding = judged(residue.bpf_residue, kind(**{"bpf_pins": ABSENT, "programs": known(()), **facts}))
    assert (finding.status, finding.note) == (status, note)
