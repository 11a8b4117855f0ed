"""What the kernel's own answers mean for a release of Calico."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ebpfcheck.app import Judge
from ebpfcheck.checks import kernel, known_kernels, trial
from ebpfcheck.errors import UsageError
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.check import Check
from ebpfcheck.model.facts import (
    NOT_SURVEYED,
    FelixSettings,
    Mount,
    MountStack,
    NodeKind,
    Reason,
    Unknown,
)
from ebpfcheck.model.report import Finding, Status
from ebpfcheck.settings import Settings
from tests.builders import HEALTHY, Part, judged, kind, known, release, snapshot, trial_part, trial_said, tried
from tests.unit.test_trial_facts import BPFTOOL, by_bpftool

CHECKS = (
    trial.bpf_maps, trial.bpf_programs, trial.bpf_helpers, trial.bpf_features, trial.bpf_attach, trial.flow_based_vxlan,
    trial.cgroup2_attach,
)  # fmt: skip
NO = {"answer": "no", "errno": "EINVAL", "words": "the kernel does not know it"}
EPERM = {"answer": "untold", "errno": "EPERM", "words": "Operation not permitted", "needs": ["BPF"]}
NO_MEMORY = {"answer": "untold", "errno": "ENOMEM", "words": "Cannot allocate memory"}


def told(changes: dict[str, Any], **fields: Any) -> NodeKind:
    return tried(trial_part(changes, **fields))


def lacks(*names: str) -> NodeKind:
    return told(dict.fromkeys(names, NO))


def felix(kind: NodeKind, **settings: Any) -> NodeKind:
    return msgspec.structs.replace(kind, felix=known(FelixSettings(**settings)))


FIRST = {"node.vxlan.flow-based": "<3.31", "node.bpf.features": "<3.30"}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.id))
@pytest.mark.parametrize("version", [str(minor) for minor in load_knowledge().minors()])
def test_a_kernel_that_has_everything_passes_at_every_release(check: Check, version: str) -> None:
    finding = judged(check, told({"attach:netkit": {"answer": "yes"}}), version)
    if version in ("v3.13", "v3.14", "v3.15") and check.id.startswith("node.bpf."):
        assert finding.status is Status.UNKNOWN
        assert finding.severity.value == "note"
    elif release(version).version.within(FIRST.get(check.id, "<3.13")):
        assert finding.status is Status.NOT_APPLICABLE
    else:
        assert finding.status is Status.PASS
        assert not finding.note


TC = "sched_cls/"


@pytest.mark.parametrize(
    ("check", "name", "version", "status"),
    [
        (trial.bpf_maps, "map:hash", "v3.16", Status.FAIL),
        (trial.bpf_maps, "map:hash/no_prealloc", "v3.32.1", Status.FAIL),
        (trial.bpf_maps, "map:lpm_trie", "v3.29.7", Status.FAIL),
        (trial.bpf_maps, "map:sockhash", "v3.32.1", Status.PASS),
        (trial.bpf_maps, "map:percpu_hash", "v3.24", Status.PASS),
        (trial.bpf_maps, "map:percpu_hash", "v3.25", Status.FAIL),
        (trial.bpf_maps, "map:perf_event_array", "v3.29", Status.PASS),
        (trial.bpf_maps, "map:perf_event_array", "v3.30", Status.FAIL),
        (trial.bpf_maps, "map:perf_event_array", "v3.32", Status.FAIL),
        (trial.bpf_maps, "map:perf_event_array", "v3.33", Status.PASS),
        (trial.bpf_maps, "map:ringbuf", "v3.32", Status.PASS),
        (trial.bpf_maps, "map:ringbuf", "v3.33", Status.FAIL),
        (trial.bpf_programs, "program:sched_cls", "v3.16", Status.FAIL),
        (trial.bpf_programs, "program:cgroup_sock_addr/recvmsg6", "v3.32", Status.FAIL),
        (trial.bpf_programs, "program:xdp", "v3.20", Status.PASS),
        (trial.bpf_programs, "program:xdp", "v3.21", Status.WARN),
        (trial.bpf_helpers, f"helper:{TC}fib_lookup", "v3.16", Status.FAIL),
        (trial.bpf_helpers, f"helper:{TC}skb_load_bytes", "v3.26", Status.PASS),
        (trial.bpf_helpers, f"helper:{TC}skb_load_bytes", "v3.27", Status.FAIL),
        (trial.bpf_helpers, f"helper:{TC}perf_event_output", "v3.29", Status.PASS),
        (trial.bpf_helpers, f"helper:{TC}perf_event_output", "v3.30", Status.FAIL),
        (trial.bpf_helpers, f"helper:{TC}perf_event_output", "v3.33", Status.PASS),
        (trial.bpf_helpers, f"helper:{TC}spin_lock", "v3.30", Status.PASS),
        (trial.bpf_helpers, f"helper:{TC}spin_lock", "v3.31", Status.FAIL),
        (trial.bpf_helpers, f"helper:{TC}skb_change_head", "v3.31", Status.PASS),
        (trial.bpf_helpers, f"helper:{TC}skb_change_head", "v3.32", Status.FAIL),
        (trial.bpf_helpers, f"helper:{TC}ringbuf_output", "v3.32", Status.PASS),
        (trial.bpf_helpers, f"helper:{TC}ringbuf_output", "v3.33", Status.FAIL),
        (trial.bpf_helpers, f"helper:{TC}timer_init", "v3.32", Status.PASS),
        (trial.bpf_helpers, f"helper:{TC}timer_init", "v3.33", Status.FAIL),
        (trial.bpf_helpers, "helper:cgroup_sock_addr/get_socket_cookie", "v3.16", Status.FAIL),
        (trial.bpf_helpers, "helper:xdp/xdp_adjust_meta", "v3.32", Status.WARN),
        (trial.bpf_features, "feature:callbacks", "v3.29", Status.NOT_APPLICABLE),
        (trial.bpf_features, "feature:callbacks", "v3.30", Status.PASS),
        (trial.bpf_features, "feature:callbacks", "v3.31", Status.WARN),
        (trial.bpf_features, "feature:callbacks", "v3.32.1", Status.WARN),
        (trial.bpf_features, "feature:callbacks", "v3.33", Status.FAIL),
        (trial.bpf_features, "feature:bpf_loop", "v3.30", Status.PASS),
        (trial.bpf_features, "feature:bpf_loop", "v3.31", Status.WARN),
        (trial.bpf_features, "feature:bpf_loop", "v3.33", Status.WARN),
        (trial.bpf_features, "feature:spin_lock", "v3.31", Status.FAIL),
        (trial.bpf_features, "feature:timer", "v3.32", Status.PASS),
        (trial.bpf_features, "feature:timer", "v3.33", Status.FAIL),
        (trial.bpf_features, "feature:atomic_fetch", "v3.32", Status.PASS),
        (trial.bpf_features, "feature:atomic_fetch", "v3.33", Status.FAIL),
        (trial.bpf_features, "feature:atomic_or_32", "v3.33", Status.FAIL),
        (trial.bpf_features, "feature:jmp32", "v3.33", Status.FAIL),
        (trial.bpf_attach, "attach:clsact/veth", "v3.30", Status.FAIL),
        (trial.bpf_attach, "attach:clsact/veth", "v3.31", Status.WARN),
        (trial.bpf_attach, "attach:cgroup/connect4", "v3.16", Status.PASS),
        (trial.bpf_attach, "attach:xdp/veth", "v3.24", Status.WARN),
        (trial.bpf_attach, "attach:xdp/veth", "v3.25", Status.PASS),
        (trial.bpf_attach, "attach:xdp-replace/veth", "v3.24", Status.PASS),
        (trial.bpf_attach, "attach:xdp-replace/veth", "v3.25", Status.WARN),
        (trial.bpf_attach, "attach:xdp-replace/veth", "v3.32", Status.WARN),
        (trial.flow_based_vxlan, "device:vxlan-external", "v3.30", Status.NOT_APPLICABLE),
        (trial.flow_based_vxlan, "device:vxlan-external", "v3.31", Status.WARN),
    ],
)
def test_what_the_kernel_lacks(check: Check, name: str, version: str, status: Status) -> None:
    finding = judged(check, lacks(name), version)
    assert finding.status is status, finding.message
    if status in (Status.FAIL, Status.WARN):
        thing = name.partition(":")[2]
        assert thing in finding.observed
        assert "EINVAL" in finding.observed
        assert finding.remediation is not None
        assert f"Calico {version}" in finding.message
    if status is Status.FAIL:
        assert thing in finding.required
        assert "Felix tests the kernel's version alone" in finding.message


@pytest.mark.parametrize(
    ("check", "name", "version", "words"),
    [
        (trial.bpf_helpers, f"helper:{TC}redirect_neigh", "v3.23", "go through the host's stack"),
        (trial.bpf_helpers, f"helper:{TC}redirect_peer", "v3.29", "the queue of their veth"),
        (trial.bpf_helpers, f"helper:{TC}loop", "v3.31", "fragmented"),
        (trial.bpf_helpers, f"helper:{TC}for_each_map_elem", "v3.30", "from user space"),
        (trial.bpf_helpers, "helper:xdp/xdp_load_bytes", "v3.27", "headers"),
        (trial.bpf_features, "feature:test_run/sched_cls", "v3.32", "from user space"),
        (trial.bpf_attach, "attach:tcx/veth", "v3.31", "Felix attaches by tc"),
        (trial.bpf_attach, "attach:netkit", "v3.33", "pods get veth devices"),
    ],
)
def test_what_calico_does_without_at_no_cost_worth_a_warning(check: Check, name: str, version: str, words: str) -> None:
    finding = judged(check, lacks(name), version)
    assert finding.status is Status.PASS
    assert finding.note
    assert words in finding.message


def test_what_calico_does_without_is_said_by_release() -> None:
    kernel_of_5_10 = lacks("feature:callbacks", "feature:bpf_loop", "feature:timer", "feature:atomic_fetch")
    of_3_30 = judged(trial.bpf_features, kernel_of_5_10, "v3.30").message
    assert "not at all where bpfConntrackMode is BPFProgram" in of_3_30
    assert "fragmented" not in of_3_30
    of_3_32 = judged(trial.bpf_features, kernel_of_5_10, "v3.32.1").message
    assert "without callbacks, bpf_loop IPv4 packets that are fragmented are not put together" in of_3_32
    assert "from user space" in of_3_32
    assert "BPFProgram" not in of_3_32
    of_3_33 = judged(trial.bpf_features, kernel_of_5_10, "v3.33")
    assert of_3_33.status is Status.FAIL
    assert of_3_33.required == "callbacks, timer, atomic_fetch"


def test_without_the_jit_compiler_it_is_that_which_is_to_be_turned_on() -> None:
    changes = {"feature:callbacks": NO, "feature:bpf_loop": NO}
    interpreted = tried(trial_part(changes), jit_enable=Part("0\n"))
    finding = judged(trial.bpf_features, interpreted, "v3.32.1")
    assert "The JIT compiler is off" in finding.message
    assert finding.remediation is not None
    assert not finding.remediation.needs_reboot
    assert finding.fingerprint == judged(trial.bpf_features, told(changes), "v3.32.1").fingerprint
    assert judged(trial.bpf_features, tried(trial_part(), jit_enable=Part("0\n")), "v3.32.1").status is Status.PASS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.id))
def test_a_refusal_to_look_is_never_a_fail(check: Check) -> None:
    every = {f"{one['topic']}:{one['name']}": EPERM for one in trial_said()["answers"]}
    every |= {f"root:{one['hook']}": EPERM for one in trial_said()["root_hooks"]}
    finding = judged(check, told(every), "v3.33")
    assert finding.status is Status.UNKNOWN
    assert finding.reason is Reason.FORBIDDEN
    assert "it takes the capability BPF" in finding.message
    assert finding.remediation is not None


@pytest.mark.parametrize("check", CHECKS[:-1], ids=lambda check: str(check.id))
def test_a_lack_of_memory_is_unknown(check: Check) -> None:
    finding = judged(
        check, told({f"{one['topic']}:{one['name']}": NO_MEMORY for one in trial_said()["answers"]}), "v3.33"
    )
    assert finding.status is Status.UNKNOWN
    assert finding.reason is Reason.NOT_COLLECTED
    assert "Cannot allocate memory" in finding.message


def test_what_is_lacking_outranks_what_was_not_told() -> None:
    changes = {"map:hash": EPERM, "map:lru_hash": NO}
    assert judged(trial.bpf_maps, told(changes)).status is Status.FAIL


def test_what_was_not_asked_is_unknown_by_the_reason_of_the_trials_end() -> None:
    finding = judged(trial.bpf_maps, told({"map:hash": None}, left="the trial was told to end"))
    assert finding.status is Status.UNKNOWN
    assert "the trial was told to end" in finding.message
    assert judged(trial.bpf_maps, told({"map:sockhash": None})).status is Status.PASS


def test_what_is_optional_and_not_told_does_not_keep_it_from_passing() -> None:
    finding = judged(trial.bpf_helpers, told({f"helper:{TC}redirect_peer": NO_MEMORY}))
    assert finding.status is Status.PASS
    assert finding.note
    assert "Not told, and no more than optional: sched_cls/redirect_peer" in finding.message
    finding = judged(trial.bpf_features, told({"feature:bpf_loop": NO_MEMORY}), "v3.32")
    assert finding.status is Status.PASS
    assert "bpf_loop" in finding.message


def test_what_is_all_optional_and_all_not_told_is_not_had() -> None:
    features = [f"feature:{one['name']}" for one in trial_said()["answers"] if one["topic"] == "feature"]
    finding = judged(trial.bpf_features, told(dict.fromkeys(features, EPERM)), "v3.30.7")
    assert (finding.status, finding.reason) == (Status.UNKNOWN, Reason.FORBIDDEN)
    half = judged(trial.bpf_features, told({"feature:callbacks": EPERM}), "v3.30.7")
    assert half.status is Status.PASS
    assert "has all features of the verifier that Calico v3.30.7 cannot do without" in half.message
    assert "callbacks (it takes the capability BPF)" in half.message


def test_ways_to_attach_make_up_for_each_other() -> None:
    neither = lacks("attach:clsact/veth", "attach:tcx/veth")
    assert judged(trial.bpf_attach, neither, "v3.32").status is Status.FAIL
    spared = judged(trial.bpf_attach, lacks("attach:clsact/veth"), "v3.32")
    assert spared.status is Status.WARN
    assert "bpfAttachType cannot be set to TC" in spared.message
    by_tc = felix(lacks("attach:clsact/veth"), bpf_attach_type="tc")
    assert judged(trial.bpf_attach, by_tc, "v3.32").status is Status.FAIL
    by_tcx = felix(lacks("attach:clsact/veth"), bpf_attach_type="TCX")
    assert judged(trial.bpf_attach, by_tcx, "v3.32").status is Status.WARN
    open_tcx = told({"attach:clsact/veth": NO, "attach:tcx/veth": NO_MEMORY})
    assert judged(trial.bpf_attach, open_tcx, "v3.32").status is Status.UNKNOWN
    links = [f"attach:cgroup/{hook}4" for hook in ("connect", "sendmsg", "recvmsg")]
    assert judged(trial.bpf_attach, lacks(*links)).status is Status.PASS
    assert judged(trial.bpf_attach, lacks(*links, "attach:cgroup-legacy/connect4")).status is Status.FAIL


def test_without_connect_time_load_balancing_nothing_is_asked_for_it() -> None:
    kernel_without = lacks(
        "program:cgroup_sock_addr/connect4", "attach:cgroup/connect4", "attach:cgroup-legacy/connect4",
        "helper:cgroup_sock_addr/get_socket_cookie",
    )  # fmt: skip
    for check in (trial.bpf_programs, trial.bpf_attach, trial.bpf_helpers):
        assert judged(check, kernel_without).status is Status.FAIL
        assert judged(check, felix(kernel_without, bpf_connect_time_load_balancing="Disabled")).status is Status.PASS
        assert judged(check, felix(kernel_without, bpf_connect_time_load_balancing="TCP")).status is Status.FAIL
    old = felix(kernel_without, bpf_connect_time_load_balancing_enabled=False)
    assert judged(trial.bpf_programs, old, "v3.23").status is Status.PASS


def test_flow_based_vxlan_without_btf() -> None:
    without = tried(trial_part({"device:vxlan-external": NO}), btf=Part(state="absent"), config=Part(state="absent"))
    assert "classic VXLAN" in judged(trial.flow_based_vxlan, without, "v3.32").message
    assert "vxlan.calico cannot be made" in judged(trial.flow_based_vxlan, without, "v3.33").message
    assert judged(trial.flow_based_vxlan, told({"device:vxlan-external": NO_MEMORY})).status is Status.UNKNOWN


# The root of cgroup2.


def hooks(programs: int, flags: int, *names: str) -> dict[str, Any]:
    return {f"root:{name}": {"programs": programs, "flags": flags} for name in names or ("connect4",)}


def part_of_cgroup2(kind: NodeKind) -> NodeKind:
    mount = Mount(point="/run/calico/cgroup", fstype="cgroup2", source="cgroup", is_whole=False)
    return msgspec.structs.replace(kind, calico_cgroup=known(MountStack(visible=mount)))


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, Status.PASS, "Nobody has attached"),
        (hooks(1, 2), Status.PASS, "shares its hooks (connect4)"),
        (hooks(3, 2, "connect4", "sendmsg6"), Status.PASS, "connect4, sendmsg6"),
        (hooks(1, 0), Status.WARN, "silently puts its own in their place"),
        (hooks(1, 1), Status.FAIL, "stops in a panic"),
        (hooks(1, 3), Status.FAIL, "stops in a panic"),
        ({**hooks(1, 0, "connect4"), **hooks(1, 1, "connect6")}, Status.FAIL, "(connect6)"),
        ({"root:connect4": {"answer": "untold", "errno": "EPERM"}}, Status.UNKNOWN, "connect4"),
        ({"root:connect4": None}, Status.UNKNOWN, "the trial did not ask for it"),
        ({"root:connect4": {"programs": -1}}, Status.UNKNOWN, "connect4"),
        ({"root:connect4": {"flags": 10**30}}, Status.UNKNOWN, "connect4"),
        # What is known to be in the way counts, whatever else was not told.
        ({"root:connect4": {"answer": "untold"}, **hooks(1, 1, "connect6")}, Status.FAIL, "connect6"),
    ],
)
def test_what_others_attached_to_the_root(changes: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(trial.cgroup2_attach, told(changes))
    assert finding.status is status
    assert words in finding.message
    off = felix(told(changes), bpf_connect_time_load_balancing="Disabled")
    assert judged(trial.cgroup2_attach, off).status is Status.PASS


PINS = "/sys/fs/bpf/tc\n/sys/fs/bpf/tc/globals/cali_v4_ct\n"


def test_an_exclusive_program_may_be_felixs_own_or_out_of_its_reach() -> None:
    own = tried(trial_part(hooks(1, 0)), pins=Part(PINS))
    finding = judged(trial.cgroup2_attach, own)
    assert (finding.status, finding.note) == (Status.PASS, True)
    assert "Felix's own, as it seems" in finding.message
    both = tried(trial_part(hooks(1, 0)), pins=Part(f"{PINS}/sys/fs/bpf/cilium_events\n"))
    assert judged(trial.cgroup2_attach, both).status is Status.WARN
    legacy = tried(trial_part({**hooks(1, 0), "attach:cgroup/connect4": EPERM}), pins=Part(PINS))
    assert judged(trial.cgroup2_attach, legacy).status is Status.PASS
    half = tried(trial_part({**hooks(1, 0), "root:connect6": EPERM}), pins=Part(PINS))
    assert judged(trial.cgroup2_attach, half).status is Status.UNKNOWN
    finding = judged(trial.cgroup2_attach, part_of_cgroup2(told(hooks(1, 0))))
    assert finding.status is Status.FAIL
    assert judged(trial.cgroup2_attach, part_of_cgroup2(told(hooks(1, 2)))).status is Status.PASS


@pytest.mark.parametrize(
    ("hook", "version", "settings", "status"),
    [
        ("sendmsg4", "v3.32.1", None, Status.WARN),
        ("sendmsg4", "v3.32.1", {}, Status.PASS),
        ("recvmsg6", "v3.27", {"bpf_connect_time_load_balancing": "tcp"}, Status.PASS),
        ("sendmsg4", "v3.32.1", {"bpf_connect_time_load_balancing": "Enabled"}, Status.FAIL),
        ("sendmsg4", "v3.32.1", {"bpf_host_networked_nat_without_ctlb": "Disabled"}, Status.FAIL),
        ("sendmsg4", "v3.26", None, Status.FAIL),
        ("sendmsg4", "v3.26", {"feature_gates": "BPFConnectTimeLoadBalancingWorkaround=enabled"}, Status.FAIL),
        ("sendmsg4", "v3.26", {"feature_gates": "X=y, BPFConnectTimeLoadBalancingWorkaround=udp"}, Status.PASS),
        ("sendmsg4", "v3.24.5", {"feature_gates": "BPFConnectTimeLoadBalancingWorkaround=udp"}, Status.FAIL),
        ("connect4", "v3.32.1", {}, Status.FAIL),
        ("connect6", "v3.32.1", {}, Status.FAIL),
        ("connect6", "v3.22", None, Status.PASS),
        ("connect6", "v3.24", None, Status.WARN),
        ("connect6", "v3.24.5", None, Status.PASS),
        ("connect6", "v3.24.6", None, Status.FAIL),
    ],
)
def test_hooks_count_as_far_as_felix_attaches_to_them(
    hook: str, version: str, settings: dict[str, Any] | None, status: Status
) -> None:
    def of(kind: NodeKind) -> Finding:
        return judged(trial.cgroup2_attach, kind if settings is None else felix(kind, **settings), version)

    overridden, exclusive, untold = of(told(hooks(1, 1, hook))), of(told(hooks(1, 0, hook))), {f"root:{hook}": EPERM}
    assert overridden.status is status
    assert exclusive.status is (Status.PASS if status is Status.PASS else Status.WARN)
    assert of(told(untold)).status is (Status.PASS if status is Status.PASS else Status.UNKNOWN)
    for finding in (overridden, exclusive):
        assert ("Whether Felix attaches to these hooks hangs on" in finding.message) is (status is Status.WARN)


def test_ways_to_attach_count_for_the_hooks_that_felix_attaches_to() -> None:
    for_udp = lacks("attach:cgroup/sendmsg4", "attach:cgroup-legacy/connect4")
    assert judged(trial.bpf_attach, felix(for_udp)).status is Status.PASS
    assert judged(trial.bpf_attach, for_udp).status is Status.PASS
    assert judged(trial.bpf_attach, felix(for_udp, bpf_connect_time_load_balancing="Enabled")).status is Status.FAIL
    assert judged(trial.bpf_attach, for_udp, "v3.26").status is Status.FAIL
    for_six = lacks("attach:cgroup/connect6", "attach:cgroup-legacy/connect4", "program:cgroup_sock_addr/connect6")
    assert judged(trial.bpf_attach, for_six, "v3.24.5").status is Status.PASS
    assert judged(trial.bpf_programs, for_six, "v3.24.5").status is Status.PASS
    assert judged(trial.bpf_attach, for_six, "v3.24.6").status is Status.FAIL
    # Programs for UDP are loaded along with the others.
    loaded = lacks("program:cgroup_sock_addr/sendmsg4")
    assert judged(trial.bpf_programs, felix(loaded)).status is Status.FAIL


def test_before_links_felix_attaches_the_older_way_alone() -> None:
    without = lacks("attach:cgroup-legacy/connect4")
    assert judged(trial.bpf_attach, without, "v3.21").status is Status.FAIL
    assert judged(trial.bpf_attach, without, "v3.22").status is Status.PASS


@pytest.mark.parametrize(
    ("changes", "version", "status"),
    [
        ({}, "v3.32.1", Status.PASS),
        ({"attach:cgroup/connect4": NO}, "v3.32.1", Status.FAIL),
        ({"attach:cgroup/connect4": EPERM}, "v3.32.1", Status.UNKNOWN),
        ({"attach:cgroup/connect4": NO_MEMORY}, "v3.22", Status.UNKNOWN),
        ({}, "v3.22", Status.PASS),
        ({}, "v3.21.6", Status.FAIL),
    ],
)
def test_programs_that_share_take_links(changes: dict[str, Any], version: str, status: Status) -> None:
    finding = judged(trial.cgroup2_attach, told({**hooks(1, 2), **changes}), version)
    assert finding.status is status
    assert judged(trial.cgroup2_attach, told(changes), version).status is Status.PASS
    # Below a root that shares, the older way works too.
    assert (
        judged(trial.cgroup2_attach, part_of_cgroup2(told({**hooks(1, 2), **changes})), version).status is Status.PASS
    )


REFUSED = {"answer": "untold", "errno": "EPERM", "words": "Operation not permitted, though no capability is missing"}


def test_what_the_root_shows_counts_where_it_keeps_the_trial_from_trying() -> None:
    ways = {"attach:cgroup/connect4": REFUSED, "attach:cgroup-legacy/connect4": REFUSED}
    assert judged(trial.bpf_attach, told(ways)).status is Status.UNKNOWN
    assert judged(trial.bpf_attach, told({**ways, **hooks(1, 0, "sendmsg4")})).status is Status.UNKNOWN
    for version in ("v3.21", "v3.32.1"):
        finding = judged(trial.bpf_attach, told({**ways, **hooks(1, 0)}), version)
        assert (finding.status, finding.note) == (Status.PASS, True)
        assert "shows that the kernel can" in finding.message
    missing = {"attach:cgroup/connect4": EPERM, "attach:cgroup-legacy/connect4": EPERM}
    assert judged(trial.bpf_attach, told({**missing, **hooks(1, 0)})).status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("version", "words"), [("v3.21.6", "Felix logs an error and goes on"), ("v3.22", "in a panic")]
)
def test_what_felix_does_without_it_depends_on_the_release(version: str, words: str) -> None:
    said = (
        judged(trial.cgroup2_attach, told(hooks(1, 1)), version),
        judged(trial.bpf_attach, lacks("attach:cgroup/connect4", "attach:cgroup-legacy/connect4"), version),
        judged(trial.bpf_programs, lacks("program:cgroup_sock_addr/connect4"), version),
        judged(trial.bpf_helpers, lacks("helper:cgroup_sock_addr/get_socket_cookie"), version),
    )
    for finding in said:
        assert finding.status is Status.FAIL
        assert words in finding.message
    remedy = said[0].remediation
    assert remedy is not None
    assert ("bpfConnectTimeLoadBalancingEnabled to false" in remedy.text) is (version == "v3.22")


# The ladder.

OLD = (
    "Linux version 5.2.9-1-generic (build@host) (gcc (Debian 8.3.0) 8.3.0, GNU ld (GNU Binutils) 2.32) #1 SMP "
    "Fri Aug 23 14:30:00 UTC 2019\n"
)
BETWEEN = OLD.replace("5.2.9", "5.4.9")


def version(text: str, changes: dict[str, Any], release: str = "v3.32.1") -> Finding:
    strings = {"version": Part(text), "osrelease": Part(text.split()[2] + "\n")}
    return judged(kernel.kernel_version, tried(trial_part(changes), **strings), release)


def test_felix_goes_by_the_version_whatever_the_kernel_can_do() -> None:
    refused = version(OLD, {})
    assert refused.status is Status.FAIL
    assert refused.message.endswith("has all that the programs need; but Felix goes by its version alone.")
    both = version(OLD, {"map:hash": NO})
    assert both.status is Status.FAIL
    assert "The kernel itself" not in both.message
    assert version(OLD, {}).fingerprint == both.fingerprint


def test_a_kernel_that_felix_would_accept_and_that_lacks_something() -> None:
    accepted = version("Linux version 6.1.0-29-amd64 (a@b) (gcc 12) #1 SMP\n", {"program:sched_cls": NO})
    assert accepted.status is Status.PASS
    assert "lacks what is needed (node.bpf.*): Felix goes by its version alone" in accepted.message
    warned = version(BETWEEN, {})
    assert warned.status is Status.WARN
    assert warned.message.endswith("The kernel itself, asked by bpf(2), has all that the programs need.")


@pytest.mark.parametrize("changes", [{"map:hash": EPERM}, {"feature:spin_lock": None}])
def test_a_kernel_that_did_not_tell_all_changes_no_message(changes: dict[str, Any]) -> None:
    assert "The kernel itself" not in version(OLD, changes).message
    assert "The kernel itself" not in version(BETWEEN, changes).message


def test_what_bpftool_tells_is_no_answer_for_the_version() -> None:
    kind = by_bpftool(version=Part(OLD), osrelease=Part("5.2.9-1-generic\n"))
    assert "The kernel itself" not in judged(kernel.kernel_version, kind).message


def test_what_the_kernel_shows_outranks_its_configuration() -> None:
    bare = Part("CONFIG_BPF_JIT=y\nCONFIG_FRAME_WARN=2048\n", locator="/boot/config-6.1.0-29-amd64")
    assert judged(kernel.kernel_config, tried(None, config=bare)).status is Status.FAIL
    assert judged(kernel.kernel_config, tried(trial_part(), config=bare)).status is Status.PASS
    lacking = tried(trial_part({"attach:clsact/veth": NO, "attach:tcx/veth": NO}), config=bare)
    assert judged(kernel.kernel_config, lacking, "v3.32.1").status is Status.FAIL


def test_without_a_configuration_the_kernels_answers_may_settle_it() -> None:
    gone = Part(state="absent")
    without = judged(kernel.kernel_config, tried(None, config=gone))
    assert without.status is Status.UNKNOWN
    assert without.message.startswith("Kernel configuration could not be judged: ")
    shown = judged(kernel.kernel_config, tried(trial_part(), config=gone))
    assert shown.status is Status.PASS
    partly = judged(kernel.kernel_config, tried(trial_part({"device:vxlan-external": NO}), config=gone))
    assert partly.status is Status.UNKNOWN
    assert "CONFIG_VXLAN" in partly.message
    assert "CONFIG_BPF_SYSCALL" not in partly.message


def test_whether_felix_attaches_by_tcx_is_the_kernels_to_say() -> None:
    bare = Part(str(HEALTHY["config"].data).replace("CONFIG_NET_CLS_BPF=m\n", ""), locator="/boot/config")
    no_tc = {"attach:clsact/veth": NO}
    assert judged(kernel.kernel_config, tried(trial_part(no_tc), config=bare)).status is Status.WARN
    neither = tried(trial_part({**no_tc, "attach:tcx/veth": NO}), config=bare)
    assert judged(kernel.kernel_config, neither).status is Status.FAIL


# bpftool in the place of a trial.


def test_types_that_bpftool_tells_have_to_do_for_their_flags_and_hooks() -> None:
    every = {
        **BPFTOOL,
        "map_types": {
            f"have_{name}_map_type": True
            for name in (
                "hash",
                "lpm_trie",
                "lru_hash",
                "percpu_array",
                "percpu_hash",
                "perf_event_array",
                "prog_array",
            )
        },
    }
    maps, programs = judged(trial.bpf_maps, by_bpftool(every)), judged(trial.bpf_programs, by_bpftool(every))
    for finding in (maps, programs):
        assert finding.status is Status.PASS
        assert finding.note
        assert "asked by bpftool" in finding.message
        assert "no flags and hooks were tried" in finding.message
    # It knows of no ring buffer here.
    assert judged(trial.bpf_maps, by_bpftool(every), "v3.33").status is Status.UNKNOWN
    every["map_types"] |= {"have_ringbuf_map_type": False, "have_array_map_type": True}
    assert judged(trial.bpf_maps, by_bpftool(every), "v3.33").status is Status.FAIL
    assert judged(trial.bpf_attach, by_bpftool(every)).reason is Reason.TOOL_MISSING
    assert judged(trial.bpf_helpers, by_bpftool(every)).reason is Reason.TOOL_MISSING


# When these checks are asked.


def selected(one: NodeKind, *only: str) -> set[str]:
    report = Judge(Settings(only=only)).report(snapshot(one), "evaluate", datetime.now(UTC))
    found = {finding.id for finding in report.findings}
    assert not found & {*report.selection.skipped}
    return {check.id for check in CHECKS if check.id in found or check.id in report.selection.skipped}


def test_they_appear_with_a_trial_alone() -> None:
    assert selected(told({})) == {check.id for check in CHECKS}
    assert selected(tried(Part(state="no-tool python3"), trial_bpftool=Part(state="no-tool bpftool"))) != set()
    assert selected(NodeKind()) == set()
    assert selected(kind(**dict.fromkeys(("trial_maps", "trial_helpers"), NOT_SURVEYED))) == set()
    assert selected(kind(trial_maps=Unknown(reason=Reason.TIMEOUT, detail="late"))) == {"node.bpf.maps"}


def test_picked_by_name_without_a_trial_they_say_what_they_take() -> None:
    with pytest.raises(UsageError, match="take a trial"):
        selected(NodeKind(), "node.bpf.maps")


def test_each_name_that_is_needed_is_one_that_a_trial_asks_for() -> None:
    asked = {(one["topic"], one["name"]) for one in trial_said()["answers"]}
    for need in load_knowledge().bpf.need:
        for name in (*need.names, *need.instead):
            assert (need.topic, name) in asked


def test_a_kernel_that_shows_callbacks_loses_nothing_by_its_version() -> None:
    strings = {
        "version": Part("Linux version 5.10.0-30-amd64 (a@b) (gcc 10) #1 SMP Debian 5.10.218-1 (2024-06-01)\n"),
        "osrelease": Part("5.10.0-30-amd64\n"),
    }
    version = "v3.32.1"
    assert judged(known_kernels.kernel_known_bad, tried(None, **strings), version).status is Status.WARN
    lacking = tried(trial_part({"feature:callbacks": NO}), **strings)
    assert judged(known_kernels.kernel_known_bad, lacking, version).status is Status.WARN
    shown = judged(known_kernels.kernel_known_bad, tried(trial_part(), **strings), version)
    assert shown.status is Status.PASS
