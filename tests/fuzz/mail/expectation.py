"""What a message has to say, as a tree to compare with the one that was read: every difference is one sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from html import unescape
from urllib.parse import unquote

from tests.fuzz.mail.reader import Part, Value

_CID = re.compile(r"cid:[^\"'<>()\s]+")
_SHOWN = 160  # characters of a value in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A place of an HTML text that has to refer to the part of this Content-ID."""

    content_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One part as it has to be.

    A text has ``text``, ``pieces`` (of HTML), ``words`` or ``paragraphs``, a file ``octets``, a multipart ``children``.
    """

    type: str
    parameters: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    pieces: tuple[str | Reference, ...] | None = None
    words: tuple[str, ...] = ()  # that a text has to hold
    paragraphs: tuple[tuple[int, str], ...] | None = None  # of flowed text: depth of quotation, and words
    octets: bytes | None = None
    name: str | None = None
    disposition: str = ""
    content_id: str | None = None  # without brackets
    description: str = ""
    children: tuple[Wanted, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """The header fields in their order, the tree of parts, and whether octets beyond ASCII may stand in the header."""

    fields: tuple[tuple[str, Value | datetime], ...]
    root: Wanted
    utf8: bool = False


def differences(part: Part, expected: Expectation) -> list[str]:
    """Compare a whole message as read with what it has to say."""
    found: list[str] = []
    fields = [(name, value) for name, value in part.fields if not name.startswith("Content-")]
    names, wanted_names = [name for name, _ in fields], [name for name, _ in expected.fields]
    if names != wanted_names:
        return [f"header fields {names} instead of {wanted_names}"]
    for (name, value), (_, wanted) in zip(fields, expected.fields, strict=True):
        due = format_datetime(wanted).replace(", 0", ", ") if isinstance(wanted, datetime) else wanted
        if value != due:
            found.append(f"{name}: {_shown(value)} instead of {_shown(due)}")
    _compare(part, expected.root, found, is_root=True)
    return found


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _compare(part: Part, wanted: Wanted, found: list[str], *, is_root: bool = False) -> None:
    parameters = {key: value for key, value in part.parameters.items() if key != "boundary"}
    for what, value, due in (
        ("type", part.type, wanted.type),
        (f"parameters of {wanted.type}", parameters, wanted.parameters),
        ("name", part.name, wanted.name),
        ("disposition", part.disposition, wanted.disposition),
        ("description", part.description, wanted.description),
        ("Content-ID", part.content_id, f"<{wanted.content_id}>" if wanted.content_id is not None else ""),
        ("number of parts", len(part.children), len(wanted.children)),
    ):
        if value != due:
            found.append(f"{what}: {_shown(value)} instead of {_shown(due)}")
    names = sorted(name for name, _ in part.fields if not is_root or name.startswith("Content-"))
    if names != _field_names(wanted):
        found.append(f"fields of a {wanted.type} part: {names}")
    _compare_content(part, wanted, found)
    for child, want in zip(part.children, wanted.children, strict=False):
        _compare(child, want, found)


def _field_names(wanted: Wanted) -> list[str]:
    names = ["Content-Description"] if wanted.description else []
    names += ["Content-Disposition"] if wanted.disposition else []
    names += ["Content-ID"] if wanted.content_id is not None else []
    names += ["Content-Transfer-Encoding"] if not wanted.children else []
    return [*names, "Content-Type"]


def _compare_content(part: Part, wanted: Wanted, found: list[str]) -> None:
    if wanted.children:
        return
    if wanted.octets is not None:
        if part.content != wanted.octets:
            found.append(f"octets of {wanted.name!a}: {_shown(part.content)} instead of {_shown(wanted.octets)}")
        return
    try:
        text = part.content.decode()
    except UnicodeDecodeError as error:
        found.append(f"a {part.type} text that is not UTF-8: {error}")
        return
    if wanted.text is not None and text != wanted.text:
        found.append(f"{part.type} text: {_shown(text)} instead of {_shown(wanted.text)}")
    if [word for word in wanted.words if word not in text]:
        found.append(f"{part.type} text: {_shown(text)} without one of {wanted.words}")
    if wanted.paragraphs is not None and unflowed(text) != wanted.paragraphs:
        found.append(f"flowed text: {_shown(unflowed(text))} instead of {_shown(wanted.paragraphs)}")
    if wanted.pieces is not None:
        found += _html_differences(text, wanted.pieces)


def _html_differences(text: str, pieces: tuple[str | Reference, ...]) -> list[str]:
    position = 0
    for piece in pieces:
        if isinstance(piece, str):
            if not text.startswith(piece, position):
                return [f"HTML: {_shown(text[position:])} instead of {_shown(piece)}"]
            position += len(piece)
            continue
        match = _CID.match(text, position)
        if match is None:
            return [f"HTML: {_shown(text[position:])} instead of a reference to {piece.content_id!a}"]
        named = unquote(unescape(match.group().removeprefix("cid:")))
        if named != piece.content_id:
            return [f"HTML: a reference to {named!a} instead of {piece.content_id!a}"]
        position = match.end()
    return [] if position == len(text) else [f"HTML: {_shown(text[position:])} behind the end"]


def unflowed(text: str) -> tuple[tuple[int, str], ...]:
    """Read ``format=flowed`` by RFC 3676 4: depth of quotation and words of each paragraph."""
    paragraphs: list[tuple[int, str]] = []
    goes_on = False
    for line in text.split("\r\n"):
        words = line.lstrip(">")
        depth = len(line) - len(words)
        words = words.removeprefix(" ")
        is_signature = words == "-- "
        if goes_on and depth == paragraphs[-1][0] and not is_signature:
            paragraphs[-1] = (depth, paragraphs[-1][1] + words)
        else:
            paragraphs.append((depth, words))
        goes_on = words.endswith(" ") and not is_signature
    return tuple(paragraphs)
