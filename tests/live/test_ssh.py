"""Hosts over SSH: a real sshd on loopback, a port for each way in which a host may behave."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import clusters
from tests.acceptance.command import PROGRAM
from tests.fakeapi import FakeApi, Story, write_kubeconfig
from tests.live.sshd import Sshd, sshd
from tests.live.tools import need

pytestmark = pytest.mark.live

# A greeting as hosts print it before they run what they are asked for, with what a terminal would act on.
NOISY = (
    "ForceCommand printf 'Welcome!\\033[31m\\nebpfcheck-00 begin version x\\n'; echo noise >&2; $SSH_ORIGINAL_COMMAND"
)
BEHAVIOURS = {
    "plain": "",
    "jump": "",
    "noisy": NOISY,
    "forced": "ForceCommand echo This account is for backups only.",
    "silent": "ForceCommand true",
    "hangs": "ForceCommand sleep 60",
    "slow": "ForceCommand sleep 1; $SSH_ORIGINAL_COMMAND",
    "csh": 'ForceCommand tcsh -c "$SSH_ORIGINAL_COMMAND"',
    "busybox": 'ForceCommand busybox sh -c "exec busybox ${SSH_ORIGINAL_COMMAND}"',
    "shell-less": 'ForceCommand env -i PATH=/nonexistent /bin/bash -c "$SSH_ORIGINAL_COMMAND"',
    "cut": "ForceCommand $SSH_ORIGINAL_COMMAND | head -c 4000; sleep 2; kill -9 $PPID",
    "nobody": 'ForceCommand setpriv --reuid nobody --clear-groups sh -c "$SSH_ORIGINAL_COMMAND"',
    "no-keys": "PubkeyAuthentication no",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    need("ssh", "openssh-client")
    if shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip("sshd is not installed (Debian package openssh-server)")
    if os.geteuid() != 0:
        pytest.skip("only root can start a sshd that lets root in")
    with sshd(tmp_path_factory.mktemp("sshd"), BEHAVIOURS) as running:
        yield running


def node(server: Sshd, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (str(PROGRAM), "node", "--ssh-config", str(server.config), *arguments),
        input=stdin, capture_output=True, text=True, timeout=100, env={**os.environ, **environment}, check=False,
    )  # fmt: skip


def report(server: Sshd, *arguments: str, stdin: str = "") -> Any:
    result = node(server, "-f", "json", *arguments, stdin=stdin)
    assert result.returncode in (0, 1, 3), result.stderr
    return json.loads(result.stdout)


def facts(path: Path) -> Any:
    """The facts of the one node of a snapshot, without what counts up or where they came from."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items() if key != "source"}
        return [plain(part) for part in value] if isinstance(value, list) else value

    (kind,) = json.loads(path.read_text())["kinds"]
    return plain(kind)


def test_the_same_machine_gives_the_same_facts_locally_and_over_ssh(server: Sshd, tmp_path: Path) -> None:
    local, remote = tmp_path / "local.json", tmp_path / "remote.json"
    subprocess.run((str(PROGRAM), "node", "-q", "--save", str(local)), check=False, stdout=subprocess.DEVNULL)
    node(server, "plain", "--save", str(remote))
    assert facts(remote) == facts(local)
    snapshot = json.loads(remote.read_text())
    assert {source["kind"] for source in snapshot["sources"]} == {"ssh"}
    assert snapshot["nodes"][0]["identity"]["name"] == "plain"


def test_become_goes_by_sudo_where_it_asks_no_password(server: Sshd, tmp_path: Path) -> None:
    need("sudo", "sudo")
    plain, become = tmp_path / "plain.json", tmp_path / "become.json"
    node(server, "plain", "--save", str(plain))
    node(server, "plain", "--become", "--save", str(become))
    assert facts(become) == facts(plain)


