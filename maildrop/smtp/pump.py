"""Between the machine and the wire: octets to and fro, and a deadline for everything that is waited for.

The base of `maildrop.smtp.session`. Each reply has an absolute deadline (octets that trickle in do not prolong it),
each block of the message one for being taken, and the whole transaction a ceiling. What is said and what a reply means
is `maildrop.smtp.protocol`'s; sockets and TLS are `maildrop.smtp.wire`'s. RFC 5321 section 4.5.3.2 (timeouts), RFC 1047
(why the wait after the final dot is long).
"""

from __future__ import annotations

import asyncio
import math
import socket
from functools import partial

from maildrop.smtp.endpoint import Endpoint
from maildrop.smtp.protocol import Client
from maildrop.smtp.reply import Stage
from maildrop.smtp.steps import Event, Fault, Phase, Security
from maildrop.smtp.transcript import Transcript
from maildrop.smtp.waiting import Alarm
from maildrop.smtp.wire import Wire

_TURNS = 16  # loop turns spent on what has arrived already; a flood may not keep us from speaking for ever


class Pump:
    """One conversation on a connected socket, without a notion of what it is for."""

    def __init__(self, endpoint: Endpoint, transcript: Transcript, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._endpoint = endpoint
        self._timeouts = endpoint.timeouts
        self._client = Client(
            hostname=endpoint.hostname,
            security=endpoint.security,
            transcript=transcript,
            credentials=endpoint.credentials,
            plaintext_auth=endpoint.plaintext_auth,
            lmtp=endpoint.lmtp,
            chunking=endpoint.chunking,
        )
        self._wire = Wire(
            sock,
            tls=(endpoint.tls, endpoint.host.removesuffix("."), endpoint.pins) if endpoint.tls else None,
            implicit_tls=endpoint.security is Security.IMPLICIT,
            on_octets=self._octets_arrived,
            on_tls=self._tls_established,
            on_room=self._room_to_write,
            on_loss=self._lost,
        )
        self._alarm = Alarm(self._loop)
        self._ceiling = math.inf

    def abort(self) -> None:
        """End the session at once."""
        self._wire.abort()
        self._client.lose("the session was given up here")
        self._alarm.wake()
        self._alarm.stop()

    # What the session adds

    def _accepted(self) -> None:
        """Record that the server has taken the message; it was read this moment, and nothing may stand before this."""
        raise NotImplementedError

    def _all_written(self) -> None:
        """Note that the kernel has everything that was written."""
        raise NotImplementedError

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

    def _expire(self, too_late: str) -> None:
        if self._loop.time() >= self._ceiling:
            too_late = f"not finished within {self._timeouts.transaction:g} s"
        self._wire.abort()
        self._lost(too_late)

    # Called by the wire

    def _octets_arrived(self, octets: bytes) -> None:
        for event in self._client.receive(octets):
            if event is Event.ACCEPTED:
                self._accepted()
            else:
                self._wire.start_tls()
        self._flush()
        if self._client.over:
            if self._fault().stage is Stage.QUIT:
                self._wire.close()
            else:
                self._wire.abort()
        self._alarm.wake()

    def _tls_established(self) -> None:
        self._client.transcript.note(f"encrypted with {self._wire.tls}")
        self._client.tls_established()
        self._flush()
        self._alarm.wake()

    def _room_to_write(self) -> None:
        self._all_written()
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
