"""From a relay's name to a session that is ready for MAIL: look up, connect, greet, encrypt, authenticate."""

from __future__ import annotations

from dataclasses import replace

from maildrop.smtp.endpoint import Endpoint
from maildrop.smtp.failures import SessionFailed
from maildrop.smtp.reply import Stage
from maildrop.smtp.session import Session
from maildrop.smtp.steps import Fault, Security
from maildrop.smtp.transcript import Transcript
from maildrop.smtp.wire import Unreachable, dial


async def connect(endpoint: Endpoint, *, transcript: Transcript) -> Session:
    """Return a session that is ready for MAIL: greeted, encrypted and authenticated as the endpoint asks.

    Raises `SessionFailed`, and OSError only if this machine is out of descriptors or memory. With opportunistic
    security a handshake that fails is followed by one more connection in the clear.
    """
    try:
        return await _connect_once(endpoint, transcript)
    except SessionFailed as failed:
        if endpoint.security is not Security.OPPORTUNISTIC or failed.stage is not Stage.TLS:
            raise
    transcript.note("once more without TLS")
    return await _connect_once(replace(endpoint, security=Security.NONE), transcript)


async def _connect_once(endpoint: Endpoint, transcript: Transcript) -> Session:
    try:
        sock, address = await dial(endpoint.host, endpoint.port, endpoint.timeouts.connect)
    except Unreachable as error:
        transcript.note(str(error))
        raise SessionFailed(endpoint.relay, Fault(stage=error.stage, what=str(error))) from error
    try:
        session = Session(endpoint, transcript, sock, address)
        await session.open(sock)
    except BaseException:
        sock.close()
        raise
    return session
