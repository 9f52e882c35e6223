"""The section on ablations: the tables that `comp ablate` left in `reports/`."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from competition.analysis.ablation import TITLES, Ablation
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
from competition.config.ablation_tables import table_names
from competition.core.commands import shell_quoted
from competition.core.errors import CompError
from competition.scoring.intervals import Estimate


def ablations(evidence: Evidence) -> Section:
    """Return the section with every ablation that was made, each row minus the one before it and the first."""
    files = sorted((evidence.workspace.root / "reports").glob("ablation-*.csv"))
    blocks = [block for path in files for block in _ablation(evidence, path)]
    lead = (
        "Recipes that differ in one key at a time, over the same folds, orders and seeds. Intervals are over queries; "
        "how much seeds vary shows only with several."
    )
    if not blocks:
        blocks = [Note("No ablation was made.", "comp ablate losses --fold 0")]
    return Section("ablations", "Ablations", lead, blocks)


def _ablation(evidence: Evidence, path: Path) -> list[Block]:
    """Return a table per measure, behind a note where the runs of the ablation have changed since."""
    lines = pd.read_csv(path)
    seeds = int(lines["seeds"].max())

    # Of `Ablation.path`: table, recipe, whether nested, fold.
    pattern = rf"ablation-({'|'.join(table_names())})(?:-(.+?))?(-nested)?(?:-fold-(\d+))?"
    blocks: list[Block] = []
    if match := re.fullmatch(pattern, path.stem):
        table, recipe, nested, fold = match.groups()
        command = f"comp ablate {table}"
        command += f" --recipe {shell_quoted(recipe)}" if recipe else ""
        command += f" --seeds {seeds}" if seeds > 1 else ""
        command += (f" --fold {fold}" if fold else "") + (" --nested" if nested else "")
        number_of_fold = None if fold is None else int(fold)
        if not _is_up_to_date(evidence, table, seeds, number_of_fold, recipe, bool(nested)):
            reason = "the recipes, the rows or the runs changed."
            blocks.append(Note(f"reports/{path.name} is out of date: {reason}", command))
    else:
        # Where the file of a user's own table lies is not known.
        command = f"reports/{path.name}"
        blocks.append(Note(f"Whether {command} is up to date is not known: its table is your own."))

    for measure, of_measure in lines.groupby("task", sort=False):
        things = "titles" if measure == TITLES else "queries"
        heading = f"{command}: {measure}, {int(of_measure['queries'].iloc[0]):,} {things}"
        blocks.append(_table(heading, of_measure.to_dict("records")))
    return blocks


def _is_up_to_date(
    evidence: Evidence, table: str, seeds: int, fold: int | None, recipe: str | None, nested: bool
) -> bool:
    """Return whether every model of an ablation is there as it would be made now."""
    try:
        planned = Ablation.plan(evidence.workspace, table, seeds, fold, recipe, nested).steps()
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
