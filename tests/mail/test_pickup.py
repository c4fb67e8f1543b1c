"""Finished messages: envelope, removal, addition, dialects, refusals; nothing else changes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maildrop.errors import InvalidJob
from maildrop.mail.envelope import Defaults, InDoubt, Limits, Overrides, Partial
from maildrop.mail.message import Identity, Need
from maildrop.mail.part import SourceChanged
from maildrop.mail.pickup import Dialect, Pickup, read_pickup

ReadPickup = Callable[..., Pickup]

WRITERS = Path(__file__).parent / "pickup"
ADDED = b"Date: Mon, 23 Nov 2026 08:00:00 +0000\r\nMessage-ID: <0123456789abcdef0123456789abcdef@host.example>\r\n"
WHOLE = (
    b"Received: from a by b;\r\n\tMon, 23 Nov 2026 08:00:00 +0000\r\n"
    b"From: A <a@x.example>\r\nTo: b@x.example,\r\n c@x.example\r\n"
    b"Date: Mon, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID:\r\n <own@x.example>\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"X-Odd:value  \r\n\r\nbody\r\n.dot\r\n"
)


def octets_of(pickup: Pickup) -> bytes:
    """Return the message's octets, of which there are as many as announced."""
    octets = b"".join(pickup.message.chunks())
    assert len(octets) == pickup.message.size
    return octets


def problems(read: ReadPickup, content: bytes, **settings: object) -> list[str]:
    """Return the problems as lines."""
    with pytest.raises(InvalidJob) as refusal:
        read(content, **settings)
    return [str(problem).removeprefix("message.eml: ") for problem in refusal.value.problems]


def test_a_whole_message_is_not_changed(picked_up: ReadPickup) -> None:
    """A message that lacks nothing goes out octet by octet."""
    pickup = picked_up(WHOLE)
    assert octets_of(pickup) == WHOLE
    assert pickup.delivery.reverse_path == "a@x.example"
    assert pickup.delivery.forward_paths == ("b@x.example", "c@x.example")
    assert pickup.message.message_id == "<own@x.example>"
    assert pickup.subject == "Grüße"
    assert pickup.message.needs == frozenset()


def test_x_sender_and_x_receiver(picked_up: ReadPickup) -> None:
    """The block at the very top is the envelope and goes; later fields of these names are the message's own."""
    pickup = picked_up(
        b'X-Receiver: <b@y.example>\nx-sender: s@y.example\nX-Receiver: "C, D"\n <c@y.example>\n'
        b"X-Receiver: b@Y.example\n"
        b"From: a@x.example\nTo: ignored@x.example\nX-Receiver: kept@x.example\n\nhi"
    )
    assert pickup.delivery.reverse_path == "s@y.example"
    assert pickup.delivery.forward_paths == ("b@y.example", "c@y.example")
    assert octets_of(pickup) == (
        b"From: a@x.example\r\nTo: ignored@x.example\r\nX-Receiver: kept@x.example\r\n" + ADDED + b"\r\nhi\r\n"
    )


def described(pickup: Pickup) -> str:
    """Describe what goes where as text: the envelope, an empty line, the message."""
    lines = [f"sender {pickup.delivery.reverse_path}"]
    lines += [f"recipient {path}" for path in pickup.delivery.forward_paths]
    lines += [f"needs {need}" for need in sorted(pickup.message.needs)]
    lines += [f"subject {pickup.subject}", "", octets_of(pickup).decode().replace("\r\n", "\n")]
    return "\n".join(lines)


@pytest.mark.parametrize("name", sorted(path.stem for path in WRITERS.glob("*.eml")))
def test_what_programs_write(picked_up: ReadPickup, name: str) -> None:
    """The files of .NET, CDO, PHPMailer, Perl, Outlook and signers go out as the text beside each says."""
    content = (WRITERS / f"{name}.eml").read_bytes()
    assert described(picked_up(content)) == (WRITERS / f"{name}.txt").read_text("utf-8")


def test_null_sender(picked_up: ReadPickup) -> None:
    """X-Sender: <> is the null reverse-path."""
    assert picked_up(b"X-Sender: <>\nFrom: a@x.example\nTo: b@x.example\n\n").delivery.reverse_path == ""


