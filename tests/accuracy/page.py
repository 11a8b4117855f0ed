"""Writes the page that shows the matrix."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from string import Template

from ebpfcheck.model.report import Status
from tests.accuracy import ANSWERS, COLUMNS, DEBUG_COLUMNS, Row, debug_matrix, matrix, recorded, tally, worth

_TEMPLATE = Template(Path(__file__).with_name("template.md").read_text(encoding="utf-8"))


def page() -> str:
    """Return the page, the same as long as records, measurements and verdicts are."""
    return _TEMPLATE.substitute(
        counts="".join((*_counts(matrix(), ""), *_counts(debug_matrix(), " (bpfLogLevel Debug, IPv6)"))),
        kernels="".join(f"| {kernel.version} | {kernel.release} |\n" for kernel in recorded()),
        measured="".join(measured_table([row for row in matrix() if row.truth is not None], tuple(COLUMNS))),
        debug="".join(measured_table(debug_matrix(), tuple(DEBUG_COLUMNS))),
        unmeasured="".join(_unmeasured([row for row in matrix() if row.truth is None])),
    )


def summary() -> str:
    """Return the main numbers, as the README has them."""
    told = [
        f"{column} {count['right']} right, {count['wrong']} wrong, {count['unknown']} left open"
        for column, count in tally(matrix()).items()
    ]
    pairs = sum(row.truth is not None for row in matrix())
    return f"of {pairs} measured pairs of a kernel and a Calico release, {'; '.join(told)}"


def _counts(rows: Sequence[Row], what: str) -> Iterable[str]:
    for column, count in tally(rows).items():
        yield f"| {column}{what} | {' | '.join(str(count[answer]) for answer in ANSWERS)} |\n"


def measured_table(rows: Iterable[Row], columns: Sequence[str]) -> Iterable[str]:
    """Return the lines of a table of pairs that were measured; wrong verdicts are in bold."""
    yield f"| Calico | kernel | {' | '.join(columns)} | measured |\n|{'---|' * (len(columns) + 3)}\n"
    for row in rows:
        truth = row.truth
        assert truth is not None
        said = (_shown(row.said[column], row) for column in columns)
        detail = f" ({truth.detail})" if truth.detail else ""
        yield f"| {row.calico} | {row.kernel.version} | {' | '.join(said)} | {truth.outcome}{detail} |\n"


def _shown(said: Status, row: Row) -> str:
    return f"**{said}: wrong**" if worth(said, row.truth) == "wrong" else str(said)


def _unmeasured(rows: Iterable[Row]) -> Iterable[str]:
    kernels = recorded()
    yield f"| Calico | {' | '.join(kernel.version for kernel in kernels)} |\n|{'---|' * (len(kernels) + 1)}\n"
    for calico, group in groupby(rows, key=attrgetter("calico")):
        cells = {row.kernel.version: _in_short(tuple(row.said.values())) for row in group}
        yield f"| {calico} | {' | '.join(cells.get(kernel.version, '-') for kernel in kernels)} |\n"


def _in_short(said: tuple[Status, ...]) -> str:
    return str(said[0]) if len(set(said)) == 1 else " / ".join(said)
