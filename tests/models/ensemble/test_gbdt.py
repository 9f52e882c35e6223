"""Trees learn what is planted, stop where each watched part says, and are a function of their inputs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from competition.config.recipe import EnsembleRecipe
from competition.core.arrays import Array
from competition.models.ensemble import early_stopping, gbdt, training_table
from competition.models.ensemble.gbdt import Trees, fit_trees
from competition.models.ensemble.training_table import TrainingTable
from competition.scoring.metrics import ndcg_per_query
from tests.esci import GAINS, LABELS, TASKS, label_codes
from tests.models.ensemble.made import make_examples, recipe_of

Positions = NDArray[np.int64]
TREES = (
    ("lightgbm", "task1"),
    ("lightgbm", "task2"),
    ("lightgbm", "task3"),
    ("lambdarank", "task1"),
)


def planted(queries: int = 90, noise: float = 0.3) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Examples, and features of which four say the class with noise and one says nothing."""
    rows = make_examples(train=queries, test=0)
    rng = np.random.default_rng(1)
    told = label_codes(rows["label"])[:, None] * [1, 1, 1, 1, 0]
    return rows, (told + rng.normal(0, noise, told.shape)).astype(np.float32)


def thirds(rows: pd.DataFrame) -> list[Positions]:
    """Positions of three parts of whole queries."""
    return [np.flatnonzero(rows["query_id"] % 3 == part) for part in range(3)]


def fit(
    recipe: EnsembleRecipe,
    task: str,
    data: tuple[pd.DataFrame, NDArray[np.float32]],
    watched: list[Positions],
) -> Trees:
    """Trees on the first third."""
    rows, features = data
    table = TrainingTable(TASKS[task], rows, features)
    return fit_trees(recipe, table, thirds(rows)[0], watched, seed=1)


def log_loss(probability_of_truth: Array) -> float:
    """The mean negative log-likelihood."""
    return -float(np.log(np.maximum(probability_of_truth, 1e-15)).mean())


def ndcg_of(rows: pd.DataFrame, score: Array) -> float:
    """The mean nDCG of the queries that have a gain, ties by product_id."""
    gain, tie = (
        rows["label"].map(GAINS["paper"]).to_numpy(),
        pd.factorize(rows["product_id"], sort=True)[0],
    )
    return float(np.nanmean(ndcg_per_query(rows["query_id"].to_numpy(), gain, score, tie)[1]))


# --- what is learned
# ---------------------------------------------------------------------------------------------


def test_classes_that_are_planted_are_found() -> None:
    rows, features = planted()
    _, watched, unseen = thirds(rows)
    trees = fit(recipe_of("lightgbm", n_estimators=60), "task2", (rows, features), [watched])
    found = trees.predict(features[unseen])
    assert found.shape == (len(unseen), 4)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == label_codes(rows["label"])[unseen]).mean() > 0.85
    assert trees.importance().sum() == pytest.approx(1)
    assert trees.importance()[4] < 0.1


def test_substitutes_that_are_planted_are_found() -> None:
    rows, features = planted()
    _, watched, unseen = thirds(rows)
    trees = fit(recipe_of("lightgbm", n_estimators=60), "task3", (rows, features), [watched])
    found = trees.predict(features[unseen])
    assert found.shape == (len(unseen), 1)
    assert found.min() > 0
    assert found.max() < 1
    assert ((found[:, 0] > 0.5) == rows["substitute"].to_numpy(bool)[unseen]).mean() > 0.85


def test_substitutes_are_found_where_no_label_says_what_the_others_are() -> None:
    rows, features = planted()
    _, watched, unseen = thirds(rows)
    trees = fit(
        recipe_of("lightgbm", n_estimators=60),
        "task3",
        (rows.assign(label=None), features),
        [watched],
    )
    found = trees.predict(features[unseen])
    assert trees.classes == 2
    assert found.shape == (len(unseen), 1)
    assert ((found[:, 0] > 0.5) == rows["substitute"].to_numpy(bool)[unseen]).mean() > 0.85


