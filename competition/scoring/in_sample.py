"""A test of outputs that are said to be out-of-fold: were they made by models that saw the labels of these rows?

What a model has fitted, it knows too well. Where outputs p are held out, how they vary with the labels y of training
rows fits how they vary on test rows, whose labels no model saw:

    ratio = Cov(p, y) on training rows / Var(p) on test rows

is 1 for calibrated probabilities, less for an overconfident model, and 2 or more for outputs of rows that were fitted:
these follow the labels, those of test rows the text alone. A timid model, a score on a scale of its own, and test
outputs that are the mean of several models have a high ratio, too. So where there is a run of this workspace, whose
outputs q are held out, both are compared:

    ratio = Cov(p, y) / Var(p) of test rows * Cov(p, q) / Cov(q, y), the other three on training rows

No scale of p or q changes it. It is 1 where p and q know the same, or where p knows that and more; it is less where q
knows what p does not, so that the weakest run is the best one to compare with. Cov(p, q) is that of training rows: on
test rows it is the same where p is held out, whether outputs are averaged or not, while a model that learned its
training rows by heart may know so little of others that it agrees with no run there.

Where p learned its training rows by heart, it follows there what the run knows of labels, and less so on test rows,
however wild it is. So the slopes of p on q are compared:

    loss of agreement = 1 - Cov(p, q) / Var(q) on test rows / (Cov(p, q) / Var(q) on training rows)

is 0 for held-out outputs, whatever they know. It counts where outputs explain a fifth of the variance of the labels.

A model that has fitted its rows may say such wild things of test rows that their spread hides it. But it says nearly
the same of two rows with nearly the same text, while the labels of two such rows differ by chance as well, which only
who saw them can follow. So the first ratio is taken of differences d between near rows (`neighbours.py`), too:

    ratio of near rows = E(dp dy) on training rows / E(dp dp) on test rows

It is for outputs on the scale of the labels. Times Cov(p, q) / Cov(q, y), where that is below 1, it does not rise where
p is timid.

No test of outputs finds every model that saw the labels. Let f be what it says of a text: whoever knows that labels
are f and noise hands in the same numbers, held out. The two differ only where f varies, or agrees with the run,
otherwise on test rows than on training rows, and that is what is looked at. `benchmarks/in_sample.py` measures how
often the tests are right.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from competition.core.arrays import Array, Codes
from competition.scoring.neighbours import near_pairs

# Held-out outputs stay below, fitted ones are above.
LIMIT = 1.2  # of the ratio, where there is a run to compare with
LIMIT_ALONE = 1.5  # where there is none
LIMIT_NEAR = 1.3  # between near rows
LIMIT_LOSS = 0.4  # of agreement
_SURE = 0.7  # the low end of the interval of a ratio must be above, too: weak held-out outputs stay below
_SURE_LOSS = 0.1  # and of a loss
_FLATTERED = 0.2  # share of the labels' variance that outputs must explain before a loss counts
_GROUPS = 20  # of queries, that the jackknife leaves out
_Z = 1.645  # one in 20 is below the low end by chance


@dataclass(frozen=True)
class Side:
    """Rows of one split: `(rows, targets)` each, the query of each row `(rows,)`, and features of its text."""

    outputs: Array
    query: Codes
    reference: Array | None = None  # the outputs of a run of this workspace
    labels: Array | None = None  # of training rows
    features: Array | None = None  # (rows, features)


@dataclass(frozen=True)
class Statistic:
    """A number that is high for fitted outputs; NaN where it is not known."""

    value: float
    low: float  # 95 % are above it
    limit: float
    sure: float = _SURE

    @property
    def exceeds(self) -> bool:
        """True where no held-out outputs have such a number."""
        return self.value > self.limit and self.low > self.sure


@dataclass(frozen=True)
class InSampleTest:
    """What tells outputs of fitted rows from held-out ones; None for what could not be compared.

    Attributes:
        ratio: how much better outputs fit the labels than their spread on test rows warrants.
        loss: the share of their agreement with a run that is lost on test rows.
        near: the ratio between near rows.
    """

    ratio: Statistic
    loss: Statistic | None = None
    near: Statistic | None = None

    @property
    def flagged(self) -> bool:
        """True where the outputs are those of rows that their model was fitted on."""
        return any(each is not None and each.exceeds for each in (self.ratio, self.loss, self.near))


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
    train, test = (replace(side, outputs=side.outputs.clip(*bounds)) for side in sides)
    sums = [_sums_of_groups(_row_sums(side), side.query) for side in (train, test)]
    compared = train.reference is not None

    targets = train.outputs.shape[1]
    ratio = _test_ratio(
        lambda left: _ratio(*_left(sums, left), targets, compared),
        LIMIT if compared else LIMIT_ALONE,
    )
    if not compared:
        return InSampleTest(ratio)
    # Agreement with little to it is lost by chance, and outputs that explain little flatter no score.
    loss = None
    if _explained(_left(sums, None)[0], targets) > _FLATTERED:
        loss = _test_loss(lambda left: _loss(*_left(sums, left), targets))

    # The scale of a score that ranks is its own.
    if within or train.features is None or test.features is None:
        return InSampleTest(ratio, loss)
    return InSampleTest(ratio, loss, _test_near(train, test, _scale(_left(sums, None)[0], targets)))


def _test_ratio(
    ratio: Callable[[int | None], float], limit: float, scale: float = 1.0
) -> Statistic:
    """Return the test of a ratio, of all groups or without one, times a scale."""
    value = ratio(None)
    if not np.isfinite(value) or value <= 0:
        return Statistic(value * scale if np.isfinite(value) else np.nan, np.nan, limit)

    values = np.array([ratio(group) for group in range(_GROUPS)])
    error = _jackknife(np.log(values)) if (values > 0).all() else np.inf
    return Statistic(value * scale, value * scale * np.exp(-_Z * error), limit)


def _test_loss(loss: Callable[[int | None], float]) -> Statistic:
    """Return the test of a loss of agreement."""
    value = loss(None)
    error = _jackknife(np.array([loss(group) for group in range(_GROUPS)]))
    return Statistic(value, value - _Z * error, LIMIT_LOSS, _SURE_LOSS)


def _jackknife(values: Array) -> float:
    """Return the standard error of a statistic from its values without each of the groups."""
    return float(np.sqrt((_GROUPS - 1) / _GROUPS * ((values - values.mean()) ** 2).sum()))


def _sums_of_groups(rows: Array, query: Codes) -> Array:
    """Return the sums of rows `(rows, sums)` over each group of queries, `(groups, sums)`."""
    group = query % _GROUPS
    return np.stack([np.bincount(group, column, _GROUPS) for column in rows.T], axis=1)


def _left(sums: list[Array], left_out: int | None) -> tuple[Array, Array]:
    """Return the sums of both splits over all groups but one, `(sums,)` each."""
    train, test = (each.sum(axis=0) - (0 if left_out is None else each[left_out]) for each in sums)
    return train, test


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


# --- of all rows ---


def _row_sums(side: Side) -> Array:
    """Return what each row adds to first and second moments: 1, p, y, q and products of two."""
    p = side.outputs
    y = np.zeros_like(p) if side.labels is None else side.labels
    q = np.zeros_like(p) if side.reference is None else side.reference
    parts = [np.ones((len(p), 1)), p, y, q, p * p, p * y, q * y, p * q, q * q, y * y]
    return np.hstack(parts)


def _moments(sums: Array, targets: int) -> dict[str, float]:
    """Return the covariances, summed over the targets."""
    n = max(sums[0], 1.0)
    p, y, q, pp, py, qy, pq, qq, yy = sums[1:].reshape(-1, targets) / n
    pairs = {
        "pp": (pp, p, p),
        "py": (py, p, y),
        "qy": (qy, q, y),
        "pq": (pq, p, q),
        "qq": (qq, q, q),
        "yy": (yy, y, y),
    }
    return {name: float((both - a * b).sum()) for name, (both, a, b) in pairs.items()}


def _ratio(train: Array, test: Array, targets: int, compared: bool) -> float:
    """Return the ratio from the sums of both splits; NaN where outputs do not vary."""
    of_test = _moments(test, targets)
    if of_test["pp"] <= 0:
        return np.nan
    ratio = _moments(train, targets)["py"] / of_test["pp"]
    return ratio * _scale(train, targets) if compared else ratio


def _explained(train: Array, targets: int) -> float:
    """Return the share of the labels' variance that outputs explain; 0 where they do not follow them."""
    moments = _moments(train, targets)
    variances = moments["pp"] * moments["yy"]
    return max(0.0, moments["py"]) ** 2 / variances if variances > 0 else 0.0


