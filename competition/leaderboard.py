"""The log of what was submitted, `submissions/leaderboard.csv`, and what the competition answered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from competition.errors import InputError, unknown
from competition.files.atomic import atomic_file
from competition.frames import pd
from competition.metrics import Estimate
from competition.workspace import Workspace

COLUMNS = (
    "time", "submission", "task", "run", "metric", "out_of_fold", "low", "high", "can_move", "full_depth", "basis",
    "leaky", "sha256", "public", "private",
)  # fmt: skip
ANSWERS = ("public", "private")  # scores 0..1, empty until somebody records them
_LOCK = "leaderboard"


def read_log(workspace: Workspace) -> pd.DataFrame:
    """The log with every cell as its text, oldest line first; columns that an older file lacks are empty.

    Raises:
        InputError: the file is no CSV.
    """
    path = workspace.leaderboard
    if not path.is_file():
        return pd.DataFrame(columns=list(COLUMNS), dtype="str")
    try:
        log = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except ValueError as error:
        raise InputError(
            f"{path} is no readable CSV file ({' '.join(str(error).split())}): mend or remove it."
        ) from None
    return log.reindex(columns=list(COLUMNS), fill_value="")


def minute(time: str) -> str:
    """The time of a line as people see it."""
    return time[:16].replace("T", " ")


def expected(value: float, low: float, high: float) -> Estimate:
    """Return the out-of-fold score of a line, which counts no queries.

    Lines of earlier versions give the score of a single query an interval without width, which is none.
    """
    return Estimate(value, math.nan, math.nan, 0) if low == value == high else Estimate(value, low, high, 0)


def append(workspace: Workspace, lines: Sequence[Mapping[str, Any]]) -> None:
    """Add lines to the log, with the time."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with workspace.lock(_LOCK, wait=True):
        new = pd.DataFrame([{"time": now, **line} for line in lines]).reindex(columns=list(COLUMNS), fill_value="")
        _write(workspace, pd.concat([read_log(workspace), new.astype("str")], ignore_index=True))


def record(workspace: Workspace, name: str, task: str | None, answers: Mapping[str, float | None]) -> int:
    """Write what the competition answered to a submission into the newest line of it.

    Args:
        workspace: whose log.
        name: of the submission.
        task: that the answered file is of; may be None where the submission has one file.
        answers: `public` and `private` -> a score 0..1; None leaves what is there.

    Returns:
        The place of the line in the log.

    Raises:
        InputError: no such submission or task is in the log, the task is not said and there are several, a score is out
            of range, or there is none.
    """
    given = {key: value for key, value in answers.items() if value is not None}
    if not given:
        raise InputError("There is no score to record: give --public, --private or both.")
    for key, value in given.items():
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise InputError(f"--{key} {value} is out of range: a score is between 0 and 1.")
    with workspace.lock(_LOCK, wait=True):
        log = read_log(workspace)
        line = _newest(log, name, task)
        for key, value in given.items():
            log.loc[line, key] = repr(value)
        _write(workspace, log)
    return line


def _newest(log: pd.DataFrame, name: str, task: str | None) -> int:
    """The place of the newest line of a submission's file."""
    known = list(dict.fromkeys(log["submission"]))
    if name not in known:
        if not known:
            raise InputError(f"There is no submission {name!r}: the log is empty, `comp submit` writes its lines.")
        raise unknown("submission", name, known)
    lines = log[log["submission"] == name]
    tasks = sorted(set(lines["task"]))
    if task is None and len(tasks) > 1:
        raise InputError(f"The submission {name!r} answers {', '.join(tasks)}: say which with --task.")
    if task is not None and task not in tasks:
        raise InputError(f"The submission {name!r} does not answer {task}, only {', '.join(tasks)}.")
    return int(lines.index[lines["task"] == (task or tasks[0])][-1])


def _write(workspace: Workspace, log: pd.DataFrame) -> None:
    with atomic_file(workspace.leaderboard) as temporary:
        log.to_csv(temporary, index=False, lineterminator="\n")
