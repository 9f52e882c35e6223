"""The permutation test for leaks: fit on shuffled labels, and compare the score with chance.

Nothing can be known of shuffled labels. What scores above chance on them has seen the labels that
it is scored on.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from competition.core.arrays import Array
from competition.core.console import progress
from competition.core.fingerprint import derive_seed
from competition.data.folds import normalise
from competition.scoring import evaluation, metrics
from competition.scoring.answers import answers
from competition.scoring.evaluation import DEEP, MOVABLE, Counts, GradedRows
from competition.scoring.intervals import MIN_QUERIES, Estimate, student_quantile
from competition.scoring.metric_table import find_metric
from competition.scoring.task import Kind, Task

# all examples with shuffled labels -> the outputs of the held-out rows
Refit = Callable[[pd.DataFrame], pd.DataFrame]
# the number of a shuffle -> the counts of what was fitted on it, and those expected by chance
Draw = Callable[[int], tuple[Counts, Counts]]

TARGET_LEAK = 0.01  # a leak, in units of the metric, that the shuffles should suffice to detect
MOST_SHUFFLES = 10  # unless a number is given
_FIRST_SHUFFLES = 2  # from which the number that it takes is estimated

# One-sided tests, in standard errors above chance. A leak is a result that both report.
_FIRST_TEST = 1.645  # 1 in 20 by luck
_CONFIRMATION = 2.326  # 1 in 100 by luck on fresh shuffles: both together 1 in 2,000
_DETECTABLE = 4.03  # an effect of this size passes both 95 times in 100: 0.991 * 0.956


@dataclass(frozen=True)
class PermutationTest:
    """The score of a run on shuffled labels, minus chance."""

    score: Estimate  # without an interval: only `above_chance` is tested
    chance: str  # a name of what chance is
    above_chance: Estimate  # 95 % interval over queries and shuffles; none with too few queries
    significant: bool  # above chance by more than luck
    detectable: float  # the smallest leak detected 95 times in 100; NaN with too few queries
    shuffles: int

    @property
    def conclusive(self) -> bool:
        """Whether there are enough queries to tell a leak from luck."""
        return self.above_chance.has_interval

    @property
    def passed(self) -> bool:
        """Whether no leak was detected; a test that is not conclusive passes, too."""
        return not self.significant


def shuffle_labels(
    task: Task, examples: pd.DataFrame, seed: int, positives: Sequence[str] = ()
) -> pd.DataFrame:
    """Return `examples` with the labels of training rows shuffled.

    For ranking, labels are shuffled within each query's list, else over all rows. Rows of the task
    and other rows are shuffled apart, so that the shares of labels stay the same in both. Columns of
    `positives`, which say a part of the label, go with it.
    """
    if task.ranks:
        lists = pd.MultiIndex.from_frame(examples[["query_id", task.name]])
        group = pd.factorize(lists, sort=True)[0]
    else:
        group = examples[task.name].to_numpy(np.int64)

    # Rows go by example_id, so that the shuffle does not depend on their order.
    train = np.flatnonzero((examples["split"] == "train").to_numpy())
    train = train[np.argsort(examples["example_id"].to_numpy()[train])]
    drawn = np.random.default_rng(seed).random(len(train))
    source = train[np.lexsort((drawn, group[train]))]
    destination = train[np.argsort(group[train], kind="stable")]

    shuffled = examples.copy()
    for column in ("label", *positives):
        values = examples[column].array.copy()
        values[destination] = examples[column].array[source]
        shuffled[column] = values
    return shuffled


def permutation_test(
    task: Task,
    kind: Kind,
    examples: pd.DataFrame,
    refit: Refit,
    shuffles: int | None = None,
    seed: int = 0,
    positives: Sequence[str] = (),
) -> PermutationTest:
    """Fit again on shuffled labels and compare with chance.

    Chance is, for ranking, a random order; for classes, the same answers given to rows at random;
    for ratings and probabilities, whose metrics are no means over rows, no correlation with labels.
    On shuffled labels, what a query scores above chance is 0 but for luck, independently in each
    shuffle: a one-sided test asks whether the mean over queries and shuffles is greater. It
    is significant by luck once in twenty times; if so, it is repeated on fresh shuffles at a
    stricter level. A leak is significant in both.

    For ranking, the queries are those of full depth if there are enough of them, else all whose
    order matters. Fewer than `intervals.MIN_QUERIES` are not conclusive.

    Args:
        task: whose answers are scored.
        kind: of the outputs.
        examples: all examples.
        refit: returns the out-of-fold outputs of a model fitted on examples.
        shuffles: their number; None for as many as it takes to detect TARGET_LEAK, at most
            MOST_SHUFFLES.
        seed: of the shuffles.
        positives: the columns of examples that say a part of the label.
    """
    with progress(task.name, shuffles or MOST_SHUFFLES, "shuffles") as work:

        def draw(number: int) -> tuple[Counts, Counts]:
            shuffled = shuffle_labels(
                task, examples, derive_seed(seed, "shuffle", number), positives
            )
            rows = evaluation.graded_rows(task, shuffled[shuffled["split"] == "train"])
            outputs = refit(shuffled)
            work.advance(1)
            if not (task.ranks or task.metric.reads == "class"):
                return _correlation_counts(task, kind, outputs, rows)

            counts = evaluation.count_outputs(task, kind, outputs, rows)
            return counts, _chance_counts(task, counts, rows)

        return confirm(task, draw, shuffles)


def confirm(task: Task, draw: Draw, shuffles: int | None) -> PermutationTest:
    """Run the test, and confirm a significant result on fresh shuffles; see `permutation_test`.

    Args:
        task: whose answers are scored.
        draw: returns the counts of one shuffle, and those expected by chance.
        shuffles: their number; None for as many as it takes.
    """
    first = _test(task, draw, shuffles, 0, _FIRST_TEST)
    if not first.significant:
        return first
    return _test(task, draw, first.shuffles, first.shuffles, _CONFIRMATION)


def _test(
    task: Task, draw: Draw, shuffles: int | None, start: int, threshold: float
) -> PermutationTest:
    """Run one test on the shuffles from number `start` on, at a threshold in standard errors."""
    drawn = [draw(start + number) for number in range(shuffles or _FIRST_SHUFFLES)]
    result = _compare(task, drawn, threshold)

    # The standard error shrinks with the root of the number of shuffles.
    if shuffles is None and result.conclusive:
        enough = math.ceil(len(drawn) * (result.detectable / TARGET_LEAK) ** 2)
        more = range(len(drawn), min(enough, MOST_SHUFFLES))
        drawn += [draw(start + number) for number in more]
        result = _compare(task, drawn, threshold)
    return result


def _compare(task: Task, drawn: list[tuple[Counts, Counts]], threshold: float) -> PermutationTest:
    """Compare scores with chance; each query in each shuffle is an observation of its own."""
    first = drawn[0][0]

    # A list whose order changes nothing has no chance to err.
    name = "all"
    if task.ranks:
        name = DEEP if evaluation.leading_group(first) == DEEP else MOVABLE
    group = first.groups[name]
    queries = int(group.sum())
    values = np.concatenate([counts.values[group] for counts, _ in drawn])
    expected = np.concatenate([chance.values[group] for _, chance in drawn])

    # The score above chance is a ratio of sums over observations, (queries * shuffles,) each.
    numerator = _numerators(task, values) - _numerators(task, expected)
    denominator = _denominators(task, values)
    total = float(denominator.sum())
    above = float(numerator.sum() / max(total, 1))

    score = Estimate(float(first.statistic(values.sum(axis=0))), math.nan, math.nan, queries)
    chance = _CHANCE[_measure(task)]
    if queries < MIN_QUERIES:
        above_chance = Estimate(above, math.nan, math.nan, queries)
        return PermutationTest(score, chance, above_chance, False, math.nan, len(drawn))

    # The standard error of a ratio by linearisation (Cochran 1977, chapter 6).
    count = len(numerator)
    residuals = numerator - above * denominator
    error = math.sqrt(count / (count - 1) * float((residuals**2).sum())) / total
    half = student_quantile(1.96, count - 1) * error
    # Rounding is not a leak: constant answers score exactly as chance does.
    significant = above - student_quantile(threshold, count - 1) * error > 1e-9
    return PermutationTest(
        score=score,
        chance=chance,
        above_chance=Estimate(above, above - half, above + half, queries),
        significant=significant,
        detectable=_DETECTABLE * error,
        shuffles=len(drawn),
    )


def _numerators(task: Task, values: Array) -> Array:
    """Return what each query adds to the numerator of the metric: its nDCG, or its correct answers; `(queries,)`."""
    correct: Array = values[:, : len(task.classes)].sum(axis=1)
    return correct if _measure(task) == "classes" else values[:, 0]


def _denominators(task: Task, values: Array) -> Array:
    """Return what each query adds to the denominator of the metric: 1, or its rows; `(queries,)`."""
    rows: Array = values[:, 2 * len(task.classes) :].sum(axis=1)
    return rows if _measure(task) == "classes" else values[:, 1]


def _chance_counts(task: Task, counts: Counts, rows: pd.DataFrame) -> Counts:
    """Return the counts expected if the answers had nothing to do with the labels."""
    if task.ranks:
        return GradedRows(task, rows).count_trivial_baseline()[1]

    # Of the answers of a class, as many are correct as the class has rows.
    classes = len(task.classes)
    share = np.bincount(task.truth(rows), minlength=classes) / len(rows)  # (classes,)
    values = counts.values.copy()  # (queries, 3 * classes): correct, answered, labelled
    values[:, :classes] = values[:, classes : 2 * classes] * share
    return Counts(task, counts.queries, values, counts.groups)


def _correlation_counts(
    task: Task, kind: Kind, outputs: pd.DataFrame, rows: pd.DataFrame
) -> tuple[Counts, Counts]:
    """Return what each query adds to the correlation of answers and labels, `(queries, 2)`, and zeros.

    Of several classes, it is that of the matrices of probabilities and of labels.
    """
    joined = rows[["example_id"]].merge(outputs, on="example_id", how="left", validate="one_to_one")
    by_number = replace(task, metric=find_metric("rmse")) if task.kind == "rate" else task
    answer = answers(by_number, kind, joined).reshape(len(rows), -1)  # (rows, 1 or classes)
    truth = task.labels.numbers(rows["label"])[:, None]
    if task.kind == "classify":
        truth = np.eye(len(task.classes))[task.truth(rows)]

    answer = answer - answer.mean(axis=0)
    truth = truth - truth.mean(axis=0)
    scale = math.sqrt(float((answer**2).sum() * (truth**2).sum())) / max(len(rows), 1)
    of_rows = (answer * truth).sum(axis=1) / (
        scale or 1.0
    )  # (rows,), whose mean is the correlation

    # As a ranking counts: a value and a number, whose ratio of sums is a mean.
    measured = replace(task, metric=replace(task.metric, statistic=metrics.mean))
    queries, values = metrics.total_per_query(rows["query_id"].to_numpy(np.int64), of_rows)
    groups = {"all": np.ones(len(queries), bool)}
    counts = Counts(measured, queries, values, groups)
    return counts, replace(counts, values=np.zeros_like(values))


def _measure(task: Task) -> str:
    """Return what is compared with chance: lists, classes, or the correlation of answers and labels."""
    if task.ranks:
        return "lists"
    return "classes" if task.metric.reads == "class" else "correlation"


_CHANCE = {
    "lists": "a random order",
    "classes": "the same answers at random",
    "correlation": "no correlation",
}


def count_repeated_pairs(examples: pd.DataFrame) -> int:
    """Return the number of training rows whose query text and product another training row has, too."""
    train = examples[examples["split"] == "train"]
    text = {query: normalise(query) for query in train["query"].unique()}
    pairs = train.assign(text=train["query"].map(text))
    return int(pairs.duplicated(["locale", "text", "product_id"]).sum())
