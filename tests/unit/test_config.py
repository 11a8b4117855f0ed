"""The policy file and the environment: what is taken, and what is wrong with which line."""

import os
from pathlib import Path

import pytest

from ebpfcheck.errors import UsageError
from ebpfcheck.policy.config import KEYS, find_policy, read_policy
from ebpfcheck.policy.shown import Shown, shown_policy

WHOLE = """\
calico_version = "v3.30"
install = "operator"
skip = ["node.firewall", "verify.node.*"]
fail_on = "warn"
scope = "api"
coverage_floor = 50
waivers = "policy/waivers.toml"
baseline = "/abs/baseline.json"
format = ["table", "json=report.json", "json=-"]
probe = "exec"
probe_nodes = "all"
image = "registry.example.com/calico/node:v3.30"
trial = "kernel"
probe_namespace = "calico-system"
probe_timeout = 30.5
concurrency = 4

[severity]
"node.kernel.*" = "degrade"
"node.kernel.btf" = "blocker"
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "ebpfcheck.toml"
    path.write_text(text)
    return path


def test_each_key_is_read_with_its_line(tmp_path: Path) -> None:
    text = WHOLE
    policy = read_policy(None, {}, write(tmp_path, text).parent)
    assert policy.file == "ebpfcheck.toml"
    assert list(policy.settings) == list(KEYS)
    assert [setting.origin for setting in policy.settings.values()] == [
        f"ebpfcheck.toml:{line}" for line in range(1, len(KEYS) + 1)
    ]
    values = {name: setting.value for name, setting in policy.settings.items()}
    assert values["skip"] == ["node.firewall", "verify.node.*"]
    assert values["waivers"] == str(tmp_path / "policy" / "waivers.toml")
    assert values["baseline"] == "/abs/baseline.json"
    assert values["format"] == ["table", f"json={tmp_path / 'report.json'}", "json=-"]
    assert (values["coverage_floor"], values["probe_timeout"], values["concurrency"]) == (50, 30.5, 4)
    assert [(rule.id, rule.severity, rule.line) for rule in policy.severities] == [
        ("node.kernel.*", "degrade", "ebpfcheck.toml:19"),
        ("node.kernel.btf", "blocker", "ebpfcheck.toml:20"),
    ]


def test_a_skip_is_of_the_checks_that_a_command_runs(tmp_path: Path) -> None:
    policy = read_policy(None, {}, write(tmp_path, WHOLE).parent)
    assert policy.skipped(verify=False) == ["node.firewall"]
    assert policy.skipped(verify=True) == ["verify.node.*"]
    assert read_policy(None, {}, None).skipped(verify=False) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('skips = ["node.arch"]', "there is no setting 'skips'; did you mean 'skip'?"),
        ("[severities]", "there is no setting 'severities'; did you mean 'severity'?"),
        ("zzz = 1", "there is no setting 'zzz'"),
        ('calico_version = "latest"', "calico_version: 'latest' is not a Calico release such as v3.32 or v3.32.1"),
        ('calico_version = "v3.99"', "calico_version: v3.99 is outside what this ebpfcheck knows"),
        ('calico_version = "v3.28..v3.30"', "calico_version: 'v3.28..v3.30' is not a Calico release"),
        ("calico_version = 3.30", "calico_version: it is a text, and not empty"),
        ('install = "helm"', "install: 'helm' is none of operator, manifest"),
        ('skip = "node.arch"', 'skip: it is a list of texts, such as ["a", "b"]'),
        ('skip = [""]', "skip: it is a list of texts"),
        ('skip = ["node.arhc"]', "skip: no check is called 'node.arhc'; did you mean 'node.arch'?"),
        ("fail_on = 1", "fail_on: '1' is none of fail, warn, never"),
        ('scope = "all"', "scope: 'all' is none of api, nodes"),
        ("coverage_floor = 101", "coverage_floor: it is a whole number from 0 to 100"),
        ("coverage_floor = true", "coverage_floor: it is a whole number from 0 to 100"),
        ("coverage_floor = 0.5", "coverage_floor: it is a whole number from 0 to 100"),
        ('waivers = ""', "waivers: it is a text, and not empty"),
        ('format = ["pdf"]', "format: there is no format 'pdf'; choose from table, json"),
        ('format = ["json="]', "format: json=: a file name must follow the ="),
        ('probe = "ssh"', "probe: 'ssh' is none of none, exec, pod"),
        ('trial = "objects"', "trial: 'objects' is none of none, kernel"),
        ('image = "a b"', "image: 'a b' is not the name of an image"),
        ('probe_namespace = "Kube"', "probe_namespace: 'Kube' is not the name of a namespace"),
        ("probe_timeout = 0", "probe_timeout: it is a number from 1 to 86400"),
        ("probe_timeout = nan", "probe_timeout: it is a number from 1 to 86400"),
        ("concurrency = 1001", "concurrency: it is a whole number from 1 to 1000"),
        ("severity = 1", "severity is a table"),
        ('severity."node.arch" = "note"', "nothing can be made a note"),
        ('severity."node.arch" = "pass"', "a severity is blocker or degrade, not 'pass'"),
        ('severity."node.arhc" = "degrade"', "no check is called 'node.arhc'; did you mean 'node.arch'?"),
        ("severity.node.arch = 1", 'a check stands in quotes: "node.arch"'),
        ("severity.a = {}", 'a check stands in quotes: "a"'),
        ('severity."node.arch" = 1', "a severity is blocker or degrade, not '1'"),
        ("x = \u001b", "is not TOML"),
        ('"\\u001b[31m" = 1', r"there is no setting '\\x1b[31m'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    write(tmp_path, f"# policy\n\n{line}\n")
    with pytest.raises(UsageError) as caught:
        read_policy(None, {}, tmp_path)
    assert str(caught.value).startswith("ebpfcheck.toml:3: ")
    assert words in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_the_environment_outranks_the_file(tmp_path: Path) -> None:
    write(tmp_path, 'fail_on = "never"\nscope = "api"\n')
    environment = {
        "EBPFCHECK_FAIL_ON": "warn",
        "EBPFCHECK_SKIP": "node.arch,node.firewall node.selinux",
        "EBPFCHECK_COVERAGE_FLOOR": "20",
        "EBPFCHECK_PROBE_TIMEOUT": "7.5",
        "EBPFCHECK_INSTALL": "",
        "EBPFCHECK_SKIPS": "x",
        "EBPFCHECK_SERVICE_HOST": "10.96.0.1",
        "OTHER": "x",
    }
    policy = read_policy(None, environment, tmp_path)
    assert {name: (one.value, one.origin) for name, one in policy.settings.items()} == {
        "fail_on": ("warn", "EBPFCHECK_FAIL_ON"),
        "scope": ("api", "ebpfcheck.toml:2"),
        "skip": (["node.arch", "node.firewall", "node.selinux"], "EBPFCHECK_SKIP"),
        "coverage_floor": (20, "EBPFCHECK_COVERAGE_FLOOR"),
        "probe_timeout": (7.5, "EBPFCHECK_PROBE_TIMEOUT"),
    }
    assert policy.ignored == ("EBPFCHECK_SERVICE_HOST", "EBPFCHECK_SKIPS")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("EBPFCHECK_COVERAGE_FLOOR", "most", "it is a whole number from 0 to 100"),
        ("EBPFCHECK_FAIL_ON", "error", "'error' is none of fail, warn, never"),
        ("EBPFCHECK_SKIP", "node.arhc", "no check is called 'node.arhc'"),
    ],
)
def test_what_is_wrong_with_a_variable_is_told_with_its_name(name: str, value: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_policy(None, {name: value}, None)
    assert str(caught.value).startswith(f"{name}: ")
    assert words in str(caught.value)


def test_the_nearest_file_is_found_and_a_named_one_outranks_it(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find_policy(deep, {}) is None
    write(tmp_path, 'fail_on = "warn"\n')
    assert find_policy(deep, {}) == tmp_path / "ebpfcheck.toml"
    assert read_policy(None, {}, deep).file == "../../ebpfcheck.toml"
    assert read_policy(None, {}, deep).settings["fail_on"].origin == "../../ebpfcheck.toml:1"
    near = write(tmp_path / "a", "")
    assert find_policy(deep, {}) == near
    other = tmp_path / "other.toml"
    other.write_text('fail_on = "never"\n')
    assert read_policy(str(other), {"EBPFCHECK_CONFIG": "none"}, deep).settings["fail_on"].value == "never"
    assert read_policy(None, {"EBPFCHECK_CONFIG": str(other)}, deep).settings["fail_on"].value == "never"
    assert read_policy("/dev/null", {}, deep).settings == {}
    with pytest.raises(UsageError, match="--config: give the name of a file"):
        read_policy("", {}, deep)
    with pytest.raises(UsageError, match="none: cannot be read: No such file or directory"):
        read_policy("none", {}, deep)


def test_a_file_of_somebody_else_is_not_heeded_unless_it_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, 12345)
    with pytest.raises(UsageError, match=r"ebpfcheck\.toml belongs to another user; name it by --config"):
        read_policy(None, {}, tmp_path)
    assert read_policy(str(path), {}, tmp_path).settings == {}
    # Under sudo it is the caller's.
    assert find_policy(tmp_path, {"SUDO_UID": "12345"}) == path
    for other in ("12346", "", "-1", "12345x"):
        with pytest.raises(UsageError, match="belongs to another user"):
            find_policy(tmp_path, {"SUDO_UID": other})
    # A link of somebody else's leads wherever that one wants.
    own = tmp_path / "own.toml"
    own.write_text("")
    path.unlink()
    path.symlink_to(own)
    os.chown(path, 12345, 12345, follow_symlinks=False)
    with pytest.raises(UsageError, match="belongs to another user"):
        find_policy(tmp_path, {})
    own.unlink()
    with pytest.raises(UsageError, match="is a link to nothing"):
        find_policy(tmp_path, {})


def test_who_is_not_root_is_not_under_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "")
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(UsageError, match="belongs to another user"):
        find_policy(tmp_path, {"SUDO_UID": str(owner)})


def test_what_is_in_force_is_shown_with_where_it_is_from(tmp_path: Path) -> None:
    write(tmp_path, 'fail_on = "warn"\nskip = ["node.arch"]\n[severity]\n"node.arch" = "degrade"\n')
    policy = read_policy(None, {"EBPFCHECK_SCOPE": "api", "EBPFCHECK_X": "1"}, tmp_path)
    rows = [
        Shown(name="fail_on", value="never", is_given=True),
        Shown(name="skip", value=["ignored"], is_given=False),
        Shown(name="scope", value="api", is_given=False),
        Shown(name="install", value=None, is_given=False),
    ]
    lines = [line.split("  ") for line in shown_policy(policy, rows).splitlines()]
    assert [[word.strip() for word in line if word] for line in lines] == [
        ["policy file: ebpfcheck.toml"],
        [],
        ["fail_on", "never", "command line"],
        ["skip", "node.arch", "ebpfcheck.toml:2"],
        ["scope", "api", "EBPFCHECK_SCOPE"],
        ["install", "-", "default"],
        ["severity of node.arch", "degrade", "ebpfcheck.toml:4"],
        [],
        ["EBPFCHECK_X is no setting of ebpfcheck, and ignored"],
    ]
    assert shown_policy(None, rows).startswith("policy file: none\n")
