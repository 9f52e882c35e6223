"""Dropout whose masks are drawn four at a time: on CPUs, the library's take a tenth of a step."""

import torch
from torch import Tensor, nn

_STEPS = 1 << 16  # a mask is drawn from 16 bits, so shares are multiples of 1 / 65,536


def fast_dropout(x: Tensor, share: float) -> Tensor:
    """Return `x` with a random `share` of its values zeroed, scaled so that the mean stays."""
    dropped = round(share * _STEPS)

    # Each int64 that is drawn holds the masks of four values.
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64)
    words.random_(torch.iinfo(torch.int64).min, None)
    # Uniform over -2**15 … 2**15 - 1.
    drawn = words.view(torch.int16)[: x.numel()].view(x.shape)
    kept = drawn >= dropped - _STEPS // 2
    return x * kept.to(x.dtype).mul_(_STEPS / (_STEPS - dropped))


class FastDropout(nn.Dropout):
    """`nn.Dropout` that draws as `fast_dropout` on CPUs."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop by `fast_dropout` on CPUs; on other devices the library draws."""
        if not self.training or not self.p or input.device.type != "cpu":
            return super().forward(input)
        return fast_dropout(input, self.p)


def use_fast_dropout(module: nn.Module) -> None:
    """Replace every `nn.Dropout` inside of a module by `FastDropout`."""
    for inside in module.modules():
        for name, child in inside.named_children():
            if type(child) is nn.Dropout:
                setattr(inside, name, FastDropout(child.p))
