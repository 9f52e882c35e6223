"""What a run says of rows that belong to no workspace.

What its folds did with test rows is done with the new ones: rows of the test split that are brought
as a file are told what the run tells them.
"""

from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config.recipe import EncoderRecipe, LexicalRecipe, MemberRecipe
from competition.core.commands import shell_quoted
from competition.core.console import warn
from competition.core.errors import CompError, InputError
from competition.core.json_files import read_manifest
from competition.core.parquet import mean_by_id, read_fingerprint
from competition.core.workspace import ALL_ROWS
from competition.pipeline.build_outputs import Maker
from competition.pipeline.build_runs import sides
from competition.pipeline.new_rows import NewRows
from competition.pipeline.plan import split_run
from competition.pipeline.plans import FoldPlan
from competition.pipeline.steps import Pipeline
from competition.scoring.tasks import TASKS


class PreparedRows:
    """New rows as models read them; each form is made when it is first asked for.

    Document frequencies are those of the products of training rows, as in training. The candidates
    of a query are its rows among these.
    """

    def __init__(self, rows: NewRows, maker: Maker) -> None:
        self.rows, self._maker = rows, maker

    @cached_property
    def with_context(self) -> pd.DataFrame:
        """The examples with what their query's candidates share."""
        from competition.data.query_context import with_context

        return with_context(self.rows.examples, self.rows.products, self._maker.training_products)

    @cached_property
    def lexical(self) -> pd.DataFrame:
        """The features of text that `lexical` reads, by example_id."""
        from competition.models.lexical.text_features import text_features

        return text_features(self.rows.examples, self.rows.products, self._maker.training_products)

    @cached_property
    def text(self) -> pd.DataFrame:
        """All features of text."""
        from competition.models.lexical.bm25 import bm25_features

        bm25 = bm25_features(self.rows.examples, self.rows.products, self._maker.training_products)
        return pd.concat([self.lexical, bm25], axis=1)


class RunModels:
    """The models of a recipe: that of all training rows where it was asked for, else the mean of its folds.

    A model that answers alone is kept in memory; others are read one after the other, so that
    memory is that of one.
    """

    lowest_id = 0

    def __init__(self, pipeline: Pipeline, recipe: MemberRecipe, of_folds: bool = False) -> None:
        """With `of_folds`, a model of all training rows is passed over.

        Raises:
            CompError: a model is missing or out of date.
        """
        self._recipe, self._space = recipe, pipeline.workspace
        self._plans = _plans(pipeline, recipe, of_folds)
        self._load = lru_cache(maxsize=1)(_load_model)

    def learned_from(self, examples: pd.DataFrame) -> NDArray[np.bool_]:
        """Which of all examples the models, or one of them, were trained on, before an audit left any out."""
        return sides(self._recipe, examples, pd.Series(0, examples.index), held=())["train"]

    def outputs(self, new: PreparedRows) -> pd.DataFrame:
        """example_id and the outputs of the recipe's kind, sorted by example_id."""
        if isinstance(self._recipe, LexicalRecipe):
            return self._by_trees(new)
        return self._by_encoder(self._recipe, new)

    def _by_trees(self, new: PreparedRows) -> pd.DataFrame:
        from competition.models.lexical.lexical import load_booster, predict_lexical

        ids = new.rows.examples["example_id"].to_numpy()
        folders = [self._space.model(self._recipe.name, plan.name) for plan in self._plans]
        return mean_by_id(
            [predict_lexical(load_booster(folder), new.lexical, ids) for folder in folders]
        )

    def _by_encoder(self, recipe: EncoderRecipe, new: PreparedRows) -> pd.DataFrame:
        from competition.training.corpus import Corpus
        from competition.training.finetune import predict_fold

        examples = new.with_context if recipe.query_context else new.rows.examples
        as_it_is = recipe.model_copy(update={"query_context": False, "rebalance": False})
        sources = self._plans[0].sources
        assert sources is not None  # every encoder recipe has them
        corpus = Corpus.make(as_it_is, sources, examples, new.rows.products)
        every, outputs = np.arange(len(examples)), []
        for plan in self._plans:
            folder = self._space.model(recipe.name, plan.name)
            name = f"{recipe.name} {folder.name}, new rows"
            outputs.append(predict_fold(recipe, corpus, sources, folder, name, every, self._load))
        return mean_by_id(outputs)


