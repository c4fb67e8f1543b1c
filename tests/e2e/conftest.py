"""Fixtures of the end-to-end tests: a spool, the real daemon, real servers. A failed test says where its spool lies."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemons import Daemon
from tests.e2e.servers import ScriptedServer, SmtpSink
from tests.e2e.spools import SpoolFolder


@pytest.fixture
def spool_factory(tmp_path: Path) -> Iterator[Callable[..., SpoolFolder]]:
    """Return a function that makes a spool and its configuration for a server on this port."""
    made: list[SpoolFolder] = []

    def make(port: int, **tables: Any) -> SpoolFolder:
        folder = tmp_path / f"daemon-{len(made)}"
        folder.mkdir()
        spool = SpoolFolder(folder)
        spool.configure(port, **tables)
        made.append(spool)
        return spool

    yield make
    for spool in made:
        sys.stdout.write(f"spool: {spool.path} {spool.where()}\n"[:4000])  # shown on failure; pytest keeps the folder


@pytest.fixture
def daemon() -> Iterator[Callable[..., Daemon]]:
    """Return a function that starts the daemon; at the end of the test it is gone, and it never stumbled."""
    started: list[Daemon] = []

    def start(spool: SpoolFolder, *options: str, **settings: Any) -> Daemon:
        one = Daemon(spool, *options, **settings)
        started.append(one)
        return one

    yield start
    for one in started:
        one.end()
        sys.stdout.writelines(f"{event}\n" for event in one.events[-40:])
    for one in started:
        assert one.noise == [], "the daemon wrote what is no event"
        assert one.found("job.error") == []


@pytest.fixture
def smtp_sink(tmp_path: Path) -> Iterator[Callable[..., SmtpSink]]:
    """Return a function that starts Postfix's smtp-sink."""
    started: list[SmtpSink] = []

    def start(*options: str, port: int | None = None) -> SmtpSink:
        started.append(SmtpSink(tmp_path / f"sink-{len(started)}", *options, port=port))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def scripted_server() -> Iterator[Callable[..., ScriptedServer]]:
    """Return a function that starts a server which answers as its script says."""
    started: list[ScriptedServer] = []

    def start(*arguments: Any, **settings: Any) -> ScriptedServer:
        started.append(ScriptedServer(*arguments, **settings))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str, object], None]:
    """Return a function that notes what was measured: in the report, and on standard output (``pytest -s`` or -rP)."""

    def note(name: str, value: object) -> None:
        record_property(name, value)
        sys.stdout.write(f"\n{name}: {value}\n")

    return note
