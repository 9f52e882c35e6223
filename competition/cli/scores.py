"""How a table of scores is shown."""

import math
from typing import TYPE_CHECKING

from competition.cli.output import OutputCell, show_table
from competition.core.console import console

if TYPE_CHECKING:
    import pandas as pd

APPROXIMATE_MARK = "~"  # behind the name of a run whose score is approximate


def show_scores(lines: "pd.DataFrame", floor: str, narrow: bool = False) -> None:
    """Print the lines of a scoreboard that are of one task, split and group.

    Args:
        lines: with the columns of `scoreboard.COLUMNS`.
        floor: the heading of the difference to the floor.
        narrow: whether people do without the difference to the baseline, since the names of runs
            are long.
    """
    from competition.core.errors import pluralize
    from competition.scoring.basis import APPROXIMATE

    first = lines.iloc[0]
    rows = [
        [
            OutputCell(
                line.run,
                text=f"{line.run} {APPROXIMATE_MARK}"
                if line.basis == APPROXIMATE
                else str(line.run),
            ),
            *(
                _cell(line, name, sign)
                for name, sign in (("score", ""), ("above_baseline", "+"), ("above_floor", "+"))
            ),
            line.basis,
            line.label_paths,
            _cell(line, "flatters", "+"),
        ]
        for line in lines.itertuples()
    ]
    queries = pluralize(int(first["queries"]), "query", "queries")
    queries += "" if first["group"] == "all" else f" with {first['group']}"
    header: dict[str, str | None] = {"run": "run", "score": f"{first['metric']} [95 %]"}
    header |= {
        "above_baseline": None if narrow else f"minus {first['baseline']}",
        "above_floor": floor,
    }
    header |= dict.fromkeys(("basis", "label_paths", "flatters"))
    about = {
        name: first[name] for name in ("task", "split", "group", "metric", "baseline", "floor")
    }
    show_table(f"{first['task']}, {first['split']}, {queries}", header, rows, **about)


def explain_marks(board: "pd.DataFrame") -> None:
    """Say once, behind the tables of a scoreboard, which scores are approximate, why, and by how much they flatter."""
    from competition.scoring.basis import APPROXIMATE

    marked = board[board["basis"] == APPROXIMATE]
    if marked.empty:
        return
    console.print(
        f"{APPROXIMATE_MARK} approximate: the labels that a run is scored on reached it through"
    )
    for run, lines in marked.groupby("run", sort=False):
        sizes = lines.dropna(subset="flatters").drop_duplicates("task")
        measured = [
            f"flatters {line.task} by {_cell(line, 'flatters', '+').shown()}"
            for line in sizes.itertuples()
        ]
        console.print(f"  {run}: {'; '.join([lines['label_paths'].iloc[0], *measured])}")
    if marked["flatters"].isna().all():
        console.print("  `comp audit-leaks --deep` measures by how much that flatters.")


def _cell(line: object, name: str, sign: str = "") -> OutputCell:
    from competition.scoring.metrics import Estimate

    value, low, high, queries = (
        getattr(line, key) for key in (name, f"{name}_low", f"{name}_high", "queries")
    )
    known = value is not None and value == value  # a gap of the table is NaN
    low, high = (math.nan if end is None else end for end in (low, high))
    return OutputCell(Estimate(value, low, high, int(queries)) if known else None, sign)
