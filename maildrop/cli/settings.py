"""``config`` and ``schema``: what is in force, and what may be written."""

from __future__ import annotations

import click

from maildrop import config
from maildrop.cli.common import config_file, print_json, with_config


@click.command("config", epilog="Example: maildropd config")
@with_config
def config_command(config_path: str | None) -> None:
    """Print the effective configuration with every key's meaning; never passwords, only where they come from."""
    path = config_file(config_path)
    config.load(path, secrets=False)
    click.echo(f"# {path}\n{config.describe(config.read(path))}", nl=False)


@click.command("schema", epilog="Example: maildropd schema envelope > envelope.schema.json")
@click.argument("document", type=click.Choice(["envelope", "config", "result"]))
def schema_command(document: str) -> None:
    """Print the JSON Schema of envelope.toml, maildropd.toml or result.toml, so that editors complete and check."""
    if document == "envelope":
        from maildrop.mail.envelope import envelope_schema  # noqa: PLC0415  # only what is asked for is imported

        print_json(envelope_schema())
    elif document == "result":
        from maildrop.spool.resultschema import result_schema  # noqa: PLC0415  # likewise

        print_json(result_schema())
    else:
        from maildrop.config.document import config_schema  # noqa: PLC0415  # likewise

        print_json(config_schema())
