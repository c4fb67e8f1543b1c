"""A spool and its configuration in a temporary folder, as a person would make them, and what lies in it."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from tests.e2e.waiting import DEADLINE_SECONDS, wait_for

STATES = ("incoming", "active", "deferred", "held", "sent", "failed")
PLAIN = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")  # without these a child is not traced: figures are honest


def environment(*, traced: bool = True, **extra: str) -> dict[str, str]:
    """Return the environment for a program under test; not ``traced`` means at full speed, without coverage."""
    kept = {key: value for key, value in os.environ.items() if traced or key not in PLAIN}
    for key in ("NOTIFY_SOCKET", "JOURNAL_STREAM", "MAILDROPD_CONFIG"):
        kept.pop(key, None)
    return kept | extra


class SpoolFolder:
    """``path`` is the spool, ``config`` the configuration file; producers' ways are methods."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "spool"
        self.config = folder / "maildropd.toml"
        self.command("init", str(self.path), "--user", getpass.getuser())

    def command(
        self, *words: str, code: int | None = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``maildropd`` to its end; ``code`` is the exit code that is expected, None for any."""
        done = subprocess.run(
            [sys.executable, "-m", "maildrop", "--config", str(self.config), *words],
            env=environment() if env is None else env,
            timeout=DEADLINE_SECONDS,
            capture_output=True,
            text=True,
            check=False,
        )
        assert code is None or done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def configure(self, port: int, *, relay: Mapping[str, Any] | None = None, **tables: Any) -> None:
        """Write the configuration: one relay on loopback, and whatever else the test wants said."""
        document: dict[str, Any] = {
            "spool": {"path": str(self.path), "volatile": True},
            "relays": {"sink": {"host": "127.0.0.1", "port": port, "tls": "none"} | dict(relay or {})},
            "log": {"format": "json"},
        }
        for name, table in tables.items():
            document[name] = document.get(name, {}) | dict(table) if isinstance(table, Mapping) else table
        temporary = self.config.with_suffix(".new")
        temporary.write_bytes(tomli_w.dumps(document).encode())
        temporary.rename(self.config)

    # What lies there

    def names(self, state: str) -> set[str]:
        """Return the names in a folder."""
        return set(os.listdir(self.path / state))

    def where(self) -> dict[str, list[str]]:
        """Return for each job the folders that it is in; more than one is a fault."""
        found: dict[str, list[str]] = {}
        for state in STATES:
            for name in (one for one in self.names(state) if not one.startswith(".")):
                found.setdefault(name.removesuffix(".eml"), []).append(state)
        return found

    def result(self, name: str, state: str = "sent") -> dict[str, Any]:
        """Return ``result.toml`` of a job."""
        return tomllib.loads((self.path / state / name / "result.toml").read_text("utf-8"))

    def answered(self, name: str, state: str = "sent") -> dict[str, Any]:
        """Return the result once the relay's reply is in it, which comes a moment after the move."""

        def look() -> dict[str, Any] | None:
            result = self.result(name, state)
            words = [one for one in result.get("recipients", []) if one["status"] == "delivered" and "code" not in one]
            return None if words else result

        return wait_for(look, f"the reply's words in {state}/{name}/result.toml")

    def wait_settled(self, names: Collection[str], state: str = "sent", *, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until all these jobs are in ``state``."""
        wanted = set(names)

        def look() -> bool:
            return wanted <= self.names(state)

        try:
            wait_for(look, f"{len(wanted)} jobs in {state}/", seconds=seconds)
        except AssertionError:
            missing = {name: self.where().get(name, ["nowhere"]) for name in sorted(wanted - self.names(state))}
            raise AssertionError(f"not in {state}/ within {seconds:g} s: {missing}") from None

    # How jobs get there

    def build(self, name: str, files: Mapping[str, str | bytes], *, below: str = "tmp") -> Path:
        """Write a job's files into ``below``/NAME."""
        folder = self.path / below / name
        for relative, content in files.items():
            place = folder / relative
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    def drop(self, name: str, files: Mapping[str, str | bytes] | None = None, **keys: Any) -> None:
        """Drop a job by renaming it in: these files, or a small mail with these envelope keys."""
        self.build(name, files if files is not None else small_job(name, **keys)).rename(self.path / "incoming" / name)

    def copy_in(self, source: Path) -> None:
        """Copy a job's folder beside incoming/ and rename it in."""
        shutil.copytree(source, self.path / "tmp" / source.name)
        (self.path / "tmp" / source.name).rename(self.path / "incoming" / source.name)


def envelope(name: str, **keys: Any) -> str:
    """Return an envelope whose recipient and ``X-Job`` tell the job's name."""
    document = {
        "from": "Reports <reports@example.com>",
        "to": f"{name}@example.org",
        "subject": f"Job {name}",
        "headers": {"X-Job": name},
    } | keys
    return tomli_w.dumps(document)


def small_job(name: str, **keys: Any) -> dict[str, str | bytes]:
    """Return the files of the smallest job."""
    return {"envelope.toml": envelope(name, **keys), "body.txt": body_of(name)}


def body_of(name: str) -> str:
    """Return a text that shows when it is cut off."""
    return f"The first line of {name}.\n.A line with a dot.\nThe last line of {name}.\n"


def finished_message(name: str) -> bytes:
    """Return a finished message for one recipient."""
    text = body_of(name).replace("\n", "\r\n")
    return (
        f"From: Scanner <scanner@example.com>\r\nTo: {name}@example.org\r\nSubject: Job {name}\r\nX-Job: {name}\r\n"
        f"Date: Mon, 23 Nov 2026 08:00:00 +0000\r\nMessage-ID: <{name}@example.com>\r\n\r\n{text}"
    ).encode()
