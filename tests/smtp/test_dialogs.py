"""Conversations as text: `tests/dialogs/*.dialog` over real sockets.

The first line of a dialog is the verdict it must end in, one per message, joined by `` | ``:

- ``failed STAGE [configuration]``: no session could be opened;
- ``accepted [N of M]``: a 2yz after the final dot;
- ``refused STAGE CODE …``: a clear no, with the codes that said so;
- ``lost STAGE [in-doubt] [stale]``: the session broke;

each of the last three with ``; usable`` or ``; over``, which tells whether the session could go on. Settings follow
(``security``, ``timeout NAME``, ``recipients``, ``messages``, ``octets``, ``credentials``, ``all-or-nothing``), an
empty line, and then the server's script: the verbs are explained in `conftest.py`.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from maildrop.smtp import (
    Credentials,
    Endpoint,
    Secret,
    Security,
    Session,
    SessionFailed,
    SessionLost,
    Timeouts,
    Transaction,
    TransactionResult,
    Transcript,
    connect,
)

DIALOGS = os.path.join(os.path.dirname(__file__), os.pardir, "dialogs")
NAMES = sorted(name.removesuffix(".dialog") for name in os.listdir(DIALOGS) if name.endswith(".dialog"))
PASSWORD = "correct horse battery"
SECRETS = (PASSWORD, b64encode(PASSWORD.encode()).decode(), b64encode(f"\0anna\0{PASSWORD}".encode()).decode()[:-9])
MESSAGE = b"Subject: hello\r\n\r\nA line.\r\n.hidden\r\n..twice\r\n"
STUFFED = b"Subject: hello\r\n\r\nA line.\r\n..hidden\r\n...twice\r\n.\r\n"


class Dialog:
    """One file, taken apart."""

    def __init__(self, text: str) -> None:
        head, _, self.script = text.partition("\n\n")
        verdict, *lines = [line for line in head.splitlines() if not line.startswith("#")]
        self.verdict = verdict.removeprefix("verdict: ")
        self.settings = dict(line.partition(": ")[::2] for line in lines)
        octets = int(self.settings.get("octets", 0))
        self.message = MESSAGE + b"a line of thirty-two octets xx\r\n" * (octets // 32)
        self.stuffed = STUFFED[:-3] + self.message[len(MESSAGE) :] + b".\r\n"

    def endpoint(self, port: int, context: ssl.SSLContext) -> Endpoint:
        """Return the endpoint that the settings describe."""
        security = Security(self.settings.get("security", "none"))
        seconds = {name.split()[1]: float(value) for name, value in self.settings.items() if name.startswith("timeout")}
        defaults = dict.fromkeys(("greeting", "tls", "ehlo", "auth", "mail", "rcpt", "data", "block", "data_end"), 4.0)
        credentials = Credentials(user="anna", password=Secret(PASSWORD)) if "credentials" in self.settings else None
        return Endpoint(
            relay="test",
            host="localhost" if security is not Security.NONE else "127.0.0.1",
            port=port,
            security=security,
            hostname="client.example",
            credentials=credentials,
            plaintext_auth=self.settings.get("credentials") == "plaintext",
            tls=None if security is Security.NONE else context,
            timeouts=Timeouts(**{**defaults, **seconds}),
        )

    def transaction(self, log: list[str]) -> Transaction:
        """Return the transaction that the settings describe; prepare and record note themselves in ``log``."""

        async def prepare(result: TransactionResult) -> None:
            assert result.end is None
            log.append("prepared")

        def record(result: TransactionResult) -> None:
            assert result.end is not None
            assert result.end.severity == 2
            log.append("recorded")

        def chunks() -> Iterator[bytes]:
            yield self.message

        count = int(self.settings.get("recipients", 1))
        return Transaction(
            reverse_path="sender@example.org",
            forward_paths=tuple(f"r{number}@example.net" for number in range(1, count + 1)),
            size=len(self.message),
            chunks=chunks,
            all_or_nothing="all-or-nothing" in self.settings,
            prepare=prepare,
            record=record,
        )


def judge(outcome: TransactionResult | SessionLost, session: Session) -> str:
    """Put an outcome into the words of a verdict."""
    after = "usable" if session.usable else "over"
    if isinstance(outcome, SessionLost):
        words = ["lost", str(outcome.stage)]
        words += [word for word, true in (("in-doubt", outcome.in_doubt), ("stale", outcome.stale)) if true]
        return f"{' '.join(words)}; {after}"
    count = len(outcome.recipients)
    if outcome.end is not None and outcome.end.severity == 2:
        taken = "" if len(outcome.accepted) == count else f" {len(outcome.accepted)} of {count}"
        return f"accepted{taken}; {after}"
    if outcome.end is not None:
        return f"refused data-end {outcome.end.code}; {after}"
    if outcome.data is not None:
        return f"refused data {outcome.data.code}; {after}"
    if outcome.recipients:
        codes = " ".join(str(reply.code) for reply in outcome.recipients.values())
        return f"refused rcpt {codes}; {after}"
    assert outcome.mail is not None
    return f"refused mail {outcome.mail.code}; {after}"


async def converse(dialog: Dialog, endpoint: Endpoint, transcript: Transcript) -> tuple[str, str]:
    """Hold the conversation; return its verdict and everything that was said about a failure."""
    try:
        session = await connect(endpoint, transcript=transcript)
    except SessionFailed as failed:
        verdict = f"failed {failed.stage}" + (" configuration" if failed.configuration else "")
        return verdict, f"{failed} {failed!r} {failed.reply}"
    verdicts, said = [], ""
    for _ in range(int(dialog.settings.get("messages", 1))):
        log: list[str] = []
        outcome: TransactionResult | SessionLost
        try:
            outcome = await session.deliver(dialog.transaction(log))
        except SessionLost as lost:
            outcome = lost
        verdicts.append(judge(outcome, session))
        said += f"{outcome} {outcome!r}"
        assert ("recorded" in log) == verdicts[-1].startswith("accepted")
        assert "prepared" in log or not (set(log) or "in-doubt" in verdicts[-1])
    await session.quit()
    return " | ".join(verdicts), said


@pytest.mark.parametrize("name", NAMES)
def test_dialog(name: str, start_server: Any, certificates: Any) -> None:
    """Each conversation ends in the verdict of its first line, and both sides say what is written."""
    with open(os.path.join(DIALOGS, f"{name}.dialog"), encoding="utf-8") as file:
        dialog = Dialog(file.read())
    server = start_server(dialog.script, dialog.stuffed)
    transcript = Transcript()
    verdict, said = asyncio.run(converse(dialog, dialog.endpoint(server.port, certificates.trusting), transcript))
    assert verdict == dialog.verdict, transcript.text()
    assert server.join() == []
    assert not any(secret in transcript.text() + said for secret in SECRETS)
