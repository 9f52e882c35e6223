"""A sentence on where a workspace stands says what its best run is better than."""

import math

import pandas as pd
import pytest

from competition.scoring.evaluation import DEEP
from competition.scoring.standing import describe_standing

NONE = (math.nan, math.nan, math.nan)
BETTER, LEVEL, WORSE = (0.02, 0.01, 0.03), (0.01, -0.01, 0.03), (-0.02, -0.03, -0.01)
Ends = tuple[float, float, float]


def line(run: str, score: float, above: Ends, floor: Ends, **more: object) -> dict[str, object]:
    """A line of a scoreboard."""
    cells: dict[str, object] = {
        "task": "task2", "split": "out-of-fold", "group": "all", "run": run, "queries": 100,
        "metric": "micro-F1", "better": "higher", "baseline": "all exact", "floor": "lexical", "score": score,
    }  # fmt: skip
    for name, values in (("above_baseline", above), ("above_floor", floor)):
        cells |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return cells | more


def said(*lines: dict[str, object]) -> list[str]:
    return list(describe_standing(pd.DataFrame(lines)))


@pytest.mark.parametrize(
    ("above", "floor", "words"),
    [
        (BETTER, BETTER, "better than lexical, better than all exact"),
        (LEVEL, BETTER, "better than lexical, not significantly different from all exact"),
        (WORSE, LEVEL, "not significantly different from lexical, worse than all exact"),
        ((0.1, math.nan, math.nan), LEVEL, "not significantly different from lexical, with too few "
         "queries to compare it with all exact"),
    ],
)  # fmt: skip
def test_a_difference_counts_where_its_interval_excludes_0(
    above: Ends, floor: Ends, words: str
) -> None:
    lines = [line("lexical", 0.5, LEVEL, NONE), line("blend", 0.6, above, floor)]
    assert said(*lines) == [f"task2: blend is best (micro-F1 0.6000): {words}."]


def test_the_floor_is_not_compared_with_itself() -> None:
    lines = [line("c1", 0.4, LEVEL, WORSE), line("lexical", 0.5, BETTER, NONE)]
    assert said(*lines) == ["task2: lexical is best (micro-F1 0.5000): better than all exact."]


def test_less_may_be_better() -> None:
    lines = [
        line("lexical", 0.5, LEVEL, NONE, better="lower", metric="RMSE"),
        line("blend", 0.4, WORSE, WORSE, better="lower", metric="RMSE"),
    ]
    sentence = "task2: blend is best (RMSE 0.4000): better than lexical, better than all exact."
    assert said(*lines) == [sentence]


def test_lists_of_full_depth_decide_and_test_rows_do_not() -> None:
    lines = [
        line("lexical", 0.9, LEVEL, NONE, group=DEEP),
        line("blend", 0.8, LEVEL, LEVEL, group=DEEP),
        line("lexical", 0.7, LEVEL, NONE),
        line("blend", 0.99, LEVEL, LEVEL),
        line("blend", 1.0, LEVEL, LEVEL, split="test"),
    ]
    assert said(*lines)[0].startswith("task2: lexical is best (micro-F1 0.9000)")
