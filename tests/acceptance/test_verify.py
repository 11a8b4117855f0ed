"""`ebpfcheck verify` on clusters after the switch, and after a rollback: what holds, what not, what cannot be told."""

import json
import os
import signal
import subprocess
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ebpfcheck.model.codec import schema_of
from tests.acceptance import clusters, probes
from tests.acceptance.clusters import Outcome
from tests.acceptance.command import PROGRAM, run
from tests.acceptance.running import (
    CLUSTER_IP,
    GENERATION,
    NAMES,
    ON,
    at,
    calico_node,
    chatter,
    cluster,
    felix_configuration,
    kube_proxy,
    operator,
    pod,
    serve,
    start,
    verify,
)
from tests.fakeapi import ExecLife, FakeApi, Fault, LongLog, Object, StoryLog, felix, write_kubeconfig

FALLEN_BACK = StoryLog([*start("fallback"), *chatter(60, 600)])
STANDARD = StoryLog([*start("standard"), *chatter(60, 600)])
ATTACHED = (
    b'[{"xdp":[],"tc":[{"devname":"enp1s0","ifindex":2,"kind":"tcx/ingress","name":"cali_tc_preambl","id":7}],'
    b'"flow_dissector":[]}]\n'
)
KUBE_PROXY = b"\nkube-proxy\n"
NOTHING_ATTACHED = b'[{"xdp":[],"tc":[],"flow_dissector":[]}]\n'


def failing(outcome: Outcome) -> dict[str, list[str]]:
    """The checks that fail, and where."""
    found: dict[str, list[str]] = {}
    for finding in outcome.report["findings"]:
        if finding["status"] == "fail":
            found.setdefault(finding["id"], []).extend(finding["subjects"])
    return found


def of(outcome: Outcome, check: str, node: str = NAMES[0]) -> dict[str, Any]:
    """The finding of a check about a node."""
    return next(one for one in outcome.report["findings"] if one["id"] == check and node in one["subjects"])


def rolled_back(**more: Any) -> list[Object]:
    """A cluster on which eBPF mode was switched off again."""
    given = {
        "tigera": operator("Iptables"),
        "felix": felix_configuration(bpfEnabled=False),
        "proxy": kube_proxy(off=False),
        **more,
    }
    return cluster(**given)


def test_eBPF_mode_on_all_nodes_holds(tmp_path: Path) -> None:  # noqa: N802
    with serve(cluster()) as api:
        outcome = verify(api, tmp_path)
        shown = verify(api, tmp_path, format="table")
    assert (outcome.code, outcome.stderr) == (0, "")
    report = outcome.report
    assert (report["command"], report["expect"], report["verdict"]) == ("verify", "bpf", "ready")
    jsonschema.validate(report, schema_of("report"))
    assert of(outcome, "verify.node.dataplane")["status"] == "pass"
    assert shown.code == 0
    assert shown.stdout.startswith("VERIFIED: cluster fake runs Calico v3.31.2 in eBPF mode")


def test_one_node_that_fell_back_is_named_with_the_reason(tmp_path: Path) -> None:
    with serve(cluster(), {NAMES[1]: FALLEN_BACK}) as api:
        outcome = verify(api, tmp_path)
        shown = verify(api, tmp_path, format="table")
    assert outcome.code == 1
    assert failing(outcome) == {"verify.node.dataplane": [NAMES[1]]}
    assert "kernel is too old (have: 4.15.0" in of(outcome, "verify.node.dataplane", NAMES[1])["message"]
    assert shown.stdout.startswith("NOT VERIFIED: cluster fake, Calico v3.31.2 in eBPF mode (1 fail")


def test_a_fallback_of_a_release_that_logs_no_reason(tmp_path: Path) -> None:
    log = StoryLog([*start("fallback", reason=""), *chatter(60, 600)])
    with serve(cluster(), {NAMES[1]: log}) as api:
        outcome = verify(api, tmp_path)
    assert failing(outcome) == {"verify.node.dataplane": [NAMES[1]]}


