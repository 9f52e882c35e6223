"""The type of recipes that fine-tune an encoder: they are planned, trained, and predict."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.commands import shell_quoted
from competition.core.errors import CompError
from competition.core.json_files import read_manifest
from competition.core.lazy import pd
from competition.pipeline.artifacts import Artifacts
from competition.pipeline.keys import FoldPlan
from competition.pipeline.rows import FoldRows, fold_targets
from competition.pipeline.tables import Tables
from competition.scoring import evaluation
from competition.scoring.contest import Contest

if TYPE_CHECKING:
    from competition.pipeline.execute import Step
    from competition.pipeline.input_steps import InputSteps
    from competition.pipeline.plan import Plan
    from competition.pipeline.predict_new import PreparedRows
    from competition.training.corpus import Corpus


def artifacts(artifacts: Artifacts, recipe: EncoderRecipe) -> tuple[str, ...]:
    """Return the fingerprints of the encoder and, as far as they are read, of the vocabulary and the vectors."""
    # Folders that are missing are refused here, where the recipe is known that names them.
    for key, name in (("encoder", recipe.encoder), ("translate_with", recipe.translate_with)):
        artifacts.model_source(key, name, recipe.name)

    sources = artifacts.sources(recipe)
    parts = [artifacts.encoder_fingerprint(recipe.encoder)]
    parts += [artifacts.vocabulary_fingerprint] if sources.vocabulary else []
    parts += [artifacts.vectors_fingerprint] if sources.vectors else []
    return tuple(parts)


def added_rows(artifacts: Artifacts, recipe: EncoderRecipe) -> str | None:
    """Return the fingerprint of the translations that are added to the rows, if any are."""
    model = recipe.translate_with
    return artifacts.translations(model).fingerprint if model else None


def folders(artifacts: Artifacts, recipe: EncoderRecipe) -> list[Path]:
    """Return the folders beside a model that its text is read with."""
    sources = artifacts.sources(recipe)
    folders = (sources.encoder, sources.vocabulary, sources.vectors)
    return [folder for folder in folders if folder is not None]


def inputs(steps: InputSteps, plan: Plan, recipe: EncoderRecipe) -> list[Step]:
    """Return the steps of the encoder, the vocabulary, the vectors and the translations."""
    model = recipe.translate_with
    return [
        *steps.encoder(recipe.encoder, recipe.head),
        *steps.features(plan.artifacts.sources(recipe)),
        *([steps.translations(model)] if model else []),
    ]


def train(
    tables: Tables, plan: Plan, fold: FoldPlan[EncoderRecipe], rows: FoldRows
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fine-tune one model, save it, and return its outputs of the held-out and of the test rows."""
    from competition.pipeline.build_inputs import training_log
    from competition.training.finetune import Fold, train_fold

    recipe = fold.recipe
    workspace = plan.workspace
    corpus = read_corpus(tables, plan, recipe)
    folder = workspace.model(recipe.name, fold.name)
    parts = Fold(
        fold.name,
        folder,
        fold.fingerprint,
        plan.artifacts.sources(recipe),
        rows.train,
        rows.held_out,
        rows.test,
        fold_targets(tables, fold, rows.train),
        workspace.checkpoints(recipe.name, fold.part),
    )

    score, greater = _held_out_score(tables.contest, recipe, tables.examples.iloc[rows.held_out])
    kind = plan.recipes.kind_of(recipe)
    name = f"{recipe.name}/{folder.name}/{fold.fingerprint[:8]}"
    with training_log(plan, workspace.log(recipe.name), recipe, name, fold=fold.name) as log:
        # A row at the limit has as many tokens or more.
        log.write(rows_cut=float((corpus.pairs.lengths() >= recipe.max_length).mean()))
        return train_fold(recipe, kind, corpus, parts, log, score, greater)


