"""A relay 20 ms away: how near to its limit, connections / round trip, beside `smtplib` in the same run."""

from __future__ import annotations

import os
import smtplib
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.delay import far_away
from tests.benchmarks.peers import Row, maildropd, smtp_sink

ROUND_TRIP_SECONDS = 0.020
MESSAGES = int(os.environ.get("BENCH_MESSAGES", "2000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
REQUIRED_SHARE = 0.60
REQUIRED_RATIO = 3.0
REQUIRED_RATIO_OF_ONE = 2.5
_BODY = (b"The quick brown fox jumps over the lazy dog, and the invoice is attached to nothing.\n" * 25)[:2048]


def with_smtplib(*, threads: int, messages: int) -> Row:
    """Measure `smtplib` with a session kept for each thread: what a careful program without maildropd does."""
    with smtp_sink() as sink, far_away(sink, round_trip_seconds=ROUND_TRIP_SECONDS) as port:
        started = time.monotonic()

        def work(share: int) -> None:
            with smtplib.SMTP("127.0.0.1", port, local_hostname="bench.example") as session:
                for number in range(share):
                    session.sendmail("erp@example.com", [f"c{number}@example.org"], b"Subject: x\r\n\r\n" + _BODY)

        workers = [threading.Thread(target=work, args=(messages // threads,)) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return Row(peer=f"smtplib, {threads} threads", messages=messages, seconds=time.monotonic() - started)


def median_rates(measures: dict[str, Callable[[int], Row]]) -> dict[str, float]:
    """Measure alternately; return the median rate of each."""
    rates: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(ROUNDS):
        for name, measure in measures.items():
            rates[name].append(measure(number).rate)
    for name, found in rates.items():
        print(f"  {name:32} {statistics.median(found):6.0f} mails/s  {sorted(map(round, found))}")
    return {name: statistics.median(found) for name, found in rates.items()}


def test_a_relay_20_ms_away(tmp_path: Path) -> None:
    """Twenty connections come near to one message for each round trip, and so does one alone."""

    def ours(connections: int, messages: int) -> Callable[[int], Row]:
        def measure(number: int) -> Row:
            folder = tmp_path / f"{connections}-{number}"
            folder.mkdir()
            return maildropd(
                folder, messages=messages, body=_BODY, connections=connections, round_trip_seconds=ROUND_TRIP_SECONDS
            )

        return measure

    few = MESSAGES // 10
    print(f"\n{MESSAGES} mails of {len(_BODY)} octets, {few} over one connection; median of {ROUNDS}:")
    rates = median_rates(
        {
            "smtplib, 20 threads": lambda _number: with_smtplib(threads=20, messages=MESSAGES),
            "maildropd, 20 connections": ours(20, MESSAGES),
            "smtplib, 1 thread": lambda _number: with_smtplib(threads=1, messages=few),
            "maildropd, 1 connection": ours(1, few),
        }
    )
    theirs, twenty, theirs_of_one, one = rates.values()
    limit = 20 / ROUND_TRIP_SECONDS
    print(f"  {twenty / limit:.0%} of connections / round trip, {twenty / theirs:.1f} times smtplib;", end=" ")
    print(f"over one connection {one / theirs_of_one:.1f} times")
    assert twenty / limit >= REQUIRED_SHARE
    assert twenty / theirs >= REQUIRED_RATIO
    assert one / theirs_of_one >= REQUIRED_RATIO_OF_ONE
