"""The trial on Debian's kernels, booted in a virtual machine, one boot each for all that is asked of it."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from ebpfcheck.checks import trial
from ebpfcheck.model.facts import TRIAL_FACTS
from ebpfcheck.versions import KernelRelease
from tests import accuracy
from tests.builders import Part, judged, tried
from tests.live.machine import boot_python, kernel
from tests.live.tools import need
from tests.trials import PROGRAM, RESTRICTED, answers, assert_bpftool_agrees, checked

pytestmark = pytest.mark.live

# What there is of the machine before and after, as the commands below list it.
LIST = """\
look() {
    ls /sys/class/net /sys/fs/bpf
    find /cgroup -type d
    for kind in prog map link; do bpftool -j $kind list; done
}
"""
WHOLE = """\
mount -t bpf bpf /sys/fs/bpf
mkdir /cgroup
mount -t cgroup2 cgroup2 /cgroup
look > /results/before
$PYTHON - < /kernel.py > /results/whole
bpftool -j feature probe > /results/probe
"""
# The kernel lets go of programs a little after those who hold them.
AFTER = """\
for try in $(seq 50); do
    look > /results/after && cmp -s /results/before /results/after && break
    sleep 0.2
done
dmesg | grep -i trace_printk > /results/log || true
"""
MODULES = ("veth", "vxlan", "sch_ingress", "cls_bpf")


@dataclass(frozen=True)
class Boot:
    """How a kernel is booted: what it is told, what is done before, and the ways in which the trial runs once more.

    With each way goes which capabilities the answers must call for.
    """

    ways: dict[str, set[str]]
    words: str = ""
    before: str = ""
    after: str = ""


# Each kernel is there for some of the conditions, since to boot all of them with all would take too long.
BOOTS = {
    "5.10": Boot(
        ways={
            "capabilities=BPF,NET_ADMIN": {"PERFMON", "SYS_ADMIN"},
            "memlock=4096 capabilities=BPF,DAC_OVERRIDE,NET_ADMIN,PERFMON,SYS_ADMIN": {"SYS_RESOURCE"},
        }
    ),
    "6.1": Boot(
        before="echo 2 > /proc/sys/net/core/bpf_jit_harden\n",
        ways={"capabilities=SYS_ADMIN": {"DAC_OVERRIDE", "NET_ADMIN"}},
    ),
    "6.12": Boot(
        words="lockdown=confidentiality",
        ways={"user-namespace": {"BPF", "NET_ADMIN"}},
        after="echo 0 > /proc/sys/net/core/bpf_jit_enable\n$PYTHON - < /kernel.py > /results/interpreted\n",
    ),
    "newest": Boot(
        before="mount -t tmpfs none /proc/sys/net/core\n",
        ways={"nobody": {"BPF", "NET_ADMIN", "SYS_ADMIN"}},
        after="mkdir /cgroup/own\n$PYTHON /restricted.py cgroup=/cgroup/own < /kernel.py > /results/moved\n"
        "rmdir /cgroup/own\n",
    ),
}
# Written down from what is known of these kernels; all else must be there.
BEFORE_TCX = {"attach tcx/veth": "EINVAL", "attach netkit": "EOPNOTSUPP"}
LACKING = {
    "5.10": {
        **BEFORE_TCX,
        "helper sched_cls/for_each_map_elem": "EINVAL",
        "helper sched_cls/timer_init": "EINVAL",
        "helper sched_cls/timer_set_callback": "EINVAL",
        "helper sched_cls/timer_start": "EINVAL",
        "helper sched_cls/loop": "EINVAL",
        "helper xdp/xdp_load_bytes": "EINVAL",
        "feature callbacks": "EINVAL",
        "feature atomic_fetch": "EINVAL",
        "feature atomic_or_32": "EINVAL",
        "feature bpf_loop": "EINVAL",
        "feature timer": "EINVAL",
    },
    "6.1": BEFORE_TCX,
    "6.12": {},
    "newest": {},
}


@dataclass(frozen=True)
class Booted:
    """What came out of a boot."""

    name: str
    results: dict[str, bytes]

    def document(self, way: str = "whole") -> dict[str, Any]:
        """The document of the trial that ran in that way."""
        return checked(self.results[way])


@pytest.fixture(scope="module", params=BOOTS)
def booted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Booted:
    """Boot a kernel, and run the trial in it in all its ways."""
    need("bpftool", "bpftool")
    name = request.param
    way = BOOTS[name]
    again = "".join(f"$PYTHON /restricted.py {one} < /kernel.py > '/results/{one}'\n" for one in way.ways)
    results = boot_python(
        kernel(name),
        LIST + way.before + WHOLE + again + way.after + AFTER,
        tmp_path_factory.mktemp("boot"),
        words=way.words,
        files=(PROGRAM, RESTRICTED),
        programs=("bpftool",),
        modules=MODULES,
    )
    return Booted(name=name, results=results)


def test_the_answers_are_those_that_were_written_down(booted: Booted) -> None:
    document = booted.document()
    assert document["left"] == ""
    assert document["release"] == (kernel(booted.name) / "release").read_text().strip()
    assert answers(document, "no") == LACKING[booted.name]
    assert answers(document, "untold") == {}
    assert {hook["answer"] for hook in document["root_hooks"]} == {"yes"}
    assert document["root_hooks_path"] == "/cgroup"


def test_what_is_said_is_what_the_page_on_accuracy_holds(booted: Booted) -> None:
    document = booted.document()
    release = KernelRelease.parse(document["release"])
    assert release is not None
    recorded = accuracy.like(".".join(map(str, release.base)))
    if recorded is None:
        pytest.skip(f"nothing is recorded of kernels like this kernel, {release.text}: `make matrix` does")
    answers_now = tried(Part(json.dumps(document) + "\n", locator="bpf(2)"))
    kind = msgspec.structs.replace(recorded.kind, **{name: getattr(answers_now, name) for name in TRIAL_FACTS})
    for calico in accuracy.releases():
        now = accuracy.by_trial(calico, accuracy.Recorded(recorded.version, kind))
        assert now == accuracy.by_trial(calico, recorded), (calico, release.text, recorded.version)


def test_the_types_are_those_that_bpftool_sees(booted: Booted) -> None:
    assert_bpftool_agrees(booted.document(), booted.results["probe"])


def test_the_machine_is_as_it_was(booted: Booted) -> None:
    assert b"lo" in booted.results["before"].splitlines()
    assert booted.results["after"] == booted.results["before"]
    assert booted.results["log"] == b""


@pytest.mark.parametrize("booted", ["6.12"], indirect=True, scope="module")
def test_without_the_jit_compiler_there_are_no_callbacks(booted: Booted) -> None:
    refused = {"feature callbacks": "EINVAL", "feature bpf_loop": "EINVAL", "feature timer": "EINVAL"}
    assert answers(booted.document("interpreted")) == refused


@pytest.mark.parametrize("booted", ["newest"], indirect=True, scope="module")
def test_a_process_that_does_not_see_the_root_gets_there_by_process_1(booted: Booted) -> None:
    document = booted.document("moved")
    assert answers(document) == {}
    assert {hook["answer"] for hook in document["root_hooks"]} == {"yes"}
    assert document["root_hooks_path"] == "a private mount"


def test_a_refusal_to_look_is_no_answer(booted: Booted) -> None:
    for way, called_for in BOOTS[booted.name].ways.items():
        document = booted.document(way)
        assert answers(document, "no").items() <= LACKING[booted.name].items(), way
        assert {name for one in document["answers"] for name in one["needs"]} == called_for, way
        untold = [one for one in document["answers"] if one["answer"] == "untold"]
        assert all(one["needs"] for one in untold), way


# What is said of these kernels to who wants to run a release on them, where that is not a plain pass.
JUDGED: dict[tuple[str, str], dict[str, str]] = {
    ("5.10", "v3.29.7"): {"helpers": "note", "features": "not_applicable"},
    ("5.10", "v3.32.1"): {"helpers": "note", "features": "warn", "attach": "note"},
    ("5.10", "v3.33"): {"helpers": "fail", "features": "fail", "attach": "note"},
    ("6.1", "v3.32.1"): {"attach": "note"},
    ("6.1", "v3.33"): {"attach": "note"},
    ("6.12", "v3.33"): {},
    ("newest", "v3.32.1"): {},
}
CHECKS = {
    "maps": trial.bpf_maps,
    "programs": trial.bpf_programs,
    "helpers": trial.bpf_helpers,
    "features": trial.bpf_features,
    "attach": trial.bpf_attach,
}


def judgements(document: dict[str, Any], version: str) -> dict[str, str]:
    facts = tried(Part(json.dumps(document)))
    found = {name: judged(check, facts, version) for name, check in CHECKS.items()}
    return {name: "note" if one.note else one.status.value for name, one in found.items()}


def test_what_the_answers_mean_for_releases(booted: Booted) -> None:
    for (name, version), expected in JUDGED.items():
        if name == booted.name:
            assert judgements(booted.document(), version) == {**dict.fromkeys(CHECKS, "pass"), **expected}, version
            for way in BOOTS[name].ways:
                said = judgements(booted.document(way), version)
                assert {one for one, status in said.items() if status == "fail"} <= {
                    one for one, status in expected.items() if status == "fail"
                }, way
