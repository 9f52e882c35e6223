"""TOML files read into frozen, typed models, with a sentence for what is wrong in them."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from competition.core.errors import InputError, did_you_mean, join_names

# What a value must be, in words of TOML.
_PLAIN = {
    "tuple_type": "it must be a list in brackets",
    "too_short": "it must not be empty",
    "model_type": "it must be a table",
    "dict_type": "it must be a table",
}


class StrictModel(BaseModel):
    """A table of TOML: nothing changes it, and it has no key but those that are named."""

    # What is part of another table is built with it, at the first use.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        # Python counts true as 1, and so would pydantic.
        values = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(each, bool) for each in values) and _takes_numbers(cls, info.field_name):
            raise ValueError("true and false are not numbers")
        return value


@cache
def _takes_numbers(model: type[BaseModel], key: str | None) -> bool:
    """Return whether a key is for numbers, or lists of them, but not for true and false."""
    parts = [model.model_fields[key or ""].annotation]
    for part in parts:
        parts += get_args(part)
    return (int in parts or float in parts) and bool not in parts


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
        # One fault at a time: others may follow from it, such as a missing key from a misspelled one.
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        first = faults[0]
        # Values of a list, and tables of one name, are counted as people do.
        key = ".".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])

        if first["type"] == "extra_forbidden":
            known = sorted(model.model_fields)
            hint = did_you_mean(key, known) or f", known are {join_names(known)}"
            raise InputError(f"{source}: unknown key {key!r}{hint}.") from None
        if first["type"] == "missing":
            raise InputError(f"{source}: the key {key!r} is missing.") from None

        reason = _PLAIN.get(first["type"], first["msg"].removeprefix("Value error, "))
        value = first["input"]
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        fault = f"{key} = {shown} does not fit: " if key else ""
        raise InputError(f"{source}: {fault}{reason}.") from None
