"""Pre-training: handed a catalogue, it writes an encoder."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from competition.config.recipe import PretrainingRecipe
from competition.core import distributed
from competition.core.atomic import atomic_folder
from competition.core.console import console, progress, warn
from competition.core.errors import CompError, Diverged
from competition.core.fingerprint import derive_seed
from competition.core.json_files import write_manifest
from competition.core.signals import critical_section
from competition.data.catalogue import Catalogue, held_out_mask
from competition.data.pretraining_examples import PretrainingExamples
from competition.data.token_store import SequenceStore
from competition.data.vocabulary import Vocabulary
from competition.models.encoder.embeddings import load_names, save_names
from competition.models.encoder.encoder import check_length, load_encoder, load_tokenizer, save
from competition.models.encoder.families import check_pretraining
from competition.models.encoder.paths import Sources
from competition.models.encoder.pretraining_card import (
    Epoch,
    TitleLosses,
    best_epoch,
    mlm_loss,
    write_card,
)
from competition.models.encoder.pretraining_model import PretrainingModel, vocabulary_sizes
from competition.scoring.contest import Contest
from competition.training.checkpoints import Checkpoints, State, Stateful, add_prefix, select_prefix
from competition.training.divergence import advice
from competition.training.held_out_titles import HeldOutTitles
from competition.training.loop import Log, fit, make_accelerator
from competition.training.model_files import copy_weights
from competition.training.oom import Budget
from competition.training.pretraining_gradients import PretrainingGradients


def pretrain(
    recipe: PretrainingRecipe,
    products: pd.DataFrame,
    contest: Contest,
    sources: Sources,
    folder: Path,
    fingerprint: str,
    log: Log,
    checkpoints: Path | None = None,
    stored: SequenceStore | None = None,
) -> None:
    """Pre-train an encoder and write its folder, with its losses on held-out titles.

    Args:
        recipe: tasks, their weights, and size.
        products: the catalogue with the column `copies`, see `catalogue.select_products`.
        contest: whose fields, categories and locales products have.
        sources: the encoder to start from, the vocabulary where categories are learned, and the
            embeddings that an earlier pre-training left of them.
        folder: gets an ordinary encoder folder with, where they were learned, the embeddings of
            the categories' names.
        fingerprint: of all this.
        log: gets the losses.
        checkpoints: their folder, where any are to be written. It is removed at the end.
        stored: the tokens of the catalogue, as far as they are stored.

    Raises:
        CompError: the tokenizer has no mask token.
        Diverged: a loss is not finite, and no epoch was done before.
        InputError: `max_length` is more than the encoder reads, or there are too few products.
    """
    tokenizer = _load_tokenizer(recipe, sources.encoder)

    # What is learned from, and the titles that nothing is learned from.
    title = contest.fields[0]
    is_held_out = held_out_mask(products[title])
    titles = products[is_held_out].reset_index(drop=True)
    held_out = HeldOutTitles.make(titles, title, tokenizer, recipe)
    vocabulary = Vocabulary.load(sources.vocabulary) if sources.vocabulary else None
    read = products[~is_held_out]
    catalogue = Catalogue.make(tokenizer, read, contest, vocabulary, recipe.seed, stored)
    examples = PretrainingExamples(catalogue, tokenizer, recipe)

    model = _make_model(recipe, sources, examples, vocabulary, contest.categories)
    accelerator = make_accelerator(recipe.precision, recipe.deterministic)
    model.to(accelerator.device)
    gradients = PretrainingGradients(accelerator, model, recipe, examples)
    epochs = _Epochs(recipe, accelerator, held_out, log)
    saved = None
    if checkpoints is not None:
        parts: dict[str, Stateful] = {"kept": epochs, "gradients": gradients}
        saved = Checkpoints(checkpoints, fingerprint, recipe, parts)

    # A resumed training has measured before.
    if saved is None or saved.newest is None:
        epochs.measure(0, model, dict)

    def after_epoch(epoch: int, evaluated: PretrainingModel) -> None:
        epochs.measure(epoch + 1, evaluated, gradients.epoch_losses)

    blocks = examples.blocks
    with progress(recipe.name, recipe.epochs * blocks, "blocks") as bar:
        try:
            fit(
                accelerator, model, recipe, blocks, lambda _: gradients, recipe.seed, bar, log, after_epoch, saved,
            )  # fmt: skip
        except Diverged as fault:
            if not epochs.weights:
                raise
            warn(f"{fault} The best epoch before is kept.")

    # The first process writes.
    if not distributed.is_main_process():
        return
    epochs.save(folder, fingerprint, tokenizer, model)
    if checkpoints is not None:
        shutil.rmtree(checkpoints, ignore_errors=True)


def _load_tokenizer(recipe: PretrainingRecipe, encoder: Path) -> Any:
    """Return the tokenizer of an encoder that reads as much as the recipe asks and can be masked."""
    check_length(encoder, recipe.max_length, recipe.name)
    tokenizer = load_tokenizer(encoder)
    if tokenizer.mask_token_id is None:
        raise CompError(
            f"The tokenizer of {encoder.name!r} has no mask token, which pre-training needs."
        )
    return tokenizer


def _make_model(
    recipe: PretrainingRecipe,
    sources: Sources,
    examples: PretrainingExamples,
    vocabulary: Vocabulary | None,
    categories: tuple[str, ...],
) -> PretrainingModel:
    """Return the model before its first step: the encoder, random heads, and the embeddings of names if any."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, "heads"))
        learned = recipe.learned_categories(categories) if "attributes" in examples.tasks else {}
        sizes = vocabulary_sizes(tuple(learned), vocabulary)
        encoder = load_encoder(sources.encoder)
        check_pretraining(encoder, recipe)
        model = PretrainingModel(encoder, examples.tasks, sizes)
    if sources.names is not None:
        model.init_names(load_names(sources.names))
    return model


