"""`comp train`: train a recipe on its folds."""

from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.dry_run import show_dry_run
from competition.cli.options import complete_recipe, open_contest, parse_tracker
from competition.cli.output import help_epilog, show_table
from competition.core.console import console, warn
from competition.core.errors import CompError, InputError, join_names
from competition.core.workspace import ALL_ROWS, Workspace

if TYPE_CHECKING:
    from competition.config.loading import VariedRecipe
    from competition.pipeline.execute import Step
    from competition.pipeline.steps import Pipeline


@app.command(
    epilog=help_epilog(
        "comp train",
        "comp train --fold 0",
        "comp train --recipe c1 --set learning_rate=3e-5 --set epochs=3",
        "comp train --recipe t3 --all",
        "comp train --recipe r1 --fold 2 --dry-run",
    )
)
def train(
    fold: Annotated[
        int | None, typer.Option(help="Train this fold only; default: every fold that is missing.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="The recipe; default: default_recipe of competition.toml.",
            autocompletion=complete_recipe,
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a key of the recipe; may be repeated. The changed recipe gets a name and a run of its own.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Estimate time and memory on this device; write nothing.",
        ),
    ] = False,
    all_rows: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Train one model on all training rows, for `comp predict`; it has no score of its own.",
        ),
    ] = False,
    tracker: Annotated[
        str | None,
        typer.Option(
            help="Also log to tensorboard, mlflow or wandb; default: tracker of competition.toml."
        ),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Train a recipe fold by fold.

    The predictions of the held-out rows go to oof/RECIPE/, and their scores are shown. With --set, the
    recipe and its run stay as they are: the changed one is written to recipes/RECIPE-KEY=VALUE.toml.
    """
    from competition.pipeline.execute import execute, in_order, unmet_sentence
    from competition.pipeline.steps import Pipeline

    space = Workspace.open(workspace)
    if all_rows and (dry_run or fold is not None):
        raise InputError(
            "--all trains one model on the rows of every fold: it cannot be combined with --fold or --dry-run."
        )

    chosen = parse_tracker(tracker) if tracker is not None else None
    name, variant = _vary(space, recipe, changes or [])
    added = {} if variant is None else {name: variant.recipe}
    pipeline = Pipeline(space, added, tracker=chosen)

    # The file of a changed recipe is written once its plan refuses nothing, and what it learns from is there.
    steps = pipeline.all_rows_steps(name) if all_rows else pipeline.recipe_steps(name, fold)
    unmet = unmet_sentence(in_order(steps))
    if unmet and not dry_run:
        raise CompError(unmet)
    if variant is not None:
        _name_file(space, variant, write=not dry_run)
    if dry_run:
        if unmet:
            warn(unmet)
        show_dry_run(pipeline, name, fold)
        return
    if all_rows:
        _train_all(pipeline, name, steps)
        return

    made = execute(space, steps)
    trained = f"{name}, all folds" if fold is None else f"{name}, fold {fold}"
    console.print(f"{trained}: {_outcome(bool(made))}. Files: {space.run(name)}")
    _show_scores(pipeline, name, fold)


def _vary(
    space: Workspace, recipe: str | None, options: list[str]
) -> tuple[str, "VariedRecipe | None"]:
    """Return the name of the recipe to train, and the changed recipe where options change keys of it.

    Args:
        space: whose recipe.
        recipe: its name; None for the default one.
        options: `key=value` each.
    """
    from competition.config.encoder_recipe import EncoderRecipe
    from competition.config.loading import vary_recipe
    from competition.config.recipe import LexicalRecipe
    from competition.config.settings import load_settings
    from competition.config.variants import parse_changes

    settings = load_settings(space)
    name = recipe or settings.default_recipe
    if not options:
        return name, None

    variant = vary_recipe(space, settings, open_contest(space), name, parse_changes(options))
    if variant.recipe.name == name:
        console.print(f"{name} has these values already: nothing is changed.")
        return name, None

    if not isinstance(variant.recipe, EncoderRecipe | LexicalRecipe):
        raise InputError(
            f"--set changes recipes that are trained on folds, {name!r} is not one: write a recipe of your own."
        )
    unused = sorted(variant.recipe.unused_keys() & variant.changes.keys())
    fields = type(variant.recipe).model_fields
    # One that is back at its default switches something off, which is a change.
    if idle := [key for key in unused if getattr(variant.recipe, key) != fields[key].default]:
        warn(f"{join_names(idle)} changes nothing here: what it belongs to is switched off.")
    return variant.recipe.name, variant


def _name_file(space: Workspace, variant: "VariedRecipe", write: bool) -> None:
    """Write the file of a changed recipe, unless it is there, or say where it would be."""
    from competition.config.variants import write_variant

    name = variant.recipe.name
    where = f"would be {space.recipe_folder / name}.toml"
    if write:
        where = str(write_variant(space, name, variant.base, variant.changes))
    console.print(f"{variant.base} with other keys is the recipe {name}: {where}")


def _outcome(made: bool) -> str:
    return "done" if made else "nothing to do, everything is up to date"


def _train_all(pipeline: "Pipeline", name: str, steps: "list[Step]") -> None:
    """Train one model on all training rows; it is not scored."""
    from competition.config.encoder_recipe import EncoderRecipe
    from competition.pipeline.execute import execute

    recipe, space = pipeline.recipes.member(name), pipeline.workspace
    made = execute(space, steps)
    folder = space.model(name, ALL_ROWS)
    console.print(f"{name}, all training rows: {_outcome(bool(made))}. Files: {folder}")
    console.print(
        "No row was held out, so this model has no score of its own: use the score of the folds as an estimate."
    )
    if isinstance(recipe, EncoderRecipe) and recipe.weights == "best":
        console.print(
            'weights = "best" needs held-out rows: this model keeps the weights of its last epoch.'
        )


def _show_scores(pipeline: "Pipeline", name: str, fold: int | None) -> None:
    """Show the scores of a recipe on the held-out rows of one fold, or of all."""
    import pandas as pd

    from competition.core.parquet import read_table
    from competition.scoring import evaluation
    from competition.scoring.basis import describe_basis
    from competition.scoring.collapse import constant_folds

    plan, examples = pipeline.plan.run(name), pipeline.tables.examples
    folds = plan.folds if fold is None else [fold]
    of_folds = {
        k: read_table(pipeline.workspace.oof_fold(name, k), plan.parts[k][0]) for k in folds
    }

    # Outputs that are the same for every text are a failed training, whatever their score.
    for sentence in constant_folds(name, plan.kind, of_folds.items(), examples):
        warn(sentence)

    outputs = pd.concat(of_folds.values())
    held_out = examples[examples["example_id"].isin(outputs["example_id"])]
    rows = []
    for task in (pipeline.plan.contest.tasks[task] for task in plan.tasks):
        if not evaluation.graded_rows(task, held_out).empty:
            counts = evaluation.count_outputs(task, plan.kind, outputs, held_out)
            for metric, groups in evaluation.estimate_metrics(counts).items():
                rows += [
                    [task.name, metric, group, e.queries, e, plan.basis]
                    for group, e in groups.items()
                ]

    header: dict[str, str | None] = {
        "task": "task",
        "metric": "metric",
        "group": "group",
        "queries": "queries",
        "score": "score [95 %]",
        "basis": None,
    }
    title = f"{name} on held-out rows"
    show_table(title, header, rows, left=3, recipe=name, folds=list(folds))
    if plan.label_paths:
        console.print(f"These scores are {describe_basis(plan.label_paths)}.")
