"""``check``: is everything set up right? Configuration, spool, and each relay up to the point where mail would go.

Nothing is sent or changed, and a running daemon is not disturbed. What is looked at is known to `maildrop.status`; here
it is gathered and becomes an exit code, `maildrop.cli.report` prints it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import click

from maildrop import config
from maildrop.cli.common import config_file, with_config
from maildrop.cli.report import Report, Waiting
from maildrop.config.document import Document
from maildrop.config.relays import relay_of
from maildrop.errors import ConfigurationError, Problem, UsageError, did_you_mean, printable
from maildrop.status.findings import CONFIGURATION, NOT_PERMITTED, Finding, failed, warned
from maildrop.status.forecast import state_of
from maildrop.status.probe import Suspect, probe_all
from maildrop.status.soundness import inspect, news_of

_DENIED = os.strerror(errno.EACCES)
_NO_SERVICE = "not started by systemd"  # the words of `maildrop.config.secrets` about a credential
_AS_SERVICE = (
    "as root, while the service runs: CREDENTIALS_DIRECTORY=/run/credentials/maildropd.service maildropd check"
)
_AS_DAEMON = "run the check as root or as the daemon's user"


@click.command("check", epilog="Example: maildropd check --timeout 10")
@click.argument("relays", nargs=-1)
@with_config
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
@click.option(
    "--timeout", "step_seconds", type=click.FloatRange(min=0.1), default=20.0, show_default=True, metavar="SECONDS",
    help="How long each step at a relay may take.",
)  # fmt: skip
def check_command(relays: tuple[str, ...], config_path: str | None, *, as_json: bool, step_seconds: float) -> int:
    """Try configuration, spool and relays (all, or those named), and name the step that is missing.

    No mail is sent, and a daemon that runs goes on. Exit code: 0 all fine, or warnings only; else the first that
    applies of 78 (configuration), 77 (permission), 69 (a relay is not available), 75 (no space).
    """
    path = config_file(config_path)
    read = _read(path)
    if read.document is not None:
        _refuse_unknown(relays, read.document.relays)
    report = Report(as_json=as_json)
    report.add("configuration", printable(path), read.findings)
    news: Mapping[str, object] = {}
    if read.document is not None:
        spool = read.document.spool
        findings = list(inspect(spool.path, volatile=spool.volatile, min_free=spool.min_free))
        if not any(finding.step == "folders" and finding.hint for finding in findings):  # else opening might mend it
            daemon, news = news_of(spool.path, volatile=spool.volatile, layout=read.document.settle.layout)
            findings.append(daemon)
        report.add("spool", printable(spool.path), findings)
    if read.config is not None:
        names = dict.fromkeys(relays) or read.config.relays
        suspects = [_suspect(name, read.config, read.secrets.get(name), news) for name in names]
        with Waiting(quiet=as_json) as waiting:
            for name, findings in probe_all(suspects, step_seconds=step_seconds, tell=waiting.tell):
                waiting.clear()
                report.add("relay", name, findings)
    return report.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """As much of the configuration as can be used, what there is to say about it, and each relay's missing secret."""

    findings: tuple[Finding, ...]
    document: Document | None = None
    config: config.Config | None = None
    secrets: Mapping[str, Finding] = field(default_factory=dict)


def _read(path: str) -> _Read:
    """Read it with the secrets, else without them, else only as far as the spool."""
    try:
        return _fine(path, config.load(path), (), {})
    except ConfigurationError as error:
        problems = error.problems
    try:
        whole = config.load(path, secrets=False)
    except ConfigurationError:
        findings = tuple(_problem("problem", _without(path, one), one) for one in problems)
        return _Read(findings=findings, document=_document(path))
    secrets: dict[str, Finding] = {}
    others: list[Finding] = []
    for problem in problems:
        key = problem.where.removeprefix(f"{path}: ")
        name = next((name for name in whole.relays if key.startswith(f"relays.{name}.")), None)
        if name is None:
            others.append(_secret(key.partition(".")[0], key, problem))
        else:
            step = key.removeprefix(f"relays.{name}.").partition(".")[0]  # auth, or client_key
            secrets.setdefault(name, _secret(step, key, problem))
    return _fine(path, _with_secrets(path, whole, without=secrets), tuple(others), secrets)


def _with_secrets(path: str, whole: config.Config, *, without: Mapping[str, Finding]) -> config.Config:
    """Give the relays whose secrets can be read their credentials: another's fault is not theirs."""

    def nothing_new(*_problem: str) -> None:
        """All problems are known."""

    tables = config.read(path).relays
    relays = {
        name: settings if name in without
        else relay_of(name, tables[name], settings.hostname, judged=frozenset(), secrets=True, problem=nothing_new)
        for name, settings in whole.relays.items()
    }  # fmt: skip
    return replace(whole, relays=relays)


def _fine(path: str, whole: config.Config, others: tuple[Finding, ...], secrets: Mapping[str, Finding]) -> _Read:
    routes = len(whole.mailing.routes)
    what = f"relays {', '.join(whole.relays)}; " + (f"{routes} route{'s'[: routes > 1]}" if routes else "no routes")
    document = config.read(path)
    return _Read(findings=(Finding(step="keys", what=what), *others), document=document, config=whole, secrets=secrets)


def _document(path: str) -> Document | None:
    try:
        return config.read(path)
    except ConfigurationError:
        return None


def _without(path: str, problem: Problem) -> str:
    """Return a problem without the file, whose name stands above it."""
    return f"{problem.where}: {problem.what}".removeprefix(f"{path}: ")


def _secret(step: str, key: str, problem: Problem) -> Finding:
    """Tell why there is no secret: this user can't get at it, or nobody can."""
    return _problem(step, f"not tried: {key}: {problem.what}", problem)


def _problem(step: str, what: str, problem: Problem) -> Finding:
    """Tell a problem of the configuration, which may be only that this user is not the daemon's."""
    if _NO_SERVICE in problem.what:
        return failed(step, what, _AS_SERVICE, code=NOT_PERMITTED)
    if _DENIED in problem.what:
        return failed(step, what, _AS_DAEMON, code=NOT_PERMITTED)
    return failed(step, what, problem.hint, code=CONFIGURATION)


def _refuse_unknown(names: Sequence[str], known: Mapping[str, object]) -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
            raise UsageError("check", f"no relay '{printable(name)}' is configured", hint=hint)


def _suspect(name: str, whole: config.Config, secret: Finding | None, news: Mapping[str, object]) -> Suspect:
    notes = (*_held(name, news), *_sender(name, whole))
    return Suspect(settings=whole.relays[name], secret=secret, notes=tuple(notes))


def _held(name: str, news: Mapping[str, object]) -> Iterator[Finding]:
    """Tell what the running daemon says of a relay, if that is not good."""
    relays = news.get("relays")
    for relay in relays if isinstance(relays, list) else ():
        if isinstance(relay, dict) and relay.get("name") == name and relay.get("state") not in (None, "healthy"):
            yield warned("daemon", f"the daemon has it as {state_of(relay)}", "it is tried again by itself")


def _sender(name: str, whole: config.Config) -> Iterator[Finding]:
    """Tell whether the default author is one that the account may be expected to send as."""
    author, accounts = whole.mailing.defaults.author, whole.mailing.accounts
    if author is None or name not in accounts.logins:
        return
    stranger = accounts.stranger(author.address, name)
    if stranger is not None:
        yield warned("sender", f"defaults.from {stranger.what}", stranger.hint)
