"""The section on ablations: the tables that `comp ablate` left in `reports/`."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from competition.analysis.ablation import Ablation
from competition.analysis.report.blocks import (
    Block,
    Column,
    Note,
    ReportCell,
    Section,
    Table,
    estimate,
    number,
    scale_of,
)
from competition.analysis.report.evidence import Evidence
from competition.config.paper_tables import ABLATION_TABLES
from competition.core.commands import shell_quoted
from competition.core.errors import CompError
from competition.scoring.metrics import Estimate

# Of `Ablation.path`: table, recipe, whether nested, fold.
_FILE = re.compile(
    rf"ablation-({'|'.join(ABLATION_TABLES)})(?:-(.+?))?(-nested)?(?:-fold-(\d+))?\.csv"
)


def ablations(evidence: Evidence) -> Section:
    """Return the section with every ablation that was made, each row minus the one before it and the first."""
    files = sorted((evidence.workspace.root / "reports").glob("ablation-*.csv"))
    found = [(path, _FILE.fullmatch(path.name)) for path in files]
    blocks = [block for path, match in found if match for block in _ablation(evidence, path, match)]
    lead = (
        "Recipes that differ in one key at a time, over the same folds, orders and seeds. Intervals are over queries; "
        "how much seeds vary shows only with several."
    )
    if not blocks:
        blocks = [Note("No ablation was made.", "comp ablate losses --fold 0")]
    return Section("ablations", "Ablations", lead, blocks)


def _ablation(evidence: Evidence, path: Path, match: re.Match[str]) -> list[Block]:
    """Return a table per measure, behind a note where the runs of the ablation have changed since."""
    table, recipe, nested, fold = match.groups()
    lines = pd.read_csv(path, keep_default_na=True)
    seeds = int(lines["seeds"].max())

    command = f"comp ablate {table}"
    command += f" --recipe {shell_quoted(recipe)}" if recipe else ""
    command += f" --seeds {seeds}" if seeds > 1 else ""
    command += (f" --fold {fold}" if fold else "") + (" --nested" if nested else "")
    blocks: list[Block] = []
    if not _is_up_to_date(evidence, table, seeds, fold, recipe, bool(nested)):
        sentence = f"reports/{path.name} is out of date: the recipes, the rows or the runs changed."
        blocks.append(Note(sentence, command))

    for task, of_task in lines.groupby("task", sort=False):
        count = f"{int(of_task['queries'].iloc[0]):,} queries"
        blocks.append(_table(f"{command}: {task}, {count}", of_task.to_dict("records")))
    return blocks


def _is_up_to_date(
    evidence: Evidence, table: str, seeds: int, fold: str | None, recipe: str | None, nested: bool
) -> bool:
    """Return whether every model of an ablation is there as it would be made now."""
    number_of_fold = None if fold is None else int(fold)
    try:
        planned = Ablation.plan(
            evidence.workspace, table, seeds, number_of_fold, recipe, nested
        ).steps()
        return all(step.state == "done" for step in planned if step.command is not None)
    except CompError:
        return False


def _table(heading: str, lines: list[dict[Any, Any]]) -> Table:
    """Return the table of one measure; `minus_unpruned` and other columns that are empty stay away."""
    minus = {
        "minus_before": "Minus the row before",
        "minus_first": "Minus the first row",
        "minus_unpruned": "Minus the same row on all rows",
    }
    shown = {
        key: name
        for key, name in minus.items()
        if any(not pd.isna(line.get(key)) for line in lines)
    }
    paper = any(not pd.isna(line.get("paper")) for line in lines)
    scales = {key: scale_of((_estimate(line, key) for line in lines), include=0.0) for key in shown}

    several = any(not pd.isna(line.get("seed_deviation")) for line in lines)
    metric = str(lines[0]["metric"])
    names = [metric, *shown.values()]
    names += ["Deviation of seeds"] * several + ["Paper"] * paper
    columns = [Column("Row"), *(Column(name, number=True) for name in names)]
    rows = []
    for line in lines:
        cells = [ReportCell(str(line["row"]), heading=True), estimate(_estimate(line, "score"))]
        cells += [estimate(_estimate(line, key), "+", scales[key]) for key in shown]
        cells += [number(line.get("seed_deviation"), ".4f")] if several else []
        cells += [number(line["paper"], ".4f")] if paper else []
        rows.append(cells)
    return Table(heading, columns, rows)


def _estimate(line: dict[Any, Any], key: str) -> Estimate:
    value, low, high = (float(line.get(f"{key}{end}", "nan")) for end in ("", "_low", "_high"))
    return Estimate(value, low, high, int(line["queries"]))
