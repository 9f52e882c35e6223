"""`comp recipes`: list the recipes, or show one key by key."""

from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import complete_recipe, open_contest
from competition.cli.output import OutputCell, as_toml, help_epilog, show_table
from competition.core.commands import command_for
from competition.core.console import console
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.config.explain import ExplainedRecipe

# Keys that the list shows in a column of their own.
_OWN_COLUMN = {"kind", "scheme"}


@app.command(
    epilog=help_epilog(
        "comp recipes", "comp recipes c1", "comp recipes six-model.lightgbm.thresholds"
    )
)
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="A recipe to show key by key.", autocompletion=complete_recipe
        ),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """List the recipes, or show one key by key.

    The list shows what each recipe is for. Keys that a recipe does not set come from [overrides] and
    the preset of competition.toml.
    """
    from competition.config.explain import explain_recipe
    from competition.config.settings import load_settings, recipe_names

    space = Workspace.open(workspace)
    settings = load_settings(space)
    contest = open_contest(space)
    if name is not None:
        _show_one(explain_recipe(space, settings, contest, name))
        return

    explained = [explain_recipe(space, settings, contest, each) for each in recipe_names(space)]
    header: dict[str, str | None] = {
        "recipe": "recipe",
        "named": "in use",
        "describes": "what it is for",
        "predicts": None,
        "folds": None,
        "differs": None,
    }
    rows = [_row(each) for each in explained]
    show_table("Recipes", header, rows, left=3, preset=settings.preset)
    console.print(f"Show one key by key: {command_for('comp recipes NAME', workspace)}")
    console.print("Add your own: a file recipes/NAME.toml in the workspace.")


def _row(explained: "ExplainedRecipe") -> list[object]:
    recipe = explained.recipe

    # A pre-training predicts nothing and has no folds.
    predicts = getattr(recipe, "kind", recipe.model)
    folds = len(recipe.folds) if hasattr(recipe, "folds") else None

    changed = {key: value for key, value in explained.differing.items() if key not in _OWN_COLUMN}
    purpose = recipe.description or f'model = "{recipe.model}"'
    return [recipe.name, explained.named, purpose, predicts, folds, as_toml(changed)]


def _show_one(explained: "ExplainedRecipe") -> None:
    """Show a recipe key by key; keys that differ from the default are bold."""

    def cell(value: object, style: str) -> OutputCell:
        return OutputCell(value, style=style, text=as_toml(value).text)

    rows = []
    for key in explained.keys:
        style = "bold" if key.differs else ""
        default = cell(key.default, "dim") if key.differs else ""
        rows.append(
            [OutputCell(key.name, style=style), cell(key.value, style), key.source, default]
        )

    recipe = explained.recipe
    title = f'{recipe.name}, model = "{recipe.model}"'
    if recipe.description:
        title += f": {recipe.description}"
    header = {"key": "key", "value": "value", "source": "from", "default": "default"}
    show_table(
        title,
        header,
        rows,
        left=4,
        recipe=recipe.name,
        model=recipe.model,
        describes=recipe.description,
    )
