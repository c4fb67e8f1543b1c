"""The method of a calendar: what makes an invitation of it in the eyes of a client (RFC 5545, RFC 6047 2.4).

A client shows buttons only if the ``method`` parameter of the part is the METHOD of the calendar in it, so the one is
taken from the other. What the events in it say is not known here. The only user of icalendar.
"""

from __future__ import annotations

import codecs
import re

from maildrop.errors import printable
from maildrop.mail.part import Source, read_text

MEDIA_TYPE = "text/calendar"
LARGEST_OCTETS = 256 * 1024  # parsing takes up to 4 microseconds for each, and the daemon waits for it

_SPLIT_CHARACTER = re.compile(rb"\r?\n[ \t](?=[\x80-\xbf])")  # RFC 5545 3.1 lets a fold stand inside a character
_BEGIN = "BEGIN:VCALENDAR"
_WAY_OUT = "see RFC 5545, or attach the file instead"
_METHODS = re.compile(r"[A-Za-z0-9-]{1,40}", re.ASCII)


class CalendarError(ValueError):
    """The text is no calendar, or says two things at once; ``hint`` is the way out."""

    def __init__(self, what: str, hint: str) -> None:
        """Say what is wrong as the predicate of a sentence."""
        super().__init__(what)
        self.hint = hint


def read_calendar(source: Source, charset: str) -> bytes:
    """Return a calendar as UTF-8 with CRLF line ends, its characters whole; raises InvalidJob as `read_text` does."""
    return read_text(source, charset, repair=lambda octets: whole_characters(octets, charset))


def whole_characters(octets: bytes, charset: str) -> bytes:
    """Undo the folds that stand inside a character of UTF-8; other octets stay as they are."""
    try:
        is_utf8 = codecs.lookup(charset).name.startswith("utf-8")
    except LookupError:
        is_utf8 = False
    return _SPLIT_CHARACTER.sub(b"", octets) if is_utf8 else octets


def _methods(value: object) -> list[object]:
    """Return what the library gives for a property that may stand there several times."""
    return value if isinstance(value, list) else [value]


def method_of(text: str) -> str | None:
    """Return the METHOD in capitals, None where there is none. Raises CalendarError."""
    try:
        from icalendar import Calendar  # noqa: PLC0415  (an extra: not everybody sends invitations)
    except ImportError:
        raise CalendarError(
            "is a calendar; reading its method needs an extra package", "pip install 'maildrop[calendar]'"
        ) from None
    if not text.lstrip().upper().startswith(_BEGIN):
        raise CalendarError(f"is no calendar: it does not begin with {_BEGIN}", _WAY_OUT)
    if len(text) > LARGEST_OCTETS:
        raise CalendarError(f"is a calendar of more than {LARGEST_OCTETS} characters", "attach it instead")
    try:
        calendars = Calendar.from_ical(text, multiple=True)
        found = [method for calendar in calendars for method in _methods(calendar.get("METHOD", ""))]
    except Exception as error:
        raise CalendarError(f"is no calendar: {printable(str(error), limit=200)}", _WAY_OUT) from None
    methods = {str(method).strip().upper() for method in found}
    if not methods:
        raise CalendarError("is no calendar: there is no whole VCALENDAR in it", _WAY_OUT)
    if len(methods) > 1:
        names = " and ".join(sorted(name or "none" for name in methods))
        raise CalendarError(f"says different methods: {names}", "make one file of each")
    method = methods.pop()
    if method and _METHODS.fullmatch(method) is None:
        raise CalendarError("has a METHOD that is no word", "see RFC 5546 1.4 for the methods")
    return method or None
