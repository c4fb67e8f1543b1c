"""Header fields as octets, read back by the standard library as a second opinion."""

from __future__ import annotations

import email.header
import email.policy
import email.utils
import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes
from quopri import decodestring
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maildrop.mail.address import Mailbox
from maildrop.mail.header import address_field, date_field, decode_words, id_field, parameter_field, text_field
from maildrop.mail.rules import file_name_fault

# What rules.header_fault lets through.
printable = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=300).map(lambda t: t.strip())


# The same with what encoders trip over, at the lengths where lines and words end.
marks = st.sampled_from(
    ["=?", "?=", "=", "?", '"', "\\", "(", ")", ",", "<", ">", "@", ";", " ", "    ", "é", "€", "\U0001f600"]
)
tricky = st.lists(marks | st.text("ab", min_size=1, max_size=80), max_size=30).map(lambda t: "".join(t).strip(" "))

_WORD_LIKE = re.compile(rb"=\?[^ ]*?\?[bq]\?[^ ]*?\?=")
_WORD_FORM = re.compile(rb"=\?utf-8\?(?:b\?([A-Za-z0-9+/=]*)|q\?([!-<>@-~=]*))\?=")


def check_words(line: bytes) -> None:
    """Check that each encoded word of a line is short and holds whole characters."""
    for found in _WORD_LIKE.findall(line):
        match = _WORD_FORM.fullmatch(found)
        assert match is not None
        assert len(found) <= 75
        octets = decodestring(match[2].replace(b"_", b"=20")) if match[1] is None else b64decode(match[1])
        assert octets.decode()


def check_lines(octets: bytes) -> list[bytes]:
    """Check what holds for every field, and return its lines."""
    assert octets.endswith(b"\r\n")
    lines = octets[:-2].split(b"\r\n")
    assert not b"".join(lines).translate(None, bytes(range(32, 256)))
    for index, line in enumerate(lines):
        assert line.strip(), "an empty line would end the header section"
        assert (line[:1] == b" ") is (index > 0)
        assert len(line) <= 998
        if b"=?" in line:
            assert len(line) <= 76
            check_words(line)
        if len(line) > 78:  # allowed only where there is no blank to fold at
            value = line if index else line.partition(b":")[2]
            assert b" " not in value.strip(b" ")
    return lines


def unfolded(octets: bytes) -> str:
    """Return the value of a field without its folds."""
    return octets.decode().partition(":")[2].replace("\r\n", "").strip(" ")


def decoded(value: str) -> str:
    """Decode RFC 2047 words with the standard library."""
    return str(email.header.make_header(email.header.decode_header(value)))


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        ("", b"Subject:\r\n"),
        ("Hello", b"Subject: Hello\r\n"),
        ("a  b", b"Subject: a  b\r\n"),
        ("Grüße", b"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n"),
        ("Café au lait", b"Subject: =?utf-8?b?Q2Fmw6k=?= au lait\r\n"),
        ("zu Händen der Gruppe Émile bitte", b"Subject: zu =?utf-8?q?H=C3=A4nden_der_Gruppe_=C3=89mile?= bitte\r\n"),
        ("?= é", b"Subject: =?utf-8?b?Pz0gw6k=?=\r\n"),
        ("=?us-ascii-and-more", b"Subject: =?utf-8?q?=3D=3Fus-ascii-and-more?=\r\n"),
    ],
)
def test_text_fields(value: str, octets: bytes) -> None:
    """Plain words stay readable; what is not ASCII, and every =?, is encoded."""
    assert text_field("Subject", value) == octets


def test_encoded_word_in_user_text_stays_text() -> None:
    """CVE-2024-6923: a subject that is an encoded line break can't become a header line."""
    evil = "=?utf-8?q?=0D=0ABcc=3A_evil=40x?= " + "word " * 30 + "end"
    encoded = text_field("Subject", evil)
    check_lines(encoded)
    message = message_from_bytes(encoded + b"\r\n", policy=email.policy.default)
    assert message.keys() == ["Subject"]
    assert message["Subject"] == evil


def test_long_subjects_fold_at_blanks() -> None:
    """A long plain subject is folded at 78 columns, only where a blank was."""
    value = "word " * 60 + "end"
    lines = check_lines(text_field("Subject", value))
    assert max(map(len, lines)) <= 78
    assert b"".join(lines).decode() == f"Subject: {value}"


def test_urls_in_plain_fields_stay_whole() -> None:
    """A long token is not encoded while a line can hold it: structured fields such as List-Unsubscribe live on that."""
    value = "<https://x.example/" + "a" * 300 + ">, <mailto:leave@x.example>"
    encoded = text_field("List-Unsubscribe", value)
    assert b"=?" not in encoded
    assert unfolded(encoded) == value


def test_no_line_is_too_long() -> None:
    """What no line can hold is encoded, whatever it is."""
    for value in ("a" * 5000, "a" + " " * 2000 + "b", "é" * 5000, "x" * 997):
        encoded = text_field("X-Long", value)
        check_lines(encoded)
        assert decode_words(unfolded(encoded)) == value


