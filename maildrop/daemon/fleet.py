"""The relays of this run: which there are, which are held, and the sessions that part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime

from maildrop import log
from maildrop.delivery.direct import relay_for
from maildrop.delivery.health import Detour, is_ending
from maildrop.delivery.relay import Relay
from maildrop.delivery.relay_settings import RelaySettings
from maildrop.delivery.route import Way
from maildrop.smtp import Session, SessionFailed

_PARTING_SECONDS = 1.0  # for QUIT at the very end; every mail is settled by then


class Fleet:
    """Every relay by its name; times are seconds on the loop's clock."""

    def __init__(
        self, settings: Mapping[str, RelaySettings], *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Open nothing yet; ``now`` is the wall clock, by which certificates end."""
        self._today = now
        self._remarked: dict[tuple[str, str], date] = {}
        self.relays: dict[str, Relay] = {name: relay_for(each) for name, each in settings.items()}
        self._parting: set[asyncio.Task[None]] = set()

    def hold(self, relay: Relay, failure: SessionFailed, *, now: float, waiting: int) -> None:
        """Hold a relay after a failed try; said at first, and each time a person is needed."""
        before = relay.hold_state
        seconds = relay.hold(failure, now=now)
        if before is None or (failure.configuration and relay.hold_state is not before):
            log.relay_held(
                relay=relay.title,
                stage=failure.stage.value,
                why=failure.what,
                hint=failure.hint or None,
                seconds=seconds,
                waiting=waiting,
            )

    def heal(self, relay: Relay, job: str, *, now: float) -> None:
        """Note that a relay took part in a conversation about this job."""
        ended = relay.heal(job)
        if ended is not None:
            log.relay_healthy(relay=relay.title, held_seconds=now - ended.since)
        detour = relay.detour
        if detour is not None and relay.hold_state is None:
            relay.detour = None
            log.relay_restored(
                relay=relay.title, instead=detour.instead, jobs=detour.jobs, degraded_seconds=now - detour.since
            )

    def take_on(self, relay: Relay, job: str, way: Way, *, now: float) -> None:
        """Hand a job to a relay; said when that is not the one which the route names first, because it is held."""
        relay.take_on(job)
        (name, *_), domain = way
        first = self.relays[name].towards(domain) if name in self.relays else relay
        if first is relay or first.hold_state is None or relay.hold_state is not None:
            return
        if first.detour is None:
            first.detour = Detour(instead=relay.title, since=now)
            log.relay_degraded(relay=first.title, instead=relay.title, why=first.hold_state.why)
        first.detour.instead = relay.title
        first.detour.jobs += 1

    def next_free(self, now: float) -> float | None:
        """Return when a relay that takes no job now may take one: a held one, or one whose rate is used up."""
        times = (relay.next_free(now) for relay in self.relays.values())
        return min((time for time in times if time is not None), default=None)

    def replace(self, settings: Mapping[str, RelaySettings]) -> None:
        """Take a new configuration: a relay that changed or was held begins anew, the others keep their sessions."""
        before = dict(self.relays)
        for name, relay in before.items():
            if settings.get(name) != relay.settings or relay.hold_state is not None:
                self._part(relay.drain())
                del self.relays[name]
        for name, each in settings.items():
            if name not in self.relays:
                self.relays[name] = relay_for(each)
                if name in before:
                    self.relays[name].succeed(before[name])

    def tidy(self, now: float) -> None:
        """Let the sessions go whose time is over, and the holds whose reason may be."""
        for relay in self.relays.values():
            self._part(relay.take_parting(now))
            relay.look_at_secret(now)
            if relay.limiter is not None:
                relay.limiter.start(now)
            self._remark(relay)

    def tidy_one(self, relay: Relay, now: float) -> None:
        """Let the sessions of one relay go whose time is over; it may be one that the configuration has no more."""
        known = self.relays.get(relay.name)
        is_known = known is not None and known.towards(relay.domain) is relay
        self._part(relay.take_parting(now) if is_known else relay.drain())
        self._remark(relay)

    def _remark(self, relay: Relay) -> None:
        """Say, at most once a day, what a person should do before mails are kept from their way."""
        today = self._today().date()
        expires = relay.certificate_expires
        if expires is not None and is_ending(expires, self._today()) and self._is_news(relay, "certificate", today):
            log.relay_certificate(relay=relay.name, expires=expires.isoformat(), days=(expires - self._today()).days)
        if relay.crowded is not None and self._is_news(relay, "crowded", today):
            log.relay_notice(relay=relay.name, what=f"the server had room for {relay.crowded} sessions only; "
                             f"write connections = {relay.crowded}, or ask its postmaster for more")  # fmt: skip

    def _is_news(self, relay: Relay, subject: str, today: date) -> bool:
        if self._remarked.get((relay.name, subject)) == today:
            return False
        self._remarked[relay.name, subject] = today
        return True

    def dismiss(self) -> None:
        """Send the couriers home that only wait for a session."""
        for relay in self.relays.values():
            relay.dismiss()

    def rest(self) -> None:
        """Let every session go that nobody uses."""
        for relay in self.relays.values():
            self._part(relay.drain())

    async def farewell(self) -> None:
        """Say QUIT on every session, but wait for no answer that does not come at once."""
        self.rest()
        if self._parting:
            await asyncio.wait(self._parting, timeout=_PARTING_SECONDS)

    def _part(self, sessions: list[Session]) -> None:
        for session in sessions:
            task = asyncio.create_task(session.quit())
            self._parting.add(task)
            task.add_done_callback(self._parting.discard)
