"""What is mounted: bpffs for Calico's maps, cgroup2 for its connect-time load balancing."""

from ebpfcheck.model.check import (
    Given,
    Outcome,
    check,
    fail,
    optional,
    passed,
    required,
    settled,
    unknown,
    warn,
)
from ebpfcheck.model.facts import Absent, Known, Mount, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_BPFFS = settled(NodeKind.bpffs)
_ELSEWHERE = optional(NodeKind.bpffs_elsewhere)
_FILESYSTEMS = optional(NodeKind.filesystems)

_NEEDED = "a mount of type bpf at /sys/fs/bpf"
_MOUNT = Remediation(
    text="Mount bpffs and keep it mounted over reboots.",
    commands=(
        "mount -t bpf bpf /sys/fs/bpf",
        "echo 'bpf /sys/fs/bpf bpf mode=700 0 0' >> /etc/fstab",
    ),
)


@check(
    id="node.bpffs.mounted",
    title="BPF file system",
    category="mounts",
    severity=Severity.BLOCKER,
    needs=(_BPFFS, _ELSEWHERE, _FILESYSTEMS),
)
def bpffs_mounted(given: Given) -> Outcome:
    """What is visible at /sys/fs/bpf, and who would mount it if nothing is."""
    bpffs = given[_BPFFS]
    if isinstance(bpffs, Known):
        seen, hidden = bpffs.value.visible, bpffs.value.hidden
        if seen is not None and seen.fstype == "bpf":
            return _bpffs_there(seen, hidden)
        return _bpffs_covered(given, seen, hidden)
    filesystems = given[_FILESYSTEMS]
    if isinstance(filesystems, Known) and "bpf" not in filesystems.value:
        return fail(
            "no-bpffs",
            "The kernel has no BPF file system, so nobody can mount it and calico-node cannot start with it.",
            observed="/proc/filesystems does not list bpf",
            required=_NEEDED,
            remediation=Remediation(
                text="Boot a kernel that is built with CONFIG_BPF_SYSCALL=y.", needs_reboot=True, disruptive=True
            ),
        )
    return _bpffs_absent(given)


def _bpffs_there(seen: Mount, hidden: tuple[Mount, ...]) -> Outcome:
    observed = f"type bpf, source {excerpt(seen.source, 40)}, options {excerpt(','.join(seen.options), 80)}"
    if seen.read_only:
        return fail(
            "read-only",
            "bpffs is mounted read-only at /sys/fs/bpf: Felix cannot pin its maps there.",
            observed=observed,
            required=_NEEDED,
            remediation=Remediation(text="Remount it read-write.", commands=("mount -o remount,rw /sys/fs/bpf",)),
        )
    if any(mount.fstype == "bpf" for mount in hidden):
        return passed(
            "mounted-twice",
            "bpffs is mounted at /sys/fs/bpf more than once: what was pinned in a lower mount is out of sight.",
            observed=observed,
            required=_NEEDED,
            note=True,
        )
    return passed("mounted", "bpffs is mounted at /sys/fs/bpf.", observed=observed, required=_NEEDED)


def _bpffs_covered(given: Given, seen: Mount | None, hidden: tuple[Mount, ...]) -> Outcome:
    observed = f"type {excerpt(seen.fstype, 40)}" if seen is not None else "a mount above it hides it"
    below = " over bpffs" if any(mount.fstype == "bpf" for mount in hidden) else ""
    what = f"Something of type {excerpt(seen.fstype, 40)} is" if seen is not None else "Another file system is"
    where = f"mounted at /sys/fs/bpf{below}" if seen is not None else "mounted over the bpffs at /sys/fs/bpf"
    fix = Remediation(
        text="Find out who mounted it and unmount it, so that bpffs is what one sees there.",
        commands=("findmnt /sys/fs/bpf", "umount /sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf"),
    )
    if _mounters(given) == {"nobody"}:
        return fail(
            "covered",
            f"{what} {where}, and calico-node {given.release.version} does not mount bpffs when the operator installs "
            "it: it cannot keep its maps.",
            observed=observed,
            required=_NEEDED,
            remediation=fix,
        )
    return warn(
        "covered",
        f"{what} {where}. Felix {given.release.version} then keeps its maps in a bpffs of its own at "
        "/var/run/calico/bpffs, and loses them, with all connections it tracks, whenever calico-node restarts.",
        observed=observed,
        required=_NEEDED,
        remediation=fix,
    )


def _mounters(given: Given) -> set[str]:
    """Return who may be the one to mount bpffs, as far as release and install are known."""
    by_install = given.release.bpffs_mounters
    if given.install == "operator" or given.install == "manifest":
        return set(by_install[given.install])
    return {mounter for mounters in by_install.values() for mounter in mounters}


