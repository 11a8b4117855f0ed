"""cgroup2, whose root Calico's connect-time load balancing attaches to."""

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
    unseen,
    warn,
)
from ebpfcheck.model.facts import Known, Mount, NodeKind, Reason
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt

_CGROUP = settled(NodeKind.calico_cgroup)
_RUN_CALICO = required(NodeKind.run_calico)
_KERNEL_FILESYSTEMS = required(NodeKind.filesystems)
_MOUNTS = optional(NodeKind.cgroup2_mounts)
_LAYOUT = optional(NodeKind.cgroup_layout)
_OS = optional(NodeKind.os)

_STOPS = "calico-node's init container fails, or Felix stops in a panic unless bpfConnectTimeLoadBalancing is Disabled"
_CGROUP_NEEDED = "cgroup2 at /run/calico/cgroup, or the means to mount it there"


@check(
    id="node.cgroup2",
    title="cgroup2 for connect-time load balancing",
    category="mounts",
    severity=Severity.BLOCKER,
    needs=(_KERNEL_FILESYSTEMS, _MOUNTS, _CGROUP, _RUN_CALICO, _LAYOUT, _OS),
)
def cgroup2(given: Given) -> Outcome:
    """Whether Calico can have the root of cgroup2 where it looks for it."""
    calico = given.release.version
    mounted, place, os = given[_CGROUP], given[_RUN_CALICO], given[_OS]
    seen = mounted.value.visible if isinstance(mounted, Known) else None
    if seen is not None and seen.fstype == "cgroup2":
        return _cgroup_there(given, seen)
    mounts = given[_MOUNTS]
    if "cgroup2" not in given[_KERNEL_FILESYSTEMS] and not (isinstance(mounts, Known) and mounts.value):
        return fail(
            "no-cgroup2",
            f"The kernel has no cgroup2, which Calico {calico} attaches its connect-time load balancing to: {_STOPS}.",
            observed="/proc/filesystems does not list cgroup2",
            required=_CGROUP_NEEDED,
            remediation=Remediation(text="Boot a kernel that is built with CONFIG_CGROUPS=y.", needs_reboot=True),
        )
    if isinstance(mounted, Known):
        return _cgroup_covered(given, seen, mounted.value.hidden)
    other_path = given.release.cgroup2.other_path.get(os.value.id) if isinstance(os, Known) else None
    if other_path is not None or place.read_only or place.state == "other":
        return _elsewhere(given, other_path)
    if given.release.private_cgroup_namespace is not False:
        layout = given[_LAYOUT]
        if not isinstance(layout, Known):
            return unseen("layout-unseen", "The layout of /sys/fs/cgroup could not be told", layout)
        if layout.value == "unified":
            return _private_namespace(given)
    return passed(
        "mountable",
        "The kernel has cgroup2, and /run/calico/cgroup, where Calico mounts it, can be made.",
        observed=f"/run/calico is {'there' if place.state == 'directory' else 'not there yet'}, on {place.fstype}",
        required=_CGROUP_NEEDED,
    )


def _cgroup_there(given: Given, seen: Mount) -> Outcome:
    if seen.is_whole:
        return passed("mounted", "cgroup2 is mounted at /run/calico/cgroup.", required=_CGROUP_NEEDED)
    return warn(
        "mounted-in-part",
        "Only a part of cgroup2, such as one container sees, is mounted at /run/calico/cgroup. Calico "
        f"{given.release.version} takes it for the whole: connect-time load balancing then reaches that part only, not "
        "the node.",
        observed="a directory of cgroup2 is mounted, not its root",
        required=_CGROUP_NEEDED,
        remediation=Remediation(
            text="Unmount it, so that calico-node mounts the whole when it starts next.",
            commands=("umount /run/calico/cgroup",),
        ),
    )


