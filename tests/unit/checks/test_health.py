from typing import Any

import pytest

from ebpfcheck.checks import health
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import CalicoNode, CalicoPods, Deployment, InitExit, Installation, TigeraStatus
from ebpfcheck.model.facts import Absent, Fact, Install, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list pods")
CHECKS = (health.calico_health, health.typha, health.operator)
INSTALLATION = known(Installation())


def node(**more: Any) -> Fact[CalicoNode]:
    given = {"desired": 3, "updated": 3, "available": 3, "image": "calico/node:v3.32.1", **more}
    return known(CalicoNode(namespace="calico-system", name="calico-node", **given))


def pods(*exits: tuple[str, int, int], **more: Any) -> Fact[CalicoPods]:
    ends = tuple(InitExit(container=name, code=code, pods=count) for name, code, count in exits)
    return known(CalicoPods(init_exits=ends, **{"ready": 3, **more}))


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(check: Check, install: Install) -> None:
    for minor in load_knowledge().minors():
        finding = judged_cluster(check, version=str(minor), install=install)
        is_settled = check is health.operator and install in ("manifest", "none")
        assert finding.status is (Status.NOT_APPLICABLE if is_settled else Status.UNKNOWN), (finding.id, minor)


# calico-node.


def judged(**more: Any) -> Finding:
    """Judge calico-node of an operator install that is well, but for what is said."""
    version, install = more.pop("version", "v3.32.1"), more.pop("install", "operator")
    facts = {"calico_node": node(), "calico_pods": pods(), "node_count": known(3), "installation": INSTALLATION, **more}
    return judged_cluster(health.calico_health, version=version, install=install, **facts)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, Status.PASS, "ready on all 3 nodes"),
        ({"calico_pods": FORBIDDEN}, Status.PASS, "ready on all 3 nodes"),
        ({"calico_pods": pods(ready=None)}, Status.PASS, "ready on all 3 nodes"),
        ({"calico_pods": pods(restarted=2)}, Status.PASS, "2 of its pods have been restarted five times or more"),
        ({"calico_node": ABSENT, "installation": ABSENT}, Status.NOT_APPLICABLE, "not installed"),
        ({"calico_node": ABSENT, "installation": FORBIDDEN}, Status.UNKNOWN, "is to install it"),
        ({"calico_node": ABSENT}, Status.WARN, "no DaemonSet of calico-node"),
        ({"calico_node": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"calico_node": node(available=2)}, Status.WARN, "2 of 3 pods of calico-node are available:"),
        ({"calico_node": node(available=2), "calico_pods": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"calico_node": node(available=2), "calico_pods": ABSENT}, Status.WARN, "2 of 3 pods"),
        ({"calico_node": node(available=0)}, Status.FAIL, "None of 3 pods"),
        ({"calico_node": node(available=0), "calico_pods": FORBIDDEN}, Status.FAIL, "None of 3 pods"),
        ({"calico_node": node(available=0, updated=1)}, Status.WARN, "rolled out"),
        ({"calico_node": node(updated=1)}, Status.WARN, "3 pods wanted, 1 updated, 3 available"),
        ({"calico_node": node(updated=1), "calico_pods": FORBIDDEN}, Status.WARN, "rolled out"),
        ({"calico_node": node(updated=1, available=2), "calico_pods": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"calico_node": node(is_observed=False)}, Status.WARN, "rolled out"),
        ({"calico_node": node(desired=0, updated=0, available=0)}, Status.WARN, "no pod on any node"),
        (
            {"calico_node": node(desired=0, updated=0, available=0), "node_count": known(0)},
            Status.NOT_APPLICABLE,
            "no nodes",
        ),
        ({"calico_node": node(desired=0, updated=0, available=0, is_observed=False)}, Status.WARN, "rolled out"),
        (
            {"calico_node": node(desired=0, updated=0, available=0), "node_count": FORBIDDEN},
            Status.UNKNOWN,
            "on no node",
        ),
    ],
)
def test_the_pods_of_calico_node(changes: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(**changes)
    assert finding.status is status
    assert words in finding.message
    assert finding.note is ("restarted" in words)


@pytest.mark.parametrize(
    ("container", "code", "version", "words"),
    [
        ("mount-bpffs", 2, "v3.18.0", None),
        ("mount-bpffs", 2, "v3.19.0", "bpffs could not be mounted at /sys/fs/bpf"),
        ("ebpf-bootstrap", 2, "v3.32.1", "bpffs could not be mounted at /sys/fs/bpf"),
        ("mount-bpffs", 3, "v3.22.3", None),
        ("mount-bpffs", 3, "v3.22.4", "cgroup2 could not be mounted"),
        ("mount-bpffs", 3, "v3.23.1", None),
        ("mount-bpffs", 3, "v3.23.2", "cgroup2 could not be mounted"),
        ("mount-bpffs", 3, "v3.24.0", "cgroup2 could not be mounted"),
        ("ebpf-bootstrap", 3, "v3.32.1", "cgroup2 could not be mounted"),
        ("mount-bpffs", 4, "v3.30.0", None),
        ("ebpf-bootstrap", 4, "v3.31.0", "what bpfNetworkBootstrap needs could not be made"),
        ("mount-bpffs", 3, "mine", "cgroup2 could not be mounted"),
        ("ebpf-bootstrap", 1, "v3.32.1", None),
        ("install-cni", 2, "v3.32.1", None),
        ("\x1b[31m", 3, "v3.32.1", None),
    ],
)
def test_how_init_containers_end(container: str, code: int, version: str, words: str | None) -> None:
    # What runs has ended so, whatever release it is judged for.
    unavailable = node(available=2, image=f"calico/node:{version}")
    finding = judged(calico_node=unavailable, calico_pods=pods((container, code, 1), ready=2), version="v3.16")
    assert "\x1b" not in finding.message
    if words is None:
        assert finding.status is Status.WARN
        assert f"with exit code {code}" in finding.message
        return
    assert finding.status is Status.FAIL
    assert finding.severity is Severity.BLOCKER
    assert (
        f"init container {container} ended with exit code {code} in 1 of the pods, which says that {words}"
        in finding.message
    )
    assert finding.remediation is not None
    assert finding.remediation.commands == (
        f"kubectl -n calico-system logs -l k8s-app=calico-node -c {container} --prefix",
    )


def test_each_exit_code_has_its_own_remedy_and_fingerprint() -> None:
    findings = [judged(calico_pods=pods(("ebpf-bootstrap", code, 2))) for code in (2, 3, 4)]
    texts = [finding.remediation.text for finding in findings if finding.remediation is not None]
    assert ["node.bpffs.mounted" in text for text in texts] == [True, False, False]
    assert ["node.cgroup2" in text for text in texts] == [False, True, False]
    assert ["bpfNetworkBootstrap" in text for text in texts] == [False, False, True]
    assert len({finding.fingerprint for finding in findings}) == 3
    both = judged(calico_pods=pods(("ebpf-bootstrap", 2, 1), ("mount-bpffs", 3, 1)))
    assert both.observed == "ebpf-bootstrap: exit code 2 in 1 pods, mount-bpffs: exit code 3 in 1 pods"
    assert both.fingerprint not in {finding.fingerprint for finding in findings}


@pytest.mark.parametrize(
    ("version", "install", "is_held_up"),
    [("v3.28", "operator", True), ("v3.27", "operator", False), ("v3.28", "manifest", False)],
)
def test_what_one_pod_that_is_not_ready_costs(version: str, install: Install, is_held_up: bool) -> None:
    for changes in ({"calico_node": node(available=2)}, {"calico_pods": pods(("mount-bpffs", 2, 1))}):
        finding = judged(version=version, install=install, **changes)
        assert ("while one pod is not available" in finding.message) is is_held_up


def test_why_pods_are_not_ready_is_shown_in_short() -> None:
    many = tuple((f"Reason{number}", number) for number in range(5))
    exits = [("upgrade-ipam", 1, 1), ("install-cni", 1, 2), ("a", 1, 1), ("b", 1, 1)]
    finding = judged(calico_node=node(available=2), calico_pods=pods(*exits, waiting=many, restarted=1))
    assert "1 x init container upgrade-ipam with exit code 1, 2 x init container install-cni" in finding.message
    assert "0 x Reason0, 1 x Reason1, 2 x Reason2, 1 restarted five times or more)" in finding.message
    assert "container b" not in finding.message
    long = "\x1b[2J" + "x" * 200
    for one in (pods(waiting=((long, 1),)), pods((long, 1, 1))):
        hostile = judged(calico_node=node(available=2), calico_pods=one)
        assert "\x1b" not in hostile.message
        assert "more characters" in hostile.message


def test_names_in_commands_are_quoted() -> None:
    def commands(**more: Any) -> tuple[str, ...]:
        given = {"desired": 3, "updated": 3, "available": 3, **more}
        odd = known(CalicoNode(namespace="a b", name="c;d", image="", **given))
        exits = (("mount-bpffs", 2, 1),) if "available" not in more else ()
        remediation = judged(calico_node=odd, calico_pods=pods(*exits)).remediation
        assert remediation is not None
        return remediation.commands

    see = tuple(f"kubectl -n 'a b' {verb} pods -l k8s-app=calico-node" for verb in ("get", "describe"))
    assert commands(desired=0, updated=0, available=0) == ("kubectl -n 'a b' get daemonset/'c;d' -o yaml",)
    assert commands(available=1) == (f"{see[0]} -o wide", see[1])
    assert commands(updated=1, available=1)[0] == "kubectl -n 'a b' rollout status daemonset/'c;d'"
    assert commands() == ("kubectl -n 'a b' logs -l k8s-app=calico-node -c mount-bpffs --prefix",)


# Typha.

ASKED = (("FELIX_TYPHAK8SSERVICENAME", "calico-typha"),)


def replicas(available: int | None = 2, desired: int | None = 2, namespace: str = "calico-system") -> Fact[Deployment]:
    return known(
        Deployment(namespace=namespace, name="calico-typha", image="", desired=desired, available=available),
    )


def judged_typha(typha: Fact[Any], env: tuple[tuple[str, str | None], ...] = ASKED, **more: Any) -> Finding:
    facts = {"calico_node": node(env=env), "installation": INSTALLATION, **more}
    return judged_cluster(health.typha, install="operator", typha=typha, **facts)


@pytest.mark.parametrize(
    ("typha", "status", "words"),
    [
        (replicas(), Status.PASS, "Typha is available"),
        (replicas(3, 2), Status.PASS, "Typha is available"),
        (replicas(1), Status.WARN, "1 of 2 replicas"),
        (replicas(0), Status.FAIL, "No replica of Typha"),
        (replicas(0, 0), Status.FAIL, "0 of 0 replicas"),
        (replicas(None), Status.UNKNOWN, "has no status"),
        (replicas(1, None), Status.UNKNOWN, "has no status"),
        (ABSENT, Status.WARN, "no Deployment calico-typha"),
        (FORBIDDEN, Status.UNKNOWN, "not allowed"),
    ],
)
def test_typha_that_is_asked(typha: Fact[Any], status: Status, words: str) -> None:
    finding = judged_typha(typha)
    assert finding.status is status
    assert words in finding.message


@pytest.mark.parametrize(
    ("env", "is_asked"),
    [
        ((), False),
        ((("FELIX_TYPHAK8SSERVICENAME", "none"),), False),
        ((("FELIX_TYPHAK8SSERVICENAME", ""),), False),
        ((("FELIX_TYPHAK8SNAMESPACE", "kube-system"),), False),
        ((("FELIX_TYPHAADDR", "10.0.0.1:5473"),), True),
        ((("FELIX_TYPHAADDR", ""), ("FELIX_TYPHAK8SSERVICENAME", "calico-typha")), True),
    ],
)
def test_whether_typha_is_asked(env: tuple[tuple[str, str | None], ...], is_asked: bool) -> None:
    for typha, status in ((replicas(0), Status.FAIL), (ABSENT, Status.WARN), (FORBIDDEN, Status.UNKNOWN)):
        finding = judged_typha(typha, env)
        assert finding.status is (status if is_asked else Status.PASS)
        assert finding.note is False


def test_a_variable_that_could_not_be_followed_may_ask_for_typha() -> None:
    env = (("FELIX_TYPHAK8SSERVICENAME", None),)
    assert judged_typha(replicas(0), env).status is Status.FAIL
    assert judged_typha(replicas(), env).status is Status.PASS
    assert judged_typha(ABSENT, env).status is Status.UNKNOWN


def test_typha_without_calico_node() -> None:
    assert judged_typha(replicas(0), calico_node=ABSENT).status is Status.NOT_APPLICABLE
    assert judged_typha(FORBIDDEN, calico_node=ABSENT).status is Status.NOT_APPLICABLE
    unseen = judged_typha(replicas(0), calico_node=FORBIDDEN)
    assert unseen.status is Status.UNKNOWN
    assert "Whether calico-node asks Typha" in unseen.message


def test_typhas_namespace_is_quoted() -> None:
    remediation = judged_typha(replicas(0, namespace="a;b")).remediation
    assert remediation is not None
    assert remediation.commands[0] == "kubectl -n 'a;b' get pods -l k8s-app=calico-typha -o wide"


# The operator.

UP = known(Deployment(namespace="tigera-operator", name="tigera-operator", image="", desired=1, available=1))
WELL = TigeraStatus(name="calico", available=True, progressing=False, degraded=False)


def degraded(name: str, message: str, reason: str = "ResourceUpdateError") -> TigeraStatus:
    return TigeraStatus(name=name, available=True, degraded=True, reason=reason, message=message)


def judged_operator(*statuses: TigeraStatus, **more: Any) -> Finding:
    install = more.pop("install", "operator")
    facts = {"operator": UP, "tigera_statuses": known(statuses), "installation": INSTALLATION, **more}
    return judged_cluster(health.operator, install=install, **facts)


def down(desired: int | None, available: int | None = 0) -> Fact[Deployment]:
    return known(Deployment(namespace="t o", name="o;p", image="", desired=desired, available=available))


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, Status.PASS, "reports nothing Degraded"),
        ({"install": "unknown"}, Status.PASS, "reports nothing Degraded"),
        ({"installation": ABSENT}, Status.PASS, "reports nothing Degraded"),
        ({"installation": FORBIDDEN}, Status.PASS, "reports nothing Degraded"),
        ({"install": "unknown", "installation": ABSENT}, Status.NOT_APPLICABLE, "No operator"),
        ({"install": "unknown", "installation": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"install": "manifest"}, Status.NOT_APPLICABLE, "No operator"),
        ({"install": "none"}, Status.NOT_APPLICABLE, "No operator"),
        ({"operator": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"operator": down(1, None)}, Status.UNKNOWN, "has no status"),
        ({"operator": down(1)}, Status.FAIL, "0 of 1 replicas"),
        ({"operator": down(0)}, Status.FAIL, "0 of 0 replicas"),
        ({"operator": down(1), "tigera_statuses": FORBIDDEN}, Status.FAIL, "0 of 1 replicas"),
        ({"operator": ABSENT}, Status.WARN, "no Deployment of the operator"),
        ({"tigera_statuses": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"tigera_statuses": ABSENT}, Status.WARN, "no TigeraStatus calico"),
        ({"tigera_statuses": known(())}, Status.WARN, "no TigeraStatus calico"),
        ({"tigera_statuses": known((TigeraStatus(name="apiserver", available=True),))}, Status.WARN, "no TigeraStatus"),
    ],
)
def test_the_operator(changes: dict[str, Any], status: Status, words: str) -> None:
    finding = judged_operator(WELL, **changes)
    assert finding.status is status
    assert words in finding.message


