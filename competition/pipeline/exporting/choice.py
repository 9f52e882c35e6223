"""Which model of a run leaves the building: that of all rows, the mean of the folds' weights, or one fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from competition.config.encoder_recipe import PRETRAINED_HEAD, EncoderRecipe
from competition.config.recipe import EnsembleRecipe, ImportedRecipe
from competition.core.commands import shell_quoted
from competition.core.console import console, warn
from competition.core.errors import CompError, InputError, join_names
from competition.core.json_files import read_manifest
from competition.core.lazy import pd
from competition.core.parquet import mean_by_id
from competition.core.workspace import ALL_ROWS
from competition.pipeline.exporting.sample import Sample, compared_rows
from competition.pipeline.plan import Plan
from competition.pipeline.predict_new import trained_models
from competition.pipeline.tables import Tables
from competition.scoring import evaluation
from competition.scoring.contest import Contest
from competition.scoring.intervals import Estimate
from competition.scoring.task import Kind

if TYPE_CHECKING:
    from competition.models.encoder.model import RelevanceModel

PAIR = "pair"  # the template that servers know
AUTO, AVERAGE = "auto", "average"
WORST_LOSS = 0.005  # of a score, that a form may lose


@dataclass(frozen=True)
class Choice:
    """The model that is exported, and the rows that it is compared by.

    Attributes:
        model: as comp runs it.
        name: `all`, `average`, or the number of a fold.
        why: in a sentence.
        sample: the rows.
        outputs: of the model for these rows, by comp in fp32: example_id and the kind's columns.
        evidence: what was measured to choose it.
    """

    model: RelevanceModel
    name: str
    why: str
    sample: Sample
    outputs: pd.DataFrame
    evidence: dict[str, Any]


def servable_recipe(plan: Plan, run: str) -> EncoderRecipe:
    """Return the recipe of a run that can be exported.

    Raises:
        InputError: it cannot; the sentence names the keys that stand in the way.
    """
    stem, _ = plan.contest.split_run(run)
    recipe = plan.recipes.run(stem)
    fix = (
        f"`comp distill {shell_quoted(run)} --into NAME` trains a student of it that they do, and a recipe with "
        "`servable = true`, such as `served`, is one from the start"
    )
    if isinstance(recipe, EnsembleRecipe):
        members = join_names(member.name for member in plan.recipes.members_of(recipe))
        raise InputError(f"{run!r} combines several models ({members}), no server loads it; {fix}.")
    if isinstance(recipe, ImportedRecipe):
        raise InputError(
            f"Another tool made the outputs of {run!r}, there is no model of it; {fix}."
        )
    if not isinstance(recipe, EncoderRecipe):
        raise InputError(f"{run!r} is made of trees on text features, no server loads it; {fix}.")
    if recipe.servable or _reads_as_a_server(recipe):
        return recipe

    keys = ["servable = false"]
    keys += [f'architecture = "{recipe.architecture}"'] * (recipe.architecture != "cross-encoder")
    keys += [f"features = {list(recipe.features)}"] if recipe.features else []
    keys += ["query_context = true"] if recipe.query_context else []
    keys += ["a template of its own"] if recipe.template not in ("", PAIR) else []
    raise InputError(
        f"The model of {run!r} is none that a server loads, by its keys {join_names(keys)}; {fix}."
    )


def _reads_as_a_server(recipe: EncoderRecipe) -> bool:
    """Return whether a model is the library's own without `servable`: a reranker that was trained on."""
    is_pair = recipe.template in ("", PAIR)
    return recipe.head == PRETRAINED_HEAD and is_pair and not recipe.query_context


