"""Run by test_processes.py, alone and under torchrun: trains a few steps and writes predictions and losses."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from competition.data import synthetic
from competition.data.tokens import Pairs
from competition.model.encoder import load_tokenizer
from competition.model.relevance import RelevanceModel
from competition.progress import progress
from competition.settings import EncoderRecipe
from competition.tasks import target
from competition.training.loop import Log, Sample, fit, make_accelerator
from competition.training.predict import predict


def main(encoder: Path, out: Path) -> None:
    """Train on 50 rows in batches of 7, so that shards are uneven and the last batch has a single row."""
    examples, products, _ = synthetic.make(60, noise=0.0, seed=7)
    examples = examples.head(64)
    tokenizer = load_tokenizer(encoder)
    pairs = Pairs.make(tokenizer, examples, products, "ptbcbd", 32)
    recipe = EncoderRecipe(name="x", kind="classes", epochs=2, batch_size=7, learning_rate=1e-3, dropout=0.0)
    model = RelevanceModel.make(encoder, "classes", 0.0, seed=1)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    accelerator = make_accelerator()
    rows = np.arange(50)
    sample = Sample(pairs, rows, target("classes", examples)[rows], np.ones(50))
    log = Log(out.with_suffix(f".{accelerator.process_index}.jsonl"))
    pad = tokenizer.pad_token_id
    with progress("train", 100) as work:
        fit(accelerator, model, "classes", sample, recipe, pad, 3, work, log, lambda epoch: None)
    outputs = predict(accelerator, model, pairs, np.arange(64), pad, token_budget=200)
    if accelerator.is_main_process:
        out.write_text(json.dumps(outputs.to_dict("list")))
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
