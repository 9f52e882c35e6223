"""The parts that pages share: each page is one file that needs no network, and untrusted text stays text in it."""

import base64
import hashlib
import json
import re
from importlib.resources import files

from competition.data.text import clean

# Control characters, and those that change the direction of text: they are shown by number.
_INVISIBLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb]")
_UNSAFE = re.compile("[<>&\u2028\u2029]")


def read_asset(*names: str) -> str:
    """Return files of `templates/`, concatenated."""
    folder = files("competition.analysis") / "templates"
    return "".join((folder / name).read_text(encoding="utf-8") for name in names)


def source_hash(code: str) -> str:
    """Return the name of inline code in a content security policy: its hash."""
    digest = hashlib.sha256(code.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def script_json(content: object) -> str:
    """Return JSON for a script element, without characters that could end the element or a line of script."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def display_text(text: str, length: int) -> str:
    """Return text for people: cleaned as for models but line by line, at most `length` characters, none invisible."""
    # Cleaning a megabyte of markup takes long, so only a part of it is read.
    lines = (clean(line) for line in text[: 10 * length].split("\n"))
    whole = "\n".join(line for line in lines if line)
    short = whole if len(whole) <= length else whole[: length - 1].rstrip() + "…"
    return _INVISIBLE.sub(lambda match: f"[U+{ord(match[0]):04X}]", short)
