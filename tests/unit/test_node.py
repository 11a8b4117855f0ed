"""From what a node prints to what is known of it."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import NotReachedError, Survey
from ebpfcheck.model.facts import (
    API_FACTS,
    TRIAL_FACTS,
    Absent,
    Known,
    NodeKind,
    OsRelease,
    Reason,
    SourceKind,
    Unknown,
)
from ebpfcheck.model.snapshot import SourceIndex
from tests.builders import HEALTHY, MOUNTINFO, NONCE, Part, document, facts

# What FelixConfiguration sets is no survey's to tell, and what a trial does not one's without it.
FACTS = tuple(
    name
    for name in NodeKind.__struct_fields__
    if name not in API_FACTS | TRIAL_FACTS or name in ("kernel_release", "arch")
)


def value(fact: object) -> object:
    assert isinstance(fact, Known), fact
    return fact.value


def reason(fact: object) -> Reason:
    assert isinstance(fact, Unknown), fact
    return fact.reason


def test_a_healthy_node_is_read_whole() -> None:
    node = facts()
    kind = node.kind
    assert node.identity.name == "worker-1"
    assert value(kind.kernel_release) == "6.1.0-29-amd64"
    assert value(kind.arch) == "x86_64"
    assert value(kind.os) == OsRelease(id="debian", version="12", name="Debian GNU/Linux 12 (bookworm)")
    assert isinstance(kind.container, Absent)
    assert value(kind.init) == "systemd"
    assert value(kind.systemd_version) == 252
    assert ("CONFIG_NET_CLS_BPF", "m") in value(kind.kernel_config)  # type: ignore[operator]
    assert ("CONFIG_BPF_PRELOAD", "n") in value(kind.kernel_config)  # type: ignore[operator]
    assert value(kind.vmlinux_btf) is True
    assert value(kind.lockdown) == "none"
    assert value(kind.filesystems) == ("bpf", "cgroup", "cgroup2")
    assert value(kind.cgroup_layout) == "unified"
    assert value(kind.cgroup2_mounts) == ("/sys/fs/cgroup",)
    assert isinstance(kind.calico_cgroup, Absent)
    bpffs = value(kind.bpffs)
    assert bpffs.visible.fstype == "bpf"  # type: ignore[attr-defined]
    place = value(kind.run_calico)
    assert (place.state, place.fstype, place.read_only) == ("missing", "tmpfs", False)  # type: ignore[attr-defined]
    assert not [name for name in FACTS if isinstance(getattr(kind, name), Unknown)]


def test_nothing_that_differs_from_node_to_node_is_in_the_kind() -> None:
    other = facts(
        hostname=Part("worker-2\n"),
        mountinfo=Part(
            MOUNTINFO.replace("size=1592372k", "size=99999k")
            + "99 27 0:99 / /var/lib/kubelet/pods/12345678/volumes/x rw - tmpfs tmpfs rw\n"
            + "98 27 0:98 / /run/containers/abc/sys/fs/bpf rw - bpf bpf rw\n"
        ),
        self=Part("Uid:\t0\t0\t0\t0\nNSpid:\t4711\nCapEff:\t0\n"),
    )
    assert other.kind == facts().kind
    assert other.identity != facts().identity


def test_without_root_the_mounts_are_unknown_and_say_what_helps() -> None:
    own = MOUNTINFO.replace("- bpf bpf", "- tmpfs tmpfs")
    node = facts(
        {
            "self": Part("Uid:\t1000\t1000\t1000\t1000\n"),
            "mountinfo": Part(state="forbidden Permission denied"),
            "own-mountinfo": Part(own),
            "jit-harden": Part(state="forbidden Permission denied"),
        }
    ).kind
    for fact in (node.bpffs, node.cgroup_layout, node.calico_cgroup, node.run_calico, node.bpf_jit_harden):
        assert reason(fact) is Reason.FORBIDDEN
        assert "root" in fact.detail  # type: ignore[union-attr]
    assert "mount table tmpfs is mounted" in node.bpffs.detail  # type: ignore[union-attr]
    assert value(node.kernel_release) == "6.1.0-29-amd64"


def test_a_hidden_process_1_is_not_an_absent_mount_table() -> None:
    assert reason(facts(mountinfo=Part(state="absent")).kind.bpffs) is Reason.FORBIDDEN


def content(fact: object) -> object:
    """What a fact says, whatever the index of its source."""
    return fact.value if isinstance(fact, Known) else type(fact)


CONTAINER: dict[str, Part | None] = {
    "pid-namespace": Part("pid:[4026532999]\n"),
    "init": Part("pause\n"),
    "container-marks": Part("/.dockerenv\n"),
}


def test_in_a_container_only_the_kernel_is_the_nodes() -> None:
    kind = facts(CONTAINER).kind
    assert value(kind.container) == "docker"
    for fact in (kind.bpffs, kind.os, kind.bpffs_fstab, kind.run_calico, kind.cgroup_layout, kind.init, kind.selinux):
        assert reason(fact) is Reason.NOT_COLLECTED
    assert value(kind.kernel_release) == "6.1.0-29-amd64"
    assert reason(kind.kernel_config) is Reason.NOT_COLLECTED


def test_a_container_that_is_a_node_is_one() -> None:
    kind = facts({**CONTAINER, "init": Part("systemd\n")}).kind
    assert value(kind.container) == "docker"
    assert isinstance(kind.bpffs, Known)


@pytest.mark.parametrize("init", ["s6-svscan", "runit", "tini", "sh"])
def test_programs_that_also_run_ordinary_containers_make_no_node(init: str) -> None:
    assert isinstance(facts({**CONTAINER, "init": Part(f"{init}\n")}).kind.bpffs, Unknown)


def test_a_pod_is_no_node_whatever_its_process_1_is_called() -> None:
    pod: dict[str, Part | None] = {
        **CONTAINER,
        "init": Part("init\n"),
        "init-cgroup": Part("0::/kubepods.slice/kubepods-pod1.slice/x\n"),
    }
    assert isinstance(facts(pod).kind.bpffs, Unknown)


def test_files_are_the_nodes_only_if_that_can_be_seen() -> None:
    hidden: dict[str, Part | None] = {"mountinfo": Part(state="forbidden Permission denied")}
    assert isinstance(facts(hidden).kind.os, Unknown)
    assert isinstance(facts({"own-first-mount": Part("")}).kind.bpffs_fstab, Unknown)


def test_a_system_that_cannot_be_interpreted_costs_that_fact_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.memfd_create", refuse)
    # Of a text that no other test has: what was interpreted once is kept.
    kind = facts(os_release=Part("ID=unheard-of\n")).kind
    assert reason(kind.os) is Reason.UNPARSABLE
    assert isinstance(kind.bpffs, Known)


def in_calico_node(*declared: str, mountinfo: str = MOUNTINFO) -> NodeKind:
    """What the container of calico-node tells, which shows these paths of the node at the same paths."""
    data = document({**CONTAINER, "mountinfo": Part(mountinfo)})
    survey = Survey(data=data, nonce=NONCE, declared=declared)
    return node_facts(survey, SourceKind.EXEC, SourceIndex())[0].kind


@pytest.mark.parametrize("declared", ["/sys/fs/bpf", "/sys/fs"])
def test_bpffs_that_a_container_shows_is_the_nodes(declared: str) -> None:
    kind = in_calico_node(declared)
    assert isinstance(kind.bpffs, Known)
    assert kind.bpffs.value.visible is not None
    assert kind.bpffs.value.visible.fstype == "bpf"
    assert isinstance(kind.bpf_pins, Known | Absent)
    # All else that hangs on mounts and files is the container's own.
    for fact in (kind.bpffs_elsewhere, kind.cgroup_layout, kind.os, kind.modules, kind.run_calico):
        assert reason(fact) is Reason.NOT_COLLECTED


def test_that_a_container_shows_no_bpffs_says_nothing_of_the_node() -> None:
    without = "".join(line for line in MOUNTINFO.splitlines(True) if "/sys/fs/bpf" not in line)
    for kind in (in_calico_node("/sys/fs/bpf", mountinfo=without), in_calico_node(), in_calico_node("/lib/modules")):
        assert reason(kind.bpffs) is Reason.NOT_COLLECTED
        assert reason(kind.bpf_pins) is Reason.NOT_COLLECTED


def test_that_calico_node_is_a_container_says_nothing_of_the_node() -> None:
    assert reason(in_calico_node().container) is Reason.NOT_COLLECTED


def test_a_network_of_a_containers_own_is_not_the_nodes() -> None:
    own = {"net-namespace": Part("net:[4026599999]\n"), "init-net-namespace": Part("net:[4026599999]\n")}
    kind = facts({**CONTAINER, **own, "host-net": Part(state="absent")}).kind
    assert reason(kind.tcp_listeners) is Reason.NOT_COLLECTED
    assert reason(kind.links) is Reason.NOT_COLLECTED


def test_modules_that_a_container_shows_are_the_nodes() -> None:
    modules = in_calico_node("/lib/modules").modules
    assert isinstance(modules, Known)
    assert "vxlan" in modules.value
    assert reason(in_calico_node("/sys/fs/bpf").modules) is Reason.NOT_COLLECTED


@pytest.mark.parametrize(
    ("marks", "named", "engine"),
    [
        ("/run/.containerenv\n", None, "podman"),
        ("", "lxc\n", "lxc"),
        ("", None, "unnamed"),
    ],
)
def test_the_container_engine_is_named_where_it_shows(marks: str, named: str | None, engine: str) -> None:
    part = Part(named) if named else Part(state="absent")
    kind = facts({**CONTAINER, "container-marks": Part(marks), "container": part}).kind
    assert value(kind.container) == engine


def test_in_another_mount_namespace_the_files_need_not_be_the_nodes() -> None:
    kind = facts({"own-first-mount": Part("822 827 0:21 / /proc rw - proc proc rw\n")}).kind
    assert reason(kind.os) is Reason.NOT_COLLECTED
    assert isinstance(kind.bpffs, Known)


def test_a_sandbox_kernel_is_not_the_nodes() -> None:
    kind = facts(version=Part("Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016\n")).kind
    assert reason(kind.proc_version) is Reason.NOT_COLLECTED
    assert "gVisor" in kind.proc_version.detail  # type: ignore[union-attr]
    assert reason(kind.kernel_release) is Reason.NOT_COLLECTED


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("forbidden Permission denied", Reason.FORBIDDEN),
        ("no-tool cat", Reason.TOOL_MISSING),
        ("failed Input/output error", Reason.NOT_COLLECTED),
    ],
)
@pytest.mark.parametrize(
    "name", [name for name in HEALTHY if name not in ("self", "host-net", "sysfs", "link-drivers")]
)
def test_a_section_that_failed_is_never_taken_for_an_absence(name: str, state: str, expected: Reason) -> None:
    before, after = facts().kind, facts({name: Part(state=state)}).kind
    for field in FACTS:
        fact = getattr(after, field)
        if content(fact) != content(getattr(before, field)):
            assert isinstance(fact, Unknown), (name, field)
            assert fact.reason is expected


def test_an_absent_file_counts_as_absent_only_if_its_place_was_there() -> None:
    absent = Part(state="absent")
    without_btf = Part("CONFIG_BPF=y\n# CONFIG_DEBUG_INFO_BTF is not set\nCONFIG_FRAME_WARN=0\n")
    assert isinstance(facts(btf=absent, config=without_btf).kind.vmlinux_btf, Absent)
    assert isinstance(facts(btf=absent, config=without_btf, sysfs=absent).kind.vmlinux_btf, Unknown)
    assert isinstance(facts(btf=absent, config=absent).kind.vmlinux_btf, Absent)
    # Hidden by a mount, or made empty by one: the kernel says that it has it.
    assert isinstance(facts(btf=absent).kind.vmlinux_btf, Unknown)
    assert isinstance(facts(btf=Part("")).kind.vmlinux_btf, Unknown)
    assert isinstance(facts(jit_enable=absent).kind.bpf_jit_enable, Absent)
    assert isinstance(facts(jit_enable=absent, host_net=absent).kind.bpf_jit_enable, Unknown)
    assert isinstance(facts(lockdown=absent).kind.lockdown, Absent)
    unmounted = facts(lockdown=absent, lsm=absent).kind
    assert isinstance(unmounted.lockdown, Unknown)
    assert isinstance(unmounted.lsm, Unknown)
    config = Part("CONFIG_BPF=y\n# CONFIG_STRIP_ASM_SYMS is not set\n")
    assert isinstance(facts(lockdown=absent, lsm=absent, config=config).kind.lockdown, Absent)
    assert reason(facts(config=absent).kind.kernel_config) is Reason.NOT_COLLECTED


@pytest.mark.parametrize(
    ("name", "data", "field"),
    [
        ("jit-enable", "many\n", "bpf_jit_enable"),
        ("jit-enable", "", "bpf_jit_enable"),
        ("lockdown", "none\n", "lockdown"),
        ("filesystems", "", "filesystems"),
        ("mountinfo", "", "bpffs"),
        ("mountinfo", MOUNTINFO + "garbage\n", "bpffs"),
        ("os-release", "", "os"),
        ("os-release", 'ID="unclosed', "os"),
        ("config", "nothing of the kind\n", "kernel_config"),
        ("config-gz", "not gzip", "kernel_config"),
        ("version", "x" * 5000, "proc_version"),
        ("version", "", "proc_version"),
        ("version", "masked\n", "proc_version"),
        ("config", "CONFIG_BPF=y\nCONFIG_BPF_SYS", "kernel_config"),
    ],
)
def test_what_cannot_be_read_is_unparsable(name: str, data: str, field: str) -> None:
    assert reason(getattr(facts({name: Part(data)}).kind, field)) is Reason.UNPARSABLE


def test_a_zipped_configuration_is_read_if_it_is_whole() -> None:
    whole = gzip.compress(
        b"# Linux/x86 6.1\nCONFIG_BPF_SYSCALL=y\n# CONFIG_CGROUP_BPF is not set\nCONFIG_FRAME_WARN=0\n"
    )
    expected = (("CONFIG_BPF_SYSCALL", "y"), ("CONFIG_CGROUP_BPF", "n"))
    assert value(facts({"config-gz": Part(whole)}).kind.kernel_config) == expected
    assert reason(facts({"config-gz": Part(whole[:-6])}).kind.kernel_config) is Reason.UNPARSABLE
    bomb = zlib.compress(b"x" * 50_000_000, wbits=31)
    assert reason(facts({"config-gz": Part(bomb)}).kind.kernel_config) is Reason.UNPARSABLE


@pytest.mark.parametrize(
    ("mounts", "layout"),
    [
        ("", "none"),
        (
            "28 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n50 28 0:9 / /sys/fs/cgroup/cpu rw - cgroup c rw\n",
            "legacy",
        ),
        (
            "28 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n50 28 0:9 / /sys/fs/cgroup/cpu rw - cgroup c rw\n"
            "51 28 0:8 / /sys/fs/cgroup/unified rw - cgroup2 c rw\n",
            "hybrid",
        ),
    ],
)
def test_the_layout_of_cgroups(mounts: str, layout: str) -> None:
    rest = "".join(line + "\n" for line in MOUNTINFO.splitlines() if "cgroup2" not in line)
    assert value(facts(mountinfo=Part(rest + mounts)).kind.cgroup_layout) == layout


def test_what_mounts_bpffs_at_boot_is_found() -> None:
    kind = facts(
        fstab=Part("# bpf /sys/fs/bpf bpf rw 0 0\nnone\t/sys/fs/bpf/ bpf\tdefaults 0 0\nbpf /sys/fs/bpf bpf\n"),
        bpffs_units=Part("/etc/systemd/system/local-fs.target.wants/sys-fs-bpf.mount\n"),
    ).kind
    assert value(kind.bpffs_fstab) == ("none /sys/fs/bpf/ bpf defaults 0 0", "bpf /sys/fs/bpf bpf")
    assert value(kind.bpffs_unit) == "/etc/systemd/system/local-fs.target.wants/sys-fs-bpf.mount"
    assert isinstance(facts(fstab=Part("# bpf /sys/fs/bpf bpf rw 0 0\n")).kind.bpffs_fstab, Absent)


def test_invalid_bytes_are_kept_as_escapes() -> None:
    assert value(facts(version=Part(b"Linux version 6.1.0\xff\x00 (x)\n")).kind.proc_version) == (
        "Linux version 6.1.0\\xff\x00 (x)"
    )


def test_a_cut_survey_is_unknown_from_the_cut_on_and_says_so() -> None:
    whole = document()
    cut = whole[: whole.index(b"begin filesystems")]
    for given_reason, expected in ((None, Reason.TRUNCATED), (Reason.TIMEOUT, Reason.TIMEOUT)):
        survey = Survey(data=cut, nonce=NONCE, cut=given_reason, detail="it took too long" if given_reason else "")
        node, problems = node_facts(survey, SourceKind.LOCAL, SourceIndex())
        assert [problem.reason for problem in problems] == [expected]
        assert reason(node.kind.filesystems) is expected
        assert reason(node.kind.bpffs) is expected
        assert value(node.kind.arch) == "x86_64"


@pytest.mark.parametrize("data", [b"", b"sh: not found\n", document(nonce="e" * 16), b"\x00" * 1000])
def test_nothing_readable_is_an_error_of_its_own(data: bytes) -> None:
    with pytest.raises(NotReachedError, match="nothing that can be read"):
        node_facts(Survey(data=data, nonce=NONCE), SourceKind.LOCAL, SourceIndex())


def test_every_known_fact_names_its_source() -> None:
    sources = SourceIndex()
    node, _ = node_facts(Survey(data=document(), nonce=NONCE), SourceKind.LOCAL, sources)
    listed = sources.listed()
    for field in FACTS:
        fact = getattr(node.kind, field)
        assert listed[fact.source].locator, field
    assert listed[node.kind.bpffs.source].locator == "/proc/1/mountinfo"  # type: ignore[index]


CONTENT = st.binary(max_size=200)


@given(
    st.sampled_from(sorted(HEALTHY)), CONTENT, st.sampled_from(["ok", "absent", "forbidden", "failed", "no-tool", ""])
)
def test_any_content_of_any_section_gives_facts(name: str, data: bytes, state: str) -> None:
    node = facts({name: Part(data, state=state)})
    assert all(isinstance(getattr(node.kind, field), Known | Absent | Unknown) for field in FACTS)


@given(st.integers(min_value=0, max_value=len(document())))
def test_wherever_a_survey_is_cut_facts_only_become_unknown(length: int) -> None:
    whole = facts().kind
    try:
        node, problems = node_facts(Survey(data=document()[:length], nonce=NONCE), SourceKind.LOCAL, SourceIndex())
    except NotReachedError:
        return
    for field in FACTS:
        now, then = getattr(node.kind, field), getattr(whole, field)
        if isinstance(now, Known):
            assert isinstance(then, Known), field
            assert now.value == then.value, field
        elif isinstance(now, Absent):
            assert isinstance(then, Absent), field
    assert problems or length >= len(document()) - 1
