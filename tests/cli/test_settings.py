"""``config``, ``schema``, ``init`` and ``run --once``: what is in force, what may be written, the first steps."""

from __future__ import annotations

import json
import os
import pwd
import stat
import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from maildrop import config
from maildrop.spool.layout import State
from maildrop.spool.record import Outcome

ROOT = Path(__file__).resolve().parents[2]
ENVELOPES = sorted((ROOT / "examples" / "jobs").glob("*/envelope.toml"))
BAD = {"broken"}


def plain(value: Any) -> Any:
    """Return TOML values as an editor's checker sees them: times are text."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value.isoformat() if isinstance(value, date | datetime | time) else value


def faults(schema: Any, document: Mapping[str, Any]) -> list[str]:
    """Return what a JSON Schema checker says about a document."""
    Draft202012Validator.check_schema(schema)
    checker = Draft202012Validator(schema, format_checker=FormatChecker())
    return [error.message for error in checker.iter_errors(plain(document))]


@pytest.fixture
def schema(maildropd: Any) -> Any:
    """Return a function that prints a schema."""

    def load(name: str) -> Any:
        done = maildropd("schema", name)
        assert (done.code, done.err) == (0, "")
        return json.loads(done.out)

    return load


@pytest.mark.parametrize("path", ENVELOPES, ids=lambda path: path.parent.name)
def test_the_examples_fit_the_envelope_schema(path: Path, schema: Any) -> None:
    """Every good example passes an editor's check, and the broken one does not."""
    document = tomllib.loads(path.read_text("utf-8"))
    assert bool(faults(schema("envelope"), document)) == (path.parent.name in BAD)


@pytest.mark.parametrize(
    "document",
    [
        {"form": "a@b.example"},
        {"to": 5},
        {"priority": 10},
        {"partial": "some"},
        {"attachments": [{"name": "x"}]},
        {"importance": "urgent"},
    ],
)
def test_the_envelope_schema_finds_mistakes(document: dict[str, Any], schema: Any) -> None:
    """An editor marks unknown keys, wrong types and values that do not exist."""
    assert faults(schema("envelope"), document)


def test_the_envelope_schema_takes_what_is_allowed(schema: Any) -> None:
    """Addresses as text, list or table, durations and times, attachments by name or as table."""
    document = {
        "from": {"name": "A", "address": "a@b.example"}, "to": ["a@b.example", {"address": "c@d.example"}],
        "expires": "2h", "not_before": datetime.fromisoformat("2026-11-23T08:00:00+00:00"),
        "attachments": ["a.pdf", {"path": "b.pdf", "name": "c.pdf"}], "headers": {"X-A": ["1", "2"], "X-B": "3"},
        "relay": ["main"], "meta": {"x": 1},
    }  # fmt: skip
    assert faults(schema("envelope"), document) == []


def test_the_example_configuration_fits_its_schema(schema: Any) -> None:
    """``examples/maildropd.toml`` passes an editor's check."""
    document = tomllib.loads((ROOT / "examples" / "maildropd.toml").read_text("utf-8"))
    assert faults(schema("config"), document) == []


@pytest.mark.parametrize(
    "document",
    [{}, {"spool": {"path": "/s"}, "relays": {"main": {"hots": "x"}}},
     {"spool": {"path": "/s"}, "relays": {"main": {"host": "x", "tls": "ssl"}}}],
)  # fmt: skip
def test_the_configuration_schema_finds_mistakes(document: dict[str, Any], schema: Any) -> None:
    """A missing table, an unknown key and a wrong value are marked."""
    assert faults(schema("config"), document)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_real_result_fits_its_schema(outcome: Outcome, site: Any, schema: Any) -> None:
    """What the daemon writes passes the schema that programs read it with."""
    next_attempt = datetime.fromisoformat("2026-11-23T09:00:00+00:00") if outcome is Outcome.DEFERRED else None
    result = site.result("job", outcome, next_attempt=next_attempt, digest="sha256:0", meta={"a": [1]})
    path = site.job(State.FAILED, "job", result)
    assert faults(schema("result"), tomllib.loads((path / "result.toml").read_text("utf-8"))) == []


def test_the_result_schema_finds_mistakes(schema: Any) -> None:
    """A record without its outcome is none."""
    assert faults(schema("result"), {"job": "x"})
    assert faults(schema("result"), {"job": "x", "outcome": "lost", "reason": "", "claimed": "2026-11-23T08:00:00Z"})


def test_config_prints_a_configuration(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """What ``config`` prints names its file and is itself a configuration with the same meaning."""
    done = maildropd("config")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"# {site.config}\n[spool]\n")
    again = tmp_path / "again.toml"
    again.write_text(done.out, "utf-8")
    assert config.load(str(again)).relays == config.load(str(site.config)).relays


