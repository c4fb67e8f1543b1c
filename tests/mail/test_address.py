"""Addresses: what is read, what is refused, and the exact octets that go on the wire."""

from __future__ import annotations

import time

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
    ("user@XN--FA-HIA.example", "", "user@XN--FA-HIA.example"),
    ("user@ΒΌΛΟΣ.example", "", "user@xn--nxasmq6b.example"),
    ("user@βόλος.example", "", "user@xn--nxasmm1c.example"),
    ("user@\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45\uff0e\uff43\uff4f\uff4d", "", "user@example.com"),
    ("user@ex\u00adample.com", "", "user@example.com"),
    ("user@\u212a.example", "", "user@k.example"),
    ("user@क\u094d\u200dष.example", "", "user@xn--11b2ezcw70k.example"),
    ("user@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example", "", "user@xn--mgba3gch31f060k.example"),
    ("user@אב.example", "", "user@xn--4dbc.example"),
    ("user@xn--ls8h.example", "", "user@xn--ls8h.example"),
    ("user@xn--fa-hia.bücher.example", "", "user@xn--fa-hia.xn--bcher-kva.example"),
    ("user@r3---sn-x.example", "", "user@r3---sn-x.example"),
    ("user@" + "é" * 30 + ".example", "", "user@xn--9c" + "a" * 30 + ".example"),
    ("user@[ipv6:::ffff:192.0.2.1]", "", "user@[ipv6:::ffff:192.0.2.1]"),
    ("ü@faß.example", "", "ü@xn--fa-hia.example"),
    ('"ü b"@x.example', "", '"ü b"@x.example'),
    ("a" * 62 + "é@x.example", "", "a" * 62 + "é@x.example"),
    ("a@" + ("b" * 63 + ".") * 3 + "b" * 60, "", "a@" + ("b" * 63 + ".") * 3 + "b" * 60),
    ("=?x@x.example", "", "=?x@x.example"),
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
    "用" * 22 + "@x.example",
    "a" * 63 + "é@x.example",
    '"a ' + "b" * 61 + '"@x.example',
    "a@" + ("b" * 63 + ".") * 3 + "b" * 61,
    "a@" + "é" * 58 + ".example",
    "a@" + ".".join(["é" * 40] * 6),
    "a@xn--a.example",
    "a@xn--.example",
    "a@xn--abc-.example",
    "a@xn--a.bücher.example",
    "a@xn--ww-mia.xn--9999999999.example",
    "a@\uff58\uff4e\uff0d\uff0da.example",
    "a@\U0001f4a9.example",
    "a@a\u200db.example",
    "a@श्री\u200cलंका.example",
    "a@-é.example",
    "a@é-.example",
    "a@ab--é.example",
    "a@אa.example",
    "a@例え。テスト。",
    "a@é..example",
    "a@\u202emoc.example",
    "a@\uff11.\uff12.\uff13.\uff14",
    "a@1.2.3.\uff14",
    "a@℀.example",
    "a@⒈com",
    "a@x\uff20y.example",
    "a@x\uff1cy.example",
    "a@[127.1]",
    "a@[192.0.2.1].example",
    "a@[192.0.2.01]",
    "a@[x-tag:y]",
    "\ufeffa@x.example",
    "a\u200db@x.example",
    "=?utf-8?q?=41?=@x.example",
    '"=?utf-8?q?=0D=0ABcc=3A?="@x.example',
    "x=?utf-8?b?QUJD?=y@x.example",
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
        ("a@x.example (A; B, (C) : D)", ["a@x.example"]),
        ("(only a comment), a@x.example", ["a@x.example"]),
        ('"Team: x": a@x.example;', ["a@x.example"]),
        ('"a, b": "c;d" <a@x.example>;;', None),
        ("=?utf-8?Q?M=C3=BCller,_Hans_(:;@?= <h@x.example>, b@x.example", ["h@x.example", "b@x.example"]),
        ('"=?utf-8?Q?M=C3=BCller,_Hans?=" <h@x.example>', ["h@x.example"]),
        ("=?a <h@x.example>, =?= <b@x.example>", ["h@x.example", "b@x.example"]),
        ("=?utf-8?q?<b@x.example>,?= <h@x.example>", ["b@x.example", "h@x.example"]),
        ("=?utf-8?q?=41?=@x.example", None),
        ("a@x.example; b@x.example", None),
        ("Team: Inner: a@x.example;;", None),
        ("Team: a@x.example", None),
        ("<@a.example,@b.example:c@x.example>", None),
    ],
)
def test_finished_messages_may_use_older_forms(text: str, addresses: list[str] | None) -> None:
    """In header fields that others wrote, members of groups count and holes are skipped; what is not clear is not."""
    if addresses is None:
        with pytest.raises(AddressError):
            parse_mailbox_list(text, obsolete=True)
    else:
        assert [mailbox.address for mailbox in parse_mailbox_list(text, obsolete=True)] == addresses


@pytest.mark.parametrize(
    "text",
    [
        "=?" * 100_000,
        "=?a?q?," * 40_000,
        '"' * 99_999,
        "[" * 99_999,
        "(" * 99_999,
        '("' + '\\"' * 99_999,
        "a," * 99_999,
    ],
)
def test_long_fields_are_judged_at_once(text: str) -> None:
    """Marks that open and never close cost one pass, not one for each."""
    began = time.process_time()
    with pytest.raises(AddressError):
        parse_mailbox_list(text, obsolete=True)
    assert time.process_time() - began < 2


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
