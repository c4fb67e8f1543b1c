"""SCRAM-SHA-256: the password is proved and not sent, and the server proves that it knows it (RFC 5802, RFC 7677).

The only user of scramp. Refuses a server without that proof, an iteration count that is too cheap to guess against or
so high that it is an attack on this process, and a nonce that is not an extension of ours. Name and password are
prepared with SASLprep (RFC 4013): a password with characters that it prohibits can't be used here.

There is no channel binding (-PLUS): for TLS 1.3 it means ``tls-exporter`` (RFC 9266), which Python's ssl does not
give; it has ``tls-unique`` alone, which TLS 1.3 does not have. The certificate is verified before a word of this.
"""

from __future__ import annotations

import re

from scramp import ScramClient, ScramException

from maildrop.smtp.mechanism import SCRAM, MechanismError, decoded

MIN_ITERATIONS = 4096  # RFC 7677 section 4
MAX_ITERATIONS = 600_000  # what OWASP asks of servers: a tenth of a second, in which nothing else is done here
_FINAL = re.compile(r"[A-Za-z0-9+/]{20,}={0,2}")


class Scram:
    """One exchange; see `maildrop.smtp.mechanism.Mechanism`."""

    name = SCRAM
    private = True

    def __init__(self, user: str, password: str, *, nonce: str | None = None) -> None:
        """``nonce`` only for tests: made of random octets otherwise. Raises `MechanismError` where SASLprep refuses."""
        try:
            self._client = ScramClient([self.name], user, password, c_nonce=nonce)
        except ScramException as error:
            raise MechanismError(f"SASLprep refuses user or password ({error})") from None
        self._first = str(self._client.get_client_first()).encode()
        self._asked = self._answered = self._proved = False

    def initial(self) -> bytes | None:
        """Return the first message."""
        return self._first

    def respond(self, challenge: str) -> bytes | None:
        """Answer the server's first message with the proof, and its last with nothing if it is right."""
        if not (self._answered or self._asked or challenge.strip()):
            self._asked = True
            return self._first
        if self._proved:
            return None
        text = _text(challenge)
        if self._answered:
            self._verify(text)
            return b""
        self._answered = True
        return self._prove(text)

    def succeed(self, text: str) -> None:
        """Expect that the server has proved itself; some do it in the text of the 235."""
        if self._proved:
            return
        found = _FINAL.search(text) if self._answered else None
        if found is None:
            raise MechanismError("the server says yes, but does not prove that it knows the password (SCRAM)")
        self._verify(_text(found.group()))

    def told(self) -> str:
        """Say nothing: SCRAM has no explanations besides the reply."""
        return ""

    def _prove(self, server_first: str) -> bytes:
        try:
            self._client.set_server_first(server_first)
            iterations = int(self._client.iterations)
            if iterations > MAX_ITERATIONS:
                raise MechanismError(
                    f"the server asks for {iterations} iterations of SCRAM; at most {MAX_ITERATIONS} are done"
                )
            return str(self._client.get_client_final()).encode()
        except (ScramException, ValueError, KeyError, IndexError) as error:
            raise MechanismError(f"the server's first SCRAM message is not usable: {error}") from None

    def _verify(self, server_final: str) -> None:
        try:
            self._client.set_server_final(server_final)
        except (ScramException, ValueError, KeyError, IndexError) as error:
            what = f"the server does not prove that it knows the password (SCRAM: {error})"
            raise MechanismError(what) from None
        self._proved = True


def _text(challenge: str) -> str:
    try:
        return decoded(challenge).decode("utf-8")
    except UnicodeDecodeError:
        raise MechanismError("the server's challenge is not UTF-8") from None
