"""LightGBM on level-2 features: the trees that leave out two folds, each stopped early by one of them.

The model that is scored on fold k is the mean of those that left out k and another fold j, each
with as many trees as are best on j: nothing about k, neither its labels nor how well it is
predicted, is ever looked at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, softmax

from competition.config.recipe import EnsembleRecipe
from competition.core.fingerprint import derive_seed
from competition.models.ensemble.members import row_weights, stacker_targets, task_outputs
from competition.models.lexical.lexical import TREE_DEFAULTS
from competition.scoring.metrics import Array, RankedLists
from competition.scoring.tasks import GAINS, Task, gains

Metric = Callable[
    [Array, lgb.Dataset], tuple[str, float, bool]
]  # LightGBM's: name, value, whether higher is better
MAX_LIST_ROWS = 10_000  # rows of a query that LightGBM takes; longer lists are split
_BY_GAIN = (
    "irrelevant",
    "complement",
    "substitute",
    "exact",
)  # relevance 0..3 of a ranking objective
ROWS_PER_TREE = 50_000  # each tree draws its own, so all are used
_EVERY = 5  # trees between two looks at the folds that stop
_STRIDE = 50  # trees that are added up at a time: each time, LightGBM copies every row
_PATIENCE = 10  # looks without an improvement


@dataclass(frozen=True)
class Trees:
    """A fitted booster and, for each watched part, with how many trees it predicts that part best."""

    task: Task
    ranks: bool
    classes: int  # that are learned where nothing is ranked
    booster: lgb.Booster
    best: tuple[int, ...]
    threads: int  # that predict

    def predict(self, features: NDArray[np.float32]) -> list[Array]:
        """What answers the task, `(rows, outputs)`, with the number of trees that each watched part chose.

        Trees are gone through in strides that are the same for every part, and the rest of a stride
            anew for each: how
        many another part chose must not even change the rounding.
        """
        outputs = 1 if self.ranks or self.classes == 2 else self.classes
        sums = {
            0: np.zeros((len(features), outputs))
        }  # number of trees, whole strides -> their sum
        for count in range(_STRIDE, max(self.best) + 1, _STRIDE):
            sums[count] = sums[count - _STRIDE] + self._raw(features, count - _STRIDE, _STRIDE)
        answers = {}
        for count in set(self.best):
            start = count // _STRIDE * _STRIDE
            rest = self._raw(features, start, count - start) if count > start else 0
            answers[count] = self._answer(sums[start] + rest)
        return [answers[count] for count in self.best]

    def _raw(self, features: NDArray[np.float32], start: int, trees: int) -> Array:
        """What `trees` trees from the one at `start` add up to, `(rows, outputs)`."""
        if not len(features):
            return np.zeros((0, 1))
        added = self.booster.predict(
            features,
            start_iteration=start,
            num_iteration=trees,
            raw_score=True,
            num_threads=self.threads,
        )
        return np.asarray(added, np.float64).reshape(len(features), -1)

    def _answer(self, raw: Array) -> Array:
        """Of LightGBM's scores: themselves, or probabilities, of which ranking takes the expected gain."""
        if self.ranks:
            return raw
        if self.classes == 2:
            return np.asarray(expit(raw), np.float64)
        return task_outputs(self.task, np.asarray(softmax(raw, axis=1), np.float64))

    def importance(self) -> Array:
        """The gain of every feature's splits, as a share of all, `(features,)`."""
        gain = np.asarray(self.booster.feature_importance("gain"), np.float64)
        return gain / max(float(gain.sum()), 1e-12)


