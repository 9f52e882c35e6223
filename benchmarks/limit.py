"""How near to the hardware's limit training and prediction are: the share of their time that is matrix products.

    OMP_NUM_THREADS=1 python -m benchmarks.limit [--encoder FOLDER] [--workspace DIR] [--length 128] [--rounds 3]

Each operator of the same work as in `benchmarks.peers` and `benchmarks.step` is timed where it
runs, forwards and backwards, in seconds of this thread's processor. Then each product is run again
by itself, on the same tensors, as often as it takes to be sure of its speed. If products took no
longer than that and all else nothing, the work would be as many times as fast as the last column
says: no code can do more with the same products.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.peers import BATCH, PREDICTED, TRAINED
from benchmarks.rounds import Data, arguments, describe, machine, opened, precisions, train_ours
from benchmarks.step import BATCH as STEP_BATCH
from benchmarks.step import METHODS, STEPS
from competition.config.encoder_recipe import EncoderRecipe
from competition.models.encoder.model import RelevanceModel
from competition.training.loop import make_accelerator
from competition.training.oom import Budget
from competition.training.predict import predict
from tests.esci import KINDS

AGAIN = 0.02  # seconds for which a product is run by itself

# The two factors of a product, as positions among the arguments of an operator.
LAYERS = {"aten::mm": (0, 1), "aten::addmm": (1, 2), "mkldnn::_linear_pointwise": (0, 1)}
FUSED = "aten::scaled_dot_product_attention"  # two products and what is between them
ATTENTION = {"aten::bmm": (0, 1), "aten::baddbmm": (1, 2), FUSED: (0, 1)}


@dataclass
class Product:
    """Products of one operator, of the same shapes, strides and types."""

    again: Callable[[], object]  # one of them, by itself
    operations: float  # floating-point, of one
    seconds: list[float] = field(default_factory=list)  # of each, where it ran

    def alone(self) -> float:
        """Return the seconds of one by itself: the median of as many as take AGAIN."""
        few = median(_processor_seconds(self.again)[1] for _ in range(3))
        times = 1 + int(AGAIN / max(few, 1e-6))
        return median(_processor_seconds(self.again)[1] for _ in range(times))


class Stopwatch(TorchDispatchMode):
    """Times every product that runs within it."""

    def __init__(self) -> None:
        """Begin with no product."""
        super().__init__()
        self.products: dict[tuple[Any, ...], Product] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> object:
        """Run an operator, and time it if it is a product."""
        call = partial(func, *args, **(kwargs or {}))
        name = func.name().split(".")[0]
        factors = (LAYERS | ATTENTION).get(name)
        if factors is None:
            return call()

        result, seconds = _processor_seconds(call)
        tensors = [each for each in args if isinstance(each, Tensor)]
        key = (
            name,
            *((tuple(t.shape), t.layout == torch.strided and t.stride(), t.dtype) for t in tensors),
        )
        if key not in self.products:
            one, other = (args[place] for place in factors)
            self.products[key] = Product(call, _operations(name, one, other))
        self.products[key].seconds.append(seconds)
        return result


def _operations(name: str, one: Tensor, other: Tensor) -> float:
    """Return the floating-point operations of a product: two for each term of each sum."""
    if name == FUSED:
        return 4.0 * one.numel() * other.shape[2]  # (texts, heads, tokens, H / heads) each
    outputs = other.shape[0] if name == "mkldnn::_linear_pointwise" else other.shape[-1]
    return 2.0 * one.numel() * outputs


def _processor_seconds(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of `work`, and the seconds of the processor that it took."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


@dataclass(frozen=True)
class Work:
    """What is looked at."""

    name: str
    precision: str
    pairs: int
    run: Callable[[], object]


def works(data: Data, length: int, precision: str, log: Path) -> list[Work]:
    """Return the work of `benchmarks.peers` in a precision, and in fp32 that of `benchmarks.step`."""

    def recipe_of(length: int, batch: int, keys: dict[str, Any]) -> EncoderRecipe:
        return EncoderRecipe.model_validate(
            {"name": "x", "precision": precision, "max_length": length, "batch_size": batch, "epochs": 1}
            | {"learning_rate": 1e-5, **keys}
        )  # fmt: skip

    def model_of(recipe: EncoderRecipe) -> RelevanceModel:
        return RelevanceModel.make(recipe, KINDS[recipe.kind], data.sources, seed=1)

    plain = recipe_of(length, BATCH, {"pooling": "first"})
    known, every = data.sample(plain, TRAINED), data.sample(plain, PREDICTED)
    accelerator = make_accelerator(precision=precision)
    predicting = partial(
        predict, accelerator, model_of(plain), every.pairs, every.rows, Budget(plain.token_budget)
    )
    found = [
        Work("plain training", precision, TRAINED, partial(train_ours, plain, model_of(plain), known, log)),
        Work("prediction", precision, PREDICTED, predicting),
    ]  # fmt: skip
    if precision == "fp32":
        name = next(reversed(METHODS))
        whole = recipe_of(2 * length, STEP_BATCH, METHODS[name])
        sample = data.sample(whole, STEPS * STEP_BATCH)
        training = partial(train_ours, whole, model_of(whole), sample, log)
        found.append(Work(name, precision, STEPS * STEP_BATCH, training))
    return found


def row(work: Work, rounds: int) -> str:
    """Return a line of the table: medians of rounds with and without the stopwatch, in alternation."""
    work.run()
    all_seconds, watches = [], [Stopwatch() for _ in range(rounds)]
    for watch in watches:
        for context in (nullcontext(), watch):
            with context:
                seconds = _processor_seconds(work.run)[1]
            if context is not watch:
                all_seconds.append(seconds)

    # Without what the stopwatch itself takes.
    whole = median(all_seconds)
    places = (LAYERS, ATTENTION)
    spent = [median(_seconds_of(watch, names) for watch in watches) for names in places]
    products = watches[-1].products
    operations = sum(each.operations * len(each.seconds) for each in products.values())
    alone = sum(each.alone() * len(each.seconds) for each in products.values())
    cells = [work.name, work.precision, f"{1e3 * whole / work.pairs:.1f}"]
    cells += [f"{100 * seconds / whole:.0f} %" for seconds in spent]
    cells += [f"{operations / seconds / 1e9:.0f}" for seconds in (sum(spent), alone)]
    return "| " + " | ".join([*cells, f"{whole / alone:.2f}"]) + " |"


def _seconds_of(watch: Stopwatch, names: dict[str, tuple[int, int]]) -> float:
    """Return the seconds of all products of some operators."""
    return sum(sum(product.seconds) for key, product in watch.products.items() if key[0] in names)


def main() -> None:
    """Time, and print a table."""
    options = arguments(__doc__ or "")
    length = options.length or 128
    print(machine())
    with (
        opened(options.encoder, options.workspace) as data,
        tempfile.TemporaryDirectory() as folder,
    ):
        print(
            "| work | precision | ms per pair | products of layers | of attention | GFLOP/s there | by themselves "
            "| times as fast, were all else free |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for precision in precisions():
            for work in works(data, length, precision, Path(folder) / "log.jsonl"):
                print(row(work, options.rounds), flush=True)
        recipe = EncoderRecipe(name="x", max_length=length)
        print(f"{describe(data.sample(recipe, PREDICTED))}; medians of {options.rounds} rounds")


if __name__ == "__main__":
    main()
