"""Cut-points of ratings: they raise the kappa, never lower it, and know nothing of the rows that they are scored on."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from competition.core.arrays import Array
from competition.models.ensemble.crossfit import cross_fit
from competition.models.ensemble.cut_points import apply_cuts, best_cuts, learn_cuts
from tests.models.ensemble.made import recipe_of
from tests.models.ensemble.other_contests import contest_of, fold_of, member, rows_of

GRADES = contest_of({"levels": [0, 1, 2, 3]})
TASK = GRADES.tasks["rating"]


def decided(ratings: Array) -> np.ndarray:
    """The nearest grade."""
    return np.ceil(ratings - 0.5).astype(int)


def kappa_of(ratings: Array, truth: Array) -> float:
    """The quadratic kappa of rounded ratings, by another implementation."""
    return float(cohen_kappa_score(truth.astype(int), decided(ratings), weights="quadratic"))


def narrow(rows: int = 600, seed: int = 0) -> tuple[Array, pd.DataFrame]:
    """Ratings that are drawn to the middle, and the rows with their grades."""
    rng = np.random.default_rng(seed)
    grade = rng.choice(4, rows, p=[0.4, 0.1, 0.1, 0.4])
    ratings = np.clip(1.5 + 0.4 * (grade - 1.5) + rng.normal(0, 0.25, rows), 0, 3)
    return ratings, pd.DataFrame({"query_id": np.arange(rows) // 4, "label": grade.astype(str)})


def test_rounding_cuts_in_the_middle() -> None:
    assert TASK.labels.middles.tolist() == [0.5, 1.5, 2.5]
    uneven = contest_of({"levels": [1, 1.5, 3]}).tasks["rating"]
    assert uneven.labels.middles.tolist() == [1.25, 2.25]


@pytest.mark.parametrize("metric", ["quadratic-kappa", "linear-kappa"])
def test_no_other_cut_points_are_better(metric: str) -> None:
    task = contest_of({"levels": [0, 1]}, metric).tasks["rating"]
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 40)
    ratings = np.clip(0.3 + 0.2 * truth + rng.normal(0, 0.1, 40), 0, 1)
    weights = metric.removesuffix("-kappa")
    (cut,) = best_cuts(task, ratings, truth)
    found = cohen_kappa_score(truth, ratings > cut, weights=weights)
    tried = [cohen_kappa_score(truth, ratings > each, weights=weights) for each in ratings]
    assert found == pytest.approx(max(tried))


def test_ratings_move_so_that_rounding_decides() -> None:
    cuts = np.array([0.9, 1.1, 1.9])
    found = apply_cuts(TASK, cuts, np.array([0.0, 0.45, 0.89, 0.91, 1.0, 1.09, 1.11, 1.91, 3.0]))
    assert decided(found).tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 3]
    assert found[:2].tolist() == pytest.approx([0, 0.5 * 0.45 / 0.9])
    assert found[4] == pytest.approx(1.0)
    assert (np.diff(found) > 0).all()
    np.testing.assert_allclose(apply_cuts(TASK, TASK.labels.middles, found), found)


@pytest.mark.parametrize("seed", range(5))
def test_cut_points_are_never_worse_than_rounding_on_the_rows_that_they_are_learned_on(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 60)
    ratings = np.clip(rng.normal(1.5, 0.7, 60) + 0.2 * seed * (truth - 1.5), 0, 3)
    cuts = best_cuts(TASK, ratings, truth)
    assert (np.diff(cuts) > 0).all()
    assert kappa_of(apply_cuts(TASK, cuts, ratings), truth) >= kappa_of(ratings, truth)


def test_cut_points_widen_what_is_narrow() -> None:
    ratings, rows = narrow()
    cuts = learn_cuts(TASK, ratings, rows, 0)
    fresh, others = narrow(seed=1)
    grade = others["label"].to_numpy(float)
    assert kappa_of(apply_cuts(TASK, cuts, fresh), grade) > kappa_of(fresh, grade) + 0.05


def test_ratings_of_noise_keep_their_rounding() -> None:
    kept = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = pd.DataFrame(
            {"query_id": np.arange(100), "label": rng.integers(0, 4, 100).astype(str)}
        )
        kept += learn_cuts(TASK, rng.uniform(0, 3, 100), rows, seed).tolist() != [0.5, 1.5, 2.5]
    assert kept <= 2


def test_cut_points_of_a_fold_know_none_of_its_labels() -> None:
    rows, quality = rows_of(GRADES)
    members = [member(GRADES, "rating", rows, quality, 0.05, seed) for seed in (1, 2)]
    spoilt = rows.copy()
    held = (fold_of(rows) == 2).to_numpy()
    spoilt.loc[held, "label"] = np.random.default_rng(3).choice(["0", "1", "2", "3"], held.sum())

    found, other = (
        cross_fit(
            TASK, GRADES.answer_kind("rating"), members, each, fold_of(rows), recipe_of("paper")
        )
        for each in (rows, spoilt)
    )
    assert found.results[2].cuts == other.results[2].cuts
    pd.testing.assert_frame_equal(found.held_out[2], other.held_out[2])
    assert found.results[0].cuts != other.results[0].cuts
