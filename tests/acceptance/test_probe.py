"""Nodes of a cluster looked at by exec into calico-node and by probe pods, against the fake API server."""

import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes import client, config

from tests.acceptance import clusters, probes
from tests.acceptance.clusters import Outcome, look, start
from tests.acceptance.command import run
from tests.fakeapi import (
    ALWAYS,
    ExecLife,
    FakeApi,
    Fault,
    Object,
    PodLife,
    Story,
    forward_proxy,
    pod_security,
    quota,
    webhook,
    write_kubeconfig,
)
from tests.fakeapi.status import StatusError

GREEN = PodLife(log=probes.log())
TWO = (probes.node("node-a"), probes.node("node-b", kernel="6.8.0-45-generic"))
KERNELS = {"node-b": "6.8.0-45-generic"}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., tuple[FakeApi, Path]]]:
    """Serve a cluster of nodes; gives the server and a kubeconfig."""
    running: list[FakeApi] = []

    def serving(*nodes: Object, **options: Any) -> tuple[FakeApi, Path]:
        api = FakeApi(Story(probes.cluster(*(nodes or TWO))), **options)
        api.__enter__()
        running.append(api)
        api.pods.script(None, PodLife(log=probes.log(KERNELS)))
        return api, write_kubeconfig(tmp_path / "config", api)

    yield serving
    for api in running:
        api.__exit__(None, None, None)


Serve = Callable[..., tuple[FakeApi, Path]]


def unseen(outcome: Outcome) -> dict[str, tuple[str, str]]:
    return {node["name"]: (node["reason"], node["detail"]) for node in outcome.report["coverage"]["unseen"]}


def coverage(outcome: Outcome) -> tuple[int, int, int]:
    found = outcome.report["coverage"]
    return found["nodes_total"], found["nodes_surveyed"], found["nodes_inferred"]


def made(api: FakeApi) -> list[Any]:
    return [one for one in api.requests if one.method == "POST" and "/jobs" in one.path and "dryRun" not in one.path]


# Probe pods


def test_a_pod_on_each_kind_of_node_and_nothing_is_left(serve: Serve) -> None:
    api, kubeconfig = serve()
    outcome = look(kubeconfig, "--probe", "pod", api=api)
    assert coverage(outcome) == (2, 2, 0)
    assert not outcome.report["coverage"]["unseen"]
    assert outcome.statuses()["node.cgroup2"] == {"pass"}
    assert outcome.statuses()["node.bpffs.mounted"] == {"pass"}
    assert api.pods.left() == []
    assert len(made(api)) == 2
    assert not outcome.stderr


