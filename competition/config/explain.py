"""Recipes explained: the value of each key, where it comes from, and what differs from the default."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from competition.config.loading import load_recipe, read_layers
from competition.config.recipe import AnyRecipe
from competition.config.settings import Settings, recipe_names
from competition.core.workspace import Workspace
from competition.scoring.contest import Contest

DEFAULT = "default"
_HEADING = {"name", "description", "model"}  # shown beside the keys


@dataclass(frozen=True)
class ExplainedKey:
    """One key of a resolved recipe. The default is what it would be by the preset and `seed` of competition.toml."""

    name: str
    value: Any
    default: Any
    source: str  # a file, a table or the preset; DEFAULT where nothing names the key

    @property
    def differs(self) -> bool:
        """True where the recipe or an override makes it another than the default."""
        return bool(self.value != self.default)


@dataclass(frozen=True)
class ExplainedRecipe:
    """A recipe, key by key."""

    recipe: AnyRecipe
    keys: Sequence[ExplainedKey]
    named: bool  # whether competition.toml names it

    @property
    def differing(self) -> dict[str, Any]:
        """The keys that somebody set to another value than the default."""
        return {key.name: key.value for key in self.keys if key.differs and key.source != DEFAULT}


def explain_recipe(
    workspace: Workspace, settings: Settings, contest: Contest, name: str
) -> ExplainedRecipe:
    """Return a recipe, or a variant of an ensemble, key by key; raises InputError as `load_recipe` does."""
    recipe = load_recipe(workspace, settings, contest, name)
    base = name
    while base not in recipe_names(workspace):
        base, _, _ = base.rpartition(".")

    # The default is what the recipe would be without its own file and the overrides.
    layers = read_layers(workspace, settings, contest, base)
    *shared, _, _ = layers.keys.items()
    plain: dict[str, Any] = {"name": name}
    for _, content in shared:
        plain |= content
    default = layers.model(**plain).model_dump(mode="json")

    # A key of which a variant makes another than its base comes from the variant.
    before = load_recipe(workspace, settings, contest, base).model_dump(mode="json")
    sources = {key: source for source, content in layers.keys.items() for key in content}
    sources |= {
        key: f"recipes/{Path(source).name} [set]" for source, keys in layers.changes for key in keys
    }
    variant = f"variant {name.removeprefix(base)}"
    keys = []

    for key, value in recipe.model_dump(mode="json", exclude=_HEADING).items():
        source = sources.get(key, DEFAULT) if value == before[key] else variant
        keys.append(ExplainedKey(key, value, default[key], source))

    return ExplainedRecipe(recipe, keys, name in (*settings.recipes, *settings.ensembles))
