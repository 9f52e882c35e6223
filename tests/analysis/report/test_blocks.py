"""What cells of the page say."""

from competition.analysis.report.blocks import estimate
from competition.scoring.intervals import Estimate


def test_a_score_is_drawn_with_its_interval() -> None:
    cell = estimate(Estimate(0.5, 0.25, 0.75, 8), scale=(0.0, 1.0))
    assert (cell.text, cell.detail, cell.interval) == (
        "0.5000",
        "[0.2500, 0.7500]",
        (0.25, 0.5, 0.75),
    )


def test_one_query_has_no_interval() -> None:
    cell = estimate(Estimate(0.5, float("nan"), float("nan"), 9), "+", scale=(0.0, 1.0))
    assert (cell.text, cell.detail, cell.interval) == ("+0.5000", "–", None)
