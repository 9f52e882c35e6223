"""Manifests of artefacts: JSON files with a checksum, folders stamped with what they were made from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from competition.core.atomic import write_text
from competition.core.fingerprint import digest_tree, fingerprint

_CHECKSUM = "own_checksum"  # the key of a JSON file that holds the fingerprint of the others


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json_text(content))


def json_text(content: Mapping[str, Any]) -> str:
    """Return the text of a JSON file, with sorted keys and a checksum."""
    # The checksum is of the content as it will be read, whose tuples are lists.
    plain = json.loads(json.dumps(content))
    checked = {**plain, _CHECKSUM: fingerprint(plain)}
    return json.dumps(checked, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file; empty where there is none, it cannot be read, or it is not what was written."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}

    # A file from before there were checksums, or that a user wrote, has none.
    checksum = content.pop(_CHECKSUM, None)
    return content if checksum in (None, fingerprint(content)) else {}


_STAMP = "made_from.json"  # in the folder of a model or an encoder


def write_manifest(folder: Path, inputs: str) -> None:
    """Note in a folder what it was made from, and the digests of its files; nothing may be written there afterwards."""
    write_json(folder / _STAMP, {"inputs": inputs, "sha256": _digests(folder)})


def read_manifest(folder: Path) -> str | None:
    """Return the fingerprint in a folder's manifest; None where there is none, or a file is not what it was then."""
    manifest = read_json(folder / _STAMP)
    digests = _digests(folder)

    # Older manifests hold no digests.
    if manifest.get("sha256", digests) != digests:
        return None
    return str(manifest["inputs"]) if manifest.get("inputs") else None


def _digests(folder: Path) -> dict[str, str]:
    """Return the digests of a folder without that of the stamp."""
    return {place: digest for place, digest in digest_tree(folder).items() if place != _STAMP}
