"""Twenty random small settings: does any end in outputs that do not depend on the text, without a word of it?

    python -m benchmarks.collapse --encoder FOLDER … --workspace DIR [--settings 20] [--seed 0]

Encoder (one of those named, or the offline one), rows (500 to 5,000), rate (1e-5 to 1e-3), tokens,
batch, epochs and pooling are drawn at random; each trains one fold as `comp train` does. Exits with
1 where a training whose held-out probabilities are the same in two decimals for every row has said
nothing.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.loop import Rows
from benchmarks.rounds import machine
from competition.config.encoder_recipe import EncoderRecipe
from competition.core.console import console
from competition.core.errors import Diverged
from competition.models.encoder.encoder import fetch, make_tiny
from competition.models.encoder.paths import Sources
from competition.scoring.collapse import Spread
from competition.training import finetune
from competition.training.corpus import Corpus
from competition.training.finetune import Fold
from competition.training.loop import Log
from tests.esci import CONTEST, KINDS


def draw(rng: np.random.Generator) -> tuple[int, dict[str, Any]]:
    """Return how many rows to train on, and the keys of a recipe."""
    rows = int(500 * 10 ** rng.uniform(0, 1))
    rate = float(10 ** rng.uniform(-5, -3))
    keys = {
        "learning_rate": rate,
        "head_learning_rate": float(rng.choice([0.0, 1e-3])),
        "max_length": int(rng.choice([24, 32, 48, 64])),
        "batch_size": int(rng.choice([8, 16, 32, 64])),
        "epochs": int(rng.integers(1, 4)),
        "pooling": str(rng.choice(["auto", "first", "mean", "first+mean"])),
        "prior_bias": bool(rng.integers(2)),
        "warmup_steps": int(rng.choice([0, 50])),
        "ema": float(rng.choice([0.0, 0.999])),
    }
    return rows, keys


def main() -> None:
    """Train all, print a line each, and fail where one collapsed silently."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--encoder", nargs="*", default=[], help="local folders, beside the offline encoder"
    )
    parser.add_argument(
        "--workspace", type=Path, help="whose data are read; without it, the built-in catalogue"
    )
    parser.add_argument("--settings", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    console.quiet = True
    everything = Rows.of(asked.workspace, 5_000)
    silent = 0
    with tempfile.TemporaryDirectory() as folder:
        encoders = [Path(folder) / "tiny"]
        make_tiny(encoders[0], everything.products, 1, "benchmark")
        for number, source in enumerate(asked.encoder):
            encoders.append(Path(folder) / f"{number}-{Path(source).name}")
            fetch(encoders[-1], source, "benchmark")
        print(machine())
        print(
            "| encoder | rows | steps | tokens | rate | pooling | spread | AUC of exact | what was said |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for number in range(asked.settings):
            rng = np.random.default_rng([asked.seed, number])
            encoder = encoders[int(rng.integers(len(encoders)))]
            rows, keys = draw(rng)
            recipe = EncoderRecipe(name=f"setting {number}", precision="fast", **keys)
            said, cells, constant = _train(
                everything, rows, encoder, recipe, Path(folder) / str(number)
            )
            silent += constant and not said
            print("| " + " | ".join([encoder.name, *cells, " ".join(said)]) + " |", flush=True)
    if silent:
        raise SystemExit(f"{silent} settings collapsed without a word.")


def _train(
    everything: Rows, rows: int, encoder: Path, recipe: EncoderRecipe, folder: Path
) -> tuple[list[str], list[str], bool]:
    """Train one setting: what it said, the cells of its line, and whether it answers every row alike."""
    sources, train, answered = Sources(encoder), everything.train[:rows], everything.answered
    corpus = Corpus.make(recipe, CONTEST, sources, everything.examples, everything.products)
    fold = Fold("0", folder, "benchmark", sources, train, answered, answered[:0])
    steps = recipe.epochs * -(-len(train) // recipe.batch_size)
    cells = [
        str(len(train)),
        str(steps),
        str(recipe.max_length),
        f"{recipe.learning_rate:.1e}",
        recipe.pooling,
    ]
    said: list[str] = []
    with patch.object(finetune, "warn", said.append):
        try:
            outputs, _ = finetune.train_fold(
                recipe,
                KINDS[recipe.kind],
                corpus,
                fold,
                Log(folder.with_suffix(".log")),
                lambda outputs: 0.0,
            )
        except Diverged as fault:
            return [str(fault)], [*cells, "", ""], False
    found = outputs.merge(everything.examples[["example_id", "label"]], on="example_id")
    auc = roc_auc_score(found["label"] == "exact", found["p_exact"])
    spread = Spread.of(outputs, everything.examples)
    constant = len(outputs.drop(columns="example_id").round(2).drop_duplicates()) == 1
    return said, [*cells, f"{spread.over_rows:.4f}", f"{auc:.3f}"], constant


if __name__ == "__main__":
    main()
