"""JSON objects that hold a dataclass and the version of its form: what is checked before its values are looked at."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any


def fields_from_json(text: str, kind: type[Any], name: str, version: int) -> dict[str, Any]:
    """The values by field of a dataclass `kind`, from a JSON object that has its version under NAME_version.

    Fields with a default may be missing. Raises ValueError, which begins with the name, for what is no such object, an
    unknown version, and unknown or missing keys.
    """
    values: Any = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"{name}: expected a JSON object, got {type(values).__name__}")
    found = values.pop(f"{name}_version", None)
    if found != version:
        raise ValueError(f"{name}: version {found!r} is unknown, this program reads {version}")
    names = {field.name for field in fields(kind)}
    optional = {field.name for field in fields(kind) if field.default is not MISSING}
    if unknown := sorted(values.keys() - names):
        raise ValueError(f"{name}: unknown key {', '.join(unknown)}; expected {', '.join(sorted(names))}")
    if missing := sorted(names - optional - values.keys()):
        raise ValueError(f"{name}: missing key {', '.join(missing)}")
    return values
