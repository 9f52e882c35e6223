"""A cross-fitted ensemble: what scores a fold never saw it, each row is there once, and no order matters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from competition.config.recipe import EnsembleRecipe
from competition.core.arrays import Array
from competition.core.errors import CompError
from competition.models.ensemble import blending, early_stopping, gbdt
from competition.models.ensemble.crossfit import CrossFitted, cross_fit
from competition.models.ensemble.gbdt import fit_trees
from competition.models.ensemble.members import Member, MemberOutputs
from competition.models.ensemble.meta_features import tree_features
from competition.models.ensemble.thresholds import (
    alternating_normalization,
    apply_factors,
    confident_mass,
    learn_factors,
)
from competition.models.ensemble.training_table import TrainingTable
from competition.scoring.evaluation import graded_rows
from tests.esci import ANSWER_KIND, LABELS, TASKS, label_codes
from tests.models.ensemble.made import (
    FOLDS,
    folds_of,
    make_examples,
    make_member,
    make_members,
    nested_members,
    recipe_of,
    score_of,
    spoil,
    with_labels,
)

Keys = Mapping[str, object]
METHODS: dict[str, list[Keys]] = {  # task -> what it may be answered by
    "task1": [
        {"method": "paper"},
        {"method": "greedy"},
        {"method": "search", "space": "rank", "per_locale": True},
        {"method": "logistic"},
        {"method": "lightgbm"},
        {"method": "lambdarank", "leaky": True},
        {"method": "lambdarank", "nested": True},
    ],
    "task2": [
        {"method": "paper", "can": True},
        {"method": "paper", "thresholds": "macro-F1"},
        {"method": "greedy", "per_locale": True},
        {"method": "search", "objective": "likelihood", "can": True, "thresholds": "micro-F1"},
        {"method": "logistic", "nested": True},
        {"method": "lightgbm", "can": True, "thresholds": "macro-F1"},
        {"method": "lightgbm", "nested": True, "thresholds": "micro-F1"},
    ],
    "task3": [
        {"method": "paper", "thresholds": "micro-F1"},
        {"method": "greedy", "thresholds": "macro-F1"},
        {"method": "search", "objective": "likelihood"},
        {"method": "logistic", "leaky": True, "thresholds": "micro-F1"},
        {"method": "lightgbm", "thresholds": "micro-F1"},
        {"method": "lightgbm", "nested": True, "thresholds": "macro-F1"},
    ],
}
CASES = [
    pytest.param((task, keys), id=f"{task}-{'-'.join(map(str, keys.values()))}")
    for task in METHODS
    for keys in METHODS[task]
]


@pytest.fixture(autouse=True, scope="module")
def _short_patience() -> Iterator[None]:
    """Early stopping that stops within a few trees, and locales of their own with few queries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(early_stopping, "_EVERY", 1)
        patch.setattr(gbdt, "_STRIDE", 3)
        patch.setattr(early_stopping, "_PATIENCE", 1)
        patch.setattr(blending, "ENOUGH_QUERIES", 5)
        yield


def fit(
    task: str, members: list[Member], examples: pd.DataFrame, recipe: EnsembleRecipe
) -> CrossFitted:
    """The ensemble of some examples."""
    return cross_fit(TASKS[task], ANSWER_KIND[task], members, examples, folds_of(examples), recipe)


