"""``init``: a spool and a starter configuration, with the modes and the ACL that producers and daemon need."""

from __future__ import annotations

import os

import click

from maildrop import config
from maildrop.cli.common import with_config
from maildrop.errors import CannotCreate, printable
from maildrop.schema import toml_string
from maildrop.spool.layout import init

_DEFAULT_SPOOL = "/var/spool/maildropd"

_STARTER = """\
# maildropd: see 'maildropd config' for every key with its default and meaning.

[spool]
path = {spool}

[relays.main]
host = "smtp.example.com"      # your provider's or company's mail server
# port = 587                   # 587 with STARTTLS (the default), 465 with tls = "implicit", 25 with tls = "none"

# [relays.main.auth]
# user = "reports@example.com"
# password_credential = "smtp-password"   # systemd: LoadCredential=smtp-password:/etc/maildropd/smtp-password
# password_file = "/etc/maildropd/smtp-password"
"""


@click.command("init", epilog="Example: maildropd init /var/spool/maildropd --user maildropd")
@click.argument("spool", required=False)
@with_config
@click.option("--user", metavar="USER", help="The daemon's user. Default: maildropd for root, else you.")
@click.option("--group", metavar="GROUP", help="Only members of GROUP may drop jobs (mode 1770 instead of 1777).")
def init_command(spool: str | None, config_path: str | None, user: str | None, group: str | None) -> None:
    """Make a spool and a starter configuration.

    A second time it mends what is amiss and says what it left alone. An existing configuration is never changed.
    """
    root = os.geteuid() == 0
    path = os.path.abspath(spool or _DEFAULT_SPOOL)
    for line in init(path, user=user, group=group):
        click.echo(line)
    _write_starter(_starter_path(config_path, root=root), path)


def _starter_path(config_path: str | None, *, root: bool) -> str:
    outer = click.get_current_context().obj
    named = config_path or outer or os.environ.get("MAILDROPD_CONFIG")
    if named:
        return os.path.abspath(named)
    if root:
        return config.DEFAULT_PATH
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(base, "maildropd", "maildropd.toml")


def _write_starter(path: str, spool: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(_STARTER.format(spool=toml_string(spool)))
    except FileExistsError:
        click.echo(f"{path}: exists, left alone")
    except OSError as error:
        raise CannotCreate(path, error.strerror or str(error), hint="name another file with --config FILE") from None
    else:
        click.echo(f"{path}: made; write your relay's host into it, then: maildropd run --config {printable(path)}")
