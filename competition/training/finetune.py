"""One fold of one recipe: handed rows, it trains and returns predictions; it knows neither `oof/` nor noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from competition import tasks
from competition.data.tokens import Pairs
from competition.errors import InputError
from competition.model.encoder import load_tokenizer, position_limit
from competition.model.relevance import RelevanceModel
from competition.progress import Progress, progress
from competition.settings import EncoderRecipe
from competition.training.batches import Rows
from competition.training.checkpoint import load_model, save_model
from competition.training.loop import Log, Sample, fit, make_accelerator
from competition.training.predict import predict
from competition.workspace import derive_seed


@dataclass(frozen=True)
class Corpus:
    """All examples as token pairs for one recipe; its folds share it."""

    examples: pd.DataFrame
    pairs: Pairs
    pad_id: int
    encoder: Path

    @classmethod
    def make(cls, recipe: EncoderRecipe, encoder: Path, examples: pd.DataFrame, products: pd.DataFrame) -> "Corpus":
        """Tokenise `examples` for `recipe`; raises InputError when its `max_length` is more than the encoder reads."""
        limit = position_limit(encoder)
        if limit is not None and recipe.max_length > limit:
            raise InputError(
                f"The recipe {recipe.name!r} has max_length = {recipe.max_length}, but the encoder {recipe.encoder!r} "
                f"reads at most {limit} tokens: lower max_length."
            )
        tokenizer = load_tokenizer(encoder)
        pairs = Pairs.make(tokenizer, examples, products, recipe.field_order, recipe.max_length)
        return cls(examples, pairs, tokenizer.pad_token_id, encoder)


@dataclass(frozen=True)
class Fold:
    """One fold to train: where its weights go, what they are made from, and which rows are on which side.

    `train`, `held_out` and `test` are positions in the corpus, `(n,)` each, and disjoint.
    """

    number: int
    folder: Path
    inputs: str
    train: Rows
    held_out: Rows
    test: Rows


def train_fold(
    recipe: EncoderRecipe, corpus: Corpus, fold: Fold, log: Log, score: Callable[[pd.DataFrame], float]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fine-tune on `fold.train`, save the weights, and predict.

    Args:
        recipe: what to train.
        corpus: the token pairs of all examples.
        fold: which rows.
        log: gets losses and the held-out score after each epoch.
        score: of held-out outputs, higher is better; decides the epoch that is kept when `recipe.weights` is "best".

    Returns:
        Outputs of the held-out rows and of the test rows, see `predict`.
    """
    if np.intersect1d(fold.train, np.concatenate([fold.held_out, fold.test])).size:
        raise ValueError("a row is on both sides of the fold")
    seed = derive_seed(recipe.seed, recipe.name, fold.number)
    accelerator = make_accelerator()
    model = RelevanceModel.make(corpus.encoder, recipe.kind, recipe.dropout, derive_seed(seed, "head"))
    target = tasks.target(recipe.kind, corpus.examples.iloc[fold.train])
    sample = Sample(corpus.pairs, fold.train, target, np.ones(len(fold.train)))
    kept: _Kept | None = None
    evaluations = recipe.epochs * len(fold.held_out)
    name = f"{recipe.name} fold {fold.number}"
    with progress(name, recipe.epochs * len(fold.train) + evaluations + len(fold.test)) as work:

        def after_epoch(epoch: int) -> None:
            nonlocal kept
            outputs = _predict(accelerator, model, recipe, corpus, fold.held_out, work)
            value = score(outputs)
            log.write(epoch=epoch, held_out_score=None if math.isnan(value) else value)
            if recipe.weights == "last" or kept is None or value > kept.score:
                weights = {} if recipe.weights == "last" else _copy(model)
                kept = _Kept(value, outputs, weights)

        fit(accelerator, model, recipe.kind, sample, recipe, corpus.pad_id, seed, work, log, after_epoch)
        assert kept is not None  # there is at least one epoch
        if kept.weights:
            model.load_state_dict(kept.weights)
        if accelerator.is_main_process:
            save_model(fold.folder, model, fold.inputs)
        test = _predict(accelerator, model, recipe, corpus, fold.test, work)
    return kept.held_out, test


def predict_fold(recipe: EncoderRecipe, corpus: Corpus, folder: Path, number: int, test: Rows) -> pd.DataFrame:
    """Outputs of the test rows by the weights that `train_fold` left in the folder of fold `number`."""
    accelerator = make_accelerator()
    model = load_model(folder, corpus.encoder, recipe.kind, recipe.dropout).to(accelerator.device)
    with progress(f"{recipe.name} fold {number}, test rows", len(test)) as work:
        return _predict(accelerator, model, recipe, corpus, test, work)


@dataclass(frozen=True)
class _Kept:
    score: float
    held_out: pd.DataFrame
    weights: dict[str, torch.Tensor]  # empty: those that the model has at the end


def _copy(model: RelevanceModel) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _predict(
    accelerator: Accelerator, model: RelevanceModel, recipe: EncoderRecipe, corpus: Corpus, rows: Rows, work: Progress
) -> pd.DataFrame:
    return predict(accelerator, model, corpus.pairs, rows, corpus.pad_id, recipe.token_budget, work)
