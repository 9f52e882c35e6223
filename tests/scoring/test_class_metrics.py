"""Accuracy, F1, log loss and AUC against scikit-learn, and the interval of AUC against drawing queries."""

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from competition.core.arrays import Array, Codes
from competition.scoring import intervals
from competition.scoring.class_metrics import auc, auc_per_query
from competition.scoring.metric_table import Rows, find_metric


def value(name: str, rows: Rows) -> float:
    """The value over all queries."""
    metric = find_metric(name)
    _, counts = metric.count(rows)
    return float(metric.statistic(counts.sum(0)))


def made(classes: int, seed: int) -> tuple[Codes, Codes, Array, Array]:
    """Queries, truths, probabilities with ties and some of 0 and 1, and weights of 1,000 rows."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, 1_000)
    raw = rng.integers(0, 5, (1_000, classes)) + 3.0 * (truth[:, None] == np.arange(classes))
    raw[rng.random(1_000) < 0.1] = np.eye(classes)[0]
    total = raw.sum(axis=1, keepdims=True)
    probabilities = np.where(total > 0, raw / np.maximum(total, 1), 1 / classes)
    return rng.integers(0, 100, 1_000) * 10**6, truth, probabilities, rng.random(1_000)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_scikit_learn(classes: int, weighted: bool) -> None:
    for seed in range(5):
        query, truth, probabilities, weight = made(classes, seed)
        if not weighted:
            weight = np.ones(len(truth))
        given = weight if weighted else None
        predicted = probabilities.argmax(axis=1)

        area = (
            roc_auc_score(truth, probabilities[:, 1], sample_weight=weight)
            if classes == 2
            else roc_auc_score(truth, probabilities, multi_class="ovr", sample_weight=weight)
        )
        expected = {
            "accuracy": accuracy_score(truth, predicted, sample_weight=weight),
            "micro-F1": f1_score(truth, predicted, average="micro", sample_weight=weight),
            "macro-F1": f1_score(truth, predicted, average="macro", sample_weight=weight),
            "log-loss": log_loss(truth, probabilities, sample_weight=weight),
            "auc": area,
        }
        found = {
            name: value(
                name,
                Rows(
                    query,
                    truth,
                    predicted if find_metric(name).reads == "class" else probabilities,
                    classes,
                    given,
                ),
            )
            for name in expected
        }
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", ["accuracy", "micro-F1", "macro-F1", "log-loss"])
def test_a_query_that_is_drawn_thrice_counts_as_one_of_three_times_the_weight(name: str) -> None:
    query, truth, probabilities, _ = made(3, 7)
    metric = find_metric(name)
    answer = probabilities.argmax(axis=1) if metric.reads == "class" else probabilities
    queries, counts = metric.count(Rows(query, truth, answer, 3))
    times = np.random.default_rng(0).integers(0, 4, len(queries))
    weight = times[np.searchsorted(queries, query)].astype(float)
    assert float(metric.statistic(times @ counts)) == pytest.approx(
        value(name, Rows(query, truth, answer, 3, weight)), abs=1e-12
    )


def areas(positive: list[float], negative: list[float]) -> float:
    """The AUC of two lists of scores."""
    score = np.array(positive + negative)
    truth = np.repeat([1, 0], [len(positive), len(negative)])
    _, counts = auc_per_query(np.arange(len(score)), truth, np.column_stack([1 - score, score]))
    return float(auc(counts.sum(0)))


def test_pairs_by_hand() -> None:
    # Of six pairs, four are won and one is a tie.
    assert areas([0.9, 0.5], [0.5, 0.1, 0.7]) == pytest.approx((4 + 1 / 2) / 6)
    assert areas([0.3, 0.3], [0.3]) == 0.5
    assert math.isnan(areas([0.5, 0.1], []))
    assert math.isnan(areas([], [0.5]))


def test_a_class_that_is_absent_is_left_out_of_the_mean() -> None:
    query, truth, probabilities, _ = made(3, 1)
    present = truth < 2
    rows = Rows(query[present], truth[present], probabilities[present])
    each = [roc_auc_score(rows.truth == c, rows.answer[:, c]) for c in (0, 1)]
    assert value("auc", rows) == pytest.approx(np.mean(each), abs=1e-12)


@pytest.mark.parametrize(("queries", "alike"), [(20, 0.98), (200, 0.995)])
def test_auc_varies_over_resamples_as_it_does_when_it_is_computed_again(
    queries: int, alike: float
) -> None:
    """Rows of a query are alike, so that queries and not rows have to be drawn."""
    rng = np.random.default_rng(2)
    query = np.repeat(np.arange(queries), 10)
    truth = (rng.random(len(query)) < rng.beta(2, 2, queries)[query]).astype(np.int64)
    score = np.round(
        0.3 * truth + 0.3 * rng.random(queries)[query] + 0.4 * rng.random(len(query)), 2
    )
    _, counts = auc_per_query(query, truth, np.column_stack([1 - score, score]))

    drawn = rng.integers(0, queries, (500, queries))
    times = np.array([np.bincount(one, minlength=queries) for one in drawn])
    approximate = auc(times @ counts)
    exact = [roc_auc_score(truth, score, sample_weight=one[query]) for one in times]
    assert np.corrcoef(approximate, exact)[0, 1] > alike
    assert approximate.std() == pytest.approx(np.std(exact), rel=0.06)


def test_there_is_no_interval_where_resamples_lack_a_class() -> None:
    truth = np.r_[1, np.zeros(99, np.int64)]
    score = np.linspace(1, 0, 100)
    _, counts = auc_per_query(np.arange(100), truth, np.column_stack([1 - score, score]))
    estimate = intervals.bootstrap(counts, auc, within=(0, 1))
    assert estimate.value == 1
    assert not estimate.has_interval