@pytest.mark.parametrize(
    ("installation", "is_seen"), [(ABSENT, False), (FORBIDDEN, False), (known(Installation()), True)]
)
def test_an_installation_is_spoken_of_where_it_was_seen(installation: Fact[Any], is_seen: bool) -> None:
    finding = judged_operator(WELL, operator=ABSENT, installation=installation)
    assert finding.status is Status.WARN
    assert ("There is an Installation" in finding.message) is is_seen


def test_an_operator_that_is_scaled_to_nothing_is_let_run_again() -> None:
    commands = {desired: judged_operator(operator=down(desired)).remediation for desired in (0, 1)}
    assert commands[0] is not None
    assert commands[1] is not None
    assert commands[0].commands == ("kubectl -n 't o' scale deployment 'o;p' --replicas=1",)
    assert commands[1].commands == ("kubectl -n 't o' describe deployment 'o;p'",)
    assert [fix.text for fix in commands.values() if fix] == ["Let it run again.", "See why it does not run."]
    silent = judged_operator(operator=down(1, 1)).remediation
    assert silent is not None
    assert silent.commands == ("kubectl -n 't o' logs deployment/'o;p' --tail=50",)


@pytest.mark.parametrize(
    ("status", "see"),
    [
        (
            degraded(
                "calico",
                'Error updating resource: Unable to set bpfEnabled: FelixConfiguration "default" has been modified by '
                "someone else, refusing to override potential user configuration.",
            ),
            "cluster.felix.ownership",
        ),
        (
            degraded(
                "calico",
                "bpfNetworkBootstrap is Enabled but the requirements are not met: kubernetes service endpoint is",
            ),
            "cluster.api-endpoint.bootstrap",
        ),
        (degraded("kubeproxy-monitor", "failed to retrieve kube-proxy DaemonSet: x"), "cluster.kube-proxy.managed"),
        (degraded("kubeproxy-monitor", "failed to validate kube-proxy DaemonSet: x"), "cluster.kube-proxy.managed"),
        (degraded("calico", "Non-privileged Calico is not supported when BPF"), "cluster.calico.privileges"),
        (degraded("calico", "non-privileged Calico is deprecated"), "cluster.calico.privileges"),
        (
            degraded("calico", "Pod calico-system/calico-node-x1 has crash looping container: x"),
            "cluster.calico.health",
        ),
        (degraded("calico", "Pod calico-system/calico-kube-controllers-x has failed"), "cluster.api-endpoint.usable"),
        (degraded("ippools", "something new"), None),
        (degraded("calico", "", reason=""), None),
    ],
)
def test_what_the_operator_reports_as_degraded(status: TigeraStatus, see: str | None) -> None:
    finding = judged_operator(WELL, status)
    assert finding.status is Status.WARN
    assert ("That means: " in finding.message) is (see is not None)
    assert (see or "") in finding.message
    assert all(f"see {other}" not in finding.message for other in ("cluster.felix.ownership",) if other != see)
    if not status.message:
        assert "calico (without a reason)" in finding.message
    elif see != "cluster.felix.ownership":
        assert f"{status.name} (ResourceUpdateError: {status.message})" in finding.message
    assert finding.remediation is not None
    assert finding.remediation.commands[1:] == (f"kubectl get tigerastatus {status.name} -o yaml",)


