"""How does a message get to the relay? The conversation on a real connection: pumps the machine, keeps the deadlines.

What is said and what a reply means is `maildrop.smtp.protocol`'s; sockets and TLS are `maildrop.smtp.wire`'s. This
module adds time: each reply has an absolute deadline (octets that trickle in do not prolong it), each block of the
message one for being taken, and the whole transaction a ceiling. RFC 5321 section 4.5.3.2 (timeouts), RFC 1047 (why the
wait after the final dot is long).
"""

from __future__ import annotations

import asyncio
import math
import socket
from functools import partial

from maildrop.smtp.data import DataWriter, slices
from maildrop.smtp.endpoint import Endpoint
from maildrop.smtp.extensions import Extensions
from maildrop.smtp.failures import SessionFailed, SessionLost
from maildrop.smtp.protocol import Client
from maildrop.smtp.reply import Stage
from maildrop.smtp.steps import Event, Fault, Phase, Security
from maildrop.smtp.transaction import Transaction, TransactionResult
from maildrop.smtp.transcript import Transcript
from maildrop.smtp.waiting import Alarm
from maildrop.smtp.wire import Wire

_SMALL_OCTETS = 16 * 1024  # a message that is sent as one piece: an early refusal would not come before its end
_SLICE_OCTETS = 64 * 1024  # what one ``block`` deadline is for, and what stays in memory of a message of any size
_TURNS = 16  # loop turns spent on what has arrived already; a flood may not keep us from speaking for ever


