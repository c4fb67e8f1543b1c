"""Which servers take mail for a domain, in which order? Functions of what the DNS said; who asks it is ``resolver``.

RFC 5321 section 5.1 (order, and the domain itself where there is no MX), RFC 7505 (null MX). A server among them that
is this machine is nothing special: whoever sends directly takes no mail for these domains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from maildrop.smtp import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One MX record; ``host`` without the last dot, so that it is empty for a null MX."""

    preference: int
    host: str


class Nowhere(Exception):
    """Nobody takes mail for the domain, and nobody will: ``reply`` is our own refusal, in a relay's words."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.reply = Reply(code=code, lines=(text,))


class LookupFailed(Exception):
    """The DNS has no answer now; another time it may."""


def order(domain: str, records: Sequence[Exchange], dice: Callable[[], float]) -> list[str]:
    """Return the servers of a domain, the best first and equals in any order; raises Nowhere for a null MX.

    Without records the domain itself is its server. ``dice`` gives numbers from 0 to 1.
    """
    if not records:
        return [domain]
    usable = [record for record in records if record.host]
    if not usable:
        raise Nowhere(556, f"5.1.10 {domain} takes no mail (null MX)")
    ranked = sorted(usable, key=lambda record: (record.preference, dice()))
    return list(dict.fromkeys(record.host for record in ranked))


def literal(domain: str) -> str | None:
    """Return the address in ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``, None for a name; raises Nowhere for nonsense."""
    if not (domain.startswith("[") and domain.endswith("]")):
        return None
    text = domain[1:-1]
    bare = text[5:] if text.lower().startswith("ipv6:") else text
    try:
        return str(ip_address(bare))
    except ValueError:
        raise Nowhere(550, f"5.1.2 {domain} is not an address") from None
