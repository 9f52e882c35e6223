"""Each recipe computes in its own precision, whatever was computed before, and on the lean way as on the library's."""

import pytest
import torch

from competition.training.device import computes_in_bf16
from competition.training.gradients import BatchGradients
from competition.training.loop import make_accelerator
from tests.training.conftest import Bench, gradient, make_recipe


@pytest.mark.parametrize("lean", [False, True])
def test_bf16_is_fp32_but_for_its_rounding(lean: bool, bench: Bench) -> None:
    losses, directions = {}, {}
    for precision in ("fp32", "bf16", "auto", "fast"):
        recipe = make_recipe(adversary="fgm-table", r_drop=0.5, lean=lean, precision=precision)
        model = bench.model(recipe).float().train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        accelerator = make_accelerator(precision=precision)
        step = BatchGradients(accelerator, model, recipe, bench.sample(recipe), seed=3)
        losses[precision] = step.compute(bench.sample(recipe).rows, 0).item()
        directions[precision] = torch.cat([g.flatten() for g in gradient(model).values()])
        assert directions[precision].dtype == torch.float32
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=2**-7)  # bf16 keeps eight bits
    assert torch.cosine_similarity(directions["bf16"], directions["fp32"], dim=0) > 0.98
    if not torch.cuda.is_available():
        assert losses["auto"] == losses["fp32"]
    assert losses["fast"] == losses["bf16" if computes_in_bf16("fast") else "fp32"]


@pytest.mark.parametrize("has_it", [False, True])
def test_fast_is_bf16_on_a_cpu_that_has_it(has_it: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_it})
    assert computes_in_bf16("fast") is has_it
    assert not computes_in_bf16("auto")
    assert computes_in_bf16("bf16")
