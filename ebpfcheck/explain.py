"""Lists the checks and explains one of them."""

from pkgutil import get_data

from ebpfcheck.app import target_version
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.registry import Registry, load_registry, load_verify_registry


def list_checks(calico_version: str | None) -> str:
    """Return a line for each check: its id, how bad it can be at a release, its title."""
    knowledge = load_knowledge()
    version = target_version(knowledge, calico_version, ClusterFacts()).version
    release = knowledge.at(version)
    registry, after = load_registry(), load_verify_registry()
    width = max(len(check.id) for check in (*registry.checks, *after.checks))

    def line(check: Check) -> str:
        return f"{check.id:<{width}}  {_severity(check, release):<14}  {check.title}"

    lines = [f"{'CHECK':<{width}}  {f'AT {version}':<14}  TITLE", *map(line, registry.checks)]
    lines += ["", f"{'OF ebpfcheck verify':<{width}}  {f'AT {version}':<14}  TITLE", *map(line, after.checks)]
    lines += [f"problem: {problem.source}: {problem.detail}" for problem in registry.problems]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def explain(check_id: str) -> str:
    """Return the page of a check, and from which release on it is how bad; UsageError if there is no such check."""
    check = Registry(checks=(*load_registry().checks, *load_verify_registry().checks)).find(check_id)
    facts = dict.fromkeys(name for need in check.needs for name in need.facts)
    page = get_data("ebpfcheck.checks", f"pages/{check.id}.md") if check.docs_url.endswith(f"{check.id}.md") else None
    parts = [page.decode() if page is not None else f"# {check.id}: {check.title}\n\nSee {check.docs_url}\n"]
    parts.append("\n## At which releases\n\n" + "".join(f"- {line}\n" for line in _severities(check)))
    parts.append(f"\nIt rests on these facts: {', '.join(facts)}.\n")
    return "".join(parts)


def _severities(check: Check) -> list[str]:
    """Return a line for each run of releases at which the check is equally bad."""
    knowledge = load_knowledge()
    runs: list[tuple[str, str, str]] = []
    for minor in knowledge.minors():
        word = _severity(check, knowledge.at(minor))
        if runs and runs[-1][2] == word:
            runs[-1] = (runs[-1][0], str(minor), word)
        else:
            runs.append((str(minor), str(minor), word))
    return [f"{first} to {last}: {word}" if first != last else f"{first}: {word}" for first, last, word in runs]


def _severity(check: Check, release: Release) -> str:
    try:
        severity = check.severity(release)
    except Exception:
        # The check may be anybody's; that it is broken must not hide the others.
        return "broken"
    return severity.value if severity else "not applicable"