@pytest.mark.parametrize(
    "field",
    [b"Bcc: z@x.example", b"BCC : z@x.example", b"bcc:\n z@x.example", b"Bcc:z@x.example", b"bCC\t:\n\tz@x.example"],
)
def test_bcc_never_leaves(picked_up: ReadPickup, field: bytes) -> None:
    """Bcc gives recipients and is removed, however it is written."""
    pickup = picked_up(b"From: a@x.example\n" + field + b"\nTo: Friends: b@x.example;, undisclosed:;\n\nhi\n")
    assert pickup.delivery.forward_paths == ("z@x.example", "b@x.example")
    assert b"z@x" not in octets_of(pickup)


def test_resent_fields(picked_up: ReadPickup) -> None:
    """Fields of an earlier journey name no recipients and stay, but who was hidden there stays hidden."""
    resent = b"Resent-From: r@x.example\r\nResent-To: s@x.example\r\nresent-BCC:\r\n\tz@x.example\r\n"
    pickup = picked_up(resent + WHOLE)
    assert pickup.delivery.forward_paths == ("b@x.example", "c@x.example")
    assert octets_of(pickup) == resent.partition(b"resent-BCC")[0] + WHOLE


names = st.sampled_from(["X-A", "Subject", "x.y!", "Received", "Comments", "Resent-To", "X-Sender"])
values = st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.just("\t"), max_size=60), max_size=3)
legal_fields = st.lists(st.tuples(names, values.map(lambda lines: "\r\n\t".join(["", *lines, "x"])[3:])), max_size=6)
legal_bodies = st.lists(st.binary(max_size=80).map(lambda line: line.translate(None, b"\r\n\0")), max_size=20)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=legal_fields, body=legal_bodies)
def test_any_legal_message_is_not_changed(
    picked_up: ReadPickup, fields: list[tuple[str, str]], body: list[bytes]
) -> None:
    """A legal message goes out octet for octet, and the same comes from its LF and CR forms."""
    head = "From: a@x.example\r\nTo: b@y.example\r\nDate: x\r\nMessage-ID: <1@x.example>\r\n"
    head += "".join([f"{name}:{value}\r\n" for name, value in fields])
    whole = head.encode() + b"\r\n" + b"".join([line + b"\r\n" for line in body])
    for end in (b"\r\n", b"\n", b"\r"):
        assert octets_of(picked_up(whole.replace(b"\r\n", end), dialect=Dialect.PLAIN)) == whole
    stuffed = whole.replace(b"\r\n.", b"\r\n..")
    assert octets_of(picked_up(stuffed, dialect=Dialect.IIS)) == whole
    if b"\r\n." in whole:
        assert octets_of(picked_up(stuffed)) == whole


def test_many_authors(picked_up: ReadPickup) -> None:
    """With several authors the Sender field names the one who sends, else the first author."""
    base = b"From: a@x.example, b@x.example\nTo: c@x.example\n"
    assert picked_up(base + b"Sender: b@x.example\n\n").delivery.reverse_path == "b@x.example"
    assert picked_up(base + b"\n").delivery.reverse_path == "a@x.example"


def test_envelope_beside_the_message(picked_up: ReadPickup) -> None:
    """Delivery keys of an envelope.toml win over the message, but the block and Bcc still go."""
    overrides = Overrides(
        reverse_path="",
        forward_paths=("o@x.example",),
        relays=("main",),
        expires=timedelta(hours=1),
        priority=5,
        in_doubt=InDoubt.HOLD,
        partial=Partial.ALL_OR_NOTHING,
        meta={"a": 1},
    )
    pickup = picked_up(b"X-Sender: s@x.example\nFrom: broken\nBcc: x@x.example\n\n", overrides=overrides)
    delivery = pickup.delivery
    assert (delivery.reverse_path, delivery.forward_paths, delivery.relays) == ("", ("o@x.example",), ("main",))
    assert (delivery.expires, delivery.priority, delivery.meta) == (timedelta(hours=1), 5, {"a": 1})
    assert (delivery.in_doubt, delivery.partial) == (InDoubt.HOLD, Partial.ALL_OR_NOTHING)
    assert octets_of(pickup) == b"From: broken\r\n" + ADDED + b"\r\n"


def test_defaults_count_where_nothing_is_said(picked_up: ReadPickup) -> None:
    """The configuration's in_doubt and partial hold for finished messages too."""
    defaults = Defaults(in_doubt=InDoubt.ASSUME_SENT, partial=Partial.ALL_OR_NOTHING)
    delivery = picked_up(WHOLE, defaults=defaults).delivery
    assert (delivery.in_doubt, delivery.partial) == (InDoubt.ASSUME_SENT, Partial.ALL_OR_NOTHING)


