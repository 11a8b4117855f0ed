"""Where the values of a TOML file stand."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfcheck.errors import UsageError
from ebpfcheck.policy.toml import read_toml

TEXT = '''\
# a comment

plain = 1
list = [
    "a",  # [ not an opening bracket
    "]",
]
dotted.key = """
[not.a.header]
key = 1
"""
inline = { a = 1, b = { c = 2 } }

[table]
x = \'\'\'
two
lines\'\'\'
"quoted key" = 2

[[many]]
x = 1
[[many]]

x = 2
[many.inner]
y = 3
[[many.deep]]
z = 4
'''


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_each_value_has_its_line(tmp_path: Path, ends: str) -> None:
    file = read_toml(write(tmp_path / "x.toml", TEXT.replace("\n", ends)), "x.toml")
    assert file.values == tomllib.loads(TEXT)
    for line, place in (
        (3, ("plain",)),
        (4, ("list",)),
        (8, ("dotted", "key")),
        (12, ("inline", "b", "c")),
        (14, ("table",)),
        (15, ("table", "x")),
        (18, ("table", "quoted key")),
        (20, ("many",)),
        (20, ("many", 0)),
        (21, ("many", 0, "x")),
        (22, ("many", 1)),
        (24, ("many", 1, "x")),
        (25, ("many", 1, "inner")),
        (26, ("many", 1, "inner", "y")),
        (27, ("many", 1, "deep", 0)),
        (28, ("many", 1, "deep", 0, "z")),
    ):
        assert file.at(*place) == f"x.toml:{line}", place
    assert file.at("many", 1, "nothing", "there") == "x.toml:22", "else the line of what it should stand in"
    assert file.at("nothing") == "x.toml:1"


BLANKS = st.lists(st.sampled_from(["", "  ", "# [[x]]", "#k = '''"]), max_size=3)
VALUES = st.sampled_from(
    [
        "1",
        '"]"',
        "[\n1,\n# ]\n2,\n]",
        '"""\n[a]\nk = 1\n"""',
        "'''\n\"\"\"\n'''",
        "2027-01-01",
        "{ a = 1 }",
        '["""\n]\n"""]',
    ]
)


@given(st.lists(st.tuples(BLANKS, VALUES), max_size=12))
def test_lines_hold_whatever_stands_between(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[list[str], str]]
) -> None:
    lines: list[str] = []
    expected: dict[str, int] = {}
    for number, (blanks, value) in enumerate(parts):
        lines += blanks
        expected[f"k{number}"] = len(lines) + 1
        lines += f"k{number} = {value}".split("\n")
    path = tmp_path_factory.getbasetemp() / "lines.toml"
    file = read_toml(write(path, "\n".join(lines)), "f")
    assert {key: file.lines[(key,)] for key in file.values} == expected


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("a = 1\nb = = 2\n", "f:2: is not TOML: Invalid value (column 5)"),
        ("a = 1\nb = [1,\n", "f:2: is not TOML: "),
        ("a = 1\na = 2\n", "f:2: is not TOML: "),
        (b"a = 1\nb = '\xff'\n", "f:2: is not UTF-8"),
        ("a = '\x1b[31m'\n", "f:1: is not TOML: "),
        ("x" * (1 << 20) + "y", "f: is larger than 1 MiB"),
        ("a = " + "[" * 100_000, "f: is nested too deeply"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path, data: str | bytes, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_toml(write(tmp_path / "f", data), "f")
    assert str(caught.value).startswith(words)
    assert "\x1b" not in str(caught.value)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path, Path("a\0b")):
        with pytest.raises(UsageError, match=r"f: cannot be read: "):
            read_toml(path, "f")
