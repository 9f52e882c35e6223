"""InfoXLM-large's configuration with random weights on a GPU: tokens per second, and the share of its matmul peak.

    python -m benchmarks.gpu [--small]

Plain training, and with EMA, FGM and R-Drop, in bf16 by the real loop against the released code's
way in fp32. Tokens are those that are no padding. The peak is measured: products of large bf16
matrices. Work is counted as the mathematics needs it, forwards and backwards of all layers over
these tokens, and not what is left out or repeated.
"""

import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from benchmarks.reference import Reference
from benchmarks.rounds import alternate, machine, ratio, train_ours
from competition.config.encoder_recipe import EncoderRecipe
from competition.data.pairs import SpecialTokens, View
from competition.models.encoder.model import RelevanceModel
from competition.training.samples import Sample
from tests.esci import KINDS

BATCH, STEPS, ROUNDS = 32, 8, 3
KIND = KINDS["classes"]
LARGE = {
    "vocab_size": 250_002,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
}
LARGE |= {"intermediate_size": 4096, "max_position_embeddings": 514}
SMALL = {"vocab_size": 500, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 64, "max_position_embeddings": 70}
# Passes in units of a forward: with an attack two forwards, two backwards and one that stops at the
# embedded tokens.
METHODS: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({}, 1 + 2),
    "EMA, FGM, R-Drop": ({"ema": 0.999, "adversary": "fgm-table", "r_drop": 0.5}, 2 + 2 * 2 + 1),
}


@dataclass(frozen=True)
class RandomPairs:
    """Pairs of random tokens; the lengths spread as those of products do, a third of them at the limit."""

    rows: int
    vocabulary: int
    max_length: int
    views: tuple[View, ...] = (View(True, ("title",)),)
    special: SpecialTokens = field(default_factory=lambda: SpecialTokens(0, 2, 1))
    attributes: None = None

    def lengths(self) -> np.ndarray:
        """Return the tokens of each pair."""
        drawn = np.random.default_rng(0).normal(0.85, 0.3, self.rows) * self.max_length
        return drawn.clip(16, self.max_length).astype(np.int64)

    def ids(self, row: int, view: View) -> tuple[np.ndarray, int]:
        """Return the tokens of a pair, of which the query has eight."""
        length = self.lengths()[row]
        return np.random.default_rng(row).integers(3, self.vocabulary, length).astype(np.int32), 8

    def has_text(self, row: int, view: View) -> bool:
        """Return True: every product has some."""
        return True


def work_of(config: XLMRobertaConfig, lengths: np.ndarray) -> float:
    """Return the floating-point operations of a forward over texts of these lengths, additions apart."""
    hidden, inner = config.hidden_size, config.intermediate_size
    per_token = 2 * (4 * hidden * hidden + 2 * hidden * inner)
    return config.num_hidden_layers * float(
        (per_token * lengths + 4 * hidden * lengths.astype(float) ** 2).sum()
    )


def measured_peak(device: torch.device, size: int) -> float:
    """Return the operations per second of bf16 matrix products."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(5):
            a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 5 * 2 * size**3 / best


def measure(
    device: torch.device,
    shape: dict[str, int],
    max_length: int,
    batch: int,
    steps: int,
    peak_size: int,
) -> None:
    """Time both ways and print a table."""
    config = XLMRobertaConfig(**shape, pad_token_id=1, type_vocab_size=1)
    pairs: Any = RandomPairs(steps * batch, shape["vocab_size"], max_length)
    sample = Sample(pairs, np.arange(pairs.rows), np.arange(pairs.rows) % 4, np.ones(pairs.rows))
    tokens, peak = int(pairs.lengths().sum()), measured_peak(device, peak_size)
    print(
        f"{machine()}; {peak / 1e12:.3g} TFLOP/s of bf16 matmul; {tokens / pairs.rows:.0f} tokens per pair"
    )
    print(
        "| method | reference in fp32, tokens/s | ours in bf16 | share of the peak | times as fast |"
    )
    print("|---|---|---|---|---|")
    for name, (keys, passes) in METHODS.items():
        recipe = EncoderRecipe(
            name="x", max_length=max_length, batch_size=batch, epochs=1, learning_rate=1e-5, precision="bf16",
            token_budget=batch * max_length, **keys,
        )  # fmt: skip
        model, other = (RelevanceModel(XLMRobertaModel(config, add_pooling_layer=False), r, KIND, None) for r in (
            recipe, recipe.model_copy(update={"lean": False})
        ))  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            reference = Reference(other, recipe, sample, device)
            ours = partial(train_ours, recipe, model, sample, Path(folder) / "log.jsonl")
            times = alternate({"reference": reference.train, "ours": ours}, ROUNDS)
        rates = {way: tokens / float(np.median(seconds)) for way, seconds in times.items()}
        share = passes * work_of(config, pairs.lengths()) / float(np.median(times["ours"])) / peak
        cells = [
            f"{rates['reference']:,.0f}",
            f"{rates['ours']:,.0f}",
            f"{share:.1%}",
            f"{ratio(*times.values()):.2f}",
        ]
        print("| " + " | ".join([name, *cells]) + " |", flush=True)


def main(small: bool) -> None:
    """Measure on the GPU, or the small model wherever this runs; else say that there is none."""
    if small:
        measure(torch.device("cuda" if torch.cuda.is_available() else "cpu"), SMALL, 64, 4, 1, 64)
    elif torch.cuda.is_available():
        measure(torch.device("cuda"), LARGE, 256, BATCH, STEPS, 8192)
    else:
        print("This benchmark needs a GPU, and there is none here.")


if __name__ == "__main__":
    main(sys.argv[1:] == ["--small"])
