"""From what a node prints of others that handle its packets to what is known of them."""

import pytest

from ebpfcheck.model.facts import Absent, AttachedProgram, AttachedPrograms, KubeChains, Reason, Unknown
from tests.builders import Part, facts
from tests.unit.test_network_facts import value


def test_a_healthy_nodes_hooks() -> None:
    kind = facts().kind
    assert value(kind.kube_chains) == KubeChains(
        names=("KUBE-KUBELET-CANARY", "KUBE-POSTROUTING", "KUBE-SERVICES"), of_services=10
    )
    assert value(kind.bpf_programs) == AttachedPrograms(programs=(), by="bpftool")


@pytest.mark.parametrize(("chains", "shown"), [(0, 0), (1, 1), (9, 1), (10, 10), (99, 10), (70_123, 10_000)])
def test_the_number_of_chains_is_rounded_so_that_nodes_stay_alike(chains: int, shown: int) -> None:
    kind = facts(kube_chains_nft=Part("+\n" * chains)).kind
    assert value(kind.kube_chains) == KubeChains(of_services=shown)


def test_chains_of_both_kinds_of_iptables_count() -> None:
    kind = facts(
        legacy_tables=Part("filter\nnat\n"),
        kube_chains_legacy=Part("KUBE-SERVICES\n+\n+\n"),
        kube_chains_nft=Part("KUBE-KUBELET-CANARY\n"),
    ).kind
    assert value(kind.kube_chains) == KubeChains(names=("KUBE-KUBELET-CANARY", "KUBE-SERVICES"), of_services=1)


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"kube-chains-nft": Part("!\n")}, Reason.UNPARSABLE),
        ({"kube-chains-nft": Part("KUBE-SERVICES\nsomething else\n")}, Reason.UNPARSABLE),
        ({"kube-chains-nft": Part(state="no-tool nft")}, Reason.TOOL_MISSING),
        ({"legacy-tables": Part(state="forbidden Permission denied")}, Reason.FORBIDDEN),
        ({"legacy-tables": Part("nat\n")}, Reason.TRUNCATED),
        ({"legacy-tables": Part("nat\n"), "kube-chains-legacy": Part("!\n")}, Reason.UNPARSABLE),
    ],
)
def test_chains_that_could_not_be_listed_are_unknown(sections: dict[str, Part | None], expected: Reason) -> None:
    fact = facts(sections).kind.kube_chains
    assert isinstance(fact, Unknown)
    assert fact.reason is expected


def test_without_either_iptables_there_are_no_chains() -> None:
    kind = facts(
        kube_chains_nft=Part(state="absent"), legacy_tables=Part(state="absent"), nft_tables=Part(state="absent")
    ).kind
    assert isinstance(kind.kube_chains, Absent)
    assert isinstance(kind.nft_tables, Absent)


BPFTOOL = """[{"xdp":[{"devname":"eth0","ifindex":2,"mode":"driver","id":10}],"tc":[
{"devname":"eth0","ifindex":2,"kind":"clsact/ingress","name":"cali_tc_preambl:[11]","id":11},
{"devname":"eth0","ifindex":2,"kind":"tcx/egress","name":"cil_to_netdev","prog_id":12,"link_id":3},
{"devname":"cali0123456789a","ifindex":9,"kind":"clsact/ingress","name":"cali_tc_preambl","id":13},
{"devname":"eni0a1b2c3d4e5","ifindex":10,"kind":"clsact/ingress","name":"handle_ingress","id":14}],
"flow_dissector":[],"netfilter":[]}]"""

TC = """device lo ingress
device eth0 ingress
filter protocol all pref 1 bpf chain 0
filter protocol all pref 1 bpf chain 0 handle 0x1 cil_from_netdev-eth0 direct-action not_in_hw id 77 tag 0a jited
filter protocol all pref 49152 bpf chain 0 handle 0x1 calico_from_hos:[9] direct-action not_in_hw id 5 tag 1b jited
filter protocol ip pref 10 u32 chain 0 fh 800: ht divisor 1
device eth0 egress
filter protocol all pref 1 bpf chain 0 handle 0x1 prog.o:[to_netdev] direct-action not_in_hw id 79 tag 0c jited
"""


