"""One try at a relay: every kind of transport, credentials that can't be had, tokens, certificates."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socketserver
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from maildrop.delivery.relay_settings import Protocol, RelaySettings
from maildrop.smtp import Credentials, CredentialsUnavailable, Secret, Security
from maildrop.smtp.tokenfacts import TokenFacts
from maildrop.status.findings import Finding, Grade
from maildrop.status.probe import Suspect, probe_all
from maildrop.status.steps import certificate_finding, token_finding
from tests.cli.relays import BYE, NO_TLS, STARTTLS, Authority, inside
from tests.smtp.scripted import ScriptedServer


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Issue the certificates once."""
    return Authority()


@pytest.fixture
def probe(authority: Authority, tmp_path: Path) -> Iterator[Callable[..., dict[str, Finding]]]:
    """Return a function that tries a scripted server, and returns the findings by their step."""
    servers: list[ScriptedServer] = []
    (tmp_path / "ca.pem").write_bytes(authority.pem)

    def start(script: str, **settings: Any) -> dict[str, Finding]:
        servers.append(ScriptedServer(script, authority.servers))
        values: dict[str, Any] = {"security": Security.STARTTLS, "ca_file": str(tmp_path / "ca.pem"), **settings}
        return look(RelaySettings(name="main", hostname="here", host="localhost", port=servers[-1].port, **values))

    yield start
    for server in servers:
        assert server.join() == []


def look(settings: RelaySettings) -> dict[str, Finding]:
    """Try one relay."""
    suspect = Suspect(settings=settings)
    ((name, findings),) = probe_all([suspect], step_seconds=2.0, tell=lambda _relays: None)
    assert name == settings.name
    return {finding.step: finding for finding in findings}


class Source:
    """Credentials that come from a function; nobody asks twice here."""

    def __init__(self, fetch: Callable[[], Credentials] | None) -> None:
        self._fetch = fetch

    async def credentials(self) -> Credentials:
        """Return them, or wait for ever."""
        if self._fetch is None:
            await asyncio.get_running_loop().create_future()
            raise AssertionError
        return self._fetch()

    def refused(self, credentials: Credentials) -> bool:
        """Never have others."""
        raise AssertionError(credentials)

    def changed(self) -> bool:
        """Never change."""
        return False


def test_lmtp(probe: Any) -> None:
    """LHLO is said, and told like EHLO."""
    found = probe(NO_TLS.replace("EHLO", "LHLO") + BYE, security=Security.NONE, protocol=Protocol.LMTP)
    assert list(found) == ["lookup", "connect", "greeting", "tls", "ehlo", "auth", "quit"]
    assert found["ehlo"].what == "PIPELINING, messages of up to 50 MB"


class _Lmtp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 lmtp\r\n")
        while line := self.rfile.readline():
            self.wfile.write(b"221 bye\r\n" if line.startswith(b"QUIT") else b"250-lmtp\r\n250 8BITMIME\r\n")
            if line.startswith(b"QUIT"):
                return


def test_a_unix_socket(tmp_path: Path) -> None:
    """There is no name to look up; the socket's path is who was reached, or who was not."""
    path = str(tmp_path / "lmtp")
    settings = RelaySettings(name="main", hostname="here", socket=path, security=Security.NONE, protocol=Protocol.LMTP)
    missing = look(settings)
    assert list(missing) == ["connect"]
    assert (missing["connect"].code, path in missing["connect"].what) == (69, True)
    with socketserver.UnixStreamServer(path, _Lmtp) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        found = look(settings)
        thread.join()
    assert list(found) == ["connect", "greeting", "tls", "ehlo", "auth", "quit"]
    assert found["connect"].what == path


def test_pins(probe: Any, authority: Authority) -> None:
    """A key that is pinned is told; another one is a fault at TLS that does not hide the certificate."""
    found = probe(STARTTLS + "tls-refused good\n", pins=frozenset({b"0" * 32}))
    assert (found["tls"].grade, found["tls"].code) == (Grade.FAIL, 69)
    assert "ehlo" not in found
    key = hashlib.sha256(_public_key(authority)).digest()
    found = probe(inside(login=False) + BYE, pins=frozenset({key}))
    assert found["tls"].what.endswith("certificate and name verified, the key is one of the pins")


