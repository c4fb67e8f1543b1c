"""The effective configuration is itself a configuration, with the same meaning."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from maildrop import config
from maildrop.config.document import Document, config_schema

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "examples" / "maildropd.toml").read_text("utf-8")
NASTY = """
[spool]
path = "/spool/with \\" quote and ü"
min_free = 0.012345
[intake]
quiet_seconds = 0.05
max_envelope = 65537
[defaults]
from = 'Quoted "Name" <a@x.example>'
reply_to = ["a@x.example", "B <b@x.example>"]
[relays."a.b c"]
host = "h"
idle = 0
session = "90m"
[relays."ü"]
host = "192.0.2.7"
tls = "opportunistic"
[relays."ü".timeouts]
quit = 0.25
[relays.main]
host = "localhost"
auth = {user = "me", password_command = ["a b", "c\\"d", ""], plaintext = true}
[[routes]]
relays = ["ü", "a.b c"]
job = "x\\\\y*"
[[routes]]
relays = "main"
[retry]
schedule = ["1.5s", "3h", 3601]
jitter = 0.123456789
[settle]
layout = "daily"
"""


def described(text: str, folder: Path) -> tuple[config.Config, config.Config, str]:
    """Return the configuration, the one that its description makes, and the description."""
    first, second = folder / "first.toml", folder / "second.toml"
    first.write_text(text, "utf-8")
    told = config.describe(config.read(str(first)))
    second.write_text(told, "utf-8")
    return config.load(str(first), secrets=False), config.load(str(second), secrets=False), told


@pytest.mark.parametrize(
    "text", ['[spool]\npath = "/s"\n[relays.main]\nhost = "h"\n', EXAMPLE, NASTY], ids=["smallest", "example", "nasty"]
)
def test_the_description_means_the_same(text: str, tmp_path: Path) -> None:
    """Loaded again, the description gives equal settings."""
    loaded, again, _ = described(text, tmp_path)
    assert replace(again, path=loaded.path) == loaded


def test_described_twice_it_is_the_same_text(tmp_path: Path) -> None:
    """The description of the description is the description."""
    _, _, told = described(NASTY, tmp_path)
    _, _, again = described(told, tmp_path)
    assert again == told


def test_every_key_is_shown_with_its_meaning(tmp_path: Path) -> None:
    """Each key of each table appears, set or as a remark, and says what it means."""
    _, _, told = described('[spool]\npath = "/s"\n[relays.main]\nhost = "h"\n', tmp_path)
    for name in ("spool", "intake", "defaults", "retry", "settle", "log"):
        table = Document.model_fields[name].annotation
        assert table is not None
        for key, field in table.model_fields.items():
            line = next(line for line in told.splitlines() if re.match(rf"(# )?{field.alias or key} = ", line))
            assert line.endswith(f"# {field.description}")


def test_nothing_of_the_configuration_is_unknown_to_this_test() -> None:
    """A field that is added to the configuration is compared above, because all are."""
    assert "path" in {field.name for field in fields(config.Config)}


def test_the_schema_knows_every_table() -> None:
    """The JSON Schema for editors has the tables and the keys as they are written."""
    schema = config_schema()
    assert set(schema["properties"]) == {(field.alias or name) for name, field in Document.model_fields.items()}
    assert "from" in schema["$defs"]["DefaultsTable"]["properties"]
    assert schema["additionalProperties"] is False
