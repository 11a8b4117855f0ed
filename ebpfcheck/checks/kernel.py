"""The kernel: its version, known bad pairs, BTF, configuration, lockdown, architecture, JIT settings."""

import re
from typing import Any

import msgspec

from ebpfcheck.checks.bpf_needs import ATTACHMENTS, DEVICES, KERNEL_ANSWERS, answer_of, kernel_lacks
from ebpfcheck.checks.gate import FelixAnswer, ask_felix, is_enterprise_linux, meets_documented
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import (
    Given,
    Need,
    Outcome,
    Rung,
    check,
    fail,
    first_of,
    not_applicable,
    optional,
    passed,
    required,
    settled,
    unknown,
    unseen,
    warn,
)
from ebpfcheck.model.facts import Absent, Known, NodeKind, Reason, Unknown, Untold
from ebpfcheck.model.report import Remediation, Severity, Status
from ebpfcheck.model.text import excerpt
from ebpfcheck.versions import KernelRelease

FALLBACK = (
    "Felix would log one error line, silently go back to the standard dataplane and stay Running; with kube-proxy "
    "gone the node then has no services"
)

_GATE = "Felix goes by its version alone"

_RELEASE_IN_PROC_VERSION = re.compile(r"Linux version (\S+)")


class KernelStrings(msgspec.Struct, frozen=True, kw_only=True):
    """What is at hand of a kernel: its release, /proc/version, and what tells whose kernel it is."""

    release: str
    proc_version: str | None = None
    os_id: str | None = None
    os_image: str | None = None


class KernelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Felix's and the documentation's answers about a kernel, and the outcome that they add up to."""

    felix: bool | None
    documented: bool | None
    distro: str | None
    outcome: Outcome


def release_of(proc_version: str) -> str | None:
    """Return the release that /proc/version names, None if it names none."""
    match = _RELEASE_IN_PROC_VERSION.search(proc_version)
    return None if match is None else match[1]


def judge_version(target: Release, strings: KernelStrings) -> KernelAnswer:
    """Compare a kernel with Felix's own test and with the documented floor of a release."""
    kernel = KernelRelease.parse(strings.release)
    calico = target.version
    shown = excerpt(strings.release, 80)
    needed = f"{target.documented} (documented for Calico {calico})"
    if kernel is None:
        outcome = unknown(
            "unparsable",
            f"{shown!r} is not a kernel release that can be read, so nothing can be said of it.",
            reason=Reason.UNPARSABLE,
            observed=shown,
            required=needed,
        )
        return KernelAnswer(felix=None, documented=None, distro=None, outcome=outcome)
    felix = ask_felix(target.gate, proc_version=strings.proc_version, release=kernel)
    el = is_enterprise_linux(
        target.enterprise_linux,
        kernel,
        proc_version=strings.proc_version,
        os_id=strings.os_id,
        os_image=strings.os_image,
    )
    documented = meets_documented(target.documented, kernel, el)
    outcome = _version_outcome(target, felix, documented, shown, needed)
    return KernelAnswer(felix=felix.accepts, documented=documented, distro=felix.distro, outcome=outcome)


