"""What rows teach after an audit or beside a teacher, by hand."""

import numpy as np
import pandas as pd
import pytest

from competition.config.recipe import LexicalRecipe
from competition.data.targets import Targets, mix_teacher
from competition.models.lexical.lexical import predict_lexical, train_lexical
from competition.noise import actions
from tests.esci import KINDS, LABELS

IDS = np.array([7, 3, 9, 5])
ROWS = pd.DataFrame(
    {"example_id": IDS, "label": ["exact", "substitute", "complement", "exact"]}
).assign(substitute=pd.array([False, True, False, False], "boolean"))
# Rows in another order, one that is not trained on; 5 was not audited.
FLAGS = pd.DataFrame(
    {
        "example_id": [3, 4, 7, 9],
        "given": ["substitute", "exact", "exact", "complement"],
        "suggested": ["exact", "substitute", "exact", "irrelevant"],
        "quality": [0.2, 0.1, 0.9, 0.1],
        "confidence": [0.6, 0.8, 0.9, 0.4],
        "dropped": [True, True, False, True],
    }
)


def test_labels_alone() -> None:
    assert (
        Targets.of_labels(KINDS["classes"], ROWS).target.tolist()
        == np.eye(4)[[0, 1, 2, 0]].tolist()
    )
    assert Targets.of_labels(KINDS["gain"], ROWS).target.tolist() == [[1.0], [0.1], [0.01], [1.0]]
    assert Targets.of_labels(KINDS["substitute"], ROWS).target.tolist() == [
        [1, 0],
        [0, 1],
        [1, 0],
        [1, 0],
    ]
    assert Targets.of_labels(KINDS["gain"], ROWS).weight.tolist() == [1, 1, 1, 1]


def test_rows_weigh_by_the_quality_of_their_labels() -> None:
    lesson = Targets.of_labels(KINDS["classes"], ROWS)
    found = actions.weight_by_quality(lesson, IDS, FLAGS)
    assert found.weight == pytest.approx(
        [0.9 / 0.4, 0.2 / 0.4, 0.1 / 0.4, 1.0]
    )  # the mean of three is 0.4
    assert found.target is lesson.target
    assert actions.weight_by_quality(lesson, IDS, FLAGS.head(0)).weight.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("classes", [[1, 0, 0, 0], [0.75, 0.25, 0, 0], [0, 0, 0.2, 0.8], [1, 0, 0, 0]]),
        ("gain", [[1], [0.775], [0.002], [1]]),
        ("substitute", [[1, 0], [0.75, 0.25], [1, 0], [1, 0]]),
    ],
)
def test_the_suggested_label_gets_its_share(kind: str, expected: list[list[float]]) -> None:
    lesson = Targets.of_labels(KINDS[kind], ROWS)
    before = lesson.target.copy()
    found = actions.soften_labels(lesson, KINDS[kind], IDS, FLAGS)
    np.testing.assert_allclose(found.target, expected)
    np.testing.assert_array_equal(lesson.target, before)
    assert found.weight.tolist() == [1, 1, 1, 1]


def teacher(kind: str) -> pd.DataFrame:
    """What a teacher of a kind says of rows in another order, of more than are trained on."""
    ids = np.array([3, 4, 5, 7, 9])
    if kind == "classes":
        said = np.tile([0.5, 0.3, 0.1, 0.1], (5, 1))
        said[ids == 9] = [0.0, 0.0, 0.0, 1.0]
    else:
        said = ids[:, None] / 10
    return pd.DataFrame(said, columns=list(KINDS[kind].outputs)).assign(example_id=ids)


SOFT = 0.5 + 0.03 + 0.001  # the expected gain of 0.5, 0.3, 0.1, 0.1


@pytest.mark.parametrize(
    ("kind", "of_teacher", "expected"),
    [
        ("classes", "classes", [[0.75, 0.15, 0.05, 0.05], [0.25, 0.65, 0.05, 0.05], [0, 0, 0.5, 0.5],
                                [0.75, 0.15, 0.05, 0.05]]),
        ("gain", "classes", [[(1 + SOFT) / 2], [(0.1 + SOFT) / 2], [0.005], [(1 + SOFT) / 2]]),
        ("gain", "gain", [[0.85], [0.2], [0.455], [0.75]]),
        ("substitute", "classes", [[0.85, 0.15], [0.35, 0.65], [1, 0], [0.85, 0.15]]),
        ("substitute", "substitute", [[0.65, 0.35], [0.35, 0.65], [0.55, 0.45], [0.75, 0.25]]),
    ],
)  # fmt: skip
def test_the_teacher_has_half_a_say(
    kind: str, of_teacher: str, expected: list[list[float]]
) -> None:
    found = mix_teacher(
        Targets.of_labels(KINDS[kind], ROWS),
        KINDS[kind],
        IDS,
        KINDS[of_teacher],
        teacher(of_teacher),
        0.5,
    )
    np.testing.assert_allclose(found.target, expected)
    other = mix_teacher(
        Targets.of_labels(KINDS[kind], ROWS),
        KINDS[kind],
        IDS,
        KINDS[of_teacher],
        teacher(of_teacher),
        0.0,
    )
    np.testing.assert_allclose(other.target, Targets.of_labels(KINDS[kind], ROWS).target)


def test_a_row_that_the_teacher_does_not_know_is_not_passed_over() -> None:
    with pytest.raises(KeyError):
        mix_teacher(
            Targets.of_labels(KINDS["classes"], ROWS),
            KINDS["classes"],
            IDS,
            KINDS["classes"],
            teacher("classes").iloc[1:],
            0.5,
        )


# --- trees
# -------------------------------------------------------------------------------------------------------


def lesson_of(target: np.ndarray, weight: np.ndarray | None = None) -> Targets:
    return Targets(target, np.ones(len(target)) if weight is None else weight)


def test_trees_learn_soft_targets_and_weights() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"example_id": np.arange(600), "label": np.array(LABELS)[np.arange(600) % 4]}
    )
    features = pd.DataFrame(rng.normal(size=(600, 10)), index=rows["example_id"]).add_prefix(
        "f"
    )  # say nothing
    recipe = LexicalRecipe(name="x", n_estimators=150, num_leaves=4)

    def learned(lesson: Targets | None) -> np.ndarray:
        booster = train_lexical(recipe, KINDS[recipe.kind], features, rows, "0", lesson)
        return (
            predict_lexical(booster, KINDS["classes"], features, np.arange(600))
            .drop(columns="example_id")
            .to_numpy()
        )

    hard = Targets(np.eye(4)[np.arange(600) % 4], np.ones(600))
    np.testing.assert_allclose(
        learned(hard), learned(None), atol=0.02
    )  # weights of 1 change no more than rounding
    soft = learned(lesson_of(np.tile([0.6, 0.3, 0.1, 0.0], (600, 1))))
    np.testing.assert_allclose(soft.mean(axis=0), [0.6, 0.3, 0.1, 0.0], atol=0.02)
    heavy = learned(lesson_of(hard.target, np.where(np.arange(600) % 4 == 1, 3.0, 1.0)))
    np.testing.assert_allclose(heavy.mean(axis=0), [1 / 6, 3 / 6, 1 / 6, 1 / 6], atol=0.05)
