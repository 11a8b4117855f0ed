from typing import Any

import pytest

from ebpfcheck.checks.bpf_objects import bpf_objects
from ebpfcheck.checks.known_kernels import kernel_known_bad
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, ObjectRefusal, ObjectTrial, Reason, Unknown
from ebpfcheck.model.report import Finding, Status
from tests.builders import judged, kind, known

FRAGMENTS = "calico_tc_skb_ipv4_frag"
CALLBACKS = "number of funcs in func_info doesn't match number of subprogs"
ATOMICS = "BPF_STX uses reserved fields"
BUDGET = "BPF program is too large. Processed 1000001 insn"
BOUNDS = "invalid access to packet, off=0 size=1, R2(id=1,off=0,r=0)"
ZERO = "R4 invalid zero-sized read: u64=[0,40]"
PERFMON = "attempt to corrupt spilled pointer on stack"
BASE = ("from_hep_no_log", "to_hep_no_log", "from_wep_no_log", "to_wep_no_log")
CORE = tuple(f"{name}_co-re.o" for name in BASE)
PLAIN = (*(f"{name}.o" for name in BASE), "connect_balancer_no_log_v4.o")


def refused(name: str, words: str = "", errno: str = "EINVAL", program: str = "calico_tc_main") -> ObjectRefusal:
    return ObjectRefusal(name=name, errno=errno, program=program, words=(words,) if words else ())


def tried(*accepted: str, **changes: Any) -> Fact[Any]:
    without = {one.name for one in changes.get("refused", ()) + changes.get("partly", ())}
    names = tuple(sorted(name for name in accepted if name not in without))
    facts = {"directory": "/objects", "loader": "libbpf v1.3", "by": "libbpf", "accepted": names, **changes}
    return known(ObjectTrial(**facts))


def finding(trial: Fact[Any], version: str = "v3.32.1", *, btf: Fact[Any] | None = None, **felix: Any) -> Finding:
    facts = {"trial_objects": trial, "vmlinux_btf": known(True) if btf is None else btf}
    if felix:
        facts["felix"] = known(FelixSettings(**felix))
    return judged(bpf_objects, kind(**facts), version)


def test_a_kernel_that_accepts_them_all() -> None:
    one = finding(tried(*CORE, *PLAIN))
    assert one.status is Status.PASS
    assert "Calico v3.32.1" in one.message
    assert "9 objects of /objects, loaded by libbpf v1.3" in one.observed


@pytest.mark.parametrize(
    ("words", "errno", "kind_of"),
    [
        (CALLBACKS, "EINVAL", "callbacks"),
        (ATOMICS, "EINVAL", "atomics"),
        (BUDGET, "E2BIG", "budget"),
        ("", "E2BIG", "budget"),
        (BOUNDS, "EACCES", "bounds"),
        (ZERO, "EACCES", "zero-sized read"),
        ("libbpf: failed to find valid kernel BTF", "ESRCH", "missing BTF"),
        ("unknown func bpf_loop#181", "EINVAL", "helper"),
    ],
)
def test_a_refusal_is_a_fail_by_its_kind(words: str, errno: str, kind_of: str) -> None:
    one = finding(tried(*PLAIN, refused=(refused("from_hep_no_log.o", words, errno),)))
    assert one.status is Status.FAIL
    assert f"calico_tc_main of from_hep_no_log.o ({kind_of}: " in one.message
    assert words in one.observed
    assert one.remediation is not None


