from __future__ import annotations

import builtins
import email
import sys
import time
from collections.abc import Callable, Mapping
from email.message import Message as Parsed

import pytest

from maildrop.errors import InvalidJob
from maildrop.mail.calendar import CalendarError, method_of, whole_characters
from maildrop.mail.message import Message
from maildrop.mail.plaintext import LARGEST_CHARACTERS, NotAvailable, text_of

HEAD = 'from = "a@example.com"\nto = "b@example.org"\n'
STEM = "0123456789abcdef0123456789abcdef"
CALENDAR = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//a//b\r\nMETHOD:{method}\r\nBEGIN:VEVENT\r\nUID:1\r\n"
    "DTSTAMP:20261123T080000Z\r\nSUMMARY:Café\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
REQUEST = CALENDAR.format(method="REQUEST").encode()

Composed = Callable[..., tuple[Message, bytes]]


def tree(part: Parsed) -> list[object]:
    """Return the types of a message, parts in lists behind their multipart; inline files by name."""
    kind = part.get_content_type()
    if part.is_multipart() and kind != "message/rfc822":
        return [kind, *(tree(one) if one.is_multipart() else leaf(one) for one in parts_of(part))]
    return [leaf(part)]


def parts_of(part: Parsed) -> list[Parsed]:
    """Return the parts of a multipart."""
    return [one for one in part.get_payload() if isinstance(one, Parsed)]


def leaf(part: Parsed) -> str:
    """Name a part by its file if it has one, else by its type."""
    name = part.get_filename()
    return f"{part.get_content_disposition()} {name}" if name else part.get_content_type()


def composed_tree(composed: Composed, envelope: str, files: Mapping[str, bytes]) -> list[object]:
    """Compose a job and return the tree of what came out."""
    return tree(email.message_from_bytes(composed(HEAD + envelope, files)[1]))


def problems(composed: Composed, envelope: str, files: Mapping[str, bytes]) -> list[str]:
    """Compose a job that can't be; return its problems."""
    with pytest.raises(InvalidJob) as refusal:
        composed(HEAD + envelope, files)
    return [str(problem) for problem in refusal.value.problems]


def body_of(composed: Composed, envelope: str, files: Mapping[str, bytes], kind: str = "text/html") -> str:
    """Compose a job and return its first text of that type, decoded."""
    message = email.message_from_bytes(composed(HEAD + envelope, files)[1])
    part = next(part for part in message.walk() if part.get_content_type() == kind)
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def test_each_level_is_there_only_where_it_is_needed(composed: Composed) -> None:
    """mixed(related(alternative)) with everything; less of it for less."""
    html = b'<img src="logo.png">'
    everything = {
        "body.txt": b"t",
        "body.html": html,
        "logo.png": b"P",
        "invite.ics": REQUEST,
        "more.md": b"# x",
        "attachments/a.pdf": b"F",
    }
    full = 'alternatives = [{path = "invite.ics"}, {path = "more.md"}]'
    alternative = ["multipart/alternative", "text/plain", "text/markdown", "text/html", "text/calendar"]
    assert composed_tree(composed, full, everything) == [
        "multipart/mixed",
        ["multipart/related", alternative, "inline logo.png"],
        "attachment a.pdf",
    ]
    assert composed_tree(composed, "", {"body.html": html, "logo.png": b"P"}) == [
        "multipart/related",
        "text/html",
        "inline logo.png",
    ]
    assert composed_tree(composed, "", {"body.html": html}) == ["text/html"]
    assert composed_tree(composed, "", {"body.txt": b"t", "attachments/a.pdf": b"F"}) == [
        "multipart/mixed",
        "text/plain",
        "attachment a.pdf",
    ]
    assert composed_tree(composed, 'alternatives = [{path = "x.ics"}]', {"x.ics": REQUEST}) == ["text/calendar"]
    assert composed_tree(composed, "", {}) == ["text/plain"]


def test_related_says_the_type_of_its_root(composed: Composed) -> None:
    """RFC 2387 3.1: clients find the text by it."""
    files = {"body.html": b'<img src="a.png">', "a.png": b"P"}
    assert b'multipart/related; type="text/html";\r\n boundary=' in composed(HEAD, files)[1]
    assert b'multipart/related; type="multipart/alternative";\r\n' in composed(HEAD, {**files, "body.txt": b"t"})[1]


