"""Keys of recipes that the competition decides: its defaults, and what it does not have."""

from pathlib import Path
from typing import Any

from competition.config.encoder_recipe import ORDERED_LOSSES, EncoderRecipe
from competition.config.keys import Spans
from competition.config.recipe import AnyRecipe, ImportedRecipe
from competition.core.errors import InputError, did_you_mean
from competition.scoring.contest import Contest, Locale
from competition.scoring.labels import PAPER


def default_keys(model: type[AnyRecipe], contest: Contest) -> dict[str, Any]:
    """Return the keys whose default is the contest's."""
    locales = contest.locales or (Locale(""),)
    defaults = {
        "kind": contest.default_kind,
        "field_order": next(iter(contest.field_orders)),
        "spans": {each.name: Spans.default(each.dense).model_dump() for each in locales},
    }
    return {key: value for key, value in defaults.items() if key in model.model_fields}


def fit_to_contest(content: dict[str, Any], contest: Contest) -> dict[str, Any]:
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


def check_names(recipe: AnyRecipe, contest: Contest, source: Path | str) -> None:
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