def test_what_else_is_degraded_is_a_note() -> None:
    others = [degraded(name, "x") for name in ("apiserver", "goldmane", "whisker", "\x1b[31m")]
    finding = judged_operator(WELL, *others)
    assert finding.status is Status.PASS
    assert finding.note
    assert "apiserver, goldmane, whisker and 1 more." in finding.message
    assert judged_operator(WELL, *others, degraded("calico", "x")).observed == "calico Degraded"
    assert judged_operator(WELL, *others[:3]).message.endswith("apiserver, goldmane, whisker.")
    hostile = judged_operator(WELL, degraded("\x1b[2J" + "x" * 90, "x"))
    assert "\x1b" not in hostile.message
    assert "more characters" in hostile.message


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            TigeraStatus(name="calico", available=True, progressing=True, message="DaemonSet x is rolling out"),
            "rolling",
        ),
        (TigeraStatus(name="ippools", available=False), "ippools (without a reason)"),
        (TigeraStatus(name="calico", available=None, progressing=None, degraded=None), None),
        (TigeraStatus(name="apiserver", available=False, progressing=True), None),
    ],
)
def test_what_the_operator_is_at_work_on_is_a_note(status: TigeraStatus, words: str | None) -> None:
    finding = judged_operator(TigeraStatus(name="ippools", available=True), status)
    assert finding.status is Status.PASS
    assert finding.note is (words is not None)
    assert (words or "nothing Degraded") in finding.message


def test_hostile_words_of_the_operator_are_shown_escaped_and_cut() -> None:
    finding = judged_operator(degraded("calico", "\x1b[2J" + "x" * 900, reason="\x1b]0;"), WELL)
    assert "\x1b" not in finding.message
    assert "more characters" in finding.message


def test_an_operator_that_is_not_seen_does_not_hide_what_it_said() -> None:
    finding = judged_operator(degraded("calico", "x"), operator=ABSENT)
    assert "Degraded" in finding.message
