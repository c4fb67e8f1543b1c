"""The programs that are measured side by side: prepared alike, started alike, finished when their queue is empty.

Each row does the same work: N messages lie there as files, the program starts, all are accepted by Postfix's smtp-sink
on loopback, the queue is empty. Ratios between rows of one run count; absolute figures belong to one machine.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

DEADLINE_SECONDS = 300.0
_QUIET_SECONDS = 2.0  # the default; the jobs are older than this when the daemon starts
_NULLMAILER_FOLDERS = ("/var/spool/nullmailer", "/etc/nullmailer", "/usr/lib/nullmailer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement."""

    peer: str
    messages: int
    seconds: float

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def smtp_sink() -> Iterator[int]:
    """Run Postfix's smtp-sink; yield its port."""
    program = shutil.which("smtp-sink", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise FileNotFoundError("smtp-sink is missing: apt-get install postfix")
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    with subprocess.Popen([program, *user, "-4", "-m", "1000", f"127.0.0.1:{port}", "1000"]) as process:
        try:
            wait_for(lambda: is_listening(port))
            yield port
        finally:
            process.terminate()


def is_listening(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except ConnectionRefusedError:
        return False
    return True


def _is_empty(folder: Path) -> bool:
    """Look at the first entry only: listing a full queue again and again would slow down who empties it."""
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def wait_for(condition: object, *, pause: float = 0.01) -> None:
    """Wait until the condition is true; raises TimeoutError."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():  # type: ignore[operator]  # a function without arguments
        if time.monotonic() > deadline:
            raise TimeoutError("the queue was not empty in time")
        time.sleep(pause)


def maildropd(
    folder: Path, *, messages: int, body: bytes, connections: int = 8, round_trip_seconds: float = 0.0
) -> Row:
    """Measure ``maildropd run --once`` on job directories, durable as always; 8 connections are the default."""
    from tests.benchmarks.delay import far_away  # noqa: PLC0415  (which needs this module)

    spool = folder / "spool"
    config = folder / "maildropd.toml"
    _run("init", str(spool), "--config", str(config), "--user", _user())
    for number in range(messages):
        job = spool / "incoming" / f"job-{number:06}"
        job.mkdir()
        (job / "envelope.toml").write_text(
            f'from = "ERP <erp@example.com>"\nto = "Customer {number} <c{number}@example.org>"\n'
            f'subject = "Invoice {number}"\n[meta]\nnumber = {number}\n'
        )
        (job / "body.txt").write_bytes(body)
    time.sleep(_QUIET_SECONDS + 0.2)  # so that what lies there is quiet at the start
    with smtp_sink() as sink, far_away(sink, round_trip_seconds=round_trip_seconds) as port:
        config.write_text(
            f'[spool]\npath = "{spool}"\n[relays.sink]\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\n'
            f"connections = {connections}\n"
        )
        started = time.time()
        with (folder / "log").open("wb") as log:
            _run("run", "--once", "--config", str(config), stderr=log)
        seconds = _last_sent(folder / "log") - started
    found = len(list((spool / "sent").iterdir()))
    if found != messages:
        raise RuntimeError(f"{found} of {messages} jobs in sent/; see {folder}/log")
    return Row(peer=f"maildropd, job directories, fsync, {connections} connections", messages=messages, seconds=seconds)


def _last_sent(log: Path) -> float:
    """Return when the last job was settled: after its record was durable."""
    events = map(json.loads, log.read_text().splitlines())
    times = [event["timestamp"] for event in events if event["event"] == "job.sent"]
    return datetime.fromisoformat(times[-1]).timestamp()


def _user() -> str:
    return getpass.getuser()


def _run(*words: str, stderr: object = None) -> None:
    subprocess.run([sys.executable, "-m", "maildrop", *words], check=True, stdout=subprocess.DEVNULL, stderr=stderr)  # type: ignore[call-overload]  # a file or None


def nullmailer(folder: Path, *, messages: int, body: bytes) -> Row | None:
    """Measure nullmailer-send on queue files; None where it can't be run (see ``make bench``)."""
    unpacked = os.environ.get("NULLMAILER", "")
    program = Path(unpacked, "usr/sbin/nullmailer-send").absolute()
    if not unpacked or not program.exists() or os.geteuid() != 0:
        return None
    queue = folder / "queue"
    for name in ("queue", "tmp", "failed"):
        (queue / name).mkdir(parents=True)
    os.mkfifo(queue / "trigger", 0o622)
    header = "From: ERP <erp@example.com>\nTo: Customer {0} <c{0}@example.org>\nSubject: Invoice {0}\n"
    header += "Date: Mon, 23 Nov 2026 08:00:00 +0000\nMessage-Id: <{0}@example.com>\n\n"
    for number in range(messages):
        envelope = f"erp@example.com\nc{number}@example.org\n\n"
        (queue / "queue" / f"{1_790_000_000 + number}.{number}").write_bytes(
            (envelope + header.format(number)).encode() + body
        )
    (folder / "etc").mkdir()
    with smtp_sink() as port:
        (folder / "etc" / "remotes").write_text(f"127.0.0.1 smtp --port={port}\n")
        (folder / "etc" / "me").write_text("bench.example.com\n")
        mounts = [queue, folder / "etc", Path(unpacked, "usr/lib/nullmailer").absolute()]
        binds = "".join(
            f"mkdir -p {target} && mount --bind {source} {target} && "
            for source, target in zip(mounts, _NULLMAILER_FOLDERS, strict=True)
        )
        started = time.monotonic()
        command = ["unshare", "--mount", "sh", "-c", f"{binds} exec {program}"]
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                wait_for(lambda: _is_empty(queue / "queue"))
                seconds = time.monotonic() - started
            finally:
                process.terminate()
    return Row(peer="nullmailer, finished messages", messages=messages, seconds=seconds)
