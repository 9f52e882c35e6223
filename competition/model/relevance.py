"""The model: an encoder, features beside it, an architecture, and how logits become the outputs of a recipe's kind."""

from typing import Any

import torch
from torch import Tensor, nn

from competition.data.vocabulary import Vocabulary
from competition.model.dropout import draw_fast
from competition.model.encoder import load_encoder
from competition.model.families import check_recipe, hidden_states, token_table
from competition.model.features import Features, load_names
from competition.model.heads import ARCHITECTURES, Output
from competition.model.inputs import Inputs, Mix
from competition.model.lean import compiled_pass, first_states, is_lean, layer_pass
from competition.model.sources import Sources
from competition.recipe import EncoderRecipe
from competition.tasks import KINDS

LOGITS = {"classes": len(KINDS["classes"].outputs), "substitute": 2, "gain": 1}


class RelevanceModel(nn.Module):
    """From pairs to the logits of one kind of output."""

    def __init__(self, encoder: Any, recipe: EncoderRecipe, features: Features | None) -> None:
        super().__init__()
        check_recipe(encoder, recipe)
        self.kind = recipe.kind
        self.encoder = encoder
        self.features = features
        hidden, extra = encoder.config.hidden_size, features.width if features else 0
        self.head = ARCHITECTURES[recipe.architecture](hidden, extra, recipe.dropout)
        self.output = Output(hidden, LOGITS[self.kind], recipe.dropout, recipe.multi_sample_dropout)
        self._can_be_lean = self.head.reads_first and is_lean(encoder)
        self.learns_lean = recipe.lean and self._can_be_lean
        self._save_memory = recipe.checkpointing
        self.layer = compiled_pass() if recipe.compile else layer_pass
        if recipe.checkpointing:
            encoder.gradient_checkpointing_enable({"use_reentrant": False})
        if self.learns_lean:
            draw_fast(encoder)

    @classmethod
    def make(cls, recipe: EncoderRecipe, sources: Sources, seed: int) -> "RelevanceModel":
        """The encoder of a folder with new features and a new head, whose weights are a function of `seed`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            features = None
            if recipe.features:
                assert sources.vocabulary is not None  # the planner names it for every recipe with features
                features = Features(recipe.features, Vocabulary.load(sources.vocabulary))
            model = cls(load_encoder(sources.encoder), recipe, features)
        if features is not None and sources.names is not None:
            features.start_names(load_names(sources.names))
        if features is not None and sources.vectors is not None:
            features.start_grams(sources.vectors, freeze=recipe.char3_init == "frozen")
        return model

    def forward(self, inputs: Inputs, delta: Tensor | None = None, mix: Mix | None = None) -> Tensor:
        """Logits of a batch of pairs, `(batch, logits)`.

        Args:
            inputs: the pairs. Encoders without token types never see `inputs.types`.
            delta: added to the embedded tokens, `(V * batch, tokens, H)`; where adversarial training attacks.
            mix: embedding mixup, in training only.
        """
        hidden = self._hidden(inputs, delta)  # (V * batch, tokens or 1, H)
        batch, views = inputs.present.shape
        hidden, mask = (x.unflatten(0, (views, batch)).transpose(0, 1) for x in (hidden, inputs.mask))
        beside = hidden.new_zeros(batch, 0) if self.features is None else self.features(inputs.extras)
        return self.output(self.head(hidden, mask, inputs.present, beside), mix)

    def _hidden(self, inputs: Inputs, delta: Tensor | None) -> Tensor:
        # Dropout draws other numbers on the lean way, so training takes it where the recipe says so.
        if self.learns_lean or (self._can_be_lean and not self.training):
            return first_states(self.encoder, inputs, delta, self.layer, self._save_memory)
        return hidden_states(self.encoder, inputs.ids, inputs.mask, inputs.types, delta)

    @property
    def token_table(self) -> Tensor:
        """The word-embedding table, `(V, H)`."""
        return token_table(self.encoder)

    def outputs(self, logits: Tensor) -> Tensor:
        """`(batch, logits)` -> `(batch, outputs of the kind)` in float64, so that probabilities sum to 1 closely."""
        logits = logits.double()
        if self.kind == "gain":
            return torch.sigmoid(logits)
        probabilities = torch.softmax(logits, dim=1)
        return probabilities[:, 1:] if self.kind == "substitute" else probabilities