def test_an_address_of_the_api_that_was_not_picked_up(tmp_path: Path) -> None:
    log = StoryLog([*start(host=CLUSTER_IP, port="443"), *chatter(60, 600)])
    with serve(cluster(), {NAMES[2]: log}) as api:
        outcome = verify(api, tmp_path)
    assert outcome.code == 1
    assert failing(outcome) == {"verify.node.api-endpoint": [NAMES[2]]}
    assert "api.acme-bank.example:6443" in of(outcome, "verify.node.api-endpoint", NAMES[2])["message"]


def test_half_of_the_pods_rolled_out(tmp_path: Path) -> None:
    pods = [pod(NAMES[0]), pod(NAMES[1], generation=1), pod(NAMES[2], generation=1)]
    objects = cluster(pods=pods, daemon_set=calico_node(3, updatedNumberScheduled=1))
    with serve(objects, dict.fromkeys(NAMES[1:], STANDARD)) as api:
        outcome = verify(api, tmp_path)
    assert outcome.code == 1
    assert failing(outcome) == {
        "verify.calico.rollout": ["cluster"],
        "verify.node.pod": [*NAMES[1:]],
        "verify.node.dataplane": [*NAMES[1:]],
    }


def test_kube_proxy_that_still_fights(tmp_path: Path) -> None:
    lost = [
        felix(
            at(590 + number / 10), "Detected out-of-sync inserts, marking for resync", level="WARNING", file="table.go"
        )
        for number in range(30)
    ]
    log = StoryLog([*start(), *chatter(60, 590), *lost])
    with serve(cluster(proxy=kube_proxy(off=False)), dict.fromkeys(NAMES, log)) as api:
        outcome = verify(api, tmp_path)
    assert outcome.code == 1
    assert failing(outcome) == {"verify.kube-proxy": ["cluster"], "verify.node.kube-proxy": [*NAMES]}


def test_kube_proxy_may_stay_where_its_rules_are_left_alone(tmp_path: Path) -> None:
    objects = cluster(proxy=kube_proxy(off=False), felix=felix_configuration(bpfKubeProxyIptablesCleanupEnabled=False))
    with serve(objects) as api:
        outcome = verify(api, tmp_path)
    assert (outcome.code, failing(outcome)) == (0, {})


def probed(api: Any, folder: Path, attached: bytes, *nodes: str, proxy: bool = False) -> None:
    """Have commands in calico-node on nodes (on all) answer with a survey, with these programs attached."""

    def told(nonce: str) -> bytes:
        if proxy:
            return probes.survey(nonce, bpf_net=attached)
        return probes.survey(nonce, bpf_net=attached, kube_chains_nft=b"").replace(KUBE_PROXY, b"\n")

    for node in nodes or (None,):
        api.pods.exec_script(node, ExecLife(argv=probes.told(folder, told)))


def test_a_rollback_that_left_programs_behind(tmp_path: Path) -> None:
    logs = dict.fromkeys((None, *NAMES), STANDARD)
    with serve(rolled_back(), logs) as api:
        probed(api, tmp_path, NOTHING_ATTACHED)
        probed(api, tmp_path, ATTACHED, NAMES[1])
        outcome = verify(api, tmp_path, "--expect", "iptables", "--probe", "exec")
    assert outcome.code == 1
    assert failing(outcome) == {"verify.rollback.clean": [NAMES[1]]}
    assert outcome.report["coverage"]["nodes_surveyed"] == 3


def test_a_rollback_that_is_through(tmp_path: Path) -> None:
    with serve(rolled_back(), dict.fromkeys((None, *NAMES), STANDARD)) as api:
        outcome = verify(api, tmp_path, "--expect", "iptables")
        shown = verify(api, tmp_path, "--expect", "iptables", format="table")
        other = verify(api, tmp_path, "--expect", "nftables")
    assert (outcome.code, failing(outcome)) == (0, {})
    assert shown.stdout.startswith("VERIFIED: cluster fake runs Calico v3.31.2 in iptables mode")
    assert other.code == 1
    assert "verify.node.dataplane" in failing(other)


def test_a_rollback_without_kube_proxy_leaves_no_services(tmp_path: Path) -> None:
    with serve(rolled_back(proxy=kube_proxy()), {None: STANDARD}) as api:
        outcome = verify(api, tmp_path, "--expect", "iptables")
    assert failing(outcome) == {"verify.kube-proxy": ["cluster"]}


