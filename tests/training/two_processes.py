"""Run by test_processes.py, alone and in two processes: trains a few steps and writes predictions."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from competition.config.encoder_recipe import EncoderRecipe
from competition.core import distributed
from competition.core.console import progress
from competition.data import synthetic
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from competition.training.corpus import Corpus
from competition.training.finetune import fine_tune
from competition.training.loop import Log, make_accelerator
from competition.training.oom import Budget
from competition.training.predict import predict
from tests.esci import CONTEST, KINDS

ROWS, ALL_ROWS = 15, 24  # that are trained on, and with those that are held out
# With every method that looks at the whole optimiser batch, and averaged weights.
METHODS: dict[str, dict[str, Any]] = {
    "plain": {"pooling": "first+mean", "head_learning_rate": 3e-3, "layer_decay": 0.5},
    "fgm": {"adversary": "fgm-table", "r_drop": 0.5, "ema": 0.999, "loss": "ghm"},
    "lists": {"kind": "gain", "ranking_loss": "ndcg-loss2pp", "r_drop": 0.5},
    "awp": {"adversary": "awp", "r_drop": 0.5},
    "adapters": {"lora": {"rank": 2}, "ema": 0.9, "adversary": "awp", "r_drop": 0.5},
}
# How sharded processes train, which `awp` cannot: as they are, and with what else saves memory.
SHARDED = {
    "plain": {"sharded": True, "checkpointing": True},
    "fgm": {"sharded": True, "lean": False},
    "lists": {"sharded": True},
}
WHOLE: dict[str, dict[str, bool]] = {name: {} for name in METHODS}


def _keep(kept: list[RelevanceModel], epoch: int, model: RelevanceModel) -> None:
    kept.append(model)


def _short_of_memory(model: RelevanceModel) -> list[str]:
    """Let the next pass of `model` run out of memory; returns what grows when it has."""
    struck: list[str] = []

    def fail(*_: object) -> None:
        handle.remove()
        struck.append("once")
        raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = model.register_forward_pre_hook(fail)
    return struck


def _count(held: list[int], optimizer: Optimizer, *_: object) -> None:
    """Append how many numbers the optimiser holds in this process."""
    moments = [tensor for state in optimizer.state.values() for tensor in state.values()]
    held.append(sum((t.to_local() if isinstance(t, DTensor) else t).numel() for t in moments))


def main(encoder: Path, vocabulary: Path, out: Path, layouts: Sequence[str]) -> None:
    """Train each method in each layout on ROWS in batches of 7: shards are uneven, the last batch has one row."""
    with distributed.process_group():
        results = {layout: _train_methods(encoder, vocabulary, out, layout) for layout in layouts}
        if distributed.is_main_process():
            out.write_text(json.dumps(results))

        # Nobody takes the group down while another still uses it.
        distributed.barrier()


def _train_methods(
    encoder: Path, vocabulary: Path, path: Path, layout: str
) -> dict[str, dict[str, Any]]:
    """Return for each method the outputs by column, and how many numbers the optimiser held."""
    examples, products, _ = synthetic.make(60, noise=0.0, seed=7)
    examples = examples.head(ALL_ROWS)
    accelerator = make_accelerator()
    results = {}
    for name, keys in (SHARDED if layout == "sharded" else WHOLE).items():
        recipe = EncoderRecipe(
            name=name, features=("brand", "char_trigrams"), max_length=32, epochs=2, batch_size=7, learning_rate=1e-3,
            dropout=0.0, token_budget=100, **METHODS[name], **keys,
        )  # fmt: skip
        sources = Sources(encoder, vocabulary)
        corpus = Corpus.make(recipe, CONTEST, sources, examples, products)
        model = RelevanceModel.make(recipe, KINDS[recipe.kind], sources, seed=1)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        rows, held_out = np.arange(ROWS), np.arange(ROWS, ALL_ROWS)
        sample = corpus.sample(recipe, KINDS[recipe.kind], rows, held_out)
        kept: list[RelevanceModel] = []
        held: list[int] = []
        handle = register_optimizer_step_post_hook(partial(_count, held))
        with progress(name, 100) as work:
            log = Log(path.with_suffix(f".{accelerator.process_index}.jsonl"))
            fine_tune(accelerator, model, recipe, sample, 3, work, log, partial(_keep, kept))
        handle.remove()
        struck = (
            _short_of_memory(kept[-1]) if accelerator.process_index == 1 else ["never"]
        )  # the second splits alone
        outputs = predict(accelerator, kept[-1], corpus.pairs, np.arange(ALL_ROWS), Budget(200))
        assert struck
        results[name] = outputs.to_dict("list") | {"held": held[-1:]}
    return results
