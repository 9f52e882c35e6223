"""Run by test_processes.py, alone and under torchrun: trains a few steps and writes predictions."""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

from competition.data import synthetic
from competition.model.relevance import RelevanceModel
from competition.model.sources import Sources
from competition.progress import progress
from competition.recipe import EncoderRecipe
from competition.tasks import target
from competition.training.finetune import Corpus, tune
from competition.training.loop import Log, make_accelerator
from competition.training.memory import Budget
from competition.training.predict import predict
from competition.training.step import Sample

# With every method that looks at the whole optimiser batch, and averaged weights.
METHODS = {
    "plain": {},
    "fgm": {"adversary": "fgm-table", "r_drop": 0.5, "ema": 0.999, "loss": "ghm"},
    "awp": {"adversary": "awp", "r_drop": 0.5},
}


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


def main(encoder: Path, vocabulary: Path, out: Path) -> None:
    """Train on 50 rows in batches of 7, so that shards are uneven and the last batch has a single row."""
    examples, products, _ = synthetic.make(60, noise=0.0, seed=7)
    examples = examples.head(64)
    accelerator = make_accelerator()
    found = {}
    for name, method in METHODS.items():
        recipe = EncoderRecipe(
            name=name, features=("brand", "char3"), max_length=32, epochs=2, batch_size=7, learning_rate=1e-3,
            dropout=0.0, token_budget=100, **method,
        )  # fmt: skip
        sources = Sources(encoder, vocabulary)
        corpus = Corpus.make(recipe, sources, examples, products)
        model = RelevanceModel.make(recipe, sources, seed=1)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        rows = np.arange(50)
        sample = Sample(corpus.pairs, rows, target("classes", examples)[rows], np.ones(50))
        kept: list[RelevanceModel] = []
        with progress(name, 100) as work:
            log = Log(out.with_suffix(f".{accelerator.process_index}.jsonl"))
            tune(accelerator, model, recipe, sample, 3, work, log, partial(_keep, kept))
        struck = _short_of_memory(kept[-1]) if accelerator.process_index == 1 else ["never"]  # the second splits alone
        outputs = predict(accelerator, kept[-1], corpus.pairs, np.arange(64), Budget(200))
        assert struck
        found[name] = outputs.to_dict("list")
    if accelerator.is_main_process:
        out.write_text(json.dumps(found))
    accelerator.end_training()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
