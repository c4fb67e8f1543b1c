"""Who are we to a relay, and where does that come from? Secrets that can't be printed by accident, and their sources.

Refuses to know files, commands and token servers: a `CredentialsSource` stands for them. RFC 4954 says what a reply to
AUTH means; that a refused secret is fetched anew is ours, so that a rotated password heals a held relay by itself.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import NoReturn, Protocol

MASK = "***"


class Secret:
    """Text that shows itself as ``***`` wherever it is printed, formatted or put into a traceback."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; only for what goes over the wire."""
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled or copied")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who we are to a relay: a password, or a bearer token, or neither (then a client certificate says it).

    ``mechanisms`` are the only ones to use, all that fit if there are none. ``host`` and ``port`` are the relay's as
    configured: OAUTHBEARER tells the server for whom its token is.
    """

    user: str
    password: Secret | None = None
    token: Secret | None = None
    mechanisms: tuple[str, ...] = ()
    host: str = ""
    port: int = 0


class CredentialsUnavailable(Exception):
    """No credentials can be had now, in words for a person and without any secret.

    ``configuration``: only a person can help (the place of a secret is wrong, a token server refuses us); otherwise it
    is like a relay that can't be reached, and may be over soon.
    """

    def __init__(self, what: str, *, configuration: bool) -> None:
        super().__init__(what)
        self.configuration = configuration


class CredentialsSource(Protocol):
    """Where a relay's credentials come from; equal sources give the same, so that a reload can tell what changed."""

    async def credentials(self) -> Credentials:
        """Return what to use for the next session; raises `CredentialsUnavailable`."""
        ...

    def refused(self, credentials: Credentials) -> bool:
        """Note that a server refused them: they are not used again without a look at where they come from.

        Return whether others can be had at once, so that one more try makes sense now.
        """
        ...

    def changed(self) -> bool:
        """Return whether what was refused has been replaced since: a held relay may be probed at once.

        Costs a system call or nothing, never a command or a connection; always false while nothing was refused.
        """
        ...
