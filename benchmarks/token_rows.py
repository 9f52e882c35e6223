"""An optimiser step of a token table alone: dense, and of the rows that a batch reads.

    python -m benchmarks.token_rows [--rows 250002] [--width 384] [--steps 60]

Batches of 2,000 tokens whose frequencies follow Zipf's law. Each includes the lookup, its gradient,
clipping, AdamW with decay, and at the end what brings all rows up to date; seconds are the
processor's.
"""

import argparse
import time
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.rounds import machine
from competition.training.token_rows import TokenRows

TOKENS = 2_000  # of a batch


class Encoder(nn.Module):
    """As much of an encoder as there is to look up."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, width)
        nn.init.normal_(self.table.weight, std=0.02)

    def get_input_embeddings(self) -> nn.Embedding:
        """See transformers."""
        return self.table

    @property
    def encoder(self) -> nn.Module:
        """Itself, as a model's."""
        return self


def train(batches: list[Tensor], rows: int, width: int, by_rows: bool) -> tuple[float, Tensor]:
    """Return the seconds of a step and the trained table."""
    torch.manual_seed(0)
    model = Encoder(rows, width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01, fused=True)
    token_rows = TokenRows(model.table, optimizer, None, 0.0) if by_rows else None
    begin = time.process_time()
    for ids in batches:
        model.table(ids).square().sum().backward()
        table = model.table.weight if token_rows is None else token_rows.gradient()
        nn.utils.clip_grad_norm_([table], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if token_rows is not None:
            token_rows.step()
    if token_rows is not None:
        token_rows.release()
    return (time.process_time() - begin) / len(batches), model.table.weight.detach()


def main() -> None:
    """Time both in turn, compare their tables, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=250_002)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    shares = 1 / np.arange(1, asked.rows + 1)
    rng = np.random.default_rng(0)
    batches = [
        torch.from_numpy(rng.choice(asked.rows, TOKENS, p=shares / shares.sum()))
        for _ in range(asked.steps)
    ]
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(asked.rounds):
        tables = []
        for by_rows, seconds in times.items():
            taken, table = train(batches, asked.rows, asked.width, by_rows)
            seconds.append(taken)
            tables.append(table)
    same = "the same bits" if torch.equal(*tables) else "not the same bits"
    dense, rows = (1e3 * median(seconds) for seconds in times.values())
    print(machine())
    print("| table | dense, ms per step | by rows | times as fast | both tables |")
    print("|---|---|---|---|---|")
    print(
        f"| {asked.rows:,} x {asked.width} | {dense:.0f} | {rows:.0f} | {dense / rows:.1f} | {same} |"
    )


if __name__ == "__main__":
    main()