def choose(plan: Plan, tables: Tables, recipe: EncoderRecipe, wanted: str = AUTO) -> Choice:
    """Return the model to export.

    By default that of all training rows where `comp train --all` made one, as `comp predict` has
    it; else the mean of the folds' weights where it is nearer to the mean of their outputs than any
    one fold is, and no worse on labelled test rows; else the fold that is nearest.

    Args:
        plan: of the workspace.
        tables: of the workspace.
        recipe: with `servable`.
        wanted: `auto`, `all`, `average` or the number of a fold.

    Raises:
        InputError: there is no such model.
        CompError: a model is missing or out of date.
    """
    known = [AUTO, ALL_ROWS, AVERAGE, *map(str, recipe.folds)]
    if wanted not in known:
        raise InputError(
            f"There is no model {wanted!r} of {recipe.name!r}: known are {join_names(known)}."
        )

    if len(recipe.all_seeds) > 1:
        warn(
            f"{recipe.name!r} averages the outputs of {len(recipe.all_seeds)} seeds, and an export is one model: "
            f"that of the first, {recipe.all_seeds[0]}."
        )
    if wanted not in (AUTO, AVERAGE):
        return _one_model(plan, tables, recipe, wanted)
    models = trained_models(plan, recipe, of_folds=wanted == AVERAGE)
    if models[0].name == ALL_ROWS:
        return _chosen(plan, tables, recipe, ALL_ROWS, "the model of all training rows")
    return _average_or_fold(plan, tables, recipe, wanted)


def _one_model(plan: Plan, tables: Tables, recipe: EncoderRecipe, name: str) -> Choice:
    """Return the model that was asked for, whether or not there are others."""
    is_whole = name == ALL_ROWS
    model = plan.all_rows(recipe) if is_whole else plan.fold(recipe, int(name))
    folder = plan.workspace.model(recipe.name, model.name)
    if read_manifest(folder) != model.fingerprint:
        command = f"comp train --recipe {shell_quoted(recipe.name)} " + (
            "--all" if is_whole else f"--fold {name}"
        )
        raise CompError(f"{folder} is missing or out of date: `{command}` builds it.")
    why = "the model of all training rows" if is_whole else f"the model of fold {name}"
    return _chosen(plan, tables, recipe, name, why)


def _chosen(plan: Plan, tables: Tables, recipe: EncoderRecipe, name: str, why: str) -> Choice:
    fold = None if name == ALL_ROWS else int(name)
    sample = compared_rows(tables, recipe, fold)
    model = _load(
        plan, recipe, plan.workspace.model(recipe.name, ALL_ROWS if fold is None else fold)
    )
    outputs = _predictor(plan, tables, recipe, sample)(model)
    return Choice(model, name, why, sample, outputs, {})


def _average_or_fold(plan: Plan, tables: Tables, recipe: EncoderRecipe, wanted: str) -> Choice:
    """Measure the mean of the folds' weights against the mean of their outputs."""
    from competition.models.exported.writing import average_weights

    kind = plan.recipes.kind_of(recipe)
    sample = compared_rows(tables, recipe, None)
    predict = _predictor(plan, tables, recipe, sample)

    weights, of_folds = [], []
    for fold in recipe.folds:
        model = _load(plan, recipe, plan.workspace.model(recipe.name, fold))
        console.print(f"fold {fold} answers {len(sample.examples):,} {sample.where}")
        of_folds.append(predict(model))
        weights.append({name: weight.clone() for name, weight in model.state_dict().items()})
    model.load_state_dict(average_weights(weights))
    averaged = predict(model)

    mean = mean_by_id(of_folds)
    distances = [_distance(kind, outputs, mean) for outputs in of_folds]
    nearest = int(np.argmin(distances))
    evidence: dict[str, Any] = {
        "distance_of_average": _distance(kind, averaged, mean),
        "distance_of_folds": distances,
        "rows": sample.where,
    }
    losses = {}
    if sample.where == "test rows":
        losses = differences(plan.contest, kind, averaged, mean, sample.examples)
        evidence["average_minus_mean_of_folds"] = {
            task: estimate.as_json() for task, estimate in losses.items()
        }

    worse = [task for task, estimate in losses.items() if estimate.value < -WORST_LOSS]
    is_near = evidence["distance_of_average"] <= distances[nearest]
    figures = (
        f"{evidence['distance_of_average']:.4f} from the mean of the folds' outputs, the nearest fold "
        f"{distances[nearest]:.4f}"
    )
    if is_near and not worse:
        why = f"the mean of the weights of {len(of_folds)} folds ({figures})"
        return Choice(model, AVERAGE, why, sample, averaged, evidence)

    if wanted == AVERAGE:
        raise InputError(
            f"The mean of the folds' weights of {recipe.name!r} is worse than one of them ({figures}): leave "
            "--model at auto, or train one of all rows with `comp train --all`."
        )
    why = f"the model of fold {nearest}, since the mean of the folds' weights is worse ({figures})"
    chosen = _chosen(plan, tables, recipe, str(nearest), why)
    return Choice(chosen.model, chosen.name, why, chosen.sample, chosen.outputs, evidence)


