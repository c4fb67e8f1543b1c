"""A thousand jobs, dropped in every way that producers have while the daemon runs, arrive once each and whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from tests.e2e.spools import body_of, envelope, finished_message, small_job

if TYPE_CHECKING:
    from tests.e2e.daemons import Daemon
    from tests.e2e.servers import SmtpSink
    from tests.e2e.spools import SpoolFolder

JOBS = 1000
QUIET_SECONDS = 1.0
PAUSE_SECONDS = 0.3  # between the steps of a slow writer; its files stay open, or the last one is not there yet
SLOW_WRITERS = 16
SETTLE_SECONDS = 120.0


class Producers:
    """Drop jobs in their ways; ``complete`` holds the moment just before the last step of each."""

    def __init__(self, spool: SpoolFolder) -> None:
        self.spool = spool
        self.incoming = spool.path / "incoming"
        self.complete: dict[str, float] = {}

    def rename(self, name: str) -> None:
        """Build it in tmp/, rename it in."""
        folder = self.spool.build(name, small_job(name))
        self.complete[name] = time.time()
        folder.rename(self.incoming / name)

    def marker(self, name: str) -> None:
        """Build it in incoming/, READY last."""
        folder = self.spool.build(name, small_job(name), below="incoming")
        self.complete[name] = time.time()
        (folder / "READY").touch()

    def bare(self, name: str) -> None:
        """Copy a finished message in; nothing but silence says that it is whole."""
        self.complete[name] = time.time()
        (self.incoming / f"{name}.eml").write_bytes(finished_message(name))

    def bare_renamed(self, name: str) -> None:
        """Rename a finished message in."""
        place = self.spool.path / "tmp" / f"{name}.eml"
        place.write_bytes(finished_message(name))
        self.complete[name] = time.time()
        place.rename(self.incoming / place.name)

    def message_folder(self, name: str) -> None:
        """Rename a folder with a finished message in."""
        folder = self.spool.build(name, {"message.eml": finished_message(name)})
        self.complete[name] = time.time()
        folder.rename(self.incoming / name)

    def slow_open(self, name: str) -> None:
        """Write the body in steps, longer than the quiet time, into a file that stays open."""
        folder = self.spool.build(name, {"envelope.toml": envelope(name)}, below="incoming")
        with (folder / "body.txt").open("w") as file:
            for line in body_of(name).splitlines(keepends=True):
                file.write(line)
                file.flush()
                time.sleep(QUIET_SECONDS * 0.5)
            self.complete[name] = time.time()

    def slow_named(self, name: str) -> None:
        """Write file after file with pauses; the envelope names one that comes last."""
        keys = {"text": "body.txt", "attachments": ["last.bin"]}
        folder = self.spool.build(name, {"envelope.toml": envelope(name, **keys)}, below="incoming")
        for relative, content in (("body.txt", body_of(name).encode()), ("last.bin", name.encode())):
            time.sleep(PAUSE_SECONDS)
            self.complete[name] = time.time()
            (folder / relative).write_bytes(content)

    def slow_eml(self, name: str) -> None:
        """Write a finished message in steps into a file that stays open."""
        octets = finished_message(name)
        with (self.incoming / f"{name}.eml").open("wb") as file:
            for start in range(0, len(octets), 100):
                file.write(octets[start : start + 100])
                file.flush()
                time.sleep(PAUSE_SECONDS)
            self.complete[name] = time.time()

    def drop_all(self) -> None:
        """Drop every job: the slow writers work while the others drop theirs."""
        slow = [self.slow_open, self.slow_named, self.slow_eml]
        fast = [self.rename, self.marker, self.bare, self.bare_renamed, self.message_folder]
        writers: list[list[Callable[[], None]]] = [[] for _ in range(SLOW_WRITERS)]
        rest: list[Callable[[], None]] = []
        for number in range(JOBS):
            name = f"job-{number:04}"
            if number % 10 == 0:
                way = slow[number // 10 % len(slow)]
                writers[number // 10 % SLOW_WRITERS].append(partial(way, name))
            else:
                rest.append(partial(fast[number % len(fast)], name))
        threads = [threading.Thread(target=_run, args=(steps,)) for steps in writers]
        for thread in threads:
            thread.start()
        _run(rest)
        for thread in threads:
            thread.join()


def _run(steps: list[Callable[[], None]]) -> None:
    for step in steps:
        step()


def test_a_thousand_mixed_jobs(
    spool_factory: Callable[..., SpoolFolder], daemon: Callable[..., Daemon], smtp_sink: Callable[..., SmtpSink]
) -> None:
    """Each is received once and whole, and is in sent/ with the relay's reply; none was claimed too early."""
    sink = smtp_sink()
    spool = spool_factory(sink.port, intake={"quiet_seconds": QUIET_SECONDS})
    running = daemon(spool).wait_started()
    producers = Producers(spool)
    producers.drop_all()
    names = set(producers.complete)
    assert len(names) == JOBS
    spool.wait_settled(names, seconds=SETTLE_SECONDS)
    assert running.stop() == 0
    assert spool.where() == {name: ["sent"] for name in names}
    for name in names:
        result = spool.result(name)
        (recipient,) = result["recipients"]
        assert (result["outcome"], result["possible_duplicate"]) == ("sent", False)
        assert (recipient["status"], recipient["code"], recipient["address"]) == (
            "delivered",
            250,
            f"{name}@example.org",
        )
        assert recipient["text"].startswith("2.0.0 Ok")
        assert len(result["attempts"]) == 1
        claimed: datetime = result["claimed"]
        assert claimed.timestamp() >= producers.complete[name] - 0.001, f"{name} was claimed before it was complete"
    mails = sink.mails()
    assert len(mails) == JOBS
    assert {mail.job for mail in mails} == names
    for mail in mails:
        assert mail.recipients == (f"{mail.job}@example.org",)
        lines = body_of(mail.job).splitlines()
        assert all(f"\n{line}\n".encode() in mail.octets for line in lines), f"{mail.job} was cut off"
        assert len({line for line in mail.octets.split(b"\n") if line.startswith(b"From: ")}) == 1
    slowest = max(spool.result(name)["finished"] - spool.result(name)["claimed"] for name in names)
    assert slowest < timedelta(seconds=SETTLE_SECONDS)
