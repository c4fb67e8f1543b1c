"""A relay's live state: its sessions, how many there may be, and whether it is healthy or held.

The coordinator alone calls ``hold`` and ``heal``; couriers borrow sessions. Which replies hold a relay is
``outcome``'s to say, for how long ``retry``'s.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from maildrop.delivery.relay_settings import RelaySettings, endpoint_of
from maildrop.delivery.retry import CONFIGURATION_HOLD_SECONDS, hold_seconds
from maildrop.smtp import Session, SessionFailed, Transcript, connect

_COURIERS = 2  # for each session: the next job stands ready when a message has been handed over


class Health(StrEnum):
    """What ``status`` shows for a relay."""

    HEALTHY = "healthy"
    HELD = "held"


@dataclass(slots=True, kw_only=True)
class Hold:
    """Why a relay is held, since when, until when (seconds on the loop's clock), and how often it failed in a row."""

    stage: str
    why: str
    hint: str
    since: float
    until: float
    failures: int
    configuration: bool = False


class Relay:
    """One next hop; owned by the coordinator's loop."""

    def __init__(self, settings: RelaySettings) -> None:
        """Open nothing yet."""
        self.settings = settings
        self.name = settings.name
        self.hold_state: Hold | None = None
        self.busy = 0  # couriers that carry a job to this relay now
        self._in_use: Counter[Session] = Counter()  # by how many couriers: one more may follow another's message
        self._offered: dict[Session, int] = {}  # for whoever comes, with the number of the message that is being judged
        self._connecting = 0
        self._idle: list[Session] = []
        self._waiting: deque[asyncio.Future[Session | None]] = deque()  # couriers that want a session
        self._parting: list[Session] = []
        self._endpoint = endpoint_of(settings)

    @property
    def health(self) -> Health:
        """Whether jobs are handed to it freely."""
        return Health.HEALTHY if self.hold_state is None else Health.HELD

    @property
    def sessions(self) -> int:
        """How many sessions are open or being opened."""
        return self._connecting + len(self._in_use) + len(self._idle)

    @property
    def standing_by(self) -> int:
        """How many couriers wait for a session."""
        return sum(not turn.done() for turn in self._waiting)

    def free(self, now: float) -> bool:
        """Tell whether a courier may take a job to it now: below its connections, or as the probe of a held relay."""
        if self.hold_state is not None:
            return self.busy == 0 and now >= self.hold_state.until
        return self.busy < self.settings.connections * _COURIERS

    def hold(self, failure: SessionFailed, *, now: float) -> float:
        """Hold the relay after a failed try; return for how many seconds.

        Couriers that were on their way when the hold began fail like the first: they tell nothing new.
        """
        previous = self.hold_state
        if previous is not None and now < previous.until and failure.configuration <= previous.configuration:
            return previous.until - now
        failures = previous.failures + 1 if previous else 1
        seconds = CONFIGURATION_HOLD_SECONDS if failure.configuration else hold_seconds(failures)
        self.hold_state = Hold(
            stage=failure.stage.value,
            why=failure.what,
            hint=failure.hint,
            since=previous.since if previous else now,
            until=now + seconds,
            failures=failures,
            configuration=failure.configuration,
        )
        return seconds

    def look_at_secret(self, now: float) -> None:
        """End the wait of a held relay whose refused secret has been replaced: the next job is its probe."""
        hold, source = self.hold_state, self.settings.credentials
        if hold is not None and hold.configuration and source is not None and source.changed():
            hold.until = min(hold.until, now)

    def heal(self) -> Hold | None:
        """Note that a session worked; return the hold that this ends."""
        ended, self.hold_state = self.hold_state, None
        return ended

    async def borrow(self, *, clock: Callable[[], float]) -> tuple[Session, bool]:
        """Return a session that takes a transaction and whether it was used before; raises SessionFailed.

        If all connections are in use, waits for one of them: until its message has been handed over (`offer`), or until
        it is free. Whoever borrows gives back.
        """
        while True:
            while self._idle:
                session = self._idle.pop()  # the one used last is the least likely to have gone stale
                if self._reusable(session, clock()):
                    self._in_use[session] += 1
                    return session, True
                session.abort()
            if self._connecting + len(self._in_use) < self.settings.connections:
                return await self._connect(), False
            offered = next(filter(self._takes_another, self._in_use), None)
            if offered is not None:
                self._in_use[offered] += 1
                return offered, True
            turn: asyncio.Future[Session | None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                offered = await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake_next()  # what came too late for this one is the next one's
                raise
            if offered is not None and self._takes_another(offered):
                self._in_use[offered] += 1
                return offered, True

    def _takes_another(self, session: Session) -> bool:
        """Tell whether the message that the session's server is judging is the one that the offer was made for."""
        return session.takes_another and self._offered.get(session) == session.messages

    async def _connect(self) -> Session:
        self._connecting += 1
        try:
            session = await connect(self._endpoint, transcript=Transcript())
        except SessionFailed as failure:
            for turn in self._waiting:  # it would be the same for them
                if not turn.done():
                    turn.set_exception(failure)
            self._waiting.clear()
            raise
        finally:
            self._connecting -= 1
        self._in_use[session] += 1
        return session

    def offer(self, session: Session) -> None:
        """Offer a session whose message the server is judging to a courier that waits for one."""
        if session.messages < self.settings.messages_per_connection:
            self._offered[session] = session.messages
            self._wake_next(session)

    def give_back(self, session: Session, *, now: float) -> None:
        """Keep the session for the next job, or let it part if it is over, once every courier has given it back."""
        self._in_use[session] -= 1
        if self._in_use[session] <= 0:
            del self._in_use[session]
            self._offered.pop(session, None)
            session.transcript = Transcript()
            (self._idle if self._reusable(session, now) else self._parting).append(session)
            self._wake_next()

    def _wake_next(self, session: Session | None = None) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(session)
                return

    def dismiss(self) -> None:
        """Send the couriers home that wait for a session: their tasks are cancelled."""
        for turn in self._waiting:
            turn.cancel()
        self._waiting.clear()

    def avoid_chunking(self) -> None:
        """Use DATA from now on: the server offers BDAT and does not know it."""
        self._endpoint = replace(self._endpoint, chunking=False)

    def take_parting(self, now: float) -> list[Session]:
        """Take out the sessions whose time is over; the caller ends them with QUIT, which nobody waits for."""
        over, self._parting = self._parting, []
        stale = [session for session in self._idle if not self._reusable(session, now)]
        if stale:
            self._idle = [session for session in self._idle if session not in stale]
        return over + stale

    def _reusable(self, session: Session, now: float) -> bool:
        settings = self.settings
        return (
            session.usable
            and session.messages < settings.messages_per_connection
            and now - session.idle_since < settings.idle_seconds
            and now - session.opened_at < settings.session_seconds
        )

    def drain(self) -> list[Session]:
        """Take out every session that nobody uses; the caller ends them."""
        idle, self._idle = self._idle + self._parting, []
        self._parting = []
        return idle
