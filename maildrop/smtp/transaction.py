"""One transaction: what is asked of the relay, and the replies it got, from MAIL to the final one.

A refusal is data here, never an exception. RFC 5321 section 3.3, RFC 1870 (SIZE), 2033 (LMTP), 3461 (DSN), 6152
(8BITMIME), 6531 (SMTPUTF8).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from maildrop.smtp.extensions import Extensions
from maildrop.smtp.reply import Reply, Stage
from maildrop.smtp.transcript import Transcript

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionResult:
    """The replies of one transaction as far as it got.

    ``recipients`` holds the reply to each RCPT that was answered; ``untried`` the forward-paths without an answer of
    their own (MAIL was refused, the session broke). ``end`` is the reply to the message itself: after the final dot, or
    an earlier refusal while the message was still being sent. Over LMTP it is None, and ``ends`` holds the reply for
    each recipient that had one. ``end_stage`` is BDAT where the message travelled that way.
    """

    mail: Reply | None = None
    recipients: Mapping[str, Reply] = field(default_factory=dict)
    data: Reply | None = None
    end: Reply | None = None
    ends: Mapping[str, Reply] = field(default_factory=dict)
    end_stage: Stage = Stage.DATA_END
    untried: tuple[str, ...] = ()

    @property
    def accepted(self) -> tuple[str, ...]:
        """Return the forward-paths whose RCPT got a 2yz; whether the message was taken, ``end`` says."""
        return tuple(path for path, reply in self.recipients.items() if reply.severity == 2)

    def end_for(self, path: str) -> Reply | None:
        """Return the reply to the message itself that counts for a recipient."""
        return self.ends.get(path, self.end)

    @property
    def delivered(self) -> tuple[str, ...]:
        """Return the forward-paths for which the relay took the message."""
        return tuple(path for path in self.accepted if (end := self.end_for(path)) is not None and end.severity == 2)


async def prepare_nothing(result: TransactionResult) -> None:
    """Prepare no record: for probes and tests."""


def record_nothing(result: TransactionResult) -> None:
    """Record nothing: for probes and tests."""


def tell_nobody() -> None:
    """Tell nobody: for probes and tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """The notifications to ask a relay with DSN for (RFC 3461); in capitals, ``returned`` is FULL or HDRS."""

    conditions: tuple[str, ...] = ()
    envelope_id: str | None = None
    returned: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One message for one relay: envelope, octets, and the two moments that decide about duplicates.

    ``size`` counts octets with the last CRLF, before dot-stuffing. ``chunks`` gives the message with CRLF line ends, in
    pieces of any size. ``prepare`` is awaited once, when all but the terminator (``CRLF . CRLF``) has been handed to
    the kernel. If it or ``chunks`` raises, the final dot is never sent, the connection is aborted and the exception
    propagates as it is. ``record`` is called from inside the receive path on the final 2yz: between reading the reply
    and this call there is no system call, no await and no log line. It is called only if every recipient that was
    accepted has the message then; where an LMTP server takes it for some alone, the caller records that.

    ``handed_over`` is called when the whole message has been given to the kernel: a further transaction may begin then
    (`Session.takes_another`). ``transcript`` is where its dialog is noted, if not where the session's is. ``smtputf8``
    and ``eightbitmime`` may only be asked of a session whose extensions have them; ``notify`` is left out where the
    relay lacks DSN.
    """

    reverse_path: str
    forward_paths: tuple[str, ...]
    size: int
    chunks: Callable[[], Iterator[bytes]]
    smtputf8: bool = False
    eightbitmime: bool = False
    all_or_nothing: bool = False
    notify: Notify = Notify()
    prepare: Callable[[TransactionResult], Awaitable[None]] = prepare_nothing
    record: Callable[[TransactionResult], None] = record_nothing
    handed_over: Callable[[], None] = tell_nobody
    transcript: Transcript | None = None


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a transaction is; the machine's own notes."""

    paths: tuple[str, ...] = ()
    all_or_nothing: bool = False
    lmtp: bool = False
    chunked: bool = False
    follows: bool = False  # opened while another message was judged
    mail: Reply | None = None
    recipients: dict[str, Reply] = field(default_factory=dict)
    data: Reply | None = None
    end: Reply | None = None
    ends: dict[str, Reply] = field(default_factory=dict)
    must_reset: bool = False  # the server holds an open transaction that will not be finished
    handed_over: bool = False  # the whole message, up to what makes it count
    concluded: bool = False  # the answer is clear: accepted or refused

    @property
    def in_doubt(self) -> bool:
        """Return whether the whole message may have reached the server and no clear answer was read."""
        return self.handed_over and not self.concluded

    @property
    def mail_refused(self) -> bool:
        """Return whether MAIL got a no."""
        return self.mail is not None and self.mail.severity > 3

    @property
    def accepted(self) -> list[str]:
        """Return the forward-paths whose RCPT got a 2yz."""
        return [path for path, reply in self.recipients.items() if reply.severity == 2]

    def take_end(self, reply: Reply) -> None:
        """Note a reply to the message itself: the one of SMTP, or LMTP's for the next recipient (RFC 2033 4.2)."""
        if self.lmtp and self.handed_over:
            accepted = self.accepted
            self.ends[accepted[len(self.ends)]] = reply
            self.concluded = len(self.ends) == len(accepted)
        else:
            self.end = reply
            self.concluded = True

    @property
    def all_answered(self) -> bool:
        """Return whether every RCPT has its reply."""
        return len(self.recipients) == len(self.paths)

    @property
    def worth_data(self) -> bool:
        """Return whether the recipients that were accepted justify sending the message."""
        accepted = len(self.accepted)
        return accepted == len(self.paths) if self.all_or_nothing else accepted > 0

    @property
    def result(self) -> TransactionResult:
        """Return the replies so far as a value."""
        untried = () if self.all_answered else tuple(path for path in self.paths if path not in self.recipients)
        return TransactionResult(
            mail=self.mail,
            recipients=dict(self.recipients),
            data=self.data,
            end=self.end,
            ends=dict(self.ends),
            end_stage=Stage.BDAT if self.chunked else Stage.DATA_END,
            untried=untried,
        )


