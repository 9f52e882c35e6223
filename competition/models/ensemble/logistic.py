"""Logistic regression on text and on the members that help: each fold by a model of all the other folds.

A linear model with a normal prior on its weights takes many weak features where there are few
queries, and what it says is continuous in what the members say. A member is read only where it
helps: starting from text, the member is added that makes the labels of queries that were left out
most likely, as long as one makes them likelier: what says nothing makes them less likely, since it
is learned from other queries. What helps is found without the fold that is scored.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri, softmax
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from competition.core.console import progress
from competition.core.errors import CompError
from competition.models.ensemble.blending import ALL
from competition.models.ensemble.members import (
    EnsembleRows,
    FoldResult,
    Positions,
    output_values,
    row_weights,
    sample_queries,
    stacker_targets,
    task_outputs,
)
from competition.models.ensemble.meta_features import MemberOutputs, linear_features
from competition.scoring.metrics import Array
from competition.scoring.tasks import Task, expected_gain, gains

TEXT = "text"  # the name of what is read beside members
_VARIANCE = 0.005  # of the prior on the weight of a feature whose deviation is 1
_MEMBER_SCALE = 2.0  # what a member says deserves more than one of a hundred features of text
_LEAST_DEVIATION = 0.02  # of a feature: what varies less is not magnified
_TAIL = 0.002  # share of rows beyond which a normal score goes no further
_MOST_ROWS = 30_000  # that one fit looks at: weights of some hundred features need no more
_LEAST_GAIN = (
    0.1  # of the log-likelihood by a member: less is how far a minimiser stops from the end
)
_NEVER = -30.0  # log odds of a class that no row has
_TOLERANCE, _ITERATIONS = (
    1e-6,
    2_000,
)  # of the minimiser: how far it stops from the end moves no decision


@dataclass(frozen=True)
class _Design:
    """The features of some rows: of text, lists and locales, and of each member."""

    text: bool  # whether text is among the features
    base: Array  # (rows, features)
    members: dict[str, Array]  # (rows, features) each

    def of(self, members: Iterable[str], at: Positions | slice = slice(None)) -> Array:
        """The features that are read with some members, `(rows, features)`."""
        return np.hstack([self.base[at], *(self.members[name][at] for name in members)])


@dataclass(frozen=True)
class _Model:
    """Weights of the features and of a constant; log odds of the classes up to a constant."""

    weights: Array  # (classes, features)
    constant: Array  # (classes,)

    def probabilities(self, features: Array) -> Array:
        """Of each class, `(rows, classes)`."""
        return np.asarray(softmax(features @ self.weights.T + self.constant, axis=1), np.float64)


def cross_fit_logistic(rows: EnsembleRows, text: pd.DataFrame | None) -> list[FoldResult]:
    """The regressions of all folds, in order.

    Args:
        rows: members and examples.
        text: features of text by example_id; None leaves them out.

    Raises:
        CompError: two folds leave no labelled row to learn from.
    """
    combined = []
    made: tuple[_Design, _Design] | None = None
    shared: dict[tuple[frozenset[int], tuple[str, ...]], _Model] = {}
    # Fits this small gain nothing by a second thread, and their bytes depend on how many there are.
    work_of = progress(f"{rows.recipe.name} {rows.task.name}, regression", len(rows.folds), "folds")
    with threadpool_limits(1), work_of as work:
        for fold in rows.folds:
            if made is None or rows.recipe.nested:  # what members say differs from fold to fold
                made = _designs(rows, fold, text)
                shared = {}
            combined.append(_of_fold(rows, fold, *made, shared))
            work.advance(1)
    return combined


def _of_fold(
    rows: EnsembleRows,
    fold: int,
    train: _Design,
    test: _Design,
    shared: dict[tuple[frozenset[int], tuple[str, ...]], _Model],
) -> FoldResult:
    """What one fold is told; models that leave out the same two folds are fitted once."""
    task, learn = rows.task, rows.graded_outside(fold)
    codes, classes = stacker_targets(task, rows.train)
    others = [k for k in rows.folds if k != fold]

    def left_out(members: tuple[str, ...]) -> Array:
        """Probabilities of the rows to learn from, each by a model that left its fold out, `(rows, classes)`."""
        values = np.zeros((len(rows.train), classes))
        for k in others:
            key = frozenset((fold, k)), members
            if key not in shared:
                at = rows.graded_outside(fold, k)
                if not len(at):
                    raise CompError(
                        f"{task.name}: without the folds {fold} and {k} there is no labelled row to learn from."
                    )
                shared[key] = _fit(rows, train, members, at, rows.seed(*sorted((fold, k))))
            graded = rows.graded_in(k)
            values[graded] = shared[key].probabilities(train.of(members, graded))
        return values[learn]

    likelihood = _likelihood(task, rows.train.iloc[learn], codes[learn])
    kept: tuple[str, ...] = ()
    values = left_out(kept)
    while len(kept) < len(train.members):
        options = {
            name: left_out(tuple(sorted((*kept, name))))
            for name in train.members
            if name not in kept
        }
        best = max(options, key=lambda name: likelihood(options[name]))
        # With nothing else to read, the best member is read in any case.
        if (kept or train.text) and likelihood(options[best]) - likelihood(values) < _LEAST_GAIN:
            break
        kept, values = tuple(sorted((*kept, best))), options[best]
    model = _fit(rows, train, kept, learn, rows.seed(fold))
    held = model.probabilities(train.of(kept, rows.held_out(fold)))
    tests = model.probabilities(test.of(kept))
    outputs = [task_outputs(task, each) for each in (values, held, tests)]
    return FoldResult(outputs[0], outputs[1], outputs[2], {ALL: _shares(model, train, kept, learn)})


def _likelihood(
    task: Task, examples: pd.DataFrame, codes: NDArray[np.int64]
) -> Callable[[Array], float]:
    """What a member must raise, given probabilities of graded rows: the log-likelihood of their labels.

    For ranking, products are drawn from each list in proportion to their expected gain, and a label
    counts by its share of the list's gain: how good a list is as a whole moves no order, and must
    not decide (ListNet, Cao et al. 2007).
    """
    if task.metric != "nDCG":
        weight, at = row_weights(task, examples), np.arange(len(examples))
        return lambda values: float(weight @ np.log(np.maximum(values[at, codes], 1e-12)))
    index = np.unique(examples["query_id"].to_numpy(np.int64), return_inverse=True)[1]

    def share(gain: Array) -> Array:
        return gain / np.maximum(np.bincount(index, weights=gain), 1e-12)[index]

    wanted = share(gains(examples["label"]))
    return lambda values: float(wanted @ np.log(np.maximum(share(expected_gain(values)), 1e-12)))


def _fit(
    rows: EnsembleRows, design: _Design, members: tuple[str, ...], at: Positions, seed: int
) -> _Model:
    """The most probable weights, given the labels of the rows at `at` and a normal prior."""
    at = at[sample_queries(rows.train["query_id"].to_numpy(np.int64)[at], _MOST_ROWS, seed)]
    codes, classes = stacker_targets(rows.task, rows.train)
    codes, features = codes[at], design.of(members, at)
    found = np.unique(codes)
    weights, constant = np.zeros((classes, features.shape[1])), np.full(classes, _NEVER)
    if len(found) == 1:
        constant[found] = 0.0
        return _Model(weights, constant)
    model = LogisticRegression(C=_VARIANCE, tol=_TOLERANCE, max_iter=_ITERATIONS)
    model.fit(features, codes, sample_weight=row_weights(rows.task, rows.train.iloc[at]))
    # For two classes, one set of weights is the log odds of the second.
    both = len(found) == 2
    weights[found] = np.vstack([0 * model.coef_, model.coef_]) if both else model.coef_
    constant[found] = np.r_[0.0, model.intercept_] if both else model.intercept_
    return _Model(weights, constant)


def _shares(
    model: _Model, design: _Design, kept: tuple[str, ...], at: Positions
) -> dict[str, float]:
    """How much of the log odds each member moves, and text: their deviations over the rows, as shares of all."""
    blocks = {TEXT: design.base[at]} if design.text else {}
    blocks |= {name: design.members[name][at] for name in kept}
    ends = np.cumsum([design.base.shape[1], *(design.members[name].shape[1] for name in kept)])
    starts = dict(zip((TEXT, *kept), [0, *ends[:-1]], strict=True))
    moved = {}
    for name, block in blocks.items():
        odds = block @ model.weights[:, starts[name] : starts[name] + block.shape[1]].T
        moved[name] = float(np.sqrt((odds - odds.mean(axis=1, keepdims=True)).var(axis=0).mean()))
    total = max(sum(moved.values()), 1e-12)
    return {
        name: moved.get(name, 0.0) / total
        for name in (*([TEXT] if design.text else []), *design.members)
    }


def _designs(rows: EnsembleRows, fold: int, text: pd.DataFrame | None) -> tuple[_Design, _Design]:
    """The features of training and of test rows as a fold sees them.

    What brings them to one scale is taken from the features of all training rows; no label is
    looked at.
    """

    def smooth(
        outputs: list[pd.DataFrame], examples: pd.DataFrame
    ) -> tuple[dict[str, Array], Array]:
        said = zip(rows.members, outputs, strict=True)
        members = [
            MemberOutputs(member.name, member.kind, output_values(member.kind, frame))
            for member, frame in said
        ]
        return linear_features(rows.task, members, examples, rows.recipe.leaky)

    of_train, train = smooth([member.seen[fold] for member in rows.members], rows.train)
    of_test, test = smooth([member.test for member in rows.members], rows.test)
    members = {
        name: _standardised(block, of_test[name], _MEMBER_SCALE) for name, block in of_train.items()
    }
    base = [_standardised(train, test)]
    if text is not None:
        values = [
            text.loc[each["example_id"]].to_numpy(np.float64) for each in (rows.train, rows.test)
        ]
        base.append(_standardised(*_normal_scores(*values)))
    bases = [np.hstack(each) for each in zip(*base, strict=True)]
    blocks = [{name: pair[i] for name, pair in members.items()} for i in range(2)]
    of_train_rows, of_test_rows = (
        _Design(text is not None, *each) for each in zip(bases, blocks, strict=True)
    )
    return of_train_rows, of_test_rows


def _standardised(train: Array, test: Array, scale: float = 1.0) -> tuple[Array, Array]:
    """Features with a mean of 0 and, unless they hardly vary, a deviation of `scale` over the training rows."""
    mean, deviation = train.mean(axis=0), np.sqrt(train.var(axis=0) + _LEAST_DEVIATION**2)
    return scale * (train - mean) / deviation, scale * (test - mean) / deviation


def _normal_scores(train: Array, test: Array) -> tuple[Array, Array]:
    """Each feature as the normal quantile of its rank among the training rows, equal values in the middle of theirs.

    Counts, lengths and cosines have long tails, in which a linear model would take few rows for
    many.
    """
    scores = np.empty_like(train), np.empty_like(test)
    for i, column in enumerate(train.T):
        ordered = np.sort(column)
        for values, result in zip((train, test), scores, strict=True):
            ends = [np.searchsorted(ordered, values[:, i], side) for side in ("left", "right")]
            result[:, i] = ndtri(
                np.clip((ends[0] + ends[1]) / 2 / max(len(ordered), 1), _TAIL, 1 - _TAIL)
            )
    return scores