def test_eBPF_mode_that_is_still_on_after_a_rollback(tmp_path: Path) -> None:  # noqa: N802
    with serve(rolled_back(), {None: STANDARD, NAMES[0]: ON}) as api:
        outcome = verify(api, tmp_path, "--expect", "iptables")
    assert failing(outcome) == {"verify.node.dataplane": [NAMES[0]]}


def test_a_log_whose_start_was_rotated_away_is_no_proof(tmp_path: Path) -> None:
    with serve(cluster(), {NAMES[0]: StoryLog(chatter(7200, 9000))}) as api:
        outcome = verify(api, tmp_path)
        shown = verify(api, tmp_path, format="table")
    assert outcome.code == 3
    finding = of(outcome, "verify.node.dataplane")
    assert (finding["status"], finding["reason"], finding["subjects"]) == ("unknown", "truncated", [NAMES[0]])
    assert "rotated away" in finding["message"]
    assert shown.stdout.startswith("INCONCLUSIVE: cluster fake, Calico v3.31.2 in eBPF mode")


def test_programs_that_are_attached_tell_where_the_log_does_not(tmp_path: Path) -> None:
    with serve(cluster(), {NAMES[0]: StoryLog(chatter(7200, 9000))}) as api:
        probed(api, tmp_path, ATTACHED)
        outcome = verify(api, tmp_path, "--probe", "exec", "--only", "verify.node.dataplane,verify.node.programs")
    assert (outcome.code, outcome.report["verdict"]) == (0, "ready")
    assert of(outcome, "verify.node.programs")["observed"] == "enp1s0 (tcx/ingress)"


def test_no_programs_outrank_what_the_log_says(tmp_path: Path) -> None:
    with serve(cluster()) as api:
        probed(api, tmp_path, ATTACHED)
        probed(api, tmp_path, NOTHING_ATTACHED, NAMES[2])
        outcome = verify(api, tmp_path, "--probe", "exec")
    assert failing(outcome) == {"verify.node.dataplane": [NAMES[2]], "verify.node.programs": [NAMES[2]]}


def test_a_kube_proxy_that_a_look_finds_on_a_node(tmp_path: Path) -> None:
    with serve(cluster()) as api:
        probed(api, tmp_path, ATTACHED)
        probed(api, tmp_path, ATTACHED, NAMES[1], proxy=True)
        outcome = verify(api, tmp_path, "--probe", "exec")
    assert failing(outcome) == {"verify.node.kube-proxy": [NAMES[1]]}


def test_left_over_programs_do_not_hide_a_fallback(tmp_path: Path) -> None:
    with serve(cluster(), {NAMES[2]: FALLEN_BACK}) as api:
        probed(api, tmp_path, ATTACHED)
        outcome = verify(api, tmp_path, "--probe", "exec", "--probe-nodes", "cohorts")
    assert failing(outcome) == {"verify.node.dataplane": [NAMES[2]]}
    assert "left over" in of(outcome, "verify.node.dataplane", NAMES[2])["message"]


def test_a_node_that_a_probe_could_not_look_at_keeps_it_open(tmp_path: Path) -> None:
    with serve(cluster()) as api:
        probed(api, tmp_path, ATTACHED)
        api.pods.exec_script(NAMES[1], ExecLife(answer=(500, "container not found")))
        outcome = verify(api, tmp_path, "--probe", "exec")
    assert (outcome.code, failing(outcome)) == (3, {})
    assert [one["name"] for one in outcome.report["coverage"]["unseen"]] == [NAMES[1]]


SWITCHED = [*start("standard"), *chatter(60, 90_000), *start(after=90_000, pid=4711), *chatter(90_060, 250_000, 4711)]


def test_felix_that_started_again_within_its_container_counts(tmp_path: Path) -> None:
    refused = [*start(), *chatter(60, 90_000), *start("fallback", after=90_000, pid=99), *chatter(90_060, 250_000, 99)]
    with serve(cluster(), {None: StoryLog(SWITCHED), NAMES[0]: StoryLog(refused)}) as api:
        outcome = verify(api, tmp_path)
    assert outcome.code == 1
    assert failing(outcome) == {"verify.node.dataplane": [NAMES[0]]}