@pytest.mark.parametrize(
    ("words", "errno", "reason", "named"),
    [
        ("", "EPERM", Reason.FORBIDDEN, "BPF, NET_ADMIN and PERFMON"),
        (PERFMON, "EACCES", Reason.FORBIDDEN, "PERFMON"),
        ("", "EACCES", Reason.FORBIDDEN, "security module"),
        ("libbpf: map 'x': failed to create: Permission denied(-13)", "", Reason.FORBIDDEN, "security module"),
        ("unknown func bpf_trace_printk#6", "EINVAL", Reason.FORBIDDEN, "PERFMON"),
        ("program of this type cannot use helper bpf_trace_printk#6", "EINVAL", Reason.FORBIDDEN, "PERFMON"),
        ("libbpf: map 'x': failed to create: Cannot allocate memory(-12)", "", Reason.NOT_COLLECTED, "memory"),
        ("", "ENOMEM", Reason.NOT_COLLECTED, "memory"),
        ("libbpf: prog 'x': missing BPF prog type", "EINVAL", Reason.UNSUPPORTED, "loader"),
        ("libbpf: couldn't reuse pinned map at '/x': parameter mismatch", "EINVAL", Reason.UNSUPPORTED, "loader"),
        ("", "EINVAL", Reason.UNSUPPORTED, "tells no reason"),
        ("", "", Reason.UNSUPPORTED, "tells no reason"),
    ],
)
def test_what_the_kernel_did_not_judge_is_unknown(words: str, errno: str, reason: Reason, named: str) -> None:
    one = finding(tried(*PLAIN, refused=(refused("from_hep_no_log.o", words, errno),)))
    assert (one.status, one.reason) == (Status.UNKNOWN, reason)
    assert named in one.message


def test_a_missing_capability_outranks_refusals_beside_it() -> None:
    refusals = (refused("from_hep_no_log.o", BOUNDS, "EACCES"), refused("to_hep_no_log.o", PERFMON, "EACCES"))
    assert finding(tried(*PLAIN, refused=refusals)).status is Status.UNKNOWN


def test_without_the_fragment_program_felix_works_on() -> None:
    partly = (refused("from_hep_no_log.o", CALLBACKS, program=FRAGMENTS),)
    one = finding(tried(*PLAIN, partly=partly))
    assert one.status is Status.WARN
    assert "fragments are not supported" in one.message


def test_bpftool_cannot_leave_the_fragment_program_out() -> None:
    lost = (refused("from_hep_no_log.o", CALLBACKS, program=FRAGMENTS),)
    one = finding(tried(*PLAIN, refused=lost, by="bpftool", loader="bpftool v7.1.0"))
    assert (one.status, one.reason) == (Status.UNKNOWN, Reason.UNSUPPORTED)
    assert "not a fair test" in one.message
    # Its twin has no such program; whichever Felix loads, that one it does not.
    core = (refused(CORE[0], CALLBACKS, program=FRAGMENTS),)
    one = finding(tried(*CORE, *PLAIN, refused=core, by="bpftool", loader="bpftool v7.1.0"))
    assert one.status is Status.WARN
    assert "fragments are not supported" in one.message
    # libbpf has tried without it, and so would Felix.
    assert finding(tried(*PLAIN, refused=lost)).status is Status.FAIL


def test_of_twins_felix_loads_the_one_that_it_can() -> None:
    lost = (refused(CORE[0], BUDGET, "E2BIG"),)
    one = finding(tried(*CORE, *PLAIN, refused=lost))
    assert one.status is Status.WARN
    assert "twins" in one.message
    both = (refused(CORE[0], BUDGET, "E2BIG"), refused(PLAIN[0], BUDGET, "E2BIG"))
    assert finding(tried(*CORE, *PLAIN, refused=both)).status is Status.FAIL
    only_plain = (refused(PLAIN[0], BUDGET, "E2BIG"),)
    assert finding(tried(*CORE, *PLAIN, refused=only_plain)).status is Status.PASS


def test_without_btf_the_twin_decides() -> None:
    lost = tuple(refused(name, "failed to find valid kernel BTF", "ESRCH") for name in CORE)
    absent = Absent(source=0)
    assert finding(tried(*CORE, *PLAIN, refused=lost), btf=absent).status is Status.PASS
    assert finding(tried(*CORE, *PLAIN, refused=(refused(PLAIN[0], BOUNDS),)), btf=absent).status is Status.FAIL
    assert finding(tried(*CORE, refused=lost), btf=absent).status is Status.FAIL