@settings(max_examples=300)
@given(printable | tricky)
def test_text_is_read_back(value: str) -> None:
    """Any value without controls comes back unchanged, for the standard library too."""
    encoded = text_field("Subject", value)
    check_lines(encoded)
    assert encoded.isascii()
    assert decoded(unfolded(encoded)) == value
    assert decode_words(unfolded(encoded)) == value


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=70))
def test_long_field_names_leave_no_blank_line(name: str) -> None:
    """Any legal name and an encoded value make legal lines."""
    check_lines(text_field(name.replace("=?", "xx"), "é" * 100))


def mailbox(name: str, address: str = "a@x.example") -> Mailbox:
    """Make a mailbox whose parts are taken as they are."""
    local, _, domain = address.rpartition("@")
    return Mailbox(name=name, local=local, domain=domain)


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("", b"To: a@x.example\r\n"),
        ("Plain Name", b"To: Plain Name <a@x.example>\r\n"),
        ("Doe, J.", b'To: "Doe, J." <a@x.example>\r\n'),
        ('A "B" \\ C', b'To: "A \\"B\\" \\\\ C" <a@x.example>\r\n'),
        ("two  blanks", b'To: "two  blanks" <a@x.example>\r\n'),
        ("Müller, Hans", b"To: =?utf-8?q?M=C3=BCller=2C_Hans?= <a@x.example>\r\n"),
    ],
)
def test_display_names(name: str, octets: bytes) -> None:
    """A name is atoms, one quoted string, or encoded words that hold its commas too (CVE-2025-1795)."""
    assert address_field("To", [mailbox(name)]) == octets


def test_long_quoted_name_with_parentheses() -> None:
    """The display name that made the standard library end the header section is one field here."""
    name = "x (" + "aaa bbb, ccc (ddd) " * 12 + ")"
    octets = address_field("To", [mailbox(name), mailbox("Zoé"), mailbox("plain")])
    check_lines(octets)
    parsed = message_from_bytes(octets + b"Subject: x\r\n\r\nbody", policy=email.policy.compat32)
    assert parsed.keys() == ["To", "Subject"]
    found = email.utils.getaddresses([unfolded(octets)])
    assert [(decoded(shown), address) for shown, address in found] == [
        (name, "a@x.example"),
        ("Zoé", "a@x.example"),
        ("plain", "a@x.example"),
    ]


@settings(max_examples=300)
@given(
    st.lists(st.tuples(printable | tricky, st.sampled_from(["a@x.example", "b.c@y.example"])), min_size=1, max_size=12)
)
def test_addresses_are_read_back(people: list[tuple[str, str]]) -> None:
    """Any list of names gives the same addresses and names back."""
    octets = address_field("To", [mailbox(name, address) for name, address in people])
    check_lines(octets)
    found = email.utils.getaddresses([unfolded(octets)])
    assert [address for _, address in found] == [address for _, address in people]
    assert [decoded(shown) for shown, _ in found] == [name for name, _ in people]


def test_domains_are_ascii_in_fields() -> None:
    """An internationalised domain is written in its ASCII form; a local part beyond ASCII is the only raw UTF-8."""
    assert address_field("To", [mailbox("", "a@faß.example")]) == b"To: a@xn--fa-hia.example\r\n"
    assert address_field("To", [mailbox("", "ü@x.example")]) == "To: ü@x.example\r\n".encode()
    assert address_field("To", [mailbox("", "john smith@x.example")]) == b'To: "john smith"@x.example\r\n'


def test_identifiers_are_folded_and_never_encoded() -> None:
    """A thread of long identifiers keeps each of them whole."""
    ids = [f"<{index}.{'x' * 60}=?utf-8?q?=@host.example>" for index in range(30)]
    octets = id_field("References", ids)
    assert all(len(line) < 150 for line in octets.split(b"\r\n"))
    assert unfolded(octets).split() == ids


@pytest.mark.parametrize("identifier", ["<a\r\nBcc: x@y>", "<é@x>", "<a\0b@x>"])
def test_identifiers_with_controls_are_refused(identifier: str) -> None:
    """An identifier can't be encoded, so a bad one stops the field."""
    with pytest.raises(ValueError, match="identifier"):
        id_field("In-Reply-To", [identifier])


@pytest.mark.parametrize(
    ("date", "octets"),
    [
        (datetime(2026, 11, 3, 8, 5, 9, 999, tzinfo=UTC), b"Date: Tue, 3 Nov 2026 08:05:09 +0000\r\n"),
        (datetime(2026, 1, 1, tzinfo=timezone(-timedelta(hours=3, minutes=30))), b"Thu, 1 Jan 2026 00:00:00 -0330\r\n"),
        (datetime(1900, 1, 1, 12, tzinfo=timezone(timedelta(seconds=3208))), b"Mon, 1 Jan 1900 11:06:32 +0000\r\n"),
    ],
)
def test_dates(date: datetime, octets: bytes) -> None:
    """Dates are RFC 5322, in English whatever the locale, with whole minutes of offset."""
    assert date_field("Date", date).endswith(octets)


