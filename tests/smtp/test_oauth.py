"""`maildrop.smtp.oauth` and `tokenserver`: tokens of a local token server, over TLS and real sockets."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

from maildrop import log
from maildrop.smtp import Credentials, CredentialsUnavailable, Secret
from maildrop.smtp.oauth import TokenCredentials
from maildrop.smtp.token import ANSWER_OCTETS, ClientAuthentication, Flow, OAuthSettings

CLIENT_SECRET = "8Q~kX7/Zt+aB9vLq"
REFRESH = "0.refresh-token-one"
WHO = Credentials(user="app@example.com", host="smtp.example.com", port=587)


@dataclass
class Place:
    """A place in memory; ``why`` is why nothing can be stored there."""

    text: str
    why: str = ""
    stored: list[str] = field(default_factory=list)

    def fetch(self) -> Secret:
        """Return what lies there."""
        return Secret(self.text)

    def store(self, secret: Secret) -> str:
        """Take another secret, unless it can't."""
        if not self.why:
            self.text = secret.reveal()
            self.stored.append(self.text)
        return self.why

    def stamp(self) -> object:
        """Change with the text."""
        return self.text


Answering = Callable[[dict[str, str]], tuple[int, Any]]


class TokenServer:
    """Answers each POST as ``answer`` says, with a status and JSON, octets or headers; keeps what it was asked."""

    def __init__(self, certificate: trustme.LeafCert | None) -> None:
        self.asked: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Answering = lambda _form: (200, token("t1"))
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()
        self.release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.serve(self)

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
            scheme = "https"
        self.url = f"{scheme}://localhost:{self.server.server_address[1]}/token"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        self.asked.append({name: values[0] for name, values in parse_qs(body).items()})
        self.headers.append(dict(handler.headers))
        self.arrived.set()
        self.gate.wait(10)
        status, content = self.answer(self.asked[-1])
        if status == 0:  # say nothing
            self.release.wait(10)
            return
        octets = content if isinstance(content, bytes) else json.dumps(content).encode()
        try:
            handler.send_response(status)
            if 300 <= status < 400:
                handler.send_header("Location", self.url + "2")
            handler.send_header("Content-Length", str(len(octets)))
            handler.end_headers()
            handler.wfile.write(octets)
        except OSError:
            return  # the client has heard enough

    def end(self) -> None:
        """Stop serving."""
        self.release.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def token(text: str, **more: Any) -> dict[str, Any]:
    """Return a server's usual answer."""
    return {"access_token": text, "token_type": "Bearer", "expires_in": 3600, **more}


def granting(refresh_token: str, _form: dict[str, str]) -> tuple[int, Any]:
    """Answer with a new refresh token."""
    return 200, token("t", refresh_token=refresh_token)


def refusal(error: str, description: str = "") -> dict[str, str]:
    """Return a server's refusal."""
    return {"error": error, "error_description": description}


AUTHORITY = trustme.CA()


@pytest.fixture
def server() -> Iterator[TokenServer]:
    """Start a token server with a certificate of our authority."""
    running = TokenServer(AUTHORITY.issue_cert("localhost"))
    yield running
    running.end()


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    """Write our authority's certificate."""
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@pytest.fixture
def settings(server: TokenServer, ca_file: str) -> OAuthSettings:
    """Return an application's settings."""
    return OAuthSettings(
        relay="main",
        flow=Flow.CLIENT_CREDENTIALS,
        token_url=server.url,
        client_id="the-client",
        client_secret=Place(CLIENT_SECRET),
        scope="https://outlook.office365.com/.default",
        ca_file=ca_file,
    )


