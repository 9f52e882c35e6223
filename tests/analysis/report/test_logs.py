"""What a log tells: the last training, steps that were repeated, and lines that a crash cut off."""

import json
from pathlib import Path

import pytest

from competition.analysis.report.logs import last_passes, read_lines, training_cost


def steps(*numbers: int, fold: str = "0", rate: float = 100.0) -> list[dict]:
    return [
        {"fold": fold, "epoch": 0, "step": n, "loss": 1 / n, "rows_per_second": rate}
        for n in numbers
    ]


def reached(score: float, fold: str = "0") -> dict:
    return {"fold": fold, "epoch": 0, "held_out_score": score}


def test_lines_that_are_no_objects_are_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    assert read_lines(log) == []
    log.write_text('{"step": 1}\n[2]\n\n{"step": 3, "lo', encoding="utf-8")
    assert read_lines(log) == [{"step": 1}]


def test_the_last_training_of_each_fold_counts() -> None:
    lines = [
        *steps(50, 100),
        reached(0.5),
        *steps(50, 100, 120),
        reached(0.6),
        *steps(50, fold="1"),
        *steps(9, fold="0-1"),
    ]
    first, second = last_passes(lines, [0, 1])
    assert [line["step"] for line in first.steps] == [50, 100, 120]
    assert [(line["step"], line["held_out_score"]) for line in first.epochs] == [(120, 0.6)]
    assert (second.fold, len(second.steps), second.epochs) == ("1", 1, [])


def test_every_seed_of_the_last_training_counts() -> None:
    lines = steps(50, 100) + steps(50, 100) + steps(50, 100)
    assert len(last_passes(lines, [0], seeds=2)) == 2


def test_steps_that_are_told_twice_count_once() -> None:
    lines = [*steps(50, 100), reached(0.5), *steps(100, 150), reached(0.7)]
    (only,) = last_passes(lines, [0])
    assert [line["step"] for line in only.steps] == [50, 100, 150]
    assert [(line["step"], line["held_out_score"]) for line in only.epochs] == [
        (100, 0.5),
        (150, 0.7),
    ]


def test_cost_is_summed_over_models() -> None:
    lines = steps(50, 100, rate=200.0) + steps(50, fold="1", rate=100.0)
    lines[0]["memory"], lines[1]["memory"] = 2**30, 2**31
    spent = training_cost(last_passes(lines, [0, 1]), batch_size=32)
    assert spent.steps == 100 + 50
    assert spent.seconds == pytest.approx(100 * 32 / 200 + 50 * 32 / 100)
    assert spent.rows_per_second == pytest.approx(150 * 32 / (100 * 32 / 200 + 50 * 32 / 100))
    assert spent.memory == 2**31


def test_a_log_may_not_say_what_it_cost() -> None:
    assert training_cost([], 32).seconds is None
    broken = [
        {"fold": "0", "step": 5, "loss": json.loads("NaN")},
        {"fold": "0", "step": 5, "loss": 1.0},
    ]
    spent = training_cost(last_passes(broken, [0]), 32)
    assert (spent.steps, spent.seconds, spent.rows_per_second, spent.memory) == (
        5,
        None,
        None,
        None,
    )
