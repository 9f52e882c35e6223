"""What each fine-tuning method adds to the cost of a training step, as a ratio to plain training.

    python -m benchmarks.methods [encoder folder]

All variants train the same batches in alternating rounds of one process through the real loop, on
the built-in data; the table shows medians and ratios. Without a folder, the encoder is the offline
`tiny`.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.console import Progress
from competition.data import synthetic
from competition.data.vocabulary import Vocabulary
from competition.models.encoder.encoder import make_tiny
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from competition.training.corpus import Corpus
from competition.training.finetune import fine_tune
from competition.training.loop import Log, make_accelerator
from competition.training.samples import Sample
from tests.esci import CONTEST, KINDS, LOCALES

ROUNDS = 5
ROWS = 256  # 8 optimiser batches of 32
NAMES = ("brand", "color", "country")
R_DROP, TABLE = {"r_drop": 0.5}, {"adversary": "fgm-table"}
IN_FOUR = {"token_budget": 512}  # about four micro-batches per batch of 32 pairs of up to 64 tokens
METHODS: dict[str, dict[str, Any]] = {
    "plain (CE)": {},
    "Poly1": {"loss": "poly1"},
    "focal": {"loss": "focal"},
    "GHM-C": {"loss": "ghm"},
    "EMA": {"ema": 0.999},
    "mixup": {"mixup": 0.2},
    "multi-sample dropout, 5": {"multi_sample_dropout": 5},
    "brand, color, country": {"features": NAMES},
    "the same and 3-gram units": {"features": (*NAMES, "char_trigrams")},
    "R-Drop of two dropout passes": R_DROP,
    "FGM row": {"adversary": "fgm-row"},
    "FGM table": TABLE,
    "FGM table, R-Drop": TABLE | R_DROP,
    "AWP": {"adversary": "awp"},
    "AWP, R-Drop": {"adversary": "awp"} | R_DROP,
    "Poly1, EMA, FGM table, R-Drop, mixup": {"loss": "poly1", "ema": 0.999, "mixup": 0.2}
    | TABLE
    | R_DROP,
    "plain, in pieces": IN_FOUR,
    "FGM row, R-Drop, in pieces": {"adversary": "fgm-row"} | R_DROP | IN_FOUR,
    "FGM table, R-Drop, in pieces": TABLE | R_DROP | IN_FOUR,
    "mixture of experts": {"architecture": "mixture-of-experts"},
    "two-tower": {"architecture": "two-tower"},
}


class Variant:
    """One method, ready to train the batches again and again."""

    def __init__(self, keys: dict[str, Any], sources: Sources, folder: Path) -> None:
        self.recipe = EncoderRecipe(name="x", max_length=64, epochs=1, learning_rate=1e-5, **keys)
        examples, products, _ = synthetic.make(60, noise=0.0, seed=7)
        corpus = Corpus.make(self.recipe, CONTEST, sources, examples, products)
        rows, kind = np.arange(ROWS), KINDS[self.recipe.kind]
        self.sample = Sample(corpus.pairs, rows, kind.numeric_target(examples)[rows], np.ones(ROWS))
        self.model = RelevanceModel.make(self.recipe, kind, sources, seed=1)
        self.log = Log(folder / "log.jsonl")
        self.accelerator = make_accelerator()

    def train(self) -> float:
        """Return the seconds of one epoch."""
        bar = Progress("", 0, None)
        start = time.perf_counter()
        fine_tune(
            self.accelerator,
            self.model,
            self.recipe,
            self.sample,
            1,
            bar,
            self.log,
            lambda *_: None,
        )
        return time.perf_counter() - start


def main(encoder: str | None) -> None:
    """Time all methods and print a table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, products, _ = synthetic.make(60, noise=0.0, seed=7)
        Vocabulary.make(products, CONTEST.categories).save(folder / "vocabulary", "benchmark")
        if encoder is None:
            make_tiny(folder / "tiny", products, 1, "benchmark")
        source = Path(encoder) if encoder else folder / "tiny"
        sources = Sources(source, folder / "vocabulary", locales=len(LOCALES))
        variants = {method: Variant(keys, sources, folder) for method, keys in METHODS.items()}
        times: dict[str, list[float]] = {method: [] for method in METHODS}
        for number in range(ROUNDS + 1):
            for method, variant in variants.items():
                seconds = variant.train()
                if number:  # the first round warms up
                    times[method].append(seconds)
    plain = median(times["plain (CE)"])
    print("| method | ms per pair | times plain training |\n|---|---|---|")
    for method, seconds in times.items():
        print(f"| {method} | {1e3 * median(seconds) / ROWS:.2f} | {median(seconds) / plain:.2f} |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
