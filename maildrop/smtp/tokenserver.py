"""One question to a token server: the form of the flow, over TLS that is verified, bounded in time and size.

The only user of authlib (with its joserfc), which makes the forms, the client's authentication and the signed
assertion, and of httpx, which carries them. Follows no redirection: a form full of secrets goes where the configuration
says and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_token_request
from authlib.oauth2.rfc7523 import JWTBearerGrant
from joserfc.jwk import RSAKey

from maildrop.errors import printable
from maildrop.smtp.credentials import CredentialsUnavailable, Secret
from maildrop.smtp.redactor import Redactor
from maildrop.smtp.token import (
    ANSWER_OCTETS,
    Answer,
    Flow,
    OAuthSettings,
    read_answer,
    read_service_key,
    url_fault,
)

ANSWER_SECONDS = 30.0
_FORM = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "maildrop",
         "Content-Type": "application/x-www-form-urlencoded"}  # fmt: skip

for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # below it they log headers, and one of them may be our secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent; none of it is shown."""

    url: str
    headers: dict[str, str]
    body: str
    redactor: Redactor

    def __repr__(self) -> str:
        return f"Request({self.url})"


async def ask(settings: OAuthSettings, refresh_token: Secret | None) -> Answer:
    """Fetch a token now; raises `CredentialsUnavailable`, whose words hold no secret.

    ``refresh_token`` is the one in force, for that flow. Reading secrets may block: that is done in a thread.
    """
    request = await asyncio.to_thread(prepare, settings, refresh_token)
    host = urlsplit(request.url).hostname or ""
    try:
        status, octets = await _post(request, await asyncio.to_thread(tls_context, settings.ca_file))
        return read_answer(status, octets, host=host)
    except CredentialsUnavailable as error:
        what = request.redactor.hide(str(error))
        raise CredentialsUnavailable(what, configuration=error.configuration) from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, TimeoutError) as error:
        what = "no answer within 30 s" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        what = request.redactor.hide(f"the token server {host} can't be reached: {printable(what, limit=200)}")
        raise CredentialsUnavailable(what, configuration=False) from None


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return how the token server is verified; raises OSError if ``ca_file`` is no such file."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def prepare(settings: OAuthSettings, refresh_token: Secret | None) -> Request:
    """Make the request out of the secrets as they are now; raises `CredentialsUnavailable`."""
    redactor = Redactor(None)
    url, grant, fields = settings.token_url, settings.flow.value, {"scope": settings.scope}
    if settings.flow is Flow.JWT_BEARER:
        url, fields = _assertion(settings, redactor)
        grant = JWTBearerGrant.GRANT_TYPE
    elif settings.flow is Flow.REFRESH_TOKEN and refresh_token is not None:
        fields["refresh_token"] = refresh_token.reveal()
        redactor.keep(refresh_token)
    body = prepare_token_request(grant, **{name: value for name, value in fields.items() if value})
    headers = dict(_FORM)
    if settings.flow is not Flow.JWT_BEARER:
        secret = settings.client_secret.fetch() if settings.client_secret else None
        method = "none"
        if secret is not None:
            redactor.keep(secret)
            redactor.keep(Secret(b64encode(f"{settings.client_id}:{secret.reveal()}".encode()).decode()))
            method = f"client_secret_{settings.client_authentication}"
        client = ClientAuth(settings.client_id, secret.reveal() if secret else None, method)
        url, headers, body = client.prepare("POST", url, headers, body)
    return Request(url=url, headers=headers, body=body, redactor=redactor)


def _assertion(settings: OAuthSettings, redactor: Redactor) -> tuple[str, dict[str, str]]:
    """Return the token server and the form with an assertion that the private key has signed."""
    assert settings.private_key is not None  # noqa: S101 - the configuration sees to it
    text = settings.private_key.fetch()
    try:
        key = read_service_key(text.reveal())
    except ValueError as error:
        raise CredentialsUnavailable(f"the private key is not usable: {error}", configuration=True) from None
    url, scope = settings.token_url or key.token_url, settings.scope or key.scope
    if fault := url_fault(url):
        raise CredentialsUnavailable(f"the token server of the private key's file {fault}", configuration=True)
    header = {"alg": "RS256", "typ": "JWT"} | ({"kid": key.key_id} if key.key_id else {})
    try:
        signed = JWTBearerGrant.sign(
            RSAKey.import_key(key.pem.reveal()),
            issuer=settings.client_id or key.issuer,
            audience=url,
            subject=settings.subject,
            claims={"scope": scope} if scope else {},
            header=header,
        )
    except Exception as error:  # the library has no common class; its words may hold what it could not read
        what = f"the private key is not usable: no RSA key can be read from it ({type(error).__name__})"
        raise CredentialsUnavailable(what, configuration=True) from None
    assertion = signed.decode("ascii") if isinstance(signed, bytes) else str(signed)
    redactor.keep(Secret(assertion))
    return url, {"assertion": assertion}


async def _post(request: Request, context: ssl.SSLContext) -> tuple[int, bytes]:
    # A proxy of the environment is used for https alone: in plain text it would see the secrets.
    proxied = request.url.startswith("https:")
    timeout = httpx.Timeout(ANSWER_SECONDS)
    async with (
        asyncio.timeout(ANSWER_SECONDS),
        httpx.AsyncClient(verify=context, trust_env=proxied, timeout=timeout, follow_redirects=False) as client,
        client.stream("POST", request.url, content=request.body, headers=request.headers) as response,
    ):
        octets = bytearray()
        async for chunk in response.aiter_raw():
            octets += chunk
            if len(octets) > ANSWER_OCTETS:
                what = f"the token server answers with more than {ANSWER_OCTETS} octets"
                raise CredentialsUnavailable(what, configuration=False)
        return response.status_code, bytes(octets)
