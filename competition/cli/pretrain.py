"""`comp pretrain`: let an encoder learn from the catalogue's text before any recipe is fine-tuned from it."""

from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app, show
from competition.progress import console
from competition.workspace import Workspace


@app.command()
def pretrain(
    recipe: Annotated[str, typer.Option(help='The recipe, one that says model = "pretraining".')] = "pretrained",
    workspace: WorkspaceOption = HERE,
) -> None:
    """Pre-train an encoder on product text; recipes start from it with `encoder = "pretrained"`."""
    from competition.model.card import best_epoch, read_epochs
    from competition.pipeline import Pipeline, execute

    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    pipeline.pretraining(recipe)  # refuses any other recipe
    made = execute(space, pipeline.encoder_steps(recipe))
    folder = pipeline.encoder_folder(recipe)
    epochs = read_epochs(folder)
    tasks = list(epochs[-1].learned)
    rows = [[e.number, e.held_out, *(f"{e.learned[t]:.3f}" if e.learned else "" for t in tasks)] for e in epochs]
    best = best_epoch(epochs)
    assert best is not None  # there is at least one epoch
    title = f"{recipe}: MLM loss on {best.held_out.queries:,} held-out titles, and mean training losses"
    show(title, ["after epoch", "held-out titles [95 %]", *tasks], rows)
    done = "done" if made else "nothing to do, everything is up to date"
    console.print(f"{recipe}: {done}. Epoch {best.number} is kept. Files: {folder}")
    console.print(f"Recipes start from it with encoder = {recipe!r} in [overrides] of competition.toml.")
