"""Known ways to break a mail, each through the whole package: envelope or finished message in, octets out.

The octets are judged by a strict reader of our own and by `email`. CVE and cpython numbers name the flaw that a vector
exploits elsewhere; all of them are open in an unpatched Python 3.11.
"""

from __future__ import annotations

import email.header
import email.policy
import email.utils
import random
import re
import socket
import time
import tracemalloc
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from email import message_from_bytes
from quopri import decodestring

import pytest
import tomli_w

from maildrop.errors import InvalidJob
from maildrop.mail.envelope import Defaults, Limits, parse_envelope
from maildrop.mail.message import Identity, Message, Need, compose
from maildrop.mail.pickup import Dialect, Pickup
from maildrop.smtp.data import DataWriter

Composed = Callable[..., tuple[Message, bytes]]
ReadPickup = Callable[..., Pickup]

EVIL_WORD = "=?utf-8?q?=0D=0ABcc=3A_evil=40x?="
BASE: dict[str, object] = {"from": "a@x.example", "to": "b@y.example"}
HEAD = b"From: a@x.example\r\nTo: b@y.example\r\nDate: x\r\nMessage-ID: <1@x.example>\r\n"

_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\[ -~])*)"')
_ENCODED = re.compile(r"=\?utf-8\?([bq])\?([!-<>@-~=]+)\?=")
_ADDRESS = re.compile(rf"(?:{_ATOM.pattern}|{_QUOTED.pattern})@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")


def fields_of(octets: bytes) -> dict[str, str]:
    """Read a header section strictly: ASCII, CRLF, lines as short as promised, each name once; values unfolded."""
    head = octets.partition(b"\r\n\r\n")[0].decode("ascii")
    assert re.search("\r(?!\n)|(?<!\r)\n|[^\r\n -~]", head) is None
    fields: dict[str, str] = {}
    name = ""
    for line in head.split("\r\n"):
        assert 0 < len(line.strip(" ")) <= 998
        assert len(line) <= 76 or "=?" not in line
        assert len(line) <= 78 or " " not in re.sub('"[^"]*"', "", line.partition(": ")[2].strip(" "))
        if line.startswith(" "):
            fields[name] += line
            continue
        name, colon, value = line.partition(":")
        assert colon
        assert re.fullmatch("[!-9;-~]+", name)
        assert name not in fields
        fields[name] = value
    return {name: value.strip(" ") for name, value in fields.items()}


def words_of(text: str) -> str:
    """Decode a run of encoded words with single blanks between them; anything else is an error."""
    decoded = ""
    for word in text.split(" "):
        match = _ENCODED.fullmatch(word)
        assert match is not None
        assert len(word) <= 75
        octets = b64decode(match[2]) if match[1] == "b" else decodestring(match[2].replace("_", "=20"))
        decoded += octets.decode()  # each word holds whole characters
    return decoded


