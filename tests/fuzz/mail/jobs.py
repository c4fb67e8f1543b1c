"""Jobs as producers might drop them, each with everything that its message has to say.

`generate` draws all from one ``random.Random``: hypothesis hands in one whose draws it can shrink, the long run one
made of a seed. What is rare and heavy is rare here too, so that a million messages are done in hours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

import tomli_w

from maildrop.mail.message import Identity
from tests.fuzz.mail import attached, people, strings
from tests.fuzz.mail.draft import Draft
from tests.fuzz.mail.expectation import Expectation, Wanted
from tests.fuzz.mail.forms import forms
from tests.fuzz.mail.strings import drawn

_DOMAINS = ("host.example", "x", "a-very-long-name-of-a-host.in-a-long-domain.example")
_PRIORITY = {"high": "1", "normal": "3", "low": "5"}
_FIELD_NAMES = (
    "X-Mailer",
    "X-One",
    "List-Unsubscribe",
    "Organization",
    "x",
    "X-" + "Long-" * 13 + "N",
    "Keywords",
    "!",
)
DEFAULT_DATE = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An envelope with its files, the identity of its message, and what the message has to say."""

    table: dict[str, Any]
    files: dict[str, bytes]
    identity: Identity
    expected: Expectation

    @property
    def envelope(self) -> bytes:
        """The octets of `envelope.toml`."""
        return tomli_w.dumps(self.table).encode()


def generate(random: Random) -> Job:
    """Draw one job."""
    draft = Draft(random, f"{random.randrange(1 << 32):08x}" * 4, utf8=drawn(random, 6))
    message_id = f"<{draft.stem}@{random.choice(_DOMAINS)}>"
    identity = Identity(message_id=message_id, date=DEFAULT_DATE, boundary=draft.stem)
    _date(draft)
    _people(draft)
    _subject(draft)
    _identifiers(draft, identity)
    _more_fields(draft)
    root = _parts(draft)
    expected = Expectation(fields=tuple(draft.fields), root=root, utf8=draft.is_utf8)
    return Job(table=draft.table, files=draft.files, identity=identity, expected=expected)


def _date(draft: Draft) -> None:
    date = DEFAULT_DATE
    if drawn(draft.random, 5):
        minutes = draft.random.choice((0, 60, -330, 345, 840, -720, 1439, -1439))
        zone = timezone(timedelta(minutes=minutes))
        second = draft.random.randrange(1 << 31)
        date = datetime(1950, 1, 1, tzinfo=zone) + timedelta(seconds=second)
        draft.table["date"] = date
    draft.fields.append(("Date", date))


def _people(draft: Draft) -> None:
    random = draft.random
    author = people.person(random, utf8=draft.utf8)
    draft.table["from"] = author.table if random.randrange(2) else author.text
    _add_people(draft, "From", [author])
    if drawn(random, 8):
        sender = people.person(random, utf8=draft.utf8)
        draft.table["sender"] = sender.table
        _add_people(draft, "Sender", [sender])
    for key, name, most in (("reply_to", "Reply-To", 2), ("to", "To", 4), ("cc", "Cc", 3)):
        if key == "to" or drawn(random, 4):
            group = people.crowd(random, most=most, utf8=draft.utf8)
            if group:
                draft.table[key] = people.written(random, group)
                _add_people(draft, name, group)
    if "to" not in draft.table or drawn(random, 5):
        draft.table["bcc"] = "hidden-recipient@bcc.example"


def _add_people(draft: Draft, name: str, group: list[people.Person]) -> None:
    draft.fields.append((name, [one.expected for one in group]))
    draft.is_utf8 = draft.is_utf8 or not all(one.local.isascii() for one in group)


def _subject(draft: Draft) -> None:
    subject = strings.line(draft.random, words=8)
    if subject:
        draft.table["subject"] = f" {subject} " if drawn(draft.random, 10) else subject
        draft.fields.append(("Subject", subject))


def _identifiers(draft: Draft, identity: Identity) -> None:
    random = draft.random
    own = identity.message_id
    if drawn(random, 8):
        bare = strings.identifier(random)
        own = f"<{bare}>"
        draft.table["message_id"] = random.choice((bare, own))
    draft.fields.append(("Message-ID", (own,)))
    draft.domain = own[:-1].rpartition("@")[2]
    for key, name, most in (("in_reply_to", "In-Reply-To", 2), ("references", "References", 8)):
        if not drawn(random, 5):
            continue
        count = 60 if key == "references" and drawn(random, 40) else random.randrange(1, most + 1)
        ids = [f"<{strings.identifier(random)}>" for _ in range(count)]
        draft.table[key] = random.choice((ids, " ".join(ids)))
        draft.fields.append((name, tuple(ids)))


def _more_fields(draft: Draft) -> None:
    random = draft.random
    if drawn(random, 6):
        importance = random.choice(tuple(_PRIORITY))
        draft.table["importance"] = importance
        draft.fields += [("Importance", importance), ("X-Priority", _PRIORITY[importance])]
    if drawn(random, 4):
        headers: dict[str, object] = {}
        names = random.sample(_FIELD_NAMES, random.randrange(1, 3))
        if drawn(random, 3):
            names.append("X-" + "n" * random.randrange(3, 69))
        for name in names:
            values = [strings.line(random, words=12) for _ in range(random.randrange(1, 3))]
            headers[name] = values if len(values) > 1 else values[0]
            draft.fields += [(name, value) for value in values]
        draft.table["headers"] = headers
    draft.fields.append(("MIME-Version", "1.0"))


def _parts(draft: Draft) -> Wanted:
    """Write the files; returns the tree that has to come of them."""
    files = _attachments(draft)
    companions = [attached.companion(draft.random, index) for index in range(draft.random.choice((0, 0, 1, 2)))]
    draft.files |= {one.path: one.octets for one in (*files, *companions)}
    root, shown = forms(draft, [*files, *companions])
    by_path = {one.path: one for one in (*files, *companions)}
    if "html" in draft.table or "body.html" in draft.files:
        named = [one.path for one in files if one.table.get("inline") and "content_id" in one.table]
        shown += [path for path in named if path not in shown]
        rest = [one for one in files if one.path not in shown]
    else:
        rest = files
    if shown:
        suffix = f".{draft.stem}@{draft.domain}"
        inline = [
            replace(
                by_path[path].wanted,
                disposition="inline",
                content_id=by_path[path].table.get("content_id") or f"{number}{suffix}",
            )
            for number, path in enumerate(shown, start=1)
        ]
        root = Wanted(type="multipart/related", parameters={"type": root.type}, children=(root, *inline))
    return Wanted(type="multipart/mixed", children=(root, *[one.wanted for one in rest])) if rest else root


def _attachments(draft: Draft) -> list[attached.Attached]:
    """Draw the files to attach, in their order, and list them in the envelope if they do not lie in the folder."""
    random = draft.random
    count = random.choice((0, 0, 0, 1, 1, 2, 3))
    if not count:
        return []
    if drawn(random, 3):
        found = [attached.from_folder(random, index, stem=draft.stem) for index in range(count)]
        return sorted(found, key=lambda one: one.path)
    found = [attached.attached(random, index, stem=draft.stem) for index in range(count)]
    found = [attached.bare(one) if drawn(random, 10) else one for one in found]
    draft.table["attachments"] = [one.table if len(one.table) > 1 else one.path for one in found]
    return found