@pytest.mark.parametrize("host", ["noisy", "csh", "busybox"])
def test_what_the_host_prints_before_and_its_shell_do_not_matter(server: Sshd, host: str, tmp_path: Path) -> None:
    if host == "csh":
        need("tcsh", "tcsh")
    saved = tmp_path / "snapshot.json"
    node(server, host, "--save", str(saved))
    assert facts(saved)["proc_version"] == {"state": "known", "value": Path("/proc/version").read_text().strip()}
    assert json.loads(saved.read_text())["problems"] == []


@pytest.mark.parametrize(
    ("host", "arguments", "words"),
    [
        ("forced", (), "printed no survey and ended with code 0: This account is for backups only."),
        ("silent", (), "printed no survey and ended with code 0"),
        ("hangs", ("--timeout", "2"), "no survey within 2 s"),
        ("shell-less", (), "no sh could be run there: .*sh: (command not found|No such file or directory)"),
        ("no-keys", (), "Permission denied"),
        ("nobody", ("--become",), "--become: sudo: a password is required"),
        ("plain", ("--ssh-option", "User=stranger"), "Permission denied"),
        ("unheard-of.invalid", (), "Could not resolve hostname"),
        ("plain:1", (), "Connection refused"),
    ],
)
def test_each_failure_is_told_in_the_words_that_explain_it(
    server: Sshd, host: str, arguments: tuple[str, ...], words: str
) -> None:
    if "--become" in arguments:
        need("sudo", "sudo")
    result = node(server, host, *arguments)
    assert (result.returncode, result.stdout) == (5, "")
    assert re.fullmatch(rf"ebpfcheck: {re.escape(host)} could not be surveyed: .*{words}.*\n", result.stderr)


def test_one_host_that_fails_costs_no_other(server: Sshd) -> None:
    document = report(server, "plain", "no-keys", "hangs", "shell-less", "--timeout", "10")
    assert document["coverage"]["nodes_total"] == 4
    assert document["coverage"]["nodes_surveyed"] == 1
    assert {node["name"]: node["reason"] for node in document["coverage"]["unseen"]} == {
        "no-keys": "forbidden",
        "hangs": "timeout",
        "shell-less": "tool_missing",
    }
    assert (document["verdict"], document["exit_code"]) in (("inconclusive", 3), ("not_ready", 1))


def test_what_came_before_a_cut_counts_and_the_rest_is_unknown(server: Sshd, tmp_path: Path) -> None:
    saved = tmp_path / "snapshot.json"
    node(server, "cut", "--save", str(saved))
    known = facts(saved)
    assert known["proc_version"]["state"] == "known"
    assert known["rp_filter"]["state"] == "unknown"
    assert known["rp_filter"]["reason"] == "truncated"
    (problem,) = json.loads(saved.read_text())["problems"]
    assert problem["source"] == "survey of cut"
    assert "cut off" in problem["detail"]


def test_a_changed_and_an_unknown_host_key_are_told_apart(server: Sshd) -> None:
    keys = server.known_hosts.read_text()
    try:
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(server.folder / "other")), check=True)
        other = (server.folder / "other.pub").read_text()
        server.known_hosts.write_text(f"[127.0.0.1]:{server.ports['plain']} {other}")
        changed, unknown = node(server, "plain").stderr, node(server, "slow").stderr
    finally:
        server.known_hosts.write_text(keys)
    assert "has changed and you have requested strict checking" in changed
    assert "accept-new" not in changed
    assert "No ED25519 host key is known" in unknown
    assert "--ssh-option StrictHostKeyChecking=accept-new" in unknown


def test_a_jump_host_is_connected_to_once_for_all_hosts(server: Sshd) -> None:
    before = server.logins("jump"), server.logins("plain")
    document = report(server, "plain", "root@plain", "slow", "csh", "--jump", "jump", "--concurrency", "4")
    assert document["coverage"]["nodes_surveyed"] == 4
    assert (server.logins("jump"), server.logins("plain")) == (before[0] + 1, before[1] + 2)


