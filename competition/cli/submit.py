"""`comp submit`: write the files for the leaderboard."""

from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import complete_task
from competition.cli.output import help_epilog, show_table
from competition.cli.scores import mark_run
from competition.core.commands import command_for, shell_quoted
from competition.core.console import console, warn
from competition.core.json_files import read_json
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.scoring.intervals import Estimate
    from competition.scoring.predictions import RunPlan
    from competition.scoring.task import Task


@app.command(
    epilog=help_epilog(
        "comp submit", "comp submit --from c1", "comp submit --from lexical --task task2"
    )
)
def submit(
    run: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="A run or an ensemble; default: [submission] of competition.toml.",
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Answer only this task; can be repeated.", autocompletion=complete_task),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Write the files for the leaderboard.

    A file per task, such as task1.csv, goes to submissions/. Each is checked as by `comp check`
    before it is written, and logged.
    """
    from competition.pipeline.answers import choose_answers
    from competition.pipeline.execute import execute
    from competition.pipeline.output_steps import submission_step
    from competition.pipeline.steps import Pipeline
    from competition.scoring.evaluation import over_group

    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    contest = pipeline.plan.contest
    answers = choose_answers(pipeline, run, [contest.task(name).name for name in task or []])
    made = execute(space, [submission_step(pipeline, answers.name, answers.runs)])
    plans = {name: pipeline.plan.run(answer, name) for name, answer in sorted(answers.runs.items())}

    leaky = [contest.tasks[name].file for name, plan in plans.items() if plan.leaky]
    if leaky:
        warn(
            f"{', '.join(leaky)} use features that leak across tasks (leaky = true); submission.json and "
            f"{space.leaderboard.name} record that."
        )

    rows = []
    for name, plan in plans.items():
        score, group = _out_of_fold(space, plan, contest.tasks[name])
        over = over_group(f"{score.queries:,}", group) if score else ""
        run_cell = mark_run(plan.name, plan.basis)
        rows.append([contest.tasks[name].file, run_cell, score, over, group, plan.basis])
    folder = space.submission(answers.name)
    header: dict[str, str | None] = {
        "file": "file",
        "run": "run",
        "out_of_fold": "out-of-fold [95 %]",
        "over": "queries",
        "group": None,
        "basis": None,
    }
    title = str(folder) if made else f"{folder}, up to date"
    show_table(title, header, rows, left=2, submission=answers.name, folder=folder)

    record = command_for(
        f"comp leaderboard add {shell_quoted(answers.name)} --task TASK --public SCORE"
    )
    console.print(f"When you know a score: {record}")


def _out_of_fold(space: Workspace, plan: "RunPlan", task: "Task") -> tuple["Estimate | None", str]:
    """Return the out-of-fold score of a run that says most, and over which group; None if it was not graded."""
    from competition.scoring.evaluation import leading_name
    from competition.scoring.intervals import Estimate

    graded = read_json(space.run_card(plan.name)).get("scores", {}).get(task.name)
    if not graded:
        return None, "all"

    groups = {name: Estimate.from_json(each) for name, each in graded[task.metric.label].items()}
    group = leading_name({name: estimate.queries for name, estimate in groups.items()})
    return groups[group], group