def fit_trees(
    recipe: EnsembleRecipe,
    task: Task,
    features: NDArray[np.float32],
    rows: pd.DataFrame,
    learn: NDArray[np.int64],
    watched: Sequence[NDArray[np.int64]],
    seed: int,
    threads: int = 1,
) -> Trees:
    """Fit trees on the rows at `learn` until no watched part gets better.

    Args:
        recipe: the method and the size.
        task: what the trees answer: class probabilities, or a score for ranking.
        features: of all rows, `(rows, features)`.
        rows: the examples, in the same order.
        learn: positions of graded rows.
        watched: positions of graded rows, one array per part.
        seed: of what LightGBM draws.
        threads: how many of them; the trees are the same whatever it is.
    """
    ranks = recipe.method == "lambdarank"
    learn = _by_list(rows, learn) if ranks else learn
    codes, classes = stacker_targets(task, rows)
    y = _relevance(rows) if ranks else codes.astype(np.float64)
    data = lgb.Dataset(
        features[learn],
        y[learn],
        weight=row_weights(task, rows.iloc[learn]),
        group=_groups(rows, learn) if ranks else None,
    )
    booster = lgb.Booster(
        _parameters(recipe, classes, rows, learn, seed) | {"num_threads": threads}, data
    )
    parts = [lgb.Dataset(features[part], y[part], reference=data) for part in watched]
    for i, part in enumerate(parts):
        booster.add_valid(part, str(i))
    score = _own_ndcg(dict(zip(parts, watched, strict=True)), rows) if ranks else None
    curves: list[list[float]] = [[] for _ in watched]  # lower is better
    for tree in range(1, recipe.n_estimators + 1):
        finished = booster.update()
        if tree % _EVERY and tree < recipe.n_estimators and not finished:
            continue
        for curve, found in zip(curves, booster.eval_valid(score), strict=True):
            # A curve that has stalled ends there: how long others go on depends on labels that it
            # must not know.
            if not _stalled(curve):
                curve.append(-found.metric_value if found.maximize else found.metric_value)
        if finished or all(map(_stalled, curves)):
            break
    last = booster.current_iteration()
    best = tuple(min(last, _EVERY * (int(np.argmin(curve)) + 1)) for curve in curves)
    return Trees(task, ranks, classes, booster, best, threads)


def _stalled(curve: list[float]) -> bool:
    return bool(curve) and len(curve) - int(np.argmin(curve)) > _PATIENCE


def _relevance(rows: pd.DataFrame) -> Array:
    """Relevance 0..3 for a ranking objective, `(rows,)`; -1 where it is unknown."""
    return np.array(
        [_BY_GAIN.index(label) if label in _BY_GAIN else -1 for label in rows["label"]], np.float64
    )


def _parameters(
    recipe: EnsembleRecipe, classes: int, rows: pd.DataFrame, learn: NDArray[np.int64], seed: int
) -> dict[str, object]:
    common = TREE_DEFAULTS | {
        "learning_rate": recipe.learning_rate,
        "num_leaves": recipe.num_leaves,
        "min_data_in_leaf": recipe.min_data_in_leaf,
        "bagging_fraction": min(0.8, ROWS_PER_TREE / len(learn)),
        "seed": derive_seed(seed, "trees"),
    }
    if recipe.method == "lambdarank":
        return common | {
            "objective": "lambdarank",
            "metric": "None",
            "label_gain": [GAINS["paper"][label] for label in _BY_GAIN],
            "lambdarank_truncation_level": int(_groups(rows, learn).max()),
        }
    if classes == 2:
        return common | {"objective": "binary", "metric": "binary_logloss"}
    return common | {"objective": "multiclass", "num_class": classes, "metric": "multi_logloss"}


def _by_list(rows: pd.DataFrame, learn: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions in the order of queries, as LightGBM wants lists."""
    return np.asarray(
        learn[np.argsort(rows["query_id"].to_numpy()[learn], kind="stable")], np.int64
    )


def _groups(rows: pd.DataFrame, learn: NDArray[np.int64]) -> NDArray[np.int64]:
    """The lengths of the lists of rows that are in the order of queries; lists over MAX_LIST_ROWS are split evenly."""
    lengths = np.unique(rows["query_id"].to_numpy()[learn], return_counts=True)[1]
    parts = -(-lengths // MAX_LIST_ROWS)
    split = [
        np.diff(np.linspace(0, length, pieces + 1).astype(np.int64))
        for length, pieces in zip(lengths, parts, strict=True)
    ]
    return np.concatenate(split)


def _own_ndcg(parts: dict[lgb.Dataset, NDArray[np.int64]], rows: pd.DataFrame) -> Metric:
    """The mean nDCG of a part, ties by product_id, over the queries that it can grade."""
    tie = pd.factorize(rows["product_id"], sort=True)[0].astype(np.int64)
    query, gain = rows["query_id"].to_numpy(np.int64), gains(rows["label"])
    lists = {part: RankedLists(query[at], gain[at], tie[at]) for part, at in parts.items()}

    def score(predicted: Array, part: lgb.Dataset) -> tuple[str, float, bool]:
        found = lists[part].ndcg(predicted)
        return (
            "nDCG",
            float(found[~np.isnan(found)].mean()) if not np.isnan(found).all() else 0.0,
            True,
        )

    return score