def test_one_part_for_a_file_however_often_it_is_named(composed: Composed) -> None:
    """A file that the HTML shows is inline once, and not attached again, listed or below attachments/ or not."""
    html = (
        b'<body background="attachments/a.png"><img src="attachments/a.png"><img src=\'b.png\'>'
        b'<p style="background:url(b.png)">'
    )
    files = {"body.html": html, "attachments/a.png": b"A", "b.png": b"B"}
    expected = ["multipart/related", "text/html", "inline a.png", "inline b.png"]
    assert composed_tree(composed, "", files) == expected
    listed = 'attachments = ["b.png", {path = "b.png", name = "again.png"}, "attachments/a.png"]'
    assert composed_tree(composed, listed, files) == expected
    assert composed_tree(composed, "attachments = []", files) == expected


def test_content_ids_are_the_same_each_time_and_have_brackets(composed: Composed) -> None:
    """They are made from the message's identity; those of the envelope are kept."""
    html = b'<img src="a.png"><img src="b.png"><img src="cid:logo"><img src="c.png">'
    files = {"body.html": html, "a.png": b"A", "b.png": b"B", "c.png": b"C"}
    envelope = HEAD + 'attachments = [{path = "c.png", content_id = "<logo>"}]'
    octets = composed(envelope, files)[1]
    message = email.message_from_bytes(octets)
    ids = [part["Content-ID"] for part in message.walk() if "Content-ID" in part]
    assert ids == [f"<1.{STEM}@host.example>", f"<2.{STEM}@host.example>", "<logo>"]
    assert body_of(composed, envelope.removeprefix(HEAD), files) == (
        f'<img src="cid:1.{STEM}@host.example"><img src="cid:2.{STEM}@host.example">'
        '<img src="cid:logo"><img src="cid:logo">\r\n'
    )
    assert composed(envelope, files)[1] == octets


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("logo.png", "logo.png"),
        ("./logo.png", "logo.png"),
        ("img/../logo.png", "logo.png"),
        ("img/a%20b.png", "img/a b.png"),
        ("img/a b.png", "img/a b.png"),
        ("img\\a b.png", "img/a b.png"),
        ("%C3%A4.png", "ä.png"),
        ("&auml;.png", "ä.png"),
        ("a&amp;b.png", "a&b.png"),
        ("logo.png?v=3", "logo.png"),
        ("logo.png#top", "logo.png"),
        ("100%.png", "100%.png"),
        ("what?.png", "what?.png"),
        ("cid:logo.png", "logo.png"),
        ("CID:a%2Bb", "img/a b.png"),
        ("cid:shown.png", "img/shown-as.png"),
    ],
)
def test_how_html_may_name_a_file(composed: Composed, reference: str, path: str) -> None:
    """As a path, decoded or not, with or without query; by content_id; by the name under which it is attached."""
    paths = ["logo.png", "img/a b.png", "ä.png", "a&b.png", "100%.png", "what?.png", "img/shown-as.png"]
    files = {name: name.encode() for name in paths} | {"body.html": f'<img src="{reference}">'.encode()}
    envelope = (
        'attachments = [{path = "img/shown-as.png", name = "shown.png"}, {path = "img/a b.png", content_id = "a+b"}]'
    )
    message = email.message_from_bytes(composed(HEAD + envelope, files)[1])
    inline = [part for part in message.walk() if part.get_content_disposition() == "inline"]
    assert [part.get_payload(decode=True) for part in inline] == [path.encode()]


@pytest.mark.parametrize(
    "reference",
    [
        "https://x.example/logo.png",
        "//x.example/logo.png",
        "/logo.png",
        "\\logo.png",
        "#logo.png",
        "data:image/png;base64,AA",
        "file:logo.png",
        "../logo.png",
        "missing.png",
        "cid:missing",
        "cid:",
        "",
        "body.html",
        "body.txt",
        "envelope.toml",
        "logo.png%00",
    ],
)
def test_what_html_can_not_take_along(composed: Composed, reference: str) -> None:
    """Remote and absolute references, what is not there, the texts themselves and the envelope stay as they are."""
    html = f'<img src="{reference}">'
    files = {"body.html": html.encode(), "body.txt": b"t", "logo.png": b"P"}
    assert composed_tree(composed, "", files) == ["multipart/alternative", "text/plain", "text/html"]
    assert body_of(composed, "", files) == html + "\r\n"