@pytest.mark.parametrize("method", ["lightgbm", "lambdarank"])
def test_an_order_that_is_planted_is_found(method: str) -> None:
    rows, features = planted()
    _, watched, unseen = thirds(rows)
    trees = fit(recipe_of(method, n_estimators=60), "task1", (rows, features), [watched])
    found = trees.predict(features[unseen])
    assert found.shape == (len(unseen), 1)
    assert (
        ndcg_of(rows.iloc[unseen], found[:, 0])
        > 0.97
        > ndcg_of(rows.iloc[unseen], np.zeros(len(unseen)))
    )


def test_a_ranking_score_of_classes_is_their_expected_gain() -> None:
    data = planted()
    watched, recipe = [thirds(data[0])[1]], recipe_of("lightgbm")
    classes, score = (
        fit(recipe, task, data, watched).predict(data[1]) for task in ("task2", "task1")
    )
    # E 1, S .1, C .01, I 0
    np.testing.assert_allclose(
        score[:, 0], classes[:, 0] + 0.1 * classes[:, 1] + 0.01 * classes[:, 2]
    )


@pytest.mark.parametrize(("method", "task"), TREES)
def test_no_rows_have_no_predictions(method: str, task: str) -> None:
    data = planted(30)
    trees = fit(recipe_of(method), task, data, [thirds(data[0])[1]])
    assert trees.predict(data[1][:0]).shape == (0, 4 if task == "task2" else 1)


@pytest.mark.parametrize(("method", "task"), TREES)
def test_trees_are_the_same_each_time(method: str, task: str) -> None:
    data = planted(30)
    one, same = (fit(recipe_of(method), task, data, [thirds(data[0])[1]]) for _ in range(2))
    assert one.predict(data[1]).tolist() == same.predict(data[1]).tolist()
    assert one.best == same.best


@pytest.mark.parametrize(("method", "task"), TREES)
def test_rows_that_are_not_learned_or_watched_change_nothing(method: str, task: str) -> None:
    rows, features = planted(30)
    _, watched, unseen = thirds(rows)
    other = features.copy()
    other[unseen] = 0
    unknown = rows.assign(label=rows["label"].where(rows["query_id"] % 3 < 2))
    unknown["substitute"] = (
        (unknown["label"] == "substitute").astype("boolean").where(unknown["label"].notna())
    )
    one, same = (
        fit(recipe_of(method), task, data, [watched])
        for data in ((rows, features), (unknown, other))
    )
    assert one.predict(features).tolist() == same.predict(features).tolist()


def test_nothing_to_learn_leaves_the_shares_of_the_classes() -> None:
    rows, features = planted()
    learned, watched, _ = thirds(rows)
    trees = fit(recipe_of("lightgbm"), "task2", (rows, np.zeros_like(features)), [watched])
    shares = np.bincount(label_codes(rows["label"])[learned]) / len(learned)
    np.testing.assert_allclose(trees.predict(features[:2]), [shares, shares], atol=1e-3)


# --- lists
# -------------------------------------------------------------------------------------------------------


def test_lambdarank_is_told_the_gains_and_looks_at_whole_lists() -> None:
    rows, features = planted(30)
    rows["query_id"] = np.where(
        rows["query_id"] < 6, 0, rows["query_id"]
    )  # two of 6 queries are in the first third
    recipe, learned = recipe_of("lambdarank"), thirds(rows)[0]
    trees = fit(recipe, "task1", (rows, features), [thirds(rows)[1]])
    longest = rows.iloc[learned].groupby("query_id").size().max()
    assert longest == 6 * 8
    assert trees.booster.params["lambdarank_truncation_level"] == longest
    data = trees.booster.train_set
    assert data.get_group().sum() == len(learned)
    order = rows.iloc[learned].sort_values("query_id", kind="stable")
    gain = np.array(trees.booster.params["label_gain"])[data.get_label().astype(int)]
    assert gain.tolist() == order["label"].map(GAINS["paper"]).tolist()
    assert trees.booster.params["label_gain"] == [
        GAINS["paper"][label] for label in reversed(LABELS)
    ]


