"""`comp stack`: cross-fit an ensemble."""

from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app, show
from competition.progress import console
from competition.workspace import Workspace, read_json


@app.command()
def stack(
    name: Annotated[str, typer.Argument(help="An ensemble recipe, such as blend.")],
    workspace: WorkspaceOption = HERE,
) -> None:
    """Blend complete runs, one ensemble per task; the weights of each fold come from the other folds."""
    from competition.pipeline import Pipeline, execute
    from competition.tasks import TASKS

    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    made = execute(space, pipeline.ensemble_steps(name))
    recipe = pipeline.ensemble(name)
    rows = []
    for task in pipeline.tasks_of(recipe):
        card = read_json(space.run_card(recipe.run_name(task)))
        score = card["scores"].get(task, {}).get(TASKS[task].metric, {}).get("all")
        shown = f"{score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]" if score else "no labels"
        folds = list(card["weights"].values())
        mean = {member: sum(fold[member] for fold in folds) / len(folds) for member in folds[0]}
        rows.append([task, TASKS[task].metric, shown, ", ".join(f"{m} {w:.2f}" for m, w in mean.items())])
    show(f"Ensemble {name}", ["task", "metric", "out-of-fold [95 %]", "mean weights"], rows, 4)
    if not made:
        console.print("Nothing to do: the ensemble is up to date.")
