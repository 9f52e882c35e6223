"""Definitions: the TOML files that say what a competition is, read into a `Contest`.

Definitions that come with the package lie in `contests/`; a workspace names one of them or a file
of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from competition.core.errors import InputError, did_you_mean, join_names, short_repr
from competition.core.toml_files import build_model, read_toml
from competition.scoring.contest import Contest, Found, Locale, Source
from competition.scoring.definition_tables import Definition, LocaleTable
from competition.scoring.labels import PAPER, Labels, number_text
from competition.scoring.task_definition import build_task

BUILT_IN = Path(__file__).parent / "contests"
ESCI = "esci"  # the competition of a workspace that names none
MOST_CLASSES = 20  # that are found in training rows; more distinct numbers are a range


def built_in_names() -> list[str]:
    """Return the names of the definitions that come with the package."""
    return sorted(path.stem for path in BUILT_IN.glob("*.toml"))


def load_contest(name: str, folder: Path | None = None) -> Contest:
    """Return the contest of a definition.

    Args:
        name: of a definition that comes with the package, or the path of a file.
        folder: where a relative path starts.

    Raises:
        InputError: there is none, or a key of it is wrong.
    """
    if name in built_in_names():
        return _read_built_in(name)

    return _read_contest(_find(name, folder))


def load_definition(name: str, folder: Path | None = None) -> Definition:
    """Return a definition as its file states it; for the arguments and errors see `load_contest`."""
    is_built_in = name in built_in_names()
    path = BUILT_IN / f"{name}.toml" if is_built_in else _find(name, folder)
    return build_model(Definition, read_toml(path), path)


def _find(name: str, folder: Path | None) -> Path:
    """Return the file of a definition that does not come with the package."""
    path = (folder or Path()) / Path(name).expanduser()
    if name and path.is_dir():
        raise InputError(f"{path} is a folder: name the definition in it, a .toml file.")
    if name.endswith(".toml") and not path.exists():
        raise InputError(f"The definition {path} is missing.")
    if not path.is_file():
        known = built_in_names()
        raise InputError(
            f"There is no competition {name!r}{did_you_mean(name, known)}: known are {', '.join(known)}, "
            "or give the path of a definition, a .toml file."
        )
    return path


@cache
def _read_built_in(name: str) -> Contest:
    """Return the contest of a definition of the package, which is read once: readers and workspaces share it."""
    return _read_contest(BUILT_IN / f"{name}.toml")


def _read_contest(path: Path) -> Contest:
    return build_contest(path.stem, build_model(Definition, read_toml(path), path), path)


def build_contest(name: str, definition: Definition, source: Path | str) -> Contest:
    """Return the contest that a definition describes; what it leaves open waits for `Contest.completed`."""
    labels = definition.labels
    is_open = not (labels.names or labels.levels or labels.range)
    is_esci = definition.files.layout == "esci"
    contest = _contest(name, definition, source)
    if is_esci and not is_open:
        return contest

    def complete(found: Found) -> Contest:
        filled = labels
        if is_open and found.labels:
            filled = labels.model_copy(update=_levels_of(found.labels, source))
        fields = tuple(field for field in definition.fields if field in found.fields)
        locales = definition.locales
        if locales is True:
            locales = {locale: LocaleTable() for locale in found.locales if locale}

        changes = {
            "labels": filled,
            "fields": fields or definition.fields,
            "categories": tuple(field for field in definition.categories if field in fields),
            "field_orders": {
                order: tuple(field for field in names if field in fields)
                for order, names in definition.field_orders.items()
            },
            "locales": locales,
        }
        return _contest(name, definition.model_copy(update=changes), source)

    return replace(contest, complete=complete)


def _levels_of(found: tuple[str, ...], source: Path | str) -> dict[str, object]:
    """Return the keys of `[labels]` that hold the labels of the training rows."""
    try:
        numbers = sorted({float(label) for label in found})
    except ValueError:
        if len(found) > MOST_CLASSES:
            raise InputError(
                f"{source}: the training rows have {len(found):,} different labels: name those that there are with "
                '`names = ["…"]` in [labels].'
            ) from None
        return {"names": tuple(sorted(found))}

    if len(numbers) > MOST_CLASSES:
        return {"range": (numbers[0], numbers[-1])}
    return {"levels": tuple(numbers)}


def _contest(name: str, definition: Definition, source: Path | str) -> Contest:
    labels = _labels(definition, source)
    columns = {ours: _names(theirs) for ours, theirs in definition.columns.items()}
    locales = definition.locales if isinstance(definition.locales, dict) else {}
    files = definition.files.model_dump() | {"products": _names(definition.files.products)}
    return Contest(
        name,
        definition.description,
        labels,
        {
            task: build_task(task, table, definition, labels, columns, source)
            for task, table in definition.tasks.items()
        },
        definition.fields,
        definition.categories,
        definition.field_orders or {"declared": definition.fields},
        tuple(Locale(each, table.language, table.dense) for each, table in locales.items()),
        Source(**files, columns=columns),
        definition.folds,
        definition.labels.raters,
    )


def _names(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return one name or several as several; none where it is empty."""
    return tuple(filter(None, (given,) if isinstance(given, str) else given))


