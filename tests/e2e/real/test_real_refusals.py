"""What real servers refuse, and what they tell the sender: replies and notifications of no script's making."""

from __future__ import annotations

from tests.e2e.real.mailbox import Maildirs
from tests.e2e.real.postfix import Postfix
from tests.e2e.real.servers import NOBODY, PEOPLE, SIZE_LIMIT_OCTETS, UNKNOWN_SENDER, RealServer
from tests.e2e.real.trips import PostOffice, assert_arrived, job_for, large_attachment, rendered
from tests.e2e.waiting import wait_for

TOO_LARGE_OCTETS = SIZE_LIMIT_OCTETS * 3 // 4  # base64 makes four octets of three, and lines
ENVELOPE_ID = "order 4711+1 = paid"  # blanks, "+" and "=" have to be encoded on their way


def test_sender_of_no_domain(postfix: Postfix, post_office: PostOffice) -> None:
    """A refusal of the sender fails its own job with the server's words; the job beside it is sent."""
    spool, _ = post_office.open(postfix.secure, {"connections": 1})
    spool.drop("stranger", job_for("stranger", PEOPLE[:2], return_path=UNKNOWN_SENDER))
    spool.drop("neighbour", job_for("neighbour"))
    spool.wait_settled(["stranger"], "failed")
    spool.wait_settled(["neighbour"])
    result = spool.result("stranger", "failed")
    assert result["outcome"] == "failed"
    assert "Domain not found" in result["reason"]
    for one in result["recipients"]:
        assert (one["status"], one["stage"], one["code"], one["enhanced"]) == ("rejected", "mail", 550, "5.1.8")
    assert_arrived(postfix.secure, "neighbour", rendered(spool, "neighbour"), PEOPLE[:1])


def test_nobody_is_known(exim: RealServer, post_office: PostOffice) -> None:
    """Without one recipient that is accepted nothing is sent."""
    spool, _ = post_office.open(exim)
    spool.drop("nobody", job_for("nobody", [NOBODY, "nemo@example.org", "who@example.net"]))
    spool.wait_settled(["nobody"], "failed")
    result = spool.result("nobody", "failed")
    assert result["outcome"] == "failed"
    assert {one["stage"] for one in result["recipients"]} == {"rcpt"}
    assert exim.mailbox.arrivals({"nobody"}) == []


def test_too_large_for_its_size(postfix: Postfix, post_office: PostOffice) -> None:
    """A message larger than the SIZE that the server tells is not sent at all: the job fails with our own words."""
    spool, _ = post_office.open(postfix.secure)
    spool.drop("oversized", job_for("oversized") | {"attachments/a.bin": large_attachment(TOO_LARGE_OCTETS)})
    spool.wait_settled(["oversized"], "failed")
    only = spool.result("oversized", "failed")["recipients"][0]
    assert (only["status"], only["stage"], only["enhanced"]) == ("rejected", "local", "5.3.4")
    assert str(SIZE_LIMIT_OCTETS) in only["text"]


def test_too_large_without_a_word_before(postfix: Postfix, post_office: PostOffice) -> None:
    """A server that tells no SIZE refuses the whole message after its end; the next one goes over the same session."""
    before = len(postfix.bare.logged(postfix.bare.session))
    spool, _ = post_office.open(postfix.bare, {"connections": 1})
    spool.drop("bulky", job_for("bulky") | {"attachments/a.bin": large_attachment(TOO_LARGE_OCTETS)})
    spool.wait_settled(["bulky"], "failed")
    only = spool.result("bulky", "failed")["recipients"][0]
    assert (only["status"], only["stage"], only["code"]) == ("rejected", "data-end", 552)
    assert "too big" in only["text"]
    spool.drop("slim", job_for("slim"))
    spool.wait_settled(["slim"])
    assert_arrived(postfix.bare, "slim", rendered(spool, "slim"), PEOPLE[:1])
    assert len(postfix.bare.logged(postfix.bare.session)) == before + 1


def test_notification_of_success(postfix: Postfix, post_office: PostOffice) -> None:
    """With ``notify`` the server reports each delivery to the reverse-path, with our envelope id, without the body."""
    spool, _ = post_office.open(postfix.secure)
    keys = {"notify": ["success", "failure"], "envelope_id": ENVELOPE_ID, "return": "headers"}
    spool.drop("notify", job_for("notify", PEOPLE[1:3], return_path=PEOPLE[0], **keys))
    spool.wait_settled(["notify"])
    assert_arrived(postfix.secure, "notify", rendered(spool, "notify"), PEOPLE[1:3])
    mailbox = postfix.secure.mailbox
    assert isinstance(mailbox, Maildirs)

    def look() -> bytes:
        texts = (path.read_bytes() for path in mailbox.files() if "/anna/" in str(path))
        return next((one for one in texts if f"\nOriginal-Envelope-Id: {ENVELOPE_ID}\n".encode() in one), b"")

    report = wait_for(look, "the notification")
    assert b"\nReturn-Path: <>" in b"\n" + report
    for recipient in PEOPLE[1:3]:
        assert f"\nOriginal-Recipient: rfc822;{recipient}\n".encode() in report
    assert report.count(b"\nAction: delivered\n") == 2
    assert b"\nSubject: Job notify\n" in report
    assert b"The last line of notify." not in report
