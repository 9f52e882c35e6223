"""Pre-training: handed a catalogue, it writes an encoder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from competition.config.recipe import PretrainingRecipe
from competition.core import distributed
from competition.core.atomic import atomic_folder
from competition.core.console import console, progress, warn
from competition.core.errors import CompError
from competition.core.fingerprint import derive_seed
from competition.core.json_files import write_manifest
from competition.core.signals import critical_section
from competition.data.catalogue import Catalogue, held_out_mask
from competition.data.pretraining_examples import PretrainingExamples
from competition.data.token_store import SequenceStore
from competition.data.vocabulary import Vocabulary
from competition.models.encoder.embeddings import load_names, save_names
from competition.models.encoder.encoder import check_length, load_encoder, load_tokenizer, save
from competition.models.encoder.families import check_precision
from competition.models.encoder.paths import Sources
from competition.models.encoder.pretraining_card import (
    Epoch,
    TitleLosses,
    best_epoch,
    mlm_loss,
    write_card,
)
from competition.models.encoder.pretraining_model import PretrainingModel, vocabulary_sizes
from competition.training.checkpoints import Checkpoints, State, add_prefix, select_prefix
from competition.training.divergence import Diverged, advice
from competition.training.held_out_titles import HeldOutTitles
from competition.training.loop import Log, fit, make_accelerator
from competition.training.model_files import copy_weights
from competition.training.oom import Budget
from competition.training.pretraining_gradients import PretrainingGradients


def pretrain(
    recipe: PretrainingRecipe,
    products: pd.DataFrame,
    sources: Sources,
    folder: Path,
    inputs: str,
    log: Log,
    unfinished: Path | None = None,
    stored: SequenceStore | None = None,
) -> None:
    """Pre-train an encoder and write its folder, with what it scored.

    Args:
        recipe: tasks, their weights, and size.
        products: the catalogue with the column `copies`, see `catalogue.choose`.
        sources: the encoder to start from, the vocabulary where brands or colors are learned, and
            the embeddings that an earlier pre-training left of them.
        folder: gets an ordinary encoder folder with, where they were learned, the embeddings of
            brands and colors.
        inputs: fingerprint of all this.
        log: gets the losses.
        unfinished: the folder of checkpoints, where any are to be written. It is removed at the
            end.
        stored: the tokens of the catalogue, as far as they are stored.

    Raises:
        CompError: the tokenizer has no mask token.
        Diverged: a loss is not finite, and no epoch was done before.
        InputError: `max_length` is more than the encoder reads, or there are too few products.
    """
    check_length(sources.encoder, recipe.max_length, recipe.name)
    tokenizer = load_tokenizer(sources.encoder)
    if tokenizer.mask_token_id is None:
        raise CompError(
            f"The tokenizer of {sources.encoder.name!r} has no mask token, which pre-training needs."
        )
    held = held_out_mask(products)
    held_out = HeldOutTitles.make(products[held].reset_index(drop=True), tokenizer, recipe)
    vocabulary = Vocabulary.load(sources.vocabulary) if sources.vocabulary else None
    catalogue = Catalogue.make(tokenizer, products[~held], vocabulary, recipe.seed, stored)
    examples = PretrainingExamples(catalogue, tokenizer, recipe)
    model = _start(recipe, sources, examples, vocabulary)
    accelerator = make_accelerator(recipe.precision, recipe.deterministic)
    model.to(accelerator.device)
    run = PretrainingGradients(accelerator, model, recipe, examples)
    watch = _Watch(recipe, accelerator, held_out, log)
    checkpoints = (
        Checkpoints(unfinished, inputs, recipe, {"kept": watch, "gradients": run})
        if unfinished
        else None
    )
    if checkpoints is None or checkpoints.found is None:
        watch.measure(0, model, dict)
    with progress(recipe.name, recipe.epochs * examples.blocks, "blocks") as work:

        def after_epoch(epoch: int, evaluated: PretrainingModel) -> None:
            watch.measure(epoch + 1, evaluated, run.epoch_losses)

        seed, blocks = recipe.seed, examples.blocks
        try:
            fit(
                accelerator,
                model,
                recipe,
                blocks,
                lambda wrapped: run,
                seed,
                work,
                log,
                after_epoch,
                checkpoints,
            )
        except Diverged as fault:
            if not watch.weights:
                raise
            warn(f"{fault} The best epoch before is kept.")
    if not distributed.is_main_process():
        return
    model.load_state_dict(watch.weights)
    with atomic_folder(folder) as temporary:
        save(temporary, tokenizer, model.encoder)
        save_names(temporary, model.name_tables())
        watch.write(temporary, recipe, inputs)
        write_manifest(temporary, inputs)
    if unfinished is not None:
        shutil.rmtree(unfinished, ignore_errors=True)


def _start(
    recipe: PretrainingRecipe,
    sources: Sources,
    examples: PretrainingExamples,
    vocabulary: Vocabulary | None,
) -> PretrainingModel:
    """The model before its first step: the encoder, heads of random weights, and the embeddings of names if any are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, "heads"))
        sizes = vocabulary_sizes(recipe.names, vocabulary) if "attributes" in examples.tasks else {}
        encoder = load_encoder(sources.encoder)
        check_precision(encoder, recipe)
        model = PretrainingModel(encoder, examples.tasks, sizes)
    if sources.names is not None:
        model.init_names(load_names(sources.names))
    return model


