"""What `log.jsonl` tells of a run's training: its curves, and what it cost."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LogLine = dict[str, Any]


@dataclass(frozen=True)
class RunCost:
    """What training cost; None where the log does not say."""

    steps: int | None
    seconds: float | None
    rows_per_second: float | None
    memory: float | None  # bytes, the most that was held


@dataclass(frozen=True)
class TrainingPass:
    """The training of one model: lines with a step in order, and what was scored after each epoch."""

    fold: str
    steps: list[LogLine]
    epochs: list[LogLine]


def read_lines(path: Path) -> list[LogLine]:
    """The objects of a log, in order; a line that was cut off by a crash is left out, a missing file has none."""
    if not path.is_file():
        return []
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            found.append(line)
    return found


def last_passes(
    lines: Sequence[LogLine], folds: Sequence[int], seeds: int = 1
) -> list[TrainingPass]:
    """The latest training of each fold, one pass per seed.

    A log grows with every training. A pass begins where steps begin anew; a step that is told
    twice, since training went on from a checkpoint, counts as it was told last.
    """
    found: dict[str, list[TrainingPass]] = {str(fold): [] for fold in folds}
    for line in lines:
        passes = found.get(str(line.get("fold")))
        if passes is None:
            continue
        if isinstance(step := line.get("step"), int) and _is_number(line.get("loss")):
            if not passes or step <= passes[-1].steps[0]["step"]:
                passes.append(TrainingPass(str(line["fold"]), [], []))
            _put(passes[-1].steps, line, "step")
        elif passes and _is_number(line.get("held_out_score")):
            _put(passes[-1].epochs, {**line, "step": passes[-1].steps[-1]["step"]}, "step")
    return [each for passes in found.values() for each in passes[-seeds:]]


def _put(lines: list[LogLine], line: LogLine, key: str) -> None:
    while lines and lines[-1][key] >= line[key]:
        lines.pop()
    lines.append(line)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def training_cost(passes: Sequence[TrainingPass], batch_size: int) -> RunCost:
    """What passes cost together.

    Seconds are those of training steps, by the log's own rate of rows: what lay between two
    commands is not counted.
    """
    if not passes:
        return RunCost(None, None, None, None)
    last = [each.steps[-1] for each in passes]
    steps = sum(line["step"] for line in last)
    seconds = None
    if all(_is_number(rate := line.get("rows_per_second")) and rate for line in last):
        seconds = sum(line["step"] * batch_size / line["rows_per_second"] for line in last)
    held = [
        line["memory"] for each in passes for line in each.steps if _is_number(line.get("memory"))
    ]
    rate = steps * batch_size / seconds if seconds else None
    return RunCost(steps, seconds, rate, max(held) if held else None)
