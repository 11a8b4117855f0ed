import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from ebpfcheck.checks.builtin import BUILTIN
from ebpfcheck.errors import UsageError
from ebpfcheck.model.check import Check, check, passed
from ebpfcheck.model.report import Severity
from ebpfcheck.registry import ENTRY_POINT_GROUP, Registry, load_registry


def made(id: str) -> Check:
    return check(id=id, title=id, category="t", severity=Severity.NOTE, needs=())(lambda _: passed("ok", "ok"))


GOOD = (made("acme.one"), made("acme.two"))
DUPLICATE = (made("node.arch"),)
OF_CLUSTERS = (made("cluster.platform"),)
NOT_CHECKS = ["acme.one"]


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Stands for what installed packages name as their entry points."""
    entries: list[EntryPoint] = []
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries if group == ENTRY_POINT_GROUP else [])
    return entries


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=ENTRY_POINT_GROUP)


def test_built_in_ids_are_distinct() -> None:
    assert len({one.id for one in BUILTIN}) == len(BUILTIN)


def test_a_package_adds_its_checks(plugins: list[EntryPoint]) -> None:
    plugins.append(entry("acme", f"{__name__}:GOOD"))
    registry = load_registry()
    assert [one.id for one in registry.checks[-2:]] == ["acme.one", "acme.two"]
    assert not registry.problems


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (f"{__name__}:DUPLICATE", "already"),
        (f"{__name__}:NOT_CHECKS", "not a tuple of Check"),
        (f"{__name__}:NOTHING", "does not load"),
        ("no.such.module:x", "does not load"),
    ],
)
def test_a_package_that_cannot_be_used_is_a_problem(plugins: list[EntryPoint], value: str, words: str) -> None:
    plugins.extend((entry("a-good", f"{__name__}:GOOD"), entry("bad", value)))
    registry = load_registry()
    assert [one.id for one in registry.checks] == [*(one.id for one in BUILTIN), "acme.one", "acme.two"]
    (problem,) = registry.problems
    assert problem.source == "plugin bad"
    assert words in problem.detail


@pytest.mark.parametrize("value", [None, f"{__name__}:GOOD", f"{__name__}:OF_CLUSTERS"])
def test_where_only_nodes_are_judged_the_same_checks_of_nodes_and_the_same_problems_are_there(
    plugins: list[EntryPoint], value: str | None
) -> None:
    if value is not None:
        plugins.append(entry("acme", value))
    everything, of_nodes = load_registry(), load_registry(of_nodes=True)
    assert [one for one in everything.checks if one.scope == "node"] == [
        one for one in of_nodes.checks if one.scope == "node"
    ]
    assert of_nodes.problems == everything.problems


def test_for_nodes_the_checks_of_clusters_are_not_loaded() -> None:
    code = (
        "import sys; from ebpfcheck.registry import load_registry; load_registry(of_nodes=True);"
        "print([name for name in sys.modules if name in ('ebpfcheck.checks.builtin', 'ebpfcheck.checks.dns')])"
    )
    assert subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True).stdout == "[]\n"


REGISTRY = Registry(checks=(made("node.a.x"), made("node.a.y"), made("node.b")))


@pytest.mark.parametrize(
    ("only", "skip", "left"),
    [
        ((), (), ["node.a.x", "node.a.y", "node.b"]),
        (("node.a.*",), (), ["node.a.x", "node.a.y"]),
        (("node.a.*",), ("*.x",), ["node.a.y"]),
        ((), ("node.b",), ["node.a.x", "node.a.y"]),
    ],
)
def test_checks_are_selected(only: tuple[str, ...], skip: tuple[str, ...], left: list[str]) -> None:
    assert [one.id for one in REGISTRY.select(only, skip)] == left


@pytest.mark.parametrize(("only", "skip"), [(("nod.*",), ()), ((), ("x",)), (("node.b",), ("node.*",))])
def test_a_selection_of_nothing_is_an_error(only: tuple[str, ...], skip: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        REGISTRY.select(only, skip)
