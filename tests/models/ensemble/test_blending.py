"""Averages of members: the published rule by hand, weights of locales, ranks instead of scores."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from competition.config.recipe import EnsembleRecipe
from competition.models.ensemble import blending
from competition.models.ensemble.blending import average_fold, cross_fit_average
from competition.models.ensemble.crossfit import cross_fit
from competition.models.ensemble.members import EnsembleRows, Member
from competition.models.ensemble.results import FoldResult
from tests.esci import ANSWER_KIND, TASKS
from tests.models.ensemble.made import (
    FOLDS,
    folds_of,
    make_examples,
    make_member,
    make_members,
    recipe_of,
    regressor,
)


def test_how_many_folds_are_learned_side_by_side_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    examples = make_examples(25, 5)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    for method in ("greedy", "search"):
        recipe = recipe_of(method, per_locale=True)
        rows = EnsembleRows(
            TASKS["task1"], ANSWER_KIND["task1"], make_members("task1", examples), examples,
            folds_of(examples), recipe,
        )  # fmt: skip
        found = []
        for cores in ("1", "8"):
            monkeypatch.setenv("OMP_NUM_THREADS", cores)
            found.append(cross_fit_average(rows))
        for one, eight in zip(*found, strict=True):
            assert one.weights == eight.weights
            assert one.held_out.tolist() == eight.held_out.tolist()


# Three training products and a test product; p_exact, p_substitute, p_complement, p_irrelevant.
CLASSES = {
    "c1": [[0.6, 0.2, 0.1, 0.1], [0.1, 0.1, 0.4, 0.4], [0.3, 0.3, 0.3, 0.1], [1.0, 0.0, 0.0, 0.0]],
    "c2": [[0.9, 0.1, 0.0, 0.0], [0.2, 0.5, 0.2, 0.1], [0.0, 0.3, 0.0, 0.7], [0.4, 0.6, 0.0, 0.0]],
    "c3": [[0.3, 0.6, 0.1, 0.0], [0.3, 0.3, 0.0, 0.4], [0.3, 0.0, 0.0, 0.7], [0.1, 0.3, 0.6, 0.0]],
}
GAINS = {"r1": [0.9, 0.2, 0.1, 0.5], "r2": [1.0, 0.3, 0.0, 0.7], "r3": [0.5, 0.1, 0.2, 0.9]}
SUBSTITUTE = [0.4, 0.3, 0.6, 0.2]


def four_products() -> tuple[pd.DataFrame, list[Member]]:
    """One training query of three products, one test query of one, and the members of the published ensemble."""
    rows = make_examples(train=1, test=1, depth=3).head(4).assign(task1=True)
    members = [
        make_member(name, "classes", np.array(values), rows) for name, values in CLASSES.items()
    ]
    members += [
        make_member(name, "gain", np.array(values)[:, None], rows) for name, values in GAINS.items()
    ]
    return rows, members


def published(task: str, rows: pd.DataFrame, members: list[Member]) -> np.ndarray:
    """What the published rule says of the four products, `(4, outputs)`."""
    fitted = cross_fit(
        TASKS[task],
        ANSWER_KIND[task],
        members,
        rows,
        folds_of(rows),
        EnsembleRecipe(name="x", method="paper"),
    )
    assert fitted.held_out[0]["example_id"].tolist() == [0, 1, 2]
    assert fitted.test[0]["example_id"].tolist() == [3]
    return pd.concat([fitted.held_out[0], fitted.test[0]]).drop(columns="example_id").to_numpy()


def test_the_published_score_is_the_mean_expected_gain_of_classes_plus_the_mean_gain() -> None:
    rows, members = four_products()
    # sum of (E 1, S .1, C .01, I 0) times the mean probabilities, plus mean(r1, r2, r3)
    expected = [
        (0.6 + 0.9 + 0.3) / 3 * 1
        + (0.2 + 0.1 + 0.6) / 3 * 0.1
        + (0.1 + 0.0 + 0.1) / 3 * 0.01
        + (0.9 + 1.0 + 0.5) / 3,
        (0.1 + 0.2 + 0.3) / 3 * 1
        + (0.1 + 0.5 + 0.3) / 3 * 0.1
        + (0.4 + 0.2 + 0.0) / 3 * 0.01
        + (0.2 + 0.3 + 0.1) / 3,
        (0.3 + 0.0 + 0.3) / 3 * 1
        + (0.3 + 0.3 + 0.0) / 3 * 0.1
        + (0.3 + 0.0 + 0.0) / 3 * 0.01
        + (0.1 + 0.0 + 0.2) / 3,
        (1.0 + 0.4 + 0.1) / 3 * 1
        + (0.0 + 0.6 + 0.3) / 3 * 0.1
        + (0.0 + 0.0 + 0.6) / 3 * 0.01
        + (0.5 + 0.7 + 0.9) / 3,
    ]
    np.testing.assert_allclose(published("task1", rows, members)[:, 0], expected)


def test_the_published_classes_are_mean_probabilities() -> None:
    rows, members = four_products()
    expected = np.mean(list(CLASSES.values()), axis=0)
    np.testing.assert_allclose(published("task2", rows, members[:3]), expected)
    assert expected[0].tolist() == pytest.approx([0.6, 0.3, 0.2 / 3, 0.1 / 3])


def test_the_published_probability_of_a_substitute_is_a_mean_too() -> None:
    rows, members = four_products()
    members = [*members[:2], make_member("t3", "substitute", np.array(SUBSTITUTE)[:, None], rows)]
    expected = [
        (0.2 + 0.1 + 0.4) / 3,
        (0.1 + 0.5 + 0.3) / 3,
        (0.3 + 0.3 + 0.6) / 3,
        (0.0 + 0.6 + 0.2) / 3,
    ]
    np.testing.assert_allclose(published("task3", rows, members)[:, 0], expected)


def test_the_published_rule_looks_at_no_label() -> None:
    rows, members = four_products()
    blind = rows.assign(label=None, substitute=pd.NA)
    assert published("task1", blind, members).tolist() == published("task1", rows, members).tolist()


def test_weights_are_shown_by_the_name_of_their_member() -> None:
    rows, members = four_products()
    weights = average_fold(
        EnsembleRows(
            TASKS["task1"], ANSWER_KIND["task1"], members, rows, folds_of(rows), recipe_of("paper")
        ),
        0,
    ).weights["all"]
    assert weights == {name: pytest.approx(1 / 3) for name in ("c1", "c2", "c3", "r1", "r2", "r3")}


# --- locales
# -----------------------------------------------------------------------------------------------------


def swapped_by_locale() -> tuple[pd.DataFrame, list[Member]]:
    """`a` knows the gains of `us` and `b` those of the others; few queries are from `jp`."""
    rows = make_examples(train=300, test=30).assign(task1=True)
    rows["locale"] = np.where(
        rows["query_id"] % 7 == 0, "jp", np.where(rows["query_id"] % 2, "us", "es")
    )
    good, poor = (
        [regressor(name, rows, noise, seed) for name in "ab"]
        for noise, seed in ((0.05, 1), (3.0, 2))
    )
    from_us = (rows["locale"] == "us").to_numpy()
    return rows, [
        _choose(good[0], poor[0], rows, from_us),
        _choose(good[1], poor[1], rows, ~from_us),
    ]


def _choose(one: Member, other: Member, rows: pd.DataFrame, first: np.ndarray) -> Member:
    said = [pd.concat([member.seen[0], member.test])["gain"].to_numpy() for member in (one, other)]
    return make_member(one.name, "gain", np.where(first, *said)[:, None], rows)


def test_a_locale_with_enough_queries_has_its_own_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blending, "ENOUGH_QUERIES", 50)
    rows, members = swapped_by_locale()
    weights = average_fold(
        EnsembleRows(
            TASKS["task1"],
            ANSWER_KIND["task1"],
            members,
            rows,
            folds_of(rows),
            recipe_of("greedy", per_locale=True),
        ),
        0,
    ).weights
    assert set(weights) == {"all", "us", "es"}  # of jp there are 34 queries
    assert weights["us"]["a"] > 0.9
    assert weights["es"]["b"] > 0.9
    assert all(sum(each.values()) == pytest.approx(1) for each in weights.values())


def test_rows_are_averaged_with_the_weights_of_their_locale_or_the_common_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blending, "ENOUGH_QUERIES", 50)
    rows, members = swapped_by_locale()
    common, own = (
        average_fold(
            EnsembleRows(
                TASKS["task1"],
                ANSWER_KIND["task1"],
                members,
                rows,
                folds_of(rows),
                recipe_of("greedy", per_locale=on),
            ),
            0,
        )
        for on in (False, True)
    )
    assert own.weights["all"] == common.weights["all"]
    locale = rows.loc[folds_of(rows) == 0, "locale"].to_numpy()
    assert (own.held_out == common.held_out).ravel()[locale == "jp"].all()
    held = [
        member.seen[0].set_index("example_id").loc[rows.index[folds_of(rows) == 0], "gain"]
        for member in members
    ]
    for name in ("us", "es"):
        expected = own.weights[name]["a"] * held[0] + own.weights[name]["b"] * held[1]
        np.testing.assert_allclose(own.held_out[locale == name, 0], expected[locale == name])
    in_test = rows.loc[rows["split"] == "test", "locale"].to_numpy()
    assert (own.test == common.test).ravel()[in_test == "jp"].all()
    assert (own.test != common.test).ravel()[in_test != "jp"].any()


def test_without_enough_queries_all_have_the_common_weights() -> None:
    rows, members = swapped_by_locale()
    recipe = recipe_of("greedy", per_locale=True)
    assert set(
        average_fold(
            EnsembleRows(
                TASKS["task1"], ANSWER_KIND["task1"], members, rows, folds_of(rows), recipe
            ),
            0,
        ).weights
    ) == {"all"}


# --- ranks
# -------------------------------------------------------------------------------------------------------


def transformed(member: Member) -> Member:
    """The member with gains on another scale, in the same order."""
    one, test = (
        frame.assign(gain=np.exp(3 * frame["gain"]) - 7) for frame in (member.seen[0], member.test)
    )
    return replace(member, seen=dict.fromkeys(FOLDS, one), test=test)


def by_rank(rows: pd.DataFrame, members: list[Member], space: str) -> FoldResult:
    """The average of the first fold in a space."""
    recipe = recipe_of("greedy", space=space)
    return average_fold(
        EnsembleRows(TASKS["task1"], ANSWER_KIND["task1"], members, rows, folds_of(rows), recipe), 0
    )


def test_averages_of_ranks_do_not_know_the_scale_of_a_member() -> None:
    rows = make_examples(train=300)
    members = [regressor("a", rows, 0.4, 1), regressor("b", rows, 0.5, 2)]
    other = [members[0], transformed(members[1])]
    plain, same = (by_rank(rows, each, "rank") for each in (members, other))
    assert plain.weights == same.weights
    assert 0 < plain.weights["all"]["b"] < 1
    assert (plain.held_out == same.held_out).all()
    assert (plain.test == same.test).all()
    assert (
        by_rank(rows, members, "score").held_out != by_rank(rows, other, "score").held_out
    ).any()


def test_ranks_are_averaged_within_the_query() -> None:
    rows = make_examples(train=5, test=1, depth=3).assign(task1=True)
    said = {"a": [0.1, 0.9, 0.5], "b": [5.0, 7.0, 6.0]}
    members = [
        make_member(name, "gain", np.tile(values, 6)[:, None], rows)
        for name, values in said.items()
    ]
    found = by_rank(rows, members, "rank")
    np.testing.assert_allclose(
        found.held_out[:, 0], [1 / 3, 3 / 3, 2 / 3]
    )  # both rank alike, whatever the weights
    np.testing.assert_allclose(found.test[:, 0], [1 / 3, 3 / 3, 2 / 3])
