"""What must never be shown: takes secrets, in every form that was on the wire, out of what a server says.

Some servers echo the whole AUTH line in their 535, cut off or not. Besides the credentials themselves it learns what
was derived from them in this session: a digest and its challenge are enough to guess a password at leisure.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote_plus

from maildrop.smtp.credentials import MASK, Credentials, Secret
from maildrop.smtp.reply import Reply

_TOKEN = re.compile(r"[^\s\x00-\x1f]{6,}")  # shorter shards of a secret are not worth mangling ordinary words for
_PIECE_CHARACTERS = 16  # no digest or proof is shorter


class Redactor:
    """Knows the forms of one session's secrets."""

    __slots__ = ("_shown_forms", "_user", "_whole", "private")

    def __init__(self, credentials: Credentials | None) -> None:
        """``private`` may be set while a mechanism speaks whose challenges are not to be shown either."""
        self._user = "" if credentials is None else credentials.user
        self._whole: tuple[str, ...] = ()
        self._shown_forms: tuple[str, ...] = ()  # of which even a piece gives something away
        self.private = False
        if credentials is not None:
            for secret, envelopes in _spoken(credentials):
                self._add((secret, *envelopes), (secret, *map(_coded, (secret, *envelopes))))

    def learn(self, response: bytes) -> None:
        """Hide what was just said, whole, encoded, and each long piece of it by itself."""
        text = response.decode("utf-8", "replace")
        pieces = [piece.partition("=")[2] or piece for piece in re.split(r"[\s,\x00\x01]", text)]
        secret = [piece for piece in pieces if len(piece) >= _PIECE_CHARACTERS and piece != self._user]
        if secret:
            self._add((text,), (b64encode(response).decode(), *secret))

    def keep(self, secret: Secret) -> None:
        """Hide a secret that is said to somebody else than the relay, as it is, encoded, or as part of a form."""
        text = secret.reveal()
        forms = (text, _coded(text), quote_plus(text))
        self._add(forms, forms)

    def hide(self, text: str) -> str:
        """Return ``text`` with the secrets, their codings and longer shards of them replaced by ``***``."""
        text = self._hide_whole(text)
        if self._shown_forms:
            text = _TOKEN.sub(self._judge_token, text)
        return text

    def clean(self, reply: Reply, *, thorough: bool) -> Reply:
        """Return the reply without the secrets; ``thorough`` looks for shards too (cut-off echoes)."""
        if not self._whole:
            return reply
        hide = self.hide if thorough else self._hide_whole
        lines = tuple(map(hide, reply.lines))
        return reply if lines == reply.lines else replace(reply, lines=lines)

    def veil(self, reply: Reply) -> Reply:
        """Return a challenge as it may be shown: of a private mechanism nothing but that there was one."""
        return replace(reply, lines=(MASK,)) if self.private and reply.code == 334 and reply.text else reply

    def _add(self, whole: tuple[str, ...], shown: tuple[str, ...]) -> None:
        forms = {*self._whole, *whole, *shown}
        self._whole = tuple(sorted(forms, key=len, reverse=True))
        self._shown_forms += shown

    def _hide_whole(self, text: str) -> str:
        for form in self._whole:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def _judge_token(self, match: re.Match[str]) -> str:
        token = match.group()
        return MASK if any(_overlaps(token.strip("\"'<>()[],;:="), form) for form in self._shown_forms) else token


def _spoken(credentials: Credentials) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each secret with what it is wrapped in on the wire."""
    user = credentials.user
    if credentials.password is not None and (password := credentials.password.reveal()):
        yield password, (f"\0{user}\0{password}", f"{user}\0{password}")
    if credentials.token is not None and (token := credentials.token.reveal()):
        place = f"host={credentials.host}\1port={credentials.port}\1"
        bearer = f"auth=Bearer {token}\1\1"
        yield token, (f"user={user}\1{bearer}", f"n,a={user},\1{place}{bearer}", f"Bearer {token}")


def _coded(text: str) -> str:
    return b64encode(text.encode()).decode()


def _overlaps(token: str, form: str) -> bool:
    """Return whether ``token`` is a shard of ``form`` long enough to give something away."""
    return len(token) >= 6 and token in form
