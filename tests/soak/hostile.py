"""Bad inputs: files that were good, then cut, spliced, renamed or retyped. A command takes or refuses them, no more."""

import shutil
import signal
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from competition.core.console import Progress
from competition.core.errors import InputError
from competition.noise.reviews import read_reviews
from tests.conftest import comp
from tests.data.test_esci import EXAMPLES, FOLDERS, PRODUCTS, tiny, write_a, write_b
from tests.scoring.test_submissions import VALID, save_small, small

SECONDS = 5  # of the processor, so that other work on the machine decides nothing
PATIENCE = 60  # seconds of the clock: who waits for anything hangs
TIMERS = (
    (signal.ITIMER_PROF, signal.SIGPROF, SECONDS),
    (signal.ITIMER_REAL, signal.SIGALRM, PATIENCE),
)
HOSTILE = [
    b"", b" ", b"\0", b'"', b'""', b"'", b",", b",,", b";", b"\t", b"\n", b"\r", b"\r\n", b"\\", b"\xff",
    b"\xef\xbb\xbf",
    "é".encode("latin-1"), b"\xed\xa0\x80", "\u202eevil".encode(), "\u200b".encode(), "\ufeff".encode(), "ﷺ".encode(),
    b"=cmd|' /C calc'!A0", b"@SUM(1)", b"+1", b"-1", b"0", b"007", b"1.0", b"1e308", b"nan", b"None", b"NULL", b"true",
    b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808", b"-9223372036854775809", b"9" * 400,
    b"\x1b]0;title\x07\x1b[2J", b"<!--", b"<script>", b"&#0;", b"exact", b"substitute", b"us", b"jp", b"de",
    b"x" * 70_000,
]  # fmt: skip
Edit = tuple[
    str, float, float, bytes
]  # what, from where to where (shares of the file), and what goes there
Case = Any

edits = st.lists(
    st.tuples(
        st.sampled_from(["insert", "replace", "delete", "double", "cut", "cell", "lines"]),
        st.floats(0, 1),
        st.floats(0, 1),
        st.sampled_from(HOSTILE) | st.binary(max_size=8),
    ),
    max_size=3,
)


def edited(content: bytes, changes: list[Edit]) -> bytes:
    """A file after some edits."""
    for what, one, other, piece in changes:
        first, last = sorted((int(one * len(content)), int(other * len(content))))
        if what == "insert":
            content = content[:first] + piece + content[first:]
        elif what in ("replace", "delete", "double"):
            last = min(last, first + 40)
            middle = {"replace": piece, "delete": b"", "double": 2 * content[first:last]}[what]
            content = content[:first] + middle + content[last:]
        elif what == "cut":
            content = content[:last]
        elif what == "cell":  # from one comma or line to the next
            ends = [i for i, byte in enumerate(content) if byte in b",\n"] or [0]
            i = min(int(one * len(ends)), len(ends) - 1)
            content = content[: ends[i] + 1] + piece + content[ends[min(i + 1, len(ends) - 1)] :]
        else:  # lines in another order, one of them perhaps twice
            lines = content.splitlines(keepends=True) or [b""]
            i, j = (min(int(share * len(lines)), len(lines) - 1) for share in (one, other))
            lines[i] = lines[j]
            content = b"".join(lines)
    return content


# --- watching a command
# ------------------------------------------------------------------------------------------


class Hang(BaseException):
    """A command took too long; no handler of the command's catches it."""


@contextmanager
def _in_time() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang

    before = [signal.signal(number, ring) for _, number, _ in TIMERS]
    try:
        for timer, _, seconds in TIMERS:
            signal.setitimer(timer, seconds)
        yield
    except Hang:
        raise AssertionError(
            f"more than {SECONDS} s of the processor, or {PATIENCE} s of the clock"
        ) from None
    finally:
        for (timer, number, _), handler in zip(TIMERS, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def _state(root: Path) -> dict[str, tuple[int, int]]:
    """What lies in a workspace, and since when."""
    paths = [path for path in root.rglob("*") if path.is_file() and ".locks" not in path.parts]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def watched(counted: Counter[str], root: Path, *arguments: str | Path) -> None:
    """A command that may only succeed, or refuse in one sentence and leave the workspace as it was."""
    before = _state(root)
    with _in_time():
        result = comp(*arguments, "-w", root)
    said = result.output + result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(
        result.exception
    )
    assert result.exit_code in (0, 2), (result.exit_code, said)
    assert "Traceback" not in said, (result.exit_code, said)
    after = _state(root)
    assert not [name for name in after if name.endswith((".tmp", ".old"))], sorted(after)
    if result.exit_code:
        errors = result.stderr.splitlines()
        assert len(errors) == 1, result.stderr
        assert errors[0].startswith("error: "), result.stderr
        assert errors[0].endswith("."), result.stderr
        assert errors[0].isprintable(), errors[0]
        assert len(errors[0]) < 2_000, errors[0]
        assert before == after
    counted[f"{arguments[0]}, {'refused' if result.exit_code else 'taken'}"] += 1


# --- cases
# -------------------------------------------------------------------------------------------------------

answers = st.tuples(st.sampled_from(["check", "score"]), st.sampled_from(sorted(VALID)), edits)
verdicts = edits
packings = st.sampled_from(["plain", "zip", "two", "outside", "broken"])
tables = st.tuples(
    st.sampled_from(
        [
            f"{folder}/{name}"
            for folder in FOLDERS.values()
            for name in ("train", "test_public", "product_catalogue")
        ]
    ),
    edits,
    packings,
)
RETYPED: dict[str, Callable[[pd.Series], Any]] = {
    "text": lambda values: pa.array(values.astype("str")),
    "categories": lambda values: pa.array(values.astype("str")).dictionary_encode(),
    "large text": lambda values: pa.array(values.astype("str")).cast(pa.large_string()),
    "floats": lambda values: pa.array(np.linspace(-1e300, 1e300, len(values))),
    "nullable": lambda values: pa.array([None if i == 3 else i for i in range(len(values))]),
    "wide": lambda values: pa.array(np.arange(len(values), dtype=np.uint64) + np.uint64(2**63)),
    "border": lambda values: pa.array(2**63 - 1 - np.arange(len(values))),
    "bools": lambda values: pa.array(np.arange(len(values)) % 2 == 0),
    "bytes": lambda values: pa.array([b"\xff"] * len(values)),
    "not UTF-8": lambda values: pa.array([b"\xff\xfe"] * len(values)).view(pa.string()),
    "lists": lambda values: pa.array([[1]] * len(values)),
    "times": lambda values: pa.array(pd.date_range("2022-01-01", periods=len(values))),
    "nothing": lambda values: pa.nulls(len(values)),
    "hostile": lambda values: pa.array([HOSTILE[i % 20].decode("utf-8", "ignore") for i in range(len(values))]),
    "one": lambda values: pa.array([str(values.iloc[0])] * len(values)),
}  # fmt: skip
columns = st.tuples(
    st.sampled_from([EXAMPLES, PRODUCTS]),
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from([*RETYPED, "drop", "twice", "rename"])),
        min_size=0,
        max_size=2,
    ),
    st.sampled_from(["rows", "fewer", "doubled", "none"]),
    st.just([]) | edits,
)


