"""Does a score come from rows that nothing was fitted on? What can be counted is counted; the rest is tried out.

The trial is a permutation test: labels are shuffled, so that nothing can be known of them, and the
ensemble is fitted again. What then scores above chance has seen the labels that it is scored on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from competition.core.console import progress
from competition.core.fingerprint import derive_seed
from competition.data.folds import normalise
from competition.scoring import evaluation
from competition.scoring.evaluation import DEEP, MOVABLE, Counts
from competition.scoring.metrics import MIN_QUERIES, Array, Estimate, student_quantile
from competition.scoring.tasks import Task, truth

Refit = Callable[
    [pd.DataFrame], pd.DataFrame
]  # all examples, labels shuffled -> the held-out rows' outputs
Draw = Callable[
    [int], tuple[Counts, Counts]
]  # the number of a shuffle -> what was scored, and what is by chance

TARGET_LEAK = 0.01  # a leak, in units of the metric, for which there should be enough shuffles
MOST_SHUFFLES = 10  # that are made to see it, unless a number is asked for
_FIRST_SHUFFLES = 2  # which tell how many it takes
_ALARM = 1.645  # standard errors above chance that raise an alarm: 1 in 20 by luck
_CONFIRMED = 2.326  # that confirm it on fresh shuffles: 1 in 100, and both 1 in 2,000
_VISIBLE = 4.03  # at which a leak is found 95 in 100 times: 0.991 * 0.956 of the two


@dataclass(frozen=True)
class PermutationTest:
    """What a run scores on shuffled labels, minus chance."""

    score: Estimate  # without an interval: that of what is above chance counts
    chance: str
    above_chance: Estimate  # its 95 % interval is over queries and shuffles; none where there are too few queries
    significant: bool  # whether it is above chance beyond luck
    detectable: float  # the smallest leak that would be found 95 in 100 times; NaN where there are too few queries
    shuffles: int

    @property
    def conclusive(self) -> bool:
        """Whether there are enough queries to say anything."""
        return self.above_chance.has_interval

    @property
    def passed(self) -> bool:
        """Whether no leak was found, which does not mean that one could have been."""
        return not self.significant


def shuffle_labels(task: Task, examples: pd.DataFrame, seed: int) -> pd.DataFrame:
    """`examples` with the labels of training rows shuffled: within the query's list for ranking, else over all rows.

    Rows of the task and others keep their labels apart, so that the shares of labels stay what they
    are.
    """
    train = (examples["split"] == "train").to_numpy()
    if task.metric == "nDCG":
        group = pd.factorize(
            pd.MultiIndex.from_frame(examples[["query_id", task.name]]), sort=True
        )[0]
    else:
        group = examples[task.name].to_numpy(np.int64)
    at = np.flatnonzero(train)
    at = at[
        np.argsort(examples["example_id"].to_numpy()[at])
    ]  # what is drawn must not depend on the order of rows
    drawn = np.random.default_rng(seed).random(len(at))
    source = at[np.lexsort((drawn, group[at]))]
    into = at[np.argsort(group[at], kind="stable")]
    shuffled = examples.copy()
    for column in ("label", "substitute"):
        values = examples[column].array.copy()
        values[into] = examples[column].array[source]
        shuffled[column] = values
    return shuffled


def permutation_test(
    task: Task,
    kind: str,
    examples: pd.DataFrame,
    refit: Refit,
    shuffles: int | None = None,
    seed: int = 0,
) -> PermutationTest:
    """Fit again on shuffled labels and compare with chance, over the queries that can tell.

    Chance is, for ranking, a random order; for classes, the same answers given to rows at random:
    the majority's share where all answers are the majority's. Where labels are shuffled, what a
    query scores above chance is 0 but for luck, in each shuffle anew: a test on one side asks
    whether the mean of all is more. Luck raises an alarm once in twenty times, so that trial is
    made once more, on fresh shuffles and to a stricter measure: a leak shows in both.

    For ranking, the queries are those of full depth if there are enough of them, else all whose
    order matters. Fewer than `metrics.FEWEST` cannot say anything.

    Args:
        task: what is answered.
        kind: of the outputs.
        examples: all examples.
        refit: gives the out-of-fold outputs of what is fitted on examples.
        shuffles: how often; None for as many as it takes to see a leak of SEEN, MOST_SHUFFLES at
            most.
        seed: of the shuffles.
    """
    with progress(task.name, shuffles or MOST_SHUFFLES, "shuffles") as work:

        def draw(number: int) -> tuple[Counts, Counts]:
            shuffled = shuffle_labels(task, examples, derive_seed(seed, "shuffle", number))
            rows = evaluation.graded_rows(task, shuffled[shuffled["split"] == "train"])
            found = evaluation.count_outputs(task, kind, refit(shuffled), rows)
            work.advance(1)
            return found, _by_chance(task, found, rows)

        return confirm(task, draw, shuffles)


def confirm(task: Task, draw: Draw, shuffles: int | None) -> PermutationTest:
    """Make a trial, and once more if it raises an alarm; see `permutation_test`.

    Args:
        task: what is answered.
        draw: from the number of a shuffle to what each query adds to the metric, and would by
            chance.
        shuffles: how often; None for as many as it takes.
    """
    trial = _try(task, draw, shuffles, 0, _ALARM)
    return (
        _try(task, draw, trial.shuffles, trial.shuffles, _CONFIRMED) if trial.significant else trial
    )


def _try(
    task: Task, draw: Draw, shuffles: int | None, first: int, errors: float
) -> PermutationTest:
    """Make one trial on the shuffles from number `first` on; so many standard errors above chance are an alarm."""
    drawn = [draw(first + number) for number in range(shuffles or _FIRST_SHUFFLES)]
    trial = _judge(task, drawn, errors)
    if shuffles is None and trial.conclusive:
        enough = math.ceil(len(drawn) * (trial.detectable / TARGET_LEAK) ** 2)
        drawn += [draw(first + number) for number in range(len(drawn), min(enough, MOST_SHUFFLES))]
        trial = _judge(task, drawn, errors)
    return trial


def _judge(task: Task, drawn: list[tuple[Counts, Counts]], errors: float) -> PermutationTest:
    """Compare what was scored with chance; each query in each shuffle is an observation of its own."""
    one = drawn[0][0]
    group = one.groups[_group(task, one)]
    queries, shuffles = int(group.sum()), len(drawn)
    values, chance = (
        np.concatenate([counts.values[group] for counts in each])
        for each in zip(*drawn, strict=True)
    )
    score = Estimate(float(one.statistic(values.sum(axis=0))), math.nan, math.nan, queries)
    name = "a random order" if task.metric == "nDCG" else "the same answers at random"
    above, size = _contributions(task, values) - _contributions(task, chance), _sizes(task, values)
    value = float(above.sum() / max(size.sum(), 1))
    if queries < MIN_QUERIES:
        return PermutationTest(
            score, name, Estimate(value, math.nan, math.nan, queries), False, math.nan, shuffles
        )
    count = len(above)
    error = math.sqrt(count / (count - 1) * float(((above - value * size) ** 2).sum())) / float(
        size.sum()
    )
    half = student_quantile(1.96, count - 1) * error
    # Rounding is no leak: constant answers score exactly what chance does.
    alarm = value - student_quantile(errors, count - 1) * error > 1e-9
    visible = _VISIBLE * error
    return PermutationTest(
        score, name, Estimate(value, value - half, value + half, queries), alarm, visible, shuffles
    )


def _group(task: Task, counts: Counts) -> str:
    """The queries that can tell a leak from chance: a list whose order changes nothing has no chance to miss."""
    if task.metric != "nDCG":
        return "all"
    return DEEP if evaluation.leading_group(counts) == DEEP else MOVABLE


def _contributions(task: Task, values: Array) -> Array:
    """What each query adds to the sum that the metric divides: its nDCG, or its right answers; `(queries,)`."""
    return values[:, 0] if task.metric == "nDCG" else values[:, : len(task.classes)].sum(axis=1)


def _sizes(task: Task, values: Array) -> Array:
    """What each query adds to the divisor: 1, or its rows; `(queries,)`."""
    return values[:, 1] if task.metric == "nDCG" else values[:, 2 * len(task.classes) :].sum(axis=1)


def _by_chance(task: Task, counts: Counts, rows: pd.DataFrame) -> Counts:
    """What each query would add to the metric if labels had nothing to do with the answers that were counted."""
    if task.metric == "nDCG":
        return evaluation.count_trivial_baseline(task, rows)[1]
    classes = len(task.classes)
    share = np.bincount(truth(task, rows), minlength=classes) / len(rows)
    values = counts.values.copy()
    values[:, :classes] = (
        values[:, classes : 2 * classes] * share
    )  # right among the answers of each class
    return Counts(task, counts.queries, values, counts.groups)


def count_repeated_pairs(examples: pd.DataFrame) -> int:
    """How many pairs of query text and product are judged more than once among the training rows."""
    train = examples[examples["split"] == "train"]
    text = {query: normalise(query) for query in train["query"].unique()}
    pairs = train.assign(text=train["query"].map(text))
    return int(pairs.duplicated(["locale", "text", "product_id"]).sum())
