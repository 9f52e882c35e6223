"""Each recipe computes in its own precision, whatever was computed before, and on the lean way as on the library's."""

import pytest
import torch

from competition.training.loop import make_accelerator
from competition.training.step import Step
from tests.training.conftest import Bench, gradient, recipe


@pytest.mark.parametrize("lean", [False, True])
def test_bf16_is_fp32_but_for_its_rounding(lean: bool, bench: Bench) -> None:
    losses, directions = {}, {}
    for precision in ("fp32", "bf16", "auto"):
        asked = recipe(adversary="fgm-table", r_drop=0.5, lean=lean, precision=precision)
        model = bench.model(asked).float().train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        accelerator = make_accelerator(precision=precision)
        step = Step(accelerator, model, model, asked, bench.sample(asked), seed=3)
        losses[precision] = step.backward(bench.sample(asked).rows, 0).item()
        directions[precision] = torch.cat([g.flatten() for g in gradient(model).values()])
        assert directions[precision].dtype == torch.float32
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=2**-7)  # bf16 keeps eight bits
    assert torch.cosine_similarity(directions["bf16"], directions["fp32"], dim=0) > 0.98
    if not torch.cuda.is_available():
        assert losses["auto"] == losses["fp32"]
