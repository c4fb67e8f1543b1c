"""What a relay answers is what the result says, and a retry goes only to who is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.daemons import Daemon
    from tests.e2e.servers import ScriptedServer
    from tests.e2e.spools import SpoolFolder

    Start = Callable[..., Daemon]
    Serve = Callable[..., ScriptedServer]
    Make = Callable[..., SpoolFolder]

SOON = {"retry": {"schedule": [1], "jitter": 0}}
THREE = ["alice@example.org", "bob@example.org", "carol@example.org"]


def test_mixed_replies(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """250, 450 and 550 are three verdicts; the retry goes to the deferred one alone; the job ends partial."""
    server = scripted_server(
        {"RCPT TO:<bob*": ["450 4.2.1 mailbox busy"], "RCPT TO:<carol*": ["550 5.1.1 no such user"]}
    )
    spool = spool_factory(server.port, **SOON)
    running = daemon(spool).wait_started()
    spool.drop("mixed", to=THREE)
    deferred = running.wait_event("job.deferred", job="mixed")
    assert deferred["attempts"] == 1
    spool.wait_settled(["mixed"], "failed")
    result = spool.answered("mixed", "failed")
    assert result["outcome"] == "partial"
    assert result["possible_duplicate"] is False
    assert "next_attempt" not in result
    alice, bob, carol = result["recipients"]
    assert (alice["status"], alice["stage"], alice["code"], alice["queue_id"]) == (
        "delivered",
        "data-end",
        250,
        "Q0000001",
    )
    assert (bob["status"], bob["stage"], bob["code"], bob["queue_id"]) == ("delivered", "data-end", 250, "Q0000002")
    assert (carol["status"], carol["stage"], carol["code"], carol["enhanced"]) == ("rejected", "rcpt", 550, "5.1.1")
    assert carol["text"] == "5.1.1 no such user"
    assert [one["number"] for one in result["attempts"]] == [1, 2]
    assert result["attempts"][0]["result"] == "delivered 1, deferred 1, rejected 1"
    assert result["attempts"][1]["result"] == "delivered 1, deferred 0, rejected 0"
    assert [mail.recipients for mail in server.accepted] == [("alice@example.org",), ("bob@example.org",)]
    assert server.accepted[0].octets == server.accepted[1].octets  # byte for byte the same mail
    assert "carol@example.org" in result["reason"]
    assert "550" in result["reason"]


def test_deferred_result_while_it_waits(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A deferred job has its verdicts, the time of the next attempt and the dialog beside it, all in deferred/."""
    server = scripted_server({"RCPT TO:<bob*": ["450 4.2.1 mailbox busy"]})
    spool = spool_factory(server.port, retry={"schedule": ["1h"]})
    running = daemon(spool).wait_started()
    spool.drop("waits", to=THREE[:2])
    running.wait_event("job.deferred")
    result = spool.result("waits", "deferred")
    assert result["outcome"] == "deferred"
    assert result["next_attempt"] > result["claimed"]
    assert [(one["status"], one["stage"], one["code"]) for one in result["recipients"]] == [
        ("delivered", "data-end", 250),
        ("deferred", "rcpt", 450),
    ]
    dialog = (spool.path / "deferred" / "waits" / "transcript.log").read_text()
    assert "450 4.2.1 mailbox busy" in dialog
    assert "The first line" not in dialog  # content is left out


@pytest.mark.parametrize(
    ("script", "stage"),
    [({". *": ["554 5.7.1 spam"]}, "data-end"), ({"DATA": ["554 5.5.0 not now"]}, "data"),
     ({"MAIL *": ["550 5.7.1 not you"]}, "mail")],
    ids=["final dot", "DATA", "MAIL"],
)  # fmt: skip
def test_refused_message(
    *, spool_factory: Make, daemon: Start, scripted_server: Serve, script: dict[str, list[str]], stage: str
) -> None:
    """A 5yz to the message is the verdict of every recipient; the next job is sent in the same session."""
    server = scripted_server(script)
    spool = spool_factory(server.port, relay={"connections": 1})
    daemon(spool).wait_started()
    spool.drop("refused", to=THREE)
    spool.wait_settled(["refused"], "failed")
    spool.drop("next")
    spool.wait_settled(["next"])
    result = spool.result("refused", "failed")
    assert result["outcome"] == "failed"
    assert [(one["status"], one["stage"]) for one in result["recipients"]] == [("rejected", stage)] * 3
    assert server.jobs() == {"next": 1}
    assert server.said("EHLO *") == 1


