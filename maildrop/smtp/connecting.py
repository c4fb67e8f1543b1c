"""From a relay's name to a session ready for MAIL: credentials, look up, connect, greet, encrypt, authenticate."""

from __future__ import annotations

from dataclasses import replace

from maildrop.smtp.credentials import CredentialsUnavailable
from maildrop.smtp.endpoint import Endpoint
from maildrop.smtp.failures import SessionFailed
from maildrop.smtp.reply import Stage
from maildrop.smtp.session import Session
from maildrop.smtp.steps import Fault, Security
from maildrop.smtp.transcript import Transcript
from maildrop.smtp.wire import Unreachable, dial, dial_socket


async def connect(endpoint: Endpoint, *, transcript: Transcript) -> Session:
    """Return a session that is ready for MAIL: greeted, encrypted and authenticated as the endpoint asks.

    Raises `SessionFailed`, and OSError only if this machine is out of descriptors or memory. With opportunistic
    security a handshake that fails is followed by one more connection in the clear; credentials that the server refuses
    by one more with others, if their source has others at once (a token that was still in memory, a password that was
    replaced meanwhile).
    """
    source = endpoint.source
    if source is None:
        return await _connect(endpoint, transcript)
    endpoint = await _with_credentials(endpoint, transcript)
    try:
        return await _connect(endpoint, transcript)
    except SessionFailed as failed:
        used = endpoint.credentials
        was_refused = failed.stage is Stage.AUTH and failed.configuration and failed.reply is not None
        if used is None or not was_refused or not source.refused(used):
            raise
    transcript.note("once more with other credentials")
    return await _connect(await _with_credentials(endpoint, transcript), transcript)


async def _with_credentials(endpoint: Endpoint, transcript: Transcript) -> Endpoint:
    """Ask the source before anything is dialled: a token server takes longer than a server waits for a greeting."""
    if endpoint.source is None:
        return endpoint
    try:
        return replace(endpoint, credentials=await endpoint.source.credentials())
    except CredentialsUnavailable as error:
        transcript.note(str(error))
        fault = Fault(stage=Stage.AUTH, what=str(error), configuration=error.configuration)
        raise SessionFailed(endpoint.relay, fault) from None


async def _connect(endpoint: Endpoint, transcript: Transcript) -> Session:
    try:
        return await _connect_once(endpoint, transcript)
    except SessionFailed as failed:
        if endpoint.security is not Security.OPPORTUNISTIC or failed.stage is not Stage.TLS:
            raise
    transcript.note("once more without TLS")
    return await _connect_once(replace(endpoint, security=Security.NONE), transcript)


async def _connect_once(endpoint: Endpoint, transcript: Transcript) -> Session:
    try:
        if endpoint.socket is not None:
            sock, address = await dial_socket(endpoint.socket, endpoint.timeouts.connect)
        else:
            seconds = endpoint.timeouts.connect
            sock, address = await dial(endpoint.host, endpoint.port, seconds, known=endpoint.addresses)
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
