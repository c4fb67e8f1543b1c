"""A message as a person can review it: its fields decoded, and below them the tree of its parts.

Structure is read by Python's `email`, everything else here by RFC 2047, 2231 and HTML themselves: nothing of the
composer is used. What can't be seen is escaped, so that the description is exact.
"""

from __future__ import annotations

import base64
import hashlib
import quopri
import re
import unicodedata
from collections.abc import Collection, Iterator
from email import message_from_bytes
from email.message import Message
from email.policy import compat32
from email.utils import collapse_rfc2231_value
from html.parser import HTMLParser

_ADDRESSES = frozenset({"from", "sender", "reply-to", "to", "cc"})
_WORD = re.compile(r"=\?([^?]+)\?([bBqQ])\?([^?\s]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)[ \t]+(?==\?)")
_STRING = r'"(?:[^"\\]|\\.)*"'
_MAILBOX = re.compile(
    rf"(?P<name>(?:{_STRING}|[^\"<,]*?)) *<(?P<in_angle>(?:{_STRING}|[^\"<>])+)>|(?P<bare>(?:{_STRING}|[^\", ])+)"
)
_URL = re.compile(r"""url\(\s*(?:"([^"]*)"|'([^']*)'|([^)]*?))\s*\)""", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""(?:src|background|poster)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))""", re.IGNORECASE)
_SHOWN_CHARACTERS = 240  # of one line; its digest stands for the rest
_ZERO_WIDTH_JOINER = "\u200d"  # and the tags of flags: a person sees them in an emoji


def describe(octets: bytes, *, stem: str, finished: bool, usual: Collection[str] = ()) -> list[str]:
    """Return the lines: fields, an empty line, parts.

    ``stem`` is what makes boundaries unique; lines that are ``usual`` say nothing. Both are left out.
    """
    message = message_from_bytes(octets, policy=compat32)
    lines = [line for line in _fields(message, structured=not finished) if line not in usual] + [""]
    lines += _part(message, "", _names_by_id(message))
    return [line.replace(stem, "STEM") for line in lines]


def field_text(value: str) -> str:
    """Unfold a raw value and read it as UTF-8 where it is not ASCII."""
    unfolded = re.sub(r"\r?\n(?=[ \t])", "", value)
    return unfolded.encode("ascii", "surrogateescape").decode().strip(" ")


def decode_words(value: str) -> str:
    """Read RFC 2047 words strictly: each one has to hold whole characters."""

    def decoded(match: re.Match[str]) -> str:
        charset, encoding, payload = match.groups()
        if encoding in "bB":
            return base64.b64decode(payload, validate=True).decode(charset)
        return quopri.decodestring(payload.encode("ascii"), header=True).decode(charset)

    return _WORD.sub(decoded, _BETWEEN_WORDS.sub(r"\1", value))


def mailboxes(value: str) -> list[str]:
    """Read a list of mailboxes (RFC 5322 3.4); Python's own reader differs from version to version."""
    found = []
    for match in _MAILBOX.finditer(value):
        name, in_angle, bare = match["name"], match["in_angle"], match["bare"]
        if in_angle is None:
            found.append(f"<{bare}>")
            continue
        name = name.strip(" ")
        is_quoted = name.startswith('"')
        name = re.sub(r"\\(.)", r"\1", name[1:-1]) if is_quoted else decode_words(name)
        found.append((_quoted(name) + " " if name else "") + f"<{in_angle}>")
    assert _MAILBOX.sub("", value).strip(", ") == "", value
    return found


def visible(text: str) -> str:
    """Escape what a reader would not see: controls, directions, odd blanks, a blank at the end."""

    def shown(character: str) -> str:
        is_tag = "\U000e0020" <= character <= "\U000e007f"
        if character in (" ", _ZERO_WIDTH_JOINER) or is_tag:
            return character
        if character == "\\":
            return "\\\\"
        if unicodedata.category(character)[0] in "CZ":
            return character.encode("unicode_escape").decode("ascii")
        return character

    escaped = "".join(map(shown, text))
    return escaped[:-1] + "\\x20" if escaped.endswith(" ") else escaped


def filename_of(part: Message) -> str | None:
    """Return the name in Content-Disposition."""
    return part.get_filename()


def body_of(part: Message) -> bytes:
    """Return a leaf's content, decoded."""
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


def children_of(part: Message) -> list[Message]:
    """Return what a multipart or an enclosed message holds."""
    return [child for child in part.get_payload() if isinstance(child, Message)]


def references(html: str) -> list[str]:
    """Return what the HTML shows inside itself, each once: src, background, poster, CSS; comments too."""
    reader = _References()
    reader.feed(html)
    reader.close()
    return list(dict.fromkeys(reader.found))


