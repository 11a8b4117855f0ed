"""Pairs of a kernel and a Calico release of which something is known: bugs, and what loaded where."""

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import date
from typing import Literal

import msgspec

from ebpfcheck.checks.bpf_objects import is_balancing_accepted, judge_objects
from ebpfcheck.checks.felix import FELIX, set_command, settings
from ebpfcheck.checks.kernel import KERNEL, OS, OS_IMAGE, RELEASE, KernelStrings, no_release, strings_of
from ebpfcheck.knowledge.kernel_tables import KnownBad
from ebpfcheck.knowledge.types import Release, Suspect
from ebpfcheck.model.check import Given, Outcome, check, fail, of_cluster, optional, passed, unknown, warn
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import Absent, FelixSettings, Known, NodeKind, Reason
from ebpfcheck.model.report import Remediation, Severity, Status
from ebpfcheck.model.text import excerpt
from ebpfcheck.versions import KernelRelease

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE_FORMS = (
    re.compile(r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})", re.ASCII),
    re.compile(r"(?P<name>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) .{0,20}?(?P<year>(?:19|20)\d{2})", re.ASCII),
    re.compile(r"(?P<day>\d{1,2}) (?P<name>[A-Z][a-z]{2}) (?P<year>(?:19|20)\d{2})", re.ASCII),
)
_DEBIAN_BUILD = re.compile(r"Debian (?:\d+:)?(?P<version>\d+\.\d+\.\d+)-", re.ASCII)
_WORST_FIRST = (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.PASS)


class Logging(msgspec.Struct, frozen=True, kw_only=True):
    """What makes Calico load its larger programs, those that log what they do; None where it could not be told."""

    debug: bool | None = None
    """Whether bpfLogLevel is Debug; it is Off unless it is set."""
    ipv6: bool | None = None
    btf: bool | None = None
    """Without BTF Felix takes the objects that do without it."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What the verifier of this very kernel said of the release's own objects, which outranks what others measured."""

    loads: bool = False
    """Whether it accepts what the release cannot do without."""
    cleared: tuple[str, ...] = ()
    """The ids of bugs whose objects it accepts."""


_NOTHING_KNOWN = Logging()
_NOTHING_TRIED = Tried()


def judge_known_bad(
    target: Release,
    strings: KernelStrings,
    logging: Logging = _NOTHING_KNOWN,
    shown: Collection[str] = (),
    tried: Tried = _NOTHING_TRIED,
) -> Outcome:
    """Compare a kernel with what is known of a release on kernels; the worst answer counts.

    `shown` are features that the kernel itself says it has, whatever its version is.
    """
    kernel = KernelRelease.parse(strings.release)
    if kernel is None:
        return unknown(
            "unparsable",
            f"{excerpt(strings.release, 80)!r} is not a kernel release that can be read.",
            reason=Reason.UNPARSABLE,
        )
    outcomes: tuple[Outcome, ...] = (
        *_of_bugs(target, kernel, strings.proc_version, tried.cleared),
        *(() if tried.loads else _of_measurements(target, kernel)),
        # Without Felix's settings those that log are not among what was tried.
        *(() if tried.loads and logging.debug is not None else _of_logging(target, kernel, logging)),
        *_of_losses(target, kernel, shown),
        _calm(target, kernel, tried),
    )
    return min(outcomes, key=lambda one: (_WORST_FIRST.index(one.status), not one.is_note))


def _calm(target: Release, kernel: KernelRelease, tried: Tried) -> Outcome:
    said = f"Nothing is known against kernel {kernel.text} with Calico {target.version}"
    if tried.loads:
        return passed(
            "accepted", f"{said}; the verifier accepted its programs here (node.bpf.objects).", observed=kernel.text
        )
    measured = target.measured
    alike = None if measured is None else _alike(kernel, measured.loaded)
    if measured is None or alike is None:
        return passed("nothing-known", f"{said}; what loads there was not measured.", observed=kernel.text)
    return passed(
        "measured",
        f"{said}: the programs of {measured.objects_of} were loaded on {alike}, of the same series.",
        observed=kernel.text,
    )


def _of_bugs(
    target: Release, kernel: KernelRelease, proc_version: str | None, cleared: Collection[str]
) -> Iterator[Outcome]:
    for suspect in target.known_bad:
        bug = suspect.bug
        if bug.id in cleared:
            continue
        state = _known_bad_state(bug, kernel, proc_version, target.series_from)
        if state == "good":
            continue
        if state == "bad" and suspect.certain:
            yield fail(
                bug.id,
                f"On kernel {kernel.text}, with Calico {target.version}, {bug.title}. It is fixed in {bug.fixed_in}.",
                observed=kernel.text,
                required=f"Calico {bug.fixed_in}",
                remediation=Remediation(text=bug.remedy),
            )
        elif not suspect.certain and state not in ("bad", "edge"):
            # The newest patch has the fix, and nothing but a young kernel speaks against an older one.
            yield passed(
                f"{bug.id}-newest-patch",
                f"Nothing is known against kernel {kernel.text} with the newest patch of Calico {target.version}; "
                f"patches without the fix ({bug.fixed_in}) have not been tried with it.",
                observed=kernel.text,
                note=True,
            )
        else:
            yield _doubt(target, suspect, kernel, state)


