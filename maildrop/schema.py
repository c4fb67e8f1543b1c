"""Strict TOML documents: bounded parsing, typed models, and every problem at once (the only user of pydantic).

``read_toml`` refuses what makes TOML parsers crawl or recurse before it parses. ``Model`` is the base of every document
that a person writes. ``problems_of`` turns a validation error into sentences with the key's path and a hint.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic import TypeAdapter as Adapter
from pydantic_core import ErrorDetails, PydanticCustomError

from maildrop.errors import Problem, did_you_mean, printable

__all__ = [
    "Adapter",
    "BeforeValidator",
    "Duration",
    "Field",
    "Model",
    "ModelWrapValidatorHandler",
    "PrivateAttr",
    "TomlError",
    "ValidationError",
    "ValidationInfo",
    "WithJsonSchema",
    "field_validator",
    "invalid",
    "model_validator",
    "number_or_text",
    "problems_of",
    "read_toml",
    "toml_string",
    "validate",
    "validate_in_part",
]

M = TypeVar("M", bound="Model")

_MAX_DOTS = 8  # levels of a dotted key; tomllib is quadratic in them (a 40 kB key takes 6 s)
_MAX_TABLES = 1000  # lines that begin a table (or an array in an array); each costs tomllib as much as a dozen keys
_MAX_NESTING = 32  # brackets in brackets; tomllib recurses once for each
_DEEP_KEY = re.compile(rf"(?<![\w\-])(?:[\w\-]+[ \t]*\.[ \t]*){{{_MAX_DOTS}}}", re.ASCII)
_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d|w)")
_LONGEST_DAYS = 1_000_000  # no calendar of ours reaches much further, and times have to stay calculable
_STRINGS = re.compile(
    r'"""(?:\\.|(?!""").)*(?:"{3,5}|\Z)'
    r"|'''(?:(?!''').)*(?:'{3,5}|\Z)"
    r'|"(?:\\.|[^"\\\n])*"?'
    r"|'[^'\n]*'?"
    r"|#[^\n]*",
    re.DOTALL,
)


class TomlError(ValueError):
    """The octets are not TOML that we read; the text says why."""


class Model(BaseModel):
    """A table of a document: frozen, strictly typed, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


def read_toml(octets: bytes, *, max_octets: int) -> dict[str, Any]:
    """Parse UTF-8 TOML of at most ``max_octets``; raises TomlError. Takes at most linear time and constant stack."""
    if len(octets) > max_octets:
        raise TomlError(f"{len(octets)} octets; at most {max_octets} are read")
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise TomlError(f"line {line}: octet {error.start} is not UTF-8; TOML files are UTF-8") from None
    _refuse_deep(_STRINGS.sub("s", text))
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError, OverflowError) as error:
        raise TomlError(f"not valid TOML: {printable(str(error))}") from None


def _refuse_deep(bare: str) -> None:
    """Look at TOML whose strings and comments were blanked out: no deep nesting, no long dotted keys."""
    if len(_TABLE.findall(bare)) > _MAX_TABLES:
        raise TomlError(f"more than {_MAX_TABLES} tables")
    depth = 0
    for match in re.finditer(r"[\[{]|[\]}]", bare):
        depth = depth + 1 if match.group() in "[{" else max(0, depth - 1)
        if depth > _MAX_NESTING:
            raise TomlError(f"nested more than {_MAX_NESTING} levels deep")
    if _DEEP_KEY.search(bare):
        raise TomlError(f"a key of more than {_MAX_DOTS} dotted parts")


def toml_string(text: str) -> str:
    """Return text as a TOML basic string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _seconds(value: object) -> object:
    """Read ``"90s"``, ``"1.5h"`` or a number of seconds."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise invalid('is not a duration; expected a number with a unit such as "90s", "10m", "2h", "5d"')
        return float(match[1]) * _UNITS[match[2]]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid('is not a duration; expected seconds or text such as "90s", "10m", "2h", "5d"')
    return float(value)


def number_or_text(pattern: str, **limits: float) -> WithJsonSchema:
    """Tell editors that a key takes a number within the limits, or text of this pattern."""
    text = {"type": "string", "pattern": rf"^\s*{pattern}\s*$"}
    return WithJsonSchema({"anyOf": [{"type": "number", **limits}, text]})


def _bounded(seconds: float) -> float:
    if seconds > _LONGEST_DAYS * 86400.0:
        raise invalid(f"is too long; at most {_LONGEST_DAYS} days are possible")
    return seconds


Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(ge=0, allow_inf_nan=False),
    AfterValidator(_bounded),
    number_or_text(_DURATION.pattern, minimum=0),
]
"""Seconds, written as a number or as text with a unit."""


