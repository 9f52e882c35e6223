"""The masked-language-modelling loss on titles that nothing is learned from: what a checkpoint is chosen by."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from competition.config.recipe import PretrainingRecipe
from competition.core.errors import InputError
from competition.core.fingerprint import derive_seed
from competition.data.catalogue import IGNORED
from competition.data.pairs import SpecialTokens
from competition.data.pretraining_examples import Masking, TaskTexts, one_sided
from competition.data.text import clean_all
from competition.data.tokenizer import tokenise
from competition.models.encoder.pretraining_card import TitleLosses
from competition.models.encoder.pretraining_model import PretrainingModel
from competition.training.batches import Rows
from competition.training.oom import Budget
from competition.training.pretraining_gradients import collate_texts

MASKINGS = 5  # of each title, so that the measure is steadier


@dataclass(frozen=True)
class HeldOutTitles:
    """Titles that nothing is learned from, masked once and for all: what the checkpoint is chosen by."""

    products: pd.DataFrame
    texts: TaskTexts  # MASKINGS of each product, product after product
    special: SpecialTokens

    @classmethod
    def make(
        cls, products: pd.DataFrame, tokenizer: Any, recipe: PretrainingRecipe
    ) -> "HeldOutTitles":
        """Raises InputError where there is no title."""
        if products.empty:
            raise InputError(
                "The catalogue is too small to hold out titles for pre-training: it takes some 100 products."
            )
        masking, special = Masking(tokenizer, recipe.masked), SpecialTokens.of(tokenizer)
        rng = np.random.default_rng(derive_seed(recipe.seed, "held-out masks"))
        tokens = tokenise(tokenizer, clean_all(products["title"]), recipe.max_length)
        ids = [special.join([tokens[i]], recipe.max_length) for i in range(len(tokens))]
        masked = [masking.apply(text, rng) for text in ids for _ in range(MASKINGS)]
        return cls(
            products,
            one_sided([seen for seen, _ in masked], token=[target for _, target in masked]),
            special,
        )

    def losses(
        self, accelerator: Accelerator, model: PretrainingModel, budget: Budget
    ) -> TitleLosses:
        """Of each product."""
        lengths = np.array([len(ids) for ids in self.texts.ids])
        sums = np.zeros((len(lengths), 2))

        def measure(rows: Rows) -> None:
            batch = collate_texts(
                self.texts, rows, self.special, int(lengths.max()), accelerator.device
            )
            losses = model("mlm", batch)["token"].double().cpu().numpy()
            of_text = (batch.targets["token"] != IGNORED).nonzero()[:, 0].cpu().numpy()
            sums[rows, 0] = np.bincount(of_text, losses, len(rows))
            sums[rows, 1] = np.bincount(of_text, minlength=len(rows))

        was_training = model.training
        model.eval()
        with (
            torch.inference_mode()
        ):  # in full precision: epochs and settings differ in the third digit
            budget.spend(measure, np.arange(len(lengths)), lengths)
        model.train(was_training)
        return sums.reshape(len(self.products), MASKINGS, 2).sum(1)
