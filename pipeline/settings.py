"""The options of an app: a frozen dataclass, filled from a YAML file and then from the command line, which wins."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

Settings = TypeVar("Settings")


class SettingsError(ValueError):
    """An option that does not exist or has a value of the wrong kind; the message lists what is valid."""


def read_settings(kind: type[Settings], given: Mapping[str, Any], config: Path | None) -> Settings:
    """The dataclass `kind` from the options `given` on the command line and, for the others, the YAML file `config`.

    Raises SettingsError for a file that cannot be read, an unknown option, and a value of the wrong kind.
    """
    values = {} if config is None else _from_yaml(kind, config)
    return kind(**{**values, **given})


def at_least(name: str, value: int | None, least: int) -> None:
    """SettingsError if a number is given and too small."""
    if value is not None and value < least:
        raise SettingsError(f"{name} should be at least {least}, got {value}")


def _from_yaml(kind: type[Any], config: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{config}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{config}: not valid YAML ({' '.join(str(error).split())})") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{config}: expected lines of 'option: value', got a {type(content).__name__}")
    named = {str(name).replace("-", "_"): value for name, value in content.items()}
    hints = get_type_hints(kind)
    valid = [field.name for field in dataclasses.fields(kind)]
    unknown = [name for name in named if name not in valid]
    if unknown:
        options = "unknown option" if len(unknown) == 1 else "unknown options"
        raise SettingsError(f"{config}: {options} {', '.join(unknown)}; valid are {', '.join(valid)}")
    return {name: _value(config, name, value, hints[name]) for name, value in named.items()}


def _value(config: Path, name: str, value: Any, hint: Any) -> Any:
    """The YAML value as the type of the dataclass field: text, number, bool, Path, list of str, or one of them or None.

    A number is fine where text is expected, as in `source: 0`.
    """
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in choices:
        return None
    if bool in choices or isinstance(value, bool):
        if bool in choices and isinstance(value, bool):
            return value
    elif int in choices and isinstance(value, int):
        return value
    elif float in choices and isinstance(value, int | float):
        return float(value)
    elif Path in choices and isinstance(value, str):
        return Path(value)
    elif str in choices and isinstance(value, str | int):
        return str(value)
    elif list[str] in choices and isinstance(value, str | int | list):
        return [str(item) for item in (value if isinstance(value, list) else [value])]
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        Path: "a path",
        str: "text",
        list[str]: "a list of inputs",
    }
    expected = " or ".join(words[choice] for choice in choices if choice in words)
    raise SettingsError(f"{config}: {name} should be {expected}, got {value!r}")
