"""The trial of the kernel, as far as it takes no kernel: its source, what it makes of errors, its processes."""

import ast
import errno
import json
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable

import psutil
import pytest
from hatchling.builders.wheel import WheelBuilder

from ebpfcheck.collect import trial as collect
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.trial import kernel
from tests.builders import ROOT
from tests.trials import PROGRAM

SOURCE = PROGRAM.read_text()
TREE = ast.parse(SOURCE)
# Syntax that came after Python 3.0, which parses all that is here up to where it says that it is too old.
NEWER = (
    ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith,
    ast.YieldFrom, ast.MatMult, ast.Match, ast.TryStar,
)  # fmt: skip


def execute(prepared: str, source: str = SOURCE) -> subprocess.CompletedProcess[str]:
    """Run the trial's source after other code."""
    code = f"import sys\n{prepared}\nexec(compile(sys.stdin.read(), 'kernel.py', 'exec'), {{'__name__': '__main__'}})"
    return subprocess.run(
        (sys.executable, "-c", code), input=source, capture_output=True, text=True, timeout=60, check=False
    )


def test_old_pythons_parse_it() -> None:
    # The oldest grammar that this Python still knows.
    ast.parse(SOURCE, feature_version=(3, 7) if sys.version_info >= (3, 13) else (3, 4))
    newer = [node for node in ast.walk(TREE) if isinstance(node, NEWER)]
    assert not newer
    for node in ast.walk(TREE):
        assert not isinstance(node, ast.With) or len(node.items) == 1
        assert not isinstance(node, (ast.List, ast.Tuple, ast.Set)) or not any(
            isinstance(element, ast.Starred) for element in node.elts
        )
        if isinstance(node, ast.FunctionDef):
            assert not node.args.posonlyargs
            # Annotations are looked at when the function is made: what older versions have no name for is in quotes.
            annotations = [one.annotation for one in ast.walk(node.args) if isinstance(one, ast.arg)]
            for annotation in (*annotations, node.returns):
                assert not isinstance(annotation, (ast.Subscript, ast.BinOp)), ast.unparse(node)
    # 3.5 and older take no comma after these.
    assert not re.search(r"\*\w+,\s*\)", SOURCE)


def test_it_takes_the_standard_library_alone() -> None:
    imported = {alias.name for node in ast.walk(TREE) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module).partition(".")[0] for node in ast.walk(TREE) if isinstance(node, ast.ImportFrom)}
    assert "ctypes" in imported
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize("version", [(3, 0, 1), (3, 4, 10), (3, 5, 10)])
def test_an_old_python_gets_an_answer(version: tuple[int, ...]) -> None:
    result = execute(f"sys.version_info = {(*version, 'final', 0)}")
    assert (result.returncode, result.stderr) == (0, "")
    minor = ".".join(map(str, version[:2]))
    assert json.loads(result.stdout) == {
        "trial": "ebpfcheck.trial.kernel/1",
        "left": f"python3 is {minor} here, and this takes 3.6",
    }


def test_a_python_without_all_of_its_library_gets_an_answer() -> None:
    result = execute("sys.modules['ctypes'] = None")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["left"] == "python3 has no module ctypes here"


