"""Where everything lies, and how it is written: whole or not at all, with the fingerprint of what it was made from."""

import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from competition.errors import CompError, InputError

SCHEMA = 2  # raise it when the meaning of an artefact changes: everything made before is then out of date
ALL = "all"  # instead of a fold: the model of all training rows
FOLDERS = ("data", "folds", "models", "oof", "reports", "submissions")


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

    @contextmanager
    def lock(self, name: str, wait: bool = False) -> Iterator[None]:
        """Hold the lock `name` of this workspace; raises CompError when another process has it, unless it may `wait`.

        The kernel drops the lock with the process, so none is ever stale.
        """
        path = self.root / ".locks" / f"{name.replace('/', '_').replace(' ', '-')}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                holder = handle.read().strip() or "unknown"
                raise CompError(f"Process {holder} is working on {name!r} already: wait for it or stop it.") from None
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield


# --- writing -----------------------------------------------------------------------------------------------------


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(path: Path) -> None:
    """Remove what a process that was killed, or this one before, left half-written beside `path`."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        pid, ending = leftover.name.split(".")[-2:]
        if ending in ("tmp", "old") and pid.isdecimal() and (int(pid) == os.getpid() or not _alive(int(pid))):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there replaces `path` at the end, or vanishes on error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """The same for a folder. An older folder at `path` is moved away only when the new one is complete on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    retired = path.with_name(f".{path.name}.{os.getpid()}.old")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        if path.exists():
            os.replace(path, retired)
        try:
            os.replace(temporary, path)
        except BaseException:
            if retired.exists():
                os.replace(retired, path)
            raise
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all, with sorted keys."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; an empty dictionary where there is none or it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


_STAMP = "made_from.json"  # in the folder of a model or an encoder


def stamp(folder: Path, inputs: str) -> None:
    """Say in a folder what it was made from."""
    write_json(folder / _STAMP, {"inputs": inputs})


def stamped(folder: Path) -> str | None:
    """What `stamp` said; None where nothing did."""
    inputs = read_json(folder / _STAMP).get("inputs")
    return str(inputs) if inputs else None


# --- fingerprints ------------------------------------------------------------------------------------------------


def fingerprint(content: Any) -> str:
    """A stable name for JSON-like content: 16 hexadecimal digits, the same in every process and on every machine."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint_files(folder: Path) -> str:
    """A stable name for the content of a folder's files (names and bytes)."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


def derive_seed(*parts: str | int) -> int:
    """A seed of 31 bits that is a pure function of what it is for, such as a recipe's seed, a fold and a purpose."""
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
