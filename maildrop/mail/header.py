"""Header fields to octets: folding, RFC 2047 words, RFC 2231 parameters; each field whole and ending in CRLF.

This encoder exists because the standard library's folding can turn an encoded word into a header line (CVE-2024-6923),
put an empty line into a long address list, or change the addresses themselves (CVE-2025-1795), on interpreters in use.
Its rules are few: a value is cut only at blanks that were there; what is not printable ASCII, and every ``=?``, goes
into encoded words of at most 75 octets that hold whole characters; identifiers and addresses are never encoded.

Values are expected without control characters (``rules.header_fault``); what slips through is encoded, or raises
ValueError where it can't be.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from maildrop.mail.address import Mailbox
from maildrop.mail.charset import decoder

LINE_OCTETS = 998  # RFC 5322 2.1.1, without the CRLF
_FOLD_AT = 78  # likewise, the recommended length
_WORD_LINE = 76  # RFC 2047 2: a line that holds an encoded word
_WORD = 75  # and the word itself
_OVERHEAD = len("=?utf-8?q??=")
_CROWDED = 46  # columns before a word; behind more it begins a line of its own
_QUOTED_NAME = 60  # a longer display name goes into encoded words, which can be folded anywhere
_PIECE = 58  # octets of one RFC 2231 continuation: fits a line with its name

_ATOM_WORDS = re.compile(r"[\w!#$%&'*+\-/=?^`{|}~]+(?: [\w!#$%&'*+\-/=?^`{|}~]+)*", re.ASCII)
_TOKEN = re.compile(
    r"[\w!#$%&+\-.^`{|}~]+", re.ASCII
)  # RFC 2045 token less "'" and "*", which RFC 2231 gives a meaning
_UNSAFE = re.compile("[\x00-\x1f\x7f]")
_Q_SAFE = re.compile(r"[A-Za-z0-9!*+\-/]")  # what every place allows that takes an encoded word (RFC 2047 5)
_PIECES = re.compile(r" *[^ ]+")
_ENCODED = re.compile(r"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?\s]*)\?=")
_BETWEEN = re.compile(r"(=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=)[ \t\r\n]+(?==\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=)")

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_Q = {octet: chr(octet) if _Q_SAFE.fullmatch(chr(octet)) else f"={octet:02X}" for octet in range(256)} | {32: "_"}


def text_field(name: str, value: str) -> bytes:
    """Encode an unstructured field; its ASCII words stay readable around what has to be encoded."""
    if _is_plain(value):
        if len(name) + 2 + len(value) <= _FOLD_AT:
            return f"{name}: {value}\r\n".encode("ascii") if value else f"{name}:\r\n".encode("ascii")
        pieces = _PIECES.findall(value)
        if max(map(len, pieces), default=0) + len(name) + 2 < LINE_OCTETS:
            return _folded(name, pieces)
        return _folded(name, _words(value, used=len(name) + 2))
    return _folded(name, _mixed_pieces(value, used=len(name) + 2))


def address_field(name: str, mailboxes: Sequence[Mailbox]) -> bytes:
    """Encode a list of mailboxes; octets beyond ASCII appear only in local parts that have no other form."""
    pieces: list[str] = []
    last = len(mailboxes) - 1
    for index, mailbox in enumerate(mailboxes):
        comma = "," if index < last else ""
        if mailbox.name:
            pieces += _phrase(mailbox.name, used=len(name) + 2 if not pieces else 1)
            pieces.append(f" <{mailbox.address}>{comma}")
        else:
            pieces.append(f" {mailbox.address}{comma}")
    return _folded(name, pieces)


def id_field(name: str, ids: Sequence[str]) -> bytes:
    """Write message identifiers, folded between them and never encoded (encoded ones break threads)."""
    for identifier in ids:
        if not _is_plain(identifier) and ("=?" not in identifier or _UNSAFE.search(identifier)):
            raise ValueError(f"not a message identifier: {identifier!a}")
    return _folded(name, [f" {identifier}" for identifier in ids])


def date_field(name: str, date: datetime) -> bytes:
    """Write an aware date in the form of RFC 5322 3.3, independent of the locale."""
    offset = date.utcoffset()
    if offset is None:
        raise ValueError("a date without a time zone")
    minutes, seconds = divmod(int(offset.total_seconds()), 60)
    if seconds:  # an offset of local mean time has no RFC 5322 form
        date, minutes = date.astimezone(UTC), 0
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return (
        f"{name}: {_DAYS[date.weekday()]}, {date.day} {_MONTHS[date.month - 1]} {date.year:04d} "
        f"{date.hour:02d}:{date.minute:02d}:{date.second:02d} {sign}{minutes // 60:02d}{minutes % 60:02d}\r\n"
    ).encode("ascii")


def parameter_field(name: str, value: str, parameters: Mapping[str, str]) -> bytes:
    """Write ``value; key=…``: RFC 2231 where a parameter has to be encoded or is long.

    The parameter ``name`` is the exception: it exists for clients that do not know RFC 2231, so it gets RFC 2047 words
    in double quotes, which the standard forbids and every such client reads.
    """
    pieces = [f" {value}"]
    for key, text in parameters.items():
        pieces[-1] += ";"
        pieces += _old_parameter(key, text) if key == "name" else _parameter(key, text)
    return _folded(name, pieces)


def decode_words(value: str) -> str:
    """Read RFC 2047 words for showing to a person; what can't be read stays as it is."""
    return _ENCODED.sub(_decoded, _BETWEEN.sub(r"\1", value)) if "=?" in value else value


