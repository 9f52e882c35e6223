"""Dropout whose masks are drawn four at a time: on a CPU, the library spends a tenth of a training step on them."""

import torch
from torch import Tensor, nn

_STEPS = 1 << 16  # a mask is drawn from 16 bits, so shares are multiples of 1 / 65,536


def fast_dropout(x: Tensor, share: float) -> Tensor:
    """`x` with a random `share` of its values zeroed and the others scaled, so that the mean stays."""
    dropped = round(share * _STEPS)
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(
        torch.iinfo(torch.int64).min, None
    )
    kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - _STEPS // 2
    return x * kept.to(x.dtype).mul_(_STEPS / (_STEPS - dropped))


class FastDropout(nn.Dropout):
    """`nn.Dropout` that draws so on CPUs."""

    def forward(self, input: Tensor) -> Tensor:
        """See `drop`; on other devices the library's own."""
        if not self.training or not self.p or input.device.type != "cpu":
            return super().forward(input)
        return fast_dropout(input, self.p)


def use_fast_dropout(module: nn.Module) -> None:
    """Put `Dropout` in the place of every `nn.Dropout` inside of a module."""
    for inside in module.modules():
        for name, child in inside.named_children():
            if type(child) is nn.Dropout:
                setattr(inside, name, FastDropout(child.p))
