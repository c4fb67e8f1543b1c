"""The forms of a text: plain, flowed, HTML, calendars and others, with the files that the HTML shows."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

from tests.fuzz.mail import texts
from tests.fuzz.mail.attached import Attached
from tests.fuzz.mail.draft import Draft
from tests.fuzz.mail.expectation import Wanted
from tests.fuzz.mail.hypertext import WORDS, hypertext
from tests.fuzz.mail.strings import FOREIGN, drawn

_KINDS = ("plain", "plain", "plain html", "plain html", "html", "")
_OTHERS = (
    ("text/markdown", "notes.md", None),
    ("text/x-amp-html", "mail.amp", "text/x-amp-html"),
    ("application/json", "data.json", None),
)
_METHODS = ("REQUEST", "CANCEL", "REPLY", "PUBLISH", "")
_QUOTE = re.compile("(>+) ?(.*)", re.DOTALL)


def forms(draft: Draft, files: list[Attached]) -> tuple[Wanted, list[str]]:
    """Write the text files; returns what has to come of them, and the paths of the files shown inside, in order."""
    random = draft.random
    kinds = random.choice(_KINDS).split()
    charset = texts.charset(random)
    plain = texts.text(random, stem=draft.stem) if "plain" in kinds else None
    folder = "web" if drawn(random, 4) else ""
    found: list[Wanted] = []
    shown: tuple[str, ...] = ()
    html: Wanted | None = None
    if "html" in kinds:
        html, charset, shown = _html(draft, files, folder=folder, charset=charset)
    if plain is not None:
        found.append(_plain(draft, plain, charset))
    elif html is not None and html.pieces is not None and drawn(random, 3):
        draft.table["text_from_html"] = True
        found.append(Wanted(type="text/plain", parameters={"charset": "utf-8"}, words=WORDS))
    if charset != "utf-8" or drawn(random, 5):
        draft.table["charset"] = charset
    others, calendars = _alternatives(draft, charset) if drawn(random, 6) else ([], [])
    found += [*others, *([html] if html is not None else []), *calendars]
    if not found:
        found.append(text_part("text/plain", ""))
    root = found[0] if len(found) == 1 else Wanted(type="multipart/alternative", children=tuple(found))
    return root, list(shown)


def text_part(media_type: str, text: str) -> Wanted:
    """Return a text that has to arrive as it is."""
    return Wanted(type=media_type, parameters={"charset": "utf-8"}, text=text)


def _write(draft: Draft, key: str, usual: str, path: str, octets: bytes) -> None:
    if path != usual or drawn(draft.random, 10):
        draft.table[key] = path
    draft.files[path] = octets


def _plain(draft: Draft, text: str, charset: str) -> Wanted:
    file = texts.encoded(text, charset)
    if file.charset != charset:  # a codec that can't repeat it: an ASCII text is the same in few, so it is left out
        file = texts.encoded("", charset)
    path = "texts/plain text" if drawn(draft.random, 6) else "body.txt"
    _write(draft, "text", "body.txt", path, file.octets)
    wanted = text_part("text/plain", file.expected)
    if not drawn(draft.random, 8):
        return wanted
    draft.table["flowed"] = True
    return replace(
        wanted, parameters={"charset": "utf-8", "format": "flowed"}, text=None, paragraphs=_paragraphs(file.expected)
    )


def _paragraphs(text: str) -> tuple[tuple[int, str], ...]:
    """Return the lines of a text as a reader of RFC 3676 has to see them: depth of quotation, and words."""
    lines = []
    for line in text.split("\r\n"):
        match = _QUOTE.fullmatch(line)
        depth, words = (len(match[1]), match[2]) if match else (0, line)
        lines.append((depth, words if (depth, words) == (0, "-- ") else words.rstrip(" ")))
    return tuple(lines)


def _html(draft: Draft, files: list[Attached], *, folder: str, charset: str) -> tuple[Wanted, str, tuple[str, ...]]:
    """Write the HTML; returns its form, the character set that holds it, and the files that it shows."""
    random = draft.random
    path = f"{folder}/mail.html" if folder else "body.html"
    if not drawn(random, 3):
        file = texts.encoded(texts.text(random, stem=draft.stem).replace("(", ""), charset)
        _write(draft, "html", "body.html", path, file.octets)
        return text_part("text/html", file.expected), file.charset, ()
    found = hypertext(random, files, folder=folder, suffix=f".{draft.stem}@{draft.domain}")
    written = found.written.replace("\n", random.choice(("\n", "\r\n", "\r")))
    file = texts.encoded(written, charset)
    if file.charset != charset or file.expected != texts.normalized(written):
        file = texts.encoded(written, "utf-8")
    _write(draft, "html", "body.html", path, file.octets)
    return Wanted(type="text/html", parameters={"charset": "utf-8"}, pieces=found.pieces), file.charset, found.shown


def _alternatives(draft: Draft, charset: str) -> tuple[list[Wanted], list[Wanted]]:
    """Write more forms; returns those that come before the HTML and those that come behind it."""
    random = draft.random
    others: list[Wanted] = []
    calendars: list[Wanted] = []
    tables = draft.table["alternatives"] = []
    method = random.choice(_METHODS)  # of all calendars: two of them in one mail are refused
    for index in range(random.randrange(1, 3)):
        table: dict[str, str]
        if drawn(random, 2):
            octets, text = _calendar(random, method)
            said = random.choice(("text/calendar", "Text/Calendar", f"text/calendar; method={method.lower() or 'x'}"))
            said = said if method else "text/calendar"
            table = {"path": f"{index}.ics", "charset": "utf-8", "type": said}
            parameters = {"charset": "utf-8", **({"method": method} if method else {})}
            calendars.append(Wanted(type="text/calendar", parameters=parameters, text=text))
        else:
            media_type, path, declared = random.choice(_OTHERS)
            table = {"path": f"{index}-{path}"}
            if declared is not None:
                table["type"] = declared
            file = texts.encoded(texts.text(random, stem=draft.stem), texts.charset(random))
            octets = file.octets
            if file.charset != charset or drawn(random, 4):
                table["charset"] = file.charset
            is_text = media_type.startswith("text/")
            others.append(text_part(media_type, file.expected) if is_text else Wanted(type=media_type, octets=octets))
        draft.files[table["path"]] = octets
        tables.append(table)
    return others, calendars


def _calendar(random: Random, method: str) -> tuple[bytes, str]:
    """Return an invitation as a file, and as the text that has to arrive."""
    summary = "".join(random.choices(("Meeting ", "x", "é", "会議", "😀", *FOREIGN[:4]), k=random.randrange(1, 40)))
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//X//Y//EN", *([f"METHOD:{method}"] if method else [])]
    lines += ["BEGIN:VEVENT", "UID:1@x.example", "DTSTAMP:20261123T080000Z", "DTSTART:20261124T080000Z"]
    octets = "\r\n".join(lines).encode() + b"\r\nSUMMARY:"
    expected = octets.decode()
    raw = summary.encode()
    step = random.randrange(20, 70)  # some producers count octets and cut characters in two
    for start in range(0, len(raw), step):
        fold = b"\r\n " if start else b""
        splits = start and raw[start] & 0xC0 == 0x80
        octets += fold + raw[start : start + step]
        expected += "" if splits or not start else "\r\n "
        expected += raw[start : start + step].decode("utf-8", "surrogateescape")
    ending = "\r\nEND:VEVENT\r\nEND:VCALENDAR" + random.choice(("", "\r\n"))
    joined = expected.encode("utf-8", "surrogateescape").decode()
    return octets + ending.encode(), texts.normalized(joined + ending)
