"""`comp predict`: rows of a file, scored by a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import Cell, show, such_as
from competition.errors import InputError
from competition.progress import console, warn
from competition.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd


@app.command(epilog=such_as("comp predict new.csv", "comp predict new.parquet --from lexical --out scored.csv"))
def predict(
    file: Annotated[
        Path, typer.Argument(help="A .csv or .parquet file with the columns query and product_title, others if known.")
    ],
    run: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="A recipe or an ensemble's run, such as blend-task1; default_recipe unless named.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to, .csv or .parquet; FILE-RUN beside it unless named.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of a CSV file, such as cp1252.")] = "utf-8",
    locale: Annotated[str, typer.Option(help="Of rows that name none.")] = "us",
    workspace: WorkspaceOption = HERE,
) -> None:
    """Score new rows: FILE in its order, each row with score, class and probabilities as far as the run has them."""
    import pandas as pd

    from competition.data.unseen import check_target, read_file, write_file
    from competition.pipeline import Pipeline
    from competition.scoring import Scorer

    pipeline = Pipeline(Workspace.open(workspace))
    name = run or pipeline.settings.default_recipe
    target = out or file.with_name(f"{file.stem}-{name}{file.suffix}")
    if target.resolve() == file.resolve():
        raise InputError(f"{target} is the file that is read: name another with --out.")
    scorer = Scorer(pipeline, name)
    table = read_file(file, encoding)
    check_target(target, table, scorer.columns)
    rows = scorer.read(table, str(file), locale)
    for remark in rows.remarks:
        warn(remark)
    said = scorer.answer(rows)
    write_file(target, pd.concat([table, said], axis=1))
    _show(f"{name} on {file.name}", said)
    console.print(f"{len(table):,} rows, {len(rows.examples):,} of them distinct: {target}")


def _show(title: str, said: "pd.DataFrame") -> None:
    """How many rows are of each class, and the scores from the lowest to the highest."""
    from competition.scoring import PREDICTED, SCORE

    for column in PREDICTED.values():
        if column in said:
            counts = said[column].value_counts()
            rows = [[name, count, Cell(count / len(said), ".3f")] for name, count in counts.items()]
            show(title, ["predicted", "rows", "share"], rows)
    if SCORE in said:
        low, median, high = said[SCORE].quantile([0, 0.5, 1])
        console.print(f"Scores: {low:.4f} to {high:.4f}, median {median:.4f}")
