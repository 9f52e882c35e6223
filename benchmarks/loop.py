"""`comp`'s fine-tuning beside a plain loop of forty lines: same encoder, rows, steps, pairs and rates.

    python -m benchmarks.loop --encoder FOLDER --workspace DIR [--preset e5-small] [--rows N]
    [--epochs N] [--seeds 2]

Both train on rows of four folds and answer rows that neither has seen: those of the fifth, and the
test rows that have labels. The loop is what a notebook would hold: transformers' tokenizer and
model, the mean of the tokens, a linear layer, AdamW with a rate for each of the two. Length, epochs
and rates are the preset's.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from benchmarks.rounds import machine, write_encoder
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.settings import BUILT_IN
from competition.core.console import Progress, console
from competition.core.fingerprint import derive_seed
from competition.core.toml_files import read_toml
from competition.core.workspace import Workspace
from competition.data import synthetic
from competition.data.folds import fold_of_rows, make_folds
from competition.data.store import load_examples, load_products, product_rows
from competition.data.text import clean_all
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from competition.scoring import evaluation
from competition.scoring.evaluation import DEEP
from competition.scoring.intervals import Estimate
from competition.training.batches import epoch_batches
from competition.training.corpus import Corpus
from competition.training.finetune import fine_tune
from competition.training.loop import Log, make_accelerator
from competition.training.oom import Budget
from competition.training.predict import predict
from competition.training.samples import Sample
from tests.esci import CONTEST, FIELD_ORDERS, KINDS, LABELS, TASKS, label_codes

Probabilities = NDArray[np.float64]  # (rows, 4)


@dataclass(frozen=True)
class Rows:
    """All labelled examples with their products, and which are trained on and which are answered."""

    examples: pd.DataFrame
    products: pd.DataFrame
    train: NDArray[np.int64]
    answered: NDArray[np.int64]

    @classmethod
    def of(cls, workspace: Path | None, rows: int) -> "Rows":
        """The rows of a workspace, or of the built-in catalogue; at most so many are trained on."""
        if workspace is None:
            examples, products, _ = synthetic.make(60, noise=0.0, seed=7)
        else:
            space = Workspace.open(workspace)
            examples, products = load_examples(space), load_products(space)
        fold = fold_of_rows(examples, make_folds(examples, "five", CONTEST))
        examples = examples[examples["label"].notna()]
        unseen = ((examples["split"] == "test") | (fold[examples.index] == 0)).to_numpy()
        train = np.random.default_rng(0).permutation(np.flatnonzero(~unseen))[:rows]
        return cls(examples, products, train, np.flatnonzero(unseen))


def plain_loop(rows: Rows, encoder: Path, recipe: EncoderRecipe, seed: int) -> Probabilities:
    """Train as a notebook would, on the batches that `comp` trains on; the probabilities of the answered rows."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModel.from_pretrained(encoder)
    head = nn.Sequential(
        nn.Dropout(recipe.dropout), nn.Linear(model.config.hidden_size, len(LABELS))
    )
    groups = [
        {"params": model.parameters(), "lr": recipe.learning_rate},
        {"params": head.parameters(), "lr": recipe.head_learning_rate or recipe.learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
    texts = list(zip(rows.examples["query"], _texts(rows), strict=True))
    labels = torch.from_numpy(label_codes(rows.examples["label"]))

    def logits(chosen: NDArray[np.int64]) -> Tensor:
        queries, products = zip(*(texts[row] for row in chosen), strict=True)
        cut = {"truncation": "longest_first", "max_length": recipe.max_length}
        batch = tokenizer(list(queries), list(products), padding=True, return_tensors="pt", **cut)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            hidden = model(**batch).last_hidden_state.float()  # (batch, tokens, H)
        mask = batch["attention_mask"][:, :, None]
        found: Tensor = head((hidden * mask).sum(1) / mask.sum(1))
        return found

    per_epoch = -(-len(rows.train) // recipe.batch_size)
    steps, step = recipe.epochs * per_epoch, 0
    rise = recipe.warmup * steps
    for epoch in range(recipe.epochs):
        for batch in epoch_batches(len(rows.train), recipe.batch_size, seed, epoch):
            factor = min((step + 1) / max(1, rise), (steps - step) / (steps - rise))
            for group, rate in zip(optimizer.param_groups, groups, strict=True):
                group["lr"] = rate["lr"] * factor
            chosen = rows.train[batch]
            functional.cross_entropy(logits(chosen), labels[chosen]).backward()
            nn.utils.clip_grad_norm_([*model.parameters(), *head.parameters()], recipe.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
    model.eval()
    head.eval()
    with torch.inference_mode():
        pieces = np.array_split(rows.answered, -(-len(rows.answered) // 32))
        return torch.cat([logits(piece).softmax(1) for piece in pieces]).double().numpy()


def _texts(rows: Rows) -> list[str]:
    """Each example's product in the order of the fields that recipes read, empty where it is not listed."""
    fields = [clean_all(rows.products[field]) for field in FIELD_ORDERS["ptbcbd"]]
    texts = [" ".join(filter(None, parts)) for parts in zip(*fields, strict=True)]
    return [
        "" if place < 0 else texts[place] for place in product_rows(rows.examples, rows.products)
    ]


def ours(rows: Rows, encoder: Path, recipe: EncoderRecipe, seed: int) -> Probabilities:
    """Train as `comp train` does; the probabilities of the answered rows."""
    accelerator = make_accelerator(recipe.precision)
    sources = Sources(encoder)
    corpus = Corpus.make(recipe, CONTEST, sources, rows.examples, rows.products)
    model = RelevanceModel.make(recipe, KINDS[recipe.kind], sources, derive_seed(seed, "head"))
    target = label_codes(rows.examples["label"].iloc[rows.train]).astype(np.float64)
    sample = Sample(corpus.pairs, rows.train, target, np.ones(len(target)))
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Path(folder) / "log.jsonl")
        fine_tune(
            accelerator,
            model,
            recipe,
            sample,
            seed,
            Progress("", 0, None),
            log,
            lambda epoch, model: None,
        )
    outputs = predict(accelerator, model, corpus.pairs, rows.answered, Budget(recipe.token_budget))
    ordered = outputs.set_index("example_id").loc[rows.examples["example_id"].iloc[rows.answered]]
    return KINDS["classes"].values(ordered)


# --- scores
# ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Graded:
    """What one training is worth on the answered rows."""

    auc: float  # of p(exact) for whether the label is exact
    ranking: evaluation.Counts

    @classmethod
    def of(cls, rows: Rows, found: Probabilities) -> "Graded":
        """Grade probabilities of the answered rows, in their order."""
        examples = rows.examples.iloc[rows.answered]
        auc = roc_auc_score(examples["label"] == "exact", found[:, LABELS.index("exact")])
        outputs = pd.DataFrame(found, columns=list(KINDS["classes"].outputs))
        outputs.insert(0, "example_id", examples["example_id"].to_numpy())
        return cls(
            float(auc),
            evaluation.count_outputs(TASKS["task1"], KINDS["classes"], outputs, examples),
        )

    @property
    def ndcg(self) -> Estimate:
        """Over the full-depth queries."""
        return evaluation.estimate_score(self.ranking, DEEP)


def _lines(rows: Rows, encoder: Path, recipe: EncoderRecipe, seeds: range) -> Iterator[str]:
    for seed in seeds:
        loop, comp = (
            Graded.of(rows, train(rows, encoder, recipe, seed)) for train in (plain_loop, ours)
        )
        difference = evaluation.estimate_difference(comp.ranking, loop.ranking, DEEP)
        for name, graded, minus in (("loop", loop, ""), ("comp", comp, str(difference))):
            yield f"| {seed} | {name} | {graded.auc:.4f} | {graded.ndcg} | {minus} |"


def main() -> None:
    """Train both for each seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", help="a local folder; without it, the offline encoder")
    parser.add_argument(
        "--workspace", type=Path, help="whose data are read; without it, the built-in catalogue"
    )
    parser.add_argument("--preset", default="e5-small")
    parser.add_argument("--rows", type=int, default=1_000_000, help="training rows, at most")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--length", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    console.quiet = True
    keys = read_toml(BUILT_IN / "presets" / f"{asked.preset}.toml")
    keys |= {"max_length": asked.length} if asked.length else {}
    keys |= {"epochs": asked.epochs} if asked.epochs else {}
    fitting = {key: value for key, value in keys.items() if key in EncoderRecipe.model_fields}
    recipe = EncoderRecipe(**fitting | {"name": "comp"})
    rows = Rows.of(asked.workspace, asked.rows)
    with tempfile.TemporaryDirectory() as folder:
        encoder = Path(folder) / "encoder"
        write_encoder(encoder, asked.encoder, rows.products)
        deep = int(
            Graded.of(rows, np.full((len(rows.answered), 4), 0.25)).ranking.groups[DEEP].sum()
        )
        print(machine())
        rates = f"rate {recipe.learning_rate:g}, head {recipe.head_learning_rate or recipe.learning_rate:g}"
        print(f"{len(rows.train):,} rows x {recipe.epochs}, {recipe.max_length} tokens, {rates}")
        print(f"{len(rows.answered):,} rows are answered")
        print(
            f"| seed | who | AUC of exact | nDCG, {deep} full-depth queries [95 %] | minus loop |"
        )
        print("|---|---|---|---|---|")
        for line in _lines(rows, encoder, recipe, range(1, asked.seeds + 1)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
