"""Live tests: one after the other, and none skipped where EBPFCHECK_LIVE=require asks for all, as .ci/run does."""

import os
import signal
from collections.abc import Generator

import pytest

# A shell's background jobs ignore it, and so would the programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

REQUIRED = os.environ.get("EBPFCHECK_LIVE") == "require"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("live") or item.path.parent.name == "live":
            item.add_marker(pytest.mark.xdist_group("live"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # What a kernel was built without no package can bring, nor a cluster.
    beyond = any(words in str(report.longrepr) for words in ("this kernel", "EBPFCHECK_LIVE_KUBECONFIG"))
    if REQUIRED and report.skipped and item.get_closest_marker("live") and not beyond:
        report.outcome = "failed"
        report.longrepr = f"This live test was skipped, but all are required here: {report.longrepr}"
    return report
