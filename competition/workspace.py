"""Where everything lies, and how it is written: whole or not at all, with the fingerprint of what it was made from."""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from competition.errors import CompError, InputError
from competition.locks import HOST, hold, is_alive

SCHEMA = 2  # raise it when the meaning of an artefact changes: everything made before is then out of date
ALL = "all"  # instead of a fold: the model of all training rows
FOLDERS = ("data", "folds", "models", "oof", "reports", "submissions")
DATA = "data"  # the lock of what all steps read: imports hold it alone


class Workspace:
    """Every path of one workspace folder."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.settings_file = self.root / "competition.toml"
        self.own_recipes = self.root / "recipes"
        self.examples = self.root / "data" / "examples.parquet"
        self.products = self.root / "data" / "products.parquet"
        self.data_card = self.root / "data" / "data.json"
        self.vocabulary = self.root / "data" / "vocabulary"
        self.gram_vectors = self.root / "data" / "char3"
        self.grams = self.root / "data" / "grams"
        self.text_features = self.root / "data" / "text_features.parquet"
        self.planted = self.root / "data" / "planted.parquet"
        self.models = self.root / "models"
        self.unfinished = self.models / "checkpoints"
        self.oof = self.root / "oof"
        self.submissions = self.root / "submissions"
        self.leaderboard = self.submissions / "leaderboard.csv"
        self.tracking = self.root / "reports" / "tracking"
        self.scores = self.root / "reports" / "scores.csv"
        self.report = self.root / "reports" / "report.html"

    @classmethod
    def open(cls, root: Path) -> "Workspace":
        """The workspace at `root`; raises InputError where there is none."""
        workspace = cls(root)
        if not workspace.settings_file.is_file():
            raise InputError(f"{root} is no workspace, it has no competition.toml: make one with `comp init {root}`.")
        return workspace

    def translations(self, model: str) -> Path:
        return self.root / "data" / "translations" / f"{model}.parquet"

    def tokens(self, tokenizer: str) -> Path:
        """The token ids of all texts by the tokenizer of this fingerprint."""
        return self.root / "data" / "tokens" / tokenizer

    def folds(self, scheme: str) -> Path:
        return self.root / "folds" / f"{scheme}.parquet"

    def encoder(self, name: str) -> Path:
        return self.models / "encoders" / name

    def encoder_log(self, name: str) -> Path:
        return self.models / "encoders" / f"{name}.log.jsonl"

    def model(self, run: str, fold: int | str) -> Path:
        return self.models / run / (ALL if fold == ALL else f"fold-{fold}")

    def checkpoints(self, name: str, part: str) -> Path:
        """Of the unfinished training of a fold, or of the `encoder` that a recipe pre-trains."""
        return self.unfinished / name / part

    def run(self, run: str) -> Path:
        return self.oof / run

    def oof_fold(self, run: str, fold: int) -> Path:
        return self.oof / run / f"fold-{fold}.parquet"

    def test_fold(self, run: str, fold: int) -> Path:
        return self.oof / run / f"test-{fold}.parquet"

    def pair(self, run: str, folds: tuple[int, ...]) -> Path:
        return self.oof / run / f"pair-{'-'.join(map(str, folds))}.parquet"

    def run_card(self, run: str) -> Path:
        return self.oof / run / "run.json"

    def log(self, run: str) -> Path:
        return self.oof / run / "log.jsonl"

    def importance(self, run: str) -> Path:
        return self.oof / run / "importance.parquet"

    def noise(self, run: str, fold: int | None = None) -> Path:
        """The flags of an audit; of a nested one those for the training of a fold."""
        return self.oof / run / ("noise.parquet" if fold is None else f"noise-{fold}.parquet")

    def noise_card(self, run: str, fold: int | None = None) -> Path:
        return self.noise(run, fold).with_suffix(".json")

    def verdicts(self, run: str) -> Path:
        return self.oof / run / "verdicts.parquet"

    def inspection(self, run: str) -> Path:
        return self.root / "reports" / f"noise-{run}.html"

    def ablation(self, table: str, fold: int | None) -> Path:
        part = "" if fold is None else f"-fold-{fold}"
        return self.root / "reports" / f"ablation-{table}{part}.csv"

    def stack_table(self, ensemble: str) -> Path:
        return self.root / "reports" / f"stack-{ensemble}.csv"

    def submission(self, name: str) -> Path:
        return self.submissions / name

    def check_space(self, size: int, work: str) -> None:
        """Raises CompError where the disk has less room than the `size` bytes that `work` is about to write."""
        free = shutil.disk_usage(self.root).free
        if free < size:
            raise CompError(
                f"{work} writes about {size / 1e9:,.2f} GB, and the disk of {self.root} has {free / 1e9:,.2f} GB left: "
                "make room first."
            )

    def lock(self, name: str, wait: bool = False, shared: bool = False) -> AbstractContextManager[None]:
        """Hold the lock `name` of this workspace, see `locks.hold`; `DATA` is shared by all that work with the data."""
        return hold(self.root / ".locks" / f"{name.replace('/', '_').replace(' ', '-')}.lock", name, wait, shared)


# --- writing -----------------------------------------------------------------------------------------------------


# What a disk says that takes no more. Rust's libraries say it in words alone.
_REFUSALS = {errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_IN_WORDS = re.compile(r"\(os error (\d+)\)")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name what could not be written, whatever the library was that tried."""
    try:
        yield
    except Exception as error:
        words = _IN_WORDS.search(str(error))
        number = int(words[1]) if words else getattr(error, "errno", None)
        if number not in _REFUSALS:
            raise
        raise CompError(
            f"{path} cannot be written ({os.strerror(number)}); what was there before is untouched: mend the disk or "
            "make room, and the same command goes on."
        ) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path, ending: str) -> Path:
    """A name for what this process alone has in its hands; other machines may share the folder."""
    return path.with_name(f".{path.name}.{HOST}.{os.getpid()}.{ending}")


