"""How the runs of recipes are made and read: folds are trained, nested models and test predictions beside them.

Rows are read, handed to the room that does the work, and what it returns is written. Only here does
training meet the files.
"""

import platform
import shutil
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from competition.config.recipe import EncoderRecipe, LexicalRecipe, MemberRecipe
from competition.core import distributed
from competition.core.console import progress
from competition.core.errors import CompError
from competition.core.json_files import read_json, read_manifest, write_json
from competition.core.parquet import read_table
from competition.core.workspace import Workspace
from competition.data.folds import first_queries
from competition.data.targets import Targets, mix_teacher
from competition.noise.plan import AuditPlan, NestedModels
from competition.pipeline.build_inputs import Materials, read_translations
from competition.pipeline.inputs import folds_inputs, text_features_inputs
from competition.pipeline.plans import PAIRED, FoldPlan
from competition.scoring import evaluation, predictions
from competition.scoring.collapse import constant_folds
from competition.scoring.predictions import RunPlan
from competition.scoring.tasks import KINDS, TASKS, numeric_target

if TYPE_CHECKING:
    from competition.training.corpus import Corpus

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


class Runs(Materials):
    """Trains the recipes of one workspace; what several folds need is read or computed once."""

    def __init__(self, workspace: Workspace, tracker: str | None = None) -> None:
        super().__init__(workspace, tracker)
        self._corpus: tuple[tuple[Any, ...], Corpus] | None = None

    @cached_property
    def text_features(self) -> pd.DataFrame:
        """What `data/text_features.parquet` holds, by example_id."""
        inputs = text_features_inputs(self.card)
        return read_table(self.workspace.text_features, inputs).set_index("example_id")

    @cached_property
    def lexical_features(self) -> pd.DataFrame:
        """Those of them that `lexical` reads."""
        from competition.models.lexical.bm25 import PREFIX

        return self.text_features.loc[:, ~self.text_features.columns.str.startswith(PREFIX)]

    def train(self, recipe: MemberRecipe, fold: FoldPlan) -> None:
        """Train one fold of a recipe; writes its weights, its held-out and its test predictions."""
        held_out, test = self._fit(recipe, fold, self._rows(recipe, fold))
        # The held-out file says that the fold is trained, so it comes last.
        (number,) = fold.held
        self._write(
            self.workspace.test_fold(recipe.name, number), test, recipe.kind, fold.test_inputs
        )
        self._write(
            self.workspace.oof_fold(recipe.name, number), held_out, recipe.kind, fold.inputs
        )
        self._forget(recipe, fold)

    def train_pair(self, recipe: MemberRecipe, fold: FoldPlan) -> None:
        """Train a nested model; writes its predictions of the two folds that it never saw, and no test predictions."""
        rows = self._rows(recipe, fold)
        held_out, _ = self._fit(recipe, fold, rows | {"test": rows["test"][:0]})
        self._write(self.workspace.pair(recipe.name, fold.held), held_out, recipe.kind, fold.inputs)
        self._forget(recipe, fold)

    @staticmethod
    def _write(path: Path, outputs: pd.DataFrame, kind: str, inputs: str) -> None:
        """Write outputs, which all processes of a launch have: the first one does."""
        if distributed.is_main_process():
            predictions.write_outputs(path, outputs, kind, inputs)

    def _forget(self, recipe: MemberRecipe, fold: FoldPlan) -> None:
        """Remove the checkpoints of a model that is trained."""
        if distributed.is_main_process():
            shutil.rmtree(self._unfinished(recipe, fold), ignore_errors=True)

    def _unfinished(self, recipe: MemberRecipe, fold: FoldPlan) -> Path:
        """Where the checkpoints of a model in training lie."""
        return self.workspace.checkpoints(recipe.name, fold.part)

    def train_all(self, recipe: MemberRecipe, plan: FoldPlan) -> None:
        """Train the model of all training rows; it leaves its weights alone, since there is no row to judge it by."""
        rows = self._rows(recipe, plan)
        self._fit(recipe, plan, rows | {"test": rows["test"][:0]})
        self._forget(recipe, plan)

    def _fit(
        self, recipe: MemberRecipe, fold: FoldPlan, rows: dict[str, np.ndarray]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Train one model, save its weights; its outputs of the held-out and of the test rows."""
        make = self._train_lexical if isinstance(recipe, LexicalRecipe) else self._train_encoder
        return make(recipe, fold, rows)  # type: ignore[arg-type]  # the recipe chose the function

    def predict(self, recipe: MemberRecipe, fold: FoldPlan) -> None:
        """Write the test predictions of a trained fold; trains it again when its weights are gone."""
        if read_manifest(self.workspace.model(recipe.name, fold.name)) != fold.inputs:
            self.train(recipe, fold)
            return
        make = self._predict_lexical if isinstance(recipe, LexicalRecipe) else self._predict_encoder
        test = make(recipe, fold)  # type: ignore[arg-type]
        (number,) = fold.held
        self._write(
            self.workspace.test_fold(recipe.name, number), test, recipe.kind, fold.test_inputs
        )

    def _rows(self, recipe: MemberRecipe, fold: FoldPlan) -> dict[str, np.ndarray]:
        """Positions in `examples` of the rows that a fold trains on, holds out and predicts.

        Only training rows are ever left out: for their label (unknown), the recipe's `rows`, or the
            audit.
        """
        examples = self.examples
        masks = sides(recipe, examples, self.fold_of_rows(fold.scheme), fold.held)
        learn = masks["train"]
        if not learn.any():
            where = f" outside fold {fold.name}" if fold.held else ""
            raise CompError(
                f"The recipe {recipe.name!r} finds no labelled row to learn {recipe.kind} from{where}: "
                "take it out of `recipes` (and `noise_run`) of competition.toml."
            )
        if recipe.drop_noise_from and fold.noise is not None:
            from competition.noise.actions import dropped_ids

            learn &= ~examples["example_id"].isin(dropped_ids(self.flags(fold.noise))).to_numpy()
        return {name: np.flatnonzero(mask) for name, mask in (masks | {"train": learn}).items()}

    def flags(self, plan: AuditPlan) -> pd.DataFrame:
        """What an audit flagged, from its file."""
        return read_table(self.workspace.noise(plan.name, plan.fold), plan.inputs)

    def _doubted(self, plan: AuditPlan) -> bool:
        """Whether an audit doubts itself and nothing overrules that."""
        return bool(
            read_json(self.workspace.noise_card(plan.name, plan.fold)).get("doubts")
        ) and not (plan.keys.despite_doubts)

    def _lesson(self, recipe: MemberRecipe, fold: FoldPlan, train: np.ndarray) -> Targets | None:
        """What the rows at `train` teach, where that is not their label alone."""
        from competition.noise import actions

        if not (recipe.weight_noise_from or recipe.relabel_noise_from or recipe.distill_from):
            return None
        rows = self.examples.iloc[train]
        ids = rows["example_id"].to_numpy(np.int64)
        lesson = Targets.of_labels(recipe.kind, rows)
        if recipe.weight_noise_from and fold.noise is not None and not self._doubted(fold.noise):
            lesson = actions.weight_by_quality(lesson, ids, self.flags(fold.noise))
        if recipe.relabel_noise_from and fold.noise is not None:
            lesson = actions.soften_labels(lesson, recipe.kind, ids, self.flags(fold.noise))
        if (teacher := fold.teacher) is not None:
            said = self._seen_from(teacher.run, teacher.pairs, fold.held[0] if fold.held else None)
            lesson = mix_teacher(
                lesson, recipe.kind, ids, teacher.run.kind, said, recipe.distill_weight
            )
        return lesson

    def _seen_from(
        self, run: RunPlan, pairs: NestedModels | None, fold: int | None
    ) -> pd.DataFrame:
        """The out-of-fold outputs of a run; with `pairs`, by its nested models that never saw `fold` either."""
        if pairs is None or fold is None:
            return self.read_run(run).held_out
        return predictions.read_nested(
            self.workspace, run.name, run.kind, pairs, self.fold_of_training(PAIRED)
        )[fold]

    def _train_lexical(
        self, recipe: LexicalRecipe, fold: FoldPlan, rows: dict[str, np.ndarray]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        from competition.models.lexical.lexical import predict_lexical, save_booster, train_lexical

        features, ids = self.lexical_features, self.examples["example_id"].to_numpy()
        lesson = self._lesson(recipe, fold, rows["train"])
        with progress(f"{recipe.name} fold {fold.name}", recipe.n_estimators, "trees") as work:
            booster = train_lexical(
                recipe, features, self.examples.iloc[rows["train"]], fold.name, lesson, work
            )
        save_booster(self.workspace.model(recipe.name, fold.name), booster, fold.inputs)
        held_out, test = (
            predict_lexical(booster, features, ids[rows[part]]) for part in ("held_out", "test")
        )
        return held_out, test

    def _predict_lexical(self, recipe: LexicalRecipe, fold: FoldPlan) -> pd.DataFrame:
        from competition.models.lexical.lexical import load_booster, predict_lexical

        ids = self.examples.loc[self.examples["split"] == "test", "example_id"].to_numpy()
        booster = load_booster(self.workspace.model(recipe.name, fold.name))
        return predict_lexical(booster, self.lexical_features, ids)

    def _corpus_of(self, recipe: EncoderRecipe, fold: FoldPlan) -> "Corpus":
        from competition.training.corpus import Corpus

        assert fold.sources is not None  # every encoder recipe has them
        units = "char_trigrams" in recipe.features
        text = (recipe.architecture, recipe.field_order, recipe.max_length, units)
        rows = (recipe.rebalance, recipe.query_context, fold.translations)
        key = (*text, *rows, fold.sources.encoder, fold.sources.vocabulary)
        if self._corpus is None or self._corpus[0] != key:
            self._corpus = None  # free the old one first
            translations = read_translations(*fold.translations) if fold.translations else None
            stored = self.stored(fold.sources, units)
            self._corpus = (
                key,
                Corpus.make(
                    recipe, fold.sources, self.examples, self.products, translations, stored
                ),
            )
        return self._corpus[1]

    def _train_encoder(
        self, recipe: EncoderRecipe, fold: FoldPlan, rows: dict[str, np.ndarray]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        from competition.training.finetune import Fold, train_fold

        assert fold.sources is not None  # every encoder recipe has them
        corpus = self._corpus_of(recipe, fold)
        folder = self.workspace.model(recipe.name, fold.name)
        lesson = self._lesson(recipe, fold, rows["train"])
        sides = (rows["train"], rows["held_out"], rows["test"])
        parts = Fold(
            fold.name,
            folder,
            fold.inputs,
            fold.sources,
            *sides,
            lesson,
            self._unfinished(recipe, fold),
        )
        score = self._held_out_score(recipe, rows["held_out"])
        training = f"{recipe.name}/{folder.name}/{fold.inputs[:8]}"
        with self.open_log(
            self.workspace.log(recipe.name), recipe, training, fold=fold.name
        ) as log:
            return train_fold(recipe, corpus, parts, log, score)

    def _held_out_score(
        self, recipe: EncoderRecipe, rows: np.ndarray
    ) -> Callable[[pd.DataFrame], float]:
        """What is watched during training: the metric of the first task that the held-out rows can grade, or NaN."""
        held_out = self.examples.iloc[rows]
        kind = KINDS[recipe.kind]
        tasks = [TASKS[name] for name in (kind.primary, *kind.tasks)]
        task = next(
            (task for task in tasks if not evaluation.graded_rows(task, held_out).empty), None
        )
        if task is None and recipe.weights == "best":
            raise CompError(
                f"The recipe {recipe.name!r} has no labelled held-out row to choose the best weights by."
            )

        def score(outputs: pd.DataFrame) -> float:
            if task is None:
                return float("nan")
            counts = evaluation.count_outputs(task, recipe.kind, outputs, held_out)
            return float(counts.statistic(counts.values.sum(0)))

        return score

    def _predict_encoder(self, recipe: EncoderRecipe, fold: FoldPlan) -> pd.DataFrame:
        from competition.training.finetune import predict_fold

        test = np.flatnonzero(self.examples["split"] == "test")
        assert fold.sources is not None  # every encoder recipe has them
        corpus = self._corpus_of(recipe, fold)
        folder = self.workspace.model(recipe.name, fold.name)
        name = f"{recipe.name} fold {fold.name}, test"
        return predict_fold(recipe, corpus, fold.sources, folder, name, test)

    def run_card(self, plan: RunPlan, recipe: MemberRecipe) -> None:
        """Write `run.json` of a complete recipe."""
        seeds = {
            str(fold): [recipe.fold_seed(seed, fold) for seed in recipe.all_seeds]
            for fold in recipe.folds
        }
        self.write_card(plan, recipe.model_dump(mode="json"), {"seeds": seeds})

    def write_card(self, plan: RunPlan, recipe: dict[str, Any], extra: dict[str, Any]) -> None:
        """Write `run.json`: what a complete run is made from, its scores, and `extra`."""
        run = self.read_run(plan)
        parts = [(fold, run.held_out[run.fold == fold]) for fold in plan.folds]
        content = {
            "inputs": plan.fingerprint,
            "kind": plan.kind,
            "recipe": recipe,
            "data": {"train": self.card.train, "test": self.card.test},
            "folds": folds_inputs(self.card, plan.scheme),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in _PACKAGES},
            },
            "basis": {"kind": plan.basis, "label_paths": list(plan.label_paths)},
            "scores": self._scores(plan, run),
            "constant": list(constant_folds(plan.name, plan.kind, parts, self.examples)),
        }
        write_json(self.workspace.run_card(plan.name), {**content, **extra})

    def _scores(self, plan: RunPlan, run: predictions.Run) -> dict[str, Any]:
        """Task -> metric -> group -> out-of-fold estimate."""
        train = self.examples[self.examples["split"] == "train"]
        scores: dict[str, Any] = {}
        for name in plan.tasks:
            if evaluation.graded_rows(TASKS[name], train).empty:
                continue
            found = evaluation.estimate_metrics(
                evaluation.count_outputs(TASKS[name], plan.kind, run.held_out, train)
            )
            scores[name] = {
                metric: {group: estimate.as_json() for group, estimate in groups.items()}
                for metric, groups in found.items()
            }
        return scores

    def read_run(self, plan: RunPlan) -> predictions.Run:
        """A complete run, joined by id, whose folds are those of its scheme."""
        run = predictions.read_run(self.workspace, plan, self.examples)
        predictions.check_parts(run, self.fold_of_training(plan.scheme), plan.scheme)
        return run


def sides(
    recipe: MemberRecipe, examples: pd.DataFrame, fold: pd.Series, held: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Which rows a model trains on, before an audit leaves any out, holds out and predicts: masks, `(rows,)` each.

    Args:
        recipe: what is learned.
        examples: all rows.
        fold: of each row.
        held: the folds that the model never sees.
    """
    is_train = (examples["split"] == "train").to_numpy()
    held_out = fold.isin(held).to_numpy() & is_train
    learn = is_train & ~held_out & ~np.isnan(numeric_target(recipe.kind, examples))
    if recipe.rows == "task1":
        learn &= examples["task1"].to_numpy(bool)
    if recipe.train_queries:
        learn &= first_queries(examples, recipe.train_queries)
    return {"train": learn, "held_out": held_out, "test": ~is_train}
