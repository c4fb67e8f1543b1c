"""Which files of the job are shown inside the HTML, and under which Content-ID (RFC 2387, RFC 2392).

A file is inline if the HTML refers to it, or the envelope says so and gives it a Content-ID; there is one part for it,
however often it is named.
Only names are known here: no file is opened.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from urllib.parse import quote, unquote

from maildrop.errors import Problem, printable
from maildrop.mail.html import rewritten
from maildrop.mail.model import Attachment, Content
from maildrop.mail.rules import file_name_fault

LARGEST_CHARACTERS = 1_000_000  # looking through them takes up to half a second

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_CID = "cid:"
_URL_SAFE = "@!$*+-._~"  # of the characters of a Content-ID, those that no HTML, CSS or URL reads as a mark


class Related:
    """The inline files of one message. Rewrite the HTML first: it decides what is inline."""

    def __init__(self, content: Content, *, stem: str, domain: str) -> None:
        """``stem`` and ``domain`` make the Content-IDs that the envelope does not give: the same for each attempt."""
        self._companions = content.companions
        self._folder = posixpath.dirname(content.html.path) if content.html is not None else ""
        self._listed = {attachment.path: attachment for attachment in reversed(content.attachments)}
        self._by_id = {item.content_id: item.path for item in content.attachments if item.content_id is not None}
        self._by_name = {item.name: item.path for item in reversed(content.attachments)}
        self._suffix = f".{stem}@{domain}"
        self._inline: dict[str, Attachment] = {}
        self.problems: list[Problem] = []

    def rewritten(self, html: str) -> str:
        """Return the HTML with its references to files of the job as ``cid:`` references; take these files inline.

        HTML of more than a million characters, which no client shows, stays as it is: the daemon waits meanwhile.
        """
        if len(html) > LARGEST_CHARACTERS or not (self._companions or self._listed):
            return html
        return rewritten(html, self._replacement)

    def missing(self, html: str) -> tuple[str, ...]:
        """Return the references that look like files of the job and are none."""
        found: dict[str, None] = {}

        def note(reference: str) -> None:
            if reference and is_local(reference) and self._path(reference) is None:
                found[reference] = None

        rewritten(html, note)
        return tuple(found)

    def files(self) -> tuple[Attachment, ...]:
        """Return the inline files: those that the HTML refers to in its order, then those it may yet refer to.

        The latter have a Content-ID of the envelope's. Any other file that the HTML does not name would not be shown in
        here at all, ``inline`` or not.
        """
        for path, attachment in reversed(self._listed.items()):
            if attachment.inline and attachment.content_id is not None:
                self._take(path)
        return tuple(self._inline.values())

    def _replacement(self, reference: str) -> str | None:
        path = self._path(reference) if is_local(reference) else None
        return None if path is None else _CID + quote(self._take(path).content_id or "", safe=_URL_SAFE)

    def _take(self, path: str) -> Attachment:
        attachment = self._inline.get(path)
        if attachment is None:
            attachment = self._listed.get(path) or self._unlisted(path)
            content_id = attachment.content_id or f"{len(self._inline) + 1}{self._suffix}"
            attachment = self._inline[path] = replace(attachment, inline=True, content_id=content_id)
        return attachment

    def _unlisted(self, path: str) -> Attachment:
        name = posixpath.basename(path)
        fault = file_name_fault(name)
        if fault:
            hint = 'rename the file, or list it with another name: attachments = [{path = "…", name = "…"}]'
            self.problems.append(Problem(where=printable(path), what=fault, hint=hint))
        return Attachment(path=path, name=name)

    def _path(self, reference: str) -> str | None:
        """Return the file that a local reference means; the name as it is written goes before its decoded forms."""
        if reference[: len(_CID)].lower() == _CID:
            wanted = unquote(reference[len(_CID) :])
            return self._by_id.get(wanted) or self._file(wanted) or self._by_name.get(wanted)
        bare = re.split("[?#]", reference, maxsplit=1)[0]
        forms = (reference, unquote(reference), unquote(bare), unquote(bare).replace("\\", "/"))
        return next((path for form in forms if (path := self._file(form)) is not None), None)

    def _file(self, name: str) -> str | None:
        """Return the file of that name beside the HTML, else in the job's folder."""
        for folder in (self._folder, ""):
            path = posixpath.normpath(posixpath.join(folder, name)) if name else ""
            if path in self._companions:
                return path
        return None


def is_local(reference: str) -> bool:
    """Whether a reference could mean a file of the job: no absolute path, no fragment, no other scheme than cid."""
    if reference[: len(_CID)].lower() == _CID:
        return True
    return bool(reference) and reference[0] not in "/#\\" and _SCHEME.match(reference) is None
