"""All checks there are: the built-in ones and those that installed packages add."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

import msgspec

from ebpfcheck.errors import UsageError
from ebpfcheck.model.check import Check
from ebpfcheck.model.facts import Reason
from ebpfcheck.model.snapshot import Problem
from ebpfcheck.model.text import excerpt

ENTRY_POINT_GROUP = "ebpfcheck.checks"
"""Entry points of this group name a tuple of Check."""


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """The checks in the order in which they are shown, and what could not be loaded."""

    checks: tuple[Check, ...]
    problems: tuple[Problem, ...] = ()

    def select(self, only: Sequence[str], skip: Sequence[str]) -> tuple[Check, ...]:
        """Return the checks whose id matches `only` (all, if empty) and not `skip`.

        UsageError for a pattern that matches no check, and if nothing is left.
        """
        for pattern in (*only, *skip):
            if not any(fnmatchcase(check.id, pattern) for check in self.checks):
                raise self._no_such(pattern)
        chosen = tuple(
            check for check in self.checks if (not only or _matches(check.id, only)) and not _matches(check.id, skip)
        )
        if not chosen:
            raise UsageError("--only and --skip leave no check to run")
        return chosen

    def find(self, check_id: str) -> Check:
        """Return the check of that id; UsageError if there is none."""
        for check in self.checks:
            if check.id == check_id:
                return check
        raise self._no_such(check_id)

    def _no_such(self, word: str) -> UsageError:
        near = get_close_matches(word, [check.id for check in self.checks], n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else "`ebpfcheck checks` lists them, and globs such as 'node.*' work"
        )
        return UsageError(f"no check is called {word!r}; {hint}")


def load_registry(*, of_nodes: bool = False) -> Registry:
    """Return the built-in checks and those of installed packages; a package that fails to load is a problem.

    With `of_nodes`, the built-in checks of clusters may be missing.
    """
    from importlib.metadata import entry_points

    entries = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name)
    # Whether a package takes the id of a check shows only beside all of them.
    checks = {check.id: check for check in _builtin(of_nodes=of_nodes and not entries)}
    taken = {check.id for check in load_verify_registry().checks} if entries else set()
    problems: list[Problem] = []
    for entry in entries:
        try:
            loaded = entry.load()
        except Exception as error:
            problems.append(_problem(entry.name, f"it does not load: {type(error).__name__}: {error}"))
            continue
        if not isinstance(loaded, tuple) or not all(isinstance(check, Check) for check in loaded):
            problems.append(_problem(entry.name, f"{entry.value} is not a tuple of Check"))
            continue
        for check in loaded:
            if check.id in checks or check.id in taken:
                problems.append(_problem(entry.name, f"there is a check {check.id!r} already"))
            else:
                checks[check.id] = check
    return Registry(checks=tuple(checks.values()), problems=tuple(problems))


def load_verify_registry() -> Registry:
    """Return the checks of what runs after the switch, which no other command runs."""
    from ebpfcheck.checks.builtin_verify import VERIFY_CHECKS

    return Registry(checks=VERIFY_CHECKS)


def _builtin(*, of_nodes: bool) -> tuple[Check, ...]:
    # Imported here since most of the time that `ebpfcheck node` takes is for loading modules.
    if of_nodes:
        from ebpfcheck.checks.builtin_node import NODE_CHECKS

        return NODE_CHECKS
    from ebpfcheck.checks.builtin import BUILTIN

    return BUILTIN


def _problem(name: str, words: str) -> Problem:
    return Problem(source=f"plugin {excerpt(name, 80)}", reason=Reason.UNSUPPORTED, detail=excerpt(words))


def _matches(check_id: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(check_id, pattern) for pattern in patterns)
