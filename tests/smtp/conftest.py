"""Scripted servers that end with their test, and the certificates they may show."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.smtp.certificates import Certificates, make_certificates
from tests.smtp.scripted import ScriptedServer

StartServer = Callable[..., ScriptedServer]


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    """Return what `make_certificates` makes, once."""
    return make_certificates()


@pytest.fixture
def start_server(certificates: Certificates) -> Iterator[StartServer]:
    """Start scripted servers that end with the test."""
    servers: list[ScriptedServer] = []

    def start(script: str, message: bytes = b"", **expected: bytes) -> ScriptedServer:
        servers.append(ScriptedServer(script, certificates.servers, {"message": message, **expected}))
        return servers[-1]

    yield start
    for server in servers:
        server.join()