class _References(HTMLParser):
    """Collects the references of elements, styles and comments."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        for name, value in attrs:
            if name in ("src", "background", "poster") and value:
                self.found.append(value)
            if name == "style" and value:
                self._css(value)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self._css(data)

    def handle_comment(self, data: str) -> None:
        self.found += ["".join(match.groups("")) for match in _ATTRIBUTE.finditer(data)]
        self._css(data)

    def _css(self, text: str) -> None:
        self.found += ["".join(match.groups("")) for match in _URL.finditer(text)]


def _fields(message: Message, *, structured: bool) -> Iterator[str]:
    for name, raw in message.raw_items():
        value = field_text(raw)
        if name.lower().startswith("content-"):
            continue
        if structured and name.lower() in _ADDRESSES:
            yield from (f"{name}: {mailbox}" for mailbox in mailboxes(value))
        else:
            yield f"{name}: {visible(decode_words(value))}"


def _names_by_id(message: Message) -> dict[str, str]:
    return {
        field_text(part["Content-ID"]).strip("<>"): filename_of(part) or "a part without a name"
        for part in message.walk()
        if "Content-ID" in part
    }


def _part(part: Message, indent: str, shown_by_id: dict[str, str]) -> Iterator[str]:
    """Describe a part and what is in it."""
    details = [part.get_content_type(), *_parameters(part)]
    deeper = indent + "  "
    if part.get_content_type() == "message/rfc822":
        yield indent + ", ".join([*details, _encoding(part), *_labels(part)])
        for inner in children_of(part):
            yield from (deeper + line for line in _fields(inner, structured=False))
            yield from _part(inner, deeper, shown_by_id)
    elif part.is_multipart():
        yield indent + ", ".join(details)
        yield from (f"{deeper}{what}: {visible(text)}" for what, text in _around(part) if text)
        for inner in children_of(part):
            yield from _part(inner, deeper, shown_by_id)
    else:
        content = body_of(part)
        digest = hashlib.sha256(content).hexdigest()[:16]
        yield indent + ", ".join(
            [*details, _encoding(part), f"{len(content)} octets", f"sha256 {digest}", *_labels(part)]
        )
        yield from (deeper + line for line in _text(part, content, shown_by_id))


def _encoding(part: Message) -> str:
    return field_text(part.get("Content-Transfer-Encoding", "no transfer encoding"))


def _parameters(part: Message) -> Iterator[str]:
    for key, value in part.get_params([])[1:]:
        if key not in ("boundary", "name"):
            yield f"{key}={collapse_rfc2231_value(value)}"


def _labels(part: Message) -> Iterator[str]:
    """Return disposition, names, identifier, description."""
    disposition = part.get_content_disposition()
    name = filename_of(part)
    if disposition is not None:
        yield disposition + (f" {_quoted(name)}" if name is not None else "")
    old_name = part.get_param("name")
    if isinstance(old_name, str) and decode_words(field_text(old_name)) != name:
        yield f"name {_quoted(decode_words(field_text(old_name)))}"
    if "Content-ID" in part:
        yield f"id {field_text(part['Content-ID'])}"
    if "Content-Description" in part:
        yield f"description {_quoted(decode_words(field_text(part['Content-Description'])))}"


def _text(part: Message, content: bytes, shown_by_id: dict[str, str]) -> Iterator[str]:
    """Show a form of the body line by line, and what its HTML refers to; an attached text is a digest."""
    if part.get_content_maintype() != "text" or part.get_content_disposition() is not None or not content:
        return
    text = content.decode(part.get_content_charset("utf-8"))
    for line in text.removesuffix("\r\n").split("\r\n"):
        left = len(line) - _SHOWN_CHARACTERS
        more = f" … and {left} characters" if left > 0 else ""
        yield "| " + visible(line[:_SHOWN_CHARACTERS]) + more
    if not text.endswith("\r\n"):
        yield "(no line end)"
    if part.get_content_subtype() == "html":
        for reference in references(text):
            name = shown_by_id.get(reference.removeprefix("cid:")) if reference.startswith("cid:") else None
            yield f"{visible(reference[:60])} -> {'left alone' if name is None else visible(name)}"


def _quoted(text: str) -> str:
    return f'"{visible(text)}"'  # marks inside stay as they are: it is for reading, not for parsing


def _around(part: Message) -> Iterator[tuple[str, str]]:
    yield "preamble", (part.preamble or "").strip("\r\n")
    yield "epilogue", (part.epilogue or "").strip("\r\n")
