"""Which token is good now? Kept in memory, fetched in time, one fetch at a time, stored where a new refresh token came.

A `CredentialsSource` for OAuth 2. A token server that refuses us is a fault of the configuration; one that can't be
reached is like a relay that can't be. Nothing of this is written down but a new refresh token, in the file that the old
one came from, before the old one is forgotten (RFC 6749 section 6): a crash in between costs no consent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from maildrop import log
from maildrop.smtp.credentials import Credentials, CredentialsUnavailable, Secret
from maildrop.smtp.sources import Together
from maildrop.smtp.token import OAuthSettings

_MARGIN_SECONDS = 300.0  # a token is replaced this long before its end …
_MARGIN_SHARE = 0.1  # … or, if it is a short one, for the last tenth of its life
_PAUSE_SECONDS = 60.0  # between tries to replace a token that is still good
_FRESH_SECONDS = 60.0  # a token that is refused so soon would not be better if it were fetched again


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    """A token; times are seconds on the source's clock."""

    secret: Secret
    fetched: float
    replace: float
    end: float


class TokenCredentials:
    """The tokens of one relay's user."""

    def __init__(
        self, settings: OAuthSettings, identity: Credentials, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``identity`` is everything about us but the token."""
        self._settings = settings
        self._identity = identity
        self._clock = clock
        self._token: _Token | None = None
        self._together: Together[_Token] = Together()
        self._not_before = 0.0
        self._unsaved: tuple[Secret, Secret] | None = None  # the refresh token that is stored, and the one in force
        self._failed = False
        self._seen: list[object] = []

    async def credentials(self) -> Credentials:
        """Return credentials with a token that is good for a while; raises `CredentialsUnavailable`."""
        token, now = self._token, self._clock()
        if token is None or (now >= token.replace and now >= self._not_before):
            try:
                token = await self._together.run(self._fetch)
            except CredentialsUnavailable:
                if token is None or self._clock() >= token.end:
                    raise
                self._not_before = self._clock() + _PAUSE_SECONDS
        who = self._identity
        return Credentials(user=who.user, token=token.secret, mechanisms=who.mechanisms, host=who.host, port=who.port)

    def refused(self, credentials: Credentials) -> bool:
        """Drop the token; return whether another one can be expected to be better."""
        token = self._token
        if token is None or token.secret != credentials.token:
            return True
        self._token, self._failed = None, True
        return self._clock() - token.fetched >= _FRESH_SECONDS

    def changed(self) -> bool:
        """Return whether a secret that a token is asked for with has been replaced since that failed."""
        return self._failed and self._stamps() != self._seen

    async def _fetch(self) -> _Token:
        from maildrop.smtp import tokenserver  # noqa: PLC0415 - 150 ms, which only who uses OAuth shall pay

        self._seen, self._failed = self._stamps(), True
        stored, refresh = await asyncio.to_thread(self._refresh_tokens)
        answer = await tokenserver.ask(self._settings, refresh)
        if stored is not None and answer.refresh_token is not None and answer.refresh_token != refresh:
            await asyncio.to_thread(self._store, stored, answer.refresh_token)
        now, life = self._clock(), answer.life_seconds
        margin = min(_MARGIN_SECONDS, life * _MARGIN_SHARE)
        self._token = _Token(secret=answer.token, fetched=now, replace=now + life - margin, end=now + life)
        self._seen, self._failed = self._stamps(), False
        return self._token

    def _refresh_tokens(self) -> tuple[Secret | None, Secret | None]:
        """Return the refresh token as it lies there, and the one in force: another if that could not be stored."""
        place = self._settings.refresh_token
        if place is None:
            return None, None
        stored = place.fetch()
        if self._unsaved is not None and self._unsaved[0] == stored:
            return stored, self._unsaved[1]
        self._unsaved = None  # a person has put another one there
        return stored, stored

    def _store(self, stored: Secret, new: Secret) -> None:
        """Put the new refresh token where the old one was; what can't be written is kept in memory and told."""
        place = self._settings.refresh_token
        why = "" if place is None else place.store(new)
        self._unsaved = (stored, new) if why else None
        if why:
            what = f"a new refresh token can't be stored and is lost with the next restart: {why}"
            log.relay_notice(relay=self._settings.relay, what=what)

    def _stamps(self) -> list[object]:
        settings = self._settings
        places = (settings.client_secret, settings.refresh_token, settings.private_key)
        return [None if place is None else place.stamp() for place in places]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenCredentials):
            return NotImplemented
        return self._settings == other._settings and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._settings.relay)
