"""What the pages have in common: each is one file that needs no network, and what strangers wrote stays text in it."""

import base64
import hashlib
import json
import re
from importlib.resources import files
from typing import Any

from competition.data.text import clean

# Control characters, and those that turn the direction of what follows: shown by number, they do
# nothing.
_INVISIBLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb]")
_UNSAFE = re.compile("[<>&\u2028\u2029]")


def read_asset(*names: str) -> str:
    """Templates, styles or scripts of `templates/`, one behind the other."""
    folder = files("competition.analysis") / "templates"
    return "".join((folder / name).read_text(encoding="utf-8") for name in names)


def source_hash(code: str) -> str:
    """How a content security policy names inline code: by its hash."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def script_json(content: Any) -> str:
    """JSON for a script element: it holds nothing that would end the element or the line of a script."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def display_text(text: str, length: int) -> str:
    """Text for people: as models read it, but line by line, at most `length` characters, and nothing invisible."""
    lines = (
        clean(line) for line in text[: 10 * length].split("\n")
    )  # the cut bounds what markup costs to clean
    whole = "\n".join(line for line in lines if line)
    short = whole if len(whole) <= length else whole[: length - 1].rstrip() + "…"
    return _INVISIBLE.sub(lambda found: f"[U+{ord(found[0]):04X}]", short)
