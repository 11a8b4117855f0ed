"""What is made of calico-node's log, however it is cut, and how little of it is read."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfcheck.collect.felix_log import LARGEST_PIECE, felix_log
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.facts import FelixLog
from tests.acceptance.running import BEGAN, at, chatter, start
from tests.fakeapi import LongLog, StoryLog, felix
from tests.fakeapi.answer import Stream
from tests.fakeapi.storylogs import Line, StoryLogs

TABLES = load_knowledge().verify


def read(lines: Any, began: datetime | None = BEGAN) -> tuple[FelixLog, list[int]]:
    """What is made of a log, and how much each request brought."""
    logs = StoryLogs({None: StoryLog(lines)})
    sizes: list[int] = []

    def fetch(query: Mapping[str, str]) -> bytes:
        reply = logs.answer({"spec": {}}, {"timestamps": "true", **query})
        assert isinstance(reply, Stream)
        data = b"".join(reply.pieces)
        sizes.append(len(data))
        assert len(data) <= int(query["limitBytes"]) <= LARGEST_PIECE
        return data

    return felix_log(fetch, began, TABLES), sizes


NEW: dict[str, Any] = {"start": "seen", "is_recent_seen": True, "starts": 1}
API = {"api_host": "api.acme-bank.example", "api_port": "6443"}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (start(), {**NEW, **API, "mode": "bpf", "rules": "iptables", "load_balancer": "TCP"}),
        (start("standard", table="calico"), {**NEW, **API, "mode": "standard", "rules": "nftables"}),
        (
            start("fallback", reason="kernel is too old"),
            {**NEW, **API, "mode": "standard", "rules": "iptables", "fallback": "kernel is too old"},
        ),
        (
            start("fallback", reason="", host="", port=""),
            {**NEW, "mode": "standard", "rules": "iptables", "fallback": "", "api_host": "", "api_port": ""},
        ),
        (start()[:2], {**NEW, **API, "mode": "starting"}),
        ([], {"start": "seen", "mode": "starting"}),
        ([(at(1), "bird: Started")], {"start": "seen", "mode": "starting"}),
        (chatter(10, 600), {"start": "unread", "is_recent_seen": True}),
        (chatter(600, 1300), {"start": "rotated", "is_recent_seen": True}),
        # What was rotated away may have been of the last minutes.
        (chatter(600, 900), {"start": "rotated"}),
        ([(at(600), "bird: x")], {"start": "rotated"}),
    ],
)
def test_a_short_log(lines: list[Line], expected: dict[str, Any]) -> None:
    told, sizes = read(lines)
    assert told == FelixLog(**expected)
    assert len(sizes) == 1


ONCE = {
    "no-kube-proxy-module": "BPF enabled but no Kubernetes client available, unable to run kube-proxy module.",
    "ipvs": "kube-proxy IPVS device found but we're in BPF mode, ignoring.",
}


@pytest.mark.parametrize("name", ONCE)
def test_what_felix_says_once_at_its_start_holds_as_long_as_it_runs(name: str) -> None:
    said = felix(at(2.5), ONCE[name])
    first = start()
    told = read([*first[:3], said, *first[3:], *chatter(60, 7200)])[0]
    assert told.signs == ((name, 1),)
    # Another Felix has come since, and has not said it.
    assert read([*first[:3], said, *first[3:], *start(after=100, pid=7), *chatter(110, 200, 7)])[0].signs == ()


def test_a_tail_without_lines_of_felix_is_not_quiet() -> None:
    noise = [(at(2000 + number), f"libbpf: prog 'x': {number}: R1_w=pkt(off=0)") for number in range(3000)]
    told = read([*start(), *chatter(60, 1300), *noise])[0]
    assert not told.is_recent_seen


def test_more_than_the_tail_is_read_where_it_does_not_reach() -> None:
    dirty = [felix(at(7000 + number), "Failed to apply policy to endpoint, leaving it dirty") for number in range(12)]
    wide = [felix(at(7100 + number / 10), "x" * 1500) for number in range(150)]
    told = read([*start(), *chatter(60, 6900), *dirty, *wide])[0]
    assert told.signs == (("dirty", 10),)
    assert told.is_recent_seen
    # More than is read: what was found counts, and that nothing was does not.
    flood = [felix(at(7100 + number / 10), "x" * 3000) for number in range(600)]
    told = read([*start(), *chatter(60, 6900), *dirty, *flood])[0]
    assert told.signs == (("dirty", 10),)
    assert not told.is_recent_seen


def test_starts_are_counted() -> None:
    lines = [line for number in range(7) for line in start(after=7000 + 20 * number, pid=70 + number)]
    assert read([*start(), *chatter(60, 6900), *lines])[0].starts == 7
    more = [line for number in range(30) for line in start(after=7000 + 10 * number, pid=70 + number)]
    assert read([*start(), *chatter(60, 6900), *more])[0].starts == 10


def test_the_felix_that_wrote_last_counts() -> None:
    lines = [*start(), *chatter(10, 100), *start("standard", after=100, pid=7), *chatter(110, 200, 7)]
    assert read(lines)[0].mode == "standard"
    lines = [*start("fallback"), *start(after=100, pid=7)]
    told = read(lines)[0]
    assert (told.mode, told.fallback) == ("bpf", None)
    # One that stops in the middle of its start has not said yet.
    assert read([*start(), *start(after=100, pid=7)[:2]])[0].mode == "starting"


def test_lines_of_others_are_not_felix() -> None:
    words = "BPF enabled, starting BPF endpoint manager and map manager."
    others = [(at(5), f"2026-11-28 09:00:05.000 [INFO][66] confd/x.go 1: {words}"), (at(6), words)]
    assert read([*start("standard"), *others])[0].mode == "standard"


def test_the_lines_of_the_first_releases_name_no_component() -> None:
    lines = [(when, text.replace(" felix/", " ")) for when, text in start("standard")]
    assert read(lines)[0].mode == "standard"


def test_what_was_rotated_away_may_still_hold_the_start_that_counts() -> None:
    lines = [*chatter(7200, 9000), *start(after=9000, pid=7), *chatter(9100, 9200, 7)]
    assert read(lines)[0].mode == "bpf"


def test_signs_count_that_are_new() -> None:
    words = "Failed to apply policy to endpoint, leaving it dirty error=x"
    old = [felix(at(10 + number), words) for number in range(5)]
    new = [felix(at(7000 + number), words) for number in range(12)]
    assert read([*start(), *old, *chatter(60, 7200)])[0].signs == ()
    assert read([*start(), *old, *chatter(60, 6900), *new, *chatter(7020, 7200)])[0].signs == (("dirty", 10),)


def test_a_panic_that_was_got_over_does_not_count() -> None:
    words = "BPFConnTimeLBEnabled but failed to attach connect-time load balancer, bailing out. error=x"

    def stopped(after: float, pid: int) -> list[Line]:
        return [*start(after=after, pid=pid)[:3], felix(at(after + 1), words, pid=pid, level="PANIC")]

    assert read([*stopped(1, 7)])[0].signs == (("load-balancer-failed", 1),)
    assert read([*stopped(1, 7), *start(after=30, pid=8), *chatter(31, 300, 8)])[0].signs == ()
    again = [*stopped(1, 7), *stopped(20, 8), *start(after=40, pid=9)[:3]]
    assert read(again)[0].signs == (("load-balancer-failed", 1),)


def test_signs_are_told_of_where_the_start_is_not() -> None:
    words = "BPF Proxy Healthz server failed, restarting in 1s error=listen tcp :10256: bind: address already in use"
    told = read([*chatter(7200, 7300), felix(at(7300), words, level="ERROR")])[0]
    assert (told.start, told.signs) == ("rotated", (("healthz-port", 1),))


def test_what_a_log_says_is_cut_and_shown_as_it_is() -> None:
    long = "x" * 5000 + "\x1b[31m"
    told = read(start("fallback", reason=f"\x1b[31m{long}", host="h" * 900, port="9" * 90))[0]
    assert told.fallback is not None
    assert told.fallback.startswith("\\x1b[31mxxx")
    assert len(told.fallback) < 260
    assert len(told.api_host or "") == 253
    assert len(told.api_port or "") == 20


@pytest.mark.parametrize("restarted", [0.0, 0.001, 0.2, 0.5, 0.77, 0.999])
def test_the_start_is_found_wherever_it_is(restarted: float) -> None:
    count, step = 60_000, timedelta(seconds=1)
    filler = felix(at(0), "Summarising 12 dataplane reconciliation loops over 1m1s " + "x" * 300)[1]
    before = int(count * restarted)
    head = LongLog(start("standard"), filler, before, step, start(after=before + 2, pid=7))
    log = LongLog(head, filler.replace("[66]", "[7]"), count - before, step, chatter(count + 60, count + 120, 7))
    told, sizes = read(log)
    assert told.mode == "bpf"
    assert len(sizes) <= 22
    assert sum(sizes) < 2 * 1024**2


def test_a_start_among_lines_of_others_is_never_mistaken() -> None:
    bird = "bird: Mesh_10_20_0_12: State changed to start " + "y" * 300
    head = LongLog(
        [*start("standard"), *chatter(60, 600)], bird, 20_000, timedelta(seconds=1), start(after=21_000, pid=7)
    )
    log = LongLog(head, bird, 20_000, timedelta(seconds=1), chatter(42_000, 42_060, 7))
    assert read(log)[0].mode != "standard"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000), st.integers(min_value=0, max_value=50))
def test_nothing_that_a_log_holds_breaks_it(noise: bytes, where: int) -> None:
    whole = "".join(f"{when.isoformat()} {text}\n" for when, text in [*start(), *chatter(60, 300)]).encode()
    lines = whole.split(b"\n")
    data = b"\n".join([*lines[:where], noise, *lines[where:]])

    def fetch(query: Mapping[str, str]) -> bytes:
        return data[: int(query["limitBytes"])]

    told = felix_log(fetch, BEGAN, TABLES)
    assert told.mode in ("bpf", "standard", "starting", None)


def test_lines_too_long_for_the_tail_leave_its_end_to_fewer() -> None:
    wide = [felix(at(1000 + number), "x" * 3000) for number in range(300)]
    told, _ = read([*start("standard"), *wide, *start(after=1400, pid=7), *chatter(1500, 1560, 7)])
    assert told.mode == "bpf"
