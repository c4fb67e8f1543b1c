"""How a relay's token is come by: ``[relays.NAME.auth.oauth]`` becomes a source of tokens, if its keys belong together.

Each flow needs some keys and has no use for others; both are said. Every secret is read once, and the first request is
made up to the point of sending it, so that a key that can't sign stops the start and not the first mail.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from importlib.util import find_spec

from maildrop.config.auth_table import AuthTable, OAuthTable
from maildrop.config.secrets import Place, SecretError, place_of
from maildrop.config.values import ReportProblem
from maildrop.errors import printable
from maildrop.smtp import KNOWN_MECHANISMS, Credentials, CredentialsUnavailable, Flow, Secret, TokenCredentials, fitting
from maildrop.smtp.token import OAuthSettings, url_fault

_MICROSOFT = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"
_MICROSOFT_APPLICATION = "https://outlook.office365.com/.default"
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_PLACES = ("credential", "file", "command", "env")

# What each flow needs, and what it may have besides; the rest would be without effect.
_SECRETS = {
    Flow.CLIENT_CREDENTIALS: ({"client_secret"}, set[str]()),
    Flow.REFRESH_TOKEN: ({"refresh_token"}, {"client_secret"}),
    Flow.JWT_BEARER: ({"private_key"}, set[str]()),
}
_HINTS = {
    "client_secret": "write the client secret there, on one line",
    "refresh_token": "write the refresh token there, on one line",
    "private_key": "write the JSON of the service account there, or a private key in PEM",
}


def tokens_of(
    name: str, auth: AuthTable, table: OAuthTable, identity: Credentials, *, problem: ReportProblem
) -> TokenCredentials | None:
    """Return the source of the relay's tokens, or None where something is wrong, which goes to ``problem``."""
    key = f"relays.{name}.auth"
    found = list(_faults(auth, table, identity))
    for place, what, hint in found:
        problem(f"{key}.{place}", what, hint)
    places = _places(f"{key}.oauth", table, problem)
    if found or places is None:
        return None
    settings = OAuthSettings(
        relay=name,
        flow=table.flow,
        token_url=_MICROSOFT.format(tenant=table.tenant) if table.tenant else table.token_url or "",
        client_id=table.client_id or "",
        client_secret=places.get("client_secret"),
        client_authentication=table.client_authentication,
        scope=" ".join(table.scope) or _usual_scope(table),
        refresh_token=places.get("refresh_token"),
        private_key=places.get("private_key"),
        subject=(table.subject or identity.user) if table.flow is Flow.JWT_BEARER else "",
        ca_file=table.ca_file,
    )
    return TokenCredentials(settings, identity) if _can_ask(f"{key}.oauth", settings, places, problem) else None


def rotation_notice(auth: AuthTable | None) -> str:
    """Return what a person should know about a refresh token that can't be replaced where it lies, or nothing."""
    if auth is None or auth.oauth is None or auth.oauth.flow is not Flow.REFRESH_TOKEN:
        return ""
    try:
        why = place_of(auth.oauth, "refresh_token", "").unwritable()
    except SecretError:
        return ""  # a problem, reported as one
    if not why:
        return ""
    return f"a new refresh token, should the server give one, would be lost with the next restart: {why}"


_Fault = tuple[str, str, str]  # key, what, hint


def _faults(auth: AuthTable, table: OAuthTable, identity: Credentials) -> Iterator[_Fault]:
    """Yield what is wrong with the keys, whatever the secrets are."""
    for place in _PLACES:
        if getattr(auth, f"password_{place}") is not None:
            yield f"password_{place}", "is of no use beside oauth", "remove one of them"
    if not fitting(_with_token(identity)) and set(identity.mechanisms) <= set(KNOWN_MECHANISMS):
        yield "mechanisms", f"none of {', '.join(identity.mechanisms)} takes a token", "remove it"
    for place, what, hint in (*_server_faults(table), *_flow_faults(table)):
        yield f"oauth.{place}", what, hint


def _flow_faults(table: OAuthTable) -> Iterator[_Fault]:
    """Yield what is of no use for the flow, and what is missing, secrets aside."""
    needed, allowed = _SECRETS[table.flow]
    for secret in ("client_secret", "refresh_token", "private_key"):
        if secret not in needed | allowed:
            for place in _PLACES:
                if getattr(table, f"{secret}_{place}") is not None:
                    yield f"{secret}_{place}", f"is of no use with flow = '{table.flow}'", "remove it"
    if table.subject is not None and table.flow is not Flow.JWT_BEARER:
        yield "subject", f"is of no use with flow = '{table.flow}'", "remove it"
    if table.client_id is None and table.flow is not Flow.JWT_BEARER:
        yield "client_id", "is missing", "the id that the application got when it was registered"


def _server_faults(table: OAuthTable) -> Iterator[_Fault]:
    if table.tenant is not None and table.token_url is not None:
        yield "token_url", "tenant names the token server already", "keep one"
    elif table.tenant is not None:
        if not _TENANT.fullmatch(table.tenant):
            yield "tenant", f"'{printable(table.tenant)}' is neither an id nor a domain", "see the portal's overview"
    elif table.token_url is None:
        if table.flow is not Flow.JWT_BEARER:
            yield "token_url", "is missing", "write it, or tenant for Microsoft 365"
    elif fault := url_fault(table.token_url):
        yield "token_url", fault, "use the https URL that the provider names"


def _places(key: str, table: OAuthTable, problem: ReportProblem) -> dict[str, Place] | None:
    """Return where the secrets of the flow lie, or None if that is not clear."""
    needed, allowed = _SECRETS[table.flow]
    places: dict[str, Place] = {}
    clear = True
    for secret in sorted(needed | allowed):
        named = any(getattr(table, f"{secret}_{place}") is not None for place in _PLACES)
        if not named and secret in allowed:
            continue
        try:
            places[secret] = place_of(table, secret, _HINTS[secret])
        except SecretError as error:
            problem(f"{key}.{error.key}", str(error), error.hint)
            clear = False
    return places if clear else None


def _usual_scope(table: OAuthTable) -> str:
    return _MICROSOFT_APPLICATION if table.tenant and table.flow is Flow.CLIENT_CREDENTIALS else ""


def _can_ask(key: str, settings: OAuthSettings, places: dict[str, Place], problem: ReportProblem) -> bool:
    """Make the first request without sending it; what is in the way is reported."""
    if any(find_spec(package) is None for package in ("authlib", "httpx")):
        problem(key, "needs the packages authlib and httpx, which are not installed", "pip install 'maildrop[oauth]'")
        return False
    from maildrop.smtp import tokenserver  # noqa: PLC0415 - 150 ms, which only who uses OAuth shall pay

    try:
        tokenserver.tls_context(settings.ca_file)
    except OSError as error:
        what = "no certificate is in it" if isinstance(error, ssl.SSLError) else error.strerror
        problem(f"{key}.ca_file", f"{settings.ca_file}: {what}", "name a file of PEM certificates")
        return False
    try:
        for place in places.values():
            place.read()
        tokenserver.prepare(settings, Secret("none yet"))
    except SecretError as error:
        problem(f"{key}.{error.key}", str(error), error.hint)
    except CredentialsUnavailable as error:
        problem(f"{key}.{places['private_key'].key}", str(error), _HINTS["private_key"])
    else:
        return True
    return False


def _with_token(identity: Credentials) -> Credentials:
    return Credentials(user=identity.user, token=Secret("some"), mechanisms=identity.mechanisms)
