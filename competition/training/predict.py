"""Outputs of a model for many pairs, each example exactly once, whatever the number of processes."""

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from competition.core.console import Progress
from competition.data.pairs import Pairs
from competition.models.encoder.model import RelevanceModel
from competition.scoring.tasks import KINDS
from competition.training.batches import Rows, collate, shard
from competition.training.divergence import Diverged
from competition.training.oom import Budget

# Of more tokens at a time, what passes from layer to layer does not stay in a CPU's cache.
MAX_TOKENS_ON_CPU = 4_096


def predict(
    accelerator: Accelerator,
    model: RelevanceModel,
    pairs: Pairs,
    rows: Rows,
    budget: Budget,
    work: Progress | None = None,
) -> pd.DataFrame:
    """The outputs of `model` for the pairs of `rows`, in pieces of `budget`, which shrinks where memory runs out.

    Args:
        accelerator: its device computes.
        model: of a recipe's kind.
        pairs: all of them.
        rows: those that are predicted.
        budget: tokens at a time, at most; it is lowered to `ON_CPUS` on a CPU.
        work: is told of each row.

    Returns:
        example_id and the outputs of the model's kind, sorted by example_id, on every process.

    Raises:
        CompError: memory runs out with a single pair.
        Diverged: an output is not finite.
        RuntimeError: an example was predicted twice or never.
    """
    columns = list(KINDS[model.kind].outputs)
    if accelerator.device.type == "cpu":
        budget.tokens = min(budget.tokens, MAX_TOKENS_ON_CPU)
    mine = shard(rows, accelerator.process_index, accelerator.num_processes)
    ids, found = [np.empty(0, np.int64)], []

    def answer(piece: Rows) -> None:
        found.append(
            model.outputs(model(collate(pairs, piece, accelerator.device)))
        )  # left there: nobody waits for it
        ids.append(pairs.example_id[piece])
        if work is not None:
            work.advance(len(piece))

    was_training = model.training
    model.eval()
    with torch.inference_mode(), accelerator.autocast():
        budget.spend(answer, mine, pairs.lengths(), len(pairs.views))
    model.train(was_training)
    values = torch.cat(found).cpu().numpy() if found else np.empty((0, len(columns)))
    parts = [(np.concatenate(ids), values)]
    if accelerator.num_processes > 1:
        parts = gather_object(parts)
    example_id = np.concatenate([part[0] for part in parts])
    if not np.array_equal(np.sort(example_id), np.sort(pairs.example_id[rows])):
        raise RuntimeError("an example was predicted twice or never")
    outputs = np.concatenate([part[1] for part in parts])
    lost = int((~np.isfinite(outputs)).any(1).sum())
    if lost:
        raise Diverged(
            f"{lost:,} of {len(outputs):,} outputs are not finite: the model has diverged in training: lower "
            "learning_rate and train it again."
        )
    frame = pd.DataFrame(outputs, columns=columns)
    frame.insert(0, "example_id", example_id)
    return frame.sort_values("example_id", ignore_index=True)
