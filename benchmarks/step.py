"""Our training step against a loop that does what the released code did: same model, data, order and mathematics.

    python -m benchmarks.step [--encoder FOLDER] [--workspace DIR] [--length 256] [--rounds 5]

First both train 20 steps without dropout, and their losses must agree; then they are timed in
alternating rounds.
"""

import tempfile
from pathlib import Path
from statistics import median

import torch

from benchmarks.reference import Reference
from benchmarks.rounds import (
    alternate,
    arguments,
    describe,
    machine,
    opened,
    ratio,
    train_ours,
    without_dropout,
)
from competition.config.encoder_recipe import EncoderRecipe
from competition.models.encoder.model import RelevanceModel
from tests.esci import KINDS

BATCH = 16  # as in the released scripts
STEPS = 3  # of a timed round
CHECKED = 20  # steps whose losses are compared
TOLERANCE = 1e-3
METHODS = {"plain": {}, "EMA, FGM, R-Drop": {"ema": 0.999, "adversary": "fgm-table", "r_drop": 0.5}}


def main() -> None:
    """Check, time, and print a table."""
    options = arguments(__doc__ or "")
    with (
        opened(options.encoder, options.workspace) as data,
        tempfile.TemporaryDirectory() as folder,
    ):
        log = Path(folder) / "log.jsonl"
        print(machine())
        print(
            "| method | reference, ms per pair | ours | ours, `lean = false` | times as fast | `lean = false` "
            "| losses differ by |"
        )
        print("|---|---|---|---|---|---|---|")
        for name, keys in METHODS.items():
            shape = {
                "max_length": options.length or 256,
                "batch_size": BATCH,
                "epochs": 1,
                "learning_rate": 1e-5,
            }
            recipe = EncoderRecipe(name="x", precision="fp32", **shape, **keys)
            padded = recipe.model_copy(update={"lean": False})
            checked = data.sample(recipe, CHECKED * BATCH)
            sample = data.sample(recipe, STEPS * BATCH)

            def model(recipe: EncoderRecipe) -> RelevanceModel:
                return RelevanceModel.make(recipe, KINDS[recipe.kind], data.sources, seed=1)

            # Both must train alike before their times can be compared.
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            losses = Reference(without_dropout(model(padded)), padded, checked, device).train()
            ours_and_padded = [
                train_ours(each, without_dropout(model(each)), checked, log)
                for each in (recipe, padded)
            ]
            apart = max(
                abs(a - b) for mine in ours_and_padded for a, b in zip(losses, mine, strict=True)
            )
            if apart > TOLERANCE:
                raise SystemExit(f"{name}: the losses differ by {apart:.2g}, more than {TOLERANCE}")

            reference = Reference(model(padded), padded, sample, device)
            ours = model(recipe)
            slower = model(padded)
            works = {
                "reference": reference.train,
                "ours": lambda: train_ours(recipe, ours, sample, log),  # noqa: B023
                "padded": lambda: train_ours(padded, slower, sample, log),  # noqa: B023
            }
            times = alternate(works, options.rounds)
            cells = [f"{1e3 * median(seconds) / (STEPS * BATCH):.1f}" for seconds in times.values()]
            cells += [f"{ratio(times['reference'], times[way]):.2f}" for way in ("ours", "padded")]
            print("| " + " | ".join([name, *cells, f"{apart:.1g}"]) + " |", flush=True)
        print(f"{describe(sample)}; batches of {BATCH}; medians of {options.rounds} rounds")


if __name__ == "__main__":
    main()