def test_what_is_made_is_bounded_labelled_and_harmless(serve: Serve) -> None:
    api, kubeconfig = serve(forbid=[("delete", "jobs"), ("deletecollection", "jobs")])
    look(kubeconfig, "--probe", "pod", "--probe-timeout", "40", api=api)
    for job in api.pods.catalog.all(api.pods.jobs):
        spec = job["spec"]
        assert job["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "ebpfcheck"
        assert job["metadata"]["annotations"]["ebpfcheck.io/node"] in ("node-a", "node-b")
        assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (0, 70, 120)
        pod = spec["template"]["spec"]
        assert pod["hostPID"]
        assert pod["hostNetwork"]
        assert pod["automountServiceAccountToken"] is False
        assert {"operator": "Exists"} in pod["tolerations"]
        (container,) = pod["containers"]
        assert container["securityContext"]["privileged"] is False
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert container["volumeMounts"][0]["readOnly"] is True
        assert container["image"] == clusters.CALICO_IMAGE
        assert container["resources"]["limits"]


TRIED = b"""loader bpftool v7.5.0
found 4
object from_hep_no_log_co-re.o
end 0
object to_hep_no_log_co-re.o
end 0
object from_wep_no_log_co-re.o
| BPF program is too large. Processed 1000001 insn
| libbpf: prog 'calico_tc_main': failed to load: -7
end 255
object to_wep_no_log_co-re.o
end 0"""


def test_a_trial_of_the_objects_in_the_pods_image(serve: Serve) -> None:
    api, kubeconfig = serve(forbid=[("delete", "jobs"), ("deletecollection", "jobs")])

    def log(node: str, spec: Object) -> bytes:
        mark = b"\nebpfcheck-" + probes.nonce_of(spec["containers"][0]["command"]).encode()
        frame = mark + b" begin objects /usr/lib/calico/bpf\n" + TRIED + mark + b" end ok\n"
        before, done, after = probes.log()(node, spec).rpartition(mark + b" done")
        return before + frame + done + after

    api.pods.script(None, PodLife(log=log))
    outcome = look(kubeconfig, "--probe", "pod", "--trial", "objects", api=api)
    (finding,) = (one for one in outcome.report["findings"] if one["id"] == "node.bpf.objects")
    assert finding["status"] == "fail"
    assert "calico_tc_main of from_wep_no_log_co-re.o (budget" in finding["message"]
    (fact,) = (one for one in finding["evidence"] if one["fact"] == "trial_objects")
    assert f'"image":"{clusters.CALICO_IMAGE}"' in fact["value"].replace(" ", "")
    for job in api.pods.catalog.all(api.pods.jobs):
        assert job["spec"]["activeDeadlineSeconds"] == 630
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert "directory=/usr/lib/calico/bpf\n" in container["command"][2]
        security = container["securityContext"]
        assert security["privileged"] is False
        assert {"SYS_ADMIN", "SYS_RESOURCE"} <= set(security["capabilities"]["add"])
        # The profile of container runtimes forbids mounts.
        assert security["appArmorProfile"] == {"type": "Unconfined"}
        assert container["resources"]["limits"]["memory"] == "1536Mi"


def test_a_trial_of_objects_on_the_nodes(serve: Serve) -> None:
    api, kubeconfig = serve(forbid=[("delete", "jobs"), ("deletecollection", "jobs")])
    more = ("--trial", "objects", "--objects", "/opt/calico v3.33/bpf", "--probe-timeout", "50")
    outcome = look(kubeconfig, "--probe", "pod", *more, api=api)
    assert outcome.statuses()["node.bpf.objects"] == {"unknown"}
    for job in api.pods.catalog.all(api.pods.jobs):
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert "directory='/opt/calico v3.33/bpf'\n" in container["command"][2]
        assert "seconds=40\n" in container["command"][2]


@pytest.mark.parametrize(
    ("life", "reason", "words"),
    [
        (PodLife("Unschedulable"), "timeout", "longer than 3 s: it is not scheduled: Unschedulable: 0/"),
        (PodLife("ContainerCreating"), "timeout", "longer than 3 s: ContainerCreating"),
        (PodLife("ErrImagePull"), "unreachable", "the pod on it does not start: ErrImagePull"),
        (PodLife("ImagePullBackOff"), "unreachable", "the pod on it does not start: ImagePullBackOff"),
        (PodLife("CreateContainerConfigError"), "unreachable", "CreateContainerConfigError"),
        (PodLife("RunContainerError"), "unreachable", "RunContainerError"),
        (PodLife("evicted"), "unreachable", "the pod on it failed: Evicted"),
        (PodLife("OOMKilled"), "unreachable", "the pod on it failed: OOMKilled"),
        (PodLife("node-lost"), "timeout", "longer than 3 s"),
        (PodLife("hangs", log=b"x"), "timeout", "longer than 3 s"),
        (PodLife(log=b""), "unsupported", "the pod on it printed no survey"),
        (PodLife(log=b"sh: not found\n", exit_code=127), "unsupported", "printed no survey: sh: not found"),
        (PodLife(log=b"\xff\x00\x1b[31m" * 99), "unsupported", r"printed no survey: \xff\x00\x1b[31m"),
        (PodLife(log_error=StatusError(504)), "unreachable", "the log of the pod on it"),
        (PodLife(log=probes.log(), cut_log=9, cut_cleanly=True), "unsupported", "printed no survey"),
    ],
    ids=lambda value: (
        f"{value.ends}-{len(value.log) if isinstance(value.log, bytes) else 'log'}"
        if isinstance(value, PodLife)
        else None
    ),
)
def test_what_a_pod_may_come_to(serve: Serve, life: PodLife, reason: str, words: str) -> None:
    api, kubeconfig = serve()
    api.pods.script("node-a", life)
    outcome = look(kubeconfig, "--probe", "pod", "--probe-timeout", "3", api=api)
    assert coverage(outcome) == (2, 1, 0)
    assert unseen(outcome)["node-a"][0] == reason
    assert words in unseen(outcome)["node-a"][1]
    # The pod of a node that is lost stays until the node is back, or somebody forces it.
    assert [name for name in api.pods.left() if life.ends != "node-lost" or name.startswith("job/")] == []


def test_a_log_that_is_cut_is_read_again(serve: Serve) -> None:
    api, kubeconfig = serve(faults=[Fault(r"/log\?", "status", status=500, times=1)])
    outcome = look(kubeconfig, "--probe", "pod", api=api)
    assert coverage(outcome) == (2, 2, 0)


def test_what_a_log_holds_that_stays_cut_counts(serve: Serve) -> None:
    api, kubeconfig = serve()
    api.pods.script("node-a", PodLife(log=probes.log(), cut_log=4000, cut_cleanly=True))
    outcome = look(kubeconfig, "--probe", "pod", api=api)
    assert coverage(outcome) == (2, 2, 0)
    assert outcome.by_address()[("node.cgroup2", "node-a")] == "unknown"
    assert outcome.by_address()[("node.kernel.version", "node-a")] == "pass"
    assert any("the end of the pod's log is missing" in problem["detail"] for problem in outcome.report["problems"])


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (webhook("policy.example", "no privileged pods here", code=403), "no privileged pods here"),
        (webhook("policy.example", "images only from us"), "images only from us"),
        (quota(), "exceeded quota"),
    ],
)
def test_a_refusal_is_told_once_in_the_servers_words_before_anything_is_made(
    serve: Serve, refusal: Any, words: str
) -> None:
    api, kubeconfig = serve()
    api.pods.refuse(refusal)
    outcome = look(kubeconfig, "--probe", "pod", api=api)
    assert coverage(outcome) == (2, 0, 0)
    assert outcome.stderr.count("\n") == 1
    assert words in outcome.stderr
    (problem,) = [one for one in outcome.report["problems"] if one["source"] == "--probe pod"]
    assert (problem["reason"], words in problem["detail"]) == ("forbidden", True)
    assert not made(api)


