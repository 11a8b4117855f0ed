"""The BPF objects of a release, as the kernel's verifier judged them in a trial."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from ebpfcheck.checks.felix import FELIX, is_connect_time_off, settings
from ebpfcheck.knowledge.object_tables import ObjectTables, RefusalMeaning, Role
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import Given, Outcome, check, fail, optional, passed, required, unknown, warn
from ebpfcheck.model.facts import Fact, FelixSettings, Known, NodeKind, ObjectRefusal, ObjectTrial, Reason, Unknown
from ebpfcheck.model.report import Remediation, Severity
from ebpfcheck.model.text import excerpt
from ebpfcheck.versions import CalicoVersion

State = Literal["accepted", "partly", "refused", "unfair", "forbidden", "exhausted", "unclear", "undecided", "left"]

_NAMED = 3
_LONGEST_WORDS = 300
# Without these, for IPv4, nothing is known of the programs that matter most.
_CORE = ("from_hep_", "to_hep_", "from_wep_", "to_wep_", "connect_")
_LOADED = ("accepted", "partly")
_UNDECIDED = {
    "timeout": "took too long to load, or memory ran short",
    "killed": "ended the loader",
    "large": "are too large for objects",
    "irregular": "are no files",
}


class _Object(msgspec.Struct, frozen=True, kw_only=True):
    """One object that Felix would load, and what came of it."""

    name: str
    role: Role
    state: State
    kind: str = ""
    """The kind of refusal."""
    meaning: str = ""
    refusal: ObjectRefusal | None = None
    doubt: str = ""
    """On what it depends whether Felix would load it, where that is not known."""
    fell_back: bool = False
    """Whether Felix would load its twin, as the kernel refuses the one that is adapted to it."""


_OBJECTS = required(NodeKind.trial_objects)
_BTF = optional(NodeKind.vmlinux_btf)


@check(
    id="node.bpf.objects",
    title="BPF objects of the release",
    category="kernel",
    severity=Severity.BLOCKER,
    needs=(_OBJECTS, FELIX, _BTF),
    of_trial=True,
)
def bpf_objects(given: Given) -> Outcome:
    """What the verifier of this very kernel says of the very programs that Felix would load."""
    return judge_objects(given[_OBJECTS], given.release, settings(given) or FelixSettings(), given[_BTF])


def judge_objects(trial: ObjectTrial, release: Release, felix: FelixSettings, btf: Fact[bool]) -> Outcome:
    """Judge the objects that were tried for a release, with Felix's settings and the kernel's BTF as far as known."""
    return _other_release(trial, release) or _outcome(trial, release, _deciding(trial, release, felix, btf), felix)


def is_balancing_accepted(
    trial: ObjectTrial, release: Release, felix: FelixSettings, btf: Fact[bool], pattern: str
) -> bool:
    """Whether each object for connect-time load balancing was accepted, one that fits a pattern among them.

    Only objects of the very patch of the release count: by their image, else as the release was named.
    """
    of_image = CalicoVersion.of_image(trial.image) if trial.image else release.version
    if of_image != release.version or of_image.patch is None or _other_release(trial, release) is not None:
        return False
    balancing = [one for one in _deciding(trial, release, felix, btf) if one.role.balances]
    return any(re.match(pattern, one.name) for one in balancing) and all(one.state == "accepted" for one in balancing)


def _deciding(trial: ObjectTrial, release: Release, felix: FelixSettings, btf: Fact[bool]) -> tuple[_Object, ...]:
    lacks_btf = not btf.value if isinstance(btf, Known) else not isinstance(btf, Unknown)
    return tuple(_loaded(trial, release, felix, lacks_btf=lacks_btf))


def _outcome(trial: ObjectTrial, release: Release, objects: Sequence[_Object], felix: FelixSettings) -> Outcome:
    taken = f"Calico {release.version}"
    observed = _observed(trial)
    needed = "each program that Felix loads is accepted"
    if not objects:
        return unknown(
            "none",
            f"{excerpt(trial.directory, 120)} holds none of the objects that Felix loads in eBPF mode.",
            reason=Reason.NOT_COLLECTED,
            observed=observed,
            required=needed,
            remediation=Remediation(
                text="Give a copy of /usr/lib/calico/bpf of a release's calico-node image by --objects."
            ),
        )
    for state, reason in (("forbidden", Reason.FORBIDDEN), ("exhausted", Reason.NOT_COLLECTED)):
        kept = [one for one in objects if one.state == state]
        if kept:
            return unknown(
                state,
                f"The kernel did not tell whether it accepts the programs of {taken}: {_told(kept)}.",
                reason=reason,
                observed=_last_words(kept) or observed,
                required=needed,
            )
    refused = [one for one in objects if one.state == "refused"]
    lost = [one for one in refused if one.role.cost == "blocker" and not one.doubt]
    if lost:
        return fail(
            f"refused-{','.join(sorted({one.kind for one in lost}))}",
            f"This kernel refuses programs of {taken}: {_told(lost)}. {_effects(lost, release)}.",
            observed=_last_words(lost),
            required=needed,
            remediation=Remediation(
                text="Boot another kernel, or stay with a release whose objects load here; both can be tried "
                "beforehand, any release by its own objects.",
                needs_reboot=True,
                disruptive=True,
            ),
        )
    open_ = [one for one in objects if one.role.cost in ("blocker", "depends") and _is_open(one)]
    missing = _missing(objects, release, felix)
    if open_ or missing:
        return _undecided(trial, taken, open_, missing, observed, needed)
    soft = [one for one in objects if one.state in ("refused", "partly") or one.fell_back]
    soft = [one for one in soft if one.role.cost != "note"]
    if soft:
        return warn(
            f"without-{','.join(sorted({one.kind or 'twin' for one in soft}))}",
            f"This kernel accepts what {taken} cannot do without, but not all of it: {_told(soft)}. "
            f"{_losses(soft, release)}.",
            observed=_last_words(soft) or observed,
            required=needed,
        )
    used = {one.name for one in objects}
    unused = [one.name for one in trial.refused if one.name not in used]
    return passed(
        "accepted",
        f"This kernel's verifier accepts each program that Felix loads of the objects that were tried for {taken}."
        + (f" It refuses others, which Felix does not load with these settings: {_listed(unused)}." if unused else ""),
        observed=observed,
        required=needed,
        note=bool(unused),
    )


def _missing(objects: Sequence[_Object], release: Release, felix: FelixSettings) -> list[str]:
    """Return how the names of those begin that Felix always loads, and that were not among the objects."""
    names = [one.name for one in objects if not _is_v6(one.name) and "v46" not in _words(one.name)]
    core = [part for part in _CORE if not (part == "connect_" and is_connect_time_off(release, felix))]
    return [part for part in core if not any(name.startswith(part) for name in names)]


def _is_open(one: _Object) -> bool:
    return one.state not in _LOADED


def _undecided(
    trial: ObjectTrial, taken: str, open_: Sequence[_Object], missing: Sequence[str], observed: str, needed: str
) -> Outcome:
    doubted = [one for one in open_ if one.state == "refused"]
    parts = [
        f"where {doubt}, programs are refused that Felix then needs: "
        f"{_told([one for one in doubted if one.doubt == doubt])}"
        for doubt in dict.fromkeys(one.doubt for one in doubted)
    ]
    left = [one for one in open_ if one.state == "left"]
    if left:
        parts.append(f"there was no time for {_listed([one.name for one in left])}")
    unfair = [one for one in open_ if one.state in ("unfair", "unclear", "undecided")]
    if unfair:
        parts.append(f"not a fair test: {_told(unfair)}")
    if missing:
        parts.append(f"{excerpt(trial.directory, 120)} has no {', '.join(f'{part}*' for part in missing)}")
    hint = "Give it more time (--timeout, --probe-timeout)" if left else "Load them by libbpf (python3 and libbpf.so.1)"
    if doubted and not left:
        hint = "Give FelixConfiguration (--felix-config) where that decides"
    return unknown(
        "doubt" if doubted else "left" if left else "unfair" if unfair else "incomplete",
        f"It is open whether this kernel accepts the programs of {taken}: {'; '.join(parts)}.",
        reason=Reason.TIMEOUT if left and not doubted else Reason.UNSUPPORTED,
        observed=_last_words(open_) or observed,
        required=needed,
        remediation=None if not open_ else Remediation(text=f"{hint}, and try again."),
    )


def _other_release(trial: ObjectTrial, release: Release) -> Outcome | None:
    """Say so where the objects are of another release than the one that is judged for."""
    names = {*trial.accepted, *trial.left, *(one.name for one in (*trial.partly, *trial.refused))}
    era = next((era for era in release.objects.era if era.name in names), None)
    target = release.version
    of_image = CalicoVersion.of_image(trial.image) if trial.image else None
    if of_image is not None and (of_image.major, of_image.minor) != (target.major, target.minor):
        seen = f"of Calico {of_image}, by their image"
    elif era is not None and target.within(era.releases) is False:
        seen = f"of a release {era.releases.replace(',', ' ')}, by the names of the objects"
    else:
        return None
    return unknown(
        "other-release",
        f"The objects that were tried are {seen}, and say nothing of Calico {target}.",
        reason=Reason.NOT_COLLECTED,
        observed=_observed(trial),
        required=f"the objects of Calico {target}",
        remediation=Remediation(
            text="Name their release by --calico-version, or give the objects of the other one (--objects, --image)."
        ),
    )


def _loaded(trial: ObjectTrial, release: Release, felix: FelixSettings, *, lacks_btf: bool) -> Iterable[_Object]:
    """Give each object that Felix loads with these settings; of twins the one that decides."""
    found = {one.name: one for one in _judged(trial, release, felix)}
    fragments = release.objects.fragments.program
    mark = release.objects.fallback.mark
    adapted = {name.replace(mark, ""): one for name, one in found.items() if mark in name}
    for name, one in found.items():
        if mark not in name and name not in adapted:
            yield one
    for plain, one in adapted.items():
        twin = found.get(plain)
        if twin is None:
            yield one
        elif lacks_btf:
            yield twin
        elif one.state in _LOADED or not one.name.startswith(("from_", "to_")) or twin.state == "refused":
            yield one
        elif one.state == "refused" and twin.state in _LOADED:
            yield msgspec.structs.replace(one, name=twin.name, state=twin.state, fell_back=True)
        elif one.refusal is not None and one.refusal.program == fragments and twin.state in _LOADED:
            # With or without its twin: that program is not loaded.
            yield msgspec.structs.replace(one, state="partly")
        else:
            yield twin


def _judged(trial: ObjectTrial, release: Release, felix: FelixSettings) -> Iterable[_Object]:
    undecided = dict(trial.undecided)
    refusals = {one.name: one for one in (*trial.partly, *trial.refused)}
    for name in sorted({*trial.accepted, *trial.left, *undecided, *refusals}):
        role = next((role for role in release.objects.role if re.match(role.name, name)), None)
        if role is None or role.cost == "none" or not _is_used(name, role, release, felix):
            continue
        doubt = _doubt(name, role, felix)
        if name in refusals:
            partly = refusals[name] in trial.partly
            yield _classified(trial, release, refusals[name], role, doubt, partly=partly)
        elif name in undecided:
            words = _UNDECIDED[undecided[name]]
            yield _Object(name=name, role=role, doubt=doubt, state="undecided", kind=undecided[name], meaning=words)
        else:
            yield _Object(name=name, role=role, doubt=doubt, state="left" if name in trial.left else "accepted")


def _words(name: str) -> list[str]:
    return name.removesuffix(".o").split("_")


def _is_used(name: str, role: Role, release: Release, felix: FelixSettings) -> bool:
    """Whether Felix loads an object with these settings, as far as they tell."""
    words = _words(name)
    if felix.ipv6_support is False and _is_v6(name):
        return False
    if role.balances and is_connect_time_off(release, felix):
        return False
    if "dsr" in words and (felix.bpf_external_service_mode or "").lower() != "dsr":
        return False
    level = (felix.bpf_log_level or "off").lower()
    if "debug" in words or "info" in words:
        return level in words
    return "no" not in words or level not in ("debug", "info")


def _is_v6(name: str) -> bool:
    # v46 is IPv4 by way of IPv6 sockets, which takes no ipv6Support.
    return not {"v6", "ipv6"}.isdisjoint(_words(name))


def _doubt(name: str, role: Role, felix: FelixSettings) -> str:
    if role.cost == "depends":
        return role.when
    return "IPv6 is on (ipv6Support)" if _is_v6(name) and felix.ipv6_support is None else ""


def meaning_of(tables: ObjectTables, refusal: ObjectRefusal) -> RefusalMeaning | None:
    """Return what a refusal means, by its words, else by its errno; None where neither tells."""
    text = "\n".join(refusal.words)
    by_words = (one for one in tables.refusal if re.search(one.words, text))
    by_errno = (
        one
        for one in tables.refusal
        if one.errno and one.errno == refusal.errno and (refusal.from_verifier or not one.of_verifier)
    )
    return next(by_words, None) or next(by_errno, None)


def _classified(
    trial: ObjectTrial, release: Release, refusal: ObjectRefusal, role: Role, doubt: str, *, partly: bool
) -> _Object:
    tables = release.objects
    entry = meaning_of(tables, refusal)
    state: State = "unclear" if entry is None else entry.verdict
    kind = "unclear" if entry is None else entry.kind
    meaning = "what was said of it tells no reason" if entry is None else entry.meaning
    if partly:
        state = "partly"
    elif trial.by == "bpftool" and refusal.program == tables.fragments.program and state == "refused":
        state, meaning = "unfair", f"{meaning}; Felix would leave that program out, bpftool cannot"
    return _Object(name=refusal.name, role=role, doubt=doubt, state=state, kind=kind, meaning=meaning, refusal=refusal)


def _told(objects: Sequence[_Object]) -> str:
    """Name objects by what was said of them, the first few of each kind."""
    by_meaning: dict[tuple[str, str, str], list[_Object]] = {}
    for one in objects:
        program = one.refusal.program if one.refusal else ""
        by_meaning.setdefault((one.kind, one.meaning, program), []).append(one)
    return "; ".join(
        f"{f'{excerpt(program, 60)} of ' if program else ''}{_listed([one.name for one in group])} ({kind}: {meaning})"
        for (kind, meaning, program), group in by_meaning.items()
    )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(excerpt(name, 80) for name in names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _effects(objects: Iterable[_Object], release: Release) -> str:
    failure = f", and {release.balancing.failure}"
    effects = "; ".join(dict.fromkeys(f"{one.role.effect}{failure if one.role.balances else ''}" for one in objects))
    return effects[:1].upper() + effects[1:]


def _losses(objects: Sequence[_Object], release: Release) -> str:
    losses: list[str] = []
    if any(one.state == "partly" for one in objects):
        losses.append(f"Felix does without that program: {release.objects.fragments.effect}")
    if any(one.fell_back for one in objects):
        losses.append("Felix loads their twins, which are not adapted to the kernel")
    losses += [one.role.effect for one in objects if one.state == "refused"]
    text = "; ".join(dict.fromkeys(losses))
    return text[:1].upper() + text[1:]


def _last_words(objects: Iterable[_Object]) -> str:
    """Return the last words about the first of them that there are any about."""
    told = next((one.refusal for one in objects if one.refusal and one.refusal.words), None)
    return "" if told is None else excerpt(f"{told.name}: {' / '.join(told.words)}", _LONGEST_WORDS)


def _observed(trial: ObjectTrial) -> str:
    place = f"{trial.directory} of {trial.image}" if trial.image else trial.directory
    tried = len(trial.accepted) + len(trial.partly) + len(trial.refused) + len(trial.undecided)
    return excerpt(f"{tried} objects of {place}, loaded by {trial.loader}", 200)
