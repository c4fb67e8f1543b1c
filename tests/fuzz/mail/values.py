"""What stands in a header field, read by the letter of RFC 5322, 2047 and 2231, without the standard library's help.

Each reader returns what it understood and appends one sentence to ``faults`` for each thing that no sender may write.
"""

from __future__ import annotations

import binascii
import re
from urllib.parse import unquote_to_bytes

WORD_OCTETS = 75  # RFC 2047 2

_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\U0010ffff]"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_DOT_ATOM = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
_ADDRESS = rf"((?:{_DOT_ATOM}|{_QUOTED})@(?:[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)*|\[[^\[\]\\ ]*\]))"
_PHRASE = rf"((?:{_ATEXT}+|{_QUOTED})(?: +(?:{_ATEXT}+|{_QUOTED}))*)"
_MAILBOX = re.compile(rf" *(?:(?:{_PHRASE} +)?<{_ADDRESS}>|{_ADDRESS})(?:,(?= )|\Z)", re.DOTALL)
_PHRASE_WORD = re.compile(rf"({_QUOTED})|({_ATEXT}+)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_BLANKS = re.compile(r"([ \t]+)")
_ENCODED_WORD = re.compile(r"=\?([A-Za-z0-9\-]+)\?([bBqQ])\?([!->@-~]*)\?=")
_Q_IN_PHRASE = re.compile(r"(?:[A-Za-z0-9!*+\-/_]|=[0-9A-F]{2})*")
_Q_ANYWHERE = re.compile(r"(?:[!-<>@-~]|=[0-9A-F]{2})*")
_TYPE = re.compile(r" *([!#$&\-^_.+A-Za-z0-9]+(?:/[!#$&\-^_.+A-Za-z0-9]+)?)")
_PARAMETER = re.compile(rf"; +([!#$&+\-^_`{{|}}~.A-Za-z0-9]+)(\*[0-9]+)?(\*)?=(?:({_QUOTED})|([!#-'*+\-.0-9A-Z^-~]+))")
_EXTENDED = re.compile(r"(?:[!#$&+\-.0-9A-Z^_`a-z{|}~]|%[0-9A-F]{2})*")
_IDENTIFIERS = re.compile(r"(?: *<[!-;=?-~]+>)+")

Address = tuple[str, str, str]  # name, local part without quotes, domain


def encoded_word(word: str, faults: list[str], *, safe: re.Pattern[str] = _Q_ANYWHERE) -> str | None:
    """Decode one word alone, as RFC 2047 5 asks for; None where ``word`` is not an encoded word."""
    match = _ENCODED_WORD.fullmatch(word)
    if match is None:
        faults.append(f"'=?' outside of an encoded word: {word[:80]!a}")
        return None
    charset, encoding, payload = match.groups()
    if charset != "utf-8":
        faults.append(f"an encoded word in {charset}: {word!a}")
    if len(word) > WORD_OCTETS:
        faults.append(f"an encoded word of {len(word)} octets: {word!a}")
    try:
        if encoding in "bB":
            octets = binascii.a2b_base64(payload, strict_mode=True)
        elif safe.fullmatch(payload) is None:
            faults.append(f"an encoded word with unsafe characters: {word!a}")
            return None
        else:
            octets = unquote_to_bytes(payload.replace("%", "%25").replace("_", " ").replace("=", "%"))
        return octets.decode(charset)
    except (LookupError, ValueError) as error:
        faults.append(f"an encoded word that can't be decoded on its own ({error}): {word!a}")
        return None


def unstructured(value: str, faults: list[str]) -> str:
    """Decode a text field; blanks between two encoded words are no part of it."""
    if "=?" not in value:
        return value
    out: list[str] = []
    before, blanks = False, ""
    for index, token in enumerate(_BLANKS.split(value)):
        if index % 2:
            blanks = token
            continue
        text = encoded_word(token, faults) if "=?" in token else None
        out += ["" if before and text is not None else blanks, token if text is None else text]
        before, blanks = text is not None, ""
    return "".join(out)


def phrase(value: str, faults: list[str]) -> str:
    """Decode a display name: atoms, quoted strings and encoded words."""
    out = ""
    before = False
    end = 0
    for match in _PHRASE_WORD.finditer(value):
        quoted, atom = match.groups()
        text = None
        if quoted is not None:
            if "=?" in quoted:
                faults.append(f"'=?' in a quoted string, which half of all clients decode: {quoted[:80]!a}")
        elif "=?" in atom:
            text = encoded_word(atom, faults, safe=_Q_IN_PHRASE)
        if not (before and text is not None):
            out += value[end : match.start()]
        plain = _ESCAPED.sub(r"\1", quoted[1:-1]) if quoted is not None else atom
        out += plain if text is None else text
        before, end = text is not None, match.end()
    return out


def addresses(value: str, faults: list[str]) -> list[Address]:
    """Read a list of mailboxes; no groups, no comments, no obsolete forms."""
    found: list[Address] = []
    position = 0
    while position < len(value):
        match = _MAILBOX.match(value, position)
        if match is None:
            faults.append(f"no mailbox at octet {position} of a list: {value[position : position + 80]!a}")
            break
        name, in_brackets, bare = match.groups()
        local, _, domain = (in_brackets or bare).rpartition("@")
        if local.startswith('"'):
            local = _ESCAPED.sub(r"\1", local[1:-1])
        found.append((phrase(name, faults) if name else "", local, domain))
        position = match.end()
    if not found and position == len(value):
        faults.append("an address field without address")
    return found


def identifiers(value: str, faults: list[str]) -> tuple[str, ...]:
    """Read message identifiers in angle brackets."""
    if _IDENTIFIERS.fullmatch(value) is None:
        faults.append(f"not message identifiers: {value[:80]!a}")
    return tuple(value.split())


def parameters(value: str, faults: list[str]) -> tuple[str, dict[str, str]]:
    """Read ``value; key=...``; the value in small letters, RFC 2231 continuations joined and decoded."""
    match = _TYPE.match(value)
    if match is None:
        faults.append(f"no value before the parameters: {value[:80]!a}")
        return "", {}
    position = match.end()
    pieces: dict[str, list[tuple[str, str, bool]]] = {}
    while position < len(value):
        found = _PARAMETER.match(value, position)
        if found is None:
            faults.append(f"no parameter at octet {position}: {value[position : position + 80]!a}")
            break
        key, number, star, quoted, token = found.groups()
        text = _ESCAPED.sub(r"\1", quoted[1:-1]) if quoted is not None else token
        if star and quoted is not None:
            faults.append(f"an extended parameter in quotes: {found.group()!a}")
        pieces.setdefault(key.lower(), []).append((number or "", text, star is not None))
        position = found.end()
    return match[1].lower(), {key: _joined(key, found, faults) for key, found in pieces.items()}


def _joined(key: str, pieces: list[tuple[str, str, bool]], faults: list[str]) -> str:
    numbers = [number for number, _, _ in pieces]
    if numbers not in ([""], [f"*{index}" for index in range(len(pieces))]):
        faults.append(f"parameter {key} is repeated, or its continuations have holes: {numbers}")
    text = ""
    for index, (_, piece, is_extended) in enumerate(pieces):
        text += _extended(key, piece, faults, is_first=index == 0) if is_extended else piece
    return text


def _extended(key: str, piece: str, faults: list[str], *, is_first: bool) -> str:
    if is_first:
        charset, _, rest = piece.partition("'")
        language, _, piece = rest.partition("'")
        if (charset, language) != ("utf-8", ""):
            faults.append(f"parameter {key} is in {charset!a}, language {language!a}")
    if _EXTENDED.fullmatch(piece) is None:
        faults.append(f"parameter {key} has characters that had to be percent-encoded: {piece!a}")
    try:
        return unquote_to_bytes(piece).decode()
    except UnicodeDecodeError:
        faults.append(f"a continuation of parameter {key} splits a character: {piece!a}")
        return piece


def old_name(value: str, faults: list[str]) -> str:
    """Decode the parameter ``name`` of old clients: RFC 2047 words in a quoted string, or plain text."""
    return unstructured(value, faults)
