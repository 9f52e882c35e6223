"""How a table of scores is shown."""

from typing import TYPE_CHECKING

from competition.cli.app import show

if TYPE_CHECKING:
    import pandas as pd


def show_scores(lines: "pd.DataFrame", floor: str) -> None:
    """Print the lines of a scoreboard that are of one task, split and group.

    Args:
        lines: with the columns of `scoreboard.COLUMNS`.
        floor: the heading of the difference to the floor.
    """
    first = lines.iloc[0]
    rows = [
        [line.run, _cell(line, "score"), _cell(line, "above_baseline", "+"), _cell(line, "above_floor", "+")]
        for line in lines.itertuples()
    ]
    queries = f"{first['queries']:,} queries" + ("" if first["group"] == "all" else f" with {first['group']}")
    header = ["run", f"{first['metric']} [95 %]", f"minus {first['baseline']} [95 %]", f"{floor} [95 %]"]
    show(f"{first['task']}, {first['split']}, {queries}", header, rows)


def _cell(line: object, name: str, sign: str = "") -> str:
    from competition.metrics import Estimate

    value, low, high = (getattr(line, key) for key in (name, f"{name}_low", f"{name}_high"))
    return "" if value is None or value != value else format(Estimate(value, low, high, 0), sign)