def test_lists_that_lightgbm_does_not_take_are_split_evenly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gbdt, "MAX_LIST_ROWS", 5)
    rows, features = planted(30)
    rows["query_id"] = np.repeat([3, 0, 6, 1], [4, 11, 5, 220])
    learned = np.flatnonzero(rows["query_id"] != 1)
    table = TrainingTable(TASKS["task1"], rows, features)
    recipe = recipe_of("lambdarank", min_data_in_leaf=1)
    trees = fit_trees(recipe, table, learned, [learned], seed=1)
    groups = trees.booster.train_set.get_group()
    # Query 0, in three pieces.
    assert sum(groups[:3]) == 11
    assert max(groups[:3]) - min(groups[:3]) <= 1
    assert groups[3:].tolist() == [4, 5]  # the queries 3 and 6
    assert groups.max() <= 5


def test_a_list_of_more_than_ten_thousand_rows_is_learned() -> None:
    rows = make_examples(train=2, test=0, depth=10_050)
    features = (label_codes(rows["label"])[:, None] + np.zeros((1, 2))).astype(np.float32)
    learned, watched = (np.flatnonzero(rows["query_id"] == query) for query in (0, 1))
    recipe = recipe_of("lambdarank", n_estimators=1)
    table = TrainingTable(TASKS["task1"], rows, features)
    trees = fit_trees(recipe, table, learned, [watched], seed=1)
    assert trees.booster.train_set.get_group().tolist() == [5025, 5025]


# --- when to stop
# ------------------------------------------------------------------------------------------------


def losses(trees: Trees, features: NDArray[np.float32], rows: pd.DataFrame) -> dict[int, float]:
    """Number of trees -> how badly so many predict the rows, at every look."""
    found = {}
    last = trees.booster.current_iteration()
    for n in [*range(5, last, 5), last]:
        values = trees.booster.predict(features, num_iteration=n)
        if trees.ranks:
            found[n] = -ndcg_of(rows, values)
        elif trees.classes == 2:
            found[n] = log_loss(np.where(rows["substitute"], values, 1 - values))
        else:
            found[n] = log_loss(values[np.arange(len(rows)), label_codes(rows["label"])])
    return found


def stopping_at(found: dict[int, float]) -> int:
    """The number of trees that ten looks in a row do not improve on, or the best of all."""
    numbers = list(found)
    best = 0
    for look, n in enumerate(numbers):
        best = look if found[n] < found[numbers[best]] else best
        if look - best == 10:
            break
    return numbers[best]


@pytest.mark.parametrize(("method", "task"), TREES)
def test_each_part_chooses_the_number_of_trees_by_early_stopping(method: str, task: str) -> None:
    rows, features = planted(60, noise=1.5)
    parts = thirds(rows)[1:]
    trees = fit(
        recipe_of(method, n_estimators=150, learning_rate=0.2), task, (rows, features), parts
    )
    assert trees.best == tuple(
        stopping_at(losses(trees, features[part], rows.iloc[part])) for part in parts
    )
    assert max(trees.best) < trees.booster.current_iteration()


def test_each_part_is_predicted_with_the_number_of_trees_that_it_chose() -> None:
    rows, features = planted(60, noise=1.5)
    trees = fit(
        recipe_of("lightgbm", n_estimators=150, learning_rate=0.2),
        "task2",
        (rows, features),
        thirds(rows)[1:],
    )
    assert trees.best[0] != trees.best[1]
    for i, n in enumerate(trees.best):
        np.testing.assert_allclose(
            trees.predict(features, i), trees.booster.predict(features, num_iteration=n)
        )


