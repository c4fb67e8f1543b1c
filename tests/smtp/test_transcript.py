"""`maildrop.smtp.transcript`: bounded, and harmless to read."""

from __future__ import annotations

from maildrop.smtp import Reply, Transcript


def test_both_sides() -> None:
    """Commands, every line of a reply and notes each have a line of their own."""
    transcript = Transcript()
    transcript.server(Reply(code=250, lines=("mx", "SIZE")))
    transcript.client("QUIT")
    transcript.note("lost")
    assert transcript.text() == "S: 250-mx\nS: 250 SIZE\nC: QUIT\n*: lost\n"
    assert Transcript().text() == ""


def test_controls_are_escaped() -> None:
    """Nothing a server says can forge a line or reach a terminal."""
    transcript = Transcript()
    transcript.server(Reply(code=250, lines=("\x1b[2J\rC: QUIT\u2028\u202e",)))
    assert transcript.text() == "S: 250 \\x1b[2J\\x0dC: QUIT\\u2028\\u202e\n"


def test_bounded_lines() -> None:
    """Of a long dialog the beginning and the end are kept, and the gap is named."""
    transcript = Transcript()
    for number in range(10_000):
        transcript.client(f"RCPT TO:<{number}@example.org>")
    lines = transcript.text().splitlines()
    assert len(lines) == 501
    assert lines[0] == "C: RCPT TO:<0@example.org>"
    assert lines[100] == "*: 9500 entries left out"
    assert lines[-1] == "C: RCPT TO:<9999@example.org>"


def test_bounded_characters() -> None:
    """Replies of the greatest legal length don't add up."""
    transcript = Transcript()
    for _ in range(1000):
        transcript.server(Reply(code=250, lines=("x" * 2000,) * 32))
    assert len(transcript.text()) < 512 * 1024
