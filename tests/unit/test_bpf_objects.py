"""What a trial of BPF objects printed, read."""

import re
import subprocess
import sys

import psutil
import pytest

from ebpfcheck.checks.bpf_objects import meaning_of
from ebpfcheck.collect.bpf_objects import fact, object_trial
from ebpfcheck.collect.framing import read_document
from ebpfcheck.collect.sections import SectionReader
from ebpfcheck.collect.transport import ObjectsTrial, Survey, survey_text
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.facts import Fact, Known, ObjectRefusal, ObjectTrial, Reason, SourceKind, Unknown
from ebpfcheck.model.snapshot import SourceIndex
from tests.builders import ROOT

# As bpftool 7.1 printed it on a 6.18 kernel.
BOUNDS = """\
| 4: (71) r0 = *(u8 *)(r2 +0)
| invalid access to packet, off=0 size=1, R2(id=1,off=0,r=0)
| R2 offset is outside of the packet
| processed 5 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
| -- END PROG LOAD LOG --
| libbpf: prog 'calico_tc_main': failed to load: -13
| libbpf: failed to load object './from_wep_no_log.o'
| Error: failed to load object file
| Warning: bpftool is now running in libbpf strict mode and has more stringent requirements about BPF programs.
| If it used to work for this object file but now doesn't, see --legacy option for more details.
"""
TCX = """\
| libbpf: prog 'cali_tcx_test': missing BPF prog type, check ELF section name 'tcx/ingress'
| libbpf: prog 'cali_tcx_test': failed to load: -22
| libbpf: failed to load object './tcx_test.o'
| Error: failed to load object file
"""
FRAGMENTS = """\
| libbpf: prog 'calico_tc_skb_ipv4_frag': BPF program load failed: Invalid argument
| number of funcs in func_info doesn't match number of subprogs
| verification time 12 usec
| stack depth 0
| libbpf: prog 'calico_tc_skb_ipv4_frag': failed to load: -22
"""


def read(text: str, loader: str = "bpftool v7.1.0", image: str = "") -> ObjectTrial:
    return object_trial(f"loader {loader}\n{text}".encode(), "/objects", image)


def test_each_object_has_its_answer() -> None:
    text = (
        f"found 9\nobject to_hep_no_log.o\nend 0\nobject from_wep_no_log.o\n{BOUNDS}end 255\n"
        f"object tcx_test.o\n{TCX}end 255\nobject to_wep_no_log.o\nend 137\nobject xdp_no_log.o\nend large\n"
        "object xdp_debug.o\nend irregular\nobject from_lo_no_log.o\nend 139\nleft from_nat_no_log.o\n"
    )
    trial = read(text)
    assert (trial.by, trial.loader, trial.directory) == ("bpftool", "bpftool v7.1.0", "/objects")
    assert trial.accepted == ("to_hep_no_log.o",)
    assert trial.refused == (
        ObjectRefusal(
            name="from_wep_no_log.o",
            errno="EACCES",
            program="calico_tc_main",
            from_verifier=True,
            words=(
                "4: (71) r0 = *(u8 *)(r2 +0)",
                "invalid access to packet, off=0 size=1, R2(id=1,off=0,r=0)",
                "R2 offset is outside of the packet",
                "processed 5 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0",
            ),
        ),
        ObjectRefusal(
            name="tcx_test.o",
            errno="EINVAL",
            program="cali_tcx_test",
            words=(
                "libbpf: prog 'cali_tcx_test': missing BPF prog type, check ELF section name 'tcx/ingress'",
                "libbpf: prog 'cali_tcx_test': failed to load: -22",
                "libbpf: failed to load object './tcx_test.o'",
            ),
        ),
    )
    assert trial.undecided == (
        ("from_lo_no_log.o", "killed"),
        ("to_wep_no_log.o", "timeout"),
        ("xdp_debug.o", "irregular"),
        ("xdp_no_log.o", "large"),
    )
    assert trial.left == ("from_nat_no_log.o",)
    assert trial.strange == 1


def test_an_object_that_was_accepted_without_a_program() -> None:
    text = f"found 1\nobject from_hep_no_log.o\n{FRAGMENTS}end 0 without calico_tc_skb_ipv4_frag\n"
    trial = read(text, "libbpf v1.3")
    assert (trial.by, trial.accepted, trial.refused) == ("libbpf", (), ())
    words = ("number of funcs in func_info doesn't match number of subprogs",)
    name, program = "from_hep_no_log.o", "calico_tc_skb_ipv4_frag"
    assert trial.partly == (ObjectRefusal(name=name, errno="EINVAL", program=program, words=words, from_verifier=True),)


# As libbpf 1.5 prints it where a security module refuses the call, and where one does after the verifier is done.
DENIED = """\
| libbpf: prog 'calico_tc_main': BPF program load failed: Permission denied
| libbpf: prog 'calico_tc_main': failed to load: -13
| libbpf: failed to load object './from_wep_no_log.o'
"""
DENIED_LATE = f"""\
| verification time 12 usec
| stack depth 0
| processed 5 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
{DENIED}"""
DENIED_MAP = """\
| libbpf: map 'cali_v4_nat_fe3': failed to create: Permission denied(-13)
| libbpf: failed to load object './from_wep_no_log.o'
"""


