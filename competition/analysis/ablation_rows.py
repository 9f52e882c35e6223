"""The recipes of an ablation's rows: what each changes in the recipe that they start from."""

from typing import Any

from competition.config.ablation_tables import FIRST_ROW, ROLES, AblationRow, NamedTable
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.loading import change_recipe
from competition.config.recipe import LexicalRecipe, MemberRecipe, PretrainingRecipe
from competition.core.errors import InputError
from competition.core.toml_files import build_model
from competition.pipeline.plan import Plan
from competition.pipeline.recipes import Recipes


def ablation_run_name(
    named: NamedTable, base: MemberRecipe, row: str, seed: int, nested: bool = False
) -> str:
    """Return the name of the run of a row with one seed."""
    return f"{named.prefix}-{base.name}-{row}{'-nested' if nested else ''}-{seed}"


def row_recipe(
    plan: Plan,
    named: NamedTable,
    row: AblationRow,
    base: MemberRecipe,
    seed: int,
    nested: bool,
    encoder: str | None = None,
) -> MemberRecipe:
    """Return the recipe of a row with one seed.

    Args:
        plan: of the workspace.
        named: the table.
        row: what it differs in.
        base: what it differs from.
        seed: its only seed.
        nested: whether what it learns from has not seen the scored fold.
        encoder: that it starts from, if not that of `base`.

    Raises:
        InputError: a key or value of the row is wrong.
    """
    first_run = ablation_run_name(named, base, named.table.row[0].name, seed)
    nested = nested and FIRST_ROW in row.set.values()
    changes = {key: first_run if value == FIRST_ROW else value for key, value in row.set.items()}

    fixed: dict[str, Any] = {"seed": seed}
    if nested:
        fixed["nested"] = True
    # Seeds are runs of their own here, not averaged within one.
    if isinstance(base, EncoderRecipe):
        fixed["seeds"] = ()
    if encoder is not None:
        fixed["encoder"] = encoder

    source = f"{named.source}, row {row.name!r}"
    name = ablation_run_name(named, base, row.name, seed, nested)
    recipe = change_recipe(
        plan.workspace, plan.settings, plan.contest, base.name, name, changes, source, fixed
    )
    assert isinstance(recipe, type(base))  # no row changes the model
    return recipe


def row_pretraining(
    start: PretrainingRecipe, named: NamedTable, row: AblationRow, seed: int
) -> PretrainingRecipe:
    """Return the pre-training of a row with one seed: what it changes in `start`; raises InputError for a wrong key."""
    identity = {"name": f"{named.prefix}-{start.name}-{row.name}-{seed}", "seed": seed}
    source = f"{named.source}, row {row.name!r}, pretraining"
    return build_model(
        PretrainingRecipe, start.model_dump() | (row.pretraining or {}) | identity, source
    )


def base_recipe(recipes: Recipes, named: NamedTable, recipe: str) -> MemberRecipe:
    """Return the recipe that the rows of a table differ from.

    Raises:
        InputError: it is not trained on folds, or, of a table about roles of tasks, it does not
            answer the first of them in this workspace.
    """
    table = named.table
    if not table.tasks or table.tasks[0] not in ROLES:
        return recipes.member(recipe)

    base = recipes.run(recipe)
    any_model = table.learns or named.own
    models = EncoderRecipe | LexicalRecipe if any_model else EncoderRecipe
    task = recipes.contest.representative(table.tasks[0])
    if task is None:
        raise InputError(
            f"The table {named.name!r} is about telling one label from the others, for which the competition "
            f"{recipes.contest.name!r} has no task: take another table."
        )
    if not isinstance(base, models) or recipes.kind_of(base).primary != task.name:
        model = "a model" if any_model else "an encoder"
        own = recipe == table.recipe
        fix = f"rename the workspace's own {recipe}.toml" if own else "name another"
        raise InputError(
            f"The table {named.name!r} starts from the recipe {recipe!r}, which must be {model} made for {task.name}: "
            f"{fix}."
        )
    return base
