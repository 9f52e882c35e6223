"""Writes `docs/scale.md`: what the published eight runs and a decoder with adapters take on 1, 8 and 64 GPUs.

python -m docs.scale
"""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.arithmetic import (
    DECODER_7B,
    INFOXLM_LARGE,
    Assumptions,
    Encoder,
    fold_seconds,
    memory,
    operations,
)
from benchmarks.schedule import GPUS, Simulated, published, simulated
from competition.config.encoder_recipe import EncoderRecipe
from competition.pipeline.execute import Step

PAGE = Path(__file__).with_name("scale.md")
TEMPLATE = Path(__file__).with_name("scale.md.j2")
GIVEN = Assumptions()
METHODS: dict[str, Any] = {"adversary": "fgm-table", "r_drop": 0.5, "ema": 0.999, "epochs": 5}
C1 = EncoderRecipe(name="c1", scheme="five", precision="bf16", **METHODS)
C2 = EncoderRecipe(name="c2", scheme="ten", **METHODS)
R2 = EncoderRecipe(name="r2", kind="gain", scheme="ten", drop_noise_from="c1", **METHODS)
LORA = EncoderRecipe(
    name="lora", epochs=1, lora={"rank": 16, "quantize": "bf16"}, checkpointing=True
)


def page() -> str:
    """Return the whole page."""
    import jinja2

    templates = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    template = templates.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(_numbers() | _forms())


def _numbers() -> dict[str, Any]:
    """Return what the page states."""
    encoder = Encoder.of("xlm-roberta", INFOXLM_LARGE)
    decoder = Encoder.of("qwen2", DECODER_7B)
    with TemporaryDirectory() as folder:
        steps = published(Path(folder), GIVEN)
    folds = {_fold(number): fold_seconds(LORA, decoder, GIVEN) for number in LORA.folds}

    # Trainings that can run before any other has ended.
    first = sum(
        seconds > 0 and not any(need.name.startswith("audit") for need in step.needs)
        for step, seconds in steps.items()
    )
    recipes = {"c1, t2, t3": C1, "c2, c3, r1": C2, "r2, r3, behind the audit of c1": R2}
    training, prediction = operations(C1, encoder)
    less = C1.model_copy(update={"checkpointing": True})
    return {
        "given": GIVEN,
        "c1": C1,
        "encoder": encoder,
        "training": training,
        "prediction": prediction,
        "c1_tokens": C1.epochs * 4 * GIVEN.train_rows // 5 * GIVEN.tokens,
        "recipes": [(n, each, fold_seconds(each, encoder, GIVEN)) for n, each in recipes.items()],
        "trainings": sum(seconds > 0 for seconds in steps.values()),
        "first": first,
        "eight": {gpus: simulated(steps, gpus) for gpus in sorted((*GPUS, first))},
        "held": memory(C1, encoder),
        "held_less": memory(less, encoder),
        "longer": operations(less, encoder)[0] / training - 1,
        "lora": LORA,
        "decoder": decoder,
        "lora_training": operations(LORA, decoder)[0],
        "lora_held": memory(LORA, decoder),
        "adapters": {gpus: simulated(folds, gpus) for gpus in sorted((*GPUS, len(folds)))},
        "apiece": 64 // len(folds),
    }


def _fold(number: int) -> Step:
    name = f"train lora fold {number}"
    return Step(name, name, (), lambda: None, lambda: None, shared=True, trains="lora")


def _forms() -> dict[str, Any]:
    """Return how numbers are written."""
    return {
        "percent": _percent,
        "hours": _hours,
        "bound": _bound,
        "table": _table,
        "gib": lambda size: f"{size / 2**30:.0f}",
        "giga": lambda count: f"{count / 1e9:.1f}",
        "millions": lambda count: f"{count / 1e6:.0f}",
    }


def _table(schedules: dict[int, Simulated]) -> str:
    heads = ("GPUs", "hours", "lower bound", "over it", "bound by", "idle", "to the end", "used")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for gpus, each in schedules.items():
        over = each.makespan / each.bound - 1
        dollars = [seconds / 3600 * GIVEN.price for seconds in (gpus * each.makespan, each.work)]
        cells = [str(gpus), _hours(each.makespan), _hours(each.bound), _percent(over)]
        cells += [_bound(each), _percent(each.idle), *(f"${value:,.0f}" for value in dollars)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _bound(each: Simulated) -> str:
    return "the chain" if each.path > each.work / each.gpus else "work"


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _hours(seconds: float) -> str:
    """Return hours with three digits."""
    value = seconds / 3600
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
