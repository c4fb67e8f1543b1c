"""What is legal and still wrong: warnings about a mail that would be sent, each with the key or file and the way out.

For a person who asks before sending; nothing here keeps a mail from going. Which relay takes it is not known here.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from maildrop.errors import Problem, printable
from maildrop.mail import calendar
from maildrop.mail.html import declared_charset, images_without_words
from maildrop.mail.model import BodyFile, Content
from maildrop.mail.part import read_text
from maildrop.mail.related import Related
from maildrop.mail.structure import OpenSource

USUAL_LIMIT_OCTETS = 25 * 1000 * 1000  # of a whole message, at most large providers
_SHOWN = 5  # names in one warning; more would hide the others


def advise(content: Content, *, size: int, open_source: OpenSource) -> Iterator[Problem]:
    """Yield the warnings about a mail that composes to ``size`` octets; ``open_source`` opens what it has opened."""
    if not content.subject:
        what, hint = "is missing or empty", "write what the mail is about; filters distrust mail without it"
        yield Problem(where="envelope.toml: subject", what=what, hint=hint)
    if content.html is not None and content.text is None and not content.text_from_html:
        what, hint = "has no plain text beside it", "add a body.txt, or set text_from_html = true"
        yield Problem(where="envelope.toml: html", what=what, hint=hint)
    if size > USUAL_LIMIT_OCTETS:
        yield _large(content, size, open_source)
    if content.html is not None:
        yield from _about_html(content, content.html, open_source)
    yield from _about_calendars(content, open_source)


def _large(content: Content, size: int, open_source: OpenSource) -> Problem:
    sizes = {attachment.path: open_source(attachment.path).size for attachment in content.attachments}
    largest = max(sizes, key=sizes.__getitem__, default="")
    place = f"envelope.toml: attachments: {printable(largest)}" if largest else "job"
    what = f"the message has {size / 1e6:.0f} MB; many servers take at most {USUAL_LIMIT_OCTETS / 1e6:.0f} MB"
    return Problem(where=place, what=what, hint="send a link, or a compressed file, or several mails")


def _about_html(content: Content, file: BodyFile, open_source: OpenSource) -> Iterator[Problem]:
    html = read_text(open_source(file.path), file.charset).decode()
    said = declared_charset(html)
    if said is not None and not html.isascii() and not _same_charset(said, file.charset):
        what = f"says charset={printable(said, limit=60)}, but is read as {file.charset}"
        yield Problem(where=printable(file.path), what=what, hint="set charset to what it is written in")
    missing = Related(content, stem="", domain="").missing(html)
    for reference in missing[:_SHOWN]:
        what = f"refers to '{printable(reference, limit=100)}', which is not in the job"
        yield Problem(where=printable(file.path), what=what, hint="put the file into the job's folder")
    wordless = images_without_words(html)
    if wordless:
        names = ", ".join(f"'{printable(src, limit=60)}'" for src in dict.fromkeys(wordless[:_SHOWN]))
        what = f"{len(wordless)} image{'s'[: len(wordless) > 1]} without alt ({names})"
        hint = 'say in alt="…" what it shows; alt="" if it is decoration'
        yield Problem(where=printable(file.path), what=what, hint=hint)


def _same_charset(one: str, other: str) -> bool:
    """Whether two names mean the same; in HTML, iso-8859-1 means cp1252 (WHATWG Encoding 4.2)."""
    names = []
    for name in (one, other):
        try:
            found = codecs.lookup(name).name
            names.append("cp1252" if found == "iso8859-1" else found)
        except LookupError:
            names.append(name.lower())
    return names[0] == names[1]


def _about_calendars(content: Content, open_source: OpenSource) -> Iterator[Problem]:
    for form in content.alternatives:
        if form.type.lower() != calendar.MEDIA_TYPE:
            continue
        octets = calendar.read_calendar(open_source(form.path), form.charset)
        if calendar.method_of(octets.decode()) is None:
            what, hint = "has no METHOD: clients show no buttons", "write METHOD:REQUEST to invite (RFC 5546)"
            yield Problem(where=printable(form.path), what=what, hint=hint)