@pytest.mark.parametrize(("system", "machine"), [("Linux", "riscv64"), ("Linux", "armv7l"), ("Darwin", "x86_64")])
def test_other_machines_get_an_answer(
    system: str, machine: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.uname", lambda: os.uname_result((system, "", "", "", machine)))
    with pytest.raises(SystemExit) as ended:
        kernel.main()
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["left"] == "this takes 64-bit Linux on x86_64 or aarch64"


def test_it_is_shipped() -> None:
    files = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert "ebpfcheck/trial/kernel.py" in files


def test_what_writes_to_the_kernels_log_is_never_tried() -> None:
    assert not {"trace_printk", "trace_vprintk", "probe_write_user"} & set(kernel.HELPERS)
    called = {helper for helpers in kernel.CALLED.values() for helper in helpers.split()}
    assert called == set(kernel.HELPERS)


def test_what_is_asked_is_what_is_judged() -> None:
    named = {(need.topic, name) for need in load_knowledge().bpf.need for name in (*need.names, *need.instead)}
    asked_for = {(one.topic, one.name) for one in kernel.questions() if one.topic != "root_hooks"}
    assert named <= asked_for
    # It is of iptables mode.
    assert asked_for - named == {("map", "sockhash")}
    # What bpftool tells of is the same.
    assert set(kernel.HELPERS) == collect.HELPERS


# The ends of what verifiers said to programs that call one helper without its arguments, from these kernels.
LOGS = {
    "5.10 lacks it": "0: (85) call unknown#181\ninvalid func unknown#181\nprocessed 0 insns (limit 1000000)\n",
    "6.1 refuses it": "0: R1=ctx(off=0,imm=0) R10=fp0\n0: (85) call bpf_xdp_load_bytes#189\n"
    "unknown func bpf_xdp_load_bytes#189\nprocessed 1 insns (limit 1000000) max_states_per_insn 0\n",
    "6.12 refuses it": "0: R1=ctx() R10=fp0\n0: (85) call bpf_xdp_load_bytes#189\n"
    "program of this type cannot use helper bpf_xdp_load_bytes#189\nprocessed 1 insns (limit 1000000)\n",
    "7.3 refuses it": "0: R1=ctx() R10=fp0\n0: (85) call bpf_xdp_load_bytes#189\n"
    "program of this type cannot use helper bpf_xdp_load_bytes#189\n\n"
    "Verification failed: Policy: Operation is not allowed\n\nReason:\n  The helper is not allowed.\n\n"
    "Suggestion:\n  Use a helper allowed for this program type.\n\nprocessed 1 insns (limit 1000000)\n\n",
    "6.12 knows it": "0: R1=ctx() R10=fp0\n0: (85) call bpf_loop#181\nR1 type=ctx expected=scalar\n"
    "processed 1 insns (limit 1000000)\n",
    "7.3 knows it": "0: R1=ctx() R10=fp0\n0: (85) call bpf_loop#181\nR1 type=ctx expected=scalar\n\n"
    "Verification failed: Call Type Safety: Invalid call argument\n\nSuggestion:\n  Pass a value with one of the "
    "accepted pointer or scalar types for this call.\n\nprocessed 1 insns (limit 1000000)\n\n",
    "5.10 knows it": "0: (85) call bpf_skb_adjust_room#50\nR2 !read_ok\nprocessed 1 insns (limit 1000000)\n",
    "nobody knows this": "0: R1=ctx() R10=fp0\nthe moon is in the wrong house\nprocessed 1 insns (limit 1000000)\n",
}
SAID = {"lacks": "no", "refuses": "no", "knows": "yes"}


def refusing(number: int, log: str = "") -> Callable[..., int]:
    def load(*_: object) -> int:
        raise kernel.Refused(number, log)

    return load


def failing(number: int) -> Callable[..., int]:
    def call(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return call


def rights(*capabilities: str, seccomp: int | None = 0, memlock: int | None = None) -> kernel.Rights:
    """What a process in the first user namespace has."""
    made = kernel.Rights()
    made.capabilities = list(capabilities)
    made.in_user_namespace = False
    made.seccomp = seccomp
    made.memlock = memlock
    return made


def asked(topic: str, name: str, held: kernel.Rights) -> tuple[str, str, list[str]]:
    """The answer to a question, its errno, and its needs."""
    (question,) = (one for one in kernel.questions() if (one.topic, one.name) == (topic, name))
    found = question.ask(kernel.Asked(held, None))
    return found["answer"], found["errno"], found["needs"]


ALL = ("BPF", "NET_ADMIN", "PERFMON")


@pytest.mark.parametrize("case", LOGS)
def test_the_verifiers_words_decide_of_a_helper(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "raw_load", refusing(errno.EACCES, LOGS[case]))
    expected = SAID["knows" if case == "nobody knows this" else case.split()[1]]
    if case == "nobody knows this":
        expected = "untold"
    assert asked("helper", "sched_cls/loop", rights(*ALL))[0] == expected


@pytest.mark.parametrize("case", [case for case in LOGS if case.split()[1] in ("lacks", "refuses")])
def test_a_helper_may_be_hidden_from_those_without_perfmon(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "raw_load", refusing(errno.EINVAL, LOGS[case]))
    assert asked("helper", "sched_cls/loop", rights("BPF", "NET_ADMIN")) == ("untold", "EINVAL", ["PERFMON"])
    assert asked("helper", "sched_cls/loop", rights("NET_ADMIN", "SYS_ADMIN"))[0] == "no"


@pytest.mark.parametrize(
    ("number", "held", "expected"),
    [
        (errno.EINVAL, ALL, ("no", "EINVAL", [])),
        (errno.E2BIG, ALL, ("no", "E2BIG", [])),
        (errno.ENOSYS, ALL, ("no", "ENOSYS", [])),
        (errno.ENOMEM, ALL, ("untold", "ENOMEM", [])),
        (errno.ENOSPC, ALL, ("untold", "ENOSPC", [])),
        (errno.EACCES, ALL, ("untold", "EACCES", [])),
        (errno.EPERM, ALL, ("untold", "EPERM", [])),
        (errno.EPERM, ("PERFMON",), ("untold", "EPERM", ["BPF"])),
    ],
)
def test_what_errors_say_of_maps(
    number: int, held: tuple[str, ...], expected: tuple[str, str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "raw_bpf", failing(number))
    assert asked("map", "hash", rights(*held)) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EINVAL, ("no", "EINVAL", [])),
        (errno.ENOSYS, ("no", "ENOSYS", [])),
        (errno.ENOMEM, ("untold", "ENOMEM", [])),
        (errno.EACCES, ("untold", "EACCES", [])),
        (kernel.ENOTSUPP, ("untold", "ENOTSUPP", [])),
    ],
)
def test_what_errors_without_words_say_of_programs(
    number: int, expected: tuple[str, str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "raw_load", refusing(number))
    for topic, name in (("program", "xdp"), ("helper", "xdp/tail_call"), ("feature", "jmp32")):
        assert asked(topic, name, rights(*ALL)) == expected


def test_a_program_that_the_verifier_refuses_says_nothing_of_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "raw_load", refusing(errno.EINVAL, "At program exit the register R0 has value 1\n"))
    assert asked("program", "cgroup_sock_addr/recvmsg4", rights(*ALL)) == ("untold", "EINVAL", [])


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.E2BIG])
@pytest.mark.parametrize("mode", [2, None])
def test_a_seccomp_filter_may_say_anything(number: int, mode: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "raw_bpf", failing(number))
    for topic, name in (("map", "hash"), ("program", "xdp"), ("helper", "xdp/tail_call"), ("feature", "timer")):
        assert asked(topic, name, rights(*ALL, seccomp=mode))[0] == "untold"


