"""Is a sender one that the relay will take? Warnings about addresses outside of the domain that we log in from.

What a provider allows an account to send as is known to the provider alone. What can be known here: the domain of the
account, where its user name is an address, and the domains that we sign for (RFC 6376), which are ours. Addresses in
those and below them are expected; about others a person is told before the mail is refused, or rewritten in silence.
Nothing here keeps a mail from going. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from maildrop.errors import Problem, printable
from maildrop.mail.address import AddressError, parse_mailbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """As whom we log in where (``logins``: the user name of each relay that wants one), and for whom we sign."""

    logins: Mapping[str, str] = field(default_factory=dict)
    signed_domains: tuple[str, ...] = ()

    def stranger(self, address: str, relay: str) -> Problem | None:
        """Return what is to be said about this address (in wire form) at this relay; ``where`` is the caller's."""
        login = self.logins.get(relay, "")
        domain, home = domain_of(address), _domain_of_login(login)
        own = [home, *filter(None, (_in_ascii(signed) for signed in self.signed_domains))]
        if not domain or not home or any(domain == one or domain.endswith(f".{one}") for one in own):
            return None
        what = (
            f"is at {printable(domain)}, but relay {relay} logs in as {printable(login)}; "
            "many providers refuse or rewrite that"
        )
        hint = f"use an address at {home}, or have the provider allow {printable(domain)} for this account"
        return Problem(where="", what=what, hint=hint)


def advise_about(addresses: Mapping[str, str], relays: Iterable[str], accounts: Accounts) -> Iterator[Problem]:
    """Yield a warning for each address (by where it is written) and relay that don't fit; a domain is told once."""
    said = set()
    for relay in relays:
        for where, address in addresses.items():
            found = accounts.stranger(address, relay)
            if found is not None and (domain_of(address), relay) not in said:
                said.add((domain_of(address), relay))
                yield Problem(where=where, what=found.what, hint=found.hint)


def domain_of(address: str) -> str:
    """Return the domain of an address in wire form, in small letters; empty for the null reverse-path."""
    return address.rpartition("@")[2].lower()


def _domain_of_login(user: str) -> str:
    """Return the domain of a user name that is an address; empty for other names, which tell nothing."""
    try:
        return domain_of(parse_mailbox(user).address) if "@" in user else ""
    except AddressError:
        return ""


def _in_ascii(domain: str) -> str:
    return _domain_of_login(f"postmaster@{domain}")
