import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfcheck.collect.mounts import mount_holding, parse_mount_table, visible_at
from tests.builders import FIXTURES

BLOCK = re.compile(
    r"^## (?P<title>.*)\n(?:.*\n)*?expect: (?P<expect>.*)\n(?:.*\n)*?---8<---\n(?P<text>(?:.*\n)*?)--->8---", re.M
)
BLOCKS = [match.groupdict() for match in BLOCK.finditer((FIXTURES / "mounts" / "mounts.txt").read_text())]


def test_all_blocks_of_the_fixture_are_read() -> None:
    assert len(BLOCKS) == 23


@pytest.mark.parametrize("block", BLOCKS, ids=[block["title"][:40] for block in BLOCKS])
def test_tables_seen_in_the_wild(block: dict[str, str]) -> None:
    table = parse_mount_table(block["text"])
    stack = visible_at(table, "/sys/fs/bpf")
    answer = stack is not None and stack.visible is not None and stack.visible.fstype == "bpf"
    expect = block["expect"]
    word = re.search(r"bpffs=(\w+)", expect)
    if word is not None:
        assert answer is (word[1] == "yes")
    else:
        # These are no mount tables: nothing may be read from them, and it must be told that lines were not read.
        assert expect.startswith("unknown")
        assert not table.entries
        assert table.unread_lines
    for point in re.findall(r"cgroup2=(/\S+)(?: and (/\S+))?", expect):
        seen = {entry.mount.point for entry in table.entries if entry.mount.fstype == "cgroup2"}
        assert set(filter(None, point)) <= seen


def test_two_bpffs_on_one_place_are_both_counted() -> None:
    stack = visible_at(parse_mount_table("bpf /sys/fs/bpf bpf rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n"), "/sys/fs/bpf")
    assert stack is not None
    assert len(stack.hidden) == 1


def test_a_path_with_escapes_is_unescaped() -> None:
    table = parse_mount_table("none /sys/fs/\\142pf bpf rw 0 0\n1 0 0:1 / /a\\040b rw - bpf c\\011d rw\n")
    assert [entry.mount.point for entry in table.entries] == ["/sys/fs/bpf", "/a b"]
    assert table.entries[1].mount.source == "c\td"


def test_mountinfo_is_walked_by_ids_not_by_the_order_of_lines() -> None:
    # The bpf mount is listed last, but it belongs to the /sys that a second one covers.
    table = parse_mount_table(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        "3 2 0:9 / /sys rw - sysfs sysfs rw\n"
        "2 1 0:8 / /sys rw - sysfs sysfs rw\n"
        "4 2 0:7 / /sys/fs/bpf rw - bpf bpf rw\n"
    )
    stack = visible_at(table, "/sys/fs/bpf")
    assert stack is not None
    assert stack.visible is None
    assert len(stack.hidden) == 1


def test_a_stack_of_mounts_shows_its_top() -> None:
    lines = (
        "1 0 8:1 / / rw - ext4 /dev/sda rw",
        "2 1 0:8 / /sys rw - sysfs sysfs rw",
        "3 2 0:7 / /sys/fs/bpf rw - bpf bpf rw",
        "4 3 0:6 / /sys/fs/bpf rw - tmpfs tmpfs rw",
    )
    for order in (lines, tuple(reversed(lines))):
        stack = visible_at(parse_mount_table("\n".join(order)), "/sys/fs/bpf")
        assert stack is not None
        assert stack.visible is not None
        assert stack.visible.fstype == "tmpfs"


def test_read_only_counts_wherever_it_is_said() -> None:
    for line in ("2 1 0:8 / / ro,relatime - bpf bpf rw", "2 1 0:8 / / rw,relatime - bpf bpf ro"):
        (entry,) = parse_mount_table(line).entries
        assert entry.mount.read_only


def test_the_mount_below_a_path_is_found() -> None:
    table = parse_mount_table("/dev/sda / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n")
    holding = mount_holding(table, "/run/calico/cgroup")
    assert holding is not None
    assert holding.point == "/run"
    assert mount_holding(parse_mount_table(""), "/run") is None


def test_mounts_that_are_their_own_parents_end_the_walk() -> None:
    table = parse_mount_table(
        "1 1 8:1 / / rw - ext4 a rw\n"
        "2 3 0:1 / /sys rw - sysfs b rw\n"
        "3 2 0:2 / /sys rw - sysfs c rw\n"
        "4 1 0:3 / /sys rw - d e rw\n"
    )
    assert visible_at(table, "/sys") is not None


@given(st.text())
def test_any_text_is_read_without_harm(text: str) -> None:
    table = parse_mount_table(text)
    lines = sum(1 for line in text.split("\n") if line.strip())
    assert len(table.entries) + table.unread_lines <= lines
    visible_at(table, "/sys/fs/bpf")


IDS = st.integers(min_value=0, max_value=6)
POINTS = st.sampled_from(["/", "/sys", "/sys/fs", "/sys/fs/bpf", "/run"])


@given(st.lists(st.tuples(IDS, IDS, POINTS), max_size=12))
def test_any_tangle_of_mountinfo_ends(rows: list[tuple[int, int, str]]) -> None:
    text = "\n".join(f"{one} {parent} 0:1 / {point} rw - bpf bpf rw" for one, parent, point in rows)
    table = parse_mount_table(text)
    assert len(table.entries) == len(rows)
    stack = visible_at(table, "/sys/fs/bpf")
    assert (stack is None) is all(point != "/sys/fs/bpf" for _, _, point in rows)


def test_blanks_in_the_last_field_of_mountinfo_lose_nothing() -> None:
    (entry,) = parse_mount_table(
        "2 1 0:8 / /Docker/host rw,noatime - 9p drvfs rw,dirsync,aname=drvfs;path=C:\\Program Files\\Docker;uid=0"
    ).entries
    assert (entry.mount.point, entry.mount.fstype, entry.mount.source) == ("/Docker/host", "9p", "drvfs")


def test_a_directory_of_a_file_system_is_told_from_its_root() -> None:
    whole, part = parse_mount_table(
        "40 30 0:26 / /a rw - cgroup2 cgroup2 rw\n41 30 0:26 /kubepods.slice/x /b rw - cgroup2 cgroup2 rw\n"
    ).entries
    assert whole.mount.is_whole
    assert not part.mount.is_whole


def test_a_very_long_line_takes_no_longer_than_its_length() -> None:
    parse_mount_table("a on /" * 200_000 + " type x (rw)\n" + "1 1 0:1 / /" + " x" * 500_000 + " - ")
    parse_mount_table("1 1 0:0 / / rw - x " + "a" * 2_000_000 + " b c")
    parse_mount_table("1 1 0:0 / / rw" + " a" * 1_000_000 + "\t- x y z")
    parse_mount_table("a" * 2_000_000 + " /x ext4 rw" + ",b" * 1_000_000)
