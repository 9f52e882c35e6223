"""An exported classifier that answers pairs of texts, with its tokenizer in memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import competition.models.encoder.quiet  # noqa: F401
from competition.core.arrays import Array
from competition.core.errors import CompError, InputError, join_names
from competition.data.layout import PAIR, Ids, make_layout
from competition.data.tokenizer import tokenise
from competition.scoring.task import Kind

Pair = tuple[str, str]  # query and document

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


class PairReader:
    """Pairs of texts as the tensors of a model, put together as its tokenizer does it.

    The library's own call would keep all pieces of both texts that do not fit, in each combination:
    two long texts would take gigabytes and minutes.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Read off how the tokenizer of a folder joins a pair."""
        self.tokenizer = tokenizer
        self._layout = make_layout(tokenizer, PAIR, tokenizer.model_max_length, "")
        self._knows_types = "token_type_ids" in tokenizer.model_input_names

    def read(self, pairs: Sequence[Pair]) -> list[tuple[Ids, int]]:
        """Return the tokens of each pair, and how many of them are of the first text; each text is read once."""
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        tokens = tokenise(self.tokenizer, texts)
        ids = {text: tokens[i] for i, text in enumerate(texts)}
        limit = self.tokenizer.model_max_length
        return [self._layout.join(ids[query], ids[document], limit) for query, document in pairs]

    def batches(
        self, pairs: Sequence[Pair], size: int = BATCH
    ) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[np.int64]]]]:
        """Yield tensors by name, `(batch, tokens)`, for at most `size` pairs of similar length, with their places."""
        read = self.read(pairs)
        order = np.argsort([len(ids) for ids, _ in read], kind="stable")
        for begin in range(0, len(pairs), size):
            places = order[begin : begin + size]
            width = len(read[places[-1]][0])  # of the longest
            ids = np.full((len(places), width), self.tokenizer.pad_token_id, np.int64)
            mask = np.zeros_like(ids)
            types = np.zeros_like(ids)
            for row, place in enumerate(places):
                tokens, of_first = read[place]
                ids[row, : len(tokens)] = tokens
                mask[row, : len(tokens)] = 1
                types[row, of_first : len(tokens)] = 1

            batch = {"input_ids": ids, "attention_mask": mask}
            yield places, batch | ({"token_type_ids": types} if self._knows_types else {})

    def check(self, pairs: Sequence[Pair]) -> None:
        """Raise CompError where the library's own call reads a pair otherwise, as other programs do."""
        theirs = self.tokenizer([list(pair) for pair in pairs], truncation=True)["input_ids"]
        for pair, (own, _), other in zip(pairs, self.read(pairs), theirs, strict=True):
            if own.tolist() != other:
                raise CompError(
                    f"The exported tokenizer reads {pair[0]!r} with its product otherwise than the run, so no folder "
                    "is written: report it, with the recipe."
                )


class TorchRunner:
    """A folder's classifier in transformers, in fp32 on the CPU."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Load a folder.

        Raises:
            InputError: a weight is missing or left over.
        """
        self.tokens = 0
        self.reader = PairReader(AutoTokenizer.from_pretrained(folder, local_files_only=True))
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
            for places, batch in self.reader.batches(pairs):
                tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
                logits[places] = self.model(**tensors).logits.double().numpy()
                self.tokens += int(batch["attention_mask"].sum())
        return logits


def outputs_of(kind: Kind, logits: Array) -> Array:
    """Return logits `(rows, targets)` as the outputs of a kind, `(rows, outputs)`."""
    if kind.is_number:
        units = 1 / (1 + np.exp(-logits))
        return kind.from_unit(units) if kind.role == "rating" else units

    # Of the label that is told from all others, see `fit_logits`.
    if logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probabilities: Array = shifted / shifted.sum(1, keepdims=True)
    return probabilities if kind.is_classes else probabilities[:, 1:]
