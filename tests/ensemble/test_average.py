"""Weights recover what was planted, ignore what says nothing, and do not chase luck."""

import numpy as np
import pandas as pd
import pytest

from competition.ensemble.average import greedy_weights, make_objective
from competition.tasks import GAINS, LABELS, TASKS


def ranking(queries: int, depth: int = 12) -> tuple[pd.DataFrame, np.ndarray]:
    """Examples of a ranking task and their gains."""
    rng = np.random.default_rng(0)
    label = rng.choice(LABELS, queries * depth, p=[0.5, 0.3, 0.05, 0.15])
    rows = pd.DataFrame({"query_id": np.repeat(np.arange(queries), depth), "label": label})
    rows["product_id"] = [f"P{i}" for i in range(len(rows))]
    return rows, rows["label"].map(GAINS["paper"]).to_numpy()


def test_two_views_of_the_truth_are_blended_and_noise_is_not() -> None:
    rows, gain = ranking(400)
    rng = np.random.default_rng(1)
    one, other = (gain + rng.normal(0, 0.4, len(gain)) for _ in range(2))
    weights = greedy_weights(
        np.stack([one, other, rng.normal(0, 0.4, len(gain))])[..., None], make_objective(TASKS["task1"], rows), 20
    )
    assert weights.sum() == pytest.approx(1)
    assert weights[:2] == pytest.approx([0.5, 0.5], abs=0.15)
    assert weights[2] < 0.1


def test_a_constant_member_gets_nothing() -> None:
    rows, gain = ranking(100)
    useful = gain + np.random.default_rng(2).normal(0, 0.4, len(gain))
    values = np.stack([np.full(len(gain), 0.3), useful])[..., None]
    assert greedy_weights(values, make_objective(TASKS["task1"], rows), 10).tolist() == [0, 1]


def test_luck_on_few_queries_changes_nothing() -> None:
    rows, gain = ranking(15)
    rng = np.random.default_rng(3)
    good, poor = gain + rng.normal(0, 0.1, len(gain)), rng.normal(0, 1, len(gain))
    assert greedy_weights(np.stack([good, poor])[..., None], make_objective(TASKS["task1"], rows), 40).tolist() == [
        1,
        0,
    ]


def test_the_likelihood_decides_for_classes() -> None:
    truth = np.random.default_rng(4).integers(0, 4, 2000)
    rows = pd.DataFrame({"query_id": np.arange(2000) // 4, "label": np.array(LABELS)[truth]})
    sure = np.full((2000, 4), 0.1)
    sure[np.arange(2000), truth] = 0.7
    flat = np.full((2000, 4), 0.25)
    objective = make_objective(TASKS["task2"], rows)
    assert objective(sure).sum() == pytest.approx(2000 * np.log(0.7))
    assert objective(sure).shape == (500,)
    assert greedy_weights(np.stack([flat, sure]), objective, 10).tolist() == [0, 1]


def test_the_likelihood_of_one_probability() -> None:
    rows = pd.DataFrame({"query_id": [1, 1, 2], "substitute": pd.array([True, False, True], "boolean")})
    objective = make_objective(TASKS["task3"], rows)
    expected = [np.log(0.8) + np.log(1 - 0.4), np.log(0.5)]
    assert objective(np.array([[0.8], [0.4], [0.5]])).tolist() == pytest.approx(expected)