def _version_outcome(target: Release, felix: FelixAnswer, documented: bool | None, shown: str, needed: str) -> Outcome:
    calico = target.version
    upgrade = Remediation(
        text=f"Boot a kernel that Calico {calico} documents: {target.documented}. Keep kube-proxy running until then.",
        needs_reboot=True,
        disruptive=True,
    )
    if felix.accepts is False:
        why = (
            "Felix finds no version of three numbers in it"
            if felix.why == "unreadable"
            else f"Felix {calico} wants at least {felix.needs}"
        )
        return fail(
            f"felix-{felix.why}",
            f"Felix refuses kernel {shown}: {why}. {FALLBACK}.",
            observed=shown,
            required=needed,
            remediation=upgrade,
        )
    if felix.accepts is None:
        return unknown(
            "felix-undecided",
            f"Whether Felix {calico} accepts kernel {shown} depends on the compiler that /proc/version names: "
            f"{target.gate.rhel_floor} is enough where it says Red Hat, {target.gate.floor} is needed elsewhere.",
            reason=Reason.NOT_COLLECTED,
            observed=shown,
            required=needed,
            remediation=Remediation(
                text="Look at the node, or give its /proc/version.", commands=("cat /proc/version",)
            ),
        )
    if documented is True:
        return passed(
            "documented", f"Kernel {shown} is one that Calico {calico} documents.", observed=shown, required=needed
        )
    if documented is None:
        return unknown(
            "documented-undecided",
            f"Felix {calico} accepts kernel {shown}; whether the documentation does depends on whether it is Red "
            "Hat's, which neither its name nor the system tells.",
            reason=Reason.NOT_COLLECTED,
            observed=shown,
            required=needed,
        )
    tried = "has no kernel test" if felix.why == "no_test" else f"accepts it (its own floor is {felix.needs})"
    return warn(
        "below-documented",
        f"Kernel {shown} is older than Calico {calico} documents. Felix {tried} and will try, but programs may be "
        "refused when they load, and the documentation does not support it.",
        observed=shown,
        required=needed,
        remediation=upgrade,
    )


KERNEL = first_of(NodeKind.proc_version, NodeKind.kernel_release)
RELEASE = optional(NodeKind.kernel_release)
OS = optional(NodeKind.os)
OS_IMAGE = optional(NodeKind.os_image)


def strings_of(given: Given) -> KernelStrings | None:
    """Collect what the node's facts say of its kernel; None where /proc/version names no release."""
    rung = given[KERNEL]
    os = given[OS]
    os_id = os.value.id if isinstance(os, Known) else None
    image = given[OS_IMAGE]
    os_image = image.value if isinstance(image, Known) else None
    if rung.fact == "kernel_release":
        return KernelStrings(release=rung.value, os_id=os_id, os_image=os_image)
    release = given[RELEASE]
    named = release_of(rung.value)
    text = release.value if isinstance(release, Known) else named
    return (
        None if text is None else KernelStrings(release=text, proc_version=rung.value, os_id=os_id, os_image=os_image)
    )


def no_release(given: Given) -> Outcome:
    """Say that /proc/version names no kernel release."""
    return unknown(
        "unparsable",
        "/proc/version names no kernel release, so nothing can be said of it.",
        reason=Reason.UNPARSABLE,
        observed=excerpt(given[KERNEL].value, 80),
    )


@check(
    id="node.kernel.version",
    title="Kernel version",
    category="kernel",
    severity=Severity.BLOCKER,
    needs=(KERNEL, RELEASE, OS, OS_IMAGE, *KERNEL_ANSWERS),
)
def kernel_version(given: Given) -> Outcome:
    """Felix's own test, the documented floor, and the difference; a trial's answer where it says otherwise."""
    strings = strings_of(given)
    if strings is None:
        return no_release(given)
    outcome = judge_version(given.release, strings).outcome
    said = _said_by_trial(given, outcome)
    return msgspec.structs.replace(outcome, message=f"{outcome.message} {said}") if said else outcome


def _said_by_trial(given: Given, outcome: Outcome) -> str:
    """Return what the kernel itself answered, where that is another answer than its version gives."""
    lacking = kernel_lacks(given)
    if lacking is None or outcome.status is Status.UNKNOWN:
        return ""
    if lacking:
        accepts = outcome.status is not Status.FAIL
        return f"The kernel itself, asked by bpf(2), lacks what is needed (node.bpf.*): {_GATE}." if accepts else ""
    if outcome.status is Status.FAIL:
        return f"The kernel itself, asked by bpf(2), has all that the programs need; but {_GATE}."
    if outcome.status is Status.WARN:
        return "The kernel itself, asked by bpf(2), has all that the programs need."
    return ""


_BTF = settled(NodeKind.vmlinux_btf)


