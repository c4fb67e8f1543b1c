"""Memory and processor time of the real daemon, as the kernel counts them."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import time
from typing import TYPE_CHECKING

from tests.e2e.spools import envelope
from tests.e2e.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.daemons import Daemon
    from tests.e2e.servers import SmtpSink
    from tests.e2e.spools import SpoolFolder

    Figure = Callable[[str, object], None]

ATTACHMENT_OCTETS = 100_000_000
PEAK_KIB, IDLE_KIB = 60 * 1024, 50 * 1024
IDLE_SECONDS = float(os.environ.get("E2E_IDLE_SECONDS", "10"))  # two rescans; 'make crash' takes 20
IDLE_SHARE = 0.005
_MIB = 1024 * 1024


def test_hundred_megabytes(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    smtp_sink: Callable[..., SmtpSink],
    figure: Figure,
) -> None:
    """A mail with an attachment of 100 MB arrives identical; the daemon never has more than 60 MiB in memory."""
    sink = smtp_sink()
    spool = spool_factory(sink.port, intake={"max_message": "200MiB"})
    running = daemon(spool, traced=False).wait_started()
    at_start = running.peak_resident_kib()
    noise, digest = random.Random(4711), hashlib.sha256()
    folder = spool.build("large", {"envelope.toml": envelope("large"), "body.txt": "See attachment.\n"})
    (folder / "attachments").mkdir()
    with (folder / "attachments" / "large.bin").open("wb") as file:
        for start in range(0, ATTACHMENT_OCTETS, _MIB):
            octets = noise.randbytes(min(_MIB, ATTACHMENT_OCTETS - start))
            digest.update(octets)
            file.write(octets)
    began = time.monotonic()
    folder.rename(spool.path / "incoming" / "large")
    spool.wait_settled(["large"])
    seconds = time.monotonic() - began
    peak = running.peak_resident_kib()
    figure("peak resident, 100 MB attachment (MiB)", f"{peak / 1024:.1f}, {at_start / 1024:.1f} at the start")
    figure("sent in (s)", f"{seconds:.2f}")
    assert peak <= PEAK_KIB
    (path,) = sink.folder.iterdir()
    assert _attachment_of(path.read_bytes()) == (ATTACHMENT_OCTETS, digest.hexdigest())
    result = spool.answered("large")
    assert result["size"] > ATTACHMENT_OCTETS * 4 // 3


def _attachment_of(octets: bytes) -> tuple[int, str]:
    """Return size and digest of the one attachment in a dump."""
    header = octets.index(b"large.bin")
    start = octets.index(b"\n\n", header) + 2
    content = base64.b64decode(octets[start : octets.index(b"\n--", start)], validate=False)
    return len(content), hashlib.sha256(content).hexdigest()


def test_idle(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    smtp_sink: Callable[..., SmtpSink],
    figure: Figure,
) -> None:
    """With nothing to do and the default rescan it takes under 0.5 % of a core, and 50 MiB at most."""
    spool = spool_factory(smtp_sink().port)
    running = daemon(spool, traced=False).wait_started()
    names = [f"job-{number:02}" for number in range(50)]
    for name in names:  # not idle since birth: it has worked, and its sessions have to part
        spool.drop(name)
    spool.wait_settled(names)
    wait_for(lambda: len(running.found("job.sent")) == len(names), "all is said")
    before, began = running.cpu_seconds(), time.monotonic()
    time.sleep(IDLE_SECONDS)  # what is measured is that nothing happens
    share = (running.cpu_seconds() - before) / (time.monotonic() - began)
    resident = running.resident_kib()
    figure("idle, share of a core", f"{share:.3%}")
    figure("idle, resident (MiB)", f"{resident / 1024:.1f}")
    assert share < IDLE_SHARE
    assert resident <= IDLE_KIB