def _load_model(*of: Any) -> Any:
    from competition.training.model_files import load_model

    return load_model(*of)


def _plans(pipeline: Pipeline, recipe: MemberRecipe, of_folds: bool) -> list[FoldPlan]:
    """The models that answer; raises CompError where one, or what it is built from, is missing or out of date."""
    space, name, whole = pipeline.workspace, recipe.name, pipeline.all_plan(recipe)
    for folder in _built_from(whole):
        if read_manifest(folder) is None:
            raise CompError(
                f"{folder} is missing: `comp train --recipe {shell_quoted(name)}` makes it anew."
            )
    recorded = None if of_folds else read_manifest(space.model(name, ALL_ROWS))
    if recorded == whole.inputs:
        return [whole]
    if recorded is not None:
        warn(
            f"{space.model(name, ALL_ROWS)} is out of date, the models of the folds answer instead."
        )
    plans = [pipeline.fold_plan(recipe, fold) for fold in recipe.folds]
    for fold, plan in enumerate(plans):
        if read_manifest(space.model(name, plan.name)) != plan.inputs:
            mend = f"`comp train --recipe {shell_quoted(name)}` makes it"
            if (
                read_fingerprint(space.oof_fold(name, fold)) == plan.inputs
            ):  # training would see nothing to do
                mend = f"remove {space.oof_fold(name, fold)}, then {mend}"
            mend += (
                ""
                if of_folds
                else f", or `comp train --all --recipe {shell_quoted(name)}` one model of all rows"
            )
            raise CompError(f"{space.model(name, plan.name)} is missing or out of date: {mend}.")
    return plans


def _built_from(plan: FoldPlan) -> list[Path]:
    """The folders beside a model that its text is read with."""
    sources = plan.sources
    found = [] if sources is None else [sources.encoder, sources.vocabulary, sources.vectors]
    return [folder for folder in found if folder is not None]


class RefittedEnsemble:
    """An ensemble for one task.

    It is fitted on its members' out-of-fold outputs as it was for the test rows, and nothing of it
    depends on the rows that it then answers; so it need not be kept.
    """

    def __init__(self, pipeline: Pipeline, run: str) -> None:
        """Raises CompError where a member lacks models or predictions, InputError for an ensemble that is leaky."""
        stem, self._task = split_run(run)
        self._pipeline, self._recipe, self._plan = (
            pipeline,
            pipeline.ensemble(stem),
            pipeline.run(run),
        )
        if self._recipe.leaky:
            raise InputError(
                f"{run!r} reads in which tasks' lists a row is, and new rows are in none: use another run."
            )
        members, pairs = pipeline.combined(self._recipe, self._task)
        self._models = {
            m.name: RunModels(pipeline, pipeline.member(m.name), of_folds=True) for m in members
        }
        self._members = pipeline.maker.members(self._plan, members, pairs)

    def learned_from(self, examples: pd.DataFrame) -> NDArray[np.bool_]:
        """Which of all examples one of the members was trained on, before an audit left any out."""
        return np.logical_or.reduce(
            [models.learned_from(examples) for models in self._models.values()]
        )

    def outputs(self, new: PreparedRows) -> pd.DataFrame:
        """example_id and what answers the task, sorted by example_id."""
        from competition.models.ensemble.crossfit import cross_fit

        maker = self._pipeline.maker
        known = maker.examples[maker.examples["split"] == "train"]
        first = len(maker.examples)  # behind the index of the rows that are known
        unseen = new.rows.examples.set_axis(range(first, first + len(new.rows.examples)))
        fold = maker.fold_of_rows(self._plan.scheme).loc[known.index]
        members = [replace(m, test=self._models[m.name].outputs(new)) for m in self._members]
        text = None
        if self._recipe.stacks and self._recipe.text:
            text = pd.concat([maker.text_features.loc[known["example_id"]], new.text])
        fitted = cross_fit(
            TASKS[self._task], members, pd.concat([known, unseen]), fold, self._recipe, text
        )
        return mean_by_id(fitted.test)

    @property
    def lowest_id(self) -> int:
        """The lowest example_id that rows of the workspace have, or 0: new rows are numbered below it."""
        return min(0, int(self._pipeline.maker.examples["example_id"].min()))