def test_a_log_of_a_gigabyte_is_read_in_pieces(tmp_path: Path) -> None:
    filler = felix(at(0), "Summarising 12 dataplane reconciliation loops over 1m1s " + "x" * 900)[1]
    log = LongLog(start(), filler, 1_100_000, timedelta(milliseconds=100), chatter(120_000, 120_600))
    assert log.size > 1024**3
    with serve(cluster(1), {None: StoryLog(log)}) as api:
        outcome = verify(api, tmp_path)
    assert outcome.code == 0
    assert 0 < api.pods.story_logs.sent < 2 * 1024**2
    assert outcome.seconds < 30


def test_a_server_that_sends_more_than_was_asked_for_is_left_alone(tmp_path: Path) -> None:
    filler = felix(at(0), "Summarising 12 dataplane reconciliation loops over 1m1s " + "x" * 900)[1]
    log = LongLog(start(), filler, 1_100_000, timedelta(milliseconds=100), chatter(120_000, 120_600))
    with serve(cluster(1), {None: StoryLog(log)}) as api:
        api.pods.story_logs.heeds_limit = False
        outcome = verify(api, tmp_path)
    assert outcome.code in (0, 3)
    assert of(outcome, "verify.node.dataplane")["status"] in ("pass", "unknown")
    # What was on its way is among it.
    assert 0 < api.pods.story_logs.sent < 64 * 1024**2
    assert outcome.seconds < 30


def test_the_start_is_found_in_the_middle_of_a_gigabyte(tmp_path: Path) -> None:
    filler = felix(at(0), "Summarising 12 dataplane reconciliation loops over 1m1s " + "x" * 900)[1]
    step = timedelta(milliseconds=100)
    head = LongLog(start("standard"), filler, 550_000, step, start(after=55_001, pid=4711))
    log = LongLog(head, filler.replace("[66]", "[4711]"), 550_000, step, chatter(111_000, 111_600, 4711))
    with serve(cluster(1), {None: StoryLog(log)}) as api:
        outcome = verify(api, tmp_path)
    assert outcome.code == 0, outcome.stdout
    assert 0 < api.pods.story_logs.sent < 3 * 1024**2


def test_no_right_to_read_logs(tmp_path: Path) -> None:
    with serve(cluster(), forbid=[("get", "pods/log")]) as api:
        outcome = verify(api, tmp_path)
    assert (outcome.code, failing(outcome)) == (3, {})
    finding = of(outcome, "verify.node.dataplane")
    assert (finding["status"], finding["reason"]) == ("unknown", "forbidden")
    assert "not allowed to get pods/log in calico-system" in finding["message"]
    assert "ebpfcheck rbac --verify" in finding["remediation"]["text"]
    # One refusal tells for all, but for those that were asked at once.
    assert sum(request.path.partition("?")[0].endswith("/log") for request in api.requests) <= 8


METRICS = """\
# HELP felix_bpf_dataplane_endpoints Number of BPF endpoints managed in the dataplane.
# TYPE felix_bpf_dataplane_endpoints gauge
felix_bpf_dataplane_endpoints {0}
felix_bpf_dirty_dataplane_endpoints {1}
felix_bpf_happy_dataplane_endpoints 3
"""


def test_metrics_tell_where_the_log_does_not(tmp_path: Path) -> None:
    rotated = chatter(7200, 9000)
    logs: dict[str | None, StoryLog] = {
        NAMES[0]: StoryLog(rotated, METRICS.format(23, 0)),
        NAMES[1]: StoryLog(rotated, METRICS.format(0, 0)),
        NAMES[2]: StoryLog(ON.lines, METRICS.format(23, 2)),
    }
    objects = cluster(felix=felix_configuration(prometheusMetricsEnabled=True))
    with serve(objects, logs) as api:
        outcome = verify(api, tmp_path)
        api.forbid.append(("get", "pods/proxy"))
        refused = verify(api, tmp_path)
    assert [of(outcome, "verify.node.dataplane", name)["status"] for name in NAMES] == ["pass", "unknown", "pass"]
    assert failing(outcome) == {"verify.node.policy": [NAMES[2]]}
    assert [of(refused, "verify.node.dataplane", name)["status"] for name in NAMES] == ["unknown", "unknown", "pass"]
    assert failing(refused) == {}


