"""The example configuration is complete and true: every key is in it, and every value is the default it claims."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from maildrop.config.auth_table import AuthTable, OAuthTable
from maildrop.config.document import DefaultsTable, DkimTable, Document, RouteTable
from maildrop.config.relay_table import RelayTable, TimeoutsTable
from maildrop.schema import validate

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "maildropd.toml"
_OFF = re.compile(r"^#(?=[\w\[])", re.MULTILINE)

# What has no default, or shows another value than its default because it needs one to be of use.
SHOWN = {
    "spool.path",
    "relays.main.host",
    "relays.main.port",
    "relays.main.tls",
    "relays.main.auth.user",
    "relays.main.auth.password_credential",
}


def document(text: str) -> Document:
    """Validate configuration text; a list of problems fails the test."""
    found = validate(Document, tomllib.loads(text), where="maildropd.toml")
    assert isinstance(found, Document), found
    return found


def keys(table: Any) -> set[str]:
    """Return the names of a table's keys as a person writes them."""
    model: type[BaseModel] = table if isinstance(table, type) else type(table)
    return {field.alias or name for name, field in model.model_fields.items()}


def test_as_shipped_it_is_valid() -> None:
    """A user can take it, change host and password, and start."""
    assert set(document(EXAMPLE.read_text("utf-8")).relays) == {"main", "backup"}


def test_every_key_is_in_it() -> None:
    """With every '#key' switched on it holds each key that this version knows, and no other."""
    text = _OFF.sub("", EXAMPLE.read_text("utf-8"))
    document(text)
    raw = tomllib.loads(text)
    assert set(raw) == keys(Document)
    for name in ("spool", "intake", "retry", "settle", "log"):
        assert set(raw[name]) == keys(Document.model_fields[name].annotation or Document), name
    main = raw["relays"]["main"]
    assert set(raw["defaults"]) == keys(DefaultsTable)
    assert set(raw["dkim"]) == keys(DkimTable)
    assert set(main) == keys(RelayTable)
    assert set(main["timeouts"]) == keys(TimeoutsTable)
    assert set(main["auth"]) == keys(AuthTable)
    assert set(main["auth"]["oauth"]) == keys(OAuthTable)
    assert set(raw["routes"][0]) == keys(RouteTable)


def defaults_of(table: BaseModel, path: str) -> dict[str, tuple[Any, Any]]:
    """Return value and default of each key that the example sets, by its path."""
    pairs: dict[str, tuple[Any, Any]] = {}
    for name in table.model_fields_set:
        field = type(table).model_fields[name]
        value, key = getattr(table, name), f"{path}.{field.alias or name}"
        if isinstance(value, BaseModel):
            pairs |= defaults_of(value, key)
        else:
            pairs[key] = (value, field.default)
    return pairs


@pytest.mark.parametrize("table", ["spool", "intake", "defaults", "retry", "settle", "log", "relays.main"])
def test_values_are_the_defaults(table: str) -> None:
    """What the example sets is the default, so that it documents the defaults."""
    shipped = document(EXAMPLE.read_text("utf-8"))
    model = shipped.relays["main"] if table == "relays.main" else getattr(shipped, table)
    other = {key: pair for key, pair in defaults_of(model, table).items() if pair[0] != pair[1] and key not in SHOWN}
    assert other == {}


def test_every_key_is_explained() -> None:
    """A remark stands above each key, or above the group of keys that it belongs to."""
    explained = False
    for line in EXAMPLE.read_text("utf-8").splitlines():
        if line.startswith(("# ", "#  ")):
            explained = True
        elif not line:
            explained = False
        elif re.match(r"#?\w+ = ", line):
            assert explained or line.startswith("host = "), line
