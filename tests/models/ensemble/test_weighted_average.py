"""Weights recover what was planted, ignore what says nothing, and do not chase luck."""

import numpy as np
import pandas as pd
import pytest

from competition.core.arrays import Array
from competition.models.ensemble import weighted_average
from competition.models.ensemble.members import sample_queries
from competition.models.ensemble.weighted_average import (
    draw_bags,
    greedy_weights,
    learn_weights,
    make_objective,
    paper_weights,
    search_weights,
)
from tests.esci import GAINS, KINDS, LABELS, TASKS
from tests.models.ensemble.made import recipe_of

LEARNED = ("greedy", "search")


def ranking(queries: int, depth: int = 12) -> tuple[pd.DataFrame, Array]:
    """Examples of a ranking task and their gains."""
    rng = np.random.default_rng(0)
    label = rng.choice(LABELS, queries * depth, p=[0.5, 0.3, 0.05, 0.15])
    rows = pd.DataFrame({"query_id": np.repeat(np.arange(queries), depth), "label": label})
    rows["product_id"] = [f"P{i}" for i in range(len(rows))]
    return rows, rows["label"].map(GAINS["paper"]).to_numpy()


def noisy(gain: Array, *noise: float) -> Array:
    """Views of the gain with so much noise each, `(members, rows, 1)`."""
    rng = np.random.default_rng(1)
    return np.stack([gain + rng.normal(0, each, len(gain)) for each in noise])[..., None]