def test_two_installs_of_calico_at_once(tmp_path: Path) -> None:
    second = [calico_node(3, "kube-system"), *(pod(name, namespace="kube-system") for name in NAMES)]
    with serve(cluster(more=second)) as api:
        outcome = verify(api, tmp_path)
    assert outcome.code == 1
    assert failing(outcome) == {"verify.calico.rollout": ["cluster"]}
    message = of(outcome, "verify.calico.rollout", "cluster")["message"]
    assert "calico-system/calico-node, kube-system/calico-node" in message


def test_a_cluster_without_calico(tmp_path: Path) -> None:
    with serve([*clusters.nodes(3), *clusters.base(), *clusters.kube_proxy()]) as api:
        outcome = verify(api, tmp_path)
        shown = verify(api, tmp_path, "-q", format="table")
    assert outcome.code == 1
    assert failing(outcome) == {"verify.calico.rollout": ["cluster"]}
    assert {one["status"] for one in outcome.report["findings"]} == {"fail", "not_applicable"}
    assert len(shown.stdout.splitlines()) == 2
    assert "There is no calico-node in this cluster" in shown.stdout


def test_an_api_server_that_is_not_there(tmp_path: Path) -> None:
    with serve(cluster()) as api:
        kubeconfig = write_kubeconfig(tmp_path / "config", api)
    saved, document = tmp_path / "saved", tmp_path / "report.json"
    result = run("verify", "--kubeconfig", str(kubeconfig), "--save", str(saved), "-f", f"json={document}")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (5, "", 1)
    assert not saved.exists()
    assert not document.exists()


def test_a_kubelet_that_does_not_answer_costs_one_node(tmp_path: Path) -> None:
    fault = Fault(rf"pods/calico-node-{NAMES[1]}/log", "hang", times=99)
    with serve(cluster(), faults=[fault]) as api:
        outcome = verify(api, tmp_path, "--timeout", "10")
    assert outcome.code == 3
    found = {name: of(outcome, "verify.node.dataplane", name)["status"] for name in NAMES}
    assert found == {NAMES[0]: "pass", NAMES[1]: "unknown", NAMES[2]: "pass"}
    assert of(outcome, "verify.node.dataplane", NAMES[1])["reason"] == "timeout"
    assert outcome.seconds < 40


def test_a_kubelet_that_fails_is_told_of_without_its_address(tmp_path: Path) -> None:
    words = (
        'Get "https://10.20.0.12:10250/containerLogs/calico-system/x/calico-node": dial tcp 10.20.0.12:10250: timeout'
    )
    faults = [Fault(rf"pods/calico-node-{name}/log", status=500, message=words, times=9) for name in NAMES[:2]]
    with serve(cluster(), faults=faults) as api:
        outcome = verify(api, tmp_path)
    assert outcome.code == 3
    finding = of(outcome, "verify.node.dataplane", NAMES[0])
    assert finding["subjects"] == [*NAMES[:2]]
    assert "10.20.0.12" not in finding["message"]


def test_pods_and_init_containers_that_do_not_run(tmp_path: Path) -> None:
    waiting = {"ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    init = [{"name": "ebpf-bootstrap", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
             "lastState": {"terminated": {"exitCode": 3}}}]  # fmt: skip
    pods = [pod(NAMES[0], container=waiting), pod(NAMES[1], inits=init, container=waiting)]
    with serve(cluster(pods=pods, daemon_set=calico_node(3, numberAvailable=0))) as api:
        outcome = verify(api, tmp_path)
    found = failing(outcome)
    assert found["verify.node.pod"] == [*NAMES[2:], *NAMES[:2]] or sorted(found["verify.node.pod"]) == [*NAMES]
    assert found["verify.node.init"] == [NAMES[1]]
    assert "cgroup2" in of(outcome, "verify.node.init", NAMES[1])["message"]


@pytest.mark.parametrize(
    ("tigera", "words"),
    [
        (operator(degraded="FelixConfiguration has been modified by someone else"), "somebody else set bpfEnabled"),
        (operator(progressing=True), "still at work"),
        (operator("Iptables"), "asks for Iptables"),
    ],
)
def test_what_the_operator_reports(tmp_path: Path, tigera: list[Object], words: str) -> None:
    with serve(cluster(tigera=tigera)) as api:
        outcome = verify(api, tmp_path)
    assert failing(outcome) == {"verify.operator.status": ["cluster"]}
    assert words in of(outcome, "verify.operator.status", "cluster")["message"]


