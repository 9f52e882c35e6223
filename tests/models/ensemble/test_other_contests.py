"""Ensembles of contests with two, three and five classes, and of ratings."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from competition.models.ensemble.crossfit import cross_fit
from competition.scoring.contest import Contest
from tests.models.ensemble.made import recipe_of
from tests.models.ensemble.other_contests import contest_of, fold_of, member, rows_of

METHODS = ["paper", "greedy", "search", "logistic", "lightgbm"]
CONTESTS = {
    "two": contest_of({"levels": [0, 1]}, "auc"),
    "three": contest_of({"names": ["bad", "fair", "good"], "ordered": True}, "macro-F1"),
    "five": contest_of({"levels": [1, 2, 3, 4, 5]}),
    "range": contest_of({"range": [1, 3]}, "rmse"),
}


def answer(
    contest: Contest, task: str, method: str
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """The out-of-fold outputs of an ensemble by example_id, the rows, and the quality that labels follow."""
    rows, quality = rows_of(contest)
    kinds = ["classes"] if contest.labels.are_classes else []
    kinds += ["gain"] if task == "ranking" or method == "lightgbm" else []
    kinds += (
        ["rating"]
        if "rating" in contest.kinds and (task == "rating" or method == "lightgbm")
        else []
    )
    kinds = kinds if len(kinds) > 1 else kinds * 2
    members = [member(contest, kind, rows, quality, 0.1, seed) for seed, kind in enumerate(kinds)]
    text = None
    kind = contest.answer_kind(task)
    fitted = cross_fit(
        contest.tasks[task], kind, members, rows, fold_of(rows), recipe_of(method), text
    )

    outputs = pd.concat(fitted.held_out).set_index("example_id").sort_index()
    train = (rows["split"] == "train").to_numpy()
    assert all(np.isfinite(kind.values(each)).all() for each in fitted.test)
    return outputs, rows[train], quality[train]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CONTESTS)
def test_every_task_is_answered_by_every_method(name: str, method: str) -> None:
    contest = CONTESTS[name]
    for task in contest.tasks.values():
        outputs, rows, quality = answer(contest, task.name, method)
        values = contest.answer_kind(task.name).values(outputs)
        if task.kind == "classify":
            np.testing.assert_allclose(values.sum(axis=1), 1)
            codes = contest.labels.codes(rows["label"])
            majority = np.bincount(codes).max() / len(codes)
            assert (values.argmax(axis=1) == codes).mean() > majority + 0.1
        else:
            assert spearmanr(values[:, 0], quality)[0] > 0.75
        if task.kind == "rate":
            assert values.min() >= contest.labels.lowest
            assert values.max() <= contest.labels.highest


@pytest.mark.parametrize("name", ["two", "five", "range"])
def test_lambdarank_takes_any_gains(name: str) -> None:
    outputs, _, quality = answer(CONTESTS[name], "ranking", "lambdarank")
    assert spearmanr(outputs["score"], quality)[0] > 0.7


@pytest.mark.parametrize("method", ["greedy", "logistic", "lightgbm"])
def test_ratings_are_in_the_unit_of_the_labels(method: str) -> None:
    outputs, rows, _ = answer(CONTESTS["range"], "rating", method)
    truth = rows["label"].astype(float).to_numpy()
    error = np.sqrt(np.mean((outputs["rating"].to_numpy() - truth) ** 2))
    assert error < truth.std()
