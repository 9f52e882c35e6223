"""A recipe varied in some keys: parsed from `key=value`, named after what changes, and kept as a file.

The file names the recipe that it varies and the keys that it sets, which go before everything else, `[overrides]` of
competition.toml included:

    base = "c1"

    [set]
    learning_rate = 3e-5
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from competition.core.atomic import write_text
from competition.core.errors import InputError
from competition.core.fingerprint import fingerprint
from competition.core.toml_files import StrictModel, read_toml
from competition.core.workspace import Workspace

_LONGEST = 80  # characters of a name: file systems end at 255, tables of scores long before
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.]+")


class VariantFile(StrictModel):
    """The content of `recipes/NAME.toml` of a recipe that varies another."""

    base: str
    set: dict[str, Any] = Field(default_factory=dict)
    description: str = ""

    @property
    def keys(self) -> dict[str, Any]:
        """The keys that it changes."""
        about = {"description": self.description} if self.description else {}
        return about | self.set


def parse_changes(options: Iterable[str]) -> dict[str, Any]:
    """Return recipe keys and values from `key=value` options; values are those of TOML, bare words are text.

    Raises:
        InputError: an option is no such pair, or names a key that an option before it named.
    """
    changes: dict[str, Any] = {}
    for option in options:
        key, equals, text = option.partition("=")
        key = key.strip()
        if not equals or not re.fullmatch(r"[a-z_0-9]+(\.[A-Za-z_0-9]+)*", key):
            raise InputError(f"--set {option!r} is not of the form key=value, such as epochs=3.")

        try:
            value = tomllib.loads(f"value = {text}")["value"]
            json.dumps(value)
        except (tomllib.TOMLDecodeError, RecursionError, TypeError):
            value = text.strip()  # a bare word, or a date

        # `lora.rank=8` sets a key of a table.
        *tables, last = key.split(".")
        place: Any = changes
        for table in tables:
            place = place.setdefault(table, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last in place:
            raise InputError(f"--set names the key {key!r} twice.")
        place[last] = value
    return changes


def variant_name(base: str, changes: Mapping[str, Any]) -> str:
    """Return the name of a recipe with some keys changed, such as `c1-epochs=3`; equal changes have equal names."""
    parts = []
    exact = True
    for key, value in sorted(_flat(changes).items()):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if isinstance(value, list | tuple):
            text = "_".join(map(str, value))
        cleaned = _NOT_IN_NAMES.sub("_", text)
        exact = exact and cleaned == str(text) and not isinstance(value, list | tuple)
        parts.append(f"{key}={cleaned}")

    name = "-".join([base, *parts])
    if exact and len(name) <= _LONGEST:
        return name
    # What the name cannot hold, a hash tells apart.
    return f"{name[:_LONGEST].rstrip('.')}-{fingerprint([base, _flat(changes)])[:6]}"


def _flat(changes: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return keys of tables within as `table.key`."""
    flat: dict[str, Any] = {}
    for key, value in changes.items():
        is_table = isinstance(value, dict) and value  # an empty one is a value: `lora={}`
        flat |= _flat(value, f"{above}{key}.") if is_table else {above + key: value}
    return flat


def toml_value(value: object) -> str:
    """Return a value as TOML: text, finite numbers and lists are what they are in JSON."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.replace("\x7f", "\\u007f")


def find_variant(workspace: Workspace, name: str, base: str, changes: Mapping[str, Any]) -> bool:
    """Return whether a varied recipe has a file already.

    Raises:
        InputError: there is another recipe of that name.
    """
    path = workspace.recipe_folder / f"{name}.toml"
    if not path.is_file():
        return False

    there = read_toml(path)
    if there.get("base") != base or _flat(there.get("set", {})) != _flat(changes):
        raise InputError(
            f"{path} is another recipe than {base!r} with these keys: rename or remove it."
        )
    return True


def write_variant(workspace: Workspace, name: str, base: str, changes: Mapping[str, Any]) -> Path:
    """Write the file of a varied recipe, or find it as it would be written; return its path.

    Raises:
        InputError: there is another recipe of that name, which stays as it is.
    """
    path = workspace.recipe_folder / f"{name}.toml"
    if find_variant(workspace, name, base, changes):
        return path

    lines = [f"base = {toml_value(base)}", "", "[set]"]
    lines += [f"{key} = {toml_value(value)}" for key, value in sorted(_flat(changes).items())]
    path.parent.mkdir(exist_ok=True)
    write_text(path, "\n".join(lines) + "\n")
    return path
