"""Embeddings of categories and country, and the multi-granular semantic units: pooled character 3-grams."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from competition.data.vocabulary import (
    DEVIATION,
    DIMENSIONS,
    MISSING,
    PADDING,
    RARE,
    UNITS,
    Vocabulary,
    load_vectors,
)
from competition.models.encoder.inputs import COUNTRY, FeatureIds

NAME_DIMENSIONS = 128  # of a category
COUNTRY_DIMENSIONS = 8
# Beside the files of an encoder that has learned the names of categories.
_NAMES_FILE = "names.safetensors"


class FeatureEmbeddings(nn.Module):
    """The features beside [CLS]: categories, country, char_trigrams."""

    def __init__(self, names: Sequence[str], vocabulary: Vocabulary, locales: int) -> None:
        """Make tables of random weights for the features `names`, `country` having so many locales."""
        super().__init__()
        tables: dict[str, nn.Embedding] = {}
        for name, known in vocabulary.names.items():
            if name in names:
                tables[name] = name_table(len(known))
        # A category of this name goes before.
        if COUNTRY in names and COUNTRY not in tables:
            tables[COUNTRY] = _table(locales, COUNTRY_DIMENSIONS)
        self.names = tuple(tables)
        self.tables = nn.ModuleDict({module_name(name): tables[name] for name in tables})
        self.width = sum(table.embedding_dim for table in tables.values())

        self.grams: nn.EmbeddingBag | None = None
        if "char_trigrams" in names:
            # One table for all units, so that a gram of a query and of a product start as the same
            # vector.
            start = torch.empty(len(vocabulary.grams) + 1, DIMENSIONS)
            nn.init.normal_(start, std=DEVIATION)
            start[PADDING] = 0
            self.grams = nn.EmbeddingBag.from_pretrained(
                start, freeze=False, mode="mean", padding_idx=PADDING
            )
            self.width += len(UNITS) * DIMENSIONS

    def init_names(self, tables: dict[str, Tensor]) -> None:
        """Start from the embeddings of pre-training, for the categories that the recipe has."""
        with torch.no_grad():
            for name, start in tables.items():
                if name in self.names:
                    cast(nn.Embedding, self.tables[module_name(name)]).weight.copy_(start)

    def init_grams(self, vectors: Path, freeze: bool) -> None:
        """Start the 3-gram table from word2vec's vectors, and keep them if `freeze`."""
        # Only recipes with char_trigrams have vectors.
        assert self.grams is not None
        with torch.no_grad():
            self.grams.weight.copy_(torch.from_numpy(load_vectors(vectors)))
        self.grams.weight.requires_grad_(not freeze)

    def forward(self, extras: FeatureIds) -> Tensor:
        """Return the features of a batch, `(batch, width)`; a unit without a gram is zero."""
        tables = zip(self.names, self.tables.values(), strict=True)
        parts: list[Tensor] = [table(extras.names[name]) for name, table in tables]
        if self.grams is not None:
            # All units in one call; unit by unit, they become columns.
            bags = self.grams(extras.grams, extras.bags)  # (units * batch, dimensions)
            parts += bags.unflatten(0, (len(UNITS), -1)).unbind(0)
        return torch.cat(parts, 1)


def module_name(name: str) -> str:
    """Return what a category is called among modules: its name, unless dictionaries of modules have it."""
    return f"{name}_" if hasattr(nn.ModuleDict, name) else name


def name_table(names: int) -> nn.Embedding:
    """Return embeddings of a category's names.

    The rows are a missing name, zero for good, a rare one, and then the names of the vocabulary.
    """
    return _table(RARE + 1 + names, NAME_DIMENSIONS, MISSING)


def _table(rows: int, width: int, missing: int | None = None) -> nn.Embedding:
    """Return an embedding with small random weights.

    The row of `missing`, if any, is zero and stays so.
    """
    start = nn.init.normal_(torch.empty(rows, width), std=DEVIATION)
    if missing is not None:
        start[missing] = 0
    table: nn.Embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
        start, freeze=False, padding_idx=missing
    )
    return table


def save_names(folder: Path, tables: dict[str, Tensor]) -> None:
    """Write the embeddings of categories beside an encoder; nothing where there are none."""
    if tables:
        weights = {
            name: table.detach().cpu().contiguous() for name, table in sorted(tables.items())
        }
        save_file(weights, folder / _NAMES_FILE)


def load_names(folder: Path) -> dict[str, Tensor]:
    """Return what `save_names` wrote, if anything: name -> `(RARE + 1 + names, NAME_DIMENSIONS)`."""
    path = folder / _NAMES_FILE
    return load_file(path) if path.is_file() else {}
