"""Does a score come from rows that nothing was fitted on? What can be counted is counted; the rest is tried out.

The trial is a permutation test: labels are shuffled, so that nothing can be known of them, and the ensemble is fitted
again. What then scores above chance has seen the labels that it is scored on.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from competition import evaluation, metrics
from competition.evaluation import DEEP, Counts
from competition.files.fingerprints import derive_seed
from competition.folds import normalise
from competition.metrics import Estimate
from competition.progress import progress
from competition.tasks import Task, truth

Refit = Callable[[pd.DataFrame], pd.DataFrame]  # all examples, labels shuffled -> the held-out rows' outputs


@dataclass(frozen=True)
class Trial:
    """What an ensemble scores on shuffled labels, minus chance."""

    score: Estimate
    chance: str
    above_chance: Estimate

    @property
    def passed(self) -> bool:
        """Whether chance is within the interval."""
        return self.above_chance.low <= 0 <= self.above_chance.high


def shuffle_labels(task: Task, examples: pd.DataFrame, seed: int) -> pd.DataFrame:
    """`examples` with the labels of training rows shuffled: within the query's list for ranking, else over all rows.

    Rows of the task and others keep their labels apart, so that the shares of labels stay what they are.
    """
    train = (examples["split"] == "train").to_numpy()
    if task.metric == "nDCG":
        group = pd.factorize(pd.MultiIndex.from_frame(examples[["query_id", task.name]]), sort=True)[0]
    else:
        group = examples[task.name].to_numpy(np.int64)
    at = np.flatnonzero(train)
    at = at[np.argsort(examples["example_id"].to_numpy()[at])]  # what is drawn must not depend on the order of rows
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
    task: Task, kind: str, examples: pd.DataFrame, refit: Refit, shuffles: int, seed: int = 0
) -> Trial:
    """Fit again on shuffled labels and compare with chance, over the queries that the task is scored on.

    Chance is, for ranking, a random order; for classes, the same answers given to rows at random: the majority's share
    where all answers are the majority's. An interval of 95 % leaves chance out once in twenty times by luck, so a trial
    that does is made once more, on fresh shuffles, and that one counts: a leak shows in both.

    Args:
        task: what is answered.
        kind: of the outputs.
        examples: all examples.
        refit: gives the out-of-fold outputs of what is fitted on examples.
        shuffles: how often; scores and chance are summed over them.
        seed: of the shuffles.
    """
    trial = _try(task, kind, examples, refit, range(shuffles), seed)
    return trial if trial.passed else _try(task, kind, examples, refit, range(shuffles, 2 * shuffles), seed)


def _try(task: Task, kind: str, examples: pd.DataFrame, refit: Refit, numbers: range, seed: int) -> Trial:
    found, expected = [], []
    with progress(task.name, len(numbers), "shuffles") as work:
        for number in numbers:
            shuffled = shuffle_labels(task, examples, derive_seed(seed, "shuffle", number))
            rows = evaluation.graded_rows(task, shuffled[shuffled["split"] == "train"])
            found.append(evaluation.count_outputs(task, kind, refit(shuffled), rows))
            expected.append(_by_chance(task, found[-1], rows))
            work.advance(1)
    one = found[0]
    group = one.groups[DEEP] if DEEP in one.groups and one.groups[DEEP].any() else one.groups["all"]
    values, chance = (np.sum([counts.values[group] for counts in each], axis=0) for each in (found, expected))
    name = "a random order" if task.metric == "nDCG" else "the same answers at random"
    above = metrics.paired_difference(values, chance, one.statistic)
    return Trial(metrics.bootstrap(values, one.statistic), name, above)


def _by_chance(task: Task, counts: Counts, rows: pd.DataFrame) -> Counts:
    """What each query would add to the metric if labels had nothing to do with the answers that were counted."""
    if task.metric == "nDCG":
        return evaluation.count_baseline(task, rows)[1]
    classes = len(task.classes)
    share = np.bincount(truth(task, rows), minlength=classes) / len(rows)
    values = counts.values.copy()
    values[:, :classes] = values[:, classes : 2 * classes] * share  # right among the answers of each class
    return Counts(task, counts.queries, values, counts.groups)


def repeated_pairs(examples: pd.DataFrame) -> int:
    """How many pairs of query text and product are judged more than once among the training rows."""
    train = examples[examples["split"] == "train"]
    text = {query: normalise(query) for query in train["query"].unique()}
    pairs = train.assign(text=train["query"].map(text))
    return int(pairs.duplicated(["locale", "text", "product_id"]).sum())
