"""The reader and the comparison catch what they are there for: good messages, damaged in one place each."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.fuzz.mail import texts
from tests.fuzz.mail.example import JOB, STEM
from tests.fuzz.mail.expectation import differences, unflowed
from tests.fuzz.mail.reader import read_message
from tests.fuzz.mail.trial import composed


def complaints(octets: bytes) -> list[str]:
    """Return what our own reader and the comparison say."""
    part, faults = read_message(octets)
    return faults + differences(part, JOB.expected)


@pytest.fixture(scope="module")
def good() -> bytes:
    """Return the message of the job above."""
    return composed(JOB)[1]


def test_a_good_message_has_no_faults(good: bytes) -> None:
    """The message that the other tests damage is flawless before."""
    assert complaints(good) == []


# What to find (a regular expression), what to put there, and a word of the complaint.
DAMAGES = {
    "a CR lost": (rb"\r\n", b"\n", "LF without CR"),
    "an LF lost": (rb"\r\n", b"\r", "CR without LF"),
    "a NUL": (rb"many words", b"many\0words", "a NUL"),
    "a final CRLF lost": (rb"\r\n\Z", b"", "does not end"),
    "a line of 999": (rb"inner\r\n\r\n", b"inner\r\n\r\n" + b"x" * 999 + b"\r\n", "a line of 999"),
    "8 bits in the header": (rb"Plain Name", "Pläin Name".encode(), "8-bit octets in a header"),
    "8 bits in a 7bit part": (rb"Subject: inner", "Subject: ínner".encode(), "8-bit octets"),
    "a control in the header": (rb"X-Two: one", b"X-Two: o\x07e", "a control in a header"),
    "a blank line within a header": (rb"X-Two: one", b"X-Two: one\r\n  ", "nothing but blanks"),
    "an empty line within a header": (rb"X-Two: one\r\n", b"X-Two: one\r\n\r\n", "header fields"),
    "no fold": (rb"(word )\r\n |(word)\r\n( )", rb"\1\2\3", "could be folded"),
    "a field twice": (rb"(Subject: )", rb"Subject: x\r\n\1", "2 subject fields"),
    "a field more": (rb"(Subject: )", rb"Bcc: x@x.example\r\n\1", "header fields"),
    "a field less": (rb"X-Two: two\r\n", b"", "header fields"),
    "two fields swapped": (rb"(X-Two: one\r\n)(X-Two: two\r\n)", rb"\2\1", "X-Two"),
    "no MIME-Version": (rb"MIME-Version: 1.0\r\n", b"", "no mime-version"),
    "another date": (rb"08:00:00", b"08:00:01", "Date"),
    "another day of the week": (rb"Date: Mon", b"Date: Tue", "Date"),
    "an address swapped": (rb"person1@x.example, person2@", b"person2@x.example, person1@", "Cc"),
    "an address lost": (rb"person2@x.example,", b"", "Cc"),
    "an address cut": (rb"person3@x.example", b"person3@x.exampl", "Cc"),
    "a comma lost": (rb"(person1@x.example),", rb"\1", "no mailbox"),
    "a quote lost": (rb'To: "', b"To: ", "no mailbox"),
    "a backslash lost": (rb'\\"q', b'"q', "To"),
    "a comment out of a name": (rb'"a \\"q\\" \(c\), d"', b"a (c)", "no mailbox"),
    "a name lost": (rb"Plain Name\s+<(c@x.example)>", rb"\1", "To"),
    "an encoded word in quotes": (rb"From: (=\?\S+\?=)", rb'From: "\1"', "in a quoted string"),
    "an encoded word not alone": (rb"From: (=\?\S+\?=)", rb"From: x\1", "outside of an encoded word"),
    "an encoded word too long": (rb"Subject: (=\?utf-8\?.\?)", rb"Subject: \1" + b"QUFB" * 19, "an encoded word of"),
    "a character split": (rb"=C3=BC", b"=C3?= =?utf-8?q?=BC", "can't be decoded on its own"),
    "an identifier encoded": (rb"<1@x.example>", b"=?utf-8?q?=3C1=40x.example=3E?=", "not message identifiers"),
    "an identifier less": (rb"<1@x.example> ", b"", "References"),
    "a boundary changed": (rb"\r\n--=_related_(?=\w+\r\n)", b"\r\n--=_relatex_", "related"),
    "a boundary not closed": (rb"--\r\n\Z", b"\r\n", "without end"),
    "a preamble": (rb"(\r\n\r\n)(--=_mixed_)", rb"\1Hello\r\n\2", "preamble"),
    "an epilogue": (rb"\Z", b"Bye\r\n", "epilogue"),
    "a boundary within a part": (rb"inner\r\n\r\n", b"inner\r\n\r\nx --=_mixed_" + STEM.encode(), "occurs within"),
    "a multipart encoded": (rb"(boundary=\S+\r\n)", rb"\1Content-Transfer-Encoding: base64\r\n", "transfer encoding"),
    "related without type": (rb"related; type=\S+;", b"related;", "multipart/related"),
    "a Content-ID without brackets": (rb"Content-ID: <(.*?)>", rb"Content-ID: \1", "angle brackets"),
    "another Content-ID": (rb"Content-ID: <1", b"Content-ID: <2", "Content-ID"),
    "another reference": (rb"cid:1", b"cid:2", "HTML"),
    "an attachment's octet lost": (rb"AAECAwQF", b"AAECAwQ", "base64"),
    "an attachment's octet changed": (rb"AAECAwQF", b"AAECAwQG", "octets of"),
    "base64 with a blank": (rb"AAECAwQF", b"AAEC AwQF", "not base64"),
    "a base64 line too long": (rb"(AAECAwQF\S+)\r\n", rb"\1", "base64 line of"),
    "quoted-printable in small letters": (rb"=C3=84", b"=c3=84", "quoted-printable"),
    "quoted-printable with a blank at the end": (rb"=C3=84", b"=C3=84 \r\n", "quoted-printable"),
    "a soft break lost": (rb"(many words) ?=\r\n|=20\r\n", rb"\1", ""),
    "a paragraph cut": (rb"(?:=20|many )\r\n", b"\r\n", "text"),
    "two names": (rb"name=inner.eml", b"name=outer.eml", "two names"),
    "a continuation lost": (rb" filename\*0\*=\S+\r\n", b"", "holes"),
    "a continuation in the wrong place": (rb"filename\*1\*=", b"filename*2*=", "holes"),
    "a character split between continuations": (rb"%E5%90%8D", b"%E5%90;\r\n filename*9*=%8D", "splits a character"),
    "a parameter not quoted": (rb"filename\*=utf-8''\S+", b"filename=a b", "no parameter"),
    "a description lost": (rb"Content-Description: .*?\r\n", b"", "description"),
    "a disposition changed": (rb"Content-Disposition: inline", b"Content-Disposition: attachment", "disposition"),
    "a type changed": (rb"application/pdf", b"application/pdx", "type"),
    "a method lost": (rb"; method=REQUEST", b"", "parameters"),
    "a charset lost": (rb"text/html; charset=utf-8", b"text/html", "parameters"),
    "a calendar's line lost": (rb"VERSION:2.0\r\n", b"", "text/calendar"),
}


@pytest.mark.parametrize(("pattern", "instead", "word"), DAMAGES.values(), ids=DAMAGES)
def test_a_damage_is_seen(good: bytes, pattern: bytes, instead: bytes, word: str) -> None:
    """Each damage is reported, and by its name."""
    damaged, count = re.subn(pattern, instead, good, count=1, flags=re.DOTALL)
    assert count == 1
    assert [fault for fault in complaints(damaged) if word in fault]


def _deleted(octets: bytes, at: int) -> bytes:
    return octets[:at] + octets[at + 1 :]


def _changed(octets: bytes, at: int) -> bytes:
    return octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]


@pytest.mark.parametrize("damage", [_deleted, _changed])
def test_no_single_octet_may_change(good: bytes, damage: Callable[[bytes, int], bytes]) -> None:
    """An octet lost or changed anywhere is seen."""
    assert [at for at in range(len(good)) if not complaints(damage(good, at))] == []


def test_flowed_text_is_joined() -> None:
    """Lines that end in a blank go on; quotation, stuffing and the signature are read by RFC 3676."""
    text = "a \r\nb\r\n> c \r\n> d\r\n>> e\r\n >f\r\n-- \r\ng"
    assert unflowed(text) == ((0, "a b"), (1, "c d"), (2, "e"), (0, ">f"), (0, "-- "), (0, "g"))


def test_texts_expect_what_the_charset_holds() -> None:
    """What a character set can't hold is not expected; NEL ends a line in EBCDIC, and nowhere else."""
    assert texts.encoded("a€名\nb", "cp1252").expected == "a€\r\nb\r\n"
    assert texts.encoded("a€\x85b", "cp1141").expected == "a€\r\nb\r\n"
    assert texts.encoded("\ufeffa\x85", "utf-8").expected == "a\x85\r\n"
