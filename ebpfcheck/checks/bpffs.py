"""bpffs, in which Calico keeps its maps: what is mounted at /sys/fs/bpf, and will it be after a reboot."""

from ebpfcheck.model.check import Given, Outcome, check, fail, optional, passed, settled, unknown, warn
from ebpfcheck.model.facts import Known, Mount, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_BPFFS = settled(NodeKind.bpffs)
_ELSEWHERE = optional(NodeKind.bpffs_elsewhere)
_FILESYSTEMS = optional(NodeKind.filesystems)

_NEEDED = "a mount of type bpf at /sys/fs/bpf"
_FSTAB_COMMAND = "echo 'bpf /sys/fs/bpf bpf mode=700 0 0' >> /etc/fstab"
_MOUNT = Remediation(
    text="Mount bpffs and keep it mounted over reboots.",
    commands=(
        "mount -t bpf bpf /sys/fs/bpf",
        _FSTAB_COMMAND,
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
    elsewhere = given[_ELSEWHERE]
    has_bpffs = isinstance(elsewhere, Known) and elsewhere.value
    if isinstance(filesystems, Known) and "bpf" not in filesystems.value and not has_bpffs:
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
    """Something else is what one sees there; only an init container that finds no bpffs at all puts one on top."""
    calico = given.release.version
    mounters = _mounters(given)
    hides_bpffs = any(mount.fstype == "bpf" for mount in hidden)
    observed = f"type {excerpt(seen.fstype, 40)}" if seen is not None else "a mount above it hides it"
    what = f"Something of type {excerpt(seen.fstype, 40)}" if seen is not None else "Another file system"
    where = "is mounted over the bpffs at /sys/fs/bpf" if hides_bpffs else "is mounted at /sys/fs/bpf"
    fix = Remediation(
        text="Find out who mounted it and unmount it, so that bpffs is what one sees there.",
        commands=(
            "findmnt /sys/fs/bpf",
            "umount /sys/fs/bpf",
            "mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf",
        ),
    )
    if seen is not None and not hides_bpffs and "init" in mounters:
        if mounters == {"init"}:
            return warn(
                "covered-then-mounted",
                f"{what} {where}; an init container of calico-node {calico} mounts bpffs over it.",
                observed=observed,
                required=_NEEDED,
                remediation=fix,
            )
        return unknown(
            "covered-undecided",
            f"{what} {where}. Whether calico-node {calico} mounts bpffs over it depends on its patch and on how it is "
            "installed; where it does not, Felix cannot pin its maps.",
            reason=Reason.NOT_COLLECTED,
            observed=observed,
            required=_NEEDED,
            remediation=fix,
        )
    return fail(
        "covered",
        f"{what} {where}: Felix {calico} pins its maps below that path, and pinning works on bpffs only"
        + (
            ", while Calico's init container is content with the bpffs beneath"
            if hides_bpffs and "init" in mounters
            else ""
        )
        + ".",
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
            "Felix mounts it by itself if manifests did; say which with --install.",
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
_CONTAINER = optional(NodeKind.container)


@check(
    id="node.bpffs.persistent",
    title="BPF file system after a reboot",
    category="mounts",
    severity=Severity.DEGRADE,
    needs=(_BPFFS, _FSTAB, _UNIT, _INIT, _SYSTEMD, _CONTAINER),
)
def bpffs_persistent(given: Given) -> Outcome:
    """What mounts bpffs at boot."""
    fstab, unit, init, systemd = given[_FSTAB], given[_UNIT], given[_INIT], given[_SYSTEMD]
    needed = "something that mounts /sys/fs/bpf at boot"
    for line in fstab.value if isinstance(fstab, Known) else ():
        fields = line.split()
        if fields[2] == "bpf" and "noauto" not in ",".join(fields[3:4]).split(","):
            return passed("fstab", "/etc/fstab mounts bpffs at boot.", observed=excerpt(line, 80))
    runs_systemd = isinstance(init, Known) and init.value == "systemd"
    if isinstance(unit, Known) and runs_systemd:
        return passed("unit", "A systemd unit mounts bpffs at boot.", observed=excerpt(unit.value, 80))
    calico = given.release.version
    # systemd leaves bpffs alone in a container, and where it is gone now something else took it away.
    by_systemd = runs_systemd and not isinstance(given[_CONTAINER], Known) and _sees_bpffs(given)
    if by_systemd and isinstance(systemd, Known) and systemd.value >= given.release.systemd.mounts_bpffs_from:
        return passed(
            "systemd", "systemd mounts bpffs at boot by itself.", observed=f"systemd {systemd.value}", required=needed
        )
    if _mounters(given) == {"init"}:
        return passed(
            "init-mounts-it",
            f"Nothing on the node is seen to mount bpffs at boot; calico-node {calico} does whenever it starts in eBPF "
            "mode.",
            required=needed,
            note=True,
        )
    blind = [fact for fact in (fstab, unit, init) if isinstance(fact, Unknown)]
    if by_systemd and not isinstance(systemd, Known):
        version_unseen = Unknown(reason=Reason.NOT_COLLECTED, detail="the version of systemd could not be told")
        blind.append(systemd if isinstance(systemd, Unknown) else version_unseen)
    if blind:
        return unknown(
            "unseen",
            f"Whether bpffs will be there after a reboot could not be told: {blind[0].detail}.",
            reason=blind[0].reason,
            required=needed,
        )
    now = "bpffs is mounted now, but nothing" if _sees_bpffs(given) else "Nothing"
    until = "Felix mounts it" if "felix" in _mounters(given) else "somebody mounts it"
    return warn(
        "lost-at-reboot",
        f"{now} on the node mounts it at boot, as Calico {calico} asks: after a reboot it is missing until {until}.",
        observed="no line in /etc/fstab that mounts it, no enabled sys-fs-bpf.mount",
        required=needed,
        remediation=Remediation(
            text="Add the line to /etc/fstab, or enable a systemd unit named sys-fs-bpf.mount.",
            commands=(_FSTAB_COMMAND,),
        ),
    )


def _sees_bpffs(given: Given) -> bool:
    bpffs = given[_BPFFS]
    return isinstance(bpffs, Known) and bpffs.value.visible is not None and bpffs.value.visible.fstype == "bpf"
