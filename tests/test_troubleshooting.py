"""The messages on the page of troubles are those of the program."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.helpers import REPOSITORY

PAGE = REPOSITORY / "docs" / "troubleshooting.md"
ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
OF_THE_SYSTEM = r"Permission denied|No space left on device|Broken pipe|Address already in use"
VARIES = re.compile(rf"\b(?:PATH|ADDRESS|NAMES?|N|M|S|{OF_THE_SYSTEM})\b|[0-9]+|[;:,.?()]")
PACKAGES = ("engines", "pipeline", "apps")


def said(node: ast.AST) -> str | None:
    """A string of the code, with a zero byte where a value is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(said(part) or "\0" for part in node.values)
    return None


def strings() -> Iterator[str]:
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                text = said(node)
                if text and len(text) > 8:
                    yield text


TEXTS = "\n".join(strings())


def pieces(message: str) -> list[str]:
    """What of a message is the same each time, without its marks."""
    return [piece for piece in (part.strip() for part in VARIES.split(message)) if len(piece) > 3]


@pytest.mark.parametrize("message", ROW.findall(PAGE.read_text(encoding="utf-8")))
def test_the_program_says_so(message: str) -> None:
    assert pieces(message)
    assert [piece for piece in pieces(message) if piece not in TEXTS] == []


def test_a_message_that_nothing_says_is_seen() -> None:
    assert pieces("PATH: the moon is N km away (Broken pipe); look up") == ["the moon is", "km away", "look up"]
    assert "the moon is" not in TEXTS
