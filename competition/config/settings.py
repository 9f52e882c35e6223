"""Recipes, presets and the workspace's `competition.toml`: TOML files read into frozen, typed models.

A recipe is a method (what is predicted, from which text, on which folds); a preset is a size
(encoder, lengths, steps). What a recipe finally is comes from, the later winning: defaults, `seed`
of competition.toml, the preset, the recipe's file, `[overrides]` of competition.toml. Recipes that
pre-train share keys with those that fine-tune, so they read the table `[pretraining]` of the preset
and of competition.toml instead. Recipes in `recipes/` of the workspace go before those that are
built in.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import Field

from competition.config.encoder_recipe import ORDERED_LOSSES, EncoderRecipe
from competition.config.keys import (
    FORMER_FEATURES,
    RUN_SEPARATOR,
    AuditKeys,
    AuditMethod,
    Spans,
    Tracker,
)
from competition.config.recipe import (
    RECIPE_TYPES,
    AnyRecipe,
    EnsembleRecipe,
    ImportedRecipe,
    Method,
    PretrainingRecipe,
)
from competition.config.variants import VariantFile, variant_name
from competition.core.console import warn
from competition.core.errors import InputError, did_you_mean, unknown_name
from competition.core.toml_files import StrictModel, build_model, read_toml
from competition.core.workspace import Workspace
from competition.scoring.contest import PAPER, Contest, Locale
from competition.scoring.definition import ESCI, load_contest

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
BUILT_IN = Path(__file__).parent / "recipes"


class Settings(StrictModel):
    """`competition.toml`: what this workspace trains, audits, blends and submits."""

    competition: str = ESCI  # a definition: one that comes with the package, or a file
    preset: str = "tiny"
    seed: int = 2022
    recipes: tuple[str, ...] = ("lexical", "c1", "r2", "t3")
    default_recipe: str = "c1"
    # Or several joined by `+`; empty: no audit but those that recipes ask for.
    noise_run: str = "c1"
    noise_fraction: float = Field(0.04, gt=0, lt=0.5)
    noise_method: AuditMethod = "prune_by_noise_rate"
    noise_per_label: bool = False
    noise_per_locale: bool = False
    noise_calibrated: bool = False
    noise_despite_doubts: bool = False
    ensembles: tuple[str, ...] = ("blend",)
    submission: dict[str, str] = Field(default_factory=dict)  # empty: `blend` for every task
    tracker: Tracker | None = None  # changes no result
    overrides: dict[str, Any] = Field(default_factory=dict)  # of the recipes that leave runs
    pretraining: dict[str, Any] = Field(default_factory=dict)  # overrides of those that pre-train

    @property
    def audit(self) -> AuditKeys:
        """The keys of the audit of labels."""
        return AuditKeys(**{key: getattr(self, f"noise_{key}") for key in AuditKeys.model_fields})


# --- reading


def load_settings(workspace: Workspace) -> Settings:
    """Read `competition.toml` of a workspace; raises InputError naming the key that is wrong."""
    settings, _ = read_settings(workspace)
    return settings


def read_settings(workspace: Workspace) -> tuple[Settings, Contest]:
    """Return the settings of a workspace, and the contest as the definition that they name states it.

    Raises:
        InputError: a key of competition.toml or of the definition is wrong.
    """
    source = workspace.settings_file
    settings = build_model(Settings, read_toml(source), source)
    contest = load_contest(settings.competition, workspace.paths_from)
    if not settings.submission:
        answers = dict.fromkeys(contest.tasks, "blend")
        settings = settings.model_copy(update={"submission": answers})

    trained = [model for model in RECIPE_TYPES.values() if model is not PretrainingRecipe]
    _check_overrides("overrides", settings.overrides, trained, source)
    _check_overrides("pretraining", settings.pretraining, [PretrainingRecipe], source)

    # Each key with a recipe that it names.
    recipes = recipe_names(workspace)
    named = [("recipes", name) for name in settings.recipes]
    named += [("ensembles", name) for name in settings.ensembles]
    named += [("noise_run", name) for name in settings.noise_run.split(RUN_SEPARATOR)]
    named += [("default_recipe", settings.default_recipe)]
    named += [("[submission]", name) for name in settings.submission.values()]

    for key, name in named:
        if name and not _is_known(name, recipes, contest):
            raise InputError(
                f"{source}: {key} names the unknown recipe {name!r}{did_you_mean(name, recipes)}."
            )

    for task in settings.submission:
        if task not in contest.tasks:
            raise InputError(
                f"{source}: unknown task {task!r} in [submission]{did_you_mean(task, contest.tasks)}."
            )
    return settings, contest


def _check_overrides(
    table: str, overrides: dict[str, Any], models: Sequence[type[AnyRecipe]], source: Path
) -> None:
    """Refuse a key that none of the recipes has which the table is for."""
    of_one_recipe = {"name", "model", "description"}
    known = set().union(*(model.model_fields for model in models)) - of_one_recipe
    former = {
        model.former_keys[key] for model in models for key in model.former_keys if key in known
    }

    for key in overrides:
        if key not in known | former:
            raise InputError(
                f"{source}: unknown key {key!r} in [{table}]{did_you_mean(key, known)}."
            )


def _rename_former(
    content: dict[str, Any], model: type[AnyRecipe], source: Path | str
) -> dict[str, Any]:
    """Return keys and values under today's names; what still has a former name is named in a warning, once."""
    today = {former: key for key, former in model.former_keys.items() if key in model.model_fields}
    renamed = {}

    for key, value in content.items():
        name = today.get(key, key)
        if name != key:
            _warn_renamed(source, key, name)
            if name in content:
                raise InputError(
                    f"{source}: {key} is the former name of {name}: remove one of them."
                )
        renamed[name] = value

    features = renamed.get("features")
    if isinstance(features, list):
        values = {former: value for value, former in FORMER_FEATURES.items()}
        for former in set(values).intersection(map(str, features)):
            _warn_renamed(source, former, values[former])
        renamed["features"] = [
            values.get(each, each) if isinstance(each, str) else each for each in features
        ]
    return renamed


