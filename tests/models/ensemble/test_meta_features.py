"""What trees read of each row: statistics by hand, lists of a task, and nothing of any label."""

import numpy as np
import pandas as pd
import pytest

from competition.core.arrays import Array
from competition.models.ensemble.members import MemberOutputs
from competition.models.ensemble.meta_features import QueryLists, linear_features, tree_features
from tests.esci import KINDS, TASKS
from tests.models.ensemble.made import make_examples

TASK1 = TASKS["task1"]
OTHERS = ("task2", "task3")


def rows_of(query: list[int], in_task: list[bool] | None = None) -> pd.DataFrame:
    """Examples of some queries."""
    rows = pd.DataFrame(
        {"query_id": query, "example_id": range(100, 100 + len(query)), "locale": "us"}
    )
    return rows.assign(
        task1=in_task or [True] * len(query),
        task2=True,
        task3=[i % 2 == 0 for i in range(len(query))],
    )


def features_of(members: list[MemberOutputs], rows: pd.DataFrame, **keys: object) -> pd.DataFrame:
    """Tree features of task 1 as a frame."""
    options: dict = {"text": None, "others": (), **keys}
    names, values = tree_features(TASK1, members, rows, options["text"], options["others"])
    return pd.DataFrame(values, columns=names)


def made_members(rows: pd.DataFrame) -> list[MemberOutputs]:
    """A regressor with ties and two classifiers."""
    rng = np.random.default_rng(0)
    classes = rng.dirichlet(np.ones(4), (2, len(rows)))
    gain = rng.integers(0, 4, (len(rows), 1)) / 4
    return [
        MemberOutputs("c1", KINDS["classes"], classes[0]),
        MemberOutputs("c2", KINDS["classes"], classes[1]),
        MemberOutputs("r", KINDS["gain"], gain),
    ]


def test_statistics_of_a_list_by_hand() -> None:
    found = QueryLists(rows_of([7, 7, 7, 5]), TASK1).statistics(np.array([0.2, 0.5, 0.2, 0.9]))
    # The list of query 7 is 0.2, 0.5, 0.2: mean 0.3, variance (0.01 + 0.04 + 0.01) / 3 = 0.02.
    # Query 5 has one product.
    assert found["min"].tolist() == [0.2, 0.2, 0.2, 0.9]
    assert found["median"].tolist() == [0.2, 0.2, 0.2, 0.9]
    assert found["max"].tolist() == [0.5, 0.5, 0.5, 0.9]
    assert found["rank"].tolist() == pytest.approx([(1 + 2) / 2 / 3, 3 / 3, (1 + 2) / 2 / 3, 1])
    assert found["z"].tolist() == pytest.approx(
        [-0.1 / 0.02**0.5, 0.2 / 0.02**0.5, -0.1 / 0.02**0.5, 0]
    )
    assert found["gap"].tolist() == pytest.approx([0.3, 0, 0.3, 0])


def test_the_median_of_an_even_list_lies_between_the_two_in_the_middle() -> None:
    found = QueryLists(rows_of([1] * 4), TASK1).statistics(np.array([0.8, 0.1, 0.4, 0.2]))
    assert found["median"].tolist() == pytest.approx([(0.2 + 0.4) / 2] * 4)
    assert found["rank"].tolist() == [4 / 4, 1 / 4, 3 / 4, 2 / 4]


def test_equal_values_have_no_standard_score() -> None:
    found = QueryLists(rows_of([1] * 3), TASK1).statistics(np.array([0.1, 0.1, 0.1]))
    assert found["z"].tolist() == [0, 0, 0]
    assert found["rank"].tolist() == pytest.approx([2 / 3] * 3)


def test_statistics_are_those_of_pandas() -> None:
    rng = np.random.default_rng(3)
    rows = rows_of(rng.integers(0, 30, 200).tolist(), rng.choice([True, False], 200).tolist())
    value = rng.integers(0, 9, 200) / 8
    found = QueryLists(rows, TASK1).statistics(value)
    groups = pd.Series(value).groupby([rows["query_id"], rows["task1"]])
    for name in ("min", "median", "max"):
        np.testing.assert_allclose(found[name], groups.transform(name))
    np.testing.assert_allclose(found["rank"], groups.rank(pct=True))
    np.testing.assert_allclose(found["gap"], groups.transform("max") - value, atol=1e-15)
    deviation = groups.transform(lambda of: of.std(ddof=0))
    np.testing.assert_allclose(found["z"] * deviation, value - groups.transform("mean"), atol=1e-12)


