"""The live view's pages: each one file that loads nothing else, and may not."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """HTML, and the Content-Security-Policy that lets it run its own script and style only."""

    html: str
    policy: str


def load_page(name: str) -> Page:
    """The page of a file beside this module."""
    html = (HERE / name).read_text(encoding="utf-8")
    rules = {
        "default-src": ["'none'"],
        "script-src": _hashes(html, "script"),
        "style-src": _hashes(html, "style"),
        "img-src": ["blob:", "data:"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    return Page(html, "; ".join(f"{name} {' '.join(allowed)}" for name, allowed in rules.items()))


def _hashes(html: str, tag: str) -> list[str]:
    """What a policy calls the page's own scripts or styles: by the hash of their text."""
    texts = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    return [f"'sha256-{digest}'" for digest in digests] or ["'none'"]
