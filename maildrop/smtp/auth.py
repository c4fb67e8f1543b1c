"""How do we prove who we are? SASL exchanges as small machines: challenge in, response out.

Knows the mechanisms and what of them must never be shown; refuses to know how the lines travel and whether the channel
is safe enough, which `maildrop.smtp.protocol` decides. RFC 4954 (AUTH), RFC 4616 (PLAIN); LOGIN is an expired draft
that Exchange and others still want.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol

from maildrop.smtp.reply import Reply

MASK = "***"
_TOKEN = re.compile(r"[^\s\x00]{6,}")  # shorter shards of a secret are not worth mangling ordinary words for


class Secret:
    """Text that shows itself as ``***`` wherever it is printed, formatted or put into a traceback."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; only for what goes over the wire."""
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled or copied")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who we are to a relay; ``mechanisms`` are the only ones to use, all if there are none."""

    user: str
    password: Secret
    mechanisms: tuple[str, ...] = ()


class Mechanism(Protocol):
    """One SASL exchange from its first to its last response."""

    name: str

    def initial(self) -> bytes | None:
        """Return the initial response, or None where the server speaks first."""
        ...

    def respond(self, challenge: str) -> bytes | None:
        """Return the response to a 334's text (base64), or None if the server asks for more than there is to say."""
        ...


class _Plain:
    name = "PLAIN"

    def __init__(self, credentials: Credentials) -> None:
        self._message = f"\0{credentials.user}\0{credentials.password.reveal()}".encode()
        self._repeats = 1  # some servers ignore the initial response and ask for it

    def initial(self) -> bytes | None:
        return self._message

    def respond(self, challenge: str) -> bytes | None:  # noqa: ARG002 - PLAIN's challenge is empty
        self._repeats -= 1
        return self._message if self._repeats >= 0 else None


class _Login:
    name = "LOGIN"

    def __init__(self, credentials: Credentials) -> None:
        self._answers = iter((credentials.user.encode(), credentials.password.reveal().encode()))

    def initial(self) -> bytes | None:
        return None  # not every server with LOGIN takes one

    def respond(self, challenge: str) -> bytes | None:  # noqa: ARG002 - the prompts' wording varies, their order does not
        return next(self._answers, None)


_STRONGEST_FIRST = (_Plain, _Login)
KNOWN_MECHANISMS = tuple(mechanism.name for mechanism in _STRONGEST_FIRST)


def choose(offered: Collection[str], credentials: Credentials) -> Mechanism | None:
    """Return a fresh exchange of the strongest mechanism that both sides know and may use, or None."""
    allowed = credentials.mechanisms or KNOWN_MECHANISMS
    for mechanism in _STRONGEST_FIRST:
        if mechanism.name in offered and mechanism.name in allowed:
            return mechanism(credentials)
    return None


class Redactor:
    """Takes a secret out of what a server says: some echo the whole AUTH line in their 535."""

    __slots__ = ("_forms",)

    def __init__(self, credentials: Credentials | None) -> None:
        self._forms: tuple[str, ...] = ()
        if credentials is not None and (password := credentials.password.reveal()):
            user = credentials.user
            plain = (f"\0{user}\0{password}", f"{user}\0{password}", password)
            coded = (b64encode(form.encode()).decode() for form in plain)
            self._forms = tuple(sorted({*plain, *coded}, key=len, reverse=True))

    def hide(self, text: str) -> str:
        """Return ``text`` with the secret, its usual codings and longer shards of them replaced by ``***``."""
        text = self._hide_whole(text)
        if self._forms:
            text = _TOKEN.sub(self._judge_token, text)
        return text

    def clean(self, reply: Reply, *, thorough: bool) -> Reply:
        """Return the reply without the secret; ``thorough`` looks for shards too (cut-off echoes)."""
        if not self._forms:
            return reply
        hide = self.hide if thorough else self._hide_whole
        lines = tuple(map(hide, reply.lines))
        return reply if lines == reply.lines else replace(reply, lines=lines)

    def _hide_whole(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def _judge_token(self, match: re.Match[str]) -> str:
        token = match.group()
        return MASK if any(_overlaps(token.strip("\"'<>()[],;:="), form) for form in self._forms) else token


def _overlaps(token: str, form: str) -> bool:
    """Return whether ``token`` is a shard of ``form`` long enough to give something away."""
    return len(token) >= 6 and token in form
