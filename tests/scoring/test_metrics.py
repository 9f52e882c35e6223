"""nDCG and F1 against arithmetic by hand, golden values and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, ndcg_score

from competition.scoring import metrics
from tests.esci import GAINS, LABEL_LETTERS

GOLDEN = ["E", "I", "S", "S", "S", "I", "I", "S", "I", "I", "S", "I", "I", "S", "E", "E"]


def one_query(gain: list[float], score: list[float], **more: object) -> float:
    """The nDCG of a single list."""
    _, values = metrics.ndcg_per_query(
        np.zeros(len(gain), np.int64), np.array(gain), np.array(score), **more
    )
    return float(values[0])


@pytest.mark.parametrize(
    ("protocol", "expected"), [("paper", 0.730359), ("official_script", 0.704560)]
)
def test_golden_list(protocol: str, expected: float) -> None:
    gain = [GAINS[protocol][LABEL_LETTERS[letter]] for letter in GOLDEN]
    assert one_query(gain, [-float(i) for i in range(len(gain))]) == pytest.approx(
        expected, abs=5e-7
    )


def test_three_products_by_hand() -> None:
    # Ranked substitute, exact, irrelevant; ideal exact, substitute, irrelevant.
    dcg = 0.1 / math.log2(2) + 1.0 / math.log2(3) + 0.0
    ideal = 1.0 / math.log2(2) + 0.1 / math.log2(3)
    assert one_query([0.1, 1.0, 0.0], [3, 2, 1]) == pytest.approx(dcg / ideal)


def test_ties_go_by_the_tie_key_else_by_the_order_of_rows() -> None:
    best_first, worst_first = one_query([1.0, 0.0], [5, 5]), one_query([0.0, 1.0], [5, 5])
    assert best_first == 1.0
    assert worst_first == pytest.approx(1 / math.log2(3))
    assert one_query([0.0, 1.0], [5, 5], tie=np.array([1, 0])) == 1.0


@pytest.mark.parametrize(
    ("least", "greatest"),
    [(0, 5), (-5, 5), (0, 2**62), (2**61, 2**62)],
    ids=["small", "negative", "large", "none small"],
)
@pytest.mark.parametrize("ties", [False, True])
def test_rows_are_in_the_order_of_their_queries_then_ties_then_places(
    least: int, greatest: int, ties: bool
) -> None:
    rng = np.random.default_rng(1)
    query, tie = rng.integers(least, greatest, 200), rng.integers(least, greatest, 200)
    query[100:] = query[:100]
    tie[50:150] = tie[0]
    keys = list(zip(query, tie if ties else [0] * 200, range(200), strict=True))
    expected = [place for _, _, place in sorted(keys)]
    assert metrics._list_order(query, tie if ties else None).tolist() == expected


def test_a_missing_row_adds_to_the_ideal_alone() -> None:
    listed = np.array([False, True])
    assert one_query([1.0, 0.1], [2, 1], ranked=listed) == pytest.approx(
        0.1 / (1 + 0.1 / math.log2(3))
    )
    assert one_query([1.0, 0.1], [2, 1], ranked=np.array([False, False])) == 0.0


def test_no_gain_is_nan_and_equal_gains_score_one() -> None:
    query = np.array([7, 7, 3, 3])
    queries, values = metrics.ndcg_per_query(
        query, np.array([0.0, 0.0, 0.1, 0.1]), np.array([1.0, 2, 1, 2])
    )
    assert queries.tolist() == [3, 7]
    assert values[0] == 1.0
    assert math.isnan(values[1])
    assert metrics.RankedLists(query, np.array([0.0, 1.0, 0.1, 0.1])).movable().tolist() == [
        False,
        True,
    ]


@given(
    st.lists(st.sampled_from([1.0, 0.1, 0.01, 0.0]), min_size=2, max_size=40).filter(
        lambda g: max(g) > 0
    ),
    st.randoms(use_true_random=False),
)
def test_agrees_with_scikit_learn(gain: list[float], random: object) -> None:
    score = list(range(len(gain)))
    random.shuffle(score)  # type: ignore[attr-defined]
    assert one_query(gain, score) == pytest.approx(ndcg_score([gain], [score]), abs=1e-12)


def test_random_order_is_the_mean_over_all_orders() -> None:
    from itertools import permutations

    gain = np.array([1.0, 0.1, 0.0, 0.01])
    every = [one_query(list(gain), [float(s) for s in order]) for order in permutations(range(4))]
    expected = metrics.RankedLists(np.zeros(4, np.int64), gain).random_ndcg()
    assert expected[0] == pytest.approx(np.mean(every))


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60
    )
)
def test_f1_agrees_with_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    query, truth, predicted = (np.array(column) for column in zip(*rows, strict=True))
    _, counts = metrics.confusion_per_query(query, truth, predicted, 4)
    total = counts.sum(0)
    assert metrics.micro_f1(total) == pytest.approx(f1_score(truth, predicted, average="micro"))
    assert metrics.macro_f1(total) == pytest.approx(f1_score(truth, predicted, average="macro"))


def test_shuffled_rows_give_the_same_counts() -> None:
    rng = np.random.default_rng(0)
    query, gain, score = rng.integers(0, 9, 80), rng.choice([1.0, 0.1, 0.0], 80), rng.random(80)
    order = rng.permutation(80)
    plain = metrics.ndcg_per_query(query, gain, score)
    shuffled = metrics.ndcg_per_query(query[order], gain[order], score[order])
    np.testing.assert_allclose(plain[1], shuffled[1], rtol=1e-12)


@given(
    st.integers(1, 70).flatmap(
        lambda longest: st.lists(
            st.lists(
                st.one_of(
                    st.sampled_from(
                        [0.0, -0.0, 1.0, 1.0 + 2**-52, -1.0, 5e-324, math.inf, -math.inf, math.nan]
                    ),
                    st.floats(width=64),
                ),
                min_size=longest,
                max_size=longest,
            ),
            min_size=1,
            max_size=4,
        )
    )
)
def test_lists_are_sorted_as_a_stable_sort_does(rows: list[list[float]]) -> None:
    keys = np.array(rows)
    expected = np.argsort(keys, axis=1, kind="stable")
    np.testing.assert_array_equal(metrics._stable_order(keys), expected)
