"""Transfer encodings undone strictly (RFC 2045 6.7 and 6.8): what a sender may not write is a fault, never repaired."""

from __future__ import annotations

import binascii
import re

LINE_OCTETS = 76

_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ESCAPES = {f"{octet:02X}".encode(): bytes([octet]) for octet in range(256)} | {b"\r\n": b""}
_BAD_IN_QUOTED = re.compile(rb"[^\t\r\n -~]|[ \t](?=\r\n|\Z)")


def decoded(body: bytes, encoding: str, faults: list[str]) -> bytes:
    """Return the content of a part without children."""
    if encoding == "base64":
        return _base64(body, faults)
    if encoding == "quoted-printable":
        return _quoted_printable(body, faults)
    if encoding != "7bit":
        faults.append(f"transfer encoding {encoding!a}")
    if not body.isascii():
        faults.append("a 7bit part with 8-bit octets")
    return body


def has_controls(body: bytes) -> bool:
    """Whether there are controls other than TAB, CR and LF."""
    return _CONTROLS.search(body) is not None


def _longest(body: bytes) -> int:
    return max(map(len, body.split(b"\r\n")))


def _base64(body: bytes, faults: list[str]) -> bytes:
    if _longest(body) > LINE_OCTETS:
        faults.append(f"a base64 line of {_longest(body)} octets")
    if body and (not body.endswith(b"\r\n") or b"\r\n\r\n" in body):
        faults.append("base64 with an empty line, or a last line that does not end")
    try:
        return binascii.a2b_base64(body.replace(b"\r\n", b""), strict_mode=True)
    except binascii.Error as error:
        faults.append(f"not base64: {error}")
        return b""


def _quoted_printable(body: bytes, faults: list[str]) -> bytes:
    if _longest(body) > LINE_OCTETS:
        faults.append(f"a quoted-printable line of {_longest(body)} octets")
    bad = _BAD_IN_QUOTED.search(body)
    if bad is not None:
        faults.append(f"quoted-printable with octet {bad.group()!a} at {bad.start()}")
    if body.endswith((b"=\r\n", b"=")):
        faults.append("quoted-printable that ends in a soft line break")
    first, *rest = body.split(b"=")
    try:
        return b"".join([first, *[_ESCAPES[piece[:2]] + piece[2:] for piece in rest]])
    except KeyError as error:
        faults.append(f"quoted-printable with ={error.args[0]!a}")
        return b""
