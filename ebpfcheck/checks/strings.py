"""Judges kernels by their strings alone, with no node at hand."""

import msgspec

from ebpfcheck.checks.kernel import KernelStrings, judge_arch, judge_version, release_of
from ebpfcheck.checks.known_kernels import judge_known_bad
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.kernels import KernelQuestion, KernelResult
from ebpfcheck.model.report import Status
from ebpfcheck.model.text import excerpt
from ebpfcheck.versions import KernelRelease

_WORST_FIRST = (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.PASS)


def judge_strings(target: Release, question: KernelQuestion) -> KernelResult:
    """Judge a kernel by what is given of it; what the strings do not decide is null in the result."""
    if question.proc_version is None and (question.release or "").startswith("Linux version "):
        # The whole of /proc/version where its release was asked for says all the more.
        question = msgspec.structs.replace(question, release=None, proc_version=question.release)
    named = release_of(question.proc_version) if question.proc_version is not None else None
    release = question.release if question.release is not None else named
    if release is None:
        asked = (
            "proc_version names no kernel release." if question.proc_version else "release or proc_version is needed."
        )
        return KernelResult(release=None, status=Status.UNKNOWN, message=asked)
    shown = excerpt(release.strip(), 120)
    if question.proc_version is not None and question.release is not None and not _same(named, release):
        other = excerpt(named or "none", 80)
        message = f"release and proc_version disagree: proc_version names {other}."
        return KernelResult(release=shown, status=Status.UNKNOWN, message=message)
    strings = KernelStrings(release=release, proc_version=question.proc_version, os_image=question.os_image)
    answer = judge_version(target, strings)
    felix, documented = answer.felix, answer.documented
    outcomes = [answer.outcome]
    if answer.felix is True:
        outcomes.append(judge_known_bad(target, strings))
    if question.arch is not None:
        arch = judge_arch(target, question.arch)
        outcomes.append(arch)
        if arch.status is Status.FAIL:
            felix = False
        if arch.status in (Status.FAIL, Status.WARN):
            documented = False
        if arch.status is Status.UNKNOWN:
            felix, documented = felix and None, documented and None
    status = next(status for status in _WORST_FIRST if any(outcome.status is status for outcome in outcomes))
    told = [outcome for outcome in outcomes if outcome.status is not Status.PASS or outcome.is_note]
    said = [outcome.message for outcome in told] or [answer.outcome.message]
    if status is Status.UNKNOWN and question.proc_version is None and answer.felix is not False:
        said.append("Give its /proc/version, which tells more.")
    return KernelResult(
        release=shown,
        distro=answer.distro,
        felix=felix,
        documented=documented,
        status=status,
        message=" ".join(said),
    )


def _same(named: str | None, release: str) -> bool:
    """Whether a release is the one that /proc/version names, kubectl's tail such as " (amd64)" aside."""
    kernel = KernelRelease.parse(release)
    return named == (release.strip() if kernel is None else kernel.text)
