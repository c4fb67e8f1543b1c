#!/usr/bin/env python3
"""invoice.py [SPOOL]: mail an invoice with an attachment from Python; needs nothing but its standard library.

The job is built in SPOOL/tmp, synced, and renamed into SPOOL/incoming: it appears there whole or not at all, and it
survives a power cut from then on. Prints the job's name. Exit code 73: nothing was dropped, and why is on stderr.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path


def toml(value: str | list[str]) -> str:
    """Quote a value for TOML: JSON's strings and lists are TOML's too."""
    return json.dumps(value, ensure_ascii=False)


def write(path: Path, text: str) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def drop(spool: Path, *, number: int, to: list[str], lines: list[tuple[str, int, float]]) -> str:
    """Drop one invoice; return the job's name, under which the result comes back."""
    name = f"invoice-{number}-{time.time_ns()}"
    job = spool / "tmp" / name
    total = sum(count * price for _, count, price in lines)
    # Plain mkdir: tempfile.mkdtemp makes a folder that only its owner can enter, and the daemon is another user.
    job.mkdir()
    try:
        (job / "attachments").mkdir()
        rows = [f"{article};{count};{price:.2f}" for article, count, price in lines]
        write(job / "attachments" / f"invoice-{number}.csv", "\n".join(["article;count;price", *rows, ""]))
        write(job / "body.txt", f"Thank you for your order.\n\nInvoice {number}: € {total:.2f}, due in 30 days.\n")
        envelope = [
            f"from = {toml('Acme Tools, Invoicing <invoices@example.com>')}",
            f"to = {toml(to)}",
            f"subject = {toml(f'Invoice {number}: € {total:.2f}')}",
            f"meta = {{ document = {toml(f'INV-{number}')} }}",
        ]
        write(job / "envelope.toml", "\n".join([*envelope, ""]))
        job.rename(spool / "incoming" / name)
    except BaseException:
        shutil.rmtree(job, ignore_errors=True)
        raise
    folder = os.open(spool / "incoming", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)
    return name


def main() -> int:
    """Drop the example invoice."""
    spool = Path(sys.argv[1] if len(sys.argv) > 1 else "/var/spool/maildropd")
    order = [("Torque wrench", 2, 189.0), ("Bit set", 5, 39.0)]
    try:
        print(drop(spool, number=4711, to=["Müller, Zoë <zoe.mueller@example.org>"], lines=order))
    except OSError as error:
        print(f"invoice.py: {error}", file=sys.stderr)
        return 73
    return 0


if __name__ == "__main__":
    sys.exit(main())
