"""FelixConfiguration in the forms in which people have it."""

from pathlib import Path

import pytest

from ebpfcheck.collect.felix import FelixFile, from_environment
from ebpfcheck.errors import UsageError
from ebpfcheck.model.facts import FelixSettings

LIST = """
apiVersion: v1
kind: List
items:
- apiVersion: crd.projectcalico.org/v1
  kind: FelixConfiguration
  metadata: {name: default, annotations: {a: b}}
  spec:
    bpfEnabled: true
    bpfDataIfacePattern: ^eth0$
    bpfKubeProxyIptablesCleanupEnabled: false
    vxlanMTU: 1400
    somethingNew: {deep: [1, 2]}
- kind: FelixConfiguration
  metadata: {name: node.worker-1}
  spec: {bpfDataIfacePattern: ^eno1$, vxlanPort: 4790}
- kind: FelixConfiguration
  metadata: {name: node.worker-2}
  spec: {bpfDataIfacePattern: ^eno2$}
"""


def load(tmp_path: Path, text: str | bytes, node: str = "worker-1") -> FelixSettings:
    path = tmp_path / "felix.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return FelixFile(str(path)).settings_of(node)


def test_what_is_set_for_the_node_outranks_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, LIST) == FelixSettings(
        bpf_enabled=True,
        bpf_data_iface_pattern="^eno1$",
        bpf_kube_proxy_iptables_cleanup_enabled=False,
        vxlan_mtu=1400,
        vxlan_port=4790,
    )
    assert load(tmp_path, LIST, "worker-3").bpf_data_iface_pattern == "^eth0$"


@pytest.mark.parametrize(
    "text",
    [
        "kind: FelixConfiguration\nmetadata: {name: default}\nspec: {bpfL3IfacePattern: ^wg0$}\n",
        "---\nkind: Installation\nspec: {x: 1}\n---\nkind: FelixConfiguration\nmetadata: {name: default}\n"
        "spec: {bpfL3IfacePattern: ^wg0$}\n",
        '{"kind": "FelixConfiguration", "metadata": {"name": "default"}, "spec": {"bpfL3IfacePattern": "^wg0$"}}',
        "kind: FelixConfigurationList\nitems:\n- metadata: {name: default}\n  spec: {bpfL3IfacePattern: ^wg0$}\n",
    ],
)
def test_every_form_in_which_it_is_printed(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == FelixSettings(bpf_l3_iface_pattern="^wg0$")


def test_the_spelling_of_one_release_is_understood(tmp_path: Path) -> None:
    text = "kind: FelixConfiguration\nmetadata: {name: default}\nspec: {bpfKubeProxyHealtzPort: 10258}\n"
    assert load(tmp_path, text).bpf_kube_proxy_healthz_port == 10258


def test_a_default_that_sets_nothing_says_so(tmp_path: Path) -> None:
    assert load(tmp_path, "kind: FelixConfiguration\nmetadata: {name: default}\n") == FelixSettings()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no FelixConfiguration named default"),
        ("just text", "no FelixConfiguration named default"),
        ("kind: FelixConfiguration\nmetadata: {name: node.other}\n", "(but node.other)"),
        ("kind: Installation\nmetadata: {name: default}\n", "no FelixConfiguration"),
        ("kind: [", "neither YAML nor JSON"),
        ("!!python/object/apply:os.system ['true']", "neither YAML nor JSON"),
        (b"\xff\xfe\x00", "neither YAML nor JSON"),
        ("kind: FelixConfiguration\nmetadata: {name: default}\nspec: {vxlanPort: lots}\n", "$.spec.vxlanPort"),
        ("kind: FelixConfiguration\nmetadata: {name: default}\nspec: {bpfDataIfacePattern: [1]}\n", "$.spec"),
        ("[" * 5000, "neither YAML nor JSON"),
        (b"a" * (10 * 1024 * 1024 + 1), "larger than"),
    ],
)
def test_what_is_none_is_refused_in_one_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(UsageError) as error:
        load(tmp_path, text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        FelixFile(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("FELIX_BPFENABLED", "TRUE", "bpf_enabled", True),
        ("FELIX_IPV6SUPPORT", "0", "ipv6_support", False),
        ("FELIX_IPTABLESMARKMASK", "0xffff0000", "iptables_mark_mask", 0xFFFF0000),
        ("FELIX_VXLANPORT", "8472", "vxlan_port", 8472),
        ("FELIX_VXLANMTU", "0", "vxlan_mtu", 0),
        ("FELIX_BPFDSROPTOUTCIDRS", "10.0.0.0/8, fd00::/8,", "bpf_dsr_optout_cidrs", ("10.0.0.0/8", "fd00::/8")),
        ("FELIX_BPFDSROPTOUTCIDRS", "None", "bpf_dsr_optout_cidrs", ()),
        ("FELIX_BPFLOGLEVEL", "Debug", "bpf_log_level", "Debug"),
    ],
)
def test_variables_are_read_as_felix_reads_them(variable: str, value: str, field: str, expected: object) -> None:
    found = from_environment([(variable, value)])
    assert not isinstance(found, str)
    assert getattr(found, field) == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FELIX_BPFENABLED", "true "),
        ("FELIX_BPFENABLED", "none"),
        ("FELIX_VXLANPORT", "010"),
        ("FELIX_VXLANPORT", "1_0"),
        ("FELIX_VXLANPORT", "\uff11\uff12"),
        ("FELIX_VXLANPORT", ""),
        ("FELIX_IPTABLESMARKMASK", "0xfffff00000"),
        ("FELIX_CGROUPV2PATH", "none"),
        # One bad entry, and Felix takes none of the list.
        ("FELIX_BPFEXCLUDECIDRSFROMNAT", "10.96.0.10/32, cache"),
        ("FELIX_BPFLOGLEVEL", None),
    ],
)
def test_a_variable_that_counts_and_cannot_be_told_is_named(variable: str, value: str | None) -> None:
    assert from_environment([("FELIX_OTHER", "x"), (variable, value)]) == variable
