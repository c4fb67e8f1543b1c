"""How does a message get to the relay? One transaction after the other in one session.

What is waited for and how long is `maildrop.smtp.pump`'s. This module knows what a transaction is: whose turn it is,
when its message goes out, and that its record is made before anything else happens. RFC 5321 section 3.3, RFC 2920 (a
further transaction behind a message), RFC 3030 (BDAT).
"""

from __future__ import annotations

import asyncio
import math
import socket
from dataclasses import dataclass, field
from datetime import datetime

from maildrop.smtp.data import ChunkWriter, DataWriter, slices
from maildrop.smtp.endpoint import Endpoint
from maildrop.smtp.extensions import Extensions
from maildrop.smtp.failures import SessionFailed, SessionLost
from maildrop.smtp.pump import Pump
from maildrop.smtp.steps import Phase
from maildrop.smtp.transaction import Progress, Transaction, TransactionResult
from maildrop.smtp.transcript import Transcript

_SMALL_OCTETS = 16 * 1024  # a message that is sent as one piece: an early refusal would not come before its end
_SLICE_OCTETS = 64 * 1024  # what one ``block`` deadline is for, and what stays in memory of a message of any size


@dataclass(slots=True, eq=False)
class _Turn:
    """One transaction in a session; another may wait behind it."""

    transaction: Transaction
    reused: bool  # the session had served before
    progress: Progress = field(default_factory=Progress)
    has_come: asyncio.Event = field(default_factory=asyncio.Event)
    given_up: bool = False
    record_failure: Exception | None = None
    end_waits_for: int | None = None  # octets of the message whose end the kernel has not taken yet


class Session(Pump):
    """One SMTP session, used for one transaction after the other; `maildrop.smtp.connecting` makes it.

    ``peer`` is ``host [address]:port`` or the path of a socket; ``messages`` counts the transactions begun;
    ``opened_at`` and ``idle_since`` are loop times in seconds.
    """

    def __init__(self, endpoint: Endpoint, transcript: Transcript, sock: socket.socket, address: str) -> None:
        """Prepare a session on a connected socket; `open` starts it."""
        super().__init__(endpoint, transcript, sock)
        self._turn: _Turn | None = None  # whose replies come next
        self._next: _Turn | None = None  # whose commands were sent behind that one's message
        self.peer = endpoint.shown(address)
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
    def certificate_expires(self) -> datetime | None:
        """Return until when the server's certificate is valid (UTC); None in the clear."""
        return self._wire.certificate_expires

    @property
    def usable(self) -> bool:
        """Return whether another transaction may begin."""
        return not self._wire.over and self._turn is None and self._client.phase in (Phase.READY, Phase.SETTLING)

    @property
    def takes_another(self) -> bool:
        """Return whether a transaction may begin behind the message that the server is judging now."""
        return not self._wire.over and self._client.takes_another and self._next is None

    @property
    def transcript(self) -> Transcript:
        """Return where the dialog is noted, if the transaction under way brings no transcript of its own."""
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

        While the server judges the message one more may be begun (`takes_another`), which then waits for its turn.
        Raises `SessionLost`, and whatever ``chunks``, ``prepare`` or ``record`` raise. When it returns after a 2yz for
        every accepted recipient, ``record`` has returned. If the task is cancelled the connection is aborted, but not
        while another's message is being judged; whether ``record`` was called by then is the truth about the message.
        """
        turn = _Turn(transaction, reused=self.messages > 0)
        if self._turn is None:
            self._turn = turn
        elif self.takes_another:
            self._next = turn
        else:
            raise ValueError("the session is in the middle of another transaction")
        try:
            await self._begin(turn)
            await self._while(Phase.FLIGHT)
            if self._client.phase is Phase.BODY:
                await self._send_message(turn)
            if not turn.progress.concluded:
                await self._while(Phase.END)
        except BaseException:
            self._give_up(turn)
            raise
        finally:
            self._end(turn)
        if turn.record_failure is not None:
            self.abort()
            raise turn.record_failure
        if turn.progress.concluded:
            return turn.progress.result
        raise self._loss(turn)

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

    # The way of one transaction

    async def _begin(self, turn: _Turn) -> None:
        """Send the first commands, at once if another's message is being judged; return when it is this one's turn."""
        if self._turn is not turn:
            self._open(turn)
            await turn.has_come.wait()
            self._ceiling = self._loop.time() + self._timeouts.transaction
            return
        self._ceiling = self._loop.time() + self._timeouts.transaction
        if self.messages:
            await self._hear()
        await self._while(Phase.SETTLING)
        if self._client.phase is not Phase.READY:
            raise self._loss(turn)
        self._open(turn)

    def _open(self, turn: _Turn) -> None:
        self.messages += 1
        turn.progress = self._client.begin(turn.transaction)
        self._flush()

    async def _send_message(self, turn: _Turn) -> None:
        """Send the message and what makes it count; returns early, without that, if the server speaks up or goes."""
        transaction, is_small = turn.transaction, turn.transaction.size <= _SMALL_OCTETS
        is_chunked = turn.progress.chunked
        writer = ChunkWriter(transaction.size) if is_chunked else DataWriter()
        held, unheard_octets = self._client.announce(transaction.size), 0
        for chunk in transaction.chunks():
            for piece in slices(writer.feed(chunk), _SLICE_OCTETS):
                if is_small:  # goes out in one with what makes it count
                    held += piece
                    continue
                if is_chunked:  # the last octet makes it count: it waits for the record
                    piece, held = held, piece  # noqa: PLW2901
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
        await transaction.prepare(turn.progress.result)
        await self._hear()
        if self._client.phase is not Phase.BODY:
            return
        turn.end_waits_for = writer.octets
        self._wire.write(held + terminator)
        if self._wire.unsent:
            await self._drained()
        else:
            self._room_to_write()

    def _give_up(self, turn: _Turn) -> None:
        if self._turn is turn:
            self.abort()
        else:  # another's message is being judged: the connection is its only way to hear the verdict
            turn.given_up = True

    def _end(self, turn: _Turn) -> None:
        """Let the next transaction have its turn; one that was given up meanwhile takes the connection with it."""
        if self._turn is not turn:
            return
        self._ceiling = math.inf
        self.idle_since = self._loop.time()
        self._turn, self._next = self._next, None
        if self._turn is not None and self._turn.given_up:
            self._turn = None
            self.abort()
        if self._turn is not None:
            self._turn.has_come.set()

    def _loss(self, turn: _Turn) -> SessionLost:
        progress = turn.progress
        return SessionLost(
            self._endpoint.relay,
            self._fault(),
            in_doubt=progress.in_doubt,
            stale=turn.reused and progress.mail is None,
            result=progress.result if progress.paths else TransactionResult(untried=turn.transaction.forward_paths),
        )

    # Called by the pump

    def _accepted(self) -> None:
        turn = self._turn
        assert turn is not None  # noqa: S101 - the machine accepts nothing outside a transaction
        try:
            turn.transaction.record(turn.progress.result)
        except Exception as failure:  # asyncio may not swallow it: `deliver` raises it as it is
            turn.record_failure = failure

    def _all_written(self) -> None:
        turn = self._turn
        if turn is not None and turn.end_waits_for is not None and self._client.phase is Phase.BODY:
            self._client.handed_over(turn.end_waits_for)
            turn.end_waits_for = None  # the next phase BODY may be that of the message behind it
            turn.transaction.handed_over()
