"""Links of ordered classes: from fewer logits than classes to log-probabilities of the classes.

A row is of class 0, or passes it and is of class 1, and so on: where the order of the classes is
that of their numbers, either way round, this is what the logits say. Log-probabilities are logits
as any other, which a softmax takes as they are: losses, divergences and outputs need not know of
links.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ContinuationRatio(nn.Module):
    """CORN (Shi, Cao and Raschka 2021): logit k is of P(y > k | y >= k), `(batch, classes - 1)`.

    By the chain rule, the cross entropy of the classes is the sum of the binary cross entropies of
    the conditions that a row meets, which is the paper's loss; the paper divides by the number of
    conditions that are met in the batch, here each row counts alike.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.logits = classes - 1  # that it takes

    def forward(self, logits: Tensor) -> Tensor:
        """Return log-probabilities, `(batch, classes)`."""
        passes = functional.logsigmoid(logits).cumsum(1)  # log P(y > k)
        # Log P(y = k | y >= k).
        stays = functional.logsigmoid(-logits)
        return functional.pad(passes, (1, 0)) + functional.pad(stays, (0, 1))

    @torch.no_grad()
    def start(self, share: Tensor) -> Tensor:
        """Return the logits that give each class its share `(classes,)`, `(classes - 1,)`."""
        return _beyond(share).log() - share[:-1].log()


class CumulativeLink(nn.Module):
    """Proportional odds (McCullagh 1980): P(y > k) is sigmoid(logit - cut k), of one logit, `(batch, 1)`.

    The cut-points are learned. They ascend, since all but the first are steps above 0.
    """

    logits = 1

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.empty(classes - 1))
        self.start(torch.full((classes,), 1 / classes))

    @property
    def steps(self) -> Tensor:
        """How far each cut-point but the first is above the one before, `(classes - 2,)`."""
        return functional.softplus(self.raw[1:])

    @property
    def cuts(self) -> Tensor:
        """The cut-points, `(classes - 1,)`."""
        return torch.cat([self.raw[:1], self.steps]).cumsum(0)

    def forward(self, logits: Tensor) -> Tensor:
        """Return log-probabilities, `(batch, classes)`."""
        above = logits - self.cuts  # (batch, classes - 1) the log odds of y > k
        passes = functional.logsigmoid(above)
        stays = functional.logsigmoid(-above)

        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), where a - b is a step.
        between = torch.log(-torch.expm1(-self.steps))
        ends = functional.pad(passes, (1, 0)) + functional.pad(stays, (0, 1))
        return ends + functional.pad(between, (1, 1))

    @torch.no_grad()
    def start(self, share: Tensor) -> Tensor:
        """Cut so that a logit of 0, which is returned as `(1,)`, gives each class its share `(classes,)`."""
        cuts = -torch.logit(_beyond(share))
        steps = cuts.diff()
        # The inverse of softplus.
        self.raw.copy_(torch.cat([cuts[:1], steps + torch.log(-torch.expm1(-steps))]))
        return share.new_zeros(1)


def _beyond(share: Tensor) -> Tensor:
    """Return the share of all classes behind each but the last: `(classes,)` -> `(classes - 1,)`."""
    return (share / share.sum()).flip(0).cumsum(0).flip(0)[1:]


LINKS: dict[str, type[ContinuationRatio] | type[CumulativeLink]] = {
    "corn": ContinuationRatio,
    "cumulative": CumulativeLink,
}