class _Epochs:
    """The epochs so far, their losses on held-out titles, and the weights of the best one."""

    def __init__(
        self, recipe: PretrainingRecipe, accelerator: Accelerator, held_out: HeldOutTitles, log: Log
    ) -> None:
        self._recipe = recipe
        self._accelerator = accelerator
        self._held_out = held_out
        self._log = log
        self._budget = Budget(recipe.token_budget)
        self.epochs: list[Epoch] = []
        self.losses: list[TitleLosses] = []  # of each epoch
        self.weights: dict[str, torch.Tensor] = {}

    def measure(
        self,
        number: int,
        model: PretrainingModel,
        epoch_losses: Callable[[], dict[str, float]],
    ) -> None:
        """Measure after epoch `number`; 0 is before training, and never kept since its heads are random.

        Raises:
            Diverged: a held-out loss is not finite.
        """
        if number < len(self.epochs):
            # An interruption came between the end of this and the loop's next step.
            return

        name = self._recipe.name
        losses = self._held_out.losses(self._accelerator, model, self._budget)
        if not np.isfinite(losses).all():
            raise Diverged(
                f"{name} has diverged: after epoch {number}, the loss on held-out titles is not finite: "
                f"{advice(self._recipe)}."
            )
        # A signal between these would leave an epoch without its losses.
        with critical_section():
            epoch = Epoch(number, mlm_loss(losses), epoch_losses())
            self.epochs.append(epoch)
            self.losses.append(losses)
            if best_epoch(self.epochs) is epoch:
                self.weights = copy_weights(model)

        self._log.write(epoch=number, held_out_mlm=epoch.held_out.value, **epoch.learned)
        console.print(f"{name}: after epoch {number}, MLM loss on held-out titles {epoch.held_out}")

    def save(self, folder: Path, fingerprint: str, tokenizer: Any, model: PretrainingModel) -> None:
        """Write the encoder and the names by the weights of the best epoch, with the card of the pre-training."""
        model.load_state_dict(self.weights)
        with atomic_folder(folder) as temporary:
            save(temporary, tokenizer, model.encoder)
            save_names(temporary, model.name_tables())

            content = self._recipe.model_dump(mode="json")
            titles = self._held_out.products
            write_card(temporary, content, self.epochs, titles, self.losses, fingerprint)
            write_manifest(temporary, fingerprint)

    def state(self) -> State:
        """Return the losses of each epoch, and the weights that are kept."""
        losses = {str(i): torch.from_numpy(of_titles) for i, of_titles in enumerate(self.losses)}
        tensors = add_prefix("losses", losses) | add_prefix("weights", self.weights)
        return State(tensors, {"learned": [epoch.learned for epoch in self.epochs]})

    def restore(self, state: State) -> None:
        """Go back to where `state` was taken."""
        learned = state.values["learned"]
        losses = select_prefix("losses", state.tensors)
        self.losses = [losses[str(number)].numpy() for number in range(len(losses))]
        self.epochs = [
            Epoch(number, mlm_loss(of_titles), learned[number])
            for number, of_titles in enumerate(self.losses)
        ]
        self.weights = select_prefix("weights", state.tensors)
