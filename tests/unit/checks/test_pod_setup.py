from typing import Any

import pytest

from ebpfcheck.checks import pod_setup
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import CalicoNode, CalicoPods, Installation, Marks
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list daemonsets")
CHECKS = (pod_setup.bpf_mounts, pod_setup.privileges, pod_setup.nested)


def node(**more: Any) -> Fact[CalicoNode]:
    given = {"namespace": "kube-system", "name": "calico-node", "image": "", **more}
    return known(CalicoNode(**given))


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(check: Check, install: Install) -> None:
    for minor in load_knowledge().minors():
        for nodes in ((), (kind(),)):
            assert judged_cluster(check, *nodes, version=str(minor), install=install).status is Status.UNKNOWN


# Mounts.

STOCK = ("/lib/modules", "/var/run/calico", "/run/xtables.lock", "/sys/fs/", "/sys/fs/bpf", "/proc")
OLD = ("/lib/modules", "/var/run/calico", "/run/xtables.lock", "/sys/fs/")


def mounted(
    paths: tuple[str, ...] | None, *inits: str, version: str = "v3.32.1", install: Install = "manifest", **more: Any
) -> Finding:
    one = node(host_paths=paths, init_containers=("install-cni", *inits), **more)
    return judged_cluster(pod_setup.bpf_mounts, version=version, install=install, calico_node=one)


@pytest.mark.parametrize(
    ("paths", "inits", "version", "status", "words"),
    [
        (STOCK, ("ebpf-bootstrap",), "v3.32.1", Status.PASS, "has the mounts"),
        (STOCK, ("mount-bpffs",), "v3.32.1", Status.PASS, "has the mounts"),
        (STOCK, ("ebpf-bootstrap",), "v3.24", Status.PASS, "has the mounts"),
        (STOCK, (), "v3.32.1", Status.WARN, "without init container mount-bpffs or ebpf-bootstrap, nobody mounts"),
        (OLD, ("mount-bpffs",), "v3.32.1", Status.WARN, "without mount of /proc, the init container cannot"),
        (OLD, ("mount-bpffs",), "v3.23.4", Status.WARN, "without mount of /proc, the init container cannot"),
        (OLD, ("mount-bpffs",), "v3.23.3", Status.PASS, "has the mounts"),
        (OLD, ("mount-bpffs",), "v3.22.5", Status.WARN, "without mount of /proc, the init container cannot"),
        (OLD, ("mount-bpffs",), "v3.22.4", Status.PASS, "has the mounts"),
        (("/sys/fs",), (), "v3.13", Status.WARN, "without mount of /var/run/calico, cgroup2"),
        (OLD, (), "v3.24", Status.WARN, "init container mount-bpffs"),
        (OLD, (), "v3.23.4", Status.WARN, "init container mount-bpffs"),
        (OLD, (), "v3.23.3", Status.PASS, "has the mounts"),
        (OLD, (), "v3.23", Status.UNKNOWN, "has no init container mount-bpffs or ebpf-bootstrap, no mount of /proc"),
        (OLD, (), "v3.22.5", Status.WARN, "init container mount-bpffs"),
        (OLD, (), "v3.22.4", Status.PASS, "has the mounts"),
        (OLD, (), "v3.22", Status.UNKNOWN, "Some patches of Calico v3.22"),
        (OLD, (), "v3.16", Status.PASS, "has the mounts"),
        (STOCK, (), "v3.16", Status.PASS, "has the mounts"),
        (("/var/run/calico",), (), "v3.22", Status.WARN, "without mount of /sys/fs/bpf, what Felix keeps in bpffs"),
        (("/sys/fs/bpf",), (), "v3.16", Status.WARN, "without mount of /var/run/calico, cgroup2"),
        (("/var/run/calico",), (), "v3.13", Status.WARN, "without mount of /sys/fs/bpf, what Felix keeps in bpffs"),
        ((), (), "v3.16", Status.WARN, "/sys/fs/bpf"),
        (None, ("ebpf-bootstrap",), "v3.32.1", Status.UNKNOWN, "was not looked for"),
    ],
)
def test_mounts_at_each_release(
    paths: tuple[str, ...] | None, inits: tuple[str, ...], version: str, status: Status, words: str
) -> None:
    finding = mounted(paths, *inits, version=version)
    assert finding.status is status
    assert words in finding.message
    assert finding.note is False