@check(
    id="node.kernel.btf",
    title="Kernel type information (BTF)",
    category="kernel",
    severity=lambda release: Severity(release.btf.severity) if release.btf else None,
    needs=(_BTF,),
)
def kernel_btf(given: Given) -> Outcome:
    """/sys/kernel/btf/vmlinux, needed more with every release."""
    btf = given[_BTF]
    rule = given.release.btf
    if rule is None or (isinstance(btf, Known) and btf.value):
        return passed("present", "The kernel carries BTF.", observed="/sys/kernel/btf/vmlinux is there")
    observed = "/sys/kernel/btf/vmlinux is empty" if isinstance(btf, Known) else "no /sys/kernel/btf/vmlinux"
    message = f"The kernel carries no BTF: with Calico {given.release.version} {rule.effect}."
    needed = "a kernel built with CONFIG_DEBUG_INFO_BTF=y"
    fix = Remediation(text="Boot a kernel that is built with CONFIG_DEBUG_INFO_BTF=y.", needs_reboot=True)
    if rule.severity == "blocker":
        return fail("missing", message, observed=observed, required=needed, remediation=fix)
    if rule.severity == "degrade":
        return warn("missing", message, observed=observed, required=needed, remediation=fix)
    return passed("missing", message, observed=observed, required=needed, note=True)


# Where there is no configuration to read, the kernel's answers may settle it.
_SETTLED: Need[Rung[Any]] = first_of(NodeKind.kernel_config, NodeKind.trial_attachments)
_CONFIG = optional(NodeKind.kernel_config)
_FILESYSTEMS = optional(NodeKind.filesystems)
_JIT_ENABLE_SEEN = optional(NodeKind.bpf_jit_enable)


@check(
    id="node.kernel.config",
    title="Kernel configuration",
    category="kernel",
    severity=Severity.BLOCKER,
    needs=(_SETTLED, _CONFIG, _FILESYSTEMS, RELEASE, _JIT_ENABLE_SEEN, ATTACHMENTS, DEVICES),
)
def kernel_config(given: Given) -> Outcome:
    """The options without which programs do not load or attach."""
    options, shown = given[_CONFIG], _shown_options(given)
    if not isinstance(options, Known):
        open_options = [one.option for one in given.release.config if one.option not in shown]
        if open_options:
            return unseen(
                "config-unseen",
                f"The kernel, asked by bpf(2), shows some of its configuration, but not {', '.join(open_options)}, and "
                "there is no file to tell",
                options,
            )
        return passed("shown", "The kernel, asked by bpf(2), shows that it is configured for what Felix needs.")
    config = {**dict(options.value), **shown}
    lacking = [
        option
        for option in given.release.config
        if config.get(option.option, "n") not in (("y", "m") if option.module else ("y",))
    ]
    attaches_by_tcx = _attaches_by_tcx(given)
    needed = ", ".join(option.option for option in given.release.config)
    if not lacking:
        return passed("complete", "The kernel is configured for what Felix loads and attaches.", required=needed)
    observed = ", ".join(f"{option.option}={config.get(option.option, 'n')}" for option in lacking)
    effects = "; ".join(
        f"without {option.option} {option.effect}"
        + (" (Felix attaches by TCX here, unless bpfAttachType is TC)" if option.tc_only and attaches_by_tcx else "")
        for option in lacking
    )
    message = f"The kernel is not configured for all that eBPF mode of Calico {given.release.version} needs: {effects}."
    fix = Remediation(
        text=f"Boot a kernel that is built with {', '.join(option.option for option in lacking)}.", needs_reboot=True
    )
    cause = ",".join(option.option for option in lacking)
    if any(option.severity == "blocker" and not (option.tc_only and attaches_by_tcx) for option in lacking):
        return fail(cause, message, observed=observed, required=needed, remediation=fix)
    return warn(cause, message, observed=observed, required=needed, remediation=fix)


