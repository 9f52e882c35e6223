"""The masked-language-modelling loss on titles that nothing is learned from, by which an epoch is chosen."""

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
    """Titles that nothing is learned from, masked once and for all; `texts` has MASKINGS of each in a row."""

    products: pd.DataFrame
    texts: TaskTexts
    special: SpecialTokens

    @classmethod
    def make(
        cls, products: pd.DataFrame, title: str, tokenizer: Any, recipe: PretrainingRecipe
    ) -> "HeldOutTitles":
        """Mask the field `title` of `products`; raise InputError where there is none."""
        if products.empty:
            raise InputError(
                "The catalogue is too small to hold out titles for pre-training: it takes some 100 products."
            )
        masking = Masking(tokenizer, recipe.masked)
        special = SpecialTokens.of(tokenizer)
        rng = np.random.default_rng(derive_seed(recipe.seed, "held-out masks"))
        titles = tokenise(tokenizer, clean_all(products[title]), recipe.max_length)
        ids = [special.join([titles[i]], recipe.max_length) for i in range(len(titles))]

        # Masked once: all epochs are measured on the same tokens.
        masked = [masking.apply(text, rng) for text in ids for _ in range(MASKINGS)]
        inputs = [text for text, _ in masked]
        return cls(
            products, one_sided(inputs, {"token": [target for _, target in masked]}), special
        )

    def losses(
        self, accelerator: Accelerator, model: PretrainingModel, budget: Budget
    ) -> TitleLosses:
        """Return each product's sum of losses and its number of masked tokens, `(products, 2)`."""
        lengths = np.array([len(ids) for ids in self.texts.ids])
        longest = int(lengths.max())
        sums = np.zeros((len(lengths), 2))

        def measure(rows: Rows) -> None:
            batch = collate_texts(self.texts, rows, self.special, longest, accelerator.device)
            losses = model("mlm", batch)["token"].double().cpu().numpy()  # (masked tokens,)
            of_text = (batch.targets["token"] != IGNORED).nonzero()[:, 0].cpu().numpy()
            sums[rows, 0] = np.bincount(of_text, losses, len(rows))
            sums[rows, 1] = np.bincount(of_text, minlength=len(rows))

        was_training = model.training
        model.eval()
        # In full precision: epochs and settings differ in the third digit.
        with torch.inference_mode():
            budget.for_each_micro_batch(measure, np.arange(len(lengths)), lengths)
        model.train(was_training)
        of_product: TitleLosses = sums.reshape(len(self.products), MASKINGS, 2).sum(1)
        return of_product
