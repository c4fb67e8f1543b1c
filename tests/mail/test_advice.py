from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from maildrop.mail.advice import USUAL_LIMIT_OCTETS, advise
from maildrop.mail.envelope import parse_envelope
from maildrop.mail.html import images_without_words
from maildrop.mail.model import Defaults, Limits
from maildrop.mail.part import Source

HEAD = 'from = "a@example.com"\nto = "b@example.org"\n'
CALENDAR = b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nSUMMARY:\xc3\r\n \xa9\r\nEND:VCALENDAR\r\n"


@dataclass
class File:
    """A file of a job in memory."""

    name: str
    content: bytes

    @property
    def size(self) -> int:
        """Octets of the content."""
        return len(self.content)

    def read(self) -> bytes:
        """Return the content."""
        return self.content

    def chunks(self, slice_octets: int) -> Iterator[bytes]:
        """Yield the content."""
        for start in range(0, len(self.content), slice_octets):
            yield self.content[start : start + slice_octets]


def warnings(envelope: str, files: Mapping[str, bytes], *, size: int = 1000) -> list[str]:
    """Return the warnings about a job."""
    mail = parse_envelope((HEAD + envelope).encode(), files=files, defaults=Defaults(), limits=Limits())

    def open_source(path: str) -> Source:
        return File(path, files[path])

    return [str(problem) for problem in advise(mail.content, size=size, open_source=open_source)]


@pytest.mark.parametrize(
    ("envelope", "files"),
    [
        ('subject = "x"', {"body.txt": b"t"}),
        ('subject = "x"', {"body.txt": b"t", "body.html": b'<img src="a.png" alt="">', "a.png": b"P"}),
        ('subject = "x"\ntext_from_html = true', {"body.html": b'<img src="https://x.example/a.png" alt=A>'}),
        (
            'subject = "x"\nalternatives = [{path = "i.ics"}]',
            {"body.txt": b"t", "i.ics": CALENDAR.replace(b"PRODID", b"METHOD:REQUEST\r\nPRODID")},
        ),
    ],
)
def test_a_careful_mail_has_no_warnings(envelope: str, files: dict[str, bytes]) -> None:
    """Nothing is said about a mail that every client reads."""
    assert warnings(envelope, files) == []


def test_each_warning_names_the_key_or_file_and_the_way_out() -> None:
    """All that is legal and still wrong is told at once."""
    html = b'<img src="gone.png"><img src="logo.png"><IMG SRC=logo.png ALT="x">'
    files = {"body.html": html, "logo.png": b"P", "i.ics": CALENDAR, "big.pdf": b"x" * 50, "small.pdf": b"x"}
    envelope = 'attachments = ["small.pdf", "big.pdf"]\nalternatives = [{path = "i.ics"}]'
    assert warnings(envelope, files, size=USUAL_LIMIT_OCTETS * 2) == [
        "envelope.toml: subject: is missing or empty; write what the mail is about; filters distrust mail without it",
        "envelope.toml: html: has no plain text beside it; add a body.txt, or set text_from_html = true",
        (
            "envelope.toml: attachments: big.pdf: the message has 50 MB; many servers take at most 25 MB; "
            "send a link, or a compressed file, or several mails"
        ),
        "body.html: refers to 'gone.png', which is not in the job; put the file into the job's folder",
        (
            "body.html: 2 images without alt ('gone.png', 'logo.png'); "
            'say in alt="…" what it shows; alt="" if it is decoration'
        ),
        "i.ics: has no METHOD: clients show no buttons; write METHOD:REQUEST to invite (RFC 5546)",
    ]


def test_a_large_text_is_warned_about_without_attachments() -> None:
    """A message may be too large for many servers without any file."""
    found = warnings('subject = "x"', {"body.txt": b"t"}, size=USUAL_LIMIT_OCTETS + 1)
    [warning] = found
    assert warning.startswith("job: the message has 25 MB; many servers take at most 25 MB; send a link")


def test_the_first_missing_references_speak_for_all() -> None:
    """A page full of broken references does not hide the other warnings."""
    html = b"".join(b'<i src="%d.png">' % number for number in range(100))
    found = warnings('subject = "x"', {"body.txt": b"t", "body.html": html})
    assert [warning.split("'")[1] for warning in found] == ["0.png", "1.png", "2.png", "3.png", "4.png"]


def test_images_without_words() -> None:
    """An image counts by its first alt, also an empty one; other elements need none."""
    html = '<img src="a&amp;b"><img><img alt src=c><image src=d><!-- <img src=e> --><img src=f alt="x" alt>'
    assert images_without_words(html) == ("a&b", "")


@pytest.mark.parametrize(
    ("declared", "charset", "is_warned"),
    [
        ("<meta charset=utf-8>", "utf-8", False),
        ("<meta charset='UTF8'>", "utf-8", False),
        ("<meta charset=windows-1252>", "utf-8", True),
        ('<META http-equiv=Content-Type content="text/html; charset=windows-1252">', "utf-8", True),
        ('<meta http-equiv=Content-Type content="text/html; charset=iso-8859-1">', "cp1252", False),
        ("<meta charset=x-unknown>", "cp1252", True),
        ("<meta charset='CP1141'>", "cp1141", False),
        ("<meta name=viewport content='width=1'>", "cp1252", False),
        ("<!-- <meta charset=utf-8> -->", "cp1252", False),
        ("", "cp1252", False),
    ],
)
def test_html_that_says_another_charset(declared: str, charset: str, *, is_warned: bool) -> None:
    """Whoever wrote the HTML knows its charset best: a contradiction is worth a look, unless all of it is ASCII."""
    envelope = f'subject = "x"\ncharset = "{charset}"'
    encoding = "cp273" if charset == "cp1141" else charset
    files = {"body.txt": b"", "body.html": (declared + "é").encode(encoding)}
    found = warnings(envelope, files)
    assert (found != []) == is_warned
    assert all("set charset to what it is written in" in warning for warning in found)
    assert warnings(envelope, {**files, "body.html": declared.encode(encoding)}) == []
