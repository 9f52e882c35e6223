"""Metrics by name: every one of them counts, lies within its bounds, and a wrong name gets one sentence."""

import numpy as np
import pytest

from competition.core.errors import InputError
from competition.scoring import intervals
from competition.scoring.metric_table import METRIC_NAMES, Metric, Rows, find_metric

ALL = [find_metric(name.replace("@k", "@5")) for name in METRIC_NAMES]


def made(metric: Metric, seed: int = 0) -> Rows:
    """40 queries of 10 rows, as a metric reads them."""
    rng = np.random.default_rng(seed)
    query, truth = np.repeat(np.arange(40), 10), rng.integers(0, 3, 400)
    answer = {
        "order": rng.random(400),
        "number": truth + rng.normal(size=400),
        "class": rng.integers(0, 3, 400),
        "level": rng.integers(0, 3, 400),
        "probabilities": rng.dirichlet(np.ones(3), 400),
    }[metric.reads]
    return Rows(query, truth.astype(float) if metric.task == "rank" else truth, answer, 3)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_a_metric_counts_each_query_and_has_an_interval_within_its_bounds(metric: Metric) -> None:
    queries, counts = metric.count(made(metric))
    assert queries.tolist() == list(range(40))
    assert len(counts) == 40
    estimate = intervals.bootstrap(counts, metric.statistic, within=metric.within)
    assert metric.least <= estimate.low < estimate.value < estimate.high <= metric.greatest
    assert (metric.random is None) == (metric.movable is None) == (metric.task != "rank")


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_counts_of_some_queries_are_those_of_their_rows_unless_ranks_are_of_all(
    metric: Metric,
) -> None:
    rows = made(metric)
    some = rows.query < 20
    _, counts = metric.count(rows)
    _, of_some = metric.count(Rows(rows.query[some], rows.truth[some], rows.answer[some], 3))
    values = [float(metric.statistic(c.sum(0))) for c in (counts[:20], of_some)]
    assert (abs(values[0] - values[1]) > 1e-9) == metric.of_all_rows


def test_names_labels_and_directions() -> None:
    assert [metric.label for metric in ALL] == [
        "nDCG", "MAP", "MRR", "micro-F1", "macro-F1", "accuracy", "log loss", "AUC",
        "quadratic kappa", "linear kappa", "RMSE", "MAE", "Pearson", "Spearman",
        "nDCG@5", "precision@5", "recall@5",
    ]  # fmt: skip
    assert [metric.name for metric in ALL if not metric.greater_is_better] == [
        "log-loss", "rmse", "mae"
    ]  # fmt: skip
    assert find_metric("ndcg@10").label == "nDCG@10"
    assert [metric.name.split("@")[0] for metric in ALL] == [n.split("@")[0] for n in METRIC_NAMES]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nDCG", "There is no metric 'nDCG' (did you mean 'ndcg'?): known are ndcg, map,"),
        ("macro-f2", "There is no metric 'macro-f2' (did you mean 'macro-F1'?)"),
        ("ndgc@10", "There is no metric 'ndgc@10' (did you mean 'ndcg@k'?)"),
        ("map@10", "The metric 'map' has no cut-off: write 'map', not 'map@10'."),
        (
            "precision",
            "The metric 'precision' needs a rank from 1 after the @, as in 'precision@10'.",
        ),
        ("ndcg@0", "The metric 'ndcg@0' needs a rank from 1 after the @, as in 'ndcg@10'."),
        ("ndcg@", "The metric 'ndcg@' needs a rank from 1 after the @, as in 'ndcg@10'."),
        ("ndcg@ten", "The metric 'ndcg@ten' needs a rank from 1 after the @, as in 'ndcg@10'."),
    ],
)
def test_a_wrong_name_gets_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        find_metric(name)
    assert str(refused.value).startswith(sentence)
