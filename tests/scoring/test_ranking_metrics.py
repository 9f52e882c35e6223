"""Metrics of lists against their definitions, trec_eval's readings and all orders of short lists."""

import math
from collections.abc import Callable
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from competition.scoring import metrics
from competition.scoring.metric_table import Metric, Rows, find_metric

NAMES = ("ndcg", "ndcg@1", "ndcg@3", "map", "mrr", "precision@1", "precision@3", "recall@3")


def ndcg(gains: list[float], k: int | None = None) -> float:
    def dcg(ranked: list[float]) -> float:
        return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(ranked[:k], start=1))

    return dcg(gains) / dcg(sorted(gains, reverse=True))


def average_precision(gains: list[float]) -> float:
    ranks = [rank for rank, gain in enumerate(gains, start=1) if gain >= 1]
    return sum(found / rank for found, rank in enumerate(ranks, start=1)) / len(ranks)


# From the gains of a list as it is ranked to its value, as a textbook defines it.
PLAIN: dict[str, Callable[[list[float]], float]] = {
    "ndcg": ndcg,
    "ndcg@1": lambda gains: ndcg(gains, 1),
    "ndcg@3": lambda gains: ndcg(gains, 3),
    "map": average_precision,
    "mrr": lambda gains: max(1 / rank for rank, gain in enumerate(gains, start=1) if gain >= 1),
    "precision@1": lambda gains: float(gains[0] >= 1),
    "precision@3": lambda gains: sum(gain >= 1 for gain in gains[:3]) / 3,
    "recall@3": lambda gains: sum(g >= 1 for g in gains[:3]) / sum(g >= 1 for g in gains),
}


def values(metric: Metric, gain: list[float], score: list[float], **more: object) -> float:
    """The value of a single list."""
    rows = Rows(np.zeros(len(gain), np.int64), np.array(gain), np.array(score, float), **more)  # type: ignore[arg-type]
    _, counts = metric.count(rows)
    assert counts[:, 1].tolist() == [1]
    return float(counts[0, 0])


@pytest.mark.parametrize("name", NAMES)
def test_each_list_has_the_value_of_the_definition(name: str) -> None:
    """Lists of 1 to 30 rows in a random order of rows, ties by a key."""
    rng = np.random.default_rng(0)
    query = rng.permutation(np.repeat(np.arange(40) * 7, rng.integers(1, 31, 40)))
    gain = rng.choice([0.0, 0.5, 1.0, 2.0], len(query), p=[0.6, 0.2, 0.1, 0.1])
    score = rng.integers(0, 5, len(query)).astype(float)
    tie = rng.permutation(len(query))

    metric = find_metric(name)
    queries, counts = metric.count(Rows(query, gain, score, tie=tie))
    assert queries.tolist() == np.unique(query).tolist()

    for q, (value, one) in zip(queries, counts, strict=True):
        rows = np.flatnonzero(query == q)
        ranked = gain[sorted(rows, key=lambda row: (-score[row], tie[row]))].tolist()
        has_value = max(ranked) > 0 if name.startswith("ndcg") else max(ranked) >= 1
        assert one == 1
        assert math.isnan(value) != has_value
        if has_value:
            assert value == pytest.approx(PLAIN[name](ranked), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_random_order_and_movable_are_those_of_all_orders(name: str) -> None:
    metric = find_metric(name)
    assert metric.random is not None
    assert metric.movable is not None

    for gain in (g for n in range(1, 6) for g in product([0.0, 0.5, 1.0], repeat=n)):
        orders = np.array(list(permutations(range(len(gain)))), np.float64)  # (orders, rows)
        query = np.repeat(np.arange(len(orders)), len(gain))
        _, counts = metric.count(Rows(query, np.tile(gain, len(orders)), orders.ravel()))
        every = counts[:, 0]
        rows = Rows(np.zeros(len(gain), np.int64), np.array(gain), np.zeros(len(gain)))
        _, expected = metric.random(rows)

        assert expected[0] == pytest.approx([np.mean(every), 1], abs=1e-12, nan_ok=True)
        (moves,) = metric.movable(rows)
        if not math.isnan(every[0]):
            assert moves == (max(every) - min(every) > 1e-12)


def test_random_order_of_many_queries_is_that_of_each() -> None:
    rng = np.random.default_rng(1)
    query, gain = rng.integers(0, 30, 300), rng.integers(0, 2, 300).astype(float)
    for name in NAMES:
        random = find_metric(name).random
        assert random is not None
        queries, together = random(Rows(query, gain, gain))
        alone = [random(Rows(query[query == q], gain[query == q], gain))[1][0] for q in queries]
        np.testing.assert_allclose(together, alone, atol=1e-12)


def test_precision_at_k_divides_by_k_and_unlisted_rows_stay_relevant_as_in_trec_eval() -> None:
    # "If a method retrieves 15 docs of which 4 are relevant, then P20 is 0.2" (trec_eval, m_P.c).
    gain = [1.0] * 4 + [0.0] * 11
    assert values(find_metric("precision@20"), gain, list(range(15))) == 4 / 20

    # Relevant at ranks 1 and 3; the third relevant row is not listed.
    listed = np.array([True, True, True, False])
    ranked = {
        name: values(find_metric(name), [1.0, 0.0, 1.0, 1.0], [4, 3, 2, 1], ranked=listed)
        for name in ("map", "mrr", "precision@4", "recall@4")
    }
    assert ranked == pytest.approx(
        {"map": (1 / 1 + 2 / 3) / 3, "mrr": 1, "precision@4": 2 / 4, "recall@4": 2 / 3}
    )


def test_nothing_listed_is_0_and_nothing_relevant_is_nan() -> None:
    none = np.zeros(2, bool)
    for name in ("map", "mrr", "precision@2", "recall@2"):
        assert values(find_metric(name), [1.0, 0.0], [2, 1], ranked=none) == 0
        assert math.isnan(values(find_metric(name), [0.5, 0.0], [2, 1]))
        assert values(find_metric(name), [0.5, 0.0], [2, 1], relevant_from=0.5) > 0


@given(
    st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=30).filter(lambda g: max(g) > 0),
    st.randoms(use_true_random=False),
)
def test_one_relevant_row_makes_map_mrr_and_both_kinds_agree(
    gain: list[float], random: object
) -> None:
    score = list(range(len(gain)))
    random.shuffle(score)  # type: ignore[attr-defined]
    found = {n: values(find_metric(n), gain, score) for n in ("map", "mrr", "recall@5")}
    assert found["recall@5"] * sum(gain) == pytest.approx(
        values(find_metric("precision@5"), gain, score) * 5
    )
    if sum(gain) == 1:
        assert found["map"] == pytest.approx(found["mrr"])


def test_a_cut_off_beyond_the_longest_list_is_none() -> None:
    rng = np.random.default_rng(2)
    query, gain, score = rng.integers(0, 9, 80), rng.choice([1.0, 0.1, 0.0], 80), rng.random(80)
    plain = metrics.ndcg_per_query(query, gain, score)[1]
    assert metrics.ndcg_per_query(query, gain, score, cutoff=80)[1].tolist() == plain.tolist()
