"""`comp pretrain`: pre-train an encoder on the catalogue's text, for recipes to fine-tune."""

from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.core.console import console
from competition.core.workspace import Workspace


@app.command(epilog=help_epilog("comp pretrain"))
def pretrain(
    recipe: Annotated[
        str, typer.Option(help='The recipe, one with model = "pretraining".')
    ] = "pretrained",
    workspace: WorkspaceOption = HERE,
) -> None:
    """Pre-train an encoder on the text of the products.

    Recipes fine-tune it with `encoder = "pretrained"` in [overrides] of competition.toml.
    """
    from competition.models.encoder.pretraining_card import best_epoch, read_epochs
    from competition.pipeline.execute import execute
    from competition.pipeline.steps import Pipeline

    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    pipeline.recipes.pretraining(recipe)  # refuses any other recipe
    made = execute(space, pipeline.inputs.encoder(recipe))
    folder = pipeline.artifacts.encoder_folder(recipe)
    epochs = read_epochs(folder)
    best = best_epoch(epochs)
    # There is at least one epoch.
    assert best is not None

    tasks = list(epochs[-1].learned)
    rows = []
    for epoch in epochs:
        losses = (OutputCell(epoch.learned.get(task), ".3f") for task in tasks)
        rows.append([epoch.number, epoch.held_out, *losses])
    title = (
        f"{recipe}: MLM loss on {best.held_out.queries:,} held-out titles, and mean training losses"
    )
    header = {
        "epoch": "after epoch",
        "held_out": "held-out titles [95 %]",
        **{task: task for task in tasks},
    }
    show_table(title, header, rows, recipe=recipe, kept=best.number, folder=folder)
    done = "done" if made else "nothing to do, everything is up to date"
    console.print(f"{recipe}: {done}. The best epoch is {best.number}. Files: {folder}")
    console.print(f"To fine-tune it, set encoder = {recipe!r} in [overrides] of competition.toml.")