def test_config_never_prints_a_password(site: Any, maildropd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the place is shown, and a missing secret is no reason to refuse."""
    monkeypatch.setenv("RELAY_PASSWORD", "hunter2-and-more")
    site.configure('[relays.main.auth]\nuser = "me"\npassword_env = "RELAY_PASSWORD"\nplaintext = true')
    shown = maildropd("config")
    assert 'password_env = "RELAY_PASSWORD"' in shown.out
    assert "hunter2" not in shown.out + shown.err
    monkeypatch.delenv("RELAY_PASSWORD")
    assert maildropd("config").code == 0
    assert maildropd("run").code == 78


def test_config_refuses_what_run_would(site: Any, maildropd: Any) -> None:
    """A route to a relay that is not there is told here already."""
    site.configure('[[routes]]\nrelays = "mian"')
    done = maildropd("config")
    assert done.code == 78
    assert "did you mean 'main'?" in done.err


# init

ME = pwd.getpwuid(os.geteuid()).pw_name


def test_init_makes_spool_and_configuration(maildropd: Any, tmp_path: Path) -> None:
    """The starter configuration works at once: it is valid, and names the spool that was made."""
    spool, file = tmp_path / "new spool", tmp_path / "etc" / "maildropd.toml"
    done = maildropd("init", spool, "--config", file, "--user", ME)
    assert (done.code, done.err) == (0, "")
    assert sorted(os.listdir(spool)) == ["active", "deferred", "failed", "held", "incoming", "sent", "tmp"]
    assert stat.S_IMODE((spool / "incoming").stat().st_mode) == 0o1777
    assert config.read(str(file)).spool.path == str(spool)
    assert f"then: maildropd run --config {file}" in done.out
    assert maildropd("config", "--config", file).code == 0


def test_init_a_second_time_leaves_alone_and_mends(maildropd: Any, tmp_path: Path) -> None:
    """0 again; the configuration is never touched, a mode that is off is mended, the rest left as it is."""
    spool, file = tmp_path / "spool", tmp_path / "maildropd.toml"
    maildropd("init", spool, "--config", file, "--user", ME)
    file.write_text("mine\n", "utf-8")
    (spool / "incoming").chmod(0o700)
    done = maildropd("init", spool, "--config", file, "--user", ME)
    assert (done.code, done.err) == (0, "")
    assert file.read_text("utf-8") == "mine\n"
    assert f"{file}: exists, left alone" in done.out
    assert f"{spool}/incoming: mode 1777" in done.out
    assert f"{spool}/sent: left as it is" in done.out
    assert stat.S_IMODE((spool / "incoming").stat().st_mode) == 0o1777


def test_where_init_puts_the_configuration(maildropd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--config``, else the environment, else root's folder in /etc, else the user's configuration folder."""
    monkeypatch.setenv("MAILDROPD_CONFIG", str(tmp_path / "env.toml"))
    maildropd("init", tmp_path / "a", "--user", ME)
    assert (tmp_path / "env.toml").exists()
    maildropd("--config", tmp_path / "before.toml", "init", tmp_path / "b", "--user", ME)
    assert (tmp_path / "before.toml").exists()
    monkeypatch.delenv("MAILDROPD_CONFIG")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("maildrop.config.DEFAULT_PATH", str(tmp_path / "etc" / "maildropd.toml"))
    maildropd("init", tmp_path / "a", "--user", ME)
    assert (tmp_path / "etc" / "maildropd.toml").exists()
    monkeypatch.undo()


def test_a_user_without_root_gets_his_own_configuration(
    maildropd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is not root finds the starter in the configuration folder of the home."""
    monkeypatch.delenv("MAILDROPD_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr("maildrop.cli.founding.os.geteuid", lambda: 1000)
    monkeypatch.setattr("maildrop.cli.founding.init", lambda path, **_options: [f"{path}: made"])
    assert maildropd("init", tmp_path / "spool").code == 0
    assert (tmp_path / "xdg" / "maildropd" / "maildropd.toml").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [(("--user", "no-such-user"), 64), (("--group", "no-such-group"), 64), (("--config", "/proc/none/x.toml"), 73)],
)
def test_what_init_refuses(words: tuple[str, str], code: int, maildropd: Any, tmp_path: Path) -> None:
    """Unknown users and groups are 64, a file that can't be made 73, each with a way out."""
    options = {"--user": ME, "--config": str(tmp_path / "c.toml"), **dict([words])}
    done = maildropd("init", tmp_path / "spool", *[word for pair in options.items() for word in pair])
    assert done.code == code
    assert "; " in done.err


def test_init_does_not_take_over_a_folder(maildropd: Any, tmp_path: Path) -> None:
    """A folder with other things in it is no place for a spool."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").touch()
    done = maildropd("init", tmp_path / "home", "--config", tmp_path / "c.toml", "--user", ME)
    assert done.code == 73
    assert "is not empty, and not a spool; name a new folder" in done.err


# run


def test_run_once(site: Any, maildropd: Any) -> None:
    """``run --once`` on an empty spool starts, looks, and ends with 0; its log goes to standard error."""
    site.configure('[log]\nformat = "json"')
    done = maildropd("run", "--once")
    assert (done.code, done.out) == (0, "")
    assert [json.loads(line)["event"] for line in done.err.splitlines()] == ["daemon.started", "daemon.stopped"]


def test_a_second_daemon_is_75(site: Any, maildropd: Any) -> None:
    """A spool that another daemon owns is not touched; its pid is named."""
    from maildrop.spool.layout import Spool  # noqa: PLC0415  # only here

    with Spool.open(str(site.spool), volatile=True) as spool:
        spool.lock()
        done = maildropd("run", "--once")
    assert done.code == 75
    assert str(os.getpid()) in done.err