@pytest.mark.parametrize(
    ("dialect", "body", "sent"),
    [
        (Dialect.AUTO, b"..a\n...b\n", b".a\r\n..b\r\n"),
        (Dialect.AUTO, b"..a\n.b\n", b"..a\r\n.b\r\n"),
        (Dialect.AUTO, b"..a\n.\n", b"..a\r\n.\r\n"),
        (Dialect.AUTO, b"no dots\n", b"no dots\r\n"),
        (Dialect.PLAIN, b"..a\n", b"..a\r\n"),
        (Dialect.IIS, b"..a\n.b\n.\n", b".a\r\nb\r\n.\r\n"),
    ],
)
def test_dialects(picked_up: ReadPickup, dialect: Dialect, body: bytes, sent: bytes) -> None:
    """Dot-stuffed files are unstuffed: if told so, or if every line with a leading dot has two."""
    octets = octets_of(picked_up(b"From: a@x.example\nTo: b@x.example\n\n" + body, dialect=dialect))
    assert octets.partition(b"\r\n\r\n")[2] == sent


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_line_ends(picked_up: ReadPickup, end: bytes) -> None:
    """CR, LF and CRLF end lines, in the header section too."""
    content = end.join([b"From: a@x.example", b"To: b@x.example", b"", b"one", b"", b"two"])
    assert octets_of(picked_up(content)) == (
        b"From: a@x.example\r\nTo: b@x.example\r\n" + ADDED + b"\r\none\r\n\r\ntwo\r\n"
    )


def test_a_header_section_alone(picked_up: ReadPickup) -> None:
    """Without an empty line all is header, and the empty line is added."""
    assert octets_of(picked_up(b"From: a@x.example\nTo: b@x.example")) == (
        b"From: a@x.example\r\nTo: b@x.example\r\n" + ADDED + b"\r\n"
    )


def test_needs(picked_up: ReadPickup) -> None:
    """UTF-8 in the header needs SMTPUTF8, octets beyond ASCII anywhere need 8BITMIME."""
    head = b"From: a@x.example\nTo: b@x.example\n"
    assert picked_up(head + b"\n\xff\n").message.needs == {Need.EIGHTBITMIME}
    both = picked_up(head + "Subject: ü\n\n".encode())
    assert both.message.needs == {Need.SMTPUTF8, Need.EIGHTBITMIME}
    assert both.subject == "ü"
    hidden = "X-Sender: a@x.example\nBcc: ü <z@x.example>\n".encode() + head
    assert picked_up(hidden + b"\n").message.needs == frozenset()
    assert picked_up(hidden + b"\n\xff").message.needs == {Need.EIGHTBITMIME}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ["there is no From field; write From: Name <user@example.com>"]),
        (b"\n\nbody", ["there is no From field; write From: Name <user@example.com>"]),
        (b"To: b@x.example\n\n", ["there is no From field; write From: Name <user@example.com>"]),
        (b"From: a@x.example\nFrom: b@x.example\nTo: b@x.example\n\n", ["there are 2 From fields; expected one"]),
        (b"From: a@x.example\n\n", ["there are no recipients; write To, Cc, Bcc or X-Receiver"]),
        (b"From:\nTo: b@x.example\n\n", ["From: has no address; expected the author"]),
        (
            b"From: a\nTo: b,c@x.example\nCc: d@\n\n",
            [
                "From: 'a' has no '@'; expected an address such as user@example.com",
                "To: 'b' has no '@'; expected an address such as user@example.com",
                "Cc: has no domain after the '@'",
            ],
        ),
        (
            b"From: a@x.example\nTo: b@x.example\n\na\0b" + b"x" * 999,
            [
                "contains a NUL, which no message may; encode binary content as base64",
                "has a line of 1002 octets; a message has at most 998; encode the part as quoted-printable or base64",
            ],
        ),
        (
            b"From: a@x.example\nTo: b@x.example\nSubject: " + b"x" * 990 + b"\n\n",
            ["has a line of 999 octets; a message has at most 998; encode the part as quoted-printable or base64"],
        ),
        (
            b"From: a@x.example\nTo: b@x.example\nSubject: \xe9\n\n",
            ["Subject: has octets that are neither ASCII nor UTF-8"],
        ),
        (
            b"From a@x Mon\nFrom: a@x.example\n\n",
            ["line 1 of the header section is no field: 'From a@x Mon'; this is a"],
        ),
        (b"\xef\xbb\xbfFrom: a@x.example\n\n", ["line 1 of the header section is no field"]),
        (b" folded: x\nFrom: a@x.example\n\n", ["line 1 of the header section is no field"]),
        (
            b"From: a@x.example\nHello Bob\n",
            ["line 2 of the header section is no field: 'Hello Bob'; expected Name: v"],
        ),
        (
            b"X-Sender: a@x.example\nX-Sender: b@x.example\nFrom: a@x.example\nTo: b@x.example\n\n",
            ["there are 2 X-Sender"],
        ),
        (
            b"X-Receiver: a@x.example NOTIFY=NEVER\nFrom: a@x.example\n\n",
            ["X-Receiver: 'x.example NOTIFY=NEVER' is not a"],
        ),
        (
            b"X-Sender:\nFrom: a@x.example\nTo: b@x.example\n\n",
            ["X-Sender: is empty; expected an address such as Name <user@example.com>"],
        ),
        (b"X-Sender: a@x.example\nFrom:\nTo: b@x.example\n\n", ["From: has no address; expected the author"]),
        (b"From: nobody:;\nTo: b@x.example\n\n", ["From: has no address; expected the author"]),
        (b"From: a@x.example\nTo: nobody:;\n\n", ["there are no recipients; write To, Cc, Bcc or X-Receiver"]),
        (
            b"X-Receiver: \xfc@x.example\nFrom: a@x.example\n\n",
            ["X-Receiver: has octets that are neither ASCII nor UTF-8; encode them (RFC 2047)"],
        ),
        (
            b"From: a@x.example\r\r\nTo: b@x.example\r\r\nBcc: z@x.example\r\r\n\r\r\nhi\r\r\n",
            ["its lines end in CR CR LF: line ends were converted twice; copy it in binary mode; CRLF"],
        ),
        (
            b"From: a@x.example\nTo: a@x.example; b@x.example\n\n",
            ["To: 'a@x.example; b@x.example' has a ';'; expected commas between addresses"],
        ),
        (b"X-Receiver: <>\nFrom: a@x.example\n\n", ["X-Receiver: '' has no '@'"]),
    ],
)
def test_refusals(picked_up: ReadPickup, content: bytes, expected: list[str]) -> None:
    """What can't be sent is refused with every problem."""
    found = problems(picked_up, content)
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


