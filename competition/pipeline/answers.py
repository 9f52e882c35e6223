"""Choose the run that answers each task of a submission."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from competition.core.errors import InputError
from competition.pipeline.output_steps import SUBMISSION
from competition.pipeline.steps import Pipeline


@dataclass(frozen=True)
class Answers:
    """The runs of a submission.

    Attributes:
        name: the folder of the submission, such as `main` or `c1-task2`.
        runs: task -> the run that answers it.
    """

    name: str
    runs: dict[str, str]


def choose_answers(pipeline: Pipeline, run: str | None, tasks: Sequence[str]) -> Answers:
    """Choose the run that answers each task of a submission.

    Args:
        pipeline: of the workspace.
        run: the run or ensemble that answers; None for those of [submission] in competition.toml.
        tasks: the tasks to answer; empty for all that have a run.

    Raises:
        InputError: no run answers one of `tasks`, or any task of the data.
    """
    if run is None:
        runs = pipeline.recipes.submission()
    else:
        # The tasks of the data that the run or ensemble answers.
        stem, task = pipeline.plan.contest.split_run(run)
        recipe = pipeline.recipes.run(stem)
        answered = [task] if task else pipeline.recipes.tasks_of(recipe)
        runs = dict.fromkeys(answered, run)

    # A run that was named may be asked for any task: what it cannot answer is refused by name later.
    missing = [task for task in tasks if task not in runs]
    if missing and run is None:
        raise InputError(
            f"No run answers {missing[0]}: choose one with --from, or in [submission] of competition.toml."
        )
    if tasks:
        runs = {task: runs.get(task, run or "") for task in tasks}

    if not runs:
        raise InputError(
            f"Nothing to submit: {run or '[submission]'} answers none of the tasks in the data."
        )
    return Answers("-".join([run or SUBMISSION, *tasks]), runs)
