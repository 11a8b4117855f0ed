from typing import Any

import pytest

from ebpfcheck.checks import felix_config
from ebpfcheck.engine import judge
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import CalicoNode, ClusterFacts, FelixObject, Installation
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import cluster_snapshot, judged_cluster, known, release

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list felixconfigurations")
CHECKS = (felix_config.ownership, felix_config.env_override, felix_config.felix_per_node)


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(check: Check, install: Install) -> None:
    for minor in load_knowledge().minors():
        finding = judged_cluster(check, version=str(minor), install=install)
        assert finding.status in (Status.UNKNOWN, Status.NOT_APPLICABLE), (finding.id, minor)


def felix(bpf: bool | None = None, mark: str | None = None, **more: Any) -> Fact[FelixObject]:
    return known(FelixObject(settings=FelixSettings(bpf_enabled=bpf, **more), operator_bpf_enabled=mark))


# Ownership.


def owned(spec: bool | None, mark: str | None, asked: str | None = "Iptables", **more: Any) -> Finding:
    version, install = more.pop("version", "v3.32.1"), more.pop("install", "operator")
    facts: dict[str, Any] = {
        "felix_default": felix(spec, mark),
        "installation": known(Installation(linux_dataplane=asked)),
        "api_groups": known(("crd.projectcalico.org", "projectcalico.org")),
        **more,
    }
    return judged_cluster(felix_config.ownership, version=version, install=install, **facts)


@pytest.mark.parametrize(
    ("spec", "mark", "status"),
    [
        (None, None, Status.PASS),
        (None, "", Status.PASS),
        (True, "true", Status.PASS),
        (True, "1", Status.PASS),
        (False, "false", Status.PASS),
        (False, "F", Status.PASS),
        (True, None, Status.FAIL),
        (False, None, Status.FAIL),
        (None, "true", Status.FAIL),
        (None, "false", Status.FAIL),
        (True, "false", Status.FAIL),
        (False, "true", Status.FAIL),
        (None, "yes\x1b[2J", Status.FAIL),
        (False, "no", Status.FAIL),
    ],
)
def test_what_is_set_and_what_the_operator_noted(spec: bool | None, mark: str | None, status: Status) -> None:
    finding = owned(spec, mark)
    assert finding.status is status
    assert "\x1b" not in finding.message + finding.observed


@pytest.mark.parametrize(
    ("spec", "mark", "asked", "status"),
    [
        (True, None, "BPF", Status.WARN),
        (True, "false", "BPF", Status.WARN),
        (True, "true", "BPF", Status.PASS),
        (False, None, "BPF", Status.FAIL),
        (None, "true", "BPF", Status.FAIL),
        (True, None, None, Status.FAIL),
    ],
)
def test_a_hand_on_it_where_the_installation_asks_for_bpf(
    spec: bool | None, mark: str | None, asked: str | None, status: Status
) -> None:
    assert owned(spec, mark, asked).status is status


@pytest.mark.parametrize(
    ("spec", "mark", "commands"),
    [
        (
            None,
            "false",
            ("kubectl annotate felixconfigurations.crd.projectcalico.org default operator.tigera.io/bpfEnabled-",),
        ),
        (
            False,
            None,
            (
                "kubectl annotate felixconfigurations.crd.projectcalico.org default "
                "operator.tigera.io/bpfEnabled=false --overwrite",
            ),
        ),
        (
            True,
            None,
            (
                "kubectl patch installation default --type merge -p "
                """'{"spec":{"calicoNetwork":{"linuxDataplane":"BPF"}}}'""",
                "kubectl annotate felixconfigurations.crd.projectcalico.org default "
                "operator.tigera.io/bpfEnabled=true --overwrite",
            ),
        ),
    ],
)
def test_the_way_to_make_them_agree(spec: bool | None, mark: str | None, commands: tuple[str, ...]) -> None:
    remediation = owned(spec, mark).remediation
    assert remediation is not None
    assert remediation.commands == commands