def test_the_features_of_a_member_and_of_several_by_hand() -> None:
    one, other = np.array([[0.5, 0.2, 0.2, 0.1], [0.1, 0.1, 0.1, 0.7]]), np.array([[0.65], [0.02]])
    found = features_of(
        [MemberOutputs("c", KINDS["classes"], one), MemberOutputs("r", KINDS["gain"], other)],
        rows_of([1, 1]),
    )
    gain = [
        0.5 * 1 + 0.2 * 0.1 + 0.2 * 0.01,
        0.1 * 1 + 0.1 * 0.1 + 0.1 * 0.01,
    ]  # E 1, S .1, C .01, I 0
    assert found["c_p_exact"].tolist() == pytest.approx([0.5, 0.1])
    assert found["c_gain"].tolist() == pytest.approx(gain)
    assert found["c_gain_gap"].tolist() == pytest.approx([0, gain[0] - gain[1]])
    assert found["r_gain_rank"].tolist() == [1, 0.5]
    assert found["mean_gain"].tolist() == pytest.approx(
        [(gain[0] + 0.65) / 2, (gain[1] + 0.02) / 2]
    )
    assert found["mean_gain_min"].tolist() == pytest.approx([(gain[1] + 0.02) / 2] * 2)
    assert found["range_gain"].tolist() == pytest.approx([0.65 - gain[0], gain[1] - 0.02])
    assert found["deviation_gain"].tolist() == pytest.approx(
        [(0.65 - gain[0]) / 2, (gain[1] - 0.02) / 2]
    )
    assert "mean_p_exact" not in found  # only one member says it
    assert found["candidates"].tolist() == [2, 2]
    assert found["locale"].tolist() == [0, 0]
    assert found.columns.is_unique
    assert not found.isna().any().any()


def test_rows_outside_the_task_form_a_list_of_their_own() -> None:
    value = np.array([[0.1], [0.9], [0.3], [0.7]])
    found = features_of(
        [MemberOutputs("r", KINDS["gain"], value)],
        rows_of([1, 1, 1, 1], [True, False, True, False]),
    )
    assert found["candidates"].tolist() == [2, 2, 2, 2]
    assert found["r_gain_max"].tolist() == pytest.approx([0.3, 0.9, 0.3, 0.9])
    assert found["r_gain_rank"].tolist() == [0.5, 1, 1, 0.5]


def test_features_of_a_tasks_rows_do_not_know_of_the_others() -> None:
    rows = make_examples(train=20, test=0).assign(task1=np.arange(160) % 3 > 0)
    members, inside = made_members(rows), rows["task1"].to_numpy()
    alone = [MemberOutputs(member.name, member.kind, member.values[inside]) for member in members]
    pd.testing.assert_frame_equal(
        features_of(members, rows)[inside].reset_index(drop=True), features_of(alone, rows[inside])
    )


def test_no_label_is_looked_at() -> None:
    rows = make_examples(train=20, test=0)
    members = made_members(rows)
    blind = rows.assign(label=None, substitute=pd.NA)
    for others in ((), OTHERS):
        seen, unseen = (features_of(members, each, others=others) for each in (rows, blind))
        pd.testing.assert_frame_equal(seen, unseen)


def test_other_tasks_are_told_only_where_the_recipe_asks_for_it() -> None:
    rows = rows_of([1, 1, 2])
    members = [MemberOutputs("r", KINDS["gain"], np.array([[0.1], [0.2], [0.3]]))]
    plain, leaky = (features_of(members, rows, others=others) for others in ((), OTHERS))
    assert set(leaky) - set(plain) == {"in_task2", "in_task3"}
    assert leaky["in_task3"].tolist() == [1, 0, 1]
    pd.testing.assert_frame_equal(leaky[plain.columns], plain)
    moved = rows.assign(task2=False, task3=True)
    pd.testing.assert_frame_equal(features_of(members, moved), plain)