@cache
def _warn_renamed(source: Path | str, former: str, name: str) -> None:
    """Warn of a former name, once for each file."""
    warn(
        f"{source}: {former!r} is now called {name!r}: rename it, the next release will not know {former!r}."
    )


def override_audit_keys(settings: Settings, options: dict[str, Any]) -> AuditKeys:
    """Return the audit keys of competition.toml, put over by `options` that are not None."""
    given = {key: value for key, value in options.items() if value is not None}
    return build_model(AuditKeys, settings.audit.model_dump() | given, "comp cleanlab")


def _is_known(name: str, recipes: Collection[str], contest: Contest) -> bool:
    """Return whether there is a recipe of that name, or one that it is a run or a variant of."""
    # `blend-task1` is the run of the ensemble `blend` that answers task 1.
    if name not in recipes:
        name, _ = contest.split_run(name)

    # `blend.greedy.without-c1` is a variant of a variant of `blend`.
    while name not in recipes and "." in name:
        name, _, _ = name.rpartition(".")
    return name in recipes


def recipe_names(workspace: Workspace) -> list[str]:
    """Return every recipe that can be named here: the workspace's own and the built-in ones."""
    folders = (workspace.recipe_folder, BUILT_IN)
    return sorted(
        {path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.toml")}
    )


def _find(workspace: Workspace, name: str) -> Path:
    for folder in (workspace.recipe_folder, BUILT_IN):
        path = folder / f"{name}.toml"

        # A name with a slash would lead to another folder.
        if path.is_file() and path.parent == folder:
            return path

    raise unknown_name("recipe", name, recipe_names(workspace))


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


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of both, those of `above` winning; tables within are merged, too."""
    merged = below | above

    for key, table in above.items():
        if isinstance(table, dict) and isinstance(below.get(key), dict):
            merged[key] = _merge(below[key], table)
    return merged


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

    keys: dict[str, dict[str, Any]] = {}
    if "seed" in model.model_fields:
        keys[workspace.settings_file.name] = {"seed": settings.seed}
    if model in (EncoderRecipe, PretrainingRecipe):
        keys[f"preset {settings.preset}"] = _size(
            workspace, settings, contest, model is PretrainingRecipe
        )
    keys[f"recipes/{path.name}"] = _rename_former(own, model, path)

    # A table is for several models: a recipe takes the keys that it has.
    table = "pretraining" if model is PretrainingRecipe else "overrides"
    overrides = {
        key: value for key, value in getattr(settings, table).items() if key not in model.own_keys
    }
    overrides = _rename_former(overrides, model, f"{workspace.settings_file}, [{table}]")
    keys[f"[{table}]"] = {
        key: value for key, value in overrides.items() if key in model.model_fields
    }
    return Layers(model, path, keys)


def add_changes(layers: Layers, changes: dict[str, Any], source: str) -> Layers:
    """Return layers with changes above all others; raises InputError for a key that is none to change."""
    for key in ("name", "model", "base"):
        if key in changes:
            raise InputError(f"{source}: {key!r} is not a key to set: write a recipe of your own.")

    renamed = _rename_former(changes, layers.model, source)
    return replace(layers, changes=(*layers.changes, (source, renamed)))


def load_recipe(workspace: Workspace, settings: Settings, contest: Contest, name: str) -> AnyRecipe:
    """Return the recipe called `name` with everything resolved; raises InputError for an unknown name, key or value."""
    base, _, variant = name.rpartition(".")
    if base and name not in recipe_names(workspace):
        varied = load_recipe(workspace, settings, contest, base)
        if isinstance(varied, EnsembleRecipe):
            return _vary(varied, variant, settings)

    layers = read_layers(workspace, settings, contest, name)
    return resolve(layers, name, workspace, contest)


def resolve(layers: Layers, name: str, workspace: Workspace, contest: Contest) -> AnyRecipe:
    """Return the recipe called `name` of these layers; raises InputError for an unknown key or value."""
    *below, (table, overridden) = layers.keys.items()
    content: dict[str, Any] = {"name": name} | _defaults(layers.model, contest)
    for _, keys in below:
        content = _merge(content, keys)
    if layers.path.parent == BUILT_IN:
        content = _fitted(content, contest)

    source: Path | str = layers.path
    if overridden:
        # A fault of the recipe's own file is blamed on it, not on the overrides.
        build_model(layers.model, content, source)
        source = f"{workspace.settings_file}, {table} on the recipe {name!r}"

    content = _merge(content, overridden)
    recipe = build_model(layers.model, content, source)
    _check_names(recipe, contest, source)

    for source, changes in layers.changes:
        content = _merge(content, changes)
        recipe = build_model(layers.model, content, source)
        _check_names(recipe, contest, source)
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


def _defaults(model: type[AnyRecipe], contest: Contest) -> dict[str, Any]:
    """Return the keys whose default is the contest's."""
    locales = contest.locales or (Locale(""),)
    defaults = {
        "kind": contest.default_kind,
        "field_order": next(iter(contest.field_orders)),
        "spans": {each.name: Spans.default(each.dense).model_dump() for each in locales},
    }
    return {key: value for key, value in defaults.items() if key in model.model_fields}


def _fitted(content: dict[str, Any], contest: Contest) -> dict[str, Any]:
    """Return the keys of a recipe that comes with the package, without names that are ESCI's alone."""
    fitted = dict(content)
    if "features" in content:
        known = (*contest.categories, "country", "char_trigrams")
        fitted["features"] = [name for name in content["features"] if name in known]
    if fitted.get("field_order", "") not in ("", *contest.field_orders):
        fitted["field_order"] = next(iter(contest.field_orders))
    if fitted.get("kind") == "classes" and "classes" not in contest.kinds:
        fitted["kind"] = contest.default_kind
    return fitted


def _check_names(recipe: AnyRecipe, contest: Contest, source: Path | str) -> None:
    """Refuse a key that names what the contest does not have."""
    known = {
        "kind": [
            name
            for name, kind in contest.kinds.items()
            if kind.role != "score" or isinstance(recipe, ImportedRecipe)
        ],
        "field_order": list(contest.field_orders),
        "rows": ["all", *contest.tasks],
        "features": [*contest.categories, "country", "char_trigrams"],
        "spans": list(contest.locale_names),
    }
    for key, names in known.items():
        value = getattr(recipe, key, ())
        for each in (value,) if isinstance(value, str) else value:
            if each not in names:
                raise InputError(
                    f"{source}: {key} = {each!r} is unknown in the competition {contest.name!r}"
                    f"{did_you_mean(each, names)}: known are {', '.join(names)}."
                )

    if not isinstance(recipe, EncoderRecipe):
        return
    if recipe.ranking_loss != "none":
        gains = contest.labels.gains.get(PAPER, ())
        if contest.ranking is None or (gains and min(gains) == max(gains)):
            raise InputError(
                f"{source}: ranking_loss = {recipe.ranking_loss!r} orders rows by their gain, by which the "
                f"competition {contest.name!r} ranks nothing: leave it out."
            )
    if recipe.loss not in ORDERED_LOSSES:
        return
    if not (contest.labels.values and recipe.kind == "classes"):
        raise InputError(
            f"{source}: loss = {recipe.loss!r} learns classes in their order, and kind = {recipe.kind!r} of the "
            f"competition {contest.name!r} has none: take another loss, or write `ordered = true` in [labels]."
        )
