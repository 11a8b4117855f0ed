"""Hosts as words and as lines of files."""

from pathlib import Path

import pytest

from ebpfcheck.collect.targets import Target, parse_target, read_targets
from ebpfcheck.errors import UsageError


@pytest.mark.parametrize(
    ("text", "host", "user", "port"),
    [
        ("node1", "node1", None, None),
        ("admin@node1:2222", "node1", "admin", 2222),
        ("admin@corp@node1", "node1", "admin@corp", None),
        ("10.0.0.1:22", "10.0.0.1", None, 22),
        ("fd00::1", "fd00::1", None, None),
        ("root@[fe80::1%eth0]:22", "fe80::1%eth0", "root", 22),
        ("[fd00::1]", "fd00::1", None, None),
    ],
)
def test_targets(text: str, host: str, user: str | None, port: int | None) -> None:
    assert parse_target(text) == Target(name=text, host=host, user=user, port=port)


@pytest.mark.parametrize(
    "text",
    ["", "-oProxyCommand=x", "a@-x", "-l@host", "@host", "host:", "host:0", "host:65536", "host:x", "a b", "a;b",
     "$(a)", "a`b`", "a'b", "[fd00::1", "[fd00::1]:x", "a\nb", "\x1b[31m", "*", "host:٢٢"],
)  # fmt: skip
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(UsageError, match="is not a host such as"):
        parse_target(text)


def names(*words: str, hosts_file: str | None = None) -> list[str]:
    return [target.name for target in read_targets(words, hosts_file)]


def test_ranges() -> None:
    assert names("node[08-11]") == ["node08", "node09", "node10", "node11"]
    assert names("r[1-2]n[1,3]") == ["r1n1", "r1n3", "r2n1", "r2n3"]
    assert names("[7].example") == ["7.example"]
    assert names("a", "b", "a", "a[1]") == ["a", "b", "a1"]


@pytest.mark.parametrize("text", ["n[9-1]", "n[0-100000]", "n[1-", "n[a-b]", "n[]", "n[-3]"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(UsageError):
        names(text)


def test_too_many_hosts_are_refused_before_they_are_all_made() -> None:
    with pytest.raises(UsageError, match="more than 100,000 hosts"):
        names("n[1-99999]-[1-99999]")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"\xef\xbb\xbf# all\r\n\r\n  node[1-2]  # two\r\nroot@[fd00::1]:22\n")
    assert names(hosts_file=str(path)) == ["node1", "node2", "root@[fd00::1]:22"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "names no host"),
        (b"# only\n\n", "names no host"),
        (b"a\nb ansible_user=x\n", "line 2: .* is more than one host"),
        (b"a\n-oX=y\n", "line 2: '-oX=y' is not a host"),
        (b"\xff\xfe\x00", "is no text file"),
        (b"a" * 17_000_000, "is larger than"),
        (b"n[9-1]\n", "line 1: .* is no range"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        names(hosts_file=str(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        names(hosts_file=str(tmp_path / "none"))