SIGNED = b"DKIM-Signature: v=1; a=rsa-sha256; d=x.example;\n h=From : To :\n %s; bh=x; b=y\n"


@pytest.mark.parametrize(
    ("names", "head", "broken"),
    [
        (b"bcc", b"Bcc: z@x.example\n", "bcc"),
        (b"Date", b"", "date"),
        (b"Message-ID:Date", b"", "date, message-id"),
        (b"Subject", b"Bcc: z@x.example\n", ""),
        (b"Bcc", b"", ""),
    ],
)
def test_signatures_are_not_broken(picked_up: ReadPickup, names: bytes, head: bytes, broken: str) -> None:
    """A DKIM signature that covers what has to be removed or added makes the job invalid; others stay."""
    content = SIGNED % names + b"From: a@x.example\nTo: b@x.example\n" + head + b"\nhi\n"
    if broken:
        what = f"DKIM-Signature: the signature covers {broken}, which would have to be removed or added; "
        assert problems(picked_up, content)[0].startswith(what)
    else:
        assert octets_of(picked_up(content)).startswith(b"DKIM-Signature: v=1; a=rsa-sha256; d=x.example;\r\n h=From")


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_signed_messages_keep_their_octets(picked_up: ReadPickup, end: bytes) -> None:
    """Line ends of one kind stand for the CRLF that was signed; nothing else in a signed message changes."""
    whole = (SIGNED % b"Date:Message-ID:Bcc:Subject" + b"Subject: a  \tb \n" + WHOLE.replace(b"\r\n", b"\n")).replace(
        b"\n", b"\r\n"
    )
    assert octets_of(picked_up(whole.replace(b"\r\n", end))) == whole
    assert octets_of(picked_up(b"X-Sender: a@x.example" + end + whole.replace(b"\r\n", end))) == whole