def _of_measurements(target: Release, kernel: KernelRelease) -> Iterator[Outcome]:
    """Say where the release's programs were refused, which leaves open what a vendor's kernel with backports does."""
    measured = target.measured
    if measured is None or not measured.refused or _series(kernel) >= min(map(_series_of, measured.loaded)):
        return
    loaded, refused = _listed(measured.loaded), _listed(measured.refused)
    yield unknown(
        "refused-before",
        f"It is open whether Calico {target.version} loads on kernel {kernel.text}: the programs of "
        f"{measured.objects_of} were refused on {refused}, and accepted on {loaded}.",
        reason=Reason.UNSUPPORTED,
        observed=kernel.text,
        required=f"{'.'.join(measured.loaded[0].split('.')[:2])} or newer",
        remediation=Remediation(text="Try the pair on a node that can be spared, or boot a newer kernel."),
    )


def _of_logging(target: Release, kernel: KernelRelease, logging: Logging) -> Iterator[Outcome]:
    """Say where the programs for IPv6 that log are refused."""
    bug = target.debug_bug
    if bug is None or _series(kernel) < _series_of(bug.open_from):
        return
    if logging.debug is False or logging.ipv6 is False or (bug.only_without_btf and logging.btf is True):
        return
    tried = _alike(kernel, bug.refused)
    what = f"with Calico {target.version}, IPv6 and bpfLogLevel Debug {bug.effect}"
    seen = f"on {_listed(bug.refused)} those of {bug.objects_of} were refused"
    is_open = {
        "no kernel of its series was tried": tried is None,
        "whether the kernel has BTF could not be told": bug.only_without_btf and logging.btf is None,
        "whether Felix looks after IPv6 could not be told": logging.ipv6 is None,
    }
    fix = Remediation(text="Turn the log off.", commands=(set_command("bpfLogLevel", "Off"),))
    if logging.debug is None:
        if logging.btf is False or not bug.only_without_btf:
            yield passed(
                f"{bug.id}-not-set",
                f"Nothing is known against kernel {kernel.text} unless the programs log: {what} "
                f"({seen}). The log is off unless it is turned on.",
                observed=kernel.text,
                note=True,
            )
    elif any(is_open.values()):
        why = ", and ".join(reason for reason, holds in is_open.items() if holds)
        yield unknown(
            f"{bug.id}-open",
            f"It may be that on kernel {kernel.text}, {what}: {seen}, {why}.",
            reason=Reason.UNSUPPORTED if tried is None else Reason.NOT_COLLECTED,
            observed=kernel.text,
            required="bpfLogLevel: Off",
            remediation=fix,
        )
    else:
        yield fail(
            bug.id,
            f"On kernel {kernel.text}, {what}; {seen}.",
            observed=kernel.text,
            required="bpfLogLevel: Off",
            remediation=fix,
        )


def _of_losses(target: Release, kernel: KernelRelease, shown: Collection[str]) -> Iterator[Outcome]:
    """Say what is lost where Felix does without a program that the kernel refuses."""
    found = [loss for loss in target.losses if _alike(kernel, loss.seen_on) and loss.feature not in shown]
    if not found:
        return
    seen_on = _listed(sorted({kernel for loss in found for kernel in loss.seen_on}))
    message = (
        f"On kernel {kernel.text}, with Calico {target.version}, {'; '.join(loss.effect for loss in found)}. "
        f"That was seen on {seen_on}, of the same series."
    )
    cause = ",".join(loss.id for loss in found)
    if all(loss.severity == "note" for loss in found):
        yield passed(cause, message, observed=kernel.text, note=True)
        return
    yield warn(
        cause,
        message,
        observed=kernel.text,
        required="; ".join(sorted({loss.needed for loss in found})),
        remediation=Remediation(text="Boot a newer kernel, or do without.", needs_reboot=True, disruptive=True),
    )


def _alike(kernel: KernelRelease, tried: tuple[str, ...]) -> str | None:
    """Return the kernel of the same series among those tried, None where none is."""
    return next((one for one in tried if _series_of(one) == _series(kernel)), None)


def _listed(kernels: Iterable[str]) -> str:
    return "kernel " + ", ".join(kernels)


def _series(kernel: KernelRelease) -> tuple[int, int]:
    return kernel.major, kernel.minor


