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

from competition.config.recipe import EncoderRecipe
from competition.core import distributed
from competition.core.atomic import atomic_folder
from competition.core.console import Progress, progress, warn
from competition.core.fingerprint import derive_seed
from competition.core.json_files import write_manifest
from competition.core.parquet import mean_by_id
from competition.data.targets import Targets
from competition.models.encoder.model import LOGITS, RelevanceModel
from competition.models.encoder.paths import Sources
from competition.scoring.collapse import Spread
from competition.training.batches import Rows, collate
from competition.training.best_epoch import BestEpoch
from competition.training.checkpoints import Checkpoints
from competition.training.corpus import Corpus
from competition.training.divergence import Diverged, check_weights, constant_output_advice
from competition.training.gradients import BatchGradients, Sample
from competition.training.loop import Log, StopTraining, fit, make_accelerator
from competition.training.model_files import load_model, save_model
from competition.training.oom import Budget
from competition.training.predict import predict

PROBE = 256  # training rows by which cosines are standardised, and that are looked at where no row is held out


@dataclass(frozen=True)
class Fold:
    """One fold to train: where its weights go, what they are and start from, and which rows are on which side.

    `train`, `held_out` and `test` are positions in the corpus, `(n,)` each, and disjoint. `lesson`
    says what the rows at `train` teach, in their order, where that is not their label alone.
    Checkpoints go to the folder `unfinished`, where there is to be one.
    """

    name: str
    folder: Path
    inputs: str
    sources: Sources
    train: Rows
    held_out: Rows
    test: Rows
    lesson: Targets | None = None
    unfinished: Path | None = None