@pytest.mark.parametrize("path", ["/sys/fs/bpf", "/sys/fs/bpf/", "/sys/fs", "/sys/", "/"])
def test_a_parent_is_as_good_as_the_path(path: str) -> None:
    assert mounted((path, "/var/run/calico"), version="v3.16").status is Status.PASS


@pytest.mark.parametrize("path", ["/run/calico", "/run/calico/", "/var/run/calico", "/run", "/var/run/", "/var/run"])
def test_var_run_is_run(path: str) -> None:
    assert mounted((path, "/sys/fs"), version="v3.16").status is Status.PASS


@pytest.mark.parametrize("path", ["/var/runner/calico", "/var/run/calico/x", "/run/cali", "/sys/fs/bpf", "run/calico"])
def test_what_only_begins_alike_is_not_the_path(path: str) -> None:
    assert mounted((path, "/sys/fs"), version="v3.16").status is Status.WARN


def test_all_that_is_lacking_is_named_and_the_command_is_quoted() -> None:
    finding = mounted((), namespace="a b", name="c;d")
    for what in ("init container", "mount of /sys/fs/bpf", "mount of /var/run/calico", "mount of /proc"):
        assert f"no {what}" in finding.observed
        assert f"without {what}" in finding.message
    assert finding.remediation is not None
    assert finding.remediation.commands == ("kubectl -n 'a b' get daemonset 'c;d' -o yaml",)
    assert finding.remediation.disruptive


def test_both_init_containers_are_a_note() -> None:
    for install in ("manifest", "operator"):
        finding = mounted(STOCK, "mount-bpffs", "ebpf-bootstrap", install=install)
        assert finding.status is Status.PASS
        assert finding.note
        assert "mount-bpffs and ebpf-bootstrap" in finding.message


@pytest.mark.parametrize(
    ("version", "status"),
    [("v3.18", Status.WARN), ("v3.13", Status.WARN), ("v3.19", Status.PASS), ("v3.32.1", Status.PASS)],
)
def test_the_operator_brings_mounts_itself(version: str, status: Status) -> None:
    owned = Marks(owners=("Installation",))
    for finding in (
        mounted((), version=version, install="operator"),
        mounted(None, version=version, install="operator"),
        mounted((), version=version, install="unknown", marks=owned),
    ):
        assert finding.status is status
        assert "The operator of Calico" in finding.message


def test_an_install_that_is_not_known_decides_only_where_something_is_lacking() -> None:
    assert mounted((), install="unknown").status is Status.UNKNOWN
    assert mounted((), install="unknown", marks=Marks(owners=("AddOn",))).status is Status.UNKNOWN
    assert mounted(STOCK, "ebpf-bootstrap", install="unknown").status is Status.PASS


def test_mounts_without_calico_node() -> None:
    finding = judged_cluster(pod_setup.bpf_mounts, install="manifest", calico_node=ABSENT)
    assert finding.status is Status.NOT_APPLICABLE
    assert pod_setup.bpf_mounts.severity(load_knowledge().at(load_knowledge().newest)) is Severity.DEGRADE


# Privileges.


def privileged(calico_node: Fact[Any], non_privileged: str | None = None, **more: Any) -> Finding:
    install = more.pop("install", "operator")
    facts = {"installation": known(Installation(non_privileged=non_privileged)), **more}
    return judged_cluster(pod_setup.privileges, install=install, calico_node=calico_node, **facts)


@pytest.mark.parametrize(
    ("calico_node", "non_privileged", "status", "words"),
    [
        (node(is_privileged=True), None, Status.PASS, "is privileged"),
        (node(is_privileged=True), "Disabled", Status.PASS, "is privileged"),
        (node(is_privileged=True), "Enabled", Status.FAIL, "nonPrivileged: Enabled"),
        (node(is_privileged=False), "Enabled", Status.FAIL, "nonPrivileged: Enabled"),
        (FORBIDDEN, "Enabled", Status.FAIL, "nonPrivileged: Enabled"),
        (ABSENT, "Enabled", Status.FAIL, "nonPrivileged: Enabled"),
        (node(is_privileged=False), "Disabled", Status.FAIL, "The container calico-node is not privileged"),
        (node(is_privileged=None), "Disabled", Status.UNKNOWN, "was not looked for"),
        (FORBIDDEN, "Disabled", Status.UNKNOWN, "not allowed"),
        (ABSENT, "Disabled", Status.NOT_APPLICABLE, "no DaemonSet"),
        (node(is_privileged=True), "\x1b[31m", Status.PASS, "is privileged"),
    ],
)
def test_privileges(calico_node: Fact[Any], non_privileged: str | None, status: Status, words: str) -> None:
    finding = privileged(calico_node, non_privileged)
    assert finding.status is status
    assert words in finding.message
    assert finding.severity is Severity.BLOCKER


