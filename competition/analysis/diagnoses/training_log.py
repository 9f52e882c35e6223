"""What a run's `log.jsonl` says of each model's last training, without reading every line."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Lines that are decoded: of epochs, and of what is known before the first step.
_EPOCH, _CUT = '"held_out_score"', '"rows_cut"'


@dataclass(frozen=True)
class Training:
    """The last training of the model of one fold and seed.

    Attributes:
        scores: the held-out score after each epoch; None where the rows have no label.
        steps: of the optimizer, in all; 0 where the log does not say.
        rows_per_second: of the last step, 0 where the log does not say.
        rows_cut: the share of rows whose text is longer than the model reads; None where unknown.
    """

    fold: str
    seed: int
    scores: tuple[float | None, ...]
    steps: int
    rows_per_second: float
    rows_cut: float | None


def read_trainings(path: Path) -> list[Training]:
    """Return the last training of each fold and seed, in the order of the log; none where there is no log."""
    if not path.is_file():
        return []

    epochs: dict[tuple[str, int], list[tuple[float | None, dict[str, Any]]]] = {}
    cut: dict[str, float] = {}
    before = ""
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if _CUT in text:
            line = _decode(text)
            cut[str(line.get("fold"))] = float(line.get("rows_cut", 0.0))
        elif _EPOCH in text:
            line, step = _decode(text), _decode(before)
            of_model = epochs.setdefault((str(line.get("fold")), line.get("seed", 0)), [])
            # An epoch that is logged again, since training began again or resumed, counts as it was logged last.
            del of_model[int(line.get("epoch", 0)) :]
            of_model.append((line.get("held_out_score"), step))
        before = text

    return [_training(key, lines, cut.get(key[0])) for key, lines in epochs.items()]


def _training(
    key: tuple[str, int], lines: Sequence[tuple[float | None, dict[str, Any]]], cut: float | None
) -> Training:
    last = lines[-1][1]
    return Training(
        fold=key[0],
        seed=key[1],
        scores=tuple(score for score, _ in lines),
        steps=int(last.get("step", 0)),
        rows_per_second=float(last.get("rows_per_second", 0.0)),
        rows_cut=cut,
    )


def _decode(text: str) -> dict[str, Any]:
    """Return a line of the log; empty where a crash cut it off."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