def members_for(task: str, keys: Keys, examples: pd.DataFrame) -> list[Member]:
    """Members of a task, nested where the recipe is."""
    return (nested_members if keys.get("nested") else make_members)(task, examples)


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether two frames agree to the bit."""
    return one.equals(other)


# --- what a fold sees
# --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.values[0][1] != {"method": "paper"}]
)
def test_a_fold_is_scored_by_what_never_saw_its_labels(case: tuple[str, Keys]) -> None:
    task, keys = case
    # Decisions are learned only where there are enough rows to be sure of them.
    examples = make_examples(75 if "thresholds" in keys else 40, 5)
    # Trees that learn so fast that they are stopped.
    members, recipe = (
        members_for(task, keys, examples),
        recipe_of(learning_rate=0.6, n_estimators=30, **keys),
    )
    before, after = (fit(task, members, each, recipe) for each in (examples, spoil(examples, 2)))
    assert same(before.held_out[2], after.held_out[2])
    assert same(before.test[2], after.test[2])
    assert before.results[2].weights == after.results[2].weights
    assert before.results[2].rounds == after.results[2].rounds
    assert before.results[2].factors == after.results[2].factors
    assert not all(same(before.held_out[k], after.held_out[k]) for k in FOLDS if k != 2)


@pytest.mark.parametrize("task", TASKS)
def test_the_published_rule_sees_no_label_at_all(task: str) -> None:
    examples = make_examples()
    members = make_members(task, examples)
    before, after = (
        fit(task, members, each, recipe_of("paper")) for each in (examples, spoil(examples, 2))
    )
    assert all(same(before.held_out[k], after.held_out[k]) for k in FOLDS)


# --- rows and orders
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Small:
    """An ensemble of few rows, of which every ninth has no label."""

    task: str
    recipe: EnsembleRecipe
    members: list[Member]
    examples: pd.DataFrame
    fitted: CrossFitted


@pytest.fixture(scope="module", params=CASES)
def small(request: pytest.FixtureRequest) -> Small:
    """One ensemble of each method."""
    task, keys = request.param
    examples = make_examples(25, 5)
    members, recipe = members_for(task, keys, examples), recipe_of(n_estimators=5, **keys)
    examples = without_labels(examples, examples["example_id"] % 9 == 0)
    return Small(task, recipe, members, examples, fit(task, members, examples, recipe))


def without_labels(examples: pd.DataFrame, which: pd.Series) -> pd.DataFrame:
    """The examples, some of them unlabelled."""
    return examples.assign(
        label=examples["label"].mask(which), substitute=examples["substitute"].mask(which)
    )


@pytest.mark.slow
def test_each_row_is_there_once_also_without_a_label_and_outside_the_task(small: Small) -> None:
    examples, fold = small.examples, folds_of(small.examples)
    for k, held_out, test in zip(FOLDS, small.fitted.held_out, small.fitted.test, strict=True):
        assert held_out["example_id"].tolist() == examples.loc[fold == k, "example_id"].tolist()
        assert (
            test["example_id"].tolist()
            == examples.loc[examples["split"] == "test", "example_id"].tolist()
        )
    covered = pd.concat(small.fitted.held_out)["example_id"]
    assert sorted(covered) == examples.loc[examples["split"] == "train", "example_id"].tolist()


@pytest.mark.slow
def test_all_outputs_are_finite_and_probabilities_sum_to_one(small: Small) -> None:
    for frame in (*small.fitted.held_out, *small.fitted.test):
        values = ANSWER_KIND[small.task].values(frame)
        assert np.isfinite(values).all()
        if small.task == "task2":
            np.testing.assert_allclose(values.sum(axis=1), 1)


@pytest.mark.slow
def test_neither_orders_nor_labels_of_test_rows_change_anything(small: Small) -> None:
    blind = without_labels(small.examples, small.examples["split"] == "test")
    other = fit(small.task, small.members[::-1], blind.sample(frac=1, random_state=1), small.recipe)
    assert all(map(same, small.fitted.held_out + small.fitted.test, other.held_out + other.test))
    assert small.fitted.results[0].weights == other.results[0].weights


@pytest.mark.parametrize("method", ["paper", "greedy", "search"])
def test_outputs_are_the_weighted_average(method: str) -> None:
    examples = make_examples()
    members = [
        member for seed in (1, 2) for member in make_members("task1", examples, seed=seed)[2:]
    ]
    members = [
        Member(name, member.kind, member.seen, member.test)
        for name, member in zip("ab", members, strict=True)
    ]
    fitted = fit("task1", members, examples, recipe_of(method))
    for k in FOLDS:
        weights = fitted.results[k].weights["all"]
        assert sum(weights.values()) == pytest.approx(2 * 1 / 2)
        for outputs, said in (
            (fitted.held_out[k], [m.seen[k] for m in members]),
            (fitted.test[k], [m.test for m in members]),
        ):
            gains = [
                frame.set_index("example_id")["gain"].loc[outputs["example_id"]] for frame in said
            ]
            np.testing.assert_allclose(
                outputs["score"], weights["a"] * gains[0] + weights["b"] * gains[1]
            )


def test_members_that_do_not_fit_are_refused() -> None:
    examples = make_examples(10)
    with pytest.raises(CompError, match="No member of the ensemble answers task2"):
        fit("task2", [], examples, recipe_of("greedy"))
    short = make_member("short", "gain", np.zeros((len(examples) - 7, 1)), examples.iloc[7:])
    with pytest.raises(CompError, match="'short' does not cover the same rows"):
        fit("task1", [*make_members("task1", examples), short], examples, recipe_of("greedy"))


# --- honest scores
# -----------------------------------------------------------------------------------------------


def shuffled_labels() -> pd.DataFrame:
    """Examples whose labels are drawn anew, all as frequent, after the members were made."""
    examples = make_examples(60, 5)
    return with_labels(examples, np.random.default_rng(3).choice(LABELS, len(examples)))


def in_sample(
    task: str, members: list[Member], examples: pd.DataFrame, recipe: EnsembleRecipe
) -> pd.DataFrame:
    """What trees say of the very rows that they were fitted to: how not to do it."""
    rows = examples[examples["split"] == "train"].reset_index(drop=True)
    said = [
        MemberOutputs(member.name, member.kind, member.kind.values(member.seen[0]))
        for member in members
    ]
    features = tree_features(TASKS[task], said, rows, None)[1]
    everything = np.flatnonzero(rows[task])
    table = TrainingTable(TASKS[task], rows, features)
    trees = fit_trees(recipe, table, everything, [everything], seed=0)
    values = trees.predict(features)
    return pd.DataFrame(
        {"example_id": rows["example_id"], **dict(zip(_columns(task), values.T, strict=True))}
    )


def _columns(task: str) -> list[str]:
    return [f"p_{label}" for label in LABELS] if task == "task2" else ["score"]


@pytest.mark.parametrize(("task", "method"), [("task2", "lightgbm"), ("task1", "lambdarank")])
def test_luck_is_learned_in_sample_and_not_by_cross_fitting(task: str, method: str) -> None:
    members, examples = make_members(task, make_examples(60, 5)), shuffled_labels()
    recipe = recipe_of(
        method, n_estimators=40, num_leaves=31, min_data_in_leaf=2, learning_rate=0.3
    )
    blind = score_of(
        task, pd.concat(fit(task, members, examples, recipe_of("paper")).held_out), examples
    )
    cross_fitted = score_of(
        task, pd.concat(fit(task, members, examples, recipe).held_out), examples
    )
    assert score_of(task, in_sample(task, members, examples, recipe), examples) > blind + 0.2
    assert abs(cross_fitted - blind) < 0.06


def test_what_members_say_is_learned_by_cross_fitting() -> None:
    examples = make_examples()
    members = make_members("task2", examples)
    paper, trees = (
        score_of("task2", pd.concat(fit("task2", members, examples, recipe).held_out), examples)
        for recipe in (recipe_of("paper"), recipe_of("lightgbm", n_estimators=40))
    )
    assert trees > paper + 0.02  # members say too little of substitutes


# --- decisions
# ---------------------------------------------------------------------------------------------------


def values_of(task: str, frames: list[pd.DataFrame]) -> list[Array]:
    """The outputs of frames as arrays."""
    return [ANSWER_KIND[task].values(frame) for frame in frames]


def test_alternating_normalisation_reads_labels_and_outputs_of_the_other_folds() -> None:
    examples = make_examples()
    examples["task2"] = examples["query_id"] % 3 > 0
    members = make_members("task2", examples)
    plain, moved = (
        fit("task2", members, examples, recipe_of("paper", can=on)) for on in (False, True)
    )
    graded = graded_rows(TASKS["task2"], examples[examples["split"] == "train"])
    held_out = pd.concat(plain.held_out).set_index("example_id")
    for k in FOLDS:
        others = graded[folds_of(graded) != k]
        prior = np.bincount(label_codes(others["label"]), minlength=4) / len(others)
        mass = confident_mass(held_out.loc[others["example_id"]].to_numpy())
        for before, after in (
            (plain.held_out[k], moved.held_out[k]),
            (plain.test[k], moved.test[k]),
        ):
            before, after = values_of("task2", [before, after])
            np.testing.assert_allclose(after, alternating_normalization(before, prior, mass))
            assert (after != before).any()


def test_alternating_normalisation_answers_a_test_row_whoever_is_asked_with_it() -> None:
    examples = make_examples(40, 20)
    members, recipe = make_members("task2", examples), recipe_of("paper", can=True)
    few = examples[(examples["split"] == "train") | (examples["query_id"] == 45)]
    of_few = [
        replace(m, test=m.test[m.test["example_id"].isin(few["example_id"])].reset_index())
        for m in members
    ]
    many, alone = (
        fit("task2", *each, recipe).test for each in ((members, examples), (of_few, few))
    )
    for one, other in zip(many, alone, strict=True):
        pd.testing.assert_frame_equal(
            one.set_index("example_id").loc[other["example_id"]].reset_index(), other
        )


@pytest.mark.parametrize("task", ["task2", "task3"])
@pytest.mark.parametrize("metric", ["micro-F1", "macro-F1"])
def test_thresholds_are_those_that_the_other_folds_ask_for(task: str, metric: str) -> None:
    examples = make_examples()
    members = make_members(task, examples)
    plain, moved = (
        fit(task, members, examples, recipe_of("paper", thresholds=each))
        for each in ("none", metric)
    )
    held_out = pd.concat(plain.held_out).set_index("example_id")
    graded = graded_rows(TASKS[task], examples[examples["split"] == "train"])
    for k in FOLDS:
        others = graded[folds_of(graded) != k]
        values = held_out.loc[others["example_id"]].to_numpy()
        factors = learn_factors(TASKS[task], metric, values, others, seed=0)
        assert moved.results[k].factors == factors.tolist() != [1] * len(factors)
        before, after, test_before, test_after = values_of(
            task, [plain.held_out[k], moved.held_out[k], plain.test[k], moved.test[k]]
        )
        np.testing.assert_allclose(after, apply_factors(factors, before))
        np.testing.assert_allclose(test_after, apply_factors(factors, test_before))
    assert score_of(task, pd.concat(moved.held_out), examples) > score_of(
        task, pd.concat(plain.held_out), examples
    )


@pytest.mark.parametrize(
    ("task", "keys"), [("task1", {"can": True, "thresholds": "micro-F1"}), ("task3", {"can": True})]
)
def test_decisions_leave_the_tasks_alone_that_they_are_not_about(task: str, keys: Keys) -> None:
    examples = make_examples(30)
    members = make_members(task, examples)
    plain, decided = (
        fit(task, members, examples, recipe_of("paper", **each)) for each in ({}, keys)
    )
    assert all(map(same, plain.held_out + plain.test, decided.held_out + decided.test))
