"""`comp status`: recipes x folds x steps at a glance."""

from competition.cli.app import HERE, WorkspaceOption, app, show
from competition.progress import console
from competition.workspace import Workspace

_MARK = {"done": "■", "stale": "▲", "missing": "·"}


@app.command()
def status(workspace: WorkspaceOption = HERE) -> None:
    """Show what is done, out of date or missing."""
    from competition.pipeline import Pipeline

    pipeline = Pipeline(Workspace.open(workspace))
    steps = pipeline.steps()
    state = {step.name: step.state for step in steps}
    rows, shown = [], set()
    for plan in pipeline.runs():
        folds = {kind: [f"{kind} {plan.name} fold {fold}" for fold in plan.folds] for kind in ("train", "predict")}
        whole = [name for name in (f"score {plan.name}", f"stack {plan.name}") if name in state]
        audit = [name for name in (f"audit {plan.name}",) if name in state]
        shown |= {*folds["train"], *folds["predict"], *whole, *audit}
        cells = [
            "".join(_MARK[state[name]] for name in names if name in state) for names in (*folds.values(), whole, audit)
        ]
        rows.append([plan.name, plan.kind, *cells])
    show("Runs", ["run", "kind", "trained, by fold", "test rows", "whole run", "audit"], rows, 6)
    others = [f"{_MARK[state[step.name]]} {step.name}" for step in steps if step.name not in shown]
    console.print("   ".join(others))
    for name, step in pipeline.asked_for().items():
        mend = "" if step.state == "done" else f": `comp train --all --recipe {name}` makes it anew"
        console.print(f"{_MARK[step.state]} {step.name}{mend}")
    left = sum(value != "done" for value in state.values())
    console.print("■ done   ▲ out of date   · missing")
    console.print(
        f"{left} of {len(state)} steps are left: `comp run` does them." if left else "Everything is up to date."
    )
