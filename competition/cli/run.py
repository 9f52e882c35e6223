"""`comp run`: make everything that is missing, from folds to submissions."""

from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import help_epilog, is_json
from competition.cli.ray_options import (
    AddressOption,
    EngineOption,
    GpusOption,
    ScratchOption,
    ray_options,
)
from competition.cli.run_plan import build_named_steps, build_steps, show_run_plan
from competition.cli.scores import APPROXIMATE_MARK, explain_marks, show_scores
from competition.cli.verdicts import show_diagnoses, show_standing, show_verdict
from competition.core.commands import command_for
from competition.core.console import console
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from competition.analysis.diagnoses.diagnosis import Verdict
    from competition.pipeline.steps import Pipeline


@app.command(
    epilog=help_epilog("comp run", "comp run --dry-run", "comp run --jobs 2", "comp run --all")
)
def run(
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Show the scores of every task, split and group of queries, and every diagnosis.",
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            help="Build up to this many independent steps at a time, with the cores divided among them. "
            "Default: 1; on Ray, as many as there is room for.",
        ),
    ] = None,
    engine: EngineOption = None,
    address: AddressOption = None,
    gpus: GpusOption = None,
    scratch: ScratchOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show what would be built, with time and memory; write nothing."
        ),
    ] = False,
    step: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Build only this step of `comp run --dry-run`, and what it needs that is part of no other run; "
            "may be repeated.",
        ),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Run everything that is missing or out of date.

    The order is folds, training, audit, ensembles, submission, scores. A run that was interrupted
    continues where it stopped. At the end, it says where each task stands and what to do next.
    """
    from competition.analysis.diagnoses.judge import judge
    from competition.pipeline.execute import StepStates
    from competition.pipeline.steps import Pipeline

    on_ray = ray_options(engine, address, gpus, scratch)
    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    if dry_run:
        show_run_plan(pipeline, jobs or 1)
        return
    if step:
        build_named_steps(pipeline, step)
        return
    if not build_steps(pipeline, pipeline.steps(), jobs, on_ray):
        console.print("Nothing to do: everything is up to date.")

    board = _read_board(space)
    # Everything is done: no file need be looked at again.
    verdict = judge(pipeline, StepStates())
    if everything or is_json():
        _show_all(board, verdict)
        return
    _show_end(pipeline, board, verdict)


def _show_end(pipeline: "Pipeline", board: "pd.DataFrame", verdict: "Verdict") -> None:
    """Show where each task stands, where the files are, and what to do next."""
    from competition.pipeline.output_steps import SUBMISSION

    space = pipeline.workspace
    for task in verdict.tasks:
        show_standing(task, board)
    console.print("Intervals are over queries; `comp compare` adds the luck of training.")
    if (board["label_paths"] != "").any():
        console.print(
            f"{APPROXIMATE_MARK} approximate: it learned from labels that it is scored on."
        )
    if pipeline.plan.card.has_test_rows:
        console.print(f"Submission: {space.submission(SUBMISSION)}    Scores: {space.scores}")
    else:
        console.print(f"No submission: the data have no test rows.    Scores: {space.scores}")
    console.print(f"More scores and diagnoses: {command_for('comp run --all')}")
    show_diagnoses(verdict)


def _show_all(board: "pd.DataFrame", verdict: "Verdict") -> None:
    """Show every score, how scores were come by, and every diagnosis."""
    for _, lines in board.groupby(["task", "split", "group"], sort=False):
        show_scores(lines, "minus lexical")
    explain_marks(board)
    show_verdict(verdict, everything=True)


def _read_board(space: Workspace) -> "pd.DataFrame":
    """Read every score of the workspace."""
    import pandas as pd

    from competition.scoring.scoreboard import read_scoreboard

    with space.scores.open(encoding="utf-8", newline="") as table:
        return pd.DataFrame(read_scoreboard(table))
