"""Accuracy, log loss and the area under the ROC curve, as statistics of sums over queries. F1 is in `metrics`.

`weight` is how often each row counts, `(rows,)`; once where it is missing.
"""

import numpy as np

from competition.core.arrays import Array, Codes
from competition.scoring.metrics import index_queries, total_per_query
from competition.scoring.ranks import SortedRows

_LEAST = np.finfo(np.float64).eps  # the least probability, see `log_loss_per_query`
_COLUMNS = 4  # of each class that `auc` averages


def accuracy_per_query(
    query: Codes, truth: Codes, predicted: Codes, weight: Array | None = None
) -> tuple[Codes, Array]:
    """Return the queries, ascending, and counts `(queries, 2)`: right answers and rows; the statistic is `mean`."""
    return total_per_query(query, (truth == predicted).astype(np.float64), weight)


def log_loss_per_query(
    query: Codes, truth: Codes, probabilities: Array, weight: Array | None = None
) -> tuple[Codes, Array]:
    """Count what each query adds to the log loss, the mean of -log of the true class's probability.

    As in scikit-learn, probabilities are clipped to eps..1 - eps of their type, and are not scaled
    to sum to 1.

    Args:
        query: the query of each row, `(rows,)`.
        truth: its class index.
        probabilities: `(rows, classes)`.
        weight: how often the row counts.

    Returns:
        The queries in ascending order and counts `(queries, 2)`: losses and rows; the statistic is
        `mean`.
    """
    of_truth = probabilities[np.arange(len(truth)), truth]
    return total_per_query(query, -np.log(np.clip(of_truth, _LEAST, 1 - _LEAST)), weight)


def auc_per_query(
    query: Codes, truth: Codes, probabilities: Array, weight: Array | None = None
) -> tuple[Codes, Array]:
    """Count what each query adds to the area under the ROC curve; the statistic is `auc`.

    The area is the share of pairs of a positive and a negative row in which the positive one scores
    higher, a tie being half a pair. Pairs join two queries, so that it is no sum over queries. It is
    the mean over positive rows of the share of negatives that they beat, and the mean over negative
    rows of the share of positives that beat them (the placements of DeLong, DeLong and Clarke-Pearson
    1988). Near the whole sample, it changes by the sum of both means' changes, which is what these
    counts hold (for rows in clusters, Obuchowski 1997). So the value of all queries is exact, that of
    a resample is its linear approximation, which is all that an interval needs. Rows meet those of
    all queries: the area over some of the queries needs counts of their rows alone.

    Args:
        query: the query of each row, `(rows,)`.
        truth: its class index.
        probabilities: `(rows, classes)`. Of two classes, the second one's are compared; of more,
            those of each class against all others.
        weight: how often the row counts.

    Returns:
        The queries in ascending order and counts `(queries, 4 * areas)`, of one area for two
        classes, else of one for each: placements of positive rows minus half the area, their
        number, and the same of negative rows.
    """
    queries, index = index_queries(query)
    classes = probabilities.shape[1]
    of_row = np.ones(len(truth)) if weight is None else weight
    counts: list[Array] = []  # (queries, 4) of each area

    for c in range(classes) if classes > 2 else (1,):
        positive = np.where(truth == c, of_row, 0.0)
        negative = of_row - positive
        number, others = positive.sum(), negative.sum()
        if number == 0 or others == 0:
            counts.append(np.zeros((len(queries), _COLUMNS)))
            continue

        # The share of negatives below each row, and of positives above it, less a half: (rows,)
        rows = SortedRows(probabilities[:, c])
        beaten = rows.below_minus_above(negative) / (2 * others)
        beaten_by = -rows.below_minus_above(positive) / (2 * number)

        excess = positive @ beaten / number  # the area less a half
        sums = []
        for mass, placement in ((positive, beaten), (negative, beaten_by)):
            sums.append(mass * (placement + 0.5 - (excess + 0.5) / 2))
            sums.append(mass)
        counts.append(np.column_stack([np.bincount(index, column) for column in sums]))
    return queries, np.hstack(counts)


def auc(sums: Array) -> Array:
    """Return the area under the ROC curve of counts `(…, 4 * areas)`, the mean over the classes that have one.

    A class without rows, or with all of them, has none; NaN where no class has one.
    """
    areas = sums.reshape(*sums.shape[:-1], -1, _COLUMNS)
    positive, number, negative, others = np.moveaxis(areas, -1, 0)  # (…, areas) each

    known = (number > 0) & (others > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        area = np.where(known, positive / number + negative / others, 0.0)
        mean_area: Array = area.sum(-1) / known.sum(-1)
    return mean_area
