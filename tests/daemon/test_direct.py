"""Direct delivery: a name server and mail servers on loopback, the whole daemon between them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import dns.asyncresolver
import pytest

from maildrop.daemon.coordinator import Coordinator
from maildrop.delivery import direct
from maildrop.delivery.mx import Exchange, LookupFailed, Nowhere
from maildrop.delivery.relay_settings import Protocol, RelaySettings
from maildrop.delivery.resolver import DomainNameSystem
from maildrop.smtp import Security, SessionFailed, Stage
from maildrop.smtp.steps import Fault
from maildrop.spool.record import Result
from tests.daemon.nameserver import NameServer
from tests.e2e.servers import ScriptedServer

Zone = dict[str, list[str] | str]
Ask = Callable[[Zone], Callable[[Callable[[DomainNameSystem], Coroutine[Any, Any, Any]]], Any]]


@pytest.fixture
def name_server() -> Iterator[Callable[[Zone], NameServer]]:
    """Return a function that starts a name server."""
    started: list[NameServer] = []

    def start(zone: Zone) -> NameServer:
        started.append(NameServer(zone))
        return started[-1]

    yield start
    for one in started:
        one.close()


def system(server: NameServer, seconds: float = 5.0) -> DomainNameSystem:
    """Return the DNS as that server tells it."""
    made = DomainNameSystem(seconds=seconds)
    made._resolver = dns.asyncresolver.Resolver(configure=False)
    made._resolver.nameservers, made._resolver.port = ["127.0.0.1"], server.port
    return made


class TestResolver:
    """What is asked, and what an answer means."""

    def test_exchanges_and_addresses(self, name_server: Any) -> None:
        """MX records with their preference, IPv6 addresses before IPv4, a CNAME on the way."""
        server = name_server(
            {
                "x.example MX": ["10 mx1.x.example.", "20 mx2.x.example."],
                "mx1.x.example A": ["192.0.2.1"],
                "mx1.x.example AAAA": ["2001:db8::1"],
                "mx2.x.example CNAME": ["real.example."],
                "real.example A": ["192.0.2.2"],
            }
        )
        known = system(server)
        found = asyncio.run(known.exchanges("x.example"))
        assert sorted(found, key=lambda one: one.preference) == [
            Exchange(preference=10, host="mx1.x.example"), Exchange(preference=20, host="mx2.x.example"),
        ]  # fmt: skip
        assert asyncio.run(known.addresses("mx1.x.example")) == ["2001:db8::1", "192.0.2.1"]
        assert asyncio.run(known.addresses("mx2.x.example")) == ["192.0.2.2"]

    def test_no_records_no_domain_no_answer(self, name_server: Any) -> None:
        """Three different things: none of the kind, nothing of the name, and nobody who knows."""
        server = name_server(
            {"bare.example A": ["192.0.2.1"], "null.example MX": ["0 ."], "broken.example MX": "SERVFAIL",
             "broken.example A": "REFUSED", "broken.example AAAA": "SERVFAIL"}
        )  # fmt: skip
        known = system(server)
        assert asyncio.run(known.exchanges("bare.example")) == []
        assert asyncio.run(known.exchanges("null.example")) == [Exchange(preference=0, host="")]
        assert asyncio.run(known.addresses("gone.example")) == []
        with pytest.raises(Nowhere) as refusal:
            asyncio.run(known.exchanges("gone.example"))
        assert (refusal.value.reply.code, refusal.value.reply.enhanced) == (550, "5.1.2")
        with pytest.raises(LookupFailed, match=r"broken\.example"):
            asyncio.run(known.exchanges("broken.example"))
        with pytest.raises(LookupFailed):
            asyncio.run(known.addresses("broken.example"))

    def test_one_kind_of_address_is_enough(self, name_server: Any) -> None:
        """A name server that stumbles over AAAA does not keep mail from an IPv4 address."""
        server = name_server({"mx.example A": ["192.0.2.1"], "mx.example AAAA": "SERVFAIL"})
        assert asyncio.run(system(server).addresses("mx.example")) == ["192.0.2.1"]

    def test_silence_is_no_answer(self, name_server: Any) -> None:
        """The wait is bounded."""
        with pytest.raises(LookupFailed):
            asyncio.run(system(name_server({"x.example MX": "silent"}), seconds=0.2).exchanges("x.example"))


def port_of_all(hosts: int) -> int:
    """Return a port that is free on 127.0.0.1 and on the next addresses, so that each can be a server of its own."""
    for _ in range(50):
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                for number in range(2, 2 + hosts):
                    with socket.socket() as other:
                        other.bind((f"127.0.0.{number}", port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free on all of them")


class Internet:
    """Mail servers on 127.0.0.2, 127.0.0.3 …, and the name server that leads to them."""

    def __init__(self, hosts: int) -> None:
        self.port = port_of_all(hosts)
        self.servers = [ScriptedServer(host=f"127.0.0.{2 + number}", port=self.port) for number in range(hosts)]
        self.names = NameServer({})
        for number in range(hosts):
            self.names.zone[f"mx{number}.test A"] = [f"127.0.0.{2 + number}"]

    def recipients(self) -> list[set[str]]:
        """Return who got mail at each server."""
        return [{path for mail in server.accepted for path in mail.recipients} for server in self.servers]

    def close(self) -> None:
        """End all of them."""
        for server in self.servers:
            server.close()
        self.names.close()


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Internet]:
    """Start three mail servers."""
    made = Internet(3)
    monkeypatch.setattr(direct, "DomainNameSystem", lambda *, seconds: system(made.names, min(seconds, 0.5)))
    yield made
    made.close()


@pytest.fixture
def serve(internet: Internet, plain_land: Any) -> Callable[..., Coordinator]:
    """Return a function that runs the daemon with one direct relay."""

    def run(until: Callable[[Coordinator], bool], **settings: Any) -> Coordinator:
        plain_land.tables = f'[relays.main]\nprotocol = "mx"\nport = {internet.port}\n'
        plain_land.extra = '[retry]\nschedule = ["1h"]\n'
        made: Coordinator = plain_land.serve(until, **settings)
        return made

    return run


def statuses(result: Result) -> dict[str, tuple[str, str | None, int | None]]:
    """Return what became of each recipient: status, stage, code."""
    return {one.address: (one.status, one.stage, one.code) for one in result.recipients}


def test_each_domain_gets_its_mail_at_its_servers(internet: Internet, serve: Any, plain_land: Any) -> None:
    """One job for three domains: the better server, the second where the first is down, the domain's own address."""
    internet.names.zone |= {
        "one.test MX": ["20 mx1.test.", "10 mx0.test."],
        "two.test MX": ["10 dead.test.", "20 mx1.test."],
        "dead.test A": ["127.0.0.99"],
        "three.test A": ["127.0.0.4"],
    }
    plain_land.drop("job", to=("a@one.test", "b@two.test", "c@three.test", "d@ONE.test", "e@[127.0.0.4]"))
    serve(lambda one: one.counts["sent"] == 1)
    assert internet.recipients() == [{"a@one.test", "d@ONE.test"}, {"b@two.test"}, {"c@three.test", "e@[127.0.0.4]"}]
    assert len(internet.servers[0].accepted) == 1
    peers = {attempt.peer for attempt in plain_land.result("job").attempts}
    assert f"mx0.test [127.0.0.2]:{internet.port}" in peers
    assert {attempt.relay for attempt in plain_land.result("job").attempts} == {"main"}


