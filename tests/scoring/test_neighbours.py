"""Pairs of rows whose features are nearly the same."""

import numpy as np
import pytest

from competition.scoring import neighbours
from competition.scoring.neighbours import near_pairs


def pairs_of(train: list[float], test: list[float]) -> list[set[tuple[int, int]]]:
    sides = [np.column_stack([each, np.ones(len(each))]) for each in (train, test)]
    found = near_pairs(sides[0], sides[1], np.arange(len(train)), np.arange(len(test)))
    return [set(zip(each.one.tolist(), each.other.tolist(), strict=True)) for each in found]


def test_the_nearest_third_of_the_test_rows_pairs_says_how_near_is_near() -> None:
    # Six pairs of four test rows, at 1, 2, 3, 3, 5 and 6; a third of them lie within 3 - 1/3.
    of_train, of_test = pairs_of([0.0, 2.5, 5.5, 5.5], [0.0, 1.0, 3.0, 6.0])
    assert of_test == {(0, 1), (1, 2)}
    # At 2.5 and 0; those at 3 are too far.
    assert of_train == {(0, 1), (2, 3)}


def test_one_row_has_no_pair() -> None:
    assert pairs_of([0.0, 1.0], [2.0]) == [set(), set()]


def test_large_data_are_looked_at_by_whole_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_MOST_ROWS", 40)
    rng = np.random.default_rng(0)
    features, query = rng.normal(size=(300, 3)), np.arange(300) // 10
    one, other = near_pairs(features, features, query, query)
    rows = np.unique([one.one, one.other])
    assert len(np.unique(query[rows])) <= 4
    np.testing.assert_array_equal(one.one, other.one)
