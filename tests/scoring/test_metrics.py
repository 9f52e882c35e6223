"""nDCG, F1 and intervals against arithmetic by hand, golden values and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, ndcg_score

from benchmarks import coverage
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
    assert metrics.movable(query, np.array([0.0, 1.0, 0.1, 0.1])).tolist() == [False, True]


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
    _, expected = metrics.random_ndcg_per_query(np.zeros(4, np.int64), gain)
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


def test_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(1).normal(0.8, 0.1, 400)
    estimate = metrics.bootstrap(np.column_stack([values, np.ones(400)]), metrics.mean)
    half = 1.96 * values.std() / math.sqrt(400)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.25 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.25 * half)


def test_bootstrap_in_chunks_is_the_bootstrap_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.column_stack([np.random.default_rng(2).random(50), np.ones(50)])
    whole = metrics.bootstrap(counts, metrics.mean)
    monkeypatch.setattr(metrics, "CHUNK", 120)
    pieces = metrics.bootstrap(counts, metrics.mean)
    assert (pieces.value, pieces.low, pieces.high) == pytest.approx(
        (whole.value, whole.low, whole.high), rel=1e-12
    )


def test_paired_difference_is_narrow_where_both_vary_together() -> None:
    rng = np.random.default_rng(3)
    hard, noise = rng.normal(0.8, 0.2, 300), rng.normal(0, 0.01, 300)
    ones = np.ones(300)
    one, other = np.column_stack([hard + 0.01 + noise, ones]), np.column_stack([hard, ones])
    paired = metrics.paired_difference(one, other, metrics.mean)
    alone = metrics.bootstrap(one, metrics.mean)
    assert 0 < paired.low < 0.01 + noise.mean() < paired.high
    assert paired.high - paired.low < (alone.high - alone.low) / 5


def test_no_queries_is_nan() -> None:
    estimate = metrics.bootstrap(np.empty((0, 2)), metrics.mean)
    assert math.isnan(estimate.value)
    assert estimate.queries == 0


@pytest.mark.parametrize(("queries", "has"), [(1, False), (9, False), (10, True), (80, True)])
def test_below_ten_queries_there_is_no_interval_and_no_verdict(queries: int, has: bool) -> None:
    counts = np.column_stack([np.linspace(0.5, 0.7, queries), np.ones(queries)])
    estimate = metrics.bootstrap(counts, metrics.mean)
    assert estimate.value == pytest.approx(counts[:, 0].mean())
    assert estimate.queries == queries
    assert estimate.has_interval == estimate.differs == has == (estimate.low < estimate.high)
    if not has:
        assert f"{estimate:+}" == f"{estimate.value:+.4f} –"
    assert metrics.Estimate.from_json(estimate.as_json()).as_json() == estimate.as_json()


def test_what_is_unknown_is_null_in_json() -> None:
    assert metrics.Estimate(0.5, math.nan, math.nan, 3).as_json() == {
        "value": 0.5, "low": None, "high": None, "queries": 3
    }  # fmt: skip


def test_from_80_queries_on_the_interval_is_that_of_the_percentiles() -> None:
    values = np.random.default_rng(4).random(80)
    drawn = np.random.default_rng(0).integers(0, 80, (1_000, 80))
    expected = np.percentile(values[drawn].mean(axis=1), (2.5, 97.5))
    estimate = metrics.bootstrap(np.column_stack([values, np.ones(80)]), metrics.mean)
    assert (estimate.low, estimate.high) == pytest.approx(expected)


def test_few_queries_have_at_least_student_s_interval() -> None:
    values = np.random.default_rng(5).normal(0.5, 0.1, 40)
    estimate = metrics.bootstrap(np.column_stack([values, np.ones(40)]), metrics.mean)
    half = 2.0227 * values.std(ddof=1) / math.sqrt(40)  # Student's t with 39 degrees of freedom
    assert estimate.low <= values.mean() - 0.999 * half
    assert estimate.high >= values.mean() + 0.999 * half


@pytest.mark.parametrize(
    ("z", "freedom", "expected"), [(1.959964, 9, 2.2622), (1.644854, 29, 1.6991)]
)
def test_student_s_quantiles(z: float, freedom: int, expected: float) -> None:
    assert metrics.student_quantile(z, freedom) == pytest.approx(expected, abs=5e-4)


def test_equal_queries_leave_nothing_open_and_an_interval_stays_within_its_range() -> None:
    same = metrics.bootstrap(np.ones((12, 2)), metrics.mean)
    assert (same.low, same.high) == (1, 1)
    values = np.r_[np.ones(14), 0.2]
    counts = np.column_stack([values, np.ones(15)])
    assert (
        metrics.bootstrap(counts, metrics.mean).high
        > 1
        == metrics.bootstrap(counts, metrics.mean, within=(0, 1)).high
    )


def test_nine_in_ten_intervals_and_more_cover_the_truth_at_ten_queries() -> None:
    """`benchmarks/coverage.py` in small: 200 trials know a share of .95 to 0.015."""
    (lists, *_) = coverage.make_populations(queries=2_000)
    assert min(coverage.coverage(lists, 10, trials=200)) > 0.9
    assert not metrics.Estimate(0.1, -0.1, 0.3, 9).differs
    assert not metrics.Estimate(*(float("nan"),) * 3, queries=0).differs
