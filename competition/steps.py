"""How each step of the pipeline is made: rows are read, handed to the room that does the work, and what it returns is
written. Only here do training, audits, ensembles and submissions meet the files."""

import platform
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from competition import evaluation, oof, submissions
from competition.data.store import Card, load_card
from competition.errors import CompError
from competition.materials import Materials, read_translations
from competition.oof import RunPlan
from competition.origins import text_features_inputs
from competition.planning import FoldPlan
from competition.progress import progress
from competition.recipe import AverageRecipe, EncoderRecipe, LexicalRecipe, MemberRecipe
from competition.scoreboard import scoreboard
from competition.tables import read_table, write_table
from competition.tasks import KINDS, TASKS, Task, target
from competition.workspace import Workspace, read_json, stamped, write_json, write_text

if TYPE_CHECKING:
    from competition.training.finetune import Corpus

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


class Maker(Materials):
    """Makes the artefacts of one workspace; what several steps need is read or computed once."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._corpus: tuple[tuple[Any, ...], Corpus] | None = None

    @cached_property
    def text_features(self) -> pd.DataFrame:
        """What `data/text_features.parquet` holds, by example_id."""
        inputs = text_features_inputs(load_card(self.workspace))
        return read_table(self.workspace.text_features, inputs).set_index("example_id")

    @cached_property
    def lexical_features(self) -> pd.DataFrame:
        """Those of them that `lexical` reads."""
        from competition.ensemble.bm25 import PREFIX

        return self.text_features.loc[:, ~self.text_features.columns.str.startswith(PREFIX)]

    # --- training ---

    def train(self, recipe: MemberRecipe, fold: FoldPlan) -> None:
        """Train one fold of a recipe; writes its weights, its held-out and its test predictions."""
        held_out, test = self._fit(recipe, fold, self._rows(recipe, fold))
        # The held-out file says that the fold is trained, so it comes last.
        (number,) = fold.held
        oof.write_fold(self.workspace.test_fold(recipe.name, number), test, recipe.kind, fold.test_inputs)
        oof.write_fold(self.workspace.oof_fold(recipe.name, number), held_out, recipe.kind, fold.inputs)

    def train_pair(self, recipe: MemberRecipe, fold: FoldPlan) -> None:
        """Train a nested model; writes its predictions of the two folds that it never saw, and no test predictions."""
        rows = self._rows(recipe, fold)
        held_out, _ = self._fit(recipe, fold, rows | {"test": rows["test"][:0]})
        oof.write_fold(self.workspace.pair(recipe.name, fold.held), held_out, recipe.kind, fold.inputs)

    def _fit(
        self, recipe: MemberRecipe, fold: FoldPlan, rows: dict[str, np.ndarray]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Train one model, save its weights; its outputs of the held-out and of the test rows."""
        make = self._train_lexical if isinstance(recipe, LexicalRecipe) else self._train_encoder
        return make(recipe, fold, rows)  # type: ignore[arg-type]  # the recipe chose the function

    def predict(self, recipe: MemberRecipe, fold: FoldPlan) -> None:
        """Write the test predictions of a trained fold; trains it again when its weights are gone."""
        if stamped(self.workspace.model(recipe.name, fold.name)) != fold.inputs:
            self.train(recipe, fold)
            return
        make = self._predict_lexical if isinstance(recipe, LexicalRecipe) else self._predict_encoder
        test = make(recipe, fold)  # type: ignore[arg-type]
        (number,) = fold.held
        oof.write_fold(self.workspace.test_fold(recipe.name, number), test, recipe.kind, fold.test_inputs)

    def _rows(self, recipe: MemberRecipe, fold: FoldPlan) -> dict[str, np.ndarray]:
        """Positions in `examples` of the rows that a fold trains on, holds out and predicts.

        Only training rows are ever left out: for their label (unknown), the recipe's `rows`, or the audit.
        """
        examples = self.examples
        of_row = self.fold_of_rows(fold.scheme, fold.folds_inputs)
        is_train = (examples["split"] == "train").to_numpy()
        held = of_row.isin(fold.held).to_numpy() & is_train
        learn = is_train & ~held & ~np.isnan(target(recipe.kind, examples))
        if recipe.rows == "task1":
            learn &= examples["task1"].to_numpy(bool)
        if not learn.any():
            raise CompError(
                f"The recipe {recipe.name!r} finds no labelled row to learn {recipe.kind} from outside fold "
                f"{fold.name}: take it out of `recipes` (and `noise_run`) of competition.toml."
            )
        if fold.noise is not None:
            from competition.noise import dropped_ids

            run, inputs = fold.noise
            dropped = dropped_ids(read_table(self.workspace.noise(run), inputs))
            learn &= ~examples["example_id"].isin(dropped).to_numpy()
        masks = {"train": learn, "held_out": held, "test": ~is_train}
        return {name: np.flatnonzero(mask) for name, mask in masks.items()}

    def _train_lexical(
        self, recipe: LexicalRecipe, fold: FoldPlan, rows: dict[str, np.ndarray]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        from competition.ensemble.boosting import predict_lexical, save_booster, train_lexical

        features, ids = self.lexical_features, self.examples["example_id"].to_numpy()
        with progress(f"{recipe.name} fold {fold.name}", len(rows["train"])) as work:
            booster = train_lexical(recipe, features, self.examples.iloc[rows["train"]], fold.name)
            work.advance(len(rows["train"]))
        save_booster(self.workspace.model(recipe.name, fold.name), booster, fold.inputs)
        held_out, test = (predict_lexical(booster, features, ids[rows[part]]) for part in ("held_out", "test"))
        return held_out, test

    def _predict_lexical(self, recipe: LexicalRecipe, fold: FoldPlan) -> pd.DataFrame:
        from competition.ensemble.boosting import load_booster, predict_lexical

        ids = self.examples.loc[self.examples["split"] == "test", "example_id"].to_numpy()
        booster = load_booster(self.workspace.model(recipe.name, fold.name))
        return predict_lexical(booster, self.lexical_features, ids)

    def _corpus_of(self, recipe: EncoderRecipe, fold: FoldPlan) -> "Corpus":
        from competition.training.finetune import Corpus

        assert fold.sources is not None  # every encoder recipe has them
        units = "char3" in recipe.features
        text = (recipe.architecture, recipe.field_order, recipe.max_length, units)
        rows = (recipe.rebalance, recipe.query_context, fold.translations)
        key = (*text, *rows, fold.sources.encoder, fold.sources.vocabulary)
        if self._corpus is None or self._corpus[0] != key:
            self._corpus = None  # free the old one first
            translations = read_translations(*fold.translations) if fold.translations else None
            self._corpus = (key, Corpus.make(recipe, fold.sources, self.examples, self.products, translations))
        return self._corpus[1]

    def _train_encoder(
        self, recipe: EncoderRecipe, fold: FoldPlan, rows: dict[str, np.ndarray]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        from competition.training.finetune import Fold, train_fold
        from competition.training.loop import Log

        assert fold.sources is not None  # every encoder recipe has them
        corpus = self._corpus_of(recipe, fold)
        folder = self.workspace.model(recipe.name, fold.name)
        parts = Fold(fold.name, folder, fold.inputs, fold.sources, rows["train"], rows["held_out"], rows["test"])
        log = Log(self.workspace.log(recipe.name), fold=fold.name)
        return train_fold(recipe, corpus, parts, log, self._held_out_score(recipe, rows["held_out"]))

    def _held_out_score(self, recipe: EncoderRecipe, rows: np.ndarray) -> Callable[[pd.DataFrame], float]:
        """What is watched during training: the metric of the first task that the held-out rows can grade, or NaN."""
        held_out = self.examples.iloc[rows]
        kind = KINDS[recipe.kind]
        tasks = [TASKS[name] for name in (kind.primary, *kind.tasks)]
        task = next((task for task in tasks if not evaluation.graded_rows(task, held_out).empty), None)
        if task is None and recipe.weights == "best":
            raise CompError(f"The recipe {recipe.name!r} has no labelled held-out row to choose the best weights by.")

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
        return predict_fold(recipe, corpus, fold.sources, folder, fold.name, test)

    def run_card(self, plan: RunPlan, recipe: MemberRecipe, folds_inputs: str, card: Card) -> None:
        """Write `run.json` of a complete recipe."""
        seeds = {str(fold): [recipe.fold_seed(seed, fold) for seed in recipe.all_seeds] for fold in recipe.folds}
        self._write_card(plan, recipe.model_dump(mode="json"), folds_inputs, card, {"seeds": seeds})

    def _write_card(
        self, plan: RunPlan, recipe: dict[str, Any], folds_inputs: str, card: Card, extra: dict[str, Any]
    ) -> None:
        run = self.read_run(plan)
        content = {
            "inputs": plan.complete,
            "kind": plan.kind,
            "recipe": recipe,
            "data": {"train": card.train, "test": card.test},
            "folds": folds_inputs,
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
            "scores": self._scores(plan, run),
        }
        write_json(self.workspace.run_card(plan.name), {**content, **extra})

    def _scores(self, plan: RunPlan, run: oof.Run) -> dict[str, Any]:
        """Task -> metric -> group -> out-of-fold estimate."""
        train = self.examples[self.examples["split"] == "train"]
        scores: dict[str, Any] = {}
        for name in plan.tasks:
            if evaluation.graded_rows(TASKS[name], train).empty:
                continue
            found = evaluation.estimates(evaluation.count_outputs(TASKS[name], plan.kind, run.held_out, train))
            scores[name] = {
                metric: {group: vars(estimate) for group, estimate in groups.items()}
                for metric, groups in found.items()
            }
        return scores

    def read_run(self, plan: RunPlan) -> oof.Run:
        """A complete run, joined by id."""
        return oof.read_run(self.workspace, plan, self.examples)

    # --- audit, ensemble, submission ---

    def noise(self, plan: RunPlan, fraction: float, inputs: str) -> None:
        """Write `noise.parquet` of a run."""
        from competition.noise import audit

        train = self.examples[self.examples["split"] == "train"]
        flags = audit(self.read_run(plan).held_out, train, fraction)
        write_table(self.workspace.noise(plan.name), flags, inputs)

    def ensemble(
        self, plan: RunPlan, recipe: AverageRecipe, task: str, members: list[RunPlan], folds_inputs: str, card: Card
    ) -> None:
        """Write the run of an ensemble for one task."""
        from competition.ensemble.crossfit import cross_fit

        runs = [self.read_run(member) for member in members]
        fitted = cross_fit(TASKS[task], runs, self.examples, self.fold_of_rows("five", folds_inputs), recipe)
        for fold, (inputs, test_inputs) in zip(plan.folds, plan.parts, strict=True):
            oof.write_fold(self.workspace.test_fold(plan.name, fold), fitted.test[fold], plan.kind, test_inputs)
            oof.write_fold(self.workspace.oof_fold(plan.name, fold), fitted.held_out[fold], plan.kind, inputs)
        weights = {str(fold): fitted.weights[fold] for fold in plan.folds}
        made_from = {member.name: member.complete for member in members}
        extra = {"weights": weights, "members": made_from}
        self._write_card(plan, recipe.model_dump(mode="json"), folds_inputs, card, extra)

    def submission(self, name: str, plans: Mapping[str, RunPlan], inputs: str) -> None:
        """Write a submission: every file is checked before the first is written, and the log gets a line per file."""
        from io import StringIO

        files: dict[str, str] = {}
        for task_name, plan in plans.items():
            task = TASKS[task_name]
            answer = submissions.make_answer(task, plan.kind, self.read_run(plan).test, self.examples)
            text = submissions.to_csv(answer)
            read_back = submissions.read_answer(StringIO(text), task.file, task)
            submissions.check_answer(read_back, task.file, task, self.examples)
            files[task.file] = text
        made_from = {task: {"run": plan.name, "inputs": plan.complete} for task, plan in plans.items()}
        log = [self._log_line(name, TASKS[task], plan, files) for task, plan in plans.items()]
        card = {"inputs": inputs, "made_from": made_from}
        submissions.write_submission(self.workspace, name, files, card, log)

    def scores(self, plans: list[RunPlan], floor: str | None, card: Path, inputs: str) -> None:
        """Write `reports/scores.csv`, then the card that says what it was made from."""
        runs = {plan.name: self.read_run(plan) for plan in plans}
        table = scoreboard(self.examples, plans, runs, floor)
        card.unlink(missing_ok=True)
        write_text(self.workspace.scores, str(table.to_csv(index=False, lineterminator="\n")))
        write_json(card, {"inputs": inputs})

    def _log_line(self, name: str, task: Task, plan: RunPlan, files: dict[str, str]) -> dict[str, Any]:
        scores = read_json(self.workspace.run_card(plan.name)).get("scores", {})
        score = scores.get(task.name, {}).get(task.metric, {}).get("all", {})
        shown = {key: f"{score[value]:.6f}" if score else "" for key, value in _LOGGED.items()}
        line = {"submission": name, "task": task.name, "run": plan.name, "metric": task.metric}
        return {**line, **shown, "sha256": submissions.digest(files[task.file].encode())}


_LOGGED = {"out_of_fold": "value", "low": "low", "high": "high"}
