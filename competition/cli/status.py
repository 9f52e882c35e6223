"""`comp status`: a table of recipes and folds."""

import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import OutputCell, help_epilog, is_json, show_table
from competition.cli.verdicts import show_verdict
from competition.core.commands import command_for, shell_quoted
from competition.core.console import console, results, warn
from competition.core.errors import InputError
from competition.core.signals import Interrupted
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from competition.pipeline.running import RunningCommand
    from competition.scoring.predictions import RunPlan

# State -> sign and style, the furthest from done first.
_LOOKS = {
    "missing": ("·", "dim"),
    "begun": ("◧", "cyan"),
    "stale": ("▲", "yellow"),
    "done": ("■", "green"),
}
# Of folds, each of which has one; more share one, or 80 characters would not hold them.
_MOST_COLUMNS = 5
_LEGEND = "■ done   ◧ begun, continues from a checkpoint   ▲ out of date   · missing"
_EVERY = 2.0  # seconds between two looks


@app.command(epilog=help_epilog("comp status", "comp status --watch", "comp status --json"))
def status(
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Show what is built, where and since when, until nothing is or Ctrl-C."
        ),
    ] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Show what is done or missing, and where tasks stand.

    A table of recipes and folds, then all other steps, the verdict, and what is built now.
    """
    from competition.pipeline.running import running_commands

    space = Workspace.open(workspace)
    if watch:
        if is_json():
            raise InputError("--watch shows what changes, and --json one document: leave one out.")
        _watch(space)
    _show_status(space)
    _show_running(running_commands(space))


def _watch(space: Workspace) -> None:
    """Show what is built now whenever it changes, until nothing is; Ctrl-C ends the command."""
    from competition.pipeline.running import running_commands

    shown = None
    try:
        while running := running_commands(space):
            if running != shown:
                shown = running
                if results.is_terminal:
                    results.clear()
                _show_running(running)
            time.sleep(_EVERY)
    except Interrupted as ended:
        if ended.number != signal.SIGINT:
            raise
        raise typer.Exit from None


def _show_running(commands: "Sequence[RunningCommand]") -> None:
    """Show the steps that commands build now, if there are any."""
    rows: list[list[object]] = [
        [step.name, step.host or "waits for a machine", step.since, command.command]
        for command in commands
        for step in command.steps
    ]
    if rows:
        header = {"step": "step", "host": "machine", "since": "since", "command": "command"}
        show_table("Built now", header, rows, left=4)
    for command in commands:
        if command.left:
            console.print(f"{command.command} on {command.host}: {command.left}.")


def _show_status(space: Workspace) -> None:
    from competition.analysis.diagnoses.judge import judge
    from competition.core.json_files import read_json
    from competition.pipeline.cleanup import stale_checkpoints
    from competition.pipeline.execute import StepStates
    from competition.pipeline.steps import Pipeline

    pipeline = Pipeline(space)
    _, kept = stale_checkpoints(pipeline.workspace)
    states = StepStates.look(pipeline.steps())
    left, total = states.left, states.total
    plans = pipeline.plan.runs()
    _show_board(plans, dict(states.of))
    shown = {name for plan in plans for name in _steps_of(plan)}
    others = [[_mark([state]), name] for name, state in states.of.items() if name not in shown]
    asked = pipeline.all_rows_models()
    others += [[_mark([step.state]), step.name] for step in asked.values()]
    then = {
        "missing": len(left),
        "steps": total,
        "next": "comp run" if left else None,
        "checkpoints": kept,
    }
    show_table("Everything else", {"state": "", "step": "step"}, others, 2, **then)
    console.print(_LEGEND)

    # The card of a complete run records folds whose outputs do not depend on the text.
    for plan in plans:
        card = read_json(pipeline.workspace.run_card(plan.name))
        for sentence in card.get("constant", ()) if card.get("inputs") == plan.fingerprint else ():
            warn(sentence)
    for name, step in asked.items():
        if step.state != "done":
            command = command_for(f"comp train --all --recipe {shell_quoted(name)}")
            console.print(f"{step.name} is out of date: `{command}` rebuilds it.")
    if kept:
        console.print(f"Unfinished training with checkpoints: {', '.join(kept)}")

    if left:
        console.print(f"Steps left: {len(left)} of {total}; the first is {left[0].name}.")
    else:
        console.print("Everything is up to date.")
    show_verdict(judge(pipeline, states))


def _steps_of(plan: "RunPlan") -> list[str]:
    """Return the names that the steps of a run can have."""
    of_folds = [
        f"{kind} {plan.name} fold {fold}" for kind in ("train", "predict") for fold in plan.folds
    ]
    return [*of_folds, f"score {plan.name}", f"stack {plan.name}", f"audit {plan.name}"]


def _show_board(plans: list["RunPlan"], states: dict[str, str]) -> None:
    """Show a row per run: the state of each fold, of its test rows, of the whole run and its audit."""
    folds = range(max(len(plan.folds) for plan in plans))
    is_narrow = len(folds) <= _MOST_COLUMNS
    header: dict[str, str | None] = {
        "run": "run",
        "kind": "kind",
        **{f"fold_{fold}": str(fold) if is_narrow else None for fold in folds},
        "folds": None if is_narrow else "folds",
        "test": "test rows",
        "whole": "complete",
        "audit": "audit",
    }

    rows = []
    for plan in plans:
        trained = [states.get(f"train {plan.name} fold {fold}") for fold in folds]
        predicted = [states.get(f"predict {plan.name} fold {fold}") for fold in plan.folds]
        own = [states.get(f"{verb} {plan.name}") for verb in ("score", "stack")]

        cells = [
            *(_mark([state]) for state in trained),
            _mark(trained),
            _mark(predicted),
            _mark([_worst([*trained, *predicted, *own])]),
            _mark([states.get(f"audit {plan.name}")]),
        ]
        rows.append([plan.name, plan.kind.name, *cells])

    show_table("Runs by fold", header, rows, 2)


def _mark(states: list[str | None]) -> OutputCell:
    """Return the cell of some steps: a sign for each that exists, in the color of the worst."""
    worst = _worst(states)
    signs = "".join(_LOOKS[state][0] for state in states if state is not None)
    return OutputCell(worst, style=_LOOKS[worst][1] if worst else "", text=signs)


def _worst(states: list[str | None]) -> str | None:
    """Return the state that is furthest from done; None if there is no step."""
    return next((state for state in _LOOKS if state in states), None)