def mailboxes_of(value: str) -> list[tuple[str, str]]:
    """Read an address list strictly: atoms, quoted strings or encoded words before brackets, or a bare address."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(value):
        start = value.find("<", position)
        quoted = _QUOTED.match(value, position)
        bare = _ADDRESS.match(value, position)
        if bare and value[bare.end() : bare.end() + 1] in ("", ","):
            name, address, position = "", bare.group(), bare.end()
        else:
            if quoted:
                name, start = re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end() + 1
            else:
                phrase = value[position : start - 1]
                name = words_of(phrase) if "=?" in phrase else phrase
                assert "=?" in phrase or all(_ATOM.fullmatch(word) and "." not in word for word in phrase.split(" "))
            assert value[start - 1 : start + 1] == " <"
            match = _ADDRESS.match(value, start + 1)
            assert match is not None
            address, position = match.group(), match.end() + 1
            assert value[position - 1] == ">"
        found.append((name, address))
        assert value[position : position + 2] in ("", ", ")
        position += 2
    return found


def second_opinion(octets: bytes, name: str) -> list[tuple[str, str]]:
    """Read an address list with the standard library."""
    value = str(message_from_bytes(octets, policy=email.policy.compat32)[name]).replace("\r\n", "")
    return [
        (str(email.header.make_header(email.header.decode_header(shown))), address)
        for shown, address in email.utils.getaddresses([value])
    ]


def check_octets(octets: bytes) -> None:
    """Check what no message may hold: stray CR, LF or NUL, long lines, an end that is no line end."""
    assert re.search(rb"\r(?!\n)|(?<!\r)\n|\0", octets) is None
    assert octets.endswith(b"\r\n")
    assert max(map(len, octets.split(b"\r\n"))) <= 998


def on_the_wire(octets: bytes, step: int) -> bytes:
    """Return what DATA sends of a message that comes in pieces."""
    writer = DataWriter()
    wire = b"".join([writer.feed(octets[start : start + step]) for start in range(0, len(octets), step)])
    return wire + writer.terminator


def refused(composed: Composed, envelope: Mapping[str, object], files: Mapping[str, bytes] | None = None) -> str:
    """Return the problems of a job that must not become a message."""
    with pytest.raises(InvalidJob) as refusal:
        composed(tomli_w.dumps(envelope), files)
    return str(refusal.value)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..\\x", "C:\\x", ".", "..", "ok\0.pdf", "a\r\nBcc: x"])
def test_44_46_attachment_names_that_are_paths_or_cut(composed: Composed, name: str) -> None:
    """A shown name is no path, and no NUL or line end cuts it, whether declared or found on disk."""
    envelope = BASE | {"attachments": [{"path": "f", "name": name}]}
    assert "attachments[0].name" in refused(composed, envelope, {"f": b""})
    assert "attachments[0]" in refused(composed, BASE | {"attachments": [name]}, {"f": b""})


def test_56_many_recipients(composed: Composed) -> None:
    """1,000 names cost milliseconds, 1,001 are refused, and none is lost on the way."""
    people = [{"name": f'Fünf, "{index}" (x)', "address": f"u{index}@x.example"} for index in range(1001)]
    assert "at most 1000 are allowed" in refused(composed, BASE | {"to": people})
    began = time.process_time()
    _, octets = composed(tomli_w.dumps(BASE | {"to": people[:1000]}))
    assert time.process_time() - began < 2
    found = mailboxes_of(fields_of(octets)["To"])
    assert found == [(person["name"], person["address"]) for person in people[:1000]]


@pytest.mark.parametrize(
    "text",
    [
        "a@b.example> NOTIFY=NEVER",
        "a@b.example,c@d.example",
        "a@b.example c@d.example",
        "Evil <a@b.example",
        "a@b.example\0",
        "a b@c.example",
        "alice@x.example)bob@y.example",  # CVE-2023-27043
        "<alice@x.example><bob@y.example>",
        "alice@x.example]bob@y.example",
        '"alice@x.example" bob@y.example',
        EVIL_WORD + "@x.example",
        '"' + EVIL_WORD + '"@x.example',
        "x=?utf-8?q?=41=40y=2Eexample=3E?=@x.example",
    ],
)
def test_57_cve_2023_27043_address_tricks(composed: Composed, picked_up: ReadPickup, text: str) -> None:
    """What is not exactly one address is none, in envelopes, in X-Receiver and in From of finished messages."""
    for key in ("from", "sender", "return_path"):
        assert key in refused(composed, BASE | {key: text})
    for key in ("to", "cc", "bcc", "recipients"):
        assert key in refused(composed, {**BASE, key: [text]})
    with pytest.raises(InvalidJob):
        picked_up(b"X-Receiver: " + text.encode() + b"\r\n" + HEAD + b"\r\n")
    if text != "a@b.example,c@d.example":  # two authors are two authors
        with pytest.raises(InvalidJob):
            picked_up(HEAD.replace(b"a@x.example", text.encode(), 1) + b"\r\n")


@pytest.mark.parametrize("text", ["alice@x.example(<bob@y.example>", 'alice@x.example"<bob@y.example>'])
def test_57_cve_2023_27043_a_name_is_never_the_address(composed: Composed, picked_up: ReadPickup, text: str) -> None:
    """In a list of an envelope all before the bracket is the name; no reader takes it for the address."""
    _, octets = composed(tomli_w.dumps(BASE | {"to": [text]}))
    assert mailboxes_of(fields_of(octets)["To"]) == [(text.partition("<")[0], "bob@y.example")]
    assert second_opinion(octets, "To") == [(text.partition("<")[0], "bob@y.example")]
    assert "to" in refused(composed, BASE | {"to": text})
    with pytest.raises(InvalidJob):
        picked_up(HEAD.replace(b"a@x.example", text.encode(), 1) + b"\r\n")


@pytest.mark.parametrize("mark", ["\r\n", "\n", "\r", "\0", "\x0b", "\x1b", "\x7f", "\x85", "\u2028", "\ud800"])
def test_58_69_cpython_87290_controls_in_commands_and_fields(composed: Composed, mark: str) -> None:
    """Cpython #87290, CVE-2026-1299: no control gets into an address, a name, an id, a subject, a field or its name."""
    evil = f"x{mark}Bcc: z@evil.example"
    escaped = "".join([f"\\u{ord(sign):04X}" for sign in mark])
    for line in (
        'from = "EVIL <a@x.example>"',
        'to = ["EVIL <a@x.example>"]',
        'to = [{name = "EVIL", address = "a@x.example"}]',
        'to = "aEVIL@x.example"',
        'return_path = "aEVIL@x.example"',
        'recipients = ["a@x.example.EVIL"]',
        'subject = "EVIL"',
        'message_id = "<aEVIL@x.example>"',
        'references = ["<aEVIL@x.example>"]',
        'attachments = [{path = "f", name = "EVIL"}]',
        'attachments = [{path = "f", description = "EVIL"}]',
        'attachments = [{path = "f", type = "a/bEVIL"}]',
        'headers = {X-A = "EVIL"}',
        'headers = {"X-EVIL" = "a"}',
        'headers = {X-A = "trailingMARK"}',
        'subject = "trailingMARK"',
    ):
        toml = line.replace("EVIL", evil.replace(mark, escaped)).replace("MARK", escaped)
        given = {key: value for key, value in BASE.items() if not toml.startswith(key)}
        with pytest.raises(InvalidJob):
            composed(tomli_w.dumps(given) + toml + "\n", {"f": b""})


