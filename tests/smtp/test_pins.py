"""Pins of the public key, the certificate's end, and sessions over a unix socket."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from maildrop.smtp import Endpoint, Security, Session, SessionFailed, Stage, Transcript, connect
from tests.smtp.scripted import ScriptedServer

ENDS = datetime(2049, 5, 6, 7, 8, 9, tzinfo=UTC)
CONVERSATION = "tls here\nS: 220 mx\nC: EHLO *\nS: 250 mx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A server's certificate: its context, the pin of its key, and who trusts it."""

    server: ssl.SSLContext
    pin: bytes
    trusting: ssl.SSLContext


@pytest.fixture(scope="module")
def shown() -> Shown:
    """Make a certificate for localhost."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", not_after=ENDS)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    key = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).public_key()
    pin = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return Shown(server=server, pin=pin, trusting=trusting)


@pytest.fixture
def server(shown: Shown, request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    """Start a server that shows the certificate and says ``request.param``."""
    made = ScriptedServer(request.param, {"here": shown.server})
    yield made
    made.join()


def open_session(port: int, **changes: Any) -> tuple[Session, Transcript]:
    """Connect with implicit TLS; end the session at once."""
    transcript = Transcript()

    async def main() -> Session:
        values = {"host": "localhost", "port": port, "security": Security.IMPLICIT, **changes}
        session = await connect(Endpoint(relay="test", hostname="here", **values), transcript=transcript)
        session.abort()
        return session

    return asyncio.run(main()), transcript


@pytest.mark.parametrize("server", [CONVERSATION], indirect=True)
def test_one_of_two_pins_is_enough(server: ScriptedServer, shown: Shown) -> None:
    """Two pins make it possible to replace the key."""
    session, _ = open_session(server.port, tls=shown.trusting, pins=frozenset({bytes(32), shown.pin}))
    assert session.tls is not None
    assert session.certificate_expires == ENDS


@pytest.mark.parametrize("server", ["tls here\nsilence"], indirect=True)
def test_another_key_is_refused_before_a_word_is_said(server: ScriptedServer, shown: Shown) -> None:
    """The certificate is right but its key is not the pinned one: nothing is said, and the found key is named."""
    with pytest.raises(SessionFailed) as failure:
        open_session(server.port, tls=shown.trusting, pins=frozenset({bytes(32)}))
    assert failure.value.stage is Stage.TLS
    assert base64.b64encode(shown.pin).decode() in str(failure.value)
    server.join()
    assert bytes(server.heard) == b""


@pytest.mark.parametrize("server", ["tls-refused here"], indirect=True)
def test_a_pin_does_not_replace_trust(server: ScriptedServer, shown: Shown) -> None:
    """A certificate of an unknown authority is refused although its key is the pinned one."""
    with pytest.raises(SessionFailed, match="the certificate is not accepted"):
        open_session(server.port, tls=ssl.create_default_context(), pins=frozenset({shown.pin}))


@pytest.mark.parametrize("server", [CONVERSATION], indirect=True)
def test_the_end_of_an_unverified_certificate_is_known(server: ScriptedServer) -> None:
    """The end is read from the octets, so it is known with opportunistic security, too."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    session, _ = open_session(server.port, tls=context)
    assert session.certificate_expires == ENDS


@pytest.mark.parametrize("server", ["S: 220 mx\nsilence"], indirect=True)
def test_tls_on_a_port_that_speaks_at_once_is_named(server: ScriptedServer, shown: Shown) -> None:
    """Who chose implicit TLS for a submission port is told what to choose instead."""
    with pytest.raises(SessionFailed, match='use tls = "starttls", or port 465'):
        open_session(server.port, tls=shown.trusting)


def test_a_session_over_a_unix_socket(tmp_path: Path) -> None:
    """LMTP is spoken over the socket, and the peer is its path."""
    path, heard = str(tmp_path / "lmtp"), []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"220 here\r\n")
                heard.append(peer.recv(100))
                peer.sendall(b"250 here\r\n")
                peer.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        session, _ = open_session(0, host="", socket=path, security=Security.NONE, lmtp=True)
        thread.join(5)
    assert heard == [b"LHLO here\r\n"]
    assert session.peer == path
    assert session.certificate_expires is None


@pytest.mark.parametrize("name", ["nothing", "x" * 200])
def test_a_socket_that_is_not_there(tmp_path: Path, name: str) -> None:
    """It is the relay's fault, told with the path."""
    with pytest.raises(SessionFailed) as failure:
        open_session(0, host="", socket=str(tmp_path / name), security=Security.NONE, lmtp=True)
    assert failure.value.stage is Stage.CONNECT
    assert name in str(failure.value)


def test_an_endpoint_is_a_host_or_a_socket() -> None:
    """Neither and both are a programmer's mistake."""
    for places in ({}, {"host": "localhost", "socket": "/run/lmtp"}):
        with pytest.raises(ValueError, match="either a host or a socket"):
            Endpoint(relay="test", hostname="here", security=Security.NONE, **places)  # type: ignore[arg-type]


@pytest.mark.parametrize("known", [("127.0.0.99", "127.0.0.1"), ("::1",)])
def test_known_addresses_are_not_looked_up(known: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tried in order, IPv6 and IPv4 alike, and the name is only shown."""
    monkeypatch.setattr(socket, "getaddrinfo", None)
    family = socket.AF_INET6 if ":" in known[-1] else socket.AF_INET
    with socket.socket(family) as listener:
        try:
            listener.bind((known[-1], 0))
        except OSError:
            pytest.skip("no IPv6 on the loopback interface")
        listener.listen()
        port = int(listener.getsockname()[1])

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"220 here\r\n")
                peer.recv(100)
                peer.sendall(b"250 here\r\n")
                peer.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        session, _ = open_session(port, host="mx.example", addresses=known, security=Security.NONE)
        thread.join(5)
    assert session.peer == f"mx.example [{known[-1]}]:{port}"
