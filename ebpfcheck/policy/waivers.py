"""Waivers: what is accepted on purpose, of which subjects, by whom and until when."""

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase, translate
from pathlib import Path
from typing import Any

import msgspec

from ebpfcheck.errors import UsageError
from ebpfcheck.model.facts import Reason
from ebpfcheck.model.report import Finding, Status, WaiverState, WaiverUse
from ebpfcheck.model.snapshot import Problem
from ebpfcheck.model.text import excerpt
from ebpfcheck.policy.toml import Place, TomlFile, read_toml

COUNTING = (Status.FAIL, Status.WARN, Status.UNKNOWN)
"""The statuses that there is something to forgive in."""

_KEYS = ("id", "subject", "reason", "owner", "expires")
_LONGEST_TEXT = 500


class Waiver(msgspec.Struct, frozen=True, kw_only=True):
    """One entry: globs of the check's id and of the subject's name, and who accepts what they match until when."""

    id: str
    subject: str
    reason: str
    owner: str
    expires: date
    """The last day, in UTC, on which it holds."""
    line: str
    """FILE:LINE."""

    def words(self) -> str:
        """Return why it was given, by whom, and until when."""
        return f"{self.reason} ({self.owner}, until {self.expires}; {self.line})"


def load_waivers(path: str) -> tuple[Waiver, ...]:
    """Read a file of `[[waiver]]` tables; UsageError, with the line, for whatever is wrong with it."""
    file = read_toml(Path(path), path)
    for key in file.values:
        if key != "waiver":
            raise file.error((key,), f"there is no {excerpt(key, 40)!r} in a file of waivers, only [[waiver]]")
    entries = file.values.get("waiver", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise file.error(("waiver",), "each waiver is a table of its own, headed [[waiver]]")
    return tuple(_waiver(file, ("waiver", number), entry) for number, entry in enumerate(entries))


def check_names_are_kept(waivers: Sequence[Waiver]) -> None:
    """UsageError where waivers go by names of nodes, which a redacted snapshot does not hold."""
    for waiver in waivers:
        if waiver.subject not in ("*", "cluster"):
            raise UsageError(f"{waiver.line}: --redact replaces the names that the waiver goes by")


def _waiver(file: TomlFile, place: Place, entry: dict[str, Any]) -> Waiver:
    for key in entry:
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(_KEYS)}"
            raise file.error((*place, key), f"a waiver has no {excerpt(key, 40)!r}; {hint}")
    for key in _KEYS:
        if key not in entry:
            raise file.error(place, f"the waiver has no {key}")
    for key in _KEYS[:-1]:
        text = entry[key]
        if not isinstance(text, str) or not text.strip():
            raise file.error((*place, key), f"the {key} of a waiver is a text, and not empty")
        if len(text) > _LONGEST_TEXT:
            raise file.error((*place, key), f"the {key} of a waiver has {_LONGEST_TEXT} characters at most")
    expires = entry["expires"]
    if not isinstance(expires, date) or isinstance(expires, datetime):
        raise file.error((*place, "expires"), "expires is a date without quotes, such as 2027-03-31")
    # Line breaks and blanks of a text of several lines mean nothing.
    texts = {key: " ".join(entry[key].split()) for key in _KEYS[:-1]}
    shown = {key: excerpt(text, _LONGEST_TEXT) for key, text in texts.items() if key != "subject"}
    return Waiver(**shown, subject=texts["subject"], expires=expires, line=file.at(*place))


class Waived(msgspec.Struct, frozen=True):
    """Findings, split where waivers match some of their subjects alone, and what became of the waivers."""

    findings: tuple[Finding, ...]
    waivers: tuple[WaiverUse, ...]
    problems: tuple[Problem, ...]


