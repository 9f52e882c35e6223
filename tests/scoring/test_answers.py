"""From outputs to answers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.scoring.answers import answers, read_values
from competition.scoring.contest import Found
from competition.scoring.definition import load_contest
from competition.scoring.metric_table import find_metric
from tests.esci import KINDS, LABELS, TASKS

OUTPUTS = pd.DataFrame(
    {
        "example_id": [1, 2],
        "p_exact": [0.49, 0.2],
        "p_substitute": [0.51, 0.3],
        "p_complement": [0.0, 0.1],
        "p_irrelevant": [0.0, 0.4],
    }
)
CLASSES, GAIN = KINDS["classes"], KINDS["gain"]


def test_four_classes_answer_every_task() -> None:
    assert answers(TASKS["task1"], CLASSES, OUTPUTS).tolist() == pytest.approx([0.541, 0.231])
    assert answers(TASKS["task2"], CLASSES, OUTPUTS).tolist() == [
        LABELS.index("substitute"),
        LABELS.index("irrelevant"),
    ]
    assert answers(TASKS["task3"], CLASSES, OUTPUTS).tolist() == [1, 0]


def test_a_regressor_answers_ranking_alone() -> None:
    outputs = pd.DataFrame({"example_id": [1], "gain": [0.7]})
    assert answers(TASKS["task1"], GAIN, outputs).tolist() == [0.7]
    with pytest.raises(ValueError, match="do not answer task2"):
        answers(TASKS["task2"], GAIN, outputs)


def test_a_rating_is_the_expected_number_of_classes_or_the_number_itself() -> None:
    contest = load_contest("ratings").completed(Found(("0", "1", "2", "3"), fields=("title",)))
    columns = {f"p_{level}": [share] for level, share in enumerate([0.1, 0.2, 0.3, 0.4])}
    by_error = contest.tasks["rating"]
    by_kappa = replace(by_error, metric=find_metric("quadratic-kappa"))

    classes = answers(by_error, contest.kinds["classes"], pd.DataFrame(columns))
    np.testing.assert_allclose(classes, [0.2 * 1 + 0.3 * 2 + 0.4 * 3])
    number = answers(by_error, contest.kinds["rating"], pd.DataFrame({"rating": [1.7]}))
    assert number.tolist() == [1.7]
    # Kappa compares levels: the nearest of 0, 1, 2, 3.
    level = answers(by_kappa, contest.kinds["rating"], pd.DataFrame({"rating": [1.7, 0.2]}))
    assert level.tolist() == [2, 0]


def test_levels_that_have_names_are_read_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    tail = '[tasks.rating]\nkind = "rate"\nmetric = "quadratic-kappa"\n'

    def read(labels: str, cells: list[str]) -> list[float]:
        path.write_text(f'fields = ["title"]\n[labels]\n{labels}\n{tail}')
        task = load_contest(str(path)).tasks["rating"]
        return read_values(task, pd.DataFrame({"label": cells})).tolist()

    named = 'names = ["bad", "fair", "good"]\nordered = true'
    assert read(named, ["good", "bad"]) == [2, 0]
    assert np.isnan(read(named, ["1"])).all()
    assert read("levels = [1, 2, 3]", ["3", "1.0"]) == [2, 0]
    assert np.isnan(read("levels = [1, 2, 3]", ["4", "x"])).all()
