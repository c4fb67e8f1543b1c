"""What several commands share: where the configuration is, opening the spool, printing data."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from maildrop import config
from maildrop.spool.layout import Spool

F = TypeVar("F", bound=Callable[..., Any])


def with_config(command: F) -> F:
    """Add ``--config FILE`` to a command; its value wins over the one before the command."""
    return click.option("--config", "config_path", metavar="FILE", help="Configuration file.")(command)


def config_file(config_path: str | None) -> str:
    """Return the configuration file that the person means."""
    outer = click.get_current_context().obj
    return config.find(config_path or (outer if isinstance(outer, str) else None))


def open_spool(config_path: str | None) -> Spool:
    """Open the configured spool; the secrets are not read."""
    document = config.read(config_file(config_path))
    return Spool.open(document.spool.path, volatile=document.spool.volatile, layout=document.settle.layout)


def print_json(data: Any) -> None:
    """Print data for a program."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=True))
