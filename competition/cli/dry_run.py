"""`comp train --dry-run`: estimate the time and memory of a training."""

from typing import TYPE_CHECKING

from competition.cli.output import OutputCell, show_table
from competition.core.console import console, warn

if TYPE_CHECKING:
    from competition.analysis.cost import CostEstimate
    from competition.config.encoder_recipe import EncoderRecipe
    from competition.pipeline.execute import Step
    from competition.pipeline.steps import Pipeline


def show_dry_run(pipeline: "Pipeline", name: str, fold: int | None) -> None:
    """Show the steps of a recipe, or of one fold, that are not done, with time and memory on this device."""
    from competition.analysis.cost import estimate_cost
    from competition.config.encoder_recipe import EncoderRecipe

    recipe = pipeline.recipes.member(name)
    undone = {step.name: step for step in pipeline.recipe_steps(name, fold) if step.state != "done"}
    to_train = [k for k in recipe.folds if f"train {name} fold {k}" in undone]

    # Training a fold also predicts its test rows, so that step is not one of its own.
    included = {f"predict {name} fold {k}" for k in to_train}
    steps = [step for step in undone.values() if step.name not in included]

    estimate = None
    if isinstance(recipe, EncoderRecipe) and to_train and _fits(pipeline, recipe):
        console.print("Measuring a few real steps on this device; nothing is written.")
        estimate = estimate_cost(pipeline, recipe, to_train)

    header = {
        "step": "step",
        "state": "",
        "rows": "rows",
        "steps": "optimizer steps",
        "tokens": "tokens",
        "seconds": "time",
    }
    about: dict[str, object] = {"recipe": name}
    if estimate is not None:
        about |= {
            "device": estimate.device,
            "seconds": estimate.seconds,
            "tokenising": estimate.tokenizing,
            "memory": estimate.benchmark.memory,
            "measured_steps": estimate.benchmark.steps,
        }
    show_table(f"{name}, steps to run", header, _rows(steps, name, estimate), left=2, **about)

    if estimate is not None:
        _print_estimate(estimate, unmeasured=len(steps) > len(estimate.folds))
    elif not steps:
        console.print("Nothing to do: everything is up to date.")
    elif to_train:
        console.print("Time is estimated for the fine-tuning of encoders only.")
    else:
        console.print("Nothing to train.")


def _fits(pipeline: "Pipeline", recipe: "EncoderRecipe") -> bool:
    """Print the memory of adapters by arithmetic; return whether this device has it, so that steps can be measured."""
    if recipe.lora is None:
        return True

    from competition.analysis.cost import encoder_config_folder
    from competition.analysis.environment import find_device
    from competition.analysis.memory import memory_of_adapters

    memory = memory_of_adapters(recipe, encoder_config_folder(pipeline, recipe))
    console.print(
        f"By arithmetic, training takes {memory.total / 2**30:.1f} GiB: {memory.base / 2**30:.1f} for the "
        f"{memory.base_weights:,} weights of the encoder, {memory.trained / 2**30:.1f} for {memory.trained_weights:,} "
        f"that are trained, {memory.activations / 2**30:.1f} for a micro-batch of {recipe.token_budget:,} tokens."
    )
    free = find_device(recipe.precision).free
    fits = bool(memory.total <= free)
    if not fits:
        warn(
            f"this device has {free / 2**30:.1f} GiB free, so nothing is measured: lower token_budget, set "
            'checkpointing = true, or quantize = "bf16" in lora.'
        )
    return fits


def _print_estimate(estimate: "CostEstimate", unmeasured: bool) -> None:
    times = estimate.benchmark
    device = estimate.device
    console.print(
        f"About {format_duration(estimate.seconds)} on {device.kind} ({device.precision}, threads: {device.threads}), "
        f"{format_duration(estimate.tokenizing)} of it for tokenizing, and {times.memory / 2**30:.1f} GiB of memory at "
        f"the peak; {device.free / 2**30:.1f} GiB are free. Measured: {times.steps} steps."
    )
    if unmeasured:
        console.print("Steps without a time were not measured.")
    if times.memory > device.free:
        warn("this needs more memory than is free: lower token_budget.")


def _rows(steps: "list[Step]", name: str, estimate: "CostEstimate | None") -> list[list[object]]:
    """Return the cells of each step, with the cost of those that were measured."""
    costs = {f"train {name} fold {cost.fold}": cost for cost in estimate.folds} if estimate else {}

    rows: list[list[object]] = []
    for step in steps:
        state = "out of date" if step.state == "stale" else step.state
        if cost := costs.get(step.name):
            time = OutputCell(cost.seconds, text=format_duration(cost.seconds))
            rows.append([step.name, state, cost.rows, cost.steps, cost.tokens, time])
        else:
            rows.append([step.name, state, None, None, None, None])
    return rows


def format_duration(seconds: float) -> str:
    """Return a duration for people: `48 s`, `12 min 30 s`, `5 h 20 min`."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rounded} s"

    minutes, remaining_seconds = divmod(rounded, 60)
    if minutes < 60:
        return f"{minutes} min {remaining_seconds} s"
    hours, remaining_minutes = divmod(minutes, 60)
    return f"{hours} h {remaining_minutes} min"