def test_one_of_five_thousand_nodes_is_named(tmp_path: Path) -> None:
    with serve(cluster(5000), {"worker-03217": FALLEN_BACK}) as api:
        outcome = verify(api, tmp_path)
    assert outcome.code == 1
    assert failing(outcome) == {"verify.node.dataplane": ["worker-03217"]}
    assert len(outcome.report["findings"]) < 20
    assert len(of(outcome, "verify.node.dataplane", "worker-00001")["subjects"]) == 4999


def test_a_saved_look_is_judged_the_same_elsewhere(tmp_path: Path) -> None:
    saved, hidden = tmp_path / "saved", tmp_path / "hidden"
    log = StoryLog([*start(host=CLUSTER_IP, port="443"), *chatter(60, 600)])
    with serve(cluster(), {NAMES[1]: FALLEN_BACK, NAMES[2]: log}) as api:
        outcome = verify(api, tmp_path, "--save", str(saved))
        verify(api, tmp_path, "--save", str(hidden), "--redact")
    again = run("verify", "--snapshot", str(saved), "-f", "json")
    assert again.returncode == outcome.code == 1
    assert json.loads(again.stdout)["findings"] == outcome.report["findings"]
    redacted = run("verify", "--snapshot", str(hidden), "-f", "json")
    assert [(one["id"], one["status"], one["fingerprint"]) for one in json.loads(redacted.stdout)["findings"]] == [
        (one["id"], one["status"], one["fingerprint"]) for one in outcome.report["findings"]
    ]
    text = hidden.read_text()
    assert not [secret for secret in (*NAMES, "acme-bank", "10.20.0.") if secret in text]
    preflight = run("evaluate", str(saved), "-f", "json")
    assert not [one for one in json.loads(preflight.stdout)["findings"] if one["id"].startswith("verify.")]