class Clock:
    """Time that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        """Tell it."""
        return self.now


def take(source: TokenCredentials) -> str:
    """Ask for credentials and return their token."""
    credentials = asyncio.run(source.credentials())
    assert replace(credentials, token=None) == WHO
    assert credentials.token is not None
    return credentials.token.reveal()


def fail(source: TokenCredentials) -> CredentialsUnavailable:
    """Ask for credentials in vain."""
    with pytest.raises(CredentialsUnavailable) as error:
        asyncio.run(source.credentials())
    return error.value


# The three flows


def test_client_credentials(server: TokenServer, settings: OAuthSettings) -> None:
    """An application asks with its id and secret in the form, as Microsoft 365 wants it."""
    assert take(TokenCredentials(settings, WHO)) == "t1"
    assert server.asked == [
        {
            "grant_type": "client_credentials",
            "client_id": "the-client",
            "client_secret": CLIENT_SECRET,
            "scope": "https://outlook.office365.com/.default",
        }
    ]
    assert "Authorization" not in server.headers[0]


def test_basic_authentication(server: TokenServer, settings: OAuthSettings) -> None:
    """The secret goes by the header if that is wanted, and is then not in the form."""
    basic = replace(settings, client_authentication=ClientAuthentication.BASIC)
    assert take(TokenCredentials(basic, WHO)) == "t1"
    kind, _, coded = server.headers[0]["Authorization"].partition(" ")
    assert (kind, b64decode(coded).decode()) == ("Basic", f"the-client:{CLIENT_SECRET}")
    assert "client_secret" not in server.asked[0]


def test_refresh_token(server: TokenServer, settings: OAuthSettings) -> None:
    """A refresh token is shown with the client's id; a new one is stored where the old one was, and used next."""
    place, clock = Place(REFRESH), Clock()
    source = TokenCredentials(
        replace(settings, flow=Flow.REFRESH_TOKEN, refresh_token=place, client_secret=None, scope=""), WHO, clock=clock
    )
    server.answer = lambda _form: (200, token("t1", refresh_token="two"))
    assert take(source) == "t1"
    assert server.asked == [{"grant_type": "refresh_token", "refresh_token": REFRESH, "client_id": "the-client"}]
    assert place.stored == ["two"]
    server.answer = lambda _form: (200, token("t2", refresh_token="two"))
    clock.now += 3600
    assert take(source) == "t2"
    assert server.asked[1]["refresh_token"] == "two"
    assert place.stored == ["two"]  # the same one is not written again


def test_a_refresh_token_that_can_not_be_stored(
    server: TokenServer, settings: OAuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is used all the same until the place holds another one, and a person is told each time."""
    told: list[str] = []
    monkeypatch.setattr(log, "relay_notice", lambda *, relay, what: told.append(f"{relay}: {what}"))
    place, clock = Place(REFRESH, why="a credential can't be written"), Clock()
    source = TokenCredentials(replace(settings, flow=Flow.REFRESH_TOKEN, refresh_token=place), WHO, clock=clock)
    for number in (2, 3):
        server.answer = partial(granting, f"r{number}")
        take(source)
        clock.now += 3600
    place.text = "another consent"
    take(source)
    assert [form["refresh_token"] for form in server.asked] == [REFRESH, "r2", "another consent"]
    assert told[0] == (
        "main: a new refresh token can't be stored and is lost with the next restart: a credential can't be written"
    )
    assert len(told) == 3
    assert not any(secret in text for text in told for secret in ("r2", REFRESH))


@pytest.fixture(scope="module")
def pem() -> str:
    """Make a key of a service account."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    kind, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, kind, none).decode()


def service_account(pem: str, url: str) -> str:
    """Return the JSON that Google hands out."""
    return json.dumps(
        {
            "type": "service_account",
            "client_email": "app@project.iam.example",
            "private_key_id": "key-1",
            "private_key": pem,
            "token_uri": url,
        }
    )


def claims_of(server: TokenServer, pem: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Verify the assertion that the server was asked with; return its header and claims."""
    assert server.asked[-1]["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    decoded = jwt.decode(server.asked[-1]["assertion"], RSAKey.import_key(pem), algorithms=["RS256"])
    return dict(decoded.header), dict(decoded.claims)


def test_jwt_bearer_by_a_service_account(server: TokenServer, settings: OAuthSettings, pem: str) -> None:
    """A service account asks for the mailbox's user with an assertion that its key has signed; its file says where."""
    key = Place(service_account(pem, server.url))
    account = OAuthSettings(
        relay="main", flow=Flow.JWT_BEARER, private_key=key, subject="app@example.com", ca_file=settings.ca_file
    )
    assert take(TokenCredentials(account, WHO)) == "t1"
    header, claims = claims_of(server, pem)
    assert header == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}
    assert claims["exp"] - claims.pop("iat") == 3600
    for name in ("exp", "jti"):
        claims.pop(name)
    assert claims == {
        "iss": "app@project.iam.example",
        "aud": server.url,
        "sub": "app@example.com",
        "scope": "https://mail.google.com/",
    }


def test_jwt_bearer_by_a_pem_key(server: TokenServer, settings: OAuthSettings, pem: str) -> None:
    """Without such a file the configuration names the issuer, the scope and the token server."""
    account = replace(settings, flow=Flow.JWT_BEARER, private_key=Place(pem), client_secret=None, scope="a b")
    assert take(TokenCredentials(account, WHO)) == "t1"
    _, claims = claims_of(server, pem)
    assert (claims["iss"], claims["scope"]) == ("the-client", "a b")
    assert "sub" not in claims


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hello", "neither the JSON of a service account nor a private key in PEM"),
        ("{", "begins like JSON, but is not"),
        ("{}", "not the key of a service account"),
        ('{"type": "service_account", "client_email": "a"}', "it has no private_key"),
        ("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "no RSA key can be read from it"),
    ],
)
def test_a_private_key_that_is_none(text: str, why: str, settings: OAuthSettings) -> None:
    """A key that can't sign is a fault of the configuration, in words that hold nothing of it."""
    error = fail(TokenCredentials(replace(settings, flow=Flow.JWT_BEARER, private_key=Place(text)), WHO))
    assert error.configuration
    assert why in str(error)
    assert "c2VjcmV0" not in str(error)


