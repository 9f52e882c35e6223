"""Better answers from probabilities: alternating normalisation by hand, and thresholds that are worth it."""

import inspect

import numpy as np
import pandas as pd
import pytest

from competition.core.arrays import Array
from competition.models.ensemble import thresholds
from competition.models.ensemble.members import sample_queries
from competition.models.ensemble.thresholds import (
    alternating_normalization,
    apply_factors,
    confident_mass,
    learn_factors,
)
from competition.scoring.metrics import confusion_per_query, macro_f1, micro_f1
from tests.esci import LABELS, TASKS

METRICS = {"micro-F1": micro_f1, "macro-F1": macro_f1}


# --- alternating normalisation
# -----------------------------------------------------------------------------------


def moved(values: Array, prior: Array) -> Array:
    """CAN of rows that are themselves what was learned from."""
    return alternating_normalization(values, prior, confident_mass(values))


def test_an_uncertain_row_by_hand() -> None:
    values = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.4, 0.4, 0.2]])
    prior = np.array([0.5, 0.3, 0.2])
    mass = confident_mass(values)
    np.testing.assert_allclose(mass, [0.9 + 0.05, 0.05 + 0.9, 0.05 + 0.05])
    expected = np.array(
        [0.4 * 0.5 / (0.95 + 0.4), 0.4 * 0.3 / (0.95 + 0.4), 0.2 * 0.2 / (0.1 + 0.2)]
    )
    found = alternating_normalization(values, prior, mass)
    np.testing.assert_allclose(found[2], expected / expected.sum())
    assert found[:2].tolist() == values[:2].tolist()


def test_what_is_uncertain_is_the_entropy_of_the_two_most_probable_classes() -> None:
    # Shares of two classes with an entropy of 0.9 bits are 0.684 and 0.316.
    values = np.array([[0.33, 0.67, 0.0], [0.30, 0.70, 0.0], [0.05, 0.33, 0.62], [0.1, 0.27, 0.63]])
    changed = (moved(values, np.array([0.7, 0.2, 0.1])) != values).any(axis=1)
    assert changed.tolist() == [True, False, True, False]


def test_the_answer_for_a_row_does_not_depend_on_which_rows_are_asked_with_it() -> None:
    rng = np.random.default_rng(0)
    prior, mass = (
        np.array([0.6, 0.2, 0.05, 0.15]),
        confident_mass(rng.dirichlet(np.full(4, 0.5), 300)),
    )
    asked = rng.dirichlet(np.full(4, 2.0), 40)
    together = alternating_normalization(asked, prior, mass)
    alone = np.concatenate(
        [alternating_normalization(asked[[row]], prior, mass) for row in range(len(asked))]
    )
    assert together.tolist() == alone.tolist()
    assert (together != asked).any(axis=1).sum() > 10


def test_probabilities_of_zero_are_no_trouble() -> None:
    values = np.array([[0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.4, 0.5, 0.1, 0.0]])
    found = moved(values, np.array([0.4, 0.3, 0.3, 0.0]))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found[0, 2:].tolist() == [0, 0]
    assert moved(values[:1], np.array([0.25] * 4)).tolist() == [
        [0.5, 0.5, 0, 0]
    ]  # no confident row at all


def test_probabilities_stay_probabilities_whatever_the_order() -> None:
    values = np.random.default_rng(0).dirichlet(np.full(4, 0.5), 500)
    prior = np.array([0.6, 0.2, 0.05, 0.15])
    found, order = moved(values, prior), np.random.default_rng(1).permutation(500)
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(moved(values[order], prior), found[order], rtol=1e-12)


def test_no_label_is_an_argument() -> None:
    assert list(inspect.signature(alternating_normalization).parameters) == [
        "values",
        "prior",
        "mass",
    ]


# --- thresholds
# --------------------------------------------------------------------------------------------------


