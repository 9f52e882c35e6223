"""A test of outputs that are said to be out-of-fold: were they made by models that saw the labels of these rows?

What a model has fitted, it knows too well. Where outputs p are held out, how they vary with the labels y of training
rows fits how they vary on test rows, whose labels no model saw:

    ratio = Cov(p, y) on training rows / Var(p) on test rows

is 1 for calibrated probabilities, less for an overconfident model, and 2 or more for outputs of rows that were fitted:
these follow the labels, those of test rows the text alone. A timid model, a score on a scale of its own, and test
outputs that are the mean of several models have a high ratio, too. So where there is a run of this workspace, whose
outputs q are held out, both are compared:

    ratio = Cov(p, y) / Cov(q, y) on training rows * Cov(p, q) / Var(p) on test rows

No scale of p or q changes it. It is 1 where p and q know the same, or where p knows that and more; it is less where q
knows what p does not, so that the weakest run is the best one to compare with. `benchmarks/in_sample.py` measures how
often the test is right.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from competition.core.arrays import Array, Codes

# Held-out outputs stay below, fitted ones are above: with a run to compare with, and without.
LIMIT = 1.2
LIMIT_ALONE = 1.5
_SURE = 1.05  # the low end of the interval must be above, too
_GROUPS = 20  # of queries, that the jackknife leaves out
_Z = 1.96


@dataclass(frozen=True)
class Side:
    """Rows of one split: `(rows, targets)` each, and the query of each row `(rows,)`."""

    outputs: Array
    query: Codes
    reference: Array | None = None  # the outputs of a run of this workspace
    labels: Array | None = None  # of training rows


@dataclass(frozen=True)
class InSampleTest:
    """How much better outputs fit the labels than their spread on test rows warrants; NaN where that is not known."""

    ratio: float
    low: float  # of an interval of 95 %
    limit: float

    @property
    def flagged(self) -> bool:
        """True where the outputs are those of rows that their model was fitted on."""
        return self.ratio > self.limit and self.low > _SURE


def check_in_sample(train: Side, test: Side, within: bool = False) -> InSampleTest:
    """Test outputs of training rows.

    Args:
        train: labelled training rows.
        test: test rows.
        within: whether they are compared within queries alone, such as scores that rank.
    """
    sides = [_centred(side) if within else side for side in (train, test)]
    # A model that was fitted to every row says wild things of others; they are no spread.
    bounds = np.percentile(sides[0].outputs, (1, 99), axis=0)
    sides = [replace(side, outputs=side.outputs.clip(*bounds)) for side in sides]
    counts = [_sums(side) for side in sides]
    groups = [side.query % _GROUPS for side in sides]
    of_groups = [
        np.stack([np.bincount(group, column, _GROUPS) for column in count.T], axis=1)
        for group, count in zip(groups, counts, strict=True)
    ]  # (groups, sums) each

    def ratio(left_out: int | None = None) -> float:
        train_sums, test_sums = (
            each.sum(axis=0) - (0 if left_out is None else each[left_out]) for each in of_groups
        )
        return _ratio(train_sums, test_sums, train.outputs.shape[1], train.reference is not None)

    limit = LIMIT_ALONE if train.reference is None else LIMIT
    value = ratio()
    if not np.isfinite(value) or value <= 0:
        return InSampleTest(value if np.isfinite(value) else np.nan, np.nan, limit)
    return InSampleTest(value, value * np.exp(-_Z * _jackknife(ratio)), limit)


def _jackknife(ratio: Callable[[int], float]) -> float:
    """Return the standard error of the logarithm of a ratio."""
    values = np.array([ratio(group) for group in range(_GROUPS)])
    if not (values > 0).all():
        return np.inf
    logs = np.log(values)
    return float(np.sqrt((_GROUPS - 1) / _GROUPS * ((logs - logs.mean()) ** 2).sum()))


def _centred(side: Side) -> Side:
    """Return rows less the mean of their query."""
    _, index, count = np.unique(side.query, return_inverse=True, return_counts=True)

    def less_mean(values: Array | None) -> Array | None:
        if values is None:
            return None
        means = np.stack([np.bincount(index, column) / count for column in values.T], axis=1)
        return np.asarray(values - means[index], np.float64)

    outputs = less_mean(side.outputs)
    assert outputs is not None
    return Side(outputs, side.query, less_mean(side.reference), less_mean(side.labels))


def _sums(side: Side) -> Array:
    """Return what each row adds to first and second moments: 1, p, y, q and their products."""
    p = side.outputs
    y = np.zeros_like(p) if side.labels is None else side.labels
    q = np.zeros_like(p) if side.reference is None else side.reference
    parts = [np.ones((len(p), 1)), p, y, q, p * p, p * y, q * y, p * q]
    return np.hstack(parts)


def _ratio(train: Array, test: Array, targets: int, compared: bool) -> float:
    """Return the ratio from the sums of both splits; NaN where outputs do not vary."""

    def moments(sums: Array) -> dict[str, float]:
        # Covariances, summed over the targets.
        n = max(sums[0], 1.0)
        p, y, q, pp, py, qy, pq = sums[1:].reshape(-1, targets) / n
        pairs = {"pp": (pp, p, p), "py": (py, p, y), "qy": (qy, q, y), "pq": (pq, p, q)}
        return {name: float((both - a * b).sum()) for name, (both, a, b) in pairs.items()}

    of_train, of_test = moments(train), moments(test)
    if of_test["pp"] <= 0:
        return np.nan
    ratio = of_train["py"] / of_test["pp"]
    if not compared:
        return ratio
    return ratio / of_train["qy"] * of_test["pq"] if of_train["qy"] > 0 else np.nan