@pytest.mark.parametrize(
    "text", [EVIL_WORD + " " + "word " * 30, "word " * 20 + EVIL_WORD, f"{EVIL_WORD} {EVIL_WORD}", "x" + EVIL_WORD * 9]
)
def test_66_cve_2024_6923_encoded_word_that_is_a_line_break(
    composed: Composed, picked_up: ReadPickup, text: str
) -> None:
    """An encoded line break in user text arrives as that text; no reader finds one field more."""
    text = text.strip()
    envelope = BASE | {"from": {"name": text, "address": "a@x.example"}, "subject": text, "headers": {"X-A": text}}
    envelope["attachments"] = [{"path": "f", "name": text[:120], "description": text}]
    _, octets = composed(tomli_w.dumps(envelope), {"f": b"content"})
    check_octets(octets)
    fields = fields_of(octets)
    assert not any(name.lower() == "bcc" for name in fields)
    assert all(_ENCODED.fullmatch(word) for word in fields["Subject"].split(" ") if "=?" in word)
    parsed = message_from_bytes(octets, policy=email.policy.default)
    assert (parsed["Subject"], parsed["X-A"]) == (text, text)
    assert second_opinion(octets, "From") == mailboxes_of(fields["From"]) == [(text, "a@x.example")]
    assert b"".join(picked_up(octets).message.chunks()) == octets
    attachment = [part for part in parsed.walk() if not part.is_multipart()][-1]
    assert (attachment.get_filename(), attachment.keys()[-1]) == (text[:120], "Content-Description")


