"""Ensembles that are scored on what they never saw: the weights for a fold come from the other folds."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from competition.ensemble.average import greedy_weights, make_objective
from competition.errors import CompError
from competition.evaluation import graded_rows
from competition.metrics import Array
from competition.oof import Run
from competition.recipe import AverageRecipe
from competition.tasks import ANSWER_KIND, KINDS, Task, answers


@dataclass(frozen=True)
class CrossFitted:
    """Per fold: the held-out rows' outputs, the test rows' outputs, and the weights by member."""

    held_out: list[pd.DataFrame]
    test: list[pd.DataFrame]
    weights: list[dict[str, float]]


def member_values(task: Task, run: Run, outputs: pd.DataFrame) -> Array:
    """What of a member is averaged, `(rows, outputs of the task's kind)`: scores for ranking, else probabilities."""
    if task.metric == "nDCG":
        return answers(task, run.kind, outputs)[:, None]
    return outputs[list(KINDS[ANSWER_KIND[task.name]].outputs)].to_numpy(np.float64)


def cross_fit(
    task: Task, members: list[Run], examples: pd.DataFrame, fold: pd.Series, recipe: AverageRecipe
) -> CrossFitted:
    """A weighted average for one task, cross-fitted over folds of queries.

    Args:
        task: what it answers.
        members: complete runs that answer the task; their order changes nothing.
        examples: all examples.
        fold: the fold of each example, with its index.
        recipe: how the members are weighed.

    Raises:
        CompError: no member answers the task, or a fold leaves no labelled row of the task to learn weights from.
    """
    if not members:
        raise CompError(f"No member of the ensemble answers {task.name}.")
    members = sorted(members, key=lambda run: run.name)
    train = examples[examples["split"] == "train"].sort_values("example_id", ignore_index=True)
    of_train = train["example_id"].map(dict(zip(examples["example_id"], fold, strict=True))).to_numpy()
    ids = train["example_id"].to_numpy()
    test_ids = members[0].test["example_id"].to_numpy()
    for run in members:
        if not (np.array_equal(run.held_out["example_id"], ids) and np.array_equal(run.test["example_id"], test_ids)):
            raise CompError(f"The member {run.name!r} does not cover the same rows as the others.")
    values = np.stack([member_values(task, run, run.held_out) for run in members])  # (members, rows, outputs)
    tests = np.stack([member_values(task, run, run.test) for run in members])
    graded = np.isin(ids, graded_rows(task, train)["example_id"])
    result = CrossFitted([], [], [])
    for k in sorted(set(of_train.tolist())):
        learn = graded & (of_train != k)
        if recipe.weighting == "greedy" and not learn.any():
            raise CompError(f"{task.name}: without fold {k} there is no labelled row to learn weights from.")
        weights = _weights(recipe, task, values[:, learn], train[learn])
        held = of_train == k
        result.held_out.append(_frame(task, ids[held], np.tensordot(weights, values[:, held], 1)))
        result.test.append(_frame(task, test_ids, np.tensordot(weights, tests, 1)))
        result.weights.append({run.name: float(w) for run, w in zip(members, weights, strict=True)})
    return result


def _weights(recipe: AverageRecipe, task: Task, values: Array, rows: pd.DataFrame) -> Array:
    if recipe.weighting == "equal":
        return np.full(len(values), 1 / len(values))
    return greedy_weights(values, make_objective(task, rows), recipe.selections)


def _frame(task: Task, ids: np.ndarray, values: Array) -> pd.DataFrame:
    frame = pd.DataFrame(values, columns=list(KINDS[ANSWER_KIND[task.name]].outputs))
    frame.insert(0, "example_id", ids)
    return frame
