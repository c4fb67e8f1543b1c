"""Property: whatever a job says, an independent parser reads the same from the message, and the octets are legal."""

from __future__ import annotations

import email.header
import email.policy
import email.utils
import re
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message as Parsed

import tomli_w
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from maildrop.mail.message import Message

Composed = Callable[..., tuple[Message, bytes]]

tricky = st.sampled_from(
    ["=?utf-8?q?=0D=0ABcc=3A_evil=40x?=", "=?", "?=", '"', "\\", "(", ")", ",", "<", ">", ";", ":", "@", " ", "  ", "é"]
)
letters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
line = st.lists(st.one_of(tricky, st.text(letters, max_size=30)), max_size=12).map(lambda parts: "".join(parts).strip())
local = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\.[a-z0-9]{1,20}){0,2}", fullmatch=True)
domain = st.sampled_from(["x.example", "faß.example", "mail.bücher.example", "a-b.c.example"])
person = st.fixed_dictionaries({"name": line, "address": st.builds("{}@{}".format, local, domain)})
people = st.lists(person, max_size=6)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=400)
shown_name = line.map(lambda name: re.sub(r"[/\\\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", "_", name)[:60]).filter(
    lambda name: name not in ("", ".", "..")
)
attached = st.lists(st.tuples(shown_name, st.binary(max_size=300)), max_size=3)


def decoded(value: str) -> str:
    """Decode RFC 2047 words with the standard library."""
    return str(email.header.make_header(email.header.decode_header(value)))


def unfolded(message: Parsed, name: str) -> str:
    """Return a field's value without folds."""
    return str(message.get(name, "")).replace("\r\n", "").replace("\n", "")


def addresses(message: Parsed, name: str) -> list[tuple[str, str]]:
    """Return names and addresses of a field."""
    found = email.utils.getaddresses([unfolded(message, name)]) if name in message else []
    return [(decoded(shown), address) for shown, address in found]


def expected(persons: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Return the same from what the job said."""
    found = []
    for one in persons:
        user, _, host = one["address"].rpartition("@")
        found.append((one["name"], f"{user}@{WIRE[host]}"))
    return found


def as_sent(content: str) -> str:
    """Return a text as it has to arrive."""
    lines = re.sub(r"\r\n?|\n", "\r\n", content.removeprefix("\ufeff"))
    return lines if not lines or lines.endswith("\r\n") else lines + "\r\n"


def check_octets(message: Message, octets: bytes) -> None:
    """Check what holds for every message whatever is in it."""
    assert octets.isascii()
    assert b"\0" not in octets
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", octets)
    assert octets.endswith(b"\r\n")
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert message.size == len(octets)


WIRE = {
    "x.example": "x.example",
    "faß.example": "xn--fa-hia.example",
    "mail.bücher.example": "mail.xn--bcher-kva.example",
    "a-b.c.example": "a-b.c.example",
}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(author=person, to=people, cc=people, subject=line, plain=text, html=st.none() | text, files=attached)
def test_everything_comes_back(
    *,
    composed: Composed,
    author: dict[str, str],
    to: list[dict[str, str]],
    cc: list[dict[str, str]],
    subject: str,
    plain: str,
    html: str | None,
    files: list[tuple[str, bytes]],
) -> None:
    """Addresses, subject, text and attachments are read back unchanged; the octets are legal in every respect."""
    envelope: dict[str, object] = {"from": author, "to": to, "cc": cc, "bcc": "hidden@z.example", "subject": subject}
    envelope["attachments"] = [{"path": f"f{index}", "name": name} for index, (name, _) in enumerate(files)]
    contents = {f"f{index}": content for index, (_, content) in enumerate(files)} | {"body.txt": plain.encode()}
    if html is not None:
        contents["body.html"] = html.encode()
    assume(not any(name.startswith("<") and name.endswith(">") for name, _ in files))  # `email` takes <> for quotes
    message, octets = composed(tomli_w.dumps(envelope), contents)
    check_octets(message, octets)
    parsed = message_from_bytes(octets, policy=email.policy.compat32)
    assert not parsed.defects
    names = ["Date", "From", *["To"][: len(to)], *["Cc"][: len(cc)], *["Subject"][: len(subject)], "Message-ID"]
    assert [name for name in parsed if not name.startswith(("MIME", "Content"))] == names
    for name, persons in (("From", [author]), ("To", to), ("Cc", cc)):
        assert addresses(parsed, name) == expected(persons)
    assert decoded(unfolded(parsed, "Subject")) == subject
    leaves = [part for part in parsed.walk() if not part.is_multipart()]
    texts = [as_sent(plain)] + ([as_sent(html)] if html is not None else [])
    assert [(part.get_payload(decode=True) or b"").decode() for part in leaves[: len(texts)]] == texts  # type: ignore[union-attr]
    assert [(part.get_filename(), part.get_payload(decode=True)) for part in leaves[len(texts) :]] == files