def test_a_jump_host_may_name_a_user_and_a_port(server: Sshd) -> None:
    before = server.logins("jump")
    jump = f"root@127.0.0.1:{server.ports['jump']}"
    assert report(server, "plain", "slow", "--jump", jump)["coverage"]["nodes_surveyed"] == 2
    assert server.logins("jump") == before + 1


def test_a_jump_host_that_refuses_is_told_once(server: Sshd) -> None:
    result = node(server, "plain", "slow", "--jump", "no-keys")
    assert (result.returncode, result.stdout) == (5, "")
    assert re.fullmatch(r"ebpfcheck: --jump no-keys: .*Permission denied.*\n", result.stderr)


def test_the_users_own_proxy_jump_is_gone_by(server: Sshd) -> None:
    before = server.logins("jump")
    server.write_config(more=f"Host far\n  HostName 127.0.0.1\n  Port {server.ports['plain']}\n  ProxyJump jump\n")
    assert report(server, "far")["coverage"]["nodes_surveyed"] == 1
    assert server.logins("jump") == before + 1


def test_a_key_of_the_agent_opens_the_door(server: Sshd, tmp_path: Path) -> None:
    address = tmp_path / "agent"
    with subprocess.Popen(("ssh-agent", "-D", "-a", str(address)), stdout=subprocess.DEVNULL) as agent:
        try:
            while not address.exists():
                time.sleep(0.02)
            server.write_config(identity=False)
            assert "Permission denied" in node(server, "plain", SSH_AUTH_SOCK=str(address)).stderr
            subprocess.run(
                ("ssh-add", "-q", str(server.key)), check=True, env={**os.environ, "SSH_AUTH_SOCK": str(address)}
            )
            assert node(server, "plain", SSH_AUTH_SOCK=str(address)).returncode in (0, 1, 3)
        finally:
            agent.terminate()
            server.write_config()


def test_two_hundred_targets(server: Sshd) -> None:
    server.write_config(
        more=f"Host h???\n  HostName 127.0.0.1\n  Port {server.ports['plain']}\n  KexAlgorithms curve25519-sha256\n"
    )
    document = report(server, "h[001-200]", "--concurrency", "32", "--timeout", "90")
    assert document["coverage"]["nodes_surveyed"] == 200
    assert document["findings"][0]["subjects"] == [f"h{number:03}" for number in range(1, 201)]


