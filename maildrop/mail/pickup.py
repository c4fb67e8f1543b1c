"""A finished message: who sends it to whom, what has to go before it may leave, and whether it is legal at all.

The pickup-folder convention (IIS, Exchange, .NET, CDO): an unbroken block of `X-Sender`, `X-Receiver` at the very top
is the envelope. That block and `Bcc` are removed, `Date` and `Message-ID` are added where they are missing, line ends
become CRLF; nothing else changes. RFC 5322 for fields, RFC 6376 for signatures that forbid a removal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from maildrop.errors import InvalidJob, Problem, printable
from maildrop.mail.address import AddressError, Mailbox, parse_mailbox, parse_mailbox_list
from maildrop.mail.fieldlist import Field, FieldError, parse_fields
from maildrop.mail.header import LINE_OCTETS, date_field, decode_words, id_field
from maildrop.mail.keys import unique_paths
from maildrop.mail.lines import SLICE_OCTETS, Scan, normalized, scan
from maildrop.mail.message import Identity, Message, Need
from maildrop.mail.model import Defaults, Delivery, Limits, Overrides
from maildrop.mail.part import Body, LinesFile, Octets, Source

HEADER_OCTETS = 256 * 1024  # of a header section; the largest relays take half of it
_IN_MEMORY_OCTETS = 256 * 1024  # smaller files are read once
_SUBJECT_CHARACTERS = 998  # shown in lists and logs
_ENVELOPE_FIELDS = ("x-sender", "x-receiver")


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
    stream = _Stream.open(source, dialect)
    reading.judge(stream.scan)
    header, skip = reading.header_section(stream.lines())
    fields = reading.fields(header)
    block = _top_block(fields)
    gone = [*block, *(field for field in fields if field.name == "bcc")]
    kept = [field for field in fields[len(block) :] if field.name != "bcc"]
    added = reading.added(kept, identity)
    reading.judge_fields(kept, {field.name for field in gone} | added.keys())
    delivery = reading.delivery(fields, block, overrides or Overrides(), defaults)
    reading.raise_problems()
    head = b"".join([field.octets for field in kept]) + b"".join(added.values()) + b"\r\n"
    bodies: tuple[Body, ...] = (Octets(head), *stream.rest(skip))
    message = Message(
        message_id=printable(_value(kept, "message-id")) or identity.message_id,
        size=sum(body.size for body in bodies),
        needs=_needs(head, is_ascii=stream.scan.is_ascii),
        bodies=bodies,
    )
    subject = decode_words(_value(kept, "subject")[:_SUBJECT_CHARACTERS])
    return Pickup(delivery=delivery, message=message, subject=subject)


def _needs(head: bytes, *, is_ascii: bool) -> frozenset[Need]:
    needs = set() if head.isascii() else {Need.SMTPUTF8}
    return frozenset(needs if is_ascii else {*needs, Need.EIGHTBITMIME})


class _Stream:
    """The file as lines, as often as wanted; a small one is held in memory."""

    def __init__(self, source: Source, content: bytes | None, *, unstuff: bool) -> None:
        self._source = source
        self._content = content
        self._unstuff = unstuff
        self.scan = scan(self.lines())

    @classmethod
    def open(cls, source: Source, dialect: Dialect) -> _Stream:
        content = source.read() if source.size <= _IN_MEMORY_OCTETS else None
        stream = cls(source, content, unstuff=dialect is Dialect.IIS)
        if dialect is Dialect.AUTO and stream.scan.is_dot_stuffed:
            return cls(source, content, unstuff=True)
        return stream

    def lines(self) -> Iterator[bytes]:
        chunks: Iterable[bytes]
        chunks = self._source.chunks(SLICE_OCTETS) if self._content is None else [self._content]
        return normalized(chunks, unstuff=self._unstuff)

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

    def judge(self, found: Scan) -> None:
        """Judge what can be seen without knowing fields."""
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
            if end >= 0:
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

    def judge_fields(self, kept: list[Field], changed: AbstractSet[str]) -> None:
        """Judge what is in the fields, and whether a signature forbids what has to change."""
        authors = sum(field.name == "from" for field in kept)
        if not authors:
            self.add("there is no From field", "write From: Name <user@example.com>")
        if authors > 1:
            self.add(f"there are {authors} From fields; expected one")
        for field in kept:
            if not field.is_utf8:
                self.add("has octets that are neither ASCII nor UTF-8", "encode them (RFC 2047)", field=field.title)
        for field in kept:
            broken = sorted(changed & field.signed_names())
            if broken:
                what = f"the signature covers {', '.join(broken)}, which would have to be removed or added"
                self.add(what, "sign the message as it is to be sent", field=field.title)

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
            meta=overrides.meta,
        )

    def _reverse_path(self, fields: list[Field], block: list[Field]) -> str:
        senders = [field for field in block if field.name == "x-sender"]
        if len(senders) > 1:
            self.add(f"there are {len(senders)} X-Sender fields; expected one")
        if senders:
            return "" if senders[0].value in ("<>", "") else self._envelope_address(senders[0])
        authors = [mailbox for field in fields if field.name == "from" for mailbox in self._mailboxes(field)]
        if len(authors) > 1:
            deputies = [mailbox for field in fields if field.name == "sender" for mailbox in self._mailboxes(field)]
            authors = deputies or authors
        if not authors and any(field.name == "from" for field in fields) and not self._problems:
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
