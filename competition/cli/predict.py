"""`comp predict`: rows of a file, scored by a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import OutputCell, first_names, show
from competition.core.console import console, warn
from competition.core.errors import InputError, escape_controls, join_names
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd


@app.command(
    epilog=first_names(
        "comp predict new.csv",
        "comp predict new.parquet --from lexical --out scored.csv",
        "comp predict log.csv --map query=search --map product_title=name",
    )
)
def predict(
    file: Annotated[
        Path,
        typer.Argument(
            help="A .csv or .parquet file, perhaps packed, with the columns query and product_title, others if known."
        ),
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
        Path | None,
        typer.Option(
            metavar="FILE", help="Where to, .csv or .parquet; FILE-RUN beside it unless named."
        ),
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of a CSV file, such as cp1252.")] = "utf-8",
    locale: Annotated[str, typer.Option(help="Of rows that name none.")] = "us",
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="OURS=NAME", help="The column NAME is what OURS says; may be repeated."
        ),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Score new rows: FILE in its order, each row with score, class and probabilities as far as the run has them."""
    from competition.pipeline.new_rows import (
        check_target,
        read_file,
        read_map,
        target_beside,
        write_file,
    )
    from competition.pipeline.scorer import Scorer
    from competition.pipeline.steps import Pipeline

    pipeline = Pipeline(Workspace.open(workspace))
    name = run or pipeline.plan.settings.default_recipe
    called = read_map(columns or [])
    target = out or target_beside(file, name)
    if target.resolve() == file.resolve():
        raise InputError(f"{target} is the file that is read: name another with --out.")
    scorer = Scorer(pipeline, name)
    table = read_file(file, encoding)
    check_target(target, table, scorer.columns)
    rows = scorer.read(table, str(file), locale, called)
    for remark in rows.remarks:
        warn(remark)
    if rows.unread:
        console.print(f"Copied, not read: {escape_controls(join_names(rows.unread))}")
    if trained := scorer.trained_on(rows):
        warn(
            f"{name} was trained on {trained:,} of these {len(table):,} rows (locale, query and title agree): what it "
            "says of them is no measure of what it says of new ones."
        )
    said = scorer.answer(rows)
    write_file(target, table, said)
    _show(f"{name} on {file.name}", said)
    console.print(f"{len(table):,} rows, {len(rows.examples):,} of them distinct: {target}")


def _show(title: str, said: "pd.DataFrame") -> None:
    """How many rows are of each class, and the scores from the lowest to the highest."""
    from competition.pipeline.scorer import PREDICTED, SCORE

    for column in PREDICTED.values():
        if column in said:
            counts = said[column].value_counts()
            rows = [
                [name, count, OutputCell(count / len(said), ".3f")]
                for name, count in counts.items()
            ]
            show(title, ["predicted", "rows", "share"], rows)
    if SCORE in said:
        low, median, high = said[SCORE].quantile([0, 0.5, 1])
        console.print(f"Scores: {low:.4f} to {high:.4f}, median {median:.4f}")
