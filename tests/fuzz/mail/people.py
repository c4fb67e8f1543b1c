"""Mailboxes as an envelope may write them, each with what every reader of the message has to find."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.fuzz.mail import strings
from tests.fuzz.mail.strings import drawn
from tests.fuzz.mail.values import Address

DOMAINS = {  # as written, and on the wire (IDNA 2008)
    "x.example": "x.example",
    "a-b.c.example": "a-b.c.example",
    "X.Example": "X.Example",
    "faß.example": "xn--fa-hia.example",
    "mail.bücher.example": "mail.xn--bcher-kva.example",
    "例え.jp": "xn--r8jz45g.jp",
    "مثال.example": "xn--mgbh0fb.example",
    "[192.0.2.1]": "[192.0.2.1]",
    "[IPv6:2001:db8::1]": "[IPv6:2001:db8::1]",
    "l" * 60 + "." + "m" * 60 + ".example": "l" * 60 + "." + "m" * 60 + ".example",
}
_QUOTED_LOCALS = ("a b", "a@b", 'a"b', "a\\b", "a,b", "<a>", "(a)", ".a", "a..b", " ", "a;b:c", "=?utf-8?q?x y=")
_UTF8_LOCALS = ("jörg", "用户", "δοκιμή", "é.x", "😀")
_PLAIN_LOCALS = ("a", "info", "first.last", "x+tag", "o'brien", "=?utf-8?q?x", "=?=", "l" * 64, "!#$%&'*+-/=?^_`{|}~")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A mailbox: ``local`` without quotes, ``domain`` as the envelope writes it."""

    name: str
    local: str
    domain: str

    @property
    def expected(self) -> Address:
        """Name, local part and domain as a reader has to find them."""
        return self.name, self.local, DOMAINS[self.domain]

    @property
    def spec(self) -> str:
        """The address in RFC 5322 form."""
        if self.local in _QUOTED_LOCALS:
            escaped = self.local.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"@{self.domain}'
        return f"{self.local}@{self.domain}"

    @property
    def table(self) -> dict[str, str]:
        """The form of a TOML table."""
        return {"name": self.name, "address": self.spec}

    @property
    def text(self) -> str:
        """The form of RFC 5322, the name always in quotes."""
        escaped = self.name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}" <{self.spec}>' if self.name else self.spec

    @property
    def loose_text(self) -> str:
        """The form of an element of a TOML list: whatever stands before the bracket is the name, unless it can't be."""
        is_clear = self.name and not set(self.name) & set('<"@')
        return f"{self.name} <{self.spec}>" if is_clear else self.text


def person(random: Random, *, utf8: bool) -> Person:
    """Return a mailbox; its local part may be beyond ASCII only where ``utf8``."""
    kind = random.randrange(12)
    local = "u" * random.randrange(1, 40) + str(random.randrange(1000))
    if kind >= 9:
        local = random.choice((_PLAIN_LOCALS, _QUOTED_LOCALS, _UTF8_LOCALS if utf8 else _PLAIN_LOCALS)[kind - 9])
    domain = random.choice(tuple(DOMAINS)) if drawn(random, 3) else "x.example"
    return Person(name=strings.line(random, words=4) if random.randrange(3) else "", local=local, domain=domain)


def crowd(random: Random, *, most: int, utf8: bool) -> list[Person]:
    """Return up to ``most`` mailboxes, rarely some hundred."""
    if drawn(random, 400):
        # One draw for all of them, so that hypothesis keeps room for the rest of the message.
        own = Random(random.randrange(1 << 16))
        return [person(own, utf8=utf8) for _ in range(own.randrange(100, 300))]
    return [person(random, utf8=utf8) for _ in range(random.randrange(most + 1))]


def written(random: Random, people: list[Person]) -> object:
    """Return one of the forms that the envelope allows for a list of mailboxes."""
    form = random.randrange(4)
    if form == 0:
        return ", ".join([one.text for one in people])
    if form == 1:
        return [random.choice((one.table, one.text, one.loose_text)) for one in people]
    return [one.table for one in people]