def graded(task: str, queries: int, too_low: float, seed: int = 0) -> tuple[pd.DataFrame, Array]:
    """Rows whose labels are drawn from probabilities, and these with the odds of substitutes divided by `too_low`."""
    rng = np.random.default_rng(seed)
    classes = rng.dirichlet([1.0, 1.0, 0.2, 0.3], queries * 8)
    drawn = (rng.random(len(classes))[:, None] > classes.cumsum(axis=1)).sum(axis=1)
    label = np.array(LABELS)[np.minimum(drawn, 3)]
    rows = pd.DataFrame({"query_id": np.arange(len(classes)) // 8, "label": label})
    rows["substitute"] = pd.array(label == "substitute", "boolean")
    if task == "task3":
        odds = classes[:, 1:2] / (1 - classes[:, 1:2]) / too_low
        return rows, odds / (1 + odds)
    said = classes / [1, too_low, 1, 1]
    return rows, said / said.sum(axis=1, keepdims=True)


def score(task: str, metric: str, values: Array, rows: pd.DataFrame) -> float:
    """The metric of the most probable class."""
    answer = values.argmax(axis=1) if values.shape[1] > 1 else (values[:, 0] > 0.5).astype(np.int64)
    classes = len(TASKS[task].classes)
    counts = confusion_per_query(
        rows["query_id"].to_numpy(), TASKS[task].truth(rows), answer, classes
    )[1]
    return float(METRICS[metric](counts.sum(axis=0)))


@pytest.mark.parametrize("task", ["task2", "task3"])
@pytest.mark.parametrize("metric", METRICS)
def test_factors_make_the_metric_higher_on_learned_and_on_other_rows(
    task: str, metric: str
) -> None:
    rows, values = graded(task, 400, too_low=4.0)
    factors = learn_factors(TASKS[task], metric, values, rows, 0)
    assert factors.shape == (len(TASKS[task].classes),)
    assert factors[0] == 1 < factors[1]
    assert score(task, metric, apply_factors(factors, values), rows) > score(
        task, metric, values, rows
    )
    rows, values = graded(task, 400, too_low=4.0, seed=1)
    assert score(task, metric, apply_factors(factors, values), rows) > score(
        task, metric, values, rows
    )


def test_the_factor_that_was_planted_is_found() -> None:
    rows, values = graded("task3", 1500, too_low=3.0)
    factors = learn_factors(TASKS["task3"], "micro-F1", values, rows, 0)
    assert factors[1] == pytest.approx(3, rel=0.35)


@pytest.mark.parametrize(("queries", "kept"), [(1, False), (3, False), (8, True), (20, True)])
@pytest.mark.parametrize("metric", METRICS)
def test_factors_are_kept_only_where_they_are_significantly_better(
    metric: str, queries: int, kept: bool
) -> None:
    # Of 60 queries with one row each, a factor of substitutes mends the first ones and breaks none.
    is_substitute = np.arange(60) < 30
    probability = np.where(np.arange(60) < queries, 0.45, np.where(is_substitute, 0.9, 0.1))[
        :, None
    ]
    rows = pd.DataFrame(
        {"query_id": np.arange(60), "substitute": pd.array(is_substitute, "boolean")}
    )
    # A bootstrap over queries misses all that gain this often; its 95 % interval is above zero from
    # 2.5 % on.
    assert kept == ((1 - queries / 60) ** 60 < 0.025)
    factors = learn_factors(TASKS["task3"], metric, probability, rows, 0)
    assert (factors[1] > 0.55 / 0.45) if kept else (factors.tolist() == [1, 1])


@pytest.mark.parametrize("queries", [60, 200])
def test_factors_that_can_help_nothing_are_seldom_kept(queries: int) -> None:
    """Of 40 trials with calibrated probabilities, of which 2.5 % is 1; judged on the rows they are found on, 2 to 7."""
    trials = 40
    kept = 0
    for trial in range(trials):
        rows, values = graded("task3", queries, too_low=1.0, seed=trial)
        kept += learn_factors(TASKS["task3"], "micro-F1", values, rows, trial).tolist() != [1, 1]
    assert kept <= 3  # more has a probability of 0.4 % where each trial has 2.5 %


@pytest.mark.parametrize("task", ["task2", "task3"])
def test_probabilities_that_are_right_are_left_alone(task: str) -> None:
    rows, values = graded(task, 400, too_low=1.0)
    assert learn_factors(TASKS[task], "micro-F1", values, rows, 0).tolist() == [1] * len(
        TASKS[task].classes
    )


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_a_factor_of_substitutes_is_a_threshold(factor: float) -> None:
    probability = np.linspace(0.001, 0.999, 500)[:, None]
    found = apply_factors(np.array([1.0, factor]), probability)
    assert found.shape == probability.shape
    assert ((found > 0.5) == (probability > 1 / (1 + factor))).all()


def test_factors_by_hand() -> None:
    found = apply_factors(np.array([1.0, 2.0, 1.0, 0.5]), np.array([[0.5, 0.3, 0.0, 0.2]]))
    total = 0.5 * 1 + 0.3 * 2 + 0.0 * 1 + 0.2 * 0.5
    np.testing.assert_allclose(found, [[0.5 / total, 0.6 / total, 0, 0.1 / total]])


def test_factors_of_one_change_nothing() -> None:
    values = graded("task2", 5, too_low=1.0)[1]
    np.testing.assert_allclose(apply_factors(np.ones(4), values), values)


def test_order_of_rows_changes_nothing() -> None:
    rows, values = graded("task2", 200, too_low=3.0)
    order = np.random.default_rng(0).permutation(len(rows))
    one, other = (
        learn_factors(TASKS["task2"], "macro-F1", values[at], rows.iloc[at], 0)
        for at in (np.arange(len(rows)), order)
    )
    assert one.tolist() == other.tolist()


def test_whole_queries_are_drawn_where_there_are_more_than_enough_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, values = graded("task3", 400, too_low=3.0)
    drawn = sample_queries(rows["query_id"].to_numpy(), 1600, 5)
    expected = learn_factors(TASKS["task3"], "micro-F1", values[drawn], rows[drawn], 5)
    monkeypatch.setattr(thresholds, "MAX_ROWS", 1600)
    assert learn_factors(TASKS["task3"], "micro-F1", values, rows, 5).tolist() == expected.tolist()
