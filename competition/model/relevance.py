"""The model: an encoder, a head, and how its logits become the outputs of a recipe's kind."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from competition.model.encoder import load_encoder
from competition.model.heads import Head
from competition.tasks import KINDS

_LOGITS = {"classes": len(KINDS["classes"].outputs), "substitute": 2, "gain": 1}


class RelevanceModel(nn.Module):
    """A cross-encoder for one kind of output."""

    def __init__(self, encoder: Any, kind: str, dropout: float) -> None:
        super().__init__()
        self.kind = kind
        self.encoder = encoder
        self.uses_types = getattr(encoder.config, "type_vocab_size", 1) > 1
        self.head = Head(encoder.config.hidden_size, _LOGITS[kind], dropout)

    @classmethod
    def make(cls, encoder: Path, kind: str, dropout: float, seed: int) -> "RelevanceModel":
        """The encoder of a folder with a new head whose weights are a function of `seed`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(load_encoder(encoder), kind, dropout)

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        """Logits of pairs: three times `(batch, tokens)` -> `(batch, logits)`.

        `types` is 0 on the query's side and 1 on the product's; encoders without token types never see it.
        """
        extra = {"token_type_ids": types} if self.uses_types else {}
        hidden = self.encoder(input_ids=ids, attention_mask=mask, **extra).last_hidden_state  # (batch, tokens, hidden)
        return self.head(hidden[:, 0])

    def outputs(self, logits: Tensor) -> Tensor:
        """`(batch, logits)` -> `(batch, outputs of the kind)` in float64, so that probabilities sum to 1 closely."""
        logits = logits.double()
        if self.kind == "gain":
            return torch.sigmoid(logits)
        probabilities = torch.softmax(logits, dim=1)
        return probabilities[:, 1:] if self.kind == "substitute" else probabilities
