"""A relay's live state: its sessions, how many there may be, and whether it is healthy or held.

The coordinator alone calls ``hold`` and ``heal``; couriers borrow sessions. Which replies hold a relay is
``outcome``'s to say, for how long ``retry``'s, how many transactions may begin ``rate``'s.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from maildrop.delivery.health import Detour, Health, Hold
from maildrop.delivery.mx import Nowhere
from maildrop.delivery.rate import Limiter
from maildrop.delivery.relay_settings import RelaySettings, endpoint_of
from maildrop.delivery.retry import CONFIGURATION_HOLD_SECONDS, hold_seconds
from maildrop.smtp import Endpoint, Session, SessionFailed, Transcript, connect

_COURIERS = 2  # for each session: the next job stands ready when a message has been handed over
_CROWDED_SECONDS = 60.0  # before one more session is tried at a server that had no room for it


class NoTurn(Exception):
    """The relay's rate lets no transaction begin now."""


class Relay:
    """One next hop; owned by the coordinator's loop."""

    domain: str | None = None  # of the recipients it is for, where each domain has a relay of its own

    def __init__(self, settings: RelaySettings, *, endpoint: Endpoint | None = None) -> None:
        """Open nothing yet. Raises OSError if a file of certificates can't be read."""
        self.settings = settings
        self.name = settings.name
        self.hold_state: Hold | None = None
        self.detour: Detour | None = None
        self.busy = 0  # couriers that carry a job to this relay now
        self.certificate_expires: datetime | None = None  # of the server's certificate, as seen last
        self.limiter = Limiter(settings.rate) if settings.rate is not None else None
        self._probe: str | None = None  # the job that finds out whether the hold is over
        self._room = settings.connections  # sessions that the server has room for …
        self._crowded_until = 0.0  # … as far as is known until then
        self._in_use: Counter[Session] = Counter()  # by how many couriers: one more may follow another's message
        self._offered: dict[Session, int] = {}  # for whoever comes, with the number of the message that is being judged
        self._connecting = 0
        self._idle: list[Session] = []
        self._waiting: deque[asyncio.Future[Session | None]] = deque()  # couriers that want a session
        self._parting: list[Session] = []
        self._endpoint = endpoint or endpoint_of(settings)

    @property
    def health(self) -> Health:
        """Whether jobs are handed to it freely: healthy or held."""
        return Health.HEALTHY if self.hold_state is None else Health.HELD

    @property
    def state(self) -> Health:
        """What people are shown."""
        return Health.DEGRADED if self.hold_state is not None and self.detour is not None else self.health

    @property
    def crowded(self) -> int | None:
        """How many sessions the server has room for, if it once had none for one more."""
        return self._room if self._room < self.settings.connections else None

    @property
    def sessions(self) -> int:
        """How many sessions are open or being opened."""
        return self._connecting + len(self._in_use) + len(self._idle)

    @property
    def standing_by(self) -> int:
        """How many couriers wait for a session."""
        return sum(not turn.done() for turn in self._waiting)

    @property
    def title(self) -> str:
        """What people are shown."""
        return self.name if self.domain is None else f"{self.name} ({self.domain})"

    def towards(self, _domain: str | None) -> Relay:
        """Return the relay that takes mail for a domain."""
        return self

    def troubled(self) -> Iterator[Relay]:
        """Yield the held relays of single domains."""
        yield from ()

    def free(self, now: float) -> bool:
        """Tell whether a courier may take a job to it now: below its connections, or as the probe of a held relay."""
        if self.hold_state is not None:
            return self.busy == 0 and now >= self.hold_state.until
        return self.busy < self.settings.connections * _COURIERS and (self.limiter is None or self.limiter.allows(now))

    def take_on(self, job: str) -> None:
        """Count a courier that is about to carry this job here: a job of which `free` has just been asked."""
        self.busy += 1
        if self.hold_state is not None:
            self._probe = job
        if self.limiter is not None:
            self.limiter.promise(job)

    def let_go(self, job: str) -> None:
        """Count a courier less."""
        self.busy -= 1
        if self.limiter is not None:
            self.limiter.let_go(job)

    def begin(self, job: str, *, now: float) -> None:
        """Note that a transaction of this job begins now; raises NoTurn if it has to wait."""
        if self.limiter is not None and not self.limiter.take(job, now):
            raise NoTurn

    def next_free(self, now: float) -> float | None:
        """Return when it may take a job that it can't take now; None if no clock can tell."""
        if self.hold_state is not None:
            return None if self.busy else self.hold_state.until
        return None if self.limiter is None else self.limiter.next_free(now)

    def succeed(self, before: Relay) -> None:
        """Take over what stays true of the relay whose place this one takes under another configuration."""
        self.detour = before.detour
        if self.limiter is not None and before.limiter is not None:
            before.limiter.rate = self.limiter.rate
            self.limiter = before.limiter

    def hold(self, failure: SessionFailed, *, now: float) -> float:
        """Hold the relay after a failed try; return for how many seconds.

        Couriers that were on their way when the hold began fail like the first: they tell nothing new.
        """
        previous = self.hold_state
        if previous is not None and now < previous.until and failure.configuration <= previous.configuration:
            return previous.until - now
        self._probe = None
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

    def heal(self, job: str) -> Hold | None:
        """Note that a session worked for this job; return the hold that this ends.

        Only the probe ends one: a courier that was on its way when the hold began may have had an older session.
        """
        if self._probe != job:
            return None
        ended, self.hold_state, self._probe = self.hold_state, None, None
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
            if self._connecting + len(self._in_use) < self._most(clock()):
                connected = await self._connect(clock)
                if connected is not None:
                    return connected, False
                continue
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

    async def _open(self, endpoint: Endpoint) -> Session:
        """Open a session; raises SessionFailed."""
        return await connect(endpoint, transcript=Transcript())

    def _most(self, now: float) -> int:
        return self._room if now < self._crowded_until else self.settings.connections

    async def _connect(self, clock: Callable[[], float]) -> Session | None:
        """Open a session; None if the server has no room for one more beside those that are open."""
        self._connecting += 1
        try:
            session = await self._open(self._endpoint)
        except (SessionFailed, Nowhere) as failure:
            if isinstance(failure, SessionFailed) and self._is_crowded(failure):
                self._room, self._crowded_until = len(self._in_use) + len(self._idle), clock() + _CROWDED_SECONDS
                return None
            while self._waiting:  # it would be the same for them
                if not (turn := self._waiting.popleft()).done():
                    turn.set_exception(failure)
            raise
        except BaseException:  # no descriptors, or canceled: whoever waits has to try for itself
            self._wake_next()
            raise
        finally:
            self._connecting -= 1
        self._in_use[session] += 1
        self.certificate_expires = session.certificate_expires
        return session

    def _is_crowded(self, failure: SessionFailed) -> bool:
        """Tell whether the server serves us, but not by one more session (421 4.7.0, 432 4.3.2, 454 4.7.0 …)."""
        reply, has_others = failure.reply, bool(self._in_use or self._idle)
        return reply is not None and reply.severity == 4 and not failure.configuration and has_others

    def offer(self, session: Session) -> None:
        """Offer a session whose message the server is judging to a courier that waits for one."""
        if self._has_room(session):
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

    def _has_room(self, session: Session) -> bool:
        """Tell whether one more message may go over the session: our limit, or the server's (RFC 9422 MAILMAX)."""
        theirs = session.extensions.most_messages
        return session.messages < min(self.settings.messages_per_connection, theirs or session.messages + 1)

    def _reusable(self, session: Session, now: float) -> bool:
        settings = self.settings
        return (
            session.usable
            and self._has_room(session)
            and now - session.idle_since < settings.idle_seconds
            and now - session.opened_at < settings.session_seconds
        )

    def drain(self) -> list[Session]:
        """Take out every session that nobody uses; the caller ends them."""
        idle, self._idle = self._idle + self._parting, []
        self._parting = []
        return idle