def read_corpus(tables: Tables, plan: Plan, recipe: EncoderRecipe) -> Corpus:
    """Return the pairs of all examples, with the rows that the recipe adds."""
    from competition.data.layout import PAIR
    from competition.models.encoder.encoder import text_template
    from competition.pipeline.build_inputs import read_translations, stored_tokens
    from competition.training.corpus import Corpus

    sources = plan.artifacts.sources(recipe)
    model = recipe.translate_with
    added = plan.artifacts.translations(model) if model else None
    units = "char_trigrams" in recipe.features

    def make() -> Corpus:
        translations = read_translations(added.path, added.fingerprint) if added else None
        # A template's slots are tokenised in their place.
        template = text_template(recipe, sources.encoder)
        stored = stored_tokens(tables, sources, units, text=template in ("", PAIR))
        return Corpus.make(
            recipe,
            tables.contest,
            sources,
            tables.rows_for(recipe),
            tables.products_for(recipe),
            translations,
            stored,
        )

    # All that the corpus depends on: recipes that agree in these share it.
    template = (recipe.template, recipe.head, recipe.servable)  # see `text_template`
    text = (recipe.architecture, recipe.field_order, recipe.max_length, units, template)
    rows = (recipe.rebalance, recipe.query_context, added, recipe.reads_unlabelled)
    return tables.corpus((*text, *rows, sources.encoder, sources.vocabulary), make)


def _held_out_score(
    contest: Contest, recipe: EncoderRecipe, held_out: pd.DataFrame
) -> tuple[Callable[[pd.DataFrame], float], bool]:
    """Return the score that is watched during training, and whether a higher one is better.

    The score is a function of the outputs of held-out rows: the metric of the first task that they
    can grade, the kind's own task before others; NaN where there is none.

    Raises:
        CompError: there is none, and the best weights are to be kept.
    """
    kind = contest.kind(recipe.kind)
    tasks = [contest.tasks[name] for name in (kind.primary, *kind.tasks)]
    task = next((task for task in tasks if not evaluation.graded_rows(task, held_out).empty), None)
    if task is None and recipe.weights == "best":
        raise CompError(
            f"The recipe {recipe.name!r} has no labelled held-out row to choose the best weights by."
        )

    def score(outputs: pd.DataFrame) -> float:
        if task is None:
            return float("nan")
        counts = evaluation.count_outputs(task, kind, outputs, held_out)
        return float(counts.statistic(counts.values.sum(0)))

    return score, task is None or task.metric.greater_is_better


def predict(tables: Tables, plan: Plan, fold: FoldPlan[EncoderRecipe]) -> pd.DataFrame:
    """Return the outputs of the test rows by a model that was saved."""
    from competition.training.finetune import predict_fold

    recipe = fold.recipe
    test = np.flatnonzero(tables.examples["split"] == "test")
    corpus = read_corpus(tables, plan, recipe)
    sources = plan.artifacts.sources(recipe)

    folder = plan.workspace.model(recipe.name, fold.name)
    title = f"{recipe.name} fold {fold.name}, test"
    return predict_fold(recipe, plan.recipes.kind_of(recipe), corpus, sources, folder, title, test)


def new_rows_predictor(
    plan: Plan, models: list[FoldPlan[EncoderRecipe]]
) -> Callable[[PreparedRows], list[pd.DataFrame]]:
    """Return a function that predicts new rows by each of some models of one recipe.

    A model that answers alone is kept in memory; others are read one after the other, so that
    memory is that of one.
    """
    from competition.training.corpus import Corpus
    from competition.training.finetune import predict_fold
    from competition.training.model_files import load_model

    recipe = models[0].recipe
    kind = plan.recipes.kind_of(recipe)
    sources = plan.artifacts.sources(recipe)
    if recipe.keeps_base:
        made_from = plan.artifacts.encoder_fingerprint(recipe.encoder)
        if read_manifest(sources.encoder) != made_from:
            raise CompError(
                f"{sources.encoder} is out of date, and the models of {recipe.name!r} are adapters and heads on it: "
                f"`comp train --recipe {shell_quoted(recipe.name)}` rebuilds it."
            )
    load = lru_cache(maxsize=1)(load_model)

    def predict_rows(new: PreparedRows) -> list[pd.DataFrame]:
        examples = new.with_context if recipe.query_context else new.rows.examples
        # The context is in the text of the queries already, and no rows are added.
        as_it_is = recipe.model_copy(update={"query_context": False, "rebalance": False})
        corpus = Corpus.make(as_it_is, plan.contest, sources, examples, new.rows.products)

        every = np.arange(len(examples))
        outputs = []
        for model in models:
            folder = plan.workspace.model(recipe.name, model.name)
            title = f"{recipe.name} {folder.name}, new rows"
            outputs.append(predict_fold(recipe, kind, corpus, sources, folder, title, every, load))
        return outputs

    return predict_rows