def mixture(shares: list[float], rows: int = 6000) -> tuple[pd.DataFrame, Array]:
    """Labels that are drawn from a mixture of the members' probabilities, which are then the likelihood's weights."""
    rng = np.random.default_rng(2)
    values = rng.dirichlet(np.full(4, 0.3), (len(shares), rows))
    drawn = (rng.random(rows)[:, None] > np.tensordot(shares, values, 1).cumsum(axis=1)).sum(axis=1)
    label = np.array(LABELS)[drawn]
    frame = pd.DataFrame({"query_id": np.arange(rows) // 6, "label": label})
    return frame.assign(substitute=pd.array(label == "substitute", "boolean")), values


# --- the published rule
# ------------------------------------------------------------------------------------------


def test_published_weights_are_those_of_two_means_for_ranking_and_of_one_for_classes() -> None:
    kinds = [KINDS[each] for each in ("classes", "gain", "gain", "score", "gain")]
    assert paper_weights(TASKS["task1"], kinds).tolist() == [1, 1 / 4, 1 / 4, 1 / 4, 1 / 4]
    assert paper_weights(TASKS["task1"], [KINDS["gain"]] * 2).tolist() == [1 / 2, 1 / 2]
    assert paper_weights(TASKS["task2"], [KINDS["classes"]] * 4).tolist() == [1 / 4] * 4
    assert (
        paper_weights(TASKS["task3"], [KINDS["classes"], KINDS["substitute"]]).tolist()
        == [1 / 2] * 2
    )


# --- what is maximised
# -------------------------------------------------------------------------------------------


def test_the_likelihood_decides_for_classes() -> None:
    truth = np.random.default_rng(4).integers(0, 4, 2000)
    rows = pd.DataFrame({"query_id": np.arange(2000) // 4, "label": np.array(LABELS)[truth]})
    sure = np.full((2000, 4), 0.1)
    sure[np.arange(2000), truth] = 0.7
    flat = np.full((2000, 4), 0.25)
    objective = make_objective(TASKS["task2"], rows, "likelihood")
    assert objective(sure).sum() == pytest.approx(2000 * np.log(0.7))
    assert objective(sure).shape == (500,)
    assert greedy_weights(np.stack([flat, sure]), objective, 10, np.ones((1, 500))).tolist() == [
        0,
        1,
    ]


def test_the_likelihood_of_one_probability() -> None:
    rows = pd.DataFrame(
        {"query_id": [1, 1, 2], "substitute": pd.array([True, False, True], "boolean")}
    )
    objective = make_objective(TASKS["task3"], rows, "likelihood")
    expected = [np.log(0.8) + np.log(1 - 0.4), np.log(0.5)]
    assert objective(np.array([[0.8], [0.4], [0.5]])).tolist() == pytest.approx(expected)


def test_the_metric_counts_right_answers_per_query() -> None:
    rows = pd.DataFrame({"query_id": [5, 3, 5], "label": ["exact", "irrelevant", "substitute"]})
    values = np.array([[0.7, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1], [0.3, 0.4, 0.2, 0.1]])
    assert make_objective(TASKS["task2"], rows, "metric")(values).tolist() == [
        0,
        2,
    ]  # of the queries 3 and 5
    rows = pd.DataFrame(
        {"query_id": [1, 1, 2], "substitute": pd.array([True, False, True], "boolean")}
    )
    assert make_objective(TASKS["task3"], rows, "metric")(
        np.array([[0.8], [0.4], [0.5]])
    ).tolist() == [2, 0]


def test_ranking_is_scored_by_ndcg_and_a_query_without_gain_adds_nothing() -> None:
    rows = pd.DataFrame(
        {
            "query_id": [1, 1, 2],
            "label": ["substitute", "exact", "irrelevant"],
            "product_id": list("ABC"),
        }
    )
    found = make_objective(TASKS["task1"], rows, "metric")(np.array([[0.9], [0.5], [0.5]]))
    worst, best = 0.1 + 1 / np.log2(3), 1 + 0.1 / np.log2(3)
    assert found.tolist() == pytest.approx([worst / best, 0])


# --- weights that are found
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", LEARNED)
def test_two_views_of_the_truth_are_blended_and_noise_is_not(method: str) -> None:
    rows, gain = ranking(400)
    nothing = np.random.default_rng(5).normal(0, 0.4, (1, len(gain), 1))
    values = np.concatenate([noisy(gain, 0.4, 0.4), nothing])
    weights = learn_weights(recipe_of(method, selections=20), TASKS["task1"], values, rows, 0)
    assert weights.sum() == pytest.approx(1)
    assert weights[:2] == pytest.approx([0.5, 0.5], abs=0.15)
    assert weights[2] < 0.1


@pytest.mark.parametrize("method", LEARNED)
def test_the_better_view_weighs_more(method: str) -> None:
    rows, gain = ranking(1500)
    weights = learn_weights(
        recipe_of(method, selections=20), TASKS["task1"], noisy(gain, 0.3, 0.6), rows, 0
    )
    best = np.array([1 / 0.3**2, 1 / 0.6**2])  # of two means with independent noise
    assert weights == pytest.approx(best / best.sum(), abs=0.15)


@pytest.mark.parametrize("method", LEARNED)
@pytest.mark.parametrize("task", ["task2", "task3"])
def test_the_likelihood_recovers_the_shares_of_a_mixture(method: str, task: str) -> None:
    rows, values = mixture([0.7, 0.3, 0.0])
    values = values[..., 1:2] if task == "task3" else values
    recipe = recipe_of(method, objective="likelihood", selections=30, bags=5)
    weights = learn_weights(recipe, TASKS[task], values, rows, 0)
    assert weights.sum() == pytest.approx(1)
    assert weights == pytest.approx([0.7, 0.3, 0.0], abs=0.08)


def test_both_minimisers_find_the_same_optimum() -> None:
    rows, values = mixture([0.6, 0.4], rows=2000)
    objective = make_objective(TASKS["task2"], rows, "likelihood")
    smooth, simplex = (search_weights(values, objective, smooth) for smooth in (True, False))
    assert smooth == pytest.approx(simplex, abs=0.01)
    step = np.array([0.02, -0.02])
    for other in (smooth + step, smooth - step):
        assert (
            objective(np.tensordot(other, values, 1)).sum()
            < objective(np.tensordot(smooth, values, 1)).sum()
        )


@pytest.mark.parametrize("method", LEARNED)
def test_a_constant_member_gets_nothing(method: str) -> None:
    rows, gain = ranking(100)
    values = np.stack([np.full((len(gain), 1), 0.3), *noisy(gain, 0.4)])
    assert learn_weights(recipe_of(method), TASKS["task1"], values, rows, 0).tolist() == [0, 1]


@pytest.mark.parametrize("method", LEARNED)
def test_luck_on_few_queries_changes_nothing(method: str) -> None:
    rows, gain = ranking(15)
    values = noisy(gain, 0.1, 1.0)
    assert learn_weights(
        recipe_of(method, selections=40), TASKS["task1"], values, rows, 0
    ).tolist() == [1, 0]


@pytest.mark.parametrize(("queries", "kept"), [(1, False), (3, False), (4, True), (30, True)])
def test_an_average_replaces_the_best_member_only_where_it_is_significantly_better(
    queries: int, kept: bool
) -> None:
    # One query has one row. The first member is wrong on some, on which the second is right, and so
    # is their mean.
    wrong = np.arange(60) < queries
    values = np.stack([np.where(wrong, 0.2, 0.9), np.where(wrong, 0.9, 0.2)])[..., None]
    rows = pd.DataFrame({"query_id": np.arange(60), "substitute": pd.array([True] * 60, "boolean")})
    assert kept == (
        queries > 1.96 * np.sqrt(queries * (1 - queries / 60))
    )  # of 60 queries that gain 0 or 1
    weights = learn_weights(
        recipe_of("greedy", selections=2, bags=1), TASKS["task3"], values, rows, 0
    )
    assert weights.tolist() == ([0.5, 0.5] if kept else [1, 0])


def test_one_member_is_taken_as_it_is() -> None:
    rows, gain = ranking(5)
    assert learn_weights(
        recipe_of("search"), TASKS["task1"], noisy(gain, 1.0), rows, 0
    ).tolist() == [1]


@pytest.mark.parametrize("method", LEARNED)
def test_order_of_rows_changes_nothing(method: str) -> None:
    rows, gain = ranking(150)
    values = noisy(gain, 0.4, 0.5)
    order = np.random.default_rng(6).permutation(len(rows))
    plain = learn_weights(recipe_of(method), TASKS["task1"], values, rows, 0)
    assert (
        plain.tolist()
        == learn_weights(
            recipe_of(method), TASKS["task1"], values[:, order], rows.iloc[order], 0
        ).tolist()
    )


# --- what weights are learned on
# ---------------------------------------------------------------------------------


def test_bags_are_random_halves_and_one_bag_is_all() -> None:
    bags = draw_bags(7, 20, seed=1)
    assert bags.shape == (20, 7)
    assert bags.sum(axis=1).tolist() == [4] * 20
    assert set(bags.ravel()) == {0, 1}
    assert len({tuple(bag) for bag in bags}) > 1
    assert draw_bags(7, 20, seed=1).tolist() == bags.tolist() != draw_bags(7, 20, seed=2).tolist()
    assert draw_bags(3, 1, seed=1).tolist() == [[1, 1, 1]]


def test_weights_are_the_mean_of_the_bags() -> None:
    rows, gain = ranking(60)
    values, objective = noisy(gain, 0.4, 0.5), make_objective(TASKS["task1"], rows, "metric")
    bags = draw_bags(60, 3, seed=1)
    each = [greedy_weights(values, objective, 10, bag[None]) for bag in bags]
    np.testing.assert_allclose(greedy_weights(values, objective, 10, bags), np.mean(each, axis=0))


def test_weights_are_learned_on_the_queries_that_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, gain = ranking(200)
    values, recipe = noisy(gain, 0.4, 0.5), recipe_of("greedy")
    drawn = sample_queries(rows["query_id"].to_numpy(), 1200, 3)
    expected = learn_weights(recipe, TASKS["task1"], values[:, drawn], rows[drawn], 3)
    everything = learn_weights(recipe, TASKS["task1"], values, rows, 3)
    monkeypatch.setattr(weighted_average, "MAX_ROWS", 1200)
    assert (
        learn_weights(recipe, TASKS["task1"], values, rows, 3).tolist()
        == expected.tolist()
        != everything.tolist()
    )