def _load(plan: Plan, recipe: EncoderRecipe, folder: Path) -> RelevanceModel:
    """Return the model of a folder, of the first seed."""
    from competition.training.model_files import load_model

    kind = plan.recipes.kind_of(recipe)
    sources = plan.artifacts.sources(recipe)
    model = load_model(folder, recipe.all_seeds[0], recipe, kind, sources).eval()
    if model.has_adapters:
        model.merge()
    return model


def _predictor(
    plan: Plan, tables: Tables, recipe: EncoderRecipe, sample: Sample
) -> Callable[[RelevanceModel], pd.DataFrame]:
    """Return a function that gives a model's outputs for the rows as comp computes them, in fp32."""
    from competition.training.corpus import Corpus
    from competition.training.loop import make_accelerator
    from competition.training.oom import Budget
    from competition.training.predict import predict

    plain = recipe.model_copy(update={"rebalance": False, "translate_with": ""})
    sources = plan.artifacts.sources(recipe)
    corpus = Corpus.make(plain, plan.contest, sources, sample.examples, tables.products)
    accelerator = make_accelerator("fp32", recipe.deterministic)

    def outputs(model: RelevanceModel) -> pd.DataFrame:
        model.to(accelerator.device)
        rows = np.arange(len(sample.examples))
        predicted = predict(accelerator, model, corpus.pairs, rows, Budget(recipe.token_budget))
        model.to("cpu")
        return predicted

    return outputs


def _distance(kind: Kind, outputs: pd.DataFrame, others: pd.DataFrame) -> float:
    """Return the mean absolute difference of two outputs of the same rows."""
    return float(np.abs(kind.values(outputs) - kind.values(others)).mean())


def differences(
    contest: Contest,
    kind: Kind,
    outputs: pd.DataFrame,
    reference: pd.DataFrame,
    examples: pd.DataFrame,
) -> dict[str, Estimate]:
    """Return, by task, the paired difference of a score to that of the reference; above 0 is better."""
    found = {}
    for name in kind.tasks:
        task = contest.tasks[name]
        if evaluation.graded_rows(task, examples).empty:
            continue
        counts = evaluation.count_outputs(task, kind, outputs, examples)
        other = evaluation.count_outputs(task, kind, reference, examples)
        if not task.metric.greater_is_better:
            counts, other = other, counts
        found[name] = evaluation.estimate_difference(counts, other)
    return found


def stored_outputs(
    plan: Plan, tables: Tables, choice: Choice, recipe: EncoderRecipe
) -> dict[str, Any]:
    """Return how far the model's outputs are from those that the run wrote when it was trained.

    They differ by rounding where that was in bf16. A model of all rows, or a mean of several,
    left none.
    """
    if choice.name in (ALL_ROWS, AVERAGE):
        return {}

    kind = plan.recipes.kind_of(recipe)
    fold = int(choice.name)
    is_test = choice.sample.where == "test rows"
    space = plan.workspace
    path = space.test_fold(recipe.name, fold) if is_test else space.oof_fold(recipe.name, fold)
    if not path.is_file():
        return {}

    stored = pd.read_parquet(path).merge(choice.outputs[["example_id"]], on="example_id")
    stored = stored.sort_values("example_id", ignore_index=True)
    gap = float(np.abs(kind.values(stored) - kind.values(choice.outputs)).max())
    name = path.relative_to(space.root).as_posix()
    return {"file": name, "max_abs_difference": gap, "precision": recipe.precision}
