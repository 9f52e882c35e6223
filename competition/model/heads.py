"""From the encoder's output to logits."""

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """[CLS] -> dropout -> dense -> tanh -> dropout -> output."""

    def __init__(self, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """`(batch, hidden)` -> `(batch, outputs)`."""
        x = torch.tanh(self.dense(self.dropout(features)))  # (batch, hidden)
        return self.output(self.dropout(x))