def _shown_options(given: Given) -> dict[str, str]:
    """Return the options that the running kernel shows to be set, which outranks what a file says of it."""
    filesystems, attachments, devices = given[_FILESYSTEMS], given[ATTACHMENTS], given[DEVICES]
    shown = []
    if isinstance(filesystems, Known) and "bpf" in filesystems.value:
        shown.append("CONFIG_BPF_SYSCALL")
    if isinstance(attachments, Known):
        yes = attachments.value.yes
        if "clsact/veth" in yes:
            shown += ["CONFIG_NET_CLS_ACT", "CONFIG_NET_SCH_INGRESS", "CONFIG_NET_CLS_BPF"]
        if "cgroup/connect4" in yes or "cgroup-legacy/connect4" in yes:
            shown.append("CONFIG_CGROUP_BPF")
    if isinstance(devices, Known) and "vxlan-external" in devices.value.yes:
        shown.append("CONFIG_VXLAN")
    if isinstance(given[_JIT_ENABLE_SEEN], Known):
        shown.append("CONFIG_BPF_JIT")
    return dict.fromkeys(shown, "y")


def _attaches_by_tcx(given: Given) -> bool:
    attachments = given[ATTACHMENTS]
    if given.release.tcx_from_kernel is not None and isinstance(attachments, Known):
        answer = answer_of(attachments.value, "tcx/veth")
        if not isinstance(answer, Untold):
            return answer is None
    release = given[RELEASE]
    kernel = KernelRelease.parse(release.value) if isinstance(release, Known) else None
    first = KernelRelease.parse(given.release.tcx_from_kernel or "")
    return kernel is not None and first is not None and kernel.base >= first.base


_LOCKDOWN = optional(NodeKind.lockdown)


@check(
    id="node.kernel.lockdown",
    title="Kernel lockdown",
    category="kernel",
    severity=Severity.NOTE,
    needs=(_LOCKDOWN,),
)
def kernel_lockdown(given: Given) -> Outcome:
    """Lockdown takes nothing from Calico that it needs; confidentiality makes the kernel log chatter."""
    lockdown = given[_LOCKDOWN]
    if isinstance(lockdown, Absent):
        return not_applicable("no-lockdown", "This kernel has no lockdown.")
    if isinstance(lockdown, Unknown):
        return unknown(
            "unseen",
            f"Kernel lockdown could not be told: {excerpt(lockdown.detail)}. It would not keep eBPF mode from working.",
            reason=lockdown.reason,
            remediation=Remediation(
                text="If you want to know, mount securityfs and look again.",
                commands=("mount -t securityfs securityfs /sys/kernel/security",),
            ),
        )
    if lockdown.value == "confidentiality":
        return passed(
            "confidentiality",
            "Kernel lockdown is set to confidentiality: Calico's programs load and run all the same, but some releases "
            "make the kernel log a line about trace_printk for each.",
            observed=lockdown.value,
            note=True,
        )
    return passed("open", f"Kernel lockdown is {excerpt(lockdown.value, 40)}.", observed=excerpt(lockdown.value, 40))


_ARCH = required(NodeKind.arch)


def judge_arch(target: Release, arch: str) -> Outcome:
    """Compare a machine name (`uname -m`) with the architectures of a release."""
    calico = target.version
    name = target.architectures.names.get(arch)
    needed = " or ".join(target.arch.documented)
    shown = excerpt(arch, 40)
    if name is None:
        return unknown(
            "unparsable",
            f"{shown!r} is not an architecture that is known here.",
            reason=Reason.UNPARSABLE,
            observed=shown,
            required=needed,
        )
    move = Remediation(text=f"Run this node with the standard dataplane, or move its work to {needed} nodes.")
    if name in target.architectures.big_endian:
        return fail(
            "big-endian",
            f"Felix refuses {shown}: its BPF code supports little-endian machines only. {FALLBACK}.",
            observed=shown,
            required=needed,
            remediation=move,
        )
    if name not in target.arch.built:
        return fail(
            "not-built",
            f"calico-node {calico} for {shown} is built without BPF support, or not at all: its pod does not start, or "
            "Felix silently stays with the standard dataplane, and with kube-proxy gone the node has no services.",
            observed=shown,
            required=needed,
            remediation=move,
        )
    if name in target.arch.documented:
        return passed("documented", f"Calico {calico} supports {name}.", observed=shown, required=needed)
    how = (
        "community supported and not regression-tested"
        if name in target.arch.community
        else "not supported by the documentation, although calico-node is built for it"
    )
    return warn("undocumented", f"eBPF mode of Calico {calico} on {name} is {how}.", observed=shown, required=needed)


