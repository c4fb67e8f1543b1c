"""Composed messages: structure, encodings, sizes, the same octets each time."""

from __future__ import annotations

import email.policy
import quopri
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage

import pytest

from maildrop.errors import InvalidJob, Problem
from maildrop.mail.envelope import Attachment, Defaults, Limits, parse_envelope
from maildrop.mail.message import Identity, Message, Need, compose, new_identity
from maildrop.mail.part import Source, SourceChanged, attachment_part, base64_lines, base64_size

Composed = Callable[..., tuple[Message, bytes]]

HEAD = 'from = "Alice <alice@example.com>"\nto = "bob@example.org"\n'


def reread(octets: bytes) -> EmailMessage:
    """Parse with the standard library, a second opinion."""
    return message_from_bytes(octets, policy=email.policy.default)


def test_a_plain_message_octet_by_octet(composed: Composed) -> None:
    """The smallest message is what a person would write by hand."""
    message, octets = composed(HEAD + 'subject = "Hello"', {"body.txt": b"Hi Bob,\nbye\n"})
    assert octets == (
        b"Date: Mon, 23 Nov 2026 08:00:00 +0000\r\n"
        b"From: Alice <alice@example.com>\r\n"
        b"To: bob@example.org\r\n"
        b"Subject: Hello\r\n"
        b"Message-ID: <0123456789abcdef0123456789abcdef@host.example>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Hi Bob,\r\nbye\r\n"
    )
    assert message.size == len(octets)
    assert message.message_id == "<0123456789abcdef0123456789abcdef@host.example>"
    assert message.needs == frozenset()
    assert list(message.chunks()) == [octets]


def test_every_header_field(composed: Composed) -> None:
    """Each key has its field, in a fixed order; Bcc has none."""
    _, octets = composed(
        HEAD
        + """
        cc = "c@x.example"
        bcc = "hidden@x.example"
        reply_to = "r@x.example"
        sender = "s@x.example"
        subject = "Größe"
        message_id = "own@x.example"
        date = 2020-02-29T12:00:00-05:30
        in_reply_to = "i@x.example"
        references = ["a@x.example", "i@x.example"]
        importance = "low"
        headers = {X-One = "1", X-Two = ["a", "ü"]}
        """
    )
    assert b"hidden" not in octets
    assert b"bcc" not in octets.lower()
    message = reread(octets)
    assert dict(message.items()) | {"X-Two": message.get_all("X-Two")} == {
        "Date": "Sat, 29 Feb 2020 12:00:00 -0530",
        "From": "Alice <alice@example.com>",
        "Sender": "s@x.example",
        "Reply-To": "r@x.example",
        "To": "bob@example.org",
        "Cc": "c@x.example",
        "Subject": "Größe",
        "Message-ID": "<own@x.example>",
        "In-Reply-To": "<i@x.example>",
        "References": "<a@x.example> <i@x.example>",
        "Importance": "low",
        "X-Priority": "5",
        "X-One": "1",
        "X-Two": ["a", "ü"],
        "MIME-Version": "1.0",
        "Content-Type": 'text/plain; charset="utf-8"',
        "Content-Transfer-Encoding": "7bit",
    }


STRUCTURES: list[tuple[dict[str, bytes], list[str]]] = [
    ({}, ["text/plain"]),
    ({"body.html": b"<p>x"}, ["text/html"]),
    ({"body.txt": b"x", "body.html": b"<p>x"}, ["multipart/alternative", "text/plain", "text/html"]),
    ({"attachments/a.bin": b"x"}, ["multipart/mixed", "text/plain", "application/octet-stream"]),
    (
        {"body.txt": b"x", "body.html": b"<p>x", "attachments/a.csv": b"x", "attachments/b.png": b"x"},
        ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "text/csv", "image/png"],
    ),
]


@pytest.mark.parametrize(("files", "types"), STRUCTURES)
def test_structure(composed: Composed, files: dict[str, bytes], types: list[str]) -> None:
    """Text, HTML and attachments make the usual tree, and nothing more than needed."""
    message, octets = composed(HEAD, files)
    assert [part.get_content_type() for part in reread(octets).walk()] == types
    assert message.size == len(octets)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"", "7bit"),
        (b"a\tb\n", "7bit"),
        (b"x" * 998, "7bit"),
        (b"x" * 999, "quoted-printable"),
        (b"a\n" * 2000 + b"x" * 999, "quoted-printable"),
        ("Grüße\n".encode(), "base64"),
        ("Viele Grüße aus dem Süden\n".encode(), "quoted-printable"),
        ("日本語のテキスト\n".encode() * 20, "base64"),
        (b"esc \x1b and bell \x07 in a longer text\n", "quoted-printable"),
        (b"form\x0cfeed in a page of text\n", "quoted-printable"),
        (b"trailing blanks   \nplain", "7bit"),
        ("wide trailing blanks   \nplain text that is longer é".encode(), "quoted-printable"),
    ],
)
def test_smallest_legal_transfer_encoding(composed: Composed, body: bytes, encoding: str) -> None:
    """7bit where it is legal, else the smaller of quoted-printable and base64; the text comes back unchanged."""
    _, octets = composed(HEAD, {"body.txt": body})
    message = reread(octets)
    assert message["Content-Transfer-Encoding"] == encoding
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    content = message.get_payload(decode=True)
    expected = body if not body or body.endswith(b"\n") else body + b"\n"
    assert content == expected.replace(b"\n", b"\r\n")