def test_a_refusal_whose_twin_was_not_tried_is_open() -> None:
    lost = (refused(CORE[0], BUDGET, "E2BIG"),)
    plain = tuple(name for name in PLAIN if name != PLAIN[0])
    one = finding(tried(*CORE, *plain, refused=lost, left=(PLAIN[0],)))
    assert (one.status, one.reason) == (Status.UNKNOWN, Reason.TIMEOUT)


def test_connect_time_load_balancing_has_no_second_try() -> None:
    name = "connect_balancer_no_log_co-re_v4.o"
    lost = (refused(name, BOUNDS, "EACCES", "calico_connect_v4"),)
    one = finding(tried(*PLAIN, name, refused=lost))
    assert one.status is Status.FAIL
    assert "does not load, and Felix stops in a panic" in one.message
    assert "Felix logs an error and goes on" in finding(tried(*PLAIN, name, refused=lost), "v3.21.6").message
    off = finding(tried(*PLAIN, name, refused=lost), bpf_connect_time_load_balancing="Disabled")
    assert off.status is Status.PASS
    off = finding(tried(*PLAIN[:-1]), bpf_connect_time_load_balancing="Disabled")
    assert off.status is Status.PASS
    assert finding(tried(*PLAIN[:-1])).status is Status.UNKNOWN


def test_clean_up_is_done_without_its_program_too() -> None:
    name = "conntrack_cleanup_no_log_co-re_v4.o"
    one = finding(tried(*PLAIN, name, refused=(refused(name, CALLBACKS, program="conntrack_cleanup"),)))
    assert one.status is Status.WARN
    assert "user space" in one.message


def test_what_tcx_is_tried_with_matters_little() -> None:
    lost = (refused("tcx_test.o", "libbpf: prog 'cali_tcx_test': missing BPF prog type"),)
    assert finding(tried(*PLAIN, "tcx_test.o", refused=lost)).status is Status.PASS


def test_debugging_objects_matter_at_that_level_only() -> None:
    name = "from_hep_debug_co-re.o"
    trial = tried(*PLAIN, name, refused=(refused(name, BUDGET, "E2BIG"),))
    one = finding(trial)
    assert one.status is Status.PASS
    assert f"does not load with these settings: {name}." in one.message
    all_debug = (name, "to_hep_debug.o", "from_wep_debug.o", "to_wep_debug.o", "connect_balancer_debug_v4.o")
    assert finding(tried(*all_debug), bpf_log_level="Debug").status is Status.PASS
    assert finding(trial, bpf_log_level="Debug").status is Status.FAIL


def test_ipv6_objects_matter_where_it_is_on() -> None:
    name = "from_hep_no_log_v6.o"
    trial = tried(*PLAIN, name, refused=(refused(name, ZERO, "EACCES"),))
    one = finding(trial)
    assert (one.status, one.reason) == (Status.UNKNOWN, Reason.UNSUPPORTED)
    assert "IPv6 is on" in one.message
    assert finding(trial, ipv6_support=True).status is Status.FAIL
    assert finding(trial, ipv6_support=False).status is Status.PASS


def test_ipv4_by_way_of_ipv6_sockets_matters_without_ipv6_too() -> None:
    name = "connect_balancer_no_log_co-re_v46.o"
    trial = tried(*PLAIN, name, refused=(refused(name, BOUNDS, "EACCES"),))
    assert finding(trial).status is Status.FAIL
    assert finding(trial, ipv6_support=False).status is Status.FAIL
    assert finding(tried(*PLAIN[:-1], name)).status is Status.UNKNOWN


UBUNTU = {
    "proc_version": known("Linux version 6.8.0-107-generic (b@h) (gcc 13) #1 SMP Fri Mar 13 10:00:00 UTC 2026"),
    "kernel_release": known("6.8.0-107-generic"),
}
CONNECT = ("connect_balancer_no_log_co-re_v4.o", "connect_balancer_no_log_co-re_v46.o")
IMAGE = "quay.io/calico/node:v3.31.2"