def write_columns(folder: Path, case: Case) -> None:
    """Layout A with some columns of one file changed, then some bytes."""
    file, changes, rows, bytes_changed = case
    examples, products = tiny()
    write_a(folder, examples, products)
    frame = examples if file == EXAMPLES else products
    frame = {
        "rows": frame,
        "fewer": frame.iloc[::2],
        "doubled": pd.concat([frame, frame]),
        "none": frame[:0],
    }[rows]
    made = [(name, pa.array(frame[name])) for name in frame.columns]
    for number, change in changes:
        i = number % len(made)
        name, _ = made[i]
        if change in RETYPED and len(frame):
            made[i] = (name, RETYPED[change](frame.iloc[:, min(i, frame.shape[1] - 1)]))
        elif change == "drop" and len(made) > 1:
            del made[i]
        elif change == "twice":
            made.append(made[i])
        elif change == "rename":
            made[i] = (name.upper(), made[i][1])
    pq.write_table(
        pa.table([values for _, values in made], names=[name for name, _ in made]), folder / file
    )
    (folder / file).write_bytes(edited((folder / file).read_bytes(), bytes_changed))


def write_tables(folder: Path, case: Case) -> None:
    """Layout B with one file changed, perhaps packed."""
    file, changes, packing = case
    write_b(folder, *tiny())
    path = folder / f"{file}-v0.3.csv"
    content = edited(path.read_bytes(), changes)
    path.write_bytes(content)
    if packing == "plain":
        return
    packed = path.with_name(f"{path.name}.zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.csv" if packing == "outside" else path.name, content)
        if packing == "two":
            archive.writestr("another.csv", content)
    if packing == "broken":
        packed.write_bytes(
            edited(packed.read_bytes(), [("replace", 0.5, 0.6, b"\xff\xff"), *changes])
        )
    path.unlink()


# --- all of them
# -------------------------------------------------------------------------------------------------


def bad_inputs(folder: Path, count: int, first_seed: int) -> tuple[Counter[str], int]:
    """Try `count` inputs.

    Returns:
        How many commands took and refused them, and how many of the four sorts made a command do
        something else. Of such a sort the smallest input is shown, stays in `folder`, and the next
        sort begins.
    """
    counted: Counter[str] = Counter()
    graded = save_small(folder / "graded", small("ESI", "112")).root
    filled = save_small(folder / "filled", small("ESI", "112")).root
    audited = pd.Series([7, 3, -5, 2**62])

    def answer(case: Case) -> None:
        command, task, changes = case
        file = folder / "answer.csv"
        file.write_bytes(edited(VALID[task].encode(), changes))
        watched(counted, graded, command, file, "--task", task)

    def judged(changes: list[Edit]) -> None:
        file = folder / "verdicts.csv"
        file.write_bytes(
            edited(f"example_id,verdict\n7,wrong\n3,right\n{2**62},unsure\n".encode(), changes)
        )
        with _in_time():
            try:
                read_reviews(file, audited)
                counted["verdicts, taken"] += 1
            except InputError:
                counted["verdicts, refused"] += 1

    def imported(name: str, write: Callable[[Path, Case], None]) -> Callable[[Case], None]:
        def one(case: Case) -> None:
            raw = folder / name
            shutil.rmtree(raw, ignore_errors=True)
            raw.mkdir()
            write(raw, case)
            watched(counted, filled, "data", "import", raw)

        return one

    work, failures = Progress("bad inputs", count, None), 0
    for share, cases, trial in (
        (0.1, columns, imported("columns", write_columns)),
        (0.1, tables, imported("tables", write_tables)),
        (0.2, verdicts, judged),
        (0.6, answers, answer),
    ):
        try:
            explore(cases, trial, round(share * count), first_seed, work)
        except Exception:
            failures += 1
            print(f"wrong: {traceback.format_exc()}", flush=True)
    work.close()
    return counted, failures


def explore(
    cases: st.SearchStrategy[Case],
    trial: Callable[[Case], None],
    count: int,
    first_seed: int,
    work: Progress,
) -> None:
    """Try `count` cases that are drawn from `first_seed`; raises what the smallest of those that fail raises."""

    @seed(first_seed)
    @settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(cases)
    def each(case: Case) -> None:
        trial(case)
        work.advance(1)

    each()
