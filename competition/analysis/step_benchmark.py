"""A few real steps of a recipe on this device: what they take of time and memory.

A sample of whole queries is tokenised, trained on and predicted by the same code as a fold. What
training starts from and is not there yet (the offline encoder, a vocabulary) is stood in for by one
of the sample, in a folder that is thrown away: nothing is written to the workspace.
"""

import time
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from competition.config.recipe import EncoderRecipe
from competition.core.console import Progress
from competition.core.errors import InputError
from competition.core.json_files import read_manifest
from competition.data.store import product_rows
from competition.models.encoder.paths import Sources
from competition.pipeline.inputs import TINY
from competition.pipeline.steps import Pipeline
from competition.scoring.tasks import numeric_target

_SAMPLE = 2_048  # training rows
_WARM = 3  # steps that are not counted
_STEPS = 40  # at most that are
_SECONDS = 20.0  # after which no step is begun once enough are counted
_ENOUGH = 5


@dataclass(frozen=True)
class StepTimes:
    """What a few steps on a sample of the rows took."""

    steps: int  # that were counted
    step: float  # seconds of an optimiser step
    tokens: float  # of an optimiser step, with padding
    predicted: float  # seconds per row
    tokenised: float  # seconds per row
    added: float  # augmented rows per training row
    memory: int  # bytes at the peak, with the tokens of all rows


def benchmark_steps(
    pipeline: Pipeline, recipe: EncoderRecipe, folder: Path, steps: int
) -> StepTimes:
    """Try a recipe out, for no more than `steps`, all that are to be done; what has to be written goes to `folder`.

    Raises:
        InputError: the encoder would have to be downloaded first.
    """
    from competition.models.encoder.model import RelevanceModel
    from competition.training.corpus import Corpus
    from competition.training.device import peak_memory
    from competition.training.finetune import fine_tune
    from competition.training.loop import Log, make_accelerator
    from competition.training.oom import Budget
    from competition.training.predict import predict

    examples, products = _sample(pipeline, recipe)
    sources = _sources(pipeline, recipe, folder, products)
    began = time.monotonic()
    corpus = Corpus.make(recipe, sources, examples, products)
    tokenised = (time.monotonic() - began) / len(examples)
    rows = np.arange(len(examples))
    sample = corpus.sample(recipe, rows, np.empty(0, np.int64))
    accelerator, watch = make_accelerator(precision=recipe.precision), _Stopwatch(steps)
    model = RelevanceModel.make(recipe, sources, seed=0)
    with suppress(_Enough):
        fine_tune(
            accelerator, model, recipe, sample, 0, watch, Log(folder / "log.jsonl"), lambda *_: None
        )
    began = time.monotonic()
    predict(accelerator, model, corpus.pairs, rows, Budget(recipe.token_budget))
    _synchronize()
    predicted = (time.monotonic() - began) / len(rows)
    more = len(pipeline.maker.examples) / len(examples) - 1
    return StepTimes(
        steps=watch.steps,
        step=watch.per_step,
        tokens=_tokens_per_step(recipe, corpus.pairs, sample.rows),
        predicted=predicted,
        tokenised=tokenised,
        added=len(sample.rows) / len(rows) - 1,
        memory=peak_memory() + round(more * _size(corpus.pairs)),
    )


class _Enough(Exception):
    """Enough steps are counted."""


class _Stopwatch(Progress):
    """Takes the time of each step instead of showing it."""

    def __init__(self, most: int) -> None:
        super().__init__("measured", 0, None)
        self._times = [time.monotonic()]
        self._most = min(most, _WARM + _STEPS)

    def advance(self, units: int) -> None:
        """A step has ended; raises _Enough where no other is needed."""
        _synchronize()
        self._times.append(time.monotonic())
        spent = self._times[-1] - self._times[0]
        if self._taken >= self._most or (self._taken >= _WARM + _ENOUGH and spent > _SECONDS):
            raise _Enough

    @property
    def _taken(self) -> int:
        return len(self._times) - 1

    @property
    def steps(self) -> int:
        """How many steps are counted: those behind the first ones, or all where there are no others."""
        return self._taken - _WARM if self._taken > _WARM else self._taken

    @property
    def per_step(self) -> float:
        """Mean seconds of the steps that are counted."""
        return float(np.diff(self._times)[-self.steps :].mean())


