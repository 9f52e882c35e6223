"""The lines of `reports/scores.csv`, read without pandas: `comp status` must answer at once."""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from competition.scoring.metric_table import HIGHER
from competition.scoring.metrics import Estimate


@dataclass(frozen=True)
class Line:
    """A line of `reports/scores.csv`, see `scoreboard.BoardRow`; a difference is None where it has no value."""

    task: str
    split: str
    group: str
    run: str
    queries: int
    unit: str
    metric: str
    better: str
    baseline: str
    floor: str
    label_paths: str
    score: Estimate
    above_baseline: Estimate | None
    above_floor: Estimate | None
    above_best: Estimate | None
    flatters: Estimate | None

    @property
    def sign(self) -> int:
        """1 where a higher score is better, else -1."""
        return 1 if self.better == HIGHER else -1

    def compares(self, difference: Estimate | None) -> int | None:
        """Return 1 for better, 0 for not significantly different, -1 for worse; None for too few queries."""
        if difference is None or not difference.has_interval:
            return None
        if not difference.differs:
            return 0
        return self.sign if difference.value > 0 else -self.sign


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a table of scores; none where there is no file."""
    if not path.is_file():
        return

    with path.open(encoding="utf-8", newline="") as handle:
        for cells in csv.DictReader(handle):
            queries = int(cells["queries"])
            names = ("score", "above_baseline", "above_floor", "above_best", "flatters")
            estimates = {name: _estimate(cells, name, queries) for name in names}
            score = estimates.pop("score")
            if score is None:
                continue
            yield Line(
                task=cells["task"],
                split=cells["split"],
                group=cells["group"],
                run=cells["run"],
                queries=queries,
                unit=cells["unit"],
                metric=cells["metric"],
                better=cells["better"],
                baseline=cells["baseline"],
                floor=cells["floor"],
                label_paths=cells["label_paths"],
                score=score,
                **estimates,
            )


def _estimate(cells: Mapping[str, str], name: str, queries: int) -> Estimate | None:
    """Return an estimate from the cells that begin with `name`; None where there is no value."""
    # A table of an earlier version lacks some.
    texts = (cells.get(name), cells.get(f"{name}_low"), cells.get(f"{name}_high"))
    value, low, high = (float(text) if text else math.nan for text in texts)
    return None if math.isnan(value) else Estimate(value, low, high, queries)
