"""Pre-training: handed a catalogue, it writes an encoder."""

from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator

from competition.data.catalogue import Catalogue, hold_out
from competition.data.pretraining import Examples
from competition.data.sequences import Sequences
from competition.data.vocabulary import Vocabulary
from competition.errors import CompError
from competition.model.card import Epoch, Losses, best_epoch, mlm_loss, write_card
from competition.model.encoder import check_length, load_encoder, load_tokenizer, save
from competition.model.features import load_names, save_names
from competition.model.pretraining import PretrainingModel, vocabulary_sizes
from competition.model.sources import Sources
from competition.progress import console, progress
from competition.recipe import PretrainingRecipe
from competition.training.checkpoint import snapshot
from competition.training.held_out import HeldOut
from competition.training.loop import Log, fit, make_accelerator
from competition.training.multitask import Pretraining
from competition.workspace import atomic_folder, derive_seed, stamp


def pretrain(
    recipe: PretrainingRecipe,
    products: pd.DataFrame,
    sources: Sources,
    folder: Path,
    inputs: str,
    log: Log,
    stored: Sequences | None = None,
) -> None:
    """Pre-train an encoder and write its folder, with what it scored.

    Args:
        recipe: tasks, their weights, and size.
        products: the catalogue with the column `copies`, see `catalogue.choose`.
        sources: the encoder to start from, the vocabulary where brands or colors are learned, and the embeddings that
            an earlier pre-training left of them.
        folder: gets an ordinary encoder folder with, where they were learned, the embeddings of brands and colors.
        inputs: fingerprint of all this.
        log: gets the losses.
        stored: the tokens of the catalogue, as far as they are stored.

    Raises:
        CompError: the tokenizer has no mask token, or no epoch has a finite loss.
        InputError: `max_length` is more than the encoder reads, or there are too few products.
    """
    check_length(sources.encoder, recipe.max_length, recipe.name)
    tokenizer = load_tokenizer(sources.encoder)
    if tokenizer.mask_token_id is None:
        raise CompError(f"The tokenizer of {sources.encoder.name!r} has no mask token, which pre-training needs.")
    held = hold_out(products)
    held_out = HeldOut.make(products[held].reset_index(drop=True), tokenizer, recipe)
    vocabulary = Vocabulary.load(sources.vocabulary) if sources.vocabulary else None
    catalogue = Catalogue.make(tokenizer, products[~held], vocabulary, recipe.seed, stored)
    examples = Examples(catalogue, tokenizer, recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, "heads"))
        sizes = vocabulary_sizes(recipe.names, vocabulary) if "attributes" in examples.tasks else {}
        model = PretrainingModel(load_encoder(sources.encoder), examples.tasks, sizes)
    if sources.names is not None:
        model.start_names(load_names(sources.names))
    accelerator = make_accelerator()
    model.to(accelerator.device)
    run = Pretraining(accelerator, model, recipe, examples)
    watch = _Watch(recipe.name, accelerator, held_out, recipe.token_budget, log)
    watch.measure(0, model, {})
    with progress(f"{recipe.name}, blocks", recipe.epochs * examples.blocks) as work:

        def after_epoch(epoch: int, evaluated: PretrainingModel) -> None:
            watch.measure(epoch + 1, evaluated, run.epoch_losses())

        fit(accelerator, model, recipe, examples.blocks, lambda wrapped: run, recipe.seed, work, log, after_epoch)
    if not watch.weights:
        raise CompError(f"The pre-training {recipe.name!r} has diverged, its loss is no number: lower learning_rate.")
    model.load_state_dict(watch.weights)
    with atomic_folder(folder) as temporary:
        save(temporary, tokenizer, model.encoder)
        save_names(temporary, model.name_tables())
        content = recipe.model_dump(mode="json")
        write_card(temporary, content, watch.epochs, held_out.products, watch.losses, inputs)
        stamp(temporary, inputs)


class _Watch:
    """Measures after each epoch and keeps the weights with the lowest held-out loss."""

    def __init__(self, name: str, accelerator: Accelerator, held_out: HeldOut, budget: int, log: Log) -> None:
        self._name, self._accelerator, self._log = name, accelerator, log
        self._held_out, self._budget = held_out, budget
        self.epochs: list[Epoch] = []
        self.losses: list[Losses] = []  # of each epoch
        self.weights: dict[str, torch.Tensor] = {}

    def measure(self, number: int, model: PretrainingModel, learned: dict[str, float]) -> None:
        """After epoch `number`; 0 is before training, and never kept since its heads know nothing."""
        losses = self._held_out.losses(self._accelerator, model, self._budget)
        epoch = Epoch(number, mlm_loss(losses), learned)
        self.epochs.append(epoch)
        self.losses.append(losses)
        if best_epoch(self.epochs) is epoch:
            self.weights = snapshot(model)
        self._log.write(epoch=number, held_out_mlm=epoch.held_out.value, **learned)
        console.print(f"{self._name}: after epoch {number}, MLM loss on held-out titles {epoch.held_out}")
