"""The policy file, ebpfcheck.toml, and the environment: what holds where the command line says nothing else."""

import os
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

import msgspec

from ebpfcheck.collect.transport import NamedTrial
from ebpfcheck.errors import UsageError
from ebpfcheck.exitcodes import FailOn
from ebpfcheck.model.report import Scope, Severity
from ebpfcheck.model.text import excerpt
from ebpfcheck.policy.limits import FILE_NAME, LONGEST_TIMEOUT, MOST_AT_ONCE, PREFIX, is_image, is_namespace
from ebpfcheck.policy.severity import SeverityRule
from ebpfcheck.policy.toml import TomlFile, read_toml
from ebpfcheck.versions import CalicoVersion

_CONFIG = f"{PREFIX}CONFIG"
_SEVERITY = "severity"


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What is set, and where: FILE:LINE or the name of a variable."""

    value: Any
    origin: str


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """All that a policy file and the environment say."""

    file: str | None = None
    settings: dict[str, Setting] = {}
    severities: tuple[SeverityRule, ...] = ()
    ignored: tuple[str, ...] = ()
    """Variables of the environment that look like settings, and are none."""

    def skipped(self, *, verify: bool) -> list[str]:
        """Return the patterns of `skip` that are about checks which a command runs: those of verify, or all others."""
        from ebpfcheck.registry import load_registry, load_verify_registry

        setting = self.settings.get("skip")
        if setting is None:
            return []
        checks = (load_verify_registry() if verify else load_registry()).checks
        return [pattern for pattern in setting.value if any(fnmatchcase(check.id, pattern) for check in checks)]


class _WrongError(ValueError):
    """A value that a key cannot have; the text says why."""


class _Key(msgspec.Struct, frozen=True):
    """How the value of a key is checked, as it stands in a file; a text is read to that form first."""

    check: Callable[[Any], Any]
    of_text: Callable[[str], Any] = str


def find_policy(directory: Path, environment: Mapping[str, str]) -> Path | None:
    """Return the policy file of a directory or of the nearest one above it; UsageError if it may be somebody else's.

    Whoever puts a file into /tmp must not decide what others, who work below, leave out or overwrite. Under sudo it may
    be of the user who called that.
    """
    trusted = {0, os.geteuid()}
    caller = environment.get("SUDO_UID", "")
    if os.geteuid() == 0 and caller.isascii() and caller.isdigit():
        trusted.add(int(caller))
    for place in (directory, *directory.parents):
        path = place / FILE_NAME
        try:
            owners = {path.lstat().st_uid, path.stat().st_uid}
        except OSError:
            if path.is_symlink():
                raise UsageError(f"{_shown(path, directory)}: is a link to nothing") from None
            continue
        if owners - trusted:
            name = _shown(path, directory)
            raise UsageError(f"{name} belongs to another user; name it by --config if it is to be heeded")
        return path
    return None


def read_policy(named: str | None, environment: Mapping[str, str], directory: Path | None) -> Policy:
    """Read the file that is named, else the one in the environment, else the nearest one, and then the environment.

    UsageError, with the line or the variable, for whatever is wrong. `directory`: where to look, None for nowhere.
    """
    named = named if named is not None else environment.get(_CONFIG) or None
    if named == "":
        raise UsageError("--config: give the name of a file")
    path = Path(named) if named is not None else find_policy(directory, environment) if directory is not None else None
    settings: dict[str, Setting] = {}
    severities: tuple[SeverityRule, ...] = ()
    name = None
    if path is not None:
        name = named if named is not None or directory is None else _shown(path, directory)
        file = read_toml(path, name or str(path))
        settings = _of_file(file, path.parent)
        severities = _severities(file)
    of_environment, ignored = _of_environment(environment)
    return Policy(file=name, settings=settings | of_environment, severities=severities, ignored=ignored)


def _shown(path: Path, directory: Path) -> str:
    return os.path.relpath(path, directory)


def _of_file(file: TomlFile, directory: Path) -> dict[str, Setting]:
    settings = {}
    for name, value in file.values.items():
        if name == _SEVERITY:
            continue
        if name not in KEYS:
            raise file.error((name,), _no_such(name, (*KEYS, _SEVERITY)))
        try:
            checked = KEYS[name].check(value)
        except _WrongError as error:
            raise file.error((name,), f"{name}: {error}") from error
        settings[name] = Setting(value=_placed(name, checked, directory), origin=file.at(name))
    return settings


def _placed(name: str, value: Any, directory: Path) -> Any:
    """Return a value with its paths as they are meant in a file: from where that is."""
    if name in ("waivers", "baseline"):
        return str(directory / value)
    if name == "format":
        pairs = (text.partition("=") for text in value)
        return [f"{kind}{sign}{directory / file if file not in ('', '-') else file}" for kind, sign, file in pairs]
    return value


def _severities(file: TomlFile) -> tuple[SeverityRule, ...]:
    table = file.values.get(_SEVERITY, {})
    if not isinstance(table, dict):
        raise file.error((_SEVERITY,), "severity is a table: [severity], and then a check and what it counts as")
    rules = []
    for pattern, value in table.items():
        place = (_SEVERITY, pattern)
        if isinstance(value, dict):
            name, inner = _undotted(pattern, value)
            raise file.error((_SEVERITY, *inner), f'a check stands in quotes: "{excerpt(name, 60)}"')
        if value == Severity.NOTE:
            raise file.error(
                place, "nothing can be made a note: leave a check out by skip, or accept what it says by a waiver"
            )
        if value not in (Severity.BLOCKER, Severity.DEGRADE):
            raise file.error(place, f"a severity is blocker or degrade, not {excerpt(str(value), 40)!r}")
        try:
            _checks([pattern])
        except _WrongError as error:
            raise file.error(place, str(error)) from error
        rules.append(SeverityRule(id=pattern, severity=Severity(value), line=file.at(*place)))
    return tuple(rules)


def _undotted(first: str, table: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return what is meant by a key with dots that has no quotes, and the keys that TOML makes of it."""
    keys, value = [first], table
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        keys.append(key)
    return ".".join(keys), tuple(keys)


