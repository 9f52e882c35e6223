"""The steps that read complete runs: submissions, and the table of scores."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from competition.core.errors import InputError
from competition.core.fingerprint import digest_file, fingerprint
from competition.core.json_files import read_json
from competition.core.workspace import SCHEMA
from competition.pipeline import build_outputs
from competition.pipeline.execute import Step
from competition.scoring.optimism import read_optimism
from competition.scoring.submissions import recorded_fingerprint

if TYPE_CHECKING:
    from competition.pipeline.steps import Pipeline

SUBMISSION = "main"  # the submission that `comp run` keeps up to date
_BOARD = 3  # of the table of scores and its card, raised when they get other content


def submission_step(pipeline: Pipeline, name: str, answers: dict[str, str]) -> Step:
    """Return the step of `submissions/<name>/`, from task -> run.

    Raises:
        InputError: the data have no test rows, or none of a task.
    """
    card = pipeline.plan.card
    if not card.has_test_rows:
        raise InputError(
            "The data have no test rows, so there is nothing to submit: scores are out-of-fold, and `comp predict` "
            "scores new rows."
        )
    tasks = card.tasks
    for task in answers:
        if task not in tasks:
            raise InputError(f"The data have no test rows of {task}, only of {', '.join(tasks)}.")

    runs = {task: pipeline.plan.run(run, task) for task, run in answers.items()}
    key = {task: (run.name, run.fingerprint) for task, run in runs.items()}
    inputs = fingerprint([SCHEMA, key])

    return Step(
        f"submit {name}",
        inputs,
        needs=tuple(pipeline.complete_run(run) for run in runs.values()),
        recorded=partial(recorded_fingerprint, pipeline.workspace.submission(name)),
        build=partial(build_outputs.build_submission, pipeline.tables, name, runs, inputs),
    )


def scores_step(pipeline: Pipeline) -> Step:
    """Return the step of `reports/scores.csv`: every run against its labels and the baselines."""
    runs = pipeline.plan.runs()
    baseline = pipeline.recipes.lexical_baseline
    made_from = [(run.name, run.fingerprint, run.label_paths) for run in runs]
    # The table has a column of optimism, which is measured apart from the runs.
    optimism = read_optimism(pipeline.workspace, runs).items()
    measured = [(*key, estimate.as_json()) for key, estimate in optimism]
    inputs = fingerprint([SCHEMA, _BOARD, baseline, made_from, measured])
    card = pipeline.workspace.scores.with_suffix(".json")

    return Step(
        "scores",
        inputs,
        needs=tuple(pipeline.outputs_of(runs)),
        recorded=partial(_recorded_scores, pipeline.workspace.scores, card),
        build=partial(build_outputs.build_scores, pipeline.tables, runs, baseline, card, inputs),
    )


def _recorded_scores(table: Path, card: Path) -> str | None:
    """Return what the table of scores was made from; None where it is missing or was changed."""
    content = read_json(card)
    if not table.is_file():
        return None

    # A card of an earlier version has no digest: the table is then taken as it is.
    digest = digest_file(table)
    return content.get("inputs") if content.get("sha256", digest) == digest else None
