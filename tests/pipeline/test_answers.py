"""The run that answers each task of a submission."""

from pathlib import Path

import pytest

from competition.core.errors import InputError
from competition.pipeline.answers import Answers, choose_answers
from competition.pipeline.steps import Pipeline
from tests.conftest import make_workspace

SETTINGS = """
recipes = ["lexical", "c1", "t3"]
ensembles = ["blend"]
[submission]
task1 = "blend"
task2 = "lexical"
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """A workspace in which nothing is trained, and task 3 has no answer."""
    return Pipeline(make_workspace(tmp_path / "w", settings=SETTINGS))


@pytest.mark.parametrize(
    ("run", "tasks", "expected"),
    [
        (None, (), Answers("main", {"task1": "blend", "task2": "lexical"})),
        (None, ("task2",), Answers("main-task2", {"task2": "lexical"})),
        ("c1", (), Answers("c1", dict.fromkeys(("task1", "task2", "task3"), "c1"))),
        ("t3", (), Answers("t3", {"task3": "t3"})),
        ("blend-task2", (), Answers("blend-task2", {"task2": "blend-task2"})),
        ("lexical", ("task2",), Answers("lexical-task2", {"task2": "lexical"})),
        # That `t3` ranks nothing is said where its run is read.
        ("t3", ("task1",), Answers("t3-task1", {"task1": "t3"})),
    ],
)
def test_answers_of_a_submission(
    pipeline: Pipeline, run: str | None, tasks: tuple[str, ...], expected: Answers
) -> None:
    assert choose_answers(pipeline, run, tasks) == expected


def test_a_task_without_an_answer_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(InputError, match="No run answers task3: choose one with --from"):
        choose_answers(pipeline, None, ["task3"])