def test_the_annotation_is_where_the_operator_reads_it() -> None:
    for groups, group in (
        (known(("projectcalico.org",)), "projectcalico.org"),
        (FORBIDDEN, "crd.projectcalico.org"),
    ):
        remediation = owned(False, None, api_groups=groups).remediation
        assert remediation is not None
        assert f"felixconfigurations.{group} default" in remediation.commands[0]


@pytest.mark.parametrize(
    ("spec", "mark", "seen"),
    [
        (True, None, "is true, and the operator's note of it says nothing"),
        (False, "true", "is false, and the operator's note of it says true"),
        (None, "false", "is not set, and the operator's note of it says false"),
    ],
)
def test_both_are_said(spec: bool | None, mark: str | None, seen: str) -> None:
    finding = owned(spec, mark)
    assert seen in finding.message
    assert finding.observed.endswith(f"annotation {mark or 'not set'}")


def test_an_installation_that_is_not_seen_excuses_only_what_is_on() -> None:
    assert owned(False, None, installation=FORBIDDEN).status is Status.FAIL


@pytest.mark.parametrize(
    ("version", "status"), [("v3.13", Status.NOT_APPLICABLE), ("v3.27", Status.NOT_APPLICABLE), ("v3.28", Status.FAIL)]
)
def test_the_releases_whose_operator_minds(version: str, status: Status) -> None:
    finding = owned(True, None, version=version)
    assert finding.status is status
    assert status is not Status.FAIL or finding.severity is Severity.BLOCKER


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"install": "manifest"}, Status.NOT_APPLICABLE),
        ({"install": "none"}, Status.NOT_APPLICABLE),
        ({"install": "manifest", "felix_default": FORBIDDEN}, Status.NOT_APPLICABLE),
        ({"install": "unknown"}, Status.UNKNOWN),
        ({"felix_default": FORBIDDEN}, Status.UNKNOWN),
        ({"felix_default": ABSENT}, Status.PASS),
        ({"installation": FORBIDDEN}, Status.UNKNOWN),
    ],
)
def test_ownership_where_something_is_not_known(changes: dict[str, Any], status: Status) -> None:
    assert owned(True, None, **changes).status is status


@pytest.mark.parametrize(("install", "reason"), [(FORBIDDEN, Reason.FORBIDDEN), (ABSENT, Reason.NOT_COLLECTED)])
def test_a_difference_that_may_be_nobodys_business(install: Fact[Any], reason: Reason) -> None:
    cluster = cluster_snapshot(ClusterFacts(felix_default=felix(True), install=install))
    (finding,) = judge(cluster, (felix_config.ownership,), release("v3.32.1"), "unknown")
    assert (finding.status, finding.reason) == (Status.UNKNOWN, reason)


# Variables.


def overridden(*env: tuple[str, str | None], **more: Any) -> Finding:
    version, install = more.pop("version", "v3.32.1"), more.pop("install", "manifest")
    env_from = more.pop("env_from", ("configmap/kubernetes-services-endpoint",))
    name = more.pop("name", "calico-node")
    found = CalicoNode(namespace="kube-system", name=name, image="calico/node:v3.32.1", env=env, env_from=env_from)
    kinds = more.pop("kinds", ())
    facts: dict[str, Any] = {"calico_node": known(found), "felix_default": felix(), **more}
    return judged_cluster(felix_config.env_override, *kinds, version=version, install=install, **facts)


STOCK = (
    ("DATASTORE_TYPE", "kubernetes"),
    ("FELIX_DEFAULTENDPOINTTOHOSTACTION", "ACCEPT"),
    ("FELIX_HEALTHENABLED", "true"),
    ("FELIX_IPINIPMTU", None),
    ("FELIX_IPV6SUPPORT", "false"),
    ("FELIX_LOGSEVERITYSCREEN", "info"),
    ("FELIX_TYPHAK8SSERVICENAME", "calico-typha"),
    ("FELIX_VXLANMTU", None),
    ("FELIX_WIREGUARDMTU", None),
    ("FELIX_BPFEXTTOSERVICECONNMARK", "0x80"),
)