class _Watch:
    """Measures after each epoch and keeps the weights with the lowest held-out loss."""

    def __init__(
        self, recipe: PretrainingRecipe, accelerator: Accelerator, held_out: HeldOutTitles, log: Log
    ) -> None:
        self._name, self._recipe, self._accelerator, self._log = (
            recipe.name,
            recipe,
            accelerator,
            log,
        )
        self._held_out, self._budget = held_out, Budget(recipe.token_budget)
        self.epochs: list[Epoch] = []
        self.losses: list[TitleLosses] = []  # of each epoch
        self.weights: dict[str, torch.Tensor] = {}

    def measure(
        self, number: int, model: PretrainingModel, learned: Callable[[], dict[str, float]]
    ) -> None:
        """Measure after epoch `number`; 0 is before training, and never kept since its heads know nothing.

        Raises:
            Diverged: a held-out loss is not finite.
        """
        if number < len(self.epochs):
            return  # an interruption came between the end of this and the loop's next step
        losses = self._held_out.losses(self._accelerator, model, self._budget)
        if not np.isfinite(losses).all():
            raise Diverged(
                f"{self._name} has diverged: after epoch {number}, the loss on held-out titles is not finite: "
                f"{advice(self._recipe)}."
            )
        with critical_section():
            epoch = Epoch(number, mlm_loss(losses), learned())
            self.epochs.append(epoch)
            self.losses.append(losses)
            if best_epoch(self.epochs) is epoch:
                self.weights = copy_weights(model)
        self._log.write(epoch=number, held_out_mlm=epoch.held_out.value, **epoch.learned)
        console.print(
            f"{self._name}: after epoch {number}, MLM loss on held-out titles {epoch.held_out}"
        )

    def write(self, folder: Path, recipe: PretrainingRecipe, inputs: str) -> None:
        """Leave the card in an encoder's folder."""
        content = recipe.model_dump(mode="json")
        write_card(folder, content, self.epochs, self._held_out.products, self.losses, inputs)

    def state(self) -> State:
        """What each epoch scored, and the weights that are kept."""
        losses = {
            str(number): torch.from_numpy(of_titles) for number, of_titles in enumerate(self.losses)
        }
        tensors = add_prefix("losses", losses) | add_prefix("weights", self.weights)
        return State(tensors, {"learned": [epoch.learned for epoch in self.epochs]})

    def restore(self, state: State) -> None:
        """Be as one was when `state` was taken."""
        learned, losses = state.values["learned"], select_prefix("losses", state.tensors)
        self.losses = [losses[str(number)].numpy() for number in range(len(losses))]
        self.epochs = [
            Epoch(n, mlm_loss(losses), learned[n]) for n, losses in enumerate(self.losses)
        ]
        self.weights = select_prefix("weights", state.tensors)
