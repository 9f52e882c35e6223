"""Leaderboard files: written, checked, graded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from competition.core.atomic import atomic_files
from competition.core.csv_files import parse_integers, read_cells, refuse_rows
from competition.core.errors import CompError, InputError, join_names, pluralize, short_repr
from competition.core.fingerprint import digest_file
from competition.core.json_files import json_text, read_json
from competition.core.lazy import pd
from competition.core.workspace import Workspace
from competition.scoring import leaderboard
from competition.scoring.answers import answers, read_values, write_cells
from competition.scoring.evaluation import Counts, GradedRows
from competition.scoring.task import Kind, Task

_INTEGER_KEYS = {"example_id", "query_id"}  # the others are text, as it stands in the files


def make_answer(
    task: Task, kind: Kind, outputs: pd.DataFrame, examples: pd.DataFrame
) -> pd.DataFrame:
    """Return the answer file of a task for its test rows, joined by example_id.

    Ranking by order: per query, best first, ties by product_id. Otherwise a row for each example: a
    score, a class or a level in words, a number, or probabilities.

    Raises:
        CompError: a test row has no output.
    """
    # A task may be called as an output is: of its rows only what names them is needed.
    names = list(dict.fromkeys(["example_id", "query_id", "product_id", *task.keys]))
    rows = examples.loc[examples[task.name] & (examples["split"] == "test"), names]
    rows = rows.merge(outputs, on="example_id", how="left", validate="one_to_one")

    missing = rows[list(kind.outputs)].isna().any(axis=1)
    if missing.any():
        first = rows.loc[missing, "example_id"].iloc[0]
        raise CompError(
            f"{pluralize(int(missing.sum()), 'test row')} of {task.name} without an output, the first is {first}."
        )

    answer = answers(task, kind, rows)
    keys = rows[list(task.keys)].set_axis(task.header[: len(task.keys)], axis=1)
    if not task.answers:
        # Negated, so that one ascending sort puts the best first and breaks ties by product_id.
        order = rows.assign(answer=-answer).sort_values(["query_id", "answer", "product_id"]).index
        return keys.loc[order].reset_index(drop=True)

    # Rows are sorted by their names: numbers by size, others as text.
    is_hashed = "id" in task.keys and (rows["id"] != rows["example_id"].astype("str")).any()
    order = rows.sort_values("id" if is_hashed else "example_id").index
    cells = write_cells(task, answer).set_axis(rows.index)
    return pd.concat([keys, cells], axis=1).loc[order].reset_index(drop=True)


def to_csv(answer: pd.DataFrame) -> str:
    """Return the text of an answer file."""
    return str(answer.to_csv(index=False, lineterminator="\n"))


# --- checking
# ----------------------------------------------------------------------------------------------------


def read_answer(source: Path | StringIO, name: str, task: Task) -> pd.DataFrame:
    """Read an answer file as it stands: the columns `task.keys`, then `task.answers`.

    Raises:
        InputError: it is missing, empty, not UTF-8 or not CSV, has other columns, a blank cell, an
            id that is not an integer where ids are integers, or what is no answer; the message
            names the first offending row (1 is the first below the header).
    """
    frame = read_cells(source, name, task.header)

    for column in task.header:
        is_blank = frame[column].fillna("").str.strip() == ""
        refuse_rows(name, frame, is_blank, f"has a blank {column}")

    if task.answers:
        is_wrong = pd.DataFrame(read_values(task, frame)).isna().any(axis=1)
        refuse_rows(name, frame, is_wrong, _wrong_answer(task))

    theirs = task.header[: len(task.keys)]
    frame = frame.rename(columns=dict(zip(theirs, task.keys, strict=True)))
    for key in _INTEGER_KEYS.intersection(task.keys):
        frame[key] = parse_integers(frame[key], key, name)
    return frame


def _wrong_answer(task: Task) -> str:
    """Return what is said of a row whose answer is none."""
    if task.metric.reads == "probabilities":
        sums = ", which must sum to 1" if len(task.answers) > 1 else ""
        return f"has no probability from 0 to 1 as {join_names(task.answers)}{sums}"
    if task.words:
        return f"has an unknown {task.answers[0]}: known are {', '.join(task.words)}"
    return f"has no number as {task.answers[0]}"


def check_answer(
    answer: pd.DataFrame, name: str, task: Task, examples: pd.DataFrame, complete: bool = True
) -> None:
    """Refuse what a leaderboard would refuse, or worse, would grade.

    Args:
        answer: from `read_answer`.
        name: of the file, for messages.
        task: what it answers.
        examples: all examples; the test rows of the task must be answered, each exactly once.
        complete: whether missing rows are refused too.

    Raises:
        InputError: an unknown, a duplicated or a missing id.
    """
    keys = list(task.keys)
    is_test = examples[task.name] & (examples["split"] == "test")
    expected = pd.MultiIndex.from_frame(examples.loc[is_test, keys])
    given = pd.MultiIndex.from_frame(answer[keys])

    where = f"is not among the test rows of {task.name}"
    refuse_rows(name, answer, pd.Series(~given.isin(expected)), where)
    refuse_rows(name, answer, pd.Series(given.duplicated()), "repeats an earlier row")

    missing = expected[~expected.isin(given)]
    if complete and len(missing):
        first = missing.to_frame(index=False).astype(object).iloc[0]
        columns = task.header[: len(keys)]
        cells = ", ".join(
            f"{column} {short_repr(value)}" for column, value in zip(columns, first, strict=True)
        )
        raise InputError(
            f"{name}: of {len(expected):,} test rows, {pluralize(len(missing), 'is', 'are')} missing, the first is "
            f"{cells}."
        )


# --- grading
# -----------------------------------------------------------------------------------------------------


def grade(
    answer: pd.DataFrame, task: Task, examples: pd.DataFrame, protocol: str = "paper"
) -> Counts:
    """Compare an answer with the labels of the test rows.

    Rows whose label is unknown are dropped first. A row that the answer lacks is wrong; in a
    ranking it adds no gain.

    Raises:
        InputError: no test row of the task has a label here, or the answer lacks a row where no
            answer is just wrong.
    """
    graded = GradedRows(task, examples[examples["split"] == "test"])
    rows = graded.examples
    if rows.empty:
        raise InputError(
            f"The test rows of {task.name} have no labels here: only the competition can grade this file."
        )

    keys = list(task.keys)
    # The place in the file is the rank where the order is the answer.
    values = -np.arange(len(answer), dtype=np.float64)
    if task.answers:
        values = read_values(task, answer)
    place = pd.MultiIndex.from_frame(answer[keys]).get_indexer(pd.MultiIndex.from_frame(rows[keys]))
    is_there = place >= 0  # (rows,)
    # The place -1 is the last one: nothing.
    given = np.concatenate([values, np.full((1, *values.shape[1:]), np.nan)])[place]

    if task.ranks:
        given = np.where(is_there, given, 0.0)
        return graded.count(given, protocol, ranked=is_there)
    if task.metric.reads == "class":
        # No class.
        return graded.count(np.where(is_there, given, -1.0))
    if not is_there.all():
        raise InputError(
            f"{pluralize(int((~is_there).sum()), 'test row')} of {task.name} without an answer, and "
            f"{task.metric.label} has none that is just wrong: answer every row."
        )
    return graded.count(given)


# --- writing
# -----------------------------------------------------------------------------------------------------

_CARD = "submission.json"


def write_submission(
    workspace: Workspace,
    name: str,
    files: Mapping[str, str],
    card: Mapping[str, Any],
    log: list[dict[str, Any]],
) -> None:
    """Write checked answer files, a dated line each to the leaderboard log, and `submission.json`.

    Args:
        workspace: where to.
        name: of the submission's folder; answer files that it held before and `files` lacks are
            removed.
        files: name -> text.
        card: what the files were made from, under "inputs" and whatever else is known.
        log: the lines without their time.
    """
    folder = workspace.submission(name)
    hashes = {file: digest_bytes(text.encode()) for file, text in files.items()}

    with atomic_files(*(folder / file for file in files), folder / _CARD) as (*answers, described):
        for temporary, text in zip(answers, files.values(), strict=True):
            temporary.write_text(text, encoding="utf-8")
        described.write_text(json_text({**card, "sha256": hashes}), encoding="utf-8")

        # Before the files take their places: a log that cannot be written leaves them as they were.
        leaderboard.append_lines(workspace, log)
        for old in folder.glob("*.csv"):
            if old.name not in files:
                old.unlink()


def recorded_fingerprint(folder: Path) -> str | None:
    """Return the fingerprint of a submission's inputs; None where a file of it is missing or was changed."""
    card = read_json(folder / _CARD)
    for file, expected in card.get("sha256", {}).items():
        path = folder / file
        if not path.is_file() or digest_file(path) != expected:
            return None

    return card.get("inputs")


def digest_bytes(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
