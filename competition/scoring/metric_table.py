"""Every metric by its name: how it is shown, what it reads, between which values it lies, and how it is computed."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from competition.core.arrays import Array, Codes
from competition.core.errors import InputError, unknown_name
from competition.scoring import class_metrics, metrics, ranking_metrics, rating_metrics
from competition.scoring.intervals import Statistic
from competition.scoring.metrics import ClassifiedRows, RankedLists

Counts = tuple[Codes, Array]  # queries in ascending order, and what each adds: (queries, m)
Mask = NDArray[np.bool_]
HIGHER, LOWER = "higher", "lower"  # values of `Metric.better`


@dataclass(frozen=True)
class Rows:
    """Rows with their truth and an answer, as `Metric.count` compares them."""

    query: Codes  # (rows,)
    # (rows,) a gain (rank), a class index (classify), a number or the index of a level (rate)
    truth: NDArray[Any]
    # (rows,) a score, a class index, a number or the index of a level; (rows, classes) probabilities
    answer: NDArray[Any]
    classes: int = 0  # how many classes or levels there are
    weight: Array | None = None  # (rows,) how often each row counts; lists have no weights
    tie: Codes | None = None  # (rows,) equal scores are ranked by this, ascending
    ranked: Mask | None = None  # (rows,) False for rows that are missing from the list
    relevant_from: float = 1.0  # the least gain of a relevant row
    laid_out: RankedLists | ClassifiedRows | None = None  # all but the answer, where it was before

    @property
    def relevant(self) -> Mask:
        """Whether each row is relevant, `(rows,)`."""
        relevant: Mask = self.truth >= self.relevant_from
        return relevant


@dataclass(frozen=True)
class Metric:
    """One metric: from rows to what each query adds, and from sums of that to values.

    Metrics of lists count a value and 1 for each query; the value is NaN for a query that has none,
    which the caller leaves out. Where `of_all_rows`, counts depend on all rows: the value over some
    of the queries needs counts of their rows alone.
    """

    name: str  # in a definition, with the cut-off
    label: str  # in a table
    task: Literal["rank", "classify", "rate"]
    reads: Literal["order", "class", "probabilities", "number", "level"]  # what the answer is
    count: Callable[[Rows], Counts]
    statistic: Statistic
    least: float = 0.0
    greatest: float = 1.0
    greater_is_better: bool = True
    of_all_rows: bool = False
    # Where the statistic is one of fewer sums than are counted: from counts (…, m) to these (…, fewer),
    # and the statistic of them. Intervals over many queries add up these alone.
    fewer: tuple[Callable[[Array], Array], Statistic] | None = None
    # Of lists: what a random order is expected to count, and whether the order of each query's rows
    # changes its value, (queries,).
    random: Callable[[Rows], Counts] | None = None
    movable: Callable[[Rows], Mask] | None = None

    @property
    def better(self) -> str:
        """Which of two values is better, as tables say it: HIGHER or LOWER."""
        return HIGHER if self.greater_is_better else LOWER

    @property
    def within(self) -> tuple[float, float]:
        """The least and the greatest value, as `intervals.bootstrap` takes them."""
        return self.least, self.greatest


def find_metric(name: str) -> Metric:
    """Return the metric that a definition names: `macro-F1`, `ndcg@10`.

    Raises:
        InputError: there is none, or its cut-off is missing, not an integer from 1, or not one
            that it takes.
    """
    plain, at, cutoff = name.partition("@")
    if plain not in _CUT and (at or plain not in _WHOLE):
        if at and plain in _WHOLE:
            raise InputError(f"The metric {plain!r} has no cut-off: write {plain!r}, not {name!r}.")
        raise unknown_name("metric", name, METRIC_NAMES)

    if not at and plain in _WHOLE:
        return _WHOLE[plain]
    if not (cutoff.isascii() and cutoff.isdigit() and int(cutoff) > 0):
        raise InputError(
            f"The metric {name!r} needs a rank from 1 after the @, as in '{plain}@{_EXAMPLE}'."
        )
    return _CUT[plain](int(cutoff))


# --- ranking
# ----------------------------------------------------------------------------------------------


def _of_lists(queries: Codes, values: Array) -> Counts:
    """Return the values of queries as counts, `(queries, 2)`."""
    return queries, np.column_stack([values, np.ones(len(values))])


def _lists(rows: Rows) -> RankedLists:
    if isinstance(rows.laid_out, RankedLists):
        return rows.laid_out
    return RankedLists(rows.query, rows.truth, rows.tie)


def _ndcg(cutoff: int | None = None) -> Metric:
    def count(rows: Rows) -> Counts:
        score = rows.answer if rows.ranked is None else np.where(rows.ranked, rows.answer, -np.inf)
        lists = _lists(rows)
        return _of_lists(lists.queries, lists.ndcg(score, cutoff))

    def random(rows: Rows) -> Counts:
        lists = _lists(rows)
        return _of_lists(lists.queries, lists.random_ndcg(cutoff))

    return Metric(
        name="ndcg" if cutoff is None else f"ndcg@{cutoff}",
        label="nDCG" if cutoff is None else f"nDCG@{cutoff}",
        task="rank",
        reads="order",
        count=count,
        statistic=metrics.mean,
        random=random,
        movable=lambda rows: _lists(rows).movable(),
    )


def _binary(
    name: str,
    label: str,
    per_query: Callable[..., Counts],
    random: Callable[..., Counts],
    cutoff: int | None = None,
) -> Metric:
    """Return a metric of relevant and other rows; a cut-off goes to its functions and after its names."""
    cut = {} if cutoff is None else {"cutoff": cutoff}
    suffix = "" if cutoff is None else f"@{cutoff}"

    def count(rows: Rows) -> Counts:
        lists = (rows.query, rows.relevant, rows.answer)
        return _of_lists(*per_query(*lists, tie=rows.tie, ranked=rows.ranked, **cut))

    return Metric(
        name=name + suffix,
        label=label + suffix,
        task="rank",
        reads="order",
        count=count,
        statistic=metrics.mean,
        random=lambda rows: _of_lists(*random(rows.query, rows.relevant, **cut)),
        movable=lambda rows: ranking_metrics.movable_binary(rows.query, rows.relevant, cutoff),
    )


# --- classification and ratings
# ----------------------------------------------------------------------------------------------


def _confusion(rows: Rows) -> Counts:
    if isinstance(rows.laid_out, ClassifiedRows):
        return rows.laid_out.queries, rows.laid_out.confusion(rows.answer)
    return metrics.confusion_per_query(
        rows.query, rows.truth, rows.answer, rows.classes, rows.weight
    )


def _compared(per_query: Callable[..., Counts]) -> Callable[[Rows], Counts]:
    """Return the count of a function of query, truth, answer and weight."""
    return lambda rows: per_query(rows.query, rows.truth, rows.answer, weight=rows.weight)


def _kappa(weights: Literal["linear", "quadratic"]) -> Callable[[Rows], Counts]:
    return lambda rows: rating_metrics.kappa_per_query(
        rows.query, rows.truth, rows.answer, rows.classes, weights, rows.weight
    )


_EXAMPLE = 10  # the cut-off that messages show

_CUT: dict[str, Callable[[int], Metric]] = {
    "ndcg": _ndcg,
    "precision": partial(
        _binary,
        "precision",
        "precision",
        ranking_metrics.precision_per_query,
        ranking_metrics.random_precision_per_query,
    ),
    "recall": partial(
        _binary,
        "recall",
        "recall",
        ranking_metrics.recall_per_query,
        ranking_metrics.random_recall_per_query,
    ),
}

_WHOLE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _ndcg(),
        _binary(
            "map",
            "MAP",
            ranking_metrics.average_precision_per_query,
            ranking_metrics.random_average_precision_per_query,
        ),
        _binary(
            "mrr",
            "MRR",
            ranking_metrics.reciprocal_rank_per_query,
            ranking_metrics.random_reciprocal_rank_per_query,
        ),
        Metric(
            "micro-F1",
            "micro-F1",
            "classify",
            "class",
            _confusion,
            metrics.micro_f1,
            fewer=(metrics.right_and_rows, metrics.mean),
        ),
        Metric("macro-F1", "macro-F1", "classify", "class", _confusion, metrics.macro_f1),
        Metric(
            "accuracy",
            "accuracy",
            "classify",
            "class",
            _compared(class_metrics.accuracy_per_query),
            metrics.mean,
        ),
        Metric(
            "log-loss",
            "log loss",
            "classify",
            "probabilities",
            _compared(class_metrics.log_loss_per_query),
            metrics.mean,
            greatest=math.inf,
            greater_is_better=False,
        ),
        Metric(
            "auc",
            "AUC",
            "classify",
            "probabilities",
            _compared(class_metrics.auc_per_query),
            class_metrics.auc,
            of_all_rows=True,
        ),
        Metric(
            "quadratic-kappa",
            "quadratic kappa",
            "rate",
            "level",
            _kappa("quadratic"),
            rating_metrics.quadratic_kappa,
            least=-1.0,
        ),
        Metric(
            "linear-kappa",
            "linear kappa",
            "rate",
            "level",
            _kappa("linear"),
            rating_metrics.linear_kappa,
            least=-1.0,
        ),
        Metric(
            "rmse",
            "RMSE",
            "rate",
            "number",
            _compared(rating_metrics.squared_error_per_query),
            rating_metrics.root_mean,
            greatest=math.inf,
            greater_is_better=False,
        ),
        Metric(
            "mae",
            "MAE",
            "rate",
            "number",
            _compared(rating_metrics.absolute_error_per_query),
            metrics.mean,
            greatest=math.inf,
            greater_is_better=False,
        ),
        Metric(
            "pearson",
            "Pearson",
            "rate",
            "number",
            _compared(rating_metrics.pearson_per_query),
            rating_metrics.correlation,
            least=-1.0,
        ),
        Metric(
            "spearman",
            "Spearman",
            "rate",
            "number",
            _compared(rating_metrics.spearman_per_query),
            rating_metrics.correlation,
            least=-1.0,
            of_all_rows=True,
        ),
    )
}

# As definitions write them, k being a rank.
METRIC_NAMES = (*_WHOLE, *(f"{name}@k" for name in _CUT))