def known_bad(trial: Fact[Any] | None, version: str, felix: FelixSettings | None = None) -> Finding:
    facts: dict[str, Any] = {**UBUNTU, "vmlinux_btf": known(True)}
    if trial is not None:
        facts["trial_objects"] = trial
    if felix is not None:
        facts["felix"] = known(felix)
    return judged(kernel_known_bad, kind(**facts), version)


def test_the_verifier_outranks_what_was_measured_elsewhere() -> None:
    assert known_bad(None, "v3.33").status is Status.UNKNOWN
    one = known_bad(tried(*CORE, *CONNECT), "v3.33")
    assert one.status is Status.PASS
    assert "the verifier accepted its programs here (node.bpf.objects)" in one.message
    # What Calico does without is no reason to doubt the rest.
    partly = (refused(CORE[0], CALLBACKS, program=FRAGMENTS),)
    assert known_bad(tried(*CORE, *CONNECT, partly=partly), "v3.33").status is Status.PASS
    for trial in (
        tried(*CORE, *CONNECT, refused=(refused(CORE[0], CALLBACKS),)),
        tried(*CORE[1:], *CONNECT, left=CORE[:1]),
        tried(*CORE, *CONNECT, image=IMAGE),
        tried(*CORE, *CONNECT, "from_tnl_no_log.o"),
        Unknown(reason=Reason.TOOL_MISSING, detail="there is no bpftool"),
    ):
        assert known_bad(trial, "v3.33").status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("trial", "version", "status"),
    [
        (tried(*CORE, *CONNECT, image=IMAGE), "v3.31.2", Status.PASS),
        (tried(*CORE, *CONNECT), "v3.31.2", Status.PASS),
        # Other patches of it may be without the bug, or have it.
        (tried(*CORE, *CONNECT, image="quay.io/calico/node:v3.31.5"), "v3.31.2", Status.UNKNOWN),
        (tried(*CORE, *CONNECT, image="example.org/node:latest"), "v3.31.2", Status.UNKNOWN),
        (tried(*CORE, *CONNECT, image=IMAGE, refused=(refused(CONNECT[1], "", "EINVAL"),)), "v3.31.2", Status.UNKNOWN),
        (tried(*CORE, CONNECT[0], image=IMAGE, left=CONNECT[1:]), "v3.31.2", Status.UNKNOWN),
        # Without the one that has the bug.
        (tried(*CORE, CONNECT[0], image=IMAGE), "v3.31.2", Status.UNKNOWN),
        (tried(*CORE, CONNECT[1], image=IMAGE, refused=(refused(CONNECT[0], BOUNDS),)), "v3.31.2", Status.UNKNOWN),
        # The bug is in other objects than those for interfaces.
        (tried(*CORE[1:], *CONNECT, image=IMAGE, refused=(refused(CORE[0], BUDGET),)), "v3.31.2", Status.PASS),
    ],
)
def test_the_verifier_clears_a_kernel_of_a_bug(trial: Fact[Any], version: str, status: Status) -> None:
    assert known_bad(None, version).status is Status.UNKNOWN
    assert known_bad(trial, version).status is status


def test_objects_that_log_are_cleared_where_felix_loads_them() -> None:
    debug = tuple(f"{name.removesuffix('_no_log')}_debug.o" for name in BASE)
    all_debug = (*debug, "from_hep_debug_v6.o", "connect_balancer_debug_v4.o", "connect_balancer_debug_v46.o")
    felix = FelixSettings(bpf_log_level="Debug", ipv6_support=True)
    newer = {
        **UBUNTU,
        "proc_version": known("Linux version 6.18.44 (b@h) (gcc) #1"),
        "kernel_release": known("6.18.44"),
    }

    def of(trial: Fact[Any], felix: FelixSettings) -> Status:
        facts = {**newer, "vmlinux_btf": known(True), "felix": known(felix), "trial_objects": trial}
        return judged(kernel_known_bad, kind(**facts), "v3.30.7").status

    assert of(tried(*all_debug), felix) is Status.PASS
    assert of(tried(*CORE, *CONNECT), felix) is Status.FAIL
    assert of(tried(*all_debug, refused=(refused("from_hep_debug_v6.o", BUDGET),)), felix) is Status.FAIL


