"""What lies below and above each row, against comparing all pairs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from competition.scoring.ranks import SortedRows


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 9)), max_size=40))
def test_below_minus_above_is_that_of_all_pairs(rows: list[tuple[int, int]]) -> None:
    values, mass = np.array(rows, float).reshape(-1, 2).T
    expected = [mass[values < value].sum() - mass[values > value].sum() for value in values]
    assert SortedRows(values).below_minus_above(mass).tolist() == expected