def _labels(definition: Definition, source: Path | str) -> Labels:
    """Return the labels, their gains over the greatest."""
    table = definition.labels
    # What the data have yet to say stands for two classes.
    is_open = not (table.names or table.levels or table.range)
    levels = (0.0, 1.0) if is_open else table.levels
    levels = tuple(sorted(levels))
    names = table.names or tuple(number_text(level) for level in levels)
    values = levels or (tuple(map(float, range(len(names)))) if table.ordered else ())
    exponential = table.gains == "exponential"
    lowest, highest = table.range or (min(values, default=0.0), max(values, default=1.0))
    if not names:
        return Labels((), (), {}, lowest, highest, exponential)

    gains: dict[str, tuple[float, ...]] = {}
    if isinstance(table.gains, dict):
        gains[PAPER] = _table_of(table.gains, names, source)
    elif values:
        raw = [2**value - 1 if exponential else value for value in values]
        # Only differences count where a level is below 0.
        gains[PAPER] = tuple(gain - min(0.0, *raw) for gain in raw)
    elif any(task.kind == "rank" for task in definition.tasks.values()):
        raise InputError(
            f"{source}: a ranking needs to know what each label is worth: write "
            f"`gains = {{ {', '.join(f'{name} = …' for name in names)} }}` in [labels], or `ordered = true`."
        )
    else:
        gains[PAPER] = (0.0,) * len(names)
    for protocol, others in table.other_gains.items():
        gains[protocol] = _table_of(others, names, source)

    most = max(gains[PAPER]) or 1.0
    scaled = {key: tuple(gain / most for gain in each) for key, each in gains.items()}
    for what, given in (("meanings", table.meanings), ("letters", table.letters)):
        if given and len(given) != len(names):
            raise InputError(f"{source}: labels.{what} must name each of {join_names(names)}.")
    letters = dict(zip(names, table.letters or (name[:2] for name in names), strict=True))
    return Labels(
        names, values, scaled, lowest, highest, exponential, dict(table.meanings), letters
    )


def _table_of(
    gains: Mapping[str, float], names: tuple[str, ...], source: Path | str
) -> tuple[float, ...]:
    """Return a gain for each label; raises InputError where one is missing, unknown or below 0."""
    for name in (*gains, *names):
        if name not in names or name not in gains:
            raise InputError(
                f"{source}: labels.gains must have a number for each of {join_names(names)}: "
                f"{short_repr(name)} is {'unknown' if name in gains else 'missing'}."
            )
    if min(gains.values()) < 0:
        raise InputError(f"{source}: labels.gains must be 0 or more.")
    return tuple(float(gains[name]) for name in names)
