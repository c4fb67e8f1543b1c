"""The relays of this run: which there are, which are held, and the sessions that part."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from maildrop import log
from maildrop.delivery.relay import Relay
from maildrop.delivery.relay_settings import RelaySettings
from maildrop.smtp import Session, SessionFailed

_PARTING_SECONDS = 1.0  # for QUIT at the very end; every mail is settled by then


class Fleet:
    """Every relay by its name; times are seconds on the loop's clock."""

    def __init__(self, settings: Mapping[str, RelaySettings]) -> None:
        """Open nothing yet."""
        self.relays: dict[str, Relay] = {name: Relay(each) for name, each in settings.items()}
        self._parting: set[asyncio.Task[None]] = set()

    def hold(self, relay: Relay, failure: SessionFailed, *, now: float, waiting: int) -> None:
        """Hold a relay after a failed try; said at first, and each time a person is needed."""
        before = relay.hold_state
        seconds = relay.hold(failure, now=now)
        if before is None or (failure.configuration and relay.hold_state is not before):
            log.relay_held(
                relay=relay.name,
                stage=failure.stage.value,
                why=failure.what,
                hint=failure.hint or None,
                seconds=seconds,
                waiting=waiting,
            )

    def heal(self, relay: Relay, *, now: float) -> None:
        """Note that a relay took part in a conversation."""
        ended = relay.heal()
        if ended is not None:
            log.relay_healthy(relay=relay.name, held_seconds=now - ended.since)

    def next_probe(self) -> float | None:
        """Return when the next held relay may be tried."""
        return min(
            (relay.hold_state.until for relay in self.relays.values() if relay.hold_state and not relay.busy),
            default=None,
        )

    def replace(self, settings: Mapping[str, RelaySettings]) -> None:
        """Take a new configuration: a relay that changed or was held begins anew, the others keep their sessions."""
        for name, relay in list(self.relays.items()):
            if settings.get(name) != relay.settings or relay.hold_state is not None:
                self._part(relay.drain())
                del self.relays[name]
        for name, each in settings.items():
            if name not in self.relays:
                self.relays[name] = Relay(each)

    def tidy(self, now: float) -> None:
        """Let the sessions go whose time is over, and the holds whose reason may be."""
        for relay in self.relays.values():
            self._part(relay.take_parting(now))
            relay.look_at_secret(now)

    def tidy_one(self, relay: Relay, now: float) -> None:
        """Let the sessions of one relay go whose time is over; it may be one that the configuration has no more."""
        self._part(relay.take_parting(now) if self.relays.get(relay.name) is relay else relay.drain())

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
