from typing import Any

import pytest

from ebpfcheck.checks import residue
from ebpfcheck.model.check import Check
from ebpfcheck.model.facts import Absent, Fact, Link, Reason, Unknown
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
        (residue.bpf_residue, {"bpf_pins": ABSENT, "programs": known(())}, "v3.32.1", Status.PASS),
        (residue.bpf_residue, {"bpf_pins": known(("calico",)), "programs": known(())}, "v3.32.1", Status.PASS),
        (residue.bpf_residue, {"bpf_pins": known(("cilium",)), "programs": known(())}, "v3.32.1", Status.WARN),
        (residue.bpf_residue, {"bpf_pins": ABSENT, "programs": known(("cilium-agent",))}, "v3.32.1", Status.WARN),
        (residue.bpf_residue, {"bpf_pins": FORBIDDEN, "programs": known(())}, "v3.32.1", Status.UNKNOWN),
    ],
)
def test_simple_checks(check: Check, facts: dict[str, Fact[Any]], version: str, status: Status) -> None:
    assert judged(check, kind(**facts), version).status is status


@pytest.mark.parametrize(
    ("tables", "programs", "version", "status"),
    [
        (known(()), known(()), "v3.32.1", Status.PASS),
        (TABLES, known(("kube-proxy",)), "v3.16", Status.PASS),
        (FORBIDDEN, known(("kube-proxy",)), "v3.16", Status.PASS),
        (FORBIDDEN, known(()), "v3.16", Status.UNKNOWN),
        (TABLES, FORBIDDEN, "v3.16", Status.UNKNOWN),
        (TABLES, known(()), "v3.31.3", Status.WARN),
        (TABLES, known(()), "v3.31", Status.WARN),
        (TABLES, known(()), "v3.31.4", Status.PASS),
        (TABLES, known(("k3s-agent",)), "v3.31.4", Status.UNKNOWN),
        (known(()), known(("k3s-agent",)), "v3.31.4", Status.PASS),
    ],
)
def test_tables_that_kube_proxy_leaves(tables: Fact[Any], programs: Fact[Any], version: str, status: Status) -> None:
    facts = kind(nft_tables=tables, programs=programs)
    assert judged(residue.kube_proxy_residue, facts, version).status is status