def test_a_webhook_that_answers_no_rehearsal_does_not_stop_the_probe(serve: Serve) -> None:
    words = 'admission webhook "mesh.example" does not support dry run'
    api, kubeconfig = serve(faults=[Fault("dryRun=All", status=400, message=words, times=1)])
    assert coverage(look(kubeconfig, "--probe", "pod", api=api)) == (2, 2, 0)


def test_pods_that_pod_security_refuses(serve: Serve) -> None:
    """It lets Jobs pass with a warning; what it refuses are their pods, one after the other."""
    api, kubeconfig = serve()
    api.pods.refuse(pod_security())
    outcome = look(kubeconfig, "--probe", "pod", "--probe-timeout", "30", api=api)
    assert unseen(outcome)["node-a"][0] == "forbidden"
    assert 'the server had warned: would violate PodSecurity "baseline' in unseen(outcome)["node-a"][1]
    assert api.pods.left() == []


@pytest.mark.parametrize(
    ("forbid", "words"),
    [
        (("create", "jobs"), "cannot create resource"),
        (("list", "pods"), "cannot list resource"),
        (("get", "pods/log"), "cannot get resource"),
    ],
)
def test_a_right_that_is_missing_is_named(serve: Serve, forbid: tuple[str, str], words: str) -> None:
    api, kubeconfig = serve(forbid=[forbid])
    outcome = look(kubeconfig, "--probe", "pod", api=api)
    assert words in outcome.stdout
    assert api.pods.left() == []