def _scale(train: Array, targets: int) -> float:
    """Return the scale of the outputs, Cov(p, q) / Cov(q, y); NaN where the run follows no label."""
    moments = _moments(train, targets)
    return moments["pq"] / moments["qy"] if moments["qy"] > 0 else np.nan


def _loss(train: Array, test: Array, targets: int) -> float:
    """Return the share of the slope of the outputs on those of the run that is lost; NaN where there is none."""
    of_train, of_test = (_moments(each, targets) for each in (train, test))
    if of_train["pq"] <= 0 or of_test["qq"] <= 0:
        return np.nan
    return 1 - of_test["pq"] / of_test["qq"] / (of_train["pq"] / of_train["qq"])


# --- between near rows ---


def _test_near(train: Side, test: Side, scale: float) -> Statistic | None:
    """Test the differences between near rows; None where there are none."""
    assert train.features is not None
    assert test.features is not None
    assert train.labels is not None
    pairs = near_pairs(train.features, test.features, train.query, test.query)
    if not np.isfinite(scale) or not all(len(each.one) for each in pairs):
        return None

    sums = []
    for side, of_side, followed in zip(
        (train, test), pairs, (train.labels, test.outputs), strict=True
    ):
        p, y = (each[of_side.one] - each[of_side.other] for each in (side.outputs, followed))
        rows = np.column_stack([np.ones(len(p)), (p * y).sum(axis=1)])
        sums.append(_sums_of_groups(rows, side.query[of_side.one]))

    def ratio(left_out: int | None) -> float:
        (n, follows), (m, spread) = _left(sums, left_out)
        return float(follows / n / (spread / m)) if n > 0 and m > 0 and spread > 0 else np.nan

    return _test_ratio(ratio, LIMIT_NEAR, min(1.0, scale))
