"""LMTP with a real Dovecot: a mail's end has a reply for each recipient (RFC 2033), and each counts for its own."""

from __future__ import annotations

import pytest

from tests.e2e.real.dovecot import FULL, LOCKED, Dovecot
from tests.e2e.real.servers import NOBODY, PEOPLE
from tests.e2e.real.trips import PostOffice, assert_arrived, job_for, rendered

WAYS = ("tcp", "socket")


@pytest.mark.parametrize("way", WAYS)
def test_one_mailbox_is_full(dovecot: Dovecot, post_office: PostOffice, way: str) -> None:
    """One unknown at RCPT and one full mailbox after the dot are refused, each with its words; the others have it."""
    server = getattr(dovecot, way)
    spool, _ = post_office.open(server)
    name = f"full-{way}"
    spool.drop(name, job_for(name, [PEOPLE[0], FULL, NOBODY, PEOPLE[1]]))
    spool.wait_settled([name], "failed")
    result = spool.answered(name, "failed")
    assert result["outcome"] == "partial"
    found = {one["address"]: (one["status"], one["stage"], one.get("code")) for one in result["recipients"]}
    assert found == {
        PEOPLE[0]: ("delivered", "bdat", 250),
        PEOPLE[1]: ("delivered", "bdat", 250),
        NOBODY: ("rejected", "rcpt", 550),
        FULL: ("rejected", "bdat", 552),
    }
    full = next(one for one in result["recipients"] if one["address"] == FULL)
    assert full["enhanced"] == "5.2.2"
    assert "Quota exceeded" in full["text"]
    assert_arrived(server, name, rendered(spool, name, "failed"), PEOPLE[:2])


def test_one_mailbox_is_locked(dovecot: Dovecot, post_office: PostOffice) -> None:
    """A mailbox that can't be written to now is deferred alone; tried again, its mail and no other comes."""
    spool, _ = post_office.open(dovecot.socket, intake={"rescan_seconds": 0.2})
    spool.drop("locked", job_for("locked", [PEOPLE[0], LOCKED]))
    spool.wait_settled(["locked"], "deferred")
    result = spool.answered("locked", "deferred")
    found = {one["address"]: (one["status"], one["stage"], one["code"] // 100) for one in result["recipients"]}
    assert found == {PEOPLE[0]: ("delivered", "bdat", 2), LOCKED: ("deferred", "bdat", 4)}
    dovecot.unlock()
    spool.command("retry", "locked")
    spool.wait_settled(["locked"])
    assert len(spool.answered("locked")["attempts"]) == 2
    assert_arrived(dovecot.socket, "locked", rendered(spool, "locked"), [PEOPLE[0], LOCKED])