def test_a_service_account_elsewhere(settings: OAuthSettings, pem: str) -> None:
    """Where a key's file sends the assertion is judged as if a person had written it."""
    key = Place(service_account(pem, "http://tokens.example/"))
    error = fail(TokenCredentials(replace(settings, flow=Flow.JWT_BEARER, private_key=key, token_url=""), WHO))
    assert error.configuration
    assert "would send secrets unprotected" in str(error)


# The cache


@pytest.mark.parametrize(
    ("life", "kept"),
    [
        (3600, 3299),
        (600, 539),
        (60, 53),
        ("3599", 3298),
        (None, 269),
        ("soon", 269),
        (10**400, 269),
        (10**9, 86099),
        (True, 0),
    ],
)
def test_a_token_is_replaced_in_time(server: TokenServer, settings: OAuthSettings, life: object, kept: float) -> None:
    """Five minutes before its end, a short one for its last tenth; the server's figure is used, whatever its form."""
    clock = Clock()
    source = TokenCredentials(settings, WHO, clock=clock)
    answer = token("t1")
    answer["expires_in"] = life
    if life is None:
        del answer["expires_in"]
    server.answer = lambda _form: (200, answer)
    take(source)
    clock.now += kept
    take(source)
    assert len(server.asked) == 1
    clock.now += 2
    take(source)
    assert len(server.asked) == 2


@pytest.mark.parametrize("life", [0, -5, "nan", "-inf"])
def test_a_token_without_a_life(server: TokenServer, settings: OAuthSettings, life: object) -> None:
    """A token that is over at once is used once, or for the usual time if the figure is none."""
    server.answer = lambda _form: (200, token("t1") | {"expires_in": life})
    source = TokenCredentials(settings, WHO, clock=Clock())
    assert take(source) == take(source) == "t1"
    assert len(server.asked) == (1 if life == "nan" else 2)


def test_one_fetch_at_a_time(server: TokenServer, settings: OAuthSettings) -> None:
    """However many sessions want a token at the same time, the server is asked once, and all get its answer."""
    source = TokenCredentials(settings, WHO)

    async def many() -> list[Credentials]:
        server.gate.clear()
        tasks = [asyncio.create_task(source.credentials()) for _ in range(50)]
        cancelled = asyncio.create_task(source.credentials())
        await asyncio.to_thread(server.arrived.wait, 10)
        cancelled.cancel()
        server.gate.set()
        return await asyncio.gather(*tasks)

    assert {str(got.token and got.token.reveal()) for got in asyncio.run(many())} == {"t1"}
    assert len(server.asked) == 1