@pytest.mark.parametrize("road", ["pod", "exec"])
def test_the_printed_roles_are_enough_and_each_rule_is_used(serve: Serve, tmp_path: Path, road: str) -> None:
    roles = list(yaml.safe_load_all(run("rbac", "--probe", road).stdout))
    rules = [
        {**rule, **({"namespace": role["metadata"]["namespace"]} if role["kind"] == "Role" else {})}
        for role in roles
        if role["kind"].endswith("Role")
        for rule in role["rules"]
    ]
    api, kubeconfig = serve(rules=rules)
    by_exec(api, tmp_path)
    outcome = look(kubeconfig, "--probe", road, api=api)
    assert coverage(outcome) == (2, 2, 0)
    assert api.pods.left() == []
    assert not [one for one in outcome.report["problems"] if one["reason"] == "forbidden"]
    own = [rule for rule in rules if "namespace" in rule and rule["namespace"] != "calico-system"]
    used = {(one.verb, one.path.partition("?")[0].rpartition("/")[2]) for one in api.requests}
    words = {"jobs": "jobs", "pods": "pods", "pods/log": "log", "pods/exec": "exec"}
    for rule in own if road == "pod" else ():
        (resource,), (verb,) = rule["resources"], rule["verbs"]
        is_used = any(seen == verb and (words[resource] == last or verb == "delete") for seen, last in used)
        assert is_used or (verb, resource) == ("list", "jobs"), (verb, resource)


def test_jobs_that_may_not_be_deleted_are_spoken_of(serve: Serve) -> None:
    api, kubeconfig = serve(forbid=[("delete", "jobs"), ("deletecollection", "jobs")])
    outcome = look(kubeconfig, "--probe", "pod", api=api)
    assert coverage(outcome) == (2, 2, 0)
    assert "Jobs may be left in kube-system" in outcome.stderr
    assert len(api.pods.left()) == 4


def test_a_job_whose_answer_was_lost_is_no_other_job(serve: Serve) -> None:
    api, kubeconfig = serve(faults=[Fault(r"/jobs$", "cut", times=1)])
    outcome = look(kubeconfig, "--probe", "pod", api=api)
    assert coverage(outcome) == (2, 2, 0)
    assert api.pods.left() == []


# Cohorts


def fleet(count: int, kinds: int) -> list[Object]:
    return [
        probes.node(f"n{number:04}", kernel=f"6.8.0-{100 + number % kinds}-generic", zone=f"zone-{number % 3}")
        for number in range(count)
    ]


def test_a_thousand_nodes_of_five_kinds_take_no_more_than_four_pods_a_kind(serve: Serve) -> None:
    nodes = fleet(1000, 5)
    kernels = {one["metadata"]["name"]: one["status"]["nodeInfo"]["kernelVersion"] for one in nodes}
    api, kubeconfig = serve(*nodes)
    api.pods.script(None, PodLife(log=probes.log(kernels)))
    # One sample of each of the first two kinds cannot be had.
    outcome = look(kubeconfig, "--probe", "pod", "--concurrency", "4", api=api)
    assert len(made(api)) <= 4 * 5
    assert api.pods.most_at_once <= 4
    total, surveyed, inferred = coverage(outcome)
    assert (total, surveyed + inferred) == (1000, 1000)
    assert surveyed == len(made(api)) == 15
    seen = [one for one in outcome.report["findings"] if one["id"] == "node.cgroup2" and not one["inferred_from"]]
    guessed = [one for one in outcome.report["findings"] if one["id"] == "node.cgroup2" and one["inferred_from"]]
    assert {name for one in seen for name in one["subjects"]} == {
        name for one in guessed for name in one["inferred_from"]
    }
    assert sum(len(one["subjects"]) for one in guessed) == 985
    assert api.pods.left() == []


def test_samples_that_cannot_be_had_are_stood_in_for(serve: Serve) -> None:
    nodes = fleet(40, 1)
    api, kubeconfig = serve(*nodes)
    lost = PodLife("ErrImagePull")
    for name in ("n0000", "n0001", "n0002"):
        api.pods.script(name, lost)
    api.pods.script(
        None, PodLife(log=probes.log(dict.fromkeys((one["metadata"]["name"] for one in nodes), "6.8.0-100-generic")))
    )
    outcome = look(kubeconfig, "--probe", "pod", api=api)
    assert len(made(api)) == 4
    # Those on which it failed are not taken to be like the others.
    assert coverage(outcome) == (40, 1, 36)


