"""The whole message: the tree of parts, its identity, its size, its octets, and what a relay must offer to take it.

RFC 5322 and MIME. `compose` reads the text files; attachments are read only by `chunks()`, each time anew. The same
content and identity give the same octets, so that a retry is the same mail. Nothing here asks for the time or for
random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from maildrop.errors import InvalidJob, Problem, printable
from maildrop.mail.header import address_field, date_field, id_field, parameter_field, text_field
from maildrop.mail.model import BodyFile, Content, Limits
from maildrop.mail.part import Body, Octets, Part, Source, attachment_part, text_part

_CHUNK_OCTETS = 64 * 1024  # smaller pieces are joined: each chunk costs a system call
_PRIORITY = {"high": "1", "normal": "3", "low": "5"}  # X-Priority, which Outlook and its kin read

OpenSource = Callable[[str], Source]


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
    forms, problems = _forms(content, identity, open_source, limits)
    parts: list[Part] = []
    for attachment in content.attachments:
        try:
            source = open_source(attachment.path)
            parts.append(attachment_part(source, attachment, boundary=identity.boundary))
        except InvalidJob as refusal:
            problems += refusal.problems
    if problems:
        raise InvalidJob(where, problems)
    header = _header(content, identity)
    part = forms[0] if len(forms) == 1 else _multipart("alternative", forms, identity)
    if parts:
        part = _multipart("mixed", [part, *parts], identity)
    bodies: tuple[Body, ...] = (Octets(header + part.header + b"\r\n"), *_flat(part.body))
    size = sum([body.size for body in bodies])
    if size > limits.message_octets:
        raise InvalidJob(where, [_too_large(size, limits, where)])
    needs = frozenset({Need.SMTPUTF8}) if _needs_smtputf8(content) else frozenset()
    return Message(message_id=content.message_id or identity.message_id, size=size, needs=needs, bodies=bodies)


@dataclass(frozen=True, slots=True)
class _Joined:
    """Several bodies one behind the other."""

    bodies: tuple[Body, ...]

    @property
    def size(self) -> int:
        return sum(body.size for body in self.bodies)

    def chunks(self) -> Iterator[bytes]:
        for body in self.bodies:
            yield from body.chunks()


def _flat(body: Body) -> tuple[Body, ...]:
    return body.bodies if isinstance(body, _Joined) else (body,)


def _forms(
    content: Content, identity: Identity, open_source: OpenSource, limits: Limits
) -> tuple[list[Part], list[Problem]]:
    """Return the forms of the text, plain first (the last one is preferred, RFC 2046 5.1.4); none is an empty text."""
    forms: list[Part] = []
    problems: list[Problem] = []
    files: tuple[tuple[str, BodyFile | None], ...] = (("plain", content.text), ("html", content.html))
    for subtype, file in files:
        if file is None:
            continue
        try:
            source = open_source(file.path)
            if source.size > limits.message_octets:
                problems.append(_too_large(source.size, limits, printable(file.path)))
                continue
            part = text_part(source, subtype=subtype, charset=file.charset, boundary=identity.boundary)
            forms.append(part)
        except InvalidJob as refusal:
            problems += refusal.problems
    if not forms:
        header = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n"
        forms.append(Part(header=header, body=Octets(b"")))
    return forms, problems


def _too_large(size: int, limits: Limits, where: str) -> Problem:
    what = f"{size} octets are too large for a message; at most {limits.message_octets} are allowed"
    return Problem(where=where, what=what, hint="send a link, or fewer files in one mail")


def _multipart(subtype: str, parts: Sequence[Part], identity: Identity) -> Part:
    """Enclose parts; ``=_`` in the boundary can't occur in base64 or quoted-printable (RFC 2045 6.7)."""
    boundary = f"=_{subtype}_{identity.boundary}"
    bodies: list[Body] = []
    delimiter = f"--{boundary}\r\n".encode("ascii")
    for part in parts:
        bodies += [Octets(delimiter + part.header + b"\r\n"), *_flat(part.body)]
        delimiter = f"\r\n--{boundary}\r\n".encode("ascii")
    bodies.append(Octets(f"\r\n--{boundary}--\r\n".encode("ascii")))
    header = parameter_field("Content-Type", f"multipart/{subtype}", {"boundary": boundary})
    return Part(header=header, body=_Joined(tuple(bodies)))


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
