"""What people say of audited rows: `right` (the given label is right), `wrong`, `unsure`. Theirs is the last word.

A file from the inspection page is checked once, then kept in the workspace beside the audit that it
is about, so that training obeys it from then on. What is kept carries the fingerprint of the
training rows: ids may mean other rows once the data are others, so verdicts are then refused, not
used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from competition.core.commands import shell_quoted
from competition.core.csv_files import parse_integers, read_cells, refuse_rows
from competition.core.fingerprint import fingerprint
from competition.core.lazy_pandas import pd
from competition.core.parquet import read_table
from competition.core.workspace import Workspace

VERDICTS = ("wrong", "right", "unsure")
COLUMNS = ("example_id", "verdict")


def read_reviews(file: Path, audited: pd.Series) -> pd.DataFrame:
    """A file of verdicts, checked and sorted by example_id.

    Args:
        file: a CSV file with the columns example_id and verdict.
        audited: the example_ids of the rows that the audit covers.

    Raises:
        InputError: the file cannot be read or has other columns, or a verdict or an example_id is
            unknown, or an id comes twice; the message names the first offending row (1 is the first
            below the header).
    """
    frame, name = read_cells(file, str(file), COLUMNS), str(file)
    known = ", ".join(VERDICTS)
    refuse_rows(
        name, frame, ~frame["verdict"].isin(VERDICTS), f"has an unknown verdict: known are {known}"
    )
    frame = frame.assign(example_id=parse_integers(frame["example_id"], "example_id", name))
    refuse_rows(
        name,
        frame,
        ~frame["example_id"].isin(audited),
        "is not among the rows that the audit covers",
    )
    refuse_rows(
        name, frame, frame["example_id"].duplicated(), "repeats the example_id of an earlier row"
    )
    return frame.sort_values("example_id", ignore_index=True)


def load_reviews(workspace: Workspace, run: str, rows: str) -> pd.DataFrame:
    """The verdicts that are kept on the audit of a run, by example_id; none where no file is.

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
    mend = f"judge these rows with `comp cleanlab --from {shell_quoted(run)} --verdicts FILE`, or delete the file"
    return read_table(path, rows, mend)


def reviews_fingerprint(verdicts: pd.DataFrame) -> list[str]:
    """What verdicts add to the fingerprint of an audit: nothing where none of them decides anything."""
    decided = verdicts[verdicts["verdict"] != "unsure"]
    pairs = list(zip(decided["example_id"].tolist(), decided["verdict"].tolist(), strict=True))
    return [fingerprint(["verdicts", pairs])] if pairs else []


def apply_reviews(noise: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """An audit with the verdicts honoured in `dropped` and `quality`, whichever of them training reads.

    A row that is `right` is kept and its label has the quality 1, one that is `wrong` is dropped
    and has 0, `unsure` leaves both to the audit. No other row moves: one that is kept gives its
    place to no other, and one that is dropped takes none.
    """
    said = noise["example_id"].map(verdicts.set_index("example_id")["verdict"])
    right, wrong = said == "right", said == "wrong"
    quality = noise["quality"].mask(right, 1.0).mask(wrong, 0.0)
    return noise.assign(dropped=(noise["dropped"] & ~right) | wrong, quality=quality)


def describe_reviews(verdicts: pd.DataFrame) -> str:
    """How often each verdict was given, in words."""
    counts = verdicts["verdict"].value_counts()
    return ", ".join(f"{counts.get(verdict, 0):,} {verdict}" for verdict in VERDICTS)
