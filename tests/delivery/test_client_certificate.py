"""A relay that wants a client certificate gets the one of the configuration, and no other relay does."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from maildrop.delivery.relay_settings import RelaySettings, endpoint_of
from maildrop.smtp import Security, Session, SessionFailed, Transcript, connect
from tests.smtp.scripted import ScriptedServer


@pytest.fixture
def strict(tmp_path: Path) -> Callable[[str], tuple[ScriptedServer, RelaySettings]]:
    """Return a function that starts a server which wants a certificate; the settings have the right one."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED

    def start(script: str) -> tuple[ScriptedServer, RelaySettings]:
        server = ScriptedServer(script, {"strict": context})
        return server, RelaySettings(
            name="main", host="localhost", port=server.port, hostname="here", security=Security.IMPLICIT,
            ca_file=str(tmp_path / "ca.pem"), client_certificate=str(tmp_path / "client.pem"),
        )  # fmt: skip

    return start


def open_session(settings: RelaySettings) -> Session:
    """Connect and end the session at once."""

    async def main() -> Session:
        session = await connect(endpoint_of(settings), transcript=Transcript())
        session.abort()
        return session

    return asyncio.run(main())


def test_the_certificate_is_shown(strict: Callable[[str], tuple[ScriptedServer, RelaySettings]]) -> None:
    """The server lets us in by it."""
    server, settings = strict("tls strict\nS: 220 mx\nC: EHLO *\nS: 250 mx")
    assert open_session(settings).tls is not None
    assert server.join() == []


def test_without_it_there_is_no_session(strict: Callable[[str], tuple[ScriptedServer, RelaySettings]]) -> None:
    """That is the relay's fault and not a job's."""
    server, settings = strict("tls-refused strict")
    with pytest.raises(SessionFailed):
        open_session(replace(settings, client_certificate=None))
    server.join()
