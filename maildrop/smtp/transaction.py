"""One transaction: what is asked of the relay, and the replies it got, from MAIL to the final one.

A refusal is data here, never an exception. RFC 5321 section 3.3, RFC 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from maildrop.smtp.extensions import Extensions
from maildrop.smtp.reply import Reply

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionResult:
    """The replies of one transaction as far as it got.

    ``recipients`` holds the reply to each RCPT that was answered; ``untried`` the forward-paths without an answer of
    their own (MAIL was refused, the session broke). ``end`` is the reply to the message itself: after the final dot, or
    an earlier refusal while the message was still being sent.
    """

    mail: Reply | None = None
    recipients: Mapping[str, Reply] = field(default_factory=dict)
    data: Reply | None = None
    end: Reply | None = None
    untried: tuple[str, ...] = ()

    @property
    def accepted(self) -> tuple[str, ...]:
        """Return the forward-paths whose RCPT got a 2yz; whether the message was taken, ``end`` says."""
        return tuple(path for path, reply in self.recipients.items() if reply.severity == 2)


async def prepare_nothing(result: TransactionResult) -> None:
    """Prepare no record: for probes and tests."""


def record_nothing(result: TransactionResult) -> None:
    """Record nothing: for probes and tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One message for one relay: envelope, octets, and the two moments that decide about duplicates.

    ``size`` counts octets with the last CRLF, before dot-stuffing. ``chunks`` gives the message with CRLF line ends, in
    pieces of any size. ``prepare`` is awaited once, when all but the terminator (``CRLF . CRLF``) has been handed to
    the kernel. If it or ``chunks`` raises, the final dot is never sent, the connection is aborted and the exception
    propagates as it is. ``record`` is called from inside the receive path on the final 2yz: between reading the reply
    and this call there is no system call, no await and no log line. ``smtputf8`` and ``eightbitmime`` may only be asked
    of a session whose extensions have them.
    """

    reverse_path: str
    forward_paths: tuple[str, ...]
    size: int
    chunks: Callable[[], Iterator[bytes]]
    smtputf8: bool = False
    eightbitmime: bool = False
    all_or_nothing: bool = False
    prepare: Callable[[TransactionResult], Awaitable[None]] = prepare_nothing
    record: Callable[[TransactionResult], None] = record_nothing


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a transaction is; the machine's own notes."""

    paths: tuple[str, ...] = ()
    all_or_nothing: bool = False
    mail: Reply | None = None
    recipients: dict[str, Reply] = field(default_factory=dict)
    data: Reply | None = None
    end: Reply | None = None
    must_reset: bool = False  # the server holds an open transaction that will not be finished
    dot_handed_over: bool = False
    concluded: bool = False  # the answer is clear: accepted or refused

    @property
    def all_answered(self) -> bool:
        """Return whether every RCPT has its reply."""
        return len(self.recipients) == len(self.paths)

    @property
    def worth_data(self) -> bool:
        """Return whether the recipients that were accepted justify sending the message."""
        accepted = sum(reply.severity == 2 for reply in self.recipients.values())
        return accepted == len(self.paths) if self.all_or_nothing else accepted > 0

    @property
    def result(self) -> TransactionResult:
        """Return the replies so far as a value."""
        untried = () if self.all_answered else tuple(path for path in self.paths if path not in self.recipients)
        return TransactionResult(
            mail=self.mail, recipients=dict(self.recipients), data=self.data, end=self.end, untried=untried
        )


def mail_command(transaction: Transaction, extensions: Extensions) -> bytes:
    """Return MAIL with the parameters that the relay knows; raises ValueError where it lacks a needed one."""
    lacks_utf8 = transaction.smtputf8 and not extensions.smtputf8
    if lacks_utf8 or (transaction.eightbitmime and not extensions.eightbitmime):
        raise ValueError("the relay lacks SMTPUTF8 or 8BITMIME: the caller has to look at the extensions first")
    size = f" SIZE={transaction.size}" if extensions.size else ""
    body = " BODY=8BITMIME" if transaction.eightbitmime else ""
    utf8 = " SMTPUTF8" if transaction.smtputf8 else ""
    line = f"MAIL FROM:<{argument(transaction.reverse_path)}>{size}{body}{utf8}"
    return line.encode("utf-8" if transaction.smtputf8 else "ascii")


def rcpt_commands(transaction: Transaction) -> list[bytes]:
    """Return RCPT for each forward-path, in order; raises ValueError for one that is no argument, or given twice."""
    if not transaction.forward_paths or len(set(transaction.forward_paths)) < len(transaction.forward_paths):
        raise ValueError("a transaction needs at least one forward-path, and each only once")
    encoding = "utf-8" if transaction.smtputf8 else "ascii"
    return [f"RCPT TO:<{argument(path)}>".encode(encoding) for path in transaction.forward_paths]


def argument(text: str) -> str:
    """Return ``text`` if it can't end its command early: an address is data, never a second command."""
    if _CONTROLS.search(text):
        raise ValueError("a control character in an argument of an SMTP command")
    return text
