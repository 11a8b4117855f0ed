"""Records kernels: boots those that tests/kernels.sh fetched, surveys and tries each, and keeps what tells of it."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ebpfcheck.collect.local import LocalTransport
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import Survey
from ebpfcheck.model.codec import decode_snapshot, encode_snapshot
from ebpfcheck.model.facts import KERNEL_TRIAL_FACTS, Fact, Known, NodeIdentity, NodeKind, Source, SourceKind
from ebpfcheck.model.snapshot import Node, Snapshot, SourceIndex
from ebpfcheck.versions import KernelRelease
from tests.accuracy import RECORDS
from tests.live.machine import boot, boot_python
from tests.trials import PROGRAM

KERNEL_FACTS = (
    "proc_version", "kernel_release", "arch", "os", "kernel_config", "filesystems", "vmlinux_btf", "lockdown",
    "bpf_jit_enable", "bpf_jit_harden", *sorted(KERNEL_TRIAL_FACTS),
)  # fmt: skip
"""What is recorded; the rest of a node says nothing about what its kernel loads."""

# What the trial makes devices and filters of.
TRIAL_MODULES = ("veth", "vxlan", "sch_ingress", "cls_bpf")
_MOUNTS = "mount -t bpf bpf /sys/fs/bpf\nmount -t cgroup2 cgroup2 /sys/fs/cgroup\n"
# The compiler, named before, may be Debian's too.
_DEBIAN = re.compile(r"\) #.* Debian (\d+\.\d+\.\d+)-")
_BUILDER = re.compile(r" \([^() ]+@[^() ]+\)")


def record_booted(directory: Path, work: Path) -> Path:
    """Boot a kernel, for a survey and for a trial, and record it; returns the record."""
    for name in ("survey", "trial"):
        (work / name).mkdir()
    survey, _ = boot(directory, _MOUNTS, work / "survey")
    commands = f"{_MOUNTS}$PYTHON - < /{PROGRAM.name} > /results/document\n"
    results = boot_python(directory, commands, work / "trial", files=(PROGRAM,), modules=TRIAL_MODULES)
    body, _, end = survey.rpartition(b"\nebpfcheck-nonce done\n")
    frame = b"\nebpfcheck-nonce begin trial bpf(2)\n%b\nebpfcheck-nonce end ok\n" % results["document"]
    return _record(Survey(data=body + frame + b"\nebpfcheck-nonce done\n" + end, nonce="nonce", trial="kernel"))


def record_own() -> Path:
    """Record the kernel of this machine."""
    return _record(LocalTransport(trial="kernel").start(120).finish())


def _record(survey: Survey) -> Path:
    sources = SourceIndex()
    facts, _ = node_facts(survey, SourceKind.LOCAL, sources)
    version = true_version(facts.kind)
    path = RECORDS / f"{version}.json"
    new = kernel_alone(facts.kind, sources.listed())
    # A record whose facts still hold stays as it is, to the byte.
    if not path.exists() or decode_snapshot(path.read_bytes()).kinds != new.kinds:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_snapshot(new))
    return path


def true_version(kind: NodeKind) -> str:
    """Return a kernel's true version, which Debian names in /proc/version alone."""
    debian = _DEBIAN.search(_text(kind.proc_version))
    release = KernelRelease.parse(_text(kind.kernel_release))
    assert release is not None
    return debian[1] if debian else ".".join(map(str, release.base))


def kernel_alone(kind: NodeKind, sources: tuple[Source, ...]) -> Snapshot:
    """Return a snapshot of what is recorded of a kernel, without the machine around it and who built it."""
    kept: dict[str, Fact[Any]] = {name: getattr(kind, name) for name in KERNEL_FACTS}
    proc_version = kept["proc_version"]
    if isinstance(proc_version, Known) and not _DEBIAN.search(proc_version.value):
        anonymous = _BUILDER.sub(" (builder@host)", proc_version.value, count=1)
        kept["proc_version"] = msgspec.structs.replace(proc_version, value=anonymous)
    used = sorted({fact.source for fact in kept.values() if fact.source is not None})
    placed = {
        name: fact if fact.source is None else msgspec.structs.replace(fact, source=used.index(fact.source))
        for name, fact in kept.items()
    }
    return Snapshot(
        tool_version="test",
        taken_at=datetime(2026, 11, 28, tzinfo=UTC),
        sources=tuple(sources[index] for index in used),
        kinds=(NodeKind(**placed),),
        nodes=(Node(identity=NodeIdentity(name="kernel"), kind=0),),
    )


def _text(fact: Fact[str]) -> str:
    assert isinstance(fact, Known), fact
    return fact.value
