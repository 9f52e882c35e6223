"""Damaged files of a member's outputs: each must be refused by row."""

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from competition.core.errors import InputError
from competition.scoring.brought_outputs import (
    brought_scheme,
    check_brought_folds,
    match_rows,
    read_brought,
)
from competition.scoring.task import Kind

Cells = list[list[str]]  # the rows of a CSV file, the header first

# Column of the outputs -> what is wrong.
_NO_NUMBERS = ("", "nan", "inf", "-inf", "x", "0,5", "None", "1e999", "--1", "0x1")


def _cell(draw: random.Random, rows: Cells, columns: range, texts: tuple[str, ...]) -> int:
    row = draw.randrange(1, len(rows))
    rows[row][draw.choice(columns)] = draw.choice(texts)
    return row


def _no_number(draw: random.Random, rows: Cells) -> int:
    return _cell(draw, rows, range(1, len(rows[0]) - 1), _NO_NUMBERS)


def _no_probability(draw: random.Random, rows: Cells) -> int:
    return _cell(draw, rows, range(1, len(rows[0]) - 1), ("-0.25", "1.5", "7", "-1e-3"))


def _no_sum(draw: random.Random, rows: Cells) -> int:
    row = draw.randrange(1, len(rows))
    column = draw.randrange(1, len(rows[0]) - 1)
    value = float(rows[row][column])
    rows[row][column] = repr(value - 0.2 if value > 0.5 else value + 0.2)
    return row


def _no_id(draw: random.Random, rows: Cells) -> int:
    return _cell(draw, rows, range(1), ("", "x", "1.5", "-7", "99999999", "1e3", "9" * 30))


def _twice(draw: random.Random, rows: Cells) -> int:
    row = draw.randrange(1, len(rows))
    rows.append(list(rows[row]))
    return len(rows) - 1


def _other_id(draw: random.Random, rows: Cells) -> int:
    first, second = sorted(draw.sample(range(1, len(rows)), 2))
    rows[second][0] = rows[first][0]
    return second


def _other_fold(draw: random.Random, rows: Cells) -> int:
    row = draw.randrange(1, len(rows))
    before = rows[row][-1]
    rows[row][-1] = draw.choice(
        [each for each in ("0", "3", "5", "0.5", "x", "-2") if each != before]
    )
    return row


def _missing(draw: random.Random, rows: Cells) -> str:
    row = draw.randrange(1, len(rows))
    return rows.pop(row)[0]


MUTATIONS: tuple[Callable[[random.Random, Cells], int | str], ...] = (
    _no_number, _no_probability, _no_sum, _no_id, _twice, _other_id, _other_fold, _missing,
)  # fmt: skip


def damaged_members(folder: Path, count: int, seed: int) -> tuple[Counter[str], int]:
    """Damage a file of outputs `count` times; return what was refused, and how many were not, or without their row."""
    from tests.esci import CONTEST

    kind = CONTEST.kind("classes")
    examples, folds, rows = made_up(kind)
    header, *cells = rows
    counted: Counter[str] = Counter()
    wrong = 0
    draw = random.Random(seed)

    for number in range(count):
        damage = MUTATIONS[number % len(MUTATIONS)]
        damaged = [header, *(list(row) for row in cells)]
        place = damage(draw, damaged)
        file = folder / "damaged.csv"
        file.write_text("\n".join(",".join(row) for row in damaged) + "\n", encoding="utf-8")
        sentence = refusal(file, kind, examples, folds)
        named = f"example_id {place}:" if isinstance(place, str) else f"row {place}\\b"
        if sentence is None or not re.search(named, sentence):
            wrong += 1
            print(f"wrong: {damage.__name__} at {place}: {sentence}", flush=True)
        counted[damage.__name__.strip("_").replace("_", " ")] += 1
    return counted, wrong


def refusal(
    file: Path, kind: Kind, examples: pd.DataFrame, folds: dict[str, pd.Series]
) -> str | None:
    """Return the sentence that a file is refused with; None where it is taken."""
    try:
        frame = match_rows(read_brought(file, kind), examples, str(file))
        check_brought_folds(frame, scheme := brought_scheme(frame), folds[scheme], str(file))
    except InputError as error:
        return str(error)
    return None


def made_up(kind: Kind) -> tuple[pd.DataFrame, dict[str, pd.Series], Cells]:
    """Return examples, their folds and a file of outputs that is right."""
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(10_000, 60, replace=False))
    examples = pd.DataFrame(
        {
            "example_id": ids,
            "query_id": np.arange(60) // 3,
            "product_id": [f"P{each}" for each in range(60)],
            "split": np.where(np.arange(60) < 48, "train", "test"),
        }
    )
    fold = pd.Series(np.arange(48) // 3 % 5, index=ids[:48])
    folds = {"five": fold, "ten": fold * 2}
    values = rng.dirichlet(np.ones(len(kind.outputs)), 60)
    rows = [["example_id", *kind.outputs, "fold"]]
    for number, (row_id, row) in enumerate(zip(ids, values, strict=True)):
        of_row = str(fold.iloc[number]) if number < 48 else ""
        rows.append([str(row_id), *map(repr, map(float, row)), of_row])
    return examples, folds, rows