def waive(findings: Sequence[Finding], waivers: Sequence[Waiver], today: date, known_ids: Collection[str]) -> Waived:
    """Mark what waivers match; the first that holds counts where several match.

    `known_ids`: those of all checks that there are, to tell a check that was not run from one that there is not.
    """
    used = [0] * len(waivers)
    split: list[Finding] = []
    matcher = _Matcher(waivers, today)
    for finding in findings:
        about = matcher.about(finding.id) if finding.status in COUNTING else ()
        if not about:
            split.append(finding)
            continue
        parts: dict[int | None, list[str]] = {}
        for subject, number in zip(finding.subjects, matcher.first(about, finding.subjects), strict=True):
            parts.setdefault(number, []).append(subject)
        for number, subjects in sorted(parts.items(), key=lambda part: -1 if part[0] is None else part[0]):
            if number is None:
                split.append(part_of(finding, subjects))
                continue
            used[number] += len(subjects)
            waiver = waivers[number]
            words = waiver.words()
            holds = today <= waiver.expires
            split.append(
                msgspec.structs.replace(
                    part_of(finding, subjects),
                    waived_by=words if holds else None,
                    waiver_expired=None if holds else words,
                )
            )
    run = {finding.id for finding in findings}
    uses = tuple(_use(waiver, number, today, run, known_ids) for waiver, number in zip(waivers, used, strict=True))
    return Waived(tuple(split), uses, tuple(_problems(uses, known_ids)))


def part_of(finding: Finding, subjects: Sequence[str]) -> Finding:
    """Return the finding about some of its subjects, in their order."""
    if len(subjects) == len(finding.subjects):
        return finding
    return msgspec.structs.replace(finding, subjects=tuple(subjects))


class _Matcher:
    """Finds the waiver for each subject; those about the same checks are one pattern, held against a subject once."""

    def __init__(self, waivers: Sequence[Waiver], today: date) -> None:
        self._waivers = waivers
        self._today = today
        # Findings about the same nodes hold the very same tuple.
        self._done: dict[tuple[tuple[int, ...], int], list[int | None]] = {}

    def about(self, check_id: str) -> tuple[int, ...]:
        """Return which waivers are about a check: those that hold, then those that have expired."""
        found = [number for number, one in enumerate(self._waivers) if fnmatchcase(check_id, one.id)]
        return tuple(sorted(found, key=lambda number: self._waivers[number].expires < self._today))

    def first(self, about: tuple[int, ...], subjects: tuple[str, ...]) -> list[int | None]:
        """Return for each subject the first of these waivers that matches it, if any."""
        key = about, id(subjects)
        if key not in self._done:
            pattern = "|".join(f"({translate(self._waivers[number].subject)})" for number in about)
            matches = map(re.compile(pattern).match, subjects)
            # The last group that took part is the only one, as the patterns hold none themselves.
            self._done[key] = [about[match.lastindex - 1] if match and match.lastindex else None for match in matches]
        return self._done[key]


def _use(waiver: Waiver, matched: int, today: date, run: set[str], known_ids: Collection[str]) -> WaiverUse:
    def concerns(ids: Iterable[str]) -> bool:
        return any(fnmatchcase(one, waiver.id) for one in ids)

    state: WaiverState
    if matched:
        state = "used" if today <= waiver.expires else "expired"
    else:
        state = "unmatched" if concerns(run) or not concerns(known_ids) else "not_run"
    return WaiverUse(
        id=waiver.id,
        subject=excerpt(waiver.subject, _LONGEST_TEXT),
        reason=waiver.reason,
        owner=waiver.owner,
        expires=waiver.expires,
        line=waiver.line,
        state=state,
        subjects=matched,
    )


def _problems(uses: Iterable[WaiverUse], known_ids: Collection[str]) -> Iterable[Problem]:
    for use in uses:
        if use.state == "expired":
            words = f"the waiver of {use.owner} for {use.id} expired on {use.expires}: what it waived counts again"
        elif use.state == "unmatched":
            words = f"the waiver for {use.id} on {use.subject} matches nothing wrong that no other does"
            if not any(fnmatchcase(one, use.id) for one in known_ids):
                near = get_close_matches(use.id, list(known_ids), n=1)
                words = f"no check is called {use.id!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        else:
            continue
        yield Problem(source=use.line, reason=Reason.OUTDATED, detail=words)