def test_a_cohort_whose_samples_are_judged_differently_is_looked_at_whole(serve: Serve) -> None:
    nodes = fleet(12, 2)
    kernels = {one["metadata"]["name"]: one["status"]["nodeInfo"]["kernelVersion"] for one in nodes}
    api, kubeconfig = serve(*nodes)
    api.pods.script(None, PodLife(log=probes.log(kernels)))
    api.pods.script("n0000", PodLife(log=probes.log(kernels, ip_forward=b"0\n")))
    outcome = look(kubeconfig, "--probe", "pod", api=api)
    # All six of the kind of n0000, and three of the other.
    assert coverage(outcome) == (12, 9, 3)
    assert outcome.by_address()[("node.base.ip-forward", "n0000")] == "warn"
    assert outcome.by_address()[("node.base.ip-forward", "n0002")] == "pass"


def test_all_nodes_on_request(serve: Serve) -> None:
    nodes = fleet(12, 1)
    api, kubeconfig = serve(*nodes)
    api.pods.script(
        None, PodLife(log=probes.log(dict.fromkeys((one["metadata"]["name"] for one in nodes), "6.8.0-100-generic")))
    )
    outcome = look(kubeconfig, "--probe", "pod", "--probe-nodes", "all", api=api)
    assert coverage(outcome) == (12, 12, 0)


def test_nodes_that_are_no_linux_machines_are_left_out_with_the_reason(serve: Serve) -> None:
    windows = probes.node("win", operatingSystem="windows", osImage="Windows Server 2022")
    fargate = probes.node("fargate-1")
    fargate["metadata"]["labels"] = {"eks.amazonaws.com/compute-type": "fargate"}
    api, kubeconfig = serve(probes.node("node-a"), windows, fargate)
    outcome = look(kubeconfig, "--probe", "pod", api=api)
    assert len(made(api)) == 1
    assert {name: reason for name, (reason, _) in unseen(outcome).items()} == {
        "win": "unsupported",
        "fargate-1": "unsupported",
    }


# By exec


def by_exec(api: FakeApi, folder: Path, **changes: bytes) -> None:
    for name in ("node-a", "node-b"):
        kernel = KERNELS.get(name, probes.KERNEL)
        argv = probes.told(folder, lambda nonce, kernel=kernel: probes.survey(nonce, kernel, **changes))  # type: ignore[misc]
        api.pods.exec_script(f"calico-node-{name}", ExecLife(argv))


def test_exec_makes_nothing(serve: Serve, tmp_path: Path) -> None:
    api, kubeconfig = serve()
    by_exec(api, tmp_path)
    outcome = look(kubeconfig, "--probe", "exec", api=api)
    assert coverage(outcome) == (2, 2, 0)
    assert outcome.statuses()["node.kernel.version"] == {"pass"}
    assert not made(api)
    kinds = {
        entry["source"]["kind"] for one in outcome.report["findings"] for entry in one["evidence"] if entry["source"]
    }
    assert "exec" in kinds


@pytest.mark.parametrize(
    ("life", "reason", "words"),
    [
        (ExecLife(stdout=b"", stderr=b"sh: oops", exit_code=3), "unsupported", "printed no survey: sh: oops; command"),
        (ExecLife(answer=(403, "policy forbids")), "forbidden", "policy forbids"),
        (ExecLife(answer=(500, "dial tcp 10.0.0.1:10250: refused")), "unreachable", "10250: refused"),
        (ExecLife(gone=True), "unsupported", "container not found"),
        (ExecLife(stdout=b"noise", hang=True), "timeout", "longer than 3 s"),
        (ExecLife(stdout=b"x" * 100_000, cut=500), "unsupported", "printed no survey"),
        (ExecLife(["/no/such/shell"]), "unsupported", "executable file not found"),
    ],
)
def test_what_a_command_may_come_to(serve: Serve, tmp_path: Path, life: ExecLife, reason: str, words: str) -> None:
    api, kubeconfig = serve()
    by_exec(api, tmp_path)
    api.pods.exec_script("calico-node-node-a", life)
    outcome = look(kubeconfig, "--probe", "exec", "--probe-timeout", "3", api=api)
    assert coverage(outcome) == (2, 1, 0)
    assert unseen(outcome)["node-a"][0] == reason
    assert words in unseen(outcome)["node-a"][1]