def _of_environment(environment: Mapping[str, str]) -> tuple[dict[str, Setting], tuple[str, ...]]:
    settings = {}
    for name, key in KEYS.items():
        variable = PREFIX + name.upper()
        text = environment.get(variable, "").strip()
        # A variable that is empty is how a CI job has one that is not set.
        if text:
            try:
                settings[name] = Setting(value=key.check(key.of_text(text)), origin=variable)
            except _WrongError as error:
                raise UsageError(f"{variable}: {error}") from error
    meant = {PREFIX + name.upper() for name in KEYS} | {_CONFIG}
    return settings, tuple(sorted(name for name in environment if name.startswith(PREFIX) and name not in meant))


def _no_such(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"there is no setting {excerpt(name, 40)!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _one_of(*words: str) -> _Key:
    def check(value: Any) -> str:
        if value not in words:
            raise _WrongError(f"{excerpt(str(value), 40)!r} is none of {', '.join(words)}")
        return str(value)

    return _Key(check)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _WrongError("it is a text, and not empty")
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one.strip() for one in value):
        raise _WrongError('it is a list of texts, such as ["a", "b"]')
    return value


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _release(value: Any) -> str:
    from ebpfcheck.knowledge.load import load_knowledge

    text = _text(value)
    version = CalicoVersion.parse(text)
    if version is None:
        raise _WrongError(f"{excerpt(text, 40)!r} is not a Calico release such as v3.32 or v3.32.1")
    if not load_knowledge().covers(version):
        raise _WrongError(f"{excerpt(text, 40)} is outside what this ebpfcheck knows")
    return text


def _checks(value: Any) -> list[str]:
    from ebpfcheck.registry import load_registry, load_verify_registry

    patterns = _texts(value)
    ids = [check.id for registry in (load_registry(), load_verify_registry()) for check in registry.checks]
    for pattern in patterns:
        if not any(fnmatchcase(one, pattern) for one in ids):
            near = get_close_matches(pattern, ids, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise _WrongError(f"no check is called {excerpt(pattern, 60)!r}{hint}")
    return patterns


def _formats(value: Any) -> list[str]:
    from ebpfcheck.render import RENDERERS

    texts = _texts(value)
    for text in texts:
        name, sign, file = text.partition("=")
        if name not in RENDERERS:
            raise _WrongError(f"there is no format {excerpt(name, 40)!r}; choose from {', '.join(RENDERERS)}")
        if sign and not file:
            raise _WrongError(f"{text}: a file name must follow the =")
    return texts


def _number(value: Any, low: float, high: float, kind: type[int] | type[float]) -> Any:
    is_number = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        what = "a whole number" if kind is int else "a number"
        raise _WrongError(f"it is {what} from {low:g} to {high:g}")
    return value


def _numbered(low: float, high: float, kind: type[int] | type[float]) -> _Key:
    def of_text(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            return text

    return _Key(lambda value: _number(value, low, high, kind), of_text)


def _namespace(value: Any) -> str:
    if not isinstance(value, str) or not is_namespace(value):
        raise _WrongError(f"{excerpt(str(value), 40)!r} is not the name of a namespace")
    return value


def _image(value: Any) -> str:
    if not isinstance(value, str) or not is_image(value):
        raise _WrongError(f"{excerpt(str(value), 40)!r} is not the name of an image")
    return value


KEYS: dict[str, _Key] = {
    "calico_version": _Key(_release),
    "install": _one_of("operator", "manifest"),
    "skip": _Key(_checks, _words),
    "fail_on": _one_of(*get_args(FailOn)),
    "scope": _one_of(*get_args(Scope)),
    "coverage_floor": _numbered(0, 100, int),
    "waivers": _Key(_text),
    "baseline": _Key(_text),
    "format": _Key(_formats, _words),
    "probe": _one_of("none", "exec", "pod"),
    "probe_nodes": _one_of("cohorts", "all"),
    "image": _Key(_image),
    "trial": _one_of(*get_args(NamedTrial)),
    "probe_namespace": _Key(_namespace),
    "probe_timeout": _numbered(1, LONGEST_TIMEOUT, float),
    "concurrency": _numbered(1, MOST_AT_ONCE, int),
}
"""What a policy file may set, each named like its option, and how it is checked."""
