"""What can the server do? The reply to EHLO as a value.

Only keywords that are written as RFC 5321 section 4.1.1.1 says are believed; the rest of a hostile or broken list is
passed over. Where a server contradicts itself the careful reading wins: the smallest SIZE, all AUTH mechanisms.
RFC 1870 (SIZE), 2920 (PIPELINING), 3030 (CHUNKING), 3461 (DSN), 4954 (AUTH), 6152 (8BITMIME), 6531 (SMTPUTF8), 9422
(LIMITS).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from maildrop.smtp.reply import Reply

_KEYWORD = re.compile(r"[A-Z0-9][A-Z0-9-]*", re.ASCII)
_LIMIT = re.compile(r"(MAILMAX|RCPTMAX|RCPTDOMAINMAX)=([1-9][0-9]{0,5})", re.ASCII)  # RFC 9422 section 4
_NO_LIMIT = 10**6
_SIZE = re.compile(r"[0-9]{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """The extensions of one session as last announced: they are forgotten when TLS starts."""

    names: frozenset[str] = frozenset()
    size_limit: int | None = None
    auth: tuple[str, ...] = ()
    most_messages: int | None = None  # MAILMAX: transactions in one session
    most_recipients: int | None = None  # RCPTMAX: of one transaction
    most_domains: int | None = None  # RCPTDOMAINMAX: of the recipients of one transaction

    @property
    def pipelining(self) -> bool:
        """Return whether commands may be sent without waiting for each reply."""
        return "PIPELINING" in self.names

    @property
    def eightbitmime(self) -> bool:
        """Return whether bodies may hold octets above 127."""
        return "8BITMIME" in self.names

    @property
    def smtputf8(self) -> bool:
        """Return whether addresses and header fields may hold UTF-8."""
        return "SMTPUTF8" in self.names

    @property
    def size(self) -> bool:
        """Return whether MAIL may announce the size of the message."""
        return "SIZE" in self.names

    @property
    def chunking(self) -> bool:
        """Return whether the message may travel by BDAT."""
        return "CHUNKING" in self.names

    @property
    def dsn(self) -> bool:
        """Return whether delivery status notifications may be asked for."""
        return "DSN" in self.names

    @property
    def starttls(self) -> bool:
        """Return whether the session can be encrypted now."""
        return "STARTTLS" in self.names


def read_extensions(reply: Reply) -> Extensions:
    """Read the positive reply to EHLO; its first line is the server's name and no extension."""
    names: set[str] = set()
    limits: dict[str, int] = {}
    sizes: list[int] = []
    mechanisms: dict[str, None] = {}
    for line in reply.lines[1:]:
        keyword, *parameters = line.upper().replace("AUTH=", "AUTH ", 1).split()[:100] or [""]
        if not _KEYWORD.fullmatch(keyword):
            continue
        names.add(keyword)
        if keyword == "SIZE" and parameters and _SIZE.fullmatch(parameters[0]) and int(parameters[0]) > 0:
            sizes.append(int(parameters[0]))
        elif keyword == "AUTH":
            mechanisms.update(dict.fromkeys(parameters))
        elif keyword == "LIMITS":
            for match in filter(None, map(_LIMIT.fullmatch, parameters)):
                limits[match[1]] = min(int(match[2]), limits.get(match[1], _NO_LIMIT))
    return Extensions(
        names=frozenset(names),
        size_limit=min(sizes, default=None),
        auth=tuple(mechanisms),
        most_messages=limits.get("MAILMAX"),
        most_recipients=limits.get("RCPTMAX"),
        most_domains=limits.get("RCPTDOMAINMAX"),
    )
