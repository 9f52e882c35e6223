"""The table of scores has a line per run and group of queries, with differences to three others."""

import numpy as np
import pandas as pd
import pytest

from competition.scoring.counted_runs import CountedRuns
from competition.scoring.evaluation import MOVABLE
from competition.scoring.predictions import Run, RunPlan
from competition.scoring.scoreboard import best_runs, leading_lines, scoreboard
from tests.esci import CONTEST, KINDS, LABELS, TASKS

# 15 lists of an exact and a substitute product, and 15 of two exact ones, which cannot move.
LISTS = ["ES"] * 15 + ["EE"] * 15
TRUTH = np.array([LABELS.index({"E": "exact", "S": "substitute"}[c]) for c in "".join(LISTS)])
ROWS = len(TRUTH)


def examples() -> pd.DataFrame:
    labels = pd.Series([LABELS[code] for code in TRUTH], dtype="str")
    return pd.DataFrame(
        {
            "example_id": range(ROWS),
            "query_id": np.arange(ROWS) // 2,
            "product_id": [f"p{i}" for i in range(ROWS)],
            "locale": "us",
            "label": labels,
            "substitute": labels == "substitute",
            "split": "train",
            **dict.fromkeys(TASKS, True),
        }
    )


def run(name: str, codes: np.ndarray) -> tuple[RunPlan, Run]:
    """A run that is sure of these labels."""
    kind = KINDS["classes"]
    columns = dict(zip(kind.outputs, np.eye(len(LABELS))[codes].T, strict=True))
    outputs = pd.DataFrame({"example_id": range(ROWS), **columns})
    plan = RunPlan(name, kind, kind.tasks, "comp train", ())
    return plan, Run(name, kind, outputs, np.zeros(ROWS, np.int64), outputs.iloc[:0])


@pytest.fixture(scope="module")
def board() -> pd.DataFrame:
    # The one knows every label, the other takes both products of five lists for the other label.
    wrong = TRUTH.copy()
    wrong[:10] = np.where(TRUTH[:10] == TRUTH[0], TRUTH[1], TRUTH[0])
    made = [run("wrong", wrong), run("right", TRUTH)]
    counted = CountedRuns(CONTEST.tasks.values(), examples())
    for plan, outputs in made:
        counted.add(plan, outputs)
    floors = dict.fromkeys(TASKS, "wrong")
    return scoreboard(counted, [plan for plan, _ in made], floors)


def test_each_run_is_compared_with_the_best_of_its_group(board: pd.DataFrame) -> None:
    lines = board[board["task"] == "task2"].set_index("run")
    assert lines.loc["right", "score"] == 1
    assert lines.loc["wrong", "score"] == pytest.approx((ROWS - 10) / ROWS)
    assert np.isnan(lines.loc["right", "above_best"])
    assert lines.loc["wrong", "above_best"] == pytest.approx(-10 / ROWS)
    # The interval is that of the same pairs, seen from the other side.
    assert lines.loc["wrong", "above_best_low"] == pytest.approx(
        -lines.loc["right", "above_floor_high"]
    )
    assert best_runs(board) == dict.fromkeys(TASKS, "right")


def test_lists_that_can_move_have_lines_where_others_cannot(board: pd.DataFrame) -> None:
    ranking = board[board["task"] == "task1"]
    assert dict(ranking.groupby("group")["queries"].first()) == {"all": 30, MOVABLE: 15}
    assert set(leading_lines(ranking)["group"]) == {MOVABLE}
    assert set(board.loc[board["task"] != "task1", "group"]) == {"all"}