def test_references_are_relative_to_the_html_file_and_then_to_the_job(composed: Composed) -> None:
    """HTML in a folder finds its own pictures first."""
    files = {"mail/page.html": b'<img src="a.png"><img src="b.png">', "mail/a.png": b"1", "a.png": b"2", "b.png": b"3"}
    message = email.message_from_bytes(composed(HEAD + 'html = "mail/page.html"', files)[1])
    parts = [part.get_payload(decode=True) for part in message.walk() if part.get_content_disposition()]
    assert parts == [b"1", b"3"]


def test_inline_without_a_reference_or_without_html(composed: Composed) -> None:
    """What the HTML does not name is shown below the text, unless the envelope gives it a name for cid: references."""
    envelope = (
        'attachments = [{path = "a.png", inline = true}, {path = "b.png", inline = true, content_id = "b"}, "c.png"]'
    )
    files = {"a.png": b"A", "b.png": b"B", "c.png": b"C"}
    related = ["multipart/related", "text/html", "inline b.png"]
    assert composed_tree(composed, envelope, {**files, "body.html": b"x"}) == [
        "multipart/mixed",
        related,
        "inline a.png",
        "attachment c.png",
    ]
    assert composed_tree(composed, envelope, {**files, "body.txt": b"x"}) == [
        "multipart/mixed",
        "text/plain",
        "inline a.png",
        "inline b.png",
        "attachment c.png",
    ]


def test_an_inline_file_with_an_impossible_name_is_refused(composed: Composed) -> None:
    """A name that no attachment may have is refused for what the HTML refers to, too, with the way out."""
    assert problems(composed, "", {"body.html": b'<img src="a\xe2\x80\xaeb.png">', "a\u202eb.png": b"x"}) == [
        (
            "a\\u202eb.png: the file name contains the direction control U+202E; "
            'rename the file, or list it with another name: attachments = [{path = "…", name = "…"}]'
        ),
    ]


@pytest.mark.parametrize(
    ("said", "held", "parameter"),
    [
        ("", "REQUEST", b"; method=REQUEST"),
        (', type = "text/calendar"', "cancel", b"; method=CANCEL"),
        (', type = "text/calendar; method=request"', "REQUEST", b"; method=REQUEST"),
        (", type = 'Text/Calendar;method=\"REPLY\"'", "REPLY", b"; method=REPLY"),
    ],
)
def test_the_method_of_an_invitation_is_that_of_the_calendar(
    composed: Composed, said: str, held: str, parameter: bytes
) -> None:
    """Clients show an invitation as a file if the two differ, so the calendar decides."""
    files = {"body.txt": b"t", "i.ics": CALENDAR.format(method=held).encode()}
    octets = composed(HEAD + f'alternatives = [{{path = "i.ics"{said}}}]', files)[1]
    assert b"/calendar; charset=utf-8" + parameter + b"\r\n" in octets.replace(b"Calendar", b"calendar")


def test_calendars_that_can_not_be_sent(composed: Composed) -> None:
    """A mismatch, two methods in one file, and what is no calendar are refused with the way out."""
    said = 'alternatives = [{path = "i.ics", type = "text/calendar; method=REQUEST"}]'
    plain = 'alternatives = [{path = "i.ics"}]'
    cancel = CALENDAR.format(method="CANCEL").encode()
    bare = REQUEST.replace(b"METHOD:REQUEST\r\n", b"")
    assert problems(composed, said, {"i.ics": cancel}) == [
        (
            "i.ics: the METHOD is CANCEL, but the envelope says REQUEST; clients show no buttons if they differ; "
            'write type = "text/calendar"'
        ),
    ]
    assert problems(composed, said, {"i.ics": bare})[0].startswith("i.ics: the METHOD is missing, but")
    assert problems(composed, plain, {"i.ics": cancel + REQUEST})[0].startswith(
        "i.ics: says different methods: CANCEL and REQUEST; make one file of each"
    )
    way_out = "see RFC 5545, or attach the file instead"
    for content, what in (
        (b"hello", "is no calendar: it does not begin with BEGIN:VCALENDAR"),
        (b"", "is no calendar: it does not begin with BEGIN:VCALENDAR"),
        (REQUEST[:-20], "is no calendar: there is no whole VCALENDAR in it"),
        (REQUEST.replace(b"REQUEST", b"no; word"), "has a METHOD that is no word; see RFC 5546 1.4 for the methods"),
    ):
        [problem] = problems(composed, plain, {"i.ics": content})
        assert problem == f"i.ics: {what}" + ("" if "word" in what else f"; {way_out}")
    twice = REQUEST.replace(b"METHOD:REQUEST", b"METHOD:REQUEST\r\nMETHOD:CANCEL")
    assert problems(composed, plain, {"i.ics": twice})[0].startswith(
        "i.ics: says different methods: CANCEL and REQUEST"
    )
    hostile = REQUEST.replace(b"VERSION:2.0", b"X-\x1b]0;owned\x07 " + b"A" * 5000)
    [problem] = problems(composed, plain, {"i.ics": hostile})
    assert problem.isprintable()
    assert len(problem) < 400
    malformed = REQUEST.replace(b"VERSION:", b"VERSION ")
    assert problems(composed, plain, {"i.ics": malformed})[0].startswith("i.ics: is no calendar: ")
    both = 'alternatives = [{path = "i.ics"}, {path = "same.ics"}, {path = "j.ics"}]'
    assert problems(composed, both, {"i.ics": REQUEST, "same.ics": REQUEST, "j.ics": cancel}) == [
        "j.ics: the METHOD is CANCEL, unlike that of the calendar before it; make one job of each"
    ]
    assert b"text/calendar; charset=utf-8\r\n" in composed(HEAD + plain, {"i.ics": bare})[1]


