"""A mail between the file that asks for it and the octets that carry it: plain values, and the limits they keep.

Nothing here validates: `envelope` and `pickup` make these values and have checked them before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from maildrop.mail.address import Mailbox


class InDoubt(StrEnum):
    """What to do when the line was lost behind the final dot."""

    RESEND = "resend"
    HOLD = "hold"
    ASSUME_SENT = "assume-sent"


class Partial(StrEnum):
    """Whether one refused recipient keeps the mail from the others."""

    DELIVER = "deliver"
    ALL_OR_NOTHING = "all-or-nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a job may ask for at most; the octets of a message are those before dot-stuffing."""

    envelope_octets: int = 65536
    recipients: int = 1000
    files: int = 100
    message_octets: int = 50 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the configuration says for jobs that do not say it themselves."""

    author: Mailbox | None = None
    reply_to: tuple[Mailbox, ...] = ()
    charset: str = "utf-8"
    in_doubt: InDoubt | None = None
    partial: Partial = Partial.DELIVER
    text_from_html: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How the mail travels: paths in wire form, the forward-paths unique and in the order of their first mention.

    A ``timedelta`` counts from the claim; a ``datetime`` is aware. ``notify``, ``envelope_id`` and ``returned``
    (``headers`` or ``full``) are about delivery status notifications (RFC 3461).
    """

    reverse_path: str
    forward_paths: tuple[str, ...]
    relays: tuple[str, ...] = ()
    not_before: datetime | timedelta | None = None
    expires: datetime | timedelta | None = None
    priority: int = 0
    in_doubt: InDoubt | None = None
    partial: Partial = Partial.DELIVER
    notify: tuple[str, ...] = ()
    envelope_id: str | None = None
    returned: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What an `envelope.toml` beside a finished message says about its delivery; ``None`` is "not said"."""

    reverse_path: str | None = None
    forward_paths: tuple[str, ...] | None = None
    relays: tuple[str, ...] = ()
    not_before: datetime | timedelta | None = None
    expires: datetime | timedelta | None = None
    priority: int = 0
    in_doubt: InDoubt | None = None
    partial: Partial | None = None
    notify: tuple[str, ...] = ()
    envelope_id: str | None = None
    returned: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyFile:
    """A text file of the job (relative name) and the character set it is written in."""

    path: str
    charset: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One more form of the text; ``type`` without parameters, ``method`` (of a calendar) as the envelope says it."""

    path: str
    type: str
    charset: str
    method: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file of the job that is sent bit for bit under ``name``; without a ``type`` the name decides.

    ``content_id`` has no angle brackets. ``inline`` shows the file inside the text, if the text is HTML.
    """

    path: str
    name: str
    type: str | None = None
    charset: str | None = None
    description: str = ""
    inline: bool = False
    content_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What the message says; identifiers with their angle brackets. There is no Bcc here: it never is written.

    ``companions`` are the files of the job that the HTML may refer to. ``flowed`` sends the plain text as paragraphs
    that a client may wrap anew (RFC 3676); ``text_from_html`` makes a plain text where there is none.
    """

    author: Mailbox
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    sender: Mailbox | None = None
    subject: str = ""
    text: BodyFile | None = None
    html: BodyFile | None = None
    alternatives: tuple[Alternative, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    companions: frozenset[str] = frozenset()
    flowed: bool = False
    text_from_html: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    message_id: str | None = None
    date: datetime | None = None
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    importance: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One job: where it goes, and what it says."""

    delivery: Delivery
    content: Content
