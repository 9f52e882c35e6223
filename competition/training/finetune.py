"""One fold of one recipe: handed rows, it trains and returns predictions; it knows neither `oof/` nor noise."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from accelerate import Accelerator
from torch import nn

from competition.config.encoder_recipe import EncoderRecipe
from competition.core import distributed
from competition.core.atomic import atomic_folder
from competition.core.console import Progress, progress, warn
from competition.core.errors import Diverged
from competition.core.fingerprint import derive_seed
from competition.core.json_files import write_manifest
from competition.core.parquet import mean_by_id
from competition.data.targets import Targets
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from competition.scoring.collapse import Spread
from competition.scoring.task import Kind
from competition.training.batches import Rows, collate
from competition.training.best_epoch import BestEpoch
from competition.training.checkpoints import Checkpoints
from competition.training.corpus import Corpus
from competition.training.divergence import check_weights, constant_output_advice
from competition.training.gradients import BatchGradients
from competition.training.lists import check_lists
from competition.training.loop import Log, StopTraining, fit, make_accelerator
from competition.training.model_files import load_model, load_trained, save_model
from competition.training.oom import Budget
from competition.training.predict import predict
from competition.training.samples import Sample

# Training rows by which cosines are standardised, and that are looked at where no row is held out.
PROBE = 256


@dataclass(frozen=True)
class Fold:
    """One fold to train: its rows, the files that it starts from, and those that it leaves.

    Attributes:
        name: in messages, and what seeds are derived from.
        folder: gets the weights.
        fingerprint: of all that the fold is trained from.
        sources: the encoder, and what features are built from.
        train: positions in the corpus, `(n,)`; so are `held_out` and `test`. No row is in two of them.
        targets: of the rows at `train`, in their order, where they are not the labels alone.
        checkpoints: the folder for those of unfinished training, where any are to be written.
    """

    name: str
    folder: Path
    fingerprint: str
    sources: Sources
    train: Rows
    held_out: Rows
    test: Rows
    targets: Targets | None = None
    checkpoints: Path | None = None


def train_fold(
    recipe: EncoderRecipe,
    kind: Kind,
    corpus: Corpus,
    fold: Fold,
    log: Log,
    score: Callable[[pd.DataFrame], float],
    greater_is_better: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fine-tune on `fold.train`, once per seed, save the weights, and predict.

    Args:
        recipe: what to train.
        kind: of its predictions.
        corpus: the pairs of all examples.
        fold: which rows.
        log: gets losses and the held-out score after each epoch.
        score: of held-out outputs; decides the epoch that is kept when `recipe.weights` is "best".
        greater_is_better: whether a higher score is better.

    Returns:
        Outputs of the held-out rows and of the test rows, see `predict`; the mean over the seeds.

    Raises:
        Diverged: a loss, an output or a weight is not finite, and no epoch before is kept.
    """
    # The same for every seed.
    sample = corpus.sample(recipe, kind, fold.train, _check_sides(fold), fold.targets)
    # Progress counts a row once per epoch that trains on it or evaluates it.
    total_rows = recipe.epochs * len(sample.rows) + max(1, recipe.epochs) * len(fold.held_out)
    budget = Budget(recipe.token_budget)
    held_out, test = [], []
    with atomic_folder(fold.folder) if distributed.is_main_process() else nullcontext() as folder:
        for seed in recipe.all_seeds:
            # One for each seed: it holds on to the model and the optimizer that it prepares.
            accelerator = make_accelerator(recipe.precision, recipe.deterministic)
            name = f"{recipe.name} fold {fold.name}" + (f" seed {seed}" if recipe.seeds else "")
            fold_seed = recipe.fold_seed(seed, fold.name)
            # Servable folds start from one head, so that their weights can be averaged.
            head_seed = derive_seed(seed if recipe.servable else fold_seed, "head")
            model = RelevanceModel.make(recipe, kind, fold.sources, head_seed)

            best = BestEpoch(recipe.weights, greater_is_better)
            checkpoints = _checkpoints_of(recipe, fold, seed, best)
            with progress(name, total_rows, "rows") as bar:
                evaluate = _Evaluation(
                    name, seed, accelerator, recipe, corpus, fold, len(sample.rows), score, budget, log, bar, best,
                )  # fmt: skip
                try:
                    fine_tune(
                        accelerator, model, recipe, sample, fold_seed, bar, log, evaluate, checkpoints,
                    )  # fmt: skip
                except Diverged as fault:
                    if not best.weights:
                        raise
                    warn(f'{fault} The best epoch before is kept, as weights = "best" asks.')

            # The weights of the best epoch; its predictions of held-out rows were kept with them.
            load_trained(model.to(accelerator.device), best.weights)
            held_out.append(best.held_out)
            if folder is not None:
                save_model(folder, seed, model, fold.sources)
            with progress(f"{recipe.name} fold {fold.name}, test", len(fold.test), "rows") as bar:
                test.append(predict(accelerator, model, corpus.pairs, fold.test, budget, bar))

        if folder is not None:
            write_manifest(folder, fold.fingerprint)
    return mean_by_id(held_out), mean_by_id(test)


