"""`comp export`: write a trained run as a folder that other tools load."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import complete_recipe
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.core.console import console
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.pipeline.exporting.export import Exported


@app.command(
    epilog=help_epilog(
        "comp export served model",
        "comp export served model --onnx --measure",
        "comp export served model --model 0 --licence mit",
    )
)
def export(
    run: Annotated[
        str,
        typer.Argument(
            help="A recipe with servable = true, such as served.", autocompletion=complete_recipe
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="The folder to write.")],
    model: Annotated[
        str,
        typer.Option(
            help="Which model: `all` (of all rows), `average` (of the folds' weights), a fold, or `auto`: the first of "
            "these that is there and no worse."
        ),
    ] = "auto",
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write ONNX in fp32 and int8, too (extra `export`).")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure how long each form takes here.")
    ] = False,
    licence: Annotated[
        str, typer.Option(help="The licence of the model; default: that of its encoder.")
    ] = "",
    workspace: WorkspaceOption = HERE,
) -> None:
    """Write a trained run as a folder that other tools load.

    transformers, sentence-transformers, text-embeddings-inference and vLLM read it as it is. Each
    form is compared with the run on 1,000 real rows; the folder holds the comparison
    (certificate.json) and a model card (README.md), and is not written if a form differs.
    """
    from competition.pipeline.exporting.export import export_run
    from competition.pipeline.steps import Pipeline

    pipeline = Pipeline(Workspace.open(workspace))
    exported = export_run(pipeline, run, folder, model, onnx, measure, licence)
    _show(exported)


def _show(exported: "Exported") -> None:
    """Show the forms with what was compared, and where they are."""
    from competition.models.exported.folder import size_of

    rows = [
        [
            form.name,
            form.folder,
            form.rows,
            OutputCell(form.max_abs_difference, ".1e"),
            form.order_changes,
            form.pairs,
            OutputCell(
                form.scores,
                text="; ".join(f"{task} {score:+}" for task, score in form.scores.items()),
            ),
        ]
        for form in exported.forms
    ]
    header = {
        "form": "form",
        "folder": "folder",
        "rows": "rows",
        "max_abs_difference": "difference",
        "order_changes": "moved",
        "pairs": "of pairs",
        "scores": "paired scores",
    }
    show_table(f"{exported.why}, compared", header, rows, left=2, refused=exported.refused)
    if exported.latency:
        keys = {key: key for key in exported.latency[0]}
        cells = [
            [OutputCell(v, ".1f") if isinstance(v, float) else v for v in row.values()]
            for row in exported.latency
        ]
        show_table("milliseconds per query", keys, cells)
    console.print(f"{size_of(exported.folder)} in {exported.folder}")
