"""Where a workspace stands, in a sentence per task: its best run beside the lexical and the trivial baseline."""

from collections.abc import Iterator

import pandas as pd

from competition.scoring.metric_table import HIGHER
from competition.scoring.metrics import Estimate
from competition.scoring.scoreboard import best_first, leading_lines


def describe_standing(board: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each task: the run with the best out-of-fold score, and what it is better than.

    A difference is significant where its 95 % interval excludes 0.

    Args:
        board: lines of `scoreboard`, all of them.
    """
    graded = board[board["split"] == "out-of-fold"]
    for task, lines in graded.groupby("task", sort=False):
        lines = best_first(leading_lines(lines))
        best = lines.iloc[0]
        others = [(str(best["baseline"]), _difference(best, "above_baseline"))]
        if best["run"] != best["floor"] and pd.notna(best["above_floor"]):
            others.insert(0, (str(best["floor"]), _difference(best, "above_floor")))

        is_higher = best["better"] == HIGHER
        compared = [f"{_standing(difference, is_higher)} {name}" for name, difference in others]
        score = f"{best['metric']} {best['score']:.4f}"
        yield f"{task}: {best['run']} is best ({score}): {', '.join(compared)}."


def _difference(line: pd.Series, name: str) -> Estimate:
    value, low, high = (float(line[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return Estimate(value, low, high, int(line["queries"]))


def _standing(difference: Estimate, is_higher: bool) -> str:
    """Return how a run stands to another by the difference of their scores."""
    if not difference.has_interval:
        return "with too few queries to compare it with"
    if not difference.differs:
        return "not significantly different from"
    return "better than" if (difference.value > 0) == is_higher else "worse than"