@pytest.mark.parametrize("shared", [False, True], ids=["own bins", "shared bins"])
@pytest.mark.parametrize(("method", "task"), TREES)
def test_parts_are_answered_while_trees_grow_as_they_are_predicted_afterwards(
    method: str, task: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_table, "SHARED_BINS", 1 if shared else 10**9)
    rows, features = planted(60, noise=1.5)
    learned, *parts = thirds(rows)
    recipe = recipe_of(method, n_estimators=150, learning_rate=0.2)
    table = TrainingTable(TASKS[task], rows, features).with_shared_bins(recipe)
    assert (table.binned is not None) == shared
    trees = fit_trees(recipe, table, learned, parts[:1], 1, 1, parts[1:])
    assert trees.best[0] < trees.booster.current_iteration()
    for part, outputs in zip(parts, trees.left_out[0], strict=True):
        np.testing.assert_allclose(outputs, trees.predict(features[part]), rtol=1e-12, atol=1e-14)


def test_rows_that_are_not_graded_are_answered_and_stop_nothing() -> None:
    rows, features = planted(60, noise=1.5)
    learned, watched, _ = thirds(rows)
    graded = rows["query_id"].to_numpy() % 2 == 0  # half of the queries
    blank = rows.assign(**{name: rows[name].where(graded) for name in ("label", "substitute")})
    for method, task in TREES:
        recipe = recipe_of(method, n_estimators=150, learning_rate=0.2)
        tables = (
            TrainingTable(TASKS[task], rows, features),
            TrainingTable(TASKS[task], blank, features, graded),
        )
        known = np.intersect1d(learned, np.flatnonzero(graded))
        few = fit_trees(recipe, tables[0], known, [watched[graded[watched]]], 1)
        every = fit_trees(recipe, tables[1], known, [watched], 1)
        assert few.best == every.best
        assert few.left_out[0][0].tolist() == every.left_out[0][0][graded[watched]].tolist()
        assert np.isfinite(every.left_out[0][0]).all()


def test_lists_that_do_not_follow_each_other_share_no_bins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_table, "SHARED_BINS", 1)
    rows, features = planted(20)
    mixed = rows.sample(frac=1, random_state=0)
    tables = [TrainingTable(TASKS["task1"], each, features) for each in (rows, mixed)]
    for method, shared in (("lambdarank", [True, False]), ("lightgbm", [True, True])):
        binned = [table.with_shared_bins(recipe_of(method)).binned for table in tables]
        assert [each is not None for each in binned] == shared


@pytest.mark.parametrize("best", [(130, 70), (50, 120), (100, 100), (3, 100)])
def test_parts_that_share_their_strides_are_predicted_by_the_same_bits(
    best: tuple[int, int],
) -> None:
    rows, features = planted(60, noise=1.5)
    recipe = recipe_of("lightgbm", n_estimators=130, learning_rate=0.01)
    grown = fit(recipe, "task2", (rows, features), [np.arange(len(rows))])
    assert grown.booster.current_iteration() == 130
    trees = replace(grown, best=best)
    together = trees.predict_parts(features, [1, 0])
    for part, values in zip([1, 0], together, strict=True):
        alone = replace(grown, best=(best[part],))
        assert values.tolist() == alone.predict(features).tolist()


def test_training_stops_when_no_part_gets_better() -> None:
    rows, features = planted(60, noise=1.5)
    trees = fit(
        recipe_of("lightgbm", n_estimators=300, learning_rate=0.2),
        "task2",
        (rows, features),
        thirds(rows)[1:],
    )
    assert (
        max(trees.best) + 5 * 10 == trees.booster.current_iteration() < 300
    )  # ten looks after the best


def test_the_number_of_trees_of_one_part_does_not_depend_on_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A fold must not learn from another, which is scored by the same trees, that going on pays.
    monkeypatch.setattr(early_stopping, "_PATIENCE", 1)
    monkeypatch.setattr(early_stopping, "_EVERY", 1)
    rows, features = planted(60, noise=1.5)
    learned, *parts = thirds(rows)
    recipe = recipe_of("lightgbm", n_estimators=60, learning_rate=0.3)
    for watched in parts:
        alone = fit(recipe, "task2", (rows, features), [watched])
        beside = fit(
            recipe, "task2", (rows, features), [watched, learned]
        )  # gets better with every tree
        assert alone.best[0] == beside.best[0]