def test_a_fold_inside_a_character(composed: Composed) -> None:
    """RFC 5545 3.1 lets a calendar be folded between the octets of one character; the text is whole again."""
    split = REQUEST.replace("é".encode(), b"\xc3\r\n \xa9")
    text = body_of(composed, 'alternatives = [{path = "i.ics"}]', {"i.ics": split}, "text/calendar")
    assert text == REQUEST.decode()
    assert whole_characters(b"a\r\n b\n \xa9", "utf-8") == b"a\r\n b\xa9"
    assert whole_characters(b"a\n \xa9", "cp1252") == b"a\n \xa9"
    assert whole_characters(b"a\n \xa9", "cp1141") == b"a\n \xa9"


def test_a_calendar_too_large_to_be_read_at_once() -> None:
    """The daemon waits while a calendar is parsed, so its size is bounded."""
    with pytest.raises(CalendarError, match="more than 262144 characters"):
        method_of("BEGIN:VCALENDAR\r\n" + "x" * 256 * 1024)


def test_other_forms_than_text_go_bit_for_bit(composed: Composed) -> None:
    """An alternative that is no text is sent as base64, without a name."""
    octets = composed(HEAD + 'alternatives = [{path = "a.rtf"}]', {"body.txt": b"t", "a.rtf": b"\0\r\n"})[1]
    part = parts_of(email.message_from_bytes(octets))[1]
    assert (part.get_content_type(), part.get_payload(decode=True)) == ("application/rtf", b"\0\r\n")
    assert part.get_filename() is None


def test_alternatives_have_a_charset_of_their_own(composed: Composed) -> None:
    """The envelope's charset counts for all texts but those that name another."""
    envelope = 'charset = "cp1252"\nalternatives = [{path = "a.md"}, {path = "b.md", charset = "utf-8"}]'
    octets = composed(HEAD + envelope, {"a.md": b"\xe9", "b.md": "é".encode()})[1]
    parts = [part.get_payload(decode=True) for part in parts_of(email.message_from_bytes(octets))]
    assert parts == ["é\r\n".encode(), "é\r\n".encode()]


def test_the_problems_of_all_texts_are_told_together(composed: Composed) -> None:
    """Text, HTML and alternatives that do not decode are reported in one go."""
    files = {"body.txt": b"\xff", "body.html": b"\xff", "a.md": b"\xff"}
    found = problems(composed, 'alternatives = [{path = "a.md"}]', files)
    assert [problem.partition(":")[0] for problem in found] == ["body.txt", "body.html", "a.md"]


def test_flowed_text_only_on_request(composed: Composed) -> None:
    """format=flowed changes the text, so it is sent only where the envelope says so."""
    files = {"body.txt": b"word " * 30 + b"end"}
    assert b"flowed" not in composed(HEAD, files)[1]
    octets = composed(HEAD + "flowed = true", files)[1]
    assert b"Content-Type: text/plain; charset=utf-8; format=flowed\r\n" in octets
    assert max(map(len, octets.split(b"\r\n"))) <= 78