def test_dates_need_a_time_zone() -> None:
    """A naive date is a programming error."""
    with pytest.raises(ValueError, match="time zone"):
        date_field("Date", datetime(2026, 1, 1))  # noqa: DTZ001


@settings(max_examples=300)
@given((printable | tricky).filter(lambda name: name[:1] + name[-1:] not in ("", "<>", '""')))  # `email` removes those
def test_file_names_are_read_back(name: str) -> None:
    """Any file name comes back from RFC 2231, and from RFC 2047 for old clients."""
    octets = parameter_field("Content-Disposition", "attachment", {"filename": name})
    assert octets.isascii()
    assert max(map(len, check_lines(octets))) <= 78
    parsed = message_from_bytes(octets + b"\r\n")
    assert parsed.get_filename() == name
    octets = parameter_field("Content-Type", "application/pdf", {"name": name})
    assert max(map(len, check_lines(octets))) <= 78
    shown = message_from_bytes(octets.replace(b"\r\n ", b" ") + b"\r\n").get_param("name")
    assert decoded(email.utils.collapse_rfc2231_value(shown or "")) == name


@pytest.mark.parametrize("mark", ["é", "=?", '"', "\\", "€"])
@pytest.mark.parametrize("length", [1, 10, 30, *range(44, 80), 110, 111, 112, 113, 200])
def test_lines_end_where_they_must(mark: str, length: int) -> None:
    """At every length where a word or a line is just full, no line is a single octet too long."""
    for name in (mark + "a" * length, "a" * length + mark, mark * length, "a b" + " " * length + mark):
        check_lines(parameter_field("Content-Type", "a/b", {"charset": "x", "name": name}))
        check_lines(parameter_field("Content-Type", "a/b", {"name": name, "method": "REQUEST"}))
        check_lines(parameter_field("Content-Disposition", "attachment", {"filename": name, "size": "1"}))
        check_lines(text_field("Subject", name))
        check_lines(address_field("To", [mailbox(name), mailbox(name)]))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "/etc/passwd",
        "..\\x",
        "a\0b",
        "a\nb",
        "\u200b",
        "\u3000\xa0",
        "\ufeff",
        "a\u202eb",
        "é" * 128,
    ],
)
def test_names_are_no_paths_and_never_empty(name: str) -> None:
    """A name that is a path, shows nothing, turns the reading direction or does not fit a file system is refused."""
    assert file_name_fault(name)


@settings(max_examples=300)
@given(st.lists(st.from_regex(r"<[!-;=?-~]{1,90}>", fullmatch=True), min_size=1, max_size=40))
def test_threads_are_read_back(ids: list[str]) -> None:
    """Identifiers of any form are folded at blanks, never encoded, and come back in order."""
    for name in ("References", "In-Reply-To"):
        octets = id_field(name, ids)
        assert unfolded(octets).split(" ") == ids
        lines = octets[:-2].split(b"\r\n")
        assert all(len(line) <= 78 or line.strip().count(b" ") == (line[:1] != b" ") for line in lines)
        assert all(line.strip(b" ") for line in lines)


def test_continuations_hold_whole_characters() -> None:
    """No %XX sequence of one character is spread over two continuations: some clients decode them one by one."""
    octets = parameter_field("Content-Disposition", "attachment", {"filename": "Größe und Währung €" * 12})
    for line in octets.decode().split("\r\n")[1:-1]:
        value = line.partition("=")[2].rstrip(";").removeprefix("utf-8''")
        assert "\ufffd" not in unquote(value, errors="replace")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?= x", "Grüße x"),
        ("=?iso-8859-1?Q?a?= =?utf-8?B?w6k=?=", "aé"),
        ("=?nonsense?q?a?=", "=?nonsense?q?a?="),
        ("=?utf-8?b?a?=", "=?utf-8?b?a?="),
        ("=?utf-8?q?=ff?=", "=?utf-8?q?=ff?="),
        ("plain", "plain"),
        ("a?= =?utf-8?q?=3D=3F?= =?", "a?= =? =?"),
        ("=?cp1141?q?=9F=F5?=", "€5"),
        ("=?unicode_escape?q?=5Cq?=", "=?unicode_escape?q?=5Cq?="),
        ("=?rot13?q?a?=", "=?rot13?q?a?="),
        ("=?utf-8*en?Q?a_b?=", "a b"),
        ("=?utf-8?b?é?=", "=?utf-8?b?é?="),
    ],
)
def test_words_are_decoded_for_people(value: str, text: str) -> None:
    """Encoded words of finished messages are shown decoded; what can't be read stays."""
    assert decode_words(value) == text