def mail_command(transaction: Transaction, extensions: Extensions) -> bytes:
    """Return MAIL with the parameters that the relay knows; raises ValueError where it lacks a needed one."""
    lacks_utf8 = transaction.smtputf8 and not extensions.smtputf8
    if lacks_utf8 or (transaction.eightbitmime and not extensions.eightbitmime):
        raise ValueError("the relay lacks SMTPUTF8 or 8BITMIME: the caller has to look at the extensions first")
    size = f" SIZE={transaction.size}" if extensions.size else ""
    body = " BODY=8BITMIME" if transaction.eightbitmime else ""
    utf8 = " SMTPUTF8" if transaction.smtputf8 else ""
    notify = _about_notices(transaction.notify) if extensions.dsn else ""
    line = f"MAIL FROM:<{argument(transaction.reverse_path)}>{size}{body}{utf8}{notify}"
    return line.encode("utf-8" if transaction.smtputf8 else "ascii")


def rcpt_commands(transaction: Transaction, extensions: Extensions) -> list[bytes]:
    """Return RCPT for each forward-path, in order; raises ValueError for one that is no argument, or given twice."""
    if not transaction.forward_paths or len(set(transaction.forward_paths)) < len(transaction.forward_paths):
        raise ValueError("a transaction needs at least one forward-path, and each only once")
    encoding = "utf-8" if transaction.smtputf8 else "ascii"
    conditions = ",".join(transaction.notify.conditions) if extensions.dsn else ""
    notify = f" NOTIFY={argument(conditions)}" if conditions else ""
    commands = []
    for path in transaction.forward_paths:
        original = f" ORCPT=rfc822;{xtext(path)}" if notify and path.isascii() else ""
        commands.append(f"RCPT TO:<{argument(path)}>{notify}{original}".encode(encoding))
    return commands


def _about_notices(notify: Notify) -> str:
    returned = f" RET={argument(notify.returned)}" if notify.returned is not None else ""
    envelope_id = f" ENVID={xtext(notify.envelope_id)}" if notify.envelope_id is not None else ""
    return returned + envelope_id


def xtext(text: str) -> str:
    """Encode printable ASCII as a parameter's value (RFC 3461 section 4)."""
    return "".join([f"+{ord(mark):02X}" if mark in "+=" or not "!" <= mark <= "~" else mark for mark in text])


def argument(text: str) -> str:
    """Return ``text`` if it can't end its command early: an address is data, never a second command."""
    if _CONTROLS.search(text):
        raise ValueError("a control character in an argument of an SMTP command")
    return text
