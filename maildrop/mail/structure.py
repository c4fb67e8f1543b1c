"""The tree of parts: the forms of the text, the files shown inside it, the files attached to it (RFC 2046, RFC 2387).

    multipart/mixed
        multipart/related                 if the HTML shows files of the job
            multipart/alternative         if the text has several forms: plain, others, HTML, calendar
            the files shown inside
        the files attached

Each level is there only where it is needed, nested as clients expect. The last form that a client knows is the one it
shows (RFC 2046 5.1.4), so the richest come last. What the header section says is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from maildrop.errors import InvalidJob, Problem, printable
from maildrop.mail import calendar, plaintext
from maildrop.mail.flowed import flowed
from maildrop.mail.header import parameter_field
from maildrop.mail.model import Alternative, Attachment, BodyFile, Content, Limits
from maildrop.mail.part import (
    Joined,
    Octets,
    Part,
    Source,
    attachment_part,
    file_part,
    flat,
    is_text,
    read_text,
    text_part,
)
from maildrop.mail.related import Related

OpenSource = Callable[[str], Source]

_EMPTY = Part(
    header=b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n", body=Octets(b"")
)
_MOST_FLOWED = 1024 * 1024  # octets of a text that is cut anew; cutting takes a microsecond for each
_FLOWED = {"format": "flowed"}
_FIXED: Mapping[str, str] = {}


@dataclass(slots=True, kw_only=True)
class Structure:
    """Builds the tree of one message; ``stem`` and ``domain`` make boundaries and Content-IDs, the same each time."""

    content: Content
    stem: str
    domain: str
    open_source: OpenSource
    limits: Limits
    problems: list[Problem] = field(default_factory=list)
    methods: dict[str | None, str] = field(default_factory=dict)

    def root(self) -> Part:
        """Return the outermost part. Raises nothing for a bad file: ``problems`` has them all then."""
        content = self.content
        related = Related(content, stem=self.stem, domain=self.domain) if content.html is not None else None
        forms = self._forms(related)
        inline = related.files() if related is not None else ()
        shown = {attachment.path for attachment in inline}
        attached = [attachment for attachment in content.attachments if attachment.path not in shown]
        part = forms[0] if len(forms) == 1 else self._multipart("alternative", forms)
        if inline:
            kind = part.header[: part.header.find(b";")].decode("ascii").removeprefix("Content-Type: ")
            part = self._multipart("related", [part, *self._files(inline)], type=kind)
        if attached:
            part = self._multipart("mixed", [part, *self._files(attached)])
        if related is not None:
            self.problems += related.problems
        return part

    def _forms(self, related: Related | None) -> list[Part]:
        """Return the forms of the text, the richest last; none at all is an empty text."""
        content = self.content
        text, html = self._body(content.text), self._body(content.html)
        forms = [self._plain(text, html)]
        others = [item for item in content.alternatives if item.type.lower() != calendar.MEDIA_TYPE]
        calendars = [item for item in content.alternatives if item.type.lower() == calendar.MEDIA_TYPE]
        forms += [self._alternative(item) for item in others]
        if html is not None:
            octets = related.rewritten(html.decode()).encode() if related is not None else html
            forms.append(text_part(octets, "text/html", boundary=self.stem))
        forms += [self._alternative(item) for item in calendars]
        return [form for form in forms if form is not None] or [_EMPTY]

    def _body(self, file: BodyFile | None) -> bytes | None:
        return None if file is None else self._read(file.path, file.charset)

    def _plain(self, text: bytes | None, html: bytes | None) -> Part | None:
        """Return the plain text, made from the HTML where that is wished."""
        if self.content.text is None and self.content.text_from_html and html is not None:
            text = self._from_html(html)
        if text is None:
            return None
        if self.content.flowed and len(text) <= _MOST_FLOWED:
            return text_part(flowed(text.decode()).encode(), "text/plain", _FLOWED, boundary=self.stem)
        return text_part(text, "text/plain", boundary=self.stem)

    def _from_html(self, html: bytes) -> bytes | None:
        try:
            text = plaintext.text_of(html.decode())
        except plaintext.NotAvailable as error:
            self.problems.append(Problem(where="envelope.toml: text_from_html", what=str(error), hint=error.hint))
            return None
        return None if text is None else text.encode()

    def _alternative(self, form: Alternative) -> Part | None:
        if not is_text(form.type):
            source = self._open(form.path)
            return None if source is None else file_part(source, form.type)
        is_calendar = form.type.lower() == calendar.MEDIA_TYPE
        octets = self._read(form.path, form.charset, is_calendar=is_calendar)
        if octets is None:
            return None
        return text_part(octets, form.type, self._method(form, octets) if is_calendar else _FIXED, boundary=self.stem)

    def _method(self, form: Alternative, octets: bytes) -> Mapping[str, str]:
        """Return the calendar's method as a parameter; one that the envelope says has to be the same."""
        try:
            method = calendar.method_of(octets.decode())
        except calendar.CalendarError as error:
            self.problems.append(Problem(where=printable(form.path), what=str(error), hint=error.hint))
            return _FIXED
        if form.method is not None and form.method != method:
            what = f"the METHOD is {method or 'missing'}, but the envelope says {form.method}"
            hint = 'clients show no buttons if they differ; write type = "text/calendar"'
            self.problems.append(Problem(where=printable(form.path), what=what, hint=hint))
        first = self.methods.setdefault(method, form.path)
        if len(self.methods) > 1 and first == form.path:
            what = f"the METHOD is {method or 'missing'}, unlike that of the calendar before it"
            self.problems.append(Problem(where=printable(form.path), what=what, hint="make one job of each"))
        return _FIXED if method is None else {"method": method}

    def _files(self, attachments: Sequence[Attachment]) -> list[Part]:
        parts = []
        for attachment in attachments:
            source = self._open(attachment.path)
            if source is not None:
                parts.append(attachment_part(source, attachment, boundary=self.stem))
        return parts

    def _read(self, path: str, charset: str, *, is_calendar: bool = False) -> bytes | None:
        """Return a text file as UTF-8; None with a problem noted where it can't be."""
        source = self._open(path)
        if source is None:
            return None
        if source.size > self.limits.message_octets:
            self.problems.append(too_large(source.size, self.limits, printable(path)))
            return None
        try:
            return calendar.read_calendar(source, charset) if is_calendar else read_text(source, charset)
        except InvalidJob as refusal:
            self.problems += refusal.problems
            return None

    def _open(self, path: str) -> Source | None:
        try:
            return self.open_source(path)
        except InvalidJob as refusal:
            self.problems += refusal.problems
            return None

    def _multipart(self, subtype: str, parts: Sequence[Part], **parameters: str) -> Part:
        """Enclose parts; ``=_`` in the boundary can't occur in base64 or quoted-printable (RFC 2045 6.7)."""
        boundary = f"=_{subtype}_{self.stem}"
        bodies = []
        delimiter = f"--{boundary}\r\n".encode("ascii")
        for part in parts:
            bodies += [Octets(delimiter + part.header + b"\r\n"), *flat(part.body)]
            delimiter = f"\r\n--{boundary}\r\n".encode("ascii")
        bodies.append(Octets(f"\r\n--{boundary}--\r\n".encode("ascii")))
        header = parameter_field("Content-Type", f"multipart/{subtype}", {**parameters, "boundary": boundary})
        return Part(header=header, body=Joined(tuple(bodies)))


def too_large(size: int, limits: Limits, where: str) -> Problem:
    """Say that a message or a text is larger than is allowed."""
    what = f"{size} octets are too large for a message; at most {limits.message_octets} are allowed"
    return Problem(where=where, what=what, hint="send a link, or fewer files in one mail")