@pytest.mark.parametrize(
    ("calico_node", "install", "installation", "status"),
    [
        (node(is_privileged=True), "manifest", ABSENT, Status.PASS),
        (node(is_privileged=True), "manifest", FORBIDDEN, Status.PASS),
        (node(is_privileged=True), "operator", FORBIDDEN, Status.UNKNOWN),
        (node(is_privileged=True), "unknown", FORBIDDEN, Status.UNKNOWN),
        (ABSENT, "unknown", FORBIDDEN, Status.UNKNOWN),
        (node(is_privileged=False), "operator", FORBIDDEN, Status.FAIL),
        (node(is_privileged=False), "manifest", ABSENT, Status.FAIL),
    ],
)
def test_privileges_without_an_installation(
    calico_node: Fact[Any], install: Install, installation: Fact[Any], status: Status
) -> None:
    assert privileged(calico_node, install=install, installation=installation).status is status


def test_how_calico_node_becomes_privileged() -> None:
    odd = node(is_privileged=False, namespace="a b", name="c;d")
    commands = {}
    for install in ("operator", "manifest"):
        remediation = privileged(odd, install=install).remediation
        assert remediation is not None
        commands[install] = remediation.commands
        assert remediation.disruptive is (install == "manifest")
    assert commands["operator"][0] == "kubectl -n 'a b' get daemonset 'c;d' -o yaml --show-managed-fields"
    assert commands["manifest"] == (
        "kubectl -n 'a b' patch daemonset 'c;d' -p '"
        '{"spec": {"template": {"spec": {"containers": [{"name": "calico-node", "securityContext": '
        '{"privileged": true}}]}}}}'
        "'",
    )
    asked = privileged(odd, "Enabled").remediation
    assert asked is not None
    assert asked.disruptive
    assert asked.commands == (
        """kubectl patch installation default --type merge -p '{"spec": {"nonPrivileged": "Disabled"}}'""",
    )


# Nodes that are containers.

READY = node(init_containers=("ebpf-bootstrap",), desired=2, updated=2, available=2)


def machine(**more: Fact[Any]) -> NodeKind:
    return kind(**{"provider": ABSENT, "os_image": known("Ubuntu 22.04.4 LTS"), **more})


def pods(ready: int | None = 2, *waiting: tuple[str, int]) -> Fact[CalicoPods]:
    return known(CalicoPods(ready=ready, waiting=waiting))


KIND, K3D = machine(provider=known("kind")), machine(os_image=known("K3s v1.31.5+k3s1"))
LXC = machine(container=known("lxc"))


@pytest.mark.parametrize(
    ("nodes", "status", "words"),
    [
        ((machine(),), Status.NOT_APPLICABLE, "Nothing shows"),
        ((machine(provider=known("aws")), machine(os_image=known("k3s"))), Status.NOT_APPLICABLE, "Nothing shows"),
        ((machine(container=ABSENT),), Status.NOT_APPLICABLE, "Nothing shows"),
        ((machine(provider=FORBIDDEN),), Status.UNKNOWN, "not allowed"),
        ((machine(), machine(os_image=FORBIDDEN)), Status.UNKNOWN, "not allowed"),
        ((), Status.UNKNOWN, "no nodes"),
        ((KIND,), Status.PASS, "(kind)"),
        ((KIND, machine(provider=FORBIDDEN)), Status.PASS, "(kind)"),
        ((K3D,), Status.WARN, "k3d"),
        ((KIND, K3D), Status.WARN, "kind and k3s in containers"),
        ((LXC,), Status.WARN, "(lxc)"),
        ((machine(provider=known("kind"), container=known("docker")),), Status.PASS, "(kind)"),
    ],
)
def test_nodes_that_are_containers(nodes: tuple[NodeKind, ...], status: Status, words: str) -> None:
    finding = judged_cluster(pod_setup.nested, *nodes, calico_node=ABSENT, calico_pods=ABSENT)
    assert finding.status is status
    assert words in finding.message
    assert finding.note is (status is Status.PASS)