def test_declared_charset_and_where_it_fails(composed: Composed) -> None:
    """Text is read in its declared set and sent as UTF-8; what does not decode is told with line and octet."""
    _, octets = composed(HEAD + 'charset = "cp1141"', {"body.txt": b"\xe3\x85\xa2\xa3\x40\x9f\x15"})
    assert reread(octets).get_content() == "Test €\r\n"
    with pytest.raises(InvalidJob) as refusal:
        composed(HEAD, {"body.txt": b"ok\nbad \xe9\n", "body.html": b"\0"})
    assert [str(problem) for problem in refusal.value.problems] == [
        "body.txt: line 2: octet 7 (hex e9) is not utf-8; set charset to what the file is written in, or convert it",
        "body.html: line 1: octet 0 is NUL; a text has no NUL; attach it instead",
    ]


def test_attachments_are_bit_for_bit(composed: Composed) -> None:
    """Attachments come back octet for octet with type, name, charset and description."""
    content = bytes(range(256)) * 41
    envelope = (
        HEAD + 'attachments = [{path = "x", name = "Größe \\"1\\".csv", charset = "cp037", description = "Übersicht"}]'
    )
    _, octets = composed(envelope, {"x": content})
    part = list(reread(octets).iter_attachments())[0]  # noqa: RUF015  (the list shows that there is one)
    assert part.get_payload(decode=True) == content
    assert part.get_content_type() == "text/csv"
    assert part.get_filename() == 'Größe "1".csv'
    assert part.get_param("charset") == "cp037"
    assert part["Content-Description"] == "Übersicht"


@pytest.mark.parametrize(
    ("content", "media_type", "received"),
    [
        (b"From: a@x\nTo: b@x\r\rhi", "message/rfc822", b"From: a@x\r\nTo: b@x\r\n\r\nhi\r\n"),
        (b"From: a@x\n\n\xff", "application/octet-stream", None),
        (b"From: a@x\n\n\0", "application/octet-stream", None),
        (b"From: a@x\n\n" + b"x" * 999, "application/octet-stream", None),
        (b"From: a@x\n\n--=_mixed_0123456789abcdef0123456789abcdef--\n", "application/octet-stream", None),
    ],
)
def test_messages_as_attachments(composed: Composed, content: bytes, media_type: str, received: bytes | None) -> None:
    """An .eml is attached as a message if it is a legal 7-bit one, else bit for bit."""
    message, octets = composed(HEAD, {"attachments/a.eml": content})
    assert message.size == len(octets)
    part = list(reread(octets).iter_parts())[1]
    assert (part.get_content_type(), part.get_filename()) == (media_type, "a.eml")
    if received is None:
        assert part.get_payload(decode=True) == content
    else:
        assert received in octets


def test_a_boundary_can_not_be_written_by_a_user(composed: Composed) -> None:
    """Text that contains the boundary is encoded, so the structure can't be broken."""
    body = b"--=_mixed_0123456789abcdef0123456789abcdef--\nForged: yes\n"
    _, octets = composed(HEAD, {"body.txt": body, "attachments/a": b"x"})
    parts = [part for part in reread(octets).walk() if not part.is_multipart()]
    assert [part.get_payload(decode=True) for part in parts] == [body.replace(b"\n", b"\r\n"), b"x"]


def test_needs(composed: Composed) -> None:
    """Only a local part beyond ASCII in a header field needs SMTPUTF8; domains and names don't."""
    assert composed('from = "Ü <a@faß.example>"\nto = "b@x.example"\nbcc = "ü@x.example"')[0].needs == frozenset()
    for key in ("cc", "reply_to", "sender"):
        message, octets = composed(HEAD + f'{key} = "ü@x.example"')
        assert message.needs == {Need.SMTPUTF8}
        assert "ü@x.example".encode() in octets


def test_the_same_identity_gives_the_same_octets(composed: Composed) -> None:
    """chunks() can be called again, and a second composition is the same mail."""
    files = {"body.txt": "ä".encode(), "attachments/a": bytes(300_000), "attachments/b.eml": b"From: a@x\n\n"}
    message, octets = composed(HEAD, files)
    assert b"".join(message.chunks()) == octets
    assert composed(HEAD, files)[1] == octets


def test_identity_is_made_from_what_it_is_given() -> None:
    """Clock and random token come from the caller; microseconds are dropped."""
    identity = new_identity(domain="x.example", now=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), token="ab" * 20)
    assert identity == Identity(
        message_id=f"<{'ab' * 20}@x.example>", date=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), boundary="ab" * 16
    )


