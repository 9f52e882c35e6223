"""People's reviews of audited rows, which overrule the audit.

A verdict is `right` (the given label is right), `wrong` or `unsure`. A file from the review page is
checked once, then kept in the workspace beside the audit that it is about, so that training uses it
from then on. It carries the fingerprint of the training rows: ids may mean other rows once the data
are others, so that reviews of other rows are refused, not used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from competition.core.commands import shell_quoted
from competition.core.csv_files import parse_integers, read_cells, refuse_rows
from competition.core.fingerprint import fingerprint
from competition.core.lazy import pd
from competition.core.parquet import read_table
from competition.core.workspace import Workspace

VERDICTS = ("wrong", "right", "unsure")
COLUMNS = ("example_id", "verdict")


def read_reviews(file: Path, audited: pd.Series) -> pd.DataFrame:
    """Read a file of reviews, checked and sorted by example_id.

    Args:
        file: a CSV file with the columns example_id and verdict.
        audited: the example_ids of the rows that the audit covers.

    Raises:
        InputError: the file cannot be read or has other columns, or a verdict or an example_id is
            unknown, or an id is duplicated; the message names the first offending row (1 is the
            first below the header).
    """
    name = str(file)
    frame = read_cells(file, name, COLUMNS)

    unknown = ~frame["verdict"].isin(VERDICTS)
    known = ", ".join(VERDICTS)
    refuse_rows(name, frame, unknown, f"has an unknown verdict: known are {known}")

    frame = frame.assign(example_id=parse_integers(frame["example_id"], "example_id", name))
    stray = ~frame["example_id"].isin(audited)
    refuse_rows(name, frame, stray, "is not among the rows that the audit covers")
    repeated = frame["example_id"].duplicated()
    refuse_rows(name, frame, repeated, "repeats the example_id of an earlier row")
    return frame.sort_values("example_id", ignore_index=True)


def load_reviews(workspace: Workspace, run: str, rows: str) -> pd.DataFrame:
    """Return the reviews that are kept for the audit of a run, by example_id; none where no file is.

    Args:
        workspace: where they are kept.
        run: the audited run.
        rows: the fingerprint of the training rows.

    Raises:
        CompError: the file is damaged, or is about other rows.
    """
    path = workspace.reviews(run)
    if not path.is_file():
        return pd.DataFrame({"example_id": np.array([], np.int64), "verdict": np.array([], "str")})

    command = f"comp cleanlab --from {shell_quoted(run)} --verdicts FILE"
    return read_table(path, rows, f"review these rows with `{command}`, or delete the file")


def reviews_fingerprint(reviews: pd.DataFrame) -> list[str]:
    """Return what reviews add to the fingerprint of an audit: nothing where all are unsure."""
    decided = reviews[reviews["verdict"] != "unsure"]
    pairs = list(zip(decided["example_id"].tolist(), decided["verdict"].tolist(), strict=True))
    return [fingerprint(["verdicts", pairs])] if pairs else []


def apply_reviews(flags: pd.DataFrame, reviews: pd.DataFrame) -> pd.DataFrame:
    """Return the flags of an audit with the reviews applied to `dropped` and `quality`, whichever training reads.

    A row that is `right` is kept and its label has the quality 1, one that is `wrong` is dropped
    and has 0, `unsure` leaves both to the audit. No other row moves: one that is kept gives its
    place to no other, and one that is dropped takes none.
    """
    verdict = flags["example_id"].map(reviews.set_index("example_id")["verdict"])  # (rows,)
    right = verdict == "right"
    wrong = verdict == "wrong"
    quality = flags["quality"].mask(right, 1.0).mask(wrong, 0.0)
    return flags.assign(dropped=(flags["dropped"] & ~right) | wrong, quality=quality)


def describe_reviews(reviews: pd.DataFrame) -> str:
    """Return how often each verdict was given, in words."""
    counts = reviews["verdict"].value_counts()
    return ", ".join(f"{counts.get(verdict, 0):,} {verdict}" for verdict in VERDICTS)
