"""A server of another make (aiosmtpd) that wants STARTTLS and a password, as a process of its own.

It would leave open sockets behind in the process that runs the tests. What it saw comes as JSON lines: the mechanism of
each try to log in, and the recipients of each mail.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from tests.e2e.servers import free_port, is_listening
from tests.e2e.spools import environment
from tests.e2e.waiting import DEADLINE_SECONDS, wait_for

USER, PASSWORD = "reports@example.com", "correct horse: battery"


class SecureServer:
    """The process; ``mechanisms`` and ``mails`` tell what it saw so far."""

    def __init__(self, authority: trustme.CA, folder: Path, *, name: str, without: str) -> None:
        """``name`` is what the certificate is valid for, ``without`` the mechanism that is not offered."""
        self.mechanisms: list[str] = []
        self.mails: list[list[str]] = []
        self.port = free_port()
        certificate = folder / f"server-{self.port}.pem"
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(certificate))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.secure_server", str(self.port), str(certificate), without],
            cwd=Path(__file__).resolve().parents[2],
            env=environment(traced=False),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it prints a traceback for each client that does not trust it
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_for(lambda: is_listening(self.port), "the server answers")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                said = json.loads(line)
                (self.mechanisms if isinstance(said, str) else self.mails).append(said)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)


def _tell(said: object) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def _authenticate(_server: Any, _session: Any, _envelope: Any, mechanism: str, login: Any) -> AuthResult:
    _tell(mechanism)
    is_right = (login.login, login.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=is_right, handled=False)  # "not handled" makes aiosmtpd say the 535


class _Handler:
    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        _tell(envelope.rcpt_tos)
        return "250 2.0.0 Ok: queued as 4F2x"


def _main(port: str, certificate: str, without: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    controller = Controller(
        _Handler(),
        hostname="127.0.0.1",
        port=int(port),
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        auth_exclude_mechanism=[without],
        authenticator=_authenticate,
    )
    controller.start()
    sys.stdin.read()  # until the test is over
    controller.stop()


if __name__ == "__main__":
    _main(*sys.argv[1:])
