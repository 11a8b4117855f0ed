"""From what a trial prints to what is known of a kernel, whatever it is that it prints."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.redaction import redacted
from ebpfcheck.collect.transport import Survey, survey_text
from ebpfcheck.model.facts import (
    KERNEL_TRIAL_FACTS,
    NOT_TRIED,
    Known,
    NodeKind,
    Reason,
    Refusal,
    RootHook,
    SourceKind,
    TrialAnswers,
    Unknown,
    Untold,
)
from ebpfcheck.model.snapshot import SourceIndex
from tests.builders import NONCE, Part, document, snapshot, trial_part, trial_said, tried

NO = {"answer": "no", "errno": "EINVAL", "words": "unknown func bpf_loop#181"}
NOT_LET = {"answer": "untold", "errno": "EPERM", "words": "map: Operation not permitted", "needs": ["BPF", "NET_ADMIN"]}


def answers(kind: NodeKind, name: str) -> TrialAnswers:
    fact = getattr(kind, name)
    assert isinstance(fact, Known), fact
    assert isinstance(fact.value, TrialAnswers)
    return fact.value


def unknowns(kind: NodeKind) -> dict[str, Unknown]:
    return {name: fact for name in sorted(KERNEL_TRIAL_FACTS) if isinstance(fact := getattr(kind, name), Unknown)}


def test_without_a_trial_nothing_is_said_of_one() -> None:
    survey = Survey(data=document({"trial": trial_part()}), nonce=NONCE)
    kind = node_facts(survey, SourceKind.LOCAL, SourceIndex())[0].kind
    assert set(unknowns(kind).values()) == {NOT_TRIED}


def test_a_trial_is_read_whole() -> None:
    kind = tried(trial_part())
    assert not unknowns(kind)
    assert "hash/no_prealloc" in answers(kind, "trial_maps").yes
    assert "cgroup_sock_addr/recvmsg6" in answers(kind, "trial_programs").yes
    assert "sched_cls/redirect_peer" in answers(kind, "trial_helpers").yes
    assert answers(kind, "trial_features").yes == tuple(sorted(answers(kind, "trial_features").yes))
    assert answers(kind, "trial_attachments").no == (
        Refusal(name="netkit", errno="EOPNOTSUPP", words="device of kind netkit: the kernel does not know it"),
    )
    assert answers(kind, "trial_devices") == TrialAnswers(yes=("vxlan-external",))
    hooks = kind.trial_root_hooks
    assert isinstance(hooks, Known)
    assert len(hooks.value) == 6
    assert hooks.value[0] == RootHook(hook="connect4")


def test_the_evidence_says_that_it_is_the_kernel_that_answered() -> None:
    sources = SourceIndex()
    survey = Survey(data=document({"trial": trial_part()}), nonce=NONCE, trial="kernel")
    kind = node_facts(survey, SourceKind.SSH, sources)[0].kind
    for name in KERNEL_TRIAL_FACTS:
        source = sources.listed()[getattr(kind, name).source]
        assert source.kind is SourceKind.SSH
        assert source.locator.startswith("the kernel's own answer to "), source


def test_what_the_kernel_lacks_and_what_it_did_not_tell() -> None:
    kind = tried(trial_part({"helper:sched_cls/loop": NO, "map:sockhash": NOT_LET, "map:hash": NOT_LET}))
    assert answers(kind, "trial_helpers").no == (
        Refusal(name="sched_cls/loop", errno="EINVAL", words="unknown func bpf_loop#181"),
    )
    assert [one.name for one in answers(kind, "trial_maps").untold] == ["hash", "sockhash"]
    assert answers(kind, "trial_maps").untold[0].needs == ("BPF", "NET_ADMIN")


def test_nodes_alike_are_of_one_kind_whatever_their_processes_are_called() -> None:
    def told(number: int) -> NodeKind:
        words = f"mkdir ebpfcheck-trial-{number}: pid {number} at 0x{number:012x}"
        return tried(trial_part({"attach:cgroup/connect4": {"answer": "untold", "words": words}}))

    assert told(4711) == told(815)


@pytest.mark.parametrize("fields", [{"user_namespace": True}, {"seccomp": 2}, {}])
def test_a_refusal_for_which_no_capability_helps_is_told_in_the_words_of_the_trial(fields: dict[str, Any]) -> None:
    change = {"answer": "untold", "errno": "EPERM", "words": "not permitted; for a reason", "needs": []}
    (untold,) = answers(tried(trial_part({"map:hash": change}, **fields)), "trial_maps").untold
    assert untold == Untold(name="hash", errno="EPERM", words="not permitted; for a reason")


def test_a_root_that_may_not_be_asked_names_the_capability() -> None:
    words = "query: Operation not permitted"
    change = {"answer": "untold", "errno": "EPERM", "words": words, "needs": ["NET_ADMIN"]}
    kind = tried(trial_part({"root:connect4": change}))
    assert isinstance(kind.trial_root_hooks, Known)
    untold = kind.trial_root_hooks.value[0].untold
    assert untold == Untold(name="connect4", errno="EPERM", words=words, needs=("NET_ADMIN",))


def test_a_root_that_was_not_found_is_unknown() -> None:
    fact = tried(trial_part(root_hooks_path="")).trial_root_hooks
    assert isinstance(fact, Unknown)
    assert "the root of cgroup2 was not found" in fact.detail
    change = {"answer": "untold", "words": "out of sight"}
    every = {f"root:{one['hook']}": change for one in trial_said()["root_hooks"]}
    hooks = tried(trial_part(every, root_hooks_path="")).trial_root_hooks
    assert isinstance(hooks, Known)
    assert {one.untold and one.untold.words for one in hooks.value} == {"out of sight"}


def test_a_trial_that_ended_early_says_why() -> None:
    told = trial_said(left="python 3.5 is too old: it takes 3.6")
    kind = tried(Part(json.dumps({**told, "answers": [], "root_hooks": [], "root_hooks_path": ""})))
    assert {one.reason for one in unknowns(kind).values()} == {Reason.UNSUPPORTED, Reason.NOT_COLLECTED}
    assert all("python 3.5 is too old" in one.detail for one in unknowns(kind).values())
    assert len(unknowns(kind)) == len(KERNEL_TRIAL_FACTS)
    only_maps = [one for one in told["answers"] if one["topic"] == "map"]
    kind = tried(Part(json.dumps({**told, "answers": only_maps, "left": "killed"})))
    assert answers(kind, "trial_maps").left == "killed"
    assert isinstance(kind.trial_helpers, Unknown)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (Part(""), Reason.UNPARSABLE),
        (Part("Traceback (most recent call last):\n"), Reason.UNPARSABLE),
        (Part(json.dumps(trial_said())[:4000]), Reason.UNPARSABLE),
        (Part(json.dumps(trial_said(trial="ebpfcheck.trial.kernel/2"))), Reason.UNPARSABLE),
        (Part(json.dumps(trial_said(answers="yes"))), Reason.UNPARSABLE),
        (Part(json.dumps(trial_said(answers=[{"topic": "map", "name": 7, "answer": "yes"}]))), Reason.UNPARSABLE),
        (Part(json.dumps(trial_said({"map:hash": {"answer": "maybe"}}))), Reason.UNPARSABLE),
        (Part("[" * 100_000), Reason.UNPARSABLE),
        (Part(b"\xff\xfe{}"), Reason.UNPARSABLE),
        (Part(" " * 5_000_000 + json.dumps(trial_said())), Reason.UNPARSABLE),
        (Part(state="failed timeout"), Reason.TIMEOUT),
        (Part(state="failed python3 ended with code 2"), Reason.NOT_COLLECTED),
        (None, Reason.TRUNCATED),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_read_is_unknown_and_costs_nothing_else(part: Part | None, reason: Reason) -> None:
    kind = tried(part)
    assert {one.reason for one in unknowns(kind).values()} == {reason}
    assert len(unknowns(kind)) == len(KERNEL_TRIAL_FACTS)
    assert isinstance(kind.kernel_release, Known)


def test_a_survey_that_is_cut_in_the_trial_keeps_the_rest() -> None:
    data = document({"trial": trial_part()})
    survey = Survey(data=data[:-3000], nonce=NONCE, cut=Reason.TIMEOUT, trial="kernel")
    kind = node_facts(survey, SourceKind.LOCAL, SourceIndex())[0].kind
    assert {one.reason for one in unknowns(kind).values()} == {Reason.TIMEOUT}
    assert isinstance(kind.udp_ports, Known)


def test_what_an_ended_trial_had_told_by_then_counts() -> None:
    part = Part(json.dumps(trial_said(left="told to end")), state="failed timeout")
    assert answers(tried(part), "trial_maps").left == "told to end"


def test_unknown_topics_and_names_out_of_the_ordinary_are_left_out() -> None:
    told = trial_said()
    told["answers"] += [
        {"topic": "weather", "name": "rain", "answer": "yes"},
        {"topic": "map", "name": "\x1b[31mhash", "answer": "yes"},
        {"topic": "map", "name": "x" * 70, "answer": "yes"},
        {"topic": "map", "name": "new_type", "answer": "yes"},
    ]
    expected = {*answers(tried(trial_part()), "trial_maps").yes, "new_type"}
    assert {*answers(tried(Part(json.dumps(told))), "trial_maps").yes} == expected


def test_a_thing_that_is_answered_in_two_ways_is_not_told() -> None:
    told = trial_said()
    told["answers"].append({"topic": "map", "name": "hash", "answer": "no"})
    maps = answers(tried(Part(json.dumps(told))), "trial_maps")
    assert "hash" not in maps.yes
    assert [one.name for one in maps.untold] == ["hash"]


def test_words_are_kept_short_and_on_one_line() -> None:
    change = {"answer": "no", "errno": "not an errno", "words": "a\n\tb\x1b[31m" + "x" * 9000, "needs": ["lower"]}
    (refusal,) = answers(tried(trial_part({"map:hash": change})), "trial_maps").no
    assert refusal.errno == ""
    assert refusal.words.startswith("a b\x1b[31mxx")
    assert len(refusal.words) == 200


@given(st.binary(max_size=300))
def test_no_bytes_break_it(data: bytes) -> None:
    assert len(unknowns(tried(Part(data)))) == len(KERNEL_TRIAL_FACTS)


def test_in_a_gvisor_sandbox_it_is_another_kernel_that_answers() -> None:
    kind = tried(trial_part(), version=Part("Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016\n"))
    assert {one.reason for one in unknowns(kind).values()} == {Reason.NOT_COLLECTED}


def test_redaction_takes_names_out_of_the_words_and_leaves_the_answers() -> None:
    change = {"answer": "untold", "words": "open /home/jane@10.1.2.3 on worker-1: denied"}
    before = snapshot(tried(trial_part({"map:hash": change})), names=("worker-1",))
    after = redacted(before).kinds[0]
    maps = answers(after, "trial_maps")
    assert "10.1.2.3" not in maps.untold[0].words
    assert "worker-1" not in maps.untold[0].words
    assert maps.yes == answers(before.kinds[0], "trial_maps").yes
    assert after.trial_root_hooks == before.kinds[0].trial_root_hooks


def test_the_survey_with_a_trial_is_one_argument_that_a_kernel_takes() -> None:
    text = survey_text("kernel", 120.0)
    # MAX_ARG_STRLEN, with the NUL.
    assert len(text.encode()) < 128 * 1024
    assert text.count("\nprogram=") == 1
    assert "limit=60\n" in text
    assert "limit=6\n" in survey_text("kernel", 10.0)
    assert text.endswith(survey_text("none", 120.0)[-30:])
    assert "program=" not in survey_text("none", 120.0)


# Where there is no python3.

BPFTOOL: dict[str, Any] = {
    "syscall_config": {"have_bpf_syscall": True},
    "program_types": {
        "have_socket_filter_prog_type": True,
        "have_sched_cls_prog_type": True,
        "have_xdp_prog_type": True,
        "have_cgroup_sock_addr_prog_type": True,
        "have_lsm_prog_type": False,
    },
    "map_types": {"have_hash_map_type": True, "have_lpm_trie_map_type": True, "have_ringbuf_map_type": False},
    "helpers": {
        "sched_cls_available_helpers": ["bpf_map_lookup_elem", "bpf_redirect", "bpf_fib_lookup"],
        "xdp_available_helpers": ["bpf_map_lookup_elem", "bpf_xdp_adjust_meta"],
        "kprobe_available_helpers": ["bpf_probe_read", "bpf_loop"],
        "lsm_available_helpers": [],
    },
}
NO_PYTHON = Part(state="no-tool python3", locator="bpf(2)")


def by_bpftool(told: Any = BPFTOOL, **more: Part) -> NodeKind:
    text = told if isinstance(told, str) else json.dumps(told)
    return tried(NO_PYTHON, trial_bpftool=Part(text, locator="bpftool -j feature probe"), **more)


def test_bpftool_tells_types_and_helpers() -> None:
    kind = by_bpftool()
    maps = answers(kind, "trial_maps")
    assert (maps.yes, [one.name for one in maps.no], maps.by) == (("hash", "lpm_trie"), ["ringbuf"], "bpftool")
    assert answers(kind, "trial_programs").yes == ("cgroup_sock_addr", "sched_cls", "socket_filter", "xdp")
    helpers = answers(kind, "trial_helpers")
    assert helpers.yes == (
        "sched_cls/fib_lookup", "sched_cls/map_lookup_elem", "sched_cls/redirect", "xdp/map_lookup_elem",
        "xdp/xdp_adjust_meta",
    )  # fmt: skip
    # It knows of bpf_loop, and says that programs of tc may not call it; of bpf_redirect_peer it may not know.
    assert "sched_cls/loop" in [one.name for one in helpers.no]
    assert "redirect_peer" not in str(helpers)
    for name in ("trial_features", "trial_attachments", "trial_devices", "trial_root_hooks"):
        assert unknowns(kind)[name].reason is Reason.TOOL_MISSING


def test_lists_of_a_bpftool_that_does_not_know_the_kernels_wording_do_not_count() -> None:
    every = ["bpf_map_lookup_elem", "bpf_skb_adjust_room", "bpf_xdp_load_bytes", "bpf_xdp_adjust_head"]
    helpers = {"sched_cls_available_helpers": every, "xdp_available_helpers": every}
    kind = by_bpftool({**BPFTOOL, "helpers": helpers})
    assert unknowns(kind)["trial_helpers"].reason is Reason.UNSUPPORTED
    assert "too old for the kernel's wording" in unknowns(kind)["trial_helpers"].detail
    assert isinstance(kind.trial_maps, Known)


@pytest.mark.parametrize("capabilities", ["0000000000000000", "0000008000001000", "0000000000200000"])
def test_what_bpftool_does_not_find_says_nothing_where_it_may_not_see_all(capabilities: str) -> None:
    own = Part(f"Uid:\t0\t0\t0\t0\nCapEff:\t{capabilities}\n", locator="/proc/self/status")
    maps = answers(by_bpftool(self=own), "trial_maps")
    assert not maps.no
    assert [one.name for one in maps.untold] == ["ringbuf"]


def test_a_kernel_that_tells_bpftool_nothing_lacks_nothing_for_that() -> None:
    refused = {name: dict.fromkeys(told, False) for name, told in BPFTOOL.items() if name.endswith("types")}
    kind = by_bpftool({**BPFTOOL, **refused})
    assert not answers(kind, "trial_maps").no
    assert not answers(kind, "trial_programs").no


def test_programs_that_bpftool_may_not_load_are_not_lacking_for_that() -> None:
    # A filter or a security module may let maps be made and no programs be loaded.
    kind = by_bpftool({**BPFTOOL, "program_types": dict.fromkeys(BPFTOOL["program_types"], False)})
    assert [one.name for one in answers(kind, "trial_maps").no] == ["ringbuf"]
    programs, helpers = answers(kind, "trial_programs"), answers(kind, "trial_helpers")
    assert not programs.no
    assert "sched_cls" in [one.name for one in programs.untold]
    assert not helpers.no
    assert "sched_cls/loop" in [one.name for one in helpers.untold]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.UNPARSABLE),
        ("Warning: no kernel configuration\n", Reason.UNPARSABLE),
        ('{"error":"missing CAP_SYS_ADMIN, required for full feature probing"}', Reason.FORBIDDEN),
        ('{"map_types": []}', Reason.UNPARSABLE),
        ("{}", Reason.UNPARSABLE),
        (json.dumps(BPFTOOL)[:300], Reason.UNPARSABLE),
    ],
)
def test_what_bpftool_prints_else_is_unknown(text: str, reason: Reason) -> None:
    found = unknowns(by_bpftool(text))
    assert found["trial_maps"].reason is reason
    assert found["trial_helpers"].reason is reason


def test_warnings_before_what_bpftool_prints_are_gone_over() -> None:
    assert answers(by_bpftool("Warning: no config\n" + json.dumps(BPFTOOL)), "trial_maps").yes


def test_a_bpftool_that_hangs_is_a_time_out() -> None:
    kind = tried(NO_PYTHON, trial_bpftool=Part(state="failed timeout"))
    assert {one.reason for one in unknowns(kind).values()} == {Reason.TIMEOUT}


def test_where_there_is_nothing_to_ask_with_it_says_so() -> None:
    kind = tried(NO_PYTHON, trial_bpftool=Part(state="no-tool bpftool"))
    assert {one.reason for one in unknowns(kind).values()} == {Reason.TOOL_MISSING}
    assert all("neither python3 nor bpftool" in one.detail for one in unknowns(kind).values())


def test_facts_of_a_trial_survive_a_snapshot() -> None:
    kind = tried(trial_part({"map:hash": NOT_LET, "helper:sched_cls/loop": NO}))
    assert msgspec.json.decode(msgspec.json.encode(kind), type=NodeKind) == kind
