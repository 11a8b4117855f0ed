"""Trials by the command line: what a node's python3 may come to, probe pods, and snapshots that hold a trial."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import probes
from tests.acceptance.clusters import look
from tests.acceptance.command import run
from tests.builders import trial_said
from tests.fakeapi import FakeApi, Object, PodLife, Story, write_kubeconfig

IDS = {
    "node.bpf.maps", "node.bpf.programs", "node.bpf.helpers", "node.bpf.features", "node.bpf.attach",
    "node.vxlan.flow-based", "node.cgroup2.attach",
}  # fmt: skip
NO = {"answer": "no", "errno": "EINVAL", "words": "\x1b[31munknown func bpf_timer_init#169 [bold]"}


def findings(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode in (0, 1, 3), result.stderr
    return {one["id"]: one for one in json.loads(result.stdout)["findings"]}


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `ebpfcheck node` on a machine whose python3 runs this in its stead."""

    def looked(python: str, *arguments: str, timeout: str = "") -> subprocess.CompletedProcess[str]:
        for name, text in (("python3", python), ("timeout", timeout)):
            if text:
                (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
                (tmp_path / name).chmod(0o755)
        import os

        return run("node", "-f", "json", *arguments, PATH=f"{tmp_path}:{os.environ['PATH']}")

    return looked


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., str]:
    """Return the command that prints what a trial said."""

    def command(*changes: Any, **fields: Any) -> str:
        (tmp_path / "said").write_text(json.dumps(trial_said(*changes, **fields)))
        return f"cat {tmp_path}/said"

    return command


Node = Callable[..., subprocess.CompletedProcess[str]]
Said = Callable[..., str]


def test_a_trial_is_judged_and_a_snapshot_of_it_for_any_release(node: Node, said: Said, tmp_path: Path) -> None:
    saved = tmp_path / "node.json"
    python = said({"feature:timer": NO})
    result = node(python, "--trial", "kernel", "--calico-version", "v3.32", "--save", str(saved))
    found = findings(result)
    assert not result.stderr
    assert {found[name]["status"] for name in IDS} == {"pass"}
    (evidence,) = [one for one in found["node.bpf.maps"]["evidence"] if one["fact"] == "trial_maps"]
    assert evidence["source"] == {"kind": "local", "locator": "the kernel's own answer to bpf(2) BPF_MAP_CREATE"}
    later = findings(run("evaluate", str(saved), "-f", "json", "--calico-version", "v3.33"))
    assert later["node.bpf.features"]["status"] == "fail"
    shown = run("evaluate", str(saved), "--calico-version", "v3.33", "--only", "node.bpf.features")
    assert shown.returncode == 1
    assert "\x1b" not in shown.stdout
    assert "\\x1b[31munknown func bpf_timer_init#169 [bold]" in shown.stdout


