"""Tables of scores, as `comp run`, `comp stack` and `comp leaderboard` show them."""

import math
from typing import TYPE_CHECKING

from competition.cli.output import OutputCell, show_table
from competition.core.console import console

if TYPE_CHECKING:
    import pandas as pd

# Stands behind the name of a run whose score is approximate.
APPROXIMATE_MARK = "~"


def mark_run(run: str, basis: str) -> OutputCell:
    """Return the cell of a run's name, marked where its score is approximate."""
    from competition.scoring.basis import APPROXIMATE

    return OutputCell(run, text=f"{run} {APPROXIMATE_MARK}" if basis == APPROXIMATE else run)


def show_scores(lines: "pd.DataFrame", floor: str, narrow: bool = False) -> None:
    """Show the lines of a scoreboard that share task, split and group.

    Args:
        lines: with the columns of `scoreboard.SCOREBOARD_COLUMNS`.
        floor: the heading of the difference from the run that others are compared with.
        narrow: leave the difference from the trivial baseline to JSON, because the names of runs
            are long.
    """
    from competition.core.errors import pluralize
    from competition.scoring.evaluation import over_group
    from competition.scoring.metric_table import HIGHER

    first = lines.iloc[0]
    rows = [
        [
            mark_run(str(line.run), str(line.basis)),
            estimate_cell(line, "score"),
            estimate_cell(line, "above_baseline", "+"),
            estimate_cell(line, "above_floor", "+"),
            line.basis,
            line.label_paths,
            estimate_cell(line, "flatters", "+"),
        ]
        for line in lines.itertuples()
    ]

    header: dict[str, str | None] = {
        "run": "run",
        "score": f"{first['metric']} [95 %]",
        "above_baseline": None if narrow else f"minus {first['baseline']}",
        "above_floor": floor,
        "basis": None,
        "label_paths": None,
        "flatters": None,
    }
    units = ("row", "rows") if first["unit"] == "row" else ("query", "queries")
    queries = pluralize(int(first["queries"]), *units)
    queries = over_group(queries, str(first["group"]))
    shared = ("task", "split", "group", "metric", "better", "baseline", "floor")
    about = {name: first[name] for name in shared}
    # Who reads the table takes a higher score for a better one.
    note = "" if first["better"] == HIGHER else ", lower is better"
    show_table(f"{first['task']}, {first['split']}, {queries}{note}", header, rows, **about)


def explain_marks(board: "pd.DataFrame") -> None:
    """Explain, below the tables of a scoreboard, which scores are approximate and why."""
    from competition.scoring.basis import APPROXIMATE

    marked = board[board["basis"] == APPROXIMATE]
    if marked.empty:
        return

    console.print(
        f"{APPROXIMATE_MARK} approximate: the run has learned from labels that it is scored on, through"
    )
    for run, lines in marked.groupby("run", sort=False):
        measured = lines.dropna(subset="flatters").drop_duplicates("task")
        bias = [
            f"inflates {line.task} by {estimate_cell(line, 'flatters', '+').as_text()}"
            for line in measured.itertuples()
        ]
        console.print(f"  {run}: {'; '.join([lines['label_paths'].iloc[0], *bias])}")
    if marked["flatters"].isna().all():
        console.print("  `comp audit-leaks --deep` measures by how much that inflates the score.")


def estimate_cell(line: object, name: str, sign: str = "") -> OutputCell:
    """Return the cell of a score or a difference with its interval, from columns that begin with `name`."""
    from competition.scoring.intervals import Estimate

    columns = (name, f"{name}_low", f"{name}_high", "queries")
    value, low, high, queries = (getattr(line, column) for column in columns)
    if value is None or math.isnan(value):
        return OutputCell(None, sign)

    # A score over fewer than ten queries has no interval.
    low, high = (math.nan if bound is None else bound for bound in (low, high))
    return OutputCell(Estimate(value, low, high, int(queries)), sign)
