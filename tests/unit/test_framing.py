from hypothesis import given
from hypothesis import strategies as st

from ebpfcheck.collect.framing import SURVEY_LIMIT, State, read_document
from tests.builders import HEALTHY, NONCE, document


def test_a_whole_document_gives_every_section_as_it_is() -> None:
    read = read_document(document(), NONCE)
    assert read.complete
    assert read.sections.keys() == HEALTHY.keys()
    for name, part in HEALTHY.items():
        assert read.sections[name].state.value == part.state
        assert read.sections[name].data.decode() == part.data
        assert read.sections[name].locator == part.locator


def test_bytes_come_through_as_they_are() -> None:
    raw = bytes(range(256)) + b"\n\nebpfcheck-feedface end ok\n"
    frame = b"\nebpfcheck-N begin x /x y\n" + raw + b"\nebpfcheck-N end ok\n\nebpfcheck-N done\n"
    read = read_document(frame, "N")
    assert read.sections["x"].data == raw
    assert read.sections["x"].locator == "/x y"


def test_a_banner_before_and_noise_after_change_nothing() -> None:
    plain = read_document(document(), NONCE)
    noisy = read_document(b"Welcome to worker-1!\r\n\x1b[31mLast login\x1b[0m" + document() + b"logout\n", NONCE)
    assert noisy == plain


def test_frames_of_another_run_are_bytes() -> None:
    other = document(nonce="f" * 16)
    assert read_document(other, NONCE).sections == {}
    inside = b"\nebpfcheck-N begin x /x\n" + other + b"\nebpfcheck-N end ok\n"
    assert read_document(inside, "N").sections["x"].data == other


def test_interleaved_runs_lose_what_is_mixed_up_but_never_swap_it() -> None:
    first, second = document(nonce="a" * 16).split(b"\n"), document(nonce="b" * 16).split(b"\n")
    mixed = b"\n".join(line for pair in zip(first, second, strict=True) for line in pair)
    for nonce in ("a" * 16, "b" * 16):
        sections = read_document(mixed, nonce).sections
        assert sections["arch"].data != b""
        assert sections.keys() == HEALTHY.keys()


def test_a_name_framed_twice_is_trusted_neither_time() -> None:
    frame = b"\nebpfcheck-N begin x /x\n%s\nebpfcheck-N end ok\n"
    read = read_document(frame % b"one" + frame % b"two", "N")
    assert read.sections["x"].state is State.FAILED
    assert read.sections["x"].data == b""


def test_a_cut_document_keeps_what_came_whole() -> None:
    whole = document()
    cut = whole[: whole.index(b"begin mountinfo") + 60]
    read = read_document(cut, NONCE)
    assert not read.complete
    assert read.sections["arch"].state is State.OK
    assert read.sections["mountinfo"].state is State.TRUNCATED
    assert "fstab" not in read.sections


def test_a_frame_that_begins_inside_another_cuts_it() -> None:
    read = read_document(b"\nebpfcheck-N begin a /a\nhalf\nebpfcheck-N begin b /b\nall\nebpfcheck-N end ok\n", "N")
    assert read.sections["a"].state is State.TRUNCATED
    assert read.sections["b"].data == b"all"


def test_a_state_that_is_none_is_a_failure() -> None:
    read = read_document(b"\nebpfcheck-N begin a /a\nx\nebpfcheck-N end fine\n", "N")
    assert read.sections["a"].state is State.FAILED


def test_what_lies_beyond_the_limit_is_not_read() -> None:
    big = b"\nebpfcheck-N begin a /a\n" + b"x" * SURVEY_LIMIT + b"\nebpfcheck-N end ok\n\nebpfcheck-N done\n"
    read = read_document(big, "N")
    assert not read.complete
    assert read.sections["a"].state is State.TRUNCATED


@given(st.binary(max_size=400))
def test_any_bytes_are_read_without_harm(data: bytes) -> None:
    assert read_document(data, "N").sections == {}


MARKS = st.sampled_from(
    [b"\nebpfcheck-N begin a /a\n", b"\nebpfcheck-N begin b\n", b"\nebpfcheck-N end ok\n", b"\nebpfcheck-N done\n",
     b"\nebpfcheck-N end\n", b"ebpfcheck-N begin", b"\n", b"text", b"\x00\xff"]
)  # fmt: skip


@given(st.lists(MARKS, max_size=30))
def test_any_order_of_frames_is_read_without_harm(pieces: list[bytes]) -> None:
    read = read_document(b"".join(pieces), "N")
    assert read.sections.keys() <= {"a", "b", ""}
    for section in read.sections.values():
        assert section.state is State.OK or section.data == b"" or section.state is State.FAILED


@given(st.integers(min_value=0, max_value=len(document())))
def test_wherever_a_document_is_cut_no_section_changes_its_content(length: int) -> None:
    whole = read_document(document(), NONCE).sections
    for name, section in read_document(document()[:length], NONCE).sections.items():
        assert section.state is State.TRUNCATED or section == whole[name]