@pytest.mark.parametrize(
    ("calico_node", "calico_pods", "status"),
    [
        (READY, pods(), Status.PASS),
        (node(init_containers=("mount-bpffs",), desired=2, updated=2), pods(), Status.PASS),
        (node(init_containers=("install-cni",), desired=2, updated=2), pods(), Status.WARN),
        (node(init_containers=("ebpf-bootstrap",), desired=2, updated=1), pods(), Status.WARN),
        (node(init_containers=("ebpf-bootstrap",), desired=2, updated=2, is_observed=False), pods(), Status.WARN),
        (node(init_containers=("ebpf-bootstrap",)), pods(0), Status.WARN),
        (READY, pods(1), Status.WARN),
        (READY, pods(None), Status.WARN),
        (READY, ABSENT, Status.WARN),
        (ABSENT, pods(), Status.WARN),
        (READY, FORBIDDEN, Status.UNKNOWN),
        (FORBIDDEN, pods(), Status.UNKNOWN),
    ],
)
def test_an_init_container_that_has_run_shows_that_sys_is_shared(
    calico_node: Fact[Any], calico_pods: Fact[Any], status: Status
) -> None:
    finding = judged_cluster(pod_setup.nested, K3D, calico_node=calico_node, calico_pods=calico_pods)
    assert finding.status is status
    assert finding.note is False
    assert ("has run on all" in finding.message) is (status is Status.PASS)


@pytest.mark.parametrize("nodes", [(KIND,), (K3D,), (LXC,)])
def test_containers_that_could_not_be_made(nodes: tuple[NodeKind, ...]) -> None:
    for reason in ("CreateContainerError", "RunContainerError"):
        waiting = (("CrashLoopBackOff", 3), (reason, 2))
        finding = judged_cluster(pod_setup.nested, *nodes, calico_node=READY, calico_pods=pods(2, *waiting))
        assert finding.status is Status.WARN
        assert f"(2 x {reason})" in finding.message
        assert finding.remediation is not None
        assert finding.remediation.commands == ("mount --make-rshared /sys",)
        assert ("K3D_FIX_MOUNTS" in finding.remediation.text) is (nodes == (K3D,))
    crashing = judged_cluster(pod_setup.nested, *nodes, calico_node=READY, calico_pods=pods(2, ("CrashLoopBackOff", 1)))
    assert crashing.status is Status.PASS
    elsewhere = judged_cluster(pod_setup.nested, machine(), calico_pods=pods(0, ("CreateContainerError", 1)))
    assert elsewhere.status is Status.NOT_APPLICABLE


def test_an_engine_of_a_hostile_name_is_shown_escaped() -> None:
    finding = judged_cluster(pod_setup.nested, machine(container=known("\x1b[31m" + "x" * 90)), calico_pods=ABSENT)
    assert "\x1b" not in finding.message
    assert "more characters" in finding.message


@pytest.mark.parametrize(
    ("on", "dataplane", "paths", "status"),
    [
        (True, "Iptables", OLD, Status.WARN),
        (True, None, OLD, Status.WARN),
        (True, "BPF", OLD, Status.PASS),
        (False, "Iptables", OLD, Status.PASS),
        (True, "Iptables", (*STOCK, "/var/run/calico"), Status.PASS),
        (True, "Iptables", None, Status.PASS),
    ],
)
def test_ebpf_mode_past_the_operator_has_no_mounts_of_its(
    on: bool, dataplane: str | None, paths: tuple[str, ...] | None, status: Status
) -> None:
    one = node(host_paths=paths, init_containers=("mount-bpffs",) if paths and len(paths) > len(OLD) else ())
    finding = judged_cluster(
        pod_setup.bpf_mounts, kind(felix=known(FelixSettings(bpf_enabled=on))), version="v3.28.2", install="operator",
        calico_node=one, installation=known(Installation(linux_dataplane=dataplane)),
    )  # fmt: skip
    assert finding.status is status
    assert ("past the operator" in finding.message) is (status is Status.WARN)
