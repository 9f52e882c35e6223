"""`comp run`: everything that is missing, in order, to the submissions."""

from competition.cli.app import HERE, WorkspaceOption, app, show
from competition.progress import console
from competition.workspace import Workspace


@app.command()
def run(workspace: WorkspaceOption = HERE) -> None:
    """Do what is missing or out of date, in order: folds, training, audit, ensembles, submissions; then the scores."""
    from competition.pipeline import SUBMISSION, Pipeline, execute

    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    made = execute(space, pipeline.steps())
    if not made:
        console.print("Nothing to do: everything is up to date.")
    _show_scores(space)
    console.print(f"Submission: {space.submission(SUBMISSION)}    Scores: {space.scores}")


def _show_scores(space: Workspace) -> None:
    import pandas as pd

    table = pd.read_csv(space.scores)
    for (task, split, group), lines in table.groupby(["task", "split", "group"], sort=False):
        metric, baseline = lines["metric"].iloc[0], lines["baseline"].iloc[0]
        rows = [
            [line.run, _cell(line, "score"), _cell(line, "above_baseline", "+"), _cell(line, "above_floor", "+")]
            for line in lines.itertuples()
        ]
        queries = f"{lines['queries'].iloc[0]:,} queries" + ("" if group == "all" else f" with {group}")
        show(
            f"{task}, {split}, {queries}",
            ["run", f"{metric} [95 %]", f"minus {baseline} [95 %]", "minus lexical [95 %]"],
            rows,
        )


def _cell(line: object, name: str, sign: str = "") -> str:
    from competition.metrics import Estimate

    value, low, high = (getattr(line, key) for key in (name, f"{name}_low", f"{name}_high"))
    return "" if value != value else format(Estimate(value, low, high, 0), sign)