class Session:
    """One SMTP session, used for one transaction after the other; `maildrop.smtp.connecting` makes it.

    ``peer`` is ``host [address]:port``; ``messages`` counts the transactions begun; ``opened_at`` and ``idle_since``
    are loop times in seconds.
    """

    def __init__(self, endpoint: Endpoint, transcript: Transcript, sock: socket.socket, address: str) -> None:
        """Prepare a session on a connected socket; `open` starts it."""
        self._loop = asyncio.get_running_loop()
        self._endpoint = endpoint
        self._timeouts = endpoint.timeouts
        self._client = Client(
            hostname=endpoint.hostname,
            security=endpoint.security,
            transcript=transcript,
            credentials=endpoint.credentials,
            plaintext_auth=endpoint.plaintext_auth,
        )
        self._wire = Wire(
            sock,
            tls=(endpoint.tls, endpoint.host.removesuffix(".")) if endpoint.tls else None,
            implicit_tls=endpoint.security is Security.IMPLICIT,
            on_octets=self._octets_arrived,
            on_tls=self._tls_established,
            on_room=self._room_to_write,
            on_loss=self._lost,
        )
        self._alarm = Alarm(self._loop)
        self._ceiling = math.inf
        self._transaction: Transaction | None = None
        self._record_failure: Exception | None = None
        self._dot_waits_for: int | None = None  # octets of the message whose terminator the kernel has not taken yet
        self.peer = f"{endpoint.host} [{address}]:{endpoint.port}"
        self.messages = 0
        self.opened_at = self.idle_since = self._loop.time()

    @property
    def extensions(self) -> Extensions:
        """Return what the server can do, as announced last."""
        return self._client.extensions

    @property
    def tls(self) -> str | None:
        """Return TLS version and cipher, ``"TLSv1.3 TLS_AES_256_GCM_SHA384"``, or None in the clear."""
        return self._wire.tls

    @property
    def usable(self) -> bool:
        """Return whether another transaction may begin."""
        return not self._wire.over and self._client.phase in (Phase.READY, Phase.SETTLING)

    @property
    def transcript(self) -> Transcript:
        """Return where the dialog is noted; a new one may be set for each transaction."""
        return self._client.transcript

    @transcript.setter
    def transcript(self, transcript: Transcript) -> None:
        self._client.transcript = transcript

    async def open(self, sock: socket.socket) -> None:
        """Go from the greeting to AUTH; raises `SessionFailed`. For `connect`."""
        try:
            await self._loop.create_connection(lambda: self._wire, sock=sock)
            await self._while(Phase.OPENING, Phase.TLS)
        except BaseException:
            self.abort()
            raise
        if self._client.phase is not Phase.READY:
            raise SessionFailed(self._endpoint.relay, self._fault(), peer=self.peer)
        self.idle_since = self._loop.time()

    async def deliver(self, transaction: Transaction) -> TransactionResult:
        """Carry one transaction to its clear answer; a refusal is data.

        Raises `SessionLost`, and whatever ``chunks``, ``prepare`` or ``record`` raise. When it returns after a 2yz,
        ``record`` has returned. If the task is cancelled the connection is aborted; whether ``record`` was called by
        then is the truth about the message.
        """
        reused = self.messages > 0
        try:
            await self._begin(transaction)
            await self._while(Phase.FLIGHT)
            if self._client.phase is Phase.BODY:
                await self._send_message(transaction)
            await self._while(Phase.END)
        except BaseException:
            self.abort()
            raise
        finally:
            self._transaction, self._ceiling = None, math.inf
            self.idle_since = self._loop.time()
        if self._record_failure is not None:
            self.abort()
            raise self._record_failure
        result = self._client.result
        if self._client.concluded:
            return result
        raise SessionLost(
            self._endpoint.relay,
            self._fault(),
            in_doubt=self._client.in_doubt,
            stale=reused and result.mail is None,
            result=result,
        )

    async def quit(self) -> None:
        """Take leave within the ``quit`` timeout; whatever the server answers changes nothing. Never raises."""
        if self.usable:
            self._ceiling = self._loop.time() + self._timeouts.quit
            self._client.quit()
            self._flush()
            try:
                await self._while(Phase.QUITTING)
            finally:
                self.abort()
        self.abort()

    def abort(self) -> None:
        """End the session at once."""
        self._wire.abort()
        self._client.lose("the session was given up here")
        self._alarm.wake()
        self._alarm.stop()

    # The way of one transaction

    async def _begin(self, transaction: Transaction) -> None:
        self._transaction, self._record_failure, self._dot_waits_for = transaction, None, None
        self._ceiling = self._loop.time() + self._timeouts.transaction
        if self.messages:
            await self._hear()
        await self._while(Phase.SETTLING)
        if self._client.phase is not Phase.READY:
            untried = TransactionResult(untried=transaction.forward_paths)
            raise SessionLost(
                self._endpoint.relay, self._fault(), in_doubt=False, stale=self.messages > 0, result=untried
            )
        self.messages += 1
        self._client.begin(transaction)
        self._flush()

    async def _send_message(self, transaction: Transaction) -> None:
        """Send the message and the final dot; returns early, without the dot, when the server has spoken up or gone."""
        writer, unheard_octets, held = DataWriter(), 0, b""
        for chunk in transaction.chunks():
            for piece in slices(writer.feed(chunk), _SLICE_OCTETS):
                if transaction.size <= _SMALL_OCTETS:  # goes out in one with the final dot
                    held += piece
                    continue
                self._wire.write(piece)
                unheard_octets += len(piece)
                if self._wire.unsent:
                    await self._drained()
                elif unheard_octets >= _SLICE_OCTETS:  # let an early refusal be read, and the other sessions work
                    unheard_octets = 0
                    await asyncio.sleep(0)
                if self._client.phase is not Phase.BODY:
                    return
        terminator = writer.terminator
        await transaction.prepare(self._client.result)
        await self._hear()
        if self._client.phase is not Phase.BODY:
            return
        self._dot_waits_for = writer.octets
        self._wire.write(held + terminator)
        if self._wire.unsent:
            await self._drained()
        else:
            self._room_to_write()

    async def _hear(self) -> None:
        """Let the loop hand over what has already arrived, so that nothing is said to a server that has gone."""
        for _ in range(_TURNS):
            if not self._wire.has_input():
                return
            await asyncio.sleep(0)

    async def _drained(self) -> None:
        seconds = self._timeouts.block
        deadline = min(self._loop.time() + seconds, self._ceiling)
        too_late = partial(self._expire, f"the server took no more of the message for {seconds:g} s")
        while self._wire.unsent and self._client.phase is Phase.BODY:
            await self._alarm.sleep(deadline, too_late)

    # Waiting

    async def _while(self, *phases: Phase) -> None:
        """Wait until the machine has left ``phases``, giving each whole reply an absolute deadline of its own."""
        client = self._client
        while client.phase in phases:
            stage, replies = client.stage, client.replies
            seconds = self._timeouts.seconds(stage)
            deadline = min(self._loop.time() + seconds, self._ceiling)
            while client.phase in phases and client.stage is stage and client.replies == replies:
                await self._alarm.sleep(deadline, partial(self._expire, f"no whole reply within {seconds:g} s"))

    def _expire(self, too_late: str) -> None:
        if self._loop.time() >= self._ceiling:
            too_late = f"not finished within {self._timeouts.transaction:g} s"
        self._wire.abort()
        self._lost(too_late)

    # Called by the wire

    def _octets_arrived(self, octets: bytes) -> None:
        for event in self._client.receive(octets):
            if event is Event.ACCEPTED:
                self._record()
            else:
                self._wire.start_tls()
        self._flush()
        if self._client.over:
            if self._fault().stage is Stage.QUIT:
                self._wire.close()
            else:
                self._wire.abort()
        self._alarm.wake()

    def _record(self) -> None:
        assert self._transaction is not None  # noqa: S101 - the machine accepts nothing outside a transaction
        try:
            self._transaction.record(self._client.result)
        except Exception as failure:  # asyncio may not swallow it: `deliver` raises it as it is
            self._record_failure = failure

    def _tls_established(self) -> None:
        self._client.transcript.note(f"encrypted with {self._wire.tls}")
        self._client.tls_established()
        self._flush()
        self._alarm.wake()

    def _room_to_write(self) -> None:
        if self._dot_waits_for is not None and self._client.phase is Phase.BODY:
            self._client.dot_handed_over(self._dot_waits_for)
        self._alarm.wake()

    def _lost(self, what: str) -> None:
        self._client.lose(what)
        self._alarm.wake()

    # Small change

    def _flush(self) -> None:
        if octets := self._client.take_output():
            self._wire.write(octets)

    def _fault(self) -> Fault:
        return self._client.fault or Fault(stage=self._client.stage, what="the session has ended")