def _public_key(authority: Authority) -> bytes:
    certificate = x509.load_pem_x509_certificate(authority.chain("good"))
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_opportunistic_tells_until_when_the_certificate_is_good(probe: Any) -> None:
    """Whose it is nobody has verified, and so it is not told."""
    found = probe(inside("self-signed", login=False) + BYE, security=Security.OPPORTUNISTIC)
    assert found["tls"].grade is Grade.WARN
    assert found["certificate"].what.startswith("not verified, good for ")


def test_opportunistic_goes_on_in_the_clear(probe: Any) -> None:
    """A handshake that fails is followed by a connection without: a warning, and the steps of the second one."""
    broken = STARTTLS + "raw: not tls\\r\\n\nclose\nconnection\n"
    found = probe(broken + NO_TLS + BYE, security=Security.OPPORTUNISTIC)
    assert found["tls"].what.startswith("none: the server offers it not, or it failed")
    assert found["ehlo"].what == "PIPELINING, messages of up to 50 MB"
    assert "certificate" not in found


@pytest.mark.parametrize(("configuration", "code"), [(True, 78), (False, 69)], ids=["a person is needed", "may pass"])
def test_credentials_that_can_not_be_had(probe: Any, *, configuration: bool, code: int) -> None:
    """The relay is tried as far as it goes, and what is in the way of AUTH is told at its place."""

    def fail() -> Credentials:
        raise CredentialsUnavailable("the token server refuses: \x1b[2J", configuration=configuration)

    found = probe(inside(login=False) + BYE, credentials=Source(fail))
    assert list(found)[-3:] == ["ehlo", "auth", "quit"]
    assert (found["auth"].grade, found["auth"].code) == (Grade.FAIL, code)
    assert found["auth"].what == "the token server refuses: \\x1b[2J"


def test_a_source_that_hangs() -> None:
    """It may take as long as any step; and what is missing is told even where the relay fails before."""
    settings = RelaySettings(
        name="main", hostname="here", host="localhost", port=1, security=Security.NONE, credentials=Source(None)
    )
    suspects = [Suspect(settings=settings)]
    seen: list[str] = []
    ((_, findings),) = probe_all(suspects, step_seconds=0.3, tell=seen.extend)
    assert [finding.step for finding in findings] == ["lookup", "connect", "auth"]
    assert findings[-1].what == "no credentials within 0.3 s"
    assert "main" in seen


def _token(**claims: object) -> Credentials:
    parts = (urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims))
    return Credentials(user="robot@example.com", token=Secret(".".join((*parts, "signature"))))


def test_a_token_is_decoded_and_the_administrators_step_named(probe: Any) -> None:
    """Audience and roles are told before AUTH; a refusal names what they lack; the token itself is not shown."""
    credentials = _token(aud="https://outlook.office365.com", roles=["Mail.Send"], appid="4711")
    script = inside(login=False).replace("PLAIN LOGIN", "XOAUTH2") + "C: AUTH XOAUTH2 *\nS: 535 5.7.3 unsuccessful\n"
    found = probe(script, credentials=Source(lambda: credentials))
    assert found["token"].what == "for https://outlook.office365.com; roles Mail.Send; of application 4711"
    assert found["auth"].what == "XOAUTH2: refused: 535 5.7.3 unsuccessful"
    assert found["auth"].hint.startswith("the application has no role SMTP.SendAsApp: add it under")
    assert credentials.token is not None
    assert not any(credentials.token.reveal() in finding.what for finding in found.values())


def test_what_a_token_says() -> None:
    """Every claim that there is, and no other; a token that is no JWT says nothing."""
    facts = TokenFacts(scopes=("SMTP.Send",), object_id="9", user="me", expires=datetime(2026, 11, 23, 8, tzinfo=UTC))
    assert token_finding(facts).what == "scopes SMTP.Send; object id 9; user me; good until 2026-11-23T08:00:00Z"
    for unknown in (None, TokenFacts()):
        assert token_finding(unknown).what == "is there; it says nothing about itself"


def test_an_odd_certificate(authority: Authority) -> None:
    """One that can't be read is a warning, and one without names has nobody's."""
    found = certificate_finding({"subject": ()}, b"no certificate", datetime.now(UTC))
    assert found.grade is Grade.WARN
    assert found.what.startswith("nobody, issued by nobody: ")
    der = x509.load_pem_x509_certificate(authority.chain("good")).public_bytes(Encoding.DER)
    named = {"subjectAltName": (("DNS", "a.example"), ("DNS", "b.example"), ("DNS", "c.example"))}
    found = certificate_finding(named, der, datetime.now(UTC))
    assert found.what.startswith("a.example, b.example, issued by nobody, good for 90 days")
