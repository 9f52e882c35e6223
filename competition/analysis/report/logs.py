"""What `log.jsonl` records of a run's training: its curves, and its cost."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LogLine = dict[str, Any]


@dataclass(frozen=True)
class RunCost:
    """The cost of training; None where the log does not record it."""

    steps: int | None
    seconds: float | None
    rows_per_second: float | None
    memory: float | None  # bytes at the peak


@dataclass(frozen=True)
class TrainingPass:
    """The training of one model: the lines of its steps in order, and its score after each epoch."""

    fold: str
    steps: list[LogLine]
    epochs: list[LogLine]


def read_lines(path: Path) -> list[LogLine]:
    """Return the objects of a log in order, without lines that a crash cut off; a missing file has none."""
    if not path.is_file():
        return []

    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        # A crash may have cut off a line, and the next training appended to it.
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def last_passes(
    lines: Sequence[LogLine], folds: Sequence[int], seeds: int = 1
) -> list[TrainingPass]:
    """Return the latest training of each fold, one pass per seed.

    A log grows with every training. A pass begins where the steps start again; a step that is
    logged twice, since training resumed from a checkpoint, counts as it was logged last.
    """
    by_fold: dict[str, list[TrainingPass]] = {str(fold): [] for fold in folds}
    for line in lines:
        fold = str(line.get("fold"))
        passes = by_fold.get(fold)
        if passes is None:
            continue

        # Lines of steps have a loss, those of epochs a held-out score.
        if isinstance(step := line.get("step"), int) and _is_number(line.get("loss")):
            if not passes or step <= passes[-1].steps[0]["step"]:
                passes.append(TrainingPass(fold, [], []))
            _put(passes[-1].steps, line)
        elif passes and _is_number(line.get("held_out_score")):
            _put(passes[-1].epochs, {**line, "step": passes[-1].steps[-1]["step"]})

    return [each for passes in by_fold.values() for each in passes[-seeds:]]


def _put(lines: list[LogLine], line: LogLine) -> None:
    """Append a line in place of those of the same step and of later ones."""
    while lines and lines[-1]["step"] >= line["step"]:
        lines.pop()
    lines.append(line)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def training_cost(passes: Sequence[TrainingPass], batch_size: int) -> RunCost:
    """Return the cost of passes together.

    Seconds are those of training steps, by the log's own rate of rows: time between two commands
    does not count.
    """
    if not passes:
        return RunCost(None, None, None, None)

    last = [each.steps[-1] for each in passes]
    steps = sum(line["step"] for line in last)

    seconds, rate = None, None
    rates = [line.get("rows_per_second") for line in last]
    if all(_is_number(each) and each for each in rates):
        rows = [line.get("rows", line["step"] * batch_size) for line in last]
        seconds = sum(each / rate for each, rate in zip(rows, rates, strict=True))
        rate = sum(rows) / seconds if seconds else None

    memory: list[Any] = [line.get("memory") for each in passes for line in each.steps]
    peak: float | None = max((each for each in memory if _is_number(each)), default=None)
    return RunCost(steps, seconds, rate, peak)