@check(id="node.arch", title="CPU architecture", category="kernel", severity=Severity.BLOCKER, needs=(_ARCH,))
def node_arch(given: Given) -> Outcome:
    """What calico-node is built for, and what the documentation supports."""
    return judge_arch(given.release, given[_ARCH])


_JIT_ENABLE = settled(NodeKind.bpf_jit_enable)
_JIT_HARDEN = optional(NodeKind.bpf_jit_harden)


@check(
    id="node.sysctl.bpf-jit",
    title="BPF JIT settings",
    category="kernel",
    severity=Severity.DEGRADE,
    needs=(_JIT_ENABLE, _JIT_HARDEN),
)
def sysctl_bpf_jit(given: Given) -> Outcome:
    """net.core.bpf_jit_enable and bpf_jit_harden."""
    enable, harden = given[_JIT_ENABLE], given[_JIT_HARDEN]
    calico = given.release.version
    needed = "net.core.bpf_jit_enable=1, net.core.bpf_jit_harden below 2"
    if isinstance(enable, Absent):
        return warn(
            "no-jit",
            "The kernel has no BPF JIT compiler: programs are interpreted, which is slow.",
            observed="no net.core.bpf_jit_enable",
            required=needed,
            remediation=Remediation(text="Boot a kernel that is built with CONFIG_BPF_JIT=y.", needs_reboot=True),
        )
    observed = f"bpf_jit_enable={enable.value}"
    if enable.value != 1:
        effect = {
            0: "programs are interpreted, which is slow",
            2: "the kernel writes every program to its log, a setting for debugging only",
        }.get(enable.value, "no kernel documents that value")
        return warn(
            "jit-enable",
            f"net.core.bpf_jit_enable is {enable.value}: {effect}.",
            observed=observed,
            required=needed,
            remediation=Remediation(
                text="Turn the JIT compiler on, and look for what sets it otherwise in /etc/sysctl.d.",
                commands=("sysctl -w net.core.bpf_jit_enable=1",),
            ),
        )
    if isinstance(harden, Unknown):
        return unknown(
            "harden-unseen",
            f"net.core.bpf_jit_enable is 1, but bpf_jit_harden could not be read: {harden.detail}.",
            reason=harden.reason,
            observed=observed,
            required=needed,
        )
    if isinstance(harden, Absent) or harden.value < 2:
        return passed("on", "The BPF JIT compiler is on and not hardened for root.", observed=observed, required=needed)
    observed += f", bpf_jit_harden={harden.value}"
    if given.release.jit_harden_lowered:
        return passed(
            "hardened-lowered",
            f"net.core.bpf_jit_harden is {harden.value}; Felix {calico} sets it to 1"
            + (" unless bpfJITHardening is Strict." if given.release.jit_harden_setting else "."),
            observed=observed,
            required=needed,
            note=True,
        )
    return warn(
        "hardened",
        f"net.core.bpf_jit_harden is {harden.value}: with Calico {calico} large policies take ten to twenty times as "
        "long to program, or fail to load.",
        observed=observed,
        required=needed,
        remediation=Remediation(
            text="Set it to 1 or 0, and look for what sets it in /etc/sysctl.d.",
            commands=("sysctl -w net.core.bpf_jit_harden=1",),
        ),
    )
