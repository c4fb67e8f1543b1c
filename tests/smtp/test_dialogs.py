"""Conversations as text: `tests/dialogs/*.dialog` over real sockets, and the same octets through the bare machine.

The first line of a dialog is the verdict it must end in, one per message, joined by `` | ``:

- ``failed STAGE [configuration]``: no session could be opened;
- ``accepted [N of M]``: a 2yz after the whole message, for every recipient whose RCPT was accepted;
- ``refused STAGE CODE …``: a clear no, with the codes that said so;
- ``mixed STAGE CODE …``: LMTP, where some recipients have the message and others do not;
- ``lost STAGE [in-doubt] [stale] [lacks-chunking] [after CODE …]``: the session broke; LMTP's replies until then;
- ``canceled``: nobody waited for the verdict any more;

all but the first and the last with ``; usable`` or ``; over``, which tells whether the session could go on (but for a
message behind which another one was begun). Settings follow, an empty line, and then the server's script: its verbs are
explained in `scripted.py`.

==========================  ==========================================================================
``security: NAME``          how the session is protected, ``none`` if not said
``timeout NAME: S``         seconds for one stage; ``timeouts: rfc`` leaves them as RFC 5321 has them
``protocol: lmtp``          LHLO, and a reply for each recipient
``recipients, messages: N``  for each message r1 …, q1 … for the second; messages that go out in one session
``follow: begun``           the second message begins while the first is judged, if the session takes it
``follow: canceled``        the same, and then its task is cancelled
``octets: N``               length of the message
``credentials``             ``anna``, or ``plaintext`` if the password may go out without TLS
``all-or-nothing: yes``     every recipient or none
``notify, envelope-id``     asked for with DSN, and so is ``return``
==========================  ==========================================================================

A script may expect ``<message>`` and ``<message2>`` (dot-stuffed), ``<chunk>`` and ``<chunk2>`` (behind their BDAT).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import warnings
from base64 import b64encode
from typing import Any

import pytest

from maildrop.smtp import SessionFailed, SessionLost, TransactionResult, Transcript, connect
from tests.smtp.dialog import DIALOGS, NAMES, PASSWORD, Clock, Dialog, judge, judge_failure

SECRETS = (PASSWORD, b64encode(PASSWORD.encode()).decode(), b64encode(f"\0anna\0{PASSWORD}".encode()).decode()[:-9])
SCRIPTS = 85  # the ways in which a server can misbehave that these dialogs are numbered by; above that are our own


class Conversation:
    """What was said in one dialog: a verdict and a transcript for each message, and what failures say."""

    def __init__(self, dialog: Dialog, opening: Transcript) -> None:
        self.dialog = dialog
        self.verdicts: list[str] = []
        self.transcripts = [opening]
        self.said = ""
        self.records: list[list[str]] = []

    async def hold(self, port: int, context: ssl.SSLContext) -> None:
        """Hold it; every record that is written is one of an accepted message."""
        try:
            session = await connect(self.dialog.endpoint(port, context), transcript=self.transcripts[0])
        except SessionFailed as failed:
            self.verdicts.append(judge_failure(failed))
            self.said = f"{failed} {failed!r} {failed.reply}"
            return
        if "follow" in self.dialog.settings:
            await self._follow(session)
        else:
            for _ in range(int(self.dialog.settings.get("messages", 1))):
                await self._deliver(session, 0, Transcript() if self.records else self.transcripts[0])
        await session.quit()

    async def _follow(self, session: Any) -> None:
        is_judged = asyncio.Event()
        first = asyncio.create_task(self._deliver(session, 0, Transcript(), is_judged.set))
        judging = asyncio.create_task(is_judged.wait())
        await asyncio.wait({first, judging}, return_when=asyncio.FIRST_COMPLETED)
        judging.cancel()
        if not session.takes_another:
            await first
        second = asyncio.create_task(self._deliver(session, 1, Transcript()))
        await asyncio.sleep(0)
        if self.dialog.settings["follow"] == "canceled":
            second.cancel()
        await asyncio.gather(first, second)
        self.verdicts[0] = self.verdicts[0].partition(";")[0]

    async def _deliver(self, session: Any, number: int, transcript: Transcript, *judged: Any) -> None:
        log: list[str] = []
        self.records.append(log)
        self.transcripts.append(transcript)
        place = len(self.verdicts)
        self.verdicts.append("")
        outcome: TransactionResult | SessionLost
        try:
            outcome = await session.deliver(self.dialog.transaction(log, number, transcript, *judged))
        except SessionLost as lost:
            outcome = lost
        except asyncio.CancelledError:
            self.verdicts[place] = "canceled"
            assert log == []
            return
        self.verdicts[place] = verdict = judge(outcome, usable=session.usable)
        self.said += f"{outcome} {outcome!r}"
        assert ("recorded" in log) == verdict.startswith("accepted")
        assert "prepared" in log or not (set(log) or "in-doubt" in verdict)


@pytest.mark.parametrize("name", NAMES)
def test_dialog(name: str, start_server: Any, certificates: Any) -> None:
    """Each conversation ends in the verdict of its first line, and both sides say what is written."""
    dialog = Dialog.read(name)
    server = start_server(dialog.script, **dialog.expected)
    conversation = Conversation(dialog, Transcript())
    with asyncio.Runner(loop_factory=Clock) as runner:
        server.advance_clock = runner.get_loop().advance  # type: ignore[attr-defined]
        runner.run(conversation.hold(server.port, certificates.trusting))
    texts = [transcript.text() for transcript in conversation.transcripts]
    assert " | ".join(conversation.verdicts) == dialog.verdict, "\n".join(texts)
    assert server.join() == []
    assert not any(secret in "".join(texts) + conversation.said for secret in SECRETS)
    if "follow" in dialog.settings:
        assert not any(mark in texts[1] for mark in ("sender2@", "q1@"))
        assert not any(mark in texts[2] for mark in ("sender@", "r1@"))


def test_every_way_to_misbehave_has_a_dialog() -> None:
    """The numbers 1 to 85 each stand in front of at least one dialog's name, and every file is a dialog."""
    numbers = {int(name.split("-")[0]) for name in NAMES}
    assert sorted(set(range(1, SCRIPTS + 1)) - numbers) == []
    assert len(NAMES) == len(os.listdir(DIALOGS))


@pytest.mark.parametrize(("name", "version"), [("tls-1.0", "TLSv1"), ("tls-1.1", "TLSv1.1")])
def test_servers_with_old_tls_speak_it(certificates: Any, name: str, version: str) -> None:
    """The servers that only know TLS 1.0 and 1.1 would get along with an old client: it is ours that refuses them."""
    context = ssl.create_default_context(cadata=certificates.authority.decode())
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
    server_in, client_in = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(client_in, server_in, server_hostname="localhost")
    server = certificates.servers[name].wrap_bio(server_in, client_in, server_side=True)
    for side in (client, server, client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert client.version() == version
