"""The layers that a recipe is merged from, TOML files all.

A recipe is a method (what is predicted, from which text, on which folds); a preset is a size
(encoder, lengths, steps). What a recipe finally is comes from, the later winning: defaults, `seed`
of competition.toml, the preset, the recipe's file, `[overrides]` of competition.toml, and what a
command or a variant changes. Recipes that pre-train share keys with those that fine-tune, so they
read the table `[pretraining]` of the preset and of competition.toml instead.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from competition.config.contest_keys import check_names, default_keys, fit_to_contest
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.former_keys import rename_former_keys
from competition.config.recipe import (
    RECIPE_TYPES,
    AnyRecipe,
    EnsembleRecipe,
    Method,
    PretrainingRecipe,
)
from competition.config.settings import BUILT_IN, Settings, recipe_names
from competition.config.variants import VariantFile, variant_name
from competition.core.errors import InputError, did_you_mean, unknown_name
from competition.core.toml_files import build_model, read_toml
from competition.core.workspace import Workspace
from competition.scoring.contest import Contest, Locale

# `NAME.VARIANT` is the ensemble NAME with these keys; `NAME.without-MEMBER` leaves a member out.
# They may be chained.
VARIANTS: dict[str, dict[str, Any]] = {
    method: {"method": method} for method in get_args(Method)
} | {
    "likelihood": {"objective": "likelihood"},
    "rank": {"space": "rank"},
    "per-locale": {"per_locale": True},
    "no-text": {"text": False},
    "leaky": {"leaky": True},
    "nested": {"nested": True},
    "can": {"can": True},
    "thresholds": {"thresholds": "micro-F1"},
}
WITHOUT = "without-"


def load_recipe(workspace: Workspace, settings: Settings, contest: Contest, name: str) -> AnyRecipe:
    """Return the recipe called `name` with everything resolved; raises InputError for an unknown name, key or value."""
    base, dot, variant = name.rpartition(".")
    known = recipe_names(workspace) if dot else []
    # A name may have a dot of its own, such as that of a learning rate.
    varies = variant in VARIANTS or any(name.startswith(f"{other}.") for other in known)
    if dot and varies and name not in known:
        varied = load_recipe(workspace, settings, contest, base)
        if isinstance(varied, EnsembleRecipe):
            return _vary(varied, variant, settings)

    layers = read_layers(workspace, settings, contest, name)
    return resolve(layers, name, workspace, contest)


def _vary(recipe: EnsembleRecipe, variant: str, settings: Settings) -> EnsembleRecipe:
    """Return the ensemble with the keys of a variant."""
    members = recipe.members or settings.recipes
    left_out = variant.removeprefix(WITHOUT)
    known = [*VARIANTS, *(WITHOUT + member for member in members)]
    if variant not in known:
        raise unknown_name(f"{recipe.name} variant", variant, known)

    others = tuple(member for member in members if member != left_out)
    changes = VARIANTS.get(variant) or {"members": others}
    if not changes.get("members", members):
        raise InputError(f"{recipe.name}.{variant} has no member left.")

    content = recipe.model_dump() | changes | {"name": f"{recipe.name}.{variant}"}
    return EnsembleRecipe(**content)


@dataclass(frozen=True)
class Layers:
    """The layers that a recipe is merged from: where keys stand -> keys, the later winning.

    The last are the overrides of competition.toml. `changes` go before all of them.
    """

    model: type[AnyRecipe]
    path: Path  # of the recipe's own file, or of the one that it varies
    keys: dict[str, dict[str, Any]]
    # Of a recipe that varies another, see `config/variants.py`: where they stand, and the keys.
    changes: tuple[tuple[str, dict[str, Any]], ...] = ()


def read_layers(
    workspace: Workspace,
    settings: Settings,
    contest: Contest,
    name: str,
    above: tuple[str, ...] = (),
) -> Layers:
    """Read the layers of a recipe.

    Args:
        workspace: whose recipe.
        settings: that override it.
        contest: that it takes part in.
        name: of the recipe.
        above: the recipes that vary it, the first one first.

    Raises:
        InputError: an unknown name or model, a name that is not allowed, or a recipe that varies
            itself.
    """
    path = _find(workspace, name)
    own = read_toml(path)

    if "name" in own:
        raise InputError(f"{path}: the key 'name' is not allowed, the file's name is it.")
    if contest.split_run(name)[1]:
        raise InputError(
            f"{path}: a recipe's name must not end like an ensemble's run ({name!r}): rename the file."
        )

    if "base" in own:
        variant = build_model(VariantFile, own, path)
        if variant.base in (*above, name):
            raise InputError(f"{path}: the recipe varies itself: name another as `base`.")
        base = read_layers(workspace, settings, contest, variant.base, (*above, name))
        return add_changes(base, variant.keys, str(path))

    model = RECIPE_TYPES.get(str(own.get("model", "encoder")))
    if model is None:
        raise InputError(
            f"{path}: model = {own['model']!r} is not one of {', '.join(RECIPE_TYPES)}."
        )
    return Layers(model, path, _stack_keys(workspace, settings, contest, model, path, own))


def _stack_keys(
    workspace: Workspace,
    settings: Settings,
    contest: Contest,
    model: type[AnyRecipe],
    path: Path,
    own: dict[str, Any],
) -> dict[str, dict[str, Any]]:
    """Return where the keys of a recipe stand -> these keys: its `own`, and what lies below and above them."""
    keys: dict[str, dict[str, Any]] = {}
    if "seed" in model.model_fields:
        keys[workspace.settings_file.name] = {"seed": settings.seed}
    if model in (EncoderRecipe, PretrainingRecipe):
        keys[f"preset {settings.preset}"] = _size(
            workspace, settings, contest, model is PretrainingRecipe
        )
    keys[f"recipes/{path.name}"] = rename_former_keys(own, model, path)

    # A table is for several models: a recipe takes the keys that it has.
    table = "pretraining" if model is PretrainingRecipe else "overrides"
    overrides = {
        key: value for key, value in getattr(settings, table).items() if key not in model.own_keys
    }
    overrides = rename_former_keys(overrides, model, f"{workspace.settings_file}, [{table}]")
    keys[f"[{table}]"] = {
        key: value for key, value in overrides.items() if key in model.model_fields
    }
    return keys


def add_changes(layers: Layers, changes: dict[str, Any], source: str) -> Layers:
    """Return layers with changes above all others; raises InputError for a key that is none to change."""
    for key in ("name", "model", "base"):
        if key in changes:
            raise InputError(f"{source}: {key!r} is not a key to set: write a recipe of your own.")

    renamed = rename_former_keys(changes, layers.model, source)
    return replace(layers, changes=(*layers.changes, (source, renamed)))


def resolve(layers: Layers, name: str, workspace: Workspace, contest: Contest) -> AnyRecipe:
    """Return the recipe called `name` of these layers; raises InputError for an unknown key or value."""
    *below, (table, overridden) = layers.keys.items()
    content: dict[str, Any] = {"name": name} | default_keys(layers.model, contest)
    for _, keys in below:
        content = _merge(content, keys)
    if layers.path.parent == BUILT_IN:
        content = fit_to_contest(content, contest)

    source: Path | str = layers.path
    if overridden:
        # A fault of the recipe's own file is blamed on it, not on the overrides.
        build_model(layers.model, content, source)
        source = f"{workspace.settings_file}, {table} on the recipe {name!r}"

    content = _merge(content, overridden)
    recipe = build_model(layers.model, content, source)
    check_names(recipe, contest, source)

    for source, changes in layers.changes:
        content = _merge(content, changes)
        recipe = build_model(layers.model, content, source)
        check_names(recipe, contest, source)
    return recipe


def change_recipe(
    workspace: Workspace,
    settings: Settings,
    contest: Contest,
    base: str,
    name: str,
    changes: dict[str, Any],
    source: str,
    fixed: dict[str, Any] | None = None,
) -> AnyRecipe:
    """Return the recipe `base` with some keys changed, under another name.

    Args:
        workspace: whose recipe.
        settings: that override it, but not its changes.
        contest: that it takes part in.
        base: the recipe.
        name: of the changed one.
        changes: keys and values that somebody wrote.
        source: where they stand, for messages.
        fixed: keys and values that go before the changes.

    Raises:
        InputError: an unknown recipe, key or value.
    """
    layers = add_changes(read_layers(workspace, settings, contest, base), changes, source)
    layers = replace(layers, changes=(*layers.changes, (source, fixed or {})))
    return resolve(layers, name, workspace, contest)


@dataclass(frozen=True)
class VariedRecipe:
    """A recipe with some keys changed, as it is and as its file says it."""

    recipe: AnyRecipe
    base: str
    changes: dict[str, Any]


def vary_recipe(
    workspace: Workspace,
    settings: Settings,
    contest: Contest,
    name: str,
    changes: dict[str, Any],
    source: str = "--set",
) -> VariedRecipe:
    """Return a recipe with some keys changed, under a name made of these; as it is where nothing differs.

    `source` is where the changes stand, for messages.

    Raises:
        InputError: an unknown recipe, key or value.
    """
    # A recipe that varies another is varied from there, so that one method has one name.
    base = name
    own = read_toml(_find(workspace, name))
    if "base" in own:
        base = str(own["base"])
        changes = _merge(own.get("set", {}), changes)

    layers = add_changes(read_layers(workspace, settings, contest, base), changes, source)
    changes = layers.changes[-1][1]
    varied = resolve(layers, variant_name(base, changes), workspace, contest)
    before = load_recipe(workspace, settings, contest, name)
    if varied.model_copy(update={"name": name}) == before:
        return VariedRecipe(before, base, changes)
    return VariedRecipe(varied, base, changes)


def _find(workspace: Workspace, name: str) -> Path:
    """Return the file of a recipe; raises InputError naming those that there are."""
    for folder in (workspace.recipe_folder, BUILT_IN):
        path = folder / f"{name}.toml"

        # A name with a slash would lead to another folder.
        if path.is_file() and path.parent == folder:
            return path

    raise unknown_name("recipe", name, recipe_names(workspace))


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of both, those of `above` winning; tables within are merged, too."""
    merged = below | above

    for key, table in above.items():
        if isinstance(table, dict) and isinstance(below.get(key), dict):
            merged[key] = _merge(below[key], table)
    return merged


def _preset(name: str, source: Path) -> dict[str, Any]:
    path = BUILT_IN / "presets" / f"{name}.toml"
    known = sorted(p.stem for p in path.parent.glob("*.toml"))
    if name not in known:
        raise InputError(
            f"{source}: there is no preset {name!r}{did_you_mean(name, known)}: known are {', '.join(known)}."
        )

    return read_toml(path)


def _size(
    workspace: Workspace, settings: Settings, contest: Contest, pretrains: bool
) -> dict[str, Any]:
    """Return the keys of the preset for a recipe that fine-tunes, or for one that pre-trains."""
    preset = _preset(settings.preset, workspace.settings_file)
    of_pretraining: dict[str, Any] = preset.pop("pretraining")
    if not pretrains:
        return preset

    # A preset knows no locale: scripts of words have them whole.
    if of_pretraining.pop("whole_words", False):
        scripts = [each.name for each in contest.locales or (Locale(""),) if not each.dense]
        of_pretraining["spans"] = {name: {"whole_words": True} for name in scripts}

    # It starts from what recipes would start from without it.
    named = str(settings.overrides.get("encoder", ""))
    start = preset["encoder"] if named in ("", *recipe_names(workspace)) else named
    return {"encoder": start} | of_pretraining