def test_without_a_trial_nothing_of_it_is_run_judged_or_counted(node: Node, tmp_path: Path) -> None:
    result = node(f"touch {tmp_path}/was-run")
    report = json.loads(result.stdout)
    assert not IDS & {one["id"] for one in report["findings"]}
    assert not IDS & {*report["selection"]["skipped"]}
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("python", "timeout", "reason", "words"),
    [
        ("exit 0", "", "unparsable", "it is not what a trial says"),
        ("echo Traceback; exit 1", "", "not_collected", "python3 ended with code 1"),
        ("cat /dev/zero | tr '\\0' '[' | head -c 3000000", "", "unparsable", "it is too long for what a trial says"),
        ("printf '\\033[2J\\377'", "", "unparsable", "it is not what a trial says"),
        ("exit 0", 'for one; do last=$one; done; [ "$last" = - ] && exit 124; shift; exec "$@"', "timeout", "too"),
        (
            'echo \'{"trial": "ebpfcheck.trial.kernel/1", "left": "python 3.5 is too old"}\'',
            "", "unsupported", "python 3.5 is too old",
        ),
    ],
    ids=["nothing", "ends-badly", "too-much", "rubbish", "hangs", "too-old"],
)  # fmt: skip
def test_a_trial_that_comes_to_nothing_costs_nothing_else(
    node: Node, python: str, timeout: str, reason: str, words: str
) -> None:
    result = node(python, "--trial", "kernel", timeout=timeout)
    found = findings(result)
    assert found["node.bpf.maps"]["status"] == "unknown"
    assert found["node.bpf.maps"]["reason"] == reason
    assert (words if words != "too" else "took longer than it may") in found["node.bpf.maps"]["message"]
    assert found["node.arch"]["status"] != "unknown"
    assert found["node.kernel.version"]["status"] != "unknown"
    assert not json.loads(result.stdout)["problems"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cluster", "--trial", "kernel"), "--trial kernel needs --probe pod"),
        (("cluster", "--trial", "kernel", "--probe", "exec"), "--trial kernel needs --probe pod"),
        (("cluster", "--trial", "everything", "--probe", "pod"), "'everything' is not one of"),
        (("node", "--trial"), "requires an argument"),
        (("node", "--only", "node.bpf.maps"), "take a trial (--trial), which was not made"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


# Probe pods.


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[FakeApi, Path]]:
    with FakeApi(
        Story(probes.cluster(probes.node("node-a"), probes.node("node-b", kernel="6.8.0-45-generic"))),
        forbid=[("delete", "jobs"), ("deletecollection", "jobs")],
    ) as api:
        yield api, write_kubeconfig(tmp_path / "config", api)


def tried(section: str) -> probes.Log:
    """What a probe pod prints that was to make a trial."""

    def printed(node: str, spec: Object) -> bytes:
        nonce = probes.nonce_of(spec["containers"][0]["command"])
        kernel = {"node-b": "6.8.0-45-generic"}.get(node, probes.KERNEL)
        done = f"\nebpfcheck-{nonce} done".encode()
        before, _, after = probes.survey(nonce, kernel).partition(done)
        return before + section.replace("NONCE", nonce).encode() + done + after

    return printed


def containers(api: FakeApi) -> list[Any]:
    jobs = api.pods.catalog.all(api.pods.jobs)
    assert jobs
    return [job["spec"]["template"]["spec"]["containers"][0] for job in jobs]


def test_a_probe_pod_makes_a_trial(served: tuple[FakeApi, Path]) -> None:
    api, kubeconfig = served
    words = json.dumps(trial_said())
    api.pods.script(
        None, PodLife(log=tried(f"\nebpfcheck-NONCE begin trial bpf(2)\n{words}\n\nebpfcheck-NONCE end ok\n"))
    )
    outcome = look(kubeconfig, "--probe", "pod", "--trial", "kernel", api=api)
    assert {name: outcome.statuses()[name] for name in IDS} == {name: {"pass"} for name in IDS}
    (evidence,) = {
        json.dumps(one["source"])
        for finding in outcome.report["findings"]
        if finding["id"] == "node.bpf.attach"
        for one in finding["evidence"]
        if one["fact"] == "trial_attachments"
    }
    assert json.loads(evidence)["kind"] == "pod"
    for container in containers(api):
        added = container["securityContext"]["capabilities"]["add"]
        assert sorted(added) == [
            "DAC_OVERRIDE", "DAC_READ_SEARCH", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE", "SYS_RESOURCE",
        ]  # fmt: skip
        assert container["securityContext"]["privileged"] is False
        # The profile of container runtimes forbids to mount cgroup2.
        assert container["securityContext"]["appArmorProfile"] == {"type": "Unconfined"}
        script = container["command"][2]
        assert "ebpfcheck.trial.kernel/1" in script
        # The longest argument that a kernel takes, with its NUL.
        assert len(script.encode()) < 128 * 1024


def test_a_probe_pod_asks_for_no_more_where_no_trial_is_asked_for(served: tuple[FakeApi, Path]) -> None:
    api, kubeconfig = served
    api.pods.script(None, PodLife(log=tried("")))
    outcome = look(kubeconfig, "--probe", "pod", api=api)
    assert not IDS & {*outcome.statuses()}
    for container in containers(api):
        added = container["securityContext"]["capabilities"]["add"]
        assert added == ["DAC_READ_SEARCH", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"]
        assert "appArmorProfile" not in container["securityContext"]
        assert "ebpfcheck.trial" not in container["command"][2]


def test_the_image_of_calico_node_has_bpftool_and_no_python(served: tuple[FakeApi, Path]) -> None:
    api, kubeconfig = served
    features = json.dumps({"map_types": {"have_hash_map_type": True, "have_ringbuf_map_type": True}})
    section = (
        "\nebpfcheck-NONCE begin trial bpf(2)\n\nebpfcheck-NONCE end no-tool python3\n"
        f"\nebpfcheck-NONCE begin trial-bpftool bpftool -j feature probe\n{features}\n\nebpfcheck-NONCE end ok\n"
    )
    api.pods.script(None, PodLife(log=tried(section)))
    outcome = look(kubeconfig, "--probe", "pod", "--trial", "kernel", "--calico-version", "v3.32", api=api)
    found = {one["id"]: one for one in outcome.report["findings"]}
    assert {found[name]["status"] for name in IDS} == {"unknown"}
    assert {found[name]["reason"] for name in IDS} == {"tool_missing", "unparsable"}


def test_a_pod_that_ends_before_the_trial_keeps_the_survey(served: tuple[FakeApi, Path]) -> None:
    api, kubeconfig = served

    def cut(node: str, spec: Object) -> bytes:
        return tried("\nebpfcheck-NONCE begin trial bpf(2)\n{")(node, spec).partition(b"\n{")[0]

    api.pods.script(None, PodLife(log=cut))
    outcome = look(kubeconfig, "--probe", "pod", "--trial", "kernel", api=api)
    assert {name: outcome.statuses()[name] for name in IDS} == {name: {"unknown"} for name in IDS}
    assert outcome.statuses()["node.bpffs.mounted"] == {"pass"}
