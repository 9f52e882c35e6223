"""A second, real competition: judgments of an electronics shop, from a definition to tables.

    python -m benchmarks.chorus DATA WORKSPACE

DATA holds `judgments.csv` (query, docid, rating 0 to 3, the ratings of three people) and
`products.csv` of o19s/chorus. Makes the workspace with `benchmarks/chorus.toml`, runs everything
with the settings of `comp init`, and prints the scores of lists whose order matters beside a random
order and the overlap of words, then the flags of the audit against the disagreement of the raters.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.core.parquet import read_table
from competition.core.workspace import Workspace
from competition.noise.raters import rater_agreement
from competition.pipeline.steps import Pipeline
from competition.scoring import evaluation
from competition.scoring.evaluation import MOVABLE, Counts, GradedRows
from competition.scoring.metric_table import find_metric
from competition.scoring.task import Task

DEFINITION = Path(__file__).with_name("chorus.toml")


def word_overlap(examples: pd.DataFrame, products: pd.DataFrame) -> NDArray[np.float64]:
    """Return the share of each query's words that the product's title has, `(rows,)`."""
    titles = examples.merge(products, on=["locale", "product_id"], how="left")["title"].fillna("")
    shares = []
    for pair in zip(examples["query"], titles, strict=True):
        query, title = (set(re.findall(r"\w+", text.lower())) for text in pair)
        shares.append(len(query & title) / max(len(query), 1))
    return np.array(shares)


def ranked_by(pipeline: Pipeline, task: Task) -> dict[str, Counts]:
    """Return what a random order, the overlap of words and every run that ranks count."""
    tables = pipeline.tables
    graded = GradedRows(task, tables.examples)
    overlap = word_overlap(graded.examples, tables.products)
    counted = {
        "random order": graded.count_trivial_baseline()[1],
        "overlap of words": graded.count(overlap),
    }
    for plan in pipeline.plan.runs():
        if task.name in plan.tasks:
            outputs = tables.read_run(plan).held_out
            counted[plan.name] = graded.count_outputs(plan.kind, outputs)
    return counted


def show(pipeline: Pipeline, metric: str) -> None:
    """Print one table: a line per way to rank, over the queries whose order matters."""
    ranking = pipeline.plan.contest.ranking
    assert ranking is not None  # by the definition
    task = replace(ranking, metric=find_metric(metric))
    counted = ranked_by(pipeline, task)
    overlap = counted["overlap of words"]

    queries = int(overlap.groups[MOVABLE].sum())
    header = f"{queries} queries | {task.metric.label} [95 %] | minus overlap of words"
    print(f"\n| {header} |\n|---|---|---|")
    for name, counts in counted.items():
        score = evaluation.estimate_score(counts, MOVABLE)
        above = evaluation.estimate_difference(counts, overlap, MOVABLE)
        print(f"| {name} | {score} | {above:+} |")


def show_raters(pipeline: Pipeline) -> None:
    """Print how the flags of the audit agree with the raters."""
    plan = pipeline.plan.audit(pipeline.plan.settings.noise_run)
    flags = read_table(pipeline.workspace.noise(plan.name), plan.inputs)
    found = rater_agreement(flags, pipeline.tables.examples, pipeline.plan.contest.raters)
    assert found is not None  # the data have raters

    print("\n| rows with two or more raters | rows | estimate [95 %] |\n|---|---|---|")
    print(f"| flagged: share that raters disagree on | {found.flagged} | {found.of_flagged} |")
    print(f"| others | {found.rows - found.flagged} | {found.of_others} |")
    print(f"| difference | {found.rows} | {found.difference:+} |")
    print(f"| AUC of low quality for disagreement | {found.rows} | {found.auc} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the workspace and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("workspace", type=Path)
    asked = parser.parse_args(arguments)

    space = str(asked.workspace)
    if not asked.workspace.exists():
        _comp("init", space, "--competition", str(DEFINITION))
        _comp("data", "import", str(asked.data), "-w", space)
    _comp("run", "-w", space)

    pipeline = Pipeline(Workspace.open(asked.workspace))
    for metric in ("ndcg@10", "ndcg"):
        show(pipeline, metric)
    show_raters(pipeline)


def _comp(*arguments: str) -> None:
    """Run a command of `comp`."""
    subprocess.run([sys.executable, "-m", "competition", *arguments], check=True)


if __name__ == "__main__":
    main()
