"""Build the runs of recipes: folds are trained, nested models and test predictions beside them.

Rows are read, handed to the room that does the work, and what it returns is written. Only here does
training meet the files.
"""

from __future__ import annotations

import platform
import shutil
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition.config.recipe import MemberRecipe
from competition.core import distributed
from competition.core.json_files import read_manifest, write_json
from competition.core.lazy import pd
from competition.core.parquet import read_fingerprint, read_table
from competition.pipeline.artifacts import folds_fingerprint
from competition.pipeline.keys import FoldPlan
from competition.pipeline.recipe_types import type_of
from competition.pipeline.rows import fold_rows
from competition.pipeline.tables import Tables
from competition.scoring import evaluation, predictions
from competition.scoring.predictions import Run, RunPlan
from competition.scoring.task import Kind, Task

if TYPE_CHECKING:
    from competition.pipeline.plan import Plan

_PACKAGES = (
    "accelerate",
    "cleanlab",
    "gensim",
    "lightgbm",
    "numpy",
    "pandas",
    "scikit-learn",
    "tokenizers",
    "torch",
    "transformers",
)


def build_fold(tables: Tables, plan: Plan, fold: FoldPlan[MemberRecipe]) -> None:
    """Train one fold of a recipe; write its weights, its held-out and its test predictions."""
    recipe = fold.recipe
    (number,) = fold.held
    rows = fold_rows(tables, fold)
    held_out, test = type_of(recipe).train(tables, plan, fold, rows)

    # The held-out file says that the fold is trained, so it comes last.
    test_path = plan.workspace.test_fold(recipe.name, number)
    _write(test_path, test, plan.recipes.kind_of(recipe), fold.test_fingerprint)
    _write(
        plan.workspace.oof_fold(recipe.name, number),
        held_out,
        plan.recipes.kind_of(recipe),
        fold.fingerprint,
    )
    _remove_checkpoints(plan, fold)


def describe_fold(tables: Tables, plan: Plan, fold: FoldPlan[MemberRecipe]) -> str:
    """Return the score of a fold that is trained, beside that of the lexical baseline on the same rows."""
    recipe = fold.recipe
    kind = plan.recipes.kind_of(recipe)
    (number,) = fold.held
    outputs = read_table(plan.workspace.oof_fold(recipe.name, number), fold.fingerprint)
    held_out = tables.examples[tables.examples["example_id"].isin(outputs["example_id"])]
    name = f"{recipe.name} fold {number}"

    tasks = [tables.contest.tasks[each] for each in (kind.primary, *kind.tasks)]
    task = next((t for t in tasks if not evaluation.graded_rows(t, held_out).empty), None)
    if task is None:
        return f"{name}: no labelled row to score"

    sentence = (
        f"{name}: {task.name} {task.metric.label} {_score(task, kind, outputs, held_out):.4f}"
    )
    baseline = plan.recipes.lexical_baseline
    if baseline is None or baseline == recipe.name:
        return sentence
    other, other_kind = _outputs_for(plan, baseline, held_out), plan.run(baseline).kind
    if other is None or task.name not in other_kind.tasks:
        return sentence

    score = _score(task, other_kind, other, held_out)
    return f"{sentence}, {baseline} {score:.4f} on the same rows"


def _score(task: Task, kind: Kind, outputs: pd.DataFrame, rows: pd.DataFrame) -> float:
    """Return the metric over the queries that tell runs apart."""
    counts = evaluation.count_outputs(task, kind, outputs, rows)
    members = counts.groups[evaluation.leading_group(counts)]
    return float(counts.statistic(counts.values[members].sum(0)))