@pytest.mark.parametrize(
    ("status", "mode"),
    [("CapEff:\t0\nSeccomp:\t2\n", 2), ("CapEff:\t0\nSeccomp:\t0\n", 0), ("CapEff:\t0\n", 0), ("", None)],
)
def test_a_kernel_without_seccomp_has_no_filter_at_work(
    status: str, mode: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "read", lambda path: status if path == "/proc/self/status" else "")
    held = kernel.Rights()
    assert held.seccomp == mode
    assert ("seccomp" in str(held.untold(errno.ENOMEM, "map", ()))) is (mode != 0)


def test_before_5_11_memory_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "raw_bpf", failing(errno.EPERM))
    held = rights(*ALL, memlock=65536)
    assert asked("map", "hash", held) == ("untold", "EPERM", ["SYS_RESOURCE"])
    assert asked("program", "xdp", held) == ("untold", "EPERM", ["SYS_RESOURCE"])


def test_before_5_8_sys_admin_was_all_there_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "read", lambda path: "37\n" if path.endswith("cap_last_cap") else "")
    assert rights("NET_ADMIN").missing(("BPF", "NET_ADMIN", "PERFMON")) == ("SYS_ADMIN",)
    assert rights("NET_ADMIN", "SYS_ADMIN").missing(("BPF", "NET_ADMIN", "PERFMON")) == ()