def people_lists() -> Iterator[list[dict[str, str]]]:
    """Make the 4,000 lists of addressees: the same in every run."""
    source = random.Random(4000)
    words = [
        "Müller",
        "Hans",
        "Dr.",
        "(Sales)",
        "O'Neil",
        '"Bob"',
        "a,b",
        "=?utf-8?q?x?=",
        "=?",
        "?=",
        "山田",
        "B\\C",
        ";",
    ]
    words += [
        "<x>",
        "@home",
        "Łódź",
        "x:y",
        EVIL_WORD,
        "long" * 12,
        "😀",
        "(",
        ")",
        '"',
        "[a]",
        ".",
        "e\u0301",
        "Jr.,",
        ":",
    ]
    users = ["a", "hans.mueller", "o'neil", "x+tag", "=q", "?", '"a b"', '"a,b"', '"x@y"', "l" * 64]
    hosts = ["x.example", "faß.example", "mail.bücher.example", "[192.0.2.1]", "a" * 60 + ".example"]
    for _ in range(4000):
        yield [
            {
                "name": source.choice([" ", " ", "  ", ""])
                .join(source.choices(words, k=source.randrange(9)))
                .strip(" "),
                "address": f"{source.choice(users)}@{source.choice(hosts)}",
            }
            for _ in range(source.choice([1, 2, 3, 12]))
        ]


WIRE = {"faß.example": "xn--fa-hia.example", "mail.bücher.example": "mail.xn--bcher-kva.example"}


def test_67_68_cve_2025_1795_four_thousand_lists(identity: Identity, picked_up: ReadPickup) -> None:
    """For cpython #80222, #121284, #87720: 4,000 lists of all that needs care come back unchanged from two readers."""
    for count, people in enumerate(people_lists(), start=1):
        envelope = tomli_w.dumps({"from": "a@x.example", "to": people, "cc": people[:1]})
        mail = parse_envelope(envelope.encode(), files=(), defaults=Defaults(), limits=Limits())
        message = compose(mail.content, identity, open_source=lambda _: None, limits=Limits())  # type: ignore[arg-type, return-value]
        octets = b"".join(message.chunks())
        expected = []
        for person in people:
            local, _, domain = person["address"].rpartition("@")
            expected.append((person["name"], f"{local}@{WIRE.get(domain, domain)}"))
        fields = fields_of(octets)
        assert list(fields)[:5] == ["Date", "From", "To", "Cc", "Message-ID"], count
        to = fields["To"].replace("[192.0.2.1]", "literal")  # newer ones of `email` take no address literals
        shown = [(name, address.replace("[192.0.2.1]", "literal")) for name, address in expected]
        assert mailboxes_of(to) == shown, count
        assert second_opinion(f"To: {to}\r\n\r\n".encode(), "To") == shown, count
        assert mail.delivery.forward_paths == tuple(dict.fromkeys([address for _, address in expected]))
        assert picked_up(octets).delivery.forward_paths == mail.delivery.forward_paths, count


@pytest.mark.parametrize(
    "text", ["(" * 999, '"' * 999, "<" * 999, "a@x.example, " * 900 + "(" * 999, "=?" * 999, "\\" * 999]
)
def test_70_nothing_recurses(composed: Composed, picked_up: ReadPickup, text: str) -> None:
    """Nested and unclosed marks are refused or carried, quickly and without recursion."""
    began = time.process_time()
    assert "to" in refused(composed, BASE | {"to": text})
    with pytest.raises(InvalidJob):
        picked_up(HEAD.replace(b"b@y.example", text[-900:].encode()) + b"\r\n")
    _, octets = composed(tomli_w.dumps(BASE | {"subject": text}))
    fields_of(octets)
    assert time.process_time() - began < 2


def test_71_lines_have_at_most_998_octets(composed: Composed, picked_up: ReadPickup) -> None:
    """Neither 2,000 octets without a blank nor an identifier of 316 nor a text line of 100 kB makes a line too long."""
    long = BASE | {"subject": "s" * 2000, "headers": {"X-A": "h" * 2000}, "message_id": f"<{'m' * 316}@x.example>"}
    long |= {"references": [f"<{index}{'r' * 316}@x.example>" for index in range(20)]}
    for body in (b"x" * 100_000, b"x " * 50_000, "é".encode() * 50_000, b"=" * 100_000):
        _, octets = composed(tomli_w.dumps(long), {"body.txt": body, "body.html": body})
        check_octets(octets)
        fields = fields_of(octets)
        assert fields["Message-ID"] == long["message_id"]
        assert fields["References"].split(" ") == long["references"]
        texts = [part.get_payload(decode=True) for part in message_from_bytes(octets).walk() if not part.is_multipart()]
        assert texts == [body + b"\r\n"] * 2
    with pytest.raises(InvalidJob, match="a line of 2000 octets"):
        picked_up(HEAD + b"\r\n" + b"x" * 2000)


