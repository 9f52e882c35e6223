"""Keys and values under former names, which are read with a warning."""

from functools import cache
from pathlib import Path
from typing import Any

from competition.config.keys import FORMER_FEATURES
from competition.config.recipe import AnyRecipe
from competition.core.console import warn
from competition.core.errors import InputError


def rename_former_keys(
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