def test_a_look_that_did_not_read_logs_tells_nothing(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    with serve(cluster()) as api:
        kubeconfig = write_kubeconfig(tmp_path / "config", api)
        run("cluster", "--kubeconfig", str(kubeconfig), "--save", str(saved))
    result = run("verify", "--snapshot", str(saved), "-f", "json")
    assert result.returncode == 3


def versions(api: FakeApi) -> int:
    """Count how often it has begun to look."""
    return sum(request.path.startswith("/version") for request in api.requests)


def test_waiting_until_it_holds(tmp_path: Path) -> None:
    with serve(cluster(), dict.fromkeys(NAMES, STANDARD)) as api:

        def switch() -> None:
            for name in NAMES:
                looks = versions(api) + 1
                while versions(api) <= looks:
                    time.sleep(0.05)
                api.pods.story_logs.of_node[name] = StoryLog([*STANDARD.lines, *start(after=700, pid=99)])

        thread = threading.Thread(target=switch)
        thread.start()
        outcome = verify(api, tmp_path, "--wait", "100s", format="table")
        thread.join()
    assert outcome.code == 0, outcome.stdout
    assert outcome.stdout.startswith("VERIFIED: ")
    told = outcome.stderr.splitlines()
    assert told[0] == "ebpfcheck: 3 of 3 nodes are not there yet: verify.node.dataplane (3)"
    assert len(told) == len(set(told))
    assert "looking once more" in told[-1]
    assert outcome.seconds < 90


def test_waiting_has_an_end(tmp_path: Path) -> None:
    with serve(cluster(), {NAMES[0]: STANDARD}) as api:
        outcome = verify(api, tmp_path, "--wait", "4", format="table")
    assert outcome.code == 1
    assert outcome.stdout.startswith("NOT VERIFIED: ")
    assert 4 <= outcome.seconds < 30
    assert outcome.stderr.splitlines() == ["ebpfcheck: 1 of 3 nodes are not there yet: verify.node.dataplane"]


def test_what_is_lacking_is_said_once_however_often_it_looks(tmp_path: Path) -> None:
    forbid = [("list", "hostendpoints.crd.projectcalico.org"), ("list", "crd.projectcalico.org/hostendpoints")]
    with serve(cluster(), {NAMES[0]: STANDARD}, forbid=forbid) as api:
        outcome = verify(api, tmp_path, "--wait", "5")
    assert versions(api) >= 2
    told = outcome.stderr.splitlines()
    assert ["hostendpoints" in line for line in told] == [True, False]


def test_rights_are_not_waited_for(tmp_path: Path) -> None:
    with serve(cluster(), forbid=[("get", "pods/log")]) as api:
        outcome = verify(api, tmp_path, "--wait", "1h")
    assert outcome.code == 3
    assert outcome.seconds < 30


def test_nothing_is_waited_for_that_holds_already(tmp_path: Path) -> None:
    with serve(cluster()) as api:
        outcome = verify(api, tmp_path, "--wait", "1h")
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.seconds < 30


def test_the_api_server_may_go_away_while_it_is_waited(tmp_path: Path) -> None:
    with serve(cluster(), {NAMES[0]: STANDARD}) as api:

        def switch() -> None:
            while versions(api) < 2:
                time.sleep(0.05)
            api.faults.append(Fault("/version", status=401, times=1))
            api.pods.story_logs.of_node[NAMES[0]] = ON

        thread = threading.Thread(target=switch)
        thread.start()
        outcome = verify(api, tmp_path, "--wait", "100s")
        thread.join()
    assert outcome.code == 0
    assert "did not answer this time" in outcome.stderr


def test_an_api_server_that_stays_away_ends_the_wait_too(tmp_path: Path) -> None:
    with serve(cluster(), {NAMES[0]: STANDARD}, faults=[Fault("/version", status=401, times=99, skip=1)]) as api:
        outcome = verify(api, tmp_path, "--wait", "6")
    assert outcome.code == 1
    assert outcome.stderr.count("did not answer this time") == 1
    assert outcome.seconds < 60


def test_ctrl_c_while_it_is_waited_shows_what_was_seen_last(tmp_path: Path) -> None:
    with serve(cluster(), {NAMES[0]: STANDARD}) as api:
        kubeconfig = write_kubeconfig(tmp_path / "config", api)
        process = subprocess.Popen(
            (str(PROGRAM), "verify", "--kubeconfig", str(kubeconfig), "--wait", "10m", "-f", "json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        assert process.stderr is not None
        assert "not there yet" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(out)["exit_code"] == 130
    assert any(one["status"] == "fail" for one in json.loads(out)["findings"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--wait", "0"),
        ("--wait", "soon"),
        ("--wait", "10d"),
        ("--wait", "25h"),
        ("--wait", ""),
        ("--expect", "vpp"),
        ("--only", "node.kernel.version"),
        ("--snapshot", "x", "--wait", "1m"),
        ("--snapshot", "x", "--save", "y"),
        ("--snapshot", "x", "--probe", "exec"),
        ("--snapshot", "no-such-file"),
        ("--image", "x"),
        ("--concurrency", "0"),
    ],
)
def test_bad_usage_is_one_line(arguments: tuple[str, ...]) -> None:
    result = run("verify", *arguments)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_the_rights_that_are_printed_are_enough(tmp_path: Path) -> None:
    printed = list(yaml.safe_load_all(run("rbac", "--verify", "--metrics").stdout))
    rules = list(printed[0]["rules"])
    for role in printed[2::2]:
        rules += [{**rule, "namespace": role["metadata"]["namespace"]} for rule in role["rules"]]
    objects = cluster(felix=felix_configuration(prometheusMetricsEnabled=True))
    with serve(objects, {None: StoryLog(ON.lines, METRICS.format(5, 0))}, rules=rules) as api:
        outcome = verify(api, tmp_path)
    assert (outcome.code, outcome.stderr, outcome.report["problems"]) == (0, "", [])
    assert all(request.verb in ("get", "list") or "selfsubject" in request.path for request in api.requests)


def test_a_pod_without_the_number_of_its_template(tmp_path: Path) -> None:
    made = calico_node(3, updatedNumberScheduled=2)
    del made["metadata"]["annotations"][GENERATION]
    with serve(cluster(daemon_set=made)) as api:
        outcome = verify(api, tmp_path)
    assert of(outcome, "verify.node.pod")["status"] == "unknown"
    assert failing(outcome) == {"verify.calico.rollout": ["cluster"]}