def _decoded(match: re.Match[str]) -> str:
    charset, encoding, payload = match.groups()
    decode = decoder(charset)
    if decode is None:
        return match.group()
    try:
        if encoding in "bB":
            octets = b64decode(payload + "=" * (-len(payload) % 4))
        else:
            raw = payload.replace("_", " ").encode("ascii")
            octets = re.sub(rb"=([0-9A-Fa-f]{2})", lambda hexes: bytes.fromhex(hexes[1].decode()), raw)
        return decode(octets)
    except ValueError:
        return match.group()


def _is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable() and "=?" not in value


def _folded(name: str, pieces: Iterable[str]) -> bytes:
    """Join pieces, each with its leading blanks, and begin a new line before one that would not fit.

    A plain first piece stays beside the name; every line holds more than blanks, so none can end the header section.
    """
    lines, line = [], name + ":"
    for index, piece in enumerate(pieces):
        text = piece if piece.startswith(" ") else " " + piece
        encoded = "=?" in text
        limit = _WORD_LINE if encoded or "=?" in line else _FOLD_AT
        if (index or encoded) and len(line) + len(text) > limit:
            lines.append(line)
            line = text
        else:
            line += text
    lines.append(line)
    return ("\r\n".join(lines) + "\r\n").encode()


def _mixed_pieces(value: str, *, used: int) -> list[str]:
    """Encode from the first to the last word that needs it, keeping the plain ones around them as they are."""
    pieces = _PIECES.findall(value)
    if value != "".join(pieces) or max(map(len, pieces)) + used >= LINE_OCTETS:
        return _words(value, used=used)
    # A "?=" before a word looks like the end of another one: some readers drop the blank between.
    needy = [index for index, piece in enumerate(pieces) if "?=" in piece or not _is_plain(piece)]
    first, last = needy[0], needy[-1]
    before, after = pieces[:first], pieces[last + 1 :]
    column = used if not before else 1  # a word after plain text may always begin a new line
    encoded = "".join(pieces[first : last + 1])
    if before:
        encoded = encoded[1:]  # one blank stands between text and word; what more there was goes into the word
    return before + _words(encoded, used=column) + after


def _words(text: str, *, used: int, full: int = _WORD) -> list[str]:
    """Return RFC 2047 words of at most ``full`` octets for ``text``, B or Q, whichever is shorter.

    The first fits a line with ``used`` octets.
    """
    octets = text.encode("utf-8", "surrogatepass")
    q_length = sum(len(_Q[octet]) for octet in octets)
    as_q = q_length <= (len(octets) + 2) // 3 * 4
    words: list[str] = []
    room = _WORD_LINE - (used if used <= _CROWDED else 1) - _OVERHEAD
    for piece in _cut(text, as_q=as_q, first=min(room, full - _OVERHEAD), full=full - _OVERHEAD):
        if as_q:
            words.append("=?utf-8?q?" + "".join([_Q[octet] for octet in piece]) + "?=")
        else:
            words.append("=?utf-8?b?" + b64encode(piece).decode("ascii") + "?=")
    return words


def _cut(text: str, *, as_q: bool, first: int, full: int) -> Iterable[bytes]:
    """Cut ``text`` between characters so that each piece has room in one word: in the first less than in a full one."""
    if not as_q:
        first, full = first // 4 * 3, full // 4 * 3
    room = first
    piece, length = bytearray(), 0
    for character in text:
        octets = character.encode("utf-8", "surrogatepass")
        cost = sum([len(_Q[octet]) for octet in octets]) if as_q else len(octets)
        if length + cost > room and piece:
            yield bytes(piece)
            piece, length, room = bytearray(), 0, full
        piece += octets
        length += cost
    yield bytes(piece)


def _phrase(name: str, *, used: int) -> list[str]:
    """Return a display name as pieces: atoms, one quoted string, or encoded words."""
    if _is_plain(name) and len(name) <= _QUOTED_NAME:
        if _ATOM_WORDS.fullmatch(name):
            return [f" {name}"]
        quoted = _quoted(name)
        if len(quoted) <= _QUOTED_NAME:
            return [f" {quoted}"]
    return [f" {word}" for word in _words(name, used=used)]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _old_parameter(key: str, text: str) -> list[str]:
    if _is_plain(text) and len(_quoted(text)) <= _QUOTED_NAME:
        return _parameter(key, text)
    words = _words(text, used=len(key) + len(' ="";'), full=_WORD - len('";'))
    words[0] = f'{key}="{words[0]}'
    words[-1] += '"'
    return [f" {word}" for word in words]


def _parameter(key: str, text: str) -> list[str]:
    """Return one parameter as pieces: token, quoted string, or RFC 2231 with continuations."""
    if _is_plain(text) and len(text) <= _QUOTED_NAME:
        if _TOKEN.fullmatch(text):
            return [f" {key}={text}"]
        quoted = _quoted(text)
        if len(quoted) <= _QUOTED_NAME:
            return [f" {key}={quoted}"]
    first, *more = _continuations(text)
    if not more:
        return [f" {key}*={first}"]
    return [f" {key}*{index}*={piece};" for index, piece in enumerate([first, *more[:-1]])] + [
        f" {key}*{len(more)}*={more[-1]}"
    ]


def _continuations(text: str) -> Iterable[str]:
    """Percent-encode ``text`` in pieces that each hold whole characters: some clients decode them one by one."""
    piece = "utf-8''"
    for character in text:
        encoded = quote(character, safe="", errors="surrogatepass")
        if len(piece) + len(encoded) > _PIECE:
            yield piece
            piece = ""
        piece += encoded
    yield piece
