"""What `comp run` would build, with time and memory, and the building of it, one step or several at a time."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from competition.cli.dry_run import format_duration
from competition.cli.output import OutputCell, show_table
from competition.cli.ray_options import RayOptions
from competition.core.console import console
from competition.core.errors import InputError, did_you_mean, join_names, pluralize

if TYPE_CHECKING:
    from competition.pipeline.execute import Step
    from competition.pipeline.schedule import Machine
    from competition.pipeline.steps import Pipeline


def build_steps(
    pipeline: "Pipeline", steps: "list[Step]", jobs: int | None, on_ray: RayOptions | None
) -> int:
    """Build what is not done of all steps of a workspace; return how many were built."""
    if on_ray is not None:
        return _build_on_ray(pipeline, steps, jobs, on_ray)
    if jobs in (None, 1):
        from competition.pipeline.execute import execute

        return execute(pipeline.workspace, steps)

    from competition.analysis.forecast import forecast_memory
    from competition.pipeline.jobs import execute_jobs, find_machine
    from competition.pipeline.schedule import Work

    assert jobs is not None
    missing = [step for step in steps if step.state != "done"]
    machine = find_machine(jobs, missing)
    memory = forecast_memory(pipeline, missing, machine.gpus)
    return execute_jobs(pipeline.workspace, steps, machine, Work(steps, memory))


def _build_on_ray(
    pipeline: "Pipeline", steps: "list[Step]", jobs: int | None, options: RayOptions
) -> int:
    from competition.analysis.forecast import forecast_memory
    from competition.pipeline.jobs import execute_jobs
    from competition.pipeline.ray_cluster import connect
    from competition.pipeline.ray_crew import open_ray_crew
    from competition.pipeline.schedule import Work

    missing = [step for step in steps if step.state != "done"]
    if not missing:
        return 0
    with connect(options.address, jobs, options.gpus, options.scratch) as cluster:
        memory = forecast_memory(pipeline, missing, cluster.machine.gpus)
        work, start = Work(steps, memory), partial(open_ray_crew, cluster)
        return execute_jobs(pipeline.workspace, steps, cluster.machine, work, start)


def build_named_steps(pipeline: "Pipeline", names: list[str]) -> None:
    """Build some steps of a workspace.

    Raises:
        InputError: there is no step of a name.
        CompError: a step of another run is missing.
    """
    from competition.pipeline.execute import execute

    steps = {step.name: step for step in pipeline.steps()}
    for name in names:
        if name not in steps:
            raise InputError(
                f"There is no step {name!r}{did_you_mean(name, steps)}: `comp run --dry-run` shows those that are left."
            )
    for name in names:
        if not execute(pipeline.workspace, [steps[name]]):
            console.print(f"{name}: nothing to do, it is up to date.")


def show_run_plan(pipeline: "Pipeline", jobs: int) -> None:
    """Show the steps that are not done, what each takes, and how long all take with `jobs` at a time."""
    from competition.analysis.forecast import forecast_memory, forecast_seconds, seconds_so_far
    from competition.analysis.rehearsal import beside_others, import_seconds, rehearse
    from competition.pipeline.execute import counted_steps
    from competition.pipeline.jobs import find_machine, step_threads
    from competition.pipeline.schedule import Schedule, simulate

    # Training a fold also predicts its test rows, so that step is not one of its own.
    missing = counted_steps([step for step in pipeline.steps() if step.state != "done"])
    if not missing:
        console.print("Nothing to do: everything is up to date.")
        return

    console.print("Measuring on this device; nothing is written to the workspace.")
    with beside_others(min(jobs, len(missing)) - 1, step_threads(jobs)):
        machine = find_machine(jobs, missing)
        memory = forecast_memory(pipeline, missing, machine.gpus)
        # `comp run` takes as long up to here; with several jobs, so does each process behind it.
        start = seconds_so_far() * (1 if jobs == 1 else 2) + import_seconds(missing)
        measured = rehearse(pipeline, missing, machine.threads)
        measured |= forecast_seconds(pipeline, missing, machine.threads)
    seconds = {step.name: measured[step.name] for step in missing if step.name in measured}
    schedule = Schedule(missing, machine, memory)
    total = start + simulate(schedule, lambda step: seconds.get(step.name, 0.0))

    header = {
        "step": "step",
        "state": "",
        "threads": "threads",
        "gpus": "GPUs",
        "memory": "memory",
        "seconds": "time",
    }
    rows = _rows(missing, machine, memory, seconds)
    unknown = [step.name for step in missing if step.name not in seconds]
    about = {"jobs": jobs, "seconds": total, "start": start, "measured": len(seconds)}
    show_table("Steps to run", header, rows, left=2, **about, memory=machine.memory)

    at_a_time = "one after another" if jobs == 1 else f"up to {jobs} at a time"
    console.print(
        f"{pluralize(len(missing), 'step')}, {at_a_time}: about {format_duration(total)}, "
        f"{format_duration(start)} of it to start and to import libraries."
    )
    console.print(
        "Trainings of encoders are forecast from a few of their optimizer steps, all else was built of a sample of the "
        "rows in a temporary folder."
    )
    if unknown:
        console.print(f"Not measured, and counted as nothing: {join_names(unknown)}.")


def _rows(
    steps: "list[Step]", machine: "Machine", memory: Mapping[str, int], seconds: Mapping[str, float]
) -> list[list[object]]:
    """Return the cells of each step."""
    rows: list[list[object]] = []
    for step in steps:
        state = "out of date" if step.state == "stale" else step.state
        bytes_ = memory[step.name]
        size = OutputCell(bytes_, text=f"{bytes_ / 2**30:.1f} GiB")
        time = seconds.get(step.name)
        cell = None if time is None else OutputCell(time, text=format_duration(time))
        gpus = int(step.shared and machine.gpus > 0)
        rows.append([step.name, state, machine.threads, gpus, size, cell])
    return rows
