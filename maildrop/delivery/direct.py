"""Direct delivery: each domain is a relay of its own, with its own sessions and health, made on demand.

What the DNS says is ``resolver``'s, what it means ``mx``'s. A domain whose servers can't be reached is held like any
relay, and keeps no other domain waiting. RFC 5321 section 5.1.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol as Interface

from maildrop.delivery.mx import Exchange, LookupFailed, literal, order
from maildrop.delivery.relay import Relay
from maildrop.delivery.relay_settings import Protocol, RelaySettings
from maildrop.delivery.resolver import DomainNameSystem
from maildrop.smtp import Endpoint, Session, SessionFailed, Stage
from maildrop.smtp.steps import Fault

_MOST_SERVERS = 5  # tried for one session; a domain may name any number of them
_REMEMBERED_SECONDS = 3600.0  # after the end of its last hold: how often a domain failed


class Directory(Interface):
    """Who takes mail for a domain, and where that is: `maildrop.delivery.resolver`."""

    async def exchanges(self, domain: str) -> list[Exchange]:
        """Return the MX records, maybe none; raises Nowhere, LookupFailed."""

    async def addresses(self, host: str) -> list[str]:
        """Return the addresses, maybe none; raises LookupFailed."""


def relay_for(settings: RelaySettings) -> Relay:
    """Make the relay that the settings describe. Raises OSError if a file of certificates can't be read."""
    return DirectRelay(settings) if settings.protocol is Protocol.MX else Relay(settings)


class DirectRelay(Relay):
    """Every domain's relay by its name; itself it takes no job."""

    def __init__(
        self, settings: RelaySettings, *, directory: Directory | None = None, dice: Callable[[], float] = random.random
    ) -> None:
        """Ask nobody yet; ``dice`` chooses among servers that are equally good."""
        super().__init__(settings)
        self.directory = directory or DomainNameSystem(seconds=settings.timeouts.connect)
        self.dice = dice
        self._domains: dict[str, _DomainRelay] = {}

    def towards(self, domain: str | None) -> Relay:
        """Return the relay of a domain, for which a new one is made if nobody has asked lately."""
        if domain is None:
            return self
        if domain not in self._domains:
            self._domains[domain] = _DomainRelay(self, domain, self._endpoint)
        return self._domains[domain]

    def troubled(self) -> Iterator[Relay]:
        """Yield the domains that are held."""
        return (relay for relay in self._domains.values() if relay.hold_state is not None)

    @property
    def sessions(self) -> int:
        """How many sessions are open or being opened, to all domains."""
        return sum(relay.sessions for relay in self._domains.values())

    @property
    def standing_by(self) -> int:
        """How many couriers wait for a session, to any domain."""
        return sum(relay.standing_by for relay in self._domains.values())

    def next_free(self, now: float) -> float | None:
        """Return when a domain may take a job that it can't take now."""
        times = (relay.next_free(now) for relay in self._domains.values())
        return min((time for time in times if time is not None), default=None)

    def take_parting(self, now: float) -> list[Session]:
        """Take out the sessions whose time is over, and forget the domains that nothing is known about any more."""
        over = [session for relay in self._domains.values() for session in relay.take_parting(now)]
        self._domains = {name: relay for name, relay in self._domains.items() if not relay.is_forgotten(now)}
        return over

    def drain(self) -> list[Session]:
        """Take out every session that nobody uses; the caller ends them."""
        return [session for relay in self._domains.values() for session in relay.drain()]

    def dismiss(self) -> None:
        """Send the couriers home that wait for a session."""
        for relay in self._domains.values():
            relay.dismiss()


class _DomainRelay(Relay):
    """The servers of one domain."""

    def __init__(self, direct: DirectRelay, domain: str, endpoint: Endpoint) -> None:
        super().__init__(direct.settings, endpoint=endpoint)
        self.domain = domain
        self.limiter = direct.limiter  # one rate for all domains
        self._direct = direct

    def is_forgotten(self, now: float) -> bool:
        """Tell whether there is nothing to be remembered."""
        hold = self.hold_state
        return not self.busy and not self.sessions and (hold is None or now > hold.until + _REMEMBERED_SECONDS)

    async def _open(self, endpoint: Endpoint) -> Session:
        """Try the servers in order; raises Nowhere if the domain takes no mail, else SessionFailed of the last one."""
        failure: SessionFailed | None = None
        for host in (await self._servers())[:_MOST_SERVERS]:
            try:
                addresses = await self._addresses(host)
                if not addresses:
                    raise self._unknown(f"the server {host} has no address")
                return await super()._open(replace(endpoint, host=host.strip("[]"), addresses=addresses))
            except SessionFailed as failed:
                failure = failed
        assert failure is not None  # noqa: S101 - there is always one server
        raise failure

    async def _servers(self) -> list[str]:
        domain, direct = self.domain or "", self._direct
        if literal(domain) is not None:
            return [domain]
        try:
            return order(domain, await direct.directory.exchanges(domain), direct.dice)
        except LookupFailed as failed:
            raise self._unknown(str(failed)) from None

    async def _addresses(self, host: str) -> tuple[str, ...]:
        known = literal(host)
        if known is not None:
            return (known,)
        try:
            return tuple(await self._direct.directory.addresses(host))
        except LookupFailed as failed:
            raise self._unknown(str(failed)) from None

    def _unknown(self, what: str) -> SessionFailed:
        return SessionFailed(self.title, Fault(stage=Stage.LOOKUP, what=what))
