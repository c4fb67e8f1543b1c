"""TLS as a filter: octets of the wire in, octets of the conversation out, and the other way round.

No sockets and no waiting, for the same reason as in `maildrop.smtp.protocol`. asyncio's own `start_tls` would do for
the happy path, but it discards what the server said when a write fails, so that an early "552 too big" over TLS would
look like a lost line for ever, and it does not tell when everything has been handed to the kernel. Certificate and name
are verified by the given context; nothing here weakens it. RFC 8446, RFC 3207.
"""

from __future__ import annotations

import contextlib
import ssl

_READ_OCTETS = 64 * 1024


class TlsFilter:
    """The client's side of one TLS connection; every method may raise `ssl.SSLError`."""

    __slots__ = ("_incoming", "_object", "_outgoing", "ended", "established")

    def __init__(self, context: ssl.SSLContext, hostname: str) -> None:
        """``hostname`` is what the certificate must be valid for, and what SNI asks for."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self.established = False
        self.ended = False  # the server's close_notify was read

    def handshake(self) -> None:
        """Go on with the handshake as far as the octets received so far allow."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._object.do_handshake()
            self.established = True

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
    return f"TLS failed: {error.reason or error}"
