"""2,000 mails of 2 KB on loopback: how many a second, beside nullmailer in the same run."""

from __future__ import annotations

import os
import statistics
from functools import partial
from pathlib import Path

from tests.benchmarks.peers import Row, maildropd, nullmailer

MESSAGES = int(os.environ.get("BENCH_MESSAGES", "2000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
REQUIRED_RATIO = 3.0
_BODY = (b"The quick brown fox jumps over the lazy dog, and the invoice is attached to nothing.\n" * 25)[:2048]


def test_small_mails(tmp_path: Path) -> None:
    """Durable delivery of small jobs is at least three times as fast as nullmailer's."""
    rows: dict[str, list[Row]] = {}
    for number in range(ROUNDS):  # alternating, so that a busy moment of the machine hits both
        for name, measure in (("nullmailer", nullmailer), ("8", maildropd), ("20", partial(maildropd, connections=20))):
            folder = tmp_path / f"{name}-{number}"
            folder.mkdir()
            row = measure(folder, messages=MESSAGES, body=_BODY)
            if row is not None:
                rows.setdefault(row.peer, []).append(row)
    medians = {peer: statistics.median(row.rate for row in found) for peer, found in rows.items()}
    theirs = next((rate for peer, rate in medians.items() if peer.startswith("nullmailer")), None)
    print(f"\n{MESSAGES} mails of {len(_BODY)} octets, median of {ROUNDS}:")
    for peer, rate in medians.items():
        spread = sorted(round(row.rate) for row in rows[peer])
        ratio = f"{rate / theirs:5.2f} times nullmailer" if theirs else ""
        print(f"  {peer:52} {rate:6.0f} mails/s {ratio:24} {spread}")
    if theirs is None:
        print("  nullmailer: not measured (needs root and 'make bench', which fetches it)")
        return
    best = max(rate for peer, rate in medians.items() if peer.startswith("maildropd"))
    assert best / theirs >= REQUIRED_RATIO
