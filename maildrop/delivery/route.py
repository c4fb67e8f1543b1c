"""Which relays for this mail, in which order. Pure; knows no relay's health."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A rule: globs on sender, recipient and job name (all must match), and the relays to use, best first."""

    relays: tuple[str, ...]
    sender: str = "*"
    recipient: str = "*"
    job: str = "*"

    def matches(self, *, sender: str, recipient: str, job: str) -> bool:
        """Tell whether the rule is for this mail; addresses are compared without case."""
        return (
            fnmatchcase(sender.lower(), self.sender.lower())
            and fnmatchcase(recipient.lower(), self.recipient.lower())
            and fnmatchcase(job, self.job)
        )


Way = tuple[tuple[str, ...], str | None]  # the relays, best first, and the domain where that matters


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """Recipients that go the same way: the relays, best first, and the forward-paths.

    ``domain`` is theirs where one of the relays delivers to each domain by itself.
    """

    relays: tuple[str, ...]
    forward_paths: tuple[str, ...]
    domain: str | None = None

    @property
    def way(self) -> Way:
        """What legs of other jobs must have in common with this one to wait in the same line."""
        return self.relays, self.domain


def legs(
    routes: Sequence[Route], *, every_relay: tuple[str, ...], wanted: tuple[str, ...], sender: str,
    forward_paths: Sequence[str], job: str, direct: Collection[str] = (),
) -> tuple[Leg, ...]:  # fmt: skip
    """Split the recipients by route, in order of first appearance.

    ``wanted`` are relays that the envelope names: they win over the routes. A recipient that matches no route takes the
    implicit last one, every relay in order of the file. Where one of the relays is ``direct`` each domain has its leg.
    """
    return tuple(
        part
        for leg in _by_route(routes, every_relay, wanted, forward_paths, sender=sender, job=job)
        for part in (_by_domain(leg) if set(leg.relays) & set(direct) else (leg,))
    )


def domain_of(path: str) -> str:
    """Return the domain of a forward-path, in small letters."""
    return path.rpartition("@")[2].lower()


def _by_domain(leg: Leg) -> tuple[Leg, ...]:
    grouped: dict[str, list[str]] = {}
    for path in leg.forward_paths:
        grouped.setdefault(domain_of(path), []).append(path)
    return tuple(replace(leg, forward_paths=tuple(paths), domain=domain) for domain, paths in grouped.items())


def _by_route(
    routes: Sequence[Route], every_relay: tuple[str, ...], wanted: tuple[str, ...], forward_paths: Sequence[str],
    *, sender: str, job: str,
) -> tuple[Leg, ...]:  # fmt: skip
    if wanted or not routes:
        return (Leg(relays=wanted or every_relay, forward_paths=tuple(forward_paths)),)
    grouped: dict[tuple[str, ...], list[str]] = {}
    for path in forward_paths:
        matching = (route.relays for route in routes if route.matches(sender=sender, recipient=path, job=job))
        grouped.setdefault(next(matching, every_relay), []).append(path)
    return tuple(Leg(relays=relays, forward_paths=tuple(paths)) for relays, paths in grouped.items())
