"""Flags against the disagreement of people."""

import numpy as np
import pandas as pd
import pytest

from competition.noise.raters import RaterAgreement, rater_agreement


def judged(queries: int = 40, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ten rows per query, the first of which is flagged; raters disagree on it and on one row in ten of the others."""
    rng = np.random.default_rng(seed)
    rows = 10 * queries
    first = np.arange(rows) % 10 == 0
    disagreed = first | (rng.random(rows) < 0.1)
    flags = pd.DataFrame(
        {
            "example_id": np.arange(rows),
            "rank": np.where(first, 1.0, np.nan),
            "quality": np.where(first, 0.1, 0.9),
        }
    )
    examples = pd.DataFrame(
        {
            "example_id": np.arange(rows)[::-1],
            "query_id": (np.arange(rows) // 10)[::-1],
            "a": "1",
            "b": np.where(disagreed, "2", "1")[::-1],
            "c": None,
        }
    )
    return flags, examples


def test_shares_are_those_of_the_rows() -> None:
    flags, examples = judged()
    found = rater_agreement(flags, examples, ("a", "b", "c"))
    assert isinstance(found, RaterAgreement)
    assert (found.rows, found.flagged) == (400, 40)
    assert found.of_flagged.value == 1.0
    others = found.disagreed - 40
    assert found.of_others.value == pytest.approx(others / 360)
    assert found.difference.value == pytest.approx(1 - others / 360)
    # A row that is disagreed on has the lower quality unless it is one of the others: a tie is a half.
    share = 40 / (40 + others)
    assert found.auc.value == pytest.approx(share + (1 - share) / 2)
    assert found.sentence == "Raters disagree more often on flagged rows than on others."


def test_rows_of_one_rater_say_nothing() -> None:
    flags, examples = judged()
    assert rater_agreement(flags, examples, ("a", "c")) is None
    examples.loc[examples["example_id"] < 200, "b"] = None
    found = rater_agreement(flags, examples, ("a", "b"))
    assert found is not None
    assert found.rows == 200


def test_flags_at_random_do_not_differ() -> None:
    flags, examples = judged()
    rng = np.random.default_rng(1)
    flags = flags.assign(rank=np.where(rng.random(len(flags)) < 0.2, 1.0, np.nan))
    found = rater_agreement(flags, examples, ("a", "b"))
    assert found is not None
    assert not found.difference.differs
    assert "not disagreed on significantly" in found.sentence
