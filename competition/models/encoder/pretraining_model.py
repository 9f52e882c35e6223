"""The model that is pre-trained: one encoder with a head per task (Algorithm 1)."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from competition.data.catalogue import IGNORED
from competition.data.vocabulary import RARE, Vocabulary
from competition.models.encoder.embeddings import module_name, name_table
from competition.models.encoder.families import hidden_states, token_table
from competition.models.encoder.losses import one_hot, poly1


class TaskBatch(NamedTuple):
    """Texts of one task on the device, padded to one length, and their targets."""

    ids: Tensor  # (batch, tokens)
    mask: Tensor  # (batch, tokens), 1 on tokens
    types: Tensor  # (batch, tokens), 1 on the second text
    targets: dict[str, Tensor]  # name -> (batch,), or (batch, tokens)


class MaskedWordHead(nn.Module):
    """Masked tokens: dense -> GELU -> LayerNorm -> dot product with the word embeddings + bias.

    The embeddings are the encoder's own. The dense layer is as wide as these, which in some
    families (ELECTRA, ALBERT) are narrower than states.
    """

    def __init__(self, hidden: int, words: int, width: int) -> None:
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(hidden, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        """Return logits: states `(n, H)` and word embeddings `(V, E)` -> `(n, V)`."""
        return functional.linear(self.transform(hidden), table, self.bias)


class MatchHead(nn.Module):
    """Product2Query: [CLS] -> dense -> tanh -> two logits, another product's query or its own."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 2))

    def forward(self, first: Tensor) -> Tensor:
        """Return two logits: `(batch, H)` -> `(batch, 2)`."""
        logits: Tensor = self.layers(first)
        return logits


class NameHead(nn.Module):
    """Product2Brand, Product2Color and other categories: [CLS] -> dense -> GELU -> LayerNorm -> dot product + bias.

    The product is with a table of embeddings, from which fine-tuning starts its feature.
    """

    def __init__(self, hidden: int, names: int) -> None:
        super().__init__()
        self.table = name_table(names)
        self.transform = nn.Sequential(
            nn.Linear(hidden, self.table.embedding_dim),
            nn.GELU(),
            nn.LayerNorm(self.table.embedding_dim),
        )
        self.bias = nn.Parameter(torch.zeros(names))

    def forward(self, first: Tensor) -> Tensor:
        """Return logits: `(batch, H)` -> `(batch, names)`.

        The rows of missing and rare names are not candidates.
        """
        return functional.linear(self.transform(first), self.table.weight[RARE + 1 :], self.bias)


def encode(encoder: Any, batch: TaskBatch) -> Tensor:
    """Return the hidden states of a batch, `(batch, tokens, H)`."""
    return hidden_states(encoder, batch.ids, batch.mask, batch.types)


def mean_pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over each text's tokens, normalised: `(batch, tokens, H)` -> `(batch, H)`."""
    weight = mask[:, :, None].float()  # (batch, tokens, 1)
    mean = (hidden.float() * weight).sum(1) / weight.sum(1)
    return functional.normalize(mean, dim=1)


def contrastive_logits(first: Tensor, second: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Return cosines over `temperature` of each text with second passes and the queue's keys.

    Second passes are of all texts of the batch; the diagonal holds each text with itself (SimCSE,
    Gao et al. 2021; the queue is MoCo's, He et al. 2020).

    Args:
        first: `(batch, H)` of length 1, as are the others.
        second: `(batch, H)`, the same texts through another dropout.
        keys: `(keys, H)`.
        temperature: what cosines are divided by.

    Returns:
        `(batch, batch + keys)`.
    """
    candidates = torch.cat([second, keys])  # (batch + keys, H)
    return first @ candidates.T / temperature


class PretrainingModel(nn.Module):
    """An encoder and the heads of the tasks that are on."""

    def __init__(self, encoder: Any, tasks: tuple[str, ...], names: dict[str, int]) -> None:
        """`names` says how many names there are of each category that is to be learned."""
        super().__init__()
        self.encoder = encoder
        hidden = encoder.config.hidden_size
        self.words = MaskedWordHead(hidden, *token_table(encoder).shape)
        self.match = MatchHead(hidden) if "query" in tasks else None
        self.categories = tuple(names)
        self.names = nn.ModuleDict(
            {module_name(name): NameHead(hidden, count) for name, count in names.items()}
        )

    def forward(self, task: str, batch: TaskBatch) -> dict[str, Tensor]:
        """Return what a task's loss is made of: losses per sample, or the embeddings of texts.

        Returns:
            `mlm`: `token (masked tokens,)`; `query`: `match (batch,)`; `attributes`: each category
            `(batch,)`, 0 where ignored; `contrastive`: `text (batch, H)`.
        """
        hidden = encode(self.encoder, batch)  # (batch, tokens, H)
        if task == "mlm":
            return {"token": self._word_losses(hidden, batch.targets["token"])}

        if task == "contrastive":
            return {"text": mean_pooled(hidden, batch.mask)}

        first = hidden[:, 0]  # (batch, H)
        if task == "query":
            assert self.match is not None  # the task is on
            target = one_hot(batch.targets["match"], 2).to(torch.float32)
            return {"match": poly1(self.match(first).float(), target)}
        return {
            name: functional.cross_entropy(
                head(first).float(), batch.targets[name], ignore_index=IGNORED, reduction="none"
            )
            for name, head in zip(self.categories, self.names.values(), strict=True)
        }

    @torch.no_grad()
    def init_names(self, tables: dict[str, Tensor]) -> None:
        """Start from the embeddings of an earlier pre-training, for the names that are learned."""
        for name, own in self.name_tables().items():
            if name in tables:
                own.copy_(tables[name])

    def name_tables(self) -> dict[str, Tensor]:
        """Return the embeddings of each category's names, as `embeddings.save_names` takes them."""
        heads = zip(self.categories, self.names.values(), strict=True)
        return {name: cast(NameHead, head).table.weight for name, head in heads}

    def _word_losses(self, hidden: Tensor, target: Tensor) -> Tensor:
        """Return the cross entropy of the masked tokens alone, `(masked,)`, since words are many."""
        masked = target != IGNORED  # (batch, tokens)
        logits = self.words(hidden[masked], token_table(self.encoder))  # (masked, V)
        return functional.cross_entropy(logits.float(), target[masked], reduction="none")


def vocabulary_sizes(names: tuple[str, ...], vocabulary: Vocabulary | None) -> dict[str, int]:
    """Return how many names a vocabulary has of each category; those of which it has none are left out."""
    if vocabulary is None:
        return {}
    return {name: len(vocabulary.names[name]) for name in names if vocabulary.names[name]}
