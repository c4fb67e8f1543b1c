"""Asks the DNS who takes mail for a domain, and where that is (the only user of dnspython).

The system's name servers are asked; what they say is kept for as long as they say. RFC 5321 section 5.1.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from maildrop.delivery.mx import Exchange, LookupFailed, Nowhere

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver
    from dns.rdatatype import RdataType
    from dns.resolver import Answer

_CACHED_ANSWERS = 10_000


class DomainNameSystem:
    """The DNS as seen from here; ``seconds`` is how long one question may take."""

    def __init__(self, *, seconds: float) -> None:
        """Read which name servers to ask when the first question comes up."""
        self._seconds = seconds
        self._resolver: Resolver | None = None

    async def exchanges(self, domain: str) -> list[Exchange]:
        """Return the MX records of a domain, maybe none; raises Nowhere if it does not exist, and LookupFailed."""
        from dns.rdatatype import RdataType  # noqa: PLC0415 - an extra, and 60 ms that only direct delivery shall pay

        answer = await self._ask(domain, RdataType.MX)
        if answer is None:
            raise Nowhere(550, f"5.1.2 the domain {domain} does not exist")
        return [Exchange(preference=one.preference, host=one.exchange.to_text(omit_final_dot=True).strip("."))
                for one in answer]  # fmt: skip

    async def addresses(self, host: str) -> list[str]:
        """Return the addresses of a server, IPv6 first, maybe none; raises LookupFailed if neither kind can be had."""
        from dns.rdatatype import RdataType  # noqa: PLC0415 - likewise

        found: list[str] = []
        failures: list[LookupFailed] = []
        asked = await asyncio.gather(
            self._ask(host, RdataType.AAAA), self._ask(host, RdataType.A), return_exceptions=True
        )
        for answer in asked:
            if isinstance(answer, LookupFailed):
                failures.append(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found += [one.address for one in answer or ()]
        if failures and not found:
            raise failures[0]
        return found

    async def _ask(self, name: str, kind: RdataType) -> Answer | tuple[()] | None:
        """Return the records, none, or None if the name does not exist; raises LookupFailed."""
        from dns import asyncresolver, exception, resolver  # noqa: PLC0415 - likewise

        try:
            if self._resolver is None:
                self._resolver = asyncresolver.Resolver()
                self._resolver.cache = resolver.LRUCache(_CACHED_ANSWERS)
            return await self._resolver.resolve(f"{name}.", kind, lifetime=self._seconds, raise_on_no_answer=True)
        except resolver.NXDOMAIN:
            return None
        except resolver.NoAnswer:
            return ()
        except (exception.DNSException, OSError, UnicodeError) as error:
            raise LookupFailed(f"no answer about {name} ({kind.name}): {error}") from None
