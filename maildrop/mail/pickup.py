"""A finished message: who sends it to whom, what has to go before it may leave, and whether it is legal at all.

The pickup-folder convention (IIS, Exchange, .NET, CDO): an unbroken block of `X-Sender`, `X-Receiver` at the very top
is the envelope, else `From` and `To`, `Cc`, `Bcc`. That block, `Bcc` and `Resent-Bcc` are removed (who was hidden never
leaves the machine), `Date` and `Message-ID` are added where they are missing, line ends become CRLF; nothing else
changes. Other `Resent-*` fields tell of an earlier journey: they name no recipients of this one (RFC 5322 3.6.6).
A DKIM signature (RFC 6376) that one of these changes would break makes the message invalid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from maildrop.errors import InvalidJob, Problem, printable
from maildrop.mail.address import AddressError, Mailbox, parse_mailbox, parse_mailbox_list
from maildrop.mail.fieldlist import Field, FieldError, parse_fields
from maildrop.mail.header import LINE_OCTETS, date_field, decode_words, id_field
from maildrop.mail.keys import unique_paths
from maildrop.mail.lines import SLICE_OCTETS, Scan, normalized, octets_beyond_ascii, scan
from maildrop.mail.message import Identity, Message, Need
from maildrop.mail.model import Defaults, Delivery, Limits, Overrides
from maildrop.mail.part import Body, LinesFile, Octets, Source
from maildrop.mail.signed import signature_faults

HEADER_OCTETS = 256 * 1024  # of a header section; the largest relays take half of it
_IN_MEMORY_OCTETS = 256 * 1024  # smaller files are read once
_SUBJECT_CHARACTERS = 998  # shown in lists and logs
_ENVELOPE_FIELDS = ("x-sender", "x-receiver")
_HIDDEN_FIELDS = ("bcc", "resent-bcc")
_TWICE_CONVERTED = re.compile(rb"[^\r\n]*\r\r\n")


class Dialect(StrEnum):
    """How producers write finished messages: as they are, dot-stuffed as for SMTP, or to be found out."""

    AUTO = "auto"
    PLAIN = "plain"
    IIS = "iis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pickup:
    """A finished message that may go."""

    delivery: Delivery
    message: Message
    subject: str


def read_pickup(
    source: Source,
    *,
    overrides: Overrides | None,
    identity: Identity,
    defaults: Defaults,
    dialect: Dialect,
    limits: Limits,
) -> Pickup:
    """Read a finished message; raises InvalidJob with every problem.

    A large file is read twice: once here, once by ``chunks()``.
    """
    reading = _Reading(source, limits)
    reading.judge_size(source.size)
    stream = _Stream.open(source, dialect)
    reading.judge(stream)
    header, skip = reading.header_section(stream.lines())
    fields = reading.fields(header)
    block = _top_block(fields)
    gone = [*block, *(field for field in fields if field.name in _HIDDEN_FIELDS)]
    kept = [field for field in fields[len(block) :] if field.name not in _HIDDEN_FIELDS]
    added = reading.added(kept, identity)
    reading.judge_fields(block, kept)
    reading.judge_signatures(kept, {field.name for field in gone} | added.keys(), stream)
    delivery = reading.delivery(fields, block, overrides or Overrides(), defaults)
    reading.raise_problems()
    head = b"".join([field.octets for field in kept]) + b"".join(added.values()) + b"\r\n"
    bodies: tuple[Body, ...] = (Octets(head), *stream.rest(skip))
    message = Message(
        message_id=printable(_value(kept, "message-id")) or identity.message_id,
        size=sum(body.size for body in bodies),
        needs=_needs(head, header=header, found=stream.scan),
        bodies=bodies,
    )
    subject = decode_words(_value(kept, "subject")[:_SUBJECT_CHARACTERS])
    return Pickup(delivery=delivery, message=message, subject=subject)


def _needs(head: bytes, *, header: bytes, found: Scan) -> frozenset[Need]:
    """Return what the new ``head`` and the body need; what was removed from the old ``header`` needs nothing."""
    if not head.isascii():
        return frozenset({Need.SMTPUTF8, Need.EIGHTBITMIME})
    body_is_ascii = found.octets_beyond_ascii == octets_beyond_ascii(header)
    return frozenset() if body_is_ascii else frozenset({Need.EIGHTBITMIME})


class _Stream:
    """The file as lines, as often as wanted; a small one is held in memory."""

    def __init__(self, source: Source, content: bytes | None, *, unstuff: bool, is_guess: bool = False) -> None:
        self._source = source
        self._content = content
        self._unstuff = unstuff
        self.is_guess = is_guess  # nobody said that the dots are stuffed
        self.scan = scan(self.lines())

    @classmethod
    def open(cls, source: Source, dialect: Dialect) -> _Stream:
        content = source.read() if source.size <= _IN_MEMORY_OCTETS else None
        stream = cls(source, content, unstuff=dialect is Dialect.IIS)
        if dialect is Dialect.AUTO and stream.scan.is_dot_stuffed:
            return cls(source, content, unstuff=True, is_guess=True)
        return stream

    def raw(self) -> Iterator[bytes]:
        """Return the file as it is."""
        return self._source.chunks(SLICE_OCTETS) if self._content is None else iter([self._content])

    def lines(self) -> Iterator[bytes]:
        """Return what is to be sent of it, still with the fields that will go."""
        return normalized(self.raw(), unstuff=self._unstuff)

    def rest(self, skip: int) -> tuple[Body, ...]:
        """Return what lies behind the first ``skip`` octets."""
        if self._content is not None:
            return (Octets(b"".join(self.lines())[skip:]),)
        size = max(0, self.scan.size - skip)
        return (LinesFile(source=self._source, size=size, skip=skip, unstuff=self._unstuff),)


class _Reading:
    """One message being judged; collects every problem."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self._name = printable(source.name)
        self._limits = limits
        self._problems: list[Problem] = []

    def add(self, what: str, hint: str = "", *, field: str = "") -> None:
        where = f"{self._name}: {field}" if field else self._name
        self._problems.append(Problem(where=where, what=what, hint=hint))

    def raise_problems(self) -> None:
        if self._problems:
            raise InvalidJob(self._name, self._problems)

    def judge_size(self, octets: int) -> None:
        """Refuse a file unread that can't become small enough, even if every second octet were a stuffed dot."""
        if octets > 2 * self._limits.message_octets:
            self.add(f"has {octets} octets; at most {self._limits.message_octets} are allowed")
            self.raise_problems()

    def judge(self, stream: _Stream) -> None:
        """Judge what can be seen without knowing fields."""
        found = stream.scan
        if _TWICE_CONVERTED.match(next(stream.raw(), b"")):
            what = "its lines end in CR CR LF: line ends were converted twice"
            self.add(what, "copy it in binary mode; CRLF, LF or CR ends a line")
            self.raise_problems()
        if found.size > self._limits.message_octets:
            self.add(f"has {found.size} octets; at most {self._limits.message_octets} are allowed")
        if found.has_nul:
            self.add("contains a NUL, which no message may", "encode binary content as base64")
        if found.longest > LINE_OCTETS:
            self.add(
                f"has a line of {found.longest} octets; a message has at most {LINE_OCTETS}",
                "encode the part as quoted-printable or base64",
            )

    def header_section(self, lines: Iterator[bytes]) -> tuple[bytes, int]:
        """Return the header section, each line with its CRLF, and how many octets it takes with the empty line."""
        section = bytearray()
        for chunk in lines:
            start = max(0, len(section) - 3)
            section += chunk
            end = section.find(b"\r\n\r\n", start)
            if section.startswith(b"\r\n"):
                return b"", 2
            if 0 <= end <= HEADER_OCTETS:
                return bytes(section[: end + 2]), end + 4
            if len(section) > HEADER_OCTETS:
                self.add(f"the header section has more than {HEADER_OCTETS} octets", "an empty line ends it")
                self.raise_problems()
        return bytes(section), len(section)

    def fields(self, header: bytes) -> list[Field]:
        try:
            return parse_fields(header)
        except FieldError as error:
            self.add(str(error), error.hint)
            self.raise_problems()
            raise

    def added(self, kept: list[Field], identity: Identity) -> dict[str, bytes]:
        """Return the fields that every message has and this one lacks."""
        names = {field.name for field in kept}
        added = {}
        if "date" not in names:
            added["date"] = date_field("Date", identity.date)
        if "message-id" not in names:
            added["message-id"] = id_field("Message-ID", (identity.message_id,))
        return added

    def judge_fields(self, block: list[Field], kept: list[Field]) -> None:
        """Judge what is in the fields."""
        authors = [field for field in kept if field.name == "from"]
        if not authors:
            self.add("there is no From field", "write From: Name <user@example.com>")
        elif len(authors) > 1:
            self.add(f"there are {len(authors)} From fields; expected one")
        elif not authors[0].value:
            self.add("has no address; expected the author", field="From")
        for field in (*block, *kept):
            if not field.is_utf8:
                self.add("has octets that are neither ASCII nor UTF-8", "encode them (RFC 2047)", field=field.title)

    def judge_signatures(self, kept: list[Field], changed: AbstractSet[str], stream: _Stream) -> None:
        """Judge whether a signature forbids what has to change."""
        for title, what, hint in signature_faults(kept, changed, raw=stream.raw, is_guess=stream.is_guess):
            self.add(what, hint, field=title)

    def delivery(self, fields: list[Field], block: list[Field], overrides: Overrides, defaults: Defaults) -> Delivery:
        """Find the envelope: what the job says, else the block at the top, else From, To, Cc and Bcc."""
        reverse, forward = overrides.reverse_path, overrides.forward_paths
        if reverse is None:
            reverse = self._reverse_path(fields, block)
        if forward is None:
            forward = self._forward_paths(fields, block)
        return Delivery(
            reverse_path=reverse,
            forward_paths=forward,
            relays=overrides.relays,
            not_before=overrides.not_before,
            expires=overrides.expires,
            priority=overrides.priority,
            in_doubt=overrides.in_doubt or defaults.in_doubt,
            partial=overrides.partial or defaults.partial,
            notify=overrides.notify,
            envelope_id=overrides.envelope_id,
            returned=overrides.returned,
            meta=overrides.meta,
        )

    def _reverse_path(self, fields: list[Field], block: list[Field]) -> str:
        senders = [field for field in block if field.name == "x-sender"]
        if len(senders) > 1:
            self.add(f"there are {len(senders)} X-Sender fields; expected one")
        if senders:
            return "" if senders[0].value == "<>" else self._envelope_address(senders[0])
        authors = [mailbox for field in fields if field.name == "from" for mailbox in self._mailboxes(field)]
        if len(authors) > 1:
            deputies = [mailbox for field in fields if field.name == "sender" for mailbox in self._mailboxes(field)]
            authors = deputies or authors
        if not authors and not self._problems:
            self.add("has no address; expected the author", field="From")
        return authors[0].address if authors else ""

    def _forward_paths(self, fields: list[Field], block: list[Field]) -> tuple[str, ...]:
        receivers = [field for field in block if field.name == "x-receiver"]
        if receivers:
            paths = [self._envelope_address(field) for field in receivers]
        else:
            lists = [field for field in fields if field.name in ("to", "cc", "bcc")]
            paths = [mailbox.address for field in lists for mailbox in self._mailboxes(field)]
        unique = unique_paths(paths)
        if not unique and not self._problems:
            self.add("there are no recipients", "write To, Cc, Bcc or X-Receiver")
        if len(unique) > self._limits.recipients:
            self.add(f"has {len(unique)} recipients; at most {self._limits.recipients} are allowed")
        return unique

    def _mailboxes(self, field: Field) -> tuple[Mailbox, ...]:
        try:
            return parse_mailbox_list(field.value, obsolete=True) if field.value else ()
        except AddressError as error:
            self.add(str(error), field=field.title)
            return ()

    def _envelope_address(self, field: Field) -> str:
        try:
            return parse_mailbox(field.value).address
        except AddressError as error:
            self.add(str(error), field=field.title)
            return ""


def _top_block(fields: list[Field]) -> list[Field]:
    """Return the unbroken run of X-Sender and X-Receiver at the very top."""
    count = 0
    while count < len(fields) and fields[count].name in _ENVELOPE_FIELDS:
        count += 1
    return fields[:count]


def _value(fields: list[Field], name: str) -> str:
    return next((field.value for field in fields if field.name == name), "")
