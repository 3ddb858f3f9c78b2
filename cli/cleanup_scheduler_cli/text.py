"""Makes text that others wrote safe to print.

Test names, log lines, labels and error messages can hold control characters, terminal escapes and characters
that reorder what is shown. Refuses to drop anything: what cannot be shown is shown as its escape.
"""

from __future__ import annotations

import unicodedata
from typing import Final

# joins letters and emoji in many languages, moves nothing
_HARMLESS: Final = frozenset("\u200c\u200d")


def safe(text: str, *, keep: str = "") -> str:
    """``text`` with everything unprintable written as ``\\x1b`` and the like; ``keep`` is left as it is."""
    if text.isprintable():
        return text
    return "".join(char if _shows(char) or char in keep else _escape(char) for char in text)


def safe_log(body: bytes) -> str:
    """A log for a terminal: lines and tabs stay, a carriage return only before a line's end."""
    text = body.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return safe(text, keep="\n\t")


def _shows(char: str) -> bool:
    return char.isprintable() or char in _HARMLESS or unicodedata.category(char) == "Zs"


def _escape(char: str) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
    code = ord(char)
    return short or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )
