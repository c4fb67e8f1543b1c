"""The whole message: the tree of parts, its identity, its size, its octets, and what a relay must offer to take it.

RFC 5322 and MIME. `compose` reads the text files; attachments are read only by `chunks()`, each time anew. The same
content and identity give the same octets, so that a retry is the same mail. Nothing here asks for the time or for
random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from maildrop.errors import InvalidJob
from maildrop.mail.header import address_field, date_field, id_field, text_field
from maildrop.mail.model import Content, Limits
from maildrop.mail.part import Body, Octets, flat
from maildrop.mail.structure import OpenSource, Structure, too_large

_CHUNK_OCTETS = 64 * 1024  # smaller pieces are joined: each chunk costs a system call
_PRIORITY = {"high": "1", "normal": "3", "low": "5"}  # X-Priority, which Outlook and its kin read


class Need(StrEnum):
    """An SMTP extension without which a message can't travel."""

    SMTPUTF8 = "SMTPUTF8"
    EIGHTBITMIME = "8BITMIME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What makes each attempt the same mail: Message-ID with its brackets, an aware date, the stem of boundaries."""

    message_id: str
    date: datetime
    boundary: str


def new_identity(*, domain: str, now: datetime, token: str) -> Identity:
    """Make an identity from the caller's clock and random ``token`` (hexadecimal)."""
    return Identity(message_id=f"<{token}@{domain}>", date=now.replace(microsecond=0), boundary=token[:32])


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Octets ready to go; ``size`` counts them with ``signature`` and the last CRLF, before dot-stuffing.

    ``signature`` is a header field that goes out first: no part of what was written, so it may differ between attempts.
    """

    message_id: str
    size: int
    needs: frozenset[Need]
    bodies: tuple[Body, ...]
    signature: bytes = b""

    def chunks(self) -> Iterator[bytes]:
        """Yield the message, the same octets each time; a small one in one chunk. Raises SourceChanged."""
        gathered = [self.signature] if self.signature else []
        octets = len(self.signature)
        for body in self.bodies:
            for chunk in body.chunks():
                gathered.append(chunk)
                octets += len(chunk)
                if octets >= _CHUNK_OCTETS:
                    yield b"".join(gathered)
                    gathered, octets = [], 0
        if gathered:
            yield b"".join(gathered)


def compose(
    mail_content: Content,
    identity: Identity,
    *,
    open_source: OpenSource,
    limits: Limits,
    where: str = "envelope.toml",
) -> Message:
    """Build the message; raises InvalidJob with every problem of its files. Content's own id and date win."""
    content = mail_content
    message_id = content.message_id or identity.message_id
    domain = message_id.rpartition("@")[2].rstrip(">")
    structure = Structure(
        content=content, stem=identity.boundary, domain=domain, open_source=open_source, limits=limits
    )
    part = structure.root()
    if structure.problems:
        raise InvalidJob(where, structure.problems)
    header = _header(content, identity)
    bodies: tuple[Body, ...] = (Octets(header + part.header + b"\r\n"), *flat(part.body))
    size = sum([body.size for body in bodies])
    if size > limits.message_octets:
        raise InvalidJob(where, [too_large(size, limits, where)])
    needs = frozenset({Need.SMTPUTF8}) if _needs_smtputf8(content) else frozenset()
    return Message(message_id=message_id, size=size, needs=needs, bodies=bodies)


def _header(content: Content, identity: Identity) -> bytes:
    """Write the header section up to the first ``Content-`` field."""
    fields = [
        date_field("Date", content.date or identity.date),
        address_field("From", (content.author,)),
        address_field("Sender", (content.sender,)) if content.sender is not None else b"",
        address_field("Reply-To", content.reply_to) if content.reply_to else b"",
        address_field("To", content.to) if content.to else b"",
        address_field("Cc", content.cc) if content.cc else b"",
        text_field("Subject", content.subject) if content.subject else b"",
        id_field("Message-ID", (content.message_id or identity.message_id,)),
        id_field("In-Reply-To", content.in_reply_to) if content.in_reply_to else b"",
        id_field("References", content.references) if content.references else b"",
    ]
    if content.importance is not None:
        fields.append(f"Importance: {content.importance}\r\n".encode("ascii"))
        fields.append(f"X-Priority: {_PRIORITY[content.importance]}\r\n".encode("ascii"))
    fields += [text_field(name, value) for name, value in content.headers]
    fields.append(b"MIME-Version: 1.0\r\n")
    return b"".join(fields)


def _needs_smtputf8(content: Content) -> bool:
    """Whether a header field holds a local part that is not ASCII."""
    people = (content.author, content.sender, *content.reply_to, *content.to, *content.cc)
    return any(person is not None and person.needs_smtputf8 for person in people)
