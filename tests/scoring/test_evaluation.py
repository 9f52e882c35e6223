"""Scores of outputs: joined by id, grouped, paired."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from competition.scoring import evaluation
from competition.scoring.metrics import mean
from tests.esci import KINDS, LABELS, TASKS


def frame(labels: str, queries: list[int], locale: str = "us") -> pd.DataFrame:
    """Examples of one split from label letters."""
    names = {"E": "exact", "S": "substitute", "C": "complement", "I": "irrelevant"}
    label = [names[letter] for letter in labels]
    n = len(label)
    return pd.DataFrame(
        {
            "example_id": range(n), "query_id": queries, "query": "q", "locale": locale, "label": label,
            "product_id": [f"P{i:03d}" for i in range(n)], "substitute": [name == "substitute" for name in label],
            "task1": True, "task2": True, "task3": True, "split": "train",
        }
    )  # fmt: skip


def one_hot(labels: pd.Series) -> pd.DataFrame:
    """The outputs of a 4-class model that knows the labels."""
    return pd.DataFrame({f"p_{name}": (labels == name).astype(float) for name in LABELS})


@pytest.mark.parametrize("task", TASKS)
def test_a_perfect_run_scores_one(task: str) -> None:
    examples = frame("ESCIIEEI", [1, 1, 1, 1, 2, 2, 3, 3])
    outputs = one_hot(examples["label"]).assign(example_id=examples["example_id"])
    counts = evaluation.count_outputs(TASKS[task], KINDS["classes"], outputs, examples)
    for groups in evaluation.estimate_metrics(counts).values():
        assert {"all", "us"} <= set(groups)
        assert "10+ products" not in groups
        assert all(estimate.value == 1 and estimate.queries for estimate in groups.values())


def test_order_of_rows_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    examples = frame("".join(rng.choice(list("ESCI"), 60)), sorted(rng.integers(0, 9, 60)))
    outputs = pd.DataFrame(
        {"example_id": examples["example_id"], "gain": rng.choice([0.1, 0.5, 0.9], 60)}
    )
    one = evaluation.count_outputs(TASKS["task1"], KINDS["gain"], outputs, examples)
    other = evaluation.count_outputs(
        TASKS["task1"],
        KINDS["gain"],
        outputs.sample(frac=1, random_state=1),
        examples.sample(frac=1, random_state=2),
    )
    np.testing.assert_array_equal(one.values, other.values)
    assert repr(evaluation.estimate_metrics(one)) == repr(
        evaluation.estimate_metrics(other)
    )  # NaN is as NaN here


def test_queries_without_gain_are_left_out_or_score_zero_by_protocol() -> None:
    examples = frame("EIII", [1, 1, 2, 2])
    score = np.array([2.0, 1.0, 2.0, 1.0])
    paper = evaluation.GradedRows(TASKS["task1"], examples).count(score)
    script = evaluation.GradedRows(TASKS["task1"], examples).count(
        score, protocol="official_script"
    )
    assert (paper.ungraded, mean(paper.values.sum(0))) == (1, 1.0)
    assert (script.ungraded, mean(script.values.sum(0))) == (1, 0.5)


def test_the_protocol_swaps_substitutes_and_complements() -> None:
    examples = frame("SC", [1, 1])
    as_listed = np.array([2.0, 1.0])
    script = evaluation.GradedRows(TASKS["task1"], examples).count(
        as_listed, protocol="official_script"
    )
    expected = (0.01 + 0.1 / math.log2(3)) / (0.1 + 0.01 / math.log2(3))
    assert script.values[0, 0] == pytest.approx(expected)
    assert evaluation.GradedRows(TASKS["task1"], examples).count(as_listed).values[0, 0] == 1


def test_groups_count_queries_that_can_move_and_deep_ones() -> None:
    deep = frame("E" * 6 + "I" * 6, [3] * 12)
    examples = pd.concat([frame("EE", [1, 1]), frame("ES", [2, 2], "jp"), deep], ignore_index=True)
    examples["example_id"] = range(len(examples))
    counts = evaluation.GradedRows(TASKS["task1"], examples).count(np.zeros(len(examples)))
    sizes = {name: int(members.sum()) for name, members in counts.groups.items()}
    assert sizes == {"all": 3, "us": 2, "jp": 1, "can move": 2, "10+ products": 1}


@pytest.mark.parametrize(
    ("deep", "group"), [(0, "all"), (1, "all"), (19, "all"), (20, "10+ products")]
)
def test_lists_of_full_depth_lead_from_20_on(deep: int, group: str) -> None:
    labels, queries = "ES" * 5 * deep + "EI" * 30, [i // 10 for i in range(10 * deep)]
    examples = frame(labels, queries + [100 + i // 2 for i in range(60)])
    counts = evaluation.GradedRows(TASKS["task1"], examples).count(np.zeros(len(examples)))
    assert evaluation.leading_group(counts) == group
    assert (
        evaluation.leading_group(
            evaluation.GradedRows(TASKS["task2"], examples).count(np.zeros(len(examples)))
        )
        == "all"
    )


def test_a_difference_with_itself_is_zero_and_other_queries_are_refused() -> None:
    examples = frame("ESCIIEEI", [1, 1, 1, 1, 2, 2, 3, 3])
    counts = evaluation.GradedRows(TASKS["task2"], examples).count(np.zeros(8))
    same = evaluation.estimate_difference(counts, counts)
    assert same.value == 0
    assert not same.differs
    with pytest.raises(ValueError, match="same queries"):
        evaluation.estimate_difference(
            counts, evaluation.GradedRows(TASKS["task2"], examples.head(4)).count(np.zeros(4))
        )


def test_the_constant_answer_scores_the_share_of_its_class() -> None:
    examples = frame("EEESCI", [1, 1, 2, 2, 3, 3])
    name, counts = evaluation.GradedRows(TASKS["task2"], examples).count_trivial_baseline()
    assert name == "all exact"
    assert evaluation.estimate_metrics(counts)["micro-F1"]["all"].value == pytest.approx(3 / 6)


def test_outputs_of_more_rows_are_joined_and_repeated_ones_refused() -> None:
    examples = frame("ESCIIEEI", [1, 1, 1, 1, 2, 2, 3, 3])
    outputs = one_hot(examples["label"]).assign(example_id=examples["example_id"])
    some = examples.iloc[[1, 2, 5, 6]]
    for given in (outputs, outputs[::-1], outputs[outputs["example_id"].isin(some["example_id"])]):
        counts = evaluation.count_outputs(TASKS["task2"], KINDS["classes"], given, some)
        assert counts.statistic(counts.values.sum(0)) == 1
    for twice in (outputs.iloc[[0, *range(8)]], pd.concat([outputs, outputs])):
        with pytest.raises(pd.errors.MergeError):
            evaluation.count_outputs(TASKS["task2"], KINDS["classes"], twice, some)


def test_results_that_are_drawn_together_have_the_intervals_that_they_have_alone() -> None:
    """2,400 queries, some of them without any gain, and 50 of another locale."""
    rng = np.random.default_rng(0)
    rows = 2 * 2_400
    examples = frame("".join(rng.choice(list("ESCI"), rows)), [i // 2 for i in range(rows)])
    examples["locale"] = np.where(examples["query_id"] < 50, "jp", "us")
    for task in ("task1", "task2"):
        graded = evaluation.GradedRows(TASKS[task], examples)
        given = [rng.random(rows), rng.random(rows) * 3]
        together = [graded.count(answer) for answer in given]
        for group in ("all", "us", "jp"):
            evaluation.draw_together(together, group)
            alone = [graded.count(answer) for answer in given]
            assert [evaluation.estimate_score(each, group) for each in alone] == [
                evaluation.estimate_score(each, group) for each in together
            ]
            one, other = (
                evaluation.estimate_difference(*each, group) for each in (alone, together)
            )
            assert one == other
        assert set(together[0].resampled) == {"all", "us"}  # few queries are drawn when asked for


def test_a_group_of_all_queries_is_not_drawn_again() -> None:
    examples = frame("EI" * 2_000, [i // 2 for i in range(4_000)])
    counts = evaluation.GradedRows(TASKS["task1"], examples).count(np.arange(4_000.0))
    for group in ("all", "us", "can move"):
        evaluation.draw_together([counts], group)
    assert counts.resampled["us"] is counts.resampled["all"] is counts.resampled["can move"]


def test_rows_that_are_laid_out_once_count_as_rows_of_one_answer() -> None:
    rng = np.random.default_rng(0)
    examples = frame("".join(rng.choice(list("ESCI"), 300)), sorted(rng.integers(0, 40, 300)))
    shuffled = examples.sample(frac=1, random_state=0)
    for task in TASKS.values():
        graded = evaluation.GradedRows(task, shuffled)
        for seed in range(3):
            share = np.random.default_rng(seed).dirichlet(np.ones(4), 300)
            columns = dict(zip(KINDS["classes"].outputs, share.T, strict=True))
            outputs = pd.DataFrame({"example_id": range(300), **columns})
            again = evaluation.count_outputs(task, KINDS["classes"], outputs[::-1], examples)
            np.testing.assert_array_equal(
                graded.count_outputs(KINDS["classes"], outputs).values, again.values
            )


def test_results_over_other_groups_of_queries_are_no_pair() -> None:
    examples = frame("ESCIIEEI", [1, 1, 1, 1, 2, 2, 3, 3])
    counts = evaluation.GradedRows(TASKS["task2"], examples).count(np.zeros(8))
    other = replace(counts, groups={"all": np.array([True, True, False])})
    with pytest.raises(ValueError, match="same queries"):
        evaluation.estimate_difference(counts, other)