def test_hosts_come_from_files_and_stdin(server: Sshd, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# the two of them\n\nplain # a comment\nroot@plain\nplain\n")
    assert report(server, "--hosts-file", str(hosts))["coverage"]["nodes_surveyed"] == 2
    assert report(server, "--hosts-file", "-", "slow", stdin="plain\n")["coverage"]["nodes_surveyed"] == 2


def test_a_host_that_takes_the_connection_and_says_nothing(server: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        started = time.monotonic()
        result = node(server, f"127.0.0.1:{mute.getsockname()[1]}", "--timeout", "2")
    assert result.returncode == 5
    assert re.search("no survey within 2 s|timed out", result.stderr)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_what_was_learned_before_a_signal_is_told(server: Sshd, sent: signal.Signals, tmp_path: Path) -> None:
    saved = tmp_path / "snapshot.json"
    command = (
        sys.executable, str(PROGRAM), "node", "-f", "json", "--ssh-config", str(server.config), "--save", str(saved),
        "--concurrency", "2", "plain", "hangs", "root@hangs",
    )  # fmt: skip
    before = server.logins("hangs")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while server.logins("hangs") < before + 2:
            time.sleep(0.05)
        process.send_signal(sent)
        out, err = process.communicate(timeout=30)
    document = json.loads(out)
    assert (process.returncode, document["exit_code"]) == (130, 130)
    assert document["coverage"]["nodes_surveyed"] == 1
    assert {node["name"] for node in document["coverage"]["unseen"]} == {"hangs", "root@hangs"}
    assert all("interrupted" in node["detail"] for node in document["coverage"]["unseen"])
    assert "interrupted" in err
    assert json.loads(saved.read_text())["nodes"][0]["identity"]["name"] == "plain"


def test_the_deadline_ends_all_that_is_left(server: Sshd) -> None:
    document = report(server, "plain", "hangs", "root@hangs", "--concurrency", "2", "--deadline", "10")
    assert document["coverage"]["nodes_surveyed"] == 1
    assert [node["reason"] for node in document["coverage"]["unseen"]] == ["timeout", "timeout"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[FakeApi, Path]]:
    """A cluster whose one Linux node is this machine."""
    linux, windows, nameless = clusters.node("k8s-1", "127.0.0.1"), clusters.node("win-1"), clusters.node("k8s-2")
    windows["status"]["nodeInfo"]["operatingSystem"] = "windows"
    nameless["status"]["addresses"] = []
    with FakeApi(Story([linux, windows, nameless])) as api:
        yield api, write_kubeconfig(tmp_path / "kubeconfig", api)


def test_the_nodes_of_a_cluster(server: Sshd, cluster: tuple[FakeApi, Path]) -> None:
    _, kubeconfig = cluster
    port = f"Port={server.ports['plain']}"
    document = report(server, "--from-cluster", "--kubeconfig", str(kubeconfig), "--ssh-option", port)
    assert document["coverage"]["nodes_surveyed"] == 1
    assert {node["name"]: node["detail"] for node in document["coverage"]["unseen"]} == {
        "win-1": "it runs windows, not Linux",
        "k8s-2": "the API gives no address of it",
    }
    assert {tuple(finding["subjects"]) for finding in document["findings"]} == {("k8s-1",)}


def test_a_cluster_that_may_not_be_listed(server: Sshd, cluster: tuple[FakeApi, Path]) -> None:
    api, kubeconfig = cluster
    api.forbid.append(("list", "nodes"))
    result = node(server, "--from-cluster", "--kubeconfig", str(kubeconfig))
    assert (result.returncode, result.stdout) == (5, "")
    assert re.fullmatch("ebpfcheck: .*the nodes could not be listed: nodes is forbidden.*\n", result.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--jump", "bastion"), "options for SSH were given, but no TARGET"),
        (("--become",), "options for SSH were given, but no TARGET"),
        (("x", "--from-cluster"), "--from-cluster names the hosts itself"),
        (("x", "--concurrency", "0"), "--concurrency: give a number from 1 to 1000"),
        (("x", "--deadline", "0"), "--deadline: give a number of seconds"),
        (("x", "--ssh-option", "BatchMode"), "is not KEY=VALUE"),
        (("x", "--ssh-option", "-v=1"), "is not KEY=VALUE"),
        (("x", "--identity", "/none"), "--identity: /none cannot be read"),
        (("x", "--jump", "-oProxyCommand=x"), "is not a host"),
        (("x", "--jump", "a,,b"), "is not a host"),
        (("x", "--context", "prod"), "belong to --from-cluster"),
        (("--from-cluster", "--context", ""), "names nothing"),
        (("",), "is not a host such as"),
        (("--hosts-file", ""), "cannot be read"),
        (("--hosts-file", "-", "--felix-config", "-"), "cannot both read stdin"),
        (("--from-cluster", "--kubeconfig", "/none"), "/none"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], words: str) -> None:
    result = subprocess.run((str(PROGRAM), "node", *arguments), capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(f"ebpfcheck: .*{re.escape(words)}.*\n", result.stderr)


def test_redacted_reports_name_no_host(server: Sshd, tmp_path: Path) -> None:
    saved = tmp_path / "snapshot.json"
    result = node(server, "plain", "no-keys", f"127.0.0.1:{server.ports['no-keys']}", "--redact", "--save", str(saved))
    for text in (result.stdout, saved.read_text()):
        assert "no-keys" not in text
        assert "root@" not in text
        assert "Permission denied" in text
