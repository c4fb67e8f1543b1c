"""The long form of the reading-back: a million generated messages, each read by three parsers that know nothing of us.

    python -m tests.fuzz.fuzz_mail [--messages 1000000] [--processes 0] [--first-seed 0] [--keep build/fuzz-mail]

Every message has a seed of its own, so a violation is repeated with ``--first-seed SEED --messages 1``. What went wrong
is kept in a folder: the job, the message and the violations. The last line is the figure: how many, on which Python, in
how many seconds, with how many violations; the exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random

from tests.fuzz.mail.jobs import Job, generate
from tests.fuzz.mail.opinions import SecondParser, missing
from tests.fuzz.mail.trial import check, composed

_BATCH = 1000  # seeds that one process does with one second parser: a new one costs 0.2 s
_PROGRESS_SECONDS = 10.0
_MOST_KEPT = 100  # violations; more of them are only counted


def run_batch(seeds: range, keep: str) -> int:
    """Try the messages of these seeds; returns how many are wrong, each of which was written to ``keep``."""
    wrong = 0
    with SecondParser() as second:
        for seed in seeds:
            job = generate(Random(seed))
            try:
                _, found = check(job, second)
            except Exception:
                found = [traceback.format_exc()]
            if found:
                wrong += 1
                _keep(Path(keep) / str(seed), job, found)
    return wrong


def _keep(folder: Path, job: Job, found: list[str]) -> None:
    """Write the job as a producer would drop it, the message beside it, and what is wrong."""
    if folder.parent.is_dir() and len(list(folder.parent.iterdir())) >= _MOST_KEPT:
        return
    for name, octets in {"envelope.toml": job.envelope, **job.files}.items():
        path = folder / "job" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
    (folder / "violations.txt").write_text("\n".join(found) + "\n", "utf-8", "backslashreplace")
    try:
        (folder / "message.eml").write_bytes(composed(job)[1])
    except Exception as error:
        (folder / "message.txt").write_text(f"{error}\n", "utf-8", "backslashreplace")
    sys.stdout.write(f"seed {folder.name}: {found[0].strip().splitlines()[-1][:200]} (kept in {folder})\n")
    sys.stdout.flush()


def batches(first: int, messages: int) -> Iterator[range]:
    """Yield the seeds in pieces."""
    for start in range(first, first + messages, _BATCH):
        yield range(start, min(start + _BATCH, first + messages))


def run(messages: int, processes: int, first: int, keep: str) -> int:
    """Try so many messages; prints progress and the figure, returns the number of violations."""
    begin = shown = time.monotonic()
    done = wrong = 0
    pieces = list(batches(first, messages))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for piece, bad in zip(pieces, pool.map(partial(run_batch, keep=keep), pieces), strict=True):
            done += len(piece)
            wrong += bad
            now = time.monotonic()
            if now - shown >= _PROGRESS_SECONDS:
                shown = now
                left = (now - begin) / done * (messages - done)
                sys.stdout.write(f"{done} messages, {wrong} violations, {left:.0f} s to go\n")
                sys.stdout.flush()
    seconds = time.monotonic() - begin
    sys.stdout.write(
        f"{done} messages (seeds {first} to {first + messages - 1}) in {seconds:.0f} s, {processes} processes, "
        f"{platform.python_implementation()} {platform.python_version()}: {wrong} violations\n"
    )
    return wrong


def main() -> int:
    """Read the arguments, run, and return the exit code."""
    parser = argparse.ArgumentParser(description="Generate messages and read them back with three parsers.")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=0, help="0: one for each core")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--keep", default="build/fuzz-mail", help="folder for what went wrong")
    chosen = parser.parse_args()
    lack = missing()
    if lack:
        sys.stderr.write(f"{lack}\n")
        return 69
    processes = chosen.processes or os.cpu_count() or 1
    return 1 if run(chosen.messages, processes, chosen.first_seed, chosen.keep) else 0


if __name__ == "__main__":
    sys.exit(main())
