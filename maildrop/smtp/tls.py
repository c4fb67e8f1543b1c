"""TLS as a filter: octets of the wire in, octets of the conversation out, and the other way round.

No sockets and no waiting, for the same reason as in `maildrop.smtp.protocol`. asyncio's own `start_tls` would do for
the happy path, but it discards what the server said when a write fails, so that an early "552 too big" over TLS would
look like a lost line for ever, and it does not tell when everything has been handed to the kernel. Certificate and name
are verified by the given context; nothing here weakens it, and pins of the public key come on top (RFC 7469 section
2.4 says why it is the key and not the certificate: it may outlive a renewal). RFC 8446, RFC 3207.
"""

from __future__ import annotations

import base64
import contextlib
import ssl
from datetime import datetime

from maildrop.smtp import certificate

_READ_OCTETS = 64 * 1024


class PinMismatch(ssl.SSLError):
    """The server's public key is not one of those that were pinned."""


class TlsFilter:
    """The client's side of one TLS connection; every method may raise `ssl.SSLError`."""

    __slots__ = ("_incoming", "_object", "_outgoing", "_pins", "ended", "established")

    def __init__(self, context: ssl.SSLContext, hostname: str, pins: frozenset[bytes] = frozenset()) -> None:
        """``hostname`` is what the certificate must be valid for, and what SNI asks for.

        ``pins`` are SHA-256 digests: if there are any, the server's public key has to be one of them, besides all else.
        """
        self._pins = pins
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self.established = False
        self.ended = False  # the server's close_notify was read

    def handshake(self) -> None:
        """Go on with the handshake as far as the octets received so far allow."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._object.do_handshake()
            if self._pins:
                self._compare_key()
            self.established = True

    def _compare_key(self) -> None:
        try:
            found = certificate.key_fingerprint(self._object.getpeercert(binary_form=True) or b"")
        except ValueError as error:
            raise PinMismatch(f"the certificate has no public key that could be compared: {error}") from None
        if found not in self._pins:
            raise PinMismatch(
                f"the server's public key is not one of pin_sha256; it is {base64.b64encode(found).decode()}"
            )

    def receive(self, octets: bytes) -> bytes:
        """Take octets of the wire and return what they say, which may be nothing yet."""
        self._incoming.write(octets)
        if not self.established:
            self.handshake()
            if not self.established:
                return b""
        return self._read()

    def send(self, octets: bytes) -> None:
        """Encrypt octets of the conversation; `take_output` has the result."""
        self._object.write(octets)

    def close(self) -> None:
        """Say close_notify, so that the server can tell an end from a cut line."""
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()

    def take_output(self) -> bytes:
        """Return octets for the wire, once."""
        return self._outgoing.read()

    def describe(self) -> str:
        """Return protocol version and cipher, ``"TLSv1.3 TLS_AES_256_GCM_SHA384"``."""
        cipher = self._object.cipher()
        return f"{self._object.version()} {cipher[0] if cipher else 'no cipher'}"

    def certificate_expires(self) -> datetime | None:
        """Return the end of the certificate's validity (UTC), verified or not; None where there is none."""
        try:
            return certificate.expires(self._object.getpeercert(binary_form=True) or b"")
        except ValueError:
            return None

    def _read(self) -> bytes:
        pieces: list[bytes] = []
        try:
            while piece := self._object.read(_READ_OCTETS):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass  # the rest of a TLS record is still on its way
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(pieces)


def explain(error: ssl.SSLError) -> str:
    """Return what went wrong, in words; the server's certificate is the usual culprit."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {error.verify_message}"
    if isinstance(error, PinMismatch):
        return str(error)
    if error.reason == "WRONG_VERSION_NUMBER":
        return 'TLS failed: the server does not speak TLS at once (use tls = "starttls", or port 465)'
    return f"TLS failed: {error.reason or error}"