@pytest.mark.parametrize(
    ("knows_replace", "expected"), [(True, ("yes", "", [])), (False, ("no", "EINVAL", []))], ids=["5.7", "5.6"]
)
def test_xdp_is_attached_by_rtnetlink_and_no_link(
    knows_replace: bool, expected: tuple[str, str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    attached: list[bool] = []

    def netlink(kind: int, _: int, message: bytes) -> None:
        # The header of the message and of the attribute, and its first attribute: the program's file descriptor.
        assert kind == kernel.RTM_SETLINK
        assert struct.unpack_from("<H", message, 18) == (kernel.IFLA_XDP,)
        descriptor, flags = struct.unpack_from("<i4xI", message, 24)
        if flags & kernel.XDP_REPLACE and not knows_replace:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        attached.append(descriptor >= 0)

    monkeypatch.setattr(kernel, "netlink", netlink)
    monkeypatch.setattr(kernel, "raw_load", lambda *_: os.open(os.devnull, os.O_RDONLY))
    monkeypatch.setattr(kernel.LIBC, "unshare", lambda _: 0)
    monkeypatch.setattr(kernel.Network, "veth", lambda _: 7)
    assert asked("attach", "xdp/veth", rights(*ALL)) == ("yes", "", [])
    assert asked("attach", "xdp-replace/veth", rights(*ALL)) == expected
    # Nothing stays attached.
    assert attached == [True, False] * (2 if knows_replace else 1)


MOUNTINFO = """\
30 23 0:26 / {0} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
31 23 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
32 23 {2} / {1} rw - cgroup2 none rw
33 23 0:26 / /gone rw - cgroup2 none rw
"""


def test_hierarchies_that_are_mounted_over_are_not_taken(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    covered, seen = tmp_path_factory.mktemp("covered"), tmp_path_factory.mktemp("to be seen")
    device = f"{os.major(seen.stat().st_dev)}:{os.minor(seen.stat().st_dev)}"
    text = MOUNTINFO.format(covered, str(seen).replace(" ", "\\040"), device)
    monkeypatch.setattr(kernel, "read", lambda _: text)
    found = list(kernel.visible_hierarchies())
    for _, directory in found:
        os.close(directory)
    assert [path for path, _ in found] == [str(seen)]


# The processes. Questions are functions of what they are asked of, which these do not look at.
QUESTIONS = """
import os, signal, sys, time
from ebpfcheck.trial.kernel import Question, Trial, Untold
def fine(asked): return None
def hang(asked): time.sleep(1000)
def crash(asked): os.kill(os.getpid(), signal.SIGSEGV)
def wrong(asked): raise ValueError("wrong")
def talk(asked): os.write(2, b"a fatal error\\n")
def run(*functions, **limits):
    import json
    print(json.dumps(Trial([Question("map", one.__name__, one) for one in functions], **limits).run()))
"""


def trial(code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        (sys.executable, "-c", QUESTIONS + code), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def told(process: "subprocess.Popen[str]") -> tuple[list[tuple[str, str]], str]:
    """The answers of a trial and their words, and why it ended early."""
    out, errors = process.communicate(timeout=100)
    assert (process.returncode, errors) == (0, "")
    document = json.loads(out)
    return [(one["answer"], one["words"]) for one in document["answers"]], document["left"]


def test_a_question_that_hangs_or_goes_wrong_does_not_take_the_others_with_it() -> None:
    given, left = told(trial("run(fine, hang, fine, crash, wrong, talk, fine, question_seconds=5)"))
    assert given == [
        ("yes", ""),
        ("untold", "no answer within 5 s"),
        ("yes", ""),
        ("untold", "the process that asked was killed by SIGSEGV"),
        ("untold", "this could not be asked: ValueError('wrong')"),
        ("untold", "the process that asked said: b'a fatal error'"),
        ("yes", ""),
    ]
    assert left == ""


def test_a_trial_ends_when_nothing_is_answered() -> None:
    given, left = told(trial("run(*[crash] * 50)"))
    assert left == "4 questions one after the other had no answer: the process that asked was killed by SIGSEGV"
    assert given[4:] == [("untold", left)] * 46


def test_a_trial_ends_in_time() -> None:
    given, left = told(trial("run(fine, hang, fine, question_seconds=1, trial_seconds=0.5)"))
    assert left == "the trial took longer than 0 s"
    assert given[2] == ("untold", left)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_trial_that_is_told_to_end_says_what_it_knows(number: signal.Signals) -> None:
    process = trial("run(fine, hang, fine)")
    while not psutil.Process(process.pid).children():
        assert process.poll() is None
    process.send_signal(number)
    given, left = told(process)
    assert left == f"ended by {number.name}"
    assert given[-1] == ("untold", left)


def test_a_trial_that_is_killed_takes_the_one_who_asks_with_it() -> None:
    with trial("run(hang)") as process:
        while not (children := psutil.Process(process.pid).children()):
            assert process.poll() is None
        process.kill()
        (child,) = children
        child.wait(60)