def test_a_text_is_made_from_html_only_on_request(composed: Composed) -> None:
    """With text_from_html, HTML that comes alone gets a plain text beside it; a text that is there is kept."""
    html = {
        "body.html": '<h1>Größe</h1><p>See <a href="https://x.example/">here</a> <img src="a.png" alt="Chart">'.encode()
    }
    assert composed_tree(composed, "", html) == ["text/html"]
    assert composed_tree(composed, "text_from_html = true", html) == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    text = body_of(composed, "text_from_html = true", html, "text/plain")
    assert all(words in text for words in ("Größe", "https://x.example/", "Chart"))
    assert "<" not in text
    assert text.endswith("\r\n")
    own = body_of(composed, "text_from_html = true", {**html, "body.txt": b"mine"}, "text/plain")
    assert own == "mine\r\n"
    assert composed_tree(composed, "text_from_html = true", {"body.txt": b"t"}) == ["text/plain"]
    assert composed_tree(composed, "text_from_html = true", {"body.html": b"<br>"}) == ["text/html"]


@pytest.mark.parametrize(
    "html",
    [
        "<table>" + ("<tr>" + "<td>cell" * 10) * 1000,
        "<table><tr><td>" + "w" * 40000 + "<tr><td>x" * 6000,
        "<table><tr>" + "<td>x" * 9000 + "<tr><td>y" * 5000,
        "<table><tr><td>" + "<br>" * 12000 + "<td>x" * 10000,
        "<td><table>" * 9000,
        "<pre>x" + " " * 99000 + "y",
        "<div>" * 16000 + "x",
        "<ul><li>x" * 10000,
        "<p " + " ".join(f"a{number}" for number in range(14000)) + ">",
    ],
)
def test_no_html_takes_long_to_make_a_text_of(html: str) -> None:
    """The daemon does nothing else meanwhile, so tables, blanks and nesting cost time and space in proportion."""
    started = time.process_time()
    text = text_of(html[:LARGEST_CHARACTERS])
    assert time.process_time() - started < 5  # minutes, if a cell were as large as the largest
    assert len(text or "") < 10 * LARGEST_CHARACTERS


def test_larger_html_and_text_go_as_they_are(composed: Composed) -> None:
    """Beyond a million characters nobody reads a mail: references are not looked for, and no text is cut anew."""
    html = b'<img src="a.png">' + b" " * 1_000_000
    assert composed_tree(composed, "", {"body.html": html, "a.png": b"P"}) == ["text/html"]
    assert b"flowed" not in composed(HEAD + "flowed = true", {"body.txt": b"x\n" * 600_000})[1]


def test_html_too_large_for_a_text_goes_without_one() -> None:
    """Making a text of megabytes would keep the daemon from other work; the HTML alone is legal."""
    assert text_of("x" * (LARGEST_CHARACTERS + 1)) is None


@pytest.mark.parametrize(
    "html",
    [
        "seen" + "<div>" * 5000,
        "<p style='padding-left:99999999em;margin-top:99999999em'>seen",
        "<td colspan=99999999 rowspan=99999999>seen",
        "<?xml version='1.0' encoding='utf-8'?><html><body>seen</body></html>",
        "\ufeff<div style='DISPLAY : None'>hidden</div>\x01seen",
    ],
)
def test_html_of_all_kinds_makes_a_text(html: str) -> None:
    """Deep nesting, absurd measures, declarations and hidden parts: what is shown is in the text, and little else."""
    text = text_of(html)
    assert text is not None
    assert text.split() == ["seen"]
    assert len(text) < 100


def test_without_the_extra_packages_the_way_out_is_said(composed: Composed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra is a problem of the job that names the command to type."""
    real = builtins.__import__

    def refuse(name: str, *arguments: object, **options: object) -> object:
        if name.partition(".")[0] in ("icalendar", "inscriptis"):
            raise ImportError(name)
        return real(name, *arguments, **options)  # type: ignore[arg-type]

    for name in [name for name in sys.modules if name.partition(".")[0] in ("icalendar", "inscriptis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(NotAvailable):
        text_of("x")
    envelope = 'text_from_html = true\nalternatives = [{path = "i.ics"}]'
    assert problems(composed, envelope, {"body.html": b"x", "i.ics": REQUEST}) == [
        (
            "envelope.toml: text_from_html: making a text from HTML needs an extra package; "
            "pip install 'maildrop[html]', or write a body.txt"
        ),
        "i.ics: is a calendar; reading its method needs an extra package; pip install 'maildrop[calendar]'",
    ]