def test_output_in_small_frames_and_cut_in_the_middle(serve: Serve, tmp_path: Path) -> None:
    api, kubeconfig = serve()
    by_exec(api, tmp_path)
    argv = probes.told(tmp_path, probes.survey)
    api.pods.exec_script("calico-node-node-a", ExecLife(argv, frame=7, cut=4000))
    outcome = look(kubeconfig, "--probe", "exec", api=api)
    assert coverage(outcome) == (2, 2, 0)
    assert outcome.by_address()[("node.kernel.version", "node-a")] == "pass"
    assert outcome.by_address()[("node.ipvs.residue", "node-a")] == "unknown"


def test_exec_goes_through_the_kubeconfigs_proxy(serve: Serve, tmp_path: Path) -> None:
    api, _ = serve()
    by_exec(api, tmp_path)
    with forward_proxy(to=urlsplit(api.url).netloc) as proxy:
        kubeconfig = write_kubeconfig(
            tmp_path / "proxied",
            api,
            server="https://api.example:6443",
            tls_server_name="localhost",
            proxy_url=proxy.url,
        )
        outcome = look(kubeconfig, "--probe", "exec", api=api)
    assert coverage(outcome) == (2, 2, 0)


def test_a_container_that_does_not_run_is_not_asked(tmp_path: Path) -> None:
    waiting = probes.calico_node_pod("node-c", state={"waiting": {"reason": "CrashLoopBackOff"}})
    third = probes.node("node-c", kernel="6.8.0-1-generic")
    with FakeApi(Story([*probes.cluster(*TWO), third, waiting])) as api:
        by_exec(api, tmp_path)
        outcome = look(write_kubeconfig(tmp_path / "config", api), "--probe", "exec", api=api)
    assert coverage(outcome) == (3, 2, 0)
    assert "does not run" in unseen(outcome)["node-c"][1]


def test_exec_without_a_calico_node_or_the_right(serve: Serve, tmp_path: Path) -> None:
    with FakeApi(Story(probes.cluster(*TWO, pods=False))) as api:
        outcome = look(write_kubeconfig(tmp_path / "config", api), "--probe", "exec", api=api)
        assert unseen(outcome)["node-a"] == ("unreachable", "no pod of calico-node is on it")
    bare = [one for one in probes.cluster(*TWO, pods=False) if one["kind"] != "DaemonSet"]
    with FakeApi(Story(bare)) as api:
        outcome = look(write_kubeconfig(tmp_path / "config", api), "--probe", "exec", api=api)
        assert "no calico-node was found" in outcome.stderr
    api, kubeconfig = serve(forbid=[("create", "pods/exec"), ("get", "pods/exec")])
    outcome = look(kubeconfig, "--probe", "exec", api=api)
    assert unseen(outcome)["node-a"][0] == "forbidden"
    assert "pods/exec" in unseen(outcome)["node-a"][1] or "forbidden" in unseen(outcome)["node-a"][1]


# Signals, and what is left behind


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind_and_keeps_what_was_learned(serve: Serve, tmp_path: Path, sent: int) -> None:
    nodes = fleet(6, 6)
    kernels = {one["metadata"]["name"]: one["status"]["nodeInfo"]["kernelVersion"] for one in nodes}
    api, kubeconfig = serve(*nodes)
    api.pods.script(None, PodLife("hangs"))
    for name in ("n0000", "n0001"):
        api.pods.script(name, PodLife(log=probes.log(kernels)))
    saved = tmp_path / "snapshot"
    arguments = (
        "--kubeconfig",
        str(kubeconfig),
        "-f",
        "json",
        "--probe",
        "pod",
        "--concurrency",
        "3",
        "--save",
        str(saved),
    )
    with start(*arguments) as process:
        api.pods.wait_until(lambda: len(made(api)) >= 5, timeout=30)
        time.sleep(0.3)
        process.send_signal(sent)
        out, err = process.communicate(timeout=30)
    document = json.loads(out)
    assert (process.returncode, document["exit_code"]) == (130, 130)
    assert document["coverage"]["nodes_surveyed"] == 2
    assert sum(node["surveyed"] for node in json.loads(saved.read_text())["nodes"] if "surveyed" in node) in (0, 2)
    assert "interrupted" in err
    assert api.pods.left() == []


