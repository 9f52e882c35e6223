"""Columns, tasks and kinds of a contest, by name."""

import pytest

from competition.core.errors import InputError
from competition.scoring.definition import load_contest
from tests.esci import CONTEST, KINDS, LABELS, TASKS


def test_esci_has_the_columns_of_its_files() -> None:
    assert CONTEST.example_columns == (
        "example_id", "query_id", "query", "locale", "product_id", "label", "substitute", "split",
        "task1", "task2", "task3",
    )  # fmt: skip
    assert CONTEST.product_columns[:3] == ("locale", "product_id", "title")
    assert list(KINDS) == ["classes", "gain", "substitute", "score"]
    assert KINDS["classes"].outputs == tuple(f"p_{label}" for label in LABELS)
    assert [CONTEST.answer_kind(name).name for name in TASKS] == ["score", "classes", "substitute"]


def test_what_the_contest_lacks_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"no task 'task4' \(did you mean 'task"):
        CONTEST.task("task4")
    with pytest.raises(InputError, match="no kind 'rating' of prediction: it has classes, gain"):
        CONTEST.kind("rating")
    assert CONTEST.split_run("blend-task1") == ("blend", "task1")
    assert CONTEST.split_run("blend-task9") == ("blend-task9", "")


@pytest.mark.parametrize(
    ("role", "name"), [("rank", "task1"), ("classify", "task2"), ("positive", "task3")]
)
def test_a_role_is_taken_by_the_first_task_that_fits(role: str, name: str) -> None:
    task = CONTEST.representative(role)
    assert task is not None
    assert task.name == name


def test_a_contest_without_the_role_has_nobody_for_it() -> None:
    assert load_contest("ratings").representative("positive") is None
