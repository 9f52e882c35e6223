"""Stable names for content, and seeds: pure functions, the same in every process and on every machine."""

import hashlib
import json
from pathlib import Path


def fingerprint(content: object) -> str:
    """Return a stable name for JSON-like content: 16 hexadecimal digits, the same on every machine."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_tree(path: Path) -> dict[str, str]:
    """Return the digest of each file below a folder by its place there; of a file its own, with the place `.`."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        each.relative_to(path).as_posix(): digest_file(each) for each in files if each.is_file()
    }


def fingerprint_files(folder: Path) -> str:
    """Return a stable name for the content of a folder's files (names and bytes)."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        # No name holds a zero byte, so that none runs into the digest behind it.
        digest.update(path.name.encode() + b"\0" + bytes.fromhex(digest_file(path)))
    return digest.hexdigest()[:16]


def derive_seed(*parts: str | int) -> int:
    """Return a seed of 31 bits, a pure function of what it is for, such as a recipe's seed, a fold and a purpose."""
    content = "\0".join(str(part) for part in parts)
    digest = hashlib.sha256(content.encode()).digest()

    # Some libraries take a seed as a signed number of 32 bits.
    return int.from_bytes(digest[:4], "big") >> 1