@pytest.mark.parametrize("canonical", [(b"simple", b"simple"), (b"relaxed", b"relaxed")])
@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_signatures_still_verify(picked_up: ReadPickup, end: bytes, canonical: tuple[bytes, bytes]) -> None:
    """An independent verifier accepts what goes out of a signed file without its envelope and a Bcc not covered."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    secret = b64encode(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    record = b"v=DKIM1; k=ed25519; p=" + b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    options = {"canonicalize": canonical, "signature_algorithm": b"ed25519-sha256", "include_headers": [b"from", b"to"]}
    signature = dkim.sign(WHOLE, b"s", b"x.example", secret, **options)
    content = b"X-Sender: s@x.example\r\n" + signature + b"Bcc: z@x.example\r\n" + WHOLE
    sent = octets_of(picked_up(content.replace(b"\r\n", end)))
    assert dkim.verify(sent, dnsfunc=lambda *_, **__: record)
    assert not dkim.verify(sent.replace(b"body", b"Body"), dnsfunc=lambda *_, **__: record)


@pytest.mark.parametrize("body", [b"a\r\nb\n", b"a\r\nb\rc\r\n", b"x" * 300_000, b"\r"])
def test_mixed_line_ends_under_a_signature(picked_up: ReadPickup, body: bytes) -> None:
    """Mixed line ends can't be what was signed, wherever they are; without a signature they are mended."""
    head = b"From: a@x.example\nTo: b@y.example\nDate: x\nMessage-ID: <1@x.example>\n"
    if b"x" in body:
        body = b"\r\n".join([body[start : start + 900] for start in range(0, len(body), 900)])
    (problem,) = problems(picked_up, SIGNED % b"Subject" + head + b"\n" + body)
    assert problem.startswith("DKIM-Signature: line ends are mixed: no signature covers them as the CRLF that they")
    assert problem.endswith("; write CRLF at the end of every line, then sign")
    assert octets_of(picked_up(head + b"\n" + body))


def test_guessed_dots_under_a_signature(picked_up: ReadPickup) -> None:
    """Whether dots were doubled is not guessed where a wrong guess breaks a signature; said so, it is done."""
    content = SIGNED % b"Subject" + WHOLE.replace(b"\r\n", b"\n").replace(b"\n.", b"\n..")
    (problem,) = problems(picked_up, content)
    assert problem.startswith("DKIM-Signature: it can't be told whether the dots at the front of lines were doubled")
    assert b"\r\n.dot" in octets_of(picked_up(content, dialect=Dialect.IIS))
    assert b"\r\n..dot" in octets_of(picked_up(content, dialect=Dialect.PLAIN))


def test_every_signature_counts(picked_up: ReadPickup) -> None:
    """Of several signatures each one that would break is named, however its list of fields is folded."""
    one = b"DKIM-Signature: v=1; bh=h; h=From; b=y\n"
    two = b"dkim-signature: v=1; h\t=\n\tFrom:\n\t To :\tRESENT-BCC;\n\tb=y; bh=x\n"
    three = b"DKIM-Signature:\n h=bcc:From;b=z\n"
    content = one + two + three + b"From: a@x.example\nTo: b@x.example\nBcc: c@x.example\nResent-Bcc: d@x.example\n\n"
    assert [problem.partition(",")[0] for problem in problems(picked_up, content)] == [
        "dkim-signature: the signature covers resent-bcc",
        "DKIM-Signature: the signature covers bcc",
    ]


def test_signed_block(picked_up: ReadPickup) -> None:
    """A signature below the block that covers X-Sender would break as well."""
    content = b"X-Sender: a@x.example\n" + SIGNED % b"x-sender" + b"From: a@x.example\nTo: b@x.example\n\n"
    assert "covers x-sender" in problems(picked_up, content)[0]


def test_limits(picked_up: ReadPickup) -> None:
    """Recipients, octets and the header section are bounded."""
    few = Limits(recipients=2, message_octets=300)
    many = b"From: a@x.example\nTo: a@x.example, b@x.example, c@x.example\n\n"
    assert problems(picked_up, many, limits=few) == ["has 3 recipients; at most 2 are allowed"]
    long = b"From: a@x.example\nTo: a@x.example\n\n" + b"x\n" * 200
    assert problems(picked_up, long, limits=few) == ["has 638 octets; at most 300 are allowed"]
    endless = b"From: a@x.example\nTo: a@x.example\n" + b"X-A: b\n" * 60_000
    assert problems(picked_up, endless) == ["the header section has more than 262144 octets; an empty line ends it"]