def test_order_of_rows_changes_nothing() -> None:
    rows = make_examples(train=20, test=0)
    members = made_members(rows)
    order = np.random.default_rng(1).permutation(len(rows))
    shuffled = [MemberOutputs(member.name, member.kind, member.values[order]) for member in members]
    found = features_of(shuffled, rows.iloc[order])
    np.testing.assert_allclose(found, features_of(members, rows).iloc[order], rtol=1e-6, atol=1e-6)


def test_text_is_joined_by_id() -> None:
    rows = rows_of([1, 1, 2])
    text = pd.DataFrame({"words": [7.0, 8.0, 9.0, 0.0]}, index=[102, 100, 101, 999])
    found = features_of([MemberOutputs("r", KINDS["gain"], np.zeros((3, 1)))], rows, text=text)
    assert found["text_words"].tolist() == [8, 9, 7]
    assert found.columns[-1] == "text_words"


def test_a_constant_shift_of_a_member_moves_only_its_values() -> None:
    rows = make_examples(train=10, test=0)
    value: Array = made_members(rows)[2].values
    plain, moved = (
        features_of([MemberOutputs("r", KINDS["gain"], each)], rows) for each in (value, value + 8)
    )
    for name in ("rank", "z", "gap"):
        np.testing.assert_allclose(plain[f"r_gain_{name}"], moved[f"r_gain_{name}"], atol=1e-6)
    np.testing.assert_allclose(plain["r_gain_max"] + 8, moved["r_gain_max"], rtol=1e-6)


# --- smooth
# ------------------------------------------------------------------------------------------------------


def test_smooth_features_by_hand() -> None:
    """Two products of one query and one of another: means over the list, and distances from them."""
    rows = rows_of([1, 1, 2])
    substitute = np.array([[0.2], [0.6], [0.5]])
    gain = np.array([[0.4], [1.0], [0.3]])
    classes = np.array([[0.7, 0.1, 0.1, 0.1]] * 3)
    members = [
        MemberOutputs("t", KINDS["substitute"], substitute),
        MemberOutputs("r", KINDS["gain"], gain),
        MemberOutputs("c", KINDS["classes"], classes),
    ]
    blocks, rest = linear_features(TASK1, members, rows)
    odds = np.log(np.array([0.21, 0.61, 0.51]) / np.array([0.81, 0.41, 0.51]))
    mean, root = (odds[0] + odds[1]) / 2, 2**0.5
    expected = [[odds[0] - mean, mean / root], [odds[1] - mean, mean / root], [0, 0]]
    np.testing.assert_allclose(blocks["t"], expected, atol=1e-12)
    np.testing.assert_allclose(
        blocks["r"], [[-0.3, 0.7 / root], [0.3, 0.7 / root], [0, 0.3]], atol=1e-12
    )
    logs = np.log([0.71, 0.11, 0.11, 0.11])
    odds = logs - logs.mean()
    expected = [[0, 0, 0, 0, *odds / root], [0, 0, 0, 0, *odds / root], [0, 0, 0, 0, *odds]]
    np.testing.assert_allclose(blocks["c"], expected, atol=1e-12)
    np.testing.assert_allclose(
        rest, [[np.log(2), 1, 0, 0], [np.log(2), 1, 0, 0], [np.log(1), 1, 0, 0]]
    )
    leaky = linear_features(TASK1, members, rows, OTHERS)[1]
    assert leaky[:, 4:].tolist() == [[1, 1], [1, 0], [1, 1]]  # in task 2, in task 3


def test_a_millionth_moves_smooth_features_by_little() -> None:
    rows = make_examples(train=20, test=0)
    members = made_members(rows)
    rng = np.random.default_rng(4)
    moved = [
        MemberOutputs(m.name, m.kind, m.values + rng.uniform(-1e-6, 1e-6, m.values.shape))
        for m in members
    ]
    before, after = (linear_features(TASK1, each, rows)[0] for each in (members, moved))
    assert all(np.abs(before[name] - after[name]).max() < 3e-4 for name in before)
    same = [
        MemberOutputs(
            "c",
            KINDS["classes"],
            np.full((len(rows), 4), 0.25) + rng.uniform(-1e-7, 1e-7, (len(rows), 4)),
        )
    ]
    found = features_of(same, rows).drop(columns=["candidates", "locale"])
    assert (found.nunique() == 1).all()  # for trees, less than the fourth decimal is no rank