def _sweep(path: Path) -> None:
    """Remove what a process of this machine that was killed, or this one before, left half-written beside `path`."""
    for leftover in path.parent.glob(f".{glob.escape(f'{path.name}.{HOST}')}.*"):
        pid, ending = leftover.name.split(".")[-2:]
        if ending in ("tmp", "old") and pid.isdecimal() and (int(pid) == os.getpid() or not is_alive(int(pid))):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


@contextmanager
def atomic_files(*paths: Path) -> Iterator[list[Path]]:
    """Yield temporary paths beside `paths`, which replace them in this order once all are on the disk, or vanish.

    Raises:
        CompError: the disk is full, broken or read-only.
    """
    temporaries = [_beside(path, "tmp") for path in paths]
    with _writing(paths[0]):
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)
        try:
            yield temporaries
            for temporary in temporaries:
                _sync(temporary)
            for temporary, path in zip(temporaries, paths, strict=True):
                os.replace(temporary, path)
            for folder in {path.parent for path in paths}:
                _sync(folder)
        finally:
            for temporary in temporaries:
                temporary.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there replaces `path` at the end, or vanishes on error."""
    with atomic_files(path) as (temporary,):
        yield temporary


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """The same for a folder. An older folder at `path` is moved away only when the new one is complete on disk."""
    temporary, retired = _beside(path, "tmp"), _beside(path, "old")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        try:
            temporary.mkdir()
            yield temporary
            for file in (*temporary.rglob("*"), temporary):
                _sync(file)
            _exchange(path, temporary, retired)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(retired, ignore_errors=True)


def _exchange(path: Path, temporary: Path, retired: Path) -> None:
    """Put the folder `temporary` in the place of `path`, which becomes `retired`, or stays where that fails."""
    if path.exists():
        os.replace(path, retired)
    try:
        os.replace(temporary, path)
    except BaseException:
        if retired.exists():
            os.replace(retired, path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


_CHECKSUM = "own_checksum"  # the key of a JSON file that holds the fingerprint of the others


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json_text(content))


def json_text(content: Mapping[str, Any]) -> str:
    """The text of a JSON file, with sorted keys and a checksum."""
    plain = json.loads(json.dumps(content))  # as it will be read
    checked = {**plain, _CHECKSUM: fingerprint(plain)}
    return json.dumps(checked, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where there is none, it cannot be read, or it is not what was written."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    checksum = content.pop(_CHECKSUM, None)
    return content if checksum in (None, fingerprint(content)) else {}


_STAMP = "made_from.json"  # in the folder of a model or an encoder


def stamp(folder: Path, inputs: str) -> None:
    """Say in a folder what it was made from, and the digests of its files; nothing may be written there afterwards."""
    write_json(folder / _STAMP, {"inputs": inputs, "sha256": _digests(folder)})


def stamped(folder: Path) -> str | None:
    """What `stamp` said; None where nothing did, or a file is not what it was then."""
    said = read_json(folder / _STAMP)
    if said.get("sha256", found := _digests(folder)) != found:
        return None
    return str(said["inputs"]) if said.get("inputs") else None


def _digests(folder: Path) -> dict[str, str]:
    """The digest of each file below `folder`, the stamp aside, by its name from there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / _STAMP)
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in files}


# --- fingerprints ------------------------------------------------------------------------------------------------


def fingerprint(content: Any) -> str:
    """A stable name for JSON-like content: 16 hexadecimal digits, the same in every process and on every machine."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_file(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint_files(folder: Path) -> str:
    """A stable name for the content of a folder's files (names and bytes)."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        digest.update(path.name.encode() + b"\0" + bytes.fromhex(digest_file(path)))
    return digest.hexdigest()[:16]


def derive_seed(*parts: str | int) -> int:
    """A seed of 31 bits that is a pure function of what it is for, such as a recipe's seed, a fold and a purpose."""
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
