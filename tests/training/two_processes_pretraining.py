"""Run by test_pretrain.py, alone and in two processes: pre-trains a few steps."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from competition.config.recipe import PretrainingRecipe
from competition.core import distributed
from competition.core.console import Progress, progress
from competition.data import synthetic
from competition.data.catalogue import Catalogue
from competition.data.pretraining_examples import PretrainingExamples
from competition.data.vocabulary import Vocabulary
from competition.models.encoder.encoder import load_encoder, load_tokenizer
from competition.models.encoder.pretraining_model import PretrainingModel, vocabulary_sizes
from competition.training.loop import Log, fit, make_accelerator
from competition.training.pretraining_gradients import PretrainingGradients
from tests.esci import CONTEST


def train(encoder: Path, vocabulary: Path, log: Path, work: Progress) -> dict[str, Tensor]:
    """The gradient of a step, then weights and losses after two epochs on 40 products in batches of 5.

    So shards are uneven. AdamW hides how long a gradient is, hence the first.
    """
    products: pd.DataFrame = synthetic.make(60, noise=0.0, seed=7)[1].head(40)
    accelerator, tokenizer, names = (
        make_accelerator(),
        load_tokenizer(encoder),
        Vocabulary.load(vocabulary),
    )
    recipe = PretrainingRecipe(
        name="x",
        max_length=32,
        epochs=2,
        batch_size=5,
        learning_rate=1e-3,
        token_budget=100,
        ema=0.9,
        queue=2.5,
    )
    examples = PretrainingExamples(
        Catalogue.make(tokenizer, products.assign(copies=1), CONTEST, names, 1), tokenizer, recipe
    )
    torch.manual_seed(1)
    model = PretrainingModel(
        load_encoder(encoder),
        examples.tasks,
        vocabulary_sizes(tuple(recipe.learned_categories(CONTEST.categories)), names),
    ).double()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    PretrainingGradients(accelerator, model, recipe, examples).compute(np.arange(5), 0)
    results = {
        f"gradient {name}": p.grad.clone()
        for name, p in model.named_parameters()
        if p.grad is not None
    }
    model.zero_grad()
    run = PretrainingGradients(accelerator, model, recipe, examples)

    def after_epoch(epoch: int, evaluated: PretrainingModel) -> None:
        results.update({name: p.detach().clone() for name, p in evaluated.state_dict().items()})
        results.update(
            {f"loss {name}": torch.tensor(loss) for name, loss in run.epoch_losses().items()}
        )

    fit(
        accelerator,
        model,
        recipe,
        examples.blocks,
        lambda wrapped: run,
        3,
        work,
        Log(log),
        after_epoch,
    )
    return results


def main(encoder: Path, vocabulary: Path, out: Path) -> None:
    """Train, and write the results of the first process."""
    with distributed.process_group():
        log = out.with_suffix(f".{distributed.rank()}.jsonl")
        with progress("two", 1) as work:
            results = train(encoder, vocabulary, log, work)
        if distributed.is_main_process():
            save_file(results, out)

        # Nobody takes the group down while another still uses it.
        distributed.barrier()
