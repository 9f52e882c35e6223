"""An exported classifier that answers pairs of texts, with its tokenizer in memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import competition.models.encoder.quiet  # noqa: F401
from competition.core.errors import InputError, join_names
from competition.scoring.contest import Kind

Pair = tuple[str, str]  # query and document
Array = NDArray[np.float64]

BATCH = 32  # pairs at a time


class Runner(Protocol):
    """What gives the logits of pairs.

    Attributes:
        tokens: that it has read so far, without padding.
    """

    tokens: int

    def logits(self, pairs: Sequence[Pair]) -> Array:
        """Return `(pairs, labels)`."""
        ...


class TorchRunner:
    """A folder's classifier in transformers, in fp32 on the CPU."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Load a folder.

        Raises:
            InputError: a weight is missing or left over.
        """
        self.tokens = 0
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True
        )
        faults = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
        if faults:
            raise InputError(
                f"The weights in {folder} are not those of its config.json: {join_names(map(str, faults))}: export "
                "the run again."
            )
        self.model.eval()

    def logits(self, pairs: Sequence[Pair]) -> Array:
        """Return the logits of pairs, `(pairs, labels)`."""
        logits: Array = np.empty((len(pairs), self.model.config.num_labels))
        with torch.inference_mode():
            for places, batch in tokenised(self.tokenizer, pairs):
                logits[places] = self.model(**batch).logits.double().numpy()
                self.tokens += int(batch["attention_mask"].sum())
        return logits


def tokenised(
    tokenizer: Any, pairs: Sequence[Pair], form: str = "pt", size: int = BATCH
) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """Yield batches of at most `size` pairs of similar length, each with the places of its pairs.

    `form` is of the tensors.
    """
    # By length in characters, so that a batch has little padding.
    order = np.argsort([len(query) + len(document) for query, document in pairs], kind="stable")
    for first in range(0, len(pairs), size):
        places = order[first : first + size]
        texts = [list(pairs[place]) for place in places]
        yield places, tokenizer(texts, padding=True, truncation=True, return_tensors=form)


def outputs_of(kind: Kind, logits: Array) -> Array:
    """Return logits `(rows, targets)` as the outputs of a kind, `(rows, outputs)`."""
    if kind.is_number:
        units = 1 / (1 + np.exp(-logits))
        return kind.from_unit(units) if kind.role == "rating" else units

    if logits.shape[1] == 1:  # of the label that is told from all others, see `fit_logits`
        logits = np.hstack([np.zeros_like(logits), logits])
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probabilities: Array = shifted / shifted.sum(1, keepdims=True)
    return probabilities if kind.is_classes else probabilities[:, 1:]