def test_fifty_runs_that_are_ended_at_any_moment_leave_nothing(serve: Serve) -> None:
    nodes = fleet(4, 2)
    kernels = {one["metadata"]["name"]: one["status"]["nodeInfo"]["kernelVersion"] for one in nodes}
    api, kubeconfig = serve(*nodes)
    api.pods.script(None, PodLife(log=probes.log(kernels), starts=0.1, delay=0.2))
    codes: list[int] = []

    def one(number: int) -> None:
        with start("--kubeconfig", str(kubeconfig), "-f", "json", "--probe", "pod") as process:
            time.sleep(0.4 + 0.05 * (number % 40))
            process.send_signal(signal.SIGTERM if number % 2 else signal.SIGINT)
            out, err = process.communicate(timeout=60)
        codes.append(process.returncode)
        # On a machine that is slow the signal comes before Python heeds it, and then nothing has been made yet.
        assert process.returncode in (0, 1, 3, 130, -signal.SIGTERM), err
        # Python drops a signal that comes while its import machinery tidies up, and says so; the run then goes on.
        assert "Traceback" not in err or "Exception ignored in" in err, err
        if out:
            json.loads(out)

    running: list[threading.Thread] = []
    for number in range(50):
        running.append(threading.Thread(target=one, args=(number,)))
        running[-1].start()
        if number % 5 == 4:
            for thread in running[-5:]:
                thread.join()
    assert len(codes) == 50
    assert 130 in codes
    assert api.pods.left() == []


def test_a_job_that_is_being_created_at_the_end_is_waited_for(serve: Serve) -> None:
    api, kubeconfig = serve(faults=[Fault(r"/jobs$", "delay", delay=6.0, times=2)])
    with start("--kubeconfig", str(kubeconfig), "-f", "json", "--probe", "pod") as process:
        api.pods.wait_until(lambda: len(made(api)) >= 2, timeout=30)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    time.sleep(1)
    assert api.pods.left() == []


def test_a_second_signal_ends_it_at_once_and_still_keeps_what_was_learned(serve: Serve) -> None:
    # To delete a Job takes its time, and so does the end.
    api, kubeconfig = serve(faults=[Fault(r"/jobs/", "delay", delay=4.0, times=ALWAYS)])
    api.pods.script("node-b", PodLife("hangs"))
    with start("--kubeconfig", str(kubeconfig), "-f", "json", "--probe", "pod", "--concurrency", "1") as process:
        api.pods.wait_until(lambda: len(made(api)) == 2, timeout=30)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["coverage"]["nodes_surveyed"] == 1


def test_a_pod_that_somebody_deletes_is_told_of(serve: Serve) -> None:
    api, kubeconfig = serve()
    api.pods.script("node-a", PodLife("hangs"))
    found: list[Outcome] = []
    looking = threading.Thread(target=lambda: found.append(look(kubeconfig, "--probe", "pod", api=api)))
    looking.start()
    api.pods.wait_until(lambda: len(made(api)) == 2, timeout=30)
    time.sleep(1)
    config.load_kube_config(str(kubeconfig))
    core = client.CoreV1Api()
    for pod in core.list_namespaced_pod("kube-system", label_selector="app.kubernetes.io/component=probe").items:
        core.delete_namespaced_pod(pod.metadata.name, "kube-system")
    looking.join()
    reason, words = unseen(found[0])["node-a"]
    assert reason == "unreachable"
    assert "gone" in words or "failed" in words


