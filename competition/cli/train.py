"""`comp train`: fine-tune a recipe on its folds."""

from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.progress import console
from competition.workspace import Workspace


@app.command()
def train(
    fold: Annotated[int | None, typer.Option(help="One fold; all that are missing unless named.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="The recipe; default_recipe of competition.toml unless named.")
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Train a recipe fold by fold; predictions go to oof/RECIPE/."""
    from competition.pipeline import Pipeline, execute

    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    name = recipe or pipeline.settings.default_recipe
    made = execute(space, pipeline.recipe_steps(name, fold))
    what = f"{name}, all folds" if fold is None else f"{name}, fold {fold}"
    console.print(f"{what}: {'done' if made else 'nothing to do, everything is up to date'}. Files: {space.run(name)}")
