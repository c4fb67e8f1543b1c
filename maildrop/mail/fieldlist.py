"""The header section of a finished message, cut into its fields without changing an octet (RFC 5322 2.2).

What a field means is not known here, except for the list of names that a DKIM signature covers (RFC 6376 3.5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from maildrop.errors import printable

_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")
_FOLD = re.compile(r"\r\n(?=[ \t])")
_SIGNED = re.compile(r"(?:^|;)\s*h\s*=([^;]*)")


class FieldError(ValueError):
    """A line of the header section belongs to no field."""

    def __init__(self, what: str, hint: str) -> None:
        """Say which line, and the way out."""
        super().__init__(what)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field: its name in small letters, and its octets with every CRLF."""

    name: str
    octets: bytes

    @property
    def title(self) -> str:
        """The name as written, fit to be shown."""
        return printable(self.octets.partition(b":")[0].decode("ascii").rstrip(" \t"))

    @property
    def is_utf8(self) -> bool:
        """Whether the octets are ASCII or UTF-8."""
        try:
            self.octets.decode()
        except UnicodeDecodeError:
            return False
        return True

    @property
    def value(self) -> str:
        """The value unfolded and trimmed; octets that are not UTF-8 are shown as Latin-1."""
        raw = self.octets.partition(b":")[2]
        text = raw.decode() if self.is_utf8 else raw.decode("latin-1")
        return _FOLD.sub("", text).replace("\t", " ").strip(" \r\n")

    def signed_names(self) -> frozenset[str]:
        """Return the names of the fields that this signature covers; of other fields none."""
        if self.name != "dkim-signature":
            return frozenset()
        match = _SIGNED.search(self.value)
        return frozenset(name.strip().lower() for name in match[1].split(":")) if match else frozenset()


def parse_fields(header: bytes) -> list[Field]:
    """Cut a header section (CRLF line ends, without the empty line); raises FieldError."""
    found: list[tuple[str, list[bytes]]] = []
    for number, line in enumerate(header.split(b"\r\n")[:-1], start=1):
        if line[:1] in (b" ", b"\t") and found:
            found[-1][1].append(line)
            continue
        match = _NAME.match(line)
        if match is None:
            shown = printable(line[:60].decode("utf-8", "replace"))
            raise FieldError(f"line {number} of the header section is no field: '{shown}'", _hint(line, number))
        found.append((match[1].decode("ascii").lower(), [line]))
    return [Field(name=name, octets=b"\r\n".join([*lines, b""])) for name, lines in found]


def _hint(line: bytes, number: int) -> str:
    if line.startswith(b"\xef\xbb\xbf"):
        return "save the file without byte order mark"
    if number == 1 and line.startswith(b"From "):
        return "this is a mailbox file; remove its first line"
    return "expected Name: value, or an empty line before the text"