def train_fold(
    recipe: EncoderRecipe,
    corpus: Corpus,
    fold: Fold,
    log: Log,
    score: Callable[[pd.DataFrame], float],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fine-tune on `fold.train`, once per seed, save the weights, and predict.

    Args:
        recipe: what to train.
        corpus: the pairs of all examples.
        fold: which rows.
        log: gets losses and the held-out score after each epoch.
        score: of held-out outputs, higher is better; decides the epoch that is kept when
            `recipe.weights` is "best".

    Returns:
        Outputs of the held-out rows and of the test rows, see `predict`; the mean over the seeds.

    Raises:
        Diverged: a loss, an output or a weight is not finite, and no epoch before is kept.
    """
    if np.intersect1d(fold.train, np.concatenate([fold.held_out, fold.test])).size:
        raise ValueError("a row is on both sides of the fold")
    held_out, test, budget = [], [], Budget(recipe.token_budget)
    with atomic_folder(fold.folder) if distributed.is_main_process() else nullcontext() as folder:
        for seed in recipe.all_seeds:
            # One for each seed: it holds on to the model and optimizer that it prepares.
            accelerator = make_accelerator(recipe.precision, recipe.deterministic)
            model, outputs = _train_seed(
                accelerator, recipe, corpus, fold, seed, budget, log, score
            )
            held_out.append(outputs)
            if folder is not None:
                save_model(folder, seed, model, fold.sources)
            with progress(f"{recipe.name} fold {fold.name}, test", len(fold.test), "rows") as work:
                test.append(predict(accelerator, model, corpus.pairs, fold.test, budget, work))
        if folder is not None:
            write_manifest(folder, fold.inputs)
    return mean_by_id(held_out), mean_by_id(test)


def predict_fold(
    recipe: EncoderRecipe,
    corpus: Corpus,
    sources: Sources,
    folder: Path,
    name: str,
    rows: Rows,
    load: Callable[[Path, int, EncoderRecipe, Sources], RelevanceModel] = load_model,
) -> pd.DataFrame:
    """Outputs of some rows by the weights that `train_fold` left in a folder; `name` is what progress calls it."""
    accelerator = make_accelerator(recipe.precision, recipe.deterministic)
    outputs, budget = [], Budget(recipe.token_budget)
    with progress(name, len(rows) * len(recipe.all_seeds), "rows") as work:
        for seed in recipe.all_seeds:
            model = load(folder, seed, recipe, sources).to(accelerator.device)
            outputs.append(predict(accelerator, model, corpus.pairs, rows, budget, work))
    return mean_by_id(outputs)


def fine_tune(
    accelerator: Accelerator,
    model: RelevanceModel,
    recipe: EncoderRecipe,
    sample: Sample,
    seed: int,
    work: Progress,
    log: Log,
    after_epoch: Callable[[int, RelevanceModel], None],
    checkpoints: Checkpoints | None = None,
) -> None:
    """Fine-tune `model` in place on a sample, see `fit`; `seed` is of the order of rows, of dropout and of mixup."""
    if recipe.architecture == "bi-encoder":
        rows, device = sample.rows[:: -(-len(sample.rows) // PROBE)], accelerator.device
        parts = np.array_split(rows, -(-len(rows) // recipe.batch_size))
        with accelerator.autocast():
            model.to(device).init_by_similarity(
                collate(sample.pairs, part, device) for part in parts
            )
    if recipe.prior_bias:
        model.init_output_bias(sample.mean_target(LOGITS[recipe.kind]))

    def gradients(wrapped: nn.Module) -> BatchGradients:
        return BatchGradients(
            accelerator, wrapped, accelerator.unwrap_model(wrapped), recipe, sample, seed
        )

    fit(
        accelerator,
        model,
        recipe,
        len(sample.rows),
        gradients,
        seed,
        work,
        log,
        after_epoch,
        checkpoints,
    )


def _train_seed(
    accelerator: Accelerator,
    recipe: EncoderRecipe,
    corpus: Corpus,
    fold: Fold,
    seed: int,
    budget: Budget,
    log: Log,
    score: Callable[[pd.DataFrame], float],
) -> tuple[RelevanceModel, pd.DataFrame]:
    """The model of one seed with the weights that are kept, and its outputs of the held-out rows."""
    drawn = recipe.fold_seed(seed, fold.name)
    model = RelevanceModel.make(recipe, fold.sources, derive_seed(drawn, "head"))
    sample = corpus.sample(
        recipe, fold.train, np.concatenate([fold.held_out, fold.test]), fold.lesson
    )
    kept, checkpoints = BestEpoch(recipe.weights), None
    if fold.unfinished is not None:
        checkpoints = Checkpoints(
            fold.unfinished / f"seed-{seed}", fold.inputs, recipe, {"kept": kept}
        )
    name = f"{recipe.name} fold {fold.name}" + (f" seed {seed}" if recipe.seeds else "")
    rows, held_out = len(sample.rows), len(fold.held_out)
    with progress(name, recipe.epochs * (rows + held_out), "rows") as work:

        def after_epoch(epoch: int, evaluated: RelevanceModel) -> None:
            work.reach((epoch + 1) * rows + epoch * held_out)
            outputs = predict(accelerator, evaluated, corpus.pairs, fold.held_out, budget, work)
            value = score(outputs)
            log.write(seed=seed, epoch=epoch, held_out_score=None if math.isnan(value) else value)
            probe = (
                outputs
                if held_out
                else predict(accelerator, evaluated, corpus.pairs, fold.train[:PROBE], budget)
            )
            fault = Spread.of(probe, corpus.examples).fault
            if recipe.weights == "best" or epoch + 1 == recipe.epochs or fault:
                check_weights(name, evaluated, recipe)
                kept.update(value, outputs, evaluated)
            if fault:
                hint = constant_output_advice(recipe)
                warn(f"{name} ends after epoch {epoch + 1} of {recipe.epochs}: {fault}. {hint}.")
                raise StopTraining

        try:
            fine_tune(
                accelerator, model, recipe, sample, drawn, work, log, after_epoch, checkpoints
            )
        except Diverged as fault:
            if not kept.weights:
                raise
            warn(f'{fault} The best epoch before is kept, as weights = "best" asks.')
    model.to(accelerator.device).load_state_dict(kept.weights)
    return model, kept.held_out