def test_cpython_100991_threads_are_never_encoded(composed: Composed, picked_up: ReadPickup) -> None:
    """Long References and In-Reply-To are folded between identifiers, with no encoded word in them."""
    ids = [f"<AM0PR{index:04}.{'A' * 70}@eurprd01.prod.exchangelabs.example>" for index in range(60)]
    _, octets = composed(tomli_w.dumps(BASE | {"references": ids, "in_reply_to": ids[-1]}))
    fields = fields_of(octets)
    assert (fields["References"].split(" "), fields["In-Reply-To"]) == (ids, ids[-1])
    assert b"=?" not in octets
    assert b"".join(picked_up(octets).message.chunks()) == octets


@pytest.mark.parametrize(
    "name", ["Rechnung ü.pdf", "a b.txt", 'q"x"\\y;z.txt'.replace("\\", ""), "=?x?q?y?=", "n" * 255, "山" * 85]
)
def test_72_names_for_new_and_for_old_clients(composed: Composed, name: str) -> None:
    """A name that is not plain goes as RFC 2231 and, for old clients, as RFC 2047 `name`; both are the same name."""
    _, octets = composed(tomli_w.dumps(BASE | {"attachments": [{"path": "f", "name": name}]}), {"f": b"x"})
    assert octets.isascii()
    part = [part for part in message_from_bytes(octets).walk() if not part.is_multipart()][-1]
    assert part.get_filename() == name
    old = re.sub(r"\r\n ", " ", str(part["Content-Type"])).partition("name=")[2]
    shown = re.sub(r"\\(.)", r"\1", old.strip('"'))
    assert (words_of(shown) if "=?" in shown else shown) == name


# End-of-data lookalikes that some servers take for the end and others for text.
SMUGGLED = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n"
GAPS = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n"]
GAPS += [b"\r\n\0.\r\n", b"\r\n.\r\n", b"\r\n.\r\r\n"]


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_73_74_cve_2023_51764_51765_51766_smuggling(
    composed: Composed, picked_up: ReadPickup, gap: bytes, step: int
) -> None:
    """All eleven lookalikes, in texts, attachments and finished messages, leave one end of data, no stray line end."""
    content = b"hello" + gap + SMUGGLED
    messages = []
    if b"\0" in gap:
        assert "is NUL" in refused(composed, BASE, {"body.txt": content})
        with pytest.raises(InvalidJob, match="NUL"):
            picked_up(HEAD + b"\r\n" + content)
    else:
        messages.append(composed(tomli_w.dumps(BASE), {"body.txt": content, "body.html": content})[1])
        messages += [
            b"".join(picked_up(HEAD + b"\r\n" + content, dialect=dialect).message.chunks()) for dialect in Dialect
        ]
    attached = {"body.txt": b"", "attachments/a.bin": content, "attachments/b.eml": HEAD + b"\r\n" + content}
    messages.append(composed(tomli_w.dumps(BASE), attached)[1])
    for octets in messages:
        check_octets(octets)
        wire = on_the_wire(octets, step)
        assert wire.count(b"\r\n.\r\n") == 1
        assert re.search(rb"\r(?!\n)|(?<!\r)\n", wire) is None
        assert wire.replace(b"\r\n..", b"\r\n.") == octets + b".\r\n"


def test_75_hidden_recipients_stay_hidden(composed: Composed, picked_up: ReadPickup) -> None:
    """Bcc is in the envelope alone, however a finished message spells it."""
    _, octets = composed(tomli_w.dumps(BASE | {"bcc": ["Hidden <z@secret.example>"]}))
    assert b"secret" not in octets
    for field in (b"Bcc", b"BCC ", b"bcc\t", b"Resent-Bcc", b"X-Receiver: z@secret.example\r\nBcc"):
        hidden = field + b": Hidden\r\n <z@secret.example>\r\n"
        contents = [hidden + HEAD + b"\r\nhi\r\n"]
        if b"X-Receiver" not in field:  # only at the top is it the envelope
            contents += [HEAD + hidden + b"\r\nhi\r\n", hidden + HEAD + hidden]
        for content in contents:
            assert b"secret" not in b"".join(picked_up(content).message.chunks())