def _checkpoints_of(
    recipe: EncoderRecipe, fold: Fold, seed: int, best: BestEpoch
) -> Checkpoints | None:
    """Return the checkpoints of a seed, which hold its best epoch, where any are to be written."""
    if fold.checkpoints is None:
        return None

    path = fold.checkpoints / f"seed-{seed}"
    return Checkpoints(path, fold.fingerprint, recipe, {"kept": best})


def _check_sides(fold: Fold) -> Rows:
    """Return the rows that are evaluated; none that is held out is trained on, test rows perhaps by a teacher."""
    if np.intersect1d(fold.train, fold.held_out).size:
        raise ValueError("a row is on both sides of the fold")
    return np.concatenate([fold.held_out, fold.test])


@dataclass
class _Evaluation:
    """Evaluates each epoch of one seed on the held-out rows, and has the best kept."""

    name: str
    seed: int
    accelerator: Accelerator
    recipe: EncoderRecipe
    corpus: Corpus
    fold: Fold
    rows: int  # that an epoch trains on
    score: Callable[[pd.DataFrame], float]
    budget: Budget
    log: Log
    bar: Progress
    best: BestEpoch

    def __call__(self, epoch: int, model: RelevanceModel) -> None:
        """Evaluate a model after `epoch`, from 0; -1 is before training.

        Raises:
            StopTraining: its outputs are constant.
        """
        recipe = self.recipe
        # After a resume, the evaluations of earlier epochs count as done, too.
        self.bar.reach((epoch + 1) * self.rows + max(0, epoch) * len(self.fold.held_out))
        outputs = self._predict(model, self.fold.held_out, self.bar)
        score = self.score(outputs)
        logged = None if math.isnan(score) else score
        self.log.write(seed=self.seed, epoch=max(0, epoch), held_out_score=logged)

        # Outputs that do not depend on the text end the training.
        probe = outputs
        if not len(self.fold.held_out):
            probe = self._predict(model, self.fold.train[:PROBE])
        fault = Spread.of(probe, self.corpus.examples).fault
        if recipe.weights == "best" or epoch + 1 == recipe.epochs or fault:
            check_weights(self.name, model, recipe)
            self.best.update(score, outputs, model)
        if fault and not recipe.epochs:
            warn(f"{self.name}, which is not trained: {fault}.")
        elif fault:
            hint = constant_output_advice(recipe)
            warn(f"{self.name} ends after epoch {epoch + 1} of {recipe.epochs}: {fault}. {hint}.")
            raise StopTraining

    def _predict(
        self, model: RelevanceModel, rows: Rows, bar: Progress | None = None
    ) -> pd.DataFrame:
        return predict(self.accelerator, model, self.corpus.pairs, rows, self.budget, bar)


def fine_tune(
    accelerator: Accelerator,
    model: RelevanceModel,
    recipe: EncoderRecipe,
    sample: Sample,
    seed: int,
    bar: Progress,
    log: Log,
    after_epoch: Callable[[int, RelevanceModel], None],
    checkpoints: Checkpoints | None = None,
) -> None:
    """Fine-tune `model` in place on a sample, see `fit`; with `epochs = 0` it is evaluated as it is.

    `seed` is of the order of rows, of dropout and of mixup.
    """
    if not recipe.epochs:
        after_epoch(-1, model.to(accelerator.device))
        return

    check_lists(recipe, model.kind, sample)
    # A bi-encoder begins by the cosines that its encoder was made for.
    if recipe.architecture == "bi-encoder":
        device = accelerator.device
        # At most PROBE rows, evenly spaced, in batches.
        rows = sample.rows[:: -(-len(sample.rows) // PROBE)]
        parts = np.array_split(rows, -(-len(rows) // recipe.batch_size))
        with accelerator.autocast():
            model.to(device).init_by_similarity(
                collate(sample.pairs, part, device) for part in parts
            )
    if recipe.prior_bias or model.needs_shares:
        model.init_output_bias(sample.mean_target(model.kind.targets))

    def make_gradients(wrapped: nn.Module) -> BatchGradients:
        return BatchGradients(accelerator, wrapped, recipe, sample, seed)

    fit(
        accelerator, model, recipe, len(sample.rows), make_gradients, seed, bar, log, after_epoch, checkpoints,
        sample.lists,
    )  # fmt: skip


def predict_fold(
    recipe: EncoderRecipe,
    kind: Kind,
    corpus: Corpus,
    sources: Sources,
    folder: Path,
    name: str,
    rows: Rows,
    load: Callable[[Path, int, EncoderRecipe, Kind, Sources], RelevanceModel] = load_model,
) -> pd.DataFrame:
    """Return the outputs of some rows by the weights that `train_fold` left in a folder.

    `name` is what progress calls the prediction, `load` reads the model of a seed.
    """
    accelerator = make_accelerator(recipe.precision, recipe.deterministic)
    budget = Budget(recipe.token_budget)
    outputs = []
    with progress(name, len(rows) * len(recipe.all_seeds), "rows") as bar:
        for seed in recipe.all_seeds:
            model = load(folder, seed, recipe, kind, sources).to(accelerator.device)
            outputs.append(predict(accelerator, model, corpus.pairs, rows, budget, bar))
    return mean_by_id(outputs)