def invalid(message: str) -> PydanticCustomError:
    """Make the error that a validator raises: ``message`` is the predicate of the sentence about the key."""
    return PydanticCustomError("invalid", "{message}", {"message": message})


def validate(model: type[M], document: Mapping[str, Any], *, where: str, context: Any = None) -> M | list[Problem]:
    """Return the model, or every problem of the document with ``where: key.path`` in front."""
    try:
        return model.model_validate(document, context=context)
    except ValidationError as error:
        return problems_of(error, model=model, where=where)


def validate_in_part(model: type[M], document: Mapping[str, Any], *, where: str) -> tuple[M | None, list[Problem]]:
    """Return every problem, and the model of what is right beside them; None where that is not enough for one.

    So a caller can go on judging, and a person gets all problems of all kinds at once.
    """
    try:
        return model.model_validate(document), []
    except ValidationError as error:
        problems = problems_of(error, model=model, where=where)
        rest = deepcopy(dict(document))
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            _take_out(rest, detail["loc"])
    try:
        return model.model_validate(rest), problems
    except ValidationError:
        return None, problems


def _take_out(document: dict[str, Any], location: tuple[int | str, ...]) -> None:
    """Remove the key that ``location`` leads to, or the deepest one above it that is there."""
    current: Any = document
    table, key = document, ""
    for step in location:
        if isinstance(current, dict) and step in current:
            table, key = current, str(step)
        elif not (isinstance(current, list) and isinstance(step, int) and step < len(current)):
            break
        current = current[step]
    table.pop(key, None)


def problems_of(error: ValidationError, *, model: type[BaseModel], where: str) -> list[Problem]:
    """Return one Problem for each thing that is wrong, worded for the person who wrote the document."""
    problems: dict[tuple[str, str], Problem] = {}
    for detail in error.errors(include_url=False, include_context=True):
        place = f"{where}: {_path(detail['loc'])}"
        problem = Problem(where=place, what=_what(detail), hint=_hint(detail, model))
        problems[place, problem.what] = problem
    return list(problems.values())


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not re.fullmatch(r"[a-z-]+\[.*\]|list|str|int|float|bool|dict", step):  # pydantic's names of union members
            path += ("." if path else "") + printable(step)
    return path or "document"


_KINDS = {
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list [ … ]",
    "tuple_type": "must be a list [ … ]",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "missing": "is missing",
    "extra_forbidden": "unknown key",
    "too_short": "needs at least one entry",
}


def _what(detail: ErrorDetails) -> str:
    kind = _KINDS.get(detail["type"])
    if kind is not None:
        return kind
    message = printable(detail["msg"][:1].lower() + detail["msg"][1:])
    return message.replace("input should be", "must be", 1)


def _hint(detail: ErrorDetails, model: type[BaseModel]) -> str:
    if detail["type"] != "extra_forbidden":
        return ""
    return did_you_mean(str(detail["loc"][-1]), _keys_at(model, detail["loc"][:-1]))


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the table at ``location`` knows."""
    current: Any = model
    for step in location:
        current = _below(current, step)
    if isinstance(current, type) and issubclass(current, BaseModel):
        return [field.alias or name for name, field in current.model_fields.items()]
    return []


def _below(current: Any, step: int | str) -> Any:
    """Return the type one step down; pydantic's union-member steps stay where they are."""
    if isinstance(current, type) and issubclass(current, BaseModel):
        for name, field in current.model_fields.items():
            if step in (name, field.alias):
                return _model_in(field.annotation)
    return current


def _model_in(annotation: Any) -> Any:
    """Return the first model mentioned in an annotation such as ``dict[str, Relay] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