def test_all_hear_the_same_refusal(server: TokenServer, settings: OAuthSettings) -> None:
    """A refused fetch is not repeated by each of those who waited for it."""
    source = TokenCredentials(settings, WHO)
    server.answer = lambda _form: (401, refusal("invalid_client"))

    async def many() -> list[Any]:
        server.gate.clear()
        tasks = [asyncio.create_task(source.credentials()) for _ in range(20)]
        await asyncio.to_thread(server.arrived.wait, 10)
        server.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert all(isinstance(error, CredentialsUnavailable) for error in asyncio.run(many()))
    assert len(server.asked) == 1


def test_a_server_that_is_down_costs_no_good_token(server: TokenServer, settings: OAuthSettings) -> None:
    """A token that is due for replacement is used to its end if that fails; the server is asked once a minute."""
    clock = Clock()
    source = TokenCredentials(settings, WHO, clock=clock)
    take(source)
    server.answer = lambda _form: (503, b"down")
    clock.now += 3400
    assert take(source) == take(source) == "t1"
    assert len(server.asked) == 2
    clock.now += 61
    assert take(source) == "t1"
    assert len(server.asked) == 3
    clock.now += 200
    assert not fail(source).configuration


def test_a_refused_token_is_dropped(server: TokenServer, settings: OAuthSettings) -> None:
    """A 535 to a token from memory is worth another one, to a fresh one not; it is dropped in any case."""
    clock = Clock()
    source = TokenCredentials(settings, WHO, clock=clock)
    first = asyncio.run(source.credentials())
    clock.now += 600
    assert source.refused(first)
    server.answer = lambda _form: (200, token("t2"))
    second = asyncio.run(source.credentials())
    assert source.refused(first)  # another session was late to learn it: there is a newer one
    assert not source.refused(second)
    assert take(source) == "t2"
    assert len(server.asked) == 3


def test_what_a_person_replaced_is_seen(server: TokenServer, settings: OAuthSettings) -> None:
    """After a refusal a new client secret is noticed, and used for the next token without a restart."""
    place = settings.client_secret
    assert isinstance(place, Place)
    source = TokenCredentials(settings, WHO)
    server.answer = lambda form: (
        (200, token("t")) if form["client_secret"] == "new" else (401, refusal("invalid_client"))
    )
    assert not source.changed()
    fail(source)
    assert not source.changed()
    place.text = "new"
    assert source.changed()
    assert take(source) == "t"
    place.text = "newer"
    assert not source.changed()  # nothing is wrong: no hurry


def test_sources_compare(settings: OAuthSettings) -> None:
    """Two sources are equal if they ask the same server for the same user in the same way."""
    assert TokenCredentials(settings, WHO) == TokenCredentials(settings, WHO)
    assert TokenCredentials(settings, WHO) != TokenCredentials(replace(settings, scope="x"), WHO)
    assert TokenCredentials(settings, WHO) != TokenCredentials(settings, replace(WHO, user="x"))
    assert TokenCredentials(settings, WHO) != "x"
    assert len({TokenCredentials(settings, WHO), TokenCredentials(settings, WHO)}) == 1


# Refusals


@pytest.mark.parametrize(
    ("status", "content", "configuration", "why"),
    [
        (401, refusal("invalid_client", "AADSTS7000215: Invalid client secret\r\nTrace ID: x"), True,
         "refuses: invalid_client: AADSTS7000215: Invalid client secret; write the secret's value there, not its id"),
        (400, refusal("invalid_grant", "Token has been expired or revoked."), True, "sign the user in again"),
        (400, refusal("unauthorized_client"), True, "refuses: unauthorized_client"),
        (400, refusal("x" * 10_000, "y" * 10_000), True, "xxx"),
        (400, {"error": {"code": 1}}, True, "answers 400"),
        (200, refusal("invalid_scope"), True, "refuses: invalid_scope"),
        (400, refusal("temporarily_unavailable"), False, "temporarily_unavailable"),
        (500, refusal("invalid_client"), False, "invalid_client"),
        (429, refusal("too_many"), False, "too_many"),
        (404, b"<html>", True, "answers 404"),
        (403, b"", True, "answers 403"),
        (302, b"", True, "answers 302; token_url is to name the place itself"),
        (503, b"\xff\xfe", False, "answers 503"),
        (200, b"<html>please log in to the hotel</html>", False, "an answer without a token"),
        (200, [1], False, "an answer without a token"),
        (200, b"[" * 30_000, False, "an answer without a token"),
        (200, {"access_token": 5}, False, "an answer without a token"),
        (200, token("a\1b"), False, "an answer without a token"),
        (200, token("a b"), False, "an answer without a token"),
        (200, token("x" * 20_000), False, "an answer without a token"),
        (200, token("t") | {"token_type": "mac"}, True, "another kind than Bearer"),
        (200, b"x" * (ANSWER_OCTETS + 1), False, "more than 65536 octets"),
    ],
)  # fmt: skip
def test_what_a_token_server_may_answer(  # noqa: PLR0917 - the columns of a table
    status: int,
    content: Any,
    configuration: bool,  # noqa: FBT001
    why: str,
    server: TokenServer,
    settings: OAuthSettings,
) -> None:
    """A refusal is the configuration's fault, with the server's reason; trouble that may pass is not."""
    server.answer = lambda _form: (status, content)
    error = fail(TokenCredentials(settings, WHO))
    assert error.configuration == configuration
    assert why in str(error)
    assert len(str(error)) < 600
    assert len(server.asked) == 1  # no redirection is followed


