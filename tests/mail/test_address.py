"""Addresses: what is read, what is refused, and the exact octets that go on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildrop.mail.address import AddressError, Mailbox, parse_mailbox, parse_mailbox_list, parse_path

GOOD = [
    ("user@example.com", "", "user@example.com"),
    (" user@example.com ", "", "user@example.com"),
    ("<user@example.com>", "", "user@example.com"),
    ("Hans Müller <h@x.example>", "Hans Müller", "h@x.example"),
    ("Müller, Hans <h@x.example>", "Müller, Hans", "h@x.example"),
    ("Dr. Hans (Sales) <h@x.example>", "Dr. Hans (Sales)", "h@x.example"),
    ('"Müller, \\"Hans\\"" <h@x.example>', 'Müller, "Hans"', "h@x.example"),
    ('"a <b> c" <h@x.example>', "a <b> c", "h@x.example"),
    ('Hans "Johnny" M <h@x.example>', 'Hans "Johnny" M', "h@x.example"),
    ("user@x.example <user@x.example>", "user@x.example", "user@x.example"),
    ('"john smith"@x.example', "", '"john smith"@x.example'),
    ('"john"@x.example', "", "john@x.example"),
    ('<"a@b"@x.example>', "", '"a@b"@x.example'),
    ("a+b=c@x.example", "", "a+b=c@x.example"),
    ("user@localhost", "", "user@localhost"),
    ("user@Example.COM", "", "user@Example.COM"),
    ("user@[192.0.2.1]", "", "user@[192.0.2.1]"),
    ("user@[IPv6:2001:db8::1]", "", "user@[IPv6:2001:db8::1]"),
    ("user@faß.example", "", "user@xn--fa-hia.example"),
    ("user@BÜCHER.example", "", "user@xn--bcher-kva.example"),
    ("user@例え。テスト", "", "user@xn--r8jz45g.xn--zckzah"),
    ("用户@例え.テスト", "", "用户@xn--r8jz45g.xn--zckzah"),
    ("user@xn--fa-hia.example", "", "user@xn--fa-hia.example"),
]

BAD = [
    "",
    " ",
    "user",
    "@x.example",
    "user@",
    "a@b> NOTIFY=NEVER",
    "a@b,c@d",
    "a@x.example, B <b@y.example>",
    "a@x.example; B <b@y.example>",
    "Hans <h@x.example",
    "Hans <h@x.example> tail",
    "a b@x.example",
    "a..b@x.example",
    ".a@x.example",
    "a.@x.example",
    "a@b@x.example",
    '""@x.example',
    "a@x..example",
    "a@x.example.",
    "a@-x.example",
    "a@x_y.example",
    "a@1.2.3.4",
    "a@[300.1.2.3]",
    "a@[IPv6:fe80::1%eth0]",
    "a@[x",
    "a\n@x.example",
    "a@x.example\n",
    "a@x.example\r\nRCPT TO:<evil@x.example>",
    "a\0@x.example",
    "a\x7f@x.example",
    "a@x\u2028.example",
    "a\udc80@x.example",
    "N\tame <a@x.example>",
    "a\u00a0b@x.example",
    "a\u202eb@x.example",
    "a" * 65 + "@x.example",
    "é" * 33 + "@x.example",
    "a@" + "x" * 64 + ".example",
    "a@" + "x." * 130 + "example",
    "a" * 60 + "@" + ("b" * 48 + ".") * 4 + "example",
]


@pytest.mark.parametrize(("text", "name", "wire"), GOOD)
def test_reads_a_mailbox(text: str, name: str, wire: str) -> None:
    """Whatever stands before the bracket is the name; the wire form is ASCII but for a local part that is not."""
    mailbox = parse_mailbox(text)
    assert (mailbox.name, mailbox.address) == (name, wire)
    assert mailbox.needs_smtputf8 is not wire.isascii()


@pytest.mark.parametrize("text", BAD)
def test_refuses_what_is_no_mailbox(text: str) -> None:
    """Nothing is cut, trimmed or repaired into an address that was not meant."""
    with pytest.raises(AddressError):
        parse_mailbox(text)


def test_reads_a_list_in_one_string() -> None:
    """A string is an RFC 5322 list: quoted names hold commas, comments vanish, dots in names are fine."""
    found = parse_mailbox_list('a@x.example, "Müller, H." <h@y.example>,J. R. Doe (the (first)) <j@z.example> (hi)')
    assert [(mailbox.name, mailbox.address) for mailbox in found] == [
        ("", "a@x.example"),
        ("Müller, H.", "h@y.example"),
        ("J. R. Doe", "j@z.example"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Müller, Hans <h@x.example>",
        "a@x.example,,b@x.example",
        "a@x.example,",
        "Team: a@x.example;",
        "undisclosed-recipients:;",
        "a@x.example (open",
        "a@x.example) b",
        '"open <a@x.example>',
        "@a,@b:c@d.example",
        "(" * 1000,
    ],
)
def test_refuses_what_is_no_list(text: str) -> None:
    """Groups, holes and unclosed marks are errors in an envelope."""
    with pytest.raises(AddressError):
        parse_mailbox_list(text)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("undisclosed-recipients:;", []),
        ("Team: a@x.example, B <b@x.example>;, c@x.example", ["a@x.example", "b@x.example", "c@x.example"]),
        ("a@x.example,,b@x.example,", ["a@x.example", "b@x.example"]),
        ("a@[IPv6:2001:db8::1]", ["a@[IPv6:2001:db8::1]"]),
    ],
)
def test_finished_messages_may_use_older_forms(text: str, addresses: list[str]) -> None:
    """In header fields that others wrote, members of groups count and holes are skipped."""
    assert [mailbox.address for mailbox in parse_mailbox_list(text, obsolete=True)] == addresses


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("", ""),
        ("<>", ""),
        (" <> ", ""),
        ("a@x.example", "a@x.example"),
        ("<a@x.example>", "a@x.example"),
        ("a@faß.example", "a@xn--fa-hia.example"),
        ('"a <b"@x.example', '"a <b"@x.example'),
    ],
)
def test_reads_a_path(text: str, wire: str) -> None:
    """A path is bare or in brackets; empty is the null path."""
    assert parse_path(text) == wire


@pytest.mark.parametrize("text", ["Name <a@x.example>", "a", "<a@x.example", "a@x.example>", "a@x.example\r\n", "<<>>"])
def test_refuses_what_is_no_path(text: str) -> None:
    """A path has no name and no line break."""
    with pytest.raises(AddressError):
        parse_path(text)


@given(st.text(max_size=80))
def test_what_is_read_can_go_into_a_command(text: str) -> None:
    """Whatever the text, a mailbox that is read has a wire form that can't end a command early."""
    try:
        wire = parse_mailbox(text).address
    except AddressError:
        return
    local, _, domain = wire.rpartition("@")
    assert domain.isascii()
    assert not any(character < " " or character == "\x7f" for character in wire)
    if not local.startswith('"'):
        assert not set(wire) & set(' <>,;"')


@given(st.text(alphabet='ab"\\@.<>(),;: ', max_size=40))
def test_a_wire_form_is_read_back(text: str) -> None:
    """The wire form of what was read is an address again, the same one."""
    try:
        first = parse_mailbox(text)
    except AddressError:
        return
    assert parse_mailbox(f"<{first.address}>") == Mailbox(local=first.local, domain=first.domain)
