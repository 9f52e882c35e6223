"""TOML files read into frozen, typed models, with a sentence for what is wrong in them."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from competition.core.errors import InputError, did_you_mean


class StrictModel(BaseModel):
    """A table of TOML: nothing changes it, and it has no key but those that are named."""

    # What is part of another table is built with it, at the first use.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


Model = TypeVar("Model", bound=StrictModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises InputError where it is malformed."""
    try:
        # Some editors begin a file with a byte order mark.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise InputError(f"{path} is not valid TOML: it is not UTF-8, save it so.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML: {error}.") from None


def build_model(model: type[Model], content: dict[str, Any], source: Path | str) -> Model:
    """Return the model with this content; raises InputError naming the source and the key that is wrong."""
    try:
        return model(**content)
    except ValidationError as error:
        # One fault at a time: others may follow from it.
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])

        if first["type"] == "extra_forbidden":
            hint = did_you_mean(key, model.model_fields)
            raise InputError(f"{source}: unknown key {key!r}{hint}.") from None

        fault = f"{key} = {first['input']!r} does not fit" if key else "two keys do not fit"
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{source}: {fault}: {reason}.") from None