@pytest.mark.parametrize(
    ("said", "from_verifier", "kind"),
    [
        (BOUNDS, True, "bounds"),
        (FRAGMENTS.replace("number of", "a strange").replace("-22", "-13"), True, "bounds"),
        (DENIED, False, "security module"),
        (DENIED_LATE, False, "security module"),
        (DENIED_MAP, False, "security module"),
    ],
)
def test_a_refusal_that_is_not_the_verifiers_is_told_from_its_own(said: str, from_verifier: bool, kind: str) -> None:
    for loader, end in (("libbpf v1.5", "end 13"), ("bpftool v7.5.0", "end 255")):
        (refusal,) = read(f"found 1\nobject from_wep_no_log.o\n{said}{end}\n", loader).refused
        assert refusal.from_verifier is from_verifier
        meaning = meaning_of(load_knowledge().objects, refusal)
        assert meaning is not None
        assert meaning.kind == kind


def test_libbpf_tells_the_errno_where_it_says_nothing() -> None:
    trial = read("found 1\nobject from_hep_no_log.o\nend 3\n", "libbpf v1.3")
    assert trial.refused == (ObjectRefusal(name="from_hep_no_log.o", errno="ESRCH"),)


def test_bpftools_exit_code_is_no_errno() -> None:
    trial = read("found 1\nobject from_hep_no_log.o\n| Error: what\nend 3\n")
    assert trial.refused == (ObjectRefusal(name="from_hep_no_log.o", words=("Error: what",)),)


def test_names_that_are_not_calicos_are_counted_alone() -> None:
    trial = read("found 3\nobject acme-secret.o\nend 0\nobject to_wep_no_log.o\nend 0\nleft other.o\n")
    assert (trial.accepted, trial.left, trial.strange) == (("to_wep_no_log.o",), (), 2)


def test_the_same_answers_in_another_order_are_the_same() -> None:
    one, other = "object to_wep_no_log.o\nend 0\n", "object from_wep_no_log.o\nend 0\n"
    assert read(f"found 2\n{one}{other}") == read(f"found 2\n{other}{one}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("found 1\nobject to_wep_no_log.o\n", "has no end"),
        ("found 1\nobject to_wep_no_log.o\nend maybe\n", "cannot be read"),
        ("found 1\nobject to_wep_no_log.o\nend 0\nobject to_wep_no_log.o\nend 255\n", "cannot be read"),
        ("found 1\nobject a b\nend 0\n", "no name that can be one"),
        ("found 1\nobject \x1b[31m.o\nend 0\n", "no name that can be one"),
        ("found 1\nend 0\n", "no name that can be one"),
        ("Segmentation fault\n", "is not what"),
        ("".join(f"object to_{number}.o\nend 0\n" for number in range(1001)), "cannot be read"),
    ],
)
def test_what_no_trial_prints_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(text)


def test_a_loader_must_be_named() -> None:
    with pytest.raises(ValueError, match="what loaded"):
        object_trial(b"found 1\nobject to_wep_no_log.o\nend 0\n", "/objects", "")


def test_long_lines_and_control_characters_stay_short_and_single() -> None:
    trial = read("found 1\nobject to_wep_no_log.o\n| \x1b]0;x\x07" + "a" * 5000 + "\n" * 3 + "end 1\n")
    (refusal,) = trial.refused
    assert len(refusal.words) == 1
    assert len(refusal.words[0]) <= 200


def of_section(section: str) -> Fact[ObjectTrial]:
    trial = ObjectsTrial(directory="/objects")
    data = f"\nebpfcheck-n begin objects /objects\n{section}\nebpfcheck-n done\n".encode()
    survey = Survey(data=data, nonce="n", trial=trial)
    return fact(SectionReader(read_document(data, "n"), survey, SourceKind.LOCAL, SourceIndex()), trial)


@pytest.mark.parametrize(
    ("section", "reason", "words"),
    [
        ("\nebpfcheck-n end absent", Reason.NOT_COLLECTED, "there is no /objects"),
        ("\nebpfcheck-n end no-tool bpftool", Reason.TOOL_MISSING, "bpftool"),
        ("\nebpfcheck-n end forbidden unshare -m: Operation not permitted", Reason.FORBIDDEN, "not permitted"),
        ("\nebpfcheck-n end failed it is no directory", Reason.NOT_COLLECTED, "no directory"),
        ("loader bpftool v7\nobject to_wep_no_log.o\nend 0", Reason.TRUNCATED, "end is missing"),
        ("rubbish\nebpfcheck-n end ok", Reason.UNPARSABLE, "rubbish"),
    ],
)
def test_objects_that_were_not_tried_are_unknown(section: str, reason: Reason, words: str) -> None:
    found = of_section(section)
    assert isinstance(found, Unknown)
    assert found.reason is reason
    assert words in found.detail


def test_objects_that_were_tried_are_known() -> None:
    found = of_section("loader bpftool v7\nfound 1\nobject to_wep_no_log.o\nend 0\n\nebpfcheck-n end ok")
    assert isinstance(found, Known)
    assert found.value.accepted == ("to_wep_no_log.o",)


def test_whatever_a_directory_is_called_it_is_one_word_of_the_script() -> None:
    text = survey_text(ObjectsTrial(directory="/it's $(id) `id`"), 100)
    assert re.search(r"^directory='/it'\"'\"'s \$\(id\) `id`'$", text, re.MULTILINE)
    assert re.search(r"^seconds=80$", text, re.MULTILINE)


# An object over which the verifier takes its time.
HANG = """
import ctypes, time, types
from ebpfcheck.trial import objects
objects.Loader = lambda _: types.SimpleNamespace(load=lambda _: time.sleep(1000))
objects.answer(types.SimpleNamespace(libc=ctypes.CDLL(None)), "to_wep_no_log.o", 1000)
"""


def test_a_trial_that_is_killed_takes_the_one_who_loads_with_it() -> None:
    with subprocess.Popen((sys.executable, "-c", HANG), cwd=ROOT) as process:
        while not (children := psutil.Process(process.pid).children()):
            assert process.poll() is None
        process.kill()
        (child,) = children
        child.wait(60)