def test_cleanup_removes_what_carries_our_label_and_nothing_else(serve: Serve) -> None:
    api, kubeconfig = serve(forbid=[("delete", "jobs"), ("deletecollection", "jobs")])
    look(kubeconfig, "--probe", "pod", api=api)
    api.forbid.clear()
    assert len(api.pods.left()) == 4
    result = run("cleanup", "--kubeconfig", str(kubeconfig))
    assert result.returncode == 0
    assert len(re.findall(r"^removed job kube-system/ebpfcheck-\w+-\d+$", result.stdout, re.M)) == 2
    assert api.pods.left() == []
    assert run("cleanup", "--kubeconfig", str(kubeconfig)).stdout == "nothing of ebpfcheck's was left\n"
    api.forbid.append(("list", "jobs"))
    refused = run("cleanup", "--kubeconfig", str(kubeconfig))
    assert (refused.returncode, refused.stdout) == (5, "")
    assert "--probe-namespace looks in one namespace alone" in refused.stderr


def test_runs_side_by_side_do_not_touch_each_others_jobs(serve: Serve) -> None:
    api, kubeconfig = serve()
    api.pods.script(None, PodLife(log=probes.log(KERNELS), delay=1))
    outcomes: list[Outcome] = []
    runs = [
        threading.Thread(target=lambda: outcomes.append(look(kubeconfig, "--probe", "pod", api=api))) for _ in range(3)
    ]
    for one in runs:
        one.start()
        time.sleep(0.4)
    for one in runs:
        one.join()
    assert [coverage(outcome) for outcome in outcomes] == [(2, 2, 0)] * 3
    assert api.pods.left() == []


def test_the_time_for_all_nodes(serve: Serve) -> None:
    api, kubeconfig = serve(*fleet(6, 6))
    api.pods.script(None, PodLife("hangs"))
    outcome = look(kubeconfig, "--probe", "pod", "--deadline", "2", "--concurrency", "2", api=api)
    assert outcome.seconds < 20
    assert {reason for reason, _ in unseen(outcome).values()} == {"timeout"}
    assert api.pods.left() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--image", "x"), "need --probe exec or --probe pod"),
        (("--probe-nodes", "all"), "need --probe exec or --probe pod"),
        (("--api-endpoint", "a:1"), "need --probe exec or --probe pod"),
        (("--probe", "exec", "--image", "x"), "--image is for --probe pod"),
        (("--probe", "pod", "--image", "a b"), "is not the name of an image"),
        (("--probe", "pod", "--probe-namespace", "A/b"), "is not the name of a namespace"),
        (("--probe", "pod", "--api-endpoint", "https://a:1"), "is a URL"),
        (("--probe", "pod", "--concurrency", "0"), "--concurrency"),
        (("--objects", "/bpf"), "--objects is for --trial objects"),
        (("--probe", "exec", "--trial", "objects"), "--trial objects needs --probe pod"),
        (("--probe", "pod", "--trial", "objects", "--objects", "bpf"), "is not the absolute path"),
        (("--probe", "pod", "--trial", "objects", "--objects", "/a\nb"), "is not the absolute path"),
        (("--probe", "pod", "--probe-timeout", "0"), "--probe-timeout"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], words: str) -> None:
    result = run("cluster", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_names_that_the_clusters_dns_answers_are_told_apart(serve: Serve) -> None:
    api, kubeconfig = serve()
    api.pods.script(None, PodLife(log=probes.log(KERNELS, nameservers=b"nameserver 10.96.0.10\n")))
    outcome = look(kubeconfig, "--probe", "pod", "--api-endpoint", "k8s-api.shop.example:6443", api=api)
    assert outcome.statuses()["node.api-endpoint.reachable"] == {"fail"}
    assert "resolved by the cluster's own DNS" in outcome.stdout


def test_an_api_server_that_goes_away_in_the_middle(serve: Serve) -> None:
    api, kubeconfig = serve(faults=[Fault(r"/pods\?labelSelector=job-name", "cut", times=ALWAYS)])
    outcome = look(kubeconfig, "--probe", "pod", "--probe-timeout", "5", api=api)
    assert coverage(outcome)[1] == 0
    assert set(unseen(outcome)) == {"node-a", "node-b"}
    assert api.pods.left() == []
