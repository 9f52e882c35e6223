"""The log of what was submitted, `submissions/leaderboard.csv`, and what the competition answered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from competition.core.atomic import atomic_file
from competition.core.csv_files import SEPARATORS, read_csv, refuse_misspelled
from competition.core.errors import InputError, join_names, short_repr, unknown_name
from competition.core.lazy import pd
from competition.core.workspace import Workspace
from competition.scoring.intervals import Estimate

LOG_COLUMNS = (
    "time", "submission", "task", "run", "metric", "out_of_fold", "low", "high", "can_move", "full_depth", "basis",
    "leaky", "sha256", "public", "private",
)  # fmt: skip
OFFICIAL_SCORES = ("public", "private")  # scores 0..1, empty until somebody records them
SCORE_COLUMNS = ("out_of_fold", "low", "high", *OFFICIAL_SCORES)
_NEEDED = ("time", "submission", "task", "run")
_LOCK = "leaderboard"


@dataclass(frozen=True)
class _Form:
    """The form of a CSV file, which the program that saved it last has decided."""

    separator: str = ","
    mark: str = ""  # of the byte order
    end: str = "\n"


def read_log(workspace: Workspace) -> pd.DataFrame:
    """Read the submissions of the log with every cell as its text, oldest first.

    Columns that an older file lacks are empty. Scores are written with a point, whatever a
    spreadsheet made of it; lines without a submission are left out.

    Raises:
        InputError: the file is not CSV, lacks a column that a log must have, or a score is not a
            number.
    """
    log, _ = _read(workspace)
    log = log[log["submission"] != ""]

    scores = {name: _scores(log[name], workspace) for name in SCORE_COLUMNS}
    return log[list(LOG_COLUMNS)].assign(**scores)


def _scores(column: pd.Series, workspace: Workspace) -> pd.Series:
    """Return scores as Python writes them."""
    # Spreadsheets write a decimal comma where their language has one.
    text = column.str.strip().str.replace(",", ".", regex=False)
    bad = (text != "") & pd.to_numeric(text, errors="coerce").isna()

    if bad.any():
        place = column.index[bad][0]
        cell = short_repr(column[place])
        raise InputError(
            f"{workspace.leaderboard}: row {place + 1} has the {column.name} {cell}, which is not a number."
        )
    return text


def _read(workspace: Workspace) -> tuple[pd.DataFrame, _Form]:
    """Read all that stands in the log, also columns that users added, and how it is written."""
    path = workspace.leaderboard
    if not path.is_file():
        return pd.DataFrame(columns=list(LOG_COLUMNS), dtype="str"), _Form()

    def check(columns: list[str]) -> None:
        for column in LOG_COLUMNS:
            if column not in columns:
                refuse_misspelled(column, columns, str(path))

        for column in _NEEDED:
            if column not in columns:
                raise InputError(
                    f"{path} lacks the column {column!r}: it has {join_names(columns)}: fix or remove it."
                )

    # The first line shows how the program that saved the file writes.
    with path.open("rb") as handle:
        header = handle.readline().decode("utf-8", "replace")
    separator = max((",", *SEPARATORS), key=header.count)
    mark = "\ufeff" if header.startswith("\ufeff") else ""
    end = "\r\n" if header.endswith("\r\n") else "\n"
    form = _Form(separator, mark, end)

    log = read_csv(path, str(path), check, blank_lines=True, separator=separator).to_pandas()
    absent = [column for column in LOG_COLUMNS if column not in log]
    return log.reindex(columns=[*log.columns, *absent], fill_value=""), form


def format_minute(time: str) -> str:
    """Return the time of a line as people see it."""
    return time[:16].replace("T", " ")


def logged_estimate(value: float, low: float, high: float) -> Estimate:
    """Return the out-of-fold score of a line, which counts no queries.

    Lines of earlier versions give the score of a single query an interval without width, which is
    none.
    """
    if low == value == high:
        return Estimate(value, math.nan, math.nan, 0)

    return Estimate(value, low, high, 0)


def append_lines(workspace: Workspace, lines: Sequence[Mapping[str, Any]]) -> None:
    """Add lines to the log, with the time."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with workspace.lock(_LOCK, wait=True):
        log, form = _read(workspace)

        # Columns that users added are empty in new lines.
        new = pd.DataFrame([{"time": now, **line} for line in lines])
        new = new.reindex(columns=log.columns, fill_value="")
        _write(workspace, pd.concat([log, new.astype("str")], ignore_index=True), form)


def record_scores(
    workspace: Workspace,
    name: str,
    task: str | None,
    answers: Mapping[str, float | None],
    within: tuple[float, float] = (0.0, 1.0),
) -> int:
    """Write the official scores of a submission into the newest line of it.

    Args:
        workspace: whose log.
        name: of the submission.
        task: that the answered file is of; may be None where the submission has one file.
        answers: `public` and `private` -> a score; None leaves what is there.
        within: the least and the greatest score.

    Returns:
        The place of the line in the log.

    Raises:
        InputError: no such submission or task is in the log, no task is given and there are
            several, a score is out of range, or no score is given.
    """
    given = {key: value for key, value in answers.items() if value is not None}
    if not given:
        raise InputError("There is no score to record: give --public, --private or both.")
    low, high = within
    for key, value in given.items():
        if not (math.isfinite(value) and low <= value <= high):
            bounds = f"between {low:g} and {high:g}" if math.isfinite(high) else f"{low:g} or more"
            raise InputError(f"--{key} {value} is out of range: a score is {bounds}.")

    with workspace.lock(_LOCK, wait=True):
        log, form = _read(workspace)
        line = _newest(log, name, task)
        for key, value in given.items():
            log.loc[line, key] = repr(value)  # with all its digits
        _write(workspace, log, form)
    return line


def _newest(log: pd.DataFrame, name: str, task: str | None) -> int:
    """Return the place of the newest line of a submission's file."""
    known = [name for name in dict.fromkeys(log["submission"]) if name]
    if name not in known:
        if not known:
            raise InputError(
                f"There is no submission {name!r}: the log is empty, `comp submit` writes its lines."
            )
        raise unknown_name("submission", name, known)

    lines = log[log["submission"] == name]
    tasks = sorted(set(lines["task"]))
    if task is None and len(tasks) > 1:
        raise InputError(
            f"The submission {name!r} answers {', '.join(tasks)}: say which with --task."
        )
    if task is not None and task not in tasks:
        raise InputError(
            f"The submission {name!r} does not answer {task}, only {', '.join(tasks)}."
        )

    # Lines are appended: the last is the newest.
    of_task = lines["task"] == (task or tasks[0])
    return int(lines.index[of_task][-1])


def _write(workspace: Workspace, log: pd.DataFrame, form: _Form) -> None:
    text = log.to_csv(index=False, lineterminator=form.end, sep=form.separator)
    with atomic_file(workspace.leaderboard) as temporary:
        temporary.write_text(form.mark + text, encoding="utf-8", newline="")
