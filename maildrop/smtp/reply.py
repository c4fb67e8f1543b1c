"""What did the server say? One reply at a time, out of octets that arrive in any pieces.

Reads strictly: three ASCII digits of which the first is 2 to 5, the same code on every line, bounded lines and replies.
Whatever is not exactly that is a `ReplyError`, because a guessed reply shifts all later ones by one and turns the
answer to RSET into the verdict about a mail. This module refuses to know which command was answered: that is
`maildrop.smtp.protocol`'s business. RFC 5321 section 4.2, RFC 3463 and RFC 2034 (enhanced status codes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

LINE_KEPT_OCTETS = 2048  # RFC 5321 allows 512; what exceeds this is dropped, the code in front of it stays valid
REPLY_KEPT_OCTETS = 64 * 1024  # more lines than fit here are no reply but an attack on memory
REPLY_RECEIVED_OCTETS = 4 * 1024 * 1024  # dropped octets cost no memory but time: one reply may not flow on for ever
_TEXT_CHARACTERS = 1024

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?= |$)", re.ASCII)

# How relays name the queue id in the reply to the final dot: Postfix and many others, Exim, Exchange, qmail, Haraka,
# sendmail and OpenSMTPD, Dovecot's LMTP, Gmail, Amazon SES. The first that matches wins.
_QUEUE_IDS = tuple(
    re.compile(pattern, re.ASCII | re.IGNORECASE)
    for pattern in (
        r"\bqueued (?:mail )?as[: ]+<?([\w.+@-]{3,80})",
        r"\bid=([\w.+-]{3,80})",
        r"\bInternalId=(\d{3,40})",
        r"^ok \d+ qp (\d+)",
        r"\bqueued \(([\w.-]{3,80})\)",
        r"^(?:2\.\d\.\d )?([\w.-]{6,80}) message accepted for delivery",
        r"^(?:2\.\d\.\d )?<[^>]*> ([\w+/=.:-]{6,80}) saved$",
        r"^(?:2\.\d\.\d )?ok +\d+ ([\w.-]{6,80}) - gsmtp",
        r"^(?:2\.\d\.\d )?ok ([0-9a-f][0-9a-f-]{15,80})$",
    )
)

_CONFIGURATION = frozenset({530, 534, 535, 538})


class Stage(StrEnum):
    """Where in a delivery something happened, in the words of `result.toml`."""

    LOOKUP = "lookup"
    CONNECT = "connect"
    TLS = "tls"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DATA_END = "data-end"
    BDAT = "bdat"
    LOCAL = "local"
    RSET = "rset"
    QUIT = "quit"


class ReplyError(Exception):
    """The octets are no SMTP reply; nothing that follows them in this session can be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One whole reply; ``lines`` hold the server's own words without code and line end: escape before showing."""

    code: int
    lines: tuple[str, ...]

    @property
    def severity(self) -> int:
        """Return the first digit: 2 done, 3 go on, 4 not now, 5 no."""
        return self.code // 100

    @property
    def is_unknown_command(self) -> bool:
        """Return whether the server says that it does not know the command."""
        return self.code in (500, 502, 504)

    @property
    def text(self) -> str:
        """Return the lines in one, at most 1,024 characters, foreign as they came (`maildrop.errors.printable`)."""
        return " ".join(self.lines)[:_TEXT_CHARACTERS]

    @property
    def enhanced(self) -> str | None:
        """Return the enhanced status code, ``"2.1.5"``, if there is one that agrees with the reply code."""
        match = _ENHANCED.match(self.lines[0])
        return match.group() if match and int(match.group(1)) == self.severity else None

    @property
    def queue_id(self) -> str | None:
        """Return the name under which the relay queued the message, where its wording is known."""
        if self.severity != 2:
            return None
        for line in self.lines:
            for pattern in _QUEUE_IDS:
                if match := pattern.search(line):
                    return match.group(1)
        return None

    @property
    def is_configuration(self) -> bool:
        """Return whether the reply asks for (other) credentials or TLS: our installation's fault at any stage."""
        return self.code in _CONFIGURATION

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()


class ReplyReader:
    """Collects octets into replies; memory is bounded whatever a server sends."""

    __slots__ = ("_code", "_error", "_kept_octets", "_line", "_lines", "_received_octets")

    def __init__(self) -> None:
        self._line = bytearray()
        self._error: ReplyError | None = None
        self._next_reply()

    @property
    def pending(self) -> bool:
        """Return whether octets were read that are not part of a whole reply (yet)."""
        return bool(self._line or self._lines) or self._error is not None

    @property
    def error(self) -> ReplyError | None:
        """Return what made the octets unreadable, if anything did: every later `feed` raises it."""
        return self._error

    def feed(self, octets: bytes) -> list[Reply]:
        """Take octets and return the replies they complete, in order.

        Raises `ReplyError` where they are not a reply. Replies that stand before the nonsense are still returned: the
        error is then in `error`, and raised by the next call.
        """
        if self._error is not None:
            raise self._error
        replies: list[Reply] = []
        try:
            *ended, rest = octets.split(b"\n")
            for piece in ended:
                self._keep(piece)
                if self._end_line():
                    replies.append(Reply(code=self._code, lines=tuple(self._lines)))
                    self._next_reply()
            self._keep(rest)
        except ReplyError as error:
            self._error = ReplyError(str(error))  # a new one: the traceback of that one would keep the octets in memory
            self._next_reply()
            if not replies:
                raise
        return replies

    def _next_reply(self) -> None:
        self._lines: list[str] = []
        self._code = 0
        self._kept_octets = 0
        self._received_octets = 0

    def _keep(self, piece: bytes) -> None:
        self._received_octets += len(piece)
        if self._received_octets > REPLY_RECEIVED_OCTETS:
            raise ReplyError(f"a reply of more than {REPLY_RECEIVED_OCTETS} octets")
        self._line += piece[: LINE_KEPT_OCTETS - len(self._line)]

    def _end_line(self) -> bool:
        """Judge the collected line; return whether it is the last one of its reply."""
        line = bytes(self._line)
        self._line.clear()
        if line.endswith(b"\r"):
            line = line[:-1]
        digits, mark = line[:3], line[3:4]
        if not (len(digits) == 3 and digits.isdigit() and b"2" <= digits[:1] <= b"5" and mark in (b"", b" ", b"-")):
            raise ReplyError(f"not an SMTP reply: {line[:80].decode('utf-8', 'backslashreplace')!r}")
        code = int(digits)
        if self._lines and code != self._code:
            raise ReplyError(f"one reply with two codes, {self._code} and {code}")
        self._kept_octets += len(line)
        if self._kept_octets > REPLY_KEPT_OCTETS:
            raise ReplyError(f"a reply of more than {REPLY_KEPT_OCTETS} octets in its lines")
        self._code = code
        self._lines.append(line[4:].decode("utf-8", "backslashreplace"))
        return mark != b"-"
