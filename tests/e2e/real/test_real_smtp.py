"""Mails through the real daemon to real servers: Postfix, Exim, OpenSMTPD and smtp-sink."""

from __future__ import annotations

import re

from tests.e2e.real.mailbox import wait_arrivals
from tests.e2e.real.servers import ABROAD, NOBODY, PEOPLE, RealServer
from tests.e2e.real.trips import (
    CONNECTIONS,
    MEGABYTE,
    Branches,
    assert_arrived,
    awkward_message,
    job_for,
    large_attachment,
    rendered,
)
from tests.e2e.spools import finished_message

JOBS = 50


def named(what: str, server: RealServer) -> str:
    """Return a job's name that no other test has."""
    return f"{what}-{server.name}".replace(" ", "-")


def test_one_mail(server: RealServer, branches: Branches) -> None:
    """A mail with an attachment arrives octet for octet as ``render`` shows it; the result has the server's words."""
    spool = branches.at(server)
    name = named("one", server)
    spool.drop(name, job_for(name, subject="Grüße") | {"attachments/Übersicht.bin": large_attachment(5000)})
    spool.wait_settled([name])
    result = spool.answered(name)
    assert result["recipients"][0]["code"] == 250
    if server.log and "protocol" not in server.relay:
        assert server.logged(re.escape(result["recipients"][0]["queue_id"]))  # it is the server's own name for the mail
    assert ("tls" in result["attempts"][0]) == (server.relay["tls"] != "none")
    assert_arrived(server, name, rendered(spool, name), PEOPLE[:1])


def test_awkward_message(server: RealServer, branches: Branches) -> None:
    """A finished message with dots, blanks, long lines, 8-bit text arrives as it is, or fails for want of 8BITMIME."""
    spool = branches.at(server)
    name = named("awkward", server)
    message = awkward_message(name, PEOPLE[1])
    spool.drop(name, {"message.eml": message})
    if "8BITMIME" in server.extensions:
        spool.wait_settled([name])
        assert_arrived(server, name, message, PEOPLE[1:2])
    else:
        spool.wait_settled([name], "failed")
        assert "8BITMIME" in spool.result(name, "failed")["reason"]


def test_one_of_five_is_unknown(server: RealServer, branches: Branches) -> None:
    """Four of five get the mail; the fifth is refused, with the server's words; a server that takes all gets five."""
    spool = branches.at(server)
    name = named("five", server)
    everybody = [*PEOPLE[:2], NOBODY, *PEOPLE[2:]]
    spool.drop(name, job_for(name, everybody))
    if not server.choosy:
        spool.wait_settled([name])
        assert_arrived(server, name, rendered(spool, name), everybody)
        return
    spool.wait_settled([name], "failed")
    result = spool.answered(name, "failed")
    assert result["outcome"] == "partial"
    statuses = {one["address"]: one["status"] for one in result["recipients"]}
    assert statuses == dict.fromkeys(PEOPLE, "delivered") | {NOBODY: "rejected"}
    refusal = next(one for one in result["recipients"] if one["address"] == NOBODY)
    assert (refusal["code"], refusal["stage"]) == (550, "rcpt")
    assert refusal["text"]
    assert refusal["text"] in result["reason"]
    assert_arrived(server, name, rendered(spool, name, "failed"), PEOPLE)


def test_twenty_megabytes(server: RealServer, branches: Branches) -> None:
    """An attachment of 20 MB arrives octet for octet."""
    spool = branches.at(server)
    name = named("large", server)
    spool.drop(name, job_for(name) | {"attachments/large.bin": large_attachment(20 * MEGABYTE)})
    spool.wait_settled([name])
    message = rendered(spool, name)
    assert len(message) > 27 * MEGABYTE
    assert_arrived(server, name, message, PEOPLE[:1])


def test_recipient_with_an_umlaut(server: RealServer, branches: Branches) -> None:
    """An address that is not ASCII gets its mail by SMTPUTF8; without it the job fails, saying what the relay lacks."""
    spool = branches.at(server)
    name = named("umlaut", server)
    spool.drop(name, job_for(name, [ABROAD]))
    if "SMTPUTF8" in server.extensions:
        spool.wait_settled([name])
        assert_arrived(server, name, rendered(spool, name), [ABROAD])
        return
    spool.wait_settled([name], "failed")
    only = spool.result(name, "failed")["recipients"][0]
    assert (only["stage"], only["enhanced"]) == ("local", "5.6.7")
    assert "SMTPUTF8" in only["text"]


def test_fifty_at_once(server: RealServer, branches: Branches) -> None:
    """Fifty jobs at once go over a few sessions that are used again, and each arrives once and whole."""
    before = len(server.logged(server.session))
    spool = branches.at(server)
    names = [f"{named('many', server)}-{number}" for number in range(JOBS)]
    for name in names:
        spool.drop(name, {"message.eml": finished_message(name), "envelope.toml": f'recipients = ["{PEOPLE[0]}"]\n'})
    spool.wait_settled(names)
    for one in wait_arrivals(server.mailbox, set(names), JOBS):
        assert one.split()[1] == finished_message(one.job).replace(b"\r\n", b"\n")
    if server.session:
        assert len(server.logged(server.session)) - before <= CONNECTIONS
