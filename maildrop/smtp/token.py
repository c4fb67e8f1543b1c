"""What is asked of a token server, and what its answer means: OAuth 2 as values.

Knows no connection and no clock: `maildrop.smtp.tokenserver` asks, `maildrop.smtp.oauth` keeps what comes. RFC 6749
sections 4.4 (client credentials), 5 (answers) and 6 (refresh), RFC 7523 (JWT bearer grants).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import urlsplit

from maildrop.smtp.credentials import CredentialsUnavailable, Secret
from maildrop.smtp.tokenfacts import token_step

ANSWER_OCTETS = 64 * 1024  # the largest tokens have some 12 KiB
_TOKEN_CHARACTERS = 16 * 1024
_TOLD_CHARACTERS = 300
_UNKNOWN_LIFE_SECONDS = 300.0  # RFC 6749 section 5.1: ``expires_in`` is only recommended
_LONGEST_LIFE_SECONDS = 24 * 3600.0
_SOON = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


class Flow(StrEnum):
    """How a token is come by."""

    CLIENT_CREDENTIALS = "client_credentials"
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - the name of a flow
    JWT_BEARER = "jwt_bearer"


class ClientAuthentication(StrEnum):
    """How the client shows its secret: in the form, or in the Authorization header (RFC 6749 section 2.3.1)."""

    POST = "post"
    BASIC = "basic"


class SecretPlace(Protocol):
    """Where a secret lies; equal if it is the same place."""

    def fetch(self) -> Secret:
        """Read it now; may block, raises `CredentialsUnavailable`."""
        ...

    def store(self, secret: Secret) -> str:
        """Put another one in its place, durably when it returns; return why that is not possible, or nothing."""
        ...

    def stamp(self) -> object:
        """Return what changes when the secret is replaced, None where that can't be told; at most a system call."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthSettings:
    """``[relays.NAME.auth.oauth]``: whom to ask for a token, and with which secrets.

    An empty ``token_url``, ``client_id`` or ``scope`` comes from the key file of a service account.
    """

    relay: str
    flow: Flow
    token_url: str = ""
    client_id: str = ""
    client_secret: SecretPlace | None = None
    client_authentication: ClientAuthentication = ClientAuthentication.POST
    scope: str = ""
    refresh_token: SecretPlace | None = None
    private_key: SecretPlace | None = None
    subject: str = ""
    ca_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceKey:
    """The private key that signs for us, with what a service account's file says besides it."""

    pem: Secret
    issuer: str = ""
    key_id: str = ""
    token_url: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A token and for how many seconds it is good; a new refresh token where the server gave one."""

    token: Secret
    life_seconds: float
    refresh_token: Secret | None = field(default=None)


def read_service_key(text: str) -> ServiceKey:
    """Read the JSON file of a Google service account, or take the text for a PEM key; raises ValueError with words."""
    if not text.lstrip().startswith("{"):
        if "PRIVATE KEY-----" not in text:
            raise ValueError("it holds neither the JSON of a service account nor a private key in PEM")
        return ServiceKey(pem=Secret(text))
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it begins like JSON, but is not") from None
    if fields.get("type") != "service_account":
        raise ValueError("it is not the key of a service account ('type' is not 'service_account')")
    missing = [name for name in ("client_email", "private_key") if not isinstance(fields.get(name), str)]
    if missing:
        raise ValueError(f"it has no {' and no '.join(missing)}")
    return ServiceKey(
        pem=Secret(fields["private_key"]),
        issuer=fields["client_email"],
        key_id=_text(fields, "private_key_id"),
        token_url=_text(fields, "token_uri"),
        scope="https://mail.google.com/",
    )


def url_fault(url: str) -> str:
    """Return why no secret can be sent to this URL, or nothing: https, or http to this machine alone."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("https", "http") or not host or not url.isprintable() or " " in url:
        return "is not a URL that begins with https://"
    if parts.username is not None or parts.fragment:
        return "has a user or a fragment in it"
    if parts.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        return "would send secrets unprotected; http is only for this machine (localhost)"
    return ""


def read_answer(status: int, octets: bytes, *, host: str) -> Answer:
    """Return what a token server gave; raises `CredentialsUnavailable` with its reason, cut to one line."""
    try:
        fields = json.loads(octets.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        fields = {}
    soon = status >= 500 or status in (408, 425, 429)
    if error := _text(fields, "error"):
        described = " ".join(_text(fields, "error_description").split("\r\n")[0].split())
        what = f"the token server {host} refuses: {error}{': ' if described else ''}{described}"[:_TOLD_CHARACTERS]
        step = token_step(f"{error}: {described}")
        raise CredentialsUnavailable(f"{what}; {step}" if step else what, configuration=not soon and error not in _SOON)
    if status != 200:
        where = "; token_url is to name the place itself" if 300 <= status < 400 else ""
        raise CredentialsUnavailable(f"the token server {host} answers {status}{where}", configuration=not soon)
    return _granted(fields, host)


def _granted(fields: dict[str, Any], host: str) -> Answer:
    token, kind = _text(fields, "access_token"), _text(fields, "token_type") or "Bearer"
    if kind.lower() != "bearer":
        what = f"the token server {host} gives a token of another kind than Bearer"
        raise CredentialsUnavailable(what, configuration=True)
    if not (token.isascii() and token.isprintable() and 0 < len(token) <= _TOKEN_CHARACTERS and " " not in token):
        raise CredentialsUnavailable(f"the token server {host} gives an answer without a token", configuration=False)
    refresh = _text(fields, "refresh_token")
    return Answer(
        token=Secret(token),
        life_seconds=_life(fields.get("expires_in")),
        refresh_token=Secret(refresh) if refresh else None,
    )


def _life(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, int | float | str) else _UNKNOWN_LIFE_SECONDS
    except (ValueError, OverflowError):
        return _UNKNOWN_LIFE_SECONDS
    return min(max(seconds, 0.0), _LONGEST_LIFE_SECONDS) if seconds == seconds else _UNKNOWN_LIFE_SECONDS  # noqa: PLR0124


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