class Sparse:
    """A large file that is nowhere, and may change while it is read."""

    def __init__(self, name: str, size: int, *, missing: int = 0) -> None:
        """Pretend ``size`` octets but yield ``missing`` less."""
        self.name = name
        self.size = size
        self.missing = missing

    def read(self) -> bytes:
        """Fail: nobody may read a large file whole."""
        raise AssertionError("an attachment was read whole")

    def chunks(self, slice_octets: int) -> Iterator[bytes]:
        """Yield zeros."""
        left = self.size - self.missing
        while left > 0:
            yield bytes(min(slice_octets, left))
            left -= slice_octets


def compose_large(sources: Mapping[str, Sparse], identity: Identity, limits: Limits | None = None) -> Message:
    """Compose a message of attachments that are not in memory."""
    chosen = limits or Limits()
    mail = parse_envelope(HEAD.encode(), files=set(sources), defaults=Defaults(), limits=chosen)
    return compose(mail.content, identity, open_source=sources.__getitem__, limits=chosen)


def test_memory_does_not_grow_with_the_attachment(identity: Identity) -> None:
    """An attachment is never in memory whole: its size is known beforehand and its octets come in slices."""
    message = compose_large({"attachments/a": Sparse("attachments/a", 20_000_003)}, identity)
    tracemalloc.start()
    try:
        sizes = [len(chunk) for chunk in message.chunks()]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(sizes) == message.size
    assert max(sizes) < 400_000
    assert peak < 2_000_000


def test_a_file_that_shrinks_stops_the_message(identity: Identity) -> None:
    """A file that gives another number of octets than it had raises, so that no final dot is sent."""
    message = compose_large({"attachments/a": Sparse("attachments/a", 1_000_000, missing=1)}, identity)
    with pytest.raises(SourceChanged, match="attachments/a: the file was changed"):
        list(message.chunks())


def test_too_large_a_message(composed: Composed, identity: Identity) -> None:
    """The limit counts the octets on the wire, and is judged before anything is read."""
    limits = Limits(message_octets=1_000_000)
    with pytest.raises(InvalidJob, match=r"envelope\.toml: \d+ octets are too large for a message; at most 1000000"):
        compose_large({"attachments/a": Sparse("attachments/a", 900_000)}, identity, limits)
    with pytest.raises(InvalidJob, match=r"body\.txt: 1000001 octets are too large"):
        composed(HEAD, {"body.txt": b"x" * 1_000_001}, limits)


def test_refusals_of_files_are_gathered(identity: Identity) -> None:
    """What opening a file refuses is told together with everything else."""
    mail = parse_envelope(
        HEAD.encode(), files={"body.txt", "attachments/a", "attachments/b"}, defaults=Defaults(), limits=Limits()
    )

    def refuse(path: str) -> Sparse:
        raise InvalidJob(path, [Problem(where=path, what="is a link")])

    with pytest.raises(InvalidJob) as refusal:
        compose(mail.content, identity, open_source=refuse, limits=Limits())
    assert [problem.where for problem in refusal.value.problems] == ["body.txt", "attachments/a", "attachments/b"]


def test_long_texts_in_other_scripts(composed: Composed) -> None:
    """A text of many slices is base64 without a seam."""
    body = "日本語のテキスト\r\n".encode() * 20_000
    message, octets = composed(HEAD, {"body.txt": body})
    assert message.size == len(octets)
    assert reread(octets).get_payload(decode=True) == body


@pytest.mark.parametrize("name", ["a.eml", "a.bin"])
def test_a_part_knows_its_size(make_source: Callable[..., Source], name: str) -> None:
    """The size of a part is known before its octets are read."""
    attachment = Attachment(path=name, name=name, type=None)
    part = attachment_part(make_source(name, b"From: a@x\n\n" + b"hi\n" * 50_000), attachment, boundary="=_b")
    assert part.size == sum(len(chunk) for chunk in part.chunks())


@pytest.mark.parametrize("length", [0, 1, 2, 3, 56, 57, 58, 114, 57 * 2048 - 1, 57 * 2048, 57 * 2048 + 1])
def test_base64_sizes(length: int) -> None:
    """The size of base64 is known without encoding."""
    lines = base64_lines(bytes(length))
    assert len(lines) == base64_size(length)
    assert all(len(line) <= 76 for line in lines.split(b"\r\n"))
    assert not lines or lines.endswith(b"\r\n")


def test_quoted_printable_lines_end_at_76(composed: Composed) -> None:
    """A blank at the end of a full line is encoded on a line of its own; binascii alone would make it 77 octets."""
    for width in range(66, 80):
        text = b"\xc3\xa9" + b"x" * width + b" \r\n" + b"\xc3\xa9" + b"x" * width + b"\t\r\n"
        octets = composed(HEAD, {"body.txt": text})[1]
        assert b"quoted-printable" in octets
        body = octets.partition(b"\r\n\r\n")[2]
        assert max(map(len, body.split(b"\r\n"))) <= 76
        assert quopri.decodestring(body) == text
