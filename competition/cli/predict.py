"""`comp predict`: score the rows of a file with a trained run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.core.console import console, warn
from competition.core.errors import InputError, escape_controls, join_names, pluralize
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from competition.pipeline.scorer import Scorer


@app.command(
    epilog=help_epilog(
        "comp predict new.csv",
        "comp predict new.parquet --from lexical --out scored.csv",
        "comp predict log.csv --map query=search --map product_title=name",
        "comp predict new.csv --from model",
    )
)
def predict(
    file: Annotated[
        Path,
        typer.Argument(
            help="A .csv or .parquet file (also .gz, .zip, .bz2, .xz) with columns query and product_title."
        ),
    ],
    run: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="A recipe, an ensemble's run such as blend-task1, or a folder that `comp export` wrote; default: "
            "default_recipe.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write, .csv or .parquet; default: FILE-RUN.csv beside FILE.",
        ),
    ] = None,
    encoding: Annotated[
        str, typer.Option(help="The encoding of a CSV file, such as cp1252.")
    ] = "utf-8",
    locale: Annotated[
        str, typer.Option(help="The locale of rows without one; default: the competition's first.")
    ] = "",
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="OURS=NAME",
            help="Read the column OURS from the column NAME; can be repeated.",
        ),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Score new rows from a file.

    Writes the file with the score, the class and the class probabilities of each row, as far as the
    run predicts them. Optional columns: product_brand, product_color, product_bullet_point,
    product_description and product_locale.
    """
    from competition.pipeline.folder_scorer import FolderScorer
    from competition.pipeline.new_rows import read_map
    from competition.pipeline.new_rows_files import (
        check_target,
        read_file,
        target_beside,
        write_file,
    )

    scorer, name = _open_scorer(run, workspace)
    column_names = read_map(columns or [], scorer.contest)
    target = out or target_beside(file, name)
    # The output may not replace the input, nor be refused after the work is done.
    if target.resolve() == file.resolve():
        raise InputError(f"{target} is the input file itself: choose another with --out.")
    table = read_file(file, encoding)
    check_target(target, table, scorer.columns)

    rows = scorer.read(table, str(file), locale, column_names)
    for remark in rows.remarks:
        warn(remark)
    if rows.unread:
        console.print(f"Columns copied but not used: {escape_controls(join_names(rows.unread))}")
    # Rows of the training data would look better than the run is.
    if isinstance(scorer, FolderScorer):
        console.print("Whether it was trained on some of these rows is not known to a folder.")
    elif trained := scorer.trained_on(rows):
        rows_given = pluralize(len(table), "row")
        warn(
            f"{name} was trained on {trained:,} of these {rows_given} (same locale, query and title): for "
            "them, its scores are better than for new rows."
        )

    answers = scorer.answer(rows)
    write_file(target, table, answers)
    _show(f"{name} on {file.name}", answers)
    distinct = f"{len(rows.examples):,} of them distinct"
    console.print(f"{pluralize(len(table), 'row')}, {distinct}: {target}")


def _open_scorer(run: str | None, workspace: Path) -> "tuple[Scorer, str]":
    """Return what answers, and its name: an exported folder, or a run of the workspace."""
    from competition.models.exported.folder import is_exported
    from competition.pipeline.folder_scorer import FolderScorer
    from competition.pipeline.scorer import Scorer
    from competition.pipeline.steps import Pipeline

    folder = Path(run or "")
    if run and is_exported(folder):
        return FolderScorer(folder), folder.resolve().name

    pipeline = Pipeline(Workspace.open(workspace))
    name = run or pipeline.plan.settings.default_recipe
    return Scorer(pipeline, name), name


def _show(title: str, answers: "pd.DataFrame") -> None:
    """Show how many rows are of each class, and the range of the scores."""
    from competition.pipeline.scorer import SCORE

    for column in answers.columns[answers.columns.str.startswith("predicted_")]:
        counts = answers[column].value_counts()
        rows = [
            [name, count, OutputCell(count / len(answers), ".3f")] for name, count in counts.items()
        ]
        show_table(title, ["predicted", "rows", "share"], rows)

    if SCORE in answers:
        low, median, high = answers[SCORE].quantile([0, 0.5, 1])
        console.print(f"Scores: {low:.4f} to {high:.4f}, median {median:.4f}")