@pytest.mark.parametrize("surplus", [0, 1])
def test_the_border_of_the_header_section(picked_up: ReadPickup, surplus: int) -> None:
    """A header section of 256 KiB is the largest, also where the whole file is larger."""
    head = b"From: a@x.example\r\nTo: b@x.example\r\nDate: x\r\nMessage-ID: <1@x.example>\r\n"
    filler = b"X: " + b"y" * 95 + b"\r\n"
    head += filler * ((256 * 1024 - len(head)) // len(filler) - 1)
    head += b"Z: " + b"z" * (256 * 1024 - len(head) - 3 + surplus) + b"\r\n"
    whole = head + b"\r\n" + b"line\r\n" * 40_000
    if surplus:
        assert problems(picked_up, whole) == ["the header section has more than 262144 octets; an empty line ends it"]
    else:
        assert octets_of(picked_up(whole)) == whole


def test_an_oversized_file_stays_unread(identity: Identity) -> None:
    """A file that can't become small enough is refused by its size alone."""

    class Endless(Slices):
        def chunks(self, slice_octets: int) -> Iterator[bytes]:
            raise AssertionError(f"read in slices of {slice_octets}")

    source = Endless(b"")
    source.size = 1 << 40
    with pytest.raises(InvalidJob, match="1099511627776 octets; at most 52428800 are allowed"):
        read_large(source, identity)


class Slices:
    """A large file, read in slices; ``later`` is what it holds when it is read again."""

    name = "message.eml"

    def __init__(self, content: bytes, later: bytes | None = None) -> None:
        """Hold the content of the first and of later readings."""
        self.size = len(content)
        self._contents = [content, content if later is None else later]

    def read(self) -> bytes:
        """Fail: nobody may read a large file whole."""
        raise AssertionError("a large message was read whole")

    def chunks(self, slice_octets: int) -> Iterator[bytes]:
        """Yield the content of this reading."""
        content = self._contents.pop(0) if len(self._contents) > 1 else self._contents[0]
        for start in range(0, len(content), slice_octets):
            yield content[start : start + slice_octets]


def read_large(source: Slices, identity: Identity) -> Pickup:
    """Read a finished message in slices."""
    return read_pickup(
        source,
        overrides=None,
        identity=identity,
        defaults=Defaults(),
        dialect=Dialect.AUTO,
        limits=Limits(),
    )


@pytest.mark.parametrize("stuffed", [False, True])
def test_large_messages_are_streamed(identity: Identity, *, stuffed: bool) -> None:
    """A large message goes through in slices and comes out as a small one would."""
    head = b"X-Sender: s@x.example\nFrom: a@x.example\nTo: b@x.example\nBcc: z@x.example\n\n"
    body = (b"..dot\n" if stuffed else b"line\r\n") * 100_000
    pickup = read_large(Slices(head + body), identity)
    expected = (b".dot\r\n" if stuffed else b"line\r\n") * 100_000
    sent = octets_of(pickup)
    assert sent.partition(b"\r\n\r\n")[2] == expected
    assert sent.startswith(b"From: a@x.example\r\nTo: b@x.example\r\n" + ADDED)


def test_a_large_header_section_is_streamed_past(identity: Identity) -> None:
    """A header section of more than one slice is cut off at the right octet."""
    head = b"From: a@x.example\nTo: b@x.example\n" + b"X-A: b\n" * 25_000
    body = b"line\r\n" * 50_000
    sent = octets_of(read_large(Slices(head + b"\n" + body), identity))
    assert sent.partition(b"\r\n\r\n")[2] == body
    assert sent.count(b"X-A: b\r\n") == 25_000


def test_a_message_that_changes_is_not_finished(identity: Identity) -> None:
    """A file that has another size when it is sent raises."""
    head = b"From: a@x.example\nTo: b@x.example\n\n"
    pickup = read_large(Slices(head + b"x\n" * 200_000, head + b"x\n" * 199_999), identity)
    with pytest.raises(SourceChanged):
        list(pickup.message.chunks())


@given(
    st.lists(
        st.sampled_from([b"From: a@x.example", b"To: b@x.example", b"Bcc: z@x.example", b" fold", b"X: y", b"", b"."])
    )
)
def test_any_message_is_sent_or_refused(lines: list[bytes]) -> None:
    """Whatever the lines, the octets are legal and without Bcc, or there are problems."""
    identity = Identity(message_id="<i@x.example>", date=datetime(2026, 11, 23, tzinfo=UTC), boundary="b")

    class Memory(Slices):
        def read(self) -> bytes:
            return b"\n".join(lines)

    try:
        octets = octets_of(read_large(Memory(b"\n".join(lines)), identity))
    except InvalidJob:
        return
    head = octets.partition(b"\r\n\r\n")[0]
    assert b"z@x" not in head
    assert octets.endswith(b"\r\n")
    assert head.count(b"\r\nMessage-ID: ") == 1