def _bpffs_absent(given: Given) -> Outcome:
    calico = given.release.version
    mounters = _mounters(given)
    elsewhere = given[_ELSEWHERE]
    points = elsewhere.value if isinstance(elsewhere, Known) else ()
    observed = "nothing is mounted there" + (f" (bpffs is at {excerpt(', '.join(points), 80)})" if points else "")
    if mounters == {"init"}:
        return passed(
            "init-mounts-it",
            f"bpffs is not mounted at /sys/fs/bpf yet; an init container of calico-node {calico} mounts it once eBPF "
            "mode is on, unless privileged init containers are barred.",
            observed=observed,
            required=_NEEDED,
            note=True,
        )
    if mounters == {"nobody"}:
        return fail(
            "nobody-mounts-it",
            f"bpffs is not mounted at /sys/fs/bpf, and nothing that the operator installs with Calico {calico} mounts "
            "it: Felix cannot keep its maps.",
            observed=observed,
            required=_NEEDED,
            remediation=_MOUNT,
        )
    if "nobody" in mounters:
        return unknown(
            "install-unknown",
            f"bpffs is not mounted at /sys/fs/bpf. With Calico {calico} that fails if the operator installed it, while "
            "Felix mounts it by itself if manifests did; which one it is cannot be seen from the node.",
            reason=Reason.NOT_COLLECTED,
            observed=observed,
            required=_NEEDED,
            remediation=_MOUNT,
        )
    return warn(
        "felix-mounts-it",
        f"bpffs is not mounted at /sys/fs/bpf. Calico {calico} asks for it to be there; Felix mounts it when it "
        "starts" + (" unless an init container of this patch did" if "init" in mounters else "") + ".",
        observed=observed,
        required=_NEEDED,
        remediation=_MOUNT,
    )


_FSTAB = optional(NodeKind.bpffs_fstab)
_UNIT = optional(NodeKind.bpffs_unit)
_INIT = optional(NodeKind.init)
_SYSTEMD = optional(NodeKind.systemd_version)


@check(
    id="node.bpffs.persistent",
    title="BPF file system after a reboot",
    category="mounts",
    severity=Severity.DEGRADE,
    needs=(_BPFFS, _FSTAB, _UNIT, _INIT, _SYSTEMD),
)
def bpffs_persistent(given: Given) -> Outcome:
    """What mounts bpffs at boot."""
    fstab, unit, init, systemd = given[_FSTAB], given[_UNIT], given[_INIT], given[_SYSTEMD]
    needed = "something that mounts /sys/fs/bpf at boot"
    if isinstance(fstab, Known):
        fields = fstab.value.split()
        if fields[2] == "bpf" and "noauto" not in fields[3].split(","):
            return passed("fstab", "/etc/fstab mounts bpffs at boot.", observed=excerpt(fstab.value, 80))
    if isinstance(unit, Known):
        return passed("unit", "A systemd unit mounts bpffs at boot.", observed=excerpt(unit.value, 80))
    runs_systemd = isinstance(init, Known) and init.value == "systemd"
    mounts_from = given.release.systemd.mounts_bpffs_from
    if runs_systemd and isinstance(systemd, Known) and systemd.value >= mounts_from:
        return passed(
            "systemd", "systemd mounts bpffs at boot by itself.", observed=f"systemd {systemd.value}", required=needed
        )
    if _mounters(given) == {"init"}:
        return passed(
            "init-mounts-it",
            f"Nothing on the node mounts bpffs at boot; calico-node {given.release.version} mounts it each time it "
            "starts in eBPF mode.",
            required=needed,
            note=True,
        )
    blind = next((fact for fact in (fstab, unit, init) if isinstance(fact, Unknown)), None)
    if blind is None and runs_systemd and isinstance(systemd, Unknown | Absent):
        blind = (
            systemd
            if isinstance(systemd, Unknown)
            else Unknown(reason=Reason.NOT_COLLECTED, detail="the version of systemd could not be told")
        )
    if blind is not None:
        return unknown(
            "unseen",
            f"Whether bpffs will be there after a reboot could not be told: {blind.detail}.",
            reason=blind.reason,
            required=needed,
        )
    now = "It is mounted now, but nothing" if isinstance(given[_BPFFS], Known) else "Nothing"
    return warn(
        "lost-at-reboot",
        f"{now} on the node mounts bpffs at boot: after a reboot Felix {given.release.version} starts without it, "
        "and policy and tracked connections are lost until it is back.",
        observed="no line in /etc/fstab, no enabled sys-fs-bpf.mount"
        + (f", systemd {systemd.value}" if isinstance(systemd, Known) and runs_systemd else ""),
        required=needed,
        remediation=Remediation(
            text="Add the line to /etc/fstab, or enable a systemd unit named sys-fs-bpf.mount.",
            commands=("echo 'bpf /sys/fs/bpf bpf mode=700 0 0' >> /etc/fstab",),
        ),
    )


_CGROUP = settled(NodeKind.calico_cgroup)
_RUN_CALICO = required(NodeKind.run_calico)
_KERNEL_FILESYSTEMS = required(NodeKind.filesystems)
_LAYOUT = optional(NodeKind.cgroup_layout)
_OS = optional(NodeKind.os)

_CGROUP_NEEDED = "cgroup2 at /run/calico/cgroup, or the means to mount it there"


