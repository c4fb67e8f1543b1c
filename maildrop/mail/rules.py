"""Which characters may stand where: header values, file names, message identifiers (RFC 5322, RFC 6532).

Each function returns what is wrong as the predicate of a sentence, or an empty string. Nothing is repaired here: a
control character that reaches a header field is how one field becomes two, so it is refused wherever it comes from.
"""

from __future__ import annotations

import re
import unicodedata

FILE_NAME_OCTETS = 255  # what the file systems of receivers can store
IDENTIFIER_OCTETS = 900  # an identifier can't be folded, and a line may have 998 octets

# C0 (TAB included), DEL, C1, line and paragraph separators, surrogates.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # they show "exe.pdf" for "fdp.exe"
_IDENTIFIER = re.compile(r"[!-;=?-~]+")  # printable ASCII but for blank, "<" and ">"
_FIELD_NAME = re.compile(r"[!-9;-~]{1,70}")  # RFC 5322 ftext; 70 leaves room for ": " and a folded value


def header_fault(text: str) -> str:
    """Say which character of ``text`` may not stand in a header value."""
    if text.isascii() and text.isprintable():
        return ""
    match = _FORBIDDEN.search(text)
    if match is None:
        return ""
    point = ord(match.group())
    kind = "surrogate" if 0xD800 <= point <= 0xDFFF else "control character"
    return f"contains the {kind} U+{point:04X} at character {match.start() + 1}"


def file_name_fault(name: str) -> str:
    """Say why ``name`` can't be the name of an attachment."""
    if name in (".", "..") or _shows_nothing(name):
        return f"'{name}' is not a file name" if name.startswith(".") else "the file name is empty"
    fault = header_fault(name)
    if fault:
        return f"the file name {fault}"
    if "/" in name or "\\" in name:
        return "the file name contains a slash or backslash"
    match = _BIDI.search(name)
    if match is not None:
        return f"the file name contains the direction control U+{ord(match.group()):04X}"
    octets = len(name.encode())
    if octets > FILE_NAME_OCTETS:
        return f"the file name has {octets} octets; at most {FILE_NAME_OCTETS} are allowed"
    return ""


def _shows_nothing(name: str) -> bool:
    return not name or not (name.isascii() or any(unicodedata.category(sign) not in ("Zs", "Cf") for sign in name))


def identifier_fault(text: str) -> str:
    """Say why ``text`` (without its angle brackets) can't be a message identifier."""
    if not text:
        return "is an empty message identifier"
    if len(text) > IDENTIFIER_OCTETS:
        return f"has {len(text)} characters; a message identifier has at most {IDENTIFIER_OCTETS}"
    if _IDENTIFIER.fullmatch(text) is None:
        return "is not a message identifier; expected printable ASCII without blanks such as <id@host.example>"
    return ""


def field_name_fault(name: str) -> str:
    """Say why ``name`` can't be the name of a header field."""
    if _FIELD_NAME.fullmatch(name) is None:
        return "is not a header field name; expected 1 to 70 printable ASCII characters without blank and colon"
    return ""