def test_domains_that_take_no_mail(internet: Internet, serve: Any, plain_land: Any) -> None:
    """A null MX and a domain that does not exist are refused here, with our own codes; the others get the mail."""
    internet.names.zone |= {"good.test MX": ["10 mx0.test."], "null.test MX": ["0 ."]}
    plain_land.drop("job", to=("a@good.test", "b@null.test", "c@missing.test"))
    serve(lambda one: one.counts["failed"] == 1)
    assert internet.recipients()[0] == {"a@good.test"}
    found = plain_land.result("job")
    assert found.outcome == "partial"
    assert statuses(found) == {
        "a@good.test": ("delivered", "data-end", 250),
        "b@null.test": ("rejected", "lookup", 556),
        "c@missing.test": ("rejected", "lookup", 550),
    }
    assert {one.address: one.enhanced for one in found.recipients if one.status == "rejected"} == {
        "b@null.test": "5.1.10", "c@missing.test": "5.1.2",
    }  # fmt: skip


def test_a_domain_in_trouble_keeps_no_other_waiting(
    internet: Internet, serve: Any, plain_land: Any, events: Any
) -> None:
    """No answer of the DNS, and servers that don't answer: these domains are held, each by itself, and deferred."""
    internet.names.zone |= {
        "good.test MX": ["10 mx0.test."], "lame.test MX": "SERVFAIL", "down.test MX": ["10 dead.test."],
        "dead.test A": ["127.0.0.99"],
    }  # fmt: skip
    plain_land.drop("lame", to=("a@lame.test",))
    plain_land.drop("down", to=("a@down.test",))
    for number in range(20):
        plain_land.drop(f"good{number:02}", to=(f"{number}@good.test",))

    def until(one: Coordinator) -> bool:
        return one.counts["sent"] == 20 and len(list((plain_land.path / "deferred").iterdir())) == 2

    seen: list[set[str]] = []

    def look(one: Coordinator) -> bool:
        seen.append({relay.title for relay in one.fleet.relays["main"].troubled()})
        return until(one)

    serve(look)
    assert len(internet.recipients()[0]) == 20
    assert seen[-1] == {"main (lame.test)", "main (down.test)"}
    assert {fields["relay"] for name, fields in events if name == "relay.held"} == seen[-1]
    assert statuses(plain_land.result("lame")) == {"a@lame.test": ("deferred", "lookup", None)}
    assert statuses(plain_land.result("down")) == {"a@down.test": ("deferred", "connect", None)}
    assert len(plain_land.result("down").attempts) == 1


def test_many_jobs_for_a_domain_that_takes_none(internet: Internet, serve: Any, plain_land: Any) -> None:
    """More jobs than there may be sessions: nobody waits for a session that never comes."""
    internet.names.zone["null.test MX"] = ["0 ."]
    for number in range(40):
        plain_land.drop(f"job{number:02}", to=(f"{number}@null.test",))
    serve(lambda one: one.counts["failed"] == 40)


def test_idle_domains_are_forgotten(internet: Internet) -> None:
    """What is known of a domain goes when its sessions have gone; a hold is remembered for a while."""
    made = direct.DirectRelay(_settings(internet.port), directory=system(internet.names))
    one, two = made.towards("one.test"), made.towards("two.test")
    assert made.towards("one.test") is one
    two.hold(_refused(), now=0.0)
    assert made.take_parting(1.0) == []
    assert made.towards("two.test") is two
    assert made.towards("one.test") is not one
    assert [relay.title for relay in made.troubled()] == ["main (two.test)"]
    made.take_parting(4000.0)
    assert made.towards("two.test") is not two


def _settings(port: int) -> RelaySettings:
    return RelaySettings(name="main", port=port, security=Security.NONE, hostname="me", protocol=Protocol.MX)


def _refused() -> SessionFailed:
    return SessionFailed("main", Fault(stage=Stage.CONNECT, what="no"))