@check(
    id="node.cgroup2",
    title="cgroup2 for connect-time load balancing",
    category="mounts",
    severity=Severity.BLOCKER,
    needs=(_KERNEL_FILESYSTEMS, _CGROUP, _RUN_CALICO, _LAYOUT, _OS),
)
def cgroup2(given: Given) -> Outcome:
    """Whether Calico can have the root of cgroup2 where it looks for it."""
    calico = given.release.version
    mounted, place, os = given[_CGROUP], given[_RUN_CALICO], given[_OS]
    seen = mounted.value.visible if isinstance(mounted, Known) else None
    if "cgroup2" not in given[_KERNEL_FILESYSTEMS] and not (seen and seen.fstype == "cgroup2"):
        return fail(
            "no-cgroup2",
            f"The kernel has no cgroup2, which Calico {calico} attaches its connect-time load balancing to: Felix "
            "stops in a panic unless bpfConnectTimeLoadBalancing is Disabled.",
            observed="/proc/filesystems does not list cgroup2",
            required=_CGROUP_NEEDED,
            remediation=Remediation(text="Boot a kernel that is built with CONFIG_CGROUPS=y.", needs_reboot=True),
        )
    if seen is not None and seen.fstype != "cgroup2":
        return fail(
            "foreign-mount",
            f"Something of type {excerpt(seen.fstype, 40)} is mounted at /run/calico/cgroup, where Calico {calico} "
            "wants cgroup2: calico-node does not start.",
            observed=f"type {excerpt(seen.fstype, 40)}",
            required=_CGROUP_NEEDED,
            remediation=Remediation(
                text="Find out who mounted it and unmount it.",
                commands=("findmnt /run/calico/cgroup", "umount /run/calico/cgroup"),
            ),
        )
    other_path = given.release.cgroup2.other_path.get(os.value.id) if isinstance(os, Known) else None
    if seen is None and (other_path is not None or place.read_only or place.state == "other"):
        return _elsewhere(given, other_path)
    layout = given[_LAYOUT]
    if given.release.private_cgroup_namespace is not False:
        if not isinstance(layout, Known):
            detail = layout.detail if isinstance(layout, Unknown) else "it is not there"
            reason = layout.reason if isinstance(layout, Unknown) else Reason.NOT_COLLECTED
            return unknown("layout-unseen", f"The layout of /sys/fs/cgroup could not be told: {detail}.", reason=reason)
        if layout.value == "unified":
            return warn(
                "private-namespace",
                f"With cgroup v2 alone, container engines give calico-node a cgroup namespace of its own, and Calico "
                f"{calico}{'' if given.release.private_cgroup_namespace else ' (some of its patches)'} mounts cgroup2 "
                "from inside it: connect-time load balancing then reaches that container only, not the node.",
                observed="cgroup v2 alone at /sys/fs/cgroup",
                required=_CGROUP_NEEDED,
                remediation=Remediation(
                    text=f"Upgrade Calico to {given.release.cgroup2.private_namespace_fixed_in} or later."
                ),
            )
    if seen is not None:
        return passed("mounted", "cgroup2 is mounted at /run/calico/cgroup.", required=_CGROUP_NEEDED)
    return passed(
        "mountable",
        "The kernel has cgroup2, and /run/calico/cgroup, where Calico mounts it, can be made.",
        observed=f"/run/calico is {'there' if place.state == 'directory' else 'not there yet'}, on {place.fstype}",
        required=_CGROUP_NEEDED,
    )


def _elsewhere(given: Given, other_path: str | None) -> Outcome:
    """/run/calico cannot be used: Calico must be told of another path, if this release can be told."""
    calico, place = given.release.version, given[_RUN_CALICO]
    path = other_path or "a writable path"
    if other_path is not None:
        os = given[_OS]
        observed = f"the system is {excerpt(os.value.id, 40)}" if isinstance(os, Known) else ""
        why = "This system does not let Calico mount cgroup2 at /run/calico/cgroup"
    elif place.state == "other":
        observed, why = "/run/calico is not a directory", "/run/calico is not a directory"
    else:
        observed, why = f"read-only {place.fstype}", "The file system that holds /run/calico is read-only"
    if given.release.cgroup_path_setting:
        return unknown(
            "path-setting",
            f"{why}. Calico {calico} works here if its setting cgroupV2Path is {path}, which cannot be seen from the "
            "node; without it calico-node does not start in eBPF mode.",
            reason=Reason.NOT_COLLECTED,
            observed=observed,
            required=_CGROUP_NEEDED,
            remediation=Remediation(
                text=f"Set cgroupV2Path to {path} in FelixConfiguration (run this from where kubectl works).",
                commands=(
                    "kubectl patch felixconfiguration default --type merge "
                    f'-p \'{{"spec":{{"cgroupV2Path":"{other_path or "/sys/fs/cgroup"}"}}}}\'',
                ),
            ),
        )
    return fail(
        "no-path-setting",
        f"{why}, and Calico {calico}{'' if given.release.cgroup_path_setting is False else ' (some of its patches)'} "
        "cannot be told of another path: calico-node does not start in eBPF mode.",
        observed=observed,
        required=_CGROUP_NEEDED,
        remediation=Remediation(
            text=f"Upgrade Calico to {given.release.cgroup2.path_setting_since} and set cgroupV2Path to {path}."
        ),
    )
