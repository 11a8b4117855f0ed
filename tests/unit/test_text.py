import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfcheck.model.text import excerpt, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [bold]text[/bold]", "plain [bold]text[/bold]"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("nul\x00", "nul\\x00"),
        ("two\nlines\t", "two\\x0alines\\x09"),
        ("c1\x9b", "c1\\x9b"),
        ("right\u202eleft", "right\\u202eleft"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("surrogate\ud800", "surrogate\\ud800"),
        ("Zürich 東京", "Zürich 東京"),
    ],
)
def test_hidden_characters_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_what_is_shown_is_printable_and_stays_as_it_is(text: str) -> None:
    shown = visible(text)
    assert all(character == "\u3000" or character.isprintable() or character == "\xa0" or character.isspace()
               for character in shown)  # fmt: skip
    assert not any(character in shown for character in "\x00\x07\n\r\x1b\x9b\u2028\u202e")
    assert visible(shown) == shown


def test_an_excerpt_says_how_much_is_left_out() -> None:
    assert excerpt("x" * 250, 200).endswith("(50 more characters)")
    assert excerpt("short") == "short"
