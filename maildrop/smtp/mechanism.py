"""What a SASL mechanism is to `maildrop.smtp.auth`: responses to challenges, and when it can't go on (RFC 4422)."""

from __future__ import annotations

import binascii
from typing import Protocol

SCRAM = "SCRAM-SHA-256"


class MechanismError(Exception):
    """The exchange can't go on: what the server says is not what the mechanism needs, or the secret does not fit it."""


class Mechanism(Protocol):
    """One SASL exchange from its first to its last response.

    ``private``: its challenges and responses, seen by others, would help to guess or contain the secret.
    """

    name: str
    private: bool

    def initial(self) -> bytes | None:
        """Return the initial response, the same each time, or None where the server speaks first."""
        ...

    def respond(self, challenge: str) -> bytes | None:
        """Return the response to a 334's text (base64), or None if the server asks for more than there is to say.

        Raises `MechanismError`. With an empty challenge the server asks for the initial response, which it has not read
        or which was too long to be sent with the command.
        """
        ...

    def succeed(self, text: str) -> None:
        """Take the text of the 235; raises `MechanismError` if the server owes a proof."""
        ...

    def told(self) -> str:
        """Return what the server said about a failure in its challenges, for a person; empty if it said nothing."""
        ...


def decoded(challenge: str) -> bytes:
    """Return the octets of a 334's text; raises `MechanismError`."""
    text = challenge.strip()
    try:
        if len(text) % 4 == 0:  # Python takes one more "=" than belongs there
            return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        pass  # the sentence below is for these, too
    raise MechanismError("the server's challenge is not base64")
