"""The regression: members that help are read and others cost nothing, rounding moves nothing, no fold sees itself."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from competition.core.arrays import Array
from competition.models.ensemble import crossfit
from competition.models.ensemble.crossfit import CrossFitted, cross_fit
from competition.models.ensemble.design import Ranks, Standard
from competition.models.ensemble.logistic import cross_fit_logistic
from competition.models.ensemble.members import EnsembleRows, Member, task_outputs
from competition.models.ensemble.results import FoldResult
from competition.models.ensemble.stacking import cross_fit_trees
from tests.esci import ANSWER_KIND, KINDS, LABELS, TASKS, label_codes
from tests.models.ensemble.made import (
    FOLDS,
    classifier,
    folds_of,
    make_examples,
    make_member,
    make_members,
    probabilities,
    recipe_of,
    spoil,
    with_labels,
)

OUTPUTS = ("training", "held_out", "test")


def rows_of(
    task: str, members: list[Member], examples: pd.DataFrame, **keys: object
) -> EnsembleRows:
    """Members and examples of one task."""
    return EnsembleRows(
        TASKS[task],
        ANSWER_KIND[task],
        members,
        examples,
        folds_of(examples),
        recipe_of(str(keys.pop("method", "logistic")), **keys),
    )


def made_text(examples: pd.DataFrame, noise: float = 1.0) -> pd.DataFrame:
    """Three features, of which the first two know something of the label."""
    rng = np.random.default_rng(8)
    code = label_codes(examples["label"])
    values = np.column_stack([code == 0, code == 1, np.zeros(len(code))]) + rng.normal(
        0, noise, (len(code), 3)
    )
    return pd.DataFrame(
        values, columns=list("abc"), index=pd.Index(examples["example_id"], name="example_id")
    )


def constant(name: str, examples: pd.DataFrame) -> Member:
    """A member that says the same of every row."""
    return make_member(
        name, "classes", np.tile([0.5, 0.3, 0.05, 0.15], (len(examples), 1)), examples
    )


def noise(name: str, examples: pd.DataFrame, seed: int) -> Member:
    """A member whose answers have nothing to do with the rows."""
    logits = np.random.default_rng(seed).normal(0, 1, (len(examples), 4))
    return make_member(name, "classes", probabilities(logits), examples)


def disturbed(member: Member, size: float, seed: int) -> Member:
    """The member with every output moved by up to `size`."""
    rng = np.random.default_rng(seed)
    columns = list(member.kind.outputs)

    def moved(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(
            **{each: frame[each] + rng.uniform(-size, size, len(frame)) for each in columns}
        )

    return replace(
        member, seen=dict.fromkeys(FOLDS, moved(member.seen[0])), test=moved(member.test)
    )


def same(one: list[FoldResult], other: list[FoldResult]) -> bool:
    """Whether two fits say the same to the bit."""
    return all(
        np.array_equal(getattr(a, part), getattr(b, part))
        for a, b in zip(one, other, strict=True)
        for part in OUTPUTS
    )


# --- members that help
# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_member_that_says_the_same_of_every_row_costs_nothing(task: str) -> None:
    examples = make_examples(50, 5)
    text, members = made_text(examples), make_members(task, examples)[:1]
    without = cross_fit_logistic(rows_of(task, members, examples), text)
    beside = cross_fit_logistic(rows_of(task, [*members, constant("a", examples)], examples), text)
    assert same(without, beside)
    assert all(each.weights["all"]["a"] == 0 < each.weights["all"]["c1"] for each in beside)


def test_text_alone_answers_where_no_member_helps() -> None:
    examples = make_examples(50, 5)
    text = made_text(examples)
    alone = cross_fit_logistic(rows_of("task2", [], examples), text)
    assert same(
        alone, cross_fit_logistic(rows_of("task2", [constant("a", examples)], examples), text)
    )
    assert all(each.weights["all"] == {"text": 1} for each in alone)


def test_noise_is_seldom_read_and_weighs_little() -> None:
    examples = make_examples(60, 5)
    members = [
        classifier("c1", examples, 0.7, 1),
        *(noise(f"n{i}", examples, 10 + i) for i in range(4)),
    ]
    weights = pd.DataFrame(
        [
            each.weights["all"]
            for each in cross_fit_logistic(rows_of("task2", members, examples), None)
        ]
    )
    of_noise = weights.drop(columns="c1")
    assert (
        of_noise > 0
    ).to_numpy().mean() <= 0.3  # what is learned from other queries makes labels less likely
    assert weights["c1"].min() > 0.75


def test_two_members_with_knowledge_of_their_own_are_both_read_and_help() -> None:
    examples = make_examples(80, 5)
    members = [classifier(name, examples, 1.0, seed) for name, seed in (("c1", 1), ("c2", 2))]
    both = cross_fit_logistic(rows_of("task2", members, examples), None)
    assert all(min(each.weights["all"].values()) > 0.3 for each in both)
    assert all(sum(each.weights["all"].values()) == pytest.approx(1) for each in both)
    one = cross_fit_logistic(rows_of("task2", members[:1], examples), None)
    assert right(both, examples) > right(one, examples) + 0.03


def right(combined: list[FoldResult], examples: pd.DataFrame) -> float:
    """The share of right answers on held-out rows of task 2."""
    fold = folds_of(examples)
    hits = [
        each.held_out.argmax(axis=1) == label_codes(examples.loc[fold == k, "label"])
        for k, each in zip(FOLDS, combined, strict=True)
    ]
    return float(np.concatenate(hits).mean())


# --- what a fold sees
# --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_fold_is_scored_by_what_never_saw_its_labels(task: str) -> None:
    """Half of it is the regression on members and text, half trees on text, and either could tell."""
    examples = make_examples(40, 5)
    members, text, recipe = make_members(task, examples), made_text(examples), recipe_of("mixed")
    before, after = (
        cross_fit(TASKS[task], ANSWER_KIND[task], members, each, folds_of(examples), recipe, text)
        for each in (examples, spoil(examples, 2))
    )
    assert before.held_out[2].equals(after.held_out[2])
    assert before.test[2].equals(after.test[2])
    assert before.results[2].weights == after.results[2].weights
    assert not any(before.held_out[k].equals(after.held_out[k]) for k in FOLDS if k != 2)


def test_decisions_are_learned_on_what_models_say_of_rows_that_they_left_out() -> None:
    examples = make_examples(40, 5)
    members = make_members("task2", examples)[:1]
    plain, spoiled = (rows_of("task2", members, each) for each in (examples, spoil(examples, 3)))
    before, after = cross_fit_logistic(plain, None)[0], cross_fit_logistic(spoiled, None)[0]
    of_fold = [np.isin(plain.graded_outside(0), plain.graded_in(k)) for k in range(4)]
    assert np.array_equal(before.training[of_fold[3]], after.training[of_fold[3]])
    assert (before.training[of_fold[1]] != after.training[of_fold[1]]).any()


def test_nothing_is_found_in_labels_that_were_drawn_anew() -> None:
    """Of labels that are all as frequent, a quarter of the answers is right."""
    made = make_examples(100, 5)
    members = make_members("task2", made)
    drawn = with_labels(made, np.random.default_rng(3).choice(LABELS, len(made)))
    assert right(
        cross_fit_logistic(rows_of("task2", members, drawn), made_text(made)), drawn
    ) == pytest.approx(0.25, abs=0.05)


@dataclass(frozen=True)
class Halves:
    """A mixed ensemble, and what it is mixed of."""

    rows: EnsembleRows
    mixed: CrossFitted
    regressions: list[FoldResult]
    trees: list[FoldResult]


def mix(task: str, members: list[Member], patch: pytest.MonkeyPatch) -> Halves:
    """Fit a mixed ensemble, and keep the halves on their way into it."""
    halves: dict[str, list[FoldResult]] = {}

    def kept(name: str) -> None:
        fit = getattr(crossfit, name)

        def keep(rows: EnsembleRows, text: pd.DataFrame) -> list[FoldResult]:
            assert ([each.name for each in rows.members] == []) == (name == "cross_fit_trees")
            halves[name] = fit(rows, text)
            return halves[name]

        patch.setattr(crossfit, name, keep)

    kept("cross_fit_logistic")
    kept("cross_fit_trees")
    examples = make_examples(40, 5)
    rows = rows_of(task, members, examples, method="mixed")
    text, fold = made_text(examples), folds_of(examples)
    fitted = cross_fit(TASKS[task], ANSWER_KIND[task], members, examples, fold, rows.recipe, text)
    return Halves(rows, fitted, halves["cross_fit_logistic"], halves["cross_fit_trees"])


def test_mixed_is_the_mean_of_the_regression_and_of_trees_on_text_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = mix("task2", make_members("task2", make_examples(40, 5)), monkeypatch)
    for k, regression, trees in zip(FOLDS, made.regressions, made.trees, strict=True):
        expected = (regression.held_out + trees.held_out) / 2
        np.testing.assert_allclose(made.mixed.held_out[k].drop(columns="example_id"), expected)
        shares = made.mixed.results[k].weights["all"]
        assert shares["text"] == pytest.approx((1 + regression.weights["all"]["text"]) / 2)
        assert sum(shares.values()) == pytest.approx(1)
        assert not any(name.startswith("c1") for name in made.mixed.results[k].importance)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_lexical_member_is_half_of_the_trees(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    members = make_members(task, make_examples(40, 5))
    lexical = replace(next(member for member in members if member.kind.is_classes), lexical=True)
    members = [lexical if member.name == lexical.name else member for member in members]
    made = mix(task, members, monkeypatch)
    for k, regression, trees in zip(FOLDS, made.regressions, made.trees, strict=True):
        answer = task_outputs(TASKS[task], KINDS["classes"].values(lexical.seen[k]))[
            made.rows.held_out(k)
        ]
        expected = regression.held_out / 2 + trees.held_out / 4 + answer / 4
        np.testing.assert_allclose(made.mixed.held_out[k].drop(columns="example_id"), expected)
        shares = made.mixed.results[k].weights["all"]
        assert shares[lexical.name] == pytest.approx(
            1 / 4 + regression.weights["all"][lexical.name] / 2
        )
        assert sum(shares.values()) == pytest.approx(1)


# --- rounding
# ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "method"), [*((task, "logistic") for task in TASKS), ("task1", "mixed")]
)
def test_a_millionth_in_the_members_moves_no_decision_but_true_ties(task: str, method: str) -> None:
    examples = make_examples(40, 40)
    members, text = make_members(task, examples), made_text(examples)
    other = [disturbed(member, 1e-6, seed) for seed, member in enumerate(members)]
    one, two = (
        cross_fit(
            TASKS[task],
            ANSWER_KIND[task],
            each,
            examples,
            folds_of(examples),
            recipe_of(method),
            text,
        )
        for each in (members, other)
    )
    before, after = (
        np.concatenate(
            [frame.drop(columns="example_id").to_numpy() for frame in (*fit.held_out, *fit.test)]
        )
        for fit in (one, two)
    )
    assert np.abs(before - after).max() < 2e-5
    assert (decided(before, 4e-5) == decided(after, 0.0))[decided(before, 4e-5) >= 0].all()
    assert (decided(before, 4e-5) < 0).sum() <= 2  # ties


def decided(values: Array, margin: float) -> Array:
    """The most probable class; -1 where another one is within `margin`. Of one column, whether it is above one half."""
    if values.shape[1] == 1:
        return np.where(np.abs(values[:, 0] - 0.5) <= margin, -1, values[:, 0] > 0.5)
    top = np.sort(values, axis=1)
    return np.where(top[:, -1] - top[:, -2] <= margin, -1, values.argmax(axis=1))


@pytest.mark.parametrize("method", ["logistic", "lightgbm"])
def test_rounding_of_a_member_that_says_nothing_is_no_knowledge(method: str) -> None:
    examples = make_examples(40, 5)
    members = [classifier("c1", examples, 0.7, 1), disturbed(constant("a", examples), 1e-7, 0)]
    keys = {"method": method, "n_estimators": 10}
    fit = cross_fit_trees if method == "lightgbm" else cross_fit_logistic
    before, after = (
        fit(rows_of("task2", [members[0], each], examples, **keys), None)
        for each in (constant("a", examples), members[1])
    )
    assert same(before, after)


# --- numbers
# -----------------------------------------------------------------------------------------------------


def test_normal_scores_by_hand() -> None:
    values = np.array([[3.0], [1.0], [1.0], [9.0]])
    ranks = Ranks.fit(values)
    train, test = ranks.apply(values), ranks.apply(np.array([[2.0], [100.0]]))
    # The middle of the places of equal values: 1 has the places 0 to 2 of 4, 3 those from 2 to 3, 9
    # those from 3 to 4.
    expected = norm.ppf([2.5 / 4, 1 / 4, 1 / 4, 3.5 / 4])
    np.testing.assert_allclose(train[:, 0], expected)
    np.testing.assert_allclose(test[:, 0], norm.ppf([2 / 4, 1 - 0.002]))


def test_what_hardly_varies_is_not_magnified() -> None:
    values = np.column_stack([np.array([0.0, 1e-6] * 4), np.array([-4.0, 4.0] * 4)])
    standard = Standard.fit(values)
    train, test = standard.apply(values, 2.0), standard.apply(values[:1] + 1, 2.0)
    assert np.abs(train[:, 0]).max() < 1e-4
    assert train[:, 1].tolist() == pytest.approx([-2.0, 2.0] * 4, rel=1e-4)
    assert test[0, 1] == pytest.approx(2 * (-4 + 1) / 4, rel=1e-4)


def test_answers_without_labels_are_learned_too() -> None:
    examples = make_examples(40, 5)
    members = make_members("task3", examples)
    without = examples.assign(label=None)
    answers = np.concatenate(
        [
            each.held_out[:, 0]
            for each in cross_fit_logistic(rows_of("task3", members, without), None)
        ]
    )
    truth = np.concatenate(
        [examples.loc[folds_of(examples) == k, "substitute"].to_numpy(bool) for k in FOLDS]
    )
    assert ((answers > 0.5) == truth).mean() > 0.8


def test_a_class_without_a_row_has_no_probability_and_one_class_alone_all() -> None:
    examples = make_examples(20, 5)
    members = make_members("task2", examples)[:1]
    labels = np.where(examples["label"] == "complement", "exact", examples["label"])
    for each in cross_fit_logistic(rows_of("task2", members, with_labels(examples, labels)), None):
        assert each.held_out[:, LABELS.index("complement")].max() < 1e-6
        np.testing.assert_allclose(each.held_out.sum(axis=1), 1)
    alike = with_labels(examples, np.full(len(examples), "substitute"))
    for task, right_column in (
        ("task2", LABELS.index("substitute")),
        ("task3", 0),
    ):  # task 3: of a substitute
        for each in cross_fit_logistic(rows_of(task, members, alike), None):
            assert each.held_out[:, right_column].min() > 1 - 1e-6