def _sample(pipeline: Pipeline, recipe: EncoderRecipe) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows of whole queries drawn at random, and their products."""
    examples, products = pipeline.maker.examples, pipeline.maker.products
    learned = examples[
        (examples["split"] == "train") & ~np.isnan(numeric_target(recipe.kind, examples))
    ]
    sizes = learned.groupby("query_id").size()
    drawn = sizes.sample(frac=1, random_state=0)
    queries = drawn.index[: 1 + int(np.searchsorted(drawn.cumsum(), _SAMPLE))]
    rows = learned[learned["query_id"].isin(queries)].reset_index(drop=True)
    used = np.unique(product_rows(rows, products))
    return rows, products.iloc[used[used >= 0]].reset_index(drop=True)


def _sources(
    pipeline: Pipeline, recipe: EncoderRecipe, folder: Path, products: pd.DataFrame
) -> Sources:
    """What the recipe starts from; where it is not there yet, what takes as long."""
    from competition.data.vocabulary import Vocabulary

    real = pipeline.sources(recipe)
    vocabulary = real.vocabulary
    if vocabulary is not None and read_manifest(vocabulary) is None:
        vocabulary = folder / "vocabulary"
        Vocabulary.make(products).save(vocabulary, "trial")
    return Sources(_encoder(pipeline, recipe.encoder, folder, products), vocabulary)


def _encoder(pipeline: Pipeline, encoder: str, folder: Path, products: pd.DataFrame) -> Path:
    """The encoder's folder. A pre-training that is still to be done is as large as what it starts from."""
    from competition.models.encoder.encoder import fetch, make_tiny

    here = pipeline.encoder_folder(encoder)
    if read_manifest(here) is not None:
        return here
    pretraining = pipeline.pretrained(encoder)
    if pretraining is not None:
        return _encoder(pipeline, pretraining.encoder, folder, products)
    source, made = pipeline.encoder_source(encoder), folder / "encoder"
    if source == TINY:
        make_tiny(made, products, 0, "trial")
    elif Path(source).is_dir():
        fetch(made, source, "trial")
    else:
        raise InputError(
            f"The encoder {encoder!r} is not here, so nothing can be measured: `comp train` downloads it first, or put "
            "the path of its folder into [overrides] of competition.toml as `encoder`."
        )
    return made


def _tokens_per_step(recipe: EncoderRecipe, pairs: Any, rows: np.ndarray) -> float:
    """The mean number of tokens of an optimiser batch, with padding, over all views."""
    from competition.training.batches import PAD_TO, epoch_batches, micro_batches

    lengths, budget, total, batches = pairs.lengths(), recipe.token_budget // len(pairs.views), 0, 0
    for chosen in epoch_batches(len(rows), recipe.batch_size, 0, 0):
        for group in micro_batches(rows[chosen], lengths, budget):
            total += len(group) * -(-int(lengths[group].max()) // PAD_TO) * PAD_TO
        batches += 1
    return len(pairs.views) * total / batches


def _size(part: Any) -> int:
    """Bytes of the arrays in a dataclass; those that are mapped from a file are not in memory."""
    if isinstance(part, np.ndarray):
        return 0 if isinstance(part, np.memmap) else part.nbytes
    if isinstance(part, dict):
        return sum(map(_size, part.values()))
    if isinstance(part, tuple):
        return sum(map(_size, part))
    return (
        sum(_size(getattr(part, each.name)) for each in fields(part)) if is_dataclass(part) else 0
    )


def _synchronize() -> None:
    """Wait until a GPU has done what it was told."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
