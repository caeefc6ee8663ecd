"""Opening the files that a user names, each thing that can be wrong with one in its own message, and writing JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file that should be `what`. Raises OSError or ValueError that say what was wrong."""
    text = _text(path, what)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}): expected {what}") from None


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file so that an interruption, or another process that writes it too, leaves a whole one or none."""
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(content, separators=(",", ":")))
    os.replace(temporary, path)


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The 'key: value' lines of a YAML file that should be `what`. Raises OSError or ValueError like `read_json`."""
    try:
        content = yaml.safe_load(_text(path, what))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML ({' '.join(str(error).split())}): expected {what}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} and no 'key: value' lines: expected {what}")
    return content


def _text(path: Path, what: str) -> str:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: expected {what}")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}: expected {what}") from None
    except OSError as error:
        raise OSError(f"{path} cannot be read ({error.strerror}): expected {what}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file: expected {what}") from None
    if not text.strip():
        raise ValueError(f"{path} is empty: expected {what}")
    return text


def check_pictures(folder: Path, names: Iterable[str], annotations: Path) -> None:
    """Raises OSError if the folder is none, or lacks a picture that the annotations are of."""
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise NotADirectoryError(f"{folder} {found}: expected the folder with the pictures of {annotations}")
    here = {entry.name for entry in os.scandir(folder)}
    names = list(names)
    missing = [name for name in names if name not in here and not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} pictures of {annotations} are not in {folder}, the first is {missing[0]}: "
            f"expected the folder that these annotations are of"
        )
