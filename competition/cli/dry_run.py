"""`comp train --dry-run`: estimate the time and memory of a training."""

from typing import TYPE_CHECKING

from competition.cli.output import OutputCell, show_table
from competition.core.console import console, warn

if TYPE_CHECKING:
    from competition.analysis.cost import CostEstimate
    from competition.pipeline.execute import Step
    from competition.pipeline.steps import Pipeline


def show_dry_run(pipeline: "Pipeline", name: str, fold: int | None) -> None:
    """Show the steps of a recipe, or of one fold, that are not done, with time and memory on this device."""
    from competition.analysis.cost import estimate_cost
    from competition.config.recipe import EncoderRecipe

    recipe = pipeline.recipes.member(name)
    undone = {step.name: step for step in pipeline.recipe_steps(name, fold) if step.state != "done"}
    to_train = [k for k in recipe.folds if f"train {name} fold {k}" in undone]
    at_once = {f"predict {name} fold {k}" for k in to_train}  # training predicts test rows, too
    steps = [step for step in undone.values() if step.name not in at_once]
    found = None
    if isinstance(recipe, EncoderRecipe) and to_train:
        console.print("Measuring a few real steps on this device; nothing is written.")
        found = estimate_cost(pipeline, recipe, to_train)
    header = {
        "step": "step",
        "state": "",
        "rows": "rows",
        "steps": "optimizer steps",
        "tokens": "tokens",
    }
    rows = _rows(steps, name, found)
    about = {"recipe": name} | (_about(found) if found else {})
    show_table(f"{name}, steps to run", header | {"seconds": "time"}, rows, 2, **about)
    if found is None:
        said = (
            "Time is estimated for the fine-tuning of encoders only."
            if to_train
            else "Nothing to train."
        )
        console.print(said if steps else "Nothing to do: everything is up to date.")
        return
    times, device = found.benchmark, found.device
    console.print(
        f"About {format_duration(found.seconds)} on {device.kind} ({device.precision}, threads: {device.threads}) and "
        f"{times.memory / 2**30:.1f} GiB of memory at the peak, {device.free / 2**30:.1f} GiB are free. "
        f"{format_duration(found.tokenizing)} of it go to tokenising. Measured: {times.steps} steps."
    )
    if len(steps) > len(found.folds):
        console.print("Steps without a time were not measured.")
    if times.memory > device.free:
        warn("this needs more memory than is free: lower token_budget.")


def _rows(steps: "list[Step]", name: str, found: "CostEstimate | None") -> list[list[object]]:
    costs = {f"train {name} fold {cost.fold}": cost for cost in found.folds} if found else {}
    rows: list[list[object]] = []
    for step in steps:
        cost = costs.get(step.name)
        numbers = [cost.rows, cost.steps, cost.tokens] if cost else [None] * 3
        time = OutputCell(cost.seconds, text=format_duration(cost.seconds)) if cost else None
        rows.append(
            [step.name, "out of date" if step.state == "stale" else step.state, *numbers, time]
        )
    return rows


def _about(found: "CostEstimate") -> dict[str, object]:
    return {
        "device": found.device,
        "seconds": found.seconds,
        "tokenising": found.tokenizing,
        "memory": found.benchmark.memory,
        "measured_steps": found.benchmark.steps,
    }


def format_duration(seconds: float) -> str:
    """Return a duration for people: `48 s`, `12 min 30 s`, `5 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
