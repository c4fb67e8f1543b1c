"""The dialog with a real server that pipelines, as ``transcript.log`` keeps it."""

from __future__ import annotations

from tests.e2e.real.servers import PEOPLE, RealServer
from tests.e2e.real.trips import PostOffice, job_for

JOBS = 10


def test_each_dialog_is_whole(exim: RealServer, post_office: PostOffice) -> None:
    """Of jobs that follow each other closely in one session, each has its own dialog, from MAIL to the last reply."""
    spool, _ = post_office.open(exim, {"connections": 1}, settle={"transcript": "always"})
    recipients = {f"dialog-{number}": PEOPLE[number % len(PEOPLE)] for number in range(JOBS)}
    for name, recipient in recipients.items():
        spool.drop(name, job_for(name, [recipient]))
    spool.wait_settled(recipients)
    for name, recipient in recipients.items():
        queue_id = spool.answered(name)["recipients"][0]["queue_id"]
        lines = (spool.path / "sent" / name / "transcript.log").read_text().split("\n")
        commands = [line for line in lines if line.startswith(("C: RCPT", "C: BDAT"))]
        assert commands[0] == f"C: RCPT TO:<{recipient}>"
        assert [line[:7] for line in commands] == ["C: RCPT", "C: BDAT"]
        assert [line for line in lines if line][-1] == f"S: 250 OK id={queue_id}"
