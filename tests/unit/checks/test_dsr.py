from typing import Any

import pytest

from ebpfcheck.checks import dsr
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import AddOn, Services, Users
from ebpfcheck.model.facts import Absent, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list services")
NO_BALANCERS = known(Services(count=4))
BALANCERS = known(Services(count=4, load_balancers=Users(count=2, examples=("web/front", "a\x1b[1m/b"))))
ONE, TWO = known(("10.0.0.0/24",)), known(("10.0.0.0/24", "10.0.1.0/24"))


def node(provider: Any = ABSENT, mode: str | None = "DSR", **more: Any) -> NodeKind:
    return kind(provider=provider, felix=known(FelixSettings(bpf_external_service_mode=mode, **more)))


def judged(*kinds: NodeKind, **more: Any) -> Finding:
    version = more.pop("version", "v3.32.1")
    facts = {"services": NO_BALANCERS, "node_subnets": ONE, "add_ons": known(()), **more}
    return judged_cluster(dsr.direct_server_return, *kinds, version=version, **facts)


def add_on(program: str) -> Any:
    return known((AddOn(program=program, namespace="x", name=program),))


@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(install: Install) -> None:
    for minor in load_knowledge().minors():
        for kinds in ((), (kind(),)):
            finding = judged_cluster(dsr.direct_server_return, *kinds, version=str(minor), install=install)
            assert finding.status is Status.UNKNOWN


@pytest.mark.parametrize("mode", [None, "", "Tunnel", "tunnel"])
def test_tunnel_is_always_fine(mode: str | None) -> None:
    finding = judged(node(known("aws"), mode), services=BALANCERS, node_subnets=TWO)
    assert finding.status is Status.PASS
    assert not finding.note
    assert judged(kind(felix=ABSENT)).status is Status.PASS


@pytest.mark.parametrize(
    ("kinds", "more", "status", "words"),
    [
        ((node(),), {}, Status.PASS, "all of them are in one subnet"),
        ((node(mode="dsr"),), {}, Status.PASS, "all of them are in one subnet"),
        ((node(known("vsphere")),), {"services": BALANCERS}, Status.PASS, "one subnet"),
        ((node(),), {"node_subnets": TWO}, Status.WARN, "2 subnets (10.0.0.0/24, 10.0.1.0/24): what"),
        ((node(),), {"node_subnets": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ((node(),), {"node_subnets": ABSENT}, Status.UNKNOWN, "one subnet could not be told"),
        ((node(),), {"services": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ((node(),), {"services": FORBIDDEN, "node_subnets": TWO}, Status.WARN, "2 subnets"),
        ((node(), node(mode=None)), {"node_subnets": TWO}, Status.WARN, "DSR for 1 of 2 nodes"),
        ((node(), kind(felix=FORBIDDEN)), {}, Status.UNKNOWN, "on the others could not be told"),
        ((node(mode=None), kind(felix=FORBIDDEN)), {}, Status.UNKNOWN, "not allowed"),
        ((node(known("aws")),), {"services": BALANCERS}, Status.WARN, "of AWS), which expect"),
        ((node(known("azure")),), {"services": BALANCERS}, Status.WARN, "of Azure), which expect"),
        (
            (node(),),
            {"services": BALANCERS, "add_ons": add_on("aws-load-balancer-controller")},
            Status.WARN,
            "AWS Load",
        ),
        ((node(),), {"services": BALANCERS, "add_ons": add_on("metallb")}, Status.PASS, "one subnet"),
        (
            (node(known("aws")),),
            {"services": BALANCERS, "add_ons": add_on("metallb")},
            Status.UNKNOWN,
            "AWS: the check",
        ),
        ((node(known("aws")),), {}, Status.UNKNOWN, "AWS: the check of source and destination has to be off"),
        ((node(known("gce")),), {}, Status.UNKNOWN, "IP forwarding has to be on"),
        ((node(known("azure")),), {}, Status.UNKNOWN, "IP forwarding has to be on"),
        ((node(known("openstack")),), {}, Status.UNKNOWN, "port security has to be off"),
        ((node(known("aws"), aws_src_dst_check="Disable"),), {}, Status.PASS, "one subnet"),
        ((node(known("aws"), aws_src_dst_check="Enable"),), {}, Status.UNKNOWN, "AWS"),
        ((node(known("gce"), aws_src_dst_check="Disable"),), {}, Status.UNKNOWN, "Google Cloud"),
        ((node(known("aws"), aws_src_dst_check="Disable"), node(known("aws"))), {}, Status.UNKNOWN, "AWS"),
        ((node(known("aws"), aws_src_dst_check="Disable"), node(known("aws"), None)), {}, Status.PASS, "one subnet"),
        ((node(known("aws")),), {"node_subnets": TWO}, Status.WARN, "2 subnets"),
    ],
)
def test_direct_server_return(kinds: tuple[NodeKind, ...], more: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(*kinds, **more)
    assert finding.status is status
    assert words in finding.message
    assert finding.note is (status is Status.PASS)
    assert finding.severity is (Severity.NOTE if finding.note else Severity.DEGRADE)
    assert "\x1b" not in finding.message


@pytest.mark.parametrize(
    ("version", "status"),
    [("v3.25", Status.WARN), ("v3.26", Status.UNKNOWN), ("v3.33", Status.UNKNOWN)],
)
def test_clients_that_are_taken_out_of_it(version: str, status: Status) -> None:
    out = node(known("aws"), bpf_dsr_optout_cidrs=("10.9.0.0/24",))
    assert judged(out, services=BALANCERS, version=version).status is status
    assert judged(out, node(known("aws")), services=BALANCERS, version=version).status is Status.WARN
    assert judged(out, node(known("aws"), mode=None), services=BALANCERS, version=version).status is status


def test_what_to_do() -> None:
    tunnel = (
        """kubectl patch felixconfiguration default --type merge -p '{"spec": {"bpfExternalServiceMode": "Tunnel"}}'"""
    )
    balanced = judged(node(known("aws")), services=BALANCERS).remediation
    assert balanced is not None
    assert balanced.commands == (tunnel,)
    assert "bpfDSROptoutCIDRs" in balanced.text
    older = judged(node(known("aws")), services=BALANCERS, version="v3.25").remediation
    assert older is not None
    assert "bpfDSROptoutCIDRs" not in older.text
    apart = judged(node(), node_subnets=TWO).remediation
    assert apart is not None
    assert apart.commands == (tunnel,)
    aws = judged(node(known("aws"))).remediation
    assert aws is not None
    assert "awsSrcDstCheck: Disable" in aws.text
    assert aws.commands[0].startswith("aws ec2 describe-instances ")
    google = judged(node(known("gce"))).remediation
    assert google is not None
    assert google.text == "Look it up."


def test_many_subnets_are_cut_short() -> None:
    three = judged(node(), node_subnets=known(tuple(f"10.0.{number}.0/24" for number in range(3))))
    assert "(10.0.0.0/24, 10.0.1.0/24, 10.0.2.0/24)" in three.message
    finding = judged(node(), node_subnets=known(tuple(f"10.0.{number}.0/24" for number in range(9))))
    assert "9 subnets (10.0.0.0/24, 10.0.1.0/24, 10.0.2.0/24 and 6 more)" in finding.message