def test_line_dies_before_the_final_dot(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A session lost before the final dot costs nothing: sent again at once, one attempt, no doubt."""
    server = scripted_server({"BODY *": ["drop"], "RCPT*": []})
    spool = spool_factory(server.port)
    running = daemon(spool).wait_started()
    big = "A line that makes the message too long for the buffers of the kernel.\n" * 100_000
    spool.drop("cut", {"envelope.toml": _envelope("cut"), "body.txt": big})
    spool.wait_settled(["cut"])
    result = spool.answered("cut")
    assert len(running.found("job.interrupted", job="cut")) == 1
    assert running.found("job.doubt") == []
    assert len(result["attempts"]) == 1
    assert result["possible_duplicate"] is False
    assert server.jobs() == {"cut": 1}
    assert server.accepted[0].octets.endswith(big.encode()[-200:])


def test_line_dies_after_the_final_dot(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A session lost after the final dot is a doubt: counted, sent again, and flagged for ever."""
    server = scripted_server({". *": ["accept-drop"]})
    spool = spool_factory(server.port, **SOON)
    running = daemon(spool).wait_started()
    spool.drop("doubt")
    spool.wait_settled(["doubt"])
    result = spool.answered("doubt")
    assert running.found("job.doubt", job="doubt", policy="resend")
    assert result["outcome"] == "sent"
    assert result["possible_duplicate"] is True
    assert [one["result"] for one in result["attempts"]] == [
        "delivered 0, deferred 0, rejected 0, in doubt 1",
        "delivered 1, deferred 0, rejected 0",
    ]
    first, second = server.accepted
    assert first.octets == second.octets


@pytest.mark.parametrize(
    ("policy", "state", "outcome"), [("hold", "failed", "in-doubt"), ("assume-sent", "sent", "sent")]
)
def test_doubt_by_policy(
    *, spool_factory: Make, daemon: Start, scripted_server: Serve, policy: str, state: str, outcome: str
) -> None:
    """``hold`` leaves a doubt to a person, ``assume-sent`` counts it as sent; neither sends again."""
    server = scripted_server({". *": ["accept-drop"]})
    spool = spool_factory(server.port, **SOON)
    daemon(spool).wait_started()
    spool.drop("doubt", in_doubt=policy)
    spool.wait_settled(["doubt"], state)
    result = spool.result("doubt", state)
    assert result["outcome"] == outcome
    assert [one["status"] for one in result["recipients"]] == ["in-doubt"]
    assert result["possible_duplicate"] is False
    spool.drop("next")
    spool.wait_settled(["next"])
    assert server.jobs() == {"doubt": 1, "next": 1}


def test_more_recipients_than_the_server_takes(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """452 to RCPT after one was accepted: the rest goes in a further transaction at once, in the same attempt."""
    server = scripted_server({"RCPT TO:<carol*": ["452 4.5.3 too many recipients"]})
    spool = spool_factory(server.port)
    daemon(spool).wait_started()
    spool.drop("split", to=THREE)
    spool.wait_settled(["split"])
    result = spool.answered("split")
    assert [mail.recipients for mail in server.accepted] == [tuple(THREE[:2]), tuple(THREE[2:])]
    assert [(one["status"], one["queue_id"]) for one in result["recipients"]] == [
        ("delivered", "Q0000001"),
        ("delivered", "Q0000001"),
        ("delivered", "Q0000002"),
    ]
    assert len(result["attempts"]) == 1


def test_all_or_nothing(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """One refused recipient keeps the mail from all, where the envelope says so."""
    server = scripted_server({"RCPT TO:<bob*": ["550 5.1.1 no such user"]})
    spool = spool_factory(server.port)
    daemon(spool).wait_started()
    spool.drop("whole", to=THREE, partial="all-or-nothing")
    spool.wait_settled(["whole"], "failed")
    result = spool.result("whole", "failed")
    assert [one["status"] for one in result["recipients"]] == ["pending", "rejected", "pending"]
    assert result["outcome"] == "failed"
    assert server.accepted == []


def _envelope(name: str) -> str:
    return f'from = "a@example.com"\nto = "{name}@example.org"\n[headers]\nX-Job = "{name}"\n'
