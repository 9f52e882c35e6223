"""`comp recipes`: which recipes there are, and what one is made of."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import complete_recipe
from competition.cli.output import OutputCell, as_toml, first_names, show
from competition.core.console import console
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.config.explain import ExplainedRecipe

_OWN_COLUMN = {"kind", "scheme"}


@app.command(
    epilog=first_names(
        "comp recipes", "comp recipes c1", "comp recipes six-model.lightgbm.thresholds"
    )
)
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="A recipe, shown key by key.", autocompletion=complete_recipe
        ),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """List the recipes and what each differs in from the default, or show one with every key resolved.

    The default is what a recipe would be that says nothing itself: the preset's size, the seed of
    competition.toml.
    """
    from competition.config.explain import explain_recipe
    from competition.config.settings import load_settings, recipe_names

    space = Workspace.open(workspace)
    settings = load_settings(space)
    if name is not None:
        _show_one(explain_recipe(space, settings, name))
        return
    found = [explain_recipe(space, settings, each) for each in recipe_names(space)]
    header = {
        "recipe": "recipe",
        "named": "in use",
        "predicts": "predicts",
        "folds": "folds",
        "differs": "differs in",
    }
    show("Recipes", header, [_row(each) for each in found], 5, preset=settings.preset)
    console.print(
        "One key by key: comp recipes NAME. One of your own: a file recipes/NAME.toml in the workspace."
    )


def _row(each: "ExplainedRecipe") -> list[object]:
    recipe = each.recipe
    predicts = getattr(recipe, "kind", recipe.model)
    folds = len(recipe.folds) if hasattr(recipe, "folds") else None
    differing = {key: value for key, value in each.differing.items() if key not in _OWN_COLUMN}
    return [recipe.name, each.named, predicts, folds, as_toml(differing)]


def _show_one(found: "ExplainedRecipe") -> None:
    def cell(value: Any, style: str) -> OutputCell:
        return OutputCell(value, style=style, text=as_toml(value).text)

    header = {"key": "key", "value": "value", "source": "from", "default": "default"}
    rows = []
    for key in found.keys:
        style = "bold" if key.differs else ""
        default = cell(key.default, "dim") if key.differs else ""
        rows.append(
            [OutputCell(key.name, style=style), cell(key.value, style), key.source, default]
        )
    recipe = found.recipe
    title = f'{recipe.name}, model = "{recipe.model}"' + (
        f": {recipe.description}" if recipe.description else ""
    )
    show(
        title, header, rows, 4, recipe=recipe.name, model=recipe.model, describes=recipe.description
    )
