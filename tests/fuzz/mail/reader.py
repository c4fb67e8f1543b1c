"""A strict reader of whole messages (RFC 5322, 2045, 2046, 2387): its tree, and everything that no sender may write.

It shares nothing with the program and nothing with the standard library's `email`: it would rather report a legal
oddity than accept a broken message. What the message should say is not known here.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from tests.fuzz.mail import transfer, values

LINE_OCTETS = 998
_FOLD_AT = 78
_WORD_LINE = 76

_FIELD = re.compile(r"([!-9;-~]+):(?: (.*))?", re.DOTALL)
_WORD = re.compile(r"=\?[A-Za-z0-9\-]+\?[bBqQ]\?[^?\s]*\?=")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_FOLDABLE = re.compile(r"[^ \t][ \t]+[^ \t]")
_SINGLE = frozenset(
    [
        *(
            "date",
            "from",
            "sender",
            "reply-to",
            "to",
            "cc",
            "bcc",
            "message-id",
            "in-reply-to",
            "references",
            "subject",
        ),
        *("mime-version", "content-type", "content-transfer-encoding", "content-id", "content-description"),
        *("content-disposition", "importance", "x-priority"),
    ]
)
_ADDRESSES = frozenset({"from", "sender", "reply-to", "to", "cc"})
_IDENTIFIERS = frozenset({"message-id", "in-reply-to", "references"})
_PARAMETERS = frozenset({"content-type", "content-disposition"})
_EXACT = _ADDRESSES | _IDENTIFIERS | _PARAMETERS | {"content-id"}

Value = str | list[values.Address] | tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Part:
    """One part: its fields as read, its parameters, its decoded content or its children."""

    fields: list[tuple[str, Value]]  # names as written; parameters are left out of these values
    type: str = "text/plain"
    parameters: dict[str, str] = field(default_factory=dict)
    encoding: str = "7bit"
    disposition: str = ""
    name: str | None = None
    content_id: str = ""
    description: str = ""
    content: bytes = b""
    children: list[Part] = field(default_factory=list)

    def leaves(self) -> list[Part]:
        """Return the parts without children, in order."""
        return [leaf for child in self.children for leaf in child.leaves()] if self.children else [self]


def read_message(octets: bytes, *, allow_utf8: bool = False) -> tuple[Part, list[str]]:
    """Read one message; returns its tree and what is wrong with it, nothing where it is flawless."""
    faults: list[str] = []
    _check_octets(octets, faults)
    part = _part(octets, faults, allow_utf8=allow_utf8)
    names = {name.lower() for name, _ in part.fields}
    faults += [f"no {name} field" for name in ("date", "from", "message-id", "mime-version") if name not in names]
    return part, faults


def _check_octets(octets: bytes, faults: list[str]) -> None:
    pairs = octets.count(b"\r\n")
    if octets.count(b"\r") != pairs:
        faults.append("a CR without LF")
    if octets.count(b"\n") != pairs:
        faults.append("an LF without CR")
    if b"\0" in octets:
        faults.append("a NUL")
    if not octets.endswith(b"\r\n"):
        faults.append("the last line does not end")
    longest = max(map(len, octets.split(b"\r\n")))
    if longest > LINE_OCTETS:
        faults.append(f"a line of {longest} octets")


def _part(octets: bytes, faults: list[str], *, allow_utf8: bool = False) -> Part:
    header, gap, body = octets.partition(b"\r\n\r\n")
    if not gap:
        faults.append("a part without empty line between header and body")
    lines = _lines(header, faults, allow_utf8=allow_utf8)
    part = Part(fields=[])
    seen: Counter[str] = Counter()
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            faults.append(f"no header field: {line[:80]!a}")
            continue
        name, value = match[1], match[2] or ""
        seen[name.lower()] += 1
        _take(part, name, value, faults)
    faults += [f"{seen[name]} {name} fields" for name in _SINGLE & seen.keys() if seen[name] > 1]
    if part.type.startswith("multipart/"):
        _read_children(part, body, faults)
    else:
        _read_leaf(part, body, faults)
    return part


def _lines(header: bytes, faults: list[str], *, allow_utf8: bool) -> list[str]:
    """Return the unfolded fields."""
    try:
        text = header.decode("ascii")
    except UnicodeDecodeError:
        text = header.decode("utf-8", "replace")
        if not allow_utf8 or "\ufffd" in text:
            faults.append("8-bit octets in a header section")
    if re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]", text):
        faults.append("a control in a header section")
    unfolded: list[str] = []
    for line in text.split("\r\n"):
        _check_line(line, faults)
        if line.startswith((" ", "\t")) and unfolded:
            unfolded[-1] += line
        else:
            unfolded.append(line)
    return unfolded


def _check_line(line: str, faults: list[str]) -> None:
    """Check the length, in characters (RFC 6532 3.4): only what has no blank to fold at may be longer.

    A blank in a quoted string is not taken for one: folds there are legal, and many readers keep them.
    """
    if not line.strip(" \t"):
        faults.append("a line of nothing but blanks in a header section")
    if line.endswith((" ", "\t")):
        faults.append(f"a header line that ends with a blank: {line[:80]!a}")
    has_word = "=?" in line and _WORD.search(line) is not None
    if len(line) <= (_WORD_LINE if has_word else _FOLD_AT):
        return
    rest = _QUOTED.sub('""', line.strip(" \t"))
    if not line.startswith((" ", "\t")) and not has_word:
        rest = rest.partition(":")[2].strip(" ")  # no sender has to leave a name alone on its line
    if _FOLDABLE.search(rest):
        faults.append(f"a header line of {len(line)} characters that could be folded: {line[:120]!a}")


def _take(part: Part, name: str, value: str, faults: list[str]) -> None:
    """Read one field into its part."""
    low = name.lower()
    read: Value = value
    if low in _ADDRESSES:
        read = values.addresses(value, faults)
    elif low in _IDENTIFIERS:
        read = values.identifiers(value, faults)
    elif low not in _EXACT:
        read = values.unstructured(value, faults)
    if low == "content-type":
        read, part.parameters = values.parameters(value, faults)
        part.type = read
        _take_name(part, values.old_name(part.parameters.pop("name", ""), faults), faults)
    elif low == "content-disposition":
        read, parameters = values.parameters(value, faults)
        part.disposition = read
        _take_name(part, parameters.pop("filename", ""), faults)
        faults += [f"unknown parameter of Content-Disposition: {key}" for key in parameters]
    elif low == "content-transfer-encoding":
        part.encoding = value
    elif low == "content-id":
        part.content_id = value
        if re.fullmatch("<[!-;=?-~]+>", value) is None:
            faults.append(f"Content-ID without angle brackets: {value!a}")
    elif low == "content-description":
        part.description = str(read)
    part.fields.append((name, read))


def _take_name(part: Part, name: str, faults: list[str]) -> None:
    if not name:
        return
    if part.name is not None and part.name != name:
        faults.append(f"two names of one part: {part.name!a} and {name!a}")
    part.name = name


def _read_leaf(part: Part, body: bytes, faults: list[str]) -> None:
    part.content = transfer.decoded(body, part.encoding, faults)
    if part.type.startswith("text/") and part.encoding == "7bit" and transfer.has_controls(body):
        faults.append("a 7bit text with controls")
    if part.type == "message/rfc822" and part.encoding != "7bit":
        faults.append(f"a message/rfc822 part with transfer encoding {part.encoding}")


def _read_children(part: Part, body: bytes, faults: list[str]) -> None:
    boundary = part.parameters.get("boundary", "")
    if not 1 <= len(boundary) <= 70 or boundary.endswith(" "):
        faults.append(f"a multipart with the boundary {boundary!a}")
        return
    preamble, *pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if preamble:
        faults.append("a multipart with a preamble")
    if not pieces or pieces[-1] not in (b"--", b"--\r\n"):
        faults.append("a multipart without end, or with an epilogue")
    if body.count(boundary.encode()) != len(pieces):
        faults.append(f"the boundary {boundary} occurs within a part")
    for piece in pieces[:-1]:
        if not piece.startswith(b"\r\n"):
            faults.append(f"a boundary line with more in it: {piece[:20]!a}")
        part.children.append(_part(piece[2:], faults))
    _check_multipart(part, faults)


def _check_multipart(part: Part, faults: list[str]) -> None:
    if part.encoding != "7bit":
        faults.append(f"a multipart with transfer encoding {part.encoding}")
    if not part.children:
        faults.append("a multipart without parts")
    elif part.type == "multipart/related" and part.children[0].type != part.parameters.get("type"):
        faults.append(f"a multipart/related whose type is {part.parameters.get('type')}, not that of its first part")