def _cgroup_covered(given: Given, seen: Mount | None, hidden: tuple[Mount, ...]) -> Outcome:
    """Something else is what one sees there; an init container, where there is one, mounts cgroup2 on top."""
    calico = given.release.version
    what = f"Something of type {excerpt(seen.fstype, 40)}" if seen is not None else "Another file system"
    fix = Remediation(
        text="Find out who mounted it and unmount it.",
        commands=("findmnt /run/calico/cgroup", "umount /run/calico/cgroup"),
    )
    observed = f"type {excerpt(seen.fstype, 40)}" if seen is not None else "a mount above it hides it"
    hides_cgroup2 = any(mount.fstype == "cgroup2" for mount in hidden)
    if given.release.private_cgroup_namespace is False and not hides_cgroup2:
        return warn(
            "covered-then-mounted",
            f"{what} is mounted at /run/calico/cgroup; calico-node {calico} mounts cgroup2 over it.",
            observed=observed,
            required=_CGROUP_NEEDED,
            remediation=fix,
        )
    if given.release.private_cgroup_namespace is None and not hides_cgroup2:
        return unknown(
            "covered-undecided",
            f"{what} is mounted at /run/calico/cgroup; whether calico-node {calico} mounts cgroup2 over it depends on "
            "its patch.",
            reason=Reason.NOT_COLLECTED,
            observed=observed,
            required=_CGROUP_NEEDED,
            remediation=fix,
        )
    return fail(
        "covered",
        f"{what} is mounted at /run/calico/cgroup, where Calico {calico} wants cgroup2: connect-time load balancing "
        "cannot be attached, and Felix stops in a panic unless bpfConnectTimeLoadBalancing is Disabled.",
        observed=observed,
        required=_CGROUP_NEEDED,
        remediation=fix,
    )


def _private_namespace(given: Given) -> Outcome:
    release = given.release
    some = "" if release.private_cgroup_namespace else " (some of its patches)"
    return warn(
        "private-namespace",
        "With cgroup v2 alone, container engines give calico-node a cgroup namespace of its own, and Calico "
        f"{release.version}{some} mounts cgroup2 from inside it: connect-time load balancing then reaches that "
        "container only, not the node.",
        observed="cgroup v2 alone at /sys/fs/cgroup",
        required=_CGROUP_NEEDED,
        remediation=Remediation(text=f"Upgrade Calico to {release.cgroup2.private_namespace_fixed_in} or later."),
    )


def _elsewhere(given: Given, other_path: str | None) -> Outcome:
    """/run/calico cannot be used: Calico must be told of another path, if this release can be told."""
    calico, place, os, layout = given.release.version, given[_RUN_CALICO], given[_OS], given[_LAYOUT]
    if other_path is not None:
        observed = f"the system is {excerpt(os.value.id, 40)}" if isinstance(os, Known) else ""
        why = "This system does not let Calico mount cgroup2 at /run/calico/cgroup"
    elif place.state == "other":
        observed, why = "/run/calico is not a directory", "/run/calico is not a directory"
    else:
        observed, why = f"read-only {place.fstype}", "The file system that holds /run/calico is read-only"
    if other_path is None and isinstance(layout, Known) and layout.value == "unified":
        other_path = "/sys/fs/cgroup"
    path = other_path or "a path on the node that can be written"
    by_operator = f"Set cgroupV2Path to {path} in FelixConfiguration, which the operator passes on to calico-node"
    by_manifest = f"set CALICO_CGROUP_PATH to {path} in calico-node's containers, the init container included"
    how = {
        "operator": f"{by_operator}.",
        "manifest": f"{by_manifest[0].upper()}{by_manifest[1:]}.",
    }.get(given.install, f"{by_operator}; with manifests {by_manifest}.")
    can_be_told = {
        "operator": (given.release.cgroup_path_setting,),
        "manifest": (given.release.cgroup_path_variable,),
    }.get(given.install, (given.release.cgroup_path_setting, given.release.cgroup_path_variable))
    if any(answer is not False for answer in can_be_told):
        return unknown(
            "other-path",
            f"{why}. Calico {calico} works here only if it was told of another path, {path}, which cannot be seen from "
            "the node" + ("" if all(can_be_told) else f"; that takes {given.release.cgroup2.path_since}") + ".",
            reason=Reason.NOT_COLLECTED,
            observed=observed,
            required=_CGROUP_NEEDED,
            remediation=Remediation(text=how),
        )
    return fail(
        "no-other-path",
        f"{why}, and Calico {calico} cannot be told of another path: {_STOPS}.",
        observed=observed,
        required=_CGROUP_NEEDED,
        remediation=Remediation(text=f"Upgrade Calico to {given.release.cgroup2.path_since}. Then: {how}"),
    )