def test_a_token_server_that_is_silent(
    server: TokenServer, settings: OAuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait has an end, and is like a relay that can't be reached."""
    monkeypatch.setattr("maildrop.smtp.tokenserver.ANSWER_SECONDS", 0.2)
    server.answer = lambda _form: (0, b"")
    error = fail(TokenCredentials(settings, WHO))
    assert not error.configuration
    assert "can't be reached: no answer within" in str(error)


def test_nobody_there(settings: OAuthSettings) -> None:
    """A refused connection is said with the host, and may be over soon."""
    error = fail(TokenCredentials(replace(settings, token_url="https://localhost:1/token"), WHO))
    assert not error.configuration
    assert "the token server localhost can't be reached" in str(error)


def test_an_unknown_certificate(server: TokenServer, settings: OAuthSettings) -> None:
    """The secret is not sent to a server whose certificate nobody vouches for."""
    error = fail(TokenCredentials(replace(settings, ca_file=None), WHO))
    assert not error.configuration
    assert "certificate" in str(error)
    assert server.asked == []


def test_http_to_this_machine(settings: OAuthSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local broker may be asked in plain text, and no proxy of the environment sees it."""
    monkeypatch.setenv("HTTP_PROXY", "http://localhost:1")
    monkeypatch.setenv("ALL_PROXY", "http://localhost:1")
    running = TokenServer(None)
    try:
        assert take(TokenCredentials(replace(settings, token_url=running.url), WHO)) == "t1"
    finally:
        running.end()


# Secrets


@pytest.mark.parametrize("echo", [CLIENT_SECRET, "8Q~kX7%2FZt%2BaB9vLq", CLIENT_SECRET[3:], REFRESH])
def test_no_secret_is_in_a_refusal(echo: str, server: TokenServer, settings: OAuthSettings) -> None:
    """A server that repeats what it was told is quoted without it."""
    source = TokenCredentials(replace(settings, flow=Flow.REFRESH_TOKEN, refresh_token=Place(REFRESH)), WHO)
    server.answer = lambda _form: (400, refusal("invalid_grant", f"you said '{echo}', really {echo}"))
    error = fail(source)
    assert "really" in str(error)
    assert echo not in str(error) + repr(error)


def test_no_secret_is_logged(
    server: TokenServer, settings: OAuthSettings, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Even with every log of every library at its loudest, no secret and no token is in any of them."""
    caplog.set_level(logging.DEBUG)
    for way in ClientAuthentication:
        place = Place(REFRESH)
        chatty = replace(settings, flow=Flow.REFRESH_TOKEN, refresh_token=place, client_authentication=way)
        server.answer = lambda _form: (200, token("the-access-token", refresh_token="the-next-refresh-token"))
        source = TokenCredentials(chatty, WHO)
        assert take(source) == "the-access-token"
        out, err = capfd.readouterr()
        shown = caplog.text + out + err + repr(source) + repr(chatty.token_url)
        for secret in (CLIENT_SECRET, REFRESH, "the-access-token", "the-next-refresh-token"):
            assert secret not in shown
