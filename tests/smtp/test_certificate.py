"""What is read from a certificate's octets, compared with what the ``cryptography`` package reads."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from maildrop.smtp import certificate


def issued(**settings: Any) -> bytes:
    """Make a certificate; return its DER octets."""
    pem = trustme.CA().issue_cert("localhost", **settings).cert_chain_pems[0].bytes()
    return ssl.PEM_cert_to_DER_cert(pem.decode())


@pytest.mark.parametrize("year", [1999, 2027, 2049, 2051, 9999])
def test_the_end_is_read_in_both_notations(year: int) -> None:
    """Years up to 2049 are written with two digits, later ones with four (RFC 5280 4.1.2.5)."""
    end = datetime(year, 11, 23, 8, 1, 2, tzinfo=UTC)
    octets = issued(not_before=datetime(1998, 1, 1, tzinfo=UTC), not_after=end)
    assert certificate.expires(octets) == end == x509.load_der_x509_certificate(octets).not_valid_after_utc


def test_the_fingerprint_is_that_of_the_public_key() -> None:
    """It is the SHA-256 of the SubjectPublicKeyInfo: openssl's ``pkey -pubin -outform der | dgst -sha256``."""
    octets = issued()
    key = x509.load_der_x509_certificate(octets).public_key()
    expected = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    assert certificate.key_fingerprint(octets) == expected


@pytest.mark.parametrize(
    "octets", [b"", b"\x30", b"\x30\x00", b"\x30\x84\xff\xff\xff\xff", b"\x02\x01\x00", b"\0" * 64]
)
def test_other_octets_are_refused(octets: bytes) -> None:
    """What is no certificate raises ValueError, nothing else."""
    with pytest.raises(ValueError, match=r"X\.509"):
        certificate.expires(octets)
    with pytest.raises(ValueError, match=r"X\.509"):
        certificate.key_fingerprint(octets)


def test_a_damaged_certificate_raises_nothing_else() -> None:
    """With any one octet changed, and cut off anywhere, there is a value or a ValueError."""
    octets = issued()
    damaged = [octets[:length] for length in range(len(octets))]
    damaged += [octets[:at] + bytes([octets[at] ^ 0xFF]) + octets[at + 1 :] for at in range(len(octets))]
    refused = 0
    for each in damaged:
        for read in (certificate.expires, certificate.key_fingerprint):
            try:
                read(each)
            except ValueError:
                refused += 1
    assert refused >= 2 * len(octets)
