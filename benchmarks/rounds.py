"""What the benchmarks of training share: data, models, alternating rounds, and the line that names the machine."""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.console import Progress, console
from competition.core.workspace import Workspace
from competition.data import synthetic
from competition.data.store import load_examples, load_products
from competition.models.encoder.encoder import fetch, make_tiny
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from competition.training.batches import Rows
from competition.training.corpus import Corpus
from competition.training.device import computes_in_bf16
from competition.training.gradients import BatchGradients
from competition.training.loop import Log, fit, make_accelerator
from competition.training.samples import Sample
from tests.esci import CONTEST, KINDS

Way = TypeVar("Way")  # the name of what is timed


def arguments(about: str) -> argparse.Namespace:
    """Read what the benchmarks take: an encoder's folder and a workspace with imported data."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--encoder", help="a local folder; without it, the offline encoder")
    parser.add_argument(
        "--workspace", type=Path, help="whose data are read; without it, the built-in catalogue"
    )
    parser.add_argument("--length", type=int, help="the longest text in tokens")
    parser.add_argument("--rounds", type=int, default=5)
    console.quiet = True  # progress has no place in a table
    return parser.parse_args()


@dataclass(frozen=True)
class Data:
    """Labelled examples in a random order, products, and an encoder's folder."""

    examples: pd.DataFrame
    products: pd.DataFrame
    sources: Sources

    def sample(self, recipe: EncoderRecipe, rows: int) -> Sample:
        """Return the first rows as a recipe reads them."""
        examples = self.examples.head(rows)
        pairs = Corpus.make(recipe, CONTEST, self.sources, examples, self.products).pairs
        return Sample(
            pairs,
            np.arange(len(examples)),
            KINDS[recipe.kind].numeric_target(examples),
            np.ones(len(examples)),
        )


def write_encoder(folder: Path, source: str | None, products: pd.DataFrame) -> None:
    """Write the encoder of a folder or of a name on the model hub; without one, the offline encoder of `products`."""
    if source:
        fetch(folder, source, "benchmark")
    else:
        make_tiny(folder, products, 1, "benchmark")


@contextmanager
def opened(encoder: str | None, workspace: Path | None) -> Iterator[Data]:
    """Open the data of a workspace or of the built-in catalogue, and an encoder that lasts as long as the context."""
    if workspace is None:
        examples, products, _ = synthetic.make(60, noise=0.0, seed=7)
    else:
        examples, products = (
            load_examples(Workspace.open(workspace)),
            load_products(Workspace.open(workspace)),
        )
    known = (examples["split"] == "train") & examples["label"].notna()
    examples = examples[known].sample(frac=1, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder"
        write_encoder(path, encoder, products)
        yield Data(examples, products, Sources(path))


def without_dropout(model: nn.Module) -> nn.Module:
    """Return the model with every dropout at 0."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


class Watched(BatchGradients):
    """Gradients that keep their losses on the device."""

    def __init__(self, *arguments: Any) -> None:
        """See `BatchGradients`."""
        super().__init__(*arguments)
        self.losses: list[Tensor] = []

    def compute(self, batch: Rows, step: int) -> Tensor:
        """See `BatchGradients`."""
        self.losses.append(super().compute(batch, step))
        return self.losses[-1]


def train_ours(
    recipe: EncoderRecipe, model: RelevanceModel, sample: Sample, log: Path
) -> list[float]:
    """Train `model` by the real loop; return the loss of each step."""
    accelerator = make_accelerator(precision=recipe.precision)
    watched: list[Watched] = []

    def gradients(wrapped: nn.Module) -> Watched:
        watched.append(Watched(accelerator, wrapped, recipe, sample, 1))
        return watched[-1]

    fit(
        accelerator, model, recipe, len(sample.rows), gradients, 1, Progress("", 0, None), Log(log), lambda *_: None,
    )  # fmt: skip
    return torch.stack(watched[0].losses).tolist()


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long `work` takes, on a GPU until it is done there."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def alternate(works: Mapping[Way, Callable[[], object]], rounds: int) -> dict[Way, list[float]]:
    """Return the seconds of each, round by round; a first round of all warms up."""
    times: dict[Way, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            seconds = seconds_of(work)
            if number:
                times[name].append(seconds)
    return times


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return how many times as fast it is: the median over rounds of the ratio within one."""
    return median(a / b for a, b in zip(slow, fast, strict=True))


def precisions() -> tuple[str, ...]:
    """Return the precisions that the device has instructions for."""
    return ("fp32", "bf16") if computes_in_bf16("fast") else ("fp32",)


def machine() -> str:
    """Return one line for the head of a table."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    return (
        f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads{gpu}; torch {torch.__version__}"
    )


def describe(sample: Sample) -> str:
    """Return what is trained on, in words."""
    lengths = sample.pairs.lengths()[sample.rows]
    return (
        f"{len(lengths):,} pairs of {lengths.mean():.0f} tokens on average, at most {lengths.max()}"
    )
