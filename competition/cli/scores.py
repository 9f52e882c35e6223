"""How a table of scores is shown."""

from typing import TYPE_CHECKING

from competition.cli.output import Cell, show

if TYPE_CHECKING:
    import pandas as pd


def show_scores(lines: "pd.DataFrame", floor: str, narrow: bool = False) -> None:
    """Print the lines of a scoreboard that are of one task, split and group.

    Args:
        lines: with the columns of `scoreboard.COLUMNS`.
        floor: the heading of the difference to the floor.
        narrow: whether people do without the difference to the baseline, since the names of runs are long.
    """
    first = lines.iloc[0]
    rows = [
        [line.run, _cell(line, "score"), _cell(line, "above_baseline", "+"), _cell(line, "above_floor", "+")]
        for line in lines.itertuples()
    ]
    queries = f"{first['queries']:,} queries" + ("" if first["group"] == "all" else f" with {first['group']}")
    header: dict[str, str | None] = {"run": "run", "score": f"{first['metric']} [95 %]"}
    header |= {"above_baseline": None if narrow else f"minus {first['baseline']}", "above_floor": floor}
    about = {name: first[name] for name in ("task", "split", "group", "metric", "baseline", "floor")}
    show(f"{first['task']}, {first['split']}, {queries}", header, rows, **about)


def _cell(line: object, name: str, sign: str = "") -> Cell:
    from competition.metrics import Estimate

    value, low, high, queries = (getattr(line, key) for key in (name, f"{name}_low", f"{name}_high", "queries"))
    known = value is not None and value == value  # a gap of the table is NaN
    return Cell(Estimate(value, low, high, int(queries)) if known else None, sign)
