"""Plain fine-tuning and prediction against sentence-transformers' CrossEncoderTrainer and CrossEncoder.predict.

    python -m benchmarks.peers [--encoder FOLDER] [--workspace DIR] [--length 128] [--rounds 5]

Same weights, pairs, length, batch size, optimiser steps and precision: fp32, and bf16 where there
are instructions for it, all in the same alternating rounds. Needs the extra `bench`.
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
from accelerate.state import AcceleratorState

from benchmarks.rounds import (
    Data,
    alternate,
    arguments,
    describe,
    machine,
    opened,
    precisions,
    ratio,
    train_ours,
)
from competition.config.encoder_recipe import EncoderRecipe
from competition.data.text import clean
from competition.models.encoder.model import RelevanceModel
from competition.training.loop import make_accelerator
from competition.training.oom import Budget
from competition.training.predict import predict
from competition.training.samples import Sample
from tests.esci import FIELD_ORDERS, KINDS

PEER = "sentence-transformers"
BATCH = 32
TRAINED, PREDICTED = 64, 128  # pairs of a timed round


def texts(data: Data, rows: int, separator: str) -> dict[str, list[Any]]:
    """Return the pairs as the peer reads them: a query and the product's fields, joined by our separator."""
    examples = data.examples.head(rows)
    products = data.products.set_index(["locale", "product_id"])
    keys = list(zip(examples["locale"], examples["product_id"], strict=True))
    fields_of = products.loc[keys, list(FIELD_ORDERS["ptbcbd"])].fillna("")
    product = [
        f" {separator} ".join(clean(text) if text else "" for text in fields)
        for fields in fields_of.to_numpy()
    ]
    return {"query": [clean(text) for text in examples["query"]], "product": product}


class Peer:
    """sentence-transformers on the same pairs."""

    def __init__(
        self, folder: str, recipe: EncoderRecipe, data: Data, sample: Sample, bf16: bool, out: Path
    ) -> None:
        from sentence_transformers import CrossEncoder

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = CrossEncoder(folder, num_labels=4, max_length=recipe.max_length, device=device)
        self.recipe = recipe
        self.bf16 = bf16
        self.out = out
        self.texts = texts(data, max(TRAINED, PREDICTED), str(self.model.tokenizer.sep_token))
        self.label = sample.target.astype(int).tolist()

    def train(self) -> None:
        """Train one epoch."""
        from datasets import Dataset
        from sentence_transformers.cross_encoder import (
            CrossEncoderTrainer,
            CrossEncoderTrainingArguments,
        )
        from sentence_transformers.cross_encoder.losses import CrossEntropyLoss
        from transformers import PrinterCallback

        rows = {name: values[:TRAINED] for name, values in self.texts.items()}
        rows["label"] = self.label[:TRAINED]
        keys = CrossEncoderTrainingArguments(
            str(self.out), num_train_epochs=1, per_device_train_batch_size=BATCH, learning_rate=1e-5, bf16=self.bf16,
            report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        )  # fmt: skip
        loss = CrossEntropyLoss(self.model)
        trainer = CrossEncoderTrainer(self.model, keys, Dataset.from_dict(rows), loss=loss)
        trainer.remove_callback(PrinterCallback)  # its lines have no place in a table
        trainer.train()
        # It holds the peer's precision, which ours would be refused for.
        AcceleratorState._reset_state()

    def predict(self) -> np.ndarray:
        """Return the logits of all pairs."""
        pairs = list(
            zip(self.texts["query"][:PREDICTED], self.texts["product"][:PREDICTED], strict=True)
        )
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bf16):
            return self.model.predict(pairs, batch_size=BATCH, show_progress_bar=False)


Works = dict[tuple[str, str], Callable[[], object]]  # by who and precision


def works(options: argparse.Namespace, data: Data, precision: str, out: Path) -> dict[str, Works]:
    """Return what is timed of each stage."""
    shape = {
        "max_length": options.length or 128,
        "batch_size": BATCH,
        "epochs": 1,
        "learning_rate": 1e-5,
        "pooling": "first",  # what the peer's classifier reads, whatever the encoder was made with
    }
    recipe = EncoderRecipe(name="x", precision=precision, **shape)
    padded = recipe.model_copy(update={"lean": False})
    sample = data.sample(recipe, TRAINED)
    every = data.sample(recipe, PREDICTED)
    peer = Peer(str(data.sources.encoder), recipe, data, every, precision == "bf16", out)
    model, slower = (
        RelevanceModel.make(each, KINDS[each.kind], data.sources, seed=1)
        for each in (recipe, padded)
    )
    log = out / "log.jsonl"

    def predicting() -> object:
        accelerator = make_accelerator(precision=precision)
        return predict(
            accelerator,
            model.to(accelerator.device),
            every.pairs,
            every.rows,
            Budget(recipe.token_budget),
        )

    training: Works = {
        (PEER, precision): peer.train,
        ("ours", precision): partial(train_ours, recipe, model, sample, log),
        ("ours, `lean = false`", precision): partial(train_ours, padded, slower, sample, log),
    }
    return {
        "training": training,
        "prediction": {(PEER, precision): peer.predict, ("ours", precision): predicting},
    }


def main() -> None:
    """Time both and print a table."""
    options = arguments(__doc__ or "")
    logging.disable(logging.WARNING)
    print(machine())
    with (
        opened(options.encoder, options.workspace) as data,
        tempfile.TemporaryDirectory() as folder,
    ):
        each = [works(options, data, precision, Path(folder)) for precision in precisions()]
        print("| stage | who | precision | ms per pair | times as fast as the peer | as in fp32 |")
        print("|---|---|---|---|---|---|")
        for stage, rows in (("training", TRAINED), ("prediction", PREDICTED)):
            times = alternate(
                {way: work for one in each for way, work in one[stage].items()}, options.rounds
            )
            for (who, precision), seconds in times.items():
                cells = [stage, who, precision, f"{1e3 * median(seconds) / rows:.1f}"]
                cells += [
                    f"{ratio(times[other], seconds):.2f}"
                    for other in ((PEER, precision), (who, "fp32"))
                ]
                print("| " + " | ".join(cells) + " |", flush=True)
        recipe = EncoderRecipe(name="x", max_length=options.length or 128)
        print(
            f"{describe(data.sample(recipe, PREDICTED))}; batches of {BATCH}; medians of {options.rounds} rounds"
        )


if __name__ == "__main__":
    main()