def test_76_structural_fields_are_refused(composed: Composed) -> None:
    """What only we or the relays may write can't be set by `[headers]`, in any spelling."""
    names = [
        "Return-Path",
        "Received",
        "Sender",
        "DKIM-Signature",
        "Content-Type",
        "content-transfer-encoding",
        "RESENT-TO",
    ]
    names += [
        "From",
        "to",
        "Cc",
        "Bcc",
        "bCC",
        "Subject",
        "Date",
        "Message-ID",
        "MIME-Version",
        "ARC-Seal",
        "X-Receiver",
    ]
    for name in [*names, "Authentication-Results", "In-Reply-To", "References", "Reply-To", "X-Sender", "Importance"]:
        assert name in refused(composed, BASE | {"headers": {name: "x"}})
    for name in ("X-A\r\nBcc", "X A", "X:A", "", "Ü", "x" * 71, "X-A\0"):
        assert "headers" in refused(composed, BASE | {"headers": {name: "x"}})


def test_77_ascii_unless_an_address_needs_more(composed: Composed, picked_up: ReadPickup) -> None:
    """Everything has an ASCII form but a local part; then its field alone holds UTF-8, and the need is said."""
    everything = {"from": "Jörg <j@bücher.example>", "subject": "ü", "headers": {"X-A": "é"}, "to": "ö <b@faß.example>"}
    files = {"body.txt": "ü".encode(), "attachments/ü.bin": b"\xff"}
    message, octets = composed(tomli_w.dumps(everything), files)
    assert octets.isascii()
    assert message.needs == frozenset()
    message, octets = composed(tomli_w.dumps(everything | {"to": ["Ünal <ü@faß.example>"]}), files)
    assert message.needs == {Need.SMTPUTF8}
    lines = [line for line in octets.split(b"\r\n") if not line.isascii()]
    assert lines == ["To: =?utf-8?b?w5xuYWw=?= <ü@xn--fa-hia.example>".encode()]
    assert picked_up(octets).message.needs >= {Need.SMTPUTF8}


class Large:
    """A file of zeros that exists only slice by slice."""

    def __init__(self, name: str, size: int) -> None:
        """Hold only the size."""
        self.name = name
        self.size = size

    def read(self) -> bytes:
        """Return nothing: only the empty text is read whole."""
        assert self.size == 0
        return b""

    def chunks(self, slice_octets: int) -> Iterator[bytes]:
        """Yield zeros."""
        for start in range(0, self.size, slice_octets):
            yield bytes(min(slice_octets, self.size - start))


def test_78_79_memory_and_size(identity: Identity) -> None:
    """A file of 40 MB is announced with its exact size and streamed in less than 2 MiB."""
    files = {"body.txt": 0, "attachments/a.bin": 40_000_000}
    limits = Limits(message_octets=100_000_000)
    mail = parse_envelope(tomli_w.dumps(BASE).encode(), files=files, defaults=Defaults(), limits=limits)
    tracemalloc.start()
    try:
        message = compose(mail.content, identity, open_source=lambda path: Large(path, files[path]), limits=limits)
        size = sum(map(len, message.chunks()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message.size == size
    assert peak < 2 * 1024 * 1024
    with pytest.raises(InvalidJob, match="octets are too large"):
        compose(mail.content, identity, open_source=lambda path: Large(path, files[path]), limits=Limits())


def test_80_no_name_is_looked_up(composed: Composed, picked_up: ReadPickup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Message-ID and Date come from the identity: the resolver is never asked for the host's name."""

    def fail(*_: object) -> None:
        raise AssertionError("the resolver was asked")

    for name in ("getfqdn", "getaddrinfo", "gethostbyaddr", "gethostname"):
        monkeypatch.setattr(socket, name, fail)
    _, octets = composed(tomli_w.dumps(BASE))
    assert fields_of(octets)["Message-ID"].endswith("@host.example>")
    assert b"@host.example>" in b"".join(picked_up(b"From: a@x.example\nTo: b@y.example\n\n").message.chunks())
