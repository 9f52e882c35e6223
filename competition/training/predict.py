"""Outputs of a model for many pairs, each example exactly once, whatever the number of processes."""

from contextlib import nullcontext

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from competition.core.console import Progress
from competition.core.errors import Diverged
from competition.data.pairs import Pairs
from competition.models.encoder.model import RelevanceModel
from competition.training.batches import Rows, collate, shard
from competition.training.oom import Budget

# Of more tokens at a time, what passes from layer to layer does not stay in a CPU's cache; for fewer
# in all, packing the weights costs more than it saves.
MAX_TOKENS_ON_CPU = 2_048


def predict(
    accelerator: Accelerator,
    model: RelevanceModel,
    pairs: Pairs,
    rows: Rows,
    budget: Budget,
    bar: Progress | None = None,
) -> pd.DataFrame:
    """Return the outputs of `model` for the pairs of `rows`, in micro-batches of `budget`.

    Args:
        accelerator: its device computes.
        model: of a recipe's kind.
        pairs: all of them.
        rows: those that are predicted.
        budget: tokens at a time, at most; it is lowered to MAX_TOKENS_ON_CPU on a CPU, and where
            memory runs out.
        bar: counts the rows.

    Returns:
        example_id and the outputs of the model's kind, sorted by example_id, on every process.

    Raises:
        CompError: memory runs out with a single pair.
        Diverged: an output is not finite.
        RuntimeError: an example was predicted twice or never.
    """
    if accelerator.device.type == "cpu":
        budget.tokens = min(budget.tokens, MAX_TOKENS_ON_CPU)
    own = shard(rows, accelerator.process_index, accelerator.num_processes)
    ids = [np.empty(0, np.int64)]
    outputs_on_device: list[Tensor] = []  # where nobody waits for them

    def predict_rows(micro_batch: Rows) -> None:
        logits = model(collate(pairs, micro_batch, accelerator.device))
        outputs_on_device.append(model.outputs(logits))  # (batch, outputs)
        ids.append(pairs.example_id[micro_batch])
        if bar is not None:
            bar.advance(len(micro_batch))

    # An evaluation between epochs leaves the mode as it was.
    was_training = model.training
    model.eval()
    lengths = pairs.lengths()
    are_many = len(pairs.views) * int(lengths[own].sum()) >= MAX_TOKENS_ON_CPU
    with (
        torch.inference_mode(),
        accelerator.autocast(),
        model.packed() if are_many else nullcontext(),
    ):
        budget.for_each_micro_batch(predict_rows, own, lengths, len(pairs.views))
    model.train(was_training)

    kind = model.kind
    columns = list(kind.outputs)
    values = np.empty((0, len(columns)))
    if outputs_on_device:
        values = torch.cat(outputs_on_device).cpu().numpy()
    if kind.role == "rating":
        values = kind.from_unit(values)

    # Rows come back in any order, from all processes: they are joined by id.
    parts = [(np.concatenate(ids), values)]
    if accelerator.num_processes > 1:
        parts = gather_object(parts)
    example_id = np.concatenate([of_process for of_process, _ in parts])
    outputs = np.concatenate([of_process for _, of_process in parts])

    if not np.array_equal(np.sort(example_id), np.sort(pairs.example_id[rows])):
        raise RuntimeError("an example was predicted twice or never")
    lost = int((~np.isfinite(outputs)).any(1).sum())
    if lost:
        raise Diverged(
            f"{lost:,} of {len(outputs):,} outputs are not finite: the model has diverged in training: lower "
            "learning_rate and train it again."
        )
    frame = pd.DataFrame(outputs, columns=columns)
    frame.insert(0, "example_id", example_id)
    return frame.sort_values("example_id", ignore_index=True)