def test_what_manifests_and_the_operator_set_is_no_finding() -> None:
    finding = overridden(*STOCK)
    assert (finding.status, finding.note) == (Status.PASS, False)


@pytest.mark.parametrize("value", ["false", "False", "0", "no", "none", "", "tru", "\x1b[2J"])
def test_a_variable_that_keeps_ebpf_mode_off(value: str) -> None:
    for install in ("manifest", "operator"):
        finding = overridden(*STOCK, ("FELIX_BPFENABLED", value), install=install)
        assert finding.status is Status.FAIL
        assert "bpfEnabled has no effect" in finding.message
        assert "\x1b" not in finding.message + finding.observed


@pytest.mark.parametrize(
    ("value", "install", "version", "runs", "status"),
    [
        ("true", "manifest", "v3.32.1", ABSENT, Status.WARN),
        ("TRUE", "manifest", "v3.27.0", ABSENT, Status.WARN),
        ("1", "operator", "v3.27.0", ABSENT, Status.PASS),
        ("true", "operator", "v3.18.1", ABSENT, Status.PASS),
        ("true", "operator", "v3.17", ABSENT, Status.WARN),
        ("true", "operator", "v3.28", ABSENT, Status.WARN),
        ("true", "operator", "v3.28", known("v3.27.5"), Status.PASS),
        ("true", "operator", "v3.28", known("v3.27.5-build1"), Status.PASS),
        ("true", "operator", "v3.28", known("v3.28.0"), Status.WARN),
        ("true", "operator", "v3.28", known("nonsense"), Status.WARN),
        ("true", "manifest", "v3.28", known("v3.27.5"), Status.WARN),
    ],
)
def test_a_variable_that_turns_ebpf_mode_on(
    value: str, install: Install, version: str, runs: Fact[str], status: Status
) -> None:
    finding = overridden(("FELIX_BPFENABLED", value), install=install, version=version, calico_version=runs)
    assert finding.status is status


@pytest.mark.parametrize(
    ("env", "spec", "status", "note"),
    [
        (("FELIX_BPFDATAIFACEPATTERN", "^eth0$"), felix(), Status.PASS, True),
        (("FELIX_BPFDATAIFACEPATTERN", "^eth0$"), felix(bpf_data_iface_pattern="^eth0$"), Status.PASS, True),
        (("FELIX_BPFDATAIFACEPATTERN", "^eth0$"), felix(bpf_data_iface_pattern="^ens3$"), Status.WARN, False),
        (("FELIX_BPFDATAIFACEPATTERN", "^eth0$"), FORBIDDEN, Status.PASS, True),
        (("FELIX_BPFDATAIFACEPATTERN", "^eth0$"), ABSENT, Status.PASS, True),
        (("FELIX_VXLANPORT", "4790"), felix(vxlan_port=4790), Status.PASS, True),
        (("FELIX_VXLANPORT", "4790"), felix(vxlan_port=4789), Status.WARN, False),
        (
            ("FELIX_BPFKUBEPROXYIPTABLESCLEANUPENABLED", "No"),
            felix(bpf_kube_proxy_iptables_cleanup_enabled=False),
            Status.PASS,
            True,
        ),
        (
            ("FELIX_BPFKUBEPROXYIPTABLESCLEANUPENABLED", "yes"),
            felix(bpf_kube_proxy_iptables_cleanup_enabled=False),
            Status.WARN,
            False,
        ),
        (("FELIX_BPFLOGLEVEL", "Debug"), felix(), Status.PASS, True),
        (("FELIX_NFTABLESMODE", "Enabled"), felix(), Status.PASS, True),
        (("FELIX_BPFLOGLEVEL", None), felix(), Status.UNKNOWN, False),
        (("FELIX_BPFENABLED", None), felix(), Status.UNKNOWN, False),
    ],
)
def test_other_variables_that_count(
    env: tuple[str, str | None], spec: Fact[FelixObject], status: Status, note: bool
) -> None:
    finding = overridden(*STOCK, env, felix_default=spec)
    assert (finding.status, finding.note) == (status, note)
    assert env[0] in finding.message
    assert (f"{env[0]}={env[1]}" in finding.observed) is note


