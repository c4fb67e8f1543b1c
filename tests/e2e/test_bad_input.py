"""What can't be sent ends in failed/ with one problem for each thing, and harms no other job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.spools import envelope

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.daemons import Daemon
    from tests.e2e.servers import ScriptedServer
    from tests.e2e.spools import SpoolFolder

    Files = dict[str, str | bytes]

BODY = "Hello.\n"
BAD: dict[str, tuple[Files, list[tuple[str, str]]]] = {  # the files; for each problem, words of where and of what
    "unknown-key": (
        {"envelope.toml": "subjct = 'x'\n" + envelope("unknown-key"), "body.txt": BODY},
        [("subjct", "unknown key")],
    ),
    "missing-file": (
        {"envelope.toml": envelope("missing-file", attachments=["report.pdf"]), "body.txt": BODY},
        [("attachments[0]", "'report.pdf' is not in the job")],
    ),
    "undecodable-body": (
        {"envelope.toml": envelope("undecodable-body"), "body.txt": b"Gr\xfc\xdfe\n"},
        [("body.txt", "utf-8")],
    ),
    "no-recipients": (
        {"envelope.toml": 'from = "a@example.com"\nsubject = "to nobody"\n', "body.txt": BODY},
        [("to", "recipient")],
    ),
    "control-character": (
        {"envelope.toml": envelope("control-character", subject="a\r\nBcc: eve@example.net"), "body.txt": BODY},
        [("subject", "control character")],
    ),
    "two-things": (
        {"envelope.toml": envelope("two-things", subject="a\x07", html="page.html"), "body.txt": BODY},
        [("subject", "control character"), ("html", "'page.html' is not in the job")],
    ),
    "no-toml": ({"envelope.toml": "from = a@example.com\n", "body.txt": BODY}, [("envelope.toml", "line 1")]),
    "eight-bit-name": (
        {"envelope.toml": envelope("eight-bit-name", to="Eve <eve@example..org>"), "body.txt": BODY},
        [("to", "example..org")],
    ),
}


def test_bad_input(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    scripted_server: Callable[..., ScriptedServer],
) -> None:
    """Each is invalid with one problem a thing and says where; the job dropped right after it is sent."""
    server = scripted_server()
    spool = spool_factory(server.port)
    running = daemon(spool).wait_started()
    for name, (files, _) in BAD.items():
        spool.drop(name, files)
        spool.drop(f"after-{name}")
    spool.wait_settled(BAD, "failed")
    spool.wait_settled({f"after-{name}" for name in BAD})
    for name, (_, expected) in BAD.items():
        result = spool.result(name, "failed")
        assert result["outcome"] == "invalid"
        assert result.get("recipients", []) == []
        found = [(one["where"], one["what"]) for one in result["problems"]]
        assert len(found) == len(expected), found
        for (where, what), (where_words, what_words) in zip(sorted(found), sorted(expected), strict=True):
            assert where_words in where, found
            assert what_words in what, found
        assert "\n" not in result["reason"]
        assert running.found("job.failed", job=name, outcome="invalid")
    assert server.jobs() == {f"after-{name}": 1 for name in BAD}


def test_bad_finished_message(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    scripted_server: Callable[..., ScriptedServer],
) -> None:
    """A bare .eml without recipients becomes a job in failed/ that has the message, and may be looked at."""
    server = scripted_server()
    spool = spool_factory(server.port)
    daemon(spool).wait_started()
    (spool.path / "tmp" / "lost.eml").write_bytes(b"From: a@example.com\r\n\r\nto nobody\r\n")
    (spool.path / "tmp" / "lost.eml").rename(spool.path / "incoming" / "lost.eml")
    spool.wait_settled(["lost"], "failed")
    assert spool.result("lost", "failed")["outcome"] == "invalid"
    assert (spool.path / "failed" / "lost" / "message.eml").read_bytes().endswith(b"to nobody\r\n")
    assert server.accepted == []
