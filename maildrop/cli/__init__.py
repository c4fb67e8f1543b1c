"""What a person types: ``maildropd``. One file per group of commands, imported only when its command is called.

Data goes to standard output, talk to standard error; exit codes are those of sysexits(3); every error ends with the
next thing to try.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from maildrop import __version__
from maildrop.errors import MaildropError, did_you_mean, printable

_COMMANDS = {  # command: the module that has it, and what it does
    "init": ("founding", "Make a spool and a starter configuration."),
    "run": ("serve", "Run the daemon in the foreground."),
    "demo": ("demo", "See a whole run with nothing else: spool, SMTP sink, example jobs, daemon."),
    "check": ("check", "Try configuration, spool and relays; name what is missing."),
    "lint": ("compose", "Validate jobs, send nothing."),
    "render": ("compose", "Print the exact message that would be sent."),
    "explain": ("explain", "Tell a job's route, relays, limits, and what comes next."),
    "submit": ("submit", "Make a job."),
    "status": ("queue", "Show counts, relays and the oldest job."),
    "list": ("queue", "List jobs with next attempt and reason."),
    "show": ("queue", "Show one job in full."),
    "retry": ("queue", "Send failed or deferred jobs again, now, to who has not got it."),
    "config": ("settings", "Print the effective configuration."),
    "schema": ("settings", "Print a JSON Schema, for editors."),
}


class _Lazy(click.Group):
    """A group whose commands are imported when they are called: start-up time matters to scripts."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # likewise
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"maildrop.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS:
            hint = did_you_mean(args[0], _COMMANDS) or "see 'maildropd --help'"
            raise click.UsageError(f"there is no command '{args[0]}'; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # likewise
        with formatter.section("Commands"):
            formatter.write_dl([(name, what) for name, (_, what) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="maildropd")
@click.option("--config", "config_path", metavar="FILE", help="Configuration file; also after the command.")
@click.pass_context
def group(ctx: click.Context, config_path: str | None) -> None:
    """Drop a folder, it becomes an e-mail, and the folder comes back with the answer."""
    ctx.obj = config_path


def main() -> None:
    """Run the command; end the process with an exit code of sysexits(3)."""
    try:
        code = group.main(prog_name="maildropd", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        code = 64
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except click.ClickException as error:
        error.show()
        code = 64
    except MaildropError as error:
        for line in str(error).splitlines():
            click.echo(f"maildropd: {line}", err=True)
        code = error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away: nothing more to say
        code = 0
    except PermissionError as error:
        where = printable(str(error.filename or "system"))
        click.echo(f"maildropd: {where}: {error.strerror}; run it as root or as the daemon's user", err=True)
        code = 77
    except OSError as error:
        where = printable(str(error.filename or "system"))
        click.echo(f"maildropd: {where}: {error.strerror or error}; see 'dmesg' and 'df'", err=True)
        code = 75
    sys.exit(code if isinstance(code, int) else 0)
