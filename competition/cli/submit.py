"""`comp submit`: leaderboard files."""

from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import task_named
from competition.errors import InputError
from competition.progress import console
from competition.workspace import Workspace


@app.command()
def submit(
    run: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="A run or ensemble; what competition.toml submits unless named."),
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Write task1.csv, task2.csv and task3.csv, each checked before it is written, and log the submission."""
    from competition.pipeline import SUBMISSION, Pipeline, execute
    from competition.planning import split_run
    from competition.recipe import EnsembleRecipe

    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    wanted = [task_named(name).name for name in task or []]
    if run is None:
        answers = pipeline.submission()
    else:
        stem, suffix = split_run(run)
        recipe = pipeline.recipe(stem)
        tasks = pipeline.tasks_of(recipe) if isinstance(recipe, EnsembleRecipe) else recipe.tasks
        served = [suffix] if suffix else [name for name in tasks if name in pipeline.card.tasks]
        answers = dict.fromkeys(served, run)
    for name in wanted:
        if name not in answers and run is None:
            raise InputError(f"No run answers {name}: name one with --from, or in [submission] of competition.toml.")
    if wanted:
        answers = {name: answers.get(name, run or "") for name in wanted}
    if not answers:
        raise InputError(f"Nothing to submit: {run or '[submission]'} answers no task of these data.")
    name = "-".join([run or SUBMISSION, *wanted])
    made = execute(space, [pipeline.submission_step(name, answers)])
    files = ", ".join(sorted(f"{t}.csv" for t in answers))
    leaky = [f"{task}.csv" for task, answer in sorted(answers.items()) if pipeline.run(answer, task).leaky]
    if leaky:
        console.print(
            f"Made with features that leak across tasks (leaky = true): {', '.join(leaky)}. submission.json and "
            f"{space.leaderboard.name} say so.",
            style="yellow",
        )
    console.print(f"{space.submission(name)}: {files}{'' if made else ' are up to date'}")