def _outputs_for(plan: Plan, name: str, rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return the out-of-fold outputs of a run for some rows, whatever its folds; None where one is missing."""
    run = plan.run(name)
    paths = {plan.workspace.oof_fold(name, k): run.parts[k][0] for k in run.folds}
    if any(read_fingerprint(path) != inputs for path, inputs in paths.items()):
        return None

    parts = pd.concat([read_table(path, inputs) for path, inputs in paths.items()])
    return parts[parts["example_id"].isin(rows["example_id"])]


def build_test_predictions(tables: Tables, plan: Plan, fold: FoldPlan[MemberRecipe]) -> None:
    """Write the test predictions of a trained fold; train it again when its weights are gone."""
    recipe = fold.recipe
    (number,) = fold.held
    if read_manifest(plan.workspace.model(recipe.name, fold.name)) != fold.fingerprint:
        build_fold(tables, plan, fold)
        return

    test = type_of(recipe).predict(tables, plan, fold)
    path = plan.workspace.test_fold(recipe.name, number)
    _write(path, test, plan.recipes.kind_of(recipe), fold.test_fingerprint)


def build_nested(tables: Tables, plan: Plan, fold: FoldPlan[MemberRecipe]) -> None:
    """Train a nested model; write its predictions of the two folds that it never saw, and no test predictions."""
    recipe = fold.recipe
    rows = fold_rows(tables, fold).without_test
    held_out, _ = type_of(recipe).train(tables, plan, fold, rows)

    _write(
        plan.workspace.pair(recipe.name, fold.held),
        held_out,
        plan.recipes.kind_of(recipe),
        fold.fingerprint,
    )
    _remove_checkpoints(plan, fold)


def build_all_rows(tables: Tables, plan: Plan, fold: FoldPlan[MemberRecipe]) -> None:
    """Train the model of all training rows; it leaves its weights alone, since there is no row to judge it by."""
    rows = fold_rows(tables, fold).without_test
    type_of(fold.recipe).train(tables, plan, fold, rows)
    _remove_checkpoints(plan, fold)


def _write(path: Path, outputs: pd.DataFrame, kind: Kind, inputs: str) -> None:
    """Write outputs, which all processes of a launch have: the first one does."""
    if distributed.is_main_process():
        predictions.write_outputs(path, outputs, kind, inputs)


def _remove_checkpoints(plan: Plan, fold: FoldPlan[MemberRecipe]) -> None:
    """Remove the checkpoints of a model that is trained."""
    if distributed.is_main_process():
        folder = plan.workspace.checkpoints(fold.recipe.name, fold.part)
        shutil.rmtree(folder, ignore_errors=True)


# --- run.json ---


def build_run_card(tables: Tables, run: RunPlan, recipe: MemberRecipe) -> None:
    """Write `run.json` of a complete recipe."""
    seeds = {
        str(fold): [recipe.fold_seed(seed, fold) for seed in recipe.all_seeds]
        for fold in recipe.folds
    }
    write_run_card(tables, run, recipe.model_dump(mode="json"), {"seeds": seeds})


def write_run_card(
    tables: Tables, plan: RunPlan, recipe: dict[str, Any], extra: dict[str, Any]
) -> None:
    """Write `run.json`: what a complete run is made from, its scores, and `extra`."""
    from competition.scoring.collapse import constant_folds

    run = tables.read_run(plan)
    card = tables.card
    parts = [(fold, run.held_out[run.fold == fold]) for fold in plan.folds]
    content = {
        "inputs": plan.fingerprint,
        "kind": plan.kind.name,
        "recipe": recipe,
        "data": {"train": card.train, "test": card.test},
        "folds": folds_fingerprint(card, plan.scheme, tables.contest),
        "versions": {"python": platform.python_version(), **_versions()},
        "basis": {"kind": plan.basis, "label_paths": list(plan.label_paths)},
        "scores": _scores(tables, plan, run),
        "constant": list(constant_folds(plan.name, plan.kind, parts, tables.examples)),
    }
    write_json(tables.workspace.run_card(plan.name), {**content, **extra})


@cache
def _versions() -> dict[str, str]:
    """Return the version of each package that can move a result; each takes milliseconds to look up."""
    return {name: version(name) for name in _PACKAGES}


def _scores(tables: Tables, plan: RunPlan, run: Run) -> dict[str, Any]:
    """Return task -> metric -> group -> out-of-fold estimate."""
    train = tables.examples[tables.examples["split"] == "train"]
    scores: dict[str, Any] = {}
    for name in plan.tasks:
        task = tables.contest.tasks[name]
        # A task of which the data have no labels has no score.
        if evaluation.graded_rows(task, train).empty:
            continue

        counts = evaluation.count_outputs(task, plan.kind, run.held_out, train)
        scores[name] = {
            metric: {group: estimate.as_json() for group, estimate in groups.items()}
            for metric, groups in evaluation.estimate_metrics(counts).items()
        }
    return scores
