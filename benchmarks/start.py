"""What the first steps of a fine-tuning do to what an encoder knows: do its texts stay apart?

    python -m benchmarks.start --encoder FOLDER --workspace DIR [--steps 20] [--rate 1.5e-4]

Each line is a way to start; 800 rows in batches of 16, 24 tokens, a warm-up of 10 steps. On 32 rows
that nothing is learned from: the mean cosine between pooled texts, by how much the head's features
and the probability of `exact` deviate over rows, before the first step and behind the last.
"""

import argparse
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.loop import Rows
from benchmarks.rounds import machine, write_encoder
from competition.config.encoder_recipe import EncoderRecipe
from competition.core.console import Progress, console
from competition.data.pairs import Pairs
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from competition.training.batches import collate
from competition.training.corpus import Corpus
from competition.training.gradients import BatchGradients
from competition.training.loop import Log, fit, make_accelerator
from competition.training.samples import Sample
from tests.esci import CONTEST, KINDS, LABELS, label_codes

SEED = 3
WAYS: dict[str, dict[str, Any]] = {
    "first token": {"pooling": "first"},
    "first token, prior_bias": {"pooling": "first", "prior_bias": True},
    "mean": {"pooling": "mean"},
    "mean, prior_bias": {"pooling": "mean", "prior_bias": True},
    "mean, prior_bias, warmup_steps, head 1e-3": {
        "pooling": "mean", "prior_bias": True, "warmup_steps": 50, "head_learning_rate": 1e-3
    },
}  # fmt: skip


@torch.no_grad()
def apart(
    model: RelevanceModel, pairs: Pairs, rows: np.ndarray, recipe: EncoderRecipe
) -> tuple[float, float, float]:
    """Return the mean cosine between pooled texts, and the deviations of features and of p(exact) over rows."""
    seen: list[Tensor] = []
    hook = model.head.register_forward_hook(
        lambda module, given, features: seen.extend([given[0][:, 0], features])
    )
    was_training = model.training
    model.eval()
    with make_accelerator(recipe.precision).autocast():
        logits = model(collate(pairs, rows, next(model.parameters()).device))
    model.train(was_training)
    hook.remove()
    pooled, features = (functional.normalize(seen[0].float(), dim=1), seen[1].float())
    others = len(rows) * (len(rows) - 1)
    cosine = (float((pooled @ pooled.T).sum()) - len(rows)) / others
    exact = model.outputs(logits)[:, LABELS.index("exact")]
    return cosine, float(features.std(0).mean()), float(exact.std())


class _Enough(Exception):
    """The first steps are done."""


class _FirstSteps(Progress):
    """Ends a training after some steps."""

    def __init__(self, steps: int) -> None:
        super().__init__("", 0, None)
        self._left = steps

    def advance(self, units: int) -> None:
        """Count a step; raise _Enough at the last."""
        self._left -= 1
        if not self._left:
            raise _Enough


def follow(
    rows: Rows, encoder: Path, recipe: EncoderRecipe, steps: int
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Take the first steps of a training; returns what `apart` says before and behind them."""
    sources, train = Sources(encoder), np.sort(rows.train)
    pairs = Corpus.make(recipe, CONTEST, sources, rows.examples, rows.products).pairs
    target = label_codes(rows.examples["label"].iloc[train]).astype(np.float64)
    sample = Sample(pairs, train, target, np.ones(len(train)))
    accelerator = make_accelerator(recipe.precision)
    kind = KINDS[recipe.kind]
    model = RelevanceModel.make(recipe, kind, sources, SEED).to(accelerator.device)
    if recipe.prior_bias:
        model.init_output_bias(sample.mean_target(kind.targets))
    probe = rows.answered[:: max(1, len(rows.answered) // 32)][:32]
    before = apart(model, pairs, probe, recipe)

    def gradients(wrapped: nn.Module) -> BatchGradients:
        return BatchGradients(accelerator, wrapped, recipe, sample, SEED)

    bar, log = _FirstSteps(steps), Log(Path(os.devnull))
    with suppress(_Enough):
        fit(accelerator, model, recipe, len(train), gradients, SEED, bar, log, lambda *_: None)
    return before, apart(model, pairs, probe, recipe)


def main() -> None:
    """Follow each way, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", help="a local folder; without it, the offline encoder")
    parser.add_argument(
        "--workspace", type=Path, help="whose data are read; without it, the built-in catalogue"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rate", type=float, default=1.5e-4)
    asked = parser.parse_args()
    console.quiet = True
    rows = Rows.of(asked.workspace, 800)
    with tempfile.TemporaryDirectory() as folder:
        encoder = Path(folder) / "encoder"
        write_encoder(encoder, asked.encoder, rows.products)
        print(machine())
        print("| start | mean cosine of texts | deviation of features | deviation of p(exact) |")
        print("|---|---|---|---|")
        for name, keys in WAYS.items():
            recipe = EncoderRecipe(
                name=name,
                max_length=24,
                batch_size=16,
                epochs=2,
                learning_rate=asked.rate,
                precision="fast",
                **keys,
            )
            ends = zip(*follow(rows, encoder, recipe, asked.steps), strict=True)
            cells = [f"{was:.4f} → {now:.4f}" for was, now in ends]
            print("| " + " | ".join([name, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
