"""Text that came from a node or an API, made safe to show."""

import re
import unicodedata
from typing import NamedTuple

# Cc control, Cf format (bidirectional overrides, zero-width), Cs surrogates, Co private use, Zl and Zp separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

# What GitHub's runner acts on in what a step prints, and runners of its kind: ::command:: at the beginning of a line,
# after blanks if need be, and ##[command] or ##name[command] anywhere in one. Addresses such as ::1 are none.
_COMMAND = re.compile(r"((?:^|\r)[^\S\r\n]*):(?=:[a-z-]+(?: [^\r\n]*)?::)", re.MULTILINE | re.IGNORECASE)
_OLDER_COMMAND = re.compile(r"(#)#(?=[a-z]*\[)", re.IGNORECASE)


class Escapes(NamedTuple):
    """How a kind of document writes two characters where they are to stand for themselves."""

    colon: str
    number_sign: str


# A shell, too, takes these for the characters alone.
TEXT_ESCAPES = Escapes("\\:", "\\#")
JSON_ESCAPES = Escapes("\\u003a", "\\u0023")
MARKUP_ESCAPES = Escapes("&#58;", "&#35;")


def without_commands(document: str, escapes: Escapes) -> str:
    """Return a whole document such that the runner of a CI system finds no command in it when it is printed there."""
    document = _COMMAND.sub(lambda match: match[1] + escapes.colon, document)
    return _OLDER_COMMAND.sub(lambda match: match[1] + escapes.number_sign, document)


def visible(text: str) -> str:
    r"""Return the text with every character that a terminal would act on or hide written as \xNN or \uNNNN."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def excerpt(text: str, limit: int = 200) -> str:
    """Return `visible(text)`, cut to about `limit` characters with the number of characters left out."""
    if len(text) <= limit:
        return visible(text)
    return f"{visible(text[:limit])}... ({len(text) - limit} more characters)"


def host_port(host: str, port: int | str) -> str:
    """Return HOST:PORT, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
