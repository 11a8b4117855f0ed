"""Text that came from a node or an API, made safe to show."""

import unicodedata

# Cc control, Cf format (bidirectional overrides, zero-width), Cs surrogates, Co private use, Zl and Zp separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


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
