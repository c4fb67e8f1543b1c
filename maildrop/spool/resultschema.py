"""The JSON Schema of ``result.toml``, for programs that read results; made from the records' own types.

Kept apart from ``record``, which the daemon needs for every job: this is wanted once, by ``maildropd schema result``.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from enum import EnumType
from typing import Any, get_args, get_origin, get_type_hints

from maildrop.errors import Problem
from maildrop.spool.record import AttemptResult, RecipientResult, Result

_PLAIN: dict[object, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},  # a TOML datetime
}
_ROWS = (RecipientResult, AttemptResult, Problem)


def result_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file; a key that is not always there is not required."""
    schema = _table(Result)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "maildrop result.toml"}


def _table(row: type) -> dict[str, Any]:
    hints = get_type_hints(row)
    required = [one.name for one in fields(row) if one.default is MISSING and one.default_factory is MISSING]
    return {
        "type": "object",
        "properties": {one.name: _shape(hints[one.name]) for one in fields(row)},
        "required": required,
    }


def _shape(hint: Any) -> dict[str, Any]:
    """Return the schema of a field's type; what is None in a record is absent from the file."""
    if isinstance(hint, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if isinstance(hint, EnumType):
        return {"enum": [member.value for member in hint]}  # type: ignore[var-annotated]
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _shape(get_args(hint)[0])}
    if hint in _ROWS:
        return _table(hint)
    if get_origin(hint) is Mapping:
        return {"type": "object"}
    return dict(_PLAIN[hint])