def _series_of(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def _doubt(
    target: Release, suspect: Suspect, kernel: KernelRelease, state: Literal["bad", "edge", "untried", "backport"]
) -> Outcome:
    bug = suspect.bug
    words = {
        "bad": f"some patches of Calico {target.version} do not work with it; say which patch it is",
        "edge": "it lies between the last kernel seen to work and the first seen to fail",
        "untried": "no kernel of its series that is as old has been tried with it",
        "backport": f"the change that breaks it went into other series too, from {bug.backported_after} on, and "
        "no build date in /proc/version shows that this kernel is older",
    }[state]
    return unknown(
        f"{bug.id}-{state}",
        f"It may be that on kernel {kernel.text}, with Calico {target.version}, {bug.title}: {words}.",
        reason=Reason.UNSUPPORTED,
        observed=kernel.text,
        required=f"Calico {bug.fixed_in}",
        remediation=Remediation(text=bug.remedy),
    )


def _known_bad_state(
    bug: KnownBad, kernel: KernelRelease, proc_version: str | None, series_from: dict[str, date]
) -> Literal["good", "bad", "edge", "untried", "backport"]:
    series, patch = _stable_level(kernel, proc_version)
    edge = next((edge for edge in bug.edges if edge.series == series), None)
    if edge is not None and patch is not None:
        if edge.good_to is not None and patch <= edge.good_to:
            return "good"
        if edge.bad_from is not None and patch >= edge.bad_from:
            return "bad"
        if edge.good_to is not None and edge.bad_from is not None:
            return "edge"
    if _series(kernel) >= _series_of(bug.unknown_from):
        return "untried"
    built = build_date(proc_version)
    earliest = series_from.get(series)
    is_older = built is not None and earliest is not None and earliest <= built < bug.backported_after
    return "good" if is_older else "backport"


def _stable_level(kernel: KernelRelease, proc_version: str | None) -> tuple[str, int | None]:
    """Return the stable series and the patch in it; None where a vendor's numbering hides it (X.Y.0-N)."""
    debian = _DEBIAN_BUILD.search(_build_text(proc_version))
    if debian is not None:
        true = KernelRelease.parse(debian["version"])
        if true is not None:
            return true.series, true.patch
    if kernel.patch or not kernel.rest:
        return kernel.series, kernel.patch or 0
    return kernel.series, None


def _build_text(proc_version: str | None) -> str:
    """Return what /proc/version says after the compiler: the number, flags and date of the build."""
    _, sign, build = (proc_version or "").rpartition(") #")
    return build if sign else ""


def build_date(proc_version: str | None) -> date | None:
    """Return the day on which /proc/version says that the kernel was built; None unless it names exactly one."""
    build = _build_text(proc_version)
    days: set[date] = set()
    for form in _DATE_FORMS:
        for match in form.finditer(build):
            groups = match.groupdict()
            name = groups.get("name")
            if name is not None and name.lower() not in _MONTHS:
                continue
            month = int(groups["month"]) if name is None else _MONTHS.index(name.lower()) + 1
            try:
                days.add(date(int(groups["year"]), month, int(groups["day"])))
            except ValueError:
                return None
    return days.pop() if len(days) == 1 else None


def logging_of(given: Given) -> Logging:
    """Return what the node's facts say of log level, IPv6 and BTF."""
    felix, btf = settings(given), given[_BTF]
    has_btf = btf.value if isinstance(btf, Known) else False if isinstance(btf, Absent) else None
    if felix is None:
        return Logging(btf=has_btf)
    # Manifests set it by a variable, which a file with FelixConfiguration does not show.
    by_default = True if isinstance(given[_CALICO_NODE], Known) else None
    return Logging(
        debug=(felix.bpf_log_level or "").lower() == "debug",
        ipv6=by_default if felix.ipv6_support is None else felix.ipv6_support,
        btf=has_btf,
    )


def _tried(given: Given) -> Tried:
    trial = given[_OBJECTS]
    if not isinstance(trial, Known):
        return _NOTHING_TRIED
    release, felix, btf = given.release, settings(given) or FelixSettings(), given[_BTF]
    return Tried(
        loads=judge_objects(trial.value, release, felix, btf).status in (Status.PASS, Status.WARN),
        cleared=tuple(
            one.bug.id
            for one in release.known_bad
            if is_balancing_accepted(trial.value, release, felix, btf, one.bug.objects)
        ),
    )


_BTF = optional(NodeKind.vmlinux_btf)
_OBJECTS = optional(NodeKind.trial_objects)
_FEATURES = optional(NodeKind.trial_features)
_CALICO_NODE = of_cluster(ClusterFacts.calico_node)


def _severity(release: Release) -> Severity:
    measured = release.measured
    is_refused_somewhere = measured is not None and measured.refused
    return Severity.BLOCKER if release.known_bad or release.debug_bug or is_refused_somewhere else Severity.NOTE


@check(
    id="node.kernel.known-bad",
    title="Known bad kernel and Calico pairs",
    category="kernel",
    severity=_severity,
    needs=(KERNEL, RELEASE, OS, OS_IMAGE, FELIX, _BTF, _CALICO_NODE, _FEATURES, _OBJECTS),
)
def kernel_known_bad(given: Given) -> Outcome:
    """What is known of the pair: bugs, and which programs were loaded where."""
    strings = strings_of(given)
    if strings is None:
        return no_release(given)
    features = given[_FEATURES]
    shown = features.value.yes if isinstance(features, Known) else ()
    return judge_known_bad(given.release, strings, logging_of(given), shown, _tried(given))
