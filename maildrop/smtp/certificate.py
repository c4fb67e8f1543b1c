"""What a server's certificate says: until when it is valid, and the fingerprint of its public key.

Reads just these two things of the DER octets, because the standard library tells them only of certificates that it has
verified, or not at all. Whom to trust is the TLS context's affair, which pins are expected the relay's. RFC 5280
section 4.1, X.690 (DER).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

_SEQUENCE, _UTC_TIME, _VERSION = 0x30, 0x17, 0xA0
_MANY_OCTETS = 0x80  # in the first octet of a length: the length itself takes several


def expires(certificate: bytes) -> datetime:
    """Return the end of the validity (UTC); raises ValueError for octets that are no X.509 certificate."""
    fields = _fields(certificate)
    (_, _, _), (kind, text, _) = _elements(fields[3][1])[:2]
    try:
        whole = text.decode("ascii")
        if kind == _UTC_TIME:  # the other kind has four digits of the year
            whole = ("19" if int(whole[:2]) >= 50 else "20") + whole  # RFC 5280 4.1.2.5.1
        return datetime.strptime(whole, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError("the certificate has no end of validity") from None


def key_fingerprint(certificate: bytes) -> bytes:
    """Return the SHA-256 of the public key with its algorithm (SPKI); raises ValueError as `expires` does."""
    return hashlib.sha256(_fields(certificate)[5][2]).digest()


def _fields(certificate: bytes) -> list[tuple[int, bytes, bytes]]:
    """Return serial number, algorithm, issuer, validity, subject, public key and what follows."""
    whole = _elements(certificate)
    parts = _elements(whole[0][1]) if whole and whole[0][0] == _SEQUENCE else []
    fields = _elements(parts[0][1]) if parts and parts[0][0] == _SEQUENCE else []
    if fields and fields[0][0] == _VERSION:
        del fields[0]
    if len(fields) < 6 or fields[3][0] != _SEQUENCE or fields[5][0] != _SEQUENCE or len(_elements(fields[3][1])) < 2:
        raise ValueError("not an X.509 certificate")
    return fields


def _elements(octets: bytes) -> list[tuple[int, bytes, bytes]]:
    """Split octets into elements: kind, content, and the whole with its head; ValueError if cut off."""
    found: list[tuple[int, bytes, bytes]] = []
    at = 0
    while at < len(octets):
        start, kind = at, octets[at]
        if at + 2 > len(octets):
            raise ValueError("not an X.509 certificate")
        length, at = octets[at + 1], at + 2
        if length >= _MANY_OCTETS:
            size = length - _MANY_OCTETS
            length, at = int.from_bytes(octets[at : at + size]), at + size
        if at + length > len(octets):
            raise ValueError("not an X.509 certificate")
        found.append((kind, octets[at : at + length], octets[start : at + length]))
        at += length
    return found