def test_programs_as_bpftool_lists_them() -> None:
    assert value(facts(bpf_net=Part(BPFTOOL)).kind.bpf_programs) == AttachedPrograms(
        programs=(
            AttachedProgram(device="eth0", hook="tc/ingress", name="cali_tc_preambl"),
            AttachedProgram(device="eth0", hook="tcx/egress", name="cil_to_netdev"),
            AttachedProgram(device="eth0", hook="xdp", name=""),
        ),
        by="bpftool",
    )


@pytest.mark.parametrize(
    ("version", "kernel", "misses"),
    [
        ("bpftool v7.1.0\nusing libbpf v1.1\n", "6.6.1", True),
        ("bpftool v7.2.0\n", "6.12.9-amd64", True),
        ("bpftool v7.3.0\n", "6.6.1", False),
        ("bpftool v7.10.0\n", "6.18.1", False),
        ("bpftool v8.0.0\n", "6.18.1", False),
        ("bpftool v5.3.0\n", "6.5.13", False),
        ("/usr/lib/linux-tools/6.8.0-45-generic/bpftool v7.4.0\n", "6.8.0-45-generic", False),
        ("bpftool v5.3.0\n", "6.8.0", True),
        ("what\n", "6.8.0", True),
        ("what\n", "5.10.0", False),
        ("bpftool v7.1.0\n", "odd", True),
    ],
)
def test_an_old_bpftool_does_not_see_what_newer_kernels_have(version: str, kernel: str, misses: bool) -> None:
    fact = value(facts(bpftool_version=Part(version), osrelease=Part(kernel + "\n")).kind.bpf_programs)
    assert isinstance(fact, AttachedPrograms)
    assert fact.misses_tcx is misses


def test_a_survey_that_did_not_ask_for_the_version_is_taken_as_it_is() -> None:
    fact = value(facts({"bpftool-version": None}, osrelease=Part("6.8.0\n")).kind.bpf_programs)
    assert isinstance(fact, AttachedPrograms)
    assert not fact.misses_tcx


def test_programs_as_tc_lists_them_where_bpftool_does_not() -> None:
    kind = facts(bpf_net=Part(state="failed bpftool does not know how, or refused"), tc_filters=Part(TC)).kind
    assert value(kind.bpf_programs) == AttachedPrograms(
        programs=(
            AttachedProgram(device="eth0", hook="tc/egress", name="to_netdev"),
            AttachedProgram(device="eth0", hook="tc/ingress", name="calico_from_hos"),
            AttachedProgram(device="eth0", hook="tc/ingress", name="cil_from_netdev-eth0"),
        ),
        by="tc",
    )


def test_a_tc_that_refused_has_not_looked() -> None:
    kind = facts(
        bpf_net=Part(state="no-tool bpftool"), tc_filters=Part("device lo ingress\n!\ndevice lo egress\n!\n")
    ).kind
    assert isinstance(kind.bpf_programs, Unknown)


@pytest.mark.parametrize("data", ["", "{}", "[{]", "Error: can't", '[{"tc":"x"}]', "\x00\xff"])
def test_a_bpftool_that_prints_something_else_is_not_believed(data: str) -> None:
    fact = facts(bpf_net=Part(data)).kind.bpf_programs
    assert isinstance(fact, Unknown)
    assert fact.reason is Reason.UNPARSABLE


def test_a_program_may_be_called_anything() -> None:
    kind = facts(bpf_net=Part('[{"tc":[{"devname":"a\\u001b[31m b","kind":"x","name":"\\u001b]0;"}]}]')).kind
    programs = value(kind.bpf_programs)
    assert isinstance(programs, AttachedPrograms)
    assert programs.programs[0].device == "a\x1b[31m b"