def test_what_is_set_outranks_what_could_not_be_followed() -> None:
    assert overridden(("FELIX_BPFENABLED", "false"), ("FELIX_BPFLOGLEVEL", None)).status is Status.FAIL
    assert overridden(("FELIX_BPFENABLED", "true"), ("FELIX_BPFLOGLEVEL", None)).status is Status.WARN


def test_config_maps_that_were_not_read() -> None:
    finding = overridden(
        *STOCK, env_from=("configmap/kubernetes-services-endpoint", "configmap/fel ix", "secret/felix")
    )
    assert finding.status is Status.UNKNOWN
    assert finding.remediation is not None
    assert finding.remediation.commands == (
        "kubectl -n kube-system describe 'configmap/fel ix'",
        "kubectl -n kube-system describe secret/felix",
    )
    assert overridden(("FELIX_BPFENABLED", "false"), env_from=("configmap/felix",)).status is Status.FAIL


@pytest.mark.parametrize(
    ("variable", "there", "is_same"),
    [
        (("FELIX_IPTABLESMARKMASK", "0xffff0000"), FelixSettings(iptables_mark_mask=0xFFFF0000), True),
        (("FELIX_IPTABLESMARKMASK", "4294901760"), FelixSettings(iptables_mark_mask=0xFFFF0000), True),
        (("FELIX_IPTABLESMARKMASK", "0xff000000"), FelixSettings(iptables_mark_mask=0xFFFF0000), False),
        (
            ("FELIX_BPFEXCLUDECIDRSFROMNAT", "10.0.0.1/32, 10.0.0.2/32"),
            FelixSettings(bpf_exclude_cidrs_from_nat=("10.0.0.1/32", "10.0.0.2/32")),
            True,
        ),
        (("FELIX_BPFEXCLUDECIDRSFROMNAT", "10.0.0.1/32"), FelixSettings(bpf_exclude_cidrs_from_nat=()), False),
        (("FELIX_BPFLOGLEVEL", "Debug"), FelixSettings(bpf_log_level="Debug"), True),
        (("FELIX_BPFLOGLEVEL", "Debug"), FelixSettings(bpf_log_level="Off"), False),
    ],
)
def test_variables_are_held_against_what_is_set(variable: tuple[str, str], there: FelixSettings, is_same: bool) -> None:
    finding = overridden(variable, felix_default=known(FelixObject(settings=there)))
    assert finding.status is (Status.PASS if is_same else Status.WARN), finding.message


def test_many_variables_are_cut_short() -> None:
    finding = overridden(*((f"FELIX_BPFX{number}", "1") for number in range(20)))
    assert "FELIX_BPFX7 and 12 more" in finding.message


def test_the_command_that_takes_a_variable_away() -> None:
    finding = overridden(("FELIX_BPFENABLED", "false"), name="a;b")
    assert finding.remediation is not None
    (command,) = finding.remediation.commands
    assert command == "kubectl -n kube-system set env daemonset/'a;b' -c calico-node FELIX_BPFENABLED-"
    finding = overridden(("FELIX_BPFENABLED", "false"), install="operator")
    assert finding.remediation is not None
    assert "set env" not in finding.remediation.commands[0]


def test_variables_that_kops_sets_go_by_its_own_specification() -> None:
    kops = NodeKind(platform_marks=known(("kops.k8s.io/instancegroup",)))
    for value in ("false", "true"):
        finding = overridden(("FELIX_BPFENABLED", value), kinds=(kops,))
        assert finding.remediation is not None
        assert "spec.networking.calico.bpfEnabled: true" in finding.remediation.text
        assert finding.remediation.commands == ()
    finding = overridden(("FELIX_BPFENABLED", "false"), kinds=(kops,), install="operator")
    assert finding.remediation is not None
    assert "kOps" not in finding.remediation.text


def test_variables_without_calico_node() -> None:
    assert overridden(calico_node=ABSENT).status is Status.NOT_APPLICABLE
    assert overridden(calico_node=FORBIDDEN).status is Status.UNKNOWN


