"""Search spaces of recipes: TOML files that say which values each key may take.

    [keys]
    num_leaves = [7, 15, 31]                                  # one of a list
    learning_rate = { low = 0.01, high = 0.2, log = true }    # numbers in a range
    n_estimators = { low = 50, high = 400, step = 50 }        # integers where both ends are
    lora.rank = [8, 16]                                       # a key of a table

The spaces of `spaces/` come with the package, one for each model that is trained.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from competition.core.errors import InputError, did_you_mean
from competition.core.toml_files import StrictModel, build_model, read_toml

SPACES = Path(__file__).parent / "spaces"
Changes = Mapping[str, Any]  # flat: `learning_rate`, `lora.rank` -> value

_MOST = 1e15  # of a number in a range: whole ones are exact up to there
_PAIRS = 5_000  # of changes that are checked together
_DIGITS = 3  # significant ones of a number without a step: finer differences change nothing


class Range(StrictModel):
    """The numbers from `low` to `high`, both included; with `log`, equal ratios are equally likely."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @field_validator("low", "high", "step", mode="before")
    @classmethod
    def _is_a_number(cls, value: object) -> object:
        # A number of Python has any length, those of Optuna have 64 bits.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST:
            raise ValueError(f"it must be a number of at most {_MOST:g}")
        return value

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log goes with a low above 0, and without a step")
        if self.step is not None:
            steps = (self.high - self.low) / self.step if self.step > 0 else 0.0
            if round(steps) < 1 or abs(steps - round(steps)) > 1e-6:
                raise ValueError("from low to high there must be whole steps")
        return self

    @property
    def integers(self) -> bool:
        """True where both ends, and the step if there is one, are integers."""
        ends = (self.low, self.high, 1 if self.step is None else self.step)
        return all(isinstance(each, int) for each in ends)

    def value(self, drawn: float) -> int | float:
        """Return what a recipe gets for a number that was drawn: few digits, so that it can be read."""
        if self.integers:
            return int(drawn)
        few = round(float(drawn), 12) if self.step is not None else float(f"{drawn:.{_DIGITS}g}")
        # An end of many digits would be rounded to a number outside.
        return min(max(few, float(self.low)), float(self.high))


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]


class _SpaceFile(StrictModel):
    description: str = ""
    keys: dict[str, Any] = Field(min_length=1)


@dataclass(frozen=True)
class SearchSpace:
    """What each key may be; keys of tables are flat, such as `lora.rank`."""

    source: Path
    keys: dict[str, Range | Choice]

    @property
    def corners(self) -> list[dict[str, Any]]:
        """Changes of one key each that a recipe must be able to take: every value of a list, both ends of a range."""
        found = []
        for key, values in self.keys.items():
            ends = values.values if isinstance(values, Choice) else (values.low, values.high)
            found += [{key: value} for value in ends]
        return found

    @property
    def pairs(self) -> list[dict[str, Any]]:
        """Changes of two keys each that a recipe must be able to take, at most 5,000."""
        found = (
            first | second
            for first, second in combinations(self.corners, 2)
            if first.keys() != second.keys()
        )
        return list(islice(found, _PAIRS))


def load_space(model: str, known: Collection[str], file: Path | None) -> SearchSpace:
    """Read a search space.

    Args:
        model: of the recipe, whose space of the package is taken unless a file is named.
        known: the recipe's keys.
        file: a user's own.

    Raises:
        InputError: there is no such file, or a key in it is wrong.
    """
    path = SPACES / f"{model}.toml" if file is None else file
    if not path.is_file():
        raise InputError(f"There is no file {path}: name a search space, a TOML file with [keys].")
    content = build_model(_SpaceFile, read_toml(path), path)
    return SearchSpace(path, _parse(content.keys, path, known))


def _means_range(table: dict[str, Any]) -> bool:
    """Return whether a table is a range, also one whose ends are misspelled, and not keys of a table."""
    ends = ("low", "high")
    are_numbers = not any(isinstance(each, list | dict) for each in table.values())
    return any(name in ends or (are_numbers and did_you_mean(name, ends)) for name in table)


def _parse(
    content: dict[str, Any], path: Path, known: Collection[str], above: str = ""
) -> dict[str, Range | Choice]:
    """Return the values of each key, those of tables flat."""
    keys: dict[str, Range | Choice] = {}
    for name, values in content.items():
        key = above + name
        if "." in name:
            raise InputError(
                f"{path}: {name!r} is one name with a dot in it: write it without quotes."
            )
        if isinstance(values, list) and len(values) > 1:
            keys[key] = Choice(tuple(values))
        elif isinstance(values, dict) and _means_range(values):
            keys[key] = build_model(Range, values, f"{path}, {key}")
        elif isinstance(values, dict) and values:
            keys |= _parse(values, path, known, f"{key}.")
        elif not above and name not in known:
            hint = did_you_mean(name, known)
            raise InputError(f"{path}: the recipe has no key {name!r}{hint}.")
        else:
            raise InputError(
                f"{path}: {key} = {values!r} is not a choice: write two values or more in brackets, or "
                "{ low = …, high = … }."
            )
    return keys


def nest(changes: Changes) -> dict[str, Any]:
    """Return changes as a recipe file holds them: `lora.rank` is a key of the table `lora`."""
    nested: dict[str, Any] = {}
    for key, value in changes.items():
        *tables, last = key.split(".")
        place = nested
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    return nested
