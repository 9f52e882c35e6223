"""A cross-fitted ensemble: the weights of a fold never see it, and no order matters."""

import numpy as np
import pandas as pd
import pytest

from competition.ensemble.crossfit import cross_fit
from competition.errors import CompError
from competition.oof import Run
from competition.recipe import AverageRecipe
from competition.tasks import GAINS, LABELS, TASKS


def greedy(selections: int) -> AverageRecipe:
    """Weights that are learned."""
    return AverageRecipe(name="x", selections=selections)


EQUAL = AverageRecipe(name="x", weighting="equal")


def setting() -> tuple[pd.DataFrame, pd.Series, list[Run]]:
    """120 training queries and 20 test queries with two regressors and a 4-class run."""
    rng = np.random.default_rng(0)
    n = 140 * 10
    examples = pd.DataFrame({"example_id": np.arange(n), "query_id": np.arange(n) // 10})
    examples["label"] = rng.choice(LABELS, n, p=[0.5, 0.3, 0.05, 0.15])
    examples["product_id"] = [f"P{i}" for i in range(n)]
    examples["split"] = np.where(examples["query_id"] < 120, "train", "test")
    examples["task1"] = examples["task2"] = examples["task3"] = True
    examples["substitute"] = (examples["label"] == "substitute").astype("boolean")
    gain = examples["label"].map(GAINS["paper"]).to_numpy()
    fold = pd.Series(np.where(examples["split"] == "train", examples["query_id"] % 5, -1), examples.index)
    runs = []
    for name in ("a", "b"):
        outputs = pd.DataFrame({"example_id": examples["example_id"], "gain": gain + rng.normal(0, 0.4, n)})
        runs.append(_run(name, "gain", outputs, examples))
    probabilities = rng.dirichlet(np.ones(4), n)
    outputs = pd.DataFrame(probabilities, columns=[f"p_{label}" for label in LABELS])
    runs.append(_run("c", "classes", outputs.assign(example_id=examples["example_id"]), examples))
    return examples, fold, runs


def _run(name: str, kind: str, outputs: pd.DataFrame, examples: pd.DataFrame) -> Run:
    train = (examples["split"] == "train").to_numpy()
    return Run(name, kind, outputs[train].reset_index(drop=True), outputs[~train].reset_index(drop=True))


def test_a_fold_is_scored_by_weights_that_never_saw_it() -> None:
    examples, fold, runs = setting()
    before = cross_fit(TASKS["task1"], runs, examples, fold, greedy(10))
    spoiled = examples.copy()
    in_fold = (fold == 2).to_numpy()
    spoiled.loc[in_fold, "label"] = np.random.default_rng(1).permutation(spoiled.loc[in_fold, "label"])
    after = cross_fit(TASKS["task1"], runs, spoiled, fold, greedy(10))
    pd.testing.assert_frame_equal(before.held_out[2], after.held_out[2])
    assert before.weights[2] == after.weights[2]
    assert before.weights[0] != after.weights[0]


def test_outputs_are_the_weighted_average() -> None:
    examples, fold, runs = setting()
    fitted = cross_fit(TASKS["task1"], runs[:2], examples, fold, greedy(10))
    for k in range(5):
        weights = fitted.weights[k]
        assert sum(weights.values()) == pytest.approx(1)
        held = fitted.held_out[k].set_index("example_id")["score"]
        parts = [weights[run.name] * run.held_out.set_index("example_id")["gain"].loc[held.index] for run in runs[:2]]
        np.testing.assert_allclose(held, parts[0] + parts[1])
        test = fitted.test[k].set_index("example_id")["score"]
        parts = [weights[run.name] * run.test.set_index("example_id")["gain"].loc[test.index] for run in runs[:2]]
        np.testing.assert_allclose(test, parts[0] + parts[1])
    covered = pd.concat(fitted.held_out)["example_id"]
    assert sorted(covered) == examples.loc[examples["split"] == "train", "example_id"].tolist()


def test_order_of_members_and_rows_changes_nothing() -> None:
    examples, fold, runs = setting()
    one = cross_fit(TASKS["task1"], runs, examples, fold, greedy(10))
    shuffled = examples.sample(frac=1, random_state=1)
    other = cross_fit(TASKS["task1"], runs[::-1], shuffled, fold.loc[shuffled.index], greedy(10))
    for a, b in zip(one.held_out + one.test, other.held_out + other.test, strict=True):
        pd.testing.assert_frame_equal(a, b)
    assert one.weights == other.weights


def test_members_that_do_not_fit_are_refused() -> None:
    examples, fold, runs = setting()
    with pytest.raises(CompError, match="No member of the ensemble answers task2"):
        cross_fit(TASKS["task2"], [], examples, fold, greedy(5))
    short = Run("short", "gain", runs[0].held_out.head(7), runs[0].test)
    with pytest.raises(CompError, match="'short' does not cover the same rows"):
        cross_fit(TASKS["task1"], [runs[0], short], examples, fold, greedy(5))


@pytest.mark.parametrize("task", ["task1", "task2"])
def test_equal_weights_are_one_over_the_members(task: str) -> None:
    examples, fold, runs = setting()
    members = runs if task == "task1" else [runs[2], Run("d", "classes", runs[2].held_out, runs[2].test)]
    fitted = cross_fit(TASKS[task], members, examples, fold, EQUAL)
    assert fitted.weights == [{run.name: pytest.approx(1 / len(members)) for run in members}] * 5
    covered = pd.concat(fitted.held_out)["example_id"]
    assert sorted(covered) == examples.loc[examples["split"] == "train", "example_id"].tolist()


def test_the_six_model_formula_is_the_order_of_equal_weights() -> None:
    examples, fold, _ = setting()
    rng, n = np.random.default_rng(3), len(examples)
    probabilities, gain = rng.dirichlet(np.ones(4), (3, n)), rng.random((3, n))
    runs = []
    for i in range(3):
        frame = pd.DataFrame(probabilities[i], columns=[f"p_{label}" for label in LABELS])
        runs.append(_run(f"c{i + 1}", "classes", frame.assign(example_id=examples["example_id"]), examples))
        frame = pd.DataFrame({"example_id": examples["example_id"], "gain": gain[i]})
        runs.append(_run(f"r{i + 1}", "gain", frame, examples))
    fitted = cross_fit(TASKS["task1"], runs, examples, fold, EQUAL)
    # RECIPE, section 8: mean(c1, c2, c3 class probabilities) . (E 1, S .1, C .01, I 0) + mean(r1, r2, r3)
    published = probabilities.mean(0) @ [1.0, 0.1, 0.01, 0.0] + gain.mean(0)
    for frame in (*fitted.held_out, fitted.test[0]):
        expected = published[frame["example_id"]]
        np.testing.assert_array_equal(frame["score"].argsort(), expected.argsort())
        np.testing.assert_allclose(frame["score"], expected / 2)
