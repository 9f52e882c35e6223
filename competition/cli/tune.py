"""`comp tune`: search for better values of a recipe's keys, and say whether the gain is more than luck."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import complete_recipe, complete_task
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.cli.ray_options import (
    AddressOption,
    EngineOption,
    GpusOption,
    RayOptions,
    ScratchOption,
    ray_options,
)
from competition.core.commands import command_for
from competition.core.console import console
from competition.core.errors import pluralize
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.analysis.confirmation import Confirmation
    from competition.analysis.search import Trial
    from competition.analysis.trainings import Trainer
    from competition.analysis.tuning import Tuning
    from competition.pipeline.steps import Pipeline
    from competition.scoring.intervals import Estimate

_SHOWN = 10  # trials in the table


@app.command(
    epilog=help_epilog(
        "comp tune lexical --trials 30",
        "comp tune c1 --space space.toml --task task1",
        "comp tune c1 --jobs 4",
    )
)
def tune(
    recipe: Annotated[
        str,
        typer.Argument(help="The recipe to start from.", autocompletion=complete_recipe),
    ],
    trials: Annotated[
        int, typer.Option(min=1, help="Number of trials; more than before goes on with them.")
    ] = 20,
    space: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file of the keys to search; default: that of the recipe's model.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="The task to score trials on; default: the one that the recipe is made for.",
            autocompletion=complete_task,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    fresh: Annotated[
        int, typer.Option(min=1, help="Number of fresh seeds that confirm the best trial.")
    ] = 2,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            help="Train up to this many trials at a time, with the cores divided among them; another number is "
            "another search. Default: 1; on Ray, as many as there is room for.",
        ),
    ] = None,
    engine: EngineOption = None,
    address: AddressOption = None,
    gpus: GpusOption = None,
    scratch: ScratchOption = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Search for better values of a recipe's keys.

    Trials are trained fold by fold, and stopped behind a fold where they are worse than the median of
    earlier ones. The best one is trained again with seeds that the search has not used, beside the recipe
    itself. The same folds choose it and confirm it, so its interval is widened to hold for the best of
    all trials. The same command goes on where it was interrupted.

    The same --seed and --jobs draw the same trials: with N jobs, a trial knows the scores of those that are N
    or more before it, whichever of the others end first.
    """
    from competition.analysis.search import best_trial
    from competition.analysis.tuning import Tuning
    from competition.pipeline.steps import Pipeline
    from competition.scoring.basis import describe_basis

    on_ray = ray_options(engine, address, gpus, scratch)
    pipeline = Pipeline(Workspace.open(workspace))
    with _open_trainer(pipeline, recipe, jobs, on_ray) as trainer:
        tuning = Tuning(trainer, recipe, task, space, seed)
        found = tuning.run(trials)
        best = best_trial(found)
        confirmation = None if best is None else tuning.confirm(found, best, fresh)

    gains = tuning.gains(found)
    others = tuning.write(found, gains, confirmation)
    _show(tuning, found, gains, confirmation)
    if paths := tuning.objective.label_paths(found):
        console.print(f"These scores are {describe_basis(paths)}.")
    for sentence in _verdict(tuning, best, confirmation, fresh):
        console.print(sentence)
    more = f", with {pluralize(others, 'more trial')} of an earlier search" if others else ""
    console.print(f"Table: {tuning.path}{more}")


@contextmanager
def _open_trainer(
    pipeline: "Pipeline", recipe: str, jobs: int | None, on_ray: RayOptions | None
) -> "Iterator[Trainer]":
    """Yield what trains one after another, side by side, or on Ray."""
    from competition.analysis.trainings import OneAfterAnother, SideBySide
    from competition.pipeline.crew import open_crew
    from competition.pipeline.jobs import find_machine
    from competition.pipeline.ray_cluster import connect
    from competition.pipeline.ray_crew import open_ray_crew

    if on_ray is None and jobs in (None, 1):
        yield OneAfterAnother(pipeline)
        return

    with ExitStack() as stack:
        if on_ray is None:
            machine = find_machine(jobs or 1, pipeline.training_steps(recipe))
            trainer = SideBySide(pipeline, machine, open_crew)
        else:
            cluster = stack.enter_context(
                connect(on_ray.address, jobs, on_ray.gpus, on_ray.scratch)
            )
            trainer = SideBySide(pipeline, cluster.machine, partial(open_ray_crew, cluster))
        stack.callback(trainer.close)
        yield trainer


