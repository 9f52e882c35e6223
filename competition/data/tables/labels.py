"""Labels of the files as the contest writes them, or what would make them so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from competition.core.errors import InputError, short_repr
from competition.core.lazy import pd
from competition.data.tables.columns import Rows, place_of
from competition.scoring.contest import Contest, Found
from competition.scoring.labels import Labels, number_text

_DECIMAL_COMMA = "-?[0-9]+,[0-9]+"


def normalise_labels(rows: pd.DataFrame, parts: Sequence[Rows], contest: Contest) -> pd.Series:
    """Return the labels as the contest writes them, missing where a test row has none.

    Raises:
        InputError: names the first label that the contest does not have, and the line that would
            add it.
    """
    labels = rows["label"].str.strip()
    if contest.labels.are_numbers:
        # Numbers of which some have a decimal comma.
        with_comma = labels.str.contains(",", regex=False)
        if with_comma.any() and labels[with_comma].str.fullmatch(_DECIMAL_COMMA).all():
            labels = labels.str.replace(",", ".", regex=False)

    given = labels[labels != ""]
    probe = ("0.123", "0.456")
    is_open = contest.completed(Found(labels=probe)).labels.names == probe
    known = contest.labels
    if is_open:
        # Labels are numbers where all of them are.
        is_number = np.isfinite(pd.to_numeric(given, errors="coerce")).all()
        return (given.map(number_or_text) if is_number else given).reindex(labels.index)

    distinct = {label: _known_label(label, known) for label in given.unique()}
    normal = labels.map(distinct)
    bad = (labels != "") & normal.isna()
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        path, row = place_of(parts, place)
        raise InputError(
            f"{path}: the label {short_repr(labels.iloc[place])} of row {row} is not "
            f"{_fix(labels.iloc[place], known, contest.name)}"
        )
    return normal


def number_or_text(label: str) -> str:
    """Return a number as `number_text` writes it, anything else as it is."""
    try:
        return number_text(float(label))
    except ValueError:
        return label


def _known_label(label: str, known: Labels) -> str | None:
    """Return a label as the contest writes it; None where it does not have it."""
    number = number_or_text(label)
    if known.are_classes:
        return next((each for each in (label, number) if each in known.names), None)

    try:
        fits = known.lowest <= float(label) <= known.highest
    except ValueError:
        return None
    return number if fits else None


def _fix(label: str, known: Labels, contest: str) -> str:
    """Return what labels there are, and the line that adds another."""
    try:
        number = float(label)
    except ValueError:
        number = float("nan")
    where = f"in [labels] of {contest}.toml, or correct the row."
    if not known.are_classes:
        bounds = f"{number_text(known.lowest)} to {number_text(known.highest)}"
        if not np.isfinite(number):
            return f"a number from {bounds}: correct the row."
        low = number_text(min(number, known.lowest))
        high = number_text(max(number, known.highest))
        return f"a number from {bounds}: write range = [{low}, {high}] {where}"

    names = ", ".join(known.names)
    numeric = known.values and all(
        name == number_text(value) for name, value in zip(known.names, known.values, strict=True)
    )
    if numeric and not np.isfinite(number):
        return f"among {names}: correct the row."
    if numeric:
        levels = ", ".join(number_text(value) for value in sorted((*known.values, number)))
        return f"among {names}: write levels = [{levels}] {where}"
    quoted = ", ".join(f'"{name}"' for name in (*known.names, label))
    return f"among {names}: write names = [{quoted}] {where}"