def test_dsr_objects_matter_where_it_is_on() -> None:
    name = "from_hep_dsr_no_log.o"
    trial = tried(*PLAIN, name, refused=(refused(name, BUDGET, "E2BIG"),))
    assert finding(trial).status is Status.PASS
    assert finding(trial, bpf_external_service_mode="DSR").status is Status.FAIL


def test_tunnel_objects_matter_where_there_are_tunnels() -> None:
    name = "from_vxlan_no_log_co-re.o"
    one = finding(tried(*PLAIN, name, refused=(refused(name, BUDGET, "E2BIG"),)))
    assert one.status is Status.UNKNOWN
    assert "tunnels" in one.message


@pytest.mark.parametrize("why", ["timeout", "killed", "large", "irregular"])
def test_objects_that_did_not_come_to_an_end_are_open(why: str) -> None:
    names = tuple(name for name in PLAIN if name != "from_hep_no_log.o")
    one = finding(tried(*names, undecided=(("from_hep_no_log.o", why),)))
    assert (one.status, one.reason) == (Status.UNKNOWN, Reason.UNSUPPORTED)
    assert "from_hep_no_log.o" in one.message


def test_a_directory_that_lacks_objects_is_open() -> None:
    one = finding(tried(*PLAIN[:2]))
    assert one.status is Status.UNKNOWN
    assert "from_wep_*, to_wep_*, connect_*" in one.message
    # Those for IPv6 alone do not stand for the others.
    only_v6 = tuple(name.replace(".o", "_v6.o") for name in PLAIN[:4])
    one = finding(tried(*only_v6, PLAIN[4]), ipv6_support=True)
    assert one.status is Status.UNKNOWN
    one = finding(tried(strange=3))
    assert one.status is Status.UNKNOWN
    assert "holds none" in one.message


@pytest.mark.parametrize(
    ("mark", "right", "wrong"),
    [
        ("from_tnl_no_log.o", "v3.29.7", "v3.30.7"),
        ("from_vxlan_fib_no_log.o", "v3.31.7", "v3.32.1"),
        ("from_vxlan_no_log_co-re.o", "v3.32.1", "v3.33"),
        ("from_vxlan_no_log.o", "v3.33", "v3.32.1"),
    ],
)
def test_objects_of_another_release_say_nothing(mark: str, right: str, wrong: str) -> None:
    trial = tried(*PLAIN, mark)
    assert finding(trial, right).status is Status.PASS
    one = finding(trial, wrong)
    assert (one.status, one.reason) == (Status.UNKNOWN, Reason.NOT_COLLECTED)
    assert f"say nothing of Calico {wrong}" in one.message


def test_the_image_tells_the_release() -> None:
    trial = tried(*PLAIN, image="quay.io/calico/node:v3.32.0")
    assert finding(trial).status is Status.PASS
    one = finding(trial, "v3.31.7")
    assert one.status is Status.UNKNOWN
    assert "of Calico v3.32.0, by their image" in one.message


def test_what_could_not_be_tried_is_unknown() -> None:
    one = finding(Unknown(reason=Reason.TOOL_MISSING, detail="there is no bpftool"))
    assert (one.status, one.reason) == (Status.UNKNOWN, Reason.TOOL_MISSING)


def test_control_characters_are_not_passed_on() -> None:
    one = finding(tried(*PLAIN, refused=(refused("from_hep_no_log.o", "\x1b[31mtoo large\x1b[0m", "E2BIG"),)))
    assert "\x1b" not in one.observed + one.message
