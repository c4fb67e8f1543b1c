"""``run``: the daemon in the foreground."""

from __future__ import annotations

import click

from maildrop import config, log
from maildrop.cli.common import config_file, with_config
from maildrop.daemon.service import run


@click.command("run", epilog="Example: maildropd run --config /etc/maildropd/maildropd.toml")
@with_config
@click.option(
    "--once", is_flag=True, help="Send all that can be sent now, then exit: 0 all sent, 65 some failed, 75 some wait."
)
def run_command(config_path: str | None, *, once: bool) -> int:
    """Run the daemon in the foreground.

    SIGTERM finishes what is on the wire, a second one ends it at once; SIGHUP reads the configuration again.
    """
    settings = config.load(config_file(config_path))
    log.set_up(form=settings.log_format, level=settings.log_level)
    return run(settings, once=once)