# FelixConfigurations for some nodes.


def told(*found: tuple[FelixSettings, int], default: Fact[Any] = ABSENT, version: str = "v3.32.1") -> Finding:
    return judged_cluster(
        felix_config.felix_per_node, felix_per_node=known(found), felix_default=default, version=version
    )


@pytest.mark.parametrize(
    ("own", "default", "status", "words"),
    [
        (FelixSettings(bpf_enabled=False), felix(True), Status.FAIL, "2 of them set bpfEnabled to false"),
        (FelixSettings(bpf_enabled=False), felix(False), Status.FAIL, "2 of them set bpfEnabled to false"),
        (FelixSettings(bpf_enabled=False), ABSENT, Status.FAIL, "2 of them set bpfEnabled to false"),
        (FelixSettings(bpf_enabled=True), felix(True), Status.PASS, "change nothing"),
        (FelixSettings(bpf_enabled=True), felix(False), Status.FAIL, "2 to true"),
        (FelixSettings(bpf_enabled=True), felix(), Status.FAIL, "2 to true"),
        (FelixSettings(bpf_enabled=True), FORBIDDEN, Status.UNKNOWN, "not allowed"),
        (FelixSettings(), felix(), Status.PASS, "change nothing"),
        (FelixSettings(vxlan_port=4790), felix(), Status.WARN, "vxlanPort"),
        (FelixSettings(vxlan_port=4789), felix(), Status.PASS, "change nothing"),
        (FelixSettings(vxlan_port=4789), felix(vxlan_port=4790), Status.WARN, "vxlanPort"),
        (FelixSettings(vxlan_port=4790), felix(vxlan_port=4790), Status.PASS, "change nothing"),
        (FelixSettings(bpf_data_iface_pattern="^e$"), felix(), Status.PASS, "bpfDataIfacePattern (2 x)"),
        (FelixSettings(vxlan_mtu=1400), felix(), Status.PASS, "vxlanMTU (2 x)"),
        (FelixSettings(mtu_iface_pattern="e"), felix(), Status.PASS, "mtuIfacePattern (2 x)"),
        (FelixSettings(bpf_l3_iface_pattern="x"), felix(), Status.PASS, "bpfL3IfacePattern (2 x)"),
        (FelixSettings(bpf_data_iface_pattern="a"), felix(bpf_data_iface_pattern="a"), Status.PASS, "change nothing"),
    ],
)
def test_what_some_nodes_are_told(own: FelixSettings, default: Fact[Any], status: Status, words: str) -> None:
    finding = told((own, 2), default=default)
    assert finding.status is status
    assert words in finding.message
    assert finding.note is ("(2 x)" in words)


def test_counts_of_several_kinds_add_up() -> None:
    finding = told(
        (FelixSettings(bpf_enabled=False), 2),
        (FelixSettings(bpf_enabled=False, vxlan_port=4790), 3),
        (FelixSettings(bpf_enabled=True), 1),
    )
    assert "5 of them set bpfEnabled to false and 1 to true" in finding.message
    finding = told((FelixSettings(vxlan_mtu=1), 2), (FelixSettings(vxlan_mtu=2), 3))
    assert "vxlanMTU (5 x)" in finding.message


def test_no_felix_configurations_for_some_nodes() -> None:
    assert told().status is Status.PASS
    assert told(default=FORBIDDEN).status is Status.PASS
    assert judged_cluster(felix_config.felix_per_node, felix_per_node=FORBIDDEN).status is Status.UNKNOWN
    assert judged_cluster(felix_config.felix_per_node, felix_per_node=ABSENT).status is Status.NOT_APPLICABLE


@pytest.mark.parametrize(("version", "mentioned"), [("v3.31.9", False), ("v3.32", True)])
def test_releases_with_selectors(version: str, mentioned: bool) -> None:
    finding = told((FelixSettings(bpf_enabled=False), 1), version=version)
    assert ("by a selector" in finding.message) is mentioned
