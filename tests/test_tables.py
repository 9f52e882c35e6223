"""Tables joined by id."""

from random import Random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from competition.tables import mean_by_id


def frame(values: dict[int, float]) -> pd.DataFrame:
    """Outputs by example_id."""
    return pd.DataFrame({"example_id": list(values), "gain": list(values.values())})


def test_the_mean_goes_by_id_whatever_the_order() -> None:
    found = mean_by_id([frame({3: 0.3, 1: 0.1}), frame({1: 0.5, 3: 0.9}), frame({3: 0.0, 1: 0.0})])
    assert found["example_id"].tolist() == [1, 3]
    assert found["gain"].tolist() == pytest.approx([(0.1 + 0.5 + 0) / 3, (0.3 + 0.9 + 0) / 3])
    assert list(found.columns) == ["example_id", "gain"]


def test_columns_go_by_name() -> None:
    one = pd.DataFrame({"example_id": [1], "a": [0.2], "b": [0.6]})
    assert mean_by_id([one, one[["b", "example_id", "a"]]]).to_dict("list") == one.to_dict("list")


@given(st.dictionaries(st.integers(0, 99), st.floats(0, 1), max_size=9), st.randoms(use_true_random=False))
def test_the_mean_of_one_or_of_equals_is_itself_sorted(values: dict[int, float], random: Random) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    expected = [values[key] for key in sorted(values)]
    for frames in ([frame(values)], [frame(values), frame({key: values[key] for key in shuffled})]):
        found = mean_by_id(frames)
        assert found["example_id"].tolist() == sorted(values)
        assert found["gain"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("other", [{1: 0.5}, {1: 0.5, 4: 0.5}, {1: 0.5, 3: 0.5, 4: 0.5}, {1: 0.5, 3: 0.5, 5: 0.5}])
def test_other_examples_are_refused(other: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="must hold the same examples"):
        mean_by_id([frame({1: 0.1, 3: 0.3}), frame(other)])
