"""What a pre-training step costs: tokens per second of each task, the share of making its examples, and memory.

    python -m benchmarks.pretraining [encoder folder]

Every round does one step of each task on the built-in data, its examples made and its gradient
counted, in one process; the table shows medians. Without a folder, the encoder is the offline
`tiny`.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from competition.config.base_recipe import TrainingKeys
from competition.config.recipe import PretrainingRecipe
from competition.data import synthetic
from competition.data.catalogue import Catalogue, select_products
from competition.data.pretraining_examples import PretrainingExamples, TaskTexts
from competition.data.vocabulary import Vocabulary
from competition.models.encoder.encoder import load_encoder, load_tokenizer, make_tiny
from competition.models.encoder.pretraining_model import PretrainingModel, vocabulary_sizes
from competition.training.loop import make_accelerator
from competition.training.optimizer import make_optimizer
from competition.training.pretraining_gradients import PretrainingGradients
from tests.esci import CONTEST

ROUNDS = 20
RECIPE = PretrainingRecipe.model_validate({"name": "x", "max_length": 64, "token_budget": 4096})


class Timed(PretrainingExamples):
    """PretrainingExamples that say how long they took and how many tokens they hold."""

    seconds = 0.0
    tokens = 0

    def make(self, task: str, chosen: np.ndarray, step: int) -> TaskTexts:
        """See `PretrainingExamples`."""
        began = time.perf_counter()
        texts = super().make(task, chosen, step)
        self.seconds = time.perf_counter() - began
        self.tokens = sum(map(len, texts.ids)) * (2 if task == "contrastive" else 1)
        return texts


def main(encoder: Path, folder: Path) -> None:
    """Time all tasks and print a table."""
    examples, products, _ = synthetic.make(300, noise=0.0, seed=7)
    if not encoder.is_dir():
        make_tiny(encoder, products, 1, "benchmark")
    vocabulary = Vocabulary.make(products, CONTEST.categories)
    tokenizer, chosen = load_tokenizer(encoder), select_products(examples, products, 2)
    catalogue = Catalogue.make(tokenizer, chosen, CONTEST, vocabulary, 1)
    made = Timed(catalogue, tokenizer, RECIPE)
    torch.manual_seed(1)
    model = PretrainingModel(
        load_encoder(encoder),
        made.tasks,
        vocabulary_sizes(tuple(RECIPE.learned_categories(CONTEST.categories)), vocabulary),
    )
    accelerator = make_accelerator()
    model.to(accelerator.device)
    run = PretrainingGradients(accelerator, model, RECIPE, made)
    optimizer = make_optimizer(model, TrainingKeys(learning_rate=1e-4, weight_decay=0.01))
    seconds: dict[str, list[float]] = {task: [] for task in made.tasks}
    making: dict[str, list[float]] = {task: [] for task in made.tasks}
    tokens: dict[str, int] = {}
    rest: list[float] = []
    for step in range(ROUNDS + 2):
        chosen = np.arange(RECIPE.batch_size) + step * RECIPE.batch_size
        for task in made.tasks:
            began = time.perf_counter()
            run.add_task(task, chosen % made.blocks, step)
            if step >= 2:  # the first rounds warm up, and fill the queue
                seconds[task].append(time.perf_counter() - began)
                making[task].append(made.seconds)
            tokens[task] = tokens.get(task, 0) + (made.tokens if step >= 2 else 0)
        began = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        rest.append(time.perf_counter() - began)
    print("| task | tokens/s | ms per step | of which making examples |\n|---|---|---|---|")
    for task in made.tasks:
        whole, share = median(seconds[task]), median(making[task]) / median(seconds[task])
        print(
            f"| {task} | {tokens[task] / sum(seconds[task]):,.0f} | {1e3 * whole:.0f} | {share:.1%} |"
        )
    step_seconds = sum(median(values) for values in seconds.values()) + median(rest)
    share = sum(median(values) for values in making.values()) / step_seconds
    rate = sum(tokens.values()) / ROUNDS / step_seconds
    print(f"| whole step | {rate:,.0f} | {1e3 * step_seconds:.0f} | {share:.1%} |")
    held = sum(ragged.values.nbytes for ragged in catalogue.fields.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"\n{len(catalogue):,} products, {held / 2**20:.1f} MiB of tokens; peak memory {peak / 2**20:,.0f} MiB."
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(name) / "tiny", Path(name))