def _show(
    tuning: "Tuning",
    trials: "Sequence[Trial]",
    gains: "dict[int, Estimate]",
    confirmation: "Confirmation | None",
) -> None:
    """Show the best trials, and the first of them on fresh seeds."""
    from competition.analysis.recipe_objective import describe_changes

    base, task = tuning.objective.base.name, tuning.objective.task
    header: dict[str, str | None] = {
        "changes": "changes",
        "trial": "trial",
        "folds": "folds",
        "gain": "gain [95 %]",
        "run": None,
        "diverged": None,
    }
    order = sorted(
        trials, key=lambda t: (not t.complete, -max(t.gains[-1:], default=-math.inf), t.number)
    )
    rows: list[list[object]] = []
    for trial in order[:_SHOWN]:
        changes = OutputCell(trial.changes, text=describe_changes(trial.changes))
        estimate = gains.get(trial.number)
        gain = OutputCell(estimate, "+") if estimate else OutputCell(trial.gain, "+.4f")
        run = tuning.objective.run(trial.changes)
        rows.append([changes, trial.number + 1, len(trial.gains), gain, run, trial.diverged])
    if confirmation is not None:
        first = order[0]
        changes = OutputCell(first.changes, text="the best one, on fresh seeds")
        gain = OutputCell(confirmation.gain, "+")
        rows.append([changes, first.number + 1, len(first.gains), gain, None, False])

    stopped = sum(not trial.complete for trial in trials)
    title = f"{task.name}, gain in {task.metric.label} over {base}, out-of-fold, "
    title += f"the best of {pluralize(len(trials), 'trial')}, {stopped} of them stopped early"
    if diverged := sum(trial.diverged for trial in trials):
        title += f", {diverged} since it diverged"
    about: dict[str, object] = {"task": task.name, "metric": task.metric.label, "recipe": base}
    about |= {"trials": len(trials), "stopped": stopped}
    if confirmation is not None:
        about |= {"luck": confirmation.luck, "optimism": confirmation.optimism}
        about |= {"found": confirmation.found, "draws": confirmation.draws}
    show_table(title, header, rows, 1, **about)


def _verdict(
    tuning: "Tuning", best: "Trial | None", confirmation: "Confirmation | None", fresh: int
) -> list[str]:
    """Return what the search has found, in words."""
    base = tuning.objective.base.name
    if best is None:
        return [f"No gain: no trial over all folds was better than {base}. Keep {base}."]
    if confirmation is None:
        return [f"No gain: on a fresh seed, the best trial or {base} diverges. Keep {base}."]

    sentences = [
        *describe_confirmation(confirmation, fresh),
        "The folds that chose it also confirm it, only the seeds are new: rows that no choice has seen are the test "
        "rows.",
    ]
    if not confirmation.found:
        return [*sentences, f"No gain beyond luck: keep {base}."]
    return [
        *sentences,
        f"Found a gain. To adopt it: {command_for(tuning.command(best))}",
    ]


def describe_confirmation(confirmation: "Confirmation", fresh: int) -> list[str]:
    """Return what luck would have shown, and what `fresh` seeds do, as sentences."""
    draws, showed = confirmation.draws, confirmation.searched.difference.value
    luck = f"The only different trial showed {showed:+.4f}."
    if draws > 1:
        luck = (
            f"By luck alone, the best of {draws} different trials would show about {confirmation.luck:+.4f}; "
            f"this one showed {showed:+.4f}."
        )

    gains = f"On {pluralize(fresh, 'fresh seed')} it gains {confirmation.gain:+}"
    if draws > 1:
        gains += ", an interval that holds for the best of all"
    if confirmation.optimism > 0:
        return [luck, f"{gains}: the search was too optimistic by {confirmation.optimism:+.4f}."]
    return [luck, f"{gains}, not less than the search showed."]
