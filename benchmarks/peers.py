"""Plain fine-tuning and prediction against sentence-transformers' CrossEncoderTrainer and CrossEncoder.predict.

    python -m benchmarks.peers [--encoder FOLDER] [--workspace DIR] [--length 128] [--rounds 5]

Same weights, pairs, length, batch size, optimiser steps and precision. Needs the extra `bench`.
"""

import argparse
import logging
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.rounds import Data, alternate, arguments, describe, machine, opened, ratio, train_ours
from competition.data.text import FIELD_ORDERS, clean
from competition.model.relevance import RelevanceModel
from competition.recipe import EncoderRecipe
from competition.training.loop import make_accelerator
from competition.training.predict import predict
from competition.training.step import Sample

BATCH = 32
TRAINED, PREDICTED = 64, 128  # pairs of a timed round


def texts(data: Data, rows: int, separator: str) -> dict[str, list[Any]]:
    """The pairs as the peer reads them: a query and the product's fields, joined by the separator that ours has."""
    examples = data.examples.head(rows)
    products = data.products.set_index(["locale", "product_id"])
    keys = list(zip(examples["locale"], examples["product_id"], strict=True))
    found = products.loc[keys, list(FIELD_ORDERS["ptbcbd"])].fillna("")
    product = [f" {separator} ".join(clean(text) if text else "" for text in fields) for fields in found.to_numpy()]
    return {"query": [clean(text) for text in examples["query"]], "product": product}


class Peer:
    """sentence-transformers on the same pairs."""

    def __init__(self, folder: str, recipe: EncoderRecipe, data: Data, sample: Sample, bf16: bool, out: Path) -> None:
        from sentence_transformers import CrossEncoder

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = CrossEncoder(folder, num_labels=4, max_length=recipe.max_length, device=device)
        self.recipe, self.bf16, self.out = recipe, bf16, out
        self.texts = texts(data, max(TRAINED, PREDICTED), str(self.model.tokenizer.sep_token))
        self.label = sample.target.astype(int).tolist()

    def train(self) -> None:
        """One epoch."""
        from datasets import Dataset
        from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
        from sentence_transformers.cross_encoder.losses import CrossEntropyLoss
        from transformers import PrinterCallback

        rows = {name: values[:TRAINED] for name, values in self.texts.items()} | {"label": self.label[:TRAINED]}
        keys = CrossEncoderTrainingArguments(
            str(self.out), num_train_epochs=1, per_device_train_batch_size=BATCH, learning_rate=1e-5, bf16=self.bf16,
            report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        )  # fmt: skip
        loss = CrossEntropyLoss(self.model)
        trainer = CrossEncoderTrainer(self.model, keys, Dataset.from_dict(rows), loss=loss)
        trainer.remove_callback(PrinterCallback)  # its lines have no place in a table
        trainer.train()

    def predict(self) -> np.ndarray:
        """Logits of all pairs."""
        pairs = list(zip(self.texts["query"][:PREDICTED], self.texts["product"][:PREDICTED], strict=True))
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bf16):
            return self.model.predict(pairs, batch_size=BATCH, show_progress_bar=False)


Works = dict[str, dict[str, Callable[[], object]]]


def works(asked: argparse.Namespace, data: Data, precision: str, out: Path) -> Works:
    """Stage -> who -> what is timed."""
    shape = {"max_length": asked.length or 128, "batch_size": BATCH, "epochs": 1, "learning_rate": 1e-5}
    recipe = EncoderRecipe(name="x", precision=precision, **shape)
    lean = recipe.model_copy(update={"lean": True})
    sample, every = data.sample(recipe, TRAINED), data.sample(recipe, PREDICTED)
    peer = Peer(str(data.sources.encoder), recipe, data, every, precision == "bf16", out)
    model, leaner = (RelevanceModel.make(each, data.sources, seed=1) for each in (recipe, lean))
    accelerator, log = make_accelerator(precision=precision), out / "log.jsonl"
    model.to(accelerator.device)
    print(describe(every))
    training = {
        "theirs": peer.train,
        "ours": partial(train_ours, recipe, model, sample, log),
        "lean": partial(train_ours, lean, leaner, sample, log),
    }
    predicting = partial(predict, accelerator, model, every.pairs, every.rows, recipe.token_budget)
    return {"training": training, "prediction": {"theirs": peer.predict, "ours": predicting}}


def main() -> None:
    """Time both and print a table."""
    asked = arguments(__doc__ or "")
    logging.disable(logging.WARNING)
    print(machine())
    with opened(asked.encoder, asked.workspace) as data, tempfile.TemporaryDirectory() as folder:
        for precision in ("fp32", "bf16"):
            timed = works(asked, data, precision, Path(folder))
            print("| precision, stage | sentence-transformers, ms per pair | ours | times as fast | `lean` | `lean` |")
            print("|---|---|---|---|---|---|")
            for stage, rows in (("training", TRAINED), ("prediction", PREDICTED)):
                times = alternate(timed[stage], asked.rounds)
                cells = [f"{precision}, {stage}", f"{1e3 * median(times['theirs']) / rows:.1f}"]
                for way in list(times)[1:]:
                    cells += [f"{1e3 * median(times[way]) / rows:.1f}", f"{ratio(times['theirs'], times[way]):.2f}"]
                print("| " + " | ".join(cells) + " |", flush=True)
        print(f"batches of {BATCH}; medians of {asked.rounds} rounds")


if __name__ == "__main__":
    main()
